//! Runs worlds: many, one, or every small one.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use mastiff_sim::model::command;
use mastiff_sim::plan::Plan;
use mastiff_sim::seeds;
use mastiff_sim::world::{Tally, World};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, otherwise: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(otherwise)
    };
    match arguments.first().map(String::as_str) {
        Some("seeds") => run(number("--from", 0), number("--count", 10_000)),
        Some("seed") => tell(number("seed", 0)),
        Some("model") => command::run(arguments.get(1..).unwrap_or_default()),
        _ => {
            eprintln!("usage: mastiff-sim seeds [--from N] [--count N] | seed N | model ...");
            ExitCode::from(64)
        }
    }
}

/// Runs many worlds on all processors.
fn run(from: u64, count: u64) -> ExitCode {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let failed = AtomicBool::new(false);
    let worker = |first: u64| {
        let mut total = Tally::default();
        for seed in (from + first..from + count).step_by(usize::try_from(workers).unwrap_or(1)) {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            total = seeds::sum(
                total,
                seeds::run(seed).inspect_err(|_| {
                    failed.store(true, Ordering::Relaxed);
                })?,
            );
        }
        Ok(total)
    };
    let worker = &worker;
    let results: Vec<Result<Tally, _>> = std::thread::scope(|scope| {
        let handles: Vec<_> =
            (0..workers).map(|first| scope.spawn(move || worker(first))).collect();
        handles.into_iter().filter_map(|handle| handle.join().ok()).collect()
    });
    let mut total = Tally::default();
    for result in results {
        match result {
            Ok(tally) => total = seeds::sum(total, tally),
            Err((violation, plan)) => {
                println!("{}", seeds::shrink(*plan, violation));
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{count} worlds from seed {from}: {total:?}");
    ExitCode::SUCCESS
}

/// Tells what happens in one world.
fn tell(seed: u64) -> ExitCode {
    let mut world = World::new(Plan::of(seed), true);
    let result = world.run();
    println!("{}", world.timeline);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(violation) => {
            println!("seed {seed}: {violation}");
            ExitCode::FAILURE
        }
    }
}
