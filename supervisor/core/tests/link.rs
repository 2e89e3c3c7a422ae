//! Sessions, numbers and echoes: what is heard, what is greeted, what is dropped.
#![allow(unreachable_pub, reason = "the parts of a test are not a library")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../fuzz/properties/link.rs"]
mod property;
#[path = "seeded/random.rs"]
mod random;

use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::link::{
    Dropped, Echo, Envelope, GREET_EVERY, Link, PATHS_MAX, PathId, RETIRED_MAX, Received, Sequence,
    WINDOW,
};
use mastiff_core::pair::message::{Member, Sender, Session};
use mastiff_core::time::Span;
use mastiff_core::timing::PROMISE_MAX;
use random::Random;

const FIRST: Sender = Sender::Node(Member::First);
const SECOND: Sender = Sender::Node(Member::Second);
const A: Session = Session(0xA);
const B: Session = Session(0xB);

fn at(millis: u64) -> Clocks {
    Clocks::ZERO.after(Span::from_millis(millis))
}

fn path(place: usize) -> PathId {
    PathId::new(place).unwrap()
}

/// Both ends, which know each other since 1002 ms.
fn acquainted() -> (Link, Link) {
    let (mut a, mut b) = (Link::new(FIRST, A, SECOND), Link::new(SECOND, B, FIRST));
    meet(&mut a, &mut b, 1000);
    (a, b)
}

/// `a` speaks first, is greeted, and answers.
fn meet(a: &mut Link, b: &mut Link, millis: u64) {
    let Received::Greet(stranger) = b.receive(&a.next(at(millis)), path(0), at(millis)) else {
        panic!("no greeting");
    };
    let greeting = b.greet(stranger, at(millis + 1));
    assert_eq!(age(a.receive(&greeting, path(0), at(millis + 1))), Some(1));
    assert_eq!(age(b.receive(&a.next(at(millis + 2)), path(0), at(millis + 2))), Some(1));
}

/// The echo's age in milliseconds of what must have been accepted.
fn age(received: Received) -> Option<u64> {
    let Received::Accept { echo_age, .. } = received else { panic!("{received:?}") };
    echo_age.map(Span::as_millis)
}

fn dropped(received: Received) -> Dropped {
    let Received::Drop(dropped) = received else { panic!("{received:?}") };
    dropped
}

#[test]
fn strangers_are_heard_after_one_round_trip() {
    let (a, b) = acquainted();
    assert_eq!(a.heard().unwrap().0.session, B);
    let (echo, heard_at) = b.heard().unwrap();
    assert_eq!((echo.session, heard_at), (A, at(1002)));
    assert_eq!((a.counts().taken, b.counts().taken, b.counts().greeted), (1, 1, 1));
}

#[test]
fn the_age_of_an_echo_is_the_time_since_the_echoed_message_was_sent() {
    let (mut a, mut b) = acquainted();
    for (sent, heard, answered, back) in [(2000, 2003, 2010, 2012), (3000, 9000, 9000, 12_000)] {
        b.receive(&a.next(at(sent)), path(0), at(heard));
        let answer = b.next(at(answered));
        assert_eq!(age(a.receive(&answer, path(0), at(back))), Some(back - sent));
    }
    // What b sends later without having heard anything new grows older.
    assert_eq!(age(a.receive(&b.next(at(20_000)), path(0), at(20_000))), Some(17_000));
}

#[test]
fn a_message_is_acted_on_once_whatever_the_network_does() {
    let (mut a, mut b) = acquainted();
    let (one, two, three) = (a.next(at(2000)), a.next(at(2000)), a.next(at(2010)));
    assert!(one.sequence < two.sequence && two.sequence < three.sequence);
    for (envelope, place, expected) in [
        (one, 0, None),
        (one, 0, Some(Dropped::Repeated)),
        (one, 1, Some(Dropped::Copy)), // the same word on the other cable
        (one, 1, Some(Dropped::Repeated)),
        (three, 0, None),
        (two, 0, None), // overtaken, and not said otherwise
        (two, 0, Some(Dropped::Repeated)),
        (two, 1, Some(Dropped::Copy)),
        (three, 1, Some(Dropped::Copy)),
        (three, 0, Some(Dropped::Repeated)),
    ] {
        match (b.receive(&envelope, path(place), at(2020)), expected) {
            (Received::Accept { sequence, .. }, None) => assert_eq!(sequence, envelope.sequence),
            (received, expected) => assert_eq!(Some(dropped(received)), expected),
        }
    }
    assert_eq!(b.heard().unwrap().0.sequence, three.sequence);
}

#[test]
fn the_slow_path_brings_only_what_the_fast_one_lost() {
    let (mut a, mut b) = acquainted();
    let sent: Vec<Envelope> = (0..40).map(|n| a.next(at(2000 + 10 * n))).collect();
    let lost = |n: usize| n.is_multiple_of(3);
    let mut heard = Vec::new();
    // The slow path is five messages behind.
    for n in 0..45 {
        if let Some(envelope) = sent.get(n).filter(|_| !lost(n))
            && let Received::Accept { sequence, .. } = b.receive(envelope, path(0), at(3000))
        {
            heard.push(sequence);
        }
        if let Some(late) = n.checked_sub(5) {
            match b.receive(&sent[late], path(1), at(3000)) {
                Received::Accept { sequence, .. } => heard.push(sequence),
                received => assert_eq!(dropped(received), Dropped::Copy),
            }
        }
    }
    heard.sort();
    assert_eq!(heard, sent.iter().map(|envelope| envelope.sequence).collect::<Vec<_>>());
    assert!(b.paths()[..2].iter().all(|path| path.heard_at == Some(at(3000))));
    assert_eq!(b.paths()[2].heard_at, None);
}

#[test]
fn what_too_many_have_overtaken_is_dropped() {
    let (mut a, mut b) = acquainted();
    let sent: Vec<Envelope> = (0..=WINDOW).map(|_| a.next(at(2000))).collect();
    for envelope in &sent[1..] {
        age(b.receive(envelope, path(0), at(2001)));
    }
    assert_eq!(dropped(b.receive(&sent[0], path(0), at(2002))), Dropped::TooOld);
    // On a path where it is new it still shows that the path carries something.
    assert_eq!(dropped(b.receive(&sent[0], path(1), at(2003))), Dropped::TooOld);
    assert_eq!(b.paths()[1].heard_at, Some(at(2003)));
    assert_eq!(b.counts().too_old, 2);
}

#[test]
fn nobody_hears_himself_or_what_is_meant_for_another() {
    let (mut a, mut b) = acquainted();
    let own = a.next(at(2000));
    assert_eq!(dropped(a.receive(&own, path(0), at(2001))), Dropped::Reflected);
    // What a says to the witness is not for b, and what the witness says is not b's word.
    let mut to_witness = Link::new(FIRST, A, Sender::Witness);
    let envelope = to_witness.next(at(2000));
    assert_eq!(dropped(b.receive(&envelope, path(0), at(2001))), Dropped::Misdirected);
    let mut witness = Link::new(Sender::Witness, Session(0xC), FIRST);
    let envelope = witness.next(at(2000));
    assert_eq!(dropped(a.receive(&envelope, path(0), at(2001))), Dropped::Misdirected);
    assert_eq!((a.counts().reflected, a.counts().misdirected, b.counts().misdirected), (1, 1, 1));
}

#[test]
fn a_restarted_side_is_greeted_and_its_former_life_is_over() {
    for speaks_first in [true, false] {
        let (mut a, mut b) = acquainted();
        let late = a.next(at(2000));
        let mut a = Link::new(FIRST, Session(0xA2), SECOND);
        if speaks_first {
            meet(&mut a, &mut b, 3000);
        } else {
            meet(&mut b, &mut a, 3000);
        }
        assert_eq!(b.heard().unwrap().0.session, Session(0xA2));
        assert_eq!(dropped(b.receive(&late, path(1), at(3001))), Dropped::Retired);
        assert!(age(b.receive(&a.next(at(3010)), path(0), at(3010))).is_some());
    }
}

#[test]
fn who_goes_on_with_his_session_is_not_a_stranger() {
    let (mut a, mut b) = acquainted();
    let before = a.next(at(2000));
    age(b.receive(&before, path(0), at(2000)));
    // Nothing but the session was kept.
    let mut a = Link::new(FIRST, A, SECOND);
    let after = a.next(at(2001));
    assert_eq!(age(b.receive(&after, path(0), at(2001))), None);
    // b has echoed a's former words, which are the words of this session.
    assert_eq!(age(a.receive(&b.next(at(2010)), path(0), at(2010))), Some(9));
    assert_eq!(b.counts().taken, 1);
    assert_eq!(b.counts().greeted, 1);
}

#[test]
fn a_link_that_was_kept_goes_on_as_it_was() {
    let (mut a, b) = acquainted();
    let mut kept = b.clone();
    let envelope = a.next(at(2000));
    age(kept.receive(&envelope, path(0), at(2000)));
    assert_eq!(dropped(kept.receive(&envelope, path(0), at(2000))), Dropped::Repeated);
    assert_eq!(kept.counts().taken, 1);
}

#[test]
fn a_replay_makes_nobody_heard() {
    let (mut a, mut b) = acquainted();
    let recorded: Vec<Envelope> = (0..10).map(|n| a.next(at(2000 + n))).collect();
    // b starts anew: all that was recorded echoes its former life.
    let mut b2 = Link::new(SECOND, Session(0xB2), FIRST);
    for (n, envelope) in (0..).zip(&recorded) {
        let received = b2.receive(envelope, path(0), at(3000 + 10 * n));
        assert!(matches!(received, Received::Greet(_)), "{received:?}");
    }
    assert_eq!(b2.heard(), None);
    // It meets the living a, and what a said before that stays unheard.
    meet(&mut a, &mut b2, 4000);
    for envelope in &recorded {
        assert_eq!(dropped(b2.receive(envelope, path(1), at(4010))), Dropped::TooOld);
    }
    // The first b heard them once, and not again after WINDOW others.
    for envelope in &recorded {
        age(b.receive(envelope, path(0), at(5000)));
    }
    for _ in 0..2 * WINDOW {
        age(b.receive(&a.next(at(5001)), path(0), at(5001)));
    }
    for envelope in &recorded {
        assert_eq!(dropped(b.receive(envelope, path(2), at(5002))), Dropped::TooOld);
    }
}

#[test]
fn an_echo_older_than_the_longest_promise_takes_no_session() {
    let promise = PROMISE_MAX.as_millis();
    for (millis, is_taken) in [(1001 + promise, true), (1002 + promise, false)] {
        let (mut a, mut b) = (Link::new(FIRST, A, SECOND), Link::new(SECOND, B, FIRST));
        let Received::Greet(stranger) = b.receive(&a.next(at(1000)), path(0), at(1000)) else {
            panic!("no greeting");
        };
        a.receive(&b.greet(stranger, at(1001)), path(0), at(1002));
        let received = b.receive(&a.next(at(1003)), path(0), at(millis));
        assert_eq!(matches!(received, Received::Accept { .. }), is_taken, "{received:?}");
    }
}

#[test]
fn a_life_between_two_others_cannot_come_back_late() {
    let (_, mut b) = acquainted();
    // The second life hears b and answers, but the answer is held back. The third is taken.
    let mut second = Link::new(FIRST, Session(0xA2), SECOND);
    second.receive(&b.next(at(2000)), path(0), at(2000));
    let Received::Greet(stranger) = b.receive(&second.next(at(2001)), path(0), at(2001)) else {
        panic!("no greeting");
    };
    second.receive(&b.greet(stranger, at(2001)), path(0), at(2002));
    let held_back = second.next(at(2003));
    let mut third = Link::new(FIRST, Session(0xA3), SECOND);
    meet(&mut third, &mut b, 2010);
    let received = b.receive(&held_back, path(0), at(2020));
    assert!(matches!(received, Received::Greet(_)), "{received:?}");
    assert_eq!(age(b.receive(&third.next(at(2030)), path(0), at(2030))), Some(19));
}

#[test]
fn of_two_clones_the_former_is_never_heard_again() {
    let (mut former, mut b) = acquainted();
    let mut clone = Link::new(FIRST, Session(0xC), SECOND);
    meet(&mut clone, &mut b, 2000);
    // The former lives, hears b, and echoes it.
    for n in 0..100 {
        let millis = 3000 + 10 * n;
        former.receive(&b.next(at(millis)), path(0), at(millis));
        let received = b.receive(&former.next(at(millis)), path(0), at(millis));
        assert_eq!(dropped(received), Dropped::Retired);
    }
    // It can see that b hears somebody else.
    assert_eq!(age(former.receive(&b.next(at(5000)), path(0), at(5000))), None);
    assert_eq!(b.counts().retired, 100);
}

#[test]
fn the_last_few_lives_are_remembered() {
    let (mut first, mut b) = acquainted();
    let mut others: Vec<Link> = Vec::new();
    for n in 0..RETIRED_MAX as u64 {
        let mut other = Link::new(FIRST, Session(100 + n), SECOND);
        meet(&mut other, &mut b, 2000 + 10 * n);
        others.push(other);
    }
    assert_eq!(dropped(b.receive(&first.next(at(3000)), path(0), at(3000))), Dropped::Retired);
    meet(&mut Link::new(FIRST, Session(200), SECOND), &mut b, 3010);
    for other in &mut others {
        assert_eq!(dropped(b.receive(&other.next(at(3020)), path(0), at(3020))), Dropped::Retired);
    }
    // The first is forgotten: it is a stranger, and heard only if it lives.
    let received = b.receive(&first.next(at(3030)), path(0), at(3030));
    assert!(matches!(received, Received::Greet(_)), "{received:?}");
}

#[test]
fn strangers_are_greeted_at_a_limited_rate_on_each_path() {
    let mut b = Link::new(SECOND, B, FIRST);
    let mut a = Link::new(FIRST, A, SECOND);
    let now = at(1000);
    let is_greeting = |received| matches!(received, Received::Greet(_));
    assert!(is_greeting(b.receive(&a.next(now), path(0), now)));
    assert_eq!(dropped(b.receive(&a.next(now), path(0), now)), Dropped::GreetedJustNow);
    assert!(is_greeting(b.receive(&a.next(now), path(1), now)), "it may be deaf on the first");
    let later = now.after(GREET_EVERY);
    assert!(is_greeting(b.receive(&a.next(later), path(0), later)));
}

#[test]
fn a_machine_that_was_set_back_shows() {
    let (mut a, mut b) = acquainted();
    let snapshot = a.clone();
    for n in 0..100 {
        age(b.receive(&a.next(at(2000 + n)), path(0), at(2000 + n)));
    }
    let mut a = snapshot;
    assert_eq!(dropped(b.receive(&a.next(at(1500)), path(0), at(2200))), Dropped::TooOld);
    assert_eq!(age(a.receive(&b.next(at(2200)), path(0), at(1501))), None);
    assert_eq!(a.counts().echo_ahead, 1);
}

#[test]
fn numbers_grow_in_one_turn_and_follow_the_clock() {
    let mut a = Link::new(FIRST, A, SECOND);
    assert_eq!(a.next(Clocks::ZERO).sequence, Sequence(1), "zero is no number");
    assert_eq!(a.next(Clocks::ZERO).sequence, Sequence(2));
    assert_eq!(a.next(at(1)).sequence, Sequence(1_000_000));
    let greeting = a.greet(Echo { session: B, sequence: Sequence(9) }, at(1));
    assert_eq!(greeting.sequence, Sequence(1_000_001));
    assert_eq!(greeting.echo, Some(Echo { session: B, sequence: Sequence(9) }));
}

#[test]
fn a_link_is_small_and_its_paths_are_bounded() {
    let bytes = size_of::<Link>();
    println!("a link has {bytes} bytes");
    assert!(bytes < 700, "{bytes} bytes: the module's text promises less");
    assert!(PathId::new(PATHS_MAX - 1).is_some() && PathId::new(PATHS_MAX).is_none());
}

/// The same as the fuzzer, on stable and from a seed.
#[test]
fn whatever_happens_nothing_is_heard_twice_and_the_living_find_together() {
    let seed = std::env::var("MASTIFF_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in seed.map_or(0..3000, |seed: u64| seed..seed.saturating_add(1)) {
        let mut random = Random::new(seed);
        let data: Vec<u8> = (0..random.below(600)).map(|_| random.byte()).collect();
        let run = std::panic::catch_unwind(|| property::holds(&data));
        run.unwrap_or_else(|_| panic!("MASTIFF_SEED={seed}"));
    }
}
