//! The file of the flight record: reading whatever lies there, and replacing slots.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mastiff_core::sorted;

use super::{FILE_BYTES, Record, SLOT_BYTES, SLOTS, Slot};

/// Where the file is.
#[must_use]
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join("flight")
}

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The records with their slots, oldest first.
    pub records: Vec<(usize, Record)>,
    /// Slots that hold something that is no record.
    pub damaged: usize,
}

/// Reads a file. One that is not there is an empty one; what lies behind the last slot is not read.
///
/// # Errors
/// Why it cannot be read: it is no regular file, or the caller may not, or the disk fails.
pub fn read(path: &Path) -> io::Result<Log> {
    // A FIFO would be waited for, and a link may lead anywhere.
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => regular(file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Log::default()),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(u64::try_from(FILE_BYTES).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    let mut log = Log::default();
    for (at, slot) in bytes.chunks(SLOT_BYTES).enumerate() {
        match Slot::parse(slot) {
            Slot::Empty => {}
            Slot::Good(record) => log.records.push((at, record)),
            Slot::Damaged => log.damaged = log.damaged.saturating_add(1),
        }
    }
    sorted::sort_by_key(&mut log.records, &|(_, record)| record.seq);
    Ok(log)
}

/// Puts lines of [`SLOT_BYTES`] bytes into their slots, and waits until the disk has them. A file
/// that is not there is made, one of another length gets the right one.
///
/// # Errors
/// Whatever keeps them from being written; some may have been.
pub fn write(path: &Path, lines: &[(usize, String)]) -> io::Result<()> {
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600).custom_flags(flags);
    let file = regular(options.open(path)?)?;
    let grown = fill(&file)?;
    for (slot, line) in lines {
        if *slot >= SLOTS || line.len() != SLOT_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no slot"));
        }
        file.write_all_at(line.as_bytes(), offset(*slot))?;
    }
    file.sync_data()?;
    if grown {
        // Else a crash could take the name of the new file.
        File::open(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?.sync_all()?;
    }
    Ok(())
}

/// Fills a short file with empty slots and cuts a long one: all blocks are there from then on, so
/// that a disk that is full later takes the records still. Returns whether it was short.
fn fill(file: &File) -> io::Result<bool> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length > FILE_BYTES {
        file.set_len(u64::try_from(FILE_BYTES).unwrap_or(u64::MAX))?;
    }
    let whole = length / SLOT_BYTES;
    let mut empty = vec![b' '; SLOT_BYTES.saturating_sub(1)];
    empty.push(b'\n');
    let blanks = empty.repeat(SLOTS.saturating_sub(whole));
    file.write_all_at(&blanks, offset(whole))?;
    Ok(!blanks.is_empty())
}

fn offset(slot: usize) -> u64 {
    u64::try_from(slot.saturating_mul(SLOT_BYTES)).unwrap_or(u64::MAX)
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("it is not a regular file"))
}
