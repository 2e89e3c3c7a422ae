//! The heartbeat of an application: `WATCHDOG=1` datagrams as for systemd (sd_notify(3)), sent to
//! the daemon.
//!
//! The daemon owns the socket and finds out which check a datagram belongs to: by the unit of the
//! sender or by `X_MASTIFF_NAME`. This file declares the sensor, understands a datagram and keeps
//! what was said.

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::sensor::{Sensor, Source, Target};

/// Bytes of a datagram that are looked at; what lies behind is ignored.
pub const DATAGRAM_BYTES_MAX: usize = 4096;

/// Characters of a status text that are kept.
pub const STATUS_CHARS_MAX: usize = 256;

/// Bytes of a name at most: that of a unit name.
pub const NAME_BYTES_MAX: usize = 255;

/// The heartbeat of an application (sd_notify(3)).
pub const SENSOR: Sensor = Sensor {
    name: "heartbeat",
    hardware: false,
    summary: "Heartbeat datagrams (`WATCHDOG=1`) that an application sends to the daemon.",
    target: Target::Name,
    options: &[],
    quantities: QUANTITIES,
    warn_when: &[],
    fail_when: &["age > 30s", "triggered"],
    interval: Span::from_secs(1),
    fail_after: Span::ZERO,
    recover_after: Span::ZERO,
    discover: None,
    source: Source::Heartbeat,
};

const QUANTITIES: &[Quantity] = &[
    Quantity {
        name: "age",
        unit: Unit::Seconds,
        meaning: "time since the last beat; missing before the first one, absent after `STOPPING=1`",
    },
    Quantity { name: "beats", unit: Unit::Total, meaning: "beats since watching began" },
    Quantity {
        name: "triggered",
        unit: Unit::Flag,
        meaning: "it reported an internal fault (`WATCHDOG=trigger`) and has not beaten since",
    },
    Quantity {
        name: "stopping",
        unit: Unit::Flag,
        meaning: "it said that it is shutting down, and has not started again",
    },
];

/// What `WATCHDOG=` said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// `1`: alive.
    Alive,
    /// `trigger`: something inside is wrong, act as if the beat had stopped.
    Trigger,
}

/// What one datagram says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// `WATCHDOG=`.
    pub sign: Option<Sign>,
    /// `READY=1`.
    pub ready: bool,
    /// `STOPPING=1`.
    pub stopping: bool,
    /// `STATUS=`, cut and without control characters.
    pub status: Option<String>,
    /// `X_MASTIFF_NAME=`.
    pub name: Option<String>,
}

/// Reads a datagram: lines of `KEY=VALUE` (sd_notify(3)). Whatever is unknown, too long or no text
/// is ignored, as systemd does, so that a program made for systemd can speak to both.
pub fn parse_datagram(datagram: &[u8]) -> Beat {
    let bytes = datagram.get(..DATAGRAM_BYTES_MAX).unwrap_or(datagram);
    let mut beat = Beat::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        match line.split_once('=') {
            Some(("WATCHDOG", "1")) => beat.sign = beat.sign.or(Some(Sign::Alive)),
            // A fault is not talked away by a beat in the same datagram.
            Some(("WATCHDOG", "trigger")) => beat.sign = Some(Sign::Trigger),
            Some(("READY", "1")) => beat.ready = true,
            Some(("STOPPING", "1")) => beat.stopping = true,
            Some(("STATUS", text)) => {
                let clean = text.chars().filter(|c| !c.is_control()).take(STATUS_CHARS_MAX);
                beat.status = Some(clean.collect());
            }
            Some(("X_MASTIFF_NAME", name)) if is_name(name) => beat.name = Some(name.to_owned()),
            Some(_) | None => {}
        }
    }
    beat
}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control)
}

/// What one application has said so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beats {
    last: Option<Mono>,
    beats: u64,
    triggered: bool,
    stopping: bool,
    status: Option<String>,
}

impl Beats {
    /// Takes one datagram of the application.
    pub fn take(&mut self, beat: Beat, now: Mono) {
        match beat.sign {
            Some(Sign::Alive) => {
                self.last = Some(now);
                self.beats = self.beats.saturating_add(1);
                self.triggered = false;
            }
            Some(Sign::Trigger) => self.triggered = true,
            None => {}
        }
        // `READY=1` is a new start: what the last run complained of is over, and its silence with
        // it.
        if beat.ready {
            self.last = Some(now);
            self.triggered = beat.sign == Some(Sign::Trigger);
        }
        self.stopping = beat.stopping || (self.stopping && beat.sign.is_none() && !beat.ready);
        if beat.status.is_some() {
            self.status = beat.status;
        }
    }

    /// Sets what is known now. Before the first word nothing is: an application that never spoke
    /// may not be running, or not be able to.
    pub fn fill(&self, now: Mono, out: &mut Readings) {
        out.count("beats", self.beats);
        out.flag("triggered", self.triggered);
        out.flag("stopping", self.stopping);
        match self.last {
            // Somebody stops it on purpose: silence is what is to be expected.
            _ if self.stopping => out.absent("age"),
            Some(last) => out.span("age", now.since(last)),
            None => {}
        }
        out.note = match (&self.status, self.last) {
            (Some(status), _) => Some(status.as_str().into()),
            (None, None) if !self.stopping => Some("no heartbeat yet".into()),
            (None, _) => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mastiff_core::reading::Value;

    fn at(seconds: u64) -> Mono {
        Mono::BOOT.after(Span::from_secs(seconds))
    }

    fn filled(beats: &Beats, seconds: u64) -> Readings {
        let mut out = Readings::new(QUANTITIES);
        beats.fill(at(seconds), &mut out);
        assert_eq!(out.undeclared(), None);
        out
    }

    #[test]
    fn datagrams_are_read_as_systemd_reads_them() {
        let beat = parse_datagram(
            b"READY=1\nWATCHDOG=1\nSTATUS=ser\x1bving\nX_MASTIFF_NAME=db\nMAINPID=7\n",
        );
        assert_eq!(
            beat,
            Beat {
                sign: Some(Sign::Alive),
                ready: true,
                stopping: false,
                status: Some("serving".into()),
                name: Some("db".into()),
            }
        );
        let both = parse_datagram(b"WATCHDOG=trigger\nWATCHDOG=1");
        assert_eq!(both.sign, Some(Sign::Trigger));
        for hostile in [
            &b""[..],
            b"\n\n=\n==",
            b"\xff\xfe=1",
            b"WATCHDOG=11",
            b"watchdog=1",
            b"X_MASTIFF_NAME=\x01",
        ] {
            assert_eq!(parse_datagram(hostile), Beat::default(), "{hostile:?}");
        }
        let mut long = b"STATUS=".to_vec();
        long.extend([b'x'; 100_000]);
        long.extend(b"\nWATCHDOG=1");
        let beat = parse_datagram(&long);
        assert_eq!(beat.sign, None, "it lies behind the limit");
        assert_eq!(beat.status.map(|text| text.len()), Some(STATUS_CHARS_MAX));
    }

    #[test]
    fn a_beat_ages_until_the_next() {
        let mut beats = Beats::default();
        let out = filled(&beats, 100);
        assert_eq!(out.get("age"), None, "never heard is unknown, not old");
        assert_eq!(out.note.as_deref(), Some("no heartbeat yet"));
        beats.take(parse_datagram(b"WATCHDOG=1"), at(100));
        assert_eq!(filled(&beats, 140).get("age"), Some(&Value::Number(40.0)));
        beats.take(parse_datagram(b"STATUS=busy"), at(150));
        let out = filled(&beats, 150);
        assert_eq!(out.get("age"), Some(&Value::Number(50.0)), "a status is no beat");
        assert_eq!(
            (out.get("beats"), out.note.as_deref()),
            (Some(&Value::Number(1.0)), Some("busy"))
        );
    }

    #[test]
    fn triggers_and_stops_last_until_it_lives_again() {
        let mut beats = Beats::default();
        beats.take(parse_datagram(b"WATCHDOG=trigger"), at(1));
        assert_eq!(filled(&beats, 1).get("triggered"), Some(&Value::Flag(true)));
        beats.take(parse_datagram(b"WATCHDOG=1"), at(2));
        assert_eq!(filled(&beats, 2).get("triggered"), Some(&Value::Flag(false)));
        beats.take(parse_datagram(b"STOPPING=1"), at(3));
        let out = filled(&beats, 500);
        assert_eq!(out.get("age"), Some(&Value::Absent));
        assert_eq!(out.get("stopping"), Some(&Value::Flag(true)));
        beats.take(parse_datagram(b"READY=1"), at(600));
        let out = filled(&beats, 601);
        assert_eq!(out.get("age"), Some(&Value::Number(1.0)));
        assert_eq!(out.get("stopping"), Some(&Value::Flag(false)));
    }
}
