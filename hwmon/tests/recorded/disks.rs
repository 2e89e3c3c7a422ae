//! Disks and arrays, on recorded trees: what is found, how it is named, and what time shows.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use mastiff_core::reading::{Readings, Value};
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::{Options, Probe, Source, Wanted};
use mastiff_hwmon::sensors;

use crate::copies::{Copy, trees};
use crate::harness::at;

fn open(sensor: &str, root: &Root, target: &str) -> Box<dyn Probe> {
    let Source::Quick(open) = sensors::find(sensor).unwrap().source else {
        panic!("{sensor} is quick")
    };
    open(root, target, &Options::default()).unwrap()
}

fn read(sensor: &str, probe: &mut dyn Probe, seconds: u64) -> Readings {
    let mut out = Readings::new(sensors::find(sensor).unwrap().quantities);
    probe.read(at(seconds), Wanted::ALL, &mut out).unwrap();
    out
}

fn discovered(sensor: &str, tree: &str) -> Vec<String> {
    sensors::find(sensor).unwrap().discover.unwrap()(&Root::recorded(trees().join(tree)))
}

#[test]
fn devices_are_discovered_that_have_a_size_and_were_used() {
    for (tree, names) in [
        ("healthy", vec!["sda", "vda"]),
        ("failing", vec!["sda", "dm-0", "dm-1"]),
        ("truncated", vec![]),
        ("hostile", vec!["sdb"]),
        ("absent", vec![]),
    ] {
        assert_eq!(discovered("block", tree), names, "{tree}");
    }
}

#[test]
fn devices_are_shown_by_what_is_printed_on_them() {
    for (tree, name, label) in [
        ("healthy", "sda", Some("Samsung SSD 883 S48CNE0M123456")),
        ("healthy", "vda", None),
        ("failing", "sda", Some("ST4000NM0035-1V4 ZC11A1B2")),
        ("failing", "dm-0", Some("vg0-root")),
        // Nothing of it can steer a terminal.
        ("hostile", "sdb", Some("[2J")),
    ] {
        let root = Root::recorded(trees().join(tree));
        let out = read("block", open("block", &root, name).as_mut(), 1);
        assert_eq!(out.note.as_deref(), label, "{tree} {name}");
    }
}

#[test]
fn a_stall_grows_until_a_request_ends() {
    let copy = Copy::of("failing");
    let mut probe = open("block", &copy.root(), "sda");
    let mut stalled = |seconds| read("block", probe.as_mut(), seconds).get("stalled").cloned();
    assert_eq!(stalled(10), Some(Value::Number(0.0)));
    assert_eq!(stalled(15), Some(Value::Number(5.0)));
    assert_eq!(stalled(50), Some(Value::Number(40.0)));
    copy.overwrite(Path::new("sys/block/sda/stat"), b"1001 10 0 0 2000 200 0 0 2 0 0\n");
    assert_eq!(stalled(55), Some(Value::Number(0.0)));
    assert_eq!(stalled(60), Some(Value::Number(5.0)));
}

#[test]
fn a_device_may_be_named_by_a_link_that_holds_over_reboots() {
    let copy = Copy::of("healthy");
    let by_id = copy.path().join("dev/disk/by-id");
    fs::create_dir_all(&by_id).unwrap();
    fs::write(copy.path().join("dev/sda"), "").unwrap();
    let mut probe = open("block", &copy.root(), "/dev/disk/by-id/ata-Samsung");
    let mut seen = |seconds| {
        let out = read("block", probe.as_mut(), seconds);
        (out.get("present").cloned(), out.note)
    };
    assert_eq!(seen(1), (Some(Value::Flag(false)), None), "there is no such link yet");
    symlink("../../sda", by_id.join("ata-Samsung")).unwrap();
    let (present, note) = seen(2);
    assert_eq!(present, Some(Value::Flag(true)));
    assert_eq!(note.as_deref(), Some("Samsung SSD 883 S48CNE0M123456"));
}

#[test]
fn disks_are_discovered_that_are_of_this_machine_and_can_be_asked() {
    for (tree, names) in [
        // An ATA disk has to be named.
        ("healthy", vec!["nvme0"]),
        // A controller over TCP is somebody else's disk.
        ("failing", vec![]),
        // What cannot be read there says nothing against asking the disk.
        ("truncated", vec!["nvme0"]),
        ("hostile", vec!["nvme0"]),
        ("absent", vec![]),
    ] {
        assert_eq!(discovered("disk-health", tree), names, "{tree}");
    }
}

#[test]
fn a_disk_that_the_kernel_has_suspended_is_not_asked() {
    let copy = Copy::of("healthy");
    let power = copy.path().join("sys/block/sda/device/power");
    fs::create_dir_all(&power).unwrap();
    fs::write(power.join("runtime_status"), "suspended\n").unwrap();
    let Source::MayHang(open) = sensors::find("disk-health").unwrap().source else {
        panic!("the prober reads it")
    };
    let mut probe = open(&copy.root(), "sda", &Options::default()).unwrap();
    let out = read("disk-health", probe.as_mut(), 1);
    assert_eq!(out.get("asleep"), Some(&Value::Flag(true)));
    assert_eq!(out.get("failing"), None);
}

#[test]
fn what_cannot_be_asked_is_an_error_that_says_what_to_do() {
    let Source::MayHang(open) = sensors::find("disk-health").unwrap().source else {
        panic!("the prober reads it")
    };
    let root = Root::recorded(trees().join("healthy"));
    for (target, told) in [
        ("vda", "use the sensor `smartctl`"),
        ("gone", "use the sensor `smartctl`"),
        // It is known for what it is, and a tree has no disks.
        ("nvme0", "a recorded tree has no disks"),
        ("nvme0n1", "a recorded tree has no disks"),
        ("sda", "a recorded tree has no disks"),
    ] {
        let mut out = Readings::new(sensors::find("disk-health").unwrap().quantities);
        let mut probe = open(&root, target, &Options::default()).unwrap();
        let error = probe.read(at(1), Wanted::ALL, &mut out).unwrap_err().to_string();
        assert!(error.contains(told), "{target}: {error}");
    }
}

#[test]
fn arrays_are_discovered_that_should_run_and_failed_members_are_named() {
    for (tree, names) in [
        ("healthy", vec!["md0"]),
        // md127 is a container; md2 could not be started.
        ("failing", vec!["md0", "md1", "md2", "md3"]),
        ("absent", vec![]),
    ] {
        assert_eq!(discovered("raid", tree), names, "{tree}");
    }
    let note = |tree, name| {
        let root = Root::recorded(trees().join(tree));
        read("raid", open("raid", &root, name).as_mut(), 1).note
    };
    assert_eq!(note("healthy", "md0"), None);
    assert_eq!(note("failing", "md0").as_deref(), Some("sdb1 has failed, sde1 is being rebuilt"));
    assert_eq!(note("hostile", "md1"), None, "no name that could steer a terminal");
}

#[test]
fn mapped_devices_are_discovered_that_have_something_to_say() {
    for (tree, names) in [
        // Named as people do, whatever layers there are. A snapshot is there for a while only.
        ("failing", vec!["mpatha", "vg0-mirror", "vg0-pool"]),
        ("healthy", vec![]),
        ("absent", vec![]),
    ] {
        assert_eq!(discovered("device-mapper", tree), names, "{tree}");
    }
    // Where the kernel cannot be asked, there is nothing to watch.
    let copy = Copy::of("failing");
    fs::remove_file(copy.path().join("dev/mapper/control")).unwrap();
    let discover = sensors::find("device-mapper").unwrap().discover.unwrap();
    assert_eq!(discover(&copy.root()), [""; 0]);
}

#[test]
fn pools_are_discovered_and_described() {
    let (two, other) =
        ("e250d9b0-a48d-42d0-905b-a0993a258bb3", "0b3e1c52-0000-4000-8000-00000000f011");
    for (tree, names) in
        [("healthy", vec![two]), ("failing", vec![other, two]), ("hostile", vec![two])]
    {
        assert_eq!(discovered("btrfs", tree), names, "{tree}");
    }
    assert_eq!(discovered("zfs", "healthy"), ["tank"]);
    assert_eq!(discovered("zfs", "failing"), ["backup", "tank"]);
    for (tree, note) in [
        ("healthy", Some("data")),
        ("failing", Some("data: device 1 has had errors, device 2 is missing")),
        // Nothing of it can steer a terminal.
        ("hostile", Some("[2J: device 1 has had errors")),
    ] {
        let root = Root::recorded(trees().join(tree));
        let out = read("btrfs", open("btrfs", &root, two).as_mut(), 1);
        assert_eq!(out.note.as_deref(), note, "{tree}");
    }
}

#[test]
fn what_a_level_can_bear_decides_whether_an_array_is_lost() {
    let copy = Copy::of("failing");
    let directory = Path::new("sys/block/md3/md");
    let mut probe = open("raid", &copy.root(), "md3");
    for (level, members, degraded, lost) in [
        ("raid1", 2, 1, false),
        ("raid1", 2, 2, true),
        ("raid5", 3, 1, false),
        ("raid5", 3, 2, true),
        ("raid6", 6, 2, false),
        ("raid6", 6, 3, true),
        // Depends on which; the kernel says "broken".
        ("raid10", 4, 2, false),
    ] {
        for (file, text) in [
            ("level", level.to_owned()),
            ("raid_disks", members.to_string()),
            ("degraded", degraded.to_string()),
        ] {
            copy.overwrite(&directory.join(file), format!("{text}\n").as_bytes());
        }
        let out = read("raid", probe.as_mut(), 1);
        assert_eq!(out.get("lost"), Some(&Value::Flag(lost)), "{level} {members} {degraded}");
    }
}
