//! A program that the runner has started: its output, its deadline, its end.
//!
//! Forked and executed by hand instead of by `std::process`, because that one waits until the exec
//! has happened, which is never when the program lies on a dead disk. Here only the child hangs.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mastiff_core::time::{Mono, Span};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2};
use rustix::process::{PidfdFlags, pidfd_open};

use super::wire::{Ended, INPUT_BYTES_MAX, OUTPUT_BYTES, OUTPUT_BYTES_MAX, Run};
use crate::sys::process;

/// The search path of programs: fixed, whatever the daemon was started with.
const SEARCH_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Exit code of a child that could not become the program (as in a shell).
const EXIT_NO_PROGRAM: i32 = 127;

/// Bytes of output that are read in one go. A program that never stops writing must not keep its
/// reader from the others, and from its own deadline.
const DRAIN_BYTES_MAX: usize = 64 * 1024;

/// A child of the runner.
#[derive(Debug)]
pub struct Child {
    /// What it does, in the words of its order: a program and its arguments.
    pub what: Vec<String>,
    pid: Pid,
    /// Becomes readable when the child has ended, and cannot be confused by a reused process
    /// number.
    pidfd: OwnedFd,
    /// The reading end of its standard output and error; `None` once it is closed.
    output: Option<File>,
    kept: Vec<u8>,
    output_max: usize,
    started: Mono,
    deadline: Mono,
}

impl Child {
    /// Starts a program.
    ///
    /// # Errors
    /// When there is no process or no descriptor to be had, or an argument contains a zero byte.
    pub fn run(run: &Run, now: Mono) -> io::Result<Self> {
        let arguments = c_strings(run.arguments.iter().cloned())?;
        let mut environment = vec![SEARCH_PATH.to_string(), "LANG=C.UTF-8".to_string()];
        environment.extend(run.environment.iter().map(|(key, value)| format!("{key}={value}")));
        let environment = c_strings(environment.into_iter())?;
        let work = move || become_program(&arguments, &environment);
        let mut child = Self::fork(run.timeout, run.input.as_bytes(), now, work)?;
        child.what.clone_from(&run.arguments);
        child.output_max = run.output_max.min(OUTPUT_BYTES_MAX);
        Ok(child)
    }

    /// Starts a piece of this program in a child; what it writes to standard output is its answer.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn fork(
        timeout: Span,
        input: &[u8],
        now: Mono,
        work: impl FnOnce() -> i32,
    ) -> io::Result<Self> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let (stdin, feed) = pipe2(OFlag::O_CLOEXEC)?;
        // Fits the empty pipe whole, so it need not be continued later; it does not wait where it
        // does not.
        fcntl(&feed, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        File::from(feed).write_all(input.get(..INPUT_BYTES_MAX).unwrap_or(input))?;
        let parent = nix::unistd::getpid();
        let pid = process::fork(|| {
            prepare(parent, stdin.as_fd(), writer.as_fd());
            work()
        })?;
        let raw = rustix::process::Pid::from_raw(pid.as_raw()).ok_or(io::ErrorKind::NotFound)?;
        let pidfd = pidfd_open(raw, PidfdFlags::empty())?;
        Ok(Self {
            what: Vec::new(),
            pid,
            pidfd,
            output: Some(File::from(reader)),
            kept: Vec::new(),
            output_max: OUTPUT_BYTES,
            started: now,
            deadline: now.after(timeout),
        })
    }

    /// What to poll for: the end of the child, and its output.
    pub fn descriptors(&self) -> (BorrowedFd<'_>, Option<BorrowedFd<'_>>) {
        (self.pidfd.as_fd(), self.output.as_ref().map(AsFd::as_fd))
    }

    /// When it is killed.
    pub fn deadline(&self) -> Mono {
        self.deadline
    }

    /// Reads what is there, up to `DRAIN_BYTES_MAX`; keeps its first bytes.
    pub fn drain(&mut self) {
        let mut buffer = [0; 4096];
        let mut drained: usize = 0;
        while let Some(output) = self.output.as_mut().filter(|_| drained < DRAIN_BYTES_MAX) {
            match output.read(&mut buffer) {
                Ok(0) => self.output = None,
                Ok(count) => {
                    drained = drained.saturating_add(count);
                    let room = self.output_max.saturating_sub(self.kept.len());
                    self.kept.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.output = None,
            }
        }
    }

    /// Its end, if it has come. Reads what is left of its output, but does not wait for
    /// grandchildren that still hold the pipe.
    pub fn ended(&mut self, now: Mono) -> Option<Ended> {
        let (code, signal) = match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => (Some(code), None),
            Ok(WaitStatus::Signaled(_, signal, _)) => (None, Some(signal as i32)),
            Ok(_) => return None,
            // Somebody else reaped it: the end is sure, the way is not.
            Err(_) => (None, None),
        };
        self.drain();
        Some(self.report(code, signal, now))
    }

    /// Kills it with its process group. What it said until now is its report; its end is awaited
    /// without anybody waiting.
    pub fn kill(&mut self, now: Mono) -> Ended {
        // It may have ended this instant; then there is nothing to kill, and that is as good.
        // Before its `setsid` it has no group of its own yet, so it is named itself, too.
        killpg(self.pid, Signal::SIGKILL).ok();
        kill(self.pid, Signal::SIGKILL).ok();
        self.drain();
        self.report(None, None, now)
    }

    fn report(&self, code: Option<i32>, signal: Option<i32>, now: Mono) -> Ended {
        let output = String::from_utf8_lossy(&self.kept).into_owned();
        Ended { code, signal, output, took: now.since(self.started) }
    }
}

/// What every child does first: a session of its own (one signal reaches all of it), death with its
/// parent, default signals, and only the three standard descriptors.
fn prepare(parent: Pid, stdin: BorrowedFd<'_>, output: BorrowedFd<'_>) {
    let ready = nix::unistd::setsid().is_ok()
        && nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).is_ok()
        && sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).is_ok()
        && process::default_pipe_signal().is_ok()
        && process::redirect(stdin, 0).is_ok()
        && process::redirect(output, 1).is_ok()
        && process::redirect(output, 2).is_ok();
    // A parent that died before the line above would never be noticed.
    if !ready || nix::unistd::getppid() != parent {
        process::exit_now(EXIT_NO_PROGRAM);
    }
    process::close_from(3);
    // The daemon may be protected from the OOM killer; what it starts must not be. Not fatal where
    // it fails.
    drop(std::fs::write("/proc/self/oom_score_adj", "0"));
}

fn become_program(arguments: &[CString], environment: &[CString]) -> i32 {
    let Some(program) = arguments.first() else { return EXIT_NO_PROGRAM };
    // A relative path of the program's own must not depend on where the daemon was started.
    nix::unistd::chdir("/").ok();
    let error = process::execute(program, arguments, environment);
    // Nobody is left to tell if this fails, too.
    drop(writeln!(io::stderr(), "cannot run {}: {}", program.to_string_lossy(), error.desc()));
    EXIT_NO_PROGRAM
}

fn c_strings(texts: impl Iterator<Item = String>) -> io::Result<Vec<CString>> {
    texts.map(|text| CString::new(text).map_err(io::Error::from)).collect()
}
