//! Findings about the daemon itself.

use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use super::{Finding, Machine, Severity};
use crate::brain::clients::GROUP;
use crate::cli::failure::Failure;
use crate::cli::print::{counted, duration};

/// The unit.
const UNIT: &str = "mastiff.service";
/// Room that the state needs: budgets, pauses, waiting alerts and recent events.
const STATE_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// Whether mastiffd runs and answers.
pub(super) fn runs(machine: &Machine) -> Vec<Finding> {
    match &machine.daemon {
        Ok(status) => Finding::good(format!(
            "mastiffd runs for {} with {}",
            duration(status.up_secs),
            counted(status.checks.len(), "check")
        )),
        Err(Failure::NotRunning(_)) => vec![Finding::new(
            Severity::Problem,
            "mastiffd is not running",
            "Nothing on this machine is watched, and nothing is repaired.",
            "systemctl enable --now mastiff",
        )],
        Err(Failure::Permission(why)) => vec![Finding::new(
            Severity::Note,
            "you may not ask mastiffd",
            "Its socket is for root and the group mastiff, so it is not known whether it is well.",
            why.as_str(),
        )],
        Err(Failure::Witness(why)) => vec![Finding::new(
            Severity::Note,
            "the configuration is that of a witness",
            why.as_str(),
            "systemctl status mastiff-witness; journalctl -u mastiff-witness",
        )],
        Err(other) => vec![Finding::new(
            Severity::Problem,
            other.to_string(),
            "A daemon that does not answer may not be watching either.",
            "systemctl status mastiff; journalctl -u mastiff",
        )],
    }
}

/// Whether the configuration could be loaded again.
pub(super) fn configuration(machine: &Machine) -> Vec<Finding> {
    let path = machine.config.display();
    match &machine.faults {
        None => Finding::good("the configuration has no faults"),
        Some(_) => vec![Finding::new(
            Severity::Problem,
            format!("{path} has faults"),
            "The daemon will not start again with it; one that runs keeps the last good one.",
            format!("mastiff config check {path}"),
        )],
    }
}

/// Whether mastiffd starts at boot.
pub(super) fn unit_enabled(machine: &Machine) -> Vec<Finding> {
    if !machine.runs_systemd() {
        return Vec::new();
    }
    let folders = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    if !folders.iter().any(|folder| machine.exists(&format!("{folder}/{UNIT}"))) {
        return vec![Finding::new(
            Severity::Warning,
            format!("{UNIT} is not installed"),
            "mastiffd does not start at boot, and nobody restarts it.",
            "install the package, which brings the unit",
        )];
    }
    if machine.enabled_by(UNIT).is_some() {
        return Finding::good("mastiffd starts at boot");
    }
    vec![Finding::new(
        Severity::Warning,
        format!("{UNIT} is not enabled"),
        "After the next boot nothing is watched.",
        "systemctl enable mastiff",
    )]
}

/// Whether anybody but root could ask the daemon.
pub(super) fn group(machine: &Machine) -> Vec<Finding> {
    let Ok(groups) = machine.text("/etc/group") else { return Vec::new() };
    let is_there = groups.lines().any(|line| line.split(':').next() == Some(GROUP));
    if is_there {
        return Finding::good("the group mastiff is there");
    }
    vec![Finding::new(
        Severity::Note,
        "there is no group mastiff in /etc/group",
        "Its members may look (`mastiff status`) without being root; without it only root may.",
        "groupadd --system mastiff; systemctl restart mastiff; then for each of them: usermod -aG \
         mastiff USER",
    )]
}

/// Whether the state can be written. It must not be so for the daemon to run, but budgets and
/// pauses would not outlive a restart.
pub(super) fn state_dir(machine: &Machine) -> Vec<Finding> {
    let path = machine.root.path(&machine.state_dir);
    let shown = machine.state_dir.display();
    let why = "Budgets of repairs, pauses and waiting alerts would not survive a restart.";
    match access(&path, AccessFlags::W_OK) {
        // The unit makes it (StateDirectory=) when the daemon first starts.
        Err(Errno::ENOENT) if machine.daemon.is_err() => return Vec::new(),
        Err(Errno::EACCES) => {
            return vec![Finding::new(
                Severity::Note,
                format!("you may not write to {shown}, so it is not known whether mastiffd can"),
                why,
                "run `mastiff doctor` as root",
            )];
        }
        Err(error) => {
            return vec![Finding::new(
                Severity::Problem,
                format!("{shown} cannot be written: {}", error.desc()),
                why,
                "make it a directory that root may write, or set node.state-dir",
            )];
        }
        Ok(()) => {}
    }
    // Reserved blocks count: the daemon writes as root.
    let room =
        statvfs(&path).ok().and_then(|stat| stat.blocks_free().checked_mul(stat.fragment_size()));
    match room {
        Some(bytes) if bytes < STATE_BYTES_MIN => vec![Finding::new(
            Severity::Warning,
            format!("only {} KiB are free in {shown}", bytes / 1024),
            why,
            format!("free some space: df -h {shown}"),
        )],
        _ => Finding::good(format!("{shown} can be written")),
    }
}
