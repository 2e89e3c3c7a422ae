#!/usr/bin/env python3
"""What becomes of TCP connections when their address moves: who is told of it, and how soon.

    test_connections.py [NAME ...]     as test_pair.py, whose pair and whose questions these are
"""
import contextlib
import signal
import socket
import sys
import time

from mastiffs import Mastiff
from nodes import until
from pair import vip4, vip6
from runner import main
from test_pair import FAULT_SECONDS, PairTest


class KeepsSecond(Mastiff):
    """The connections of the second group are left alone."""

    def config(self, station):
        return super().config(station).replace('name = "g1"\n', 'name = "g1"\nconnections = "keep"\n')


class TestConnections(PairTest):
    """Who is told that a TCP connection did not move with its address, and how soon."""

    groups, mastiff = 2, KeepsSecond
    port = 7000
    told_within = 1
    # Answers what it is sent, and else says nothing. It listens before and after, on all addresses.
    server = f"""
import socket, threading
def serve(link):
    with link:
        while data := link.recv(100):
            link.sendall(data)
listener = socket.create_server(("::", {port}), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
"""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.servers = {}

    def setUp(self):
        super().setUp()
        self.links = self.enterContext(contextlib.ExitStack())
        for node in (self.active, self.standby):
            if self.servers.get(node.name) not in node.processes:
                self.servers[node.name] = node.start(sys.executable, "-c", self.server)
            until("it listens", lambda: f":{self.port}" in node.space.run("ss", "-Htln"))

    def connect(self, station, target):
        """A connection that works, of a program that then waits for data."""
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        link = self.links.enter_context(station.space.socket(family, socket.SOCK_STREAM))
        link.settimeout(5)
        link.connect((target, self.port))
        link.sendall(b"?")
        self.assertEqual(b"?", link.recv(1))
        return link

    def assert_told(self, link, since, of=ConnectionResetError, within=told_within):
        link.settimeout(10)
        with self.assertRaises(of):
            link.recv(1)
        took = (time.monotonic_ns() - since) / 1e9
        print(f"told after {took * 1e3:.1f} ms", end=" ", flush=True)
        self.assertLessEqual(took, within)

    def assert_not_told(self, link, seconds=FAULT_SECONDS):
        link.settimeout(seconds)
        with self.assertRaises(TimeoutError):
            link.recv(1)

    def assert_told_when_it_writes(self, link):
        began = time.monotonic_ns()
        link.sendall(b"?")
        self.assert_told(link, began)

    def served_by(self, node, target):
        """Connections with an address that servers there have."""
        return node.space.run("ss", "-Htn", "state", "established", "src", target).splitlines()

    def test_switchover_tells_clients_that_wait(self):
        told = [self.connect(self.lab["client"], target) for target in (vip4(), vip6())]
        kept = self.connect(self.lab["client"], vip4(1))
        began = time.monotonic_ns()
        for group in range(self.groups):
            self.pair.switchover(self.active, group)
        for link in told:
            self.assert_told(link, began)
        self.assertEqual([], self.served_by(self.active, vip4()))
        self.assert_not_told(kept)
        self.assert_told_when_it_writes(kept)
        self.assertEqual(1, len(self.served_by(self.active, vip4(1))), "its server never learns")

    def test_planned_stop_tells_clients_that_wait(self):
        link = self.connect(self.lab["client"], vip4())
        began = time.monotonic_ns()
        self.pair.stop(self.active)
        self.assert_told(link, began)
        until("the daemon ends", lambda: self.pair.daemons[self.active.name].poll() is not None)

    def test_power_cut_tells_programs_of_the_new_owner_and_who_writes(self):
        own = self.connect(self.standby, vip4())
        other = self.connect(self.lab["client"], vip4())
        began = self.lab.power_cut(self.active)
        self.assert_told(own, began, ConnectionAbortedError)
        self.assert_not_told(other)
        self.assert_told_when_it_writes(other)

    def test_servers_of_an_owner_that_was_cut_off_learn_of_it(self):
        link = self.connect(self.lab["client"], vip4())
        others = [name for name in self.lab.stations if name != self.active.name]
        self.assert_moved(self.lab.part(self.active.name, others))
        self.assertEqual(1, len(self.served_by(self.active, vip4())), "nobody is known to have it")
        self.lab.heal()
        until("its server learns", lambda: not self.served_by(self.active, vip4()))
        self.assert_told_when_it_writes(link)

    def test_a_lease_that_comes_back_breaks_nothing(self):
        link = self.connect(self.lab["client"], vip4())
        self.lab.part(self.standby.name, [self.active.name, "witness"])
        self.pair.signal(self.lab["witness"], signal.SIGSTOP)
        try:
            self.assert_nobody_serves()
        finally:
            self.pair.signal(self.lab["witness"], signal.SIGCONT)
        until("it serves again", lambda: self.owner_of_all() == self.active.number)
        link.settimeout(10)
        link.sendall(b"?")
        self.assertEqual(b"?", link.recv(1))


if __name__ == "__main__":
    main((TestConnections,))
