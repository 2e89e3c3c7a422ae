//! The single rule "may the watchdog be petted now?".
//!
//! Today the only watchdog is that of PID 1 (`WatchdogSec=`, sd_notify(3)); the hardware one will
//! ask the same rule. Invariants:
//!
//! - **W1**: no pet without a keeper that made a turn within [`KEEPER_FRESH`].
//! - **W2**: no pet without a brain that made a turn within [`BRAIN_FRESH`].

use crate::time::{Mono, Span};

/// A keeper that made no turn for this long is stuck: it has nothing to wait for.
pub const KEEPER_FRESH: Span = Span::from_secs(5);
/// A brain that made no turn for this long is stuck. Longer than the keeper's: it may wait for
/// memory.
pub const BRAIN_FRESH: Span = Span::from_secs(10);

/// When each loop last made a turn; `None` before its first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The keeper's last turn.
    pub keeper: Option<Mono>,
    /// The brain's last turn.
    pub brain: Option<Mono>,
}

/// Whether the watchdog may be petted now.
pub fn may_pet(progress: Progress, now: Mono) -> bool {
    let fresh = |turn: Option<Mono>, limit| turn.is_some_and(|turn| now.since(turn) < limit);
    fresh(progress.keeper, KEEPER_FRESH) && fresh(progress.brain, BRAIN_FRESH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_petted_only_while_both_loops_make_progress() {
        let now = Mono::BOOT.after(Span::from_secs(100));
        let turn = |age: u64| Some(now.before(Span::from_secs(age)));
        for (keeper, brain, may) in [
            (turn(0), turn(0), true),
            (turn(4), turn(9), true),
            (turn(5), turn(0), false),  // W1
            (turn(0), turn(10), false), // W2
            (None, turn(0), false),
            (turn(0), None, false),
        ] {
            assert_eq!(may_pet(Progress { keeper, brain }, now), may, "{keeper:?} {brain:?}");
        }
    }
}
