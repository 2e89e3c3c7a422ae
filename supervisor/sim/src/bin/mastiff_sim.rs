//! Runs worlds: many, one, or every small one.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use mastiff_sim::{command, model};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((verb, rest)) if verb == "seeds" => command::seeds(rest),
        Some((verb, rest)) if verb == "seed" => command::seed(rest),
        Some((verb, rest)) if verb == "scenarios" => command::scenarios(rest),
        Some((verb, rest)) if verb == "figures" => command::figures(rest),
        Some((verb, rest)) if verb == "model" => model::command::run(rest),
        _ => command::usage(),
    }
}
