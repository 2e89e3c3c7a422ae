//! `mastiff check` without a daemon: the same readings, by a runner and a prober that end with it.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use mastiff_core::health::Verdict;
use mastiff_core::view::CheckView;
use nix::unistd::Pid;

use super::daemon::{Daemon, Folder, is_alive, wait};
use super::fuse::{Fuse, Manner, in_namespaces};

/// What hangs is not waited for any longer (`mastiff::oneshot::PATIENCE`), with some lateness.
const WITHIN: Duration = Duration::from_secs(14);

/// Runs `mastiff check` on a configuration whose daemon does not run.
fn check(folder: &Folder, checks: &str) -> Output {
    let node = format!(
        "[node]\nrun-dir = \"{}\"\nstate-dir = \"{}\"\ndefault-checks = false\n",
        folder.text("run"),
        folder.text("state")
    );
    let config = folder.file("mastiff.toml", &(node + checks));
    mastiff(folder).arg("--config").arg(config).args(["--json", "check"]).output().unwrap()
}

fn mastiff(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mastiff"));
    command.arg("--socket").arg(folder.path("run/control.sock")).stdin(Stdio::null());
    command
}

fn views(output: &Output) -> Vec<CheckView> {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn view<'a>(views: &'a [CheckView], name: &str) -> &'a CheckView {
    views.iter().find(|view| view.name == name).unwrap()
}

#[test]
fn every_kind_of_check_is_read_and_believed_at_once_and_no_rung_is_climbed() {
    let folder = Folder::new();
    let plugin = folder.script("plugin", "echo careful; exit 1");
    let rung = folder.script("rung", &format!("touch {}", folder.text("climbed")));
    let checks = format!(
        "[[check]]\nname = \"gone\"\nsensor = \"file\"\ntarget = \"{}\"\nfail-after = \"1h\"\non-fail = \"run {rung}\"\n\
         [[check]]\nname = \"root\"\nsensor = \"filesystem\"\ntarget = \"/\"\nwarn-when = []\nfail-when = \"mounted = false\"\n\
         [[check]]\nname = \"plugin\"\nsensor = \"command\"\ntarget = \"{plugin}\"\n\
         [[check]]\nname = \"memory\"\nsensor = \"memory\"\nwarn-when = []\nfail-when = \"used > 99.9%\"\n\
         [[check]]\nname = \"cpu\"\nsensor = \"cpu\"\nwarn-when = []\nfail-when = \"steal > 99%\"\n\
         [[check]]\nname = \"port\"\nsensor = \"tcp\"\ntarget = \"localhost:1\"\n",
        folder.text("gone")
    );
    let begun = Instant::now();
    let output = check(&folder, &checks);
    assert!(begun.elapsed() < WITHIN, "{:?}", begun.elapsed());
    let views = views(&output);
    for (name, verdict) in [
        ("gone", Verdict::Failed),
        ("root", Verdict::Healthy),
        ("plugin", Verdict::Degraded),
        ("memory", Verdict::Healthy),
        // A rate: it takes two readings.
        ("cpu", Verdict::Healthy),
        ("port", Verdict::Failed),
    ] {
        assert_eq!(view(&views, name).verdict, verdict, "{:?}", view(&views, name));
    }
    assert_eq!(output.status.code(), Some(2), "failed, as Nagios has it");
    assert!(!folder.path("climbed").exists(), "it only looks");
    assert!(!folder.path("state").exists() && !folder.path("run").exists(), "it leaves nothing");
}

#[test]
fn a_hanging_mount_is_unknown_in_time_and_the_others_are_told() {
    in_namespaces("oneshot::a_hanging_mount_is_unknown_in_time_and_the_others_are_told", || {
        let folder = Folder::new();
        let mut checks = "[[check]]\nname = \"root\"\nsensor = \"filesystem\"\ntarget = \"/\"\nwarn-when = []\nfail-when = \"mounted = false\"\n".to_string();
        let mut mounts = Vec::new();
        for number in 0..4 {
            let point = folder.path(&format!("hung-{number}"));
            mounts.push(Fuse::mount(&point, Manner::Deaf));
            checks += &format!(
                "[[check]]\nname = \"hung-{number}\"\nsensor = \"filesystem\"\ntarget = \"{}\"\n",
                point.display()
            );
        }
        let begun = Instant::now();
        let output = check(&folder, &checks);
        assert!(begun.elapsed() < WITHIN, "{:?}", begun.elapsed());
        let views = views(&output);
        assert_eq!(view(&views, "root").verdict, Verdict::Healthy);
        for number in 0..4 {
            assert_eq!(view(&views, &format!("hung-{number}")).verdict, Verdict::Unknown);
        }
        assert_eq!(output.status.code(), Some(3), "unknown, as Nagios has it");
    });
}

#[test]
fn a_plugin_that_hangs_does_not_outlive_the_look() {
    let folder = Folder::new();
    let pid = folder.text("pid");
    let plugin = folder.script("hangs", &format!("echo $$ > {pid}; exec sleep 3600"));
    let begun = Instant::now();
    let output = check(
        &folder,
        &format!("[[check]]\nname = \"hangs\"\nsensor = \"command\"\ntarget = \"{plugin}\"\n"),
    );
    assert!(begun.elapsed() < WITHIN, "{:?}", begun.elapsed());
    assert_eq!(view(&views(&output), "hangs").verdict, Verdict::Unknown);
    let pid = Pid::from_raw(folder.read("pid").trim().parse().unwrap());
    wait("it dies", &folder.path("log"), || !is_alive(pid));
}

#[test]
fn a_running_daemon_is_asked_instead() {
    let daemon = Daemon::start("[[check]]\nname = \"file\"\nsensor = \"file\"\ntarget = \"/\"\n");
    let output = mastiff(&daemon.folder).args(["--json", "check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let views = views(&output);
    assert_eq!(views.len(), 1);
    assert!(view(&views, "file").for_secs >= 0.0);
    let output = mastiff(&daemon.folder).args(["check", "file"]).output().unwrap();
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && line.contains("OK"), "{line}");
    // A signal from outside does not change what it says.
    daemon.signal(nix::sys::signal::Signal::SIGUSR1);
    daemon.wait("it logs its state", || daemon.log().contains("file: healthy"));
}
