//! Temperatures, fans, voltages and power, as the chips of the machine measure them, held against
//! the limits that the chips state themselves.
//!
//! One check watches a whole chip, so that a server with seventy measuring points has ten rows
//! in `mastiff status` and not seventy; the note names the point that is out of its limits. A
//! point can be watched alone: its target is `CHIP/LABEL`.
//!
//! Some values are fetched over a slow bus or from a disk that may be dying, so the prober reads
//! them.

use std::path::{Path, PathBuf};

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::host::has_foreign_devices;
use crate::once;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};

mod channel;
mod chip;
mod intrusion;

use channel::{Channel, Kind, Said, Verdict};
use intrusion::Switch;

/// Chips of the class hwmon (/sys/class/hwmon; Documentation/hwmon/sysfs-interface.rst).
pub const SENSOR: Sensor = Sensor {
    name: "hwmon",
    hardware: true,
    summary: "Temperatures, fans, voltages and power of one chip, or of one of its measuring points, from /sys/class/hwmon, and whether they are within the chip's own limits. The target is the chip as sensors(1) prints it (coretemp-isa-0000), which holds over reboots, or a chip and a label (coretemp-isa-0000/Core 0).",
    target: Target::Name,
    options: &[],
    quantities: QUANTITIES,
    warn_when: &["present = false", "warnings > 0", "broken > 0", "fans-stopped > 0", "intrusion"],
    fail_when: &["critical > 0"],
    interval: Span::from_secs(10),
    fail_after: Span::from_secs(30),
    recover_after: Span::from_secs(60),
    discover: Some(discover),
    source: Source::MayHang(open),
};

const QUANTITIES: &[Quantity] = &[
    Quantity { name: "present", unit: Unit::Flag, meaning: "the chip and the label are there" },
    Quantity {
        name: "temperature",
        unit: Unit::Celsius,
        meaning: "the highest of its temperatures; none where it measures none",
    },
    Quantity {
        name: "to-critical",
        unit: Unit::Celsius,
        meaning: "degrees left before a critical limit of the chip, of the point that has fewest; negative beyond it, none where it states no such limit",
    },
    Quantity {
        name: "fan",
        unit: Unit::Count,
        meaning: "revolutions per minute of its slowest fan; one that never turned and has no lowest speed is taken for an empty plug; none without fans",
    },
    Quantity {
        name: "fans-stopped",
        unit: Unit::Count,
        meaning: "fans that turned since the daemon looks and stand now, although the chip was not told to stop them; none without fans, and on graphics cards, which stop theirs at will",
    },
    Quantity {
        name: "warnings",
        unit: Unit::Count,
        meaning: "points beyond their ordinary limits, and fans below their lowest speed, unless they were told to stop; limits that were never set do not count",
    },
    Quantity {
        name: "broken",
        unit: Unit::Count,
        meaning: "fans and points that the chip calls broken; a thermometer that was so from the beginning is taken for one that the board lacks",
    },
    Quantity {
        name: "critical",
        unit: Unit::Count,
        meaning: "points beyond their critical limits",
    },
    Quantity {
        name: "intrusion",
        unit: Unit::Flag,
        meaning: "the chassis was opened since the daemon looks; no more after a 0 is written to intrusion*_alarm of the chip; none without a switch, or where it was so from the beginning, as on boards whose switch is not connected",
    },
    Quantity {
        name: "power",
        unit: Unit::Count,
        meaning: "watts, the highest if it measures several; none where it measures none",
    },
    Quantity {
        name: "voltage",
        unit: Unit::Count,
        meaning: "volts, without the sign; only of a single point",
    },
    Quantity { name: "current", unit: Unit::Count, meaning: "amperes; only of a single point" },
];

/// Chips watched without configuration at most.
const DISCOVERED_MAX: usize = 64;

/// Disks, left out of what is watched by itself: `disk-health` tells their temperature. It asks a
/// rotating disk (`drivetemp`) first whether it sleeps, which this could keep it from.
const NOT_BY_ITSELF: [&str; 2] = ["drivetemp-", "nvme-"];

/// Graphics cards stop their fans while they are cool.
const GRAPHICS: [&str; 5] = ["amdgpu-", "radeon-", "nouveau-", "i915-", "xe-"];

/// Limits and channels are looked up again after this time: a limit of an NVMe disk is a command
/// to the disk.
const LOOK_AGAIN: Span = Span::from_secs(300);

/// Bytes of the note after which no further point is named.
const NOTE_BYTES_MAX: usize = 160;

struct Hwmon {
    root: Root,
    chip: String,
    label: Option<String>,
    directory: PathBuf,
    channels: Vec<Channel>,
    switches: Vec<Switch>,
    opened: Option<Mono>,
}

fn open(root: &Root, target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    let class = root.path(chip::CLASS);
    if !class.is_dir() {
        return Err(SensorError::Unsupported(format!("{} is not there", class.display())));
    }
    let (chip, label) = match target.split_once('/') {
        Some((chip, label)) => (chip, Some(label.to_owned())),
        None => (target, None),
    };
    Ok(Box::new(Hwmon {
        root: root.clone(),
        chip: chip.to_owned(),
        label,
        directory: PathBuf::new(),
        channels: Vec::new(),
        switches: Vec::new(),
        opened: None,
    }))
}

impl Probe for Hwmon {
    fn read(&mut self, now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let stale = self.opened.is_none_or(|opened| now.since(opened) > LOOK_AGAIN);
        if stale || !self.directory.exists() {
            self.look(now)?;
        }
        out.flag("present", !self.channels.is_empty());
        if self.channels.is_empty() {
            for quantity in QUANTITIES.iter().skip(1) {
                out.absent(quantity.name);
            }
            out.note = Some("not there; `sensors` or /sys/class/hwmon say what is".into());
            return Ok(());
        }
        let mut sum = Sum { alone: self.label.is_some(), ..Sum::default() };
        for channel in &mut self.channels {
            match channel.read() {
                Said::Value(value, verdict) => sum.add(channel, value, verdict),
                Said::Nothing if sum.alone => sum.failed.push(channel.kind),
                Said::Nothing => {}
                Said::Failed(error) => {
                    // One that never answered is taken for one that is not there.
                    if channel.known || sum.alone {
                        sum.failed.push(channel.kind);
                    }
                    sum.error = Some(error);
                }
            }
        }
        if sum.error.is_some() {
            // The driver may have been loaded anew.
            self.opened = None;
        }
        intrusion::tell(&mut self.switches, &mut sum.note, out);
        let graphics = GRAPHICS.iter().any(|card| self.chip.starts_with(card));
        sum.fill(&self.channels, graphics, out)
    }

    /// That a fan turned, and that the chassis was closed, is known to nobody else.
    fn is_worth_keeping(&self) -> bool {
        self.channels.iter().any(|channel| channel.turned) || !self.switches.is_empty()
    }
}

impl Hwmon {
    /// Opens what the target names, and keeps what is known of its channels.
    fn look(&mut self, now: Mono) -> Result<(), SensorError> {
        let before = std::mem::take(&mut self.channels);
        let found = chip::all(&self.root).into_iter().find(|chip| chip.name == self.chip);
        self.opened = Some(now);
        let Some(found) = found else {
            self.directory = PathBuf::new();
            return Ok(());
        };
        let same = self.directory == found.directory;
        self.directory = found.directory;
        let mut channels = channel::all(&self.directory)?;
        match &self.label {
            Some(label) => {
                let wanted = channels.iter().position(|channel| channel.label == *label);
                let wanted = wanted.or_else(|| channels.iter().position(|c| c.name == *label));
                channels = wanted.map(|at| vec![channels.swap_remove(at)]).unwrap_or_default();
            }
            // The sensor of the package shows the hottest of its cores (Intel SDM volume 3,
            // IA32_PACKAGE_THERM_STATUS), and asking each core wakes it.
            None if channels.iter().any(is_package) && self.chip.starts_with("coretemp-") => {
                channels.retain(is_package);
            }
            None => {}
        }
        for channel in &mut channels {
            let old = before.iter().find(|old| same && old.name == channel.name);
            if let Some(old) = old {
                (channel.known, channel.turned) = (old.known, old.turned);
            }
        }
        self.channels = channels;
        let known = if same { std::mem::take(&mut self.switches) } else { Vec::new() };
        self.switches = match &self.label {
            Some(_) => Vec::new(),
            None => intrusion::all(&self.directory, &known),
        };
        Ok(())
    }
}

fn is_package(channel: &Channel) -> bool {
    channel.label.starts_with("Package id")
}

/// What the channels say together.
#[derive(Default)]
struct Sum {
    alone: bool,
    temperature: Option<f64>,
    left: Option<f64>,
    fan: Option<f64>,
    stopped: u64,
    power: Option<f64>,
    voltage: Option<f64>,
    current: Option<f64>,
    warnings: u64,
    broken: u64,
    critical: u64,
    answered: bool,
    /// Kinds of those that had a value and cannot be read.
    failed: Vec<Kind>,
    error: Option<SensorError>,
    note: String,
}

impl Sum {
    fn add(&mut self, channel: &Channel, value: f64, verdict: Verdict) {
        self.answered = true;
        let stopped = channel.stands && verdict == Verdict::Fine;
        if (verdict > Verdict::Fine || stopped) && self.note.len() < NOTE_BYTES_MAX {
            channel.tell(value, verdict, &mut self.note);
        }
        match verdict {
            Verdict::Fine => {}
            Verdict::Warning => self.warnings = self.warnings.saturating_add(1),
            Verdict::Critical => self.critical = self.critical.saturating_add(1),
            Verdict::Broken => {
                self.broken = self.broken.saturating_add(1);
                self.failed.push(channel.kind);
                return;
            }
        }
        let more = |old: Option<f64>| Some(old.map_or(value, |old| old.max(value)));
        match channel.kind {
            Kind::Temperature => {
                self.temperature = more(self.temperature);
                if let Some(left) = channel.left(value) {
                    self.left = Some(self.left.map_or(left, |old| old.min(left)));
                }
            }
            Kind::Fan if channel.is_fan() || self.alone => {
                self.fan = Some(self.fan.map_or(value, |old| old.min(value)));
                self.stopped = self.stopped.saturating_add(u64::from(channel.stands));
            }
            Kind::Fan => {}
            Kind::Power => self.power = more(self.power),
            Kind::Voltage => self.voltage = Some(value.abs()),
            Kind::Current => self.current = Some(value.abs()),
        }
    }

    /// # Errors
    /// When nothing answered.
    fn fill(
        self,
        channels: &[Channel],
        graphics: bool,
        out: &mut Readings,
    ) -> Result<(), SensorError> {
        if !self.answered
            && let Some(error) = self.error
        {
            return Err(error);
        }
        let alone = self.alone;
        let failed = |kind| self.failed.contains(&kind);
        let mut set = |name, value: Option<f64>, kind| match value {
            // Of some points the highest is not the highest of all.
            _ if failed(kind) => {}
            Some(value) => out.number(name, value),
            None => out.absent(name),
        };
        set("temperature", self.temperature, Kind::Temperature);
        set("to-critical", self.left, Kind::Temperature);
        set("fan", self.fan.map(f64::abs), Kind::Fan);
        set("power", self.power.map(f64::abs), Kind::Power);
        set("voltage", self.voltage.filter(|_| alone), Kind::Voltage);
        set("current", self.current.filter(|_| alone), Kind::Current);
        if graphics || !channels.iter().any(|channel| channel.kind == Kind::Fan) {
            out.absent("fans-stopped");
        } else if !failed(Kind::Fan) || self.stopped > 0 {
            out.count("fans-stopped", self.stopped);
        }
        // What cannot be read is not healthy: then only bad news is news.
        let whole = self.failed.len() as u64 == self.broken && (self.answered || !alone);
        for (name, count) in [("warnings", self.warnings), ("critical", self.critical)] {
            if whole || count > 0 {
                out.count(name, count);
            }
        }
        if whole || self.broken > 0 {
            out.count("broken", self.broken);
        }
        out.note = match (self.note.is_empty(), self.error) {
            (false, _) => Some(self.note.into()),
            (true, Some(error)) if !whole => Some(error.to_string().into()),
            (true, None) if alone && !whole => Some("switched off or not connected".into()),
            (true, _) => None,
        };
        Ok(())
    }
}

/// Chips that measure heat or turn fans. Nothing is read but names: a value could hang.
fn discover(root: &Root) -> Vec<String> {
    if has_foreign_devices(root) {
        return Vec::new();
    }
    let mut found: Vec<String> = Vec::new();
    for chip in chip::all(root) {
        let is_disk = NOT_BY_ITSELF.iter().any(|disk| chip.name.starts_with(disk));
        if !is_disk && is_worth_watching(&chip.directory) {
            found.push(chip.name);
        }
    }
    found.truncate(DISCOVERED_MAX);
    found
}

/// One measuring point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its chip, as in a target.
    pub chip: String,
    /// What the driver calls it, else its name (`temp1`); the target is `CHIP/LABEL`.
    pub label: String,
    /// `temperature`, `fan`, `voltage`, `current` or `power`: the quantity with its value.
    pub quantity: &'static str,
    /// Whether it is on a disk, which reading it may wake.
    pub is_disk: bool,
}

/// Every measuring point of every chip. Nothing is read but names: a value could hang.
#[must_use]
pub fn points(root: &Root) -> Vec<Point> {
    let mut all: Vec<Point> = Vec::new();
    for chip in chip::all(root) {
        let is_disk = NOT_BY_ITSELF.iter().any(|disk| chip.name.starts_with(disk));
        for (label, name, quantity) in channel::names(&chip.directory) {
            // Of two with one label the target means the first.
            let taken = all.iter().any(|one| one.chip == chip.name && one.label == label);
            let label = if taken { name } else { label };
            all.push(Point { chip: chip.name.clone(), label, quantity, is_disk });
        }
    }
    all
}

/// Batteries and sockets are chips with a voltage, too.
fn is_worth_watching(directory: &Path) -> bool {
    once::names(directory)
        .iter()
        .any(|name| matches!(channel::numbered(name), Some((Kind::Temperature | Kind::Fan, _))))
}
