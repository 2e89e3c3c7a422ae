//! Network cards, and the bonds, teams and bridges that join them
//! (Documentation/ABI/testing/sysfs-class-net).

use serde::Serialize;

use crate::once;
use crate::root::Root;
use crate::sensors::link;
use crate::text;

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// `eth0`.
    pub name: String,
    /// The card's driver; `None` for what is no card.
    pub driver: Option<String>,
    /// Its hardware address.
    pub address: Option<String>,
    /// Whether it is switched on.
    pub is_up: Option<bool>,
    /// Whether a cable with a partner is in it; `None` if it is off or does not tell.
    pub has_carrier: Option<bool>,
    /// Megabits in each second; `None` without carrier, and for what has no speed. Its driver is
    /// asked, under the lock of all network configuration.
    pub speed_mbit: Option<u64>,
    /// The bond, team or bridge that it is part of.
    pub part_of: Option<String>,
    /// The interfaces below it.
    pub members: Vec<String>,
}

/// Interfaces shown at most.
const INTERFACES_MAX: usize = 256;

/// Members of one interface at most.
const MEMBERS_MAX: usize = 32;

/// IFF_UP, linux/if.h.
const IFF_UP: u64 = 1;

/// Cards and what stands on them; in a container, which has no cards, all but the loopback.
pub(super) fn read(root: &Root, own: bool) -> Vec<Interface> {
    let net = root.path("/sys/class/net");
    let read = |name: String| {
        let directory = net.join(&name);
        if name == "lo" || own && !link::leads_out(&net, &name, link::STACK_MAX) {
            return None;
        }
        let lower = once::names(&directory);
        let lower = lower.iter().filter_map(|name| name.strip_prefix("lower_"));
        let members = lower.filter_map(|name| once::clean(name.as_bytes())).take(MEMBERS_MAX);
        let flags = once::line(&directory.join("flags"));
        let is_up = flags.and_then(|flags| text::hexadecimal(&flags)).map(|it| it & IFF_UP != 0);
        let state = once::line(&directory.join("operstate")).unwrap_or_default();
        let has_carrier = match state.as_str() {
            "up" => Some(true),
            "down" | "lowerlayerdown" if is_up == Some(true) => Some(false),
            _ => None,
        };
        let speed = || once::number(&directory.join("speed")).filter(|speed| *speed > 0);
        Some(Interface {
            driver: once::linked(&directory.join("device/driver")),
            address: once::shown(&directory.join("address")),
            is_up,
            has_carrier,
            speed_mbit: if has_carrier == Some(true) { speed() } else { None },
            part_of: once::linked(&directory.join("master")),
            members: members.collect(),
            name: once::clean(name.as_bytes())?,
        })
    };
    once::names(&net).into_iter().filter_map(read).take(INTERFACES_MAX).collect()
}
