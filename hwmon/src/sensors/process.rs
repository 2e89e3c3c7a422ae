//! Processes: those of a unit, the one of a pid file, or all of a name.
//!
//! Files below /proc/PID can wait for a process that holds its own locks, so the prober reads them.
//! A process that ends while it is being read is left out.

use std::path::PathBuf;

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::sorted::Map;
use mastiff_core::time::{Mono, Span};

use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};

mod find;
mod stat;

use find::{Finder, Found};
use stat::{Amount, Stat};

/// Processes of one target that are read at most; the note says when there are more.
pub const PROCESSES_MAX: usize = 4096;

/// Processes by unit, pid file or name (proc_pid_stat(5), proc_pid_status(5), proc_pid_limits(5)).
pub const SENSOR: Sensor = Sensor {
    name: "process",
    hardware: false,
    summary: "Number, processor time, memory, files and states of the processes of a unit, a pid file or a name. \
              A name costs a look at every process of the machine: a unit or a pid file is cheaper.",
    target: Target::Process,
    options: &[],
    quantities: QUANTITIES,
    warn_when: &["zombies > 10"],
    fail_when: &["count < 1"],
    interval: Span::from_secs(5),
    fail_after: Span::ZERO,
    recover_after: Span::ZERO,
    discover: None,
    source: Source::MayHang(open),
};

const QUANTITIES: &[Quantity] = &[
    Quantity { name: "count", unit: Unit::Count, meaning: "processes alive; zombies are not" },
    Quantity {
        name: "cpu",
        unit: Unit::Ratio,
        meaning: "time on processors since the last reading; 100% is one processor",
    },
    Quantity {
        name: "memory",
        unit: Unit::Bytes,
        meaning: "resident memory; what processes share counts for each of them (a fair share would be slow to read)",
    },
    Quantity { name: "swap", unit: Unit::Bytes, meaning: "memory that was swapped out" },
    Quantity { name: "threads", unit: Unit::Count, meaning: "threads of all of them" },
    Quantity { name: "open-files", unit: Unit::Count, meaning: "open file descriptors" },
    Quantity {
        name: "open-files-used",
        unit: Unit::Ratio,
        meaning: "share of the soft limit of open files, of the process that is nearest to it",
    },
    Quantity {
        name: "zombies",
        unit: Unit::Count,
        meaning: "ended processes that nobody has waited for; absent for `unit:`, whose list has none",
    },
    Quantity {
        name: "uninterruptible",
        unit: Unit::Count,
        meaning: "processes that wait in the kernel and cannot be killed (state D)",
    },
    Quantity { name: "uptime", unit: Unit::Seconds, meaning: "age of the oldest process" },
    Quantity {
        name: "state",
        unit: Unit::Word(&[
            "running",
            "sleeping",
            "uninterruptible",
            "zombie",
            "stopped",
            "traced",
            "idle",
            "dead",
        ]),
        meaning: "state of the oldest process",
    },
];

struct Processes {
    proc: PathBuf,
    /// Descriptors can be counted with one `stat` on the real /proc.
    is_machine: bool,
    finder: Finder,
    lists_zombies: bool,
    last: Option<LastTicks>,
}

/// Processor time at the last reading.
struct LastTicks {
    at: Mono,
    /// By process number and start, so that a reused number is somebody else.
    ticks: Map<(u32, u64), u64>,
}

fn open(root: &Root, target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    Ok(Box::new(Processes {
        proc: root.path("/proc"),
        is_machine: root.is_machine(),
        finder: Finder::new(root, target)?,
        lists_zombies: !target.starts_with("unit:"),
        last: None,
    }))
}

/// What is added up over the processes.
#[derive(Default)]
struct Sums {
    alive: u64,
    zombies: u64,
    uninterruptible: u64,
    threads: u64,
    oldest: Option<Stat>,
}

impl Probe for Processes {
    fn read(&mut self, now: Mono, wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let Found { pids, truncated } = self.finder.find()?;
        let mut sums = Sums::default();
        let mut ticks = Map::new();
        let mut alive = Vec::with_capacity(pids.len());
        for pid in pids {
            let Some(stat) = Stat::read(&self.proc, pid) else { continue };
            ticks.insert((pid, stat.start_ticks), stat.cpu_ticks);
            if stat.is_alive() {
                alive.push(pid);
            }
            sums.add(stat);
        }
        sums.fill(now, self.lists_zombies, out);
        self.fill_cpu(now, ticks, out);
        for (name, amount) in [("memory", Amount::Resident), ("swap", Amount::Swapped)] {
            if wanted.has(QUANTITIES, name)
                && let Some(bytes) = sum(&alive, |pid| amount.read(&self.proc, pid))
            {
                out.count(name, bytes);
            }
        }
        if wanted.has(QUANTITIES, "open-files") || wanted.has(QUANTITIES, "open-files-used") {
            self.fill_files(&alive, wanted, out);
        }
        if truncated {
            out.note = Some(format!("only the first {PROCESSES_MAX} processes were read").into());
        }
        Ok(())
    }
}

/// The sum over processes; `None` if it is not known for one that still exists.
fn sum(pids: &[u32], of: impl Fn(u32) -> stat::Read<u64>) -> Option<u64> {
    pids.iter().try_fold(0_u64, |sum, pid| match of(*pid) {
        stat::Read::Is(value) => Some(sum.saturating_add(value)),
        stat::Read::Ended => Some(sum),
        stat::Read::Unknown => None,
    })
}

impl Sums {
    fn add(&mut self, stat: Stat) {
        if !stat.is_alive() {
            self.zombies = self.zombies.saturating_add(1);
            if self.oldest.is_none() {
                self.oldest = Some(stat);
            }
            return;
        }
        self.alive = self.alive.saturating_add(1);
        self.uninterruptible = self.uninterruptible.saturating_add(u64::from(stat.state == 'D'));
        self.threads = self.threads.saturating_add(stat.threads);
        let is_older = |oldest: &Stat| !oldest.is_alive() || stat.start_ticks < oldest.start_ticks;
        if self.oldest.as_ref().is_none_or(is_older) {
            self.oldest = Some(stat);
        }
    }

    fn fill(&self, now: Mono, lists_zombies: bool, out: &mut Readings) {
        out.count("count", self.alive);
        out.count("uninterruptible", self.uninterruptible);
        out.count("threads", self.threads);
        if lists_zombies {
            out.count("zombies", self.zombies);
        } else {
            out.absent("zombies");
        }
        match &self.oldest {
            Some(oldest) => {
                out.span("uptime", now.since(oldest.started_at()));
                if let Some(word) = oldest.state_word() {
                    out.word("state", word);
                }
            }
            None => {
                out.absent("uptime");
                out.absent("state");
            }
        }
    }
}

impl Processes {
    /// A process that was not there at the last reading counts from its start, one that ended
    /// meanwhile not at all.
    fn fill_cpu(&mut self, now: Mono, ticks: Map<(u32, u64), u64>, out: &mut Readings) {
        let old = self.last.replace(LastTicks { at: now, ticks });
        let (Some(old), Some(new)) = (old, &self.last) else { return };
        let spent = new.ticks.iter().fold(0_u64, |spent, (process, &ticks)| {
            let before = match old.ticks.get(process) {
                Some(before) => *before,
                None if stat::moment(process.1) >= old.at => 0,
                // It only now took the name: what it did before is not of this time.
                None => ticks,
            };
            spent.saturating_add(ticks.saturating_sub(before))
        });
        let passed = now.since(old.at).as_nanos();
        if passed > 0 {
            out.ratio("cpu", spent.saturating_mul(stat::tick_nanos()), passed);
        }
    }

    fn fill_files(&self, alive: &[u32], wanted: Wanted, out: &mut Readings) {
        let mut open = 0_u64;
        let mut nearest = Some(0.0_f64);
        for &pid in alive {
            let files = match stat::open_files(&self.proc, pid, self.is_machine) {
                stat::Read::Is(files) => files,
                stat::Read::Ended => continue,
                // Another user's process, and no right to look: nothing is known of the sum.
                stat::Read::Unknown => return,
            };
            open = open.saturating_add(files);
            if wanted.has(QUANTITIES, "open-files-used") {
                nearest = match stat::open_files_limit(&self.proc, pid) {
                    stat::Read::Is(limit) => nearest.map(|most| most.max(share(files, limit))),
                    stat::Read::Ended => nearest,
                    stat::Read::Unknown => None,
                };
            }
        }
        out.count("open-files", open);
        if wanted.has(QUANTITIES, "open-files-used")
            && let Some(nearest) = nearest
        {
            out.number("open-files-used", nearest);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
fn share(part: u64, whole: u64) -> f64 {
    // `unlimited` is read as the largest number: its share is nothing.
    part as f64 / whole.max(1) as f64
}
