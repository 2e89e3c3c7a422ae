#!/usr/bin/env python3
"""Hardware that fails, on a machine of its own (vm.py), with the real daemon as a service: each fault is seen within its
interval, named in words an operator would use, and acted on by its ladder, and its end is told.

    test_hardware.py [--long] [NAME ...]     all tests, or those whose names contain one of the words

The disks are QEMU's (NVMe, SATA, virtio) and the kernel's scsi_debug, which can be told to err; the thermometer is a chip
of i2c-stub; memory errors come from QEMU's monitor and from madvise(2). EDAC needs a memory controller that QEMU does
not have: hwmon/tests has recorded ones. Needs root, target/release (or $MASTIFF_BIN) and what vm.py needs. Each test
prints when its fault was seen. The last line of the output is `N passed, N failed`.
"""
import json
import re
import time
import unittest

import faults
from daemon import Daemon
from nodes import until
from runner import main
from vm import ANSWERING, HARDWARE_PACKAGES, HUNG, Vm

DISKS = {
    "nvme": "nvme,serial=lab-nvme,bus=bay",
    "sata": "ide-hd,serial=lab-sata,bus=ide.0",
    "one": "virtio-blk-pci",
    "two": "virtio-blk-pci",
    "stalls": "virtio-blk-pci",
}
BAY = "-device pcie-root-port,id=bay,chassis=1"
# In the order of their slots, after the root disk and the parcel.
ONE, TWO, STALLS = "vdc", "vdd", "vde"
MODULES = ("nvme", "ahci", "sd_mod", "raid1", "i2c-dev", "i2c-stub chip_addr=0x4c", "lm90", "bonding",
           "veth")
# One reading a second. Two checks may be read just before the fault, and all of it is emulated on processors that others
# use as well; what is printed says how long it really took.
INTERVAL_SECONDS, LATE_SECONDS = 1, 10
STALL_SECONDS = 3
# A kind of event of the kernel's log is failed for so long.
EVENT_SECONDS = 5
# What the daemon measures of its own loops, all the while. On real machines it is a few milliseconds.
KEEPER_LATE_MS, BRAIN_LATE_SECONDS = 1000, 3
EVENTS = ("io-errors", "filesystem-errors", "remounted-read-only", "hardware-errors", "memory-failures", "raid-failures",
          "hung-tasks")
# What the defaults wait for takes a minute.
SLOW = ("test_a_sata_disk_that_stops_answering_by_the_defaults",)
# So that a rebuild takes some seconds.
MIRROR_KIB, SYNC_KIB = 24 << 10, 3000
CHIP = "adm1032-i2c-0-4c"
LOCAL, LOCAL_MAX, LOCAL_CRITICAL, REMOTE, REMOTE_MAX, REMOTE_CRITICAL = 0, 5, 0x20, 1, 7, 0x19
ACTED = "/run/acted"
ACT = "/usr/local/bin/act"
CHECK = """[[check]]
name = "{name}"
sensor = "{sensor}"
{target}interval = "{interval}s"
fail-after = "0s"
recover-after = "0s"
on-fail = "run {act}"
{more}
"""
# Corrected: valid, enabled, with an address; the bank and the address are made up (QEMU's `help mce`).
CORRECTED = "mce 0 9 0x9c00004000010092 0x0 0x12345000 0x8c"
READS = "while :; do dd if=/dev/{} of=/dev/null bs=4k count=100 iflag=direct status=none; done"
POISON = "import mmap; page = mmap.mmap(-1, 4096); page[0] = 1; page.madvise(100)"  # MADV_HWPOISON


def check(name, sensor, target="", more=""):
    target = f'target = "{target}"\n' if target else ""
    return CHECK.format(name=name, sensor=sensor, target=target, more=more, act=ACT, interval=INTERVAL_SECONDS)


CONFIG = "".join((
    check("mirror", "raid", "md0", 'fail-when = ["degraded > 0", "faulty > 0", "lost", "present = false"]'),
    check("nvme health", "disk-health", "nvme0"),
    check("nvme disk", "block", "nvme0n1", 'fail-when = ["present = false", "online = false"]'),
    check("sata health", "disk-health", "sda"),
    check("data disk", "block", STALLS, f'fail-when = "stalled > {STALL_SECONDS}s"'),
    check("scratch", "filesystem", "/mnt/errs", f'fail-when = ["read-only", "stops > 0 in {EVENT_SECONDS}s"]'),
    check("data file", "file", "/mnt/data/file", f'timeout = "{INTERVAL_SECONDS}s"'),
    check("chip", "hwmon", CHIP),
    check("bond", "link", "bond0", 'fail-when = ["members-down > 0", "carrier = false"]'),
    *(check(kind, "kernel-log", more=f'warn-when = []\nfail-when = "{kind} > 0 in {EVENT_SECONDS}s"') for kind in EVENTS),
))
SETUP = f"""
mdadm --create /dev/md0 --run --level=1 --raid-devices=2 --assume-clean --bitmap=none --size={MIRROR_KIB} \
    /dev/{ONE} /dev/{TWO}
echo {SYNC_KIB} > /sys/block/md0/md/sync_speed_max
mkfs.ext4 -q /dev/{STALLS}
mkdir -p /mnt/data /mnt/errs
mount /dev/{STALLS} /mnt/data
echo hello > /mnt/data/file
umount /mnt/data
mount -o ro /dev/{STALLS} /mnt/data
mkfs.ext4 -q /dev/sdb
mount -o errors=remount-ro /dev/sdb /mnt/errs
echo adm1032 0x4c > /sys/bus/i2c/devices/i2c-0/new_device
ip link add bond0 type bond mode active-backup miimon 100
for i in 0 1; do
    ip link add member$i type veth peer name switch$i
    ip link set member$i master bond0
    ip link set switch$i up
done
ip link set bond0 up
echo 1 > /sys/devices/system/machinecheck/machinecheck0/check_interval
"""


class TestHardware(unittest.TestCase):
    """One machine and one daemon for all tests: it must outlive every fault."""

    @classmethod
    def setUpClass(cls):
        cls.vm = cls.enterClassContext(Vm(packages=HARDWARE_PACKAGES, options=BAY, disks=DISKS))
        cls.daemon = Daemon(cls.vm)
        cls.daemon.install()
        cls.vm.write(ACT, f'#!/bin/sh\necho "$MASTIFF_CHECK" >> {ACTED}\n', 0o755)
        cls.vm.run("sh", "-ec", "".join(f"modprobe {module}\n" for module in MODULES))
        cls.heat(25)
        for register, celsius in ((LOCAL_MAX, 70), (LOCAL_CRITICAL, 85), (REMOTE, 30), (REMOTE_MAX, 70),
                                  (REMOTE_CRITICAL, 85)):
            cls.set_register(register, celsius)
        cls.wait_disks("sda", "nvme0n1", STALLS)
        cls.vm.run("modprobe", "scsi_debug")
        cls.wait_disks("sdb")
        cls.vm.run("sh", "-ec", SETUP)
        cls.daemon.start(CONFIG, found=True)
        cls.pid = cls.daemon.pid()

    @classmethod
    def wait_disks(cls, *names):
        until(f"the disks {names} are there",
              lambda: cls.vm.run("ls", *(f"/dev/{name}" for name in names), check=False).returncode == 0)

    @classmethod
    def set_register(cls, register, value):
        cls.vm.run("i2cset", "-f", "-y", 0, "0x4c", register, value)

    @classmethod
    def heat(cls, celsius):
        cls.set_register(LOCAL, celsius)

    def setUp(self):
        self.began = time.monotonic()
        self.vm.run("rm", "-f", ACTED)

    def story(self):
        return "".join(self.vm.run(*words, check=False).stdout[-6000:] for words in (
            ("journalctl", "-n", "60", "--no-pager", "-o", "short-monotonic"), ("mastiff", "status")))

    def tearDown(self):
        """The loops were on time throughout, and it is still the same daemon."""
        status = self.status()
        late = status["lateness"]
        print(f"  {time.monotonic() - self.began:.0f} s; keeper {late['keeper_max_ms']:.0f} ms late at most", flush=True)
        self.assertEqual(self.pid, status["pid"])
        self.assertLess(late["keeper_max_ms"], KEEPER_LATE_MS)
        self.assertLess(late["keeper_age_ms"], KEEPER_LATE_MS)
        self.assertEqual({}, self.stale(), "the brain reads every check in time")

    def status(self):
        return json.loads(self.daemon.cli("status", "--json", check=False).stdout)

    def stale(self, but=()):
        """The checks whose newest reading is older than it may be."""
        return {it["name"]: it["reading_age_secs"] for it in self.status()["checks"] if it["name"] not in but
                and (it["reading_age_secs"] or 0) > it["interval_secs"] + BRAIN_LATE_SECONDS}

    def value(self, name, quantity):
        found = [it for it in self.daemon.checks()[name]["values"] if it["name"] == quantity]
        return found[0]["number"] if found[0]["number"] is not None else found[0]["shown"]

    # -- what must happen

    def assert_seen(self, name, cause, words, verdict="failed", was="healthy", within=INTERVAL_SECONDS):
        """The fault leads to this verdict within so many seconds, with these words (regular expressions) in what the
        operator is told, and its ladder has acted."""
        self.assertEqual(was, self.daemon.verdict(name), "before the fault")
        alerts = len(self.daemon.alerts(name))
        cause()
        began = time.monotonic()

        def told():
            seen = self.daemon.checks()[name]
            text = seen["reason"]
            is_told = seen["verdict"] == verdict and all(re.search(word, text) for word in words)
            return f"{seen['verdict']}, {text}" if is_told else None

        text = until(f"{name} is {verdict}: {words}", told, within + LATE_SECONDS)
        print(f"\n  {name}: seen in {time.monotonic() - began:.1f} s: {text}", flush=True)
        if verdict == "failed":
            until(f"{name} was acted on", lambda: name in self.vm.read(ACTED).splitlines())
        until("it was told", lambda: ((was, verdict) in self.daemon.alerts(name)[alerts:]))

    def assert_mended(self, name, cause=lambda: None, seconds=10):
        """It is healthy again, and that is told."""
        cause()
        self.daemon.wait_verdict(name, "healthy", seconds)
        until("the recovery was told", lambda: self.daemon.alerts(name)[-1][1] == "healthy")

    # -- arrays and disks

    def test_a_member_of_a_mirror_fails_and_comes_back(self):
        self.assert_seen("mirror", lambda: self.vm.run("mdadm", "/dev/md0", "--fail", f"/dev/{TWO}"),
                         [r"degraded > 0 \(1\)", rf"{TWO} has failed"])
        until("the kernel's word is seen, too", lambda: "raid-failures" in self.vm.read(ACTED).splitlines())
        self.vm.run("mdadm", "/dev/md0", "--remove", f"/dev/{TWO}")
        self.vm.run("mdadm", "/dev/md0", "--add", f"/dev/{TWO}")

        def syncing():
            seen = self.daemon.checks()["mirror"]
            values = {it["name"]: it["shown"] for it in seen["values"]}
            if values["action"] != "recover" or values["remaining"] in ("none", "unknown"):
                return None
            return f"{seen['note']}, {values['progress']}, {values['remaining']} left at {values['speed']}"

        told = until("it is rebuilt, and says how far that is", syncing)
        print(f"  {told}", flush=True)
        self.assertRegex(told, rf"{TWO} is being rebuilt")
        self.assert_mended("mirror", seconds=60)

    def test_an_nvme_disk_expects_to_fail_and_then_takes_no_writes(self):
        self.assert_seen("nvme health", lambda: self.critical_warning(4), [r"failing \(yes\)", "lab-nvme"])
        self.critical_warning(4 | 8)
        until("it takes no writes", lambda: "read-only (yes)" in self.daemon.checks()["nvme health"]["reason"])
        self.assert_mended("nvme health", lambda: self.critical_warning(0))

    def critical_warning(self, bits):
        self.vm.monitor.call("qom-set", path="/machine/peripheral/nvme", property="smart_critical_warning", value=bits)

    def test_a_disk_that_stops_answering_delays_nobody(self):
        self.vm.run("sysctl", "-qw", "kernel.hung_task_timeout_secs=1")
        faults.start(self.vm, "reader", READS.format(STALLS))
        stalled = {"data disk", "data file"}
        try:
            self.assert_seen("data disk", lambda: self.vm.disk(HUNG, "stalls"), [rf"stalled > {STALL_SECONDS}s"],
                             within=STALL_SECONDS + 2 * INTERVAL_SECONDS)
            self.vm.run("sh", "-c", "echo 3 > /proc/sys/vm/drop_caches")
            until("what waits for the disk stalls alone", lambda: "stalled" in self.daemon.checks()["data file"]["reason"])
            print(f"  data file: {self.daemon.checks()['data file']['reason']}")
            until("a task that hangs is named", lambda: self.daemon.verdict("hung-tasks") == "failed")
            self.assertEqual({}, self.stale(stalled), "the others are still read")
        finally:
            self.vm.disk(ANSWERING, "stalls")
            self.vm.run("systemctl", "stop", "reader", check=False)
            self.vm.run("sysctl", "-qw", "kernel.hung_task_timeout_secs=120")
        self.assert_mended("data disk")
        self.daemon.wait_verdict("data file", "healthy")

    def test_a_disk_that_errs(self):
        debug = "/sys/bus/pseudo/drivers/scsi_debug"
        try:
            # Each command is aborted by the transport, and so are its repetitions.
            self.assert_seen("io-errors", lambda: self.vm.run(
                "sh", "-c", f"echo 0x10 > {debug}/opts; echo 1 > {debug}/every_nth; "
                "dd if=/dev/zero of=/mnt/errs/file bs=4k count=4 conv=fsync", check=False), ["io-errors > 0", "dev sdb"])
            for kind, words in (("filesystem-errors", "sdb"), ("remounted-read-only", "Remounting filesystem read-only")):
                until(f"{kind} was acted on", lambda: kind in self.vm.read(ACTED).splitlines())
                told = [event["text"] for event in self.daemon.events("verdict", kind)]
                self.assertRegex(" ".join(told), words)
            # Of this kernel neither statvfs(3) nor the mount table says so.
            until("scratch was acted on", lambda: "scratch" in self.vm.read(ACTED).splitlines())
            told = [event["text"] for event in self.daemon.events("verdict", "scratch")]
            self.assertRegex(" ".join(told), "stops > 0 .*e2fsck")
        finally:
            self.vm.run("sh", "-c", f"echo 0 > {debug}/every_nth; echo 0 > {debug}/opts; umount /mnt/errs; "
                        "e2fsck -fy /dev/sdb; mount -o errors=remount-ro /dev/sdb /mnt/errs")
        self.assert_mended("scratch")

    def test_a_disk_is_pulled_and_put_back(self):
        try:
            self.assert_seen("nvme disk", lambda: self.vm.unplug("nvme"), ["present = false", "lab-nvme"])
        finally:
            self.vm.plug("nvme")
        self.assert_mended("nvme disk")
        self.daemon.wait_verdict("nvme health", "healthy")

    def test_a_sata_disk_that_stops_answering_by_the_defaults(self):
        # The kernel waits 30 s for a command before it resets the disk; until then only its counters tell.
        self.assertEqual("healthy", self.daemon.verdict("sata health"))
        self.assertAlmostEqual(31, self.value("sata health", "temperature"), delta=1)
        faults.start(self.vm, "reader", READS.format("sda"))
        try:
            self.assert_seen("block sda", lambda: self.vm.disk(HUNG, "sata"), ["stalled > 15s", "lab-sata"], "degraded",
                             within=15 + 10 + 5)
        finally:
            self.vm.disk(ANSWERING, "sata")
            self.vm.run("systemctl", "stop", "reader", check=False)
        self.assert_mended("block sda", seconds=90)

    # -- memory

    def test_memory_errors_that_were_corrected(self):
        self.assert_seen("hardware-errors", lambda: self.vm.monitor.call("human-monitor-command",
                                                                         **{"command-line": CORRECTED}),
                         ["hardware-errors > 0", "CPU 0: Machine Check: 0 Bank 9"])

    def test_memory_that_is_lost(self):
        self.assert_seen("memory-failures", lambda: self.vm.run("python3", "-c", POISON), ["memory-failures > 0", "Memory failure: 0x"])

    # -- heat and links

    def test_heat(self):
        self.assert_seen("chip", lambda: self.heat(75), [r"temp1 75\.0C .*\(limit 70\.0C\)"], "degraded")
        self.assert_seen("chip", lambda: self.heat(90), [r"critical > 0", r"\(critical 85\.0C\)"], was="degraded")
        self.assert_mended("chip", lambda: self.heat(25))

    def test_a_cable_of_a_bond(self):
        def cable(state):
            return lambda: self.vm.run("ip", "link", "set", "switch1", state)

        self.assert_seen("bond", cable("down"), ["without connection: member1"])
        self.assert_mended("bond", cable("up"))


if __name__ == "__main__":
    main([TestHardware], SLOW)
