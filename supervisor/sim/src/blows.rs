//! What each fault does to the world, and how it ends.

use mastiff_core::pair::event::{Order, PairEvent};
use mastiff_core::pair::message::{Epoch, Health};

use crate::clock::{MS, SECOND, Time};
use crate::fault::{Blow, Fault, Names};
use crate::forge;
use crate::machine::{Daemon, Dog, Program, Steps};
use crate::network::{PLACES, Place, WITNESS, Wire};
use crate::plan::Plan;
use crate::world::{Coming, World};

impl World {
    pub(crate) fn begin_blow(&mut self, index: usize) {
        if let Some(blow) = self.plan.blows.get(index).copied() {
            self.inflict(blow);
        }
    }

    /// A fault begins now.
    pub fn inflict(&mut self, blow: Blow) {
        let Blow { lasts, fault, .. } = blow;
        let now = self.now;
        self.tally.faults += 1;
        let words = |names: &Names| format!("*** {} ({} ms)", fault.words(names), lasts / MS);
        self.timeline.note_with(now, words);
        if self.begin_fault(fault, lasts) {
            self.at(now + lasts, Coming::Over(fault));
        }
    }

    /// Begins a fault; whether it has an end.
    fn begin_fault(&mut self, fault: Fault, lasts: Time) -> bool {
        let now = self.now;
        if let Fault::PowerCut(WITNESS) | Fault::Crash(WITNESS, _) | Fault::DiskLost(_) = fault {
            self.misled.1 = true;
        }
        match fault {
            Fault::PowerCut(place) => self.cut_power(place),
            Fault::BothPowerCut => {
                self.cut_power(0);
                self.cut_power(1);
            }
            Fault::Crash(place, memory) => return self.crash(place, memory, lasts),
            Fault::Freeze(place) => self.machine(place).frozen = true,
            // It strikes at the next action: see `strike`.
            Fault::FreezeMidTurn(place) => self.armed = Some((place, lasts)),
            Fault::Pause(place) => self.machine(place).stopped = true,
            Fault::PauseWithClock(place) => {
                let machine = self.machine(place);
                machine.stopped = true;
                machine.clock_stopped = true;
                machine.clock.run(false, false, now);
            }
            Fault::Suspend(place) => return self.suspend(place, lasts),
            Fault::Slew(place, ppm) => self.machine(place).clock.slew(ppm, now),
            Fault::SetDate(place, by) => {
                self.misled.0 |= by.abs() > 10;
                self.machine(place).wall_error = by;
            }
            Fault::Sick(place, health) => self.set_health(place, health),
            Fault::SharedFault(place) => {
                self.set_health(1 - place, Health::Failed);
                let later = Fault::Sick(place, Health::Failed);
                let at = now + 5 * SECOND;
                self.at(at, Coming::Follows(Blow { at, lasts, fault: later }));
            }
            Fault::LinkLost(place) => self.machine(place).link_lost = true,
            Fault::BrainStall(place) => self.machine(place).brain_stalled = true,
            Fault::StepsFail(place) => self.machine(place).steps = Steps::Fail,
            Fault::StepsHang(place) => self.machine(place).steps = Steps::Hang,
            Fault::DiskLost(place) => {
                let memory = &mut self.machine(place).memory;
                memory.highest = Epoch::NONE;
                memory.peer_stops_within = None;
                return false;
            }
            Fault::Upgrade(place) => return self.order(place, Order::PrepareRestart, true),
            Fault::Reconfigure(place) => return self.reconfigure(place),
            Fault::WatchdogLost(place) => {
                let machine = self.machine(place);
                (machine.dog, machine.petted_at, machine.unguarded) = (Dog::Lost, 0, true);
            }
            Fault::Agree(place, which) => self.agree(place, which),
            Fault::Reboot(place) => return self.want_down(place, lasts),
            Fault::BothReboot => return self.want_down(0, lasts) | self.want_down(1, lasts),
            Fault::Order(place, order) => return self.order(place, order, false),
            Fault::Replay => return self.replay(lasts),
            Fault::Forge => return self.forge(),
            Fault::PathCut(_)
            | Fault::OneWay(..)
            | Fault::Between(..)
            | Fault::CutOff(_)
            | Fault::Deaf(_)
            | Fault::Loss(_)
            | Fault::Delay(_)
            | Fault::Copies => self.spoil_wires(fault, true),
        }
        true
    }

    fn spoil_wires(&mut self, fault: Fault, on: bool) {
        let clean = Wire::CLEAN;
        match fault {
            Fault::PathCut(path) => {
                for (from, to) in [(0, 1), (1, 0)] {
                    self.cut(from, to, Some(path), on);
                }
            }
            Fault::OneWay(from, to) => self.cut(from, to, None, on),
            Fault::Between(from, to) => {
                self.cut(from, to, None, on);
                self.cut(to, from, None, on);
            }
            Fault::CutOff(place) => {
                for other in (0..PLACES).filter(|other| *other != place) {
                    self.cut(place, other, None, on);
                    self.cut(other, place, None, on);
                }
            }
            Fault::Deaf(place) => {
                for other in (0..PLACES).filter(|other| *other != place) {
                    self.cut(other, place, None, on);
                }
            }
            Fault::Loss(permille) => self
                .network
                .all_mut()
                .for_each(|wire| wire.loss_permille = if on { permille } else { 0 }),
            Fault::Delay(millis) => self.network.all_mut().for_each(|wire| {
                wire.spread = if on { millis * MS } else { clean.spread };
            }),
            Fault::Copies => self
                .network
                .all_mut()
                .for_each(|wire| wire.copies_permille = if on { 300 } else { 0 }),
            _ => {}
        }
    }

    fn cut(&mut self, from: Place, to: Place, only: Option<usize>, on: bool) {
        for path in 0..2 {
            if only.is_none_or(|only| only == path)
                && let Some(wire) = self.network.wire_mut(from, to, path)
            {
                wire.cut = on;
            }
        }
    }

    pub(crate) fn end_fault(&mut self, fault: Fault) {
        let now = self.now;
        let healed = !matches!(fault, Fault::Suspend(_) | Fault::Order(..));
        if healed && now > self.plan.healed_at {
            return;
        }
        self.timeline.note_with(now, |names| format!("... end of: {}", fault.words(names)));
        match fault {
            Fault::PowerCut(place) => self.power_on(place, SECOND),
            Fault::BothPowerCut => {
                self.power_on(0, SECOND);
                self.power_on(1, SECOND);
            }
            Fault::Freeze(place) | Fault::FreezeMidTurn(place) => self.thaw(place),
            Fault::Pause(place) | Fault::PauseWithClock(place) => self.go_on(place),
            Fault::Suspend(place) => {
                // The watchdog sleeps with its machine.
                let machine = self.machine(place);
                if machine.stopped && machine.petted_at > 0 {
                    machine.petted_at = now;
                }
                self.go_on(place);
                self.order(place, Order::Resume, false);
            }
            Fault::Slew(place, _) => self.machine(place).clock.slew(0, now),
            Fault::SetDate(place, _) => self.machine(place).wall_error = 0,
            Fault::Sick(place, _) => self.set_health(place, Health::Healthy),
            Fault::SharedFault(place) => self.set_health(1 - place, Health::Healthy),
            Fault::LinkLost(place) => self.machine(place).link_lost = false,
            Fault::BrainStall(place) => self.machine(place).brain_stalled = false,
            Fault::StepsFail(place) | Fault::StepsHang(place) => {
                self.machine(place).steps = Steps::Work;
            }
            Fault::PathCut(_)
            | Fault::OneWay(..)
            | Fault::Between(..)
            | Fault::CutOff(_)
            | Fault::Deaf(_)
            | Fault::Loss(_)
            | Fault::Delay(_)
            | Fault::Copies => self.spoil_wires(fault, false),
            // It is petted again with the next turn.
            Fault::WatchdogLost(place) => self.machine(place).dog = Dog::Armed,
            Fault::Agree(place, which) => self.agree(1 - place, which),
            Fault::Crash(..)
            | Fault::DiskLost(_)
            | Fault::Upgrade(_)
            | Fault::Reconfigure(_)
            | Fault::Reboot(_)
            | Fault::BothReboot
            | Fault::Replay
            | Fault::Forge => {}
            Fault::Order(place, order) => {
                self.order(place, order, false);
            }
        }
    }

    fn cut_power(&mut self, place: Place) {
        let guard = self.plan.guard_kind();
        self.machine(place).power_off(guard);
    }

    fn crash(&mut self, place: Place, memory: bool, lasts: Time) -> bool {
        let now = self.now;
        let machine = self.machine(place);
        if machine.daemon.is_none() {
            return false;
        }
        machine.end_daemon();
        machine.frozen = false;
        if !memory {
            machine.memory.kept = None;
        }
        let boot = machine.boot;
        self.at(now + lasts.min(3 * SECOND), Coming::Starts { place, boot });
        false
    }

    fn thaw(&mut self, place: Place) {
        self.machine(place).frozen = false;
        if self.machine(place).is_awake() {
            self.schedule_turn(place, self.now);
        }
    }

    /// A clock that stopped with its machine takes up a lease where it was: for the rest of it
    /// there may be two, as is said wherever the promise is.
    fn go_on(&mut self, place: Place) {
        let now = self.now;
        let rest = self.longest_lease();
        let machine = self.machine(place);
        if core::mem::take(&mut machine.clock_stopped) {
            machine.excused_until = now + rest;
        }
        machine.stopped = false;
        machine.clock.run(true, true, now);
        if machine.is_awake() {
            self.schedule_turn(place, now);
        }
    }

    fn longest_lease(&self) -> Time {
        let longest = (0..2)
            .filter_map(|which| self.plan.timing(which))
            .map(|timing| timing.restart_promise.max(timing.promise).as_nanos());
        i64::try_from(longest.max().unwrap_or(0)).unwrap_or(0)
    }

    /// The hook lets go, and waits a second; then one clock stops.
    fn suspend(&mut self, place: Place, lasts: Time) -> bool {
        if place == WITNESS || !self.machine(place).is_awake() {
            return false;
        }
        self.order(place, Order::LetGo, false);
        let now = self.now;
        self.at(now + 2 * SECOND, Coming::Sleeps(place));
        self.at(now + 2 * SECOND + lasts, Coming::Over(Fault::Suspend(place)));
        false
    }

    pub(crate) fn doze(&mut self, place: Place) {
        let now = self.now;
        let machine = self.machine(place);
        // A machine that still has something does not go to sleep: the hook failed.
        let clean = machine.kernels.iter().all(|kernel| kernel.is_clean(machine.clock.read(now)));
        if clean && machine.is_awake() {
            machine.stopped = true;
            machine.clock.run(true, false, now);
        }
    }

    fn order(&mut self, place: Place, order: Order, upgrade: bool) -> bool {
        let now = self.now;
        if place == WITNESS || !self.machine(place).is_awake() {
            return false;
        }
        // Nobody vouches for what he has not seen.
        let other = self.machine(1 - place).power;
        if order == (Order::Failover { peer_is_off: true }) {
            if other {
                return false;
            }
            self.judge.vouched();
        }
        let events = (0..self.plan.groups)
            .map(|group| PairEvent::Order { group: Plan::key(group), order })
            .collect();
        self.turn(place, events);
        if upgrade {
            let life = self.machine(place).life;
            self.at(now + 2 * SECOND, Coming::Stops { place, life });
        }
        false
    }

    pub(crate) fn stop_for_upgrade(&mut self, place: Place, life: u32) {
        if self.machine(place).life == life {
            let takes = self.rng.below(SECOND.unsigned_abs()).cast_signed();
            self.crash(place, true, takes);
        }
    }

    fn reconfigure(&mut self, place: Place) -> bool {
        if let Some(which) = self.configured.get_mut(place) {
            *which = 1 - *which;
        }
        self.crash(place, true, 100 * MS)
    }

    /// The file of a node has other terms; its daemon takes them over now, or when it starts.
    fn agree(&mut self, place: Place, which: u8) {
        let (plan, now) = (self.plan.clone(), self.now);
        let machine = self.machine(place);
        machine.agreed = which;
        let is_awake = machine.is_awake();
        if let Some(Daemon { program: Program::Node(pair), .. }) = &mut machine.daemon
            && is_awake
        {
            for group in 0..plan.groups {
                pair.agree(Plan::key(group), plan.agreed(place, group, which));
            }
            self.schedule_turn(place, now);
        }
    }

    fn replay(&mut self, lasts: Time) -> bool {
        let many = 20 + lasts / (100 * MS);
        for _ in 0..many.min(200) {
            let Some(packet) = self.network.replay(&mut self.rng) else { break };
            let later = self.rng.below(lasts.unsigned_abs()).cast_signed();
            self.at(self.now + later, Coming::Arrives(Box::new(packet)));
        }
        false
    }

    /// What has no key is refused before anybody acts on it, so nothing arrives.
    fn forge(&mut self) -> bool {
        for _ in 0..50 {
            let Some(packet) = self.network.replay(&mut self.rng) else { break };
            self.tally.refused += 1;
            if let Err(believed) = forge::attempt(&packet, &mut self.rng) {
                self.judge.accuse("wire", self.now, || believed);
            }
        }
        false
    }

    /// The armed freeze strikes after an action of its node.
    pub(crate) fn strike(&mut self, place: Place) {
        let Some((node, lasts)) = self.armed else { return };
        if node == place && self.rng.one_in(3) {
            self.armed = None;
            self.machine(place).frozen = true;
            let now = self.now;
            self.timeline.note(now, Some(place), || "stopped in the middle of a turn".into());
            self.at(now + lasts, Coming::Over(Fault::FreezeMidTurn(place)));
        }
    }

    /// All faults end now, but for one that the pair must stand.
    pub(crate) fn heal(&mut self) {
        let now = self.now;
        self.timeline.note(now, None, || "*** all is healed".into());
        self.armed = None;
        self.network.all_mut().for_each(|wire| *wire = Wire::CLEAN);
        for place in 0..PLACES {
            self.machine(place).steps = Steps::Work;
            self.machine(place).health = Health::Healthy;
            self.machine(place).link_lost = false;
            self.machine(place).brain_stalled = false;
            self.machine(place).wall_error = 0;
            self.machine(place).dog = Dog::Armed;
            self.machine(place).clock.slew(0, now);
            if self.machine(place).stopped {
                self.go_on(place);
            }
            self.thaw(place);
            self.stay_up(place);
            self.power_on(place, SECOND);
            let machine = self.machine(place);
            if machine.daemon.is_none() {
                let boot = machine.boot;
                self.at(now + 5 * SECOND, Coming::Starts { place, boot });
            }
            // A daemon that is just being restarted is told when it is back.
            let resume = Fault::Order(place, Order::Resume);
            self.at(now, Coming::Over(resume));
            self.at(now + 8 * SECOND, Coming::Over(resume));
        }
        for place in 0..2 {
            self.agree(place, 0);
        }
        // Both nodes end with one configuration, as an operator would see to.
        for place in 0..2 {
            if self.configured.get(place) == Some(&1) {
                self.reconfigure(place);
            }
        }
        if let Some(fault) = self.plan.lasting {
            self.timeline.note_with(now, |names| format!("*** for ever: {}", fault.words(names)));
            self.begin_fault(fault, 0);
        }
    }
}
