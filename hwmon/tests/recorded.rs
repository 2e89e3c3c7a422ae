//! Every sensor that reads files, on recorded trees: a healthy machine, a failing one, and trees that are
//! truncated, hostile or empty. Each tree says in its NOTE.md where it came from.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "harness/copies.rs"]
mod copies;
mod harness;

use std::fs;
use std::io::Write;
use std::path::Path;

use copies::{Copy, Shown, assert_shown, files, trees, twice};
use harness::{at, open_all, read};
use mastiff_core::reading::{Readings, Value};
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::{Options, Source, Wanted};
use mastiff_hwmon::sensors;

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

/// A tree, a sensor and its target; what the first reading says.
type Expected = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

const EXPECTED: &[Expected] = &[
    (
        "healthy",
        "load",
        "",
        &[
            ("load-1", "0.19"),
            ("load-5", "0.35"),
            ("load-15", "0.23"),
            ("per-cpu", "0.175"),
            ("runnable", "1"),
            ("tasks", "99"),
        ],
    ),
    (
        "healthy",
        "memory",
        "",
        &[
            ("total", "25276502016"),
            ("available", "24778911744"),
            ("used", "0.019686"),
            ("free", "23893950464"),
            ("dirty", "112881664"),
            ("writeback", "0"),
            ("slab", "155774976"),
            ("slab-unreclaimable", "28983296"),
            ("huge-pages-used", "absent"),
            ("hardware-corrupted", "absent"),
            ("committed", "98291712"),
            ("commit-used", "absent"),
        ],
    ),
    (
        "healthy",
        "pressure",
        "",
        &[
            ("cpu-some-10", "0.0289"),
            ("cpu-some-60", "0.0146"),
            ("memory-some-10", "0"),
            ("memory-some-60", "0"),
            ("memory-full-10", "0"),
            ("memory-full-60", "0"),
            ("io-some-10", "0.0048"),
            ("io-some-60", "0.004"),
            ("io-full-10", "0.0038"),
            ("io-full-60", "0.0037"),
        ],
    ),
    (
        "healthy",
        "tables",
        "",
        &[
            ("open-files", "0"),
            ("pids", "0.003021"),
            ("threads", "0.000514"),
            ("conntrack", "0"),
            ("aio", "0"),
        ],
    ),
    (
        "healthy",
        "taint",
        "",
        &[
            ("tainted", "false"),
            ("machine-check", "false"),
            ("bad-page", "false"),
            ("died", "false"),
            ("warned", "false"),
            ("soft-lockup", "false"),
        ],
    ),
    ("healthy", "link", "eth1", &[("present", "false"), ("up", "absent"), ("carrier", "absent")]),
    (
        "failing",
        "load",
        "",
        &[
            ("load-1", "64"),
            ("load-5", "48"),
            ("load-15", "20.5"),
            ("per-cpu", "12"),
            ("runnable", "9"),
            ("tasks", "31500"),
        ],
    ),
    ("failing", "cpu", "", &[("blocked", "25")]),
    (
        "failing",
        "memory",
        "",
        &[
            ("total", "16384000000"),
            ("available", "327680000"),
            ("used", "0.98"),
            ("free", "102400000"),
            ("dirty", "409600000"),
            ("writeback", "81920000"),
            ("slab", "2048000000"),
            ("slab-unreclaimable", "1536000000"),
            ("huge-pages-used", "0.9"),
            ("hardware-corrupted", "8192"),
            ("committed", "13312000000"),
            ("commit-used", "1"),
        ],
    ),
    ("failing", "swap", "", &[("used", "0.95"), ("oom-kills", "7")]),
    (
        "failing",
        "pressure",
        "",
        &[
            ("cpu-some-10", "0.95"),
            ("cpu-some-60", "0.905"),
            ("memory-some-10", "0.8"),
            ("memory-some-60", "0.75"),
            ("memory-full-10", "0.6"),
            ("memory-full-60", "0.5"),
            ("io-some-10", "1"),
            ("io-some-60", "0.99"),
            ("io-full-10", "0.97"),
            ("io-full-60", "0.96"),
        ],
    ),
    (
        "failing",
        "tables",
        "",
        &[
            ("open-files", "0.96"),
            ("pids", "0.961304"),
            ("threads", "0.5"),
            ("conntrack", "absent"),
            ("aio", "1"),
        ],
    ),
    (
        "failing",
        "taint",
        "",
        &[
            ("tainted", "true"),
            ("machine-check", "true"),
            ("bad-page", "false"),
            ("died", "true"),
            ("warned", "true"),
            ("soft-lockup", "false"),
        ],
    ),
    (
        "failing",
        "link",
        "eth0",
        &[
            ("present", "true"),
            ("up", "true"),
            ("carrier", "false"),
            ("speed", "absent"),
            ("duplex", "unknown"),
            ("errors", "321"),
            ("drops", "9"),
            ("carrier-changes", "17"),
        ],
    ),
    (
        "failing",
        "link",
        "eth1",
        &[
            ("present", "true"),
            ("up", "false"),
            ("carrier", "absent"),
            ("errors", "321"),
            ("drops", "9"),
            ("carrier-changes", "17"),
        ],
    ),
    // What was cut off is missing, and so is what cannot be: no digit of a number counts alone.
    ("truncated", "memory", "", &[("total", "25276502016"), ("free", "23893950464")]),
    ("truncated", "swap", "", &[]),
    ("truncated", "pressure", "", &[("memory-some-10", "0"), ("memory-some-60", "0")]),
    ("truncated", "tables", "", &[]),
    (
        "truncated",
        "link",
        "eth1",
        &[("present", "true"), ("up", "true"), ("carrier-changes", "absent")],
    ),
    ("hostile", "memory", "", &[("total", "16384000000")]),
    ("hostile", "swap", "", &[]),
    ("hostile", "pressure", "", &[]),
    // More entries than the limit: full.
    ("hostile", "tables", "", &[("conntrack", "1")]),
    ("hostile", "link", "eth1", &[("present", "true"), ("up", "true")]),
];

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
        ("hostile", "cpu", ""),
        ("hostile", "load", ""),
        ("hostile", "taint", ""),
        ("hostile", "link", "eth0"),
        ("healthy", "time", ""),
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
                ("received", "1000000"),
                ("sent", "250000"),
                ("errors", "0"),
                ("drops", "0"),
                ("carrier-changes", "2"),
            ],
        ),
    ] {
        let [one, two] = twice(&Copy::of("healthy"), sensor, target);
        assert_shown(&format!("{sensor}, first"), &one.unwrap(), &first);
        assert_shown(&format!("{sensor}, second"), &two.unwrap(), &second);
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
    let options = Options([("match".to_owned(), "usb * disconnect".to_owned())].into());
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

/// Xorshift; twenty lines of our own are enough for bad bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap()
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        const WORDS: [&[u8]; 10] = [
            b"-1",
            b"18446744073709551615",
            b"18446744073709551616",
            b"1e308",
            b"nan",
            b"\0\0\0\0",
            b"\xff\xfe",
            b"\n",
            b" ",
            b"",
        ];
        let at = self.below(bytes.len());
        let end = bytes.len().min(at + self.below(24));
        match self.below(5) {
            0 => bytes.truncate(at),
            1 => {
                let word = WORDS[self.below(WORDS.len())];
                bytes.splice(at..end, word.iter().copied());
            }
            2 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            3 => {
                for byte in &mut bytes[at..end] {
                    *byte ^= 1 << (self.0 % 8);
                }
            }
            // A number that is where a number belongs, but far too large.
            _ => {
                let digit = bytes.iter().skip(at).position(u8::is_ascii_digit).map(|i| at + i);
                let place = digit.unwrap_or(at);
                bytes.splice(place..place, b"9".repeat(1 + self.below(25)));
            }
        }
    }
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
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
                for opened in kept.iter_mut().chain(&mut open_all(&copy.root())) {
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
