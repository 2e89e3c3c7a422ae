//! `mastiff reload`: the daemon reads its configuration again.

use mastiff_core::time::Span;

use super::Context;
use super::failure::Failure;
use crate::control::Request;

/// Let the daemon read its configuration again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file is checked first. If it has faults, nothing changes, the faults are
printed, and the exit code is 78. Checks that did not change go on as they are,
and no group moves.

With --confirm the former configuration is back after TIME, unless you run
`mastiff reload --confirmed` before. The file is left as it is: a restart of the
daemon ends the trial, and takes what is in the file.")]
pub(super) struct Arguments {
    /// Go back after TIME unless confirmed [1s to 1h]
    #[arg(long, value_name = "TIME", value_parser = trial)]
    confirm: Option<Span>,
    /// Keep what is on trial
    #[arg(long, conflicts_with = "confirm")]
    confirmed: bool,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    if arguments.confirmed {
        return context.order(&Request::ConfirmReload {}, Failure::Refused);
    }
    let confirm_secs = arguments.confirm.map(Span::as_secs_f64);
    context.order(&Request::Reload { confirm_secs }, |why| {
        Failure::Config(format!("cannot reload, the old configuration stays in effect:\n{why}"))
    })
}

fn trial(text: &str) -> Result<Span, String> {
    Span::parse(text).map_err(|error| error.to_string())
}
