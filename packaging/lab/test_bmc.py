#!/usr/bin/env python3
"""What the management controller (BMC) says is seen, told in words and acted on, and one that hangs delays nobody: the
real daemon, as a service on a machine of its own (vm.py), whose BMC is the simulator of OpenIPMI.

    test_bmc.py [NAME ...]     all tests, or those whose names contain one of the words

Needs root, target/release (or $MASTIFF_BIN), what vm.py needs, and ipmi_sim (Debian package openipmi). The last line of
the output is `N passed, N failed`.
"""
import json
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from daemon import Daemon
from nodes import until
from runner import main
from vm import Vm

LAN = """name "board"
set_working_mc 0x20
  serial kcs 127.0.0.1 {port} codec VM
"""
# Sensors, by the numbers below; a log of so many entries. 0x9f: what it has, as Get Device ID tells it.
BOARD = """mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02
sel_enable 0x20 {entries} 0x0a
"""
ENTRIES = 100
TEMPERATURE, SUPPLY, CHASSIS, SPARE = 1, 2, 3, 16
SPARES = 80
# Kind and meaning of the states, in hexadecimal (IPMI v2.0, tables 42-1 and 42-3).
KINDS = {TEMPERATURE: (0x01, 0x01), SUPPLY: (0x08, 0x6f), CHASSIS: (0x05, 0x6f)}
SUPPLY_PRESENT, SUPPLY_INPUT_LOST = 0, 3
# An uncorrectable error of the memory (32.1), without number and time.
UNCORRECTABLE = (0, 0, 0, 0, 0x20, 0, 4, 0x0c, 0x55, 0x6f, 0xa1, 0xff, 0xff)
MARK = "/run/was-hot"
INTERVAL_SECONDS = 2
# Less than QEMU waits for its BMC before it tells the machine that there is no answer.
PATIENCE_SECONDS = 3
CONFIG = f"""
[[check]]
name = "bmc"
sensor = "ipmi"
interval = "{INTERVAL_SECONDS}s"
timeout = "{PATIENCE_SECONDS}s"
on-fail = ["run /usr/bin/touch {MARK}"]
"""
# The interval, a reading, the status, and a machine that is emulated beside others.
SEEN_SECONDS = INTERVAL_SECONDS + 6
# All sensors once, in seconds, with what a process costs.
ASK = """import subprocess, time
began = time.monotonic()
said = subprocess.run(["mastiff", "check", "ipmi"], stdout=subprocess.PIPE, text=True).stdout
print(f"{time.monotonic() - began:.2f} s: {said}")"""
# Several readings that hang.
HUNG_SECONDS = 8


def record(number, kind, name):
    """The record of a sensor: a full one with a scale of whole degrees for what is measured, else a compact one."""
    measured = kind[1] == 0x01
    body = bytearray(48 if measured else 32)
    body[2:4] = 0x51, 1 if measured else 2
    body[5:8] = 0x20, 0, number
    body[11:14] = 0x68, *kind
    if measured:
        body[21], body[24] = 1, 1
    body[-1] = 0xc0 | len(name)
    body += name.encode()
    body[4] = len(body) - 5
    return "main_sdr_add 0x20 " + " ".join(f"0x{byte:02x}" for byte in body)


class Bmc:
    """The simulator, for a machine that connects to its port, as a context manager."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    def __enter__(self):
        self.home = tempfile.TemporaryDirectory()
        home = pathlib.Path(self.home.name)
        names = {TEMPERATURE: "CPU1 Temp", SUPPLY: "PSU2 Status", CHASSIS: "Chassis Intru"}
        kinds = dict(KINDS)
        for number in range(SPARE, SPARE + SPARES):
            names[number], kinds[number] = f"DIMM {number} Temp", KINDS[TEMPERATURE]
        lines = [BOARD.format(entries=ENTRIES)]
        for number, kind in kinds.items():
            lines += [f"sensor_add 0x20 0 {number} 0x{kind[0]:02x} 0x{kind[1]:02x}",
                      record(number, kind, names[number])]
            if kind[1] == 0x01:
                lines += [f"sensor_set_threshold 0x20 0 {number} settable 111000 100 95 90 0 0 0",
                          f"sensor_set_value 0x20 0 {number} 45 0"]
            no_events = " ".join(["0" * 15] * 4)
            lines.append(f"sensor_set_event_support 0x20 0 {number} enable scanning per-state {no_events}")
        lines += [f"sensor_set_bit 0x20 0 {SUPPLY} {SUPPLY_PRESENT} 1 0", "mc_enable 0x20"]
        (home / "lan.conf").write_text(LAN.format(port=self.port))
        (home / "board").write_text("\n".join(lines) + "\n")
        with open(home / "log", "w") as log:
            self.simulator = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "ipmi_sim", "-p", "-c", home / "lan.conf", "-f", home / "board",
                 "-s", home], stdin=subprocess.PIPE, stdout=log, stderr=log, text=True)
        return self

    def __exit__(self, *_):
        self.simulator.kill()
        self.simulator.wait()
        self.simulator.stdin.close()
        self.home.cleanup()

    def tell(self, *words):
        """Have the simulator do something to the board."""
        print(*words, file=self.simulator.stdin, flush=True)

    def options(self):
        """Those of QEMU."""
        return (f"-chardev socket,id=bmc-line,host=127.0.0.1,port={self.port},reconnect=1 "
                "-device ipmi-bmc-extern,id=bmc,chardev=bmc-line -device isa-ipmi-kcs,bmc=bmc")


class TestBmc(unittest.TestCase):
    """One machine for all tests."""

    @classmethod
    def setUpClass(cls):
        cls.bmc = cls.enterClassContext(Bmc())
        cls.vm = cls.enterClassContext(Vm(options=cls.bmc.options()))
        cls.daemon = Daemon(cls.vm)
        cls.daemon.install()
        cls.doctor = " ".join(cls.daemon.cli("doctor", check=False).stdout.split())
        cls.vm.run("modprobe", "ipmi_si")
        cls.vm.run("modprobe", "ipmi_devintf")
        until("the device is there", lambda: cls.vm.run("test", "-c", "/dev/ipmi0", check=False).returncode == 0)

    def story(self):
        return self.vm.run("journalctl", "-n", "40", "--no-pager", "-o", "short-monotonic").stdout

    def begin(self):
        """A daemon that finds nothing wrong: that of the last test, if it does."""
        self.vm.run("rm", "-f", MARK)
        checks = self.status()["checks"] if self.daemon.pid() else []
        if [check["verdict"] for check in checks] != ["healthy"]:
            self.daemon.start(CONFIG)
            self.daemon.wait_verdict("bmc", "healthy")

    def status(self):
        return json.loads(self.daemon.cli("status", "--json", check=False).stdout)

    def check(self):
        return self.daemon.checks()["bmc"]

    def wait_note(self, words, seconds=SEEN_SECONDS):
        """Wait until the note of the check contains these words."""
        began = time.monotonic()
        until(f"it says: {words}", lambda: words in (self.check()["note"] or ""), seconds, every=0.2)
        print(f"[{time.monotonic() - began:.1f} s]", end=" ", flush=True)

    def value(self, name):
        return next(value for value in self.check()["values"] if value["name"] == name)["number"]

    def test_a_bmc_without_its_device_is_told_by_doctor(self):
        self.assertIn("has a BMC, and there is no /dev/ipmi0", self.doctor)
        self.assertNotIn("has a BMC", self.daemon.cli("doctor", check=False).stdout)

    def test_all_sensors_of_a_board_are_read(self):
        self.begin()
        self.assertEqual(SPARES + len(KINDS), self.value("sensors"))
        said = self.vm.run("python3", "-c", ASK).stdout
        self.assertIn(f"sensors {SPARES + len(KINDS)}", said)
        print(f"[`mastiff check ipmi`: {said.split(':')[0]}]", end=" ", flush=True)

    def test_a_sensor_beyond_its_limit_is_named_and_acted_on(self):
        self.begin()
        self.bmc.tell("sensor_set_value", "0x20", 0, TEMPERATURE, 96, 0)
        self.wait_note("CPU1 Temp 96C, limit 95C")
        self.daemon.wait_verdict("bmc", "failed")
        until("its ladder has acted", lambda: self.vm.run("test", "-e", MARK, check=False).returncode == 0)
        self.bmc.tell("sensor_set_value", "0x20", 0, TEMPERATURE, 45, 0)
        self.daemon.wait_verdict("bmc", "healthy")

    def test_a_supply_without_input_and_an_open_chassis_are_told(self):
        self.begin()
        self.bmc.tell("sensor_set_bit", "0x20", 0, CHASSIS, 0, 1, 0)
        self.wait_note("Chassis Intru opened")
        self.daemon.wait_verdict("bmc", "degraded")
        self.bmc.tell("sensor_set_bit", "0x20", 0, SUPPLY, SUPPLY_INPUT_LOST, 1, 0)
        self.wait_note("PSU2 input lost; Chassis Intru opened")
        # The machine runs on the other one.
        self.assertEqual("degraded", self.daemon.verdict("bmc"))
        self.bmc.tell("sensor_set_bit", "0x20", 0, SUPPLY, SUPPLY_INPUT_LOST, 0, 0)
        self.bmc.tell("sensor_set_bit", "0x20", 0, CHASSIS, 0, 0, 0)
        self.daemon.wait_verdict("bmc", "healthy")

    def test_a_critical_event_in_the_log_is_told(self):
        """Which needs a prober that remembers, although a reading takes long."""
        self.begin()
        # The first reading is one of the lane's prober, which ends with it.
        until("it was read again", lambda: self.check()["for_secs"] > 2 * INTERVAL_SECONDS)
        self.bmc.tell("sel_add", "0x20", "0x02", *UNCORRECTABLE)
        self.wait_note("event log: memory uncorrectable error")
        self.assertEqual(1, self.value("sel-critical"))
        self.daemon.wait_verdict("bmc", "degraded")

    def test_a_bmc_that_stops_answering_delays_nobody(self):
        self.begin()
        self.addCleanup(self.bmc.simulator.send_signal, signal.SIGCONT)
        self.bmc.simulator.send_signal(signal.SIGSTOP)
        self.daemon.wait_verdict("bmc", "unknown")
        began = self.status()["up_secs"]

        def has_gone_on():
            status = self.status()
            self.assertLess(status["lateness"]["keeper_age_ms"], 3000, "the keeper goes on")
            self.assertIn("stalled since", status["checks"][0]["reason"])
            return status["up_secs"] > began + HUNG_SECONDS
        until("the daemon went on all the while", has_gone_on)
        print(f"[keeper {self.status()['lateness']['keeper_worst_ms']:.0f} ms late at most]", end=" ", flush=True)
        self.bmc.simulator.send_signal(signal.SIGCONT)
        self.daemon.wait_verdict("bmc", "healthy")


if __name__ == "__main__":
    main([TestBmc])
