//! Pairs come and go while others are served.

use mastiff_core::pair::message::{Member, Refusal, Vote};
use mastiff_core::time::Span;

use super::daemon::Daemon;
use super::node::{Node, keys};

fn silence(node: &mut Node) -> Span {
    match node.vote(5) {
        Vote::Busy { left, why: Refusal::Silent } => left,
        other => panic!("not silent: {other:?}"),
    }
}

#[test]
fn who_stays_is_not_disturbed_and_who_comes_waits() {
    let daemon = Daemon::start(&["db", "goes"]);
    let address = daemon.folder.address.clone();
    let node = |pair: &str| Node::new(&address, pair, 1, Member::First, 7);
    let (mut db, mut goes, mut comes) = (node("db"), node("goes"), node("comes"));
    silence(&mut db);
    silence(&mut goes);
    let bytes = comes.message(Node::asks(5));
    comes.send(&bytes);
    daemon.folder.key("comes", &[1]);
    daemon.folder.configure(&["comes", "db"]);
    daemon.reload("witness of pairs: 2; nodes heard: 1 of 4");
    let (new, old) = (silence(&mut comes), silence(&mut db));
    assert!(old < new, "the silence of {old} goes on, that of {new} has begun");
    assert_eq!(db.link.counts().taken, 1, "it is still the same one");
    assert_eq!(daemon.count("of another pair"), 1, "it was too early");
    let bytes = goes.message(Node::asks(5));
    goes.send(&bytes);
    assert!(goes.hear().is_none(), "it is served no more");
}

#[test]
fn a_key_is_changed_without_a_gap() {
    let daemon = Daemon::start(&["db"]);
    let mut node = Node::new(&daemon.folder.address, "db", 1, Member::First, 7);
    silence(&mut node);
    for (witness, own, other) in
        [(&[1, 2][..], 1, None), (&[2, 1], 1, Some(2)), (&[2, 1], 2, Some(1)), (&[2], 2, None)]
    {
        daemon.folder.key("db", witness);
        daemon.reload("loaded ");
        node.keys = keys("db", own);
        node.keys.other = other.map(|byte| keys("db", byte).current);
        silence(&mut node);
    }
    assert_eq!(node.link.counts().taken, 1);
    assert_eq!(daemon.count("signed with another key"), 0);
}

#[test]
fn what_has_faults_changes_nothing() {
    let daemon = Daemon::start(&["db"]);
    let mut node = Node::new(&daemon.folder.address, "db", 1, Member::First, 7);
    silence(&mut node);
    for (text, said) in [
        ("[witness]\nlissen = 1\n", "the old one stays"),
        ("", "has no [witness] any more"),
        (
            "[[check]]\nsensor = \"load\"\n[witness]\n\
             [[witness.pair]]\nname = \"db\"\nkey-file = \"/k\"\n",
            "let a second mastiffd have the checks",
        ),
    ] {
        daemon.folder.file("witness.toml", text);
        daemon.reload(said);
        silence(&mut node);
    }
    // A key that is gone: the pair keeps the one that it had.
    std::fs::remove_file(daemon.folder.path("db.key")).unwrap();
    daemon.folder.configure(&["db", "web"]);
    daemon.reload("witness of pairs: 1; nodes heard: 1 of 2; pairs not served: 1, see the log");
    daemon.wait_for_log("it keeps its old key");
    daemon.wait_for_log("pair web is not served: there is no key file ");
    silence(&mut node);
    assert_eq!(node.link.counts().taken, 1);
}
