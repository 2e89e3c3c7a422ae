//! One fault in a calm world: what it leads to, and how long that takes. The table of DESIGN 7, as
//! far as the core decides it.

use core::fmt;

use mastiff_core::pair::event::Order;
use mastiff_core::pair::message::{Health, Role};

use crate::clock::{MS, SECOND, Time};
use crate::fault::{Blow, Fault, Names};
use crate::judge::Violation;
use crate::network::{Place, WITNESS};
use crate::plan::Plan;
use crate::world::World;

/// When the fault begins: long after the start.
const CALM: Time = 16 * SECOND;
/// How long it is watched.
const WATCHED: Time = 30 * SECOND;

/// What a fault must lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Must {
    /// Nothing: the node that has the group keeps it, without a gap.
    Stay,
    /// The other node has it, at most as late as is promised.
    TakeOver,
    /// Either node has it, at most as late as is promised: a daemon that is soon back may take it.
    Back,
    /// The other node has it: planned, so with a gap of some turns and the steps only.
    HandOver,
    /// The same where units must not run twice; else nothing.
    HandOverUnits,
}

/// A fault with a name.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// As it is typed; `active` and `standby` stand for the nodes.
    pub name: &'static str,
    /// What happens.
    pub fault: Fault,
    /// For how long.
    pub lasts: Time,
    /// What it must lead to.
    pub must: Must,
}

/// The active node and the standby in [`SCENARIOS`].
const ACTIVE: Place = 0;
const STANDBY: Place = 1;
const LONG: Time = 20 * SECOND;

const fn scenario(name: &'static str, fault: Fault, lasts: Time, must: Must) -> Scenario {
    Scenario { name, fault, lasts, must }
}

/// Every scenario.
pub const SCENARIOS: &[Scenario] = &[
    scenario("power cut of active", Fault::PowerCut(ACTIVE), LONG, Must::TakeOver),
    scenario("power cut of standby", Fault::PowerCut(STANDBY), LONG, Must::Stay),
    scenario("power cut of witness", Fault::PowerCut(WITNESS), LONG, Must::Stay),
    scenario("kill of active", Fault::Crash(ACTIVE, false), 3 * SECOND, Must::Back),
    scenario("kill of standby", Fault::Crash(STANDBY, false), 3 * SECOND, Must::Stay),
    scenario("kill of witness", Fault::Crash(WITNESS, false), 3 * SECOND, Must::Stay),
    scenario("restart of active", Fault::Crash(ACTIVE, true), 50 * MS, Must::Stay),
    scenario("upgrade of active", Fault::Upgrade(ACTIVE), LONG, Must::Stay),
    scenario("freeze of active", Fault::Freeze(ACTIVE), 10 * SECOND, Must::TakeOver),
    scenario("freeze of standby", Fault::Freeze(STANDBY), 10 * SECOND, Must::Stay),
    scenario("pause of active", Fault::Pause(ACTIVE), 10 * SECOND, Must::TakeOver),
    scenario("suspend of active", Fault::Suspend(ACTIVE), 10 * SECOND, Must::HandOver),
    scenario("switchover", Fault::Order(ACTIVE, Order::Switchover), SECOND, Must::HandOver),
    scenario("failed check on active", Fault::Sick(ACTIVE, Health::Failed), LONG, Must::HandOver),
    scenario("warning on active", Fault::Sick(ACTIVE, Health::Degraded), LONG, Must::Stay),
    scenario("failed check on standby", Fault::Sick(STANDBY, Health::Failed), LONG, Must::Stay),
    // Not before the other node has been well for long enough (`HARDWARE_SETTLES`).
    scenario(
        "failing disk of active",
        Fault::Sick(ACTIVE, Health::Failing),
        80 * SECOND,
        Must::HandOver,
    ),
    scenario("failing disk of standby", Fault::Sick(STANDBY, Health::Failing), LONG, Must::Stay),
    scenario("failed check on both", Fault::SharedFault(ACTIVE), 10 * SECOND, Must::Stay),
    scenario("interface of active lost", Fault::LinkLost(ACTIVE), LONG, Must::HandOver),
    scenario("interface of standby lost", Fault::LinkLost(STANDBY), LONG, Must::Stay),
    scenario("watchdog of active lost", Fault::WatchdogLost(ACTIVE), LONG, Must::HandOverUnits),
    scenario("watchdog of standby lost", Fault::WatchdogLost(STANDBY), LONG, Must::Stay),
    scenario("reload of active", Fault::Agree(ACTIVE, 1), 5 * SECOND, Must::Stay),
    scenario("reload of standby", Fault::Agree(STANDBY, 1), 5 * SECOND, Must::Stay),
    scenario("rung reboot of active", Fault::Reboot(ACTIVE), LONG, Must::HandOver),
    scenario("rung reboot of standby", Fault::Reboot(STANDBY), LONG, Must::Stay),
    scenario("brain of active stalled", Fault::BrainStall(ACTIVE), LONG, Must::HandOver),
    scenario("active cut off", Fault::CutOff(ACTIVE), LONG, Must::TakeOver),
    scenario("standby cut off", Fault::CutOff(STANDBY), LONG, Must::Stay),
    scenario("link between nodes cut", Fault::Between(ACTIVE, STANDBY), LONG, Must::Stay),
    scenario("path 1 cut", Fault::PathCut(0), LONG, Must::Stay),
    scenario("nothing from active to standby", Fault::OneWay(ACTIVE, STANDBY), LONG, Must::Stay),
    scenario("nothing from standby to active", Fault::OneWay(STANDBY, ACTIVE), LONG, Must::Stay),
    scenario("nothing from active to witness", Fault::OneWay(ACTIVE, WITNESS), LONG, Must::Stay),
    scenario("nothing from witness to active", Fault::OneWay(WITNESS, ACTIVE), LONG, Must::Stay),
    scenario("20 % loss", Fault::Loss(200), LONG, Must::Stay),
    scenario("packets doubled", Fault::Copies, LONG, Must::Stay),
    scenario("packets replayed", Fault::Replay, LONG, Must::Stay),
    scenario("packets forged", Fault::Forge, LONG, Must::Stay),
    scenario("clock of active slewed", Fault::Slew(ACTIVE, 83_000), LONG, Must::Stay),
    scenario("clock of standby slewed", Fault::Slew(STANDBY, -83_000), LONG, Must::Stay),
    scenario("date of active set", Fault::SetDate(ACTIVE, 3600), LONG, Must::Stay),
    scenario("state files of active lost", Fault::DiskLost(ACTIVE), LONG, Must::Stay),
];

/// How a scenario went.
#[derive(Debug)]
pub struct Told {
    /// Time from the fault until the other node had the group; `None`: it did not.
    pub taken_after: Option<Time>,
    /// How long nobody had it in all.
    pub outage: Time,
    /// Whether somebody has it at the end.
    pub served: bool,
    /// Whether it has units that must not run twice.
    pub exclusive: bool,
    /// The computed promise.
    pub promised: Time,
    /// The promise that was broken, if any.
    pub violation: Option<Violation>,
    /// What happened, from the fault on.
    pub timeline: String,
}

impl Told {
    /// Why this is not what the fault must lead to, if so.
    #[must_use]
    pub fn wrong(&self, must: Must) -> Option<String> {
        if let Some(violation) = &self.violation {
            return Some(violation.to_string());
        }
        let must = match must {
            Must::HandOverUnits if self.exclusive => Must::HandOver,
            Must::HandOverUnits => Must::Stay,
            must => must,
        };
        match (must, self.taken_after) {
            _ if !self.served => Some("nobody has it".into()),
            (Must::Stay, Some(_)) => Some("the other node took it".into()),
            (Must::Stay, None) if self.outage > 0 => {
                Some(format!("{} ms without an owner", self.outage / MS))
            }
            (Must::TakeOver, Some(after)) if after > self.promised => {
                let (after, promised) = (after / MS, self.promised / MS);
                Some(format!("taken after {after} ms, promised are {promised} ms"))
            }
            (Must::TakeOver | Must::HandOver, None) => {
                Some("the other node did not take it".into())
            }
            (Must::HandOver, Some(_)) | (Must::Back, _) if self.outage > self.promised => {
                Some(format!("{} ms without an owner", self.outage / MS))
            }
            _ => None,
        }
    }
}

/// Runs one scenario. `plan` without faults; which node has the group is up to the world, so the
/// fault is turned to it.
#[must_use]
pub fn run(scenario: &Scenario, mut plan: Plan, names: Names) -> Told {
    plan.blows.clear();
    plan.groups = 1;
    plan.healed_at = CALM + 10 * WATCHED;
    plan.ends_at = plan.healed_at;
    let at = CALM + crate::rng::Rng::new(plan.seed ^ 1).below(2_000).cast_signed() * MS;
    let promised = plan.timing(0).map_or(0, |timing| timing.takeover_at_most.as_nanos());
    let promised = i64::try_from(promised).unwrap_or(i64::MAX);
    // Units take their time to stop and to start; and nobody may know that they stopped.
    let units = if plan.exclusive { plan.stops_within().as_nanos() + 2_500_000_000 } else { 0 };
    let promised = promised.saturating_add_unsigned(units);
    let exclusive = plan.exclusive;
    let mut world = World::new(plan, names, true);
    world.run_until(at);
    let active = world.holder(0).unwrap_or(ACTIVE);
    world.timeline.begin(at);
    let fault = if active == ACTIVE { scenario.fault } else { scenario.fault.mirrored() };
    world.inflict(Blow { at, lasts: scenario.lasts, fault });
    let (mut taken_after, mut outage, mut before) = (None, 0, at);
    while let Some(now) = world.next_step(at + WATCHED.max(scenario.lasts)) {
        let holder = world.holder(0);
        if holder.is_none() && world.may_serve() {
            outage += now - before;
        }
        if holder.is_some_and(|holder| holder != active) && taken_after.is_none() {
            taken_after = Some(now - at);
        }
        before = now;
        if taken_after.is_some() && world.role(1 - active, 0) == Some(Role::Active) {
            world.run_until(now + 100 * MS);
            break;
        }
    }
    let (violation, served) = (world.violation(), world.holder(0).is_some());
    let timeline = world.timeline.to_string();
    Told { taken_after, outage, served, exclusive, promised, violation, timeline }
}

/// The scenario of that name, or the names there are.
///
/// # Errors
/// The nearest names.
pub fn find(name: &str) -> Result<&'static Scenario, Vec<&'static str>> {
    let wanted = name.trim().to_lowercase();
    let exact = SCENARIOS.iter().find(|scenario| scenario.name == wanted);
    exact.ok_or_else(|| SCENARIOS.iter().map(|scenario| scenario.name).collect())
}

/// Times of a takeover over many worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// What is computed.
    pub promised: Time,
    /// The longest that was seen.
    pub worst: Time,
    /// The one in the middle.
    pub median: Time,
    /// Worlds.
    pub worlds: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Time| format!("{}.{} ms", time / MS, time % MS / (MS / 10));
        let (promised, worst, median) = (ms(self.promised), ms(self.worst), ms(self.median));
        write!(f, "promised {promised:>12}  worst {worst:>12}  median {median:>12}")
    }
}

/// Measures power cuts: oscillators at their worst, wires as slow as is assumed.
#[must_use]
pub fn measure(plan: &Plan, worlds: u64) -> Option<Figures> {
    let scenario = SCENARIOS.first()?;
    let mut times: Vec<Time> = Vec::new();
    let mut promised = 0;
    for seed in 0..worlds {
        let told = run(scenario, Plan { seed, ..plan.clone() }, Names::default());
        promised = told.promised;
        times.push(told.taken_after?);
    }
    times.sort_unstable();
    let worst = *times.last()?;
    let median = *times.get(times.len() / 2)?;
    Some(Figures { promised, worst, median, worlds: times.len() })
}
