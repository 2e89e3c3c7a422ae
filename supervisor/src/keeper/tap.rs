//! Packet sockets (packet(7)): a [`Tap`] hears what is said of our addresses on one device, and
//! the [`Speaker`] speaks on all of them.
//!
//! A candidate asks and listens while its own guard is closed. What it asks says nothing of an
//! address being here, so a guard must let it out; the answers and the questions of another
//! candidate, it may drop. So the tap is one for all protocols (`ETH_P_ALL`), which the kernel
//! serves before any ingress hook, while one for ARP alone comes after it
//! (__netif_receive_skb_core()). What is sent goes through the egress hooks, so that no
//! announcement leaves after the lease.
//!
//! The filter runs for each frame that the device receives, which costs the kernel about 0.1 us (in
//! a virtual machine, small UDP packets through veth), and wakes us only for those about the
//! addresses that are watched.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, bind, recvfrom, sendto, socket,
};

use super::packet::{ARP, Frame, Heard, IPV6, solicited_node};
use crate::sys::packet::{attach_filter, link_address, set_option};

/// Frames that one call of [`Tap::hear`] takes in at most; a flood must not keep its caller from
/// other work.
pub const BATCH_MAX: usize = 64;
/// Addresses that the filter tells apart at most; with more, all of ARP and neighbour discovery
/// comes up. Each costs 64 bytes of the memory that a socket may have for that, where a filter and
/// the one that it replaces must fit together: 20480 bytes on Linux 6.1 (net.core.optmem_max;
/// __sk_attach_prog(), bpf_convert_filter()).
pub const WATCHED_MAX: usize = 128;
/// Longer frames are no neighbour discovery of anybody: it may not be fragmented (RFC 6980), and
/// its options are few.
const FRAME_BYTES: usize = 2048;

const ALL: u16 = 0x0003; // ETH_P_ALL
const IGNORE_OUTGOING: i32 = 23; // PACKET_IGNORE_OUTGOING, linux/if_packet.h
const TO_THIS_HOST: u8 = 0; // PACKET_HOST

/// Hears what others say of some addresses on one device.
#[derive(Debug)]
pub struct Tap {
    socket: OwnedFd,
    /// Member of the groups to which questions for the IPv6 addresses go: a switch that snoops does
    /// not send them here otherwise.
    groups: Option<UdpSocket>,
    index: u32,
    buffer: Vec<u8>,
}

impl Tap {
    /// Opens one on a device, for what is said of those addresses: the floating ones and the
    /// gateway's. A device that is made anew needs a new one.
    ///
    /// # Errors
    /// socket(2) (`EPERM`: needs CAP_NET_RAW), bind(2) (`ENODEV`, `ENETDOWN`), setsockopt(2).
    pub fn open(index: u32, watched: &[IpAddr]) -> io::Result<Self> {
        // Protocol 0 hears nothing: what comes before the filter stands is not for us.
        let socket = packet_socket()?;
        // Some kernels show what this machine sends as well (before Linux 4.20). It carries MACs of
        // this machine, which the caller ignores in any case.
        set_option(&socket, IGNORE_OUTGOING, 1).ok();
        let mut tap = Self { socket, groups: None, index, buffer: vec![0; FRAME_BYTES] };
        tap.watch(watched)?;
        let address = link_address(ALL, index).ok_or(Errno::ENODEV)?;
        bind(tap.socket.as_raw_fd(), &address)?;
        Ok(tap)
    }

    /// Watches other addresses from now on.
    ///
    /// # Errors
    /// setsockopt(2). The former filter stays then.
    pub fn watch(&mut self, watched: &[IpAddr]) -> nix::Result<()> {
        attach_filter(&self.socket, &filter(watched))?;
        self.groups = None;
        for ip in watched {
            let IpAddr::V6(ip) = ip else { continue };
            if self.groups.is_none() {
                // Without IPv6 on this machine there is nothing to hear of it.
                self.groups = unbound_socket().ok();
            }
            if let Some(groups) = &self.groups {
                // Several addresses may have one group. Where it cannot be joined (IPv6 is off on
                // this device), claims are heard all the same: they go to all nodes.
                groups.join_multicast_v6(&solicited_node(*ip), self.index).ok();
            }
        }
        Ok(())
    }

    /// The number of the device.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Adds what is there to be heard, [`BATCH_MAX`] frames at most; never waits. Whether there may
    /// be more.
    ///
    /// # Errors
    /// recv(2): `ENETDOWN` once when the device is switched off or goes away. One that is switched
    /// on again is heard again.
    pub fn hear(&mut self, heard: &mut Vec<Heard>) -> Result<bool, Errno> {
        for _ in 0..BATCH_MAX {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut self.buffer) {
                Ok((length, from)) => {
                    let frame = self.buffer.get(..length).unwrap_or_default();
                    let to_us = from.is_some_and(|from| from.pkttype() == TO_THIS_HOST);
                    heard.extend(Heard::read(frame, to_us));
                }
                Err(Errno::EAGAIN) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sends frames on any device.
#[derive(Debug)]
pub struct Speaker(OwnedFd);

impl Speaker {
    /// Opens its socket, which hears nothing.
    ///
    /// # Errors
    /// socket(2) (`EPERM`: needs CAP_NET_RAW).
    pub fn open() -> io::Result<Self> {
        Ok(Self(packet_socket()?))
    }

    /// Sends a frame on the device of that number, if it can take one now.
    ///
    /// # Errors
    /// send(2): `ENOBUFS` (a closed guard dropped it, or the device takes no more now), `ENETDOWN`,
    /// `ENXIO` (no such device).
    pub fn say(&self, frame: &Frame, index: u32) -> Result<(), Errno> {
        // A guard judges the frame by the protocol that is named here.
        let to = link_address(frame.protocol, index).ok_or(Errno::ENXIO)?;
        sendto(self.0.as_raw_fd(), frame.bytes(), &to, MsgFlags::MSG_DONTWAIT).map(drop)
    }
}

/// Whether this machine forwards IPv6 on an interface, so that it is a router to its neighbours;
/// not if that cannot be read.
#[must_use]
pub fn forwards(interface: &str) -> bool {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/forwarding");
    std::fs::read_to_string(path).is_ok_and(|value| value.trim() != "0")
}

fn packet_socket() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Packet, SockType::Raw, flags, None)
}

/// Has no port: nothing can be sent to it.
fn unbound_socket() -> nix::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Inet6, SockType::Datagram, flags, None).map(UdpSocket::from)
}

/// The program of the filter (classic BPF, filter.rst). Of an IPv6 address it compares the last
/// four bytes; what it lets through by chance, the caller tells apart.
///
/// ```text
/// VLAN other than 0: drop          of another network, though it came in on this device
/// ARP:   sender watched: pass      sender 0.0.0.0 and target watched: pass
/// NS:    source watched: pass      source :: and target watched: pass
/// NA:    target watched: pass
/// drop
/// ```
fn filter(watched: &[IpAddr]) -> Vec<libc::sock_filter> {
    let all = watched.len() > WATCHED_MAX;
    let of = |is_six: bool| {
        let of_family = watched.iter().filter(move |ip| ip.is_ipv6() == is_six);
        of_family.map(|ip| match ip {
            IpAddr::V4(ip) => u32::from(*ip),
            IpAddr::V6(ip) => u32::from_be_bytes(*ip.octets().last_chunk().unwrap_or(&[0; 4])),
        })
    };
    let mut arp = vec![load(WORD, ARP_SENDER)];
    arp.extend(of(false).flat_map(pass_if));
    arp.extend(drop_unless(0));
    arp.push(load(WORD, ARP_TARGET));
    arp.extend(of(false).flat_map(pass_if));
    arp.push(end(0));
    if all {
        arp = vec![end(PASS)];
    }

    let mut target = vec![load(WORD, NEIGHBOUR_TARGET)];
    target.extend(of(true).flat_map(pass_if));
    target.push(end(0));
    let mut source = vec![load(WORD, IPV6_SOURCE)];
    source.extend(of(true).flat_map(pass_if));
    source.extend(drop_unless(0));
    let mut six = vec![load(BYTE, IPV6_NEXT)];
    six.extend(drop_unless(58));
    six.push(load(BYTE, ICMPV6_TYPE));
    if all {
        six.extend(pass_if(135));
        six.extend(pass_if(136));
        six.push(end(0));
    } else {
        six.extend([go_if(136, 1), go(1), go(length(&source) + 2)]);
        six.extend(drop_unless(135));
        six.extend(source);
        six.extend(target);
    }

    let mut program = vec![load(WORD, VLAN_TAG), and(0xfff)];
    program.extend(drop_unless(0));
    program.extend([load(HALF, ETHER_TYPE), go_if(ARP.into(), 1), go(1), go(3)]);
    program.extend(drop_unless(IPV6.into()));
    program.push(go(length(&arp)));
    program.extend(arp);
    program.extend(six);
    program
}

// Offsets into a frame.
const ETHER_TYPE: u32 = 12;
const ARP_SENDER: u32 = 14 + 14;
const ARP_TARGET: u32 = 14 + 24;
const IPV6_NEXT: u32 = 14 + 6;
const IPV6_SOURCE: u32 = 14 + 8 + 12; // its last four bytes
const ICMPV6_TYPE: u32 = 14 + 40;
const NEIGHBOUR_TARGET: u32 = 14 + 40 + 8 + 12; // its last four bytes
/// What the kernel knows beside the frame (`SKF_AD_OFF` and `SKF_AD_VLAN_TAG`, linux/filter.h).
const VLAN_TAG: u32 = 0xffff_f000 + 44;

/// The whole frame.
const PASS: u32 = u32::MAX;

// linux/bpf_common.h.
const WORD: u16 = 0x00;
const HALF: u16 = 0x08;
const BYTE: u16 = 0x10;

const fn instruction(code: u16, jt: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf: 0, k }
}

/// `BPF_LD | BPF_ABS`; beyond the end of the frame it drops.
const fn load(size: u16, at: u32) -> libc::sock_filter {
    instruction(0x20 | size, 0, at)
}

const fn and(value: u32) -> libc::sock_filter {
    instruction(0x54, 0, value) // BPF_ALU | BPF_AND | BPF_K
}

/// Leaves out the next `over` instructions if it is that value.
const fn go_if(value: u32, over: u8) -> libc::sock_filter {
    instruction(0x15, over, value) // BPF_JMP | BPF_JEQ | BPF_K
}

/// Leaves out the next `over` instructions, which may be many.
const fn go(over: u32) -> libc::sock_filter {
    instruction(0x05, 0, over) // BPF_JMP | BPF_JA
}

const fn end(bytes: u32) -> libc::sock_filter {
    instruction(0x06, 0, bytes) // BPF_RET | BPF_K
}

const fn drop_unless(value: u32) -> [libc::sock_filter; 2] {
    [go_if(value, 1), end(0)]
}

fn pass_if(value: u32) -> [libc::sock_filter; 2] {
    // The other way round would need a jump over the end: "unless it is, leave out one".
    [libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: value }, end(PASS)]
}

fn length(program: &[libc::sock_filter]) -> u32 {
    u32::try_from(program.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
