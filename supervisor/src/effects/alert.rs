//! `alert`: tells the alert hooks that the rungs before it did not help.
//!
//! Hooks are told of every change anyway; this rung is for what a human must hear only once repair
//! has failed: `on-fail = ["restart", "alert"]`.

use mastiff_core::spec::{Arguments, Budget, Disruption, EffectSpec};
use mastiff_core::time::Span;

use super::{Effect, Work};

/// Sends an alert of the kind `escalation`.
pub const EFFECT: Effect = Effect {
    spec: EffectSpec {
        name: "alert",
        summary: "Tells the alert hooks that the rungs before it did not help (kind `escalation`).",
        disruption: Disruption::Nothing,
        arguments: Arguments::None,
        // Queued at once; delivery has its own patience.
        deadline: Span::from_secs(1),
        settle: Span::ZERO,
        budget: Budget { times: 3, within: Span::from_secs(3600) },
    },
    work: Work::Alert,
};
