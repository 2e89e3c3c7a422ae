//! Units: what PID 1 says of them, asked as rarely as possible, and the counters of their control
//! groups.
//!
//! `systemctl show` costs milliseconds and hangs with PID 1, so it is run by the runner, for many
//! units at a time, and only when there is a reason: something happened in a unit's control group
//! (inotify), its state is a passing one, or the last answer has grown old. In between, a reading
//! costs nothing but the counters that somebody looks at.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use mastiff_core::event::CheckId;
use mastiff_core::reading::Readings;
use mastiff_core::sorted::{Map, Set};
use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::Wanted;
use mastiff_hwmon::sensors::unit::cgroup::UnitCgroup;
use mastiff_hwmon::sensors::unit::{SENSOR, SHOW_PROPERTIES, UnitState, events_path, parse_show};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use super::wire::{Ended, OUTPUT_BYTES_MAX, Run};
use crate::effects::restart::SYSTEMCTL;

/// Units in one call; some 25 KiB of answer.
const SHOW_UNITS_MAX: usize = 64;
/// An answer of PID 1 usually takes milliseconds.
const SHOW_TIMEOUT: Span = Span::from_secs(10);
/// Calls are at least this far apart, however restless the units are.
const SHOW_GAP: Span = Span::from_millis(100);
/// How long an answer is good for a unit whose control group is watched: its death would be seen at
/// once.
const WATCHED_FRESH: Span = Span::from_secs(300);
/// How long it is good for one that has no control group, such as a timer or a service that is
/// stopped.
const UNWATCHED_FRESH: Span = Span::from_secs(30);
/// Reads of 4 KiB that empty the longest queue of events that the kernel keeps
/// (fs.inotify.max_queued_events, 16384 by default, of some 60 bytes each), and then some.
const EVENT_READS_MAX: usize = 1024;
/// Where most services live; watched for the birth of units that have no control group yet.
const DEFAULT_SLICE: &str = "/system.slice";

/// All units that checks look at.
#[derive(Debug)]
pub struct Units {
    root: Root,
    inotify: Option<Inotify>,
    watches: Map<PathBuf, WatchDescriptor>,
    units: Map<CheckId, Unit>,
    /// The checks whose reading waits for the next answer: mostly none, so a turn need not look for
    /// them.
    waiting: Set<CheckId>,
    /// The checks that the running call is for.
    asked: Option<Vec<CheckId>>,
    last_call: Option<Mono>,
}

#[derive(Debug)]
struct Unit {
    name: String,
    wanted: Wanted,
    /// Somebody looks at what its control group counts.
    counts: bool,
    /// The last answer of PID 1, and when it came.
    state: Option<(UnitState, Mono)>,
    counters: Option<UnitCgroup>,
    /// Something happened since the last call was started.
    changed: bool,
}

/// A reading of a unit, or why there is none.
pub type UnitReading = (CheckId, Result<Readings, Box<str>>);

impl Units {
    /// No units yet. Without inotify they are asked about more often.
    pub fn new(root: Root) -> Self {
        let inotify =
            Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).map_err(|error| {
                log::warn!("inotify failed: {error}; units are asked about every {UNWATCHED_FRESH}")
            });
        Self {
            root,
            inotify: inotify.ok(),
            watches: Map::new(),
            units: Map::new(),
            waiting: Set::new(),
            asked: None,
            last_call: None,
        }
    }

    /// The descriptor that tells of events.
    pub fn events(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Looks after a unit for a check.
    pub fn add(&mut self, check: CheckId, name: &str, wanted: Wanted) {
        let counts = UnitCgroup::is_wanted(wanted);
        if let Some(unit) = self.units.get_mut(&check) {
            unit.wanted = wanted;
            unit.counts = counts;
        } else {
            let name = name.to_string();
            let unit = Unit { name, wanted, counts, state: None, counters: None, changed: false };
            self.units.insert(check, unit);
        }
        if let Some(slice) = mastiff_hwmon::sensors::unit::events_path(&self.root, DEFAULT_SLICE) {
            self.watch_directory(slice.parent());
        }
    }

    /// Forgets the units of all checks that `keep` does not know.
    pub fn retain(&mut self, keep: impl Fn(CheckId) -> bool) {
        self.units.retain(|check, _| keep(*check));
        self.waiting.retain(|check| keep(*check));
    }

    /// Takes a reading: at once where the last answer is good, else with the next answer of PID 1.
    pub fn read(&mut self, check: CheckId, now: Mono) -> Option<UnitReading> {
        let unit = self.units.get_mut(&check)?;
        if unit.needs_answer(now) {
            self.waiting.insert(check);
            return None;
        }
        Some((check, unit.reading(now)))
    }

    /// The call that is due, if one is.
    pub fn call(&mut self, now: Mono) -> Option<Run> {
        let too_soon = self.last_call.is_some_and(|at| now.since(at) < SHOW_GAP);
        if self.asked.is_some() || too_soon {
            return None;
        }
        let waiting: Vec<CheckId> = self.waiting.iter().copied().take(SHOW_UNITS_MAX).collect();
        if waiting.is_empty() {
            return None;
        }
        self.last_call = Some(now);
        let mut arguments: Vec<String> =
            [SYSTEMCTL, "show", "--no-pager", "-p"].map(String::from).into_iter().collect();
        arguments.push(SHOW_PROPERTIES.join(","));
        arguments.push("--".to_string());
        for check in &waiting {
            if let Some(unit) = self.units.get_mut(check) {
                // What happens from now on may not be in the answer.
                unit.changed = false;
                arguments.push(unit.name.clone());
            }
        }
        self.asked = Some(waiting);
        let environment = Vec::new();
        Some(Run {
            arguments,
            environment,
            input: String::new(),
            timeout: SHOW_TIMEOUT,
            output_max: OUTPUT_BYTES_MAX,
        })
    }

    /// When a call is due; none while one is under way.
    pub fn next_deadline(&self) -> Option<Mono> {
        let waits = self.asked.is_none() && !self.waiting.is_empty();
        waits.then(|| self.last_call.map_or(Mono::BOOT, |at| at.after(SHOW_GAP)))
    }

    /// Takes the answer of PID 1, or why there is none.
    pub fn answer(&mut self, result: Result<Ended, String>, now: Mono) -> Vec<UnitReading> {
        let Some(asked) = self.asked.take() else { return Vec::new() };
        let states = match result {
            Ok(ended) if ended.code == Some(0) => Ok(parse_show(&ended.output)),
            Ok(ended) if ended.code.is_none() => {
                Err(format!("{SYSTEMCTL} gave no answer within {SHOW_TIMEOUT}"))
            }
            Ok(ended) => Err(format!(
                "{SYSTEMCTL} failed: {}",
                ended.output.lines().next().unwrap_or("no reason")
            )),
            Err(why) => Err(why),
        };
        let mut readings = Vec::new();
        for (place, check) in asked.into_iter().enumerate() {
            self.waiting.remove(&check);
            let Some(unit) = self.units.get_mut(&check) else { continue };
            let state = match &states {
                Err(why) => Err(why.clone()),
                // Blocks come in the order of the question; a name that disagrees is another unit's
                // block.
                Ok(states) => {
                    match states.get(place).filter(|state| state.answers_to(&unit.name)) {
                        Some(state) => Ok(state.clone()),
                        None => Err(format!("{SYSTEMCTL} said nothing of {}", unit.name)),
                    }
                }
            };
            readings.push(match state {
                Ok(state) => {
                    unit.learn(&self.root, state, now);
                    (check, unit.reading(now))
                }
                Err(why) => {
                    unit.state = None;
                    (check, Err(why.into()))
                }
            });
        }
        self.watch_groups();
        readings
    }

    /// Takes what happened in control groups; returns the checks that should be read now.
    pub fn happened(&mut self) -> Set<CheckId> {
        let mut nudged = Set::new();
        for event in self.take_events() {
            if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                // Nobody knows what was lost, so any unit may have changed.
                self.units.values_mut().for_each(|unit| unit.changed = true);
                nudged.extend(self.units.keys().copied());
                continue;
            }
            let path = self
                .watches
                .iter()
                .find(|(_, watch)| **watch == event.wd)
                .map(|(path, _)| path.clone());
            let Some(path) = path else { continue };
            if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                self.watches.remove(&path);
            }
            if let Some(name) = &event.name {
                self.unwatch(&path.join(name).join("cgroup.events"));
            }
            for (check, unit) in self.units.iter_mut() {
                if unit.is_concerned(&self.root, &path, event.name.as_deref()) {
                    unit.changed = true;
                    nudged.insert(*check);
                }
            }
        }
        nudged
    }

    /// All events that wait. The poll tells of them once, and one read takes the first 4 KiB only:
    /// what is left would go unnoticed until something else happens.
    fn take_events(&self) -> Vec<InotifyEvent> {
        let mut events = Vec::new();
        let Some(inotify) = &self.inotify else { return events };
        for _ in 0..EVENT_READS_MAX {
            match inotify.read_events() {
                Ok(some) => events.extend(some),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(error) => {
                    log::warn!("cannot read inotify events: {error}");
                    break;
                }
            }
        }
        events
    }

    /// Watches the control groups that are there now, and their parents for those that will come.
    fn watch_groups(&mut self) {
        let groups: Vec<PathBuf> = self
            .units
            .values()
            .filter_map(|unit| unit.state.as_ref())
            .filter_map(|(state, _)| events_path(&self.root, &state.control_group))
            .collect();
        for events in groups {
            self.watch_directory(events.parent().and_then(Path::parent));
            if self.watch(&events, AddWatchFlags::IN_MODIFY) {
                // It may have ended between the answer and the watch: ask once more with the next
                // reading.
                for unit in self.units.values_mut() {
                    unit.changed |= unit.is_concerned(&self.root, &events, None);
                }
            }
        }
    }

    /// A group came or went under this path: the kernel does not say that a watch on a file of the
    /// old one is dead, and it would pass for one on the new.
    fn unwatch(&mut self, path: &Path) {
        if let Some(watch) = self.watches.remove(path)
            && let Some(inotify) = &self.inotify
        {
            // Where the kernel has dropped it already, that is as good.
            inotify.rm_watch(watch).ok();
        }
    }

    fn watch_directory(&mut self, directory: Option<&Path>) {
        if let Some(directory) = directory {
            self.watch(directory, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE);
        }
    }

    /// Watches a path; true if it was not watched before.
    fn watch(&mut self, path: &Path, what: AddWatchFlags) -> bool {
        if let Some(inotify) = &self.inotify
            && !self.watches.contains_key(path)
            // A group that vanished meanwhile has told its parent's watch.
            && let Ok(watch) = inotify.add_watch(path, what)
        {
            self.watches.insert(path.to_path_buf(), watch);
            return true;
        }
        false
    }
}

impl Unit {
    fn needs_answer(&self, now: Mono) -> bool {
        let Some((state, at)) = &self.state else { return true };
        let passing = matches!(
            state.state.as_str(),
            "activating" | "deactivating" | "reloading" | "refreshing"
        );
        let good_for = if state.control_group.is_empty() { UNWATCHED_FRESH } else { WATCHED_FRESH };
        self.changed || passing || now.since(*at) >= good_for
    }

    fn learn(&mut self, root: &Root, state: UnitState, now: Mono) {
        let same = self
            .state
            .as_ref()
            .is_some_and(|(old, _)| old.control_group == state.control_group && !self.changed);
        if !same || self.counters.is_none() {
            self.counters = Some(UnitCgroup::open(root, &state.control_group));
        }
        self.state = Some((state, now));
    }

    fn reading(&mut self, now: Mono) -> Result<Readings, Box<str>> {
        let (state, _) = self.state.as_ref().ok_or("PID 1 has not answered yet")?;
        let mut readings = Readings::new(SENSOR.quantities);
        state.fill(&mut readings);
        if let Some(counters) = self.counters.as_mut().filter(|_| self.counts) {
            counters.read(now, self.wanted, &mut readings);
        }
        Ok(readings)
    }

    /// Whether an event in this directory or file is about this unit.
    fn is_concerned(&self, root: &Root, path: &Path, name: Option<&OsStr>) -> bool {
        match name {
            Some(name) => name == OsStr::new(&self.name),
            None => {
                let group = self.state.as_ref().map(|(state, _)| state.control_group.as_str());
                group.and_then(|group| events_path(root, group)).as_deref() == Some(path)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_units_that_change_at_once_none_is_missed() {
        let directory = std::env::temp_dir().join(format!("mastiff-units-{}", std::process::id()));
        let tree = directory.join("sys/fs/cgroup");
        std::fs::create_dir_all(tree.join("system.slice")).unwrap();
        std::fs::write(tree.join("cgroup.controllers"), "memory\n").unwrap();
        let mut units = Units::new(Root::recorded(&directory));
        // More events than one read(2) of 4 KiB takes.
        let names: Vec<String> =
            (0..300).map(|number| format!("worker-{number}.service")).collect();
        for (number, name) in (0..).zip(&names) {
            units.add(CheckId(number), name, Wanted::NONE);
        }
        for name in &names {
            std::fs::create_dir(tree.join("system.slice").join(name)).unwrap();
        }
        assert_eq!(units.happened().len(), names.len());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
