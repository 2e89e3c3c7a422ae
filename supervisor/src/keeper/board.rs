//! The notice board: what the keeper shows to the rest of the daemon, and the lease ends that the
//! hands go by.
//!
//! The keeper waits for nobody: where somebody is just reading the board, it writes in its next
//! turn.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::event::Cause;
use mastiff_core::pair::message::{Epoch, Health, NotReady, Role};
use mastiff_core::time::{Mono, Span};

use super::paths::Quality;
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
        Self { shown: Mutex::new(shown), ends }
    }

    /// Writes, if nobody is reading.
    pub fn write(&self, write: impl FnOnce(&mut Shown)) {
        if let Ok(mut shown) = self.shown.try_lock() {
            write(&mut shown);
        }
    }

    /// What is on it.
    #[must_use]
    pub fn read(&self) -> Shown {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
