//! Pressure: the share of time in which work stood still for lack of processor, memory or disk
//! (PSI).
//!
//! Two sources. The averages are read from three files. Triggers, one for each resource, make the
//! kernel wake the reader within a tenth of their window, so that a stall is seen while it lasts,
//! not at the next interval.
//!
//! A trigger needs CAP_SYS_RESOURCE for a window of one second. Without it, Linux 6.4 and later
//! allow windows of whole multiples of two seconds and look every two seconds (kernel/sched/psi.c),
//! so the same share is asked for over two; older kernels allow none, and then the `-stalls` totals
//! stay missing while the averages work on: a condition on them is unknown, and no default has one.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::kept::Kept;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wake, Wanted};
use crate::text;

/// Pressure stall information (/proc/pressure; Documentation/accounting/psi.rst).
pub const SENSOR: Sensor = Sensor {
    name: "pressure",
    hardware: false,
    summary: "Shares of time in which tasks waited for processor, memory or disk, from /proc/pressure.",
    target: Target::Machine,
    options: &[],
    quantities: &[
        Quantity {
            name: "cpu-some-10",
            unit: Unit::Ratio,
            meaning: "share of 10 s in which some task waited for a processor",
        },
        Quantity { name: "cpu-some-60", unit: Unit::Ratio, meaning: "the same over 60 s" },
        Quantity {
            name: "memory-some-10",
            unit: Unit::Ratio,
            meaning: "share of 10 s in which some task waited for memory to be reclaimed or read back",
        },
        Quantity { name: "memory-some-60", unit: Unit::Ratio, meaning: "the same over 60 s" },
        Quantity {
            name: "memory-full-10",
            unit: Unit::Ratio,
            meaning: "share of 10 s in which every task that had work waited for memory",
        },
        Quantity { name: "memory-full-60", unit: Unit::Ratio, meaning: "the same over 60 s" },
        Quantity {
            name: "io-some-10",
            unit: Unit::Ratio,
            meaning: "share of 10 s in which some task waited for a disk",
        },
        Quantity { name: "io-some-60", unit: Unit::Ratio, meaning: "the same over 60 s" },
        Quantity {
            name: "io-full-10",
            unit: Unit::Ratio,
            meaning: "share of 10 s in which every task that had work waited for a disk",
        },
        Quantity { name: "io-full-60", unit: Unit::Ratio, meaning: "the same over 60 s" },
        Quantity {
            name: "cpu-stalls",
            unit: Unit::Total,
            meaning: "windows of a second in which some task waited for a processor for 80% of the time; missing where the kernel grants no trigger",
        },
        Quantity {
            name: "memory-stalls",
            unit: Unit::Total,
            meaning: "windows of a second in which some task waited for memory for 15% of the time; missing as above",
        },
        Quantity {
            name: "io-stalls",
            unit: Unit::Total,
            meaning: "windows of a second in which every task that had work waited for a disk for half of the time; missing as above",
        },
    ],
    // Memory: a machine that loses a tenth of a minute to reclaim is short of it, and one that
    // loses 40 % is thrashing (systemd-oomd kills at 60 % of its slice over 30 s). I/O never fails
    // by itself: a lone backup waits for its disk nearly all the time, and nobody suffers. CPU has
    // no default at all: on a machine that is merely busy somebody always waits for a processor.
    // Stalls only make readings come sooner.
    warn_when: &["memory-full-60 > 10%", "io-full-60 > 90%"],
    fail_when: &["memory-full-60 > 40%"],
    interval: Span::from_secs(5),
    // The averages have their own memory of a minute.
    fail_after: Span::from_secs(10),
    recover_after: Span::from_secs(60),
    discover: Some(|root| root.machine_if("/proc/pressure/memory")),
    source: Source::Quick(open),
};

/// One file of /proc/pressure, the names of what is in it, and its trigger.
struct Resource {
    path: &'static str,
    /// Quantities of avg10 and avg60 by the first word of their line. The `full` line of cpu means
    /// nothing for a whole system and is always 0.
    averages: &'static [(&'static str, [&'static str; 2])],
    stalls: &'static str,
    /// First word of the trigger, and its share of the window in thousandths.
    trigger: (&'static str, u64),
}

/// The thresholds answer "is it worth a look before the interval is over?", not "is it bad?".
const RESOURCES: [Resource; 3] = [
    Resource {
        path: "/proc/pressure/cpu",
        averages: &[("some", ["cpu-some-10", "cpu-some-60"])],
        stalls: "cpu-stalls",
        trigger: ("some", 800),
    },
    Resource {
        path: "/proc/pressure/memory",
        averages: &[
            ("some", ["memory-some-10", "memory-some-60"]),
            ("full", ["memory-full-10", "memory-full-60"]),
        ],
        stalls: "memory-stalls",
        trigger: ("some", 150),
    },
    Resource {
        path: "/proc/pressure/io",
        averages: &[("some", ["io-some-10", "io-some-60"]), ("full", ["io-full-10", "io-full-60"])],
        stalls: "io-stalls",
        trigger: ("full", 500),
    },
];

/// Windows to ask for, best first, in milliseconds: the second one needs no privilege.
const WINDOWS_MS: [u64; 2] = [1000, 2000];

struct Pressure {
    resources: Vec<Open>,
}

struct Open {
    resource: &'static Resource,
    averages: Kept,
    trigger: Option<Trigger>,
}

/// A registered trigger; closing the file removes it. Its file is not the one that is read, since
/// the unprivileged reader can have the averages where it may not have a trigger.
struct Trigger {
    file: File,
    fired: u64,
}

fn open(root: &Root, _target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    let mut resources = Vec::new();
    for resource in &RESOURCES {
        if let Ok(averages) = Kept::open(root.path(resource.path)) {
            let trigger = if root.is_machine() { Trigger::register(root, resource) } else { None };
            resources.push(Open { resource, averages, trigger });
        }
    }
    if resources.is_empty() {
        return Err(SensorError::Unsupported(
            "this kernel has no /proc/pressure; boot with psi=1 if it was built with CONFIG_PSI"
                .into(),
        ));
    }
    Ok(Box::new(Pressure { resources }))
}

impl Probe for Pressure {
    fn read(&mut self, _now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        for open in &mut self.resources {
            let text = open.averages.text()?;
            for (first, names) in open.resource.averages {
                for (name, field) in names.iter().zip(["avg10=", "avg60="]) {
                    if let Some(share) = average(text, first, field) {
                        out.number(name, share);
                    }
                }
            }
            if let Some(trigger) = &mut open.trigger {
                trigger.look();
                out.count(open.resource.stalls, trigger.fired);
            }
        }
        Ok(())
    }

    fn wakes(&self) -> Vec<Wake<'_>> {
        self.triggers().map(|trigger| Wake::Priority(trigger.file.as_fd())).collect()
    }

    fn woken(&mut self, index: usize) {
        let mut triggers = self.resources.iter_mut().filter_map(|open| open.trigger.as_mut());
        if let Some(trigger) = triggers.nth(index) {
            trigger.fired = trigger.fired.saturating_add(1);
        }
    }
}

impl Pressure {
    fn triggers(&self) -> impl Iterator<Item = &Trigger> {
        self.resources.iter().filter_map(|open| open.trigger.as_ref())
    }
}

impl Trigger {
    fn register(root: &Root, resource: &Resource) -> Option<Self> {
        let (first, thousandths) = resource.trigger;
        WINDOWS_MS.iter().find_map(|window_ms| {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(root.path(resource.path))
                .ok()?;
            // Both times are microseconds. The kernel overwrites the last byte of what it is given.
            let (stall, window) =
                (thousandths.saturating_mul(*window_ms), window_ms.saturating_mul(1000));
            file.write_all(format!("{first} {stall} {window}\0").as_bytes()).ok()?;
            Some(Self { file, fired: 0 })
        })
    }

    /// Sees an event of which nobody was told: without a loop around it (`mastiff check`) nobody
    /// polls.
    fn look(&mut self) {
        let mut polled = [PollFd::new(self.file.as_fd(), PollFlags::POLLPRI)];
        // A failing poll tells nothing, and the averages are still good.
        let ready = poll(&mut polled, PollTimeout::ZERO).is_ok_and(|count| count > 0);
        let fired = polled
            .first()
            .and_then(PollFd::revents)
            .is_some_and(|events| events.contains(PollFlags::POLLPRI));
        if ready && fired {
            self.fired = self.fired.saturating_add(1);
        }
    }
}

/// A share from a line such as `some avg10=0.00 avg60=0.16 avg300=0.48 total=9979585`, which is in
/// percent.
fn average(text: &str, first: &str, field: &str) -> Option<f64> {
    let line = text::lines(text).find(|line| line.split(' ').next() == Some(first))?;
    let value = line.split_ascii_whitespace().find_map(|word| word.strip_prefix(field))?;
    text::decimal(value).map(|percent| percent / 100.0).filter(|share| *share <= 1.0)
}
