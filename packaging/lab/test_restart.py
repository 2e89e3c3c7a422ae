#!/usr/bin/env python3
"""Planned restarts and reloads of the node that serves, under systemd: who uses the address must not notice.

    test_restart.py [--long] [NAME ...]     all tests, or those whose names contain one of the words

Needs root, target/release (or $MASTIFF_BIN) and what nodes.py needs. --long tries every guard, and repeats more. The last line is `N passed, N failed`.
"""
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import unittest

from daemon import CONFIG, Daemon
from mastiffs import arbiter, group_config, pair_config, table, witness_config
from nodes import Lab, until
from runner import main

VIP, GUARDS = "10.77.0.100", ("bpf", "nftables", "nftables-inet", "lifetime")
KEY = "/etc/mastiff/lab.key"
# Asks for the address every 5 ms, by ARP, which passes the guard like everything else; prints when which MAC answered.
ASK = """
import socket, struct, sys, time
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x806))
link.bind((sys.argv[1], 0x806))
link.settimeout(0.005)
own = link.getsockname()[4]
wanted = socket.inet_aton(sys.argv[3])
ask = b"\\xff" * 6 + own + struct.pack("!HHHBBH", 0x806, 1, 0x800, 6, 4, 1) + own + socket.inet_aton(sys.argv[2]) + bytes(6) + wanted
due = time.monotonic()
while True:
    if time.monotonic() >= due:
        link.send(ask)
        due += 0.005
    try:
        frame = link.recv(128)
    except TimeoutError:
        continue
    if frame[20:22] == b"\\0\\2" and frame[28:32] == wanted:
        print(time.monotonic_ns(), frame[22:28].hex(":"), flush=True)
"""
# What a client may miss while nothing happens but a restart; the machine has few processors.
GAP_MS = 100
# The longest promise of the protocol, and what a takeover takes after it.
LONG_SECONDS = 10
WITHIN = {"bpf": "1s", "nftables": "1s", "nftables-inet": "1s", "lifetime": "5s"}
LONG = "--long" in sys.argv
RELOADS = 1000 if LONG else 100
# Each takes half a minute; without --long one guard stands for the others.
SLOW = {
    "test_nftables", "test_nftables_inet", "test_lifetime", "test_other_guard_and_timers_move_nothing", "test_slow_start",
    "test_never_back_nftables", "test_never_back_nftables_inet", "test_never_back_lifetime",
    "test_other_address_hands_over", "test_twenty_restarts",
}


class Restart(unittest.TestCase):
    """Two nodes, and a third that is witness and client."""

    guard = "auto"

    @classmethod
    def setUpClass(cls):
        cls.lab = cls.enterClassContext(Lab("a", "b", "c"))
        cls.nodes = {name: cls.lab[name] for name in "abc"}
        cls.daemons = {name: Daemon(node) for name, node in cls.nodes.items()}
        key = secrets.token_hex(32) + "\n"
        for name, daemon in cls.daemons.items():
            daemon.install()
            cls.nodes[name].write(KEY, key, 0o600)
            # Where no real-time thread is allowed: other work of this machine must not delay a node for a lease.
            cls.nodes[name].write("/etc/systemd/system/mastiff.service.d/nice.conf", "[Service]\nNice=-15\n")
            cls.nodes[name].run("mount", "-t", "bpf", "bpf", "/sys/fs/bpf", check=False)
            daemon.systemctl("daemon-reload")
        cls.nodes["c"].write(CONFIG, witness_config(KEY))
        cls.daemons["c"].systemctl("start", "mastiff")

    def story(self):
        return "".join(self.nodes[name].run("journalctl", "-u", "mastiff", "-n", "40", "--no-pager", "-o", "short-precise").stdout
                       for name in "ab")

    def config(self, name, guard, more="", group=""):
        peer = "b" if name == "a" else "a"
        head = table("[node]", {"name": name, "default_checks": False})
        pair = pair_config(peer, KEY, [(self.nodes[name].address(), self.nodes[peer].address())],
                           takeover_within=WITHIN.get(guard, "1s"), guard=guard, **arbiter(self.nodes["c"].address()))
        return head + pair + more + group_config("db", VIP) + group

    def begin(self, guard="auto"):
        """Both nodes from scratch; returns the one that serves and the one that could."""
        self.guard = guard
        for name in "ab":
            self.daemons[name].systemctl("stop", "mastiff", check=False)
        for name in "ab":
            self.nodes[name].run("rm", "-rf", "/var/lib/mastiff")
            self.nodes[name].write(CONFIG, self.config(name, guard))
            self.daemons[name].systemctl("reset-failed", "mastiff", check=False)
            self.daemons[name].systemctl("start", "mastiff")
        owner = until("somebody serves", lambda: next(filter(self.serves, "ab"), None), 40)
        other = "b" if owner == "a" else "a"
        self.wait_ready(other)
        self.pass_time(1)
        return owner, other

    def group(self, name, at=0):
        return json.loads(self.daemons[name].cli("status", "--json").stdout)["pair"]["groups"][at]

    def serves(self, name):
        return self.group(name)["role"] == "active"

    def wait_ready(self, name):
        until(f"{name} could take over", lambda: self.group(name)["role"] == "standby"
              and self.group(name)["not_ready"] is None, 30)

    def watch(self):
        """Watch who answers, as the client sees it, from now on."""
        self.answers = tempfile.TemporaryFile("w+")
        c = self.nodes["c"]
        process = subprocess.Popen(["chrt", "-f", "10", "setpriv", "--pdeathsig", "KILL", "nsenter", "-t", str(c.pid), "-n", sys.executable, "-c",
                                    ASK, "eth0", c.address(), VIP], stdout=self.answers)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        until("answers", self.seen)

    def seen(self):
        """All answers: (seconds, MAC)."""
        self.answers.seek(0)
        lines = self.answers.read().rsplit("\n", 1)[0].splitlines()
        return [(int(line.split()[0]) / 1e9, line.split()[1]) for line in lines]

    def gap_ms(self, since=0):
        """The longest time without an answer, from a moment on (time.monotonic())."""
        end = time.monotonic()  # before all answers are read
        times = [at for at, _ in self.seen() if at >= since] + [end]
        times[:0] = [since] if since else []
        return max(later - earlier for earlier, later in zip(times, times[1:])) * 1000

    def mac(self, name):
        return self.nodes[name].read("/sys/class/net/eth0/address").strip()

    def pass_time(self, seconds):
        end = time.monotonic() + seconds
        until("time passes", lambda: time.monotonic() > end, seconds + 5)

    def assert_unnoticed(self, owner, epoch, what):
        """The client missed nothing, nobody else answered, and the same epoch goes on."""
        gap = self.gap_ms()
        print(f"[{what}: {gap:.0f} ms without]", end=" ", flush=True)
        self.assertEqual({self.mac(owner)}, {mac for _, mac in self.seen()}, "who answers")
        self.assertEqual(("active", epoch), (self.group(owner)["role"], self.group(owner)["epoch"]))
        self.assertLess(gap, GAP_MS)


class Planned(Restart):
    """`systemctl restart`, as an upgrade does it."""

    def restarts(self, guard):
        owner, _ = self.begin(guard)
        epoch = self.group(owner)["epoch"]
        self.watch()
        for verb in ("restart", "try-restart"):
            old = self.daemons[owner].pid()
            began = time.monotonic()
            self.daemons[owner].systemctl(verb, "mastiff")
            took = time.monotonic() - began
            self.daemons[owner].wait_new_process("mastiff.service", old)
            self.pass_time(2)
            self.assert_unnoticed(owner, epoch, f"{verb} in {took:.1f} s")
        # After the long lease, too, it is the usual one that counts.
        self.pass_time(LONG_SECONDS)
        self.assert_unnoticed(owner, epoch, "after the long lease")

    def test_bpf(self):
        self.restarts("bpf")

    def test_nftables(self):
        self.restarts("nftables")

    def test_nftables_inet(self):
        self.restarts("nftables-inet")

    def test_lifetime(self):
        self.restarts("lifetime")

    def test_slow_start(self):
        """The new daemon takes its time, most of the long lease."""
        owner, _ = self.begin()
        epoch = self.group(owner)["epoch"]
        self.hold_back(owner, "4")
        self.watch()
        self.daemons[owner].systemctl("restart", "mastiff")
        self.assert_unnoticed(owner, epoch, "a start of 4 s")

    def hold_back(self, name, seconds):
        """From now on the daemon takes so long to start."""
        drop_in = "/etc/systemd/system/mastiff.service.d/slow.conf"
        self.nodes[name].write(drop_in, f"[Service]\nExecStartPre=/bin/sleep {seconds}\n")
        self.daemons[name].systemctl("daemon-reload")
        self.addCleanup(self.daemons[name].systemctl, "daemon-reload")
        self.addCleanup(self.nodes[name].run, "rm", "-f", drop_in)

    def never_back(self, guard):
        """The new daemon never comes: the address closes by itself, and then the peer has it."""
        owner, other = self.begin(guard)
        self.hold_back(owner, "infinity")
        self.watch()
        began = time.monotonic()
        self.daemons[owner].systemctl("restart", "--no-block", "mastiff")
        until("the peer serves", lambda: self.serves(other), 3 * LONG_SECONDS)
        self.pass_time(3)
        seen = self.seen()
        last = max(at for at, mac in seen if mac == self.mac(owner)) - began
        first = min(at for at, mac in seen if mac == self.mac(other)) - began
        print(f"[closed after {last:.1f} s, taken over after {first:.1f} s]", end=" ", flush=True)
        self.assertLess(last, first, "two owners")
        self.assertGreater(last, 1.5, "it was to stay open for the long lease")
        self.assertLess(first, LONG_SECONDS + 2)
        self.daemons[owner].systemctl("stop", "mastiff")

    def test_never_back_bpf(self):
        self.never_back("bpf")

    def test_never_back_nftables(self):
        self.never_back("nftables")

    def test_never_back_nftables_inet(self):
        self.never_back("nftables-inet")

    def test_never_back_lifetime(self):
        self.never_back("lifetime")

    def moves(self, owner, other, act):
        self.watch()
        began = time.monotonic()
        act()
        until("the peer serves", lambda: self.serves(other), 10)
        print(f"[moved within {time.monotonic() - began:.1f} s, {self.gap_ms():.0f} ms without]", end=" ", flush=True)
        self.assertLess(self.gap_ms(), 1000)

    def test_stop_hands_over(self):
        owner, other = self.begin()
        self.moves(owner, other, lambda: self.daemons[owner].systemctl("stop", "mastiff"))

    def test_bad_file_hands_over(self):
        """A restart with a file that the next daemon refuses is no restart."""
        owner, other = self.begin()
        self.nodes[owner].write(CONFIG, "[[group]\n")
        self.moves(owner, other, lambda: self.daemons[owner].systemctl("restart", "mastiff", check=False))

    def test_other_address_hands_over(self):
        owner, other = self.begin()
        self.nodes[owner].write(CONFIG, self.config(owner, "auto").replace(f'"{VIP}/32', f'"{VIP[:-1]}9/32'))
        self.moves(owner, other, lambda: self.daemons[owner].systemctl("restart", "mastiff"))

    def test_other_guard_and_timers_move_nothing(self):
        owner, _ = self.begin("bpf")
        epoch = self.group(owner)["epoch"]
        self.watch()
        for guard in ("nftables", "bpf", "nftables-inet"):
            text = self.config(owner, guard).replace('within = "1s"', 'within = "2s"')
            self.nodes[owner].write(CONFIG, text)
            self.daemons[owner].systemctl("restart", "mastiff")
            self.pass_time(2)
            self.assert_unnoticed(owner, epoch, guard)

    def test_hung_systemctl_hands_over(self):
        """Nobody says that it is a restart: a stop."""
        owner, other = self.begin()
        node = self.nodes[owner]
        node.run("mv", "/usr/bin/systemctl", "/usr/bin/systemctl.real")
        self.addCleanup(node.run, "mv", "-f", "/usr/bin/systemctl.real", "/usr/bin/systemctl")
        node.write("/usr/bin/systemctl", "#!/bin/sh\nexec sleep infinity\n", 0o755)
        self.moves(owner, other, lambda: node.run("/usr/bin/systemctl.real", "restart", "mastiff"))


class Many(Restart):
    """Restarts again and again."""

    def test_twenty_restarts(self):
        owner, _ = self.begin()
        epoch = self.group(owner)["epoch"]
        self.watch()
        for _ in range(20):
            self.daemons[owner].systemctl("restart", "mastiff")
        self.assert_unnoticed(owner, epoch, "20 restarts")


class Reloads(Restart):
    """A reload, again and again, on the node that serves."""

    def usage(self, name):
        """Of the daemon: processor seconds, KiB, descriptors."""
        proc = f"/proc/{self.daemons[name].pid()}"
        times = self.nodes[name].read(f"{proc}/stat").rsplit(")")[-1].split()[11:13]
        memory = self.nodes[name].read(f"{proc}/status").split("VmRSS:")[1].split()[0]
        files = self.nodes[name].run("ls", f"{proc}/fd").stdout.split()
        return sum(map(int, times)) / os.sysconf("SC_CLK_TCK"), int(memory), len(files)

    def reload(self, name, count):
        """Load two files by turns: a check comes and goes, and another key of the group changes."""
        script = ("i=0; while [ $i -lt $0 ]; do i=$((i+1)); cp /root/$((i%2)).toml /etc/mastiff/mastiff.toml; "
                  "mastiff reload > /root/said 2>&1 || exit 1; done")
        self.nodes[name].run("sh", "-c", script, count)

    def test_a_thousand(self):
        owner, other = self.begin()
        for at, more in enumerate(('recover-after = "9s"\n',
                                   '[[check]]\nname = "root"\nsensor = "file"\ntarget = "/"\n')):
            self.nodes[owner].write(f"/root/{at}.toml", self.config(owner, "auto", group=more))
        self.reload(owner, 100)
        epoch, before, pid = self.group(owner)["epoch"], self.usage(owner), self.daemons[owner].pid()
        self.watch()
        self.reload(owner, RELOADS)
        after = self.usage(owner)
        self.assertEqual(pid, self.daemons[owner].pid())
        spent, grown = (after[0] - before[0]) / RELOADS * 1000, after[1] - before[1]
        self.assert_unnoticed(owner, epoch, f"{RELOADS} reloads, {spent:.1f} ms of processor each, {grown} KiB more")
        self.assertLessEqual(after[2], before[2] + 2, "descriptors")
        self.assertLess(grown, 2048, "KiB")
        self.wait_ready(other)

    def test_what_takes_a_restart_is_refused_by_name(self):
        owner, other = self.begin()
        epoch = self.group(owner)["epoch"]
        text = self.config(owner, "auto").replace(f'"{VIP}/32', f'"{VIP[:-1]}9/32').replace('"1s"', '"2s"')
        self.nodes[owner].write(CONFIG, text)
        said = self.daemons[owner].cli("reload", check=False)
        self.assertEqual(78, said.returncode)
        for part in ("pair.takeover-within", 'group "db": addresses', "hands over db"):
            self.assertIn(part, " ".join(said.stderr.split()))
        # Where it belongs, on the other hand, is taken over; until both nodes agree nobody could take it.
        more = 'prefer = "b"\n'
        for name in (owner, other):
            self.nodes[name].write(CONFIG, self.config(name, "auto", group=more))
        self.watch()
        self.daemons[owner].cli("reload")
        until("they differ", lambda: self.group(other)["not_ready"] is not None)
        self.daemons[other].cli("reload")
        self.wait_ready(other)
        self.assert_unnoticed(owner, epoch, "another preference")

    def test_trial_goes_back(self):
        owner, other = self.begin()
        epoch = self.group(owner)["epoch"]
        self.nodes[owner].write(CONFIG, self.config(owner, "auto", group='prefer = "b"\n'))
        self.watch()
        self.daemons[owner].cli("reload", "--confirm", "3s")
        until("they differ", lambda: self.group(other)["not_ready"] is not None)
        self.assertIn("on trial", self.daemons[owner].cli("status").stdout)
        self.wait_ready(other)
        self.assertEqual(1, len(self.daemons[owner].events("config-rolled-back")))
        self.assert_unnoticed(owner, epoch, "a trial")


if __name__ == "__main__":
    main((Planned, Many, Reloads), SLOW)
