"""What happens to the machine of vm.py: load of every kind, threads that hang, memory and disks that run out.

Everything runs in units of the machine's own systemd and ends with the machine, if not before. Only what its base image
has is used: busybox, perl, dd.
"""
import contextlib

CPU = "while :; do :; done"
# Takes and gives back more memory than the caches leave room for, and touches every page of it.
MEMORY = """perl -e 'while (1) { open(F, "/proc/meminfo"); my ($kib) = join("", <F>) =~ /MemAvailable:\\s+(\\d+)/;
my $hog = "x" x ($kib * 1024 * 0.8); }'"""
DISK = "while :; do dd if=/dev/zero of=/var/tmp/load bs=1M count=64 conv=fsync 2> /dev/null; done"
LOADS = {"cpu": (CPU, 4), "memory": (MEMORY, 1), "disk": (DISK, 2)}
# Files in memory cannot be evicted without swap, and who writes them is not killed: everybody else is.
ALL_MEMORY = "mount -t tmpfs -o size=200% tmpfs /mnt; while :; do cat /dev/zero >> /mnt/all; done"


def start(vm, name, script, oom_score=1000):
    """A shell script as a transient unit, which is the first to be killed when memory runs out, unless told otherwise."""
    vm.run("systemd-run", "--quiet", f"--unit={name}", f"--property=OOMScoreAdjust={oom_score}", "sh", "-c", script)


@contextlib.contextmanager
def load(vm):
    """More processes than processors, all free memory, and a disk that never rests."""
    names = []
    for kind, (script, count) in LOADS.items():
        for number in range(count):
            names.append(f"load-{kind}-{number}")
            start(vm, names[-1], script)
    try:
        yield
    finally:
        vm.run("systemctl", "stop", *names, check=False)
        vm.run("rm", "-f", "/var/tmp/load")


def freeze_thread(vm, unit, thread):
    """Stop one thread of a unit's main process, as a deadlock does; returns what lets it go on.

    The freezer of a threaded control group (Documentation/admin-guide/cgroup-v2.rst) takes single threads; a signal
    would stop the whole process."""
    place = f"/sys/fs/cgroup/system.slice/{unit}/frozen-{thread}"
    vm.run("sh", "-ec", f"""
        mkdir -p {place}; echo threaded > {place}/cgroup.type
        for task in /proc/$(systemctl show --value -p MainPID {unit})/task/*; do
            read name < $task/comm; [ "$name" = {thread} ] && echo ${{task##*/}} > {place}/cgroup.threads; done
        grep -q . {place}/cgroup.threads; echo 1 > {place}/cgroup.freeze""")
    return lambda: vm.run("sh", "-c", f"echo 0 > {place}/cgroup.freeze")


def panic(vm):
    """A kernel panic that nothing but a watchdog ends."""
    vm.run("sysctl", "-qw", "kernel.panic=0")
    vm.tell("sh", "-c", "echo c > /proc/sysrq-trigger")


def exhaust_memory(vm):
    """All memory goes, and killing processes gives none back. In the end the kernel panics, for good."""
    vm.run("sysctl", "-qw", "kernel.panic=0")
    start(vm, "all-memory", ALL_MEMORY, -1000)


@contextlib.contextmanager
def full_disk(vm):
    """No byte is left on the root disk, for root neither."""
    vm.run("sh", "-c", """cd /var/tmp; fallocate -l $(($(stat -fc "%f * %S" .))) full
        until dd if=/dev/zero of=rest bs=1k conv=fsync oflag=append 2>&1 | grep -q "No space"; do :; done""")
    try:
        yield
    finally:
        vm.run("rm", "-f", "/var/tmp/full", "/var/tmp/rest")
