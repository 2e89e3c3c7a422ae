//! What a rung can do: one file for each effect, one line in [`EFFECTS`].
//!
//! An effect describes itself to the ladder ([`EffectSpec`]) and turns a rung into a program that the runner
//! starts, with a deadline. Nothing here waits.

use mastiff_core::reading::Readings;
use mastiff_core::spec::EffectSpec;

pub mod repair;
pub mod restart;
pub mod run;

/// Every effect.
pub const EFFECTS: &[&Effect] = &[&restart::EFFECT, &repair::EFFECT, &run::EFFECT];

/// One effect.
#[derive(Debug)]
pub struct Effect {
    /// What the ladder knows of it.
    pub spec: EffectSpec,
    /// The program to start for a rung: a list, the program first; or why there is none.
    pub program: fn(&Cause<'_>, &[String]) -> Result<Vec<String>, String>,
}

/// What a rung is climbed for.
#[derive(Clone, Copy, Debug)]
pub struct Cause<'a> {
    /// The target of the check.
    pub target: &'a str,
    /// What the newest reading of the check says, if there is one.
    pub readings: Option<&'a Readings>,
}

/// The effect of this name.
pub fn find(name: &str) -> Option<&'static Effect> {
    EFFECTS.iter().copied().find(|effect| effect.spec.name == name)
}
