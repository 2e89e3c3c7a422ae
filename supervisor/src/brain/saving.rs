//! When the state file is written. What it holds is `state`'s.

use std::path::PathBuf;

use mastiff_core::report::Severity;
use mastiff_core::time::Mono;

use super::Brain;
use super::events::EVENTS_SAVED;
use super::state::{SAVE_GAP, SAVE_TIMEOUT, State};
use crate::clock;
use crate::config::Config;
use crate::probes::Purpose;
use crate::probes::wire::{Job, Output};

/// The state file: what waits to be written, and whether a write is under way.
#[derive(Debug, Default)]
pub(super) struct Save {
    pub(super) due: Option<Mono>,
    pub(super) under_way: bool,
    /// Writes that have begun, and those that have ended, well or not.
    pub(super) begun: u64,
    pub(super) ended: u64,
    /// It was said that writing fails.
    said: bool,
    /// It was said that not everything has room.
    said_cut: bool,
    /// The number of the next event when a write was last asked for.
    events: u64,
}

impl Save {
    /// When the next write starts: what is due while one is under way waits for its end, and is not
    /// forgotten.
    pub(super) fn next(&self) -> Option<Mono> {
        self.due.filter(|_| !self.under_way)
    }
}

impl Brain {
    /// Events outlive a restart, too: a new one is a change like any other.
    pub(super) fn save_events(&mut self, now: Mono) {
        let next = self.events.next();
        if std::mem::replace(&mut self.save.events, next) != next {
            self.save_soon(now);
        }
    }

    pub(super) fn save_soon(&mut self, now: Mono) {
        let soon = now.after(SAVE_GAP);
        self.save.due = Some(self.save.due.map_or(soon, |due| due.min(soon)));
    }

    pub(super) fn save_now(&mut self, now: Mono) {
        self.save.due = None;
        self.save.begun = self.save.begun.saturating_add(1);
        let events = self.events.last(EVENTS_SAVED).cloned().collect();
        let alerts = self.alerts.waiting().cloned().collect();
        let state = State::new(
            now,
            clock::unix_nanos(),
            self.node.memory(),
            alerts,
            self.events.next(),
            events,
        )
        .with_pair(self.desk.memory.clone())
        .with_watchdog(self.dog.memory.clone());
        let path = state_path(&self.config).display().to_string();
        let (text, cut) = state.text();
        self.say_cut(cut);
        let job = Job::Write { path, text };
        match self.probes.file(Purpose::State, job, SAVE_TIMEOUT, now) {
            Ok(()) => self.save.under_way = true,
            Err(why) => self.take_save_result(Err(why), now),
        }
    }

    /// Says once that the file has no room for everything, and is silent until it had.
    fn say_cut(&mut self, cut: usize) {
        if std::mem::replace(&mut self.save.said_cut, cut > 0) || cut == 0 {
            return;
        }
        let text = format!(
            "the state file has no room for {cut} budgets and pauses, which would not survive a restart"
        );
        self.events.record("state-cut", Severity::Warning, None, &text);
    }

    pub(super) fn take_save_result(&mut self, result: Result<Output, String>, now: Mono) {
        self.save.under_way = false;
        self.save.ended = self.save.begun;
        match result {
            Ok(_) if self.save.said => {
                self.save.said = false;
                self.events.record(
                    "state-saved",
                    Severity::Notice,
                    None,
                    "the state file can be written again",
                );
            }
            Ok(_) => {}
            Err(why) => {
                // Tried again with the next change, or without one after a while; said once.
                self.save.due = Some(now.after(SAVE_TIMEOUT));
                if !self.save.said {
                    self.save.said = true;
                    let text = format!(
                        "{why}; pauses, budgets and waiting alerts would not survive a restart"
                    );
                    self.events.record("state-not-saved", Severity::Warning, None, &text);
                }
            }
        }
    }
}

/// Where the state file is.
pub(super) fn state_path(config: &Config) -> PathBuf {
    config.node.state_dir.join("state.json")
}
