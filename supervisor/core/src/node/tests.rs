use super::*;
use crate::condition::Condition;
use crate::event::{Alert, AlertKind};
use crate::reading::{Quantity, Readings, Unit};
use crate::spec::{Arguments, Budget, Disruption, EffectSpec, Origin, Rung};
use alloc::string::ToString;

mod groups;

pub(crate) const QUANTITIES: &[Quantity] = &[
    Quantity { name: "fault", unit: Unit::Flag, meaning: "" },
    Quantity { name: "worn", unit: Unit::Flag, meaning: "" },
    Quantity { name: "restarts", unit: Unit::Total, meaning: "" },
];
pub(crate) const POLICY: Policy =
    Policy { interval: Span::from_secs(1), remind: Span::from_secs(4 * 3600) };
static EFFECT: EffectSpec = EffectSpec {
    name: "restart",
    summary: "",
    disruption: Disruption::Service,
    arguments: Arguments::Unit,
    deadline: Span::from_secs(30),
    settle: Span::from_secs(10),
    budget: Budget { times: 3, within: Span::from_secs(600) },
};

pub(crate) fn at(secs: u64) -> Mono {
    Mono::BOOT.after(Span::from_secs(secs))
}

/// A check read every 10 s that believes at once.
pub(crate) fn spec(name: &str) -> CheckSpec {
    let conditions = |text| alloc::vec![Condition::parse(text, QUANTITIES).unwrap()];
    CheckSpec {
        name: name.into(),
        sensor: "test".into(),
        target: "".into(),
        options: Vec::new(),
        quantities: QUANTITIES,
        interval: Span::from_secs(10),
        timeout: Span::from_secs(3),
        warn_when: conditions("worn"),
        fail_when: conditions("fault"),
        fail_after: Span::ZERO,
        recover_after: Span::ZERO,
        on_fail: Vec::new(),
        origin: Origin::Configured,
        group: None,
        prefer_peer: false,
    }
}

pub(crate) fn with_ladder(mut spec: CheckSpec, rungs: &[(&str, u32, u64)]) -> CheckSpec {
    let rung = |(text, times, secs): &(&str, u32, u64)| Rung {
        text: (*text).into(),
        effect: &EFFECT,
        arguments: Vec::new(),
        budget: Budget { times: *times, within: Span::from_secs(*secs) },
        deadline: EFFECT.deadline,
    };
    spec.on_fail = rungs.iter().map(rung).collect();
    spec
}

/// What a sensor of the bench answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Good,
    Worn,
    Fault,
    Error,
    Nothing,
}

/// A node on a virtual clock. All sensors say the same, effects end when the test says so.
pub(crate) struct Bench {
    pub(crate) node: Node,
    pub(crate) now: Mono,
    pub(crate) says: Says,
    /// All that was asked for, and when.
    pub(crate) log: Vec<(Mono, Action)>,
}

impl Bench {
    pub(crate) fn new(specs: Vec<CheckSpec>) -> Self {
        let node = Node::new(POLICY);
        let mut bench = Self { node, now: at(1000), says: Says::Good, log: Vec::new() };
        bench.configure(specs);
        bench
    }

    pub(crate) fn configure(&mut self, specs: Vec<CheckSpec>) -> Vec<CheckId> {
        self.act(|node, now, actions| node.configure(POLICY, specs, now, actions))
    }

    pub(crate) fn act<T>(&mut self, act: impl FnOnce(&mut Node, Mono, &mut Actions) -> T) -> T {
        let mut actions = Actions::new();
        let result = act(&mut self.node, self.now, &mut actions);
        self.log.extend(actions.into_iter().map(|action| (self.now, action)));
        result
    }

    /// One turn: what is due, and the answers of the sensors.
    pub(crate) fn turn(&mut self) {
        let from = self.log.len();
        self.act(|node, now, actions| node.tick(now, actions));
        assert!(self.node.next_deadline() > self.now, "busy at {:?}", self.now);
        let asked = self.log[from..].to_vec();
        for (_, action) in asked {
            if let (Action::Read { check }, false) = (&action, self.says == Says::Nothing) {
                self.answer(*check);
            }
        }
    }

    pub(crate) fn answer(&mut self, check: CheckId) {
        let mut readings = Readings::new(QUANTITIES);
        readings.flag("fault", self.says == Says::Fault);
        readings.flag("worn", self.says == Says::Worn);
        let result = if self.says == Says::Error { Err("it broke".into()) } else { Ok(readings) };
        self.handle(Event::Reading { check, result });
    }

    pub(crate) fn handle(&mut self, event: Event) {
        self.act(|node, now, actions| node.handle(event, now, actions));
    }

    /// Turns at every deadline up to this second.
    pub(crate) fn run_to(&mut self, secs: u64) {
        while self.node.next_deadline() <= at(secs) {
            self.now = self.now.max(self.node.next_deadline());
            self.turn();
        }
        self.now = at(secs);
        self.turn();
    }

    pub(crate) fn say(&mut self, says: Says, until: u64) {
        self.says = says;
        self.run_to(until);
    }

    pub(crate) fn end(&mut self, id: u64) {
        self.handle(Event::Outcome { id: ActionId(id), outcome: Outcome::Done });
        self.turn();
    }

    /// When each reading was asked for, in milliseconds.
    pub(crate) fn reads(&self) -> Vec<i64> {
        let read = |(at, action): &(Mono, Action)| {
            matches!(action, Action::Read { .. }).then(|| at.as_nanos() / 1_000_000)
        };
        self.log.iter().filter_map(read).collect()
    }

    /// The rungs that were started: second, attempt.
    pub(crate) fn starts(&self) -> Vec<(i64, u64)> {
        let start = |(at, action): &(Mono, Action)| match action {
            Action::Start { id, .. } => Some((at.as_nanos() / 1_000_000_000, id.0)),
            _ => None,
        };
        self.log.iter().filter_map(start).collect()
    }

    pub(crate) fn alerts(&self) -> Vec<(i64, AlertKind, Verdict)> {
        let alert = |(at, action): &(Mono, Action)| match action {
            Action::Alert(Alert { kind, verdict, .. }) => {
                Some((at.as_nanos() / 1_000_000_000, *kind, *verdict))
            }
            _ => None,
        };
        self.log.iter().filter_map(alert).collect()
    }

    pub(crate) fn pause(&mut self, check: Option<&str>, until: u64) {
        let check = check.map(Into::into);
        let pause = Pause { check, until: at(until), why: "".into(), who: "".into() };
        self.act(|node, now, actions| node.pause(pause, now, actions)).unwrap();
        self.turn();
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.node.verdict(self.now)
    }

    /// Stops and starts again `down` later, on a clock that is `behind` the old one by so much.
    pub(crate) fn restart(&mut self, specs: Vec<CheckSpec>, down: u64, behind: u64) {
        let mut memory = self.node.memory();
        memory.shift(i64::try_from(behind * 1_000_000_000).unwrap());
        self.now = self.now.after(Span::from_secs(down)).before(Span::from_secs(behind));
        self.node = Node::new(POLICY);
        self.node.remember(memory, self.now);
        self.configure(specs);
    }
}

impl Node {
    /// Where the ladder of a check stands.
    pub(crate) fn climb_of(&self, name: &str) -> &crate::recovery::Climb {
        self.find(name).unwrap().ladder.climb()
    }
}

#[test]
fn outcomes_that_are_late_twice_or_foreign_change_nothing() {
    let mut bench = Bench::new(alloc::vec![with_ladder(spec("a"), &[("restart", 3, 600)])]);
    bench.say(Says::Fault, 1000);
    assert_eq!(bench.starts(), [(1000, 0)]);
    for id in [1, 99] {
        bench.end(id);
        assert!(matches!(
            bench.node.checks[0].ladder.climb(),
            crate::recovery::Climb::Acting { .. }
        ));
    }
    // Nobody answers: it is given up after its deadline and the grace, and told as unknown.
    bench.run_to(1035);
    let ends = |bench: &Bench| {
        let is_end = |(_, action): &&(Mono, Action)| {
            matches!(action, Action::Report(Report::RungEnds { .. }))
        };
        bench.log.iter().filter(is_end).count()
    };
    assert_eq!(ends(&bench), 1);
    bench.end(0);
    bench.end(0);
    assert_eq!(ends(&bench), 1);
    // Settling from 1035 on: a round of one rung, so the next is after the back-off.
    bench.run_to(1060);
    assert_eq!(bench.starts(), [(1000, 0), (1050, 1)]);
}

#[test]
fn a_rung_has_the_time_that_the_configuration_gives_it() {
    let mut slow = with_ladder(spec("a"), &[("switchover", 3, 600)]);
    slow.on_fail[0].deadline = Span::from_secs(300);
    let mut bench = Bench::new(alloc::vec![slow]);
    bench.say(Says::Fault, 1000);
    let acts =
        |bench: &Bench| matches!(bench.node.climb_of("a"), crate::recovery::Climb::Acting { .. });
    bench.run_to(1299);
    assert!(acts(&bench), "its effect alone has {}", EFFECT.deadline);
    bench.run_to(1310);
    assert!(!acts(&bench));
}

#[test]
fn a_reload_of_the_same_thing_goes_on_and_of_another_starts_anew() {
    let mut bench = Bench::new(alloc::vec![spec("a"), spec("b")]);
    bench.say(Says::Fault, 1005);
    let ids: Vec<CheckId> = bench.node.checks.iter().map(|check| check.id).collect();
    let mut changed = spec("a");
    changed.interval = Span::from_secs(60);
    changed.fail_when = alloc::vec![Condition::parse("worn", QUANTITIES).unwrap()];
    changed.warn_when.clear();
    let mut other = spec("b");
    other.target = "elsewhere".into();
    bench.log.clear();
    let now_ids = bench.configure(alloc::vec![other, changed]);
    assert_eq!(now_ids[1], ids[0], "ids come in the order of the definitions");
    assert!(!ids.contains(&now_ids[0]));
    assert_eq!(bench.node.view("a", bench.now).unwrap().verdict, Verdict::Failed);
    assert_eq!(bench.node.view("b", bench.now).unwrap().verdict, Verdict::Unknown);
    // Both are read at once; by its new conditions "a" is healthy.
    bench.run_to(1006);
    assert_eq!(bench.reads(), [1_005_000, 1_005_000]);
    assert_eq!(bench.node.view("a", bench.now).unwrap().verdict, Verdict::Healthy);
    assert_eq!(bench.node.view("b", bench.now).unwrap().verdict, Verdict::Failed);
    // A late reading of the check that is gone.
    bench.says = Says::Good;
    let logged = bench.log.len();
    bench.answer(ids[1]);
    bench.handle(Event::Nudge { check: ids[1] });
    assert_eq!(bench.log.len(), logged);
    assert_eq!(bench.node.spec(ids[1]), None);
    assert_eq!(bench.node.spec(ids[0]).map(|spec| &*spec.name), Some("a"));
}

#[test]
fn a_condition_that_stays_keeps_its_window_when_another_changes() {
    let conditions = |texts: &[&str]| -> Vec<Condition> {
        texts.iter().map(|text| Condition::parse(text, QUANTITIES).unwrap()).collect()
    };
    let mut first = spec("a");
    first.fail_when = conditions(&["fault", "restarts > 3 in 10m"]);
    let mut second = spec("a");
    second.fail_when = conditions(&["restarts > 3 in 10m", "worn"]);
    let mut bench = Bench::new(alloc::vec![first]);
    bench.says = Says::Nothing;
    let count = |bench: &mut Bench, secs: u64, total: u64| {
        bench.run_to(secs);
        let mut readings = Readings::new(QUANTITIES);
        readings.count("restarts", total);
        readings.flag("fault", false);
        readings.flag("worn", false);
        bench.handle(Event::Reading { check: CheckId(0), result: Ok(readings) });
        bench.verdict()
    };
    assert_eq!(count(&mut bench, 1000, 10), Verdict::Healthy);
    assert_eq!(count(&mut bench, 1010, 13), Verdict::Healthy);
    bench.configure(alloc::vec![second]);
    assert_eq!(count(&mut bench, 1012, 14), Verdict::Failed, "10 to 14, across the reload");
}

#[test]
fn l2_l3_a_changed_ladder_waits_for_the_rung_under_way_and_keeps_its_budget() {
    let ladder = |rungs: &[(&str, u32, u64)]| alloc::vec![with_ladder(spec("a"), rungs)];
    let mut bench = Bench::new(ladder(&[("restart", 1, 600)]));
    bench.say(Says::Fault, 1000);
    bench.configure(ladder(&[("run /x", 1, 600), ("restart", 1, 600)]));
    bench.run_to(1020);
    assert_eq!(bench.starts(), [(1000, 0)], "L3");
    bench.end(0);
    bench.run_to(1029);
    assert_eq!(bench.starts(), [(1000, 0)], "time to settle");
    bench.run_to(1100);
    // A round is over with the last rung; then the new one; the budget of the old one is spent: L2.
    assert_eq!(bench.starts(), [(1000, 0), (1035, 1)]);
    bench.end(1);
    bench.run_to(1599);
    assert_eq!(bench.starts().len(), 2);
    bench.run_to(1610);
    assert_eq!(bench.starts().last(), Some(&(1600, 2)));
}

#[test]
fn l2_budgets_of_checks_that_come_and_go_are_remembered() {
    let one = || with_ladder(spec("a"), &[("restart", 1, 3600)]);
    let mut bench = Bench::new(alloc::vec![one()]);
    bench.say(Says::Fault, 1000);
    assert_eq!(bench.starts().len(), 1);
    // It goes, and comes back.
    bench.configure(Vec::new());
    bench.run_to(1100);
    assert_eq!(bench.node.memory().checks.len(), 1);
    bench.configure(alloc::vec![one()]);
    bench.run_to(1200);
    assert_eq!(bench.starts().len(), 1, "came back");
    // Under its name comes what reads another target.
    let mut other = one();
    other.target = "elsewhere".into();
    bench.configure(alloc::vec![other]);
    bench.run_to(1300);
    assert_eq!(bench.starts().len(), 1, "other target");
    // The daemon restarts with another rung before it, and the machine boots: a clock that begins
    // again.
    let longer = with_ladder(spec("a"), &[("run /x", 1, 3600), ("restart", 1, 3600)]);
    bench.restart(alloc::vec![longer], 10, 1290);
    bench.run_to(1000);
    assert_eq!(bench.starts().len(), 2, "only the new rung");
    // The use was at 1000 of the old clock, which is -290 of the new one.
    bench.run_to(3309);
    assert_eq!(bench.starts().len(), 2);
    bench.run_to(3311);
    assert_eq!(bench.starts().len(), 3);
    assert_eq!(bench.node.memory().checks.len(), 1, "one record for each name");
}

#[test]
fn l2_a_rung_that_one_reload_takes_out_and_the_next_brings_back_keeps_its_budget() {
    let ladder = |rungs: &[(&str, u32, u64)]| alloc::vec![with_ladder(spec("a"), rungs)];
    let mut bench = Bench::new(ladder(&[("reboot", 1, 3600)]));
    bench.say(Says::Fault, 1000);
    bench.end(0);
    bench.configure(ladder(&[]));
    bench.run_to(1100);
    bench.restart(ladder(&[]), 1, 0);
    bench.configure(ladder(&[("reboot", 1, 3600)]));
    bench.run_to(4599);
    assert_eq!(bench.starts().len(), 1);
    bench.run_to(4700);
    assert_eq!(bench.starts().len(), 2);
    for index in 0..100_u32 {
        bench.configure(ladder(&[(&index.to_string(), 1, 3600)]));
        bench.say(Says::Good, 4700 + u64::from(index) * 100 + 50);
        bench.say(Says::Fault, 4700 + u64::from(index) * 100 + 100);
    }
    assert!(bench.starts().len() > 50);
    assert_eq!(bench.node.memory().checks[0].rungs.len(), crate::check::RETIRED_MAX + 1);
}

#[test]
fn what_is_remembered_is_bounded_and_never_at_the_cost_of_checks_that_are_there() {
    let many = |prefix: &str, count: usize| -> Vec<CheckSpec> {
        let name = |index: usize| prefix.to_string() + &index.to_string();
        (0..count).map(|i| with_ladder(spec(&name(i)), &[("restart", 1, 3600)])).collect()
    };
    let mut bench = Bench::new(many("old", 300));
    bench.say(Says::Fault, 1000);
    bench.configure(many("new", 400));
    bench.run_to(1010);
    assert_eq!(bench.starts().len(), 700);
    assert_eq!(bench.node.remembered.len(), REMEMBERED_MAX);
    assert_eq!(bench.node.memory().checks.len(), 400 + REMEMBERED_MAX);
    bench.restart(many("new", 400), 1, 0);
    bench.run_to(1100);
    assert_eq!(bench.starts().len(), 700, "no budget was lost");
    assert_eq!(bench.node.remembered.len(), REMEMBERED_MAX);
}

#[test]
fn a_pause_stops_rungs_and_alerts_and_what_is_still_wrong_is_told_after_it() {
    let specs = || {
        let mut slow = with_ladder(spec("slow"), &[("restart", 3, 600)]);
        slow.interval = Span::from_secs(3600);
        alloc::vec![slow, spec("other")]
    };
    for scope in [None, Some("slow")] {
        let mut bench = Bench::new(specs());
        bench.run_to(1000);
        bench.pause(scope, 2000);
        bench.says = Says::Fault;
        bench.handle(Event::Nudge { check: CheckId(0) });
        bench.run_to(1999);
        assert_eq!(bench.node.view("slow", bench.now).unwrap().verdict, Verdict::Failed);
        assert_eq!(bench.starts(), []);
        assert_eq!(bench.alerts().len(), usize::from(scope.is_some()), "the other one");
        assert_eq!(bench.verdict() == Verdict::Failed, scope.is_some());
        bench.log.clear();
        // Its end: told at once, and a reading for the ladder, which would else come at 3600.
        bench.run_to(2000);
        assert!(bench.alerts().contains(&(2000, AlertKind::Problem, Verdict::Failed)));
        assert_eq!(bench.starts(), [(2000, 0)]);
        // The same when an operator ends it.
        bench.end(0);
        bench.pause(scope, 4000);
        bench.run_to(2100);
        bench.log.clear();
        bench.act(|node, _, actions| node.resume(scope, actions)).unwrap();
        assert!(bench.node.next_deadline() <= bench.now);
        bench.turn();
        assert!(bench.reads().contains(&2_100_000), "at once");
        bench.run_to(2105);
        assert_eq!(
            bench.starts(),
            [(2105, 1)],
            "the round was over, the back-off is not forgotten"
        );
    }
}

#[test]
fn a_reading_that_comes_as_a_pause_ends_starts_no_rung_before_the_end_is_told() {
    let mut bench = Bench::new(alloc::vec![with_ladder(spec("a"), &[("restart", 3, 600)])]);
    bench.pause(None, 1015);
    bench.say(Says::Nothing, 1014);
    bench.log.clear();
    // The shell woke up late: the pause is over, and the reading is handled before the tick.
    bench.now = at(1016);
    bench.says = Says::Fault;
    bench.answer(CheckId(0));
    let place = |is_so: fn(&Action) -> bool| bench.log.iter().position(|(_, it)| is_so(it));
    let ends = place(|it| matches!(it, Action::Report(Report::PauseEnds { expired: true, .. })));
    let starts = place(|it| matches!(it, Action::Start { .. }));
    assert!(ends.is_some() && starts.is_some() && ends < starts, "{:?}", bench.log);
    let ended = bench.log.len();
    bench.turn();
    let again = |(_, it): &(Mono, Action)| matches!(it, Action::Report(Report::PauseEnds { .. }));
    assert!(!bench.log[ended..].iter().any(again), "told once");
}

#[test]
fn what_heals_in_a_pause_is_never_told_and_what_was_told_before_is_told_healed() {
    let mut bench = Bench::new(alloc::vec![spec("a")]);
    bench.run_to(1000);
    bench.pause(None, 2000);
    bench.say(Says::Fault, 1500);
    bench.say(Says::Good, 2500);
    assert_eq!(bench.alerts(), []);
    bench.say(Says::Fault, 2600);
    bench.pause(None, 3000);
    bench.say(Says::Good, 3100);
    let healthy = (3000, AlertKind::Recovery, Verdict::Healthy);
    assert_eq!(bench.alerts(), [(2510, AlertKind::Problem, Verdict::Failed), healthy]);
}

#[test]
fn a_pause_and_an_open_alert_survive_a_boot_whose_clock_begins_again() {
    let mut bench = Bench::new(alloc::vec![spec("a")]);
    bench.say(Says::Fault, 1100);
    bench.pause(Some("a"), 2000);
    bench.run_to(1200);
    // 60 s down; 1260 of the old clock is 20 of the new one.
    bench.restart(alloc::vec![spec("a")], 60, 1240);
    assert_eq!(bench.node.pauses(bench.now).len(), 1);
    bench.say(Says::Good, 759);
    assert_eq!(bench.alerts().len(), 1);
    bench.run_to(760);
    assert_eq!(bench.alerts()[1..], [(760, AlertKind::Recovery, Verdict::Healthy)]);
    assert_eq!(bench.node.memory(), Memory::default(), "nothing is open any more");
}

#[test]
fn a_wall_clock_that_was_wrong_makes_no_pause_endless_and_frees_no_budget() {
    let one = || alloc::vec![with_ladder(spec("a"), &[("restart", 1, 3600)])];
    let mut bench = Bench::new(one());
    bench.say(Says::Fault, 1000);
    bench.pause(Some("a"), 1500);
    // Thirty years back: all that was lies in the future now.
    let mut memory = bench.node.memory();
    memory.shift(-30 * 365 * 86_400 * 1_000_000_000);
    let mut node = Node::new(POLICY);
    node.remember(memory.clone(), at(10));
    assert!(node.next_deadline() <= at(10).after(crate::maintenance::PAUSE_MAX));
    let mut actions = Actions::new();
    node.configure(POLICY, one(), at(10), &mut actions);
    assert_eq!(node.checks[0].ladder.uses()[0], [at(10)], "as if used now");
    // The furthest that can be said, either way: saturates.
    memory.shift(i64::MIN);
    memory.shift(i64::MAX);
    memory.shift(i64::MAX);
    node.remember(memory, at(10));
}

#[test]
fn the_first_round_is_over_when_each_check_was_read_or_is_late() {
    let mut bench = Bench::new(Vec::new());
    assert!(bench.node.first_round_is_over(bench.now), "nothing to wait for");
    let ids = bench.configure(alloc::vec![spec("a"), spec("b")]);
    assert!(!bench.node.first_round_is_over(bench.now));
    bench.says = Says::Nothing;
    bench.turn();
    assert!(!bench.node.first_round_is_over(bench.now));
    bench.says = Says::Error;
    bench.answer(ids[0]);
    assert!(!bench.node.first_round_is_over(bench.now), "\"b\" is awaited");
    let late = at(1000).after(Span::from_secs(3)).after(crate::check::LATE_GRACE);
    assert!(!bench.node.first_round_is_over(late.before(Span::from_nanos(1))));
    assert!(bench.node.first_round_is_over(late));
    bench.says = Says::Nothing;
    bench.run_to(1013);
    assert!(bench.node.first_round_is_over(bench.now));
    assert_eq!(bench.node.counts(), [0, 0, 2, 0]);
}

static RESETS: EffectSpec = EffectSpec {
    name: "reset",
    summary: "",
    disruption: Disruption::Node,
    arguments: Arguments::None,
    deadline: Span::from_secs(30),
    settle: Span::from_secs(10),
    budget: Budget { times: 2, within: Span::from_secs(3600) },
};

/// A check whose second of three rungs disturbs the node.
fn with_reset() -> CheckSpec {
    let mut spec =
        with_ladder(spec("a"), &[("restart", 9, 600), ("reset", 2, 3600), ("run /x", 9, 600)]);
    spec.on_fail[1].effect = &RESETS;
    spec
}

fn passes(bench: &Bench) -> usize {
    let is_pass = |(_, action): &&(Mono, Action)| match action {
        Action::Report(report) => report.kind() == "rung-passed",
        _ => false,
    };
    bench.log.iter().filter(is_pass).count()
}

#[test]
fn l6_a_node_that_only_observes_goes_past_what_disturbs_it_and_spends_nothing() {
    let mut bench = Bench::new(alloc::vec![with_reset()]);
    bench.node.license(Licence::ObserveOnly);
    bench.say(Says::Fault, 1000);
    bench.end(0);
    bench.run_to(1011);
    assert_eq!((bench.starts(), passes(&bench)), (alloc::vec![(1000, 0), (1010, 1)], 1));
    let started: Vec<&Action> = bench.log.iter().map(|(_, action)| action).collect();
    let is_reset = |action: &&&Action| matches!(action, Action::Start { effect, .. } if effect.name == "reset");
    assert_eq!(started.iter().filter(is_reset).count(), 0);
    assert!(bench.node.checks[0].ladder.uses()[1].is_empty(), "nothing is spent");
    // It may act again: the next round has all three.
    bench.node.license(Licence::All);
    bench.end(1);
    bench.run_to(1030);
    bench.end(2);
    bench.run_to(1050);
    assert_eq!(bench.node.checks[0].ladder.uses()[1].len(), 1);
}

#[test]
fn l6_a_ladder_of_nothing_else_waits_like_any_other_while_the_node_only_observes() {
    let mut spec = with_ladder(spec("a"), &[("reset", 2, 3600)]);
    spec.on_fail[0].effect = &RESETS;
    let mut bench = Bench::new(alloc::vec![spec]);
    bench.node.license(Licence::ObserveOnly);
    bench.say(Says::Fault, 1600);
    assert!((3..=8).contains(&passes(&bench)), "with a back-off (L5): {}", passes(&bench));
    assert!(bench.starts().is_empty());
    bench.node.license(Licence::All);
    bench.run_to(1900);
    assert_eq!(bench.starts().len(), 1, "L4");
}

#[test]
fn l6_nothing_starts_on_the_way_down_and_all_goes_on_if_nothing_came_of_it() {
    let mut bench = Bench::new(alloc::vec![with_reset()]);
    bench.node.license(Licence::Nothing);
    bench.say(Says::Fault, 1500);
    assert!(bench.starts().is_empty() && passes(&bench) == 0);
    bench.node.license(Licence::All);
    bench.run_to(1501);
    assert_eq!(bench.starts().len(), 1, "read at once, not at its interval");
}
