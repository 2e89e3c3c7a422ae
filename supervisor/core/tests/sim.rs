//! A node on virtual time, from one seed: sensors that lie, go blind, answer late, twice or never;
//! effects that help, fail, hang; nudges, pauses, reloads, crashes and boots. After each step the
//! promises of the core are checked by a second bookkeeping that knows nothing of its insides
//! (`sim/judge.rs`); then the world is healed, and all must be well in bounded time.
//!
//! `MASTIFF_SEED=7` replays one seed, `MASTIFF_SEEDS=100000` runs so many.
#![allow(unreachable_pub, reason = "the parts of a test are not a library")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "sim/judge.rs"]
mod judge;
#[path = "sim/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use world::World;

/// How many seeds run where nobody says otherwise.
const SEEDS_DEFAULT: u64 = 2000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text:?}: not a number")))
}

#[test]
fn a_node_keeps_its_promises_in_a_broken_world_and_recovers_in_a_healed_one() {
    let seeds = match number("MASTIFF_SEED") {
        Some(seed) => seed..seed.saturating_add(1),
        None => 0..number("MASTIFF_SEEDS").unwrap_or(SEEDS_DEFAULT),
    };
    let mut happened = world::Happened::default();
    for seed in seeds.clone() {
        match catch_unwind(AssertUnwindSafe(|| World::run(seed))) {
            Ok(more) => happened.add(&more),
            Err(cause) => {
                eprintln!("replay with: MASTIFF_SEED={seed} cargo test -p mastiff-core --test sim");
                resume_unwind(cause);
            }
        }
    }
    println!("{} seeds: {happened:?}", seeds.end - seeds.start);
    if seeds.end - seeds.start >= SEEDS_DEFAULT {
        happened.assert_all();
    }
}
