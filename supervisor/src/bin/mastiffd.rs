//! The daemon `mastiffd`; started under the name of the runner, it is that.

use mastiff::probes::runner;

fn main() {
    let is_runner = std::env::args_os().next().is_some_and(|name| name == runner::ARGUMENT);
    std::process::exit(if is_runner { runner::main() } else { mastiff::daemon::main() });
}
