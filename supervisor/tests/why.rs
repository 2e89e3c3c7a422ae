//! `mastiff why` and `mastiff events --boot` on a flight record: the built program, no daemon.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on may stop where it stands"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mastiff::flight::{EventWords, Kind, Record, file};
use serde_json::Value;

const BEGAN_SECS: u64 = 1_795_000_000;

/// A configuration and a flight record of two boots that ended, in a folder of their own.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("mastiff-why-{name}-{}", std::process::id());
        let place = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(place.state()).unwrap();
        let config = format!("[node]\nstate-dir = \"{}\"\n", place.state().display());
        std::fs::write(place.0.join("mastiff.toml"), config).unwrap();
        place
    }

    fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// Boot `first` hung with an armed watchdog of 30 s; `second` began 40 s later.
    fn with_record(name: &str) -> Self {
        let place = Self::new(name);
        let mut lines = Vec::new();
        let mut note = |boot: &str, kind: Kind, secs: u64, up: u64, text: &str| {
            let (seq, at_ns) = (lines.len() as u64, i64::try_from(up).unwrap() * 1_000_000_000);
            let unix_ms = (BEGAN_SECS + secs) * 1000;
            let mut record = Record::new(seq, boot, at_ns, unix_ms, kind, text);
            if kind == Kind::Event {
                let (kind, severity) = ("verdict".into(), "error".into());
                record.event = Some(EventWords { kind, severity });
            }
            lines.push((lines.len(), record.line()));
        };
        note("first", Kind::Start, 10, 10, "mastiffd starts");
        note("first", Kind::Armed, 11, 11, "iTCO_wdt, time-out 30s");
        note("first", Kind::Event, 90, 90, "disk has failed");
        note("first", Kind::Pulse, 100, 100, "load 9.9");
        note("second", Kind::Start, 150, 10, "mastiffd starts");
        note("second", Kind::Event, 160, 20, "disk is healthy");
        file::write(&file::path(&place.state()), &lines).unwrap();
        place
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let config = self.0.join("mastiff.toml");
        mastiff(&config, arguments)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn mastiff(config: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mastiff"));
    command.arg("--config").arg(config).args(arguments).stdin(Stdio::null());
    command.env_remove("NO_COLOR").env_remove("COLUMNS").output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_sentence_comes_first_and_the_evidence_under_it() {
    let place = Place::with_record("sentence");
    let output = place.run(&["why", "--boot", "-2"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut lines = text.lines();
    let first = lines.next().unwrap();
    assert!(first.starts_with("The machine seems to have hung") && first.ends_with("(likely)."));
    assert!(
        lines.all(|line| line.starts_with("    ") || line.starts_with("To know more")),
        "{text}"
    );
    assert!(text.contains("disk has failed") && text.contains("40s later"), "{text}");
    let json = place.run(&["--json", "why", "--boot=-2"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["cause"], &json["confidence"]), (&"watchdog".into(), &"likely".into()));
    assert!(json["evidence"].as_array().unwrap().len() > 3);
}

#[test]
fn events_of_earlier_boots_are_shown_with_how_each_ended() {
    let place = Place::with_record("events");
    let text = said(&place.run(&["events", "--all"]));
    let order =
        ["---- boot of ", "disk has failed", "---- it ended: The machine", "disk is healthy"];
    let places: Vec<usize> = order.iter().map(|part| text.find(part).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
    assert_eq!(text.matches("---- it ended: ").count(), 2, "{text}");
    let second = said(&place.run(&["events", "--boot", "-1"]));
    assert!(second.contains("disk is healthy") && !second.contains("disk has failed"), "{second}");
    let json = said(&place.run(&["--json", "events", "--boot=-2"]));
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["verdict", "boot-ended"]);
    assert!(lines.iter().all(|line| line["boot"] == "first"));
    let none = place.run(&["events", "--boot", "0"]);
    assert_eq!(none.status.code(), Some(1), "{none:?}");
}

#[test]
fn without_a_record_nobody_knows_and_it_says_what_to_do() {
    let place = Place::new("nothing");
    let output = place.run(&["--json", "why"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The machine that runs this test may have traces of its own.
    let is_known = json["cause"] != "unknown";
    assert_eq!(output.status.code(), Some(if is_known { 0 } else { 1 }), "{output:?}");
    assert!(is_known || !json["next_time"].as_array().unwrap().is_empty(), "{json}");
    assert_eq!(place.run(&["why", "--boot", "-7"]).status.code(), Some(1));
    for wrong in ["0", "1", "x", "-"] {
        assert_eq!(place.run(&["why", "--boot", wrong]).status.code(), Some(64), "{wrong}");
    }
    std::fs::create_dir(file::path(&place.state())).unwrap();
    let output = place.run(&["why"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
}
