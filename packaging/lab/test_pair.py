#!/usr/bin/env python3
"""What a user of a pair is promised, row by row, with the real binaries on a switch that can fail.

    test_pair.py [NAME ...]     all tests, or those whose names contain one of the words

Every test ends with the same question: did two nodes ever answer for an address? Needs root or user namespaces,
target/release (or $MASTIFF_BIN), iproute2 and nftables. The last line of the output is `N passed, N failed`.
"""
import contextlib
import os
import signal
import socket
import time
import unittest

from load import busy_processors
from mastiffs import PORT, SILENCE_SECONDS, SPEEDS, Mastiff
from nodes import until
from pair import NODES, PairLab, vip4, vip6
from probes import Probes
from runner import main

WITHIN = "300ms"
# What a busy machine adds to what a client sees: it shares its processors with the nodes and the switch.
SEEN_LATE_MS = 100
# A fault lasts this long: several leases, so that whoever could lose or get one has had the time.
FAULT_SECONDS = 3


class PairTest(unittest.TestCase):
    """A pair that serves, for all tests of a class. Which node is active changes from test to test."""

    groups, paths, within, mastiff = 1, 1, WITHIN, Mastiff

    @classmethod
    def setUpClass(cls):
        cls.lab = cls.enterClassContext(cls.make_lab())
        cls.probes = cls.enterClassContext(Probes(cls.lab, cls.groups))
        cls.targets = range(len(cls.probes.targets))
        cls.pair = cls.mastiff(cls.lab, cls.within, cls.groups, cls.make_agent())
        cls.began = time.monotonic_ns()
        cls.pair.begin()
        cls.pair.wait_served(cls.probes.client.owner)

    @classmethod
    def make_lab(cls):
        """The stations and what is between them."""
        return PairLab(cls.paths)

    @classmethod
    def make_agent(cls):
        """The fence agent, if there is to be one instead of a witness."""

    def setUp(self):
        """Everything runs and is whole; `active` serves, `standby` could."""
        self.lab.heal()
        for node in map(self.lab.__getitem__, NODES):
            if not node.is_on:
                node.boot()
                self.probes.serve(node)
            self.lab.plug(node, up=True)
        for name in ("witness", *NODES):
            self.pair.ensure(self.lab[name])
        until("one node serves all addresses, and the other one could", self.is_whole, 3 * SILENCE_SECONDS)
        self.since = time.monotonic_ns()

    def is_whole(self):
        """Looks for both each time: they may change places while the standby keeps silent after a start."""
        number = self.owner_of_all()
        if not number:
            return False
        self.active, self.standby = self.lab[NODES[number - 1]], self.lab[NODES[2 - number]]
        return self.pair.is_ready(self.standby)

    def tearDown(self):
        two = self.probes.monitor.two_owners_ns(self.since)
        self.lab.heal()
        self.assertEqual(0, two, f"two owners, for {two / 1e6} ms")

    def story(self):
        logs = "".join(f"--- {name}\n{self.lab[name].log('mastiffd')[-3000:]}\n" for name in ("a", "b", "witness"))
        return logs + "".join(f"--- {name}\n{self.pair.describe(self.lab[name])}\n" for name in NODES)

    def owner_of_all(self):
        """The number of the node that serves all addresses; None if there is none."""
        owners = {self.probes.client.owner(target) for target in self.targets}
        return owners.pop() if len(owners) == 1 else None

    def pass_time(self, seconds=FAULT_SECONDS):
        """Let a fault last, in tests that something does not happen; the probes watch meanwhile."""
        end = time.monotonic() + seconds
        until("time passes", lambda: time.monotonic() > end, seconds + 5)

    def assert_moved(self, since, within_ms=SPEEDS[WITHIN] * 1000):
        """The standby serves every address within the promised time, and goes on."""
        until("the standby serves", lambda: self.owner_of_all() == self.standby.number, within_ms / 1000 + 5)
        for target in self.targets:
            took = (self.probes.client.first_answer(self.standby.number, since, target) - since) / 1e6
            self.assertLessEqual(took, within_ms + SEEN_LATE_MS, f"ms to {self.probes.targets[target]}")

    def assert_stayed(self, since=None, gap_ms=SEEN_LATE_MS):
        """The active node has served all the time; `gap_ms` None: as far as a client that is starved itself can tell."""
        since = since or self.since
        self.assertEqual(0, self.probes.takeovers(since), "role changes")
        for target in self.targets if gap_ms is not None else ():
            gap = self.probes.client.outage_ns(since, target=target) / 1e6
            self.assertLessEqual(gap, gap_ms, f"ms without {self.probes.targets[target]}")
        self.assertEqual(self.active.number, self.owner_of_all())

    def assert_nobody_serves(self):
        until("nobody serves", lambda: not any(self.probes.client.owner(target) for target in self.targets))


class TestJudge(unittest.TestCase):
    """The probes themselves, before anybody is judged by them: addresses are moved by hand."""

    @classmethod
    def setUpClass(cls):
        cls.lab = cls.enterClassContext(PairLab())
        cls.probes = cls.enterClassContext(Probes(cls.lab))

    def story(self):
        return ""

    def hand(self, node, verb):
        """Add or delete both addresses."""
        node.space.ip(f"address {verb} {vip4()}/32 dev eth0", f"address {verb} {vip6()}/128 dev eth0 nodad")

    def setUp(self):
        for name in NODES:
            self.lab[name].space.ip(f"address flush dev eth0 to {vip4()}/32",
                                    f"address flush dev eth0 to {vip6()}/128")

    def test_overlap_is_seen_and_timed(self):
        self.hand(self.lab["a"], "add")
        began = time.monotonic_ns()
        self.hand(self.lab["b"], "add")
        until("half a second passes", lambda: time.monotonic_ns() - began > 500_000_000)
        self.hand(self.lab["a"], "delete")
        took = (time.monotonic_ns() - began) / 1e6
        for target in (0, 1):
            two = self.probes.monitor.two_owners_ns(began, target=target) / 1e6
            self.assertTrue(450 <= two <= took + 5, f"{two} of {took} ms for {self.probes.targets[target]}")

    def test_move_without_overlap_is_none(self):
        began = time.monotonic_ns()
        for turn in range(10):
            moved = time.monotonic_ns()
            self.hand(self.lab[NODES[turn % 2]], "add")
            until("it is seen", lambda: self.probes.monitor.first_answer(1 + turn % 2, moved))
            self.hand(self.lab[NODES[turn % 2]], "delete")
        self.assertEqual(0, self.probes.monitor.two_owners_ns(began))

    def test_outage_is_seen_and_timed(self):
        self.hand(self.lab["a"], "add")
        until("the client is served", lambda: self.probes.client.owner() == 1)
        began = self.lab.part("client", ["a"])
        until("200 ms pass", lambda: time.monotonic_ns() - began > 200_000_000)
        self.lab.heal()
        until("the client is served", lambda: self.probes.client.owner() == 1)
        took = (time.monotonic_ns() - began) / 1e6
        gap = self.probes.client.outage_ns(began) / 1e6
        self.assertTrue(150 <= gap <= took, f"{gap} of {took} ms")


class TestTakeover(PairTest):
    """Faults of the active node: the other one serves, in time."""

    def test_cold_start_waits_until_every_promise_has_ended(self):
        first = self.probes.client.answers()[0][0]
        self.assertGreaterEqual((first - self.began) / 1e9, SILENCE_SECONDS)

    def test_power_cut(self):
        self.assert_moved(self.lab.power_cut(self.active))

    def test_power_cut_of_the_standby(self):
        self.lab.power_cut(self.standby)
        self.pass_time()
        self.assert_stayed()

    def test_killed_daemon(self):
        began = time.monotonic_ns()
        self.pair.signal(self.active, signal.SIGKILL)
        self.assert_moved(began)
        self.pair.restart(self.active)
        self.pass_time()
        self.assertEqual(self.standby.number, self.owner_of_all(), "comes back as standby")

    def test_frozen_daemon(self):
        began = time.monotonic_ns()
        self.pair.signal(self.active, signal.SIGSTOP)
        try:
            self.assert_moved(began)
            self.pass_time()
        finally:
            woke = time.monotonic_ns()
            self.pair.signal(self.active, signal.SIGCONT)
        self.pass_time()
        self.assertEqual(0, self.probes.monitor.announcements(woke, self.active.number), "announced on waking")
        self.active = self.standby
        self.assert_stayed(woke)

    def test_pulled_cable(self):
        self.assert_moved(self.lab.plug(self.active, up=False))
        plugged = self.lab.plug(self.active, up=True)
        self.pass_time()
        self.active = self.standby
        self.assert_stayed(plugged)

    def test_cut_off_from_everything(self):
        others = [name for name in self.lab.stations if name != self.active.name]
        self.assert_moved(self.lab.part(self.active.name, others))
        healed = self.lab.heal()
        self.pass_time()
        self.active = self.standby
        self.assert_stayed(healed)

    def test_planned_switchover(self):
        began = time.monotonic_ns()
        self.pair.switchover(self.active)
        self.assert_moved(began)
        self.assertLessEqual(self.probes.client.outage_ns(began) / 1e6, SEEN_LATE_MS)

    def test_planned_stop(self):
        began = time.monotonic_ns()
        self.pair.stop(self.active)
        self.assert_moved(began)
        # Or the next test may find it running, and then miss it.
        until("the daemon ends", lambda: self.pair.daemons[self.active.name].poll() is not None)


class TestNoRoleChange(PairTest):
    """Faults that the active node must stand."""

    paths = 2

    def test_one_path_lost(self):
        self.lab.plug(self.active, up=False, cables=[1])
        self.pass_time()
        self.assert_stayed()

    def test_half_of_the_heartbeats_lost(self):
        self.lab.lose("a", "b", 50)
        self.lab.lose("b", "a", 50)
        self.pass_time(3 * FAULT_SECONDS)
        self.assert_stayed()

    def test_parted_nodes_with_a_witness(self):
        self.lab.part("a", ["b"])
        self.pass_time()
        self.assert_stayed()

    def test_standby_cut_off(self):
        self.lab.part(self.standby.name, [self.active.name, "witness"])
        self.pass_time()
        self.assert_stayed()
        healed = self.lab.heal()
        self.pass_time()
        self.assert_stayed(healed)

    def test_deaf_standby(self):
        self.lab.block(self.active.name, self.standby.name)
        self.pass_time()
        self.assert_stayed()

    def test_mute_standby(self):
        self.lab.block(self.standby.name, self.active.name)
        self.pass_time()
        self.assert_stayed()

    def test_witness_lost_and_back(self):
        self.pair.signal(self.lab["witness"], signal.SIGKILL)
        self.pass_time()
        self.pair.restart(self.lab["witness"])
        self.pass_time()
        self.assert_stayed()

    def test_without_witness_and_link_nobody_serves(self):
        """The price of never two owners; and it ends with the fault."""
        self.pair.signal(self.lab["witness"], signal.SIGKILL)
        self.lab.part("a", ["b"])
        self.assert_nobody_serves()
        self.lab.heal()
        until("somebody serves again", self.owner_of_all)

    def test_restarted_standby(self):
        self.pair.restart(self.standby)
        self.pass_time()
        self.assert_stayed()

    def test_busy_processors(self):
        with busy_processors():
            self.pass_time()
        self.assert_stayed(gap_ms=None)

    def test_removed_address(self):
        self.active.space.ip(f"address delete {vip4()}/32 dev eth0")
        self.pass_time()
        # The kernel's own record shows it come back; the client sees next to nothing.
        self.assertEqual(1, self.probes.takeovers(self.since))
        self.assertLessEqual(self.probes.client.outage_ns(self.since) / 1e6, SEEN_LATE_MS)

    def test_hostile_packets(self):
        """Noise, truncated and repeated messages, from a third machine, at thousands a second."""
        heard = self.record(200)
        sender = self.lab["client"].space.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with contextlib.closing(sender):
            places = [(self.lab[name].address(), PORT) for name in ("a", "b", "witness")]
            end = time.monotonic() + FAULT_SECONDS
            while time.monotonic() < end:
                for message in heard:
                    for data in (message, message[:-1], message + b"\0", os.urandom(len(message)), b""):
                        for place in places:
                            sender.sendto(data, place)
        self.assert_stayed()

    def record(self, count):
        """Messages of the pair as the witness hears them."""
        link = self.lab["witness"].space.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        with contextlib.closing(link):
            link.bind(("eth0", 0x0800))
            link.settimeout(10)
            found = []
            while len(found) < count:
                frame = link.recv(2048)
                if frame[23] == socket.IPPROTO_UDP and frame[36:38] == PORT.to_bytes(2, "big"):
                    found.append(frame[42:])
            return found


class TestEightGroups(PairTest):
    """Eight groups, each with an IPv4 and an IPv6 address."""

    groups = 8

    def test_power_cut_moves_all(self):
        self.assert_moved(self.lab.power_cut(self.active))

    def test_one_switchover_moves_one(self):
        self.pair.switchover(self.active, 3)
        moved = {3, 3 + self.groups}
        until("group 3 moves", lambda: all(
            self.probes.client.owner(target) == self.standby.number for target in moved))
        for target in set(self.targets) - moved:
            self.assertEqual(self.active.number, self.probes.client.owner(target))
        self.pair.switchover(self.standby, 3)


class TestFence(PairTest):
    """An agent instead of a witness: it speaks as fence agents do, and the plug is a file."""

    @classmethod
    def make_agent(cls):
        cls.called, cls.off, cls.stuck = (cls.lab.home / name for name in ("called", "off", "stuck"))
        agent = cls.lab.home / "agent"
        agent.write_text(f"""#!/bin/sh
asked=$(cat); echo $asked >> {cls.called}
case $asked in
    *action=off) [ ! -e {cls.stuck} ] && touch {cls.off} ;;
    *action=status) [ -e {cls.off} ] && exit 2; exit 0 ;;
esac
""")
        agent.chmod(0o755)
        return lambda node: f"{agent} plug={node.name}"

    def test_fence_agent_must_confirm_before_anything_is_taken(self):
        self.stuck.touch()
        self.lab.power_cut(self.active)
        until("the agent was called", self.called.exists, 10)
        self.assertEqual(f"plug={self.active.name} action=off\n", self.called.read_text())
        until("the refusal was told", lambda: "not confirmed off" in self.story(), 10)
        self.assertNotEqual(self.standby.number, self.owner_of_all())
        self.stuck.unlink()
        # The agent is left alone for five seconds after a failure.
        until("the standby serves", lambda: self.owner_of_all() == self.standby.number, 15)
        self.assertTrue(self.off.exists())
        self.assertEqual(f"plug={self.active.name} action=status", self.called.read_text().splitlines()[-1])


if __name__ == "__main__":
    main((TestJudge, TestTakeover, TestNoRoleChange, TestEightGroups, TestFence))
