//! The command line.

use std::path::Path;
use std::process::ExitCode;

use mastiff_core::view::CheckView;

fn main() -> ExitCode {
    ExitCode::from(mastiff::cli::run(std::env::args_os(), run_checks))
}

fn run_checks(_path: &Path, _named: bool, _names: &[String]) -> Result<Vec<CheckView>, String> {
    Err("this build cannot; start the daemon".into())
}
