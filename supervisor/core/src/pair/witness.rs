//! The witness: the third machine, as a voter for one pair. It holds nothing, so it is a
//! [`Voter`] for each group and a memory for what one node should know of the other.
//!
//! One witness serves thousands of pairs, each with its own key and its own one of these.

use alloc::vec::Vec;

use super::clock::Clocks;
use super::message::{
    Answer, Beat, Epoch, GroupKey, Health, Member, Owner, Role, Session, Standing,
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
        known.stops_within = super::peer::newest_stop(known.stops_within, beat.stops_within);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::message::{Ask, Refusal, Release, Vote};

    const LIFE: Session = Session(7);
    const A: Owner = Owner { member: Member::First, session: LIFE };
    const HEARD: Option<Span> = Some(Span::ZERO);

    fn at(millis: u64) -> Clocks {
        Clocks::ZERO.after(Span::from_millis(millis))
    }

    fn beat(group: u64) -> Beat {
        Beat {
            group: GroupKey(group),
            definition: 1,
            role: Role::Standby,
            standing: Standing::default(),
            not_ready: None,
            highest: Epoch::NONE,
            stops_within: None,
            peer_stops_within: None,
            released: None,
            carried: None,
            ask: None,
            answer: None,
        }
    }

    fn ask(epoch: u64) -> Beat {
        let (sent, lease) = (at(5), Span::from_secs(1));
        let ask = Ask { epoch: Epoch(epoch), sent, lease, promise: lease, held: false };
        Beat { ask: Some(ask), ..beat(1) }
    }

    fn vote(witness: &mut Witness, from: Member, beat: &Beat, echo: Option<Span>) -> Vote {
        witness.hear(from, LIFE, echo, beat, at(20_000)).unwrap().answer.unwrap().vote
    }

    #[test]
    fn a_request_is_returned_with_the_vote_and_the_highest_number() {
        let mut witness = Witness::start(at(0));
        let reply = witness.hear(Member::First, LIFE, HEARD, &ask(5), at(20_000)).unwrap();
        let answer = reply.answer.unwrap();
        assert_eq!(
            (answer.epoch, answer.sent, answer.lease),
            (Epoch(5), at(5), Span::from_secs(1))
        );
        assert_eq!(answer.vote, Vote::Granted { peer_stopped: false });
        assert_eq!((reply.role, reply.highest), (Role::Waiting, Epoch(5)));
        assert_eq!(
            witness.hear(Member::First, LIFE, HEARD, &beat(1), at(20_000)).unwrap().answer,
            None
        );
    }

    #[test]
    fn who_has_not_heard_it_within_a_lease_is_refused() {
        let mut witness = Witness::start(at(0));
        let unheard = Vote::Busy { left: Span::ZERO, why: Refusal::Unheard };
        for echo in [None, Some(Span::from_millis(1001))] {
            assert_eq!(vote(&mut witness, Member::First, &ask(5), echo), unheard);
        }
        let echo = Some(Span::from_millis(1000));
        assert_eq!(
            vote(&mut witness, Member::First, &ask(5), echo),
            Vote::Granted { peer_stopped: false }
        );
    }

    #[test]
    fn a_group_heard_of_later_is_silent_only_since_the_start_of_the_witness() {
        let mut witness = Witness::start(at(15_000));
        let silent = Vote::Busy { left: Span::from_secs(5), why: Refusal::Silent };
        assert_eq!(vote(&mut witness, Member::First, &ask(5), HEARD), silent);
    }

    #[test]
    fn each_group_and_each_pair_of_lives_has_its_own_promise() {
        let mut witness = Witness::start(at(0));
        let granted = Vote::Granted { peer_stopped: false };
        assert_eq!(vote(&mut witness, Member::First, &ask(5), HEARD), granted);
        let other_group = Beat { group: GroupKey(2), ..ask(5) };
        assert_eq!(vote(&mut witness, Member::Second, &other_group, HEARD), granted);
        let refused = vote(&mut witness, Member::Second, &ask(6), HEARD);
        assert!(matches!(refused, Vote::Busy { why: Refusal::Promised, .. }));
    }

    #[test]
    fn a_release_carried_by_the_asker_frees_the_vote_in_the_same_message() {
        let mut witness = Witness::start(at(0));
        vote(&mut witness, Member::First, &ask(5), HEARD);
        let carried = Some(Release { owner: A, epoch: Epoch(5) });
        let asked = Beat { carried, ..ask(6) };
        // Carried is not first-hand: what was before this witness is still not known.
        let granted = vote(&mut witness, Member::Second, &asked, HEARD);
        assert_eq!(granted, Vote::Granted { peer_stopped: false });
    }

    #[test]
    fn it_knows_that_a_node_runs_nothing_when_that_said_so_and_was_granted_nothing_since() {
        let mut witness = Witness::start(at(0));
        let idle = Beat { released: Some(Release { owner: A, epoch: Epoch(5) }), ..beat(1) };
        witness.hear(Member::First, LIFE, None, &idle, at(1000));
        let granted = vote(&mut witness, Member::Second, &ask(6), HEARD);
        assert_eq!(granted, Vote::Granted { peer_stopped: false }, "it may be an old word");
        witness.hear(Member::First, LIFE, HEARD, &idle, at(20_000));
        let granted = vote(&mut witness, Member::Second, &ask(6), HEARD);
        assert_eq!(granted, Vote::Granted { peer_stopped: true });
    }

    #[test]
    fn each_node_is_told_the_longest_stop_time_of_the_other() {
        let mut witness = Witness::start(at(0));
        for secs in [30, 60, 20] {
            let beat = Beat { stops_within: Some(Span::from_secs(secs)), ..beat(1) };
            let reply = witness.hear(Member::First, LIFE, HEARD, &beat, at(1)).unwrap();
            assert_eq!(reply.peer_stops_within, None, "its own is none of its business");
        }
        let reply = witness.hear(Member::Second, LIFE, HEARD, &beat(1), at(1)).unwrap();
        assert_eq!(reply.peer_stops_within, Some(Span::from_secs(60)));
    }

    #[test]
    fn a_pair_cannot_fill_the_witness_with_groups() {
        let mut witness = Witness::start(at(0));
        for group in 0..100 {
            let reply = witness.hear(Member::First, LIFE, HEARD, &beat(group), at(1));
            assert_eq!(reply.is_some(), group < 64, "{group}");
        }
        assert_eq!(witness.refused, 36);
    }
}
