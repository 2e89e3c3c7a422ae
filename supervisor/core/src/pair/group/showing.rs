//! What a group waits for, for who watches it: nothing is decided here.

use super::{Group, Left, Stage, State};
use crate::pair::clock::Clocks;
use crate::pair::event::Step;
use crate::pair::lease::Seat;
use crate::time::Span;

/// What keeps a group from being where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// This node's own vote is not free: it was promised to the owner, or forgets nothing yet.
    OwnVote {
        /// For so long.
        left: Span,
        /// It keeps silent because it started without memory, and promised nobody.
        silent: bool,
    },
    /// It asks for two votes of three.
    Votes {
        /// The peer has given its own.
        peer: bool,
        /// So has the arbiter.
        third: bool,
    },
    /// The lease is here; units of the owner before may still run (I12).
    OwnerBefore {
        /// For so long at most; `None`: its stop time is not known, so until it is off or speaks.
        left: Option<Span>,
    },
    /// A step is under way.
    Step {
        /// Which.
        step: Step,
        /// When that is over it has failed.
        left: Span,
    },
    /// There is no lease, and something of the group is still here.
    Leftovers {
        /// Units.
        units: bool,
        /// Addresses.
        addresses: bool,
        /// What is left of the time for that. When it is over, nothing pets the watchdog.
        left: Span,
    },
}

impl Group {
    /// What it waits for now; `None`: for nothing.
    #[must_use]
    pub fn waits(&self, now: Clocks) -> Option<Waits> {
        match &self.state {
            State::Idle { .. } => self.own_vote(now),
            State::Asking(candidacy) => {
                let has = |seat| candidacy.has_grant(seat);
                let votes = Waits::Votes { peer: has(Seat::Peer), third: has(Seat::Third) };
                Some(self.own_vote(now).unwrap_or(votes))
            }
            State::Taking { stage: Stage::Wait(until), .. } => {
                let left = (*until != Clocks::FAR).then(|| now.promise_left(*until));
                Some(Waits::OwnerBefore { left })
            }
            State::Taking { stage: Stage::Step(step), .. } | State::Yielding { step, .. } => {
                let left = step.until.since(now.boot);
                Some(Waits::Step { step: step.id.step, left })
            }
            State::Active { .. } => None,
            State::Dropping { left, .. } => Some(Waits::Leftovers {
                units: left.units != Left::Gone,
                addresses: left.addresses != Left::Gone,
                left: self.spec.stop_limit.minus(now.longest_since(left.since)),
            }),
        }
    }

    fn own_vote(&self, now: Clocks) -> Option<Waits> {
        let silence = self.voter.silence_left(now);
        let promise = self.voter.promised(now).map(|it| now.promise_left(it.until));
        let left = promise.unwrap_or(Span::ZERO).max(silence);
        (left > Span::ZERO).then_some(Waits::OwnVote { left, silent: promise.is_none() })
    }

    /// The definitions of this node and of the peer, if they differ.
    #[must_use]
    pub fn differs(&self, now: Clocks) -> Option<(u64, u64)> {
        let ours = self.spec.definition;
        let differs = self.peer.defines_otherwise(ours, now);
        self.peer.definition().filter(|_| differs).map(|theirs| (ours, theirs))
    }

    /// How long exclusive units may outlive a lease here; `None` without an armed watchdog.
    #[must_use]
    pub const fn own_stops_within(&self) -> Option<Span> {
        self.spec.stops_within
    }
}
