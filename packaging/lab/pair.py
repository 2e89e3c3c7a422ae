"""Two nodes, a client, a witness and a monitor on one switch, and everything that can go wrong between them.

    with PairLab() as lab:                      # PairLab(paths=2): the nodes have a second cable between them
        a = lab["a"]
        a.start("/usr/sbin/keepalived", ...)    # a program of the node; it dies with the node, and with this program
        lab.power_cut(a)                        # its processes and its cables, at the same moment
        lab.block("a", "b"); lab.heal()         # frames from a do not reach b any more; as before
        a.boot()                                # a new machine: nothing of the old one is left

Every station has a network namespace of its own, the switch too, so nothing of this reaches the host. Addresses:
10.77.0.N and fd77::N on eth0, N = 1 to 5 in the order of STATIONS; 10.77.1.N on eth1, the second cable. The floating
addresses are not set by anybody here. Frames are dropped in the switch (nftables, family bridge), as a broken switch
would: the stations see their carrier. Needs ip(8) and nft(8).
"""
import os
import pathlib
import shutil
import signal
import tempfile
import time

from nodes import until
from space import Space, set_up

STATIONS = ("a", "b", "client", "witness", "monitor")
NODES = ("a", "b")
VIPS_MAX = 8


def vip4(group=0):
    """The floating IPv4 address of a group."""
    return f"10.77.0.{100 + group}"


def vip6(group=0):
    """The floating IPv6 address of a group."""
    return f"fd77::{100 + group:x}"


class Station:
    """One machine. Its processes are those that were started through it, and all their descendants."""

    def __init__(self, lab, name):
        self.lab, self.name, self.number = lab, name, 1 + STATIONS.index(name)
        self.cables = range(lab.paths if name in NODES else 1)
        self.paths = self.cables  # those in whose network it has an address
        self.space, self.processes, self.is_on = None, [], False
        self.home = lab.home / name
        self.home.mkdir()

    def address(self, cable=0):
        return f"10.77.{cable}.{self.number}"

    def boot(self):
        """A machine with its cables plugged in and nothing running, for the first time or again."""
        self.halt()
        self.space = Space()
        switch = self.lab.switch
        switch.ip(*[line for cable in self.cables for line in (
            f"link add {self.name}{cable} type veth peer name eth{cable} address {self.mac(cable)} "
            f"netns {self.space.path}",
            f"link set {self.name}{cable} master switch{cable} up")])
        self.configure()
        self.is_on = True
        return self

    def configure(self):
        """Give a new machine its addresses, and switch its interfaces on."""
        self.space.ip(
            "link set lo up",
            *[f"address add {self.address(cable)}/24 dev eth{cable}" for cable in self.cables],
            # Before the link is up, or the kernel first asks for a second whether somebody else has it.
            f"address add fd77::{self.number}/64 dev eth0 nodad",
            *[f"link set eth{cable} up" for cable in self.cables])

    def mac(self, cable=0):
        return f"02:4d:00:00:{cable:02x}:{self.number:02x}"

    def start(self, *words, log=None, **options):
        """Start a program on it; `log` names the file of its output in the station's directory."""
        with open(self.home / (log or "output"), "a") as output:
            process = self.space.start(*words, stdout=output, stderr=output, **options)
        self.processes.append(process)
        return process

    def log(self, name="output"):
        path = self.home / name
        return path.read_text(errors="replace") if path.exists() else ""

    def signal(self, number, processes=None):
        """Send it to programs of the station and all their children. SIGKILL is preceded by SIGSTOP, so that no parent
        starts a child anew and no child can tell that its parent has gone."""
        pids = [pid for process in (processes or self.processes) for pid in family(process.pid)]
        for step in (signal.SIGSTOP, signal.SIGKILL) if number == signal.SIGKILL else (number,):
            for pid in pids:
                try:
                    os.kill(pid, step)
                except ProcessLookupError:
                    pass

    def reap(self):
        """Wait for what has been killed."""
        for process in self.processes:
            process.wait()
        self.processes.clear()

    def halt(self):
        """End it with all that it has, without any fault in mind."""
        if self.space is None:
            return
        self.signal(signal.SIGKILL)
        self.reap()
        # Its end of a cable goes with the namespace, but only some time later.
        self.lab.switch.ip(*[f"link delete {self.name}{cable}" for cable in self.cables])
        self.space.close()
        self.space = None


def family(pid):
    """A process and all its descendants, in that order."""
    found = [pid]
    for parent in found:
        for children in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:  # ended meanwhile
                pass
    return found


class PairLab:
    """The stations and their switches, which end with the `with` block."""

    node = Station  # what a node is
    # Snooping would hold back multicast for the first seconds.
    bridge = "forward_delay 0 mcast_snooping 0"

    def __init__(self, paths=1):
        self.paths = paths
        self.dropped = {}

    def __enter__(self):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="mastiff-pair-"))
        self.switch = Space()
        self.control = self.switch.socket()
        self.switch.ip(*[line for cable in range(self.paths) for line in (
            f"link add switch{cable} type bridge {self.bridge}", f"link set switch{cable} up")])
        self.stations = {name: (self.node if name in NODES else Station)(self, name) for name in STATIONS}
        for station in self.stations.values():
            station.boot()
        for station in self.stations.values():
            self.wait_carrier(station)
        return self

    def __exit__(self, *_):
        for station in self.stations.values():
            station.halt()
        self.control.close()
        self.switch.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def __getitem__(self, name):
        return self.stations[name]

    def peer(self, node):
        return self["b" if node.name == "a" else "a"]

    def wait_carrier(self, station):
        """Until the station's ports forward."""
        ports = [f"{station.name}{cable}" for cable in station.cables]
        until(f"the cables of {station.name}", lambda: all(
            "state forwarding" in self.switch.run("bridge", "link", "show", "dev", port) for port in ports))

    # Faults. Each returns when it is in force, and tells when it began (CLOCK_MONOTONIC, ns).

    def plug(self, node, up, cables=None):
        """Plug or pull cables at the switch: the node sees its carrier go."""
        began = time.monotonic_ns()
        for cable in node.cables if cables is None else cables:
            set_up(self.control, f"{node.name}{cable}", up)
        return began

    def power_cut(self, node):
        """All processes of a node and its cables. They are stopped first, because to switch off an interface takes the
        kernel milliseconds, and nothing may be sent on the second cable while the first is switched off."""
        began = time.monotonic_ns()
        node.signal(signal.SIGSTOP)
        self.plug(node, up=False)
        node.signal(signal.SIGKILL)
        node.reap()
        node.is_on = False
        return began

    def lose(self, source, target, percent):
        """From now on this share of the frames from one station to another is lost, on all cables."""
        self.dropped[source, target] = percent
        return self._apply()

    def block(self, source, target):
        """No frame from one station reaches the other."""
        return self.lose(source, target, 100)

    def part(self, one, others):
        """Cut a station off from others, in both directions."""
        for other in others:
            self.dropped[one, other] = self.dropped[other, one] = 100
        return self._apply()

    def heal(self):
        """No frame is dropped any more."""
        self.dropped.clear()
        return self._apply()

    def _apply(self):
        rules = "".join(
            f'  iifname "{source}*" oifname "{target}*" '
            + ("drop\n" if percent == 100 else f"numgen random mod 100 < {percent} drop\n")
            for (source, target), percent in self.dropped.items())
        began = time.monotonic_ns()
        self.switch.run("nft", "-f", "-", text=(
            "table bridge fault\ndelete table bridge fault\ntable bridge fault {\n chain forward {\n"
            f"  type filter hook forward priority 0; policy accept;\n{rules} }}\n}}\n"))
        return began
