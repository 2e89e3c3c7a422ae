//! bpf(2), the calls that the guard needs. Numbers and layouts are those of `union bpf_attr`
//! (linux/bpf.h), which only grows at its end: what a kernel does not know must be zero, and what
//! a struct here leaves out counts as zero.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow};

/// One instruction: opcode u8, registers u8, offset i16, value i32 (`struct bpf_insn`).
pub type Instruction = [u8; 8];
/// The name of a program or map, padded with NUL (`BPF_OBJ_NAME_LEN`).
pub type Name = [u8; 16];

const MAP_CREATE: libc::c_int = 0;
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_TEST_RUN: libc::c_int = 10;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const PROG_QUERY: libc::c_int = 16;

const MAP_TYPE_ARRAY: u32 = 2;
const MAP_MMAPABLE: u32 = 1 << 10;
const PROG_TYPE_SCHED_CLS: u32 = 3;
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;
const REPLACE: u32 = 1 << 2;
const BEFORE: u32 = 1 << 3;
/// Programs of one tcx chain at most (`BPF_MPROG_MAX`).
const CHAIN_MAX: usize = 64;
/// A load that a signal interrupts fails with `EAGAIN`, and is begun again so often. Signals are
/// held back, but not all can be: the process may be stopped, or traced.
const LOADS_MAX: u32 = 5;

/// Which way the packets of a chain go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the wire.
    In,
    /// To the wire.
    Out,
}

impl Direction {
    const fn tcx(self) -> u32 {
        match self {
            Self::In => TCX_INGRESS,
            Self::Out => TCX_EGRESS,
        }
    }
}

/// Calls bpf(2) with one struct of `union bpf_attr`.
///
/// # Safety
/// `A` must be `repr(C)` without padding, and be what `command` reads and writes; addresses in it
/// must be valid for what the command does with them.
unsafe fn bpf<A>(command: libc::c_int, attributes: &mut A) -> nix::Result<i32> {
    // SAFETY: the kernel reads and writes no more than the size that it is given.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<A>())
    };
    Errno::result(result).map(|value| i32::try_from(value).unwrap_or(i32::MAX))
}

/// The same for commands that return a new descriptor; it is close-on-exec.
///
/// # Safety
/// As for [`bpf`]; `command` must be one of those.
unsafe fn bpf_fd<A>(command: libc::c_int, attributes: &mut A) -> nix::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bpf(command, attributes) }?;
    // SAFETY: the kernel has just opened it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An address as the kernel takes it.
fn address<T>(of: *const T) -> u64 {
    u64::try_from(of.addr()).unwrap_or(0)
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}

fn count<T>(of: &[T]) -> u32 {
    u32::try_from(of.len()).unwrap_or(u32::MAX)
}

/// Creates room for `length` u64, all zero, that can be mapped (Linux 5.5). To the kernel it is an
/// array of one value, since only of such a one a program may know the address
/// (array_map_direct_value_addr()).
///
/// # Errors
/// `EPERM` without CAP_BPF (or CAP_SYS_ADMIN) and CAP_NET_ADMIN, `ENOSYS` in a kernel without
/// bpf(2).
pub fn create_array(name: Name, length: usize) -> nix::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        kind: u32,
        key_bytes: u32,
        value_bytes: u32,
        entries: u32,
        flags: u32,
        inner_map: u32,
        numa_node: u32,
        name: Name,
    }
    let mut attributes = Attributes {
        kind: MAP_TYPE_ARRAY,
        key_bytes: 4,
        value_bytes: u32::try_from(length.saturating_mul(size_of::<u64>())).unwrap_or(u32::MAX),
        entries: 1,
        flags: MAP_MMAPABLE,
        inner_map: 0,
        numa_node: 0,
        name,
    };
    // SAFETY: the struct is that of BPF_MAP_CREATE and holds no addresses.
    unsafe { bpf_fd(MAP_CREATE, &mut attributes) }
}

/// Loads a traffic control program. `log`, if it is not empty, gets what the verifier says, up to
/// a NUL.
///
/// # Errors
/// As [`create_array`]; `EINVAL` or `EACCES` when the verifier refuses it.
pub fn load(name: Name, code: &[Instruction], log: &mut [u8]) -> nix::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        kind: u32,
        length: u32,
        code: u64,
        license: u64,
        log_level: u32,
        log_bytes: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: Name,
    }
    // The kernel lets only programs under the GPL, too, ask its routes; LICENSE says so of ours.
    let license = c"Dual MIT/GPL";
    let mut attributes = Attributes {
        kind: PROG_TYPE_SCHED_CLS,
        length: count(code),
        code: address(code.as_ptr()),
        license: address(license.as_ptr()),
        log_level: u32::from(!log.is_empty()),
        log_bytes: count(log),
        log: if log.is_empty() { 0 } else { address(log.as_mut_ptr()) },
        kernel_version: 0,
        flags: 0,
        name,
    };
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let mut result = Err(Errno::EAGAIN);
    for _ in 0..LOADS_MAX {
        // SAFETY: the struct is that of BPF_PROG_LOAD; code, licence and log outlive the call, and
        // the log is ours alone to write.
        result = unsafe { bpf_fd(PROG_LOAD, &mut attributes) };
        if !matches!(result, Err(Errno::EAGAIN)) {
            break;
        }
    }
    mask.thread_set_mask()?;
    result
}

/// What the kernel knows of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Its number, as chains list it.
    pub id: u32,
    /// Its name.
    pub name: Name,
}

/// Asks what a program is.
///
/// # Errors
/// bpf(2).
pub fn info(program: BorrowedFd<'_>) -> nix::Result<ProgramInfo> {
    /// The beginning of `struct bpf_prog_info`.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        tag: [u8; 8],
        lengths: [u32; 2],
        code: [u64; 2],
        loaded_at: u64,
        owner: u32,
        maps: u32,
        map_ids: u64,
        name: Name,
    }
    #[repr(C)]
    struct Attributes {
        fd: u32,
        length: u32,
        info: u64,
    }
    let mut info = Info::default();
    let mut attributes = Attributes {
        fd: number(program),
        length: u32::try_from(size_of::<Info>()).unwrap_or(0),
        info: address(std::ptr::from_mut(&mut info)),
    };
    // SAFETY: the struct is that of BPF_OBJ_GET_INFO_BY_FD; the kernel writes at most `length`
    // bytes to `info`, in which every pattern of bits is valid.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attributes) }?;
    Ok(ProgramInfo { id: info.id, name: info.name })
}

/// Opens a program by its number; the kernel asks for CAP_SYS_ADMIN.
///
/// # Errors
/// `ENOENT`: it is gone.
pub fn by_id(id: u32) -> nix::Result<OwnedFd> {
    let mut attributes = [id, 0, 0];
    // SAFETY: that of BPF_PROG_GET_FD_BY_ID is three u32: id, next id, flags.
    unsafe { bpf_fd(PROG_GET_FD_BY_ID, &mut attributes) }
}

/// The numbers of the programs of a device's tcx chain, the first to run first (Linux 6.6).
///
/// # Errors
/// `EINVAL`: this kernel has no tcx; `ENODEV`: no such device.
pub fn chain(device: u32, direction: Direction) -> nix::Result<Vec<u32>> {
    #[repr(C)]
    struct Attributes {
        device: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        ids: u64,
        length: u32,
        reserved: u32,
        program_flags: u64,
        link_ids: u64,
        link_flags: u64,
        revision: u64,
    }
    let mut ids = vec![0u32; CHAIN_MAX];
    let mut attributes = Attributes {
        device,
        attach_type: direction.tcx(),
        query_flags: 0,
        attach_flags: 0,
        ids: address(ids.as_mut_ptr()),
        length: count(&ids),
        reserved: 0,
        program_flags: 0,
        link_ids: 0,
        link_flags: 0,
        revision: 0,
    };
    // SAFETY: the struct is that of BPF_PROG_QUERY; the kernel writes at most `length` u32 to
    // `ids`.
    unsafe { bpf(PROG_QUERY, &mut attributes) }?;
    ids.truncate(usize::try_from(attributes.length).unwrap_or(0));
    Ok(ids)
}

/// Puts a program into a device's tcx chain: in the place of `old`, else before all others. It
/// stays there when this process ends, until it is detached or the device goes.
///
/// # Errors
/// `EEXIST`: it is there already; `ENOENT`: `old` is not; `ENODEV`.
pub fn attach(
    program: BorrowedFd<'_>,
    device: u32,
    direction: Direction,
    old: Option<BorrowedFd<'_>>,
) -> nix::Result<()> {
    let mut attributes = Attach {
        device,
        program: number(program),
        attach_type: direction.tcx(),
        flags: if old.is_some() { REPLACE } else { BEFORE },
        replaced: old.map_or(0, number),
        relative: 0,
        revision: 0,
    };
    // SAFETY: the struct is that of BPF_PROG_ATTACH and holds no addresses.
    unsafe { bpf(PROG_ATTACH, &mut attributes) }.map(drop)
}

/// Takes a program out of a device's tcx chain.
///
/// # Errors
/// `ENOENT`: it is not there; `ENODEV`.
pub fn detach(program: BorrowedFd<'_>, device: u32, direction: Direction) -> nix::Result<()> {
    let mut attributes = Attach {
        device,
        program: number(program),
        attach_type: direction.tcx(),
        flags: 0,
        replaced: 0,
        relative: 0,
        revision: 0,
    };
    // SAFETY: the struct is that of BPF_PROG_DETACH and holds no addresses.
    unsafe { bpf(PROG_DETACH, &mut attributes) }.map(drop)
}

#[repr(C)]
struct Attach {
    device: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
    replaced: u32,
    relative: u32,
    revision: u64,
}

/// Runs a program on a made-up frame that went nowhere, `times` times: what it returned, and what
/// one run took in nanoseconds. For tests and measurements.
///
/// # Errors
/// bpf(2); `EINVAL` for a frame shorter than its header.
pub fn run(program: BorrowedFd<'_>, frame: &[u8], times: u32) -> nix::Result<(u32, u32)> {
    #[repr(C)]
    struct Attributes {
        program: u32,
        returned: u32,
        frame_bytes: u32,
        written_bytes: u32,
        frame: u64,
        written: u64,
        times: u32,
        nanos: u32,
        context_bytes: [u32; 2],
        context: [u64; 2],
    }
    let mut attributes = Attributes {
        program: number(program),
        returned: 0,
        frame_bytes: count(frame),
        written_bytes: 0,
        frame: address(frame.as_ptr()),
        written: 0,
        times,
        nanos: 0,
        context_bytes: [0; 2],
        context: [0; 2],
    };
    // SAFETY: the struct is that of BPF_PROG_TEST_RUN; the kernel only reads the frame.
    unsafe { bpf(PROG_TEST_RUN, &mut attributes) }?;
    Ok((attributes.returned, attributes.nanos))
}

/// A name as the kernel takes it: letters, digits, `_` and `.`; what is too long is cut off.
#[must_use]
pub fn name(text: &str) -> Name {
    let mut name = Name::default();
    // The last byte stays NUL.
    for (to, from) in name.iter_mut().take(15).zip(text.bytes()) {
        *to = from;
    }
    name
}

/// A mapped array of [`create_array`]: what is stored there, programs read at once.
#[derive(Debug)]
pub struct MappedArray {
    start: NonNull<AtomicU64>,
    length: usize,
}

// SAFETY: it owns the mapping, and its cells are atomic.
unsafe impl Send for MappedArray {}
// SAFETY: as above.
unsafe impl Sync for MappedArray {}

impl MappedArray {
    /// Maps the first `length` cells. The mapping keeps the array alive.
    ///
    /// # Errors
    /// mmap(2); `EINVAL` when the array is shorter.
    pub fn new(array: BorrowedFd<'_>, length: usize) -> nix::Result<Self> {
        let bytes = length.saturating_mul(size_of::<AtomicU64>());
        // SAFETY: a new mapping at a place that the kernel chooses disturbs nothing.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                array.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        NonNull::new(start.cast()).map(|start| Self { start, length }).ok_or(Errno::ENOMEM)
    }

    /// One cell, if there are that many.
    #[must_use]
    pub fn cell(&self, at: usize) -> Option<&AtomicU64> {
        // SAFETY: the mapping has `length` cells, begins on a page, and lives as long as `self`;
        // the kernel, too, reads them only whole.
        (at < self.length).then(|| unsafe { self.start.add(at).as_ref() })
    }
}

impl Drop for MappedArray {
    fn drop(&mut self) {
        let bytes = self.length.saturating_mul(size_of::<AtomicU64>());
        // SAFETY: this mapping is ours, and no reference to a cell outlives us.
        unsafe { libc::munmap(self.start.as_ptr().cast(), bytes) };
    }
}
