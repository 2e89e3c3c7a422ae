//! The brain's core: checks, their health, their ladders and maintenance, joined. It has no rules of its own
//! but the order of things.
//!
//! The shell calls [`Node::handle`] for each event of a turn, then [`Node::tick`] once, performs the actions,
//! and sleeps until [`Node::next_deadline`].

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::event::{Action, Actions, CheckId, Event};
use crate::health::Verdict;
use crate::maintenance::{Maintenance, Pause};
use crate::recovery::ActionId;
use crate::report::{Outcome, Report};
use crate::spec::CheckSpec;
use crate::time::{Mono, Span};
use crate::view::{CheckView, PauseView};

/// A check that is wrong for this long is alerted again, and again after each further stretch of it.
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
    maintenance: Maintenance,
    next_check: u32,
    next_action: u64,
    /// What was remembered of checks that are not there (yet): a mount that comes back keeps its budget.
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
    /// The rungs as written: with another ladder the uses mean nothing.
    pub rungs: Vec<Box<str>>,
    /// When each rung was used.
    pub uses: Vec<VecDeque<Mono>>,
}

/// Remembered checks that are not there; beyond this the oldest are forgotten.
pub const REMEMBERED_MAX: usize = 256;

impl Memory {
    /// Moves every moment by the difference of two boots' clocks: `at` on the old one becomes `at - by`.
    pub fn shift(&mut self, by_nanos: i64) {
        let shifted =
            |at: &mut Mono| *at = Mono::from_nanos(at.as_nanos().saturating_sub(by_nanos));
        for pause in &mut self.pauses {
            shifted(&mut pause.until);
        }
        for uses in self.checks.iter_mut().flat_map(|check| check.uses.iter_mut()) {
            uses.iter_mut().for_each(shifted);
        }
    }
}

impl Node {
    /// A node without checks.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            checks: Vec::new(),
            maintenance: Maintenance::default(),
            next_check: 0,
            next_action: 0,
            remembered: Vec::new(),
        }
    }

    /// Takes over what was saved. Called before the first [`configure`](Self::configure).
    pub fn remember(&mut self, memory: Memory, now: Mono) {
        self.maintenance.remember(memory.pauses, now);
        self.remembered = memory.checks;
        self.remembered.truncate(REMEMBERED_MAX);
    }

    /// What must outlive a restart.
    pub fn memory(&self) -> Memory {
        let used = self.checks.iter().filter_map(Check::remembered);
        Memory {
            pauses: self.maintenance.all().to_vec(),
            checks: used.chain(self.remembered.iter().cloned()).collect(),
        }
    }

    /// Makes `specs` the checks of this node and returns their names for events, in the same order. A check
    /// whose definition did not change goes on as if nothing had happened.
    pub fn configure(
        &mut self,
        policy: Policy,
        specs: Vec<CheckSpec>,
        now: Mono,
        actions: &mut Actions,
    ) -> Vec<CheckId> {
        self.policy = policy;
        let mut old = core::mem::take(&mut self.checks);
        for spec in specs {
            let same = old
                .iter()
                .position(|check| check.spec.name == spec.name && check.is_same_as(&spec));
            let check = match same.map(|index| old.swap_remove(index)) {
                Some(mut check) => {
                    check.redefine(spec, now);
                    check
                }
                None => self.admit(spec, now, actions),
            };
            self.checks.push(check);
        }
        for gone in old {
            actions.push(Action::Report(Report::CheckGoes { check: gone.spec.name.clone() }));
            self.remembered.extend(gone.remembered());
        }
        let surplus = self.remembered.len().saturating_sub(REMEMBERED_MAX);
        self.remembered.drain(..surplus);
        self.checks.iter().map(|check| check.id).collect()
    }

    fn admit(&mut self, spec: CheckSpec, now: Mono, actions: &mut Actions) -> Check {
        let id = CheckId(self.next_check);
        self.next_check = self.next_check.wrapping_add(1);
        actions.push(Action::Report(Report::CheckAppears { check: spec.name.clone() }));
        let mut check = Check::new(id, spec, now);
        if let Some(index) = self.remembered.iter().position(|r| check.remembers(r)) {
            check.remember(self.remembered.swap_remove(index), now);
        }
        check
    }

    /// Takes one event.
    pub fn handle(&mut self, event: Event, now: Mono, actions: &mut Actions) {
        match event {
            Event::Reading { check, result } => {
                let Some(check) = self.checks.iter_mut().find(|known| known.id == check) else {
                    return; // of a check that a reload removed
                };
                let paused = self.maintenance.covering(&check.spec.name, now).is_some();
                check.read(result, paused, now, actions);
                check.climb(paused, &mut self.next_action, now, actions);
            }
            Event::Nudge { check } => {
                if let Some(check) = self.checks.iter_mut().find(|known| known.id == check) {
                    check.nudge(now);
                }
            }
            Event::Outcome { id, outcome } => self.end_rung(id, &outcome, now, actions),
        }
    }

    /// Does what is due at this moment.
    pub fn tick(&mut self, now: Mono, actions: &mut Actions) {
        for pause in self.maintenance.expire(now) {
            actions.push(Action::Report(Report::PauseEnds { check: pause.check, expired: true }));
            actions.push(Action::Save);
        }
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
        let checks = self.checks.iter().map(Check::next_deadline).min().unwrap_or(Mono::FAR);
        checks.min(self.maintenance.next_deadline().unwrap_or(Mono::FAR))
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
        actions.push(Action::Report(Report::PauseEnds {
            check: check.map(Into::into),
            expired: false,
        }));
        actions.push(Action::Save);
        Ok(())
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
        self.checks.iter().filter(awake).map(Check::verdict).max().unwrap_or(Verdict::Healthy)
    }

    /// How many checks say what: healthy, degraded, unknown, failed.
    pub fn counts(&self) -> [usize; 4] {
        [Verdict::Healthy, Verdict::Degraded, Verdict::Unknown, Verdict::Failed]
            .map(|verdict| self.checks.iter().filter(|check| check.verdict() == verdict).count())
    }

    /// The names of the worst checks that are not healthy, the worst first.
    pub fn worst(&self, count: usize) -> Vec<&str> {
        let mut checks: Vec<&Check> =
            self.checks.iter().filter(|c| c.verdict() != Verdict::Healthy).collect();
        checks.sort_by(|a, b| {
            b.verdict().cmp(&a.verdict()).then_with(|| a.spec.name.cmp(&b.spec.name))
        });
        checks.into_iter().take(count).map(|check| &*check.spec.name).collect()
    }

    /// All checks, the worst first, then by name.
    pub fn views(&self, now: Mono) -> Vec<CheckView> {
        let mut views: Vec<CheckView> =
            self.checks.iter().map(|check| self.view_of(check, now)).collect();
        views.sort_by(|a, b| b.verdict.cmp(&a.verdict).then_with(|| a.name.cmp(&b.name)));
        views
    }

    /// One check by name.
    pub fn view(&self, name: &str, now: Mono) -> Option<CheckView> {
        self.find(name).map(|check| self.view_of(check, now))
    }

    /// All pauses.
    pub fn pauses(&self, now: Mono) -> Vec<PauseView> {
        self.maintenance.all().iter().map(|pause| pause_view(pause, now)).collect()
    }

    /// The definition of a check.
    pub fn spec(&self, id: CheckId) -> Option<&CheckSpec> {
        self.checks.iter().find(|check| check.id == id).map(|check| &check.spec)
    }

    fn find(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| &*check.spec.name == name)
    }

    fn view_of(&self, check: &Check, now: Mono) -> CheckView {
        let pause = self.maintenance.covering(&check.spec.name, now);
        check.view(pause.map(|pause| pause_view(pause, now)), now)
    }

    fn end_rung(&mut self, id: ActionId, outcome: &Outcome, now: Mono, actions: &mut Actions) {
        for check in &mut self.checks {
            if check.end_rung(id, outcome, now, actions) {
                return;
            }
        }
    }
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
mod tests;
