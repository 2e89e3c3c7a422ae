//! A candidate: asks the other two voters until it has two votes of three, its own included.
//!
//! Asking does not spend the own vote. It counts when a grant arrives, if it was not promised away
//! by then; so two candidates that meet cannot lock each other out: the less fit one gives its vote
//! to the other and withdraws.

use serde::{Deserialize, Serialize};

use super::clock::Clocks;
use super::event::Cause;
use super::lease::{Lease, Seat, Seats};
use super::message::Epoch;
use crate::time::{Mono, Span};
use crate::timing::PROMISE_MAX;

/// A grant that a candidate has in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Grant {
    /// Until when it lasts.
    end: Clocks,
    /// Whether this voter knows that the other node runs nothing.
    peer_stopped: bool,
}

/// What goes on between a candidate and one voter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Bid {
    grant: Option<Grant>,
    /// Since when a vote is blocked for others by a grant that was not enough.
    blocked_since: Option<Mono>,
    /// When to ask again.
    ask_at: Mono,
}

/// One candidacy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Candidacy {
    /// The number it asks for.
    pub epoch: Epoch,
    /// When that number was chosen.
    numbered_at: Mono,
    /// Why it asks.
    pub cause: Cause,
    /// No voter has refused since then.
    unrefused_since: Mono,
    bids: Seats<Bid>,
}

/// A lease just won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Won {
    /// The lease.
    pub lease: Lease,
    /// Whether all its voters know that the other node runs nothing of the group (I12).
    pub peer_stopped: bool,
}

impl Candidacy {
    /// Asks everybody now.
    #[must_use]
    pub fn new(epoch: Epoch, cause: Cause, now: Clocks) -> Self {
        let bid = Bid { grant: None, blocked_since: None, ask_at: now.boot };
        let bids = Seats { peer: bid, third: bid };
        Self { epoch, numbered_at: now.boot, cause, unrefused_since: now.boot, bids }
    }

    /// Whether `seat` is to be asked now.
    #[must_use]
    pub fn is_due(&self, seat: Seat, now: Clocks) -> bool {
        now.boot >= self.bids.of(seat).ask_at
    }

    /// When to ask `seat` next.
    #[must_use]
    pub const fn next_ask(&self, seat: Seat) -> Mono {
        self.bids.of(seat).ask_at
    }

    /// It was asked; if nothing comes back it is asked again after `retry`.
    pub fn asked(&mut self, seat: Seat, now: Clocks, retry: Span) {
        self.bids.of_mut(seat).ask_at = now.boot.after(retry);
    }

    /// Something changed in its favour: ask everybody at once.
    pub const fn ask_now(&mut self, now: Clocks) {
        self.bids.peer.ask_at = now.boot;
        self.bids.third.ask_at = now.boot;
    }

    /// A voter granted.
    pub fn granted(&mut self, seat: Seat, end: Clocks, peer_stopped: bool, now: Clocks) {
        let bid = self.bids.of_mut(seat);
        bid.grant = Some(Grant { end, peer_stopped });
        bid.blocked_since = bid.blocked_since.or(Some(now.boot));
        // A candidate that needs both asks the arbiter only when it has the peer's vote.
        if seat == Seat::Peer && self.bids.third.grant.is_none() {
            self.bids.third.ask_at = now.boot;
        }
    }

    /// A voter refused: ask again when the time is over, and up to `jitter` later, so that two
    /// candidates do not meet for ever.
    pub fn refused(&mut self, seat: Seat, left: Span, jitter: Span, now: Clocks) {
        let bid = self.bids.of_mut(seat);
        bid.grant = None;
        bid.ask_at = now.boot.after(left.min(PROMISE_MAX).plus(jitter));
    }

    /// A voter refused for so long: others may hold.
    pub fn not_before(&mut self, left: Span, now: Clocks) {
        let until = now.boot.after(left.min(PROMISE_MAX));
        self.unrefused_since = self.unrefused_since.max(until);
    }

    /// Whether nobody has refused for `span`, though all were asked.
    #[must_use]
    pub fn is_unrefused_for(&self, span: Span, now: Clocks) -> bool {
        now.boot.since(self.unrefused_since) >= span
    }

    /// The number is taken: ask everybody for a higher one. Grants of the old one do not count.
    pub fn raise(&mut self, epoch: Epoch, now: Clocks) {
        *self = Self::new(epoch, self.cause, now);
    }

    /// Asks for a higher number from now on, if nothing was granted yet and the old one is old
    /// (I8): an owner may have come and gone unheard. A voter that forgot that owner was silent for
    /// [`PROMISE_MAX`] since, so a number that is younger is above the owner's.
    pub fn renumber(&mut self, epoch: Epoch, now: Clocks) {
        let old = now.boot.since(self.numbered_at).times(2) >= PROMISE_MAX;
        if old && !self.has_grant(Seat::Peer) && !self.has_grant(Seat::Third) {
            self.epoch = self.epoch.max(epoch);
            self.numbered_at = now.boot;
        }
    }

    /// Whether `seat` has granted.
    #[must_use]
    pub const fn has_grant(&self, seat: Seat) -> bool {
        self.bids.of(seat).grant.is_some()
    }

    /// Whether it has kept a vote from others for longer than `limit` and was not helped by it.
    #[must_use]
    pub fn blocks_others(&self, limit: Span, now: Clocks) -> bool {
        let too_long = |bid: &Bid| {
            bid.grant.is_some() && bid.blocked_since.is_some_and(|at| now.boot.since(at) > limit)
        };
        too_long(&self.bids.peer) || too_long(&self.bids.third)
    }

    /// Whether two votes of three are there. `own_vote`: the own one is free; `own_knows`: the own
    /// voter knows that the other node runs nothing.
    #[must_use]
    pub fn won(&self, own_vote: bool, own_knows: bool, now: Clocks) -> Option<Won> {
        let live = |bid: &Bid| bid.grant.filter(|grant| !now.ends_lease(grant.end));
        let (peer, third) = (live(&self.bids.peer), live(&self.bids.third));
        let knows = match (peer, third) {
            (Some(peer), Some(third)) => {
                (peer.peer_stopped && third.peer_stopped)
                    || (own_vote && own_knows && (peer.peer_stopped || third.peer_stopped))
            }
            (Some(one), None) | (None, Some(one)) if own_vote => own_knows && one.peer_stopped,
            _ => return None,
        };
        let granted =
            Seats { peer: peer.map(|grant| grant.end), third: third.map(|grant| grant.end) };
        let lease = Lease { epoch: self.epoch, asks: self.epoch, granted, own_vote };
        Some(Won { lease, peer_stopped: knows })
    }
}

#[cfg(test)]
mod tests;
