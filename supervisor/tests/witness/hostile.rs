//! Who must not be answered.

use std::net::UdpSocket;

use mastiff_core::pair::message::{Member, Vote};
use mastiff_core::wire::LENGTH;

use super::daemon::{Daemon, PATIENCE, wait};
use super::node::Node;

/// Sends what deserves no answer, then asks: if the first answer is that to the question, there was
/// none before it.
fn unanswered(node: &mut Node, bytes: &[&[u8]]) {
    bytes.iter().for_each(|bytes| node.send(bytes));
    let question = node.message(Node::asks(9));
    let sequence = question[32..40].to_vec();
    node.send(&question);
    let (envelope, ..) = node.await_word();
    assert_eq!(envelope.echo.unwrap().sequence.0.to_be_bytes(), sequence[..]);
}

#[test]
fn forged_truncated_replayed_and_reflected_messages_are_counted_and_not_answered() {
    let daemon = Daemon::start(&["db", "web"]);
    let mut node = Node::new(&daemon.folder.address, "db", 1, Member::First, 7);
    node.ask(5);
    let honest = node.message(Node::asks(5));
    node.send(&honest);
    node.await_word();
    let changed = |at: usize, value: u8| {
        let mut bytes = honest;
        bytes[at] = value;
        bytes
    };
    let reflected = node.message(Node::asks(5));
    let (short, long) = (&reflected[..LENGTH - 1], [&reflected[..], &[0]].concat());
    unanswered(
        &mut node,
        &[
            &changed(LENGTH - 1, !honest[LENGTH - 1]),
            &changed(60, !honest[60]),
            short,
            &long,
            &honest,
            &changed(3, 2),
            &changed(3, 0),
            &changed(8, !honest[8]),
            &changed(0, b'm'),
            b"MTF\x01",
        ],
    );
    for (count, what) in [
        (2, "forged or damaged"),
        (3, "cut off or too long"),
        (1, "doubled or replayed"),
        (1, "from a newer version"),
        (1, "from an older version"),
        (1, "of another pair"),
        (0, "not a message of mastiff"), // the kernel's filter was before
    ] {
        assert_eq!(daemon.count(what), count, "{what}\n{}", daemon.folder.log());
    }
    let said = "pair db: refused a message of 127.0.0.1:";
    assert_eq!(daemon.folder.log().matches(said).count(), 1, "once, not for each");
}

#[test]
fn its_own_words_and_those_for_another_are_not_answered() {
    let daemon = Daemon::start(&["db"]);
    let mut node = Node::new(&daemon.folder.address, "db", 1, Member::First, 7);
    node.ask(5);
    // What it said to us comes back to it.
    let bytes = node.message(Node::asks(5));
    node.send(&bytes);
    let mut own = [0; LENGTH];
    node.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    node.socket.recv(&mut own).unwrap();
    // A word to the other node ends up here.
    let mut astray = Node::new(&daemon.folder.address, "db", 1, Member::First, 7);
    let mut envelope = astray.link.next(mastiff::clock::clocks());
    envelope.to = mastiff_core::pair::message::Sender::Node(Member::Second);
    let message = mastiff_core::wire::Message { envelope, beat: Node::asks(5) };
    let astray = mastiff_core::wire::encode(&message, &astray.keys);
    unanswered(&mut node, &[&own, &astray]);
    assert_eq!((daemon.count("our own words"), daemon.count("for or from somebody else")), (1, 1));
}

#[test]
fn another_key_and_another_pair_s_key_are_told_apart_from_forgery() {
    let daemon = Daemon::start(&["db", "web"]);
    let mut honest = Node::new(&daemon.folder.address, "db", 1, Member::First, 7);
    honest.ask(5);
    let mut stranger = Node::new(&daemon.folder.address, "db", 2, Member::Second, 7);
    let wrong = stranger.message(Node::asks(5));
    unanswered(&mut honest, &[&wrong]);
    assert_eq!(daemon.count("signed with another key"), 1);
    daemon.wait_for_log(": signed with another key");
    // The key of the pair beside it is the same file, but another key.
    let mut neighbour = Node::new(&daemon.folder.address, "web", 1, Member::First, 7);
    let mut moved = neighbour.message(Node::asks(5));
    moved[8..16].copy_from_slice(&wrong[8..16]);
    unanswered(&mut honest, &[&moved]);
    assert_eq!(daemon.count("signed with another key"), 2);
}

#[test]
fn a_flood_costs_an_honest_node_nothing_but_time() {
    let daemon = Daemon::start(&["db"]);
    let mut node = Node::new(&daemon.folder.address, "db", 1, Member::First, 7);
    let enemy = UdpSocket::bind("127.0.0.1:0").unwrap();
    enemy.connect(&daemon.folder.address).unwrap();
    let perfect_header = {
        let mut bytes = node.message(Node::asks(5));
        bytes[100] ^= 1;
        bytes
    };
    for round in 0..20_u8 {
        for _ in 0..500 {
            // A full buffer is the enemy's trouble.
            enemy.send(&perfect_header).ok();
            enemy.send(&[round; LENGTH]).ok();
        }
        let vote = node.vote(u64::from(round) + 1);
        assert!(matches!(vote, Vote::Busy { .. } | Vote::Granted { .. }));
    }
    wait(
        "forgeries are counted",
        || daemon.folder.log(),
        || daemon.count("forged or damaged") >= 1000,
    );
    assert_eq!(daemon.count("not a message of mastiff"), 0, "noise wakes nobody");
    assert!(daemon.folder.log().matches("refused a message").count() <= 1);
}
