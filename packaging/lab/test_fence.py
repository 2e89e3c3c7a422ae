#!/usr/bin/env python3
"""The fence agents that people have, instead of a witness: fence_dummy, and fence_ipmilan with a simulated BMC.

    test_fence.py [NAME ...]     as test_pair.py, whose pair and whose questions these are

Needs besides the Debian packages fence-agents (both agents), openipmi (ipmi_sim) and ipmitool. The power-off of an
agent is a real one: this program is the power supply, and does to a node what its BMC, or the file of fence_dummy,
was told.
"""
import signal
import time

from nodes import until
from pair import NODES
from runner import main
from space import Space
from test_pair import PairTest

# Of the promise to a silent owner, and of an agent that has nothing to wait for, on a busy machine.
FENCED_MS = 8_000
# The client's last answer before a node is off, on a busy machine.
SERVED_LATE_MS = 500
# A failed agent is left alone for five seconds, and has three to see the power change (AGENT).
FAILED_SECONDS = 15
DUMMY = "/usr/sbin/fence_dummy status_file={} power_wait=1"
# As packaging/mastiff.toml has it, and: the simulator knows one cipher suite and does not tell which, and it is asked
# for that one alone for fourteen seconds.
AGENT = ("/usr/sbin/fence_ipmilan ip={} username=ha password_script={} lanplus=1 cipher=3 power_wait=1 "
         "power_timeout=3")
PASSWORD = "secret"
BMC = """name "{name}"
set_working_mc 0x20
startlan 1
  addr {address} 623
  priv_limit admin
  allowed_auths_admin md5
  guid 00112233445566778899aabbccddeeff
endlan
chassis_control "{chassis} 0x20"
user 2 true "ha" "{password}" admin 10
"""
BMC_COMMANDS = """mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0 0
mc_enable 0x20
"""
# ipmi_sim calls it with `0x20 get power` and `0x20 set power 0|1`. An order is done when the power supply has done it,
# or is forgotten when the test ends.
CHASSIS = """#!/bin/sh
case $2 in
    get) echo power:$(cat {home}/power) ;;
    set) echo $4 > {home}/order.new && mv {home}/order.new {home}/order
         while [ ! -e {home}/stuck ] && [ -e {home}/order ] && [ "$(cat {home}/power)" != $4 ]; do sleep 0.02; done ;;
esac
"""


class Bmc:
    """A simulated BMC of one node. It is a machine of its own on the second cable, the management network, and has
    power when its node has none."""

    def __init__(self, lab, node):
        self.node, self.port = node, f"power-{node.name}"
        self.address = f"10.77.1.{100 + node.number}"
        self.home = lab.home / self.port
        self.home.mkdir()
        self.space = Space()
        lab.switch.ip(f"link add {self.port} type veth peer name eth0 netns {self.space.path}",
                      f"link set {self.port} master switch1 up")
        self.space.ip("link set lo up", f"address add {self.address}/24 dev eth0", "link set eth0 up")
        self.script("chassis", CHASSIS.format(home=self.home))
        self.password = self.script("password", f"#!/bin/sh\necho {PASSWORD}\n")
        self.mend()

    def __enter__(self):
        (self.home / "lan.conf").write_text(BMC.format(name=self.port, address=self.address, password=PASSWORD,
                                                       chassis=self.home / "chassis"))
        (self.home / "commands").write_text(BMC_COMMANDS)
        (self.home / "state").mkdir()
        with open(self.home / "log", "w") as log:
            self.simulator = self.space.start(
                "ipmi_sim", "-n", "-c", self.home / "lan.conf", "-f", self.home / "commands", "-s", self.home / "state",
                stdout=log, stderr=log)
        return self

    def __exit__(self, *_):
        self.simulator.kill()
        self.simulator.wait()
        self.space.close()

    def script(self, name, text):
        path = self.home / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def agent(self):
        """What the other node calls."""
        return AGENT.format(self.address, self.password)

    def mend(self):
        """The node has power, and the BMC does what it is told."""
        (self.home / "stuck").unlink(missing_ok=True)
        (self.home / "order").unlink(missing_ok=True)
        (self.home / "power").write_text("1")

    def stick(self):
        """From now on it takes orders and does nothing."""
        (self.home / "stuck").touch()

    def is_told_off(self):
        order = self.home / "order"
        return not (self.home / "stuck").exists() and order.exists() and order.read_text().strip() == "0"

    def cut(self):
        """Say that the node's power is off now."""
        (self.home / "power").write_text("0")


class DummyPlug:
    """The file of fence_dummy, which it takes for the power: written by the agent, obeyed here."""

    def __init__(self, lab, node):
        self.node, self.file = node, lab.home / f"plug-{node.name}"
        self.mend()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def agent(self):
        return DUMMY.format(self.file)

    def mend(self):
        self.file.write_text("on")

    def is_told_off(self):
        return self.file.read_text() == "off"

    def cut(self):
        pass


class FenceTest(PairTest):
    """A pair that has fence agents instead of a witness; `plug` is what a node's power comes through."""

    paths, plug = 2, None

    @classmethod
    def make_agent(cls):
        cls.plugs = {name: cls.enterClassContext(cls.plug(cls.lab, cls.lab[name])) for name in NODES}
        return lambda node: cls.plugs[node.name].agent()

    def setUp(self):
        for plug in self.plugs.values():
            plug.mend()
        super().setUp()
        self.before = {name: len(self.log(name)) for name in NODES}

    def tearDown(self):
        """A call under way is not recalled: it would cut off the node of the next test."""
        def at_rest():
            said = self.said(self.standby)
            return said.count("is being cut") <= said.count("not confirmed off") + said.count("is off, by the word")

        try:
            self.wait("the agent ends", at_rest, FAILED_SECONDS)
        finally:
            super().tearDown()

    def log(self, name):
        return self.lab[name].log("mastiffd")

    def said(self, node):
        """What the daemon of a node has said in this test."""
        return self.log(node.name)[self.before[node.name]:]

    def supply(self):
        """The power supply: what a plug was told happens to its node."""
        for plug in self.plugs.values():
            if plug.node.is_on and plug.is_told_off():
                self.cut_at = self.lab.power_cut(plug.node)
                plug.cut()

    def wait(self, what, true, seconds):
        """As `until`, with power."""
        return until(what, lambda: self.supply() or true(), seconds, every=0.01)

    def assert_fenced(self, since):
        """The active node is cut off, and then the standby serves."""
        self.wait("the standby serves", lambda: self.owner_of_all() == self.standby.number, FENCED_MS / 1000 + 5)
        self.assertFalse(self.active.is_on)
        for target in self.targets:
            served = self.probes.client.first_answer(self.standby.number, since, target)
            self.assertGreater(served, self.cut_at, "served before the other node was off")
            self.assertLessEqual((served - since) / 1e6, FENCED_MS, f"ms to {self.probes.targets[target]}")
        first = (self.probes.client.first_answer(self.standby.number, since) - since) / 1e9
        print(f"[{first:.2f} s, off after {(self.cut_at - since) / 1e9:.2f} s]", end=" ", flush=True)
        self.assertIn("is off, by the word of the fence agent", self.said(self.standby))

    def wait_failed(self, why):
        """Until the standby's agent has failed, as the daemon tells it."""
        def failed():
            return [line for line in self.said(self.standby).splitlines() if "not confirmed off" in line]

        for line in self.wait("the agent fails", failed, FAILED_SECONDS):
            self.assertIn(why, line)
        self.assertNotEqual(self.standby.number, self.owner_of_all())

    def freeze(self):
        self.addCleanup(self.pair.daemons[self.active.name].send_signal, signal.SIGCONT)
        began = time.monotonic_ns()
        self.pair.signal(self.active, signal.SIGSTOP)
        return began


class TestDummy(FenceTest):
    """fence_dummy, whose power is a file."""

    plug = DummyPlug

    def test_frozen_owner_is_cut_off(self):
        self.assert_fenced(self.freeze())


class TestIpmi(FenceTest):
    """fence_ipmilan, and a simulated BMC for each node."""

    plug = Bmc

    def test_owner_that_is_parted_from_its_peer_is_cut_off(self):
        """It serves until then: who has a group keeps it, and only a dead one is succeeded."""
        self.assert_fenced(self.lab.part("a", ["b"]))
        last = max(got for got, node in self.probes.client.answers(since=self.since) if node == self.active.number)
        self.assertLess((self.cut_at - last) / 1e6, SERVED_LATE_MS, "ms without service before the cut")

    def test_bmc_out_of_reach_until_an_operator_vouches(self):
        """Who lives stays, whoever is dead is not succeeded. A BMC often loses its power with its node."""
        self.lab.part("a", ["b"])
        self.lab.block(self.standby.name, self.plugs[self.active.name].port)
        self.wait_failed("Connection timed out")
        self.assert_stayed(gap_ms=None)
        self.lab.power_cut(self.active)
        self.assert_nobody_serves()
        self.pair.cli(self.standby, "failover", "--peer-is-off", "--yes")
        until("the standby serves", lambda: self.owner_of_all() == self.standby.number)

    def test_bmc_that_says_on_after_off(self):
        self.plugs[self.active.name].stick()
        self.freeze()
        self.wait_failed("Timed out waiting to power OFF")
        self.assert_nobody_serves()
        self.assertIn("Timed out waiting to power OFF", self.pair.cli(self.standby, "status"))
        self.plugs[self.active.name].mend()
        self.assert_fenced(time.monotonic_ns())


if __name__ == "__main__":
    main((TestDummy, TestIpmi))
