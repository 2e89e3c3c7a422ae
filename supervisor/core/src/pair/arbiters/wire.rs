//! Arbiter `wire`: two machines and nothing else. The gateway is the third voter.
//!
//! To the owner its answer is a grant. To a candidate it is one only after all heartbeat paths have
//! been silent for the promise *and* [`PROBES`] probes for the address (RFC 5227), spread over a
//! lease, stayed unanswered. The gateway promises nothing to anybody, so on a LAN that is split in
//! two working halves each side can have an owner: [`super`] says so, `config explain` says so.

use serde::{Deserialize, Serialize};

use super::{Late, Question};
use crate::pair::clock::Clocks;
use crate::pair::event::{PairAction, PairActions};
use crate::pair::message::Vote;
use crate::time::{Mono, Span};

/// Probes that must stay unanswered. RFC 5227 section 1.1 has three; two more, because the owner
/// may be overloaded rather than gone.
pub const PROBES: u32 = 5;

/// The network as third voter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wire {
    probing: Option<Probing>,
    /// The newest question to the gateway that is not answered.
    asked: Option<Clocks>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Probing {
    sent: u32,
    next: Mono,
}

impl Wire {
    pub(super) fn ask(&mut self, question: &Question<'_>, out: &mut PairActions) -> Option<Vote> {
        if !question.ask.held && !self.has_probed(question, out) {
            return None;
        }
        self.asked = Some(question.ask.sent);
        out.push(PairAction::AskGateway { sent: question.ask.sent });
        None
    }

    /// Goes on with the probes; whether all stayed unanswered.
    fn has_probed(&mut self, question: &Question<'_>, out: &mut PairActions) -> bool {
        if !question.peer_silent {
            self.probing = None;
            return false;
        }
        let mut probing = self.probing.unwrap_or(Probing { sent: 0, next: question.now.boot });
        if question.now.boot >= probing.next && probing.sent <= PROBES {
            // The turn after the last probe only waits for its answer.
            if probing.sent < PROBES {
                out.push(PairAction::ProbeAddress { group: question.group });
            }
            probing.sent += 1;
            let share = Span::from_nanos(question.lease.as_nanos() / u64::from(PROBES));
            probing.next = question.now.boot.after(share);
        }
        self.probing = Some(probing);
        probing.sent > PROBES
    }

    /// The address is answered for, the peer talks, or the candidacy is over: begin again.
    pub(super) const fn stop_probing(&mut self) {
        self.probing = None;
        self.asked = None;
    }

    pub(super) fn gateway_answered(&mut self, sent: Clocks) -> Option<Late> {
        // Only the newest question: an older answer says less.
        self.asked.filter(|asked| *asked == sent)?;
        self.asked = None;
        Some(Late { sent, vote: Vote::Granted { peer_stopped: false } })
    }

    pub(super) fn next_deadline(&self) -> Mono {
        self.probing
            .filter(|probing| probing.sent <= PROBES)
            .map_or(Mono::FAR, |probing| probing.next)
    }
}
