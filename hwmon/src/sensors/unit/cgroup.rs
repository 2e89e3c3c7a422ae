//! The counters of a unit's control group (control-group-v2.rst; cgroup-v1/memory.rst on hybrid
//! hosts).
//!
//! The group vanishes when the unit stops and comes back with counters at zero when it starts. That
//! is no error: a stopped unit has no memory, so the values are absent. A controller that is not
//! there leaves values missing.

use std::path::{Path, PathBuf};

use mastiff_core::reading::Readings;
use mastiff_core::time::Mono;

use super::QUANTITIES;
use crate::cgroup;
use crate::kept::Kept;
use crate::root::Root;
use crate::sensor::Wanted;
use crate::text;

/// A v1 limit from here on means "none": the kernel shows `PAGE_COUNTER_MAX` pages, just under 2^63
/// bytes.
const V1_UNLIMITED_BYTES: u64 = 1 << 62;

/// What a control group counts; the other quantities are what PID 1 says.
const COUNTED: [&str; 10] = [
    "populated",
    "memory",
    "memory-limit-used",
    "oom-kills",
    "tasks",
    "tasks-used",
    "cpu",
    "throttled",
    "memory-pressure",
    "io-pressure",
];

/// The counters of one control group, with open files.
#[derive(Debug)]
pub struct UnitCgroup {
    /// `None`: the unit has no group.
    group: Option<PathBuf>,
    events: Counter,
    memory: Counter,
    memory_limit: Counter,
    memory_events: Counter,
    tasks: Counter,
    tasks_limit: Counter,
    cpu: Counter,
    memory_pressure: Counter,
    io_pressure: Counter,
    last_cpu: Option<CpuStat>,
}

/// One file of the group: opened when first wanted, again when the group came back.
#[derive(Debug, Default)]
struct Counter {
    path: PathBuf,
    kept: Option<Kept>,
}

#[derive(Clone, Copy, Debug)]
struct CpuStat {
    at: Mono,
    usage_usec: u64,
    /// Periods, and those of them that were throttled; `None` without the controller.
    periods: Option<(u64, u64)>,
}

impl UnitCgroup {
    /// The group that systemd names in `ControlGroup`; an empty text is a unit without one.
    /// Nothing is opened before it is wanted.
    pub fn open(root: &Root, control_group: &str) -> Self {
        let in_tree = |tree: Option<PathBuf>| {
            tree.filter(|_| !control_group.is_empty())
                .and_then(|tree| cgroup::below(&tree, control_group))
        };
        let v2 = in_tree(cgroup::unified(root));
        let memory_v1 = in_tree(cgroup::controller_v1(root, "memory"));
        let tasks_v1 = in_tree(cgroup::controller_v1(root, "pids"));
        let file = |group: Option<&PathBuf>, name: &str| Counter::new(group, name);
        let memory = |v1_name, v2_name| match memory_v1.as_ref() {
            Some(v1) => file(Some(v1), v1_name),
            None => file(v2.as_ref(), v2_name),
        };
        let tasks = tasks_v1.as_ref().or(v2.as_ref());
        Self {
            events: file(v2.as_ref(), "cgroup.events"),
            memory: memory("memory.usage_in_bytes", "memory.current"),
            memory_limit: memory("memory.limit_in_bytes", "memory.max"),
            memory_events: memory("memory.oom_control", "memory.events"),
            tasks: file(tasks, "pids.current"),
            tasks_limit: file(tasks, "pids.max"),
            cpu: file(v2.as_ref(), "cpu.stat"),
            memory_pressure: file(v2.as_ref(), "memory.pressure"),
            io_pressure: file(v2.as_ref(), "io.pressure"),
            last_cpu: None,
            group: v2.or(memory_v1).or(tasks_v1),
        }
    }

    /// Whether anything that is wanted is counted by the group. Where nothing is, it need not even
    /// be looked for.
    pub fn is_wanted(wanted: Wanted) -> bool {
        COUNTED.iter().any(|name| wanted.has(QUANTITIES, name))
    }

    /// Reads the counters that are wanted.
    pub fn read(&mut self, now: Mono, wanted: Wanted, out: &mut Readings) {
        let wants = |name| wanted.has(QUANTITIES, name);
        if !self.group.as_ref().is_some_and(|group| group.is_dir()) {
            self.gone(out);
            return;
        }
        if wants("populated")
            && let Some(populated) = self.events.keyed("populated")
        {
            out.flag("populated", populated != 0);
        }
        if wants("oom-kills")
            && let Some(kills) = self.memory_events.keyed("oom_kill")
        {
            out.count("oom-kills", kills);
        }
        let shares = [
            ("memory", "memory-limit-used", &mut self.memory, &mut self.memory_limit),
            ("tasks", "tasks-used", &mut self.tasks, &mut self.tasks_limit),
        ];
        for (amount, share, used, limit) in shares {
            if !wants(amount) && !wants(share) {
                continue;
            }
            let Some(used) = used.number() else { continue };
            out.count(amount, used);
            match if wants(share) { limit.limit() } else { Limit::Unknown } {
                Limit::At(limit) => out.ratio(share, used, limit),
                Limit::None => out.absent(share),
                Limit::Unknown => {}
            }
        }
        if wants("cpu") || wants("throttled") {
            self.read_cpu(now, out);
        }
        let pressures = [
            ("memory-pressure", &mut self.memory_pressure),
            ("io-pressure", &mut self.io_pressure),
        ];
        for (name, file) in pressures {
            if wants(name)
                && let Some(share) = file.some_avg10()
            {
                out.number(name, share);
            }
        }
    }

    /// Nothing runs, so there is nothing to count.
    fn gone(&mut self, out: &mut Readings) {
        self.last_cpu = None;
        for counter in [
            &mut self.events,
            &mut self.memory,
            &mut self.memory_limit,
            &mut self.memory_events,
            &mut self.tasks,
            &mut self.tasks_limit,
            &mut self.cpu,
            &mut self.memory_pressure,
            &mut self.io_pressure,
        ] {
            counter.kept = None;
        }
        for name in COUNTED {
            out.absent(name);
        }
        out.flag("populated", false);
    }

    /// Rates need two readings of one life of the group; the first leaves them missing.
    fn read_cpu(&mut self, now: Mono, out: &mut Readings) {
        let Some(new) = self.cpu.cpu_stat(now) else {
            self.last_cpu = None;
            return;
        };
        let Some(old) = self.last_cpu.replace(new) else { return };
        let Some(spent) = new.usage_usec.checked_sub(old.usage_usec) else { return };
        let passed_usec = now.since(old.at).as_nanos() / 1000;
        if passed_usec > 0 {
            out.ratio("cpu", spent, passed_usec);
        }
        if let (Some((periods, throttled)), Some((old_periods, old_throttled))) =
            (new.periods, old.periods)
            && let Some(periods) = periods.checked_sub(old_periods)
            && let Some(throttled) = throttled.checked_sub(old_throttled)
        {
            // No period passed: it has no quota or did not run, so it was not stopped either.
            out.ratio("throttled", throttled, periods.max(1));
        }
    }
}

/// What a limit file says.
enum Limit {
    At(u64),
    None,
    Unknown,
}

impl Counter {
    fn new(group: Option<&PathBuf>, name: &str) -> Self {
        Self { path: group.map(|group| group.join(name)).unwrap_or_default(), kept: None }
    }

    /// Gives the text of now to `understand`; `None` where the file does not exist or cannot be
    /// read.
    fn read<T>(&mut self, understand: impl Fn(&str) -> Option<T>) -> Option<T> {
        if let Some(kept) = &mut self.kept {
            match kept.text() {
                Ok(text) => return understand(text),
                // A group that came back has new files behind the same names; the old ones give
                // ENODEV.
                Err(_) => self.kept = None,
            }
        }
        if self.path == Path::new("") {
            return None;
        }
        understand(self.kept.insert(Kept::open(&self.path).ok()?).text().ok()?)
    }

    fn number(&mut self) -> Option<u64> {
        self.read(text::whole)
    }

    fn limit(&mut self) -> Limit {
        let limit = self.read(|text| match text.trim() {
            "max" => Some(Limit::None),
            number => match text::whole(number)? {
                V1_UNLIMITED_BYTES.. => Some(Limit::None),
                limit => Some(Limit::At(limit)),
            },
        });
        limit.unwrap_or(Limit::Unknown)
    }

    fn keyed(&mut self, key: &str) -> Option<u64> {
        self.read(|text| text::keyed(text, key))
    }

    fn cpu_stat(&mut self, at: Mono) -> Option<CpuStat> {
        self.read(|text| {
            let usage_usec = text::keyed(text, "usage_usec")?;
            let periods = text::keyed(text, "nr_periods").zip(text::keyed(text, "nr_throttled"));
            Some(CpuStat { at, usage_usec, periods })
        })
    }

    /// The first average of `some avg10=1.50 avg60=...` as a share (psi.rst).
    fn some_avg10(&mut self) -> Option<f64> {
        self.read(|text| {
            let rest = text::lines(text).find_map(|line| line.strip_prefix("some avg10="))?;
            let percent = text::decimal(rest.split(' ').next()?)?;
            (percent <= 100.0).then_some(percent / 100.0)
        })
    }
}
