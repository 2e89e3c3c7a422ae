//! The rungs `reboot` and `reset`, and the boot-loop guard, in a PID namespace: there reboot(2)
//! ends the namespace with the signal that names the command, and nothing else
//! (pid_namespaces(7)). Its user namespace has no right to do more.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use mastiff::control::{BootLoopStatus, Request, Status};
use nix::sys::signal::{Signal, kill};

use super::daemon::{Daemon, Folder, children, set_mode};
use super::fuse::{Fuse, Manner, in_namespaces};

/// What must be so before the daemon starts: another PID namespace than ours, in `$1`; no way to
/// the services of the host; and no way to reset it, should the daemon believe that it may.
pub(super) const SAFE: &str = r#"
set -eu
[ "$(readlink /proc/self/ns/pid)" != "$1" ] || exit 99
shift
mount -t tmpfs none /run
[ ! -e /proc/sysrq-trigger ] || mount --bind /dev/null /proc/sysrq-trigger
"#;

/// The arguments of unshare(1) for it.
const ENTER: [&str; 3] = ["-Urpmnf", "--mount-proc", "--kill-child=SIGKILL"];

/// Whether such a namespace can be made here; says why not.
fn possible() -> bool {
    let mount = ["mount", "-t", "tmpfs", "none", "/run"];
    let tried = Command::new("unshare").args(ENTER).args(mount).output();
    let tried = tried.expect("unshare(1) of util-linux");
    if !tried.status.success() {
        println!("skipped: no namespaces here: {}", String::from_utf8_lossy(&tried.stderr));
    }
    tried.status.success()
}

/// Starts a daemon as the first process of a PID namespace, by the end of a shell script.
fn launch(folder: Folder, checks: &str, script: &str) -> Daemon {
    let enter = enter(&folder, script);
    Daemon::launch(folder, checks, enter)
}

/// Turns the command of a daemon into one that runs it there.
fn enter(folder: &Folder, script: &str) -> impl FnOnce(&mut Command) + use<> {
    let log = File::options().create(true).append(true).open(folder.path("log")).unwrap();
    let script = format!("{SAFE}{script}");
    move |command| {
        let outside = fs::read_link("/proc/self/ns/pid").unwrap();
        let mut inside = Command::new("unshare");
        inside.args(ENTER).args(["sh", "-c", &script, "sh"]).arg(outside);
        inside.arg(command.get_program()).args(command.get_args());
        inside.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"] {
            inside.env_remove(name);
        }
        *command = inside;
    }
}

/// A check that is failed while the file `it` is not there.
fn wants_it(folder: &Folder, on_fail: &str) -> String {
    let target = folder.text("it");
    format!(
        "[[check]]\nname = \"it\"\nsensor = \"file\"\ntarget = \"{target}\"\n\
         interval = \"100ms\"\non-fail = {on_fail}\n"
    )
}

fn guard_file(daemon: &Daemon) -> String {
    daemon.folder.read("state/boot-loop-guard")
}

/// A guard's file with so many resets of a moment ago.
fn resets(folder: &Folder, count: usize) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    fs::create_dir_all(folder.path("state")).unwrap();
    folder.file("state/boot-loop-guard", &format!("{now} unknown reset for it\n").repeat(count));
}

fn boot_loop(daemon: &Daemon) -> BootLoopStatus {
    daemon.status().boot_loop.unwrap()
}

/// The stages in the log, in their order.
fn stages(daemon: &Daemon) -> Vec<String> {
    let log = daemon.log();
    let begins = |line: &str| line.contains("warning: reboot ") || line.contains("warning: reset ");
    let stage = |line: &str| line.split_once(" for it: ").map(|(_, stage)| stage.to_string());
    log.lines().filter(|line| begins(line)).filter_map(stage).collect()
}

#[test]
fn without_systemd_a_reboot_is_written_down_synced_and_done_alone() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    let checks = wants_it(&folder, "\"reboot\"");
    let mut daemon = launch(folder, &checks, "exec \"$@\"");
    let status = daemon.ended();
    assert_eq!(status.signal(), Some(Signal::SIGHUP as i32), "{status}\n{}", daemon.log());
    let stages = stages(&daemon);
    let wanted = [
        "looking for emergency mode",
        "writing down why",
        "letting the groups go",
        "sync(2)",
        "asking PID 1",
        "reboot(2)",
    ];
    assert_eq!(stages, wanted, "{}", daemon.log());
    // Both were on the disk before.
    let guard = guard_file(&daemon);
    assert!(guard.lines().count() == 1 && guard.ends_with(" reboot for it\n"), "{guard}");
    assert!(daemon.folder.read("state/state.json").contains("trying \\\"reboot\\\""));
    // The next boot knows of the use and of the reset.
    let text = daemon.folder.read("mastiff.toml") + "[budgets]\nreboot = \"1 in 1h\"\n";
    daemon.folder.file("mastiff.toml", &text);
    daemon.relaunch_as(enter(&daemon.folder, "exec \"$@\""));
    assert_eq!((boot_loop(&daemon).resets, boot_loop(&daemon).observes_only), (1, false));
    let waits = daemon.await_events("ladder-waits", 1);
    assert!(waits[0].contains("budgets of its ladder are spent"), "{waits:?}");
}

#[test]
fn a_reset_in_a_container_never_touches_the_machine_below_it() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    let checks = wants_it(&folder, "\"reset\"");
    let mut daemon = launch(folder, &checks, "exec \"$@\"");
    let status = daemon.ended();
    assert_eq!(status.signal(), Some(Signal::SIGHUP as i32), "{status}\n{}", daemon.log());
    let stages = stages(&daemon);
    assert_eq!(stages[stages.len() - 2..], ["sysrq", "reboot(2)"], "{stages:?}");
    assert!(!stages.contains(&"sync(2)".to_string()) && !stages.contains(&"asking PID 1".into()));
    assert!(guard_file(&daemon).ends_with(" reset for it\n"));
}

#[test]
fn a_machine_that_may_not_restart_itself_goes_on_with_its_ladder() {
    if !possible() || !Path::new("/usr/bin/setpriv").exists() {
        println!("skipped: needs setpriv(1) of util-linux");
        return;
    }
    let folder = Folder::new();
    resets(&folder, 2);
    let before = folder.read("state/boot-loop-guard");
    let script = folder.script("after", &format!("touch {}", folder.text("it")));
    let checks = wants_it(&folder, &format!("[\"reset\", \"run {script}\"]"));
    let powerless = "exec setpriv --bounding-set -sys_boot --inh-caps -sys_boot -- \"$@\"";
    let daemon = launch(folder, &checks, powerless);
    daemon.await_status("ready", |status| status.ready);
    let ends = daemon.await_events("rung-ends", 1);
    assert!(ends[0].contains("this machine cannot restart itself: "), "{ends:?}");
    assert!(ends[0].contains("reboot(2): EPERM"), "{ends:?}");
    assert_eq!(daemon.status().going, None);
    // It did not take place, so it does not count, and would have been one too many.
    daemon.wait("the guard's file is as before", || guard_file(&daemon) == before);
    assert_eq!((boot_loop(&daemon).resets, boot_loop(&daemon).observes_only), (2, false));
    // After ten seconds to settle.
    daemon.await_events("rung-ends", 2);
    assert!(daemon.folder.path("it").exists(), "the next rung was tried");
}

#[test]
fn after_too_many_resets_it_only_observes_until_an_operator_says_otherwise() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    resets(&folder, 3);
    let script = folder.script("after", &format!("echo >> {}; exit 1", folder.text("tries")));
    let checks = wants_it(&folder, &format!("[\"reboot\", \"run {script}\", \"reset\"]"));
    let mut daemon = launch(folder, &checks, "exec \"$@\"");
    daemon.await_status("ready", |status| status.ready);
    let passed = daemon.await_events("rung-passed", 2);
    assert!(passed[0].contains("not trying \"reboot\", since this boot observes only"));
    assert!(passed[1].contains("\"reset\""), "{passed:?}");
    assert_eq!(daemon.folder.read("tries").lines().count(), 1, "what is between them was tried");
    let said = daemon.texts("boot-loop");
    assert!(said[0].contains("reset itself 3 times within 1h"), "{said:?}");
    assert!(said[0].ends_with("the last reset: reset for it"), "{said:?}");
    let status = daemon.await_status("the status line says so", |status| {
        status.summary.starts_with("OBSERVES ONLY (boot-loop guard), ")
    });
    let guard = status.boot_loop.unwrap();
    assert!(guard.observes_only && guard.resets == 3 && guard.calm_left_secs.is_none());
    let view = daemon.check("it").ladder.unwrap();
    assert_eq!((view.rungs[0].used, view.rungs[2].used), (0, 0), "nothing was spent");
    let said = daemon.order(&Request::ClearBootLoopGuard {}).unwrap();
    assert!(said.contains("forgotten 3 resets: resets are possible again"), "{said}");
    // And then it does what its ladder says.
    let status = daemon.ended();
    assert_eq!(status.signal(), Some(Signal::SIGHUP as i32), "{status}\n{}", daemon.log());
    assert_eq!(guard_file(&daemon).lines().count(), 1, "counted anew");
}

#[test]
fn a_damaged_guard_file_counts_as_resets_and_is_told_once() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("state")).unwrap();
    fs::write(folder.path("state/boot-loop-guard"), b"\0\0\xff\nx\n\n").unwrap();
    let mut daemon = Daemon::start_in(folder, "");
    let said = daemon.texts("boot-loop-damaged");
    assert!(said[0].contains("3 lines are damaged"), "{said:?}");
    assert!(boot_loop(&daemon).observes_only);
    daemon.wait("it is written anew", || guard_file(&daemon).starts_with("?\n?\n?\nobserves "));
    daemon.crash_and_restart();
    assert!(boot_loop(&daemon).observes_only, "this boot goes on observing");
    assert_eq!(daemon.log().matches("lines are damaged").count(), 1, "told once");
    daemon.order(&Request::ClearBootLoopGuard {}).unwrap();
    daemon.wait("it is empty", || guard_file(&daemon).is_empty());
    daemon.crash_and_restart();
    assert!(!boot_loop(&daemon).observes_only);
    let refused = daemon.order(&Request::ClearBootLoopGuard {}).unwrap_err();
    assert!(refused.contains("has counted no reset"), "{refused}");
}

/// A PID 1 that is called systemd, and a `systemctl` that writes down what it is told. In
/// emergency mode while the file `emergency` is there; a reboot ends the daemon, as PID 1 would.
fn with_systemd(folder: &Folder) -> Option<String> {
    if !Path::new("/usr/bin/systemctl").exists() {
        println!("skipped: needs a /usr/bin/systemctl to be put another one in front of");
        return None;
    }
    let (home, init) = (folder.text(""), folder.text("systemd"));
    let systemctl = folder.script(
        "systemctl",
        &format!(
            "cd {home}\necho \"$@\" >> asked\ncase $1 in\nis-active) [ -e emergency ] ;;\n\
             reboot) [ ! -e deaf ] && kill -TERM $(cat pid) ;;\nesac"
        ),
    );
    fs::copy("/bin/sh", &init).unwrap();
    Some(format!(
        "mkdir -p /run/systemd/system\nmount --bind {systemctl} /usr/bin/systemctl\n\
         exec {init} -c '\"$@\" & echo $! > {home}pid; wait $!' sh \"$@\""
    ))
}

#[test]
fn pid_1_is_asked_and_ends_the_daemon() {
    let folder = Folder::new();
    let Some(script) = with_systemd(&folder).filter(|_| possible()) else { return };
    let checks = wants_it(&folder, "\"reboot\"");
    let mut daemon = launch(folder, &checks, &script);
    let status = daemon.ended();
    assert_eq!(status.code(), Some(0), "{status}\n{}", daemon.log());
    assert_eq!(stages(&daemon).last().map(String::as_str), Some("asking PID 1"));
    let asked = daemon.folder.read("asked");
    // It is also asked what PID 1 is about to do.
    let orders = |line: &&str| !line.contains("show") && !line.contains("list-jobs");
    let asked: Vec<&str> = asked.lines().filter(orders).collect();
    let look = "is-active --quiet --no-ask-password -- emergency.target rescue.target";
    assert_eq!(asked, [look, "reboot --no-block --no-ask-password --"], "{}", daemon.log());
}

#[test]
fn a_pid_1_that_refuses_is_passed_at_once() {
    let folder = Folder::new();
    let Some(script) = with_systemd(&folder).filter(|_| possible()) else { return };
    folder.file("deaf", "");
    let checks = wants_it(&folder, "\"reboot\"");
    let mut daemon = launch(folder, &checks, &script);
    let status = daemon.ended();
    assert_eq!(status.signal(), Some(Signal::SIGHUP as i32), "{status}\n{}", daemon.log());
    assert_eq!(stages(&daemon).last().map(String::as_str), Some("reboot(2)"));
}

#[test]
fn nothing_is_begun_in_emergency_mode() {
    let folder = Folder::new();
    let Some(script) = with_systemd(&folder).filter(|_| possible()) else { return };
    folder.file("emergency", "");
    let checks = wants_it(&folder, "\"reboot\"");
    let daemon = launch(folder, &checks, &script);
    daemon.await_status("ready", |status| status.ready);
    let ends = daemon.await_events("rung-ends", 1);
    assert!(ends[0].contains("emergency or rescue mode"), "{ends:?}");
    assert_eq!(stages(&daemon), ["looking for emergency mode"]);
    assert!(guard_file(&daemon).is_empty());
}

#[test]
fn with_pid_1_and_the_disk_dead_it_is_restarted_all_the_same() {
    let test = "going::with_pid_1_and_the_disk_dead_it_is_restarted_all_the_same";
    if !possible() {
        return;
    }
    in_namespaces(test, || {
        let folder = Folder::new();
        let Some(script) = with_systemd(&folder) else { return };
        folder.script("systemctl", "exec sleep 3600");
        // Who asks this disk sleeps; it is put in the place of the state directory.
        let _dead = Fuse::mount(&folder.path("dead"), Manner::Silent);
        fs::create_dir_all(folder.path("alive")).unwrap();
        symlink(folder.path("alive"), folder.path("state")).unwrap();
        folder.file("it", "");
        let checks = wants_it(&folder, "\"reboot\"");
        let mut daemon = launch(folder, &checks, &script);
        daemon.await_status("ready", |status| status.ready);
        symlink(daemon.folder.path("dead"), daemon.folder.path("next")).unwrap();
        fs::rename(daemon.folder.path("next"), daemon.folder.path("state")).unwrap();
        fs::remove_file(daemon.folder.path("it")).unwrap();
        let status = daemon.ended();
        assert_eq!(status.signal(), Some(Signal::SIGHUP as i32), "{status}\n{}", daemon.log());
        assert_eq!(stages(&daemon).len(), 6, "{}", daemon.log());
        assert!(daemon.folder.read("alive/boot-loop-guard").is_empty(), "it was dead");
    });
}

/// A pair whose other node and witness are silent, with a group that has more `keys`.
fn pair(folder: &Folder, keys: &str) -> String {
    folder.file("key", &format!("{}\n", "0123456789abcdef".repeat(4)));
    set_mode(&folder.path("key"), 0o600);
    format!(
        "[pair]\nname = \"db\"\npeer = \"other\"\nkey-file = \"{}\"\ntakeover-within = \"10s\"\n\
         witness = \"10.0.0.3:4170\"\n\
         paths = [{{ local = \"10.0.0.1:4170\", peer = \"10.0.0.2:4170\" }}]\n\
         [[group]]\nname = \"db\"\naddresses = \"10.0.0.100 dev v0\"\n{keys}",
        folder.text("key")
    )
}

/// What its addresses and paths need.
const CABLE: &str = "ip link set lo up\nip link add v0 type veth peer name v1\nip link set v1 up\n\
                     ip link set v0 up\nip address add 10.0.0.1/24 dev v0\n";

#[test]
fn systemd_is_asked_for_the_time_that_units_need_to_stop() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    let systemd = UnixDatagram::bind(folder.path("notify")).unwrap();
    systemd.set_read_timeout(Some(super::daemon::PATIENCE)).unwrap();
    let pair = pair(&folder, "units = \"slow.service\"\nstop-within = \"10min\"\n");
    let script = format!("{CABLE}export NOTIFY_SOCKET={}\nexec \"$@\"", folder.text("notify"));
    let daemon = launch(folder, &pair, &script);
    daemon.await_status("ready", |status| status.ready);
    // The process that was started made the namespace, and waits for the daemon in it.
    kill(children(daemon.pid())[0], Signal::SIGTERM).unwrap();
    let asked = std::iter::repeat_with(|| {
        let mut buffer = [0; 4096];
        let length = systemd.recv(&mut buffer).expect("a datagram in time");
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        text.strip_prefix("EXTEND_TIMEOUT_USEC=").map(|usec| usec.parse::<u64>().unwrap())
    });
    let usec = asked.flatten().next().unwrap();
    assert!((600_000_000..700_000_000).contains(&usec), "{usec}");
}

#[test]
fn a_node_that_only_observes_is_ready_for_no_group_and_says_why() {
    if !possible() {
        return;
    }
    let folder = Folder::new();
    resets(&folder, 3);
    let pair = pair(&folder, "");
    let cable = format!("{CABLE}exec \"$@\"");
    let daemon = launch(folder, &pair, &cable);
    let not_ready = |status: &Status| {
        let group = status.pair.as_ref().and_then(|pair| pair.groups.first());
        group.and_then(|group| group.not_ready.clone())
    };
    daemon.await_status("it says why", |status| {
        not_ready(status).is_some_and(|why| why == "this boot only observes (boot-loop guard)")
    });
    daemon.order(&Request::ClearBootLoopGuard {}).unwrap();
    daemon.await_status("it is ready", |status| not_ready(status).is_none());
}
