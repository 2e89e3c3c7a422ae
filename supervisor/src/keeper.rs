//! The keeper: the real-time loop.
//!
//! Today it measures its own lateness and receives the brain's health report; leases, addresses and
//! petting come to it later, and the rules hold from the start: it touches no disk, spawns nothing,
//! waits for nobody, and after its start it allocates nothing. What passes between it and the brain
//! are two bounded queues and a waker.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use lateness::Lateness;
use mastiff_core::health::Verdict;
use mastiff_core::time::{Mono, Span};
use mio::{Events, Poll, Token, Waker};

use crate::clock;

pub mod address;
pub mod devices;
mod lateness;
#[cfg(test)]
mod namespace;

/// Its rhythm while there is no lease to renew.
pub const TURN: Span = Span::from_secs(1);
/// Messages that may wait in each direction. The brain reads once a turn, the keeper at every
/// wake-up; more than a few mean that the other side is stuck, and then the newest message replaces
/// nothing: it is counted as lost.
const QUEUE: usize = 16;
const WAKE: Token = Token(0);

/// What the brain tells the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToKeeper {
    /// The health of this node as of a moment.
    Health(Verdict, Mono),
    /// The end.
    Stop,
}

/// What the keeper tells the brain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// When its turn began.
    pub at: Mono,
    /// How late its latest turn of the last minute began.
    pub late_max: Span,
    /// How late its latest turn since the start began.
    pub late_worst: Span,
    /// The moment of the newest health report that it has.
    pub health_of: Option<Mono>,
}

/// The brain's end of the keeper.
#[derive(Debug)]
pub struct Keeper {
    orders: SyncSender<ToKeeper>,
    reports: Receiver<Report>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
    latest: Option<Report>,
    lost: u64,
}

impl Keeper {
    /// Starts the loop in a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread or no poll descriptor.
    pub fn start() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (orders, receiver) = sync_channel(QUEUE);
        let (sender, reports) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || run(poll, &receiver, &sender))?;
        Ok(Self { orders, reports, waker, thread: Some(thread), latest: None, lost: 0 })
    }

    /// Hands over the health of this node. Never waits: a keeper that does not read is noticed by
    /// its silence.
    pub fn tell(&mut self, verdict: Verdict, now: Mono) {
        match self.orders.try_send(ToKeeper::Health(verdict, now)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost = self.lost.saturating_add(1)
            }
        }
        if let Err(error) = self.waker.wake() {
            log::warn!("cannot wake the keeper: {error}");
        }
    }

    /// Its newest report; `None` before the first.
    pub fn latest(&mut self) -> Option<Report> {
        while let Ok(report) = self.reports.try_recv() {
            self.latest = Some(report);
        }
        self.latest
    }

    /// Health reports that the keeper did not take.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Ends the loop and waits for it: one turn at most.
    pub fn stop(mut self) {
        let told = self.orders.try_send(ToKeeper::Stop).is_ok() && self.waker.wake().is_ok();
        if let Some(thread) = self.thread.take().filter(|_| told)
            && thread.join().is_err()
        {
            log::error!("the keeper panicked");
        }
    }
}

fn run(mut poll: Poll, orders: &Receiver<ToKeeper>, reports: &SyncSender<Report>) {
    let mut events = Events::with_capacity(8);
    let mut lateness = Lateness::default();
    // On the grid of the brain's readings: one wake-up of the machine for both.
    let mut due = clock::now().next_on_grid(TURN);
    let mut health_of = None;
    loop {
        let wait = Duration::from_nanos(due.since(clock::now()).as_nanos());
        if let Err(error) = poll.poll(&mut events, Some(wait))
            && error.kind() != io::ErrorKind::Interrupted
        {
            // Without its poll it cannot keep time. Its silence stops the petting.
            log::error!("the keeper cannot poll: {error}");
            return;
        }
        let now = clock::now();
        loop {
            match orders.try_recv() {
                Ok(ToKeeper::Health(_, at)) => health_of = Some(at),
                Ok(ToKeeper::Stop) | Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => break,
            }
        }
        if now >= due {
            lateness.add(now, now.since(due));
            due = now.next_on_grid(TURN);
            let report = Report {
                at: now,
                late_max: lateness.max(now),
                late_worst: lateness.worst(),
                health_of,
            };
            // A brain that does not read has its own watchdog; this loop goes on.
            reports.try_send(report).ok();
        }
    }
}
