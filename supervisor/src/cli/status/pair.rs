//! The part of `mastiff status` about the pair: who has each group, whether the other node could
//! take it, how good the paths are, and what the owner of the pair should know.

use super::super::print::{Out, Tone, clean, counted, duration};
use super::super::table::{Cell, Table};
use crate::control::{AnswerStatus, GroupStatus, PairStatus, PathStatus, StopStatus, WaitStatus};

/// A path that nothing was heard on for so long is silent: three heartbeats of the slowest pair,
/// whose lease is shorter than 10 s.
pub(in crate::cli) const SILENT_MS: f64 = 3000.0;
/// A path on which the slowest pair beats as it should.
const FRESH_MS: f64 = 1100.0;
/// The path to the third voter is `to` this.
pub(in crate::cli) const WITNESS: &str = "witness";
/// What the arbiter `wire` does not promise.
pub(in crate::cli) const WIRE_SPLITS: &str =
    "arbiter wire: a split LAN can have one owner per side; a witness prevents that";
/// So much means that nothing bounds it.
pub(in crate::cli) const ENDLESS_SECS: f64 = 1e7;
/// Loss from here on, in percent, is worth a colour.
const LOSS_MUCH: f64 = 5.0;

/// Who has a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Owner {
    /// This node.
    Here,
    /// The other node.
    Peer,
    /// It is on its way.
    Changing,
    /// Nobody that this node knows of.
    Nobody,
}

impl Owner {
    /// Of a group.
    pub(in crate::cli) fn of(group: &GroupStatus) -> Self {
        let peer = group.peer_role.as_deref();
        match (group.role.as_str(), peer) {
            ("active", _) => Self::Here,
            (_, Some("active")) => Self::Peer,
            ("taking" | "yielding", _) | (_, Some("taking" | "yielding")) => Self::Changing,
            _ => Self::Nobody,
        }
    }
}

/// Whether something was heard on the path lately.
pub(in crate::cli) fn is_heard(path: &PathStatus) -> bool {
    path.open && path.heard_ms_ago.is_some_and(|ago| ago < SILENT_MS)
}

/// The section.
pub(super) fn render(pair: &PairStatus, node: &str, out: Out) -> String {
    let mut text = format!(
        "Pair {}: {} and {}\n{}\n",
        out.paint(Tone::Strong, &clean(&pair.name)),
        clean(node),
        clean(&pair.peer),
        out.paint(
            Tone::Dim,
            &out.fit(&format!("arbiter {}, guard {}", pair.arbiter, pair.guard), 0)
        )
    );
    for group in &pair.groups {
        text.push('\n');
        text.push_str(&one(group, pair, node, out));
    }
    text.push('\n');
    text.push_str(&paths(&pair.paths, out).render(out));
    let warnings = warnings(pair);
    if !warnings.is_empty() {
        text.push('\n');
    }
    for warning in &warnings {
        let mark = out.paint(Tone::Warning, "warning:");
        text.push_str(&format!("{mark} {}\n", out.wrap(warning, 9)));
    }
    text
}

/// One group: who has it since when and why, then each node.
fn one(group: &GroupStatus, pair: &PairStatus, node: &str, out: Out) -> String {
    let name = out.paint(Tone::Strong, &clean(&group.name));
    let since = duration(group.for_secs);
    let headline = match Owner::of(group) {
        Owner::Here => out.paint(Tone::Good, &format!("active here for {since}")),
        Owner::Peer => out.paint(Tone::Good, &format!("active on {}", clean(&pair.peer))),
        Owner::Changing => out.paint(Tone::Warning, "just changing"),
        Owner::Nobody => out.paint(Tone::Bad, "without an owner that this node knows"),
    };
    let mut table = Table::new(2);
    let mut row = |what: &str, tone: Tone, text: &str| {
        table.row(vec![Cell::plain(what), Cell::new(tone, text).wrapped()]);
    };
    let cause = group.cause.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    let ready = readiness(&group.role, group.not_ready.as_deref());
    let tone = if group.not_ready.is_some() { Tone::Warning } else { Tone::Plain };
    row(node, tone, &format!("{}{ready}", group.role));
    row("since", Tone::Plain, &format!("{since}{cause}"));
    match &group.peer_role {
        Some(role) => {
            let ready = readiness(role, group.peer_not_ready.as_deref());
            let tone = if group.peer_not_ready.is_some() { Tone::Warning } else { Tone::Plain };
            row(&pair.peer, tone, &format!("{role}{ready}"));
        }
        None => row(&pair.peer, Tone::Warning, "silent"),
    }
    if let Some(text) = failing(group, node, &pair.peer) {
        row("failing", Tone::Warning, &text);
    }
    if let Some(waits) = &group.waits {
        row("waits", Tone::Warning, &wait(waits));
    }
    let lease = match group.lease_left_ms {
        Some(left) => format!("{left:.0} ms left, epoch {}", group.epoch),
        None if group.epoch == 0 => "none yet".to_string(),
        None => format!("none here; highest epoch known {}", group.epoch),
    };
    row("lease", Tone::Plain, &lease);
    if !group.addresses.is_empty() {
        row("addresses", Tone::Plain, &group.addresses.join(", "));
    }
    for AnswerStatus { address, state, text } in &group.answers {
        let tone = match state.as_str() {
            "good" | "unknown" => Tone::Plain,
            _ => Tone::Bad,
        };
        row("answers", tone, &format!("{address}: {text}"));
    }
    if !group.units.is_empty() {
        let trouble = group.units_trouble.as_deref();
        let text = trouble.map_or(String::new(), |why| format!("; {why}"));
        let tone = if trouble.is_some() { Tone::Warning } else { Tone::Plain };
        row("units", tone, &format!("{}{text}", group.units.join(", ")));
    }
    if let Some(stop) = &group.stop {
        let (is_good, text) = stop_times(stop, node, &pair.peer);
        row("stop time", if is_good { Tone::Plain } else { Tone::Warning }, &text);
    }
    format!("Group {name} is {headline}\n{}", table.render(out))
}

/// On which node something has failed for which a group is better off elsewhere.
pub(in crate::cli) fn failing(group: &GroupStatus, node: &str, peer: &str) -> Option<String> {
    let here = (!group.failing.is_empty()).then(|| group.failing.join(", "));
    match (here, group.peer_failing) {
        (None, false) => None,
        (None, true) => Some(peer.to_string()),
        (Some(checks), false) => Some(format!("{node} ({checks})")),
        (Some(checks), true) => Some(format!("{node} ({checks}) and {peer}")),
    }
}

/// What it waits for, for how long, and what helps.
pub(in crate::cli) fn wait(waits: &WaitStatus) -> String {
    let left = match waits.left_secs {
        Some(secs) if secs < ENDLESS_SECS => format!(", {} more at most", duration(secs)),
        Some(_) | None => String::new(),
    };
    let help = waits.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
    format!("{}{left}{help}", waits.why)
}

/// How long each node waits for the units of the other one when that is silent; whether that is
/// known where it counts.
pub(in crate::cli) fn stop_times(stop: &StopStatus, node: &str, peer: &str) -> (bool, String) {
    const NONE: &str = "not bounded";
    let bounded = |secs: Option<f64>| secs.filter(|secs| *secs < ENDLESS_SECS);
    let (is_known, known) = match (bounded(stop.here_secs), stop.known_there_secs) {
        (None, _) if stop.fenced => (true, NONE.to_string()),
        (None, _) => (false, "not bounded (no armed watchdog)".to_string()),
        (Some(here), Some(there)) if there >= here => {
            (true, format!("{} (known to {peer})", duration(here)))
        }
        (Some(here), _) => (false, format!("{} ({peer} has not confirmed it)", duration(here))),
    };
    let (is_told, told) = match (bounded(stop.peer_secs), stop.peer_secs) {
        (Some(secs), _) => (true, duration(secs)),
        (None, Some(_)) => (stop.fenced, NONE.to_string()),
        (None, None) if stop.fenced => (true, NONE.to_string()),
        (None, None) => (false, "never heard".to_string()),
    };
    let agent = if stop.fenced { "; the fence agent ends it sooner" } else { "" };
    (is_known && is_told, format!("of {node} {known}, of {peer} {told}{agent}"))
}

/// `, ready`, or why not; for an owner only what speaks against it.
pub(in crate::cli) fn readiness(role: &str, not_ready: Option<&str>) -> String {
    match (not_ready, role) {
        (Some(why), "active") => format!(", but {why}"),
        (Some(why), _) => format!(", not ready: {why}"),
        (None, "standby" | "waiting") => ", ready".to_string(),
        (None, _) => String::new(),
    }
}

fn paths(paths: &[PathStatus], out: Out) -> Table {
    let mut table = Table::new(0);
    table.head(&["PATH TO", "STATE", "LOSS", "ROUND TRIP", "ENDS"]);
    for path in paths {
        let (tone, state) = match (path.open, path.heard_ms_ago) {
            (false, _) => (Tone::Bad, "closed".to_string()),
            (true, None) => (Tone::Bad, "never heard".to_string()),
            (true, Some(ago)) if is_heard(path) && ago < FRESH_MS => (Tone::Good, "heard".into()),
            (true, Some(ago)) if is_heard(path) => {
                (Tone::Warning, format!("heard {} ago", duration(ago / 1000.0)))
            }
            (true, Some(ago)) => (Tone::Bad, format!("silent {}", duration(ago / 1000.0))),
        };
        let loss = path.loss_percent.map_or("-".to_string(), |loss| format!("{loss:.1}%"));
        let much = path.loss_percent.is_some_and(|loss| loss >= LOSS_MUCH);
        let trip = path.round_trip_ms.map_or("-".to_string(), |trip| format!("{trip:.2} ms"));
        let ends = match path.local.is_empty() {
            true => path.remote.clone(),
            false => format!("{} - {}", path.local, path.remote),
        };
        table.row(vec![
            Cell::plain(&path.to),
            Cell::new(tone, &state),
            Cell::new(if much { Tone::Warning } else { Tone::Plain }, &loss),
            Cell::plain(&trip),
            Cell::new(Tone::Dim, &out.fit(&ends, 0)),
        ]);
    }
    table
}

/// Why somebody is silent who is not: what comes from there is refused.
pub(in crate::cli) fn refusal(path: &PathStatus) -> Option<String> {
    let why = path.refusal.as_ref().filter(|_| !is_heard(path))?;
    let PathStatus { to, remote, refused, .. } = path;
    Some(format!("what comes from {to} ({remote}) is refused: {why} ({refused} so far)"))
}

/// What the pair's owner should know, in plain words.
fn warnings(pair: &PairStatus) -> Vec<String> {
    let mut warnings = Vec::new();
    let (witness, nodes): (Vec<&PathStatus>, Vec<&PathStatus>) =
        pair.paths.iter().partition(|path| path.to == WITNESS);
    let silent = |paths: &[&PathStatus]| paths.iter().filter(|path| !is_heard(path)).count();
    let lost = silent(&nodes);
    if lost > 0 && lost == nodes.len() {
        warnings.push(format!(
            "{} is silent on {}: nobody could take over from this node",
            pair.peer,
            if lost == 1 { "the only path".to_string() } else { format!("all {lost} paths") }
        ));
    } else if lost > 0 {
        let of = counted(nodes.len(), "path");
        warnings.push(format!("{lost} of {of} to {} is silent; the others suffice", pair.peer));
    }
    if silent(&witness) > 0 {
        warnings.push(
            "the witness is silent: until it is back, losing either node leaves no owner".into(),
        );
    }
    warnings.extend(pair.paths.iter().filter_map(refusal));
    if let Some(why) = &pair.not_fenced
        && pair.groups.iter().any(|group| Owner::of(group) == Owner::Nobody)
    {
        warnings.push(clean(why));
    }
    if pair.arbiter == "wire" {
        warnings.push(WIRE_SPLITS.into());
    }
    if let Some(why) = &pair.not_realtime {
        warnings.push(format!(
            "the keeper is no real-time thread ({why}): a busy machine may lose a lease"
        ));
    }
    warnings.extend(pair.date_warnings.iter().map(|why| clean(why)));
    warnings
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use super::*;

    fn path(to: &str, heard_ms_ago: Option<f64>) -> PathStatus {
        PathStatus {
            to: to.into(),
            local: if to == WITNESS { String::new() } else { "10.0.0.1:4170".into() },
            remote: "10.0.0.2:4170".into(),
            open: true,
            heard_ms_ago,
            loss_percent: Some(0.0),
            round_trip_ms: Some(0.312),
            refused: 0,
            refusal: None,
        }
    }

    /// A pair of which all is well, seen from its owner.
    pub(in crate::cli) fn pair() -> PairStatus {
        PairStatus {
            name: "db".into(),
            peer: "db2".into(),
            arbiter: "witness".into(),
            guard: "BPF (tcx)".into(),
            not_realtime: None,
            not_fenced: None,
            date_warnings: Vec::new(),
            takeover_within_secs: 1.0,
            groups: vec![GroupStatus {
                name: "web".into(),
                role: "active".into(),
                for_secs: 7500.0,
                cause: Some("everything is in place".into()),
                epoch: 1_795_000_001,
                lease_left_ms: Some(412.4),
                not_ready: None,
                peer_role: Some("standby".into()),
                peer_not_ready: None,
                failing: Vec::new(),
                peer_failing: false,
                waits: None,
                stop: None,
                addresses: vec!["192.0.2.100/32 dev eth0".into()],
                answers: Vec::new(),
                units: Vec::new(),
                start_within_secs: 60.0,
                stop_within_secs: 30.0,
                units_trouble: None,
            }],
            paths: vec![path("db2", Some(20.0)), path("db2", Some(30.0)), path(WITNESS, Some(9.0))],
        }
    }

    #[test]
    fn a_standby_says_who_answers_for_the_addresses() {
        let mut pair = pair();
        assert!(!shown(&pair).contains("answers"));
        let answer = |state: &str, text: &str| AnswerStatus {
            address: "192.0.2.100".into(),
            state: state.into(),
            text: text.into(),
        };
        pair.groups[0].answers = vec![answer("good", "db2 alone answers for it")];
        let line = "  answers    192.0.2.100: db2 alone answers for it\n";
        assert!(shown(&pair).contains(line), "{}", shown(&pair));
    }

    const TERMINAL: Out = Out { color: false, width: Some(80) };

    fn shown(pair: &PairStatus) -> String {
        let text = render(pair, "db1", TERMINAL);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        text
    }

    #[test]
    fn a_good_pair_says_who_has_the_group_and_warns_of_nothing() {
        let text = shown(&pair());
        for part in [
            "Pair db: db1 and db2\narbiter witness, guard BPF (tcx)\n",
            "Group web is active here for 2h 5m\n",
            "  db1        active\n",
            "  since      2h 5m: everything is in place\n",
            "  db2        standby, ready\n",
            "  lease      412 ms left, epoch 1795000001\n",
            "  addresses  192.0.2.100/32 dev eth0\n",
            "db2      heard  0.0%  0.31 ms     10.0.0.1:4170 - 10.0.0.2:4170\n",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("warning"), "{text}");
    }

    #[test]
    fn the_standby_says_who_has_it_and_why_it_could_not_take_it() {
        let mut pair = pair();
        let group = &mut pair.groups[0];
        (group.role, group.peer_role) = ("standby".into(), Some("active".into()));
        group.lease_left_ms = None;
        group.not_ready = Some("paused by an operator".into());
        let text = shown(&pair);
        for part in [
            "Group web is active on db2\n",
            "  db1        standby, not ready: paused by an operator\n",
            "none here; highest epoch known 1795000001",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn who_has_it_is_told_apart_from_who_is_about_to() {
        let mut group = pair().groups.remove(0);
        for (here, peer, owner) in [
            ("active", None, Owner::Here),
            ("standby", Some("active"), Owner::Peer),
            ("taking", Some("standby"), Owner::Changing),
            ("standby", Some("yielding"), Owner::Changing),
            ("standby", None, Owner::Nobody),
            ("waiting", Some("waiting"), Owner::Nobody),
        ] {
            (group.role, group.peer_role) = (here.into(), peer.map(str::to_string));
            assert_eq!(Owner::of(&group), owner, "{here} {peer:?}");
        }
    }

    #[test]
    fn what_is_missing_is_said_with_what_follows_from_it() {
        let mut pair = pair();
        pair.paths[0].heard_ms_ago = None;
        pair.paths[2].heard_ms_ago = Some(60_000.0);
        pair.not_realtime = Some("not permitted".into());
        let text = shown(&pair);
        for part in ["never heard", "silent 1m", "1 of 2 paths to db2 is silent", "losing either"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(text.contains("no real-time thread (not permitted)"), "{text}");
        pair.paths[0].refused = 12;
        pair.paths[0].refusal = Some("signed with another key".into());
        let why = "what comes from db2 (10.0.0.2:4170) is refused: signed with another key (12";
        assert_eq!(refusal(&pair.paths[0]).as_deref(), Some(&*format!("{why} so far)")));
        assert!(shown(&pair).contains("signed with another key"));
        pair.paths[0].heard_ms_ago = Some(1.0);
        assert_eq!(refusal(&pair.paths[0]), None, "it is heard, so somebody else says that");
        (pair.paths[0].heard_ms_ago, pair.paths[1].open) = (None, false);
        pair.arbiter = "wire".into();
        pair.groups[0].role = "waiting".into();
        pair.groups[0].peer_role = None;
        let text = shown(&pair);
        for part in ["silent on all 2 paths", "one owner per side", "without an owner", "  silent"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn an_agent_that_failed_is_told_while_nobody_has_a_group() {
        let mut pair = pair();
        pair.not_fenced = Some("not confirmed off: timed out".into());
        assert!(!shown(&pair).contains("timed out"), "the group is here");
        (pair.groups[0].role, pair.groups[0].peer_role) = ("standby".into(), None);
        assert!(shown(&pair).contains("warning: not confirmed off: timed out"));
    }

    #[test]
    fn units_are_named_with_what_keeps_them() {
        let mut pair = pair();
        pair.date_warnings = vec!["the clock is not synchronised".into()];
        assert!(shown(&pair).contains("warning: the clock is not synchronised\n"));
        assert!(!shown(&pair).contains("units"));
        pair.groups[0].units = vec!["a.service".into(), "b.service".into()];
        assert!(shown(&pair).contains("  units      a.service, b.service\n"), "{}", shown(&pair));
        pair.groups[0].units_trouble = Some("b.service is deactivating".into());
        assert!(shown(&pair).contains("a.service, b.service; b.service is deactivating\n"));
    }

    #[test]
    fn a_data_group_says_how_long_a_takeover_would_wait_and_what_for() {
        let mut pair = pair();
        let stop = StopStatus {
            here_secs: Some(27.0),
            known_there_secs: Some(27.0),
            peer_secs: Some(31.0),
            fenced: false,
        };
        let times = |change: fn(&mut StopStatus)| {
            let mut stop = stop.clone();
            change(&mut stop);
            stop_times(&stop, "db1", "db2")
        };
        let good = "of db1 27s (known to db2), of db2 31s";
        assert_eq!(times(|_| ()), (true, good.to_string()));
        for (change, part) in [
            (
                (|stop| stop.known_there_secs = Some(20.0)) as fn(&mut StopStatus),
                "27s (db2 has not confirmed it)",
            ),
            (|stop| stop.known_there_secs = None, "27s (db2 has not confirmed it)"),
            (|stop| stop.here_secs = None, "of db1 not bounded (no armed watchdog)"),
            (|stop| stop.peer_secs = None, "of db2 never heard"),
            (|stop| stop.peer_secs = Some(9.2e9), "of db2 not bounded"),
        ] {
            let (is_good, text) = times(change);
            assert!(!is_good && text.contains(part), "{part} in {text}");
        }
        let only_agent =
            StopStatus { here_secs: None, known_there_secs: None, peer_secs: None, fenced: true };
        let (is_good, text) = stop_times(&only_agent, "db1", "db2");
        assert!(is_good && text.ends_with("the fence agent ends it sooner"), "{text}");
        let group = &mut pair.groups[0];
        (group.role, group.peer_role, group.stop) = ("taking".into(), None, Some(stop));
        group.waits = Some(WaitStatus {
            why: "units of db2 may still run there".into(),
            left_secs: Some(12.0),
            help: Some("it ends when db2 says so".into()),
        });
        let text = shown(&pair).replace("\n             ", " ");
        assert!(text.contains("there, 12s more at most; it ends when db2 says so\n"), "{text}");
        assert!(text.contains(&format!("  stop time  {good}\n")), "{text}");
    }

    #[test]
    fn long_names_do_not_break_the_lines() {
        let mut pair = pair();
        pair.name = "a-name-of-a-pair-".repeat(2);
        pair.groups[0].addresses = vec!["2001:db8:0:1:2:3:4:5/128 dev enp129s0f0np0".into(); 6];
        pair.groups[0].not_ready = Some("words and ".repeat(20));
        for path in &mut pair.paths {
            path.local = "[2001:db8:0:1:2:3:4:5]:4170".into();
            path.remote = "[2001:db8:0:1:2:3:4:6]:4170".into();
        }
        let text = shown(&pair);
        assert!(text.contains("..."), "the ends are cut:\n{text}");
    }
}
