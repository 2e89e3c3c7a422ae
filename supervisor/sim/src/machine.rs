//! One machine: power, clocks, kernel, disk, and the daemon that runs on it or does not.

use std::collections::VecDeque;

use mastiff_core::pair::clock::{Clocks, Now};
use mastiff_core::pair::event::{PairAction, PairEvent};
use mastiff_core::pair::link::Link;
use mastiff_core::pair::message::{Epoch, Health, Sender, Session};
use mastiff_core::pair::witness::Witness;
use mastiff_core::pair::{Kept, Pair};
use mastiff_core::time::Span;

use crate::clock::{Clock, Time};
use crate::kernel::{GuardKind, Kernel};
use crate::network::{PLACES, Packet, Place};

/// What a socket holds while its daemon does not read.
const SOCKET_MAX: usize = 200;
/// The date at which every world begins.
const UNIX_START: u64 = 1_800_000_000;

/// What runs on a machine.
#[derive(Clone, Debug)]
pub enum Program {
    /// A node's pair.
    Node(Box<Pair>),
    /// The witness.
    Witness(Box<Witness>),
}

/// A running daemon.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// What it decides with.
    pub program: Program,
    /// To each other machine; unused for its own place.
    pub links: [Option<Link>; PLACES],
    /// Actions of an interrupted turn, decided at that moment.
    pub interrupted: Option<(Clocks, VecDeque<PairAction>)>,
}

/// What outlives a daemon on this boot, and what outlives a boot.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The memfd in the service manager's store.
    pub kept: Option<Kept>,
    /// On disk: the highest epoch.
    pub highest: Epoch,
    /// On disk: the peer's stop time.
    pub peer_stops_within: Option<Span>,
}

/// How steps go on this machine, at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Steps {
    /// They work.
    #[default]
    Work,
    /// They fail.
    Fail,
    /// They never answer.
    Hang,
}

/// The watchdog of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dog {
    /// It resets the machine once nobody pets it.
    #[default]
    Armed,
    /// Its driver is gone, and the daemon does not know.
    Lost,
    /// The daemon was told.
    Known,
}

/// What the ladder of a node does with its machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rung {
    /// Nothing.
    #[default]
    None,
    /// Its rung `reboot` waits for the other node.
    Waits,
    /// It restarts the machine.
    Goes,
    /// The machine is off by it, or has not started its daemon again.
    Down,
}

/// One machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Where it is.
    pub place: Place,
    /// Its clocks; they begin anew with each boot.
    pub clock: Clock,
    /// Off machines do nothing.
    pub power: bool,
    /// Counts boots: what was begun on an earlier one does not end.
    pub boot: u32,
    /// Counts daemons, for the same reason.
    pub life: u32,
    /// The daemon, if one runs.
    pub daemon: Option<Daemon>,
    /// The daemon is stopped (SIGSTOP), the kernel goes on.
    pub frozen: bool,
    /// The whole machine is stopped: suspended or paused.
    pub stopped: bool,
    /// Its clocks are stopped with it.
    pub clock_stopped: bool,
    /// Its clocks were stopped with it, lately: until then the assumption of I1 does not hold.
    pub excused_until: Time,
    /// One kernel for each group.
    pub kernels: Vec<Kernel>,
    /// What outlives the daemon.
    pub memory: Memory,
    /// What arrived and was not read.
    pub inbox: VecDeque<Packet>,
    /// Steps that ended while the daemon did not run on.
    pub ended: VecDeque<PairEvent>,
    /// When the next turn is.
    pub turn_at: Option<Time>,
    /// What the brain says.
    pub health: Health,
    /// Whether it has lost the interface of its addresses.
    pub link_lost: bool,
    /// Whether the brain says anything.
    pub brain_stalled: bool,
    /// How steps go.
    pub steps: Steps,
    /// What its ladder does.
    pub rung: Rung,
    /// For how long it is off when its ladder restarts it.
    pub restart_takes: Time,
    /// Its watchdog.
    pub dog: Dog,
    /// Its watchdog was lost, and since the daemon learned of it the machine has not been clean:
    /// a node that stops dead right then is more than I2 stands.
    pub unguarded: bool,
    /// Which terms its file has for the groups.
    pub agreed: u8,
    /// Steps under way that were begun and whose end counts.
    pub petted_at: Time,
    /// Seconds that its wall clock is wrong by.
    pub wall_error: i64,
    /// The oscillator.
    pub ppm: i64,
}

impl Machine {
    /// A machine that is off.
    #[must_use]
    pub fn off(place: Place, groups: usize, guard: GuardKind) -> Self {
        Self {
            place,
            clock: Clock::boot(0, 0),
            power: false,
            boot: 0,
            life: 0,
            daemon: None,
            frozen: false,
            stopped: false,
            clock_stopped: false,
            excused_until: 0,
            kernels: vec![Kernel::new(guard); groups],
            memory: Memory::default(),
            inbox: VecDeque::new(),
            ended: VecDeque::new(),
            turn_at: None,
            health: Health::Healthy,
            link_lost: false,
            brain_stalled: false,
            steps: Steps::Work,
            rung: Rung::None,
            restart_takes: 0,
            dog: Dog::Armed,
            unguarded: false,
            agreed: 0,
            petted_at: 0,
            wall_error: 0,
            ppm: 0,
        }
    }

    /// Both clocks and the date.
    #[must_use]
    pub fn now(&self, time: Time) -> Now {
        let seconds = UNIX_START.saturating_add_signed(time / 1_000_000_000);
        Now { at: self.clock.read(time), unix_secs: seconds.saturating_add_signed(self.wall_error) }
    }

    /// Whether the kernel runs at all.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.power && !self.stopped
    }

    /// Whether the daemon could make a turn.
    #[must_use]
    pub const fn is_awake(&self) -> bool {
        self.is_running() && !self.frozen && self.daemon.is_some()
    }

    /// Whether traffic for a group's addresses passes here.
    #[must_use]
    pub fn passes(&self, group: usize, time: Time) -> bool {
        self.is_running()
            && self.kernels.get(group).is_some_and(|kernel| kernel.passes(self.clock.read(time)))
    }

    /// Whether a group's units run here.
    #[must_use]
    pub fn runs_units(&self, group: usize) -> bool {
        self.power && self.kernels.get(group).is_some_and(|kernel| kernel.units)
    }

    /// A packet arrives.
    pub fn deliver(&mut self, packet: Packet) {
        if self.is_running() && self.daemon.is_some() && self.inbox.len() < SOCKET_MAX {
            self.inbox.push_back(packet);
        }
    }

    /// The daemon ends, without a word. What the kernel was told stays.
    pub fn end_daemon(&mut self) {
        self.daemon = None;
        self.rung = Rung::None;
        self.life += 1;
        self.inbox.clear();
        self.ended.clear();
        self.turn_at = None;
        for kernel in &mut self.kernels {
            kernel.forget_wish();
        }
    }

    /// Power off. Only the disk stays.
    pub fn power_off(&mut self, guard: GuardKind) {
        self.end_daemon();
        self.power = false;
        self.clock_stopped = false;
        self.stopped = false;
        self.frozen = false;
        self.boot += 1;
        self.memory.kept = None;
        (self.dog, self.unguarded) = (Dog::Armed, false);
        for kernel in &mut self.kernels {
            *kernel = Kernel::new(guard);
        }
    }

    /// Whether it is on its way down by its ladder, or down by it.
    #[must_use]
    pub const fn goes_down(&self) -> bool {
        matches!(self.rung, Rung::Goes | Rung::Down)
    }

    /// It was petted, if there is still something to pet.
    pub const fn pet(&mut self, time: Time) {
        if matches!(self.dog, Dog::Armed) {
            (self.petted_at, self.unguarded) = (time, false);
        }
    }

    /// Whether nothing of any group is here.
    #[must_use]
    pub fn is_clean(&self, time: Time) -> bool {
        self.kernels.iter().all(|kernel| kernel.is_clean(self.clock.read(time)))
    }

    /// The node's pair, if it runs.
    #[must_use]
    pub fn pair(&self) -> Option<&Pair> {
        match &self.daemon.as_ref()?.program {
            Program::Node(pair) => Some(pair),
            Program::Witness(_) => None,
        }
    }
}

/// Links of a daemon that has just started in `session`.
#[must_use]
pub fn links(place: Place, session: Session) -> [Option<Link>; PLACES] {
    core::array::from_fn(|other| {
        (other != place).then(|| Link::new(sender(place), session, sender(other)))
    })
}

/// Who speaks from a place.
#[must_use]
pub const fn sender(place: Place) -> Sender {
    use mastiff_core::pair::message::Member::{First, Second};
    match place {
        0 => Sender::Node(First),
        1 => Sender::Node(Second),
        _ => Sender::Witness,
    }
}

/// The place of somebody.
#[must_use]
pub const fn place_of(sender: Sender) -> Place {
    use mastiff_core::pair::message::Member::{First, Second};
    match sender {
        Sender::Node(First) => 0,
        Sender::Node(Second) => 1,
        Sender::Witness => 2,
    }
}
