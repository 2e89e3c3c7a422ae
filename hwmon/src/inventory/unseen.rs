//! What cannot be seen, why, and what to do about it.

use serde::Serialize;

use super::dmi::{Access, Tables};
use super::{Inventory, Place};
use crate::once;
use crate::root::Root;

/// Something about the machine that nobody will notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unseen {
    /// What.
    pub what: String,
    /// Why not.
    pub why: String,
    /// What would change that.
    pub to_do: String,
}

impl Unseen {
    /// One of them.
    pub fn new(what: impl Into<String>, why: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), to_do: to_do.into() }
    }
}

/// Drivers of controllers that make volumes of disks and hide these, and how smartctl(8) is told to
/// reach one behind them.
const CONTROLLERS: [(&str, &str); 9] = [
    ("megaraid_sas", "megaraid,N"),
    ("megaraid", "megaraid,N"),
    ("hpsa", "cciss,N"),
    ("smartpqi", "cciss,N"),
    ("aacraid", "aacraid,H,L,ID"),
    ("arcmsr", "areca,N"),
    ("3w-9xxx", "3ware,N"),
    ("3w-sas", "3ware,N"),
    ("3w-xxxx", "3ware,N"),
];

/// SCSI hosts that are looked at.
const HOSTS_MAX: usize = 256;

pub(super) fn all(root: &Root, inventory: &Inventory, tables: &Tables) -> Vec<Unseen> {
    let mut unseen = Vec::new();
    match inventory.machine.place {
        Place::Container => {
            unseen.push(Unseen::new(
                "disks, arrays, memory modules, temperatures, watchdogs",
                "this is a container: the devices below /sys are its host's",
                "run mastiff on the host",
            ));
            return unseen;
        }
        Place::Virtual => unseen.push(Unseen::new(
            "the hardware itself: its disks, memory, heat and fans",
            "this is a virtual machine: its host has them",
            "run mastiff on the host, or ask who runs it",
        )),
        Place::Hardware => {
            unseen.extend(memory_errors(root, inventory));
            if inventory.chips.iter().all(|chip| chip.fans == 0 && chip.temperatures == 0) {
                unseen.push(Unseen::new(
                    "temperatures and fans",
                    "no driver of a chip that measures them is loaded",
                    "`sensors-detect` (lm-sensors) finds it",
                ));
            }
        }
    }
    unseen.extend(bmc(root, inventory, tables));
    unseen.extend(hidden_disks(root));
    unseen.extend(foreign_disks(inventory));
    if tables.access == Access::Denied {
        unseen.push(Unseen::new(
            "serial numbers, memory modules, whether there is a BMC",
            "the firmware's tables are for root only",
            "run this as root",
        ));
    }
    unseen
}

/// Errors of memory without ECC go unnoticed, and without a driver nobody counts them.
fn memory_errors(root: &Root, inventory: &Inventory) -> Option<Unseen> {
    let memory = &inventory.memory;
    if memory.is_counted {
        return None;
    }
    if memory.correction.as_deref() == Some("none") {
        return Some(Unseen::new(
            "memory errors",
            "the memory has no ECC, so nothing notices them",
            "nothing, short of a machine with ECC",
        ));
    }
    let model = inventory.processors.model.as_deref().unwrap_or_default();
    let driver = if model.contains("AMD") {
        "`modprobe amd64_edac`"
    } else if model.contains("Intel") {
        "by the processor's age `modprobe i10nm_edac`, skx_edac, sb_edac or ie31200_edac"
    } else {
        "load the EDAC driver of the memory controller"
    };
    let why = if root.path("/sys/devices/system/edac").exists() {
        "no EDAC driver of the memory controller is loaded"
    } else {
        "the kernel has no EDAC"
    };
    Some(Unseen::new(
        "memory errors",
        why,
        format!("{driver}; where the firmware keeps them for itself, its own log has them"),
    ))
}

fn bmc(root: &Root, inventory: &Inventory, tables: &Tables) -> Option<Unseen> {
    if inventory.bmc.is_some() {
        return None;
    }
    let interface = match tables.bmc {
        Some(interface) => interface,
        // The driver found one, whatever the tables say.
        None if !once::names(&root.path("/sys/class/ipmi")).is_empty() => "",
        None => return None,
    };
    let driver = if interface == "SSIF" { "ipmi_ssif" } else { "ipmi_si" };
    Some(Unseen::new(
        "what the BMC measures, and its event log",
        "there is a BMC, and no /dev/ipmi0 to ask it",
        format!("`modprobe -a {driver} ipmi_devintf`, and the same in /etc/modules-load.d"),
    ))
}

/// Whether this driver's controllers make volumes of disks.
pub(super) fn hides_disks(driver: &str) -> bool {
    CONTROLLERS.iter().any(|known| known.0 == driver)
}

/// By the drivers of SCSI hosts.
fn hidden_disks(root: &Root) -> Vec<Unseen> {
    let hosts = root.path("/sys/class/scsi_host");
    let mut found: Vec<Unseen> = Vec::new();
    for host in once::numbered(&hosts, "host", HOSTS_MAX) {
        let Some(driver) = once::shown(&host.join("proc_name")) else { continue };
        let Some((_, kind)) = CONTROLLERS.iter().find(|known| known.0 == driver) else { continue };
        let what = format!("disks behind the RAID controller ({driver})");
        if found.iter().all(|unseen| unseen.what != what) {
            found.push(Unseen::new(
                what,
                "it shows the volumes that it makes of them, and hides the disks",
                format!(
                    "[[check]] with sensor = \"smartctl\", target = \"/dev/sdX\" and \
                     options = {{ type = \"{kind}\" }} for each; `smartctl --scan` \
                     (smartmontools) lists them"
                ),
            ));
        }
    }
    found
}

/// Disks of a host or another machine, on a machine that is real.
fn foreign_disks(inventory: &Inventory) -> Option<Unseen> {
    let is_foreign = |transport: &str| transport == "iSCSI" || transport.contains(" over ");
    let foreign = inventory.disks.iter().filter(|disk| disk.transport.is_some_and(is_foreign));
    let names: Vec<&str> = foreign.map(|disk| &*disk.name).collect();
    (!names.is_empty()).then(|| {
        Unseen::new(
            format!("health of {}", names.join(", ")),
            "reached over a network: the machine that has them knows",
            "run mastiff there",
        )
    })
}
