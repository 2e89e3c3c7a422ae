//! What happened: the newest events, numbered across restarts, and the log line of each.

use std::collections::VecDeque;

use mastiff_core::report::{Report, Severity};

use crate::clock;
use crate::control::EventView;

/// Events that are kept in memory.
pub const EVENTS_MAX: usize = 1000;
/// Events that outlive a restart; the journal has them all.
pub const EVENTS_SAVED: usize = 100;

/// The newest events.
#[derive(Debug)]
pub struct Events {
    kept: VecDeque<EventView>,
    next: u64,
}

impl Events {
    /// Goes on after the events of an earlier daemon.
    pub fn after(kept: Vec<EventView>, next: u64) -> Self {
        let mut kept = VecDeque::from(kept);
        kept.truncate(EVENTS_MAX);
        let last = kept.back().map_or(0, |event| event.seq.saturating_add(1));
        Self { kept, next: next.max(last) }
    }

    /// Records a report of the core.
    pub fn report(&mut self, report: &Report) {
        self.record(report.kind(), report.severity(), report.check(), &report.to_string());
    }

    /// Records and logs one event.
    pub fn record(&mut self, kind: &str, severity: Severity, check: Option<&str>, text: &str) {
        let level = match severity {
            Severity::Info | Severity::Notice => log::Level::Info,
            Severity::Warning => log::Level::Warn,
            Severity::Error => log::Level::Error,
        };
        log::log!(level, kind, check = check.unwrap_or(""); "{text}");
        if self.kept.len() >= EVENTS_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(EventView {
            seq: self.next,
            at_unix_ms: u64::try_from(clock::unix_nanos() / 1_000_000).unwrap_or(0),
            kind: kind.to_string(),
            severity: severity_word(severity).to_string(),
            check: check.map(str::to_string),
            text: text.to_string(),
        });
        self.next = self.next.saturating_add(1);
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The newest `count`, oldest first.
    pub fn last(&self, count: usize) -> impl Iterator<Item = &EventView> {
        self.kept.iter().skip(self.kept.len().saturating_sub(count))
    }

    /// Those from number `seq` on.
    pub fn since(&self, seq: u64) -> impl Iterator<Item = &EventView> {
        self.kept.iter().filter(move |event| event.seq >= seq)
    }
}

fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Notice => "notice",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}
