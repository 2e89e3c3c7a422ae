//! Start, the words with PID 1, and the end.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Output;
use std::time::{Duration, Instant};

use mastiff::control::Request;
use nix::sys::signal::{Signal, killpg};

use super::cases;
use super::daemon::{Client, Daemon, Folder, PATIENCE, is_alive, mastiffd, set_mode};

/// What systemd would hear.
struct Systemd {
    socket: UnixDatagram,
}

impl Systemd {
    fn new(folder: &Folder) -> Self {
        let socket = UnixDatagram::bind(folder.path("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    /// The next datagram.
    fn hear(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a datagram in time");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn hear_until(&self, wanted: &str) -> Vec<String> {
        let mut heard = vec![self.hear()];
        while heard.last().is_some_and(|last| !last.starts_with(wanted)) {
            heard.push(self.hear());
        }
        heard
    }

    /// Takes what is there already; true if something comes within `time`.
    fn hears_within(&self, time: Duration) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        while self.socket.recv(&mut buffer).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
        self.socket.set_read_timeout(Some(time)).unwrap();
        let heard = self.socket.recv(&mut buffer).is_ok();
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        heard
    }
}

fn run(folder: &Folder, arguments: &[&str]) -> Output {
    let mut command = mastiffd(folder);
    command.args(arguments).stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped()).output().unwrap()
}

/// An empty file for the user: only the folders are this test's own.
#[test]
fn an_empty_configuration_watches_the_machine_and_is_ready() {
    let daemon = Daemon::start("\ndefault-checks = true\ninterval = \"1s\"\n");
    let status = daemon.status();
    assert!(status.checks.len() >= 3, "{:?}", status.checks);
    assert!(status.checks.iter().all(|check| check.discovered && check.ladder.is_none()));
    assert!(status.summary.contains("checks"), "{}", status.summary);
    assert_eq!(status.pid.to_string(), daemon.pid().to_string());
}

#[test]
fn nothing_to_watch_is_healthy_and_ready() {
    let daemon = Daemon::start("");
    assert_eq!(daemon.status().summary, "healthy: 0 checks");
}

#[test]
fn systemd_hears_ready_only_after_the_first_round() {
    let folder = Folder::new();
    let systemd = Systemd::new(&folder);
    // The one check takes until somebody makes the file: until then the daemon is not ready.
    let script = folder
        .script("slow", &format!("while [ ! -e {} ]; do sleep 0.05; done", folder.text("go")));
    let check = format!(
        "[[check]]\nname = \"slow\"\nsensor = \"command\"\ntarget = \"{script}\"\ntimeout = \"1min\"\n"
    );
    let notify = folder.path("notify");
    let mut daemon = Daemon::launch(folder, &check, |command| {
        command.env("NOTIFY_SOCKET", notify).env("WATCHDOG_USEC", "1000000");
    });
    let status = daemon.await_status("answers", |_| true);
    assert!(!status.ready);
    // Nor may systemd lose its patience with a slow one while both loops run.
    let begin = systemd.hear_until("WATCHDOG=1");
    assert_eq!(begin.last().unwrap(), "WATCHDOG=1\nEXTEND_TIMEOUT_USEC=1500000");
    // Neither a reload nor an answered request makes it ready.
    daemon.order(&Request::Reload { confirm_secs: None }).unwrap();
    assert!(!daemon.status().ready);
    daemon.folder.file("go", "");
    let heard = systemd.hear_until("READY=1");
    assert_eq!(heard.iter().filter(|text| text.starts_with("READY")).count(), 1, "{heard:?}");
    daemon.await_status("ready", |status| status.ready && status.summary == "healthy: 1 checks");
    systemd.hear_until("STATUS=healthy: 1 checks");
    assert_eq!(systemd.hear_until("WATCHDOG=1").last().unwrap(), "WATCHDOG=1");
    // Once ready, a reload is told from its begin to its end.
    daemon.order(&Request::Reload { confirm_secs: None }).unwrap();
    let begin = systemd.hear_until("RELOADING=1");
    assert!(begin.last().unwrap().contains("\nMONOTONIC_USEC="), "{begin:?}");
    systemd.hear_until("READY=1");
    assert_eq!(daemon.end(Signal::SIGTERM).code(), Some(0));
    systemd.hear_until("STOPPING=1");
    systemd.hear_until("STATUS=stopped");
}

#[test]
fn the_watchdog_of_systemd_is_petted_in_time_and_not_by_a_frozen_daemon() {
    let folder = Folder::new();
    let systemd = Systemd::new(&folder);
    let notify = folder.path("notify");
    let limit = Duration::from_secs(2);
    let daemon = Daemon::launch(folder, "", |command| {
        command.env("NOTIFY_SOCKET", notify).env("WATCHDOG_USEC", limit.as_micros().to_string());
    });
    systemd.hear_until("WATCHDOG=1");
    let begun = Instant::now();
    for _ in 0..6 {
        systemd.hear_until("WATCHDOG=1");
    }
    // Half the limit between two of them, and some lateness.
    assert!(begun.elapsed() < limit * 6 * 3 / 4, "{:?}", begun.elapsed());
    daemon.signal(Signal::SIGSTOP);
    daemon.wait("it is frozen", || {
        super::daemon::process_status(daemon.pid(), "State").is_some_and(|s| s.starts_with('T'))
    });
    assert!(!systemd.hears_within(limit), "a frozen daemon pets");
    daemon.signal(Signal::SIGCONT);
    systemd.hear_until("WATCHDOG=1");
}

#[test]
fn a_watchdog_meant_for_another_process_is_not_petted() {
    let folder = Folder::new();
    let systemd = Systemd::new(&folder);
    let notify = folder.path("notify");
    let daemon = Daemon::launch(folder, "", |command| {
        command
            .env("NOTIFY_SOCKET", notify)
            .env("WATCHDOG_USEC", "200000")
            .env("WATCHDOG_PID", "1");
    });
    systemd.hear_until("READY=1");
    // What else it has to say comes after that, and only once.
    systemd.hear_until("STATUS=");
    assert!(!systemd.hears_within(Duration::from_secs(2)));
    drop(daemon);
}

#[test]
fn the_end_saves_the_state_and_leaves_nobody_behind() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut daemon = Daemon::start("[[check]]\nsensor = \"file\"\ntarget = \"/\"\n");
        let pause = Request::Pause { check: None, for_secs: 600.0, why: "disks".into() };
        daemon.order(&pause).unwrap();
        let runner = daemon.runner();
        let mut probers = Vec::new();
        // On a busy machine the first reading may take so long that its process is replaced.
        daemon.wait("a prober", || {
            probers = daemon.probers();
            probers.len() == 1
        });
        // As Ctrl-C in a terminal and as systemctl stop with KillMode=control-group do: all of them
        // get it.
        killpg(daemon.pid(), signal).unwrap();
        assert_eq!(daemon.ended().code(), Some(0), "{}", daemon.log());
        let state = daemon.folder.read("state/state.json");
        assert!(state.contains("disks") && state.contains("daemon-stops"), "{state}");
        assert!(!daemon.log().contains("not-saved") && !daemon.log().contains("cannot write"));
        daemon.wait("the children end", || {
            !is_alive(runner) && !probers.iter().any(|p| is_alive(*p))
        });
    }
}

#[test]
fn what_happens_while_the_state_is_being_written_is_saved_by_the_end() {
    let mut daemon = Daemon::start("[[check]]\nsensor = \"file\"\ntarget = \"/\"\n");
    for number in 0..20 {
        // Each of them makes the file due; whatever is under way at the end is not the newest.
        let why = format!("reason-{number}");
        daemon.order(&Request::Pause { check: None, for_secs: 600.0, why }).unwrap();
    }
    daemon.wait("a first write", || daemon.folder.read("state/state.json").contains("reason-"));
    daemon.order(&Request::Pause { check: None, for_secs: 600.0, why: "the last".into() }).unwrap();
    assert_eq!(daemon.end(Signal::SIGTERM).code(), Some(0));
    assert!(daemon.folder.read("state/state.json").contains("the last"));
}

#[test]
fn one_daemon_at_a_time_runs_in_a_directory() {
    let mut daemon = Daemon::start("");
    let config = daemon.folder.text("mastiff.toml");
    let second = run(&daemon.folder, &["--config", &config]);
    assert_eq!(second.status.code(), Some(69), "{second:?}");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another mastiffd runs in") && said.contains("run-dir"), "{said}");
    assert_eq!(daemon.status().checks.len(), 0, "the first one is not disturbed");
    daemon.crash_and_restart();
}

#[test]
fn checks_of_a_witness_are_never_silently_ignored() {
    let folder = Folder::new();
    let witness = "[[check]]\nsensor = \"load\"\n\
                   [witness]\n[[witness.pair]]\nname = \"db\"\nkey-file = \"/k\"\n";
    folder.file("mastiff.toml", witness);
    for extra in [&[][..], &["--check"]] {
        let path = folder.text("mastiff.toml");
        let ended = run(&folder, &[&["--config", path.as_str()], extra].concat());
        let said = String::from_utf8_lossy(&ended.stderr).to_string();
        assert_eq!(ended.status.code(), Some(78), "{said}");
        assert!(said.contains("let a second mastiffd have") && said.contains(&path), "{said}");
    }
}

#[test]
fn every_broken_configuration_ends_with_78_and_every_fault_and_its_line() {
    let folder = Folder::new();
    for case in cases::all() {
        assert!(!case.text.is_empty());
        let path = case.path.display().to_string();
        for arguments in [&["--config", &path][..], &["--check", "--config", &path]] {
            let ended = run(&folder, arguments);
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert_eq!(ended.status.code(), Some(78), "{path}: {said}");
            for (line, part) in &case.expected {
                let told = said.lines().any(|said| {
                    said.contains(&format!("{path}:{line}:")) && said.contains(part.as_str())
                        || (*line == 0 && said.contains(&path) && said.contains(part.as_str()))
                });
                assert!(told, "{path}:{line}: {part}\n{said}");
            }
            assert_eq!(said.lines().count(), case.expected.len(), "{said}");
        }
    }
}

#[test]
fn a_configuration_that_was_named_must_be_there_and_readable() {
    let folder = Folder::new();
    let absent = run(&folder, &["--config", &folder.text("absent.toml")]);
    assert_eq!(absent.status.code(), Some(78));
    fs::create_dir(folder.path("directory")).unwrap();
    assert_eq!(run(&folder, &["-c", &folder.text("directory")]).status.code(), Some(78));
    let good = folder.file("good.toml", "");
    set_mode(&good, 0o600);
    let good = run(&folder, &["--check", "--config", &good.display().to_string()]);
    assert_eq!((good.status.code(), good.stderr.len()), (Some(0), 0));
}

#[test]
fn arguments_that_make_no_sense_end_with_64() {
    let folder = Folder::new();
    for arguments in [&["--wrong"][..], &["extra"], &["--config"], &["-x"], &["--check=1"], &[""]] {
        let ended = run(&folder, arguments);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(64), "{arguments:?}: {said}");
        assert!(said.contains("--help") && said.lines().count() == 1, "{said}");
    }
    for (argument, part) in [("--help", "Usage: mastiffd"), ("--version", "mastiffd ")] {
        let ended = run(&folder, &[argument]);
        assert_eq!(ended.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&ended.stdout).contains(part));
    }
}

#[test]
fn directories_that_cannot_be_made_are_told() {
    let folder = Folder::new();
    let file = folder.file("file", "");
    let config = folder.file(
        "mastiff.toml",
        &format!("[node]\nrun-dir = \"{0}/run\"\nstate-dir = \"{0}/state\"\n", file.display()),
    );
    let ended = run(&folder, &["--config", &config.display().to_string()]);
    assert_eq!(ended.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("cannot create"));
}

#[test]
fn a_dead_daemon_leaves_a_socket_that_the_next_one_replaces() {
    let mut daemon = Daemon::start("");
    daemon.end(Signal::SIGKILL);
    assert!(daemon.socket().exists() && Client::connect(&daemon.socket()).is_err());
    daemon.relaunch();
    assert!(daemon.status().ready);
}
