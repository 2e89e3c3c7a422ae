//! Last words: one line into the kernel's own log, which needs no disk.
//!
//! The kernel log (/dev/kmsg) is seen by the console, a serial line, netconsole and the journal.
//! /dev/pmsg0 is a part of memory that outlives a reset where the firmware leaves it alone
//! (Documentation/admin-guide/ramoops.rst); systemd-pstore keeps it after the next boot.
//!
//! Both are opened at the start, when everything is well, and never block: of kmsg the kernel takes
//! ten lines of one descriptor in five seconds and drops the rest (`printk_devkmsg`), which is told
//! to nobody. A console that is slow can hold up the writer for the time that the line takes there.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use mastiff_hwmon::root::Root;

use super::Kind;

/// Bytes of a line at most; the kernel refuses over 976 (`devkmsg_write`, kernel/printk/printk.c).
const LINE_BYTES_MAX: usize = 800;
/// What a line begins with, so that `mastiff why` finds it again.
const NAME: &str = "mastiff: ";
/// Facility daemon (3) and priority warning (4), as of syslog(3): `facility * 8 + priority`.
const PRIORITY: &str = "<28>";

/// The two places.
#[derive(Debug)]
pub struct LastWords {
    kmsg: Option<File>,
    pmsg: Option<File>,
    failed: u64,
}

impl LastWords {
    /// Opens what there is.
    #[must_use]
    pub fn open(root: &Root) -> Self {
        let open = |path: &str| {
            let mut options = OpenOptions::new();
            options.append(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
            options.open(root.path(path)).ok()
        };
        Self { kmsg: open("/dev/kmsg"), pmsg: open("/dev/pmsg0"), failed: 0 }
    }

    /// Says one line in both places: `mastiff: KIND: TEXT`. What one does not take is counted.
    pub fn say(&mut self, kind: Kind, text: &str) {
        let text = text.replace(char::is_control, " ");
        let mut line = format!("{NAME}{}: {text}", kind.name());
        line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
        line.push('\n');
        // One write is one line: a second one would be another.
        let with_priority = format!("{PRIORITY}{line}");
        for (place, line) in [(&mut self.kmsg, &with_priority), (&mut self.pmsg, &line)] {
            let said = place.as_mut().map(|file| file.write(line.as_bytes()));
            if said.is_some_and(|said| said.is_err()) {
                self.failed = self.failed.saturating_add(1);
            }
        }
    }

    /// Lines that a place did not take.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed
    }
}

/// What [`LastWords::say`] said, in a line of the kernel log or of the persistent memory.
#[must_use]
pub fn heard(line: &str) -> Option<(Kind, &str)> {
    let (_, words) = line.split_once(NAME)?;
    let (kind, text) = words.split_once(": ")?;
    Some((Kind::named(kind).filter(|kind| kind.is_last_word())?, text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_to_both_places_and_stays_one_line() {
        let root = std::env::temp_dir().join(format!("mastiff-words-{}", std::process::id()));
        std::fs::create_dir_all(root.join("dev")).unwrap();
        for name in ["kmsg", "pmsg0"] {
            std::fs::write(root.join("dev").join(name), "").unwrap();
        }
        let mut words = LastWords::open(&Root::recorded(&root));
        words.say(Kind::Rung, "reset of web:\n<0>gone");
        words.say(Kind::Refused, &"ü".repeat(5000));
        let read = |name: &str| std::fs::read_to_string(root.join("dev").join(name)).unwrap();
        let (kmsg, pmsg) = (read("kmsg"), read("pmsg0"));
        assert_eq!(kmsg.lines().next(), Some("<28>mastiff: rung: reset of web: <0>gone"));
        assert_eq!(pmsg.lines().next(), Some("mastiff: rung: reset of web: <0>gone"));
        assert_eq!((kmsg.lines().count(), pmsg.lines().count()), (2, 2));
        assert!(kmsg.lines().all(|line| line.len() < 976));
        assert_eq!(words.failed(), 0);
        let heard: Vec<_> = kmsg.lines().filter_map(heard).map(|(kind, _)| kind).collect();
        assert_eq!(heard, [Kind::Rung, Kind::Refused]);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn where_there_is_no_place_nothing_is_said_and_a_full_one_is_counted() {
        LastWords::open(&Root::recorded("/nonexistent")).say(Kind::Rung, "nobody hears this");
        let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let mut words = LastWords { kmsg: Some(full), pmsg: None, failed: 0 };
        words.say(Kind::Rung, "no room");
        assert_eq!(words.failed(), 1);
    }

    #[test]
    fn only_last_words_are_heard() {
        let line = "<28>[   12.345678] mastiff: self-test: 0s after the last pet\n";
        assert_eq!(heard(line), Some((Kind::SelfTest, "0s after the last pet")));
        for other in ["mastiff: pulse: x", "mastiff: rung", "rung: x", "mastiff: other: x", ""] {
            assert_eq!(heard(other), None, "{other}");
        }
    }
}
