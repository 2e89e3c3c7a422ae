//! `mastiff simulate`: what a fault leads to. The real core of a pair runs in a simulated world,
//! with the timers of this configuration; nothing on this machine is touched.

use mastiff_core::time::Span;
use mastiff_core::timing::RoundTrip;
use mastiff_hwmon::root::Root;
use mastiff_sim::fault::Names;
use mastiff_sim::plan::Plan;
use mastiff_sim::scenario::{self, SCENARIOS, Scenario, Told};
use serde::Serialize;

use super::Context;
use super::failure::Failure;
use super::guard;
use super::print;
use crate::config::Config;
use crate::config::pair::{ArbiterConfig, PairConfig};
use crate::guard::Wanted;

/// Show what a fault would lead to in the pair, as a timeline
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mastiff simulate                      the faults there are
  mastiff simulate \"power cut of active\"
  mastiff simulate \"freeze of db1\" --takeover-within 100ms --guard bpf

Two nodes and a witness in virtual time; this node is the active one. The
configuration gives names and timers; without a pair in it they are made up.
Exit codes: 0 every promise was kept, 1 one was broken.")]
pub(super) struct Arguments {
    /// What goes wrong; without it the faults are listed
    fault: Option<String>,
    /// Instead of that of the configuration
    #[arg(long, value_name = "TIME", value_parser = span)]
    takeover_within: Option<Span>,
    /// auto, bpf or nftables
    #[arg(long, value_name = "GUARD", default_value = "auto", value_parser = guard::wanted)]
    guard: Wanted,
    /// Another world with the same fault
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
}

fn span(text: &str) -> Result<Span, String> {
    Span::parse(text).map_err(|error| error.to_string())
}

/// The answer as JSON. Times in milliseconds.
#[derive(Debug, Serialize)]
struct Report<'a> {
    fault: &'a str,
    promised_ms: f64,
    taken_after_ms: Option<f64>,
    nobody_ms: f64,
    broken: Option<String>,
    timeline: Vec<&'a str>,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let config = context.load()?;
    let names = names(&config);
    let Some(fault) = &arguments.fault else {
        print::print(&list())?;
        return Ok(0);
    };
    let scenario = find(fault, &names)?;
    let plan = plan(&config, arguments)?;
    let told = scenario::run(scenario, plan, names.clone());
    if context.json {
        let report = Report {
            fault: scenario.name,
            promised_ms: millis(told.promised),
            taken_after_ms: told.taken_after.map(millis),
            nobody_ms: millis(told.outage),
            broken: told.wrong(scenario.must),
            timeline: told.timeline.lines().collect(),
        };
        print::print_json(&report)?;
    } else {
        print::print(&text(config.pair.as_ref(), scenario, &told, &names))?;
    }
    Ok(u8::from(told.wrong(scenario.must).is_some()))
}

fn names(config: &Config) -> Names {
    config.pair.as_ref().map_or_else(Names::default, |pair| {
        Names([config.node.name.clone(), pair.peer.clone(), "witness".into()])
    })
}

fn list() -> String {
    let names = SCENARIOS.iter().map(|scenario| format!("  {}\n", scenario.name));
    let names: String = names.collect();
    format!(
        "Faults (`active` is this node, `standby` the other one; their names will do):\n{names}"
    )
}

fn find(fault: &str, names: &Names) -> Result<&'static Scenario, Failure> {
    let general = fault.replace(names.of(0), "active").replace(names.of(1), "standby");
    scenario::find(&general).map_err(|known| {
        let near = known.iter().min_by_key(|name| strsim::osa_distance(&general, name));
        let near = near.copied().unwrap_or_default();
        let hint = format!("did you mean \"{near}\"? `mastiff simulate` lists all");
        Failure::Usage(format!("no fault \"{fault}\" is known; {hint}"))
    })
}

/// The world of this configuration.
fn plan(config: &Config, arguments: &Arguments) -> Result<Plan, Failure> {
    let pair = config.pair.as_ref();
    let wish = pair.map_or(mastiff_core::timing::TAKEOVER_DEFAULT, |pair| pair.takeover_within);
    let wish = arguments.takeover_within.unwrap_or(wish);
    let guard = guard::choose(arguments.guard, &Root::machine()).guard;
    let group = pair.and_then(|pair| pair.groups.first());
    let plan = Plan {
        groups: 1,
        exclusive: group.is_some_and(|group| group.is_data),
        address_after_units: group.is_some_and(|group| group.address_after_units),
        guard,
        round_trip: RoundTrip::Assumed,
        takeover_within: [wish; 2],
        ..Plan::calm(arguments.seed)
    };
    match plan.derived(0) {
        Ok(_) => Ok(plan),
        Err(refusals) => {
            let why: Vec<String> = refusals.iter().map(ToString::to_string).collect();
            Err(Failure::Config(format!("the timers cannot be had: {}", why.join("; "))))
        }
    }
}

fn text(pair: Option<&PairConfig>, scenario: &Scenario, told: &Told, names: &Names) -> String {
    let mut text = String::new();
    match pair.map(|pair| pair.arbiter) {
        None => text += "No pair is configured: a made-up one, with a witness.\n",
        Some(ArbiterConfig::Witness(_)) => {}
        Some(other) => {
            let name = other.name();
            text += &format!("The arbiter is `{name}`; simulated is a witness in its place.\n");
        }
    }
    text += &told.timeline;
    text += &match told.taken_after {
        Some(after) => format!(
            "\n{} has the group after {:.1} ms; nobody had it for {:.1} ms. Promised: at most {:.1} ms.\n",
            names.of(1),
            millis(after),
            millis(told.outage),
            millis(told.promised)
        ),
        None if told.outage == 0 => format!("\n{} keeps the group, without a gap.\n", names.of(0)),
        None => format!(
            "\n{} has the group again; nobody had it for {:.1} ms.\n",
            names.of(0),
            millis(told.outage)
        ),
    };
    if let Some(why) = told.wrong(scenario.must) {
        text += &format!("A PROMISE IS BROKEN: {why}. Please report this with the line above.\n");
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "a simulation lasts minutes")]
fn millis(nanos: i64) -> f64 {
    nanos as f64 / 1e6
}
