//! Processes: fork, and what a child does before it becomes another program.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::unistd::{ForkResult, Pid};

/// Forks; the child runs `work` and ends with the exit code that it returns.
///
/// For processes of one thread only (runner, prober): there the child may allocate and do all that
/// its parent could.
///
/// # Errors
/// fork(2): no memory, or too many processes.
pub fn fork(work: impl FnOnce() -> i32) -> nix::Result<Pid> {
    // SAFETY: the calling process has one thread, so no lock can be held by a thread that the child
    // lacks.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => exit_now(work()),
    }
}

/// Ends this process at once: no destructors, no buffers of the parent written twice (_exit(2)).
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor from `first` on (close_range(2), Linux 5.9); a kernel without it is left
/// alone.
pub fn close_from(first: u32) {
    // SAFETY: closing descriptors is sound in a fresh child that uses none of them afterwards.
    unsafe { libc::close_range(first, u32::MAX, 0) };
}

/// Takes over a descriptor that the parent left at a fixed number: standard input of the runner.
pub fn inherited(number: i32) -> OwnedFd {
    // SAFETY: the caller was started with this descriptor open and has wrapped it nowhere else.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Makes `target` (0, 1 or 2) refer to what `source` refers to (dup2(2)).
///
/// # Errors
/// dup2(2).
pub fn redirect(source: BorrowedFd<'_>, target: i32) -> nix::Result<()> {
    // SAFETY: `source` is open; replacing a standard descriptor of a fresh child is what is wanted.
    let result = unsafe { libc::dup2(source.as_raw_fd(), target) };
    nix::errno::Errno::result(result).map(drop)
}

/// Lets a write to a closed pipe end this process again (`SIGPIPE`, signal(7)): Rust programs
/// ignore it, exec keeps it ignored, and a shell pipeline that relies on it would go on for ever.
///
/// # Errors
/// sigaction(2).
pub fn default_pipe_signal() -> nix::Result<()> {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: the default disposition runs no code of this process.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.map(drop)
}

/// Becomes another program; returns only on failure (execve(2)).
pub fn execute(
    program: &CStr,
    arguments: &[CString],
    environment: &[CString],
) -> nix::errno::Errno {
    match nix::unistd::execve(program, arguments, environment) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}
