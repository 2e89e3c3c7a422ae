//! TCP connections with a floating address: sock_diag(7), `SOCK_DESTROY`.
//!
//! A connection does not move with its address. Left alone it is found dead by whoever sends next;
//! who waits for data waits until a keep-alive, hours by default (tcp(7)). The kernel can end
//! it: it sends a reset to the other end if that can still be told, and fails the program's calls
//! with `ECONNABORTED` (tcp_abort(), net/ipv4/tcp.c).
//!
//! Listening sockets are left alone, and so is all that is not TCP: other protocols have no reset.

use std::io;
use std::net::IpAddr;

use mastiff_core::time::Mono;
use nix::errno::Errno;

use crate::clock;
use crate::netlink::{ACK, DUMP, Family, Message, Request, Socket};

/// Connections that are taken from one list. There may be more: those are in the next one.
const LISTED_MAX: usize = 1024;

const BY_FAMILY: u16 = 20; // SOCK_DIAG_BY_FAMILY, linux/sock_diag.h
const DESTROY: u16 = 21; // SOCK_DESTROY
const TCP: u8 = 6; // IPPROTO_TCP
const ID: usize = 48; // struct inet_diag_sockid, linux/inet_diag.h
const HEADER: usize = 72; // struct inet_diag_msg
const FILTER: u16 = 1; // INET_DIAG_REQ_BYTECODE
const FILTER_LOCAL: u8 = 7; // INET_DIAG_BC_S_COND
const FILTER_REMOTE: u8 = 8; // INET_DIAG_BC_D_COND
/// All states but listening, closed, and closed and waiting (`TCP_ESTABLISHED` to `TCP_CLOSING`,
/// net/tcp_states.h, a bit for each).
const STATES: u32 = 0b1011_0011_1110;

/// Which end of a connection has the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The end on this machine.
    Local,
    /// The other end, and that one only: whoever connected to an address of his own machine has
    /// it on both.
    Remote,
}

/// What became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// So many were ended.
    pub count: usize,
    /// No more were there; else there was no time for them.
    pub all: bool,
}

/// One connection, as the kernel names it.
type Found = (u8, [u8; ID]);

/// A socket for them.
#[derive(Debug)]
pub struct Connections {
    socket: Socket,
    request: Request,
}

impl Connections {
    /// Opens it, and tries whether the kernel can end connections at all. That may load its module
    /// (`tcp_diag`), which takes its time.
    ///
    /// # Errors
    /// In words.
    pub fn open() -> Result<Self, String> {
        let failed = |why: io::Error| format!("socket(2) of NETLINK_SOCK_DIAG: {why}");
        let socket = Socket::open(Family::Diagnosis, 0).map_err(failed)?;
        let mut connections = Self { socket, request: Request::new() };
        let nobody = IpAddr::from([0, 0, 0, 0]);
        let tried = connections.find(nobody, family(libc::AF_INET), Side::Local);
        // Of the address of nobody: there is none, and the kernel says so if it looks.
        let tried = tried.and_then(|_| connections.destroy((family(libc::AF_INET), [0; ID])));
        tried.map(|_| connections).map_err(in_words)
    }

    /// Ends the connections with an address, until then at most: each takes microseconds, or as
    /// long as a program just uses it.
    ///
    /// # Errors
    /// In words.
    pub fn end(&mut self, ip: IpAddr, side: Side, until: Mono) -> Result<Ended, String> {
        // A socket of IPv6 may speak IPv4 (RFC 3493, section 3.7).
        let families: &[_] =
            if ip.is_ipv4() { &[libc::AF_INET, libc::AF_INET6] } else { &[libc::AF_INET6] };
        let mut ended = Ended { count: 0, all: true };
        for of in families {
            loop {
                if clock::now() >= until {
                    return Ok(Ended { all: false, ..ended });
                }
                let found = self.find(ip, family(*of), side).map_err(in_words)?;
                for found in &found {
                    if clock::now() >= until {
                        return Ok(Ended { all: false, ..ended });
                    }
                    ended.count += usize::from(self.destroy(*found).map_err(in_words)?);
                }
                if found.len() < LISTED_MAX {
                    break;
                }
            }
        }
        Ok(ended)
    }

    fn find(&mut self, ip: IpAddr, of: u8, side: Side) -> Result<Vec<Found>, Errno> {
        let mut header = [0; 8 + ID]; // struct inet_diag_req_v2
        let [a, b, c, d] = STATES.to_ne_bytes();
        fill(&mut header, &[of, TCP, 0, 0, a, b, c, d]);
        self.request.clear();
        self.request.begin(BY_FAMILY, DUMP, &header).attribute(FILTER, &filter(ip, side));
        let mut all = Vec::new();
        let listed = self.socket.query(&mut self.request, &mut |message| {
            if let Some(found) = read(&message)
                && all.len() < LISTED_MAX
                && (side == Side::Local || !is_on_both(&found.1))
            {
                all.push(found);
            }
        });
        match listed {
            // Some are missing from the list: they are none the worse.
            Ok(()) | Err(Errno::EINTR) => Ok(all),
            Err(why) => Err(why),
        }
    }

    /// Whether it was there.
    fn destroy(&mut self, (of, id): Found) -> Result<bool, Errno> {
        let mut header = [0; 8 + ID];
        fill(&mut header, &[of, TCP]);
        fill(header.get_mut(8..).unwrap_or_default(), &id);
        self.request.clear();
        self.request.begin(DESTROY, ACK, &header);
        match self.socket.transact(&mut self.request) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(why) => Err(why),
        }
    }
}

/// `family u8 | state u8 | timer u8 | retransmissions u8 | id | ...`.
fn read(message: &Message<'_>) -> Option<Found> {
    let (header, _) = message.parts::<HEADER>()?;
    let [of, _, _, _, rest @ ..] = header;
    Some((of, *rest.first_chunk()?))
}

/// `port u16 | port u16 | local address 16 | remote address 16 | interface u32 | cookie u64`.
fn is_on_both(id: &[u8; ID]) -> bool {
    id.get(4..20) == id.get(20..36)
}

/// The kernel's own filter, of one condition: `code u8 | yes u8 | no u16`, then `family u8 | bits
/// u8 | padding u16 | port i32 | address`. `yes` jumps to the end, which accepts, `no` beyond it,
/// which refuses (inet_diag_bc_run(), net/ipv4/inet_diag.c). It takes IPv4 in IPv6 for IPv4.
fn filter(ip: IpAddr, side: Side) -> Vec<u8> {
    let code = if side == Side::Local { FILTER_LOCAL } else { FILTER_REMOTE };
    let (of, bits, length) = match ip {
        IpAddr::V4(_) => (libc::AF_INET, 32, 16),
        IpAddr::V6(_) => (libc::AF_INET6, 128, 28),
    };
    let mut filter = vec![code, length];
    filter.extend((u16::from(length) + 4).to_ne_bytes());
    filter.extend([family(of), bits, 0, 0]);
    filter.extend((-1i32).to_ne_bytes());
    match ip {
        IpAddr::V4(ip) => filter.extend(ip.octets()),
        IpAddr::V6(ip) => filter.extend(ip.octets()),
    }
    filter
}

fn fill(bytes: &mut [u8], from: &[u8]) {
    for (byte, value) in bytes.iter_mut().zip(from) {
        *byte = *value;
    }
}

fn family(of: i32) -> u8 {
    u8::try_from(of).unwrap_or_default()
}

fn in_words(why: Errno) -> String {
    let needs = match why {
        Errno::ENOENT => "; the kernel has no tcp_diag (CONFIG_INET_DIAG)",
        Errno::EOPNOTSUPP => "; the kernel was built without CONFIG_INET_DIAG_DESTROY",
        Errno::EPERM => "; needs CAP_NET_ADMIN",
        _ => "",
    };
    format!("{}{needs}", why.desc())
}

#[cfg(test)]
mod tests;
