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
    work: Work::Programs(programs),
};

/// `reset-failed` first: a unit that has hit its own start limit (`StartLimitBurst=`) refuses to be
/// started until a human resets it, and a ladder never gives up. How often it is tried is bounded
/// by the budget of the rung. A unit that is not loaded lets it fail, which does not matter.
/// `--job-mode=replace-irreversibly` is not used, so that a shutdown wins over a restart.
fn programs(_cause: &Cause<'_>, arguments: &[String]) -> Result<Vec<Vec<String>>, String> {
    let verb = |verb: &str| {
        let mut list: Vec<String> =
            [SYSTEMCTL, verb, "--no-ask-password", "--"].map(String::from).to_vec();
        list.extend_from_slice(arguments);
        list
    };
    Ok(vec![verb("reset-failed"), verb("restart")])
}
