#!/usr/bin/env python3
"""A Debian machine with a kernel of its own, in QEMU without KVM, for what nodes.py cannot show.

It boots in about fifteen seconds, has pure cgroup v2 with every controller whatever the host has, and nothing it does
(running out of memory, a panic, a reset) reaches the host. It has no network; commands travel over a serial port.

    vm.py setup     build the image (needs root, mmdebstrap, qemu-system-x86, e2fsprogs, cpio)
    vm.py demo      boot, show the cgroup controllers, kill something for its memory

    with Vm() as vm:
        vm.copy("target/release/mastiffd", "/usr/bin/mastiffd")
        vm.run("systemctl", "is-system-running")
        vm.wait_reset(lambda: vm.run("sh", "-c", "echo c > /proc/sysrq-trigger", check=False))

A machine has `run`, `copy`, `write` and `read` as a node has. Its disk outlives every reset of the machine and is thrown
away with it at the end. It has two watchdogs, an Intel i6300ESB and the TCO of its chipset, stopped until their drivers
are loaded. i6300esb resets after its time-out; iTCO_wdt, as emulated, after twice its time-out. Further disks can hang, and
be pulled (`disk`, `unplug`, `plug`).
"""
import base64
import collections
import contextlib
import fcntl
import hashlib
import io
import lzma
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time

from nodes import HOME, Lab, LabError, base, command, sweep
from qmp import Monitor

PACKAGES = ("linux-image-amd64", "busybox-static", "python3")
# For whoever takes disks and chips away, so that they share one image.
HARDWARE_PACKAGES = ("mdadm", "i2c-tools", "dmsetup", "lvm2", "thin-provisioning-tools", "btrfs-progs")
BOOT_MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "virtio_console")
DISK_SIZE = "3G"  # sparse
PARCEL_BYTES = 64 << 20  # the second disk, which carries files into the machine
MORE_BYTES = 64 << 20  # each further disk; sparse
MEMORY_MIB = 768
BOOT_SECONDS = 120

INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do /bin/busybox insmod $module; done
/bin/busybox mount -t ext4 -o noatime /dev/vda /root
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
"""

# One command at a time: a line of base64 comes in; exit code, output and errors go out as one line.
AGENT = """#!/bin/bash
exec 3<> $(echo /dev/vport*)
echo hello >&3
while IFS= read -r line <&3; do
    base64 -d <<< "$line" > /run/agent.in
    bash /run/agent.in > /run/agent.out 2> /run/agent.err < /dev/null
    code=$?
    echo "$code $(base64 -w0 /run/agent.out). $(base64 -w0 /run/agent.err)." >&3
done
"""
# It must be there in emergency mode, too, where sysinit.target is stopped, and until the end of a shutdown.
AGENT_UNIT = """[Unit]
Description=Command channel of the lab
DefaultDependencies=no
After=sysinit.target
IgnoreOnIsolate=yes
[Service]
ExecStart=/usr/local/sbin/lab-agent
Restart=always
RestartSec=0
OOMScoreAdjust=-1000
"""
MODULES_UNIT = """[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
{lines}
[Install]
WantedBy=sysinit.target
"""

# No udev: nothing here needs it, and it is half of the boot time. Modules are loaded by name where a test wants them.
KERNEL_COMMAND_LINE = ("console=ttyS0 quiet loglevel=4 mitigations=off net.ifnames=0 systemd.show_status=no panic=1 "
                       "systemd.mask=systemd-udevd.service systemd.mask=systemd-udev-trigger.service "
                       "systemd.mask=serial-getty@ttyS0.service")

# kexec_file_load(2), for which there is a program only in a package that installs itself into every shutdown.
KEXEC_LOAD = """import ctypes, os, sys
libc, line = ctypes.CDLL(None, use_errno=True), sys.argv[3].encode() + bytes(1)
kernel, initramfs = (os.open(name, os.O_RDONLY) for name in sys.argv[1:3])
if libc.syscall(320, kernel, initramfs, ctypes.c_ulong(len(line)), line, ctypes.c_ulong(0)):
    sys.exit(os.strerror(ctypes.get_errno()))
"""
# The emulator writes single bytes slowly where it has run code of another kernel: no REP_GOOD, no ERMS (cpufeatures.h).
KEXEC_COMMAND_LINE = KERNEL_COMMAND_LINE + " clearcpuid=112,297"

# A reset: seconds from its cause, and whether a watchdog device did it (else the kernel, or the processor).
Reset = collections.namedtuple("Reset", "seconds by_watchdog")
# What the agent says first. The reset may have cut off an answer before it; those end with a dot.
HELLO = "hello"
# No byte comes through within any test, and no request ever fails: what a controller does that has died.
HUNG, ANSWERING = 1, 0


class Rebooted(LabError):
    """The machine was reset instead of an answer."""


def image(more=()):
    """The directory with kernel, initramfs and root disk, with these packages more; built when missing or when a recipe
    changed."""
    root = base((*PACKAGES, *more))
    recipe = hashlib.sha256(repr((root.name, BOOT_MODULES, DISK_SIZE, INIT, AGENT, AGENT_UNIT)).encode()).hexdigest()
    ready = HOME / f"vm-{recipe[:12]}"
    with open(HOME / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            for tool in ("qemu-system-x86_64", "mke2fs", "cpio"):
                if not shutil.which(tool):
                    raise LabError(f"{tool} is missing: install qemu-system-x86, e2fsprogs and cpio")
            fresh = HOME / "vm.new"
            shutil.rmtree(fresh, ignore_errors=True)
            (fresh / "initramfs/modules").mkdir(parents=True)
            unpack_kernel(root, fresh / "vmlinux")
            pack_initramfs(root, fresh / "initramfs")
            pack_disk(root, fresh)
            fresh.rename(ready)
    return ready


def unpack_kernel(root, target):
    """The kernel as a bare ELF file, which QEMU starts directly: the emulator is slow at unpacking it."""
    packed = next((root / "boot").glob("vmlinuz-*")).read_bytes()
    target.write_bytes(lzma.LZMADecompressor().decompress(packed[packed.index(b"\xfd7zXZ\0"):]))


def pack_initramfs(root, tree):
    """busybox, and the modules for the disk in the order of their dependencies."""
    modules = next((root / "usr/lib/modules").iterdir())
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        file, _, others = line.partition(":")
        needs[pathlib.Path(file).stem.replace("-", "_")] = [*reversed(others.split()), file]
    ordered = dict.fromkeys(file for name in BOOT_MODULES for file in needs[name])
    for number, file in enumerate(ordered):
        shutil.copy(modules / file, tree / f"modules/{number:02}.ko")
    for directory in ("bin", "dev", "root"):
        (tree / directory).mkdir()
    shutil.copy(root / "bin/busybox", tree / "bin/busybox")
    (tree / "init").write_text(INIT)
    (tree / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    with open(tree.parent / "initramfs.cpio", "wb") as archive:
        subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=tree, input=names.encode(), stdout=archive, check=True)


def pack_disk(root, fresh):
    """The root file system with the agent in it; the base itself stays as it is."""
    extra = fresh / "extra"
    units = extra / "etc/systemd/system"
    (units / "multi-user.target.wants").mkdir(parents=True)
    (extra / "usr/local/sbin").mkdir(parents=True)
    (extra / "usr/local/sbin/lab-agent").write_text(AGENT)
    (extra / "usr/local/sbin/lab-agent").chmod(0o755)
    (units / "lab-agent.service").write_text(AGENT_UNIT)
    (units / "multi-user.target.wants/lab-agent.service").symlink_to("../lab-agent.service")
    (extra / "etc/machine-id").write_text("0" * 31 + "1\n")
    (extra / "etc/hostname").write_text("vm\n")
    both = fresh / "both"
    both.mkdir()
    merge = f"mount -t overlay overlay -o lowerdir={extra}:{root} {both} && exec mke2fs -qF -t ext4 -d {both} "
    command("unshare", "--mount", "sh", "-c", merge + f"{fresh}/root.img {DISK_SIZE}")


class Vm:
    """One machine, as a context manager."""

    def __init__(self, packages=(), options="", via=(), disks=None):
        """`packages` are installed in addition, `options` are more of QEMU's, and `via` are the words of a program that
        becomes QEMU. `disks` are further ones, empty: a name, and QEMU's device for it with its properties."""
        self.tag = f"{os.getpid()}-{next(Lab.numbers)}"
        self.home = HOME / "run" / self.tag
        self.layout = "unified"
        self.packages, self.options, self.via, self.disks = packages, options, via, disks or {}
        self.qemu = self.channel = self.monitor = None

    def __enter__(self):
        self.switch_on()
        try:
            self.wait_boot()
        except BaseException:
            self.close()
            raise
        return self

    def switch_on(self):
        """Have a new machine begin to boot."""
        files = image(self.packages)
        sweep()
        self.home.mkdir(parents=True)
        with open(self.home / "parcel", "wb") as parcel:
            parcel.truncate(PARCEL_BYTES)
        options = self.options
        for name, device in self.disks.items():
            with open(self.home / name, "w") as disk:
                disk.truncate(MORE_BYTES)
            options += (f" -blockdev driver=file,node-name={name},filename={self.home / name},discard=unmap"
                        f" -device {device},drive={name},id={name}")
        log = open(self.home / "qemu.log", "w")
        self.qemu = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *self.via, "qemu-system-x86_64", *f"""
            -nodefaults -no-user-config -display none -machine q35 -accel tcg,thread=multi -cpu max -m {MEMORY_MIB}
            -kernel {files}/vmlinux -initrd {files}/initramfs.cpio
            -drive if=none,id=root,file={files}/root.img,format=raw,snapshot=on -device virtio-blk-pci,drive=root
            -drive if=none,id=parcel,file={self.home}/parcel,format=raw,read-only=on -device virtio-blk-pci,drive=parcel
            -device virtio-serial-pci -device virtserialport,chardev=agent
            -chardev socket,id=agent,path={self.home}/agent,server=on,wait=off
            -serial file:{self.home}/console
            -qmp unix:{self.home}/qmp,server=on,wait=off
            -object memory-backend-file,id=erst,mem-path={self.home}/erst,size=64K,share=on
            -device acpi-erst,memdev=erst
            -device i6300esb -global ICH9-LPC.noreboot=false -action watchdog=reset {options}
            """.split(), "-append", KERNEL_COMMAND_LINE], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Switch it off and forget it."""
        for end in (self.channel, self.monitor):
            if end:
                end.close()
        if self.qemu:
            self.qemu.kill()
            self.qemu.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def _connect(self):
        deadline = time.monotonic() + 10
        channel = socket.socket(socket.AF_UNIX)
        while channel.connect_ex(str(self.home / "agent")):
            if self.qemu.poll() is not None or time.monotonic() > deadline:
                raise LabError(self._qemu_ended())
            time.sleep(0.02)
        try:
            self.monitor = Monitor(self.home / "qmp")
        except (LabError, OSError):  # it has ended since
            raise LabError(self._qemu_ended()) from None
        self.channel, self.unread = channel, b""

    def wait_boot(self, seconds=BOOT_SECONDS):
        """Wait until the agent of a new boot says hello."""
        self.channel.settimeout(seconds)
        with self._telling_console("the machine did not boot"):
            while not self._line().endswith(HELLO):
                pass

    def _line(self):
        """The next line that the agent writes; what came of one until a time-out is kept."""
        while b"\n" not in self.unread:
            more = self.channel.recv(65536)
            if not more:
                raise LabError(self._qemu_ended())
            self.unread += more
        line, self.unread = self.unread.split(b"\n", 1)
        return line.decode()

    @contextlib.contextmanager
    def _telling_console(self, what):
        try:
            yield
        except TimeoutError:
            raise LabError(f"{what}; {self._console_end()}") from None

    def _qemu_ended(self):
        return f"QEMU has ended:\n{(self.home / 'qemu.log').read_text()}"

    def _console_end(self):
        return f"the console's end:\n{(self.home / 'console').read_text(errors='replace')[-2000:]}"

    def run(self, *words, check=True, timeout=120):
        """Run a command in the machine and return it with its output."""
        self.channel.settimeout(timeout)
        self.tell(*words)
        with self._telling_console(f"no answer to {words}"):
            answer = self._line()
        if answer.endswith(HELLO):
            raise Rebooted(f"the machine was reset during {shlex.join(map(str, words))}")
        code, *texts = answer.split()
        texts = [base64.b64decode(text.rstrip(".")).decode(errors="replace") for text in texts]
        done = subprocess.CompletedProcess(words, int(code), *texts)
        if check and done.returncode:
            raise LabError(f"{shlex.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def tell(self, *words):
        """Have a command run of which no answer is to be expected: the machine is reset first (see wait_reset)."""
        self.channel.sendall(base64.b64encode(shlex.join(map(str, words)).encode()) + b"\n")

    def wait_reset(self, cause, seconds=BOOT_SECONDS):
        """Call `cause`, which leads to a reset within so many seconds, and wait for the next boot; returns the Reset."""
        began = time.time()
        is_up = False
        try:
            cause()
        except Rebooted:
            is_up = True
        event = self.wait_event("RESET", seconds, began)
        fired = self.monitor.wait("WATCHDOG", began, 0)
        if not is_up:
            self.wait_boot()
        return Reset((fired or event)[0] - began, fired is not None)

    def wait_event(self, name, seconds, since=None):
        """Wait for such an event of QEMU since a time of time.time(), which is now if not given; returns (time, data)."""
        event = self.monitor.wait(name, time.time() if since is None else since, seconds)
        if not event:
            raise LabError(f"no {name} within {seconds} s; {self._console_end()}")
        return event

    def load_at_boot(self, *modules):
        """Load these modules, as `modprobe` has them, now and at each boot before any service."""
        lines = "".join(f"ExecStart=/sbin/modprobe {module}\n" for module in modules)
        self.write("/etc/systemd/system/lab-modules.service", MODULES_UNIT.format(lines=lines))
        self.run("systemctl", "enable", "--quiet", "lab-modules")
        self.run("systemctl", "restart", "lab-modules")

    def load_kernel(self, command_line=KEXEC_COMMAND_LINE):
        """Have the kernel that runs ready for `systemctl kexec`, with this command line."""
        self.copy(image(self.packages) / "initramfs.cpio", "/boot/initramfs")
        self.run("sh", "-ec", 'exec python3 -c "$0" /boot/vmlinuz-* /boot/initramfs "$1"', KEXEC_LOAD, command_line)

    def disk(self, state, name=None):
        """The root disk, or a further one, is HUNG or ANSWERING again. A request that hangs ends with a reset, or when it
        answers."""
        limits = dict.fromkeys(("bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)
        which = {"device": "root"}
        if name:
            backend = "/virtio-backend" if self.disks[name].startswith("virtio-") else ""
            which = {"id": f"/machine/peripheral/{name}{backend}"}
        self.monitor.call("block_set_io_throttle", bps=state, **which, **limits)

    def unplug(self, name):
        """Pull a further disk, which must be in a slot that allows it."""
        self.monitor.call("device_del", id=name)

    def plug(self, name):
        """Put it back, once it has gone."""
        driver, *properties = self.disks[name].split(",")
        self.monitor.call("device_add", driver=driver, drive=name, id=name, **dict(it.split("=") for it in properties))

    def copy(self, source, inside):
        """Copy a file of the host into the machine, with its mode."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(source, arcname=str(inside).lstrip("/"))
        with open(self.home / "parcel", "r+b") as parcel:
            parcel.write(packed.getvalue())
        blocks = (len(packed.getvalue()) >> 20) + 1
        unpack = f"dd if=/dev/vdb bs=1M count={blocks} iflag=direct status=none | tar xf - -C /"
        self.run("bash", "-c", unpack + " --no-same-owner")

    def write(self, inside, text, mode=0o644):
        """Write a file of the machine."""
        encoded = base64.b64encode(text.encode()).decode()
        script = 'mkdir -p "$(dirname "$1")" && base64 -d <<< "$2" > "$1" && chmod "$3" "$1"'
        self.run("bash", "-c", script, "write", inside, encoded, f"{mode:o}")

    def read(self, inside):
        """The text of a file of the machine; empty if there is none."""
        return self.run("cat", inside, check=False).stdout


def demo():
    began = time.monotonic()
    with Vm() as vm:
        print(f"up in {time.monotonic() - began:.1f} s: {vm.run('uname', '-r').stdout.strip()},", "controllers",
              vm.read("/sys/fs/cgroup/cgroup.controllers").strip())
        vm.run("systemd-run", "--quiet", "--unit=greedy", "--property=MemoryMax=20M", "--wait",
               "perl", "-e", "print length('x' x (60 << 20))", check=False)
        print("greedy.service:", vm.run("systemctl", "show", "-p", "Result", "greedy").stdout.strip())
        began = time.monotonic()
        vm.wait_reset(lambda: vm.run("sh", "-c", "echo c > /proc/sysrq-trigger", check=False))
        print(f"up again {time.monotonic() - began:.1f} s after a panic")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        match sys.argv[1:]:
            case ["setup"]:
                print(image())
            case ["demo"]:
                demo()
            case _:
                sys.exit(__doc__)
    except LabError as error:
        sys.exit(f"vm.py: {error}")
