//! A turn of a daemon: what a shell does around the core.

use std::collections::VecDeque;

use mastiff_core::pair::event::{PairAction, PairEvent};
use mastiff_core::pair::link::{PathId, Received};
use mastiff_core::pair::message::Sender;
use mastiff_core::watchdog::{Evidence, Wishes, permit};

use crate::machine::{Daemon, Dog, Program, sender};
use crate::network::{Packet, Place};
use crate::world::{Coming, World};

impl World {
    pub(crate) fn turn_if_due(&mut self, place: Place) {
        let time = self.now;
        let machine = self.machine(place);
        if machine.turn_at.is_some_and(|at| at <= time) && machine.is_awake() {
            self.turn(place, VecDeque::new());
        }
    }

    /// One turn of a daemon: what arrived, what ended, what is due.
    pub(crate) fn turn(&mut self, place: Place, events: VecDeque<PairEvent>) {
        let time = self.now;
        let stops_within = self.plan.stops_within();
        let machine = self.machine(place);
        let now = machine.now(time);
        machine.turn_at = None;
        let Some(mut daemon) = machine.daemon.take() else { return };
        let packets = core::mem::take(&mut machine.inbox);
        let ended = core::mem::take(&mut machine.ended);
        let rest = daemon.interrupted.take();
        machine.daemon = Some(daemon);
        if let Some((decided, actions)) = rest {
            self.perform(place, actions, decided);
        }
        self.tally.turns += 1;
        let mut actions = Vec::new();
        // As in the shell, outcomes come before words.
        if let Some(Daemon { program: Program::Node(pair), .. }) = &mut self.machine(place).daemon {
            for event in ended {
                pair.handle(&event, now, &mut actions);
            }
        }
        for packet in packets {
            self.receive(place, &packet, &mut actions);
        }
        let machine = self.machine(place);
        let mut next = None;
        if let Some(Daemon { program: Program::Node(pair), .. }) = &mut machine.daemon {
            for event in events {
                pair.handle(&event, now, &mut actions);
            }
            pair.tick(now, &mut actions);
            // A brain that is never late, and that wants nothing: W3 decides.
            let evidence = Evidence {
                brain: now.at.boot,
                pair_forbids: pair.pet_refusal(now.at),
                wishes: Wishes::default(),
            };
            let pets = permit(&evidence, now.at.boot).is_ok();
            // Before the first message leaves.
            let kept = pair.kept();
            next = Some(machine.clock.when(pair.next_deadline(now.at), time));
            machine.memory.kept = Some(kept);
            // On disk, without waiting for it.
            let highest = pair.groups().iter().map(|group| group.highest()).max();
            machine.memory.highest = machine.memory.highest.max(highest.unwrap_or_default());
            machine.memory.peer_stops_within = Some(stops_within);
            for kernel in &mut machine.kernels {
                kernel.refresh(now.at, now.at);
            }
            if pets {
                machine.pet(time);
            }
            machine.unguarded &= machine.dog != Dog::Known || !machine.is_clean(time);
            if let Some(machine) = self.machines.get(place) {
                self.judge.turned(machine, &actions, pets, time);
            }
        }
        self.perform(place, actions.into(), now.at);
        if let Some(next) = next {
            let late = self.lateness();
            if self.machine(place).turn_at.is_none_or(|at| at > next + late) {
                self.schedule_turn(place, next + late);
            }
        }
    }

    fn receive(&mut self, place: Place, packet: &Packet, actions: &mut Vec<PairAction>) {
        let time = self.now;
        let machine = self.machine(place);
        let now = machine.now(time);
        let Some(Daemon { program, links, .. }) = &mut machine.daemon else { return };
        let Some(Some(link)) = links.get_mut(packet.from) else { return };
        let Some(path) = PathId::new(packet.path) else { return };
        match link.receive(&packet.envelope, path, now.at) {
            Received::Accept { session, echo_age, .. } => {
                let (from, beat) = (sender(packet.from), packet.beat);
                match program {
                    Program::Node(pair) => {
                        let event = PairEvent::Heard { from, session, echo_age, beat };
                        pair.handle(&event, now, actions);
                    }
                    Program::Witness(witness) => {
                        let Sender::Node(member) = from else { return };
                        if let Some(beat) = witness.hear(member, session, echo_age, &beat, now.at) {
                            actions.push(PairAction::Send { to: from, beat });
                        }
                    }
                }
                self.tally.heard += 1;
            }
            Received::Greet(stranger) => {
                let envelope = link.greet(stranger, now.at);
                let beat = match program {
                    Program::Node(pair) => pair.beat(packet.beat.group, now.at),
                    Program::Witness(witness) => Some(witness.beat(packet.beat.group)),
                };
                if let Some(beat) = beat {
                    let to = packet.from;
                    self.transmit(Packet { from: place, to, path: packet.path, envelope, beat });
                }
            }
            Received::Drop(_) => self.tally.refused += 1,
        }
    }

    pub(crate) fn transmit(&mut self, packet: Packet) {
        for delay in self.network.send(packet, &mut self.rng).into_iter().flatten() {
            let time = self.now + delay;
            self.at(time, Coming::Arrives(Box::new(packet)));
        }
    }
}
