//! Datagrams by the dozen, and a socket filter in the kernel's classic BPF. nix has recvmmsg(2) and
//! sendmmsg(2), too; its result of a sendmmsg reads addresses that nobody wrote, and its headers
//! cannot move to another thread.

use std::fmt;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// Datagrams of one call at most. A node hears a few in a turn; a witness of 10,000 pairs one every
/// 5 µs, and beyond some dozens the calls are no longer what costs.
pub const BATCH: usize = 64;

/// Where a datagram came from or goes to, in the kernel's form; `NONE` where the socket is
/// connected.
///
/// The address is a `sockaddr_in6`, which is long enough for both families: what IPv6 calls the
/// flow label is where `sockaddr_in` has the address (ip(7), ipv6(7)); family and port are at the
/// same place. Beside it is the address of ours that the datagram came to, so that the answer can
/// come from there.
#[derive(Clone, Copy)]
pub struct Name {
    address: libc::sockaddr_in6,
    local: Control,
    /// Bytes of `local`.
    local_len: usize,
}

/// `IPV6_PKTINFO`, or `IP_PKTINFO`, whose three numbers are where the other has its address (ip(7),
/// ipv6(7)). The same bytes say where something came to, and where something is to come from.
#[derive(Clone, Copy)]
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    info: libc::in6_pktinfo,
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => address.fmt(f),
            None => f.write_str("nobody"),
        }
    }
}

impl Name {
    /// No address.
    pub const NONE: Self = Self {
        address: libc::sockaddr_in6 {
            sin6_family: 0, // AF_UNSPEC
            sin6_port: 0,
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
            sin6_scope_id: 0,
        },
        // SAFETY: integers only.
        local: unsafe { zeroed() },
        local_len: 0,
    };

    /// Makes "it came to this address, over this interface" into "from this address": the way back
    /// is the routing table's business, but where the address alone names no interface.
    fn turn_back(&mut self) {
        let Control { header, info } = &mut self.local;
        let address = &mut info.ipi6_addr.s6_addr;
        match (header.cmsg_level, address) {
            (libc::SOL_IP, [index @ .., _, _, _, _, _, _, _, _, _, _, _, _]) => index.fill(0),
            (_, [0xfe, 0x80..=0xbf, ..]) => {} // link-local
            _ => info.ipi6_ifindex = 0,
        }
    }

    /// How many of its bytes the kernel is to read.
    fn len(&self) -> u32 {
        let len = match i32::from(self.address.sin6_family) {
            libc::AF_INET => size_of::<libc::sockaddr_in>(),
            libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
            _ => 0,
        };
        u32::try_from(len).unwrap_or(0)
    }

    /// As everybody else has it.
    pub fn address(&self) -> Option<SocketAddr> {
        let name = &self.address;
        let port = u16::from_be(name.sin6_port);
        match i32::from(name.sin6_family) {
            libc::AF_INET => {
                let ip = Ipv4Addr::from(name.sin6_flowinfo.to_ne_bytes());
                Some(SocketAddr::new(ip.into(), port))
            }
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id).into())
            }
            _ => None,
        }
    }
}

impl From<SocketAddr> for Name {
    fn from(address: SocketAddr) -> Self {
        let family = |family: i32| libc::sa_family_t::try_from(family).unwrap_or(0);
        let mut name = Self::NONE.address;
        name.sin6_port = address.port().to_be();
        match address {
            SocketAddr::V4(at) => {
                name.sin6_family = family(libc::AF_INET);
                name.sin6_flowinfo = u32::from_ne_bytes(at.ip().octets());
            }
            SocketAddr::V6(at) => {
                name.sin6_family = family(libc::AF_INET6);
                name.sin6_flowinfo = at.flowinfo();
                name.sin6_addr.s6_addr = at.ip().octets();
                name.sin6_scope_id = at.scope_id();
            }
        }
        Self { address: name, ..Self::NONE }
    }
}

/// Takes datagrams without waiting, each into its room, with its sender's name; calls `taken` for
/// each with its length. One that is longer than its room is cut off (recvmmsg(2)).
///
/// # Errors
/// recvmmsg(2): `EAGAIN` when there is none, otherwise what came by ICMP.
pub fn receive<const ROOM: usize>(
    socket: BorrowedFd<'_>,
    rooms: &mut [[u8; ROOM]; BATCH],
    names: &mut [Name; BATCH],
    mut taken: impl FnMut(usize),
) -> nix::Result<()> {
    let mut vectors = rooms
        .each_mut()
        .map(|room| libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() });
    // SAFETY: an mmsghdr is plain integers and pointers; zeros are "nothing" for each of them.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
    for ((header, vector), name) in headers.iter_mut().zip(&mut vectors).zip(names.iter_mut()) {
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = (&raw mut name.address).cast();
        header.msg_hdr.msg_namelen = NAME_LEN;
        header.msg_hdr.msg_control = (&raw mut name.local).cast();
        header.msg_hdr.msg_controllen = size_of::<Control>();
    }
    // SAFETY: each header points to one vector, that to one room, and to both halves of one name,
    // of the lengths that stand beside the pointers; all of them outlive the call. Every bit
    // pattern is a name.
    let received = Errno::result(unsafe {
        let (fd, none) = (socket.as_raw_fd(), std::ptr::null_mut());
        libc::recvmmsg(fd, headers.as_mut_ptr(), COUNT, libc::MSG_DONTWAIT, none)
    })?;
    let received = usize::try_from(received).unwrap_or(0);
    for (header, name) in headers.iter().zip(names).take(received) {
        name.local_len = header.msg_hdr.msg_controllen;
        name.turn_back();
        taken(usize::try_from(header.msg_len).unwrap_or(0));
    }
    Ok(())
}

/// Sends the messages, each to the name beside it, up to [`BATCH`], without waiting; says how many
/// the kernel took.
///
/// # Errors
/// sendmmsg(2): when not even the first could be sent.
pub fn send<const LENGTH: usize>(
    socket: BorrowedFd<'_>,
    messages: &[[u8; LENGTH]],
    names: &[Name],
) -> nix::Result<usize> {
    // SAFETY: as in `receive`; an iovec, too, is an integer and a pointer.
    let (mut vectors, mut headers): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
        unsafe { zeroed() };
    let mut count: libc::c_uint = 0;
    let slots = vectors.iter_mut().zip(&mut headers);
    for ((vector, header), (message, name)) in slots.zip(messages.iter().zip(names)) {
        // The kernel only reads them: the pointers are `*mut` for recvmsg(2)'s sake.
        vector.iov_base = message.as_ptr().cast_mut().cast();
        vector.iov_len = message.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = (&raw const name.address).cast_mut().cast();
        header.msg_hdr.msg_namelen = name.len();
        header.msg_hdr.msg_control = (&raw const name.local).cast_mut().cast();
        header.msg_hdr.msg_controllen = name.local_len;
        count += 1;
    }
    // SAFETY: the first `count` headers point to one vector each, that to one message, and to both
    // halves of one name, of the lengths that stand beside the pointers; all of them outlive the
    // call, and sendmmsg writes nothing but `msg_len` of the headers.
    let sent = Errno::result(unsafe {
        libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT)
    })?;
    Ok(usize::try_from(sent).unwrap_or(0))
}

#[expect(clippy::cast_possible_truncation, reason = "two constants of two digits")]
const NAME_LEN: u32 = size_of::<libc::sockaddr_in6>() as u32;
#[expect(clippy::cast_possible_truncation, reason = "two constants of two digits")]
const COUNT: libc::c_uint = BATCH as libc::c_uint;

/// Lets a socket take only what `program` returns a length for (socket(7), `SO_ATTACH_FILTER`;
/// linux/Documentation/networking/filter.rst). The rest never reaches its buffer and wakes nobody.
///
/// # Errors
/// `EINVAL` for a program that the kernel does not accept, `ENOMEM`.
pub fn attach_filter(socket: BorrowedFd<'_>, program: &mut [libc::sock_filter]) -> nix::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    let size = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).unwrap_or(0);
    // SAFETY: the option's value is a sock_fprog, of that size, which points to `len`
    // instructions; the kernel copies both before the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size,
        )
    };
    Errno::result(result).map(drop)
}
