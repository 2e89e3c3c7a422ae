//! What goes into the flight record, and when it is written.
//!
//! Records are noted here and written by the prober, a few at a time: signs of life every few
//! seconds, what changes a moment after it does. One write is under way at most; while the disk
//! hangs, records wait here, and the oldest signs of life give way first.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use mastiff_core::report::Severity;
use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::root::Root;

use super::Brain;
use super::events::Events;
use crate::clock;
use crate::control::EventView;
use crate::effects::restart::SYSTEMCTL;
use crate::flight::last_words::LastWords;
use crate::flight::{EventWords, Kind, Lane, Record, file};
use crate::probes::Purpose;
use crate::probes::wire::{Ended, Job, OUTPUT_BYTES, Output, Run};

mod pulse;

/// What is noted within this time of each other is written together.
const GATHER: Span = Span::from_millis(100);
/// A write that takes longer hangs.
const WRITE_TIMEOUT: Span = Span::from_secs(30);
/// After a write that failed.
const RETRY_AFTER: Span = Span::from_secs(5);
/// Records that wait for the disk at most: a minute of signs of life, and a flood of events.
const WAITING_MAX: usize = 256;
/// Records of one write at most; as JSON within JSON they fit a message to the prober.
const WRITTEN_MAX: usize = 64;
/// PID 1 answers in milliseconds, or not at all; the end waits for it.
const ASK_TIMEOUT: Span = Span::from_secs(1);
/// Made at the boot by systemd, and by nothing else (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";

/// The records on their way to the disk.
#[derive(Debug)]
pub struct Flight {
    path: PathBuf,
    boot: String,
    /// The number of the next record.
    next: u64,
    /// The next slot of each lane.
    cursors: [(Lane, usize); 3],
    waiting: VecDeque<Waiting>,
    due: Option<Mono>,
    /// The number of the last record of the write that is under way.
    under_way: Option<u64>,
    /// When the first write began that its file system has not answered, if only with an error; by
    /// the clock that stands still in suspend.
    silent_since: Option<Mono>,
    /// It was said that writing fails.
    said: bool,
    /// The number of the next event that is not noted yet.
    events: u64,
    /// Records of a self-test since anything else was noted among the marks.
    tests: u32,
    /// PID 1 was asked whether the machine goes down.
    asked: bool,
    words: LastWords,
    pulse: pulse::Pulse,
    counters: Counters,
}

#[derive(Debug)]
struct Waiting {
    seq: u64,
    lane: Lane,
    slot: usize,
    line: String,
}

/// Numbers for `mastiff status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Writes that were begun.
    pub writes: u64,
    /// Records that were dropped because too many waited.
    pub dropped: u64,
    /// Lines that the kernel log or the persistent memory did not take.
    pub words_lost: u64,
}

impl Flight {
    /// Goes on after the records of an earlier daemon, and notes that this one starts. A file that
    /// cannot be read is told as an event, and replaced.
    pub fn start(state_dir: &Path, text: &str, events: &mut Events, now: Mono) -> Self {
        let path = file::path(state_dir);
        let log = file::read(&path).unwrap_or_else(|error| {
            let text = format!("cannot read {}: {error}; `mastiff why` lacks it", path.display());
            events.record("flight-lost", Severity::Warning, None, &text);
            file::Log::default()
        });
        let mut flight = Self {
            path,
            boot: clock::boot_id(),
            next: log.records.last().map_or(0, |(_, record)| record.seq.saturating_add(1)),
            cursors: [Lane::Marks, Lane::Events, Lane::Pulses]
                .map(|lane| (lane, after(&log, lane))),
            waiting: VecDeque::new(),
            due: None,
            under_way: None,
            silent_since: None,
            said: false,
            events: events.next(),
            tests: 0,
            asked: false,
            words: LastWords::open(&Root::machine()),
            pulse: pulse::Pulse::default(),
            counters: Counters::default(),
        };
        flight.keep_last_pulse(&log, now);
        flight.note(Kind::Start, text, now);
        flight
    }

    /// The last sign of life of the boot before, which ours would wash away.
    fn keep_last_pulse(&mut self, log: &file::Log, now: Mono) {
        let Some((_, newest)) = log.records.last().filter(|(_, last)| last.boot != self.boot)
        else {
            return;
        };
        let mut records = log.records.iter().rev().map(|(_, record)| record);
        let is_its_pulse =
            |record: &&Record| record.kind == Kind::Pulse && record.boot == newest.boot;
        if let Some(mut pulse) = records.find(is_its_pulse).cloned() {
            pulse.kind = Kind::LastPulse;
            self.push(pulse, now);
        }
    }

    /// Notes something; it is written with whatever else is noted within a tenth of a second. Last
    /// words ([`Kind::is_last_word`]) go to the kernel log at once, and to the disk in this turn;
    /// who is about to act on them waits for [`is_written`](Self::is_written), within a limit.
    pub fn note(&mut self, kind: Kind, text: &str, now: Mono) {
        self.push(self.record(kind, unix_ms(), text, now), now);
        if kind.is_last_word() {
            self.words.say(kind, text);
        }
        // Pulses come alone, and each turn of the brain that needs not be made is saved.
        if kind.is_last_word() || (kind == Kind::Pulse && !self.said) {
            self.due = Some(now);
        }
    }

    /// Notes an event.
    fn note_event(&mut self, event: &EventView, now: Mono) {
        let mut record = self.record(Kind::Event, event.at_unix_ms, &event.text, now);
        let (kind, severity) = (event.kind.clone(), event.severity.clone());
        record.event = Some(EventWords { kind, severity });
        self.push(record, now);
    }

    fn record(&self, kind: Kind, unix_ms: u64, text: &str, now: Mono) -> Record {
        Record::new(0, &self.boot, now.as_nanos(), unix_ms, kind, text)
    }

    fn push(&mut self, mut record: Record, now: Mono) {
        record.seq = self.next;
        self.next = self.next.saturating_add(1);
        let lane = record.kind.lane();
        let Some(slot) = self.next_slot(record.kind) else { return };
        if self.waiting.len() >= WAITING_MAX {
            self.give_way();
        }
        self.waiting.push_back(Waiting { seq: record.seq, lane, slot, line: record.line() });
        // While the disk fails it is tried at intervals, whatever happens.
        if !self.said || self.due.is_none() {
            let soon = now.after(GATHER);
            self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
        }
    }

    /// The slot after the last one of the ring.
    fn next_slot(&mut self, kind: Kind) -> Option<usize> {
        let lane = kind.lane();
        if lane == Lane::Marks {
            self.tests = if kind == Kind::SelfTest { self.tests.saturating_add(1) } else { 0 };
        }
        let slots = lane.slots();
        let (_, cursor) = self.cursors.iter_mut().find(|(known, _)| *known == lane)?;
        // There is one each second, which would wash all else away: they take turns in two slots.
        let again = lane == Lane::Marks && self.tests > 2 && !self.tests.is_multiple_of(2);
        let slot = match cursor.checked_sub(2) {
            Some(back) if again && slots.contains(&back) => back,
            _ => *cursor,
        };
        let next = slot.saturating_add(1);
        *cursor = if slots.contains(&next) { next } else { slots.start };
        Some(slot)
    }

    /// The oldest sign of life is worth least, then the oldest event.
    fn give_way(&mut self) {
        let oldest = |lane| self.waiting.iter().position(|waiting| waiting.lane == lane);
        let place = oldest(Lane::Pulses).or_else(|| oldest(Lane::Events)).unwrap_or(0);
        self.waiting.remove(place);
        self.counters.dropped = self.counters.dropped.saturating_add(1);
    }

    /// Whether everything that was noted is on the disk, or cannot be written.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.under_way.is_none() && (self.waiting.is_empty() || self.said) && !self.asked
    }

    /// Whether PID 1 was asked for its jobs, and has not answered.
    pub(super) fn is_asking(&self) -> bool {
        self.asked
    }

    /// For how long its file system has answered no write, not even with an error. Time in suspend
    /// does not count, and neither does what was never asked of it.
    #[must_use]
    pub fn silent_for(&self) -> Span {
        self.silent_since.map_or(Span::ZERO, |since| clock::awake().since(since))
    }

    /// When a write starts.
    #[must_use]
    pub fn next_deadline(&self) -> Mono {
        self.due.filter(|_| self.under_way.is_none()).unwrap_or(Mono::FAR)
    }

    /// The next write, if one is due.
    fn next_job(&mut self, now: Mono) -> Option<Job> {
        if now < self.next_deadline() {
            return None;
        }
        self.due = None;
        let first = || self.waiting.iter().take(WRITTEN_MAX);
        self.under_way = Some(first().next_back()?.seq);
        self.counters.writes = self.counters.writes.saturating_add(1);
        let lines = first().map(|waiting| (waiting.slot, waiting.line.clone())).collect();
        Some(Job::Record { path: self.path.display().to_string(), lines })
    }

    /// A write has ended. Says what an event should tell of it.
    fn written(&mut self, result: Result<(), String>, now: Mono) -> Option<(Severity, String)> {
        let last = self.under_way.take();
        let failed = result.is_err();
        if !failed && let Some(last) = last {
            // They were the first ones, and numbers grow.
            self.waiting.retain(|waiting| waiting.seq > last);
        }
        if !self.waiting.is_empty() {
            self.due = Some(if failed { now.after(RETRY_AFTER) } else { now });
        }
        let was_said = std::mem::replace(&mut self.said, failed);
        match result {
            Err(why) if !was_said => {
                let text = format!("{why}; `mastiff why` would lack what happens now");
                Some((Severity::Warning, text))
            }
            Ok(()) if was_said => {
                Some((Severity::Notice, "the flight record can be written again".into()))
            }
            Ok(()) | Err(_) => None,
        }
    }

    /// Numbers for `mastiff status`.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { words_lost: self.words.failed(), ..self.counters }
    }
}

impl Brain {
    /// A sign of life.
    pub(super) fn pulse(&mut self, now: Mono) {
        let mut text = self.flight.pulse.machine();
        text.push_str(&self.summary(now));
        for ((_, name), shown) in self.desk.groups().iter().zip(&self.keeper.board().groups) {
            text.push_str(&format!("; group {name} {}", shown.role));
        }
        self.flight.note(Kind::Pulse, &text, now);
    }

    /// Notes the new events, and writes what is due.
    pub(super) fn keep_flight(&mut self, now: Mono) {
        self.note_events(now);
        let Some(job) = self.flight.next_job(now) else { return };
        match self.probes.file(Purpose::Flight, job, WRITE_TIMEOUT, now) {
            Ok(()) => {
                self.flight.silent_since.get_or_insert_with(clock::awake);
            }
            Err(why) => self.take_flight_result(Err(why), now),
        }
    }

    fn note_events(&mut self, now: Mono) {
        let from = std::mem::replace(&mut self.flight.events, self.events.next());
        for event in self.events.since(from) {
            self.flight.note_event(event, now);
        }
    }

    pub(super) fn take_flight_result(&mut self, result: Result<Output, String>, now: Mono) {
        let result = match result {
            Ok(Output::NotWritten(why)) => {
                self.flight.silent_since = None;
                Err(why)
            }
            Ok(_) => {
                self.flight.silent_since = None;
                Ok(())
            }
            Err(why) => Err(why),
        };
        let kind = if result.is_ok() { "flight-written" } else { "flight-not-written" };
        if let Some((severity, text)) = self.flight.written(result, now) {
            self.events.record(kind, severity, None, &text);
        }
    }

    /// The end of the daemon; PID 1 says whether it is that of the machine, too.
    pub(super) fn note_end(&mut self, now: Mono) {
        self.note_events(now);
        self.flight.note(Kind::Stop, "mastiffd stops", now);
        self.flight.due = Some(now);
        // Else mastiff-shutdown.service has told, and nobody need ask.
        if self.goes_down() || !Path::new(SYSTEMD).exists() {
            return;
        }
        let words = [SYSTEMCTL, "--plain", "--no-legend", "--full", "list-jobs"];
        let run = Run {
            arguments: words.map(str::to_string).to_vec(),
            environment: Vec::new(),
            input: String::new(),
            timeout: ASK_TIMEOUT,
            output_max: OUTPUT_BYTES,
        };
        self.flight.asked = self.probes.run(Purpose::GoingDown, run, now).is_ok();
    }

    /// The jobs of PID 1. It was asked for nothing but this.
    pub(super) fn take_going_down(&mut self, result: Result<Output, String>, now: Mono) {
        self.flight.asked = false;
        let jobs = match result {
            Ok(Output::Finished(Ended { code: Some(0), output, .. })) => Ok(output),
            Ok(_) => Err(format!("{SYSTEMCTL} failed")),
            Err(why) => Err(why),
        };
        if let Some(how) = jobs.as_ref().ok().and_then(|jobs| going_down(jobs)) {
            self.go_down(how, now);
            self.flight.due = Some(now);
        }
        self.hear_jobs(jobs.as_deref().map_err(String::as_str), now);
    }
}

/// How the machine goes down, by a list of jobs (systemctl(1), list-jobs): `123 reboot.target start
/// waiting`.
fn going_down(jobs: &str) -> Option<&'static str> {
    let ends = ["reboot", "poweroff", "halt", "kexec", "soft-reboot"];
    let names = |end: &&str| {
        let target = format!("{end}.target");
        jobs.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next() == Some(&target) && words.next() == Some("start")
        })
    };
    ends.into_iter().find(names)
}

/// The slot after the newest record of a lane.
fn after(log: &file::Log, lane: Lane) -> usize {
    let slots = lane.slots();
    let newest = log.records.iter().rev().find(|(slot, _)| slots.contains(slot));
    let next = newest.map_or(slots.start, |(slot, _)| slot.saturating_add(1));
    if slots.contains(&next) { next } else { slots.start }
}

fn unix_ms() -> u64 {
    u64::try_from(clock::unix_nanos() / 1_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests;
