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

/// Asks, is answered so, and judges a second later.
fn round(vacancy: &mut Vacancy, answers: &[Mac], now: u64) -> bool {
    assert!(vacancy.is_due(at(now)) && !vacancy.is_due(at(now - 1)), "{now} {vacancy:?}");
    vacancy.asked(Holder::Peer, at(now));
    assert!(!vacancy.is_due(at(now)) && !vacancy.is_answered(at(now)));
    answers.iter().for_each(|mac| vacancy.hear(*mac));
    assert!(vacancy.is_answered(at(now + 1)));
    vacancy.judge(Holder::Peer, &[PEER], at(now + 1))
}

#[test]
fn a_fault_is_told_when_it_is_seen_twice_and_once() {
    let mut vacancy = Vacancy { next: at(100), ..Vacancy::default() };
    assert!(round(&mut vacancy, &[PEER], 100));
    // A question was lost.
    assert!(!round(&mut vacancy, &[], 161));
    assert_eq!(vacancy.found(), Found::Good(Holder::Peer));
    assert!(!round(&mut vacancy, &[PEER], 167));
    for (now, news) in [(228, false), (234, true), (295, false), (356, false)] {
        assert_eq!(round(&mut vacancy, &[PEER, STRANGER], now), news, "{now}");
    }
    assert_eq!(vacancy.found(), Found::InUse(STRANGER));
    assert!(round(&mut vacancy, &[PEER], 417), "it is over");
}

#[test]
fn a_change_of_owner_between_question_and_answer_is_no_finding() {
    let mut vacancy = Vacancy::default();
    vacancy.asked(Holder::Nobody, at(1));
    vacancy.hear(PEER);
    vacancy.judge(Holder::Peer, &[PEER], at(2));
    assert!(matches!(vacancy.found(), Found::Unknown(_)));
}

#[test]
fn a_flood_of_answers_takes_no_room() {
    let mut vacancy = Vacancy::default();
    vacancy.hear(STRANGER);
    assert_eq!(vacancy.answers, [None; ANSWERS_MAX], "nobody asked");
    vacancy.asked(Holder::Peer, at(1));
    for last in 0..=255 {
        vacancy.hear(Mac([2, 0, 0, 0, 1, last]));
        vacancy.hear(Mac([2, 0, 0, 0, 1, last]));
    }
    assert!(vacancy.answers.iter().all(Option::is_some));
}
