//! Disks and arrays: what they are, how they are connected, and what lives on them.
//!
//! As in [`disk`], nothing is read that a device answers or that a dead one can hold up. So whether
//! a disk rotates comes from the page of vital product data that the kernel keeps (since Linux
//! 5.19), and from `queue/rotational` only while the disk has nothing in hand.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::disk;
use crate::mounts::{self, Mount};
use crate::once;
use crate::root::Root;
use crate::text;

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// `sda`, `nvme0n1`.
    pub name: String,
    /// The NVMe controller that it belongs to (`nvme0`).
    pub controller: Option<String>,
    /// Maker and model.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// Bytes.
    pub bytes: Option<u64>,
    /// What it stores on.
    pub medium: Medium,
    /// Revolutions per minute.
    pub rpm: Option<u64>,
    /// `NVMe`, `SATA`, `SAS`, `USB`, `virtio`, `iSCSI` ...
    pub transport: Option<&'static str>,
    /// The driver of its adapter.
    pub driver: Option<String>,
    /// A link in /dev/disk/by-id, which holds over reboots.
    pub by_id: Option<String>,
    /// Whether it is an ATA disk to the kernel. The sensor `disk-health` also asks NVMe and SAS
    /// disks.
    pub speaks_ata: bool,
    /// Arrays, mount points and `swap`.
    pub used_by: Vec<String>,
}

/// What a disk stores on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Medium {
    /// Platters.
    Rotating,
    /// Flash.
    Solid,
    /// A file or disk of a host, or another machine's disk.
    Virtual,
    /// What a RAID controller shows: a volume of disks that it hides, or one of them.
    Volume,
    /// It does not tell.
    Unknown,
}

/// One md array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Array {
    /// `md0`.
    pub name: String,
    /// `raid1`.
    pub level: Option<String>,
    /// Bytes.
    pub bytes: Option<u64>,
    /// Its disks and partitions.
    pub members: Vec<String>,
    /// See [`Disk::used_by`].
    pub used_by: Vec<String>,
}

/// One device of the device mapper, such as a volume of LVM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mapping {
    /// `dm-0`.
    pub name: String,
    /// `vg-root`, as in /dev/mapper.
    pub label: Option<String>,
    /// Who made it: `LVM`, `CRYPT`, `mpath` ...
    pub kind: Option<String>,
    /// Bytes.
    pub bytes: Option<u64>,
    /// See [`Disk::used_by`].
    pub used_by: Vec<String>,
}

/// Disks, arrays and mappings at most, of each.
const SHOWN_MAX: usize = 512;

/// Members, partitions, holders and users of one device at most.
const PARTS_MAX: usize = 64;

/// Devices on top of each other: mapping over array over partition over disk, and some more.
const LEVELS_MAX: u32 = 6;

/// Links in /dev/disk/by-id at most; a disk of sixteen partitions has forty.
const LINKS_MAX: usize = 8192;

/// Bytes of /proc/swaps.
const SWAPS_BYTES: u64 = 16 * 1024;

/// Bytes of a sector in /sys, whatever the disk has (Documentation/ABI/stable/sysfs-block).
const SECTOR_BYTES: u64 = 512;

/// Names of devices that are no disks: memory, files, optical drives, mappings, arrays.
const NO_DISKS: [&str; 9] = ["loop", "ram", "zram", "sr", "fd", "dm-", "md", "nbd", "mtdblock"];

/// Disks of hypervisors by maker and model, beside those of the sensor `disk-health`.
const VIRTUAL: [&str; 6] = ["QEMU", "VBOX", "VMware", "Msft Virtual", "Google", "Amazon"];

pub(super) fn read(root: &Root) -> (Vec<Disk>, Vec<Array>, Vec<Mapping>) {
    let machine = Block::of(root);
    let names = once::names(&root.path("/sys/block"));
    let is_disk = |name: &&String| !NO_DISKS.iter().any(|no| name.starts_with(no));
    let disks = names.iter().filter(is_disk).filter_map(|name| machine.disk(name));
    let mut disks: Vec<Disk> = disks.take(SHOWN_MAX).collect();
    // One that lost its namespaces, as a dying one does, is no block device any more.
    for controller in once::names(&root.path("/sys/class/nvme")).into_iter().take(SHOWN_MAX) {
        if disks.iter().all(|disk| disk.controller.as_ref() != Some(&controller)) {
            disks.extend(machine.bare_controller(&controller));
        }
    }
    let arrays = names.iter().filter(|name| name.starts_with("md"));
    let arrays = arrays.filter_map(|name| machine.array(name));
    let mappings = names.iter().filter(|name| name.starts_with("dm-"));
    let mappings = mappings.filter_map(|name| machine.mapping(name));
    (disks, arrays.take(SHOWN_MAX).collect(), mappings.take(SHOWN_MAX).collect())
}

/// The tables that tell what a device is used for, read once.
struct Block<'a> {
    root: &'a Root,
    mounts: Vec<Mount>,
    swaps: String,
    /// Device and link.
    links: Vec<(String, String)>,
}

impl<'a> Block<'a> {
    fn of(root: &'a Root) -> Self {
        let swaps = once::head(&root.path("/proc/swaps"), SWAPS_BYTES).unwrap_or_default();
        let by_id = root.path("/dev/disk/by-id");
        let link = |name: String| Some((once::linked(&by_id.join(&name))?, name));
        Self {
            root,
            mounts: mounts::all(root).unwrap_or_default(),
            swaps: String::from_utf8_lossy(&swaps).into_owned(),
            links: once::names(&by_id).into_iter().take(LINKS_MAX).filter_map(link).collect(),
        }
    }

    fn disk(&self, name: &str) -> Option<Disk> {
        let directory = self.root.path("/sys/block").join(name);
        let bytes = bytes(&directory);
        // A reader without a card, and the paths below an NVMe disk that has several.
        if bytes == Some(0) || once::number(&directory.join("hidden")) == Some(1) {
            return None;
        }
        let controller = disk::nvme_controller(self.root, name);
        let device = match &controller {
            Some(controller) => self.root.path("/sys/class/nvme").join(controller),
            None => directory.join("device"),
        };
        let model = disk::model(&device);
        let path = place(self.root, &directory);
        let transport = transport(name, &path, &device);
        let rpm = rotation(&device);
        let is_virtual = transport.is_some_and(is_elsewhere)
            || model.as_deref().is_some_and(|it| VIRTUAL.iter().any(|maker| it.contains(maker)));
        let driver = self.driver(&path, &device);
        let speaks_ata = once::shown(&device.join("vendor")).is_some_and(|vendor| vendor == "ATA");
        let is_behind = driver.as_deref().is_some_and(super::unseen::hides_disks);
        Some(Disk {
            medium: match rpm {
                _ if is_virtual => Medium::Virtual,
                _ if is_behind && !speaks_ata => Medium::Volume,
                _ if controller.is_some() || name.starts_with("mmcblk") => Medium::Solid,
                Some(1) => Medium::Solid,
                Some(_) => Medium::Rotating,
                None => rotates(&directory),
            },
            rpm: rpm.filter(|rpm| *rpm > 1 && !is_virtual),
            serial: disk::serial(&device),
            driver,
            by_id: self.by_id(name),
            speaks_ata,
            used_by: self.users(&directory),
            name: once::clean(name.as_bytes())?,
            controller,
            model,
            bytes,
            transport,
        })
    }

    fn bare_controller(&self, name: &str) -> Option<Disk> {
        let device = self.root.path("/sys/class/nvme").join(name);
        let clean = once::clean(name.as_bytes())?;
        Some(Disk {
            model: disk::model(&device),
            serial: disk::serial(&device),
            bytes: None,
            medium: match transport(name, &[], &device) {
                Some(transport) if is_elsewhere(transport) => Medium::Virtual,
                _ => Medium::Solid,
            },
            rpm: None,
            transport: transport(name, &[], &device),
            driver: self.driver(&[], &device),
            by_id: None,
            speaks_ata: false,
            used_by: Vec::new(),
            controller: Some(clean.clone()),
            name: clean,
        })
    }

    fn array(&self, name: &str) -> Option<Array> {
        let directory = self.root.path("/sys/block").join(name);
        let md = directory.join("md");
        let names = once::names(&md);
        let members = names.iter().filter_map(|name| name.strip_prefix("dev-"));
        let members = members.filter_map(|name| once::clean(name.as_bytes()));
        md.is_dir().then_some(())?;
        Some(Array {
            name: once::clean(name.as_bytes())?,
            level: once::shown(&md.join("level")).or_else(|| container(&md)),
            bytes: bytes(&directory).filter(|bytes| *bytes > 0),
            members: members.take(PARTS_MAX).collect(),
            used_by: self.users(&directory),
        })
    }

    fn mapping(&self, name: &str) -> Option<Mapping> {
        let directory = self.root.path("/sys/block").join(name);
        // `LVM-` and identifiers of group and volume (Documentation/ABI/testing/sysfs-block-dm).
        let uuid = once::shown(&directory.join("dm/uuid"));
        let kind = uuid.and_then(|uuid| Some(uuid.split_once('-')?.0.to_owned()));
        Some(Mapping {
            name: once::clean(name.as_bytes())?,
            label: once::shown(&directory.join("dm/name")),
            kind,
            bytes: bytes(&directory).filter(|bytes| *bytes > 0),
            used_by: self.users(&directory),
        })
    }

    /// The name of the adapter's driver: of SCSI by its host (drivers/scsi/scsi_sysfs.c,
    /// `proc_name`).
    fn driver(&self, path: &[String], device: &Path) -> Option<String> {
        let is_host = |part: &&String| {
            part.strip_prefix("host").and_then(text::whole).is_some_and(|_| part.len() > 4)
        };
        match path.iter().find(is_host) {
            Some(host) => {
                once::shown(&self.root.path("/sys/class/scsi_host").join(host).join("proc_name"))
            }
            None => once::linked(&device.join("device/driver"))
                .or_else(|| once::linked(&device.join("driver"))),
        }
    }

    /// A name by the world-wide number where there is one, since it says nothing of adapters.
    fn by_id(&self, name: &str) -> Option<String> {
        let own = |link: &&(String, String)| link.0 == name;
        let own: Vec<&str> = self.links.iter().filter(own).map(|link| &*link.1).collect();
        let wanted = ["wwn-", "nvme-eui", "nvme-", "ata-", "scsi-", "virtio-", ""];
        let best = wanted.iter().find_map(|it| own.iter().find(|link| link.starts_with(it)));
        Some(format!("/dev/disk/by-id/{}", once::clean(best?.as_bytes())?))
    }

    /// What lives on a device, above its partitions, too.
    fn users(&self, directory: &Path) -> Vec<String> {
        let mut users = Vec::new();
        self.add_users(directory, LEVELS_MAX, &mut users);
        users.truncate(PARTS_MAX);
        users
    }

    fn add_users(&self, directory: &Path, levels: u32, users: &mut Vec<String>) {
        let Some(levels) = levels.checked_sub(1) else { return };
        let mut add = |user: Option<String>| {
            users.extend(user.filter(|user| !users.contains(user)));
        };
        let number = once::line(&directory.join("dev")).unwrap_or_default();
        let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let node = format!("/dev/{name}");
        // btrfs has device numbers of its own; of the mounts of one file system, as those of
        // containers, the one with the shortest path says most.
        let mine = self.mounts.iter().filter(|it| it.device == number || it.source == node);
        let point = mine.min_by_key(|mount| mount.point.len());
        add(point.and_then(|mount| once::clean(mount.point.as_bytes())));
        let is_swap = |line: &str| line.split_ascii_whitespace().next() == Some(&node);
        add(self.swaps.lines().any(is_swap).then(|| "swap".to_owned()));
        let block = self.root.path("/sys/block");
        let holders = once::names(&directory.join("holders"));
        for holder in holders.into_iter().take(PARTS_MAX) {
            if holder.starts_with("md") {
                users.extend(once::clean(holder.as_bytes()).filter(|name| !users.contains(name)));
            }
            self.add_users(&block.join(holder), levels, users);
        }
        let parts = once::names(directory);
        let parts = parts.into_iter().map(|part| directory.join(part));
        for part in parts.filter(|part| part.join("partition").exists()).take(PARTS_MAX) {
            self.add_users(&part, levels, users);
        }
    }
}

/// What holds the arrays of a firmware's RAID together, and never runs itself
/// (Documentation/admin-guide/md.rst, `metadata_version`).
fn container(md: &Path) -> Option<String> {
    let version = once::shown(&md.join("metadata_version"))?;
    let kind = version.strip_prefix("external:").filter(|kind| !kind.starts_with(['/', '-']))?;
    Some(format!("container of {kind} arrays"))
}

fn bytes(directory: &Path) -> Option<u64> {
    once::number(&directory.join("size"))?.checked_mul(SECTOR_BYTES)
}

/// The folders above a device in the device tree, without what is above the root.
fn place(root: &Root, directory: &Path) -> Vec<String> {
    let above = fs::canonicalize(root.path("/sys")).unwrap_or_default();
    let real = fs::canonicalize(directory).unwrap_or_default();
    let below = real.strip_prefix(above).unwrap_or(Path::new(""));
    below.iter().filter_map(|part| part.to_str().map(str::to_owned)).collect()
}

/// How the disk is connected, by what is above it.
fn transport(name: &str, path: &[String], device: &Path) -> Option<&'static str> {
    if name.starts_with("nvme") {
        return match once::shown(&device.join("transport")).as_deref() {
            Some("tcp") => Some("NVMe over TCP"),
            Some("rdma") => Some("NVMe over RDMA"),
            Some("fc") => Some("NVMe over Fibre Channel"),
            _ => Some("NVMe"),
        };
    }
    let numbered = |part: &str, prefix: &str| {
        part.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    const ABOVE: [(&str, &str); 8] = [
        ("usb", "USB"),
        ("ata", "SATA"),
        ("end_device-", "SAS"),
        ("rport-", "Fibre Channel"),
        ("session", "iSCSI"),
        ("virtio", "virtio"),
        ("mmc", "MMC"),
        ("vbd-", "Xen"),
    ];
    let above = ABOVE.iter().find(|(prefix, _)| path.iter().any(|part| numbered(part, prefix)));
    match above {
        Some((_, transport)) => Some(transport),
        None if path.iter().any(|part| part.starts_with("VMBUS:")) => Some("Hyper-V"),
        None if name.starts_with("vd") => Some("virtio"),
        None => None,
    }
}

/// Whether what is connected so is no disk of this machine.
fn is_elsewhere(transport: &str) -> bool {
    matches!(transport, "virtio" | "Xen" | "Hyper-V" | "iSCSI") || transport.contains(" over ")
}

/// The medium rotation rate: 1 does not rotate, else revolutions per minute (block device
/// characteristics, page B1h: bytes 4 and 5; SBC-4, 6.6.2).
fn rotation(device: &Path) -> Option<u64> {
    let page = once::head(&device.join("vpd_pgb1"), 64)?;
    let rate = u16::from_be_bytes(page.get(4..6)?.try_into().ok()?);
    Some(u64::from(rate)).filter(|rate| *rate == 1 || (0x401..0xFFFF).contains(rate))
}

/// The kernel's word, which waits for the disk's last request while its queue is being frozen: not
/// asked for while there is one.
fn rotates(directory: &Path) -> Medium {
    let idle = once::line(&directory.join("inflight"))
        .is_some_and(|line| line.split_ascii_whitespace().all(|count| count == "0"));
    let said = || once::number(&directory.join("queue/rotational"));
    match if idle { said() } else { None } {
        Some(0) => Medium::Solid,
        Some(1) => Medium::Rotating,
        _ => Medium::Unknown,
    }
}
