//! The single rule "may the watchdog be petted now?", for the machine's own device and for that of
//! PID 1 (`WatchdogSec=`, sd_notify(3)).
//!
//! The keeper asks once a second and hands a permit to the thread that does the call on the device;
//! the permit expires. Invariants, checked by the tests beside this file and, for W3, in the
//! simulator:
//!
//! - **W1**: no pet without a turn of the keeper within [`PERMIT_LASTS`] (the device) or
//!   [`KEEPER_FRESH`] (PID 1, which restarts the daemon and resets nothing).
//! - **W2**: no pet when the brain has made no turn within [`BRAIN_LIMIT`] (the device) or
//!   [`BRAIN_FRESH`] (PID 1). PID 1 comes long before: it restarts the daemon. Who comes to the
//!   device's limit has a PID 1 that does not.
//! - **W3**: no pet while something exclusive is held without a lease for longer than its stop
//!   time, nor after a start without memory before what may be left is gone
//!   ([`crate::pair::Pair::pet_refusal`], I13).
//! - **W4**: no pet when the root file system has answered no write for longer than its limit, if
//!   one is configured.
//! - **W5**: no pet once a rung has come to its last means, the device itself, nor during a
//!   self-test, until that is over.
//! - **W6**: no pet when a shutdown lasts longer than it may.
//! - **W7**: where the boot-loop guard lets this boot only observe, only W1, W6 and, for a rung
//!   that had begun before, W5 hold: whatever it sees, it does not reset the machine again.

use core::fmt;

use crate::time::{Mono, Span};

/// A keeper that made no turn for this long is stuck: it has nothing to wait for.
pub const KEEPER_FRESH: Span = Span::from_secs(5);
/// A brain that made no turn for this long is stuck. Longer than the keeper's: it may wait for
/// memory.
pub const BRAIN_FRESH: Span = Span::from_secs(10);
/// A brain that is silent for this long is not restarted by anybody: twice the unit's
/// `WatchdogSec=`.
pub const BRAIN_LIMIT: Span = Span::from_secs(60);
/// A permit for one pet of the device. As short as the keeper's rhythm, so that a device fires at
/// most this much later after the keeper has stopped than after its last pet.
pub const PERMIT_LASTS: Span = Span::from_secs(1);
/// The longest time between two pets, whatever the device's time-out.
pub const PET_EVERY_MAX: Span = Span::from_secs(10);
/// The shortest.
pub const PET_EVERY_MIN: Span = Span::from_secs(1);

/// When each loop last made a turn; `None` before its first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The keeper's last turn.
    pub keeper: Option<Mono>,
    /// The brain's last turn.
    pub brain: Option<Mono>,
}

/// Whether the watchdog of PID 1 may be petted now.
pub fn may_pet(progress: Progress, now: Mono) -> bool {
    let fresh = |turn: Option<Mono>, limit| turn.is_some_and(|turn| now.since(turn) < limit);
    fresh(progress.keeper, KEEPER_FRESH) && fresh(progress.brain, BRAIN_FRESH)
}

/// What the brain wants of the watchdog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// When the root file system last answered a write, and for how long it may be silent; `None`:
    /// nobody asked for that.
    pub root: Option<(Mono, Span)>,
    /// A rung has come to its last means.
    pub resets: bool,
    /// A self-test: no pet until then.
    pub self_test: Option<Mono>,
    /// The machine goes down, and must be down by then.
    pub down_by: Option<Mono>,
    /// The boot-loop guard lets this boot only observe.
    pub observes: bool,
}

/// What the rule goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The brain's last turn; its start, before the first.
    pub brain: Mono,
    /// The pair's word: [`crate::pair::Pair::pet_refusal`].
    pub pair_forbids: Option<Refusal>,
    /// The brain's.
    pub wishes: Wishes,
}

/// Why the device is not petted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// W2: the brain has been silent for so long.
    Brain(Span),
    /// W3: for longer than the stop time.
    Lease,
    /// W3: a daemon has started without memory, and removes what may be left. Every first start
    /// does.
    Sweep,
    /// W4: the root file system has been silent for so long.
    Root(Span),
    /// W5: a rung resets the machine.
    Rung,
    /// W5: a self-test.
    SelfTest,
    /// W6.
    Shutdown,
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Brain(silent) => write!(to, "the brain has made no turn for {silent}"),
            Self::Lease => to.write_str("a group is held without a lease for too long"),
            Self::Sweep => {
                to.write_str("what a daemon before may have left of a group is removed first")
            }
            Self::Root(silent) => {
                write!(to, "the root file system has answered no write for {silent}")
            }
            Self::Rung => to.write_str("a rung resets the machine"),
            Self::SelfTest => to.write_str("the watchdog is being proven"),
            Self::Shutdown => to.write_str("the shutdown lasts longer than it may"),
        }
    }
}

/// Whether the device may be petted by a keeper whose turn is `now`; until when that holds.
///
/// # Errors
/// The first rule that says no.
pub fn permit(evidence: &Evidence, now: Mono) -> Result<Mono, Refusal> {
    let Wishes { root, resets, self_test, down_by, observes } = evidence.wishes;
    let silent = now.since(evidence.brain);
    let root_dead =
        root.map(|(at, limit)| (now.since(at), limit)).filter(|(for_, limit)| for_ > limit);
    let refusal = match (root_dead, down_by) {
        (_, Some(down_by)) if now >= down_by => Some(Refusal::Shutdown), // W6
        _ if resets => Some(Refusal::Rung),                              // W5
        _ if observes => None,                                           // W7
        _ if self_test.is_some_and(|until| now < until) => Some(Refusal::SelfTest), // W5
        _ if evidence.pair_forbids.is_some() => evidence.pair_forbids,   // W3
        _ if silent >= BRAIN_LIMIT => Some(Refusal::Brain(silent)),      // W2
        (Some((silent, _)), _) => Some(Refusal::Root(silent)),           // W4
        (None, _) => None,
    };
    refusal.map_or(Ok(now.after(PERMIT_LASTS)), Err)
}

/// How often a device is petted that fires after `timeout`: four times, so that three pets may be
/// lost.
pub fn pet_every(timeout: Span) -> Span {
    let quarter = Span::from_nanos(timeout.as_nanos() / 4);
    quarter.max(PET_EVERY_MIN).min(PET_EVERY_MAX)
}

#[cfg(test)]
mod tests;
