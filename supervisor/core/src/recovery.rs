//! The ladder: which rung is tried next, and when.
//!
//! ```text
//!            failed, rung with budget         outcome           still failed after settle
//!   Ground ──────────────────────────► Acting ────────► Settling ──────────────────────────┐
//!     ▲  ▲                                                 │                               │
//!     │  └─────────── no longer failed ────────────────────┘     next rung, or no rung left│
//!     │                                                                                    ▼
//!     └─────────────────── time is over: from the first rung again ◄─────────────────── Waiting
//! ```
//!
//! Invariants, checked by the tests beside this file:
//!
//! - **L1**: a rung starts only while its check is confirmed failed and the newest reading says so
//!   still.
//! - **L2**: no rung starts more often than its budget allows, across restarts and reboots.
//! - **L3**: at most one rung of a check is under way.
//! - **L4**: a ladder never gives up: while its check stays failed and is not paused, a next rung
//!   is always due at a moment that can be told, at most [`BACKOFF_MAX`] after its budget allows
//!   it.
//! - **L5**: a ladder waits longer after each round without success, up to [`BACKOFF_MAX`].
//! - **L6**: while the node only observes, no rung that disturbs the whole node starts: the ladder
//!   goes past it, and its budget is not spent. While the machine is on its way down, no rung
//!   starts at all.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::sorted;
use crate::spec::{BUDGET_TIMES_MAX, Budget, Rung};
use crate::time::{Mono, Span};

/// The wait after the first round of rungs without success; it doubles with each further one.
pub const BACKOFF_FIRST: Span = Span::from_secs(5);
/// The longest wait between two rounds. Never infinite: a service whose database returns after a
/// night must come back by itself.
pub const BACKOFF_MAX: Span = Span::from_secs(300);
/// Health of this length makes the next failure a new story: the back-off starts from its first
/// wait again.
pub const HEALTHY_RESET: Span = Span::from_secs(600);
/// An outcome that is this late is not waited for any longer.
pub const OUTCOME_GRACE: Span = Span::from_secs(5);

/// Names one attempt of one rung, so that an outcome finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionId(pub u64);

/// Where a ladder stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Climb {
    /// Nothing is under way.
    Ground,
    /// A rung is under way.
    Acting {
        /// Its place in the list.
        rung: usize,
        /// This attempt.
        id: ActionId,
        /// When it began.
        since: Mono,
        /// When its outcome is no longer waited for.
        deadline: Mono,
    },
    /// A rung has ended; the check is given time to recover.
    Settling {
        /// Its place in the list.
        rung: usize,
        /// Until when.
        until: Mono,
    },
    /// All rungs were tried, or their budgets are spent.
    Waiting {
        /// Until when.
        until: Mono,
        /// Why.
        why: Wait,
    },
}

/// Which rungs may start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Licence {
    /// All of them.
    #[default]
    All,
    /// None that disturbs the whole node: the boot-loop guard lets it only observe.
    ObserveOnly,
    /// None: the machine is on its way down.
    Nothing,
}

/// Why a ladder waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// A round of rungs did not help.
    Backoff,
    /// The budgets of all rungs are spent.
    Budget,
}

/// What a ladder wants to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start this rung.
    Start(usize),
    /// Nothing before this moment; reported once.
    Wait(Mono, Wait),
}

/// The ladder of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder {
    climb: Climb,
    /// The rung to try next in this round.
    next: usize,
    /// Rounds without success.
    rounds: u32,
    /// So many rungs, from the first one, were tried or passed since the check last recovered.
    tried: usize,
    /// When each rung was used, newest last; as many as its budget counts.
    uses: Vec<VecDeque<Mono>>,
    /// When the check was last seen recovered.
    recovered_at: Option<Mono>,
}

impl Ladder {
    /// Nothing was tried yet.
    pub fn new(rungs: &[Rung]) -> Self {
        Self {
            climb: Climb::Ground,
            next: 0,
            rounds: 0,
            tried: 0,
            uses: alloc::vec![VecDeque::new(); rungs.len()],
            recovered_at: None,
        }
    }

    /// Where it stands.
    pub fn climb(&self) -> &Climb {
        &self.climb
    }

    /// Rounds without success since the check was last healthy for [`HEALTHY_RESET`].
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Whether this rung was tried, or the ladder went past it, since the check last recovered.
    pub fn has_tried(&self, rung: usize) -> bool {
        rung < self.tried
    }

    /// When each rung was used within its budget's window, by rung.
    pub fn uses(&self) -> &[VecDeque<Mono>] {
        &self.uses
    }

    /// How often a rung was used within its budget's window.
    pub fn used(&self, rung: usize, budget: Budget, now: Mono) -> usize {
        let within = |at: &&Mono| now.since(**at) < budget.within;
        self.uses.get(rung).map_or(0, |uses| uses.iter().filter(within).count())
    }

    /// Takes over uses that were remembered across a restart, one list for each rung; moments in
    /// the future count as now. What was remembered may be damaged: the newest [`BUDGET_TIMES_MAX`]
    /// uses of a rung are kept, in order.
    pub fn remember(&mut self, uses: Vec<VecDeque<Mono>>, now: Mono) {
        for (own, remembered) in self.uses.iter_mut().zip(uses) {
            let mut remembered: Vec<Mono> = remembered.into_iter().map(|at| at.min(now)).collect();
            sorted::sort_by_key(&mut remembered, &|at| *at);
            let surplus = remembered.len().saturating_sub(BUDGET_TIMES_MAX as usize);
            remembered.drain(..surplus);
            *own = remembered.into();
        }
    }

    /// The check is confirmed failed and a reading that was asked for at `seen` says so: what now?
    pub fn climb_on(&mut self, rungs: &[Rung], seen: Mono, now: Mono) -> Option<Step> {
        match self.climb {
            Climb::Acting { .. } => return None,
            // A reading from before the end of the settling time says nothing about the rung's
            // success.
            Climb::Settling { until, .. } if seen < until => return None,
            Climb::Waiting { until, .. } if now < until => return None,
            Climb::Settling { rung, .. } => self.next = rung.saturating_add(1),
            Climb::Waiting { .. } => self.next = 0,
            Climb::Ground => {}
        }
        if let Some(recovered) = self.recovered_at.take()
            && now.since(recovered) >= HEALTHY_RESET
        {
            self.rounds = 0;
        }
        if rungs.is_empty() {
            self.climb = Climb::Ground;
            return None;
        }
        let ready = (self.next..rungs.len()).find(|index| {
            rungs.get(*index).is_some_and(|rung| self.free_at(*index, rung.budget, now) <= now)
        });
        self.tried = self.tried.max(ready.unwrap_or(rungs.len()));
        match ready {
            Some(rung) => Some(Step::Start(rung)),
            None => Some(self.wait(rungs, now)),
        }
    }

    /// A rung has been started: its budget is spent from now on, whatever comes of it.
    pub fn started(
        &mut self,
        rung: usize,
        budget: Budget,
        id: ActionId,
        deadline: Mono,
        now: Mono,
    ) {
        if let Some(uses) = self.uses.get_mut(rung) {
            uses.push_back(now);
            while uses.len() > budget.times as usize {
                uses.pop_front();
            }
        }
        self.climb =
            Climb::Acting { rung, id, since: now, deadline: deadline.after(OUTCOME_GRACE) };
    }

    /// A rung must not be started now: the next reading decides about the one after it.
    pub fn pass(&mut self, rung: usize, now: Mono) {
        self.climb = Climb::Settling { rung, until: now };
    }

    /// The outcome of an attempt has arrived, or is not waited for any longer. A late outcome of an
    /// earlier attempt changes nothing.
    pub fn ended(&mut self, id: ActionId, settle: Span, now: Mono) -> bool {
        match self.climb {
            Climb::Acting { rung, id: acting, .. } if acting == id => {
                self.tried = self.tried.max(rung.saturating_add(1));
                self.climb = Climb::Settling { rung, until: now.after(settle) };
                true
            }
            Climb::Acting { .. }
            | Climb::Ground
            | Climb::Settling { .. }
            | Climb::Waiting { .. } => false,
        }
    }

    /// The check has recovered: the next failure starts at the first rung.
    pub fn recovered(&mut self, now: Mono) {
        self.recovered_at = Some(now);
        (self.next, self.tried) = (0, 0);
        match self.climb {
            Climb::Acting { .. } => {} // its outcome is still to come
            Climb::Ground | Climb::Settling { .. } | Climb::Waiting { .. } => {
                self.climb = Climb::Ground
            }
        }
    }

    /// From when on a reading decides how it goes on: the end of settling or of a wait.
    pub fn reading_due(&self) -> Option<Mono> {
        match self.climb {
            Climb::Ground | Climb::Acting { .. } => None,
            Climb::Settling { until, .. } | Climb::Waiting { until, .. } => Some(until),
        }
    }

    /// When the outcome that is under way is no longer waited for.
    pub fn acting_deadline(&self) -> Option<Mono> {
        match self.climb {
            Climb::Acting { deadline, .. } => Some(deadline),
            Climb::Ground | Climb::Settling { .. } | Climb::Waiting { .. } => None,
        }
    }

    /// The rung of an attempt that is under way, and when it began.
    pub fn acting(&self, attempt: ActionId) -> Option<(usize, Mono)> {
        match self.climb {
            Climb::Acting { rung, id, since, .. } if id == attempt => Some((rung, since)),
            Climb::Acting { .. }
            | Climb::Ground
            | Climb::Settling { .. }
            | Climb::Waiting { .. } => None,
        }
    }

    /// The same ladder with other rungs. Budgets follow the text of a rung (L2), an attempt that is
    /// under way stays so (L3), the time given to a rung that ended is still given, and so is a
    /// back-off (L5). A rung that is gone gets a place behind all others. A wait for budgets ends:
    /// the new ones decide.
    #[must_use]
    pub fn redefined(&self, old: &[Rung], new: &[Rung]) -> Self {
        let place = |rung: usize| {
            let text = old.get(rung).map(|old| &old.text);
            new.iter().position(|new| Some(&new.text) == text).unwrap_or(new.len())
        };
        let climb = match self.climb {
            Climb::Acting { rung, id, since, deadline } => {
                Climb::Acting { rung: place(rung), id, since, deadline }
            }
            Climb::Settling { rung, until } => Climb::Settling { rung: place(rung), until },
            Climb::Waiting { until, why: Wait::Backoff } => {
                Climb::Waiting { until, why: Wait::Backoff }
            }
            Climb::Waiting { why: Wait::Budget, .. } | Climb::Ground => Climb::Ground,
        };
        let old_texts = || old.iter().map(|rung| &*rung.text);
        Self {
            climb,
            next: 0,
            rounds: self.rounds,
            tried: self.tried.min(new.len()),
            uses: uses_by_text(old_texts, &self.uses, new),
            recovered_at: self.recovered_at,
        }
    }

    /// The attempt whose outcome is overdue.
    pub fn overdue(&self, now: Mono) -> Option<ActionId> {
        match self.climb {
            Climb::Acting { id, deadline, .. } if now >= deadline => Some(id),
            Climb::Acting { .. }
            | Climb::Ground
            | Climb::Settling { .. }
            | Climb::Waiting { .. } => None,
        }
    }

    /// When the budget of a rung allows it.
    fn free_at(&self, rung: usize, budget: Budget, now: Mono) -> Mono {
        let Some(uses) = self.uses.get(rung) else { return now };
        let spent = budget.times as usize;
        // The use that must leave the window first is the `times`-th newest.
        match uses.len().checked_sub(spent).and_then(|index| uses.get(index)) {
            Some(oldest) => oldest.after(budget.within),
            None => now,
        }
    }

    fn wait(&mut self, rungs: &[Rung], now: Mono) -> Step {
        let tried_some = self.next > 0;
        if tried_some {
            self.rounds = self.rounds.saturating_add(1);
        }
        let doubled = 1_u64.checked_shl(self.rounds.saturating_sub(1)).unwrap_or(u64::MAX);
        let backoff = BACKOFF_FIRST.times(doubled).min(BACKOFF_MAX);
        let free = rungs
            .iter()
            .enumerate()
            .map(|(index, rung)| self.free_at(index, rung.budget, now))
            .min();
        let free = free.unwrap_or(now);
        let rested = if tried_some { now.after(backoff) } else { now };
        let (until, why) =
            if free > rested { (free, Wait::Budget) } else { (rested, Wait::Backoff) };
        self.climb = Climb::Waiting { until, why };
        Step::Wait(until, why)
    }
}

/// The uses of `rungs`, out of those of other ones. Of rungs with one text the first stands for the
/// first, the second for the second.
pub(crate) fn uses_by_text<'a, I: Iterator<Item = &'a str>>(
    old_texts: impl Fn() -> I,
    old_uses: &[VecDeque<Mono>],
    rungs: &[Rung],
) -> Vec<VecDeque<Mono>> {
    let earlier_twins = |index: usize, text: &str| {
        rungs.iter().take(index).filter(|rung| &*rung.text == text).count()
    };
    let uses = |(index, rung): (usize, &Rung)| {
        let twins = earlier_twins(index, &rung.text);
        let same = old_texts().zip(old_uses).filter(|(text, _)| *text == &*rung.text);
        same.map(|(_, uses)| uses.clone()).nth(twins).unwrap_or_default()
    };
    rungs.iter().enumerate().map(uses).collect()
}

#[cfg(test)]
mod tests;
