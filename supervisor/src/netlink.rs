//! Netlink: messages and attributes as bytes, and a socket that never waits.
//!
//! Rtnetlink (addresses, links) and nf_tables speak it; what their messages mean is in the files
//! that use this one. Headers and lengths are in the machine's byte order (netlink(7)).
//!
//! ```text
//! message    length u32 | kind u16 | flags u16 | sequence u32 | port u32 | family's header | attributes
//! attribute  length u16 | kind u16 | value, padded to 4 bytes
//! ```

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};

/// Bytes of a message's header (`struct nlmsghdr`, linux/netlink.h).
const HEADER: usize = 16;
/// Bytes of an attribute's header (`struct nlattr`).
const ATTRIBUTE: usize = 4;
/// Bytes that one read takes in; the kernel packs dumps into at most this (netlink_dump()).
const READ: usize = 32 * 1024;
/// Answers to one request at most, so that a kernel gone mad holds up nobody: 64 groups of 64
/// addresses need fewer.
const READS_MAX: usize = 4096;
/// What waits on a monitoring socket, in bytes. Beyond it the kernel says [`Errno::ENOBUFS`] once,
/// and all must be read anew.
const RECEIVE_BYTES: usize = 1 << 20;

const KIND_ERROR: u16 = 2; // NLMSG_ERROR
const KIND_DONE: u16 = 3; // NLMSG_DONE
const FIRST_OF_FAMILY: u16 = 16; // NLMSG_MIN_TYPE
/// `NLM_F_DUMP_INTR`: what was listed changed meanwhile, so that some of it may be missing.
const INTERRUPTED: u16 = 0x010;
const NESTED: u16 = 0x8000; // NLA_F_NESTED
const KIND_MASK: u16 = 0x3fff; // NLA_TYPE_MASK

/// `NLM_F_REQUEST`: every request has it.
pub const REQUEST: u16 = 0x001;
/// `NLM_F_ACK`: say how it ended.
pub const ACK: u16 = 0x004;
/// `NLM_F_DUMP`: all of a kind.
pub const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`.
pub const CREATE: u16 = 0x400;

/// Messages on their way to the kernel. Its buffer is used again after [`Request::clear`].
#[derive(Clone, Debug, Default)]
pub struct Request {
    bytes: Vec<u8>,
    /// Where the message under construction begins.
    begun: Option<usize>,
    sequence: u32,
    acks: usize,
}

impl Request {
    /// Without messages.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), begun: None, sequence: 0, acks: 0 }
    }

    /// Forgets the messages, keeps the buffer.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.begun = None;
        self.acks = 0;
    }

    /// Begins a message with the header of its family; `flags` besides [`REQUEST`]. What follows
    /// are its attributes.
    pub fn begin(&mut self, kind: u16, flags: u16, header: &[u8]) -> &mut Self {
        self.finish();
        self.begun = Some(self.bytes.len());
        self.sequence = self.sequence.wrapping_add(1);
        self.acks += usize::from(flags & ACK != 0);
        self.bytes.extend(0u32.to_ne_bytes()); // the length, known at its end
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | REQUEST).to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend(0u32.to_ne_bytes()); // from us; the kernel fills in which port
        self.bytes.extend(header);
        self.pad();
        self
    }

    /// Adds an attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.pad();
        self
    }

    /// Adds an attribute of text, with the NUL that the kernel wants (`NLA_NUL_STRING`).
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend(value.as_bytes());
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Adds an attribute that consists of those that `fill` adds.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.bytes.len();
        self.attribute(kind | NESTED, &[]);
        fill(self);
        let length = u16::try_from(self.bytes.len() - at).unwrap_or(u16::MAX);
        self.patch(at, &length.to_ne_bytes());
        self
    }

    /// The bytes of all messages.
    pub fn finish(&mut self) -> &[u8] {
        if let Some(at) = self.begun.take() {
            let length = u32::try_from(self.bytes.len() - at).unwrap_or(u32::MAX);
            self.patch(at, &length.to_ne_bytes());
        }
        &self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn patch(&mut self, at: usize, value: &[u8]) {
        for (byte, value) in self.bytes.iter_mut().skip(at).zip(value) {
            *byte = *value;
        }
    }
}

/// A message from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is about; its family says what the numbers mean.
    pub kind: u16,
    /// As the kernel set them (`NLM_F_*`).
    pub flags: u16,
    /// The family's header and the attributes.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The family's header, of `N` bytes, and the attributes; `None` if it is cut off.
    #[must_use]
    pub fn parts<const N: usize>(&self) -> Option<([u8; N], Attributes<'a>)> {
        let (header, rest) = self.body.split_first_chunk::<N>()?;
        let padding = N.next_multiple_of(4) - N;
        Some((*header, Attributes(rest.get(padding..)?)))
    }

    /// How a request ended, if this says so (`NLMSG_ERROR`, whose first field is `-errno` or 0).
    fn outcome(&self) -> Option<Result<(), Errno>> {
        let code = i32::from_ne_bytes(*self.body.first_chunk()?);
        (self.kind == KIND_ERROR).then(|| match code {
            0 => Ok(()),
            code => Err(Errno::from_raw(code.saturating_neg())),
        })
    }
}

/// Walks over what one read has brought. Stops at the first message that is cut off.
#[derive(Clone, Copy, Debug)]
pub struct Messages<'a>(pub &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = usize::try_from(u32::from_ne_bytes(*self.0.first_chunk()?)).ok()?;
        let kind = u16::from_ne_bytes(*self.0.get(4..)?.first_chunk()?);
        let flags = u16::from_ne_bytes(*self.0.get(6..)?.first_chunk()?);
        let body = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, flags, body })
    }
}

/// Walks over attributes: kind and value. Stops at the first one that is cut off.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16::from_ne_bytes(*self.0.first_chunk()?));
        let kind = u16::from_ne_bytes(*self.0.get(2..)?.first_chunk()?) & KIND_MASK;
        let value = self.0.get(ATTRIBUTE..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// Text in an attribute, up to its NUL.
#[must_use]
pub fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value.split(|byte| *byte == 0).next()?).ok()
}

/// Which part of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes (rtnetlink(7)).
    Route,
    /// nf_tables (linux/netfilter/nfnetlink.h).
    Netfilter,
    /// Sockets (sock_diag(7)).
    Diagnosis,
}

/// A socket to the kernel. The kernel has done what was asked, and its answer is there, when the
/// send returns; so nothing here waits for an answer, though a send may wait for a lock.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one. `groups`: a bit for each group of notices to get, group 1 the lowest.
    ///
    /// # Errors
    /// socket(2), bind(2).
    pub fn open(family: Family, groups: u32) -> io::Result<Self> {
        let protocol = match family {
            Family::Route => SockProtocol::NetlinkRoute,
            Family::Netfilter => SockProtocol::NetlinkNetFilter,
            Family::Diagnosis => SockProtocol::NetlinkSockDiag,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        // Best with CAP_NET_ADMIN; what is there without it serves, too.
        if setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BYTES).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BYTES)?;
        }
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { fd, buffer: vec![0; READ] })
    }

    /// Sends messages of which each asks for [`ACK`], and returns the first failure.
    ///
    /// # Errors
    /// What the kernel answered; [`Errno::EBADMSG`] if it did not answer each message.
    pub fn transact(&mut self, request: &mut Request) -> Result<(), Errno> {
        self.discard();
        self.send(request)?;
        let mut missing = request.acks;
        let mut result = Ok(());
        for _ in 0..READS_MAX {
            if missing == 0 {
                return result;
            }
            let length = recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT);
            // An nf_tables batch that fails early answers fewer messages than it has.
            let Ok(length) = length else { break };
            for message in Messages(self.buffer.get(..length).unwrap_or_default()) {
                if let Some(outcome) = message.outcome() {
                    missing = missing.saturating_sub(1);
                    result = result.and(outcome);
                }
            }
        }
        result.and(Err(Errno::EBADMSG))
    }

    /// Sends one request with [`DUMP`] (or one that is answered by a message and an [`ACK`]) and
    /// hands over each answer.
    ///
    /// # Errors
    /// What the kernel answered, or recv(2); [`Errno::EINTR`] if what is listed changed meanwhile,
    /// so that something may be missing from the answers.
    pub fn query(
        &mut self,
        request: &mut Request,
        each: &mut dyn FnMut(Message<'_>),
    ) -> Result<(), Errno> {
        self.discard();
        self.send(request)?;
        let mut result = Ok(());
        for _ in 0..READS_MAX {
            let length = recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT)?;
            for message in Messages(self.buffer.get(..length).unwrap_or_default()) {
                if message.flags & INTERRUPTED != 0 {
                    result = Err(Errno::EINTR);
                }
                match (message.outcome(), message.kind) {
                    (Some(outcome), _) => return outcome,
                    (None, KIND_DONE) => return result,
                    (None, FIRST_OF_FAMILY..) => each(message),
                    (None, _) => {}
                }
            }
        }
        Err(Errno::EBADMSG)
    }

    /// Hands over each notice that is there.
    ///
    /// # Errors
    /// [`Errno::ENOBUFS`]: some were lost, so that everything must be looked at anew; else recv(2).
    pub fn notices(&mut self, each: &mut dyn FnMut(Message<'_>)) -> Result<(), Errno> {
        for _ in 0..READS_MAX {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => {
                    Messages(self.buffer.get(..length).unwrap_or_default()).for_each(&mut *each);
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send(&mut self, request: &mut Request) -> Result<(), Errno> {
        send(self.fd.as_raw_fd(), request.finish(), MsgFlags::empty()).map(drop)
    }

    /// Answers to a request that was given up.
    fn discard(&mut self) {
        for _ in 0..READS_MAX {
            if recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT).is_err() {
                return;
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut request = Request::new();
        request.begin(20, ACK, &[1, 2, 3, 4, 5, 6, 7, 8]).attribute(1, &[9]).nest(2, |inner| {
            inner.text(3, "eth0").attribute(4, &7u32.to_ne_bytes());
        });
        request.begin(21, 0, &[]);
        let bytes = request.finish().to_vec();
        let messages: Vec<Message<'_>> = Messages(&bytes).collect();
        assert_eq!(messages.iter().map(|message| message.kind).collect::<Vec<_>>(), [20, 21]);
        let (header, attributes) = messages[0].parts::<8>().unwrap();
        assert_eq!(header, [1, 2, 3, 4, 5, 6, 7, 8]);
        let all: Vec<_> = attributes.collect();
        assert_eq!(all[0], (1, &[9][..]));
        let inner: Vec<_> = Attributes(all[1].1).collect();
        assert_eq!((inner[0].0, text(inner[0].1)), (3, Some("eth0")));
        assert_eq!(inner[1], (4, &7u32.to_ne_bytes()[..]));
        assert!(messages[1].body.is_empty());
    }

    #[test]
    fn what_is_cut_off_ends_the_walk() {
        let mut request = Request::new();
        request.begin(20, 0, &[1; 6]).attribute(1, &[2; 5]);
        let bytes = request.finish().to_vec();
        for length in 0..bytes.len() {
            for message in Messages(&bytes[..length]) {
                let attributes = message.parts::<6>().map(|(_, attributes)| attributes.count());
                assert!(attributes.unwrap_or(0) <= 1, "{length}");
            }
        }
        let zero = [0; 64];
        assert_eq!(Messages(&zero).count(), 0, "a length of zero must not go on for ever");
        assert_eq!(Attributes(&zero).count(), 0);
    }

    #[test]
    fn the_kernel_says_what_is_wrong_and_lists_its_links() {
        const GET_LINK: u16 = 18;
        let mut socket = Socket::open(Family::Route, 0).unwrap();
        let mut request = Request::new();
        request.begin(GET_LINK, DUMP, &[0; 16]);
        let mut names = Vec::new();
        let listed = socket.query(&mut request, &mut |message| {
            let Some((_, mut attributes)) = message.parts::<16>() else { return };
            let name = attributes.find(|(kind, _)| *kind == 3).and_then(|(_, value)| text(value));
            names.extend(name.map(String::from));
        });
        assert_eq!(listed, Ok(()));
        assert!(names.iter().any(|name| name == "lo"), "{names:?}");
        request.clear();
        request.begin(GET_LINK, ACK, &[0; 16]).text(3, "no-such-link");
        assert_eq!(socket.query(&mut request, &mut |_| {}), Err(Errno::ENODEV));
        request.clear();
        request.begin(9999, ACK, &[0; 16]);
        assert!(socket.transact(&mut request).is_err());
    }
}
