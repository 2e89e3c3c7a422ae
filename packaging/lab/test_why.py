#!/usr/bin/env python3
"""Whether `mastiff why` knows how a machine went down, in the emulated one of vm.py, which really goes down.

    test_why.py [NAME ...]     all tests, or those whose names contain one of the words

Needs root, target/release (or $MASTIFF_BIN) and what vm.py needs. The last line of the output is `N passed, N failed`.
"""
import json
import unittest

from daemon import STATE, Daemon
from nodes import until
from runner import main
from vm import Vm

DRIVER = "i6300esb"
TIMEOUT_SECONDS = 10
# Nobody pets what it holds. Killed or not, there is no magic close.
HOLDER = "exec 3> /dev/watchdog0; exec sleep 600"


class TestWhy(unittest.TestCase):
    """One machine for all tests, with a journal that outlives a boot; each test looks at one end of it."""

    @classmethod
    def setUpClass(cls):
        cls.vm = cls.enterClassContext(Vm())
        cls.daemon = Daemon(cls.vm)
        cls.daemon.install()
        cls.vm.run("mkdir", "-p", "/var/log/journal")
        cls.vm.run("systemctl", "restart", "systemd-journald")
        cls.vm.run("systemctl", "enable", "mastiff")
        cls.vm.run("sync")  # a reset takes what is not on the disk yet: the unit would be empty

    def story(self):
        return self.vm.run("sh", "-c", f"mastiff why; sort {STATE}/flight | tail -n 20", check=False).stdout

    def end(self, *words):
        """Have the machine go down with a daemon that has noted a sign of life; what is said of it afterwards."""
        self.vm.run("systemctl", "start", "mastiff")
        boot = self.vm.read("/proc/sys/kernel/random/boot_id").strip()

        def alive():
            records = [json.loads(line) for line in self.vm.read(f"{STATE}/flight").splitlines() if line.strip()]
            return any(record["boot"] == boot and record["kind"] == "pulse" for record in records)
        until("a sign of life", alive, seconds=60)
        self.vm.wait_reset(lambda: self.vm.run(*words, check=False))
        self.assertNotEqual(boot, self.vm.read("/proc/sys/kernel/random/boot_id").strip())
        return self.why()

    def why(self):
        done = self.vm.run("mastiff", "why", "--json", check=False)
        verdict = json.loads(done.stdout)
        self.assertEqual(done.returncode, verdict["cause"] == "unknown")
        return verdict

    def judged(self, verdict):
        return verdict["cause"], verdict["confidence"]

    def test_an_orderly_reboot(self):
        verdict = self.end("sh", "-c", "systemctl reboot; sleep 60")
        self.assertEqual(("clean", "certain"), self.judged(verdict), verdict)
        # Our own record says it, the journal and wtmp only confirm.
        self.assertIn("goes down (reboot)", verdict["sentence"])
        self.assertTrue(any("wtmp: shut down" in line for line in verdict["evidence"]), verdict)

    def test_an_orderly_reboot_without_the_daemon(self):
        self.vm.run("systemctl", "disable", "mastiff")
        try:
            self.end("sh", "-c", "systemctl reboot; sleep 60")
            # The next boot has no record of its own, and is not taken for the one before it.
            self.vm.wait_reset(lambda: self.vm.run("sh", "-c", "systemctl reboot; sleep 60", check=False))
            verdict = self.why()
        finally:
            self.vm.run("systemctl", "enable", "mastiff")
        self.assertEqual(("clean", "certain"), self.judged(verdict), verdict)
        self.assertNotIn("goes down", verdict["sentence"])

    def test_a_reset_without_a_word(self):
        verdict = self.end("sh", "-c", "echo b > /proc/sysrq-trigger")
        self.assertEqual(("power", "guess"), self.judged(verdict), verdict)
        self.assertTrue(any("no shutdown before" in line for line in verdict["evidence"]), verdict)
        self.assertTrue(any("pstore" in line for line in verdict["next_time"]), verdict)
        self.assertFalse(any("journal" in line for line in verdict["next_time"]), verdict)

    def test_a_watchdog_that_says_that_it_fired(self):
        self.vm.run("modprobe", DRIVER, f"heartbeat={TIMEOUT_SECONDS}")
        self.vm.run("systemd-run", "--quiet", "--unit=holder", "sh", "-c", HOLDER)
        verdict = self.end("sleep", 10 * TIMEOUT_SECONDS)
        self.assertNotEqual("watchdog", verdict["cause"], "the driver is not there yet")
        self.vm.run("modprobe", DRIVER)
        verdict = self.why()
        self.assertEqual(("watchdog", "certain"), self.judged(verdict), verdict)

    def test_events_of_the_boot_before_end_with_how_it_ended(self):
        self.end("sh", "-c", "systemctl reboot; sleep 60")
        lines = self.vm.run("mastiff", "events", "--json", "--boot", "-1").stdout.splitlines()
        kinds = [json.loads(line)["kind"] for line in lines]
        self.assertEqual("boot-ended", kinds[-1])
        self.assertIn("daemon-stops", kinds)


if __name__ == "__main__":
    main([TestWhy])
