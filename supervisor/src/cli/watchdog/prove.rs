//! `mastiff watchdog prove`: armed is not proven.

use mastiff_hwmon::root::Root;
use mastiff_hwmon::watchdog;
use nix::poll::{PollTimeout, poll};

use crate::cli::confirm::confirm;
use crate::cli::failure::Failure;
use crate::cli::{Context, complain, status};
use crate::control::Request;

/// Looks at what is left of the time-out are so far apart: it falls by whole seconds, and a pet may
/// come between two of them, but not between all.
const LOOK_AGAIN_MS: u16 = 1100;
const LOOKS: usize = 5;

/// Let the watchdog reset this machine once, to see that it does
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Many watchdogs count and never fire: the firmware has locked them, or they are
not wired. First it is looked whether the time that is left falls at all; if it
does not, that is said. Then, once you confirm, the daemon stops petting, and
THIS MACHINE IS RESET WITHOUT A SHUTDOWN. It refuses on a node that has a group.
After the boot `mastiff watchdog status` says since when the device is proven,
and how long it really took. If nothing happens, the daemon pets again, and says
that the device does not work.

Examples:
  mastiff watchdog prove")]
pub(in crate::cli) struct Arguments {
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let known = status::ask(context)?.watchdog.and_then(|watchdog| watchdog.name);
    let doubt = known.map_or(Ok(None), |name| look(&name))?;
    let doubt = doubt.map_or(String::new(), |doubt| format!("{doubt} "));
    if arguments.yes {
        if !doubt.is_empty() {
            complain(&format!("mastiff: {doubt}\n"));
        }
    } else {
        let what = format!(
            "{doubt}This machine will be reset, without a shutdown, as soon as the watchdog fires. \
             Services stop in the middle of what they do."
        );
        confirm(&context.out.wrap(&what, 0))?;
    }
    context.order(&Request::Prove {}, Failure::Refused)
}

/// Whether the time that is left falls; what is to be said if it does not. It only hints: a driver
/// may not say, or say the same for ever (QEMU's iTCO does), and the device fire all the same.
fn look(name: &str) -> Result<Option<String>, Failure> {
    let mut seen: Vec<u64> = Vec::new();
    for _ in 0..LOOKS {
        let devices = watchdog::list(&Root::machine());
        let device = devices.into_iter().find(|device| device.name == name);
        let Some(left) = device.and_then(|device| device.timeleft_secs) else { return Ok(None) };
        if seen.last().is_some_and(|before| *before > left) {
            return Ok(None);
        }
        seen.push(left);
        poll(&mut [], PollTimeout::from(LOOK_AGAIN_MS))
            .map_err(|error| Failure::Bug(format!("cannot wait: {error}")))?;
    }
    let left = seen.last().copied().unwrap_or(0);
    Ok(Some(format!(
        "{name} does not seem to count: what is left of its time-out stays at {left} s. If it does \
         not fire, look in the firmware's settings for a watchdog that is off or locked."
    )))
}
