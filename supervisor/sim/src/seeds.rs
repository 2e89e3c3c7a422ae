//! Many worlds, and the smallest one that fails.

use core::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fault::{Blow, Names};
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
    let mut world = World::new(plan.clone(), Names::default(), false);
    world.run().map(|()| world.tally)
}

/// Leaves out faults for as long as the same promise is still broken, then tells the story.
#[must_use]
pub fn shrink(mut plan: Plan, mut violation: Violation) -> Failure {
    if plan.lasting.is_some() {
        let smaller = Plan { lasting: None, ..plan.clone() };
        if let Err(other) = run_plan(&smaller)
            && other.invariant == violation.invariant
        {
            (plan, violation) = (smaller, other);
        }
    }
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
    let mut world = World::new(plan.clone(), Names::default(), true);
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

/// Runs `count` worlds from seed `from`, `jobs` at a time. Of several that fail the first is told:
/// the same one, however many jobs there are.
///
/// # Errors
/// A world that broke a promise, made small.
pub fn many(from: u64, count: u64, jobs: u64) -> Result<Tally, Box<Failure>> {
    let lowest = AtomicU64::new(u64::MAX);
    let jobs = jobs.max(1);
    let worker = |first: u64| {
        let mut total = Tally::default();
        for seed in (from + first..from + count).step_by(usize::try_from(jobs).unwrap_or(1)) {
            if seed > lowest.load(Ordering::Relaxed) {
                break;
            }
            let failed = |_: &_| {
                lowest.fetch_min(seed, Ordering::Relaxed);
            };
            total = sum(total, run(seed).inspect_err(failed)?);
        }
        Ok(total)
    };
    let worker = &worker;
    let results: Vec<Result<Tally, (Violation, Box<Plan>)>> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..jobs).map(|first| scope.spawn(move || worker(first))).collect();
        handles.into_iter().filter_map(|handle| handle.join().ok()).collect()
    });
    let mut total = Tally::default();
    let mut failed = Vec::new();
    for result in results {
        match result {
            Ok(tally) => total = sum(total, tally),
            Err(failure) => failed.push(failure),
        }
    }
    match failed.into_iter().min_by_key(|(_, plan)| plan.seed) {
        Some((violation, plan)) => Err(Box::new(shrink(*plan, violation))),
        None => Ok(total),
    }
}

/// One for each processor.
#[must_use]
pub fn jobs() -> u64 {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64
}
