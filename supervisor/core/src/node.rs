//! The brain's core: checks, their health, their ladders and maintenance, joined. It has no rules
//! of its own but the order of things.
//!
//! The shell calls [`Node::handle`] for each event of a turn, then [`Node::tick`] once, performs
//! the actions, and sleeps until [`Node::next_deadline`].

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cmp::Reverse;
use serde::{Deserialize, Serialize};

use crate::check::{Check, Told};
use crate::event::{Action, Actions, AlertKind, CheckId, Event};
use crate::health::Verdict;
use crate::maintenance::{Maintenance, Pause};
use crate::reading::Readings;
use crate::recovery::{ActionId, Licence};
use crate::report::{Outcome, Report};
use crate::sorted::{self, Map};
use crate::spec::CheckSpec;
use crate::time::{Mono, Span};
use crate::view::{CheckView, PauseView};

mod fitness;

/// A check that is wrong for this long is alerted again, and again after each further stretch of
/// it.
pub const REMIND_DEFAULT: Span = Span::from_secs(4 * 3600);

/// What holds for all checks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The rhythm on which readings are aligned, so that many of them share one wake-up.
    pub interval: Span,
    /// Time between reminders of a check that stays wrong.
    pub remind: Span,
}

/// All checks of one machine.
#[derive(Debug)]
pub struct Node {
    policy: Policy,
    checks: Vec<Check>,
    /// Where each check stands in `checks`; rebuilt with them.
    places: Map<CheckId, usize>,
    maintenance: Maintenance,
    licence: Licence,
    /// The groups that are active here.
    active: Vec<Box<str>>,
    next_check: u32,
    next_action: u64,
    /// What was remembered of checks that are not there (yet): a mount that comes back keeps its
    /// budget.
    remembered: Vec<Remembered>,
}

/// What outlives a restart and a reboot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Maintenance.
    pub pauses: Vec<Pause>,
    /// Budgets.
    pub checks: Vec<Remembered>,
}

/// What is remembered of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Its name.
    pub check: Box<str>,
    /// Its rungs as written, those that it once had included: budgets follow the text of a rung.
    pub rungs: Vec<Box<str>>,
    /// When each rung was used.
    pub uses: Vec<VecDeque<Mono>>,
    /// What the hooks know, if they wait for a recovery.
    #[serde(default)]
    pub told: Option<Told>,
}

/// Remembered checks that are not there; beyond this the oldest are forgotten.
pub const REMEMBERED_MAX: usize = 256;

impl Memory {
    /// Moves every moment by the difference of two boots' clocks: `at` on the old one becomes `at -
    /// by`.
    pub fn shift(&mut self, by_nanos: i64) {
        let shifted =
            |at: &mut Mono| *at = Mono::from_nanos(at.as_nanos().saturating_sub(by_nanos));
        for pause in &mut self.pauses {
            shifted(&mut pause.until);
        }
        for check in &mut self.checks {
            check.uses.iter_mut().flatten().for_each(shifted);
            if let Some(told) = &mut check.told {
                shifted(&mut told.at);
                told.wrong_since.iter_mut().for_each(shifted);
            }
        }
    }
}

impl Node {
    /// A node without checks.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            checks: Vec::new(),
            places: Map::new(),
            maintenance: Maintenance::default(),
            licence: Licence::All,
            active: Vec::new(),
            next_check: 0,
            next_action: 0,
            remembered: Vec::new(),
        }
    }

    /// Takes over what was saved. Called before the first [`configure`](Self::configure).
    pub fn remember(&mut self, memory: Memory, now: Mono) {
        self.maintenance.remember(memory.pauses, now);
        // Bounded by `configure`, which first gives to the checks that are there what is theirs.
        self.remembered = memory.checks;
    }

    /// What must outlive a restart.
    pub fn memory(&self) -> Memory {
        let present = self.checks.iter().filter_map(Check::remembered);
        Memory {
            pauses: self.maintenance.all().to_vec(),
            // The oldest first, since they are forgotten first.
            checks: self.remembered.iter().cloned().chain(present).collect(),
        }
    }

    /// Makes `specs` the checks of this node and returns their names for events, in the same order.
    /// A check whose definition did not change goes on as if nothing had happened.
    pub fn configure(
        &mut self,
        policy: Policy,
        specs: Vec<CheckSpec>,
        now: Mono,
        actions: &mut Actions,
    ) -> Vec<CheckId> {
        self.policy = policy;
        let old = core::mem::take(&mut self.checks);
        let mut old: Map<Box<str>, Box<Check>> =
            old.into_iter().map(|check| (check.spec.name.clone(), Box::new(check))).collect();
        // What goes is remembered before anything is admitted: under the same name may come what
        // replaces it.
        let mut kept: Vec<(CheckSpec, Option<Box<Check>>)> = Vec::with_capacity(specs.len());
        for spec in specs {
            let same = old.get(&spec.name).is_some_and(|check| check.is_same_as(&spec));
            let check = if same { old.remove(&spec.name) } else { None };
            kept.push((spec, check));
        }
        for gone in old.into_values() {
            let name = gone.spec.name.clone();
            self.remembered.retain(|remembered| remembered.check != name);
            self.remembered.extend(gone.remembered());
            actions.push(Action::Report(Report::CheckGoes { check: name }));
        }
        for (spec, check) in kept {
            let check = match check {
                Some(mut check) => {
                    check.redefine(spec, now);
                    *check
                }
                None => self.admit(spec, now, actions),
            };
            self.checks.push(check);
        }
        let surplus = self.remembered.len().saturating_sub(REMEMBERED_MAX);
        self.remembered.drain(..surplus);
        for check in &mut self.checks {
            check.rest(rests(check, &self.active), now);
        }
        let ids: Vec<CheckId> = self.checks.iter().map(|check| check.id).collect();
        self.places = ids.iter().enumerate().map(|(place, id)| (*id, place)).collect();
        ids
    }

    fn admit(&mut self, spec: CheckSpec, now: Mono, actions: &mut Actions) -> Check {
        let id = CheckId(self.next_check);
        self.next_check = self.next_check.wrapping_add(1);
        actions.push(Action::Report(Report::CheckAppears { check: spec.name.clone() }));
        let mut check = Check::new(id, spec, now);
        // The newest, should a damaged file have several of one name.
        if let Some(index) = self.remembered.iter().rposition(|r| r.check == check.spec.name) {
            check.remember(self.remembered.remove(index), now);
        }
        check
    }

    /// Takes one event.
    pub fn handle(&mut self, event: Event, now: Mono, actions: &mut Actions) {
        // Before the event: what it starts must not be told as begun in a pause.
        self.end_pauses(now, actions);
        match event {
            Event::Reading { check, result } => {
                let Some(check) = self.places.get(&check).and_then(|at| self.checks.get_mut(*at))
                else {
                    return; // of a check that a reload removed
                };
                let paused = self.maintenance.covering(&check.spec.name, now).is_some();
                // A pause stops every rung, as the way down does.
                let licence = if paused { Licence::Nothing } else { self.licence };
                if check.read(result, paused, now, actions) {
                    check.climb(licence, &mut self.next_action, now, actions);
                }
            }
            Event::Nudge { check } => {
                let place = self.places.get(&check);
                if let Some(check) = place.and_then(|at| self.checks.get_mut(*at)) {
                    check.nudge(now);
                }
            }
            Event::Outcome { id, outcome } => self.end_rung(id, &outcome, now, actions),
        }
    }

    /// Does what is due at this moment.
    pub fn tick(&mut self, now: Mono, actions: &mut Actions) {
        self.end_pauses(now, actions);
        let overdue: Vec<ActionId> =
            self.checks.iter().filter_map(|check| check.overdue(now)).collect();
        for id in overdue {
            let outcome = Outcome::Unknown("no answer before its deadline".into());
            self.end_rung(id, &outcome, now, actions);
        }
        for check in &mut self.checks {
            let paused = self.maintenance.covering(&check.spec.name, now).is_some();
            check.tick(self.policy, paused, now, actions);
        }
    }

    /// When [`tick`](Self::tick) must be called next.
    pub fn next_deadline(&self) -> Mono {
        let deadline = |check: &Check| {
            check.next_deadline(self.policy, self.maintenance.has(&check.spec.name))
        };
        let checks = self.checks.iter().map(deadline).min().unwrap_or(Mono::FAR);
        checks.min(self.maintenance.next_deadline().unwrap_or(Mono::FAR))
    }

    /// Tells the alert hooks that the ladder of a check has come to its rung `alert`.
    ///
    /// # Errors
    /// When there is no such check any more.
    pub fn escalate(
        &mut self,
        id: CheckId,
        now: Mono,
        actions: &mut Actions,
    ) -> Result<(), &'static str> {
        let check = self.places.get(&id).and_then(|at| self.checks.get_mut(*at));
        check.ok_or("the check is gone")?.alert(AlertKind::Escalation, now, actions);
        Ok(())
    }

    /// Begins a pause of one check or of the whole node.
    ///
    /// # Errors
    /// When there is no such check, or the pause is out of bounds.
    pub fn pause(
        &mut self,
        pause: Pause,
        now: Mono,
        actions: &mut Actions,
    ) -> Result<(), &'static str> {
        if pause.check.as_ref().is_some_and(|name| self.find(name).is_none()) {
            return Err("there is no check of this name");
        }
        self.maintenance.begin(pause.clone(), now)?;
        let Pause { check, until, why, who } = pause;
        actions.push(Action::Report(Report::PauseBegins {
            check,
            span: until.since(now),
            why,
            who,
        }));
        actions.push(Action::Save);
        Ok(())
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// When there is none.
    pub fn resume(
        &mut self,
        check: Option<&str>,
        actions: &mut Actions,
    ) -> Result<(), &'static str> {
        if !self.maintenance.end(check) {
            return Err("it is not paused");
        }
        self.wake(check);
        actions.push(Action::Report(Report::PauseEnds {
            check: check.map(Into::into),
            expired: false,
        }));
        actions.push(Action::Save);
        Ok(())
    }

    /// Says which rungs may start from now on. What is under way already goes on.
    pub fn license(&mut self, licence: Licence) {
        if core::mem::replace(&mut self.licence, licence) != licence {
            self.wake(None);
        }
    }

    /// Says which groups are active here from now on: at first, none. Checks of the others rest.
    pub fn activate(&mut self, groups: Vec<Box<str>>, now: Mono, actions: &mut Actions) {
        if groups == self.active {
            return;
        }
        self.active = groups;
        for check in &mut self.checks {
            let begins = rests(check, &self.active);
            if check.rest(begins, now)
                && let (check, Some(group)) = (check.spec.name.clone(), check.spec.group.clone())
            {
                actions.push(Action::Report(Report::Rests { check, group, begins }));
            }
        }
    }

    /// Whether each check has had a reading, or the time for one.
    pub fn first_round_is_over(&self, now: Mono) -> bool {
        self.checks.iter().all(|check| check.has_been_read(now))
    }

    /// Whether no reading is awaited.
    pub fn is_quiet(&self) -> bool {
        self.checks.iter().all(|check| !check.is_awaited())
    }

    /// The worst verdict of all checks that are not paused.
    pub fn verdict(&self, now: Mono) -> Verdict {
        let awake = |check: &&Check| self.maintenance.covering(&check.spec.name, now).is_none();
        let worst = self.checks.iter().filter(awake).map(Check::verdict).max();
        worst.map_or(Verdict::Healthy, |worst| worst.max(Verdict::Healthy))
    }

    /// How many checks say what: healthy, degraded, unknown, failed. Those that rest say nothing.
    pub fn counts(&self) -> [usize; 4] {
        [Verdict::Healthy, Verdict::Degraded, Verdict::Unknown, Verdict::Failed]
            .map(|verdict| self.checks.iter().filter(|check| check.verdict() == verdict).count())
    }

    /// The names of the worst checks that are not healthy, the worst first.
    pub fn worst(&self, count: usize) -> Vec<&str> {
        let bad = self.by_importance().into_iter().filter(|c| c.verdict() > Verdict::Healthy);
        bad.take(count).map(|check| &*check.spec.name).collect()
    }

    /// The worst first, then by name.
    fn by_importance(&self) -> Vec<&Check> {
        let mut checks: Vec<&Check> = self.checks.iter().collect();
        sorted::sort_by_key(&mut checks, &|check| (Reverse(check.verdict()), &check.spec.name));
        checks
    }

    /// All checks, the worst first, then by name.
    pub fn views(&self, now: Mono) -> Vec<CheckView> {
        self.by_importance().into_iter().map(|check| self.view_of(check, now)).collect()
    }

    /// One check by name.
    pub fn view(&self, name: &str, now: Mono) -> Option<CheckView> {
        self.find(name).map(|check| self.view_of(check, now))
    }

    /// All pauses.
    pub fn pauses(&self, now: Mono) -> Vec<PauseView> {
        self.maintenance.all().iter().map(|pause| pause_view(pause, now)).collect()
    }

    /// The newest reading of a check.
    pub fn readings(&self, id: CheckId) -> Option<&Readings> {
        let check = self.places.get(&id).and_then(|at| self.checks.get(*at))?;
        check.readings.as_ref().map(|(readings, _)| readings)
    }

    /// Whether a check is confirmed failed and not paused.
    pub fn is_failed(&self, id: CheckId, now: Mono) -> bool {
        self.places.get(&id).and_then(|at| self.checks.get(*at)).is_some_and(|check| {
            check.verdict() == Verdict::Failed
                && self.maintenance.covering(&check.spec.name, now).is_none()
        })
    }

    /// Whether a check that failed may be failed still: it is not well, nor paused, nor gone. What
    /// cannot be read any more, as on a dead disk, has not recovered.
    pub fn may_be_failed(&self, id: CheckId, now: Mono) -> bool {
        self.places.get(&id).and_then(|at| self.checks.get(*at)).is_some_and(|check| {
            check.verdict() >= Verdict::Unknown
                && self.maintenance.covering(&check.spec.name, now).is_none()
        })
    }

    /// The definition of a check.
    pub fn spec(&self, id: CheckId) -> Option<&CheckSpec> {
        self.places.get(&id).and_then(|at| self.checks.get(*at)).map(|check| &check.spec)
    }

    fn find(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| &*check.spec.name == name)
    }

    fn view_of(&self, check: &Check, now: Mono) -> CheckView {
        let pause = self.maintenance.covering(&check.spec.name, now);
        check.view(pause.map(|pause| pause_view(pause, now)), now)
    }

    /// Ends the pauses whose time is over, and says so.
    fn end_pauses(&mut self, now: Mono, actions: &mut Actions) {
        for pause in self.maintenance.expire(now) {
            self.wake(pause.check.as_deref());
            actions.push(Action::Report(Report::PauseEnds { check: pause.check, expired: true }));
            actions.push(Action::Save);
        }
    }

    /// A pause is over: a ladder goes on with a reading, and the next one may be an hour away.
    fn wake(&mut self, scope: Option<&str>) {
        let covered = |check: &&mut Check| scope.is_none_or(|name| name == &*check.spec.name);
        self.checks.iter_mut().filter(covered).for_each(Check::wake);
    }

    fn end_rung(&mut self, id: ActionId, outcome: &Outcome, now: Mono, actions: &mut Actions) {
        for check in &mut self.checks {
            if check.end_rung(id, outcome, now, actions) {
                return;
            }
        }
    }
}

/// Whether a check is one of a group that is not active here.
fn rests(check: &Check, active: &[Box<str>]) -> bool {
    check.spec.group.as_ref().is_some_and(|group| !active.contains(group))
}

fn pause_view(pause: &Pause, now: Mono) -> PauseView {
    PauseView {
        check: pause.check.as_ref().map(|check| check.as_ref().into()),
        left_secs: pause.until.since(now).as_secs_f64(),
        why: pause.why.as_ref().into(),
        who: pause.who.as_ref().into(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
