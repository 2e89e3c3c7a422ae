//! `switchover`: the group goes to the other node, if that is ready.
//!
//! What the other node answers is the core's business ([`mastiff_core::pair`]): it refuses a peer
//! that is not ready, or a group that has moved too often, and then the next rung follows.

use mastiff_core::pair::fitness::{MOVES_MAX, MOVES_WITHIN};
use mastiff_core::spec::{Arguments, Budget, Disruption, EffectSpec};
use mastiff_core::time::Span;

use super::{Effect, Work};
use crate::config::pair::{GroupConfig, UNITS_WITHIN_DEFAULT};

/// Beside the units: the wait above, the addresses, and the way there and back.
const BESIDE: Span = Span::from_secs(40);

/// Hands over the group of the check, or all groups that are active here.
pub const EFFECT: Effect = Effect {
    spec: EffectSpec {
        name: "switchover",
        summary: "Hands over the group of the check, or all that are active here, to a node that is ready.",
        disruption: Disruption::Group,
        arguments: Arguments::None,
        deadline: Span::from_nanos(UNITS_WITHIN_DEFAULT.as_nanos() + BESIDE.as_nanos()),
        settle: Span::from_secs(1),
        // As often as a group moves by itself.
        budget: Budget { times: 3, within: MOVES_WITHIN },
    },
    work: Work::Switchover,
};

const _: () = assert!(MOVES_MAX == 3);

/// After how long it has failed, for a check of the group `own` or of the whole node: the units of
/// that group, or of the slowest, may take all the time that they have to stop. It is over when
/// nothing of the groups is here; that the other node starts them (`start-within`) is not waited
/// for.
#[must_use]
pub fn deadline(groups: &[GroupConfig], own: Option<&str>) -> Span {
    let is_meant = |group: &&GroupConfig| own.is_none_or(|own| own == group.name);
    let stops = groups.iter().filter(is_meant).map(GroupConfig::stop_time);
    stops.max().unwrap_or_default().plus(BESIDE)
}
