//! What a kernel that panicked may have left: pstore (Documentation/admin-guide/pstore-blk.rst,
//! pstore(5) of systemd) and the dumps of a crash kernel.

use std::fs::{self, DirEntry, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mastiff_hwmon::root::Root;

use crate::flight::{Kind, last_words};

/// Where the kernel shows what it kept, and where systemd-pstore moves that to at a boot.
const PSTORE: [&str; 2] = ["/sys/fs/pstore", "/var/lib/systemd/pstore"];
/// kdump-tools of Debian, kdump of Red Hat; SUSE has /var/crash, too.
const CRASH: &str = "/var/crash";
/// Files that are looked at in all, and of one folder.
const FILES_MAX: usize = 256;
/// Folders within each other.
const DEPTH_MAX: usize = 3;
/// Bytes read of one file.
const BYTES_MAX: u64 = 256 * 1024;
/// What the kernel calls the parts of its log, and systemd-pstore(8) what it joins them to.
const PART: &str = "dmesg-";
const JOINED: &str = "dmesg.txt";
/// What a panic begins with (kernel/panic.c).
const PANIC: &str = "Kernel panic - not syncing";

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    /// Where it is.
    pub(super) path: String,
    /// When it was written, or moved there, in Unix milliseconds.
    pub(super) at_ms: u64,
    /// The line of the panic, if there is one.
    pub(super) panic: Option<String>,
    /// Our own last words in it ([`crate::flight::last_words`]), the newest ones.
    pub(super) words: Option<(Kind, String)>,
    /// Its first line.
    pub(super) first: String,
    /// A dump of the memory, made by a crash kernel: there was a panic, whatever it says.
    pub(super) is_dump: bool,
}

/// All files not older than `since_ms`.
pub(super) fn read(root: &Root, since_ms: u64) -> Vec<Trace> {
    let mut traces = Vec::new();
    for folder in PSTORE {
        walk(&root.path(folder), DEPTH_MAX, since_ms, &|_| true, &mut traces);
    }
    // Reports of programs that crashed (apport) lie there, too.
    let is_kernels = |name: &str| {
        name.contains("dmesg") || name.starts_with("vmcore") || name.starts_with("dump.")
    };
    walk(&root.path(CRASH), DEPTH_MAX, since_ms, &is_kernels, &mut traces);
    traces.sort_by(|one, other| one.path.cmp(&other.path));
    traces
}

/// Whether the kernel keeps its last words anywhere: something is mounted on /sys/fs/pstore in any
/// case, so it is the name of the backend that counts.
pub(super) fn has_backend(root: &Root) -> bool {
    let name = fs::read_to_string(root.path("/sys/module/pstore/parameters/backend"));
    name.is_ok_and(|name| !["", "(null)"].contains(&name.trim()))
}

fn walk(
    folder: &Path,
    depth: usize,
    since_ms: u64,
    wanted: &impl Fn(&str) -> bool,
    traces: &mut Vec<Trace>,
) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let entries: Vec<DirEntry> = entries.flatten().take(FILES_MAX).collect();
    let has_parts = entries.iter().any(|it| it.file_name().to_string_lossy().starts_with(PART));
    for entry in entries {
        // It repeats the parts beside it, whose time is that of the panic; its own is that of the
        // next boot, as whose end it would be taken.
        if has_parts && entry.file_name() == JOINED {
            continue;
        }
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 1 {
            walk(&entry.path(), depth - 1, since_ms, wanted, traces);
        } else if kind.is_file() && traces.len() < FILES_MAX {
            let name = entry.file_name().to_string_lossy().into_owned();
            let trace = || trace(&entry, &name);
            traces.extend(wanted(&name).then(trace).flatten().filter(|it| it.at_ms >= since_ms));
        }
    }
}

fn trace(entry: &DirEntry, name: &str) -> Option<Trace> {
    let at_ms = u64::try_from(entry.metadata().ok()?.mtime()).ok()?.saturating_mul(1000);
    let is_dump = name == "vmcore" || name.starts_with("vmcore.") || name.starts_with("dump.");
    let text = if is_dump { String::new() } else { text(&entry.path()) };
    let panic = text.lines().find(|line| line.contains(PANIC)).map(plain);
    let mut words = text.lines().rev().filter_map(last_words::heard);
    let words = words.next().map(|(kind, text)| (kind, text.to_string()));
    let first = text.lines().next().unwrap_or_default().chars().take(120).collect();
    Some(Trace { path: entry.path().display().to_string(), at_ms, panic, words, first, is_dump })
}

fn text(path: &PathBuf) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes));
    read.map(|_| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The line from the panic on, without the time before and the end after it.
pub(super) fn plain(line: &str) -> String {
    let from = line.find(PANIC).unwrap_or(0);
    line.get(from..).unwrap_or(line).trim_end().to_string()
}

/// Whether a line of the kernel log is a panic's first one.
pub(super) fn is_panic(line: &str) -> bool {
    line.contains(PANIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_found_in_what_is_new_and_programs_that_crashed_are_none() {
        let folder = std::env::temp_dir().join(format!("mastiff-traces-{}", std::process::id()));
        let root = Root::recorded(&folder);
        let write = |path: &str, text: &str| {
            let path = root.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "/sys/fs/pstore/dmesg-efi-1",
            "Panic#1 Part1\n<0>[   12.3] Kernel panic - not syncing: sysrq\n",
        );
        write("/var/lib/systemd/pstore/179/001/dmesg.txt", "Oops#1 Part1\n<4>[ 1.0] something\n");
        write(
            "/sys/fs/pstore/pmsg-ramoops-0",
            "mastiff: refused: no\nmastiff: rung: reset of \"a\"\n",
        );
        write("/var/crash/202611210319/vmcore", "ELF");
        write("/var/crash/_usr_bin_top.0.crash", "ProblemType: Crash\n");
        // What systemd-pstore joins comes with the time of the next boot.
        write("/var/lib/systemd/pstore/180/dmesg-erst-1", "Oops#2 Part1\n");
        write("/var/lib/systemd/pstore/180/dmesg.txt", "Oops#2 Part1\n");
        let traces = read(&root, 0);
        let names: Vec<&str> =
            traces.iter().map(|it| it.path.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["dmesg-efi-1", "pmsg-ramoops-0", "vmcore", "dmesg.txt", "dmesg-erst-1"]);
        assert_eq!(traces[0].panic.as_deref(), Some("Kernel panic - not syncing: sysrq"));
        assert_eq!((traces[0].first.as_str(), traces[2].is_dump), ("Panic#1 Part1", true));
        assert_eq!(traces[3].panic, None);
        assert_eq!(traces[1].words, Some((Kind::Rung, "reset of \"a\"".into())));
        assert_eq!(read(&root, u64::MAX), []);
        assert!(!has_backend(&root));
        write("/sys/module/pstore/parameters/backend", "efi_pstore\n");
        assert!(has_backend(&root));
        fs::remove_dir_all(&folder).unwrap();
    }
}
