//! `mastiff reload`: the daemon reads its configuration again.

use super::Context;
use super::failure::Failure;
use crate::control::Request;

/// Let the daemon read its configuration again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file is checked first. If it has faults, nothing changes, the faults are
printed, and the exit code is 78. Checks that did not change go on as they are.")]
pub(super) struct Arguments {}

pub(super) fn run(context: &Context) -> Result<u8, Failure> {
    context.order(&Request::Reload {}, |why| {
        Failure::Config(format!("cannot reload, the old configuration stays in effect:\n{why}"))
    })
}
