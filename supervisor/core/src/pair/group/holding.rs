//! From candidate to owner: asking, winning, taking, staying.

use super::{Group, Stage, State, Turn};
use crate::pair::arbiters::fence;
use crate::pair::clock::Clocks;
use crate::pair::event::{Cause, PairAction, PairReport, Step, StepId};
use crate::pair::fitness::{HARDWARE_SETTLES, HEALTH_SETTLES, LINK_SETTLES};
use crate::pair::lease::{Lease, Seat};
use crate::pair::message::Health;
use crate::pair::spec::{Failback, Safety};
use crate::pair::takeover::{Candidacy, Won};
use crate::time::Span;

impl Group {
    pub(super) fn tick_asking(&mut self, candidacy: Candidacy, turn: &mut Turn<'_>) {
        let now = turn.at();
        let unfit = self.not_ready(now).is_some();
        let promised = self.voter.promised(now).is_some();
        // A vote kept from the others that does not help: somebody else may need just that one.
        let blocks = candidacy.blocks_others(self.spec.timing.promise, now);
        if unfit || promised || blocks {
            self.withdraw(candidacy, turn);
            return;
        }
        let fresh = self.next_epoch(turn);
        if let State::Asking(candidacy) = &mut self.state {
            candidacy.renumber(fresh, now);
        }
        self.vouch_for_candidate(turn);
        for seat in [Seat::Peer, Seat::Third] {
            let State::Asking(mut candidacy) = self.state else { return };
            let is_due = candidacy.is_due(seat, now)
                || (seat == Seat::Third && now.boot >= self.arbiter.next_deadline());
            if !is_due || !self.is_worth_asking(seat, &candidacy, now) {
                continue;
            }
            candidacy.asked(seat, now, self.spec.timing.heartbeat);
            self.state = State::Asking(candidacy);
            self.ask(seat, candidacy.epoch, turn);
        }
        if let State::Asking(candidacy) = self.state {
            self.take_if_won(candidacy, turn);
        }
    }

    /// A node that may not use its own vote needs both others. It asks the peer first: the
    /// arbiter's vote alone would only be kept from the peer.
    pub(super) fn is_worth_asking(&self, seat: Seat, candidacy: &Candidacy, now: Clocks) -> bool {
        seat == Seat::Peer
            || self.voter.is_free_for(self.me.member, now)
            || candidacy.has_grant(Seat::Peer)
    }

    /// The operator's word that the peer is off counts as the peer's vote, once no voter has said
    /// otherwise for as long as a lease.
    fn vouch_for_candidate(&mut self, turn: &Turn<'_>) {
        let now = turn.at();
        let lease = self.spec.timing.lease;
        let end = now.after(crate::pair::lease::shortened(lease));
        if self.vouched
            && let State::Asking(candidacy) = &mut self.state
            && candidacy.is_unrefused_for(lease, now)
        {
            candidacy.granted(Seat::Peer, end, true, now);
        }
    }

    /// Ends a candidacy. What it was granted is released with the next beat, which is now.
    pub(super) fn withdraw(&mut self, candidacy: Candidacy, turn: &mut Turn<'_>) {
        self.arbiter.withdraw();
        self.highest = self.highest.max(candidacy.epoch);
        let wait = self.jitter.below(self.spec.timing.promise);
        let quiet_until = Some(turn.at().boot.after(wait));
        self.state = State::Idle { fit_since: None, yielded_until: None, quiet_until };
        self.say(turn);
    }

    /// Two votes of three: the lease is there.
    pub(super) fn take_if_won(&mut self, candidacy: Candidacy, turn: &mut Turn<'_>) {
        let now = turn.at();
        let peer = self.me.member.other();
        let own_vote = self.voter.is_free_for(self.me.member, now);
        let own_knows = self.voter.has_stopped(peer);
        let Some(Won { lease, peer_stopped }) = candidacy.won(own_vote, own_knows, now) else {
            return;
        };
        // I8: whoever granted it may have forgotten a higher one; the next tick asks for that.
        if now.ends_lease(self.last_moment(&lease)) || lease.epoch < self.highest {
            return;
        }
        self.voter.raise(lease.epoch);
        if own_vote {
            self.voter.vote_for_self(lease.epoch);
        }
        self.highest = self.highest.max(lease.epoch);
        self.open_guard(&lease, turn);
        let cause = candidacy.cause;
        let off = self.vouched || self.arbiter.peer_is_off();
        let stage = if self.spec.is_exclusive() && !peer_stopped && !off {
            // I12: nobody knows that its units stopped. Without a stop time only its own word
            // helps.
            let until = self.peer.stops_within().map_or(Clocks::FAR, |stop| now.after(stop));
            Stage::Wait(until)
        } else {
            Stage::Step(self.begin(self.spec.taking_step(None), turn))
        };
        self.state = State::Taking { lease, stage, cause };
        let is_left = cause == Cause::OwnerReleased;
        self.fitness.taken(is_left, now);
        if is_left && self.peer.left_in_trouble() {
            // The other half of a group's way to and fro: each node sees only its own moves.
            self.fitness.moved(now);
        }
        self.tell_role(cause, turn);
    }

    /// Lets traffic pass until the lease ends (I3). The shell renews a relative guard by itself
    /// only up to that moment.
    pub(super) fn open_guard(&self, lease: &Lease, turn: &mut Turn<'_>) {
        let (group, until) = (self.spec.key, lease.end());
        turn.out.push(PairAction::OpenGuard { group, until });
    }

    pub(super) fn tick_holding(&mut self, turn: &mut Turn<'_>) {
        let now = turn.at();
        self.use_own_vote(now);
        match self.state {
            State::Taking { lease, stage: Stage::Wait(until), cause }
                if now.ends_promise(until) =>
            {
                let stage = Stage::Step(self.begin(self.spec.taking_step(None), turn));
                self.state = State::Taking { lease, stage, cause };
            }
            State::Taking { stage: Stage::Wait(_), .. } => self.fence_owner_before(turn),
            State::Taking { lease, stage: Stage::Step(step), .. } if now.boot >= step.until => {
                self.fail_step(lease, turn);
            }
            State::Active { lease } => self.consider_moving(lease, turn),
            _ => {}
        }
    }

    /// Where a fence agent is there beside another arbiter, it ends the wait for units that may
    /// still run. As everywhere: only a silent peer is shot, or one that cannot stop what it must,
    /// and not by a node that has never heard it.
    fn fence_owner_before(&mut self, turn: &mut Turn<'_>) {
        let now = turn.at();
        let has_agent = self.spec.safety == Safety::Data { fenced: true };
        let silent = !self.peer.heard_within(self.spec.timing.promise, now);
        let lost = silent || self.peer_is_stuck(now);
        let idle = self.fencing.is_none() && now.boot >= self.fence_again;
        if has_agent && lost && idle && self.peer.is_known() {
            self.fencing = Some(self.begin(Step::Fence, turn).id);
        }
    }

    /// Whether the peer cannot stop what must not run twice.
    pub(super) fn peer_is_stuck(&self, now: Clocks) -> bool {
        self.spec.is_exclusive() && self.peer.is_stuck(self.fresh(), now)
    }

    /// The agent is done: confirmed off, or to be asked again.
    pub(super) fn owner_before_fenced(&mut self, step: StepId, ok: bool, turn: &Turn<'_>) {
        if self.fencing != Some(step) {
            return;
        }
        self.fencing = None;
        self.fence_again = turn.at().boot.after(fence::RETRY);
        if ok && let State::Taking { stage: Stage::Wait(until), .. } = &mut self.state {
            *until = turn.at();
        }
    }

    /// A node that was silent, or had promised its vote, when it won uses it as soon as it is free.
    fn use_own_vote(&mut self, now: Clocks) {
        let free = self.voter.is_free_for(self.me.member, now);
        if let Some(lease) = self.lease_mut()
            && !lease.own_vote
            && free
        {
            lease.own_vote = true;
            let epoch = lease.epoch;
            self.voter.vote_for_self(epoch);
        }
    }

    /// A step ended.
    pub(in crate::pair) fn done(&mut self, id: StepId, ok: bool, turn: &mut Turn<'_>) {
        self.expire(turn);
        match self.state {
            State::Taking { lease, stage: Stage::Step(step), cause } if step.id == id => {
                if !ok {
                    self.fail_step(lease, turn);
                    return;
                }
                match self.spec.taking_step_after(Some(id.step)) {
                    Some(next) => {
                        let stage = Stage::Step(self.begin(next, turn));
                        self.state = State::Taking { lease, stage, cause };
                    }
                    None => self.state = State::Active { lease },
                }
                self.tell_role(Cause::Taken, turn);
            }
            State::Yielding { .. } | State::Dropping { .. } => self.left_step_done(id, ok, turn),
            // The outcome of an attempt that was given up.
            _ => {}
        }
    }

    /// A promotion that fails is undone, released, and not tried again for a while.
    fn fail_step(&mut self, lease: Lease, turn: &mut Turn<'_>) {
        let until = turn.at().boot.after(self.spec.recover_after);
        self.fitness.recover_until(until);
        self.yield_with(lease, Cause::StepFailed, turn);
    }

    /// Whether the group is better off on the other node, or belongs there.
    fn consider_moving(&mut self, lease: Lease, turn: &mut Turn<'_>) {
        let now = turn.at();
        if self.spec.cannot_guard_units(Some(Span::ZERO)).is_some() {
            // Its watchdog is gone, and with it what the peer counts on should this node hang.
            self.yield_with(lease, Cause::BadHealth, turn);
            return;
        }
        if !self.peer.is_ready(self.spec.definition, self.fresh(), now)
            || self.fitness.moves_too_often(now)
            // Who paused it works on it: it stays where it is.
            || self.fitness.paused
        {
            return;
        }
        let health = self.fitness.health(now);
        let ready_for = self.peer.ready_for(now);
        let was_left = self.fitness.was_left_failing(now);
        let is_ill = self.fitness.bad_health(now).is_some_and(|bad| match bad {
            Health::Failing => !was_left && self.peer.better_for(bad, now) >= HARDWARE_SETTLES,
            _ => self.peer.better_for(bad, now) >= HEALTH_SETTLES,
        });
        let is_cut = self.fitness.has_lost_link(now) && ready_for >= LINK_SETTLES;
        if is_ill || is_cut {
            self.move_by_itself(lease, Cause::BadHealth, turn);
        } else if let Failback::After(long_enough) = self.spec.failback
            && !self.spec.preferred
            && self.peer.standing().is_some_and(|peer| peer.preferred && peer.health >= health)
            && self.peer.better_for(Health::Failing, now) >= long_enough
        {
            self.move_by_itself(lease, Cause::Failback, turn);
        }
    }

    pub(super) fn move_by_itself(&mut self, lease: Lease, cause: Cause, turn: &mut Turn<'_>) {
        self.fitness.moved(turn.at());
        // What fails for good does not get better by waiting, and the other node may need this one.
        let lasts = self.fitness.health(turn.at()) == Health::Failing;
        if cause == Cause::BadHealth && !lasts {
            let until = turn.at().boot.after(self.spec.recover_after);
            self.fitness.recover_until(until);
        }
        self.yield_with(lease, cause, turn);
    }

    /// Something must go and does not.
    pub(super) fn tell_stuck(&self, id: StepId, turn: &mut Turn<'_>) {
        let report = PairReport::CannotRemove { group: self.spec.key, step: id.step };
        turn.out.push(PairAction::Report(report));
    }
}
