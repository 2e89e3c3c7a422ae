//! Boots and shutdowns in /var/log/wtmp: records of `struct utmp` (utmp(5)), one after the other.
//!
//! systemd writes one at each boot and one at each orderly shutdown (systemd-update-utmp(8)). Newer
//! distributions have no such file any more.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::mem::{offset_of, size_of};
use std::path::Path;

use libc::utmpx;

/// Bytes read from the end: some hundred logins.
const TAIL_BYTES: u64 = 256 * 1024;
const RECORD_BYTES: usize = size_of::<utmpx>();
/// `struct utmp` has 32 bits for the seconds where 32-bit programs share the file, which makes it
/// 384 bytes long (bits/utmp.h).
const SHORT_RECORD_BYTES: usize = 384;
/// A boot's record is written when /var is there, and may be of a clock that was wrong before.
const NEAR_SECS: u64 = 15 * 60;

/// What it says of the boot before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accounts {
    /// Nothing: the file is missing, or does not know this boot.
    Silent,
    /// There is no shutdown between the two boots; when the boot before began, if it is known.
    NoShutdown {
        /// In Unix seconds.
        before: Option<u64>,
    },
    /// It was shut down in order.
    Shutdown {
        /// In Unix seconds.
        at: u64,
        /// When the boot before began.
        before: Option<u64>,
    },
}

impl Accounts {
    /// When the boot before this one began, in Unix seconds.
    pub(super) fn before(self) -> Option<u64> {
        match self {
            Self::Silent => None,
            Self::NoShutdown { before } | Self::Shutdown { before, .. } => before,
        }
    }

    /// The same of a boot that is known to have begun then (Unix milliseconds): where the records
    /// of that one never reached the disk, the newest shutdown is that of the boot before it.
    pub(super) fn of_boot(self, began_ms: Option<u64>) -> Self {
        let is_older = |at: u64| began_ms.is_some_and(|began| at.saturating_add(1) < began / 1000);
        match self {
            Self::Shutdown { at, .. } if is_older(at) => Self::NoShutdown { before: None },
            all => all,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Boot(u64),
    Shutdown(u64),
}

/// Reads the end of the file; `booted` is when this boot began, in Unix seconds.
pub(super) fn read(path: &Path, booted: u64) -> Accounts {
    tail(path).map_or(Accounts::Silent, |bytes| judge(&entries(&bytes), booted))
}

fn tail(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let record = u64::try_from(RECORD_BYTES).unwrap_or(u64::MAX);
    // Whole records from the start on; half a one at the end was torn.
    let from = length.saturating_sub(TAIL_BYTES) / record * record;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES.saturating_add(record)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn entries(bytes: &[u8]) -> Vec<Entry> {
    bytes.chunks_exact(RECORD_BYTES).filter_map(entry).collect()
}

fn entry(record: &[u8]) -> Option<Entry> {
    let field = |from: usize, length: usize| record.get(from..from.checked_add(length)?);
    let type_at = offset_of!(utmpx, ut_type);
    let kind = i16::from_ne_bytes(field(type_at, 2)?.try_into().ok()?);
    let user = field(offset_of!(utmpx, ut_user), 32)?;
    let user = user.split(|byte| *byte == 0).next()?;
    let time_at = offset_of!(utmpx, ut_tv);
    let secs = if RECORD_BYTES == SHORT_RECORD_BYTES {
        // Read as unsigned, it lasts until 2106.
        u64::from(u32::from_ne_bytes(field(time_at, 4)?.try_into().ok()?))
    } else {
        u64::from_ne_bytes(field(time_at, 8)?.try_into().ok()?)
    };
    match (kind, user) {
        (libc::BOOT_TIME, b"reboot") => Some(Entry::Boot(secs)),
        (libc::RUN_LVL, b"shutdown") => Some(Entry::Shutdown(secs)),
        _ => None,
    }
}

fn judge(entries: &[Entry], booted: u64) -> Accounts {
    let is_this =
        |entry: &Entry| matches!(entry, Entry::Boot(at) if at.abs_diff(booted) < NEAR_SECS);
    // Of two boots that are near to each other the newer one is this one.
    let Some(this) = entries.iter().rposition(is_this) else { return Accounts::Silent };
    let older = entries.get(..this).unwrap_or_default().iter().rev();
    let before = older.clone().find_map(|entry| match entry {
        Entry::Boot(at) => Some(*at),
        Entry::Shutdown(_) => None,
    });
    match older.clone().next() {
        Some(Entry::Shutdown(at)) => Accounts::Shutdown { at: *at, before },
        Some(Entry::Boot(_)) | None => Accounts::NoShutdown { before },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: i16, user: &str, secs: u32) -> Vec<u8> {
        let mut bytes = vec![0; RECORD_BYTES];
        bytes[..2].copy_from_slice(&kind.to_ne_bytes());
        let at = offset_of!(utmpx, ut_user);
        bytes[at..at + user.len()].copy_from_slice(user.as_bytes());
        let at = offset_of!(utmpx, ut_tv);
        bytes[at..at + 4].copy_from_slice(&secs.to_ne_bytes());
        bytes
    }

    fn file(name: &str, records: &[Vec<u8>]) -> std::path::PathBuf {
        let name = format!("mastiff-wtmp-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, records.concat()).unwrap();
        path
    }

    #[test]
    fn a_shutdown_between_two_boots_is_found_and_so_is_its_absence() {
        let (boot, login) = (|at| record(libc::BOOT_TIME, "reboot", at), record(7, "root", 5));
        let down = |at| record(libc::RUN_LVL, "shutdown", at);
        let level = record(libc::RUN_LVL, "runlevel", 7);
        let booted = 100_000;
        for (name, records, accounts) in [
            ("none", vec![], Accounts::Silent),
            ("other", vec![boot(5)], Accounts::Silent),
            ("first", vec![boot(100_020)], Accounts::NoShutdown { before: None }),
            (
                "clean",
                vec![
                    boot(5),
                    level.clone(),
                    login.clone(),
                    down(900),
                    boot(100_001),
                    login.clone(),
                ],
                Accounts::Shutdown { at: 900, before: Some(5) },
            ),
            (
                "unclean",
                vec![boot(5), down(6), boot(7), login.clone(), boot(100_001)],
                Accounts::NoShutdown { before: Some(7) },
            ),
            (
                "torn",
                vec![boot(5), boot(100_001), vec![1; 100]],
                Accounts::NoShutdown { before: Some(5) },
            ),
        ] {
            let path = file(name, &records);
            assert_eq!(read(&path, booted), accounts, "{name}");
            std::fs::remove_file(path).unwrap();
        }
        assert_eq!(read(Path::new("/nonexistent"), 1), Accounts::Silent);
        assert_eq!(read(Path::new("/dev/zero"), 1), Accounts::Silent);
    }

    #[test]
    fn a_shutdown_from_before_the_boot_is_not_its_end() {
        let down = Accounts::Shutdown { at: 900, before: Some(5) };
        for (began_ms, accounts) in [
            (None, down),
            (Some(5_000), down),
            (Some(900_999), down),
            (Some(902_000), Accounts::NoShutdown { before: None }),
        ] {
            assert_eq!(down.of_boot(began_ms), accounts, "{began_ms:?}");
        }
        assert_eq!(Accounts::Silent.of_boot(Some(902_000)), Accounts::Silent);
    }

    #[test]
    fn of_a_long_file_the_end_is_read() {
        let mut records = vec![record(7, "root", 5); 2000];
        records.push(record(libc::BOOT_TIME, "reboot", 90));
        records.push(record(libc::RUN_LVL, "shutdown", 95));
        records.push(record(libc::BOOT_TIME, "reboot", 100_000));
        let path = file("long", &records);
        assert_eq!(read(&path, 100_000), Accounts::Shutdown { at: 95, before: Some(90) });
        std::fs::remove_file(path).unwrap();
    }
}
