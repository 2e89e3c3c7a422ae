//! The kernel's clock discipline (adjtimex(2), linux/timex.h); `nix` has no wrapper for it.

use nix::errno::Errno;

/// Reads the state of the clock discipline and changes nothing.
///
/// # Errors
/// What adjtimex(2) says; reading needs no privilege, but a seccomp filter may refuse it.
pub(crate) fn discipline() -> nix::Result<libc::timex> {
    // SAFETY: `timex` consists of integers only, for which all-zero bytes are a value; `modes` of
    // zero asks the kernel to change nothing.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel reads and writes one `timex` here; `timex` is one and outlives the call.
    Errno::result(unsafe { libc::adjtimex(&raw mut timex) })?;
    Ok(timex)
}
