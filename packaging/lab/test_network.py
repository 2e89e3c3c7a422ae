#!/usr/bin/env python3
"""A pair whose interfaces are managed by others, who remove what they do not know: systemd-networkd and NetworkManager.

    test_network.py [NAME ...]     all tests, or those whose names contain one of the words

Whatever an administrator or an upgrade makes of the managers, no role changes, nobody else answers for the address, and
where it was removed it is back within milliseconds: a client that asks every 5 ms says how many. Needs root,
target/release (or $MASTIFF_BIN) and what nodes.py needs. The last line is `N passed, N failed`.
"""
import time

from nodes import SWITCHES, until
from runner import main
from test_restart import VIP, Restart

VIP6 = "fd77::100"
# Until the manager has done what it was told, and whoever removes something has.
SETTLE_SECONDS = 0.4
# Asked every 5 ms, on a machine with few processors.
GAP_MS = 100
NETWORK = """[Match]
Name={link}
[Network]
Address={address}/24
IPv6AcceptRA=no
LinkLocalAddressing=no
KeepConfiguration={keep}
"""
PROFILE = """[connection]
id={link}
type=ethernet
interface-name={link}
[ipv4]
method=manual
address1={address}/24
[ipv6]
method=disabled
"""


class Managed(Restart):
    """Both nodes, and what their manager is told on each of them."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for node in map(cls.nodes.get, "ab"):
            for link in SWITCHES:
                # What a manager finds without having put it there it tries to understand.
                node.run("ip", "addr", "flush", "dev", link)
            cls.manage(node)

    def config(self, *words, **more):
        return super().config(*words, **more).replace(f'"{VIP}/32 dev eth0"', f'"{VIP}/32 dev eth0", "{VIP6}/128 dev eth0"')

    def addresses(self, name):
        """What of the group is on the node."""
        found = self.nodes[name].run("ip", "-o", "addr", "show", "dev", "eth0").stdout.split()
        return {it for it in (f"{VIP}/32", f"{VIP6}/128") if it in found}

    def restored(self, name):
        """How often the daemon of the node has put something back."""
        return len(self.daemons[name].events("address-restored"))

    def go_through(self, owner, other, *acts, nodes="ab"):
        """Do each of them on the node that serves, then on the other one; returns how often something was put back."""
        began = {name: self.restored(name) for name in (owner, other)}
        epoch = self.group(owner)["epoch"]
        for name in filter(nodes.__contains__, (owner, other)):
            for act in acts:
                before, since = self.restored(name), time.monotonic()
                act(self.nodes[name])
                self.pass_time(SETTLE_SECONDS)
                gap, restored = self.gap_ms(since), self.restored(name) - before
                which = "active" if name == owner else "standby"
                print(f"\n  {which}, {act.__doc__}: {gap:.0f} ms without, put back {restored} times", end="", flush=True)
                self.assertLess(gap, GAP_MS)
                self.assertEqual({self.mac(owner)}, {mac for _, mac in self.seen()}, "who answers")
                self.assertEqual(("active", epoch), (self.group(owner)["role"], self.group(owner)["epoch"]))
                self.assertEqual({f"{VIP}/32", f"{VIP6}/128"}, self.addresses(owner))
                self.assertEqual(set(), self.addresses(other))
        for name in (owner, other):
            self.assertEqual([], self.daemons[name].events("guard-rebuilt"))
        self.wait_ready(other)
        self.assertEqual(began[other], self.restored(other), "there is nothing to put back")
        return self.restored(owner) - began[owner]


class Networkd(Managed):
    """systemd-networkd, with a file for each interface."""

    @classmethod
    def manage(cls, node, keep="no"):
        for link in SWITCHES:
            text = NETWORK.format(link=link, address=node.address(link), keep=keep)
            node.write(f"/etc/systemd/network/{link}.network", text)
        node.run("systemctl", "restart", "systemd-networkd")
        for link in SWITCHES:
            until(f"{link} is configured", lambda link=link: "(configured)" in node.run("networkctl", "status", link).stdout)

    def test_networkd(self):
        def restart(node):
            """systemctl restart systemd-networkd"""
            node.run("systemctl", "restart", "systemd-networkd")

        def stop_and_start(node):
            """systemctl stop systemd-networkd, start"""
            node.run("systemctl", "stop", "systemd-networkd.socket", "systemd-networkd.service")
            self.pass_time(SETTLE_SECONDS)
            node.run("systemctl", "start", "systemd-networkd")

        def reload(node):
            """networkctl reload of a changed file"""
            node.run("touch", "/etc/systemd/network/eth0.network")
            node.run("networkctl", "reload")

        def reconfigure(node):
            """networkctl reconfigure eth0"""
            node.run("networkctl", "reconfigure", "eth0")

        owner, other = self.begin()
        self.watch()
        acts = restart, stop_and_start, reload, reconfigure
        self.assertIn("KeepConfiguration=yes", self.daemons[owner].cli("doctor", check=False).stdout)
        self.assertGreater(self.go_through(owner, other, *acts), 0)
        for node in map(self.nodes.get, "ab"):
            self.manage(node, "yes")
        print("\n  KeepConfiguration=yes:", end="")
        self.assertNotIn("KeepConfiguration=yes", self.daemons[owner].cli("doctor", check=False).stdout)
        self.assertEqual(0, self.go_through(owner, other, *acts, nodes=owner), "it was to keep them")
        print(end=" ")


class NetworkManager(Managed):
    """NetworkManager, with a profile for each interface."""

    @classmethod
    def manage(cls, node):
        for link in SWITCHES:
            text = PROFILE.format(link=link, address=node.address(link))
            node.write(f"/etc/NetworkManager/system-connections/{link}.nmconnection", text, 0o600)
        node.run("systemctl", "start", "NetworkManager")
        for link in SWITCHES:
            until(f"{link} is connected",
                  lambda link=link: f"{link}:connected" in node.run("nmcli", "-t", "-f", "device,state", "device").stdout)

    def test_network_manager(self):
        def restart(node):
            """systemctl restart NetworkManager"""
            node.run("systemctl", "restart", "NetworkManager")

        def stop_and_start(node):
            """systemctl stop NetworkManager, start"""
            node.run("systemctl", "stop", "NetworkManager")
            self.pass_time(SETTLE_SECONDS)
            node.run("systemctl", "start", "NetworkManager")

        def reload(node):
            """nmcli general reload"""
            node.run("nmcli", "general", "reload")

        def reapply(node):
            """nmcli device reapply eth0"""
            node.run("nmcli", "device", "reapply", "eth0")

        def up(node):
            """nmcli connection up eth0"""
            node.run("nmcli", "connection", "up", "eth0")

        owner, other = self.begin()
        self.watch()
        self.assertGreater(self.go_through(owner, other, restart, stop_and_start, reload, reapply, up), 0)
        print(end=" ")


if __name__ == "__main__":
    main((Networkd, NetworkManager))
