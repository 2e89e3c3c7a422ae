//! Room left on one mounted file system, and whether it still takes writes.
//!
//! `statvfs` waits for a dead disk or server, so the prober reads it. The mount table does not
//! wait: it is read first, and a target where nothing is mounted is never measured, since the
//! numbers would be those of the file system below.

use std::path::{Path, PathBuf};

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::sorted::Set;
use mastiff_core::time::{Mono, Span};
use nix::sys::statvfs::{FsFlags, Statvfs, statvfs};

use crate::mounts::{self, Mount};
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};

mod ext4;

/// File systems watched without configuration at most; the rest of a larger machine must be named.
pub const DISCOVERED_MAX: usize = 64;

/// Read-only by nature: nothing can go wrong with their space.
const NEVER_WRITTEN: [&str; 6] = ["squashfs", "erofs", "iso9660", "udf", "cramfs", "romfs"];

/// Local ones whose source is no device file.
const WITHOUT_DEVICE: [&str; 3] = ["zfs", "btrfs", "bcachefs"];

/// Those of the driver ext4.
const EXT4: [&str; 3] = ["ext4", "ext3", "ext2"];

/// Asked over a network: they hang when their server does.
const REMOTE: [&str; 5] = ["nfs", "nfs4", "cifs", "smb3", "ceph"];

/// Room left on one mounted file system (statvfs(3), proc_pid_mountinfo(5)).
pub const SENSOR: Sensor = Sensor {
    name: "filesystem",
    hardware: false,
    summary: "Space, inodes and writability of one mounted file system, from statvfs and the mount table.",
    target: Target::MountPoint,
    options: &[],
    quantities: QUANTITIES,
    warn_when: &["used > 85%", "inodes-used > 85%", "errors > 0"],
    // A file system that is read-only on purpose needs conditions of its own; discovery leaves it
    // out.
    fail_when: &[
        "used > 95%",
        "inodes-used > 95%",
        "read-only",
        "mounted = false",
        "stops > 0 in 1h",
    ],
    interval: Span::from_secs(10),
    fail_after: Span::from_secs(30),
    recover_after: Span::from_secs(60),
    discover: Some(discover),
    source: Source::MayHang(open),
};

const QUANTITIES: &[Quantity] = &[
    Quantity {
        name: "used",
        unit: Unit::Ratio,
        meaning: "share of blocks that root cannot use any more",
    },
    Quantity {
        name: "user-used",
        unit: Unit::Ratio,
        meaning: "share in use as `df` shows it: blocks reserved for root count as used up",
    },
    Quantity {
        name: "free",
        unit: Unit::Bytes,
        meaning: "bytes that an unprivileged user can still write",
    },
    Quantity { name: "total", unit: Unit::Bytes, meaning: "size of the file system" },
    Quantity {
        name: "inodes-used",
        unit: Unit::Ratio,
        meaning: "share of inodes in use; absent where there is no fixed number of them",
    },
    Quantity {
        name: "read-only",
        unit: Unit::Flag,
        meaning: "takes no writes: mounted so, or turned so by the kernel after an error",
    },
    Quantity {
        name: "errors",
        unit: Unit::Total,
        meaning: "errors that ext4 found in itself, counted until e2fsck mends them; absent for other kinds",
    },
    Quantity {
        name: "stops",
        unit: Unit::Total,
        meaning: "the same where ext4 takes no writes after one (errors=remount-ro), which Linux 6.12 to 6.14, and 6.1 of Debian 12, show nowhere else; absent elsewhere",
    },
    Quantity {
        name: "mounted",
        unit: Unit::Flag,
        meaning: "something is mounted at the target; if not, nothing else is measured",
    },
];

struct Filesystem {
    root: Root,
    point: PathBuf,
}

fn open(root: &Root, target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    Ok(Box::new(Filesystem { root: root.clone(), point: mounts::point(target) }))
}

impl Probe for Filesystem {
    fn read(&mut self, _now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let mount = mounts::at(&self.root, &self.point)?;
        out.flag("mounted", mount.is_some());
        let Some(mount) = mount else {
            out.note = Some("nothing is mounted here".into());
            return Ok(());
        };
        let stopped = mount.read_only_system || mount.read_only_mount;
        let errors = self.errors(&mount, out);
        if mount.read_only_system && !mount.read_only_mount {
            out.note = Some("the kernel turned it read-only; see the kernel log".into());
        } else if errors > 0 {
            out.note = Some("ext4 found errors in itself: unmount it and run e2fsck".into());
        }
        if !self.root.is_machine() {
            // A recorded tree has a mount table and no file systems.
            out.flag("read-only", stopped);
            return Ok(());
        }
        let stat = statvfs(&self.point)
            .map_err(|errno| SensorError::io("statvfs", &self.point, errno.into()))?;
        out.flag("read-only", stopped || stat.flags().contains(FsFlags::ST_RDONLY));
        fill(&stat, out);
        Ok(())
    }
}

impl Filesystem {
    /// What ext4 says of itself; returns its errors.
    fn errors(&self, mount: &Mount, out: &mut Readings) -> u64 {
        let own = EXT4.contains(&mount.kind.as_str());
        let said = own.then(|| ext4::errors(&self.root, &mount.device)).flatten();
        match said {
            Some((count, _)) => out.count("errors", count),
            None => out.absent("errors"),
        }
        match said {
            Some((count, true)) => out.count("stops", count),
            _ => out.absent("stops"),
        }
        said.map_or(0, |(count, _)| count)
    }
}

/// Sets what `statvfs` counts. Blocks are in units of `f_frsize` (statvfs(3)).
fn fill(stat: &Statvfs, out: &mut Readings) {
    let (blocks, free) = (stat.blocks(), stat.blocks_free());
    let used = blocks.saturating_sub(free);
    out.ratio("used", used, blocks);
    out.ratio("user-used", used, used.saturating_add(stat.blocks_available()));
    let unit = stat.fragment_size();
    out.count("free", stat.blocks_available().saturating_mul(unit));
    out.count("total", blocks.saturating_mul(unit));
    out.ratio("inodes-used", stat.files().saturating_sub(stat.files_free()), stat.files());
}

/// Writable file systems with a disk, pool or server behind them, each once, at its shortest mount
/// point.
fn discover(root: &Root) -> Vec<String> {
    let Ok(mounts) = mounts::all(root) else { return Vec::new() };
    let mut chosen: Vec<&Mount> = Vec::new();
    for mount in mounts.iter().filter(|mount| is_worth_watching(mount)) {
        match chosen.iter_mut().find(|other| other.device == mount.device) {
            Some(other) if mount.point.len() < other.point.len() => *other = mount,
            Some(_) => {}
            None => chosen.push(mount),
        }
    }
    let points: Set<String> = chosen.iter().map(|mount| mount.point.clone()).collect();
    points.into_iter().take(DISCOVERED_MAX).collect()
}

/// Decides from the mount table alone: looking at the file system could hang.
fn is_worth_watching(mount: &Mount) -> bool {
    let kind = mount.kind.as_str();
    // Read-only by the administrator's will: it cannot fill, and being read-only is no fault of it.
    // One that the kernel turned read-only still says `rw` for the mount, and stays.
    if mount.read_only_mount || NEVER_WRITTEN.contains(&kind) {
        return false;
    }
    // A part of a file system, bound to another place, as containers do with single files.
    let whole = mount.root == "/" || kind == "btrfs" || mount.point == "/";
    let name = Path::new(&mount.source).strip_prefix("/dev").ok();
    let disk = name.is_some_and(|name| {
        let name = name.to_string_lossy();
        !name.is_empty() && !name.starts_with("loop") && !name.starts_with("sr")
    });
    let root_overlay = kind == "overlay" && mount.point == "/";
    whole && (disk || root_overlay || WITHOUT_DEVICE.contains(&kind) || REMOTE.contains(&kind))
}
