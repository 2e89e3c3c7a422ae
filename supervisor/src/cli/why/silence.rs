//! What the silence at the end of a boot means: from the last record to the start of the next boot.
//!
//! ```text
//! a hang:        records ... hang ........... last pet + time-out, the firmware, the next boot
//! a dead disk:   records ... disk dies ... root-dead-after, petted on ... the same again
//! ```
//!
//! So a machine whose root disk dies is silent for `root-dead-after` longer than one that hangs,
//! and that is all that is left to tell them apart: what mastiffd knew never reached the disk. A
//! firmware that takes its time makes a hang look the same; what it takes is known only as far as
//! other boots of this machine were seen to begin.

use mastiff_core::time::Span;
use mastiff_core::watchdog::BRAIN_LIMIT;

/// Signs of life come so often; two of them, since one may be on its way as the disk dies.
pub(super) const RECORDS: Span = Span::from_secs(10);
/// What clocks are off, seconds that are cut, and a boot that is a little slower than another one.
const SLACK: Span = Span::from_secs(10);
/// What is petted now and then may have been petted a little before the last sign of life.
pub(super) const EARLY: Span = Span::from_secs(5);

/// What is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence<'a> {
    /// From the last record to the start of the next boot; `None` where a clock was wrong.
    pub(super) gone: Option<Span>,
    /// The time-out of the watchdog, and after how long it really fires.
    pub(super) timeout: Span,
    /// See `timeout`; longer for a device of two stages.
    pub(super) fires_after: Span,
    /// `root-dead-after`; `None`: a dead disk alone resets nothing.
    pub(super) root_limit: Option<Span>,
    /// The same as `gone` of other boots, the shortest first: a firmware that is as quick as it was
    /// then takes no longer.
    pub(super) others: &'a [Span],
}

/// What it fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A machine that hung; the root disk's death does not.
    Hang,
    /// A root disk that answered no more. A hang would be too short for it.
    Root {
        /// Two other boots say so, and nothing else that lasts as long is known.
        is_sure: bool,
    },
    /// Both.
    Either,
}

impl Silence<'_> {
    /// What fits.
    pub(super) fn meaning(&self) -> Meaning {
        let Some(limit) = self.root_limit else { return Meaning::Hang };
        let Some(gone) = self.gone else { return Meaning::Either };
        if gone < limit.plus(self.timeout).minus(EARLY) {
            return Meaning::Hang;
        }
        // By the quickest boot, since that is the one that was held up by nothing else.
        let Some(quickest) = self.others.first() else { return Meaning::Either };
        if gone <= self.longest(Span::ZERO, *quickest) || gone > self.longest(limit, *quickest) {
            return Meaning::Either;
        }
        // A brain that makes no turn writes no records either.
        let is_brain = gone.plus(EARLY) >= BRAIN_LIMIT.plus(self.timeout)
            && gone <= self.longest(BRAIN_LIMIT, *quickest);
        let second = self.others.get(1);
        let is_sure = second.is_some_and(|second| gone > self.longest(Span::ZERO, *second));
        Meaning::Root { is_sure: is_sure && !is_brain }
    }

    /// The longest silence if petting goes on for `petted` after the last record, and the firmware
    /// takes that.
    fn longest(&self, petted: Span, firmware: Span) -> Span {
        let varies = Span::from_nanos(firmware.as_nanos() / 4).plus(SLACK);
        petted.plus(self.fires_after).plus(RECORDS).plus(firmware).plus(varies)
    }

    /// The sum, for people.
    pub(super) fn line(&self) -> Option<String> {
        let (limit, gone) = (self.root_limit?, self.gone?);
        let others = match self.others {
            [] => "how long this machine takes to boot is not known".to_string(),
            [one] => format!("another boot began {one} after the end of the one before"),
            [one, two, ..] => format!("other boots began {one} and {two} after the end before"),
        };
        Some(format!(
            "no record of the last {gone}: after a hang the watchdog fires within {}, after the \
             root disk's death within {} ({limit} of root-dead-after more); {others}",
            self.fires_after.plus(RECORDS),
            self.fires_after.plus(RECORDS).plus(limit)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Span {
        Span::from_secs(secs)
    }

    /// A watchdog of 6 s and a limit of 30 s, unless said otherwise.
    fn meaning(gone: u64, others: &[u64]) -> Meaning {
        meaning_of(gone, 6, Some(30), others)
    }

    fn meaning_of(gone: u64, timeout: u64, limit: Option<u64>, others: &[u64]) -> Meaning {
        let others: Vec<Span> = others.iter().copied().map(secs).collect();
        let (timeout, gone) = (secs(timeout), Some(secs(gone)));
        let root_limit = limit.map(secs);
        let silence = Silence { gone, timeout, fires_after: timeout, root_limit, others: &others };
        silence.meaning()
    }

    #[test]
    fn a_dead_root_disk_is_told_from_a_hang_only_by_boots_that_were_quick() {
        let (guess, sure) = (Meaning::Root { is_sure: false }, Meaning::Root { is_sure: true });
        for (gone, others, expected, what) in [
            (30, &[5, 5][..], Meaning::Hang, "the watchdog cannot have fired after the limit"),
            (45, &[5, 5], sure, "a hang would have been over by 32 s"),
            (45, &[5], guess, "of one boot alone nobody knows whether it was a usual one"),
            (45, &[5, 60], guess, "another boot took longer"),
            (45, &[], Meaning::Either, "no boot is known"),
            (45, &[20, 20], Meaning::Either, "a slow boot after a hang"),
            (600, &[5, 5], Meaning::Either, "longer than either: it was off, or somebody waited"),
        ] {
            assert_eq!(meaning(gone, others), expected, "{gone} {others:?}: {what}");
        }
        assert_eq!(meaning_of(45, 6, None, &[5, 5]), Meaning::Hang, "nobody asked for that");
    }

    #[test]
    fn a_brain_that_makes_no_turn_is_silent_for_as_long() {
        // 60 s without a turn, then the watchdog: no limit can be told from that if it is as long.
        assert_eq!(meaning_of(100, 30, Some(60), &[5, 5]), Meaning::Root { is_sure: false });
        assert_eq!(meaning_of(170, 30, Some(120), &[5, 5]), Meaning::Root { is_sure: true });
    }

    #[test]
    fn whatever_a_record_says_leads_to_no_overflow() {
        let silence = Silence {
            gone: Some(Span::from_nanos(u64::MAX)),
            timeout: Span::from_nanos(u64::MAX),
            fires_after: Span::from_nanos(u64::MAX),
            root_limit: Some(Span::from_nanos(u64::MAX)),
            others: &[Span::from_nanos(u64::MAX)],
        };
        assert_eq!(silence.meaning(), Meaning::Either);
        assert!(silence.line().is_some());
    }
}
