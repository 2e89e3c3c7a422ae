//! The boot-loop guard: a machine that resets itself again and again stops doing so.
//!
//! ```text
//!              resets within the limit             well for long enough, or an operator
//!   may act ─────────────────────────────► observes only ─────────────────────────────► may act
//! ```
//!
//! Invariants, each with a test that fails without it:
//!
//! - **B1**: with `resets` self-caused resets in any stretch of `within`, the node only observes,
//!   until it was well for [`Limits::calm`], or an operator said so. That time passes is not
//!   enough.
//! - **B2**: what cannot be read counts as a reset within the stretch, and so does one that the
//!   wall clock places in the future: doubt leads to fewer resets, never to more.
//! - **B3**: calm is one stretch without a bad moment.

use crate::time::{Mono, Span};

/// A machine that seems well for less than this may still be on its way to the next failure.
const CALM_MIN: Span = Span::from_secs(600);

/// When it is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So many resets.
    pub resets: u32,
    /// In any stretch of this length.
    pub within: Span,
}

impl Limits {
    /// How long a node that only observes must be well before it acts again.
    #[must_use]
    pub fn calm(&self) -> Span {
        Span::from_nanos(self.within.as_nanos() / 6).max(CALM_MIN)
    }

    /// How many of these resets are within the stretch that ends at `now`. Moments are Unix times
    /// in seconds; `None`: nobody knows when.
    #[must_use]
    pub fn count(&self, resets: impl Iterator<Item = Option<u64>>, now: u64) -> u32 {
        // One of the future counts: its clock or today's is wrong.
        let within = |at: &Option<u64>| {
            at.is_none_or(|at| Span::from_secs(now.saturating_sub(at)) < self.within)
        };
        u32::try_from(resets.filter(within).count()).unwrap_or(u32::MAX)
    }
}

/// Whether this node may act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    observes: bool,
    /// Since when it is well.
    well_since: Option<Mono>,
}

impl Guard {
    /// Whether it only observes.
    #[must_use]
    pub const fn observes(&self) -> bool {
        self.observes
    }

    /// There were `count` resets; whether that is news.
    pub fn counted(&mut self, count: u32, limits: &Limits) -> bool {
        let is_news = !self.observes && count >= limits.resets;
        self.observes |= is_news;
        is_news
    }

    /// How the node is: well is a daemon that has read every check, and nothing failed or unknown.
    /// True when it has observed for long enough: what was counted is forgotten.
    pub fn see(&mut self, well: bool, limits: &Limits, now: Mono) -> bool {
        self.well_since = if well { Some(self.well_since.unwrap_or(now)) } else { None };
        let calm = self.well_since.is_some_and(|since| now.since(since) >= limits.calm());
        self.observes && calm && self.clear()
    }

    /// What was counted is forgotten; whether it had only observed.
    pub fn clear(&mut self) -> bool {
        self.well_since = None;
        core::mem::take(&mut self.observes)
    }

    /// For how much longer it must be well; `None` while it is not, or may act anyway.
    #[must_use]
    pub fn left(&self, limits: &Limits, now: Mono) -> Option<Span> {
        let since = self.well_since.filter(|_| self.observes)?;
        Some(limits.calm().minus(now.since(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { resets: 3, within: Span::from_secs(3600) };
    const NOW: u64 = 1_700_000_000;

    fn at(secs: u64) -> Mono {
        Mono::BOOT.after(Span::from_secs(secs))
    }

    fn guard(count: u32) -> Guard {
        let mut guard = Guard::default();
        guard.counted(count, &LIMITS);
        guard
    }

    #[test]
    fn b1_b2_resets_are_counted_by_their_moments() {
        let ago = |secs: u64| Some(NOW - secs);
        for (resets, count) in [
            (&[][..], 0),
            (&[ago(0)], 1),
            (&[ago(3599), ago(10)], 2),
            (&[ago(3600), ago(10)], 1),
            (&[None, None, ago(100_000)], 2), // B2
            // The clock went back by a day: nobody knows when they were.
            (&[Some(NOW + 79_200), Some(NOW + 86_000), Some(NOW + 86_400)], 3),
            // It was wrong once, and is right again: those of today count.
            (&[Some(NOW + 2_000_000_000), ago(10), ago(20)], 3),
            (&[ago(10), Some(NOW + 5)], 2),
            (&[Some(u64::MAX), Some(0)], 1),
        ] {
            assert_eq!(LIMITS.count(resets.iter().copied(), NOW), count, "{resets:?}");
        }
    }

    #[test]
    fn b1_too_many_resets_and_it_only_observes_whatever_time_passes() {
        assert!(!guard(2).observes() && guard(3).observes() && guard(20).observes());
        let mut guard = guard(3);
        assert!(!guard.counted(3, &LIMITS), "that is no news");
        assert!(!guard.counted(0, &LIMITS) && guard.observes());
        assert!(!guard.see(false, &LIMITS, at(100_000)) && guard.observes());
        assert!(guard.clear() && !guard.observes() && !guard.clear());
        assert!(guard.counted(3, &LIMITS), "the next time");
    }

    #[test]
    fn b3_only_one_stretch_of_calm_ends_it() {
        assert_eq!(LIMITS.calm(), Span::from_secs(600));
        let day = Limits { within: Span::from_secs(86_400), ..LIMITS };
        assert_eq!(day.calm(), Span::from_secs(14_400));
        let minute = Limits { within: Span::from_secs(60), ..LIMITS };
        assert_eq!(minute.calm(), Span::from_secs(600), "never less");
        let mut guard = guard(3);
        assert!(!guard.see(true, &LIMITS, at(0)));
        assert_eq!(guard.left(&LIMITS, at(100)), Some(Span::from_secs(500)));
        assert!(!guard.see(false, &LIMITS, at(599)));
        assert_eq!(guard.left(&LIMITS, at(599)), None);
        assert!(!guard.see(true, &LIMITS, at(600)));
        assert!(!guard.see(true, &LIMITS, at(1199)));
        assert!(guard.see(true, &LIMITS, at(1200)) && !guard.observes());
        assert!(!guard.see(true, &LIMITS, at(5000)), "told once");
    }
}
