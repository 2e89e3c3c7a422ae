use Member::{First, Second};

use super::*;

const FRESH: Span = Span::from_secs(2);

fn at(millis: u64) -> Mono {
    Mono::BOOT.after(Span::from_secs(10_000)).after(Span::from_millis(millis))
}

fn word(rebooting: bool, echo_age: Option<u64>) -> Word {
    Word { rebooting, echo_age: echo_age.map(Span::from_millis) }
}

fn away(millis: u64, announced: bool) -> Away {
    Away { since: at(millis), announced }
}

/// A node whose peer speaks with every turn, at `millis`, and is up.
fn met(millis: u64, me: Member) -> WayDown {
    let mut node = WayDown::new(at(0));
    node.hear(word(false, Some(1)), me, FRESH, at(millis));
    assert_eq!(tick(&mut node, me, true, millis), None);
    node
}

fn tick(node: &mut WayDown, me: Member, is_up: bool, millis: u64) -> Option<Passage> {
    node.tick(me, FRESH, is_up, false, at(millis))
}

/// One whose words count that were sent from `millis` on: after the turn after the announcement.
fn asking(me: Member, millis: u64) -> WayDown {
    let mut node = met(millis - 2, me);
    node.want(Leaving::Wants);
    assert_eq!((tick(&mut node, me, true, millis - 2), node.is_announced()), (None, true));
    assert_eq!(tick(&mut node, me, true, millis - 1), None);
    assert_eq!(node.stand, Stand::Asks(at(millis)));
    node
}

#[test]
fn every_stand_answers_every_word_and_wish() {
    use Stand::{Announces, Asks, Goes, Stays, Waits};
    let (a, q) = (Announces(at(99)), Asks(at(100)));
    // (before, [what comes], after of the lower name, after of the higher name)
    let stale = word(false, Some(21)); // of 99: before the turn that counts
    let newer = word(false, Some(20)); // of 100
    for (before, word, lower, higher) in [
        (Stays, newer, Stays, Stays),
        (Stays, word(true, Some(1)), Stays, Stays),
        (Waits, newer, Waits, Waits),
        (Waits, word(true, Some(1)), Waits, Waits),
        (a, newer, a, a),
        (a, word(true, Some(1)), Waits, a),
        (q, stale, q, q),
        (q, word(false, None), q, q),
        (q, newer, Goes, Goes),
        (q, word(true, Some(1)), Waits, q),
        (Goes, newer, Goes, Goes),
        (Goes, word(true, Some(1)), Goes, Goes),
    ] {
        for (me, after) in [(First, lower), (Second, higher)] {
            let mut node = WayDown { stand: before, ..met(90, me) };
            node.hear(word, me, FRESH, at(120));
            assert_eq!(node.stand, after, "{before:?} {word:?} {me:?}");
        }
    }
    for (before, stays, wants, goes) in [
        (Stays, Stays, Waits, Goes),
        (Waits, Stays, Waits, Goes),
        (a, Stays, a, Goes),
        (q, Stays, q, Goes),
        (Goes, Stays, Goes, Goes),
    ] {
        for (leaving, after) in
            [(Leaving::Stays, stays), (Leaving::Wants, wants), (Leaving::Goes, goes)]
        {
            let mut node = WayDown { stand: before, ..met(90, First) };
            node.want(leaving);
            assert_eq!(node.stand, after, "{before:?} {leaving:?}");
            assert_eq!(node.is_announced(), matches!(after, Announces(_) | Asks(_) | Goes));
        }
    }
}

#[test]
fn i14_only_an_answer_to_the_announcement_lets_it_go() {
    for me in [First, Second] {
        let mut node = asking(me, 100);
        node.hear(word(false, Some(30)), me, FRESH, at(129));
        assert_eq!(tick(&mut node, me, true, 129), None, "it had not heard of it");
        node.hear(word(false, Some(30)), me, FRESH, at(130));
        assert_eq!(tick(&mut node, me, true, 130), Some(Passage::Free));
        assert_eq!(tick(&mut node, me, true, 131), None, "said once");
    }
}

#[test]
fn i14_of_two_that_ask_at_once_the_lower_name_yields_until_the_other_is_up_again() {
    let (mut lower, mut higher) = (asking(First, 100), asking(Second, 100));
    lower.hear(word(true, Some(1)), First, FRESH, at(110));
    higher.hear(word(true, Some(1)), Second, FRESH, at(110));
    let waits = Some(Passage::Waits(away(110, true)));
    assert_eq!(tick(&mut lower, First, false, 110), waits);
    assert_eq!(tick(&mut higher, Second, false, 110), None);
    assert_eq!((lower.is_announced(), higher.is_announced()), (false, true));
    // The lower one answers, and says nothing any more.
    higher.hear(word(false, Some(5)), Second, FRESH, at(115));
    assert_eq!(tick(&mut higher, Second, true, 115), Some(Passage::Free));
    // It is silent, comes back, and is ready at last.
    assert_eq!(tick(&mut lower, First, false, 60_000), None);
    lower.hear(word(false, Some(1)), First, FRESH, at(90_000));
    assert_eq!(tick(&mut lower, First, false, 90_000), None, "it could not take a group yet");
    assert_eq!(lower.stand, Stand::Waits);
    lower.hear(word(false, Some(1)), First, FRESH, at(91_000));
    assert_eq!(tick(&mut lower, First, true, 91_000), None);
    assert_eq!(lower.stand, Stand::Announces(at(91_000)), "now it is its turn");
}

#[test]
fn a_peer_that_is_away_is_waited_for_and_not_for_ever() {
    // (announced, who waits, seconds)
    for (announced, me, secs) in
        [(true, First, 600), (true, Second, 600), (false, First, 600), (false, Second, 300)]
    {
        let mut node = met(0, me);
        if announced {
            node.hear(word(true, Some(1)), me, FRESH, at(0));
        }
        assert_eq!(tick(&mut node, me, false, 100_000), None, "nobody wants anything");
        node.want(Leaving::Wants);
        let waits = Some(Passage::Waits(away(0, announced)));
        assert_eq!(tick(&mut node, me, false, 100_001), waits);
        assert_eq!(tick(&mut node, me, false, secs * 1000 - 1), None);
        assert!(!node.is_announced(), "who waits stays ready");
        assert_eq!(tick(&mut node, me, false, secs * 1000), Some(Passage::Free), "{me:?}");
        // Who comes later does not wait any more.
        let mut late = met(0, me);
        late.hear(word(announced, Some(1)), me, FRESH, at(0));
        assert_eq!(tick(&mut late, me, false, 700_000), None);
        late.want(Leaving::Wants);
        assert_eq!(tick(&mut late, me, false, 700_001), Some(Passage::Free));
    }
}

#[test]
fn a_peer_that_falls_silent_or_deaf_takes_the_announcement_back() {
    for deaf in [false, true] {
        let mut node = asking(Second, 100);
        if deaf {
            node.hear(word(false, Some(2_000)), Second, FRESH, at(2_097));
        }
        assert_eq!(tick(&mut node, Second, true, 2_097), None);
        assert_eq!(
            tick(&mut node, Second, true, 2_098),
            Some(Passage::Waits(away(98, false))),
            "silent since its last word"
        );
        assert!(!node.is_announced());
        // Up at the first word: it had only lost some.
        node.hear(word(false, Some(1)), Second, FRESH, at(2_500));
        assert_eq!(tick(&mut node, Second, true, 2_500), None);
        assert_eq!(node.stand, Stand::Announces(at(2_500)));
    }
}

#[test]
fn a_second_restart_of_the_peer_has_its_own_time() {
    let mut node = met(0, First);
    node.hear(word(true, Some(1)), First, FRESH, at(0));
    node.hear(word(false, Some(1)), First, FRESH, at(500_000));
    assert_eq!(tick(&mut node, First, false, 500_000), None);
    node.hear(word(true, Some(1)), First, FRESH, at(550_000));
    node.want(Leaving::Wants);
    let waits = Some(Passage::Waits(away(550_000, true)));
    assert_eq!(tick(&mut node, First, false, 600_000), waits);
}

/// I14: a fault that both have keeps either from being up for the other.
#[test]
fn who_is_heard_is_asked_however_long_it_has_not_been_up() {
    let (mut lower, mut higher) = (met(0, First), met(0, Second));
    for (node, me) in [(&mut lower, First), (&mut higher, Second)] {
        assert_eq!(tick(node, me, false, 60_000), None, "silent for a minute, once");
        node.hear(word(false, Some(1)), me, FRESH, at(800_000));
        node.want(Leaving::Wants);
        assert_eq!(tick(node, me, false, 800_000), None, "it does not just go");
        assert_eq!(node.stand, Stand::Announces(at(800_000)));
        node.hear(word(true, Some(1)), me, FRESH, at(800_010));
    }
    assert_eq!((lower.stand, higher.is_announced()), (Stand::Waits, true), "the lower yields");
}

#[test]
fn without_a_group_nobody_is_asked() {
    let mut node = WayDown::new(at(0));
    node.want(Leaving::Wants);
    assert_eq!(node.tick(First, FRESH, true, true, at(0)), Some(Passage::Free));
}
