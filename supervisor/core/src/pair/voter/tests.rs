//! What a voter promises, and each reason for which it refuses.

use super::*;
use crate::pair::message::Session;

const L: Span = Span::from_millis(1000);
const P: u64 = 1100;

const A: Owner = Owner { member: Member::First, session: Session(1) };
/// The same node after a restart without memory.
const A_AGAIN: Owner = Owner { member: Member::First, session: Session(2) };
const B: Owner = Owner { member: Member::Second, session: Session(3) };

fn at(millis: u64) -> Clocks {
    Clocks::ZERO.after(Span::from_millis(millis))
}

fn ask(epoch: u64) -> Ask {
    let promise = Span::from_millis(P);
    Ask { epoch: Epoch(epoch), sent: at(0), lease: L, promise, held: false }
}

fn renewal(epoch: u64) -> Ask {
    Ask { held: true, ..ask(epoch) }
}

/// A voter that remembers everything, at 20 s.
fn voter() -> Voter {
    Voter::forgetful(at(0))
}

/// "yes", or why not and after how many milliseconds it is worth asking again.
fn say(vote: Vote) -> (&'static str, u64) {
    match vote {
        Vote::Granted { .. } => ("yes", 0),
        Vote::Busy { left, why } => {
            let why = match why {
                Refusal::Promised => "promised",
                Refusal::Held => "held",
                Refusal::Silent => "silent",
                Refusal::Unheard => "unheard",
                Refusal::Epoch => "epoch",
                Refusal::Rival => "rival",
                Refusal::Released => "released",
            };
            (why, left.as_millis())
        }
    }
}

fn released(owner: Owner, epoch: u64) -> Release {
    Release { owner, epoch: Epoch(epoch) }
}

#[test]
fn one_story_meets_every_answer_of_a_voter() {
    let mut voter = voter();
    for (what, millis, owner, ask, hears, answer) in [
        ("it forgot what it promised before", 0, A, ask(5), true, ("silent", 10_000)),
        ("also to whom held before", 9_999, A, renewal(5), true, ("silent", 1)),
        ("deaf askers get nothing", 20_000, A, ask(5), false, ("unheard", 0)),
        ("free", 20_000, A, ask(5), true, ("yes", 0)),
        ("another node", 20_100, B, ask(6), true, ("promised", 1000)),
        ("another node that claims to hold", 20_100, B, renewal(6), true, ("promised", 1000)),
        ("the same node in another life", 20_100, A_AGAIN, ask(6), true, ("promised", 1000)),
        ("the same again", 20_200, A, ask(5), true, ("yes", 0)),
        ("now it holds", 20_300, A, renewal(5), true, ("yes", 0)),
        ("a late ask takes nothing back", 20_300, A, ask(5), true, ("yes", 0)),
        ("another node", 20_400, B, ask(6), true, ("held", 1000)),
        ("a number below", 20_400, A, renewal(4), true, ("epoch", 0)),
        ("the owner goes on higher", 20_400, A, renewal(7), true, ("yes", 0)),
        ("one millisecond before the end", 21_499, B, ask(8), true, ("held", 1)),
        ("a renewal after the end, nobody came", 21_600, A, renewal(7), true, ("yes", 0)),
        ("after the end: the same number", 22_700, B, ask(7), true, ("epoch", 0)),
        ("after the end: a lower number", 22_700, B, ask(6), true, ("epoch", 0)),
        ("after the end: a higher number", 22_700, B, ask(8), true, ("yes", 0)),
        ("the owner before wakes", 22_800, A, renewal(7), true, ("promised", 1000)),
    ] {
        let vote = voter.vote(owner, &ask, hears, at(millis));
        assert_eq!(say(vote), answer, "{what}, at {millis}");
    }
}

#[test]
fn a_promise_never_gets_shorter() {
    let mut voter = voter();
    let long = Ask { promise: Span::from_secs(9), ..renewal(5) };
    assert_eq!(say(voter.vote(A, &long, true, at(20_000))).0, "yes");
    assert_eq!(say(voter.vote(A, &renewal(5), true, at(20_100))).0, "yes");
    assert_eq!(say(voter.vote(B, &ask(6), true, at(28_999))), ("held", 1));
    assert_eq!(say(voter.vote(B, &ask(6), true, at(29_000))).0, "yes");
}

#[test]
fn no_promise_is_longer_than_a_forgetful_voter_keeps_silent() {
    let mut voter = voter();
    let endless = Ask { promise: Span::from_secs(3600), ..ask(5) };
    assert_eq!(say(voter.vote(A, &endless, true, at(20_000))).0, "yes");
    assert_eq!(voter.promised(at(20_000)).unwrap().until, at(20_000).after(PROMISE_MAX));
}

#[test]
fn a_promise_and_a_silence_end_when_both_clocks_say_so() {
    let both = |boot: u64, raw: u64| Clocks { boot: at(boot).boot, raw: at(raw).raw };
    let mut voter = voter();
    // The machine slept: one clock counted it, the other did not.
    assert_eq!(say(voter.vote(A, &ask(5), true, both(20_000, 9_000))), ("silent", 1000));
    assert_eq!(say(voter.vote(A, &ask(5), true, both(21_000, 10_000))).0, "yes");
    assert_eq!(say(voter.vote(B, &ask(6), true, both(60_000, 10_100))), ("promised", 1000));
    // One is slewed.
    assert_eq!(say(voter.vote(B, &ask(6), true, both(22_000, 11_200))).0, "promised");
    assert_eq!(say(voter.vote(B, &ask(6), true, both(22_100, 11_200))).0, "yes");
}

#[test]
fn a_release_frees_the_vote_at_once_and_its_numbers_for_ever() {
    let mut voter = voter();
    voter.vote(A, &renewal(5), true, at(20_000));
    voter.release(released(A, 6), true);
    assert_eq!(voter.promised(at(20_000)), None);
    for epoch in [5, 6] {
        // A request that was under way when its sender let go.
        assert_eq!(say(voter.vote(A, &renewal(epoch), true, at(20_001))), ("released", 0));
    }
    assert_eq!(say(voter.vote(B, &ask(6), true, at(20_001))).0, "yes");
}

#[test]
fn a_release_ends_only_what_it_names() {
    for (what, release) in [
        ("of a number before", released(A, 4)),
        ("of another life", released(A_AGAIN, 9)),
        ("of the other node", released(B, 9)),
    ] {
        let mut voter = voter();
        voter.vote(A, &renewal(5), true, at(20_000));
        voter.release(release, true);
        assert!(voter.promised(at(20_000)).is_some_and(|promise| promise.owner == A), "{what}");
        assert_eq!(say(voter.vote(A, &renewal(5), true, at(20_001))).0, "yes", "{what}");
    }
}

#[test]
fn a_repeated_release_does_nothing_to_a_later_promise() {
    let mut voter = voter();
    voter.vote(A, &renewal(5), true, at(20_000));
    voter.release(released(A, 5), true);
    voter.vote(A, &ask(6), true, at(20_001));
    voter.release(released(A, 5), true);
    assert!(voter.promised(at(20_001)).is_some());
    assert!(!voter.has_stopped(Member::First));
}

#[test]
fn the_release_of_a_former_life_does_not_hide_a_newer_one() {
    let mut voter = voter();
    voter.release(released(A_AGAIN, 7), true);
    voter.release(released(A, 5), false);
    assert_eq!(say(voter.vote(A_AGAIN, &renewal(7), true, at(20_000))).0, "released");
}

#[test]
fn a_candidate_that_held_once_is_not_said_to_hold() {
    let mut voter = voter();
    voter.vote(A, &renewal(5), true, at(20_000));
    voter.vote(A, &ask(6), true, at(40_000));
    assert_eq!(say(voter.vote(B, &ask(7), true, at(40_000))).0, "promised");
}

#[test]
fn a_node_is_known_to_run_nothing_only_by_its_own_new_word() {
    let mut voter = voter();
    let stopped = |voter: &Voter| voter.has_stopped(Member::First);
    assert!(!stopped(&voter), "never heard: it may run since before this voter's memory");
    voter.release(released(A, 1), false);
    assert!(!stopped(&voter), "carried, or old: it may have been said before");
    voter.release(released(A, 1), true);
    assert!(stopped(&voter));
    voter.vote(A, &ask(5), true, at(20_000));
    assert!(!stopped(&voter), "granted: it may run");
    voter.vote(B, &ask(6), true, at(60_000));
    assert!(!stopped(&voter), "the promise is over, the units may run");
    voter.release(released(A, 4), true);
    assert!(!stopped(&voter), "a word from before");
    voter.release(released(A, 5), false);
    assert!(stopped(&voter), "carried, but of that very promise");
}

#[test]
fn what_a_node_ran_is_not_released_by_its_former_life() {
    let mut voter = voter();
    voter.release(released(A, 4), true);
    voter.vote(A_AGAIN, &renewal(8), true, at(20_000));
    // The life before had heard of a higher number when it was idle; the peer carries that.
    voter.release(released(A, 9), false);
    assert!(!voter.has_stopped(Member::First));
    // A later life sweeps what the former left before it says anything.
    let later = Owner { session: Session(4), ..A };
    voter.release(released(later, 9), true);
    assert!(voter.has_stopped(Member::First));
}

#[test]
fn the_own_vote_is_free_without_silence_and_without_a_promise_to_the_other() {
    let mut voter = voter();
    assert!(!voter.is_free_for(Member::Second, at(9_999)));
    assert!(voter.is_free_for(Member::Second, at(10_000)));
    voter.vote(A, &ask(5), true, at(20_000));
    assert!(!voter.is_free_for(Member::Second, at(21_099)));
    assert!(voter.is_free_for(Member::First, at(20_500)));
    assert!(voter.is_free_for(Member::Second, at(21_100)));
    voter.vote_for_self(Epoch(6));
    assert_eq!((voter.promised(at(21_100)), voter.highest()), (None, Epoch(6)));
    assert_eq!(say(voter.vote(A, &ask(6), true, at(21_100))).0, "epoch");
}
