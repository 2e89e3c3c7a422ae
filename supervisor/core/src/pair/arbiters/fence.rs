//! Arbiter `fence`: an agent that cuts the peer's power and confirms it.
//!
//! The active node stays whatever becomes of the peer: only a candidate shoots, and only when its
//! own promise to the owner has run out. It shoots a silent peer, and one that says that it cannot
//! stop what must not run twice. A node that has not heard its peer since its own boot
//! never shoots, or two nodes with a dead link between them would shoot each other in turns for
//! ever. No confirmed power-off, no vote.

use serde::{Deserialize, Serialize};

use super::{Late, Question};
use crate::pair::clock::Clocks;
use crate::pair::event::{PairAction, PairActions, Step, StepId};
use crate::pair::message::{Refusal, Vote};
use crate::time::Span;

/// After an attempt that failed, the agent is left alone for this long: a power controller that is
/// asked without pause may answer to nobody.
pub const RETRY: Span = Span::from_secs(5);

/// The fence agent as a node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// The attempt under way, and when it was asked for.
    shooting: Option<(StepId, Clocks)>,
    /// The peer is confirmed off, and was not heard since.
    off: bool,
}

impl Fence {
    pub(super) fn ask(&mut self, question: &Question<'_>, out: &mut PairActions) -> Option<Vote> {
        // Who holds, stays: the other one can only take it by confirming that this node is off.
        if question.ask.held || self.off {
            return Some(Vote::Granted { peer_stopped: self.off });
        }
        let is_lost = question.peer_silent || question.peer_stuck;
        if !is_lost || !question.peer_known || self.shooting.is_some() {
            return None;
        }
        let id = StepId { group: question.group, step: Step::Fence, attempt: question.attempt };
        self.shooting = Some((id, question.ask.sent));
        out.push(PairAction::Begin(id));
        None
    }

    pub(super) fn done(&mut self, step: StepId, ok: bool) -> Option<Late> {
        let (_, sent) = self.shooting.filter(|(id, _)| *id == step)?;
        self.shooting = None;
        self.off = ok;
        let vote = if ok {
            Vote::Granted { peer_stopped: true }
        } else {
            // It says nothing about the peer, so nothing against an operator who vouches for it.
            Vote::Busy { left: RETRY, why: Refusal::Unheard }
        };
        Some(Late { sent, vote })
    }

    pub(super) const fn peer_is_off(&self) -> bool {
        self.off
    }

    /// The peer talks: it is not off, or not any more.
    pub(super) const fn peer_heard(&mut self) {
        self.off = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::message::{Ask, Epoch, GroupKey};

    const GRANTED: Option<Vote> = Some(Vote::Granted { peer_stopped: false });
    const GRANTED_OFF: Option<Vote> = Some(Vote::Granted { peer_stopped: true });

    fn at(millis: u64) -> Clocks {
        Clocks::ZERO.after(Span::from_millis(millis))
    }

    fn id(attempt: u32) -> StepId {
        StepId { group: GroupKey(1), step: Step::Fence, attempt }
    }

    struct Given {
        held: bool,
        silent: bool,
        known: bool,
        stuck: bool,
    }

    const CANDIDATE: Given = Given { held: false, silent: true, known: true, stuck: false };

    /// The vote, and whether the agent was begun.
    fn ask(fence: &mut Fence, given: &Given, attempt: u32) -> (Option<Vote>, bool) {
        let lease = Span::from_secs(1);
        let ask = Ask { epoch: Epoch(5), sent: at(7), lease, promise: lease, held: given.held };
        let question = Question {
            group: GroupKey(1),
            ask: &ask,
            peer_silent: given.silent,
            peer_stuck: given.stuck,
            peer_known: given.known,
            lease,
            now: at(7),
            attempt,
        };
        let mut out = PairActions::new();
        let vote = fence.ask(&question, &mut out);
        assert!(out.iter().all(|action| *action == PairAction::Begin(id(attempt))));
        (vote, !out.is_empty())
    }

    #[test]
    fn only_a_candidate_beside_a_silent_peer_that_it_knew_shoots() {
        for (what, given, answer) in [
            ("an owner stays", Given { held: true, ..CANDIDATE }, (GRANTED, false)),
            ("a candidate", CANDIDATE, (None, true)),
            ("the peer lives", Given { silent: false, ..CANDIDATE }, (None, false)),
            ("it is stuck", Given { silent: false, stuck: true, ..CANDIDATE }, (None, true)),
            ("never heard of it", Given { known: false, ..CANDIDATE }, (None, false)),
        ] {
            assert_eq!(ask(&mut Fence::default(), &given, 1), answer, "{what}");
        }
    }

    #[test]
    fn one_shot_is_under_way_at_a_time_and_only_a_confirmed_one_is_a_vote() {
        let mut fence = Fence::default();
        assert_eq!(ask(&mut fence, &CANDIDATE, 1), (None, true));
        assert_eq!(ask(&mut fence, &CANDIDATE, 2), (None, false));
        assert_eq!(fence.done(id(2), true), None, "never begun");
        let failed = Vote::Busy { left: RETRY, why: Refusal::Unheard };
        assert_eq!(fence.done(id(1), false), Some(Late { sent: at(7), vote: failed }));
        assert!(!fence.peer_is_off());
        assert_eq!(fence.done(id(1), true), None, "told twice");
        assert_eq!(ask(&mut fence, &CANDIDATE, 3), (None, true));
        let late = fence.done(id(3), true).unwrap();
        assert_eq!(late.vote, Vote::Granted { peer_stopped: true });
        assert_eq!(ask(&mut fence, &CANDIDATE, 4), (GRANTED_OFF, false));
    }

    #[test]
    fn a_peer_that_talks_again_is_not_off() {
        let mut fence = Fence::default();
        ask(&mut fence, &CANDIDATE, 1);
        fence.done(id(1), true);
        assert!(fence.peer_is_off());
        fence.peer_heard();
        assert!(!fence.peer_is_off());
        assert_eq!(ask(&mut fence, &CANDIDATE, 2), (None, true));
    }
}
