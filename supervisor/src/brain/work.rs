//! What the ladder starts and the hooks are told: programs on their way, and how they end.

use std::collections::VecDeque;

use mastiff_core::event::{Action, CheckId, Event};
use mastiff_core::recovery::ActionId;
use mastiff_core::report::{Outcome, Severity};
use mastiff_core::time::{Mono, Span};

use super::Brain;
use super::alerts::Tried;
use crate::effects::{self, Cause, Work};
use crate::probes::Purpose;
use crate::probes::wire::{Ended, OUTPUT_BYTES, Output, Run};

/// For a program that only prepares the one after it; PID 1 answers in milliseconds, or not at all.
const PREPARATION_TIMEOUT: Span = Span::from_secs(5);

impl Brain {
    /// Starts an effect; returns its outcome if that is known at once.
    pub(super) fn start(
        &mut self,
        id: ActionId,
        check: CheckId,
        effect: &str,
        arguments: &[String],
        now: Mono,
        actions: &mut Vec<Action>,
    ) -> Option<Outcome> {
        let unknown = |why: &str| Some(Outcome::Unknown(why.into()));
        let Some(effect) = effects::find(effect) else { return unknown("there is no such effect") };
        let spec = self.node.spec(check);
        let name = spec.map_or_else(String::new, |spec| spec.name.to_string());
        let target = spec.map_or_else(String::new, |spec| spec.target.to_string());
        if self.going.is_on() {
            // Another check's, decided in the same turn.
            return Some(Outcome::Failed("not started: this machine is on its way down".into()));
        }
        let make = match effect.work {
            Work::Programs(make) => make,
            Work::Alert => {
                return match self.node.escalate(check, now, actions) {
                    Ok(()) => Some(Outcome::Done),
                    Err(why) => unknown(why),
                };
            }
            Work::Going(kind) => return self.go(id, (check, name), kind, now),
            Work::Switchover => return self.hand_over(id, check, now),
        };
        let cause = Cause { target: &target, readings: self.node.readings(check) };
        let programs = match make(&cause, arguments) {
            Ok(programs) => programs,
            Err(why) => return unknown(&why),
        };
        let environment = vec![
            ("MASTIFF_NODE".to_string(), self.config.node.name.clone()),
            ("MASTIFF_CHECK".to_string(), name),
            ("MASTIFF_TARGET".to_string(), target.clone()),
        ];
        let last = programs.len().saturating_sub(1);
        let before = u64::try_from(last).unwrap_or(u64::MAX);
        let rest = effect.spec.deadline.minus(PREPARATION_TIMEOUT.times(before));
        let run = |(place, arguments)| Run {
            arguments,
            environment: environment.clone(),
            input: String::new(),
            // Together they keep the deadline of the rung.
            timeout: if place == last { rest } else { PREPARATION_TIMEOUT },
            output_max: OUTPUT_BYTES,
        };
        self.steps.insert(id, programs.into_iter().enumerate().map(run).collect());
        self.next_step(id, now).map(|why| Outcome::Unknown(why.into()))
    }

    /// Starts the next program of a rung; why not, if it cannot be started.
    fn next_step(&mut self, id: ActionId, now: Mono) -> Option<String> {
        let run = self.steps.get_mut(&id).and_then(VecDeque::pop_front);
        let started = match run {
            Some(_) if self.going.is_on() => Err("this machine is on its way down".to_string()),
            Some(run) => self.probes.run(Purpose::Effect(id), run, now),
            None => Err("there is nothing to run".to_string()),
        };
        if started.is_err() {
            self.steps.remove(&id);
        }
        started.err()
    }

    /// A program of a rung has ended. Only the last one's end is the rung's.
    fn take_step(
        &mut self,
        id: ActionId,
        result: Result<Output, String>,
        now: Mono,
    ) -> Option<Outcome> {
        if self.steps.get(&id).is_some_and(|left| !left.is_empty()) {
            return self.next_step(id, now).map(|why| Outcome::Unknown(why.into()));
        }
        self.steps.remove(&id);
        Some(outcome(result))
    }

    pub(super) fn take_done(
        &mut self,
        purpose: Purpose,
        result: Result<Output, String>,
        now: Mono,
        actions: &mut Vec<Action>,
    ) {
        match purpose {
            Purpose::Effect(id) => {
                if let Some(outcome) = self.take_step(id, result, now) {
                    self.node.handle(Event::Outcome { id, outcome }, now, actions);
                }
            }
            Purpose::Alert => self.take_alert_result(result, now),
            Purpose::State => self.take_save_result(result, now),
            Purpose::Flight => self.take_flight_result(result, now),
            Purpose::GoingDown => self.take_going_down(result, now),
            Purpose::Reload => self.take_config(result, now),
            // Asked at the end only, where nobody decides any more.
            Purpose::NextConfig => {}
            Purpose::Fence => self.take_fenced(result, now),
            Purpose::GroupUnits(step, call) => self.take_units(step, call, result, now),
            Purpose::Hook => self.take_hook(result),
            Purpose::Gates => self.take_gates(result),
            Purpose::Readiness(group) => self.take_readiness(group, result, now),
            Purpose::BootLoop => self.take_boot_loop(result, now),
            Purpose::Going(stage) => self.take_stage(stage, result, now),
            // The probes keep these to themselves.
            Purpose::Check(_) | Purpose::Units => {}
        }
    }

    pub(super) fn take_alert_result(&mut self, result: Result<Output, String>, now: Mono) {
        let result = match outcome(result) {
            Outcome::Done => Ok(()),
            Outcome::Failed(why) | Outcome::Unknown(why) => Err(why.into_string()),
        };
        match self.alerts.tried(result, now) {
            Some(Tried::Again(why)) => {
                let text = format!("an alert hook failed and is tried again: {why}");
                self.events.record("alert-retry", Severity::Warning, None, &text);
            }
            Some(Tried::GivenUp(why)) => {
                let text = format!("an alert was not delivered after many tries: {why}");
                self.events.record("alert-lost", Severity::Error, None, &text);
            }
            Some(Tried::Delivered) | None => {}
        }
        self.save_soon(now);
    }
}

/// How a program ended, as the outcome of a rung.
pub(super) fn outcome(result: Result<Output, String>) -> Outcome {
    match result {
        Ok(Output::Finished(Ended { code: Some(0), .. })) => Outcome::Done,
        Ok(Output::Finished(Ended { code: Some(code), output, .. })) => {
            let line = output.lines().next().unwrap_or("it said nothing");
            Outcome::Failed(format!("exit code {code}: {line}").into())
        }
        Ok(Output::Finished(Ended { signal: Some(signal), .. })) => {
            Outcome::Failed(format!("ended by signal {signal}").into())
        }
        Ok(Output::Finished(Ended { took, .. })) => {
            Outcome::Unknown(format!("still running after {took}, and killed").into())
        }
        Ok(_) => Outcome::Unknown("the runner gave another answer than asked for".into()),
        Err(why) => Outcome::Unknown(why.into()),
    }
}
