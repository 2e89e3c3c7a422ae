use super::*;
use crate::spec::{Arguments, Disruption, EffectSpec};

static EFFECT: EffectSpec = EffectSpec {
    name: "restart",
    summary: "",
    disruption: Disruption::Service,
    arguments: Arguments::Unit,
    deadline: Span::from_secs(30),
    settle: SETTLE,
    budget: Budget { times: 3, within: Span::from_secs(600) },
};
const SETTLE: Span = Span::from_secs(10);
const ID: ActionId = ActionId(7);
const PLENTY: Budget = Budget { times: 100, within: Span::from_secs(1) };

fn rungs(budgets: &[(&str, Budget)]) -> Vec<Rung> {
    let rung = |(text, budget): &(&str, Budget)| Rung {
        text: (*text).into(),
        effect: &EFFECT,
        arguments: Vec::new(),
        budget: *budget,
        deadline: EFFECT.deadline,
    };
    budgets.iter().map(rung).collect()
}

fn two() -> Vec<Rung> {
    rungs(&[("restart", PLENTY), ("reboot", PLENTY)])
}

fn at(secs: u64) -> Mono {
    Mono::BOOT.after(Span::from_secs(secs))
}

/// Climbs with a reading of this moment, and starts what is to be started.
fn climb(ladder: &mut Ladder, rungs: &[Rung], now: Mono) -> Option<Step> {
    let step = ladder.climb_on(rungs, now, now);
    if let Some(Step::Start(rung)) = step {
        ladder.started(rung, rungs[rung].budget, ID, now.after(EFFECT.deadline), now);
    }
    step
}

/// A round in which nothing helps, from a moment at which the first rung is due; when the ladder
/// goes on.
fn round(ladder: &mut Ladder, rungs: &[Rung], mut now: Mono) -> Mono {
    loop {
        match climb(ladder, rungs, now) {
            Some(Step::Start(_)) => {
                assert!(ladder.ended(ID, SETTLE, now));
                now = now.after(SETTLE);
            }
            Some(Step::Wait(until, _)) => return until,
            None => panic!("a ladder that neither acts nor waits: {ladder:?}"),
        }
    }
}

/// Each state of a ladder of two rungs at second 100, by its name.
fn states() -> Vec<(&'static str, Ladder)> {
    let rungs = two();
    let ground = Ladder::new(&rungs);
    let mut acting = ground.clone();
    climb(&mut acting, &rungs, at(100));
    let mut settling = acting.clone();
    settling.ended(ID, SETTLE, at(100));
    let mut last = settling.clone();
    climb(&mut last, &rungs, at(110));
    last.ended(ID, SETTLE, at(110));
    let mut waiting = last.clone();
    climb(&mut waiting, &rungs, at(120));
    alloc::vec![
        ("ground", ground),
        ("acting", acting),
        ("settling", settling),
        ("settling after the last", last),
        ("waiting", waiting),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Happens {
    /// A failed reading, asked for and taken at this second.
    Failed(u64),
    /// One that was asked for before the settling time was over, and taken after it.
    Old,
    Recovered,
    Ended,
    EndedForeign,
    Redefined,
}

fn happen(ladder: &mut Ladder, event: Happens) -> &'static str {
    let rungs = two();
    let before = ladder.clone();
    match event {
        Happens::Failed(secs) => drop(climb(ladder, &rungs, at(secs))),
        Happens::Old => drop(ladder.climb_on(&rungs, at(105), at(500))),
        Happens::Recovered => ladder.recovered(at(130)),
        Happens::Ended => drop(ladder.ended(ID, SETTLE, at(101))),
        Happens::EndedForeign => assert!(!ladder.ended(ActionId(8), SETTLE, at(101))),
        Happens::Redefined => *ladder = ladder.redefined(&rungs, &rungs),
    }
    match *ladder.climb() {
        _ if *ladder.climb() == before.climb => "stays",
        Climb::Ground => "ground",
        Climb::Acting { rung: 0, .. } => "first",
        Climb::Acting { .. } => "second",
        Climb::Settling { .. } => "settling",
        Climb::Waiting { .. } => "waiting",
    }
}

#[test]
fn every_state_answers_every_event() {
    use Happens::{Ended, EndedForeign, Failed, Old, Recovered, Redefined};
    // Settling ends at 110 and at 120, waiting at 125.
    let events =
        [Failed(105), Failed(115), Failed(500), Old, Recovered, Ended, EndedForeign, Redefined];
    let table = [
        ("ground", ["first", "first", "first", "stays", "stays", "stays", "stays", "stays"]),
        ("acting", ["stays", "stays", "stays", "stays", "stays", "settling", "stays", "stays"]),
        ("settling", ["stays", "second", "second", "stays", "ground", "stays", "stays", "stays"]),
        (
            "settling after the last",
            ["stays", "stays", "waiting", "stays", "ground", "stays", "stays", "stays"],
        ),
        ("waiting", ["stays", "stays", "first", "stays", "ground", "stays", "stays", "stays"]),
    ];
    for ((name, ladder), (row, expected)) in states().into_iter().zip(table) {
        assert_eq!(name, row);
        for (event, expected) in events.into_iter().zip(expected) {
            assert_eq!(happen(&mut ladder.clone(), event), expected, "{name}, {event:?}");
        }
    }
}

#[test]
fn deadlines_follow_the_state() {
    let tells = |ladder: &Ladder| (ladder.reading_due(), ladder.acting_deadline());
    let expected = [
        (None, None),
        (None, Some(at(100).after(EFFECT.deadline).after(OUTCOME_GRACE))),
        (Some(at(110)), None),
        (Some(at(120)), None),
        (Some(at(120).after(BACKOFF_FIRST)), None),
    ];
    for ((name, ladder), expected) in states().iter().zip(expected) {
        assert_eq!(tells(ladder), expected, "{name}");
        let overdue = ladder.acting_deadline().and_then(|deadline| ladder.overdue(deadline));
        assert_eq!(overdue.is_some(), *name == "acting");
        assert_eq!(ladder.acting(ID).is_some(), *name == "acting");
        assert_eq!(ladder.acting(ActionId(8)), None);
    }
}

#[test]
fn l1_a_reading_from_before_the_end_of_settling_starts_nothing() {
    for (name, mut ladder) in states().into_iter().filter(|(name, _)| name.starts_with("settling"))
    {
        let until = ladder.reading_due().unwrap();
        let just_before = until.before(Span::from_nanos(1));
        assert_eq!(ladder.climb_on(&two(), just_before, at(10_000)), None, "{name}");
        assert!(ladder.climb_on(&two(), until, until).is_some(), "{name}");
    }
}

#[test]
fn l2_no_stretch_of_a_budgets_length_has_more_starts_than_it_allows() {
    let budget = Budget { times: 3, within: Span::from_secs(600) };
    let rungs = rungs(&[("restart", budget)]);
    let mut ladder = Ladder::new(&rungs);
    let mut starts: Vec<Mono> = Vec::new();
    for secs in 0..10_000 {
        if let Some(Step::Start(_)) = climb(&mut ladder, &rungs, at(secs)) {
            starts.push(at(secs));
            ladder.ended(ID, Span::ZERO, at(secs));
        }
        // A check that recovers each time has the shortest way back to its first rung.
        if secs % 2 == 0 {
            ladder.recovered(at(secs));
        }
        assert!(ladder.uses()[0].len() <= 3);
    }
    assert!(starts.len() >= 45, "three in ten minutes are used: {}", starts.len());
    for window in starts.windows(4) {
        assert!(window[3].since(window[0]) >= budget.within, "{window:?}");
    }
}

#[test]
fn l2_budgets_outlive_restarts_boots_and_damaged_files() {
    let budget = Budget { times: 2, within: Span::from_secs(3600) };
    let rungs = rungs(&[("reboot", budget)]);
    let remembered = |moments: &[i64], now: u64| {
        let mut ladder = Ladder::new(&rungs);
        let uses = moments.iter().map(|secs| Mono::from_nanos(secs * 1_000_000_000)).collect();
        ladder.remember(alloc::vec![uses, VecDeque::new()], at(now));
        ladder.climb_on(&rungs, at(now), at(now))
    };
    assert_eq!(remembered(&[-100, -50], 10), Some(Step::Wait(at(3500), Wait::Budget)));
    assert_eq!(remembered(&[-50, -100], 10), Some(Step::Wait(at(3500), Wait::Budget)), "unsorted");
    assert_eq!(remembered(&[-4000, -50], 10), Some(Step::Start(0)));
    // A clock that was ahead: as if they had happened now, never longer than the window.
    let ahead = remembered(&[1_000_000_000, 999], 10);
    assert_eq!(ahead, Some(Step::Wait(at(3610), Wait::Budget)));
    let mut ladder = Ladder::new(&rungs);
    ladder.remember(alloc::vec![(0..100_000).map(Mono::from_nanos).collect()], at(10));
    assert_eq!(ladder.uses()[0].len(), BUDGET_TIMES_MAX as usize);
    assert_eq!(ladder.uses()[0].back(), Some(&Mono::from_nanos(99_999)), "the newest are kept");
}

#[test]
fn l2_budgets_follow_the_text_of_a_rung_through_a_new_definition() {
    let budget = Budget { times: 1, within: Span::from_secs(3600) };
    let old = rungs(&[("restart", budget), ("reboot", budget), ("restart", PLENTY)]);
    let mut ladder = Ladder::new(&old);
    ladder.started(0, budget, ID, at(100), at(1));
    ladder.started(1, budget, ID, at(100), at(2));
    ladder.started(2, budget, ID, at(100), at(3));
    let new = rungs(&[("run /x", budget), ("reboot", budget), ("restart", budget)]);
    let uses = |ladder: &Ladder, now: &[Rung]| -> Vec<Vec<Mono>> {
        let ladder = ladder.redefined(&old, now);
        ladder.uses().iter().map(|uses| uses.iter().copied().collect()).collect()
    };
    let expected = alloc::vec![alloc::vec![], alloc::vec![at(2)], alloc::vec![at(1)]];
    assert_eq!(uses(&ladder, &new), expected);
    let twins = rungs(&[("restart", budget), ("restart", budget)]);
    assert_eq!(uses(&ladder, &twins), [[at(1)], [at(3)]]);
}

#[test]
fn l3_nothing_starts_while_a_rung_is_under_way() {
    let (_, acting) = states().swap_remove(1);
    let other = rungs(&[("run /x", PLENTY)]);
    let none: [Rung; 0] = [];
    let mut ladders = [
        (acting.clone(), two()),
        (acting.redefined(&two(), &other), other),
        (acting.redefined(&two(), &none), none.to_vec()),
    ];
    for (ladder, rungs) in &mut ladders {
        for secs in 100..10_000 {
            assert_eq!(ladder.climb_on(rungs, at(secs), at(secs)), None);
        }
        ladder.recovered(at(200));
        assert_eq!(ladder.climb_on(rungs, at(300), at(300)), None, "not even after a recovery");
        assert!(ladder.ended(ID, Span::ZERO, at(300)), "its outcome still finds it");
        assert!(!ladder.ended(ID, Span::ZERO, at(300)), "once");
    }
}

#[test]
fn l4_a_ladder_never_gives_up() {
    let slow = Budget { times: 1, within: Span::from_secs(7200) };
    for rungs in [two(), rungs(&[("a", slow)]), rungs(&[("a", slow), ("b", PLENTY)])] {
        let mut ladder = Ladder::new(&rungs);
        let mut now = at(0);
        for _ in 0..300 {
            let free = (0..rungs.len()).map(|rung| ladder.free_at(rung, rungs[rung].budget, now));
            let allowed = free.min().unwrap().max(now);
            let until = round(&mut ladder, &rungs, now);
            assert!(until > now && until < Mono::FAR);
            let free = (0..rungs.len()).map(|rung| ladder.free_at(rung, rungs[rung].budget, now));
            let allowed = free.min().unwrap().max(allowed).max(now.after(SETTLE.times(2)));
            assert!(until <= allowed.after(BACKOFF_MAX), "{until:?} {allowed:?}");
            now = until;
            assert!(matches!(ladder.clone().climb_on(&rungs, now, now), Some(Step::Start(_))));
        }
    }
}

#[test]
fn l5_each_round_without_success_waits_longer_up_to_the_longest() {
    let mut ladder = Ladder::new(&two());
    let mut now = at(0);
    for round_number in 1..200_u32 {
        let until = round(&mut ladder, &two(), now);
        let wait = until.since(now.after(SETTLE.times(2)));
        let expected = BACKOFF_FIRST.times(1 << (round_number - 1).min(20)).min(BACKOFF_MAX);
        assert_eq!(wait, expected, "round {round_number}");
        assert_eq!(ladder.rounds(), round_number);
        now = until;
    }
    // An end that comes with a recovery of a moment does not start the story again ...
    ladder.recovered(now);
    let until = round(&mut ladder, &two(), now.after(HEALTHY_RESET).before(Span::from_nanos(1)));
    assert_eq!(ladder.rounds(), 200);
    // ... nor does a new definition, during a wait or later; lasting health does.
    ladder = ladder.redefined(&two(), &rungs(&[("restart", PLENTY)]));
    assert_eq!(ladder.reading_due(), Some(until));
    assert_eq!(ladder.rounds(), 200);
    ladder.recovered(until);
    round(&mut ladder, &rungs(&[("restart", PLENTY)]), until.after(HEALTHY_RESET));
    assert_eq!(ladder.rounds(), 1);
}

#[test]
fn a_new_definition_leaves_a_rung_the_time_to_help() {
    let (_, settling) = states().swap_remove(2);
    let more = rungs(&[("run /x", PLENTY), ("restart", PLENTY), ("reboot", PLENTY)]);
    let mut ladder = settling.redefined(&two(), &more);
    assert_eq!(ladder.climb_on(&more, at(109), at(109)), None);
    assert_eq!(ladder.climb_on(&more, at(110), at(110)), Some(Step::Start(2)), "the one after it");
    let gone = rungs(&[("run /x", PLENTY)]);
    let mut ladder = settling.redefined(&two(), &gone);
    assert_eq!(ladder.climb_on(&gone, at(109), at(109)), None);
    let step = ladder.climb_on(&gone, at(110), at(110));
    assert_eq!(step, Some(Step::Wait(at(115), Wait::Backoff)), "a round is over");
}

#[test]
fn a_new_definition_ends_a_wait_for_budgets() {
    let slow = Budget { times: 1, within: Span::from_secs(7200) };
    let old = rungs(&[("a", slow)]);
    let mut ladder = Ladder::new(&old);
    round(&mut ladder, &old, at(0));
    assert!(matches!(ladder.climb(), Climb::Waiting { why: Wait::Budget, .. }));
    let new = rungs(&[("a", slow), ("b", slow)]);
    assert_eq!(climb(&mut ladder.redefined(&old, &new), &new, at(20)), Some(Step::Start(1)));
}

#[test]
fn a_ladder_without_rungs_asks_for_nothing() {
    let mut ladder = Ladder::new(&[]);
    assert_eq!(ladder.climb_on(&[], at(1), at(1)), None);
    assert_eq!(ladder.climb(), &Climb::Ground);
    for (name, ladder) in states() {
        let mut ladder = ladder.redefined(&two(), &[]);
        ladder.ended(ID, Span::ZERO, at(200));
        assert_eq!(ladder.climb_on(&[], at(300), at(300)), None, "{name}");
        assert_eq!(ladder.climb(), &Climb::Ground, "{name}");
    }
}
