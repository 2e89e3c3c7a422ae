#!/usr/bin/env python3
"""A watchdog whose driver hangs delays nobody: the real daemon, as a service on a machine of its own (vm.py), and a
character device whose calls take as long as the test likes (slow_watchdog.py).

    test_petter.py [NAME ...]     all tests, or those whose names contain one of the words

Needs root, target/release (or $MASTIFF_BIN) and what vm.py needs. The last line of the output is `N passed, N failed`.
"""
import json
import pathlib
import unittest

from daemon import Daemon
from nodes import until
from runner import main
from vm import Vm

SERVER = "/usr/local/bin/slow_watchdog"
PLACE = "/run/slow"
CONFIG = '[watchdog]\ndevice = "/dev/watchdog9"\ntimeout = "8s"\n'
# Several rhythms of the keeper.
LONG_ENOUGH_SECONDS = 6


class TestSlowDriver(unittest.TestCase):
    """One machine for all tests."""

    @classmethod
    def setUpClass(cls):
        cls.vm = cls.enterClassContext(Vm())
        cls.daemon = Daemon(cls.vm)
        cls.daemon.install()
        cls.vm.copy(pathlib.Path(__file__).with_name("slow_watchdog.py"), SERVER)
        cls.vm.run("modprobe", "cuse")
        cls.vm.run("mkdir", PLACE)
        cls.vm.run("systemd-run", "--quiet", "--unit=slow", "python3", SERVER, "watchdog9", PLACE)
        until("the device is there", lambda: cls.vm.run("test", "-c", "/dev/watchdog9", check=False).returncode == 0)

    def tell_story(self):
        return self.vm.read(f"{PLACE}/story").split()

    def story(self):
        return self.vm.run("journalctl", "-n", "40", "--no-pager", "-o", "short-monotonic").stdout

    def status(self):
        return json.loads(self.daemon.cli("status", "--json", check=False).stdout)

    def begin(self):
        self.vm.run("sh", "-c", f": > {PLACE}/story")
        self.daemon.start(CONFIG)
        until("it is petted", lambda: self.tell_story().count("pet") > 2)

    def hold(self):
        self.vm.write(f"{PLACE}/hold", "")
        until("a pet hangs in the driver", lambda: self.tell_story()[-1] == "begin")

    def let_go(self):
        self.vm.run("rm", "-f", f"{PLACE}/hold")

    def test_a_pet_that_hangs_delays_nobody_and_the_end_releases(self):
        self.begin()
        self.hold()
        began, pets = self.status()["up_secs"], self.status()["watchdog"]["pets"]

        def has_gone_on():
            status = self.status()
            self.assertLess(status["lateness"]["keeper_age_ms"], 3000, "the keeper goes on")
            self.assertEqual(pets, status["watchdog"]["pets"])
            return status["up_secs"] > began + LONG_ENOUGH_SECONDS
        until("the daemon went on all the while", has_gone_on)
        self.let_go()
        until("it is petted again", lambda: self.status()["watchdog"]["pets"] > pets + 1)
        self.assertGreater(self.status()["watchdog"]["slowest_ms"], LONG_ENOUGH_SECONDS * 1000)
        self.vm.run("systemctl", "stop", "mastiff")
        self.assertEqual(["V", "close"], self.tell_story()[-2:])

    def test_a_permit_that_has_expired_is_void(self):
        self.begin()
        self.hold()
        # The keeper gives no permits from here on: when the driver returns, the last one is old.
        self.vm.run("systemctl", "kill", "--signal=STOP", "mastiff")
        self.let_go()
        until("the driver has returned", lambda: self.tell_story()[-1] == "pet")
        pets = self.tell_story().count("pet")
        self.vm.run("sleep", 3)
        self.assertEqual(pets, self.tell_story().count("pet"))
        self.vm.run("systemctl", "kill", "--signal=CONT", "mastiff")
        until("it is petted again", lambda: self.tell_story().count("pet") > pets)
        self.vm.run("systemctl", "restart", "mastiff")
        until("the next daemon pets it", lambda: self.tell_story()[-1] == "pet")
        self.assertEqual(1, self.tell_story().count("open"), "it stayed open in the store")

    def test_what_its_driver_finds_wrong_is_shown(self):
        # A fan failed; that it was reset once is of the last boot.
        self.vm.write(f"{PLACE}/status", "0x02")
        self.begin()
        until("it is asked", lambda: self.status()["watchdog"]["alarm"])
        watchdog = self.status()["watchdog"]
        self.assertEqual(["a fan failed", 73, 7], [watchdog[key] for key in ("alarm", "celsius", "timeleft_secs")])
        self.assertIn("73 °C; its driver says: a fan failed", " ".join(self.daemon.cli("watchdog", "status").stdout.split()))
        self.assertIn("the watchdog's driver: a fan failed", self.story())
        self.vm.run("rm", f"{PLACE}/status")
        self.vm.run("systemctl", "stop", "mastiff")

    def test_a_device_that_is_not_wanted_any_more_says_that_it_has_stopped(self):
        for wayout, said in ((False, "busy"), (True, "disabled")):
            self.begin()
            if wayout:
                self.vm.write(f"{PLACE}/wayout", "")
            self.daemon.configure('[watchdog]\ndevice = "off"\n')
            self.vm.run("sh", "-c", f": > {PLACE}/story")
            self.vm.run("systemctl", "kill", "--signal=KILL", "mastiff")
            until("it was asked to stop", lambda: said in self.tell_story())
            if wayout:
                until("it is closed", lambda: self.tell_story()[-1] == "close")
                self.assertEqual(["begin", "V", "disabled", "close"], self.tell_story()[-4:])
            else:
                until("it goes on for long", lambda: self.tell_story()[-1] == "pet")
                until("that is said", lambda: "cannot be stopped (nowayout)" in self.story())


if __name__ == "__main__":
    main([TestSlowDriver])
