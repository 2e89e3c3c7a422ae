//! The control socket: who may connect, how much each may say, and what waits to be sent to each.
//!
//! A client that sends too much, too slowly or nothing, or does not read, costs its own connection
//! and nothing else. In each turn one request of each client is taken, and none of a client that
//! has not read its last answers: whoever sends thousands at once waits for them, and nobody else
//! does.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use mastiff_core::sorted::{Map, Set};
use mastiff_core::time::{Mono, Span};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Gid, Group, Uid, User, chown, geteuid};

use crate::control::{Answer, REQUEST_BYTES_MAX, Request};

/// Clients at one time. Further ones are told so and closed.
pub const CLIENTS_MAX: usize = 32;
/// Connections accepted in one turn: a flood of them must not keep the brain from its checks.
const ACCEPTS_MAX: usize = 64;
/// Bytes that may wait to be read by one client: the status of as many checks as a configuration
/// may have.
const OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of events that may wait; a follower that stopped reading is let go.
const FOLLOWER_BYTES_MAX: usize = 1024 * 1024;
/// Bytes that wait to be read by a client whose further requests wait until it has read them.
const UNREAD_BYTES: usize = 64 * 1024;
/// A client that asks nothing for so long is let go, unless it follows events.
const IDLE: Span = Span::from_secs(30);
/// The group whose members may look.
pub const GROUP: &str = "mastiff";

/// The listening socket and its clients.
#[derive(Debug)]
pub struct Clients {
    listener: UnixListener,
    registry: Registry,
    first_token: usize,
    group: Option<Gid>,
    members: Vec<Uid>,
    clients: Map<usize, Client>,
    /// Places of clients that may have something to say, or room to be told something.
    again: Set<usize>,
    /// Somebody waits to be accepted.
    knocked: bool,
    next_number: u64,
    refused: u64,
}

/// One connection; the next one at its place is another one, which must not get its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId {
    place: usize,
    number: u64,
}

#[derive(Debug)]
struct Client {
    id: ClientId,
    stream: UnixStream,
    who: Who,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    since: Mono,
    /// The number of the next event that it wants to see.
    follows: Option<u64>,
    /// It is closed once everything is sent.
    last_words: bool,
}

/// Who is on the other side, by the kernel's word (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// For people: `root`, `uid 1000`.
    pub name: String,
    /// Whether it may change something.
    pub may_act: bool,
    /// Whether it may look.
    pub may_look: bool,
}

/// What a client said in a turn.
enum Heard {
    /// A request, or why it is none.
    Request(Result<Request, String>),
    /// Nothing, or a part of a request.
    Nothing,
    /// It is gone, and its connection is closed.
    End,
}

/// A request that arrived.
#[derive(Debug)]
pub struct Asked {
    /// Which client.
    pub client: ClientId,
    /// Who it is.
    pub who: Who,
    /// What it asks, or why that cannot be understood.
    pub request: Result<Request, String>,
}

impl Clients {
    /// Makes the socket, in place of one that an earlier daemon left, and uses [`CLIENTS_MAX`] + 1
    /// tokens.
    ///
    /// # Errors
    /// Whatever keeps a socket from being made there.
    pub fn bind(path: &Path, registry: Registry, first_token: usize) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let group = Group::from_name(GROUP).ok().flatten();
        let members = group.as_ref().map(members).unwrap_or_default();
        let group = group.map(|group| group.gid);
        std::fs::set_permissions(
            path,
            std::fs::Permissions::from_mode(if group.is_some() { 0o660 } else { 0o600 }),
        )?;
        if group.is_some() && geteuid().is_root() {
            chown(path, None, group)?;
        }
        registry.register(
            &mut SourceFd(&listener.as_raw_fd()),
            Token(first_token),
            Interest::READABLE,
        )?;
        Ok(Self {
            listener,
            registry,
            first_token,
            group,
            members,
            clients: Map::new(),
            again: Set::new(),
            knocked: false,
            next_number: 0,
            refused: 0,
        })
    }

    /// Connections and requests that were refused.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Takes note of what is ready by its token; false if the token is not one of its own.
    pub fn ready(&mut self, token: Token) -> bool {
        match token.0.checked_sub(self.first_token) {
            Some(0) => self.knocked = true,
            Some(place) if place <= CLIENTS_MAX => drop(self.again.insert(place)),
            Some(_) | None => return false,
        }
        true
    }

    /// One request of each client that has one; then those who wait are accepted. Called once a
    /// turn.
    pub fn requests(&mut self, now: Mono) -> Vec<Asked> {
        let mut requests = Vec::new();
        for place in std::mem::take(&mut self.again) {
            let Some(client) = self.clients.get_mut(&place) else { continue };
            let heard = match client.flush() {
                Ok(()) => client.hear(now),
                Err(_) => Heard::End,
            };
            match heard {
                Heard::Request(request) => {
                    let (client, who) = (client.id, client.who.clone());
                    requests.push(Asked { client, who, request });
                    self.again.insert(place);
                }
                Heard::Nothing => {}
                Heard::End => self.close(place),
            }
        }
        // After those who left: they make room for those who come.
        if std::mem::take(&mut self.knocked) {
            self.accept(now);
        }
        requests
    }

    /// Answers a client, if it is still there.
    pub fn answer(&mut self, client: ClientId, answer: &Answer) {
        if matches!(answer, Answer::Error(_)) {
            self.refused = self.refused.saturating_add(1);
        }
        let open = self.find(client).map(|client| client.say(answer) && client.flush().is_ok());
        if open == Some(false) {
            self.close(client.place);
        }
    }

    /// From now on, this client gets every event from number `seq` on.
    pub fn follow(&mut self, client: ClientId, seq: u64) {
        if let Some(client) = self.find(client) {
            client.follows = Some(seq);
        }
    }

    fn find(&mut self, id: ClientId) -> Option<&mut Client> {
        self.clients.get_mut(&id.place).filter(|client| client.id == id)
    }

    /// Gives followers what they have not seen, through `since`.
    pub fn feed(&mut self, next: u64, since: impl Fn(u64) -> Vec<Answer>) {
        let mut lost = Vec::new();
        for (place, client) in self.clients.iter_mut() {
            if let Some(seen) = client.follows.filter(|seen| *seen < next) {
                client.follows = Some(next);
                let took_all = since(seen).iter().all(|answer| client.say(answer));
                if !took_all || client.flush().is_err() {
                    lost.push(*place);
                }
            }
        }
        lost.into_iter().for_each(|place| self.close(place));
    }

    /// Lets go of those that ask nothing.
    pub fn tick(&mut self, now: Mono) {
        let idle = |client: &Client| client.follows.is_none() && now.since(client.since) >= IDLE;
        let gone: Vec<usize> =
            self.clients.iter().filter(|(_, c)| idle(c)).map(|(place, _)| *place).collect();
        gone.into_iter().for_each(|place| self.close(place));
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn next_deadline(&self) -> Mono {
        if !self.again.is_empty() {
            return Mono::BOOT;
        }
        let idle = self.clients.values().filter(|client| client.follows.is_none());
        idle.map(|client| client.since.after(IDLE)).min().unwrap_or(Mono::FAR)
    }

    fn accept(&mut self, now: Mono) {
        for _ in 0..ACCEPTS_MAX {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    log::warn!("cannot accept a client: {error}");
                    return;
                }
            };
            if let Err(error) = self.admit(stream, now) {
                self.refused = self.refused.saturating_add(1);
                log::debug!("a client was not admitted: {error}");
            }
        }
        // More may wait, and the poll tells only once: ask to be told again.
        let token = Token(self.first_token);
        self.registry
            .reregister(&mut SourceFd(&self.listener.as_raw_fd()), token, Interest::READABLE)
            .unwrap_or_else(|error| log::error!("cannot listen for clients any more: {error}"));
    }

    fn admit(&mut self, mut stream: UnixStream, now: Mono) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let who = self.who(&stream)?;
        let free = (1..=CLIENTS_MAX).find(|place| !self.clients.contains_key(place));
        let refusal = match (who.may_look, free) {
            (false, _) => Some(format!(
                "{} may not look; root and members of the group `{GROUP}` may",
                who.name
            )),
            (true, None) => {
                Some(format!("{CLIENTS_MAX} clients are connected already; try again later"))
            }
            (true, Some(_)) => None,
        };
        let place = match (refusal, free) {
            (None, Some(place)) => place,
            (refusal, _) => {
                self.refused = self.refused.saturating_add(1);
                let mut line = serde_json::to_vec(&Answer::Error(refusal.unwrap_or_default()))?;
                line.push(b'\n');
                return stream.write_all(&line);
            }
        };
        let token = Token(self.first_token.saturating_add(place));
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(&mut SourceFd(&stream.as_raw_fd()), token, interest)?;
        self.next_number = self.next_number.wrapping_add(1);
        let client = Client {
            id: ClientId { place, number: self.next_number },
            stream,
            who,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            since: now,
            follows: None,
            last_words: false,
        };
        self.clients.insert(place, client);
        Ok(())
    }

    fn who(&self, stream: &UnixStream) -> io::Result<Who> {
        let credentials = getsockopt(stream, PeerCredentials)?;
        let uid = Uid::from_raw(credentials.uid());
        let may_act = uid.is_root() || uid == geteuid();
        let name = if uid.is_root() { "root".to_string() } else { format!("uid {uid}") };
        let own_group = Some(Gid::from_raw(credentials.gid()));
        let may_look = may_act
            || (self.group.is_some() && self.group == own_group)
            || self.members.contains(&uid);
        Ok(Who { name, may_act, may_look })
    }

    fn close(&mut self, place: usize) {
        self.again.remove(&place);
        if let Some(client) = self.clients.remove(&place) {
            self.registry.deregister(&mut SourceFd(&client.stream.as_raw_fd())).ok();
        }
    }
}

/// The users that a group lists, as numbers. Asked once: a directory service that is down must not
/// hold up the brain later, so a new member counts from the next start on.
fn members(group: &Group) -> Vec<Uid> {
    let user = |name: &String| User::from_name(name).ok().flatten().map(|user| user.uid);
    group.mem.iter().filter_map(user).collect()
}

impl Client {
    /// Its next request, as far as it is there.
    fn hear(&mut self, now: Mono) -> Heard {
        if self.last_words || self.unread() > UNREAD_BYTES {
            return Heard::Nothing; // until it has read: the poll tells
        }
        let mut buffer = [0; 4096];
        loop {
            if let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                self.since = now;
                let request = serde_json::from_slice(&line);
                return Heard::Request(request.map_err(|error| format!("not a request: {error}")));
            }
            if self.input.len() > REQUEST_BYTES_MAX {
                self.input.clear();
                let why = format!("a request has at most {REQUEST_BYTES_MAX} bytes");
                return self.part(Some(Answer::Error(why)));
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return self.part(None),
                Ok(count) => self.input.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Heard::End,
            }
        }
    }

    /// Nothing more is heard from it; what it has not read yet is still sent.
    fn part(&mut self, word: Option<Answer>) -> Heard {
        self.last_words = true;
        let told = word.is_none_or(|word| self.say(&word));
        if told && self.flush().is_ok() { Heard::Nothing } else { Heard::End }
    }

    /// Bytes that it has not read.
    fn unread(&self) -> usize {
        self.output.len().saturating_sub(self.sent)
    }

    /// Queues an answer; false if too much waits already.
    fn say(&mut self, answer: &Answer) -> bool {
        // Answers are plain values: they can always be written.
        let Ok(mut line) = serde_json::to_vec(answer) else { return false };
        line.push(b'\n');
        self.output.extend_from_slice(&line);
        let limit = if self.follows.is_some() { FOLLOWER_BYTES_MAX } else { OUTPUT_BYTES_MAX };
        self.unread() <= limit
    }

    /// Sends what it takes now.
    fn flush(&mut self) -> io::Result<()> {
        while let Some(rest) = self.output.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.sent = self.sent.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.output.shrink_to(64 * 1024);
        self.sent = 0;
        if self.last_words { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}
