//! No promise is broken in thousands of worlds with twenty faults and more in each.
//!
//! `MASTIFF_SEED=7` runs one world, `MASTIFF_SEEDS=1000000` that many; a failure is made small and
//! told as a timeline.
#![allow(clippy::panic)]

use mastiff_sim::seeds;

/// Worlds where nobody says otherwise: those of the project's promise, in under two minutes on two
/// processors.
const WORLDS: u64 = 10_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text:?}: not a number")))
}

#[test]
fn no_promise_is_broken_in_a_broken_world_and_a_healed_one_recovers() {
    let (from, count) = match number("MASTIFF_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("MASTIFF_SEEDS").unwrap_or(WORLDS)),
    };
    match seeds::many(from, count, seeds::jobs()) {
        Ok(tally) => {
            println!("{count} worlds: {tally}");
            if count >= WORLDS {
                assert!(tally.faults >= 20 * count, "{tally}");
                assert!(tally.active >= 3 * count, "{tally}");
                assert!(tally.resets > 0 && tally.refused > 0, "{tally}");
            }
        }
        Err(failure) => panic!("{failure}"),
    }
}
