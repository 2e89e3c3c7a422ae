"""mastiffd on the stations of a PairLab (pair.py): two nodes and their witness.

Everything about pairs that knows the configuration file or what the command line prints is in this file.
"""
import json
import os
import pathlib
import secrets
import signal
import time

from nodes import LabError, until
from pair import NODES, vip4, vip6

PROJECT = pathlib.Path(__file__).resolve().parents[2]
BINARIES = pathlib.Path(os.environ.get("MASTIFF_BIN", PROJECT / "target/release"))
SPEEDS = {"30ms": 0.03, "300ms": 0.3, "1s": 1.0}
PORT = 4170
SILENCE_SECONDS = 10  # of a voter that remembers nothing: the longest lease of the protocol
# The witness is another machine: what keeps this one busy must not delay it.
WITNESS_PRIORITY = 40
NODE = """[node]
name = "{name}"
state-dir = "{home}/state"
run-dir = "{home}/run"
default-checks = false
"""
# With a fence agent its 30 s belong to the sum, however quick it is.
FENCED_WITHIN = "31s"


def table(head, keys):
    """A table of the configuration; the key `a_b` is a-b there."""
    lines = [f"{key.replace('_', '-')} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join([head, *lines]) + "\n"


def pair_config(peer, key, paths, **more):
    """`[pair]` of a node; each path is (own address, the peer's)."""
    paths = ", ".join(f'{{ local = "{own}:{PORT}", peer = "{others}:{PORT}" }}' for own, others in paths)
    return table("[pair]", {"name": "lab", "peer": peer, "key_file": str(key), **more}) + f"paths = [{paths}]\n"


def arbiter(witness):
    """What `pair_config` is told of a witness."""
    return {"arbiter": "witness", "witness": f"{witness}:{PORT}"}


def group_config(name, *addresses, **more):
    """A `[[group]]` with those addresses, each a network of its own."""
    whole = [f"{ip}/{128 if ':' in ip else 32} dev eth0" for ip in addresses]
    return table("[[group]]", {"name": name, "addresses": whole, **more})


def witness_config(key):
    """The file of a witness, or its part."""
    return table("[witness]", {"listen": f"0.0.0.0:{PORT}"}) + table("[[witness.pair]]", {"name": "lab", "key_file": str(key)})


class Mastiff:
    """One pair and its witness. `speed` is its takeover-within."""

    name = "mastiff"
    speeds = SPEEDS
    cannot = ()

    def __init__(self, lab, speed, groups=1, fence=None):
        """`fence`: an agent instead of the witness: a function of the node that it is to cut off, which returns its
        path and options as the configuration has them."""
        self.lab, self.speed, self.groups, self.fence = lab, FENCED_WITHIN if fence else speed, groups, fence
        self.period = self.speeds[speed]
        self.daemons, self.started = {}, {}
        self.key = lab.home / "key"
        self.key.touch(0o600)
        self.key.write_text(secrets.token_hex(32) + "\n")

    @staticmethod
    def version():
        path = BINARIES / "mastiffd"
        return f"mastiffd {path} of {path.stat().st_size:,} bytes" if path.exists() else "mastiffd: missing"

    def config(self, station):
        """The configuration file of a station, as text."""
        head = NODE.format(name=station.name, home=station.home)
        if station.name not in NODES:
            return head + witness_config(self.key)
        peer = self.lab.peer(station)
        paths = [(station.address(cable), peer.address(cable)) for cable in station.paths]
        judge = arbiter(self.lab["witness"].address())
        if self.fence:
            judge = {"arbiter": "fence", "fence": self.fence(peer)}
        groups = [group_config(f"g{group}", vip4(group), vip6(group)) for group in range(self.groups)]
        return head + pair_config(peer.name, self.key, paths, takeover_within=self.speed, **judge) + "".join(groups)

    def start(self, station):
        """Start the daemon on a node or on the witness; what it says goes to the station's log `mastiffd`."""
        if not (BINARIES / "mastiffd").exists():
            raise LabError(f"{BINARIES}/mastiffd is missing; build it (cargo build --release) or set MASTIFF_BIN")
        for directory in ("state", "run"):
            (station.home / directory).mkdir(exist_ok=True)
        file = station.home / "mastiff.toml"
        file.write_text(self.config(station))
        self.started[station.name] = time.monotonic()
        # The nodes' daemons take theirs by themselves.
        priority = None if station.name in NODES else WITNESS_PRIORITY
        self.daemons[station.name] = station.start(BINARIES / "mastiffd", "--config", file, log="mastiffd",
                                                   priority=priority)

    def begin(self):
        """Start all three. Nobody serves for SILENCE_SECONDS, since nobody remembers what was promised before."""
        for name in ("witness", *NODES):
            self.start(self.lab[name])

    def wait_served(self, owner):
        """Wait until a node serves the address, as `owner()` tells, and the other one could. With several groups: until
        one node has them all."""
        until("mastiffd serves the address", lambda: self.check_alive() or owner(), 3 * SILENCE_SECONDS)
        self.gather()
        until("a node could take over", lambda: any(self.is_ready(self.lab[name]) for name in NODES), SILENCE_SECONDS)

    def gather(self):
        """Have all groups on one node: when both start at once, each group goes to whoever asks first."""
        first, second = (self.lab[name] for name in NODES)

        def owned():
            """Which groups each node has, once every group has an owner."""
            both = [{at for at, group in enumerate(self.groups_at(node)) if group["role"] == "active"}
                    for node in (first, second)]
            return both if len(both[0] | both[1]) == self.groups else None

        ours, theirs = until("every group has an owner", owned)
        for group in theirs if ours else ():
            self.switchover(second, group)

    def check_alive(self):
        for name, process in self.daemons.items():
            if process.poll() is not None:
                raise LabError(f"mastiffd ended on {name}:\n{self.lab[name].log('mastiffd')}")

    def signal(self, station, number):
        station.signal(number, [self.daemons[station.name]])

    def stop(self, station):
        """A planned stop, as `systemctl stop` does it."""
        self.daemons[station.name].send_signal(signal.SIGTERM)

    def cli(self, station, *words):
        """`mastiff` on a station; returns what it prints."""
        return station.space.run(BINARIES / "mastiff", "--config", station.home / "mastiff.toml", *words)

    def switchover(self, station, group=0):
        self.cli(station, "switchover", f"g{group}")

    def restart(self, station):
        """A planned restart, or a start after its end."""
        process = self.daemons.pop(station.name)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        until(f"mastiffd ends on {station.name}", lambda: process.poll() is not None)
        station.processes.remove(process)
        self.start(station)

    def ensure(self, station):
        """Have it run, after whatever."""
        process = self.daemons.get(station.name)
        if process is None or not station.processes:
            self.start(station)
        elif process.poll() is not None:
            self.restart(station)

    def groups_at(self, station):
        """The groups as `mastiff status` of a node has them."""
        return json.loads(self.cli(station, "status", "--json"))["pair"]["groups"]

    def describe(self, station):
        """What `mastiff status` of a node says, or why it does not."""
        try:
            return self.cli(station, "status")
        except LabError as error:
            return str(error)

    def is_ready(self, standby):
        """Whether it could take over at once: it says so, and neither it nor the witness keeps silent any more."""
        last = max(self.started[standby.name], self.started["witness"])
        return time.monotonic() > last + SILENCE_SECONDS + 1 and all(
            (group["role"], group["peer_role"], group["not_ready"]) == ("standby", "active", None)
            for group in self.groups_at(standby))

    def wait_ready(self, standby):
        until(f"{standby.name} could take over", lambda: self.is_ready(standby), 3 * SILENCE_SECONDS)
