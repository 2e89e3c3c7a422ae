//! Block devices by name, and what tells one of them from another over a reboot.
//!
//! Nothing here asks a device. /sys/block/NAME/serial of virtio disks is left alone for that
//! reason: reading it sends a request to the device (drivers/block/virtio_blk.c, `serial_show`),
//! which a dead one never answers. The same holds for what is below `queue/`: those files take a
//! lock that is held while the queue waits for its last request (block/blk-sysfs.c).

use std::fs;
use std::path::Path;

use crate::once::{clean, shown};
use crate::root::Root;
use crate::sensor::SensorError;

/// Devices of one kind that are watched without configuration at most; the rest of a larger
/// machine must be named.
pub(crate) const DISCOVERED_MAX: usize = 128;

/// Whether an error says that the device is not there.
pub(crate) fn is_gone(error: &SensorError) -> bool {
    let SensorError::Io { source, .. } = error else { return false };
    source
        .raw_os_error()
        .is_some_and(|code| [libc::ENOENT, libc::ENODEV, libc::ENXIO].contains(&code))
}

/// The kernel's name of the device that a target means: `sda`, or what a link such as
/// `/dev/disk/by-id/ata-...` leads to.
///
/// # Errors
/// [`SensorError::Target`] for what can be no name, [`SensorError::Io`] for a link that leads
/// nowhere, as it does while the device is gone.
pub(crate) fn resolve(root: &Root, target: &str) -> Result<String, SensorError> {
    let mut name = Some(target.to_owned());
    if target.starts_with('/') {
        let path = root.path(target);
        let real =
            fs::canonicalize(&path).map_err(|error| SensorError::io("follow", &path, error))?;
        name = real.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    }
    let plain = |name: &String| {
        !name.is_empty()
            && !name.starts_with('.')
            && !name.contains('/')
            && !name.contains(char::is_control)
    };
    name.filter(plain).ok_or_else(|| SensorError::Target {
        target: target.to_owned(),
        reason: "write a block device by name, as in \"sda\", or by a link in /dev/disk".into(),
    })
}

/// The kernel's name of the block device, or NVMe controller, that a target means; `None` while it
/// is not there.
#[must_use]
pub fn device(root: &Root, target: &str) -> Option<String> {
    resolve(root, target).ok()
}

/// What a person knows the device by: maker, model and serial number of a disk, the name of a
/// mapped device. `None` where the kernel has none of these.
pub(crate) fn label(root: &Root, name: &str) -> Option<String> {
    let block = root.path("/sys/block").join(name);
    if let Some(mapped) = shown(&block.join("dm/name")) {
        return Some(mapped);
    }
    described(&block.join("device"))
}

/// Maker, model and serial number from the directory of a device, or of an NVMe controller.
pub(crate) fn described(device: &Path) -> Option<String> {
    joined([model(device), serial(device)])
}

/// Maker and model.
pub(crate) fn model(device: &Path) -> Option<String> {
    // "ATA" is the protocol, not a maker (drivers/ata/libata-scsi.c).
    let vendor =
        shown(&device.join("vendor")).filter(|vendor| vendor != "ATA" && !is_number(vendor));
    joined([vendor, shown(&device.join("model")).or_else(|| shown(&device.join("name")))])
}

/// The serial number, as the kernel read it when it found the disk.
pub(crate) fn serial(device: &Path) -> Option<String> {
    shown(&device.join("serial")).or_else(|| page_serial(device))
}

fn joined(words: [Option<String>; 2]) -> Option<String> {
    let mut label = String::new();
    for word in words.into_iter().flatten() {
        if !label.is_empty() {
            label.push(' ');
        }
        label.push_str(&word);
    }
    Some(label).filter(|label| !label.is_empty())
}

/// The controller of an NVMe namespace: above it in the device tree, or that with the number of the
/// subsystem, which is the one of its first controller.
pub(crate) fn nvme_controller(root: &Root, name: &str) -> Option<String> {
    if !name.starts_with("nvme") {
        return None;
    }
    let device = fs::canonicalize(root.path("/sys/block").join(name).join("device")).ok();
    let above = device.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    let named = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('n');
    let controllers = root.path("/sys/class/nvme");
    let mut names = above.into_iter().chain([named]);
    names.find(|name| controllers.join(name).is_dir()).map(str::to_owned)
}

/// The identifier of a vendor on a bus (virtio), which is no name.
fn is_number(word: &str) -> bool {
    word.starts_with("0x")
}

/// The serial number of a SCSI disk, as the kernel read it when it found the disk (vital product
/// data, page 80h: four bytes of header, then text; SPC-4, 7.8.18).
fn page_serial(device: &Path) -> Option<String> {
    let page = fs::read(device.join("vpd_pg80")).ok()?;
    clean(page.get(4..)?)
}
