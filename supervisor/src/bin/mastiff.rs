//! The command line `mastiff`; started under the name of the runner, it is that.

use std::process::ExitCode;

use mastiff::probes::runner;

fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|name| name == runner::ARGUMENT) {
        return if runner::main() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    ExitCode::from(mastiff::cli::run(std::env::args_os(), |path, named, which| {
        mastiff::oneshot::run(path, named, which).map_err(|error| error.to_string())
    }))
}
