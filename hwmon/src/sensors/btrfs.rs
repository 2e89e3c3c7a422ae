//! btrfs: devices that are missing, errors of each, and whether metadata can still grow.
//!
//! The files are the kernel's own numbers and wait for no disk (fs/btrfs/sysfs.c). Space for data
//! is what `filesystem` tells; metadata have chunks of their own, and a file system without room
//! for them takes no writes, whatever `df` says.

use std::path::{Path, PathBuf};

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::disk;
use crate::host::has_foreign_devices;
use crate::kept::Kept;
use crate::once;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};
use crate::text;

/// One mounted btrfs (Documentation of btrfs-progs: ch-sysfs, btrfs-device "DEVICE STATS").
pub const SENSOR: Sensor = Sensor {
    name: "btrfs",
    // What fails it is metadata used up; its devices are watched themselves.
    hardware: false,
    summary: "Missing devices, errors and room for metadata of a mounted btrfs, from /sys/fs/btrfs. The target is its UUID or its label.",
    target: Target::Name,
    options: &[],
    quantities: QUANTITIES,
    // It also goes on purpose, by umount(8).
    warn_when: &[
        "present = false",
        "missing > 0",
        "write-errors > 0 in 1h",
        "read-errors > 0 in 1h",
        "corruptions > 0 in 1d",
        "metadata-used > 85%",
    ],
    fail_when: &["metadata-used > 95%"],
    interval: Span::from_secs(30),
    fail_after: Span::from_secs(60),
    recover_after: Span::from_secs(60),
    discover: Some(discover),
    source: Source::Quick(open),
};

const QUANTITIES: &[Quantity] = &[
    Quantity { name: "present", unit: Unit::Flag, meaning: "it is mounted" },
    Quantity { name: "devices", unit: Unit::Count, meaning: "devices that it has when complete" },
    Quantity {
        name: "missing",
        unit: Unit::Count,
        meaning: "devices that were not there when it was mounted (`degraded`); one that fails later shows by its errors",
    },
    Quantity {
        name: "write-errors",
        unit: Unit::Total,
        meaning: "writes and flushes that devices have failed; absent before Linux 5.14",
    },
    Quantity {
        name: "read-errors",
        unit: Unit::Total,
        meaning: "reads that devices have failed; absent before Linux 5.14",
    },
    Quantity {
        name: "corruptions",
        unit: Unit::Total,
        meaning: "blocks read that were not what had been written, by their checksum or generation; absent before Linux 5.14",
    },
    Quantity {
        name: "metadata-used",
        unit: Unit::Ratio,
        meaning: "share of the space for metadata that is in use, where all that is not allocated yet counts as such, about; absent where data and metadata are mixed",
    },
];

const FOLDER: &str = "/sys/fs/btrfs";

/// Devices of one file system that are looked at.
const DEVICES_MAX: usize = 256;

/// Devices that are named in a note at most.
const NAMED_MAX: usize = 8;

/// The unit of a block device's `size`.
const SECTOR_BYTES: u64 = 512;

struct Btrfs {
    root: Root,
    target: String,
}

fn open(root: &Root, target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    if target.contains('/') || target.starts_with('.') {
        return Err(SensorError::Target {
            target: target.to_owned(),
            reason: "write the UUID or the label of the file system, see `btrfs filesystem show`"
                .into(),
        });
    }
    if !root.path(FOLDER).is_dir() {
        return Err(SensorError::Unsupported(format!(
            "{FOLDER} is not there: no btrfs is mounted"
        )));
    }
    Ok(Box::new(Btrfs { root: root.clone(), target: target.to_owned() }))
}

impl Probe for Btrfs {
    /// Opens each file anew: devices come and go, and a round is seldom.
    fn read(&mut self, _now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let Some(folder) = self.folder() else {
            out.flag("present", false);
            for quantity in QUANTITIES.iter().filter(|quantity| quantity.name != "present") {
                out.absent(quantity.name);
            }
            return Ok(());
        };
        let devices = Devices::read(&folder.join("devinfo"));
        if devices.count == 0 {
            return Err(SensorError::malformed(folder.join("devinfo"), "its devices"));
        }
        out.flag("present", true);
        out.count("devices", devices.count);
        if let Some(missing) = devices.missing {
            out.count("missing", missing);
        }
        for (name, sum) in ["write-errors", "read-errors", "corruptions"].iter().zip(devices.errors)
        {
            match sum {
                Sum::Known(sum) => out.count(name, sum),
                Sum::Absent => out.absent(name),
                Sum::Unknown => {}
            }
        }
        metadata(&folder, out);
        let label = once::shown(&folder.join("label")).unwrap_or_default();
        let parts = [label, devices.named].into_iter().filter(|part| !part.is_empty());
        let note = parts.collect::<Vec<_>>().join(": ");
        out.note = Some(note.into_boxed_str()).filter(|note| !note.is_empty());
        Ok(())
    }
}

impl Btrfs {
    fn folder(&self) -> Option<PathBuf> {
        let all = self.root.path(FOLDER);
        let named = all.join(&self.target);
        if named.join("devinfo").is_dir() {
            return Some(named);
        }
        let is_labelled = |name: &String| {
            once::line(&all.join(name).join("label")).is_some_and(|label| label == self.target)
        };
        once::names(&all).into_iter().find(is_labelled).map(|name| all.join(name))
    }
}

/// A sum of counters of all devices.
#[derive(Clone, Copy, Debug)]
enum Sum {
    /// No device has such a counter.
    Absent,
    Known(u64),
    /// Some device does not tell its own.
    Unknown,
}

impl Sum {
    fn add(self, more: Option<u64>) -> Self {
        match (self, more) {
            (Self::Absent, Some(more)) => Self::Known(more),
            (Self::Known(sum), Some(more)) => Self::Known(sum.saturating_add(more)),
            (Self::Unknown, _) | (_, None) => Self::Unknown,
        }
    }
}

/// What the devices say.
struct Devices {
    count: u64,
    /// `None` if one does not tell.
    missing: Option<u64>,
    /// Of writes, of reads, of what was read.
    errors: [Sum; 3],
    /// Those that are missing or have had errors, for a person.
    named: String,
}

impl Devices {
    fn read(folder: &Path) -> Self {
        let mut all =
            Self { count: 0, missing: Some(0), errors: [Sum::Absent; 3], named: String::new() };
        let mut named = 0_usize;
        for path in once::numbered(folder, "", DEVICES_MAX) {
            all.count = all.count.saturating_add(1);
            let is_missing = once::number(&path.join("missing"));
            all.missing = all.missing.zip(is_missing).map(|(sum, one)| sum.saturating_add(one));
            let errors = errors(&path.join("error_stats"));
            let word = if is_missing == Some(1) {
                "is missing"
            } else if errors.is_some_and(|errors| errors != [Some(0); 3]) {
                "has had errors"
            } else {
                ""
            };
            // One that is missing may have no counters.
            if let Some(errors) =
                errors.filter(|errors| is_missing != Some(1) || errors[0].is_some())
            {
                for (sum, more) in all.errors.iter_mut().zip(errors) {
                    *sum = sum.add(more);
                }
            }
            if !word.is_empty() && named < NAMED_MAX {
                named = named.saturating_add(1);
                let number = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let comma = if all.named.is_empty() { "" } else { ", " };
                for part in [comma, "device ", number, " ", word] {
                    all.named.push_str(part);
                }
            }
        }
        all
    }
}

/// The counters of one device; `None` before Linux 5.14, which has none. It writes "invalid" where
/// it could not read them.
fn errors(path: &Path) -> Option<[Option<u64>; 3]> {
    if !path.exists() {
        return None;
    }
    let mut file = Kept::open(path).ok();
    let text = file.as_mut().and_then(|file| file.text().ok()).unwrap_or_default();
    let both = |one, other| {
        let (one, other) = (text::keyed(text, one)?, text::keyed(text, other)?);
        Some(one.saturating_add(other))
    };
    Some([
        both("write_errs", "flush_errs"),
        text::keyed(text, "read_errs"),
        both("corruption_errs", "generation_errs"),
    ])
}

/// What is allocated to metadata, and what could be: the rest of the devices, shared by as many
/// copies as metadata have now.
fn metadata(folder: &Path, out: &mut Readings) {
    let kinds = folder.join("allocation");
    let own = kinds.join("metadata");
    if !own.is_dir() {
        out.absent("metadata-used");
        return;
    }
    let number = |name| once::number(&own.join(name));
    let known = number("bytes_used").zip(number("total_bytes")).zip(number("disk_total"));
    let Some(((used, total), on_disk)) = known else { return };
    let allocated = ["data", "metadata", "system"]
        .iter()
        .filter_map(|kind| once::number(&kinds.join(kind).join("disk_total")));
    let allocated = allocated.fold(0, u64::saturating_add);
    let devices = folder.join("devices");
    let sizes = once::names(&devices).into_iter().take(DEVICES_MAX).filter_map(|name| {
        once::number(&devices.join(name).join("size"))?.checked_mul(SECTOR_BYTES)
    });
    let free = sizes.fold(0, u64::saturating_add).saturating_sub(allocated);
    let copies = on_disk.checked_div(total).unwrap_or(1).max(1);
    let room = total.saturating_add(free.checked_div(copies).unwrap_or(0));
    if used <= room {
        out.ratio("metadata-used", used, room);
    }
}

/// Those that are mounted, by their UUIDs.
fn discover(root: &Root) -> Vec<String> {
    if has_foreign_devices(root) {
        return Vec::new();
    }
    let all = root.path(FOLDER);
    let is_mounted = |name: &String| all.join(name).join("devinfo").is_dir();
    once::names(&all).into_iter().filter(is_mounted).take(disk::DISCOVERED_MAX).collect()
}
