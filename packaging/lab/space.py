"""Network namespaces that end with the program: each is held by nothing but descriptors of this process.

A namespace brings its own mount namespace, with a /sys that shows its own interfaces and an empty /sys/fs/bpf. Works
for root, and for anybody under `unshare -Urnm` (see `as_root`).
"""
import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys

from nodes import LabError

LIBC = ctypes.CDLL(None, use_errno=True)
# sched.h, sys/mount.h, sys/prctl.h, net/if.h, linux/sockios.h: not in Python 3.11's own modules.
CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
PR_SET_PDEATHSIG = 1
IFF_UP, SIOCGIFFLAGS, SIOCSIFFLAGS = 1, 0x8913, 0x8914


def as_root():
    """Run the program anew as root of a user namespace of its own, unless it is root already."""
    if os.geteuid() != 0:
        os.environ["PATH"] += ":/usr/sbin:/sbin"  # where only root looks by default
        os.execvp("unshare", ["unshare", "-Urnm", sys.executable, *sys.argv])


def call(name, *arguments):
    """A C library call that returns -1 on failure."""
    if getattr(LIBC, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def die_with_parent():
    """For a new child: SIGKILL when the parent ends, however that happens; but what the parent does at its end is none
    of the child's business."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def take_priority(priority):
    """For a new child: this real-time priority, if there is one and it may be had."""
    if priority is not None:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))


class Space:
    """One network namespace with its mount namespace."""

    def __init__(self):
        ready, tell = os.pipe()
        child = os.fork()
        if child == 0:
            self._make(tell)
        os.close(tell)
        fine = os.read(ready, 1)
        try:
            if fine:
                self.net = os.open(f"/proc/{child}/ns/net", os.O_RDONLY)
                self.mounts = os.open(f"/proc/{child}/ns/mnt", os.O_RDONLY)
        finally:
            os.close(ready)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        if not fine:
            raise LabError("no namespace could be made; needs root, or `unshare -Urnm`")

    @staticmethod
    def _make(tell):
        try:
            call("unshare", CLONE_NEWNET | CLONE_NEWNS)
            call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
            call("mount", b"sysfs", b"/sys", b"sysfs", 0, None)
            with contextlib.suppress(OSError):  # not for everybody; then nothing can be pinned there
                call("mount", b"bpf", b"/sys/fs/bpf", b"bpf", 0, None)
            os.write(tell, b"y")
            signal.pause()
        finally:
            os._exit(1)

    def close(self):
        """Let go of it; it ends with its last process."""
        os.close(self.net)
        os.close(self.mounts)

    @property
    def path(self):
        """Where `ip link ... netns` finds it."""
        return f"/proc/{os.getpid()}/fd/{self.net}"

    def enter(self):
        """For a new child: move into both namespaces."""
        call("setns", self.net, CLONE_NEWNET)
        call("setns", self.mounts, CLONE_NEWNS)

    def socket(self, *arguments):
        """A socket that belongs to the namespace, whoever uses it. This process must have one thread only."""
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            call("setns", self.net, CLONE_NEWNET)
            try:
                return socket.socket(*arguments)
            finally:
                call("setns", home, CLONE_NEWNET)
        finally:
            os.close(home)

    def start(self, *words, priority=None, **options):
        """Start a program in it, which dies with this one; with a real-time priority (sched(7)) where that may be."""
        def prepare():
            die_with_parent()
            self.enter()
            take_priority(priority)
        return subprocess.Popen([str(word) for word in words], preexec_fn=prepare, **options)

    def run(self, *words, text=None):
        """Run a program in it to its end; returns its output."""
        process = self.start(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        output, _ = process.communicate(text)
        if process.returncode:
            raise LabError(f"{' '.join(map(str, words))}: exit {process.returncode}\n{text or ''}{output}")
        return output

    def ip(self, *lines):
        """Several ip(8) commands in one process."""
        return self.run("ip", "-batch", "-", text="".join(f"{line}\n" for line in lines))


def set_up(control, name, up):
    """Switch an interface on or off within microseconds: no process is started. `control` is any socket of its
    namespace (netdevice(7))."""
    request = struct.pack("16sH14x", name.encode(), 0)
    flags = struct.unpack("16sH14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
    flags = flags | IFF_UP if up else flags & ~IFF_UP
    fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), flags))
