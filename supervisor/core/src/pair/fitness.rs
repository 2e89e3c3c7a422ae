//! How fit this node is for a group, and when a fit group moves by itself.

use serde::{Deserialize, Serialize};

use super::clock::Clocks;
use super::event::REPORT_FRESH;
use super::message::{Health, NotReady};
use crate::time::{Mono, Span};

/// Automatic moves of one group within [`MOVES_WITHIN`]; after them it stays where it is unless its
/// owner dies. A group that moves more often is worse off than one on a bad node.
pub const MOVES_MAX: usize = 3;
/// See [`MOVES_MAX`].
pub const MOVES_WITHIN: Span = Span::from_secs(600);

/// The brain's newest word on a group, and what else speaks against taking it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fitness {
    /// When the daemon started: its brain has so much time for a first word.
    started: Clocks,
    report: Option<Report>,
    /// An operator paused it, or it was let go for a suspend.
    pub paused: bool,
    /// Not ready before then: a demotion for bad health or a failed promotion.
    recovering_until: Option<Mono>,
    /// The latest automatic moves, oldest first.
    moves: [Option<Mono>; MOVES_MAX],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Report {
    at: Clocks,
    health: Health,
    not_ready: Option<NotReady>,
}

impl Fitness {
    /// Nothing known yet.
    #[must_use]
    pub const fn new(now: Clocks) -> Self {
        Self {
            started: now,
            report: None,
            paused: false,
            recovering_until: None,
            moves: [None; MOVES_MAX],
        }
    }

    /// The brain reported.
    pub const fn report(&mut self, health: Health, not_ready: Option<NotReady>, now: Clocks) {
        self.report = Some(Report { at: now, health, not_ready });
    }

    fn fresh(&self, now: Clocks) -> Option<Report> {
        self.report.filter(|report| now.longest_since(report.at) < REPORT_FRESH)
    }

    /// Health, as far as it is known *now*: an old word is none.
    #[must_use]
    pub fn health(&self, now: Clocks) -> Health {
        self.fresh(now).map_or(Health::Unknown, |report| report.health)
    }

    /// Health so bad, or unknown for so long, that the group may be better off elsewhere.
    #[must_use]
    pub fn bad_health(&self, now: Clocks) -> Option<Health> {
        let too_early = self.report.is_none() && now.longest_since(self.started) < REPORT_FRESH;
        let health = self.health(now);
        (health < Health::Degraded && !too_early).then_some(health)
    }

    /// What of this node's own speaks against taking the group.
    #[must_use]
    pub fn not_ready(&self, now: Clocks) -> Option<NotReady> {
        if self.paused {
            return Some(NotReady::Paused);
        }
        let Some(report) = self.fresh(now) else {
            return Some(NotReady::NoReport);
        };
        let failed = (report.health == Health::Failed).then_some(NotReady::CheckFailed);
        report.not_ready.or(failed).or(self.is_recovering(now).then_some(NotReady::Recovering))
    }

    /// It failed here: leave it to the other node for a while.
    pub const fn recover_until(&mut self, until: Mono) {
        self.recovering_until = Some(until);
    }

    /// Whether a failure here is not long enough ago.
    #[must_use]
    pub fn is_recovering(&self, now: Clocks) -> bool {
        self.recovering_until.is_some_and(|until| now.boot < until)
    }

    /// Whether the group has moved by itself too often lately.
    #[must_use]
    pub fn moves_too_often(&self, now: Clocks) -> bool {
        self.moves.iter().all(|at| at.is_some_and(|at| now.boot.since(at) < MOVES_WITHIN))
    }

    /// The group moved by itself.
    pub fn moved(&mut self, now: Clocks) {
        self.moves.rotate_left(1);
        if let Some(last) = self.moves.last_mut() {
            *last = Some(now.boot);
        }
    }
}
