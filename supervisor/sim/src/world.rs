//! The world: two nodes, a witness, wires and faults, in true time.

use core::fmt;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use mastiff_core::pair::event::{PairEvent, StepId};
use mastiff_core::pair::message::{Health, Member, NotReady, Owner, Role, Session};
use mastiff_core::pair::witness::Witness;
use mastiff_core::pair::{Identity, Pair};
use mastiff_core::time::Span;

use crate::clock::{Clock, MS, SECOND, Time};
use crate::fault::{Blow, Fault, Names};
use crate::judge::{Judge, Violation};
use crate::kernel::Kernel;
use crate::machine::{Daemon, Dog, Machine, Program, Rung, links};
use crate::network::{Network, PLACES, Packet, Place, WITNESS};
use crate::plan::Plan;
use crate::rng::Rng;
use crate::timeline::Timeline;

/// Something that will happen.
#[derive(Clone, Debug)]
pub(crate) enum Coming {
    /// A daemon makes a turn.
    Turn(Place),
    /// A packet arrives.
    Arrives(Box<Packet>),
    /// A step ends, if the machine is still on the same boot.
    Ends { place: Place, boot: u32, life: u32, id: StepId, ok: bool },
    /// The brain reports.
    Brain(Place),
    /// The watchdog looks.
    Watchdog,
    /// A fault of the plan begins.
    Begins(usize),
    /// What comes of another fault begins.
    Follows(Blow),
    /// It ends.
    Over(Fault),
    /// A daemon starts; `which` of the configurations.
    Starts { place: Place, boot: u32 },
    /// An upgrade stops the daemon, whether or not the long lease was granted.
    Stops { place: Place, life: u32 },
    /// A machine goes to sleep.
    Sleeps(Place),
    /// A ladder goes on with its rung `reboot`: lets go, or restarts the machine.
    GoesDown { place: Place, life: u32, lets_go: bool },
    /// All is healed.
    Healed,
}

struct Entry(Time, u64, Coming);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// How a world went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Turns of daemons.
    pub turns: u64,
    /// Messages that were acted on.
    pub heard: u64,
    /// Messages that were refused.
    pub refused: u64,
    /// Times that a node became active.
    pub active: u64,
    /// Faults.
    pub faults: u64,
    /// Resets by the watchdog.
    pub resets: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { turns, heard, refused, active, faults, resets } = self;
        write!(
            f,
            "{faults} faults, {active} times active, {resets} resets by the watchdog, {turns} \
             turns, {heard} messages heard, {refused} refused"
        )
    }
}

/// The world.
pub struct World {
    pub(crate) now: Time,
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) machines: [Machine; PLACES],
    pub(crate) network: Network,
    pub(crate) judge: Judge,
    /// What happened.
    pub timeline: Timeline,
    /// Counts.
    pub tally: Tally,
    /// Which of both configurations each node has.
    pub(crate) configured: [usize; 2],
    /// A freeze that waits for the middle of a node's turn.
    pub(crate) armed: Option<(Place, Time)>,
    /// A date was far off, and somebody forgot: both together are more than epochs stand.
    pub(crate) misled: (bool, bool),
    /// How long the promise is that goes with each length of a lease.
    pub(crate) promises: Vec<(Span, Span)>,
    coming: BinaryHeap<Reverse<Entry>>,
    order: u64,
}

impl World {
    /// The world of a plan, all machines just switched on.
    #[must_use]
    pub fn new(plan: Plan, names: Names, timeline: bool) -> Self {
        let guard = plan.guard_kind();
        let machines = core::array::from_fn(|place| {
            let groups = if place == WITNESS { 0 } else { plan.groups };
            let mut machine = Machine::off(place, groups, guard);
            machine.ppm = plan.ppm.get(place).copied().unwrap_or(0);
            machine
        });
        let mut world = Self {
            now: 0,
            rng: Rng::new(plan.seed ^ 0xfeed),
            machines,
            network: Network::new(plan.paths, plan.spread),
            judge: Judge::new(plan.groups),
            timeline: Timeline::new(timeline, names),
            tally: Tally::default(),
            configured: [0, 0],
            armed: None,
            misled: (false, false),
            promises: plan.promises(),
            coming: BinaryHeap::new(),
            order: 0,
            plan,
        };
        for place in 0..PLACES {
            let delay = world.rng.below(300).cast_signed() * MS;
            world.power_on(place, delay);
        }
        for (at, blow) in world.plan.blows.clone().iter().enumerate() {
            world.at(blow.at, Coming::Begins(at));
        }
        world.at(world.plan.healed_at, Coming::Healed);
        world.at(SECOND, Coming::Watchdog);
        world.at(SECOND / 3, Coming::Brain(0));
        world.at(SECOND / 2, Coming::Brain(1));
        world
    }

    pub(crate) fn at(&mut self, time: Time, coming: Coming) {
        self.order += 1;
        self.coming.push(Reverse(Entry(time.max(self.now), self.order, coming)));
    }

    /// Runs to the end, or to the first broken promise.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn run(&mut self) -> Result<(), Violation> {
        while self.step() {}
        if self.judge.violation.is_none() {
            self.demand_recovery();
        }
        self.judge.violation.take().map_or(Ok(()), Err)
    }

    /// Runs until `time`; false when something is broken.
    pub fn run_until(&mut self, time: Time) -> bool {
        while self.coming.peek().is_some_and(|Reverse(Entry(at, ..))| *at <= time) {
            if !self.step() {
                return false;
            }
        }
        self.now = self.now.max(time);
        true
    }

    fn step(&mut self) -> bool {
        let Some(Reverse(Entry(at, _, coming))) = self.coming.pop() else { return false };
        if at > self.plan.ends_at {
            return false;
        }
        self.now = at;
        match coming {
            Coming::Turn(place) => self.turn_if_due(place),
            Coming::Arrives(packet) => self.arrive(&packet),
            Coming::Ends { place, boot, life, id, ok } => self.end_step(place, boot, life, id, ok),
            Coming::Brain(place) => self.brain(place),
            Coming::Watchdog => self.watchdog(),
            Coming::Begins(index) => self.begin_blow(index),
            Coming::Follows(blow) => self.inflict(blow),
            Coming::Over(fault) => self.end_fault(fault),
            Coming::Starts { place, boot } => self.start_daemon(place, boot),
            Coming::Stops { place, life } => self.stop_for_upgrade(place, life),
            Coming::Sleeps(place) => self.doze(place),
            Coming::GoesDown { place, life, lets_go } => self.go_down(place, life, lets_go),
            Coming::Healed => self.heal(),
        }
        self.judge.look(&self.machines, self.plan.exclusive, self.now);
        self.judge.violation.is_none()
    }

    /// One node or the witness.
    pub(crate) fn machine(&mut self, place: Place) -> &mut Machine {
        let [first, second, witness] = &mut self.machines;
        match place {
            0 => first,
            1 => second,
            _ => witness,
        }
    }

    /// The power comes.
    pub(crate) fn power_on(&mut self, place: Place, delay: Time) {
        let now = self.now;
        let machine = self.machine(place);
        if machine.power {
            return;
        }
        machine.power = true;
        machine.clock = Clock::boot(now, machine.ppm);
        machine.petted_at = 0;
        let boot = machine.boot;
        self.at(now + delay, Coming::Starts { place, boot });
    }

    fn start_daemon(&mut self, place: Place, boot: u32) {
        let (time, seed) = (self.now, self.rng.number());
        let session = Session(self.rng.number() | 1);
        let which = self.configured.get(place).copied().unwrap_or(0);
        let plan = self.plan.clone();
        let machine = self.machine(place);
        if !machine.power || machine.boot != boot || machine.daemon.is_some() {
            return;
        }
        if !machine.is_running() {
            // A stopped machine starts it when it goes on.
            self.at(time + 100 * MS, Coming::Starts { place, boot });
            return;
        }
        let now = machine.now(time);
        machine.life += 1;
        machine.rung = Rung::None;
        machine.frozen = false;
        machine.kernels.iter_mut().for_each(Kernel::attended);
        let mut actions = Vec::new();
        let mut with_memory = false;
        let (program, session) = if place == WITNESS {
            (Program::Witness(Box::new(Witness::start(now.at))), session)
        } else {
            let member = if place == 0 { Member::First } else { Member::Second };
            let kept = machine.memory.kept.clone();
            let session = kept.as_ref().map_or(session, |kept| kept.me.session);
            let (highest, stop) = (machine.memory.highest, machine.memory.peer_stops_within);
            let identity = Identity { member, session, seed };
            let mut groups = plan.specs(place, which, highest, stop);
            with_memory = kept.is_some();
            for (group, (spec, _)) in groups.iter_mut().enumerate() {
                spec.agree(plan.agreed(place, group, machine.agreed));
                spec.stops_within = spec.stops_within.filter(|_| machine.dog == Dog::Armed);
            }
            if machine.dog != Dog::Armed {
                // What the daemon before has left says otherwise.
                (machine.dog, machine.unguarded) = (Dog::Lost, machine.unguarded || with_memory);
            }
            let pair = Pair::start(identity, groups, kept, now, &mut actions);
            (Program::Node(Box::new(pair)), session)
        };
        let links = links(place, session);
        machine.daemon = Some(Daemon { program, links, interrupted: None });
        self.timeline.note(time, Some(place), || "daemon starts".into());
        self.judge.starts(place, with_memory, time);
        self.perform(place, actions.into(), now.at);
        self.schedule_turn(place, time);
    }

    fn arrive(&mut self, packet: &Packet) {
        let late = self.lateness();
        let time = self.now + late;
        let machine = self.machine(packet.to);
        machine.deliver(*packet);
        if machine.is_awake() && machine.turn_at.is_none_or(|at| at > time) {
            self.schedule_turn(packet.to, time);
        }
    }

    /// How late a turn is: mostly microseconds, now and then a loaded machine's milliseconds.
    pub(crate) fn lateness(&mut self) -> Time {
        let most = if self.rng.one_in(200) { MS } else { MS / 20 };
        self.rng.below(most.unsigned_abs()).cast_signed()
    }

    pub(crate) fn schedule_turn(&mut self, place: Place, time: Time) {
        let time = time.max(self.now);
        self.machine(place).turn_at = Some(time);
        self.at(time, Coming::Turn(place));
    }

    fn brain(&mut self, place: Place) {
        self.at(self.now + 2 * SECOND, Coming::Brain(place));
        let (groups, stops_within) = (self.plan.groups, self.plan.stops_within());
        let machine = self.machine(place);
        if !machine.is_awake() || machine.brain_stalled {
            return;
        }
        // Once a second in the daemon: what the armed watchdog is good for.
        let armed = machine.dog == Dog::Armed;
        machine.dog = if armed { Dog::Armed } else { Dog::Known };
        let health = machine.health;
        let not_ready = machine.link_lost.then_some(NotReady::LinkDown);
        let events = (0..groups).map(|group| PairEvent::Health {
            group: Plan::key(group),
            health,
            not_ready,
        });
        let stops = PairEvent::StopsWithin(armed.then_some(stops_within));
        let events = events.chain([stops]).collect();
        self.turn(place, events);
    }

    fn watchdog(&mut self) {
        self.at(self.now + SECOND / 4, Coming::Watchdog);
        let (time, limit) = (self.now, self.plan.watchdog);
        for place in 0..2 {
            let machine = self.machine(place);
            // Hardware: it also fires when the whole machine stands still.
            let armed = machine.petted_at > 0 && machine.power;
            if armed && time - machine.petted_at >= limit && self.plan.exclusive {
                self.tally.resets += 1;
                self.timeline.note(time, Some(place), || "reset by the watchdog".into());
                let guard = self.plan.guard_kind();
                self.machine(place).power_off(guard);
                self.power_on(place, 2 * SECOND);
            }
        }
    }

    /// After healing, all must be well: each group on one node, the other ready for it. With a
    /// fault that lasts, the group is on one node at least (I10).
    fn demand_recovery(&mut self) {
        let now = self.now;
        for group in 0..self.plan.groups {
            let holder = Judge::holder(&self.machines, group, now);
            let roles: Vec<_> = self
                .machines
                .iter()
                .filter_map(Machine::pair)
                .map(|pair| pair.groups().get(group).map(|group| group.role()))
                .collect();
            let one = roles.contains(&Some(Role::Active));
            let other = roles.contains(&Some(Role::Standby)) || self.plan.lasting.is_some();
            if holder.is_none() || !one || !other {
                self.judge.accuse("I10", now, || {
                    format!("group {group} has not recovered: roles {roles:?}")
                });
            }
        }
    }

    /// One step; its time. `None` after `until`, or when something is broken.
    pub fn next_step(&mut self, until: Time) -> Option<Time> {
        let next = self.coming.peek().is_some_and(|Reverse(Entry(at, ..))| *at <= until);
        (next && self.step()).then_some(self.now)
    }

    /// What was broken.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        self.judge.violation.clone()
    }

    /// Whether any node runs at all.
    #[must_use]
    pub fn may_serve(&self) -> bool {
        self.machines.iter().take(2).any(Machine::is_running)
    }

    /// The role of a node for a group.
    #[must_use]
    pub fn role(&self, place: Place, group: usize) -> Option<Role> {
        let pair = self.machines.get(place)?.pair()?;
        Some(pair.groups().get(group)?.role())
    }

    /// How often a machine was switched off or reset.
    #[must_use]
    pub fn boots(&self, place: Place) -> u32 {
        self.machines.get(place).map_or(0, |machine| machine.boot)
    }

    /// Which node has a group now.
    #[must_use]
    pub fn holder(&self, group: usize) -> Option<Place> {
        Judge::holder(&self.machines, group, self.now)
    }

    /// The health that the brain of a node reports from now on.
    pub fn set_health(&mut self, place: Place, health: Health) {
        self.machine(place).health = health;
    }
}

/// Who speaks from a place in a session. The witness is nobody's owner; the first name will do.
pub(crate) const fn owner(place: Place, session: Session) -> Owner {
    let member = if place == 1 { Member::Second } else { Member::First };
    Owner { member, session }
}
