//! How the kernel schedules a thread.

use nix::errno::Errno;

/// Makes the calling thread a real-time one (sched_setscheduler(2)); its children are ordinary
/// again (`SCHED_RESET_ON_FORK`).
///
/// # Errors
/// `EPERM`: neither `CAP_SYS_NICE` nor `RLIMIT_RTPRIO`, or no real-time budget in this control
/// group.
pub fn make_fifo(priority: i32) -> nix::Result<()> {
    let param = libc::sched_param { sched_priority: priority };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 is the calling thread, and `param` lives until the call returns.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const param) };
    Errno::result(result).map(drop)
}
