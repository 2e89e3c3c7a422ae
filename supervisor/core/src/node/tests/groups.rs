//! Checks of groups: they rest where the group is not active, and tell how fit the node is.

use super::*;
use crate::pair::message::Health as Fitness;

static SWITCHOVER: EffectSpec =
    EffectSpec { name: "switchover", disruption: Disruption::Group, ..EFFECT };

/// A check with rungs of which `switchover` hands over; of the group `db`, or of the node.
fn member(name: &str, group: Option<&str>, rungs: &[&str]) -> CheckSpec {
    let rungs: Vec<(&str, u32, u64)> = rungs.iter().map(|text| (*text, 3, 600)).collect();
    let mut spec = with_ladder(spec(name), &rungs);
    for rung in spec.on_fail.iter_mut().filter(|rung| &*rung.text == "switchover") {
        rung.effect = &SWITCHOVER;
    }
    spec.group = group.map(Into::into);
    spec
}

fn activate(bench: &mut Bench, groups: &[&str]) {
    let groups = groups.iter().map(|group| (*group).into()).collect();
    bench.act(|node, now, actions| node.activate(groups, now, actions));
    bench.turn();
}

fn says(bench: &Bench, name: &str) -> Verdict {
    bench.node.view(name, bench.now).unwrap().verdict
}

fn rest_reports(bench: &Bench) -> Vec<bool> {
    let begins = |(_, action): &(Mono, Action)| match action {
        Action::Report(Report::Rests { begins, .. }) => Some(*begins),
        _ => None,
    };
    bench.log.iter().filter_map(begins).collect()
}

#[test]
fn a_check_rests_where_its_group_is_not_active_and_nobody_is_told_of_trouble() {
    let mut bench = Bench::new(alloc::vec![member("a", Some("db"), &["restart"])]);
    bench.say(Says::Fault, 1500);
    assert_eq!(says(&bench, "a"), Verdict::Rests);
    assert_eq!(bench.node.view("a", bench.now).unwrap().reason, "group \"db\" is not active here");
    assert_eq!((bench.verdict(), bench.node.counts()), (Verdict::Healthy, [0; 4]));
    assert!(bench.reads().is_empty() && bench.starts().is_empty() && bench.alerts().is_empty());
    assert!(bench.node.worst(9).is_empty() && bench.node.first_round_is_over(bench.now));
    activate(&mut bench, &["web"]);
    assert_eq!((says(&bench, "a"), rest_reports(&bench)), (Verdict::Rests, alloc::vec![]));
}

#[test]
fn a_check_is_judged_from_when_its_group_becomes_active() {
    let mut slow = member("a", Some("db"), &["restart"]);
    slow.fail_after = Span::from_secs(30);
    let mut bench = Bench::new(alloc::vec![slow]);
    bench.say(Says::Fault, 1500);
    activate(&mut bench, &["db"]);
    assert_eq!((says(&bench, "a"), bench.starts()), (Verdict::Unknown, alloc::vec![]));
    bench.run_to(1529);
    assert_eq!(says(&bench, "a"), Verdict::Unknown, "fail-after counts from there");
    bench.run_to(1531);
    assert_eq!((says(&bench, "a"), bench.starts()), (Verdict::Failed, alloc::vec![(1530, 0)]));
    assert_eq!(rest_reports(&bench), [false]);
}

#[test]
fn a_group_that_goes_ends_the_story_of_its_checks_but_not_their_budgets() {
    let mut bench = Bench::new(alloc::vec![member("a", Some("db"), &["restart"])]);
    activate(&mut bench, &["db"]);
    bench.say(Says::Fault, 1010);
    assert_eq!((says(&bench, "a"), bench.starts().len()), (Verdict::Failed, 1));
    activate(&mut bench, &[]);
    assert_eq!(says(&bench, "a"), Verdict::Rests);
    // Hooks that were told of a problem are told of its end, and not reminded.
    bench.run_to(40_000);
    let told: Vec<_> = bench.alerts().iter().map(|(_, kind, verdict)| (*kind, *verdict)).collect();
    let expected = [(AlertKind::Problem, Verdict::Failed), (AlertKind::Recovery, Verdict::Rests)];
    assert_eq!(told, expected);
    assert_eq!(bench.starts().len(), 1, "the rung that was under way was given up");
    assert_eq!(bench.node.climb_of("a"), &crate::recovery::Climb::Ground);
    assert_eq!(bench.node.memory().checks.len(), 1, "L2: its use is remembered");
}

#[test]
fn an_answer_from_before_the_rest_says_nothing_of_the_new_run() {
    let mut bench = Bench::new(alloc::vec![member("a", Some("db"), &["restart"])]);
    bench.says = Says::Nothing;
    activate(&mut bench, &["db"]);
    assert_eq!(bench.reads(), [1_000_000]);
    activate(&mut bench, &[]);
    activate(&mut bench, &["db"]);
    bench.says = Says::Fault;
    bench.answer(CheckId(0));
    assert_eq!((says(&bench, "a"), bench.starts()), (Verdict::Unknown, alloc::vec![]));
    bench.say(Says::Good, 1001);
    assert_eq!(says(&bench, "a"), Verdict::Healthy, "it is asked again at once");
}

#[test]
fn an_unchanged_configuration_changes_no_rest_and_another_group_does() {
    let mut bench = Bench::new(alloc::vec![member("a", Some("db"), &[])]);
    activate(&mut bench, &["db"]);
    bench.say(Says::Good, 1010);
    bench.configure(alloc::vec![member("a", Some("db"), &[])]);
    assert_eq!(says(&bench, "a"), Verdict::Healthy);
    bench.configure(alloc::vec![member("a", Some("web"), &[])]);
    assert_eq!(says(&bench, "a"), Verdict::Rests);
    bench.configure(alloc::vec![member("a", None, &[])]);
    bench.run_to(1011);
    assert_eq!(says(&bench, "a"), Verdict::Healthy);
}

/// How fit the node is for `db`, with one failed check: here, before any rung of it has ended, and
/// after all of them; then elsewhere.
fn fitness(group: Option<&str>, rungs: &[&str]) -> [Fitness; 3] {
    let mut bench = Bench::new(alloc::vec![member("a", group, rungs)]);
    let fit = |bench: &Bench| bench.node.fitness("db", bench.now);
    activate(&mut bench, &["db"]);
    bench.say(Says::Good, 1005);
    assert_eq!(fit(&bench), Fitness::Healthy);
    bench.say(Says::Fault, 1010);
    let before = fit(&bench);
    for id in 0..u64::try_from(rungs.len()).unwrap() {
        bench.end(id);
        bench.run_to(1030 + 20 * id);
    }
    let after = fit(&bench);
    activate(&mut bench, &[]);
    [before, after, fit(&bench)]
}

#[test]
fn only_a_check_whose_ladder_has_tried_to_hand_over_makes_a_node_unfit_for_what_it_has() {
    use Fitness::{Degraded, Failed, Healthy};
    for (group, rungs, expected) in [
        // Of the group: it rests elsewhere.
        (Some("db"), &["switchover"][..], [Degraded, Failed, Healthy]),
        (Some("db"), &["restart", "switchover"], [Degraded, Failed, Healthy]),
        (Some("db"), &["restart"], [Degraded, Degraded, Healthy]),
        (Some("db"), &[], [Degraded, Degraded, Healthy]),
        // Of another group, which is not active here.
        (Some("web"), &["switchover"], [Healthy, Healthy, Healthy]),
        // Of the node: it keeps others from coming.
        (None, &["switchover"], [Degraded, Failed, Failed]),
        (None, &["restart", "switchover"], [Degraded, Failed, Failed]),
        (None, &["restart"], [Degraded, Degraded, Degraded]),
        (None, &[], [Degraded, Degraded, Degraded]),
    ] {
        assert_eq!(fitness(group, rungs), expected, "{group:?} {rungs:?}");
    }
}

#[test]
fn the_rungs_before_come_first_and_a_recovery_begins_anew() {
    let mut bench = Bench::new(alloc::vec![member("a", Some("db"), &["restart", "switchover"])]);
    activate(&mut bench, &["db"]);
    let fit = |bench: &Bench| bench.node.fitness("db", bench.now);
    bench.say(Says::Fault, 1010);
    bench.end(0);
    bench.run_to(1019);
    assert_eq!((bench.starts().len(), fit(&bench)), (1, Fitness::Degraded), "time to settle");
    bench.run_to(1021);
    assert_eq!((bench.starts().len(), fit(&bench)), (2, Fitness::Degraded), "the order is given");
    bench.end(1);
    assert_eq!(fit(&bench), Fitness::Failed, "refused, and still wanted");
    bench.run_to(1045);
    assert_eq!((bench.starts().len(), fit(&bench)), (3, Fitness::Failed), "another round");
    bench.end(2);
    bench.say(Says::Good, 1070);
    assert_eq!(fit(&bench), Fitness::Healthy);
    bench.say(Says::Fault, 1081);
    assert_eq!(fit(&bench), Fitness::Degraded);
}

#[test]
fn failing_hardware_makes_the_other_node_the_better_place_and_this_one_not_unfit() {
    use Fitness::{Degraded, Failing, Healthy};
    let fit = |group: Option<&str>, says, active: &[&str]| {
        let mut spec = member("disk", group, &[]);
        spec.prefer_peer = true;
        let mut bench = Bench::new(alloc::vec![spec]);
        activate(&mut bench, active);
        bench.say(says, 1010);
        let at_once = bench.node.fitness("db", bench.now);
        // The other node is read every 10 s, too, and is heard within 2 s more.
        bench.run_to(1021);
        let early = bench.node.fitness("db", bench.now);
        bench.run_to(1022);
        [at_once, early, bench.node.fitness("db", bench.now)]
    };
    assert_eq!(fit(None, Says::Fault, &["db"]), [Degraded, Degraded, Failing]);
    assert_eq!(fit(None, Says::Fault, &[]), [Failing; 3]);
    for active in [&["db"][..], &[]] {
        assert_eq!(fit(None, Says::Worn, active), [Degraded; 3]);
        assert_eq!(fit(None, Says::Good, active), [Healthy; 3]);
    }
}

#[test]
fn a_disk_that_failed_and_says_nothing_any_more_is_no_better_for_that() {
    let mut spec = member("disk", None, &[]);
    spec.prefer_peer = true;
    let mut bench = Bench::new(alloc::vec![spec]);
    bench.say(Says::Fault, 1010);
    for says in [Says::Error, Says::Fault, Says::Nothing] {
        bench.say(says, 1200);
        assert_eq!(bench.node.fitness("db", bench.now), Fitness::Failing, "{says:?}");
    }
    bench.pause(Some("disk"), 2000);
    assert!(bench.node.sending_away("db", bench.now).is_empty());
}

#[test]
fn a_paused_check_speaks_against_nothing() {
    let mut bench = Bench::new(alloc::vec![member("a", None, &["switchover"])]);
    bench.say(Says::Fault, 1010);
    assert_eq!(bench.node.fitness("db", bench.now), Fitness::Failed);
    assert!(bench.node.is_failed(CheckId(0), bench.now));
    bench.pause(Some("a"), 2000);
    assert_eq!(bench.node.fitness("db", bench.now), Fitness::Healthy);
    assert!(!bench.node.is_failed(CheckId(0), bench.now));
}
