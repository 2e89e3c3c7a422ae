//! The way to the gateway, and where neighbours are: rtnetlink(7), `RTM_GETROUTE`,
//! `RTM_GETNEIGH`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::errno::Errno;

use super::devices::Mac;
use crate::netlink::{ACK, Attributes, DUMP, Family, Message, Request, Socket};

/// How often a list that changed while it was read is read again.
const LIST_TRIES: u32 = 3;

const NEW: u16 = 24; // RTM_NEWROUTE
const GET: u16 = 26; // RTM_GETROUTE
const HEADER: usize = 12; // struct rtmsg
const NEXT_HOP: usize = 8; // struct rtnexthop

const DESTINATION: u16 = 1; // RTA_DST
const DEVICE: u16 = 4; // RTA_OIF
const GATEWAY: u16 = 5; // RTA_GATEWAY
const PRIORITY: u16 = 6; // RTA_PRIORITY
const SOURCE: u16 = 7; // RTA_PREFSRC
const SEVERAL: u16 = 9; // RTA_MULTIPATH
const TABLE: u16 = 15; // RTA_TABLE
const VIA: u16 = 18; // RTA_VIA

const GET_NEIGHBOUR: u16 = 30; // RTM_GETNEIGH
const NEIGHBOUR: usize = 12; // struct ndmsg
const NEIGHBOUR_IP: u16 = 1; // NDA_DST
const NEIGHBOUR_MAC: u16 = 2; // NDA_LLADDR
/// The states in which an entry has a MAC that was once confirmed: `NUD_REACHABLE`, `NUD_STALE`,
/// `NUD_DELAY`, `NUD_PROBE`, `NUD_PERMANENT` (linux/neighbour.h).
const CONFIRMED: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x80;

const UNICAST: u8 = 1; // RTN_UNICAST
const MAIN: u32 = 254; // RT_TABLE_MAIN
/// `RTNH_F_DEAD` and `RTNH_F_LINKDOWN`: it leads nowhere now.
const UNUSABLE: u8 = 1 | 16;

/// How a packet to some address leaves this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The number of the interface.
    pub index: u32,
    /// The router that it goes to; `None`: the address is on the link.
    pub router: Option<IpAddr>,
    /// The address that this machine speaks from. It may be a floating one.
    pub from: Option<IpAddr>,
}

/// A socket for routes.
#[derive(Debug)]
pub struct Routes {
    socket: Socket,
    request: Request,
}

impl Routes {
    /// Opens it.
    ///
    /// # Errors
    /// socket(2), bind(2).
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(Family::Route, 0)?, request: Request::new() })
    }

    /// The router of the default route with the best metric in the main table, for packets of IPv6
    /// or IPv4; `None` without such a route. It may have an IPv6 address for IPv4, too (RFC 8950).
    ///
    /// The kernel lists all routes for that: milliseconds, on a router with a full table more.
    ///
    /// # Errors
    /// What the kernel answered; [`Errno::EINTR`] if the routes do not stop changing.
    pub fn default_router(&mut self, of_six: bool) -> Result<Option<(IpAddr, u32)>, Errno> {
        let mut result = Ok(());
        for _ in 0..LIST_TRIES {
            let mut best: Option<DefaultRoute> = None;
            let mut header = [0; HEADER];
            set_family(&mut header, of_six);
            self.request.clear();
            self.request.begin(GET, DUMP, &header);
            result = self.socket.query(&mut self.request, &mut |message| {
                if let Some(found) = DefaultRoute::read(&message)
                    && best.is_none_or(|best| found.metric < best.metric)
                {
                    best = Some(found);
                }
            });
            match result {
                Ok(()) => return Ok(best.map(|best| (best.router, best.index))),
                Err(Errno::EINTR) => {}
                Err(cause) => return Err(cause),
            }
        }
        result.map(|()| None)
    }

    /// The way to an address, as the kernel would send a packet now; only by the interface of that
    /// number if one is given, as it must be for a link-local address.
    ///
    /// # Errors
    /// What the kernel answered: `ENETUNREACH`, `EHOSTUNREACH` without a way.
    pub fn way_to(&mut self, ip: IpAddr, by: Option<u32>) -> Result<Way, Errno> {
        let mut header = [0; HEADER];
        set_family(&mut header, ip.is_ipv6());
        if let Some(bits) = header.get_mut(1) {
            *bits = if ip.is_ipv6() { 128 } else { 32 };
        }
        self.request.clear();
        self.request.begin(GET, ACK, &header);
        address(&mut self.request, DESTINATION, ip);
        if let Some(index) = by {
            self.request.attribute(DEVICE, &index.to_ne_bytes());
        }
        let mut way = None;
        self.socket.query(&mut self.request, &mut |message| {
            let Some((_, attributes)) = message.parts::<HEADER>() else { return };
            let hop = Hop::read(attributes);
            way = hop.index.map(|index| Way { index, router: hop.router, from: hop.source });
        })?;
        way.ok_or(Errno::ENETUNREACH)
    }

    /// Where a neighbour is, by the kernel's table, if that once heard it there; `None` as well
    /// before Linux 5.0, which does not tell of one neighbour.
    pub fn neighbour(&mut self, ip: IpAddr, index: u32) -> Option<Mac> {
        let mut header = [0; NEIGHBOUR];
        set_family(&mut header, ip.is_ipv6());
        header.get_mut(4..8)?.copy_from_slice(&index.to_ne_bytes());
        self.request.clear();
        self.request.begin(GET_NEIGHBOUR, ACK, &header);
        address(&mut self.request, NEIGHBOUR_IP, ip);
        let mut found = None;
        let listed = self.socket.query(&mut self.request, &mut |message| {
            let Some((header, mut attributes)) = message.parts::<NEIGHBOUR>() else { return };
            let [_, _, _, _, _, _, _, _, low, high, ..] = header;
            let is_confirmed = u16::from_ne_bytes([low, high]) & CONFIRMED != 0;
            let mac = attributes.find(|(kind, _)| *kind == NEIGHBOUR_MAC);
            let mac = mac.and_then(|(_, value)| value.try_into().ok()).map(Mac);
            found = mac.filter(|_| is_confirmed);
        });
        listed.ok().and(found)
    }
}

fn address(request: &mut Request, kind: u16, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => request.attribute(kind, &ip.octets()),
        IpAddr::V6(ip) => request.attribute(kind, &ip.octets()),
    };
}

fn set_family(header: &mut [u8; 12], of_six: bool) {
    let family = if of_six { libc::AF_INET6 } else { libc::AF_INET };
    let [first, ..] = header;
    *first = u8::try_from(family).unwrap_or_default();
}

/// A default route.
#[derive(Clone, Copy)]
struct DefaultRoute {
    router: IpAddr,
    index: u32,
    metric: u32,
}

impl DefaultRoute {
    fn read(message: &Message<'_>) -> Option<Self> {
        let (header, attributes) = message.parts::<HEADER>()?;
        let [_, bits, _, _, table, _, _, kind, flags @ ..] = header;
        if message.kind != NEW || bits != 0 || kind != UNICAST {
            return None;
        }
        // The table's number is in the header if it fits there; the attribute is right always.
        let mut table = u32::from(table);
        let mut metric = 0;
        let mut hop = Hop::read(attributes);
        for (kind, value) in attributes {
            match kind {
                TABLE => table = number(value)?,
                PRIORITY => metric = number(value)?,
                SEVERAL => hop = Hop::first(value)?,
                _ => {}
            }
        }
        let flags = u32::from_ne_bytes(flags);
        let is_usable = flags & u32::from(UNUSABLE) == 0 && table == MAIN;
        let (router, index) = (hop.router?, hop.index?);
        is_usable.then_some(Self { router, index, metric })
    }
}

/// What routes and the parts of one that has several have in common.
struct Hop {
    router: Option<IpAddr>,
    index: Option<u32>,
    source: Option<IpAddr>,
}

impl Hop {
    fn read(attributes: Attributes<'_>) -> Self {
        let mut hop = Self { router: None, index: None, source: None };
        for (kind, value) in attributes {
            match kind {
                DEVICE => hop.index = number(value),
                GATEWAY => hop.router = ip(value),
                SOURCE => hop.source = ip(value),
                // Its family in two bytes, then the address (struct rtvia).
                VIA => hop.router = value.get(2..).and_then(ip),
                _ => {}
            }
        }
        hop
    }

    /// The first that leads somewhere of `length u16 | flags u8 | weight u8 | interface i32 |
    /// attributes`, one after the other.
    fn first(mut several: &[u8]) -> Option<Self> {
        loop {
            let (header, _) = several.split_first_chunk::<NEXT_HOP>()?;
            let [low, high, flags, _, a, b, c, d] = *header;
            let length = usize::from(u16::from_ne_bytes([low, high]));
            let attributes = several.get(NEXT_HOP..length)?;
            if flags & UNUSABLE == 0 {
                let index = Some(u32::from_ne_bytes([a, b, c, d]));
                return Some(Self { index, ..Self::read(Attributes(attributes)) });
            }
            several = several.get(length.next_multiple_of(4)..)?;
        }
    }
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(value).ok().map(|octets| Ipv6Addr::from(octets).into())
}

#[cfg(test)]
mod tests;
