//! A systemd unit: what PID 1 says about it, and the counters of its control group.
//!
//! The brain asks for many units with one `systemctl show` and reads the counters itself; this file
//! declares the quantities and understands the answer. [`UnitCgroup`](cgroup::UnitCgroup) reads the
//! counters.

use std::path::PathBuf;

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::Span;

use crate::root::Root;
use crate::sensor::{Sensor, Source, Target};
use crate::text;

pub mod cgroup;

/// Properties to ask for: `systemctl show -p A,B,... UNIT...` (org.freedesktop.systemd1(5)).
pub const SHOW_PROPERTIES: &[&str] = &[
    "Id",
    "Names",
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "NRestarts",
    "MainPID",
    "ControlGroup",
];

/// What is asked for beyond [`SHOW_PROPERTIES`] of units that are moved to another machine: the
/// inverse of `PartOf=` and `BindsTo=`, and the type of a service (systemd.unit(5), "Mapping of
/// unit properties to their inverses"; systemd.service(5)).
pub const MEMBER_PROPERTIES: &[&str] = &["Type", "ConsistsOf", "BoundBy"];

/// Units in one answer at most; further ones are dropped.
pub const UNITS_MAX: usize = 4096;

/// Bytes of one value at most; a longer one is no state, name or path of systemd's (`PATH_MAX` is
/// 4096).
pub const VALUE_BYTES_MAX: usize = 4096;

/// Bytes of a state or result at most; the longest that systemd has is 23.
pub const WORD_BYTES_MAX: usize = 64;

/// A systemd unit (systemctl(1), control-group-v2.rst).
pub const SENSOR: Sensor = Sensor {
    name: "unit",
    hardware: false,
    summary: "State of a systemd unit, and what its control group counts.",
    target: Target::Unit,
    options: &[],
    quantities: QUANTITIES,
    warn_when: &["restarts > 3 in 10m"],
    // Not `state != active`: starting, reloading and stopping are ways between states, and systemd
    // bounds their time. A oneshot service rests inactive; a check of one needs conditions of its
    // own.
    fail_when: &["state = failed", "state = inactive", "loaded != loaded"],
    interval: Span::from_secs(10),
    fail_after: Span::ZERO,
    recover_after: Span::from_secs(10),
    discover: None,
    source: Source::Unit,
};

pub(crate) const QUANTITIES: &[Quantity] = &[
    Quantity {
        name: "state",
        unit: Unit::Word(&[
            "active",
            "inactive",
            "failed",
            "activating",
            "deactivating",
            "reloading",
            "maintenance",
            "refreshing",
        ]),
        meaning: "what systemd calls the active state",
    },
    Quantity {
        name: "sub",
        unit: Unit::Word(&[]),
        meaning: "the finer state, by kind of unit: running, exited, dead, auto-restart, listening and more",
    },
    Quantity {
        name: "result",
        unit: Unit::Word(&[]),
        meaning: "how its last run ended: success, exit-code, signal, core-dump, oom-kill, timeout, watchdog, \
                  start-limit-hit ...; absent for units that have no result",
    },
    Quantity {
        name: "loaded",
        unit: Unit::Word(&[
            "loaded",
            "not-found",
            "bad-setting",
            "error",
            "masked",
            "merged",
            "stub",
        ]),
        meaning: "whether its file could be used",
    },
    Quantity {
        name: "restarts",
        unit: Unit::Total,
        meaning: "restarts by systemd itself (NRestarts); absent for other units than services",
    },
    Quantity {
        name: "main-pid",
        unit: Unit::Count,
        meaning: "process number of the main process; absent where there is none",
    },
    Quantity {
        name: "populated",
        unit: Unit::Flag,
        meaning: "at least one process is alive in it",
    },
    Quantity {
        name: "memory",
        unit: Unit::Bytes,
        meaning: "memory in use with its page cache; absent while stopped, as all below",
    },
    Quantity {
        name: "memory-limit-used",
        unit: Unit::Ratio,
        meaning: "share of its own MemoryMax; absent without one (a slice above may have one)",
    },
    Quantity {
        name: "oom-kills",
        unit: Unit::Total,
        meaning: "processes killed for lack of memory since it started; after the last one `result` tells",
    },
    Quantity { name: "tasks", unit: Unit::Count, meaning: "processes and threads" },
    Quantity {
        name: "tasks-used",
        unit: Unit::Ratio,
        meaning: "share of its own TasksMax; absent without one",
    },
    Quantity {
        name: "cpu",
        unit: Unit::Ratio,
        meaning: "time on processors since the last reading; 100% is one processor",
    },
    Quantity {
        name: "throttled",
        unit: Unit::Ratio,
        meaning: "share of scheduling periods since the last reading in which its CPUQuota stopped it",
    },
    Quantity {
        name: "memory-pressure",
        unit: Unit::Ratio,
        meaning: "share of the last 10 s in which some task waited for memory",
    },
    Quantity {
        name: "io-pressure",
        unit: Unit::Ratio,
        meaning: "share of the last 10 s in which some task waited for a disk",
    },
];

/// A property that only some kinds of units have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Property<T> {
    /// The answer does not contain it: units of this kind have none.
    #[default]
    Lacking,
    /// The answer contains it in no form that systemd writes.
    Garbled,
    /// Its value.
    Is(T),
}

/// What systemd says of one unit. Empty texts are what it did not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitState {
    /// Its main name.
    pub id: String,
    /// All its names, with those that are only aliases.
    pub names: Vec<String>,
    /// `LoadState`.
    pub loaded: String,
    /// `ActiveState`.
    pub state: String,
    /// `SubState`.
    pub sub: String,
    /// `Result`.
    pub result: Property<String>,
    /// `NRestarts`.
    pub restarts: Property<u64>,
    /// `MainPID`; zero while there is none.
    pub main_pid: Property<u32>,
    /// `Type` of a service, where it was asked for.
    pub kind: String,
    /// `ConsistsOf` and `BoundBy`, where they were asked for: units that stop when this one does,
    /// and may start with it.
    pub members: Vec<String>,
    /// `ControlGroup`, for [`UnitCgroup::open`](cgroup::UnitCgroup::open); empty while it has none.
    pub control_group: String,
}

/// Reads the output of one `systemctl show -p ... UNIT...`: a block of `Key=Value` lines for each
/// unit, in the order in which they were asked for, with empty lines between. Keys that were not
/// asked for are ignored, values that are too long or no text of the right form are left out, so
/// they are missing in the reading.
pub fn parse_show(text: &str) -> Vec<UnitState> {
    let mut units = Vec::new();
    let mut block: Option<UnitState> = None;
    for line in text.lines() {
        if line.is_empty() {
            units.extend(block.take());
            if units.len() >= UNITS_MAX {
                return units;
            }
            continue;
        }
        if let Some((key, value)) = line.split_once('=')
            && value.len() <= VALUE_BYTES_MAX
        {
            block.get_or_insert_default().learn(key, value);
        }
    }
    units.extend(block);
    units
}

impl UnitState {
    fn learn(&mut self, key: &str, value: &str) {
        match key {
            "Id" => self.id = value.to_owned(),
            "Names" => self.names = value.split(' ').map(str::to_owned).collect(),
            "LoadState" => self.loaded = word(value),
            "ActiveState" => self.state = word(value),
            "SubState" => self.sub = word(value),
            "Result" => self.result = property(Some(word(value)).filter(|word| !word.is_empty())),
            "NRestarts" => self.restarts = property(text::whole(value)),
            "MainPID" => {
                self.main_pid =
                    property(text::whole(value).and_then(|pid| u32::try_from(pid).ok()));
            }
            "Type" => self.kind = word(value),
            "ConsistsOf" | "BoundBy" => {
                let members = value.split(' ').filter(|name| !name.is_empty());
                self.members.extend(members.map(str::to_owned));
            }
            "ControlGroup" => self.control_group = value.to_owned(),
            _ => {}
        }
    }

    /// Whether this is the unit that somebody calls `name`.
    pub fn answers_to(&self, name: &str) -> bool {
        self.id == name || self.names.iter().any(|other| other == name)
    }

    /// Sets what PID 1 knows; the counters are the control group's.
    pub fn fill(&self, out: &mut Readings) {
        for (name, value) in [("state", &self.state), ("sub", &self.sub), ("loaded", &self.loaded)]
        {
            if !value.is_empty() {
                out.word(name, value);
            }
        }
        match &self.result {
            Property::Is(result) => out.word("result", result),
            Property::Lacking => out.absent("result"),
            Property::Garbled => {}
        }
        match self.restarts {
            Property::Is(restarts) => out.count("restarts", restarts),
            Property::Lacking => out.absent("restarts"),
            Property::Garbled => {}
        }
        match self.main_pid {
            Property::Is(0) | Property::Lacking => out.absent("main-pid"),
            Property::Is(pid) => out.count("main-pid", u64::from(pid)),
            Property::Garbled => {}
        }
        out.note = self.note().map(Into::into);
    }

    /// Why it is not well, if it is not.
    fn note(&self) -> Option<String> {
        if !self.loaded.is_empty() && self.loaded != "loaded" {
            return Some(format!("unit file: {}", self.loaded));
        }
        match &self.result {
            Property::Is(result) if result != "success" => {
                Some(format!("{} ({}), result {result}", self.state, self.sub))
            }
            Property::Is(_) | Property::Lacking | Property::Garbled => None,
        }
    }
}

fn property<T>(value: Option<T>) -> Property<T> {
    value.map_or(Property::Garbled, Property::Is)
}

/// States and results are short words of letters and dashes; anything else is not known.
fn word(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let good = value.len() <= WORD_BYTES_MAX && value.chars().all(plain);
    if good { value.to_owned() } else { String::new() }
}

/// The file of a unit's control group to watch with inotify: it is modified when the last process
/// of the unit ends, and when one starts again (control-group-v2.rst, "(Un)populated
/// Notification"). `None` while the unit has no control group.
pub fn events_path(root: &Root, control_group: &str) -> Option<PathBuf> {
    if control_group.is_empty() {
        return None;
    }
    let tree = crate::cgroup::unified(root)?;
    Some(crate::cgroup::below(&tree, control_group)?.join("cgroup.events"))
}

#[cfg(test)]
mod tests;
