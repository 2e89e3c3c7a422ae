//! The table: state, event, next state and actions. A row is `state: next state, actions`; reports
//! of roles are left out, they follow from the states.

use super::*;

extern crate std;

fn states() -> Vec<Group> {
    let mut states = Vec::from([standby()]);
    states.extend(
        [asking(), waiting(), taking(), active(), yielding(), dropping()].map(with_witness),
    );
    states
}

fn from_peer(beat: Beat) -> PairEvent {
    let from = Sender::Node(PEER.member);
    PairEvent::Heard { from, session: PEER.session, echo_age: Some(ms(20)), beat }
}

fn from_witness(beat: Beat) -> PairEvent {
    let from = Sender::Witness;
    PairEvent::Heard { from, session: Session(3), echo_age: Some(ms(20)), beat }
}

/// The answer to what each state has asked for last, 50 ms ago.
fn answer(group: &Group, vote: Vote, highest: u64) -> Beat {
    let epoch = match &group.state {
        State::Asking(candidacy) => candidacy.epoch,
        _ => EPOCH,
    };
    let answer = Answer { epoch, sent: at(T - 50), lease: ms(1000), vote };
    Beat { answer: Some(answer), highest: Epoch(highest), ..peer_beat() }
}

fn busy(why: Refusal) -> Vote {
    Vote::Busy { left: ms(300), why }
}

fn granted(peer_stopped: bool) -> Vote {
    Vote::Granted { peer_stopped }
}

fn done(group: &Group, ok: bool) -> PairEvent {
    let step = match &group.state {
        State::Yielding { .. } | State::Dropping { .. } => Step::StopUnits,
        _ => Step::AddAddresses,
    };
    PairEvent::Done { step: StepId { group: KEY, step, attempt: 20 }, ok }
}

fn order(order: Order) -> PairEvent {
    PairEvent::Order { group: KEY, order }
}

fn fit_peer(ask: Ask) -> Beat {
    let standing = Standing { health: Health::Healthy, preferred: true };
    Beat { ask: Some(ask), standing, ..peer_beat() }
}

fn unfit_peer(ask: Ask) -> Beat {
    let standing = Standing { health: Health::Degraded, preferred: true };
    Beat { ask: Some(ask), standing, ..peer_beat() }
}

fn health(health: Health) -> PairEvent {
    PairEvent::Health { group: KEY, health, not_ready: None }
}

type Event = fn(&Group) -> Option<PairEvent>;

/// What happens to every state, 50 ms after its last heartbeat unless said otherwise.
const EVENTS: &[(&str, u64, Event)] = &[
    ("nothing", 0, |_| None),
    ("the lease ends", 495, |_| None),
    ("the step takes too long", 450, |_| None),
    ("peer: beat", 0, |_| Some(from_peer(peer_beat()))),
    ("peer: holds", 0, |_| Some(from_peer(Beat { role: Role::Active, ..peer_beat() }))),
    ("peer: released", 0, |_| {
        let released = Some(Release { owner: PEER, epoch: EPOCH });
        Some(from_peer(Beat { released, ..peer_beat() }))
    }),
    ("peer: asks, fitter", 0, |_| Some(from_peer(fit_peer(ask(Epoch(51), false))))),
    ("peer: asks, less fit", 0, |_| Some(from_peer(unfit_peer(ask(Epoch(51), false))))),
    ("peer: renews, less fit", 0, |_| Some(from_peer(unfit_peer(ask(Epoch(51), true))))),
    ("peer: grants", 0, |group| Some(from_peer(answer(group, granted(false), 50)))),
    ("peer: grants, has stopped", 0, |group| Some(from_peer(answer(group, granted(true), 50)))),
    ("peer: held, higher", 0, |group| Some(from_peer(answer(group, busy(Refusal::Held), 60)))),
    ("peer: rival", 0, |group| Some(from_peer(answer(group, busy(Refusal::Rival), 50)))),
    ("witness: grants", 0, |group| Some(from_witness(answer(group, granted(false), 50)))),
    ("witness: held", 0, |group| Some(from_witness(answer(group, busy(Refusal::Held), 50)))),
    ("witness: held, higher", 0, |group| {
        Some(from_witness(answer(group, busy(Refusal::Held), 60)))
    }),
    ("witness: promised, higher", 0, |group| {
        Some(from_witness(answer(group, busy(Refusal::Promised), 60)))
    }),
    ("witness: epoch", 0, |group| Some(from_witness(answer(group, busy(Refusal::Epoch), 51)))),
    ("witness: silent", 0, |group| Some(from_witness(answer(group, busy(Refusal::Silent), 0)))),
    ("health: failed", 0, |_| Some(health(Health::Failed))),
    ("health: failing", 0, |_| Some(health(Health::Failing))),
    ("health: degraded", 0, |_| Some(health(Health::Degraded))),
    ("step: done", 0, |group| Some(done(group, true))),
    ("step: failed", 0, |group| Some(done(group, false))),
    ("step: an attempt given up is done", 0, |group| {
        let PairEvent::Done { step, ok } = done(group, true) else { return None };
        Some(PairEvent::Done { step: StepId { attempt: 19, ..step }, ok })
    }),
    ("watchdog gone", 0, |_| Some(PairEvent::StopsWithin(None))),
    ("order: switchover", 0, |_| Some(order(Order::Switchover))),
    ("order: move away", 0, |_| Some(order(Order::MoveAway))),
    ("order: failover", 0, |_| Some(order(Order::Failover { peer_is_off: false }))),
    ("order: failover, peer is off", 0, |_| Some(order(Order::Failover { peer_is_off: true }))),
    ("order: let go", 0, |_| Some(order(Order::LetGo))),
    ("order: pause", 0, |_| Some(order(Order::Pause))),
    ("order: resume", 0, |_| Some(order(Order::Resume))),
    ("order: prepare restart", 0, |_| Some(order(Order::PrepareRestart))),
    ("gateway answered", 0, |_| Some(PairEvent::GatewayAnswered { sent: at(T - 50) })),
    ("address answered", 0, |_| Some(PairEvent::AddressAnswered { group: KEY })),
    ("probe seen", 0, |_| Some(PairEvent::ProbeSeen { group: KEY })),
];

fn written() -> String {
    let mut table = String::new();
    for (name, later, event) in EVENTS {
        table.push_str(&format!("{name}\n"));
        for mut group in states() {
            let before = state_name(&group);
            let event = event(&group);
            let out = turn(&mut group, event.as_ref(), T + later);
            let line = format!("    {before}: {}\n", in_words(&group, &out));
            table.push_str(&line);
        }
    }
    table
}

#[test]
fn every_state_answers_every_event_as_written() {
    let is = written();
    // Seen when the test fails: what the table would be.
    std::print!("{is}");
    let should = include_str!("table.txt");
    for (is, should) in is.lines().zip(should.lines()) {
        assert_eq!(is, should);
    }
    assert_eq!(is.lines().count(), should.lines().count());
    assert_eq!(should.lines().count(), EVENTS.len() * 8);
}
