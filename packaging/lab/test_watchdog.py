#!/usr/bin/env python3
"""Watchdog devices that really reset a machine, in the emulated one of vm.py, with the installed daemon.

    test_watchdog.py [--long] [NAME ...]     all tests, or those whose names contain one of the words

Needs root, target/release (or $MASTIFF_BIN) and what vm.py needs. --long adds what takes minutes. Each test prints its
timeline: seconds from the fault to the reset, the next boot and the armed daemon, and what `mastiff why` says then.
The last line of the output is `N passed, N failed`.
"""
import contextlib
import json
import sys
import time
import unittest

import faults
from daemon import CONFIG, Daemon
from nodes import LabError, until
from runner import main
from vm import ANSWERING, HUNG, Vm

LONG = "--long" in sys.argv
DRIVER = "i6300esb"
TIMEOUT_SECONDS = 6
# One second is promised. The order for the fault travels for up to another one, and the machine's clock and the device's
# are emulated on processors that others use as well; the timeline that is printed says how long it really took.
LATE_SECONDS = 3
# What the keeper has allowed before it hangs (PERMIT_LASTS, supervisor/core/src/watchdog.rs).
PERMIT_SECONDS = 1
ROOT_DEAD_SECONDS = 45
WARNED_SECONDS = 3
SHUTDOWN_SECONDS = 30
# The emulator is slow at unpacking a kernel, and the next one starts with a clock that is not measured.
KEXEC_BOOT_SECONDS, KEXEC_SECONDS = 300, 120
# With this command line a kernel comes up and nothing else does.
HANGS = "console=ttyS0 rdinit=/bin/busybox -- sleep 3600"
LOAD_SECONDS = 300 if LONG else 40
FREEZE_SECONDS = 10
# Between two writes that are to show that the root file system answers.
PROBE_SECONDS = 5
# Until a machine of 768 MiB has none left, and has killed whom it may.
MEMORY_SECONDS = 90
LOOP_RESETS = 3
UNIT = "mastiff.service"
TROUBLE = "/run/trouble"
WATCHDOG = f'[watchdog]\ndevice = "auto"\ntimeout = "{TIMEOUT_SECONDS}s"\n'
ROOT_WATCH = f'root-dead-after = "{ROOT_DEAD_SECONDS}s"\nshutdown-timeout = "{SHUTDOWN_SECONDS}s"\n'
RUNG = f"""[[check]]
name = "trouble"
sensor = "file"
target = "{TROUBLE}"
interval = "1s"
fail-when = "exists"
on-fail = ["reset"]
"""
# Something for the prober to do.
ROOT_CHECK = '[[check]]\nname = "root"\nsensor = "filesystem"\ntarget = "/"\ninterval = "1s"\n'


def setUpModule():
    """One machine for all tests, since a boot takes a while."""
    WatchdogTest.vm = unittest.enterModuleContext(Vm())
    WatchdogTest.daemon = installed(WatchdogTest.vm, DRIVER)


def installed(vm, *modules):
    """The daemon, on a machine that has these modules at each boot, and keeps its journal."""
    vm.load_at_boot(*modules)
    vm.run("mkdir", "-p", "/var/log/journal")
    vm.run("systemctl", "restart", "systemd-journald")
    daemon = Daemon(vm)
    daemon.install()
    daemon.systemctl("enable", "--quiet", "mastiff")
    # As a package manager does it; the machine is not to go down in order.
    vm.run("sync")
    return daemon


class WatchdogTest(unittest.TestCase):
    """What the tests look at, and what they state."""

    def story(self):
        """What a person would look at first after a failure; of a machine that is on its way down nothing."""
        def look(*words):
            try:
                return self.vm.run(*words, check=False).stdout[-4000:]
            except LabError as why:
                return f"{why}\n"
        return "".join(look(*words) for words in (
            ("journalctl", "-n", "60", "--no-pager", "-o", "short-monotonic"),
            ("mastiff", "status"), ("mastiff", "watchdog", "status"), ("mastiff", "why")))

    # -- what the machine is like

    def device(self, driver=DRIVER):
        """The device of this driver as `mastiff watchdog status` shows it; None if there is none."""
        found = json.loads(self.vm.run("mastiff", "watchdog", "status", "--json", check=False).stdout)["devices"]
        of_driver = [device for device in found if device["identity"].lower().startswith(driver.lower())]
        return of_driver[0] if of_driver else None

    def is_armed(self, holder="mastiffd"):
        device = self.device()
        holders = {by["process"] for by in device["held_by"]} if device else ()
        return device and device["active"] and holder in holders

    def arm(self, more="", watchdog=WATCHDOG):
        """Start the daemon afresh, with this configuration, and wait until it has armed the device."""
        self.vm.run("rm", "-f", TROUBLE)
        self.daemon.start(watchdog + more)
        until("mastiffd has armed the device", self.is_armed, 20)
        self.vm.run("sync")

    def why(self):
        """What `mastiff why` says of the last boot's end: its cause in a word, how sure that is, and a sentence."""
        told = json.loads(self.vm.run("mastiff", "why", "--json", check=False).stdout)
        return told["cause"], told["confidence"], told["sentence"]

    def last_pet(self):
        """Seconds since mastiffd petted the device, as it says."""
        told = json.loads(self.vm.run("mastiff", "watchdog", "status", "--json", check=False).stdout)
        return (told.get("mastiffd") or {}).get("petted_secs_ago")

    # -- what must happen

    def assert_reset(self, fault, within, cause, words=".", by_watchdog=True):
        """The fault leads to a reset within so many seconds. The daemon then has the device again, and `mastiff why` names
        the cause, and in its sentence these words (a regular expression). Who resets may be open (None)."""
        pet = self.last_pet()
        began = time.monotonic()
        reset = self.vm.wait_reset(fault, within + 60)
        up = time.monotonic() - began
        until("mastiffd has armed the device again", self.is_armed, 30)
        armed = time.monotonic() - began
        found, confidence, sentence = self.why()
        who = "the watchdog" if reset.by_watchdog else "the kernel"
        print(f"\n  last pet seen {-pet:.1f} s, fault 0.0 s, reset by {who} {reset.seconds:.1f} s, up {up:.1f} s, armed "
              f"{armed:.1f} s\n  {found} ({confidence}): {sentence}", flush=True)
        self.assertIn(by_watchdog, (reset.by_watchdog, None))
        self.assertLessEqual(reset.seconds, within)
        self.assertIn(found, cause)
        self.assertRegex(sentence, words)

    @contextlib.contextmanager
    def no_reset(self, seconds=TIMEOUT_SECONDS + LATE_SECONDS + 1):
        """The block leads to no reset, nor do so many seconds after it: the device is petted, or stopped."""
        began = time.time()
        yield
        event = self.vm.monitor.wait("RESET", began, seconds)
        if event:
            self.fail(f"reset {event[0] - began:.1f} s after it began")
        print(f"\n  no reset in {time.time() - began:.1f} s", flush=True)


class TestDevice(WatchdogTest):
    """What is seen of a device before anybody uses it."""

    def setUp(self):
        self.daemon.systemctl("stop", "mastiff")
        self.vm.run("modprobe", "-r", DRIVER, check=False)

    def test_it_is_shown_and_not_started_and_its_reset_is_told(self):
        self.assertIsNone(self.device())
        self.vm.run("modprobe", DRIVER, f"heartbeat={TIMEOUT_SECONDS}")
        for _ in range(3):
            device = self.device()
            told = (device["name"], device["kind"], device["identity"], device["active"], device["held_by"])
            self.assertEqual(("watchdog0", "hardware", "i6300ESB timer", False, []), told)
        self.assertEqual((TIMEOUT_SECONDS, False), (device["timeout_secs"], device["nowayout"]))
        self.daemon.systemctl("disable", "--quiet", "mastiff")
        # The holder of the device, in a unit of its own. It never pets, and is killed: no magic close.
        faults.start(self.vm, "holder", "exec 3> /dev/watchdog0; exec sleep 600")
        device = until("it is armed", lambda: self.is_armed("sleep") and self.device())
        self.assertEqual("holder.service", device["held_by"][0]["unit"])
        reset = self.vm.wait_reset(lambda: None, 60)
        self.daemon.systemctl("enable", "--quiet", "mastiff")
        self.assertTrue(reset.by_watchdog)
        # What the device itself remembers of it.
        self.assertEqual(0x20, self.device()["bootstatus"])


class TestReset(WatchdogTest):
    """The machine is reset in time when nobody can pet, or nobody may, and the next boot says why."""

    def setUp(self):
        self.arm(RUNG)

    def test_a_stopped_daemon(self):
        self.assertGreater(int(self.daemon.show(UNIT, "WatchdogUSec")
                               .removesuffix("s").removesuffix("min")), TIMEOUT_SECONDS)
        self.assert_reset(lambda: self.daemon.kill(UNIT, "STOP"), TIMEOUT_SECONDS + LATE_SECONDS, {"watchdog"})

    def test_a_stuck_keeper(self):
        self.assert_reset(lambda: faults.freeze_thread(self.vm, UNIT, "keeper"),
                          TIMEOUT_SECONDS + PERMIT_SECONDS + LATE_SECONDS, {"watchdog"})

    def test_a_panic(self):
        self.assert_reset(lambda: faults.panic(self.vm), TIMEOUT_SECONDS + LATE_SECONDS, {"panic"})

    def test_a_rung(self):
        self.assert_reset(lambda: self.vm.write(TROUBLE, ""), TIMEOUT_SECONDS + LATE_SECONDS, {"rung"}, "trouble",
                          by_watchdog=False)

    def test_no_memory(self):
        self.assert_reset(lambda: faults.exhaust_memory(self.vm), MEMORY_SECONDS + TIMEOUT_SECONDS, {"panic", "watchdog"})


class TestNoReset(WatchdogTest):
    """What an operator does, and what happens on any machine, resets nothing."""

    def setUp(self):
        self.arm(ROOT_CHECK)

    def test_load(self):
        with faults.load(self.vm), self.no_reset(LOAD_SECONDS):
            pass
        self.assertTrue(self.is_armed())

    def test_restart_and_upgrade(self):
        with self.no_reset():
            self.daemon.systemctl("restart", "mastiff")
            self.assertTrue(self.is_armed(), "not even for a moment without it")
            for program in ("mastiffd", "mastiff"):
                self.vm.run("cp", f"/usr/{'s' if program == 'mastiffd' else ''}bin/{program}", f"/root/{program}.new")
            self.vm.run("mv", "/root/mastiffd.new", "/usr/sbin/mastiffd")
            self.vm.run("mv", "/root/mastiff.new", "/usr/bin/mastiff")
            self.daemon.systemctl("restart", "mastiff")
            until("the new one has it", self.is_armed)

    def test_kill(self):
        with self.no_reset():
            old = self.daemon.pid()
            self.daemon.kill(UNIT, "KILL")
            self.daemon.wait_new_process(UNIT, old)
            until("the next one has it", self.is_armed)

    def test_stop(self):
        self.daemon.systemctl("stop", "mastiff")
        self.assertFalse(self.device()["active"], "a stop disarms it")

    def test_removal(self):
        self.daemon.systemctl("disable", "--quiet", "--now", "mastiff")
        self.vm.run("rm", "/usr/sbin/mastiffd", "/etc/systemd/system/mastiff.service")
        self.daemon.systemctl("daemon-reload")
        try:
            self.assertFalse(self.device()["active"])
        finally:
            self.daemon.install()
            self.daemon.systemctl("enable", "--quiet", "mastiff")

    def test_a_frozen_brain(self):
        with self.no_reset():
            thaw = faults.freeze_thread(self.vm, UNIT, "mastiffd")
            self.assertIsNone(self.vm.monitor.wait("RESET", time.time(), FREEZE_SECONDS), "reset while frozen")
            thaw()
        self.assertTrue(self.is_armed())

    def test_a_stuck_prober(self):
        def probers():
            return set(self.vm.run("pgrep", "-x", "mastiff-prober", check=False).stdout.split())

        stuck = until("it has a prober", probers)
        with self.no_reset():
            self.vm.run("kill", "-STOP", *stuck)
            until("the reading is given up", lambda: probers() - stuck or self.daemon.verdict("root") == "unknown", 60)
        self.assertTrue(self.is_armed())

    def test_a_wrong_configuration(self):
        good = self.vm.read(CONFIG)
        with self.no_reset():
            self.vm.write(CONFIG, good + "nonsense = 1\n")
            self.assertNotEqual(0, self.daemon.cli("reload", check=False).returncode)
            self.assertTrue(self.is_armed(), "the old one is kept")
            self.daemon.systemctl("restart", "mastiff", check=False)
            self.assertEqual("failed", self.daemon.show(UNIT, "ActiveState"))
        self.assertFalse(self.device()["active"], "nobody would pet it")

    def test_a_full_disk(self):
        with faults.full_disk(self.vm), self.no_reset():
            pass
        self.assertTrue(self.is_armed())

    def test_a_clean_reboot(self):
        began = time.monotonic()
        reset = self.vm.wait_reset(lambda: self.vm.tell("systemctl", "reboot"), 60)
        until("mastiffd has armed the device again", self.is_armed, 30)
        print(f"\n  down {reset.seconds:.1f} s, armed again {time.monotonic() - began:.1f} s\n  {self.why()}")
        self.assertFalse(reset.by_watchdog)
        self.assertEqual("clean", self.why()[0])

    def test_systemd_holds_the_device(self):
        self.daemon.systemctl("stop", "mastiff")
        self.set_runtime_watchdog(20)
        try:
            self.daemon.start(WATCHDOG)
            told = json.loads(self.daemon.cli("doctor", "--json", check=False).stdout)
            problems = [finding["what"] for finding in told if finding["severity"] == "problem"]
            self.assertTrue([it for it in problems if it.startswith("systemd holds the watchdog watchdog0")], problems)
            self.daemon.start('[watchdog]\ndevice = "pid1"\n')
            self.assertTrue(self.is_armed("systemd"))
            told = json.loads(self.daemon.cli("doctor", "--json", check=False).stdout)
            self.assertEqual([], [it for it in told if "systemd holds" in it["what"]])
        finally:
            self.set_runtime_watchdog(0)
        until("systemd lets go of it", lambda: not self.device()["active"])

    def set_runtime_watchdog(self, seconds):
        manager = "org.freedesktop.systemd1"
        self.vm.run("busctl", "set-property", manager, f"/{manager.replace('.', '/')}", f"{manager}.Manager",
                    "RuntimeWatchdogUSec", "t", seconds * 1_000_000)


class TestLong(WatchdogTest):
    """What takes minutes, or a reset more than the short form has time for."""

    def setUp(self):
        self.arm(ROOT_WATCH + RUNG)

    def test_a_root_disk_that_answers_no_more(self):
        # How long a boot takes is what tells this from a machine that hangs: the record must know two.
        for _ in range(2):
            self.vm.wait_reset(lambda: self.vm.tell("systemctl", "reboot"), 60)
            until("mastiffd has armed the device again", self.is_armed, 30)

        def hang():
            self.vm.disk(HUNG)
            self.vm.wait_event("RESET", ROOT_DEAD_SECONDS + 60)
            self.vm.disk(ANSWERING)

        self.assert_reset(hang, ROOT_DEAD_SECONDS + TIMEOUT_SECONDS + PERMIT_SECONDS + LATE_SECONDS + PROBE_SECONDS,
                          {"watchdog"}, "^The root disk .* stopped answering")
        print("".join(f"  {line}\n" for line in self.vm.run("mastiff", "why").stdout.splitlines()))

    def test_a_warning_that_panics(self):
        """The kernel keeps what mastiff said last, where the disk is what is dead."""
        warned = f'pretimeout = "{WARNED_SECONDS}s"\npretimeout-governor = "panic"\n' + ROOT_WATCH

        def governors():
            told = json.loads(self.vm.run("mastiff", "watchdog", "status", "--json").stdout)["devices"]
            return {device["pretimeout_governor"] for device in told}

        def hang():
            self.vm.disk(HUNG)
            self.vm.wait_event("RESET", ROOT_DEAD_SECONDS + 60)
            self.vm.disk(ANSWERING)

        self.arm(warned)
        self.assertIn("load the module pretimeout_panic", self.vm.run("mastiff", "events").stdout)
        self.vm.run("modprobe", "pretimeout_panic")
        self.arm(warned)
        self.assertIn("panic", governors())
        # The kernel that panicked, or the device, whose time goes on. How soon is the test's above: here 60 s and 72 s
        # were seen.
        self.assert_reset(hang, ROOT_DEAD_SECONDS + 60,
                          {"watchdog"}, "answered no write", by_watchdog=None)

    def endless(self):
        """A service that never ends, nor does any shutdown."""
        self.vm.write("/etc/systemd/system/endless.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
                      "ExecStart=true\nExecStop=sleep infinity\nTimeoutStopSec=infinity\n")
        self.daemon.systemctl("daemon-reload")
        self.daemon.systemctl("start", "endless")

    def test_a_shutdown_that_hangs(self):
        self.endless()
        self.assert_reset(lambda: self.vm.tell("systemctl", "reboot"),
                          SHUTDOWN_SECONDS + TIMEOUT_SECONDS + PERMIT_SECONDS + LATE_SECONDS, {"watchdog"}, "shutdown|down")

    def test_a_crash_during_a_shutdown(self):
        """systemd starts nothing any more then, so nobody pets: the shutdown is cut short, not left uncovered."""
        self.endless()
        self.vm.run("systemctl", "reboot", "--no-block")
        until("the daemon knows", lambda: self.daemon.events("going-down"), 60)
        self.assert_reset(lambda: self.daemon.kill(UNIT, "KILL"), TIMEOUT_SECONDS + LATE_SECONDS, {"watchdog"},
                          "going down")

    def test_prove(self):
        self.assert_reset(lambda: self.vm.run("mastiff", "watchdog", "prove", "--yes"), TIMEOUT_SECONDS + LATE_SECONDS,
                          {"self-test"})
        proven = json.loads(self.vm.run("mastiff", "watchdog", "status", "--json").stdout)["mastiffd"]
        self.assertIsNotNone(proven["proven_at_unix_ms"])
        self.assertAlmostEqual(TIMEOUT_SECONDS, proven["proven_fired_after_secs"], delta=2)

    def test_the_chipset_s_own_device(self):
        """iTCO has two stages, and as it is emulated fires after twice the time-out: a self-test finds that out."""
        self.daemon.systemctl("stop", "mastiff")
        self.vm.load_at_boot(DRIVER, "lpc_ich", "iTCO_wdt")
        try:
            name = self.device("iTCO_wdt")["name"]
            self.daemon.start(f'[watchdog]\ndevice = "/dev/{name}"\ntimeout = "{TIMEOUT_SECONDS}s"\n')
            until("mastiffd has armed it", lambda: self.device("iTCO_wdt")["held_by"])
            self.assertFalse(self.device()["active"], "the other one is left alone")
            self.vm.run("sync")
            reset = self.vm.wait_reset(lambda: self.daemon.kill(UNIT, "STOP"), 60)
            print(f"\n  fault 0.0 s, reset {reset.seconds:.1f} s")
            self.assertTrue(reset.by_watchdog)
            self.assertLessEqual(reset.seconds, 2 * TIMEOUT_SECONDS + LATE_SECONDS)
            until("mastiffd has armed it again", lambda: self.device("iTCO_wdt")["held_by"], 30)
            reset = self.vm.wait_reset(lambda: self.vm.run("mastiff", "watchdog", "prove", "--yes"), 60)
            until("mastiffd has armed it again", lambda: self.device("iTCO_wdt")["held_by"], 30)
            proven = json.loads(self.vm.run("mastiff", "watchdog", "status", "--json").stdout)["mastiffd"]
            print(f"  self-test: reset {reset.seconds:.1f} s, {proven['identity']}: says {proven['timeout_secs']} s, fires "
                  f"after {proven['fires_after_secs']} s")
            self.assertEqual(TIMEOUT_SECONDS, proven["timeout_secs"])
            self.assertAlmostEqual(2 * TIMEOUT_SECONDS, proven["proven_fired_after_secs"], delta=2)
            self.assertGreaterEqual(proven["fires_after_secs"], 2 * TIMEOUT_SECONDS - 1)
        finally:
            self.daemon.systemctl("stop", "mastiff")
            self.vm.run("modprobe", "-r", "iTCO_wdt", check=False)
            self.vm.load_at_boot(DRIVER)

    def test_rescue_mode(self):
        with self.no_reset(2 * TIMEOUT_SECONDS):
            self.daemon.systemctl("isolate", "rescue.target", check=False)
        self.daemon.systemctl("isolate", "multi-user.target", check=False)

    def test_emergency_mode(self):
        with self.no_reset(2 * TIMEOUT_SECONDS):
            self.daemon.systemctl("isolate", "emergency.target", check=False)
            until("the daemon has ended", lambda: self.daemon.show(UNIT, "ActiveState") == "inactive", 30)
            self.assertFalse(self.device()["active"], "it was stopped with the daemon")
        self.daemon.systemctl("isolate", "multi-user.target", check=False)
        until("mastiffd has armed the device again", self.is_armed, 60)

    def test_a_boot_that_ends_in_emergency_mode(self):
        """Where a file system is missing, the daemon runs, and pets, but resets no machine that somebody repairs."""
        self.arm(ROOT_WATCH + RUNG.replace('"reset"', '"reboot"'))
        fstab = self.vm.read("/etc/fstab")
        self.vm.write("/etc/fstab", fstab + "/dev/missing /mnt ext4 x-systemd.device-timeout=2s 0 0\n")
        self.vm.run("sync")
        try:
            self.vm.wait_reset(lambda: self.vm.monitor.call("system_reset"), 10)
            until("it is in emergency mode", lambda: self.daemon.show("emergency.target", "ActiveState") == "active", 60)
            until("mastiffd has armed the device", self.is_armed, 60)
            with self.no_reset(2 * TIMEOUT_SECONDS):
                self.vm.write(TROUBLE, "")
                end = self.daemon.wait_event("rung-ends", "trouble", seconds=60)[0]
                self.assertIn("emergency or rescue mode", end["text"])
            self.assertTrue(self.is_armed())
        finally:
            self.vm.write("/etc/fstab", fstab)
            self.vm.run("sync")
            self.vm.wait_reset(lambda: self.vm.monitor.call("system_reset"), 10)

    def test_a_device_that_cannot_be_stopped(self):
        self.daemon.systemctl("stop", "mastiff")
        self.vm.run("modprobe", "-r", DRIVER)
        self.vm.run("modprobe", DRIVER, "nowayout=1")
        try:
            self.arm()
            with self.no_reset():
                self.daemon.systemctl("stop", "mastiff")
                left = self.device()
                self.assertTrue(left["active"])
                self.assertGreater(left["timeout_secs"], 600, "time for somebody who sees it to start a daemon again")
            self.daemon.systemctl("start", "mastiff")
            until("mastiffd has it again", lambda: self.is_armed() and self.device()["timeout_secs"] == TIMEOUT_SECONDS)
            with self.no_reset():
                self.vm.write(CONFIG, self.vm.read(CONFIG) + "nonsense = 1\n")
                self.daemon.systemctl("restart", "mastiff", check=False)
            self.assertTrue(self.is_armed(), "petted on with the last good configuration")
        finally:
            self.vm.run("rm", CONFIG)
            self.vm.run("sync")
            self.vm.wait_reset(lambda: self.vm.monitor.call("system_reset"), 10)

    def test_the_third_boot_only_observes(self):
        self.arm(f'[budgets]\nreset = "{2 * LOOP_RESETS} in 1h"\n[boot-loop-guard]\nresets = {LOOP_RESETS}\n{RUNG}')
        for _ in range(LOOP_RESETS):
            self.assert_reset(lambda: self.vm.write(TROUBLE, ""), TIMEOUT_SECONDS + LATE_SECONDS, {"rung"}, "trouble",
                              by_watchdog=False)
        with self.no_reset(3 * TIMEOUT_SECONDS):
            self.vm.write(TROUBLE, "")
        self.assertIn("observes only", self.daemon.cli("status", check=False).stdout)


class TestKexec(WatchdogTest):
    """Another kernel without the firmware's help. The driver stops its device just before, unless it is told not to, as on
    this machine: then it counts until the next kernel's driver takes it."""

    @classmethod
    def setUpClass(cls):
        cls.vm = cls.enterClassContext(Vm())
        cls.daemon = installed(cls.vm, "watchdog stop_on_reboot=0", DRIVER)

    def test_a_hung_kernel(self):
        self.arm(ROOT_WATCH)
        self.vm.load_kernel(HANGS)
        self.assert_reset(lambda: self.vm.tell("systemctl", "kexec"), SHUTDOWN_SECONDS + LATE_SECONDS, {"watchdog"},
                          "kexec")

    def test_a_kernel_that_boots(self):
        self.arm(watchdog=WATCHDOG.replace(str(TIMEOUT_SECONDS), str(KEXEC_SECONDS)))
        self.vm.load_kernel()
        began = time.monotonic()
        with self.no_reset(0):
            self.vm.tell("systemctl", "kexec")
            self.vm.wait_boot(KEXEC_BOOT_SECONDS)
            up = time.monotonic() - began
            until("mastiffd has armed the device again", self.is_armed, KEXEC_SECONDS)
        print(f"  kexec 0.0 s, up {up:.1f} s, armed {time.monotonic() - began:.1f} s\n  {self.why()}", flush=True)
        self.assertEqual(("clean", "certain"), self.why()[:2])
        self.assertIn("kexec", self.why()[2])


CASES = (TestDevice, TestReset, TestNoReset, *([TestLong, TestKexec] if LONG else ()))

if __name__ == "__main__":
    main(CASES)
