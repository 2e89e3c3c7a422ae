//! `mastiff config explain`: what a pair promises, from which sums, and what that rests on.

use std::path::Path;

use mastiff_core::pair::fitness::HARDWARE_SETTLES;
use mastiff_core::time::Span;
use mastiff_core::timing::{
    self, Claim, Facts, Guard, PROMISE_MAX, RoundTrip, Safety, Sum, Sums, Timing,
};
use mastiff_hwmon::root::Root;

use super::super::Context;
use super::super::failure::{EX_CONFIG, Failure};
use super::super::guard::{self, Chosen};
use super::super::print::{self, Out, Tone, counted};
use crate::config::pair::{ArbiterConfig, FENCE_DEADLINE, GroupConfig, PairConfig};
use crate::config::{Config, WatchdogConfig, not_run};
use crate::guard::Wanted;

mod json;
#[cfg(test)]
mod tests;

/// Prose is not set wider than this, whatever the terminal.
const COLUMNS_MAX: usize = 96;
/// Columns of a time in a sum, as in `10000.0 ms`.
const TIME_COLUMNS: usize = 13;
/// Columns of what takes it, before the key that changes it.
const PART_COLUMNS: usize = 52;

/// What to compute with.
#[derive(Debug, clap::Args)]
pub(super) struct With {
    /// auto, bpf, nftables, nftables-inet or lifetime
    #[arg(long, value_name = "GUARD", default_value = "auto", value_parser = guard::wanted)]
    guard: Wanted,
    /// Round trip to the slower voter, as measured
    #[arg(long, value_name = "TIME", value_parser = round_trip)]
    round_trip: Option<Span>,
}

fn round_trip(text: &str) -> Result<Span, String> {
    let span = Span::parse(text).map_err(|error| error.to_string())?;
    if span > PROMISE_MAX {
        return Err(format!("must be at most {PROMISE_MAX}"));
    }
    Ok(span)
}

/// The checks that are in no file.
const FOUND: &str = "default checks of hardware";

/// A group with what was computed for it.
struct Computed<'a> {
    group: &'a GroupConfig,
    facts: Facts,
    /// Checks whose failure hands it over.
    checks: Vec<&'a str>,
    /// Those that make the other node the better place.
    parts: Vec<&'a str>,
    result: Result<(Timing, Sums), Vec<timing::Refusal>>,
}

/// A pair with what was computed for it.
struct ComputedPair<'a> {
    pair: &'a PairConfig,
    chosen: Chosen,
    groups: Vec<Computed<'a>>,
}

/// Prints it; 78 if a promise cannot be had.
pub(super) fn run(
    context: &Context,
    path: &Path,
    config: &Config,
    with: &With,
) -> Result<u8, Failure> {
    let computed = config.pair.as_ref().map(|pair| compute(config, pair, with));
    if context.json {
        print::print_json(&json::explanation(path, config, computed.as_ref()))?;
    } else {
        let width = context.out.width.unwrap_or(COLUMNS_MAX).min(COLUMNS_MAX);
        let out = Out { width: Some(width), ..context.out };
        print::print(&text(out, path, config, computed.as_ref()))?;
    }
    let refused =
        computed.is_some_and(|pair| pair.groups.iter().any(|group| group.result.is_err()));
    Ok(if refused { EX_CONFIG } else { 0 })
}

fn compute<'a>(config: &'a Config, pair: &'a PairConfig, with: &With) -> ComputedPair<'a> {
    let wanted = if with.guard == Wanted::Auto { pair.guard } else { with.guard };
    let chosen = guard::choose(wanted, &Root::machine());
    let round_trip = with.round_trip.map_or(RoundTrip::Assumed, RoundTrip::Measured);
    let watchdog = config.watchdog.as_ref().and_then(WatchdogConfig::facts);
    let groups = pair.groups.iter().map(|group| {
        let facts = pair.facts(group, chosen.guard, round_trip, watchdog);
        let specs = config.checks.iter().map(|check| &check.spec);
        let counting =
            specs.filter(|spec| spec.handing_over().is_some() && spec.counts_for(&group.name));
        let checks = counting.map(|spec| &*spec.name).collect();
        let specs = config.checks.iter().map(|check| &check.spec);
        let parts = specs.filter(|spec| spec.prefer_peer);
        let found = config.node.default_checks.then_some(FOUND);
        let parts = found.into_iter().chain(parts.map(|spec| &*spec.name)).collect();
        Computed { group, facts, checks, parts, result: timing::derive(&facts) }
    });
    ComputedPair { pair, groups: groups.collect(), chosen }
}

fn text(out: Out, path: &Path, config: &Config, pair: Option<&ComputedPair<'_>>) -> String {
    let mut text = String::new();
    let node = &config.node.name;
    match (pair, &config.witness) {
        (Some(pair), _) => pair_text(&mut text, out, node, pair),
        (None, Some(witness)) => {
            let sentence = format!(
                "{node} is a witness on {}, of {}: it votes and holds no address. One that started without its memory keeps silent for {PROMISE_MAX}, and takeovers of its pairs wait as much longer.",
                witness.listen,
                counted(witness.pairs.len(), "pair"),
            );
            paragraph(&mut text, out, 0, &sentence);
        }
        (None, None) => {
            let sentence = format!(
                "{node} has no pair: it holds no floating address, nobody takes over from it, and there is nothing to compute. [pair] and [[group]] make one; see mastiff.toml(5)."
            );
            paragraph(&mut text, out, 0, &sentence);
        }
    }
    if let Some(fault) = not_run(config, path) {
        text.push('\n');
        paragraph(&mut text, out, 0, &fault.message);
    }
    text
}

fn pair_text(text: &mut String, out: Out, node: &str, computed: &ComputedPair<'_>) {
    let ComputedPair { pair, chosen, groups } = computed;
    let arbiter = match pair.arbiter {
        ArbiterConfig::Witness(at) => format!("the witness {at}"),
        ArbiterConfig::Wire(Some(gateway)) => format!("wire, with the gateway {gateway}"),
        ArbiterConfig::Wire(None) => "wire, with the gateway of the default route".to_string(),
        ArbiterConfig::Fence => "the fence agent".to_string(),
    };
    let (name, peer) = (&pair.name, &pair.peer);
    paragraph(text, out, 0, &format!("Pair {name}: {node} and {peer}; arbiter: {arbiter}."));
    let tick = tick(chosen.guard).map(|tick| format!(", with a tick of {}", millis(tick)));
    let name = guard_name(chosen.guard);
    let guard = format!("Guard: {name}{} ({}).", tick.unwrap_or_default(), chosen.why);
    paragraph(text, out, 0, &guard);
    // All groups have the timers of their pair; they differ in what units wait for.
    let Some(first) = groups.first() else { return };
    let round_trip = millis(first.facts.round_trip());
    let origin = match first.facts.round_trip {
        RoundTrip::Assumed => {
            "assumed: 2 % of takeover-within, 1 to 20 ms; --round-trip computes with yours"
        }
        RoundTrip::Measured(_) => "as given",
    };
    paragraph(text, out, 0, &format!("Round trip to the slower voter: {round_trip} ({origin})."));
    text.push('\n');
    match &first.result {
        Err(refusals) => {
            for refusal in refusals {
                let sentence = format!("No promise: takeover-within = {refusal}.");
                text.push_str(&out.paint(Tone::Bad, &out.wrap(&sentence, 0)));
                text.push('\n');
            }
        }
        Ok((timing, sums)) => {
            takeover_text(text, out, pair, sums);
            timers_text(text, out, &first.facts, timing);
        }
    }
    for group in groups {
        group_text(text, out, group);
    }
    claim_text(text, out, groups);
}

fn takeover_text(text: &mut String, out: Out, pair: &PairConfig, sums: &Sums) {
    paragraph(text, out, 0, "From the death of the owner to the address on the other node:");
    text.push('\n');
    sum_text(text, &sums.takeover, millis);
    let at_most = format!("{:>TIME_COLUMNS$}", millis(sums.takeover.total));
    let within = pair.takeover_within;
    let total = format!("takeover at most (takeover-within = {within})");
    text.push_str(&format!("{}  {total}\n\n", out.paint(Tone::Strong, &at_most)));
    let sentence = format!(
        "It may take up to {} in all while a voter keeps silent, as it does for {PROMISE_MAX} after a start without its memory; {} longer while time synchronisation slows a clock as fast as it can; and up to a heartbeat longer for each message that is lost on the way. The other node must be up and ready, with the same file and the same guard.",
        seconds(sums.takeover_voter_silent),
        millis(sums.slewed_later),
    );
    paragraph(text, out, 0, &sentence);
}

fn timers_text(text: &mut String, out: Out, facts: &Facts, timing: &Timing) {
    let of_guard = match (facts.guard, facts.guard.timeout(timing.lease)) {
        (Guard::Nftables { .. }, Some(timeout)) => {
            format!(
                "; set once, the guard lasts {}, or up to three times as long while the lease does",
                millis(timeout)
            )
        }
        (_, Some(timeout)) => format!("; set once, the guard lasts {}", millis(timeout)),
        (_, None) => String::new(),
    };
    let sentence = format!(
        "Timers: a heartbeat every {}, a lease of {}, a promise of {}{of_guard}. The owner closes the guard {} before the lease ends. For a planned restart it asks for a lease of {}; until the promise of {} that goes with it has run out, a takeover takes as much longer.",
        millis(timing.heartbeat),
        millis(timing.lease),
        millis(timing.promise),
        millis(timing.margin),
        seconds(timing.restart_lease),
        seconds(timing.restart_promise),
    );
    text.push('\n');
    paragraph(text, out, 0, &sentence);
}

/// What moves, and when its units start.
fn group_text(text: &mut String, out: Out, computed: &Computed<'_>) {
    let Computed { group, facts, checks, parts, result } = computed;
    let addresses = group.addresses.iter().map(ToString::to_string);
    let all: Vec<String> = addresses.chain(group.units.iter().cloned()).collect();
    let head = format!("Group {}", print::clean(&group.name));
    // Wrapped with its head, which is coloured after that.
    let lines = out.wrap(&format!("{head}: {}", all.join(", ")), 4);
    let rest = lines.strip_prefix(&*head).unwrap_or_default();
    text.push_str(&format!("\n{}{rest}\n", out.paint(Tone::Strong, &head)));
    if !checks.is_empty() {
        let sentence = format!(
            "Handed over, if the other node is ready, when the rungs before `switchover` do not help: {}.",
            print::clean(&checks.join(", "))
        );
        paragraph(text, out, 2, &sentence);
    }
    if !parts.is_empty() {
        let sentence = format!(
            "Moves to a node that has been better for {HARDWARE_SETTLES} while one of these is failed: {}.",
            print::clean(&parts.join(", "))
        );
        paragraph(text, out, 2, &sentence);
    }
    let Ok((_, sums)) = result else { return };
    let Some(stop) = &sums.stop else {
        if !group.units.is_empty() {
            let sentence = "Units start as soon as the address is there; for a moment they may run on both nodes (safety = \"network\").";
            paragraph(text, out, 2, sentence);
        }
        return;
    };
    let start = seconds(sums.units_start.unwrap_or_default());
    if stop.lines.is_empty() {
        let sentence = format!(
            "Address and units come after {start} at most: the fence agent has confirmed by then that the other node is off."
        );
        paragraph(text, out, 2, &sentence);
        return;
    }
    let sentence = format!(
        "Address and units come {start} after the death of the owner at most. Unless that one released them, the new owner has the lease and waits before it takes them:"
    );
    paragraph(text, out, 2, &sentence);
    text.push('\n');
    sum_text(text, stop, seconds);
    text.push_str(&format!("{:>TIME_COLUMNS$}  at most\n\n", seconds(stop.total)));
    let sentence = if matches!(facts.safety, Safety::Data { watchdog: Some(_), .. }) {
        format!(
            "Units have {} to stop (stop-within); what still runs then is killed, and the machine reset if even that does not help.",
            group.stop_within
        )
    } else {
        format!(
            "The fence agent is given up after {FENCE_DEADLINE}; then no units start until it, or an operator, confirms that the other node is off."
        )
    };
    paragraph(text, out, 2, &sentence);
}

/// Whether there can be two owners; what units rest on is there if any group has such.
fn claim_text(text: &mut String, out: Out, groups: &[Computed<'_>]) {
    let is_data = |group: &&Computed<'_>| group.group.is_data;
    let Some(strictest) = groups.iter().find(is_data).or(groups.first()) else { return };
    let Facts { arbiter, guard, safety, .. } = strictest.facts;
    let claim = Claim::new(arbiter, guard, safety);
    let tone = if claim.two_owners_possible { Tone::Bad } else { Tone::Good };
    text.push('\n');
    text.push_str(&out.paint(tone, &out.wrap(claim.statement, 0)));
    text.push_str(".\nThis rests on:\n");
    for assumption in claim.assumes {
        text.push_str(&format!("  - {}\n", out.wrap(assumption, 4)));
    }
}

/// A line for each summand: time, what takes it, and the key that changes it.
fn sum_text(text: &mut String, sum: &Sum, shown: fn(Span) -> String) {
    for line in &sum.lines {
        let (time, part) = (shown(line.span), line.part.to_string());
        let key = line.part.key().unwrap_or_default();
        let row = format!("{time:>TIME_COLUMNS$}  {part:<PART_COLUMNS$}  {key}");
        text.push_str(row.trim_end());
        text.push('\n');
    }
}

/// A paragraph, all of it indented.
fn paragraph(text: &mut String, out: Out, indent: usize, sentence: &str) {
    text.push_str(&" ".repeat(indent));
    text.push_str(&out.wrap(sentence, indent));
    text.push('\n');
}

fn millis(span: Span) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1e3)
}

fn seconds(span: Span) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

const fn guard_name(guard: Guard) -> &'static str {
    match guard {
        Guard::Bpf => "BPF",
        Guard::Nftables { .. } => "nftables",
        Guard::Lifetime => "lifetime of the address",
    }
}

const fn tick(guard: Guard) -> Option<Span> {
    match guard {
        Guard::Nftables { tick } => Some(tick),
        Guard::Bpf | Guard::Lifetime => None,
    }
}
