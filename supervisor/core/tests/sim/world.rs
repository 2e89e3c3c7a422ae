//! The world around one node: its sensors, effects, operator and power supply, all from one seed.

use mastiff_core::condition::Condition;
use mastiff_core::event::{Action, Actions, CheckId, Event};
use mastiff_core::health::Verdict;
use mastiff_core::maintenance::Pause;
use mastiff_core::node::{Memory, Node, Policy};
use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::recovery::{ActionId, Licence};
use mastiff_core::report::Outcome;
use mastiff_core::spec::{Arguments, Budget, CheckSpec, Disruption, EffectSpec, Origin, Rung};
use mastiff_core::time::{Mono, Span};

use crate::judge::Judge;

const QUANTITIES: &[Quantity] = &[
    Quantity { name: "fault", unit: Unit::Flag, meaning: "" },
    Quantity { name: "worn", unit: Unit::Flag, meaning: "" },
    Quantity { name: "total", unit: Unit::Total, meaning: "" },
];
pub const POLICY: Policy = Policy { interval: Span::from_secs(1), remind: Span::from_secs(90) };
static EFFECT: EffectSpec = EffectSpec {
    name: "restart",
    summary: "",
    disruption: Disruption::Service,
    arguments: Arguments::None,
    deadline: Span::from_secs(30),
    settle: Span::from_secs(10),
    budget: Budget { times: 3, within: Span::from_secs(600) },
};
static SWITCHOVER: EffectSpec =
    EffectSpec { name: "switchover", disruption: Disruption::Group, ..EFFECT };
static REBOOT: EffectSpec = EffectSpec { name: "reboot", disruption: Disruption::Node, ..EFFECT };
/// Each text has one budget for ever, so that the judge can count without knowing of reloads.
pub const RUNGS: [(&str, Budget); 4] = [
    ("restart", Budget { times: 3, within: Span::from_secs(600) }),
    ("run /x", Budget { times: 2, within: Span::from_secs(300) }),
    ("switchover", Budget { times: 3, within: Span::from_secs(600) }),
    ("reboot", Budget { times: 2, within: Span::from_secs(3600) }),
];
/// The group of some checks; sometimes it is active here.
const GROUP: &str = "g";
const NAMES: [&str; 4] = ["c0", "c1", "c2", "c3"];
/// Random things that happen before the world is healed.
const BLOWS: u32 = 16;
/// Within this time after healing all verdicts are healthy: an effect that hangs (35 s) and
/// settles, the longest interval, time-out and recover-after, and some seconds more.
const HEALED_AFTER: Span = Span::from_secs(35 + 10 + 60 + 11 + 60 + 10);
/// Within this time hooks were told so: a flapping check must become calm before.
const TOLD_AFTER: Span = Span::from_secs(35 * 60);

/// splitmix64 (Steele, Lea, Flood 2014): one addition and one mix a number, any seed will do.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        let index = self.below(list.len() as u64);
        list[usize::try_from(index).unwrap()]
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

/// What a sensor answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Good,
    Worn,
    Fault,
    /// No value of `fault`.
    Missing,
    Error,
    Nothing,
    /// Another thing each time.
    Lies,
}

/// How often each thing happened, so that a test that tests nothing is noticed.
#[derive(Debug, Default)]
pub struct Happened {
    pub readings: u64,
    pub starts: u64,
    pub alerts: u64,
    pub recoveries: u64,
    pub flapping: u64,
    pub reminders: u64,
    pub backoffs: u64,
    pub budget_waits: u64,
    reloads: u64,
    pauses: u64,
    restarts: u64,
    boots: u64,
    pub passes: u64,
    licences: u64,
    pub rests: u64,
    pub wakes: u64,
}

impl Happened {
    fn counts(&mut self) -> [&mut u64; 16] {
        [
            &mut self.readings,
            &mut self.starts,
            &mut self.alerts,
            &mut self.recoveries,
            &mut self.flapping,
            &mut self.reminders,
            &mut self.backoffs,
            &mut self.budget_waits,
            &mut self.reloads,
            &mut self.pauses,
            &mut self.restarts,
            &mut self.boots,
            &mut self.passes,
            &mut self.licences,
            &mut self.rests,
            &mut self.wakes,
        ]
    }

    pub fn add(&mut self, other: &Self) {
        let mut other = Self { ..*other };
        for (sum, more) in self.counts().into_iter().zip(other.counts()) {
            *sum += *more;
        }
    }

    pub fn assert_all(&mut self) {
        assert!(
            self.counts().iter().all(|count| **count > 0),
            "something never happened: {self:?}"
        );
    }
}

pub struct World {
    rng: Rng,
    node: Node,
    now: Mono,
    /// What was on the disk after the last `Save`.
    saved: Memory,
    specs: Vec<CheckSpec>,
    ids: Vec<CheckId>,
    /// What the sensor of each name says, and how many milliseconds its answer takes.
    says: [(Says, u64); NAMES.len()],
    totals: u64,
    /// What will reach the node, and when.
    pending: Vec<(Mono, Event)>,
    healed: bool,
    judge: Judge,
    happened: Happened,
}

impl World {
    /// One whole story.
    pub fn run(seed: u64) -> Happened {
        let mut world = Self {
            rng: Rng(seed),
            node: Node::new(POLICY),
            now: Mono::BOOT.after(Span::from_secs(100)),
            saved: Memory::default(),
            specs: Vec::new(),
            ids: Vec::new(),
            says: [(Says::Good, 1); NAMES.len()],
            totals: 0,
            pending: Vec::new(),
            healed: false,
            judge: Judge::default(),
            happened: Happened::default(),
        };
        world.reload(false);
        for _ in 0..BLOWS {
            let until = world.now.after(Span::from_millis(world.rng.below(40_000)));
            world.live_until(until);
            world.blow();
        }
        world.heal();
        world.happened
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Node, Mono, &mut Actions) -> T) -> T {
        let mut actions = Actions::new();
        let result = act(&mut self.node, self.now, &mut actions);
        self.take(actions);
        result
    }

    fn handle(&mut self, event: Event) {
        self.judge.event(&event);
        self.act(|node, now, actions| node.handle(event, now, actions));
    }

    fn live_until(&mut self, until: Mono) {
        loop {
            let first = self.pending.iter().map(|(at, _)| *at).min().unwrap_or(Mono::FAR);
            let next = first.min(self.node.next_deadline());
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            self.turn();
        }
        self.now = until;
        self.turn();
    }

    /// Events first, then one tick, as every shell does.
    fn turn(&mut self) {
        let now = self.now;
        let due: Vec<_> = self.pending.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, event) in due {
            self.handle(event);
        }
        self.act(|node, now, actions| node.tick(now, actions));
        let deadline = self.node.next_deadline();
        assert!(deadline > now, "a busy loop: {deadline:?} at {now:?}: {:?}", self.node);
        self.judge.after_turn(now, &self.node, &self.specs);
    }

    fn take(&mut self, actions: Actions) {
        let mut save = false;
        for action in actions {
            self.judge.action(&action, self.now, &self.node, &mut self.happened);
            match action {
                Action::Read { check } => self.sense(check),
                Action::Start { id, .. } => self.perform(id),
                Action::Save => save = true,
                Action::Report(_) | Action::Alert(_) => {}
            }
        }
        if save {
            self.saved = self.node.memory();
            self.judge.saved(&self.saved);
        }
    }

    fn sense(&mut self, check: CheckId) {
        self.happened.readings += 1;
        let spec = self.node.spec(check).expect("a reading of a check that there is");
        let index = NAMES.iter().position(|name| *name == &*spec.name).unwrap();
        let (mut says, millis) = self.says[index];
        while says == Says::Lies {
            let all = [Says::Good, Says::Worn, Says::Fault, Says::Missing, Says::Error];
            says = self.rng.of(&all);
        }
        let mut readings = Readings::new(QUANTITIES);
        if says != Says::Missing {
            readings.flag("fault", says == Says::Fault);
        }
        readings.flag("worn", says == Says::Worn);
        if !self.healed {
            self.totals += self.rng.below(3);
        }
        readings.count("total", self.totals);
        let result = if says == Says::Error { Err("it broke".into()) } else { Ok(readings) };
        if says == Says::Nothing {
            return;
        }
        let answer = Event::Reading { check, result };
        if !self.healed && self.rng.one_in(20) {
            self.deliver(millis + 500, answer.clone());
        }
        self.deliver(millis, answer);
    }

    fn perform(&mut self, id: ActionId) {
        let outcome = match self.rng.below(4) {
            _ if self.healed => Outcome::Done,
            0 => Outcome::Failed("no".into()),
            1 => return, // it hangs
            _ => Outcome::Done,
        };
        // Some come later than anybody waits for.
        let millis = if self.healed { 100 } else { self.rng.below(45_000) };
        self.deliver(millis, Event::Outcome { id, outcome });
    }

    fn deliver(&mut self, millis: u64, event: Event) {
        self.pending.push((self.now.after(Span::from_millis(millis)), event));
    }

    /// Something happens.
    fn blow(&mut self) {
        match self.rng.below(18) {
            0..=7 => {
                let says = self.rng.of(&[
                    Says::Good,
                    Says::Worn,
                    Says::Fault,
                    Says::Fault,
                    Says::Fault,
                    Says::Missing,
                    Says::Error,
                    Says::Nothing,
                    Says::Lies,
                ]);
                let millis = self.rng.of(&[0, 1, 100, 3000, 12_000]);
                let index = usize::try_from(self.rng.below(NAMES.len() as u64)).unwrap();
                self.says[index] = (says, millis);
            }
            8 | 9 => {
                let (id, index) = (self.rng.below(60), self.rng.below(8));
                let check = CheckId(u32::try_from(index).unwrap());
                self.handle(Event::Nudge { check });
                // An outcome that nobody, or somebody else, waits for.
                let outcome = Outcome::Unknown("foreign".into());
                self.handle(Event::Outcome { id: ActionId(id + 1_000_000), outcome });
            }
            10 | 11 => self.pause(),
            12 => {
                let scope = self.scope();
                self.act(|node, _, actions| node.resume(scope, actions)).unwrap_or_default();
            }
            13 | 14 => self.reload(false),
            15 => {
                use Licence::{All, Nothing, ObserveOnly};
                let licence = self.rng.of(&[All, ObserveOnly, ObserveOnly, Nothing]);
                self.license(licence);
            }
            16 => {
                let is_here = self.rng.one_in(2);
                self.activate(is_here);
            }
            _ => self.restart(),
        }
        self.turn();
    }

    fn license(&mut self, licence: Licence) {
        self.happened.licences += 1;
        self.judge.licence = licence;
        self.node.license(licence);
    }

    fn activate(&mut self, is_here: bool) {
        let groups = if is_here { vec![GROUP.into()] } else { Vec::new() };
        self.judge.is_here = is_here;
        self.act(|node, now, actions| node.activate(groups, now, actions));
    }

    fn scope(&mut self) -> Option<&'static str> {
        if self.rng.one_in(3) { None } else { Some(self.rng.of(&NAMES)) }
    }

    fn pause(&mut self) {
        self.happened.pauses += 1;
        let until = self.now.after(Span::from_secs(1 + self.rng.below(300)));
        let check = self.scope().map(Into::into);
        let pause = Pause { check, until, why: "".into(), who: "".into() };
        self.act(|node, now, actions| node.pause(pause, now, actions)).unwrap_or_default();
    }

    fn reload(&mut self, whole: bool) {
        self.happened.reloads += 1;
        let old = std::mem::take(&mut self.specs);
        for name in NAMES {
            let known = old.iter().find(|spec| &*spec.name == name);
            let spec = match self.rng.below(4) {
                0 if !whole => continue,
                1 | 2 if known.is_some() => known.cloned().unwrap(),
                _ => self.spec(name),
            };
            self.specs.push(spec);
        }
        self.configure();
    }

    fn configure(&mut self) {
        let specs = self.specs.clone();
        self.ids = self.act(|node, now, actions| node.configure(POLICY, specs, now, actions));
        assert_eq!(self.ids.len(), self.specs.len());
    }

    fn spec(&mut self, name: &str) -> CheckSpec {
        let parse = |text| Condition::parse(text, QUANTITIES).unwrap();
        let mut fail_when = vec![parse("fault")];
        if self.rng.one_in(3) {
            fail_when.push(parse("total > 9 in 2m"));
        }
        let rung = |(text, budget): (&str, Budget)| {
            let effect = match text {
                "reboot" => &REBOOT,
                "switchover" => &SWITCHOVER,
                _ => &EFFECT,
            };
            let deadline = effect.deadline;
            Rung { text: text.into(), effect, arguments: Vec::new(), budget, deadline }
        };
        let mut rungs: Vec<Rung> = RUNGS.into_iter().map(rung).collect();
        let first = usize::try_from(self.rng.below(4)).unwrap();
        rungs.rotate_left(first);
        rungs.truncate(usize::try_from(self.rng.below(5)).unwrap());
        CheckSpec {
            name: name.into(),
            sensor: "test".into(),
            target: self.rng.of(&["here", "there"]).into(),
            options: Vec::new(),
            quantities: QUANTITIES,
            interval: Span::from_secs(self.rng.of(&[5, 20, 30, 60])),
            timeout: Span::from_secs(self.rng.of(&[1, 3, 10])),
            warn_when: vec![parse("worn")],
            fail_when,
            fail_after: Span::from_secs(self.rng.of(&[0, 0, 7, 30])),
            recover_after: Span::from_secs(self.rng.of(&[0, 0, 20, 60])),
            on_fail: rungs,
            origin: Origin::Configured,
            group: self.rng.one_in(3).then(|| GROUP.into()),
            prefer_peer: self.rng.one_in(4),
        }
    }

    /// The daemon dies, perhaps with the machine: a new one begins with what is on the disk.
    fn restart(&mut self) {
        self.happened.restarts += 1;
        let down = Span::from_secs(self.rng.below(60));
        let begins = self.now.after(down);
        let mut memory = std::mem::take(&mut self.saved);
        self.now = begins;
        if self.rng.one_in(2) {
            self.happened.boots += 1;
            self.now = Mono::BOOT.after(Span::from_secs(self.rng.below(100)));
            let by = begins.as_nanos() - self.now.as_nanos();
            memory.shift(by);
            self.judge.clock_falls(by);
        }
        self.pending.clear();
        self.judge.restarted();
        self.node = Node::new(POLICY);
        self.node.license(self.judge.licence);
        self.node.remember(memory.clone(), self.now);
        self.saved = memory;
        self.configure();
        self.activate(self.judge.is_here);
    }

    /// All that was broken works again.
    fn heal(&mut self) {
        self.healed = true;
        self.license(Licence::All);
        self.activate(self.now.as_nanos() % 2 == 0);
        self.says = [(Says::Good, 1); NAMES.len()];
        self.reload(true);
        for scope in [None, Some("c0"), Some("c1"), Some("c2"), Some("c3")] {
            self.act(|node, _, actions| node.resume(scope, actions)).unwrap_or_default();
        }
        self.turn();
        let begin = self.now;
        // What grew before the healing leaves its window of two minutes.
        self.live_until(begin.after(HEALED_AFTER).after(Span::from_secs(120)));
        assert_eq!(self.node.verdict(self.now), Verdict::Healthy, "{:?}", self.node);
        for view in self.node.views(self.now) {
            let ladder = view.ladder.map(|ladder| ladder.now);
            assert!(
                ladder.as_deref().is_none_or(|now| now == "at rest"),
                "{} {ladder:?}",
                view.name
            );
        }
        // No more is to be seen but time: reading less often makes this the cheaper part of a run.
        for spec in &mut self.specs {
            spec.interval = Span::from_secs(600);
        }
        self.configure();
        self.live_until(begin.after(TOLD_AFTER));
        self.judge.all_is_told();
        // Everything kept is bounded, seen or not: what is kept is printed.
        let kept = format!("{:?}", self.node).len();
        assert!(kept < 100_000, "{kept} bytes of state: {:?}", self.node);
    }
}
