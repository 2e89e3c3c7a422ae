//! `mastiff-sim model`: looks, and tells what it saw.

use std::process::ExitCode;

use super::clock::Stopwatch;
use super::{BEGINNINGS, Bounds, FAULTS_MAX, check};

const USAGE: &str = "usage: mastiff-sim model [--ticks N] [--faults K] [--data]";

/// Runs it. 0: no promise is broken; 1: one is; 64: not understood.
#[must_use]
pub fn run(arguments: &[String]) -> ExitCode {
    match parse(arguments) {
        Some(bounds) if all(bounds) => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(64)
        }
    }
}

fn parse(arguments: &[String]) -> Option<Bounds> {
    let mut bounds = Bounds { ticks: 12, faults: 2, data: false };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--ticks" => bounds.ticks = arguments.next()?.parse().ok()?,
            "--faults" => bounds.faults = arguments.next()?.parse().ok()?,
            "--data" => bounds.data = true,
            _ => return None,
        }
    }
    (bounds.faults <= FAULTS_MAX).then_some(bounds)
}

fn all(bounds: Bounds) -> bool {
    for beginning in BEGINNINGS {
        let watch = Stopwatch::start();
        let outcome = check(beginning, bounds, &mut |faults, tick, so_far| {
            if faults == bounds.faults {
                let (states, steps) = (so_far.states, so_far.steps);
                eprintln!("  tick {:>2}: {states:>10} states, {steps:>11} steps", tick + 1);
            }
        });
        let seconds = watch.elapsed().as_secs_f64();
        let (states, steps, roles) = (outcome.states, outcome.steps, outcome.roles.len());
        println!(
            "{beginning:?}: {} ticks, {} faults: {states} states, {steps} steps, {roles} pairs of \
             roles, {seconds:.1} s",
            bounds.ticks, bounds.faults
        );
        if let Some(broken) = outcome.broken {
            println!("{broken}");
            return false;
        }
    }
    true
}
