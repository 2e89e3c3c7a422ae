#!/usr/bin/env python3
"""What a failed check does to a pair: when it hands the group over, and when not.

    test_checks.py [NAME ...]   all tests, or those whose names contain one of the words

A fault is a file that is there. Needs what test_pair.py needs. The last line of the output is `N passed, N failed`.
"""
import json
import time

from mastiffs import Mastiff
from nodes import until
from pair import NODES
from runner import main
from test_pair import SEEN_LATE_MS, PairTest

INTERVAL_MS = 1000
# A check of the node waits for the other one to find the same: its interval, and 2 s (brain/moving.rs).
SHARED_MS = INTERVAL_MS + 2000
# How long a node must have been better (HARDWARE_SETTLES, core/src/pair/fitness.rs).
SETTLES_MS = 65_000
CHECK = """[[check]]
name = "{name}"
sensor = "file"
target = "{home}/{name}"
interval = "1s"
fail-when = "exists"
fail-after = "0s"
recover-after = "0s"
on-fail = {rungs}
"""


class CheckedMastiff(Mastiff):
    """One check of the group and one of the node, both of which hand over; a third one does not."""

    def config(self, station):
        text = super().config(station).replace("[[group]]\n", '[[group]]\nrecover-after = "2s"\n')
        if station.name in NODES:
            for name, rungs, more in (("service", '"switchover"', 'group = "g0"\n'), ("node", '"switchover"', ""),
                                      ("repaired", f'["run /bin/rm {station.home}/repaired", "switchover"]', ""),
                                      ("other", "[]", ""), ("part", "[]", "prefer-peer = true\n")):
                text += CHECK.format(name=name, home=station.home, rungs=rungs) + more
        return text

    def verdicts(self, station):
        """Each check of a node with what it says."""
        return {check["name"]: check["verdict"] for check in json.loads(self.cli(station, "status", "--json"))["checks"]}


class CheckTest(PairTest):
    mastiff = CheckedMastiff

    def tearDown(self):
        for node in NODES:
            for name in ("service", "node", "repaired", "other", "part"):
                (self.lab[node].home / name).unlink(missing_ok=True)
        super().tearDown()

    def fail(self, name, *nodes):
        """Make a check of these nodes fail from now on; returns when."""
        began = time.monotonic_ns()
        for node in nodes:
            (node.home / name).touch()
        return began

    def assert_handed_over(self, began, within_ms):
        """The standby serves within this time, and clients went without for next to nothing of it."""
        self.assert_moved(began, within_ms)
        took = (self.probes.client.first_answer(self.standby.number, began) - began) / 1e6
        gap = self.probes.client.outage_ns(began) / 1e6
        print(f"{took:.0f} ms after the fault, {gap:.1f} ms without an answer ... ", end="", flush=True)
        self.assertLessEqual(gap, SEEN_LATE_MS)


class TestHandOver(CheckTest):
    """Few enough that the limit of automatic moves is not met."""

    def test_failed_check_of_the_group_hands_it_over(self):
        self.assertEqual(("healthy", "rests"), tuple(
            self.pair.verdicts(node)["service"] for node in (self.active, self.standby)))
        self.assert_handed_over(self.fail("service", self.active), INTERVAL_MS + 500)
        # It is about the service, which is not here any more.
        until("the check rests", lambda: self.pair.verdicts(self.active)["service"] == "rests")
        until("it is judged where the group is", lambda: self.pair.verdicts(self.standby)["service"] == "healthy")

    def test_failed_check_of_the_node_hands_over_once_the_other_node_is_known_to_be_well(self):
        began = self.fail("node", self.active)
        self.assert_handed_over(began, INTERVAL_MS + SHARED_MS + 1000)
        self.assertGreaterEqual(self.probes.client.first_answer(self.standby.number, began) - began, SHARED_MS * 10**6)
        until("the group's other node is not ready", lambda: all(
            group["not_ready"] for group in self.pair.groups_at(self.active)))


class TestFailing(CheckTest):
    """Hardware that fails (prefer-peer): the group goes where it is better, and nowhere else."""

    def test_the_group_moves(self):
        began = self.fail("part", self.active)
        # The other node may have been failing a moment ago, in another test.
        self.assert_handed_over(began, INTERVAL_MS + SHARED_MS + SETTLES_MS + 1000)
        self.assertGreaterEqual(self.probes.client.first_answer(self.standby.number, began) - began, SHARED_MS * 10**6)
        events = [json.loads(line) for line in self.pair.cli(self.active, "events", "--json").splitlines()]
        role = [event["text"] for event in events
                if event["kind"] == "role" and "-> yielding" in event["text"]]
        self.assertTrue(role and role[-1].endswith("bad health (part)"), role)
        until("it is ready all the same", lambda: self.pair.groups_at(self.active)[0]["not_ready"] is None)
        self.assertEqual(["part"], self.pair.groups_at(self.active)[0]["failing"])
        self.assertIn("(part)", self.pair.cli(self.active, "status"))
        until("the other node knows", lambda: self.pair.groups_at(self.standby)[0]["peer_failing"])

    def test_failing_hardware_of_both(self):
        self.fail("part", self.active, self.standby)
        self.pass_time(2 * SHARED_MS / 1000 + 3)
        self.assertEqual("failed", self.pair.verdicts(self.active)["part"])
        self.assert_stayed()

    def test_a_node_with_failing_hardware_takes_over_from_a_dead_one(self):
        self.fail("part", self.standby)
        until("it is known", lambda: self.pair.groups_at(self.active)[0]["peer_failing"])
        self.assert_moved(self.lab.power_cut(self.active))


class TestStay(CheckTest):
    """Faults for which nothing moves."""

    def test_fault_of_both_nodes(self):
        self.fail("node", self.active, self.standby)
        self.pass_time(2 * SHARED_MS / 1000 + 3)
        self.assertEqual("failed", self.pair.verdicts(self.active)["node"])
        self.assert_stayed()

    def test_fault_of_the_standby(self):
        self.fail("node", self.standby)
        until("it is not ready", lambda: all(group["not_ready"] for group in self.pair.groups_at(self.standby)))
        self.pass_time()
        self.assert_stayed()

    def test_fault_that_the_rung_before_repairs(self):
        self.fail("repaired", self.active)
        until("it is repaired", lambda: not (self.active.home / "repaired").exists())
        self.pass_time(SHARED_MS / 1000 + 2)
        self.assert_stayed()

    def test_check_without_the_rung(self):
        self.fail("other", self.active)
        until("it is failed", lambda: self.pair.verdicts(self.active)["other"] == "failed")
        self.pass_time()
        self.assert_stayed()


class TestToAndFro(CheckTest):
    """A service that runs on neither node."""

    def test_a_group_moves_three_times_and_then_stays(self):
        self.fail("service", self.active, self.standby)
        until("it moves three times", lambda: self.probes.takeovers(self.since) == 3, 60)
        moved = time.monotonic_ns()
        self.pass_time(10)
        self.assertEqual(0, self.probes.takeovers(moved))
        self.assertTrue(self.owner_of_all(), "somebody serves")


if __name__ == "__main__":
    main((TestHandOver, TestFailing, TestStay, TestToAndFro))
