//! The clock: whether something disciplines it, how far off it may be, and whether it was stepped.
//!
//! Nothing in mastiff decides by wall-clock time, but certificates, logs and databases do.

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};
use nix::time::{ClockId, clock_gettime};

use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};
use crate::sys::clock;

/// The clock discipline (adjtimex(2)) and steps of CLOCK_REALTIME against CLOCK_BOOTTIME.
pub const SENSOR: Sensor = Sensor {
    name: "time",
    hardware: false,
    summary: "Whether the clock is synchronised, its error, and steps, from adjtimex(2).",
    target: Target::Machine,
    options: &[],
    quantities: &[
        Quantity {
            name: "synchronised",
            unit: Unit::Flag,
            meaning: "chrony, ntpd, systemd-timesyncd or another daemon says that it disciplines the clock (STA_UNSYNC is off)",
        },
        Quantity {
            name: "offset",
            unit: Unit::Seconds,
            meaning: "what the kernel still has to slew away; chrony slews in another way and shows 0",
        },
        Quantity {
            name: "estimated-error",
            unit: Unit::Seconds,
            meaning: "the daemon's estimate of how far off the clock is; absent while not synchronised",
        },
        Quantity {
            name: "maximum-error",
            unit: Unit::Seconds,
            meaning: "how far off the clock can be; the kernel adds 0.5 ms each second; absent while not synchronised",
        },
        Quantity {
            name: "step",
            unit: Unit::Seconds,
            meaning: "jump of the clock since the last reading, negative when it was set back",
        },
        Quantity {
            name: "steps",
            unit: Unit::Total,
            meaning: "jumps of more than half a second of a clock that was synchronised, since the daemon looks",
        },
    ],
    // A daemon needs some minutes after boot. A machine without any is told so, since nobody else
    // will.
    warn_when: &["synchronised = false", "steps > 0 in 1h"],
    fail_when: &[],
    interval: Span::from_secs(10),
    fail_after: Span::from_secs(600),
    recover_after: Span::from_secs(60),
    discover: Some(|root| if root.is_machine() { vec![String::new()] } else { Vec::new() }),
    source: Source::Quick(open),
};

/// Seconds from which a jump counts in `steps`: chrony and ntpd slew what is smaller (ntpd: 0.128
/// s).
const STEP_SECONDS: f64 = 0.5;

/// Seconds between two readings of one clock within which the other one was read closely enough.
const APART_SECONDS_MAX: f64 = 0.001;

/// Attempts to read both clocks close together before the step is left missing: the reader may lose
/// the processor between the calls, once or twice.
const ATTEMPTS: usize = 3;

/// Whether something disciplines this machine's clock (`STA_UNSYNC` of adjtimex(2)); `None` where
/// the kernel does not say.
#[must_use]
pub fn is_synchronised() -> Option<bool> {
    clock::discipline().ok().map(|discipline| discipline.status & libc::STA_UNSYNC == 0)
}

struct Clock {
    /// CLOCK_REALTIME minus CLOCK_BOOTTIME, in seconds. Both are slewed alike: only a step changes
    /// it.
    difference: Option<f64>,
    synchronised: bool,
    steps: u64,
}

fn open(root: &Root, _target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    if !root.is_machine() {
        return Err(SensorError::Unsupported("a recorded tree has no clock".into()));
    }
    Ok(Box::new(Clock { difference: None, synchronised: false, steps: 0 }))
}

impl Probe for Clock {
    fn read(&mut self, _now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let discipline = clock::discipline()
            .map_err(|errno| SensorError::Call { call: "adjtimex", source: errno.into() })?;
        let synchronised = discipline.status & libc::STA_UNSYNC == 0;
        self.watch_steps(difference(), out);
        self.synchronised = synchronised;
        fill(&discipline, synchronised, out);
        Ok(())
    }
}

impl Clock {
    fn watch_steps(&mut self, difference: Option<f64>, out: &mut Readings) {
        if let Some(difference) = difference
            && let Some(last) = self.difference.replace(difference)
        {
            let step = difference - last;
            out.number("step", step);
            // The first setting after boot is no surprise, so only a clock that was right can jump.
            // The step itself makes the kernel forget that it was (ntp_clear, kernel/time/ntp.c).
            if step.abs() > STEP_SECONDS && self.synchronised {
                self.steps = self.steps.saturating_add(1);
            }
        }
        out.count("steps", self.steps);
    }
}

fn fill(discipline: &libc::timex, synchronised: bool, out: &mut Readings) {
    out.flag("synchronised", synchronised);
    // Microseconds, or nanoseconds with STA_NANO; the errors are always microseconds (adjtimex(2)).
    let unit = if discipline.status & libc::STA_NANO == 0 { 1e6 } else { 1e9 };
    out.number("offset", discipline.offset as f64 / unit);
    if synchronised {
        out.number("estimated-error", discipline.esterror as f64 / 1e6);
        out.number("maximum-error", discipline.maxerror as f64 / 1e6);
    } else {
        // The kernel then shows 16 s, which nobody measured.
        out.absent("estimated-error");
        out.absent("maximum-error");
    }
}

/// CLOCK_REALTIME minus CLOCK_BOOTTIME in seconds; `None` if they could not be read close together.
fn difference() -> Option<f64> {
    let seconds = |clock| {
        let time = clock_gettime(clock).ok()?;
        Some((time.tv_sec(), time.tv_nsec()))
    };
    for _ in 0..ATTEMPTS {
        let before = seconds(ClockId::CLOCK_BOOTTIME)?;
        let real = seconds(ClockId::CLOCK_REALTIME)?;
        let after = seconds(ClockId::CLOCK_BOOTTIME)?;
        if apart(before, after) <= APART_SECONDS_MAX {
            return Some(apart(before, real));
        }
    }
    None
}

/// `to` minus `from`. Whole seconds are subtracted first: as floats they would lose their
/// microseconds.
fn apart(from: (i64, i64), to: (i64, i64)) -> f64 {
    to.0.saturating_sub(from.0) as f64 + to.1.saturating_sub(from.1) as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use mastiff_core::reading::Value;

    fn steps(clock: &mut Clock, difference: f64) -> (Option<f64>, f64) {
        let mut out = Readings::new(SENSOR.quantities);
        clock.watch_steps(Some(difference), &mut out);
        let number = |name| match out.get(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        };
        (number("step"), number("steps").unwrap())
    }

    #[test]
    fn only_a_clock_that_was_right_can_jump() {
        let mut clock = Clock { difference: None, synchronised: false, steps: 0 };
        assert_eq!(steps(&mut clock, 1000.0), (None, 0.0), "a step needs two readings");
        assert_eq!(steps(&mut clock, 1005.0), (Some(5.0), 0.0), "the first setting after boot");
        clock.synchronised = true;
        assert_eq!(steps(&mut clock, 1005.0), (Some(0.0), 0.0));
        assert_eq!(steps(&mut clock, 1005.25), (Some(0.25), 0.0), "small enough to be slewed");
        assert_eq!(steps(&mut clock, 1003.25), (Some(-2.0), 1.0), "set back");
    }

    #[test]
    fn both_clocks_keep_their_microseconds() {
        assert!(
            (apart((5, 999_999_000), (1_800_000_006, 1000)) - 1_800_000_000.000_002).abs() < 1e-6
        );
    }
}
