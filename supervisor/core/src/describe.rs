//! A check in words and plain values: what `mastiff status` and `mastiff explain` print.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::check::{Check, shown};
use crate::condition::Truth;
use crate::health::Glance;
use crate::reading::{Readings, Shown, Value};
use crate::recovery::{Climb, Wait};
use crate::spec::Origin;
use crate::time::Mono;
use crate::view::{CheckView, ConditionView, LadderView, PauseView, RungView, Tendency, ValueView};

impl Check {
    /// The whole check.
    pub fn view(&self, paused: Option<PauseView>, now: Mono) -> CheckView {
        let readings = self.readings.as_ref().map(|(readings, _)| readings);
        CheckView {
            name: self.spec.name.to_string(),
            sensor: self.spec.sensor.to_string(),
            target: self.spec.target.to_string(),
            discovered: self.spec.origin == Origin::Discovered,
            verdict: self.verdict(),
            for_secs: now.since(self.health.since()).as_secs_f64(),
            reason: self.reason(),
            note: readings.and_then(|readings| readings.note.as_deref()).map(ToString::to_string),
            reading_age_secs: self.readings.as_ref().map(|(_, at)| now.since(*at).as_secs_f64()),
            values: readings.map(values).unwrap_or_default(),
            conditions: self.condition_views(),
            fail_after_secs: self.spec.fail_after.as_secs_f64(),
            recover_after_secs: self.spec.recover_after.as_secs_f64(),
            interval_secs: self.spec.interval.as_secs_f64(),
            tendency: self.tendency(now),
            flapping: self.health.is_flapping(),
            paused,
            ladder: (!self.spec.on_fail.is_empty()).then(|| self.ladder_view(now)),
        }
    }

    fn condition_views(&self) -> Vec<ConditionView> {
        let view =
            |(condition, leads_to, truth): (&crate::condition::Condition, _, _)| ConditionView {
                text: condition.text().to_string(),
                leads_to,
                holds: match truth {
                    Truth::True => Some(true),
                    Truth::False => Some(false),
                    Truth::Unknown => None,
                },
                value: self
                    .readings
                    .as_ref()
                    .map_or_else(String::new, |(readings, _)| shown(readings, condition)),
            };
        self.truths().into_iter().map(view).collect()
    }

    fn tendency(&self, now: Mono) -> Option<Tendency> {
        let due = self.health.confirms_at(self.spec.fail_after, self.spec.recover_after)?;
        let reading = match self.health.glance() {
            Glance::Good => "good",
            Glance::Bad => "bad",
            Glance::Failed => "failed",
            Glance::Blind => return None,
        };
        Some(Tendency {
            reading: reading.to_string(),
            believed_in_secs: due.since(now).as_secs_f64(),
        })
    }

    fn ladder_view(&self, now: Mono) -> LadderView {
        let rung_text =
            |rung: usize| self.spec.on_fail.get(rung).map_or("a rung", |rung| &*rung.text);
        let (words, due) = match *self.ladder.climb() {
            Climb::Ground => ("at rest".to_string(), None),
            Climb::Acting { rung, since, deadline, .. } => (
                format!("\"{}\" under way for {}", rung_text(rung), now.since(since)),
                Some(deadline),
            ),
            Climb::Settling { rung, until } => (
                format!("gives \"{}\" {} more to help", rung_text(rung), until.since(now)),
                Some(until),
            ),
            Climb::Waiting { until, why: Wait::Backoff } => {
                let rounds = self.ladder.rounds();
                (format!("waits {} (back-off after round {rounds})", until.since(now)), Some(until))
            }
            Climb::Waiting { until, why: Wait::Budget } => {
                (format!("waits {} (budgets are spent)", until.since(now)), Some(until))
            }
        };
        let rung_view = |(index, rung): (usize, &crate::spec::Rung)| RungView {
            text: rung.text.to_string(),
            budget: rung.budget.to_string(),
            used: u32::try_from(self.ladder.used(index, rung.budget, now)).unwrap_or(u32::MAX),
        };
        LadderView {
            rungs: self.spec.on_fail.iter().enumerate().map(rung_view).collect(),
            now: words,
            due_in_secs: due.map(|due| due.since(now).as_secs_f64()),
        }
    }
}

/// All values of a reading.
fn values(readings: &Readings) -> Vec<ValueView> {
    let view = |(quantity, value): (&'static crate::reading::Quantity, Option<&Value>)| ValueView {
        name: quantity.name.to_string(),
        unit: quantity.unit.name().to_string(),
        number: match value {
            Some(Value::Number(number)) => Some(*number),
            Some(Value::Flag(flag)) => Some(f64::from(u8::from(*flag))),
            Some(Value::Word(_) | Value::Absent) | None => None,
        },
        shown: Shown(quantity.unit, value).to_string(),
    };
    readings.iter().map(view).collect()
}
