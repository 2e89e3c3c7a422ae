//! Every sensor that reads files, on recorded trees: a healthy machine, a failing one, and trees
//! that are truncated, hostile or empty. Each tree says in its NOTE.md where it came from.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "harness/copies.rs"]
mod copies;
#[path = "recorded/disks.rs"]
mod disks;
#[path = "harness/expected.rs"]
mod expected;
mod harness;
#[path = "harness/random.rs"]
mod random;

use std::fs;
use std::io::Write;
use std::path::Path;

use copies::{Copy, Shown, assert_shown, files, trees, twice};
use expected::EXPECTED;
use harness::{at, open_all, open_some, read};
use mastiff_core::condition::{Condition, History, Truth};
use mastiff_core::reading::{Readings, Value};
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::{Options, Probe, Source, Wanted};
use mastiff_hwmon::sensors;
use random::Random;

const TREES: [&str; 5] = ["healthy", "failing", "truncated", "hostile", "absent"];

/// Mutations of each file; more with `MASTIFF_MUTATIONS`.
const MUTATIONS: u64 = 20;

/// Where the random numbers start; `MASTIFF_SEED` replays another run.
const SEED: u64 = 0x6d61_7374_6966_6600;

#[test]
fn every_tree_is_tested_and_says_where_it_came_from() {
    let mut names: Vec<String> = fs::read_dir(trees())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut tested = TREES.map(str::to_owned).to_vec();
    tested.sort();
    assert_eq!(names, tested);
    for name in names {
        assert!(!fs::read_to_string(trees().join(name).join("NOTE.md")).unwrap().is_empty());
    }
}

#[test]
fn every_sensor_keeps_its_declaration_on_every_tree() {
    for tree in TREES {
        let copy = Copy::of(tree);
        for mut opened in open_all(&copy.root()) {
            for seconds in [100, 110] {
                read(&mut opened, at(seconds));
            }
        }
    }
}

#[test]
fn nothing_is_discovered_and_nothing_is_known_where_nothing_is() {
    let copy = Copy::of("absent");
    for mut opened in open_all(&copy.root()) {
        if let Source::Quick(_) = opened.sensor.source {
            let name = opened.sensor.name;
            assert_eq!(
                opened.sensor.discover.unwrap_or(|_| vec![])(&copy.root()),
                [""; 0],
                "{name}"
            );
            assert!(read(&mut opened, at(1)).is_none(), "{name}");
        }
    }
}

#[test]
fn readings_say_what_the_files_say() {
    for (tree, sensor, target, expected) in EXPECTED {
        let [first, _] = twice(&Copy::of(tree), sensor, target);
        let what = format!("{tree} {sensor} {target}");
        assert_shown(&what, &first.expect(&what), expected);
    }
}

#[test]
fn what_makes_no_sense_at_all_is_an_error() {
    for (tree, sensor, target) in [
        ("truncated", "cpu", ""),
        ("truncated", "load", ""),
        ("truncated", "taint", ""),
        ("truncated", "link", "eth0"),
        ("truncated", "hwmon", "coretemp-isa-0000"),
        ("truncated", "ecc", ""),
        ("hostile", "ecc", ""),
        ("hostile", "hwmon", "acpitz-virtual-0"),
        ("hostile", "cpu", ""),
        ("hostile", "load", ""),
        ("hostile", "taint", ""),
        ("hostile", "link", "eth0"),
        ("healthy", "time", ""),
        ("truncated", "block", "vda"),
        ("truncated", "block", "sda"),
        ("hostile", "block", "sda"),
        ("truncated", "raid", "md0"),
        ("hostile", "raid", "md0"),
        ("truncated", "zfs", "tank"),
        ("hostile", "zfs", "tank"),
        ("healthy", "zfs", "../zfs/tank"),
        ("healthy", "btrfs", "../btrfs/data"),
        ("healthy", "block", "../../etc"),
        // Never used, or nothing is counted.
        ("failing", "block", "sr0"),
    ] {
        for reading in twice(&Copy::of(tree), sensor, target) {
            assert!(reading.is_err(), "{tree} {sensor}: {reading:?}");
        }
    }
}

#[test]
fn rates_need_two_readings() {
    let page = procfs::page_size();
    let (swapped_in, swapped_out) = ((10 * page).to_string(), (20 * page).to_string());
    for (sensor, target, first, second) in [
        (
            "cpu",
            "",
            vec![("blocked", "0")],
            vec![
                ("busy", "0.6"),
                ("user", "0.4"),
                ("system", "0.15"),
                ("iowait", "0.05"),
                ("irq", "0.03"),
                ("steal", "0.02"),
                ("context-switches", "1234"),
                ("forks", "5"),
                ("blocked", "3"),
            ],
        ),
        (
            "swap",
            "",
            vec![("used", "absent"), ("oom-kills", "1")],
            vec![
                ("used", "absent"),
                ("in", &swapped_in),
                ("out", &swapped_out),
                ("oom-kills", "1"),
            ],
        ),
        (
            "link",
            "eth0",
            vec![
                ("present", "true"),
                ("up", "true"),
                ("carrier", "true"),
                ("speed", "absent"),
                ("duplex", "unknown"),
                ("slower", "absent"),
                ("below-maximum", "absent"),
                ("members", "absent"),
                ("members-down", "absent"),
                ("errors", "0"),
                ("drops", "0"),
                ("carrier-changes", "2"),
            ],
            vec![
                ("present", "true"),
                ("up", "true"),
                ("carrier", "true"),
                ("speed", "absent"),
                ("duplex", "unknown"),
                ("slower", "absent"),
                ("below-maximum", "absent"),
                ("members", "absent"),
                ("members-down", "absent"),
                ("received", "1000000"),
                ("sent", "250000"),
                ("errors", "0"),
                ("drops", "0"),
                ("carrier-changes", "2"),
            ],
        ),
        (
            "block",
            "vda",
            vec![("present", "true"), ("stalled", "0"), ("online", "absent"), ("in-flight", "0")],
            vec![
                ("present", "true"),
                ("stalled", "0"),
                ("online", "absent"),
                ("in-flight", "1"),
                ("reads", "10"),
                ("writes", "2"),
                ("read", "204800"),
                ("written", "40960"),
                ("read-time", "0.0025"),
                ("write-time", "0.02"),
                ("busy", "0.05"),
            ],
        ),
    ] {
        let [one, two] = twice(&Copy::of("healthy"), sensor, target);
        assert_shown(&format!("{sensor}, first"), &one.unwrap(), &first);
        assert_shown(&format!("{sensor}, second"), &two.unwrap(), &second);
    }
}

/// Sensor, target, and the default conditions that hold on the failing tree.
const SPEAKING: &[(&str, &str, &[&str])] = &[
    ("cpu", "", &[]),
    ("load", "", &["per-cpu > 8"]),
    ("memory", "", &["used > 90%", "commit-used > 95%", "hardware-corrupted > 0", "used > 97%"]),
    ("swap", "", &["used > 90%"]),
    ("pressure", "", &["memory-full-60 > 10%", "io-full-60 > 90%", "memory-full-60 > 40%"]),
    (
        "tables",
        "",
        &["open-files > 80%", "pids > 80%", "aio > 80%", "open-files > 95%", "pids > 95%"],
    ),
    ("link", "eth0", &["carrier = false"]),
    ("link", "eth1", &["up = false"]),
    // eth0 below it has lost its carrier.
    ("link", "bond0", &["members-down > 0"]),
    ("link", "bond0.7", &[]),
    ("link", "gone0", &["present = false"]),
    ("hwmon", "coretemp-isa-0000", &["critical > 0"]),
    ("hwmon", "nct6798-isa-0290", &["warnings > 0"]),
    ("hwmon", "nvme-pci-0100", &[]),
    ("hwmon", "pmbus-i2c-7-58", &["broken > 0", "critical > 0"]),
    ("hwmon", "gone-isa-0000", &["present = false"]),
    (
        "kernel-log",
        "",
        &[
            "oopses > 0 in 1h",
            "oom-kills > 0 in 1h",
            "hardware-errors > 0 in 1h",
            "filesystem-errors > 0 in 1h",
            "io-errors > 0 in 1h",
            "hung-tasks > 0 in 1h",
            "remounted-read-only > 0 in 1h",
        ],
    ),
    ("ecc", "", &["uncorrected > 0"]),
    ("thermal", "", &["to-critical < 5C", "to-critical < 2C"]),
    ("taint", "", &["died", "machine-check"]),
    ("block", "sda", &["online = false"]),
    ("block", "dm-0", &[]),
    ("block", "dm-1", &["online = false"]),
    ("raid", "md0", &["degraded > 0", "faulty > 0", "inconsistent"]),
    ("raid", "md1", &["lost"]),
    ("raid", "md2", &["lost"]),
    ("raid", "md3", &["degraded > 0", "lost"]),
    ("raid", "gone", &["present = false"]),
    ("block", "gone", &["present = false"]),
];

/// The default conditions that hold after two readings; the kernel log fills between them.
fn holding(tree: &str, name: &str, target: &str) -> Vec<&'static str> {
    let copy = Copy::of(tree);
    let log = fs::read(copy.path().join("dev/kmsg")).unwrap();
    copy.overwrite(Path::new("dev/kmsg"), b"");
    let sensor = sensors::find(name).unwrap();
    let (Source::Quick(open) | Source::MayHang(open)) = sensor.source else {
        panic!("{name} reads no files")
    };
    let mut probe = open(&copy.root(), target, &Options::default()).unwrap();
    let texts = || sensor.warn_when.iter().chain(sensor.fail_when).copied();
    let mut conditions: Vec<_> = texts()
        .map(|text| (Condition::parse(text, sensor.quantities).unwrap(), History::default()))
        .collect();
    let mut truths = Vec::new();
    for seconds in [100, 110] {
        let mut out = Readings::new(sensor.quantities);
        probe.read(at(seconds), Wanted::ALL, &mut out).unwrap();
        truths = conditions
            .iter_mut()
            .map(|(condition, history)| condition.evaluate(&out, at(seconds), history))
            .collect();
        copy.overwrite(Path::new("dev/kmsg"), &log);
        if copy.path().join("later").is_dir() {
            copy.let_time_pass();
        }
    }
    texts().zip(truths).filter(|(_, truth)| *truth == Truth::True).map(|(text, _)| text).collect()
}

#[test]
fn defaults_are_quiet_on_a_healthy_machine_and_speak_on_a_failing_one() {
    for (sensor, target, speaking) in SPEAKING {
        assert_eq!(holding("failing", sensor, target), *speaking, "{sensor} {target}");
        if target.is_empty() {
            // The record of a hung task in `later/` is the only bad news there.
            let quiet: &[&str] =
                if *sensor == "kernel-log" { &["hung-tasks > 0 in 1h"] } else { &[] };
            assert_eq!(holding("healthy", sensor, target), quiet, "{sensor}");
        }
    }
    for (sensor, target) in [
        ("link", "eth0"),
        ("block", "sda"),
        ("block", "vda"),
        ("raid", "md0"),
        ("hwmon", "coretemp-isa-0000"),
        ("hwmon", "nct6798-isa-0290"),
        ("hwmon", "nvme-pci-0100"),
        ("hwmon", "pmbus-i2c-7-58"),
    ] {
        assert_eq!(holding("healthy", sensor, target), [""; 0], "{sensor} {target}");
    }
}

/// What is counted at all; the rest is zero.
fn counted(shown: &Shown) -> Vec<(&'static str, &str)> {
    shown
        .iter()
        .filter(|(_, v)| *v != "0" && *v != "absent")
        .map(|(n, v)| (*n, v.as_str()))
        .collect()
}

#[test]
fn the_kernel_log_is_counted_by_kind() {
    let [healthy, later] = twice(&Copy::of("healthy"), "kernel-log", "");
    assert_eq!(counted(&healthy.unwrap()), [("records", "6")]);
    assert_eq!(
        counted(&later.unwrap()),
        [("errors", "1"), ("hung-tasks", "1"), ("lost", "2"), ("records", "7")]
    );
    let [failing, again] = twice(&Copy::of("failing"), "kernel-log", "");
    let failing = failing.unwrap();
    assert_eq!(
        counted(&failing),
        [
            ("cgroup-oom-kills", "1"),
            ("errors", "9"),
            ("filesystem-errors", "1"),
            ("hardware-errors", "1"),
            ("hung-tasks", "1"),
            ("io-errors", "2"),
            ("links-down", "1"),
            ("lost", "5"),
            ("oom-kills", "1"),
            ("oopses", "1"),
            ("records", "14"),
            ("remounted-read-only", "1"),
            ("warnings", "1"),
        ]
    );
    assert_eq!(failing, again.unwrap(), "each record is counted once");
    // The record at the end of this tree is not complete yet.
    let [truncated, _] = twice(&Copy::of("truncated"), "kernel-log", "");
    assert_eq!(counted(&truncated.unwrap()), [("records", "1")]);
    let [hostile, _] = twice(&Copy::of("hostile"), "kernel-log", "");
    assert_eq!(
        counted(&hostile.unwrap()),
        [("errors", "2"), ("lost", "4"), ("malformed", "5"), ("oopses", "1"), ("records", "3")]
    );
}

#[test]
fn own_patterns_are_counted_and_a_flood_is_read_in_parts() {
    let copy = Copy::of("absent");
    let sensor = sensors::find("kernel-log").unwrap();
    let Source::Quick(open) = sensor.source else { panic!("kernel-log is quick") };
    fs::create_dir(copy.path().join("dev")).unwrap();
    let mut log = fs::File::create(copy.path().join("dev/kmsg")).unwrap();
    let options =
        Options([("match".to_owned(), "usb * disconnect".to_owned())].into_iter().collect());
    let mut probe = open(&copy.root(), "", &options).unwrap();
    let mut number = |name| {
        let mut out = Readings::new(sensor.quantities);
        probe.read(at(1), Wanted::ALL, &mut out).unwrap();
        match out.get(name) {
            Some(Value::Number(number)) => *number,
            value => panic!("{name}: {value:?}"),
        }
    };
    assert_eq!(number("matches"), 0.0);
    for sequence in 0..5000 {
        writeln!(log, "14,{sequence},1,-;usb 1-1: USB Disconnect, device number {sequence}")
            .unwrap();
    }
    assert_eq!(number("matches"), 0.0, "the pattern is case-sensitive");
    let records = number("records");
    assert!(records > 1000.0 && records < 5000.0, "two readings took {records} records");
    writeln!(log, "14,5000,1,-;usb 1-1: now disconnect").unwrap();
    let rest = (0..10).map(|_| number("records")).last();
    assert_eq!(rest, Some(5001.0));
    assert_eq!(number("matches"), 1.0);
}

#[test]
fn taint_is_spelled_out() {
    let sensor = sensors::find("taint").unwrap();
    let Source::Quick(open) = sensor.source else { panic!("taint is quick") };
    let root = Root::recorded(trees().join("failing"));
    let mut out = Readings::new(sensor.quantities);
    open(&root, "", &Options::default()).unwrap().read(at(1), Wanted::ALL, &mut out).unwrap();
    assert_eq!(
        out.note.as_deref(),
        Some("M machine check, D oops or BUG, W warning, O module from outside the kernel, bit 30")
    );
}

#[test]
fn links_are_discovered_that_are_connected_and_lead_out() {
    let discover = sensors::find("link").unwrap().discover.unwrap();
    for (tree, names) in [
        ("healthy", vec!["eth0"]),
        // eth0 has no carrier, eth1 is switched off, br0 has virtual members only.
        ("failing", vec!["bond0", "bond0.7", "eth2"]),
        ("truncated", vec![]),
        ("hostile", vec![]),
        ("absent", vec![]),
    ] {
        assert_eq!(discover(&Root::recorded(trees().join(tree))), names, "{tree}");
    }
}

#[test]
fn a_link_that_goes_and_comes_back_is_another_one() {
    let copy = Copy::of("healthy");
    let sensor = sensors::find("link").unwrap();
    let Source::Quick(open) = sensor.source else { panic!("link is quick") };
    let mut probe = open(&copy.root(), "eth0", &Options::default()).unwrap();
    let mut value = |name, seconds| {
        let mut out = Readings::new(sensor.quantities);
        probe.read(at(seconds), Wanted::ALL, &mut out).unwrap();
        out.get(name).cloned()
    };
    assert_eq!(value("present", 1), Some(Value::Flag(true)));
    assert_eq!(value("received", 2), Some(Value::Number(0.0)));
    let (here, away) = (copy.path().join("sys/class/net/eth0"), copy.path().join("eth0"));
    fs::rename(&here, &away).unwrap();
    assert_eq!(value("present", 3), Some(Value::Flag(false)));
    assert_eq!(value("errors", 4), None);
    fs::rename(&away, &here).unwrap();
    assert_eq!(value("received", 5), None, "its counters started anew");
    assert_eq!(value("carrier", 6), Some(Value::Flag(true)));
    // Taken over by another device between two readings.
    fs::copy(here.join("flags"), copy.path().join("flags")).unwrap();
    fs::rename(copy.path().join("flags"), here.join("flags")).unwrap();
    assert_eq!(value("received", 7), None);
    assert_eq!(value("received", 8), Some(Value::Number(0.0)));
}

#[test]
fn a_link_that_comes_back_slower_is_told() {
    let copy = Copy::of("healthy");
    let sensor = sensors::find("link").unwrap();
    let Source::Quick(open) = sensor.source else { panic!("link is quick") };
    let mut probe = open(&copy.root(), "eth0", &Options::default()).unwrap();
    for (speed, slower) in [
        ("1000\n", Some(Value::Flag(false))),
        ("10000\n", Some(Value::Flag(false))),
        ("1000\n", Some(Value::Flag(true))),
        ("-1\n", Some(Value::Absent)),
        ("x\n", None),
    ] {
        copy.overwrite(Path::new("sys/class/net/eth0/speed"), speed.as_bytes());
        let mut out = Readings::new(sensor.quantities);
        probe.read(at(1), Wanted::ALL, &mut out).unwrap();
        assert_eq!(out.get("slower").cloned(), slower, "{speed}");
    }
}

#[test]
fn members_of_a_bond_are_counted_and_the_dead_ones_named() {
    let copy = Copy::of("failing");
    let sensor = sensors::find("link").unwrap();
    let Source::Quick(open) = sensor.source else { panic!("link is quick") };
    let mut probe = open(&copy.root(), "bond0", &Options::default()).unwrap();
    let mut members = || {
        let mut out = Readings::new(sensor.quantities);
        probe.read(at(1), Wanted::ALL, &mut out).unwrap();
        let number = |name| match out.get(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        };
        (number("members"), number("members-down"), out.note.clone())
    };
    let net = Path::new("sys/class/net");
    let dead = |names: &str| Some(format!("without connection: {names}").into());
    assert_eq!(members(), (Some(2.0), Some(1.0), dead("eth0")));
    copy.overwrite(&net.join("eth0/operstate"), b"up\n");
    assert_eq!(members(), (Some(2.0), Some(1.0), dead("eth0")), "the bond waits for updelay");
    copy.overwrite(&net.join("eth0/bonding_slave/mii_status"), b"up\n");
    assert_eq!(members(), (Some(2.0), Some(0.0), None));
    copy.overwrite(&net.join("eth2/bonding_slave/mii_status"), b"down\n");
    assert_eq!(members(), (Some(2.0), Some(1.0), dead("eth2")), "the bond heard no ARP there");
    copy.overwrite(&net.join("eth2/operstate"), b"?\n");
    assert_eq!(members(), (None, None, None));
}

#[test]
fn connection_tracking_may_be_loaded_later() {
    let copy = Copy::of("failing");
    let sensor = sensors::find("tables").unwrap();
    let Source::Quick(open) = sensor.source else { panic!("tables is quick") };
    let mut probe = open(&copy.root(), "", &Options::default()).unwrap();
    let mut conntrack = || {
        let mut out = Readings::new(sensor.quantities);
        probe.read(at(1), Wanted::ALL, &mut out).unwrap();
        out.get("conntrack").cloned()
    };
    assert_eq!(conntrack(), Some(Value::Absent));
    let directory = Path::new("proc/sys/net/netfilter");
    fs::create_dir_all(copy.path().join(directory)).unwrap();
    copy.overwrite(&directory.join("nf_conntrack_max"), b"1000\n");
    copy.overwrite(&directory.join("nf_conntrack_count"), b"250\n");
    assert_eq!(conntrack(), Some(Value::Number(0.25)));
}

/// A reading of a chip: a number by name, and the note.
fn of_chip(probe: &mut dyn Probe, seconds: u64) -> Readings {
    let mut out = Readings::new(sensors::find("hwmon").unwrap().quantities);
    probe.read(at(seconds), Wanted::ALL, &mut out).unwrap();
    out
}

fn open_chip(copy: &Copy, target: &str) -> Box<dyn Probe> {
    let Source::MayHang(open) = sensors::find("hwmon").unwrap().source else { panic!("may hang") };
    open(&copy.root(), target, &Options::default()).unwrap()
}

#[test]
fn chips_are_discovered_by_names_that_hold() {
    let discover = sensors::find("hwmon").unwrap().discover.unwrap();
    let found = discover(&Root::recorded(trees().join("healthy")));
    // Not the disks: `disk-health` has their temperatures.
    assert_eq!(found, ["coretemp-isa-0000", "nct6798-isa-0290", "pmbus-i2c-7-58"]);
    let found = discover(&Root::recorded(trees().join("hostile")));
    assert_eq!(found, ["acpitz-virtual-0", "acpitz-virtual-0#2"]);
}

#[test]
fn the_note_names_the_points_that_are_out_of_their_limits() {
    let copy = Copy::of("failing");
    for (chip, note) in [
        ("coretemp-isa-0000", "Package id 0 101.0C (limit 82.0C) (critical 100.0C)"),
        ("nct6798-isa-0290", "CPUTIN 85.0C (limit 80.0C), fan1 0.0 rpm (lowest 300.0 rpm)"),
        ("pmbus-i2c-7-58", "fan1 broken, vout1 10.5 V (lowest 10.8 V) (critical 13.5 V)"),
    ] {
        let out = of_chip(open_chip(&copy, chip).as_mut(), 1);
        assert_eq!(out.note.as_deref(), Some(note), "{chip}");
    }
    let copy = Copy::of("hostile");
    let out = of_chip(open_chip(&copy, "acpitz-virtual-0#2/[31mhot").as_mut(), 1);
    assert_eq!(out.get("temperature"), Some(&Value::Number(50.0)), "labels are plain text");
}

#[test]
fn a_fan_that_stops_by_itself_is_told_from_one_that_was_stopped_or_never_turned() {
    let copy = Copy::of("healthy");
    let board = Path::new("sys/devices/platform/nct6775.656/hwmon/hwmon0");
    let mut probe = open_chip(&copy, "nct6798-isa-0290");
    let mut stopped = |seconds| {
        let out = of_chip(probe.as_mut(), seconds);
        (out.get("fans-stopped").cloned(), out.note)
    };
    assert_eq!(stopped(1), (Some(Value::Number(0.0)), None));
    copy.overwrite(&board.join("fan1_input"), b"0\n");
    assert_eq!(stopped(2), (Some(Value::Number(1.0)), Some("fan1 0.0 rpm".into())));
    // Still known after the chip was looked up again.
    assert_eq!(stopped(1000).0, Some(Value::Number(1.0)));
    copy.overwrite(&board.join("pwm1"), b"0\n");
    assert_eq!(stopped(1001), (Some(Value::Number(0.0)), None));
    // Beside it an empty plug, with the lowest speed that the chip has after power-up.
    for fan in ["fan1_min", "fan2_min"] {
        copy.overwrite(&board.join(fan), b"2636\n");
    }
    let out = of_chip(probe.as_mut(), 2000);
    assert_eq!(out.get("critical"), Some(&Value::Number(0.0)));
    assert_eq!(out.get("warnings"), Some(&Value::Number(1.0)));
    assert_eq!(out.note.as_deref(), Some("fan2 0.0 rpm (lowest 2636.0 rpm)"));
    // One that stands although it is to turn is for somebody to look at; what it lets get too hot
    // fails by itself.
    copy.overwrite(&board.join("pwm1"), b"128\n");
    let out = of_chip(probe.as_mut(), 2001);
    assert_eq!(out.get("critical"), Some(&Value::Number(0.0)));
    assert_eq!(out.get("warnings"), Some(&Value::Number(2.0)));
    assert_eq!(out.get("fans-stopped"), Some(&Value::Number(1.0)));
}

#[test]
fn a_chassis_counts_as_opened_when_it_was_seen_closed() {
    let copy = Copy::of("healthy");
    let alarm = "sys/devices/platform/nct6775.656/hwmon/hwmon0/intrusion0_alarm";
    let switch = |text: &str| fs::write(copy.path().join(alarm), text).unwrap();
    switch("1\n");
    let mut probe = open_chip(&copy, "nct6798-isa-0290");
    let mut opened = |seconds| {
        let out = of_chip(probe.as_mut(), seconds);
        (out.get("intrusion").cloned(), out.note)
    };
    assert_eq!(opened(1), (Some(Value::Absent), None), "it is not connected");
    switch("0\n");
    assert_eq!(opened(2), (Some(Value::Flag(false)), None));
    switch("1\n");
    assert_eq!(opened(3), (Some(Value::Flag(true)), Some("chassis opened".into())));
    // Still known after the chip was looked up again.
    assert_eq!(opened(1000).0, Some(Value::Flag(true)));
    switch("?\n");
    assert_eq!(opened(1001).0, None);
    switch("0\n");
    assert_eq!(opened(1002).0, Some(Value::Flag(false)));
}

#[test]
fn a_point_that_cannot_be_read_any_more_leaves_bad_news_only() {
    let copy = Copy::of("healthy");
    let power = Path::new("sys/devices/pci0000:00/0000:00:1f.4/i2c-7/7-0058/hwmon/hwmon3");
    let mut probe = open_chip(&copy, "pmbus-i2c-7-58");
    assert_eq!(of_chip(probe.as_mut(), 1).get("critical"), Some(&Value::Number(0.0)));
    copy.overwrite(&power.join("temp1_input"), b"?\n");
    let out = of_chip(probe.as_mut(), 2);
    assert_eq!((out.get("critical"), out.get("temperature")), (None, None), "{out:?}");
    assert_eq!(out.get("power"), Some(&Value::Number(210.0)));
    assert!(out.note.is_some_and(|note| note.contains("temp1_input")));
    // The end of the scale: nobody is connected any more.
    copy.overwrite(&power.join("temp1_input"), b"255500\n");
    let out = of_chip(probe.as_mut(), 3);
    assert_eq!((out.get("critical"), out.get("temperature")), (None, None), "{out:?}");
    copy.overwrite(&power.join("in2_input"), b"9000\n");
    assert_eq!(of_chip(probe.as_mut(), 3).get("critical"), Some(&Value::Number(1.0)));
    fs::rename(copy.path().join("sys/class/hwmon/hwmon3"), copy.path().join("away")).unwrap();
    fs::remove_dir_all(copy.path().join(power)).unwrap();
    assert_eq!(of_chip(probe.as_mut(), 4).get("present"), Some(&Value::Flag(false)));
}

#[test]
fn memory_errors_are_told_by_module_and_by_any_layout() {
    let sensor = sensors::find("ecc").unwrap();
    let Source::Quick(open) = sensor.source else { panic!("ecc is quick") };
    for (tree, note) in [
        ("healthy", None),
        (
            "failing",
            Some(
                "CPU_SrcID#0_MC#0_Chan#0_DIMM#0: 2 uncorrected, 40 corrected; \
                 DIMM_B1: 0 uncorrected, 3 corrected; mc0 dimm1: 0 uncorrected, 2 corrected",
            ),
        ),
    ] {
        let root = Root::recorded(trees().join(tree));
        let mut out = Readings::new(sensor.quantities);
        open(&root, "", &Options::default()).unwrap().read(at(1), Wanted::ALL, &mut out).unwrap();
        assert_eq!(out.note.as_deref(), note, "{tree}");
    }
}

#[test]
fn a_processor_that_is_switched_off_keeps_what_it_counted() {
    let copy = Copy::of("healthy");
    let sensor = sensors::find("thermal").unwrap();
    let Source::MayHang(open) = sensor.source else { panic!("thermal may hang") };
    let mut probe = open(&copy.root(), "", &Options::default()).unwrap();
    let mut throttles = || {
        let mut out = Readings::new(sensor.quantities);
        probe.read(at(1), Wanted::ALL, &mut out).map(|()| out.get("throttles").cloned())
    };
    assert_eq!(throttles().unwrap(), Some(Value::Number(5.0)));
    fs::remove_dir_all(copy.path().join("sys/devices/system/cpu/cpu0")).unwrap();
    assert_eq!(throttles().unwrap(), Some(Value::Number(5.0)));
    let zone = Path::new("sys/devices/virtual/thermal/thermal_zone2/temp");
    copy.overwrite(zone, b"x\n");
    assert!(throttles().is_err(), "nobody knows the heat of this zone any more");
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Folders of one sensor: to mutate their many files for all sensors would take minutes.
const OWN_FOLDERS: [(&str, &str); 5] = [
    ("hwmon", "/hwmon/"),
    ("ecc", "/edac/"),
    ("thermal", "/thermal"),
    ("btrfs", "/btrfs/"),
    ("zfs", "/zfs/"),
];

fn is_read_by(file: &Path, sensor: &str) -> bool {
    let file = file.to_str().unwrap();
    match OWN_FOLDERS.iter().find(|(_, folder)| file.contains(folder)) {
        Some((owner, _)) => sensor == *owner,
        None => OWN_FOLDERS.iter().all(|(owner, _)| sensor != *owner),
    }
}

#[test]
fn mutated_files_never_break_a_sensor() {
    let seed = number_from("MASTIFF_SEED").unwrap_or(SEED).max(1);
    let count = number_from("MASTIFF_MUTATIONS").unwrap_or(MUTATIONS);
    println!("MASTIFF_SEED={seed}");
    let mut random = Random(seed);
    for tree in ["healthy", "failing"] {
        let copy = Copy::of(tree);
        let mut kept = open_all(&copy.root());
        let mut now = 0;
        for file in files(copy.path()) {
            if file.starts_with("later") || file.ends_with("NOTE.md") {
                continue;
            }
            let good = fs::read(copy.path().join(&file)).unwrap();
            for round in 0..count {
                let mut bad = good.clone();
                for _ in 0..=random.below(3) {
                    random.mutate(&mut bad);
                }
                println!("{tree} {} round {round}", file.display());
                copy.overwrite(&file, &bad);
                now += 1;
                let reads = |sensor: &str| is_read_by(&file, sensor);
                let kept = kept.iter_mut().filter(|opened| reads(opened.sensor.name));
                for opened in kept.chain(&mut open_some(&copy.root(), reads)) {
                    read(opened, at(now));
                }
            }
            copy.overwrite(&file, &good);
        }
    }
}

#[test]
fn endless_lines_are_bounded() {
    let copy = Copy::of("healthy");
    for (byte, ending) in [(b'9', ""), (b' ', "\n"), (b'x', "\n")] {
        for file in files(copy.path()) {
            if !file.starts_with("later") {
                let mut endless = vec![byte; 300 * 1024];
                endless.extend(ending.as_bytes());
                copy.overwrite(&file, &endless);
            }
        }
        for mut opened in open_all(&copy.root()) {
            if let Some(reading) = read(&mut opened, at(1))
                && opened.sensor.name == "kernel-log"
            {
                assert_eq!(reading.get("records"), Some(&Value::Number(0.0)));
            }
        }
    }
}
