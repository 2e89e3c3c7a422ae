//! Files that never become text, and the default file that need not exist.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use mastiff::config::{FAULTS_MAX, FILE_BYTES_MAX, load, load_or_default, read_text};

use super::check;

/// A folder of this test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("mastiff-config-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// What reading `path` is told, as printed.
fn told(path: &Path) -> String {
    let faults = load(path).expect_err("accepted");
    assert_eq!(faults.0.len(), 1, "{faults}");
    assert_eq!(read_text(path).map_err(|fault| fault.to_string()), Err(faults.to_string()));
    faults.to_string().replace(&path.display().to_string(), "FILE")
}

#[test]
fn bytes_that_are_not_utf8_are_named_with_their_place() {
    let folder = Folder::new("encoding");
    let latin1 = folder.file("latin1.toml", b"[node]\nname = \"M\xfcnchen\"\n");
    assert_eq!(
        told(&latin1),
        "FILE:2:10: byte 0xfc is not UTF-8; this may be Latin-1: save the file as UTF-8"
    );
    for (name, mark, wide) in [("le", [0xff, 0xfe], [b'a', 0]), ("be", [0xfe, 0xff], [0, b'a'])] {
        let utf16 = folder.file(name, &[mark, wide].concat());
        assert!(told(&utf16).starts_with("FILE:1:1: byte 0xf"), "{}", told(&utf16));
        assert!(told(&utf16).contains("looks like UTF-16"));
    }
    let truncated =
        folder.file("truncated.toml", "# Überall\n# fü".as_bytes().split_last().unwrap().1);
    assert!(told(&truncated).starts_with("FILE:2:4: byte 0xc3"), "{}", told(&truncated));
}

#[test]
fn text_with_nul_bytes_is_refused() {
    let folder = Folder::new("nul");
    for (name, bytes, place) in [
        ("nul.toml", &b"[node]\n\0\n"[..], "2:1"),
        ("value.toml", &b"[node]\nname = \"a\0b\"\n"[..], "2:10"),
        ("utf16-without-mark.toml", &b"[\0n\0]\0"[..], "1:2"),
        ("sparse.toml", &[0; 5000][..], "1:1"),
    ] {
        let path = folder.file(name, bytes);
        let faults = load(&path).expect_err(name).to_string();
        let first = faults.replace(&path.display().to_string(), "FILE");
        assert!(
            first.starts_with(&format!("FILE:{place}: byte 0x00 is no text; this may be UTF-16")),
            "{name}: {first}"
        );
        assert!(!faults.contains('\0'), "{name}");
    }
}

#[test]
fn what_is_no_small_regular_file_is_not_read() {
    let folder = Folder::new("kinds");
    assert_eq!(told(&folder.0), "FILE: is not a regular file; name a text file");
    assert_eq!(told(Path::new("/dev/zero")), "FILE: is not a regular file; name a text file");
    assert_eq!(told(&folder.0.join("absent")), "FILE: there is no such file");
    let under_file = folder.file("plain", b"").join("x.toml");
    assert!(told(&under_file).starts_with("FILE: cannot open: "), "{}", told(&under_file));

    let fifo = folder.0.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(told(&fifo), "FILE: is not a regular file; name a text file");

    let size = usize::try_from(FILE_BYTES_MAX).unwrap();
    let full = folder.file("full.toml", &[b'\n'].repeat(size));
    assert!(load(&full).is_ok());
    let huge = folder.file("huge.toml", &[b'#'].repeat(size + 1));
    assert!(told(&huge).starts_with("FILE: is larger than 1048576 bytes"), "{}", told(&huge));

    let endless = folder.0.join("loop.toml");
    symlink(&endless, &endless).unwrap();
    assert!(told(&endless).starts_with("FILE: cannot open: "), "{}", told(&endless));
}

#[test]
fn a_file_that_the_kernel_refuses_to_read_is_reported() {
    // Readable by mode even for root, but every read of it fails: offset 0 of a process' memory is
    // not mapped.
    let faults = load(Path::new("/proc/self/mem")).expect_err("accepted").to_string();
    assert!(faults.starts_with("/proc/self/mem: cannot read: "), "{faults}");
}

#[test]
fn a_file_without_permission_is_reported() {
    let folder = Folder::new("mode");
    let path = folder.file("secret.toml", b"");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    match load(&path) {
        Err(faults) => assert!(faults.to_string().contains("cannot open: Permission denied")),
        // Root may read everything (CAP_DAC_OVERRIDE): then the file is just empty.
        Ok(config) => assert!(nix::unistd::geteuid().is_root() && config.checks.is_empty()),
    }
}

#[test]
fn only_a_default_file_that_nobody_named_may_be_absent() {
    let folder = Folder::new("default");
    let absent = folder.0.join("absent.toml");
    let config = load_or_default(&absent, false).expect("an empty configuration");
    assert!(config.checks.is_empty() && !config.node.name.is_empty());
    assert!(load_or_default(&absent, true).is_err());
    let dangling = folder.0.join("dangling.toml");
    symlink(&absent, &dangling).unwrap();
    assert!(load_or_default(&dangling, false).is_err(), "somebody wanted a file there");
    let bad = folder.file("bad.toml", b"[nod]\n");
    assert!(load_or_default(&bad, false).is_err());
}

#[test]
fn a_node_without_a_name_has_the_name_of_its_host() {
    let folder = Folder::new("hostname");
    let named = load(&folder.file("named.toml", b"[node]\nname = \"db1\"\n")).unwrap();
    assert_eq!(named.node.name, "db1");
    let hostname = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let unnamed = load(&folder.file("unnamed.toml", b"")).unwrap();
    assert!(unnamed.node.name == hostname || unnamed.node.name == "localhost");
}

#[test]
fn a_node_that_is_named_after_its_host_is_not_its_own_peer() {
    let folder = Folder::new("peer");
    let host = load(&folder.file("name.toml", b"")).unwrap().node.name;
    let pair = |peer: &str, prefer: &str| {
        let text = format!(
            "[pair]\nname = \"db\"\npeer = \"{peer}\"\nkey-file = \"/k\"\n\
             paths = [{{ local = \"10.0.0.1:1\", peer = \"10.0.0.2:1\" }}]\n[[group]]\n\
             name = \"db\"\naddresses = \"192.0.2.100 dev eth0\"\nprefer = \"{prefer}\"\n"
        );
        load(&folder.file("pair.toml", text.as_bytes())).map_err(|faults| faults.to_string())
    };
    assert!(pair("another", "another").is_ok() && pair("another", &host).is_ok());
    assert!(pair(&host, &host).unwrap_err().contains("is the name of this node"));
    assert!(pair("another", "third").unwrap_err().contains("must be one of both nodes"));
}

#[test]
fn hostile_files_are_refused_in_bounded_output() {
    let size = usize::try_from(FILE_BYTES_MAX).unwrap();
    for (name, unit) in [
        ("brackets", "["),
        ("braces", "a={"),
        ("dots", "a."),
        ("same keys", "a=1\n"),
        ("sections", "[x]\n"),
        ("quotes", "\""),
        ("list sections", "[[check]]\n"),
        ("nuls", "\0"),
    ] {
        let text = unit.repeat(size / unit.len());
        let faults = check(&text).expect_err(name);
        assert!((1..=FAULTS_MAX + 1).contains(&faults.len()), "{name}: {}", faults.len());
        let printed: usize = faults.iter().map(|fault| fault.to_string().len()).sum();
        assert!(printed < 500 * faults.len(), "{name}: {printed} bytes");
    }
    let keys: String = (0..20_000).map(|index| format!("key-{index}=1\n")).collect();
    assert_eq!(check(&keys).unwrap_err().len(), FAULTS_MAX + 1);
}
