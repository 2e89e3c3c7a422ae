//! Descriptors that outlive the daemon in the service manager's store (sd_notify(3), `FDSTORE=1`;
//! sd_listen_fds(3); systemd.service(5), `FileDescriptorStoreMax=`).

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socket,
};

use crate::sys::process;

/// The first descriptor that is passed (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;
/// Descriptors that are looked at; the unit's `FileDescriptorStoreMax=` is below it.
const COUNT_MAX: i32 = 64;

/// Takes the descriptor of that name, if a daemon before this one left it. The others are left
/// where they are.
#[must_use]
pub fn inherited(name: &str) -> Option<OwnedFd> {
    let variable = |name: &str| std::env::var(name).ok();
    let pid: u32 = variable("LISTEN_PID")?.parse().ok()?;
    let count: i32 = variable("LISTEN_FDS")?.parse().ok()?;
    if pid != std::process::id() {
        return None;
    }
    let names = variable("LISTEN_FDNAMES")?;
    // The newest one, which comes first: a store may hold several of a name (`LIST_PREPEND`,
    // service_add_fd_store in systemd's service.c).
    let numbers = FIRST..FIRST.saturating_add(count.clamp(0, COUNT_MAX));
    let (number, _) = numbers.zip(names.split(':')).find(|(_, found)| *found == name)?;
    let fd = process::inherited(number);
    // Not for hooks and plugins.
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    Some(fd)
}

/// Leaves a descriptor for the next daemon; without a service manager nothing happens.
///
/// # Errors
/// In words: the next daemon then starts without it.
pub fn keep(name: &str, fd: BorrowedFd<'_>) -> Result<(), String> {
    let fds = [fd.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    tell(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), &rights)
        .map_err(|error| format!("systemd did not take {name} into its store: {error}"))
}

/// Takes a descriptor out of the store, which closes it there; without a service manager nothing
/// happens.
///
/// # Errors
/// In words: it stays there until the unit is stopped.
pub fn forget(name: &str) -> Result<(), String> {
    tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[])
        .map_err(|error| format!("systemd did not take {name} out of its store: {error}"))
}

fn tell(text: &str, rights: &[ControlMessage<'_>]) -> nix::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.as_bytes() {
        [b'@', name @ ..] => UnixAddr::new_abstract(name),
        path => UnixAddr::new(path),
    };
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let text = [IoSlice::new(text.as_bytes())];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg(socket.as_raw_fd(), &text, rights, flags, Some(&address?)).map(drop)
}
