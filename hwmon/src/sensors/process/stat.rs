//! What /proc/PID says of one process, read raw: the typed crate needs twice the time, and a unit
//! has many.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use mastiff_core::time::Mono;

use crate::text::{kibibytes, whole as whole_number};

/// Bytes of one file of a process at most; the longest, `status`, has about 1,500.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// The fields of /proc/PID/stat that are used (proc_pid_stat(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// The letter of the state.
    pub(super) state: char,
    /// Processor time of all its threads, in ticks.
    pub(super) cpu_ticks: u64,
    pub(super) threads: u64,
    /// When it began, in ticks since boot, suspend counted.
    pub(super) start_ticks: u64,
}

/// A value of a process that may have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read<T> {
    Is(T),
    /// The process is gone: it counts for nothing.
    Ended,
    /// It exists, and the value cannot be had.
    Unknown,
}

impl Stat {
    /// `None` if there is no such process any more.
    pub(super) fn read(proc: &Path, pid: u32) -> Option<Self> {
        match text(proc, pid, "stat") {
            Read::Is(text) => Self::parse(&text),
            Read::Ended | Read::Unknown => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        // The name, in brackets, may itself contain blanks and brackets.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // Fields are numbered from 1 in the manual page; the state is number 3.
        let field = |number: usize| fields.get(number.checked_sub(3)?).copied();
        let whole = |number| whole_number(field(number)?);
        Some(Self {
            state: field(3)?.chars().next()?,
            cpu_ticks: whole(14)?.saturating_add(whole(15)?),
            threads: whole(20)?,
            start_ticks: whole(22)?,
        })
    }

    /// Whether it can still do anything.
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    pub(super) fn started_at(&self) -> Mono {
        moment(self.start_ticks)
    }

    /// The state in a word; `None` for a letter of a future kernel.
    pub(super) fn state_word(&self) -> Option<&'static str> {
        Some(match self.state {
            'R' => "running",
            'S' => "sleeping",
            'D' => "uninterruptible",
            'Z' => "zombie",
            'T' => "stopped",
            't' => "traced",
            'I' => "idle",
            'X' | 'x' => "dead",
            _ => return None,
        })
    }
}

/// The moment of a number of ticks since boot.
pub(super) fn moment(ticks: u64) -> Mono {
    Mono::from_nanos(i64::try_from(ticks.saturating_mul(tick_nanos())).unwrap_or(i64::MAX))
}

/// Nanoseconds of one tick of /proc (`USER_HZ`, 10 ms wherever Linux runs today).
pub(super) fn tick_nanos() -> u64 {
    1_000_000_000_u64.checked_div(procfs::ticks_per_second()).unwrap_or(10_000_000)
}

/// The name of a process as the kernel keeps it: at most 15 bytes.
pub(super) fn name(proc: &Path, pid: u32) -> Option<String> {
    match text(proc, pid, "comm") {
        Read::Is(text) => Some(text.trim_end_matches('\n').to_owned()),
        Read::Ended | Read::Unknown => None,
    }
}

/// The last part of the path by which a process calls itself (its first argument). Kernel threads
/// have none, and a process that has just been started has none yet.
pub(super) fn own_name(proc: &Path, pid: u32) -> Option<String> {
    match text(proc, pid, "cmdline") {
        Read::Is(text) => {
            let first = text.split('\0').next().filter(|first| !first.is_empty())?;
            first.rsplit('/').next().map(str::to_owned)
        }
        Read::Ended | Read::Unknown => None,
    }
}

/// Memory of a process in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Amount {
    /// From `statm` (proc_pid_statm(5)). Not from `stat`: there the kernel gives a sum that lacks
    /// what each processor has not yet added, which is all of a small process (seen on 6.18).
    Resident,
    /// `VmSwap` of `status`.
    Swapped,
}

impl Amount {
    pub(super) fn read(self, proc: &Path, pid: u32) -> Read<u64> {
        let name = match self {
            Self::Resident => "statm",
            Self::Swapped => "status",
        };
        let text = match text(proc, pid, name) {
            Read::Is(text) => text,
            Read::Ended => return Read::Ended,
            Read::Unknown => return Read::Unknown,
        };
        let bytes = match self {
            Self::Resident => {
                let pages = text.split(' ').nth(1).and_then(whole_number);
                pages.map(|pages| pages.saturating_mul(procfs::page_size()))
            }
            // Kernel threads have no memory of their own and no such lines.
            Self::Swapped if !text.contains("VmSize:") => Some(0),
            Self::Swapped => kibibytes(&text, "VmSwap"),
        };
        bytes.map_or(Read::Unknown, Read::Is)
    }
}

/// Open descriptors. Since Linux 6.2 the size of the directory is their number (proc_pid_fd(5)).
pub(super) fn open_files(proc: &Path, pid: u32, is_machine: bool) -> Read<u64> {
    let path = proc.join(pid.to_string()).join("fd");
    if is_machine
        && let Ok(metadata) = path.metadata()
        && metadata.len() > 0
    {
        return Read::Is(metadata.len());
    }
    match path.read_dir() {
        Ok(entries) => Read::Is(u64::try_from(entries.count()).unwrap_or(u64::MAX)),
        Err(error) => ended_or_unknown(&error),
    }
}

/// The soft limit of open files (`RLIMIT_NOFILE`).
pub(super) fn open_files_limit(proc: &Path, pid: u32) -> Read<u64> {
    let text = match text(proc, pid, "limits") {
        Read::Is(text) => text,
        Read::Ended => return Read::Ended,
        Read::Unknown => return Read::Unknown,
    };
    let soft = text.lines().find_map(|line| {
        match line.strip_prefix("Max open files")?.split_ascii_whitespace().next()? {
            "unlimited" => Some(u64::MAX),
            number => whole_number(number),
        }
    });
    soft.map_or(Read::Unknown, Read::Is)
}

fn text(proc: &Path, pid: u32, name: &str) -> Read<String> {
    let file = match File::open(proc.join(pid.to_string()).join(name)) {
        Ok(file) => file,
        Err(error) => return ended_or_unknown(&error),
    };
    let mut bytes = Vec::new();
    match file.take(FILE_BYTES_MAX).read_to_end(&mut bytes) {
        // Names of processes need not be UTF-8.
        Ok(_) => Read::Is(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => ended_or_unknown(&error),
    }
}

fn ended_or_unknown<T>(error: &std::io::Error) -> Read<T> {
    match error.kind() {
        ErrorKind::NotFound => Read::Ended,
        // A process that ends between open and read.
        _ if error.raw_os_error() == Some(libc::ESRCH) => Read::Ended,
        _ => Read::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "812 (a) b (c) D 1 812 812 0 -1 4194560 120 0 3 0 250 50 0 0 20 0 4 0 777 1000000 300 1 1 1";

    #[test]
    fn names_with_brackets_do_not_shift_the_fields() {
        let stat = Stat::parse(LINE).expect("a line of proc_pid_stat(5)");
        assert_eq!((stat.state, stat.cpu_ticks, stat.threads), ('D', 300, 4));
        assert_eq!(stat.start_ticks, 777);
        assert!(stat.is_alive());
    }

    #[test]
    fn cut_lines_are_nothing() {
        for end in 0..LINE.find("777").expect("the start") {
            assert_eq!(Stat::parse(&LINE[..end]), None, "{end}");
        }
        assert_eq!(Stat::parse(&LINE.replace("777", "-777")), None);
    }
}
