//! Packet sockets (packet(7)): what nix has no words for.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{LinkAddr, SockaddrLike};

/// Where a packet socket sends to, or what it listens to: a protocol (`ETH_P_*`) on an interface.
/// `None` for an index that the kernel cannot have given out.
pub fn link_address(protocol: u16, index: u32) -> Option<LinkAddr> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).ok()?,
        sll_protocol: protocol.to_be(),
        sll_ifindex: i32::try_from(index).ok()?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of_val(&address)).ok()?;
    // SAFETY: `address` is a whole sockaddr_ll of its family, `length` is its size, and it is
    // copied before the call returns.
    unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) }
}

/// Sets an option of a packet socket to a number (`SOL_PACKET`, packet(7)).
///
/// # Errors
/// setsockopt(2); `ENOPROTOOPT` where the kernel does not know the option.
pub fn set_option(socket: impl AsFd, option: i32, value: i32) -> nix::Result<()> {
    set(socket, libc::SOL_PACKET, option, &value)
}

/// Lets a socket receive only what a program of the classic packet filter accepts
/// (`SO_ATTACH_FILTER`, socket(7)); exchanges an earlier program at once.
///
/// # Errors
/// `EINVAL` for a program that is none, or has more than 4096 instructions (`BPF_MAXINSNS`).
pub fn attach_filter(socket: impl AsFd, program: &[libc::sock_filter]) -> nix::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    // The kernel only reads the instructions, and copies them before the call returns.
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// `T` must be what the kernel reads for that option.
fn set<T>(socket: impl AsFd, level: i32, option: i32, value: &T) -> nix::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(|_| Errno::EINVAL)?;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel reads at most `length` bytes behind the pointer, which are those of
    // `value`; for a filter also the instructions that it points to, as many as it says, which the
    // only caller borrows for the call. The borrow keeps the descriptor open.
    let result = unsafe {
        libc::setsockopt(socket, level, option, std::ptr::from_ref(value).cast(), length)
    };
    Errno::result(result).map(drop)
}
