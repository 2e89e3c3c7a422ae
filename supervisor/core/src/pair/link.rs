//! One remote, over several paths: whose words are new, whose are old, and who hears whom.
//!
//! A [`Link`] numbers what is sent to one remote and judges what comes from it. The messages are
//! authentic by then ([`crate::wire`]); what is left are copies, replays, reflections, former lives
//! and clones of an honest sender.
//!
//! - **Numbers are times.** A message is numbered with its send time (boot clock, nanoseconds), or
//!   one more than the last where that is greater. So an echoed number tells by itself how long
//!   ago it was sent: no table of what was sent when. And a daemon that goes on with its session
//!   after a restart needs no saved counter to stay above every number that it used.
//! - **One number for all paths.** The same bytes go out on every path, signed once. Of the copies
//!   the first is taken; so numbers order the words of a sender across paths of different delay.
//! - **Who is new must answer us.** A session that is not the known one is taken only when it
//!   echoes a message of ours of the last [`PROMISE_MAX`] that we sent after the known one was
//!   taken: neither a replay nor a late word of a life before can. Until then it is greeted, so
//!   that it can. The session before is retired and never taken again, or two clones would take
//!   turns.
//!
//! ```text
//!            other session              echoes a new message of ours, <= PROMISE_MAX old
//! nobody ───────────────────► Greet ──────────────────────────────────────────────► known
//!                               ▲                                                     │ the known
//!                               └───────── another session, not a retired one ────────┤ session:
//!                                          (taken: the former is retired)             ▼ Accept
//! ```
//!
//! A link has a fixed size under 700 bytes (tests), allocates nothing, and can be kept across a
//! restart. A witness of 10,000 pairs needs 20,000 of them: 14 MB.

use serde::{Deserialize, Serialize};

use super::clock::Clocks;
use super::message::{Sender, Session};
use crate::time::{Mono, Span};
use crate::timing::PROMISE_MAX;

/// Paths to one remote at most. Two cables, a serial line and a way around are four.
pub const PATHS_MAX: usize = 4;

/// How many of the newest numbers are remembered. A message that is overtaken by more than so many
/// others is refused: its state has long been said again.
pub const WINDOW: usize = 32;

/// How many former sessions are remembered. One that is forgotten can come back only alive: it has
/// to echo what we sent after its last successor was taken.
pub const RETIRED_MAX: usize = 4;

/// Strangers are greeted at most so often on each path. Two that are both too slow to ever meet
/// would else answer each other's answers for ever.
pub const GREET_EVERY: Span = Span::from_millis(1);

/// The number of a message: its send time by the sender's boot clock in nanoseconds, strictly
/// growing within a session, never zero.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    fn of(at: Mono) -> Self {
        Self(u64::try_from(at.as_nanos()).unwrap_or(0))
    }

    fn sent_at(self) -> Mono {
        Mono::from_nanos(i64::try_from(self.0).unwrap_or(i64::MAX))
    }
}

/// The newest message that somebody has heard of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Echo {
    /// Of which life.
    pub session: Session,
    /// Which message.
    pub sequence: Sequence,
}

/// What stands on the outside of every message, under the signature as the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Envelope {
    /// Who sends it.
    pub from: Sender,
    /// To whom. A grant for one asker must not be heard by another.
    pub to: Sender,
    /// In which life it is sent.
    pub session: Session,
    /// Its number.
    pub sequence: Sequence,
    /// What the sender has last heard of the receiver; `None`: nothing yet.
    pub echo: Option<Echo>,
}

/// A path to the remote, by its place in the configuration of *this* machine: the two ends may
/// count them differently, so it is not on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PathId(u8);

impl PathId {
    /// The first path, of those who have one.
    pub const FIRST: Self = Self(0);

    /// By its place; `None` from [`PATHS_MAX`] on.
    #[must_use]
    pub fn new(place: usize) -> Option<Self> {
        (place < PATHS_MAX).then_some(())?;
        u8::try_from(place).ok().map(Self)
    }
}

/// What is known of one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PathHealth {
    /// When something new was last heard on it, a copy of what came on another path included.
    /// Who carries our messages from one path to another can make the second look alive; it then
    /// is a path.
    pub heard_at: Option<Clocks>,
    /// The highest number heard on it.
    newest: Sequence,
    /// When a stranger was last greeted on it.
    greeted_at: Option<Clocks>,
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Act on it.
    Accept {
        /// The life that it comes from.
        session: Session,
        /// Its number. Messages may overtake each other: of two about one group, the one with the
        /// greater number is the newer word.
        sequence: Sequence,
        /// How long ago was sent what the sender has last heard of us; `None`: nothing yet, or of
        /// another life. By the boot clock alone: good to tell who is deaf, not to end a lease.
        echo_age: Option<Span>,
    },
    /// Do not act on it, but answer with [`Link::greet`], so that the stranger can echo us.
    Greet(Echo),
    /// Neither.
    Drop(Dropped),
}

/// Why a message is dropped. Each has its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Dropped {
    /// A copy of what came on another path: the normal case where there are several.
    Copy,
    /// This path brought that number or a higher one before: doubled or replayed.
    Repeated,
    /// Overtaken by too many others, or from before the session was taken.
    TooOld,
    /// Of a session that another has replaced: a late message, a replay, or a clone.
    Retired,
    /// Our own words.
    Reflected,
    /// For or from somebody else.
    Misdirected,
    /// A stranger was greeted on this path less than [`GREET_EVERY`] ago.
    GreetedJustNow,
}

/// What happened on a link so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Counts {
    /// Messages acted on.
    pub accepted: u64,
    /// Strangers answered.
    pub greeted: u64,
    /// Sessions taken.
    pub taken: u64,
    /// Echoes of what we have not yet said. It grows where this machine was set back (a snapshot)
    /// or another one uses the same session: then only a new session is heard again.
    pub echo_ahead: u64,
    /// [`Dropped::Copy`].
    pub copies: u64,
    /// [`Dropped::Repeated`].
    pub repeated: u64,
    /// [`Dropped::TooOld`].
    pub too_old: u64,
    /// [`Dropped::Retired`].
    pub retired: u64,
    /// [`Dropped::Reflected`].
    pub reflected: u64,
    /// [`Dropped::Misdirected`].
    pub misdirected: u64,
    /// [`Dropped::GreetedJustNow`].
    pub greeted_just_now: u64,
}

/// The greatest numbers taken of a session, in no order. A bitmap does not fit numbers that are
/// times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
struct Window([Sequence; WINDOW]);

/// Why a number is refused.
enum Refused {
    Taken,
    TooOld,
}

impl Window {
    /// Takes a number once. What falls out is the smallest, and nothing below the smallest is
    /// taken: so nothing that fell out comes in again.
    fn take(&mut self, sequence: Sequence) -> Result<(), Refused> {
        if self.0.contains(&sequence) {
            return Err(Refused::Taken);
        }
        match self.0.iter_mut().min() {
            Some(smallest) if sequence > *smallest => {
                *smallest = sequence;
                Ok(())
            }
            Some(_) | None => Err(Refused::TooOld),
        }
    }
}

/// The session that is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Known {
    newest: Echo,
    heard_at: Clocks,
    window: Window,
}

/// What connects us with one remote.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Link {
    own: Sender,
    remote: Sender,
    session: Session,
    last_sent: Sequence,
    /// Our last when the known session was taken. A life that ended before can echo none later.
    last_when_taken: Sequence,
    known: Option<Known>,
    retired: [Session; RETIRED_MAX],
    paths: [PathHealth; PATHS_MAX],
    counts: Counts,
}

impl Link {
    /// From `own`, in the life `session`, to `remote`.
    #[must_use]
    pub fn new(own: Sender, session: Session, remote: Sender) -> Self {
        Self {
            own,
            remote,
            session,
            last_sent: Sequence(0),
            last_when_taken: Sequence(0),
            known: None,
            retired: [Session(0); RETIRED_MAX],
            paths: [PathHealth::default(); PATHS_MAX],
            counts: Counts::default(),
        }
    }

    /// The envelope of the next message; it goes out on every path.
    pub fn next(&mut self, now: Clocks) -> Envelope {
        let echo = self.heard().map(|(echo, _)| echo);
        self.number(echo, now)
    }

    /// The envelope of the answer to a [`Received::Greet`].
    pub fn greet(&mut self, stranger: Echo, now: Clocks) -> Envelope {
        self.number(Some(stranger), now)
    }

    fn number(&mut self, echo: Option<Echo>, now: Clocks) -> Envelope {
        let above = Sequence(self.last_sent.0.saturating_add(1));
        let sequence = above.max(Sequence::of(now.boot));
        self.last_sent = sequence;
        Envelope { from: self.own, to: self.remote, session: self.session, sequence, echo }
    }

    /// Judges an authentic message.
    pub fn receive(&mut self, envelope: &Envelope, path: PathId, now: Clocks) -> Received {
        let received = self.judge(envelope, path, now);
        let counts = &mut self.counts;
        let count = match received {
            Received::Accept { .. } => &mut counts.accepted,
            Received::Greet(_) => &mut counts.greeted,
            Received::Drop(Dropped::Copy) => &mut counts.copies,
            Received::Drop(Dropped::Repeated) => &mut counts.repeated,
            Received::Drop(Dropped::TooOld) => &mut counts.too_old,
            Received::Drop(Dropped::Retired) => &mut counts.retired,
            Received::Drop(Dropped::Reflected) => &mut counts.reflected,
            Received::Drop(Dropped::Misdirected) => &mut counts.misdirected,
            Received::Drop(Dropped::GreetedJustNow) => &mut counts.greeted_just_now,
        };
        *count = count.saturating_add(1);
        received
    }

    fn judge(&mut self, envelope: &Envelope, path: PathId, now: Clocks) -> Received {
        if envelope.from == self.own {
            return Received::Drop(Dropped::Reflected);
        }
        if envelope.from != self.remote || envelope.to != self.own {
            return Received::Drop(Dropped::Misdirected);
        }
        if self.retired.contains(&envelope.session) {
            return Received::Drop(Dropped::Retired);
        }
        let known = self.known.is_some_and(|known| known.newest.session == envelope.session);
        let echo = self.own_echo(envelope.echo, now);
        let echo_age = echo.map(|echo| now.boot.since(echo.sent_at()));
        let is_alive = echo.is_some_and(|echo| echo > self.last_when_taken)
            && echo_age.is_some_and(|age| age <= PROMISE_MAX);
        if known {
            if let Err(dropped) = self.hear(envelope.sequence, path, now) {
                return Received::Drop(dropped);
            }
        } else if is_alive {
            self.take(envelope, path, now);
        } else {
            return self.meet(envelope, path, now);
        }
        Received::Accept { session: envelope.session, sequence: envelope.sequence, echo_age }
    }

    /// A message of the known session: is it new, on this path and on all?
    fn hear(&mut self, sequence: Sequence, path: PathId, now: Clocks) -> Result<(), Dropped> {
        let mut is_new_here = false;
        if let Some(path) = self.path(path) {
            is_new_here = sequence > path.newest;
            if is_new_here {
                path.newest = sequence;
                path.heard_at = Some(now);
            }
        }
        let Some(known) = &mut self.known else { return Err(Dropped::Misdirected) };
        match known.window.take(sequence) {
            Ok(()) => {}
            Err(Refused::Taken) if is_new_here => return Err(Dropped::Copy),
            Err(Refused::Taken) => return Err(Dropped::Repeated),
            Err(Refused::TooOld) => return Err(Dropped::TooOld),
        }
        if sequence > known.newest.sequence {
            known.newest.sequence = sequence;
            known.heard_at = now;
        }
        Ok(())
    }

    /// Takes a new session. Nothing that it said before is heard any more: who was deaf to it, or
    /// has just started, could not tell what of that is a replay.
    fn take(&mut self, envelope: &Envelope, path: PathId, now: Clocks) {
        let newest = Echo { session: envelope.session, sequence: envelope.sequence };
        let window = Window([envelope.sequence; WINDOW]);
        let former = self.known.replace(Known { newest, heard_at: now, window });
        if let Some(former) = former {
            self.retired.rotate_right(1);
            if let Some(first) = self.retired.first_mut() {
                *first = former.newest.session;
            }
        }
        self.last_when_taken = self.last(now);
        for path in &mut self.paths {
            path.newest = envelope.sequence;
        }
        if let Some(path) = self.path(path) {
            path.heard_at = Some(now);
        }
        self.counts.taken = self.counts.taken.saturating_add(1);
    }

    /// A message of a stranger.
    fn meet(&mut self, envelope: &Envelope, path: PathId, now: Clocks) -> Received {
        if let Some(path) = self.path(path) {
            if path.greeted_at.is_some_and(|at| now.longest_since(at) < GREET_EVERY) {
                return Received::Drop(Dropped::GreetedJustNow);
            }
            path.greeted_at = Some(now);
        }
        Received::Greet(Echo { session: envelope.session, sequence: envelope.sequence })
    }

    /// Our last message. That of a daemon that went on with its session is known by the clock.
    fn last(&self, now: Clocks) -> Sequence {
        self.last_sent.max(Sequence::of(now.boot))
    }

    /// Which message of this life of ours the remote has heard.
    fn own_echo(&mut self, echo: Option<Echo>, now: Clocks) -> Option<Sequence> {
        let echo = echo.filter(|echo| echo.session == self.session)?;
        if echo.sequence > self.last(now) {
            self.counts.echo_ahead = self.counts.echo_ahead.saturating_add(1);
            return None;
        }
        Some(echo.sequence)
    }

    fn path(&mut self, path: PathId) -> Option<&mut PathHealth> {
        self.paths.get_mut(usize::from(path.0))
    }

    /// The life of ours that speaks on this link.
    #[must_use]
    pub fn session(&self) -> Session {
        self.session
    }

    /// The newest that was heard of the remote, and when.
    #[must_use]
    pub fn heard(&self) -> Option<(Echo, Clocks)> {
        self.known.map(|known| (known.newest, known.heard_at))
    }

    /// What is known of each path, for status.
    #[must_use]
    pub fn paths(&self) -> &[PathHealth; PATHS_MAX] {
        &self.paths
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}
