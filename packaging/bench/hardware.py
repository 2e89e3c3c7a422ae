#!/usr/bin/env python3
"""What it costs to look at the hardware: mastiff's readers beside node_exporter and smartd.

    hardware.py [--rounds N] [--polls N] [--no-vm]

First the files of a server that has 24 disks in two arrays, 64 measuring points on eight chips, two memory controllers,
four thermal zones and a bond of four links are made in a temporary folder. hwmon's readers read all of it again and
again, each quantity (hwmon/examples/cost.rs), and node_exporter(1) of Debian 12 is asked for the same facts by its own
collectors, as Prometheus would ask it. Both run on a node of ../lab/nodes.py, which has node_exporter; processor time is
what counts: the readers' own, and usage_usec of node_exporter's cgroup. Room in file systems is left out on both sides,
since a folder has none.

Then, in a machine of ../lab/vm.py with an NVMe and a SATA disk, smartd(8) is told to look at them, and mastiffd does so by
its checks `disk-health`: processor time of the service for each disk and look, with its prober, less what mastiffd needs
without these checks. An emulated processor is several times slower than a real one; the ratio is what counts.

Needs root, cargo, target/release (or $MASTIFF_BIN) and what nodes.py and vm.py need; nothing leaves the machine. Takes
five to ten minutes, most of it to build a node and a machine the first time.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import time

PROJECT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "packaging/lab"))

from cost import cpu_us  # noqa: E402
from daemon import Daemon  # noqa: E402
from nodes import Lab, LabError, command, until  # noqa: E402
from vm import Vm  # noqa: E402

DISKS, ARRAYS, CHIPS, POINTS, FANS, CONTROLLERS, MODULES, ZONES, LINKS = 24, 2, 8, 6, 2, 2, 8, 4, 4
# The project's own target: the same facts for a tenth of the processor time.
RATIO_MIN = 10
SENSORS = ("block", "raid", "hwmon", "ecc", "thermal", "link")
COLLECTORS = ("diskstats", "mdadm", "hwmon", "edac", "thermal_zone", "netclass", "bonding")
TREE, PORT, EXPORTER = "/run/tree", 9100, "bench-exporter.service"
# Asks the exporter so many times over one connection, as Prometheus does, and prints how much it said at last.
SCRAPE = """import http.client, sys
server = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    server.request("GET", "/metrics")
    text = server.getresponse().read().decode()
print(sum(not line.startswith("#") for line in text.splitlines()))
"""
VM_DISKS = {"nvme": "nvme,serial=bench-nvme", "sata": "ide-hd,serial=bench-sata,bus=ide.0"}
LOOK = '[[check]]\nsensor = "disk-health"\ntarget = "{}"\ninterval = "{}"\n'
LOOK_SECONDS, SETTLE_SECONDS = 0.2, 5


class Tree:
    """Makes files as the kernel has them."""

    def __init__(self, root):
        self.root = root

    def files(self, directory, **named):
        """A folder with files of one line each."""
        place = self.root / directory
        place.mkdir(parents=True, exist_ok=True)
        for name, value in named.items():
            (place / name).write_text(f"{value}\n")
        return place

    def link(self, path, target):
        """A symbolic link to a path of the tree."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.relpath(self.root / target, place.parent))

    def make(self):
        self.disks()
        self.chips()
        self.memory_and_zones()
        self.links()

    def disks(self):
        stats, arrays = [], []
        for n in range(DISKS):
            name = f"sd{chr(ord('a') + n)}"
            stat = f"{1000 + n} 10 80000 900 2000 200 160000 1800 0 2500 2700 0 0 0 0 0 0"
            self.files(f"sys/block/{name}", stat=stat, size=7814037168, removable=0)
            self.files(f"sys/block/{name}/device", model="ST4000NM0035-1V4", vendor="ATA", state="running")
            self.files(f"sys/block/{name}/queue", rotational=1, logical_block_size=512)
            self.files("run/udev/data", **{f"b8:{16 * n}": f"E:ID_MODEL=ST4000NM0035\nE:ID_SERIAL_SHORT=ZC1{n:05}\n"
                                           "E:ID_ATA=1\nE:ID_ATA_ROTATION_RATE_RPM=7200\nE:ID_ATA_WRITE_CACHE=1"})
            stats.append(f"   8 {16 * n:7} {name} {stat}")
        each = DISKS // ARRAYS
        for n in range(ARRAYS):
            md = f"sys/block/md{n}/md"
            self.files(f"sys/block/md{n}", stat="50 0 400 9 60 0 480 9 0 20 18 0 0 0 0 0 0", size=78140371680)
            self.files(md, array_state="clean", level="raid6", raid_disks=each, degraded=0, sync_action="idle",
                       mismatch_cnt=0, last_sync_action="check", metadata_version="1.2")
            members = [f"sd{chr(ord('a') + n * each + m)}1" for m in range(each)]
            for slot, member in enumerate(members):
                self.files(f"{md}/dev-{member}", state="in_sync", errors=0, slot=slot)
            named = " ".join(f"{member}[{slot}]" for slot, member in enumerate(members))
            arrays.append(f"md{n} : active raid6 {named}\n      39070080 blocks super 1.2 level 6, 512k chunk, algorithm 2 "
                          f"[{each}/{each}] [{'U' * each}]\n      bitmap: 0/30 pages [0KB], 65536KB chunk\n")
            stats.append(f"   9 {n:7} md{n} 50 0 400 9 60 0 480 9 0 20 18 0 0 0 0 0 0")
        self.files("proc", diskstats="\n".join(stats),
                   mdstat="Personalities : [raid6]\n" + "\n".join(arrays) + "\nunused devices: <none>")

    def chips(self):
        self.files("sys/bus/i2c")
        for n in range(CHIPS):
            device = f"sys/devices/pci0000:00/i2c-0/0-00{0x20 + n:02x}"
            chip = f"{device}/hwmon/hwmon{n}"
            self.files(chip, name="nct7802")
            for point in range(1, POINTS + 1):
                self.files(chip, **{f"temp{point}_{what}": value for what, value in (
                    ("input", 40000 + 1000 * point), ("max", 80000), ("crit", 100000), ("alarm", 0),
                    ("label", f"Bay {n}.{point}"))})
            for fan in range(1, FANS + 1):
                self.files(chip, **{f"fan{fan}_input": 5400, f"fan{fan}_min": 600, f"fan{fan}_alarm": 0})
            self.link(f"{device}/subsystem", "sys/bus/i2c")
            self.link(f"{chip}/device", device)
            self.link(f"sys/class/hwmon/hwmon{n}", chip)

    def memory_and_zones(self):
        for n in range(CONTROLLERS):
            place = f"sys/devices/system/edac/mc/mc{n}"
            self.files(place, mc_name="Skylake Socket#0 IMC#0", ce_count=0, ue_count=0, ce_noinfo_count=0, ue_noinfo_count=0)
            for module in range(MODULES):
                self.files(f"{place}/dimm{module}", dimm_label=f"CPU{n} DIMM {module}", dimm_ce_count=0, dimm_ue_count=0)
                self.files(f"{place}/csrow{module}", ce_count=0, ue_count=0, ch0_ce_count=0, ch0_dimm_label="DIMM")
        for n in range(ZONES):
            self.files(f"sys/class/thermal/thermal_zone{n}", type="x86_pkg_temp", temp=45000, policy="step_wise",
                       mode="enabled", trip_point_0_type="critical", trip_point_0_temp=100000)

    def links(self):
        for n, name in enumerate([*(f"eth{n}" for n in range(LINKS)), "bond0"]):
            place = f"sys/devices/pci0000:00/0000:00:1f.{n}/net/{name}"
            self.files(place, address="52:54:00:12:34:56", broadcast="ff:ff:ff:ff:ff:ff", addr_assign_type=0, addr_len=6,
                       carrier=1, carrier_changes=2, carrier_up_count=1, carrier_down_count=1, dev_id="0x0", dormant=0,
                       duplex="full", flags="0x1003", ifalias="", ifindex=n + 2, iflink=n + 2, link_mode=0, mtu=1500,
                       name_assign_type=4, netdev_group=0, operstate="up", phys_port_id="", phys_port_name="",
                       phys_switch_id="", speed=10000, tx_queue_len=1000, type=1)
            self.files(f"{place}/statistics", **dict.fromkeys(
                ("rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped"), 1234))
            self.link(f"{place}/device", f"sys/devices/pci0000:00/0000:00:1f.{n}")
            self.link(f"sys/class/net/{name}", place)
        slaves = " ".join(f"eth{n}" for n in range(LINKS))
        bond = f"sys/devices/pci0000:00/0000:00:1f.{LINKS}/net/bond0"
        self.files(f"{bond}/bonding", slaves=slaves, mii_status="up", mode="802.3ad 4")
        (self.root / "sys/class/net/bonding_masters").write_text("bond0\n")
        for n in range(LINKS):
            self.files(f"sys/class/net/eth{n}/bonding_slave", mii_status="up", state="active")
            self.link(f"{bond}/lower_eth{n}", f"sys/class/net/eth{n}")
            self.link(f"{bond}/slave_eth{n}", f"sys/class/net/eth{n}")


def readers(node):
    """Microseconds of one reading of everything by each sensor, and of all in each second at their own intervals."""
    build = ("cargo", "build", "--quiet", "--release", "--locked", "-p", "mastiff-hwmon", "--example", "cost")
    subprocess.run(build, cwd=PROJECT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", PROJECT / "target"))
    node.copy(target / "release/examples/cost", "/usr/bin/cost")
    told = node.run("/usr/bin/cost", TREE, *SENSORS).stdout
    by_sensor = dict.fromkeys(SENSORS, 0.0)
    for line in told.splitlines()[1:]:
        words = line.split()
        if words[0] in by_sensor:
            by_sensor[words[0]] += float(words[-2])
    return by_sensor, [float(re.search(rf"{what}: ([\d.]+) us", told)[1]) for what in ("once", "at its interval")]


def exporter(node, collectors, rounds):
    """Microseconds of one scrape of these collectors, and how many values it gave."""
    node.run("systemd-run", "--quiet", f"--unit={EXPORTER}", "/usr/bin/prometheus-node-exporter",
             f"--path.sysfs={TREE}/sys", f"--path.procfs={TREE}/proc", f"--path.udev.data={TREE}/run/udev/data",
             f"--web.listen-address=127.0.0.1:{PORT}", "--web.disable-exporter-metrics", "--collector.disable-defaults",
             *(f"--collector.{name}" for name in collectors))
    cgroup = node.cgroup / "system.slice" / EXPORTER

    def scrape(times):
        return int(command("nsenter", "-t", node.pid, "-n", sys.executable, "-c", SCRAPE, PORT, times).stdout)

    try:
        until("node_exporter answers", lambda: command("nsenter", "-t", node.pid, "-n", sys.executable, "-c", SCRAPE, PORT,
                                                       1, check=False).returncode == 0, 20)
        scrape(rounds // 10 + 1)  # its heap has grown
        before = cpu_us(cgroup)
        values = scrape(rounds)
        return (cpu_us(cgroup) - before) / rounds, values
    finally:
        node.run("systemctl", "stop", EXPORTER)


def compare_readers(rounds):
    with Lab("bench", packages=("prometheus-node-exporter",)) as lab:
        node = lab["bench"]
        node.run("systemctl", "mask", "--now", "prometheus-node-exporter", check=False)
        Tree(node.path(TREE)).make()
        by_sensor, (once, each_second) = readers(node)
        theirs, values = exporter(node, COLLECTORS, rounds)
        empty, _ = exporter(node, ("time",), rounds)
    print(f"{DISKS} disks, {CHIPS * (POINTS + FANS)} measuring points, {ARRAYS} arrays, {LINKS + 1} links: "
          "microseconds of processor time")
    for name, cost in by_sensor.items():
        print(f"  {'mastiff, ' + name + ', once':<58} {cost:>10.1f}")
    print(f"  {'mastiff, all of it once':<58} {once:>10.1f}")
    print(f"  {f'node_exporter, one scrape ({values} values)':<58} {theirs:>10.1f}   {theirs / once:.1f}x")
    print(f"  {'node_exporter, one scrape of the time alone':<58} {empty:>10.1f}")
    print(f"  {'mastiff, each second, by its own intervals of 1 s to 60 s':<58} {each_second:>10.1f}")
    print(f"  {'node_exporter, each second, scraped every 15 s':<58} {theirs / 15:>10.1f}   {theirs / 15 / each_second:.1f}x")
    print(f"  target: {RATIO_MIN}x for the same facts: {'met' if theirs / once >= RATIO_MIN else 'MISSED'}\n", flush=True)


def service_us(vm, unit):
    return int(re.search(r"^usage_usec (\d+)", vm.read(f"/sys/fs/cgroup/system.slice/{unit}/cpu.stat"), re.M)[1])


def smartd_us(vm, polls):
    """Microseconds of one look of smartd at one disk."""
    vm.write("/etc/bench-smartd.conf", "/dev/nvme0 -a\n/dev/sda -a\n")
    vm.run("systemd-run", "--quiet", "--unit=bench-smartd", "/usr/sbin/smartd", "-n", "-i", "3600", "-c",
           "/etc/bench-smartd.conf")
    time.sleep(SETTLE_SECONDS)
    log = vm.run("journalctl", "-u", "bench-smartd", "-o", "cat", "--no-pager").stdout
    if not re.search(r"Monitoring 1 ATA.* 1 NVMe", log):
        raise LabError(f"smartd does not watch both disks:\n{log}")
    before = service_us(vm, "bench-smartd.service")
    for _ in range(polls):
        vm.run("systemctl", "kill", "--signal=USR1", "bench-smartd")
        time.sleep(LOOK_SECONDS)
    used = service_us(vm, "bench-smartd.service") - before
    vm.run("systemctl", "stop", "bench-smartd")
    return used / polls / 2


def mastiffd_us(vm, polls):
    """The same of mastiffd."""
    daemon, used = Daemon(vm), []
    daemon.install()
    for interval in ("1h", f"{LOOK_SECONDS * 1000:.0f}ms"):
        daemon.start("".join(LOOK.format(disk, interval) for disk in ("nvme0", "sda")))
        time.sleep(SETTLE_SECONDS)
        before = service_us(vm, "mastiff.service")
        time.sleep(polls * LOOK_SECONDS)
        used.append(service_us(vm, "mastiff.service") - before)
        verdicts = [it["verdict"] for it in daemon.checks().values()]
        if verdicts != ["healthy", "healthy"]:
            raise LabError(f"mastiffd finds the disks {verdicts}")
    daemon.systemctl("stop", "mastiff")
    return (used[1] - used[0]) / polls / 2


def compare_smart(polls):
    with Vm(packages=("smartmontools",), disks=VM_DISKS) as vm:
        vm.run("sh", "-c", "for i in nvme ahci sd_mod; do modprobe $i; done; systemctl mask --now --quiet smartmontools")
        until("the disks are there", lambda: vm.run("ls", "/dev/nvme0", "/dev/sda", check=False).returncode == 0)
        ours, theirs = mastiffd_us(vm, polls), smartd_us(vm, polls)
    print("health of an NVMe and a SATA disk: microseconds of an emulated processor for each disk and look")
    print(f"  {'mastiffd, disk-health, with its prober':<58} {ours:>10.1f}")
    print(f"  {'smartd':<58} {theirs:>10.1f}   {theirs / ours:.1f}x")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300, help="scrapes of node_exporter (default 300)")
    parser.add_argument("--polls", type=int, default=100, help="looks of smartd and of mastiffd (default 100)")
    parser.add_argument("--no-vm", action="store_true", help="leave smartd out")
    arguments = parser.parse_args()
    compare_readers(arguments.rounds)
    if not arguments.no_vm:
        compare_smart(arguments.polls)


if __name__ == "__main__":
    try:
        main()
    except (LabError, subprocess.CalledProcessError) as error:
        sys.exit(f"hardware.py: {error}")
