//! No promise of the core is broken in any small world.
//!
//! `MASTIFF_MODEL=12,2` looks 12 ticks far with 2 faults; with `7,3` each of the two tests takes
//! ten minutes and 8 GB.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mastiff_core::pair::message::Role;
use mastiff_sim::model::{BEGINNINGS, Bounds, check};

/// How far the tests look where nobody says otherwise: ticks and faults.
const DEFAULT: (u32, u8) = (8, 2);
/// Fewer different worlds than this from each beginning, with [`DEFAULT`], and it looked at
/// nothing.
const STATES_MIN: u64 = 50_000;

fn look(data: bool) {
    let (ticks, faults) = match std::env::var("MASTIFF_MODEL") {
        Ok(text) => {
            let (ticks, faults) = text.split_once(',').expect("MASTIFF_MODEL=TICKS,FAULTS");
            (ticks.parse().expect("ticks"), faults.parse().expect("faults"))
        }
        Err(_) => DEFAULT,
    };
    for beginning in BEGINNINGS {
        let outcome = check(beginning, Bounds { ticks, faults, data }, &mut |_, _, _| {});
        println!("{beginning:?}: {} states, {} steps", outcome.states, outcome.steps);
        if let Some(broken) = outcome.broken {
            panic!("{beginning:?}:\n{broken}");
        }
        if (ticks, faults) >= DEFAULT {
            assert!(outcome.states >= STATES_MIN, "{beginning:?}: {} states", outcome.states);
            let both = |role| outcome.roles.contains(&role);
            for role in [Role::Standby, Role::Waiting] {
                assert!(both((Some(Role::Active), Some(role))), "{beginning:?}: First, {role:?}");
                assert!(both((Some(role), Some(Role::Active))), "{beginning:?}: Second, {role:?}");
            }
        }
    }
}

#[test]
fn no_small_world_breaks_a_promise() {
    look(false);
}

#[test]
fn no_small_world_with_units_that_must_not_run_twice_breaks_a_promise() {
    look(true);
}
