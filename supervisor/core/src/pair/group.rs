//! One group on one node: the machine that joins voter, candidate and holder.
//!
//! ```text
//!                 fit, and the promise to the owner is over
//!      ┌────── Idle ───────────────────────────────► Asking
//!      │        ▲  ▲                 withdrew          │ two votes of three
//!      │        │  └───────────────────────────────────┤
//!      │        │ everything gone: released            ▼
//!      │        ├──────────── Yielding ◄──────────── Taking ──► Active
//!      │        │                │  ▲  planned, renewing   │       │
//!      │        │                │  └──────────────────────┼───────┤
//!      │        │                ▼ the lease is over       ▼       ▼
//!      └─start──┴──────────── Dropping ◄────────────────────────────
//! ```
//!
//! `Taking`, `Active` and `Yielding` hold a lease, so it cannot be asked for where there is none.
//! From `Taking` to the end of `Dropping` the node votes for nobody (I7). Every call first looks
//! whether the lease is over (I4): whatever else arrived with a late wake-up is answered after
//! that.

mod holding;
mod orders;
mod resuming;
mod showing;
mod talking;
mod yielding;

use resuming::Former;
pub use resuming::KeptGroup;
pub use showing::Waits;

use serde::{Deserialize, Serialize};

use super::arbiters::Arbiter;
use super::clock::{Clocks, Now};
use super::event::{Cause, PairAction, PairActions, PairReport, Step, StepId};
use super::fitness::Fitness;
use super::jitter::Jitter;
use super::lease::{Lease, Seat};
use super::message::{Epoch, GroupKey, Health, NotReady, Owner, Role};
use super::peer::Peer;
use super::spec::{GroupSpec, Terms};
use super::takeover::Candidacy;
use super::voter::Voter;
use crate::time::{Mono, Span};
use crate::watchdog::Refusal;

/// A candidate leaves a fitter peer this many heartbeats to ask first.
const POLITE_BEATS: u64 = 3;

/// A turn: what time it is, and what is asked for.
pub(super) struct Turn<'a> {
    pub(super) now: Now,
    pub(super) out: &'a mut PairActions,
}

impl Turn<'_> {
    pub(super) const fn at(&self) -> Clocks {
        self.now.at
    }
}

/// A step under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Underway {
    id: StepId,
    /// When it counts as failed.
    until: Mono,
}

/// How far the taking of a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Stage {
    /// The units of the owner before may still run until then (I12).
    Wait(Clocks),
    /// A step is under way.
    Step(Underway),
}

/// One thing that must go without a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Left {
    /// It is gone.
    Gone,
    /// Being removed.
    Going(Underway),
    /// It could not be removed: again then.
    Again(Step, Mono),
}

/// What is still to go, and cannot be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Leftovers {
    addresses: Left,
    units: Left,
    since: Clocks,
    /// Whether an operator was told that something does not go.
    told: bool,
}

/// What the node has of the group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum State {
    /// Nothing, and it asks for nothing.
    Idle {
        /// Since when nothing but politeness keeps it from asking.
        fit_since: Option<Mono>,
        /// It has just handed the group over, and leaves it to the peer until then.
        yielded_until: Option<Mono>,
        /// It gave up a candidacy, and lets others ask first.
        quiet_until: Option<Mono>,
    },
    /// Nothing, and it asks.
    Asking(Candidacy),
    /// The lease; addresses and units are on their way.
    Taking { lease: Lease, stage: Stage, cause: Cause },
    /// Everything.
    Active { lease: Lease },
    /// The lease, until everything is gone.
    Yielding { lease: Lease, cause: Cause, step: Underway },
    /// No lease: everything must go now.
    Dropping { epoch: Epoch, cause: Cause, left: Leftovers },
}

impl State {
    /// Nothing, and no reason to wait.
    pub(super) const IDLE: Self =
        Self::Idle { fit_since: None, yielded_until: None, quiet_until: None };
}

/// One group on one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    me: Owner,
    spec: GroupSpec,
    state: State,
    /// The role last reported.
    role: Role,
    role_since: Mono,
    voter: Voter,
    arbiter: Arbiter,
    fitness: Fitness,
    peer: Peer,
    /// The highest epoch known, own ones included once they are over.
    highest: Epoch,
    next_beat: Mono,
    attempts: u32,
    jitter: Jitter,
    /// An operator vouches that the peer is off.
    vouched: bool,
    /// The power of the owner before is being cut, so that its units are surely gone.
    fencing: Option<StepId>,
    /// After an attempt that failed, not before then.
    fence_again: Mono,
    /// The long lease for a restart is asked for.
    restarting: bool,
    /// The peer may still reckon with what a daemon before has told.
    former: Option<Former>,
    /// The machine goes down, or asks whether it may (I14).
    announced: bool,
}

impl Group {
    /// A node that starts without memory: its vote is silent, and leftovers are swept before
    /// anything else (I6, I13).
    pub(super) fn start(
        me: Owner,
        spec: GroupSpec,
        arbiter: Arbiter,
        seed: u64,
        turn: &mut Turn<'_>,
    ) -> Self {
        let voter = Voter::forgetful(turn.at());
        let state = State::IDLE;
        let mut group = Self::with(me, spec, arbiter, seed, state, voter, turn.at());
        group.drop_everything(Epoch::NONE, Cause::Start, turn);
        group
    }

    fn with(
        me: Owner,
        spec: GroupSpec,
        arbiter: Arbiter,
        seed: u64,
        state: State,
        voter: Voter,
        now: Clocks,
    ) -> Self {
        let peer = Peer::new(spec.peer_stops_within);
        Self {
            me,
            state,
            role: Role::Waiting,
            role_since: now.boot,
            voter,
            arbiter,
            fitness: Fitness::new(now),
            peer,
            highest: spec.highest,
            next_beat: now.boot,
            attempts: 0,
            jitter: Jitter::new(seed ^ spec.key.0),
            vouched: false,
            fencing: None,
            fence_again: now.boot,
            restarting: false,
            former: None,
            announced: false,
            spec,
        }
    }

    /// Its name between machines.
    #[must_use]
    pub const fn key(&self) -> GroupKey {
        self.spec.key
    }

    /// The highest epoch known, for the state file.
    #[must_use]
    pub const fn highest(&self) -> Epoch {
        self.highest
    }

    /// What the node is for the group.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Since when.
    #[must_use]
    pub const fn role_since(&self) -> Mono {
        self.role_since
    }

    /// The peer's role, health and reason not to be ready, unless older than a lease.
    #[must_use]
    pub fn peer(&self, now: Clocks) -> Option<(Role, Health, Option<NotReady>)> {
        self.peer.said(self.fresh(), now)
    }

    /// Whether it is a candidate.
    #[must_use]
    pub const fn is_asking(&self) -> bool {
        matches!(self.state, State::Asking(_))
    }

    /// Whether nothing of it is here, for certain.
    #[must_use]
    pub const fn is_clear(&self) -> bool {
        matches!(self.state, State::Idle { .. } | State::Asking(_))
    }

    /// The lease, if it is held.
    #[must_use]
    pub const fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Taking { lease, .. }
            | State::Active { lease }
            | State::Yielding { lease, .. } => Some(lease),
            State::Idle { .. } | State::Asking(_) | State::Dropping { .. } => None,
        }
    }

    /// What speaks against taking the group, this node's own faults first.
    #[must_use]
    pub fn not_ready(&self, now: Clocks) -> Option<NotReady> {
        // Before all else: the peer goes by it (I14).
        if self.announced {
            return Some(NotReady::Rebooting);
        }
        let yielded = match &self.state {
            State::Dropping { .. } => return Some(NotReady::Starting),
            State::Idle { yielded_until: Some(until), .. } => now.boot < *until,
            _ => false,
        };
        let differs = self.peer.defines_otherwise(self.spec.definition, now);
        self.fitness
            .not_ready(now)
            .or_else(|| differs.then_some(NotReady::DefinitionDiffers))
            .or_else(|| self.spec.cannot_guard_units(self.peer.stops_within()))
            // Last: a peer that hears only this waits for us to take the group.
            .or_else(|| yielded.then_some(NotReady::Yielded))
    }

    /// Why the watchdog must not be petted (I13): exclusive things have been held without a lease
    /// for longer than their stop time, and no longer than the peer waits for, or, after a start
    /// that does not know since when, may be held at all.
    #[must_use]
    pub fn pet_refusal(&self, now: Clocks) -> Option<Refusal> {
        let State::Dropping { cause, left, .. } = &self.state else { return None };
        let units = self.spec.is_exclusive() && left.units != Left::Gone;
        if !units && left.addresses == Left::Gone {
            return None;
        }
        let overdue = now.longest_since(left.since) >= self.pet_limit();
        let sweeps = *cause == Cause::Start;
        overdue.then_some(Refusal::Lease).or(sweeps.then_some(Refusal::Sweep))
    }

    /// Whether it must not.
    #[must_use]
    pub fn forbids_pet(&self, now: Clocks) -> bool {
        self.pet_refusal(now).is_some()
    }

    /// The stop time of this node that the peer is known to reckon with: a longer one is valid only
    /// when it does.
    #[must_use]
    pub fn stop_acknowledged(&self) -> Option<Span> {
        self.peer.knows_of_us()
    }

    /// How long exclusive units may outlive a lease of the peer's, as far as was ever heard: for
    /// the state file.
    #[must_use]
    pub const fn peer_stops_within(&self) -> Option<Span> {
        self.peer.stops_within()
    }

    /// When it must be called again at the latest.
    #[must_use]
    pub fn next_deadline(&self, now: Clocks) -> Mono {
        let special = match &self.state {
            State::Taking { lease, .. }
            | State::Active { lease }
            | State::Yielding { lease, .. } => {
                now.boot.after(now.lease_left(self.last_moment(lease)))
            }
            // Nobody is woken for a seat that is not worth asking.
            State::Asking(candidacy) if self.is_worth_asking(Seat::Third, candidacy, now) => {
                let third = candidacy.next_ask(Seat::Third).min(self.arbiter.next_deadline());
                candidacy.next_ask(Seat::Peer).min(third)
            }
            State::Asking(candidacy) => candidacy.next_ask(Seat::Peer),
            State::Idle { .. } => {
                let promised = self.voter.promised(now);
                promised.map_or(Mono::FAR, |p| now.boot.after(now.promise_left(p.until)))
            }
            State::Dropping { .. } => Mono::FAR,
        };
        self.next_beat.min(special)
    }

    /// The owner closes the guard then: a little before the lease ends.
    fn last_moment(&self, lease: &Lease) -> Clocks {
        lease.end().before(self.spec.timing.margin)
    }

    /// The first thing in every call: what is over, is over.
    pub(super) fn expire(&mut self, turn: &mut Turn<'_>) {
        if let Some(lease) = self.lease().copied()
            && turn.at().ends_lease(self.last_moment(&lease))
        {
            self.drop_everything(lease.epoch, Cause::LeaseLost, turn);
            self.left_since(lease.end());
        }
    }

    /// The brain's word.
    pub(super) fn health(&mut self, health: Health, not_ready: Option<NotReady>, now: Clocks) {
        self.fitness.report(health, not_ready, now);
    }

    /// How long exclusive units may outlive a lease here.
    pub(super) const fn stops_within(&mut self, span: Option<Span>) {
        self.spec.stops_within = span;
        if let Some(former) = &mut self.former {
            former.is_told = true;
        }
    }

    /// Other terms.
    pub(super) const fn agree(&mut self, terms: Terms) {
        self.spec.agree(terms);
    }

    /// Once a turn, after its events.
    pub(super) fn tick(&mut self, turn: &mut Turn<'_>) {
        self.expire(turn);
        match self.state.clone() {
            State::Idle { .. } => self.tick_idle(turn),
            State::Asking(candidacy) => self.tick_asking(candidacy, turn),
            State::Taking { .. } | State::Active { .. } => self.tick_holding(turn),
            State::Yielding { .. } | State::Dropping { .. } => self.tick_leaving(turn),
        }
        self.tell_role(Cause::Readiness, turn);
        self.beat_if_due(turn);
    }

    fn tick_idle(&mut self, turn: &mut Turn<'_>) {
        let now = turn.at();
        let State::Idle { fit_since, yielded_until, quiet_until } = &mut self.state else {
            return;
        };
        // Handed over: the peer has asked for it, or it cannot after all. In both cases nobody
        // should wait for nothing, least of all should the peer die right after it took it.
        let promised = self.voter.promised(now).is_some();
        let is_over = |until| promised || now.boot >= until || self.peer.cannot_take(now);
        if yielded_until.is_some_and(is_over) {
            *yielded_until = None;
            // Said at once: the peer may be asked to hand it back.
            self.next_beat = now.boot;
        }
        if yielded_until.is_some() || quiet_until.is_some_and(|until| now.boot < until) {
            return;
        }
        let fit_before = *fit_since;
        if promised || self.not_ready(now).is_some() {
            self.set_fit_since(None);
            return;
        }
        let since = fit_before.unwrap_or(now.boot);
        self.set_fit_since(Some(since));
        let polite = self.spec.timing.heartbeat.times(POLITE_BEATS);
        let fitter =
            self.peer.is_fitter_than(self.standing(now), self.me.member, self.fresh(), now);
        if fitter && now.boot < since.after(polite) {
            return;
        }
        let cause = self.peer.why_free(now, self.highest);
        let epoch = self.next_epoch(turn);
        self.state = State::Asking(Candidacy::new(epoch, cause, now));
        if let State::Asking(candidacy) = self.state.clone() {
            self.tick_asking(candidacy, turn);
        }
    }

    const fn set_fit_since(&mut self, since: Option<Mono>) {
        if let State::Idle { fit_since, .. } = &mut self.state {
            *fit_since = since;
        }
    }

    /// The highest epoch known, from others or by the own vote.
    fn known(&self) -> Epoch {
        self.highest.max(self.voter.highest())
    }

    fn next_epoch(&self, turn: &Turn<'_>) -> Epoch {
        Epoch::next(self.known(), turn.now.unix_secs)
    }

    pub(super) const fn fresh(&self) -> Span {
        self.spec.timing.lease
    }

    fn standing(&self, now: Clocks) -> super::message::Standing {
        super::message::Standing {
            health: self.fitness.health(now),
            preferred: self.spec.preferred,
        }
    }

    /// Begins a step.
    fn begin(&mut self, step: Step, turn: &mut Turn<'_>) -> Underway {
        self.attempts = self.attempts.wrapping_add(1);
        let id = StepId { group: self.spec.key, step, attempt: self.attempts };
        turn.out.push(PairAction::Begin(id));
        Underway { id, until: turn.at().boot.after(self.spec.step_limit(step)) }
    }

    /// The role as others see it.
    fn role_now(&self, now: Clocks) -> Role {
        match &self.state {
            State::Taking { .. } => Role::Taking,
            State::Active { .. } => Role::Active,
            State::Yielding { .. } => Role::Yielding,
            State::Dropping { cause: Cause::Start, .. } => Role::Waiting,
            State::Dropping { left, .. } => {
                let overdue = now.longest_since(left.since) >= self.spec.stop_limit;
                if overdue { Role::Fault } else { Role::Yielding }
            }
            State::Idle { .. } | State::Asking(_) => match self.not_ready(now) {
                None => Role::Standby,
                Some(NotReady::Paused) => Role::Maintenance,
                Some(NotReady::Recovering) => Role::Fault,
                Some(_) => Role::Waiting,
            },
        }
    }

    /// Tells a change of role, once.
    fn tell_role(&mut self, cause: Cause, turn: &mut Turn<'_>) {
        let to = self.role_now(turn.at());
        if to == self.role {
            return;
        }
        let from = core::mem::replace(&mut self.role, to);
        self.role_since = turn.at().boot;
        let epoch = self.lease().map_or(Epoch::NONE, |lease| lease.epoch);
        let group = self.spec.key;
        turn.out.push(PairAction::Report(PairReport::Role { group, from, to, cause, epoch }));
    }
}

#[cfg(test)]
mod tests;
