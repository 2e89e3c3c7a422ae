#!/usr/bin/env python3
"""Watchdog devices that really reset a machine, in the emulated one of vm.py, which has an Intel i6300esb.

    test_watchdog.py [NAME ...]     all tests, or those whose names contain one of the words

Needs root, target/release (or $MASTIFF_BIN) and what vm.py needs. The last line of the output is `N passed, N failed`.
"""
import json
import signal
import sys
import unittest

from mastiffs import BINARIES
from nodes import until
from test_pair import main
from vm import Vm

DRIVER = "i6300esb"
TIMEOUT_SECONDS = 10
# The holder of the device, in a unit of its own. It never pets, and is killed: no magic close.
HOLDER = "exec 3> /dev/watchdog0; exec sleep 600"


class TestWatchdogDevice(unittest.TestCase):
    """One machine for all tests; each begins with its device stopped."""

    @classmethod
    def setUpClass(cls):
        cls.vm = cls.enterClassContext(Vm())
        cls.vm.copy(BINARIES / "mastiff", "/usr/bin/mastiff")

    def story(self):
        return self.vm.run("dmesg", check=False).stdout[-2000:]

    def status(self):
        """What `mastiff watchdog status` says of the only device, and its exit code."""
        done = self.vm.run("mastiff", "watchdog", "status", "--json", check=False)
        devices = json.loads(done.stdout)["devices"]
        return (devices[0] if devices else None), done.returncode

    def test_without_a_driver_there_is_none(self):
        self.vm.run("modprobe", "-r", DRIVER, check=False)
        self.assertEqual((None, 2), self.status())

    def test_it_is_shown_and_not_started_and_its_reset_is_told(self):
        self.vm.run("modprobe", DRIVER, f"heartbeat={TIMEOUT_SECONDS}")
        for _ in range(3):
            device, code = self.status()
            told = (device["name"], device["kind"], device["identity"], device["active"], device["held_by"], code)
            self.assertEqual(("watchdog0", "hardware", "i6300ESB timer", False, [], 1), told)
        self.assertEqual((TIMEOUT_SECONDS, False), (device["timeout_secs"], device["nowayout"]))
        self.vm.run("systemd-run", "--quiet", "--unit=holder", "sh", "-c", HOLDER)

        def held():
            device, code = self.status()
            return device if device["held_by"] and code == 0 else None
        device = until("it is armed, and somebody has it", held)
        self.assertTrue(device["active"])
        self.assertEqual(("sleep", "holder.service"),
                         (device["held_by"][0]["process"], device["held_by"][0]["unit"]))
        boot = self.vm.read("/proc/sys/kernel/random/boot_id")
        self.vm.wait_reset(lambda: self.vm.run("sleep", 10 * TIMEOUT_SECONDS, check=False))
        self.assertNotEqual(boot, self.vm.read("/proc/sys/kernel/random/boot_id"))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main([TestWatchdogDevice]))
