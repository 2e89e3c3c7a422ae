//! Verdicts over time: what a check's readings mean once they have held long enough.
//!
//! ```text
//!                  bad for fail-after                failed for fail-after
//!   healthy ───────────────────────────► degraded ───────────────────────────► failed
//!      ▲  ▲                                │   ▲                                │   │
//!      │  └────────────────────────────────┘   └────────────────────────────────┘   │
//!      │        good for recover-after             not failed for recover-after     │
//!      └─────────────────────────────────────────────────────────────────────────────┘
//!                                  good for recover-after
//! ```
//!
//! Beside that stands blindness: no reading, a late one, or one whose values are missing makes the
//! verdict `unknown` at once and restarts every clock, so that missing data neither confirms a
//! failure nor heals one. What was known before is kept and is judged on when sight returns.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::fmt;
use serde::{Deserialize, Serialize};

use crate::condition::Truth;
use crate::time::{Mono, Span};

/// Changes of verdict within [`FLAP_WINDOW`] that make a check flapping.
pub const FLAP_CHANGES: usize = 6;
/// The window of [`FLAP_CHANGES`]. Half an hour: a service that dies every five minutes is one
/// story, not twelve.
pub const FLAP_WINDOW: Span = Span::from_secs(30 * 60);
/// A flapping check is calm again once no more than this many changes remain in the window.
pub const FLAP_CALM: usize = 2;

/// What a check says of its target. Ordered by how much attention it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Not judged: what it watches runs only where its group is active, and that is not here.
    Rests,
    /// All is well.
    Healthy,
    /// Worth a look, not worth an action.
    Degraded,
    /// Nobody knows: no reading, a late one, or values missing.
    Unknown,
    /// Confirmed bad.
    Failed,
}

impl Verdict {
    /// The word that people read.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rests => "rests",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        }
    }

    /// The Nagios plugin API's exit code: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. Who rests is
    /// where it should be.
    pub const fn nagios(self) -> u8 {
        match self {
            Self::Rests | Self::Healthy => 0,
            Self::Degraded => 1,
            Self::Failed => 2,
            Self::Unknown => 3,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What one reading says, before time is taken into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Glance {
    /// No condition holds, and all of them could be judged.
    Good,
    /// A `warn-when` holds.
    Bad,
    /// A `fail-when` holds.
    Failed,
    /// No `fail-when` holds, but one could not be judged, or no `warn-when` holds, but one could
    /// not be judged.
    Blind,
}

impl Glance {
    /// From the two lists of conditions. A failure that is seen counts even where other values are
    /// missing.
    pub const fn from_truths(fail: Truth, warn: Truth) -> Self {
        match (fail, warn) {
            (Truth::True, _) => Self::Failed,
            (Truth::Unknown, _) | (Truth::False, Truth::Unknown) => Self::Blind,
            (Truth::False, Truth::True) => Self::Bad,
            (Truth::False, Truth::False) => Self::Good,
        }
    }
}

/// Something that has held without a break since a moment, or does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Streak(Option<Mono>);

impl Streak {
    fn feed(&mut self, holds: bool, now: Mono) {
        self.0 = if holds { self.0.or(Some(now)) } else { None };
    }

    fn lasts(self, span: Span, now: Mono) -> bool {
        self.0.is_some_and(|since| now.since(since) >= span)
    }
}

/// The health of one check.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// The last confirmed verdict, never `Unknown` or `Rests`; `None` until one was confirmed.
    known: Option<Verdict>,
    /// Since when that is known.
    known_since: Mono,
    /// Why nothing can be said now.
    blind: Option<Box<str>>,
    /// The verdict as shown, and since when.
    shown: Verdict,
    since: Mono,
    glance: Glance,
    failed: Streak,
    bad: Streak,
    good: Streak,
    unfailed: Streak,
    changes: VecDeque<Mono>,
    flapping: bool,
}

/// How the verdict moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub from: Verdict,
    /// Now.
    pub to: Verdict,
    /// How long it had been `from`.
    pub lasted: Span,
}

impl Health {
    /// Nothing is known yet.
    pub fn new(now: Mono) -> Self {
        Self {
            known: None,
            known_since: now,
            blind: Some("no reading yet".into()),
            shown: Verdict::Unknown,
            since: now,
            glance: Glance::Blind,
            failed: Streak::default(),
            bad: Streak::default(),
            good: Streak::default(),
            unfailed: Streak::default(),
            changes: VecDeque::new(),
            flapping: false,
        }
    }

    /// Nothing is judged.
    pub fn resting(now: Mono) -> Self {
        Self { blind: None, shown: Verdict::Rests, ..Self::new(now) }
    }

    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        self.shown
    }

    /// When the verdict began.
    pub fn since(&self) -> Mono {
        self.since
    }

    /// Why the verdict is `unknown`.
    pub fn blind(&self) -> Option<&str> {
        self.blind.as_deref()
    }

    /// What the last reading said.
    pub fn glance(&self) -> Glance {
        self.glance
    }

    /// Confirmed failed, and the last reading says so still: the only state in which a ladder is
    /// climbed.
    pub fn is_failed_now(&self) -> bool {
        self.shown == Verdict::Failed && self.glance == Glance::Failed
    }

    /// Confirmed failed, whether it can be seen now or not.
    pub fn is_known_failed(&self) -> bool {
        self.known_failed_since().is_some()
    }

    /// Since when it has been that.
    pub fn known_failed_since(&self) -> Option<Mono> {
        (self.known == Some(Verdict::Failed)).then_some(self.known_since)
    }

    /// Whether it changes so often that single changes are not worth an alert.
    pub fn is_flapping(&self) -> bool {
        self.flapping
    }

    /// When a flapping check becomes calm, if nothing changes.
    pub fn calms_at(&self) -> Option<Mono> {
        let leaves_last = self.changes.len().checked_sub(FLAP_CALM.saturating_add(1))?;
        let at = self.changes.get(leaves_last).filter(|_| self.flapping)?;
        Some(at.after(FLAP_WINDOW))
    }

    /// When the verdict would change next, if readings go on saying the same: one is worth taking
    /// then.
    ///
    /// The wider streak counts: what is failed is bad, too, and was perhaps bad before it was
    /// failed, so it is degraded first; what is good is not failed, and was perhaps only that
    /// before.
    pub fn confirms_at(&self, fail_after: Span, recover_after: Span) -> Option<Mono> {
        let due = |streak: Streak, span| streak.0.map(|since: Mono| since.after(span));
        match (self.shown, self.glance) {
            (Verdict::Failed, Glance::Good | Glance::Bad) => due(self.unfailed, recover_after),
            (Verdict::Degraded, Glance::Good) => due(self.good, recover_after),
            (Verdict::Degraded, Glance::Failed) => due(self.failed, fail_after),
            (Verdict::Healthy | Verdict::Unknown, Glance::Bad | Glance::Failed) => {
                due(self.bad, fail_after)
            }
            (Verdict::Failed, Glance::Failed)
            | (Verdict::Degraded, Glance::Bad)
            | (Verdict::Healthy | Verdict::Unknown, Glance::Good)
            | (Verdict::Rests, _)
            | (_, Glance::Blind) => None,
        }
    }

    /// Takes what one reading says.
    pub fn see(
        &mut self,
        glance: Glance,
        fail_after: Span,
        recover_after: Span,
        now: Mono,
    ) -> Option<Change> {
        if glance == Glance::Blind {
            return self.lose_sight("values are missing", now);
        }
        self.glance = glance;
        self.failed.feed(glance == Glance::Failed, now);
        self.bad.feed(glance >= Glance::Bad, now);
        self.good.feed(glance == Glance::Good, now);
        self.unfailed.feed(glance < Glance::Failed, now);
        let recovered =
            if self.good.lasts(recover_after, now) { Verdict::Healthy } else { Verdict::Degraded };
        let next = match self.known {
            Some(Verdict::Failed) if self.unfailed.lasts(recover_after, now) => Some(recovered),
            Some(Verdict::Failed) => Some(Verdict::Failed),
            _ if self.failed.lasts(fail_after, now) => Some(Verdict::Failed),
            Some(Verdict::Degraded) if self.good.lasts(recover_after, now) => {
                Some(Verdict::Healthy)
            }
            Some(Verdict::Degraded) => Some(Verdict::Degraded),
            _ if self.bad.lasts(fail_after, now) => Some(Verdict::Degraded),
            Some(Verdict::Rests | Verdict::Healthy | Verdict::Unknown) => Some(Verdict::Healthy),
            // The first word on a check is believed at once when it is good.
            None if glance == Glance::Good => Some(Verdict::Healthy),
            None => None,
        };
        if next != self.known {
            (self.known, self.known_since) = (next, now);
        }
        self.blind = match next {
            Some(_) => None,
            None => Some("bad since its first reading, not long enough to be believed".into()),
        };
        self.show(next.unwrap_or(Verdict::Unknown), now)
    }

    /// There is nothing to judge: no reading, a late or an incomplete one.
    pub fn lose_sight(&mut self, why: &str, now: Mono) -> Option<Change> {
        self.glance = Glance::Blind;
        for streak in [&mut self.failed, &mut self.bad, &mut self.good, &mut self.unfailed] {
            *streak = Streak::default();
        }
        if self.blind.as_deref() != Some(why) {
            self.blind = Some(why.into());
        }
        self.show(Verdict::Unknown, now)
    }

    /// Lets old changes leave the window; true when the check has become calm.
    pub fn calm_down(&mut self, now: Mono) -> bool {
        while self.changes.front().is_some_and(|at| now.since(*at) >= FLAP_WINDOW) {
            self.changes.pop_front();
        }
        let calm = self.flapping && self.changes.len() <= FLAP_CALM;
        if calm {
            self.flapping = false;
        }
        calm
    }

    fn show(&mut self, next: Verdict, now: Mono) -> Option<Change> {
        if next == self.shown {
            return None;
        }
        let change = Change { from: self.shown, to: next, lasted: now.since(self.since) };
        self.shown = next;
        self.since = now;
        self.changes.push_back(now);
        if self.changes.len() > FLAP_CHANGES {
            self.changes.pop_front();
        }
        if self.changes.len() == FLAP_CHANGES
            && self.changes.front().is_some_and(|first| now.since(*first) < FLAP_WINDOW)
        {
            self.flapping = true;
        }
        Some(change)
    }
}

#[cfg(test)]
mod tests;
