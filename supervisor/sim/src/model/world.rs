//! The world: two nodes, a witness, what is between them; one tick at a time.
//!
//! Within a tick everything takes no time: a message that is not hindered is answered in the tick
//! that it is sent in. So all the order there is, is that of [`Order`], of late messages, and of
//! machines that do not run.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::rc::Rc;

use mastiff_core::pair::event::{PairAction, PairEvent, StepId};
use mastiff_core::pair::message::{Ask, Beat, Health, Member, Owner, Role, Sender};
use mastiff_core::pair::{Identity, Pair};

use super::judge::{Ghost, Verdict, Violation, one_owner};
use super::machine::{Daemon, Node};
use super::network::{Arrival, Message, Network};
use super::setup::{self, GROUP, WATCHDOG_TICKS, nanos};
use super::third::Third;
use super::timeline::{self, Timeline, in_ticks, name};

/// More deliveries in one tick are a conversation without end.
const DELIVERIES_MAX: usize = 400;

/// Who comes first in a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// The first node's turn and all that follows from it, then the second's.
    #[default]
    FirstThenSecond,
    /// The other way round.
    SecondThenFirst,
    /// Both nodes' turns, then what follows: their messages cross.
    Crossing,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The present tick.
    pub tick: u32,
    /// Whether the group has units that must not run twice.
    pub data: bool,
    first: Rc<Node>,
    second: Rc<Node>,
    third: Rc<Third>,
    /// What is under way.
    pub network: Network,
    /// Who comes first in the next tick.
    pub order: Order,
    ghost: Ghost,
}

/// The machines of all worlds of a tick, each once: there are far fewer than worlds.
#[derive(Debug, Default)]
pub struct Machines {
    nodes: HashSet<Rc<Node>>,
    thirds: HashSet<Rc<Third>>,
}

/// What happens within a tick, one after the other.
#[expect(clippy::large_enum_variant, reason = "nearly all are messages, and none lasts")]
enum Happens {
    Delivery(Message),
    Done(Member, StepId, bool),
}

/// One tick as it goes on.
struct Course<'a> {
    queue: VecDeque<Happens>,
    timeline: &'a mut Timeline,
}

impl World {
    /// Three machines that have just got their power.
    #[must_use]
    pub fn new(data: bool) -> Self {
        Self {
            tick: 0,
            data,
            first: Rc::new(Node::new(Member::First)),
            second: Rc::new(Node::new(Member::Second)),
            third: Rc::new(Third::start(0, 0)),
            network: Network::default(),
            order: Order::default(),
            ghost: Ghost::default(),
        }
    }

    /// A node.
    #[must_use]
    pub fn node(&self, member: Member) -> &Node {
        of(&self.first, &self.second, member)
    }

    /// A node.
    pub fn node_mut(&mut self, member: Member) -> &mut Node {
        Rc::make_mut(match member {
            Member::First => &mut self.first,
            Member::Second => &mut self.second,
        })
    }

    /// Has its machines in common with other worlds, so that it takes less room.
    pub fn share(&mut self, machines: &mut Machines) {
        share(&mut self.first, &mut machines.nodes);
        share(&mut self.second, &mut machines.nodes);
        share(&mut self.third, &mut machines.thirds);
    }

    /// The witness starts anew and has forgotten everything.
    pub fn restart_witness(&mut self) {
        self.third = Rc::new(self.third.restarted(self.tick));
    }

    /// What a node's daemon is for the group, if it runs.
    #[must_use]
    pub fn role(&self, member: Member) -> Option<Role> {
        self.node(member).group().map(|group| group.role())
    }

    /// All routes are sound, and machines run from the next tick on; but one that has lost its
    /// power for ever stays off, if the other is left.
    pub fn heal(&mut self) {
        self.network.heal();
        let lost = |node: &Node| matches!(node.daemon, Daemon::Off(u32::MAX));
        let both = lost(&self.first) && lost(&self.second);
        for node in [Rc::make_mut(&mut self.first), Rc::make_mut(&mut self.second)] {
            node.unwell_until = None;
            node.trouble = None;
            if lost(node) && !both {
                continue;
            }
            match &mut node.daemon {
                Daemon::Off(until) | Daemon::Down(until, _) | Daemon::Frozen(until, _) => {
                    *until = 0;
                }
                Daemon::Running(_) => {}
            }
        }
    }

    /// Time goes on by a tick.
    ///
    /// # Errors
    /// A promise of the core that does not hold.
    pub fn step(&mut self, timeline: &mut Timeline) -> Verdict {
        self.tick += 1;
        let mut course = Course { queue: VecDeque::new(), timeline };
        for member in [Member::First, Member::Second] {
            self.watchdog(member, &mut course);
        }
        match std::mem::take(&mut self.order) {
            Order::FirstThenSecond => {
                self.begin(Member::First, &mut course)?;
                self.drain(&mut course)?;
                self.begin(Member::Second, &mut course)?;
            }
            Order::SecondThenFirst => {
                self.begin(Member::Second, &mut course)?;
                self.drain(&mut course)?;
                self.begin(Member::First, &mut course)?;
            }
            Order::Crossing => {
                self.begin(Member::First, &mut course)?;
                self.begin(Member::Second, &mut course)?;
            }
        }
        self.drain(&mut course)?;
        for member in [Member::First, Member::Second] {
            self.pet(member)?;
        }
        self.network.end_tick(self.tick);
        for member in [Member::First, Member::Second] {
            let tick = self.tick;
            self.node_mut(member).end_tick(tick);
        }
        self.ghost.end_tick(self.tick);
        course.timeline.tell(|| self.summary());
        Ok(())
    }

    /// An order or a word of the brain, now.
    ///
    /// # Errors
    /// A promise of the core that does not hold.
    pub fn tell(&mut self, member: Member, event: PairEvent, timeline: &mut Timeline) -> Verdict {
        let mut course = Course { queue: VecDeque::new(), timeline };
        self.turn(member, &[event], &mut course)?;
        self.drain(&mut course)
    }

    fn watchdog(&mut self, member: Member, course: &mut Course<'_>) {
        let (tick, data) = (self.tick, self.data);
        let node = self.node_mut(member);
        let is_off = matches!(node.daemon, Daemon::Off(_));
        if data && !is_off && tick.saturating_sub(node.last_pet) >= WATCHDOG_TICKS {
            node.cut_power(tick + 1);
            course.timeline.tell(|| format!("{tick:>3}  {member:?}: the watchdog resets it"));
        }
    }

    fn pet(&mut self, member: Member) -> Verdict {
        let tick = self.tick;
        let node = self.node(member);
        let Daemon::Running(pair) = &node.daemon else { return Ok(()) };
        if !pair.forbids_pet(node.now(tick).at) {
            self.ghost.pets(node, nanos(tick))?;
            self.node_mut(member).last_pet = tick;
        }
        Ok(())
    }

    /// A node's first turn in a tick: what waited for it, and its timers.
    fn begin(&mut self, member: Member, course: &mut Course<'_>) -> Verdict {
        self.wake(member, course)?;
        let tick = self.tick;
        let node = self.node_mut(member);
        if node.group().is_none() {
            return Ok(());
        }
        let unwell = node.unwell_until.is_some();
        let health = if unwell { Health::Failed } else { Health::Healthy };
        let mut events = vec![PairEvent::Health { group: GROUP, health, not_ready: None }];
        let ended = node.ended(tick);
        events.extend(ended.into_iter().map(|step| PairEvent::Done { step, ok: true }));
        let mut asks = Vec::new();
        for message in self.network.arrived(Sender::Node(member), tick) {
            self.hear(member, message, &mut events, &mut asks, course);
        }
        self.turn_with(member, &events, &asks, course)
    }

    /// Daemons that are down, frozen or without power come back when it is time.
    fn wake(&mut self, member: Member, course: &mut Course<'_>) -> Verdict {
        let (tick, data) = (self.tick, self.data);
        let node = self.node_mut(member);
        let off = || Daemon::Off(u32::MAX);
        let kept = match std::mem::replace(&mut node.daemon, off()) {
            Daemon::Off(until) if until <= tick => {
                node.boot(tick);
                None
            }
            Daemon::Down(until, kept) if until <= tick => kept,
            Daemon::Frozen(until, pair) if until <= tick => {
                course.timeline.tell(|| format!("{tick:>3}  {member:?}: wakes"));
                node.daemon = Daemon::Running(pair);
                return Ok(());
            }
            other => {
                node.daemon = other;
                return Ok(());
            }
        };
        let with = if kept.is_some() { "with" } else { "without" };
        course.timeline.tell(|| format!("{tick:>3}  {member:?}: starts {with} memory"));
        let seed = match member {
            Member::First => 1,
            Member::Second => 2,
        };
        let identity = Identity { member, session: node.session(), seed };
        let mut out = Vec::new();
        let group = setup::group(data);
        let pair = Pair::start(identity, vec![group], kept, node.now(tick), &mut out);
        node.daemon = Daemon::Running(pair);
        self.perform(member, out, &[], course)?;
        self.ghost.after_turn(of(&self.first, &self.second, member), None, nanos(tick))
    }

    fn drain(&mut self, course: &mut Course<'_>) -> Verdict {
        for _ in 0..DELIVERIES_MAX {
            match course.queue.pop_front() {
                None => return Ok(()),
                Some(Happens::Done(member, step, ok)) => {
                    self.turn(member, &[PairEvent::Done { step, ok }], course)?;
                }
                Some(Happens::Delivery(message)) => self.deliver(message, course)?,
            }
        }
        let what = format!("more than {DELIVERIES_MAX} messages in a tick");
        Err(Violation { invariant: "calm", what })
    }

    fn deliver(&mut self, message: Message, course: &mut Course<'_>) -> Verdict {
        let Sender::Node(member) = message.to else { return self.deliver_third(message, course) };
        match &self.node(member).daemon {
            Daemon::Off(_) | Daemon::Down(..) => Ok(()),
            Daemon::Frozen(..) => {
                self.network.keep(message, self.tick);
                Ok(())
            }
            Daemon::Running(_) => {
                let (mut events, mut asks) = (Vec::new(), Vec::new());
                self.hear(member, message, &mut events, &mut asks, course);
                self.turn_with(member, &events, &asks, course)
            }
        }
    }

    /// What a node's link makes of a message.
    fn hear(
        &mut self,
        member: Member,
        message: Message,
        events: &mut Vec<PairEvent>,
        asks: &mut Vec<(Owner, Ask)>,
        course: &mut Course<'_>,
    ) {
        let tick = self.tick;
        let node = self.node_mut(member);
        let (own, at) = (node.session(), node.now(tick).at);
        let from = message.from;
        match node.link(from).arrival(&message, own, at) {
            Arrival::Drop => {}
            Arrival::Greet => self.post(member, from, None, course),
            Arrival::Accept(echo_age) => {
                let Some(beat) = message.beat else { return };
                if let (Sender::Node(asker), Some(ask)) = (from, beat.ask) {
                    asks.push((Owner { member: asker, session: message.session }, ask));
                }
                let session = message.session;
                events.push(PairEvent::Heard { from, session, echo_age, beat });
            }
        }
    }

    fn deliver_third(&mut self, message: Message, course: &mut Course<'_>) -> Verdict {
        let (tick, to) = (self.tick, message.from);
        let Some(heard) = Rc::make_mut(&mut self.third).hear(message, tick) else { return Ok(()) };
        if let Some((asker, ask, vote)) = heard.vote {
            self.ghost.answers(Sender::Witness, None, asker, &ask, vote, nanos(tick))?;
        }
        if let Some(said) = heard.reply.beat.as_ref().and_then(timeline::said) {
            course.timeline.tell(|| format!("{tick:>3}  Witness: to {}: {said}", name(to)));
        }
        self.send(heard.reply, course);
        Ok(())
    }

    fn turn(&mut self, member: Member, events: &[PairEvent], course: &mut Course<'_>) -> Verdict {
        self.turn_with(member, events, &[], course)
    }

    /// One turn of a node's daemon.
    fn turn_with(
        &mut self,
        member: Member,
        events: &[PairEvent],
        asks: &[(Owner, Ask)],
        course: &mut Course<'_>,
    ) -> Verdict {
        let tick = self.tick;
        let node = self.node_mut(member);
        let now = node.now(tick);
        let before = node.group().and_then(|group| group.lease()).copied();
        let Daemon::Running(pair) = &mut node.daemon else { return Ok(()) };
        let mut out = Vec::new();
        for event in events {
            pair.handle(event, now, &mut out);
        }
        pair.tick(now, &mut out);
        self.perform(member, out, asks, course)?;
        self.ghost.after_turn(of(&self.first, &self.second, member), before, nanos(tick))
    }

    fn perform(
        &mut self,
        member: Member,
        actions: Vec<PairAction>,
        asks: &[(Owner, Ask)],
        course: &mut Course<'_>,
    ) -> Verdict {
        let (tick, at) = (self.tick, nanos(self.tick));
        for action in actions {
            if let Some(line) = timeline::action(&action) {
                course.timeline.tell(|| format!("{tick:>3}  {member:?}: {line}"));
            }
            match action {
                PairAction::Send { to, beat } => {
                    let node = of(&self.first, &self.second, member);
                    self.ghost.says(node, &beat)?;
                    if let Some(answer) = beat.answer
                        && let Some((asker, ask)) =
                            asks.iter().find(|(_, ask)| ask.sent == answer.sent)
                    {
                        self.ghost.answers(
                            node.sender(),
                            Some(node),
                            *asker,
                            ask,
                            answer.vote,
                            at,
                        )?;
                    }
                    self.post(member, to, Some(beat), course);
                }
                PairAction::OpenGuard { until, .. } => {
                    let node = self.node_mut(member);
                    node.kernel.guard = Some(node.in_world(until)).filter(|until| at < *until);
                }
                PairAction::CloseGuard { .. } => self.node_mut(member).kernel.guard = None,
                PairAction::Begin(id) => {
                    Ghost::begins(self.node(member), id, at)?;
                    if let Some(ok) = self.node_mut(member).begin(id, tick) {
                        course.queue.push_back(Happens::Done(member, id, ok));
                    }
                }
                PairAction::AskGateway { .. }
                | PairAction::ProbeAddress { .. }
                | PairAction::Report(_) => {}
            }
            one_owner([&self.first, &self.second], self.data, at)?;
        }
        Ok(())
    }

    fn post(&mut self, from: Member, to: Sender, beat: Option<Beat>, course: &mut Course<'_>) {
        let tick = self.tick;
        let node = self.node_mut(from);
        let message = Message {
            from: node.sender(),
            to,
            session: node.session(),
            sent: node.now(tick).at.boot,
            echo: node.link(to).heard,
            beat,
        };
        self.send(message, course);
    }

    fn send(&mut self, message: Message, course: &mut Course<'_>) {
        if let Some(message) = self.network.send(message, self.tick) {
            course.queue.push_back(Happens::Delivery(message));
        }
    }

    /// Both nodes at the end of a tick, in a line.
    fn summary(&self) -> String {
        let at = nanos(self.tick);
        let node = |node: &Node| {
            let daemon = match &node.daemon {
                Daemon::Off(_) => "off".into(),
                Daemon::Down(..) => "down".into(),
                Daemon::Frozen(..) => "frozen".into(),
                Daemon::Running(_) => format!("{:?}", self.role(node.member).unwrap_or_default()),
            };
            let guard = node.kernel.guard.map_or("shut".into(), |until| in_ticks(until, self.tick));
            let address = if node.kernel.addresses { " address" } else { "" };
            let units = if node.kernel.units { " units" } else { "" };
            let voter = node.sender();
            let promised = self.promised_by(voter, at);
            format!("{:?} {daemon} guard {guard}{address}{units}{promised}", node.member)
        };
        let (first, second) = (node(&self.first), node(&self.second));
        let witness = self.promised_by(Sender::Witness, at);
        format!("{:>3}  == {first} | {second} | Witness{witness}", self.tick)
    }

    fn promised_by(&self, voter: Sender, at: i64) -> String {
        let promise = |until: i64| in_ticks(until, self.tick);
        self.ghost
            .promises(at)
            .filter(|known| known.voter == voter)
            .max_by_key(|known| known.until)
            .map(|known| format!(" promised {:?} {}", known.owner.member, promise(known.until)))
            .unwrap_or_default()
    }
}

fn share<T: Eq + Hash>(machine: &mut Rc<T>, known: &mut HashSet<Rc<T>>) {
    match known.get(machine) {
        Some(known) => *machine = Rc::clone(known),
        None => {
            known.insert(Rc::clone(machine));
        }
    }
}

const fn of<'a>(first: &'a Node, second: &'a Node, member: Member) -> &'a Node {
    match member {
        Member::First => first,
        Member::Second => second,
    }
}
