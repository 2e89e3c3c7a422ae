#!/usr/bin/env python3
"""How long a killed service is away: mastiffd, monit(1) and systemd's own Restart=, one after the other on one node.

    repair.py [--kills N] [--mastiffd PATH]

The main process of a service gets SIGKILL; the time runs until the service's control group has another process. The
kernel is asked every fifth of a millisecond. mastiffd and monit poll once a second; mastiffd also hears of the death.
Nothing leaves the node. Needs root.
"""
import argparse
import pathlib
import random
import signal
import statistics
import sys
import time

PROJECT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "packaging/lab"))

from cost import Tool, prepare  # noqa: E402
from nodes import Lab, LabError, until  # noqa: E402

VICTIM = "victim.service"
UNIT = ("[Unit]\nStartLimitIntervalSec=0\n[Service]\n"
        "ExecStart=/bin/sh -c 'echo $$$$ > /run/victim.pid; exec sleep infinity'\n")
MASTIFF = ('[node]\nstate-dir = "/var/lib/bench-repair"\nrun-dir = "/run/bench-repair"\ndefault-checks = false\n'
           f'[budgets]\nrestart = "100 in 1h"\n[[service]]\nunit = "{VICTIM}"\nrecover-after = "100ms"\n'
           'on-fail = "restart"\n')
MONIT = ("set daemon 1\nset pidfile /run/bench-monit.pid\nset statefile /run/bench-monit.state\n"
         "set idfile /run/bench-monit.id\nset log /run/bench-monit.log\n"
         f"check process victim with pidfile /run/victim.pid\n  start program = \"/usr/bin/systemctl start {VICTIM}\"\n"
         f"  stop program = \"/usr/bin/systemctl stop {VICTIM}\"\n")
AWAY_SECONDS_MAX = 30


def pid_of(node):
    try:
        words = (node.cgroup / "system.slice" / VICTIM / "cgroup.procs").read_text().split()
    except OSError:
        return None
    return int(words[0]) if words else None


def away_ms(node):
    """Kill the victim; returns how long it was away."""
    old = until("the victim runs", lambda: pid_of(node), AWAY_SECONDS_MAX)
    began = time.monotonic()
    pathlib.os.kill(old, signal.SIGKILL)
    while pid_of(node) in (None, old):
        if time.monotonic() - began > AWAY_SECONDS_MAX:
            raise LabError(f"{VICTIM} did not come back")
        time.sleep(0.0002)
    return (time.monotonic() - began) * 1000


def measure(node, name, unit_lines, tool, kills):
    node.write(f"/etc/systemd/system/{VICTIM}", UNIT + unit_lines)
    node.run("systemctl", "daemon-reload")
    node.run("systemctl", "restart", VICTIM)
    if tool:
        tool.start(node, 0)
    times = []
    for _ in range(kills):
        # Not in step with anybody's rhythm.
        time.sleep(1.5 + random.random())
        times.append(away_ms(node))
    if tool:
        tool.stop(node)
    print(f"{name:<28} {statistics.median(times):>9.1f} {max(times):>9.1f}")
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=15, help="for each tool (default 15)")
    parser.add_argument("--mastiffd", type=pathlib.Path, default=PROJECT / "target/release/mastiffd")
    arguments = parser.parse_args()
    if not arguments.mastiffd.exists():
        sys.exit(f"repair.py: there is no {arguments.mastiffd}; build it first")
    mastiffd = Tool("mastiffd", ["/usr/sbin/mastiffd", "--config", "{config}"], lambda _: MASTIFF, notify=True)
    monit = Tool("monit", ["/usr/bin/monit", "-I", "-c", "{config}"], lambda _: MONIT)
    with Lab("repair", packages=("watchdog", "monit")) as lab:
        node = lab["repair"]
        prepare(node, arguments.mastiffd)
        print(f"{'milliseconds away':<28} {'median':>9} {'most':>9}")
        own = measure(node, "mastiffd, restart rung", "", mastiffd, arguments.kills)
        other = measure(node, "monit, every second", "", monit, arguments.kills)
        measure(node, "systemd, Restart=always", "Restart=always\n", None, arguments.kills)
        print(f"monit takes {other / own:.0f} times as long as mastiffd")


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"repair.py: {error}")
