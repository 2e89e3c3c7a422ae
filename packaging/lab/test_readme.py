#!/usr/bin/env python3
"""README.md's first configuration of one server, typed by a new user on a fresh machine, the emulated one of vm.py.

    test_readme.py [NAME ...]     all tests, or those whose names contain one of the words

The commands and the configuration are those that stand in README.md, so that it stays true. What does not begin with
sudo is done as an ordinary user. Needs root, target/release (or $MASTIFF_BIN) and what vm.py needs. Prints what the
user sees. The last line of the output is `N passed, N failed`.
"""
import json
import re
import shlex
import unittest

from daemon import BINARIES, CONFIG, PROJECT
from nodes import until
from runner import main
from vm import Vm

CHAPTER = "## A real first configuration: one server"
DRIVER = "i6300esb"
HOME = "/home/admin/mastiff"
# There is no compiler in the machine; the programs are there as if it had run.
BUILDS = "cargo build"
# Goes on until somebody presses Ctrl-C.
ENDLESS = "events -f"
WATCH_SECONDS = 3
# Of commands that did what they should: some say by 1 that the machine is degraded, timeout(1) by 124 that it ended one.
FINE = (0, 1, 124)
ENABLE, PROVE = "systemctl enable", "watchdog prove"
RESET_SECONDS = 90
# What the configuration is about: a web server, and somebody to tell.
NGINX = "[Service]\nExecStart=/usr/bin/python3 -m http.server 80 --directory /srv\n"
TELL = "#!/bin/sh\ncat >> /var/tmp/told\n"


def code_blocks(language):
    """The blocks of this language in the chapter, in order."""
    text = (PROJECT / "README.md").read_text()
    chapter = text.split(CHAPTER, 1)[1].split("\n## ", 1)[0]
    return re.findall(rf"```{language}\n(.*?)```", chapter, re.DOTALL)


def commands():
    """What is to be typed, one command each, without the comments."""
    lines = (re.sub(r"\s+#.*", "", line) for block in code_blocks("sh") for line in block.splitlines())
    return [command.strip() for line in lines for command in line.split(";") if command.strip()]


class TestReadme(unittest.TestCase):
    """One story, in the order of the file."""

    def setUp(self):
        self.vm = vm = self.enterContext(Vm())
        vm.load_at_boot(DRIVER)
        vm.run("useradd", "--create-home", "admin")
        for program in ("mastiffd", "mastiff"):
            vm.copy(BINARIES / program, f"{HOME}/target/release/{program}")
        for folder in ("systemd", "packaging/man", "packaging/mastiff.toml"):
            vm.copy(PROJECT / folder, f"{HOME}/{folder}")
        vm.write("/srv/health", "")
        vm.write("/etc/systemd/system/nginx.service", NGINX)
        vm.write("/usr/local/bin/tell-the-admins", TELL, 0o755)
        vm.run("systemctl", "start", "nginx")

    def type(self, command, answer=""):
        """Do what the user types, at a terminal; returns the exit status and what is seen."""
        user = "root" if command.startswith("sudo ") else "admin"
        words = command.removeprefix("sudo ")
        watch = f"timeout {WATCH_SECONDS} " if ENDLESS in command else ""
        script = shlex.quote(f"cd {HOME}; exec {watch}{words}")
        at_terminal = f"echo {answer} | script --quiet --return --command {script} /dev/null"
        done = self.vm.run("runuser", "-u", user, "--", "sh", "-c", at_terminal, check=False)
        seen = done.stdout.replace("\r", "")
        print(f"\n{'#' if user == 'root' else '$'} {words}   [{done.returncode}]\n{seen}", flush=True)
        return done.returncode, seen

    def story(self):
        return "".join(self.vm.run(*words, check=False).stdout[-4000:] for words in (
            ("journalctl", "-n", "60", "--no-pager"), ("mastiff", "watchdog", "status"), ("mastiff", "why")))

    def watchdog(self):
        return json.loads(self.vm.run("mastiff", "watchdog", "status", "--json", check=False).stdout).get("mastiffd") or {}

    def is_armed(self):
        return self.watchdog().get("petted_secs_ago") is not None

    def test_one_server(self):
        typed = code_blocks("toml")[0]
        self.vm.write(CONFIG, typed)
        seen = {}
        for command in commands():
            if command.startswith(BUILDS):
                continue
            if PROVE in command:
                self.vm.run("sync")
                reset = self.vm.wait_reset(lambda: self.type(command, "yes"), RESET_SECONDS)
                self.assertTrue(reset.by_watchdog)
                until("mastiffd pets again", self.is_armed, 60)
                continue
            code, seen[command] = self.type(command)
            self.assertIn(code, FINE, command)
            if ENABLE in command:
                until("mastiffd pets", self.is_armed, 60)
                self.assertIn("sudo", self.type("mastiff status")[1], "who may not look is told what to do")
        self.assertEqual(typed, self.vm.read(CONFIG), "what was typed is what is used")
        self.assertIn("to prove that it does", seen["sudo mastiff why"])
        self.assertIsNotNone(self.watchdog()["proven_at_unix_ms"])


if __name__ == "__main__":
    main([TestReadme])
