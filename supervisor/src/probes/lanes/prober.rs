//! The prober lane: the process that serves it, and what is on its way there.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mastiff_core::time::Mono;
use mio::unix::SourceFd;
use mio::{Interest, Token};

use super::super::wire::{Channel, Message, Order, Received, Reply};
use super::aside::Begun;
use super::{Done, For, Lanes, ORDER_GRACE, Prober, START_GAP, STUCK_MAX, WINDOW};

impl<P: Clone + PartialEq> Lanes<P> {
    /// Sends what waits, as far as there is a prober and room.
    pub(super) fn feed_prober(&mut self, now: Mono) {
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
                    let result = Err("too much text for one message to the prober".into());
                    self.failed.push(Done { purpose: next.purpose, result });
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
        let prober = self.order_prober(now)?;
        let token = Token(self.first_token.saturating_add(1));
        let fd = prober.channel.as_raw_fd();
        self.registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        self.prober = Some(prober);
        Ok(())
    }

    /// Has the runner fork a prober; it can be sent its jobs before it exists.
    pub(super) fn order_prober(&mut self, now: Mono) -> io::Result<Prober> {
        let (ours, theirs) = Channel::pair()?;
        let message = Message { id: self.id(), body: Order::Prober };
        let Some(runner) = &self.runner else { return Err(io::ErrorKind::NotConnected.into()) };
        if !runner.channel.send(&message, Some(theirs.as_fd()))? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.orders.insert(message.id, (For::Prober, now.after(ORDER_GRACE)));
        Ok(Prober { channel: ours, order: message.id, pid: None })
    }

    /// Takes its answers.
    pub(super) fn hear_prober(&mut self, now: Mono, done: &mut Vec<Done<P>>) {
        self.take_answers(now, done);
        self.feed_prober(now);
    }

    fn take_answers(&mut self, now: Mono, done: &mut Vec<Done<P>>) {
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

    /// Lets go of it; what it has not answered waits for the next one.
    pub(super) fn retire_prober(&mut self) {
        if let Some(prober) = self.prober.take() {
            self.registry.deregister(&mut SourceFd(&prober.channel.as_raw_fd())).ok();
        }
        while let Some(unanswered) = self.sent.pop_back() {
            self.waiting.push_front(unanswered);
        }
    }

    /// The job at the head takes long: its process is taken aside, and another one takes the rest.
    pub(super) fn take_aside(&mut self, now: Mono, done: &mut Vec<Done<P>>) {
        // Its answer may have come while this turn was on its way.
        self.take_answers(now, done);
        if !self.head_is_late(now) {
            return;
        }
        // From here on the prober begins nothing after an answer. Those that it gave before are
        // taken first: only then is it known which job it may have begun, and that it begins no
        // later one.
        self.prober.iter().for_each(|prober| drop(prober.channel.hang_up()));
        self.take_answers(now, done);
        let Some(prober) = self.prober.take() else { return };
        self.registry.deregister(&mut SourceFd(&prober.channel.as_raw_fd())).ok();
        let head = self.sent.pop_front();
        self.retire_prober();
        let Some(head) = head else { return }; // it has just answered everything, and ends
        if self.asides.has_room() {
            self.asides.add(head, prober, Begun::Perhaps, self.head_since);
            return;
        }
        let result = Err(format!("not read: {STUCK_MAX} other readings take too long already"));
        self.failed.push(Done { purpose: head.purpose, result });
        self.counters.probers_abandoned = self.counters.probers_abandoned.saturating_add(1);
        if let Some(pid) = prober.pid {
            self.kill(pid);
        }
    }
}
