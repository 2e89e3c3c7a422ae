//! What disks say of their own health: the log of NVMe controllers, SMART of ATA disks, log pages
//! of SAS disks.
//!
//! Asking a disk can hang, so the prober does it, seldom: a SMART command makes an ATA disk finish
//! all that it has in hand first. A disk in standby is not woken: CHECK POWER MODE comes first (for
//! SAS, TEST UNIT READY and REQUEST SENSE), and what it said before it fell asleep stands. (One in
//! the deeper SLEEP of `hdparm -Y` is woken by any command, this one, too.) NVMe controllers are
//! asked through their own node: some log an error for each question to a namespace.
//!
//! Disks behind a RAID controller are hidden; the sensor `smartctl` reaches them.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::disk;
use crate::once;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};
use crate::sys;

mod ata;
mod nvme;
mod scsi;

pub(super) use ata::{HOT_ROTATING, HOT_SOLID, WEAR};
pub(super) use nvme::warned;

/// The health of one disk (NVM Express Base Specification, 5.14.1.2; ATA8-ACS, 7.52; SPC-5, 7.3).
pub const SENSOR: Sensor = Sensor {
    name: "disk-health",
    hardware: true,
    summary: "What a disk says of its health: the SMART log of an NVMe controller, SMART of an ATA disk, the log pages of a SAS disk. Never wakes a disk in standby.",
    target: Target::Device,
    options: &[],
    quantities: QUANTITIES,
    warn_when: &[
        "wear > 90%",
        "hot",
        "unprotected",
        "pending > 0",
        "reallocated > 0 in 1d",
        "uncorrectable > 0 in 1d",
        "media-errors > 0 in 1d",
        "link-errors > 10 in 1d",
    ],
    fail_when: &["failing", "read-only", "spare-low", "media-errors > 10 in 1d"],
    interval: Span::from_secs(1800),
    // A disk does not err in this, and it is asked seldom.
    fail_after: Span::ZERO,
    recover_after: Span::ZERO,
    discover: Some(discover),
    source: Source::MayHang(open),
};

const QUANTITIES: &[Quantity] = &[
    Quantity {
        name: "failing",
        unit: Unit::Flag,
        meaning: "the disk expects to fail; not set for wear alone",
    },
    Quantity {
        name: "read-only",
        unit: Unit::Flag,
        meaning: "it takes no writes any more (NVMe); absent for others",
    },
    Quantity {
        name: "spare-low",
        unit: Unit::Flag,
        meaning: "its spare blocks are below the maker's limit (NVMe); absent for others",
    },
    Quantity {
        name: "spare",
        unit: Unit::Ratio,
        meaning: "share of its spare blocks that is left (NVMe); absent for others",
    },
    Quantity {
        name: "wear",
        unit: Unit::Ratio,
        meaning: "share of its life that is used up, by the maker's estimate; stays at 100% beyond; absent for rotating disks",
    },
    Quantity {
        name: "media-errors",
        unit: Unit::Total,
        meaning: "times that data could not be read or written (NVMe; attribute 187; SAS: uncorrected errors)",
    },
    Quantity {
        name: "reallocated",
        unit: Unit::Total,
        meaning: "sectors replaced by spare ones (attribute 5; SAS: grown defects); absent for NVMe",
    },
    Quantity {
        name: "pending",
        unit: Unit::Count,
        meaning: "sectors that cannot be read now (attribute 197; SAS: found by its background scan, 20 at most); absent for NVMe",
    },
    Quantity {
        name: "uncorrectable",
        unit: Unit::Total,
        meaning: "sectors that the disk's own test could not read (attribute 198); absent for others",
    },
    Quantity {
        name: "link-errors",
        unit: Unit::Total,
        meaning: "damaged transfers, mostly a bad cable or slot (attribute 199); absent for others",
    },
    Quantity {
        name: "unprotected",
        unit: Unit::Flag,
        meaning: "its cache would be lost with the power: the backup for it has failed (NVMe); absent for others",
    },
    Quantity { name: "temperature", unit: Unit::Celsius, meaning: "its temperature" },
    Quantity {
        name: "hot",
        unit: Unit::Flag,
        meaning: "outside the maker's limits (NVMe, SAS), or above 60C (rotating) or 70C (SSD) where those are not told",
    },
    Quantity { name: "power-on", unit: Unit::Seconds, meaning: "how long it has been running" },
    Quantity {
        name: "unsafe-shutdowns",
        unit: Unit::Total,
        meaning: "times the power went without warning (NVMe); absent for others",
    },
    Quantity {
        name: "asleep",
        unit: Unit::Flag,
        meaning: "it sleeps and was not asked: the other values are those from before",
    },
];

/// Disks of virtual machines, which have no health of their own and refuse to be asked.
const VIRTUAL: [&str; 7] = [
    "Amazon EC2",
    "Amazon Elastic Block Store",
    "MSFT",
    "Microsoft",
    "ORCL-VBOX",
    "VMware",
    "nvme_card",
];

/// What kind of disk it is, and its node.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Nvme { controller: String },
    Ata { name: String },
    Scsi { name: String },
}

struct DiskHealth {
    root: Root,
    target: String,
    /// The last reading of a disk that may sleep.
    last: Option<Readings>,
}

fn open(root: &Root, target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    Ok(Box::new(DiskHealth { root: root.clone(), target: target.to_owned(), last: None }))
}

impl Probe for DiskHealth {
    fn read(&mut self, _now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        match kind(&self.root, &self.target)? {
            Kind::Nvme { controller } => {
                let (node, path) = self.node(&controller)?;
                let log = sys::nvme::smart_log(node.as_fd())
                    .map_err(|error| SensorError::io("read the health log of", &path, error))?;
                nvme::fill(&log.0, out);
                out.flag("asleep", false);
                let device = self.root.path("/sys/class/nvme").join(controller);
                out.note = disk::described(&device).map(String::into_boxed_str);
                Ok(())
            }
            Kind::Ata { name } => self.ask(&name, ask_ata, out),
            Kind::Scsi { name } => self.ask(&name, ask_scsi, out),
        }
    }

    /// What a disk said before it fell asleep is known to nobody else.
    fn is_worth_keeping(&self) -> bool {
        self.last.is_some()
    }
}

impl DiskHealth {
    fn node(&self, name: &str) -> Result<(File, PathBuf), SensorError> {
        let path = self.root.path("/dev").join(name);
        if !self.root.is_machine() {
            return Err(SensorError::Unsupported("a recorded tree has no disks to ask".into()));
        }
        // Without waiting for a medium, and without a write that would have udev look at the disk.
        let node = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        Ok((node.map_err(|error| SensorError::io("open", &path, error))?, path))
    }

    /// Asks a disk that may sleep.
    fn ask(&mut self, name: &str, ask: Ask, out: &mut Readings) -> Result<(), SensorError> {
        let block = self.root.path("/sys/block").join(name);
        // One that the kernel has suspended is woken by any command.
        let status = once::shown(&block.join("device/power/runtime_status"));
        let mut note = disk::label(&self.root, name).unwrap_or_default();
        let is_awake = status.is_none_or(|status| status != "suspended") && {
            let (node, _) = self.node(name)?;
            let rotating = once::shown(&block.join("queue/rotational"));
            let disk = Disk { node, name, is_rotating: rotating.is_some_and(|text| text == "1") };
            ask(&disk, out, &mut note)?
        };
        if is_awake {
            out.note = Some(note.into());
            out.flag("asleep", false);
            self.last = Some(out.clone());
        } else {
            self.sleeps(out);
        }
        Ok(())
    }

    fn sleeps(&self, out: &mut Readings) {
        match &self.last {
            Some(last) => out.clone_from(last),
            None => out.note = Some("asleep since before it could be asked".into()),
        }
        out.flag("asleep", true);
    }
}

/// A disk that can be asked.
struct Disk<'a> {
    node: File,
    name: &'a str,
    is_rotating: bool,
}

/// Asks a disk, unless it sleeps: then it says false. The note grows by what makes the disk fail.
type Ask = fn(&Disk<'_>, &mut Readings, &mut String) -> Result<bool, SensorError>;

fn ask_ata(disk: &Disk<'_>, out: &mut Readings, note: &mut String) -> Result<bool, SensorError> {
    match ata::power(disk.node.as_fd())? {
        ata::Power::Awake => {
            ata::fill(&ata::ask(disk.node.as_fd())?, disk.is_rotating, out, note);
            Ok(true)
        }
        ata::Power::Asleep => Ok(false),
        ata::Power::Unknown => Err(SensorError::Unsupported(format!(
            "cannot tell whether {} sleeps, so it is not asked; \
             smartctl may know its adapter (sensor `smartctl`)",
            disk.name
        ))),
    }
}

fn ask_scsi(disk: &Disk<'_>, out: &mut Readings, note: &mut String) -> Result<bool, SensorError> {
    if scsi::rests(disk.node.as_fd())? {
        return Ok(false);
    }
    scsi::fill(&scsi::ask(disk.node.as_fd())?, disk.is_rotating, out, note);
    Ok(true)
}

/// From the directories of /sys alone.
fn kind(root: &Root, target: &str) -> Result<Kind, SensorError> {
    let name = disk::resolve(root, target)?;
    if root.path("/sys/class/nvme").join(&name).is_dir() {
        return Ok(Kind::Nvme { controller: name });
    }
    let block = root.path("/sys/block").join(&name);
    if let Some(controller) = disk::nvme_controller(root, &name) {
        return Ok(Kind::Nvme { controller });
    }
    if once::shown(&block.join("device/vendor")).is_some_and(|vendor| vendor == "ATA") {
        return Ok(Kind::Ata { name });
    }
    // Only devices of the SCSI layer have a type; 0 and 0eh are disks (SPC-5, 6.6.2).
    if once::number(&block.join("device/type")).is_some_and(|kind| [0, 14].contains(&kind)) {
        return Ok(Kind::Scsi { name });
    }
    Err(SensorError::Target {
        target: target.to_owned(),
        reason: "it is no NVMe, ATA or SAS disk that this machine sees; \
                 for disks behind a RAID controller use the sensor `smartctl`"
            .into(),
    })
}

/// NVMe controllers of this machine that can be opened. ATA and SAS disks are asked when they are
/// named: one that sleeps since before, or behind an adapter that answers for it, is unknown until
/// then, and nobody has asked for that.
fn discover(root: &Root) -> Vec<String> {
    let nvme = root.path("/sys/class/nvme");
    let is_real = |device: &Path| {
        let model = once::shown(&device.join("model")).unwrap_or_default();
        !VIRTUAL.iter().any(|known| model.starts_with(known))
    };
    let local = |name: &String| {
        let device = nvme.join(name);
        // Over a network (tcp, rdma, fc) it is somebody else's disk, and without a node in /dev, as
        // in a container, the host's.
        once::shown(&device.join("transport")).is_none_or(|by| by == "pcie")
            && is_real(&device)
            && (!root.is_machine() || root.path("/dev").join(name).exists())
    };
    once::names(&nvme).into_iter().filter(local).take(disk::DISCOVERED_MAX).collect()
}

#[cfg(test)]
mod tests;
