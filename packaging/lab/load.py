"""A machine that is busy, within bounds: processes that end with their block, and with this program.

They have normal priority, and are the first to go should the memory run out: the host works, and is not harmed.
"""
import contextlib
import mmap
import os
import pathlib
import re
import signal

from space import die_with_parent

LOOPS_PER_CPU = 4
HOGS, HOG_BYTES_MAX = 2, 1 << 30
MIB = 1 << 20


def busy_processors():
    """Four busy loops for each CPU."""
    return children(LOOPS_PER_CPU * os.cpu_count(), spin)


def memory_pressure():
    """Two processes that fill and free a quarter of the free memory, and 2 GiB at most, as fast as they can."""
    return children(HOGS, hog)


@contextlib.contextmanager
def children(count, work):
    """So many processes that do the work until the block ends."""
    pids = []
    try:
        for _ in range(count):
            pid = os.fork()
            if pid == 0:
                try:
                    die_with_parent()
                    pathlib.Path("/proc/self/oom_score_adj").write_text("1000")
                    work()
                finally:
                    os._exit(1)
            pids.append(pid)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def spin():
    while True:
        pass


def hog():
    free_kib = int(re.search(r"^MemAvailable:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text(), re.M)[1])
    size = min(free_kib * 1024 // (4 * HOGS), HOG_BYTES_MAX) // MIB * MIB
    while True:
        with mmap.mmap(-1, size) as memory:
            for at in range(0, size, MIB):
                memory[at:at + MIB] = bytes(MIB)
