//! Many worlds, and the smallest one that fails.

use core::fmt;

use crate::fault::Blow;
use crate::judge::Violation;
use crate::plan::Plan;
use crate::world::{Tally, World};

/// A world that broke a promise, with as few faults as it takes.
#[derive(Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// The promise.
    pub violation: Violation,
    /// What went wrong before.
    pub blows: Vec<Blow>,
    /// What happened.
    pub timeline: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.violation)?;
        writeln!(f, "with {} faults:", self.blows.len())?;
        f.write_str(&self.timeline)?;
        writeln!(f, "seed {}: {}", self.seed, self.violation)
    }
}

/// Runs the world of a seed.
///
/// # Errors
/// The promise that was broken, and the plan.
pub fn run(seed: u64) -> Result<Tally, (Violation, Box<Plan>)> {
    let plan = Plan::of(seed);
    run_plan(&plan).map_err(|violation| (violation, Box::new(plan)))
}

fn run_plan(plan: &Plan) -> Result<Tally, Violation> {
    let mut world = World::new(plan.clone(), false);
    world.run().map(|()| world.tally)
}

/// Leaves out faults for as long as the same promise is still broken, then tells the story.
#[must_use]
pub fn shrink(mut plan: Plan, mut violation: Violation) -> Failure {
    let mut chunk = plan.blows.len().div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        while from < plan.blows.len() {
            let mut smaller = plan.clone();
            let to = (from + chunk).min(smaller.blows.len());
            smaller.blows.drain(from..to);
            match run_plan(&smaller) {
                Err(other) if other.invariant == violation.invariant => {
                    (plan, violation) = (smaller, other);
                }
                _ => from += chunk,
            }
        }
        chunk /= 2;
    }
    let mut world = World::new(plan.clone(), true);
    let _same = world.run();
    let timeline = world.timeline.to_string();
    Failure { seed: plan.seed, violation, blows: plan.blows, timeline }
}

/// Counts of many worlds.
#[must_use]
pub const fn sum(one: Tally, other: Tally) -> Tally {
    Tally {
        turns: one.turns + other.turns,
        heard: one.heard + other.heard,
        refused: one.refused + other.refused,
        active: one.active + other.active,
        faults: one.faults + other.faults,
        resets: one.resets + other.resets,
    }
}
