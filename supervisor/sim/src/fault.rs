//! Everything that goes wrong, as values: a plan is a list of them, and a list can be shortened.

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
    /// A node hears nobody, and is heard by all.
    Deaf(Place),
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
    /// A check of both nodes fails. The brain of this one tells it only when that of the other one
    /// must have (rung `switchover`).
    SharedFault(Place),
    /// The interface of its addresses goes, and the paths stay.
    LinkLost(Place),
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
    /// The driver of the watchdog is gone: nothing resets the machine any more, and the brain
    /// notices with its next look.
    WatchdogLost(Place),
    /// A reload takes over other terms for all groups, and one of the other node follows.
    Agree(Place, u8),
    /// A ladder comes to its rung `reboot`.
    Reboot(Place),
    /// The same on both nodes at once: what failed is shared.
    BothReboot,
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
        match rng.below(34) {
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
            22 => {
                let sick = |health| Self::Sick(node, health);
                let sick = [Health::Failed, Health::Failing, Health::Degraded].map(sick);
                if rng.one_in(4) {
                    Self::LinkLost(node)
                } else {
                    rng.of(&sick, Self::LinkLost(node))
                }
            }
            23 => Self::BrainStall(node),
            24 => rng.of(&[Self::StepsFail(node), Self::StepsHang(node)], Self::StepsFail(node)),
            25 => Self::DiskLost(node),
            26 => Self::Upgrade(node),
            27 => Self::Reconfigure(node),
            28 => Self::Deaf(node),
            29 => Self::Reboot(node),
            30 => Self::BothReboot,
            31 => Self::WatchdogLost(node),
            32 => Self::Agree(node, rng.of(&[1, 2, 3], 1)),
            _ => Self::Order(node, any_order(rng)),
        }
    }
}

impl Fault {
    /// What the pair stands for ever: two voters, a ready node among them, still hear each other.
    #[must_use]
    pub fn any_lasting(rng: &mut Rng) -> Self {
        let node = if rng.one_in(2) { 0 } else { 1 };
        let place = rng.of(&[0, 1, WITNESS], WITNESS);
        let (from, to) = rng.of(&[(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)], (0, 1));
        match rng.below(5) {
            0 => Self::PowerCut(place),
            1 => Self::CutOff(place),
            2 => Self::Between(from, to),
            3 => Self::OneWay(from, to),
            _ => Self::Deaf(node),
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

/// How people call the machines.
#[derive(Clone, Debug)]
pub struct Names(pub [String; 3]);

impl Default for Names {
    fn default() -> Self {
        Self(["db1".into(), "db2".into(), "witness".into()])
    }
}

impl Names {
    /// The name of a place.
    #[must_use]
    pub fn of(&self, place: Place) -> &str {
        self.0.get(place).map_or("nobody", String::as_str)
    }
}

impl Fault {
    /// The same with the nodes exchanged.
    #[must_use]
    pub const fn mirrored(self) -> Self {
        const fn other(place: Place) -> Place {
            if place == WITNESS { WITNESS } else { 1 - place }
        }
        match self {
            Self::PowerCut(place) => Self::PowerCut(other(place)),
            Self::Crash(place, memory) => Self::Crash(other(place), memory),
            Self::Freeze(place) => Self::Freeze(other(place)),
            Self::FreezeMidTurn(place) => Self::FreezeMidTurn(other(place)),
            Self::Pause(place) => Self::Pause(other(place)),
            Self::PauseWithClock(place) => Self::PauseWithClock(other(place)),
            Self::Suspend(place) => Self::Suspend(other(place)),
            Self::Slew(place, ppm) => Self::Slew(other(place), ppm),
            Self::SetDate(place, by) => Self::SetDate(other(place), by),
            Self::OneWay(from, to) => Self::OneWay(other(from), other(to)),
            Self::Between(from, to) => Self::Between(other(from), other(to)),
            Self::CutOff(place) => Self::CutOff(other(place)),
            Self::Deaf(place) => Self::Deaf(other(place)),
            Self::Sick(place, health) => Self::Sick(other(place), health),
            Self::SharedFault(place) => Self::SharedFault(other(place)),
            Self::LinkLost(place) => Self::LinkLost(other(place)),
            Self::BrainStall(place) => Self::BrainStall(other(place)),
            Self::StepsFail(place) => Self::StepsFail(other(place)),
            Self::StepsHang(place) => Self::StepsHang(other(place)),
            Self::DiskLost(place) => Self::DiskLost(other(place)),
            Self::Upgrade(place) => Self::Upgrade(other(place)),
            Self::Reconfigure(place) => Self::Reconfigure(other(place)),
            Self::WatchdogLost(place) => Self::WatchdogLost(other(place)),
            Self::Agree(place, which) => Self::Agree(other(place), which),
            Self::Reboot(place) => Self::Reboot(other(place)),
            Self::Order(place, order) => Self::Order(other(place), order),
            Self::BothPowerCut
            | Self::BothReboot
            | Self::PathCut(_)
            | Self::Loss(_)
            | Self::Delay(_)
            | Self::Copies
            | Self::Replay
            | Self::Forge => self,
        }
    }

    /// In words.
    #[must_use]
    pub fn words(&self, names: &Names) -> String {
        let name = |place| names.of(place);
        match *self {
            Self::PowerCut(place) => format!("power cut of {}", name(place)),
            Self::BothPowerCut => "power cut of both nodes".into(),
            Self::Crash(place, true) => format!("{}: daemon killed, memory kept", name(place)),
            Self::Crash(place, false) => format!("{}: daemon killed, memory lost", name(place)),
            Self::Freeze(place) => format!("{}: daemon stopped (SIGSTOP)", name(place)),
            Self::FreezeMidTurn(place) => format!("{}: daemon stopped in a turn", name(place)),
            Self::Pause(place) => format!("{}: machine paused, clock runs on", name(place)),
            Self::PauseWithClock(place) => format!("{}: machine paused with clock", name(place)),
            Self::Suspend(place) => format!("{}: suspend", name(place)),
            Self::Slew(place, ppm) => format!("{}: clock slewed by {ppm} ppm", name(place)),
            Self::SetDate(place, by) => format!("{}: date set by {by} s", name(place)),
            Self::PathCut(path) => format!("path {} between the nodes cut", path + 1),
            Self::OneWay(from, to) => format!("nothing from {} to {}", name(from), name(to)),
            Self::Between(from, to) => format!("nothing between {} and {}", name(from), name(to)),
            Self::CutOff(place) => format!("{} cut off from everything", name(place)),
            Self::Deaf(place) => format!("{} hears nobody", name(place)),
            Self::Loss(permille) => format!("{} % loss everywhere", permille / 10),
            Self::Delay(millis) => format!("delays up to {millis} ms everywhere"),
            Self::Copies => "packets doubled".into(),
            Self::Replay => "old packets sent again".into(),
            Self::Forge => "forged packets".into(),
            Self::Sick(place, health) => format!("{}: health {health:?}", name(place)),
            Self::SharedFault(place) => {
                format!("a check of both nodes failed, {} waits", name(place))
            }
            Self::LinkLost(place) => format!("{}: interface lost", name(place)),
            Self::BrainStall(place) => format!("{}: brain stalled", name(place)),
            Self::StepsFail(place) => format!("{}: steps fail", name(place)),
            Self::StepsHang(place) => format!("{}: steps hang", name(place)),
            Self::DiskLost(place) => format!("{}: state files lost", name(place)),
            Self::Upgrade(place) => format!("{}: upgrade", name(place)),
            Self::Reconfigure(place) => format!("{}: another takeover-within", name(place)),
            Self::WatchdogLost(place) => format!("{}: watchdog lost", name(place)),
            Self::Agree(place, which) => format!("{}: reload, terms {which}", name(place)),
            Self::Reboot(place) => format!("{}: rung reboot", name(place)),
            Self::BothReboot => "rung reboot on both nodes".into(),
            Self::Order(place, order) => format!("{}: order {order:?}", name(place)),
        }
    }
}
