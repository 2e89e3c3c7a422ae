//! The rung `reboot` of a node's ladder, as the brain walks it: it waits until the pair lets it go
//! (I14), lets go of the groups, and restarts the machine.

use mastiff_core::pair::event::{Leaving, Order, PairEvent};

use crate::clock::{MS, SECOND, Time};
use crate::fault::Fault;
use crate::machine::Rung;
use crate::network::{Place, WITNESS};
use crate::plan::Plan;
use crate::world::{Coming, World};

impl World {
    /// A ladder comes to the rung; the restart takes `lasts`. It has no end of its own.
    pub(crate) fn want_down(&mut self, place: Place, lasts: Time) -> bool {
        let machine = self.machine(place);
        if place != WITNESS && machine.is_awake() && machine.rung == Rung::None {
            machine.rung = Rung::Waits;
            machine.restart_takes = lasts;
            self.turn(place, [PairEvent::Leaving(Leaving::Wants)].into());
        }
        false
    }

    /// The pair lets it go.
    pub(crate) fn may_go_down(&mut self, place: Place) {
        let now = self.now;
        let takes = self.rng.below(2 * SECOND.unsigned_abs()).cast_signed();
        let machine = self.machine(place);
        if machine.rung == Rung::Waits {
            machine.rung = Rung::Goes;
            let life = machine.life;
            self.at(now + MS, Coming::GoesDown { place, life, lets_go: true });
            self.at(now + 2 * MS + takes, Coming::GoesDown { place, life, lets_go: false });
        }
    }

    /// Goes on with the rung, if it is still the same daemon's.
    pub(crate) fn go_down(&mut self, place: Place, life: u32, lets_go: bool) {
        let (now, guard, groups) = (self.now, self.plan.guard_kind(), self.plan.groups);
        let machine = self.machine(place);
        if machine.life != life || machine.rung != Rung::Goes || !machine.is_running() {
            return;
        }
        if lets_go && machine.is_awake() {
            let order = |group| PairEvent::Order { group: Plan::key(group), order: Order::LetGo };
            let events = [PairEvent::Leaving(Leaving::Goes)].into_iter();
            self.turn(place, events.chain((0..groups).map(order)).collect());
        } else if !lets_go {
            let takes = machine.restart_takes;
            machine.power_off(guard);
            machine.rung = Rung::Down;
            self.timeline.note(now, Some(place), || "restarts".into());
            self.at(now + takes, Coming::Over(Fault::PowerCut(place)));
        }
    }

    /// The check is well again, and the machine stays up.
    pub(crate) fn stay_up(&mut self, place: Place) {
        if self.machine(place).rung != Rung::Down {
            self.machine(place).rung = Rung::None;
        }
        if place != WITNESS && self.machine(place).is_awake() {
            self.turn(place, [PairEvent::Leaving(Leaving::Stays)].into());
        }
    }
}
