//! `mastiff hardware`: the machine as one page: what is there, how it is, and what cannot be seen.
//!
//! What is there comes from the [inventory], which asks no disk. How it is comes from the checks:
//! the daemon's if it runs, since they have memory, else from one reading of each, taken by the
//! same runner and prober as in `mastiff check`.

use mastiff_core::health::Verdict;
use mastiff_core::view::CheckView;
use mastiff_hwmon::host;
use mastiff_hwmon::inventory::{self, Inventory, Unseen};
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::Sensor;
use mastiff_hwmon::sensors::{
    self,
    hwmon::{self, Point},
};
use serde::Serialize;

use super::check::{self, Source, headword, overall};
use super::failure::Failure;
use super::print::{self, Out, Tone};
use super::status::tally;
use super::table::Table;
use super::{Context, status};
use crate::oneshot::Which;

mod blind;
mod parts;
mod sections;

use sections::Section;

/// Show the parts of this machine, how they are, and what is unseen
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Asks the daemon if it runs; otherwise takes one reading of everything. It asks
no disk that a check does not ask, and wakes none. As root it sees more.

Exit code, as of `mastiff check`, by what needs most attention:
0 healthy, 1 degraded, 2 failed, 3 unknown. Paused checks do not count.

Examples:
  mastiff hardware                  the machine on a page
  mastiff hardware --all            and every measuring point and module
  mastiff hardware --json           for programs")]
pub(super) struct Arguments {
    /// Each temperature, fan, voltage and memory module by itself
    #[arg(long)]
    all: bool,
}

/// Sensors that are on the page beside those of [hardware](Sensor::hardware). They tell of parts of
/// the machine, or of what stands right on them, but groups should not leave the machine for all
/// that they call a failure: a cable, a pool that is full, a line of the log.
const ALSO_SHOWN: [&str; 5] = ["btrfs", "device-mapper", "kernel-log", "link", "write-test"];

/// Whether a sensor is on the page; one that only a later daemon has is.
fn is_hardware(name: &str) -> bool {
    let sensor = sensors::find(name);
    sensor.is_none_or(|sensor| sensor.hardware || ALSO_SHOWN.contains(&sensor.name))
}

/// All that is printed.
struct Page {
    source: Source,
    host: String,
    verdict: Verdict,
    inventory: Inventory,
    /// Of the hardware, the worst first.
    checks: Vec<CheckView>,
    sections: Vec<Section>,
    unseen: Vec<Unseen>,
}

/// The same for programs.
#[derive(Serialize)]
struct Document<'a> {
    verdict: Verdict,
    /// `mastiffd`, or `here` where the readings were taken for this call.
    source: &'static str,
    inventory: &'a Inventory,
    /// What belongs to which part.
    sections: &'a [Section],
    checks: &'a [CheckView],
    unseen: &'a [Unseen],
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let root = Root::machine();
    let points = if arguments.all { points(&root) } else { Vec::new() };
    let (source, checks) = gather(context, &points)?;
    let page = Page::new(&root, source, checks, arguments.all);
    let printed = if context.json {
        print::print_json(&page.document())
    } else {
        print::print(&page.render(context.out))
    };
    match printed {
        // The verdict is as it is, even if nobody reads to the end.
        Ok(()) | Err(Failure::ReaderGone) => Ok(page.verdict.nagios()),
        Err(failure) => Err(failure),
    }
}

/// A sensor and what it is to look at.
type Target = (&'static Sensor, String);

/// A check for each measuring point. Those of disks are left to `disk-health`, which knows whether
/// a disk sleeps.
fn points(root: &Root) -> Vec<Target> {
    let points = hwmon::points(root).into_iter().filter(|point| !point.is_disk);
    let target = |point: Point| format!("{}/{}", point.chip, point.label);
    points.map(|point| (&hwmon::SENSOR, target(point))).collect()
}

/// From the daemon, or from the machine if no daemon runs or the caller may not ask it. The daemon
/// does not watch single points: those are always read here.
fn gather(context: &Context, points: &[Target]) -> Result<(Source, Vec<CheckView>), Failure> {
    let here = |is_wanted: fn(&str) -> bool| {
        context.load()?;
        let which = Which::Of(is_wanted, points);
        (context.run_checks)(&context.config, context.named, &which)
            .map_err(|why| Failure::Unavailable(format!("cannot read the machine: {why}")))
    };
    match status::ask(context) {
        Ok(status) => {
            let mut checks = status.checks;
            checks.retain(|check| is_hardware(&check.sensor));
            if !points.is_empty() {
                checks.extend(here(|_| false)?);
            }
            Ok((Source::Daemon { node: status.node, up_secs: status.up_secs }, checks))
        }
        Err(Failure::NotRunning(_) | Failure::Permission(_)) => {
            Ok((Source::Here, here(is_hardware)?))
        }
        Err(failure) => Err(failure),
    }
}

impl Page {
    fn new(root: &Root, source: Source, mut checks: Vec<CheckView>, all: bool) -> Self {
        checks.retain(|check| is_hardware(&check.sensor));
        checks.sort_by(|one, other| check::importance(one).cmp(&check::importance(other)));
        let inventory = inventory::read(root);
        let (watched, points): (Vec<_>, Vec<_>) =
            checks.iter().partition(|check| !is_point_of_ours(check));
        let watched: Vec<CheckView> = watched.into_iter().cloned().collect();
        let sections = sections::all(root, &inventory, &watched, &points, all);
        let mut unseen = inventory.unseen.clone();
        unseen.extend(blind::all(root, &inventory, &watched));
        Self {
            source,
            host: host::describe(),
            verdict: overall(&watched),
            inventory,
            checks: watched,
            sections,
            unseen,
        }
    }

    fn document(&self) -> Document<'_> {
        Document {
            verdict: self.verdict,
            source: match self.source {
                Source::Daemon { .. } => "mastiffd",
                Source::Here => "here",
            },
            inventory: &self.inventory,
            sections: &self.sections,
            checks: &self.checks,
            unseen: &self.unseen,
        }
    }

    fn render(&self, out: Out) -> String {
        let who = match &self.source {
            Source::Daemon { node, .. } => print::clean(node),
            Source::Here => "This machine".to_string(),
        };
        let mut text = format!(
            "{} is {}: {}\n{}\n\n",
            out.paint(Tone::Strong, &who),
            headword(&self.checks, self.verdict, out),
            tally(&self.checks, out),
            out.paint(Tone::Dim, &out.wrap(&self.host, 0)),
        );
        let mut table = Table::new(0);
        for section in &self.sections {
            section.add_to(&mut table, matches!(self.source, Source::Daemon { .. }));
        }
        text.push_str(&table.render(out));
        if !self.unseen.is_empty() {
            text.push_str(&out.paint(Tone::Strong, "Cannot be seen"));
            text.push('\n');
        }
        for Unseen { what, why, to_do } in &self.unseen {
            text.push_str(&format!("  {}\n", out.wrap(&format!("{what}: {why}"), 4)));
            text.push_str(&format!("    {}\n", out.paint(Tone::Dim, &out.wrap(to_do, 4))));
        }
        if matches!(self.source, Source::Here) {
            let line = "Read once, since mastiffd is not running or not for you to ask: rates and \
                        changes take its memory.";
            text.push_str(&format!("\n{}\n", out.paint(Tone::Dim, &out.wrap(line, 0))));
        }
        text
    }
}

/// A single point that this verb asked for; one that an operator configured is a check of its own.
fn is_point_of_ours(check: &CheckView) -> bool {
    check.discovered && check.sensor == hwmon::SENSOR.name && check.target.contains('/')
}

#[cfg(test)]
mod tests;
