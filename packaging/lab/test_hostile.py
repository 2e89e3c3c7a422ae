#!/usr/bin/env python3
"""A third machine in the network of a pair that forges, repeats, cuts off and floods; the nodes must not care.

    test_hostile.py [--long] [NAME ...]     as test_pair.py, whose pair and whose questions these are

Asked is: no role changes, no two owners, hardly a heartbeat is lost, the log stays short, and the attacked daemon takes
little processor time. --long attacks ten times as fast, each kind for itself: the attacker, the switch and all that are
attacked share this machine's processors, so it needs a machine with nothing else to do.
"""
import contextlib
import json
import os
import random
import select
import socket
import sys
import time

from mastiffs import PORT
from nodes import until
from runner import main
from space import die_with_parent
from test_pair import PairTest

LONG = "--long" in sys.argv
ATTACK_SECONDS = 5 if LONG else 2
FLOOD = 100_000 if LONG else 10_000  # datagrams a second
# What comes more slowly, because the attacker is starved, is no attack.
FLOOD_MIN = FLOOD / 5
BURST = 50
# Log lines that attacks may cause, however many and long they are.
LINES_MAX = 5
# Of one processor.
BUSY_PERCENT_MAX = 60 if LONG else 25
# The daemon counts what was not answered in windows of so long.
WINDOW_SECONDS = 10
# One of 300: the attacker, the switch and both nodes share this machine's processors.
LOSS_PERCENT_MAX = 1
# linux/in.h: a source address that is somebody else's, with CAP_NET_ADMIN.
IP_TRANSPARENT = 19
ETH_P_IP = 0x0800


class Attack:
    """Datagrams from one socket to the one place that it is connected to, at a steady rate, in a process of its own."""

    def __init__(self, link, messages, per_second):
        self.report, tell = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            try:
                die_with_parent()
                os.write(tell, str(self.send(link, messages, per_second)).encode())
            finally:
                os._exit(0)
        os.close(tell)

    @staticmethod
    def send(link, messages, per_second):
        """For ATTACK_SECONDS; returns how many went out."""
        began, count = time.monotonic(), 0
        while (now := time.monotonic()) < began + ATTACK_SECONDS:
            if count > (now - began) * per_second:
                select.select([], [], [], BURST / per_second)
                continue
            for _ in range(BURST):
                with contextlib.suppress(OSError):  # the other end's "nobody listens there"
                    link.send(messages[count % len(messages)])
                count += 1
        return count

    def wait(self):
        """How many were sent a second."""
        count = int(os.read(self.report, 32) or b"0")
        os.close(self.report)
        os.waitpid(self.child, 0)
        return count / ATTACK_SECONDS


def forged(heard):
    """Everything right but the signature."""
    return [message[:-1] + bytes([message[-1] ^ 1]) for message in heard]


def replayed(heard):
    return heard


def cut_off_and_noise(heard):
    chance = random.Random(4)
    return [cut for message in heard for cut in (
        message[:-1], message[:chance.randrange(4, len(message))], message + b"\0", message * 9,
        message[:4] + chance.randbytes(len(message) - 4), b"")]


def one_bit(heard):
    """Each with one bit flipped, many times."""
    chance = random.Random(5)

    def flip(message):
        bits = bytearray(message)
        bits[chance.randrange(len(bits))] ^= 1 << chance.randrange(8)
        return bytes(bits)

    return [flip(message) for message in heard for _ in range(50)]


class Attacked(PairTest):
    """Both ends of a pair are attacked in turn, as owner and as standby."""

    def record(self, node, seconds=0.5):
        """What its peer says to a node."""
        link = node.space.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
        with contextlib.closing(link):
            link.bind(("eth0", ETH_P_IP))
            link.settimeout(0.1)
            peer, found, end = socket.inet_aton(self.lab.peer(node).address()), [], time.monotonic() + seconds
            while time.monotonic() < end:
                with contextlib.suppress(TimeoutError):
                    frame = link.recv(2048)
                    if frame[23] == socket.IPPROTO_UDP and frame[26:30] == peer and frame[36:38] == PORT.to_bytes(2):
                        found.append(frame[42:])
        self.assertTrue(found, "the peer says something")
        return found

    def door(self, node, source):
        """A socket to a node's heartbeat port, from that address; the node hears its peer's only."""
        link = self.lab["client"].space.socket(socket.AF_INET, socket.SOCK_DGRAM)
        link.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
        link.bind((source, PORT))
        link.connect((node.address(), PORT))
        return link

    def attack(self, node, messages, source=None):
        """Attack a node as its peer (or from `source`); returns the heartbeats lost so far, in percent."""
        daemon = self.pair.daemons[node.name]
        spent = busy_seconds(daemon)
        with contextlib.closing(self.door(node, source or self.lab.peer(node).address())) as link:
            rate = Attack(link, messages, FLOOD).wait()
        percent = (busy_seconds(daemon) - spent) / ATTACK_SECONDS * 100
        print(f"[{node.name}: {rate:,.0f}/s, {percent:.1f} %]", end=" ", flush=True)
        self.assertGreaterEqual(rate, FLOOD_MIN, "datagrams a second")
        self.assertLessEqual(percent, BUSY_PERCENT_MAX, "% of a processor")
        return self.loss()

    def attack_and_ask(self, *attacks):
        """Attack several times, each time as `attack` is told, and ask the questions of all of it."""
        until("no heartbeat is lost without an attack", lambda: self.loss() <= LOSS_PERCENT_MAX, 3 * WINDOW_SECONDS)
        lines = {name: self.lines(name) for name in ("a", "b", "witness")}
        since = time.monotonic_ns()
        # Each attack is shorter than a window, so that none is missed.
        losses = [self.attack(*attack) for attack in attacks]
        self.assert_stayed(since, gap_ms=None)
        self.pass_time(WINDOW_SECONDS)
        losses.append(self.loss())
        print(f"[{max(losses)} % lost]", end=" ", flush=True)
        for name, before in lines.items():
            self.assertLessEqual(self.lines(name) - before, LINES_MAX, f"log lines of {name}")
        self.assertLessEqual(max(losses), LOSS_PERCENT_MAX, "% of the heartbeats lost")
        self.assert_stayed(since, gap_ms=None)

    def lines(self, name):
        """How many lines the log of a daemon has."""
        return self.lab[name].log("mastiffd").count("\n")

    def loss(self):
        """Of the questions of the owner, in percent, in the last whole window of WINDOW_SECONDS."""
        status = json.loads(self.pair.cli(self.active, "status", "--json"))
        return max(path["loss_percent"] or 0 for path in status["pair"]["paths"])

    def both(self, kind, source=None):
        """The same on the owner and on the standby; `kind` makes it of what the peer says."""
        return [(node, kind(self.record(node)), source) for node in (self.active, self.standby)]


class TestHostileNetwork(Attacked):
    """One kind after the other, at a rate that the machine stands beside other work."""

    def test_every_kind(self):
        self.attack_and_ask(
            *self.both(forged), *self.both(forged, self.lab["client"].address()), *self.both(replayed),
            *self.both(cut_off_and_noise), *self.both(one_bit))

    def test_replayed_from_a_former_life(self):
        """What the standby said before it was restarted, while it keeps silent; so no loss is asked for."""
        heard = self.record(self.active)
        self.pair.restart(self.standby)
        before = self.lines("witness")
        self.attack(self.active, heard)
        self.assertLessEqual(self.lines("witness") - before, LINES_MAX, "log lines of the witness")
        self.assert_stayed(gap_ms=None)


class TestFlood(Attacked):
    """Each kind for itself, as fast as it goes."""

    def test_forged(self):
        for attack in self.both(forged):
            self.attack_and_ask(attack)

    def test_forged_by_a_stranger(self):
        for attack in self.both(forged, self.lab["client"].address()):
            self.attack_and_ask(attack)

    def test_replayed(self):
        for attack in self.both(replayed):
            self.attack_and_ask(attack)

    def test_replayed_from_a_former_life(self):
        """What the standby said before it was restarted."""
        heard = self.record(self.active)
        self.pair.restart(self.standby)
        self.pair.wait_ready(self.standby)
        self.attack_and_ask((self.active, heard))

    def test_cut_off_and_noise(self):
        for attack in self.both(cut_off_and_noise):
            self.attack_and_ask(attack)

    def test_one_bit(self):
        for attack in self.both(one_bit):
            self.attack_and_ask(attack)


def busy_seconds(process):
    """Processor time of a process and its threads so far."""
    with open(f"/proc/{process.pid}/stat") as stat:
        return sum(map(int, stat.read().rsplit(")")[-1].split()[11:13])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main((TestFlood,) if LONG else (TestHostileNetwork,))
