//! From owner to nothing: planned, with the lease until the end; or at once, when the lease is
//! over.
//!
//! Both end the same way. Only when the guard is closed, the addresses are gone and the units are
//! confirmed stopped does the node say so (I9), vote for others again (I7), and become idle.

use super::{Group, Left, Leftovers, Stage, State, Turn, Underway};
use crate::pair::clock::Clocks;
use crate::pair::event::{Cause, PairAction, Step, StepId};
use crate::pair::lease::Lease;
use crate::pair::message::Epoch;
use crate::timing::PROMISE_MAX;

impl Group {
    /// Begins to let go of everything, while the lease is renewed.
    pub(super) fn yield_with(&mut self, lease: Lease, cause: Cause, turn: &mut Turn<'_>) {
        self.restarting = false;
        let nothing_yet = matches!(self.state, State::Taking { stage: Stage::Wait(_), .. });
        if nothing_yet {
            self.close_guard(turn);
            self.gone(lease.epoch, cause, turn);
            return;
        }
        let step = self.begin_leaving(self.spec.yielding_step(), turn);
        self.state = State::Yielding { lease, cause, step };
        self.tell_role(cause, turn);
    }

    /// Begins a step of letting go; the guard closes before the addresses go, and stays closed.
    fn begin_leaving(&mut self, step: Step, turn: &mut Turn<'_>) -> Underway {
        if step == Step::RemoveAddresses {
            self.close_guard(turn);
        }
        self.begin(step, turn)
    }

    /// Whether the guard was closed although a lease is there: it stays so, or something would be
    /// released with an open one (I9).
    pub(super) const fn has_closed_guard(&self) -> bool {
        match &self.state {
            State::Yielding { step, .. } => match step.id.step {
                Step::RemoveAddresses => true,
                Step::StopUnits => self.spec.address_after_units,
                _ => false,
            },
            _ => false,
        }
    }

    fn close_guard(&self, turn: &mut Turn<'_>) {
        turn.out.push(PairAction::CloseGuard { group: self.spec.key });
    }

    /// The lease is over, or was never there: everything goes at once, the guard first.
    pub(super) fn drop_everything(&mut self, epoch: Epoch, cause: Cause, turn: &mut Turn<'_>) {
        self.restarting = false;
        self.vouched = false;
        self.close_guard(turn);
        let addresses = Left::Going(self.begin(Step::RemoveAddresses, turn));
        let units = if self.spec.has_units {
            Left::Going(self.begin(Step::StopUnits, turn))
        } else {
            Left::Gone
        };
        let left = Leftovers { addresses, units, since: turn.at(), told: false };
        self.state = State::Dropping { epoch, cause, left };
        self.tell_role(cause, turn);
    }

    /// What is left is held without a lease since then, however late that was noticed: the other
    /// node counts its stop time from there (I13).
    pub(super) const fn left_since(&mut self, since: Clocks) {
        if let State::Dropping { left, .. } = &mut self.state {
            left.since = since;
        }
    }

    pub(super) fn tick_leaving(&mut self, turn: &mut Turn<'_>) {
        let now = turn.at();
        match self.state.clone() {
            State::Yielding { step, .. } if now.boot >= step.until => {
                self.left_step_done(step.id, false, turn);
            }
            State::Dropping { left, .. } => {
                self.remove_again(left, turn);
                for place in [left.addresses, left.units] {
                    if let Left::Going(step) = place
                        && now.boot >= step.until
                    {
                        self.left_step_done(step.id, false, turn);
                    }
                }
            }
            _ => {}
        }
    }

    fn remove_again(&mut self, before: Leftovers, turn: &mut Turn<'_>) {
        let again = |place: Left, group: &mut Self, turn: &mut Turn<'_>| match place {
            Left::Again(step, at) if turn.at().boot >= at => Left::Going(group.begin(step, turn)),
            _ => place,
        };
        let addresses = again(before.addresses, self, turn);
        let units = again(before.units, self, turn);
        if let State::Dropping { left, .. } = &mut self.state {
            *left = Leftovers { addresses, units, ..before };
        }
    }

    /// A step of letting go ended.
    pub(super) fn left_step_done(&mut self, id: StepId, ok: bool, turn: &mut Turn<'_>) {
        match self.state.clone() {
            State::Yielding { lease, cause, step } if step.id == id => {
                if !ok && id.step != Step::EndConnections {
                    // What does not stop in time is not waited for: no renewal, and the watchdog
                    // decides (I13).
                    self.tell_stuck(id, turn);
                    self.drop_everything(lease.epoch, cause, turn);
                    return;
                }
                match self.spec.yielding_step_after(Some(id.step)) {
                    Some(next) => {
                        let step = self.begin_leaving(next, turn);
                        self.state = State::Yielding { lease, cause, step };
                    }
                    None => self.gone(lease.epoch, cause, turn),
                }
            }
            State::Dropping { epoch, cause, mut left } => {
                let retry = turn.at().boot.after(self.spec.timing.heartbeat);
                for place in [&mut left.addresses, &mut left.units] {
                    if matches!(place, Left::Going(step) if step.id == id) {
                        *place = if ok { Left::Gone } else { Left::Again(id.step, retry) };
                    }
                }
                if !ok && !core::mem::replace(&mut left.told, true) {
                    self.tell_stuck(id, turn);
                }
                if left.addresses == Left::Gone && left.units == Left::Gone {
                    self.gone(epoch, cause, turn);
                } else {
                    self.state = State::Dropping { epoch, cause, left };
                }
            }
            _ => {}
        }
    }

    /// Everything is gone: say so, and be idle.
    fn gone(&mut self, epoch: Epoch, cause: Cause, turn: &mut Turn<'_>) {
        self.highest = self.highest.max(epoch);
        let planned = !matches!(cause, Cause::Start | Cause::LeaseLost | Cause::NewerOwner);
        let yielded_until = planned.then(|| turn.at().boot.after(PROMISE_MAX));
        self.state = State::Idle { fit_since: None, yielded_until, quiet_until: None };
        self.tell_role(Cause::Gone, turn);
        self.say(turn);
    }
}
