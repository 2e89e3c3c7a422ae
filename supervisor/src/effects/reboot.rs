//! `reboot`: restarts the machine, as orderly as it can be had.

use mastiff_core::reboot::Kind;
use mastiff_core::spec::{Arguments, Budget, Disruption, EffectSpec};
use mastiff_core::time::Span;

use super::{Effect, Work};

/// Hands the groups over, syncs, asks PID 1, and restarts the machine by itself where that hangs.
pub const EFFECT: Effect = Effect {
    spec: EffectSpec {
        name: Kind::Reboot.name(),
        summary: "Restarts the machine: hands the groups over, syncs the disks, asks PID 1, and, where that hangs, does it alone.",
        disruption: Disruption::Node,
        arguments: Arguments::None,
        deadline: Kind::Reboot.at_most(),
        // Whoever is still here then is a machine that cannot be restarted.
        settle: Span::from_secs(10),
        budget: Budget { times: 2, within: Span::from_secs(3600) },
    },
    work: Work::Going(Kind::Reboot),
};
