"""Two machines with kernels and watchdogs of their own (vm.py), joined by a switch, and the witness of their pair.

    with Machines() as lab:                     # both have booted, with everything installed
        lab.begin()                             # the daemons, which boots start from now on
        owner, other = lab.wait_whole()         # one has the group, and the other one could take it
        lab[owner].cut(); lab[owner].power_on() # its power is cut, and is back
        lab.ledger.check()                      # the unit never ran twice

The switch, the witness and the host's own address are in a network namespace. The group is one unit that must not run
twice, its disk and an address. Neither machine can switch the other one off: the watchdogs must do.

The ledger. The unit tells every 20 ms that it runs, and so does a clerk of each machine as long as the unit has
processes, whatever they are doing. Their datagrams are stamped by the host's kernel when they arrive, so one clock
judges both machines; it is that of QEMU's events, too. What is told arrives within milliseconds, and the moves that are
judged by it take seconds.
"""
import concurrent.futures
import contextlib
import json
import pathlib
import secrets
import shutil
import socket
import struct
import tempfile
import threading
import time

from daemon import BINARIES, Daemon
from mastiffs import NODE, SILENCE_SECONDS, WITNESS_PRIORITY, arbiter, group_config, pair_config, witness_config
from nodes import LabError, until
from probes import SO_TIMESTAMPNS
from space import Space
from vm import Vm

NODES = ("a", "b")
NET = "10.77.0"
HOST, VIP = f"{NET}.1", f"{NET}.100"
OWN = {"a": f"{NET}.11", "b": f"{NET}.12"}
GROUP, UNIT = "data", "ledger.service"
DATA = "/srv/data"
LEDGER_PORT = 7008
DRIVER = "i6300esb"
TIMEOUT_SECONDS, STOP_SECONDS = 10, 10
# A processor that is emulated, on one that others use as well, may not run for a second.
WITHIN_SECONDS = 5
KEY = "/etc/mastiff/lab.key"
HEAD = f"""[watchdog]
timeout = "{TIMEOUT_SECONDS}s"

[boot-loop-guard]
resets = 20

"""
# perl-base has no Time::HiRes. The disk is written by a process of its own, which may hang where the other one does not.
TELL = f"""#!/usr/bin/perl
use strict; use warnings; use Socket;
sub line {{ open(my $file, "<", $_[0]) or return ""; return scalar(<$file>) // "" }}
my ($node, $boot) = map {{ s/\\s+$//r }} line("/etc/hostname"), line("/proc/sys/kernel/random/boot_id");
socket(my $out, PF_INET, SOCK_DGRAM, 0) or die $!;
my $lab = pack_sockaddr_in({LEDGER_PORT}, inet_aton("{HOST}"));
sub tell_lab {{ send($out, "$node $boot $_[0]", 0, $lab); select(undef, undef, undef, 0.02) }}
"""
LEDGER = TELL + f"""
if (!fork) {{
    while (1) {{
        open(my $disk, ">>", "{DATA}/ledger") or die $!;
        print $disk time, "\\n";
        close($disk);
        select(undef, undef, undef, 0.1);
    }}
}}
tell_lab("runs") while 1;
"""
CLERK = TELL + f"""
tell_lab(line("/sys/fs/cgroup/system.slice/{UNIT}/cgroup.procs") ? "runs" : "gone") while 1;
"""
# Before the daemon. The network of the real machine is there that early, too.
NODE_UNIT = """[Unit]
DefaultDependencies=no
After=lab-modules.service systemd-remount-fs.service
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/sbin/ip address add {address}/24 dev eth0
ExecStart=/sbin/ip link set eth0 up
ExecStart=/bin/mount -o loop /var/lib/data.img {data}
[Install]
WantedBy=sysinit.target
"""
UNIT_FILE = "[Service]\nExecStart=/usr/local/bin/{name}\n{more}[Install]\nWantedBy=multi-user.target\n"


class Run:
    """One run of the unit, in seconds of time.time(): from when to when it was told of."""

    def __init__(self, node, boot, at):
        self.node, self.boot, self.began, self.last = node, boot, at, at


class Ledger(threading.Thread):
    """Who ran when, as the host heard it."""

    def __init__(self, link):
        super().__init__(daemon=True)
        self.link, self.found, self.current = link, [], {}
        self.heard = {}  # of each node, in which boot it told something last, and when
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                text, ancillary, _, _ = self.link.recvmsg(256, 64)
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                self.note(seconds + nanoseconds / 1e9, *text.decode().split())

    def note(self, at, node, boot, what):
        """A run lasts until somebody says that it is gone, or tells of another boot."""
        self.heard[node] = boot, at
        run = self.current.get(node)
        if what == "gone":
            self.current.pop(node, None)
        elif run and run.boot == boot:
            run.last = at
        else:
            run = self.current[node] = Run(node, boot, at)
            self.found.append(run)

    def runs(self, since=0, node=None):
        """In the order of their begin; those that began since then, on one node where asked."""
        return sorted((run for run in list(self.found) if run.began >= since and node in (None, run.node)),
                      key=lambda run: run.began)

    def last(self, node):
        """When a node was last heard to run it; 0 if it never was."""
        return max((run.last for run in self.runs(node=node)), default=0)

    def runs_at(self, node, within=0.5):
        """Whether the unit runs on a node."""
        return time.time() - self.last(node) < within

    def check(self):
        """It never ran twice."""
        runs = self.runs()
        for before, after in zip(runs, runs[1:]):
            if after.node != before.node and after.began <= before.last:
                raise LabError(f"the unit ran twice: on {before.node} until {before.last:.3f}, "
                               f"on {after.node} from {after.began:.3f}")


class Machine(Vm):
    """One of the two."""

    def __init__(self, lab, name):
        number = 1 + NODES.index(name)
        super().__init__(
            options=f"-netdev tap,id=lan,ifname=tap-{name},script=no,downscript=no "
                    f"-device virtio-net-pci,netdev=lan,mac=02:00:00:00:00:{number:02},romfile=",
            via=("nsenter", f"--net={lab.space.path}"))
        self.lab, self.name, self.daemon = lab, name, Daemon(self)

    def install(self):
        """As an administrator sets it up; the unit is enabled, as far as systemd is concerned."""
        self.load_at_boot(DRIVER, "virtio_net", "loop")
        self.run("sh", "-ec", f"""
            echo {self.name} > /etc/hostname; hostname {self.name}
            mkdir -p {DATA} /var/log/journal; truncate -s 32M /var/lib/data.img; mkfs.ext4 -qF /var/lib/data.img
            systemctl restart systemd-journald""")
        self.daemon.install()
        self.write(KEY, self.lab.key, 0o600)
        self.write("/etc/systemd/system/lab-node.service", NODE_UNIT.format(address=OWN[self.name], data=DATA))
        for name, script, more in (("ledger", LEDGER, f"TimeoutStopSec={STOP_SECONDS}\n"), ("clerk", CLERK, "Nice=-20\n")):
            self.write(f"/usr/local/bin/{name}", script, 0o755)
            self.write(f"/etc/systemd/system/{name}.service", UNIT_FILE.format(name=name, more=more))
        peer = self.lab.peer(self.name)
        pair = pair_config(peer, KEY, [(OWN[self.name], OWN[peer])], takeover_within=f"{WITHIN_SECONDS}s", **arbiter(HOST))
        group = group_config(GROUP, VIP, units=[UNIT], safety="data", recover_after="10s", stop_within=f"{STOP_SECONDS}s")
        self.daemon.configure(HEAD + pair + group)
        self.daemon.systemctl("daemon-reload")
        self.daemon.systemctl("enable", "--quiet", "ledger")
        self.daemon.systemctl("enable", "--quiet", "--now", "lab-node", "clerk")
        self.run("sync")

    def cut(self):
        """It loses its power; returns when."""
        at = time.time()
        self.monitor.call("stop")
        self.monitor.call("system_reset")
        return at

    def hold(self):
        """It stands still, as one that is off: after a reset nothing of what was before is left."""
        self.monitor.call("stop")

    def power_on(self):
        """After `cut`, or `hold`."""
        self.monitor.call("cont")

    def group(self):
        """The group as `mastiff status` has it; empty if it does not answer."""
        answer = self.daemon.cli("status", "--json", check=False).stdout
        pair = json.loads(answer).get("pair") if answer else None
        return pair["groups"][0] if pair else {}

    def is_armed(self):
        told = json.loads(self.daemon.cli("watchdog", "status", "--json", check=False).stdout)["devices"]
        return any(device["active"] and "mastiffd" in {by["process"] for by in device["held_by"]} for device in told)


class Machines:
    """The two machines, the switch, the witness and the ledger."""

    def __init__(self):
        self.key = secrets.token_hex(32) + "\n"
        self.began = 0  # when the last voter started

    def __getitem__(self, name):
        return self.machines[name]

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.space = Space()
            stack.callback(self.space.close)
            self.home = pathlib.Path(tempfile.mkdtemp(prefix="mastiff-data-"))
            stack.callback(shutil.rmtree, self.home, ignore_errors=True)
            self.space.ip("link set lo up", "link add lan type bridge forward_delay 0 mcast_snooping 0",
                          f"address add {HOST}/24 dev lan", "link set lan up",
                          *[line for name in NODES
                            for line in (f"tuntap add mode tap name tap-{name}", f"link set tap-{name} master lan up")])
            link = self.space.socket(socket.AF_INET, socket.SOCK_DGRAM)
            link.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            link.bind((HOST, LEDGER_PORT))
            stack.callback(link.close)
            self._start_witness(stack)
            self.machines = {name: Machine(self, name) for name in NODES}
            for machine in self.machines.values():
                stack.callback(machine.close)
                machine.switch_on()
            self.ledger = Ledger(link)
            for machine in self.machines.values():
                machine.wait_boot()
            with concurrent.futures.ThreadPoolExecutor() as pool:
                list(pool.map(Machine.install, self.machines.values()))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def _start_witness(self, stack):
        (self.home / "key").touch(0o600)
        (self.home / "key").write_text(self.key)
        file = self.home / "witness.toml"
        file.write_text(NODE.format(name="witness", home=self.home) + witness_config(self.home / "key"))
        with open(self.home / "witness.log", "w") as log:
            self.witness = self.space.start(BINARIES / "mastiffd", "--config", file, priority=WITNESS_PRIORITY,
                                            stdout=log, stderr=log)
        stack.callback(self.witness.wait)
        stack.callback(self.witness.kill)

    def begin(self):
        """Start the daemons, now and at every boot."""
        for machine in self.machines.values():
            machine.daemon.systemctl("enable", "--quiet", "--now", "mastiff")
            machine.run("sync")
        self.booted()

    def booted(self):
        """A voter has started just now."""
        self.began = time.time()

    @staticmethod
    def peer(name):
        return NODES[1 - NODES.index(name)]

    def wait_whole(self, seconds=90):
        """Until one machine runs the unit and the other one could; returns their names. Both watchdogs are armed."""
        def is_owner(name):
            return self.ledger.runs_at(name) and self[name].group().get("role") == "active"

        def is_ready(name):
            found = self[name].group()
            return [found.get(key) for key in ("role", "peer_role", "not_ready")] == ["standby", "active", None]

        owner = until("somebody has the group", lambda: next(filter(is_owner, NODES), None), seconds, every=0.3)
        other = self.peer(owner)
        until("the other one could take it", lambda: is_ready(other), seconds, every=0.3)
        until("both watchdogs are armed", lambda: all(self[name].is_armed() for name in NODES), seconds, every=0.3)
        until("nobody keeps silent any more", lambda: time.time() > self.began + SILENCE_SECONDS + 1, seconds)
        return owner, other
