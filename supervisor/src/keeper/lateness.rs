//! How late a loop wakes up after the moment that it asked for.

use mastiff_core::time::{Mono, Span};

/// Slots of one second: the last minute.
const SLOTS: usize = 60;

/// The worst of the last minute, second by second, and of all time.
#[derive(Debug)]
pub(crate) struct Lateness {
    slots: [(i64, Span); SLOTS],
    worst: Span,
}

impl Default for Lateness {
    fn default() -> Self {
        Self { slots: [(i64::MIN, Span::ZERO); SLOTS], worst: Span::ZERO }
    }
}

impl Lateness {
    /// A turn began at `now`, so much later than asked for.
    pub(crate) fn add(&mut self, now: Mono, late: Span) {
        self.worst = self.worst.max(late);
        let second = second_of(now);
        if let Some(slot) = self.slots.get_mut(place_of(second)) {
            *slot = if slot.0 == second { (second, slot.1.max(late)) } else { (second, late) };
        }
    }

    /// The worst of the last minute.
    pub(crate) fn max(&self, now: Mono) -> Span {
        let second = second_of(now);
        let recent = |slot: &&(i64, Span)| second.saturating_sub(slot.0) < 60;
        self.slots.iter().filter(recent).map(|slot| slot.1).max().unwrap_or(Span::ZERO)
    }

    /// The worst since the start.
    pub(crate) fn worst(&self) -> Span {
        self.worst
    }
}

fn second_of(at: Mono) -> i64 {
    at.as_nanos().div_euclid(1_000_000_000)
}

fn place_of(second: i64) -> usize {
    usize::try_from(second.rem_euclid(60)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_the_last_minute_is_forgotten_after_it() {
        let mut lateness = Lateness::default();
        let at = |secs: u64| Mono::BOOT.after(Span::from_secs(secs));
        lateness.add(at(5), Span::from_millis(40));
        lateness.add(at(5), Span::from_millis(10));
        lateness.add(at(30), Span::from_millis(20));
        assert_eq!(lateness.max(at(31)), Span::from_millis(40));
        assert_eq!(lateness.max(at(64)), Span::from_millis(40));
        assert_eq!(lateness.max(at(65)), Span::from_millis(20));
        assert_eq!(lateness.max(at(90)), Span::ZERO);
        assert_eq!(lateness.worst(), Span::from_millis(40));
    }
}
