//! `mastiff explain GROUP`: why this node is what it is for a group, what led to that, and what
//! would happen next.

use serde::Serialize;

use super::{indented, paragraph, section};
use crate::cli::events;
use crate::cli::failure::Failure;
use crate::cli::plan::Plan;
use crate::cli::print::{self, Out, Tone, clean, duration};
use crate::cli::status::pair::{Owner, failing, stop_times, wait};
use crate::cli::{Context, unexpected};
use crate::control::{Answer, EventView, GroupStatus, PairStatus, Request, Status};

/// Changes that are shown.
const CHANGES_MAX: usize = 5;

/// What is known of the group.
#[derive(Serialize)]
struct Explained<'a> {
    node: &'a str,
    peer: &'a str,
    group: &'a GroupStatus,
    /// The last changes of its role here, oldest first.
    changes: &'a [EventView],
    plan: Option<Plan>,
}

/// Explains a group of that name; whether there is one.
pub(super) fn explain(context: &Context, status: &Status, name: &str) -> Result<bool, Failure> {
    let Some(pair) = &status.pair else { return Ok(false) };
    let Some(group) = pair.groups.iter().find(|group| group.name == name) else {
        return Ok(false);
    };
    let changes = changes(context, name)?;
    let plan = Plan::of(group, pair, &status.node);
    if context.json {
        let (node, peer) = (&*status.node, &*pair.peer);
        print::print_json(&Explained { node, peer, group, changes: &changes, plan })?;
    } else {
        let text = render(group, pair, &status.node, (&changes, plan.as_ref()), context.out);
        print::print(&text)?;
    }
    Ok(true)
}

fn changes(context: &Context, name: &str) -> Result<Vec<EventView>, Failure> {
    let mut events = match context.ask(&Request::Events { last: None, follow: false })? {
        Answer::Events(events) => events,
        other => return Err(unexpected(&other)),
    };
    let of_group = format!("group \"{name}\": ");
    events.retain(|event| event.kind.starts_with("role") && event.text.starts_with(&of_group));
    let surplus = events.len().saturating_sub(CHANGES_MAX);
    Ok(events.split_off(surplus))
}

fn render(
    group: &GroupStatus,
    pair: &PairStatus,
    node: &str,
    (changes, plan): (&[EventView], Option<&Plan>),
    out: Out,
) -> String {
    let name = out.paint(Tone::Strong, &clean(&group.name));
    let mut text =
        format!("{node} is {} for {name}, for {}.\n", group.role, duration(group.for_secs));
    let mut say = |words: &str| paragraph(&mut text, out, words);
    say(&why(group, &pair.peer));
    say(&other(group, &pair.peer));
    if let Some(which) = failing(group, node, &pair.peer) {
        say(&format!("Hardware has failed on {which}: it goes to a node that is better."));
    }
    if let Some(waits) = &group.waits {
        say(&format!("It waits: {}.", wait(waits)));
    }
    if let Some(stop) = &group.stop {
        let (_, times) = stop_times(stop, node, &pair.peer);
        say(&format!(
            "Its units must not run twice. Units may outlive a lease by (D): {times}. A takeover \
             from a silent owner waits so long."
        ));
    }
    let line = |event: &EventView| format!("{}  {}", events::moment(event), event.text);
    let changes: Vec<String> = changes.iter().map(line).collect();
    section(&mut text, out, "What led to this", &indented(&changes, out));
    let plan = plan.map(Plan::lines).unwrap_or_default();
    section(&mut text, out, "What would happen", &indented(&plan, out));
    text
}

/// Why this node has its role.
fn why(group: &GroupStatus, peer: &str) -> String {
    let cause = group.cause.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    let not_ready = group.not_ready.as_deref().unwrap_or("it is just changing");
    match group.role.as_str() {
        "active" => {
            let left = group.lease_left_ms.unwrap_or_default();
            let but = group.not_ready.as_ref().map(|why| format!(" But {why}."));
            format!(
                "It has the lease by two votes of three, and extends it with every heartbeat; it \
                 ends in {left:.0} ms unless it is extended{cause}.{}",
                but.unwrap_or_default()
            )
        }
        "standby" => match Owner::of(group) {
            Owner::Peer => format!("{peer} has it; this node is ready to take it{cause}."),
            _ => format!("Nobody that it knows has it, and it is ready to take it{cause}."),
        },
        "taking" => format!("It has the lease, and brings the group up{cause}."),
        "yielding" => format!("It lets the group go{cause}."),
        "maintenance" => format!("It takes nothing: {not_ready}."),
        "fault" => format!("Something failed here, so it takes nothing: {not_ready}{cause}."),
        _ => format!("It cannot take the group: {not_ready}{cause}."),
    }
}

fn other(group: &GroupStatus, peer: &str) -> String {
    match (&group.peer_role, &group.peer_not_ready) {
        (None, _) => format!("{peer} is silent."),
        (Some(role), None) => format!("{peer} is {role}."),
        (Some(role), Some(why)) if role == "active" => format!("{peer} is active, but {why}."),
        (Some(role), Some(why)) => format!("{peer} is {role}: {why}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::status::pair::tests::pair;
    use crate::control::WaitStatus;

    fn shown(change: impl Fn(&mut GroupStatus)) -> String {
        let mut pair = pair();
        change(&mut pair.groups[0]);
        let group = &pair.groups[0];
        let plan = Plan::of(group, &pair, "db1");
        let change = EventView {
            seq: 7,
            at_unix_ms: 1_795_000_001_000,
            kind: "role".into(),
            severity: "notice".into(),
            check: None,
            text: "group \"web\": taking -> active (epoch 9): everything is in place".into(),
        };
        let out = Out { color: false, width: Some(80) };
        let text = render(group, &pair, "db1", (&[change], plan.as_ref()), out);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        text.replace("\n  ", " ").replace('\n', " ")
    }

    #[test]
    fn each_role_says_why_it_is_so_and_what_would_happen() {
        let text = shown(|_| ());
        for part in [
            "db1 is active for web, for 2h 5m.",
            "by two votes of three, and extends it with every heartbeat; it ends in 412 ms",
            "db2 is standby.",
            "What led to this",
            "taking -> active (epoch 9): everything is in place",
            "What would happen If db1 falls silent db2 has it within 1s.",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let text = shown(|group| {
            (group.role, group.peer_role) = ("waiting".into(), Some("active".into()));
            group.not_ready = Some("a check of the group is failed: gateway".into());
        });
        assert!(text.contains("It cannot take the group: a check of the group is failed: gateway"));
        assert!(text.contains("If db2 falls silent nobody takes it: db1 could not (a check of"));
        let text = shown(|group| {
            (group.role, group.peer_role) = ("taking".into(), None);
            let why = "units of db2 may still run there".to_string();
            group.waits = Some(WaitStatus { why, left_secs: Some(9.0), help: None });
        });
        assert!(
            text.contains("db2 is silent. It waits: units of db2 may still run there, 9s more")
        );
        assert!(!text.contains("What would happen"), "it is just happening");
    }
}
