//! The hands' loop, and what it owns.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use mastiff_core::pair::event::{PairEvent, Step, StepId};
use mastiff_core::report::Severity;
use mastiff_core::time::{Mono, Span};
use mastiff_core::timing;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::air::{self, Air, AskGateway};
use super::{Answers, Job, Outcome, Told};
use crate::clock;
use crate::config::pair::AddressConfig;
use crate::guard::{self, Place, Slot, Wall};
use crate::keeper::address::{Address, Addresses, Leftovers, takes_others_along};
use crate::keeper::board::Board;
use crate::keeper::devices::{Device, Devices, State};
use crate::keeper::setup::Work;
use parting::{Parting, Rest};

mod care;
mod others;
mod parting;
mod ready;

pub(super) const WAKE: Token = Token(0);
const DEVICES: Token = Token(1);
const FIRST_TAP: usize = 2;
const READY_MAX: usize = 16;

/// How often the lifetimes of addresses are renewed: each renewal wakes every program that listens
/// for addresses.
const RENEW_EVERY: Span = Span::from_secs(1);
/// The same where the lifetime is the guard: it may not outlast the lease by more than it must.
const RENEW_EVERY_AS_GUARD: Span = Span::from_millis(300);
/// What an address may outlast the lease by, where the guard ends that: one renewal may be late.
const LIFETIME_BEYOND: Span = Span::from_secs(2);
/// How often it is looked whether the guard still stands.
const LOOK_EVERY: Span = Span::from_secs(1);

/// Interfaces beside those of the groups' addresses that are guarded; those that were there first.
/// Beyond are, where there are so many, the ends of containers and virtual machines.
const OTHERS_MAX: usize = 64;
/// Interfaces that are looked at for that.
const LISTED_MAX: usize = 1024;

/// What the hands have to do with one group.
#[derive(Debug)]
struct GroupWork {
    addresses: Vec<AddressConfig>,
    /// Its addresses should be on their interfaces.
    on: bool,
    /// What the keeper was last told of its interfaces.
    ready: Option<bool>,
    /// Why something of it is not where it should be: said once, and tried again.
    trouble: Option<String>,
    /// Connections with its addresses that are to end.
    rest: Option<Rest>,
}

/// The thread.
#[derive(Debug)]
pub(super) struct Worker {
    poll: Poll,
    jobs: Receiver<Job>,
    answers: Answers,
    told: Told,
    board: Arc<Board>,
    devices: Devices,
    addresses: Addresses,
    air: Air,
    parting: Parting,
    wall: Box<dyn Wall>,
    daemon: String,
    /// The other node's ends of the paths.
    peer: Vec<IpAddr>,
    groups: Vec<GroupWork>,
    /// Whether the lifetime of an address is all that guards it.
    is_guard: bool,
    /// Whether the guard has been asked to stand: before, nothing is looked after.
    stood: bool,
    /// Whether what a daemon before left of other forms is gone.
    is_alone: bool,
    renew_due: Mono,
    look_due: Mono,
    /// What was said of the guard, so that it is said once.
    fault: Option<String>,
    /// The same of an address that somebody else put here.
    foreign: Option<String>,
}

impl Worker {
    pub(super) fn new(
        poll: Poll,
        jobs: Receiver<Job>,
        answers: Answers,
        told: Told,
        board: Arc<Board>,
        work: Work,
    ) -> io::Result<Self> {
        let devices = Devices::open()?;
        let registry = poll.registry();
        let readable = Interest::READABLE;
        registry.register(&mut SourceFd(&devices.as_fd().as_raw_fd()), DEVICES, readable)?;
        let group =
            |addresses| GroupWork { addresses, on: false, ready: None, trouble: None, rest: None };
        let now = clock::now();
        Ok(Self {
            poll,
            jobs,
            answers,
            told,
            board,
            devices,
            addresses: Addresses::open()?,
            air: Air::open(
                &work.groups,
                AskGateway { enabled: work.asks_gateway, ip: work.gateway },
                FIRST_TAP,
            )?,
            parting: Parting::new(work.resets),
            is_guard: matches!(work.wall.form(), timing::Guard::Lifetime),
            wall: work.wall,
            daemon: work.daemon,
            peer: work.peer,
            groups: work.groups.into_iter().map(|(_, all)| group(all)).collect(),
            stood: false,
            is_alone: false,
            renew_due: now,
            look_due: now,
            fault: None,
            foreign: None,
        })
    }

    pub(super) fn run(mut self) {
        let mut ready = Events::with_capacity(READY_MAX);
        loop {
            let wait = Duration::from_nanos(self.next_deadline().since(clock::now()).as_nanos());
            if let Err(error) = self.poll.poll(&mut ready, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                // Steps are missed by their deadlines from now on, and addresses expire.
                log::error!("the keeper's hands cannot poll: {error}");
                return;
            }
            self.take_device_events();
            self.hear();
            if self.do_jobs() {
                return;
            }
            self.look_after(clock::now());
        }
    }

    fn next_deadline(&self) -> Mono {
        if !self.stood {
            // The first job wakes it, and is given by a thread that may have to wait for this one.
            return clock::now().after(LOOK_EVERY);
        }
        let is_on = self.groups.iter().any(|group| group.on);
        let renew = if is_on { self.renew_due } else { Mono::FAR };
        renew.min(self.look_due).min(self.air.next_deadline())
    }

    /// All jobs that wait; whether the end is among them.
    fn do_jobs(&mut self) -> bool {
        loop {
            match self.jobs.try_recv() {
                Ok(Job::Stand) => {
                    self.stood = true;
                    self.warn_of_secondaries();
                    self.stand();
                    self.air.listen(&self.devices, self.poll.registry());
                    self.tell_ready();
                    self.prepare_parting();
                }
                Ok(Job::Step(id, slot)) => self.step(id, slot),
                Ok(Job::Adopt(slot)) => self.adopt(slot),
                Ok(Job::Recreate(slot)) => self.recreate(slot),
                Ok(Job::Look) => self.look_due = clock::now(),
                Ok(Job::AskGateway(sent)) => {
                    self.air.ask_gateway(sent, &self.devices, self.poll.registry());
                }
                Ok(Job::Probe(slot)) => {
                    let event = self.air.probe(slot, &self.devices, clock::now());
                    if let Some(event) = event {
                        self.answers.give(Outcome::Event(event));
                    }
                }
                Ok(Job::Stop { remove }) => {
                    // What could not be taken off stays behind a guard, which is closed.
                    let mut slots = (0..self.groups.len()).map(Slot);
                    if remove && slots.all(|slot| self.remove(slot).is_ok()) {
                        self.wall.remove();
                    }
                    // What is left for a daemon that follows lasts to the end of its lease.
                    for slot in (0..self.groups.len()).map(Slot) {
                        self.renew(slot);
                    }
                    return true;
                }
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            }
        }
    }

    fn step(&mut self, id: StepId, slot: Slot) {
        let ended = match id.step {
            Step::AddAddresses => self.add(slot),
            Step::EndConnections => {
                self.end_before_leaving(slot);
                Ok(())
            }
            Step::RemoveAddresses => self.remove(slot),
            Step::StartUnits | Step::StopUnits | Step::Fence => Ok(()),
        };
        if let Err(why) = &ended {
            self.told.tell("addresses-failed", Severity::Error, why.clone());
        }
        let event = PairEvent::Done { step: id, ok: ended.is_ok() };
        self.answers.give(Outcome::Event(event));
        // Nobody waits for what is left of the connections.
        match id.step {
            Step::AddAddresses if ended.is_ok() => self.end_after_arriving(slot),
            Step::RemoveAddresses => self.end_once_elsewhere(slot),
            _ => {}
        }
    }

    /// Puts the addresses of a group on, if it may be had.
    fn add(&mut self, slot: Slot) -> Result<(), String> {
        if self.fault.is_some() {
            self.stand();
        }
        if let Some(fault) = &self.fault {
            return Err(format!("no address is added, because the guard does not stand: {fault}"));
        }
        let now = clock::clocks();
        let Some(left) = self.board.left(slot, now.boot) else {
            return Err("the lease was over before the addresses were added".to_string());
        };
        self.wall.create(slot, now.after(left))?;
        // The lease has decided, so nobody waits; an answer is evidence of a conflict.
        let _unsent = self.air.probe(slot, &self.devices, now.boot);
        if let Some(group) = self.groups.get_mut(slot.0) {
            group.on = true;
        }
        self.renew_due = self.renew_due.min(now.boot.after(RENEW_EVERY_AS_GUARD));
        let added = self.put(slot);
        // The kernel makes what comes too late, too.
        let in_time = self.board.left(slot, clock::now()).is_some();
        if added.is_ok() && in_time {
            let now = clock::now();
            self.announce(slot, now);
            return Ok(());
        }
        let removed = self.remove(slot);
        added.and(removed)?;
        Err("the lease was over before the addresses were there; they are gone again".to_string())
    }

    /// Goes on with the addresses that the daemon before put on for the lease that is left.
    fn adopt(&mut self, slot: Slot) {
        let now = clock::now();
        if self.board.left(slot, now).is_none() {
            return;
        }
        if let Some(group) = self.groups.get_mut(slot.0) {
            group.on = true;
        }
        self.air.start(slot, now);
        self.renew_due = now;
    }

    /// From now on, at once and again.
    fn announce(&mut self, slot: Slot, now: Mono) {
        self.air.start(slot, now);
        self.speak(now);
    }

    /// Only what may be had: this thread may have been stopped since it was told so, and where the
    /// guard is a lifetime nothing else would keep it from speaking in another's name.
    fn speak(&mut self, now: Mono) {
        let board = &self.board;
        self.air.speak(&self.devices, now, |slot| board.left(slot, clock::now()).is_some());
    }

    /// Adds or renews each address of a group for what is left of its lease.
    fn put(&mut self, slot: Slot) -> Result<(), String> {
        let Some(group) = self.groups.get(slot.0) else { return Ok(()) };
        for config in &group.addresses {
            // For each anew: the one before may have waited for the kernel's lock.
            let left = self.board.left(slot, clock::now()).ok_or("the lease is over")?;
            let lifetime = if self.is_guard { left } else { left.plus(LIFETIME_BEYOND) };
            let device = self.devices.called(&config.interface).ok_or_else(|| {
                format!("cannot add {}: there is no interface {}", config.ip, config.interface)
            })?;
            self.addresses
                .add(&address(config), device.index, lifetime)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Takes the addresses of a group off, wherever they are.
    fn remove(&mut self, slot: Slot) -> Result<(), String> {
        let Some(group) = self.groups.get_mut(slot.0) else { return Ok(()) };
        (group.on, group.trouble) = (false, None);
        self.air.stop(slot);
        let floating: Vec<_> = group.addresses.iter().map(|config| config.ip).collect();
        let all = self.addresses.list().map_err(|error| error.to_string())?;
        let mut result = Ok(());
        // Those of other groups are ours as well.
        let ours = Leftovers::among(&all, &floating).ours;
        for found in ours.iter().filter(|found| floating.contains(&found.address.ip)) {
            let removed = self.addresses.remove(&found.address, found.index);
            result = result.and(removed.map_err(|error| error.to_string()));
        }
        result
    }

    /// The gate closed although the lease goes on: it may be opened again only with the addresses
    /// off, since its time-out may be late once more.
    fn recreate(&mut self, slot: Slot) {
        if self.board.left(slot, clock::now()).is_none() {
            return;
        }
        let trouble = self.groups.get(slot.0).and_then(|group| group.trouble.clone());
        if trouble.is_none() {
            let text = "the guard ended before it was extended, because the daemon was late; \
                        it is made anew";
            self.told.tell("guard-lapsed", Severity::Warning, text.to_string());
        }
        let again = self.remove(slot).and_then(|()| self.add(slot));
        if let Some(group) = self.groups.get_mut(slot.0) {
            group.trouble = trouble;
        }
        // If this failed, the keeper asks again.
        self.note(slot, again);
    }

    /// What became of addresses that should be on: a failure is told once.
    fn note(&mut self, slot: Slot, ended: Result<(), String>) {
        let Some(group) = self.groups.get_mut(slot.0) else { return };
        let told = std::mem::replace(&mut group.trouble, ended.err());
        if let Some(why) = group.trouble.as_ref().filter(|why| told.as_ref() != Some(why)) {
            self.told.tell("addresses-failed", Severity::Error, why.clone());
        }
    }

    /// What was said on the networks.
    fn hear(&mut self) {
        let Self { air, devices, groups, answers, told, board, .. } = self;
        let now = clock::now();
        // What a thread that was stopped finds waiting may be about the owner after it.
        let on = |slot: Slot| {
            let is_on = groups.get(slot.0).is_some_and(|group| group.on);
            is_on && board.left(slot, now).is_some()
        };
        air.hear(devices, now, on, |heard| match heard {
            air::Told::Event(event) => {
                answers.give(Outcome::Event(event));
            }
            air::Told::Conflict(ip, conflict) => {
                let text = format!(
                    "{ip} is held here, and {} answers for it, too; it is announced again",
                    conflict.mac
                );
                told.tell("address-conflict", Severity::Error, text);
            }
        });
    }

    /// The interfaces that are there, and what is to be guarded on each.
    fn guarded(&self) -> Vec<guard::Device> {
        let wanted = self.groups.iter().flat_map(|group| &group.addresses);
        let called = wanted.filter_map(|config| self.devices.called(&config.interface));
        let own: Vec<u32> = called.map(|device| device.index).collect();
        places(self.devices.all(), &own)
    }

    /// Builds what is missing of the guard, on every interface that is there.
    fn stand(&mut self) {
        let stood = self.wall.stand(&self.guarded());
        if let Err(why) = &stood
            && self.fault.as_ref() != Some(why)
        {
            self.told.tell("guard-failed", Severity::Error, why.clone());
        }
        if stood.is_ok() && !std::mem::replace(&mut self.is_alone, true) {
            guard::remove_others(self.wall.form(), &self.daemon, &self.guarded());
        }
        let before = std::mem::replace(&mut self.fault, stood.err());
        if before.is_some() != self.fault.is_some() {
            self.tell_ready();
        }
    }

    /// An address whose removal would take the machine's own ones along is said once, at the start.
    fn warn_of_secondaries(&self) {
        for config in self.groups.iter().flat_map(|group| &group.addresses) {
            let address = address(config);
            if takes_others_along(&address, &config.interface).unwrap_or(false) {
                let text = format!(
                    "{address} may be the first of its network on {0}, and would take the others \
                     along when it goes: write /32, or set net.ipv4.conf.{0}.promote_secondaries = 1",
                    config.interface
                );
                self.told.tell("address-takes-others", Severity::Warning, text);
            }
        }
    }
}

/// What is to be guarded on each interface; `own` are those that addresses belong on, which are
/// never left out.
fn places(known: &[Device], own: &[u32]) -> Vec<guard::Device> {
    let mut others = 0;
    let listed = known.iter().enumerate().filter(|(at, device)| {
        own.contains(&device.index) || (*at < LISTED_MAX && !device.is_loopback)
    });
    let placed = listed.map(|(_, device)| {
        // One that is off is most likely on its way into a bridge or a container.
        let is_free = device.master.is_some() || device.state == State::Off;
        let place = match is_free || others == OTHERS_MAX {
            _ if own.contains(&device.index) => Place::Own,
            true => Place::Free,
            false => Place::Other,
        };
        others += usize::from(place == Place::Other);
        guard::Device { name: device.name.clone(), index: device.index, place }
    });
    placed.collect()
}

fn address(config: &AddressConfig) -> Address {
    Address { ip: config.ip, prefix: config.prefix }
}

#[cfg(test)]
mod tests;
