//! Processor time: what share of it went where since the last reading.
//!
//! A busy processor is doing its job: there is no default failure, and the warning needs minutes.
//! Steal has no default either, since a throttled cloud machine shows it all day; it is worth a
//! condition of its own where takeover must be fast.

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::kept::Kept;
use crate::rate::Rate;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};
use crate::text;

/// Processor time (/proc/stat; proc_stat(5)).
pub const SENSOR: Sensor = Sensor {
    name: "cpu",
    hardware: false,
    summary: "Shares of processor time, context switches and forks from /proc/stat.",
    target: Target::Machine,
    options: &[],
    quantities: &[
        Quantity {
            name: "busy",
            unit: Unit::Ratio,
            meaning: "share of all processors' time that was neither idle nor waiting for disks, since the last reading",
        },
        Quantity {
            name: "user",
            unit: Unit::Ratio,
            meaning: "share spent in programs, niced ones and guests included",
        },
        Quantity { name: "system", unit: Unit::Ratio, meaning: "share spent in the kernel" },
        Quantity {
            name: "iowait",
            unit: Unit::Ratio,
            meaning: "share that was idle while a task of that processor waited for a disk",
        },
        Quantity {
            name: "irq",
            unit: Unit::Ratio,
            meaning: "share spent in hard and soft interrupts",
        },
        Quantity {
            name: "steal",
            unit: Unit::Ratio,
            meaning: "share that the hypervisor gave to other machines",
        },
        Quantity {
            name: "context-switches",
            unit: Unit::PerSecond,
            meaning: "switches between tasks",
        },
        Quantity { name: "forks", unit: Unit::PerSecond, meaning: "processes and threads created" },
        Quantity { name: "blocked", unit: Unit::Count, meaning: "tasks that wait for a disk now" },
    ],
    warn_when: &["busy > 95%"],
    fail_when: &[],
    interval: Span::from_secs(5),
    fail_after: Span::from_secs(300),
    recover_after: Span::from_secs(60),
    discover: Some(|root| root.machine_if("/proc/stat")),
    source: Source::Quick(open),
};

struct Cpu {
    file: Kept,
    last: Option<Times>,
    switches: Rate,
    forks: Rate,
}

/// Time since boot by state, in ticks of USER_HZ, summed over the processors.
#[derive(Clone, Copy, Default)]
struct Times {
    user: u64,
    system: u64,
    idle: u64,
    iowait: u64,
    irq: u64,
    steal: u64,
}

fn open(root: &Root, _target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    let file = Kept::open(root.path("/proc/stat"))?;
    Ok(Box::new(Cpu { file, last: None, switches: Rate::default(), forks: Rate::default() }))
}

impl Probe for Cpu {
    fn read(&mut self, now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let path = self.file.path().to_path_buf();
        let text = self.file.text()?;
        let Some(times) = text::lines(text).next().and_then(Times::parse) else {
            return Err(SensorError::malformed(path, "a first line of processor times"));
        };
        if let Some(last) = self.last.replace(times) {
            times.since(last).fill(out);
        }
        if let Some(rate) =
            text::keyed(text, "ctxt").and_then(|total| self.switches.per_second(now, total))
        {
            out.number("context-switches", rate);
        }
        if let Some(rate) =
            text::keyed(text, "processes").and_then(|total| self.forks.per_second(now, total))
        {
            out.number("forks", rate);
        }
        if let Some(blocked) = text::keyed(text, "procs_blocked") {
            out.count("blocked", blocked);
        }
        Ok(())
    }
}

impl Times {
    /// `cpu  user nice system idle iowait irq softirq steal guest guest_nice`; guest time is in
    /// user already.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.strip_prefix("cpu ")?.split_ascii_whitespace().map(text::whole);
        let mut next = || fields.next().flatten();
        let (user, nice, system, idle) = (next()?, next()?, next()?, next()?);
        let (iowait, irq, softirq, steal) = (next()?, next()?, next()?, next()?);
        Some(Self {
            user: user.checked_add(nice)?,
            system,
            idle,
            iowait,
            irq: irq.checked_add(softirq)?,
            steal,
        })
    }

    /// Time spent since `last`. Idle and iowait may fall a little (proc_stat(5)): that counts as
    /// nothing.
    fn since(self, last: Self) -> Self {
        Self {
            user: self.user.saturating_sub(last.user),
            system: self.system.saturating_sub(last.system),
            idle: self.idle.saturating_sub(last.idle),
            iowait: self.iowait.saturating_sub(last.iowait),
            irq: self.irq.saturating_sub(last.irq),
            steal: self.steal.saturating_sub(last.steal),
        }
    }

    fn fill(self, out: &mut Readings) {
        let busy = [self.user, self.system, self.irq, self.steal];
        let busy = busy.into_iter().fold(0, u64::saturating_add);
        let total = busy.saturating_add(self.idle).saturating_add(self.iowait);
        if total == 0 {
            // Two readings within one tick: nothing is known about the time between them.
            return;
        }
        out.ratio("busy", busy, total);
        out.ratio("user", self.user, total);
        out.ratio("system", self.system, total);
        out.ratio("iowait", self.iowait, total);
        out.ratio("irq", self.irq, total);
        out.ratio("steal", self.steal, total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mastiff_core::reading::Value;

    #[test]
    fn shares_are_of_the_time_since_the_last_reading() {
        let last = Times::parse("cpu  100 0 100 1000 50 0 0 0 0 0").unwrap();
        let times = Times::parse("cpu  130 10 120 1030 45 4 6 0 7 0").unwrap();
        let mut out = Readings::new(SENSOR.quantities);
        times.since(last).fill(&mut out);
        for (name, share) in [
            ("user", 0.4),
            ("system", 0.2),
            ("irq", 0.1),
            ("busy", 0.7),
            ("iowait", 0.0),
            ("steal", 0.0),
        ] {
            assert_eq!(out.get(name), Some(&Value::Number(share)), "{name}");
        }
    }

    #[test]
    fn no_time_between_two_readings_says_nothing() {
        let mut out = Readings::new(SENSOR.quantities);
        Times::default().fill(&mut out);
        assert!(out.slots().iter().all(Option::is_none));
    }
}
