#!/usr/bin/env python3
"""A pair without a third machine: the gateway stands in for it (arbiter "wire"), on one LAN that works.

    test_wire.py [NAME ...]     as test_pair.py, whose pair and whose questions these are

The gateway is the station `witness`: all that it has to do is what any kernel does, answer ARP and neighbour
solicitations. What a LAN that is split in two leads to is not promised, and not tested.
"""
import signal
import time

from mastiffs import PORT, Mastiff
from pair import NODES
from runner import main
from test_pair import PairTest


class WireMastiff(Mastiff):
    """The witness's machine is the gateway."""

    def gateway(self):
        return self.lab["witness"].address()

    def config(self, station):
        text = super().config(station)
        witness = f'arbiter = "witness"\nwitness = "{self.lab["witness"].address()}:{PORT}"'
        if station.name in NODES:
            assert witness in text
        return text.replace(witness, f'arbiter = "wire"\ngateway = "{self.gateway()}"')


class SixMastiff(WireMastiff):
    """It is known by its IPv6 address."""

    def gateway(self):
        return f'fd77::{self.lab["witness"].number}'


class TestWire(PairTest):
    mastiff = WireMastiff

    def test_power_cut(self):
        self.assert_moved(self.lab.power_cut(self.active))

    def test_frozen_daemon(self):
        began = time.monotonic_ns()
        self.pair.signal(self.active, signal.SIGSTOP)
        try:
            self.assert_moved(began)
            self.pass_time()
        finally:
            self.pair.signal(self.active, signal.SIGCONT)
        self.pass_time()
        self.assertEqual(self.standby.number, self.owner_of_all())

    def test_owner_cut_off_from_everything(self):
        others = [name for name in self.lab.stations if name != self.active.name]
        self.assert_moved(self.lab.part(self.active.name, others))

    def test_standby_cut_off_from_everything(self):
        began = self.lab.part(self.standby.name, [name for name in self.lab.stations if name != self.standby.name])
        self.pass_time()
        self.assert_stayed(began)

    def test_gateway_lost(self):
        began = self.lab.plug(self.lab["witness"], up=False)
        try:
            self.pass_time()
            self.assert_stayed(began)
        finally:
            self.lab.plug(self.lab["witness"], up=True)

    def test_planned_switchover(self):
        began = time.monotonic_ns()
        self.pair.switchover(self.active)
        self.assert_moved(began)


class TestWireSix(PairTest):
    mastiff = SixMastiff

    def test_power_cut(self):
        self.assert_moved(self.lab.power_cut(self.active))


if __name__ == "__main__":
    main((TestWire, TestWireSix))
