//! What an operator is told. The core logs nothing: it returns reports, each once for each change.

use alloc::boxed::Box;
use core::fmt;

use crate::health::Verdict;
use crate::recovery::Wait;
use crate::time::Span;

/// One thing worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A verdict changed.
    Verdict {
        /// The check.
        check: Box<str>,
        /// Before.
        from: Verdict,
        /// Now.
        to: Verdict,
        /// How long it had been `from`.
        lasted: Span,
        /// The conditions that hold, with their values; empty when healthy.
        reason: Box<str>,
    },
    /// A check began, or ended, to change too often for single alerts.
    Flapping {
        /// The check.
        check: Box<str>,
        /// Begins or ends.
        begins: bool,
    },
    /// A rung starts.
    RungStarts {
        /// The check.
        check: Box<str>,
        /// The rung as written.
        rung: Box<str>,
        /// Uses within its budget's window, this one included, and the budget.
        used: u32,
        /// `3 in 10m`.
        budget: Box<str>,
    },
    /// A rung was due and must not be started: the ladder goes past it.
    RungPassed {
        /// The check.
        check: Box<str>,
        /// The rung as written.
        rung: Box<str>,
    },
    /// A rung ended.
    RungEnds {
        /// The check.
        check: Box<str>,
        /// The rung as written.
        rung: Box<str>,
        /// How.
        outcome: Outcome,
        /// After how long.
        took: Span,
    },
    /// A ladder waits before it tries again.
    Waits {
        /// The check.
        check: Box<str>,
        /// For how long.
        span: Span,
        /// Why.
        why: Wait,
        /// Rounds without success.
        rounds: u32,
    },
    /// Maintenance began.
    PauseBegins {
        /// The check; `None`: the whole node.
        check: Option<Box<str>>,
        /// How long.
        span: Span,
        /// What the operator wrote.
        why: Box<str>,
        /// Who asked.
        who: Box<str>,
    },
    /// Maintenance ended.
    PauseEnds {
        /// The check; `None`: the whole node.
        check: Option<Box<str>>,
        /// By itself, or by an operator.
        expired: bool,
    },
    /// A check began, or ended, to rest: its group went, or came.
    Rests {
        /// The check.
        check: Box<str>,
        /// Its group.
        group: Box<str>,
        /// Begins or ends.
        begins: bool,
    },
    /// A check appeared.
    CheckAppears {
        /// The check.
        check: Box<str>,
    },
    /// A check is gone.
    CheckGoes {
        /// The check.
        check: Box<str>,
    },
}

/// How a rung ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it was to do.
    Done,
    /// It did not.
    Failed(Box<str>),
    /// Nobody knows: its deadline passed, or who ran it is gone.
    Unknown(Box<str>),
}

/// How urgent a report is, by the names of syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Of interest later.
    Info,
    /// A change worth seeing.
    Notice,
    /// Needs a look.
    Warning,
    /// Needs a hand.
    Error,
}

impl Report {
    /// A stable name for tools.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Verdict { .. } => "verdict",
            Self::Flapping { .. } => "flapping",
            Self::RungStarts { .. } => "rung-starts",
            Self::RungPassed { .. } => "rung-passed",
            Self::RungEnds { .. } => "rung-ends",
            Self::Waits { .. } => "ladder-waits",
            Self::PauseBegins { .. } => "pause-begins",
            Self::PauseEnds { .. } => "pause-ends",
            Self::Rests { begins: true, .. } => "check-rests",
            Self::Rests { begins: false, .. } => "check-wakes",
            Self::CheckAppears { .. } => "check-appears",
            Self::CheckGoes { .. } => "check-goes",
        }
    }

    /// The check that it is about, if it is about one.
    pub fn check(&self) -> Option<&str> {
        match self {
            Self::Verdict { check, .. }
            | Self::Flapping { check, .. }
            | Self::RungStarts { check, .. }
            | Self::RungPassed { check, .. }
            | Self::RungEnds { check, .. }
            | Self::Waits { check, .. }
            | Self::Rests { check, .. }
            | Self::CheckAppears { check }
            | Self::CheckGoes { check } => Some(check),
            Self::PauseBegins { check, .. } | Self::PauseEnds { check, .. } => check.as_deref(),
        }
    }

    /// How urgent it is.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Verdict { to: Verdict::Failed, .. } => Severity::Error,
            Self::Verdict { to: Verdict::Degraded | Verdict::Unknown, .. }
            | Self::Flapping { begins: true, .. }
            | Self::RungStarts { .. }
            | Self::RungPassed { .. }
            | Self::Waits { .. }
            | Self::RungEnds { outcome: Outcome::Failed(_) | Outcome::Unknown(_), .. } => {
                Severity::Warning
            }
            Self::Verdict { to: Verdict::Rests | Verdict::Healthy, .. }
            | Self::Flapping { begins: false, .. }
            | Self::RungEnds { outcome: Outcome::Done, .. }
            | Self::PauseBegins { .. }
            | Self::PauseEnds { .. } => Severity::Notice,
            Self::Rests { .. } | Self::CheckAppears { .. } | Self::CheckGoes { .. } => {
                Severity::Info
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verdict { check, to, lasted, reason, from } => {
                write!(f, "{check} is {to}")?;
                if !reason.is_empty() {
                    write!(f, ": {reason}")?;
                }
                write!(f, " (was {from} for {lasted})")
            }
            Self::Flapping { check, begins: true } => {
                write!(
                    f,
                    "{check} changes too often: no alerts for single changes until it is calm"
                )
            }
            Self::Flapping { check, begins: false } => write!(f, "{check} is calm again"),
            Self::RungStarts { check, rung, used, budget } => {
                write!(f, "{check} has failed: trying \"{rung}\" (use {used} of {budget})")
            }
            Self::RungPassed { check, rung } => {
                write!(
                    f,
                    "{check} has failed: not trying \"{rung}\", since this boot observes only \
                     (boot-loop guard)"
                )
            }
            Self::RungEnds { check, rung, outcome, took } => match outcome {
                Outcome::Done => write!(f, "\"{rung}\" for {check} done after {took}"),
                Outcome::Failed(why) => {
                    write!(f, "\"{rung}\" for {check} failed after {took}: {why}")
                }
                Outcome::Unknown(why) => {
                    write!(f, "\"{rung}\" for {check}: outcome unknown after {took}: {why}")
                }
            },
            Self::Waits { check, span, why: Wait::Backoff, rounds } => {
                write!(f, "{check} is still failed after round {rounds}: trying again in {span}")
            }
            Self::Waits { check, span, why: Wait::Budget, .. } => {
                write!(
                    f,
                    "{check} is failed and all budgets of its ladder are spent: trying again in {span}"
                )
            }
            Self::PauseBegins { check, span, why, who } => {
                write!(f, "{} paused for {span} by {who}: {why}", Scope(check.as_deref()))
            }
            Self::PauseEnds { check, expired: true } => {
                write!(f, "pause of {} is over", Scope(check.as_deref()))
            }
            Self::PauseEnds { check, expired: false } => {
                write!(f, "{} resumed", Scope(check.as_deref()))
            }
            Self::Rests { check, group, begins: true } => {
                write!(f, "{check} rests: group \"{group}\" is not active here")
            }
            Self::Rests { check, group, begins: false } => {
                write!(f, "{check} is watched: group \"{group}\" is active here")
            }
            Self::CheckAppears { check } => write!(f, "watching {check}"),
            Self::CheckGoes { check } => write!(f, "no longer watching {check}"),
        }
    }
}

struct Scope<'a>(Option<&'a str>);

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.unwrap_or("the whole node"))
    }
}
