//! Pools of ZFS: the state, as `zpool status` shows it.
//!
//! The file is made to be read while a pool hangs: it takes no lock and waits for no disk
//! (module/zfs/spa_stats.c, `spa_state_init`).

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::disk;
use crate::host::has_foreign_devices;
use crate::once;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};

/// One imported pool (zpoolconcepts(7), "Device Failure and Recovery").
pub const SENSOR: Sensor = Sensor {
    name: "zfs",
    hardware: true,
    summary: "State of an imported pool of ZFS (0.8 and later), by its name, from /proc/spl/kstat/zfs.",
    target: Target::Name,
    options: &[],
    quantities: QUANTITIES,
    // A pool also goes on purpose, by `zpool export`.
    warn_when: &["state = degraded", "present = false"],
    fail_when: &[
        "state = suspended",
        "state = faulted",
        "state = unavail",
        "state = removed",
        "state = offline",
        "state = split",
    ],
    interval: Span::from_secs(10),
    fail_after: Span::from_secs(30),
    recover_after: Span::from_secs(30),
    discover: Some(discover),
    source: Source::Quick(open),
};

/// module/zfs/spa_misc.c, `spa_state_to_name`, in small letters.
const STATES: &[&str] = &[
    "online",
    "degraded",
    "suspended",
    "faulted",
    "unavail",
    "removed",
    "offline",
    "split",
    "transitioning",
];

const QUANTITIES: &[Quantity] = &[
    Quantity { name: "present", unit: Unit::Flag, meaning: "the pool is imported" },
    Quantity {
        name: "state",
        unit: Unit::Word(STATES),
        meaning: "its state; degraded: it serves, with a device less; suspended: its I/O waits until `zpool clear`",
    },
];

const FOLDER: &str = "/proc/spl/kstat/zfs";

struct Zfs {
    root: Root,
    pool: String,
}

fn open(root: &Root, target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    if target.contains('/') || target.starts_with('.') {
        return Err(SensorError::Target {
            target: target.to_owned(),
            reason: "write the name of a pool, as `zpool list` shows it".into(),
        });
    }
    if !root.path(FOLDER).is_dir() {
        return Err(SensorError::Unsupported(format!("{FOLDER} is not there: no ZFS is loaded")));
    }
    Ok(Box::new(Zfs { root: root.clone(), pool: target.to_owned() }))
}

impl Probe for Zfs {
    fn read(&mut self, _now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let folder = self.root.path(FOLDER).join(&self.pool);
        let path = folder.join("state");
        let is_imported = folder.is_dir();
        out.flag("present", is_imported);
        if !is_imported {
            out.absent("state");
            return Ok(());
        }
        let state = once::line(&path).map(|line| line.to_ascii_lowercase());
        match state.filter(|state| STATES.contains(&state.as_str())) {
            Some(state) => out.word("state", &state),
            None => return Err(SensorError::malformed(path, "the state of a pool")),
        }
        Ok(())
    }
}

fn discover(root: &Root) -> Vec<String> {
    if has_foreign_devices(root) {
        return Vec::new();
    }
    let all = root.path(FOLDER);
    let has_state = |name: &String| all.join(name).join("state").is_file();
    once::names(&all).into_iter().filter(has_state).take(disk::DISCOVERED_MAX).collect()
}
