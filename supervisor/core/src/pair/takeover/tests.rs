//! Two votes of three, whose they are, and what is known with them.

use super::*;

const H: Span = Span::from_millis(100);

fn at(millis: u64) -> Clocks {
    Clocks::ZERO.after(Span::from_millis(millis))
}

fn candidacy() -> Candidacy {
    Candidacy::new(Epoch(5), Cause::OwnerSilent, at(0))
}

#[test]
fn two_votes_of_three_win_and_two_that_know_spare_the_stop_time() {
    // A seat: nothing, a grant, or a grant of a voter that knows the other node has stopped.
    let (no, yes, knows) = (None, Some(false), Some(true));
    for (peer, third, own_vote, own_knows, won) in [
        (no, no, true, true, None),
        (yes, no, false, true, None),
        (no, yes, false, true, None),
        (yes, no, true, false, Some(false)),
        (yes, no, true, true, Some(false)),
        (knows, no, true, false, Some(false)),
        (knows, no, true, true, Some(true)),
        (no, yes, true, true, Some(false)),
        (no, knows, true, false, Some(false)),
        (no, knows, true, true, Some(true)),
        (yes, yes, false, true, Some(false)),
        (yes, yes, true, true, Some(false)),
        (knows, yes, false, true, Some(false)),
        (knows, yes, true, true, Some(true)),
        (yes, knows, true, true, Some(true)),
        (yes, knows, false, true, Some(false)),
        (knows, knows, false, false, Some(true)),
    ] {
        let mut candidacy = candidacy();
        for (seat, grant) in [(Seat::Peer, peer), (Seat::Third, third)] {
            if let Some(stopped) = grant {
                candidacy.granted(seat, at(1000), stopped, at(10));
            }
        }
        let is = candidacy.won(own_vote, own_knows, at(20)).map(|won| won.peer_stopped);
        assert_eq!(is, won, "{peer:?} {third:?} own vote {own_vote}, knows {own_knows}");
    }
}

#[test]
fn a_grant_counts_until_its_end_and_not_after_a_refusal_or_a_new_number() {
    let granted = || {
        let mut candidacy = candidacy();
        candidacy.granted(Seat::Third, at(1000), false, at(10));
        candidacy
    };
    let won = |candidacy: &Candidacy, millis| candidacy.won(true, false, at(millis));
    let lease = won(&granted(), 999).unwrap().lease;
    assert_eq!((lease.epoch, lease.end(), lease.own_vote), (Epoch(5), at(1000), true));
    assert_eq!(won(&granted(), 1000), None);
    let mut refused = granted();
    refused.refused(Seat::Third, Span::ZERO, Span::ZERO, at(20));
    assert_eq!(won(&refused, 20), None);
    let mut raised = granted();
    raised.raise(Epoch(9), at(20));
    assert_eq!((won(&raised, 20), raised.epoch), (None, Epoch(9)));
}

#[test]
fn a_voter_is_asked_again_after_a_heartbeat_or_when_it_said_and_never_later_than_a_promise() {
    let mut candidacy = candidacy();
    let due = |candidacy: &Candidacy, seat| candidacy.next_ask(seat);
    assert!(candidacy.is_due(Seat::Peer, at(0)) && candidacy.is_due(Seat::Third, at(0)));
    candidacy.asked(Seat::Peer, at(0), H);
    assert!(!candidacy.is_due(Seat::Peer, at(99)) && candidacy.is_due(Seat::Peer, at(100)));
    candidacy.refused(Seat::Peer, Span::from_millis(300), Span::from_millis(7), at(50));
    assert_eq!(due(&candidacy, Seat::Peer), at(357).boot);
    candidacy.refused(Seat::Third, Span::from_secs(3600), Span::ZERO, at(50));
    assert_eq!(due(&candidacy, Seat::Third), at(10_050).boot);
    // The peer's vote makes the arbiter worth asking.
    candidacy.granted(Seat::Peer, at(1000), false, at(60));
    assert_eq!(due(&candidacy, Seat::Third), at(60).boot);
    candidacy.asked(Seat::Third, at(60), H);
    candidacy.ask_now(at(70));
    assert_eq!(
        (due(&candidacy, Seat::Peer), due(&candidacy, Seat::Third)),
        (at(70).boot, at(70).boot)
    );
}

#[test]
fn a_vote_that_does_not_help_is_not_kept_from_others_however_often_it_is_renewed() {
    let mut candidacy = candidacy();
    let limit = Span::from_millis(1000);
    assert!(!candidacy.blocks_others(limit, at(60_000)), "no grant, nothing blocked");
    for millis in (100..=1100).step_by(100) {
        candidacy.granted(Seat::Peer, at(millis + 1000), false, at(millis));
        assert!(!candidacy.blocks_others(limit, at(millis)), "{millis}");
    }
    assert!(candidacy.blocks_others(limit, at(1101)));
    candidacy.refused(Seat::Peer, Span::ZERO, Span::ZERO, at(1101));
    assert!(!candidacy.blocks_others(limit, at(1101)), "taken back");
}
