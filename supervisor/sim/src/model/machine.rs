//! One node of the world: its kernel, its daemon, and what troubles them.

use mastiff_core::pair::clock::{Clocks, Now};
use mastiff_core::pair::event::{Step, StepId};
use mastiff_core::pair::group::Group;
use mastiff_core::pair::message::{Member, Owner, Sender, Session};
use mastiff_core::pair::{Kept, Pair};

use super::network::Link;
use super::setup::{self, nanos, session};

/// What goes on without the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// The guard lets traffic pass up to then, in nanoseconds of the world.
    pub guard: Option<i64>,
    /// The addresses are there.
    pub addresses: bool,
    /// The units run.
    pub units: bool,
}

impl Kernel {
    /// Whether traffic may pass at that time. The guard may end late, by less than the slack.
    #[must_use]
    pub fn passes(&self, at: i64) -> bool {
        let slack = setup::timing().slack.as_nanos().cast_signed();
        self.addresses && self.guard.is_some_and(|until| at < until.saturating_add(slack))
    }

    /// Whether there is nothing of the group.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.guard.is_none() && !self.addresses && !self.units
    }

    /// What a step begins with, at worst: what is to come is there, what is to go is there still.
    const fn begin(&mut self, step: Step) {
        match step {
            Step::AddAddresses => self.addresses = true,
            Step::StartUnits => self.units = true,
            Step::EndConnections | Step::RemoveAddresses | Step::StopUnits | Step::Fence => {}
        }
    }

    const fn succeed(&mut self, step: Step) {
        match step {
            Step::RemoveAddresses => self.addresses = false,
            Step::StopUnits => self.units = false,
            Step::AddAddresses | Step::EndConnections | Step::StartUnits | Step::Fence => {}
        }
    }
}

/// The daemon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Daemon {
    /// The machine has no power until then.
    Off(u32),
    /// Dead until then, with what it left.
    Down(u32, Option<Kept>),
    /// Does not run until then, and does not know.
    Frozen(u32, Pair),
    /// Runs.
    Running(Pair),
}

/// What becomes of the steps of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// They fail.
    Fail,
    /// Their outcome comes so many ticks later.
    Slow(u32),
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// Which.
    pub member: Member,
    /// When its clocks began, in nanoseconds of the world.
    boot_at: i64,
    /// How many lives without memory it has had.
    life: u64,
    /// Its daemon.
    pub daemon: Daemon,
    /// Its kernel.
    pub kernel: Kernel,
    /// The group's checks fail up to and with that tick.
    pub unwell_until: Option<u32>,
    /// What becomes of steps, up to and with a tick.
    pub trouble: Option<(Trouble, u32)>,
    /// Steps whose outcome is still to come.
    pub pending: Vec<(u32, StepId)>,
    /// When the watchdog was last petted.
    pub last_pet: u32,
    /// What it knows of the other node's sessions.
    pub peer: Link,
    /// And of the witness'.
    pub witness: Link,
}

impl Node {
    /// A machine that is about to boot.
    #[must_use]
    pub fn new(member: Member) -> Self {
        // Clocks of two machines have nothing in common.
        let boot_at = match member {
            Member::First => nanos(3).saturating_neg(),
            Member::Second => nanos(8).saturating_neg(),
        };
        Self {
            member,
            boot_at,
            life: 0,
            daemon: Daemon::Down(0, None),
            kernel: Kernel::default(),
            unwell_until: None,
            trouble: None,
            pending: Vec::new(),
            last_pet: 0,
            peer: Link::default(),
            witness: Link::default(),
        }
    }

    /// As a sender of messages.
    #[must_use]
    pub const fn sender(&self) -> Sender {
        Sender::Node(self.member)
    }

    /// What its clocks say.
    #[must_use]
    pub fn now(&self, tick: u32) -> Now {
        setup::now(tick, self.boot_at)
    }

    /// When a deadline of its own clocks is, in nanoseconds of the world.
    #[must_use]
    pub fn in_world(&self, deadline: Clocks) -> i64 {
        setup::in_world(deadline, self.boot_at)
    }

    /// Its present session.
    #[must_use]
    pub const fn session(&self) -> Session {
        session(self.sender(), self.life)
    }

    /// As an owner.
    #[must_use]
    pub const fn owner(&self) -> Owner {
        Owner { member: self.member, session: self.session() }
    }

    /// What it knows of another machine.
    pub const fn link(&mut self, of: Sender) -> &mut Link {
        match of {
            Sender::Node(_) => &mut self.peer,
            Sender::Witness => &mut self.witness,
        }
    }

    /// Its group, if the daemon runs.
    #[must_use]
    pub fn group(&self) -> Option<&Group> {
        match &self.daemon {
            Daemon::Running(pair) => pair.groups().first(),
            Daemon::Off(_) | Daemon::Down(..) | Daemon::Frozen(..) => None,
        }
    }

    /// The power is cut until a tick.
    pub fn cut_power(&mut self, until: u32) {
        self.kernel = Kernel::default();
        self.die(Daemon::Off(until));
        self.forget();
    }

    /// The daemon dies, and is started again at a tick; with its memory or without.
    pub fn crash(&mut self, until: u32, keeps_memory: bool) -> bool {
        let (Daemon::Running(pair) | Daemon::Frozen(_, pair)) = &self.daemon else { return false };
        let kept = keeps_memory.then(|| pair.kept());
        self.die(Daemon::Down(until, kept));
        if !keeps_memory {
            self.forget();
        }
        true
    }

    /// The daemon does not run until a tick.
    pub fn freeze(&mut self, until: u32) -> bool {
        let running = self.group().is_some();
        if running {
            let daemon = std::mem::replace(&mut self.daemon, Daemon::Off(0));
            if let Daemon::Running(pair) = daemon {
                self.daemon = Daemon::Frozen(until, pair);
            }
        }
        running
    }

    fn die(&mut self, left: Daemon) {
        self.daemon = left;
        // Its children die with it.
        self.pending.clear();
    }

    /// Whatever comes next is somebody else.
    fn forget(&mut self) {
        self.life += 1;
        self.peer = Link::default();
        self.witness = Link::default();
    }

    /// The clocks of a machine that gets its power back begin anew.
    pub fn boot(&mut self, tick: u32) {
        self.boot_at = nanos(tick);
        self.last_pet = tick;
    }

    /// A step begins; the outcome, if it is there already.
    pub fn begin(&mut self, id: StepId, tick: u32) -> Option<bool> {
        let undoes = |other: Step| {
            matches!(
                (id.step, other),
                (Step::AddAddresses, Step::RemoveAddresses)
                    | (Step::RemoveAddresses, Step::AddAddresses)
                    | (Step::StartUnits, Step::StopUnits)
                    | (Step::StopUnits, Step::StartUnits)
            )
        };
        self.pending.retain(|(_, other)| !undoes(other.step));
        self.kernel.begin(id.step);
        match self.trouble {
            None => {
                self.kernel.succeed(id.step);
                Some(true)
            }
            Some((Trouble::Fail, _)) => Some(false),
            Some((Trouble::Slow(by), _)) => {
                self.pending.push((tick.saturating_add(by), id));
                None
            }
        }
    }

    /// Slow steps that end now.
    pub fn ended(&mut self, tick: u32) -> Vec<StepId> {
        let (ended, pending) = self.pending.drain(..).partition(|(due, _)| *due <= tick);
        self.pending = pending;
        let ended: Vec<(u32, StepId)> = ended;
        for (_, id) in &ended {
            self.kernel.succeed(id.step);
        }
        ended.into_iter().map(|(_, id)| id).collect()
    }

    /// The tick is over: what lasted up to it, and what lets nothing pass any more, is forgotten.
    pub fn end_tick(&mut self, tick: u32) {
        self.unwell_until = self.unwell_until.filter(|until| *until > tick);
        self.trouble = self.trouble.filter(|(_, until)| *until > tick);
        let slack = setup::timing().slack.as_nanos().cast_signed();
        self.kernel.guard =
            self.kernel.guard.filter(|until| nanos(tick) < until.saturating_add(slack));
    }
}
