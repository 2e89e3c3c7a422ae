//! Arbiter `wire`: two machines and nothing else. The gateway is the third voter.
//!
//! To the owner its answer is a grant. To a candidate it is one only after all heartbeat paths have
//! been silent for the promise *and* [`PROBES`] probes for the address (RFC 5227), spread over a
//! lease, stayed unanswered, each while the gateway answered: behind a cut cable everybody is
//! silent. The gateway promises nothing to anybody, so on a LAN that is split in two working halves
//! each side can have an owner: [`super`] says so, `config explain` says so.

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
    asked: Option<Asked>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Probing {
    sent: u32,
    next: Mono,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Asked {
    sent: Clocks,
    /// Whether the answer is a vote, or only shows that a probe was not sent into the void.
    is_vote: bool,
}

impl Wire {
    pub(super) fn ask(&mut self, question: &Question<'_>, out: &mut PairActions) -> Option<Vote> {
        let is_vote = if question.ask.held {
            self.probing = None;
            true
        } else {
            self.has_probed(question, out)?
        };
        self.asked = Some(Asked { sent: question.ask.sent, is_vote });
        out.push(PairAction::AskGateway { sent: question.ask.sent });
        None
    }

    /// Goes on with the probes, if it is time; whether all stayed unanswered.
    fn has_probed(&mut self, question: &Question<'_>, out: &mut PairActions) -> Option<bool> {
        if !question.peer_silent {
            self.stop_probing();
            return None;
        }
        let mut probing = self.probing.unwrap_or(Probing { sent: 0, next: question.now.boot });
        if question.now.boot < probing.next {
            return None;
        }
        // The gateway did not answer since the probe before: nobody may have seen that one.
        if self.asked.is_some() {
            probing.sent = 0;
        }
        // The turn after the last probe only waits for its answer.
        let is_done = probing.sent >= PROBES;
        if !is_done {
            out.push(PairAction::ProbeAddress { group: question.group });
            probing.sent += 1;
        }
        let share = Span::from_nanos(question.lease.as_nanos() / u64::from(PROBES));
        probing.next = question.now.boot.after(share);
        self.probing = Some(probing);
        Some(is_done)
    }

    /// The address is answered for, the peer talks, or the candidacy is over: begin again. An
    /// owner's question to the gateway has nothing to do with it.
    pub(super) const fn stop_probing(&mut self) {
        if self.probing.take().is_some() {
            self.asked = None;
        }
    }

    pub(super) fn gateway_answered(&mut self, sent: Clocks) -> Option<Late> {
        // Only the newest question: an older answer says less.
        let asked = self.asked.filter(|asked| asked.sent == sent)?;
        self.asked = None;
        asked.is_vote.then_some(Late { sent, vote: Vote::Granted { peer_stopped: false } })
    }

    pub(super) fn next_deadline(&self) -> Mono {
        self.probing.map_or(Mono::FAR, |probing| probing.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::message::{Ask, Epoch, GroupKey};
    use alloc::vec::Vec;

    const LEASE: Span = Span::from_millis(1000);

    fn at(millis: u64) -> Clocks {
        Clocks::ZERO.after(Span::from_millis(millis))
    }

    fn ask(wire: &mut Wire, millis: u64, held: bool, peer_silent: bool) -> Vec<&'static str> {
        let now = at(millis);
        let ask = Ask { epoch: Epoch(5), sent: now, lease: LEASE, promise: LEASE, held };
        let question = Question {
            group: GroupKey(1),
            ask: &ask,
            peer_silent,
            peer_stuck: false,
            peer_known: true,
            lease: LEASE,
            now,
            attempt: 1,
        };
        let mut out = PairActions::new();
        assert_eq!(wire.ask(&question, &mut out), None, "the network never answers at once");
        let name = |action: &PairAction| match action {
            PairAction::ProbeAddress { .. } => "probe",
            PairAction::AskGateway { sent } if *sent == now => "gateway",
            _ => "?",
        };
        out.iter().map(name).collect()
    }

    /// Whether the gateway's answer to the question of that moment is a vote.
    fn votes(wire: &mut Wire, millis: u64) -> bool {
        wire.gateway_answered(at(millis)).is_some_and(|late| {
            assert_eq!(late.vote, Vote::Granted { peer_stopped: false });
            late.sent == at(millis)
        })
    }

    #[test]
    fn a_candidate_has_the_gateways_vote_after_five_answered_probes_over_a_lease() {
        let mut wire = Wire::default();
        for millis in [0, 200, 400, 600, 800] {
            assert_eq!(ask(&mut wire, millis, false, true), ["probe", "gateway"], "{millis}");
            assert_eq!(wire.next_deadline(), at(millis + 200).boot);
            assert!(!votes(&mut wire, millis), "{millis}");
            assert!(ask(&mut wire, millis + 100, false, true).is_empty(), "not yet");
        }
        assert_eq!(ask(&mut wire, 1000, false, true), ["gateway"]);
        assert!(votes(&mut wire, 1000));
        assert!(!votes(&mut wire, 1000), "an answer counts once");
        assert_eq!(ask(&mut wire, 1200, false, true), ["gateway"], "it may ask again");
        assert!(votes(&mut wire, 1200));
    }

    #[test]
    fn probes_behind_a_cut_cable_do_not_count() {
        let mut wire = Wire::default();
        for millis in (0..60_000).step_by(200) {
            assert_eq!(ask(&mut wire, millis, false, true), ["probe", "gateway"], "{millis}");
        }
        // The cable is back: the next answer shows only that the probe before it was sent.
        assert!(!votes(&mut wire, 59_800));
        for millis in [60_000, 60_200, 60_400, 60_600] {
            assert_eq!(ask(&mut wire, millis, false, true), ["probe", "gateway"], "{millis}");
            assert!(!votes(&mut wire, millis), "{millis}");
        }
        assert_eq!(ask(&mut wire, 60_800, false, true), ["gateway"]);
        // Cut again: from the start.
        assert_eq!(ask(&mut wire, 61_000, false, true), ["probe", "gateway"]);
        assert!(!votes(&mut wire, 60_800), "older than the newest question");
        assert!(!votes(&mut wire, 61_000));
    }

    #[test]
    fn an_owner_needs_the_gateway_and_no_probes() {
        let mut wire = Wire::default();
        assert_eq!(ask(&mut wire, 0, true, true), ["gateway"]);
        assert_eq!(ask(&mut wire, 100, true, false), ["gateway"]);
        assert!(!votes(&mut wire, 0), "older than the newest question");
        wire.stop_probing();
        assert!(votes(&mut wire, 100), "a peer that talks takes nothing from an owner");
        // What was unanswered to the owner begins a candidacy with nothing.
        assert_eq!(ask(&mut wire, 200, true, true), ["gateway"]);
        assert_eq!(ask(&mut wire, 300, false, true), ["probe", "gateway"]);
        assert!(!votes(&mut wire, 200));
    }

    #[test]
    fn a_peer_that_talks_ends_the_probing() {
        let mut wire = Wire::default();
        for millis in [0, 200, 400] {
            ask(&mut wire, millis, false, true);
            votes(&mut wire, millis);
        }
        assert!(ask(&mut wire, 600, false, false).is_empty());
        assert_eq!(wire, Wire::default());
        ask(&mut wire, 800, false, true);
        wire.stop_probing();
        assert!(!votes(&mut wire, 800));
        assert_eq!(wire.next_deadline(), Mono::FAR);
    }
}
