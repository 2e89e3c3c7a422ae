//! Heat of the whole machine: the zones that the kernel watches, and how often it had to slow
//! processors down.
//!
//! At the critical limit of a zone the kernel switches the machine off. A zone may ask the firmware
//! for its temperature, so the prober reads it.

use std::path::PathBuf;

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::sorted::Set;
use mastiff_core::time::{Mono, Span};

use crate::host::has_foreign_devices;
use crate::kept::{self, Kept};
use crate::once;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};
use crate::text;

/// Thermal zones (/sys/class/thermal; Documentation/driver-api/thermal/sysfs-api.rst) and the
/// counters of drivers/thermal/intel/therm_throt.c.
pub const SENSOR: Sensor = Sensor {
    name: "thermal",
    hardware: true,
    summary: "Heat of the machine: the thermal zones of the kernel in /sys/class/thermal, and how often processors were slowed down by heat.",
    target: Target::Machine,
    options: &[],
    quantities: QUANTITIES,
    warn_when: &["to-critical < 5C", "throttles > 100 in 10m"],
    fail_when: &["to-critical < 2C"],
    // Two readings: firmware gives a value now and then that nobody meant, and then a node would be
    // failed for as long as it takes to recover.
    interval: Span::from_secs(10),
    fail_after: Span::from_secs(10),
    recover_after: Span::from_secs(60),
    discover: Some(discover),
    source: Source::MayHang(open),
};

const QUANTITIES: &[Quantity] = &[
    Quantity {
        name: "temperature",
        unit: Unit::Celsius,
        meaning: "of the hottest zone, which the note names; none without zones",
    },
    Quantity {
        name: "to-critical",
        unit: Unit::Celsius,
        meaning: "degrees left before the kernel switches the machine off, of the zone that has fewest; none where no zone has such a limit",
    },
    Quantity {
        name: "throttles",
        unit: Unit::Total,
        meaning: "times that processors and their packages were slowed down by heat since the start of the machine; none where the processor does not count (others than Intel's)",
    },
];

const ZONES: &str = "/sys/class/thermal";
const PROCESSORS: &str = "/sys/devices/system/cpu";

/// Zones at most; boards of telephones have a hundred.
const ZONES_MAX: usize = 128;

/// Processors at most: NR_CPUS of distributions.
const PROCESSORS_MAX: usize = 8192;

/// Trip points of one zone at most, THERMAL_MAX_TRIPS before Linux 6.10.
const TRIPS_MAX: u32 = 12;

/// Critical limits in degrees Celsius that can be meant: some firmwares say 20.8 of a zone that
/// always has 16.8.
const CRITICAL_LEAST: f64 = 40.0;

/// What firmware says of a thermometer that is not there lies outside.
const TEMPERATURES: std::ops::Range<f64> = -60.0..200.0;

struct Thermal {
    zones: Vec<Zone>,
    counters: Vec<Counter>,
}

struct Zone {
    kind: String,
    temperature: Kept,
    critical: Option<f64>,
    /// It gave a value since it was opened.
    known: bool,
}

/// Opened for each reading: its file goes with a processor that is switched off, and comes back.
struct Counter {
    path: PathBuf,
    /// Kept while the processor is switched off, so that the sum does not fall.
    last: Option<u64>,
}

fn open(root: &Root, _target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    let zones: Vec<Zone> = zones(root).into_iter().filter_map(zone).collect();
    let counters = counters(root);
    if zones.is_empty() && counters.is_empty() {
        return Err(SensorError::Unsupported(format!(
            "{} has no zone that can be read, and no processor counts its throttling",
            root.path(ZONES).display()
        )));
    }
    Ok(Box::new(Thermal { zones, counters }))
}

impl Probe for Thermal {
    fn read(&mut self, _now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let mut hottest: Option<(f64, &str)> = None;
        let mut left: Option<f64> = None;
        let zones = self.zones.len();
        let limited = self.zones.iter().any(|zone| zone.critical.is_some());
        for zone in &mut self.zones {
            let value = match zone.temperature.line() {
                Ok(line) => line.and_then(text::signed).map(|thousandths| thousandths / 1e3),
                Err(error) if kept::is_switched_off(&error, zone.known) => continue,
                Err(_) => None,
            };
            let Some(value) = value.filter(|value| TEMPERATURES.contains(value)) else {
                // One that never answered is taken for one that is not there.
                if zone.known {
                    let expected = "the temperature that it gave before";
                    return Err(SensorError::malformed(zone.temperature.path(), expected));
                }
                continue;
            };
            zone.known = true;
            if hottest.is_none_or(|(most, _)| value > most) {
                hottest = Some((value, &zone.kind));
            }
            if let Some(critical) = zone.critical {
                let own = critical - value;
                left = Some(left.map_or(own, |least: f64| least.min(own)));
            }
        }
        match hottest {
            Some((value, kind)) => {
                out.number("temperature", value);
                out.note = Some(format!("the hottest zone is {kind} with {value:.1}C").into());
            }
            None if zones == 0 => out.absent("temperature"),
            None => {}
        }
        match left {
            Some(left) => out.number("to-critical", left),
            None if !limited => out.absent("to-critical"),
            None => {}
        }
        if self.counters.is_empty() {
            out.absent("throttles");
        } else if let Some(sum) = self
            .counters
            .iter_mut()
            .try_fold(0_u64, |sum, one| one.value().map(|one| sum.saturating_add(one)))
        {
            out.count("throttles", sum);
        }
        Ok(())
    }
}

impl Counter {
    fn value(&mut self) -> Option<u64> {
        self.last = once::number(&self.path).or(self.last);
        self.last
    }
}

fn zones(root: &Root) -> Vec<PathBuf> {
    once::numbered(&root.path(ZONES), "thermal_zone", ZONES_MAX)
}

fn zone(directory: PathBuf) -> Option<Zone> {
    let line = |name: &str| once::line(&directory.join(name));
    let kind = once::shown(&directory.join("type"))?;
    let critical = (0..TRIPS_MAX)
        .filter(|trip| line(&format!("trip_point_{trip}_type")).is_some_and(|t| t == "critical"))
        .filter_map(|trip| text::signed(&line(&format!("trip_point_{trip}_temp"))?))
        .map(|thousandths| thousandths / 1e3)
        .find(|limit| *limit >= CRITICAL_LEAST);
    let temperature = Kept::open_short(directory.join("temp")).ok()?;
    Some(Zone { kind, temperature, critical, known: false })
}

/// One for each package, whose thermometer is that of its hottest core; for each core where the
/// package has none (Intel before 2011).
fn counters(root: &Root) -> Vec<Counter> {
    let mut packages: Set<u64> = Set::default();
    let mut counters = Vec::new();
    for processor in once::numbered(&root.path(PROCESSORS), "cpu", PROCESSORS_MAX) {
        let mut path = processor.join("thermal_throttle/package_throttle_count");
        if path.exists() {
            // Each processor of a package counts the same.
            let package = once::number(&processor.join("topology/physical_package_id"));
            if package.is_some_and(|package| !packages.insert(package)) {
                continue;
            }
        } else {
            path = processor.join("thermal_throttle/core_throttle_count");
        }
        if path.exists() {
            counters.push(Counter { path, last: None });
        }
    }
    counters
}

fn discover(root: &Root) -> Vec<String> {
    let throttle = root.path(PROCESSORS).join("cpu0/thermal_throttle");
    let there = !has_foreign_devices(root) && (throttle.exists() || !zones(root).is_empty());
    if there { vec![String::new()] } else { Vec::new() }
}
