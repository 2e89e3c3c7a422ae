//! `run`: runs a program.

use mastiff_core::spec::{Arguments, Budget, Disruption, EffectSpec};
use mastiff_core::time::Span;

use super::{Effect, Work};

/// Runs a program by its absolute path, without a shell; exit code 0 means done.
pub const EFFECT: Effect = Effect {
    spec: EffectSpec {
        name: "run",
        summary: "Runs a program by its absolute path, with arguments and without a shell; exit code 0 means done.",
        disruption: Disruption::Nothing,
        arguments: Arguments::Program,
        deadline: Span::from_secs(60),
        settle: Span::from_secs(10),
        budget: Budget { times: 3, within: Span::from_secs(600) },
    },
    work: Work::Programs(|_cause, arguments| Ok(vec![arguments.to_vec()])),
};
