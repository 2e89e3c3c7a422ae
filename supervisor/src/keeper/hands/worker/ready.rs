//! Whether the addresses of a group could be put on here, and why not.

use std::net::IpAddr;

use super::{Outcome, Worker};
use crate::config::pair::AddressConfig;
use crate::guard::Slot;
use crate::keeper::address::{Found, Leftovers};
use crate::keeper::devices::{Devices, State};

impl Worker {
    /// Tells the keeper whether the interfaces of each group are there and up, behind a guard, and
    /// its addresses not here by somebody else's hand.
    pub(super) fn tell_ready(&mut self) {
        let floating = self.groups.iter().flat_map(|group| &group.addresses);
        let floating: Vec<IpAddr> = floating.map(|config| config.ip).collect();
        // Somebody else's: it would be refused when the group is taken. A list that cannot be read
        // shows none; then that is what is found out.
        let all = self.addresses.list().unwrap_or_default();
        let foreign = Leftovers::among(&all, &floating).foreign;
        for found in &foreign {
            let text = format!(
                "{} is on an interface here, and not by mastiff; its group cannot be taken",
                found.address
            );
            self.told.once("address-foreign", &mut self.foreign, text);
        }
        if foreign.is_empty() {
            self.foreign = None;
        }
        let Self { groups, devices, fault, board, answers, .. } = self;
        for (slot, group) in groups.iter_mut().enumerate() {
            let slot = Slot(slot);
            let unguarded = fault.as_ref().map(|why| format!("the guard does not stand: {why}"));
            let mut all = group.addresses.iter();
            let why = unguarded.or_else(|| all.find_map(|it| hindrance(it, devices, &foreign)));
            let ready = why.is_none();
            board.set_no_link(slot, why);
            if group.ready != Some(ready) {
                // What finds no room is told again with the next look.
                let given = answers.give(Outcome::Ready(slot, ready));
                group.ready = given.then_some(ready);
            }
        }
    }
}

/// What keeps an address from being put on.
fn hindrance(config: &AddressConfig, devices: &Devices, foreign: &[Found]) -> Option<String> {
    let AddressConfig { ip, interface, .. } = config;
    if foreign.iter().any(|found| found.address.ip == *ip) {
        return Some(format!("{ip} is here already, and not by mastiff"));
    }
    match devices.called(interface).map(|device| device.state) {
        Some(State::Up) => None,
        Some(state) => Some(format!("{interface}: {state}")),
        None => Some(format!("{interface} is missing")),
    }
}
