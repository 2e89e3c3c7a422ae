//! The runner: a small process between the brain and everything that it starts.
//!
//! It forks probers, runs programs and asks questions over the network, many at a time, and never
//! waits for any of them. The brain itself forks nothing: it has threads, locked memory and a
//! watchdog descriptor, and an exec from a dead disk would hold it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mastiff_core::reading::{Quantity, Readings};
use mastiff_core::sorted::Map;
use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::sensor::{Conversation, Network, Options, Source};
use mastiff_hwmon::sensors;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::child::Child;
use super::wire::{Channel, Ended, Message, Order, Output, Probe, Received, Reply, Run};
use crate::{clock, signals, sys};

/// What may be under way at one time; further orders wait for their turn. The brain bounds how
/// many.
pub const UNDER_WAY_MAX: usize = 128;
/// Orders that are begun in one turn. Between two turns the brain hears what has ended, and so that
/// the runner lives: on a busy machine it takes seconds to fork for a hundred of them.
const BEGUN_MAX: usize = 16;
/// Programs that were killed and hang in the kernel. With so many of them nothing new is started.
pub const STUCK_MAX: usize = 64;
/// Exit code for a failure of the operating system (sysexits.h, EX_OSERR).
const EXIT_OS_ERROR: i32 = 71;
/// The first word of the runner's argument list, and its name in `ps`.
pub const ARGUMENT: &str = "mastiff-runner";

/// Runs until the brain is gone. Standard input is the socket to it.
pub fn main() -> i32 {
    // Ctrl-C in a terminal and the stop of the service reach the whole group. The brain decides
    // when it is over: it still has its state written. What is started from here gets these signals
    // again.
    if signals::blocked().thread_block().is_err() {
        return EXIT_OS_ERROR;
    }
    let brain = Channel::from_fd(sys::process::inherited(0));
    let mut runner = Runner {
        brain,
        under_way: Map::new(),
        stuck: Vec::new(),
        waiting: VecDeque::new(),
        probers: Vec::new(),
        replies: VecDeque::new(),
        buffer: Vec::new(),
    };
    loop {
        match runner.turn() {
            Ok(true) => {}
            // PR_SET_PDEATHSIG takes the probers and programs along.
            Ok(false) => return 0,
            Err(error) => {
                drop(writeln!(io::stderr(), "mastiff-runner: {error}"));
                return EXIT_OS_ERROR;
            }
        }
    }
}

struct Runner {
    brain: Channel,
    under_way: Map<u64, Work>,
    /// Killed, but not ended: reaped when the kernel lets go of them.
    stuck: Vec<Child>,
    /// Orders that wait until less is under way, and since when.
    waiting: VecDeque<(Message<Order>, Mono)>,
    probers: Vec<Pid>,
    replies: VecDeque<Reply>,
    buffer: Vec<u8>,
}

enum Work {
    Child(Child, Then),
    Question(Box<dyn Conversation>, Readings),
}

/// What to do with the end of a child.
enum Then {
    Report,
    /// Its output is the address of a name.
    Ask(Question),
}

struct Question {
    probe: Probe,
    network: Network,
    quantities: &'static [Quantity],
    port: u16,
}

impl Runner {
    /// One turn: waits for something, takes orders, goes on with what is under way. False when the
    /// brain is gone.
    fn turn(&mut self) -> io::Result<bool> {
        let (brain_ready, ready) = self.wait()?;
        let now = clock::now();
        for id in ready {
            self.proceed(id, now);
        }
        self.stuck.retain_mut(|child| child.ended(now).is_none());
        self.probers.retain(
            |pid| matches!(waitpid(*pid, Some(WaitPidFlag::WNOHANG)), Ok(s) if s.pid().is_none()),
        );
        for _ in 0..BEGUN_MAX {
            if !self.can_begin_more() {
                break;
            }
            let Some((message, since)) = self.waiting.pop_front() else { break };
            let id = message.id;
            match late(message, now.since(since)) {
                Some(message) => self.obey(message, None, now),
                None => {
                    let why = format!("not begun in time: {UNDER_WAY_MAX} others were under way");
                    self.replies.push_back(Reply { id, result: Err(why) });
                }
            }
        }
        if brain_ready && !self.take_orders(now)? {
            return Ok(false);
        }
        while let Some(reply) = self.replies.front() {
            match self.brain.send(reply, None) {
                Ok(true) => drop(self.replies.pop_front()),
                Ok(false) => break,
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Waits until the brain or something under way is ready, or a deadline has passed. Returns
    /// what to go on with.
    fn wait(&self) -> io::Result<(bool, Vec<u64>)> {
        let wants = if self.replies.is_empty() {
            PollFlags::POLLIN
        } else {
            PollFlags::POLLIN | PollFlags::POLLOUT
        };
        let mut fds = vec![PollFd::new(self.brain.as_fd(), wants)];
        let mut owners = vec![None];
        let mut deadline = if self.can_begin_more() { Mono::BOOT } else { Mono::FAR };
        for (id, work) in self.under_way.iter() {
            let (until, descriptors) = work.waits_for();
            deadline = deadline.min(until);
            for (fd, flags) in descriptors {
                fds.push(PollFd::new(fd, flags));
                owners.push(Some(*id));
            }
        }
        for child in &self.stuck {
            fds.push(PollFd::new(child.descriptors().0, PollFlags::POLLIN));
            owners.push(None);
        }
        match poll(&mut fds, timeout_until(deadline, clock::now())) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        let brain_ready = fds.first().is_some_and(is_ready);
        let now = clock::now();
        let mut ready: Vec<u64> = fds
            .iter()
            .zip(&owners)
            .filter(|(fd, _)| is_ready(fd))
            .filter_map(|(_, owner)| *owner)
            .collect();
        ready.extend(
            self.under_way.iter().filter(|(_, work)| work.waits_for().0 <= now).map(|(id, _)| *id),
        );
        ready.dedup();
        Ok((brain_ready, ready))
    }

    /// Whether an order waits, and not for room.
    fn can_begin_more(&self) -> bool {
        !self.waiting.is_empty() && self.under_way.len() < UNDER_WAY_MAX
    }

    /// Takes some; the rest is there in the next turn. False when the brain is gone.
    fn take_orders(&mut self, now: Mono) -> io::Result<bool> {
        for _ in 0..BEGUN_MAX {
            let mut buffer = std::mem::take(&mut self.buffer);
            let received = self.brain.receive::<Message<Order>>(&mut buffer);
            self.buffer = buffer;
            match received? {
                (Received::Message(message), fd) => {
                    let needs_room = matches!(message.body, Order::Run(_) | Order::Ask(..));
                    let must_wait =
                        !self.waiting.is_empty() || self.under_way.len() >= UNDER_WAY_MAX;
                    if needs_room && must_wait {
                        self.waiting.push_back((message, now));
                    } else {
                        self.obey(message, fd, now);
                    }
                }
                (Received::Nothing, _) => return Ok(true),
                (Received::Closed, _) => return Ok(false),
                (Received::Garbage(why), _) => return Err(io::Error::other(why)),
            }
        }
        Ok(true)
    }

    fn obey(&mut self, message: Message<Order>, fd: Option<OwnedFd>, now: Mono) {
        let id = message.id;
        let result = match message.body {
            Order::Prober => self.fork_prober(fd).map(Some),
            Order::Kill { pid } => {
                // Only our own children: a number that was never one of them is not killed.
                if self.probers.contains(&Pid::from_raw(pid)) {
                    kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
                }
                return;
            }
            Order::Run(run) => self.start(id, &run, now),
            Order::Ask(probe, timeout) => self.ask(id, probe, timeout, now),
        };
        match result {
            Ok(Some(output)) => self.replies.push_back(Reply { id, result: Ok(output) }),
            Ok(None) => {} // under way
            Err(why) => self.replies.push_back(Reply { id, result: Err(why) }),
        }
    }

    fn fork_prober(&mut self, fd: Option<OwnedFd>) -> Result<Output, String> {
        let fd = fd.ok_or("no socket came with the order")?;
        let parent = nix::unistd::getpid();
        let pid = sys::process::fork(|| {
            let ready = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).is_ok()
                && sys::process::redirect(fd.as_fd(), 0).is_ok()
                // Standard output leads nowhere. Whoever reads the errors of `mastiff check` to
                // their end (as a monitoring agent does) must not wait for a prober that hangs in
                // the kernel.
                && sys::process::redirect(io::stdout().as_fd(), 2).is_ok()
                && nix::unistd::getppid() == parent;
            if !ready {
                return EXIT_OS_ERROR;
            }
            // The runner's own sockets would keep the brain from seeing its end.
            sys::process::close_from(3);
            super::prober::main(sys::process::inherited(0))
        })
        .map_err(|error| format!("cannot fork a prober: {error}"))?;
        self.probers.push(pid);
        Ok(Output::Prober { pid: pid.as_raw() })
    }

    fn start(&mut self, id: u64, run: &Run, now: Mono) -> Result<Option<Output>, String> {
        self.room(&run.arguments)?;
        let name = run.arguments.first().map_or("nothing", String::as_str);
        let child =
            Child::run(run, now).map_err(|error| format!("cannot start {name}: {error}"))?;
        self.under_way.insert(id, Work::Child(child, Then::Report));
        Ok(None)
    }

    /// Whether a child may be started for this. Not while an earlier one for the same hangs: it
    /// would most likely hang, too, and one dead mount would fill the places of all others.
    fn room(&self, what: &[String]) -> Result<(), String> {
        if self.stuck.iter().any(|child| child.what == what) {
            return Err(format!(
                "not started: {} was killed before and still hangs in the kernel",
                what.first().map_or("nothing", String::as_str)
            ));
        }
        if self.stuck.len() >= STUCK_MAX {
            return Err(format!(
                "{STUCK_MAX} killed programs hang in the kernel; no further one is started"
            ));
        }
        Ok(())
    }

    fn ask(
        &mut self,
        id: u64,
        probe: Probe,
        timeout: Span,
        now: Mono,
    ) -> Result<Option<Output>, String> {
        let sensor =
            sensors::find(&probe.sensor).ok_or_else(|| format!("no sensor {}", probe.sensor))?;
        let Source::Network(network) = sensor.source else {
            return Err(format!("the sensor {} asks nothing over the network", sensor.name));
        };
        let peer = (network.peer)(&probe.target).map_err(|error| error.to_string())?;
        let question = Question { probe, network, quantities: sensor.quantities, port: peer.port };
        let work = match peer.host.parse() {
            Ok(address) => question.put(SocketAddr::new(address, peer.port), now)?,
            Err(_) => {
                let what = vec![format!("the look-up of {}", peer.host)];
                self.room(&what)?;
                let mut child = Child::fork(timeout, &[], now, move || resolve(&peer.host))
                    .map_err(|error| format!("cannot fork to resolve a name: {error}"))?;
                child.what = what;
                Work::Child(child, Then::Ask(question))
            }
        };
        self.under_way.insert(id, work);
        Ok(None)
    }

    fn proceed(&mut self, id: u64, now: Mono) {
        let result = match self.under_way.remove(&id) {
            None => return,
            Some(Work::Child(mut child, then)) => {
                child.drain();
                let ended = match child.ended(now) {
                    Some(ended) => ended,
                    None if now >= child.deadline() => {
                        let ended = child.kill(now);
                        self.stuck.push(child);
                        ended
                    }
                    None => {
                        self.under_way.insert(id, Work::Child(child, then));
                        return;
                    }
                };
                match then {
                    Then::Report => Ok(Output::Finished(ended)),
                    Then::Ask(question) => match question.resolved(&ended, now) {
                        Ok(work) => {
                            self.under_way.insert(id, work);
                            return;
                        }
                        Err(why) => Err(why),
                    },
                }
            }
            Some(Work::Question(mut conversation, mut readings)) => {
                match conversation.proceed(now, &mut readings) {
                    Ok(true) => {
                        Ok(Output::Readings(readings.slots().to_vec(), readings.note, false))
                    }
                    Ok(false) => {
                        self.under_way.insert(id, Work::Question(conversation, readings));
                        return;
                    }
                    Err(error) => Err(error.to_string()),
                }
            }
        };
        self.replies.push_back(Reply { id, result });
    }
}

impl Work {
    /// Until when it may wait, and for what.
    fn waits_for(&self) -> (Mono, Vec<(BorrowedFd<'_>, PollFlags)>) {
        match self {
            Self::Child(child, _) => {
                let (end, output) = child.descriptors();
                let all = std::iter::once(end).chain(output).map(|fd| (fd, PollFlags::POLLIN));
                (child.deadline(), all.collect())
            }
            Self::Question(conversation, _) => {
                let wants =
                    if conversation.wants_write() { PollFlags::POLLOUT } else { PollFlags::POLLIN };
                (conversation.deadline(), vec![(conversation.fd(), wants)])
            }
        }
    }
}

impl Question {
    fn put(self, address: SocketAddr, now: Mono) -> Result<Work, String> {
        let options = Options(self.probe.options);
        let conversation = (self.network.ask)(address, &self.probe.target, &options, now)
            .map_err(|error| error.to_string())?;
        Ok(Work::Question(conversation, Readings::new(self.quantities)))
    }

    fn resolved(self, ended: &Ended, now: Mono) -> Result<Work, String> {
        let address = ended.output.trim().parse().ok().filter(|_| ended.code == Some(0));
        match address {
            Some(address) => {
                let address = SocketAddr::new(address, self.port);
                self.put(address, now)
            }
            None if ended.code.is_none() => Err("the name was not resolved in time".into()),
            None => Err(format!("cannot resolve the name: {}", ended.output.trim())),
        }
    }
}

/// An order that had to wait, with the rest of its time; none if that is over. The brain has given
/// it up by then, and a repair that begins later may meet a service that has long recovered.
fn late(mut message: Message<Order>, waited: Span) -> Option<Message<Order>> {
    match &mut message.body {
        Order::Run(Run { timeout, .. }) | Order::Ask(_, timeout) => {
            *timeout = timeout.minus(waited);
            (*timeout > Span::ZERO).then_some(message)
        }
        Order::Prober | Order::Kill { .. } => Some(message),
    }
}

/// What the resolving child does: one look-up, the first address on standard output.
fn resolve(host: &str) -> i32 {
    let (text, code) = match (host, 0).to_socket_addrs().map(|mut all| all.next()) {
        Ok(Some(address)) => (address.ip().to_string(), 0),
        Ok(None) => ("it has no address".to_string(), 1),
        Err(error) => (error.to_string(), 1),
    };
    let written = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    if written.is_ok() { code } else { 1 }
}

/// The time that poll(2) may wait, rounded up to its milliseconds so that it never spins before a
/// deadline.
fn timeout_until(deadline: Mono, now: Mono) -> PollTimeout {
    if deadline == Mono::FAR {
        return PollTimeout::NONE;
    }
    let millis = deadline.since(now).as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_waited_has_the_rest_of_its_time_and_none_is_begun_after_it() {
        let run = || {
            let (arguments, environment) = (vec!["/bin/true".to_string()], Vec::new());
            let timeout = Span::from_secs(10);
            let run = Run { arguments, environment, input: String::new(), timeout, output_max: 1 };
            Message { id: 1, body: Order::Run(run) }
        };
        let left = late(run(), Span::from_secs(4)).unwrap();
        assert!(matches!(left.body, Order::Run(run) if run.timeout == Span::from_secs(6)));
        assert!(late(run(), Span::from_secs(10)).is_none());
    }
}
