//! `reset`: restarts the machine at once.

use mastiff_core::reboot::Kind;
use mastiff_core::spec::{Arguments, Budget, Disruption, EffectSpec};
use mastiff_core::time::Span;

use super::{Effect, Work};

/// Restarts the machine without asking anybody; what is not on the disks is lost.
pub const EFFECT: Effect = Effect {
    spec: EffectSpec {
        name: Kind::Reset.name(),
        summary: "Restarts the machine at once, without asking PID 1 and without a sync: what is not on the disks is lost.",
        disruption: Disruption::Node,
        arguments: Arguments::None,
        deadline: Kind::Reset.at_most(),
        settle: Span::from_secs(10),
        budget: Budget { times: 2, within: Span::from_secs(3600) },
    },
    work: Work::Going(Kind::Reset),
};
