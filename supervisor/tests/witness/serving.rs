//! What it is there for.

use mastiff_core::pair::message::{Member, Refusal, Vote};
use mastiff_core::time::Span;
use mastiff_core::timing::PROMISE_MAX;
use nix::sys::signal::Signal;

use super::daemon::{Daemon, wait};
use super::node::{LEASE, Node};

fn silence(vote: Vote) -> Span {
    match vote {
        Vote::Busy { left, why: Refusal::Silent } => left,
        other => panic!("not silent: {other:?}"),
    }
}

#[test]
fn a_witness_without_memory_answers_that_it_is_silent_and_for_how_long() {
    let daemon = Daemon::start(&["db", "web"]);
    let mut nodes = [("db", Member::First), ("db", Member::Second), ("web", Member::First)]
        .map(|(pair, member)| Node::new(&daemon.folder.address, pair, 1, member, 7));
    for node in &mut nodes {
        let asked = mastiff::clock::clocks();
        let answer = node.ask(5);
        let left = silence(answer.vote);
        assert!(left > Span::ZERO && left <= PROMISE_MAX, "{left}");
        assert!(answer.sent >= asked, "the question is returned as it was asked");
    }
    daemon.wait_for_log("pair db: hears its first node, at 127.0.0.1:");
    daemon.wait_for_log("pair web: hears its first node, at 127.0.0.1:");
    daemon.count("");
    assert!(daemon.folder.log().ends_with("witness of pairs: 2; nodes heard: 3 of 4\n"));
    assert_eq!(daemon.count("daemons met"), 3);
    assert_eq!(daemon.count("cut off or too long"), 0);
}

#[test]
#[ignore = "a witness keeps silent for its first ten seconds"]
fn one_node_is_granted_what_the_other_is_refused() {
    let daemon = Daemon::start(&["db"]);
    let node = |member| Node::new(&daemon.folder.address, "db", 1, member, 7);
    let (mut first, mut second) = (node(Member::First), node(Member::Second));
    let granted = Vote::Granted { peer_stopped: false };
    let log = || daemon.folder.log();
    wait("the first node is granted", log, || first.vote(5) == granted);
    let refused = second.vote(6);
    assert!(
        matches!(refused, Vote::Busy { why: Refusal::Promised, left } if left <= LEASE),
        "{refused:?}"
    );
    // Whoever does not ask again has promised nothing for ever.
    wait("the second node is granted", log, || second.vote(7) == granted);
    drop(first);
    daemon.wait_for_log("pair db: its first node is silent for 10s");
}

#[test]
fn a_witness_that_was_killed_is_another_one_and_silent_again() {
    let mut daemon = Daemon::start(&["db"]);
    let mut node = Node::new(&daemon.folder.address, "db", 1, Member::First, 7);
    silence(node.vote(5));
    let life = node.link.heard().unwrap().0.session;
    daemon.crash_and_restart();
    silence(node.vote(5));
    assert_ne!(node.link.heard().unwrap().0.session, life);
    assert_eq!(node.link.counts().taken, 2);
}

#[test]
fn a_node_that_starts_again_is_met_again() {
    let daemon = Daemon::start(&["db"]);
    for session in [7, 8] {
        silence(Node::new(&daemon.folder.address, "db", 1, Member::First, session).vote(5));
    }
    // The life before is heard no more, and not answered.
    let mut former = Node::new(&daemon.folder.address, "db", 1, Member::First, 7);
    let bytes = former.message(Node::asks(5));
    former.send(&bytes);
    wait(
        "it is counted",
        || daemon.folder.log(),
        || daemon.count("of a daemon that another has replaced") == 1,
    );
    assert!(former.hear().is_none());
}

#[test]
fn it_ends_with_its_counters() {
    let mut daemon = Daemon::start(&["db"]);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended(), Some(0), "{}", daemon.folder.log());
    assert!(daemon.folder.log().contains("0 datagrams received"), "{}", daemon.folder.log());
}
