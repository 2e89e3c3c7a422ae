#!/usr/bin/env python3
"""How long a floating address is away, and for how long two nodes have it: mastiffd beside keepalived.

    takeover.py [--quick] [--json] [--tool NAME] [--speed N] [--fault NAME] [--runs N] [--paths N]

Every run is a new pair in namespaces of its own (../lab/pair.py), with a fault done to the node that is active. The
tools take turns, so that this machine's other work meets them alike; figures of different machines or hours cannot be
compared, ratios can. What clients see is measured as ../lab/probes.py says. Faults are in faults.py.

Speeds: keepalived's adverts every 0.01, 0.1, 1 s; mastiff's takeover-within 30ms, 300ms, 1s. Times are milliseconds,
median / maximum (runs); `never` is not within the time that was watched; the last rows are mastiff's medians divided by
keepalived's. "noise" is the client's longest gap in the last second before the fault: what the machine does to the
measurement. Needs root (or user namespaces), iproute2, nftables; keepalived is installed if apt-get can. mastiffd is
taken from target/release or $MASTIFF_BIN. Nothing leaves the namespaces.
"""
import argparse
import contextlib
import json
import pathlib
import signal
import statistics
import sys
import time

PROJECT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "packaging/lab"))

import keepalived  # noqa: E402
from faults import FAULTS, Run, random_phase  # noqa: E402
from mastiffs import Mastiff  # noqa: E402
from nodes import LabError, until  # noqa: E402
from pair import NODES, PairLab  # noqa: E402
from probes import Probes  # noqa: E402
from space import as_root  # noqa: E402

TOOLS = {"keepalived": keepalived.Keepalived, "mastiff": Mastiff}


def prepare(stack, tool_class, speed, paths):
    """A new pair whose daemons start meanwhile, as far as that can be."""
    lab = stack.enter_context(PairLab(paths))
    tool = tool_class(lab, speed)
    tool.begin()
    return tool


def measure(tool, fault, seconds):
    """Do one fault to a pair; returns its figures."""
    lab = tool.lab
    with Probes(lab) as probes:
        # Long enough for the slowest to have taken over well before the fault ends.
        run = Run(lab, probes, tool, max(seconds, 5 * tool.period))
        tool.wait_served(probes.client.owner)
        time.sleep(1)
        random_phase(tool.period)
        number = until("the address is served", probes.client.owner)
        run.active, run.standby = lab[NODES[number - 1]], lab[NODES[2 - number]]
        noise = probes.client.outage_ns(time.monotonic_ns() - 1_000_000_000) / 1e6
        if fault.probed:
            return fault(run) | {"noise": noise}
    return fault(run)


def one_round(contenders, fault, seconds, paths):
    """The fault once for each tool and speed; yields (tool, speed, figures). Those that need long to start do so while
    the others are measured."""
    with contextlib.ExitStack() as stack:
        tools = [(tool_class, speed, prepare(stack, tool_class, speed, paths)) for tool_class, speed in contenders]
        for tool_class, speed, tool in tools:
            try:
                yield tool_class.name, speed, measure(tool, fault, seconds)
            except (LabError, TimeoutError) as error:
                print(f"takeover.py: {tool_class.name} {speed}: not measured: {error}", file=sys.stderr)
                yield tool_class.name, speed, {"failed": 1}


def figure(values):
    """median / maximum (n) of values that may be None for never."""
    times = [float("inf") if value is None else value for value in values]

    def told(value):
        return "never" if value == float("inf") else f"{value:.3g}" if value < 100 else f"{value:.0f}"

    return f"{told(statistics.median(times))} / {told(max(times))} ({len(times)})"


def median(runs, what):
    values = [float("inf") if run[what] is None else run[what] for run in runs if what in run]
    return statistics.median(values) if values else None


def ratio(results, fault, rank, what):
    """mastiff's median to keepalived's, at speeds of one rank."""
    of = {name: median(results.get((fault, name, list(tool.speeds)[rank]), []), what) for name, tool in TOOLS.items()}
    ours, theirs = of.get("mastiff"), of.get("keepalived")
    if not ours or not theirs or float("inf") in (ours, theirs):
        return "-"
    return f"{ours / theirs:.2g}"


def table(results):
    """Lines of text: a block for each fault, a row for each tool and speed."""
    for fault in FAULTS:
        rows = {key: runs for key, runs in results.items() if key[0] == fault}
        if not rows:
            continue
        columns = list(dict.fromkeys(what for runs in rows.values() for run in runs for what in run))
        yield f"\n{fault}"
        yield "  " + f"{'':<18}" + "".join(f"{what:>24}" for what in columns)
        for (_, name, speed), runs in rows.items():
            cells = [figure([run[what] for run in runs if what in run]) if any(what in run for run in runs) else "-"
                     for what in columns]
            yield "  " + f"{name + ' ' + speed:<18}" + "".join(f"{cell:>24}" for cell in cells)
        for rank in range(3):
            cells = [ratio(results, fault, rank, what) for what in columns]
            if any(cell != "-" for cell in cells):
                label = " : ".join(list(TOOLS[name].speeds)[rank] for name in ("mastiff", "keepalived"))
                yield "  " + f"{label:<18}" + "".join(f"{cell:>24}" for cell in cells)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few minutes: fewer runs, shorter faults")
    parser.add_argument("--json", action="store_true", help="print every run's figures as JSON")
    parser.add_argument("--tool", choices=TOOLS, action="append")
    parser.add_argument("--speed", action="append", help="such as 0.1 for keepalived, 300ms for mastiff")
    parser.add_argument("--fault", choices=FAULTS, action="append")
    parser.add_argument("--runs", type=int, help="of faults that are a matter of milliseconds (default 12); a third of "
                        "that of the others")
    parser.add_argument("--paths", type=int, default=1, help="cables between the nodes; keepalived uses the first")
    arguments = parser.parse_args()
    as_root()
    seconds = 3 if arguments.quick else 10
    many = arguments.runs or (3 if arguments.quick else 12)
    tools = [TOOLS[name] for name in arguments.tool or TOOLS]
    if keepalived.Keepalived in tools:
        keepalived.install()
    contenders = [(tool, speed) for tool in tools for speed in tool.speeds
                  if arguments.speed is None or speed in arguments.speed]
    results = {}
    for name in arguments.fault or FAULTS:
        fault = FAULTS[name]
        able = [(tool, speed) for tool, speed in contenders if name not in tool.cannot]
        for _ in range(many if fault.repeat else max(1, many // 3)):
            for tool, speed, told in one_round(able, fault, seconds, arguments.paths):
                results.setdefault((name, tool, speed), []).append(told)
                print(f"{name} {tool} {speed}: {told}", file=sys.stderr, flush=True)
    if arguments.json:
        json.dump([{"fault": fault, "tool": tool, "speed": speed, "runs": runs}
                   for (fault, tool, speed), runs in results.items()], sys.stdout, indent=1)
        print()
    else:
        print(*(tool.version() for tool in tools), sep=", ")
        print(*table(results), sep="\n")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except LabError as error:
        sys.exit(f"takeover.py: {error}")
