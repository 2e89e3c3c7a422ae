//! Checks and groups: which checks rest, how fit this node is for each group, and the rung
//! `switchover`.
//!
//! A check of a group watches what runs only where that is active, so the other node does not judge
//! it, and nothing is waited for. A check of the whole node may have found what is wrong for both,
//! as a gateway that does not answer: the order then waits until the other node's own check must
//! have found the same, and told it, or the group would move for nothing.

use mastiff_core::event::{Action, CheckId, Event};
use mastiff_core::pair::event::{Cause, Order, OrderRefused};
use mastiff_core::pair::message::{GroupKey, Health, NotReady, Role};
use mastiff_core::recovery::ActionId;
use mastiff_core::report::Outcome;
use mastiff_core::spec::TOLD_WITHIN;
use mastiff_core::time::Mono;

use super::{Brain, TELL_KEEPER_EVERY};
use crate::config::pair::GROUPS_MAX;
use crate::effects::switchover::deadline;
use crate::keeper::Fitness;

const _: () = assert!(TOLD_WITHIN.as_nanos() >= 2 * TELL_KEEPER_EVERY.as_nanos());

/// One rung `switchover` under way.
#[derive(Debug)]
pub(super) struct Moving {
    id: ActionId,
    check: CheckId,
    /// When the keeper is to be asked; `None`: it was.
    order_at: Option<Mono>,
    /// The ladder waits no longer.
    until: Mono,
    /// What was active here, and what has come of it.
    groups: Vec<(GroupKey, Option<Result<(), OrderRefused>>)>,
}

impl Moving {
    /// When something is to be done for it.
    pub(super) fn deadline(&self) -> Mono {
        self.order_at.map_or(self.until, |at| at.min(self.until))
    }

    /// Whether all is known, or nobody waits any more.
    fn is_over(&self, now: Mono) -> bool {
        now >= self.until || self.groups.iter().all(|(_, end)| end.is_some())
    }

    /// What the keeper still answers for. What has gone may have come back: that is another order.
    fn under_way(&self) -> impl Iterator<Item = GroupKey> {
        self.groups.iter().filter(|(_, end)| end.is_none()).map(|(key, _)| *key)
    }
}

impl Brain {
    /// Lets the checks rest whose group is not active here.
    pub(super) fn settle_checks(&mut self, now: Mono) {
        if self.desk.groups().is_empty() {
            return;
        }
        let board = self.keeper.board();
        let shown = self.desk.groups().iter().zip(&board.groups);
        let active = shown.filter(|(_, shown)| shown.role == Role::Active);
        let active = active.map(|((_, name), _)| name.as_str().into()).collect();
        let mut actions = Vec::new();
        self.node.activate(active, now, &mut actions);
        self.perform(actions, now);
    }

    /// Tells the keeper how fit this node is.
    pub(super) fn tell_fitness(&mut self, now: Mono) {
        let nothing = Fitness { health: Health::Unknown, not_ready: None };
        let mut groups = [nothing; GROUPS_MAX];
        for (told, (_, name)) in groups.iter_mut().zip(self.desk.groups()) {
            told.health = self.node.fitness(name, now);
            told.not_ready = (!self.could_start(name, now)).then_some(NotReady::Units);
        }
        self.keeper.tell(groups, self.boot_loop.observes(), now);
    }

    /// Begins to hand over what a check may; the outcome, if there is one at once.
    pub(super) fn hand_over(&mut self, id: ActionId, check: CheckId, now: Mono) -> Option<Outcome> {
        let spec = self.node.spec(check)?;
        let (own, wait) = (spec.group.clone(), spec.shared_within());
        let board = self.keeper.board();
        let shown = self.desk.groups().iter().zip(&board.groups);
        let is_meant = |name: &str| own.as_ref().is_none_or(|own| **own == *name);
        let active =
            shown.filter(|((_, name), group)| group.role == Role::Active && is_meant(name));
        let groups: Vec<_> = active.map(|((key, _), _)| (*key, None)).collect();
        if groups.is_empty() {
            return Some(Outcome::Failed(
                "no group is active here that could be handed over".into(),
            ));
        }
        let pair = self.config.pair.as_ref();
        let within = pair.map(|pair| deadline(&pair.groups, own.as_deref())).unwrap_or_default();
        let (order_at, until) = (Some(now.after(wait)), now.after(within));
        self.desk.moving.push(Moving { id, check, order_at, until, groups });
        self.order_moves(now);
        None
    }

    /// Asks the keeper for what is due, and ends the rungs that are over.
    pub(super) fn keep_moving(&mut self, now: Mono) {
        self.order_moves(now);
        let is_over = |moving: &mut Moving| moving.is_over(now);
        let over: Vec<Moving> = self.desk.moving.extract_if(.., is_over).collect();
        for Moving { id, groups, .. } in over {
            let why = |(key, end): &(GroupKey, Option<Result<(), OrderRefused>>)| match end {
                Some(Err(why)) => Some(format!("\"{}\": {why}", self.desk.name(*key))),
                Some(Ok(())) => None,
                None => Some(format!("\"{}\": it has not gone in time", self.desk.name(*key))),
            };
            let refused: Vec<String> = groups.iter().filter_map(why).collect();
            let outcome = match refused.as_slice() {
                [] => Outcome::Done,
                _ => Outcome::Failed(refused.join("; ").into()),
            };
            self.end_move(id, outcome, now);
        }
    }

    fn order_moves(&mut self, now: Mono) {
        let is_due = |moving: &Moving| moving.order_at.is_some_and(|at| now >= at);
        // One order is enough for several checks of one group.
        let asked = self.desk.moving.iter().filter(|moving| moving.order_at.is_none());
        let mut asked: Vec<GroupKey> = asked.flat_map(Moving::under_way).collect();
        let mut vain = Vec::new();
        for moving in self.desk.moving.iter_mut().filter(|moving| is_due(moving)) {
            moving.order_at = None;
            if self.going.is_on() || !self.node.is_failed(moving.check, now) {
                vain.push(moving.id);
                continue;
            }
            for (key, end) in &mut moving.groups {
                if asked.contains(key) {
                    continue;
                }
                asked.push(*key);
                if !self.keeper.order(*key, Order::MoveAway) {
                    *end = Some(Err(OrderRefused::Changing));
                }
            }
        }
        for id in vain {
            self.desk.moving.retain(|moving| moving.id != id);
            let why = "the check is not failed any more, or paused: nothing is handed over";
            self.end_move(id, Outcome::Failed(why.into()), now);
        }
    }

    fn end_move(&mut self, id: ActionId, outcome: Outcome, now: Mono) {
        let mut actions: Vec<Action> = Vec::new();
        self.node.handle(Event::Outcome { id, outcome }, now, &mut actions);
        self.perform(actions, now);
    }

    /// A group's role changed: is it gone from here?
    pub(super) fn note_role(&mut self, group: GroupKey, cause: Cause) {
        if cause == Cause::Gone {
            self.end_group(group, Ok(()));
        }
    }

    /// The keeper refused to hand a group over.
    pub(super) fn note_refusal(&mut self, group: GroupKey, order: Order, why: OrderRefused) {
        match (order, why) {
            (Order::MoveAway, OrderRefused::NotActive) => self.end_group(group, Ok(())),
            // It goes for another reason; that it has gone is told, too.
            (Order::MoveAway, OrderRefused::Changing) => {}
            (Order::MoveAway, why) => self.end_group(group, Err(why)),
            _ => {}
        }
    }

    fn end_group(&mut self, group: GroupKey, end: Result<(), OrderRefused>) {
        for moving in self.desk.moving.iter_mut().filter(|moving| moving.order_at.is_none()) {
            let of_group = moving.groups.iter_mut().filter(|(key, _)| *key == group);
            of_group.for_each(|(_, known)| *known = known.or(Some(end)));
        }
    }
}

#[cfg(test)]
mod tests {
    use mastiff_core::time::Span;

    use super::*;

    #[test]
    fn a_move_ends_with_its_rung_and_asks_for_what_came_back() {
        let at = |secs| Mono::BOOT.after(Span::from_secs(secs));
        let known = |ends: [Option<Result<(), OrderRefused>>; 2]| Moving {
            id: ActionId(1),
            check: CheckId(1),
            order_at: None,
            until: at(9),
            groups: vec![(GroupKey(1), ends[0]), (GroupKey(2), ends[1])],
        };
        let half = known([Some(Ok(())), None]);
        assert_eq!(half.under_way().collect::<Vec<_>>(), [GroupKey(2)]);
        assert!(!half.is_over(at(8)) && half.is_over(at(9)));
        assert_eq!(half.deadline(), at(9));
        assert!(known([Some(Ok(())), Some(Err(OrderRefused::Changing))]).is_over(at(1)));
        assert_eq!(Moving { order_at: Some(at(3)), ..half }.deadline(), at(3));
    }
}
