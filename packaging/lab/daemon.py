"""mastiff installed on a node, as tests see it: its configuration, its answers, its alerts, and services to watch.

Everything that knows how the command line prints, or what an event looks like, is in this file.
"""
import json
import os
import pathlib

from nodes import LabError, until

PROJECT = pathlib.Path(__file__).resolve().parents[2]
BINARIES = pathlib.Path(os.environ.get("MASTIFF_BIN", PROJECT / "target/release"))
UNIT_FILE = PROJECT / "systemd/mastiff.service"
CONFIG = "/etc/mastiff/mastiff.toml"
STATE = "/var/lib/mastiff"
HEARTBEATS = "/run/mastiff/heartbeat.sock"
ALERTS = f"{STATE}/test-alerts"  # within the daemon's own state directory: writable for a hook of a hardened unit
HOOK = "/usr/local/bin/tell"

# Beats once a second in the way of sd_notify(3), for as long as it runs.
BEATING = f"""#!/usr/bin/perl
use Socket;
socket(my $out, PF_UNIX, SOCK_DGRAM, 0) or die $!;
while (1) {{ send($out, "WATCHDOG=1", 0, pack_sockaddr_un("{HEARTBEATS}")); sleep 1 }}
"""

# Keeps 10 MiB; once a file appears (and only once for it) as many MiB as the argument says.
GREEDY = """#!/usr/bin/perl
my $own = "x" x (10 << 20);
sleep 1 until unlink "/run/be-greedy";
$own = "x" x ($ARGV[0] << 20);
sleep 1 while 1;
"""


def service_unit(start, *more):
    """A unit file that systemd itself does not restart: that is the ladder's work here. Its start limit is the
    default, five in ten seconds: the ladder must get past it."""
    return "\n".join(["[Service]", f"ExecStart={start}", "Restart=no", *more]) + "\n"


class Daemon:
    """The daemon of one machine. The machine (a node or a VM) can `run`, `copy`, `write` and `read`."""

    def __init__(self, machine):
        self.machine = machine

    def install(self):
        """Put the release binaries, the shipped unit and the alert hook into place."""
        for file in (BINARIES / "mastiffd", BINARIES / "mastiff", UNIT_FILE):
            if not file.exists():
                raise LabError(f"{file} is missing; build it first (cargo build --release) or set MASTIFF_BIN")
        self.machine.copy(BINARIES / "mastiffd", "/usr/sbin/mastiffd")
        self.machine.copy(BINARIES / "mastiff", "/usr/bin/mastiff")
        for unit in sorted(UNIT_FILE.parent.glob("mastiff*.service")):
            self.machine.copy(unit, f"/etc/systemd/system/{unit.name}")
        generator = UNIT_FILE.with_name("mastiff-generator")
        self.machine.write(f"/usr/lib/systemd/system-generators/{generator.name}", generator.read_text(), 0o755)
        self.machine.write(HOOK, f"#!/bin/sh\ncat >> {ALERTS}\n", 0o755)
        self.machine.write("/usr/local/bin/beating", BEATING, 0o755)
        self.machine.write("/usr/local/bin/greedy", GREEDY, 0o755)
        self.systemctl("daemon-reload")

    # -- configuration and life

    def configure(self, text, found=False):
        """The configuration: these checks, every alert to the hook, and what is found by itself only if wanted."""
        head = f'[node]\ndefault-checks = {str(found).lower()}\n\n[[alert]]\nrun = "{HOOK}"\n\n'
        self.machine.write(CONFIG, head + text)

    def start(self, text, found=False):
        """Start on this configuration, with nothing remembered from before; returns when systemd has READY."""
        self.systemctl("stop", "mastiff", check=False)
        self.machine.run("rm", "-rf", STATE)
        self.configure(text, found)
        self.systemctl("reset-failed", "mastiff", check=False)
        self.systemctl("start", "mastiff")

    def pid(self, unit="mastiff.service"):
        """The main process of a unit as the node sees it; 0 if there is none."""
        return int(self.show(unit, "MainPID"))

    def show(self, unit, name):
        """One property of a unit."""
        return self.systemctl("show", "--value", "-p", name, unit).stdout.strip()

    def systemctl(self, *words, check=True):
        return self.machine.run("systemctl", *words, check=check)

    def kill(self, unit, signal):
        self.systemctl("kill", "--kill-whom=main", "-s", signal, unit)

    def service(self, name, start, *more):
        """Install and start a service to be watched."""
        self.machine.write(f"/etc/systemd/system/{name}", service_unit(start, *more))
        self.systemctl("daemon-reload")
        self.systemctl("reset-failed", name, check=False)
        self.systemctl("restart", name, check=False)
        return name

    # -- answers

    def cli(self, *words, check=True):
        """`mastiff` with these arguments."""
        return self.machine.run("/usr/bin/mastiff", *words, check=check)

    def checks(self):
        """Every check by name, as `mastiff status --json` shows it."""
        status = json.loads(self.cli("status", "--json", check=False).stdout)
        return {check["name"]: check for check in status["checks"]}

    def verdict(self, check):
        return self.checks()[check]["verdict"]

    def events(self, kind=None, check=None):
        """The events so far, oldest first; of one kind and one check where asked."""
        found = parse_lines(self.cli("events", "--json").stdout)
        return [e for e in found if kind in (None, e["kind"]) and check in (None, e.get("check"))]

    def alerts(self, check):
        """The alerts of a check that the hook was given so far, as (verdict before, verdict)."""
        return [(alert["was"], alert["verdict"]) for alert in parse_lines(self.machine.read(ALERTS))
                if alert["check"] == check]

    def wait_verdict(self, check, verdict, seconds=30):
        until(f"{check} is {verdict}", lambda: self.verdict(check) == verdict, seconds, every=0.2)

    def wait_event(self, kind, check, count=1, seconds=30):
        """Wait until there are so many such events, and return them."""
        def enough():
            found = self.events(kind, check)
            return found if len(found) >= count else None

        return until(f"{count} x {kind} of {check}", enough, seconds, every=0.2)

    def wait_new_process(self, unit, old, seconds=30):
        """Wait until the unit is active with another main process than `old`."""
        def renewed():
            pid = self.pid(unit)
            return pid if pid not in (0, old) and self.show(unit, "ActiveState") == "active" else None

        return until(f"{unit} is restarted", renewed, seconds, every=0.2)


def parse_lines(text):
    """The JSON objects of a text with one a line."""
    return [json.loads(line) for line in text.splitlines()]
