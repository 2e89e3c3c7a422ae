//! Software RAID (md): members lost, what is being rebuilt, and what a check found.
//!
//! The files are the kernel's own state and wait for no disk: since Linux 4.0 they are read without
//! the lock of the array (drivers/md/md.c, `md_attr_show`).

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

/// One md array (Documentation/admin-guide/md.rst).
pub const SENSOR: Sensor = Sensor {
    name: "raid",
    hardware: true,
    summary: "Members, state and progress of a software RAID (md), from /sys/block/NAME/md.",
    target: Target::Device,
    options: &[],
    quantities: QUANTITIES,
    warn_when: &["degraded > 0", "faulty > 0", "inconsistent", "read-errors > 0 in 1h"],
    fail_when: &["lost", "present = false"],
    interval: Span::from_secs(10),
    // At boot an array waits up to 30 s for its last members (mdadm-last-resort@.timer).
    fail_after: Span::from_secs(90),
    recover_after: Span::from_secs(30),
    discover: Some(discover),
    source: Source::Quick(open),
};

/// Documentation/admin-guide/md.rst, `array_state`.
const STATES: &[&str] = &[
    "clear",
    "inactive",
    "suspended",
    "readonly",
    "read-auto",
    "clean",
    "active",
    "write-pending",
    "active-idle",
    "broken",
];

/// Documentation/admin-guide/md.rst, `sync_action`.
pub(super) const ACTIONS: &[&str] =
    &["idle", "resync", "recover", "check", "repair", "reshape", "frozen"];

const QUANTITIES: &[Quantity] = &[
    Quantity { name: "present", unit: Unit::Flag, meaning: "the array exists" },
    Quantity { name: "state", unit: Unit::Word(STATES), meaning: "its state, as the kernel says" },
    Quantity {
        name: "lost",
        unit: Unit::Flag,
        meaning: "it cannot serve: it does not run, or more members are gone than its level can bear",
    },
    Quantity { name: "members", unit: Unit::Count, meaning: "members that it has when complete" },
    Quantity {
        name: "degraded",
        unit: Unit::Count,
        meaning: "members that it lacks, also while they are rebuilt; absent for levels that can lack none",
    },
    Quantity {
        name: "faulty",
        unit: Unit::Count,
        meaning: "members that have failed and are still in it",
    },
    Quantity { name: "spares", unit: Unit::Count, meaning: "members that wait to take a place" },
    Quantity {
        name: "read-errors",
        unit: Unit::Total,
        meaning: "reads of members that failed and were made good from the others, about",
    },
    Quantity {
        name: "action",
        unit: Unit::Word(ACTIONS),
        meaning: "what it does beside its service; absent for levels without redundancy",
    },
    Quantity {
        name: "progress",
        unit: Unit::Ratio,
        meaning: "how far that is; absent while it does nothing",
    },
    Quantity {
        name: "remaining",
        unit: Unit::Seconds,
        meaning: "how long that will take at its present speed; absent while it does nothing",
    },
    Quantity {
        name: "speed",
        unit: Unit::BytesPerSecond,
        meaning: "how fast that goes; absent while it does nothing",
    },
    Quantity {
        name: "mismatches",
        unit: Unit::Count,
        meaning: "sectors that differed when it was last checked, resynced or repaired; absent for levels without redundancy",
    },
    Quantity {
        name: "inconsistent",
        unit: Unit::Flag,
        meaning: "its last check found sectors whose parity is wrong (levels 4, 5, 6); mirrors may differ where nothing is stored (swap), so they never count",
    },
];

/// Members of one array that are looked at; arrays of more are rare, and a round has its price.
const MEMBERS_MAX: usize = 384;

/// Longest name of a block device (DISK_NAME_LEN, linux/genhd.h).
const NAME_BYTES_MAX: usize = 32;

/// Members that are named in a note at most.
const NAMED_MAX: usize = 8;

/// Bytes of a sector (Documentation/admin-guide/md.rst, `sync_completed`).
const SECTOR_BYTES: u64 = 512;

struct Raid {
    root: Root,
    target: String,
}

fn open(root: &Root, target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    let block = root.path("/sys/block");
    if !block.is_dir() {
        return Err(SensorError::Unsupported(format!("{} is not there", block.display())));
    }
    Ok(Box::new(Raid { root: root.clone(), target: target.to_owned() }))
}

impl Probe for Raid {
    /// Opens each file anew: members come and go, and a round is seldom.
    fn read(&mut self, _now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let seen = disk::resolve(&self.root, &self.target)
            .and_then(|name| look(self.root.path("/sys/block").join(name).join("md"), out));
        match seen {
            Err(error) if disk::is_gone(&error) => {
                out.clear();
                out.flag("present", false);
                for name in ["lost", "degraded", "faulty", "inconsistent", "read-errors"] {
                    out.absent(name);
                }
                Ok(())
            }
            seen => seen,
        }
    }
}

fn look(directory: PathBuf, out: &mut Readings) -> Result<(), SensorError> {
    let path = directory.join("array_state");
    let mut file = Kept::open_short(&path)?;
    let Some(state) = file.line()?.filter(|state| STATES.contains(state)) else {
        return Err(SensorError::malformed(path, "the state of an array"));
    };
    out.flag("present", true);
    out.word("state", state);
    let members = Members::read(&directory);
    out.count("faulty", members.faulty);
    out.count("spares", members.spares);
    if let Some(errors) = members.errors {
        out.count("read-errors", errors);
    }
    let size = number(&directory, "raid_disks");
    if let Some(size) = size {
        out.count("members", size);
    }
    let degraded = number(&directory, "degraded");
    let level = once::shown(&directory.join("level")).unwrap_or_default();
    match degraded {
        Some(degraded) => out.count("degraded", degraded),
        None if !directory.join("degraded").exists() => out.absent("degraded"),
        None => {}
    }
    let runs = !matches!(state, "clear" | "inactive" | "broken");
    if let Some(lost) = if runs { exceeds(&level, size, degraded) } else { Some(true) } {
        out.flag("lost", lost);
    }
    work(&directory, &level, out);
    if !members.named.is_empty() {
        out.note = Some(members.named.into());
    }
    Ok(())
}

/// Whether more members are gone than an array of this level can bear; `None` if that cannot be
/// told.
fn exceeds(level: &str, members: Option<u64>, degraded: Option<u64>) -> Option<bool> {
    match level {
        "raid1" => degraded.zip(members).map(|(degraded, members)| degraded >= members),
        "raid4" | "raid5" => degraded.map(|degraded| degraded > 1),
        "raid6" => degraded.map(|degraded| degraded > 2),
        // In RAID 10 that depends on which members they are, and the others can lack none: the
        // state says "broken".
        "raid10" | "raid0" | "linear" | "multipath" | "faulty" | "container" => Some(false),
        _ => None,
    }
}

/// What it does beside its service, and what that found.
fn work(directory: &Path, level: &str, out: &mut Readings) {
    if !directory.join("sync_action").exists() {
        for name in ["action", "progress", "remaining", "speed", "mismatches", "inconsistent"] {
            out.absent(name);
        }
        return;
    }
    let action = once::shown(&directory.join("sync_action"));
    let action = action.as_deref().filter(|action| ACTIONS.contains(action));
    if let Some(action) = action {
        out.word("action", action);
    }
    match action {
        Some("idle" | "frozen") => {
            for name in ["progress", "remaining", "speed"] {
                out.absent(name);
            }
        }
        Some(_) => progress(directory, out),
        None => {}
    }
    let Some(mismatches) = number(directory, "mismatch_cnt") else { return };
    out.count("mismatches", mismatches);
    if !matches!(level, "raid4" | "raid5" | "raid6") {
        out.absent("inconsistent");
        return;
    }
    // A resync and a repair count what they make good. Since Linux 3.11.
    let last = once::shown(&directory.join("last_sync_action"));
    let found = last.as_deref().is_some_and(|last| last == "check");
    out.flag("inconsistent", mismatches > 0 && found && action != Some("repair"));
}

/// `sync_completed` is "done / total" in sectors, "none", or "delayed" while another array of the
/// same disks goes first; `sync_speed` is in KiB/s, or "none".
fn progress(directory: &Path, out: &mut Readings) {
    let Some(completed) = once::shown(&directory.join("sync_completed")) else { return };
    let Some((done, total)) = completed.split_once(" / ") else { return };
    let (Some(done), Some(total)) = (text::whole(done), text::whole(total)) else { return };
    out.ratio("progress", done.min(total), total);
    let Some(speed) = number(directory, "sync_speed").and_then(|kib| kib.checked_mul(1024)) else {
        return;
    };
    out.count("speed", speed);
    let left = total.saturating_sub(done).saturating_mul(SECTOR_BYTES);
    if let Some(seconds) = left.checked_div(speed) {
        out.span("remaining", Span::from_secs(seconds));
    }
}

/// What the members are.
#[derive(Debug, Default)]
struct Members {
    faulty: u64,
    spares: u64,
    /// `None` if those of a member cannot be read.
    errors: Option<u64>,
    /// Those that have failed or are being rebuilt, for a person.
    named: String,
}

impl Members {
    fn read(directory: &Path) -> Self {
        let mut members = Self { errors: Some(0), ..Self::default() };
        let mut named = 0_usize;
        let entries = once::names(directory).into_iter().take(MEMBERS_MAX);
        for entry in entries {
            let Some(name) = entry.strip_prefix("dev-") else { continue };
            let member = directory.join(&entry);
            let state = once::shown(&member.join("state")).unwrap_or_default();
            let is = |wanted| state.split(',').any(|word| word == wanted);
            let word = if is("faulty") {
                members.faulty = members.faulty.saturating_add(1);
                "has failed"
            } else if !is("spare") {
                ""
            } else if number(&member, "slot").is_some() {
                // It has its place, and is filled from the others.
                "is being rebuilt"
            } else {
                members.spares = members.spares.saturating_add(1);
                ""
            };
            let errors = number(&member, "errors");
            members.errors = members.errors.zip(errors).map(|(sum, more)| sum.saturating_add(more));
            let plain = name.len() < NAME_BYTES_MAX && !name.contains(char::is_control);
            if !word.is_empty() && plain && named < NAMED_MAX {
                named = named.saturating_add(1);
                let comma = if members.named.is_empty() { "" } else { ", " };
                for part in [comma, name, " ", word] {
                    members.named.push_str(part);
                }
            }
        }
        members
    }
}

fn number(directory: &Path, name: &str) -> Option<u64> {
    Kept::open_short(directory.join(name)).ok()?.number().ok()?
}

/// Arrays that run, and those that were found but could not be started; not the containers of
/// external metadata (IMSM, DDF), which never run themselves.
fn discover(root: &Root) -> Vec<String> {
    if has_foreign_devices(root) {
        return Vec::new();
    }
    let block = root.path("/sys/block");
    let watched = |name: &String| {
        let directory = block.join(name).join("md");
        let line = |file| once::shown(&directory.join(file)).unwrap_or_default();
        match line("array_state").as_str() {
            "" | "clear" => false,
            "inactive" => match line("metadata_version").strip_prefix("external:") {
                Some(container) => container.starts_with(['/', '-']),
                None => true,
            },
            _ => true,
        }
    };
    once::names(&block).into_iter().filter(watched).take(disk::DISCOVERED_MAX).collect()
}
