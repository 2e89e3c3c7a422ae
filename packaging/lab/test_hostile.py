#!/usr/bin/env python3
"""A third machine in the network of a pair that forges, repeats, cuts off and floods; the nodes must not care.

    test_hostile.py [NAME ...]     as test_pair.py, whose pair and whose questions these are

Each attack lasts 5 s. Asked is: no role changes, nobody misses the address, no heartbeat is missed by either node, the
log stays short, and how much processor time the attacked daemon took.
"""
import contextlib
import json
import os
import random
import select
import signal
import socket
import sys
import time

from mastiffs import PORT
from nodes import until
from space import die_with_parent
from test_pair import PairTest, main

ATTACK_SECONDS = 5
FLOOD = 100_000  # datagrams a second
BURST = 50
# Log lines that an attack may cause, however long it lasts.
LINES_MAX = 5
# Of one processor.
BUSY_PERCENT_MAX = 60
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


class TestHostileNetwork(PairTest):
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

    def attack(self, node, messages, per_second=FLOOD, source=None):
        """Attack a node as its peer (or from `source`), and ask the questions."""
        until("no heartbeat is lost without an attack", lambda: self.loss() <= LOSS_PERCENT_MAX, 3 * WINDOW_SECONDS)
        daemon = self.pair.daemons[node.name]
        lines = {name: self.lab[name].log("mastiffd").count("\n") for name in ("a", "b", "witness")}
        spent, since = busy_seconds(daemon), time.monotonic_ns()
        with contextlib.closing(self.door(node, source or self.lab.peer(node).address())) as link:
            rate = Attack(link, messages, per_second).wait()
        percent = (busy_seconds(daemon) - spent) / ATTACK_SECONDS * 100
        self.assert_stayed(since, gap_ms=None)
        loss, end = self.loss(), time.monotonic() + WINDOW_SECONDS
        until("what was lost is known", lambda: time.monotonic() > end, 2 * WINDOW_SECONDS)
        loss = max(loss, self.loss())
        print(f"[{node.name}: {rate:,.0f}/s, {percent:.1f} % of a processor, {loss} % lost]", end=" ", flush=True)
        for name, before in lines.items():
            self.assertLessEqual(self.lab[name].log("mastiffd").count("\n") - before, LINES_MAX, f"log lines of {name}")
        self.assertLessEqual(loss, LOSS_PERCENT_MAX, "% of the heartbeats lost")
        self.assertLessEqual(percent, BUSY_PERCENT_MAX, "% of a processor")
        self.assert_stayed(since, gap_ms=None)

    def loss(self):
        """Of the questions of the owner, in percent, in the last whole window of WINDOW_SECONDS."""
        status = json.loads(self.pair.cli(self.active, "status", "--json"))
        return max(path["loss_percent"] or 0 for path in status["pair"]["paths"])

    def both(self, messages, **how):
        """The same on the owner and on the standby; `messages` makes them of what the peer says."""
        for node in (self.active, self.standby):
            self.attack(node, messages(self.record(node)), **how)

    def test_forged(self):
        """Everything right but the signature."""
        self.both(lambda heard: [message[:-1] + bytes([message[-1] ^ 1]) for message in heard])

    def test_forged_by_a_stranger(self):
        self.both(lambda heard: [message[:-1] + bytes([message[-1] ^ 1]) for message in heard],
                  source=self.lab["client"].address())

    def test_replayed(self):
        self.both(lambda heard: heard)

    def test_replayed_from_a_former_life(self):
        """What the standby said before it was restarted."""
        heard = self.record(self.active)
        self.pair.restart(self.standby)
        self.pair.wait_ready(self.standby)
        self.attack(self.active, heard)

    def test_cut_off_and_noise(self):
        chance = random.Random(4)
        self.both(lambda heard: [cut for message in heard for cut in (
            message[:-1], message[:chance.randrange(4, len(message))], message + b"\0", message * 9,
            message[:4] + chance.randbytes(len(message) - 4), b"")])

    def test_one_bit(self):
        chance = random.Random(5)

        def flip(message):
            bits = bytearray(message)
            bits[chance.randrange(len(bits))] ^= 1 << chance.randrange(8)
            return bytes(bits)

        self.both(lambda heard: [flip(message) for message in heard for _ in range(50)])


def busy_seconds(process):
    """Processor time of a process and its threads so far."""
    with open(f"/proc/{process.pid}/stat") as stat:
        return sum(map(int, stat.read().rsplit(")")[-1].split()[11:13])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main((TestHostileNetwork,)))
