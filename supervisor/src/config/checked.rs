//! From the file as written to the configuration as meant. A value with a fault is reported and
//! replaced by its default, so that the rest of the file is looked at, too; the result is thrown
//! away in the end.

use std::path::PathBuf;

use mastiff_core::node::{Policy, REMIND_DEFAULT};
use mastiff_core::sorted::Map;
use mastiff_core::spec::Budget;
use mastiff_core::time::Span;
use mastiff_hwmon::sensor::{Sensor, split_arguments};

use super::check::Checks;
use super::fault::{Given, Review};
use super::raw::{RawAlert, RawFile, RawNode};
use super::section::{Field, RawOption};
use super::{AlertConfig, Config, NodeConfig, pair, rung, suggest, watchdog};
use crate::effects::{self, EFFECTS};

/// Checks in one file at most; one check each second and microsecond-sized reads keep this within
/// one processor.
pub const CHECKS_MAX: usize = 2000;
/// Alert programs at most.
pub const ALERTS_MAX: usize = 16;
/// Characters of a name at most.
pub const NAME_CHARS_MAX: usize = 128;
/// Characters of a node's name: as many as a hostname has (HOST_NAME_MAX, linux/utsname.h).
pub const NODE_NAME_CHARS_MAX: usize = 64;
/// Bytes of `run-dir`: the path of a socket in it must fit into the 108 bytes of `sun_path`
/// (unix(7)).
pub const RUN_DIR_BYTES_MAX: usize = 80;

/// `node.interval`, unless configured.
pub const INTERVAL_DEFAULT: Span = Span::from_secs(1);
/// `timeout` of a check, unless configured.
pub const CHECK_TIMEOUT_DEFAULT: Span = Span::from_secs(10);
/// `timeout` of an alert program, unless configured.
pub const ALERT_TIMEOUT_DEFAULT: Span = Span::from_secs(30);
/// `node.state-dir`, unless configured.
pub const STATE_DIR_DEFAULT: &str = "/var/lib/mastiff";
/// `node.run-dir`, unless configured.
pub const RUN_DIR_DEFAULT: &str = "/run/mastiff";

/// Below, reading costs more than it tells; above, a fault goes unseen for too long.
pub(super) const INTERVAL: Bounds =
    Bounds { least: Span::from_millis(100), most: Span::from_secs(3600) };
/// Of checks and of alert programs.
pub(super) const TIMEOUT: Bounds =
    Bounds { least: Span::from_millis(100), most: Span::from_secs(600) };
/// `fail-after` and `recover-after`.
pub(super) const PATIENCE: Bounds = Bounds { least: Span::ZERO, most: Span::from_secs(86_400) };
const REMIND: Bounds = Bounds { least: Span::from_secs(60), most: Span::from_secs(30 * 86_400) };
/// Each use of a budget is remembered for this time.
const BUDGET_WITHIN: Bounds =
    Bounds { least: Span::from_secs(1), most: Span::from_secs(30 * 86_400) };

/// What a length of time may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    least: Span,
    most: Span,
}

impl Bounds {
    pub(super) const fn new(least: Span, most: Span) -> Self {
        Self { least, most }
    }

    fn hold(self, span: Span) -> bool {
        self.least <= span && span <= self.most
    }

    fn in_words(self) -> String {
        let Self { least, most } = self;
        match least {
            Span::ZERO => format!("must be at most {most}"),
            _ => format!("must be between {least} and {most}"),
        }
    }
}

/// How often each effect may be used: its own budget, or that of `[budgets]`.
pub(super) type Budgets = Map<&'static str, Budget>;

/// The whole file.
pub(super) fn config(
    raw: RawFile,
    registry: &[&'static Sensor],
    review: &mut Review<'_>,
) -> Config {
    let node = node(&raw.node, review);
    let budgets = budgets(&raw.budgets, review);
    let mut checks = Checks::new(node.policy.interval, &budgets, registry, &raw.groups);
    for (index, check) in raw.checks.iter().enumerate() {
        if index == CHECKS_MAX {
            let message =
                format!("there are {} checks; at most {CHECKS_MAX} are allowed", raw.checks.len());
            review.key(check.section, &check.header, message);
            break;
        }
        checks.add(check, review);
    }
    let mut checks = checks.end();
    let alerts = alerts(&raw.alerts, review);
    let (watchdog, boot_loop_guard) = watchdog::watchdog(&raw, review);
    let pair = pair::pair(raw.pair.as_ref(), &raw.groups, &node.name, watchdog.as_ref(), review);
    if let Some(pair) = &pair {
        checks.iter_mut().for_each(|check| rung::give_time(&mut check.spec, &pair.groups));
    }
    let witness = pair::witness(raw.witness.as_ref(), raw.pair.as_ref(), review);
    Config { node, checks, alerts, budgets, watchdog, boot_loop_guard, pair, witness }
}

fn node(raw: &RawNode, review: &mut Review<'_>) -> NodeConfig {
    if let Field::Given(name) = &raw.name
        && !is_node_name(&name.value)
    {
        let message = format!(
            "must be at most {NODE_NAME_CHARS_MAX} letters, digits, dots, hyphens and underscores"
        );
        review.value(name, message);
    }
    let run_dir = directory(&raw.run_dir, RUN_DIR_DEFAULT, review);
    if let Field::Given(given) = &raw.run_dir
        && given.value.len() > RUN_DIR_BYTES_MAX
    {
        let message = format!(
            "has {} bytes; at most {RUN_DIR_BYTES_MAX}, or the path of a socket in it is too long",
            given.value.len()
        );
        review.value(given, message);
    }
    NodeConfig {
        name: raw.name.given().map(|given| given.value.clone()).unwrap_or_default(),
        policy: Policy {
            interval: span(&raw.interval, INTERVAL, INTERVAL_DEFAULT, review),
            remind: span(&raw.remind_every, REMIND, REMIND_DEFAULT, review),
        },
        state_dir: directory(&raw.state_dir, STATE_DIR_DEFAULT, review),
        run_dir,
        default_checks: raw.default_checks.given().is_none_or(|given| given.value),
    }
}

/// Whether `name` can be the name of a node: hostnames can, and so can what people call machines
/// instead.
pub(super) fn is_node_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    (1..=NODE_NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(allowed)
}

fn directory(field: &Field<String>, default: &str, review: &mut Review<'_>) -> PathBuf {
    let Some(given) = field.given() else { return PathBuf::from(default) };
    let path = PathBuf::from(&given.value);
    let climbs = path.components().any(|part| part == std::path::Component::ParentDir);
    if !path.is_absolute() || climbs {
        review.value(given, "must be an absolute path without \"..\"; it need not exist yet");
    }
    path
}

fn budgets(raw: &[RawOption], review: &mut Review<'_>) -> Budgets {
    let standard = EFFECTS.iter().map(|effect| (effect.spec.name, effect.spec.budget));
    let mut budgets: Budgets = standard.collect();
    for RawOption { name, name_span, value } in raw {
        let Some(effect) = effects::find(name) else {
            let message = rung::unknown_effect(name);
            review.key("budgets", name_span, message);
            continue;
        };
        let Field::Given(given) = value else { continue };
        match Budget::parse(&given.value) {
            Ok(budget) if BUDGET_WITHIN.hold(budget.within) => {
                budgets.insert(effect.spec.name, budget);
            }
            Ok(_) => review.value(given, format!("the time {}", BUDGET_WITHIN.in_words())),
            Err(message) => review.value(given, message),
        }
    }
    budgets
}

fn alerts(raw: &[RawAlert], review: &mut Review<'_>) -> Vec<AlertConfig> {
    if let Some(surplus) = raw.get(ALERTS_MAX) {
        let message = format!("there are {} alerts; at most {ALERTS_MAX} are allowed", raw.len());
        review.key("alert", &surplus.header, message);
    }
    let alert = |raw: &RawAlert| AlertConfig {
        run: match &raw.run {
            Field::Given(given) => program(given, &given.value, review).unwrap_or_default(),
            Field::Missing => {
                let message =
                    "is missing; write the program to tell, as in run = \"/usr/local/bin/tell\"";
                review.key("alert.run", &raw.header, message);
                Vec::new()
            }
            Field::Refused => Vec::new(),
        },
        timeout: span(&raw.timeout, TIMEOUT, ALERT_TIMEOUT_DEFAULT, review),
    };
    raw.iter().take(ALERTS_MAX).map(alert).collect()
}

/// A program by its absolute path and its arguments; `command` is the part of `given` that names
/// them.
pub(super) fn program<T>(
    given: &Given<T>,
    command: &str,
    review: &mut Review<'_>,
) -> Option<Vec<String>> {
    match split_arguments(command) {
        Ok(list) if list.first().is_some_and(|program| program.starts_with('/')) => Some(list),
        Ok(_) => {
            let message =
                "the program must have an absolute path: there is no shell and no search path";
            review.value(given, message);
            None
        }
        Err(message) => {
            review.value(given, format!("the command {message}"));
            None
        }
    }
}

/// A length of time within bounds, or its default.
pub(super) fn span(
    field: &Field<String>,
    bounds: Bounds,
    default: Span,
    review: &mut Review<'_>,
) -> Span {
    let Some(given) = field.given() else { return default };
    match Span::parse(&given.value) {
        Ok(span) if bounds.hold(span) => return span,
        Ok(_) => review.value(given, bounds.in_words()),
        Err(error) => review.value(given, error.to_string()),
    }
    default
}

/// Whether `name` can be the name of a check: what a person can type and a table can show.
pub(super) fn is_check_name(name: &str) -> bool {
    name.trim() == name && (1..=NAME_CHARS_MAX).contains(&name.chars().count())
}

/// What to say of a sensor that is not known.
pub(super) fn unknown_sensor(name: &str, registry: &[&'static Sensor]) -> String {
    let advice = suggest::advice(name, registry.iter().map(|sensor| sensor.name));
    format!("there is no such sensor; {advice}")
}
