//! The kernel log: counts what went wrong by kind, from the moment the sensor is opened.
//!
//! /dev/kmsg gives one record to each read(2) and wakes its reader at once. Older records are
//! skipped: what happened before the daemon looked is for `mastiff why`. Reading needs CAP_SYSLOG
//! where `kernel.dmesg_restrict` is 1.
//!
//! ```text
//! 3,1042,5140900,-;EXT4-fs error (device sda3): ... priority, facility, sequence, us, flags; text
//!  SUBSYSTEM=block                                       continuation: more about the same record
//! ```

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::root::Root;
use crate::sensor::{
    Options, Probe, Sensor, SensorError, SensorOption, Source, Target, Wake, Wanted,
};
use crate::text;

mod rules;

use rules::{RULES, matches};

/// The kernel log (/dev/kmsg; Documentation/ABI/testing/dev-kmsg).
pub const SENSOR: Sensor = Sensor {
    name: "kernel-log",
    hardware: false,
    summary: "Events in the kernel log by kind, from /dev/kmsg, since the daemon reads it.",
    target: Target::Machine,
    options: &[SensorOption {
        name: "match",
        meaning: "text to count in `matches`, in records of any origin: substrings in their order, with * between them; none by default",
        example: "usb * disconnect",
        check: check_pattern,
    }],
    quantities: QUANTITIES,
    warn_when: &[
        "oopses > 0 in 1h",
        "lockups > 0 in 1h",
        "oom-kills > 0 in 1h",
        "overheats > 0 in 1h",
        "memory-failures > 0 in 1h",
        "hardware-errors > 0 in 1h",
        "pcie-errors > 0 in 1h",
        "pcie-corrected > 100 in 1h",
        "gpu-errors > 0 in 1h",
        "controller-faults > 0 in 1h",
        "filesystem-errors > 0 in 1h",
        "io-errors > 0 in 1h",
        "raid-failures > 0 in 1h",
        "hung-tasks > 0 in 1h",
        "tables-full > 0 in 1h",
        "transmit-timeouts > 0 in 1h",
    ],
    // Failed for an hour, even if somebody repairs it sooner: a check of the file system tells how
    // it is now.
    fail_when: &["remounted-read-only > 0 in 1h"],
    // Records wake the reader; the interval only ages the note and the windows.
    interval: Span::from_secs(30),
    fail_after: Span::ZERO,
    recover_after: Span::ZERO,
    discover: Some(|root| root.machine_if("/dev/kmsg")),
    source: Source::Quick(open),
};

const QUANTITIES: &[Quantity] = &[
    total("remounted-read-only", "file systems made read-only or shut down by their own errors"),
    total("oopses", "oopses: the kernel killed its own thread or the process it worked for"),
    total("lockups", "soft and hard lockups and RCU stalls: a processor that went nowhere"),
    total("oom-kills", "processes killed because the whole machine lacked memory"),
    total("overheats", "zones at their critical temperature: the kernel switches the machine off"),
    total("memory-failures", "memory whose content was lost; pages taken out of use for it"),
    total("hardware-errors", "lines about machine checks and what the firmware says of its parts"),
    total("pcie-errors", "PCIe errors that could not be corrected, and links switched off by them"),
    total(
        "gpu-errors",
        "graphics cards that hang, are reset or report a fault (Xid) that is not one of a program",
    ),
    total(
        "controller-faults",
        "disk controllers whose firmware failed, and NVMe disks that were given up",
    ),
    total("filesystem-errors", "errors that file systems found in themselves or below"),
    total(
        "io-errors",
        "failed or timed-out requests to disks, and disks and paths given up for them; floppies and optical drives do not count",
    ),
    total("raid-failures", "members thrown out of an md array"),
    total("hung-tasks", "tasks that waited for more than kernel.hung_task_timeout_secs"),
    total("tables-full", "a full connection, file or neighbour table"),
    total("transmit-timeouts", "network cards that stopped sending and were reset"),
    total("ata-resets", "resets of a SATA link; a few at boot are normal"),
    total(
        "pcie-corrected",
        "PCIe errors that were corrected; many mean a bad contact or a card that fails",
    ),
    total("memory-corrected", "memory errors that were corrected; the sensor ecc counts them all"),
    total("throttles", "processors slowed down by heat"),
    total("links-down", "network links that went down, as drivers report it; see the link sensor"),
    total("cgroup-oom-kills", "processes killed at the memory limit of their cgroup"),
    total("warnings", "kernel warnings with a backtrace"),
    total(
        "segfaults",
        "programs that crashed at a bad address; the kernel limits how many it reports",
    ),
    total("errors", "records of the kernel itself with priority error or worse"),
    total("matches", "records that match the option `match`; absent without it"),
    total("records", "records read"),
    total("lost", "records that were overwritten before they could be read"),
    total("malformed", "lines that are no records; none on a machine"),
];

const fn total(name: &'static str, meaning: &'static str) -> Quantity {
    Quantity { name, unit: Unit::Total, meaning }
}

/// Records taken in one reading at most, about 2 ms of work; the rest waits in the kernel's buffer
/// for the next one, and what that cannot hold is counted as lost.
const RECORDS_MAX: usize = 1024;

/// Longest record: CONSOLE_EXT_LOG_MAX was 8192 before Linux 6.3, PRINTK_MESSAGE_MAX is 2048 since
/// (kernel/printk/internal.h). A read(2) with less room fails with EINVAL.
const RECORD_BYTES_MAX: usize = 8192;

/// Bytes of the note at most.
const NOTE_BYTES_MAX: usize = 200;

/// The note shows the worst event of this time, the window of the default conditions.
const NOTE_KEPT: Span = Span::from_secs(3600);

/// Longest pattern of the option `match`.
const PATTERN_BYTES_MAX: usize = 200;

/// Priority `err` of syslog(2); smaller is worse.
const PRIORITY_ERROR: u64 = 3;

struct KernelLog {
    path: PathBuf,
    file: File,
    is_device: bool,
    lines: Lines,
    tally: Tally,
}

/// Bytes that were read and not yet handed out as lines: never any on the device, which gives whole
/// records.
struct Lines {
    buffer: Vec<u8>,
    filled: usize,
    /// Inside a line that is longer than the buffer: all of it up to its end is dropped.
    overlong: bool,
}

/// What was counted.
#[derive(Default)]
struct Tally {
    kinds: [u64; RULES.len()],
    errors: u64,
    pattern: Option<String>,
    matched: u64,
    records: u64,
    lost: u64,
    malformed: u64,
    sequence: Option<u64>,
    worst: Option<Noted>,
}

/// The line that the note shows.
struct Noted {
    rank: usize,
    at: Mono,
    line: Box<str>,
}

fn open(root: &Root, _target: &str, options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    let path = root.path("/dev/kmsg");
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .map_err(|error| SensorError::io("open", &path, error))?;
    if root.is_machine() {
        file.seek(SeekFrom::End(0)).map_err(|error| SensorError::io("seek in", &path, error))?;
    }
    let is_device = file.metadata().is_ok_and(|metadata| metadata.file_type().is_char_device());
    let pattern = options.get("match").map(str::to_owned);
    Ok(Box::new(KernelLog {
        path,
        file,
        is_device,
        lines: Lines { buffer: vec![0; RECORD_BYTES_MAX], filled: 0, overlong: false },
        tally: Tally { pattern, ..Tally::default() },
    }))
}

fn check_pattern(text: &str) -> Result<(), String> {
    if text.len() > PATTERN_BYTES_MAX {
        Err(format!("is longer than {PATTERN_BYTES_MAX} bytes"))
    } else if text.chars().all(|c| c == '*') {
        Err("would match every record; write the words to look for".into())
    } else {
        Ok(())
    }
}

impl Probe for KernelLog {
    fn read(&mut self, now: Mono, wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let limit = self.tally.records.saturating_add(RECORDS_MAX as u64);
        while self.tally.records < limit {
            match self.file.read(self.lines.room()) {
                Ok(0) => break,
                Ok(count) => {
                    let tally = &mut self.tally;
                    tally.malformed = tally.malformed.saturating_add(self.lines.added(count));
                    self.lines.take(|line| tally.line(now, wanted, line));
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => break,
                    // Overwritten while it waited: the gap in the sequence tells how many.
                    ErrorKind::BrokenPipe | ErrorKind::Interrupted => {}
                    _ => return Err(SensorError::io("read", &self.path, error)),
                },
            }
        }
        self.tally.fill(now, out);
        Ok(())
    }

    /// A flood wakes at each record: whoever waits must leave some time between two readings.
    fn wakes(&self) -> Vec<Wake<'_>> {
        // A regular file, as in a recorded tree, is always ready, and epoll(7) refuses it.
        if self.is_device { vec![Wake::Readable(self.file.as_fd())] } else { Vec::new() }
    }
}

impl Lines {
    /// Where the next read goes. Never empty, since [`take`](Self::take) leaves the buffer not
    /// full.
    fn room(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.filled..).unwrap_or_default()
    }

    /// Notes that `count` bytes were read; returns how many lines had to be dropped.
    fn added(&mut self, count: usize) -> u64 {
        self.filled = self.filled.saturating_add(count).min(self.buffer.len());
        let filled = self.buffer.get(..self.filled).unwrap_or_default();
        if self.filled < self.buffer.len() || filled.contains(&b'\n') {
            return 0;
        }
        self.filled = 0;
        u64::from(!std::mem::replace(&mut self.overlong, true))
    }

    /// Hands out the complete lines and keeps the rest.
    fn take(&mut self, mut each: impl FnMut(&str)) {
        let mut start = 0;
        while let Some(rest) = self.buffer.get(start..self.filled)
            && let Some(length) = rest.iter().position(|byte| *byte == b'\n')
        {
            if !std::mem::replace(&mut self.overlong, false) {
                each(&String::from_utf8_lossy(rest.get(..length).unwrap_or_default()));
            }
            start = start.saturating_add(length).saturating_add(1);
        }
        self.buffer.copy_within(start..self.filled, 0);
        self.filled = self.filled.saturating_sub(start);
    }
}

/// One record: where it comes from, how bad it is, what it says.
struct Record<'a> {
    facility: u64,
    priority: u64,
    sequence: u64,
    message: &'a str,
}

impl<'a> Record<'a> {
    /// Further fields between the flags and the `;` may come one day and are skipped, as the
    /// document asks.
    fn parse(line: &'a str) -> Option<Self> {
        let (prefix, message) = line.split_once(';')?;
        let mut fields = prefix.split(',').map(text::whole);
        let origin = fields.next()??;
        let sequence = fields.next()??;
        let _microseconds = fields.next()??;
        Some(Self { facility: origin >> 3, priority: origin & 7, sequence, message })
    }
}

impl Tally {
    fn line(&mut self, now: Mono, wanted: Wanted, line: &str) {
        if line.starts_with(' ') {
            return;
        }
        let Some(record) = Record::parse(line) else {
            self.malformed = self.malformed.saturating_add(1);
            return;
        };
        self.records = self.records.saturating_add(1);
        if let Some(last) = self.sequence.replace(record.sequence) {
            let gap = record.sequence.saturating_sub(last).saturating_sub(1);
            self.lost = self.lost.saturating_add(gap);
        }
        if self.pattern.as_ref().is_some_and(|pattern| matches(record.message, pattern)) {
            self.matched = self.matched.saturating_add(1);
            self.note(now, 0, record.message);
        }
        // Facility 0 cannot be written from user space: nobody can make these events up.
        if record.facility == 0 {
            self.kernel(now, wanted, &record);
        }
    }

    /// Only what a condition names is noted: the words of another fault would be taken for those of
    /// the one that is told.
    fn kernel(&mut self, now: Mono, wanted: Wanted, record: &Record<'_>) {
        if record.priority <= PRIORITY_ERROR {
            self.errors = self.errors.saturating_add(1);
            if wanted.has(QUANTITIES, "errors") {
                self.note(now, RULES.len(), record.message);
            }
        }
        for (rank, rule) in RULES.iter().enumerate() {
            if rule.applies(record.message) {
                if let Some(count) = self.kinds.get_mut(rank) {
                    *count = count.saturating_add(1);
                }
                if wanted.has(QUANTITIES, rule.kind) {
                    self.note(now, rank, record.message);
                }
            }
        }
    }

    fn note(&mut self, now: Mono, rank: usize, line: &str) {
        let worse = self
            .worst
            .as_ref()
            .is_none_or(|worst| rank <= worst.rank || now.since(worst.at) > NOTE_KEPT);
        if worse {
            self.worst = Some(Noted { rank, at: now, line: shorten(line) });
        }
    }

    fn fill(&mut self, now: Mono, out: &mut Readings) {
        for (rule, count) in RULES.iter().zip(self.kinds) {
            out.count(rule.kind, count);
        }
        out.count("errors", self.errors);
        match self.pattern {
            Some(_) => out.count("matches", self.matched),
            None => out.absent("matches"),
        }
        out.count("records", self.records);
        out.count("lost", self.lost);
        out.count("malformed", self.malformed);
        self.worst.take_if(|worst| now.since(worst.at) > NOTE_KEPT);
        out.note = self.worst.as_ref().map(|worst| worst.line.clone());
    }
}

/// A line that fits a table: bounded, and without the control characters that a recorded file may
/// have.
fn shorten(line: &str) -> Box<str> {
    let mut short = String::new();
    for c in line.chars().filter(|c| !c.is_control()) {
        if short.len().saturating_add(c.len_utf8()) > NOTE_BYTES_MAX {
            break;
        }
        short.push(c);
    }
    short.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mastiff_core::reading::Value;

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.line(Mono::BOOT, Wanted::ALL, line);
        }
        tally
    }

    #[test]
    fn each_rule_counts_a_declared_quantity() {
        let mut out = Readings::new(QUANTITIES);
        Tally::default().fill(Mono::BOOT, &mut out);
        assert_eq!(out.undeclared(), None);
        assert!(out.slots().iter().all(Option::is_some), "all are known from the first reading");
    }

    #[test]
    fn programs_cannot_make_up_kernel_events() {
        let forged = tally(&["12,1,2,-;Out of memory: Killed process 1 (x) total-vm:1kB"]);
        assert_eq!((forged.records, forged.kinds.iter().sum::<u64>(), forged.errors), (1, 0, 0));
    }

    #[test]
    fn gaps_in_the_sequence_are_lost_records() {
        let counted =
            tally(&["6,10,1,-;a", "6,11,1,-;b", " SUBSYSTEM=x", "6,15,1,c,future;c", "6,3,1,-;d"]);
        assert_eq!((counted.records, counted.lost, counted.malformed), (4, 3, 0));
    }

    #[test]
    fn what_is_no_record_is_counted_as_such() {
        let counted =
            tally(&["", "x", "3,1,2", "-3,1,2,-;a", "3,,2,-;a", "3,1,99999999999999999999,-;a"]);
        assert_eq!((counted.records, counted.malformed), (0, 6));
    }

    #[test]
    fn the_note_keeps_the_worst_event_for_an_hour() {
        let mut tally = tally(&[
            "3,1,2,-;EXT4-fs (sda): Remounting filesystem read-only",
            "3,2,2,-;ata1: hard resetting link",
        ]);
        let mut out = Readings::new(QUANTITIES);
        tally.fill(Mono::BOOT.after(NOTE_KEPT), &mut out);
        assert_eq!(out.note.as_deref(), Some("EXT4-fs (sda): Remounting filesystem read-only"));
        tally.fill(Mono::BOOT.after(NOTE_KEPT).after(Span::from_secs(1)), &mut out);
        assert_eq!(out.note, None);
        assert_eq!(out.get("remounted-read-only"), Some(&Value::Number(1.0)), "totals stay");
    }

    #[test]
    fn the_note_is_of_what_a_condition_names() {
        let lines = [
            "3,1,2,-;EXT4-fs (sda): Remounting filesystem read-only",
            "3,2,2,-;Memory failure: 0x9f7a: recovery action for dirty LRU page: Recovered",
            "3,3,2,-;something else",
        ];
        for (name, noted) in [
            (
                "memory-failures",
                "Memory failure: 0x9f7a: recovery action for dirty LRU page: Recovered",
            ),
            ("remounted-read-only", "EXT4-fs (sda): Remounting filesystem read-only"),
            ("errors", "something else"),
        ] {
            let mut tally = Tally::default();
            let index = QUANTITIES.iter().position(|quantity| quantity.name == name).unwrap();
            let wanted = Wanted::NONE.with(index);
            lines.iter().for_each(|line| tally.line(Mono::BOOT, wanted, line));
            let mut out = Readings::new(QUANTITIES);
            tally.fill(Mono::BOOT, &mut out);
            assert_eq!(out.note.as_deref(), Some(noted), "{name}");
        }
    }

    #[test]
    fn an_endless_line_is_dropped_once_and_the_next_one_is_read() {
        let mut lines = Lines { buffer: vec![0; 8], filled: 0, overlong: false };
        let mut seen = Vec::new();
        let mut dropped = 0;
        for chunk in ["ab\ncd", "ef\n12345678", "12345678", "12345678", "\nxy\n"] {
            let mut bytes = chunk.as_bytes();
            while !bytes.is_empty() {
                let count = bytes.read(lines.room()).unwrap();
                dropped += lines.added(count);
                lines.take(|line| seen.push(line.to_owned()));
            }
        }
        assert_eq!((seen, dropped), (vec!["ab".into(), "cdef".into(), "xy".to_owned()], 1));
    }

    #[test]
    fn notes_are_short_and_plain() {
        let note = shorten(&format!("a\u{1b}[31m{}", "é".repeat(NOTE_BYTES_MAX)));
        assert!(note.len() <= NOTE_BYTES_MAX && note.starts_with("a[31mé"));
    }

    #[test]
    fn patterns_are_checked() {
        assert!(check_pattern("usb * disconnect").is_ok());
        assert!(check_pattern("").is_err() && check_pattern("**").is_err());
        assert!(check_pattern(&"x".repeat(PATTERN_BYTES_MAX + 1)).is_err());
    }
}
