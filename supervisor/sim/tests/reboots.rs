//! What fails on both nodes at once brings both ladders to their rung `reboot` in the same moment:
//! they restart one after the other (I14), in worlds with different timers, wires and oscillators,
//! and between the two restarts somebody has the group.
#![allow(clippy::panic, clippy::indexing_slicing)]

use mastiff_sim::clock::{MS, SECOND};
use mastiff_sim::fault::{Blow, Fault, Names};
use mastiff_sim::plan::Plan;
use mastiff_sim::world::World;

const WORLDS: u64 = 400;
/// Long after a cold start.
const AT: i64 = 25 * SECOND;
/// For how long a machine is off.
const RESTART: i64 = 8 * SECOND;
/// Two restarts, and after each the voter's silence and readiness of ten seconds each.
const BOTH: i64 = 2 * (RESTART + 25 * SECOND);

#[test]
fn both_nodes_reboot_one_after_the_other_and_both_do() {
    let mut served = 0;
    for seed in 0..WORLDS {
        let mut plan = Plan::calm(seed);
        let worse = [None, Some(Fault::Loss(300)), Some(Fault::Delay(50)), Some(Fault::Copies)];
        let worse = worse.into_iter().cycle().nth(usize::try_from(seed % 4).unwrap_or(0));
        // At the same moment, or one a little later.
        let skew = [0, 0, 1, 30, 150][usize::try_from(seed % 5).unwrap_or(0)] * MS;
        let order = if seed % 2 == 0 { [0, 1] } else { [1, 0] };
        let blow = |at, fault| Blow { at, lasts: RESTART, fault };
        let worse = worse.flatten().map(|fault| Blow { lasts: BOTH, ..blow(AT - SECOND, fault) });
        plan.blows = worse.into_iter().collect();
        let reboot = |(place, after)| blow(AT + after, Fault::Reboot(place));
        plan.blows.extend([(order[0], 0), (order[1], skew)].map(reboot));
        (plan.healed_at, plan.ends_at) = (AT + 10 * BOTH, AT + 10 * BOTH);
        let mut world = World::new(plan, Names::default(), true);
        world.run_until(AT);
        let before = [world.boots(0), world.boots(1)];
        let mut between = false;
        while world.next_step(AT + BOTH).is_some() {
            let one_is_back = [0, 1].map(|it| world.boots(it) > before[it]);
            between |= one_is_back != [false; 2] && world.holder(0).is_some();
        }
        if let Some(violation) = world.violation() {
            panic!("seed {seed}: {violation}\n{}", world.timeline);
        }
        let after = [world.boots(0), world.boots(1)];
        let restarts = [after[0] - before[0], after[1] - before[1]];
        // With wires that lose much a restart may take the watchdog's help, and is one more.
        assert!(restarts.iter().all(|it| *it >= 1), "{seed}: {restarts:?}\n{}", world.timeline);
        served += u64::from(between);
    }
    assert_eq!(served, WORLDS, "in all of them somebody had the group in between");
}
