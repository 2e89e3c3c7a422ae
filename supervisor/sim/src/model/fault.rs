//! All that may go wrong, and all that people may do, in one tick. Each of them is one from the
//! budget.

use std::fmt;

use mastiff_core::pair::event::{Order as Wish, PairEvent};
use mastiff_core::pair::message::{Member, Role, Sender};

use super::judge::Violation;
use super::machine::{Daemon, Trouble};
use super::network::{Flaw, Route};
use super::setup::GROUP;
use super::timeline::{Timeline, name};
use super::world::{Order, World};

/// Longer than any lease and its slack, so that everything runs out.
const LONG: u32 = 4;
const NODES: [Member; 2] = [Member::First, Member::Second];

/// One thing that happens between two ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A route is flawed for so many ticks.
    Flaw(Route, Flaw, u32),
    /// A node hears nobody and nobody hears it, for so many ticks.
    Isolate(Member, u32),
    /// The nodes do not hear each other, for so many ticks.
    Split(u32),
    /// The daemon dies and is started again so many ticks later, with its memory or without.
    Crash(Member, u32, bool),
    /// The power is cut for so many ticks.
    CutPower(Member, u32),
    /// The daemon does not run for so many ticks.
    Freeze(Member, u32),
    /// Checks fail for so many ticks.
    Unwell(Member, u32),
    /// Steps fail or are slow for so many ticks.
    Trouble(Member, Trouble, u32),
    /// Somebody wants something.
    Wish(Member, Wish),
    /// The witness starts without memory.
    WitnessRestart,
    /// The nodes' turns of the next tick come in another order.
    Order(Order),
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Fault> {
    let mut faults = vec![
        Fault::WitnessRestart,
        Fault::Split(LONG),
        Fault::Order(Order::SecondThenFirst),
        Fault::Order(Order::Crossing),
    ];
    for member in NODES {
        faults.extend([
            Fault::Isolate(member, LONG),
            Fault::Crash(member, 0, true),
            Fault::Crash(member, 2, true),
            Fault::Crash(member, 0, false),
            Fault::Crash(member, 2, false),
            Fault::CutPower(member, 1),
            Fault::CutPower(member, u32::MAX),
            Fault::Freeze(member, 1),
            Fault::Freeze(member, 3),
            Fault::Freeze(member, LONG),
            Fault::Unwell(member, LONG),
            Fault::Trouble(member, Trouble::Fail, 1),
            Fault::Trouble(member, Trouble::Fail, 2 * LONG),
            Fault::Trouble(member, Trouble::Slow(1), 1),
            Fault::Trouble(member, Trouble::Slow(2), 1),
            Fault::Wish(member, Wish::Switchover),
            Fault::Wish(member, Wish::LetGo),
            Fault::Wish(member, Wish::PrepareRestart),
        ]);
    }
    for route in routes() {
        faults.extend([
            Fault::Flaw(route, Flaw::Cut, 1),
            Fault::Flaw(route, Flaw::Cut, LONG),
            Fault::Flaw(route, Flaw::Late(1), 1),
            Fault::Flaw(route, Flaw::Late(3), 1),
            Fault::Flaw(route, Flaw::Twice(1), 1),
            Fault::Flaw(route, Flaw::Twice(3), 1),
        ]);
    }
    faults
}

fn routes() -> impl Iterator<Item = Route> {
    let ends = [Sender::Node(Member::First), Sender::Node(Member::Second), Sender::Witness];
    ends.into_iter().flat_map(move |from| {
        ends.into_iter().filter(move |to| *to != from).map(move |to| Route { from, to })
    })
}

impl Fault {
    /// Lets it happen; tells whether it could.
    ///
    /// # Errors
    /// A promise of the core that does not hold.
    pub fn happen(&self, world: &mut World, timeline: &mut Timeline) -> Result<bool, Violation> {
        let tick = world.tick;
        let end = |length: u32| tick.saturating_add(length);
        let next = |length: u32| tick.saturating_add(1).saturating_add(length);
        timeline.tell(|| format!("{tick:>3}  *** {self}"));
        Ok(match *self {
            Self::Flaw(route, flaw, length) => world.network.flaw(route, flaw, end(length)),
            Self::Isolate(member, length) => {
                let node = Sender::Node(member);
                let mut all = true;
                for route in routes().filter(|route| route.from == node || route.to == node) {
                    all &= world.network.flaw(route, Flaw::Cut, end(length));
                }
                all
            }
            Self::Split(length) => {
                let [from, to] = NODES.map(Sender::Node);
                world.network.flaw(Route { from, to }, Flaw::Cut, end(length))
                    && world.network.flaw(Route { from: to, to: from }, Flaw::Cut, end(length))
            }
            Self::Crash(member, length, keeps) => world.node_mut(member).crash(next(length), keeps),
            Self::CutPower(member, length) => {
                let node = world.node_mut(member);
                let on = !matches!(node.daemon, Daemon::Off(_));
                if on {
                    node.cut_power(next(length));
                }
                on
            }
            Self::Freeze(member, length) => world.node_mut(member).freeze(next(length)),
            Self::Unwell(member, length) => {
                world.node_mut(member).unwell_until.replace(end(length)).is_none()
            }
            Self::Trouble(member, trouble, length) => {
                world.node_mut(member).trouble.replace((trouble, end(length))).is_none()
            }
            Self::Wish(member, wish) => {
                let active = world.role(member) == Some(Role::Active);
                if active {
                    let event = PairEvent::Order { group: GROUP, order: wish };
                    world.tell(member, event, timeline)?;
                }
                active
            }
            Self::WitnessRestart => {
                world.restart_witness();
                true
            }
            Self::Order(order) => std::mem::replace(&mut world.order, order) == Order::default(),
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flaw(route, flaw, length) => {
                let (from, to) = (name(route.from), name(route.to));
                write!(f, "{from} to {to}: {flaw:?} for {length}")
            }
            Self::Isolate(member, length) => write!(f, "{member:?} is cut off for {length}"),
            Self::Split(length) => write!(f, "the nodes are split for {length}"),
            Self::Crash(member, length, keeps) => {
                let how = if *keeps { "with" } else { "without" };
                write!(f, "{member:?} crashes {how} memory, down for {length}")
            }
            Self::CutPower(member, u32::MAX) => write!(f, "{member:?} loses power for ever"),
            Self::CutPower(member, length) => write!(f, "{member:?} loses power for {length}"),
            Self::Freeze(member, length) => write!(f, "{member:?} freezes for {length}"),
            Self::Unwell(member, length) => write!(f, "{member:?} is unwell for {length}"),
            Self::Trouble(member, trouble, length) => {
                write!(f, "steps of {member:?}: {trouble:?} for {length}")
            }
            Self::Wish(member, wish) => write!(f, "{member:?} is ordered to {wish:?}"),
            Self::WitnessRestart => write!(f, "the witness starts without memory"),
            Self::Order(order) => write!(f, "the turns of the next tick: {order:?}"),
        }
    }
}
