#!/usr/bin/env python3
"""Whole Debian nodes in a second: systemd as PID 1 in namespaces, joined by switches.

What is real in a node: systemctl, journald, D-Bus, cgroups, netlink, packages. What is shared: the kernel and its
clock. So a node shows the daemon under systemd, killed, frozen or cut off; not a panic, a watchdog or a dying disk (vm.py).

    nodes.py setup     build the root file system once (root and mmdebstrap needed); done by itself when missing
    nodes.py demo      boot two nodes, cut and freeze one, show what the other sees
    nodes.py shell     boot one node and open a shell in it

    with Lab("a", "b") as lab:
        lab["a"].run("systemctl", "is-system-running")
        lab["a"].copy("target/release/mastiffd", "/usr/bin/mastiffd")
        lab["a"].link("eth0", up=False)              # pull the cable: the node sees no carrier
        lab["a"].freeze(); lab["a"].thaw()           # every process stops; the kernel still answers ARP
        lab["a"].cut(); lab["a"].boot()              # power cut; the disk is kept
        lab.part("a", "b"); lab.heal()               # the switches carry nothing between them; as before

Each node has eth0 on one switch (10.77.0.11, .12, ...) and eth1 on a second (10.77.1.x), and all have one directory in
common (/srv/shared), as if both were cabled to one disk. Labs run side by side: each has
its own switches. Namespaces and mounts exist only in a lab's processes, which the kernel kills when this program ends,
however it ends; its cgroups and files are then swept by the next lab. Files: $MASTIFF_LAB (/var/tmp/mastiff-nodes).

The memory controller. On a host with the pure cgroup v2 layout a node has it as any Debian has. On a hybrid host, where
the controller is bound to a v1 hierarchy, the node gets the hybrid layout too, with its own sub-cgroup of each v1
hierarchy as root. There MemoryMax= is enforced and the usage can be read, but systemd 252 does not learn of OOM kills
and says Result=signal instead of oom-kill. `Lab.layout` tells which it is.
"""
import contextlib
import fcntl
import hashlib
import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

HOME = pathlib.Path(os.environ.get("MASTIFF_LAB", "/var/tmp/mastiff-nodes"))
SUITE = "bookworm"
PACKAGES = [
    "systemd", "systemd-sysv", "dbus",   # PID 1 and its bus
    "iproute2", "nftables", "kmod",      # what the daemon's own tools would be
    "iputils-ping", "iputils-arping",    # to look at the network from inside
    "procps",                            # ps, kill, for people in `nodes.py shell`
]
# Of no use in a node, and they would mount or set what belongs to the host.
MASKED = [
    "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount",
    "dev-hugepages.mount", "dev-mqueue.mount", "systemd-sysctl.service", "systemd-modules-load.service",
    "systemd-logind.service", "getty.target", "console-getty.service", "apt-daily.timer", "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer", "systemd-firstboot.service",
]
# What nodes serve in tests (test_groups.py), and what manages their interfaces (test_network.py; systemd-networkd comes
# with systemd). For all labs, since one root file system is built sooner than two.
SERVICES = ["postgresql-15", "nginx-light", "network-manager"]
NOT_AT_BOOT = ["nginx.service", "postgresql.service", "NetworkManager.service"]
SHARED = "/srv/shared"
SWITCHES = {"eth0": "10.77.0", "eth1": "10.77.1"}
BOOT_SECONDS = 60
REAL_TIME_US = 200_000  # of each second, for each node
PREFIX = "mastiff-lab-"  # of every cgroup made here

# The first process of a node, already in its own namespaces: build the mount tree, wait for the network, become PID 1.
# /proc/sys is read-only and sysrq is gone: a node must not set the host's kernel parameters, or reset the host.
INIT = r"""
set -e
tell=$1 root=$2 lower=$3 disk=$4 name=$5 shared=$6; shift 6
hostname "$name"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$disk/upper,workdir=$disk/work" "$root"
mkdir -p "$root/srv/shared"; mount --bind "$shared" "$root/srv/shared"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
if [ $# -eq 0 ]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
    mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
    mkdir "$root/sys/fs/cgroup/unified"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
    for hierarchy; do
        where=$root/sys/fs/cgroup/${hierarchy#*name=}
        mkdir "$where"
        mount -t cgroup -o "$hierarchy" cgroup "$where"
        case $hierarchy in *,*) for one in ${hierarchy//,/ }; do
            [ -e "$root/sys/fs/cgroup/$one" ] || ln -s "$hierarchy" "$root/sys/fs/cgroup/$one"; done;;
        esac
    done
fi
for directory in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs "$root/$directory"; done
chmod 1777 "$root/tmp"
mkdir -p "$root/dev/pts" "$root/dev/shm" "$root/dev/net"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
for device in null zero full random urandom tty kmsg net/tun; do
    [ -e "/dev/$device" ] || continue
    touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"
done
mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
mount --bind "$root/proc/sys" "$root/proc/sys"; mount -o remount,bind,ro "$root/proc/sys"
[ ! -e "$root/proc/sysrq-trigger" ] || mount --bind -o ro /dev/null "$root/proc/sysrq-trigger"
echo mounted >&"$tell"; exec {tell}>&-
read -r go
cd "$root"; mkdir -p .old; pivot_root . .old; umount -l /.old; rmdir /.old
exec env -i container=mastiff-lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --show-status=0 < /dev/null
"""


class LabError(Exception):
    """The lab could not do what a test asked for."""


def command(*words, check=True, **options):
    """Run a host command and return it with its output; on failure say what it printed."""
    done = subprocess.run([str(word) for word in words], text=True, capture_output=True, **options)
    if check and done.returncode:
        raise LabError(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def until(what, true, seconds=10, every=0.05):
    """Wait until `true()` returns something true, and return it; TimeoutError names what was waited for."""
    deadline = time.monotonic() + seconds
    while True:
        found = true()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(every)


def base(more=()):
    """The directory that nodes share as their lower layer, with these packages more; built when missing or changed."""
    packages = [*PACKAGES, *more]
    recipe = hashlib.sha256(repr((SUITE, packages, MASKED, NOT_AT_BOOT)).encode()).hexdigest()[:12]
    ready = HOME / f"base-{recipe}"
    HOME.mkdir(parents=True, exist_ok=True)
    with open(HOME / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two labs that start at once build it once
        if not ready.exists():
            if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
                raise LabError("building the root file system needs root and the package mmdebstrap")
            fresh = HOME / "base.new"
            shutil.rmtree(fresh, ignore_errors=True)
            omit = [f"--dpkgopt=path-exclude=/usr/share/{it}/*" for it in ("doc", "man", "locale", "info")]
            subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", *omit, f"--include={','.join(packages)}",
                            SUITE, str(fresh)], check=True)
            for unit in MASKED:
                link = fresh / "etc/systemd/system" / unit
                link.unlink(missing_ok=True)
                link.symlink_to("/dev/null")
            for unit in NOT_AT_BOOT:
                (fresh / "etc/systemd/system/multi-user.target.wants" / unit).unlink(missing_ok=True)
            (fresh / "etc/hostname").unlink(missing_ok=True)
            fresh.rename(ready)
    return ready


def hierarchies():
    """Every mounted cgroup hierarchy of the host: {mount point: v1 mount options, or None for v2}."""
    version_1 = set(pathlib.Path("/proc/cgroups").read_text().split())
    found = {}
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2":
            found[pathlib.Path(where)] = None
        elif kind == "cgroup":
            own = [o for o in options.split(",") if o in version_1 or o.startswith("name=")]
            found[pathlib.Path(where)] = ",".join(own)
    if None not in found.values():
        raise LabError("no cgroup v2 hierarchy is mounted on this host")
    return found


class Node:
    """One machine of the lab."""

    def __init__(self, lab, name, number):
        self.lab, self.name, self.number = lab, name, number
        self.home = lab.home / name
        self.cgroups = {where / f"{PREFIX}{lab.tag}-{name}": kind for where, kind in hierarchies().items()}
        self.cgroup = next(path for path, kind in self.cgroups.items() if kind is None)
        self.parent = self.pid = None

    def address(self, link="eth0"):
        return f"{SWITCHES[link]}.{10 + self.number}"

    def boot(self):
        """Start PID 1, for the first time or again after `cut`, and wait until systemd has started everything."""
        self.power_on()
        return self.wait_booted()

    def power_on(self):
        """Start PID 1. To be called by the main thread: what a thread starts here ends with it (PR_SET_PDEATHSIG)."""
        for part in ("upper/etc", "work", "root"):
            (self.home / part).mkdir(parents=True, exist_ok=True)
        (self.home / "upper/etc/hostname").write_text(self.name + "\n")
        identity = hashlib.md5(f"{self.lab.tag}{self.name}".encode()).hexdigest()
        (self.home / "upper/etc/machine-id").write_text(identity + "\n")
        self._make_cgroups()
        enter = "".join(f"echo $$ > {path}/cgroup.procs; " for path in self.cgroups)
        version_1 = [kind.replace("name=", "none,name=") for kind in self.cgroups.values() if kind]
        mounted, tell = os.pipe()
        with open(self.home / "console.log", "a") as log:
            self.parent = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "bash", "-ec",
                 enter + 'exec unshare --pid --mount --uts --ipc --net --cgroup --fork --kill-child bash -c "$@"',
                 "enter", INIT, "init", str(tell), self.home / "root", self.lab.base, self.home, self.name,
                 self.lab.shared, *version_1],
                stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[tell], text=True)
        os.close(tell)
        with open(mounted) as pipe:
            if pipe.readline() != "mounted\n":
                raise LabError(f"{self.name} could not be set up:\n{(self.home / 'console.log').read_text()}")
        children = pathlib.Path(f"/proc/{self.parent.pid}/task/{self.parent.pid}/children")
        self.pid = int(children.read_text().split()[0])
        self._connect()
        self.parent.stdin.write("go\n")
        self.parent.stdin.close()

    def wait_booted(self):
        """Wait until systemd has started everything."""
        def started():
            return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

        until(f"{self.name} boots (see {self.home}/console.log)", started, BOOT_SECONDS)
        return self

    def _make_cgroups(self):
        for path, kind in self.cgroups.items():
            if kind is None:  # pure v2: hand down what the host has; a hybrid host has nothing to hand down
                for controller in (path.parent / "cgroup.controllers").read_text().split():
                    with contextlib.suppress(OSError):  # the host may forbid it; tests look at what is there
                        (path.parent / "cgroup.subtree_control").write_text(f"+{controller}")
            path.mkdir(exist_ok=True)
            with contextlib.suppress(OSError):  # a v1 cgroup has no real-time budget of its own; nor may it have all
                (path / "cpu.rt_runtime_us").write_text(str(REAL_TIME_US))
            if kind and "cpuset" in kind:  # empty in a new v1 cgroup, and then no process may enter
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (path / file).write_text((path.parent / file).read_text())

    def _connect(self):
        for link in SWITCHES:
            port = f"{self.name}-{link}"
            self.lab.ip("link", "add", port, "type", "veth", "peer", "name", link, "netns", self.pid)
            self.lab.ip("link", "set", port, "master", f"sw-{link}", "up")
            self._ip("addr", "add", f"{self.address(link)}/24", "dev", link)
            self._ip("link", "set", link, "up")
        self._ip("link", "set", "lo", "up")

    def _ip(self, *words):
        command("nsenter", "-t", self.pid, "-n", "ip", *words)

    def run(self, *words, check=True, **options):
        """Run a command in the node and return it with its output."""
        return command("nsenter", "-t", self.pid, "-a", "--", *words, check=check, **options)

    def path(self, inside):
        """The host's path of a file of the running node."""
        return pathlib.Path(f"/proc/{self.pid}/root") / str(inside).lstrip("/")

    def copy(self, source, inside):
        """Copy a file of the host into the running node, with its mode."""
        self.path(inside).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, self.path(inside))

    def write(self, inside, text, mode=0o644):
        """Write a file of the running node."""
        self.path(inside).parent.mkdir(parents=True, exist_ok=True)
        self.path(inside).write_text(text)
        self.path(inside).chmod(mode)

    def read(self, inside):
        """The text of a file of the running node; empty if there is none."""
        return self.path(inside).read_text() if self.path(inside).exists() else ""

    def link(self, link, up):
        """Pull or plug a network cable."""
        self.lab.ip("link", "set", f"{self.name}-{link}", "up" if up else "down")

    def thaw(self):
        """End `freeze`."""
        self.freeze("0")

    def freeze(self, value="1"):
        """Stop every process of the node at once. The kernel's part of it (ARP, open sockets) goes on."""
        (self.cgroup / "cgroup.freeze").write_text(value)
        until(f"{self.name} freezes", lambda: f"frozen {value}" in (self.cgroup / "cgroup.events").read_text())

    def cut(self):
        """Cut the power: links first, then every process at once. The disk stays for the next `boot`."""
        if self.parent is None:
            return
        for link in SWITCHES:
            self.lab.ip("link", "del", f"{self.name}-{link}", check=False)
        self.parent.kill()  # PID 1 dies with it, and with PID 1 its whole namespace
        self.parent.wait()
        self.parent = self.pid = None
        for path in self.cgroups:
            until(f"{path} empties", lambda path=path: remove_cgroup(path))


def remove_cgroup(path):
    """Remove a cgroup and those below it; false while a process is still in one."""
    try:
        for folder, _, _ in os.walk(path, topdown=False):
            os.rmdir(folder)
    except OSError:
        return False
    return True


class Lab:
    """Some nodes and the switches between them, as a context manager."""

    numbers = itertools.count(1)

    def __init__(self, *names, packages=()):
        self.packages = packages  # wanted on the nodes beyond PACKAGES and SERVICES
        self.tag = f"{os.getpid()}-{next(Lab.numbers)}"
        self.home = HOME / "run" / self.tag
        self.nodes = {name: Node(self, name, number) for number, name in enumerate(names, 1)}
        self.shared = self.home / "shared"
        self.layout = "hybrid" if any(hierarchies().values()) else "unified"
        self.switch = None

    def __getitem__(self, name):
        return self.nodes[name]

    def __enter__(self):
        try:
            self.base = base((*SERVICES, *self.packages))
            sweep()
            self.shared.mkdir(parents=True)
            self.switch = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", "echo; exec sleep infinity"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
            self.switch.stdout.readline()  # its namespace exists now
            for link in SWITCHES:
                self.ip("link", "add", f"sw-{link}", "type", "bridge")
                self.ip("link", "set", f"sw-{link}", "up")
            for node in self.nodes.values():
                node.boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def ip(self, *words, check=True):
        """Run ip(8) in the namespace of the switches."""
        return command("nsenter", "-t", self.switch.pid, "-n", "ip", *words, check=check)

    def part(self, one, *others):
        """The switches carry nothing between a node and others any more, in both directions."""
        rules = "".join(f'  iifname "{source}-*" oifname "{target}-*" drop\n'
                        for other in others for source, target in ((one, other), (other, one)))
        command("nsenter", "-t", self.switch.pid, "-n", "nft", "-f", "-", input=(
            "table bridge fault\ndelete table bridge fault\ntable bridge fault {\n chain forward {\n"
            f"  type filter hook forward priority 0; policy accept;\n{rules} }}\n}}\n"))

    def heal(self):
        """End `part`."""
        self.part("")

    def close(self):
        """Stop and remove everything, as far as it exists."""
        for node in self.nodes.values():
            node.cut()
        if self.switch:
            self.switch.kill()
            self.switch.wait()
            self.switch.stdout.close()
        shutil.rmtree(self.home, ignore_errors=True)


def sweep():
    """Remove the cgroups and files of labs whose program was killed."""
    def alive(tag):
        return pathlib.Path(f"/proc/{tag.split('-')[0]}").exists()

    for where in hierarchies():
        for path in where.glob(f"{PREFIX}*"):
            if not alive(path.name.removeprefix(PREFIX)):
                remove_cgroup(path)
    for path in (HOME / "run").glob("*-*"):
        if not alive(path.name):
            shutil.rmtree(path, ignore_errors=True)


def demo():
    began = time.monotonic()
    with Lab("a", "b") as lab:
        print(f"two nodes up in {time.monotonic() - began:.1f} s, cgroup layout {lab.layout}")

        def answers():
            return lab["a"].run("arping", "-c1", "-w1", "-I", "eth0", lab["b"].address(), check=False).returncode == 0

        print("b answers:", answers())
        lab["b"].freeze()
        print("b is frozen; its kernel still answers:", answers())
        lab["b"].thaw()
        lab["b"].link("eth0", up=False)
        print("b's cable is out; answers:", answers())
        lab["b"].cut()
        lab["b"].boot()
        print("b was cut and booted again; answers:", answers())


def main(arguments):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a lab that is told to stop cleans up
    match arguments:
        case ["setup"]:
            print(base(SERVICES))
        case ["demo"]:
            demo()
        case ["shell"]:
            with Lab("a") as lab:
                subprocess.run(["nsenter", "-t", str(lab["a"].pid), "-a", "bash", "-l"], check=False)
        case _:
            print(__doc__)
            return 64
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LabError as error:
        sys.exit(f"nodes.py: {error}")
