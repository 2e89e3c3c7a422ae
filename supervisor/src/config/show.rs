//! The configuration as it takes effect, written out: every default filled in. It parses to the
//! same again.

use mastiff_core::condition::Condition;
use mastiff_core::node::{Policy, REMIND_DEFAULT};
use mastiff_core::time::Span;

use super::check::{default_conditions, default_interval, default_name};
use super::checked::{
    ALERT_TIMEOUT_DEFAULT, CHECK_TIMEOUT_DEFAULT, INTERVAL_DEFAULT, RUN_DIR_DEFAULT,
    STATE_DIR_DEFAULT,
};
use super::{AlertConfig, CheckConfig, Config, NodeConfig, pair, watchdog};
use crate::effects::EFFECTS;

/// The file that would lead to this configuration, with `# default` behind every value that need
/// not be written.
pub fn show(config: &Config) -> String {
    let mut out = Document::default();
    node(&mut out, &config.node);
    out.section("[budgets]");
    for effect in EFFECTS {
        let budget = config.budgets.get(effect.spec.name).copied().unwrap_or(effect.spec.budget);
        let text = format!("{} in {}", budget.times, exact(budget.within));
        out.key(effect.spec.name, &quoted(&text), budget == effect.spec.budget);
    }
    watchdog::show(&mut out, config);
    for each in &config.checks {
        check(&mut out, each, config.node.policy.interval);
    }
    for each in &config.alerts {
        alert(&mut out, each);
    }
    pair::show(&mut out, config);
    out.0
}

/// The text of a file, as it grows.
#[derive(Default)]
pub(super) struct Document(String);

impl Document {
    pub(super) fn section(&mut self, header: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(header);
        self.0.push('\n');
    }

    pub(super) fn key(&mut self, key: &str, value: &str, is_default: bool) {
        let remark = if is_default { " # default" } else { "" };
        self.0.push_str(&format!("{key} = {value}{remark}\n"));
    }
}

fn node(out: &mut Document, node: &NodeConfig) {
    out.section("[node]");
    // Without a name in the file the hostname is taken, and who only parses has none yet.
    if !node.name.is_empty() {
        out.key("name", &quoted(&node.name), false);
    }
    let Policy { interval, remind } = node.policy;
    out.key("interval", &quoted(&exact(interval)), interval == INTERVAL_DEFAULT);
    out.key("remind-every", &quoted(&exact(remind)), remind == REMIND_DEFAULT);
    let directories = [
        ("state-dir", &node.state_dir, STATE_DIR_DEFAULT),
        ("run-dir", &node.run_dir, RUN_DIR_DEFAULT),
    ];
    for (key, path, default) in directories {
        let is_default = path.as_os_str() == default;
        out.key(key, &quoted(&path.to_string_lossy()), is_default);
    }
    out.key("default-checks", &node.default_checks.to_string(), node.default_checks);
}

fn check(out: &mut Document, check: &CheckConfig, node_interval: Span) {
    let CheckConfig { spec, sensor, options } = check;
    out.section("[[check]]");
    out.key("name", &quoted(&spec.name), *spec.name == default_name(sensor, &spec.target));
    out.key("sensor", &quoted(&spec.sensor), false);
    if !spec.target.is_empty() {
        out.key("target", &quoted(&spec.target), false);
    }
    if !options.0.is_empty() {
        let pairs: Vec<String> =
            options.0.iter().map(|(key, value)| format!("{key} = {}", quoted(value))).collect();
        out.key("options", &format!("{{ {} }}", pairs.join(", ")), false);
    }
    for (key, span, default) in [
        ("interval", spec.interval, default_interval(sensor, node_interval)),
        ("timeout", spec.timeout, CHECK_TIMEOUT_DEFAULT),
        ("fail-after", spec.fail_after, sensor.fail_after),
        ("recover-after", spec.recover_after, sensor.recover_after),
    ] {
        out.key(key, &quoted(&exact(span)), span == default);
    }
    for (key, list, default) in [
        ("warn-when", &spec.warn_when, sensor.warn_when),
        ("fail-when", &spec.fail_when, sensor.fail_when),
    ] {
        let is_default = *list == default_conditions(default, sensor);
        out.key(key, &texts(list.iter().map(Condition::text)), is_default);
    }
    let rungs = texts(spec.on_fail.iter().map(|rung| &*rung.text));
    out.key("on-fail", &rungs, spec.on_fail.is_empty());
    if let Some(group) = &spec.group {
        out.key("group", &quoted(group), false);
    }
    let default = pair::prefers_peer(sensor, &spec.on_fail, spec.group.is_some());
    out.key("prefer-peer", &spec.prefer_peer.to_string(), spec.prefer_peer == default);
}

fn alert(out: &mut Document, alert: &AlertConfig) {
    out.section("[[alert]]");
    let words: Vec<String> = alert.run.iter().map(|word| one_argument(word)).collect();
    out.key("run", &quoted(&words.join(" ")), false);
    out.key("timeout", &quoted(&exact(alert.timeout)), alert.timeout == ALERT_TIMEOUT_DEFAULT);
}

pub(super) fn texts<'a>(list: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = list.map(quoted).collect();
    format!("[{}]", quoted.join(", "))
}

/// A basic string of TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// One argument such that [`split_arguments`](mastiff_hwmon::sensor::split_arguments) gives it
/// back.
pub(super) fn one_argument(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    let mut escaped = String::from("\"");
    for c in word.chars() {
        if c == '"' || c == '\\' {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped.push('"');
    escaped
}

/// A length of time without rounding: [`Span`] itself prints two units at most.
pub(super) fn exact(span: Span) -> String {
    let mut left = span.as_nanos();
    let mut text = String::new();
    for (unit, nanos) in [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("min", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1000),
        ("ns", 1),
    ] {
        if left >= nanos {
            let gap = if text.is_empty() { "" } else { " " };
            text.push_str(&format!("{gap}{}{unit}", left / nanos));
            left %= nanos;
        }
    }
    if text.is_empty() { "0s".to_string() } else { text }
}
