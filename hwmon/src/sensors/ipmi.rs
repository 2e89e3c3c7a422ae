//! What the management controller (BMC) of a server says: its sensors, its power supplies, its
//! event log.
//!
//! The BMC watches what the system cannot see: power supplies, fans, the chassis, slots, and what
//! happened while the system was down. Each request costs milliseconds, and a BMC may hang, so the
//! prober asks. Which sensors there are is read once; a reading takes `BUDGET` at most, and what
//! is left over is asked by the next one. Only questions are asked: nothing is cleared or set, and
//! the watchdog of the BMC is left alone.
//!
//! Only sensors that the BMC itself owns are asked, not those of other controllers behind it.

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::host::has_foreign_devices;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};

mod bmc;
mod list;
mod log;
mod record;
mod states;

use bmc::{Bmc, DEVICE, Device, GET_DEVICE_ID, failed};
use list::List;
use log::Log;
use record::{Point, Said, THRESHOLD};
use states::{INTRUSION, Level, POWER_SUPPLY, REDUNDANCY};

/// The BMC of this machine (/dev/ipmi0; Intelligent Platform Management Interface Specification
/// v2.0).
pub const SENSOR: Sensor = Sensor {
    name: "ipmi",
    hardware: true,
    summary: "What the management controller (BMC) of the server says of its sensors, power supplies and chassis, and the critical events in its log (SEL), from /dev/ipmi0. Never changes anything in it.",
    target: Target::Machine,
    options: &[],
    quantities: QUANTITIES,
    warn_when: &[
        "warnings > 0",
        // The machine runs on the other one.
        "power-supplies-failed > 0",
        "intrusion",
        "redundancy-lost",
        "sel-used > 90%",
        "sel-critical > 0 in 1h",
    ],
    fail_when: &["critical > 0"],
    interval: Span::from_secs(60),
    // The BMC decides with its own hysteresis, and it is asked seldom.
    fail_after: Span::ZERO,
    recover_after: Span::ZERO,
    discover: Some(discover),
    source: Source::MayHang(open),
};

const QUANTITIES: &[Quantity] = &[
    Quantity {
        name: "sensors",
        unit: Unit::Count,
        meaning: "sensors that say something; those of empty slots do not",
    },
    Quantity {
        name: "warnings",
        unit: Unit::Count,
        meaning: "sensors beyond a non-critical limit, or in a state that somebody should look at (failure predicted, battery low); the note names them; none without sensors",
    },
    Quantity {
        name: "critical",
        unit: Unit::Count,
        meaning: "sensors beyond a critical limit, or of something that has failed (fan, processor, memory, drive), but for power supplies; none without sensors",
    },
    Quantity {
        name: "power-supplies-failed",
        unit: Unit::Count,
        meaning: "power supplies that have failed or lost their input; none where the BMC watches none",
    },
    Quantity {
        name: "redundancy-lost",
        unit: Unit::Flag,
        meaning: "the redundancy of power, fans or memory is lost or degraded; none where the BMC watches none",
    },
    Quantity {
        name: "intrusion",
        unit: Unit::Flag,
        meaning: "the chassis is open, or was opened and nobody has told the BMC that this is known; none where the BMC does not watch it",
    },
    Quantity {
        name: "sel-entries",
        unit: Unit::Count,
        meaning: "entries in the event log; none without a log",
    },
    Quantity {
        name: "sel-used",
        unit: Unit::Ratio,
        meaning: "share of the event log that is used; many BMCs log nothing any more once it is full (`ipmitool sel clear` empties it); none without a log",
    },
    Quantity {
        name: "sel-critical",
        unit: Unit::Total,
        meaning: "critical events added to the event log since the prober looks; the note has the last one for an hour; none without a log",
    },
];

/// Time for one reading; with a last request that takes as long as the driver has patience for one
/// (5 s) it is still less than the time-out of a check (10 s).
const BUDGET: Span = Span::from_secs(4);

/// Shares of it: for the list when no sensor is known yet, for a list that is read again, and for
/// the log. What is left is for asking the sensors: neither a long list nor a flood of events keeps
/// what they say from being new.
const FIRST_LIST: Span = Span::from_secs(3);
const LIST: Span = Span::from_secs(1);
const LOG: Span = Span::from_secs(1);

/// Bytes of the note after which no further sensor is named.
const NOTE_BYTES_MAX: usize = 200;

/// What the BMC has (20.1, byte 7 of the answer): a repository of sensors, and a log.
const HAS_REPOSITORY: u8 = 0x02;
const HAS_LOG: u8 = 0x04;
/// Its firmware is being changed, or it has just started (20.1, byte 4).
const IS_UPDATING: u8 = 0x80;

struct Ipmi {
    bmc: Bmc,
    list: List,
    log: Log,
}

impl Ipmi {
    fn new(bmc: Bmc) -> Self {
        Self { bmc, list: List::default(), log: Log::default() }
    }
}

fn open(root: &Root, _target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    if !root.is_machine() {
        return Err(SensorError::Unsupported("a recorded tree has no BMC to ask".into()));
    }
    Ok(Box::new(Ipmi::new(Bmc::new(Box::new(Device::open()?)))))
}

fn discover(root: &Root) -> Vec<String> {
    if has_foreign_devices(root) { Vec::new() } else { root.machine_if(DEVICE) }
}

impl Probe for Ipmi {
    fn read(&mut self, now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let bmc = &mut self.bmc;
        let until = bmc.clock().after(BUDGET);
        // Asked each time: a BMC that is not there is told from a sensor that is not.
        let answer =
            bmc.ask(0, GET_DEVICE_ID, &[]).map_err(|fault| failed(GET_DEVICE_ID, fault))?;
        let Some([_, _, firmware, _, _, support]) = answer.first_chunk() else { return Ok(()) };
        if firmware & IS_UPDATING != 0 {
            return Err(SensorError::Unsupported(
                "the BMC says that its firmware is being updated or still starts".into(),
            ));
        }
        if support & HAS_REPOSITORY == 0 {
            self.list.is_whole = true;
        } else {
            let share = if self.list.points.is_empty() { FIRST_LIST } else { LIST };
            let until = bmc.clock().after(share).min(until);
            self.list.collect(bmc, now, until)?;
        }
        if support & HAS_LOG == 0 {
            for name in ["sel-entries", "sel-used", "sel-critical"] {
                out.absent(name);
            }
        } else {
            let until = bmc.clock().after(LOG).min(until);
            self.log.read(bmc, now, until, &self.list.points, out)?;
        }
        self.list.ask(bmc, until)?;
        if self.list.is_mute() {
            return Err(SensorError::Unsupported(
                "the BMC lists sensors and answers for none of them; `mc reset` of ipmitool helps"
                    .into(),
            ));
        }
        self.fill(now, out);
        Ok(())
    }

    /// The list takes seconds to read, and which events are new is known to nobody else.
    fn is_worth_keeping(&self) -> bool {
        true
    }
}

/// Which quantity a sensor that is not well counts in; each counts in one.
fn part(point: &Point, level: Level) -> &'static str {
    match (point.kind, point.states, level) {
        (_, THRESHOLD, Level::Warning) => "warnings",
        (_, THRESHOLD, Level::Critical) => "critical",
        (INTRUSION, _, _) => "intrusion",
        (_, REDUNDANCY, Level::Warning) => "redundancy-lost",
        (POWER_SUPPLY, _, Level::Critical) => "power-supplies-failed",
        (_, _, Level::Warning) => "warnings",
        (_, _, Level::Critical) => "critical",
    }
}

impl Ipmi {
    fn fill(&self, now: Mono, out: &mut Readings) {
        let points = &self.list.points;
        let known = points.iter().filter(|point| matches!(point.said, Said::Fine | Said::Bad(..)));
        // What was not asked yet is not healthy: then only bad news is news.
        let whole = self.list.is_whole && !points.iter().any(|point| point.said == Said::Unasked);
        out.count("sensors", known.clone().count() as u64);
        let count = |name| {
            let bad = points.iter().filter(|point| match &point.said {
                Said::Bad(level, _) => part(point, *level) == name,
                Said::Unasked | Said::Nothing | Said::Fine => false,
            });
            bad.count() as u64
        };
        let is_discrete = |point: &&Point| point.states != THRESHOLD;
        let of = |kind| known.clone().filter(is_discrete).any(|point| point.kind == kind);
        let has_redundancy = known.clone().any(|point| point.states == REDUNDANCY);
        for (name, is_there, is_flag) in [
            ("warnings", !points.is_empty(), false),
            ("critical", !points.is_empty(), false),
            ("power-supplies-failed", of(POWER_SUPPLY), false),
            ("redundancy-lost", has_redundancy, true),
            ("intrusion", of(INTRUSION), true),
        ] {
            match count(name) {
                0 if !whole => {}
                0 if !is_there => out.absent(name),
                count if is_flag => out.flag(name, count > 0),
                count => out.count(name, count),
            }
        }
        out.note = self.note(now).map(String::into_boxed_str);
    }

    /// `PSU2 input lost, CPU1 Temp 96C, limit 95C; event log: memory uncorrectable error`.
    fn note(&self, now: Mono) -> Option<String> {
        let mut note = String::new();
        for wanted in [Level::Critical, Level::Warning] {
            for point in &self.list.points {
                if let Said::Bad(level, words) = &point.said
                    && *level == wanted
                    && note.len() < NOTE_BYTES_MAX
                {
                    note.push_str(if note.is_empty() { "" } else { "; " });
                    note.push_str(words);
                }
            }
        }
        if let Some(words) = self.log.told(now) {
            note.push_str(if note.is_empty() { "" } else { "; " });
            note.push_str("event log: ");
            note.push_str(words);
        }
        if note.is_empty() && !self.list.is_whole {
            note = match &self.list.trouble {
                Some(trouble) => trouble.to_string(),
                None => format!("reading the BMC's list of sensors, {} so far", self.list.found()),
            };
        }
        if note.is_empty() { None } else { Some(note) }
    }
}

#[cfg(test)]
mod tests;
