//! The keeper's loop: it waits in one place, and reads the clocks once a turn.
//!
//! After a turn in which nothing but answers is expected it rests for a moment, hearing only the
//! waker and the timer: the answers of both other voters, on all paths, come within a millisecond,
//! and each would be a wake-up of its own. So there are two descriptors to wait for, one in the
//! other:
//!
//! ```text
//! poll:  sockets, quick ──► quick:  waker, timer
//! ```

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::Duration;

use mastiff_core::pair::clock::Now;
use mastiff_core::time::Mono;
use mastiff_core::watchdog::{Evidence, Refusal, Wishes, permit};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::board::Board;
use super::lateness::Lateness;
use super::setup::Setup;
use super::shell::{Ends, Shell};
use super::{Report, TURN, ToKeeper, realtime};
use crate::clock;
use crate::petter::Permits;

pub(super) const WAKE: Token = Token(0);
const TIMER: Token = Token(1);
const QUICK: Token = Token(2);
const FIRST_PATH: usize = 3;
/// More than there are descriptors: the paths, the witness, the timer and the waker.
const READY_MAX: usize = 16;

/// The loop and all that it owns.
#[derive(Debug)]
pub(super) struct Loop {
    poll: Poll,
    quick: Poll,
    /// Nanoseconds; a poll's own time-out has only milliseconds.
    timer: TimerFd,
    armed: Mono,
    orders: Receiver<ToKeeper>,
    reports: SyncSender<Report>,
    lateness: Lateness,
    /// When it measures and reports.
    report_due: Mono,
    health_of: Option<Mono>,
    shell: Option<Box<Shell>>,
    /// To the petter, if the daemon has a device of its own.
    permits: Option<Permits>,
    wishes: Wishes,
    started: Mono,
}

impl Loop {
    pub(super) fn new(
        quick: Poll,
        orders: Receiver<ToKeeper>,
        reports: SyncSender<Report>,
    ) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)?;
        let fd = timer.as_fd().as_raw_fd();
        quick.registry().register(&mut SourceFd(&fd), TIMER, Interest::READABLE)?;
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&quick.as_raw_fd()), QUICK, Interest::READABLE)?;
        Ok(Self {
            poll,
            quick,
            timer,
            armed: Mono::FAR,
            orders,
            reports,
            lateness: Lateness::default(),
            // On the grid of the brain's readings: one wake-up of the machine for both.
            report_due: clock::now().next_on_grid(TURN),
            health_of: None,
            shell: None,
            permits: None,
            wishes: Wishes::default(),
            started: clock::now(),
        })
    }

    /// In its own thread, which becomes a real-time one: others go by its punctuality.
    pub(super) fn hurry(&self, board: &Board) {
        let realtime = realtime::enter(realtime::KEEPER);
        if let Err(why) = &realtime {
            log::warn!("the keeper is an ordinary thread, late when the machine is busy: {why}");
        }
        board.write(|shown| shown.realtime = realtime);
    }

    /// With a watchdog to be petted.
    pub(super) fn take_watchdog(&mut self, permits: Permits) {
        self.permits = Some(permits);
    }

    /// With a pair.
    pub(super) fn take_pair(&mut self, setup: Setup, ends: Ends) {
        let now = clock::turn();
        let shell = Shell::start(setup, ends, self.poll.registry(), FIRST_PATH, now);
        self.shell = Some(Box::new(shell));
    }

    /// Until it is told to end.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(READY_MAX);
        loop {
            if let Err(error) = self.wait(&mut events) {
                // Without its poll it cannot keep time. Its silence stops the petting.
                log::error!("the keeper cannot poll: {error}");
                return;
            }
            if self.turn() {
                return;
            }
        }
    }

    /// Until something is due or has arrived.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let rest = self.shell.as_ref().and_then(|shell| shell.rest_until(clock::now()));
        self.arm(rest.unwrap_or(Mono::FAR));
        if rest.is_some() {
            interruptible(self.quick.poll(events, None))?;
            self.hear_timer(events);
        }
        interruptible(self.poll.poll(events, rest.map(|_| Duration::ZERO)))?;
        if let Some(shell) = &mut self.shell {
            events.iter().for_each(|event| shell.ready(event.token()));
        }
        if events.iter().any(|event| event.token() == QUICK) {
            interruptible(self.quick.poll(events, Some(Duration::ZERO)))?;
            self.hear_timer(events);
        }
        Ok(())
    }

    /// It fires once: the next deadline must set it anew, even to the same moment.
    fn hear_timer(&mut self, events: &Events) {
        if events.iter().any(|event| event.token() == TIMER) {
            let due = std::mem::replace(&mut self.armed, Mono::FAR);
            let now = clock::now();
            self.lateness.add(now, now.since(due));
        }
    }

    /// One turn; whether it was the last.
    fn turn(&mut self) -> bool {
        let now = clock::turn();
        loop {
            let order = self.orders.try_recv();
            match (order, &mut self.shell) {
                (Ok(ToKeeper::Health { groups, observes_only, at }), shell) => {
                    self.health_of = Some(at);
                    if let Some(shell) = shell {
                        shell.health(groups, observes_only, now);
                    }
                }
                (Ok(ToKeeper::Wishes(wishes)), _) => self.wishes = wishes,
                (Ok(ToKeeper::Order(group, order)), Some(shell)) => shell.order(group, order, now),
                (Ok(ToKeeper::Done(step, ok)), Some(shell)) => shell.done(step, ok, now),
                (Ok(ToKeeper::StopsWithin(span)), Some(shell)) => shell.stops_within(span, now),
                (Ok(ToKeeper::Agree(terms)), Some(shell)) => shell.agree(&terms),
                (Ok(ToKeeper::Leaving(leaving)), Some(shell)) => shell.leaving(leaving, now),
                (
                    Ok(
                        ToKeeper::Order(..)
                        | ToKeeper::Agree(..)
                        | ToKeeper::Done(..)
                        | ToKeeper::Leaving(_)
                        | ToKeeper::StopsWithin(_),
                    ),
                    None,
                ) => {}
                (Ok(ToKeeper::Stop) | Err(TryRecvError::Disconnected), shell) => {
                    if let Some(shell) = shell {
                        shell.stop();
                    }
                    return true;
                }
                (Err(TryRecvError::Empty), _) => break,
            }
        }
        if let Some(shell) = &mut self.shell {
            shell.turn(now, self.poll.registry());
        }
        let at = now.at.boot;
        if at >= self.report_due {
            self.report_due = at.next_on_grid(TURN);
            let report = Report {
                at,
                late_max: self.lateness.max(at),
                late_worst: self.lateness.worst(),
                health_of: self.health_of,
                refusal: self.allow_pet(now),
            };
            // A brain that does not read has its own watchdog; this loop goes on.
            self.reports.try_send(report).ok();
        }
        false
    }

    /// Hands a permit to the petter if a pet is due; why not, if the rule says no.
    fn allow_pet(&self, now: Now) -> Option<Refusal> {
        let at = now.at.boot;
        let evidence = Evidence {
            brain: self.health_of.unwrap_or(self.started),
            pair_forbids: self.shell.as_ref().and_then(|shell| shell.pet_refusal(now.at)),
            wishes: self.wishes,
        };
        match (permit(&evidence, at), &self.permits) {
            (Ok(until), Some(permits)) if permits.is_due(TURN, at) => permits.give(until),
            (Ok(_), _) => {}
            (Err(refusal), _) => return Some(refusal),
        }
        None
    }

    /// Sets the timer to the next thing that is due, or to the end of a rest.
    fn arm(&mut self, rest: Mono) {
        let pair =
            self.shell.as_ref().map_or(Mono::FAR, |shell| shell.next_deadline(clock::clocks()));
        let due = self.report_due.min(pair).min(rest);
        if due == self.armed {
            return;
        }
        self.armed = due;
        // Zero would disarm it; a moment that is past fires at once.
        let at = Duration::from_nanos(u64::try_from(due.as_nanos()).unwrap_or(0).max(1));
        let at = Expiration::OneShot(TimeSpec::from_duration(at));
        if let Err(error) = self.timer.set(at, TimerSetTimeFlags::TFD_TIMER_ABSTIME) {
            log::error!("the keeper cannot set its timer: {error}");
        }
    }
}

/// A signal is no reason to end: the caller looks what there is.
fn interruptible(polled: io::Result<()>) -> io::Result<()> {
    match polled {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        polled => polled,
    }
}
