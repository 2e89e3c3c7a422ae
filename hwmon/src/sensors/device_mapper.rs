//! Devices of the kernel's device mapper, by what their targets say: paths of a multipath disk, and
//! RAIDs, thin pools, caches and snapshots of the logical volume manager.
//!
//! The kernel is asked for its own state (`DM_TABLE_STATUS`), without a write of a pool's metadata,
//! and answers for suspended devices, too. A pool whose metadata lies on a dying disk may still
//! hold its lock, so the prober asks.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::sorted::Set;
use mastiff_core::time::{Mono, Span};

use crate::disk;
use crate::host::has_foreign_devices;
use crate::once;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};
use crate::sensors::raid::ACTIONS;
use crate::sys::dm;

mod status;

use status::{Paths, Raid, Said, Store};

/// One mapped device (dmsetup(8), lvm(8), multipath(8)).
pub const SENSOR: Sensor = Sensor {
    name: "device-mapper",
    // Most of what fails it is space or metadata used up; its disks are watched themselves.
    hardware: false,
    summary: "Paths of a multipath disk, and RAIDs, thin pools, caches and snapshots of LVM, by the name that `dmsetup ls` shows. Multipath disks and all of LVM but snapshots are watched by themselves.",
    target: Target::Device,
    options: &[],
    quantities: QUANTITIES,
    // Volumes also go on purpose, by lvremove(8) or `vgchange -an`.
    warn_when: &[
        "present = false",
        "paths-lost > 0",
        "degraded > 0",
        "state = needs-check",
        "state = invalid",
        "used > 85%",
        "metadata-used > 85%",
        "suspended",
    ],
    fail_when: &[
        "lost",
        "state = failed",
        "state = read-only",
        "state = out-of-space",
        "used > 95%",
        "metadata-used > 95%",
    ],
    interval: Span::from_secs(10),
    // Reconfiguring a volume suspends it, and reading the same state again costs little.
    fail_after: Span::from_secs(30),
    recover_after: Span::from_secs(30),
    discover: Some(discover),
    source: Source::MayHang(open),
};

const QUANTITIES: &[Quantity] = &[
    Quantity { name: "present", unit: Unit::Flag, meaning: "the device exists" },
    Quantity {
        name: "lost",
        unit: Unit::Flag,
        meaning: "it cannot serve: no path is left (multipath), or more members are gone than its level can bear (raid); absent for others",
    },
    Quantity {
        name: "state",
        unit: Unit::Word(status::STATES),
        meaning: "whether it works (thin-pool, cache, snapshot, vdo); out-of-space: writes wait or fail; needs-check: its metadata have to be repaired; invalid: a snapshot that has overflowed; absent for others",
    },
    Quantity {
        name: "suspended",
        unit: Unit::Flag,
        meaning: "no I/O passes until somebody resumes it (`dmsetup resume`)",
    },
    Quantity {
        name: "paths",
        unit: Unit::Count,
        meaning: "paths that work (multipath); absent for others",
    },
    Quantity {
        name: "paths-failed",
        unit: Unit::Count,
        meaning: "paths that have failed and are still in it (multipath); absent for others",
    },
    Quantity {
        name: "paths-lost",
        unit: Unit::Count,
        meaning: "how many fewer paths work than it has had since the check began (multipath); absent for others",
    },
    Quantity {
        name: "members",
        unit: Unit::Count,
        meaning: "members that it has when complete (raid); absent for others",
    },
    Quantity {
        name: "degraded",
        unit: Unit::Count,
        meaning: "members that it lacks, also while they are rebuilt (raid); absent for others",
    },
    Quantity {
        name: "action",
        unit: Unit::Word(ACTIONS),
        meaning: "what it does beside its service (raid); absent for others",
    },
    Quantity {
        name: "progress",
        unit: Unit::Ratio,
        meaning: "how far that is (raid); absent for others",
    },
    Quantity {
        name: "used",
        unit: Unit::Ratio,
        meaning: "share of its space that is given out (thin-pool, snapshot, vdo); absent for others",
    },
    Quantity {
        name: "metadata-used",
        unit: Unit::Ratio,
        meaning: "share of its space for metadata that is in use (thin-pool); absent for others",
    },
];

const CONTROL: &str = "/dev/mapper/control";

/// What the logical volume manager calls the device that has the target of a thin pool, of a VDO
/// pool, and of a volume that has a snapshot: people know it without.
const LAYERS: [&str; 3] = ["-tpool", "-vpool", "-real"];

/// Failed paths or members that are named in a note at most.
const NAMED_MAX: usize = 8;

/// Longest name of a block device (DISK_NAME_LEN, linux/genhd.h).
const NAME_BYTES_MAX: usize = 32;

struct DeviceMapper {
    root: Root,
    target: String,
    control: Option<File>,
    /// The most paths that have worked at once.
    paths_max: u64,
}

fn open(root: &Root, target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    let (root, target) = (root.clone(), target.to_owned());
    Ok(Box::new(DeviceMapper { root, target, control: None, paths_max: 0 }))
}

impl Probe for DeviceMapper {
    fn read(&mut self, _now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        match self.name().and_then(|name| self.ask(&name)) {
            Err(error) if disk::is_gone(&error) => {
                out.flag("present", false);
                rest_is_absent(&[], out);
                Ok(())
            }
            Err(error) => Err(error),
            Ok(answer) => self.fill(&answer, out),
        }
    }

    /// How many paths there have been is known to nobody else.
    fn is_worth_keeping(&self) -> bool {
        self.paths_max > 0
    }
}

impl DeviceMapper {
    /// The name of the device, which the target is, or leads to.
    fn name(&self) -> Result<String, SensorError> {
        if let Some(name) = self.target.strip_prefix("/dev/mapper/") {
            return Ok(name.to_owned());
        }
        let block = self.root.path("/sys/block");
        let kernel = disk::resolve(&self.root, &self.target)?;
        Ok(once::line(&block.join(&kernel).join("dm/name")).unwrap_or(kernel))
    }

    fn ask(&mut self, name: &str) -> Result<dm::Answer, SensorError> {
        if !self.root.is_machine() {
            let why = "a recorded tree has no mapped devices to ask";
            return Err(SensorError::Unsupported(why.into()));
        }
        let path = self.root.path(CONTROL);
        let control = match &mut self.control {
            Some(control) => control,
            none => none
                .insert(File::open(&path).map_err(|error| SensorError::io("open", &path, error))?),
        };
        let control = control.as_fd();
        let own = dm::status(control, name);
        for layer in LAYERS {
            match dm::status(control, &[name, layer].concat()) {
                Err(error) if is_unknown(&error) => {}
                Err(error) => return Err(failed(name, error)),
                Ok(mut answer) => {
                    // Either may be suspended.
                    answer.is_suspended |= own.is_ok_and(|own| own.is_suspended);
                    return Ok(answer);
                }
            }
        }
        own.map_err(|error| failed(name, error))
    }

    fn fill(&mut self, answer: &dm::Answer, out: &mut Readings) -> Result<(), SensorError> {
        let targets = status::targets(answer.targets, &answer.specs);
        let mut told = None;
        for target in &targets {
            let said = status::understand(target).ok_or_else(|| {
                let path = format!("the status of {}", self.target);
                SensorError::malformed(path, "what its target says of itself")
            })?;
            // One that has something to say is alone in its device, unless a part is missing.
            if told.is_none() || said != Said::Nothing {
                told = Some((target.kind, said));
            }
        }
        out.flag("present", true);
        out.flag("suspended", answer.is_suspended);
        let Some((kind, said)) = told else {
            out.note = Some("it has no table of targets".into());
            rest_is_absent(&[], out);
            return Ok(());
        };
        let mut note = once::clean(kind.as_bytes()).unwrap_or_default();
        let mut untold = &[][..];
        match said {
            Said::Paths(paths) => self.paths(&paths, out, &mut note),
            Said::Raid(raid) => {
                members(&raid, out, &mut note);
                untold = &["lost", "action"];
            }
            Said::Store(store) => space(&store, out),
            Said::Nothing => {}
        }
        rest_is_absent(untold, out);
        out.note = Some(note.into());
        Ok(())
    }

    fn paths(&mut self, paths: &Paths<'_>, out: &mut Readings, note: &mut String) {
        let failed = u64::try_from(paths.failed.len()).unwrap_or(u64::MAX);
        let working = paths.all.saturating_sub(failed);
        self.paths_max = self.paths_max.max(paths.all);
        out.count("paths", working);
        out.count("paths-failed", failed);
        out.count("paths-lost", self.paths_max.saturating_sub(working));
        out.flag("lost", working == 0);
        let names = paths.failed.iter().map(|number| self.device(number));
        add_names(names, note);
    }

    /// The name of a block device that is given as `major:minor`; the number where it is gone.
    fn device(&self, number: &str) -> String {
        let link = fs::read_link(self.root.path("/sys/dev/block").join(number));
        let name = link.ok().and_then(|link| Some(link.file_name()?.to_str()?.to_owned()));
        name.unwrap_or_else(|| number.to_owned())
    }
}

fn members(raid: &Raid<'_>, out: &mut Readings, note: &mut String) {
    out.count("members", raid.members);
    out.count("degraded", raid.degraded);
    if let Some(action) = raid.action {
        out.word("action", action);
    }
    let (done, all) = raid.progress;
    out.ratio("progress", done, all);
    if let Some(lost) = raid.is_lost {
        out.flag("lost", lost);
    }
    *note = once::clean(raid.level.as_bytes()).unwrap_or_default();
    add_names(raid.dead.iter().map(|number| format!("rimage_{number}")), note);
    if raid.level.starts_with("raid10") && raid.dead.len() > 1 && raid.is_lost == Some(false) {
        note.push_str("; whether in different mirrors is not told");
    }
}

fn space(store: &Store, out: &mut Readings) {
    out.word("state", store.state);
    for (name, share) in [("used", store.used), ("metadata-used", store.metadata)] {
        if let Some((part, whole)) = share {
            out.ratio(name, part, whole);
        }
    }
}

/// Says that the target has nothing of what has not been told, but for what it should have told.
fn rest_is_absent(but: &[&str], out: &mut Readings) {
    for quantity in QUANTITIES {
        if out.get(quantity.name).is_none() && !but.contains(&quantity.name) {
            out.absent(quantity.name);
        }
    }
}

/// Adds ": sdg, sdh failed", if there are any.
fn add_names(names: impl Iterator<Item = String>, note: &mut String) {
    let before = note.len();
    let plain = |name: &String| name.len() < NAME_BYTES_MAX && !name.contains(char::is_control);
    for name in names.filter(plain).take(NAMED_MAX) {
        note.push_str(if note.len() == before { ": " } else { ", " });
        note.push_str(&name);
    }
    if note.len() > before {
        note.push_str(" failed");
    }
}

fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENAMETOOLONG))
}

fn failed(name: &str, error: io::Error) -> SensorError {
    SensorError::io("read the status of mapped device", Path::new(name), error)
}

/// Multipath disks, and what LVM makes of RAIDs, pools and caches; not its snapshots, which come
/// and go. By the names in /sys alone: asking could hang.
fn discover(root: &Root) -> Vec<String> {
    if has_foreign_devices(root) || !root.path(CONTROL).exists() {
        return Vec::new();
    }
    let block = root.path("/sys/block");
    let named = |kernel: &String| {
        let directory = block.join(kernel);
        let name = once::line(&directory.join("dm/name")).filter(|name| !name.contains('/'))?;
        let uuid = once::line(&directory.join("dm/uuid"))?;
        let is_pool = uuid.ends_with("-tpool") || uuid.ends_with("-vpool");
        let is_watched = uuid.starts_with("mpath-")
            || uuid.starts_with("LVM-") && (is_pool || has_parts(&directory.join("slaves")));
        let known = LAYERS.iter().find_map(|layer| name.strip_suffix(layer));
        let known = known.unwrap_or(&name).to_owned();
        (is_watched && !known.is_empty()).then_some(known)
    };
    let names: Set<String> = once::names(&block).iter().filter_map(named).collect();
    names.into_iter().take(disk::DISCOVERED_MAX).collect()
}

/// Whether it consists of what LVM calls the images of a RAID, or the origin of a cache.
fn has_parts(directory: &Path) -> bool {
    once::names(directory).iter().any(|part| {
        let name = once::line(&directory.join(part).join("dm/name")).unwrap_or_default();
        let image = name
            .rsplit_once("_rimage_")
            .is_some_and(|(_, number)| number.bytes().all(|digit| digit.is_ascii_digit()));
        image || name.ends_with("_corig") || name.ends_with("_wcorig")
    })
}

#[cfg(test)]
mod tests;
