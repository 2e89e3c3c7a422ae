//! The petter: the thread that does every call on the watchdog device, since a driver may take
//! seconds for one (IPMI does), and nobody else may wait for that.
//!
//! It decides nothing. The keeper hands it a permit for one pet ([`Slot`]), which expires; the
//! brain tells it what device is wanted and how it ends ([`Order`]). A permit that finds it inside
//! a call of the driver is looked at when that returns, and is void by then or not.
//!
//! ```text
//!            opened, or taken over from the store
//!  Looking ─────────────────────────────────────► Armed ──► Released  (closing it stops it)
//!     ▲  │ none, or busy: again after a while       │ └───► Left      (it goes on, without us)
//!     └──┘◄─────────────────────────────────────────┘ the driver is gone
//! ```

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};

use mastiff_core::report::Severity;
use mastiff_core::time::{Mono, Span};
use mastiff_core::watchdog::pet_every;
use mastiff_hwmon::root::Root;
use mastiff_hwmon::watchdog::Watchdog;
use mastiff_hwmon::watchdog::device::Device;
use mastiff_hwmon::watchdog::governor::Governor;
use mio::Waker;

use crate::fdstore;
use crate::keeper::shell::Notice;
use choose::Wanted;
use driver::Says;
use worker::Worker;

pub mod choose;
pub mod driver;
mod worker;

/// The name of the descriptor in the service manager's store.
pub const STORED: &str = "watchdog";
/// The kind of the notice that a device counts down.
pub const ARMED: &str = "watchdog-armed";
/// The kind of the notice that closing it stops it.
pub const RELEASED: &str = "watchdog-released";
/// Orders that may wait while the driver is busy.
const ORDERS_MAX: usize = 8;
/// Notices that may wait for the brain.
const NOTICES_MAX: usize = 16;
/// The petter comes right after the keeper, as its hands do.
const PRIORITY: i32 = crate::keeper::realtime::HANDS;

/// What the brain asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing more is done with it: it goes on counting, and fires unless a daemon `follows` that
    /// pets it. Something runs that must not run on without one.
    Abandon {
        /// A restart of the daemon.
        follows: bool,
    },
    /// Other times for the same device.
    Configure(Times),
    /// The end: closing the device stops it. The descriptor in the store, if there is one, goes on
    /// counting for a daemon that follows.
    Release,
    /// A restart of the daemon, which leaves groups as they are: the same, but with the time-out as
    /// it is even where nothing can stop the device. The peer reckons with that (`D`).
    Pass,
    /// The end of the machine: the device goes on counting for at most so long, and fires if the
    /// machine is not down by then.
    Leave(Span),
}

/// How the petter begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The device.
    pub wanted: Wanted,
    /// Its times.
    pub times: Times,
    /// Nothing that pets, be it opening the device or setting its times, is done without a permit:
    /// a machine whose units must not run twice pets only when none is left over (I13).
    pub careful: bool,
}

/// Times of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// After how long it is to reset the machine, in whole seconds.
    pub timeout: Span,
    /// How long before that it is to warn; zero: it is not to.
    pub pretimeout: Option<Span>,
    /// What the kernel is to do at that warning; `None`: what it would do anyhow.
    pub governor: Option<Governor>,
}

/// A device that counts down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Armed {
    /// As below /dev, if it is in the class.
    pub name: Option<String>,
    /// Which device that is.
    pub id: choose::Id,
    /// Whether it dies with the kernel that it should reset.
    pub is_software: bool,
    /// After how long it fires, as the driver says; `None`: it does not.
    pub timeout: Option<Span>,
    /// How long before that it warns; `None`: it cannot.
    pub pretimeout: Option<Span>,
    /// Why the kernel would not do at the warning what it is to do.
    pub ungoverned: Option<String>,
    /// Once started it cannot be stopped; `None`: the kernel does not say.
    pub nowayout: Option<bool>,
    /// Why the machine booted, by the driver (bits).
    pub bootstatus: Option<u64>,
    /// It was armed already, by a daemon before this one.
    pub adopted: bool,
    /// Closing it without the letter leaves it counting: else the end of the daemon stops it.
    pub magic_close: bool,
    /// What it was last asked to take; `None`: what it has is of a daemon before.
    pub given: Option<Times>,
}

/// Where the petter stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It has no device, and looks for one; why it has none, once that is known.
    Looking(Option<String>),
    /// It has one.
    Armed(Box<Armed>),
    /// Closing it stops it, or it is closed.
    Released,
    /// It goes on without us.
    Left,
}

/// What the petter shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Where it stands.
    pub state: State,
    /// Pets done.
    pub pets: u64,
    /// Pets that the driver refused.
    pub failed: u64,
    /// Permits that were void when they were seen.
    pub expired: u64,
    /// The longest call to pet.
    pub slowest: Span,
    /// What its driver says beside.
    pub says: Says,
}

/// Where the keeper leaves its permits. Nothing here waits.
#[derive(Debug, Default)]
pub struct Slot {
    /// Until when one pet may be done, by the boot clock; 0: none may.
    permit: AtomicI64,
    /// When the device was last petted.
    petted_at: AtomicI64,
    /// How often it should be, in nanoseconds; 0: there is no device.
    every: AtomicU64,
}

impl Slot {
    /// Whether there is a device, and its next pet is due before another `within`.
    #[must_use]
    pub fn is_due(&self, within: Span, now: Mono) -> bool {
        let every = Span::from_nanos(self.every.load(Ordering::Acquire));
        every > Span::ZERO && now.after(within).since(self.petted_at()) > every
    }

    /// When the device was last petted; the boot, before the first time.
    #[must_use]
    pub fn petted_at(&self) -> Mono {
        Mono::from_nanos(self.petted_at.load(Ordering::Acquire))
    }

    fn arm(&self, timeout: Option<Span>) {
        // A time-out that is not known is taken for the shortest.
        let every = pet_every(timeout.unwrap_or(Span::ZERO));
        self.every.store(every.as_nanos(), Ordering::Release);
    }

    /// A permit is wanted as soon as there may be one.
    fn ask(&self) {
        self.arm(None);
    }

    fn disarm(&self) {
        self.every.store(0, Ordering::Release);
    }

    /// Takes the permit: each one is for one pet.
    fn take(&self) -> Option<Mono> {
        let until = self.permit.swap(0, Ordering::AcqRel);
        (until != 0).then(|| Mono::from_nanos(until))
    }

    fn petted(&self, at: Mono) {
        self.petted_at.store(at.as_nanos(), Ordering::Release);
    }
}

/// The keeper's end.
#[derive(Clone, Debug)]
pub struct Permits {
    slot: Arc<Slot>,
    thread: Thread,
}

impl Permits {
    /// Whether a pet is due before another `within`.
    #[must_use]
    pub fn is_due(&self, within: Span, now: Mono) -> bool {
        self.slot.is_due(within, now)
    }

    /// Allows one pet until then.
    pub fn give(&self, until: Mono) {
        self.slot.permit.store(until.as_nanos(), Ordering::Release);
        self.thread.unpark();
    }
}

/// The brain's end.
#[derive(Debug)]
pub struct Petter {
    orders: SyncSender<Order>,
    notices: Receiver<Notice>,
    shown: Arc<Mutex<Shown>>,
    slot: Arc<Slot>,
    thread: JoinHandle<()>,
}

impl Petter {
    /// Starts the thread, which opens the device that is wanted, or goes on with the one in the
    /// store.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(start: Start, inherited: Option<OwnedFd>, brain: Arc<Waker>) -> io::Result<Self> {
        let (orders, receiver) = sync_channel(ORDERS_MAX);
        let (sender, notices) = sync_channel(NOTICES_MAX);
        let slot = Arc::new(Slot::default());
        if start.careful {
            slot.ask();
        }
        let shown = Arc::new(Mutex::new(Shown {
            state: State::Looking(None),
            pets: 0,
            failed: 0,
            expired: 0,
            slowest: Span::ZERO,
            says: Says::default(),
        }));
        let told = Told { notices: sender, brain, shown: Arc::clone(&shown) };
        let worker = Worker::new(start, inherited, Arc::clone(&slot), told);
        let thread = std::thread::Builder::new().name("petter".into()).spawn(move || {
            if let Err(why) = crate::keeper::realtime::enter(PRIORITY) {
                log::warn!("the petter is an ordinary thread, late on a busy machine: {why}");
            }
            worker.run(&receiver);
        })?;
        Ok(Self { orders, notices, shown, slot, thread })
    }

    /// What the keeper needs.
    #[must_use]
    pub fn permits(&self) -> Permits {
        Permits { slot: Arc::clone(&self.slot), thread: self.thread.thread().clone() }
    }

    /// Hands over an order; whether there was room.
    pub fn order(&self, order: Order) -> bool {
        let given = match self.orders.try_send(order) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        };
        self.thread.thread().unpark();
        given
    }

    /// What happened since the last call.
    pub fn notices(&self) -> impl Iterator<Item = Notice> + '_ {
        self.notices.try_iter()
    }

    /// How it stands.
    #[must_use]
    pub fn shown(&self) -> Shown {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the device was last petted; the boot, before the first time.
    #[must_use]
    pub fn petted_at(&self) -> Mono {
        self.slot.petted_at()
    }

    /// Whether the last order is done.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.shown().state, State::Released | State::Left)
    }
}

/// What the thread tells.
#[derive(Debug)]
struct Told {
    notices: SyncSender<Notice>,
    brain: Arc<Waker>,
    shown: Arc<Mutex<Shown>>,
}

impl Told {
    fn show(&self, write: impl FnOnce(&mut Shown)) {
        write(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn tell(&self, kind: &'static str, severity: Severity, text: String) {
        let notice = Notice { kind, severity, text };
        if self.notices.try_send(notice).is_err() {
            log::warn!("the brain takes no notices of the petter");
        }
        if let Err(error) = self.brain.wake() {
            log::warn!("cannot wake the brain: {error}");
        }
    }
}

/// What a daemon before this one left counting.
///
/// # Errors
/// In words: it is no watchdog.
pub fn left(fd: OwnedFd) -> Result<Left, String> {
    let device = Device::adopt(fd)
        .map_err(|error| format!("what systemd keeps as \"{STORED}\" is no watchdog: {error}"))?;
    let root = Root::machine();
    let name = device.name(&root);
    let found = name.as_deref().and_then(|name| choose::in_class(name, &root));
    Ok(Left { device, name, found })
}

/// Stops what a daemon before this one left counting, and says where that cannot be.
pub fn stop(fd: Option<OwnedFd>) {
    let stopped = fd.map_or(Ok(()), |fd| left(fd).and_then(Left::stop));
    stopped.unwrap_or_else(|why| log::error!("{why}"));
}

/// A device that counts.
#[derive(Debug)]
pub struct Left {
    device: Device,
    /// As below /dev.
    name: Option<String>,
    /// What sysfs says of it; `None` for drivers outside the class.
    found: Option<Watchdog>,
}

impl Left {
    /// Whether nothing can stop it.
    #[must_use]
    pub fn cannot_stop(&self) -> bool {
        self.found.as_ref().and_then(|found| found.nowayout) == Some(true)
    }

    /// To go on with it.
    #[must_use]
    pub fn keep(self) -> OwnedFd {
        self.device.into()
    }

    /// Stops it, here and in the store. One that nothing can stop gets its longest time-out, and
    /// stays in the store for a daemon that pets it again.
    ///
    /// # Errors
    /// In words: it goes on and resets the machine.
    pub fn stop(mut self) -> Result<(), String> {
        if self.cannot_stop() {
            return Err(self.goes_on());
        }
        self.device.allow_close().map_err(|error| {
            format!("the watchdog cannot be told that it may be closed: {error}")
        })?;
        // Closing it tells nothing; asked, the driver says whether it has stopped.
        match self.device.stop() {
            Ok(()) => {}
            Err(error) => match error.raw_os_error() {
                Some(libc::EBUSY) => return Err(self.goes_on()),
                Some(libc::ENOTTY | libc::EOPNOTSUPP | libc::EINVAL) => {}
                _ => log::warn!("the watchdog did not stop when asked to: {error}; it is closed"),
            },
        }
        drop(self.device);
        fdstore::forget(STORED)
    }

    /// Nothing can stop it: it gets as long as it takes. What is to be said.
    fn goes_on(mut self) -> String {
        let secs = worker::set_longest(&self.device, worker::LONGEST);
        let petted = self.device.pet();
        let secs = secs.map_or("its time-out".to_string(), |secs| format!("{secs} s"));
        let failed = petted.err().map_or(String::new(), |error| format!(" ({error})"));
        format!(
            "the watchdog cannot be stopped (nowayout): this machine is reset unless mastiffd pets \
             it again within {secs}{failed}"
        )
    }
}

/// The next order, if there is one. A brain that is gone releases; where units must not run twice,
/// nobody knows then whether they run.
fn next(orders: &Receiver<Order>, careful: bool) -> Option<Order> {
    match orders.try_recv() {
        Ok(order) => Some(order),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Disconnected) if careful => Some(Order::Abandon { follows: false }),
        Err(TryRecvError::Disconnected) => Some(Order::Release),
    }
}

#[cfg(test)]
mod tests;
