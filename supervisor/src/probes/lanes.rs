//! The brain's side of the prober and the runner: what was asked, what is overdue, what hangs.
//!
//! Two lanes. The *prober* lane is served in order by a process that may hang; when the job at its head is overdue,
//! the process is abandoned and a new one takes the rest. The *runner* lane is served by a process that never
//! hangs. Neither lane ever makes the brain wait.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use mastiff_core::time::{Mono, Span};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::runner::ARGUMENT;
use super::wire::{Channel, Job, Message, Order, Output, Received, Reply};
use crate::clock;

/// Jobs that are on their way to the prober at one time; the others wait here. Fewer than its socket holds.
const WINDOW: usize = 16;
/// Jobs and orders that wait here; beyond that they are refused and their checks are unknown.
pub const WAITING_MAX: usize = 4096;
/// Probers that may hang in the kernel. With so many of them, nothing that can hang is touched any more.
pub const STUCK_MAX: usize = 64;
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
    orders: BTreeMap<u64, (For<P>, Mono)>,
    unsent: VecDeque<Message<Order>>,
    prober: Option<Prober>,
    prober_started: Option<Mono>,
    waiting: VecDeque<Waiting<P>>,
    sent: VecDeque<Waiting<P>>,
    head_since: Mono,
    stuck: Vec<Stuck<P>>,
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
    pid: Option<i32>,
}

#[derive(Debug)]
struct Waiting<P> {
    purpose: P,
    message: Message<Job>,
    timeout: Span,
}

/// An abandoned prober; its socket closes when the kernel lets go of it.
#[derive(Debug)]
struct Stuck<P> {
    purpose: P,
    since: String,
    channel: Channel,
    slot: usize,
}

impl<P: Clone + PartialEq> Lanes<P> {
    /// Lanes that start `program` (this very binary) as the runner when first needed, and use [`TOKENS`] tokens
    /// from `first_token` on.
    pub fn new(program: PathBuf, registry: Registry, first_token: usize) -> Self {
        Self {
            program,
            registry,
            first_token,
            next_id: 0,
            runner: None,
            runner_started: None,
            orders: BTreeMap::new(),
            unsent: VecDeque::new(),
            prober: None,
            prober_started: None,
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            head_since: Mono::BOOT,
            stuck: Vec::new(),
            buffer: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// Numbers for `mastiff status`.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Processes that hang in the kernel now.
    pub fn stuck(&self) -> usize {
        self.stuck.len()
    }

    /// Gives the prober a job.
    ///
    /// # Errors
    /// At once, when an earlier job for the same purpose still hangs, or too much waits already.
    pub fn job(&mut self, purpose: P, job: Job, timeout: Span, now: Mono) -> Result<(), String> {
        if let Some(stuck) = self.stuck.iter().find(|stuck| stuck.purpose == purpose) {
            return Err(format!("stalled since {}", stuck.since));
        }
        if self.stuck.len() >= STUCK_MAX {
            // Nobody can tell which further target would hang, too.
            self.counters.refused = self.counters.refused.saturating_add(1);
            return Err(format!("not read: {STUCK_MAX} other readings hang in the kernel already"));
        }
        if self.waiting.len() >= WAITING_MAX {
            self.counters.refused = self.counters.refused.saturating_add(1);
            return Err(format!("{WAITING_MAX} readings wait for the prober already"));
        }
        let message = Message { id: self.id(), body: job };
        self.waiting.push_back(Waiting { purpose, message, timeout });
        self.feed_prober(now);
        Ok(())
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
            Some(slot) if slot < TOKENS => self.hear_stuck(slot),
            Some(_) | None => return false,
        }
        true
    }

    /// Gives up what is overdue, and sends what waits.
    pub fn tick(&mut self, now: Mono, done: &mut Vec<Done<P>>) {
        if let Some(head) = self.sent.front()
            && now.since(self.head_since) >= head.timeout
        {
            self.abandon_prober(now, done);
        }
        let overdue: Vec<u64> =
            self.orders.iter().filter(|(_, (_, due))| now >= *due).map(|(id, _)| *id).collect();
        for id in overdue {
            if let Some((For::Caller(purpose), _)) = self.orders.remove(&id) {
                done.push(Done {
                    purpose,
                    result: Err("the runner did not answer in time".into()),
                });
            }
        }
        self.feed_prober(now);
        self.feed_runner(now);
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn next_deadline(&self) -> Mono {
        let head = self.sent.front().map(|head| self.head_since.after(head.timeout));
        let order = self.orders.values().map(|(_, due)| *due).min();
        // Something waits for a process that may not be started yet.
        let restart = |waits: bool, started: Option<Mono>| {
            waits.then(|| started.map(|at| at.after(START_GAP))).flatten()
        };
        let prober =
            restart(self.prober.is_none() && !self.waiting.is_empty(), self.prober_started);
        let runner = restart(self.runner.is_none() && !self.unsent.is_empty(), self.runner_started);
        [head, order, prober, runner].into_iter().flatten().min().unwrap_or(Mono::FAR)
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
                // A message that cannot be sent stays without answer until it is overdue; a dead runner is
                // noticed by its socket.
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
                Ok((Received::Message(reply), _)) => self.answered(reply, done),
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
            (Some((For::Prober, _)), Ok(Output::Prober { pid })) => {
                if let Some(prober) = &mut self.prober {
                    prober.pid = Some(pid);
                }
            }
            (Some((For::Prober, _)), result) => {
                log::error!("the runner cannot fork a prober: {result:?}");
                self.retire_prober();
            }
            (None, _) => {} // overdue, and given up
        }
    }

    /// The runner died, and its children with it.
    fn lose_runner(&mut self, done: &mut Vec<Done<P>>) {
        self.counters.runners_died = self.counters.runners_died.saturating_add(1);
        if let Some(mut runner) = self.runner.take() {
            self.registry.deregister(&mut SourceFd(&runner.channel.as_raw_fd())).ok();
            // It is dead or about to die: its socket is closed, so it ends. Reaping must not wait for that.
            runner.child.kill().ok();
            runner.child.try_wait().ok();
        }
        self.unsent.clear();
        for (_, (purpose, _)) in std::mem::take(&mut self.orders) {
            match purpose {
                For::Caller(purpose) => {
                    done.push(Done { purpose, result: Err("the runner died".into()) })
                }
                For::Prober => self.retire_prober(),
            }
        }
    }

    fn feed_prober(&mut self, now: Mono) {
        if self.waiting.is_empty() || !self.prober_is_up(now) {
            return;
        }
        let Some(prober) = &self.prober else { return };
        while self.sent.len() < WINDOW
            && let Some(next) = self.waiting.pop_front()
        {
            match prober.channel.send(&next.message, None) {
                Ok(true) => {
                    if self.sent.is_empty() {
                        self.head_since = now;
                    }
                    self.sent.push_back(next);
                }
                Ok(false) => {
                    self.waiting.push_front(next);
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    log::error!("a message to the prober is too long and is dropped");
                }
                Err(_) => {
                    // A dead prober is noticed by its socket; the next one takes this job.
                    self.waiting.push_front(next);
                    return;
                }
            }
        }
    }

    fn prober_is_up(&mut self, now: Mono) -> bool {
        if self.prober.is_some() {
            return true;
        }
        let too_soon = self.prober_started.is_some_and(|at| now.since(at) < START_GAP);
        // An abandoned prober is replaced at once: the gap is for those that die by themselves.
        if too_soon || !self.runner_is_up(now) {
            return false;
        }
        let started = self.start_prober(now);
        if let Err(error) = &started {
            self.prober_started = Some(now);
            log::error!("cannot start a prober: {error}");
        }
        started.is_ok()
    }

    fn start_prober(&mut self, now: Mono) -> io::Result<()> {
        let (ours, theirs) = Channel::pair()?;
        let message = Message { id: self.id(), body: Order::Prober };
        let Some(runner) = &self.runner else { return Err(io::ErrorKind::NotConnected.into()) };
        if !runner.channel.send(&message, Some(theirs.as_fd()))? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.orders.insert(message.id, (For::Prober, now.after(ORDER_GRACE)));
        let token = Token(self.first_token.saturating_add(1));
        self.registry.register(&mut SourceFd(&ours.as_raw_fd()), token, Interest::READABLE)?;
        self.prober = Some(Prober { channel: ours, pid: None });
        Ok(())
    }

    fn hear_prober(&mut self, now: Mono, done: &mut Vec<Done<P>>) {
        while let Some(prober) = &self.prober {
            match prober.channel.receive::<Reply>(&mut self.buffer) {
                Ok((Received::Message(reply), _)) => {
                    let Some(head) = self.sent.pop_front() else { continue };
                    self.head_since = now;
                    if head.message.id == reply.id {
                        done.push(Done { purpose: head.purpose, result: reply.result });
                    } else {
                        // Answers come in order; one that does not is of a prober gone mad.
                        self.sent.push_front(head);
                        self.lose_prober(now, done);
                    }
                }
                Ok((Received::Nothing, _)) => break,
                Ok((Received::Closed | Received::Garbage(_), _)) | Err(_) => {
                    self.lose_prober(now, done)
                }
            }
        }
        self.feed_prober(now);
    }

    /// The prober died: the job at its head is to blame, the others are done by the next one.
    fn lose_prober(&mut self, now: Mono, done: &mut Vec<Done<P>>) {
        self.counters.probers_died = self.counters.probers_died.saturating_add(1);
        self.prober_started = Some(now);
        if let Some(head) = self.sent.pop_front() {
            done.push(Done {
                purpose: head.purpose,
                result: Err("the prober died while reading it".into()),
            });
        }
        self.retire_prober();
    }

    fn retire_prober(&mut self) {
        if let Some(prober) = self.prober.take() {
            self.registry.deregister(&mut SourceFd(&prober.channel.as_raw_fd())).ok();
        }
        while let Some(unanswered) = self.sent.pop_back() {
            self.waiting.push_front(unanswered);
        }
    }

    /// The job at the head hangs: its process is left behind.
    fn abandon_prober(&mut self, now: Mono, done: &mut Vec<Done<P>>) {
        let (Some(head), Some(prober)) = (self.sent.pop_front(), self.prober.take()) else {
            return;
        };
        self.counters.probers_abandoned = self.counters.probers_abandoned.saturating_add(1);
        self.registry.deregister(&mut SourceFd(&prober.channel.as_raw_fd())).ok();
        self.retire_prober();
        let since =
            clock::utc(clock::unix_nanos().saturating_sub(span_nanos(now.since(self.head_since))));
        done.push(Done {
            purpose: head.purpose.clone(),
            result: Err(format!("stalled since {since}")),
        });
        if let Some(pid) = prober.pid {
            // It ends as soon as the kernel lets it go.
            let message = Message { id: self.id(), body: Order::Kill { pid } };
            self.unsent.push_back(message);
        }
        let is_free = |slot: &usize| !self.stuck.iter().any(|stuck| stuck.slot == *slot);
        match (2..TOKENS).find(is_free) {
            Some(slot) => {
                let token = Token(self.first_token.saturating_add(slot));
                self.registry
                    .register(&mut SourceFd(&prober.channel.as_raw_fd()), token, Interest::READABLE)
                    .unwrap_or_else(|error| {
                        log::error!("cannot watch an abandoned prober: {error}")
                    });
                self.stuck.push(Stuck {
                    purpose: head.purpose,
                    since,
                    channel: prober.channel,
                    slot,
                });
            }
            None => log::error!(
                "{STUCK_MAX} probers hang already: no further hanging target is remembered"
            ),
        }
    }

    /// An abandoned prober answered late or ended: its target may be read again.
    fn hear_stuck(&mut self, slot: usize) {
        if let Some(index) = self.stuck.iter().position(|stuck| stuck.slot == slot) {
            let free = self.stuck.swap_remove(index);
            self.registry.deregister(&mut SourceFd(&free.channel.as_raw_fd())).ok();
        }
    }
}

fn span_nanos(span: Span) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
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
