use super::*;
use alloc::string::ToString as _;

const NOW: Mono = Mono::from_nanos(1_000_000_000_000);

fn ago(secs: u64) -> Mono {
    NOW.before(Span::from_secs(secs))
}

fn in_(secs: u64) -> Mono {
    NOW.after(Span::from_secs(secs))
}

#[test]
fn pid_1_is_petted_only_while_both_loops_make_progress() {
    let turn = |age| Some(ago(age));
    for (keeper, brain, may) in [
        (turn(0), turn(0), true),
        (turn(4), turn(9), true),
        (turn(5), turn(0), false),  // W1
        (turn(0), turn(10), false), // W2
        (None, turn(0), false),
        (turn(0), None, false),
    ] {
        assert_eq!(may_pet(Progress { keeper, brain }, NOW), may, "{keeper:?} {brain:?}");
    }
}

/// A machine on which all is well.
fn well() -> Evidence {
    Evidence { brain: NOW, pair_forbids: None, wishes: Wishes::default() }
}

fn wishing(wishes: Wishes) -> Evidence {
    Evidence { wishes, ..well() }
}

/// Every rule alone, at its edge: what it says, and what a boot that only observes does.
#[test]
fn each_rule_refuses_alone_and_an_observing_boot_pets_all_the_same() {
    let minute = Span::from_secs(60);
    let root = |age| Wishes { root: Some((ago(age), minute)), ..Wishes::default() };
    let self_test = |until| Wishes { self_test: Some(until), ..Wishes::default() };
    let down_by = |at| Wishes { down_by: Some(at), ..Wishes::default() };
    let resets = Wishes { resets: true, ..Wishes::default() };
    for (evidence, refusal) in [
        (well(), None),
        (Evidence { brain: ago(59), ..well() }, None), // a freeze of 10 s is nothing
        (Evidence { brain: ago(60), ..well() }, Some(Refusal::Brain(minute))), // W2
        (Evidence { pair_forbids: Some(Refusal::Lease), ..well() }, Some(Refusal::Lease)), // W3
        (Evidence { pair_forbids: Some(Refusal::Sweep), ..well() }, Some(Refusal::Sweep)), // W3
        (wishing(root(60)), None),
        (wishing(root(61)), Some(Refusal::Root(Span::from_secs(61)))), // W4
        (wishing(resets), Some(Refusal::Rung)),                        // W5
        (wishing(self_test(in_(1))), Some(Refusal::SelfTest)),         // W5
        (wishing(self_test(NOW)), None),                               // and it ends by itself
        (wishing(down_by(in_(1))), None),
        (wishing(down_by(NOW)), Some(Refusal::Shutdown)), // W6
    ] {
        let expected = refusal.map_or(Ok(NOW.after(PERMIT_LASTS)), Err);
        assert_eq!(permit(&evidence, NOW), expected, "{evidence:?}");
        let observing =
            Evidence { wishes: Wishes { observes: true, ..evidence.wishes }, ..evidence };
        let holds = matches!(refusal, Some(Refusal::Shutdown | Refusal::Rung));
        assert_eq!(permit(&observing, NOW).is_ok(), !holds, "W7: {evidence:?}");
    }
}

#[test]
fn a_permit_expires_with_the_keepers_next_turn() {
    assert_eq!(permit(&well(), NOW), Ok(in_(1))); // W1
}

#[test]
fn a_device_is_petted_four_times_within_its_time_out() {
    let every = |secs| pet_every(Span::from_secs(secs));
    assert_eq!(every(2), Span::from_secs(1));
    assert_eq!(every(10), Span::from_millis(2500));
    assert_eq!(every(30), Span::from_millis(7500));
    assert_eq!(every(3600), Span::from_secs(10));
}

#[test]
fn a_refusal_says_what_is_wrong() {
    let silent = Span::from_secs(61);
    let said = Refusal::Root(silent).to_string();
    assert_eq!(said, alloc::format!("the root file system has answered no write for {silent}"));
}
