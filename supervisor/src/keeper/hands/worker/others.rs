//! Whether somebody else has an address that is not here: looked for by a standby, told and shown.

use mastiff_core::pair::message::{NotReady, Role};
use mastiff_core::report::Severity;
use mastiff_core::time::Mono;

use super::Worker;
use crate::guard::Slot;
use crate::keeper::board::GroupShown;
use crate::keeper::vacancy::{Found, Holder};

impl Worker {
    /// Once a second: asks what is due, and tells what is new.
    pub(super) fn look_for_others(&mut self, now: Mono) {
        let holders = self.board.look(|shown| shown.groups.iter().map(holder).collect::<Vec<_>>());
        for (place, holder) in holders.into_iter().enumerate() {
            let slot = Slot(place);
            let before = self.air.found(slot);
            let places = (&self.devices, self.peer.as_slice());
            for (ip, found) in self.air.look_for_others(slot, holder, places, now) {
                self.tell_found(&ip.to_string(), found);
            }
            let found = self.air.found(slot);
            if found != before {
                self.board.set_found(slot, found);
            }
        }
    }

    fn tell_found(&self, ip: &str, found: Found) {
        match found {
            Found::InUse(mac) => {
                let text = format!(
                    "{ip} is answered for by {mac}, which is not where the group is: another \
                     machine has the address"
                );
                self.told.tell("address-in-use", Severity::Warning, text);
            }
            Found::Unanswered => {
                let text = format!(
                    "{ip} is answered for by nobody on this node's network, though the other node \
                     has it: clients here may not reach it"
                );
                self.told.tell("address-unanswered", Severity::Warning, text);
            }
            Found::Good(_) => {
                let text = format!("{ip} is answered for as it should be");
                self.told.tell("address-good", Severity::Notice, text);
            }
            Found::Unknown(_) => {}
        }
    }
}

const fn is_at_rest(role: Role) -> bool {
    matches!(role, Role::Standby | Role::Waiting | Role::Maintenance | Role::Fault)
}

/// Who should have the group, by the words of both nodes.
fn holder(group: &GroupShown) -> Holder {
    // Something may be left on either node.
    let changes = |why| matches!(why, Some(NotReady::Starting | NotReady::Rebooting));
    if changes(group.not_ready) || !is_at_rest(group.role) {
        return Holder::NotKnown;
    }
    match group.peer {
        Some((Role::Active, _, _)) => Holder::Peer,
        Some((_, _, why)) if changes(why) => Holder::NotKnown,
        None => Holder::NotKnown,
        Some((role, _, _)) if is_at_rest(role) => Holder::Nobody,
        Some(_) => Holder::NotKnown,
    }
}
