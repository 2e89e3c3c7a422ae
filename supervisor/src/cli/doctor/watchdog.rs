//! Findings about the hardware watchdog, from sysfs only: opening the device would start it.

use super::{Finding, Machine, Severity};

/// The class in sysfs (Documentation/ABI/testing/sysfs-class-watchdog).
const CLASS: &str = "/sys/class/watchdog";

/// Whether there is a watchdog, and whether anybody uses it.
pub(super) fn device(machine: &Machine) -> Vec<Finding> {
    let names = machine.names(CLASS);
    if names.is_empty() {
        return vec![no_device(machine)];
    }
    let read = |name: &str, attribute: &str| {
        machine.text(&format!("{CLASS}/{name}/{attribute}")).unwrap_or_default()
    };
    let active: Vec<&String> =
        names.iter().filter(|name| read(name, "state") == "active").collect();
    if let Some(name) = active.first() {
        return Finding::good(format!(
            "the watchdog {} is armed ({}, {}s)",
            name,
            read(name, "identity"),
            read(name, "timeout")
        ));
    }
    // Kernels without CONFIG_WATCHDOG_SYSFS have the class, but no such file: nothing can be said
    // then.
    let idle = names.iter().find(|name| read(name, "state") == "inactive");
    let Some(name) = idle else { return Vec::new() };
    vec![Finding::new(
        Severity::Warning,
        format!("the watchdog {name} ({}) is there, but nobody uses it", read(name, "identity")),
        "If the kernel hangs, this machine stays down until a human resets it.",
        "set RuntimeWatchdogSec=30s in /etc/systemd/system.conf, then: systemctl daemon-reexec",
    )]
}

fn no_device(machine: &Machine) -> Finding {
    // The old IPMI driver is outside the class (drivers/char/ipmi/ipmi_watchdog.c).
    if machine.exists("/sys/module/ipmi_watchdog") {
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
        "load the driver of your hardware (iTCO_wdt, sp5100_tco, ipmi_watchdog, i6300esb in QEMU); \
         softdog helps only while the kernel lives",
    )
}
