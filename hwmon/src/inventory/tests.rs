//! A made-up server, and the recorded trees.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A folder with files, removed at its end.
struct Tree(PathBuf);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mastiff-inventory-{}-{number}", std::process::id());
        let tree = Self(std::env::temp_dir().join(name));
        for (path, text) in files {
            tree.file(path, text.as_bytes());
        }
        tree
    }

    fn file(&self, path: &str, bytes: &[u8]) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn read(&self) -> Inventory {
        read(&Root::recorded(&self.0))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const SERVER: &[(&str, &str)] = &[
    ("sys/class/dmi/id/sys_vendor", "Dell Inc.\n"),
    ("sys/class/dmi/id/product_name", "PowerEdge R740\n"),
    ("sys/class/dmi/id/product_serial", "To Be Filled By O.E.M.\n"),
    ("sys/class/dmi/id/board_vendor", "Dell Inc.\n"),
    ("sys/class/dmi/id/board_name", "0923K0\n"),
    ("sys/class/dmi/id/bios_version", "2.12.2\n"),
    ("sys/class/dmi/id/bios_date", "07/09/2021\n"),
    (
        "proc/cpuinfo",
        "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Gold 6230\nflags\t\t: fpu vme\n",
    ),
    ("proc/meminfo", "MemTotal:       65536 kB\n"),
    ("proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n"),
    (
        "proc/self/mountinfo",
        "22 1 9:0 / / rw - ext4 /dev/md0 rw\n23 22 9:0 / /var/lib/docker rw - ext4 /dev/md0 rw\n",
    ),
    ("sys/devices/system/cpu/online", "0-3\n"),
    ("sys/devices/system/cpu/cpu0/topology/physical_package_id", "0\n"),
    ("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0,2\n"),
    ("sys/devices/system/cpu/cpu1/topology/physical_package_id", "1\n"),
    ("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1,3\n"),
    ("sys/devices/system/cpu/cpu2/topology/physical_package_id", "0\n"),
    ("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "0,2\n"),
    ("sys/devices/system/cpu/cpu3/topology/physical_package_id", "1\n"),
    ("sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "1,3\n"),
    ("sys/devices/pci0/ata1/host0/target0/0:0:0:0/vendor", "ATA     \n"),
    ("sys/devices/pci0/ata1/host0/target0/0:0:0:0/model", "ST4000NM0035\n"),
    ("sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda/size", "7814037168\n"),
    ("sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda/dev", "8:0\n"),
    ("sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda/sda1/partition", "1\n"),
    ("sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda/sda1/holders/md0/dev", "9:0\n"),
    ("sys/devices/pci0/ata1/host0/target0/0:0:0:0/block/sda/sda2/partition", "2\n"),
    ("sys/devices/pci1/host1/target1/1:2:0:0/vendor", "DELL    \n"),
    ("sys/devices/pci1/host1/target1/1:2:0:0/model", "PERC H730P Mini\n"),
    ("sys/devices/pci1/host1/target1/1:2:0:0/block/sde/size", "8\n"),
    ("sys/class/scsi_host/host0/proc_name", "ahci\n"),
    ("sys/class/scsi_host/host1/proc_name", "megaraid_sas\n"),
    ("sys/block/md0/dev", "9:0\n"),
    ("sys/block/md0/size", "2048\n"),
    ("sys/block/md0/md/level", "raid1\n"),
    ("sys/block/md0/md/dev-sda1/state", "in_sync\n"),
    ("sys/block/dm-0/dm/name", "vg-data\n"),
    ("sys/block/dm-0/dm/uuid", "LVM-h0dXQkJ3l2\n"),
    ("sys/block/dm-0/size", "2048\n"),
    ("sys/block/loop0/size", "8\n"),
    ("sys/block/sdb/size", "0\n"),
    ("sys/block/sdc/size", "8\n"),
    ("sys/block/sdc/inflight", "       0        1\n"),
    ("sys/block/sdc/queue/rotational", "1\n"),
    ("sys/block/sdd/size", "8\n"),
    ("sys/block/sdd/inflight", "       0        0\n"),
    ("sys/block/sdd/queue/rotational", "0\n"),
    ("sys/class/net/lo/flags", "0x9\n"),
    ("sys/class/net/eth0/device/vendor", "0x8086\n"),
    ("sys/class/net/eth0/flags", "0x1003\n"),
    ("sys/class/net/eth0/operstate", "up\n"),
    ("sys/class/net/eth0/speed", "10000\n"),
    ("sys/class/net/bond0/flags", "0x1003\n"),
    ("sys/class/net/bond0/operstate", "down\n"),
    ("sys/class/net/bond0/lower_eth0/flags", "0x1003\n"),
    ("sys/class/net/tun0/flags", "0x1003\n"),
    ("sys/devices/system/edac/uevent", ""),
];

fn server() -> Tree {
    let tree = Tree::new(SERVER);
    let device = "sys/devices/pci0/ata1/host0/target0/0:0:0:0";
    tree.link("sys/block/sda", "../devices/pci0/ata1/host0/target0/0:0:0:0/block/sda");
    tree.link(&format!("{device}/block/sda/device"), "../../../0:0:0:0");
    tree.link("sys/block/sde", "../devices/pci1/host1/target1/1:2:0:0/block/sde");
    tree.link("sys/devices/pci1/host1/target1/1:2:0:0/block/sde/device", "../../../1:2:0:0");
    // 7200 revolutions, in the page of block device characteristics.
    tree.file(&format!("{device}/vpd_pgb1"), &[0, 0xB1, 0, 0x3C, 0x1C, 0x20, 0, 2]);
    tree.link("dev/disk/by-id/ata-ST4000NM0035_ZC11A1B2", "../../sda");
    tree.link("dev/disk/by-id/wwn-0x5000c500a1b2c3d4", "../../sda");
    tree.link("dev/disk/by-id/wwn-0x5000c500a1b2c3d4-part1", "../../sda1");
    tree.link("sys/class/net/eth0/master", "../bond0");
    let mut tables = dmi::tests::structure(16, &[3, 3, 6, 0, 0, 0, 0], &[]);
    tables.extend(dmi::tests::module(16384, "DIMM_A1"));
    tables.extend(dmi::tests::structure(38, &[1], &[]));
    tree.file("sys/firmware/dmi/tables/DMI", &tables);
    tree
}

fn unseen(inventory: &Inventory) -> Vec<&str> {
    inventory.unseen.iter().map(|unseen| &*unseen.what).collect()
}

#[test]
fn a_server_is_told_by_its_names() {
    let tree = server();
    let inventory = tree.read();
    let machine = &inventory.machine;
    assert_eq!(machine.place, Place::Hardware);
    assert_eq!(machine.maker.as_deref(), Some("Dell Inc."));
    assert_eq!(machine.board.as_deref(), Some("Dell Inc. 0923K0"));
    assert_eq!(machine.serial, None, "a filler is no serial number");
    let processors = &inventory.processors;
    assert_eq!(
        (processors.sockets, processors.cores, processors.threads),
        (Some(2), Some(2), Some(4))
    );
    assert_eq!(processors.model.as_deref(), Some("Intel(R) Xeon(R) Gold 6230"));
    let memory = &inventory.memory;
    assert_eq!((memory.bytes, memory.is_counted), (Some(64 << 20), false));
    assert_eq!(memory.correction.as_deref(), Some("multi-bit ECC"));
    assert_eq!(memory.modules.len(), 1);
}

#[test]
fn a_disk_is_told_with_what_lives_on_it() {
    let tree = server();
    let inventory = tree.read();
    let names: Vec<&str> = inventory.disks.iter().map(|disk| &*disk.name).collect();
    assert_eq!(names, ["sda", "sdc", "sdd", "sde"], "no loops, no empty readers");
    let [sda, sdc, sdd, sde] = &inventory.disks[..] else { panic!() };
    assert_eq!((sda.medium, sda.rpm), (Medium::Rotating, Some(7200)));
    assert_eq!((sda.transport, sda.driver.as_deref()), (Some("SATA"), Some("ahci")));
    assert_eq!(sda.by_id.as_deref(), Some("/dev/disk/by-id/wwn-0x5000c500a1b2c3d4"));
    assert_eq!(sda.used_by, ["md0", "/", "swap"]);
    assert!(sda.speaks_ata);
    assert_eq!(sdc.medium, Medium::Unknown, "a busy disk's queue is left alone");
    assert_eq!(sdd.medium, Medium::Solid);
    assert_eq!((sde.medium, sde.model.as_deref()), (Medium::Volume, Some("DELL PERC H730P Mini")));
    let [md0] = &inventory.arrays[..] else { panic!() };
    assert_eq!((md0.level.as_deref(), md0.bytes), (Some("raid1"), Some(1 << 20)));
    assert_eq!((&*md0.members, &*md0.used_by), (&["sda1".into()][..], &["/".into()][..]));
    let [mapping] = &inventory.mappings[..] else { panic!() };
    assert_eq!((mapping.label.as_deref(), mapping.kind.as_deref()), (Some("vg-data"), Some("LVM")));
    assert_eq!(device(&Root::recorded(&tree.0), "/dev/disk/by-id/none"), None);
}

#[test]
fn cards_and_what_stands_on_them_are_told() {
    let tree = server();
    let inventory = tree.read();
    let [bond0, eth0] = &inventory.interfaces[..] else { panic!("{:?}", inventory.interfaces) };
    assert_eq!((eth0.has_carrier, eth0.speed_mbit), (Some(true), Some(10_000)));
    assert_eq!(eth0.part_of.as_deref(), Some("bond0"));
    assert_eq!((bond0.has_carrier, bond0.speed_mbit), (Some(false), None));
    assert_eq!(bond0.members, ["eth0"]);
}

#[test]
fn what_cannot_be_seen_says_why_and_what_to_do() {
    let tree = server();
    let inventory = tree.read();
    assert_eq!(
        unseen(&inventory),
        [
            "memory errors",
            "temperatures and fans",
            "what the BMC measures, and its event log",
            "disks behind the RAID controller (megaraid_sas)",
        ]
    );
    for unseen in &inventory.unseen {
        assert!(!unseen.why.is_empty() && !unseen.to_do.is_empty(), "{unseen:?}");
    }
    assert!(inventory.unseen[0].to_do.contains("i10nm_edac"));
    let behind = &inventory.unseen[3].to_do;
    assert!(behind.contains("sensor = \"smartctl\"") && behind.contains("\"megaraid,N\""));
    tree.file("dev/ipmi0", b"");
    let inventory = tree.read();
    assert_eq!(inventory.bmc.as_deref(), Some("/dev/ipmi0"));
    assert!(!unseen(&inventory).contains(&"what the BMC measures, and its event log"));
}

#[test]
fn a_virtual_machine_is_not_asked_for_what_its_host_has() {
    let tree =
        Tree::new(&[("sys/class/dmi/id/sys_vendor", "QEMU\n"), ("sys/block/vda/size", "8\n")]);
    let inventory = tree.read();
    assert_eq!(inventory.machine.place, Place::Virtual);
    assert_eq!(unseen(&inventory), ["the hardware itself: its disks, memory, heat and fans"]);
    assert_eq!(inventory.disks[0].medium, Medium::Virtual);
}

#[test]
fn recorded_trees_are_read_whatever_is_in_them() {
    let trees = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees");
    for name in ["healthy", "failing", "truncated", "hostile", "absent"] {
        let inventory = read(&Root::recorded(trees.join(name)));
        let shown = format!("{inventory:?}");
        assert!(!shown.contains("\\u{1b}") && !shown.contains("\\0"), "{name}: {shown}");
    }
    let healthy = read(&Root::recorded(trees.join("healthy")));
    let disks: Vec<&str> = healthy.disks.iter().map(|disk| &*disk.name).collect();
    assert_eq!(disks, ["sda", "vda", "nvme0"], "a controller without a namespace is told, too");
    assert_eq!(healthy.memory.modules.len(), 4);
    let fans: usize = healthy.chips.iter().map(|chip| chip.fans).sum();
    assert_eq!(fans, 3);
}
