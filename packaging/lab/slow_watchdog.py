#!/usr/bin/env python3
"""A watchdog whose driver takes its time: a character device made with CUSE, for machines of vm.py.

    slow_watchdog.py NAME DIRECTORY     serve /dev/NAME until killed

It is a real device to whoever opens it: it takes the calls of linux/watchdog.h, and each write waits while
DIRECTORY/hold exists. DIRECTORY/story gets a line for each thing that happened. Where DIRECTORY/status exists it has a
thermometer (165 degrees Fahrenheit) and says that as its status, bits as a number. It resets nothing, and is stopped by
a call where DIRECTORY/wayout exists.

Layout and numbers: include/uapi/linux/fuse.h, include/uapi/linux/watchdog.h.
"""
import enum
import errno
import os
import pathlib
import struct
import sys
import time

HEADER = struct.Struct("<IIQQIIII")  # struct fuse_in_header
WRITE_IN_BYTES = 40
MAGIC_CLOSE, SET_TIMEOUT, KEEPALIVE, CARD_RESET = 0x100, 0x80, 0x8000, 0x20
FAHRENHEIT = 165
LOOK_SECONDS = 0.02


class Asked(enum.IntEnum):
    """Requests of the kernel."""
    OPEN, WRITE, RELEASE, INTERRUPT, IOCTL, CUSE_INIT = 14, 16, 18, 36, 39, 4096


class Call(enum.IntEnum):
    """Numbers of ioctl(2)."""
    GETSUPPORT, GETSTATUS, GETBOOTSTATUS, GETTEMP, SETOPTIONS, SETTIMEOUT, GETTIMEOUT, GETTIMELEFT = 0, 1, 2, 3, 4, 6, 7, 10


class Device:
    """The device and what became of it."""

    def __init__(self, name, directory):
        self.directory = pathlib.Path(directory)
        self.timeout = 60
        self.cuse = os.open("/dev/cuse", os.O_RDWR)
        unique, opcode, _ = self.take()
        assert opcode == Asked.CUSE_INIT, opcode
        init = struct.pack("<8I10I", 7, 31, 0, 0, 4096, 4096, 0, 0, *[0] * 10)
        self.answer(unique, init + f"DEVNAME={name}\0".encode())

    def tell(self, what):
        with open(self.directory / "story", "a") as story:
            print(what, file=story)

    def take(self):
        """The next request: its number, what it asks, and with what."""
        request = os.read(self.cuse, 1 << 17)
        _, opcode, unique, *_ = HEADER.unpack_from(request)
        return unique, opcode, request[HEADER.size:]

    def answer(self, unique, payload=b"", error=0):
        os.write(self.cuse, struct.pack("<IiQ", 16 + len(payload), -error, unique) + payload)

    def serve(self):
        while True:
            unique, opcode, body = self.take()
            match opcode:
                case Asked.OPEN:
                    self.tell("open")
                    self.answer(unique, struct.pack("<QII", 1, 0, 0))
                case Asked.WRITE:
                    data = body[WRITE_IN_BYTES:]
                    self.tell("begin")
                    while (self.directory / "hold").exists():
                        time.sleep(LOOK_SECONDS)
                    self.tell("V" if b"V" in data else "pet")
                    self.answer(unique, struct.pack("<II", len(data), 0))
                case Asked.RELEASE:
                    self.tell("close")
                    self.answer(unique)
                case Asked.INTERRUPT:
                    pass
                case Asked.IOCTL:
                    self.ioctl(unique, body)
                case _:
                    self.answer(unique, error=errno.ENOSYS)

    def ioctl(self, unique, body):
        _, _, command, _, in_size, out_size = struct.unpack_from("<QIIQII", body)
        given = body[32:32 + in_size]
        match command & 0xff:
            case Call.GETSUPPORT:
                options = MAGIC_CLOSE | SET_TIMEOUT | KEEPALIVE
                out = struct.pack("<II32s", options, 1, b"Slow Watchdog")
            case Call.SETTIMEOUT:
                self.timeout, = struct.unpack("<i", given)
                out = given
            case Call.GETTIMEOUT:
                out = struct.pack("<i", self.timeout)
            case Call.GETTIMELEFT:
                out = struct.pack("<i", self.timeout - 1)
            case Call.GETBOOTSTATUS:
                out = struct.pack("<i", CARD_RESET)
            case Call.GETSTATUS if (self.directory / "status").exists():
                out = struct.pack("<i", int((self.directory / "status").read_text(), 0) | CARD_RESET)
            case Call.GETTEMP if (self.directory / "status").exists():
                out = struct.pack("<i", FAHRENHEIT)
            case Call.SETOPTIONS:
                self.tell("disabled" if (self.directory / "wayout").exists() else "busy")
                if not (self.directory / "wayout").exists():
                    return self.answer(unique, error=errno.EBUSY)
                out = struct.pack("<i", 1)
            case _:
                return self.answer(unique, error=errno.EOPNOTSUPP)
        assert len(out) == out_size, (command, out_size)
        return self.answer(unique, struct.pack("<iIII", 0, 0, 0, 0) + out)


if __name__ == "__main__":
    Device(*sys.argv[1:]).serve()
