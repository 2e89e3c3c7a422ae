#!/usr/bin/env python3
"""The pair on Debian's own kernel, on interfaces as servers have them: a VLAN on a bond, and a bridge.

    test_kernel.py [NAME ...]     all tests, or those whose names contain one of the words

The pair and its lab are those of test_pair.py; this program runs them, and itself, in the machine of vm.py. There the
kernel is 6.1, which has no tcx, so that the BPF guard stands by clsact, and has all of Debian's modules. The processor
is emulated and ten times slower: the pair promises 3 s, and the probes ask less often. Needs root, target/release (or
$MASTIFF_BIN) and what vm.py needs. The last line of the output is `N passed, N failed`.
"""
import pathlib
import signal
import sys
import time

import probes
from mastiffs import BINARIES, SILENCE_SECONDS
from nodes import LabError, until
from pair import NODES, PairLab, Station, vip4, vip6
from runner import main
from test_keeper import FORGOTTEN_SECONDS, GuardedMastiff
from test_pair import PairTest
from vm import Vm

INSIDE = "--inside"
INSIDE_HOME = "/root/mastiff"
INSIDE_SECONDS = 900
VLAN = 10
WITHIN, WITHIN_MS = "3s", 3000
# What the emulated processor adds to it at worst, all stations and probes being on the same one; whether the promise is
# kept is the question of test_pair.py.
LATE_MS = 3000
# Longer than a lease: whoever could lose or get one has had the time.
FAULT_SECONDS = 4


class BondedNode(Station):
    """Its network is a VLAN on a bond of two ports, one on each switch."""

    device = f"bond0.{VLAN}"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.paths = range(1)

    def configure(self):
        for cable in self.cables:
            self.lab.switch.run("bridge", "vlan", "add", "dev", f"{self.name}{cable}", "vid", VLAN)  # tagged
        self.space.ip(
            "link set lo up",
            f"link add bond0 address {self.mac()} type bond mode active-backup miimon 50",
            *[f"link set eth{cable} master bond0" for cable in self.cables],
            "link set bond0 up")
        self.make()

    def make(self):
        """The interface of the service, with the node's own addresses."""
        self.space.ip(
            f"link add link bond0 name {self.device} type vlan id {VLAN}",
            f"address add {self.address()}/24 dev {self.device}",
            f"address add fd77::{self.number}/64 dev {self.device} nodad",
            f"link set {self.device} up")

    def wait_ports(self):
        """Until the bond has both ports."""
        until("both ports", lambda: self.space.run("cat", "/proc/net/bonding/bond0").count("MII Status: up") == 3)


class BridgedNode(Station):
    """Its network is a bridge with one port."""

    device = "br0"

    def configure(self):
        self.space.ip("link set lo up", "link set eth0 up")
        self.make()

    def make(self):
        """As for a BondedNode."""
        self.space.ip(
            f"link add {self.device} address {self.mac()} type bridge forward_delay 0 mcast_snooping 0",
            f"link set eth0 master {self.device}",
            f"address add {self.address()}/24 dev {self.device}",
            f"address add fd77::{self.number}/64 dev {self.device} nodad",
            f"link set {self.device} up")


class BondedLab(PairLab):
    """Two switches with a cable between them. Who is no bonded node sends without a tag."""

    node = BondedNode
    bridge = PairLab.bridge + f" vlan_filtering 1 vlan_default_pvid {VLAN}"

    def __init__(self):
        super().__init__(paths=2)

    def __enter__(self):
        super().__enter__()
        self.switch.ip("link add link0 type veth peer name link1",
                       *[f"link set link{number} master switch{number} up" for number in (0, 1)])
        return self


class BridgedLab(PairLab):
    node = BridgedNode


class KernelMastiff(GuardedMastiff):
    """Its addresses are on the node's own kind of interface."""

    speeds = {WITHIN: WITHIN_MS / 1000}
    guards = dict.fromkeys(NODES, "auto")

    def config(self, station):
        text = super().config(station)
        return text.replace("dev eth0", f"dev {station.device}") if station.name in NODES else text


class OnKernel:
    """What the pair does on any interface and with any guard."""

    within, mastiff = WITHIN, KernelMastiff
    guard, explained = "BPF (clsact)", "Guard: BPF (it loads here)"
    guard_is_missed_late = True  # it is asked for once a second

    @staticmethod
    def remove_guard(node):
        node.space.run("tc", "qdisc", "delete", "dev", node.device, "clsact")

    @staticmethod
    def shown_guard(node):
        """What tc says of the guard on the node's interface, in each direction."""
        return [node.space.run("tc", "filter", "show", "dev", node.device, way) for way in ("ingress", "egress")]

    def tearDown(self):
        # Not at once: the address of a dead daemon stays for its lifetime, behind a closed guard.
        holder = lambda: [self.lab[name].number for name in NODES if self.has_address(self.lab[name])]
        until("one node has the address", lambda: len(holder()) == 1, 2 * FORGOTTEN_SECONDS)
        until("it is the one that serves", lambda: holder() == [self.owner_of_all()])
        super().tearDown()

    @staticmethod
    def has_address(node):
        shown = node.space.run("ip", "-o", "address")
        return any(f" {address}/" in shown for address in (vip4(), vip6()))

    def move(self, since):
        """The standby takes over in time, and is the active one from now on."""
        self.assert_moved(since, WITHIN_MS + LATE_MS)
        took = (self.probes.client.first_answer(self.standby.number, since) - since) / 1e6
        print(f"[{took:.0f} ms]", end=" ", flush=True)
        self.active, self.standby = self.standby, self.active

    def stay(self):
        """No change of roles, for as long as a fault lasts."""
        began = time.monotonic_ns()
        self.pass_time(FAULT_SECONDS)
        self.assertEqual(0, self.probes.takeovers(began), "role changes")
        until("it serves", lambda: self.owner_of_all() == self.active.number)
        print(f"[gap {self.probes.client.outage_ns(began) / 1e6:.0f} ms]", end=" ", flush=True)

    def test_guard_is_the_one_that_this_kernel_has(self):
        for node in map(self.lab.__getitem__, NODES):
            self.assertIn(f"guard {self.guard}", self.pair.cli(node, "status"))
            self.assertIn(self.explained, self.pair.cli(node, "config", "explain"))
            self.assertTrue(self.is_guarded(node))

    def test_guard_keeps_an_address_silent(self):
        """Even one that somebody adds by hand; and without the guard the monitor would see two owners."""
        node, place = self.standby, f"{vip4()}/32 dev {self.standby.device}"
        node.space.ip(f"address add {place}")
        try:
            self.pass_time(1)
            self.assertEqual(0, self.probes.monitor.two_owners_ns(self.since))
            began = time.monotonic_ns()

            def two_owners():
                if self.is_guarded(node):
                    self.remove_guard(node)
                return not self.guard_is_missed_late or self.probes.monitor.two_owners_ns(began)

            until("two owners", two_owners)
        finally:
            node.space.ip(f"address delete {place}")
        self.since = time.monotonic_ns()
        until("the guard is back", lambda: self.is_guarded(node))

    def is_guarded(self, node):
        """In both directions, as other programs show it."""
        return all("mastiff" in shown for shown in self.shown_guard(node))

    def test_killed_daemon(self):
        began = time.monotonic_ns()
        self.pair.signal(self.active, signal.SIGKILL)
        self.move(began)
        self.pair.restart(self.standby)
        self.stay()

    def test_frozen_daemon(self):
        began = time.monotonic_ns()
        frozen = self.active
        self.pair.signal(frozen, signal.SIGSTOP)
        try:
            self.move(began)
            self.stay()
        finally:
            self.pair.signal(frozen, signal.SIGCONT)
        self.stay()

    def test_all_cables_pulled(self):
        self.move(self.lab.plug(self.active, up=False))
        self.lab.plug(self.standby, up=True)
        self.stay()

    def test_interface_made_anew_at_once(self):
        """The group goes on or moves, and the new interface has its guard and the address."""
        self.active.space.ip(f"link delete {self.active.device}")
        self.active.make()
        self.pass_time(FAULT_SECONDS)
        self.assert_back(self.active)

    def test_interface_lost_and_made_anew(self):
        lost = self.active
        began = time.monotonic_ns()
        lost.space.ip(f"link delete {lost.device}")
        self.move(began)
        lost.make()
        self.stay()
        self.assert_back(lost)

    def assert_back(self, node):
        """A node serves on its new interface; when the other node has it, once it is told to."""
        owner = until("somebody serves", self.owner_of_all, 2 * SILENCE_SECONDS)
        if owner != node.number:
            self.pair.wait_ready(node)
            self.pair.switchover(self.lab.peer(node))
        until("it serves", lambda: self.owner_of_all() == node.number)
        self.assertTrue(self.is_guarded(node))


class TestVlanOnBond(OnKernel, PairTest):
    @classmethod
    def make_lab(cls):
        return BondedLab()

    def test_one_port_of_the_bond_lost(self):
        for cable in self.active.cables:
            self.lab.plug(self.active, up=False, cables=[cable])
            self.stay()
            self.lab.plug(self.active, up=True)
            self.active.wait_ports()


class TestBridge(OnKernel, PairTest):
    @classmethod
    def make_lab(cls):
        return BridgedLab()


class NftablesMastiff(KernelMastiff):
    guards = dict.fromkeys(NODES, "nftables")


class TestNftables(TestVlanOnBond):
    """The VLAN again, with the other guard: it stands on the egress hook of Linux 5.16."""

    mastiff = NftablesMastiff
    guard, explained = "nftables", "Guard: nftables"

    guard_is_missed_late = False  # the kernel tells of it at once

    @staticmethod
    def remove_guard(node):
        node.space.run("nft", "flush", "ruleset")

    @staticmethod
    def shown_guard(node):
        shown = node.space.run("nft", "list", "ruleset")
        hooks = [line for line in shown.splitlines() if "hook" in line and node.device in line]
        return ["".join(f"mastiff: {line}" for line in hooks if way in line) for way in ("ingress", "egress")]


def in_machine(words):
    """Run this program in a machine of its own; returns its exit code."""
    began = time.monotonic()
    with Vm() as vm:
        vm.copy(pathlib.Path(__file__).parent, f"{INSIDE_HOME}/packaging/lab")
        for program in ("mastiffd", "mastiff"):
            vm.copy(BINARIES / program, f"{INSIDE_HOME}/target/release/{program}")
        print(f"Linux {vm.run('uname', '-r').stdout.strip()}")
        done = vm.run("python3", f"{INSIDE_HOME}/packaging/lab/test_kernel.py", INSIDE, *words, check=False,
                      timeout=INSIDE_SECONDS)
    print(f"{done.stderr}in {time.monotonic() - began:.0f} s:\n{done.stdout}", end="")
    return done.returncode


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if INSIDE not in sys.argv:
        try:
            sys.exit(in_machine(sys.argv[1:]))
        except LabError as error:
            sys.exit(f"test_kernel.py: {error}")
    sys.argv.remove(INSIDE)
    # At the probes' usual rates the emulated processor would do nothing else.
    probes.ASK_MS, probes.MONITOR_MS = 10, 50
    main((TestVlanOnBond, TestBridge, TestNftables))
