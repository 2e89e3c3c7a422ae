//! What a sensor says: named quantities with units, and the value of each at one moment.
//!
//! A quantity is declared once, as a [`Quantity`]; conditions, the command line, the exporter and
//! the man page all follow from that declaration. A value is three-valued: present,
//! [`Value::Absent`] (this machine has no such thing, so no condition on it can hold) or missing
//! (nobody knows, so every condition on it is unknown).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

use crate::time::Span;

/// What a number means, and how it is written and printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A share of a whole, 0 to 1; written `95%`.
    Ratio,
    /// Bytes; written `10GiB`, `64k`.
    Bytes,
    /// Bytes in each second; written `10MiB` or `10MiB/s`.
    BytesPerSecond,
    /// Degrees Celsius; written `90C`.
    Celsius,
    /// A length of time in seconds; written as systemd does, `1min 30s`.
    Seconds,
    /// How many there are now; may fall.
    Count,
    /// How many there have been; grows until its source restarts. `restarts > 3 in 10m` counts the
    /// growth.
    Total,
    /// Events in each second.
    PerSecond,
    /// True or false; written as the bare name, or `name = false`.
    Flag,
    /// One word of this list, or any word where the list is empty; written `state != active`.
    Word(&'static [&'static str]),
}

impl Unit {
    /// The unit as `mastiff check`, the man pages and JSON name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ratio => "ratio",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "bytes/s",
            Self::Celsius => "celsius",
            Self::Seconds => "seconds",
            Self::Count => "count",
            Self::Total => "total",
            Self::PerSecond => "1/s",
            Self::Flag => "flag",
            Self::Word(_) => "word",
        }
    }
}

/// One thing that a sensor measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// Kebab-case, unique in its sensor.
    pub name: &'static str,
    /// What its values mean.
    pub unit: Unit,
    /// One clause for the man page and `--help`, with what its absence means.
    pub meaning: &'static str,
}

/// The value of one quantity. Numbers are in base units: bytes, seconds, degrees, shares of 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// A measured number; never NaN or infinite.
    Number(f64),
    /// A yes or no.
    Flag(bool),
    /// A word.
    Word(Box<str>),
    /// There is no such thing here: a file system without inodes, a machine without swap.
    Absent,
}

/// The values of one reading, a slot for each quantity that the sensor declares.
#[derive(Clone, Debug, PartialEq)]
pub struct Readings {
    quantities: &'static [Quantity],
    slots: Vec<Option<Value>>,
    /// What a person should read beside the numbers: a plugin's first line, the reason of a state.
    pub note: Option<Box<str>>,
    /// A name that was set but never declared: a bug in the sensor, shown rather than hidden.
    undeclared: Option<Box<str>>,
}

impl Readings {
    /// No value is known yet.
    pub fn new(quantities: &'static [Quantity]) -> Self {
        Self {
            quantities,
            slots: alloc::vec![None; quantities.len()],
            note: None,
            undeclared: None,
        }
    }

    /// From slots that travelled between processes; surplus ones are dropped, lacking ones are
    /// missing.
    pub fn from_slots(
        quantities: &'static [Quantity],
        mut slots: Vec<Option<Value>>,
        note: Option<Box<str>>,
    ) -> Self {
        slots.resize(quantities.len(), None);
        Self { quantities, slots, note, undeclared: None }
    }

    /// The slots, in the order of the declaration.
    pub fn slots(&self) -> &[Option<Value>] {
        &self.slots
    }

    /// What was declared.
    pub fn quantities(&self) -> &'static [Quantity] {
        self.quantities
    }

    /// A name that a sensor set without declaring it.
    pub fn undeclared(&self) -> Option<&str> {
        self.undeclared.as_deref()
    }

    /// Forgets all values, so that one buffer serves many readings.
    pub fn clear(&mut self) {
        self.slots.fill(None);
        self.note = None;
    }

    /// Sets a number; one that is not finite stays missing.
    pub fn number(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            self.set(name, Value::Number(value));
        }
    }

    /// Sets a whole number. Above 2^53 it is rounded.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counters beyond 2^53 may lose their last digit"
    )]
    pub fn count(&mut self, name: &str, value: u64) {
        self.set(name, Value::Number(value as f64));
    }

    /// Sets a length of time.
    pub fn span(&mut self, name: &str, value: Span) {
        self.set(name, Value::Number(value.as_secs_f64()));
    }

    /// Sets a yes or no.
    pub fn flag(&mut self, name: &str, value: bool) {
        self.set(name, Value::Flag(value));
    }

    /// Sets a word.
    pub fn word(&mut self, name: &str, value: &str) {
        self.set(name, Value::Word(value.into()));
    }

    /// Says that this machine has no such thing.
    pub fn absent(&mut self, name: &str) {
        self.set(name, Value::Absent);
    }

    /// Sets `name` to `part / whole`, or to absent where the whole is nothing.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    pub fn ratio(&mut self, name: &str, part: u64, whole: u64) {
        if whole == 0 {
            self.absent(name);
        } else {
            self.set(name, Value::Number(part as f64 / whole as f64));
        }
    }

    /// Sets any value.
    pub fn set(&mut self, name: &str, value: Value) {
        match self.index(name).and_then(|index| self.slots.get_mut(index)) {
            Some(slot) => *slot = Some(value),
            None => self.undeclared = Some(name.into()),
        }
    }

    /// The value of a quantity; `None` when it is missing.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.slots.get(self.index(name)?)?.as_ref()
    }

    /// The value in one slot; `None` when it is missing.
    pub fn at(&self, index: usize) -> Option<&Value> {
        self.slots.get(index)?.as_ref()
    }

    /// Declared quantities with their values, in the order of the declaration.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Quantity, Option<&Value>)> {
        self.quantities.iter().zip(self.slots.iter().map(Option::as_ref))
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.quantities.iter().position(|quantity| quantity.name == name)
    }
}

/// Prints a value in its unit, short enough for a table: `81.2 %`, `3.4 GiB`, `12s`, `active`, `-`.
pub struct Shown<'a>(pub Unit, pub Option<&'a Value>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.1, self.0) {
            (None, _) => f.write_str("unknown"),
            (Some(Value::Absent), _) => f.write_str("none"),
            (Some(Value::Flag(flag)), _) => f.write_str(if *flag { "yes" } else { "no" }),
            (Some(Value::Word(word)), _) => f.write_str(word),
            (Some(Value::Number(number)), unit) => show_number(f, unit, *number),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts of floats saturate"
)]
fn show_number(f: &mut fmt::Formatter<'_>, unit: Unit, number: f64) -> fmt::Result {
    match unit {
        Unit::Ratio => write!(f, "{:.1}%", number * 100.0),
        Unit::Bytes => show_bytes(f, number),
        Unit::BytesPerSecond => show_bytes(f, number).and_then(|()| f.write_str("/s")),
        Unit::Celsius => write!(f, "{number:.1}C"),
        Unit::Seconds if number < 0.0 => write!(f, "-{}", Span::from_nanos((-number * 1e9) as u64)),
        Unit::Seconds => write!(f, "{}", Span::from_nanos((number * 1e9) as u64)),
        Unit::PerSecond => write!(f, "{number:.1}/s"),
        Unit::Count | Unit::Total | Unit::Flag | Unit::Word(_) => {
            // `f64::fract` is not in core: a number that survives the way through an integer is
            // whole.
            #[expect(clippy::cast_precision_loss, clippy::float_cmp, reason = "that is the test")]
            if number as i64 as f64 == number {
                write!(f, "{number:.0}")
            } else {
                write!(f, "{number:.2}")
            }
        }
    }
}

fn show_bytes(f: &mut fmt::Formatter<'_>, bytes: f64) -> fmt::Result {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            let digits = usize::from(value < 100.0 && unit != "B");
            return write!(f, "{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    write!(f, "{value:.1} PiB")
}
