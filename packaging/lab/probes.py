"""What clients see of a floating address: who answers, when, and whether two do. Used on a PairLab (pair.py).

Every probe is a child process with real-time priority where that is allowed, and writes into shared memory, so that
its findings can be read at any time. All times are CLOCK_MONOTONIC in nanoseconds. A node is told by its number.

- Echo: answers UDP on a node, with the node's number, from the address that was asked.
- Client: asks every address once a millisecond (of more than two: less often, so that it keeps up). Knows its
  neighbours as any kernel does: from the answers to its own ARP requests and from the nodes' announcements.
- Monitor: a station of its own, so that nothing it hears helps the client. Asks by ARP and neighbour solicitation
  every 5 ms who has the address, and counts announcements.
- Watcher: hears from a node's kernel when it gets and loses an address.

Two owners. A request of the monitor has two owners if, within 5 ms after it was sent, answers of both nodes arrived
(the kernel's time of arrival, so a monitor that runs late does not join what was apart). Each such request counts as
5 ms of two owners.
"""
import bisect
import ctypes
import gc
import mmap
import os
import select
import signal
import socket
import struct
import time

from pair import NODES, vip4, vip6
from space import die_with_parent, take_priority

ASK_MS, MONITOR_MS = 1, 5
UDP_PORT = 7007
PRIORITY = 80  # above the daemons under test: a late probe must not look like a late node
RECORDS_MAX = 2_000_000  # a quarter of an hour of two addresses; memory that is not written is not used
# linux/in6.h, asm-generic/socket.h, linux/rtnetlink.h, linux/if_ether.h, linux/if_packet.h
SO_TIMESTAMPNS = 35
RTM_NEWADDR, RTM_DELADDR, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 20, 21, 0x10, 0x100
IFA_ADDRESS, IFA_LOCAL = 1, 2
ETH_P_ARP, ETH_P_IPV6 = 0x0806, 0x86dd


class Log:
    """Records of four numbers each, in memory that a child writes and its parent reads. The second number of each is
    when it was written, or little before."""

    RECORD = struct.Struct("QQII")
    LATE_NS = 1_000_000_000  # a record is not older than this when it is written

    def __init__(self):
        self.memory = mmap.mmap(-1, 8 + RECORDS_MAX * self.RECORD.size)
        self.count = ctypes.c_uint64.from_buffer(self.memory)

    def add(self, *record):
        at = self.count.value
        if at < RECORDS_MAX:
            self.RECORD.pack_into(self.memory, 8 + at * self.RECORD.size, *record)
            self.count.value = at + 1

    def since(self, moment):
        """All records of a moment or later, in the order in which they were written."""
        end, size = self.count.value, self.RECORD.size
        if end == RECORDS_MAX:
            raise OverflowError("a probe has filled its memory")

        def written(at):
            return self.RECORD.unpack_from(self.memory, 8 + at * size)[1]

        first = bisect.bisect_left(range(end), moment - self.LATE_NS, key=written)
        records = self.RECORD.iter_unpack(self.memory[8 + first * size:8 + end * size])
        return [record for record in records if record[1] >= moment]


class Probe:
    """A child process at a station that runs `run()` until it is stopped."""

    def __init__(self, station, targets=()):
        self.station, self.log = station, Log()
        self.targets = list(targets)
        self.child = os.fork()
        if self.child == 0:
            try:
                die_with_parent()
                station.space.enter()
                gc.disable()
                take_priority(PRIORITY)
                self.run()
            except BaseException as error:  # a child must never return into its parent's program
                os.write(2, f"{type(self).__name__} at {station.name}: {error!r}\n".encode())
            finally:
                os._exit(1)

    def stop(self):
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def every(interval_ms, readers):
    """Yields None each interval, and between them each reader that has something to read."""
    interval, due = interval_ms * 1_000_000, time.monotonic_ns()
    while True:
        now = time.monotonic_ns()
        if now >= due:
            due = max(due + interval, now)
            yield None
        else:
            yield from select.select(readers, [], [], (due - now) / 1e9)[0]


class Echo(Probe):
    """The service: says which node answers, from the address that was asked."""

    def run(self):
        server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        server.bind(("::", UDP_PORT))
        node = bytes([self.station.number])
        while True:
            question, packet_info, _, asker = server.recvmsg(64, 64)
            try:
                server.sendmsg([question + node], packet_info, 0, asker)
            except OSError:  # the address has gone meanwhile, or the cable
                pass


class Client(Probe):
    """Asks the targets; records (asked at, answered at, node, target)."""

    def run(self):
        link = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        link.setblocking(False)
        question = struct.Struct("QI")
        places = [(target if ":" in target else f"::ffff:{target}", UDP_PORT) for target in self.targets]
        for readable in every(ASK_MS * max(1, len(places) // 2), [link]):
            if readable is None:
                for number, place in enumerate(places):
                    try:
                        link.sendto(question.pack(time.monotonic_ns(), number), place)
                    except OSError:  # nobody answers the kernel's own question for its neighbour
                        pass
                continue
            try:
                answer = link.recv(64)
            except OSError:
                continue
            asked, number = question.unpack(answer[:question.size])
            self.log.add(asked, time.monotonic_ns(), answer[question.size], number)

    def answers(self, target=0, since=0):
        """(answered at, node) of a target, in the order of arrival, from a moment on."""
        return [(got, node) for _, got, node, number in self.log.since(since) if number == target]

    def owner(self, target=0, within_ms=50):
        """The number of the node that has just answered; None if there is no recent answer."""
        got = self.answers(target, time.monotonic_ns() - within_ms * 1_000_000)
        return got[-1][1] if got else None

    def first_answer(self, node, since, target=0):
        """When the node first answered after a moment; None if it did not."""
        return next((got for got, who in self.answers(target, since) if who == node), None)

    def outage_ns(self, since, until=None, target=0):
        """The longest time without an answer between two moments."""
        until = until or time.monotonic_ns()
        times = [since, *(got for got, _ in self.answers(target, since) if got < until), until]
        return max(after - before for before, after in zip(times, times[1:]))


class Monitor(Probe):
    """Asks who has each target; records (asked at, answered at, node, target).

    An announcement (gratuitous ARP, unsolicited advertisement) is recorded as asked at 0.
    """

    def run(self):
        self.mac = bytes.fromhex(self.station.mac().replace(":", ""))
        sockets = [self._open(ETH_P_ARP), self._open(ETH_P_IPV6)]
        requests = [self._request(target) for target in self.targets]
        owners = {socket.inet_pton(socket.AF_INET6 if ":" in target else socket.AF_INET, target): number
                  for number, target in enumerate(self.targets)}
        wall_ns = time.time_ns() - time.monotonic_ns()
        asked = [0] * len(requests)
        before = list(asked)
        for link in every(MONITOR_MS, sockets):
            if link is None:
                for number, (family, frame) in enumerate(requests):
                    before[number], asked[number] = asked[number], time.monotonic_ns()
                    sockets[family].send(frame)
                continue
            frame, ancillary, _, _ = link.recvmsg(256, 64)
            found = self._answer(frame)
            number = owners.get(found[0]) if found else None
            if number is None:
                continue
            _, node, announced = found
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            came = seconds * 1_000_000_000 + nanoseconds - wall_ns
            question = asked[number] if came >= asked[number] else before[number]
            self.log.add(0 if announced else question, came, node, number)

    @staticmethod
    def _open(protocol):
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        link.bind(("eth0", protocol))
        link.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        return link

    def _request(self, target):
        """Which socket to send on, and the frame (RFC 826; RFC 4861 section 4.3)."""
        if ":" not in target:
            return 0, (b"\xff" * 6 + self.mac + struct.pack("!HHHBBH", ETH_P_ARP, 1, 0x0800, 6, 4, 1) + self.mac
                       + socket.inet_aton(self.station.address()) + b"\0" * 6 + socket.inet_aton(target))
        wanted = socket.inet_pton(socket.AF_INET6, target)
        source = socket.inet_pton(socket.AF_INET6, f"fd77::{self.station.number}")
        group = socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:0")[:13] + wanted[13:]
        body = struct.pack("!I", 0) + wanted + b"\1\1" + self.mac
        whole = source + group + struct.pack("!II", 4 + len(body), 58) + b"\x87\0\0\0" + body
        total = sum(struct.unpack(f"!{len(whole) // 2}H", whole))
        while total >> 16:
            total = (total & 0xffff) + (total >> 16)
        return 1, (b"\x33\x33" + group[12:] + self.mac + struct.pack("!H", ETH_P_IPV6)
                   + struct.pack("!IHBB", 6 << 28, 4 + len(body), 58, 255) + source + group
                   + b"\x87\0" + struct.pack("!H", ~total & 0xffff) + body)

    def _answer(self, frame):
        """(address, node, whether it was announced unasked) of an answer of a node; None for everything else."""
        node = frame[11]
        if node > len(NODES):
            return None
        kind = frame[12:14]
        if kind == b"\x08\x06":
            sender, wanted = frame[28:32], frame[38:42]
            to_us = frame[20:22] == b"\0\2" and frame[:6] == self.mac
            return (sender, node, not to_us) if to_us or sender == wanted else None
        if kind == b"\x86\xdd" and frame[20] == 58 and frame[54:55] == b"\x88":
            return frame[62:78], node, not frame[58] & 0x40
        return None

    def two_owners_ns(self, since, until=None, target=None):
        """For how long two nodes answered for one target (of all targets, the worst), by the rule above."""
        until = until or time.monotonic_ns()
        heard = {}
        for asked, came, node, number in self.log.since(since):
            if since <= asked < until and came - asked < MONITOR_MS * 1_000_000:
                heard.setdefault((number, asked), set()).add(node)
        worst = [0] * len(self.targets)
        for (number, _), nodes in heard.items():
            worst[number] += len(nodes) > 1
        return (max(worst) if target is None else worst[target]) * MONITOR_MS * 1_000_000

    def first_answer(self, node, since, target=0):
        """When the node first answered a request that was sent after a moment; None if it did not."""
        return next((came for asked, came, who, number in self.log.since(since)
                     if asked >= since and who == node and number == target), None)

    def announcements(self, since, node=None):
        """How many were heard from a moment on."""
        return sum(asked == 0 and node in (None, who) for asked, _, who, _ in self.log.since(since))


class Watcher(Probe):
    """Records (1 for got or 0 for lost, heard at, node, target) from the node's own kernel (rtnetlink(7))."""

    def run(self):
        wanted = {socket.inet_pton(socket.AF_INET6 if ":" in target else socket.AF_INET, target): number
                  for number, target in enumerate(self.targets)}
        kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        kernel.bind((0, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
        held = set()
        while True:
            data = kernel.recv(65536)
            while data:
                length, kind = struct.unpack_from("IH", data)
                number = wanted.get(self._address(data[24:length]))
                if number is not None and (number in held) != (kind == RTM_NEWADDR):
                    (held.add if kind == RTM_NEWADDR else held.remove)(number)
                    self.log.add(kind == RTM_NEWADDR, time.monotonic_ns(), self.station.number, number)
                data = data[(length + 3) & ~3:]

    @staticmethod
    def _address(attributes):
        found = None
        while len(attributes) >= 4:
            size, kind = struct.unpack_from("HH", attributes)
            if kind == IFA_LOCAL or kind == IFA_ADDRESS and found is None:
                found = attributes[4:size]
            attributes = attributes[(size + 3) & ~3:]
        return found

    def gains(self, since, target=0):
        """How often the node got an address, from a moment on."""
        return sum(got for got, _, _, number in self.log.since(since) if number == target)


class Probes:
    """All of them on one PairLab. After `boot()` of a node call `serve` for it."""

    def __init__(self, lab, groups=1, families=(4, 6)):
        self.lab = lab
        self.targets = [vip(group) for vip, family in ((vip4, 4), (vip6, 6)) if family in families
                        for group in range(groups)]

    def __enter__(self):
        self.echoes = {node: Echo(self.lab[node]) for node in NODES}
        self.watchers = {node: Watcher(self.lab[node], self.targets) for node in NODES}
        self.client = Client(self.lab["client"], self.targets)
        self.monitor = Monitor(self.lab["monitor"], self.targets)
        return self

    def __exit__(self, *_):
        for probe in (*self.echoes.values(), *self.watchers.values(), self.client, self.monitor):
            probe.stop()

    def takeovers(self, since):
        """How often any node got the (first) address."""
        return sum(watcher.gains(since) for watcher in self.watchers.values())

    def serve(self, node):
        """Probe a node that has been booted anew."""
        for probes, kind, arguments in ((self.echoes, Echo, ()), (self.watchers, Watcher, (self.targets,))):
            probes[node.name].stop()
            probes[node.name] = kind(node, *arguments)
