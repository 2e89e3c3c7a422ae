//! The calls on an open watchdog device (linux/watchdog.h,
//! Documentation/watchdog/watchdog-api.rst); `nix` has no wrapper for them.

use std::os::fd::{AsRawFd, BorrowedFd};

/// What the driver says of itself (`struct watchdog_info`, linux/watchdog.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    /// What it can do: bits of [`crate::watchdog::device`].
    pub(crate) options: u32,
    /// The device's firmware.
    pub(crate) firmware: u32,
    /// Its name, ended by a zero byte unless it is as long as this.
    pub(crate) identity: [u8; 32],
}

mod raw {
    use super::Info;

    nix::ioctl_read!(support, b'W', 0, Info);
    nix::ioctl_read!(status, b'W', 1, libc::c_int);
    nix::ioctl_read!(bootstatus, b'W', 2, libc::c_int);
    nix::ioctl_read!(temperature, b'W', 3, libc::c_int);
    // Declared as a read, and read from by the kernel.
    nix::ioctl_read!(set_options, b'W', 4, libc::c_int);
    nix::ioctl_readwrite!(set_timeout, b'W', 6, libc::c_int);
    nix::ioctl_read!(timeout, b'W', 7, libc::c_int);
    nix::ioctl_readwrite!(set_pretimeout, b'W', 8, libc::c_int);
    nix::ioctl_read!(pretimeout, b'W', 9, libc::c_int);
    nix::ioctl_read!(timeleft, b'W', 10, libc::c_int);
}

/// A number that a driver gives, takes, or takes and gives back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    /// `WDIOC_GETSTATUS`: bits.
    Status,
    /// `WDIOC_GETBOOTSTATUS`: bits.
    Bootstatus,
    /// `WDIOC_GETTEMP`: degrees Fahrenheit.
    Temperature,
    /// `WDIOC_SETOPTIONS`: bits.
    SetOptions,
    /// `WDIOC_SETTIMEOUT`: seconds.
    SetTimeout,
    /// `WDIOC_GETTIMEOUT`: seconds.
    Timeout,
    /// `WDIOC_SETPRETIMEOUT`: seconds before the end.
    SetPretimeout,
    /// `WDIOC_GETPRETIMEOUT`: seconds before the end.
    Pretimeout,
    /// `WDIOC_GETTIMELEFT`: seconds.
    Timeleft,
}

/// What the driver says of itself.
///
/// # Errors
/// What the driver says; `ENOTTY` where the descriptor is of no watchdog.
pub(crate) fn support(fd: BorrowedFd<'_>) -> nix::Result<Info> {
    let mut info = Info::default();
    // SAFETY: the kernel writes one `watchdog_info`; `info` is one and outlives the call.
    unsafe { raw::support(fd.as_raw_fd(), &raw mut info) }?;
    Ok(info)
}

/// Gives a number to the driver where it takes one, and reads one.
///
/// # Errors
/// What the driver says: `EINVAL` for a number that it cannot take, `EOPNOTSUPP` or `ENOTTY` for a
/// call that it does not know.
pub(crate) fn number(fd: BorrowedFd<'_>, what: Number, given: i32) -> nix::Result<i32> {
    let fd = fd.as_raw_fd();
    let mut number: libc::c_int = given;
    let number_at = &raw mut number;
    // SAFETY: each of these calls reads and writes at most one int; `number` is one and outlives
    // the call.
    unsafe {
        match what {
            Number::Status => raw::status(fd, number_at),
            Number::Bootstatus => raw::bootstatus(fd, number_at),
            Number::Temperature => raw::temperature(fd, number_at),
            Number::SetOptions => raw::set_options(fd, number_at),
            Number::SetTimeout => raw::set_timeout(fd, number_at),
            Number::Timeout => raw::timeout(fd, number_at),
            Number::SetPretimeout => raw::set_pretimeout(fd, number_at),
            Number::Pretimeout => raw::pretimeout(fd, number_at),
            Number::Timeleft => raw::timeleft(fd, number_at),
        }
    }?;
    Ok(number)
}
