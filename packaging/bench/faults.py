"""The faults of takeover.py, one function each: it does its harm to a running pair and returns what that led to.

Milliseconds, and counts. `None` is "did not happen while anybody watched".
"""
import contextlib
import pathlib
import random
import re
import signal
import time

from load import busy_processors, memory_pressure
from pair import NODES, family

FAULTS = {}
WATCH_SECONDS = 20  # for something that should happen at once
SETTLE_SECONDS = 0.5
AT_REST_SECONDS = 6  # since a new owner, which may announce itself once more after 5 s


def fault(name, repeat=False, probed=True):
    """Register a fault. `repeat`: a matter of milliseconds, so worth many runs. `probed`: clients watch it."""
    def register(function):
        FAULTS[name] = function
        function.repeat, function.probed = repeat, probed
        return function
    return register


class Run:
    """One pair under one fault: the lab, its probes, the program, and who was active when the fault began."""

    def __init__(self, lab, probes, tool, seconds):
        self.lab, self.probes, self.tool = lab, probes, tool
        self.seconds = seconds  # how long a fault lasts that has an end
        self.active = self.standby = None

    def watch(self, true, seconds=WATCH_SECONDS):
        """Wait for something that may never happen; whether it did."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if true():
                return True
            time.sleep(0.01)
        return False

    def answer(self, since, seconds=WATCH_SECONDS):
        """How long it took from the fault until the standby answered clients, for IPv4 and IPv6, and until it answered
        ARP: what is between these is for the announcements to do."""
        client, monitor, number = self.probes.client, self.probes.monitor, self.standby.number
        targets = range(len(self.probes.targets))
        self.watch(lambda: all(client.owner(target) == number for target in targets)
                   and monitor.first_answer(number, since), seconds)
        names = ["answer", "answer IPv6"]
        first = {name: client.first_answer(number, since, target) for name, target in zip(names, targets)}
        first["ARP answer"] = monitor.first_answer(number, since)
        return {name: None if at is None else (at - since) / 1e6 for name, at in first.items()}

    def outage(self, since, until=None):
        return {"outage": self.probes.client.outage_ns(since, until) / 1e6}

    def two_owners(self, since, until=None):
        return {"two owners": self.probes.monitor.two_owners_ns(since, until) / 1e6}

    def takeovers(self, since):
        return {"takeovers": self.probes.takeovers(since)}

    def healed(self):
        """What the client sees after the fault has ended, until it has seen two good seconds."""
        since = time.monotonic_ns()
        good_ns = 2_000_000_000

        def good():
            now = time.monotonic_ns()
            return now - since > good_ns and self.probes.client.outage_ns(now - good_ns) < good_ns / 20

        self.watch(good, 40)
        return {"outage after": self.outage(since)["outage"]}


def settle():
    time.sleep(SETTLE_SECONDS)


@fault("power-cut", repeat=True)
def power_cut(run):
    began = run.lab.power_cut(run.active)
    told = run.answer(began)
    settle()
    return told | run.two_owners(began) | run.takeovers(began)


@fault("stop", repeat=True)
def stop(run):
    began = time.monotonic_ns()
    run.tool.stop(run.active)
    told = run.answer(began)
    settle()
    return run.outage(began) | run.two_owners(began) | {"answer": told["answer"]}


@fault("switchover", repeat=True)
def switchover(run):
    """Only for a program that can hand over and stay."""
    began = time.monotonic_ns()
    run.tool.switchover(run.active)
    run.answer(began)
    settle()
    return run.outage(began) | run.two_owners(began)


@fault("kill")
def kill(run):
    """The daemon and its children get SIGKILL; the machine lives."""
    began = time.monotonic_ns()
    run.tool.signal(run.active, signal.SIGKILL)
    told = run.answer(began, run.seconds)
    time.sleep(max(0, run.seconds - (time.monotonic_ns() - began) / 1e9))
    late = time.monotonic_ns() - 1_000_000_000
    return told | run.two_owners(began) | {"two owners at the end": int(run.two_owners(late)["two owners"] > 0)}


@fault("freeze")
def freeze(run):
    """SIGSTOP, then SIGCONT."""
    began = time.monotonic_ns()
    run.tool.signal(run.active, signal.SIGSTOP)
    time.sleep(run.seconds)
    woke = time.monotonic_ns()
    run.tool.signal(run.active, signal.SIGCONT)
    after = run.healed()
    return run.two_owners(began) | after | {
        "announced on waking": run.probes.monitor.announcements(woke, run.active.number)}


@fault("unplug")
def unplug(run):
    """All cables of the active node, which sees its carrier go; then they are plugged in again."""
    began = run.lab.plug(run.active, up=False)
    told = run.answer(began, run.seconds)
    time.sleep(max(0, run.seconds - (time.monotonic_ns() - began) / 1e9))
    run.lab.plug(run.active, up=True)
    return told | run.healed() | run.two_owners(began)


def lasting(run, begin):
    """A fault of the switch that ends by itself."""
    began = begin()
    time.sleep(run.seconds)
    during = run.outage(began)
    run.lab.heal()
    after = run.healed()
    return run.two_owners(began) | during | after | run.takeovers(began)


@fault("cut-off")
def cut_off(run):
    """The active node reaches nobody, and sees its carrier."""
    others = [name for name in run.lab.stations if name != run.active.name]
    began = run.lab.part(run.active.name, others)
    told = run.answer(began, run.seconds)
    time.sleep(max(0, run.seconds - (time.monotonic_ns() - began) / 1e9))
    run.lab.heal()
    return told | run.healed() | run.two_owners(began)


@fault("partition")
def partition(run):
    """Between the nodes; client, monitor and witness see both."""
    return lasting(run, lambda: run.lab.part("a", ["b"]))


@fault("partition-witness")
def partition_witness(run):
    """Between the nodes, and the standby does not reach the witness either."""
    return lasting(run, lambda: run.lab.part(run.standby.name, [run.active.name, "witness"]))


@fault("one-way")
def one_way(run):
    """The standby does not hear the active node."""
    return lasting(run, lambda: run.lab.block(run.active.name, run.standby.name))


@fault("one-way-back")
def one_way_back(run):
    """The active node does not hear the standby."""
    return lasting(run, lambda: run.lab.block(run.standby.name, run.active.name))


def loss(run, percent, witness=False):
    pairs = [NODES] + [(node, "witness") for node in NODES] * witness

    def begin():
        for one, other in pairs:
            run.lab.lose(one, other, percent)
            began = run.lab.lose(other, one, percent)
        return began

    long, run.seconds = run.seconds, 6 * run.seconds
    try:
        return lasting(run, begin)
    finally:
        run.seconds = long


for PERCENT in (5, 20, 50):
    fault(f"loss-{PERCENT}")(lambda run, percent=PERCENT: loss(run, percent))
    fault(f"loss-{PERCENT}-witness")(lambda run, percent=PERCENT: loss(run, percent, witness=True))


def overload(run, load):
    began = time.monotonic_ns()
    with load:
        time.sleep(3 * run.seconds)
    return run.two_owners(began) | run.outage(began) | run.takeovers(began)


@fault("cpu")
def cpu(run):
    return overload(run, busy_processors())


@fault("memory")
def memory(run):
    return overload(run, memory_pressure())


def cpu_ns(processes):
    """Run time so far of the threads of these processes and their children (/proc/PID/schedstat, first field)."""
    total = 0
    for process in processes:
        for pid in family(process.pid):
            for thread in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):  # ended meanwhile
                    total += int(thread.read_text().split()[0])
    return total


def pss_mib(processes):
    kib = 0
    for process in processes:
        for pid in family(process.pid):
            rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            kib += int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1])
    return kib / 1024


@fault("rest", probed=False)
def rest(run):
    """No fault: what the daemon of each node costs."""
    time.sleep(AT_REST_SECONDS)
    nodes = {"active": run.active, "standby": run.standby}
    before = {name: cpu_ns(node.processes) for name, node in nodes.items()}
    began = time.monotonic()
    time.sleep(3 * run.seconds)
    minutes = (time.monotonic() - began) / 60
    told = {}
    for name, node in nodes.items():
        told[f"CPU ms/min {name}"] = (cpu_ns(node.processes) - before[name]) / 1e6 / minutes
        told[f"PSS MiB {name}"] = pss_mib(node.processes)
    return told


def random_phase(seconds):
    """Not in step with anybody's rhythm."""
    time.sleep(random.uniform(0, seconds))
