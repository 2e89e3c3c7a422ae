//! Requests to the BMC through the kernel's driver (linux/ipmi.h;
//! Documentation/driver-api/ipmi.rst); `nix` has no wrapper for them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct ipmi_system_interface_addr`: the BMC itself, with a logical unit.
#[repr(C)]
struct Address {
    kind: libc::c_int,
    channel: libc::c_short,
    unit: u8,
}

const _: () = assert!(size_of::<Address>() == 8);

/// `struct ipmi_msg`.
#[repr(C)]
struct Message {
    function: u8,
    command: u8,
    data_bytes: u16,
    data: *mut u8,
}

/// `struct ipmi_req`.
#[repr(C)]
struct Request {
    address: *mut Address,
    address_bytes: libc::c_uint,
    id: libc::c_long,
    message: Message,
}

/// `struct ipmi_recv`.
#[repr(C)]
struct Received {
    kind: libc::c_int,
    address: *mut [u8; ADDRESS_BYTES],
    address_bytes: libc::c_uint,
    id: libc::c_long,
    message: Message,
}

// Declared as a read, and read from by the kernel.
nix::ioctl_read!(send_command, b'i', 13, Request);
nix::ioctl_readwrite!(receive_truncated, b'i', 11, Received);

/// `IPMI_SYSTEM_INTERFACE_ADDR_TYPE` and `IPMI_BMC_CHANNEL`.
const SYSTEM_INTERFACE: libc::c_int = 0x0c;
const BMC_CHANNEL: libc::c_short = 0xf;
/// `IPMI_RESPONSE_RECV_TYPE`.
const RESPONSE: libc::c_int = 1;
/// `struct ipmi_addr`.
const ADDRESS_BYTES: usize = 40;
/// `IPMI_MAX_MSG_LENGTH`, linux/ipmi_msgdefs.h.
const MESSAGE_BYTES: usize = 272;

/// Hands a request to the driver, which does not wait for the BMC.
///
/// # Errors
/// What the driver says; `EINVAL` for data of more than [`MESSAGE_BYTES`].
pub(crate) fn send(
    bmc: BorrowedFd<'_>,
    id: libc::c_long,
    unit: u8,
    [function, command]: [u8; 2],
    data: &[u8],
) -> io::Result<()> {
    let mut copy = [0; MESSAGE_BYTES];
    let room = copy.get_mut(..data.len()).ok_or(io::ErrorKind::InvalidInput)?;
    room.copy_from_slice(data);
    let data_bytes = u16::try_from(data.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut address = Address { kind: SYSTEM_INTERFACE, channel: BMC_CHANNEL, unit };
    let mut request = Request {
        address: &raw mut address,
        address_bytes: 8,
        id,
        message: Message { function, command, data_bytes, data: copy.as_mut_ptr() },
    };
    // SAFETY: the kernel reads one `ipmi_req`, which `request` is, `address_bytes` at `address` and
    // `data_bytes` at `data`, and writes nothing. All three are that long and outlive the call.
    unsafe { send_command(bmc.as_raw_fd(), &raw mut request) }?;
    Ok(())
}

/// Takes the next message: the number of its request, and its bytes from the completion code on.
/// `None` for one that answers no request.
///
/// # Errors
/// `EAGAIN` when none waits, `EMSGSIZE` for one that is longer than any of the specification.
pub(crate) fn receive(bmc: BorrowedFd<'_>) -> io::Result<Option<(libc::c_long, Vec<u8>)>> {
    let mut address = [0; ADDRESS_BYTES];
    let mut data = vec![0; MESSAGE_BYTES];
    let mut received = Received {
        kind: 0,
        address: &raw mut address,
        address_bytes: 40,
        id: 0,
        message: Message { function: 0, command: 0, data_bytes: 272, data: data.as_mut_ptr() },
    };
    // SAFETY: the kernel reads and writes one `ipmi_recv`, which `received` is, and writes at most
    // `address_bytes` at `address` and `data_bytes` at `data`. All three are that long and outlive
    // the call.
    unsafe { receive_truncated(bmc.as_raw_fd(), &raw mut received) }?;
    data.truncate(received.message.data_bytes.into());
    Ok((received.kind == RESPONSE).then_some((received.id, data)))
}
