//! What a rung can do: one file for each effect, one line in [`EFFECTS`].
//!
//! An effect describes itself to the ladder ([`EffectSpec`]) and turns a rung into work for
//! somebody else, mostly a program that the runner starts with a deadline. Nothing here waits.

use mastiff_core::reading::Readings;
use mastiff_core::reboot::Kind;
use mastiff_core::spec::EffectSpec;

pub mod alert;
pub mod reboot;
pub mod repair;
pub mod reset;
pub mod restart;
pub mod run;
pub mod switchover;

/// Every effect.
pub const EFFECTS: &[&Effect] = &[
    &alert::EFFECT,
    &reboot::EFFECT,
    &repair::EFFECT,
    &reset::EFFECT,
    &restart::EFFECT,
    &run::EFFECT,
    &switchover::EFFECT,
];

/// One effect.
#[derive(Debug)]
pub struct Effect {
    /// What the ladder knows of it.
    pub spec: EffectSpec,
    /// How it is done.
    pub work: Work,
}

/// How an effect is done.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// By programs that the runner starts, one after the other. The outcome is that of the last
    /// one; those before it prepare, and may fail.
    Programs(MakePrograms),
    /// By a message to the alert hooks.
    Alert,
    /// By the way down, [`mastiff_core::reboot`], which the brain walks.
    Going(Kind),
    /// By the pair: the brain asks the keeper.
    Switchover,
}

/// Makes the argument lists, the program first in each, from what a rung is climbed for and its
/// arguments; or says why there are none.
pub type MakePrograms = fn(&Cause<'_>, &[String]) -> Result<Vec<Vec<String>>, String>;

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
