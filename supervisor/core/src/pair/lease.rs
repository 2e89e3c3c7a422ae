//! The holder's side: what was granted, and until when it lasts.
//!
//! ```text
//!   asker    ask sent at s ─────────────────────────── s + L·(1-2ρ): the lease ends
//!                   ╲                                        ┆
//!   voter             ╲► received ───────────────────────────┆──────── received + P: free again
//! ```
//!
//! `received` is never before `s`, the lease is shortened by what two oscillators may differ, and
//! `P = L + slack`: so the lease is over, and with it all that the kernel may still do late, before
//! any voter is free. This holds for every delay.

use serde::{Deserialize, Serialize};

use super::clock::Clocks;
use super::message::{Answer, Epoch};
use crate::time::Span;
use crate::timing::{DRIFT_PPM, PROMISE_MAX};

/// The two voters besides the node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Seat {
    /// The other node.
    Peer,
    /// The arbiter: a witness, a fence agent, the wire.
    Third,
}

/// A value for each of the two other voters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seats<T> {
    /// Of the other node.
    pub peer: T,
    /// Of the arbiter.
    pub third: T,
}

impl<T> Seats<T> {
    /// The value of one.
    pub const fn of(&self, seat: Seat) -> &T {
        match seat {
            Seat::Peer => &self.peer,
            Seat::Third => &self.third,
        }
    }

    /// The value of one.
    pub const fn of_mut(&mut self, seat: Seat) -> &mut T {
        match seat {
            Seat::Peer => &mut self.peer,
            Seat::Third => &mut self.third,
        }
    }
}

/// The right to hold a group, by two votes of three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// Its number: one that was granted, so that no other owner gets it.
    pub epoch: Epoch,
    /// The number that is asked for with the next renewal; above `epoch` while nobody has granted
    /// it yet.
    pub asks: Epoch,
    /// Until when each grant lasts.
    pub granted: Seats<Option<Clocks>>,
    /// Whether the node's own vote is one of the two.
    pub own_vote: bool,
}

impl Lease {
    /// When it ends. With the own vote either grant is enough, so the later counts; without it both
    /// are needed, so the earlier does. Without a grant it has ended long ago.
    #[must_use]
    pub fn end(&self) -> Clocks {
        match (self.granted.peer, self.granted.third) {
            (Some(peer), Some(third)) if self.own_vote => longer(peer, third),
            (Some(peer), Some(third)) => peer.earliest(third),
            (Some(one), None) | (None, Some(one)) if self.own_vote => one,
            _ => Clocks::ZERO,
        }
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self, now: Clocks) -> bool {
        now.ends_lease(self.end())
    }

    /// A grant arrived. It never shortens the lease.
    pub fn extend(&mut self, seat: Seat, end: Clocks) {
        let known = self.granted.of_mut(seat);
        *known = Some(known.map_or(end, |known| longer(known, end)));
    }
}

/// The longer of two grants. Each was sent at one moment, so one of them is later on both clocks,
/// unless they stood apart in between (a suspend): then each clock's end must hold by itself, and
/// the one that the first clock ends later is taken whole. Mixing them would invent a third.
fn longer(one: Clocks, other: Clocks) -> Clocks {
    if (one.boot, one.raw) >= (other.boot, other.raw) { one } else { other }
}

/// Until when a grant lasts: from the *sending* of the question (I4). `None`: the answer is to a
/// question that was never asked, from a time to come or for longer than any promise.
#[must_use]
pub fn grant_end(answer: &Answer, now: Clocks) -> Option<Clocks> {
    let plausible =
        answer.sent.boot <= now.boot && answer.sent.raw <= now.raw && answer.lease <= PROMISE_MAX;
    plausible.then(|| answer.sent.after(shortened(answer.lease)))
}

/// A length on which two machines with oscillators up to [`DRIFT_PPM`] wrong agree at least.
#[must_use]
pub fn shortened(lease: Span) -> Span {
    lease.minus(Span::from_nanos(lease.as_nanos() / 1_000_000 * 2 * DRIFT_PPM))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::message::Vote;

    fn at(millis: u64) -> Clocks {
        Clocks::ZERO.after(Span::from_millis(millis))
    }

    #[test]
    fn of_two_grants_the_later_counts_and_without_the_own_vote_the_earlier() {
        let lease = |peer: Option<u64>, third: Option<u64>, own_vote| Lease {
            epoch: Epoch(1),
            asks: Epoch(1),
            granted: Seats { peer: peer.map(at), third: third.map(at) },
            own_vote,
        };
        for (peer, third, own_vote, end) in [
            (Some(5), Some(9), true, 9),
            (Some(5), Some(9), false, 5),
            (Some(5), None, true, 5),
            (Some(5), None, false, 0),
            (None, Some(9), true, 9),
            (None, None, true, 0),
        ] {
            assert_eq!(
                lease(peer, third, own_vote).end(),
                at(end),
                "{peer:?} {third:?} {own_vote}"
            );
        }
    }

    #[test]
    fn a_grant_counts_from_the_sending_of_the_question_and_never_shortens() {
        let answer = Answer {
            epoch: Epoch(1),
            sent: at(1000),
            lease: Span::from_secs(1),
            vote: Vote::Granted { peer_stopped: false },
        };
        assert_eq!(grant_end(&answer, at(1900)), Some(at(1998)));
        assert_eq!(grant_end(&answer, at(999)), None);
        let (epoch, asks) = (Epoch(1), Epoch(1));
        let mut lease = Lease { epoch, asks, granted: Seats::default(), own_vote: true };
        lease.extend(Seat::Peer, at(500));
        lease.extend(Seat::Peer, at(400));
        assert_eq!(lease.end(), at(500));
        assert!(!lease.is_over(at(499)));
        assert!(lease.is_over(at(500)));
    }
}
