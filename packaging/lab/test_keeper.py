#!/usr/bin/env python3
"""What a node of a pair does when its own machine is hostile: restarts, interfaces that go, and commands of others.

    test_keeper.py [NAME ...]     as test_pair.py, whose pair and whose questions these are
"""
import contextlib
import json
import os
import signal
import socket
import struct
import sys
import time

from mastiffs import BINARIES, Mastiff
from pair import NODES, vip4
from nodes import until
from probes import ETH_P_ARP
from runner import main
from test_pair import FAULT_SECONDS, PairTest

# Becomes the daemon with the descriptor as systemd passes it (sd_listen_fds(3)).
HEIR = ("import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', "
        "LISTEN_FDNAMES='mastiff-pair'); os.execv(sys.argv[2], sys.argv[2:])")
# An address outlives its lease by 2 s and is rounded up: after this nobody keeps an address that is not renewed.
FORGOTTEN_SECONDS = 5
# For so long somebody else's rules are loaded anew once a second.
RELOAD_SECONDS = 8
# Processor time in a second of trouble.
BUSY_MS_MAX = 200


class Store:
    """systemd's side of a daemon's notify socket: keeps the descriptors that it is given (sd_notify(3))."""

    def __init__(self, station):
        self.path = str(station.home / "notify")
        self.link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.link.bind(self.path)
        self.link.setblocking(False)
        self.kept = None

    def memory(self):
        """The pair's memory, or None so far."""
        try:
            while True:
                text, fds, _, _ = socket.recv_fds(self.link, 4096, 4)
                if b"FDNAME=mastiff-pair" in text:
                    self.kept = fds[0]
        except BlockingIOError:
            return self.kept


def start_anew(pair, node, store, heir=None):
    """Start mastiffd on a node with a service manager; `heir`: with the memory of the one before."""
    words = [BINARIES / "mastiffd", "--config", node.home / "mastiff.toml"]
    options = {"env": {**os.environ, "NOTIFY_SOCKET": store.path}}
    if heir is not None:
        words = [sys.executable, "-c", HEIR, heir, *words]
        options["pass_fds"] = [heir]
    pair.daemons[node.name] = node.start(*words, log="mastiffd", **options)


def serve_from_store(test):
    """Put the active node under a service manager, and have it serve as before; returns its store and its memory."""
    store = Store(test.active)
    test.pair.daemons[test.active.name].send_signal(signal.SIGTERM)
    test.pair.daemons[test.active.name].wait()
    start_anew(test.pair, test.active, store)
    heir = until("the memory is in the store", store.memory)
    test.pair.started[test.active.name] = time.monotonic()
    test.pair.wait_ready(test.active)
    test.pair.switchover(test.standby)
    until("it serves", lambda: test.owner_of_all() == test.active.number)
    test.pair.wait_ready(test.standby)
    return store, heir


class TestRestart(PairTest):
    """A daemon that dies and goes on with what it left in systemd's store."""

    within = "1s"

    def test_killed_daemon_goes_on_within_its_lease(self):
        store, heir = serve_from_store(self)
        began = time.monotonic_ns()
        process = self.pair.daemons[self.active.name]
        process.kill()
        process.wait()
        start_anew(self.pair, self.active, store, heir)
        self.pass_time(FORGOTTEN_SECONDS)
        self.assert_stayed(began)


class GuardedMastiff(Mastiff):
    """Each node has the guard that it is told to have."""

    guards = dict.fromkeys(NODES, "nftables")

    def config(self, station):
        text = super().config(station)
        if station.name not in NODES:
            return text
        return text.replace("[pair]\n", f'[pair]\nguard = "{self.guards[station.name]}"\n')


class TestGuard(PairTest):
    """Another guard than before, on a node whose daemon had no time to remove the one that it had."""

    mastiff = GuardedMastiff

    def become(self, guard):
        process = self.pair.daemons[self.standby.name]
        process.kill()
        process.wait()
        self.pair.guards = {**self.pair.guards, self.standby.name: guard}
        self.pair.restart(self.standby)
        self.pair.wait_ready(self.standby)
        began = time.monotonic_ns()
        self.pair.switchover(self.active)
        self.assert_moved(began)

    def test_another_guard_leaves_nothing_of_the_one_before(self):
        self.become("bpf")
        self.active, self.standby = self.standby, self.active
        self.pair.wait_ready(self.standby)
        self.become("bpf")
        self.active, self.standby = self.standby, self.active
        self.pair.wait_ready(self.standby)
        self.become("nftables")
        self.active, self.standby = self.standby, self.active
        self.pair.wait_ready(self.standby)
        self.become("nftables-inet")

    def test_guard_goes_with_a_planned_end(self):
        self.pair.stop(self.standby)
        until("the daemon ends", lambda: self.pair.daemons[self.standby.name].poll() is not None)
        self.assertNotIn("mastiff", self.standby.space.run("nft", "list", "tables"))


class TestReload(PairTest):
    """Somebody else on the node that serves loads many rules, again and again.

    On a kernel without preemption nothing else runs on that processor meanwhile: about 14 us a rule here. So there is a
    number of rules for each speed, and clients miss the address for as long if what answers them waits for that
    processor, whatever the guard does."""

    mastiff, within, rules = GuardedMastiff, "1s", 20_000

    def test_reloaded_rules_make_no_lapse(self):
        file = self.lab.home / "rules"
        rules = "".join(f"ip saddr 10.{at >> 8}.{at & 255}.1 tcp dport {at} drop\n" for at in range(self.rules))
        # In no hook: what they cost each packet is not asked.
        file.write_text("table inet other\nflush table inet other\n"
                        f"table inet other {{\nchain many {{\n{rules}}}\n}}\n")
        began, times = time.monotonic(), []
        while (now := time.monotonic()) < began + RELOAD_SECONDS:
            self.active.space.run("nft", "-f", file)
            times.append(time.monotonic() - now)
            until("a second is over", lambda: time.monotonic() > now + 1)
        status = json.loads(self.pair.cli(self.active, "status", "--json"))
        lapses, late = dict(status["counters"])["guard-lapses"], status["lateness"]["keeper_worst_ms"]
        gap = self.probes.client.outage_ns(self.since) / 1e6
        print(f"[{len(times)} of up to {max(times):.1f} s; keeper {late:.0f} ms late, {lapses} lapses, "
              f"{gap:.0f} ms without]", end=" ", flush=True)
        self.assertEqual(0, lapses, "the guard ended before it was extended")
        self.assert_stayed(gap_ms=None)


class BpfMastiff(GuardedMastiff):
    guards = dict.fromkeys(NODES, "bpf")


class TestReloadBpf(TestReload):
    """A guard that needs no refresh: the lease is all that must be in time."""

    mastiff = BpfMastiff


class TestMachine(PairTest):
    """What others do on the node that serves."""

    def busy_ms(self, node, seconds):
        """Processor time that a daemon takes in some seconds of its own."""
        pid = self.pair.daemons[node.name].pid
        spent = lambda: sum(map(int, open(f"/proc/{pid}/stat").read().rsplit(")")[-1].split()[11:13]))
        before = spent()
        self.pass_time(seconds)
        return (spent() - before) * 1000 / os.sysconf("SC_CLK_TCK")

    def test_lost_interface_costs_no_processor(self):
        # Its name goes; the link stays, so that the lease does, too.
        self.rename(self.active, "eth0", "other")
        try:
            spent = self.busy_ms(self.active, FAULT_SECONDS)
        finally:
            self.rename(self.active, "other", "eth0")
        print(f"[{spent:.0f} ms of {FAULT_SECONDS} s]", end=" ", flush=True)
        self.assertLess(spent, BUSY_MS_MAX * FAULT_SECONDS)
        until("it serves again", lambda: self.owner_of_all() is not None)

    @staticmethod
    def rename(node, old, new):
        """With its own address of IPv6, which goes when a link is switched off."""
        node.space.ip(f"link set {old} down", f"link set {old} name {new}", f"link set {new} up",
                      f"address add fd77::{node.number}/64 dev {new} nodad")


class ForgivingMastiff(Mastiff):
    """A node that lost its interface is ready soon after it is back."""

    def config(self, station):
        text = super().config(station)
        return text.replace("[[group]]\n", '[[group]]\nrecover-after = "1s"\n')


class TestSecondCable(PairTest):
    """The nodes have another network between them, where nobody should find the address."""

    paths, mastiff = 2, ForgivingMastiff

    def question(self):
        """The standby's ARP request for the address on the second network, and what its answer has in it."""
        mac = bytes.fromhex(self.standby.mac(1).replace(":", ""))
        own, wanted = socket.inet_aton(self.standby.address(1)), socket.inet_aton(vip4())
        request = struct.pack("!HHHBBH", ETH_P_ARP, 1, 0x0800, 6, 4, 1) + mac + own + bytes(6) + wanted
        return b"\xff" * 6 + mac + request, b"\0\2" + bytes.fromhex(self.active.mac(1).replace(":", "")) + wanted

    def answers(self, link, question):
        """Ask; the moments of all answers that have come by now."""
        frame, wanted = question
        link.send(frame)
        moments = []
        with contextlib.suppress(BlockingIOError):
            while True:
                if wanted in link.recv(256):
                    moments.append(time.monotonic_ns())
        return moments

    def test_frozen_owner_is_silent_on_its_other_cable(self):
        link = self.standby.space.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP))
        with contextlib.closing(link):
            link.bind(("eth1", ETH_P_ARP))
            link.setblocking(False)
            question = self.question()
            until("Linux answers on all cables", lambda: self.answers(link, question))
            began = time.monotonic_ns()
            self.pair.signal(self.active, signal.SIGSTOP)
            try:
                until("the standby serves", lambda: self.owner_of_all() == self.standby.number)
                moved = time.monotonic_ns()
                late = []

                def forgotten():
                    late.extend(self.answers(link, question))
                    return time.monotonic_ns() - moved > FORGOTTEN_SECONDS * 1e9
                # What was said before is still in the socket.
                self.answers(link, question)
                until("the address would have gone by itself", forgotten, FORGOTTEN_SECONDS + 5)
            finally:
                self.pair.signal(self.active, signal.SIGCONT)
            self.assertEqual([], late, "answers of a node that has lost the address")
            self.assert_moved(began)

    def test_owner_without_its_interface_hands_over(self):
        began = self.lab.plug(self.active, up=False, cables=[0])
        # Borne with for 1.5 s, then moved like any group that failed.
        self.assert_moved(began, within_ms=2500)
        self.lab.plug(self.active, up=True)
        self.pair.wait_ready(self.active)

    def test_switch_that_fails_for_both_moves_nothing(self):
        for nodes in ((self.active, self.standby), (self.standby, self.active)):
            for node in nodes:
                began = self.lab.plug(node, up=False, cables=[0])
            self.pass_time()
            # Its ports do not come up at the same time.
            for node in nodes:
                self.lab.plug(node, up=True)
                self.pass_time(0.7)
            until("it serves again", lambda: self.owner_of_all() is not None)
            self.assertEqual(0, self.probes.takeovers(began), "role changes")

    def test_owner_restarted_without_its_interface_hands_over(self):
        store, heir = serve_from_store(self)
        process = self.pair.daemons[self.active.name]
        for node in (self.active, self.standby):
            self.lab.plug(node, up=False, cables=[0])
        process.kill()
        process.wait()
        start_anew(self.pair, self.active, store, heir)
        self.pass_time()
        self.lab.plug(self.standby, up=True)
        until("the standby serves", lambda: self.owner_of_all() == self.standby.number, 10)
        self.lab.plug(self.active, up=True)
        self.pair.wait_ready(self.active)


if __name__ == "__main__":
    main((TestRestart, TestGuard, TestReload, TestReloadBpf, TestMachine, TestSecondCable))
