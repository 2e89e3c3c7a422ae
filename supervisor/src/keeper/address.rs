//! Addresses on interfaces: rtnetlink(7), `RTM_NEWADDR` and what belongs to it.
//!
//! What is added here carries a lifetime, so that the kernel takes it away when nobody renews it,
//! and a [`TAG`], so that a later start knows it. Only what carries it is ever renewed; an address
//! that is configured elsewhere on the machine is reported, never taken over.
//!
//! The kernel creates an address again when a renewal comes after its end. So the caller compares
//! its clocks with the lease before and after each renewal, and removes what came too late.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mastiff_core::time::Span;
use nix::errno::Errno;

use crate::netlink::{ACK, CREATE, DUMP, EXCLUSIVE, Family, Message, REPLACE, Request, Socket};

/// Who made an address (`IFA_PROTO`, linux/if_addr.h, since Linux 5.18): here, mastiff. 0 to 3 are
/// the kernel's own. An older kernel ignores it: see [`Leftovers::among`].
pub const TAG: u8 = 0x4d;

/// How often a list that changed while it was read is read again.
const LIST_TRIES: u32 = 3;

const NEW: u16 = 20; // RTM_NEWADDR
const DELETED: u16 = 21; // RTM_DELADDR
const GET: u16 = 22; // RTM_GETADDR
const HEADER: usize = 8; // struct ifaddrmsg

const ADDRESS: u16 = 1; // IFA_ADDRESS
const LOCAL: u16 = 2; // IFA_LOCAL
const CACHE_INFO: u16 = 6; // IFA_CACHEINFO
const FLAGS: u16 = 8; // IFA_FLAGS
const PROTO: u16 = 11; // IFA_PROTO

const NO_DAD: u32 = 0x02; // IFA_F_NODAD
const DAD_FAILED: u32 = 0x08; // IFA_F_DADFAILED
const TENTATIVE: u32 = 0x40; // IFA_F_TENTATIVE
const PERMANENT: u32 = 0x80; // IFA_F_PERMANENT

/// An address with its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Bits of its network, 0 to 32 or 128. Where it is shorter than the address, the kernel makes
    /// the route to the network, as `ip address add` has it.
    pub prefix: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

/// An address as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub address: Address,
    /// The number of its interface.
    pub index: u32,
    /// Who made it (`IFA_PROTO`); `None`: not said, or the kernel does not know.
    pub tag: Option<u8>,
    flags: u32,
}

impl Found {
    /// Reads `RTM_NEWADDR` and `RTM_DELADDR`; the second value says whether it is there. `None` for
    /// every other message, and for one that is cut off.
    #[must_use]
    pub fn read(message: &Message<'_>) -> Option<(Self, bool)> {
        let is_there = match message.kind {
            NEW => true,
            DELETED => false,
            _ => return None,
        };
        let (header, attributes) = message.parts::<HEADER>()?;
        let [family, prefix, _, flags, a, b, c, d] = header;
        let (mut address, mut local, mut tag) = (None, None, None);
        let mut flags = u32::from(flags);
        for (kind, value) in attributes {
            match kind {
                ADDRESS => address = ip(family, value),
                LOCAL => local = ip(family, value),
                FLAGS => {
                    flags = value.first_chunk().map_or(flags, |flags| u32::from_ne_bytes(*flags))
                }
                PROTO => tag = value.first().copied(),
                _ => {}
            }
        }
        // On a point-to-point link `IFA_ADDRESS` is the other end (linux/if_addr.h).
        let ip = local.or(address)?;
        let index = u32::from_ne_bytes([a, b, c, d]);
        Some((Self { address: Address { ip, prefix }, index, tag, flags }, is_there))
    }

    /// Whether it carries our [`TAG`].
    #[must_use]
    pub fn is_tagged(&self) -> bool {
        self.tag == Some(TAG)
    }

    /// Whether it stays until somebody removes it.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.flags & PERMANENT != 0
    }

    /// Whether the kernel answers for it: not while it looks for duplicates, nor after it found one
    /// (RFC 4862, section 5.4).
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.flags & (TENTATIVE | DAD_FAILED) == 0
    }
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    if i32::from(family) == libc::AF_INET {
        value.first_chunk().map(|octets: &[u8; 4]| Ipv4Addr::from(*octets).into())
    } else if i32::from(family) == libc::AF_INET6 {
        value.first_chunk().map(|octets: &[u8; 16]| Ipv6Addr::from(*octets).into())
    } else {
        None
    }
}

/// What a start finds of earlier ones, and of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Made by a mastiff before, on whatever interface: to be removed, or to go on with.
    pub ours: Vec<Found>,
    /// Configured as floating, and on an interface by somebody else's doing: to be reported.
    pub foreign: Vec<Found>,
}

impl Leftovers {
    /// Sorts what [`Addresses::list`] found; `floating` are the configured addresses.
    ///
    /// A kernel without tags shows none at all, not even its own on `lo`. There a floating address
    /// that has a lifetime is taken for ours: whoever configures one elsewhere does so for good.
    #[must_use]
    pub fn among(all: &[Found], floating: &[IpAddr]) -> Self {
        let has_tags = all.iter().any(|found| found.tag.is_some());
        let mut leftovers = Self::default();
        for found in all {
            let is_floating = floating.contains(&found.address.ip);
            if found.is_tagged() || (is_floating && !has_tags && !found.is_permanent()) {
                leftovers.ours.push(*found);
            } else if is_floating {
                leftovers.foreign.push(*found);
            }
        }
        leftovers
    }
}

/// Why an address is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// The kernel refused.
    Refused {
        /// What was tried: "add", "renew", "remove".
        verb: &'static str,
        /// Which.
        address: Address,
        /// The number of the interface.
        index: u32,
        /// Why.
        cause: Errno,
    },
    /// It is there already, and not by us.
    Foreign(Address),
    /// It was added, and is not there.
    Missing(Address),
    /// It is there, and the kernel found a duplicate, or still looks for one.
    Unusable(Address),
    /// The kernel does not list its addresses.
    Unlisted(Errno),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { verb, address, index, cause } => {
                write!(f, "cannot {verb} {address} on interface number {index}: {}", cause.desc())?;
                f.write_str(match cause {
                    Errno::EACCES if address.ip.is_ipv6() => {
                        "; IPv6 is disabled there (disable_ipv6)"
                    }
                    Errno::EPERM => "; needs CAP_NET_ADMIN",
                    _ => "",
                })
            }
            Self::Foreign(address) => write!(
                f,
                "{address} is there already, not by mastiff; \
                 remove it from what else configures the network"
            ),
            Self::Missing(address) => {
                write!(f, "{address} was added and is gone; something else removes addresses")
            }
            Self::Unusable(address) => {
                write!(f, "{address} is not in use: duplicate address detection is not through")
            }
            Self::Unlisted(cause) => write!(f, "cannot list the addresses: {}", cause.desc()),
        }
    }
}

impl std::error::Error for AddressError {}

/// A socket for addresses. Each call takes microseconds, unless somebody holds the kernel's lock
/// for network configuration (`rtnl`): then it waits for them.
#[derive(Debug)]
pub struct Addresses {
    socket: Socket,
    request: Request,
}

impl Addresses {
    /// Opens it.
    ///
    /// # Errors
    /// socket(2), bind(2).
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: Socket::open(Family::Route, 0)?, request: Request::new() })
    }

    /// Puts an address on an interface for `lifetime`, rounded up to whole seconds, at least one.
    /// An IPv6 address is usable at once (no duplicate address detection: the caller has the lease
    /// and may have probed) and never chosen as a source address; a worker of the kernel makes it
    /// answer multicast solicitations a moment later (addrconf_dad_work()), so announce it.
    ///
    /// One that is there already and ours is renewed, or made anew where it is not usable or has
    /// another prefix length.
    ///
    /// # Errors
    /// [`AddressError::Foreign`], or what the kernel refused.
    pub fn add(
        &mut self,
        address: &Address,
        index: u32,
        lifetime: Span,
    ) -> Result<(), AddressError> {
        match self.put(address, index, lifetime, EXCLUSIVE) {
            Err(Errno::EEXIST) => {}
            ended => return refused("add", address, index, ended),
        }
        let all = self.list()?;
        // On IPv6 one of another prefix length is in the way, too.
        let there = all.iter().find(|found| {
            let is_it = found.address == *address || address.ip.is_ipv6();
            is_it && found.address.ip == address.ip && found.index == index
        });
        let ours = Leftovers::among(&all, &[address.ip]).ours;
        let there = there.filter(|there| ours.contains(there));
        let there = there.ok_or(AddressError::Foreign(*address))?;
        if there.address == *address && there.is_usable() {
            return self.refresh(address, index, lifetime);
        }
        self.remove(&there.address, index)?;
        refused("add", address, index, self.put(address, index, lifetime, EXCLUSIVE))
    }

    /// Sets what is left of the lifetime of an address that [`Addresses::add`] put there, and makes
    /// the address anew if it has gone.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn refresh(
        &mut self,
        address: &Address,
        index: u32,
        lifetime: Span,
    ) -> Result<(), AddressError> {
        refused("renew", address, index, self.put(address, index, lifetime, REPLACE))
    }

    /// Takes an address away. That it, or its interface, is gone already is fine.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn remove(&mut self, address: &Address, index: u32) -> Result<(), AddressError> {
        self.begin(DELETED, ACK, address, index);
        match self.socket.transact(&mut self.request) {
            Err(Errno::EADDRNOTAVAIL | Errno::ENODEV) => Ok(()),
            ended => refused("remove", address, index, ended),
        }
    }

    /// All addresses of the machine, of both families.
    ///
    /// # Errors
    /// [`AddressError::Unlisted`]; with [`Errno::EINTR`] if they do not stop changing.
    pub fn list(&mut self) -> Result<Vec<Found>, AddressError> {
        let mut result = Ok(());
        for _ in 0..LIST_TRIES {
            let mut all = Vec::new();
            self.request.clear();
            // Family 0: all. Some of them (multicast groups, for one) are no addresses.
            self.request.begin(GET, DUMP, &[0; HEADER]);
            result = self.socket.query(&mut self.request, &mut |message| {
                all.extend(Found::read(&message).map(|(found, _)| found));
            });
            match result {
                Ok(()) => return Ok(all),
                Err(Errno::EINTR) => {}
                Err(cause) => return Err(AddressError::Unlisted(cause)),
            }
        }
        result.map(|()| Vec::new()).map_err(AddressError::Unlisted)
    }

    /// Whether each of those addresses is there and answered for: asked once after all of a group
    /// were added.
    ///
    /// # Errors
    /// The first that is not: [`AddressError::Missing`], [`AddressError::Unusable`].
    pub fn verify(&mut self, wanted: &[(Address, u32)]) -> Result<(), AddressError> {
        let all = self.list()?;
        for (address, index) in wanted {
            let found = all.iter().find(|all| all.address == *address && all.index == *index);
            match found {
                None => return Err(AddressError::Missing(*address)),
                Some(found) if !found.is_usable() => return Err(AddressError::Unusable(*address)),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn put(
        &mut self,
        address: &Address,
        index: u32,
        lifetime: Span,
        how: u16,
    ) -> Result<(), Errno> {
        let valid = whole_secs(lifetime);
        // Preferred for no time at all, it is no candidate where a source address is chosen (RFC
        // 6724, section 5, rule 3). IPv4 knows no such thing.
        let (preferred, flags) = if address.ip.is_ipv6() { (0, NO_DAD) } else { (valid, 0) };
        let mut cache_info = [0; 16]; // struct ifa_cacheinfo: preferred, valid, two for the kernel
        for (byte, value) in cache_info
            .iter_mut()
            .zip(preferred.to_ne_bytes().into_iter().chain(valid.to_ne_bytes()))
        {
            *byte = value;
        }
        self.begin(NEW, ACK | CREATE | how, address, index);
        self.request
            .attribute(CACHE_INFO, &cache_info)
            .attribute(FLAGS, &flags.to_ne_bytes())
            // Always: a renewal without it would wipe it.
            .attribute(PROTO, &[TAG]);
        self.socket.transact(&mut self.request)
    }

    fn begin(&mut self, kind: u16, flags: u16, address: &Address, index: u32) {
        let (v4, v6);
        let (family, octets): (_, &[u8]) = match address.ip {
            IpAddr::V4(ip) => {
                v4 = ip.octets();
                (libc::AF_INET, &v4)
            }
            IpAddr::V6(ip) => {
                v6 = ip.octets();
                (libc::AF_INET6, &v6)
            }
        };
        let family = u8::try_from(family).unwrap_or_default();
        let [a, b, c, d] = index.to_ne_bytes();
        self.request.clear();
        self.request
            .begin(kind, flags, &[family, address.prefix, 0, 0, a, b, c, d])
            .attribute(LOCAL, octets)
            .attribute(ADDRESS, octets);
    }
}

fn refused(
    verb: &'static str,
    address: &Address,
    index: u32,
    ended: Result<(), Errno>,
) -> Result<(), AddressError> {
    ended.map_err(|cause| AddressError::Refused { verb, address: *address, index, cause })
}

/// Rounded up, from 1 to what is not yet "for ever" (`INFINITY_LIFE_TIME`).
fn whole_secs(lifetime: Span) -> u32 {
    let secs = lifetime.as_nanos().div_ceil(1_000_000_000).max(1);
    u32::try_from(secs).unwrap_or(u32::MAX).min(u32::MAX - 1)
}

/// Whether other addresses of the same network would go with this one when it goes.
///
/// The first IPv4 address of a network on an interface is the primary one, and with it go the
/// secondary ones unless `promote_secondaries` is set (ip-sysctl, for the interface or for all). A
/// floating address comes and goes; where it is the first, or becomes it after a restart of the
/// network, it would take the machine's own address along. An address that is a network of its own
/// (/32), and IPv6, are safe.
///
/// # Errors
/// When the kernel's setting cannot be read: there is no such interface, or no /proc.
pub fn takes_others_along(address: &Address, interface: &str) -> io::Result<bool> {
    if address.ip.is_ipv6() || address.prefix >= 32 {
        return Ok(false);
    }
    for name in ["all", interface] {
        let path = format!("/proc/sys/net/ipv4/conf/{name}/promote_secondaries");
        if std::fs::read_to_string(path)?.trim() != "0" {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
