//! One function for each kind of part: what it is, in words.

use mastiff_core::health::Verdict;
use mastiff_core::reading::{Shown, Unit, Value};
use mastiff_core::view::{CheckView, ValueView};
use mastiff_hwmon::inventory::{
    Array, Chip, Disk, Interface, Inventory, Mapping, Medium, Memory, Module, Place, Watchdog,
};

use super::super::check::reason;
use super::super::print::counted;
use super::sections::Part;

/// Degrees left before a critical limit below which a chip gets a row of its own.
const NEAR_CELSIUS: f64 = 15.0;

/// Of a chip.
const OF_CHIP: [&str; 5] = ["temperature", "to-critical", "fan", "fans-stopped", "power"];

/// Of the thermal zones and the processors.
const OF_HEAT: [&str; 3] = ["temperature", "to-critical", "throttles"];

/// Of a single point, with its unit where the value is shown without one.
const OF_POINT: [(&str, &str); 5] =
    [("temperature", ""), ("fan", " rpm"), ("voltage", " V"), ("current", " A"), ("power", " W")];

/// Values that are shown of a check that is not known here.
const VALUES_MAX: usize = 4;

/// Modules that are named without `--all`.
const LABELS_MAX: usize = 32;

/// Of a disk: what tells most, in this order. What counts errors is shown only if there are any.
const OF_DISK: [&str; 12] = [
    "temperature",
    "wear",
    "power-on",
    "spare",
    "media-errors",
    "reallocated",
    "pending",
    "uncorrectable",
    "link-errors",
    "asleep",
    "stalled",
    "busy",
];

/// The words that are there, with a blank between them.
fn words<'a>(words: impl IntoIterator<Item = Option<&'a str>>) -> String {
    let words: Vec<&str> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// The same with commas.
fn list(parts: impl IntoIterator<Item = Option<String>>) -> String {
    let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit behind the point")]
fn size(bytes: u64) -> String {
    Shown(Unit::Bytes, Some(&Value::Number(bytes as f64))).to_string()
}

pub(super) fn machine(
    inventory: &Inventory,
    ecc: &[&CheckView],
    ipmi: &[&CheckView],
    all: bool,
) -> Vec<Part> {
    let machine = &inventory.machine;
    let name = words([machine.maker.as_deref(), machine.model.as_deref()]);
    let place = match machine.place {
        Place::Hardware => None,
        Place::Virtual => Some("virtual machine".to_string()),
        Place::Container => Some("container".to_string()),
    };
    let serial = machine.serial.as_ref().map(|serial| format!("serial number {serial}"));
    let firmware = machine.firmware.as_ref().map(|version| match &machine.firmware_date {
        Some(date) => format!("firmware {version} of {date}"),
        None => format!("firmware {version}"),
    });
    let mut parts = Vec::new();
    let mut add = |name: &str, line: String| {
        if !line.is_empty() {
            parts.push(Part::new(name, line));
        }
    };
    add("system", list([Some(name), place, serial]));
    add("board", list([machine.board.clone(), firmware]));
    add("processors", processors(inventory));
    parts.push(memory(&inventory.memory, ecc, all));
    if let Some(node) = &inventory.bmc {
        let values = ipmi.iter().map(|check| Some(values(check)));
        parts.push(Part::new("BMC", node.clone()).with(ipmi.iter().copied()).line(list(values)));
    }
    parts
}

fn processors(inventory: &Inventory) -> String {
    let processors = &inventory.processors;
    let model = processors.model.as_deref().unwrap_or("processor");
    let sockets = processors.sockets.unwrap_or(1);
    let model = if sockets > 1 { format!("{sockets} x {model}") } else { model.to_string() };
    let count = |count: Option<usize>, what| count.map(|count| counted(count, what));
    list([Some(model), count(processors.cores, "core"), count(processors.threads, "thread")])
}

fn memory(memory: &Memory, ecc: &[&CheckView], all: bool) -> Part {
    let correction = memory.correction.as_deref().map(|how| match how {
        "none" => "no ECC".to_string(),
        how if how.contains("ECC") => how.to_string(),
        how => format!("ECC ({how})"),
    });
    let line = list([memory.bytes.map(size), correction, modules(&memory.modules)]);
    let line = if line.is_empty() { "size unknown".to_string() } else { line };
    let mut part = Part::new("memory", line).with(ecc.iter().copied());
    for check in ecc {
        part = part.line(picked(check, &["corrected", "uncorrected"], true));
    }
    if !all {
        let labels = memory.modules.iter().take(LABELS_MAX).map(|it| Some(it.label.clone()));
        return part.line(list(labels));
    }
    for module in &memory.modules {
        let size = module.bytes.map(size);
        let size = words([size.as_deref(), module.kind.as_deref()]);
        part = part.line(format!("{}: {size}", module.label));
    }
    part
}

/// `12 x 16.0 GiB DDR4, 2 x 8.0 GiB DDR4`.
fn modules(modules: &[Module]) -> Option<String> {
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for module in modules {
        let size = module.bytes.map(size);
        let kind = words([size.as_deref(), module.kind.as_deref()]);
        match kinds.iter_mut().find(|known| known.0 == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    let kinds = kinds.into_iter().map(|(kind, count)| Some(format!("{count} x {kind}")));
    Some(list(kinds)).filter(|text| !text.is_empty()).map(|text| format!("modules: {text}"))
}

pub(super) fn disk(disk: &Disk, checks: &[&CheckView]) -> Part {
    let medium = match disk.medium {
        Medium::Solid => "SSD",
        Medium::Virtual if disk.transport.is_none() => "virtual disk",
        Medium::Volume => "disk or volume",
        Medium::Rotating | Medium::Virtual | Medium::Unknown => "disk",
    };
    let rpm = disk.rpm.map(|rpm| format!("({rpm} rpm)"));
    let size = disk.bytes.map(size);
    let what = words([size.as_deref(), disk.transport, Some(medium), rpm.as_deref()]);
    let name = words([disk.model.as_deref(), disk.serial.as_deref()]);
    let driver = match &disk.driver {
        // Said by the transport already.
        Some(driver) if !["nvme", "virtio_blk"].contains(&driver.as_str()) => {
            Some(format!("by {driver}"))
        }
        _ => None,
    };
    let is_asked = checks.iter().any(|check| check.sensor == "disk-health");
    let unasked = (!is_asked && disk.medium != Medium::Virtual).then(|| "health not asked".into());
    let values = checks.iter().map(|check| Some(picked(check, &OF_DISK, false)));
    Part::new(&disk.name, list([Some(what), Some(name), driver]))
        .with(checks.iter().copied())
        .line(list([unasked].into_iter().chain(values)))
        .line(used_by(&disk.used_by))
}

fn used_by(users: &[String]) -> String {
    if users.is_empty() { String::new() } else { format!("used by {}", users.join(", ")) }
}

pub(super) fn array(array: &Array, checks: &[&CheckView]) -> Part {
    let size = array.bytes.map(size);
    let level = array.level.as_deref().unwrap_or("of unknown level");
    let what = words([size.as_deref(), Some(level)]);
    let members = (!array.members.is_empty()).then(|| format!("of {}", array.members.join(", ")));
    let of_work = ["state", "action", "progress", "remaining", "spares", "faulty", "mismatches"];
    let values = checks.iter().map(|check| Some(picked(check, &of_work, false)));
    Part::new(&array.name, words([Some(&*what), members.as_deref()]))
        .with(checks.iter().copied())
        .line(list(values))
        .line(used_by(&array.used_by))
}

/// One part for each that is not well or has a check of what it consists of, such as the paths of a
/// multipath disk; the others are counted.
pub(super) fn mappings<'a>(
    inventory: &Inventory,
    checks: impl Fn(&Mapping) -> Vec<&'a CheckView>,
) -> Vec<Part> {
    let (mut parts, mut others, mut count) = (Vec::new(), Vec::new(), 0_usize);
    for mapping in &inventory.mappings {
        let own = checks(mapping);
        let size = mapping.bytes.map(size);
        let what = words([size.as_deref(), mapping.kind.as_deref(), Some(&mapping.name)]);
        let name = mapping.label.as_deref().unwrap_or(&mapping.name);
        let is_composed = own.iter().any(|check| check.sensor == "device-mapper");
        let values = own.iter().filter(|check| check.sensor != "block");
        let values = list(values.map(|check| Some(self::values(check))));
        let part = Part::new(name, what).with(own.iter().copied());
        if is_composed || !part.is_well() {
            parts.push(part.line(values).line(used_by(&mapping.used_by)));
        } else {
            count = count.saturating_add(1);
            others.extend(own);
        }
    }
    if count > 0 {
        parts.push(Part::new("others", counted(count, "mapping")).with(others));
    }
    parts
}

pub(super) fn interface(interface: &Interface) -> Part {
    let state = match (interface.is_up, interface.has_carrier, interface.speed_mbit) {
        (Some(false), _, _) => "switched off".to_string(),
        (_, Some(false), _) => "no carrier".to_string(),
        (_, Some(true), Some(speed)) if speed >= 1000 && speed % 1000 == 0 => {
            format!("{} Gbit/s", speed / 1000)
        }
        (_, Some(true), Some(speed)) => format!("{speed} Mbit/s"),
        (_, Some(true), None) => "connected".to_string(),
        (_, None, _) => "carrier unknown".to_string(),
    };
    let members = (!interface.members.is_empty()).then(|| {
        let names = interface.members.join(", ");
        format!("over {names}")
    });
    let part_of = interface.part_of.as_ref().map(|master| format!("part of {master}"));
    let driver = interface.driver.clone();
    let line = list([Some(state), driver, interface.address.clone(), members, part_of]);
    Part::new(&interface.name, line)
}

/// One row for all chips, and one for each that is not well or near its limits; with `points` one
/// for every chip, with its points under it.
pub(super) fn sensors(
    inventory: &Inventory,
    chips: &[&CheckView],
    thermal: &[&CheckView],
    points: &[&CheckView],
) -> Vec<Part> {
    let sum = |count: fn(&Chip) -> usize| inventory.chips.iter().map(count).sum();
    let count = |count: usize, what| (count > 0).then(|| counted(count, what));
    let what = list([
        count(inventory.chips.len(), "chip"),
        count(sum(|chip| chip.temperatures), "temperature"),
        count(sum(|chip| chip.fans), "fan"),
        count(sum(|chip| chip.electric), "electric value"),
    ]);
    let mut parts = Vec::new();
    if !what.is_empty() {
        let extremes = list([
            extreme(chips, "temperature", "highest temperature", true),
            extreme(chips, "to-critical", "least left before a limit", false),
            extreme(chips, "fan", "slowest fan", false),
        ]);
        // A check of a chip that has gone has no row here.
        let is_here = |check: &&CheckView| inventory.chips.iter().any(|it| it.name == check.target);
        let here = chips.iter().copied().filter(is_here);
        parts.push(Part::new("all chips", what).summing(here).line(extremes));
    }
    for check in thermal {
        parts.push(Part::new("heat", picked(check, &OF_HEAT, true)).with([*check]));
    }
    for chip in &inventory.chips {
        let own = chips.iter().copied().find(|check| check.target == chip.name);
        let near = own.and_then(|check| number(check, "to-critical"));
        let is_near = near.is_some_and(|left| left < NEAR_CELSIUS);
        let is_bad = own.is_some_and(|check| check.verdict > Verdict::Healthy);
        let points = points.iter().filter(|point| is_of_chip(point, &chip.name));
        let points: Vec<String> = points.map(|point| point_line(point, &chip.name)).collect();
        if !is_near && !is_bad && points.is_empty() {
            continue;
        }
        let line =
            own.map_or_else(|| "not watched".to_string(), |own| picked(own, &OF_CHIP, false));
        let mut part = Part::new(&chip.name, line).with(own);
        for line in points {
            part = part.line(line);
        }
        parts.push(part);
    }
    parts
}

fn is_of_chip(point: &CheckView, chip: &str) -> bool {
    point.target.split_once('/').is_some_and(|(of, _)| of == chip)
}

/// `Core 0: 43.0C`, or why it says nothing.
fn point_line(point: &CheckView, chip: &str) -> String {
    let label = point.target.get(chip.len() + 1..).unwrap_or_default();
    let value = OF_POINT.iter().find_map(|(name, unit)| {
        let value = point.values.iter().find(|value| value.name == *name)?;
        is_told(value, true).then(|| format!("{}{unit}", value.shown))
    });
    let state = match point.verdict {
        Verdict::Rests | Verdict::Healthy => None,
        verdict => Some(format!("{verdict} ({})", reason(point))),
    };
    format!("{label}: {}", list([value, state]))
}

/// The chip whose value is highest or lowest: `highest temperature 45.0C (coretemp-isa-0000)`.
fn extreme(checks: &[&CheckView], name: &str, words: &str, highest: bool) -> Option<String> {
    let values = checks.iter().filter_map(|check| Some((number(check, name)?, *check)));
    let best = values.reduce(|one, other| if (other.0 > one.0) == highest { other } else { one });
    let (_, check) = best?;
    let value = check.values.iter().find(|value| value.name == name)?;
    let unit = OF_POINT.iter().find(|known| known.0 == name).map_or("", |known| known.1);
    Some(format!("{words} {}{unit} ({})", value.shown, check.target))
}

fn number(check: &CheckView, name: &str) -> Option<f64> {
    check.values.iter().find(|value| value.name == name)?.number
}

/// What it counted that is not nothing.
pub(super) fn kernel_log(check: &CheckView) -> Part {
    let is_event = |it: &&ValueView| it.name != "records" && is_told(it, false);
    let counted = check.values.iter().filter(is_event);
    let counted = list(counted.map(|value| Some(format!("{} {}", value.name, value.shown))));
    let line = match counted.is_empty() {
        true if check.reading_age_secs.is_none() => "not read".to_string(),
        true => "no event of the kinds that are counted".to_string(),
        false => counted,
    };
    Part::new("events", line).with([check])
}

pub(super) fn watchdog(watchdog: &Watchdog) -> Part {
    let active = watchdog.active.map(|active| {
        let word = if active { "counts down" } else { "does not count down" };
        word.to_string()
    });
    let timeout = watchdog.timeout_secs.map(|secs| format!("resets after {secs}s"));
    let line = list([Some(watchdog.kind.to_string()), watchdog.identity.clone(), active, timeout]);
    Part::new(&watchdog.name, line)
}

/// What a check watches that is no part known here, by the sensor: targets may be long.
pub(super) fn other(check: &CheckView) -> Part {
    let line = list([Some(check.target.clone()), Some(values(check))]);
    Part::new(&check.sensor, line).with([check])
}

/// What says most of a check that has no words of its own here.
pub(super) fn values(check: &CheckView) -> String {
    let told = check.values.iter().filter(|it| it.name != "present" && is_told(it, false));
    let told = told.take(VALUES_MAX).map(|value| Some(format!("{} {}", value.name, value.shown)));
    list([check.note.clone()].into_iter().chain(told))
}

/// The values of these names that are known, in their order. Zeros and noes only where `dull`.
fn picked(check: &CheckView, names: &[&str], dull: bool) -> String {
    let named = names.iter().filter_map(|name| check.values.iter().find(|it| it.name == *name));
    let told = named.filter(|value| is_told(value, dull));
    list(told.map(|value| Some(format!("{} {}", value.name, value.shown))))
}

fn is_told(value: &ValueView, dull: bool) -> bool {
    match &*value.shown {
        "none" | "unknown" | "" => false,
        "no" | "0" | "0s" => dull,
        _ => true,
    }
}
