//! Runs worlds: `mastiff-sim COMMAND`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    eprintln!("usage: mastiff-sim seeds|model ...");
    std::process::ExitCode::from(64)
}
