//! The brain's side of the prober and the runner: what was asked, what is overdue, what hangs.
//!
//! Two lanes. The *prober* lane is served in order by a process that may hang. When the job at its
//! head takes long and others wait, the process is taken aside with that job (`aside`) and a new
//! one serves the rest, so a target that hangs delays the others by `HEAD_PATIENCE` once, and not
//! at all from then on. The *runner* lane is served by a process that never hangs. Neither lane
//! ever makes the brain wait.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use mastiff_core::sorted::Map;
use mastiff_core::time::{Mono, Span};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::runner::ARGUMENT;
use super::wire::{Channel, Job, Message, Order, Output, Received, Reply};
use aside::{Asides, Begun};

mod aside;
mod prober;

/// Jobs that are on their way to the prober at one time; the others wait here. Fewer than its
/// socket holds.
const WINDOW: usize = 16;
/// Jobs and orders that wait here; beyond that they are refused and their checks are unknown.
pub const WAITING_MAX: usize = 4096;
/// Probers that may hang in the kernel. With so many of them, nothing that can hang is touched any
/// more.
pub const STUCK_MAX: usize = 64;
/// What the job at the head may take while others wait behind it. Far more than a healthy disk
/// needs under load, far less than a check's time-out.
const HEAD_PATIENCE: Span = Span::from_millis(100);
/// A prober or runner that dies is not started again sooner than this after the last one.
const START_GAP: Span = Span::from_millis(500);
/// What the runner gets beyond the time-out of an order before its answer counts as lost.
const ORDER_GRACE: Span = Span::from_secs(5);
/// Tokens that the lanes use, from the one they are given.
pub const TOKENS: usize = 2 + STUCK_MAX;

/// Both lanes. `P` says what an answer is for.
#[derive(Debug)]
pub struct Lanes<P> {
    program: PathBuf,
    registry: Registry,
    first_token: usize,
    next_id: u64,
    runner: Option<Runner>,
    runner_started: Option<Mono>,
    /// When the runner last said something.
    runner_heard: Mono,
    /// Runners that were replaced and have not ended yet: reaped when they have.
    replaced: Vec<std::process::Child>,
    orders: Map<u64, (For<P>, Mono)>,
    unsent: VecDeque<Message<Order>>,
    prober: Option<Prober>,
    prober_started: Option<Mono>,
    waiting: VecDeque<Waiting<P>>,
    sent: VecDeque<Waiting<P>>,
    head_since: Mono,
    asides: Asides<P>,
    /// Answers that are known without asking, for the next turn.
    failed: Vec<Done<P>>,
    buffer: Vec<u8>,
    counters: Counters,
}

/// Numbers for `mastiff status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Probers that were abandoned in a hanging call.
    pub probers_abandoned: u64,
    /// Probers that died.
    pub probers_died: u64,
    /// Runners that died.
    pub runners_died: u64,
    /// Jobs and orders that were refused because too many waited.
    pub refused: u64,
}

/// An answer, or why there is none.
#[derive(Debug)]
pub struct Done<P> {
    /// What it is for.
    pub purpose: P,
    /// What came of it.
    pub result: Result<Output, String>,
}

#[derive(Debug)]
enum For<P> {
    Caller(P),
    /// The order to fork a prober.
    Prober,
}

#[derive(Debug)]
struct Runner {
    channel: Channel,
    child: std::process::Child,
}

#[derive(Debug)]
struct Prober {
    channel: Channel,
    /// The order that it was asked for with.
    order: u64,
    pid: Option<i32>,
}

#[derive(Debug)]
struct Waiting<P> {
    purpose: P,
    message: Message<Job>,
    timeout: Span,
}

impl<P: Clone + PartialEq> Lanes<P> {
    /// Lanes that start `program` (this very binary) as the runner when first needed, and use
    /// [`TOKENS`] tokens from `first_token` on.
    ///
    /// # Errors
    /// When there is no descriptor to be had.
    pub fn new(program: PathBuf, registry: Registry, first_token: usize) -> io::Result<Self> {
        Ok(Self {
            asides: Asides::new(registry.try_clone()?, first_token.saturating_add(2)),
            failed: Vec::new(),
            program,
            registry,
            first_token,
            next_id: 0,
            runner: None,
            runner_started: None,
            runner_heard: Mono::BOOT,
            replaced: Vec::new(),
            orders: Map::new(),
            unsent: VecDeque::new(),
            prober: None,
            prober_started: None,
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            head_since: Mono::BOOT,
            buffer: Vec::new(),
            counters: Counters::default(),
        })
    }

    /// Numbers for `mastiff status`.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Processes that hang in the kernel now.
    pub fn stuck(&self) -> usize {
        self.asides.stuck()
    }

    /// Gives the prober a job.
    ///
    /// # Errors
    /// At once, when an earlier job for the same purpose still hangs, or too much waits already.
    pub fn job(&mut self, purpose: P, job: Job, timeout: Span, now: Mono) -> Result<(), String> {
        let queued = || self.sent.iter().chain(&self.waiting);
        if self.asides.has(&purpose)? || queued().any(|waiting| waiting.purpose == purpose) {
            return Ok(()); // asked already: its answer is for this question, too
        }
        if self.asides.stuck() >= STUCK_MAX {
            // Nobody can tell which further target would hang, too.
            self.counters.refused = self.counters.refused.saturating_add(1);
            return Err(format!("not read: {STUCK_MAX} other readings hang in the kernel already"));
        }
        if self.waiting.len() >= WAITING_MAX {
            self.counters.refused = self.counters.refused.saturating_add(1);
            return Err(format!("{WAITING_MAX} readings wait for the prober already"));
        }
        let message = Message { id: self.id(), body: job };
        self.queue(Waiting { purpose, message, timeout }, now);
        Ok(())
    }

    /// Lets go of the probers that were kept for other purposes than these.
    pub fn keep_only(&mut self, is_wanted: impl Fn(&P) -> bool) {
        self.asides.keep_only(is_wanted);
    }

    /// Gives a prober of its own to what took long the last time, the one that it had if that was
    /// kept; the rest waits in the lane.
    fn queue(&mut self, job: Waiting<P>, now: Mono) {
        if self.asides.has_room()
            && let Some(prober) = self.asides.take_kept(&job.purpose)
            && matches!(prober.channel.send(&job.message, None), Ok(true))
        {
            self.asides.add(job, prober, Begun::Alone, now);
        } else if self.asides.is_suspect(&job.purpose)
            && self.asides.has_room()
            && let Some(prober) = self.give_alone(&job.message, now)
        {
            self.asides.add(job, prober, Begun::Alone, now);
        } else {
            self.waiting.push_back(job);
            self.feed_prober(now);
        }
    }

    /// A new prober that has this job and no other; none if there is none to be had.
    fn give_alone(&mut self, message: &Message<Job>, now: Mono) -> Option<Prober> {
        if !self.runner_is_up(now) {
            return None;
        }
        let prober = self.order_prober(now).ok()?;
        // If it does not take the job, its socket closes, and so it ends.
        matches!(prober.channel.send(message, None), Ok(true)).then_some(prober)
    }

    /// Gives the runner an order.
    ///
    /// # Errors
    /// At once, when too many wait.
    pub fn order(
        &mut self,
        purpose: P,
        order: Order,
        timeout: Span,
        now: Mono,
    ) -> Result<(), String> {
        if self.orders.len() >= WAITING_MAX {
            self.counters.refused = self.counters.refused.saturating_add(1);
            return Err(format!("{WAITING_MAX} orders wait for the runner already"));
        }
        let message = Message { id: self.id(), body: order };
        self.orders
            .insert(message.id, (For::Caller(purpose), now.after(timeout).after(ORDER_GRACE)));
        self.unsent.push_back(message);
        self.feed_runner(now);
        Ok(())
    }

    /// Takes what has arrived on one of its tokens; false if the token is not one of its own.
    pub fn ready(&mut self, token: Token, now: Mono, done: &mut Vec<Done<P>>) -> bool {
        match token.0.checked_sub(self.first_token) {
            Some(0) => self.hear_runner(now, done),
            Some(1) => self.hear_prober(now, done),
            Some(place) if place < TOKENS => {
                let slot = place.saturating_sub(2);
                let buffer = &mut self.buffer;
                if let Some(job) = self.asides.hear(slot, now, buffer, &mut self.counters, done) {
                    self.queue(job, now);
                }
            }
            Some(_) | None => return false,
        }
        true
    }

    /// Gives up what is overdue, and sends what waits.
    pub fn tick(&mut self, now: Mono, done: &mut Vec<Done<P>>) {
        if self.head_is_late(now) {
            self.take_aside(now, done);
        }
        done.append(&mut self.failed);
        for pid in self.asides.tick(now, &mut self.counters, done) {
            self.kill(pid);
        }
        let overdue: Vec<u64> =
            self.orders.iter().filter(|(_, (_, due))| now >= *due).map(|(id, _)| *id).collect();
        let is_silent = !overdue.is_empty() && now.since(self.runner_heard) >= ORDER_GRACE;
        for id in overdue {
            if let Some((For::Caller(purpose), _)) = self.orders.remove(&id) {
                done.push(Done {
                    purpose,
                    result: Err("the runner did not answer in time".into()),
                });
            }
        }
        if is_silent && self.runner.is_some() {
            log::error!("the runner answers nothing any more and is replaced");
            self.lose_runner(done);
        }
        self.replaced.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        self.feed_prober(now);
        self.feed_runner(now);
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn next_deadline(&self) -> Mono {
        if !self.failed.is_empty() {
            return Mono::BOOT;
        }
        let order = self.orders.values().map(|(_, due)| *due).min();
        // Something waits for a process that may not be started yet.
        let gap = |started: Option<Mono>| started.map_or(Mono::BOOT, |at| at.after(START_GAP));
        let runner = if self.runner.is_none() { gap(self.runner_started) } else { Mono::BOOT };
        let for_runner = (self.runner.is_none() && !self.unsent.is_empty()).then_some(runner);
        let for_prober = (self.prober.is_none() && !self.waiting.is_empty())
            .then(|| gap(self.prober_started).max(runner));
        let all = [self.head_due(), self.asides.next_deadline(), order, for_runner, for_prober];
        all.into_iter().flatten().min().unwrap_or(Mono::FAR)
    }

    /// When the job at the head is not waited for any longer in the lane.
    fn head_due(&self) -> Option<Mono> {
        let head = self.sent.front()?;
        let others_wait = self.sent.len() > 1 || !self.waiting.is_empty();
        let patient = !others_wait || !self.asides.has_room();
        let limit = if patient { head.timeout } else { head.timeout.min(HEAD_PATIENCE) };
        Some(self.head_since.after(limit))
    }

    fn head_is_late(&self, now: Mono) -> bool {
        self.head_due().is_some_and(|due| now >= due)
    }

    fn id(&mut self) -> u64 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    fn feed_runner(&mut self, now: Mono) {
        if self.unsent.is_empty() || !self.runner_is_up(now) {
            return;
        }
        let Some(runner) = &self.runner else { return };
        while let Some(message) = self.unsent.front() {
            match runner.channel.send(message, None) {
                Ok(true) => drop(self.unsent.pop_front()),
                // The runner answers soon, and each answer brings us back here.
                Ok(false) => return,
                // A message that cannot be sent stays without answer until it is overdue; a dead
                // runner is noticed by its socket.
                Err(_) => drop(self.unsent.pop_front()),
            }
        }
    }

    fn runner_is_up(&mut self, now: Mono) -> bool {
        if self.runner.is_some() {
            return true;
        }
        if self.runner_started.is_some_and(|at| now.since(at) < START_GAP) {
            return false;
        }
        self.runner_started = Some(now);
        self.runner_heard = now;
        match self.start_runner() {
            Ok(runner) => self.runner = Some(runner),
            Err(error) => log::error!("cannot start the runner: {error}"),
        }
        self.runner.is_some()
    }

    fn start_runner(&mut self) -> io::Result<Runner> {
        let (ours, theirs) = Channel::pair()?;
        let mut command = Command::new(&self.program);
        command
            .arg0(ARGUMENT)
            .env_clear()
            .stdin(Stdio::from(theirs.into_fd()))
            .stdout(Stdio::null());
        let child = command.spawn()?;
        self.registry.register(
            &mut SourceFd(&ours.as_raw_fd()),
            Token(self.first_token),
            Interest::READABLE,
        )?;
        Ok(Runner { channel: ours, child })
    }

    fn hear_runner(&mut self, now: Mono, done: &mut Vec<Done<P>>) {
        while let Some(runner) = &self.runner {
            match runner.channel.receive::<Reply>(&mut self.buffer) {
                Ok((Received::Message(reply), _)) => {
                    self.runner_heard = now;
                    self.answered(reply, done);
                }
                Ok((Received::Nothing, _)) => break,
                Ok((Received::Closed | Received::Garbage(_), _)) | Err(_) => self.lose_runner(done),
            }
        }
        self.feed_runner(now);
        self.feed_prober(now);
    }

    fn answered(&mut self, reply: Reply, done: &mut Vec<Done<P>>) {
        match (self.orders.remove(&reply.id), reply.result) {
            (Some((For::Caller(purpose), _)), result) => done.push(Done { purpose, result }),
            (Some((For::Prober, _)), Ok(Output::Prober { pid })) => match &mut self.prober {
                Some(prober) if prober.order == reply.id => prober.pid = Some(pid),
                Some(_) | None => {
                    if self.asides.identify(reply.id, pid) {
                        self.kill(pid);
                    }
                }
            },
            (Some((For::Prober, _)), result) => {
                // The socket that went with the order is closed by now, which its owner notices.
                log::error!("the runner cannot fork a prober: {result:?}");
            }
            (None, _) => {} // overdue, and given up
        }
    }

    /// The runner died, and its children with it.
    fn lose_runner(&mut self, done: &mut Vec<Done<P>>) {
        self.counters.runners_died = self.counters.runners_died.saturating_add(1);
        if let Some(mut runner) = self.runner.take() {
            self.registry.deregister(&mut SourceFd(&runner.channel.as_raw_fd())).ok();
            // It is dead or about to die. Reaping must not wait for that.
            runner.child.kill().ok();
            self.replaced.push(runner.child);
        }
        self.unsent.clear();
        self.asides.keep_only(|_| false);
        for (purpose, _) in std::mem::take(&mut self.orders).into_values() {
            match purpose {
                For::Caller(purpose) => {
                    done.push(Done { purpose, result: Err("the runner died".into()) })
                }
                For::Prober => self.retire_prober(),
            }
        }
    }

    /// Has the runner kill a prober that hangs; it ends as soon as the kernel lets it go.
    fn kill(&mut self, pid: i32) {
        let message = Message { id: self.id(), body: Order::Kill { pid } };
        self.unsent.push_back(message);
    }
}

impl<P> Drop for Lanes<P> {
    /// Ends the runner by closing its socket, and reaps it if it is quick.
    fn drop(&mut self) {
        if let Some(Runner { channel, mut child }) = self.runner.take() {
            drop(channel);
            child.try_wait().ok();
        }
    }
}
