//! `mastiff config explain --json`.

use std::path::Path;

use mastiff_core::time::Span;
use mastiff_core::timing::{Claim, Guard, Line, Part, RoundTrip, Sum, Sums, Timing};
use serde::Serialize;

use super::{Computed, ComputedPair, tick};
use crate::config::{Config, WitnessConfig, not_run};

/// The answer as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Explanation<'a> {
    file: &'a Path,
    node: &'a str,
    /// Why this version's daemon would not start with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_run: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pair: Option<PairExplained<'a>>,
    /// Pairs that it is the witness of.
    #[serde(skip_serializing_if = "Option::is_none")]
    witness_of: Option<Vec<&'a str>>,
}

#[derive(Debug, Serialize)]
struct PairExplained<'a> {
    name: &'a str,
    peer: &'a str,
    arbiter: &'static str,
    guard: &'static str,
    guard_why: &'a str,
    /// Of the kernel; only where the guard counts in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    tick_secs: Option<f64>,
    round_trip_secs: f64,
    round_trip_is_measured: bool,
    takeover_within_secs: f64,
    groups: Vec<GroupExplained<'a>>,
}

#[derive(Debug, Serialize)]
struct GroupExplained<'a> {
    name: &'a str,
    /// Why there is no promise; then there is nothing else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    promise: Option<PromiseExplained>,
    /// Checks whose failure hands it over.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    handed_over_by: &'a [&'a str],
    /// Checks whose failure makes the other node the better place.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    better_elsewhere_by: &'a [&'a str],
    two_owners: Claim,
}

#[derive(Debug, Serialize)]
struct PromiseExplained {
    takeover_at_most_secs: f64,
    takeover: Vec<LineExplained>,
    while_a_voter_is_silent_secs: f64,
    slewed_later_secs: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    units_start_at_most_secs: Option<f64>,
    /// What the new owner waits before it starts units.
    #[serde(skip_serializing_if = "Option::is_none")]
    units_wait: Option<Vec<LineExplained>>,
    lease_secs: f64,
    heartbeat_secs: f64,
    guard_slack_secs: f64,
    promise_secs: f64,
    margin_secs: f64,
    restart_lease_secs: f64,
    restart_promise_secs: f64,
}

#[derive(Debug, Serialize)]
struct LineExplained {
    part: Part,
    what: String,
    secs: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'static str>,
}

/// All that the text says, and the numbers unrounded.
pub(super) fn explanation<'a>(
    path: &'a Path,
    config: &'a Config,
    computed: Option<&'a ComputedPair<'a>>,
) -> Explanation<'a> {
    let pairs =
        |witness: &'a WitnessConfig| witness.pairs.iter().map(|pair| pair.name.as_str()).collect();
    Explanation {
        file: path,
        node: &config.node.name,
        not_run: not_run(config, path).map(|fault| fault.message),
        pair: computed.map(pair_explained),
        witness_of: config.witness.as_ref().map(pairs),
    }
}

fn pair_explained<'a>(computed: &'a ComputedPair<'a>) -> PairExplained<'a> {
    let ComputedPair { pair, chosen, groups } = computed;
    let facts = groups.first().map(|group| group.facts);
    PairExplained {
        name: &pair.name,
        peer: &pair.peer,
        arbiter: pair.arbiter.name(),
        guard: match chosen.guard {
            Guard::Bpf => "bpf",
            Guard::Nftables { .. } => "nftables",
            Guard::Lifetime => "lifetime",
        },
        guard_why: &chosen.why,
        tick_secs: tick(chosen.guard).map(Span::as_secs_f64),
        round_trip_secs: facts.map_or(0.0, |facts| facts.round_trip().as_secs_f64()),
        round_trip_is_measured: facts.is_some_and(|facts| facts.round_trip != RoundTrip::Assumed),
        takeover_within_secs: pair.takeover_within.as_secs_f64(),
        groups: groups.iter().map(group_explained).collect(),
    }
}

fn group_explained<'a>(computed: &'a Computed<'a>) -> GroupExplained<'a> {
    let Computed { group, facts, checks, parts, result } = computed;
    let refusals = result.as_ref().err().into_iter().flatten();
    GroupExplained {
        name: &group.name,
        refused: refusals.map(ToString::to_string).collect(),
        promise: result.as_ref().ok().map(|(timing, sums)| promise_explained(timing, sums)),
        handed_over_by: checks,
        better_elsewhere_by: parts,
        two_owners: Claim::new(facts.arbiter, facts.guard, facts.safety),
    }
}

fn promise_explained(timing: &Timing, sums: &Sums) -> PromiseExplained {
    let lines = |sum: &Sum| {
        let line = |line: &Line| LineExplained {
            part: line.part,
            what: line.part.to_string(),
            secs: line.span.as_secs_f64(),
            key: line.part.key(),
        };
        sum.lines.iter().map(line).collect()
    };
    PromiseExplained {
        takeover_at_most_secs: timing.takeover_at_most.as_secs_f64(),
        takeover: lines(&sums.takeover),
        while_a_voter_is_silent_secs: sums.takeover_voter_silent.as_secs_f64(),
        slewed_later_secs: sums.slewed_later.as_secs_f64(),
        units_start_at_most_secs: sums.units_start.map(Span::as_secs_f64),
        units_wait: sums.stop.as_ref().map(lines),
        lease_secs: timing.lease.as_secs_f64(),
        heartbeat_secs: timing.heartbeat.as_secs_f64(),
        guard_slack_secs: timing.slack.as_secs_f64(),
        promise_secs: timing.promise.as_secs_f64(),
        margin_secs: timing.margin.as_secs_f64(),
        restart_lease_secs: timing.restart_lease.as_secs_f64(),
        restart_promise_secs: timing.restart_promise.as_secs_f64(),
    }
}
