//! The units of groups: started in order, stopped in reverse, and confirmed to be gone.
//!
//! PID 1 does it, asked by `systemctl`: a child with a deadline each, so that a hanging PID 1 costs
//! the step and nothing else. The core says when ([`Step::StartUnits`], [`Step::StopUnits`]), has
//! deadlines of its own, and asks again for what did not go.
//!
//! ```text
//! start   gate opens ─► reset-failed ─► start first … start last ─► done
//! stop    gate closes ─► note ─► stop last … stop first ─► look ─► done
//!                                 ▲                         ▲ │ something still runs
//!     every few seconds, and once │                         └─┤ again after a moment
//!     it was killed at the end of └───────────────────────────┘
//!     its time
//! ```

use mastiff_core::pair::event::{Step, StepId};
use mastiff_core::pair::message::{Epoch, GroupKey};
use mastiff_core::report::Severity;
use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensors::unit::parse_show;

use super::Brain;
use super::going::has_systemd;
use crate::config::Config;
use crate::config::pair::{GroupConfig, can_be_exclusive};
use crate::effects::restart::SYSTEMCTL;
use crate::gate::{self, Gate};
use crate::keeper::setup::group_key;
use crate::probes::Purpose;
use crate::probes::wire::{Ended, OUTPUT_BYTES_MAX, Output, Run};
use course::{Answer, Course, First, Next};
use gone::Memory;
use readiness::Readiness;

mod course;
mod gone;
mod readiness;

pub use course::Call;

/// For what PID 1 answers in milliseconds, or not at all.
const ANSWER_WITHIN: Span = Span::from_secs(5);
/// PID 1 reads all units and runs all generators: a second on a small machine.
const RELOAD_WITHIN: Span = Span::from_secs(60);
/// Calls of one group in one turn at most; none ends at once but by an error.
const CALLS_MAX: usize = 4;

/// The units of one group.
#[derive(Debug)]
pub(super) struct Units {
    group: GroupKey,
    name: String,
    units: Vec<String>,
    start_within: Span,
    stop_within: Span,
    /// They must not run twice (`safety = "data"`).
    is_exclusive: bool,
    gate: Gate,
    /// Of the lease that the group is had by.
    epoch: Epoch,
    course: Option<Course>,
    /// Calls to start that have not ended: what they start may come after what is stopped.
    starting: u32,
    /// The last stop did not end in time: the next one kills at once.
    is_stubborn: bool,
    readiness: Readiness,
    memory: Memory,
    /// Why the last step failed, or what keeps this one.
    trouble: Option<String>,
}

impl Units {
    /// Of all groups, in the order of the configuration.
    pub(super) fn of(config: &Config) -> Vec<Self> {
        let run_dir = &config.node.run_dir;
        let units = |group: &GroupConfig| Self {
            group: group_key(&group.name),
            name: group.name.clone(),
            units: group.units.clone(),
            start_within: group.start_within,
            stop_within: group.stop_within,
            is_exclusive: group.is_data,
            gate: Gate::new(run_dir, &group.name, group.is_data),
            epoch: Epoch::NONE,
            course: None,
            starting: 0,
            is_stubborn: false,
            readiness: Readiness::default(),
            memory: Memory::default(),
            trouble: None,
        };
        config.pair.iter().flat_map(|pair| &pair.groups).map(units).collect()
    }

    /// When something is due.
    pub(super) fn next_deadline(&self, now: Mono) -> Mono {
        match self.course.as_ref().map(|course| course.next(now)) {
            None => Mono::FAR,
            Some(Next::Wait(until)) => until,
            Some(Next::Ask(_) | Next::Over(_)) => now,
        }
    }

    /// The group is had here, in this epoch, or not any more. Where it has units they come and go
    /// by steps of their own, and the gate with them.
    fn had(&mut self, is_had: bool, epoch: Epoch) {
        self.epoch = self.epoch.max(epoch);
        let opened = match (is_had, self.units.is_empty() || self.gate.is_open()) {
            (true, true) => self.gate.open(self.epoch),
            (false, _) if self.units.is_empty() => self.gate.close(),
            _ => return,
        };
        if let Err(why) = opened {
            log::error!("{why}");
        }
    }

    /// The program and its time.
    fn run(&self, course: &Course, call: Call, now: Mono) -> Run {
        let one = |place: usize| self.units.get(place..=place).unwrap_or_default();
        let wanted = gone::wanted();
        let members = match call {
            Call::Kill | Call::Note | Call::Look => self.memory.members(),
            Call::Prepare | Call::Start(_) | Call::Stop(_) => &[],
        };
        // Of what only starts others there is nothing to kill.
        let members = members.iter().filter(|name| call != Call::Kill || can_be_exclusive(name));
        let (verb, option, units) = match call {
            Call::Prepare => ("reset-failed", "--no-ask-password", self.units.as_slice()),
            Call::Start(place) => ("start", "--no-ask-password", one(place)),
            Call::Stop(place) => ("stop", "--no-ask-password", one(place)),
            Call::Kill => ("kill", "--signal=SIGKILL", self.units.as_slice()),
            Call::Note | Call::Look => ("show", wanted.as_str(), self.units.as_slice()),
        };
        systemctl(&[verb, option, "--"], units.iter().chain(members), course.patience(call, now))
    }

    /// What the answer means for the step.
    fn judge(&mut self, call: Call, said: Result<String, String>) -> Answer {
        let done = match (call, said) {
            (Call::Look, Ok(_)) if self.starting > 0 => {
                Err("a start of before has not ended".to_string())
            }
            (Call::Look, Ok(text)) => {
                let states = parse_show(&text);
                if self.is_exclusive {
                    self.memory.learn_more(&self.units, &states);
                }
                let gone = self.memory.all_gone(&self.units, &states, &Root::machine());
                // With an open gate something may start them again.
                if self.is_exclusive { gone.and_then(|()| self.gate.close()) } else { gone }
            }
            (Call::Note, Ok(text)) => {
                let states = parse_show(&text);
                if gone::untold(&self.units, &states).is_none() {
                    self.memory.learn(&self.units, &states);
                }
                Ok(())
            }
            (_, said) => said.map(drop),
        };
        match (done, call) {
            (Ok(()), _) => Answer::Yes,
            // There may be nothing to forget, and nothing left to kill.
            (Err(_), Call::Prepare | Call::Note | Call::Kill) => Answer::No,
            (Err(why), _) => {
                self.trouble = Some(why);
                Answer::No
            }
        }
    }
}

impl Brain {
    /// Before anything else is asked of PID 1: what must not run twice is started by nobody else.
    pub(super) fn close_gates(&mut self, now: Mono) {
        // Without such units, too: those of a configuration of before could never be started.
        if !has_systemd() {
            return;
        }
        let reload = gate::install(&self.config).and_then(|changed| {
            if !changed {
                return Ok(());
            }
            let run = systemctl(&["daemon-reload"], [].iter(), RELOAD_WITHIN);
            self.probes.run(Purpose::Gates, run, now)
        });
        if let Err(why) = reload {
            self.tell_gates_open(&why);
        }
    }

    /// PID 1 has loaded its units again, or not.
    pub(super) fn take_gates(&mut self, result: Result<Output, String>) {
        if let Err(why) = said(result) {
            self.tell_gates_open(&why);
        }
    }

    fn tell_gates_open(&mut self, why: &str) {
        let text = format!(
            "systemd may start units that must not run twice, so leave them disabled: {why}"
        );
        self.events.record("gate-failed", Severity::Error, None, &text);
    }

    /// A step that PID 1 does for a group. It replaces what was done for the group before.
    pub(super) fn move_units(&mut self, step: StepId, now: Mono) {
        let Some(place) = self.units.iter().position(|units| units.group == step.group) else {
            return self.keeper.done(step, false);
        };
        let Some(units) = self.units.get_mut(place) else { return };
        let starts = step.step == Step::StartUnits;
        // Before a start, or PID 1 refuses it; before a stop, or something starts it again.
        let gate = if starts { units.gate.open(units.epoch) } else { units.gate.close() };
        let within = if starts { units.start_within } else { units.stop_within };
        let many = units.units.len();
        let first = match (units.is_stubborn, units.is_exclusive) {
            (true, _) => First::Kill,
            (false, true) => First::Note,
            (false, false) => First::Stop,
        };
        units.course = Some(Course::new(step, many, within, first, now));
        units.trouble = None;
        if starts {
            units.memory.forget_ends();
        }
        if let Err(why) = gate {
            self.events.record("gate-failed", Severity::Error, None, &why);
        }
        self.go_on_with_units(place, now);
    }

    /// When something of them is due.
    pub(super) fn units_deadline(&self, now: Mono) -> Mono {
        let due = self.units.iter().map(|units| units.next_deadline(now));
        due.min().unwrap_or(Mono::FAR).min(self.readiness_deadline())
    }

    /// Why the last step of a group's units failed, or what the one under way waits for.
    pub(super) fn units_trouble(&self, group: &str) -> Option<String> {
        self.units.iter().find(|units| units.name == group)?.trouble.clone()
    }

    /// What is due.
    pub(super) fn tick_units(&mut self, now: Mono) {
        self.ask_readiness(now);
        for place in 0..self.units.len() {
            self.go_on_with_units(place, now);
        }
    }

    fn go_on_with_units(&mut self, place: usize, now: Mono) {
        for _ in 0..CALLS_MAX {
            let Some(units) = self.units.get_mut(place) else { return };
            let Some(course) = &units.course else { return };
            let call = match course.next(now) {
                Next::Wait(_) => return,
                Next::Over(ok) => return self.end_units(place, ok, now),
                Next::Ask(call) => call,
            };
            let step = course.step;
            let run = units.run(course, call, now);
            if let Some(course) = &mut units.course {
                course.asked(call);
            }
            units.starting = units.starting.saturating_add(u32::from(is_start(call)));
            if let Err(why) = self.probes.run(Purpose::GroupUnits(step, call), run, now) {
                self.hear_units(place, step, call, Err(why), now);
            }
        }
    }

    /// PID 1 has answered, or not.
    pub(super) fn take_units(
        &mut self,
        step: StepId,
        call: Call,
        result: Result<Output, String>,
        now: Mono,
    ) {
        if let Some(place) = self.units.iter().position(|units| units.group == step.group) {
            self.hear_units(place, step, call, said(result), now);
            self.go_on_with_units(place, now);
        }
    }

    fn hear_units(
        &mut self,
        place: usize,
        step: StepId,
        call: Call,
        said: Result<String, String>,
        now: Mono,
    ) {
        let Some(units) = self.units.get_mut(place) else { return };
        units.starting = units.starting.saturating_sub(u32::from(is_start(call)));
        if units.course.as_ref().is_none_or(|course| course.step != step) {
            // Of a step that was left.
            return;
        }
        let answer = units.judge(call, said);
        if let Some(course) = &mut units.course {
            course.answered(call, answer, now);
        }
    }

    fn end_units(&mut self, place: usize, ok: bool, now: Mono) {
        let Some(units) = self.units.get_mut(place) else { return };
        let Some(course) = units.course.take() else { return };
        let starts = course.step.step == Step::StartUnits;
        units.is_stubborn = !ok && !starts;
        let (name, took) = (&units.name, now.since(course.since));
        let why = units.trouble.clone().unwrap_or_else(|| "no reason is known".to_string());
        let (kind, severity, text) = match (starts, ok) {
            (true, true) => {
                let text = format!("group \"{name}\": its units run, after {took}");
                ("units-started", Severity::Info, text)
            }
            (true, false) => {
                let text = format!("group \"{name}\": its units do not start: {why}");
                ("units-not-started", Severity::Error, text)
            }
            (false, true) => {
                let text = format!("group \"{name}\": none of its units runs, after {took}");
                ("units-stopped", Severity::Info, text)
            }
            (false, false) => {
                let text = format!("group \"{name}\": its units do not stop: {why}; tried again");
                ("units-not-stopped", Severity::Error, text)
            }
        };
        if ok {
            units.trouble = None;
        }
        self.events.record(kind, severity, None, &text);
        self.keeper.done(course.step, ok);
    }

    /// The group is had in this epoch from now on, or not any more: for applications that fence by
    /// its number.
    pub(super) fn note_epoch(&mut self, group: GroupKey, is_had: bool, epoch: Epoch) {
        if let Some(units) = self.units.iter_mut().find(|units| units.group == group) {
            units.had(is_had, epoch);
        }
    }
}

/// A call of `systemctl`: words, then units.
fn systemctl<'a>(words: &[&str], units: impl Iterator<Item = &'a String>, timeout: Span) -> Run {
    let words = [SYSTEMCTL].iter().chain(words).map(|word| (*word).to_string());
    Run {
        arguments: words.chain(units.cloned()).collect(),
        environment: Vec::new(),
        input: String::new(),
        timeout,
        output_max: OUTPUT_BYTES_MAX,
    }
}

const fn is_start(call: Call) -> bool {
    matches!(call, Call::Start(_))
}

/// What a call of `systemctl` said; why it failed.
fn said(result: Result<Output, String>) -> Result<String, String> {
    match result? {
        Output::Finished(Ended { code: Some(0), output, .. }) => Ok(output),
        Output::Finished(Ended { code: Some(code), output, .. }) => {
            let line = output.lines().find(|line| !line.is_empty());
            Err(format!("systemctl: exit code {code}: {}", line.unwrap_or("it said nothing")))
        }
        Output::Finished(Ended { signal: Some(signal), .. }) => {
            Err(format!("systemctl was ended by signal {signal}"))
        }
        Output::Finished(Ended { took, .. }) => Err(format!("PID 1 has not done it within {took}")),
        _ => Err("the runner gave another answer than asked for".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// U3: what is still being started may come after the look.
    #[test]
    fn nothing_is_stopped_while_a_start_of_before_has_not_ended() {
        let text = "[node]\nname = \"a\"\n[pair]\nname = \"p\"\npeer = \"b\"\nkey-file = \"/k\"\n\
                    arbiter = \"wire\"\n\
                    paths = [{ local = \"10.0.0.1:4170\", peer = \"10.0.0.2:4170\" }]\n\
                    [[group]]\nname = \"web\"\nunits = \"nothing-of-this-name.service\"\n";
        let config = crate::config::load_text(text, Path::new("f.toml")).unwrap();
        let mut units = Units::of(&config).remove(0);
        let id = "nothing-of-this-name.service";
        let gone = format!("Id={id}\nNames={id}\nLoadState=loaded\nActiveState=inactive\n");
        units.starting = 1;
        assert_eq!(units.judge(Call::Look, Ok(gone.clone())), Answer::No);
        units.starting = 0;
        assert_eq!(units.judge(Call::Look, Ok(gone)), Answer::Yes);
    }
}
