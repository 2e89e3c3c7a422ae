//! Time as a value: [`Mono`], a moment, and [`Span`], a length. The core never reads a clock.

use core::fmt;
use serde::{Deserialize, Serialize};

/// A moment: nanoseconds of `CLOCK_BOOTTIME`, which counts suspend and which nobody can set.
///
/// Negative values lie before this boot: budgets that outlive a reboot are kept in them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Mono(i64);

/// A length of time in nanoseconds, never negative. Arithmetic saturates.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Span(u64);

impl Mono {
    /// The moment of boot.
    pub const BOOT: Self = Self(0);
    /// Later than every other moment: what "no deadline" sorts as.
    pub const FAR: Self = Self(i64::MAX);

    /// From nanoseconds since boot.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since boot; negative before it.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The moment `span` later.
    #[must_use]
    pub const fn after(self, span: Span) -> Self {
        Self(self.0.saturating_add_unsigned(span.0))
    }

    /// The moment `span` earlier.
    #[must_use]
    pub const fn before(self, span: Span) -> Self {
        Self(self.0.saturating_sub_unsigned(span.0))
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    pub const fn since(self, earlier: Self) -> Span {
        let gap = self.0.saturating_sub(earlier.0);
        if gap <= 0 { Span::ZERO } else { Span(gap.unsigned_abs()) }
    }

    /// The first moment after this one that is a whole multiple of `step` since boot: what has one
    /// rhythm is then due at one moment, which saves wake-ups. No step is shorter than 1 ns.
    #[must_use]
    pub fn next_on_grid(self, step: Span) -> Self {
        let step = i64::try_from(step.0.max(1)).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(step - self.0.rem_euclid(step)))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// From whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// From whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// From whole microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1000))
    }

    /// From nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Seconds, with their fraction.
    #[expect(
        clippy::cast_precision_loss,
        reason = "2^53 ns are 104 days; beyond, a rounded second does"
    )]
    pub const fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// `factor` times as long.
    #[must_use]
    pub const fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }

    /// The sum of two lengths.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left after `other`; zero if that is longer.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Reads a length as systemd writes it (systemd.time(7)): `500ms`, `10s`, `1min 30s`, `2h`.
    ///
    /// Units: `us`, `ms`, `s`/`sec`, `m`/`min`, `h`/`hr`, `d`/`day`, `w`/`week`; a fraction such as
    /// `1.5h` is allowed, a number without a unit is not: `100` has been read as seconds and as
    /// milliseconds by different tools, and both were wrong for somebody.
    ///
    /// # Errors
    /// Says which part cannot be read and why.
    pub fn parse(text: &str) -> Result<Self, SpanError> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(SpanError::Empty);
        }
        let mut total = Self::ZERO;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let tail = tail.trim_start();
            let letters = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            total = total.plus(Self::part(number, unit)?);
            rest = tail.trim_start();
        }
        Ok(total)
    }

    fn part(number: &str, unit: &str) -> Result<Self, SpanError> {
        let nanos: u64 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" | "msec" => 1_000_000,
            "s" | "sec" | "second" | "seconds" => 1_000_000_000,
            "m" | "min" | "minute" | "minutes" => 60_000_000_000,
            "h" | "hr" | "hour" | "hours" => 3_600_000_000_000,
            "d" | "day" | "days" => 86_400_000_000_000,
            "w" | "week" | "weeks" => 604_800_000_000_000,
            "" if !number.is_empty() => return Err(SpanError::NoUnit),
            _ => return Err(SpanError::Unit),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: u64 = whole.parse().map_err(|_| SpanError::Number)?;
        let mut span = whole.checked_mul(nanos).ok_or(SpanError::TooLong)?;
        let mut place = nanos;
        for digit in fraction.chars() {
            place /= 10;
            let digit = digit.to_digit(10).ok_or(SpanError::Number)?;
            span = span.saturating_add(place.saturating_mul(u64::from(digit)));
        }
        // Moments are signed: a longer span could not be added to one.
        if span > i64::MAX.unsigned_abs() { Err(SpanError::TooLong) } else { Ok(Self(span)) }
    }
}

/// Why a text is not a length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanError {
    /// Nothing is there.
    Empty,
    /// A number without a unit.
    NoUnit,
    /// An unknown unit, or letters where a number belongs.
    Unit,
    /// Not a number.
    Number,
    /// Longer than 292 years.
    TooLong,
}

impl fmt::Display for SpanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty; write a time such as \"10s\"",
            Self::NoUnit => "has no unit; write \"10s\", \"500ms\" or \"1min 30s\"",
            Self::Unit => "is not a time; units are us, ms, s, min, h, d, w, as in \"1min 30s\"",
            Self::Number => "is not a time; write a number and a unit, as in \"10s\"",
            Self::TooLong => "is longer than 292 years",
        })
    }
}

impl core::error::Error for SpanError {}

impl fmt::Display for Span {
    /// Two units at most, largest first: `1h 5m`, `12s`, `3.2s`, `40ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0 / 1_000_000;
        let secs = millis / 1000;
        match secs {
            0 if millis == 0 && self.0 >= 1000 => write!(f, "{}us", self.0 / 1000),
            0 if millis == 0 && self.0 > 0 => write!(f, "{}ns", self.0),
            0 if millis == 0 => f.write_str("0s"),
            0 => write!(f, "{millis}ms"),
            1..=9 if millis % 1000 >= 100 => write!(f, "{secs}.{}s", millis % 1000 / 100),
            1..=59 => write!(f, "{secs}s"),
            60..=3599 => two(f, secs / 60, "m", secs % 60, "s"),
            3600..=86_399 => two(f, secs / 3600, "h", secs / 60 % 60, "m"),
            _ => two(f, secs / 86_400, "d", secs / 3600 % 24, "h"),
        }
    }
}

fn two(
    f: &mut fmt::Formatter<'_>,
    large: u64,
    name: &str,
    small: u64,
    small_name: &str,
) -> fmt::Result {
    if small == 0 {
        write!(f, "{large}{name}")
    } else {
        write!(f, "{large}{name} {small}{small_name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn spans_read_as_systemd_writes_them() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("1min 30s", 90_000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("1.5h", 5_400_000),
            (" 1 d ", 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(Span::parse(text), Ok(Span::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_span_says_why() {
        for (text, error) in [
            ("", SpanError::Empty),
            ("100", SpanError::NoUnit),
            ("fast", SpanError::Unit),
            ("-1s", SpanError::Unit),
            ("1.2.3s", SpanError::Number),
            ("10 parsecs", SpanError::Unit),
            ("99999999999999999999s", SpanError::Number),
            ("9999999999d", SpanError::TooLong),
            ("1s,", SpanError::Unit),
        ] {
            assert_eq!(Span::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn spans_print_in_two_units_at_most() {
        for (millis, text) in [
            (0, "0s"),
            (40, "40ms"),
            (3200, "3.2s"),
            (12_900, "12s"),
            (3_900_000, "1h 5m"),
            (90_000_000, "1d 1h"),
        ] {
            assert_eq!(Span::from_millis(millis).to_string(), text);
        }
    }

    #[test]
    fn moments_saturate_instead_of_wrapping() {
        assert_eq!(Mono::FAR.after(Span::from_secs(1)), Mono::FAR);
        assert_eq!(Mono::BOOT.since(Mono::BOOT.after(Span::from_secs(5))), Span::ZERO);
        assert_eq!(Mono::BOOT.after(Span::from_secs(5)).since(Mono::BOOT), Span::from_secs(5));
        assert!(Mono::BOOT.before(Span::from_secs(1)) < Mono::BOOT);
    }

    #[test]
    fn the_next_moment_on_a_grid_is_always_later() {
        for (now, step, next) in [
            (0, 10, 10),
            (1, 10, 10),
            (9, 10, 10),
            (10, 10, 20),
            (25, 1, 26),
            // Before this boot, where the remainder must not turn round.
            (-1, 10, 0),
            (-10, 10, 0),
            (-11, 10, -10),
            (i64::MIN, 10, i64::MIN + 8),
            // A step of nothing must neither divide by zero nor stand still.
            (7, 0, 8),
            // What cannot be reached saturates.
            (i64::MAX - 3, 10, i64::MAX),
            (i64::MAX, 10, i64::MAX),
            (5, u64::MAX, i64::MAX),
        ] {
            let found = Mono::from_nanos(now).next_on_grid(Span::from_nanos(step));
            assert_eq!(found, Mono::from_nanos(next), "{now} by {step}");
        }
    }
}
