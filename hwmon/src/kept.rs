//! A file of /proc or /sys, opened once and read again and again with `pread`.
//!
//! An open and a close cost more than the read itself (measured: 0.4 us against 2 us for
//! /proc/loadavg).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::sensor::SensorError;

/// Bytes of one file at most; /proc/stat of 512 processors has 60 KiB.
pub const FILE_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a file that has one short line, at most; see [`Kept::line`].
pub const SHORT_BYTES: usize = 128;

const FIRST_READ_BYTES: usize = 4096;

/// An open file and the buffer of its last reading.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
}

impl Kept {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`SensorError::Io`] with the path.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SensorError> {
        Self::with_buffer(path.into(), FIRST_READ_BYTES)
    }

    /// Opens a file of one short line, for [`line`](Self::line) and [`number`](Self::number): a
    /// link has a dozen of them, and a page for each would add up.
    ///
    /// # Errors
    /// [`SensorError::Io`] with the path.
    pub fn open_short(path: impl Into<PathBuf>) -> Result<Self, SensorError> {
        Self::with_buffer(path.into(), SHORT_BYTES)
    }

    fn with_buffer(path: PathBuf, bytes: usize) -> Result<Self, SensorError> {
        match File::open(&path) {
            Ok(file) => Ok(Self { path, file, buffer: vec![0; bytes] }),
            Err(error) => Err(SensorError::io("open", &path, error)),
        }
    }

    /// Its whole text now. Bytes that are not UTF-8 end the text: /proc and /sys have none where
    /// numbers are.
    ///
    /// # Errors
    /// [`SensorError::Io`] if it cannot be read, [`SensorError::TooLarge`] beyond
    /// [`FILE_BYTES_MAX`].
    pub fn text(&mut self) -> Result<&str, SensorError> {
        let mut filled = 0;
        while let Some(free) = self.buffer.get_mut(filled..) {
            let count = match self.file.read_at(free, filled as u64) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(SensorError::io("read", &self.path, error)),
            };
            filled = filled.saturating_add(count);
            if filled < self.buffer.len() {
                // A seq_file may return less than asked at a record's end: only a zero is the end.
                continue;
            }
            if self.buffer.len() >= FILE_BYTES_MAX {
                return Err(SensorError::TooLarge {
                    path: self.path.clone(),
                    limit: FILE_BYTES_MAX,
                });
            }
            self.buffer.resize(self.buffer.len().saturating_mul(2), 0);
        }
        let bytes = self.buffer.get(..filled).unwrap_or_default();
        Ok(match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or_default())
                .unwrap_or_default(),
        })
    }

    /// Its first line, without the end; `None` if there is no complete one in its first
    /// [`SHORT_BYTES`].
    ///
    /// One `pread` where [`text`](Self::text) needs a second one to see the end: files of /sys and
    /// /proc/sys give one short line whole.
    ///
    /// # Errors
    /// [`SensorError::Io`] if it cannot be read.
    pub fn line(&mut self) -> Result<Option<&str>, SensorError> {
        let short = self.buffer.get_mut(..SHORT_BYTES).unwrap_or_default();
        let count = loop {
            match self.file.read_at(short, 0) {
                Ok(count) => break count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SensorError::io("read", &self.path, error)),
            }
        };
        let bytes = short.get(..count).unwrap_or_default();
        let end = bytes.iter().position(|byte| *byte == b'\n');
        Ok(end.and_then(|end| std::str::from_utf8(bytes.get(..end)?).ok()))
    }

    /// The whole number in its first line; `None` when that says anything else.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub fn number(&mut self) -> Result<Option<u64>, SensorError> {
        self.line().map(|line| line.and_then(crate::text::whole))
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether a measuring point is switched off or asleep, rather than broken: ENODATA by
/// Documentation/hwmon/sysfs-interface.rst, ENETDOWN on a network card that is down, EPERM on a
/// graphics card that sleeps (amdgpu since Linux 6.15).
///
/// ENXIO and EAGAIN are what drivers say of a point that is not there or not ready. I2C adapters
/// say the same of a chip that does not answer any more, so of a point that is `known`, because it
/// gave a value before, they are faults.
pub fn is_switched_off(error: &SensorError, known: bool) -> bool {
    let SensorError::Io { source, .. } = error else { return false };
    match source.raw_os_error() {
        Some(libc::ENODATA | libc::ENETDOWN | libc::EPERM) => true,
        Some(libc::ENXIO | libc::EAGAIN) => !known,
        _ => false,
    }
}

impl AsFd for Kept {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_point_that_does_not_answer_any_more_is_not_switched_off() {
        for (number, at_first, later) in [
            (libc::ENODATA, true, true),
            (libc::ENETDOWN, true, true),
            (libc::EPERM, true, true),
            (libc::ENXIO, true, false),
            (libc::EAGAIN, true, false),
            (libc::EIO, false, false),
        ] {
            let source = io::Error::from_raw_os_error(number);
            let error = SensorError::io("read", Path::new("temp1_input"), source);
            let is = (is_switched_off(&error, false), is_switched_off(&error, true));
            assert_eq!(is, (at_first, later), "{error}");
        }
    }
}
