#!/usr/bin/env python3
"""What a pair promises that moves a database and a web server: the real ones, on whole systemd nodes.

    test_groups.py [--long] [NAME ...]     all tests, or those whose names contain one of the words

Every scenario ends with the same questions: did PostgreSQL ever run twice, and is every acknowledged row there? Needs
root, target/release (or $MASTIFF_BIN) and what nodes.py needs. --long adds scenarios, and repeats what is repeated more
often. The last line of the output is `N passed, N failed`, before it a table of what clients saw.
"""
import os
import signal
import sys
import time
import unittest

from clients import now
from groups import NODES, UNITS, GroupLab
from nodes import LabError, until
from runner import main

LONG = "--long" in sys.argv
RESTARTS, UPGRADES, RELOADS = (100, 20, 1000) if LONG else (5, 2, 20)
# How long something is watched that must not happen: several leases.
WATCHED_SECONDS = 4
# takeover-within, and what a busy machine adds to what a client sees.
WEB_MS = 1000 + 500
# What a client of the group's address may wait longer than one of the node's own: they ask at different moments.
MORE_MS = 50

# The same fault elsewhere. Published: the sum of the defaults of Debian 12. corosync.conf(5) 3.1.7: token 3 s and
# consensus 3.6 s until the other node is taken for dead; then sbd(8) 1.5.2 and its /etc/default/sbd: twice the 5 s of
# SBD_WATCHDOG_TIMEOUT, as msgwait on a disk or as stonith-watchdog-timeout without one. Then PostgreSQL starts.
PACEMAKER = "16.6 s + start"
# Measured beside mastiffd (../bench/takeover.py), with its default of 1 s between adverts: the longest of 12 until the
# address answers again. It moves no units, and fences nobody.
KEEPALIVED = {"power cut": "3.6 s", "freeze": "two owners", "partition": "two owners", "switchover": "0.6 s"}

table = []


def setUpModule():
    global lab
    began = time.monotonic()
    lab = unittest.enterModuleContext(GroupLab())
    print(f"three nodes are up after {time.monotonic() - began:.1f} s, cgroup layout {lab.layout}")


def tearDownModule():
    head = ("client without an answer, ms", "PostgreSQL", "nginx", "Pacemaker + SBD", "keepalived 1 s")
    print("\n{:<32}{:>12}{:>8}  {:<16}  {}".format(*head))
    for fault, db, web, *others in table:
        print(f"{fault:<32}{db:>12.0f}{web:>8.0f}  {others[0]:<16}  {others[1]}")


class Judge(unittest.TestCase):
    """The ledger itself, before anybody is judged by it: PostgreSQL is started by hand, and nothing prevents it."""

    def story(self):
        return ""

    def test_two_at_once_are_seen(self):
        for name in NODES:
            lab[name].run("systemctl", "start", UNITS["db"])
        until("both run", lambda: len([run for run in lab.runs() if not run.ended]) == 2)
        with self.assertRaisesRegex(LabError, "ran twice"):
            lab.check_ledger()
        for name in NODES:
            lab[name].run("systemctl", "stop", UNITS["db"], check=False)
        until("both have ended", lambda: all(run.ended for run in lab.runs()))
        lab.format()

    def test_one_after_the_other_is_fine(self):
        for name in NODES:
            lab[name].run("systemctl", "start", UNITS["db"])
            lab[name].run("systemctl", "stop", UNITS["db"])
        self.assertEqual(list(NODES), [run.node for run in lab.runs()])
        lab.check_ledger()
        lab.format()


class GroupTest(unittest.TestCase):
    """A pair that serves both groups, `owner` both of them. Which node that is changes from test to test."""

    @classmethod
    def setUpClass(cls):
        if not lab.clients:
            lab.begin()

    def setUp(self):
        self.owner, self.other = lab.wait_whole()
        self.since = now()

    def story(self):
        told = "\n".join(lab.timeline(self.since)) if hasattr(self, "since") else ""
        said = []
        for name in filter(lab.power.is_on, NODES):
            show = ("journalctl", "-u", "mastiff", "-n", "60", "--no-pager", "-o", "short-monotonic")
            said += [lab[name].run(*show, check=False).stdout, lab.cli(name, "status", check=False).stdout]
        return "\n".join([told, *said])

    def judge(self, fault, begin, compare=True, fenced=False):
        """The end of every scenario: what clients saw is told, and what must hold is looked up."""
        outages = {group: lab.notes[group].outage(begin)[0] / 1e6 for group in UNITS}
        print(f"\n{fault}: " + ", ".join(f"{group} {ms:.0f} ms" for group, ms in outages.items())
              + f"; the client itself was late by {lab.notes['web'].late(begin) / 1e6:.0f} ms at most")
        print("\n".join(lab.timeline(begin)), flush=True)
        table.append((fault, outages["db"], outages["web"], PACEMAKER if compare else "-", KEEPALIVED.get(fault, "-")))
        lab.check_ledger()
        print(f"  {lab.check_rows()} rows, none lost")
        self.assertEqual(fenced, any(off >= begin for off in lab.power.off_at[self.owner]), "the owner was cut off")
        if fenced:
            self.assertGreater(lab.runs(begin / 1e9)[-1].began, lab.power.off_at[self.owner][-1] / 1e9, "and before")
        return outages

    def pass_time(self, seconds=WATCHED_SECONDS):
        end = time.monotonic() + seconds
        until("time passes", lambda: time.monotonic() > end, seconds + 5)

    def wait_moved(self, *groups, seconds=30):
        for group in groups or UNITS:
            lab.wait_active(self.other, group, seconds)

    def assert_stayed(self, lost=0):
        """No role changed, and nothing was lost but `lost` requests of each client."""
        for daemon in map(lab.daemons.get, NODES):
            changes = [event["text"] for event in daemon.events("role") if event["at_unix_ms"] > self.wall_ms()]
            self.assertEqual([], changes)
        self.assertEqual([self.owner] * 2, [lab.owner(group) for group in UNITS])
        for group in UNITS:
            self.assertLessEqual(len(lab.notes[group].lost(self.since)), lost, f"lost requests of {group}")

    def wall_ms(self):
        return (time.time_ns() - now() + self.since) / 1e6


class Faults(GroupTest):
    """Faults of the active node."""

    def test_switchover(self):
        began = now()
        for group in UNITS:
            lab.cli(self.owner, "switchover", group)
        self.wait_moved()
        self.judge("switchover", began, compare=False)

    def test_power_cut(self):
        began = lab.power.cut(self.owner)
        self.wait_moved()
        outages = self.judge("power cut", began, fenced=True)
        self.assertLess(outages["web"], WEB_MS)

    def test_freeze_until_it_is_cut_off(self):
        began = now()
        lab[self.owner].freeze()
        self.wait_moved()
        outages = self.judge("freeze", began, fenced=True)
        self.assertLess(outages["web"], WEB_MS)

    def test_freeze_and_thaw_with_a_fence_agent_that_fails(self):
        """The web server moves; the database does not before the frozen node has stopped it."""
        lab.power.stuck = True
        began = now()
        lab[self.owner].freeze()
        self.wait_moved("web")
        self.pass_time()
        self.assertEqual("taking", lab.role(self.other, "db"))
        lab[self.owner].thaw()
        self.wait_moved("db")
        self.judge("freeze, no fencing, thaw", began)

    def test_partition(self):
        """The active node hears nobody any more, and clients see both."""
        began = now()
        lab.part(self.owner, self.other, "w")
        self.wait_moved()
        outages = self.judge("partition", began, fenced=True)
        self.assertLess(outages["web"], WEB_MS)

    def test_parted_nodes_with_a_witness(self):
        lab.part("a", "b")
        self.pass_time()
        self.assert_stayed()

    def test_crash_loop(self):
        """PostgreSQL is killed each second: it is restarted, and then it moves."""
        began = due = now()

        def killed_and_moved():
            nonlocal due
            if lab.role(self.other, "db") == "active":
                return True
            if now() > due:
                due += 1_000_000_000
                lab[self.owner].run("systemctl", "kill", "--kill-whom=main", "-s", "KILL", UNITS["db"], check=False)
            return False

        until("db moves", killed_and_moved, 60)
        lab.wait_served("db")
        self.judge("crash loop", began, compare=False)
        self.assertEqual([], lab.notes["web"].lost(self.since), "nobody hurt the web server")

    def test_unit_that_refuses_to_stop(self):
        """It is killed when its time is over, and only then it moves."""
        began = now()
        lab[self.owner].run("systemctl", "kill", "--kill-whom=main", "-s", "STOP", UNITS["db"])
        lab.cli(self.owner, "switchover", "db", check=False)
        self.wait_moved("db", seconds=60)
        self.judge("unit does not stop", began, compare=False)

    def test_unit_that_cannot_be_stopped(self):
        """PID 1 hangs, so that nobody can say that the unit has stopped: when its time is over, the node is cut off."""
        began, init = now(), lab[self.owner].pid
        os.kill(init, signal.SIGSTOP)
        try:
            lab.cli(self.owner, "switchover", "db", check=False)
            until("the owner has given up its lease", lambda: lab.role(self.other, "db") == "taking")
            self.wait_moved("db")
        finally:
            if lab.power.is_on(self.owner):
                os.kill(init, signal.SIGCONT)
        self.judge("PID 1 hangs", began, fenced=True, compare=False)


class ColdStart(GroupTest):
    """Everything begins anew."""

    def dark(self):
        for name in (*NODES, "w"):
            lab.power.cut(name)
        return now()

    def test_both_at_once(self):
        began = self.dark()
        lab.power.boot(*lab.nodes)
        until("both groups have an owner", lambda: all(lab.owner(group) for group in UNITS), 60)
        for group in UNITS:
            lab.wait_served(group)
        self.judge("cold start of both", began, compare=False)

    def test_one_alone(self):
        """The web server is back; the database waits for an operator, since the other node might run it."""
        began = self.dark()
        lab.power.boot("a", "w")
        lab.wait_active("a", "web", 60)
        self.pass_time()
        self.assertEqual("taking", lab.role("a", "db"))
        lab.cli("a", "failover", "db", "--peer-is-off", "--yes")
        lab.wait_active("a", "db")
        self.judge("one alone after a cold start", began, compare=False)


class Care(GroupTest):
    """What administrators do to the daemon of the active node, with clients that notice."""

    def repeat(self, what, count, do):
        # The same server by the node's own address, which nobody guards or moves: how busy the machine is, both feel.
        own = lab.add_client("own", "http", lab[self.owner].address())
        self.addCleanup(own.kill)
        lab.wait_served("own")
        began, pids = now(), []
        for _ in range(count):
            do()
            until("both groups are active", lambda: all(lab.owner(group) == self.owner for group in UNITS))
            pids.append(lab.daemons[self.owner].pid())
        lost = {group: len(lab.notes[group].lost(self.since)) for group in UNITS}
        gaps = {name: notes.outage(began)[0] / 1e6 for name, notes in lab.notes.items()}
        print(f"\n{count} x {what} within {(now() - began) / 1e9:.0f} s: lost {lost}, longest gaps in ms "
              + ", ".join(f"{name} {ms:.0f}" for name, ms in gaps.items())
              + f"; the clients themselves {lab.notes['web'].late(began) / 1e6:.0f}")
        table.append((f"{count} x {what}", gaps["db"], gaps["web"], "-", "-"))
        self.assert_stayed()
        self.assertLess(gaps["web"], gaps["own"] + MORE_MS)
        lab.check_ledger()
        return pids

    def test_restart(self):
        pids = self.repeat("restart", RESTARTS, lambda: lab.daemons[self.owner].systemctl("restart", "mastiff"))
        self.assertEqual(RESTARTS, len(set(pids)))

    def test_upgrade(self):
        """As a package does it: the file is replaced while it runs, then its unit is restarted."""
        node, daemon = lab[self.owner], lab.daemons[self.owner]

        def upgrade():
            node.run("sh", "-ec", "cd /usr/sbin; cp mastiffd mastiffd.dpkg-new; echo >> mastiffd.dpkg-new;"
                     "mv mastiffd.dpkg-new mastiffd")
            daemon.systemctl("daemon-reload")
            daemon.systemctl("restart", "mastiff")

        self.assertEqual(UPGRADES, len(set(self.repeat("upgrade", UPGRADES, upgrade))))

    def test_reload(self):
        pids = self.repeat("reload", RELOADS, lambda: lab.cli(self.owner, "reload"))
        self.assertEqual(1, len(set(pids)))


if __name__ == "__main__":
    main((Judge, Faults, ColdStart, Care))
