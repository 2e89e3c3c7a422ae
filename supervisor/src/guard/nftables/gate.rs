//! The keeper's half: refreshes by frames, see [`super::knock`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mastiff_core::pair::clock::Clocks;
use mastiff_core::time::{Mono, Span};

use super::knock::{DELETE, Knock, Knocker, Refreshed};
use super::{Form, Shared, tick};
use crate::guard::{Gate, Slot};

/// Refreshes in the time that an element was given: one may be late, one may be lost.
const REFRESHES: u64 = 3;

/// Opens, refreshes and closes.
#[derive(Debug)]
pub struct NftablesGate {
    pub(super) knocker: Knocker,
    /// What the rules can give; the first is the time-out.
    times: Arc<[Span]>,
    /// So many of them may be given while somebody refreshes.
    usual: usize,
    /// For a frame's way.
    margin: Span,
    doors: Vec<Door>,
    gone: Gone,
    shared: Arc<Shared>,
}

/// A group that stays closed is told of again after so long: what should have opened it may have
/// been lost, or have failed.
const TELL_AGAIN: Span = Span::from_secs(1);

/// One group.
#[derive(Clone, Copy, Debug)]
struct Door {
    /// Clocks::ZERO: closed.
    until: Clocks,
    tried: Mono,
    /// When the element ends, if nobody refreshes it.
    ends: Clocks,
    /// What it was given last; zero for one that may not live.
    given: Span,
    held: bool,
    lapse: Lapse,
}

/// Whether it closed by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lapse {
    No,
    ToTell,
    Told(Mono),
}

/// Whether the rules are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    No,
    ToTell,
    Told,
}

const CLOSED: Door = Door {
    until: Clocks::ZERO,
    tried: Mono::BOOT,
    ends: Clocks::ZERO,
    given: Span::ZERO,
    held: false,
    lapse: Lapse::No,
};

impl NftablesGate {
    pub(super) fn new(
        form: Form,
        knocker: Knocker,
        times: Arc<[Span]>,
        slots: usize,
        shared: Arc<Shared>,
    ) -> Self {
        // ARP hears of it whenever it does: as late as one time-out is counted, and no longer.
        let usual = match form {
            Form::Netdev => times.len(),
            Form::Inet => 1,
        };
        Self {
            knocker,
            times,
            usual,
            margin: tick(),
            doors: vec![CLOSED; slots],
            gone: Gone::No,
            shared,
        }
    }

    fn timeout(&self) -> Span {
        self.times.first().copied().unwrap_or(Span::ZERO)
    }

    /// The longest time that fits into what is left of a lease; the time-out if none does.
    fn longest(&self, left: Span, of: usize) -> (u32, Span) {
        let fits = |(_, time): &(u32, &Span)| time.plus(self.margin).plus(self.margin) < left;
        let longest =
            (0..).zip(self.times.iter()).take(of).filter(fits).max_by_key(|(_, time)| **time);
        longest.map_or((0, self.timeout()), |(at, time)| (at, *time))
    }

    /// Takes over a deadline. An element may be alive for longer than an earlier one allows.
    fn set(&mut self, slot: Slot, until: Clocks) {
        let Some(door) = self.doors.get_mut(slot.0) else { return };
        if until.earliest(door.until) != door.until {
            self.knocker.knock(DELETE, slot);
        }
        *door = Door { until, held: false, ..*door };
        self.shared.set(slot, until);
    }

    /// Refreshes with the longest time that the lease allows, of so many; whether the element
    /// lives. With `only_if_longer` nothing is done that would end it sooner.
    fn extend(&mut self, slot: Slot, of: usize, only_if_longer: bool) -> bool {
        let Some(door) = self.doors.get(slot.0) else { return false };
        let now = (self.knocker.clock)();
        let (what, time) = self.longest(now.lease_left(door.until), of);
        let Some(door) = self.doors.get_mut(slot.0) else { return false };
        let now = now.boot;
        door.tried = now;
        let given = std::mem::take(&mut door.given);
        if only_if_longer && given > Span::ZERO && door.ends.boot >= now.after(time) {
            door.given = given;
            return true;
        }
        let dead = match self.knocker.refresh(slot, (what, time), door.until, self.margin) {
            Refreshed::Lives(at) => {
                (door.ends, door.given) = (at.after(time), time);
                door.lapse = Lapse::No;
                self.gone = Gone::No;
                return true;
            }
            Refreshed::TooLate => false,
            Refreshed::Dead => true,
            // The wall lays them again, with what was open.
            Refreshed::Gone => {
                if self.gone == Gone::No {
                    self.gone = Gone::ToTell;
                }
                false
            }
            Refreshed::Failed(_) => {
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
                (self.knocker.clock)().ends_promise(door.ends)
            }
        };
        let is_told = match door.lapse {
            Lapse::No => false,
            Lapse::ToTell => true,
            Lapse::Told(at) => now.since(at) < TELL_AGAIN,
        };
        if dead && !is_told {
            door.lapse = Lapse::ToTell;
        }
        false
    }

    /// When the group's element must be refreshed again. The last time is as late as the lease
    /// allows, so that it is not over before the lease by more than need be.
    fn due(&self, door: &Door, now: Clocks) -> Mono {
        if door.held || door.until == Clocks::ZERO {
            return Mono::FAR;
        }
        let last = self.timeout().plus(self.margin).plus(self.margin);
        let last = now.boot.after(now.lease_left(door.until)).before(last);
        if last <= door.tried {
            return Mono::FAR;
        }
        let beat = Span::from_nanos(door.given.max(self.timeout()).as_nanos() / REFRESHES);
        door.tried.after(beat).min(last)
    }
}

impl Gate for NftablesGate {
    fn open(&mut self, slot: Slot, until: Clocks, _: Clocks) {
        self.set(slot, until);
        self.extend(slot, self.usual, false);
    }

    fn hold(&mut self, slot: Slot, until: Clocks, _: Clocks) {
        self.set(slot, until);
        let lives = self.extend(slot, self.times.len(), false);
        if let Some(door) = self.doors.get_mut(slot.0) {
            door.held = lives;
        }
    }

    fn close(&mut self, slot: Slot) {
        // First, so that a wall that creates at this moment sees it afterwards.
        self.shared.set(slot, Clocks::ZERO);
        match self.knocker.knock(DELETE, slot) {
            // Ignored: the rules are gone, until the wall looks.
            Knock::Taken | Knock::Ignored => {}
            // It ends by itself.
            Knock::Failed(_) => {
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        if let Some(door) = self.doors.get_mut(slot.0) {
            *door = CLOSED;
        }
    }

    fn refresh(&mut self, now: Clocks) -> Mono {
        let mut next = Mono::FAR;
        for at in 0..self.doors.len() {
            let Some(door) = self.doors.get(at).copied() else { break };
            if self.due(&door, now) <= now.boot {
                self.extend(Slot(at), self.usual, true);
            }
            next = self.doors.get(at).map_or(next, |door| next.min(self.due(door, now)));
        }
        next
    }

    fn is_gone(&mut self) -> bool {
        let is_news = self.gone == Gone::ToTell;
        if is_news {
            self.gone = Gone::Told;
        }
        is_news
    }

    fn lapsed(&mut self) -> Option<Slot> {
        let at = self.doors.iter().position(|door| door.lapse == Lapse::ToTell)?;
        let door = self.doors.get_mut(at)?;
        door.lapse = Lapse::Told(door.tried);
        Some(Slot(at))
    }
}
