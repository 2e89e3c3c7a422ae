//! What the configuration asks for, in the words of the core: checks, rungs, effects, budgets.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::condition::Condition;
use crate::reading::Quantity;
use crate::time::Span;

/// The longest wait for the other node to find the same fault, before the rung `switchover`.
pub const SHARED_WITHIN: Span = Span::from_secs(30);
/// The same for hardware, which is read more slowly and fails less suddenly.
pub const HARDWARE_SHARED_WITHIN: Span = Span::from_secs(60);
/// From a verdict on the other node to this one's knowledge of it: until its keeper is told, and as
/// much again for the readings, which are on a grid of each node's own, and the heartbeat.
pub const TOLD_WITHIN: Span = Span::from_secs(2);

/// One check: a sensor, a target, conditions and a ladder.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckSpec {
    /// Unique among the checks of a node.
    pub name: Box<str>,
    /// The sensor that reads it.
    pub sensor: Box<str>,
    /// What it reads; empty for the machine itself.
    pub target: Box<str>,
    /// The keys of its `options` table, in a stable order; a change makes it another check.
    pub options: Vec<(String, String)>,
    /// What its sensor measures.
    pub quantities: &'static [Quantity],
    /// Time between readings.
    pub interval: Span,
    /// Time after which an unanswered reading counts as missing.
    pub timeout: Span,
    /// Any of them: degraded.
    pub warn_when: Vec<Condition>,
    /// Any of them: failed.
    pub fail_when: Vec<Condition>,
    /// Time for which it must be bad before that is believed.
    pub fail_after: Span,
    /// Time for which it must be better before that is believed.
    pub recover_after: Span,
    /// The ladder: what to do, in this order, while it is failed.
    pub on_fail: Vec<Rung>,
    /// Whether somebody wrote it down, or it was found on the machine.
    pub origin: Origin,
    /// The group whose service it watches: it rests where that group is not active.
    pub group: Option<Box<str>>,
    /// Whether groups are better off on the other node while it is failed. Not for a check of a
    /// group: it rests where the group is not, so that the other node always looks well.
    pub prefer_peer: bool,
}

impl CheckSpec {
    /// The rung that hands groups over, if its ladder has one.
    pub fn handing_over(&self) -> Option<usize> {
        self.on_fail.iter().position(|rung| rung.effect.disruption == Disruption::Group)
    }

    /// Whether its failure may move `group`, or keep this node from taking it: it is one of the
    /// group's, or one of the whole node with a rung that hands groups over.
    pub fn counts_for(&self, group: &str) -> bool {
        match &self.group {
            Some(own) => **own == *group,
            None => self.handing_over().is_some(),
        }
    }

    /// How long the rung `switchover` waits for the other node to find what this check has found: a
    /// fault that both nodes share is no reason to move. Not at all for a check of a group, which
    /// rests there.
    pub fn shared_within(&self) -> Span {
        match &self.group {
            Some(_) => Span::ZERO,
            None => self.interval.min(SHARED_WITHIN).plus(TOLD_WITHIN),
        }
    }

    /// How long a group waits for that when no rung moves it.
    pub fn hardware_shared_within(&self) -> Span {
        self.interval.min(HARDWARE_SHARED_WITHIN).plus(TOLD_WITHIN)
    }
}

/// Where a check comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration file.
    Configured,
    /// A default check on something found on this machine.
    Discovered,
}

/// One step of a ladder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// As it was written.
    pub text: Box<str>,
    /// What it does.
    pub effect: &'static EffectSpec,
    /// What to do it with, as for `run`.
    pub arguments: Vec<String>,
    /// How often it may be tried.
    pub budget: Budget,
    /// After this time it counts as failed, whether it ended or not.
    pub deadline: Span,
}

/// What the ladder knows of an effect; it treats all of them alike.
#[derive(Debug, PartialEq, Eq)]
pub struct EffectSpec {
    /// The first word of a rung.
    pub name: &'static str,
    /// One sentence for the man page.
    pub summary: &'static str,
    /// What it disturbs.
    pub disruption: Disruption,
    /// What may follow its name in a rung.
    pub arguments: Arguments,
    /// The deadline of its rungs, unless the configuration asks for another one.
    pub deadline: Span,
    /// Time given to the check to recover after it ended.
    pub settle: Span,
    /// How often it may be tried, unless configured otherwise.
    pub budget: Budget,
}

/// What an effect disturbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disruption {
    /// Nothing but itself.
    Nothing,
    /// One service.
    Service,
    /// The groups that are active here: they go to the other node.
    Group,
    /// The whole node.
    Node,
}

/// What may follow the name of an effect in a rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// Nothing.
    None,
    /// A unit, or nothing where the check has one.
    Unit,
    /// A program by its absolute path, and its arguments.
    Program,
    /// Nothing; the check must run a script of `/etc/watchdog.d`.
    Script,
}

/// How often something may happen: `3 in 10m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// At most so often, at least once.
    pub times: u32,
    /// In any stretch of this length.
    pub within: Span,
}

/// A budget may not ask to remember more uses than this.
pub const BUDGET_TIMES_MAX: u32 = 100;

impl Budget {
    /// Reads `3 in 10m`.
    ///
    /// # Errors
    /// Says how to write it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (times, within) = text.split_once(" in ").ok_or("write a budget as in \"3 in 10m\"")?;
        let times: u32 = times
            .trim()
            .parse()
            .map_err(|_| "the count must be a whole number, as in \"3 in 10m\"")?;
        let within =
            Span::parse(within).map_err(|_| "the time must have a unit, as in \"3 in 10m\"")?;
        if times == 0 || times > BUDGET_TIMES_MAX {
            return Err("the count must be between 1 and 100");
        }
        if within == Span::ZERO {
            return Err("the time must be longer than nothing");
        }
        Ok(Self { times, within })
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.times, self.within)
    }
}
