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
        let is_known = kept.stop_limit.is_some_and(|before| group.spec.stop_limit <= before);
        group.go_on(is_known, turn);
        group
    }

    /// The former daemon's steps are lost with it: begin them again. `is_known`: the peer reckons
    /// with no shorter stop limit than this one.
    fn go_on(&mut self, is_known: bool, turn: &mut Turn<'_>) {
        match self.state.clone() {
            State::Idle { .. } => {}
            State::Asking(candidacy) => self.withdraw(candidacy, turn),
            State::Active { lease }
            | State::Taking { lease, .. }
            | State::Yielding { lease, .. }
                if lease.is_over(turn.at()) =>
            {
                // The memory knows since when: units have the time that they always have (I13).
                let cause = if is_known { Cause::LeaseLost } else { Cause::Start };
                self.drop_everything(lease.epoch, cause, turn);
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
                let cause = if is_known { cause } else { Cause::Start };
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
            stop_limit: Some(self.spec.stop_limit),
        }
    }
}
