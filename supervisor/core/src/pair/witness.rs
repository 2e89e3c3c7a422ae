//! The witness: the third machine, as a voter for one pair. It holds nothing, so it is a
//! [`Voter`] for each group and a memory for what one node should know of the other.
//!
//! One witness serves thousands of pairs, each with its own key and its own one of these.

use alloc::vec::Vec;

use super::clock::Clocks;
use super::message::{
    Answer, Beat, Epoch, GroupKey, Health, Member, Owner, Release, Role, Session, Standing,
};
use super::voter::Voter;
use crate::time::Span;

/// Groups of one pair. A node that names more is answered about the first ones only.
pub const GROUPS_MAX: usize = 64;

/// One pair, seen from the witness.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Witness {
    started: Clocks,
    groups: Vec<Watched>,
    /// Beats about groups beyond [`GROUPS_MAX`].
    pub refused: u64,
}

/// One group of the pair.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Watched {
    key: GroupKey,
    voter: Voter,
    first: Known,
    second: Known,
}

/// What one node said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Known {
    stops_within: Option<Span>,
    released: Option<Release>,
    highest: Epoch,
}

impl Witness {
    /// A witness without memory: it keeps silent for as long as it may have promised before (I6).
    #[must_use]
    pub const fn start(now: Clocks) -> Self {
        Self { started: now, groups: Vec::new(), refused: 0 }
    }

    /// A node spoke: the answer, which is to be sent back to it.
    pub fn hear(
        &mut self,
        from: Member,
        session: Session,
        echo_age: Option<Span>,
        beat: &Beat,
        now: Clocks,
    ) -> Option<Beat> {
        let watched = self.watched(beat.group)?;
        let owner = Owner { member: from, session };
        watched.learn(from, beat);
        if let Some(release) = beat.released {
            watched.voter.release(release, echo_age.is_some());
        }
        if let Some(release) = beat.carried {
            watched.voter.release(release, false);
        }
        let answer = beat.ask.as_ref().map(|ask| {
            let hears = echo_age.is_some_and(|age| age <= ask.lease);
            let vote = watched.voter.vote(owner, ask, hears, now);
            Answer { epoch: ask.epoch, sent: ask.sent, lease: ask.lease, vote }
        });
        Some(watched.reply(from, answer))
    }

    /// What the witness would say of a group, without an answer: to greet a stranger with. It tells
    /// nothing of the other node, since the stranger may be a replay.
    #[must_use]
    pub fn beat(&self, group: GroupKey) -> Beat {
        let known = self.groups.iter().find(|watched| watched.key == group);
        let highest = known.map_or(Epoch::NONE, |watched| watched.voter.highest());
        reply(group, highest, None, None)
    }

    fn watched(&mut self, key: GroupKey) -> Option<&mut Watched> {
        if let Some(at) = self.groups.iter().position(|watched| watched.key == key) {
            return self.groups.get_mut(at);
        }
        if self.groups.len() >= GROUPS_MAX {
            self.refused = self.refused.saturating_add(1);
            return None;
        }
        // It remembers everything since its start, so a group heard of later is silent no longer.
        let voter = Voter::forgetful(self.started);
        let (first, second) = (Known::default(), Known::default());
        self.groups.push(Watched { key, voter, first, second });
        self.groups.last_mut()
    }
}

impl Watched {
    const fn known(&self, member: Member) -> &Known {
        match member {
            Member::First => &self.first,
            Member::Second => &self.second,
        }
    }

    fn learn(&mut self, from: Member, beat: &Beat) {
        let known = match from {
            Member::First => &mut self.first,
            Member::Second => &mut self.second,
        };
        known.stops_within = known.stops_within.max(beat.stops_within);
        known.released = beat.released.or(known.released);
        known.highest = known.highest.max(beat.highest);
    }

    fn reply(&self, to: Member, answer: Option<Answer>) -> Beat {
        let other = self.known(to.other());
        reply(self.key, self.voter.highest(), other.stops_within, answer)
    }
}

const fn reply(
    group: GroupKey,
    highest: Epoch,
    peer_stops_within: Option<Span>,
    answer: Option<Answer>,
) -> Beat {
    Beat {
        group,
        definition: 0,
        role: Role::Waiting,
        standing: Standing { health: Health::Unknown, preferred: false },
        not_ready: None,
        highest,
        stops_within: None,
        peer_stops_within,
        released: None,
        carried: None,
        ask: None,
        answer,
    }
}
