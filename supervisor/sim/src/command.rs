//! The commands of `mastiff-sim`. 0: every promise was kept; 1: one was broken; 64: not understood.

use std::process::ExitCode;

use mastiff_core::time::Span;
use mastiff_core::timing::Guard;

use crate::fault::Names;
use crate::plan::Plan;
use crate::scenario::{self, SCENARIOS};
use crate::seeds;
use crate::world::World;

const USAGE: &str = "usage: mastiff-sim COMMAND
  seeds [--from N] [--count N] [--jobs N]   worlds with twenty faults and more, one for each seed
  seed N                                    one of them, told
  scenarios [--count N]                     each fault alone, in N worlds
  figures [--count N]                       takeover times: promised, worst, median
  model [--ticks N] [--faults K] [--data]   every small world";

/// Says what there is.
#[must_use]
pub fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(64)
}

/// Options with numbers; `None` where something is not understood.
fn numbers<const N: usize>(given: &[String], names: [(&str, u64); N]) -> Option<[u64; N]> {
    let mut values = names.map(|(_, otherwise)| otherwise);
    for pair in given.chunks(2) {
        let [name, value] = pair else { return None };
        let at = names.iter().position(|(known, _)| known == name)?;
        *values.get_mut(at)? = value.parse().ok()?;
    }
    Some(values)
}

/// Many worlds.
#[must_use]
pub fn seeds(arguments: &[String]) -> ExitCode {
    let names = [("--from", 0), ("--count", 10_000), ("--jobs", seeds::jobs())];
    let Some([from, count, jobs]) = numbers(arguments, names) else { return usage() };
    match seeds::many(from, count, jobs) {
        Ok(tally) => {
            println!("{count} worlds from seed {from}: {tally}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// One world.
#[must_use]
pub fn seed(arguments: &[String]) -> ExitCode {
    let Some(seed) = arguments.first().and_then(|seed| seed.parse().ok()) else { return usage() };
    let mut world = World::new(Plan::of(seed), Names::default(), true);
    let result = world.run();
    print!("{}", world.timeline);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(violation) => {
            println!("seed {seed}: {violation}");
            ExitCode::FAILURE
        }
    }
}

/// Each fault alone.
#[must_use]
pub fn scenarios(arguments: &[String]) -> ExitCode {
    let Some([count]) = numbers(arguments, [("--count", 20)]) else { return usage() };
    let mut good = true;
    for scenario in SCENARIOS {
        let wrong = (0..count).find_map(|seed| {
            let told = scenario::run(scenario, Plan::calm(seed), Names::default());
            told.wrong(scenario.must).map(|why| (seed, why, told.timeline))
        });
        match wrong {
            None => println!("{:<32} {:?}", scenario.name, scenario.must),
            Some((seed, why, timeline)) => {
                good = false;
                println!("{:<32} seed {seed}: {why}\n{timeline}", scenario.name);
            }
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Takeover times, for the documents.
#[must_use]
pub fn figures(arguments: &[String]) -> ExitCode {
    let Some([count]) = numbers(arguments, [("--count", 1000)]) else { return usage() };
    let nftables = Guard::Nftables { tick: Span::from_millis(4) };
    for (guard, name) in [(Guard::Bpf, "BPF"), (nftables, "nftables")] {
        for millis in [30, 100, 1000, 10_000] {
            let Some(plan) = Plan::measured(Span::from_millis(millis), guard) else { continue };
            match scenario::measure(&plan, count) {
                Some(figures) => println!("{name:<9} takeover-within {millis:>5} ms: {figures}"),
                None => {
                    println!("{name}, takeover-within {millis} ms: a world without takeover");
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    ExitCode::SUCCESS
}
