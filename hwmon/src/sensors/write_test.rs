//! Whether a file system really takes data: one small file, written and brought to the disk.
//!
//! A mount table says `rw` of a disk whose writes all fail, and a page cache takes them. Only
//! fsync(2) tells; it waits for the disk, so the prober calls it. The file stays and is written
//! over, so that the directory never changes. Nobody's disk is written to unasked: the sensor
//! discovers nothing. (What mastiffd writes for itself, in its state directory, it watches anyway.)

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};
use nix::time::{ClockId, clock_gettime};

use crate::mounts;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};

/// The file that is written, in the root of the file system.
pub const FILE: &str = ".mastiff-write-test";

/// What it begins with; a file that begins otherwise is somebody else's and is left alone.
pub const HEADER: &[u8] = b"mastiff write-test (mastiff-sensors(7)); may be deleted\n";

/// Bytes written each time: a logical block of most disks.
pub const RECORD_BYTES: usize = 512;

/// One small write to one mounted file system (fsync(2)).
pub const SENSOR: Sensor = Sensor {
    name: "write-test",
    hardware: false,
    summary: "Whether a mounted file system takes data: writes 512 bytes to the file .mastiff-write-test in its root and waits until they are on the disk. Nothing is watched by itself.",
    target: Target::MountPoint,
    options: &[],
    quantities: QUANTITIES,
    warn_when: &["write-time > 5s"],
    fail_when: &["result != ok", "mounted = false"],
    interval: Span::from_secs(60),
    // The second one may find a disk that has come back, or a file system with room.
    fail_after: Span::from_secs(60),
    recover_after: Span::ZERO,
    discover: None,
    source: Source::MayHang(open),
};

const QUANTITIES: &[Quantity] = &[
    Quantity {
        name: "result",
        unit: Unit::Word(&["ok", "io-error", "read-only", "full", "over-quota"]),
        meaning: "what came of the write; missing where it could not be tried. The file is written over, so where that needs no new room (ext4, xfs) `filesystem` tells alone that it is full",
    },
    Quantity {
        name: "write-time",
        unit: Unit::Seconds,
        meaning: "how long the write took until it was on the disk; absent where it failed",
    },
    Quantity {
        name: "mounted",
        unit: Unit::Flag,
        meaning: "something is mounted at the target; if not, nothing is written",
    },
];

struct WriteTest {
    root: Root,
    point: PathBuf,
}

fn open(root: &Root, target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    Ok(Box::new(WriteTest { root: root.clone(), point: mounts::point(target) }))
}

impl Probe for WriteTest {
    fn read(&mut self, now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let is_mounted = mounts::at(&self.root, &self.point)?.is_some();
        out.flag("mounted", is_mounted);
        if !is_mounted {
            out.note = Some("nothing is mounted here".into());
            return Ok(());
        }
        if !self.root.is_machine() {
            // A recorded tree has a mount table and no file systems.
            return Ok(());
        }
        try_in(&self.point, now, out)
    }
}

/// Writes into a directory, and says what came of it. `now` only makes the content a new one each
/// time: ZFS does not write what is there already.
///
/// # Errors
/// [`SensorError::Io`] where no write could be tried, [`SensorError::Unsupported`] if somebody else
/// has a file of that name there: neither says anything of the file system.
pub fn try_in(directory: &Path, now: Mono, out: &mut Readings) -> Result<(), SensorError> {
    let path = directory.join(FILE);
    let done = match open_own(&path) {
        Ok(Some(file)) => write(&file, now).map(Ok),
        Ok(None) => {
            return Err(SensorError::Unsupported(format!(
                "cannot write to {}: it is not what mastiffd has left there; \
                 remove it, then it is made anew",
                path.display()
            )));
        }
        // Until the file is open, only these tell of the file system rather than of the directory.
        Err(error) => match error.raw_os_error() {
            Some(
                libc::EIO
                | libc::EUCLEAN
                | libc::EBADMSG
                | libc::ESHUTDOWN
                | libc::EROFS
                | libc::ENOSPC
                | libc::EDQUOT,
            ) => Err(error),
            _ => Ok(Err(SensorError::io("open", &path, error))),
        },
    };
    match done {
        Ok(Ok(took)) => {
            out.word("result", "ok");
            out.span("write-time", took);
        }
        Ok(Err(error)) => return Err(error),
        Err(error) => {
            out.word("result", word(&error));
            out.absent("write-time");
            out.note = Some(format!("{}: {error}", path.display()).into());
        }
    }
    Ok(())
}

/// The file, made if there is none; `None` if it is not ours. Whoever may write to the directory
/// could have put there a link, a pipe, or a file of root's from elsewhere: what it holds decides.
/// (Its owner does not: to a server of NFS root may be nobody.)
fn open_own(path: &Path) -> io::Result<Option<File>> {
    let mut options = File::options();
    options.read(true).write(true).create(true).mode(0o600);
    let opened = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let mut file = match opened {
        // ELOOP: a link, ENXIO: a socket.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => {
            return Ok(None);
        }
        opened => opened?,
    };
    let data = file.metadata()?;
    let is_plain = data.is_file() && data.nlink() == 1 && data.len() <= RECORD_BYTES as u64;
    if !is_plain {
        return Ok(None);
    }
    let mut content = Vec::new();
    (&mut file).take(RECORD_BYTES as u64).read_to_end(&mut content)?;
    // After a crash a file may have its length and not yet its content.
    let is_own = content.starts_with(HEADER) || content.iter().all(|byte| *byte == 0);
    Ok(is_own.then_some(file))
}

fn write(file: &File, now: Mono) -> io::Result<Span> {
    let mut record = [b'\n'; RECORD_BYTES];
    let text = [HEADER, now.as_nanos().to_string().as_bytes()].concat();
    for (byte, source) in record.iter_mut().zip(text) {
        *byte = source;
    }
    let began = clock()?;
    file.write_all_at(&record, 0)?;
    file.sync_all()?;
    Ok(clock()?.since(began))
}

fn clock() -> io::Result<Mono> {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    let nanos = time.tv_sec().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec());
    Ok(Mono::from_nanos(nanos))
}

/// What an error of a write says of the file system. A disk has many words for its failure
/// (`blk_status_t`, linux/blk_types.h).
fn word(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EROFS) => "read-only",
        Some(libc::ENOSPC) => "full",
        Some(libc::EDQUOT) => "over-quota",
        _ => "io-error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_disk_and_of_its_space_are_told_apart() {
        // A device that says to each write that there is no room.
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        assert_eq!(word(&write(&full, Mono::BOOT).expect_err("full")), "full");
        for (code, wanted) in [
            (libc::EROFS, "read-only"),
            (libc::EDQUOT, "over-quota"),
            (libc::EIO, "io-error"),
            (libc::ENODATA, "io-error"),
            (libc::ETIMEDOUT, "io-error"),
        ] {
            assert_eq!(word(&io::Error::from_raw_os_error(code)), wanted);
        }
    }
}
