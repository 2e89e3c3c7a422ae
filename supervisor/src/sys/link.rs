//! Sockets that are tied to one link, below the network layer (packet(7)).

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// Ties a socket of `AF_PACKET` to the link of that number (`ifindex`), without receiving from it:
/// what is sent without an address goes there.
///
/// # Errors
/// bind(2), packet(7): `ENODEV` without such a link.
pub fn bind_to_link(socket: BorrowedFd<'_>, index: i32) -> nix::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).unwrap_or_default(),
        sll_protocol: 0, // no protocol: nothing is received
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = u32::try_from(size_of_val(&address)).unwrap_or_default();
    // SAFETY: the kernel reads `length` bytes, all of them initialized (the structure has no
    // padding), and the borrow keeps the descriptor open.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    Errno::result(result).map(drop)
}
