//! `mastiff going-down`: what mastiff-shutdown.service says to the daemon, which itself outlives
//! most of a shutdown, to pet the watchdog until its end.

use std::process::Command;

use super::Context;
use super::failure::Failure;
use crate::control::Request;

/// Targets that end the machine (systemd.special(7)).
const ENDS: [&str; 5] = ["reboot", "poweroff", "halt", "kexec", "soft-reboot"];

/// Tell the daemon that the machine goes down (for mastiff-shutdown.service)
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It asks systemd whether the machine goes down, and does nothing if it does not.
The daemon then repairs nothing any more, lets its groups go, and pets the
watchdog until the machine is down, or has taken longer for that than
watchdog.shutdown-timeout.")]
pub(super) struct Arguments {}

pub(super) fn run(context: &Context) -> Result<u8, Failure> {
    if !ask_systemd(&["is-system-running"]).trim().eq("stopping") {
        return Ok(0);
    }
    let jobs = ask_systemd(&["list-jobs", "--no-legend", "--plain"]);
    let is_under_way = |end: &&&str| jobs.contains(&format!("{end}.target"));
    let how = ENDS.iter().find(is_under_way).unwrap_or(&"shutdown");
    context.order(&Request::GoDown { how: (*how).to_string() }, Failure::Refused)
}

/// What systemctl(1) says; nothing, if it cannot.
fn ask_systemd(arguments: &[&str]) -> String {
    let asked = Command::new("systemctl").args(arguments).output();
    asked.map(|done| String::from_utf8_lossy(&done.stdout).into_owned()).unwrap_or_default()
}
