//! Whom a check tells, and when: one alert for each change, always the recovery, and reminders
//! between them.

use serde::{Deserialize, Serialize};

use super::{Check, UNKNOWN_PATIENCE};
use crate::event::{Action, Actions, Alert, AlertKind};
use crate::health::{Glance, Verdict};
use crate::node::Policy;
use crate::report::Report;
use crate::time::{Mono, Span};

/// What the alert hooks know. It outlives a restart: who was told of a problem must be told of its
/// end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The last verdict that they were told.
    pub verdict: Verdict,
    /// When they were last told something.
    pub at: Mono,
    /// When it left `healthy`.
    pub wrong_since: Option<Mono>,
    /// Their last word is that it changes too often, and the verdict that came out of it is still
    /// to be told.
    pub flapping: bool,
}

impl Told {
    /// Hooks expect health: they are told of what differs from it.
    pub(super) const fn nothing(now: Mono) -> Self {
        Self { verdict: Verdict::Healthy, at: now, wrong_since: None, flapping: false }
    }

    /// Whether the hooks wait for a message that all is well.
    pub fn is_open(&self) -> bool {
        self.flapping || self.verdict != Verdict::Healthy
    }
}

/// What hooks make of a verdict: who rests has nothing to complain of.
const fn as_told(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Rests => Verdict::Healthy,
        Verdict::Healthy | Verdict::Degraded | Verdict::Unknown | Verdict::Failed => verdict,
    }
}

impl Check {
    /// When the hooks can be told what they do not know yet; none if they know all.
    pub(super) fn tells_at(&self) -> Option<Mono> {
        let verdict = self.verdict();
        let is_news = if self.told.flapping {
            !self.health.is_flapping()
        } else {
            as_told(verdict) != self.told.verdict
        };
        // What is seen, but not long enough to be believed, is no news: it becomes some, one way or
        // the other.
        let is_news =
            is_news && (verdict != Verdict::Unknown || self.health.glance() == Glance::Blind);
        let patience = if verdict == Verdict::Unknown { UNKNOWN_PATIENCE } else { Span::ZERO };
        is_news.then(|| self.health.since().after(patience))
    }

    /// When the hooks are reminded of what they know; none if it is over, or if they know less than
    /// there is.
    pub(super) fn reminder_at(&self, policy: Policy) -> Option<Mono> {
        let stays_wrong = self.told.verdict != Verdict::Healthy
            && self.told.verdict == self.verdict()
            && !self.told.flapping;
        stays_wrong.then(|| self.told.at.after(policy.remind))
    }

    /// Tells the hooks if they believe something else, it is worth telling, and nobody asked for
    /// silence.
    pub(super) fn tell(&mut self, paused: bool, now: Mono, actions: &mut Actions) {
        let verdict = as_told(self.verdict());
        if verdict == Verdict::Healthy && !self.told.is_open() {
            self.told.wrong_since = None;
        } else {
            self.told.wrong_since.get_or_insert(self.health.since());
        }
        if paused || self.tells_at().is_none_or(|at| now < at) {
            return;
        }
        if self.health.is_flapping() {
            self.told.flapping = true;
            let check = self.spec.name.clone();
            actions.push(Action::Report(Report::Flapping { check, begins: true }));
            self.alert(AlertKind::Flapping, now, actions);
            return;
        }
        let was_flapping = core::mem::take(&mut self.told.flapping);
        let kind = match verdict {
            Verdict::Rests | Verdict::Healthy => AlertKind::Recovery,
            // Nobody can say that it got better.
            Verdict::Unknown => AlertKind::Problem,
            _ if was_flapping || verdict > self.told.verdict => AlertKind::Problem,
            Verdict::Degraded | Verdict::Failed => AlertKind::Improved,
        };
        self.alert(kind, now, actions);
    }

    /// Sends one alert, and remembers what the hooks know now.
    pub(crate) fn alert(&mut self, kind: AlertKind, now: Mono, actions: &mut Actions) {
        let verdict = self.verdict();
        let was = core::mem::replace(&mut self.told.verdict, as_told(verdict));
        self.told.at = now;
        let lasted = self.told.wrong_since.map_or(Span::ZERO, |since| now.since(since));
        if !self.told.is_open() {
            self.told.wrong_since = None;
        }
        // Before the alert: told twice is better than a problem without its end.
        actions.push(Action::Save);
        actions.push(Action::Alert(Alert {
            kind,
            check: self.spec.name.clone(),
            sensor: self.spec.sensor.clone(),
            target: self.spec.target.clone(),
            verdict,
            was,
            reason: self.reason().into(),
            lasted,
        }));
    }
}
