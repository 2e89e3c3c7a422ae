//! The file as it is written: sections, keys and their types. What the values mean is left to
//! `checked`.

use std::ops::Range;

use mastiff_core::sorted;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Given, Review, shorten};
use super::pair::raw as pair;
use super::section::{Field, RawOption, Section, entries, kind, unknown_section};
use super::watchdog::{self, RawGuard, RawWatchdog};

/// What a section may contain.
#[derive(Debug)]
pub struct SectionKeys {
    /// Its name.
    pub name: &'static str,
    /// Whether it may be there many times, as `[[name]]`.
    pub repeats: bool,
    /// Its keys; empty for `[budgets]`, whose keys are the names of effects.
    pub keys: &'static [&'static str],
}

impl SectionKeys {
    /// `[node]`, `[[check]]`.
    pub fn header(&self) -> String {
        if self.repeats { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }
}

/// Every section and key of this version.
pub const SECTIONS: &[SectionKeys] = &[
    SectionKeys { name: "node", repeats: false, keys: NODE_KEYS },
    SectionKeys { name: "check", repeats: true, keys: CHECK_KEYS },
    SectionKeys { name: "service", repeats: true, keys: SERVICE_KEYS },
    SectionKeys { name: "alert", repeats: true, keys: ALERT_KEYS },
    SectionKeys { name: "budgets", repeats: false, keys: &[] },
    SectionKeys { name: "watchdog", repeats: false, keys: watchdog::WATCHDOG_KEYS },
    SectionKeys { name: "boot-loop-guard", repeats: false, keys: watchdog::GUARD_KEYS },
    SectionKeys { name: "pair", repeats: false, keys: pair::PAIR_KEYS },
    SectionKeys { name: "group", repeats: true, keys: pair::GROUP_KEYS },
    SectionKeys { name: "witness", repeats: false, keys: pair::WITNESS_KEYS },
    SectionKeys { name: "witness.pair", repeats: true, keys: pair::WITNESS_PAIR_KEYS },
];

const NODE_KEYS: &[&str] =
    &["name", "interval", "remind-every", "state-dir", "run-dir", "default-checks"];
const CHECK_KEYS: &[&str] = &[
    "name",
    "sensor",
    "target",
    "options",
    "interval",
    "timeout",
    "warn-when",
    "fail-when",
    "fail-after",
    "recover-after",
    "on-fail",
    "group",
    "prefer-peer",
];
const SERVICE_KEYS: &[&str] = &[
    "name",
    "unit",
    "options",
    "interval",
    "timeout",
    "warn-when",
    "fail-when",
    "fail-after",
    "recover-after",
    "on-fail",
    "group",
    "prefer-peer",
];
const ALERT_KEYS: &[&str] = &["run", "timeout"];

/// The sensor behind `[[service]]`.
const SERVICE_SENSOR: &str = "unit";

const TEXT: &str = "text in quotes";
const TIME: &str = "a time in quotes, as in \"10s\"";
const DIRECTORY: &str = "a directory in quotes, as in \"/var/lib/mastiff\"";
const PROGRAM: &str = "a program in quotes, as in \"/usr/local/bin/tell\"";
const CONDITION: &str = "a condition in quotes, as in \"used > 95%\", or a list of them";
const RUNG: &str = "a rung in quotes, as in \"restart\", or a list of them";

/// A whole file.
#[derive(Debug)]
pub(super) struct RawFile {
    pub(super) node: RawNode,
    /// `[[check]]` and `[[service]]`, in the order of the file.
    pub(super) checks: Vec<RawCheck>,
    pub(super) alerts: Vec<RawAlert>,
    pub(super) budgets: Vec<RawOption>,
    pub(super) watchdog: Option<RawWatchdog>,
    pub(super) guard: Option<RawGuard>,
    pub(super) pair: Option<pair::RawPair>,
    pub(super) groups: Vec<pair::RawGroup>,
    pub(super) witness: Option<pair::RawWitness>,
}

/// `[node]`.
#[derive(Debug)]
pub(super) struct RawNode {
    pub(super) name: Field<String>,
    pub(super) interval: Field<String>,
    pub(super) remind_every: Field<String>,
    pub(super) state_dir: Field<String>,
    pub(super) run_dir: Field<String>,
    pub(super) default_checks: Field<bool>,
}

/// `[[check]]` or `[[service]]`.
#[derive(Debug)]
pub(super) struct RawCheck {
    /// `check` or `service`.
    pub(super) section: &'static str,
    /// The key that names the target.
    pub(super) target_key: &'static str,
    pub(super) header: Range<usize>,
    pub(super) name: Field<String>,
    pub(super) sensor: Field<String>,
    pub(super) target: Field<String>,
    pub(super) options: Vec<RawOption>,
    pub(super) interval: Field<String>,
    pub(super) timeout: Field<String>,
    pub(super) warn_when: Field<Vec<Given<String>>>,
    pub(super) fail_when: Field<Vec<Given<String>>>,
    pub(super) fail_after: Field<String>,
    pub(super) recover_after: Field<String>,
    pub(super) on_fail: Field<Vec<Given<String>>>,
    pub(super) group: Field<String>,
    pub(super) prefer_peer: Field<bool>,
}

/// `[[alert]]`.
#[derive(Debug)]
pub(super) struct RawAlert {
    pub(super) header: Range<usize>,
    pub(super) run: Field<String>,
    pub(super) timeout: Field<String>,
}

impl RawFile {
    /// Sorts the tables of a document into sections.
    pub(super) fn new(document: DeTable<'_>, review: &mut Review<'_>) -> Self {
        let mut file = Self {
            node: RawNode::new(DeTable::new(), review),
            checks: Vec::new(),
            alerts: Vec::new(),
            budgets: Vec::new(),
            watchdog: None,
            guard: None,
            pair: None,
            groups: Vec::new(),
            witness: None,
        };
        for (key, value) in document {
            match key.get_ref().as_ref() {
                "node" => {
                    if let Some(table) = once("node", value, review) {
                        file.node = RawNode::new(table, review);
                    }
                }
                "budgets" => {
                    if let Some(table) = once("budgets", value, review) {
                        file.budgets = entries(review, "budgets", table);
                    }
                }
                "watchdog" => file.watchdog = only("watchdog", value, review, RawWatchdog::new),
                "boot-loop-guard" => {
                    file.guard = only("boot-loop-guard", value, review, RawGuard::new)
                }
                "check" => {
                    for (header, table) in each("check", value, review) {
                        file.checks.push(RawCheck::check(header, table, review));
                    }
                }
                "service" => {
                    for (header, table) in each("service", value, review) {
                        file.checks.push(RawCheck::service(header, table, review));
                    }
                }
                "alert" => {
                    for (header, table) in each("alert", value, review) {
                        file.alerts.push(RawAlert::new(header, table, review));
                    }
                }
                "pair" => file.pair = only("pair", value, review, pair::RawPair::new),
                "group" => {
                    for (header, table) in each("group", value, review) {
                        file.groups.push(pair::RawGroup::new(header, table, review));
                    }
                }
                "witness" => file.witness = only("witness", value, review, pair::RawWitness::new),
                other => review.key(&shorten(other), &key.span(), unknown_section(other)),
            }
        }
        sorted::sort_by_key(&mut file.checks, &|check| check.header.start);
        file
    }
}

impl RawNode {
    fn new(table: DeTable<'_>, review: &mut Review<'_>) -> Self {
        Section::read(review, "node", NODE_KEYS, table, |section| Self {
            name: section.text("name", TEXT),
            interval: section.text("interval", TIME),
            remind_every: section.text("remind-every", TIME),
            state_dir: section.text("state-dir", DIRECTORY),
            run_dir: section.text("run-dir", DIRECTORY),
            default_checks: section.flag("default-checks"),
        })
    }
}

impl RawCheck {
    fn check(header: Range<usize>, table: DeTable<'_>, review: &mut Review<'_>) -> Self {
        Section::read(review, "check", CHECK_KEYS, table, |section| {
            let sensor = section.text("sensor", TEXT);
            Self::rest(section, header, "check", sensor, "target")
        })
    }

    fn service(header: Range<usize>, table: DeTable<'_>, review: &mut Review<'_>) -> Self {
        let sensor = Field::Given(Given {
            key: "service".to_string(),
            span: header.clone(),
            value: SERVICE_SENSOR.to_string(),
        });
        Section::read(review, "service", SERVICE_KEYS, table, |section| {
            Self::rest(section, header, "service", sensor, "unit")
        })
    }

    /// What both have in common.
    fn rest(
        section: &mut Section<'_, '_, '_>,
        header: Range<usize>,
        name: &'static str,
        sensor: Field<String>,
        target_key: &'static str,
    ) -> Self {
        Self {
            section: name,
            target_key,
            header,
            name: section.text("name", TEXT),
            sensor,
            target: section.text(target_key, TEXT),
            options: section.table("options"),
            interval: section.text("interval", TIME),
            timeout: section.text("timeout", TIME),
            warn_when: section.texts("warn-when", CONDITION),
            fail_when: section.texts("fail-when", CONDITION),
            fail_after: section.text("fail-after", TIME),
            recover_after: section.text("recover-after", TIME),
            on_fail: section.texts("on-fail", RUNG),
            group: section.text("group", "the name of a [[group]] in quotes"),
            prefer_peer: section.flag("prefer-peer"),
        }
    }
}

impl RawAlert {
    fn new(header: Range<usize>, table: DeTable<'_>, review: &mut Review<'_>) -> Self {
        Section::read(review, "alert", ALERT_KEYS, table, |section| Self {
            header,
            run: section.text("run", PROGRAM),
            timeout: section.text("timeout", TIME),
        })
    }
}

/// The table of a section that is there once.
fn once<'v>(
    name: &str,
    value: Spanned<DeValue<'v>>,
    review: &mut Review<'_>,
) -> Option<DeTable<'v>> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Table(table) => Some(table),
        DeValue::Array(items) if items.iter().all(|item| item.get_ref().is_table()) => {
            review.key(name, &span, format!("this section is there once: write [{name}]"));
            items.iter().find_map(|item| item.get_ref().as_table()).cloned()
        }
        other => {
            review.value_at(
                name,
                &span,
                format!("is a section, not {}: write [{name}]", kind(&other)),
            );
            None
        }
    }
}

/// A section that is there once, made by `make` of where it is and of its table.
fn only<'v, T>(
    name: &str,
    value: Spanned<DeValue<'v>>,
    review: &mut Review<'_>,
    make: impl Fn(Range<usize>, DeTable<'v>, &mut Review<'_>) -> T,
) -> Option<T> {
    let header = value.span();
    once(name, value, review).map(|table| make(header, table, review))
}

/// The tables of a section that repeats.
fn each<'v>(
    name: &str,
    value: Spanned<DeValue<'v>>,
    review: &mut Review<'_>,
) -> Vec<(Range<usize>, DeTable<'v>)> {
    let span = value.span();
    let mut tables = Vec::new();
    match value.into_inner() {
        DeValue::Array(items) => {
            for item in items {
                let span = item.span();
                match item.into_inner() {
                    DeValue::Table(table) => tables.push((span, table)),
                    other => {
                        let message = format!("must be a section [[{name}]], not {}", kind(&other));
                        review.value_at(name, &span, message);
                    }
                }
            }
        }
        DeValue::Table(table) => {
            review.key(name, &span, format!("write [[{name}]]: there may be many of them"));
            tables.push((span, table));
        }
        other => {
            let message = format!("is a section, not {}: write [[{name}]]", kind(&other));
            review.value_at(name, &span, message);
        }
    }
    tables
}
