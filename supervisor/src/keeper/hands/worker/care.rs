//! What the hands look after without being asked: addresses and the guard as they should be,
//! whatever others do to them.

use mastiff_core::report::Severity;
use mastiff_core::sorted::Set;
use mastiff_core::time::Mono;

use super::{GroupWork, LOOK_EVERY, RENEW_EVERY, RENEW_EVERY_AS_GUARD, Worker, address};
use crate::clock;
use crate::config::pair::AddressConfig;
use crate::guard::Slot;
use crate::keeper::address::Address;
use crate::keeper::devices::{Device, Event, State};

impl Worker {
    /// What others do to interfaces and addresses.
    pub(super) fn take_device_events(&mut self) {
        let mut events = Vec::new();
        if let Err(error) = self.devices.read(&mut events) {
            log::warn!("cannot read what happens to interfaces: {}", error.desc());
        }
        if !self.stood || events.is_empty() {
            return;
        }
        let (mut again, mut moved) = (Set::new(), Vec::new());
        let (mut devices_changed, mut addresses_changed) = (false, false);
        for event in &events {
            match event {
                Event::AddressGone(found) => {
                    let ip = found.address.ip;
                    let has = |group: &GroupWork| group.addresses.iter().any(|a| a.ip == ip);
                    let groups = self.groups.iter().enumerate();
                    again.extend(groups.filter(|(_, g)| g.on && has(g)).map(|(at, _)| at));
                    addresses_changed |= self.foreign.is_some();
                }
                Event::AddressThere(found) => {
                    let ip = found.address.ip;
                    let has = |group: &GroupWork| group.addresses.iter().any(|a| a.ip == ip);
                    addresses_changed |= !found.is_tagged() && self.groups.iter().any(has);
                }
                Event::Changed(before) => {
                    devices_changed = true;
                    let now = self.devices.numbered(before.index);
                    let is_up = |device: &Device| device.state == State::Up;
                    if now
                        .is_some_and(|now| is_up(now) && (!is_up(before) || now.mac != before.mac))
                    {
                        moved.push(before.index);
                    }
                }
                Event::Appeared(_) | Event::Gone(_) => devices_changed = true,
                Event::Missed => {
                    devices_changed = true;
                    let groups = self.groups.iter().enumerate();
                    again.extend(groups.filter(|(_, group)| group.on).map(|(at, _)| at));
                }
            }
        }
        if devices_changed {
            self.stand();
            let groups = self.groups.iter().enumerate();
            again.extend(groups.filter(|(_, group)| group.on).map(|(at, _)| at));
        }
        for slot in again.into_iter().map(Slot) {
            self.put_back(slot);
        }
        for slot in (0..self.groups.len()).map(Slot) {
            if self.is_on_one_of(slot, &moved) {
                // Another port of the switch, perhaps, or another MAC.
                self.air.start(slot, clock::now());
            }
        }
        if devices_changed {
            self.air.listen(&self.devices, self.poll.registry());
        }
        if devices_changed || addresses_changed {
            self.tell_ready();
        }
    }

    /// Whether the addresses of a group are here, and one of them on one of these interfaces.
    fn is_on_one_of(&self, slot: Slot, indexes: &[u32]) -> bool {
        let on = |config: &AddressConfig| {
            let device = self.devices.called(&config.interface);
            device.is_some_and(|device| indexes.contains(&device.index))
        };
        self.groups.get(slot.0).is_some_and(|group| group.on && group.addresses.iter().any(on))
    }

    /// Somebody took an address away, or its interface has come back.
    fn put_back(&mut self, slot: Slot) {
        if self.board.left(slot, clock::now()).is_none() {
            return;
        }
        if self.is_complete(slot) {
            return self.note(slot, Ok(()));
        }
        let put = match &self.fault {
            Some(why) => Err(format!("no address is added without a guard: {why}")),
            None => self.put(slot),
        };
        if put.is_ok() {
            self.announce(slot, clock::now());
            let text = "somebody removed an address of a group that is active here; it is back";
            self.told.tell("address-restored", Severity::Warning, text.to_string());
        }
        self.note(slot, put);
        self.remove_if_over(slot);
    }

    /// The kernel makes what comes too late, too.
    fn remove_if_over(&mut self, slot: Slot) {
        if self.board.left(slot, clock::now()).is_none()
            && let Err(why) = self.remove(slot)
        {
            self.told.tell("addresses-failed", Severity::Error, why);
        }
    }

    /// Whether all addresses of a group are where they should be.
    fn is_complete(&mut self, slot: Slot) -> bool {
        let Some(group) = self.groups.get(slot.0) else { return true };
        let index = |config: &AddressConfig| {
            self.devices.called(&config.interface).map(|device| device.index)
        };
        let wanted: Option<Vec<(Address, u32)>> = group
            .addresses
            .iter()
            .map(|config| index(config).map(|index| (address(config), index)))
            .collect();
        wanted.is_some_and(|wanted| self.addresses.verify(&wanted).is_ok())
    }

    /// What is due: lifetimes, and a look at the guard.
    pub(super) fn look_after(&mut self, now: Mono) {
        if !self.stood {
            return;
        }
        self.speak(now);
        if now >= self.renew_due {
            let every = if self.is_guard { RENEW_EVERY_AS_GUARD } else { RENEW_EVERY };
            self.renew_due = now.after(every);
            for slot in (0..self.groups.len()).map(Slot) {
                self.renew(slot);
            }
        }
        if now >= self.look_due {
            self.look_due = now.after(LOOK_EVERY);
            if self.groups.iter().any(|group| group.ready.is_none()) {
                self.tell_ready();
            }
            self.end_rests();
            self.look_for_others(now);
            match self.wall.stands() {
                Ok(true) if self.fault.is_none() => {}
                Ok(stands) => {
                    if !stands && self.fault.is_none() {
                        let text = format!(
                            "somebody removed the guard ({}); it is built again",
                            self.wall.describe()
                        );
                        self.told.tell("guard-rebuilt", Severity::Error, text);
                    }
                    self.stand();
                }
                Err(why) => log::warn!("cannot see whether the guard stands: {why}"),
            }
        }
    }

    pub(super) fn renew(&mut self, slot: Slot) {
        let Some(group) = self.groups.get(slot.0) else { return };
        if !group.on || self.board.left(slot, clock::now()).is_none() {
            return;
        }
        // A renewal makes what is not there; that must be behind a guard, and be announced.
        let is_whole = group.trouble.is_none() && self.fault.is_none();
        if !is_whole && !self.is_complete(slot) {
            return self.put_back(slot);
        }
        let put = self.put(slot);
        self.note(slot, put);
        self.remove_if_over(slot);
    }
}
