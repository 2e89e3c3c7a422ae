//! A node that speaks the wire, as far as a witness can tell.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use mastiff::clock::clocks;
use mastiff::mac::PairKey;
use mastiff_core::pair::link::{Envelope, Link, PathId, Received};
use mastiff_core::pair::message::{
    Answer, Ask, Beat, Epoch, GroupKey, Member, Role, Sender, Session, Standing, Vote,
};
use mastiff_core::time::Span;
use mastiff_core::wire::{Keys, LENGTH, Message, PairId, decode, encode};

use super::daemon::PATIENCE;

/// How long it waits for an answer before it asks again, as a node would with its next beat.
const BEAT: Duration = Duration::from_millis(50);
/// The lease that it asks for.
pub(crate) const LEASE: Span = Span::from_secs(1);

pub(crate) struct Node {
    pub(crate) socket: UdpSocket,
    pub(crate) link: Link,
    pub(crate) keys: Keys<PairKey>,
    member: Member,
}

pub(crate) fn keys(pair: &str, byte: u8) -> Keys<PairKey> {
    let (pair, current) = (PairId::of(pair), PairKey::new(&[byte; 32], pair));
    Keys { pair, current, other: None }
}

impl Node {
    /// A node of a pair, with a key of that byte, which talks to the witness at `address`.
    pub(crate) fn new(address: &str, pair: &str, byte: u8, member: Member, session: u64) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(BEAT)).unwrap();
        let link = Link::new(Sender::Node(member), Session(session), Sender::Witness);
        Self { socket, link, keys: keys(pair, byte), member }
    }

    /// What it says when it asks for a group.
    pub(crate) fn asks(epoch: u64) -> Beat {
        let ask =
            Ask { epoch: Epoch(epoch), sent: clocks(), lease: LEASE, promise: LEASE, held: false };
        Beat {
            group: GroupKey(1),
            definition: 1,
            role: Role::Standby,
            standing: Standing::default(),
            not_ready: None,
            highest: Epoch::NONE,
            stops_within: None,
            peer_stops_within: None,
            released: None,
            carried: None,
            ask: Some(ask),
            answer: None,
        }
    }

    /// Its next message.
    pub(crate) fn message(&mut self, beat: Beat) -> [u8; LENGTH] {
        let envelope = self.link.next(clocks());
        encode(&Message { envelope, beat }, &self.keys)
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        self.socket.send(bytes).unwrap();
    }

    /// The next message from the witness within a beat, and whether its link takes it.
    pub(crate) fn hear(&mut self) -> Option<(Envelope, Beat, bool)> {
        let mut bytes = [0; 1000];
        let length = self.socket.recv(&mut bytes).ok()?;
        let message = decode(&bytes[..length], &self.keys).expect("the witness speaks the wire");
        let received = self.link.receive(&message.envelope, PathId::FIRST, clocks());
        let is_taken = matches!(received, Received::Accept { .. });
        Some((message.envelope, message.beat, is_taken))
    }

    /// The next message from the witness, which must come.
    pub(crate) fn await_word(&mut self) -> (Envelope, Beat, bool) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(word) = self.hear() {
                return word;
            }
        }
        panic!("{:?}: not a word within {PATIENCE:?}", self.member);
    }

    /// Asks until an answer comes that its link takes; returns it.
    pub(crate) fn ask(&mut self, epoch: u64) -> Answer {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let asked = Self::asks(epoch);
            let bytes = self.message(asked);
            self.send(&bytes);
            while let Some((_, beat, is_taken)) = self.hear() {
                // A late answer to an earlier question is none to this one.
                let answer = beat.answer.filter(|answer| is_taken && answer.epoch == Epoch(epoch));
                if let Some(answer) = answer {
                    assert_eq!(answer.lease, LEASE);
                    return answer;
                }
            }
        }
        panic!("{:?}: no answer within {PATIENCE:?}", self.member);
    }

    pub(crate) fn vote(&mut self, epoch: u64) -> Vote {
        self.ask(epoch).vote
    }
}
