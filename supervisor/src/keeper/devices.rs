//! The interfaces of the machine, and what happens to them and to addresses: rtnetlink(7) notices.
//!
//! A VLAN, a bond and a bridge are interfaces like any other: they have a name, a number and a MAC
//! of their own, and their carrier is what the kernel makes of that of their parts. Names are what
//! an operator writes; numbers are what the kernel wants. Either can change under the other: a
//! device that is made anew has another number, one that is renamed keeps it.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;

use super::address::Found;
use crate::netlink::{Attributes, DUMP, Family, Message, Request, Socket, text};

/// Interfaces that are kept at most; those beyond are as good as absent, and counted. A host of
/// containers has a few for each.
pub const DEVICES_MAX: usize = 8192;
/// Other names of one interface that are kept at most.
const ALTERNATIVES_MAX: usize = 8;
/// How often a list that changed while it was read is read again.
const LIST_TRIES: u32 = 3;

/// Notices of links and of addresses of both families (`RTNLGRP_LINK` 1, `RTNLGRP_IPV4_IFADDR` 5,
/// `RTNLGRP_IPV6_IFADDR` 9, linux/rtnetlink.h).
const GROUPS: u32 = 1 | 1 << 4 | 1 << 8;

const NEW: u16 = 16; // RTM_NEWLINK
const DELETED: u16 = 17; // RTM_DELLINK
const GET: u16 = 18; // RTM_GETLINK
const HEADER: usize = 16; // struct ifinfomsg

const ADDRESS: u16 = 1; // IFLA_ADDRESS
const NAME: u16 = 3; // IFLA_IFNAME
const MASTER: u16 = 10; // IFLA_MASTER
const OPERATIONAL: u16 = 16; // IFLA_OPERSTATE
const MASK: u16 = 29; // IFLA_EXT_MASK
const PROPERTIES: u16 = 52; // IFLA_PROP_LIST
const ALTERNATIVE: u16 = 53; // IFLA_ALT_IFNAME

const NO_STATISTICS: u32 = 1 << 3; // RTEXT_FILTER_SKIP_STATS
const UP: u32 = 0x1; // IFF_UP
const LOOPBACK: u32 = 0x8; // IFF_LOOPBACK
const LOWER_UP: u32 = 0x1_0000; // IFF_LOWER_UP
const DORMANT: u8 = 5; // IF_OPER_DORMANT

/// The hardware address of an Ethernet device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Whether a device carries traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Switched off by somebody.
    Off,
    /// Switched on, with no carrier: no cable, no link partner, or none of its parts has one.
    NoCarrier,
    /// It has a carrier and waits for something else, such as 802.1X (operstates.rst).
    Dormant,
    /// It carries traffic.
    Up,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "down",
            Self::NoCarrier => "no carrier",
            Self::Dormant => "dormant",
            Self::Up => "up",
        })
    }
}

/// An interface as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number (`ifindex`).
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its other names (`ip link property add dev NAME altname OTHER`). While it is off the kernel
    /// does not tell of new ones (netdev_state_change()); it does when it is switched on.
    pub alternatives: Vec<String>,
    /// Whether it carries traffic.
    pub state: State,
    /// `None`: it is no Ethernet device, so that there is nothing to announce on it.
    pub mac: Option<Mac>,
    /// The number of the bridge or bond that it is a part of.
    pub master: Option<u32>,
    /// It leads back to this machine.
    pub is_loopback: bool,
}

impl Device {
    /// Whether it goes by that name.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.alternatives.iter().any(|other| other == name)
    }

    /// Reads `RTM_NEWLINK` and `RTM_DELLINK`; the second value says whether it is there.
    fn read(message: &Message<'_>) -> Option<(Self, bool)> {
        let is_there = match message.kind {
            NEW => true,
            DELETED => false,
            _ => return None,
        };
        let (header, attributes) = message.parts::<HEADER>()?;
        let [family, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..] = header;
        // A bridge speaks of its ports in the same words, as family AF_BRIDGE: "deleted" means
        // there that a device is no port any more.
        if i32::from(family) != libc::AF_UNSPEC {
            return None;
        }
        let mut device = Self {
            index: u32::from_ne_bytes([i0, i1, i2, i3]),
            name: String::new(),
            alternatives: Vec::new(),
            state: State::Off,
            mac: None,
            master: None,
            is_loopback: false,
        };
        let mut operational = 0;
        for (kind, value) in attributes {
            match kind {
                ADDRESS => device.mac = value.try_into().ok().map(Mac),
                NAME => device.name = text(value)?.to_string(),
                MASTER => {
                    device.master = value.first_chunk().map(|index| u32::from_ne_bytes(*index))
                }
                OPERATIONAL => operational = value.first().copied().unwrap_or_default(),
                PROPERTIES => device.alternatives = alternatives(value),
                _ => {}
            }
        }
        let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
        device.is_loopback = flags & LOOPBACK != 0;
        device.state = match (flags & UP != 0, flags & LOWER_UP != 0) {
            (false, _) => State::Off,
            (true, false) => State::NoCarrier,
            (true, true) if operational == DORMANT => State::Dormant,
            (true, true) => State::Up,
        };
        Some((device, is_there))
    }
}

fn alternatives(properties: &[u8]) -> Vec<String> {
    Attributes(properties)
        .filter(|(kind, _)| *kind == ALTERNATIVE)
        .filter_map(|(_, value)| text(value).map(String::from))
        .take(ALTERNATIVES_MAX)
        .collect()
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A device is there that was not; its number.
    Appeared(u32),
    /// Name, state, MAC or master are others now; as it was. What is now has the same number.
    Changed(Device),
    /// A device is gone, as it was last.
    Gone(Device),
    /// An address is there, or was renewed, by us or by somebody else.
    AddressThere(Found),
    /// An address is gone: removed, expired, or with its device.
    AddressGone(Found),
    /// Notices were lost: the devices are read anew, the addresses must be looked at.
    Missed,
}

/// The interfaces, kept up to date by notices.
#[derive(Debug)]
pub struct Devices {
    notices: Socket,
    socket: Socket,
    request: Request,
    known: Vec<Device>,
    ignored: u64,
}

impl Devices {
    /// Subscribes, then lists what is there.
    ///
    /// # Errors
    /// socket(2), bind(2), or what the kernel answered.
    pub fn open() -> io::Result<Self> {
        // In this order, or what changes in between is lost.
        let notices = Socket::open(Family::Route, GROUPS)?;
        let socket = Socket::open(Family::Route, 0)?;
        let mut devices =
            Self { notices, socket, request: Request::new(), known: Vec::new(), ignored: 0 };
        devices.known = devices.list()?;
        Ok(devices)
    }

    /// All of them, the oldest first.
    #[must_use]
    pub fn all(&self) -> &[Device] {
        &self.known
    }

    /// The device of that name; a name goes before another device's alternative name.
    #[must_use]
    pub fn called(&self, name: &str) -> Option<&Device> {
        let named = self.known.iter().find(|device| device.name == name);
        named.or_else(|| self.known.iter().find(|device| device.is_called(name)))
    }

    /// The device of that number.
    #[must_use]
    pub fn numbered(&self, index: u32) -> Option<&Device> {
        self.known.iter().find(|device| device.index == index)
    }

    /// Whether a device of this machine has that MAC: what it says is no conflict. A kernel answers
    /// for its addresses on all its devices of one network (ip-sysctl, `arp_ignore` 0).
    #[must_use]
    pub fn have(&self, mac: Mac) -> bool {
        self.known.iter().any(|device| device.mac == Some(mac))
    }

    /// Devices beyond [`DEVICES_MAX`] that were told of.
    #[must_use]
    pub const fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Takes in all notices that are there, and adds what they mean to `events`, in order. Never
    /// waits for one. After lost notices it lists the devices anew, tells what differs, and then
    /// [`Event::Missed`].
    ///
    /// # Errors
    /// recv(2), or what the kernel answered to the list. The next call tries again.
    pub fn read(&mut self, events: &mut Vec<Event>) -> Result<(), Errno> {
        let Self { notices, known, ignored, .. } = self;
        let read = notices.notices(&mut |message| {
            if let Some((device, is_there)) = Device::read(&message) {
                learn(known, device, is_there, events, ignored);
            } else if let Some((found, is_there)) = Found::read(&message) {
                let event = if is_there { Event::AddressThere } else { Event::AddressGone };
                events.push(event(found));
            }
        });
        match read {
            Err(Errno::ENOBUFS) => self.catch_up(events),
            read => read,
        }
    }

    fn catch_up(&mut self, events: &mut Vec<Event>) -> Result<(), Errno> {
        // Said first, so that it is said even if the list fails: then the devices are as they were.
        events.push(Event::Missed);
        let found = self.list()?;
        let gone: Vec<Device> = self
            .known
            .iter()
            .filter(|known| !found.iter().any(|found| found.index == known.index))
            .cloned()
            .collect();
        for device in gone {
            learn(&mut self.known, device, false, events, &mut self.ignored);
        }
        for device in found {
            learn(&mut self.known, device, true, events, &mut self.ignored);
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Device>, Errno> {
        let mut result = Ok(());
        for _ in 0..LIST_TRIES {
            let mut all = Vec::new();
            self.request.clear();
            self.request
                .begin(GET, DUMP, &[0; HEADER])
                .attribute(MASK, &NO_STATISTICS.to_ne_bytes());
            result = self.socket.query(&mut self.request, &mut |message| {
                if let Some((device, _)) = Device::read(&message)
                    && all.len() < DEVICES_MAX
                {
                    all.push(device);
                }
            });
            match result {
                // What changed while it was read is told of by a notice, too.
                Ok(()) => return Ok(all),
                Err(Errno::EINTR) => {}
                Err(cause) => return Err(cause),
            }
        }
        result.map(|()| Vec::new())
    }
}

impl AsFd for Devices {
    /// Readable when [`Devices::read`] has something to read.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

/// Takes in one device, and says what that means, if anything.
fn learn(
    known: &mut Vec<Device>,
    device: Device,
    is_there: bool,
    events: &mut Vec<Event>,
    ignored: &mut u64,
) {
    let at = known.iter().position(|known| known.index == device.index);
    match (at, is_there) {
        (Some(at), true) => {
            // There is a notice for each change of statistics or flags that matter to nobody here.
            if let Some(known) = known.get_mut(at)
                && *known != device
            {
                events.push(Event::Changed(std::mem::replace(known, device)));
            }
        }
        (None, true) if known.len() >= DEVICES_MAX => *ignored = ignored.saturating_add(1),
        (None, true) => {
            events.push(Event::Appeared(device.index));
            known.push(device);
        }
        (Some(at), false) => events.push(Event::Gone(known.remove(at))),
        (None, false) => {}
    }
}

#[cfg(test)]
mod tests;
