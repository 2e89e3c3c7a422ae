//! Cables and a switch, made of the kernel's: veth(4) pairs on a bridge, by rtnetlink(7).

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use nix::net::if_::if_nametoindex;

use super::super::failure::Failure;
use crate::keeper::devices::Mac;
use crate::netlink::{ACK, CREATE, EXCLUSIVE, Family, Request, Socket};

const NEW_LINK: u16 = 16; // RTM_NEWLINK
const SET_LINK: u16 = 19; // RTM_SETLINK
const NEW_ADDRESS: u16 = 20; // RTM_NEWADDR

// linux/if_link.h.
const MAC: u16 = 1; // IFLA_ADDRESS
const NAME: u16 = 3; // IFLA_IFNAME
const MASTER: u16 = 10; // IFLA_MASTER
const PORT: u16 = 12; // IFLA_PROTINFO
const INFO: u16 = 18; // IFLA_LINKINFO
const INFO_KIND: u16 = 1; // IFLA_INFO_KIND
const INFO_DATA: u16 = 2; // IFLA_INFO_DATA
const NAMESPACE: u16 = 28; // IFLA_NET_NS_FD
const VETH_PEER: u16 = 1; // VETH_INFO_PEER, linux/veth.h
const ISOLATED: u16 = 33; // IFLA_BRPORT_ISOLATED

// linux/if_addr.h.
const ADDRESS: u16 = 1; // IFA_ADDRESS
const LOCAL: u16 = 2; // IFA_LOCAL

const UP: u32 = 1; // IFF_UP
/// Bytes of `struct nlmsghdr` (linux/netlink.h).
const MESSAGE_HEADER: usize = 16;

/// The links of one network namespace.
#[derive(Debug)]
pub(super) struct Wires(Socket);

impl Wires {
    /// Of the namespace in which this process is now.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub(super) fn here() -> Result<Self, Failure> {
        let opened = Socket::open(Family::Route, 0);
        opened.map(Self).map_err(|error| failed("open a netlink socket", &error))
    }

    /// Makes a switch.
    ///
    /// # Errors
    /// What the kernel says, as with all that follows.
    pub(super) fn switch(&mut self, name: &str) -> Result<(), Failure> {
        let mut request = Request::new();
        request.begin(NEW_LINK, ACK | CREATE | EXCLUSIVE, &link(0, 0, None)).text(NAME, name);
        request.nest(INFO, |info| {
            info.text(INFO_KIND, "bridge");
        });
        self.send("make a bridge", &mut request)?;
        self.set_up(name, true)
    }

    /// Makes a cable from the switch, where its end is called `port`, to another namespace, where
    /// its end is called `device`.
    pub(super) fn cable(
        &mut self,
        (switch, port): (&str, &str),
        (network, device, mac): (&File, &str, Mac),
    ) -> Result<(), Failure> {
        // The far end is described by a message in the message, without its first header.
        let mut far = Request::new();
        far.begin(NEW_LINK, 0, &link(0, 0, None)).text(NAME, device).attribute(MAC, &mac.0);
        far.attribute(NAMESPACE, &network.as_raw_fd().to_ne_bytes());
        let far = far.finish().get(MESSAGE_HEADER..).unwrap_or_default();
        let switch = index(switch)?;
        let mut request = Request::new();
        request.begin(NEW_LINK, ACK | CREATE | EXCLUSIVE, &link(0, 0, None)).text(NAME, port);
        request.attribute(MASTER, &switch.to_ne_bytes());
        request.nest(INFO, |info| {
            info.text(INFO_KIND, "veth").nest(INFO_DATA, |data| {
                data.attribute(VETH_PEER, far);
            });
        });
        self.send("make a pair of veth devices", &mut request)?;
        self.set_up(port, true)
    }

    /// Switches a link on or off.
    pub(super) fn set_up(&mut self, name: &str, up: bool) -> Result<(), Failure> {
        let mut request = Request::new();
        request.begin(SET_LINK, ACK, &link(0, 0, Some(up))).text(NAME, name);
        self.send("switch a link on or off", &mut request)
    }

    /// Gives a device an address with 24 bits of network.
    pub(super) fn address(&mut self, device: &str, ip: Ipv4Addr) -> Result<(), Failure> {
        let [a, b, c, d] = index(device)?.to_ne_bytes();
        let family = u8::try_from(libc::AF_INET).unwrap_or_default();
        let mut request = Request::new();
        request.begin(NEW_ADDRESS, ACK | CREATE | EXCLUSIVE, &[family, 24, 0, 0, a, b, c, d]);
        request.attribute(LOCAL, &ip.octets()).attribute(ADDRESS, &ip.octets());
        self.send("set an address", &mut request)
    }

    /// Whether frames of this port reach other isolated ports: those of all others they do.
    pub(super) fn isolate(&mut self, port: &str, isolated: bool) -> Result<(), Failure> {
        let mut request = Request::new();
        let family = u8::try_from(libc::AF_BRIDGE).unwrap_or_default();
        request.begin(SET_LINK, ACK, &link(family, index(port)?, None));
        request.nest(PORT, |port| {
            port.attribute(ISOLATED, &[u8::from(isolated)]);
        });
        self.send("isolate a port of the bridge", &mut request)
    }

    fn send(&mut self, what: &str, request: &mut Request) -> Result<(), Failure> {
        self.0.transact(request).map_err(|error| failed(what, &error.into()))
    }
}

/// The number of a link in the namespace of this process.
///
/// # Errors
/// When there is none of that name.
pub(super) fn index(name: &str) -> Result<u32, Failure> {
    if_nametoindex(name).map_err(|error| failed(&format!("find the link {name}"), &error.into()))
}

/// `struct ifinfomsg` (rtnetlink(7)).
fn link(family: u8, index: u32, up: Option<bool>) -> [u8; 16] {
    let mut header = [0; 16];
    let flags = if up == Some(true) { UP } else { 0 };
    let change = if up.is_some() { UP } else { 0 };
    let (index, flags, change) = (index.to_ne_bytes(), flags.to_ne_bytes(), change.to_ne_bytes());
    let words = [family, 0, 0, 0].into_iter().chain(index).chain(flags).chain(change);
    for (byte, value) in header.iter_mut().zip(words) {
        *byte = value;
    }
    header
}

fn failed(what: &str, error: &std::io::Error) -> Failure {
    Failure::Unavailable(format!(
        "cannot {what}: {error}; the demo needs veth devices and bridges of the kernel"
    ))
}
