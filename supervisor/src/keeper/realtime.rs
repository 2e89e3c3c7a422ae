//! A thread that the machine's load does not delay, and memory that is not taken away.

use nix::sys::mman::{MlockAllFlags, mlockall, munlockall};

use crate::sys::thread;

/// Above everything that is not itself real time, below the kernel's own threads (99) and what
/// administrators put above on purpose. The hands come right after the keeper.
pub const KEEPER: i32 = 50;
/// See [`KEEPER`].
pub const HANDS: i32 = 49;

/// More than the daemon ever has. Reserved once, and never touched.
const ROOM: usize = 256 << 20;

/// Makes the calling thread a real-time one (`SCHED_FIFO`, sched(7)).
///
/// # Errors
/// In words: without `CAP_SYS_NICE`, or in a control group without real-time budget, it runs on as
/// an ordinary thread, and its lateness shows what that costs.
pub fn enter(priority: i32) -> Result<(), String> {
    thread::make_fifo(priority)
        .map_err(|error| format!("SCHED_FIFO {priority} is refused: {}", error.desc()))
}

/// Keeps what the process uses in memory, now and later. Pages are locked as they are first used
/// (`MCL_ONFAULT`, mlockall(2)): all of a binary and of a thread's stack would be a waste.
///
/// # Errors
/// In words; then a machine out of memory may delay the keeper by reading a page from its disk.
pub fn lock_memory() -> Result<(), String> {
    let flags = MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE;
    let flags = flags | MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    mlockall(flags).map_err(|error| format!("mlockall is refused: {}", error.desc()))?;
    // Where there is a limit and no CAP_IPC_LOCK, it is one for all memory from now on: the next
    // thread's stack would be too much.
    let has_room = Vec::<u8>::new().try_reserve_exact(ROOM).is_ok();
    if has_room {
        return Ok(());
    }
    munlockall().map_err(|error| format!("munlockall is refused: {}", error.desc()))?;
    Err("RLIMIT_MEMLOCK is too low, and there is no CAP_IPC_LOCK".to_string())
}
