//! Findings about the hardware watchdog, from sysfs only: opening the device would start it.

use mastiff_hwmon::watchdog::{self, Kind, Watchdog};

use super::{Finding, Machine, Severity};

/// What helps where there is no hardware watchdog in use.
const HARDWARE: &str = "load the driver of your hardware (iTCO_wdt, sp5100_tco, ipmi_watchdog, \
                        i6300esb in QEMU); softdog helps only while the kernel lives";

/// Whether there is a watchdog, and whether anybody uses it.
pub(super) fn device(machine: &Machine) -> Vec<Finding> {
    let devices = watchdog::list(&machine.root);
    if devices.is_empty() {
        return vec![no_device(machine)];
    }
    let called = |device: &Watchdog| device.identity.clone().unwrap_or("no name".to_string());
    if let Some(device) = devices.iter().find(|device| device.active == Some(true)) {
        let timeout = device.timeout_secs.map_or(String::new(), |secs| format!(", {secs}s"));
        let armed = format!("the watchdog {} is armed ({}{timeout})", device.name, called(device));
        return match device.kind {
            Kind::Software => vec![Finding::new(
                Severity::Warning,
                format!("{armed}, which is a timer of the kernel"),
                "If the kernel hangs, so does the timer, and this machine stays down.",
                HARDWARE,
            )],
            Kind::Hardware | Kind::Unknown => Finding::good(armed),
        };
    }
    // What the kernel does not say is no finding.
    let idle = devices.iter().find(|device| device.active == Some(false));
    let Some(device) = idle else { return Vec::new() };
    vec![Finding::new(
        Severity::Warning,
        format!("the watchdog {} ({}) is there, but nobody uses it", device.name, called(device)),
        "If the kernel hangs, this machine stays down until a human resets it.",
        "set RuntimeWatchdogSec=30s in /etc/systemd/system.conf, then: systemctl daemon-reexec",
    )]
}

fn no_device(machine: &Machine) -> Finding {
    if watchdog::is_ipmi_loaded(&machine.root) {
        return Finding::new(
            Severity::Note,
            "the watchdog is driven by ipmi_watchdog, which does not say whether it is armed",
            "If nobody uses it, a machine whose kernel hangs stays down.",
            "look with: ipmitool mc watchdog get",
        );
    }
    Finding::new(
        Severity::Note,
        "no watchdog device was found",
        "If the kernel hangs, this machine stays down until a human resets it.",
        HARDWARE,
    )
}
