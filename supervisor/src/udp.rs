//! The pair's datagrams ([`mastiff_core::wire`]): many a call, in memory that is taken once.
//!
//! A [`Socket`] is one end of a path, or the witness's door. An [`Inbox`] takes what has arrived
//! with one recvmmsg(2), an [`Outbox`] sends what a turn has to say with one sendmmsg(2) a socket.
//! Nothing here waits, and no fault of the network is an error of the caller: it is counted where
//! it happened, and the next beat says the same again.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use mastiff_core::wire::{LENGTH, MAGIC};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

use crate::sys::udp::{self as sys, attach_filter};

pub use crate::sys::udp::{BATCH, Name};

/// One byte more than a message, so that a longer datagram is seen to be longer.
const ROOM: usize = LENGTH + 1;

/// What the kernel keeps for a daemon that is late. Each datagram counts with 768 bytes or more
/// (`SKB_TRUESIZE`, linux/skbuff.h), so this is over 5,000 of them: all nodes of 10,000 pairs for
/// 25 ms, both nodes of one pair for minutes.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Class selector 6, network control (RFC 2474, section 4.2.2; RFC 4594, section 3.2), in the upper
/// six bits of the TOS byte.
const NETWORK_CONTROL: i32 = 0xc0;

/// Errors in a row that one call reads past. Each is one ICMP message that had come for the socket.
const ERRORS_MAX: usize = 8;

/// What a socket has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams taken in.
    pub received: u64,
    /// Datagrams handed to the kernel.
    pub sent: u64,
    /// Datagrams that the kernel had no room for (`EAGAIN`, `ENOBUFS`).
    pub unsent: u64,
    /// The other end's word that nobody listens there (ICMP port unreachable, `ECONNREFUSED`).
    pub refused: u64,
    /// Everything else: no route, no interface, a firewall's refusal.
    pub failed: u64,
    /// The newest of those.
    pub last_error: Option<Errno>,
}

impl Counts {
    fn error(&mut self, error: Errno) {
        let count = match error {
            Errno::ECONNREFUSED => &mut self.refused,
            _ => {
                self.last_error = Some(error);
                &mut self.failed
            }
        };
        *count = count.saturating_add(1);
    }
}

/// Why a socket could not be opened: which step, on what, and what the kernel said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenError {
    step: &'static str,
    at: SocketAddr,
    /// What the kernel said. `ENETUNREACH` and its like pass: try again later.
    pub errno: Errno,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {} (UDP): {}", self.step, self.at, self.errno.desc())?;
        match self.errno {
            Errno::EADDRINUSE => f.write_str("; another program has that port (see ss -ulpn)"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.errno)
    }
}

/// A UDP socket that never blocks and that no child inherits.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    /// What it did so far.
    pub counts: Counts,
}

impl Socket {
    /// Binds to `local`, which need not be there yet (ip(7), `IP_FREEBIND`), and where `peer` is
    /// given, hears and speaks to that one only. `[::]` is for IPv4, too.
    ///
    /// # Errors
    /// `EADDRINUSE`; with a peer also `ENETUNREACH`, `EHOSTUNREACH` and `EINVAL` as long as there
    /// is no route, or no such local address: the caller tries again later.
    pub fn open(local: SocketAddr, peer: Option<SocketAddr>) -> Result<Self, OpenError> {
        let step = |step: &'static str, at: SocketAddr| move |errno| OpenError { step, at, errno };
        let family = if local.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(family, SockType::Datagram, flags, None)
            .map_err(step("make a socket for", local))?;
        if local.ip().is_unspecified() && peer.is_none() {
            tell_where_to(&fd, local).map_err(step("set up a socket for", local))?;
        }
        // Before the socket has an address, so that nothing gets in past it.
        attach_filter(fd.as_fd(), &mut filter()).map_err(step("filter what arrives at", local))?;
        prepare(&fd, local).map_err(step("set up a socket for", local))?;
        bind(fd.as_raw_fd(), &SockaddrStorage::from(local)).map_err(step("listen on", local))?;
        if let Some(peer) = peer {
            connect(fd.as_raw_fd(), &SockaddrStorage::from(peer)).map_err(step("reach", peer))?;
        }
        Ok(Self { fd, counts: Counts::default() })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Has each datagram tell to which address of ours it came.
fn tell_where_to(fd: &OwnedFd, local: SocketAddr) -> nix::Result<()> {
    match local {
        SocketAddr::V4(_) => setsockopt(fd, sockopt::Ipv4PacketInfo, &true),
        SocketAddr::V6(_) => setsockopt(fd, sockopt::Ipv6RecvPacketInfo, &true),
    }
}

fn prepare(fd: &OwnedFd, local: SocketAddr) -> nix::Result<()> {
    // For IPv6 as well: both families have one flag in the kernel (`ipv6_setsockopt` passes
    // SOL_IP on, and `inet_can_nonlocal_bind` reads it).
    setsockopt(fd, sockopt::IpFreebind, &true)?;
    if local.is_ipv6() {
        setsockopt(fd, sockopt::Ipv6V6Only, &!local.ip().is_unspecified())?;
        setsockopt(fd, sockopt::Ipv6TClass, &NETWORK_CONTROL)?;
    }
    // On an IPv6 socket for the IPv4 that goes through it.
    setsockopt(fd, sockopt::Ipv4Tos, &NETWORK_CONTROL)?;
    // Needs CAP_NET_ADMIN; without it, as much as net.core.rmem_max allows.
    setsockopt(fd, sockopt::RcvBufForce, &RECEIVE_BUFFER)
        .or_else(|_| setsockopt(fd, sockopt::RcvBuf, &RECEIVE_BUFFER))
}

/// Takes datagrams that begin with the magic, and nothing else: scans and other programs' noise
/// wake nobody. What does begin with it is taken whatever its version, length or pair, because
/// those are the faults that an operator must be able to count (a cable between two pairs, an
/// upgrade that waits), and because who floods on purpose can write a perfect header: the filter
/// is for noise, the signature for enemies.
fn filter() -> [libc::sock_filter; 7] {
    // A socket filter of UDP begins to count at the UDP header.
    const PAYLOAD: u32 = 8;
    let [first, second, third] = MAGIC;
    let magic = u32::from_be_bytes([first, second, third, 0]);
    let op = |code: u32, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt,
        jf,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W;
    let jump = libc::BPF_JMP | libc::BPF_K;
    [
        op(load | libc::BPF_LEN, 0, 0, 0),
        op(jump | libc::BPF_JGE, 0, 4, PAYLOAD + 4),
        op(load | libc::BPF_ABS, 0, 0, PAYLOAD),
        op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, 0xffff_ff00),
        op(jump | libc::BPF_JEQ, 0, 1, magic),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX), // all of it
        op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ]
}

/// What has arrived.
#[derive(Debug)]
pub struct Inbox {
    rooms: Box<[[u8; ROOM]; BATCH]>,
    names: Box<[Name; BATCH]>,
    lengths: Vec<usize>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            rooms: Box::new([[0; ROOM]; BATCH]),
            names: Box::new([Name::NONE; BATCH]),
            lengths: Vec::with_capacity(BATCH),
        }
    }
}

impl Inbox {
    /// Takes what has arrived, up to [`BATCH`] datagrams, in place of what was there before; says
    /// how many. Fewer than [`BATCH`]: there is nothing more, and an edge-triggered poll tells of
    /// the next.
    pub fn receive(&mut self, socket: &mut Socket) -> usize {
        self.lengths.clear();
        for _ in 0..ERRORS_MAX {
            let lengths = &mut self.lengths;
            let taken = |length| lengths.push(length);
            match sys::receive(socket.fd.as_fd(), &mut self.rooms, &mut self.names, taken) {
                Ok(()) | Err(Errno::EAGAIN) => break,
                // It stood before the datagrams in the queue, and is gone with this call.
                Err(error) => socket.counts.error(error),
            }
        }
        let count = u64::try_from(self.lengths.len()).unwrap_or(0);
        socket.counts.received = socket.counts.received.saturating_add(count);
        self.lengths.len()
    }

    /// The datagrams of the last [`Self::receive`] with their senders. One of more than
    /// [`LENGTH`] bytes is cut off behind the first byte too many.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        self.named().filter_map(|(bytes, name)| Some((bytes, name.address()?)))
    }

    /// The same with names to answer to ([`Outbox::answer`]).
    pub fn named(&self) -> impl Iterator<Item = (&[u8], &Name)> {
        let arrived = self.lengths.iter().zip(self.rooms.iter()).zip(self.names.iter());
        arrived.filter_map(|((length, room), name)| Some((room.get(..*length)?, name)))
    }
}

/// What a turn has to say.
#[derive(Debug)]
pub struct Outbox {
    messages: Vec<[u8; LENGTH]>,
    names: Vec<Name>,
    /// Messages that found no room here.
    pub overflowed: u64,
}

impl Default for Outbox {
    fn default() -> Self {
        let (messages, names) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        Self { messages, names, overflowed: 0 }
    }
}

impl Outbox {
    /// Adds a message; `None`: to whom the socket is connected. A turn that answers no more than it
    /// has received finds room for [`BATCH`]; what finds none is counted.
    pub fn push(&mut self, message: [u8; LENGTH], to: Option<SocketAddr>) {
        self.answer(message, &to.map_or(Name::NONE, Name::from));
    }

    /// Adds a message to whom a datagram came from. It goes out from the address that the datagram
    /// came to, even where the socket listens on all: a connected socket there hears no other.
    pub fn answer(&mut self, message: [u8; LENGTH], to: &Name) {
        if self.messages.len() < BATCH {
            self.messages.push(message);
            self.names.push(*to);
        } else {
            self.overflowed = self.overflowed.saturating_add(1);
        }
    }

    /// Whether the next message would find no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.messages.len() >= BATCH
    }

    /// Sends all of it through a socket, and keeps it: the same bytes go out on every path. What
    /// cannot be sent is counted at the socket and left: the next turn says something newer.
    pub fn send(&self, socket: &mut Socket) {
        let (mut messages, mut names) = (self.messages.as_slice(), self.names.as_slice());
        let mut is_again = false;
        while !messages.is_empty() {
            let done = match sys::send(socket.fd.as_fd(), messages, names) {
                Ok(sent) => {
                    is_again = false;
                    socket.counts.sent =
                        socket.counts.sent.saturating_add(u64::try_from(sent).unwrap_or(0));
                    sent
                }
                Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                    let left = u64::try_from(messages.len()).unwrap_or(0);
                    socket.counts.unsent = socket.counts.unsent.saturating_add(left);
                    return;
                }
                // Most often the ICMP answer to an older message, gone with this call: so each
                // message is tried twice.
                Err(error) => {
                    socket.counts.error(error);
                    is_again = !is_again;
                    usize::from(!is_again)
                }
            };
            messages = messages.get(done..).unwrap_or_default();
            names = names.get(done..).unwrap_or_default();
        }
    }

    /// Forgets what was said.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.names.clear();
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests;
