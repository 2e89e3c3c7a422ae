//! ARP and neighbour discovery, byte by byte: what is said of an address, and what is heard.
//!
//! | frame | source | says |
//! |---|---|---|
//! | ARP announcement, as a request | RFC 5227, section 2.3 | the address is here |
//! | the same, as a reply | RFC 5944, section 4.6 | the address is here |
//! | unsolicited neighbour advertisement | RFC 4861, section 7.2.6 | the address is here |
//! | ARP probe | RFC 5227, section 2.1.1 | has anybody that address? |
//! | neighbour solicitation from `::` | RFC 4862, section 5.4.2 | has anybody that address? |
//! | ARP request, neighbour solicitation | RFC 826; RFC 4861, section 7.2.2 | are you there? |
//!
//! **Both forms of an announcement are sent.** Requests are what the RFC wants, since some hosts
//! ignore replies that they did not ask for; and some routers and switches renew an entry by a
//! reply only. Linux takes both, a reply only with its sender as target (arp_is_garp()). Products
//! that send one form had to learn the other (kube-vip#80, vip-manager#29).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::devices::Mac;

/// `ETH_P_ARP`.
pub const ARP: u16 = 0x0806;
/// `ETH_P_IPV6`.
pub const IPV6: u16 = 0x86dd;

/// The shortest Ethernet frame, without its check sequence. A packet socket finds the header of a
/// shorter one in the wrong place on a VLAN device (packet_snd(): `min_header_len`).
const FRAME_MIN: usize = 60;
/// Ethernet, IPv6, advertisement, one option: the longest that is sent.
const FRAME_MAX: usize = 86;

const BROADCAST: Mac = Mac([0xff; 6]);
/// Ethernet, IPv4, and the lengths of their addresses (RFC 826).
const ARP_ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;

const ICMPV6: u8 = 58;
/// Of all neighbour discovery: a router would have made it 254 (RFC 4861, section 7.1).
const HOP_LIMIT: u8 = 255;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
const SOURCE_LINK: u8 = 1; // option: source link-layer address
const TARGET_LINK: u8 = 2; // option: target link-layer address
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A frame that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: [u8; FRAME_MAX],
    length: usize,
    /// [`ARP`] or [`IPV6`].
    pub protocol: u16,
}

impl Frame {
    /// What makes others send to `mac` what they send to `ip`: for IPv4 both forms, for IPv6 one.
    ///
    /// `is_router`: whether this machine forwards IPv6 on that interface
    /// ([`forwards`](super::tap::forwards)). To claim the contrary makes hosts that route through
    /// the address stop doing so (RFC 4861, section 7.2.5).
    #[must_use]
    pub fn announcements(ip: IpAddr, mac: Mac, is_router: bool) -> [Option<Self>; 2] {
        match ip {
            IpAddr::V4(ip) => {
                // The target's hardware address means nothing in a request; in a reply it is the
                // sender's, by the RFC and for Linux.
                let request = arp(BROADCAST, REQUEST, (mac, ip), (Mac([0; 6]), ip));
                let reply = arp(BROADCAST, REPLY, (mac, ip), (mac, ip));
                [Some(request), Some(reply)]
            }
            IpAddr::V6(ip) => {
                let flags = OVERRIDE | if is_router { ROUTER } else { 0 };
                let message = Neighbour {
                    kind: ADVERTISEMENT,
                    flags,
                    target: ip,
                    option: Some((TARGET_LINK, mac)),
                };
                // From the address itself: then a guard knows it by its source, too.
                let frame = neighbour(multicast(ALL_NODES), mac, ip, ALL_NODES, &message);
                [Some(frame), None]
            }
        }
    }

    /// Asks whether anybody has `ip`, and says nothing that anybody would remember.
    #[must_use]
    pub fn probe(ip: IpAddr, mac: Mac) -> Self {
        match ip {
            IpAddr::V4(ip) => {
                arp(BROADCAST, REQUEST, (mac, Ipv4Addr::UNSPECIFIED), (Mac([0; 6]), ip))
            }
            IpAddr::V6(ip) => {
                // Without an option: nothing is to be answered to this machine (RFC 4861, 4.3).
                let message = Neighbour { kind: SOLICITATION, flags: 0, target: ip, option: None };
                let group = solicited_node(ip);
                neighbour(multicast(group), mac, Ipv6Addr::UNSPECIFIED, group, &message)
            }
        }
    }

    /// Asks a neighbour for a sign of life. `from` is an address that this machine always has, of
    /// the neighbour's family; without one it asks as [`Frame::probe`] does, which is answered as
    /// well. With `to`, where it was last, nobody else is bothered (RFC 1122, section 2.3.2.1).
    #[must_use]
    pub fn question(neighbour_ip: IpAddr, from: Option<IpAddr>, mac: Mac, to: Option<Mac>) -> Self {
        match (neighbour_ip, from) {
            (IpAddr::V4(ip), Some(IpAddr::V4(from))) => {
                arp(to.unwrap_or(BROADCAST), REQUEST, (mac, from), (Mac([0; 6]), ip))
            }
            (IpAddr::V6(ip), Some(IpAddr::V6(from))) => {
                let option = Some((SOURCE_LINK, mac));
                let message = Neighbour { kind: SOLICITATION, flags: 0, target: ip, option };
                let group = solicited_node(ip);
                match to {
                    Some(to) => neighbour(to, mac, from, ip, &message),
                    None => neighbour(multicast(group), mac, from, group, &message),
                }
            }
            _ => Self::probe(neighbour_ip, mac),
        }
    }

    /// As it goes on the wire.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn new(protocol: u16, parts: &[&[u8]]) -> Self {
        let mut bytes = [0; FRAME_MAX];
        let mut length = 0;
        for (byte, value) in bytes.iter_mut().zip(parts.iter().copied().flatten()) {
            *byte = *value;
            length += 1;
        }
        Self { bytes, length: length.max(FRAME_MIN), protocol }
    }
}

/// RFC 826.
fn arp(to: Mac, operation: u8, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Frame {
    Frame::new(
        ARP,
        &[
            &to.0,
            &sender.0.0,
            &ARP.to_be_bytes(),
            &ARP_ETHERNET_IPV4,
            &[0, operation],
            &sender.0.0,
            &sender.1.octets(),
            &target.0.0,
            &target.1.octets(),
        ],
    )
}

/// A message of neighbour discovery (RFC 4861, sections 4.3 and 4.4).
struct Neighbour {
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    option: Option<(u8, Mac)>,
}

fn neighbour(to: Mac, mac: Mac, from: Ipv6Addr, dest: Ipv6Addr, message: &Neighbour) -> Frame {
    let target = message.target.octets();
    let option = message.option.map(|(kind, mac)| {
        let [a, b, c, d, e, f] = mac.0;
        [kind, 1, a, b, c, d, e, f] // its length in units of 8 bytes
    });
    let option: &[u8] = option.as_ref().map_or(&[], |option| option);
    let length: u16 = if option.is_empty() { 24 } else { 32 };
    let head = [message.kind, 0, 0, 0, message.flags, 0, 0, 0];
    let sum = checksum(from, dest, length, &[&head, &target, option]).to_be_bytes();
    Frame::new(
        IPV6,
        &[
            &to.0,
            &mac.0,
            &IPV6.to_be_bytes(),
            &[0x60, 0, 0, 0],
            &length.to_be_bytes(),
            &[ICMPV6, HOP_LIMIT],
            &from.octets(),
            &dest.octets(),
            &[message.kind, 0],
            &sum,
            &[message.flags, 0, 0, 0],
            &target,
            option,
        ],
    )
}

/// The Internet checksum with the pseudo header (RFC 1071; RFC 8200, section 8.1); each part but
/// the last has an even length. Over a message with its checksum it is 0.
fn checksum(from: Ipv6Addr, dest: Ipv6Addr, length: u16, parts: &[&[u8]]) -> u16 {
    let (from, dest) = (from.octets(), dest.octets());
    let mut sum = u64::from(length) + u64::from(ICMPV6);
    for part in [&from[..], &dest].iter().chain(parts) {
        for pair in part.chunks(2) {
            let high = pair.first().copied().unwrap_or_default();
            let low = pair.get(1).copied().unwrap_or_default();
            sum += u64::from(u16::from_be_bytes([high, low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// The group that every owner of an address listens to (RFC 4291, section 2.7.1).
#[must_use]
pub fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = ip.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// RFC 2464, section 7.
fn multicast(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

/// What a frame says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// That `mac` has it: to everybody, or in passing.
    Claimed,
    /// The same, in answer to a question of this machine.
    Answered,
    /// The owner of `mac` asks whether anybody has it, and would like to.
    Probed,
}

/// What was heard of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What of it.
    pub said: Said,
    /// Which address.
    pub ip: IpAddr,
    /// By whom.
    pub mac: Mac,
}

impl Heard {
    /// Reads a frame, with its Ethernet header and without a VLAN tag; `to_us`: it was sent to this
    /// machine alone. `None` for what says nothing of an address, and for what is malformed: then
    /// no other host believes it either.
    #[must_use]
    pub fn read(frame: &[u8], to_us: bool) -> Option<Self> {
        let (ethernet, rest) = frame.split_first_chunk::<14>()?;
        let [_, _, _, _, _, _, a, b, c, d, e, f, high, low] = *ethernet;
        match u16::from_be_bytes([high, low]) {
            ARP => read_arp(rest, to_us),
            IPV6 => read_neighbour(rest, Mac([a, b, c, d, e, f]), to_us),
            _ => None,
        }
    }
}

fn read_arp(packet: &[u8], to_us: bool) -> Option<Heard> {
    let (head, rest) = packet.split_first_chunk::<8>()?;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let (sender, rest) = rest.split_first_chunk::<4>()?;
    let (_, rest) = rest.split_first_chunk::<6>()?;
    let target = Ipv4Addr::from(*rest.first_chunk::<4>()?);
    let sender = Ipv4Addr::from(*sender);
    let operation = head.strip_prefix(&ARP_ETHERNET_IPV4)?;
    let is_reply = match operation {
        [0, REQUEST] => false,
        [0, REPLY] => true,
        _ => return None,
    };
    let (said, ip) = match (sender.is_unspecified(), is_reply) {
        (false, true) if to_us => (Said::Answered, sender),
        // Also who asks for another address says which one is its own.
        (false, _) => (Said::Claimed, sender),
        (true, false) => (Said::Probed, target),
        (true, true) => return None,
    };
    Some(Heard { said, ip: ip.into(), mac: Mac(*mac) })
}

/// As strict as RFC 4861, sections 7.1.1 and 7.1.2, wants hosts to be.
fn read_neighbour(packet: &[u8], source: Mac, to_us: bool) -> Option<Heard> {
    let (header, rest) = packet.split_first_chunk::<40>()?;
    let [0x60..=0x6f, _, _, _, high, low, ICMPV6, HOP_LIMIT, addresses @ ..] = header else {
        return None;
    };
    let (from, dest) = addresses.split_first_chunk::<16>()?;
    let (from, dest) = (Ipv6Addr::from(*from), Ipv6Addr::from(*dest.first_chunk::<16>()?));
    let length = u16::from_be_bytes([*high, *low]);
    let message = rest.get(..usize::from(length))?;
    let (head, rest) = message.split_first_chunk::<8>()?;
    let (target, options) = rest.split_first_chunk::<16>()?;
    let target = Ipv6Addr::from(*target);
    let [kind @ (SOLICITATION | ADVERTISEMENT), 0, _, _, flags, ..] = *head else { return None };
    if target.is_multicast() || checksum(from, dest, length, &[message]) != 0 {
        return None;
    }
    let is_solicitation = kind == SOLICITATION;
    let option = link_option(options, if is_solicitation { SOURCE_LINK } else { TARGET_LINK })?;
    let (said, ip) = match (is_solicitation, from.is_unspecified()) {
        (true, true) if dest != solicited_node(target) || option.is_some() => return None,
        (true, true) => (Said::Probed, target),
        (true, false) => (Said::Claimed, from),
        (false, _) if flags & SOLICITED != 0 && dest.is_multicast() => return None,
        (false, _) if flags & SOLICITED != 0 && to_us => (Said::Answered, target),
        (false, _) => (Said::Claimed, target),
    };
    Some(Heard { said, ip: ip.into(), mac: option.unwrap_or(source) })
}

/// The first option of that kind that holds an Ethernet address; `None` if the options are
/// malformed, `Some(None)` if there is none.
fn link_option(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        let length = usize::from(units) * 8;
        let (option, rest) = options.split_at_checked(length).filter(|_| length > 0)?;
        if kind == wanted && found.is_none() {
            found = option.get(2..).and_then(|value| value.first_chunk()).copied().map(Mac);
        }
        options = rest;
    }
    options.is_empty().then_some(found)
}

#[cfg(test)]
mod tests;
