//! The third voter. One file each; a new one is a file here and an arm in [`Arbiter`].
//!
//! | arbiter | who answers | promise |
//! |---|---|---|
//! | [`witness`] | a third machine, which runs [`crate::pair::voter`] | never two owners |
//! | [`fence`] | whoever can cut the peer's power | never two owners |
//! | [`wire`] | the network itself: silence, probes and the own gateway | not on a split LAN |
//!
//! External stores (etcd, consul) will be the *only* voter, not a third one: a lease then lasts
//! while the store's own key does. They fit beside this enum, not into it.

pub mod fence;
pub mod wire;
pub mod witness;

use serde::{Deserialize, Serialize};

use super::clock::Clocks;
use super::event::{PairActions, StepId};
use super::message::{Ask, GroupKey, Vote};
use crate::time::{Mono, Span};

/// What a node's third voter is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Arbiter {
    /// A witness, asked by message.
    Witness(witness::Witness),
    /// A fence agent.
    Fence(fence::Fence),
    /// The network.
    Wire(wire::Wire),
}

/// What an arbiter is told with each question.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Of which group.
    pub group: GroupKey,
    /// What a witness would be asked.
    pub ask: &'a Ask,
    /// Whether the peer has been silent for as long as its lease may last.
    pub peer_silent: bool,
    /// Whether it is heard, and cannot stop what must not run twice.
    pub peer_stuck: bool,
    /// Whether the peer has been heard since this daemon's machine booted.
    pub peer_known: bool,
    /// The group's lease length.
    pub lease: Span,
    /// Both clocks.
    pub now: Clocks,
    /// A number for a step, if one must begin.
    pub attempt: u32,
}

/// An answer that came later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// When the question was put.
    pub sent: Clocks,
    /// The vote.
    pub vote: Vote,
}

impl Arbiter {
    /// Whether questions go to a witness by message.
    #[must_use]
    pub const fn is_witness(&self) -> bool {
        matches!(self, Self::Witness(_))
    }

    /// Puts a question. A vote comes back now, or as a message or event later.
    pub fn ask(&mut self, question: &Question<'_>, out: &mut PairActions) -> Option<Vote> {
        match self {
            // The message that carries the ask is sent by the group.
            Self::Witness(_) => None,
            Self::Fence(fence) => fence.ask(question, out),
            Self::Wire(wire) => wire.ask(question, out),
        }
    }

    /// A step of [`super::event::Step::Fence`] ended.
    pub fn fenced(&mut self, step: StepId, ok: bool) -> Option<Late> {
        match self {
            Self::Fence(fence) => fence.done(step, ok),
            Self::Witness(_) | Self::Wire(_) => None,
        }
    }

    /// The peer was heard: it is on.
    pub fn peer_heard(&mut self) {
        match self {
            Self::Fence(fence) => fence.peer_heard(),
            Self::Wire(wire) => wire.stop_probing(),
            Self::Witness(_) => {}
        }
    }

    /// The gateway answered.
    pub fn gateway_answered(&mut self, sent: Clocks) -> Option<Late> {
        match self {
            Self::Wire(wire) => wire.gateway_answered(sent),
            Self::Witness(_) | Self::Fence(_) => None,
        }
    }

    /// Whether the peer is confirmed off.
    #[must_use]
    pub const fn peer_is_off(&self) -> bool {
        match self {
            Self::Fence(fence) => fence.peer_is_off(),
            Self::Witness(_) | Self::Wire(_) => false,
        }
    }

    /// The candidacy is over.
    pub fn withdraw(&mut self) {
        match self {
            Self::Wire(wire) => wire.stop_probing(),
            Self::Fence(_) | Self::Witness(_) => {}
        }
    }

    /// When it wants to be asked again before the next heartbeat.
    #[must_use]
    pub fn next_deadline(&self) -> Mono {
        match self {
            Self::Wire(wire) => wire.next_deadline(),
            Self::Witness(_) | Self::Fence(_) => Mono::FAR,
        }
    }
}
