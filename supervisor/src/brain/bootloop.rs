//! The boot-loop guard's memory, `state-dir/boot-loop-guard`, and what follows from it.
//!
//! One line for each reset that this daemon caused itself: `UNIX-SECONDS BOOT-ID REASON`, the
//! oldest first, and perhaps one `observes BOOT-ID`: the boot that was told to only observe, so
//! that a restarted daemon goes on doing so. It is written and synced before the machine goes. A
//! line that cannot be read counts as a reset at an unknown time, and is kept as one: `?`.

use std::path::Path;

use mastiff_core::bootloop::{Guard, Limits};
use mastiff_core::recovery::Licence;
use mastiff_core::report::Severity;
use mastiff_core::time::{Mono, Span};

use super::Brain;
use super::events::Events;
use super::state::read;
use crate::clock::{self, boot_id};
use crate::config::{Config, GuardConfig};
use crate::control::{Answer, BootLoopStatus};
use crate::probes::Purpose;
use crate::probes::wire::{Job, Output};

/// Lines that are kept; the configuration allows to count 20.
const LINES_MAX: usize = 32;
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 200;
/// The name of the file in `state-dir`.
const FILE: &str = "boot-loop-guard";
/// A write that takes longer hangs; one that failed is tried again after as long.
const WRITE_TIMEOUT: Span = Span::from_secs(30);
/// Begins the line of the boot that only observes.
const OBSERVES: &str = "observes ";
/// Begins the line of a reset at an unknown time.
const UNKNOWN: &str = "?";

/// What is known of the resets that this daemon caused itself.
#[derive(Debug, Default)]
pub(super) struct BootLoop {
    guard: Guard,
    resets: Vec<Reset>,
    /// The file is older than this.
    unsaved: bool,
    under_way: bool,
    /// When writing failed, if it did the last time; that is said once.
    failed_at: Option<Mono>,
}

/// One reset.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reset {
    /// Unix time in seconds; `None`: nobody knows.
    at: Option<u64>,
    /// Its line, without the line break.
    line: String,
}

impl BootLoop {
    /// What the file says; the second is what is wrong with it.
    fn parse(text: &str, boot: &str) -> (Vec<Reset>, bool, usize) {
        let (mut resets, mut observes, mut unread) = (Vec::new(), false, 0_usize);
        for line in text.lines() {
            if let Some(observing) = line.strip_prefix(OBSERVES) {
                observes |= !boot.is_empty() && observing == boot;
                continue;
            }
            let mut words = line.splitn(3, ' ');
            let at = words.next().and_then(|word| word.parse().ok());
            let whole = words.next().is_some_and(is_boot_id) && words.next().is_some();
            match at.filter(|_| whole) {
                Some(at) => resets.push(Reset { at: Some(at), line: line.to_string() }),
                None => {
                    unread = unread.saturating_add(usize::from(line != UNKNOWN));
                    resets.push(Reset { at: None, line: UNKNOWN.to_string() });
                }
            }
        }
        resets.drain(..resets.len().saturating_sub(LINES_MAX));
        (resets, observes, unread)
    }

    /// Reads the file, and tells what could not be read of it.
    pub(super) fn load(config: &Config, events: &mut Events) -> Self {
        let path = config.node.state_dir.join(FILE);
        let limits = limits(config.boot_loop_guard);
        let (resets, observes, fault) = match lines(&path) {
            Ok(text) => {
                let (resets, observes, unread) = Self::parse(&text, &boot_id());
                let what = format!(
                    "{}: {unread} lines are damaged and count as resets at an unknown time",
                    path.display()
                );
                (resets, observes, (unread > 0).then_some(what))
            }
            // There may have been any number of resets; one is what a damaged line would be.
            Err(why) => {
                let reset = Reset { at: None, line: UNKNOWN.to_string() };
                (vec![reset], false, Some(format!("{why}; it counts as one reset")))
            }
        };
        let mut this = Self { resets, ..Self::default() };
        let count = if observes { limits.resets } else { this.count(&limits) };
        this.guard.counted(count, &limits);
        this.unsaved = fault.is_some() || this.observes() != observes;
        if let Some(why) = fault {
            events.record("boot-loop-damaged", Severity::Warning, None, &why);
        }
        this
    }

    /// How many resets are recent, as of now.
    fn count(&self, limits: &Limits) -> u32 {
        limits.count(self.resets.iter().map(|reset| reset.at), unix_seconds())
    }

    /// Whether a reset of that boot has been counted.
    pub(super) fn has_counted(&self, boot: &str) -> bool {
        self.resets.iter().any(|reset| reset.line.split(' ').nth(1) == Some(boot))
    }

    /// Whether this node only observes.
    pub(super) fn observes(&self) -> bool {
        self.guard.observes()
    }

    /// Whether the next boot will not know of a reset: its line could not be written.
    pub(super) fn is_lost(&self) -> bool {
        self.unsaved && self.failed_at.is_some()
    }

    /// Whether the file holds all of it, or cannot be written.
    pub(super) fn is_saved(&self) -> bool {
        !self.under_way && (!self.unsaved || self.failed_at.is_some())
    }

    fn text(&self) -> String {
        let mut text: String =
            self.resets.iter().map(|reset| format!("{}\n", reset.line)).collect();
        if self.observes() {
            text.push_str(&format!("{OBSERVES}{}\n", boot_id()));
        }
        text
    }

    fn push(&mut self, at: u64, boot: &str, reason: &str) {
        let clean = reason.chars().map(|c| if c.is_control() { ' ' } else { c });
        let reason: String = clean.take(REASON_CHARS_MAX).collect();
        let line = format!("{at} {boot} {reason}");
        self.resets.push(Reset { at: Some(at), line });
        self.resets.drain(..self.resets.len().saturating_sub(LINES_MAX));
        (self.unsaved, self.failed_at) = (true, None);
    }
}

impl Brain {
    /// Writes down a reset that this daemon is about to cause; what follows from it, the next boot
    /// decides. [`BootLoop::is_saved`] says when the machine may go.
    pub(super) fn record_reset(&mut self, reason: &str, now: Mono) {
        self.boot_loop.push(unix_seconds(), &boot_id_or_unknown(), reason);
        self.write_boot_loop(now);
    }

    /// Counts a reset that the watchdog may have caused, which this daemon had armed in that boot.
    pub(super) fn count_reset(&mut self, boot: &str, reason: &str, now: Mono) {
        self.boot_loop.push(unix_seconds(), boot, reason);
        let limits = limits(self.config.boot_loop_guard);
        let count = self.boot_loop.count(&limits);
        if self.boot_loop.guard.counted(count, &limits) {
            self.say_observes();
        }
        self.write_boot_loop(now);
    }

    /// The reset that was last written down has not taken place.
    pub(super) fn uncount_reset(&mut self, now: Mono) {
        self.boot_loop.resets.pop();
        self.boot_loop.unsaved = true;
        self.write_boot_loop(now);
    }

    /// Says that this boot only observes, if it does.
    pub(super) fn say_observes(&mut self) {
        if !self.boot_loop.observes() {
            return;
        }
        let limits = limits(self.config.boot_loop_guard);
        let last =
            self.boot_loop.resets.iter().rev().find_map(|reset| reset.line.splitn(3, ' ').nth(2));
        let text = format!(
            "this machine has reset itself {} times within {}, so this boot observes only: no \
             reboot, no reset, and no group is asked for, until nothing was failed or unknown for \
             {}, or `mastiff resume --boot-loop-guard`; the last reset: {}",
            self.boot_loop.count(&limits),
            limits.within,
            limits.calm(),
            last.unwrap_or("nobody knows why"),
        );
        self.events.record("boot-loop", Severity::Error, None, &text);
    }

    /// Each second: whether it has been calm for long enough.
    pub(super) fn watch_boot_loop(&mut self, now: Mono) {
        let [_, _, unknown, failed] = self.node.counts();
        // Not the node's verdict: a pause makes nothing well.
        let well = self.ready && unknown == 0 && failed == 0;
        let limits = limits(self.config.boot_loop_guard);
        if self.boot_loop.guard.see(well, &limits, now) {
            let text = format!(
                "nothing was failed or unknown for {}: resets are possible again",
                limits.calm()
            );
            self.forget_resets(&text, now);
        }
        self.license();
        self.write_boot_loop(now);
    }

    fn forget_resets(&mut self, text: &str, now: Mono) {
        self.boot_loop.guard.clear();
        self.boot_loop.resets.clear();
        (self.boot_loop.unsaved, self.boot_loop.failed_at) = (true, None);
        self.events.record("boot-loop-over", Severity::Notice, None, text);
        self.license();
        self.write_boot_loop(now);
    }

    /// `mastiff resume --boot-loop-guard`.
    pub(super) fn clear_boot_loop(&mut self, who: &str, now: Mono) -> Answer {
        if self.boot_loop.resets.is_empty() {
            return Answer::Error("the boot-loop guard has counted no reset".to_string());
        }
        let what = if self.boot_loop.observes() {
            "resets are possible again"
        } else {
            "it had not stopped any yet"
        };
        let text = format!(
            "the boot-loop guard has forgotten {} resets: {what}",
            self.boot_loop.resets.len()
        );
        self.forget_resets(&format!("{text} (by {who})"), now);
        Answer::Done(text)
    }

    /// Which rungs may start.
    pub(super) fn license(&mut self) {
        let observes = self.boot_loop.observes() || self.going.is_wanted();
        let licence = match (self.going.is_on(), observes) {
            (true, _) => Licence::Nothing,
            (false, true) => Licence::ObserveOnly,
            (false, false) => Licence::All,
        };
        self.node.license(licence);
    }

    pub(super) fn boot_loop_status(&self, now: Mono) -> BootLoopStatus {
        let limits = limits(self.config.boot_loop_guard);
        BootLoopStatus {
            observes_only: self.boot_loop.observes(),
            resets: self.boot_loop.count(&limits),
            resets_max: limits.resets,
            within_secs: limits.within.as_secs_f64(),
            calm_left_secs: self.boot_loop.guard.left(&limits, now).map(Span::as_secs_f64),
        }
    }

    fn write_boot_loop(&mut self, now: Mono) {
        let failed = self.boot_loop.failed_at.is_some_and(|at| now.since(at) < WRITE_TIMEOUT);
        if !self.boot_loop.unsaved || self.boot_loop.under_way || failed {
            return;
        }
        let path = self.config.node.state_dir.join(FILE).display().to_string();
        let job = Job::Write { path, text: self.boot_loop.text() };
        self.boot_loop.unsaved = false;
        match self.probes.file(Purpose::BootLoop, job, WRITE_TIMEOUT, now) {
            Ok(()) => self.boot_loop.under_way = true,
            Err(why) => self.take_boot_loop(Err(why), now),
        }
    }

    /// The file was written, or not.
    pub(super) fn take_boot_loop(&mut self, result: Result<Output, String>, now: Mono) {
        self.boot_loop.under_way = false;
        let failed_at = result.is_err().then_some(now);
        let known = std::mem::replace(&mut self.boot_loop.failed_at, failed_at);
        let Err(why) = result else { return };
        self.boot_loop.unsaved = true;
        if known.is_some() {
            return;
        }
        let text = format!("{why}; the boot-loop guard would not see the next reset");
        self.events.record("boot-loop-not-saved", Severity::Warning, None, &text);
    }
}

/// The file as text; empty where there is none. Bytes that are no text damage only their line.
fn lines(path: &Path) -> Result<String, String> {
    match read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

fn limits(config: GuardConfig) -> Limits {
    Limits { resets: config.resets, within: config.within }
}

fn unix_seconds() -> u64 {
    u64::try_from(clock::unix_nanos() / 1_000_000_000).unwrap_or(0)
}

fn boot_id_or_unknown() -> String {
    Some(boot_id()).filter(|id| is_boot_id(id)).unwrap_or_else(|| "unknown".to_string())
}

/// A random UUID (Documentation/admin-guide/sysctl/kernel.rst, `random`), or `unknown`.
fn is_boot_id(word: &str) -> bool {
    word == "unknown"
        || word.len() == 36 && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

#[cfg(test)]
mod tests;
