//! Arbiter `fence`: an agent that cuts the peer's power and confirms it.
//!
//! The active node stays whatever becomes of the peer: only a candidate shoots, and only when its
//! own promise to the owner has run out. A node that has not heard its peer since its own boot
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
        if !question.peer_silent || !question.peer_known || self.shooting.is_some() {
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
            Vote::Busy { left: RETRY, why: Refusal::Promised }
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
