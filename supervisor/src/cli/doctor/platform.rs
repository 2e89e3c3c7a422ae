//! Findings about a hardware watchdog that could be there: its driver is not loaded, or the
//! firmware locked it; and about a BMC that nobody can ask.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use mastiff_hwmon::watchdog::{self, Kind};

use super::{Finding, Machine, Severity};

/// What the drivers say when the firmware has switched the device off (drivers/watchdog:
/// iTCO_wdt.c, "unable to reset NO_REBOOT flag, device disabled by hardware/BIOS"; sp5100_tco.c).
const LOCKED: [(&str, &str, &str); 2] = [
    ("iTCO_wdt", "NO_REBOOT", "disabled by hardware/BIOS"),
    ("sp5100_tco", "sp5100", "Watchdog hardware is disabled"),
];
/// A record of /dev/kmsg at most (PRINTK_MESSAGE_MAX, kernel/printk/internal.h), records that are
/// looked through, and overwritten ones in a row.
const RECORD_BYTES_MAX: usize = 8 * 1024;
const RECORDS_MAX: usize = 100_000;
/// PCI devices that are looked through.
const PCI_MAX: usize = 1024;
/// What the firmware leaves where there is a BMC: its device in ACPI, and the table of older ones
/// (IPMI v2.0, C3).
const BMC_TRACES: [&str; 2] =
    ["/sys/bus/acpi/devices/IPI0001:00", "/sys/firmware/acpi/tables/SPMI"];
/// Where lists of modules that must not be loaded are; a file hides one of its name further back.
const MODPROBE: [&str; 4] =
    ["/etc/modprobe.d", "/run/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"];
const WHY: &str = "If the kernel hangs, this machine stays down until a human resets it.";

/// There is no device at all.
pub(super) fn no_device(machine: &Machine) -> Vec<Finding> {
    if watchdog::is_ipmi_loaded(&machine.root) {
        return vec![Finding::new(
            Severity::Note,
            "the watchdog is driven by ipmi_watchdog, which does not say whether it is armed",
            "If nobody uses it, a machine whose kernel hangs stays down.",
            "look with: ipmitool mc watchdog get",
        )];
    }
    // Said by `locked`, with what to do.
    if locked_driver(machine).is_some() {
        return Vec::new();
    }
    vec![Finding::new(Severity::Note, "no watchdog device was found", WHY, mend(machine))]
}

/// The firmware keeps the chipset's watchdog from resetting the machine.
pub(super) fn locked(machine: &Machine) -> Vec<Finding> {
    let devices = watchdog::list(&machine.root);
    if machine.is_container() || devices.iter().any(|device| device.kind == Kind::Hardware) {
        return Vec::new();
    }
    let Some(driver) = locked_driver(machine) else { return Vec::new() };
    vec![Finding::new(
        Severity::Warning,
        format!("the firmware has locked the chipset's watchdog ({driver})"),
        WHY,
        "switch on \"watchdog\", \"TCO timer\" or \"automatic server restart\" in the firmware's \
         setup, or update it; where there is a BMC, its own will do: modprobe ipmi_watchdog",
    )]
}

/// There is a BMC, and no device to ask it through: `ipmi_si` is loaded by itself where the
/// firmware describes one, `ipmi_devintf` never is (drivers/char/ipmi; it has no alias).
pub(super) fn bmc(machine: &Machine) -> Vec<Finding> {
    let is_described = BMC_TRACES.iter().any(|trace| machine.exists(trace));
    if machine.is_container() || !is_described || machine.exists("/dev/ipmi0") {
        return Vec::new();
    }
    vec![Finding::new(
        Severity::Note,
        "this machine has a BMC, and there is no /dev/ipmi0 to ask it through",
        "What only the BMC sees (power supplies, chassis, its event log) is not watched.",
        "modprobe ipmi_devintf; echo ipmi_devintf > /etc/modules-load.d/ipmi.conf; then: systemctl \
         restart mastiff",
    )]
}

/// How a hardware watchdog comes to be there.
pub(super) fn mend(machine: &Machine) -> String {
    let Some((module, hint)) = module(machine) else {
        return match machine.is_virtual() {
            true => "give the machine a device, as in QEMU: -device i6300esb -action \
                     watchdog=reset; libvirt: <watchdog model='i6300esb' action='reset'/>"
                .to_string(),
            false => "load the driver of your hardware (iTCO_wdt, sp5100_tco, wdat_wdt, \
                      ipmi_watchdog); softdog helps only while the kernel lives"
                .to_string(),
        };
    };
    let load =
        format!("modprobe {module}; echo {module} > /etc/modules-load.d/watchdog.conf ({hint})");
    match blacklisted_in(machine, module) {
        None => load,
        Some(file) => format!(
            "take `blacklist {module}` out of {file} (a copy of that file in /etc/modprobe.d wins \
             over it), then: {load}"
        ),
    }
}

/// The driver for this machine, where one file tells, and what told so.
fn module(machine: &Machine) -> Option<(&'static str, &'static str)> {
    let is = |path: &str, values: &[&str]| {
        machine.text(path).is_ok_and(|text| values.iter().any(|value| text.starts_with(value)))
    };
    let pci = |slot: &str, vendors: &[&str], class: &str| {
        let folder = format!("/sys/bus/pci/devices/{slot}");
        is(&format!("{folder}/vendor"), vendors) && is(&format!("{folder}/class"), &[class])
    };
    let found = if has_i6300esb(machine) {
        ("i6300esb", "QEMU's device is there")
    } else if machine.is_virtual() {
        return None;
    } else if is("/sys/class/dmi/id/product_name", &["ProLiant"]) {
        ("hpwdt", "this is a ProLiant")
    } else if machine.exists("/sys/firmware/acpi/tables/WDAT") {
        ("wdat_wdt", "the firmware describes it, ACPI table WDAT")
    } else if pci("0000:00:1f.0", &["0x8086"], "0x0601") {
        ("iTCO_wdt", "the chipset is Intel's")
    } else if pci("0000:00:14.0", &["0x1022", "0x1002"], "0x0c05") {
        ("sp5100_tco", "the chipset is AMD's")
    } else if machine.exists("/dev/ipmi0") {
        ("ipmi_watchdog", "there is a BMC")
    } else {
        return None;
    };
    // Loaded, and it made no device: then this is not what helps.
    Some(found).filter(|(module, _)| !machine.exists(&format!("/sys/module/{module}")))
}

/// 8086:25ab (drivers/watchdog/i6300esb.c, PCI_DEVICE_ID_INTEL_ESB_9), in any slot.
fn has_i6300esb(machine: &Machine) -> bool {
    machine.names("/sys/bus/pci/devices").iter().take(PCI_MAX).any(|slot| {
        let read = |file: &str| machine.text(&format!("/sys/bus/pci/devices/{slot}/{file}"));
        read("device").is_ok_and(|id| id == "0x25ab")
            && read("vendor").is_ok_and(|id| id == "0x8086")
    })
}

/// The file whose `blacklist` keeps systemd from loading a module (modules-load.d(5),
/// modprobe.d(5)).
fn blacklisted_in(machine: &Machine, module: &str) -> Option<String> {
    let mut seen = Vec::new();
    for folder in MODPROBE {
        for name in machine.names(folder).into_iter().filter(|name| name.ends_with(".conf")) {
            if seen.contains(&name) {
                continue;
            }
            let path = format!("{folder}/{name}");
            seen.push(name);
            let text = machine.text(&path).unwrap_or_default();
            let is_it = |line: &str| {
                let mut words = line.split_whitespace();
                words.next() == Some("blacklist")
                    && words.next().is_some_and(|word| word.replace('-', "_") == module)
            };
            if text.lines().any(is_it) {
                return Some(path);
            }
        }
    }
    None
}

/// The driver that said in this boot that the firmware has locked its device.
fn locked_driver(machine: &Machine) -> Option<&'static str> {
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(libc::O_NONBLOCK);
    let mut log = options.open(machine.root.path("/dev/kmsg")).ok()?;
    let mut record = vec![0; RECORD_BYTES_MAX];
    for _ in 0..RECORDS_MAX {
        let length = match log.read(&mut record) {
            Ok(0) => return None,
            Ok(length) => length,
            // Overwritten meanwhile: the next read goes on with the oldest that is left.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => continue,
            Err(_) => return None,
        };
        let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
        let found = text.lines().find_map(|line| {
            let said =
                |(_, one, other): &&(_, &str, &str)| line.contains(one) && line.contains(other);
            LOCKED.iter().find(said)
        });
        if let Some((driver, _, _)) = found {
            return Some(driver);
        }
    }
    None
}
