//! Two clocks read at once. Neither is right alone, so a lease and a promise trust different ones.
//!
//! `CLOCK_BOOTTIME` counts suspend, but time synchronisation bends it (chrony by up to 8.3 %,
//! `maxslewrate`, chrony.conf(5)). `CLOCK_MONOTONIC_RAW` is not bent, but stands still in suspend.
//! A **lease ends when the first of them says so, a promise when the last does**: whichever clock
//! is wrong, the owner lets go before the voter forgets.

use serde::{Deserialize, Serialize};

use crate::time::{Mono, Span};

/// One reading of both clocks, or a deadline on both.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Clocks {
    /// `CLOCK_BOOTTIME`.
    pub boot: Mono,
    /// `CLOCK_MONOTONIC_RAW`.
    pub raw: Mono,
}

/// What a turn of the keeper begins with: both clocks and the date, read once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Both clocks.
    pub at: Clocks,
    /// Seconds since 1970 by the wall clock. Only new epochs look at it.
    pub unix_secs: u64,
}

impl Clocks {
    /// Both clocks at zero: before everything.
    pub const ZERO: Self = Self { boot: Mono::BOOT, raw: Mono::BOOT };

    /// A deadline that never comes.
    pub const FAR: Self = Self { boot: Mono::FAR, raw: Mono::FAR };

    /// Both deadlines `span` later.
    #[must_use]
    pub const fn after(self, span: Span) -> Self {
        Self { boot: self.boot.after(span), raw: self.raw.after(span) }
    }

    /// Both deadlines `span` earlier.
    #[must_use]
    pub const fn before(self, span: Span) -> Self {
        Self { boot: self.boot.before(span), raw: self.raw.before(span) }
    }

    /// Whether *one* clock has reached `deadline`: a lease is over.
    #[must_use]
    pub fn ends_lease(self, deadline: Self) -> bool {
        self.boot >= deadline.boot || self.raw >= deadline.raw
    }

    /// Whether *both* clocks have reached `deadline`: a promise is over.
    #[must_use]
    pub fn ends_promise(self, deadline: Self) -> bool {
        self.boot >= deadline.boot && self.raw >= deadline.raw
    }

    /// What is left of a lease that ends at `deadline`.
    #[must_use]
    pub fn lease_left(self, deadline: Self) -> Span {
        deadline.boot.since(self.boot).min(deadline.raw.since(self.raw))
    }

    /// What is left of a promise that ends at `deadline`.
    #[must_use]
    pub fn promise_left(self, deadline: Self) -> Span {
        deadline.boot.since(self.boot).max(deadline.raw.since(self.raw))
    }

    /// The later of two deadlines, each clock by itself.
    #[must_use]
    pub fn latest(self, other: Self) -> Self {
        Self { boot: self.boot.max(other.boot), raw: self.raw.max(other.raw) }
    }

    /// The earlier of two deadlines, each clock by itself.
    #[must_use]
    pub fn earliest(self, other: Self) -> Self {
        Self { boot: self.boot.min(other.boot), raw: self.raw.min(other.raw) }
    }

    /// The time since `earlier` by the clock that counted more: what is stale by one is stale.
    #[must_use]
    pub fn longest_since(self, earlier: Self) -> Span {
        self.boot.since(earlier.boot).max(self.raw.since(earlier.raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(boot: u64, raw: u64) -> Clocks {
        Clocks {
            boot: Mono::BOOT.after(Span::from_millis(boot)),
            raw: Mono::BOOT.after(Span::from_millis(raw)),
        }
    }

    #[test]
    fn a_lease_ends_with_the_first_clock_and_a_promise_with_the_last() {
        let deadline = clocks(100, 100);
        for (boot, raw, lease_over, promise_over) in [
            (99, 99, false, false),
            (100, 99, true, false), // the raw clock stood still in suspend
            (99, 100, true, false), // the other one was slewed
            (100, 100, true, true),
        ] {
            let now = clocks(boot, raw);
            assert_eq!(now.ends_lease(deadline), lease_over, "{boot} {raw}");
            assert_eq!(now.ends_promise(deadline), promise_over, "{boot} {raw}");
        }
        assert_eq!(clocks(50, 90).lease_left(deadline), Span::from_millis(10));
        assert_eq!(clocks(50, 90).promise_left(deadline), Span::from_millis(50));
    }
}
