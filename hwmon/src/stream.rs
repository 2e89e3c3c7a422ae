//! A TCP connection that never blocks, and the words for how one fails.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mastiff_core::time::{Mono, Span};
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage};

use crate::sensor::{Options, SensorError, SensorOption};

/// Time until silence is taken for an answer, unless the option `timeout` says otherwise.
pub const TIMEOUT: Span = Span::from_secs(5);

/// Longest that the option `timeout` may say.
pub const TIMEOUT_MAX: Span = Span::from_secs(300);

/// The words for a failed connection, for the quantity `error`.
pub const ERRORS: &[&str] =
    &["refused", "timeout", "unreachable", "reset", "closed", "mismatch", "malformed"];

/// The option of every network sensor.
pub const TIMEOUT_OPTION: SensorOption = SensorOption {
    name: "timeout",
    meaning: "how long to wait for the whole answer, at most 5min; default 5s",
    example: "2s",
    check: check_timeout,
};

fn check_timeout(value: &str) -> Result<(), String> {
    match Span::parse(value) {
        Ok(Span::ZERO) => Err("must be more than nothing".into()),
        Ok(span) if span > TIMEOUT_MAX => Err(format!("must be at most {TIMEOUT_MAX}")),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// The time-out of a check.
pub fn timeout(options: &Options) -> Span {
    let written = options.get("timeout").and_then(|text| Span::parse(text).ok());
    written.map_or(TIMEOUT, |span| span.min(TIMEOUT_MAX))
}

/// How an attempt to talk ended badly. That the peer does not answer is a reading; that this
/// machine cannot ask is an error.
#[derive(Debug)]
pub enum Failure {
    /// One of [`ERRORS`].
    Peer(&'static str),
    /// No descriptors, no memory, not permitted: nothing is known of the peer.
    Own(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let word = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ECONNREFUSED) => "refused",
            Some(Errno::ETIMEDOUT) => "timeout",
            Some(Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EHOSTDOWN | Errno::ENETDOWN) => {
                "unreachable"
            }
            Some(Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED) => "reset",
            _ => return Self::Own(error),
        };
        Self::Peer(word)
    }
}

impl Failure {
    /// The word for a reading.
    ///
    /// # Errors
    /// When the fault is this machine's.
    pub fn word(self, call: &'static str) -> Result<&'static str, SensorError> {
        match self {
            Self::Peer(word) => Ok(word),
            Self::Own(source) => Err(SensorError::Call { call, source }),
        }
    }
}

/// A connection on its way or made.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    /// A refusal that the kernel knew at once, as it does on loopback.
    refused: Option<Failure>,
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// The peer has closed its side.
    End,
}

impl Stream {
    /// Begins to connect.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn connect(to: SocketAddr) -> Result<Self, SensorError> {
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket::socket(family, SockType::Stream, flags, SockProtocol::Tcp)
            .map_err(|errno| SensorError::Call { call: "socket", source: errno.into() })?;
        let socket = TcpStream::from(socket);
        let refused = match socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
            Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => None,
            Err(errno) => Some(Failure::from(io::Error::from(errno))),
        };
        Ok(Self { socket, refused })
    }

    /// Whether the attempt has ended already, so that there is nothing to wait for.
    pub fn has_failed(&self) -> bool {
        self.refused.is_some()
    }

    /// True once the connection stands, false while it is on its way.
    ///
    /// # Errors
    /// Why there will be none.
    pub fn is_connected(&mut self) -> Result<bool, Failure> {
        if let Some(failure) = self.refused.take() {
            return Err(failure);
        }
        if let Some(error) = self.socket.take_error()? {
            return Err(error.into());
        }
        match self.socket.peer_addr() {
            // A connection to a free port of this machine can meet itself, when the kernel gives it
            // that very port (simultaneous open, RFC 9293, 3.5): nobody listens there.
            Ok(peer) if self.socket.local_addr().is_ok_and(|own| own == peer) => {
                Err(Failure::Peer("refused"))
            }
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes what the socket takes now; the number of bytes, zero if it is full.
    ///
    /// # Errors
    /// As the connection failed.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Failure> {
        match self.socket.write(bytes) {
            Ok(count) => Ok(count),
            Err(error) if is_later(&error) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what is there now.
    ///
    /// # Errors
    /// As the connection failed.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Got, Failure> {
        match self.socket.read(buffer) {
            Ok(0) => Ok(Got::End),
            Ok(count) => Ok(Got::Bytes(count)),
            Err(error) if is_later(&error) => Ok(Got::Nothing),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Looks for a text in bytes that keep coming, each of them only once: a peer that sends single
/// bytes must not cost a search from the start for each.
#[derive(Debug)]
pub struct Search {
    text: Vec<u8>,
    searched: usize,
    found: bool,
}

impl Search {
    /// A search for `text`.
    pub fn new(text: &str) -> Self {
        Self { text: text.as_bytes().to_vec(), searched: 0, found: false }
    }

    /// Whether the text is in `bytes`, which begin as in the last call and may have grown.
    pub fn look(&mut self, bytes: &[u8]) -> bool {
        if !self.found {
            let rest = bytes.get(self.searched..).unwrap_or_default();
            self.found = rest.windows(self.text.len().max(1)).any(|window| window == self.text);
            // The text may begin in what is there and end in what comes.
            self.searched = bytes.len().saturating_sub(self.text.len());
        }
        self.found
    }

    /// What the last call found.
    pub fn has_found(&self) -> bool {
        self.found
    }
}

/// The first half of every conversation: connecting, then saying what there is to say.
#[derive(Debug)]
pub struct Opening {
    /// The connection; to read from once [`advance`](Self::advance) says so.
    pub stream: Stream,
    /// When the question was asked.
    pub asked: Mono,
    /// When the whole conversation gives up: at once if it has failed already.
    pub deadline: Mono,
    to_send: Vec<u8>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Connecting,
    Sending { connected: Mono, sent: usize },
    Sent { connected: Mono },
}

impl Opening {
    /// Begins to connect; `to_send` may be empty.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn new(
        to: SocketAddr,
        to_send: Vec<u8>,
        options: &Options,
        now: Mono,
    ) -> Result<Self, SensorError> {
        let stream = Stream::connect(to)?;
        let deadline = if stream.has_failed() { now } else { now.after(timeout(options)) };
        Ok(Self { stream, asked: now, deadline, to_send, stage: Stage::Connecting })
    }

    /// Whether it waits to write (else to read).
    pub fn wants_write(&self) -> bool {
        matches!(self.stage, Stage::Connecting | Stage::Sending { .. })
    }

    /// How long the connection took to stand; `None` while it does not.
    pub fn connect_time(&self) -> Option<Span> {
        match self.stage {
            Stage::Connecting => None,
            Stage::Sending { connected, .. } | Stage::Sent { connected } => {
                Some(connected.since(self.asked))
            }
        }
    }

    /// Goes as far as the socket allows; true once all is said.
    ///
    /// # Errors
    /// Why it cannot be said.
    pub fn advance(&mut self, now: Mono) -> Result<bool, Failure> {
        loop {
            match self.stage {
                Stage::Connecting => {
                    if !self.stream.is_connected()? {
                        return Ok(false);
                    }
                    self.stage = Stage::Sending { connected: now, sent: 0 };
                }
                Stage::Sending { connected, sent } => {
                    let rest = self.to_send.get(sent..).unwrap_or_default();
                    if rest.is_empty() {
                        self.stage = Stage::Sent { connected };
                        continue;
                    }
                    let count = self.stream.write(rest)?;
                    if count == 0 {
                        return Ok(false);
                    }
                    self.stage = Stage::Sending { connected, sent: sent.saturating_add(count) };
                }
                Stage::Sent { .. } => return Ok(true),
            }
        }
    }

    /// How the conversation has ended, by its progress until now (true once it is complete); `None`
    /// while it goes on. What is complete at the deadline is no time-out: it did come.
    pub fn end(&self, progress: Result<bool, Failure>, now: Mono) -> Option<Result<(), Failure>> {
        match progress {
            Ok(true) => Some(Ok(())),
            Ok(false) if now < self.deadline => None,
            Ok(false) => Some(Err(Failure::Peer("timeout"))),
            Err(failure) => Some(Err(failure)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_however_it_comes() {
        for bytes in [&b"xxPONG"[..], b"PONGxx", b"PPONG"] {
            let mut search = Search::new("PONG");
            let found = (0..=bytes.len()).position(|end| search.look(&bytes[..end]));
            let end = bytes.windows(4).position(|window| window == b"PONG").map(|at| at + 4);
            assert_eq!(found, end);
            assert!(search.has_found() && Search::new("PONG").look(bytes));
        }
        assert!(!Search::new("PONG").look(b"PON"));
    }

    #[test]
    fn only_what_is_incomplete_at_its_deadline_timed_out() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let opening = Opening::new(to, Vec::new(), &Options::default(), Mono::BOOT).unwrap();
        let late = opening.deadline;
        assert_eq!(late, Mono::BOOT.after(TIMEOUT));
        let early = late.before(Span::from_nanos(1));
        assert!(opening.end(Ok(false), early).is_none());
        assert!(matches!(opening.end(Ok(false), late), Some(Err(Failure::Peer("timeout")))));
        for now in [early, late] {
            assert!(matches!(opening.end(Ok(true), now), Some(Ok(()))));
            let reset = opening.end(Err(Failure::Peer("reset")), now);
            assert!(matches!(reset, Some(Err(Failure::Peer("reset")))));
        }
    }

    #[test]
    fn only_the_peers_faults_are_answers() {
        for (errno, word) in [
            (Errno::ECONNREFUSED, Some("refused")),
            (Errno::EHOSTUNREACH, Some("unreachable")),
            (Errno::ECONNRESET, Some("reset")),
            (Errno::EMFILE, None),
            (Errno::EPERM, None),
        ] {
            let said = Failure::from(io::Error::from(errno)).word("connect").ok();
            assert_eq!(said, word, "{errno}");
        }
    }
}
