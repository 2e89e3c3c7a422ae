//! Every state of a group against every event, written out; then single promises.

mod promises;
mod table;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::*;
use crate::pair::arbiters::witness;
use crate::pair::clock::Now;
use crate::pair::event::{Order, PairEvent};
use crate::pair::lease::Seats;
use crate::pair::message::{
    Answer, Ask, Beat, Member, Refusal, Release, Sender, Session, Standing, Vote,
};
use crate::pair::spec::{Failback, Safety};
use crate::pair::way_down::WayDown;
use crate::time::Mono;
use crate::timing::Timing;

const KEY: GroupKey = GroupKey(9);
const ME: Owner = Owner { member: Member::Second, session: Session(2) };
const PEER: Owner = Owner { member: Member::First, session: Session(1) };

/// The moment of every row, in milliseconds.
const T: u64 = 100_000;
/// The group's epoch, and the number after it.
const EPOCH: Epoch = Epoch(50);

fn ms(millis: u64) -> Span {
    Span::from_millis(millis)
}

fn at(millis: u64) -> Clocks {
    Clocks::ZERO.after(ms(millis))
}

fn now(millis: u64) -> Now {
    Now { at: at(millis), unix_secs: 0 }
}

fn spec() -> GroupSpec {
    GroupSpec {
        key: KEY,
        definition: 77,
        preferred: false,
        safety: Safety::Data { fenced: false },
        failback: Failback::Never,
        has_units: true,
        address_after_units: false,
        ends_connections: false,
        recover_after: Span::from_secs(60),
        address_limit: Span::from_secs(1),
        start_limit: Span::from_secs(20),
        stop_limit: Span::from_secs(5),
        stops_within: Some(Span::from_secs(30)),
        peer_stops_within: Some(Span::from_secs(30)),
        highest: Epoch::NONE,
        timing: Timing {
            lease: ms(1000),
            heartbeat: ms(100),
            slack: ms(100),
            promise: ms(1100),
            margin: ms(5),
            restart_lease: ms(8000),
            restart_promise: ms(9000),
            takeover_at_most: ms(3000),
        },
    }
}

/// What the peer says when it could take the group and has nothing of it.
fn peer_beat() -> Beat {
    Beat {
        group: KEY,
        definition: 77,
        role: Role::Standby,
        standing: Standing { health: Health::Healthy, preferred: false },
        not_ready: None,
        highest: EPOCH,
        stops_within: Some(Span::from_secs(30)),
        peer_stops_within: Some(Span::from_secs(30)),
        released: None,
        carried: None,
        ask: None,
        answer: None,
    }
}

/// A group that remembers everything and is fit, beside a ready peer, in some state. Its next
/// heartbeat is far away, so that only what an event causes is seen.
fn group(spec: GroupSpec, arbiter: Arbiter, state: State) -> Group {
    let voter = Voter::forgetful(at(0));
    let mut group = Group::with(ME, spec, arbiter, 1, state, voter, at(T));
    group.fitness.report(Health::Healthy, None, at(T));
    // It has been ready for long.
    group.peer.hear(&peer_beat(), true, at(T - 60_000));
    group.peer.hear(&peer_beat(), true, at(T - 50));
    group.highest = EPOCH;
    group.attempts = 20;
    group.next_beat = at(T + 60_000).boot;
    group.role = group.role_now(at(T));
    group
}

fn with_witness(state: State) -> Group {
    group(spec(), Arbiter::Witness(witness::Witness::default()), state)
}

fn idle() -> State {
    State::IDLE
}

/// A standby beside an owner that it promised the group to.
fn standby() -> Group {
    let mut group = with_witness(idle());
    let asked = Ask { promise: ms(1100), ..ask(EPOCH, true) };
    group.voter.vote(PEER, &asked, true, at(T - 100));
    group
}

fn ask(epoch: Epoch, held: bool) -> Ask {
    Ask { epoch, sent: at(5), lease: ms(1000), promise: ms(1100), held }
}

/// Asked everybody half a heartbeat ago.
fn asking() -> State {
    let mut candidacy = Candidacy::new(Epoch(51), Cause::OwnerSilent, at(T - 50));
    candidacy.asked(Seat::Peer, at(T - 50), ms(100));
    candidacy.asked(Seat::Third, at(T - 50), ms(100));
    State::Asking(candidacy)
}

/// Granted by the witness until `end`, with the own vote.
fn lease(end: u64) -> Lease {
    Lease {
        epoch: EPOCH,
        asks: EPOCH,
        granted: Seats { peer: None, third: Some(at(end)) },
        own_vote: true,
    }
}

fn step(step: Step, attempt: u32, until: u64) -> Underway {
    Underway { id: StepId { group: KEY, step, attempt }, until: at(until).boot }
}

fn waiting() -> State {
    let stage = Stage::Wait(at(T + 20_000));
    State::Taking { lease: lease(T + 500), stage, cause: Cause::OwnerSilent }
}

fn taking() -> State {
    let stage = Stage::Step(step(Step::AddAddresses, 20, T + 400));
    State::Taking { lease: lease(T + 500), stage, cause: Cause::OwnerSilent }
}

fn active() -> State {
    State::Active { lease: lease(T + 500) }
}

fn yielding() -> State {
    let step = step(Step::StopUnits, 20, T + 400);
    State::Yielding { lease: lease(T + 500), cause: Cause::Switchover, step }
}

fn dropping() -> State {
    let left = Leftovers {
        addresses: Left::Gone,
        units: Left::Going(step(Step::StopUnits, 20, T + 400)),
        since: at(T),
        told: false,
    };
    State::Dropping { epoch: EPOCH, cause: Cause::LeaseLost, left }
}

/// One turn: the event, if there is one, and the tick; as the shell does it.
fn turn(group: &mut Group, event: Option<&PairEvent>, millis: u64) -> Vec<PairAction> {
    let way_down = WayDown::new(at(millis).boot);
    let mut pair = crate::pair::Pair { me: ME, groups: Vec::from([group.clone()]), way_down };
    let mut out = PairActions::new();
    if let Some(event) = event {
        pair.handle(event, now(millis), &mut out);
    }
    pair.tick(now(millis), &mut out);
    assert!(pair.next_deadline(at(millis)) > at(millis).boot, "a busy loop: {pair:?}");
    *group = pair.groups.remove(0);
    out
}

fn state_name(group: &Group) -> &'static str {
    match &group.state {
        State::Idle { .. } => "idle",
        State::Asking(_) => "asking",
        State::Taking { stage: Stage::Wait(_), .. } => "waiting",
        State::Taking { .. } => "taking",
        State::Active { .. } => "active",
        State::Yielding { .. } => "yielding",
        State::Dropping { .. } => "dropping",
    }
}

/// The state and the actions, in a few words.
fn in_words(group: &Group, out: &[PairAction]) -> String {
    let mut words = String::from(state_name(group));
    for action in out {
        if let Some(text) = action_in_words(action) {
            words.push_str(", ");
            words.push_str(&text);
        }
    }
    words
}

fn action_in_words(action: &PairAction) -> Option<String> {
    Some(match action {
        PairAction::Send { to, beat } => {
            let to = if *to == Sender::Witness { "witness" } else { "peer" };
            match (beat.ask, beat.answer, beat.released) {
                (Some(ask), ..) => format!("ask {to} for {}", ask.epoch.0),
                (None, Some(answer), _) => match answer.vote {
                    Vote::Granted { peer_stopped: true } => "grant".to_string(),
                    Vote::Granted { peer_stopped: false } => "grant blindly".to_string(),
                    Vote::Busy { why, .. } => format!("refuse: {why:?}").to_lowercase(),
                },
                (None, None, Some(release)) => format!("release {} to {to}", release.epoch.0),
                (None, None, None) => format!("beat to {to}"),
            }
        }
        PairAction::OpenGuard { until, .. } => format!("guard to {}", millis_after(until.boot)),
        PairAction::CloseGuard { .. } => "guard closed".to_string(),
        PairAction::Begin(id) => match id.step {
            Step::AddAddresses => "add addresses",
            Step::EndConnections => "end connections",
            Step::RemoveAddresses => "remove addresses",
            Step::StartUnits => "start units",
            Step::StopUnits => "stop units",
            Step::Fence => "shoot",
        }
        .to_string(),
        PairAction::AskGateway { .. } => "ask gateway".to_string(),
        PairAction::ProbeAddress { .. } => "probe".to_string(),
        PairAction::Report(PairReport::Role { .. }) => return None,
        PairAction::Report(PairReport::Refused { why, .. }) => format!("no: {why:?}"),
        PairAction::Report(PairReport::Epoch { epoch, .. }) => format!("now {}", epoch.0),
        PairAction::Report(PairReport::RestartReady { .. }) => "restart now".to_string(),
        PairAction::Report(PairReport::CannotRemove { .. }) => "stuck".to_string(),
        PairAction::Report(PairReport::WayDown(passage)) => format!("{passage:?}"),
    })
}

fn millis_after(moment: Mono) -> u64 {
    moment.since(at(T).boot).as_millis()
}
