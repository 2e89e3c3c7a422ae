//! What a daemon asks for, done to the kernel, the units and the wires of its machine.

use std::collections::VecDeque;

use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::event::{PairAction, PairEvent, PairReport, Passage, Step, StepId};
use mastiff_core::pair::message::{Beat, GroupKey, Role, Session};
use mastiff_core::time::Span;

use crate::clock::MS;
use crate::judge::Said;
use crate::machine::{Steps, place_of};
use crate::network::{Packet, Place};
use crate::plan::Plan;
use crate::world::{Coming, World, owner};

impl World {
    /// Does what a daemon asks for. `decided`: when it was decided.
    pub(crate) fn perform(
        &mut self,
        place: Place,
        mut actions: VecDeque<PairAction>,
        decided: Clocks,
    ) {
        while let Some(action) = actions.pop_front() {
            if self.machine(place).frozen {
                actions.push_front(action);
                if let Some(daemon) = &mut self.machine(place).daemon {
                    daemon.interrupted = Some((decided, actions));
                }
                return;
            }
            self.perform_one(place, action, decided);
            // The next fault "in a turn" strikes here.
            self.strike(place);
        }
    }

    fn perform_one(&mut self, place: Place, action: PairAction, decided: Clocks) {
        let time = self.now;
        match action {
            PairAction::Send { to, beat } => self.send(place, place_of(to), beat, decided),
            PairAction::OpenGuard { group, until } => {
                let machine = self.machine(place);
                let now = machine.clock.read(time);
                if let Some(kernel) = machine.kernels.get_mut(Plan::index(group)) {
                    kernel.open(until, decided, now);
                }
                if now == decided {
                    self.judge_guard(place, group, until);
                }
            }
            PairAction::CloseGuard { group } => {
                if let Some(kernel) = self.machine(place).kernels.get_mut(Plan::index(group)) {
                    kernel.close();
                }
            }
            PairAction::Begin(id) => self.begin_step(place, id),
            PairAction::AskGateway { .. } | PairAction::ProbeAddress { .. } => {}
            PairAction::Report(report) => self.report(place, report, decided),
        }
    }

    fn send(&mut self, place: Place, to: Place, beat: Beat, decided: Clocks) {
        let time = self.now;
        let machine = self.machine(place);
        let now = machine.clock.read(time);
        let Some(daemon) = &mut machine.daemon else { return };
        let Some(Some(link)) = daemon.links.get_mut(to) else { return };
        let envelope = link.next(now);
        let heard = link.heard().map_or(Session(0), |(echo, _)| echo.session);
        let sender = owner(place, envelope.session);
        let [first, second, witness] = &self.machines;
        let machine = match place {
            0 => first,
            1 => second,
            _ => witness,
        };
        // A promise binds from when it was decided, however late the word of it leaves.
        let age = i64::try_from(now.longest_since(decided).as_nanos()).unwrap_or(0);
        let lease = beat.answer.map_or(Span::ZERO, |answer| answer.lease);
        let known = self.promises.iter().filter(|(length, _)| *length == lease);
        let promise = known.map(|(_, promise)| *promise).min().unwrap_or(lease);
        let said = Said { now: time, decided: time - age, clocks: decided, promise };
        self.judge.hear(machine, sender, &beat, owner(to, heard), said);
        for path in 0..self.network.paths(place, to) {
            self.transmit(Packet { from: place, to, path, envelope, beat });
        }
    }

    fn judge_guard(&mut self, place: Place, group: GroupKey, until: Clocks) {
        let time = self.now;
        let Some(machine) = self.machines.get(place) else { return };
        let Some(session) = machine.pair().map(|pair| pair.me().session) else { return };
        let end = machine.clock.when_first(until, time);
        self.judge.opens(machine, Plan::index(group), owner(place, session), end, time);
    }

    fn begin_step(&mut self, place: Place, id: StepId) {
        let time = self.now;
        let longest = match id.step {
            Step::AddAddresses | Step::RemoveAddresses | Step::Fence => MS,
            Step::EndConnections => 5 * MS,
            Step::StartUnits => 500 * MS,
            Step::StopUnits => 1000 * MS,
        };
        let takes = 1 + self.rng.below(longest.unsigned_abs()).cast_signed();
        let machine = self.machine(place);
        let (boot, life, steps) = (machine.boot, machine.life, machine.steps);
        let Some(kernel) = machine.kernels.get_mut(Plan::index(id.group)) else { return };
        let works = steps == Steps::Work;
        match id.step {
            Step::AddAddresses => kernel.addresses |= works,
            Step::RemoveAddresses => kernel.addresses &= !works,
            // Even a start that fails may leave something running.
            Step::StartUnits => kernel.units = true,
            Step::EndConnections | Step::StopUnits | Step::Fence => {}
        }
        kernel.begins(id);
        if steps != Steps::Hang {
            self.at(time + takes, Coming::Ends { place, boot, life, id, ok: works });
        }
    }

    pub(crate) fn end_step(&mut self, place: Place, boot: u32, life: u32, id: StepId, ok: bool) {
        let machine = self.machine(place);
        if machine.boot != boot || !machine.power {
            return;
        }
        if let Some(kernel) = machine.kernels.get_mut(Plan::index(id.group))
            && ok
        {
            kernel.ended(id);
        }
        if machine.life != life {
            return;
        }
        machine.ended.push_back(PairEvent::Done { step: id, ok });
        // Else it learns of it when it goes on.
        if machine.is_awake() {
            self.turn(place, VecDeque::new());
        }
    }

    fn report(&mut self, place: Place, report: PairReport, decided: Clocks) {
        let time = self.now;
        self.timeline.note(time, Some(place), || crate::words::of(&report));
        let session = self.machine(place).pair().map(|pair| pair.me().session);
        let Some(session) = session else { return };
        let me = owner(place, session);
        // With a clock that stood still it may use what is long over: said, and excused. And what a
        // frozen daemon decided before others did is told late.
        let machine = self.machine(place);
        let late = time < machine.excused_until || machine.clock.read(time) != decided;
        if late || self.misled == (true, true) {
            return;
        }
        match report {
            PairReport::Role { group, to, epoch, .. } => {
                if to == Role::Taking {
                    self.judge.owns(Plan::index(group), me, epoch, time);
                }
                self.tally.active += u64::from(to == Role::Active);
            }
            PairReport::Epoch { group, epoch } => {
                self.judge.owns(Plan::index(group), me, epoch, time);
            }
            PairReport::RestartReady { group } => {
                if let Some(kernel) = self.machine(place).kernels.get_mut(Plan::index(group)) {
                    kernel.hold();
                }
                let life = self.machine(place).life;
                self.at(time + MS, Coming::Stops { place, life });
            }
            PairReport::WayDown(Passage::Free) => self.may_go_down(place),
            PairReport::WayDown(Passage::Waits(_))
            | PairReport::Refused { .. }
            | PairReport::CannotRemove { .. } => {}
        }
    }
}
