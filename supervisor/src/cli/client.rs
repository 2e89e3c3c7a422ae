//! The client's end of the control socket: one line each way, bounded in size and time.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::time::TimeVal;
use nix::unistd::Group;

use super::failure::Failure;
use super::print;
use crate::brain::clients::GROUP;
use crate::control::{Answer, REQUEST_BYTES_MAX, Request};

/// Bytes of one answer at most. A check takes about 2 KiB and a node has at most a few thousand.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes taken from the socket at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Characters of a strange answer that are quoted.
const QUOTE_CHARS_MAX: usize = 60;

/// One connection to the daemon.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    socket: PathBuf,
    timeout: Duration,
    /// What arrived beyond the last line.
    rest: Vec<u8>,
}

impl Client {
    /// Connects; `timeout` then also bounds each answer.
    ///
    /// # Errors
    /// When nobody listens, the caller may not connect, or the daemon does not accept in time.
    pub(super) fn connect(path: &Path, timeout: Duration) -> Result<Self, Failure> {
        let stream = open(path, timeout).map_err(|error| refused(path, error))?;
        Ok(Self { stream, socket: path.to_path_buf(), timeout, rest: Vec::new() })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// When no whole answer arrives in time, or it is none. An [`Answer::Error`] is an answer.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Answer, Failure> {
        let mut line = serde_json::to_vec(request)
            .map_err(|error| Failure::Bug(format!("cannot write the request: {error}")))?;
        line.push(b'\n');
        if line.len() > REQUEST_BYTES_MAX {
            return Err(Failure::Usage(format!(
                "the request has {} bytes, and {REQUEST_BYTES_MAX} are the most; shorten the text",
                line.len()
            )));
        }
        match self.stream.write_all(&line) {
            // A daemon with too many clients says so without having read anything, and closes.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.map_err(|error| self.broken(&error))?,
        }
        let deadline = Instant::now() + self.timeout;
        match self.line(Some(deadline))? {
            Some(line) => self.decode(&line),
            None => Err(Failure::Unavailable(format!(
                "mastiffd closed {} without an answer; see `journalctl -u mastiff`",
                self.socket.display()
            ))),
        }
    }

    /// Waits for the next line of an answer that never ends; `None` when the daemon has gone.
    ///
    /// `output` is where the caller prints: the wait also ends when its reader leaves.
    ///
    /// # Errors
    /// When the answer is none, or the reader of `output` has gone.
    pub(super) fn follow(&mut self, output: impl AsFd) -> Result<Option<Answer>, Failure> {
        while !self.rest.contains(&b'\n') {
            let ready = {
                // Asking for no event still reports POLLERR, which a pipe or socket has once its
                // reader left.
                let mut fds = [
                    PollFd::new(self.stream.as_fd(), PollFlags::POLLIN),
                    PollFd::new(output.as_fd(), PollFlags::empty()),
                ];
                match poll(&mut fds, PollTimeout::NONE) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(error) => return Err(self.broken(&error.into())),
                }
                let [socket, output] = fds;
                if output.any() == Some(true) {
                    return Err(Failure::ReaderGone);
                }
                socket.any() == Some(true)
            };
            if ready && !self.fill()? {
                return Ok(None);
            }
        }
        self.line(None)?.map(|line| self.decode(&line)).transpose()
    }

    /// Takes one line; `None` at the end of the stream, even in the middle of one.
    fn line(&mut self, deadline: Option<Instant>) -> Result<Option<Vec<u8>>, Failure> {
        let mut looked = 0;
        loop {
            let fresh = self.rest.get(looked..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|byte| *byte == b'\n') {
                let tail = self.rest.split_off(looked + at + 1);
                return Ok(Some(std::mem::replace(&mut self.rest, tail)));
            }
            looked = self.rest.len();
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(self.broken(&io::ErrorKind::TimedOut.into()));
            }
            self.stream.set_read_timeout(left).map_err(|error| self.broken(&error))?;
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads what is there; false at the end of the stream.
    fn fill(&mut self) -> Result<bool, Failure> {
        if self.rest.len() >= ANSWER_BYTES_MAX {
            return Err(Failure::Bug(format!(
                "mastiffd answered more than {} MiB; this is a bug, please report it",
                ANSWER_BYTES_MAX / (1024 * 1024)
            )));
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.rest.extend_from_slice(chunk.get(..count).unwrap_or_default());
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A daemon that is killed with our request unread resets the connection: also an
                // end.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    fn decode(&self, line: &[u8]) -> Result<Answer, Failure> {
        serde_json::from_slice(line).map_err(|error| {
            let quote: String =
                String::from_utf8_lossy(line).chars().take(QUOTE_CHARS_MAX).collect();
            Failure::Bug(format!(
                "cannot understand the answer of mastiffd on {}: {error}; is it of another \
                 version, or not mastiffd at all? It begins with: {}",
                self.socket.display(),
                print::clean(&quote)
            ))
        })
    }

    fn broken(&self, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Failure::Unavailable(format!(
                "mastiffd does not answer on {} within {:?}; it may be stuck: see `systemctl \
                 status mastiff`, or wait longer with --timeout",
                self.socket.display(),
                self.timeout
            )),
            _ => Failure::Unavailable(format!(
                "cannot talk to mastiffd on {}: {error}; see `journalctl -u mastiff`",
                self.socket.display()
            )),
        }
    }
}

/// Connects with a deadline: Linux bounds the connect of a Unix socket by SO_SNDTIMEO (socket(7)),
/// which counts when the daemon's backlog is full. The standard library has no such call for Unix
/// sockets.
fn open(path: &Path, timeout: Duration) -> Result<UnixStream, Errno> {
    let address = UnixAddr::new(path)?;
    let socket =
        socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
    let limit = TimeVal::new(seconds, i64::from(timeout.subsec_micros()));
    socket::setsockopt(&socket, sockopt::SendTimeout, &limit)?;
    socket::connect(socket.as_raw_fd(), &address)?;
    Ok(UnixStream::from(socket))
}

/// How a user becomes a member, and before that how the group comes to be: the daemon looks for it
/// when it starts.
fn join_group() -> &'static str {
    match Group::from_name(GROUP) {
        Ok(None) => {
            "`groupadd --system mastiff`, `systemctl restart mastiff`, `usermod -aG mastiff USER`"
        }
        Ok(Some(_)) | Err(_) => "`usermod -aG mastiff USER`",
    }
}

fn refused(path: &Path, error: Errno) -> Failure {
    let shown = path.display();
    match error {
        Errno::ENOENT => Failure::NotRunning(format!(
            "mastiffd is not running (no {shown}); start it with `systemctl start mastiff`"
        )),
        Errno::ECONNREFUSED => Failure::NotRunning(format!(
            "mastiffd is not running (nobody listens on {shown}); start it with `systemctl start \
             mastiff`"
        )),
        Errno::EACCES | Errno::EPERM => Failure::Permission(format!(
            "cannot open {shown}: permission denied; root and members of the group mastiff may: \
             use sudo, or {} and log in again",
            join_group()
        )),
        Errno::EAGAIN => Failure::Unavailable(format!(
            "mastiffd does not accept connections on {shown}; it is overloaded or stuck: see \
             `systemctl status mastiff`"
        )),
        Errno::ENAMETOOLONG => Failure::Usage(format!(
            "cannot open {shown}: a socket's path has at most 107 bytes; choose a shorter run-dir"
        )),
        other => Failure::Unavailable(format!(
            "cannot open {shown}: {}; is this the control socket of mastiffd?",
            other.desc()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_not_to_connect_says_what_to_do_and_has_its_code() {
        let path = Path::new("/run/mastiff/control.sock");
        for (error, code, part) in [
            (Errno::ENOENT, 69, "start it with `systemctl start mastiff`"),
            (Errno::ECONNREFUSED, 69, "nobody listens on /run/mastiff/control.sock"),
            (Errno::EACCES, 77, "root and members of the group mastiff may"),
            (Errno::EAGAIN, 69, "does not accept connections"),
            (Errno::ENAMETOOLONG, 64, "107 bytes"),
            (Errno::ENOTSOCK, 69, "is this the control socket of mastiffd?"),
        ] {
            let failure = refused(path, error);
            assert_eq!(failure.code(), code, "{failure}");
            assert!(failure.to_string().contains(part), "{failure}");
        }
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_said_to_be_so() {
        let path = PathBuf::from(format!("/{}", "x".repeat(200)));
        let failure = Client::connect(&path, Duration::from_secs(1)).unwrap_err();
        assert!(matches!(failure, Failure::Usage(_)), "{failure}");
    }
}
