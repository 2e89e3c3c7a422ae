"""Two whole nodes with PostgreSQL on a shared disk and nginx, a third one as their witness, and a client.

    with GroupLab() as lab:                     # everything is installed, and nothing runs yet
        lab.begin()                             # daemons, witness and clients
        lab.wait_whole()                        # both groups are served, and could be by the other node
        lab["a"].freeze()                       # and every other fault of nodes.py
        lab.check_ledger(); lab.check_rows()    # PostgreSQL never ran twice, and no acknowledged row is lost

Nothing but mastiff keeps PostgreSQL from running on both nodes: its own lock file is removed before each start, and in
another PID namespace would tell nothing; its lock in shared memory belongs to an IPC namespace; the file system is one.
That is what a shared disk is on real machines.

The ledger. Whenever PostgreSQL starts, a clerk is started beside it, in the same unit, which writes every 5 ms that the
unit has processes (any, not only PostgreSQL's), and on which node, in which boot. All nodes have one clock, so two runs
that overlap by a millisecond are two runs that overlap. What is frozen writes nothing, until it is thawed; when a node
lost its power is known from `Power.off_at`.

The power. Nodes in namespaces have no watchdog, so the data group needs a fence agent. The lab's speaks as fence agents
do and leaves its order on the shared disk; the power supply, a thread of this program, cuts the node off at once. A
real agent takes a second or more for that.
"""
import collections
import json
import pathlib
import secrets
import subprocess
import sys
import threading
import time

from clients import Notes, now
from daemon import PROJECT, Daemon
from mastiffs import SILENCE_SECONDS, arbiter, group_config, pair_config, table, witness_config
from nodes import SHARED, Lab, LabError, command, until

NODES = ("a", "b")
UNITS = {"db": "postgresql@15-main.service", "web": "nginx.service"}
ADDRESSES = {"db": "10.77.0.101", "web": "10.77.0.100"}
CLIENT = "10.77.0.1"
BIN = "/usr/lib/postgresql/15/bin"
SETTINGS = f"""data_directory = '{SHARED}/postgresql'
listen_addresses = '*'
ssl = off
"""
ACCESS = "local all all peer\nhost all all 10.77.0.0/16 trust\n"
# The lock file of a server that ran on another machine; people remove it when a takeover stumbles over it.
START = f"[Service]\nExecStartPre=/bin/rm -f {SHARED}/postgresql/postmaster.pid\n"
SITE = 'server {{ listen 80 default_server; location / {{ return 200 "{name}\\n"; }} }}\n'
CLERK = f"""#!/usr/bin/perl
# In place of PostgreSQL: becomes it, and leaves a clerk behind who writes down for how long the unit has processes.
use strict; use warnings;
use Time::HiRes qw(clock_gettime usleep CLOCK_BOOTTIME);
sub lines {{ open(my $file, "<", $_[0]) or return (); return <$file> }}
my $real = "{BIN}/postgres.real";
exec($real, @ARGV) unless grep {{ $_ eq "-D" }} @ARGV;  # asked for its version
my ($unit) = map {{ /^0::(\\S+)/ }} lines("/proc/self/cgroup");
my ($top) = grep {{ -d }} "/sys/fs/cgroup/unified", "/sys/fs/cgroup";
my ($node) = map {{ /(\\S+)/ }} lines("/etc/hostname");
my $boot = (split " ", (lines("/proc/1/stat"))[0])[21];
my $began = clock_gettime(CLOCK_BOOTTIME);
open(my $ledger, ">>", "{SHARED}/ledger") or die "the ledger: $!";
my $tell = sub {{ syswrite($ledger, sprintf("%s %s %.6f %s %.6f\\n", $node, $boot, $began, $_[0],
                                           clock_gettime(CLOCK_BOOTTIME))) }};
$tell->("begin");
my $child = fork;
if (!$child) {{
    exit if fork;  # nobody waits for the clerk
    $SIG{{$_}} = "IGNORE" for qw(HUP INT QUIT TERM);
    while (grep {{ $_ != $$ }} lines("$top$unit/cgroup.procs")) {{ $tell->("alive"); usleep(5000) }}
    $tell->("end");
    exit;
}}
waitpid($child, 0);
close($ledger);
exec($real, @ARGV);
"""
AGENT = f"""#!/bin/sh
# The fence agent of the lab: as FenceAgentAPI has it, options on the standard input.
while IFS='=' read -r name value; do eval "$name=\\$value"; done
case $action in
    off) echo off > {SHARED}/$plug.order
         until [ "$(cat {SHARED}/$plug.power)" = off ]; do sleep 0.02; done ;;
    status) [ "$(cat {SHARED}/$plug.power)" = off ] && exit 2; exit 0 ;;
esac
"""
KEY = "/etc/mastiff/lab.key"
KINDS = ("role", "fence-begins", "fence-ends", "fence-failed", "cannot-remove", "rung-starts", "order-refused")
HERE = pathlib.Path(__file__).resolve().parent
Run = collections.namedtuple("Run", "began last ended node boot")


class Power(threading.Thread):
    """The power supply: what the agent orders happens to a node, at once."""

    def __init__(self, lab):
        super().__init__(daemon=True)
        self.lab, self.stuck, self.over = lab, False, threading.Event()
        self.off_at = {name: [] for name in NODES}  # when it was off, every time
        self.on_at = dict.fromkeys((*NODES, "w"), now())
        self.lock = threading.Lock()
        for name in NODES:
            self.tell(name, "on")
        self.start()

    def tell(self, name, state):
        (self.lab.shared / f"{name}.power").write_text(state + "\n")

    def order(self, name):
        return self.lab.shared / f"{name}.order"

    def run(self):
        while not self.over.wait(0.01):
            for name in NODES:
                if not self.stuck and self.order(name).exists():
                    self.order(name).unlink(missing_ok=True)
                    self.cut(name)

    def cut(self, name):
        """A node has no power from now on, whoever wanted that; returns when it began to lose it."""
        with self.lock:
            began = now()
            if self.is_on(name):
                self.lab[name].cut()
                if name in NODES:
                    self.off_at[name].append(now())
                    self.tell(name, "off")
        return began

    def mend(self):
        """Obey orders again, but not those of before."""
        with self.lock:
            for name in NODES:
                self.order(name).unlink(missing_ok=True)
            self.stuck = False

    def is_on(self, name):
        return self.lab[name].parent is not None

    def boot(self, *names):
        """Give nodes power, all at once; returns when they run."""
        with self.lock:
            for name in names:
                self.order(name).unlink(missing_ok=True)
                if name in NODES:
                    self.tell(name, "on")
            for name in names:
                self.lab[name].power_on()
            for name in names:
                self.lab[name].wait_booted()
            self.on_at |= dict.fromkeys(names, now())


class GroupLab(Lab):
    """The nodes a and b, the witness w, and a client of each group."""

    def __init__(self):
        super().__init__(*NODES, "w")
        self.power, self.clients, self.notes = None, [], {}
        self.daemons = {name: Daemon(node) for name, node in self.nodes.items()}
        self.key = secrets.token_hex(32) + "\n"

    def __enter__(self):
        super().__enter__()
        try:
            self._install()
        except BaseException:
            self.close()
            raise
        return self

    def close(self):
        if self.power:
            self.power.over.set()
            self.power.join()
        for client in self.clients:
            client.kill()
            client.wait()
        super().close()

    def _install(self):
        """As an administrator sets it up."""
        self.format()
        self.ip("addr", "add", f"{CLIENT}/24", "dev", "sw-eth0")
        for daemon in self.daemons.values():
            daemon.install()
            daemon.machine.write(KEY, self.key, 0o600)
        for name in NODES:
            self._install_services(self[name])
        witness = self["w"]
        witness.copy(PROJECT / "systemd/mastiff-witness.sysusers", "/usr/lib/sysusers.d/mastiff-witness.conf")
        witness.run("systemd-sysusers")
        witness.run("chown", "mastiff-witness", KEY)
        witness.write("/etc/mastiff/witness.toml", witness_config(KEY))
        self.power = Power(self)

    def format(self):
        """An empty database and an empty ledger."""
        command("rm", "-rf", self.shared / "postgresql", self.shared / "ledger")
        command("cp", "-a", self.base / "var/lib/postgresql/15/main", self.shared / "postgresql")
        (self.shared / "ledger").touch()
        (self.shared / "ledger").chmod(0o666)

    @staticmethod
    def _install_services(node):
        node.run("mv", f"{BIN}/postgres", f"{BIN}/postgres.real")
        node.write(f"{BIN}/postgres", CLERK, 0o755)
        node.write("/etc/postgresql/15/main/conf.d/lab.conf", SETTINGS)
        node.write("/etc/postgresql/15/main/pg_hba.conf", ACCESS)
        node.write(f"/etc/systemd/system/{UNITS['db']}.d/lab.conf", START)
        node.write("/etc/nginx/sites-available/default", SITE.format(name=node.name))
        node.write("/usr/local/sbin/fence_lab", AGENT, 0o755)
        node.run("systemctl", "daemon-reload")

    def peer(self, name):
        return NODES[1 - NODES.index(name)]

    def config(self, name):
        peer = self.peer(name)
        pair = pair_config(peer, KEY, [(self[name].address(), self[peer].address())], takeover_within="1s",
                           fence=f"/usr/local/sbin/fence_lab plug={peer}", **arbiter(self["w"].address()))
        web = group_config("web", ADDRESSES["web"], units=[UNITS["web"]], recover_after="10s")
        database = group_config("db", ADDRESSES["db"], units=[UNITS["db"]], safety="data", recover_after="10s",
                                start_within="20s", stop_within="5s")
        checks = [table("[[service]]", {"unit": unit, "on_fail": ["restart", "switchover"]}) for unit in UNITS.values()]
        return pair + web + database + "".join(checks)

    def begin(self):
        """Start the witness, both daemons and the clients. PostgreSQL is left as Debian installs it: started by every
        boot, as far as the boot is concerned."""
        self.daemons["w"].systemctl("enable", "--now", "mastiff-witness")
        for name in NODES:
            self.daemons[name].configure(self.config(name))
            self.daemons[name].systemctl("enable", "--now", "mastiff")
            self.daemons[name].systemctl("enable", "postgresql")
        self.power.on_at = dict.fromkeys(self.nodes, now())
        self.add_client("db", "postgres", ADDRESSES["db"])
        self.add_client("web", "http", ADDRESSES["web"])

    def add_client(self, name, kind, address):
        """Start a client, whose notes are `notes[name]` from now on; returns its process."""
        path = self.home / f"{name}.notes"
        with open(path, "w") as notes:
            self.clients.append(subprocess.Popen(
                # A client that runs late must not look like a late node.
                ["chrt", "--fifo", "80", "setpriv", "--pdeathsig", "KILL", "nsenter", "-t", str(self.switch.pid), "-n",
                 sys.executable, HERE / "clients.py", kind, address], stdout=notes))
        self.notes[name] = Notes(path)
        return self.clients[-1]

    # What the nodes say.

    def cli(self, name, *words, check=True):
        return self.daemons[name].cli(*words, check=check)

    def groups(self, name):
        """The groups by name, as `mastiff status` of a node has them; none if it does not answer."""
        if not self.power.is_on(name):
            return {}
        answer = self.cli(name, "status", "--json", check=False).stdout
        pair = json.loads(answer).get("pair") if answer else None
        return {group["name"]: group for group in pair["groups"]} if pair else {}

    def role(self, name, group):
        """What a node, which is not frozen, says to be; None if it says nothing."""
        return self.groups(name).get(group, {}).get("role")

    def owner(self, group):
        """The node that says it is active; None if there is none."""
        return next((name for name in NODES if self.role(name, group) == "active"), None)

    def wait_active(self, name, group, seconds=30):
        """Until a node is active, and the client of the group is answered."""
        until(f"{name} is active for {group}", lambda: self.role(name, group) == "active", seconds)
        self.wait_served(group)

    def wait_whole(self, seconds=60):
        """Until one node has both groups, both are served, and the other node could take them at once. Returns both."""
        self.heal()
        self.power.mend()
        dark = [name for name in self.nodes if not self.power.is_on(name)]
        if dark:
            self.power.boot(*dark)
        until("both groups have an owner", lambda: all(self.owner(group) for group in UNITS), seconds)
        owner = self.owner("db")
        other = self.peer(owner)
        if self.owner("web") != owner:
            until("web could move", lambda: self.is_ready(owner, "web"), seconds)
            self.cli(other, "switchover", "web")
        until("the other node could take both", lambda: all(self.is_ready(other, group) for group in UNITS), seconds)
        for group in UNITS:
            self.wait_served(group)
        return owner, other

    def is_ready(self, name, group):
        if (now() - max(self.power.on_at.values())) / 1e9 < SILENCE_SECONDS + 1:
            return False
        found = self.groups(name).get(group, {})
        return [found.get(key) for key in ("role", "peer_role", "not_ready")] == ["standby", "active", None]

    def wait_served(self, group, seconds=30):
        since = now()
        until(f"{group} is served", lambda: self.notes[group].answered(since), seconds)

    # What happened.

    def runs(self, since=0):
        """PostgreSQL's runs by the ledger, in the order of their begin (seconds of CLOCK_BOOTTIME)."""
        found = {}
        for line in (self.shared / "ledger").read_text().splitlines():
            node, boot, began, what, at = line.split()
            found[node, boot, began] = Run(float(began), float(at), what == "end", node, boot)
        return sorted(run for run in found.values() if run.last >= since)

    def check_ledger(self):
        """PostgreSQL never ran twice."""
        runs = self.runs()
        for before, after in zip(runs, runs[1:]):
            if after.began <= before.last:
                raise LabError(f"PostgreSQL ran twice: on {before.node} until {before.last:.3f}, "
                               f"on {after.node} from {after.began:.3f}")

    def check_rows(self):
        """Every acknowledged row is there; returns how many there are."""
        acknowledged = {note.number for note in self.notes["db"].answered()}
        rows = command("nsenter", "-t", self.switch.pid, "-n", sys.executable, HERE / "clients.py", "rows",
                       ADDRESSES["db"]).stdout.split()
        lost = acknowledged - {int(row) for row in rows}
        if lost:
            raise LabError(f"{len(lost)} acknowledged rows are lost, such as {sorted(lost)[:5]}")
        return len(rows)

    def timeline(self, since):
        """What happened from a moment on, as lines of text."""
        wall = time.time_ns() - now()
        found = []
        for name in NODES:
            for event in self.daemons[name].events() if self.power.is_on(name) else ():
                at = event["at_unix_ms"] * 1_000_000 - wall
                if at >= since - 1_000_000 and event["kind"] in KINDS:
                    found.append((at, f"{name}: {event['text']}"))
            found += [(at, f"{name} is off") for at in self.power.off_at[name] if at >= since]
        for run in self.runs(since / 1e9):
            found.append((int(run.began * 1e9), f"{run.node}: PostgreSQL begins"))
            found.append((int(run.last * 1e9), f"{run.node}: PostgreSQL's {'end' if run.ended else 'last sign'}"))
        for group, notes in self.notes.items():
            longest, began = notes.outage(since)
            found += [(began, f"client: no answer of {group}"), (began + longest, f"client: {group} answers")]
        return [f"  {(at - since) / 1e9:+8.3f} s  {text}" for at, text in sorted(found) if at >= since - 1_000_000]
