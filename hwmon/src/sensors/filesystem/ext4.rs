//! What ext4 counts of its own errors. Since Linux 6.12, and in the stable kernels of that time
//! (6.1 of Debian 12), ext4 does not set the flag "read-only" when it stops after an error, and only
//! since 6.15 the mount table says `emergency_ro`: between them only this count tells
//! (fs/ext4/super.c, `ext4_handle_error`, `_ext4_show_options`).

use std::fs;

use crate::kept::Kept;
use crate::once;
use crate::root::Root;

/// Errors of the file system on this device (`major:minor`) since e2fsck mended the last ones
/// (Documentation/ABI/testing/sysfs-fs-ext4), and whether it stops after one; `None` if it is not
/// ext4's. Keeps nothing: the prober that reads it may be another one each time.
pub(super) fn errors(root: &Root, device: &str) -> Option<(u64, bool)> {
    // By the kernel's name of the disk: `sda1`, `dm-0`.
    let disk = fs::canonicalize(root.path("/sys/dev/block").join(device)).ok()?;
    let disk = disk.file_name()?;
    let count = once::number(&root.path("/sys/fs/ext4").join(disk).join("errors_count"))?;
    // With the options that it has by itself (fs/ext4/sysfs.c, `ext4_register_sysfs`).
    let options = Kept::open(root.path("/proc/fs/ext4").join(disk).join("options"));
    let stops = options.is_ok_and(|mut options| {
        options.text().is_ok_and(|text| text.lines().any(|line| line == "errors=remount-ro"))
    });
    Some((count, stops))
}
