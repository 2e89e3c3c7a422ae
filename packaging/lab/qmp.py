"""QEMU's control channel (qemu-qmp-ref(7)): commands to an emulated machine, and what happens to it, with times.

The times are those of the host's clock: a machine that was reset cannot tell when that was.
"""
import json
import socket
import time

from nodes import LabError

ANSWER_SECONDS = 30


class Monitor:
    """A connection to QEMU. `events` are those of before the last read, oldest first, as (time, name, data)."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.unread = b""
        self.events = []
        self.call("qmp_capabilities")

    def close(self):
        self.socket.close()

    def call(self, name, **arguments):
        """Have a command done and return its answer."""
        self.socket.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            message = self._receive(deadline)
            if message is None:
                raise LabError(f"QEMU does not answer {name}")
            if "error" in message:
                raise LabError(f"QEMU cannot {name}: {message['error']['desc']}")
            if "return" in message:
                return message["return"]

    def wait(self, name, since, seconds):
        """The first event of that name since a time of time.time(), as (time, data); None if none comes in time."""
        deadline = time.monotonic() + seconds
        while True:
            found = [(at, data) for at, event, data in self.events if event == name and at >= since]
            if found:
                return found[0]
            if self._receive(deadline) is None:
                return None

    def _receive(self, deadline):
        """The next message, and events noted; None at the deadline."""
        while b"\n" not in self.unread:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                more = self.socket.recv(65536)
            except TimeoutError:
                return None
            if not more:
                raise LabError("QEMU has ended")
            self.unread += more
        line, self.unread = self.unread.split(b"\n", 1)
        message = json.loads(line)
        if "event" in message:
            stamp = message["timestamp"]
            at = stamp["seconds"] + stamp["microseconds"] / 1e6
            self.events.append((at, message["event"], message.get("data", {})))
        return message
