//! What a rung can do: one file for each effect, one line in [`EFFECTS`].
//!
//! An effect describes itself to the ladder ([`EffectSpec`]) and turns a rung into a program that the runner
//! starts, with a deadline. Nothing here waits.

use mastiff_core::spec::EffectSpec;

pub mod restart;
pub mod run;

/// Every effect.
pub const EFFECTS: &[&Effect] = &[&restart::EFFECT, &run::EFFECT];

/// One effect.
#[derive(Debug)]
pub struct Effect {
    /// What the ladder knows of it.
    pub spec: EffectSpec,
    /// The program to start for the arguments of a rung: a list, the program first.
    pub program: fn(&[String]) -> Vec<String>,
}

/// The effect of this name.
pub fn find(name: &str) -> Option<&'static Effect> {
    EFFECTS.iter().copied().find(|effect| effect.spec.name == name)
}
