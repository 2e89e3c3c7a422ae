//! The other machines of a pair: the peer on its paths, and the witness. Sockets, signatures and
//! [`Link`]s; what a message means is the core's business.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use mastiff_core::pair::clock::{Clocks, Now};
use mastiff_core::pair::link::{Echo, Envelope, Link, PathId, Received};
use mastiff_core::pair::message::{Beat, GroupKey, Owner, Sender, Session};
use mastiff_core::time::{Mono, Span};
use mastiff_core::wire::{self, Keys, Message, Refusals};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::paths::Quality;
use crate::clock;
use crate::mac::PairKey;
use crate::udp::{BATCH, Inbox, Outbox, Socket};

/// A socket that could not be opened is tried again so often: its interface may come up.
const REOPEN_EVERY: Span = Span::from_secs(1);
/// The socket to a witness that has been silent for so long is made anew: it speaks from the
/// address that was right when it was made.
const REOPEN_SILENT: Span = Span::from_secs(5);
/// Batches that one turn takes from one socket. More of them wait for the next turn, so that a
/// flood holds up nothing else.
const BATCHES_MAX: usize = 4;

/// Where the other machines are.
#[derive(Clone, Debug)]
pub struct Places {
    /// This node.
    pub me: Owner,
    /// Of the peer: this node's end, and its own.
    pub paths: Vec<(SocketAddr, SocketAddr)>,
    /// The witness.
    pub witness: Option<SocketAddr>,
}

/// What was heard: for the core, as `PairEvent::Heard` has it.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    /// From whom.
    pub from: Sender,
    /// In which life.
    pub session: Session,
    /// How old what it has heard of us is.
    pub echo_age: Option<Span>,
    /// What it said.
    pub beat: Beat,
}

/// One path.
#[derive(Debug)]
struct Path {
    local: SocketAddr,
    remote: SocketAddr,
    socket: Option<Socket>,
    /// The token that it is polled with.
    token: Token,
    open_again: Mono,
    quality: Quality,
    told: Option<String>,
    /// There may be something to read: the poll says so once for each arrival.
    is_ready: bool,
}

/// One other machine.
#[derive(Debug)]
struct Remote {
    link: Link,
    paths: Vec<Path>,
    outbox: Outbox,
    reopens: bool,
}

/// All other machines.
#[derive(Debug)]
pub struct Remotes {
    keys: Keys<PairKey>,
    peer: Remote,
    witness: Option<Remote>,
    inbox: Inbox,
    greeting: Outbox,
    /// What was refused, by reason.
    pub refusals: Refusals,
    /// The last turn left something unread.
    pub more: bool,
}

impl Remotes {
    /// Opens what can be opened; the tokens from `first_token` on are used.
    pub fn open(
        places: &Places,
        keys: Keys<PairKey>,
        registry: &Registry,
        first_token: usize,
        now: Mono,
    ) -> Self {
        let own = Sender::Node(places.me.member);
        let link = |remote| Link::new(own, places.me.session, remote);
        let path = |place: usize, local, remote| Path {
            local,
            remote,
            socket: None,
            token: Token(first_token + place),
            open_again: now,
            quality: Quality::default(),
            told: None,
            is_ready: true,
        };
        let paths: Vec<Path> = places
            .paths
            .iter()
            .enumerate()
            .map(|(place, (local, remote))| path(place, *local, *remote))
            .collect();
        let witness = places.witness.map(|remote| {
            let any: IpAddr = match remote {
                SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let paths = vec![path(paths.len(), SocketAddr::new(any, 0), remote)];
            let (link, outbox) = (link(Sender::Witness), Outbox::default());
            Remote { link, paths, outbox, reopens: true }
        });
        let peer = Remote {
            link: link(Sender::Node(places.me.member.other())),
            paths,
            outbox: Outbox::default(),
            reopens: false,
        };
        let mut remotes = Self {
            keys,
            peer,
            witness,
            inbox: Inbox::default(),
            greeting: Outbox::default(),
            refusals: Refusals::default(),
            more: false,
        };
        remotes.keep_open(registry, now);
        remotes
    }

    /// Opens what is not open and may be by now.
    pub fn keep_open(&mut self, registry: &Registry, now: Mono) {
        for remote in [Some(&mut self.peer), self.witness.as_mut()].into_iter().flatten() {
            let heard = remote.link.heard().map(|(_, at)| at.boot);
            for path in &mut remote.paths {
                if now < path.open_again {
                    continue;
                }
                path.open_again = now.after(REOPEN_EVERY);
                let silent = heard.is_none_or(|at| now.since(at) > REOPEN_SILENT);
                if path.socket.is_some() && !(remote.reopens && silent) {
                    continue;
                }
                path.reopen(registry);
                if path.socket.is_some() && remote.reopens {
                    path.open_again = now.after(REOPEN_SILENT);
                }
            }
        }
    }

    /// When [`Self::keep_open`] is to be called again.
    #[must_use]
    pub fn next_deadline(&self) -> Mono {
        let all = [Some(&self.peer), self.witness.as_ref()].into_iter().flatten();
        let due = all.flat_map(|remote| {
            let waits = |path: &&Path| remote.reopens || path.socket.is_none();
            remote.paths.iter().filter(waits).map(|path| path.open_again)
        });
        due.min().unwrap_or(Mono::FAR)
    }

    /// The poll says that something arrived at that token.
    pub fn ready(&mut self, token: Token) {
        let all = [Some(&mut self.peer), self.witness.as_mut()].into_iter().flatten();
        for path in all.flat_map(|remote| &mut remote.paths).filter(|path| path.token == token) {
            path.is_ready = true;
        }
    }

    /// Takes in what has arrived, as much as a turn may; `greet` says what a stranger who asks
    /// about a group is greeted with.
    ///
    /// The clocks are read after each batch was taken in: a promise counts from then, and must not
    /// begin before the message that asks for it was sent, however long this thread was stopped
    /// in between.
    pub fn receive(
        &mut self,
        mut hear: impl FnMut(Heard, Now),
        mut greet: impl FnMut(GroupKey, Clocks) -> Option<Beat>,
    ) {
        self.more = false;
        let Self { keys, peer, witness, inbox, greeting, refusals, more } = self;
        for (remote, from) in
            [(Some(peer), None), (witness.as_mut(), Some(Sender::Witness))].into_iter()
        {
            let Some(Remote { link, paths, .. }) = remote else { continue };
            for (place, path) in paths.iter_mut().enumerate().filter(|(_, path)| path.is_ready) {
                path.is_ready = false;
                let (Some(socket), Some(id)) = (&mut path.socket, PathId::new(place)) else {
                    continue;
                };
                for batch in 1..=BATCHES_MAX {
                    let count = inbox.receive(socket);
                    let turn = clock::turn();
                    let now = turn.at;
                    for (bytes, _) in inbox.iter() {
                        let Message { envelope, beat } = match wire::decode(bytes, keys) {
                            Ok(message) => message,
                            Err(error) => {
                                refusals.count(error);
                                path.quality.refuse(error, now.boot);
                                continue;
                            }
                        };
                        match link.receive(&envelope, id, now) {
                            Received::Accept { session, echo_age, .. } => {
                                path.quality.heard(&beat, now);
                                let from = from.unwrap_or(envelope.from);
                                hear(Heard { from, session, echo_age, beat }, turn);
                            }
                            Received::Greet(stranger) => {
                                if let Some(beat) = greet(beat.group, now) {
                                    let bytes = greeting_of(link, stranger, beat, keys, now);
                                    greeting.push(bytes, None);
                                }
                            }
                            Received::Drop(why) => path.quality.dropped(why, &beat, now),
                        }
                    }
                    if !greeting.is_empty() {
                        greeting.send(socket);
                        greeting.clear();
                    }
                    if count < BATCH {
                        break;
                    }
                    path.is_ready = batch == BATCHES_MAX;
                    *more |= path.is_ready;
                }
            }
        }
    }

    /// Puts a message into the outbox of a machine.
    pub fn queue(&mut self, to: Sender, beat: Beat, now: Clocks) {
        let remote = match (to, &mut self.witness) {
            (Sender::Node(_), _) => &mut self.peer,
            (Sender::Witness, Some(witness)) => witness,
            (Sender::Witness, None) => return,
        };
        let asks = beat.ask.is_some();
        for path in &mut remote.paths {
            path.quality.sent(asks);
        }
        let envelope: Envelope = remote.link.next(now);
        let bytes = wire::encode(&Message { envelope, beat }, &self.keys);
        if remote.outbox.is_full() {
            remote.flush();
        }
        remote.outbox.push(bytes, None);
    }

    /// Sends what is queued: one system call for each path.
    pub fn flush(&mut self) {
        self.peer.flush();
        if let Some(witness) = &mut self.witness {
            witness.flush();
        }
    }

    /// Looks at all paths, the peer's first, then the witness's: for status.
    pub fn each_path(&mut self, mut look: impl FnMut(&mut Quality, bool)) {
        for remote in [Some(&mut self.peer), self.witness.as_mut()].into_iter().flatten() {
            for path in &mut remote.paths {
                look(&mut path.quality, path.socket.is_some());
            }
        }
    }

    /// Datagrams taken in by all sockets, to see a flood.
    #[must_use]
    pub fn unsent(&self) -> u64 {
        let all = [Some(&self.peer), self.witness.as_ref()].into_iter().flatten();
        let sockets = all.flat_map(|remote| remote.paths.iter().filter_map(|p| p.socket.as_ref()));
        sockets.map(|socket| socket.counts.unsent.saturating_add(socket.counts.failed)).sum()
    }
}

fn greeting_of(
    link: &mut Link,
    stranger: Echo,
    beat: Beat,
    keys: &Keys<PairKey>,
    now: Clocks,
) -> [u8; wire::LENGTH] {
    wire::encode(&Message { envelope: link.greet(stranger, now), beat }, keys)
}

impl Remote {
    fn flush(&mut self) {
        if self.outbox.is_empty() {
            return;
        }
        for socket in self.paths.iter_mut().filter_map(|path| path.socket.as_mut()) {
            self.outbox.send(socket);
        }
        self.outbox.clear();
    }
}

impl Path {
    fn reopen(&mut self, registry: &Registry) {
        if let Some(socket) = self.socket.take() {
            // It is closed in the next moment; that it was polled at all is certain.
            registry.deregister(&mut SourceFd(&socket.as_raw_fd())).ok();
        }
        let opened = Socket::open(self.local, Some(self.remote)).map_err(|e| e.to_string());
        let polled = opened.and_then(|socket| match self.poll(&socket, registry) {
            Ok(()) => Ok(socket),
            Err(error) => Err(format!("cannot poll the socket to {}: {error}", self.remote)),
        });
        match polled {
            Ok(socket) => {
                if self.told.take().is_some() {
                    log::info!("the path from {} to {} is open now", self.local, self.remote);
                }
                self.socket = Some(socket);
                self.is_ready = true;
            }
            Err(why) => {
                // Once for each reason: it is tried every second.
                if self.told.as_ref() != Some(&why) {
                    log::warn!("{why}; tried again every {REOPEN_EVERY}");
                    self.told = Some(why);
                }
            }
        }
    }

    fn poll(&self, socket: &Socket, registry: &Registry) -> io::Result<()> {
        registry.register(&mut SourceFd(&socket.as_raw_fd()), self.token, Interest::READABLE)
    }
}
