//! What the network says when it is asked: whether somebody has an address, and whether the
//! gateway is there. Pure: frames are sent and heard by [`super::tap`].
//!
//! The core decides when to ask (`PairAction::ProbeAddress` five times over a lease,
//! `PairAction::AskGateway` with each request; see `pair/arbiters/wire.rs`). Each call here answers
//! one of its questions. A node that takes an address by another arbiter's word sends one probe
//! with the claim and waits for nothing: the lease has decided, and an answer is evidence of a
//! conflict ([`Announcer::contradicted`](super::announce::Announcer::contradicted)).
//!
//! The caller keeps away what this machine said itself
//! ([`Devices::have`](super::devices::Devices::have)).

use std::net::IpAddr;

use mastiff_core::pair::clock::Clocks;
use mastiff_core::time::{Mono, Span};

use super::devices::Mac;
use super::packet::{Frame, Heard, Said};

/// How long after a probe something is heard because of it. RFC 5227, section 1.1, waits
/// `ANNOUNCE_WAIT`, 2 s, after the last one.
pub const PROBE_LASTS: Span = Span::from_secs(2);

/// What was heard of an address for which this machine probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Somebody has it: `PairEvent::AddressAnswered`.
    Taken(Mac),
    /// Somebody else wants it: `PairEvent::ProbeSeen`.
    Wanted(Mac),
}

/// The probes for a group's addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    /// The latest one, and whether each [`Finding`] has been told since.
    sent: Option<Mono>,
    told_taken: bool,
    told_wanted: bool,
}

impl Probes {
    /// A probe for each address of the group is sent now.
    pub const fn sent(&mut self, now: Mono) {
        *self = Self { sent: Some(now), told_taken: false, told_wanted: false };
    }

    /// Something was heard of one of the group's addresses, which is not here. At most one finding
    /// of each kind for a probe, whatever is heard: a flood does not reach the core. None without a
    /// probe: who does not ask has no use for it.
    #[must_use]
    pub fn hear(&mut self, heard: &Heard, now: Mono) -> Option<Finding> {
        self.sent.filter(|sent| now.since(*sent) < PROBE_LASTS)?;
        let (told, finding) = match heard.said {
            Said::Claimed | Said::Answered => (&mut self.told_taken, Finding::Taken(heard.mac)),
            Said::Probed => (&mut self.told_wanted, Finding::Wanted(heard.mac)),
        };
        (!std::mem::replace(told, true)).then_some(finding)
    }
}

/// The gateway as third voter.
///
/// Neither ARP nor neighbour discovery says which question an answer is to. It is taken for one to
/// the latest question, as an answer takes less than the time between two. One that takes longer
/// extends an owner's lease by that much too far, which the spread of a candidate's probes over
/// another lease covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its address.
    pub ip: IpAddr,
    /// The number of the interface that it is behind.
    pub index: u32,
    /// This machine's own address there, which must not be a floating one: the gateway would
    /// remember it as being here.
    pub from: Option<IpAddr>,
    /// Where it was when it answered last.
    mac: Option<Mac>,
    asked: Option<Clocks>,
}

impl Gateway {
    /// One that has not been asked.
    #[must_use]
    pub const fn new(ip: IpAddr, index: u32, from: Option<IpAddr>) -> Self {
        Self { ip, index, from, mac: None, asked: None }
    }

    /// The question of that moment, to be sent from the device with the MAC `mine`: to the gateway
    /// alone if it answered the one before, so that ten a second bother nobody else; else to all,
    /// since another machine may be the gateway now.
    #[must_use]
    pub fn ask(&mut self, sent: Clocks, mine: Mac) -> Frame {
        if self.asked.replace(sent).is_some() {
            self.mac = None;
        }
        Frame::question(self.ip, self.from, mine, self.mac)
    }

    /// The moment of the question that this answers, if it does: `PairEvent::GatewayAnswered`. Once
    /// for each. What the gateway says of its own accord shows only one direction to work.
    #[must_use]
    pub fn hear(&mut self, heard: &Heard) -> Option<Clocks> {
        // A question from no address is a probe, and the answer to one for IPv6 goes to all.
        let is_answer = match heard.said {
            Said::Answered => true,
            Said::Claimed => self.from.is_none() && self.ip.is_ipv6(),
            Said::Probed => false,
        };
        if heard.ip != self.ip || !is_answer {
            return None;
        }
        let sent = self.asked.take()?;
        self.mac = Some(heard.mac);
        Some(sent)
    }
}

#[cfg(test)]
mod tests;
