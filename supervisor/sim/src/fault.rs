//! Everything that goes wrong, as values: a plan is a list of them, and a list can be shortened.

use core::fmt;

use mastiff_core::pair::event::Order;
use mastiff_core::pair::message::Health;

use crate::clock::{MS, SECOND, Time};
use crate::network::{Place, WITNESS};
use crate::rng::Rng;

/// One thing that goes wrong. Most end by themselves after a while ([`Blow::lasts`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes, and comes back.
    PowerCut(Place),
    /// The power of both nodes goes, and comes back at the same time.
    BothPowerCut,
    /// The daemon dies and is restarted; with or without the memory of its former self.
    Crash(Place, bool),
    /// The daemon is stopped (SIGSTOP); its kernel goes on.
    Freeze(Place),
    /// The same in the middle of a turn: decided, not yet done.
    FreezeMidTurn(Place),
    /// The whole virtual machine is stopped; its clock runs on.
    Pause(Place),
    /// The whole virtual machine is stopped with its clock.
    PauseWithClock(Place),
    /// Suspend, with the hook that lets go first.
    Suspend(Place),
    /// Time synchronisation bends a clock, in parts per million.
    Slew(Place, i64),
    /// The date is set.
    SetDate(Place, i64),
    /// One path between the nodes is cut.
    PathCut(usize),
    /// One direction between two machines is cut, on all paths.
    OneWay(Place, Place),
    /// All paths between two machines are cut.
    Between(Place, Place),
    /// A machine is cut off from everything.
    CutOff(Place),
    /// Loss everywhere, in parts per thousand.
    Loss(u64),
    /// Delays everywhere of up to so many milliseconds: packets overtake each other.
    Delay(i64),
    /// Packets are doubled.
    Copies,
    /// Somebody sends again what was sent before.
    Replay,
    /// Somebody sends packets that are damaged, cut off or signed with another key.
    Forge,
    /// A check fails, or warns.
    Sick(Place, Health),
    /// The brain says nothing any more.
    BrainStall(Place),
    /// Steps fail.
    StepsFail(Place),
    /// Steps never answer.
    StepsHang(Place),
    /// The state files are lost.
    DiskLost(Place),
    /// A restart for an upgrade: planned, with the long lease.
    Upgrade(Place),
    /// A restart with another `takeover-within`.
    Reconfigure(Place),
    /// An operator, or the ladder.
    Order(Place, Order),
}

/// A fault, when, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blow {
    /// When.
    pub at: Time,
    /// For how long, where that means something.
    pub lasts: Time,
    /// What.
    pub fault: Fault,
}

/// What the world must be like for some faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Units that must not run twice: then a clock does not stop with its machine, since that is
    /// outside of what is promised.
    pub exclusive: bool,
    /// Paths between the nodes.
    pub paths: usize,
}

impl Fault {
    /// Any fault.
    #[must_use]
    pub fn any(rng: &mut Rng, terms: Terms) -> Self {
        let node = if rng.one_in(2) { 0 } else { 1 };
        let place = rng.of(&[0, 0, 1, 1, WITNESS], WITNESS);
        let (from, to) = rng.of(&[(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)], (0, 1));
        match rng.below(29) {
            0 | 1 => Self::PowerCut(place),
            2 => Self::BothPowerCut,
            3 | 4 => Self::Crash(place, place != WITNESS && rng.one_in(2)),
            5 => Self::Freeze(place),
            6 | 7 => Self::FreezeMidTurn(node),
            8 => Self::Pause(place),
            9 if !terms.exclusive => Self::PauseWithClock(place),
            9 | 10 => Self::Suspend(node),
            11 => Self::Slew(place, rng.of(&[-83_000, -500, 500, 83_000], 0)),
            12 => Self::SetDate(place, rng.of(&[-3600, -5, 5, 3600], 0)),
            13 => Self::PathCut(usize::from(rng.one_in(2))),
            14 => Self::OneWay(from, to),
            15 => Self::Between(from, to),
            16 => Self::CutOff(place),
            17 => Self::Loss(rng.of(&[50, 200, 500, 900], 100)),
            18 => Self::Delay(rng.of(&[5, 50, 400, 2000], 10)),
            19 => Self::Copies,
            20 => Self::Replay,
            21 => Self::Forge,
            22 => Self::Sick(node, rng.of(&[Health::Failed, Health::Degraded], Health::Failed)),
            23 => Self::BrainStall(node),
            24 => rng.of(&[Self::StepsFail(node), Self::StepsHang(node)], Self::StepsFail(node)),
            25 => Self::DiskLost(node),
            26 => Self::Upgrade(node),
            27 => Self::Reconfigure(node),
            _ => Self::Order(node, any_order(rng)),
        }
    }
}

fn any_order(rng: &mut Rng) -> Order {
    // "The peer is off" is only true where an operator looked: see the world.
    rng.of(
        &[
            Order::Switchover,
            Order::Switchover,
            Order::Failover { peer_is_off: false },
            Order::Failover { peer_is_off: true },
            Order::MoveAway,
            Order::LetGo,
            Order::Pause,
            Order::Resume,
            Order::PrepareRestart,
        ],
        Order::Resume,
    )
}

impl Blow {
    /// Any fault between `from` and `to`.
    #[must_use]
    pub fn any(rng: &mut Rng, terms: Terms, from: Time, to: Time) -> Self {
        let at = from + rng.below((to - from).unsigned_abs()).cast_signed();
        // Short ones meet a turn, long ones outlive every timer.
        let span = rng.of(&[50 * MS, 400 * MS, 2 * SECOND, 6 * SECOND, 15 * SECOND], SECOND);
        let lasts = 1 + rng.below(span.unsigned_abs()).cast_signed();
        Self { at, lasts, fault: Fault::any(rng, terms) }
    }
}

fn name(place: Place) -> &'static str {
    match place {
        0 => "db1",
        1 => "db2",
        _ => "witness",
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::PowerCut(place) => write!(f, "power cut of {}", name(place)),
            Self::BothPowerCut => f.write_str("power cut of both nodes"),
            Self::Crash(place, true) => write!(f, "{}: daemon killed, memory kept", name(place)),
            Self::Crash(place, false) => write!(f, "{}: daemon killed, memory lost", name(place)),
            Self::Freeze(place) => write!(f, "{}: daemon stopped (SIGSTOP)", name(place)),
            Self::FreezeMidTurn(place) => write!(f, "{}: daemon stopped in a turn", name(place)),
            Self::Pause(place) => write!(f, "{}: machine paused, clock runs on", name(place)),
            Self::PauseWithClock(place) => write!(f, "{}: machine paused with clock", name(place)),
            Self::Suspend(place) => write!(f, "{}: suspend", name(place)),
            Self::Slew(place, ppm) => write!(f, "{}: clock slewed by {ppm} ppm", name(place)),
            Self::SetDate(place, by) => write!(f, "{}: date set by {by} s", name(place)),
            Self::PathCut(path) => write!(f, "path {} between the nodes cut", path + 1),
            Self::OneWay(from, to) => write!(f, "nothing from {} to {}", name(from), name(to)),
            Self::Between(from, to) => write!(f, "{} and {} cut off", name(from), name(to)),
            Self::CutOff(place) => write!(f, "{} cut off from everything", name(place)),
            Self::Loss(permille) => write!(f, "{} % loss everywhere", permille / 10),
            Self::Delay(millis) => write!(f, "delays up to {millis} ms everywhere"),
            Self::Copies => f.write_str("packets doubled"),
            Self::Replay => f.write_str("old packets sent again"),
            Self::Forge => f.write_str("forged packets"),
            Self::Sick(place, health) => write!(f, "{}: health {health:?}", name(place)),
            Self::BrainStall(place) => write!(f, "{}: brain stalled", name(place)),
            Self::StepsFail(place) => write!(f, "{}: steps fail", name(place)),
            Self::StepsHang(place) => write!(f, "{}: steps hang", name(place)),
            Self::DiskLost(place) => write!(f, "{}: state files lost", name(place)),
            Self::Upgrade(place) => write!(f, "{}: upgrade", name(place)),
            Self::Reconfigure(place) => write!(f, "{}: another takeover-within", name(place)),
            Self::Order(place, order) => write!(f, "{}: order {order:?}", name(place)),
        }
    }
}
