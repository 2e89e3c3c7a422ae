//! Administrative commands to an NVMe controller (linux/nvme_ioctl.h); `nix` has no wrapper for
//! them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::Page;

/// `struct nvme_passthru_cmd`, linux/nvme_ioctl.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Command {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    address: u64,
    metadata_bytes: u32,
    data_bytes: u32,
    cdw10: u32,
    cdw11: u32,
    cdw12: u32,
    cdw13: u32,
    cdw14: u32,
    cdw15: u32,
    timeout_ms: u32,
    result: u32,
}

nix::ioctl_readwrite!(admin, b'N', 0x41, Command);

/// Get Log Page (NVM Express Base Specification, 5.16).
const GET_LOG_PAGE: u8 = 0x02;

/// SMART / Health Information (5.16.1.3), 512 bytes: 128 double words, written as one less.
const SMART_LOG: u32 = 0x02 | 127 << 16;

/// The whole controller rather than one of its namespaces.
const ALL_NAMESPACES: u32 = 0xffff_ffff;

/// Reads the health log of a controller.
///
/// # Errors
/// `EACCES` or `EPERM` without `CAP_SYS_ADMIN`; `ENOTTY` where the descriptor is of no controller;
/// `EREMOTEIO` where the controller refuses the command.
pub(crate) fn smart_log(controller: BorrowedFd<'_>) -> io::Result<Page> {
    let mut page = Page([0; 512]);
    let mut command = Command {
        opcode: GET_LOG_PAGE,
        namespace: ALL_NAMESPACES,
        // A u64 in the kernel's interface, whatever the size of a pointer.
        address: page.0.as_mut_ptr().expose_provenance() as u64,
        data_bytes: 512,
        cdw10: SMART_LOG,
        // The kernel's own: where it is over, it resets the whole controller.
        timeout_ms: 0,
        ..Command::default()
    };
    // SAFETY: the kernel reads and writes one `nvme_passthru_cmd`, which `command` is, and writes
    // at most `data_bytes` at `address`: the bytes of `page`, which outlives the call.
    let status = unsafe { admin(controller.as_raw_fd(), &raw mut command) }?;
    // A status of the controller comes back as a positive number.
    if status == 0 { Ok(page) } else { Err(io::Error::from_raw_os_error(libc::EREMOTEIO)) }
}
