//! What people, the ladder and the daemon itself may want of a group.

use super::{Group, Stage, State, Turn};
use crate::pair::event::{Cause, Order, OrderRefused, PairAction, PairReport};

impl Group {
    /// Somebody wants something.
    pub(in crate::pair) fn order(&mut self, order: Order, turn: &mut Turn<'_>) {
        let done = match order {
            Order::Pause => {
                self.fitness.paused = true;
                Ok(())
            }
            Order::Resume => {
                (self.fitness.paused, self.fitness.let_go) = (false, false);
                Ok(())
            }
            Order::LetGo => self.let_go(turn),
            Order::Switchover => self.hand_over(Cause::Switchover, turn),
            Order::MoveAway => self.hand_over(Cause::BadHealth, turn),
            Order::Failover { peer_is_off } => self.fail_over(peer_is_off, turn),
            Order::PrepareRestart => self.prepare_restart(),
        };
        if let Err(why) = done {
            let group = self.spec.key;
            turn.out.push(PairAction::Report(PairReport::Refused { group, order, why }));
        }
    }

    fn prepare_restart(&mut self) -> Result<(), OrderRefused> {
        match self.state {
            State::Active { .. } => {
                self.restarting = true;
                Ok(())
            }
            State::Taking { .. } | State::Yielding { .. } | State::Dropping { .. } => {
                Err(OrderRefused::Changing)
            }
            State::Idle { .. } | State::Asking(_) => Err(OrderRefused::NotActive),
        }
    }

    fn fail_over(&mut self, peer_is_off: bool, turn: &mut Turn<'_>) -> Result<(), OrderRefused> {
        let now = turn.at();
        match &mut self.state {
            State::Idle { yielded_until, quiet_until, .. } => {
                (*yielded_until, *quiet_until) = (None, None);
            }
            State::Asking(candidacy) => candidacy.ask_now(now),
            // Just when the operator's word is wanted: it ends the wait for units of a dead node.
            State::Taking { stage: Stage::Wait(until), .. } if peer_is_off => {
                if self.peer.heard_within(self.spec.timing.promise, now) {
                    return Err(OrderRefused::PeerAlive);
                }
                *until = now;
                return Ok(());
            }
            State::Taking { .. } | State::Active { .. } => return Err(OrderRefused::AlreadyActive),
            State::Yielding { .. } | State::Dropping { .. } => return Err(OrderRefused::Changing),
        }
        if let Some(why) = self.not_ready(now) {
            return Err(OrderRefused::NotReady(why));
        }
        if peer_is_off {
            if self.peer.heard_within(self.spec.timing.promise, now) {
                return Err(OrderRefused::PeerAlive);
            }
            self.vouched = true;
        }
        Ok(())
    }

    /// The orders `switchover` and `move away`: only to a peer that is ready.
    fn hand_over(&mut self, cause: Cause, turn: &mut Turn<'_>) -> Result<(), OrderRefused> {
        let lease = match self.state {
            State::Active { lease } => lease,
            State::Idle { .. } | State::Asking(_) => return Err(OrderRefused::NotActive),
            _ => return Err(OrderRefused::Changing),
        };
        if !self.peer.is_ready(self.spec.definition, self.fresh(), turn.at()) {
            return Err(OrderRefused::PeerNotReady(self.peer.not_ready()));
        }
        if cause == Cause::BadHealth {
            if self.fitness.moves_too_often(turn.at()) {
                return Err(OrderRefused::MovesTooOften);
            }
            self.move_by_itself(lease, cause, turn);
        } else {
            self.yield_with(lease, cause, turn);
        }
        Ok(())
    }

    /// Lets go whether or not anybody can take it; no candidacy until resumed.
    fn let_go(&mut self, turn: &mut Turn<'_>) -> Result<(), OrderRefused> {
        self.fitness.let_go = true;
        match self.state.clone() {
            State::Active { lease } | State::Taking { lease, .. } => {
                self.yield_with(lease, Cause::LetGo, turn);
            }
            State::Asking(candidacy) => self.withdraw(candidacy, turn),
            State::Idle { .. } | State::Yielding { .. } | State::Dropping { .. } => {}
        }
        Ok(())
    }
}
