//! One check: when it is read, what its readings say, what its ladder does, and whom it tells.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::condition::{Condition, History, Truth, any};
use crate::event::{Action, Actions, AlertKind, CheckId};
use crate::health::{Glance, Health, Verdict};
use crate::node::{Policy, Remembered};
use crate::reading::{Readings, Shown};
use crate::recovery::{ActionId, Ladder, Licence, Step, uses_by_text};
use crate::report::{Outcome, Report};
use crate::spec::{CheckSpec, Disruption, Rung};
use crate::time::{Mono, Span};

mod alerts;
pub use alerts::Told;

/// Beyond the time-out of a reading, so much more passes before the core itself calls it late. Who
/// runs the probe gives up before that (`ORDER_GRACE`, 5 s) and says why; so no answer can arrive
/// after the core has asked again, and be taken for that of the new question.
pub const LATE_GRACE: Span = Span::from_secs(10);
/// A check that is unknown for less than this is not alerted: a probe that is started again is no
/// news.
pub const UNKNOWN_PATIENCE: Span = Span::from_secs(60);
/// Readings of one check are at least this far apart, however often something happens to its
/// target.
pub const READING_GAP: Span = Span::from_millis(20);

/// Uses of so many rungs that a ladder once had are kept: a rung that a reload takes out and the
/// next one brings back has the budget that it had (L2).
pub const RETIRED_MAX: usize = 16;

/// A check and all that is known of it.
#[derive(Debug)]
pub struct Check {
    /// Its name in events.
    pub id: CheckId,
    /// Its definition.
    pub spec: CheckSpec,
    pub(crate) health: Health,
    pub(crate) ladder: Ladder,
    /// Rungs that the ladder once had, as written, and their uses; the oldest first.
    retired: Vec<(Box<str>, VecDeque<Mono>)>,
    pub(crate) readings: Option<(Readings, Mono)>,
    fail_history: Vec<History>,
    warn_history: Vec<History>,
    schedule: Schedule,
    told: Told,
}

/// When it is read.
#[derive(Debug)]
struct Schedule {
    next: Mono,
    /// When the newest reading was asked for.
    asked: Option<Mono>,
    /// Its answer is still to come.
    awaited: bool,
    /// Something happened to the target while an answer was awaited.
    again: bool,
    /// A first answer has come, or was given up.
    answered: bool,
    /// The answer that is still to come is about a time before the check rested.
    stale: bool,
}

impl Check {
    /// A check that was never read.
    pub fn new(id: CheckId, spec: CheckSpec, now: Mono) -> Self {
        Self {
            id,
            health: Health::new(now),
            ladder: Ladder::new(&spec.on_fail),
            retired: Vec::new(),
            readings: None,
            fail_history: fresh(&spec.fail_when),
            warn_history: fresh(&spec.warn_when),
            schedule: Schedule {
                next: now,
                asked: None,
                awaited: false,
                again: false,
                answered: false,
                stale: false,
            },
            told: Told::nothing(now),
            spec,
        }
    }

    /// Whether `spec` reads the same thing, so that what is known stays true.
    pub fn is_same_as(&self, spec: &CheckSpec) -> bool {
        self.spec.sensor == spec.sensor
            && self.spec.target == spec.target
            && self.spec.options == spec.options
    }

    /// Takes a new definition of the same thing. What did not change goes on.
    pub fn redefine(&mut self, spec: CheckSpec, now: Mono) {
        self.fail_history = kept(&self.spec.fail_when, &self.fail_history, &spec.fail_when);
        self.warn_history = kept(&self.spec.warn_when, &self.warn_history, &spec.warn_when);
        if spec.on_fail != self.spec.on_fail {
            let (texts, uses) = self.all_uses();
            self.ladder = self.ladder.redefined(&self.spec.on_fail, &spec.on_fail);
            self.give_uses(&texts, &uses, &spec.on_fail, now);
        }
        if spec != self.spec {
            self.nudge(now);
        }
        self.spec = spec;
    }

    /// What it says.
    pub fn verdict(&self) -> Verdict {
        self.health.verdict()
    }

    /// Whether nothing is judged, because its group is not active here.
    pub fn rests(&self) -> bool {
        self.verdict() == Verdict::Rests
    }

    /// Begins or ends to rest; whether that is a change. What was known of the service is over with
    /// either: it is another run of it, or none. What its rungs have used stays (L2).
    pub(crate) fn rest(&mut self, rests: bool, now: Mono) -> bool {
        if rests == self.rests() {
            return false;
        }
        self.health = if rests { Health::resting(now) } else { Health::new(now) };
        self.fail_history = fresh(&self.spec.fail_when);
        self.warn_history = fresh(&self.spec.warn_when);
        self.readings = None;
        self.ladder.recovered(now);
        self.schedule.stale = self.schedule.awaited;
        self.schedule.next = now;
        true
    }

    /// Whether an answer to a reading is still to come.
    pub fn is_awaited(&self) -> bool {
        self.schedule.awaited
    }

    /// Whether it has been read, or its first reading is overdue.
    pub fn has_been_read(&self, now: Mono) -> bool {
        self.schedule.answered || self.rests() || self.late_at().is_some_and(|late| now >= late)
    }

    /// Takes the answer to a reading that was asked for. One that comes after it was given up, or a
    /// second one, changes nothing, nor may a ladder climb on it: nobody knows how old its values
    /// are. False for such a one.
    pub fn read(
        &mut self,
        result: Result<Readings, Box<str>>,
        paused: bool,
        now: Mono,
        actions: &mut Actions,
    ) -> bool {
        if !core::mem::take(&mut self.schedule.awaited) {
            return false;
        }
        if core::mem::take(&mut self.schedule.stale) || self.rests() {
            return false;
        }
        self.schedule.answered = true;
        if core::mem::take(&mut self.schedule.again) {
            self.schedule.next = self.schedule.next.min(now.after(READING_GAP));
        }
        let was_failed = self.health.is_known_failed();
        let change = match result {
            Ok(readings) => {
                let (fail, _) = any(&self.spec.fail_when, &mut self.fail_history, &readings, now);
                let (warn, _) = any(&self.spec.warn_when, &mut self.warn_history, &readings, now);
                let glance = Glance::from_truths(fail, warn);
                self.readings = Some((readings, now));
                self.health.see(glance, self.spec.fail_after, self.spec.recover_after, now)
            }
            Err(why) => self.health.lose_sight(&why, now),
        };
        if let Some(change) = change {
            let report = Report::Verdict {
                check: self.spec.name.clone(),
                from: change.from,
                to: change.to,
                lasted: change.lasted,
                reason: self.reason().into(),
            };
            actions.push(Action::Report(report));
        }
        // Not by what was shown: a check that recovers while it is unknown leaves `unknown`, not
        // `failed`.
        if was_failed && !self.health.is_known_failed() {
            self.ladder.recovered(now);
        }
        self.tell(paused, now, actions);
        if let Some(due) = self.health.confirms_at(self.spec.fail_after, self.spec.recover_after) {
            self.schedule.next = self.schedule.next.min(due.max(now.after(READING_GAP)));
        }
        true
    }

    /// Something happened to its target.
    pub fn nudge(&mut self, now: Mono) {
        if self.schedule.awaited {
            self.schedule.again = true;
        } else {
            let earliest =
                self.schedule.asked.map_or(now, |asked| asked.after(READING_GAP)).max(now);
            self.schedule.next = self.schedule.next.min(earliest);
        }
    }

    /// A pause is over. What is failed is read at once, so that its ladder can go on.
    pub(crate) fn wake(&mut self) {
        if self.health.is_known_failed() {
            // No clock is needed: a deadline that has passed is due now.
            self.nudge(Mono::BOOT);
        }
    }

    /// Lets the ladder go on, if a fresh reading demands it.
    pub fn climb(
        &mut self,
        licence: Licence,
        next_action: &mut u64,
        now: Mono,
        actions: &mut Actions,
    ) {
        // Not when it arrived: a slow answer may describe the target before a rung had ended.
        let Some(seen) = self.schedule.asked else { return };
        if licence == Licence::Nothing || !self.health.is_failed_now() {
            return;
        }
        match self.ladder.climb_on(&self.spec.on_fail, seen, now) {
            None => {}
            Some(Step::Wait(until, why)) => actions.push(Action::Report(Report::Waits {
                check: self.spec.name.clone(),
                span: until.since(now),
                why,
                rounds: self.ladder.rounds(),
            })),
            Some(Step::Start(index)) => {
                let Some(rung) = self.spec.on_fail.get(index) else { return };
                if licence == Licence::ObserveOnly && rung.effect.disruption == Disruption::Node {
                    let (check, rung) = (self.spec.name.clone(), rung.text.clone());
                    actions.push(Action::Report(Report::RungPassed { check, rung }));
                    self.ladder.pass(index, now);
                    self.nudge(now);
                    return;
                }
                let id = ActionId(*next_action);
                *next_action = next_action.wrapping_add(1);
                self.ladder.started(index, rung.budget, id, now.after(rung.deadline), now);
                let used = self.ladder.used(index, rung.budget, now);
                actions.push(Action::Report(Report::RungStarts {
                    check: self.spec.name.clone(),
                    rung: rung.text.clone(),
                    used: u32::try_from(used).unwrap_or(u32::MAX),
                    budget: rung.budget.to_string().into(),
                }));
                // The use is on its way to the disk before the effect can take this process away.
                actions.push(Action::Save);
                let (check, effect, arguments) = (self.id, rung.effect, rung.arguments.clone());
                actions.push(Action::Start { id, check, effect, arguments });
            }
        }
    }

    /// Takes the outcome of a rung; false if it is not of this check.
    pub fn end_rung(
        &mut self,
        id: ActionId,
        outcome: &Outcome,
        now: Mono,
        actions: &mut Actions,
    ) -> bool {
        let Some((rung, since)) = self.ladder.acting(id) else { return false };
        let rung: Option<&Rung> = self.spec.on_fail.get(rung);
        self.ladder.ended(id, rung.map_or(Span::ZERO, |rung| rung.effect.settle), now);
        actions.push(Action::Report(Report::RungEnds {
            check: self.spec.name.clone(),
            rung: rung.map_or_else(
                || "a rung of the previous configuration".into(),
                |rung| rung.text.clone(),
            ),
            outcome: outcome.clone(),
            took: now.since(since),
        }));
        // It recovered while the rung was under way. One good glance is not that yet: a service
        // that was started a moment ago always looks good, and a ladder that believed it would
        // never reach its second rung.
        if !self.health.is_known_failed() {
            self.ladder.recovered(now);
        }
        self.nudge(now);
        true
    }

    /// The attempt whose outcome is overdue.
    pub fn overdue(&self, now: Mono) -> Option<ActionId> {
        self.ladder.overdue(now)
    }

    /// Asks for a reading when one is due, gives up one that is late, and tells what became
    /// tellable.
    pub fn tick(&mut self, policy: Policy, paused: bool, now: Mono, actions: &mut Actions) {
        if self.late_at().is_some_and(|late| now >= late) {
            let why = format!("no answer from the sensor within {}", self.spec.timeout);
            self.read(Err(why.into()), paused, now, actions);
        }
        let ladder_due = self.ladder_reading_due().is_some_and(|due| now >= due);
        if !self.schedule.awaited && !self.rests() && (now >= self.schedule.next || ladder_due) {
            self.schedule.awaited = true;
            self.schedule.asked = Some(now);
            let earliest = now.after(READING_GAP).before(Span::from_nanos(1));
            self.schedule.next = earliest.next_on_grid(self.spec.interval.max(policy.interval));
            actions.push(Action::Read { check: self.id });
        }
        if self.health.calm_down(now) && self.told.flapping {
            let check = self.spec.name.clone();
            actions.push(Action::Report(Report::Flapping { check, begins: false }));
        }
        self.tell(paused, now, actions);
        if !paused && self.reminder_at(policy).is_some_and(|at| now >= at) {
            self.alert(AlertKind::Reminder, now, actions);
        }
    }

    /// When [`tick`](Self::tick) has something to do. After a tick at `now` it lies after `now`.
    pub fn next_deadline(&self, policy: Policy, paused: bool) -> Mono {
        let read = match self.schedule.awaited {
            true => self.late_at(),
            false => (!self.rests()).then_some(self.schedule.next),
        };
        // What is not told in a pause is told when the pause ends, which is a deadline of the node.
        let telling = if paused { None } else { self.tells_at() };
        let reminder = if paused { None } else { self.reminder_at(policy) };
        let overdue = self.ladder.acting_deadline();
        let ladder = if self.schedule.awaited { None } else { self.ladder_reading_due() };
        let calm = self.health.calms_at();
        let due = [read, telling, reminder, overdue, ladder, calm];
        due.into_iter().flatten().min().unwrap_or(Mono::FAR)
    }

    /// What must outlive a restart: nothing, unless a rung was used or hooks wait for a recovery.
    pub fn remembered(&self) -> Option<Remembered> {
        let (rungs, uses) = self.all_uses();
        let told = self.told.is_open().then(|| self.told.clone());
        let is_used = uses.iter().any(|uses| !uses.is_empty());
        let check = self.spec.name.clone();
        (is_used || told.is_some()).then_some(Remembered { check, rungs, uses, told })
    }

    /// Takes over what was remembered. Budgets follow the text of a rung, as in a reload.
    pub fn remember(&mut self, remembered: Remembered, now: Mono) {
        let rungs = core::mem::take(&mut self.spec.on_fail);
        self.give_uses(&remembered.rungs, &remembered.uses, &rungs, now);
        self.spec.on_fail = rungs;
        if let Some(mut told) = remembered.told {
            told.at = told.at.min(now);
            told.wrong_since = told.wrong_since.map(|since| since.min(now));
            self.told = told;
        }
    }

    /// Every rung that the ladder has or had, as written, and its uses.
    fn all_uses(&self) -> (Vec<Box<str>>, Vec<VecDeque<Mono>>) {
        let present = self.spec.on_fail.iter().map(|rung| rung.text.clone());
        let present = present.zip(self.ladder.uses().iter().cloned());
        self.retired.iter().cloned().chain(present).unzip()
    }

    /// Gives uses to the rungs of their text, and keeps the others.
    fn give_uses(
        &mut self,
        texts: &[Box<str>],
        uses: &[VecDeque<Mono>],
        rungs: &[Rung],
        now: Mono,
    ) {
        let all = || texts.iter().map(|text| &**text);
        self.ladder.remember(uses_by_text(all, uses, rungs), now);
        let mut retired = Vec::new();
        for (index, (text, uses)) in texts.iter().zip(uses).enumerate() {
            let earlier = texts.iter().take(index).filter(|other| *other == text).count();
            let places = rungs.iter().filter(|rung| rung.text == *text).count();
            if earlier >= places && !uses.is_empty() {
                retired.push((text.clone(), uses.clone()));
            }
        }
        let surplus = retired.len().saturating_sub(RETIRED_MAX);
        retired.drain(..surplus);
        self.retired = retired;
    }

    /// Why it says what it says: the conditions that hold, with their values, or why nothing is
    /// known.
    pub fn reason(&self) -> String {
        match self.verdict() {
            Verdict::Healthy => String::new(),
            Verdict::Rests => {
                format!(
                    "group \"{}\" is not active here",
                    self.spec.group.as_deref().unwrap_or("?")
                )
            }
            Verdict::Unknown => self.health.blind().unwrap_or("nothing is known").to_string(),
            Verdict::Failed | Verdict::Degraded => {
                let mut parts = self.holding(&self.spec.fail_when, &self.fail_history);
                if parts.is_empty() {
                    parts = self.holding(&self.spec.warn_when, &self.warn_history);
                }
                if parts.is_empty() {
                    return "better now, not long enough to be believed".to_string();
                }
                let note =
                    self.readings.as_ref().and_then(|(readings, _)| readings.note.as_deref());
                parts.extend(note.map(ToString::to_string));
                parts.join("; ")
            }
        }
    }

    fn holding(&self, conditions: &[Condition], histories: &[History]) -> Vec<String> {
        let Some((readings, at)) = &self.readings else { return Vec::new() };
        let holds = |(condition, history): (&Condition, &History)| {
            let held = condition.look(readings, *at, history) == Truth::True;
            held.then(|| format!("{} ({})", condition.text(), shown(readings, condition)))
        };
        conditions.iter().zip(histories).filter_map(holds).collect()
    }

    /// Each condition, the verdict that it leads to, and whether it held at the newest reading.
    pub(crate) fn truths(&self) -> Vec<(&Condition, Verdict, Truth)> {
        let fail =
            self.spec.fail_when.iter().zip(&self.fail_history).map(|pair| (pair, Verdict::Failed));
        let warn = self
            .spec
            .warn_when
            .iter()
            .zip(&self.warn_history)
            .map(|pair| (pair, Verdict::Degraded));
        let mut truths = Vec::new();
        for ((condition, history), verdict) in fail.chain(warn) {
            let looked =
                self.readings.as_ref().map(|(readings, at)| condition.look(readings, *at, history));
            truths.push((condition, verdict, looked.unwrap_or(Truth::Unknown)));
        }
        truths
    }

    /// When an awaited reading counts as late.
    fn late_at(&self) -> Option<Mono> {
        let asked = self.schedule.asked.filter(|_| self.schedule.awaited)?;
        Some(asked.after(self.spec.timeout).after(LATE_GRACE))
    }

    /// When the ladder needs a fresh reading to go on; none if one was asked for since.
    fn ladder_reading_due(&self) -> Option<Mono> {
        let due = self.ladder.reading_due()?;
        match self.schedule.asked {
            Some(asked) => (asked < due).then(|| due.max(asked.after(READING_GAP))),
            None => Some(due),
        }
    }
}

fn fresh(conditions: &[Condition]) -> Vec<History> {
    alloc::vec![History::default(); conditions.len()]
}

/// Histories of `new`: a condition that stays keeps what it remembers.
fn kept(old: &[Condition], histories: &[History], new: &[Condition]) -> Vec<History> {
    let history = |condition: &Condition| {
        let known = old.iter().zip(histories).find(|(old, _)| *old == condition);
        known.map(|(_, history)| history.clone()).unwrap_or_default()
    };
    new.iter().map(history).collect()
}

/// The value that a condition looks at, as people read it.
pub(crate) fn shown(readings: &Readings, condition: &Condition) -> String {
    let unit = readings.quantities().get(condition.quantity()).map(|quantity| quantity.unit);
    unit.map_or_else(String::new, |unit| Shown(unit, readings.at(condition.quantity())).to_string())
}

#[cfg(test)]
mod tests;
