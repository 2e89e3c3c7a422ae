//! What the targets of a mapped device say of themselves (linux/dm-ioctl.h).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct dm_ioctl`, linux/dm-ioctl.h.
#[repr(C)]
struct Head {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event: u32,
    padding: u32,
    device: u64,
    name: [u8; NAME_BYTES],
    uuid: [u8; 129],
    data: [u8; 7],
}

nix::ioctl_readwrite!(table_status, 0xfd, 12, Head);

/// `DM_NAME_LEN`: a name with its final zero.
const NAME_BYTES: usize = 128;

/// The oldest minor version: the kernel refuses one that is later than its own.
const VERSION: [u32; 3] = [4, 0, 0];

/// `DM_SUSPEND_FLAG`.
const SUSPENDED: u32 = 1 << 1;
/// `DM_BUFFER_FULL_FLAG`.
const BUFFER_FULL: u32 = 1 << 8;
/// `DM_NOFLUSH_FLAG`: a pool must not write its metadata for a question.
const NO_FLUSH: u32 = 1 << 11;

/// Bytes of an answer at most; a path takes about 20.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// A question with room for its answer; the kernel puts that on a boundary of 8 bytes.
#[repr(C, align(8))]
struct Question {
    head: Head,
    answer: [u8; ANSWER_BYTES_MAX],
}

/// What the kernel says of a mapped device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Whether no I/O passes.
    pub(crate) is_suspended: bool,
    /// How many targets it has.
    pub(crate) targets: u32,
    /// A `struct dm_target_spec` with its text for each of them.
    pub(crate) specs: Vec<u8>,
}

/// Asks for the status of all targets of the device of this name (`DM_TABLE_STATUS`).
///
/// # Errors
/// What the kernel says: `EACCES` without `CAP_SYS_ADMIN`, `ENXIO` if there is no such device;
/// `ENAMETOOLONG` for what can be no name, `EMSGSIZE` for an answer beyond [`ANSWER_BYTES_MAX`].
pub(crate) fn status(control: BorrowedFd<'_>, name: &str) -> io::Result<Answer> {
    let mut question = Box::new(Question {
        head: Head {
            version: VERSION,
            data_size: u32::try_from(size_of::<Question>()).unwrap_or(u32::MAX),
            data_start: u32::try_from(size_of::<Head>()).unwrap_or(u32::MAX),
            target_count: 0,
            open_count: 0,
            flags: NO_FLUSH,
            event: 0,
            padding: 0,
            device: 0,
            name: [0; NAME_BYTES],
            uuid: [0; 129],
            data: [0; 7],
        },
        answer: [0; ANSWER_BYTES_MAX],
    });
    if name.len() >= NAME_BYTES {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (byte, source) in question.head.name.iter_mut().zip(name.bytes()) {
        *byte = source;
    }
    // SAFETY: the kernel reads and writes at most `data_size` bytes from the pointer on, all of
    // them integers without a forbidden value; `question` is that long and outlives the call, and
    // the pointer is one to the whole of it. The borrow keeps the descriptor open.
    unsafe { table_status(control.as_raw_fd(), (&raw mut *question).cast()) }?;
    let Question { head, answer } = &*question;
    // The length is that of head and answer together.
    let end = usize::try_from(head.data_size).unwrap_or(0).checked_sub(size_of::<Head>());
    let specs = answer.get(..end.unwrap_or(0));
    if head.flags & BUFFER_FULL != 0 {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    Ok(Answer {
        is_suspended: head.flags & SUSPENDED != 0,
        targets: head.target_count,
        specs: specs.unwrap_or_default().to_vec(),
    })
}
