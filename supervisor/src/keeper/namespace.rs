//! Network namespaces for tests: real devices, nobody else's.

use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdin, Command, Stdio};

use mastiff_core::time::Span;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, setns};

use crate::clock;

/// Set in the process that runs a test in its namespace.
const INSIDE: &str = "MASTIFF_TEST_NAMESPACE";
/// What a test waits for comes within milliseconds; a machine that builds beside it may be slow.
pub(crate) const PATIENCE: Span = Span::from_secs(20);

/// Runs the body of a test, a closure in the test's function, in a process and a network namespace
/// of its own: as root, or where users may make namespaces. Says so where neither is possible.
pub(crate) fn inside<F: FnOnce()>(test: F) {
    // As in `mastiff::keeper::address::tests::an_address_is_added::{{closure}}`.
    let name = std::any::type_name::<F>();
    let name = name.split_once("::").unwrap().1.rsplit_once("::").unwrap().0;
    if std::env::var_os(INSIDE).is_some() {
        run("ip link set lo up");
        return test();
    }
    let enter = ["--map-root-user", "--net", "--kill-child", "--fork"];
    let may = Command::new("unshare").args(enter).arg("true").output().expect("unshare(1)");
    if !may.status.success() {
        println!("skipped: no namespaces here: {}", String::from_utf8_lossy(&may.stderr));
        return;
    }
    let output = Command::new("unshare")
        .args(enter)
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "yes")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs a command, its words separated by spaces; it must succeed. Returns what it printed.
pub(crate) fn run(command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Another namespace: the other machine on the cable.
#[derive(Debug)]
pub(crate) struct Other {
    child: Child,
    _holds: ChildStdin,
}

impl Other {
    /// Makes it, with a cable: device `a` here, `b` there, both up.
    pub(crate) fn with_cable(a: &str, b: &str) -> Self {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let holds = child.stdin.take().unwrap();
        let other = Self { child, _holds: holds };
        run(&format!("ip link add {a} type veth peer name {b} netns {}", other.child.id()));
        run(&format!("ip link set {a} up"));
        other.run("ip link set lo up");
        other.run(&format!("ip link set {b} up"));
        // The kernel learns of a carrier a moment after it is there, and speaks no IPv6 before.
        let is_up = |name: &str| run(&format!("ip link show {name}")).contains("state UP");
        eventually("both ends are up", || {
            is_up(a) && other.run(&format!("ip link show {b}")).contains("state UP")
        });
        other
    }

    /// Runs a command there.
    pub(crate) fn run(&self, command: &str) -> String {
        run(&format!("nsenter --net --target {} {command}", self.child.id()))
    }

    /// Does something there: a socket that it opens stays there.
    pub(crate) fn within<T>(&self, act: impl FnOnce() -> T) -> T {
        let here = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        let there = std::fs::File::open(format!("/proc/{}/ns/net", self.child.id())).unwrap();
        setns(there, CloneFlags::CLONE_NEWNET).unwrap();
        let result = act();
        setns(here, CloneFlags::CLONE_NEWNET).unwrap();
        result
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Waits until a descriptor is readable; whether it is within [`PATIENCE`].
pub(crate) fn readable(fd: BorrowedFd<'_>) -> bool {
    let millis = u16::try_from(PATIENCE.as_millis()).unwrap();
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], millis).unwrap() > 0
}

/// Asks again and again until it is so; fails after [`PATIENCE`].
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = clock::now().after(PATIENCE);
    while !is_so() {
        assert!(clock::now() < deadline, "not within {PATIENCE}: {what}");
        poll(&mut [], 5u16).unwrap();
    }
}
