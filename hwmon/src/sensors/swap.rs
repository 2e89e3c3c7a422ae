//! Swap: how full it is and how fast it turns over.
//!
//! Cold pages in swap hurt nobody, so a full swap only warns; suffering shows in the pressure
//! sensor.

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::kept::Kept;
use crate::rate::Rate;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};
use crate::text;

/// Swap (/proc/meminfo, /proc/vmstat; proc_vmstat(5)).
pub const SENSOR: Sensor = Sensor {
    name: "swap",
    hardware: false,
    summary: "Swap space and its traffic from /proc/meminfo and /proc/vmstat, and kills for lack of memory.",
    target: Target::Machine,
    options: &[],
    quantities: &[
        Quantity {
            name: "used",
            unit: Unit::Ratio,
            meaning: "share of swap space in use; absent without swap",
        },
        Quantity {
            name: "in",
            unit: Unit::BytesPerSecond,
            meaning: "data read back from swap since the last reading",
        },
        Quantity {
            name: "out",
            unit: Unit::BytesPerSecond,
            meaning: "data written to swap since the last reading",
        },
        Quantity {
            name: "oom-kills",
            unit: Unit::Total,
            meaning: "processes killed for lack of memory since boot, those at the limit of their own cgroup included; absent before Linux 4.13",
        },
    ],
    // No default on oom-kills: on a container host a kill at a cgroup's limit is daily life. The
    // kernel-log sensor tells those from kills for the whole machine.
    warn_when: &["used > 90%"],
    fail_when: &[],
    interval: Span::from_secs(10),
    fail_after: Span::from_secs(60),
    recover_after: Span::from_secs(60),
    discover: Some(|root| root.machine_if("/proc/vmstat")),
    source: Source::Quick(open),
};

struct Swap {
    meminfo: Kept,
    vmstat: Kept,
    page_bytes: u64,
    in_rate: Rate,
    out_rate: Rate,
}

fn open(root: &Root, _target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    Ok(Box::new(Swap {
        meminfo: Kept::open(root.path("/proc/meminfo"))?,
        vmstat: Kept::open(root.path("/proc/vmstat"))?,
        // /proc/vmstat counts pages. A recorded tree does not say how long its pages were.
        page_bytes: procfs::page_size(),
        in_rate: Rate::default(),
        out_rate: Rate::default(),
    }))
}

impl Probe for Swap {
    fn read(&mut self, now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let text = self.meminfo.text()?;
        if let (Some(total), Some(free)) =
            (text::kibibytes(text, "SwapTotal"), text::kibibytes(text, "SwapFree"))
            && let Some(used) = total.checked_sub(free)
        {
            out.ratio("used", used, total);
        }
        let text = self.vmstat.text()?;
        let bytes = |name| text::keyed(text, name)?.checked_mul(self.page_bytes);
        if let Some(rate) = bytes("pswpin").and_then(|total| self.in_rate.per_second(now, total)) {
            out.number("in", rate);
        }
        if let Some(rate) = bytes("pswpout").and_then(|total| self.out_rate.per_second(now, total))
        {
            out.number("out", rate);
        }
        match text::keyed(text, "oom_kill") {
            Some(kills) => out.count("oom-kills", kills),
            // A line that follows it (include/linux/vm_event_item.h) shows that the text was not
            // cut off before.
            None if text::keyed(text, "unevictable_pgs_culled").is_some() => {
                out.absent("oom-kills")
            }
            None => {}
        }
        Ok(())
    }
}
