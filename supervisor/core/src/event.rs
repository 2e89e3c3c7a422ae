//! Everything the core can learn, and all it can ask for.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::health::Verdict;
use crate::reading::Readings;
use crate::recovery::ActionId;
use crate::report::{Outcome, Report};
use crate::spec::EffectSpec;
use crate::time::Span;

/// Names a check for as long as its definition lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckId(pub u32);

/// Something the core learns.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A reading was taken, or could not be: then the text says why.
    Reading {
        /// Of this check.
        check: CheckId,
        /// The values, or why there are none.
        result: Result<Readings, Box<str>>,
    },
    /// Something happened to the target: a reading is worth taking before its time.
    Nudge {
        /// Of this check.
        check: CheckId,
    },
    /// An effect ended.
    Outcome {
        /// The attempt.
        id: ActionId,
        /// How it ended.
        outcome: Outcome,
    },
}

/// Something the core asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Take a reading; the answer is an [`Event::Reading`].
    Read {
        /// Of this check.
        check: CheckId,
    },
    /// Start an effect; the answer is an [`Event::Outcome`].
    Start {
        /// This attempt.
        id: ActionId,
        /// The check whose rung it is.
        check: CheckId,
        /// What to do.
        effect: &'static EffectSpec,
        /// With what.
        arguments: Vec<String>,
    },
    /// Tell the operator.
    Report(Report),
    /// Send to the alert hooks.
    Alert(Alert),
    /// What must outlive a restart has changed.
    Save,
}

/// What a hook is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// What sort of message it is.
    pub kind: AlertKind,
    /// The check.
    pub check: Box<str>,
    /// Its sensor.
    pub sensor: Box<str>,
    /// Its target.
    pub target: Box<str>,
    /// What it says now.
    pub verdict: Verdict,
    /// What it said before.
    pub was: Verdict,
    /// Why, with values.
    pub reason: Box<str>,
    /// How long it has been (for a recovery: had been) wrong.
    pub lasted: Span,
}

/// What sort of message an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlertKind {
    /// A verdict became worse.
    Problem,
    /// A verdict became better, but not healthy.
    Improved,
    /// It is healthy again, or rests.
    Recovery,
    /// Still wrong.
    Reminder,
    /// It changes too often: silence until it is calm.
    Flapping,
    /// Its ladder has come to the rung `alert`.
    Escalation,
}

/// Actions of one turn, in order.
pub type Actions = Vec<Action>;
