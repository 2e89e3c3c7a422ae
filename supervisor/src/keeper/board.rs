//! The notice board: what the keeper shows to the rest of the daemon, and the lease ends that the
//! hands go by.
//!
//! The keeper waits for nobody: where somebody is just reading the board, it writes in its next
//! turn.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::event::Cause;
use mastiff_core::pair::group::Waits;
use mastiff_core::pair::message::{Epoch, Health, NotReady, Role};
use mastiff_core::time::{Mono, Span};

use super::paths::Quality;
use super::vacancy::Found;
use crate::guard::Slot;

/// One group, as of [`Shown::at`].
#[derive(Clone, Copy, Debug)]
pub struct GroupShown {
    /// What this node is for it.
    pub role: Role,
    /// Since when.
    pub since: Mono,
    /// Why; `None` before the first change.
    pub cause: Option<Cause>,
    /// The epoch of the lease that is held, or the highest that is known.
    pub epoch: Epoch,
    /// When the lease ends, if one is held.
    pub lease_end: Option<Clocks>,
    /// Why this node could not take it.
    pub not_ready: Option<NotReady>,
    /// The peer, if it was heard within a lease: its role, its health and why it could not take it.
    pub peer: Option<(Role, Health, Option<NotReady>)>,
    /// The definitions of this node and of the peer, if they are not the same.
    pub differs: Option<(u64, u64)>,
    /// What it waits for.
    pub waits: Option<Waits>,
    /// How long units may outlive a lease here.
    pub stops_within: Option<Span>,
    /// How long units may outlive a lease of the peer's, as far as was ever heard.
    pub peer_stops_within: Option<Span>,
    /// Whether nothing of it is here, for certain.
    pub is_clear: bool,
    /// How long the peer is known to reckon with for this node.
    pub stop_acknowledged: Option<Span>,
}

/// One path.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathShown {
    /// How good it is.
    pub quality: Quality,
    /// Whether there is a socket.
    pub open: bool,
}

/// Numbers about the pair.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Datagrams that were no message for this node.
    pub refused: u64,
    /// Datagrams that could not be sent.
    pub unsent: u64,
    /// Jobs that the hands had no room for.
    pub jobs_lost: u64,
    /// Events and reports that the brain had no room for.
    pub news_lost: u64,
    /// Gates that closed although the lease went on.
    pub lapses: u64,
    /// Turns that were so late that the lease was over.
    pub late_demotions: u64,
}

/// What is on the board.
#[derive(Clone, Debug)]
pub struct Shown {
    /// When it was written.
    pub at: Clocks,
    /// All groups, in the order of the configuration.
    pub groups: Vec<GroupShown>,
    /// The paths to the peer, then the one to the witness.
    pub paths: Vec<PathShown>,
    /// Numbers.
    pub counts: Counts,
    /// Whether the keeper runs as a real-time thread; why not.
    pub realtime: Result<(), String>,
}

/// The board.
#[derive(Debug)]
pub struct Board {
    shown: Mutex<Shown>,
    ends: Vec<AtomicI64>,
    found: Mutex<Vec<Vec<Found>>>,
    no_link: Mutex<Vec<Option<String>>>,
}

impl Board {
    /// With places for so many groups and paths.
    #[must_use]
    pub fn new(groups: usize, paths: usize) -> Self {
        let group = GroupShown {
            role: Role::Waiting,
            since: Mono::BOOT,
            cause: None,
            epoch: Epoch::NONE,
            lease_end: None,
            not_ready: Some(NotReady::Starting),
            peer: None,
            differs: None,
            waits: None,
            stops_within: None,
            peer_stops_within: None,
            is_clear: false,
            stop_acknowledged: None,
        };
        let shown = Shown {
            at: Clocks::ZERO,
            groups: vec![group; groups],
            paths: vec![PathShown::default(); paths],
            counts: Counts::default(),
            realtime: Ok(()),
        };
        let ends = (0..groups).map(|_| AtomicI64::new(0)).collect();
        Self {
            shown: Mutex::new(shown),
            ends,
            found: Mutex::new(vec![Vec::new(); groups]),
            no_link: Mutex::new(vec![None; groups]),
        }
    }

    /// Why the addresses of each group could not be put on, as the hands found last.
    #[must_use]
    pub fn no_link(&self) -> Vec<Option<String>> {
        self.no_link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// By the hands only.
    pub fn set_no_link(&self, slot: Slot, why: Option<String>) {
        let mut all = self.no_link.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = all.get_mut(slot.0) {
            *place = why;
        }
    }

    /// Who answers for each address of a group, in the order of the configuration, as the hands
    /// found last.
    #[must_use]
    pub fn found(&self) -> Vec<Vec<Found>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// By the hands only.
    pub fn set_found(&self, slot: Slot, of_addresses: Vec<Found>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = found.get_mut(slot.0) {
            *place = of_addresses;
        }
    }

    /// Writes, if nobody is reading; whether it was written.
    pub fn write(&self, write: impl FnOnce(&mut Shown)) -> bool {
        let Ok(mut shown) = self.shown.try_lock() else { return false };
        write(&mut shown);
        true
    }

    /// What is on it.
    #[must_use]
    pub fn read(&self) -> Shown {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is on it, in the place of what was read before: no memory is asked for.
    pub fn read_into(&self, into: &mut Shown) {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let Shown { at, groups, paths, counts, realtime } = &*shown;
        (into.at, into.counts) = (*at, *counts);
        into.groups.clone_from(groups);
        into.paths.clone_from(paths);
        into.realtime.clone_from(realtime);
    }

    /// Looks at something on it, without a copy of the whole. The keeper leaves out a write
    /// meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&Shown) -> T) -> T {
        look(&self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The group may be had here until then, by the boot clock; `None`: not any more. By the keeper
    /// only.
    pub fn set_end(&self, slot: Slot, end: Option<Mono>) {
        if let Some(place) = self.ends.get(slot.0) {
            place.store(end.map_or(0, Mono::as_nanos), Ordering::Release);
        }
    }

    /// How long the group may still be had here; `None`: it may not.
    #[must_use]
    pub fn left(&self, slot: Slot, now: Mono) -> Option<Span> {
        let end = self.ends.get(slot.0)?.load(Ordering::Acquire);
        let left = Mono::from_nanos(end).since(now);
        (left > Span::ZERO).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_reads_all_into_the_memory_of_the_last_one() {
        let board = Board::new(2, 3);
        let mut shown = board.read();
        let places = |shown: &Shown| (shown.groups.as_ptr(), shown.paths.as_ptr());
        let before = places(&shown);
        let at = Clocks::ZERO.after(Span::from_secs(1));
        assert!(board.write(|shown| {
            shown.at = at;
            shown.groups[1].role = Role::Active;
            shown.paths[2].open = true;
            shown.counts.lapses = 7;
            shown.realtime = Err("no".to_string());
        }));
        board.read_into(&mut shown);
        assert_eq!((shown.at, shown.counts.lapses), (at, 7));
        assert_eq!((shown.groups[1].role, shown.paths[2].open), (Role::Active, true));
        assert_eq!(shown.realtime, Err("no".to_string()));
        assert_eq!(places(&shown), before);
    }

    #[test]
    fn nobody_waits_to_write_and_it_is_told_that_it_was_not() {
        let board = Board::new(1, 0);
        let reads = board.shown.lock().unwrap();
        assert!(!board.write(|_| panic!("somebody reads")));
        drop(reads);
        assert!(board.write(|_| {}));
    }
}
