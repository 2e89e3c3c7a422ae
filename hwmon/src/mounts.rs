//! The mount table of this process (/proc/self/mountinfo; proc_pid_mountinfo(5)).
//!
//! Reading it never waits for a disk or a server: it tells what is mounted where, not how it is.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use procfs::process::MountInfo;

use crate::root::Root;
use crate::sensor::SensorError;

/// Bytes of the table at most; a line has about 150, one of an overlay with many layers up to 4096.
pub const TABLE_BYTES_MAX: u64 = 4 * 1024 * 1024;

const TABLE: &str = "/proc/self/mountinfo";

/// One mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// `major:minor` of its files: the same for every mount of one file system.
    pub device: String,
    /// The directory of the file system that is mounted; `/` unless it is a bind mount or a
    /// subvolume.
    pub root: String,
    /// Where it is mounted.
    pub point: String,
    /// `ext4`, `nfs4`, `fuse.sshfs` ...
    pub kind: String,
    /// A device, `server:/export`, or any text.
    pub source: String,
    /// This mount was made read-only, as an administrator does; the file system itself may be
    /// writable.
    pub read_only_mount: bool,
    /// The file system itself takes no writes: mounted so, or turned so by the kernel after an
    /// error.
    pub read_only_system: bool,
}

/// All mounts, in the order of the table: of two on one place the later hides the earlier. Lines
/// that cannot be understood are left out.
///
/// # Errors
/// [`SensorError::Io`] if the table cannot be read, [`SensorError::TooLarge`] beyond
/// [`TABLE_BYTES_MAX`].
pub fn all(root: &Root) -> Result<Vec<Mount>, SensorError> {
    let mut mounts = Vec::new();
    each_line(root, |line| mounts.extend(parse(line)))?;
    Ok(mounts)
}

/// A mount point as the table writes it: without the slash at the end that people often have.
pub fn point(target: &str) -> PathBuf {
    let trimmed = target.trim_end_matches('/');
    PathBuf::from(if trimmed.is_empty() { "/" } else { trimmed })
}

/// What is mounted at exactly this place; `None` if nothing is.
///
/// # Errors
/// As [`all`].
pub fn at(root: &Root, point: &Path) -> Result<Option<Mount>, SensorError> {
    let wanted = escape(point.as_os_str().as_bytes());
    let mut found = None;
    each_line(root, |line| {
        // Only the line in question is parsed: a container host has thousands.
        if line.split(' ').nth(4) == Some(wanted.as_str()) {
            found = parse(line);
        }
    })?;
    Ok(found)
}

fn each_line(root: &Root, mut see: impl FnMut(&str)) -> Result<(), SensorError> {
    let path = root.path(TABLE);
    let file = File::open(&path).map_err(|error| SensorError::io("open", &path, error))?;
    let mut reader = BufReader::new(file.take(TABLE_BYTES_MAX));
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => see(String::from_utf8_lossy(&line).trim_end_matches('\n')),
            Err(error) => return Err(SensorError::io("read", &path, error)),
        }
    }
    if reader.get_ref().limit() == 0 {
        let limit = usize::try_from(TABLE_BYTES_MAX).unwrap_or(usize::MAX);
        return Err(SensorError::TooLarge { path, limit });
    }
    Ok(())
}

fn parse(line: &str) -> Option<Mount> {
    let info = MountInfo::from_line(line).ok()?;
    // Linux 6.18 does not set the read-only flag when ext4 stops after an error, so statvfs shows
    // nothing and only these words tell (measured with `errors=remount-ro`; fs/ext4/super.c,
    // `_ext4_show_options`).
    let stopped = ["ro", "emergency_ro", "shutdown"];
    Some(Mount {
        device: info.majmin,
        root: unescape(&info.root),
        point: unescape(&info.mount_point.to_string_lossy()),
        kind: info.fs_type,
        source: unescape(&info.mount_source.unwrap_or_default()),
        read_only_mount: info.mount_options.contains_key("ro"),
        read_only_system: stopped.iter().any(|word| info.super_options.contains_key(*word)),
    })
}

/// The kernel writes blank, tab, newline, backslash and `#` as three octal digits
/// (fs/proc_namespace.c, `mangle`).
fn escape(path: &[u8]) -> String {
    let mut text = Vec::with_capacity(path.len());
    for &byte in path {
        if b" \t\n\\#".contains(&byte) {
            text.extend_from_slice(format!("\\{byte:03o}").as_bytes());
        } else {
            text.push(byte);
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..3).filter(|_| first == b'\\').and_then(octal);
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_kernels_escapes() {
        for (plain, written) in [
            ("/mnt/usb disk", "/mnt/usb\\040disk"),
            ("/a\tb\nc\\d#e", "/a\\011b\\012c\\134d\\043e"),
            ("/plain", "/plain"),
        ] {
            assert_eq!(escape(plain.as_bytes()), written);
            assert_eq!(unescape(written), plain);
        }
        assert_eq!(unescape("/odd\\9zz\\04"), "/odd\\9zz\\04");
    }

    #[test]
    fn an_error_of_ext4_is_seen_in_the_options_alone() {
        let line = "65 44 7:0 / /srv rw,relatime - ext4 /dev/vdb rw,errors=remount-ro,emergency_ro";
        let mount = parse(line).expect("a line of 6.18");
        assert!(mount.read_only_system && !mount.read_only_mount);
        for line in ["", "65 44 7:0 / /srv rw", "x y z", "\u{0} - - - - - - -"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
