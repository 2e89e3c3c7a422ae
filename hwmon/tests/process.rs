//! The process sensor on real children, and on a recorded tree of control groups.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "harness/prober.rs"]
mod prober;

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use mastiff_core::reading::{Readings, Value};
use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::{Options, Probe, SensorError, Wanted};
use mastiff_hwmon::sensors::process::SENSOR;
use nix::time::{ClockId, clock_gettime};
use prober::{Folder, number};

/// A child that is ended with its test.
struct Sleeper(Child);

impl Sleeper {
    /// Its first argument is `name`; it runs until its standard input closes.
    fn new(name: &str) -> Self {
        let mut command = Command::new("cat");
        command.arg0(name).stdin(Stdio::piped()).stdout(Stdio::null());
        Self(command.spawn().expect("a child"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // It may have ended before.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn now() -> Mono {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("a clock");
    Mono::from_nanos(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

fn open(root: &Root, target: &str) -> Box<dyn Probe> {
    prober::open(&SENSOR, root, target, &Options::default())
}

fn read_at(probe: &mut dyn Probe, at: Mono, wanted: Wanted) -> Result<Readings, SensorError> {
    prober::read(&SENSOR, probe, at, wanted)
}

fn read(probe: &mut dyn Probe) -> Readings {
    read_at(probe, now(), Wanted::ALL).expect("a reading")
}

/// Waits until so many are counted: a child has its new name a moment after it was started, not at
/// once.
fn until_counted(probe: &mut dyn Probe, count: f64) {
    let deadline = now().after(Span::from_secs(10));
    while number(&read(probe), "count") != count {
        assert!(now() < deadline, "{count} processes were expected");
    }
}

#[test]
fn a_pid_file_leads_to_its_process() {
    let folder = Folder::new("pid-file");
    let child = Sleeper::new("mastiff-pid-file");
    folder.write("a.pid", format!("{}\nmore\n", child.pid()));
    let mut probe = open(&Root::machine(), &format!("pid-file:{}", folder.target("a.pid")));
    let out = read(&mut *probe);
    assert_eq!(number(&out, "count"), 1.0);
    assert_eq!(number(&out, "threads"), 1.0);
    assert!(number(&out, "memory") > 0.0);
    assert_eq!(number(&out, "swap") % 1024.0, 0.0);
    assert!(number(&out, "open-files") >= 3.0);
    let share = number(&out, "open-files-used");
    assert!(share > 0.0 && share < 0.5, "{share}");
    assert_eq!(number(&out, "zombies"), 0.0);
    assert!(number(&out, "uptime") < 600.0, "{out:?}");
    assert!(matches!(out.get("state"), Some(Value::Word(_))));
    assert_eq!(out.get("cpu"), None, "a rate needs two readings");
    let out = read(&mut *probe);
    assert!((0.0..64.0).contains(&number(&out, "cpu")));
}

#[test]
fn a_zombie_is_not_alive_and_an_ended_process_is_gone() {
    let folder = Folder::new("zombie");
    let mut child = Sleeper::new("mastiff-zombie");
    folder.write("a.pid", child.pid().to_string());
    let mut probe = open(&Root::machine(), &format!("pid-file:{}", folder.target("a.pid")));
    child.0.kill().expect("killed");
    // Until somebody waits for it, it is a zombie; being killed takes a moment.
    let out = loop {
        let out = read(&mut *probe);
        if number(&out, "zombies") > 0.0 {
            break out;
        }
    };
    assert_eq!(number(&out, "count"), 0.0);
    assert_eq!(out.get("state"), Some(&Value::Word("zombie".into())));
    child.0.wait().expect("its end");
    let out = read(&mut *probe);
    assert_eq!((number(&out, "count"), number(&out, "zombies")), (0.0, 0.0));
    assert_eq!(out.get("state"), Some(&Value::Absent));
}

#[test]
fn pid_files_without_a_process_number() {
    let folder = Folder::new("bad-pid");
    let mut probe = open(&Root::machine(), &format!("pid-file:{}", folder.target("a.pid")));
    assert_eq!(number(&read(&mut *probe), "count"), 0.0, "no file, no daemon");
    for text in ["", "abc", "0", "-5", "99999999999", "\u{0}\u{1}"] {
        folder.write("a.pid", text);
        assert!(read_at(&mut *probe, now(), Wanted::ALL).is_err(), "{text:?}");
    }
}

#[test]
fn a_name_finds_all_that_bear_it() {
    let name = format!("mastiff-name-{}", std::process::id());
    let mut probe = open(&Root::machine(), &format!("name:{name}"));
    assert_eq!(number(&read(&mut *probe), "count"), 0.0);
    let first = Sleeper::new(&name);
    let second = Sleeper::new(&format!("/usr/local/bin/{name}"));
    let _other = Sleeper::new(&format!("{name}x"));
    until_counted(&mut *probe, 2.0);
    drop(first);
    assert_eq!(number(&read(&mut *probe), "count"), 1.0);
    drop(second);
    assert_eq!(number(&read(&mut *probe), "count"), 0.0);
    // By the kernel's name: that of the file which was started.
    let cat = Sleeper::new(&name);
    until_counted(&mut *probe, 1.0);
    assert!(number(&read(&mut *open(&Root::machine(), "name:cat")), "count") >= 1.0);
    drop(cat);
}

const GROUP: &str = "sys/fs/cgroup/unified/system.slice";

#[test]
fn a_unit_has_the_processes_of_its_group() {
    let folder = Folder::new("unit");
    let root = folder.root();
    folder.write("proc/10/stat", "10 (a) S 1 1 1 0 -1 0 0 0 0 0 100 50 0 0 20 0 3 0 500 0 7 0");
    folder.write("proc/11/stat", "11 (b) x) D 1 1 1 0 -1 0 0 0 0 0 10 0 0 0 20 0 1 0 400 0 5 0");
    folder.write("proc/12/stat", "12 (cut");
    let mut none = open(&root, "unit:a.service");
    assert!(read_at(&mut *none, now(), Wanted::ALL).is_err(), "without the tree nothing is known");
    folder.write("sys/fs/cgroup/unified/cgroup.controllers", "");
    let out = read(&mut *none);
    assert_eq!(number(&out, "count"), 0.0, "no group, no processes");
    folder.write(&format!("{GROUP}/a.service/cgroup.procs"), "10\n12\n13\njunk\n");
    folder.write(&format!("{GROUP}/a.service/inner/cgroup.procs"), "11\n");
    let wanted = Wanted::NONE.with(0);
    let at = |seconds| Mono::BOOT.after(Span::from_secs(seconds));
    let out = read_at(&mut *none, at(10), wanted).expect("a reading");
    assert_eq!(number(&out, "count"), 2.0);
    assert_eq!(number(&out, "threads"), 4.0);
    assert_eq!(number(&out, "uninterruptible"), 1.0);
    assert_eq!(number(&out, "uptime"), 6.0);
    assert_eq!(out.get("state"), Some(&Value::Word("uninterruptible".into())));
    assert_eq!(out.get("zombies"), Some(&Value::Absent));
    for name in ["memory", "swap", "open-files", "open-files-used"] {
        assert_eq!(out.get(name), None, "nobody wants {name}");
    }
    folder.write("proc/10/stat", "10 (a) S 1 1 1 0 -1 0 0 0 0 0 200 150 0 0 20 0 3 0 500 0 7 0");
    folder.write("proc/10/statm", "100 7 3 1 0 9 0\n");
    folder.write("proc/11/statm", "100 5 3 1 0 9 0\n");
    let out = read_at(&mut *none, at(12), Wanted::ALL).expect("a reading");
    assert_eq!(number(&out, "cpu"), 1.0);
    assert_eq!(number(&out, "memory") % 4096.0, 0.0);
    assert!(number(&out, "memory") >= 12.0 * 4096.0);
    assert_eq!(out.get("swap"), Some(&Value::Number(0.0)), "it ended before it was asked");
}

#[test]
fn units_in_slices_of_their_own_are_found() {
    let folder = Folder::new("slices");
    let root = folder.root();
    folder.write("sys/fs/cgroup/cgroup.controllers", "memory");
    let slice = "sys/fs/cgroup/system.slice/system-db.slice/db@1.service";
    folder.write(&format!("{slice}/cgroup.procs"), "20\n");
    folder.write("proc/20/stat", "20 (db) R 1 1 1 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 5 0 7 0");
    assert_eq!(number(&read(&mut *open(&root, "unit:db@1.service")), "count"), 1.0);
    assert_eq!(number(&read(&mut *open(&root, "unit:db@2.service")), "count"), 0.0);
}
