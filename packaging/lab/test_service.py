#!/usr/bin/env python3
"""What a user is promised about services, on a node with a real PID 1 and the real binaries.

    test_service.py [--long] [NAME ...]     all tests, or those whose names contain one of the words

Needs root, target/release (or $MASTIFF_BIN) and what nodes.py needs. --long adds what takes minutes and what needs a
VM. The last line of the output is `N passed, N failed`.
"""
import os
import signal
import sys
import time
import unittest

from daemon import CONFIG, Daemon
from nodes import Lab, until
from runner import main
from vm import Vm

LONG = "--long" in sys.argv
VICTIM, OTHER = "victim.service", "other.service"
SLEEP = "/usr/bin/sleep infinity"
WATCHED = f'[[service]]\nunit = "{VICTIM}"\non-fail = ["restart"]\n'


class NodeTest(unittest.TestCase):
    """One node for all tests of a class; each test starts the daemon afresh."""

    @classmethod
    def setUpClass(cls):
        cls.make_node()
        cls.daemon = Daemon(cls.node)
        cls.daemon.install()

    @classmethod
    def make_node(cls):
        lab = cls.enterClassContext(Lab("a"))
        cls.layout, cls.node = lab.layout, lab["a"]

    def story(self):
        """What a person would look at first after a failure."""
        journal = self.node.run("journalctl", "-n", "60", "--no-pager", "-o", "short-monotonic").stdout
        return journal + self.daemon.cli("status", check=False).stdout

    def need_memory_controller(self):
        if self.layout == "unified" and "memory" not in self.node.read("/sys/fs/cgroup/cgroup.controllers"):
            self.fail("this host gives the node no memory controller")

    def assert_repaired(self, check, old, because=""):
        """The ladder restarted the service, said so and why, and told both the failure and the recovery."""
        daemon = self.daemon
        daemon.wait_new_process(VICTIM, old)
        daemon.wait_event("rung-ends", check)
        told = [event["text"] for event in daemon.events("verdict", check) if "is failed" in event["text"]]
        self.assertIn(because, told[0])
        self.assertIn("restart", daemon.wait_event("rung-starts", check)[0]["text"])
        daemon.wait_verdict(check, "healthy", 60)
        until("an alert of the recovery", lambda: len(daemon.alerts(check)) >= 2)
        self.assertEqual([("healthy", "failed"), ("failed", "healthy")], daemon.alerts(check), "one for each change")


class Repair(NodeTest):
    """A service in trouble is restarted by the ladder."""

    def test_killed(self):
        self.daemon.service(VICTIM, SLEEP)
        self.daemon.start(WATCHED)
        old = self.daemon.pid(VICTIM)
        self.daemon.kill(VICTIM, "KILL")
        self.assert_repaired(VICTIM, old)

    def test_hung(self):
        self.daemon.service(VICTIM, "/usr/local/bin/beating")
        self.daemon.start(f'[[check]]\nname = "beats"\nsensor = "heartbeat"\ntarget = "{VICTIM}"\n'
                          f'fail-when = "age > 3s"\non-fail = ["restart {VICTIM}"]\n')
        self.daemon.wait_verdict("beats", "healthy")
        old = self.daemon.pid(VICTIM)
        self.daemon.kill(VICTIM, "STOP")
        self.assert_repaired("beats", old)

    def test_killed_for_its_memory(self):
        """MemoryMax= is enforced by the kernel. Only on pure cgroup v2 does systemd call the result oom-kill."""
        self.need_memory_controller()
        self.daemon.service(VICTIM, "/usr/local/bin/greedy 80", "MemoryMax=40M", "MemorySwapMax=0")
        self.daemon.start(f'[[service]]\nunit = "{VICTIM}"\non-fail = ["restart"]\n'
                          'fail-when = ["result = oom-kill", "state = failed"]\n')
        old = self.daemon.pid(VICTIM)
        self.node.write("/run/be-greedy", "")
        self.assert_repaired(VICTIM, old, "oom-kill" if self.layout == "unified" else "state = failed")

    def test_over_its_memory_limit(self):
        self.need_memory_controller()
        self.daemon.service(VICTIM, "/usr/local/bin/greedy 80")
        self.daemon.start(f'[[service]]\nunit = "{VICTIM}"\nfail-when = ["memory > 50MiB"]\non-fail = ["restart"]\n')
        self.daemon.wait_verdict(VICTIM, "healthy")
        old = self.daemon.pid(VICTIM)
        self.node.write("/run/be-greedy", "")
        self.assert_repaired(VICTIM, old, "memory > 50MiB")

    def test_start_limit_of_the_unit(self):
        """A service killed more often than systemd would start it again is restarted all the same, and at once."""
        self.daemon.service(VICTIM, SLEEP)
        self.daemon.start(f'[budgets]\nrestart = "20 in 1h"\n[[service]]\nunit = "{VICTIM}"\n'
                          'recover-after = "100ms"\non-fail = ["restart"]\n')
        for _ in range(8):
            old = self.daemon.pid(VICTIM)
            self.daemon.kill(VICTIM, "KILL")
            self.daemon.wait_new_process(VICTIM, old, 5)
            self.daemon.wait_verdict(VICTIM, "healthy")

    def test_never_given_up(self):
        """A service that always fails: each round waits longer, and there is always a next one."""
        tries = "/root/tries"
        self.node.run("rm", "-f", tries)
        self.daemon.service(VICTIM, f"/bin/sh -c 'cat /proc/uptime >> {tries}; exit 1'")
        self.daemon.start(WATCHED + '[budgets]\nrestart = "100 in 10m"\n')
        rounds = 6 if LONG else 3
        waits = self.daemon.wait_event("ladder-waits", VICTIM, rounds, seconds=600 if LONG else 120)
        ladder = self.daemon.checks()[VICTIM]["ladder"]
        self.assertGreater(ladder["due_in_secs"], 0, "the next attempt has a time")
        self.assertIn("back-off", ladder["now"])
        at = [wait["at_unix_ms"] / 1000 for wait in waits]
        gaps = [later - earlier for earlier, later in zip(at, at[1:])]
        self.assertEqual(sorted(gaps), gaps, "each wait is longer than the one before")
        self.assertLess(max(gaps), 330, "and none is endless")
        self.assertGreaterEqual(len(self.node.read(tries).splitlines()), rounds)
        self.assertEqual(1, len(self.daemon.alerts(VICTIM)), "one alert, not one for each attempt")
        self.node.write("/etc/systemd/system/" + VICTIM, f"[Service]\nExecStart={SLEEP}\n")
        self.daemon.systemctl("daemon-reload")
        self.daemon.wait_verdict(VICTIM, "healthy", 400 if LONG else 90)

    def test_spent_budget_ends_by_itself(self):
        """With its budget spent the ladder waits, says until when, and goes on then."""
        self.daemon.service(VICTIM, "/bin/false")
        self.daemon.start(WATCHED + '[budgets]\nrestart = "1 in 40s"\n')
        self.daemon.wait_event("rung-starts", VICTIM, 2, seconds=120)
        at = [event["at_unix_ms"] for event in self.daemon.events("rung-starts", VICTIM)]
        self.assertGreaterEqual(at[1] - at[0], 39_500)


class RepairOnVm(NodeTest):
    """The same where the kernel and systemd agree on who was killed for its memory, which a hybrid host's node lacks."""

    @classmethod
    def make_node(cls):
        cls.node = cls.enterClassContext(Vm())
        cls.layout = cls.node.layout

    test_killed_for_its_memory = Repair.test_killed_for_its_memory


class Obstacles(NodeTest):
    """What the daemon depends on hangs or is wrong."""

    def hang_systemctl(self, pattern):
        """From now on systemctl never ends when its arguments match the shell pattern."""
        self.node.run("mv", "/usr/bin/systemctl", "/usr/bin/systemctl.real")
        self.addCleanup(self.node.run, "mv", "-f", "/usr/bin/systemctl.real", "/usr/bin/systemctl")
        self.node.write("/usr/bin/systemctl", f"""#!/bin/sh
case "$*" in {pattern}) exec sleep infinity;; esac
exec /usr/bin/systemctl.real "$@"
""", 0o755)

    def test_systemctl_hangs_in_one_rung(self):
        """It costs that rung: other services are repaired meanwhile, and then the next rung follows."""
        marker = "/var/lib/mastiff/test-next-rung"
        self.daemon.service(VICTIM, SLEEP)
        self.daemon.service(OTHER, SLEEP)
        self.daemon.start(f'[[service]]\nunit = "{VICTIM}"\non-fail = ["restart", "run /usr/bin/touch {marker}"]\n\n'
                          f'[[service]]\nunit = "{OTHER}"\non-fail = ["restart"]\n')
        self.hang_systemctl(f"restart*{VICTIM}")
        self.daemon.kill(VICTIM, "KILL")
        self.daemon.wait_event("rung-starts", VICTIM)
        old = self.daemon.pid(OTHER)
        self.daemon.kill(OTHER, "KILL")
        self.daemon.wait_new_process(OTHER, old, 15)
        began = time.monotonic()
        self.daemon.checks()
        self.assertLess(time.monotonic() - began, 1, "status answers while a rung hangs")
        if LONG:  # the rung has a deadline of 90 s
            until("the next rung", lambda: self.node.run("test", "-e", marker, check=False).returncode == 0, 150, 1)

    def assert_unknown_then_repaired(self, pid, heal):
        """Nothing is known of the unit, which is not failed: no rung. Once it is known, the ladder repairs it."""
        self.daemon.wait_verdict(VICTIM, "unknown", 60)
        self.assertEqual([], self.daemon.events("rung-starts"), "unknown climbs no ladder")
        heal()
        self.daemon.wait_new_process(VICTIM, pid, 60)

    def test_systemctl_hangs_always(self):
        self.daemon.service(VICTIM, SLEEP)
        self.daemon.start(WATCHED)
        pid = self.daemon.pid(VICTIM)
        self.hang_systemctl("show*|list-units*")
        self.node.run("kill", "-KILL", str(pid))
        self.assert_unknown_then_repaired(pid, self.doCleanups)

    def test_frozen_init(self):
        """PID 1 stops for a while: the daemon lives, answers, and goes on when it is back."""
        self.daemon.service(VICTIM, SLEEP)
        self.daemon.start(WATCHED)
        old = self.daemon.pid()
        pid = self.daemon.pid(VICTIM)
        os.kill(self.node.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, self.node.pid, signal.SIGCONT)
        self.node.run("kill", "-KILL", str(pid))
        self.assert_unknown_then_repaired(pid, self.doCleanups)
        self.assertEqual(old, self.daemon.pid(), "the daemon was not restarted")

    def test_bad_configuration_at_reload(self):
        """The old configuration is kept, the fault is told with its line, and the same daemon runs on."""
        self.daemon.service(VICTIM, SLEEP)
        self.daemon.start(WATCHED)
        old = self.daemon.pid()
        self.daemon.configure(WATCHED + 'on-fial = ["restart"]\n')
        line = self.node.read(CONFIG).splitlines().index('on-fial = ["restart"]') + 1
        self.daemon.kill("mastiff.service", "HUP")
        refused = self.daemon.wait_event("config-refused", None)[-1]
        self.assertIn("on-fial", refused["text"])
        checked = self.daemon.cli("--config", CONFIG, "config", "check", check=False)
        self.assertEqual(78, checked.returncode)
        self.assertIn(f":{line}:", checked.stdout + checked.stderr)
        self.assertEqual(old, self.daemon.pid())
        victim = self.daemon.pid(VICTIM)
        self.daemon.kill(VICTIM, "KILL")
        self.daemon.wait_new_process(VICTIM, victim)

    def test_bad_configuration_at_start(self):
        self.daemon.start(WATCHED)
        self.daemon.configure("[[service]\n")
        self.daemon.systemctl("restart", "mastiff", check=False)
        self.assertEqual("78", self.daemon.show("mastiff.service", "ExecMainStatus"))


class Life(NodeTest):
    """The daemon as a service itself."""

    def test_ready_after_the_first_round(self):
        """`systemctl start` returns only when every check has been made once."""
        self.node.write("/usr/local/bin/slow", "#!/bin/sh\nsleep 2\necho fine\n", 0o755)
        self.daemon.service(VICTIM, SLEEP)
        began = time.monotonic()
        self.daemon.start(WATCHED + '[[check]]\nname = "slow"\nsensor = "command"\ntarget = "/usr/local/bin/slow"\n')
        self.assertGreater(time.monotonic() - began, 2)
        self.assertEqual("healthy", self.daemon.verdict("slow"))
        self.assertEqual("healthy", self.daemon.verdict(VICTIM))
        self.assertNotEqual("", self.daemon.show("mastiff.service", "StatusText"))

    def test_restart_forgets_nothing(self):
        """Events and a pause survive; while paused nothing is repaired, afterwards it is."""
        self.daemon.service(VICTIM, SLEEP)
        self.daemon.start(WATCHED)
        self.daemon.cli("pause", VICTIM, "--for", "10m", "--why", "test")
        before = self.daemon.events()
        self.daemon.systemctl("restart", "mastiff")
        self.assertEqual([e["seq"] for e in before], [e["seq"] for e in self.daemon.events()][:len(before)])
        self.assertIsNotNone(self.daemon.checks()[VICTIM]["paused"])
        old = self.daemon.pid(VICTIM)
        self.daemon.kill(VICTIM, "KILL")
        self.daemon.wait_verdict(VICTIM, "failed")
        self.assertEqual([], self.daemon.events("rung-starts"))
        self.daemon.cli("resume", VICTIM)
        self.daemon.wait_new_process(VICTIM, old)

    def test_kill_of_the_daemon(self):
        """systemd starts it again, and what happened meanwhile is repaired."""
        self.daemon.service(VICTIM, SLEEP)
        self.daemon.start(WATCHED)
        old, victim = self.daemon.pid(), self.daemon.pid(VICTIM)
        self.daemon.kill("mastiff.service", "KILL")
        self.daemon.kill(VICTIM, "KILL")
        self.daemon.wait_new_process("mastiff.service", old)
        self.daemon.wait_new_process(VICTIM, victim)

    def test_frozen_daemon(self):
        """It stops answering the watchdog of its unit, and systemd restarts it."""
        self.daemon.start(WATCHED)
        limit = self.node.run("systemctl", "show", "--value", "-p", "WatchdogUSec", "mastiff").stdout.strip()
        self.assertNotIn(limit, ("0", "infinity"), "the unit has WatchdogSec=")
        old = self.daemon.pid()
        self.daemon.kill("mastiff.service", "STOP")
        self.daemon.wait_new_process("mastiff.service", old, 120)
        self.assertGreaterEqual(int(self.daemon.show("mastiff.service", "NRestarts")), 1)


if __name__ == "__main__":
    main((Repair, Obstacles, Life, *([RepairOnVm] if LONG else [])))
