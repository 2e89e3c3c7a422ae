//! What the brain, the runner and the prober say to each other: one JSON message in each packet of
//! a `SOCK_SEQPACKET` pair, so there are no partial messages and the end of a process is the end of
//! its socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use mastiff_core::reading::Value;
use mastiff_core::sorted::Map;
use mastiff_core::time::Span;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, Shutdown, SockFlag, SockType,
    recvmsg, sendmsg, shutdown, socketpair,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes of one message at most; under the kernel's default send buffer (net.core.wmem_default, 208
/// KiB).
pub const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// Bytes of a program's output that are kept unless the order says otherwise; the rest is read and
/// dropped.
pub const OUTPUT_BYTES: usize = 8 * 1024;
/// Bytes of output that an order may ask for: twice as long as JSON, it still fits a message.
pub const OUTPUT_BYTES_MAX: usize = 48 * 1024;
/// Bytes of standard input for a program at most; fits an empty pipe (pipe(7): 64 KiB), so writing
/// never waits.
pub const INPUT_BYTES_MAX: usize = 32 * 1024;

/// A job for the prober: it may hang in the kernel while doing it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Job {
    /// Take a reading of a [`MayHang`](mastiff_hwmon::sensor::Source::MayHang) sensor.
    Read(Probe),
    /// Write a file: beside it first, synced, then renamed over it.
    Write {
        /// Where to.
        path: String,
        /// What.
        text: String,
    },
    /// Write to the disks what waits in memory (sync(2)).
    Sync,
    /// Put lines into slots of the flight record ([`crate::flight::file::write`]).
    Record {
        /// Where the file is.
        path: String,
        /// Slots, and the line for each.
        lines: Vec<(usize, String)>,
    },
    /// Read a configuration file.
    Load {
        /// Where from.
        path: String,
        /// Somebody named the file, so it must exist; else a missing one is an empty one.
        named: bool,
    },
}

/// An order for the runner: it never hangs, and works on many of them at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Order {
    /// Fork a prober on the socket that comes with this message.
    Prober,
    /// Kill a prober that hangs.
    Kill {
        /// Its process.
        pid: i32,
    },
    /// Run a program.
    Run(Run),
    /// Ask a question over the network.
    Ask(Probe, Span),
}

/// A sensor's reading to be taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Names the check: state between readings is kept under it.
    pub check: u32,
    /// The sensor.
    pub sensor: String,
    /// The target.
    pub target: String,
    /// The options.
    pub options: Map<String, String>,
    /// The quantities that somebody will look at.
    pub wanted: u64,
}

/// A program to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The program by its absolute path, then its arguments.
    pub arguments: Vec<String>,
    /// Added to a cleared environment.
    pub environment: Vec<(String, String)>,
    /// Its standard input.
    pub input: String,
    /// After this time it is killed with all of its process group.
    pub timeout: Span,
    /// Bytes of its output that are kept, at most [`OUTPUT_BYTES_MAX`].
    pub output_max: usize,
}

/// A message that asks for something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message<T> {
    /// Named again in the reply.
    pub id: u64,
    /// What is asked.
    pub body: T,
}

/// A message that answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Of the message that it answers.
    pub id: u64,
    /// What came of it, or why nothing.
    pub result: Result<Output, String>,
}

/// What came of a job or an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Output {
    /// Values, in the order of the sensor's declaration, a note, and whether the probe behind them
    /// is [worth keeping](mastiff_hwmon::sensor::Probe::is_worth_keeping).
    Readings(Vec<Option<Value>>, Option<Box<str>>, bool),
    /// A program has ended.
    Finished(Ended),
    /// A file has been written, or all of them.
    Written,
    /// The flight record could not be written, and why: its file system has answered all the same.
    NotWritten(String),
    /// The text of a file.
    Text(String),
    /// A prober was forked.
    Prober {
        /// Its process.
        pid: i32,
    },
}

/// How a program ended, as [`Finished`](mastiff_hwmon::sensor::Finished) travels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Exit code, if it ended by itself.
    pub code: Option<i32>,
    /// Signal, if one ended it.
    pub signal: Option<i32>,
    /// Its output and errors, cut to what the order wanted.
    pub output: String,
    /// How long it ran.
    pub took: Span,
}

/// One end of a socket pair.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
}

/// What a [`Channel`] had to say.
#[derive(Debug)]
pub enum Received<T> {
    /// A message.
    Message(T),
    /// Nothing for now.
    Nothing,
    /// The other side is gone.
    Closed,
    /// A packet that is no message: the other side is broken.
    Garbage(String),
}

impl Channel {
    /// Two ends, both closed on exec; neither blocks.
    ///
    /// # Errors
    /// socketpair(2).
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Self { fd: a }, Self { fd: b }))
    }

    /// From a descriptor that came from elsewhere.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// The descriptor, for a child.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Sends one message, and a descriptor with it; false if the other side does not take it now.
    ///
    /// # Errors
    /// The other side is gone, or the message is too long.
    pub fn send<T: Serialize>(
        &self,
        message: &T,
        with: Option<BorrowedFd<'_>>,
    ) -> io::Result<bool> {
        self.send_bytes(&serde_json::to_vec(message)?, with)
    }

    /// Apart from `send`, which there is one of for each type of message.
    fn send_bytes(&self, bytes: &[u8], with: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "message too long"));
        }
        let fds = with.map(|fd| [fd.as_raw_fd()]);
        let control: Vec<ControlMessage<'_>> =
            fds.iter().map(|fds| ControlMessage::ScmRights(fds)).collect();
        let parts = [IoSlice::new(bytes)];
        match sendmsg::<()>(self.fd.as_raw_fd(), &parts, &control, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the next message, and the descriptor that came with it.
    ///
    /// # Errors
    /// recvmsg(2), other than that nothing is there.
    pub fn receive<T: DeserializeOwned>(
        &self,
        buffer: &mut Vec<u8>,
    ) -> io::Result<(Received<T>, Option<OwnedFd>)> {
        let (length, fd) = self.receive_bytes(buffer)?;
        let received = match length {
            None => Received::Nothing,
            Some(0) => Received::Closed,
            Some(length) => {
                match serde_json::from_slice(buffer.get(..length).unwrap_or_default()) {
                    Ok(message) => Received::Message(message),
                    Err(error) => Received::Garbage(error.to_string()),
                }
            }
        };
        Ok((received, fd))
    }

    /// Apart from `receive`, which there is one of for each type of message. Bytes of the next one,
    /// none once the other side is gone; `None`: there is nothing for now.
    fn receive_bytes(&self, buffer: &mut Vec<u8>) -> io::Result<(Option<usize>, Option<OwnedFd>)> {
        buffer.resize(MESSAGE_BYTES_MAX, 0);
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(self.fd.as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Ok(message) => {
                Ok((Some(message.bytes), message.cmsgs().ok().and_then(first_descriptor)))
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok((None, None)),
            Err(Errno::ECONNRESET) => Ok((Some(0), None)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Channel {
    /// Says that nothing more is sent; what the other side has to say still arrives.
    ///
    /// # Errors
    /// The other side is gone.
    pub fn hang_up(&self) -> io::Result<()> {
        Ok(shutdown(self.fd.as_raw_fd(), Shutdown::Write)?)
    }

    /// Whether the other side sends nothing more, whatever it sent before and waits here still.
    pub fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::RDHUP)];
        // What cannot be polled is no channel any more.
        rustix::event::poll(&mut fds, Some(&Timespec::default())).map_or(true, |ready| ready > 0)
    }
}

fn first_descriptor(messages: nix::sys::socket::CmsgIterator<'_>) -> Option<OwnedFd> {
    let mut first = None;
    for message in messages {
        if let ControlMessageOwned::ScmRights(numbers) = message {
            // Each one is owned by us now; all but the first are closed by being dropped.
            for number in numbers {
                let owned = crate::sys::process::inherited(number);
                first.get_or_insert(owned);
            }
        }
    }
    first
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_and_the_end_of_a_side_is_seen() {
        let (a, b) = Channel::pair().unwrap();
        let mut buffer = Vec::new();
        let message = Message {
            id: 7,
            body: Job::Load { path: "/etc/mastiff/mastiff.toml".into(), named: true },
        };
        assert!(a.send(&message, None).unwrap());
        match b.receive::<Message<Job>>(&mut buffer).unwrap() {
            (Received::Message(got), None) => assert_eq!(got, message),
            other => panic!("{other:?}"),
        }
        assert!(matches!(b.receive::<Message<Job>>(&mut buffer).unwrap().0, Received::Nothing));
        a.send(&"something else", None).unwrap();
        assert!(matches!(b.receive::<Message<Job>>(&mut buffer).unwrap().0, Received::Garbage(_)));
        drop(a);
        assert!(matches!(b.receive::<Message<Job>>(&mut buffer).unwrap().0, Received::Closed));
    }

    #[test]
    fn who_hangs_up_is_noticed_before_what_it_said_and_still_hears() {
        let (a, b) = Channel::pair().unwrap();
        assert!(a.send(&"one", None).unwrap());
        assert!(!b.is_hung_up());
        a.hang_up().unwrap();
        assert!(b.is_hung_up());
        assert!(b.send(&"two", None).unwrap());
        let mut buffer = Vec::new();
        let (heard, _) = a.receive::<String>(&mut buffer).unwrap();
        assert!(matches!(heard, Received::Message(text) if text == "two"));
        drop(a);
        assert!(b.is_hung_up());
    }

    #[test]
    fn a_descriptor_travels_with_its_message() {
        let (a, b) = Channel::pair().unwrap();
        let (c, d) = Channel::pair().unwrap();
        a.send(&Message { id: 1, body: Order::Prober }, Some(d.as_fd())).unwrap();
        drop(d);
        let mut buffer = Vec::new();
        let (_, fd) = b.receive::<Message<Order>>(&mut buffer).unwrap();
        let arrived = Channel::from_fd(fd.expect("a descriptor"));
        c.send(&"hello", None).unwrap();
        assert!(
            matches!(arrived.receive::<String>(&mut buffer).unwrap().0, Received::Message(text) if text == "hello")
        );
    }

    #[test]
    fn too_long_a_message_is_refused_and_a_full_socket_is_not_waited_for() {
        let (a, _b) = Channel::pair().unwrap();
        assert!(a.send(&"x".repeat(MESSAGE_BYTES_MAX), None).is_err());
        let text = "x".repeat(MESSAGE_BYTES_MAX / 2);
        let sent = (0..100).take_while(|_| a.send(&text, None).unwrap()).count();
        assert!((1..100).contains(&sent), "{sent}");
    }
}
