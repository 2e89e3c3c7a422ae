//! Main memory: how much is left, and whether the hardware has lost some of it.
//!
//! `used` is one minus MemAvailable, the kernel's own estimate of what a new program could get
//! without swapping; the page cache of a busy server does not count as used.

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::kept::Kept;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};
use crate::text;

const QUANTITIES: &[Quantity] = &[
    Quantity { name: "total", unit: Unit::Bytes, meaning: "memory that the kernel can use" },
    Quantity {
        name: "available",
        unit: Unit::Bytes,
        meaning: "memory that a new program could get without swapping",
    },
    Quantity { name: "used", unit: Unit::Ratio, meaning: "share that is not available" },
    Quantity { name: "free", unit: Unit::Bytes, meaning: "memory used for nothing at all" },
    Quantity { name: "dirty", unit: Unit::Bytes, meaning: "file data that waits to be written" },
    Quantity { name: "writeback", unit: Unit::Bytes, meaning: "file data that is being written" },
    Quantity { name: "slab", unit: Unit::Bytes, meaning: "memory of the kernel's own objects" },
    Quantity {
        name: "slab-unreclaimable",
        unit: Unit::Bytes,
        meaning: "the part of slab that cannot be given back; steady growth is a leak",
    },
    Quantity {
        name: "huge-pages-used",
        unit: Unit::Ratio,
        meaning: "share of the huge page pool in use or promised; absent without a pool",
    },
    Quantity {
        name: "hardware-corrupted",
        unit: Unit::Bytes,
        meaning: "memory taken out of use after uncorrectable errors; absent where the kernel cannot tell",
    },
    Quantity {
        name: "committed",
        unit: Unit::Bytes,
        meaning: "memory that was promised to programs",
    },
    Quantity {
        name: "commit-used",
        unit: Unit::Ratio,
        meaning: "share of the commit limit; absent unless vm.overcommit_memory is 2, since nothing enforces it otherwise",
    },
];

/// Main memory (/proc/meminfo; proc_meminfo(5)).
pub const SENSOR: Sensor = Sensor {
    name: "memory",
    hardware: false,
    summary: "Main memory from /proc/meminfo.",
    target: Target::Machine,
    options: &[],
    quantities: QUANTITIES,
    warn_when: &["used > 90%", "commit-used > 95%", "hardware-corrupted > 0"],
    fail_when: &["used > 97%"],
    interval: Span::from_secs(5),
    // Large programs start and end: memory must be short for longer than that takes.
    fail_after: Span::from_secs(30),
    recover_after: Span::from_secs(60),
    discover: Some(|root| root.machine_if("/proc/meminfo")),
    source: Source::Quick(open),
};

/// `vm.overcommit_memory` under which the commit limit is enforced
/// (Documentation/mm/overcommit-accounting.rst).
const NEVER_OVERCOMMIT: u64 = 2;

struct Memory {
    meminfo: Kept,
    /// Missing in a container that hides /proc/sys.
    overcommit: Option<Kept>,
}

fn open(root: &Root, _target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    Ok(Box::new(Memory {
        meminfo: Kept::open(root.path("/proc/meminfo"))?,
        overcommit: Kept::open_short(root.path("/proc/sys/vm/overcommit_memory")).ok(),
    }))
}

impl Probe for Memory {
    fn read(&mut self, _now: Mono, wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let path = self.meminfo.path().to_path_buf();
        let text = self.meminfo.text()?;
        let Some(total) = text::kibibytes(text, "MemTotal").filter(|total| *total > 0) else {
            return Err(SensorError::malformed(path, "a line `MemTotal: N kB`"));
        };
        out.count("total", total);
        if let Some(available) = text::kibibytes(text, "MemAvailable")
            && let Some(used) = total.checked_sub(available)
        {
            out.count("available", available);
            out.ratio("used", used, total);
        }
        for (quantity, name) in [
            ("free", "MemFree"),
            ("dirty", "Dirty"),
            ("writeback", "Writeback"),
            ("slab", "Slab"),
            ("slab-unreclaimable", "SUnreclaim"),
            ("committed", "Committed_AS"),
        ] {
            if let Some(bytes) = text::kibibytes(text, name) {
                out.count(quantity, bytes);
            }
        }
        corrupted(text, out);
        huge_pages(text, out);
        if wanted.has(QUANTITIES, "commit-used")
            && let Some(mode) = self.overcommit.as_mut().and_then(|file| file.number().ok()?)
        {
            commit(mode, text, out);
        }
        Ok(())
    }
}

/// The line is written only by kernels with CONFIG_MEMORY_FAILURE (fs/proc/meminfo.c), right after
/// `Percpu`.
fn corrupted(text: &str, out: &mut Readings) {
    match text::kibibytes(text, "HardwareCorrupted") {
        Some(bytes) => out.count("hardware-corrupted", bytes),
        None => {
            let beyond = text::lines(text).skip_while(|line| !line.starts_with("Percpu:")).nth(1);
            // Without a complete line after it, the text may have been cut off before it.
            if beyond.is_some_and(|line| !line.starts_with("HardwareCorrupted")) {
                out.absent("hardware-corrupted");
            }
        }
    }
}

/// Free pages that are reserved are promised to somebody
/// (Documentation/admin-guide/mm/hugetlbpage.rst).
fn huge_pages(text: &str, out: &mut Readings) {
    let page = |name| text::meminfo_count(text, name);
    if let (Some(total), Some(free), Some(reserved)) =
        (page("HugePages_Total"), page("HugePages_Free"), page("HugePages_Rsvd"))
    {
        let spare = free.saturating_sub(reserved);
        if spare <= total {
            out.ratio("huge-pages-used", total.saturating_sub(spare), total);
        }
    }
}

fn commit(mode: u64, text: &str, out: &mut Readings) {
    if mode != NEVER_OVERCOMMIT {
        out.absent("commit-used");
    } else if let (Some(used), Some(limit)) =
        (text::kibibytes(text, "Committed_AS"), text::kibibytes(text, "CommitLimit"))
    {
        // The limit may be lowered below what is committed already.
        out.ratio("commit-used", used.min(limit), limit);
    }
}
