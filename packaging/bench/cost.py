#!/usr/bin/env python3
"""What mastiffd costs, beside watchdog(8) and monit(1), measured in the same way at the same time.

    cost.py [--seconds N] [--others N] [--mastiffd PATH]

All of them run as services of one systemd node (../lab/nodes.py, which builds it with the packages `watchdog` and
`monit`), poll once a second, and watch nothing but the machine, 10, or 100 services; then once more beside thousands
of sleeping processes. watchdog and monit know the services by their pid files; mastiffd runs once by unit and once by
pid file. By unit it does what it does by default: events in the units' control groups are taken at once, and the checks
are judged anew every 10 s. Per tool:

- CPU: usage_usec of its cgroup's cpu.stat (v2), so every child counts, also those that ended. What PID 1 does meanwhile,
  mostly on behalf of those who ask it about units, is told in a line of its own.
- PSS: of all its processes, at the end. Switches: context switches of the processes that lived all the time.
- ready: from exec to READY=1, for those that tell.

Nothing leaves the node, no watchdog device exists in it, and no tool can restart or reboot anything. Needs root.
"""
import argparse
import pathlib
import re
import sys
import time

PROJECT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "packaging/lab"))

from nodes import Lab, LabError, until  # noqa: E402

WATCHED = (0, 10, 100)
WARM_UP_SECONDS = 5
# The project's own targets.
DEFAULT_MS_MAX, HUNDRED_UNITS_MORE_MS_MAX, GROWTH_MAX = 30, 10, 1.2
PSS_MIB_MAX, READY_MS_MAX, BINARY_BYTES_MAX = 4, 50, 2_000_000

SLEEPERS = """#!/usr/bin/perl
for (1 .. $ARGV[0]) { defined(my $child = fork) or die $!; if (!$child) { sleep 1e6 while 1 } }
open my $done, ">", "/run/sleepers-done"; close $done;
sleep 1e6 while 1;
"""
WATCHED_UNIT = "[Service]\nExecStart=/usr/bin/sleep infinity\n"


class Tool:
    """One program under measurement: how it is configured and started."""

    def __init__(self, name, command, config, notify=False):
        self.name, self.command, self.config, self.notify = name, command, config, notify
        self.unit = f"bench-{name.replace(' ', '-')}.service"

    def start(self, node, count):
        node.write(f"/etc/{self.unit}.conf", self.config(count), 0o600)
        kind = "notify" if self.notify else "exec"
        node.run("systemd-run", "--quiet", f"--unit={self.unit}", f"--property=Type={kind}",
                 *[word.format(config=f"/etc/{self.unit}.conf") for word in self.command])

    def stop(self, node):
        node.run("systemctl", "stop", self.unit, check=False)
        node.run("systemctl", "reset-failed", self.unit, check=False)


def mastiff_config(name, entry):
    """`entry(n)` is the configuration of the check of service n; without services the defaults of an empty file."""
    def config(count):
        head = f'[node]\nstate-dir = "/var/lib/bench-{name}"\nrun-dir = "/run/bench-{name}"\ninterval = "1s"\n'
        return head + "".join(entry(n) for n in range(1, count + 1))
    return config


def by_unit(n):
    return f'[[service]]\nunit = "watched@{n}.service"\n'


def by_pid_file(n):
    return (f'[[check]]\nname = "process {n}"\nsensor = "process"\ntarget = "pid-file:/run/watched/{n}"\n'
            'interval = "1s"\n')


def watchdog_config(count):
    """The machine itself: load and memory, as its shipped file suggests. No device is named, so it opens none."""
    return ("interval = 1\nrealtime = no\nlog-dir = /run\nmax-load-1 = 9999\nmin-memory = 1\n"
            + "".join(f"pidfile = /run/watched/{n}\n" for n in range(1, count + 1)))


def monit_config(count):
    return ("set daemon 1\nset pidfile /run/bench-monit.pid\nset statefile /run/bench-monit.state\n"
            "set idfile /run/bench-monit.id\nset log /run/bench-monit.log\n"
            "check system node\n  if loadavg (1min) > 9999 then alert\n  if memory usage > 99% then alert\n"
            "check filesystem root with path /\n  if space usage > 99% then alert\n"
            + "".join(f"check process w{n} with pidfile /run/watched/{n}\n" for n in range(1, count + 1)))


def tools(with_mastiff):
    daemon = ["/usr/sbin/mastiffd", "--config", "{config}"]
    ours = [
        Tool("mastiffd units", daemon, mastiff_config("units", by_unit), notify=True),
        Tool("mastiffd pid files", daemon, mastiff_config("pids", by_pid_file), notify=True),
    ]
    theirs = [
        Tool("watchdog", ["/usr/sbin/watchdog", "--foreground", "--no-action", "--config-file", "{config}"],
             watchdog_config),
        Tool("monit", ["/usr/bin/monit", "-I", "-c", "{config}"], monit_config),
    ]
    return (ours if with_mastiff else []) + theirs


def cpu_us(cgroup):
    return int(re.search(r"^usage_usec (\d+)", (cgroup / "cpu.stat").read_text(), re.M)[1])


def processes(cgroup):
    return [pathlib.Path("/proc") / pid for pid in (cgroup / "cgroup.procs").read_text().split()]


def switches(cgroup):
    """Context switches so far, by thread."""
    found = {}
    for process in processes(cgroup):
        for status in process.glob("task/*/status"):
            try:
                found[status] = sum(int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", status.read_text()))
            except OSError:  # ended meanwhile
                pass
    return found


def pss_mib(cgroup):
    kib = 0
    for process in processes(cgroup):
        try:
            kib += int(re.search(r"^Pss:\s+(\d+)", (process / "smaps_rollup").read_text(), re.M)[1])
        except OSError:
            pass
    return kib / 1024


def ready_ms(node, tool):
    if not tool.notify:
        return None
    names = ("ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
    began, ended = (int(node.run("systemctl", "show", "--value", "-p", n, tool.unit).stdout) for n in names)
    return (ended - began) / 1000


def measure(node, chosen, count, seconds):
    """Run the tools side by side; returns their figures by name, and PID 1's milliseconds a minute."""
    rows, live = {}, []
    for tool in chosen:
        try:
            tool.start(node, count)
            live.append(tool)
        except LabError as error:
            rows[tool.name] = {"failed": str(error).splitlines()[-1]}
    time.sleep(WARM_UP_SECONDS)
    where = {tool.name: node.cgroup / "system.slice" / tool.unit for tool in live}
    for tool in [tool for tool in live if not where[tool.name].exists()]:
        live.remove(tool)
        log = node.run("journalctl", "-u", tool.unit, "-n", "3", "-o", "cat", "--no-pager").stdout
        rows[tool.name] = {"failed": "ended: " + " / ".join(log.splitlines())}
    init = node.cgroup / "init.scope"
    began, init_before = time.monotonic(), cpu_us(init)
    before = {tool.name: (cpu_us(where[tool.name]), switches(where[tool.name])) for tool in live}
    time.sleep(seconds)
    after = {tool.name: (cpu_us(where[tool.name]), switches(where[tool.name])) for tool in live}
    took, init_after = time.monotonic() - began, cpu_us(init)
    for tool in live:
        (cpu_0, ctx_0), (cpu_1, ctx_1) = before[tool.name], after[tool.name]
        rows[tool.name] = {
            "cpu": (cpu_1 - cpu_0) / 1000 * 60 / took,
            "switches": sum(ctx_1[thread] - ctx_0[thread] for thread in ctx_0.keys() & ctx_1.keys()) / took,
            "pss": pss_mib(where[tool.name]),
            "ready": ready_ms(node, tool),
        }
    for tool in chosen:
        tool.stop(node)
    return rows, (init_after - init_before) / 1000 * 60 / took


def prepare(node, daemon):
    """The services to be watched, and the program under test."""
    if daemon:
        node.copy(daemon, "/usr/sbin/mastiffd")
    node.write("/usr/local/bin/sleepers", SLEEPERS, 0o755)
    node.write("/etc/systemd/system/watched@.service", WATCHED_UNIT)
    for unit in ("watchdog", "wd_keepalive", "monit"):  # only ours may run
        node.run("systemctl", "mask", "--now", unit, check=False)
    node.run("systemctl", "daemon-reload")
    units = [f"watched@{n}.service" for n in range(1, max(WATCHED) + 1)]
    node.run("systemctl", "start", *units)
    for n, unit in enumerate(units, 1):
        pid = node.run("systemctl", "show", "--value", "-p", "MainPID", unit).stdout
        node.write(f"/run/watched/{n}", pid)


def print_round(count, others, rows, init_ms):
    own = rows.get("mastiffd pid files", {}).get("cpu")
    for name, row in rows.items():
        head = f"{count:>7} {others:>6}  {name:<18}"
        if "failed" in row:
            print(f"{head} not measured: {row['failed']}")
            continue
        ratio = f"{row['cpu'] / own:.2f}x" if own else "-"
        ready = f"{row['ready']:.0f}" if row["ready"] is not None else "-"
        print(f"{head} {row['cpu']:>10.1f} {ratio:>8} {row['pss']:>8.1f} {row['switches']:>11.1f} {ready:>9}")
    print(f"{count:>7} {others:>6}  {'(PID 1)':<18} {init_ms:>10.1f}", flush=True)


def print_targets(results, others, daemon):
    """Each target, the figure, and whether it is met; only those that were measured."""
    def figure(count, beside, name, what):
        return results.get((count, beside), {}).get(name, {}).get(what)

    plain, units = figure(0, 0, "mastiffd units", "cpu"), figure(100, 0, "mastiffd units", "cpu")
    crowded = figure(100, others, "mastiffd units", "cpu")
    lines = [
        ("default config, CPU ms/min", plain, DEFAULT_MS_MAX),
        ("100 units more, CPU ms/min", units - plain if units and plain else None, HUNDRED_UNITS_MORE_MS_MAX),
        (f"100 units beside {others} processes, growth", crowded / units if crowded and units else None, GROWTH_MAX),
        ("PSS of daemon and prober, MiB", figure(0, 0, "mastiffd units", "pss"), PSS_MIB_MAX),
        ("ready, ms", figure(0, 0, "mastiffd units", "ready"), READY_MS_MAX),
        ("mastiffd, bytes", daemon.stat().st_size if daemon else None, BINARY_BYTES_MAX),
    ]
    print("\ntargets")
    for what, value, limit in lines:
        told = "not measured" if value is None else f"{value:,.1f} {'met' if value <= limit else 'MISSED'}"
        print(f"  {what:<44} at most {limit:>9,}: {told}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="of each measurement (default 60)")
    parser.add_argument("--others", type=int, default=5000, help="sleeping processes in the second half (default 5000)")
    parser.add_argument("--mastiffd", type=pathlib.Path, default=PROJECT / "target/release/mastiffd")
    arguments = parser.parse_args()
    daemon = arguments.mastiffd if arguments.mastiffd.exists() else None
    if daemon is None:
        print(f"mastiffd is left out: there is no {arguments.mastiffd}")
    results = {}
    with Lab("bench", packages=("watchdog", "monit")) as lab:
        node = lab["bench"]
        prepare(node, daemon)
        print("watched others  tool               CPU ms/min    ratio  PSS MiB  switches/s  ready ms")
        for others in (0, arguments.others):
            if others:
                node.run("systemd-run", "--quiet", "--property=TasksMax=infinity", "/usr/local/bin/sleepers", str(others))
                until("the sleepers", lambda: node.path("/run/sleepers-done").exists(), 120)
            for count in WATCHED:
                rows, init_ms = measure(node, tools(daemon is not None), count, arguments.seconds)
                results[count, others] = rows
                print_round(count, others, rows, init_ms)
        for tool in ("/usr/sbin/watchdog", "/usr/bin/monit"):
            print(f"{tool}: {node.path(tool).stat().st_size:,} bytes, without its libraries")
    print_targets(results, arguments.others, daemon)


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"cost.py: {error}")
