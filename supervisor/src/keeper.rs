//! The keeper: the real-time loop.
//!
//! It talks to the other machines, renews leases, opens and closes the guard, allows the petter to
//! pet ([`mastiff_core::watchdog`]), and measures its own lateness. It touches no disk, spawns
//! nothing, waits for nobody; its buffers are made at its start. What can wait for the kernel is
//! done by its [`hands`] and by the petter, what needs programs by the brain. Between them pass
//! bounded queues and wakers.
//!
//! | file | idea |
//! |---|---|
//! | [`setup`] | from the configuration to timers, keys and guard |
//! | `turn` | the loop |
//! | [`shell`] | a turn of the pair |
//! | [`remotes`], [`paths`] | the other machines, and how good the ways to them are |
//! | [`memory`] | what a restarted daemon goes on with |
//! | [`board`] | what the others may see, and how long a group may be had |
//! | [`hands`] | the thread that may wait: addresses, announcements, the guard's care |
//! | `lateness`, [`realtime`] | how late it is, and what it does against that |

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use mastiff_core::pair::event::{Leaving, Order, StepId};
use mastiff_core::pair::message::{GroupKey, Health, NotReady};
use mastiff_core::pair::spec::Terms;
use mastiff_core::time::{Mono, Span};
use mastiff_core::watchdog::{Refusal, Wishes};
use mio::{Poll, Waker};

use board::Board;
use hands::Told;
use setup::{Setup, Work};
use shell::{Ends, News};
use turn::Loop;

use crate::config::pair::GROUPS_MAX;
use crate::petter::Permits;

pub mod address;
pub mod announce;
pub mod board;
pub mod connections;
pub mod definition;
pub mod devices;
pub mod hands;
mod lateness;
pub mod memory;
#[cfg(test)]
mod namespace;
pub mod packet;
pub mod paths;
pub mod probe;
pub mod realtime;
pub mod remotes;
pub mod routes;
pub mod setup;
pub mod shell;
pub mod tap;
mod turn;
pub mod vacancy;

/// Its rhythm while there is no lease to renew.
pub const TURN: Span = Span::from_secs(1);
/// Messages that may wait in each direction. The brain reads once a turn, the keeper at every
/// wake-up, and at the end each of 32 groups is let go in one turn; more mean that the other side
/// is stuck, and then the newest message replaces nothing: it is counted as lost.
const QUEUE: usize = 64;
/// News of the pair that may wait for the brain: what 32 groups report in a few turns.
const NEWS: usize = 256;

/// The brain's word on one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fitness {
    /// How well it could run, or runs, here.
    pub health: Health,
    /// What speaks against taking it.
    pub not_ready: Option<NotReady>,
}

/// What the brain tells the keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToKeeper {
    /// How this node is.
    Health {
        /// How fit it is for each group, in the order of the configuration.
        groups: [Fitness; GROUPS_MAX],
        /// The boot-loop guard lets it only observe.
        observes_only: bool,
        /// As of this moment.
        at: Mono,
    },
    /// Somebody wants something of a group.
    Order(GroupKey, Order),
    /// Other terms for groups: of all that a file changes at once.
    Agree(Arc<[(GroupKey, Terms)]>),
    /// A step of the brain's ended; whether well.
    Done(StepId, bool),
    /// What the brain wants of the watchdog.
    Wishes(Wishes),
    /// How long units of each group may outlive a lease here, by the armed watchdog; `None` without
    /// one.
    StopsWithin(Option<Span>),
    /// Whether this machine is to go down by a rung.
    Leaving(Leaving),
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
    /// Why the watchdog's device may not be petted, if it may not.
    pub refusal: Option<Refusal>,
}

/// The brain's end of the keeper.
#[derive(Debug)]
pub struct Keeper {
    orders: SyncSender<ToKeeper>,
    reports: Receiver<Report>,
    news: Receiver<News>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
    latest: Option<Report>,
    lost: u64,
    board: Arc<Board>,
    /// What was on the board at the last look.
    shown: board::Shown,
    /// The last terms: held, so that it is not the keeper's thread that has to free them.
    agreed: Arc<[(GroupKey, Terms)]>,
}

impl Keeper {
    /// Starts the loop in a thread of its own, and with a pair its hands in another one. The
    /// `brain` is woken when there is news; `permits` lead to the watchdog's petter.
    ///
    /// # Errors
    /// When the system gives no thread, no poll descriptor or no netlink socket.
    pub fn start(
        pair: Option<(Setup, Work)>,
        permits: Option<Permits>,
        brain: Arc<Waker>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), turn::WAKE)?);
        let (orders, receiver) = sync_channel(QUEUE);
        let (sender, reports) = sync_channel(QUEUE);
        let (tell, news) = sync_channel(NEWS);
        let board = Arc::new(match &pair {
            Some((pair, _)) => {
                Board::new(pair.specs.len(), pair.paths.len() + usize::from(pair.witness.is_some()))
            }
            None => Board::new(0, 0),
        });
        let pair = match pair {
            Some((setup, work)) => {
                let told = Told { news: tell.clone(), brain: Arc::clone(&brain) };
                let (keeper, board) = (Arc::clone(&waker), Arc::clone(&board));
                let (hands, outcomes) = hands::start(work, told, keeper, Arc::clone(&board))?;
                Some((setup, Ends { hands, outcomes, news: tell, brain, board }))
            }
            None => None,
        };
        let mut keeper = Loop::new(poll, receiver, sender)?;
        let shown = Arc::clone(&board);
        let thread = std::thread::Builder::new().name("keeper".into()).spawn(move || {
            if pair.is_some() || permits.is_some() {
                keeper.hurry(&shown);
            }
            if let Some(permits) = permits {
                keeper.take_watchdog(permits);
            }
            if let Some((setup, ends)) = pair {
                keeper.take_pair(setup, ends);
            }
            keeper.run();
        })?;
        let (thread, latest) = (Some(thread), None);
        let (shown, agreed) = (board.read(), Arc::new([]));
        Ok(Self { orders, reports, news, waker, thread, latest, lost: 0, board, shown, agreed })
    }

    /// Hands over the health of this node. Never waits: a keeper that does not read is noticed by
    /// its silence.
    pub fn tell(&mut self, groups: [Fitness; GROUPS_MAX], observes_only: bool, now: Mono) {
        self.give(ToKeeper::Health { groups, observes_only, at: now });
    }

    /// Hands over what the brain wants of the watchdog; whether there was room.
    pub fn wish(&mut self, wishes: Wishes) -> bool {
        self.give(ToKeeper::Wishes(wishes))
    }

    /// Hands over how long units may outlive a lease here; whether there was room.
    pub fn stops_within(&mut self, span: Option<Span>) -> bool {
        self.give(ToKeeper::StopsWithin(span))
    }

    /// Hands over what somebody wants; whether there was room.
    pub fn order(&mut self, group: GroupKey, order: Order) -> bool {
        self.give(ToKeeper::Order(group, order))
    }

    /// Hands over whether this machine is to go down by a rung; whether there was room.
    pub fn leaving(&mut self, leaving: Leaving) -> bool {
        self.give(ToKeeper::Leaving(leaving))
    }

    /// Hands over other terms for groups; whether there was room for them, else none is taken over.
    pub fn agree(&mut self, terms: Vec<(GroupKey, Terms)>) -> bool {
        let terms: Arc<[(GroupKey, Terms)]> = terms.into();
        let given = self.give(ToKeeper::Agree(Arc::clone(&terms)));
        self.agreed = terms;
        given
    }

    /// Hands over how a step ended. What is lost is missed by the step's deadline.
    pub fn done(&mut self, step: StepId, ok: bool) {
        self.give(ToKeeper::Done(step, ok));
    }

    fn give(&mut self, message: ToKeeper) -> bool {
        let given = match self.orders.try_send(message) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost = self.lost.saturating_add(1);
                false
            }
        };
        if let Err(error) = self.waker.wake() {
            log::warn!("cannot wake the keeper: {error}");
        }
        given
    }

    /// Its newest report; `None` before the first.
    pub fn latest(&mut self) -> Option<Report> {
        while let Ok(report) = self.reports.try_recv() {
            self.latest = Some(report);
        }
        self.latest
    }

    /// What happened to the pair since the last call.
    pub fn news(&self) -> impl Iterator<Item = News> + '_ {
        self.news.try_iter()
    }

    /// Looks how the pair stands: once in a turn, before what it was woken for.
    pub fn look(&mut self) {
        self.board.read_into(&mut self.shown);
    }

    /// How the pair stood at the last look.
    pub fn board(&self) -> &board::Shown {
        &self.shown
    }

    /// Who answers for the addresses of each group that is not here.
    pub fn found(&self) -> Vec<Vec<vacancy::Found>> {
        self.board.found()
    }

    /// Why each group's addresses could not be put on here, if so.
    pub fn no_link(&self) -> Vec<Option<String>> {
        self.board.no_link()
    }

    /// Messages that the keeper did not take.
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

#[cfg(test)]
mod tests {
    use mastiff_core::pair::spec::Failback;

    use super::*;

    #[test]
    fn terms_of_all_groups_are_taken_over_or_of_none() {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), turn::WAKE).unwrap());
        let (orders, taken) = sync_channel(1);
        let (_, reports) = sync_channel(1);
        let (_, news) = sync_channel(1);
        let board = Arc::new(Board::new(2, 0));
        let (shown, agreed, thread, latest) = (board.read(), Arc::new([]), None, None);
        let mut keeper =
            Keeper { orders, reports, news, waker, thread, latest, lost: 0, board, shown, agreed };
        let terms = |definition| {
            let terms = |preferred| Terms {
                definition,
                preferred,
                failback: Failback::Never,
                recover_after: Span::ZERO,
            };
            vec![(GroupKey(1), terms(true)), (GroupKey(2), terms(false))]
        };
        // It does not read, and has room for one message.
        assert!(keeper.agree(terms(1)));
        assert!(!keeper.agree(terms(2)));
        let messages: Vec<ToKeeper> = taken.try_iter().collect();
        assert_eq!(messages, [ToKeeper::Agree(terms(1).into())]);
    }
}
