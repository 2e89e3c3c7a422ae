//! Two nodes, one owner: what the keeper decides. Read this first.
//!
//! A *group* (addresses, perhaps units) may be had by one node at a time. The right to have it is a
//! *lease*: a span of time for which two of three *voters* promise it to nobody else. The voters
//! are the two nodes and an *arbiter*. All that follows is in the service of one sentence: **a
//! lease is over, with all that its owner's kernel may still do late, before any of its voters is
//! free to promise it again.** See [`lease`] for why that holds whatever the network does.
//!
//! Where to look, in the order of a takeover:
//!
//! | step | what | where |
//! |---|---|---|
//! | 1 | the owner asks all voters again, with every beat | [`group`] (`talking`) |
//! | 2 | a voter promises, longer and longer | [`voter`] |
//! | 3 | a grant extends the lease, and the guard with it | [`lease`], [`group`] (`holding`) |
//! | 4 | the owner dies; at the end of the lease its kernel stops passing traffic | the guard, [`event::PairAction::OpenGuard`] |
//! | 5 | the promises run out; the other node becomes a candidate | [`takeover`] |
//! | 6 | two votes: it has the lease, opens its guard, waits for units, takes | [`group`] (`holding`) |
//! | 7 | the old owner wakes: it drops everything before anything else | [`group`] (`yielding`) |
//!
//! A planned change skips 4 and 5: the owner says that it has nothing any more.
//!
//! [`Pair`] is a node's groups; [`witness::Witness`] is the third machine. Both are step functions:
//! events in, actions out, no clock and no I/O, so that the daemon, the simulator, the model
//! checker and `mastiff simulate` run the same code. The promises are in the crate's root, I1 to
//! I14.

pub mod arbiters;
pub mod clock;
pub mod event;
pub mod fitness;
pub mod group;
pub mod jitter;
pub mod lease;
pub mod link;
pub mod message;
pub mod peer;
pub mod spec;
pub mod takeover;
pub mod voter;
pub mod way_down;
pub mod witness;
mod words;

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use arbiters::Arbiter;
use clock::{Clocks, Now};
use event::{PairAction, PairActions, PairEvent, PairReport, Step};
use group::{Group, KeptGroup, Turn};
use message::{Beat, GroupKey, Member, NotReady, Owner, Sender, Session};
use spec::{GroupSpec, Terms};
use way_down::{FRESH_MIN, WayDown, Word};

use crate::time::{Mono, Span};
use crate::watchdog::Refusal;

/// All groups of one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    me: Owner,
    groups: Vec<Group>,
    way_down: WayDown,
}

/// What a restarted daemon needs to go on as the one before.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Kept {
    /// Which node it was, in which life.
    pub me: Owner,
    /// Its groups.
    pub groups: Vec<KeptGroup>,
}

/// Who a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which of the two.
    pub member: Member,
    /// A new random number; not used when there is memory of a former life.
    pub session: Session,
    /// For everything that may be random.
    pub seed: u64,
}

impl Pair {
    /// Starts. With `kept`, of this boot, it goes on as the daemon before; groups that are new
    /// since start without memory.
    pub fn start(
        identity: Identity,
        groups: Vec<(GroupSpec, Arbiter)>,
        kept: Option<Kept>,
        now: Now,
        out: &mut PairActions,
    ) -> Self {
        let fresh = Owner { member: identity.member, session: identity.session };
        let me = kept.as_ref().map_or(fresh, |kept| kept.me);
        let mut kept = kept.map(|kept| kept.groups).unwrap_or_default();
        let mut turn = Turn { now, out };
        let groups = groups
            .into_iter()
            .map(|(spec, arbiter)| {
                let at = kept.iter().position(|kept| kept.key == spec.key);
                match at.map(|at| kept.swap_remove(at)) {
                    Some(kept) => Group::resume(me, spec, arbiter, identity.seed, kept, &mut turn),
                    None => Group::start(me, spec, arbiter, identity.seed, &mut turn),
                }
            })
            .collect();
        Self { me, groups, way_down: WayDown::new(now.at.boot) }
    }

    /// Takes in one event of a turn.
    pub fn handle(&mut self, event: &PairEvent, now: Now, out: &mut PairActions) {
        let mut turn = Turn { now, out };
        let turn = &mut turn;
        match event {
            PairEvent::Heard { from, session, echo_age, beat } => {
                // Whatever group it is of: what it echoes it may have heard of another one.
                if *from == Sender::Node(self.me.member.other()) {
                    let rebooting = beat.not_ready == Some(NotReady::Rebooting);
                    let word = Word { rebooting, echo_age: *echo_age };
                    self.way_down.hear(word, self.me.member, self.fresh(), now.at.boot);
                }
                if let Some(group) = self.group_mut(beat.group) {
                    group.hear(*from, *session, *echo_age, beat, turn);
                }
            }
            PairEvent::Health { group, health, not_ready } => {
                if let Some(group) = self.group_mut(*group) {
                    group.health(*health, *not_ready, now.at);
                }
            }
            PairEvent::Done { step, ok } => {
                let Some(group) = self.group_mut(step.group) else { return };
                if step.step == Step::Fence {
                    group.fenced(*step, *ok, turn);
                } else {
                    group.done(*step, *ok, turn);
                }
            }
            PairEvent::StopsWithin(span) => {
                for group in &mut self.groups {
                    group.stops_within(*span);
                }
            }
            PairEvent::Leaving(leaving) => self.way_down.want(*leaving),
            PairEvent::Order { group, order } => {
                if let Some(group) = self.group_mut(*group) {
                    group.expire(turn);
                    group.order(*order, turn);
                }
            }
            PairEvent::GatewayAnswered { sent } => {
                for group in &mut self.groups {
                    group.gateway_answered(*sent, turn);
                }
            }
            PairEvent::AddressAnswered { group } | PairEvent::ProbeSeen { group } => {
                if let Some(group) = self.group_mut(*group) {
                    group.address_taken(matches!(event, PairEvent::ProbeSeen { .. }), turn);
                }
            }
        }
    }

    /// Takes other terms for a group, which says so with its next beat. A group that is not known
    /// changes nothing.
    pub fn agree(&mut self, group: GroupKey, terms: Terms) {
        if let Some(group) = self.group_mut(group) {
            group.agree(terms);
        }
    }

    /// Once a turn, after its events.
    pub fn tick(&mut self, now: Now, out: &mut PairActions) {
        self.tick_way_down(now, out);
        let mut turn = Turn { now, out };
        for group in &mut self.groups {
            group.tick(&mut turn);
        }
    }

    /// Before the groups, which then say at once what came of it.
    fn tick_way_down(&mut self, now: Now, out: &mut PairActions) {
        let (me, at) = (self.me.member, now.at.boot);
        let (is_up, alone) =
            (self.groups.iter().all(|it| it.peer_is_up(now.at)), self.groups.is_empty());
        let passage = self.way_down.tick(me, self.fresh(), is_up, alone, at);
        out.extend(passage.map(|passage| PairAction::Report(PairReport::WayDown(passage))));
        let (announced, hurries) = (self.way_down.is_announced(), self.way_down.take_hurry());
        for group in &mut self.groups {
            group.announce(announced, hurries.then_some(at));
        }
    }

    /// For so long the peer is not silent.
    fn fresh(&self) -> Span {
        self.groups.iter().map(Group::fresh).max().unwrap_or_default().max(FRESH_MIN)
    }

    /// When `tick` must be called again at the latest, by `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn next_deadline(&self, now: Clocks) -> Mono {
        let groups = self.groups.iter().map(|group| group.next_deadline(now)).min();
        groups.unwrap_or(Mono::FAR).min(self.way_down.next_deadline())
    }

    /// What to leave for the daemon after this one. The shell writes it before it performs a turn's
    /// actions: what a voter said, and what an owner began, it must remember.
    #[must_use]
    pub fn kept(&self) -> Kept {
        Kept { me: self.me, groups: self.groups.iter().map(Group::kept).collect() }
    }

    /// The same into what was left the last time; whether it is something else now. Allocates only
    /// the first time.
    pub fn keep(&self, kept: &mut Kept) -> bool {
        if kept.me != self.me || kept.groups.len() != self.groups.len() {
            *kept = self.kept();
            return true;
        }
        let mut changed = false;
        for (kept, group) in kept.groups.iter_mut().zip(&self.groups) {
            let now = group.kept();
            changed |= *kept != now;
            *kept = now;
        }
        changed
    }

    /// Why the watchdog must not be petted, for whichever group (I13); what lasts too long first.
    #[must_use]
    pub fn pet_refusal(&self, now: Clocks) -> Option<Refusal> {
        let mut refusals = self.groups.iter().filter_map(|group| group.pet_refusal(now));
        let first = refusals.next()?;
        Some(refusals.find(|refusal| *refusal == Refusal::Lease).unwrap_or(first))
    }

    /// Whether it must not.
    #[must_use]
    pub fn forbids_pet(&self, now: Clocks) -> bool {
        self.pet_refusal(now).is_some()
    }

    /// What this node would say of a group, without ask and answer: to greet a stranger with.
    #[must_use]
    pub fn beat(&self, group: GroupKey, now: Clocks) -> Option<Beat> {
        self.groups.iter().find(|known| known.key() == group).map(|known| known.beat(now))
    }

    /// Who this node is, in this life.
    #[must_use]
    pub const fn me(&self) -> Owner {
        self.me
    }

    /// The groups, for status.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    fn group_mut(&mut self, key: GroupKey) -> Option<&mut Group> {
        self.groups.iter_mut().find(|group| group.key() == key)
    }
}

#[cfg(test)]
mod tests;
