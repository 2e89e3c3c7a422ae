//! What can be known of the end of a boot, gathered from many places; each may be missing.
//!
//! Nothing here judges, nothing asks the daemon, and everything has a limit: the machine may be
//! half dead when somebody wants to know.

use std::fs;
use std::io;
use std::path::Path;

use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::root::Root;
use mastiff_hwmon::watchdog;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::boots::{self, Boot};
use super::traces::{self, Trace};
use super::wtmp::{self, Accounts};
use crate::clock;
use crate::flight::file;
use crate::probes::child::Child;
use crate::probes::wire::{OUTPUT_BYTES_MAX, Run};

/// How long the journal may take to answer; old ones on slow disks do take seconds.
const JOURNAL_TIMEOUT: Span = Span::from_secs(5);
const JOURNALCTL: &str = "/usr/bin/journalctl";
/// Lines of the journal's end.
const LINES: &str = "--lines=100";
const WTMP: &str = "/var/log/wtmp";
/// A trace may be this much older than the last sign of life: clocks are set.
const TRACE_SLACK_MS: u64 = 60_000;

/// How one boot ended, as far as there is a trace of it.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Evidence {
    /// What mastiffd noted in it; nothing if it did not run.
    pub(in crate::cli) boot: Boot,
    /// When the next boot began, in Unix milliseconds (`btime` of /proc/stat).
    pub(in crate::cli) next_began_ms: Option<u64>,
    /// Mastiffd did not run in that boot, but in one before it: when it was last alive there.
    pub(in crate::cli) older_ms: Option<u64>,
    /// From the last sign of life of other boots to the start of the next one, the shortest first:
    /// how long a boot of this machine takes at most, where it is as quick as it was then.
    pub(in crate::cli) others: Vec<Span>,
    /// Slots of the flight record that are no records.
    pub(in crate::cli) damaged: usize,
    /// What was gathered around the machine; only of the boot before this one.
    pub(in crate::cli) around: Option<Around>,
}

/// Traces of the boot before this one that are not ours.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Around {
    pub(super) accounts: Accounts,
    pub(super) traces: Vec<Trace>,
    /// Whether the kernel has a place for its last words.
    pub(super) has_pstore: bool,
    pub(super) bootstatus: Vec<BootStatus>,
    /// The newest lines of the kernel, PID 1 and logind, oldest first; nothing where the journal
    /// does not outlive a boot.
    pub(super) journal: Vec<String>,
}

impl Default for Around {
    fn default() -> Self {
        Self {
            accounts: Accounts::Silent,
            traces: Vec::new(),
            has_pstore: false,
            bootstatus: Vec::new(),
            journal: Vec::new(),
        }
    }
}

/// What a watchdog says of the boot's cause (`WDIOF_*`, linux/watchdog.h).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BootStatus {
    pub(super) device: String,
    pub(super) driver: String,
    pub(super) identity: String,
    pub(super) bits: u64,
}

/// The flight record by boots.
#[derive(Debug, Default)]
pub(in crate::cli) struct Recorded {
    /// Those that ended, oldest first.
    pub(in crate::cli) ended: Vec<Boot>,
    /// This one.
    pub(in crate::cli) current: Option<Boot>,
    damaged: usize,
}

impl Recorded {
    /// Reads the flight record.
    ///
    /// # Errors
    /// Why it cannot be read; that there is none is no error.
    pub(in crate::cli) fn read(root: &Root, state_dir: &Path) -> io::Result<Self> {
        let log = file::read(&file::path(state_dir))?;
        let damaged = log.damaged;
        let this = fs::read_to_string(root.path("/proc/sys/kernel/random/boot_id"));
        let this = this.map(|text| text.trim().to_string()).unwrap_or_default();
        let (current, ended) = boots::boots(log).into_iter().partition(|boot| boot.id == this);
        let current: Vec<Boot> = current;
        Ok(Self { ended, current: current.into_iter().next(), damaged })
    }

    /// What the flight record alone says of the end of one of [`ended`](Self::ended).
    pub(in crate::cli) fn evidence(&self, at: usize) -> Option<Evidence> {
        let boot = self.ended.get(at)?.clone();
        let next_began_ms = self.after(at).and_then(Boot::began_ms);
        let (others, damaged) = (self.others(at), self.damaged);
        Some(Evidence { boot, next_began_ms, others, damaged, ..Evidence::default() })
    }

    /// The boot after one that ended.
    fn after(&self, at: usize) -> Option<&Boot> {
        self.ended.get(at.saturating_add(1)).or(self.current.as_ref())
    }

    /// See [`Evidence::others`]; all but the end of this one.
    fn others(&self, at: usize) -> Vec<Span> {
        let gone = |(of, boot): (usize, &Boot)| {
            let (last, next) = (boot.last()?.unix_ms, self.after(of)?.began_ms()?);
            next.checked_sub(last).map(|gone| Span::from_secs(gone / 1000))
        };
        let boots = self.ended.iter().enumerate().filter(|(of, _)| *of != at);
        let mut others: Vec<Span> = boots.filter_map(gone).collect();
        others.sort_unstable();
        others
    }

    /// All that can be known of the end of the boot before this one, which need not be recorded.
    pub(in crate::cli) fn last_end(&self, root: &Root) -> Evidence {
        let began_ms = btime(root).map(|secs| secs.saturating_mul(1000));
        let boot = self.ended.last().cloned().unwrap_or_default();
        let evidence = around(root, boot, began_ms, self.damaged);
        Evidence { others: self.others(self.ended.len().saturating_sub(1)), ..evidence }
    }
}

/// The boot before this one, with all traces.
fn around(root: &Root, boot: Boot, began_ms: Option<u64>, damaged: usize) -> Evidence {
    let accounts = wtmp::read(&root.path(WTMP), began_ms.unwrap_or(0) / 1000);
    let last_ms = boot.last().map(|record| record.unix_ms);
    // The journal is that of the running machine.
    let journal_boots = if root.is_machine() { journal_boots() } else { Vec::new() };
    let id = boot.id.replace('-', "");
    // That mastiffd did not run must not let an older boot's end stand for the last one's. A boot
    // that the journal does not know may have ended before its first line was on the disk.
    let is_older = match journal_boots.iter().rev().position(|known| *known == id) {
        Some(newer) => newer > 0,
        None => {
            let before_ms = accounts.before().map(|secs| secs.saturating_mul(1000));
            last_ms.zip(before_ms).is_some_and(|(last, before)| before > last)
        }
    };
    let is_recorded = !boot.records.is_empty() && !is_older;
    let in_journal = journal_boots.last().filter(|last| !is_recorded || **last == id);
    let (boot, older_ms) = if is_older { (Boot::default(), last_ms) } else { (boot, None) };
    let since_ms = boot.last().map(|record| record.unix_ms);
    let since_ms = since_ms.or(accounts.before().map(|secs| secs.saturating_mul(1000)));
    let since_ms = since_ms.or(older_ms).or(began_ms).unwrap_or(0).saturating_sub(TRACE_SLACK_MS);
    // A panic from before that boot is another one's end.
    let since_ms = since_ms.max(boot.began_ms().unwrap_or(0));
    let devices = watchdog::list(root).into_iter();
    let bootstatus = devices.filter_map(|device| {
        let identity = device.identity.unwrap_or_default();
        let driver = device.driver.unwrap_or_else(|| identity.clone());
        Some(BootStatus { device: device.name, driver, identity, bits: device.bootstatus? })
    });
    let around = Around {
        accounts: accounts.of_boot(boot.began_ms()),
        traces: traces::read(root, since_ms),
        has_pstore: traces::has_backend(root),
        bootstatus: bootstatus.collect(),
        journal: in_journal.map(|id| journal(id)).unwrap_or_default(),
    };
    let (next_began_ms, around) = (began_ms, Some(around));
    Evidence { boot, next_began_ms, older_ms, damaged, around, ..Evidence::default() }
}

/// When this boot began, in Unix seconds (`btime`, proc_stat(5)).
fn btime(root: &Root) -> Option<u64> {
    let text = fs::read_to_string(root.path("/proc/stat")).ok()?;
    mastiff_hwmon::text::keyed(&text, "btime")
}

/// The ids of the boots before this one that the journal knows, oldest first, without dashes.
fn journal_boots() -> Vec<String> {
    journalctl(&["--list-boots"]).map(|list| earlier(&list)).unwrap_or_default()
}

/// Lines such as ` -1 4f0e... Mon 2026-11-16 ...`; newer versions have a heading. A list of which
/// the end is missing, since it was too long, is none.
fn earlier(list: &str) -> Vec<String> {
    let boot = |line: &str| {
        let mut words = line.split_whitespace();
        let back: u32 = words.next()?.strip_prefix('-')?.parse().ok()?;
        words.next().map(|id| (back, id.to_string()))
    };
    let boots: Vec<(u32, String)> = list.lines().filter_map(boot).collect();
    let is_whole = boots.last().is_some_and(|(back, _)| *back == 1);
    boots.into_iter().filter(|_| is_whole).map(|(_, id)| id).collect()
}

/// What the kernel, PID 1 and logind said last in a boot.
fn journal(boot: &str) -> Vec<String> {
    let boot = format!("--boot={boot}");
    let wanted = ["_TRANSPORT=kernel", "+", "_PID=1", "+", "SYSLOG_IDENTIFIER=systemd-logind"];
    let more = ["+", "SYSLOG_IDENTIFIER=systemd-shutdown"];
    // The newest come first, since only the first bytes of an output are kept.
    let how = ["--output=cat", "--reverse", LINES, &boot];
    let text = journalctl(&[&how[..], &wanted, &more].concat()).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    lines.reverse();
    lines
}

/// What journalctl(1) prints; nothing if it fails or takes too long.
fn journalctl(arguments: &[&str]) -> Option<String> {
    let always = [JOURNALCTL, "--quiet", "--no-pager"];
    let run = Run {
        arguments: always.iter().chain(arguments).map(ToString::to_string).collect(),
        environment: Vec::new(),
        input: String::new(),
        timeout: JOURNAL_TIMEOUT,
        output_max: OUTPUT_BYTES_MAX,
    };
    let mut child = Child::run(&run, clock::now()).ok()?;
    loop {
        let now = clock::now();
        child.drain();
        if let Some(ended) = child.ended(now) {
            return (ended.code == Some(0)).then_some(ended.output);
        }
        if now >= child.deadline() {
            // Whatever it hangs in: its end is not waited for.
            child.kill(now);
            return None;
        }
        wait(&child, now);
    }
}

/// Until it says something, ends or takes too long.
fn wait(child: &Child, now: Mono) {
    let (end, output) = child.descriptors();
    let mut fds = vec![PollFd::from_borrowed_fd(end, PollFlags::IN)];
    fds.extend(output.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    let left = child.deadline().since(now).as_nanos();
    let left = Timespec {
        tv_sec: i64::try_from(left / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(left % 1_000_000_000).unwrap_or(0),
    };
    // What cannot be polled is looked at again, and given up at the deadline.
    rustix::event::poll(&mut fds, Some(&left)).unwrap_or_default();
}

#[cfg(test)]
mod tests;
