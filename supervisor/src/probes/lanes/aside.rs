//! Probers that were taken aside with one job: it takes long, or did so the last time.
//!
//! Nothing else is asked of them, so nobody waits behind what hangs. A job that is overdue is
//! *stalled*: its prober is killed, stays here until the kernel lets go of it, and its target is
//! not touched before that. One that answers ends with that, unless its probe is worth keeping:
//! then it waits for the next job for the same purpose, and gets that even if the last one was
//! quick.

use std::os::fd::AsRawFd;

use mastiff_core::time::Mono;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::super::wire::{Output, Received, Reply};
use super::{Counters, Done, Prober, STUCK_MAX, Waiting};
use crate::clock;

/// Targets that are remembered as slow. Beyond it the oldest are tried in the lane again.
const SUSPECTS_MAX: usize = 256;

/// Probers that are kept for their probes at most; beyond it the one that was used least lately
/// ends.
const KEPT_MAX: usize = 16;

/// All of them.
#[derive(Debug)]
pub(super) struct Asides<P> {
    registry: Registry,
    first_token: usize,
    all: Vec<Aside<P>>,
    /// Whose last job took long.
    suspects: Vec<P>,
    /// Those that wait for the next job for their purpose, the last one used last. Nobody watches
    /// them: one that has died does not take its next job.
    kept: Vec<(P, Prober)>,
}

/// Whether a prober has begun the job that it was taken aside with, if it ends without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// It was made for it.
    Alone,
    /// It served the lane, and may have seen only after the job before that it was taken aside.
    Perhaps,
}

#[derive(Debug)]
struct Aside<P> {
    job: Waiting<P>,
    prober: Prober,
    begun: Begun,
    slot: usize,
    since: Mono,
    deadline: Mono,
    /// Since when it is stalled, for people.
    stalled: Option<String>,
}

impl<P: Clone + PartialEq> Asides<P> {
    /// None yet; they use [`STUCK_MAX`] tokens from `first_token` on.
    pub(super) fn new(registry: Registry, first_token: usize) -> Self {
        Self { registry, first_token, all: Vec::new(), suspects: Vec::new(), kept: Vec::new() }
    }

    /// Whether a job for this purpose is under way here; the error says since when it is stalled.
    pub(super) fn has(&self, purpose: &P) -> Result<bool, String> {
        match self.all.iter().find(|aside| aside.job.purpose == *purpose) {
            Some(Aside { stalled: Some(since), .. }) => Err(format!("stalled since {since}")),
            Some(_) => Ok(true),
            None => Ok(false),
        }
    }

    /// Processes that hang in the kernel now.
    pub(super) fn stuck(&self) -> usize {
        self.all.iter().filter(|aside| aside.stalled.is_some()).count()
    }

    /// Whether one more can be taken aside.
    pub(super) fn has_room(&self) -> bool {
        self.all.len() < STUCK_MAX
    }

    /// Whether its last job took long.
    pub(super) fn is_suspect(&self, purpose: &P) -> bool {
        self.suspects.contains(purpose)
    }

    /// The prober that was kept for this purpose.
    pub(super) fn take_kept(&mut self, purpose: &P) -> Option<Prober> {
        let index = self.kept.iter().position(|(own, _)| own == purpose)?;
        Some(self.kept.remove(index).1)
    }

    /// Lets go of those that were kept for other purposes than these: they end.
    pub(super) fn keep_only(&mut self, is_wanted: impl Fn(&P) -> bool) {
        self.kept.retain(|(purpose, _)| is_wanted(purpose));
    }

    fn suspect(&mut self, purpose: &P) {
        if !self.is_suspect(purpose) {
            let surplus = self.suspects.len().saturating_sub(SUSPECTS_MAX - 1);
            self.suspects.drain(..surplus);
            self.suspects.push(purpose.clone());
        }
    }

    /// Takes a prober aside that is registered nowhere, with the job that it began at `since`.
    pub(super) fn add(&mut self, job: Waiting<P>, prober: Prober, begun: Begun, since: Mono) {
        self.suspect(&job.purpose);
        let is_free = |slot: &usize| !self.all.iter().any(|aside| aside.slot == *slot);
        let Some(slot) = (0..STUCK_MAX).find(is_free) else {
            log::error!("{STUCK_MAX} probers are aside already: a further one is let go");
            return;
        };
        let token = Token(self.first_token.saturating_add(slot));
        self.registry
            .register(&mut SourceFd(&prober.channel.as_raw_fd()), token, Interest::READABLE)
            .unwrap_or_else(|error| log::error!("cannot watch a prober aside: {error}"));
        let deadline = since.after(job.timeout);
        self.all.push(Aside { job, prober, begun, slot, since, deadline, stalled: None });
    }

    /// The process behind the prober that this order asked for; true if that is to be killed.
    pub(super) fn identify(&mut self, order: u64, pid: i32) -> bool {
        if let Some(aside) = self.all.iter_mut().find(|aside| aside.prober.order == order) {
            aside.prober.pid = Some(pid);
            return aside.stalled.is_some();
        }
        if let Some((_, prober)) = self.kept.iter_mut().find(|(_, prober)| prober.order == order) {
            prober.pid = Some(pid);
        }
        false
    }

    /// One of them answered, or ended. After that its target may be read again. Returns a job that
    /// was perhaps never begun.
    pub(super) fn hear(
        &mut self,
        slot: usize,
        now: Mono,
        buffer: &mut Vec<u8>,
        counters: &mut Counters,
        done: &mut Vec<Done<P>>,
    ) -> Option<Waiting<P>> {
        let index = self.all.iter().position(|aside| aside.slot == slot)?;
        let aside = self.all.get(index)?;
        let answer = match aside.prober.channel.receive::<Reply>(buffer) {
            Ok((Received::Nothing, _)) => return None,
            Ok((Received::Message(reply), _)) if reply.id == aside.job.message.id => {
                Some(reply.result)
            }
            Ok((Received::Message(_) | Received::Closed | Received::Garbage(_), _)) | Err(_) => {
                None
            }
        };
        let aside = self.all.swap_remove(index);
        self.registry.deregister(&mut SourceFd(&aside.prober.channel.as_raw_fd())).ok();
        if aside.stalled.is_some() {
            return None; // given up long ago
        }
        if answer.is_none() && aside.begun == Begun::Perhaps {
            return Some(aside.job);
        }
        if answer.is_none() {
            counters.probers_died = counters.probers_died.saturating_add(1);
        } else if now.since(aside.since) < super::HEAD_PATIENCE {
            self.suspects.retain(|purpose| *purpose != aside.job.purpose);
        }
        // One that served the lane was told to end with its answer.
        let is_worth_keeping = matches!(answer, Some(Ok(Output::Readings(_, _, true))));
        if is_worth_keeping && aside.begun == Begun::Alone {
            let surplus = self.kept.len().saturating_sub(KEPT_MAX - 1);
            self.kept.drain(..surplus);
            self.kept.push((aside.job.purpose.clone(), aside.prober));
        }
        let result = answer.unwrap_or_else(|| Err("the prober died while reading it".into()));
        done.push(Done { purpose: aside.job.purpose, result });
        None
    }

    /// Gives up what is overdue; returns the processes to kill.
    pub(super) fn tick(
        &mut self,
        now: Mono,
        counters: &mut Counters,
        done: &mut Vec<Done<P>>,
    ) -> Vec<i32> {
        let mut kills = Vec::new();
        for aside in &mut self.all {
            if aside.stalled.is_some() || now < aside.deadline {
                continue;
            }
            counters.probers_abandoned = counters.probers_abandoned.saturating_add(1);
            let took = i64::try_from(now.since(aside.since).as_nanos()).unwrap_or(i64::MAX);
            let since = clock::utc(clock::unix_nanos().saturating_sub(took));
            let result = Err(format!("stalled since {since}"));
            done.push(Done { purpose: aside.job.purpose.clone(), result });
            aside.stalled = Some(since);
            kills.extend(aside.prober.pid);
        }
        kills
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let waits = self.all.iter().filter(|aside| aside.stalled.is_none());
        waits.map(|aside| aside.deadline).min()
    }
}
