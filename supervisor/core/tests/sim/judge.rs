//! A second bookkeeping, from what goes in and out of a node alone, that knows what must never
//! happen.

use std::collections::BTreeMap;

use mastiff_core::check::READING_GAP;
use mastiff_core::event::{Action, Alert, AlertKind, CheckId, Event};
use mastiff_core::health::Verdict;
use mastiff_core::maintenance::PAUSES_MAX;
use mastiff_core::node::{Memory, Node};
use mastiff_core::reading::{Readings, Value};
use mastiff_core::recovery::{BACKOFF_FIRST, BACKOFF_MAX, Licence, Wait};
use mastiff_core::report::Report;
use mastiff_core::spec::{BUDGET_TIMES_MAX, CheckSpec};
use mastiff_core::time::{Mono, Span};

use crate::world::{Happened, POLICY, RUNGS};

/// A failed check whose ladder rests is read again within the longest interval and time-out of the
/// world.
const RESTS_MAX: Span = Span::from_secs(60 + 11 + 5);

/// What the hooks of one check were told.
#[derive(Clone, Debug)]
struct Heard {
    verdict: Verdict,
    is_flapping: bool,
    at: Mono,
}

#[derive(Default)]
pub struct Judge {
    /// Which rungs may start.
    pub licence: Licence,
    /// Whether the group is active here.
    pub is_here: bool,
    /// Starts of each rung of each check, by names, on the present clock.
    starts: BTreeMap<(Box<str>, Box<str>), Vec<Mono>>,
    heard: BTreeMap<Box<str>, Heard>,
    /// Since the daemon started:
    read_at: BTreeMap<CheckId, Mono>,
    under_way: BTreeMap<CheckId, Box<str>>,
    looked_at: Mono,
    /// The rung that was announced, until it starts.
    announced: Option<Box<str>>,
    rounds: BTreeMap<Box<str>, u32>,
    rests_since: BTreeMap<Box<str>, Mono>,
    /// The reading that is being handled.
    newest: Option<(CheckId, Option<Readings>)>,
}

impl Judge {
    pub fn restarted(&mut self) {
        self.read_at.clear();
        self.under_way.clear();
        self.rounds.clear();
        self.rests_since.clear();
    }

    pub fn clock_falls(&mut self, by: i64) {
        let moments = self.starts.values_mut().flatten();
        for at in moments.chain(self.heard.values_mut().map(|heard| &mut heard.at)) {
            *at = Mono::from_nanos(at.as_nanos() - by);
        }
    }

    pub fn event(&mut self, event: &Event) {
        self.newest = match event {
            Event::Reading { check, result } => Some((*check, result.clone().ok())),
            Event::Nudge { .. } | Event::Outcome { .. } => None,
        };
    }

    pub fn action(&mut self, action: &Action, now: Mono, node: &Node, happened: &mut Happened) {
        match action {
            Action::Read { check } => {
                let spec = node.spec(*check).expect("a reading of a check that there is");
                assert!(spec.group.is_none() || self.is_here, "a reading of one that rests");
                let last = self.read_at.insert(*check, now);
                let is_apart = last.is_none_or(|last| now.since(last) >= READING_GAP);
                assert!(is_apart, "two readings of {check:?} within the gap");
            }
            Action::Start { check, .. } => {
                happened.starts += 1;
                self.start(*check, now, node);
            }
            Action::Alert(alert) => {
                happened.alerts += 1;
                self.alert(alert, now, node, happened);
            }
            Action::Report(report) => self.report(report, node, happened),
            Action::Save => {}
        }
    }

    fn start(&mut self, check: CheckId, now: Mono, node: &Node) {
        let spec = node.spec(check).expect("a rung of a check that there is");
        let view = node.view(&spec.name, now).unwrap();
        let name = &spec.name;
        assert_eq!(view.verdict, Verdict::Failed, "L1: {name} is not confirmed failed");
        assert!(spec.group.is_none() || self.is_here, "a rung of {name}, which rests");
        assert!(view.paused.is_none(), "a rung of {name} in a pause");
        let (of, readings) = self.newest.as_ref().expect("L1: a rung without a reading");
        assert_eq!(*of, check, "L1: a rung on the reading of another check");
        let holds = view.conditions.iter().any(|condition| {
            condition.leads_to == Verdict::Failed && condition.holds == Some(true)
        });
        assert!(holds, "L1: the newest reading of {name} does not say failed");
        let fault = readings.as_ref().and_then(|readings| readings.get("fault"));
        let by_growth = spec.fail_when.len() > 1;
        assert!(fault == Some(&Value::Flag(true)) || by_growth, "L1: {fault:?}");
        let rung = self.announced.take().expect("a rung is announced");
        assert_ne!(self.licence, Licence::Nothing, "L6: {rung} of {name} on the way down");
        let disturbs = self.licence == Licence::ObserveOnly && &*rung == "reboot";
        assert!(!disturbs, "L6: {rung} of {name} on a node that only observes");
        // Whoever looks every three seconds may see each of its rests and nothing between them.
        self.rests_since.remove(name);
        let before = self.under_way.insert(check, rung.clone());
        assert_eq!(before, None, "L3: two rungs of {name}");
        let starts = self.starts.entry((name.clone(), rung.clone())).or_default();
        starts.push(now);
        let budget = RUNGS.iter().find(|(text, _)| *text == &*rung).unwrap().1;
        let used = starts.iter().filter(|at| now.since(**at) < budget.within).count();
        assert!(used <= budget.times as usize, "L2: use {used} of {rung} of {name} in {budget}");
    }

    fn report(&mut self, report: &Report, node: &Node, happened: &mut Happened) {
        match report {
            Report::RungStarts { rung, .. } => self.announced = Some(rung.clone()),
            Report::Waits { check, span, why, rounds } => {
                match why {
                    Wait::Backoff => happened.backoffs += 1,
                    Wait::Budget => happened.budget_waits += 1,
                }
                let doubled = 1_u64 << rounds.saturating_sub(1).min(20);
                let backoff = BACKOFF_FIRST.times(doubled).min(BACKOFF_MAX);
                match why {
                    Wait::Backoff => assert_eq!(*span, backoff, "L5: {check} after {rounds}"),
                    Wait::Budget => assert!(*span <= Span::from_secs(3600), "L4: {check}"),
                }
                let last = self.rounds.insert(check.clone(), *rounds).unwrap_or(0);
                let goes_on = *rounds == last || *rounds == last + 1;
                assert!(goes_on || *rounds <= 1, "L5: {check} from round {last} to {rounds}");
            }
            Report::CheckGoes { check } => {
                self.rounds.remove(check);
                self.rests_since.remove(check);
            }
            Report::RungEnds { check, .. } => {
                let ended = |id: &CheckId| node.spec(*id).is_none_or(|spec| spec.name == *check);
                self.under_way.retain(|id, _| !ended(id));
            }
            Report::RungPassed { check, rung } => {
                happened.passes += 1;
                let may = self.licence == Licence::ObserveOnly && &**rung == "reboot";
                assert!(may, "L6: {rung} of {check} may start, or nothing may");
            }
            Report::Rests { check, begins, .. } => {
                happened.rests += u64::from(*begins);
                happened.wakes += u64::from(!*begins);
                assert_eq!(*begins, !self.is_here, "{check} rests where its group is active");
                self.rests_since.remove(check);
            }
            Report::Verdict { .. }
            | Report::Flapping { .. }
            | Report::PauseBegins { .. }
            | Report::PauseEnds { .. }
            | Report::CheckAppears { .. } => {}
        }
    }

    fn alert(&mut self, alert: &Alert, now: Mono, node: &Node, happened: &mut Happened) {
        let view = node.view(&alert.check, now).expect("an alert of a check that there is");
        assert!(view.paused.is_none(), "an alert in a pause: {alert:?}");
        // Who rests has nothing to complain of: for the hooks that is the end of the story.
        let verdict = alert.verdict.max(Verdict::Healthy);
        let nothing = Heard { verdict: Verdict::Healthy, is_flapping: false, at: Mono::BOOT };
        let heard = self.heard.remove(&alert.check).unwrap_or(nothing);
        let is_open = heard.is_flapping || heard.verdict != Verdict::Healthy;
        let is_news = heard.is_flapping || verdict != heard.verdict;
        let makes_sense = match alert.kind {
            AlertKind::Problem => is_news && verdict != Verdict::Healthy,
            AlertKind::Improved => is_news && is_open && alert.verdict == Verdict::Degraded,
            AlertKind::Recovery => is_open && verdict == Verdict::Healthy,
            AlertKind::Flapping => is_news && !heard.is_flapping,
            // A rung's word: only a confirmed failure climbs.
            AlertKind::Escalation => alert.verdict == Verdict::Failed,
            AlertKind::Reminder => !is_news && is_open && now.since(heard.at) >= POLICY.remind,
        };
        assert!(makes_sense, "{alert:?} after {heard:?} at {now:?}");
        assert_eq!(alert.was, heard.verdict, "{alert:?} after {heard:?}");
        let is_flapping = alert.kind == AlertKind::Flapping;
        happened.flapping += u64::from(is_flapping);
        happened.recoveries += u64::from(alert.kind == AlertKind::Recovery);
        happened.reminders += u64::from(alert.kind == AlertKind::Reminder);
        let heard = Heard { verdict, is_flapping, at: now };
        self.heard.insert(alert.check.clone(), heard);
    }

    pub fn after_turn(&mut self, now: Mono, node: &Node, specs: &[CheckSpec]) {
        // Views are dear, and rest is judged in seconds.
        if now.since(self.looked_at) < Span::from_secs(3) && now >= self.looked_at {
            return;
        }
        self.looked_at = now;
        for spec in specs.iter().filter(|spec| !spec.on_fail.is_empty()) {
            let view = node.view(&spec.name, now).unwrap();
            let ladder = view.ladder.unwrap();
            let is_failed_now = view.verdict == Verdict::Failed
                && view
                    .conditions
                    .iter()
                    .any(|c| c.leads_to == Verdict::Failed && c.holds == Some(true));
            let due = ladder.due_in_secs.unwrap_or(0.0);
            assert!(due <= 3600.0 + 300.0, "L4: {} in {due} s", spec.name);
            // At rest, or its time is over: then only a reading is awaited.
            let may = view.paused.is_none() && self.licence != Licence::Nothing;
            if due <= 0.0 && is_failed_now && may {
                let since = *self.rests_since.entry(spec.name.clone()).or_insert(now);
                assert!(now.since(since) <= RESTS_MAX, "L4: {} rests: {node:?}", spec.name);
                continue;
            }
            self.rests_since.remove(&spec.name);
        }
    }

    pub fn saved(&self, memory: &Memory) {
        assert!(memory.pauses.len() <= PAUSES_MAX);
        assert!(memory.checks.len() <= 4, "one record for each name");
        let uses = memory.checks.iter().flat_map(|check| check.uses.iter());
        assert!(uses.map(|uses| uses.len()).max().unwrap_or(0) <= BUDGET_TIMES_MAX as usize);
    }

    /// Long after healing: nobody waits for the end of a problem.
    pub fn all_is_told(&self) {
        for (check, heard) in &self.heard {
            assert_eq!(heard.verdict, Verdict::Healthy, "{check}: {heard:?}");
            assert!(!heard.is_flapping, "{check}: {heard:?}");
        }
    }
}
