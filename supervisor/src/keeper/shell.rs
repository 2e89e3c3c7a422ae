//! A turn of the pair: what arrived goes to the core, what the core wants is done.
//!
//! ```text
//! orders, outcomes ─┐                      ┌─► memory (first)
//! datagrams ────────┼─► Pair ─► actions ───┼─► gate, hands, brain, board
//! time ─────────────┘                      └─► datagrams (last)
//! ```
//!
//! A turn that is late lets the core look at its leases before anything else is read: what has
//! ended, has ended, whatever else arrived meanwhile.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use mastiff_core::pair::Pair;
use mastiff_core::pair::clock::{Clocks, Now};
use mastiff_core::pair::event::{
    Cause, Leaving, Order, PairAction, PairActions, PairEvent, PairReport, REPORT_FRESH, Step,
    StepId,
};
use mastiff_core::pair::group::Group;
use mastiff_core::pair::message::{GroupKey, NotReady, Role};
use mastiff_core::pair::spec::{GroupSpec, Terms};
use mastiff_core::time::{Mono, Span};
use mastiff_core::watchdog::Refusal;
use mio::{Registry, Token, Waker};

use super::Fitness;
use super::board::{Board, Counts, GroupShown, PathShown};
use super::hands::{Hands, Job, Outcome};
use super::memory::Memory;
use super::remotes::{Heard, Remotes};
use super::setup::Setup;
use crate::clock;
use crate::config::pair::GROUPS_MAX;
use crate::guard::{Gate, Slot};

mod ending;

/// A turn that begins so much after its moment is a late one.
const LATE: Span = Span::from_millis(2);
/// While datagrams wait that a turn did not take, the next one comes so soon.
const MORE: Span = Span::from_micros(500);
/// A rest is so small a part of a heartbeat, and not longer than [`REST_MAX`]: what comes meanwhile
/// waits. One that would be shorter than [`REST_MIN`] saves nothing.
const RESTS_IN_BEAT: u64 = 50;
const REST_MAX: Span = Span::from_millis(1);
const REST_MIN: Span = Span::from_micros(500);
/// One of so many is left out, so that round trips can be measured.
const REST_LEFT_OUT: u32 = 16;
/// Events of one turn that the core may answer; the buffer is made once.
const ACTIONS: usize = 512;

/// What the brain is told of the pair.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// Something worth telling.
    Report(PairReport, Mono),
    /// A step that only the brain can do: units, fence agents.
    Begin(StepId),
    /// Something that the hands saw.
    Notice(Notice),
}

/// Something for the event log.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The kind of event.
    pub kind: &'static str,
    /// How bad it is.
    pub severity: mastiff_core::report::Severity,
    /// In words.
    pub text: String,
}

/// The pair and all that its turns need.
#[derive(Debug)]
pub(super) struct Shell {
    pair: Pair,
    /// The groups by their slots.
    slots: Vec<Place>,
    remotes: Remotes,
    gate: Box<dyn Gate>,
    gate_due: Mono,
    hands: Hands,
    outcomes: Receiver<Outcome>,
    memory: Memory,
    /// A save failed: said once.
    forgetful: bool,
    news: SyncSender<News>,
    brain: Arc<Waker>,
    board: Arc<Board>,
    counts: Counts,
    /// The brain's newest word, and when it came.
    health: Option<([Fitness; GROUPS_MAX], Mono)>,
    /// The boot-loop guard lets this node take nothing.
    observes_only: bool,
    /// When the pair's next turn is due.
    due: Mono,
    /// The shortest heartbeat of all groups.
    heartbeat: Span,
    /// Renewals or answers were sent in this turn.
    spoke: Option<Mono>,
    /// Turns with a rest after them, to leave one out now and then.
    rests: u32,
    actions: PairActions,
    /// The brain was told something that may not be on the board yet.
    has_news: bool,
}

#[derive(Debug)]
struct Place {
    key: GroupKey,
    /// Whether its interfaces are up, behind a guard; `None`: the hands have not said so.
    ready: Option<bool>,
    cause: Option<Cause>,
    /// The long lease for a restart stands, and is to be left behind.
    held: bool,
}

/// Where the shell's ends are.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) hands: Hands,
    pub(super) outcomes: Receiver<Outcome>,
    pub(super) news: SyncSender<News>,
    pub(super) brain: Arc<Waker>,
    pub(super) board: Arc<Board>,
}

impl Shell {
    /// Starts the pair; its first actions are done with it.
    pub(super) fn start(
        setup: Setup,
        ends: Ends,
        registry: &Registry,
        first_token: usize,
        now: Now,
    ) -> Self {
        let mut actions = Vec::with_capacity(ACTIONS);
        let Setup { identity, specs, keys, paths, witness, gate, memory, kept, .. } = setup;
        let place =
            |spec: &GroupSpec| Place { key: spec.key, ready: None, cause: None, held: false };
        let slots = specs.iter().map(|(spec, _)| place(spec)).collect();
        let heartbeats = specs.iter().map(|(spec, _)| spec.timing.heartbeat);
        let heartbeat = heartbeats.min().unwrap_or_default();
        let pair = Pair::start(identity, specs, kept, now, &mut actions);
        let places = super::remotes::Places { me: pair.me(), paths, witness };
        let remotes = Remotes::open(&places, keys, registry, first_token, now.at.boot);
        let mut shell = Self {
            pair,
            slots,
            remotes,
            gate,
            gate_due: Mono::FAR,
            hands: ends.hands,
            outcomes: ends.outcomes,
            memory,
            forgetful: false,
            news: ends.news,
            brain: ends.brain,
            board: ends.board,
            counts: Counts::default(),
            health: None,
            observes_only: false,
            due: now.at.boot,
            heartbeat,
            spoke: None,
            rests: 0,
            actions,
            has_news: false,
        };
        // Gates first, then the guard that may replace that of the daemon before, then the sweep.
        shell.open_gates(now.at);
        shell.give(Job::Stand);
        shell.act(now.at);
        let is_had = |(_, group): &(usize, &Group)| group.role() == Role::Active;
        let groups = shell.pair.groups().iter().enumerate().filter(is_had);
        for (slot, _) in groups {
            shell.hands.give(Job::Adopt(Slot(slot)));
        }
        shell
    }

    /// Why the pair forbids to pet the watchdog (I13).
    pub(super) fn pet_refusal(&self, now: Clocks) -> Option<Refusal> {
        self.pair.pet_refusal(now)
    }

    /// When the next turn is due.
    pub(super) fn next_deadline(&self, now: Clocks) -> Mono {
        let more = if self.remotes.more { now.boot.after(MORE) } else { Mono::FAR };
        self.due.min(self.gate_due).min(self.remotes.next_deadline()).min(more)
    }

    /// Until when nothing but answers, or copies of what has been answered, is expected.
    pub(super) fn rest_until(&self, now: Mono) -> Option<Mono> {
        let rest = Span::from_nanos(self.heartbeat.as_nanos() / RESTS_IN_BEAT).min(REST_MAX);
        let until = self.spoke?.after(rest);
        let quiet = self.pair.groups().iter().all(|group| {
            matches!(group.role(), Role::Active | Role::Standby) && !group.is_asking()
        });
        let worth = rest >= REST_MIN && !self.rests.is_multiple_of(REST_LEFT_OUT);
        (quiet && worth && now < until).then_some(until)
    }

    /// What arrived, what ended, what is due.
    pub(super) fn turn(&mut self, now: Now, registry: &Registry) {
        self.spoke = None;
        if now.at.boot.since(self.due) > LATE {
            self.pair.tick(now, &mut self.actions);
            let demotes = |action: &PairAction| matches!(action, PairAction::CloseGuard { .. });
            if self.actions.iter().any(demotes) {
                self.counts.late_demotions = self.counts.late_demotions.saturating_add(1);
            }
            self.act(now.at);
        }
        while let Ok(outcome) = self.outcomes.try_recv() {
            match outcome {
                Outcome::Event(event) => self.pair.handle(&event, now, &mut self.actions),
                Outcome::Ready(slot, ready) => {
                    if let Some(place) = self.slots.get_mut(slot.0) {
                        place.ready = Some(ready);
                    }
                    self.tell_health(now);
                }
            }
        }
        let Self { pair, remotes, actions, .. } = self;
        let heard = core::cell::RefCell::new(pair);
        remotes.receive(
            |Heard { from, session, echo_age, beat }, now| {
                let event = PairEvent::Heard { from, session, echo_age, beat };
                heard.borrow_mut().handle(&event, now, actions);
            },
            |group, now| heard.borrow().beat(group, now),
        );
        // Later than at the beginning: what arrived was heard after that.
        let now = clock::turn();
        self.pair.tick(now, &mut self.actions);
        self.act(now.at);
        self.rests = self.rests.wrapping_add(u32::from(self.spoke.is_some()));
        self.remotes.keep_open(registry, now.at.boot);
        let shown = self.show(now.at);
        self.wake_brain(shown);
    }

    /// The poll says that something arrived at that token.
    pub(super) fn ready(&mut self, token: Token) {
        self.remotes.ready(token);
    }

    /// The brain's word on this node, for each group in the order of the configuration.
    pub(super) fn health(&mut self, groups: [Fitness; GROUPS_MAX], observes_only: bool, now: Now) {
        self.health = Some((groups, now.at.boot));
        self.observes_only = observes_only;
        self.tell_health(now);
    }

    fn tell_health(&mut self, now: Now) {
        // For the core this is a fresh word, and a cable that comes and goes must not make one of
        // what a brain said that has hung since.
        let is_fresh =
            |(_, at): &([Fitness; GROUPS_MAX], Mono)| now.at.boot.since(*at) < REPORT_FRESH;
        let Some((groups, _)) = self.health.filter(is_fresh) else { return };
        for (place, Fitness { health, not_ready }) in self.slots.iter().zip(groups) {
            let not_ready = match place.ready {
                // Not instead of a lost link, for which an owner hands over.
                Some(true) if self.observes_only => Some(NotReady::ObserveOnly),
                Some(true) => not_ready,
                Some(false) => Some(NotReady::LinkDown),
                None => Some(NotReady::Starting),
            };
            let event = PairEvent::Health { group: place.key, health, not_ready };
            self.pair.handle(&event, now, &mut self.actions);
        }
    }

    /// How long units may outlive a lease here.
    pub(super) fn stops_within(&mut self, span: Option<Span>, now: Now) {
        self.pair.handle(&PairEvent::StopsWithin(span), now, &mut self.actions);
    }

    /// Whether this machine is to go down by a rung.
    pub(super) fn leaving(&mut self, leaving: Leaving, now: Now) {
        self.pair.handle(&PairEvent::Leaving(leaving), now, &mut self.actions);
    }

    /// An order, of a person or of the daemon itself.
    pub(super) fn order(&mut self, group: GroupKey, order: Order, now: Now) {
        self.pair.handle(&PairEvent::Order { group, order }, now, &mut self.actions);
    }

    /// Other terms for groups.
    pub(super) fn agree(&mut self, all: &[(GroupKey, Terms)]) {
        for (group, terms) in all {
            self.pair.agree(*group, *terms);
        }
    }

    /// A step of the brain's ended.
    pub(super) fn done(&mut self, step: StepId, ok: bool, now: Now) {
        self.pair.handle(&PairEvent::Done { step, ok }, now, &mut self.actions);
    }

    /// Does what the core wants: memory first, datagrams last.
    fn act(&mut self, now: Clocks) {
        let mut actions = std::mem::take(&mut self.actions);
        let only_reports = actions.iter().all(|action| matches!(action, PairAction::Report(_)));
        let may_act = only_reports || self.save();
        for action in actions.drain(..) {
            self.perform(action, may_act, now);
        }
        self.actions = actions;
        self.remotes.flush();
        self.gate_due = self.gate.refresh(now);
        if self.gate.is_gone() {
            self.give(Job::Look);
        }
        while let Some(slot) = self.gate.lapsed() {
            // While the group is being taken, the step that adds its addresses creates the gate.
            let role = self.pair.groups().get(slot.0).map(Group::role);
            if matches!(role, Some(Role::Active | Role::Yielding)) {
                self.counts.lapses = self.counts.lapses.saturating_add(1);
                self.give(Job::Recreate(slot));
            }
        }
        self.due = self.pair.next_deadline(now);
    }

    /// Whether the memory took what is about to be done.
    fn save(&mut self) -> bool {
        let saved = self.memory.save(&self.pair);
        if let Err(error) = &saved
            && !self.forgetful
        {
            log::error!("cannot keep the pair's memory, so nothing is promised or begun: {error}");
        }
        self.forgetful = saved.is_err();
        saved.is_ok()
    }

    /// `may_act`: else only what lets go is done. What is not done is missed by its deadline.
    fn perform(&mut self, action: PairAction, may_act: bool, now: Clocks) {
        match action {
            PairAction::CloseGuard { group } => {
                if let Some(slot) = self.slot(group) {
                    self.board.set_end(slot, None);
                    self.gate.close(slot);
                    self.set_held(slot, false);
                }
            }
            PairAction::Report(report) => self.report(report, now),
            PairAction::Begin(id) if may_act || id.step == Step::RemoveAddresses => self.begin(id),
            _ if !may_act => {}
            PairAction::Send { to, beat } => {
                self.remotes.queue(to, beat, now);
                self.spoke = Some(now.boot);
            }
            PairAction::OpenGuard { group, until } => {
                if let Some(slot) = self.slot(group) {
                    self.board.set_end(slot, Some(until.boot));
                    self.gate.open(slot, until, now);
                }
            }
            PairAction::Begin(_) => {}
            PairAction::AskGateway { sent } => self.give(Job::AskGateway(sent)),
            PairAction::ProbeAddress { group } => {
                if let Some(slot) = self.slot(group) {
                    self.give(Job::Probe(slot));
                }
            }
        }
    }

    fn begin(&mut self, id: StepId) {
        match id.step {
            Step::AddAddresses | Step::EndConnections | Step::RemoveAddresses => {
                if let Some(slot) = self.slot(id.group) {
                    self.give(Job::Step(id, slot));
                }
            }
            Step::StartUnits | Step::StopUnits | Step::Fence => self.tell(News::Begin(id)),
        }
    }

    fn report(&mut self, report: PairReport, now: Clocks) {
        match report {
            PairReport::Role { group, cause, .. } => {
                if let Some(place) = self.slots.iter_mut().find(|place| place.key == group) {
                    place.cause = Some(cause);
                }
            }
            PairReport::RestartReady { group } => {
                if let Some(slot) = self.slot(group) {
                    self.set_held(slot, true);
                    self.hold(slot, now);
                }
            }
            PairReport::Refused { .. } | PairReport::Epoch { .. } => {}
            PairReport::CannotRemove { .. } | PairReport::WayDown(_) => {}
        }
        self.tell(News::Report(report, now.boot));
    }

    fn tell(&mut self, news: News) {
        self.has_news = true;
        if self.news.try_send(news).is_err() {
            self.counts.news_lost = self.counts.news_lost.saturating_add(1);
        }
    }

    /// Wakes the brain for its news once they are on the board, which it reads before them.
    fn wake_brain(&mut self, shown: bool) {
        if self.has_news
            && let Err(error) = self.brain.wake()
        {
            log::warn!("cannot wake the brain: {error}");
        }
        // Somebody was reading: it is on the board after the next turn.
        self.has_news &= !shown;
    }

    fn give(&mut self, job: Job) {
        if !self.hands.give(job) {
            self.counts.jobs_lost = self.counts.jobs_lost.saturating_add(1);
        }
    }

    /// The gates of leases that go on from the daemon before.
    fn open_gates(&mut self, now: Clocks) {
        for at in 0..self.actions.len() {
            let Some(PairAction::OpenGuard { group, until }) = self.actions.get(at) else {
                continue;
            };
            let (group, until) = (*group, *until);
            if let Some(slot) = self.slot(group) {
                self.gate.open(slot, until, now);
            }
        }
    }

    fn slot(&self, group: GroupKey) -> Option<Slot> {
        self.slots.iter().position(|place| place.key == group).map(Slot)
    }

    /// Writes it on the board; whether nobody was reading just then.
    fn show(&mut self, now: Clocks) -> bool {
        let Self { pair, slots, remotes, counts, board, .. } = self;
        counts.refused = remotes.refusals.iter().map(|(_, count)| count).sum();
        counts.unsent = remotes.unsent();
        board.write(|shown| {
            shown.at = now;
            shown.counts = *counts;
            let groups = pair.groups().iter().zip(slots.iter());
            for (shown, (group, place)) in shown.groups.iter_mut().zip(groups) {
                *shown = GroupShown {
                    role: group.role(),
                    since: group.role_since(),
                    cause: place.cause,
                    epoch: group.lease().map_or(group.highest(), |lease| lease.epoch),
                    lease_end: group.lease().map(|lease| lease.end()),
                    not_ready: group.not_ready(now),
                    peer: group.peer(now),
                    differs: group.differs(now),
                    waits: group.waits(now),
                    stops_within: group.own_stops_within(),
                    peer_stops_within: group.peer_stops_within(),
                    is_clear: group.is_clear(),
                    stop_acknowledged: group.stop_acknowledged(),
                };
            }
            let mut paths = shown.paths.iter_mut();
            remotes.each_path(|quality, open| {
                quality.tick(now.boot);
                if let Some(shown) = paths.next() {
                    *shown = PathShown { quality: *quality, open };
                }
            });
        })
    }
}
