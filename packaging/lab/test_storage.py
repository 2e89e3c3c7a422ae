#!/usr/bin/env python3
"""Multipath disks, LVM, btrfs and writes on real kernel devices: the real daemon on a machine of its own (vm.py), with
SCSI disks that are taken away.

    test_storage.py [NAME ...]     all tests, or those whose names contain one of the words

Needs root, target/release (or $MASTIFF_BIN) and what vm.py needs. The last line of the output is `N passed, N failed`.
"""
import json
import tempfile
import unittest

from daemon import CONFIG, Daemon
from nodes import until
from runner import main
from vm import HARDWARE_PACKAGES, Vm

MODULES = ("virtio_scsi", "sd_mod", "dm_multipath", "dm_service_time", "dm_raid", "raid1", "dm_thin_pool", "dm_snapshot",
           "btrfs")
DISK_MIB = 300
LVM, BTRFS, PLAIN, TWICE = (0, 1), (2, 3), 4, 5  # numbers of disks; the last one has a path by each controller
# There is no udev: LVM makes its nodes itself, and waits for nobody.
LVM_CONFIG = "activation {\nudev_sync=0\nudev_rules=0\nmonitoring=0\n}\n"
SECONDS = 30


def check(name, sensor, target, more=""):
    """A check that believes what it sees at once."""
    return (f'[[check]]\nname = "{name}"\nsensor = "{sensor}"\ntarget = "{target}"\ninterval = "1s"\ntimeout = "3s"\n'
            f'fail-after = "0s"\nrecover-after = "0s"\n{more}\n')


def disks(folder):
    """QEMU's options for the disks, each with a file in this folder."""
    options = ["-device virtio-scsi-pci,id=one -device virtio-scsi-pci,id=two"]
    for number in range(TWICE + 1):
        with open(f"{folder}/{number}", "wb") as file:
            file.truncate(DISK_MIB << 20)
        for bus in ("one", "two") if number == TWICE else ("one",):
            options.append(f"-drive if=none,id={bus}{number},file={folder}/{number},format=raw,file.locking=off "
                           f"-device scsi-hd,bus={bus}.0,scsi-id={number},drive={bus}{number},share-rw=on")
    return " ".join(options)


class TestStorage(unittest.TestCase):
    """One machine for all tests; each has disks of its own."""

    @classmethod
    def setUpClass(cls):
        folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.vm = cls.enterClassContext(Vm(packages=HARDWARE_PACKAGES, options=disks(folder)))
        cls.daemon = Daemon(cls.vm)
        cls.daemon.install()
        cls.vm.write("/etc/lvm/lvmlocal.conf", LVM_CONFIG)
        cls.vm.run("modprobe", "-a", *MODULES)
        until("all disks are there", lambda: len(cls.shell("ls -d /sys/block/sd*").split()) == TWICE + 2)

    @classmethod
    def shell(cls, script, check=True):
        # The agent's channel is open in its children, which LVM complains about.
        return cls.vm.run("bash", "-c", f"exec 3>&-; export DM_DISABLE_UDEV=1\n{script}", check=check).stdout

    @classmethod
    def paths(cls, number):
        """The kernel's names of a disk, one for each controller that it is behind."""
        return sorted(cls.shell(f"ls -d /sys/bus/scsi/devices/*:0:{number}:0/block/* | xargs -n1 basename").split())

    def state(self, disk, state):
        self.shell(f"echo {state} > /sys/block/{disk}/device/state")

    def story(self):
        return self.shell("dmsetup status; dmesg | tail -n 20; mastiff status; mastiff events | tail -n 20", check=False)

    def wait(self, check, verdict, words=""):
        """Wait for a verdict, and for these words in what is shown with it."""
        def is_so():
            shown = self.daemon.checks()[check]
            return shown["verdict"] == verdict and words in json.dumps(shown)
        until(f"{check} is {verdict}, {words!r}", is_so, SECONDS, every=0.2)

    def found(self):
        """What would be watched without configuration, by name."""
        self.daemon.systemctl("stop", "mastiff", check=False)
        self.vm.run("rm", "-f", CONFIG)
        return self.daemon.cli("check", check=False).stdout

    def test_a_path_that_is_lost_is_named_and_the_last_one_is_a_failure(self):
        first, second = self.paths(TWICE)
        table = f"0 $(cat /sys/block/{first}/size) multipath 0 0 1 1 service-time 0 2 2 /dev/{first} 1 1 /dev/{second} 1 1"
        self.shell(f'echo "{table}" | dmsetup create mpatha --uuid mpath-lab')
        self.assertIn("device-mapper mpatha", self.found())
        self.daemon.start(check("mpath", "device-mapper", "mpatha"))
        self.wait("mpath", "healthy")
        look = "dd if=/dev/mapper/mpatha of=/dev/null bs=4k count=64 iflag=direct"
        self.state(second, "offline")
        self.shell(look)
        self.wait("mpath", "degraded", f"multipath: {second} failed")
        self.state(first, "offline")
        self.shell(look, check=False)
        self.wait("mpath", "failed", "lost")
        for disk in (first, second):
            self.state(disk, "running")
            self.shell(f"dmsetup message mpatha 0 reinstate_path $(cat /sys/block/{disk}/dev)")
        self.wait("mpath", "healthy")
        self.shell("dmsetup suspend --noflush mpatha")
        self.wait("mpath", "degraded", "suspended")
        self.shell("dmsetup resume mpatha")
        self.wait("mpath", "healthy")

    def test_a_pool_that_is_full_and_a_mirror_that_has_lost_a_disk(self):
        (one,), (two,) = map(self.paths, LVM)
        self.shell(f"""set -e
            vgcreate -q vg0 /dev/{one} /dev/{two}
            lvcreate -q -y --type raid1 -m1 -L 64M -n mirror vg0
            lvcreate -q -y --type thin-pool -L 64M -n pool vg0 /dev/{one}
            lvchange -q --errorwhenfull y vg0/pool
            lvcreate -q -y -V 100M --thinpool pool -n thin vg0""")
        found = self.found()
        for name in ("vg0-mirror", "vg0-pool"):
            self.assertIn(f"device-mapper {name}", found)
        self.daemon.start(check("mirror", "device-mapper", "vg0-mirror") + check("pool", "device-mapper", "vg0-pool"))
        self.wait("pool", "healthy")
        self.wait("mirror", "healthy")
        self.shell("dd if=/dev/zero of=/dev/mapper/vg0-thin bs=1M count=70 oflag=direct", check=False)
        self.wait("pool", "failed", "out-of-space")
        # A snapshot, as for a backup, puts a layer below the mirror.
        self.shell("lvcreate -q -y -s -L 8M -n snap vg0/mirror")
        self.wait("mirror", "healthy")
        self.state(two, "offline")
        self.shell("dd if=/dev/zero of=/dev/mapper/vg0-mirror bs=64k count=8 oflag=direct")
        self.wait("mirror", "degraded", "raid1: rimage_1 failed")

    def test_a_btrfs_that_has_lost_a_disk(self):
        (one,), (two,) = map(self.paths, BTRFS)
        self.shell(f"mkfs.btrfs -q -m raid1 -d raid1 -L data /dev/{one} /dev/{two}; mkdir /mnt/b; mount /dev/{one} /mnt/b")
        self.assertIn("data", self.found())
        self.daemon.start(check("btrfs", "btrfs", "data"))
        self.wait("btrfs", "healthy")
        self.state(two, "offline")
        self.shell("dd if=/dev/zero of=/mnt/b/file bs=1M count=5 conv=fsync")
        self.wait("btrfs", "degraded", "device 2 has had errors")
        self.shell(f"umount /mnt/b; echo 1 > /sys/block/{two}/device/delete; mount -o degraded /dev/{one} /mnt/b")
        self.daemon.start(check("btrfs", "btrfs", "data"))
        self.wait("btrfs", "degraded", "device 2 is missing")

    def test_a_write_tells_a_full_file_system_from_a_stalled_and_a_broken_disk(self):
        disk, = self.paths(PLAIN)
        size = int(self.vm.read(f"/sys/block/{disk}/size"))
        self.shell(f'echo "0 {size} linear /dev/{disk} 0" | dmsetup create plain; mkfs.ext4 -q /dev/mapper/plain')
        self.shell("mkdir /mnt/w; mount /dev/mapper/plain /mnt/w")
        self.shell("cat /dev/zero > /mnt/w/fill", check=False)
        self.daemon.start(check("write", "write-test", "/mnt/w"))
        self.wait("write", "failed", "full")
        self.vm.run("rm", "/mnt/w/fill")
        self.wait("write", "healthy")
        self.assertEqual([".mastiff-write-test", "lost+found"], sorted(self.shell("ls -A /mnt/w").split()))
        self.shell("dmsetup suspend --nolockfs plain")
        self.wait("write", "unknown", "stalled since")
        self.shell("dmsetup resume plain")
        self.wait("write", "healthy")
        self.shell(f'dmsetup suspend --nolockfs plain; echo "0 {size} error" | dmsetup reload plain; dmsetup resume plain')
        self.wait("write", "failed")


if __name__ == "__main__":
    main([TestStorage])
