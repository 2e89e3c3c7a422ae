//! A second bookkeeping that knows the truth: what every kernel passes, who said what to whom.
//!
//! It is asked after each step. It knows nothing of the core's insides, only of the invariants.

use core::fmt;
use std::collections::HashMap;

use mastiff_core::pair::message::{Answer, Beat, Epoch, Owner, Vote};

use crate::clock::{SECOND, Time};
use crate::machine::Machine;
use crate::network::Place;
use crate::plan::Plan;

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
    until: Time,
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
}

/// The bookkeeping.
#[derive(Clone, Debug)]
pub struct Judge {
    groups: Vec<Record>,
    /// The first promise that was broken.
    pub violation: Option<Violation>,
}

impl Judge {
    /// A clean sheet.
    #[must_use]
    pub fn new(groups: usize) -> Self {
        Self { groups: vec![Record::default(); groups], violation: None }
    }

    /// Something is wrong.
    pub fn accuse(&mut self, invariant: &'static str, at: Time, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, at, what: what() });
        }
    }

    /// After each step: I1 and I2. Passing and running begin only in steps, so it is enough to look
    /// after each.
    pub fn look(&mut self, nodes: &[Machine; 3], exclusive: bool, now: Time) {
        let [first, second, _] = nodes;
        let excused = now < first.excused_until || now < second.excused_until;
        for group in 0..self.groups.len() {
            if first.passes(group, now) && second.passes(group, now) && !excused {
                self.accuse("I1", now, || format!("group {group}: both kernels pass traffic"));
            }
            if exclusive && first.runs_units(group) && second.runs_units(group) {
                self.accuse("I2", now, || format!("group {group}: units run on both nodes"));
            }
        }
    }

    /// A node, or the witness, says something.
    pub fn hear(
        &mut self,
        machine: &Machine,
        owner: Owner,
        beat: &Beat,
        to: Owner,
        (now, decided): (Time, Time),
    ) {
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
            self.hear_grant(machine, answer, to, group, (now, decided));
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
        for promised in record.promised.iter_mut().flatten() {
            if promised.to == release.owner && promised.epoch <= release.epoch {
                promised.until = promised.until.min(now);
            }
        }
    }

    fn hear_grant(
        &mut self,
        machine: &Machine,
        answer: Answer,
        to: Owner,
        group: usize,
        (now, decided): (Time, Time),
    ) {
        if machine
            .kernels
            .get(group)
            .is_some_and(|kernel| !kernel.is_clean(machine.clock.read(now)))
        {
            self.accuse("I7", now, || {
                format!("node {} votes for another, and has something", machine.place)
            });
        }
        let Some(record) = self.groups.get_mut(group) else { return };
        // A late answer to a request of what was released since binds nobody: it is never used.
        if record.released.get(&to).is_some_and(|released| answer.epoch <= *released) {
            return;
        }
        let Some(place) = record.promised.get_mut(machine.place) else { return };
        // The lease is what the promise protects: 0.4 % for two oscillators.
        let lease = i64::try_from(answer.lease.as_nanos()).unwrap_or(0);
        let (epoch, until) = (answer.epoch, decided + lease - lease / 250);
        let broken = place.filter(|before| before.to != to && before.until > decided);
        let longer = place.filter(|before| before.to == to).map_or(until, |b| b.until.max(until));
        *place = Some(Promised { to, epoch, until: longer });
        if let Some(before) = broken {
            self.accuse("I5", now, || {
                format!("voter {} promised to {:?} and to {to:?}", machine.place, before.to)
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

    /// Whether a node is alone in having a group.
    #[must_use]
    pub fn holder(nodes: &[Machine; 3], group: usize, now: Time) -> Option<Place> {
        (0..2).find(|place| nodes.get(*place).is_some_and(|node| node.passes(group, now)))
    }
}
