//! Findings about what else runs on this machine.

use mastiff_core::reading::{Readings, Value};
use mastiff_core::time::Mono;
use mastiff_hwmon::sensor::{Options, Source, Wanted};
use mastiff_hwmon::sensors;

use super::settings::{Setting, setting};
use super::{Finding, Machine, Severity};

/// Daemons that restart, reset or move addresses as well: name of the process, unit, pid file, and
/// what they do.
const OTHERS: [(&str, &str, &str, &str); 8] = [
    ("watchdog", "watchdog.service", "/run/watchdog.pid", "resets this machine"),
    ("watchdogd", "watchdogd.service", "/run/watchdogd/pid", "resets this machine"),
    ("wd_keepalive", "wd_keepalive.service", "/run/wd_keepalive.pid", "holds the watchdog"),
    ("monit", "monit.service", "/run/monit.pid", "restarts services"),
    ("keepalived", "keepalived.service", "/run/keepalived.pid", "moves addresses"),
    ("sbd", "sbd.service", "/run/sbd.pid", "resets this machine"),
    (
        "pacemakerd",
        "pacemaker.service",
        "/run/pacemakerd.pid",
        "restarts services and moves addresses",
    ),
    ("drbd-reactor", "drbd-reactor.service", "/run/drbd-reactor.pid", "starts and stops services"),
];
/// The oldest systemd that the units are written for: that of Debian 12 and RHEL 9.
const SYSTEMD_MIN: u32 = 252;
/// Where distributions keep libsystemd-shared, which carries systemd's version in its name.
const SYSTEMD_LIBRARIES: [&str; 5] = [
    "/usr/lib/systemd",
    "/lib/systemd",
    "/usr/lib/x86_64-linux-gnu/systemd",
    "/usr/lib/aarch64-linux-gnu/systemd",
    "/usr/lib64/systemd",
];

/// Other daemons of the same trade.
pub(super) fn others(machine: &Machine) -> Vec<Finding> {
    let look = |(process, unit, pid_file, does): &(&str, &str, &str, &str)| {
        let why = "Two daemons that repair the same thing undo each other's work, and only one \
                   of them can hold a watchdog.";
        if is_running(machine, process, pid_file) {
            return Some(Finding::new(
                Severity::Warning,
                format!("{process} runs here, too, and {does}"),
                why,
                format!(
                    "make sure that it does not look after what mastiff does, or: systemctl \
                     disable --now {unit}"
                ),
            ));
        }
        let enabled = machine.enabled_by(unit)?;
        Some(Finding::new(
            Severity::Note,
            format!("{process} is not running now, but starts at boot ({enabled}), and {does}"),
            why,
            format!("systemctl disable {unit}, if mastiff does its work"),
        ))
    };
    let found: Vec<Finding> = OTHERS.iter().filter_map(look).collect();
    if found.is_empty() { Finding::good("no other daemon of this trade runs") } else { found }
}

/// Whether the pid file names a process of that name: old files lie around, and pids are used
/// again.
fn is_running(machine: &Machine, process: &str, pid_file: &str) -> bool {
    /// /proc/PID/comm is cut to this length (TASK_COMM_LEN - 1).
    const COMM_BYTES_MAX: usize = 15;
    let Ok(text) = machine.text(pid_file) else { return false };
    let Some(pid) = text.split_whitespace().next().and_then(|word| word.parse::<u32>().ok()) else {
        return false;
    };
    let comm = machine.text(&format!("/proc/{pid}/comm")).unwrap_or_default();
    !comm.is_empty() && Some(&*comm) == process.get(..process.len().min(COMM_BYTES_MAX))
}

/// Whether systemd runs, and is new enough.
pub(super) fn init(machine: &Machine) -> Vec<Finding> {
    if !machine.runs_systemd() {
        return vec![Finding::new(
            Severity::Warning,
            "systemd does not run this machine",
            "Units cannot be watched or restarted; a check of one is unknown.",
            "use the sensors process, tcp or command, and `run` to repair",
        )];
    }
    let names = SYSTEMD_LIBRARIES.iter().flat_map(|folder| machine.names(folder));
    let version = names.filter_map(|name| {
        let rest = name.strip_prefix("libsystemd-shared-")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    });
    match version.max() {
        Some(version) if version < SYSTEMD_MIN => vec![Finding::new(
            Severity::Note,
            format!("systemd {version} is older than {SYSTEMD_MIN}, for which mastiff is made"),
            "Some of the unit's settings may be ignored.",
            "look for \"Unknown key\" in: journalctl -b _PID=1",
        )],
        Some(version) => Finding::good(format!("systemd {version}")),
        None => Vec::new(),
    }
}

/// Whether the clock is synchronised, as the sensor `time` says.
pub(super) fn clock(machine: &Machine) -> Vec<Finding> {
    // The answer comes from a system call, which knows nothing of recorded trees.
    let sensor = sensors::find("time").filter(|_| machine.root.is_machine());
    let Some(sensor) = sensor else { return Vec::new() };
    let Source::Quick(open) = sensor.source else { return Vec::new() };
    let mut readings = Readings::new(sensor.quantities);
    let read = open(&machine.root, "", &Options::default())
        .and_then(|mut probe| probe.read(Mono::BOOT, Wanted::ALL, &mut readings));
    match (read, readings.get("synchronised")) {
        (Ok(()), Some(Value::Flag(true))) => Finding::good("the clock is synchronised"),
        (Ok(()), Some(Value::Flag(false))) => vec![Finding::new(
            Severity::Warning,
            "the clock is not synchronised",
            "Logs of several machines cannot be compared, and certificates are judged by a wrong \
             date.",
            "install chrony, or: timedatectl set-ntp true",
        )],
        _ => Vec::new(),
    }
}

/// Whether the journal survives a reboot (journald.conf(5), Storage=).
pub(super) fn journal(machine: &Machine) -> Vec<Finding> {
    if !machine.runs_systemd() {
        return Vec::new();
    }
    let why = "Why the machine went down is then nowhere to be read.";
    let storage = setting(machine, "journald.conf", "Storage");
    match storage {
        Some(Setting { value, file }) if matches!(&*value, "volatile" | "none") => {
            vec![Finding::new(
                Severity::Warning,
                format!("the journal is lost at each reboot (Storage={value} in {file})"),
                why,
                "Storage=persistent there, then: systemctl restart systemd-journald",
            )]
        }
        Some(Setting { value, .. }) if value == "persistent" => {
            Finding::good("the journal survives a reboot")
        }
        _ if machine.exists("/var/log/journal") => Finding::good("the journal survives a reboot"),
        _ => vec![Finding::new(
            Severity::Warning,
            "the journal is lost at each reboot",
            why,
            "mkdir -p /var/log/journal && systemctl restart systemd-journald",
        )],
    }
}
