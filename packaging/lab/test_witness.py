#!/usr/bin/env python3
"""The witness as its unit runs it: its own user, its keys, and nothing of the machine.

    test_witness.py [NAME ...]     all tests, or those whose names contain one of the words

Needs root, target/release (or $MASTIFF_BIN) and what nodes.py needs.
"""
import os
import pathlib
import sys
import unittest

from nodes import Lab, until

PROJECT = pathlib.Path(__file__).resolve().parents[2]
BINARIES = pathlib.Path(os.environ.get("MASTIFF_BIN", PROJECT / "target/release"))
UNIT = "mastiff-witness.service"
CONFIG = "/etc/mastiff/witness.toml"
PAIR = '[[witness.pair]]\nname = "{name}"\nkey-file = "/etc/mastiff/{name}.key"\n'


class Witness(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = cls.enterClassContext(Lab("a"))["a"]
        for program in ("mastiffd", "mastiff"):
            cls.node.copy(BINARIES / program, f"/usr/sbin/{program}")
        cls.node.copy(PROJECT / "systemd" / UNIT, f"/etc/systemd/system/{UNIT}")
        cls.node.copy(PROJECT / "systemd/mastiff-witness.sysusers", "/usr/lib/sysusers.d/mastiff-witness.conf")
        cls.node.run("systemd-sysusers")
        cls.node.run("systemctl", "daemon-reload")
        cls.node.run("mkdir", "-p", "/etc/mastiff")

    def serve(self, *names):
        self.node.write(CONFIG, "[witness]\n" + "".join(PAIR.format(name=name) for name in names))

    def key(self, name, owner="mastiff-witness"):
        path = f"/etc/mastiff/{name}.key"
        self.node.run("rm", "-f", path)
        self.node.run("/usr/sbin/mastiff", "key", "new", path)
        self.node.run("chown", owner, path)

    def show(self, what):
        return self.node.run("systemctl", "show", "-P", what, UNIT).stdout.strip()

    def journal(self):
        return self.node.run("journalctl", "-u", UNIT, "--no-pager", "-o", "cat").stdout

    def await_status(self, text):
        until(f"{text!r} in the status", lambda: text in self.show("StatusText"))

    def test_it_starts_hears_and_reloads_without_privileges(self):
        self.key("db")
        self.serve("db")
        self.node.run("systemctl", "restart", UNIT)
        self.await_status("witness of pairs: 1; nodes heard: 0 of 2")
        pid = self.show("MainPID")
        status = self.node.run("cat", f"/proc/{pid}/status").stdout
        fields = dict(line.split(":", 1) for line in status.splitlines())
        self.assertNotEqual("0", fields["Uid"].split()[0])
        self.assertEqual({"0000000000000000"}, {fields[name].strip() for name in ("CapEff", "CapPrm", "CapBnd")})
        self.assertEqual("2", fields["Seccomp"].strip())
        # A new pair costs no restart.
        self.key("web")
        self.serve("db", "web")
        self.node.run("systemctl", "reload", UNIT)
        self.await_status("witness of pairs: 2; nodes heard: 0 of 4")
        self.assertEqual(pid, self.show("MainPID"))
        # Something that begins as a message does arrives, and is counted.
        self.node.run("bash", "-c", "printf 'MTF\\001too short' > /dev/udp/127.0.0.1/4170")
        self.node.run("systemctl", "kill", "--kill-who=main", "-s", "USR1", UNIT)
        until("its counter", lambda: "1 cut off or too long" in self.journal())

    def test_a_key_that_it_cannot_read_is_said_and_it_is_not_started_again_and_again(self):
        self.key("other", owner="root")
        self.serve("other")
        self.node.run("systemctl", "restart", UNIT, check=False)
        until("the end", lambda: self.show("ActiveState") == "failed")
        self.assertEqual("78", self.show("ExecMainStatus"))
        self.assertIn("pair other is not served: cannot read the key file /etc/mastiff/other.key", self.journal())
        self.node.run("systemctl", "reset-failed", UNIT)

    def test_killed_it_is_back_within_a_second(self):
        self.key("db")
        self.serve("db")
        self.node.run("systemctl", "restart", UNIT)
        old = self.show("MainPID")
        self.node.run("systemctl", "kill", "--kill-who=main", "-s", "KILL", UNIT)
        until("another one", lambda: self.show("MainPID") not in (old, "0"), seconds=5)
        self.await_status("witness of pairs: 1")


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    unittest.main(argv=[sys.argv[0], *(option for word in words for option in ("-k", word))], verbosity=2)
