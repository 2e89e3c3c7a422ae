#!/usr/bin/env python3
"""Clients of what a pair serves, which note every answer and never give up. Programs, and what reads their notes.

    clients.py postgres HOST     inserts numbered rows one after the other, 200 a second, and connects anew at once
    clients.py http HOST         asks 100 times a second for a page, each time on a connection of its own
    clients.py rows HOST         prints the numbers of all rows that are there

A note is a line on the standard output: when it was asked and when it was answered (CLOCK_BOOTTIME, ns), its number,
and `ok` or what went wrong. A row is acknowledged when PostgreSQL has said so; one without an answer may be there, too.
"""
import asyncio
import collections
import socket
import struct
import sys
import time

ROW_SECONDS, PAGE_SECONDS = 0.005, 0.01
# A server that is there lets clients in within milliseconds; one that has gone says nothing.
CONNECT_SECONDS = 0.25
# An answer may be late, as when a neighbour must be looked up anew, or on a busy disk. It is lost only then.
LOST_SECONDS = 1
Note = collections.namedtuple("Note", "asked answered number said")


def now():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def note(asked, number, said):
    print(asked, now(), number, said, flush=True)


class Postgres:
    """A connection by PostgreSQL's protocol 3.0 (its manual, chapter 55), to a server that trusts everybody."""

    def __init__(self, host):
        self.link = socket.create_connection((host, 5432), CONNECT_SECONDS)
        self.link.settimeout(LOST_SECONDS)
        self.input = self.link.makefile("rb")
        try:
            words = b"user\0postgres\0database\0postgres\0\0"
            self.link.sendall(struct.pack("!II", 8 + len(words), 3 << 16) + words)
            self._answers()
        except BaseException:
            self.close()
            raise

    def ask(self, query):
        """Run a query; returns the first column of all its rows."""
        text = query.encode() + b"\0"
        self.link.sendall(b"Q" + struct.pack("!I", 4 + len(text)) + text)
        return self._answers()

    def _answers(self):
        rows, error = [], None
        while True:
            head = self.input.read(5)
            if len(head) < 5:
                raise ConnectionError(error or "closed")
            kind, size = struct.unpack("!cI", head)
            body = self.input.read(size - 4)
            if kind == b"D":
                rows.append(body[6:6 + struct.unpack("!I", body[2:6])[0]].decode())
            elif kind == b"E":
                error = next(field[1:].decode() for field in body.split(b"\0") if field[:1] == b"C")
            elif kind == b"Z":
                if error:
                    raise ConnectionError(error)
                return rows

    def close(self):
        self.input.close()
        self.link.close()


def insert_rows(host):
    server, number = None, 0
    while True:
        number += 1
        asked = now()
        try:
            if server is None:
                server = Postgres(host)
                server.ask("CREATE TABLE IF NOT EXISTS rows (number bigint PRIMARY KEY)")
            server.ask(f"INSERT INTO rows VALUES ({number})")
            note(asked, number, "ok")
        except OSError as error:
            note(asked, number, f"{type(error).__name__} {error}")
            if server:
                server.close()
            server = None
        time.sleep(ROW_SECONDS)


def rows(host):
    print(*Postgres(host).ask("SELECT number FROM rows"), sep="\n")


async def get_page(host, number):
    asked, writer = now(), None
    try:
        async with asyncio.timeout(LOST_SECONDS):
            reader, writer = await asyncio.open_connection(host, 80)
            writer.write(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            answer = await reader.read()
        note(asked, number, "ok" if answer.startswith(b"HTTP/1.1 200") else f"answer {answer[:20]}")
    except OSError as error:  # TimeoutError is one
        note(asked, number, f"{type(error).__name__} {error}")
    finally:
        if writer:
            writer.close()


async def get_pages(host):
    due, number, running = time.monotonic(), 0, set()
    while True:
        number += 1
        task = asyncio.create_task(get_page(host, number))
        running.add(task)
        task.add_done_callback(running.discard)
        due += PAGE_SECONDS
        await asyncio.sleep(due - time.monotonic())


class Notes:
    """What a client has noted in a file."""

    def __init__(self, path):
        self.path = path

    def all(self, since=0):
        """Every request that was answered or given up from a moment on, in the order of that."""
        found = []
        for line in self.path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                asked, answered, number, said = line.rstrip("\n").split(" ", 3)
                if int(answered) >= since:
                    found.append(Note(int(asked), int(answered), int(number), said))
        return found

    def answered(self, since=0):
        return [it for it in self.all(since) if it.said == "ok"]

    def lost(self, since):
        """Those that were asked from a moment on and got no good answer."""
        return [it for it in self.all(since) if it.said != "ok" and it.asked >= since]

    def late(self, since):
        """How late the client itself was at most, in nanoseconds: what a busy machine does to its findings."""
        times = sorted(it.asked for it in self.all(since))
        return max((after - before for before, after in zip(times, times[1:])), default=0)

    def outage(self, since):
        """The longest time without an answer from a moment until now: (nanoseconds, when it began)."""
        end = now()  # before the notes are read: there may be thousands
        times = [since, *(it.answered for it in self.answered(since)), end]
        return max((after - before, before) for before, after in zip(times, times[1:]))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["postgres", place]:
            insert_rows(place)
        case ["http", place]:
            asyncio.run(get_pages(place))
        case ["rows", place]:
            rows(place)
        case _:
            sys.exit(__doc__)
