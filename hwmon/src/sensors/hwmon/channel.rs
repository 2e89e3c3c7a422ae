//! One measuring point of a chip, and what its own limits say of it.

use std::path::Path;

use mastiff_core::sorted::Set;

use crate::kept::{self, Kept};
use crate::once;
use crate::sensor::SensorError;
use crate::text;

/// Points of one chip at most; the largest controllers of servers have some seventy.
const CHANNELS_MAX: usize = 128;

/// Temperatures outside of this are those of a thermistor that is not connected: chips then show
/// the end of their scale.
const TEMPERATURES: std::ops::Range<f64> = -60.0..200.0;

/// No part of a server is in danger at less, in degrees Celsius.
const CRITICAL_LEAST: f64 = 40.0;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// `tempN`, in thousandths of a degree Celsius.
    Temperature,
    /// `fanN`, in revolutions per minute.
    Fan,
    /// `inN`, in thousandths of a volt.
    Voltage,
    /// `currN`, in thousandths of an ampere.
    Current,
    /// `powerN`, in millionths of a watt.
    Power,
}

impl Kind {
    const ALL: [(Self, &'static str, f64, &'static str); 5] = [
        (Self::Temperature, "temp", 1e3, "C"),
        (Self::Fan, "fan", 1.0, " rpm"),
        (Self::Voltage, "in", 1e3, " V"),
        (Self::Current, "curr", 1e3, " A"),
        (Self::Power, "power", 1e6, " W"),
    ];

    /// The quantity of the sensor that has the value of a single point.
    const fn quantity(self) -> &'static str {
        match self {
            Self::Temperature => "temperature",
            Self::Fan => "fan",
            Self::Voltage => "voltage",
            Self::Current => "current",
            Self::Power => "power",
        }
    }

    /// Prefix of the file names, what one unit is in theirs, and how it is written.
    fn form(self) -> (&'static str, f64, &'static str) {
        let own = Self::ALL.iter().find(|form| form.0 == self);
        own.map_or(("", 1.0, ""), |form| (form.1, form.2, form.3))
    }
}

/// What the limits of a channel say, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// Inside all of them, or there are none.
    Fine,
    /// Beyond `_max` or below `_min`, or the chip's alarm is on.
    Warning,
    /// The chip says that the sensor or fan is broken (`_fault`).
    Broken,
    /// Beyond `_crit` or `_emergency`, or below `_lcrit`. One fan that stands is none of that: if
    /// it was needed, it gets too hot.
    Critical,
}

/// What one channel said.
pub(super) enum Said {
    /// Its value, in whole units, and what the limits say of it.
    Value(f64, Verdict),
    /// It is switched off, asleep or not connected: there is nothing to say.
    Nothing,
    /// It has a value, and it could not be read.
    Failed(SensorError),
}

#[derive(Debug, Default, PartialEq)]
struct Limits {
    low: Option<f64>,
    high: Option<f64>,
    low_critical: Option<f64>,
    high_critical: Option<f64>,
}

/// One measuring point with its open files.
pub(super) struct Channel {
    pub(super) kind: Kind,
    /// `temp1`.
    pub(super) name: String,
    /// What the driver calls it, else its name.
    pub(super) label: String,
    input: Kept,
    fault: Option<Kept>,
    /// Only where the chip says no limits.
    alarm: Option<Kept>,
    /// How fast a fan is to turn, 0 to 255.
    wish: Option<Kept>,
    limits: Limits,
    /// It gave a value since it was first opened.
    pub(super) known: bool,
    /// A fan that was seen turning.
    pub(super) turned: bool,
    /// The same, and stands now although nobody asked it to.
    pub(super) stands: bool,
}

/// Opens the channels of a chip, in the order of their kinds and numbers.
pub(super) fn all(directory: &Path) -> Result<Vec<Channel>, SensorError> {
    let names = once::names(directory);
    if names.is_empty() {
        return Err(SensorError::malformed(directory, "the files of a chip"));
    }
    let found: Set<(Kind, u64)> =
        names.iter().filter_map(|name| numbered(name)).take(CHANNELS_MAX).collect();
    Ok(found.into_iter().filter_map(|(kind, number)| open(directory, kind, number)).collect())
}

/// Label, name and quantity of each channel of a chip, in the order of their kinds and numbers,
/// without opening what has a value.
pub(super) fn names(directory: &Path) -> impl Iterator<Item = (String, String, &'static str)> {
    let found: Set<(Kind, u64)> = once::names(directory)
        .iter()
        .filter_map(|name| numbered(name))
        .take(CHANNELS_MAX)
        .collect();
    found.into_iter().map(|(kind, number)| {
        let name = format!("{}{number}", kind.form().0);
        let label = once::shown(&directory.join(format!("{name}_label")));
        (label.unwrap_or_else(|| name.clone()), name, kind.quantity())
    })
}

/// The kind and number of a file with a value: `temp1_input`; power may be known as an average
/// only.
pub(super) fn numbered(file: &str) -> Option<(Kind, u64)> {
    let (name, suffix) = file.split_once('_')?;
    let (kind, number) = Kind::ALL
        .iter()
        .find_map(|form| Some((form.0, text::whole(name.strip_prefix(form.1)?)?)))?;
    let value = suffix == "input" || (suffix == "average" && kind == Kind::Power);
    value.then_some((kind, number))
}

fn open(directory: &Path, kind: Kind, number: u64) -> Option<Channel> {
    let (prefix, scale, _) = kind.form();
    let name = format!("{prefix}{number}");
    let file = |suffix: &str| Kept::open_short(directory.join(format!("{name}_{suffix}"))).ok();
    let input = file("input").or_else(|| file("average"))?;
    let label = once::shown(&directory.join(format!("{name}_label")));
    // Voltages and currents that the driver has no word for are those at the pins of the chip:
    // nobody has set limits for them, and the ones of power-up are exceeded on healthy boards.
    let judged = !matches!(kind, Kind::Voltage | Kind::Current) || label.is_some();
    let mut stated = false;
    let mut limit = |suffix: &str| {
        let value = file(suffix)?.line().ok()?.and_then(text::signed)? / scale;
        stated = true;
        Some(value)
    };
    let (emergency, critical) = (limit("emergency"), limit("crit"));
    let limits = Limits {
        low: limit("min"),
        // Of a fan it is what it can do, not what it may.
        high: if kind == Kind::Fan { None } else { limit("max") },
        low_critical: limit("lcrit"),
        high_critical: critical.or(emergency),
    };
    let limits = if judged { limits.sane(kind) } else { Limits::default() };
    Some(Channel {
        kind,
        label: label.unwrap_or_else(|| name.clone()),
        input,
        fault: file("fault"),
        alarm: if judged && !stated { file("alarm") } else { None },
        wish: if kind == Kind::Fan {
            Kept::open_short(directory.join(format!("pwm{number}"))).ok()
        } else {
            None
        },
        limits,
        name,
        known: false,
        turned: false,
        stands: false,
    })
}

impl Limits {
    /// Without those that nobody can have meant: registers that were never set are zero, or at the
    /// end of their scale.
    fn sane(self, kind: Kind) -> Self {
        let crossed = matches!((self.low, self.high), (Some(low), Some(high)) if low >= high);
        let positive = |limit: &f64| *limit > 0.0;
        let low = self.low.filter(|low| kind == Kind::Temperature || *low > 0.0);
        Self {
            low: if crossed { None } else { low },
            high: if crossed { None } else { self.high.filter(positive) },
            low_critical: self.low_critical.filter(positive),
            // Some firmwares say 20.8 C of a zone that always has 16.8.
            high_critical: self.high_critical.filter(|limit| match kind {
                Kind::Temperature => *limit >= CRITICAL_LEAST,
                _ => positive(limit),
            }),
        }
    }

    fn judge(&self, value: f64) -> Verdict {
        let above = |limit: Option<f64>| limit.is_some_and(|limit| value >= limit);
        let below = |limit: Option<f64>| limit.is_some_and(|limit| value < limit);
        if above(self.high_critical) || below(self.low_critical) {
            Verdict::Critical
        } else if self.high.is_some_and(|limit| value > limit) || below(self.low) {
            Verdict::Warning
        } else {
            Verdict::Fine
        }
    }
}

impl Channel {
    /// Takes its value.
    pub(super) fn read(&mut self) -> Said {
        // Read first: the value of a broken one means nothing. A thermistor that is broken from the
        // beginning is one that this board does not have.
        if self.fault.as_mut().is_some_and(is_on) {
            let missing = self.kind == Kind::Temperature && !self.known;
            return if missing { Said::Nothing } else { Said::Value(0.0, Verdict::Broken) };
        }
        let scale = self.kind.form().1;
        let value = match self.input.line() {
            Ok(line) => match line.and_then(text::signed) {
                Some(value) => value / scale,
                None => {
                    return Said::Failed(SensorError::malformed(
                        self.input.path(),
                        "one whole number",
                    ));
                }
            },
            Err(error) if kept::is_switched_off(&error, self.known) => return Said::Nothing,
            Err(error) => return Said::Failed(error),
        };
        if self.kind == Kind::Temperature && !TEMPERATURES.contains(&value) {
            if !self.known {
                return Said::Nothing;
            }
            // A thermistor that came off, or a chip that is not on its bus any more.
            let expected = "a temperature as it gave before";
            return Said::Failed(SensorError::malformed(self.input.path(), expected));
        }
        self.known = true;
        self.turned |= self.kind == Kind::Fan && value > 0.0;
        let has_stopped = self.kind == Kind::Fan && value <= 0.0;
        let is_told_to = has_stopped
            && self.wish.as_mut().is_some_and(|wish| matches!(wish.number(), Ok(Some(0))));
        // One that nobody can be seen to have stopped has stopped by itself.
        self.stands = self.turned && has_stopped && !is_told_to;
        if is_told_to {
            return Said::Value(value, Verdict::Fine);
        }
        let verdict = self.limits.judge(value);
        let alarm = verdict == Verdict::Fine && self.alarm.as_mut().is_some_and(is_on);
        Said::Value(value, if alarm { Verdict::Warning } else { verdict })
    }

    /// Degrees left up to its critical limit; negative beyond.
    pub(super) fn left(&self, value: f64) -> Option<f64> {
        self.limits.high_critical.map(|limit| limit - value)
    }

    /// Whether a fan counts, although it may stand: an empty plug has neither turned nor a lowest
    /// speed.
    pub(super) fn is_fan(&self) -> bool {
        self.turned || self.limits.low.is_some()
    }

    /// Adds `Core 0 101.0C (limit 82.0C) (critical 100.0C)` to a note.
    pub(super) fn tell(&self, value: f64, verdict: Verdict, note: &mut String) {
        let unit = self.kind.form().2;
        note.push_str(if note.is_empty() { "" } else { ", " });
        note.push_str(&self.label);
        if verdict == Verdict::Broken {
            note.push_str(" broken");
            return;
        }
        note.push_str(&format!(" {value:.1}{unit}"));
        for (name, limit) in [
            ("lowest", self.limits.low_critical.or(self.limits.low)),
            ("limit", self.limits.high),
            ("critical", self.limits.high_critical),
        ] {
            if let Some(limit) = limit {
                note.push_str(&format!(" ({name} {limit:.1}{unit})"));
            }
        }
    }
}

fn is_on(file: &mut Kept) -> bool {
    matches!(file.number(), Ok(Some(1..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_from_other_files() {
        for (file, channel) in [
            ("temp1_input", Some((Kind::Temperature, 1))),
            ("in0_input", Some((Kind::Voltage, 0))),
            ("power1_average", Some((Kind::Power, 1))),
            ("fan12_input", Some((Kind::Fan, 12))),
            ("curr2_input", Some((Kind::Current, 2))),
            ("temp1_average", None),
            ("temp1_max", None),
            ("intrusion0_alarm", None),
            ("temp_input", None),
            ("tempx_input", None),
            ("power1_average_interval", None),
            ("name", None),
        ] {
            assert_eq!(numbered(file), channel, "{file}");
        }
    }

    #[test]
    fn limits_that_nobody_set_do_not_count() {
        let limits =
            |low, high, critical| Limits { low, high, low_critical: None, high_critical: critical };
        let none = Limits::default();
        for (kind, is, sane) in [
            // it87 after power-up; nct6775 of unused pins.
            (Kind::Temperature, limits(Some(127.0), Some(127.0), None), &none),
            (Kind::Voltage, limits(Some(0.0), Some(0.0), None), &none),
            (Kind::Fan, limits(Some(0.0), None, None), &none),
            (Kind::Temperature, limits(None, Some(0.0), Some(-1.0)), &none),
            (Kind::Temperature, limits(None, None, Some(20.8)), &none),
            (
                Kind::Temperature,
                limits(Some(-273.15), Some(70.0), Some(80.0)),
                &limits(Some(-273.15), Some(70.0), Some(80.0)),
            ),
        ] {
            assert_eq!(is.sane(kind), *sane, "{kind:?}");
        }
    }

    #[test]
    fn values_are_held_against_the_limits() {
        let limits = Limits {
            low: Some(5.0),
            high: Some(80.0),
            low_critical: None,
            high_critical: Some(100.0),
        };
        for (value, verdict) in [
            (80.0, Verdict::Fine),
            (80.5, Verdict::Warning),
            (4.0, Verdict::Warning),
            (0.0, Verdict::Warning),
            (100.0, Verdict::Critical),
        ] {
            assert_eq!(limits.judge(value), verdict, "{value}");
        }
        assert_eq!(Limits::default().judge(0.0), Verdict::Fine);
    }
}
