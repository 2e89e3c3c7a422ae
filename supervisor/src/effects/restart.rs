//! `restart`: restarts a systemd unit.
//!
//! Through `systemctl`, a child with a deadline: it talks to PID 1 directly when the bus is down,
//! and when PID 1 itself hangs, only this rung is lost.

use mastiff_core::spec::{Arguments, Budget, Disruption, EffectSpec};
use mastiff_core::time::Span;

use super::{Cause, Effect, Work};

/// The program that talks to PID 1. By its absolute path: the search path of a daemon is nobody's
/// business.
pub const SYSTEMCTL: &str = "/usr/bin/systemctl";

/// Restarts the unit of the check, or the one named.
pub const EFFECT: Effect = Effect {
    spec: EffectSpec {
        name: "restart",
        summary: "Restarts the unit of the check, or the unit named after it.",
        disruption: Disruption::Service,
        arguments: Arguments::Unit,
        // The default of TimeoutStopSec= and TimeoutStartSec= is 90 s each (systemd.service(5)); a
        // start job that takes longer goes on, only its outcome is not waited for.
        deadline: Span::from_secs(90),
        settle: Span::from_secs(10),
        budget: Budget { times: 3, within: Span::from_secs(600) },
    },
    work: Work::Program(program),
};

/// `reset-failed` would need a second call: `restart` is refused in state `start-limit-hit`, but
/// only while the unit's own limit lasts, and a ladder comes back.
/// `--job-mode=replace-irreversibly` is not used, so that a shutdown wins over a restart.
fn program(_cause: &Cause<'_>, arguments: &[String]) -> Result<Vec<String>, String> {
    let mut list: Vec<String> =
        [SYSTEMCTL, "restart", "--no-ask-password", "--"].map(String::from).to_vec();
    list.extend_from_slice(arguments);
    Ok(list)
}
