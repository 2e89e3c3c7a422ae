#!/usr/bin/env python3
"""Units that must not run twice, on two machines that only their watchdogs can end (machines.py).

    test_data.py [--long] [NAME ...]     all tests, or those whose names contain one of the words

Each scenario ends with the question whether the unit ever ran on both, by the clock of the host, and prints its
timeline: seconds from the fault, and `mastiff why` on the machine that was reset. Needs root, target/release (or
$MASTIFF_BIN) and what vm.py needs, and /dev/net/tun. The last line of the output is `N passed, N failed`.
"""
import json
import re
import sys
import time
import unittest

from machines import DATA, GROUP, NODES, STOP_SECONDS, TIMEOUT_SECONDS, UNIT, WITHIN_SECONDS, Machines
from nodes import LabError, until
from runner import main

LONG = "--long" in sys.argv
# What the emulated processors add to a promise, and the start of the unit.
LATE_SECONDS = 5
PERMIT_SECONDS = 1
BOOT_SECONDS = 120
# How long something is watched that must not happen.
WATCHED_SECONDS = 5
OPEN_GATE = f"mkdir -p /run/mastiff/groups; : > /run/mastiff/groups/{GROUP}.active"
DAEMON = "mastiff.service"


def setUpModule():
    global lab
    began = time.monotonic()
    lab = unittest.enterModuleContext(Machines())
    print(f"two machines are up and installed after {time.monotonic() - began:.1f} s")


class TestLedger(unittest.TestCase):
    """The ledger itself, before anybody is judged by it; no daemon runs yet."""

    def story(self):
        return ""

    def test_it_sees_two_at_once(self):
        for name in NODES:
            refused = lab[name].run("systemctl", "start", UNIT, check=False)
            self.assertNotEqual(0, refused.returncode, "only the generator prevents it, and does")
            lab[name].run("sh", "-ec", f"{OPEN_GATE}; systemctl start {UNIT}")
        until("both run", lambda: all(map(lab.ledger.runs_at, NODES)))
        with self.assertRaisesRegex(LabError, "ran twice"):
            lab.ledger.check()
        for name in NODES:
            lab[name].run("sh", "-ec", f"rm -r /run/mastiff; systemctl stop {UNIT}")
        until("both have ended", lambda: not lab.ledger.current)
        lab.ledger.found.clear()


class DataTest(unittest.TestCase):
    """A pair with an owner that runs the unit. Which machine that is changes from test to test."""

    @classmethod
    def setUpClass(cls):
        if not lab.began:
            lab.begin()

    def setUp(self):
        self.owner, self.other = lab.wait_whole()
        self.wait_time = self.told_wait()
        self.began = time.time()

    def tearDown(self):
        lab.ledger.check()

    def story(self):
        show = ("journalctl", "-n", "70", "--no-pager", "-o", "short-monotonic")
        return "\n".join(f"--- {name}\n" + "".join(lab[name].run(*words, check=False).stdout[-5000:] for words in (
            show, ("mastiff", "status"), ("mastiff", "events"), ("mastiff", "why"))) for name in NODES)

    def told_wait(self):
        """How long the other node waits, as `mastiff config explain` of the owner has it."""
        text = lab[self.owner].daemon.cli("config", "explain").stdout
        waits = text[text.index("waits before it takes them"):]
        return float(re.search(r"([\d.]+) s +at most", waits)[1])

    def tell(self, *marks):
        """Print the timeline: (moment, what happened), and what the other node says of its role."""
        roles = [(event["at_unix_ms"] / 1000, f"{self.other}: {event['text']}")
                 for event in lab[self.other].daemon.events("role")]
        marks = [*marks, *[role for role in roles if role[0] >= self.began]]
        print()
        for at, what in sorted(marks):
            print(f"  {at - self.began:6.1f} s  {what}")
        sys.stdout.flush()

    def reset(self, seconds):
        """The owner is reset within so many seconds of the begin, by its watchdog; returns when."""
        monitor = lab[self.owner].monitor
        # The event RESET comes once everything is reset, which takes a second or two.
        lab[self.owner].wait_event("RESET", self.began + seconds - time.time(), self.began)
        fired = monitor.wait("WATCHDOG", self.began, 0)
        self.assertTrue(fired, "by its watchdog")
        return fired[0]

    def taken(self, seconds):
        """The other node runs the unit within so many seconds of the begin; returns since when."""
        def took():
            runs = lab.ledger.runs(self.began, self.other)
            return runs[0].began if runs else None

        return until("the other node runs the unit", took, self.began + seconds - time.time())

    def booted(self):
        """The owner boots again; returns when it is up."""
        lab[self.owner].wait_boot()
        lab.booted()
        return time.time()

    def why(self):
        """What `mastiff why` says on the machine that was reset; printed."""
        until("mastiff why knows", lambda: lab[self.owner].run("mastiff", "why", check=False).stdout, 30)
        told = json.loads(lab[self.owner].run("mastiff", "why", "--json", check=False).stdout)
        print(f"  {told['cause']} ({told['confidence']}): {told['sentence']}", flush=True)
        return told

    def stayed(self, run):
        """The owner's unit has run on, and nobody else's began."""
        self.assertTrue(lab.ledger.runs_at(self.owner))
        self.assertEqual([], lab.ledger.runs(self.began))
        self.assertIs(run, lab.ledger.current[self.owner])

    def watch(self, seconds=WATCHED_SECONDS):
        end = time.monotonic() + seconds
        until("time passes", lambda: time.monotonic() > end, seconds + 5)


class TestReset(DataTest):
    """What does not stop is ended by the reset, and only then it moves."""

    def test_a_unit_that_cannot_be_stopped(self):
        owner = lab[self.owner]
        owner.run("fsfreeze", "-f", DATA)
        until("the unit hangs", lambda: "D" in owner.run(
            "sh", "-c", f"ps -o stat= --ppid $(systemctl show --value -p MainPID {UNIT})").stdout)
        self.began = time.time()
        owner.run("systemd-run", "--quiet", "mastiff", "switchover", GROUP)
        # It may take its time to stop with the lease, and once more without it, before it pets no more.
        reset = self.reset(STOP_SECONDS + self.wait_time + WITHIN_SECONDS + LATE_SECONDS)
        last = lab.ledger.last(self.owner)
        taken = self.taken(WITHIN_SECONDS + self.wait_time + LATE_SECONDS + BOOT_SECONDS)
        up = self.booted()
        self.tell((self.began, f"switchover is ordered on {self.owner}, whose unit hangs in the kernel"),
                  (last, f"{self.owner} is heard for the last time: its unit still runs"),
                  (reset, f"{self.owner} is reset by its watchdog"), (taken, f"{self.other} runs the unit"),
                  (up, f"{self.owner} has booted"))
        self.assertLess(reset - last, LATE_SECONDS, "it ran until the reset")
        self.assertGreater(taken, reset)
        told = self.why()
        self.assertEqual("watchdog", told["cause"])
        self.assertRegex(told["sentence"], f"held without a lease.*; {GROUP} with {UNIT}")


class TestGate(DataTest):
    """Nobody starts the unit where the group is not."""

    def test_neither_a_hand_nor_a_boot(self):
        run, other = lab.ledger.current[self.owner], lab[self.other]
        refused = other.run("systemctl", "start", UNIT, check=False)
        self.assertNotEqual(0, refused.returncode)
        print(f"\n  {refused.stderr.strip()}")
        self.assertRegex(refused.stderr, "[Aa]ssertion failed")
        # Not even where the daemon never runs.
        other.daemon.systemctl("disable", "--quiet", "mastiff")
        other.run("sync")
        reset = other.wait_reset(lambda: other.tell("systemctl", "reboot"), BOOT_SECONDS)
        until("it has booted", lambda: "running" in other.run("systemctl", "is-system-running", check=False).stdout
              or other.daemon.systemctl("is-active", "multi-user.target", check=False).returncode == 0, BOOT_SECONDS)
        self.watch()
        self.assertEqual("enabled", other.daemon.systemctl("is-enabled", UNIT).stdout.strip())
        self.assertEqual(("inactive", "no"), tuple(other.daemon.show(UNIT, it) for it in ("ActiveState", "AssertResult")))
        self.assertIn("ssertion failed", other.run("journalctl", "-b", "-u", UNIT, "--no-pager").stdout)
        print(f"  {self.other} rebooted after {reset.seconds:.1f} s, and did not start it")
        other.daemon.systemctl("enable", "--quiet", "--now", "mastiff")
        lab.booted()
        lab.wait_whole()
        self.stayed(run)


class TestLong(DataTest):
    """What takes minutes."""

    def test_a_stopped_daemon(self):
        """Nobody keeps anything, and the unit runs on until the reset. The machine is held in it, so that it cannot say
        that nothing is left."""
        lab[self.owner].daemon.kill(DAEMON, "STOP")
        reset = self.reset(TIMEOUT_SECONDS + PERMIT_SECONDS + LATE_SECONDS)
        lab[self.owner].hold()
        last = lab.ledger.last(self.owner)
        self.judge_wait("mastiffd is stopped (SIGSTOP)", last, (reset, f"{self.owner} is reset by its watchdog"))
        self.assertGreater(lab.ledger.runs(self.began, self.other)[0].began, reset)
        self.assertEqual("watchdog", self.why()["cause"])

    def test_a_power_cut(self):
        lab[self.owner].cut()
        last = lab.ledger.last(self.owner)
        self.judge_wait("its power is cut", last)
        self.why()

    def test_a_power_cut_and_a_boot_at_once(self):
        """It waits no longer than until the machine itself says that it runs nothing."""
        lab[self.owner].cut()
        last = lab.ledger.last(self.owner)
        lab[self.owner].power_on()
        taken = self.taken(WITHIN_SECONDS + self.wait_time + LATE_SECONDS)
        up = self.booted()
        self.tell((last, f"{self.owner} is heard for the last time, its power is cut and back"),
                  (taken, f"{self.other} runs the unit"), (up, f"{self.owner} has booted"))

    def judge_wait(self, fault, last, *marks):
        """The owner is dark: the other node waits, and takes."""
        taken = self.taken(WITHIN_SECONDS + self.wait_time + LATE_SECONDS)
        lab[self.owner].power_on()
        up = self.booted()
        self.tell((self.began, f"{self.owner}: {fault}"), (last, f"{self.owner} is heard for the last time"), *marks,
                  (taken, f"{self.other} runs the unit"), (up, f"{self.owner} has booted"))
        waited = taken - self.began
        print(f"  told: {WITHIN_SECONDS} s and {self.wait_time:.1f} s; it took {waited:.1f} s")
        self.assertGreater(waited, self.wait_time)

    def test_switchover(self):
        lab[self.owner].daemon.cli("switchover", GROUP)
        taken = self.taken(WITHIN_SECONDS)
        last = lab.ledger.last(self.owner)
        self.tell((self.began, f"switchover is ordered on {self.owner}"), (last, f"the unit last ran on {self.owner}"),
                  (taken, f"{self.other} runs the unit"))
        print(f"  {taken - last:.2f} s without it")

    def restart(self, how, cause):
        run, daemon = lab.ledger.current[self.owner], lab[self.owner].daemon
        before, unit = daemon.pid(), daemon.pid(UNIT)
        epoch = lab[self.owner].group()["epoch"]
        began = time.time()
        cause(daemon)
        daemon.wait_new_process(DAEMON, before)
        until("it has the group", lambda: lab[self.owner].group().get("role") == "active")
        back = time.time() - began
        self.watch()
        now = lab[self.owner].group()["epoch"]
        print(f"\n  {how}: active again within {back:.1f} s, epoch {epoch}, then {now}")
        self.stayed(run)
        self.assertEqual((unit, epoch), (daemon.pid(UNIT), now))

    def test_restart(self):
        self.restart("systemctl restart", lambda daemon: daemon.systemctl("restart", "mastiff"))

    def test_kill(self):
        self.restart("kill -9", lambda daemon: daemon.kill(DAEMON, "KILL"))


CASES = (TestLedger, TestReset, TestGate, *([TestLong] if LONG else ()))

if __name__ == "__main__":
    main(CASES)
