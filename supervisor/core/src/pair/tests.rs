//! Two nodes and a witness that talk to each other, on a virtual clock: whole stories, with nothing
//! lost. What may be lost, late or wrong is the simulator's.

use alloc::collections::BTreeMap;
use alloc::vec;

use super::arbiters::witness::Witness as WitnessSeat;
use super::clock::Clocks;
use super::event::{Leaving, Order, OrderRefused, PairAction, PairReport, Passage};
use super::message::{Beat, Epoch, Health, NotReady, Role, Sender};
use super::spec::{Failback, Safety};
use super::witness::Witness;
use super::*;
use crate::time::Span;
use crate::timing::Timing;

const KEY: GroupKey = GroupKey(9);
/// How long a message is under way.
const DELAY: u64 = 2;
/// Which of the nodes.
const A: usize = 0;
const B: usize = 1;

fn spec(safety: Safety) -> GroupSpec {
    let ms = Span::from_millis;
    GroupSpec {
        key: KEY,
        definition: 77,
        preferred: false,
        safety,
        failback: Failback::Never,
        has_units: true,
        address_after_units: false,
        ends_connections: true,
        recover_after: Span::from_secs(60),
        address_limit: Span::from_secs(1),
        start_limit: Span::from_secs(20),
        stop_limit: Span::from_secs(5),
        stops_within: Some(Span::from_secs(30)),
        peer_stops_within: None,
        highest: Epoch::NONE,
        timing: Timing {
            lease: ms(1000),
            heartbeat: ms(100),
            slack: ms(100),
            promise: ms(1100),
            margin: ms(5),
            restart_lease: ms(8000),
            restart_promise: ms(9000),
            takeover_at_most: ms(1500),
        },
    }
}

struct Message {
    from: Sender,
    to: Sender,
    session: Session,
    /// When was sent what the sender had heard last of the receiver.
    echo: Option<u64>,
    beat: Beat,
}

/// One machine with a node on it, and what its kernel and its units are.
struct Machine {
    pair: Option<Pair>,
    session: Session,
    /// When was sent what it heard last, by sender.
    heard: BTreeMap<Sender, u64>,
    kept: Option<Kept>,
    guard_until: u64,
    address: bool,
    units: bool,
    /// Steps that fail from now on.
    breaks: Option<Step>,
    steps: Vec<(u64, PairEvent)>,
    told: Vec<PairReport>,
    /// What its brain says each second.
    health: Health,
}

struct World {
    millis: u64,
    safety: Safety,
    sessions: u64,
    machines: [Machine; 2],
    witness: Witness,
    witness_heard: BTreeMap<Sender, u64>,
    under_way: Vec<(u64, Message)>,
    /// When each machine had an open guard and the address, in milliseconds.
    passed: [Vec<u64>; 2],
    ran: [Vec<u64>; 2],
}

fn at(millis: u64) -> Clocks {
    Clocks::ZERO.after(Span::from_millis(millis))
}

impl World {
    fn new(safety: Safety) -> Self {
        let machine = || Machine {
            pair: None,
            session: Session(0),
            heard: BTreeMap::new(),
            kept: None,
            guard_until: 0,
            address: false,
            units: false,
            breaks: None,
            steps: vec![],
            told: vec![],
            health: Health::Healthy,
        };
        let mut world = Self {
            millis: 1_000_000,
            safety,
            sessions: 0,
            machines: [machine(), machine()],
            witness: Witness::start(at(1_000_000)),
            witness_heard: BTreeMap::new(),
            under_way: vec![],
            passed: [vec![], vec![]],
            ran: [vec![], vec![]],
        };
        world.boot(A);
        world.boot(B);
        world
    }

    /// A pair of which A is active, B ready, and all voters remember.
    fn settled(safety: Safety) -> Self {
        let mut world = Self::new(safety);
        world.run(30_000);
        if world.role(B) == Role::Active {
            world.order(B, Order::Switchover);
            world.run(20_000);
        }
        assert_eq!((world.role(A), world.role(B)), (Role::Active, Role::Standby));
        world
    }

    fn now(&self) -> Now {
        Now { at: at(self.millis), unix_secs: self.millis / 1000 }
    }

    fn boot(&mut self, node: usize) {
        self.sessions += 1;
        let member = [Member::First, Member::Second][node];
        let session = Session(self.sessions);
        let seed = 7 + u64::try_from(node).unwrap();
        let identity = Identity { member, session, seed };
        let kept = self.machines[node].kept.take();
        self.machines[node].session = kept.as_ref().map_or(session, |kept| kept.me.session);
        let mut out = PairActions::new();
        let groups = vec![(spec(self.safety), Arbiter::Witness(WitnessSeat::default()))];
        let pair = Pair::start(identity, groups, kept, self.now(), &mut out);
        self.machines[node].pair = Some(pair);
        self.machines[node].heard.clear();
        self.perform(node, out);
    }

    /// The daemon is gone; the machine stays.
    fn kill(&mut self, node: usize, with_memory: bool) {
        let machine = &mut self.machines[node];
        machine.kept = machine.pair.take().filter(|_| with_memory).map(|pair| pair.kept());
        machine.steps.clear();
    }

    fn cut_power(&mut self, node: usize) {
        self.kill(node, false);
        let machine = &mut self.machines[node];
        (machine.guard_until, machine.address, machine.units) = (0, false, false);
    }

    fn turn(&mut self, node: usize, events: &[PairEvent]) {
        let now = self.now();
        let Some(pair) = &mut self.machines[node].pair else { return };
        let mut out = PairActions::new();
        for event in events {
            pair.handle(event, now, &mut out);
        }
        pair.tick(now, &mut out);
        assert!(pair.next_deadline(now.at) > now.at.boot, "a busy loop: {pair:?}");
        self.perform(node, out);
    }

    fn perform(&mut self, node: usize, out: PairActions) {
        for action in out {
            let machine = &mut self.machines[node];
            match action {
                PairAction::Send { to, beat } => self.send(node, to, beat),
                PairAction::OpenGuard { until, .. } => {
                    machine.guard_until = until.boot.since(Mono::BOOT).as_millis();
                }
                PairAction::CloseGuard { .. } => machine.guard_until = 0,
                PairAction::Begin(id) => {
                    let ok = machine.breaks != Some(id.step);
                    match id.step {
                        _ if !ok => {}
                        Step::AddAddresses => machine.address = true,
                        Step::RemoveAddresses => machine.address = false,
                        Step::StartUnits => machine.units = true,
                        Step::StopUnits => machine.units = false,
                        Step::EndConnections => {}
                        Step::Fence => unreachable!("no fence here"),
                    }
                    machine.steps.push((self.millis + 5, PairEvent::Done { step: id, ok }));
                }
                PairAction::Report(report) => machine.told.push(report),
                PairAction::AskGateway { .. } | PairAction::ProbeAddress { .. } => {
                    unreachable!("no wire here")
                }
            }
        }
    }

    fn send(&mut self, node: usize, to: Sender, beat: Beat) {
        let machine = &self.machines[node];
        let from = Sender::Node([Member::First, Member::Second][node]);
        let echo = machine.heard.get(&to).copied();
        let message = Message { from, to, session: machine.session, echo, beat };
        self.under_way.push((self.millis + DELAY, message));
    }

    fn deliver(&mut self, message: &Message) {
        let sent = self.millis - DELAY;
        let echo_age = message.echo.map(|echo| Span::from_millis(self.millis - echo));
        let (from, session, beat) = (message.from, message.session, message.beat);
        match message.to {
            Sender::Witness => {
                let Sender::Node(member) = from else { return };
                let (now, to) = (at(self.millis), from);
                let reply = self.witness.hear(member, session, echo_age, &beat, now);
                self.witness_heard.insert(from, sent);
                let (from, session) = (Sender::Witness, Session(999));
                let echo = Some(sent);
                let reply = reply.map(|beat| Message { from, to, session, echo, beat });
                self.under_way.extend(reply.map(|reply| (self.millis + DELAY, reply)));
            }
            Sender::Node(member) => {
                let node = if member == Member::First { A } else { B };
                self.machines[node].heard.insert(from, sent);
                self.turn(node, &[PairEvent::Heard { from, session, echo_age, beat }]);
            }
        }
    }

    /// Millisecond by millisecond; I1 and I2 hold in each.
    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.millis += 1;
            let now = self.millis;
            if now.is_multiple_of(1000) {
                for node in [A, B] {
                    let health = self.machines[node].health;
                    self.turn(node, &[PairEvent::Health { group: KEY, health, not_ready: None }]);
                }
            }
            for node in [A, B] {
                let steps = self.machines[node].steps.extract_if(.., |(at, _)| *at <= now);
                let steps: Vec<_> = steps.map(|(_, event)| event).collect();
                let due = self.machines[node]
                    .pair
                    .as_ref()
                    .is_some_and(|pair| pair.next_deadline(at(now)) <= at(now).boot);
                if due || !steps.is_empty() {
                    self.turn(node, &steps);
                }
            }
            let arrived: Vec<_> = self.under_way.extract_if(.., |(at, _)| *at <= now).collect();
            for (_, message) in arrived {
                self.deliver(&message);
            }
            self.judge();
        }
    }

    fn judge(&mut self) {
        let passes = [A, B].map(|node| {
            self.machines[node].address && self.machines[node].guard_until > self.millis
        });
        let runs = [A, B].map(|node| self.machines[node].units);
        assert!(!(passes[A] && passes[B]), "I1: two owners at {}", self.millis);
        let exclusive = self.safety != Safety::Network;
        assert!(!(exclusive && runs[A] && runs[B]), "I2: units twice at {}", self.millis);
        for node in [A, B] {
            if passes[node] {
                self.passed[node].push(self.millis);
            }
            if runs[node] {
                self.ran[node].push(self.millis);
            }
        }
    }

    fn order(&mut self, node: usize, order: Order) {
        self.turn(node, &[PairEvent::Order { group: KEY, order }]);
    }

    fn role(&self, node: usize) -> Role {
        self.machines[node].pair.as_ref().unwrap().groups()[0].role()
    }

    fn epoch(&self, node: usize) -> Epoch {
        self.machines[node].pair.as_ref().unwrap().groups()[0].lease().unwrap().epoch
    }

    /// How long from `since` to the first millisecond at which `node` passed traffic.
    fn passed_after(&self, node: usize, since: u64) -> u64 {
        self.passed[node].iter().find(|at| **at > since).expect("it never had it") - since
    }

    fn ran_after(&self, node: usize, since: u64) -> u64 {
        self.ran[node].iter().find(|at| **at > since).expect("they never ran") - since
    }

    /// For how many milliseconds since then nobody passed traffic.
    fn silent_since(&self, since: u64) -> u64 {
        let passed = |node: usize| self.passed[node].iter().filter(|at| **at > since).count();
        self.millis - since - u64::try_from(passed(A) + passed(B)).unwrap()
    }
}

const DATA: Safety = Safety::Data { fenced: false };

#[test]
fn a_cold_start_has_an_owner_once_the_voters_may_speak() {
    for safety in [Safety::Network, DATA] {
        let mut world = World::new(safety);
        let started = world.millis;
        world.run(12_000);
        let roles = [world.role(A), world.role(B)];
        assert!(roles.contains(&Role::Active) && roles.contains(&Role::Standby), "{roles:?}");
        let owner = if roles[A] == Role::Active { A } else { B };
        let after = world.passed_after(owner, started);
        assert!((10_000..10_500).contains(&after), "{after}");
    }
}

#[test]
fn after_a_power_cut_the_standby_is_active_within_the_promised_time() {
    let mut world = World::settled(Safety::Network);
    let before = world.epoch(A);
    let cut = world.millis;
    world.cut_power(A);
    world.run(5000);
    assert_eq!(world.role(B), Role::Active);
    assert!(world.epoch(B) > before);
    let after = world.passed_after(B, cut);
    assert!(after <= 1500, "{after}");
}

#[test]
fn a_frozen_owner_has_no_traffic_when_the_other_takes_it_and_yields_when_it_wakes() {
    let mut world = World::settled(Safety::Network);
    let frozen = world.machines[A].pair.take().unwrap();
    world.run(5000);
    assert_eq!(world.role(B), Role::Active);
    assert!(world.machines[A].address, "its kernel still has it, behind a closed guard");
    world.machines[A].pair = Some(frozen);
    world.run(1000);
    assert_eq!((world.role(A), world.role(B)), (Role::Standby, Role::Active));
    assert!(!world.machines[A].address);
}

#[test]
fn units_of_a_silent_owner_are_given_its_stop_time() {
    let mut world = World::settled(DATA);
    let cut = world.millis;
    world.cut_power(A);
    world.run(40_000);
    assert_eq!(world.role(B), Role::Active);
    let after = world.ran_after(B, cut);
    assert!((31_000..31_700).contains(&after), "{after}");
}

#[test]
fn units_start_as_soon_as_the_owner_before_is_back_with_nothing() {
    let mut world = World::settled(DATA);
    let cut = world.millis;
    world.cut_power(A);
    world.run(8000);
    assert_eq!(world.role(B), Role::Taking);
    world.boot(A);
    world.run(1000);
    assert_eq!(world.role(B), Role::Active);
    let after = world.ran_after(B, cut);
    assert!(after < 8300, "{after}");
}

#[test]
fn a_switchover_costs_the_steps_and_a_round_trip_and_waits_for_no_stop_time() {
    for safety in [Safety::Network, DATA] {
        let mut world = World::settled(safety);
        let ordered = world.millis;
        world.order(A, Order::Switchover);
        world.run(3000);
        assert_eq!((world.role(A), world.role(B)), (Role::Standby, Role::Active));
        // Stop, remove, told, asked, granted, added, started.
        let after = world.ran_after(B, ordered);
        assert!(after <= 30, "{after}");
    }
}

#[test]
fn who_dies_right_after_a_switchover_is_replaced_as_soon_as_any_other() {
    let mut world = World::settled(Safety::Network);
    world.order(A, Order::Switchover);
    world.run(100);
    assert_eq!(world.role(B), Role::Active);
    world.cut_power(B);
    world.run(1200);
    assert_eq!(world.role(A), Role::Active, "it had handed it over, and the peer had taken it");
}

#[test]
fn a_switchover_to_a_node_that_cannot_is_taken_back() {
    let mut world = World::settled(DATA);
    world.machines[B].breaks = Some(Step::StartUnits);
    let ordered = world.millis;
    world.order(A, Order::Switchover);
    world.run(3000);
    assert_eq!((world.role(A), world.role(B)), (Role::Active, Role::Fault));
    let gap = world.silent_since(ordered);
    assert!(gap < 200, "{gap}");
}

#[test]
fn bad_health_moves_a_group_and_it_stays_there() {
    let mut world = World::settled(Safety::Network);
    let failed = PairEvent::Health { group: KEY, health: Health::Failed, not_ready: None };
    world.turn(A, &[failed]);
    world.run(70_000);
    assert_eq!((world.role(A), world.role(B)), (Role::Standby, Role::Active));
}

#[test]
fn a_group_that_fails_on_both_nodes_in_turn_moves_three_times_and_then_stays() {
    let mut world = World::settled(Safety::Network);
    let failed = PairEvent::Health { group: KEY, health: Health::Failed, not_ready: None };
    for (owner, next) in [(A, B), (B, A), (A, B), (B, B)] {
        world.turn(owner, core::slice::from_ref(&failed));
        world.run(60_000 + 40_000);
        assert_eq!(world.role(next), Role::Active, "from {owner}");
    }
    // Each saw only its own half go; the other half came to it.
    world.order(B, Order::MoveAway);
    let why = OrderRefused::MovesTooOften;
    let refused = PairReport::Refused { group: KEY, order: Order::MoveAway, why };
    assert_eq!(world.machines[B].told.last(), Some(&refused));
    world.order(B, Order::Switchover);
    world.run(1000);
    assert_eq!(world.role(A), Role::Active, "an operator may");
}

#[test]
fn a_switchover_by_an_operator_is_no_move_by_itself() {
    let mut world = World::settled(Safety::Network);
    for owner in [A, B, A, B, A] {
        world.order(owner, Order::Switchover);
        world.run(50_000);
    }
    let failed = PairEvent::Health { group: KEY, health: Health::Failed, not_ready: None };
    world.turn(B, &[failed]);
    world.run(1000);
    assert_eq!((world.role(A), world.role(B)), (Role::Active, Role::Fault));
}

#[test]
fn a_fault_that_both_share_moves_nothing() {
    let mut world = World::settled(Safety::Network);
    let failed = PairEvent::Health { group: KEY, health: Health::Failed, not_ready: None };
    world.turn(B, core::slice::from_ref(&failed));
    world.run(200);
    world.turn(A, core::slice::from_ref(&failed));
    world.order(A, Order::MoveAway);
    let why = OrderRefused::PeerNotReady(Some(NotReady::CheckFailed));
    let refused = PairReport::Refused { group: KEY, order: Order::MoveAway, why };
    assert_eq!(world.machines[A].told.last(), Some(&refused));
    world.run(500);
    assert_eq!((world.role(A), world.role(B)), (Role::Active, Role::Waiting));
    // Nor when it ends there first: B's second is over, A's check is still failed.
    for _ in 0..10 {
        world.run(1000);
        world.turn(A, core::slice::from_ref(&failed));
        assert_eq!((world.role(A), world.role(B)), (Role::Active, Role::Standby));
    }
    // But it is left to a node that stays well.
    world.run(30_000);
    world.turn(A, &[failed]);
    world.run(1000);
    assert_eq!((world.role(A), world.role(B)), (Role::Fault, Role::Active));
}

/// A pair of which both have been well for as long as counts.
fn well_for_long() -> World {
    let mut world = World::settled(Safety::Network);
    world.run(70_000);
    world
}

#[test]
fn failing_hardware_moves_a_group_and_the_node_still_takes_it_from_a_dead_owner() {
    let mut world = well_for_long();
    world.machines[A].health = Health::Failing;
    world.run(20_000);
    assert_eq!((world.role(A), world.role(B)), (Role::Standby, Role::Active));
    // At once, and not when `recover-after` is over: nobody else is left.
    world.cut_power(B);
    world.run(5000);
    assert_eq!(world.role(A), Role::Active);
}

#[test]
fn failing_hardware_of_both_moves_nothing_until_one_is_better_for_a_while() {
    let mut world = well_for_long();
    for node in [B, A] {
        world.machines[node].health = Health::Failing;
        world.run(2000);
    }
    world.run(30_000);
    assert_eq!((world.role(A), world.role(B)), (Role::Active, Role::Standby));
    // What both share ends on one of them first.
    world.machines[B].health = Health::Degraded;
    world.run(64_000);
    assert_eq!((world.role(A), world.role(B)), (Role::Active, Role::Standby));
    world.run(4000);
    assert_eq!((world.role(A), world.role(B)), (Role::Standby, Role::Active));
}

#[test]
fn failing_hardware_that_comes_and_goes_moves_a_group_once() {
    let mut world = well_for_long();
    for round in 0..10 {
        let is_bad = round % 2 == 0;
        world.machines[A].health = if is_bad { Health::Failing } else { Health::Healthy };
        world.run(80_000);
        assert_eq!(world.role(B), Role::Active, "round {round}");
    }
}

#[test]
fn what_was_left_to_failing_hardware_stays_there_while_that_lasts() {
    // Because it fails on the other node, whose check of it then rests and looks well; or because
    // an operator wants so.
    for order in [None, Some(Order::Switchover)] {
        let mut world = well_for_long();
        world.machines[B].health = Health::Failing;
        world.run(2000);
        match order {
            Some(order) => world.order(A, order),
            None => world.machines[A].health = Health::Failed,
        }
        world.run(20_000);
        assert_eq!(world.role(B), Role::Active, "{order:?}");
        world.machines[A].health = Health::Healthy;
        world.run(300_000);
        assert_eq!((world.role(A), world.role(B)), (Role::Standby, Role::Active), "{order:?}");
        // Nor for a check that begins anew, as after a restart.
        let seconds = |world: &mut World, health, secs: u64| {
            world.machines[B].health = health;
            world.run(secs * 1000);
        };
        seconds(&mut world, Health::Healthy, 120);
        seconds(&mut world, Health::Failing, 20);
        assert_eq!(world.role(B), Role::Active, "{order:?}");
        // Once it was well for long, the next time is another matter.
        seconds(&mut world, Health::Healthy, 601);
        seconds(&mut world, Health::Failing, 2);
        assert_eq!(world.role(A), Role::Active, "{order:?}");
    }
}

#[test]
fn what_was_taken_from_the_dead_goes_back_when_they_are_well_for_long() {
    let mut world = well_for_long();
    world.machines[B].health = Health::Failing;
    world.run(2000);
    world.cut_power(A);
    world.run(20_000);
    assert_eq!(world.role(B), Role::Active);
    world.boot(A);
    world.run(60_000);
    assert_eq!(world.role(B), Role::Active);
    world.run(30_000);
    assert_eq!(world.role(A), Role::Active);
}

#[test]
fn a_planned_restart_changes_no_role_and_no_epoch() {
    for owner in [A, B] {
        let mut world = World::settled(DATA);
        if owner == B {
            world.order(A, Order::Switchover);
            world.run(20_000);
        }
        let (epoch, began) = (world.epoch(owner), world.millis);
        world.order(owner, Order::PrepareRestart);
        world.run(200);
        let ready = |report: &PairReport| matches!(report, PairReport::RestartReady { .. });
        assert!(world.machines[owner].told.iter().any(ready));
        world.kill(owner, true);
        world.run(5000);
        world.boot(owner);
        world.run(20_000);
        assert_eq!((world.role(owner), world.epoch(owner)), (Role::Active, epoch));
        assert_eq!(world.silent_since(began), 0);
    }
}

#[test]
fn a_standby_that_forgets_votes_again_later_and_costs_nothing() {
    for standby in [B, A] {
        let owner = 1 - standby;
        let mut world = World::settled(Safety::Network);
        if owner == B {
            world.order(A, Order::Switchover);
            world.run(20_000);
        }
        let began = world.millis;
        world.kill(standby, false);
        world.boot(standby);
        world.run(15_000);
        assert_eq!((world.role(owner), world.role(standby)), (Role::Active, Role::Standby));
        assert_eq!(world.silent_since(began), 0);
        // The owner has its vote again, and lives on it while the witness is away.
        world.witness = Witness::start(at(world.millis));
        world.run(5000);
        assert_eq!((world.role(owner), world.silent_since(began)), (Role::Active, 0));
    }
}

#[test]
fn a_witness_that_forgets_costs_nothing() {
    let mut world = World::settled(DATA);
    let (began, epoch) = (world.millis, world.epoch(A));
    world.witness = Witness::start(at(world.millis));
    world.run(20_000);
    assert_eq!((world.role(A), world.epoch(A)), (Role::Active, epoch));
    assert_eq!(world.silent_since(began), 0);
}

#[test]
fn a_daemon_that_forgets_its_lease_sweeps_and_waits() {
    let mut world = World::settled(DATA);
    let killed = world.millis;
    world.kill(A, false);
    world.boot(A);
    world.run(1);
    assert!(!world.machines[A].address && !world.machines[A].units);
    world.run(5000);
    // It says that it has nothing: the other takes the lease when its promise ends, and all of it.
    assert_eq!((world.role(A), world.role(B)), (Role::Standby, Role::Active));
    assert!(world.ran_after(B, killed) <= 1500);
}

/// Whether the node was told that it may go down.
fn is_free(world: &World, node: usize) -> bool {
    world.machines[node].told.contains(&PairReport::WayDown(Passage::Free))
}

fn want(world: &mut World, node: usize) {
    world.turn(node, &[PairEvent::Leaving(Leaving::Wants)]);
}

#[test]
fn of_two_nodes_that_must_reboot_at_once_one_stays_until_the_other_is_back() {
    let mut world = World::settled(Safety::Network);
    want(&mut world, A);
    want(&mut world, B);
    world.run(300);
    assert_eq!((is_free(&world, A), is_free(&world, B)), (false, true), "the lower name yields");
    assert_eq!((world.role(A), world.role(B)), (Role::Active, Role::Waiting));
    world.order(B, Order::LetGo);
    world.run(3000);
    world.cut_power(B);
    world.run(60_000);
    assert!(!is_free(&world, A));
    let waits = world.machines[A].told.iter().filter(|told| matches!(told, PairReport::WayDown(_)));
    assert_eq!(waits.count(), 1, "said once");
    world.boot(B);
    world.run(5000);
    assert!(!is_free(&world, A), "its voter is silent still: it could take nothing");
    world.run(7000);
    assert!(is_free(&world, A));
    world.order(A, Order::LetGo);
    world.run(1000);
    assert_eq!(world.role(B), Role::Active, "who stays takes what is let go");
    // It stays after all: then it is ready again.
    world.turn(A, &[PairEvent::Leaving(Leaving::Stays)]);
    world.order(A, Order::Resume);
    world.run(1000);
    assert_eq!(world.role(A), Role::Standby);
}

#[test]
fn who_waits_for_the_other_takes_what_that_one_leaves() {
    let mut world = World::settled(Safety::Network);
    want(&mut world, A);
    world.run(300);
    assert!(is_free(&world, A));
    want(&mut world, B);
    world.run(300);
    assert!(!is_free(&world, B), "whatever its name");
    world.order(A, Order::LetGo);
    world.run(1000);
    assert_eq!(world.role(B), Role::Active);
}
