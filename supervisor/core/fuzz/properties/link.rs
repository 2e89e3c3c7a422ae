//! Two nodes, a network that keeps every message for ever, and bytes that say what happens: what
//! must hold whatever they say. Used by the fuzzer and, from a seed, by the tests.

use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::link::{
    Envelope, GREET_EVERY, Link, PATHS_MAX, PathId, RETIRED_MAX, Received, Sequence,
};
use mastiff_core::pair::message::{Member, Sender, Session};
use mastiff_core::time::Span;
use mastiff_core::timing::PROMISE_MAX;
use std::collections::{BTreeMap, BTreeSet};

struct Node {
    link: Link,
    /// What this link has accepted.
    accepted: BTreeSet<(Session, Sequence)>,
    /// Sessions in the order in which they were taken.
    taken: Vec<Session>,
}

struct World {
    now: Clocks,
    sessions: u64,
    nodes: [Node; 2],
    messages: Vec<Envelope>,
    /// When each was truly sent.
    sent: BTreeMap<(Session, Sequence), Clocks>,
}

fn node(which: usize, session: Session) -> Node {
    let names = [Member::First, Member::Second].map(Sender::Node);
    Node {
        link: Link::new(names[which], session, names[1 - which]),
        accepted: BTreeSet::new(),
        taken: Vec::new(),
    }
}

impl World {
    fn new() -> Self {
        World {
            now: Clocks::ZERO.after(Span::from_secs(1)),
            sessions: 2,
            nodes: [node(0, Session(1)), node(1, Session(2))],
            messages: Vec::new(),
            sent: BTreeMap::new(),
        }
    }

    fn keep(&mut self, envelope: Envelope) {
        let before = self.sent.insert((envelope.session, envelope.sequence), self.now);
        assert_eq!(before, None, "{envelope:?} was sent twice");
        self.messages.push(envelope);
    }

    fn send(&mut self, which: usize) {
        let envelope = self.nodes[which].link.next(self.now);
        self.keep(envelope);
    }

    /// Any message, to anybody, on any path, at any time.
    fn deliver(&mut self, envelope: Envelope, which: usize, path: usize) -> Received {
        let path = PathId::new(path % PATHS_MAX).expect("a path");
        let receiver = &mut self.nodes[which];
        let before = receiver.link.heard();
        let received = receiver.link.receive(&envelope, path, self.now);
        match received {
            Received::Accept { echo_age, .. } => self.accepted(envelope, which, echo_age),
            Received::Greet(stranger) => {
                let greeting = receiver.link.greet(stranger, self.now);
                self.keep(greeting);
            }
            Received::Drop(_) => assert_eq!(self.nodes[which].link.heard(), before),
        }
        received
    }

    fn accepted(&mut self, envelope: Envelope, which: usize, echo_age: Option<Span>) {
        let own = self.nodes[which].link.session();
        let receiver = &mut self.nodes[which];
        assert_eq!(envelope.to, Sender::Node([Member::First, Member::Second][which]));
        assert_ne!(envelope.from, envelope.to);
        let is_new = receiver.accepted.insert((envelope.session, envelope.sequence));
        assert!(is_new, "{envelope:?} was accepted twice");

        let echo = envelope.echo.filter(|echo| echo.session == own);
        let sent = echo.and_then(|echo| self.sent.get(&(echo.session, echo.sequence)));
        // Numbers run ahead of the clock by one nanosecond for each message of a turn.
        let close = |age: Span, sent: &Clocks| {
            self.now.boot.since(sent.boot).minus(age) < Span::from_nanos(1000)
        };
        assert_eq!(echo_age.is_some(), echo.is_some());
        assert!(echo_age.zip(sent).is_none_or(|(age, sent)| close(age, sent)), "{echo_age:?}");

        if receiver.taken.last() != Some(&envelope.session) {
            assert!(echo_age.is_some_and(|age| age <= PROMISE_MAX), "a stranger: {envelope:?}");
            let former = receiver.taken.iter().rev().take(RETIRED_MAX + 1);
            assert!(!former.into_iter().any(|session| *session == envelope.session));
            receiver.taken.push(envelope.session);
        }
    }

    fn restart(&mut self, which: usize) {
        self.sessions += 1;
        self.nodes[which] = node(which, Session(self.sessions));
    }

    /// A restart that goes on with its session, with nothing else.
    fn resume(&mut self, which: usize) {
        self.pass(1);
        self.nodes[which] = node(which, self.nodes[which].link.session());
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.after(Span::from_millis(millis));
    }

    fn happen(&mut self, what: u8, how: u8) {
        let which = usize::from(what & 1);
        let back = usize::from(how >> 2);
        let path = usize::from(how & 3);
        match (what >> 1) % 8 {
            0 | 1 => self.send(which),
            // The newest messages are the likely ones.
            2..=4 => {
                let at = self.messages.len().checked_sub(1 + back % 8);
                if let Some(envelope) = at.and_then(|at| self.messages.get(at)) {
                    self.deliver(*envelope, which, path);
                }
            }
            5 => {
                let at = (back * 37) % self.messages.len().max(1);
                if let Some(envelope) = self.messages.get(at) {
                    self.deliver(*envelope, which, path);
                }
            }
            6 => self.pass(if how > 250 { 11_000 } else { u64::from(how) }),
            _ if how < 64 => self.restart(which),
            _ if how < 96 => self.resume(which),
            _ => self.pass(1),
        }
    }

    /// Once the network is well, both sides hear each other within three heartbeats.
    fn recovers(&mut self) {
        for round in 0.. {
            self.pass(GREET_EVERY.as_millis() + 10);
            let mut heard = 0;
            for which in [0, 1] {
                self.send(which);
                // What comes of it is delivered too: greetings.
                let mut next = self.messages.len() - 1;
                while let Some(envelope) = self.messages.get(next).copied() {
                    let to = usize::from(envelope.to != Sender::Node(Member::First));
                    let received = self.deliver(envelope, to, 0);
                    let is_first = next == self.messages.len() - 1;
                    let now = matches!(received, Received::Accept { echo_age: Some(age), .. }
                        if age <= Span::from_millis(100));
                    heard += usize::from(is_first && now);
                    next += 1;
                }
            }
            if heard == 2 {
                return;
            }
            assert!(round < 3, "the nodes do not find together");
        }
    }
}

/// Pairs of bytes: what happens, and how.
pub fn holds(data: &[u8]) {
    let mut world = World::new();
    for step in data.chunks_exact(2).take(400) {
        world.happen(step[0], step[1]);
    }
    // Long enough for numbers that ran ahead of the clock.
    world.pass(10);
    world.recovers();
}
