//! The parts of the page: each has a name, what its checks say, and lines.

use mastiff_core::health::Verdict;
use mastiff_core::view::CheckView;
use mastiff_hwmon::inventory::{self, Disk, Inventory, Mapping};
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::Target;
use serde::Serialize;

use super::super::check::reason;
use super::super::print::{Tone, duration};
use super::super::table::{Cell, Table};
use super::parts;

/// Sensors of file systems that are arrays as well.
const POOLS: [&str; 2] = ["btrfs", "zfs"];

/// A heading and what stands under it.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) parts: Vec<Part>,
}

/// One part of the machine.
#[derive(Debug, Default, Serialize)]
pub(super) struct Part {
    pub(super) name: String,
    /// The worst of its checks that are not paused; `None` where none looks at it.
    pub(super) verdict: Option<Verdict>,
    /// What it is, and what was measured.
    pub(super) lines: Vec<String>,
    /// Why it is not well.
    #[serde(skip)]
    reasons: Vec<Reason>,
    /// Its checks by name.
    pub(super) checks: Vec<String>,
}

#[derive(Debug)]
struct Reason {
    text: String,
    for_secs: f64,
}

impl Part {
    pub(super) fn new(name: &str, line: String) -> Self {
        Self { name: name.into(), lines: vec![line], ..Self::default() }
    }

    /// Takes the verdict of checks that have a part of their own if they are not well.
    pub(super) fn summing<'a>(mut self, checks: impl IntoIterator<Item = &'a CheckView>) -> Self {
        self = self.with(checks);
        self.reasons.clear();
        self
    }

    /// Takes what checks say.
    pub(super) fn with<'a>(mut self, checks: impl IntoIterator<Item = &'a CheckView>) -> Self {
        for check in checks {
            self.checks.push(check.name.clone());
            let is_paused = check.paused.is_some();
            if !is_paused {
                self.verdict = self.verdict.max(Some(check.verdict.max(Verdict::Healthy)));
            }
            if check.verdict > Verdict::Healthy {
                let paused = if is_paused { "paused; " } else { "" };
                let text = format!("{}: {paused}{}", check.sensor, reason(check));
                self.reasons.push(Reason { text, for_secs: check.for_secs });
            }
        }
        self
    }

    /// Whether somebody should look at it, or it could not be looked at.
    pub(super) fn is_well(&self) -> bool {
        self.verdict.is_none_or(|verdict| verdict <= Verdict::Healthy) && self.reasons.is_empty()
    }

    /// Adds a line, unless it is empty.
    pub(super) fn line(mut self, line: String) -> Self {
        self.lines.extend(Some(line).filter(|line| !line.is_empty()));
        self
    }

    fn add_to(&self, table: &mut Table, timed: bool) {
        let mut name = Cell::plain(&format!("  {}", self.name));
        let mut verdict = self.verdict.map_or_else(
            || Cell::plain(""),
            |verdict| Cell::new(Tone::of(verdict), verdict.word()),
        );
        let reasons = self.reasons.iter().map(|reason| {
            if timed {
                format!("{}, for {}", reason.text, duration(reason.for_secs))
            } else {
                reason.text.clone()
            }
        });
        let (first, rest) = self.lines.split_at(self.lines.len().min(1));
        let first = first.iter().map(|line| Cell::plain(line));
        let reasons = reasons.map(|line| Cell::plain(&line));
        let rest = rest.iter().map(|line| Cell::new(Tone::Dim, line));
        for line in first.chain(reasons).chain(rest) {
            table.row(vec![name, verdict, line.wrapped()]);
            (name, verdict) = (Cell::plain(""), Cell::plain(""));
        }
    }
}

impl Section {
    fn new(title: &'static str, parts: impl IntoIterator<Item = Part>) -> Self {
        Self { title, parts: parts.into_iter().collect() }
    }

    /// Adds its rows; `timed`: whether it is known since when something is so.
    pub(super) fn add_to(&self, table: &mut Table, timed: bool) {
        table.row(vec![Cell::new(Tone::Strong, self.title)]);
        for part in &self.parts {
            part.add_to(table, timed);
        }
    }
}

/// Every section that has something. Checks of no part come last.
pub(super) fn all(
    root: &Root,
    inventory: &Inventory,
    checks: &[CheckView],
    points: &[&CheckView],
    all: bool,
) -> Vec<Section> {
    let of = |sensor: &str| -> Vec<&CheckView> {
        checks.iter().filter(|check| check.sensor == sensor).collect()
    };
    let disks = inventory.disks.iter().map(|disk| {
        let own: Vec<_> = checks.iter().filter(|it| is_of_disk(root, it, disk)).collect();
        parts::disk(disk, &own)
    });
    let arrays = inventory.arrays.iter().map(|array| {
        let own: Vec<_> = checks.iter().filter(|it| is_device(root, it, &array.name)).collect();
        parts::array(array, &own)
    });
    let pools = checks.iter().filter(|check| POOLS.contains(&&*check.sensor));
    let pools = pools.map(parts::other);
    let of_mapping = |mapping: &Mapping| -> Vec<&CheckView> {
        let is_own = |check: &&CheckView| {
            Some(&check.target) == mapping.label.as_ref() || is_device(root, check, &mapping.name)
        };
        checks.iter().filter(is_own).collect()
    };
    let links = of("link");
    let interfaces = inventory.interfaces.iter().map(|interface| {
        let own = links.iter().copied().filter(|check| check.target == interface.name);
        parts::interface(interface).with(own)
    });
    let mut sections = vec![
        Section::new("Machine", parts::machine(inventory, &of("ecc"), &of("ipmi"), all)),
        Section::new("Disks", disks),
        Section::new("Arrays", arrays.chain(pools)),
        Section::new("Mappings", parts::mappings(inventory, of_mapping)),
        Section::new("Network", interfaces),
        Section::new("Sensors", parts::sensors(inventory, &of("hwmon"), &of("thermal"), points)),
        Section::new("Watchdogs", inventory.watchdogs.iter().map(parts::watchdog)),
        Section::new("Kernel log", of("kernel-log").into_iter().map(parts::kernel_log)),
    ];
    let is_shown = |check: &CheckView| {
        sections.iter().flat_map(|it| &it.parts).any(|part| part.checks.contains(&check.name))
    };
    let others = checks.iter().filter(|check| !is_shown(check));
    let others = Section::new("Also watched", others.map(parts::other));
    sections.push(others);
    sections.retain(|section| !section.parts.is_empty());
    sections
}

/// Whether a check looks at this disk or its controller, whatever link its target is.
pub(super) fn is_of_disk(root: &Root, check: &CheckView, disk: &Disk) -> bool {
    is_device(root, check, &disk.name)
        || disk.controller.as_ref().is_some_and(|controller| is_device(root, check, controller))
}

fn is_device(root: &Root, check: &CheckView, name: &str) -> bool {
    let sensor = mastiff_hwmon::sensors::find(&check.sensor);
    sensor.is_some_and(|sensor| sensor.target == Target::Device)
        && inventory::device(root, &check.target).is_some_and(|device| device == name)
}
