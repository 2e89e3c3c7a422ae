//! A voter: promises a group to one owner at a time. Peer and witness run this same code.
//!
//! ```text
//!            ask, nothing live           same owner asks: longer, never shorter
//!   free ─────────────────────► promised ◄─┐
//!    ▲                             │  └────┘
//!    └─── both clocks past, or ────┘
//!         the owner released it
//! ```
//!
//! A promise is what makes a lease safe: the voter says "nobody else for `P`", and the asker uses
//! it for less than `P`, counted from before the voter heard the question. So the voter never needs
//! to know whether its answer arrived.

use serde::{Deserialize, Serialize};

use super::clock::Clocks;
use super::message::{Ask, Epoch, Member, Owner, Refusal, Release, Vote};
use crate::time::Span;
use crate::timing::PROMISE_MAX;

/// "Nobody else until then."
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Promise {
    /// To whom.
    pub owner: Owner,
    /// The highest epoch that it asked for.
    pub epoch: Epoch,
    /// Until when, by both clocks.
    pub until: Clocks,
    /// Whether the owner said that it holds.
    pub held: bool,
}

/// What a voter knows of one node's units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Past {
    /// The newest promise to it that it has not released, and to which of its lives.
    open: Option<(Owner, Epoch)>,
    /// Whether it said, since this voter began to remember, that it holds nothing: then nothing
    /// that the voter forgot matters any more.
    accounted: bool,
    /// Its newest release.
    released: Option<Release>,
}

/// One vote for one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Voter {
    promise: Option<Promise>,
    /// The highest epoch it granted.
    highest: Epoch,
    /// Started without memory: no vote before both clocks are past this.
    silent_until: Option<Clocks>,
    first: Past,
    second: Past,
}

impl Voter {
    /// A voter that starts without memory: silent for as long as a forgotten promise may last (I6).
    #[must_use]
    pub fn forgetful(now: Clocks) -> Self {
        Self {
            promise: None,
            highest: Epoch::NONE,
            silent_until: Some(now.after(PROMISE_MAX)),
            first: Past::default(),
            second: Past::default(),
        }
    }

    /// The highest epoch it granted.
    #[must_use]
    pub const fn highest(&self) -> Epoch {
        self.highest
    }

    /// The promise, if it still binds.
    #[must_use]
    pub fn promised(&self, now: Clocks) -> Option<Promise> {
        self.promise.filter(|promise| !now.ends_promise(promise.until))
    }

    /// How long it keeps silent; zero if it does not.
    #[must_use]
    pub fn silence_left(&self, now: Clocks) -> Span {
        self.silent_until.map_or(Span::ZERO, |until| now.promise_left(until))
    }

    /// Whether nothing prevents a vote for `member`: no silence, and no promise to the other one.
    #[must_use]
    pub fn is_free_for(&self, member: Member, now: Clocks) -> bool {
        self.silence_left(now) == Span::ZERO
            && self.promised(now).is_none_or(|promise| promise.owner.member == member)
    }

    /// Answers a request. `hears` says that the asker proved to have heard this voter lately.
    pub fn vote(&mut self, asker: Owner, ask: &Ask, hears: bool, now: Clocks) -> Vote {
        let busy = |left, why| Vote::Busy { left, why };
        let silence = self.silence_left(now);
        if silence > Span::ZERO {
            return busy(silence, Refusal::Silent);
        }
        self.silent_until = None;
        // A deaf asker could never use the grant, and would keep the group from everybody.
        if !hears {
            return busy(Span::ZERO, Refusal::Unheard);
        }
        if self.has_released(asker, ask.epoch) {
            return busy(Span::ZERO, Refusal::Released);
        }
        if let Some(promise) = self.promised(now).filter(|promise| promise.owner != asker) {
            let why = if promise.held { Refusal::Held } else { Refusal::Promised };
            return busy(now.promise_left(promise.until), why);
        }
        let renewal = self.promise.filter(|promise| promise.owner == asker);
        // The highest number may be used on by whom it was granted to, and by nobody else (I8).
        let goes_on = renewal.is_some_and(|promise| promise.epoch == ask.epoch);
        if ask.epoch < self.highest || (ask.epoch == self.highest && !goes_on) {
            return busy(Span::ZERO, Refusal::Epoch);
        }
        self.grant(asker, ask, renewal, now);
        Vote::Granted { peer_stopped: self.has_stopped(asker.member.other()) }
    }

    fn grant(&mut self, owner: Owner, ask: &Ask, before: Option<Promise>, now: Clocks) {
        let asked = now.after(ask.promise.min(PROMISE_MAX));
        // A promise never gets shorter (I5): the longer one was relied on.
        let until = before.map_or(asked, |promise| promise.until.latest(asked));
        // A late ask of the same candidacy takes nothing back; a later candidacy holds nothing.
        let held =
            ask.held || before.is_some_and(|promise| promise.held && promise.epoch == ask.epoch);
        self.promise = Some(Promise { owner, epoch: ask.epoch, until, held });
        self.highest = ask.epoch;
        self.past_mut(owner.member).open = Some((owner, ask.epoch));
    }

    /// The node uses its own vote for itself. It answers nobody else while it holds, so there is no
    /// time in it: only the number is noted.
    pub fn vote_for_self(&mut self, epoch: Epoch) {
        self.promise = None;
        self.raise(epoch);
    }

    /// The node holds under this number: nobody else ever shall.
    pub fn raise(&mut self, epoch: Epoch) {
        self.highest = self.highest.max(epoch);
    }

    /// A node says that it holds nothing, and of no epoch up to this ever shall: its promise ends.
    /// `hears` says that it proved to have heard this voter lately, so that the word is a new one:
    /// then it also covers what was before this voter's memory.
    pub fn release(&mut self, release: Release, hears: bool) {
        let past = self.past_mut(release.owner.member);
        past.accounted |= hears;
        // Numbers only grow, so of two lives the one with the lower number is the former.
        if past.released.is_none_or(|known| known.epoch <= release.epoch) {
            past.released = Some(release);
        }
        // Another life's word covers this promise only when it is new: a former life did not know
        // of it, whatever numbers it had heard of.
        if past.open.is_some_and(|(owner, epoch)| {
            epoch <= release.epoch && (owner == release.owner || hears)
        }) {
            past.open = None;
        }
        if self
            .promise
            .is_some_and(|promise| promise.owner == release.owner && promise.epoch <= release.epoch)
        {
            self.promise = None;
        }
    }

    /// Whether this voter knows that a node runs nothing of the group: whatever it was promised is
    /// released.
    #[must_use]
    pub fn has_stopped(&self, member: Member) -> bool {
        let past = self.past(member);
        past.open.is_none() && past.accounted
    }

    fn has_released(&self, owner: Owner, epoch: Epoch) -> bool {
        self.past(owner.member)
            .released
            .is_some_and(|release| release.owner == owner && epoch <= release.epoch)
    }

    const fn past(&self, member: Member) -> &Past {
        match member {
            Member::First => &self.first,
            Member::Second => &self.second,
        }
    }

    const fn past_mut(&mut self, member: Member) -> &mut Past {
        match member {
            Member::First => &mut self.first,
            Member::Second => &mut self.second,
        }
    }
}

#[cfg(test)]
mod tests;
