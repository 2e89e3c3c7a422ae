//! The model checker: the core itself, in *every* small world.
//!
//! A world is two nodes, a witness and one group, in discrete time. Where nothing is said it is a
//! calm one; a budget of faults is spent in all possible ways, at all possible ticks. What is
//! checked in each state, and how, is in [`judge`]; what may happen, in [`fault`].
//!
//! Left out, and left to the seeds: times between ticks, and so daemons that wake at a deadline;
//! clocks that part (suspend, slewing, drift); a daemon that stops between deciding and acting;
//! all random waits but those of one seed for each node; more than one group; other arbiters;
//! failback, an operator's word that the peer is off, definitions that differ.
//!
//! Breadth first, tick by tick: since the worlds carry the time, two of different ticks are never
//! the same, so only one tick's worlds are kept, and sixteen bytes each for the path back. A world
//! that was met with as much budget or more is not followed again, which is sound: whatever can
//! happen with less, can with more. Worlds are told apart by a hash of 64 bits; with ten million
//! in a tick two would be mixed up once in 400,000 runs.
//!
//! Own code and not the `stateright` crate: that is 45 packages with a web explorer, which nobody
//! here would use, for a search of two pages.

mod clock;
pub mod command;
pub mod fault;
pub mod judge;
pub mod machine;
pub mod network;
pub mod setup;
pub mod third;
pub mod timeline;
pub mod world;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use mastiff_core::pair::event::{Order, PairEvent};
use mastiff_core::pair::message::{Member, Role};

use fault::Fault;
use judge::Violation;
use setup::GROUP;
use timeline::Timeline;
use world::{Machines, World};

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Ticks from each beginning.
    pub ticks: u32,
    /// Faults in each world; at most [`FAULTS_MAX`].
    pub faults: u8,
    /// Whether the group has units that must not run twice.
    pub data: bool,
}

/// More faults than this have no place in the path back.
pub const FAULTS_MAX: u8 = 4;

/// A calm world has an active node after so many ticks, whatever was before (I10): a voter's
/// silence, the wait for the stop time, the politeness to a fitter peer, a handed over group that
/// the peer does not want.
const CALM_TICKS: u32 = 24;

/// Where the worlds begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// All three machines have just got their power.
    Cold,
    /// That node has been active for a while.
    Active(Member),
}

/// All beginnings.
pub const BEGINNINGS: [Beginning; 3] =
    [Beginning::Active(Member::First), Beginning::Active(Member::Second), Beginning::Cold];

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Different worlds.
    pub states: u64,
    /// Ticks of worlds that were computed.
    pub steps: u64,
    /// Different pairs of roles, the nodes' in order; `None` for a daemon that does not run.
    pub roles: Vec<(Option<Role>, Option<Role>)>,
    /// The first broken promise, with the shortest way there.
    pub broken: Option<Broken>,
}

/// A broken promise.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Which.
    pub violation: Violation,
    /// What happened, line by line.
    pub timeline: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.timeline {
            writeln!(f, "{line}")?;
        }
        write!(f, "{}", self.violation)
    }
}

/// A world, and how it came about.
struct Reached {
    world: World,
    left: u8,
    way: Way,
}

/// The way from a world of the tick before: its place there, and the faults by number.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    from: usize,
    faults: [Option<u8>; FAULTS_MAX as usize],
}

/// One run from one beginning.
struct Search {
    faults: Vec<Fault>,
    beginning: World,
    /// The ways to the worlds of each tick so far.
    ways: Vec<Vec<Way>>,
    next: Vec<Reached>,
    known: HashMap<u64, usize>,
    machines: Machines,
    outcome: Outcome,
}

/// Looks at all worlds within the bounds from one beginning, `told` after each tick. Fewest faults
/// first, so that what is found is as plain as it can be.
#[must_use]
pub fn check(
    beginning: Beginning,
    bounds: Bounds,
    told: &mut dyn FnMut(u8, u32, &Outcome),
) -> Outcome {
    let mut outcome = Outcome::default();
    for budget in 0..=bounds.faults.min(FAULTS_MAX) {
        outcome = check_with(beginning, bounds, budget, told);
        if outcome.broken.is_some() {
            break;
        }
    }
    outcome
}

fn check_with(
    beginning: Beginning,
    bounds: Bounds,
    budget: u8,
    told: &mut dyn FnMut(u8, u32, &Outcome),
) -> Outcome {
    let mut search = match Search::begin(beginning, bounds.data) {
        Ok(search) => search,
        Err(broken) => return Outcome { broken: Some(broken), ..Outcome::default() },
    };
    let world = search.beginning.clone();
    let mut present = vec![Reached { world, left: budget, way: Way::default() }];
    for tick in 0..bounds.ticks {
        for (from, reached) in present.iter().enumerate() {
            let way = Way { from, ..Way::default() };
            search.spend(&reached.world, reached.left, 0, 0, way);
            if search.outcome.broken.is_some() {
                return search.outcome;
            }
        }
        present = search.end_tick();
        told(budget, tick, &search.outcome);
    }
    search.calm(&present);
    search.outcome
}

impl Search {
    fn begin(beginning: Beginning, data: bool) -> Result<Self, Broken> {
        let mut timeline = Timeline::read();
        let world = begin(beginning, data, &mut timeline);
        Ok(Self {
            faults: fault::all(),
            beginning: world
                .map_err(|violation| Broken { violation, timeline: timeline.into_lines() })?,
            ways: Vec::new(),
            next: Vec::new(),
            known: HashMap::new(),
            machines: Machines::default(),
            outcome: Outcome::default(),
        })
    }

    /// Lets the next tick come, and before it every further choice of faults.
    fn spend(&mut self, world: &World, left: u8, spent: usize, at_least: usize, way: Way) {
        self.step(world.clone(), left, way);
        if left == 0 {
            return;
        }
        for number in at_least..self.faults.len() {
            let mut after = world.clone();
            let Some(fault) = self.faults.get(number) else { return };
            let happened = fault.happen(&mut after, &mut Timeline::default());
            let mut way = way;
            if let Some(place) = way.faults.get_mut(spent) {
                *place = u8::try_from(number).ok();
            }
            match happened {
                Ok(false) => {}
                Ok(true) => self.spend(&after, left - 1, spent + 1, number + 1, way),
                Err(violation) => self.broken(violation, way),
            }
            if self.outcome.broken.is_some() {
                return;
            }
        }
    }

    fn step(&mut self, mut world: World, left: u8, way: Way) {
        self.outcome.steps += 1;
        if let Err(violation) = world.step(&mut Timeline::default()) {
            self.broken(violation, way);
            return;
        }
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        match self.known.entry(hasher.finish()) {
            Entry::Vacant(entry) => {
                entry.insert(self.next.len());
                world.share(&mut self.machines);
                self.next.push(Reached { world, left, way });
            }
            Entry::Occupied(entry) => {
                if let Some(known) = self.next.get_mut(*entry.get())
                    && known.left < left
                {
                    (known.left, known.way) = (left, way);
                }
            }
        }
    }

    fn end_tick(&mut self) -> Vec<Reached> {
        self.known.clear();
        self.machines = Machines::default();
        let present = std::mem::take(&mut self.next);
        self.ways.push(present.iter().map(|reached| reached.way).collect());
        self.outcome.states += present.len() as u64;
        for reached in &present {
            let roles = (reached.world.role(Member::First), reached.world.role(Member::Second));
            if !self.outcome.roles.contains(&roles) {
                self.outcome.roles.push(roles);
            }
        }
        present
    }

    /// I10: when nothing more happens and everything is mended, somebody is active in time. Asked
    /// of the last tick's worlds only: what happened earlier is there once more, later.
    fn calm(&mut self, present: &[Reached]) {
        for (from, reached) in present.iter().enumerate() {
            if let Err(violation) = calm(reached.world.clone(), &mut Timeline::default()) {
                self.broken(violation, Way { from, ..Way::default() });
                return;
            }
        }
    }

    /// Goes the way again, with a pencil.
    fn broken(&mut self, violation: Violation, last: Way) {
        let mut ways = vec![last];
        let mut from = last.from;
        for tick in self.ways.iter().rev() {
            let Some(way) = tick.get(from) else { break };
            ways.push(*way);
            from = way.from;
        }
        let mut timeline = Timeline::read();
        let mut world = self.beginning.clone();
        for way in ways.iter().rev() {
            if self.go(&mut world, way, &mut timeline).is_err() {
                break;
            }
        }
        if violation.invariant == "I10" && calm(world, &mut timeline).is_ok() {
            timeline.tell(|| "not found again: the model is at fault".into());
        }
        self.outcome.broken = Some(Broken { violation, timeline: timeline.into_lines() });
    }

    fn go(&self, world: &mut World, way: &Way, timeline: &mut Timeline) -> judge::Verdict {
        for number in way.faults.iter().flatten() {
            if let Some(fault) = self.faults.get(usize::from(*number)) {
                fault.happen(world, timeline)?;
            }
        }
        world.step(timeline)
    }
}

/// How a beginning came about, without a fault.
fn begin(beginning: Beginning, data: bool, timeline: &mut Timeline) -> Result<World, Violation> {
    let mut world = World::new(data);
    let Beginning::Active(member) = beginning else { return Ok(world) };
    settle(&mut world, timeline)?;
    if world.role(member) != Some(Role::Active) {
        Fault::Wish(member.other(), Order::Switchover).happen(&mut world, timeline)?;
        settle(&mut world, timeline)?;
    }
    if world.role(member) == Some(Role::Active) {
        return Ok(world);
    }
    let what = format!("{member:?} does not become active");
    Err(Violation { invariant: "I10", what })
}

fn settle(world: &mut World, timeline: &mut Timeline) -> judge::Verdict {
    for _ in 0..CALM_TICKS {
        world.step(timeline)?;
    }
    Ok(())
}

fn calm(mut world: World, timeline: &mut Timeline) -> judge::Verdict {
    world.heal();
    world.step(timeline)?;
    for member in [Member::First, Member::Second] {
        world.tell(member, PairEvent::Order { group: GROUP, order: Order::Resume }, timeline)?;
    }
    for _ in 0..CALM_TICKS {
        world.step(timeline)?;
        let active = |member| world.role(member) == Some(Role::Active);
        if active(Member::First) || active(Member::Second) {
            return Ok(());
        }
    }
    let what = format!("nobody is active after {CALM_TICKS} calm ticks");
    Err(Violation { invariant: "I10", what })
}
