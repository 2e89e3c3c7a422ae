//! A real witness in a folder of its own, at an address of its own.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that gives no sign when it changes.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A folder that is removed with the test, and an address that nobody else has.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    pub(crate) address: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let path = std::env::temp_dir().join(format!("mastiff-witness-{pid}-{number}"));
        fs::create_dir_all(&path).unwrap();
        // All of 127.0.0.0/8 is loopback: tests beside each other, and processes, take one each.
        let [.., high, low] = pid.to_be_bytes();
        Self { path, address: format!("127.{high}.{low}.{number}:4170") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
        path
    }

    /// A key file with the keys that consist of these bytes.
    pub(crate) fn key(&self, name: &str, bytes: &[u8]) {
        let lines: String = bytes.iter().map(|b| format!("{b:02x}").repeat(32) + "\n").collect();
        self.file(&format!("{name}.key"), &lines);
    }

    /// A configuration with these pairs, each with a key file of its name.
    pub(crate) fn configure(&self, pairs: &[&str]) {
        let pair = |name: &&str| {
            let key = self.path(&format!("{name}.key")).display().to_string();
            format!("[[witness.pair]]\nname = \"{name}\"\nkey-file = \"{key}\"\n")
        };
        let pairs: String = pairs.iter().map(pair).collect();
        self.file("witness.toml", &format!("[witness]\nlisten = \"{}\"\n{pairs}", self.address));
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).unwrap_or_default();
    }
}

/// A running witness, ended with the test.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) folder: Folder,
    child: Child,
}

impl Daemon {
    /// Starts one for these pairs, whose keys are all ones.
    pub(crate) fn start(pairs: &[&str]) -> Self {
        let folder = Folder::new();
        pairs.iter().for_each(|name| folder.key(name, &[1]));
        folder.configure(pairs);
        Self::start_in(folder)
    }

    pub(crate) fn start_in(folder: Folder) -> Self {
        let child = command(&folder).spawn().unwrap();
        let daemon = Self { folder, child };
        daemon.wait_for_log("is a witness on");
        daemon
    }

    /// Starts it without waiting for it.
    pub(crate) fn launch(folder: Folder, setup: impl FnOnce(&mut Command)) -> Self {
        let mut command = command(&folder);
        setup(&mut command);
        let child = command.spawn().unwrap();
        Self { folder, child }
    }

    /// Kills it without a word and starts another one in its place.
    pub(crate) fn crash_and_restart(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
        fs::remove_file(self.folder.path("log")).unwrap();
        self.child = command(&self.folder).spawn().unwrap();
        self.wait_for_log("is a witness on");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Its exit code, once it has ended.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        wait(
            "the witness ends",
            || self.folder.log(),
            || {
                status = self.child.try_wait().unwrap();
                status.is_some()
            },
        );
        status.unwrap().code()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        let log = || self.folder.log();
        wait(&format!("\"{text}\" in the log"), log, || self.folder.log().contains(text));
    }

    /// Loads its configuration again, and waits for the outcome.
    pub(crate) fn reload(&self, outcome: &str) {
        let before = self.folder.log().len();
        self.signal(Signal::SIGHUP);
        let log = || self.folder.log();
        wait(&format!("\"{outcome}\" in the log"), log, || {
            self.folder.log().get(before..).is_some_and(|log| log.contains(outcome))
        });
    }

    /// A counter of `SIGUSR1` by the words behind it; zero where it is not named.
    pub(crate) fn count(&self, what: &str) -> u64 {
        let before = self.folder.log().len();
        self.signal(Signal::SIGUSR1);
        let mut said = String::new();
        wait(
            "counters in the log",
            || self.folder.log(),
            || {
                said = self.folder.log().get(before..).unwrap_or_default().to_string();
                said.contains("nodes heard: ") && said.ends_with('\n')
            },
        );
        let end = format!(" {what}");
        let line = said.lines().find(|line| line.ends_with(&end));
        line.map_or(0, |line| {
            let number = line.trim_end_matches(&end).rsplit(' ').next().unwrap();
            number.parse().unwrap()
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn command(folder: &Folder) -> Command {
    let log = File::options().create(true).append(true).open(folder.path("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mastiffd"));
    command.arg("--config").arg(folder.path("witness.toml"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    // What the test itself may have been started with is nothing to the daemon.
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"] {
        command.env_remove(name);
    }
    command
}

/// Waits until something is so; fails with the log if it is not in time.
pub(crate) fn wait(what: &str, log: impl Fn() -> String, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}\n{}", log());
        std::thread::park_timeout(LOOK_EVERY);
    }
}
