//! Two nodes of a pair whose ladders come to `reboot` at the same time, as two daemons, each the
//! first process of a PID namespace of its own, with a cable between them: one goes, the other one
//! waits, says so, and goes when the first is back (I14).

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};

use mastiff::control::{Request, Status};
use nix::sys::signal::Signal;

use super::daemon::{Daemon, Folder, set_mode};
use super::fuse::in_namespaces;
use super::going::SAFE;

const NAMES: [&str; 2] = ["db1", "db2"];

/// What is in the log of one that waits.
const WAITS: &str = "reboot for it: waiting: ";

/// Two network namespaces with a cable between them; at one end of it lives the witness, too.
const CABLE: &str = "
set -eu
mount -t tmpfs none /run
ip netns add db1
ip netns add db2
ip link add v0 netns db1 type veth peer name v0 netns db2
for it in 1 2; do
    ip -n db$it link set lo up
    ip -n db$it link set v0 up
    ip -n db$it address add 10.0.0.$it/24 dev v0
done
ip -n db1 address add 10.0.0.3/24 dev v0
";

/// A node whose only check is failed while the file `it` is not in its folder.
fn config(folder: &Folder, me: usize) -> String {
    let (own, other) = (me + 1, 2 - me);
    format!(
        "\nname = \"{}\"\ninterval = \"100ms\"\n[[check]]\nname = \"it\"\nsensor = \"file\"\ntarget = \"{}\"\n\
         interval = \"100ms\"\nrecover-after = \"0s\"\non-fail = \"reboot\"\n\
         [pair]\nname = \"db\"\npeer = \"{}\"\nkey-file = \"{}\"\nwitness = \"10.0.0.3:4170\"\n\
         paths = [{{ local = \"10.0.0.{own}:4170\", peer = \"10.0.0.{other}:4170\" }}]\n\
         [[group]]\nname = \"db\"\naddresses = \"10.0.0.100 dev v0\"\n",
        NAMES[me],
        folder.text("it"),
        NAMES[1 - me],
        folder.text("key"),
    )
}

/// Turns the command of a daemon into one that runs it in the namespaces of node `me`.
fn enter(folder: &Folder, me: usize) -> impl FnOnce(&mut Command) + use<> {
    let log = File::options().create(true).append(true).open(folder.path("log")).unwrap();
    move |command| {
        let outside = fs::read_link("/proc/self/ns/pid").unwrap();
        let script = format!("{SAFE}exec \"$@\"");
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", NAMES[me], "unshare", "-pmf", "--mount-proc"]);
        inside.args(["--kill-child=SIGKILL", "sh", "-c", &script, "sh"]).arg(outside);
        inside.arg(command.get_program()).args(command.get_args());
        inside.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"] {
            inside.env_remove(name);
        }
        *command = inside;
    }
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.file("it", "");
    folder.file("key", &format!("{}\n", "0123456789abcdef".repeat(4)));
    set_mode(&folder.path("key"), 0o600);
    folder
}

/// A witness, ended with the test.
struct Witness {
    child: Child,
    _folder: Folder,
}

impl Witness {
    fn start() -> Self {
        let folder = folder();
        let file = folder.file(
            "witness.toml",
            &format!(
                "[witness]\nlisten = \"10.0.0.3:4170\"\n[[witness.pair]]\nname = \"db\"\n\
                 key-file = \"{}\"\n",
                folder.text("key")
            ),
        );
        let mut command = Command::new("ip");
        command.args(["netns", "exec", NAMES[0], env!("CARGO_BIN_EXE_mastiffd"), "--config"]);
        command.arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: command.spawn().unwrap(), _folder: folder }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn start(me: usize) -> Daemon {
    let folder = folder();
    let (config, enter) = (config(&folder, me), enter(&folder, me));
    Daemon::launch(folder, &config, enter)
}

fn lay_cable() {
    let made = Command::new("sh").args(["-c", CABLE]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Whether one of both has the group, and the other one could take it.
fn is_settled(status: &Status) -> bool {
    let group = status.pair.as_ref().and_then(|pair| pair.groups.first());
    status.ready
        && group.is_some_and(|it| {
            let roles = (it.role.as_str(), it.peer_role.as_deref());
            matches!(roles, ("active", Some("standby")) | ("standby", Some("active")))
        })
}

fn break_it(daemon: &Daemon) {
    fs::remove_file(daemon.folder.path("it")).unwrap();
}

#[test]
fn of_two_nodes_that_must_reboot_one_waits_and_says_so() {
    let test = "reboots::of_two_nodes_that_must_reboot_one_waits_and_says_so";
    in_namespaces(test, || {
        lay_cable();
        let _witness = Witness::start();
        let mut nodes = [0, 1].map(start);
        for node in &nodes {
            node.await_status("it is settled", is_settled);
        }
        nodes.iter().for_each(break_it);
        // Whichever announced it first; of both at once the higher name.
        let mut first = None;
        nodes[0].wait("one of them waits", || {
            let waits = |node: &Daemon| node.log().contains(WAITS);
            first = nodes.iter().position(waits).map(|waits| 1 - waits);
            first.is_some()
        });
        let (first, second) = (first.unwrap(), 1 - first.unwrap());
        let ended = nodes[first].ended();
        assert_eq!(ended.signal(), Some(Signal::SIGHUP as i32), "{}", nodes[first].log());
        assert!(!nodes[first].log().contains(WAITS), "{}", nodes[first].log());
        let waits = format!("reboot for it: waiting: {} is rebooting since ", NAMES[first]);
        let status = nodes[second].await_status("it says so", |status| {
            status.going.as_ref().is_some_and(|going| going.starts_with(&waits))
        });
        assert!(status.going.unwrap().ends_with("s at most"), "{}", status.summary);
        assert!(status.summary.starts_with("WANTS TO GO DOWN (reboot for it: waiting: "));
        assert!(nodes[second].texts("going").iter().any(|text| text.starts_with(&waits)));
        // Nothing was counted, and it takes what the other one had.
        assert!(nodes[second].folder.read("state/boot-loop-guard").is_empty());
        nodes[second].await_status("it has the group, and waits still", |status| {
            let group = status.pair.as_ref().and_then(|pair| pair.groups.first());
            group.is_some_and(|group| group.role == "active") && status.going.is_some()
        });
        // It recovers while it waits, and stays up.
        nodes[second].folder.file("it", "");
        let ends = nodes[second].await_events("rung-ends", 1);
        assert!(
            ends[0].contains("not failed any more, or paused, or the machine is being shut down"),
            "{ends:?}"
        );
        assert_eq!(nodes[second].status().going, None);
        // It fails again, and goes when the first one is back.
        break_it(&nodes[second]);
        nodes[second].wait("it waits again", || nodes[second].log().matches(WAITS).count() == 2);
        nodes[first].folder.file("it", "");
        let enter = enter(&nodes[first].folder, first);
        nodes[first].relaunch_as(enter);
        let ended = nodes[second].ended();
        assert_eq!(ended.signal(), Some(Signal::SIGHUP as i32), "{}", nodes[second].log());
        let log = nodes[second].log();
        assert!(!log.contains("waiting for the other node: not in time"), "{log}");
        nodes[first].await_status("it has the group", |status| {
            let group = status.pair.as_ref().and_then(|pair| pair.groups.first());
            group.is_some_and(|group| group.role == "active")
        });
    });
}

/// Units that stop in order are not cut off by a reset that had to wait.
#[test]
fn a_reset_that_waits_is_called_off_by_a_shutdown() {
    let test = "reboots::a_reset_that_waits_is_called_off_by_a_shutdown";
    in_namespaces(test, || {
        lay_cable();
        let folder = folder();
        let config = config(&folder, 0).replace("on-fail = \"reboot\"", "on-fail = \"reset\"");
        let enter = enter(&folder, 0);
        let node = Daemon::launch(folder, &config, enter);
        node.await_status("it is ready", |status| status.ready);
        break_it(&node);
        node.wait("it waits for a silent peer", || {
            node.log().contains("reset for it: waiting: db2 is silent since ")
        });
        node.order(&Request::GoDown { how: "poweroff".to_string() }).unwrap();
        let ends = node.await_events("rung-ends", 1);
        assert!(ends[0].contains("or the machine is being shut down"), "{ends:?}");
        assert!(node.folder.read("state/boot-loop-guard").is_empty(), "nothing was counted");
    });
}
