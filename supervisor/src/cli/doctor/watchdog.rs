//! Findings about the watchdog devices, from sysfs only: opening a device would start it.

use std::path::Path;

use mastiff_hwmon::watchdog::{self, Holder, Kind, Watchdog};
use nix::poll::poll;

use super::platform;
use super::settings::{Setting, runtime_watchdog};
use super::{Finding, Machine, Severity};
use crate::config::{DeviceChoice, WatchdogConfig};

/// Looks at what is left, with `--wait`, and the time between two in milliseconds. Five seconds: a
/// device is petted less often, unless somebody pets it each second.
const LOOKS: usize = 20;
const LOOK_EVERY_MS: u16 = 250;
/// Identities of mei_wdt.c, now and formerly: what it does at the end is up to a management server.
const ALARMS_ONLY: [&str; 2] = ["iamt_wdt", "INTCAMT"];

/// What a device is called.
pub(super) fn called(device: &Watchdog) -> String {
    format!("{} ({})", device.name, device.identity.as_deref().unwrap_or("no name"))
}

fn is_alarm_only(device: &Watchdog) -> bool {
    device.identity.as_deref().is_some_and(|identity| ALARMS_ONLY.contains(&identity))
}

/// The armed device that resets this machine whatever its kernel does.
pub(super) fn armed_hardware(machine: &Machine) -> Option<Watchdog> {
    let mut devices = watchdog::list(&machine.root).into_iter();
    devices.find(|it| it.active == Some(true) && it.kind == Kind::Hardware && !is_alarm_only(it))
}

/// Whether there is a watchdog, and whether anybody uses it.
pub(super) fn device(machine: &Machine) -> Vec<Finding> {
    if machine.is_container() {
        return Vec::new();
    }
    let devices = watchdog::list(&machine.root);
    if let Some(device) = armed_hardware(machine) {
        let timeout = device.timeout_secs.map_or(String::new(), |secs| format!(", {secs}s"));
        let identity = device.identity.as_deref().unwrap_or("no name");
        return Finding::good(format!(
            "the watchdog {} is armed ({identity}{timeout})",
            device.name
        ));
    }
    let armed = devices.iter().find(|device| device.active == Some(true));
    // What the kernel does not say is no finding.
    let idle = devices.iter().find(|device| device.active == Some(false));
    match (armed, idle) {
        (Some(device), _) if is_alarm_only(device) => vec![Finding::new(
            Severity::Warning,
            format!("the armed watchdog {} only alarms a management server", called(device)),
            "If nobody acts on that alarm, a machine that hangs stays down.",
            platform::mend(machine),
        )],
        (Some(device), _) if device.kind == Kind::Software => vec![Finding::new(
            Severity::Warning,
            format!("the armed watchdog {} is a timer of the kernel", called(device)),
            "If the kernel hangs, so does the timer, and this machine stays down.",
            platform::mend(machine),
        )],
        (Some(device), _) => Finding::good(format!("the watchdog {} is armed", called(device))),
        (None, Some(device)) if device.kind == Kind::Software => vec![Finding::new(
            Severity::Note,
            format!("the only watchdog is a timer of the kernel: {}", called(device)),
            "If the kernel hangs, so does the timer, and this machine stays down.",
            platform::mend(machine),
        )],
        (None, Some(device)) => vec![Finding::new(
            Severity::Warning,
            format!("the watchdog {} is there, but nobody uses it", called(device)),
            "If the kernel hangs, this machine stays down until a human resets it.",
            mend_idle(machine),
        )],
        (None, None) if devices.is_empty() => platform::no_device(machine),
        (None, None) => Vec::new(),
    }
}

/// How a device that is there comes into use.
fn mend_idle(machine: &Machine) -> String {
    let config = machine.config.display();
    match &machine.watchdog {
        Some(WatchdogConfig { device: DeviceChoice::Pid1, .. }) => {
            "set RuntimeWatchdogSec=30s in /etc/systemd/system.conf, then: systemctl daemon-reexec"
                .to_string()
        }
        Some(wanted) if wanted.device.is_own() => {
            "start mastiffd, or see why it does not arm it: journalctl -u mastiff".to_string()
        }
        _ => format!("add the line [watchdog] to {config}, then: systemctl restart mastiff"),
    }
}

/// Who has what open, when the configuration and systemd both want it: a device can be open once.
pub(super) fn rivals(machine: &Machine) -> Vec<Finding> {
    let Some(wanted) = machine.watchdog.as_ref().filter(|_| !machine.is_container()) else {
        return Vec::new();
    };
    let set = runtime_watchdog(machine);
    let devices = watchdog::list(&machine.root);
    let holders = watchdog::holders(&machine.root);
    let by_pid1 = |device: &Watchdog| held_by_pid1(device, &holders);
    if wanted.device == DeviceChoice::Pid1 {
        if set.is_some() || devices.iter().any(by_pid1) || !machine.runs_systemd() {
            return Vec::new();
        }
        return vec![Finding::new(
            Severity::Problem,
            "watchdog.device = \"pid1\", but systemd uses no watchdog",
            "So nothing resets this machine if it hangs.",
            mend_idle(machine),
        )];
    }
    let Some(device) = first_choice(&wanted.device, &devices).filter(|it| by_pid1(it)) else {
        return Vec::new();
    };
    let free = devices.iter().any(|it| it.kind == Kind::Hardware && !by_pid1(it));
    if wanted.device == DeviceChoice::Auto && free {
        return Vec::new();
    }
    let source = match &set {
        Some(set) => format!("RuntimeWatchdogSec={} of {}", set.value, set.file),
        None => "set while it runs, by no file".to_string(),
    };
    vec![Finding::new(
        Severity::Problem,
        format!("systemd holds the watchdog {} ({source}), which mastiffd wants", called(device)),
        "A device can be open once. With systemd's petting alone, a machine whose checks or disks \
         fail is not reset.",
        format!(
            "watchdog.device = \"pid1\" in {}, so that systemd pets and watches mastiffd; or {}; \
             then: systemctl restart mastiff",
            machine.config.display(),
            let_go(set.as_ref())
        ),
    )]
}

/// How systemd comes to let go of its device.
fn let_go(set: Option<&Setting>) -> String {
    let Some(set) = set else {
        return "busctl set-property org.freedesktop.systemd1 /org/freedesktop/systemd1 \
                org.freedesktop.systemd1.Manager RuntimeWatchdogUSec t 0"
            .to_string();
    };
    if !set.file.starts_with('/') {
        return "systemd.watchdog_sec=off on the kernel's command line, and boot".to_string();
    }
    // What a package installed is hidden by a file of the same name, not changed.
    let file = match set.file.rsplit_once(".d/") {
        _ if set.file.starts_with("/etc/") => set.file.clone(),
        Some((_, name)) => format!("/etc/systemd/system.conf.d/{name}"),
        None => "/etc/systemd/system.conf.d/watchdog.conf".to_string(),
    };
    format!("[Manager] RuntimeWatchdogSec=0 in {file}, and systemctl daemon-reexec")
}

/// Whether systemd uses the device. What another process has open, too, systemd only stores for it
/// (FileDescriptorStoreMax=, systemd.service(5)): a device can be opened once.
fn held_by_pid1(device: &Watchdog, holders: &[Holder]) -> bool {
    let mut holders = holders.iter().filter(|holder| holder.device == device.name).peekable();
    holders.peek().is_some() && holders.all(|holder| holder.pid == 1)
}

/// The device that the configuration means, or the best.
pub(super) fn first_choice<'a>(
    wanted: &DeviceChoice,
    devices: &'a [Watchdog],
) -> Option<&'a Watchdog> {
    match wanted {
        DeviceChoice::Path(path) => devices.iter().find(|device| is_at(device, path)),
        DeviceChoice::Auto => devices.first(),
        DeviceChoice::Pid1 | DeviceChoice::Off => None,
    }
}

/// `/dev/watchdog` is the first device by an old number.
fn is_at(device: &Watchdog, path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name == Some(&device.name) || (name == Some("watchdog") && device.name == "watchdog0")
}

/// Several devices: which one is taken where the configuration does not say.
pub(super) fn several(machine: &Machine) -> Vec<Finding> {
    let mut devices = watchdog::list(&machine.root);
    devices.retain(|device| device.kind == Kind::Hardware);
    let real = devices.iter().find(|device| !is_alarm_only(device));
    let first = devices.iter().find(|device| device.name == "watchdog0");
    let (Some(first), Some(real)) = (first, real) else { return Vec::new() };
    let is_auto = machine.watchdog.as_ref().is_some_and(|it| it.device == DeviceChoice::Auto);
    let names: Vec<String> = devices.iter().map(called).collect();
    // systemd takes the first that it finds (WatchdogDevice=, systemd-system.conf(5)).
    if is_alarm_only(first) && (is_auto || runtime_watchdog(machine).is_some()) {
        return vec![Finding::new(
            Severity::Warning,
            format!("{} comes before {}", called(first), called(real)),
            "Whoever opens /dev/watchdog gets one that only alarms a management server.",
            format!(
                "echo blacklist mei_wdt > /etc/modprobe.d/mei_wdt.conf, then boot; or watchdog.device \
                 = \"/dev/{}\" in {}",
                real.name,
                machine.config.display()
            ),
        )];
    }
    if !is_auto || devices.len() < 2 || devices.iter().any(|it| it.active == Some(true)) {
        return Vec::new();
    }
    vec![Finding::new(
        Severity::Note,
        format!("there are {} watchdogs: {}", devices.len(), names.join(", ")),
        "`auto` takes the best that is free, and their numbers may change from boot to boot.",
        "nothing, or name one in watchdog.device; `mastiff watchdog status` shows them",
    )]
}

/// A device that cannot be stopped, and what that means for a stop of its user.
pub(super) fn nowayout(machine: &Machine) -> Vec<Finding> {
    let is_wanted = machine.watchdog.as_ref().is_some_and(|wanted| wanted.device.is_own());
    let devices = watchdog::list(&machine.root);
    let stuck = devices.iter().filter(|device| device.nowayout == Some(true));
    let Some(device) = { stuck }.find(|device| is_wanted || device.active == Some(true)) else {
        return Vec::new();
    };
    let after = device.timeout_secs.map_or(String::new(), |secs| format!(" {secs}s later"));
    let module = device.driver.as_deref().unwrap_or("MODULE");
    vec![Finding::new(
        Severity::Note,
        format!("the watchdog {} cannot be stopped once it runs (nowayout)", called(device)),
        &format!("If whoever pets it is stopped for good, this machine is reset{after}."),
        format!(
            "if you do not want that: echo options {module} nowayout=0 > \
             /etc/modprobe.d/watchdog.conf, then boot"
        ),
    )]
}

/// With `--wait`: whether the armed device counts at all. Some do not, whatever they say (a locked
/// NO_REBOOT bit, firmware that reloads the timer by itself).
pub(super) fn counts(machine: &Machine) -> Vec<Finding> {
    let Some(device) = armed_hardware(machine).filter(|_| machine.wait) else {
        return Vec::new();
    };
    let mut looks = Vec::new();
    for _ in 0..LOOKS {
        let devices = watchdog::list(&machine.root);
        let now = devices.iter().find(|it| it.name == device.name).and_then(|it| it.timeleft_secs);
        let Some(left) = now else { return Vec::new() };
        looks.push(left);
        if has_fallen(&looks) {
            break;
        }
        // Interrupted by a signal, it just looks earlier.
        poll(&mut [], LOOK_EVERY_MS).ok();
    }
    judge(&device, &looks)
}

fn has_fallen(looks: &[u64]) -> bool {
    looks.windows(2).any(|pair| matches!(pair, [before, after] if after < before))
}

pub(super) fn judge(device: &Watchdog, looks: &[u64]) -> Vec<Finding> {
    if has_fallen(looks) {
        return Finding::good(format!("the watchdog {} counts down", called(device)));
    }
    match looks {
        // Petted meanwhile, so it is not known.
        [first, .., last] if first != last => Vec::new(),
        [first, ..] => vec![Finding::new(
            Severity::Warning,
            format!("the watchdog {} says all the time that {first}s are left", called(device)),
            "Either somebody pets it each second, or it does not count and will never reset this \
             machine.",
            "look for a watchdog or \"TCO\" in the firmware's setup; only a reset proves it",
        )],
        [] => Vec::new(),
    }
}
