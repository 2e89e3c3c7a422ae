//! Connections do not move with their addresses, so those who have one are told as soon as can be.
//!
//! | when | which | who learns of it |
//! |---|---|---|
//! | before a planned change, the guard open | with our end on the address | client and server |
//! | later, when the other node is the owner | the same: missed before, or after a lost lease | the server |
//! | addresses are added here | of programs here with the owner before | the client |
//!
//! After a lost lease they stay until there is another owner: if this node gets the group back
//! first, they go on as if nothing had happened.

use mastiff_core::pair::message::Role;
use mastiff_core::report::Severity;
use mastiff_core::time::{Mono, Span};

use super::Worker;
use crate::clock;
use crate::guard::Slot;
use crate::keeper::connections::{Connections, Ended, Side};

/// A planned change waits so long for the connections of a group: enough for 10,000, at 15 µs each.
const BEFORE_LEAVING: Span = Span::from_millis(200);
/// At other times they end in portions, so that no other group waits longer for its addresses.
const PORTION: Span = Span::from_millis(5);
/// After a portion that left some.
const NEXT_PORTION: Span = Span::from_millis(50);
/// Clients whose connection ends may connect again before the guard closes, and be told again.
const ROUNDS: u32 = 2;

/// Connections of a group that are to end, now and then some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Those of servers here, once the other node is the owner.
    Served,
    /// Those of clients here with the owner before.
    Used,
}

/// What it is done with.
#[derive(Debug)]
pub(super) struct Parting {
    /// By slots: whether it is wanted.
    resets: Vec<bool>,
    /// `None`: the kernel cannot, or nobody wants it.
    connections: Option<Connections>,
}

impl Parting {
    pub(super) const fn new(resets: Vec<bool>) -> Self {
        Self { resets, connections: None }
    }

    fn is_wanted(&self, slot: Slot) -> bool {
        self.connections.is_some() && self.resets.get(slot.0).copied().unwrap_or(false)
    }
}

impl Worker {
    /// Finds out what the kernel can, before it counts.
    pub(super) fn prepare_parting(&mut self) {
        if !self.parting.resets.contains(&true) {
            return;
        }
        match Connections::open() {
            Ok(connections) => self.parting.connections = Some(connections),
            Err(why) => self.cannot_end(&why),
        }
    }

    /// The addresses of a group are about to leave, and can still speak.
    pub(super) fn end_before_leaving(&mut self, slot: Slot) {
        let mut count = 0;
        let until = clock::now().after(BEFORE_LEAVING);
        for _ in 0..ROUNDS {
            let ended = self.end(slot, Side::Local, until);
            count += ended.count;
            if ended.count == 0 || !ended.all {
                break;
            }
        }
        self.tell_ended(slot, count, "because they move to the other node");
    }

    /// They have left.
    pub(super) fn end_once_elsewhere(&mut self, slot: Slot) {
        let is_wanted = self.parting.is_wanted(slot);
        if let Some(group) = self.groups.get_mut(slot.0) {
            group.rest = is_wanted.then_some(Rest::Served);
        }
    }

    /// They are here now. If nobody else was seen with them, they have come back.
    pub(super) fn end_after_arriving(&mut self, slot: Slot) {
        let is_wanted = self.parting.is_wanted(slot);
        if let Some(group) = self.groups.get_mut(slot.0) {
            let is_back = group.rest == Some(Rest::Served);
            group.rest = (is_wanted && !is_back).then_some(Rest::Used);
        }
        if is_wanted {
            // As soon as no job waits.
            self.look_due = clock::now();
        }
    }

    /// A portion of what is left of all groups.
    pub(super) fn end_rests(&mut self) {
        let until = clock::now().after(PORTION);
        (0..self.groups.len()).map(Slot).for_each(|slot| self.end_rest(slot, until));
    }

    fn end_rest(&mut self, slot: Slot, until: Mono) {
        let Some(rest) = self.groups.get(slot.0).and_then(|group| group.rest) else { return };
        let (side, why) = match rest {
            Rest::Served if !self.is_elsewhere(slot) => return,
            Rest::Served => (Side::Local, "because they are on the other node"),
            Rest::Used => (Side::Remote, "from here, because they have come to this node"),
        };
        let ended = self.end(slot, side, until);
        self.tell_ended(slot, ended.count, why);
        if !ended.all {
            self.look_due = self.look_due.min(clock::now().after(NEXT_PORTION));
        } else if let Some(group) = self.groups.get_mut(slot.0) {
            group.rest = None;
        }
    }

    /// Whether the other node says that it is the owner.
    fn is_elsewhere(&self, slot: Slot) -> bool {
        let shown = self.board.read();
        let group = shown.groups.get(slot.0);
        group.is_some_and(|group| matches!(group.peer, Some((Role::Active, _, _))))
    }

    /// What cannot be ended now, ends by itself later.
    fn end(&mut self, slot: Slot, side: Side, until: Mono) -> Ended {
        let mut all = Ended { count: 0, all: true };
        if !self.parting.is_wanted(slot) {
            return all;
        }
        let Self { groups, parting, .. } = self;
        let (Some(group), Some(connections)) = (groups.get(slot.0), &mut parting.connections)
        else {
            return all;
        };
        for config in &group.addresses {
            match connections.end(config.ip, side, until) {
                Ok(ended) => {
                    all.count += ended.count;
                    all.all &= ended.all;
                }
                Err(why) => {
                    parting.connections = None;
                    self.cannot_end(&why);
                    return all;
                }
            }
        }
        all
    }

    fn cannot_end(&self, why: &str) {
        let text = format!(
            "cannot reset connections when their address moves: {why}; clients that wait for data \
             will notice late (connections = \"keep\" in [[group]] says that this is meant)"
        );
        self.told.tell("connections-stay", Severity::Warning, text);
    }

    fn tell_ended(&self, slot: Slot, count: usize, why: &str) {
        let Some(group) = self.groups.get(slot.0).filter(|_| count > 0) else { return };
        let addresses: Vec<String> =
            group.addresses.iter().map(|config| config.ip.to_string()).collect();
        let text = format!("connections with {}: {count} reset, {why}", addresses.join(", "));
        self.told.tell("connections-reset", Severity::Notice, text);
    }
}
