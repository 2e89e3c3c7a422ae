//! Load averages: runnable and uninterruptible tasks, smoothed over 1, 5 and 15 minutes.
//!
//! Linux counts tasks that wait for a disk, so a healthy busy server can show a high load: there is
//! no default failure, and the pressure sensor says more about suffering.

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::kept::Kept;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};
use crate::text;

/// Load averages (/proc/loadavg; proc_loadavg(5)).
pub const SENSOR: Sensor = Sensor {
    name: "load",
    hardware: false,
    summary: "Load averages from /proc/loadavg, whole and for each processor.",
    target: Target::Machine,
    options: &[],
    quantities: &[
        Quantity { name: "load-1", unit: Unit::Count, meaning: "load average over one minute" },
        Quantity { name: "load-5", unit: Unit::Count, meaning: "load average over five minutes" },
        Quantity {
            name: "load-15",
            unit: Unit::Count,
            meaning: "load average over fifteen minutes",
        },
        Quantity {
            name: "per-cpu",
            unit: Unit::Count,
            meaning: "load-5 divided by the processors online",
        },
        Quantity {
            name: "runnable",
            unit: Unit::Count,
            meaning: "tasks that run or could run now",
        },
        Quantity { name: "tasks", unit: Unit::Count, meaning: "processes and threads that exist" },
    ],
    warn_when: &["per-cpu > 8"],
    fail_when: &[],
    interval: Span::from_secs(5),
    fail_after: Span::from_secs(60),
    recover_after: Span::from_secs(60),
    discover: None,
    source: Source::Quick(open),
};

struct Load {
    file: Kept,
    cpus: f64,
}

fn open(root: &Root, _target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    let file = Kept::open_short(root.path("/proc/loadavg"))?;
    Ok(Box::new(Load { file, cpus: online(root) }))
}

/// Processors online, from a list such as `0-3,5` (/sys/devices/system/cpu/online); one where it
/// cannot be read.
fn online(root: &Root) -> f64 {
    let text =
        std::fs::read_to_string(root.path("/sys/devices/system/cpu/online")).unwrap_or_default();
    let ranges = text.trim().split(',').filter_map(range_length);
    let count = ranges.fold(0, u32::saturating_add);
    f64::from(count.max(1))
}

fn range_length(range: &str) -> Option<u32> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    last.parse::<u32>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
}

impl Probe for Load {
    fn read(&mut self, _now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let cpus = self.cpus;
        let path = self.file.path().to_path_buf();
        let line = self.file.line()?.unwrap_or_default();
        let mut fields = line.split_ascii_whitespace();
        let mut average = || fields.next().and_then(text::decimal);
        let (Some(one), Some(five), Some(fifteen)) = (average(), average(), average()) else {
            return Err(SensorError::malformed(path, "three load averages"));
        };
        out.number("load-1", one);
        out.number("load-5", five);
        out.number("load-15", fifteen);
        out.number("per-cpu", five / cpus);
        if let Some((runnable, tasks)) = fields.next().and_then(|field| field.split_once('/'))
            && let (Some(runnable), Some(tasks)) = (text::whole(runnable), text::whole(tasks))
        {
            out.count("runnable", runnable);
            out.count("tasks", tasks);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_counted() {
        for (text, count) in [("0-3", Some(4)), ("5", Some(1)), ("3-0", None), ("x", None)] {
            assert_eq!(range_length(text), count, "{text}");
        }
    }
}
