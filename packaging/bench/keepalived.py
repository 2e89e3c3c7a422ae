"""keepalived on the nodes of a PairLab (../lab/pair.py), as its manual page suggests for a pair that shall not fail
back: VRRP version 3, both start as BACKUP with nopreempt, multicast. Real-time priority and locked memory, which
mastiffd takes by itself, are asked for, or the comparison would measure this machine's other work; with its default
limit of 10 ms of such time at a stretch (vrrp_rlimit_rttime) a busy machine kills it every few seconds."""
import re
import shutil
import signal
import subprocess
import time

from nodes import LabError, until
from pair import vip4, vip6

SPEEDS = {"0.01": 0.01, "0.1": 0.1, "1": 1.0}
CONFIG = """global_defs {{
    router_id {name}
    vrrp_version 3
    vrrp_rt_priority 50
    vrrp_rlimit_rttime 1000000
    vrrp_no_swap
    script_user root
}}
"""
GROUP = """vrrp_instance V{group} {{
    state BACKUP
    nopreempt
    interface eth0
    virtual_router_id {router}
    priority {priority}
    advert_int {interval}
    virtual_ipaddress {{
        {vip4}/32 dev eth0
    }}
    virtual_ipaddress_excluded {{
        {vip6}/128 dev eth0
    }}
}}
"""


def install():
    """Have the program; on a Debian or a relative it is installed without starting its service."""
    if shutil.which("keepalived"):
        return
    subprocess.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", "keepalived"], check=True,
                   stdout=subprocess.DEVNULL)
    if not shutil.which("keepalived"):
        raise LabError("keepalived is not installed")


class Keepalived:
    """One pair. `speed` is a key of SPEEDS, the seconds between two adverts."""

    name = "keepalived"
    speeds = SPEEDS
    cannot = ("switchover",)  # short of stopping it

    def __init__(self, lab, speed, groups=1):
        self.lab, self.interval, self.groups = lab, SPEEDS[speed], groups
        self.period = self.interval
        self.daemons = {}

    @staticmethod
    def version():
        told = subprocess.run(["keepalived", "--version"], capture_output=True, text=True).stderr
        return told.splitlines()[0].split(" (")[0]

    def start(self, node):
        """Start it on a node, and wait until it waits for adverts."""
        config = node.home / "keepalived.conf"
        priority = {"a": 150, "b": 100}[node.name]  # 100 is the default
        config.write_text(CONFIG.format(name=node.name) + "".join(
            GROUP.format(group=group, router=51 + group, priority=priority, interval=self.interval,
                         vip4=vip4(group), vip6=vip6(group)) for group in range(self.groups)))
        before = len(node.log())
        self.daemons[node.name] = node.start(
            "keepalived", "--dont-fork", "--log-console", "--log-detail", "--vrrp", "--use-file", config,
            "--pid", node.home / "keepalived.pid", "--vrrp_pid", node.home / "vrrp.pid")
        until(f"keepalived on {node.name} has started",
              lambda: len(re.findall("Entering BACKUP STATE", node.log()[before:])) >= self.groups)

    def begin(self):
        """Nothing can be started ahead: the node that shall be active starts first and alone."""

    def wait_served(self, owner):
        """Start it on both nodes; returns when one serves, as `owner()` tells, and the other has heard it."""
        self.start(self.lab["a"])
        until("keepalived serves the address", owner, 4 * self.interval + 10)
        self.start(self.lab["b"])
        time.sleep(3 * self.interval + 0.2)  # it tells nobody that it hears adverts

    def signal(self, node, number):
        node.signal(number, [self.daemons[node.name]])

    def stop(self, node):
        """A planned stop, as `systemctl stop` does it."""
        self.daemons[node.name].send_signal(signal.SIGTERM)
