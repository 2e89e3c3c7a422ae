//! The keeper's hands: a thread that may wait for the kernel's locks, as the keeper must not.
//!
//! Addresses, announcements, the guard's building and repair, and what others do to any of them.
//! Jobs are done in their order, so a removal never overtakes the addition before it. How long a
//! group may be had is not in the job but on the [`Board`], and looked at right before and right
//! after an address is put on: a job may have waited.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::event::{PairEvent, StepId};
use mastiff_core::report::Severity;
use mio::{Poll, Waker};

use super::board::Board;
use super::realtime;
use super::setup::Work;
use super::shell::{News, Notice};
use crate::guard::Slot;
use worker::Worker;

mod air;
mod worker;

/// Jobs that may wait: of 32 groups, each step that one turn can ask for, several times over.
pub const JOBS_MAX: usize = 256;
/// Outcomes that may wait for the keeper.
pub const OUTCOMES_MAX: usize = 256;

/// What the keeper asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Make the guard stand on every interface that is there. The first job: gates that must be
    /// open are open by now.
    Stand,
    /// Add or remove the addresses of a group, or end the connections with them.
    Step(StepId, Slot),
    /// Go on with the addresses of a group that the daemon before had.
    Adopt(Slot),
    /// The gate lapsed: take the addresses off, create the gate anew, put them on.
    Recreate(Slot),
    /// Look at the guard: what stood is gone.
    Look,
    /// Ask the gateway for a sign of life.
    AskGateway(Clocks),
    /// Ask whether anybody has the group's addresses.
    Probe(Slot),
    /// The end. With `remove`, the guard goes, too: nothing is had here any more. Else the
    /// addresses that are had last to the end of their leases.
    Stop {
        /// Whether the guard goes.
        remove: bool,
    },
}

/// What the keeper learns from them.
#[expect(clippy::large_enum_variant, reason = "the keeper allocates nothing for a message")]
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// For the core.
    Event(PairEvent),
    /// Whether the interfaces of a group's addresses are all there and up, behind a guard.
    Ready(Slot, bool),
}

/// The keeper's end.
#[derive(Debug)]
pub struct Hands {
    jobs: SyncSender<Job>,
    waker: Arc<Waker>,
}

impl Hands {
    /// Hands over a job; whether there was room.
    pub fn give(&self, job: Job) -> bool {
        match self.jobs.try_send(job) {
            Ok(()) => self.waker.wake().is_ok(),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

/// What goes to the brain's event log.
#[derive(Debug)]
pub struct Told {
    /// The queue.
    pub news: SyncSender<News>,
    /// The brain.
    pub brain: Arc<Waker>,
}

impl Told {
    fn tell(&self, kind: &'static str, severity: Severity, text: String) {
        let notice = News::Notice(Notice { kind, severity, text });
        if self.news.try_send(notice).is_ok()
            && let Err(error) = self.brain.wake()
        {
            log::warn!("cannot wake the brain: {error}");
        }
    }
}

impl Told {
    /// Tells an error that lasts: once, until `said` is cleared or something else is to be said.
    fn once(&self, kind: &'static str, said: &mut Option<String>, text: String) {
        if said.as_ref() != Some(&text) {
            self.tell(kind, Severity::Error, text.clone());
            *said = Some(text);
        }
    }
}

/// What the hands learn, on its way to the keeper.
#[derive(Debug)]
struct Answers {
    outcomes: SyncSender<Outcome>,
    keeper: Arc<Waker>,
}

impl Answers {
    /// An outcome that finds no room is missed by its step's deadline. Whether there was room.
    fn give(&self, outcome: Outcome) -> bool {
        let given = self.outcomes.try_send(outcome).is_ok() && self.keeper.wake().is_ok();
        if !given {
            log::warn!("the keeper takes no outcomes");
        }
        given
    }
}

/// Starts the thread.
///
/// # Errors
/// When the system gives no thread, poll descriptor or netlink socket.
pub fn start(
    work: Work,
    told: Told,
    keeper: Arc<Waker>,
    board: Arc<Board>,
) -> io::Result<(Hands, Receiver<Outcome>)> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), worker::WAKE)?);
    let (jobs, receiver) = sync_channel(JOBS_MAX);
    let (sender, outcomes) = sync_channel(OUTCOMES_MAX);
    let answers = Answers { outcomes: sender, keeper };
    let worker = Worker::new(poll, receiver, answers, told, board, work)?;
    std::thread::Builder::new().name("hands".into()).spawn(move || {
        if let Err(why) = realtime::enter(realtime::HANDS) {
            log::warn!("addresses are moved by an ordinary thread: {why}");
        }
        worker.run();
    })?;
    Ok((Hands { jobs, waker }, outcomes))
}
