//! What a group says and hears: beats, asks, votes and answers.

use super::{Group, Stage, State, Turn};
use crate::pair::arbiters::{Arbiter, Late, Question};
use crate::pair::clock::Clocks;
use crate::pair::event::{Cause, PairAction, PairReport, StepId};
use crate::pair::lease::{Seat, grant_end};
use crate::pair::message::{
    Answer, Ask, Beat, Epoch, Member, Owner, Refusal, Release, Sender, Session, Standing, Vote,
};
use crate::pair::spec::Safety;
use crate::pair::takeover::Candidacy;
use crate::time::{Mono, Span};
use crate::wire::SPAN_MAX;

impl Group {
    /// A message arrived. `echo_age`: how long ago was sent what its sender has last heard of us.
    pub(in crate::pair) fn hear(
        &mut self,
        from: Sender,
        session: Session,
        echo_age: Option<Span>,
        beat: &Beat,
        turn: &mut Turn<'_>,
    ) {
        self.expire(turn);
        let peer = Sender::Node(self.me.member.other());
        let hears_us = echo_age.is_some_and(|age| age <= self.spec.timing.lease);
        if from == peer {
            self.hear_peer(beat, hears_us, turn);
        } else if from == Sender::Witness
            && let Arbiter::Witness(witness) = &mut self.arbiter
        {
            witness.heard(turn.at());
            self.peer.learn_stop(beat.peer_stops_within);
        } else {
            return;
        }
        self.highest = self.highest.max(beat.highest);
        self.outbid(turn);
        if let Some(answer) = &beat.answer {
            let seat = if from == peer { Seat::Peer } else { Seat::Third };
            self.hear_answer(seat, answer, beat.highest, turn);
        }
        if from == peer
            && let Some(ask) = &beat.ask
        {
            let hears = echo_age.is_some_and(|age| age <= ask.lease);
            let asker = Owner { member: self.me.member.other(), session };
            let vote = self.vote(asker, ask, hears, beat.standing, turn);
            self.answer(ask, vote, turn);
            self.beat_with_answer(turn);
        }
    }

    /// A candidate asks only for numbers above all that it knows of (I8): a voter that forgot them
    /// would grant a lower one.
    fn outbid(&mut self, turn: &Turn<'_>) {
        let (known, higher) = (self.known(), self.next_epoch(turn));
        if let State::Asking(candidacy) = &mut self.state
            && candidacy.epoch < known
        {
            candidacy.raise(higher, turn.at());
        }
    }

    fn hear_peer(&mut self, beat: &Beat, hears_us: bool, turn: &mut Turn<'_>) {
        self.arbiter.peer_heard();
        self.vouched = false;
        let known = self.peer.released();
        let owned = self.peer.held();
        self.peer.hear(beat, hears_us, turn.at());
        self.outgrow_former();
        if let Some(release) = beat.released {
            self.voter.release(release, hears_us);
            // What the owner let go can be had at once.
            if known != Some(release) {
                match &mut self.state {
                    State::Asking(candidacy) => candidacy.ask_now(turn.at()),
                    // Nor has anybody else asked for it yet. (A rival that gave up is another
                    // matter: both would ask at once again.)
                    State::Idle { quiet_until, .. } if owned => *quiet_until = None,
                    _ => {}
                }
            }
            self.stop_waiting(hears_us, turn);
        }
    }

    /// The owner before says, after this node took the lease, that it has nothing: no need to wait
    /// for its stop time. It was said within a lease's length, and between holding and our lease
    /// lies a promise, so it was said after.
    fn stop_waiting(&mut self, hears_us: bool, turn: &Turn<'_>) {
        if hears_us && let State::Taking { stage: Stage::Wait(until), .. } = &mut self.state {
            *until = turn.at();
        }
    }

    /// This node's vote, asked for by the other one.
    fn vote(
        &mut self,
        asker: Owner,
        ask: &Ask,
        hears: bool,
        standing: Standing,
        turn: &mut Turn<'_>,
    ) -> Vote {
        let now = turn.at();
        match &self.state {
            State::Taking { lease, .. }
            | State::Active { lease }
            | State::Yielding { lease, .. } => {
                Vote::Busy { left: now.lease_left(lease.end()), why: Refusal::Held }
            }
            // I7: what is still here would be there twice.
            State::Dropping { .. } => {
                Vote::Busy { left: self.spec.timing.heartbeat, why: Refusal::Promised }
            }
            // Of two candidates. Who holds is no rival: it would be refused while it lives.
            State::Asking(_) if !ask.held && self.is_fitter_than(asker.member, standing, now) => {
                Vote::Busy { left: self.spec.timing.promise, why: Refusal::Rival }
            }
            State::Asking(candidacy) => {
                let candidacy = *candidacy;
                let vote = self.vote_as_idle(asker, ask, hears, now);
                if matches!(vote, Vote::Granted { .. }) {
                    self.withdraw(candidacy, turn);
                }
                vote
            }
            State::Idle { .. } => self.vote_as_idle(asker, ask, hears, now),
        }
    }

    /// Who has nothing of the group knows that for certain, whatever its voter remembers.
    fn vote_as_idle(&mut self, asker: Owner, ask: &Ask, hears: bool, now: Clocks) -> Vote {
        match self.voter.vote(asker, ask, hears, now) {
            Vote::Granted { .. } => Vote::Granted { peer_stopped: true },
            busy @ Vote::Busy { .. } => busy,
        }
    }

    fn is_fitter_than(&self, member: Member, standing: Standing, now: Clocks) -> bool {
        (self.standing(now), self.me.member) > (standing, member)
    }

    fn answer(&self, ask: &Ask, vote: Vote, turn: &mut Turn<'_>) {
        let answer = Answer { epoch: ask.epoch, sent: ask.sent, lease: ask.lease, vote };
        let beat = Beat { answer: Some(answer), ..self.beat(turn.at()) };
        let to = Sender::Node(self.me.member.other());
        turn.out.push(PairAction::Send { to, beat });
    }

    /// The fence agent is done.
    pub(in crate::pair) fn fenced(&mut self, step: StepId, ok: bool, turn: &mut Turn<'_>) {
        self.owner_before_fenced(step, ok, turn);
        let late = self.arbiter.fenced(step, ok);
        self.hear_late(late, turn);
    }

    /// The gateway answered.
    pub(in crate::pair) fn gateway_answered(&mut self, sent: Clocks, turn: &mut Turn<'_>) {
        let late = self.arbiter.gateway_answered(sent);
        self.hear_late(late, turn);
    }

    /// Somebody answers for the address; or, if `probed`, wants it as well: then the lower name
    /// yields.
    pub(in crate::pair) fn address_taken(&mut self, probed: bool, turn: &mut Turn<'_>) {
        let State::Asking(candidacy) = self.state else { return };
        if !probed || self.me.member == Member::First {
            self.withdraw(candidacy, turn);
        }
    }

    /// A vote that an arbiter other than the witness gave later.
    fn hear_late(&mut self, late: Option<Late>, turn: &mut Turn<'_>) {
        self.expire(turn);
        let Some(Late { sent, vote }) = late else { return };
        let epoch = match &self.state {
            State::Asking(candidacy) => candidacy.epoch,
            _ => self.lease().map_or(Epoch::NONE, |lease| lease.asks),
        };
        let answer = Answer { epoch, sent, lease: self.spec.timing.lease, vote };
        self.hear_answer(Seat::Third, &answer, Epoch::NONE, turn);
    }

    fn hear_answer(&mut self, seat: Seat, answer: &Answer, highest: Epoch, turn: &mut Turn<'_>) {
        match answer.vote {
            // For a candidate it still stands in for the peer's stop time.
            Vote::Granted { .. } => self.vouched &= matches!(self.state, State::Asking(_)),
            // The operator's word stands in for silence, never against a refusal.
            Vote::Busy { why: Refusal::Promised | Refusal::Held, .. } => self.vouched = false,
            Vote::Busy { .. } => {}
        }
        match self.state.clone() {
            State::Asking(candidacy) if candidacy.epoch == answer.epoch => {
                self.hear_as_candidate(candidacy, seat, answer, turn);
            }
            State::Taking { .. } | State::Active { .. } | State::Yielding { .. } => {
                self.hear_as_holder(seat, answer, highest, turn);
            }
            // An answer to a candidacy that is over. What it granted is released with each beat.
            State::Asking(_) | State::Idle { .. } | State::Dropping { .. } => {}
        }
    }

    fn hear_as_candidate(
        &mut self,
        mut candidacy: Candidacy,
        seat: Seat,
        answer: &Answer,
        turn: &mut Turn<'_>,
    ) {
        let now = turn.at();
        match answer.vote {
            Vote::Granted { peer_stopped } => {
                if let Some(end) = grant_end(answer, now) {
                    candidacy.granted(seat, end, peer_stopped, now);
                }
                self.state = State::Asking(candidacy);
                self.take_if_won(candidacy, turn);
            }
            Vote::Busy { why: Refusal::Rival, .. } => {
                self.withdraw(candidacy, turn);
            }
            Vote::Busy { why: Refusal::Epoch | Refusal::Released, .. } => {
                self.highest = self.highest.max(candidacy.epoch);
                candidacy.raise(self.next_epoch(turn), now);
                self.state = State::Asking(candidacy);
            }
            Vote::Busy { left, why } => {
                if why != Refusal::Unheard {
                    candidacy.not_before(left, now);
                }
                let jitter = self.jitter.below(self.spec.timing.heartbeat);
                candidacy.refused(seat, left, jitter, now);
                self.state = State::Asking(candidacy);
            }
        }
    }

    fn hear_as_holder(&mut self, seat: Seat, answer: &Answer, highest: Epoch, turn: &mut Turn<'_>) {
        let raised = self.next_epoch(turn);
        let Some(lease) = self.lease_mut() else { return };
        if let Vote::Granted { .. } = answer.vote {
            if answer.epoch == lease.epoch || answer.epoch == lease.asks {
                self.hear_renewed(seat, answer, turn);
            }
            return;
        }
        if answer.epoch != lease.asks {
            return;
        }
        match answer.vote {
            // Somebody with a higher number holds: whatever the clocks say, it is not this node.
            Vote::Busy { why: Refusal::Held, .. } if highest > lease.epoch => {
                let epoch = lease.epoch;
                self.drop_everything(epoch, Cause::NewerOwner, turn);
            }
            // It will grant this number as soon as it may vote, whatever it has heard of.
            Vote::Busy { why: Refusal::Silent | Refusal::Unheard, .. } => {}
            // Only promised, or run out: go on with a still higher number, once it is granted.
            Vote::Busy { why, .. } if highest > lease.asks || why == Refusal::Epoch => {
                lease.asks = raised;
                self.highest = raised;
            }
            Vote::Granted { .. } | Vote::Busy { .. } => {}
        }
    }

    /// A voter extends the lease, perhaps under a higher number.
    fn hear_renewed(&mut self, seat: Seat, answer: &Answer, turn: &mut Turn<'_>) {
        let Some(end) = grant_end(answer, turn.at()) else { return };
        let asked_long = answer.lease > self.spec.timing.lease;
        let Some(lease) = self.lease_mut() else { return };
        lease.extend(seat, end);
        // Without the own vote the lease is as long as the shorter of two grants.
        let long = asked_long && lease.end().earliest(end) == end;
        let goes_on = answer.epoch > lease.epoch;
        lease.epoch = lease.epoch.max(answer.epoch);
        let (lease, group) = (*lease, self.spec.key);
        if !self.has_closed_guard() {
            self.open_guard(&lease, turn);
        }
        if goes_on {
            self.voter.raise(lease.epoch);
            let report = PairReport::Epoch { group, epoch: lease.epoch };
            turn.out.push(PairAction::Report(report));
        }
        if long && core::mem::take(&mut self.restarting) {
            turn.out.push(PairAction::Report(PairReport::RestartReady { group }));
        }
    }

    pub(super) const fn lease_mut(&mut self) -> Option<&mut crate::pair::lease::Lease> {
        match &mut self.state {
            State::Taking { lease, .. }
            | State::Active { lease }
            | State::Yielding { lease, .. } => Some(lease),
            State::Idle { .. } | State::Asking(_) | State::Dropping { .. } => None,
        }
    }

    /// Whether the machine goes down; said then, if there is something to say.
    pub(in crate::pair) fn announce(&mut self, announced: bool, say_at: Option<Mono>) {
        self.announced = announced;
        self.next_beat = say_at.map_or(self.next_beat, |at| at.min(self.next_beat));
    }

    /// Whether the peer, as last heard, has the group or could keep it alone.
    pub(in crate::pair) fn peer_is_up(&self, now: Clocks) -> bool {
        self.peer.is_up(now)
    }

    /// What this node has to say, without ask and answer.
    pub(in crate::pair) fn beat(&self, now: Clocks) -> Beat {
        Beat {
            group: self.spec.key,
            definition: self.spec.definition,
            role: self.role_now(now),
            standing: self.standing(now),
            not_ready: self.not_ready(now),
            highest: self.known(),
            stops_within: self.told_stop(),
            peer_stops_within: self.peer.stops_within(),
            released: self.released(),
            carried: self.peer.released(),
            ask: None,
            answer: None,
        }
    }

    /// How long exclusive units may outlive a lease here. An owner that only the fence agent can
    /// end, since its watchdog is gone or was taken away, must not be waited for by a time of
    /// before.
    fn told_stop(&self) -> Option<Span> {
        // At a start nobody knows yet.
        let starts = matches!(self.state, State::Dropping { cause: Cause::Start, .. });
        let is_had = !self.is_clear() && !starts;
        let only_fenced = self.spec.safety == Safety::Data { fenced: true } && is_had;
        self.spec.stops_within.or(only_fenced.then_some(SPAN_MAX))
    }

    /// Whoever is idle holds nothing of any number that it has heard of, and will ask only for
    /// higher ones (I9).
    pub(super) fn released(&self) -> Option<Release> {
        match self.state {
            State::Idle { .. } => Some(Release { owner: self.me, epoch: self.highest }),
            _ => None,
        }
    }

    /// An answer says the state as well. Who has nothing to ask says it to the witness in the same
    /// turn, and does not repeat it to the peer: half as many turns and messages of a standby. Its
    /// own timer leaves the next question half a heartbeat to arrive in.
    fn beat_with_answer(&mut self, turn: &mut Turn<'_>) {
        let (now, heartbeat) = (turn.at().boot, self.spec.timing.heartbeat);
        if matches!(self.state, State::Idle { .. }) && now.after(heartbeat) >= self.next_beat {
            let half = Span::from_nanos(heartbeat.as_nanos() / 2);
            self.next_beat = now.after(heartbeat.plus(half));
            let beat = self.beat(turn.at());
            self.ask_third(None, &beat, turn);
        }
    }

    /// Says the state to peer and witness, if it is time.
    pub(super) fn beat_if_due(&mut self, turn: &mut Turn<'_>) {
        // Who has just become owner renews in time, however long its last answer was to last.
        if self.lease().is_some() {
            let latest = turn.at().boot.after(self.spec.timing.heartbeat);
            self.next_beat = self.next_beat.min(latest);
        }
        if turn.at().boot >= self.next_beat {
            self.next_beat = turn.at().boot.after(self.spec.timing.heartbeat);
            self.say(turn);
        }
    }

    /// Says the state to both other voters, with a request for a vote where there is one to make.
    pub(super) fn say(&mut self, turn: &mut Turn<'_>) {
        let now = turn.at();
        let ask = self.renewal(now);
        self.vouch(ask.as_ref(), now);
        let beat = Beat { ask, ..self.beat(now) };
        let to = Sender::Node(self.me.member.other());
        turn.out.push(PairAction::Send { to, beat });
        self.ask_third(ask.as_ref(), &beat, turn);
    }

    /// The request of an owner, which goes with every beat.
    pub(super) fn renewal(&self, now: Clocks) -> Option<Ask> {
        let lease = self.lease()?;
        let timing = &self.spec.timing;
        let (length, promise) = if self.restarting {
            (timing.restart_lease, timing.restart_promise)
        } else {
            (timing.lease, timing.promise)
        };
        Some(Ask { epoch: lease.asks, sent: now, lease: length, promise, held: true })
    }

    /// The operator's word, in place of the peer's grant.
    fn vouch(&mut self, ask: Option<&Ask>, now: Clocks) {
        let (true, Some(ask)) = (self.vouched, ask) else { return };
        let end = now.after(crate::pair::lease::shortened(ask.lease));
        if let Some(lease) = self.lease_mut() {
            lease.extend(Seat::Peer, end);
        }
    }

    /// Asks one voter for a candidate.
    pub(super) fn ask(&mut self, seat: Seat, epoch: Epoch, turn: &mut Turn<'_>) {
        let (now, timing) = (turn.at(), self.spec.timing);
        let ask =
            Ask { epoch, sent: now, lease: timing.lease, promise: timing.promise, held: false };
        let beat = Beat { ask: Some(ask), ..self.beat(now) };
        match seat {
            Seat::Peer => {
                let to = Sender::Node(self.me.member.other());
                turn.out.push(PairAction::Send { to, beat });
            }
            Seat::Third => self.ask_third(Some(&ask), &beat, turn),
        }
    }

    /// Puts a question to the arbiter, whatever it is. The witness hears the beat without one, too.
    fn ask_third(&mut self, ask: Option<&Ask>, beat: &Beat, turn: &mut Turn<'_>) {
        if self.arbiter.is_witness() {
            turn.out.push(PairAction::Send { to: Sender::Witness, beat: *beat });
            return;
        }
        let Some(ask) = ask else { return };
        self.attempts = self.attempts.wrapping_add(1);
        let question = Question {
            group: self.spec.key,
            ask,
            peer_silent: !self.peer.heard_within(self.spec.timing.promise, turn.at()),
            peer_stuck: self.peer_is_stuck(turn.at()),
            peer_known: self.peer.is_known(),
            lease: self.spec.timing.lease,
            now: turn.at(),
            attempt: self.attempts,
        };
        if let Some(vote) = self.arbiter.ask(&question, turn.out) {
            let answer = Answer { epoch: ask.epoch, sent: ask.sent, lease: ask.lease, vote };
            self.hear_answer(Seat::Third, &answer, Epoch::NONE, turn);
        }
    }
}
