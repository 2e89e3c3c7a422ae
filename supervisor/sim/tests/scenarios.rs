//! Each fault alone leads to what it must lead to (DESIGN 7), in worlds with different timers,
//! guards, oscillators and safety.
#![allow(clippy::panic)]

use mastiff_sim::fault::Names;
use mastiff_sim::plan::Plan;
use mastiff_sim::scenario::{SCENARIOS, run};

const WORLDS: u64 = 40;

#[test]
fn each_fault_alone_leads_to_what_it_must() {
    for scenario in SCENARIOS {
        for seed in 0..WORLDS {
            let told = run(scenario, Plan::calm(seed), Names::default());
            if let Some(why) = told.wrong(scenario.must) {
                panic!("{}, seed {seed}: {why}\n{}", scenario.name, told.timeline);
            }
        }
    }
}
