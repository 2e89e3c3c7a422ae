//! Frames that the table's own rules take: how an element is refreshed without netlink.
//!
//! They are sent on the loopback interface, which is always there and carries nothing outside, and
//! the rule on its way out takes them, so that they arrive nowhere. That needs no lock: nf_tables
//! transactions of others, which may hold theirs for a second, do not delay it.
//!
//! ```text
//! netdev: Ethernet, no addresses, type 0x88b5    inet: IPv4, protocol 61    arp: Ethernet and ARP
//! then     0..16   the cookie, so that nobody else's frame does it
//!         16..20   what to do, in network byte order: give which of the times, DELETE or ASK
//!         20..24   the group (`Slot`), in the machine's byte order
//!         24..28   who sends it, in network byte order
//! ```
//!
//! Rules of the family `arp` see what comes in on the loopback interface, as a rule before the send
//! returns, and nobody says what became of it: the table `inet`, which hears of it next, does so
//! for both, and the wall sees to it that they agree.
//!
//! A refresh is heard only soon after another frame of its sender. So it is preceded by [`ASK`],
//! and the clocks are read between the two: who freezes after that is not heard.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use mastiff_core::pair::clock::Clocks;
use mastiff_core::time::Span;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, send, sendto, socket,
};

use super::Form;
use super::rules::Table;
use crate::clock;
use crate::guard::Slot;
use crate::sys::link::bind_to_link;

/// For local experiments (IEEE Std 802, "Local Experimental EtherType 1"): no protocol of the
/// kernel takes it.
pub(super) const ETHER_TYPE: u16 = 0x88b5;
/// Bytes of the cookie.
pub(super) const COOKIE: usize = 16;
/// What to do: let the element go.
pub(super) const DELETE: u32 = u32::MAX;
/// What to do: nothing. Says by being taken that the rules stand.
pub(super) const ASK: u32 = u32::MAX - 1;
/// Those who send, by their places: the keeper and the hands.
pub(super) const SENDERS: u32 = 2;
/// So often a refresh is tried that came too long after its `ASK`.
const TRIES: usize = 3;

/// What to do: nothing, and unheard. Says by being ignored that nobody else takes such frames.
pub(super) const NOTHING: u32 = u32::MAX - 2;
/// An IPv4 header from 127.0.0.1 to 127.0.0.1 without options, for a protocol "internal to a host"
/// (61, IANA protocol numbers), whose lengths and checksum the kernel fills in (raw(7)).
const IP: [u8; IP_HEADER] = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 61, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1];
/// Its bytes.
pub(super) const IP_HEADER: usize = 20;
/// Ethernet without addresses, of [`ETHER_TYPE`].
const KNOCK: [u8; ETHERNET] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x88, 0xb5];
/// The same for ARP, and what arp_rcv() looks at (RFC 826: Ethernet, IPv4, their lengths), with no
/// operation.
const ARP: [u8; ETHERNET + ARP_HEADER] =
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 6, 0, 1, 8, 0, 6, 4, 0, 0];
const ETHERNET: usize = 14;
/// Bytes of ARP's header.
pub(super) const ARP_HEADER: usize = 8;
const WHAT_AT: usize = COOKIE;
const SLOT_AT: usize = WHAT_AT + 4;
const WHO_AT: usize = SLOT_AT + 4;
const BODY: usize = WHO_AT + 4;
/// The loopback interface's number in every network namespace (`LOOPBACK_IFINDEX`,
/// include/net/flow.h).
const LOOPBACK: i32 = 1;

/// A secret that the rules look for.
pub(super) type Cookie = [u8; COOKIE];

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knock {
    /// A rule took it: what it asks for is done.
    Taken,
    /// It went on its way: no rule took it. For a refresh, the element lives no more; for the
    /// others, the table is gone.
    Ignored,
    /// It was not sent.
    Failed(Errno),
}

/// Sends them.
#[derive(Debug)]
pub(super) struct Knocker {
    /// [`clock::clocks`]; a test lets time pass between two readings.
    pub(super) clock: fn() -> Clocks,
    /// The last one says what became of a frame.
    ways: Vec<Way>,
}

/// To one table.
#[derive(Debug)]
struct Way {
    socket: OwnedFd,
    frame: Vec<u8>,
    table: Table,
}

impl Way {
    fn new(table: Table, cookie: &Cookie, who: u32) -> nix::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let header: &[u8] = match table {
            Table::Netdev => &KNOCK,
            Table::Inet => &IP,
            Table::Arp => &ARP,
        };
        let mut frame = header.to_vec();
        frame.extend(cookie);
        frame.resize(header.len() + BODY, 0);
        let socket = if table == Table::Inet {
            socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Raw)?
        } else {
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
            bind_to_link(socket.as_fd(), LOOPBACK)?;
            socket
        };
        let mut way = Self { socket, frame, table };
        way.write(WHO_AT, &who.to_be_bytes());
        Ok(way)
    }

    fn write(&mut self, at: usize, value: &[u8]) {
        let body = self.frame.len().saturating_sub(BODY);
        for (byte, value) in self.frame.iter_mut().skip(body + at).zip(value) {
            *byte = *value;
        }
    }

    fn send(&mut self, what: u32, slot: Slot) -> Knock {
        self.write(WHAT_AT, &what.to_be_bytes());
        self.write(SLOT_AT, &key(slot));
        let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        // How a frame that a rule drops is told: nf_hook_slow(); net_xmit_errno().
        let (sent, taken) = match self.table {
            Table::Inet => {
                let to = SockaddrIn::new(127, 0, 0, 1, 0);
                (sendto(fd, &self.frame, &to, flags), Errno::EPERM)
            }
            Table::Netdev | Table::Arp => (send(fd, &self.frame, flags), Errno::ENOBUFS),
        };
        match sent {
            Err(error) if error == taken => Knock::Taken,
            Ok(_) => Knock::Ignored,
            Err(error) => Knock::Failed(error),
        }
    }
}

impl Knocker {
    /// One for the rules that look for this cookie, for one of the [`SENDERS`].
    ///
    /// # Errors
    /// socket(2), bind(2): needs `CAP_NET_RAW`.
    pub(super) fn new(form: Form, cookie: &Cookie, who: u32) -> nix::Result<Self> {
        let mut ways = Vec::new();
        for table in form.tables() {
            ways.push(Way::new(*table, cookie, who)?);
        }
        Ok(Self { clock: clock::clocks, ways })
    }

    /// Sends one to each table, whatever becomes of it at another one. Takes a microsecond or a
    /// few, and waits for nobody.
    pub(super) fn knock(&mut self, what: u32, slot: Slot) -> Knock {
        self.ways.iter_mut().fold(Knock::Ignored, |before, way| {
            match (before, way.send(what, slot)) {
                (Knock::Failed(error), _) => Knock::Failed(error),
                (Knock::Taken | Knock::Ignored, now) => now,
            }
        })
    }
}

/// A group as the rules know it. No configuration has so many that one would be cut.
pub(super) fn key(slot: Slot) -> [u8; 4] {
    u32::try_from(slot.0).unwrap_or(u32::MAX).to_ne_bytes()
}

/// What became of an attempt to let an element live on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refreshed {
    /// It lives, from this moment for the time that was asked for.
    Lives(Clocks),
    /// Nothing was sent: it would outlive the lease. It ends by itself before that.
    TooLate,
    /// It does not live.
    Dead,
    /// The rules are gone, and nothing is guarded.
    Gone,
    /// Nothing could be sent.
    Failed(Errno),
}

impl Knocker {
    /// Lets the element live for `time` from now, if it lives and if that is over before `until`.
    /// A process may freeze between any two of its instructions, so the clocks are read right
    /// before the frame is sent, with `margin` for its way, and once more after it. If that was
    /// too late, the element goes at once. If it was much too late, nobody heard the frame.
    pub(super) fn refresh(
        &mut self,
        slot: Slot,
        (what, time): (u32, Span),
        until: Clocks,
        margin: Span,
    ) -> Refreshed {
        for _ in 0..TRIES {
            match self.knock(ASK, slot) {
                Knock::Taken => {}
                Knock::Ignored => return Refreshed::Gone,
                Knock::Failed(error) => return Refreshed::Failed(error),
            }
            let now = (self.clock)();
            if now.after(time).after(margin).ends_lease(until) {
                return Refreshed::TooLate;
            }
            match self.knock(what, slot) {
                Knock::Taken if (self.clock)().after(time).ends_lease(until) => {
                    self.knock(DELETE, slot);
                    return Refreshed::Dead;
                }
                Knock::Taken => return Refreshed::Lives(now),
                // It does not live, or this was too long after the question.
                Knock::Ignored => {}
                Knock::Failed(error) => return Refreshed::Failed(error),
            }
        }
        Refreshed::Dead
    }
}
