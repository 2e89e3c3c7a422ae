//! Frames that the table's own rules take: how an element is refreshed without netlink.
//!
//! They are sent on the loopback interface, which is always there and carries nothing outside, and
//! the rule on its way out takes them, so that they arrive nowhere. That needs no lock: nf_tables
//! transactions of others, which may hold theirs for a second, do not delay it.
//!
//! ```text
//! bytes 0..14   Ethernet: no addresses, type 0x88b5
//!      14..30   the cookie, so that nobody else's frame does it
//!      30..34   what to do, in network byte order: give which of the times, DELETE or ASK
//!      34..38   the group (`Slot`), in the machine's byte order
//!      38..42   who sends it, in network byte order
//! ```
//!
//! A refresh is heard only soon after another frame of its sender. So it is preceded by [`ASK`],
//! and the clocks are read between the two: who freezes after that is not heard.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use mastiff_core::pair::clock::Clocks;
use mastiff_core::time::Span;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socket};

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

const ETHERNET: usize = 14;
const WHAT_AT: usize = ETHERNET + COOKIE;
const SLOT_AT: usize = WHAT_AT + 4;
const WHO_AT: usize = SLOT_AT + 4;
const FRAME: usize = WHO_AT + 4;
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
    socket: OwnedFd,
    frame: [u8; FRAME],
}

impl Knocker {
    /// One for the rules that look for this cookie, for one of the [`SENDERS`].
    ///
    /// # Errors
    /// socket(2), bind(2): needs `CAP_NET_RAW`.
    pub(super) fn new(cookie: &Cookie, who: u32) -> nix::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        bind_to_link(socket.as_fd(), LOOPBACK)?;
        let mut knocker = Self { clock: clock::clocks, socket, frame: [0; FRAME] };
        knocker.write(ETHERNET - 2, &ETHER_TYPE.to_be_bytes());
        knocker.write(ETHERNET, cookie);
        knocker.write(WHO_AT, &who.to_be_bytes());
        Ok(knocker)
    }

    /// Sends one. Takes less than a microsecond and waits for nobody.
    pub(super) fn knock(&mut self, what: u32, slot: Slot) -> Knock {
        self.write(WHAT_AT, &what.to_be_bytes());
        self.write(SLOT_AT, &key(slot));
        // A frame that a rule drops is told as ENOBUFS (net_xmit_errno(), linux/netdevice.h).
        match send(self.socket.as_raw_fd(), &self.frame, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::ENOBUFS) => Knock::Taken,
            Ok(_) => Knock::Ignored,
            Err(error) => Knock::Failed(error),
        }
    }

    fn write(&mut self, at: usize, value: &[u8]) {
        for (byte, value) in self.frame.iter_mut().skip(at).zip(value) {
            *byte = *value;
        }
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
