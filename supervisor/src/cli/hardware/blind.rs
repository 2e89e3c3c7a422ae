//! What the checks do not look at, and what to write to have it watched.

use mastiff_core::view::CheckView;
use mastiff_hwmon::inventory::{Disk, Inventory, Medium, Place, Unseen};
use mastiff_hwmon::root::Root;

use super::sections;

/// Disks of one kind that are named.
const NAMED_MAX: usize = 8;

pub(super) fn all(root: &Root, inventory: &Inventory, checks: &[CheckView]) -> Vec<Unseen> {
    if inventory.machine.place == Place::Container {
        return Vec::new();
    }
    let is_asked = |disk: &Disk| {
        checks.iter().any(|it| it.sensor == "disk-health" && sections::is_of_disk(root, it, disk))
    };
    // Of those of hosts, of other machines and of RAID controllers the inventory says it.
    let is_own = |disk: &&Disk| !matches!(disk.medium, Medium::Virtual | Medium::Volume);
    let quiet = inventory.disks.iter().filter(is_own).filter(|disk| !is_asked(disk));
    let (ata, other): (Vec<&Disk>, Vec<&Disk>) = quiet.partition(|disk| disk.speaks_ata);
    let (nvme, other): (Vec<&Disk>, Vec<&Disk>) =
        other.into_iter().partition(|disk| disk.controller.is_some());
    let (sas, other): (Vec<&Disk>, Vec<&Disk>) =
        other.into_iter().partition(|disk| disk.transport == Some("SAS"));
    let mut unseen = Vec::new();
    if let Some(first) = ata.first() {
        unseen.push(Unseen::new(
            format!("health (SMART) of {}", names(&ata)),
            "an ATA disk is asked only if a check names it: one that sleeps, or is behind an \
             adapter that answers for it, would stay unknown",
            check_for(first),
        ));
    }
    if let Some(first) = sas.first() {
        unseen.push(Unseen::new(
            format!("health of {}", names(&sas)),
            "a SAS disk is asked only if a check names it: one that sleeps would stay unknown",
            check_for(first),
        ));
    }
    if let Some(first) = nvme.first() {
        let what = format!("health of {}", names(&nvme));
        unseen.push(Unseen::new(what, "no check looks at it", check_for(first)));
    }
    if !other.is_empty() {
        unseen.push(Unseen::new(
            format!("health of {}", names(&other)),
            "not known to be an NVMe, ATA or SAS disk, which `disk-health` could ask",
            "`smartctl --scan` (smartmontools) says whether and how it can be reached, and a check \
             with sensor = \"smartctl\" does that",
        ));
    }
    if inventory.watchdogs.is_empty() && inventory.machine.place == Place::Hardware {
        unseen.push(Unseen::new(
            "a machine that hangs",
            "there is no watchdog device that would reset it",
            "`mastiff doctor` says which driver to try",
        ));
    }
    unseen
}

/// What to write into the configuration.
fn check_for(disk: &Disk) -> String {
    let target = disk.by_id.as_deref().unwrap_or(&disk.name);
    format!("[[check]] with sensor = \"disk-health\" and target = \"{target}\"")
}

fn names(disks: &[&Disk]) -> String {
    let names: Vec<&str> = disks.iter().take(NAMED_MAX).map(|disk| &*disk.name).collect();
    match disks.len().saturating_sub(NAMED_MAX) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
