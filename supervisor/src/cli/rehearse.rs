//! `mastiff rehearse`: whether a takeover would work now, and on request a real handover, measured.

use mastiff_core::time::{Mono, Span};
use nix::poll::poll;
use serde::Serialize;

use super::failure::Failure;
use super::plan::Plan;
use super::print::{self, Out, Tone};
use super::status::pair::{Owner, WIRE_SPLITS, WITNESS, is_heard, refusal};
use super::table::{Cell, Table};
use super::{Context, confirm, status, switchover, unexpected};
use crate::clock;
use crate::control::{Answer, GroupStatus, PairStatus, Request, Status};
use addresses::Asked;

mod addresses;

/// A keeper reports each second; one that is silent for longer is stuck.
const KEEPER_SILENT_MS: f64 = 3000.0;
/// The other node takes a group that was handed over within milliseconds, or not at all.
const TAKEN_WITHIN: Span = Span::from_secs(5);
/// Between two looks whether it has, in milliseconds: what is measured is no finer than this.
const LOOK_EVERY_MS: u8 = 2;

/// Check that a takeover would work now; with --switchover, do one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --switchover nothing is changed: the daemon is asked how the pair
stands, and as root the network is asked who answers for the addresses.

With it, a group that is here and passes is handed over for real, and the time
until the other node has it is measured. To bring it back, and to rehearse the
other direction, run the same on the other node.

Exit code: 0 if a takeover would work (and did), else 1.")]
pub(super) struct Arguments {
    /// The group to hand over [default: the only one]
    #[arg(value_name = "GROUP", requires = "switchover")]
    group: Option<String>,
    /// Hand the group over to the other node, for real
    #[arg(long)]
    switchover: bool,
    /// Do not ask for confirmation
    #[arg(long, requires = "switchover")]
    yes: bool,
}

/// How much something matters to a takeover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    /// As it should be.
    Good,
    /// Worth knowing; a takeover would work.
    Warning,
    /// It would not, or not as promised.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Finding {
    grade: Grade,
    text: String,
}

/// A handover that was done.
#[derive(Debug, Serialize)]
struct Handover {
    group: String,
    /// Milliseconds from the order until the other node was active.
    taken_after_ms: Option<f64>,
    /// What the daemon answered.
    said: String,
}

#[derive(Debug, Serialize)]
struct Report {
    node: String,
    works: bool,
    findings: Vec<Finding>,
    /// What would happen to each group.
    plans: Vec<Plan>,
    handover: Option<Handover>,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let status = status::ask(context)?;
    let asked = addresses::ask(context);
    let findings = findings(&status, &asked);
    let works = findings.iter().all(|finding| finding.grade != Grade::Bad);
    let pair = status.pair.as_ref();
    let plan = |pair: &PairStatus| {
        pair.groups.iter().filter_map(|group| Plan::of(group, pair, &status.node)).collect()
    };
    let plans = pair.map(plan).unwrap_or_default();
    let mut report = Report { node: status.node.clone(), works, findings, plans, handover: None };
    if !context.json {
        print::print(&text(&report, context.out))?;
    }
    if arguments.switchover && works {
        let handover = hand_over(context, arguments, &status)?;
        report.works = handover.taken_after_ms.is_some();
        if !context.json {
            print::print(&handover_text(&handover, &status, context.out))?;
        }
        report.handover = Some(handover);
    }
    if context.json {
        print::print_json(&report)?;
    }
    Ok(u8::from(!report.works))
}

/// All that a takeover needs, looked at from this node.
fn findings(status: &Status, asked: &[Asked]) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut say = |grade, text: String| all.push(Finding { grade, text });
    let Some(pair) = &status.pair else {
        say(Grade::Bad, "this node is in no pair: there is no [pair] in its file".into());
        return all;
    };
    match status.lateness.keeper_age_ms {
        age if age > KEEPER_SILENT_MS => {
            say(Grade::Bad, format!("the keeper has not reported for {:.0} s", age / 1000.0));
        }
        _ => say(Grade::Good, format!("mastiffd runs the pair {} with {}", pair.name, pair.peer)),
    }
    paths(pair, &mut say);
    match &pair.not_realtime {
        Some(why) => say(Grade::Warning, format!("the keeper is no real-time thread: {why}")),
        None => say(Grade::Good, "the keeper is a real-time thread".into()),
    }
    let (grade, limit) = match pair.guard.starts_with("lifetime") {
        true => (Grade::Warning, ": whole seconds, so a takeover waits for some"),
        false => (Grade::Good, ""),
    };
    say(grade, format!("guard: {}{limit}", pair.guard));
    if pair.arbiter == "wire" {
        say(Grade::Warning, WIRE_SPLITS.into());
    }
    for why in &pair.date_warnings {
        say(Grade::Warning, why.clone());
    }
    for group in &pair.groups {
        let (grade, text) = group_finding(group, &pair.peer);
        say(grade, text);
        for asked in asked.iter().filter(|asked| asked.group == group.name) {
            let (grade, text) = address_finding(asked, Owner::of(group), &pair.peer);
            say(grade, text);
        }
    }
    all
}

fn paths(pair: &PairStatus, say: &mut impl FnMut(Grade, String)) {
    let (witness, nodes): (Vec<_>, Vec<_>) = pair.paths.iter().partition(|path| path.to == WITNESS);
    let heard = nodes.iter().filter(|path| is_heard(path)).count();
    let grade = match heard {
        0 => Grade::Bad,
        some if some < nodes.len() => Grade::Warning,
        _ => Grade::Good,
    };
    say(grade, format!("{} is heard on {heard} of {} paths", pair.peer, nodes.len()));
    for why in pair.paths.iter().filter_map(refusal) {
        say(Grade::Bad, why);
    }
    for path in witness {
        match is_heard(path) {
            true => say(Grade::Good, "the witness is heard".into()),
            false => {
                say(Grade::Bad, "the witness is silent: no vote is left for a takeover".into())
            }
        }
    }
}

fn group_finding(group: &GroupStatus, peer: &str) -> (Grade, String) {
    let name = &group.name;
    let (role, why, who, owner) = match Owner::of(group) {
        Owner::Here => (group.peer_role.as_deref(), &group.peer_not_ready, peer, "this node"),
        Owner::Peer => (Some(group.role.as_str()), &group.not_ready, "this node", peer),
        Owner::Changing => return (Grade::Bad, format!("{name} is just changing; ask again")),
        Owner::Nobody => return (Grade::Bad, format!("nobody that this node knows has {name}")),
    };
    let is_failing = match Owner::of(group) {
        Owner::Here => group.peer_failing,
        _ => !group.failing.is_empty(),
    };
    match (role, why) {
        (Some("standby"), None) if is_failing => (
            Grade::Warning,
            format!("{name} is on {owner}; {who} could take it at once, but its hardware fails"),
        ),
        (Some("standby"), None) => {
            (Grade::Good, format!("{name} is on {owner}; {who} could take it at once"))
        }
        (None, _) => (Grade::Bad, format!("{name} is on {owner}; {who} is silent")),
        (Some(role), why) => {
            let why = why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            (Grade::Bad, format!("{name} is on {owner}; {who} could not take it: {role}{why}"))
        }
    }
}

/// Who answers for an address must be its owner, and nobody else.
fn address_finding(asked: &Asked, owner: Owner, peer: &str) -> (Grade, String) {
    let ip = asked.ip;
    let others = match &asked.others {
        Ok(others) => others,
        Err(why) => return (Grade::Warning, format!("{ip}: not asked who has it: {why}")),
    };
    let names: Vec<String> = others.iter().map(ToString::to_string).collect();
    let names = names.join(" and ");
    match (owner, others.len()) {
        (Owner::Here, 0) => (Grade::Good, format!("{ip}: nobody else answers for it")),
        (Owner::Peer, 1) => (Grade::Good, format!("{ip}: {names} alone answers for it")),
        (Owner::Peer, 0) => {
            (Grade::Bad, format!("{ip}: {peer} has it, and does not answer for it"))
        }
        (Owner::Changing | Owner::Nobody, 0) => {
            (Grade::Good, format!("{ip}: nobody answers for it"))
        }
        (Owner::Here | Owner::Changing | Owner::Nobody, _) => {
            (Grade::Bad, format!("{ip}: {names} answers for it: another machine has it"))
        }
        (Owner::Peer, _) => (Grade::Bad, format!("{ip}: {names} answer for it: it is there twice")),
    }
}

fn hand_over(
    context: &Context,
    arguments: &Arguments,
    status: &Status,
) -> Result<Handover, Failure> {
    let pair = status.pair.as_ref();
    let here = |group: &&GroupStatus| {
        arguments.group.as_ref().is_none_or(|name| *name == group.name)
            && Owner::of(group) == Owner::Here
    };
    let found = pair.and_then(|pair| Some((pair, pair.groups.iter().find(here)?)));
    let Some((pair, group)) = found else {
        return Err(Failure::Refused(
            "no such group is on this node: a handover begins where the group is".into(),
        ));
    };
    if !arguments.yes {
        let (group, peer) = (&group.name, &pair.peer);
        let what = format!("\"{group}\" will be handed over to {peer}, and stay there.");
        confirm::confirm(&context.out.wrap(&what, 0))?;
    }
    let began = clock::now();
    let request = Request::Switchover { group: Some(group.name.clone()) };
    let said = match context.connect_within(switchover::PATIENCE)?.ask(&request)? {
        Answer::Done(said) => said,
        Answer::Error(why) => return Err(Failure::Refused(why)),
        other => return Err(unexpected(&other)),
    };
    let taken = wait_taken(context, &group.name, began)?;
    let taken_after_ms = taken.map(|at| at.since(began).as_secs_f64() * 1000.0);
    Ok(Handover { group: group.name.clone(), taken_after_ms, said })
}

/// When the other node was first seen to have it.
fn wait_taken(context: &Context, name: &str, began: Mono) -> Result<Option<Mono>, Failure> {
    let end = began.after(TAKEN_WITHIN);
    loop {
        let pair = status::ask(context)?.pair;
        let now = clock::now();
        let mut groups = pair.iter().flat_map(|pair| &pair.groups);
        if groups.any(|group| group.name == name && Owner::of(group) == Owner::Peer) {
            return Ok(Some(now));
        }
        if now >= end {
            return Ok(None);
        }
        // Interrupted by a signal, it just looks earlier.
        poll(&mut [], LOOK_EVERY_MS).ok();
    }
}

fn text(report: &Report, out: Out) -> String {
    let mut table = Table::new(0);
    for finding in &report.findings {
        let (tone, word) = match finding.grade {
            Grade::Good => (Tone::Good, "good"),
            Grade::Warning => (Tone::Warning, "warning"),
            Grade::Bad => (Tone::Bad, "bad"),
        };
        table.row(vec![Cell::new(tone, word), Cell::plain(&finding.text).wrapped()]);
    }
    let verdict = match report.works {
        true => out.paint(Tone::Good, "A takeover would work now."),
        false => out.paint(Tone::Bad, "A takeover would not work now."),
    };
    let mut plans = String::new();
    for plan in &report.plans {
        plans.push_str(&format!("\n{}\n", out.paint(Tone::Strong, &plan.group)));
        for line in plan.lines() {
            plans.push_str(&format!("  {}\n", out.wrap(&line, 2)));
        }
    }
    format!("{}{plans}\n{verdict}\n", table.render(out))
}

fn handover_text(handover: &Handover, status: &Status, out: Out) -> String {
    let peer = status.pair.as_ref().map_or("the other node", |pair| pair.peer.as_str());
    let words = match handover.taken_after_ms {
        Some(after) => format!(
            "{}. {peer} has it {after:.1} ms after the order. To bring it back, run `mastiff \
             rehearse --switchover` there.",
            handover.said
        ),
        None => format!(
            "{}. But {peer} has not taken it within {TAKEN_WITHIN}; see `mastiff status` there.",
            handover.said
        ),
    };
    format!("\n{}\n", out.wrap(&words, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::status::pair::tests::pair;
    use crate::control::Lateness;
    use crate::keeper::devices::Mac;
    use mastiff_core::health::Verdict;

    fn status(pair: Option<PairStatus>) -> Status {
        Status {
            node: "db1".into(),
            version: "0.1.0".into(),
            pid: 412,
            up_secs: 60.0,
            config: "/etc/mastiff/mastiff.toml".into(),
            verdict: Verdict::Healthy,
            summary: String::new(),
            ready: true,
            checks: Vec::new(),
            pauses: Vec::new(),
            boot_loop: None,
            trial_left_secs: None,
            going: None,
            pair,
            watchdog: None,
            lateness: Lateness::default(),
            counters: Vec::new(),
        }
    }

    fn asked(others: Result<&[u8], &str>) -> Asked {
        let others =
            others.map(|macs| macs.iter().map(|last| Mac([2, 0, 0, 0, 0, *last])).collect());
        let ip = "192.0.2.100".parse().unwrap();
        Asked { group: "web".into(), ip, others: others.map_err(str::to_string) }
    }

    fn bad(pair: PairStatus, others: Result<&[u8], &str>) -> Vec<String> {
        let findings = findings(&status(Some(pair)), &[asked(others)]);
        let bad = findings.into_iter().filter(|finding| finding.grade == Grade::Bad);
        bad.map(|finding| finding.text).collect()
    }

    #[test]
    fn a_good_pair_passes_and_says_why() {
        let findings = findings(&status(Some(pair())), &[asked(Ok(&[]))]);
        assert!(findings.iter().all(|finding| finding.grade == Grade::Good), "{findings:#?}");
        let report =
            Report { node: "db1".into(), works: true, findings, plans: Vec::new(), handover: None };
        let text = text(&report, Out { color: false, width: Some(80) });
        for part in [
            "good  db2 is heard on 2 of 2 paths\n",
            "good  the witness is heard\n",
            "good  web is on this node; db2 could take it at once\n",
            "good  192.0.2.100: nobody else answers for it\n",
            "\nA takeover would work now.\n",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn each_thing_that_is_missing_is_a_reason() {
        assert_eq!(bad(pair(), Ok(&[])), Vec::<String>::new());
        let broken = |change: fn(&mut PairStatus)| {
            let mut pair = pair();
            change(&mut pair);
            bad(pair, Ok(&[])).join("; ")
        };
        for (change, reason) in [
            ((|pair| pair.paths[2].heard_ms_ago = None) as fn(&mut PairStatus), "no vote is left"),
            (|pair| pair.groups[0].peer_role = None, "web is on this node; db2 is silent"),
            (|pair| pair.groups[0].peer_not_ready = Some("paused".into()), "standby: paused"),
            (|pair| pair.groups[0].peer_role = Some("fault".into()), "could not take it: fault"),
            (|pair| pair.groups[0].role = "taking".into(), "just changing"),
            (|pair| pair.groups[0].role = "waiting".into(), "nobody that this node knows has web"),
        ] {
            let found = broken(change);
            assert!(found.contains(reason), "{reason} in {found}");
        }
        assert_eq!(broken(|pair| pair.groups[0].peer_failing = true), "", "only a warning");
        let mut failing = pair();
        failing.groups[0].peer_failing = true;
        let all = findings(&status(Some(failing)), &[]);
        let warned = all.iter().find(|it| it.text.contains("db2 could take it at once, but its"));
        assert_eq!(warned.map(|it| it.grade), Some(Grade::Warning), "{all:?}");
        let one_path = broken(|pair| pair.paths[0].open = false);
        assert_eq!(one_path, "", "one of two paths is only a warning");
        let no_pair = findings(&status(None), &[]);
        assert!(no_pair[0].text.contains("in no pair"), "{no_pair:?}");
        let mut stuck = status(Some(pair()));
        stuck.lateness.keeper_age_ms = 60_000.0;
        assert_eq!(findings(&stuck, &[])[0].grade, Grade::Bad);
    }

    #[test]
    fn only_the_owner_may_answer_for_an_address() {
        let there = || {
            let mut pair = pair();
            let group = &mut pair.groups[0];
            (group.role, group.peer_role) = ("standby".into(), Some("active".into()));
            pair
        };
        for (pair, others, reason) in [
            (pair(), Ok(&[7][..]), "02:00:00:00:00:07 answers for it: another machine has it"),
            (there(), Ok(&[]), "db2 has it, and does not answer for it"),
            (there(), Ok(&[7, 8]), "02:00:00:00:00:07 and 02:00:00:00:00:08 answer for it"),
        ] {
            let found = bad(pair, others).join("; ");
            assert!(found.contains(reason), "{reason} in {found}");
        }
        assert_eq!(bad(there(), Ok(&[7])), Vec::<String>::new());
        assert_eq!(bad(pair(), Err("needs root")), Vec::<String>::new(), "only a warning");
    }
}
