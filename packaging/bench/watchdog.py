#!/usr/bin/env python3
"""What it costs to pet a hardware watchdog: mastiffd beside watchdog(8) and systemd, each in turn on one machine.

    watchdog.py [--seconds N] [--timeout N]

The machine is that of ../lab/vm.py, on a kernel of its own, with an emulated i6300ESB. Each petter gets the same
time-out, and for the rest what it does by default; none has anything else to watch. Each is measured twice, with the
device and without, so that what petting itself adds is told apart. Per petter and minute:

- pets: calls of the driver's own function, counted by a kernel probe, whoever asks for them and however;
- CPU: of its control group (cpu.stat), or of PID 1 (/proc/1/schedstat);
- wake-ups: times a thread of it gave up the processor by itself (voluntary_ctxt_switches).

A processor that is emulated is several times slower than a real one; the ratios are what counts. Needs root, and
target/release (or $MASTIFF_BIN).
"""
import argparse
import pathlib
import re
import sys
import time

PROJECT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "packaging/lab"))

from daemon import Daemon  # noqa: E402
from nodes import LabError, until  # noqa: E402
from vm import Vm  # noqa: E402

DRIVER, PET = "i6300esb", "esb_timer_keepalive"
SETTLE_SECONDS = 5
TRACING = "/sys/kernel/tracing"
MANAGER = "org.freedesktop.systemd1"
BARE = "[node]\ndefault-checks = false\n"


class Petter:
    """One program with a device, or as it is without."""

    unit = None

    def __init__(self, vm, timeout):
        self.vm, self.timeout = vm, timeout

    def start(self, with_device):
        raise NotImplementedError

    def stop(self):
        self.vm.run("systemctl", "stop", self.unit, check=False)

    def pid(self):
        return self.vm.run("systemctl", "show", "--value", "-p", "MainPID", self.unit).stdout.strip()

    def cpu_us(self):
        stat = self.vm.read(f"/sys/fs/cgroup/system.slice/{self.unit}/cpu.stat")
        return int(re.search(r"^usage_usec (\d+)", stat, re.M)[1])

    def wakeups(self):
        told = self.vm.run("sh", "-c", f"cat /proc/{self.pid()}/task/*/status").stdout
        return sum(int(n) for n in re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", told, re.M))


class Mastiffd(Petter):
    name, unit = "mastiffd", "mastiff.service"

    def start(self, with_device):
        watchdog = f'[watchdog]\ndevice = "/dev/watchdog0"\ntimeout = "{self.timeout}s"\n' if with_device else ""
        self.vm.write("/etc/mastiff/mastiff.toml", BARE + watchdog)
        self.vm.run("systemctl", "start", self.unit)


class Watchdog(Petter):
    name, unit = "watchdog", "bench-watchdog.service"

    def start(self, with_device):
        device = f"watchdog-device = /dev/watchdog0\nwatchdog-timeout = {self.timeout}\n" if with_device else ""
        # It ends at once when it has neither a device nor anything to look at.
        self.vm.write("/etc/bench-watchdog.conf", f"{device}log-dir = /run\nmax-load-1 = 9999\nrealtime = yes\npriority = 1\n")
        self.vm.run("systemd-run", "--quiet", f"--unit={self.unit}", "/usr/sbin/watchdog", "--foreground",
                    "--config-file", "/etc/bench-watchdog.conf")


class Systemd(Petter):
    name = "systemd"

    def start(self, with_device):
        self.set(self.timeout if with_device else 0)

    def stop(self):
        self.set(0)

    def set(self, seconds):
        self.vm.run("busctl", "set-property", MANAGER, f"/{MANAGER.replace('.', '/')}", f"{MANAGER}.Manager",
                    "RuntimeWatchdogUSec", "t", seconds * 1_000_000)

    def pid(self):
        return "1"

    def cpu_us(self):
        return int(self.vm.read("/proc/1/schedstat").split()[0]) // 1000


def state(vm):
    return vm.read("/sys/class/watchdog/watchdog0/state").strip()


def pets(vm):
    return int(vm.run("awk", "$1 == \"bench_pets\" { print $2 }", f"{TRACING}/kprobe_profile").stdout or 0)


def measure(vm, petter, with_device, seconds):
    """(pets, CPU in microseconds, wake-ups) a minute."""
    petter.start(with_device)
    try:
        until("it has the device", lambda: state(vm) == ("active" if with_device else "inactive"), 20)
        time.sleep(SETTLE_SECONDS)
        before, began = (pets(vm), petter.cpu_us(), petter.wakeups()), time.monotonic()
        time.sleep(seconds)
        after, took = (pets(vm), petter.cpu_us(), petter.wakeups()), time.monotonic() - began
    finally:
        petter.stop()
    until("the device is stopped again", lambda: state(vm) == "inactive", 20)
    return [(new - old) * 60 / took for old, new in zip(before, after)]


def ratio(theirs, ours):
    return f"{theirs / ours:.1f}" if ours > 0 else "-"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--timeout", type=int, default=30)
    arguments = parser.parse_args()
    with Vm(packages=("watchdog",)) as vm:
        vm.load_at_boot(DRIVER)
        # The package's own, which started with the machine, without a device.
        vm.run("systemctl", "mask", "--quiet", "--now", "watchdog", "wd_keepalive")
        Daemon(vm).install()
        vm.run("mount", "-t", "tracefs", "tracefs", TRACING, check=False)
        vm.run("sh", "-c", f"echo p:bench_pets {DRIVER}:{PET} > {TRACING}/kprobe_events; "
               f"echo 1 > {TRACING}/events/kprobes/bench_pets/enable")
        print(f"time-out {arguments.timeout} s, {arguments.seconds} s each, a minute of it:")
        print(f"{'':10} {'pets':>6} {'CPU ms':>8} {'for petting':>11} {'wake-ups':>9} {'for petting':>11}")
        found = {}
        for kind in (Mastiffd, Watchdog, Systemd):
            petter = kind(vm, arguments.timeout)
            without = measure(vm, petter, False, arguments.seconds)
            pet, cpu, woken = measure(vm, petter, True, arguments.seconds)
            found[kind.name] = (pet, cpu, woken)
            print(f"{kind.name:10} {pet:6.1f} {cpu / 1000:8.2f} {(cpu - without[1]) / 1000:11.2f} {woken:9.1f} "
                  f"{woken - without[2]:11.1f}", flush=True)
        ours = found["mastiffd"]
        for name in ("watchdog", "systemd"):
            print(f"{name} / mastiffd: pets {ratio(found[name][0], ours[0])}, CPU {ratio(found[name][1], ours[1])}, "
                  f"wake-ups {ratio(found[name][2], ours[2])}")


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"watchdog.py: {error}")
