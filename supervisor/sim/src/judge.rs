//! A second bookkeeping that knows the truth: what every kernel passes, who said what to whom.
//!
//! It is asked after each step. It knows nothing of the core's insides, only of the invariants.

use core::fmt;
use std::collections::HashMap;

use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::event::PairAction;
use mastiff_core::pair::message::{Answer, Beat, Epoch, Member, Owner, Vote};
use mastiff_core::time::Span;
use mastiff_core::timing::PROMISE_MAX;

use crate::clock::{MS, SECOND, Time};
use crate::machine::Machine;
use crate::network::{Place, WITNESS};
use crate::plan::{Plan, STOP_LIMIT};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant.
    pub invariant: &'static str,
    /// When.
    pub at: Time,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.at / SECOND, self.at % SECOND / 1_000_000);
        write!(f, "{} broken at {seconds}.{millis:03} s: {}", self.invariant, self.what)
    }
}

/// A promise that somebody's voter made.
#[derive(Clone, Copy, Debug)]
struct Promised {
    to: Owner,
    epoch: Epoch,
    /// The lease that it protects ends by then, by the voter's oscillator: what is left of the
    /// promise is for what the kernel may do late.
    lease_until: Time,
    /// Until when nobody else may be granted, whatever becomes of the voter.
    until: Time,
    /// The whole promise, by the voter's clocks, while it is on that boot.
    whole: Option<(u32, Clocks)>,
}

impl Promised {
    /// Whether it still binds, for a decision at `at` of true time and by the voter's clocks.
    fn binds(&self, at: Time, voter: &Machine, clocks: Clocks) -> bool {
        let whole = self.whole.filter(|(boot, _)| *boot == voter.boot);
        // I5: it ends by whichever clock says so last.
        let runs = |until: Clocks| clocks.boot < until.boot || clocks.raw < until.raw;
        self.until > at || whole.is_some_and(|(_, until)| runs(until))
    }
}

/// A lease as last seen, by the clocks of its node.
#[derive(Clone, Copy, Debug)]
struct Held {
    boot: u32,
    ends: Clocks,
    /// It was seen to end: what is left is on its way out.
    let_go: bool,
}

impl Held {
    /// I4: whichever clock says so first.
    fn is_over(&self, now: Clocks) -> bool {
        now.boot >= self.ends.boot || now.raw >= self.ends.raw
    }
}

/// What is known of one group.
#[derive(Clone, Debug, Default)]
struct Record {
    /// Of each voter: its newest promise, in true time.
    promised: [Option<Promised>; 3],
    /// The highest epoch that an owner had, and whose.
    highest: Option<(Epoch, Owner)>,
    /// Of each life of each node: what it released last.
    released: HashMap<Owner, Epoch>,
    /// Of each node: whether the witness promised it something, and since then it has not said
    /// that it holds nothing.
    unaccounted: [bool; 2],
    /// Of each node: the life that last said that it holds nothing.
    idle: [Option<Owner>; 2],
    /// Of each node: its lease.
    held: [Option<Held>; 2],
    /// An operator vouched that a node is off: then a lease may rest on his word.
    vouched: bool,
}

/// When something was said.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    /// Now.
    pub now: Time,
    /// When it was decided: a promise binds from there, however late the word of it leaves.
    pub decided: Time,
    /// The same by the clocks of who said it.
    pub clocks: Clocks,
    /// How long a promise is that was asked for with such a lease.
    pub promise: Span,
}

/// The bookkeeping.
#[derive(Clone, Debug)]
pub struct Judge {
    groups: Vec<Record>,
    /// When each machine's daemon started without memory, and whether it has had a lease since.
    forgetful: [Option<(Time, bool)>; 3],
    /// The first promise that was broken.
    pub violation: Option<Violation>,
}

impl Judge {
    /// A clean sheet.
    #[must_use]
    pub fn new(groups: usize) -> Self {
        Self { groups: vec![Record::default(); groups], forgetful: [None; 3], violation: None }
    }

    /// Something is wrong.
    pub fn accuse(&mut self, invariant: &'static str, at: Time, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, at, what: what() });
        }
    }

    /// After each step: I1, I2 and I14. Passing and running begin only in steps, so it is enough
    /// to look after each.
    pub fn look(&mut self, nodes: &[Machine; 3], exclusive: bool, now: Time) {
        let [first, second, _] = nodes;
        // I14. No world lasts as long as a node waits.
        if first.goes_down() && second.goes_down() {
            self.accuse("I14", now, || "both nodes restart themselves at once".into());
        }
        let excused = now < first.excused_until || now < second.excused_until;
        for group in 0..self.groups.len() {
            if first.passes(group, now) && second.passes(group, now) && !excused {
                self.accuse("I1", now, || format!("group {group}: both kernels pass traffic"));
            }
            let guarded = !first.unguarded && !second.unguarded;
            if exclusive && guarded && first.runs_units(group) && second.runs_units(group) {
                self.accuse("I2", now, || format!("group {group}: units run on both nodes"));
            }
        }
    }

    /// A node, or the witness, says something.
    pub fn hear(&mut self, machine: &Machine, owner: Owner, beat: &Beat, to: Owner, said: Said) {
        let now = said.now;
        let group = Plan::index(beat.group);
        self.hear_release(machine, owner, beat, group, now);
        if let Some(ask) = beat.ask
            && let Some(record) = self.groups.get_mut(group)
            && record.released.get(&owner).is_some_and(|epoch| ask.epoch <= *epoch)
        {
            self.accuse("I9", now, || format!("epoch {} is asked for again", ask.epoch.0));
        }
        if let Some(answer) = beat.answer
            && matches!(answer.vote, Vote::Granted { .. })
        {
            self.hear_grant(machine, answer, to, group, said);
        }
    }

    fn hear_release(
        &mut self,
        machine: &Machine,
        owner: Owner,
        beat: &Beat,
        group: usize,
        now: Time,
    ) {
        let Some(release) = beat.released else { return };
        let clean = machine
            .kernels
            .get(group)
            .is_some_and(|kernel| kernel.is_clean(machine.clock.read(now)));
        if !clean {
            self.accuse("I9", now, || {
                format!("node {} says released, and has something", machine.place)
            });
        }
        let Some(record) = self.groups.get_mut(group) else { return };
        record.released.insert(owner, release.epoch);
        if let Some(unaccounted) = record.unaccounted.get_mut(machine.place) {
            *unaccounted = false;
        }
        if let Some(idle) = record.idle.get_mut(machine.place) {
            *idle = Some(owner);
        }
        for promised in record.promised.iter_mut().flatten() {
            if promised.to == release.owner && promised.epoch <= release.epoch {
                promised.until = promised.until.min(now);
                promised.whole = None;
            }
        }
    }

    fn hear_grant(
        &mut self,
        machine: &Machine,
        answer: Answer,
        to: Owner,
        group: usize,
        said: Said,
    ) {
        let Said { now, decided, clocks, promise } = said;
        if machine
            .kernels
            .get(group)
            .is_some_and(|kernel| !kernel.is_clean(machine.clock.read(now)))
        {
            self.accuse("I7", now, || {
                format!("node {} votes for another, and has something", machine.place)
            });
        }
        if self.is_silent(machine.place, decided) {
            self.accuse("I6", now, || {
                format!("voter {} started without memory, and votes", machine.place)
            });
        }
        if machine.place == WITNESS {
            self.hear_what_the_witness_knows(answer, to, group, now);
        }
        let Some(record) = self.groups.get_mut(group) else { return };
        // A late answer to a request of what was released since binds nobody: it is never used.
        if record.released.get(&to).is_some_and(|released| answer.epoch <= *released) {
            return;
        }
        let Some(place) = record.promised.get_mut(machine.place) else { return };
        // 0.4 % for two oscillators.
        let lease = i64::try_from(answer.lease.as_nanos()).unwrap_or(0);
        let (epoch, until) = (answer.epoch, decided + lease - lease / 250);
        let lease_until = decided + lease - lease / 1000 * machine.ppm / 1000;
        let whole = (machine.boot, clocks.after(promise));
        let broken =
            place.filter(|before| before.to != to && before.binds(decided, machine, clocks));
        let fresh = Promised { to, epoch, lease_until, until, whole: Some(whole) };
        *place = Some(place.filter(|before| before.to == to).map_or(fresh, |before| {
            Promised {
                lease_until: before.lease_until.max(lease_until),
                until: before.until.max(until),
                whole: before
                    .whole
                    .filter(|(boot, _)| *boot == machine.boot)
                    .map_or(Some(whole), |(boot, known)| Some((boot, known.latest(whole.1)))),
                ..fresh
            }
        }));
        if let Some(before) = broken {
            self.accuse("I5", now, || {
                format!("voter {} promised to {:?} and to {to:?}", machine.place, before.to)
            });
        }
    }

    /// I12: whatever the witness has forgotten, it may not say that a node has stopped which was
    /// granted the group and has not released it.
    fn hear_what_the_witness_knows(&mut self, answer: Answer, to: Owner, group: usize, now: Time) {
        let Some(record) = self.groups.get_mut(group) else { return };
        let asker = usize::from(to.member == Member::Second);
        let knows = answer.vote == Vote::Granted { peer_stopped: true };
        let lies = knows && record.unaccounted.get(1 - asker) == Some(&true);
        // A grant to a former life, of whose number a later one has said that it holds nothing, is
        // accounted for before it arrives: there is nobody left to use it. A life that has never
        // spoken of it is not a former one for certain.
        let later = record.idle.get(asker).copied().flatten();
        let former = later.filter(|later| *later != to && record.released.contains_key(&to));
        let covers = |life: Owner| record.released.get(&life).is_some_and(|e| answer.epoch <= *e);
        let late = covers(to) || former.is_some_and(covers);
        if let Some(unaccounted) = record.unaccounted.get_mut(asker) {
            *unaccounted |= !late;
        }
        if lies {
            self.accuse("I12", now, || {
                format!("the witness cannot know that node {} has stopped", 1 - asker)
            });
        }
    }

    /// A node became owner, or goes on under a higher number.
    pub fn owns(&mut self, group: usize, owner: Owner, epoch: Epoch, now: Time) {
        let Some(record) = self.groups.get_mut(group) else { return };
        let before = record.highest;
        if before.is_none_or(|(highest, _)| epoch > highest) {
            record.highest = Some((epoch, owner));
        } else if let Some((highest, whose)) = before
            && (whose, highest) != (owner, epoch)
        {
            self.accuse("I8", now, || {
                format!("{owner:?} owns with epoch {}, after {}", epoch.0, highest.0)
            });
        }
    }

    /// A daemon starts; without memory its voter knows nothing of what was promised.
    pub fn starts(&mut self, place: Place, with_memory: bool, now: Time) {
        if let Some(known) = self.forgetful.get_mut(place)
            && !with_memory
        {
            *known = Some((now, false));
        }
        // What is over at a start is let go before the first turn.
        for record in &mut self.groups {
            if let Some(Some(held)) = record.held.get_mut(place) {
                held.let_go = true;
            }
        }
    }

    /// Whether a voter may not vote, not even for its own node (I6); 0.4 % for its clocks.
    fn is_silent(&self, place: Place, now: Time) -> bool {
        let silence = i64::try_from(PROMISE_MAX.as_nanos()).unwrap_or(0);
        let since = self.forgetful.get(place).copied().flatten();
        since.is_some_and(|(since, _)| now < since + silence - silence / 250)
    }

    /// An operator vouches that a node is off.
    pub fn vouched(&mut self) {
        self.groups.iter_mut().for_each(|record| record.vouched = true);
    }

    /// A node opens the guard until then: two votes of three must stand behind it, each until the
    /// lease is over (I3, I4). The slack of the promises is not the owner's: it is for its kernel.
    pub fn opens(&mut self, machine: &Machine, group: usize, owner: Owner, end: Time, now: Time) {
        let own_is_silent = self.is_silent(machine.place, now);
        let Some(record) = self.groups.get(group) else { return };
        let excused = record.vouched || now < machine.excused_until;
        let clocks = machine.clock.read(now);
        let stands = |(voter, promised): (Place, &Option<Promised>)| match promised {
            // It answers nobody else while it holds: so its vote has no end.
            promised if voter == machine.place => {
                !own_is_silent
                    && promised.is_none_or(|it| it.to == owner || !it.binds(now, machine, clocks))
            }
            Some(promised) => promised.to == owner && promised.lease_until + MS / 100 >= end,
            None => false,
        };
        let votes = record.promised.iter().enumerate().filter(|vote| stands(*vote)).count();
        if votes < 2 && !excused {
            self.accuse("I4", now, || {
                format!("{votes} of 3 votes stand behind the lease of node {}", machine.place)
            });
        }
    }

    /// After a turn of a node, before its actions are done.
    pub fn turned(&mut self, machine: &Machine, actions: &[PairAction], pets: bool, time: Time) {
        let place = machine.place;
        let now = machine.clock.read(time);
        for group in 0..self.groups.len() {
            let Some(lease) =
                machine.pair().and_then(|pair| pair.groups().get(group)).map(|group| group.lease())
            else {
                return;
            };
            let ends = lease.map(|lease| lease.end());
            let before = self.groups.get(group).and_then(|record| *record.held.get(place)?);
            let before = before.filter(|before| before.boot == machine.boot);
            if before.is_some_and(|before| before.is_over(now) && !before.let_go) {
                self.lets_go_first(group, actions, ends.is_some(), time);
            }
            let held = ends.map(|ends| Held { boot: machine.boot, ends, let_go: false });
            if held.is_some_and(|held| held.is_over(now)) {
                self.accuse("I4", time, || format!("node {place} holds a lease that is over"));
            }
            if pets && held.is_none() {
                self.pets(machine, group, before, time);
            }
            if held.is_some()
                && let Some(Some((_, had))) = self.forgetful.get_mut(place)
            {
                *had = true;
            }
            let clean = machine.kernels.get(group).is_some_and(|kernel| kernel.is_clean(now));
            if let Some(record) = self.groups.get_mut(group)
                && let Some(known) = record.held.get_mut(place)
            {
                let left = before.filter(|_| !clean).map(|held| Held { let_go: true, ..held });
                *known = held.or(left);
            }
        }
    }

    /// I4: the first thing that a late node does is to let go.
    fn lets_go_first(&mut self, group: usize, actions: &[PairAction], holds: bool, time: Time) {
        let of_group = |action: &&PairAction| match action {
            PairAction::Send { beat, .. } => beat.group == Plan::key(group),
            PairAction::OpenGuard { group: of, .. } | PairAction::CloseGuard { group: of } => {
                *of == Plan::key(group)
            }
            PairAction::Begin(id) => id.group == Plan::key(group),
            _ => false,
        };
        let first = actions.iter().find(of_group);
        // When it let go in an earlier turn, and something is still there, all is said.
        let let_go = first.is_none_or(|action| matches!(action, PairAction::CloseGuard { .. }));
        if holds || !let_go {
            self.accuse("I4", time, || {
                format!("group {group}: late, and lets go after something else")
            });
        }
    }

    /// I13: a node pets its watchdog, and has no lease.
    fn pets(&mut self, machine: &Machine, group: usize, before: Option<Held>, time: Time) {
        let Some(kernel) = machine.kernels.get(group) else { return };
        if !kernel.addresses && !kernel.units {
            return;
        }
        // The raw clock is the one that nothing bends.
        let now = machine.clock.read(time);
        let overdue = before.is_some_and(|held| now.raw.since(held.ends.raw) > STOP_LIMIT);
        let swept = !matches!(self.forgetful.get(machine.place), Some(Some((_, false))));
        if overdue || !swept {
            self.accuse("I13", time, || {
                format!("node {} pets, and has something without a lease", machine.place)
            });
        }
    }

    /// Whether a node is alone in having a group.
    #[must_use]
    pub fn holder(nodes: &[Machine; 3], group: usize, now: Time) -> Option<Place> {
        (0..2).find(|place| nodes.get(*place).is_some_and(|node| node.passes(group, now)))
    }
}
