//! The signals that people and PID 1 send to the daemon.

use nix::sys::signal::{SigSet, Signal};

/// The ones that the brain takes by its descriptor. Blocked in every thread of the daemon before
/// any is started, and in the runner, which leaves them to the brain.
pub fn blocked() -> SigSet {
    [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1].into_iter().collect()
}
