//! filesystem and file on real directories, and the mount table on recorded ones.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "harness/prober.rs"]
mod prober;

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;

use mastiff_core::reading::{Readings, Value};
use mastiff_core::time::Mono;
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::{Options, Probe, Sensor, SensorError, Wanted};
use mastiff_hwmon::sensors::{file, filesystem, write_test};
use prober::{Folder, number, open};

/// Neither sensor looks at the time of the reading.
fn read(sensor: &Sensor, probe: &mut dyn Probe) -> Result<Readings, SensorError> {
    prober::read(sensor, probe, Mono::BOOT, Wanted::ALL)
}

#[test]
fn the_root_file_system_is_measured() {
    let mut probe = open(&filesystem::SENSOR, &Root::machine(), "/", &Options::default());
    let out = read(&filesystem::SENSOR, &mut *probe).expect("a reading");
    assert_eq!(out.get("mounted"), Some(&Value::Flag(true)));
    let (used, user_used) = (number(&out, "used"), number(&out, "user-used"));
    assert!((0.0..=1.0).contains(&used) && used <= user_used && user_used <= 1.0, "{out:?}");
    assert!(number(&out, "free") <= number(&out, "total"));
    assert!(matches!(out.get("read-only"), Some(Value::Flag(_))));
}

#[test]
fn a_directory_without_a_mount_is_not_measured() {
    let folder = Folder::new("unmounted");
    for target in [folder.target(""), folder.target("nowhere")] {
        let mut probe = open(&filesystem::SENSOR, &Root::machine(), &target, &Options::default());
        let out = read(&filesystem::SENSOR, &mut *probe).expect("a reading");
        assert_eq!(out.get("mounted"), Some(&Value::Flag(false)));
        for name in ["used", "free", "total", "inodes-used", "read-only"] {
            assert_eq!(out.get(name), None, "{name} would be that of the file system below");
        }
    }
}

const TABLE: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
40 27 8:1 /var/cache /srv/cache rw - ext4 /dev/sda1 rw
41 27 8:2 / /a/long/name rw - xfs /dev/sdb rw
42 27 8:2 / /data\\040disk rw - xfs /dev/sdb rw
43 27 7:3 / /snap/core/1 ro - squashfs /dev/loop3 ro
44 27 0:50 / /run rw - tmpfs tmpfs rw
45 27 0:51 / /home rw - nfs4 nas:/home rw,vers=4.2
46 27 8:3 / /broken rw - ext4 /dev/sdc rw,errors=remount-ro,emergency_ro
47 27 8:4 / /archive ro - ext4 /dev/sdd ro
48 27 0:60 / /tank rw - zfs tank rw
49 27 11:0 / /media/cd ro - iso9660 /dev/sr0 ro
50 27 0:61 /@srv /srv/www rw - btrfs /dev/sde rw,subvol=/@srv
51 27 0:62 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
52 27 8:9 / /etc/hosts rw - ext4
garbage
\u{1}\u{2} 7 7
53 27 8:5 /only/a/part /bound rw - ext4 /dev/sdf rw
";

fn recorded(name: &str, table: &[u8]) -> (Folder, Root) {
    let folder = Folder::new(name);
    folder.write("proc/self/mountinfo", table);
    let root = folder.root();
    (folder, root)
}

#[test]
fn what_can_fill_or_fail_is_discovered_once() {
    let (_folder, root) = recorded("discover", TABLE.as_bytes());
    let discover = filesystem::SENSOR.discover.expect("it discovers");
    assert_eq!(discover(&root), ["/", "/broken", "/data disk", "/home", "/srv/www", "/tank"]);
    let many: String =
        (0..500).map(|i| format!("{i} 1 8:{i} / /m{i} rw - ext4 /dev/sd{i} rw\n")).collect();
    let (_folder, root) = recorded("discover-many", many.as_bytes());
    assert_eq!(discover(&root).len(), filesystem::DISCOVERED_MAX);
    assert_eq!(discover(&Root::recorded("/nonexistent")), Vec::<String>::new());
}

#[test]
fn the_mount_table_tells_what_statvfs_does_not() {
    let (_folder, root) = recorded("table", TABLE.as_bytes());
    for (target, mounted, read_only) in [
        ("/", true, Some(false)),
        ("/data disk/", true, Some(false)),
        ("/broken", true, Some(true)),
        ("/archive", true, Some(true)),
        ("/nowhere", false, None),
        ("/etc/hosts", false, None),
    ] {
        let mut probe = open(&filesystem::SENSOR, &root, target, &Options::default());
        let out = read(&filesystem::SENSOR, &mut *probe).expect("a reading");
        assert_eq!(out.get("mounted"), Some(&Value::Flag(mounted)), "{target}");
        assert_eq!(out.get("read-only"), read_only.map(Value::Flag).as_ref(), "{target}");
        assert_eq!(out.get("used"), None, "{target}: a recorded tree has no blocks");
    }
}

#[test]
fn an_ext4_that_stopped_is_told_by_its_own_count() {
    let (folder, root) = recorded("ext4", TABLE.as_bytes());
    let count = "sys/fs/ext4/sda1/errors_count";
    folder.write("sys/devices/sda1/uevent", b"");
    fs::create_dir_all(folder.target("sys/dev/block")).unwrap();
    let link = folder.target("sys/dev/block/8:1");
    std::os::unix::fs::symlink("../../devices/sda1", link).unwrap();
    folder.write(count, b"2\n");
    folder.write("proc/fs/ext4/sda1/options", b"rw\nerrors=remount-ro\n");
    let mut probe = open(&filesystem::SENSOR, &root, "/", &Options::default());
    let mut seen = || {
        let out = read(&filesystem::SENSOR, &mut *probe).expect("a reading");
        let note = out.note.as_deref().unwrap_or_default().to_owned();
        (number(&out, "errors"), out.get("stops").cloned(), note)
    };
    let (errors, stops, note) = seen();
    assert_eq!((errors, stops), (2.0, Some(Value::Number(2.0))));
    assert!(note.contains("e2fsck"), "{note}");
    folder.write("proc/fs/ext4/sda1/options", b"rw\nerrors=continue\n");
    folder.write(count, b"3\n");
    let (errors, stops, _) = seen();
    assert_eq!((errors, stops), (3.0, Some(Value::Absent)), "it goes on");
    let mut other = open(&filesystem::SENSOR, &root, "/data disk", &Options::default());
    let out = read(&filesystem::SENSOR, &mut *other).expect("a reading");
    assert_eq!(out.get("errors"), Some(&Value::Absent), "xfs has no such count");
}

#[test]
fn hostile_mount_tables_are_bounded() {
    let (_folder, root) = recorded("hostile", &vec![b'x'; 5 * 1024 * 1024]);
    let mut probe = open(&filesystem::SENSOR, &root, "/", &Options::default());
    assert!(matches!(read(&filesystem::SENSOR, &mut *probe), Err(SensorError::TooLarge { .. })));
    let (_folder, root) = recorded("binary", &[0, 255, 10, 32, 32, 32, 32, 47, 32, 10]);
    let mut probe = open(&filesystem::SENSOR, &root, "/", &Options::default());
    let out = read(&filesystem::SENSOR, &mut *probe).expect("a reading");
    assert_eq!(out.get("mounted"), Some(&Value::Flag(false)));
}

/// Writes to a folder as if something were mounted there.
fn try_in(directory: &str, now: Mono) -> Result<Readings, SensorError> {
    let mut out = Readings::new(write_test::SENSOR.quantities);
    write_test::try_in(Path::new(directory), now, &mut out)?;
    assert_eq!(out.undeclared(), None);
    Ok(out)
}

#[test]
fn a_write_is_tried_in_one_file_that_stays() {
    let folder = Folder::new("write");
    let mut contents = Vec::new();
    for nanos in [1, 22, 3] {
        let out = try_in(&folder.target(""), Mono::from_nanos(nanos)).expect("a reading");
        assert_eq!(out.get("result"), Some(&Value::Word("ok".into())));
        assert!((0.0..60.0).contains(&number(&out, "write-time")), "{out:?}");
        contents.push(fs::read(folder.target(write_test::FILE)).expect("the file"));
    }
    assert!(contents.iter().all(|text| text.len() == write_test::RECORD_BYTES));
    assert!(contents[0] != contents[1] && contents[1] != contents[2], "each write is a new one");
    assert_eq!(fs::read_dir(folder.target("")).expect("a folder").count(), 1);
    let mode = fs::metadata(folder.target(write_test::FILE)).expect("the file").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

#[test]
fn what_others_have_put_in_the_place_of_the_file_is_left_alone() {
    let folder = Folder::new("write-hostile");
    let directory = folder.target("d");
    let path = folder.target(&format!("d/{}", write_test::FILE));
    fs::create_dir(&directory).expect("a folder");
    let precious = folder.target("precious");
    let refused = |what: &str| {
        let error = try_in(&directory, Mono::BOOT).expect_err(what).to_string();
        assert!(error.contains("remove it, then it is made anew"), "{what}: {error}");
    };
    fs::write(&precious, "root:x:0:0").expect("a file");
    symlink(&precious, &path).expect("a link");
    refused("a link");
    fs::remove_file(&path).expect("removed");
    symlink(folder.target("nowhere"), &path).expect("a link");
    refused("a link to nowhere");
    assert!(!Path::new(&folder.target("nowhere")).exists(), "nothing is made through a link");
    fs::remove_file(&path).expect("removed");
    fs::hard_link(&precious, &path).expect("a link");
    refused("a second name");
    fs::remove_file(&path).expect("removed");
    fs::rename(&precious, &path).expect("moved");
    refused("somebody's file");
    assert_eq!(fs::read(&path).expect("a file"), b"root:x:0:0");
    fs::remove_file(&path).expect("removed");
    fs::write(&path, vec![0; 4096]).expect("a file");
    refused("a longer file");
    fs::remove_file(&path).expect("removed");
    let _socket = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    refused("a socket");
    fs::remove_file(&path).expect("removed");
    nix::unistd::mkfifo(path.as_str(), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    refused("a pipe");
    assert!(fs::metadata(&path).expect("a pipe").file_type().is_fifo());
    fs::remove_file(&path).expect("removed");
    // What a crash may leave of its own.
    for own in [&b""[..], &[0; 300], write_test::HEADER] {
        fs::write(&path, own).expect("a file");
        let out = try_in(&directory, Mono::BOOT).expect("a reading");
        assert_eq!(out.get("result"), Some(&Value::Word("ok".into())));
    }
}

#[test]
fn a_directory_that_cannot_be_written_to_says_nothing_of_its_file_system() {
    let folder = Folder::new("write-nowhere");
    let error = try_in(&folder.target("nowhere"), Mono::BOOT).expect_err("no such folder");
    assert!(matches!(error, SensorError::Io { doing: "open", .. }), "{error}");
}

#[test]
fn nothing_is_written_where_nothing_is_mounted() {
    let folder = Folder::new("write-unmounted");
    let (sensor, target) = (&write_test::SENSOR, folder.target(""));
    let mut probe = open(sensor, &Root::machine(), &target, &Options::default());
    let out = read(sensor, &mut *probe).expect("a reading");
    assert_eq!(out.get("mounted"), Some(&Value::Flag(false)));
    assert_eq!(out.get("result"), None);
    assert_eq!(fs::read_dir(&target).expect("a folder").count(), 0);
}

fn watch(target: &str, hash: bool) -> Box<dyn Probe> {
    let options = Options(
        [("hash".to_owned(), if hash { "yes" } else { "no" }.to_owned())].into_iter().collect(),
    );
    open(&file::SENSOR, &Root::machine(), target, &options)
}

fn look(probe: &mut dyn Probe) -> Readings {
    read(&file::SENSOR, probe).expect("a reading")
}

#[test]
fn a_file_is_described() {
    let folder = Folder::new("described");
    let target = folder.target("a");
    let mut probe = watch(&target, false);
    let out = look(&mut *probe);
    assert_eq!(out.get("exists"), Some(&Value::Flag(false)));
    assert_eq!(out.get("age"), None, "no file, no age: unknown, not young");
    fs::write(&target, "12345").expect("a file");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).expect("a mode");
    let out = look(&mut *probe);
    assert_eq!(out.get("exists"), Some(&Value::Flag(true)));
    assert_eq!(number(&out, "size"), 5.0);
    assert_eq!(out.get("mode"), Some(&Value::Word("0640".into())));
    assert_eq!(out.get("kind"), Some(&Value::Word("file".into())));
    assert!((-1.0..3600.0).contains(&number(&out, "age")), "{out:?}");
    let old = std::time::UNIX_EPOCH;
    fs::File::open(&target).and_then(|file| file.set_modified(old)).expect("a time");
    assert!(number(&look(&mut *probe), "age") > 1e9);

    symlink(folder.target("nowhere"), folder.target("link")).expect("a link");
    let out = look(&mut *watch(&folder.target("link"), false));
    assert_eq!(out.get("exists"), Some(&Value::Flag(false)));
    assert_eq!(out.get("kind"), Some(&Value::Word("symlink".into())));
    let out = look(&mut *watch(&folder.target(""), false));
    assert_eq!(out.get("kind"), Some(&Value::Word("directory".into())));
    let out = look(&mut *watch("/dev/null", true));
    assert_eq!(out.get("kind"), Some(&Value::Word("device".into())));
    // Below something that is no directory there is nothing.
    let out = look(&mut *watch(&format!("{target}/x"), false));
    assert_eq!(out.get("exists"), Some(&Value::Flag(false)));
}

#[test]
fn changes_are_counted() {
    let folder = Folder::new("changes");
    let target = folder.target("a");
    fs::write(&target, "one").expect("a file");
    let (mut plain, mut hashed) = (watch(&target, false), watch(&target, true));
    let mut counts = || {
        let counts =
            (number(&look(&mut *plain), "changed"), number(&look(&mut *hashed), "changed"));
        assert_eq!(
            counts.0,
            number(&look(&mut *plain), "changed"),
            "a second look changes nothing"
        );
        counts
    };
    assert_eq!(counts(), (0.0, 0.0));
    // Touched: another time, the same content.
    let old = std::time::UNIX_EPOCH;
    fs::File::open(&target).and_then(|file| file.set_modified(old)).expect("a time");
    assert_eq!(counts(), (1.0, 0.0));
    fs::write(&target, "two").expect("a file");
    assert_eq!(counts(), (2.0, 1.0));
    // Replaced by a copy.
    fs::write(folder.target("b"), "two").expect("a file");
    fs::rename(folder.target("b"), &target).expect("renamed");
    assert_eq!(counts(), (3.0, 1.0));
    fs::remove_file(&target).expect("removed");
    assert_eq!(counts(), (3.0, 1.0));
    fs::write(&target, "three").expect("a file");
    assert_eq!(counts(), (4.0, 2.0));
}
