//! From one daemon to the next: what is left for it, and how it goes on.

use serde::{Deserialize, Serialize};

use super::{Group, Stage, State, Turn};
use crate::pair::arbiters::Arbiter;
use crate::pair::event::Cause;
use crate::pair::fitness::Fitness;
use crate::pair::message::{Epoch, GroupKey, Owner};
use crate::pair::spec::GroupSpec;
use crate::pair::voter::Voter;
use crate::time::Span;

/// What a restarted daemon needs to go on as the one before (DESIGN 6.7). Written before the
/// actions of the same turn are performed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeptGroup {
    /// Which group.
    pub key: GroupKey,
    state: State,
    voter: Voter,
    highest: Epoch,
    attempts: u32,
    fitness: Fitness,
    peer_stops_within: Option<Span>,
    stops_within: Option<Span>,
    /// How long it would have petted after its lease; none in what older daemons left.
    #[serde(default)]
    pub(super) stop_limit: Option<Span>,
}

/// What the peer reckons with since before a restart that found a longer stop limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Former {
    /// How long the daemon before would have petted after its lease.
    pub(super) stop_limit: Span,
    /// Whether this daemon has told how long its units may outlive a lease, and not only repeated
    /// what the one before had told.
    pub(super) is_told: bool,
}

impl Group {
    /// A node that goes on with the memory of the daemon before it.
    pub(in crate::pair) fn resume(
        me: Owner,
        spec: GroupSpec,
        arbiter: Arbiter,
        seed: u64,
        kept: KeptGroup,
        turn: &mut Turn<'_>,
    ) -> Self {
        let mut group = Self::with(me, spec, arbiter, seed, kept.state, kept.voter, turn.at());
        group.highest = group.highest.max(kept.highest);
        group.attempts = kept.attempts;
        group.fitness = kept.fitness.resumed(turn.at());
        group.peer.learn_stop(kept.peer_stops_within);
        // The watchdog goes on counting, too.
        group.spec.stops_within = group.spec.stops_within.or(kept.stops_within);
        // Who did not say may have told nothing.
        let stop_limit = kept.stop_limit.unwrap_or_default();
        let is_longer = group.spec.is_exclusive() && stop_limit < group.spec.stop_limit;
        group.former = is_longer.then_some(Former { stop_limit, is_told: false });
        group.go_on(turn);
        group
    }

    /// How long it pets after its lease at most: a longer stop limit than before a restart counts
    /// from when the peer reckons with it, since that one would not wait for it.
    pub(super) fn pet_limit(&self) -> Span {
        self.former.map_or(self.spec.stop_limit, |former| former.stop_limit)
    }

    /// The peer has said what it reckons with. Only its word counts: a witness may forget.
    pub(super) fn outgrow_former(&mut self) {
        let told = self.spec.stops_within.filter(|_| self.former.is_some_and(|it| it.is_told));
        if told.is_some() && self.peer.knows_of_us() >= told {
            self.former = None;
        }
    }

    /// The former daemon's steps are lost with it: begin them again.
    fn go_on(&mut self, turn: &mut Turn<'_>) {
        match self.state.clone() {
            State::Idle { .. } => {}
            State::Asking(candidacy) => self.withdraw(candidacy, turn),
            State::Active { lease }
            | State::Taking { lease, .. }
            | State::Yielding { lease, .. }
                if lease.is_over(turn.at()) =>
            {
                // The memory knows since when: units have the time that they always have (I13).
                self.drop_everything(lease.epoch, Cause::LeaseLost, turn);
                self.left_since(lease.end());
            }
            State::Active { lease } => self.open_guard(&lease, turn),
            State::Taking { lease, stage: Stage::Wait(_), .. } => self.open_guard(&lease, turn),
            State::Taking { lease, cause, .. } => {
                self.open_guard(&lease, turn);
                let stage = Stage::Step(self.begin(self.spec.taking_step(None), turn));
                self.state = State::Taking { lease, stage, cause };
            }
            State::Yielding { lease, cause, .. } => self.yield_with(lease, cause, turn),
            State::Dropping { epoch, cause, left } => {
                self.drop_everything(epoch, cause, turn);
                self.left_since(left.since);
            }
        }
        self.tell_role(Cause::Resumed, turn);
    }

    /// What to leave for the daemon after this one.
    #[must_use]
    pub fn kept(&self) -> KeptGroup {
        KeptGroup {
            key: self.spec.key,
            state: self.state.clone(),
            voter: self.voter.clone(),
            highest: self.highest,
            attempts: self.attempts,
            fitness: self.fitness.clone(),
            peer_stops_within: self.peer.stops_within(),
            stops_within: self.spec.stops_within,
            stop_limit: Some(self.pet_limit()),
        }
    }
}
