//! Whether the warning before the watchdog fires is of any use.

use mastiff_hwmon::watchdog::{self, Watchdog};

use super::watchdog::{called, first_choice};
use super::{Finding, Machine, Severity};
use crate::config::WatchdogConfig;

/// A `pretimeout` with no governor that does anything (drivers/watchdog/watchdog_pretimeout.c).
pub(super) fn governor(machine: &Machine) -> Vec<Finding> {
    let Some(wanted) = &machine.watchdog else { return Vec::new() };
    let Some(before) = wanted.pretimeout else { return Vec::new() };
    let devices = watchdog::list(&machine.root);
    let armed = devices.iter().find(|device| device.active == Some(true));
    let Some(device) = armed.or(first_choice(&wanted.device, &devices)) else {
        return Vec::new();
    };
    let Some((what, to_do)) = useless(wanted, device) else {
        return Finding::good(format!("the kernel acts {before} before the watchdog fires"));
    };
    vec![Finding::new(
        Severity::Warning,
        format!("watchdog.pretimeout = \"{before}\" is of no use: {what}"),
        "The warning is there so that the kernel says or dumps what hung before the machine is \
         reset; like this it is lost.",
        to_do,
    )]
}

/// Why nothing comes of the warning, and what to do.
fn useless(wanted: &WatchdogConfig, device: &Watchdog) -> Option<(String, String)> {
    const LOAD: &str = "modprobe pretimeout_panic; for each boot: echo pretimeout_panic > \
                        /etc/modules-load.d/pretimeout.conf; then: systemctl restart mastiff";
    let has = |name: &str| device.governors.iter().any(|it| it == name);
    let offers = || match device.governors.as_slice() {
        [] => "none".to_string(),
        some => some.join(", "),
    };
    match (wanted.governor, device.governor.as_deref()) {
        _ if device.pretimeout_secs.is_none() => Some((
            format!("{} gives no warning", called(device)),
            "remove the line, or take another device".to_string(),
        )),
        (Some(wanted), _) if !has(wanted.name()) => {
            let name = wanted.name();
            let to_do = LOAD.replace("pretimeout_panic", &format!("pretimeout_{name}"));
            Some((format!("the kernel has no governor {name} (it has {})", offers()), to_do))
        }
        (Some(_), _) => None,
        (None, None) => Some((
            format!("{} has no governor, so nobody hears the warning", called(device)),
            format!("pretimeout-governor = \"panic\", and {LOAD}"),
        )),
        (None, Some("noop")) => Some((
            format!("the governor of {} is noop, which only logs a line", called(device)),
            format!("pretimeout-governor = \"panic\", and {LOAD}"),
        )),
        (None, Some(_)) => None,
    }
}
