//! Whether the addresses of a group that is not here are where they should be: with the other node
//! alone while that has the group, and with nobody while nobody has it.
//!
//! The standby asks the network once a minute, so that it is not a takeover that finds a second
//! machine with the address. What it finds is a warning and never a reason to be not ready: at a
//! takeover the lease decides (RFC 5227, section 2.4, leaves it to the owner to defend its
//! address), and a word of the network that anybody can forge must not keep a group from being
//! taken. Pure: [`super::hands`] asks and hears.
//!
//! ```text
//! ask ──► a second ──► as it should be: again in a minute
//!                  └─► not: again in five seconds, and told if it is the same then
//! ```

use mastiff_core::time::{Mono, Span};

use super::devices::Mac;

/// How often the network is asked.
pub const ASK_EVERY: Span = Span::from_secs(60);
/// What is not as it should be is asked for again so soon: a question may be lost, and a role may
/// be changing.
pub const ASK_AGAIN: Span = Span::from_secs(5);
/// How long answers are waited for; hosts on one network answer within milliseconds.
pub const ANSWER_WITHIN: Span = Span::from_secs(1);
/// Those who answer for one address, at most; more are not told apart.
pub const ANSWERS_MAX: usize = 8;

/// Who should have the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The other node, by its own fresh word.
    Peer,
    /// Neither node, by the words of both.
    Nobody,
    /// The nodes do not know, or something is just changing.
    NotKnown,
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// As it should be.
    Good(Holder),
    /// Not known, and why; never a fault.
    Unknown(&'static str),
    /// Somebody else has it.
    InUse(Mac),
    /// The other node has it, and nobody answers here.
    Unanswered,
}

impl Found {
    /// Whether something is wrong for certain.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        matches!(self, Self::InUse(_) | Self::Unanswered)
    }
}

const NOT_KNOWN: &str = "who has the group is not known, or just changing";

/// What this node asks about one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vacancy {
    /// The address is here: there is nothing to ask.
    is_here: bool,
    /// Who should have it.
    holder: Holder,
    asked: Option<Mono>,
    answers: [Option<Mac>; ANSWERS_MAX],
    next: Mono,
    /// What was found last, but not yet again.
    doubted: Option<Found>,
    found: Found,
    /// The fault that was told.
    told: Option<Found>,
}

impl Default for Vacancy {
    fn default() -> Self {
        Self {
            is_here: false,
            holder: Holder::NotKnown,
            asked: None,
            answers: [None; ANSWERS_MAX],
            next: Mono::FAR,
            doubted: None,
            found: Found::Unknown(NOT_KNOWN),
            told: None,
        }
    }
}

impl Vacancy {
    /// Of an address that is here.
    #[must_use]
    pub fn none() -> Self {
        Self { is_here: true, found: Found::Unknown("it is here"), ..Self::default() }
    }

    /// Who should have it now: with another one everything found is old.
    pub fn follow(&mut self, holder: Holder, now: Mono) {
        if holder == self.holder || self.is_here {
            return;
        }
        let (found, next) = match holder {
            Holder::NotKnown => (NOT_KNOWN, Mono::FAR),
            Holder::Peer | Holder::Nobody => ("it has not been asked for since a change", now),
        };
        let found = Found::Unknown(found);
        *self = Self { holder, found, next, told: self.told, ..Self::default() };
    }

    /// Whether to ask now.
    #[must_use]
    pub fn is_due(&self, now: Mono) -> bool {
        self.asked.is_none() && now >= self.next
    }

    /// The question is on its way.
    pub const fn asked(&mut self, now: Mono) {
        self.asked = Some(now);
        self.answers = [None; ANSWERS_MAX];
    }

    /// It cannot be asked now.
    pub const fn cannot_ask(&mut self, why: &'static str, now: Mono) {
        (self.found, self.doubted) = (Found::Unknown(why), None);
        self.next = now.after(ASK_EVERY);
    }

    /// Somebody who is not of this machine says that it has the address.
    pub fn hear(&mut self, mac: Mac) {
        if self.asked.is_none() || self.answers.contains(&Some(mac)) {
            return;
        }
        if let Some(place) = self.answers.iter_mut().find(|place| place.is_none()) {
            *place = Some(mac);
        }
    }

    /// How many have answered.
    #[cfg(test)]
    pub(crate) fn answers(&self) -> usize {
        self.answers.iter().flatten().count()
    }

    /// Whether the answers are in.
    #[must_use]
    pub fn is_answered(&self, now: Mono) -> bool {
        self.asked.is_some_and(|at| now.since(at) >= ANSWER_WITHIN)
    }

    /// Judges the answers by the MACs at which the other node is known. Whether that is worth
    /// telling: a fault that was found twice, or the end of one.
    pub fn judge(&mut self, peer: &[Mac], now: Mono) -> bool {
        if self.asked.take().is_none() {
            return false;
        }
        let found = judge(self.holder, self.answers.iter().flatten().copied(), peer);
        if found.is_fault() && self.doubted != Some(found) && self.found != found {
            self.doubted = Some(found);
            self.next = now.after(ASK_AGAIN);
            return false;
        }
        (self.found, self.doubted, self.next) = (found, None, now.after(ASK_EVERY));
        let told = match found {
            Found::Unknown(_) => self.told,
            Found::Good(_) => None,
            Found::InUse(_) | Found::Unanswered => Some(found),
        };
        std::mem::replace(&mut self.told, told) != told
    }

    /// What was found last, and twice where it is a fault.
    #[must_use]
    pub const fn found(&self) -> Found {
        self.found
    }
}

/// One round of answers.
fn judge(holder: Holder, answers: impl Iterator<Item = Mac> + Clone, peer: &[Mac]) -> Found {
    let strange = answers.clone().find(|mac| !peer.contains(mac));
    let is_peer_there = answers.clone().any(|mac| peer.contains(&mac));
    match (holder, strange) {
        (Holder::NotKnown, _) => Found::Unknown(NOT_KNOWN),
        // The other node's own guard is closed.
        (Holder::Nobody, _) => answers.clone().next().map_or(Found::Good(holder), Found::InUse),
        (Holder::Peer, Some(mac)) if is_peer_there => Found::InUse(mac),
        (Holder::Peer, Some(_)) if peer.is_empty() => Found::Unknown(
            "no path leads to the other node on that network, so its MAC is not known",
        ),
        (Holder::Peer, Some(_)) => Found::Unknown(
            "it is answered for by a MAC that may be another interface of the other node",
        ),
        (Holder::Peer, None) if is_peer_there => Found::Good(holder),
        (Holder::Peer, None) => Found::Unanswered,
    }
}

#[cfg(test)]
mod tests;
