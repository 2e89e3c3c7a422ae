//! The end of the keeper: what is had goes, or is left to the daemon that follows.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::group::Group;
use mastiff_core::time::Span;

use super::Shell;
use crate::clock;
use crate::guard::Slot;
use crate::keeper::hands::Job;

/// The hands are waited for: they wait for the kernel's lock for links.
const REMOVE_WITHIN: Span = Span::from_secs(2);

impl Shell {
    /// Ends the hands; the guard goes with them if nothing is had here, else what is had stays to
    /// the end of its lease. The votes stay for a daemon that comes after this one, but not that it
    /// was told to let go.
    pub(in crate::keeper) fn stop(&mut self) {
        let now = clock::clocks();
        for slot in (0..self.slots.len()).map(Slot) {
            if self.slots.get(slot.0).is_some_and(|place| place.held) {
                self.hold(slot, now);
            }
        }
        let free = self.pair.groups().iter().all(|group| group.lease().is_none());
        self.give(Job::Stop { remove: free });
        self.wait_for_hands();
    }

    /// Opens the gate for all of the long lease, which nobody will renew.
    pub(super) fn hold(&mut self, slot: Slot, now: Clocks) {
        let lease = self.pair.groups().get(slot.0).and_then(Group::lease);
        if let Some(end) = lease.map(|lease| lease.end()) {
            self.gate.hold(slot, end, now);
        }
    }

    /// The guard goes before the process does, or it would stay for ever; and addresses that stay
    /// are to last as long as their lease. The hands' end of the queue goes with them.
    fn wait_for_hands(&mut self) {
        let until = clock::now().after(REMOVE_WITHIN);
        loop {
            let left = Duration::from_nanos(until.since(clock::now()).as_nanos());
            match self.outcomes.recv_timeout(left) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    log::warn!(
                        "the guard or addresses may not be as they should: the kernel was busy"
                    );
                    return;
                }
            }
        }
    }

    /// Whether the group's long lease stands, and is to be left behind.
    pub(super) fn set_held(&mut self, slot: Slot, held: bool) {
        if let Some(place) = self.slots.get_mut(slot.0) {
            place.held = held;
        }
    }
}
