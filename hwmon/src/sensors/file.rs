//! One file: whether it is there, how old and large it is, whether it changes.
//!
//! The prober reads it, since any path may lead to a dead disk or server.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};
use nix::time::{ClockId, clock_gettime};

use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, SensorOption, Source, Target, Wanted};

/// Bytes of a file that go into its hash at most; what lies behind them is not noticed.
pub const HASHED_BYTES_MAX: u64 = 1024 * 1024;

/// One file (stat(2)).
pub const SENSOR: Sensor = Sensor {
    name: "file",
    hardware: false,
    summary: "Existence, age, size, mode and changes of one file, from stat.",
    target: Target::Path,
    options: &[SensorOption {
        name: "hash",
        meaning: "`yes`: `changed` counts changes of the first MiB of content, not of inode and time; default `no`",
        example: "yes",
        check: check_hash,
    }],
    quantities: QUANTITIES,
    warn_when: &[],
    fail_when: &["exists = false"],
    interval: Span::from_secs(10),
    fail_after: Span::ZERO,
    recover_after: Span::ZERO,
    discover: None,
    source: Source::MayHang(open),
};

const QUANTITIES: &[Quantity] = &[
    Quantity {
        name: "exists",
        unit: Unit::Flag,
        meaning: "the path leads to something; without it nothing else is known",
    },
    Quantity {
        name: "age",
        unit: Unit::Seconds,
        meaning: "time since the last change of content by the wall clock; negative in the future",
    },
    Quantity { name: "size", unit: Unit::Bytes, meaning: "length of its content" },
    Quantity { name: "mode", unit: Unit::Word(&[]), meaning: "permission bits in octal, as 0644" },
    Quantity { name: "owner", unit: Unit::Count, meaning: "number of the owning user" },
    Quantity {
        name: "kind",
        unit: Unit::Word(&["file", "directory", "symlink", "socket", "fifo", "device"]),
        meaning: "what the path leads to; symlink only if that leads nowhere",
    },
    Quantity {
        name: "changed",
        unit: Unit::Total,
        meaning: "changes seen since watching began: another inode, time or size, or content with `hash`",
    },
];

fn check_hash(value: &str) -> Result<(), String> {
    match value {
        "yes" | "no" => Ok(()),
        _ => Err("write \"yes\" or \"no\"".into()),
    }
}

/// What a change of the file changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Also moves when the modification time is set back.
    status_changed: (i64, i64),
}

/// What counts as a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    Stat { device: u64, inode: u64, size: u64, modified: (i64, i64) },
    Content(u64),
}

struct Watched {
    path: PathBuf,
    hash: bool,
    last: Option<(Stamp, Identity)>,
    changed: u64,
}

fn open(root: &Root, target: &str, options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    let hash = options.get("hash") == Some("yes");
    Ok(Box::new(Watched { path: root.path(target), hash, last: None, changed: 0 }))
}

impl Probe for Watched {
    fn read(&mut self, _now: Mono, wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let metadata = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return self.missing(out);
            }
            Err(error) => return Err(SensorError::io("stat", &self.path, error)),
        };
        out.flag("exists", true);
        out.count("size", metadata.size());
        out.word("mode", &format!("{:04o}", metadata.mode() & 0o7777));
        out.count("owner", u64::from(metadata.uid()));
        out.word("kind", kind(&metadata));
        if let Some(age) = age(&metadata) {
            out.number("age", age);
        }
        if wanted.has(QUANTITIES, "changed") {
            self.compare(&metadata)?;
            out.count("changed", self.changed);
        }
        Ok(())
    }
}

impl Watched {
    fn missing(&self, out: &mut Readings) -> Result<(), SensorError> {
        out.flag("exists", false);
        out.count("changed", self.changed);
        match std::fs::symlink_metadata(&self.path) {
            Ok(_) => {
                out.word("kind", "symlink");
                out.note = Some("a symbolic link that leads nowhere".into());
            }
            Err(_) => out.note = Some("no such file".into()),
        }
        Ok(())
    }

    /// A file that went away and came back is compared with what it was before.
    fn compare(&mut self, metadata: &Metadata) -> Result<(), SensorError> {
        let stamp = stamp(metadata);
        if self.last.is_some_and(|(last, _)| last == stamp) {
            return Ok(());
        }
        let identity = if self.hash && metadata.is_file() {
            Identity::Content(content_hash(&self.path)?)
        } else {
            let Stamp { device, inode, size, modified, status_changed: _ } = stamp;
            Identity::Stat { device, inode, size, modified }
        };
        if self.last.is_some_and(|(_, last)| last != identity) {
            self.changed = self.changed.saturating_add(1);
        }
        self.last = Some((stamp, identity));
        Ok(())
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        status_changed: (metadata.ctime(), metadata.ctime_nsec()),
    }
}

fn kind(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_file() {
        "file"
    } else if kind.is_dir() {
        "directory"
    } else if kind.is_symlink() {
        "symlink"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_fifo() {
        "fifo"
    } else {
        "device"
    }
}

/// Time stamps of files are wall-clock time, so their age can only be told by that clock.
fn age(metadata: &Metadata) -> Option<f64> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).ok()?;
    let seconds = now.tv_sec().checked_sub(metadata.mtime())?;
    let nanos = now.tv_nsec().checked_sub(metadata.mtime_nsec())?;
    #[expect(clippy::cast_precision_loss, reason = "2^53 seconds are longer than any age")]
    Some(seconds as f64 + nanos as f64 / 1e9)
}

/// FNV-1a (Fowler, Noll, Vo; 64 bits) of the first [`HASHED_BYTES_MAX`]: it finds change and is no
/// protection against a forger.
fn content_hash(path: &Path) -> Result<u64, SensorError> {
    let fail = |doing| move |error| SensorError::io(doing, path, error);
    // The path may have become a FIFO since it was looked at; opening one would wait for a writer.
    let mut options = OpenOptions::new();
    let file =
        options.read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(fail("open"))?;
    if !file.metadata().map_err(fail("stat"))?.is_file() {
        return Err(SensorError::malformed(path, "a regular file"));
    }
    fnv(file).map_err(fail("read"))
}

fn fnv(file: File) -> std::io::Result<u64> {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut file = file.take(HASHED_BYTES_MAX);
    let mut buffer = [0_u8; 4096];
    let mut hash = OFFSET_BASIS;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => return Ok(hash),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for byte in buffer.iter().take(count) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }
}
