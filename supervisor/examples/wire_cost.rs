//! What one message between the machines of a pair costs, in nanoseconds: best and median of many
//! rounds, since other work on the machine only ever adds.
//!
//!     cargo run --release -p mastiff --example wire_cost
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use mastiff::mac::PairKey;
use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::link::{Echo, Envelope, Link, PathId};
use mastiff_core::pair::message::{
    Answer, Ask, Beat, Epoch, GroupKey, Health, Member, Role, Sender, Session, Standing, Vote,
};
use mastiff_core::time::Span;
use mastiff_core::wire::{Keys, LENGTH, Mac, Message, PairId, SIGNED, decode, encode};

const ROUNDS: usize = 200;
const TURNS: u32 = 2000;

fn echo_of(envelope: &Envelope) -> Echo {
    Echo { session: envelope.session, sequence: envelope.sequence }
}

fn message(envelope: Envelope) -> Message {
    let (epoch, sent, lease) = (Epoch(1_800_000_000), Clocks::ZERO, Span::from_millis(800));
    Message {
        envelope,
        beat: Beat {
            group: GroupKey(1),
            definition: 2,
            role: Role::Active,
            standing: Standing { health: Health::Healthy, preferred: true },
            not_ready: None,
            highest: epoch,
            stops_within: Some(Span::from_secs(90)),
            peer_stops_within: None,
            released: None,
            carried: None,
            ask: Some(Ask { epoch, sent, lease, promise: Span::from_secs(1), held: true }),
            answer: Some(Answer { epoch, sent, lease, vote: Vote::Granted { peer_stopped: true } }),
        },
    }
}

/// Prints nanoseconds of one call of `what`.
fn time(name: &str, mut what: impl FnMut()) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..TURNS {
                what();
            }
            began.elapsed().as_secs_f64() * 1e9 / f64::from(TURNS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    let (best, median) = (rounds.first().unwrap(), rounds.get(ROUNDS / 2).unwrap());
    println!("{name:<34} best {best:>7.0} ns   median {median:>7.0} ns");
}

fn main() {
    let keys = Keys { pair: PairId::of("db"), current: PairKey::new(&[7; 32], "db"), other: None };
    let (first, second) = (Sender::Node(Member::First), Sender::Node(Member::Second));
    let mut link = Link::new(first, Session(1), second);
    let mut remote = Link::new(second, Session(2), first);
    let now = Clocks::ZERO.after(Span::from_secs(1));

    let one = message(link.next(now));
    let datagram = encode(&one, &keys);
    assert_eq!(decode(&datagram, &keys), Ok(one));
    let mut damaged = datagram;
    *damaged.last_mut().unwrap() ^= 1;

    println!(
        "one message has {LENGTH} bytes, {SIGNED} of them signed; a link {}",
        size_of::<Link>()
    );
    time("encode and sign", || {
        black_box(encode(black_box(&one), &keys));
    });
    time("verify and decode", || {
        black_box(decode(black_box(&datagram), &keys)).unwrap();
    });
    time("refuse a forged one", || {
        black_box(decode(black_box(&damaged), &keys)).unwrap_err();
    });
    time("refuse noise", || {
        black_box(decode(black_box(&[0x55; LENGTH]), &keys)).unwrap_err();
    });
    time("of that, the signature alone", || {
        black_box(keys.current.sign(black_box(&datagram[..SIGNED])));
    });
    // Each has heard the other once: from then on all is accepted.
    link.receive(&remote.greet(echo_of(&one.envelope), now), PathId::FIRST, now);
    time("link: number one, judge one", || {
        let envelope = link.next(now);
        black_box(remote.receive(black_box(&envelope), PathId::FIRST, now));
    });
    assert!(remote.counts().accepted > u64::from(TURNS));
}
