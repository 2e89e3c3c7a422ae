//! What a node tells about itself, as plain values: `status`, `check` and `explain` print these,
//! and the control socket carries them as JSON.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::health::Verdict;

/// One check, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckView {
    /// Its name.
    pub name: String,
    /// Its sensor.
    pub sensor: String,
    /// Its target; empty for the machine.
    pub target: String,
    /// Whether it was found on the machine instead of written down.
    pub discovered: bool,
    /// What it says.
    pub verdict: Verdict,
    /// Seconds since it began to say so.
    pub for_secs: f64,
    /// Why: the conditions that hold, or why nothing is known. Empty when healthy.
    pub reason: String,
    /// What the sensor added in words.
    pub note: Option<String>,
    /// Seconds since the newest reading; `None` before the first.
    pub reading_age_secs: Option<f64>,
    /// What was measured, in the order of the sensor's declaration.
    pub values: Vec<ValueView>,
    /// Its conditions and whether each holds.
    pub conditions: Vec<ConditionView>,
    /// Seconds for which it must be bad before that is believed.
    pub fail_after_secs: f64,
    /// Seconds for which it must be better before that is believed.
    pub recover_after_secs: f64,
    /// Seconds between readings.
    pub interval_secs: f64,
    /// What it tends to, if the newest reading disagrees with the verdict: words, and seconds until
    /// believed.
    pub tendency: Option<Tendency>,
    /// Whether it changes so often that single changes are not alerted.
    pub flapping: bool,
    /// The pause that covers it.
    pub paused: Option<PauseView>,
    /// Its ladder; `None` without rungs.
    pub ladder: Option<LadderView>,
}

/// One measured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValueView {
    /// The quantity.
    pub name: String,
    /// Its unit: `ratio`, `bytes`, `seconds`, `word` ...
    pub unit: String,
    /// The number in base units, if it is one.
    pub number: Option<f64>,
    /// As people read it: `81.2%`, `3.4 GiB`, `none` where there is no such thing, `unknown` where
    /// it is missing.
    pub shown: String,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConditionView {
    /// As written.
    pub text: String,
    /// The verdict that it leads to.
    pub leads_to: Verdict,
    /// Whether it held at the newest reading; `None` when that could not be said.
    pub holds: Option<bool>,
    /// The value that it looked at.
    pub value: String,
}

/// Where a verdict is heading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tendency {
    /// What the newest reading says: `good`, `bad` or `failed`.
    pub reading: String,
    /// Seconds until that is believed.
    pub believed_in_secs: f64,
}

/// One pause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PauseView {
    /// The check; `None`: the whole node.
    pub check: Option<String>,
    /// Seconds until it ends.
    pub left_secs: f64,
    /// What the operator wrote.
    pub why: String,
    /// Who asked.
    pub who: String,
}

/// A ladder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LadderView {
    /// Its rungs.
    pub rungs: Vec<RungView>,
    /// What it does now, in words: `at rest`, `restart under way for 3s`, `waits 40s (back-off,
    /// round 3)`.
    pub now: String,
    /// Seconds until something is due; `None` at rest.
    pub due_in_secs: Option<f64>,
}

/// One rung.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RungView {
    /// As written.
    pub text: String,
    /// `3 in 10m`.
    pub budget: String,
    /// Uses within the window of the budget.
    pub used: u32,
}
