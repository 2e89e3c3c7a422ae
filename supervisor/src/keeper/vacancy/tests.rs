use super::*;

const PEER: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PEERS_OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn at(secs: u64) -> Mono {
    Mono::BOOT.after(Span::from_secs(secs))
}

#[test]
fn only_what_is_certain_is_a_fault() {
    let known = [PEER, PEERS_OTHER];
    let unknown = |found| matches!(found, Found::Unknown(_));
    let judged =
        |holder, answers: &[Mac], peer: &[Mac]| judge(holder, answers.iter().copied(), peer);
    let good = Found::Good(Holder::Peer);
    for (answers, found) in [
        (&[PEER][..], good),
        // One machine on two cables of one network (arp_ignore=0).
        (&[PEERS_OTHER, PEER], good),
        (&[PEER, STRANGER], Found::InUse(STRANGER)),
        (&[STRANGER, PEER], Found::InUse(STRANGER)),
        (&[], Found::Unanswered),
    ] {
        assert_eq!(judged(Holder::Peer, answers, &known), found, "{answers:?}");
    }
    // Its own MAC did not answer: the one that did may be its other interface.
    assert!(unknown(judged(Holder::Peer, &[STRANGER], &known)));
    assert!(unknown(judged(Holder::Peer, &[STRANGER, PEER], &[])), "where it is is not known");
    assert!(unknown(judged(Holder::Peer, &[PEER], &[])));
    assert_eq!(judged(Holder::Nobody, &[], &[]), Found::Good(Holder::Nobody));
    assert_eq!(judged(Holder::Nobody, &[STRANGER], &[]), Found::InUse(STRANGER));
    for answers in [&[][..], &[STRANGER]] {
        assert!(unknown(judged(Holder::NotKnown, answers, &known)));
    }
}

/// Of an address that the other node should have.
fn there(now: u64) -> Vacancy {
    let mut vacancy = Vacancy::default();
    assert!(!vacancy.is_due(at(now)), "nobody knows who should have it");
    vacancy.follow(Holder::Peer, at(now));
    vacancy
}

/// Asks, is answered so, and judges a second later.
fn round(vacancy: &mut Vacancy, answers: &[Mac], now: u64) -> bool {
    assert!(vacancy.is_due(at(now)) && !vacancy.is_due(at(now - 1)), "{now} {vacancy:?}");
    vacancy.asked(at(now));
    assert!(!vacancy.is_due(at(now)) && !vacancy.is_answered(at(now)));
    answers.iter().for_each(|mac| vacancy.hear(*mac));
    assert!(vacancy.is_answered(at(now + 1)));
    vacancy.judge(&[PEER], at(now + 1))
}

#[test]
fn a_fault_is_told_when_it_is_seen_twice_and_once() {
    let mut vacancy = there(100);
    assert!(!round(&mut vacancy, &[PEER], 100));
    // A question was lost.
    assert!(!round(&mut vacancy, &[], 161));
    assert_eq!(vacancy.found(), Found::Good(Holder::Peer));
    assert!(!round(&mut vacancy, &[PEER], 167));
    for (now, news) in [(228, false), (234, true), (295, false), (356, false)] {
        assert_eq!(round(&mut vacancy, &[PEER, STRANGER], now), news, "{now}");
    }
    assert_eq!(vacancy.found(), Found::InUse(STRANGER));
    // Unknown is no end of it, and then it is not told again.
    vacancy.follow(Holder::NotKnown, at(360));
    vacancy.follow(Holder::Peer, at(365));
    assert!(!round(&mut vacancy, &[PEER, STRANGER], 365));
    assert!(!round(&mut vacancy, &[PEER, STRANGER], 371));
    assert!(round(&mut vacancy, &[PEER], 432), "it is over");
    assert!(!round(&mut vacancy, &[PEER], 493));
}

#[test]
fn after_a_change_of_owner_nothing_of_before_holds() {
    let mut vacancy = there(1);
    round(&mut vacancy, &[PEER], 1);
    vacancy.follow(Holder::Peer, at(3));
    assert_eq!(vacancy.found(), Found::Good(Holder::Peer));
    assert!(!vacancy.is_due(at(60)) && vacancy.is_due(at(62)));
    vacancy.follow(Holder::Nobody, at(4));
    assert!(matches!(vacancy.found(), Found::Unknown(_)) && vacancy.is_due(at(4)));
    // What was asked of the one before is no answer about the next.
    vacancy.asked(at(4));
    vacancy.hear(PEER);
    vacancy.follow(Holder::Peer, at(5));
    assert!(!vacancy.is_answered(at(9)) && !vacancy.judge(&[PEER], at(9)));
    let mut here = Vacancy::none();
    here.follow(Holder::Peer, at(9));
    assert!(!here.is_due(at(999)));
}

#[test]
fn a_flood_of_answers_takes_no_room() {
    let mut vacancy = there(1);
    vacancy.hear(STRANGER);
    assert_eq!(vacancy.answers(), 0, "nobody asked");
    vacancy.asked(at(1));
    for last in 0..=255 {
        vacancy.hear(Mac([2, 0, 0, 0, 1, last]));
        vacancy.hear(Mac([2, 0, 0, 0, 1, last]));
    }
    assert_eq!(vacancy.answers(), ANSWERS_MAX);
}
