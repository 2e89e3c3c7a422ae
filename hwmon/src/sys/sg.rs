//! Commands to a disk through the SCSI layer (scsi/sg.h): those of SCSI, and those of ATA in ATA
//! PASS-THROUGH (16) (SAT-4, 12.2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct sg_io_hdr`, scsi/sg.h.
#[repr(C)]
struct Header {
    interface: libc::c_int,
    direction: libc::c_int,
    command_bytes: u8,
    sense_bytes_max: u8,
    pieces: u16,
    data_bytes: u32,
    data: *mut u8,
    command: *mut u8,
    sense: *mut u8,
    timeout_ms: u32,
    flags: u32,
    pack: libc::c_int,
    user: *mut libc::c_void,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_bytes: u8,
    host_status: u16,
    driver_status: u16,
    residue: libc::c_int,
    duration_ms: u32,
    info: u32,
}

/// `SG_IO`: its number is older than the scheme of the others.
const SG_IO: libc::c_int = 0x2285;

nix::ioctl_readwrite_bad!(sg_io, SG_IO, Header);

const INTERFACE: libc::c_int = b'S' as libc::c_int;
const DIRECTION_NONE: libc::c_int = -1;
const DIRECTION_FROM_DEVICE: libc::c_int = -3;

/// Where it is over, the kernel resets the port: much longer than the prober waits.
const TIMEOUT_MS: u32 = 60_000;

/// Bytes of sense data: a header of 8 and a descriptor of 14 (SAT-4, 12.2.2.6).
pub(crate) const SENSE_BYTES: usize = 32;

/// How a command ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// The SCSI status: 0 good, 2 with sense data.
    pub(crate) status: u8,
    /// Whether the command reached the disk and came back (host_status and driver_status of sg).
    pub(crate) is_delivered: bool,
    /// Bytes that came, of those that were asked for.
    pub(crate) received: usize,
    /// The sense data, zero where the disk sent none.
    pub(crate) sense: [u8; SENSE_BYTES],
}

/// Sends a command of at most 16 bytes, and reads its answer where it has one.
///
/// # Errors
/// `EINVAL` for a command or an answer that is too long. Else what the kernel says: `EPERM` without
/// `CAP_SYS_RAWIO`, `ENOTTY` or `EINVAL` where the descriptor is of nothing that takes such
/// commands, `ENODEV` for a disk that is offline.
pub(crate) fn send(
    disk: BorrowedFd<'_>,
    command: &[u8],
    answer: Option<&mut [u8]>,
) -> io::Result<Ended> {
    let mut sense = [0; SENSE_BYTES];
    let direction = if answer.is_some() { DIRECTION_FROM_DEVICE } else { DIRECTION_NONE };
    let too_long = |_| io::Error::from_raw_os_error(libc::EINVAL);
    let data_bytes = answer.as_ref().map_or(0, |answer| answer.len());
    let command_bytes = u8::try_from(command.len()).map_err(too_long)?;
    let mut header = Header {
        interface: INTERFACE,
        direction,
        command_bytes,
        sense_bytes_max: 32,
        pieces: 0,
        data_bytes: u32::try_from(data_bytes).map_err(too_long)?,
        data: answer.map_or(std::ptr::null_mut(), |answer| answer.as_mut_ptr()),
        command: command.as_ptr().cast_mut(),
        sense: sense.as_mut_ptr(),
        timeout_ms: TIMEOUT_MS,
        flags: 0,
        pack: 0,
        user: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        message_status: 0,
        sense_bytes: 0,
        host_status: 0,
        driver_status: 0,
        residue: 0,
        duration_ms: 0,
        info: 0,
    };
    // SAFETY: the kernel reads and writes one `sg_io_hdr`, which `header` is; it only reads
    // `command_bytes` at `command`, writes at most `sense_bytes_max` at `sense` and at most
    // `data_bytes` at `data`. All three are that long and outlive the call.
    unsafe { sg_io(disk.as_raw_fd(), &raw mut header) }?;
    Ok(Ended {
        status: header.status,
        // DRIVER_SENSE (8) says that there is sense data; Linux 5.14 and later leave it out.
        is_delivered: header.host_status == 0 && matches!(header.driver_status & 0x0f, 0 | 8),
        received: data_bytes.saturating_sub(usize::try_from(header.residue).unwrap_or(0)),
        sense,
    })
}
