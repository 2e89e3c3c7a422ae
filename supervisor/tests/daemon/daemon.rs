//! A real `mastiffd` in a folder of its own, and what tests ask of it.
//!
//! Nothing here orders things by time: tests wait until something is so, and fail with the daemon's
//! log if it is not in time. The limits are generous because test machines are slow; what is
//! measured is measured by the daemon's own clock.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mastiff::control::{Answer, EventView, Request, Status};
use mastiff_core::health::Verdict;
use mastiff_core::view::CheckView;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a test waits for what must happen: twice the longest that a daemon itself may wait in
/// one of them, which is a minute until a hook that has failed twice is tried again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at something that gives no sign when it changes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A folder that is removed with the test.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mastiffd-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A path within it, as text for a configuration.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A shell script that can be run.
    ///
    /// Written by another process: a fork of a parallel test could hold a descriptor of ours open
    /// for writing, and then nobody can execute the file (`ETXTBSY`, execve(2)).
    pub(crate) fn script(&self, name: &str, body: &str) -> String {
        let path = self.path(name);
        let mut writer = Command::new("/bin/sh")
            .args(["-c", "cat > \"$1\" && chmod 755 \"$1\"", "sh"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let text = format!("#!/bin/sh\n{body}\n");
        writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        path.display().to_string()
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is still mounted here may hang, and would keep us.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for point in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
            if Path::new(point).starts_with(&self.0) {
                umount2(point, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).ok();
            }
        }
        // A test that took away its own rights, or a mount that is still there, is told by the
        // left-over folder.
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}

/// A running daemon, ended with the test.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) folder: Folder,
    child: Child,
    over: bool,
}

impl Daemon {
    /// Starts one that watches only what `checks` says, and waits until it has read all of it once.
    pub(crate) fn start(checks: &str) -> Self {
        Self::start_in(Folder::new(), checks)
    }

    pub(crate) fn start_in(folder: Folder, checks: &str) -> Self {
        let daemon = Self::launch(folder, checks, |_| {});
        daemon.await_status("ready", |status| status.ready);
        daemon
    }

    /// Starts one after `setup` of its command, and does not wait.
    pub(crate) fn launch(folder: Folder, checks: &str, setup: impl FnOnce(&mut Command)) -> Self {
        let config = configure(&folder, checks);
        let mut command = mastiffd(&folder);
        command.arg("--config").arg(config);
        setup(&mut command);
        let child = command.spawn().unwrap();
        Self { folder, child, over: false }
    }

    /// Kills it without a word and starts another one in its place.
    pub(crate) fn crash_and_restart(&mut self) {
        self.end(Signal::SIGKILL);
        self.relaunch();
    }

    /// Starts it again after its end.
    pub(crate) fn relaunch(&mut self) {
        self.relaunch_as(|_| {});
    }

    /// The same after `setup` of its command.
    pub(crate) fn relaunch_as(&mut self, setup: impl FnOnce(&mut Command)) {
        assert!(self.over, "it runs still");
        let mut command = mastiffd(&self.folder);
        command.arg("--config").arg(self.folder.path("mastiff.toml"));
        setup(&mut command);
        self.child = command.spawn().unwrap();
        self.over = false;
        self.await_status("ready again", |status| status.ready);
    }

    /// Writes another configuration; it is not loaded yet.
    pub(crate) fn configure(&self, checks: &str) {
        configure(&self.folder, checks);
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.ended()
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        let log = self.folder.path("log");
        wait("the daemon ends", &log, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.over = true;
        status.unwrap()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path("run/control.sock")
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.socket()).unwrap()
    }

    pub(crate) fn ask(&self, request: &Request) -> Answer {
        match self.client().ask(request) {
            Ok(answer) => answer,
            Err(error) => panic!("{request:?}: {error}\n{}", self.log()),
        }
    }

    /// What it answers to `pause`, `resume` and `reload`: its words, or its refusal.
    pub(crate) fn order(&self, request: &Request) -> Result<String, String> {
        match self.ask(request) {
            Answer::Done(text) => Ok(text),
            Answer::Error(text) => Err(text),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn status(&self) -> Status {
        let mut status = None;
        self.wait("there is a place for one more client", || {
            match self.ask(&Request::Status {}) {
                Answer::Status(answer) => status = Some(*answer),
                // Those who came before us fill all places, and leave.
                Answer::Error(text) if text.contains("try again later") => {}
                other => panic!("{other:?}"),
            }
            status.is_some()
        });
        status.unwrap()
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let counters = self.status().counters;
        counters.iter().find(|(known, _)| known == name).unwrap().1
    }

    pub(crate) fn check(&self, name: &str) -> CheckView {
        match self.ask(&Request::Explain { check: name.to_string() }) {
            Answer::Check(view) => *view,
            other => panic!("{name}: {other:?}\n{}", self.log()),
        }
    }

    pub(crate) fn events(&self) -> Vec<EventView> {
        match self.ask(&Request::Events { last: None, follow: false }) {
            Answer::Events(events) => events,
            other => panic!("{other:?}"),
        }
    }

    /// The texts of all events of one kind.
    pub(crate) fn texts(&self, kind: &str) -> Vec<String> {
        let events = self.events().into_iter();
        events.filter(|event| event.kind == kind).map(|event| event.text).collect()
    }

    pub(crate) fn await_status(&self, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
        let mut last = None;
        wait(what, &self.folder.path("log"), || {
            // It may not listen yet.
            let answer = Client::connect(&self.socket())
                .and_then(|mut client| client.ask(&Request::Status {}));
            if let Ok(Answer::Status(status)) = answer {
                last = Some(*status);
            }
            last.as_ref().is_some_and(&is_so)
        });
        last.unwrap()
    }

    pub(crate) fn await_check(
        &self,
        name: &str,
        what: &str,
        is_so: impl Fn(&CheckView) -> bool,
    ) -> CheckView {
        let mut last = None;
        wait(&format!("{name} {what}"), &self.folder.path("log"), || {
            last = Some(self.check(name));
            last.as_ref().is_some_and(&is_so)
        });
        last.unwrap()
    }

    pub(crate) fn await_verdict(&self, name: &str, verdict: Verdict) -> CheckView {
        self.await_check(name, &format!("is {verdict}"), |view| view.verdict == verdict)
    }

    /// Waits for `count` events of a kind, and returns the texts of all of them.
    pub(crate) fn await_events(&self, kind: &str, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        wait(&format!("{count} events {kind}"), &self.folder.path("log"), || {
            texts = self.texts(kind);
            texts.len() >= count
        });
        texts
    }

    pub(crate) fn wait(&self, what: &str, is_so: impl FnMut() -> bool) {
        wait(what, &self.folder.path("log"), is_so);
    }

    pub(crate) fn log(&self) -> String {
        self.folder.read("log")
    }

    /// Its runner: the only child that it has.
    pub(crate) fn runner(&self) -> Pid {
        let mut runner = None;
        self.wait("a runner", || {
            runner = children(self.pid()).into_iter().find(|pid| is_alive(*pid));
            runner.is_some()
        });
        runner.unwrap()
    }

    /// The probers that run or hang: children of the runner that are the same program.
    pub(crate) fn probers(&self) -> Vec<Pid> {
        // Not by its program: a child that is about to become a plugin still has the same one.
        let is_prober = |pid: &Pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            is_alive(*pid) && name.trim_end() == "mastiff-prober"
        };
        children(self.runner()).into_iter().filter(is_prober).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.over {
            // The runner ends when the socket to its brain closes, and takes the rest along.
            kill(self.pid(), Signal::SIGKILL).ok();
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

/// Writes `mastiff.toml`: the folders of this test, short intervals, nothing by default, and
/// `rest`. What `rest` says of `[node]` stands in its first lines, before any section.
fn configure(folder: &Folder, rest: &str) -> PathBuf {
    let node = format!(
        "[node]\nstate-dir = \"{}\"\nrun-dir = \"{}\"\n",
        folder.text("state"),
        folder.text("run")
    );
    let mut node = node;
    if !rest.starts_with("\nname = ") {
        node.push_str("name = \"test\"\n");
    }
    for (key, value) in [("interval", "\"100ms\""), ("default-checks", "false")] {
        if !rest.contains(&format!("\n{key} = ")) || !rest.starts_with('\n') {
            node.push_str(&format!("{key} = {value}\n"));
        }
    }
    folder.file("mastiff.toml", &(node + rest))
}

/// A command that runs `mastiffd` with its log in the folder, in a process group of its own.
pub(crate) fn mastiffd(folder: &Folder) -> Command {
    let log = File::options().create(true).append(true).open(folder.path("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mastiffd"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
    // What the test itself may have been started with is nothing to the daemon.
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"] {
        command.env_remove(name);
    }
    command
}

/// A connection to the control socket.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Client {
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { lines: BufReader::new(stream.try_clone()?), stream })
    }

    pub(crate) fn ask(&mut self, request: &Request) -> io::Result<Answer> {
        self.say(&(serde_json::to_string(request)? + "\n"))?;
        self.hear()
    }

    pub(crate) fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes())
    }

    pub(crate) fn hear(&mut self) -> io::Result<Answer> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

/// Waits until something is so.
pub(crate) fn wait(what: &str, log: &Path, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        if begun.elapsed() > PATIENCE {
            let log = fs::read_to_string(log).unwrap_or_default();
            panic!("not within {PATIENCE:?}: {what}\nthe daemon's log:\n{log}");
        }
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// The children of a process (/proc/PID/task/TID/children, CONFIG_PROC_CHILDREN).
pub(crate) fn children(parent: Pid) -> Vec<Pid> {
    let mut all = Vec::new();
    let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else { return all };
    for thread in threads.filter_map(Result::ok) {
        let text = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        all.extend(text.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())));
    }
    all
}

/// One field of /proc/PID/status.
pub(crate) fn process_status(pid: Pid, field: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.map(|value| value.trim().to_string())
}

/// Whether a process is there and no zombie.
pub(crate) fn is_alive(pid: Pid) -> bool {
    process_status(pid, "State").is_some_and(|state| !state.starts_with('Z'))
}

/// Resident memory in KiB.
pub(crate) fn resident_kib(pid: Pid) -> u64 {
    let text = process_status(pid, "VmRSS").unwrap();
    text.trim_end_matches(" kB").parse().unwrap()
}

/// Open descriptors.
pub(crate) fn descriptors(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Makes a file unreadable and the like.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
