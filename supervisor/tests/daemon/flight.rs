//! The flight record of a real daemon: it outlives a kill, is written rarely when all is calm, and
//! a disk that is full or hangs costs nothing else.

use std::os::unix::fs::symlink;
use std::path::Path;

use mastiff::control::Request;
use mastiff::flight::file::{Log, path, read};
use mastiff::flight::{Kind, Record};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;

use super::daemon::{Daemon, Folder};
use super::fuse::{Fuse, Manner, in_namespaces};

const CHECK: &str =
    "[[check]]\nname = \"file\"\nsensor = \"file\"\ntarget = \"/\"\ninterval = \"100ms\"\n";

fn log(daemon: &Daemon) -> Log {
    read(&path(&daemon.folder.path("state"))).unwrap()
}

/// The records of one kind, oldest first.
fn of(log: &Log, kind: Kind) -> Vec<&Record> {
    log.records.iter().map(|(_, record)| record).filter(|record| record.kind == kind).collect()
}

fn pause(daemon: &Daemon, why: &str) {
    let check = Some("file".to_string());
    daemon.order(&Request::Pause { check, for_secs: 900.0, why: why.into() }).unwrap();
}

fn has_event(log: &Log, part: &str) -> bool {
    of(log, Kind::Event).iter().any(|record| record.text.contains(part))
}

#[test]
fn a_killed_daemon_leaves_its_record_and_the_next_one_goes_on() {
    let mut daemon = Daemon::start(CHECK);
    pause(&daemon, "before the kill");
    daemon.wait("it is noted", || has_event(&log(&daemon), "before the kill"));
    daemon.crash_and_restart();
    daemon.wait("the next one notes its start", || of(&log(&daemon), Kind::Start).len() == 2);
    assert_eq!(daemon.end(Signal::SIGTERM).code(), Some(0));
    let log = log(&daemon);
    assert_eq!(log.damaged, 0);
    assert!(has_event(&log, "before the kill") && has_event(&log, "mastiffd stops"));
    assert_eq!(of(&log, Kind::Stop).len(), 1, "a kill is no stop");
    assert!(of(&log, Kind::Start)[0].text.contains("starts on"));
    assert!(of(&log, Kind::Pulse)[0].text.contains("load "), "{log:?}");
    let numbers: Vec<u64> = log.records.iter().map(|(_, record)| record.seq).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "{log:?}");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(log.records.iter().all(|(_, record)| record.boot == boot.trim()));
}

#[test]
fn when_all_is_calm_it_is_written_once_for_each_sign_of_life() {
    let daemon = Daemon::start(CHECK);
    let pulses = |log: &Log| of(log, Kind::Pulse).len();
    daemon.wait("the start is over", || has_event(&log(&daemon), "every check has been read"));
    let (before, writes) = (log(&daemon), daemon.counter("flight-writes"));
    daemon.wait("two signs of life more", || pulses(&log(&daemon)) == pulses(&before) + 2);
    let (after, writes) = (log(&daemon), daemon.counter("flight-writes") - writes);
    let noted = (after.records.len() - before.records.len()) as u64;
    assert!(writes <= noted + 1, "{writes} writes for {noted} records: {after:?}");
    let moments: Vec<i64> = of(&after, Kind::Pulse).iter().map(|record| record.at_ns).collect();
    // They are due at whole multiples of five seconds; one may be late, the next one is not.
    for pair in moments[1..].windows(2) {
        assert!(pair[1] / 5_000_000_000 > pair[0] / 5_000_000_000, "{moments:?}");
    }
}

#[test]
fn a_full_disk_is_said_once_and_the_record_is_written_when_there_is_room() {
    in_namespaces(
        "flight::a_full_disk_is_said_once_and_the_record_is_written_when_there_is_room",
        || {
            let folder = Folder::new();
            let state = folder.path("state");
            std::fs::create_dir(&state).unwrap();
            let options = Some("size=64k");
            mount(Some("tmpfs"), &state, Some("tmpfs"), MsFlags::empty(), options).unwrap();
            let daemon = Daemon::start_in(folder, CHECK);
            let said = daemon.await_events("flight-not-written", 1);
            assert!(said[0].contains("No space left"), "{said:?}");
            pause(&daemon, "while it is full");
            let flags = MsFlags::MS_REMOUNT;
            mount(None::<&str>, &state, None::<&str>, flags, Some("size=2m")).unwrap();
            daemon.await_events("flight-written", 1);
            daemon.wait("it has everything", || has_event(&log(&daemon), "while it is full"));
            assert_eq!(daemon.texts("flight-not-written").len(), 1, "said once");
        },
    );
}

#[test]
fn a_disk_that_hangs_keeps_neither_the_checks_nor_the_end() {
    in_namespaces("flight::a_disk_that_hangs_keeps_neither_the_checks_nor_the_end", || {
        let folder = Folder::new();
        std::fs::create_dir(folder.path("good")).unwrap();
        symlink(folder.path("good"), folder.path("state")).unwrap();
        let fuse = Fuse::mount(&folder.path("hung"), Manner::Deaf);
        let mut daemon = Daemon::start_in(folder, CHECK);
        daemon.wait("it is written", || !of(&log(&daemon), Kind::Pulse).is_empty());
        let link = daemon.folder.path("link");
        symlink(daemon.folder.path("hung"), &link).unwrap();
        std::fs::rename(link, daemon.folder.path("state")).unwrap();
        let said = daemon.await_events("flight-not-written", 1);
        assert!(said[0].contains("stalled since"), "{said:?}");
        assert!(daemon.check("file").reading_age_secs.unwrap() < 5.0, "{}", daemon.log());
        // It does not wait for what hangs longer than it says.
        assert_eq!(daemon.end(Signal::SIGTERM).code(), Some(0));
        drop(fuse);
        let good = read(&path(Path::new(&daemon.folder.text("good")))).unwrap();
        assert!(!good.records.is_empty() && of(&good, Kind::Stop).is_empty());
    });
}

#[test]
fn whatever_lies_in_its_place_does_not_hold_up_the_start() {
    for (make, is_told) in [
        ((|path| std::fs::write(path, vec![0; 5_000_000]).unwrap()) as fn(&Path), false),
        (|path| std::fs::write(path, "{\"v\":1,").unwrap(), false),
        (|path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(), true),
        (|path| std::fs::create_dir(path).unwrap(), true),
        (|path| symlink("/dev/zero", path).unwrap(), true),
    ] {
        let folder = Folder::new();
        std::fs::create_dir(folder.path("state")).unwrap();
        make(&folder.path("state/flight"));
        let daemon = Daemon::start_in(folder, CHECK);
        if is_told {
            daemon.await_events("flight-lost", 1);
            daemon.await_events("flight-not-written", 1);
        } else {
            daemon.wait("it is replaced", || !of(&log(&daemon), Kind::Start).is_empty());
        }
    }
}
