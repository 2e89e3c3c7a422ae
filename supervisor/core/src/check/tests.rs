use super::*;
use crate::event::Event;
use crate::node::tests::{Bench, POLICY, Says, at, spec, with_ladder};
use crate::recovery::Climb;
use alloc::vec;

const A: CheckId = CheckId(0);

#[test]
fn readings_are_due_at_once_and_then_on_the_grid() {
    let mut fast = spec("fast");
    fast.interval = Span::from_secs(5);
    let mut below = spec("below");
    below.interval = Span::from_millis(100);
    let mut bench = Bench::new(vec![spec("slow"), fast]);
    bench.now = at(1003);
    bench.turn();
    bench.run_to(1020);
    let expected = [1003, 1003, 1005, 1010, 1010, 1015, 1020, 1020];
    assert_eq!(bench.reads(), expected.map(|secs| secs * 1000));
    // No faster than the node's rhythm.
    let mut bench = Bench::new(vec![below]);
    bench.run_to(1003);
    assert_eq!(bench.reads(), [1_000_000, 1_001_000, 1_002_000, 1_003_000]);
}

#[test]
fn intervals_of_nothing_make_no_busy_loop() {
    let mut spec = spec("a");
    spec.interval = Span::ZERO;
    let mut check = Check::new(A, spec, at(1));
    let policy = Policy { interval: Span::ZERO, remind: Span::from_secs(1) };
    check.tick(policy, false, at(1), &mut Actions::new());
    assert!(check.schedule.next >= at(1).after(READING_GAP));
}

#[test]
fn an_unanswered_reading_is_given_up_and_its_late_answer_changes_nothing() {
    let mut spec = spec("a");
    spec.interval = Span::from_secs(20);
    let mut bench = Bench::new(vec![spec]);
    bench.run_to(1005);
    assert_eq!(bench.verdict(), Verdict::Healthy);
    bench.say(Says::Nothing, 1032);
    assert_eq!(bench.verdict(), Verdict::Healthy, "awaited since 1020");
    bench.run_to(1033);
    assert_eq!(bench.verdict(), Verdict::Unknown);
    let reason = bench.node.view("a", bench.now).unwrap().reason;
    assert_eq!(reason, "no answer from the sensor within 3s");
    for says in [Says::Good, Says::Fault] {
        bench.says = says;
        bench.answer(A);
        assert_eq!(bench.verdict(), Verdict::Unknown, "how old is it?");
    }
    bench.say(Says::Good, 1040);
    assert_eq!(bench.verdict(), Verdict::Healthy);
    bench.says = Says::Fault;
    bench.answer(A);
    assert_eq!(bench.verdict(), Verdict::Healthy, "a second answer");
}

#[test]
fn nudges_bring_a_reading_forward_but_never_closer_than_the_gap() {
    let mut bench = Bench::new(vec![spec("a")]);
    bench.run_to(1004);
    for _ in 0..1000 {
        bench.handle(Event::Nudge { check: A });
        bench.turn();
    }
    bench.run_to(1005);
    assert_eq!(bench.reads(), [1_000_000, 1_004_000, 1_004_020], "one now, one for the others");
    // Just before the grid: the grid's own reading would be too close.
    bench.now = at(1010).before(Span::from_millis(5));
    bench.handle(Event::Nudge { check: A });
    bench.turn();
    bench.run_to(1020);
    assert_eq!(bench.reads()[3..], [1_009_995, 1_020_000]);
    // While an answer is awaited: one more after it.
    bench.says = Says::Nothing;
    bench.run_to(1030);
    bench.handle(Event::Nudge { check: A });
    bench.handle(Event::Nudge { check: A });
    bench.run_to(1032);
    bench.says = Says::Good;
    bench.answer(A);
    bench.run_to(1039);
    assert_eq!(bench.reads()[5..], [1_030_000, 1_032_020]);
    let gap = i64::try_from(READING_GAP.as_millis()).unwrap();
    assert!(bench.reads().windows(2).all(|pair| pair[1] - pair[0] >= gap));
}

#[test]
fn a_tendency_is_read_at_the_moment_that_confirms_it() {
    let mut slow = spec("a");
    slow.interval = Span::from_secs(60);
    slow.fail_after = Span::from_secs(7);
    slow.recover_after = Span::from_secs(11);
    let mut bench = Bench::new(vec![slow]);
    bench.run_to(1010);
    bench.say(Says::Fault, 1027);
    assert_eq!(bench.verdict(), Verdict::Failed);
    assert_eq!(bench.reads()[1..], [1_020_000, 1_027_000]);
    bench.say(Says::Good, 1091);
    assert_eq!(bench.verdict(), Verdict::Healthy);
    assert_eq!(bench.reads()[3..], [1_080_000, 1_091_000]);
}

#[test]
fn l1_only_a_confirmed_failure_that_is_still_seen_climbs() {
    let mut slow = with_ladder(spec("a"), &[("restart", 3, 600)]);
    slow.fail_after = Span::from_secs(30);
    slow.recover_after = Span::from_secs(60);
    for (says, verdict) in [
        (Says::Worn, Verdict::Degraded),
        (Says::Error, Verdict::Unknown),
        (Says::Nothing, Verdict::Unknown),
        (Says::Good, Verdict::Healthy),
    ] {
        let mut bench = Bench::new(vec![slow.clone()]);
        bench.run_to(1000);
        bench.say(says, 2000);
        assert_eq!((bench.verdict(), bench.starts().len()), (verdict, 0), "{says:?}");
    }
    let mut bench = Bench::new(vec![slow]);
    bench.run_to(1001);
    bench.say(Says::Fault, 1039);
    assert_eq!(bench.starts(), [], "not confirmed");
    bench.run_to(1040);
    assert_eq!(bench.starts(), [(1040, 0)]);
    bench.end(0);
    // Confirmed still, but the newest reading does not say so.
    bench.says = Says::Good;
    bench.run_to(1060);
    assert_eq!(bench.verdict(), Verdict::Failed);
    bench.say(Says::Error, 1100);
    assert_eq!(bench.starts().len(), 1);
    bench.say(Says::Fault, 1200);
    assert!(bench.starts().len() > 1);
}

#[test]
fn one_good_glance_after_a_rung_does_not_begin_the_ladder_anew() {
    let mut slow = with_ladder(spec("a"), &[("restart", 9, 600), ("reboot", 9, 600)]);
    slow.recover_after = Span::from_secs(60);
    let mut bench = Bench::new(vec![slow]);
    bench.say(Says::Fault, 1001);
    // A service that was started a moment ago always looks good.
    bench.says = Says::Good;
    bench.handle(Event::Nudge { check: A });
    bench.turn();
    bench.end(0);
    bench.say(Says::Fault, 1020);
    let is_second = matches!(bench.node.climb_of("a"), Climb::Acting { rung: 1, .. });
    assert!(is_second, "{:?}", bench.node.climb_of("a"));
}

#[test]
fn a_slow_answer_from_before_the_settling_time_ended_starts_nothing() {
    let mut bench = Bench::new(vec![with_ladder(spec("a"), &[("x", 9, 600), ("y", 9, 600)])]);
    bench.say(Says::Fault, 1000);
    bench.says = Says::Nothing;
    bench.now = at(1005);
    bench.end(0); // settles until 1015
    bench.run_to(1012);
    bench.handle(Event::Nudge { check: A });
    bench.turn();
    let asked = *bench.reads().last().unwrap();
    bench.now = at(1015);
    bench.says = Says::Fault;
    bench.answer(A);
    assert!(asked < 1_015_000);
    assert_eq!(bench.starts().len(), 1);
    bench.turn();
    assert_eq!(bench.starts().len(), 2, "a reading of now does");
}

#[test]
fn a_ladder_comes_down_however_its_check_recovers() {
    let ladder = || with_ladder(spec("a"), &[("restart", 9, 600)]);
    // While it is unknown, while a rung is under way, and while it waits.
    for way in 0..3 {
        let mut bench = Bench::new(vec![ladder()]);
        bench.say(Says::Fault, 1000);
        if way != 1 {
            bench.end(0);
        }
        if way == 2 {
            bench.run_to(1012);
            assert!(matches!(bench.node.climb_of("a"), Climb::Waiting { .. }));
        }
        bench.say(if way == 0 { Says::Error } else { Says::Good }, 1020);
        bench.say(Says::Good, 1050);
        assert_eq!(bench.node.climb_of("a"), &Climb::Ground, "way {way}");
        assert_eq!(bench.verdict(), Verdict::Healthy);
    }
}

fn alerts_of(words: &[(Says, u64)]) -> Vec<(i64, AlertKind, Verdict)> {
    let mut bench = Bench::new(vec![spec("a")]);
    for (says, until) in words {
        bench.say(*says, *until);
    }
    bench.alerts()
}

#[test]
fn each_change_is_told_once_and_the_recovery_always() {
    use AlertKind::{Improved, Problem, Recovery};
    let words = [
        (Says::Good, 1001),
        (Says::Worn, 1100),
        (Says::Fault, 1200),
        (Says::Worn, 1300),
        (Says::Good, 1400),
    ];
    let told = [
        (1010, Problem, Verdict::Degraded),
        (1110, Problem, Verdict::Failed),
        (1210, Improved, Verdict::Degraded),
        (1310, Recovery, Verdict::Healthy),
    ];
    assert_eq!(alerts_of(&words), told);
    assert_eq!(alerts_of(&[(Says::Good, 100_000)]), [], "health is what is expected");
}

#[test]
fn blindness_is_told_after_a_while_and_never_as_an_improvement() {
    use AlertKind::{Problem, Recovery};
    assert_eq!(alerts_of(&[(Says::Good, 1001), (Says::Error, 1051), (Says::Good, 1100)]), []);
    let words = [(Says::Fault, 1001), (Says::Error, 1100), (Says::Good, 1200)];
    let told = [
        (1000, Problem, Verdict::Failed),
        (1070, Problem, Verdict::Unknown), // a minute after the reading at 1010
        (1110, Recovery, Verdict::Healthy),
    ];
    assert_eq!(alerts_of(&words), told);
    let blip = [(Says::Fault, 1001), (Says::Error, 1050), (Says::Fault, 1100)];
    assert_eq!(alerts_of(&blip).len(), 1);
}

#[test]
fn what_stays_wrong_is_reminded_of_in_a_steady_rhythm() {
    use AlertKind::{Problem, Recovery, Reminder};
    let mut slow = spec("a");
    slow.interval = Span::from_secs(24 * 3600);
    let mut bench = Bench::new(vec![slow]);
    bench.say(Says::Fault, 1000 + 9 * 3600);
    let failed = Verdict::Failed;
    let told = [(1000, Problem, failed), (15_400, Reminder, failed), (29_800, Reminder, failed)];
    assert_eq!(bench.alerts(), told, "on time, though it is read once a day");
    // A reminder repeats what was told: while nobody knows, there is nothing to repeat.
    bench.say(Says::Error, 43_000);
    bench.handle(Event::Nudge { check: A });
    bench.now = at(44_190);
    bench.turn();
    bench.run_to(44_220);
    assert_eq!(bench.alerts().len(), 4 - 1);
    bench.say(Says::Good, 44_240);
    bench.handle(Event::Nudge { check: A });
    bench.turn();
    assert_eq!(bench.alerts().last(), Some(&(44_240, Recovery, Verdict::Healthy)));
}

#[test]
fn flapping_is_told_once_silences_and_ends_with_what_came_of_it() {
    use AlertKind::{Flapping, Problem, Recovery};
    for (says, last) in [
        (Says::Good, (Recovery, Verdict::Healthy)),
        (Says::Fault, (Problem, Verdict::Failed)),
        (Says::Error, (Problem, Verdict::Unknown)),
    ] {
        let mut bench = Bench::new(vec![spec("a")]);
        bench.run_to(1001);
        for second in 101..160 {
            let says = if second % 2 == 1 { Says::Fault } else { Says::Good };
            bench.say(says, second * 10);
        }
        let begins = bench.alerts().iter().position(|(_, kind, _)| *kind == Flapping).unwrap();
        assert_eq!(bench.alerts().len(), begins + 1, "silence");
        bench.say(says, 1600 + 1900);
        let told = bench.alerts()[begins + 1..].to_vec();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].1, told[0].2), last);
        let reports = |begins: bool| {
            let is_it = |(_, action): &&(Mono, Action)| {
                let flaps = Report::Flapping { check: "a".into(), begins };
                *action == Action::Report(flaps)
            };
            bench.log.iter().filter(is_it).count()
        };
        assert_eq!((reports(true), reports(false)), (1, 1));
    }
}

#[test]
fn blips_of_blindness_are_neither_told_as_flapping_nor_as_its_end() {
    let mut bench = Bench::new(vec![spec("a")]);
    bench.run_to(1001);
    for second in 101..160 {
        bench.say(if second % 2 == 1 { Says::Error } else { Says::Good }, second * 10);
    }
    bench.say(Says::Good, 5000);
    assert_eq!(bench.alerts(), []);
    let is_flapping =
        |(_, action): &(Mono, Action)| matches!(action, Action::Report(Report::Flapping { .. }));
    assert!(!bench.log.iter().any(is_flapping));
}

#[test]
fn a_deadline_lies_ahead_in_a_pause_and_in_silence() {
    // `turn` asserts it; here are the states in which it once was not so.
    let mut bench = Bench::new(vec![spec("a")]);
    bench.pause(Some("a"), 20_000);
    bench.say(Says::Error, 30_000); // longer than patience, and longer than a reminder
    assert_eq!(bench.alerts().len(), 1);
    bench.pause(None, 80_000);
    bench.run_to(80_001);
    let mut bench = Bench::new(vec![spec("a")]);
    for second in 101..200 {
        bench.say(if second % 2 == 1 { Says::Fault } else { Says::Good }, second * 10);
    }
    bench.say(Says::Error, 10_000); // patience ends while silence lasts
    assert!(bench.alerts().len() < 10);
    assert!(bench.node.next_deadline() < at(10_000).after(POLICY.remind));
}
