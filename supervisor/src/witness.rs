//! The witness: a third vote for many pairs, and nothing else.
//!
//! One loop, one thread, one socket. A turn takes up to [`crate::udp::BATCH`] messages with one
//! call, reads both clocks, answers, and sends the answers with one call. It allocates nothing for
//! a message and touches no disk: what it must not forget it makes up for by keeping silent for
//! [`PROMISE_MAX`] after its start. Only a reload reads files, in the loop: whoever asks for one on
//! a machine with a dead disk loses the witness until the disk, or PID 1, ends that.
//!
//! | file | idea |
//! |---|---|
//! | `pairs` | whose message, whether it is one, what the core says to it |
//! | `voice` | so many lines a second and no more |

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::message::Session;
use mastiff_core::time::{Mono, Span};
use mastiff_core::timing::PROMISE_MAX;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::brain::notify::Notify;
use crate::config::{self, WitnessConfig, not_run};
use crate::udp::{BATCH, Inbox, Outbox, Socket};
use crate::{clock, key, signals};
use pairs::Pairs;
use voice::Voice;

mod pairs;
mod voice;

const SIGNALS: Token = Token(0);
const SOCKET: Token = Token(1);
/// How often it looks for nodes that have gone, and tells PID 1 that it lives.
const LOOK_EVERY: Span = Span::from_secs(1);

/// The loop and all that it owns.
#[derive(Debug)]
pub struct Service {
    config_path: PathBuf,
    pairs: Pairs,
    socket: Socket,
    inbox: Inbox,
    outbox: Outbox,
    poll: Poll,
    signals: SignalFd,
    notify: Notify,
    voice: Voice,
    /// The one reading of this turn.
    now: Clocks,
    look_due: Mono,
    pet_due: Mono,
}

/// Why a witness does not start.
#[derive(Debug)]
pub enum StartError {
    /// Not one of the pairs can be served; each was said. Trying again does not mend that.
    NoPair,
    /// The system refused something: what was tried, and why.
    Refused(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPair => f.write_str("none of the pairs can be served"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StartError {}

impl Service {
    /// Reads the keys and opens the socket. The signals of [`signals::blocked`] must be blocked
    /// already. A pair whose key cannot be read is said and left out: thousands of others do not
    /// wait for it.
    ///
    /// # Errors
    /// When no pair is left, or the system refuses a resource.
    pub fn new(config: &WitnessConfig, config_path: &Path) -> Result<Self, StartError> {
        let refused = |what: &'static str| {
            move |error: io::Error| StartError::Refused(format!("cannot {what}: {error}"))
        };
        let life = key::random().map_err(refused("get random bytes"))?;
        let session = Session(u64::from_ne_bytes(life).max(1)); // zero is no session
        let socket = Socket::open(config.listen, None)
            .map_err(|error| StartError::Refused(error.to_string()))?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let signals = SignalFd::with_flags(&signals::blocked(), flags)
            .map_err(|errno| refused("make a signal descriptor")(errno.into()))?;
        let poll = Poll::new().map_err(refused("make a poll descriptor"))?;
        for (fd, token) in [(signals.as_raw_fd(), SIGNALS), (socket.as_raw_fd(), SOCKET)] {
            poll.registry()
                .register(&mut SourceFd(&fd), token, Interest::READABLE)
                .map_err(refused("poll"))?;
        }
        let now = clock::clocks();
        let mut service = Self {
            config_path: config_path.to_path_buf(),
            pairs: Pairs::new(session),
            socket,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            poll,
            signals,
            notify: Notify::from_environment(),
            voice: Voice::default(),
            now,
            look_due: now.boot,
            pet_due: now.boot,
        };
        service.adopt(config);
        if service.pairs.count() == 0 {
            return Err(StartError::NoPair);
        }
        let (version, pairs) = (env!("CARGO_PKG_VERSION"), service.pairs.count());
        log::info!(
            "mastiffd {version} is a witness on {} (pairs: {pairs}); it keeps silent for {PROMISE_MAX}",
            config.listen
        );
        Ok(service)
    }

    /// Runs until a signal ends it.
    ///
    /// # Errors
    /// When the kernel refuses the poll itself: nothing can go on then.
    pub fn run(mut self) -> Result<(), String> {
        let mut events = Events::with_capacity(8);
        let mut is_drained = false;
        self.notify.ready();
        loop {
            // With messages left it only looks whether a signal has come.
            let due = self.look_due.since(self.now.boot).as_nanos();
            let wait = Duration::from_nanos(if is_drained { due } else { 0 });
            match self.poll.poll(&mut events, Some(wait)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("cannot poll: {error}")),
            }
            is_drained = self.answer() < BATCH;
            let signalled = events.iter().any(|event| event.token() == SIGNALS);
            if signalled && self.take_signals() {
                self.notify.stopping();
                self.dump();
                return Ok(());
            }
            if self.now.boot >= self.look_due {
                self.look();
            }
        }
    }

    /// Answers what has arrived; says how many messages that were.
    fn answer(&mut self) -> usize {
        let count = self.inbox.receive(&mut self.socket);
        self.now = clock::clocks();
        for (bytes, from) in self.inbox.named() {
            if let Some(answer) = self.pairs.hear(bytes, from, self.now, &mut self.voice) {
                self.outbox.answer(answer, from);
            }
        }
        self.outbox.send(&mut self.socket);
        self.outbox.clear();
        count
    }

    /// Once a second, or as often as PID 1 wants to hear of it.
    fn look(&mut self) {
        self.voice.breathe();
        self.pairs.look(self.now, &mut self.voice);
        self.look_due = self.now.boot.next_on_grid(LOOK_EVERY);
        if let Some(every) = self.notify.pet_every() {
            if self.now.boot >= self.pet_due {
                self.pet_due = self.now.boot.after(every);
                self.notify.pet(true);
            }
            self.look_due = self.look_due.min(self.pet_due);
        }
        self.notify.status(&self.pairs.to_string());
    }

    /// Says whether it is the end.
    fn take_signals(&mut self) -> bool {
        let mut is_over = false;
        while let Ok(Some(info)) = self.signals.read_signal() {
            match i32::try_from(info.ssi_signo).map(Signal::try_from) {
                Ok(Ok(Signal::SIGHUP)) => self.reload(),
                Ok(Ok(Signal::SIGUSR1)) => self.dump(),
                Ok(Ok(Signal::SIGTERM | Signal::SIGINT)) => is_over = true,
                _ => {}
            }
        }
        is_over
    }

    /// Reads the configuration and the keys again. What stays keeps its promises.
    fn reload(&mut self) {
        self.notify.reloading();
        let path = &self.config_path;
        let loaded = config::load(path).and_then(|config| match not_run(&config, path) {
            None => Ok(config.witness),
            Some(fault) => Err(fault.into()),
        });
        match loaded {
            Ok(Some(config)) => {
                self.adopt(&config);
                log::info!("loaded {}: {}", self.config_path.display(), self.pairs);
            }
            Ok(None) => log::error!(
                "{} has no [witness] any more; the old configuration stays",
                self.config_path.display()
            ),
            Err(faults) => {
                log::error!("the configuration was not loaded, the old one stays:");
                faults.to_string().lines().for_each(|line| log::error!("{line}"));
            }
        }
        self.notify.ready();
    }

    fn adopt(&mut self, config: &WitnessConfig) {
        for problem in self.pairs.adopt(&config.pairs, self.now) {
            self.voice.say(log::Level::Error, format_args!("{problem}"));
        }
    }

    /// Writes every counter that is not zero.
    fn dump(&self) {
        let counts = &self.socket.counts;
        log::info!(
            "{} datagrams received, {} answered, {} not sent for lack of room, {} failed{}",
            counts.received,
            counts.sent,
            counts.unsent,
            counts.failed,
            counts.last_error.map_or(String::new(), |errno| format!(" ({})", errno.desc())),
        );
        for (count, what) in self.pairs.counts().into_iter().filter(|(count, _)| *count > 0) {
            log::info!("{count} {what}");
        }
        log::info!("{}", self.pairs);
    }
}
