//! The tables, and where their base chains hook in.

use super::knock::{ARP_HEADER, ETHER_TYPE, IP_HEADER};
use super::numbers::HEADER;
use crate::guard::{Device, Place};

/// Before most others, who may redirect.
pub(super) const PRIORITY: i32 = -500;
/// On the way out by a hook of IP: after those who put in another source (`NF_IP_PRI_NAT_SRC`).
const PRIORITY_LAST: i32 = 500;
/// The chains that ask about addresses, on their own devices and on others.
pub(super) const GUARD_IN: &str = "guard-in";
pub(super) const GUARD_OUT: &str = "guard-out";
pub(super) const OTHERS_IN: &str = "others-in";
pub(super) const OTHERS_OUT: &str = "others-out";

/// A way through a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Ingress,
    Egress,
}

/// A table, by its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Netdev,
    Inet,
    Arp,
}

impl Table {
    /// The header of all messages about it (`NFPROTO_*`, linux/netfilter.h; and no version).
    pub(super) const fn header(self) -> [u8; HEADER] {
        match self {
            Self::Netdev => [5, 0, 0, 0],
            Self::Inet => [1, 0, 0, 0],
            Self::Arp => [3, 0, 0, 0],
        }
    }

    /// `NF_NETDEV_INGRESS`, `_EGRESS`; `NF_INET_PRE_ROUTING`, `_POST_ROUTING`; `NF_ARP_IN`, `_OUT`.
    pub(super) const fn hook(self, hook: Hook) -> u32 {
        match (self, hook) {
            (_, Hook::Ingress) => 0,
            (Self::Netdev | Self::Arp, Hook::Egress) => 1,
            (Self::Inet, Hook::Egress) => 4,
        }
    }

    pub(super) const fn priority(self, hook: Hook) -> i32 {
        match (self, hook) {
            (Self::Inet, Hook::Egress) => PRIORITY_LAST,
            _ => PRIORITY,
        }
    }

    /// What a knock is for it, and where its cookie begins, behind the protocol's own header.
    pub(super) const fn knock(self) -> (u16, usize) {
        match self {
            Self::Netdev => (ETHER_TYPE, 0),
            Self::Inet => (0x0800, IP_HEADER),
            Self::Arp => (0x0806, ARP_HEADER),
        }
    }
}

impl Hook {
    /// Its chain for the devices of a place: where it goes on, and what it is called.
    pub(super) const fn chains(self, place: Place) -> Option<(&'static str, &'static str)> {
        match (self, place) {
            (_, Place::Free) => None,
            (Self::Ingress, Place::Own) => Some((GUARD_IN, "in")),
            (Self::Egress, Place::Own) => Some((GUARD_OUT, "out")),
            (Self::Ingress, Place::Other) => Some((OTHERS_IN, OTHERS_IN)),
            (Self::Egress, Place::Other) => Some((OTHERS_OUT, OTHERS_OUT)),
        }
    }

    /// The name of its chain for a device; what stands in it follows from its name.
    pub(super) fn chain(self, device: &Device) -> Option<String> {
        self.chains(device.place).map(|(_, name)| format!("{name}-{}", device.index))
    }
}
