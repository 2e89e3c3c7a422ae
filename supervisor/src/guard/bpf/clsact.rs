//! The chains of kernels before 6.6: the `clsact` queueing discipline, which queues nothing, and
//! filters of the kind `bpf` on it (tc-bpf(8); net/sched/cls_bpf.c, sch_ingress.c).
//!
//! The discipline stays when the guard is removed: others may have their filters on it.

use nix::errno::Errno;

use super::chain::{Entry, Program};
use crate::netlink::{ACK, Attributes, CREATE, DUMP, Message, Request, Socket, text};
use crate::sys::bpf::{Direction, Name, name};

// linux/rtnetlink.h.
const GET_LINK: u16 = 18; // RTM_GETLINK
const NEW_QDISC: u16 = 36; // RTM_NEWQDISC
const NEW_FILTER: u16 = 44; // RTM_NEWTFILTER
const DELETE_FILTER: u16 = 45; // RTM_DELTFILTER
const GET_FILTER: u16 = 46; // RTM_GETTFILTER
const KIND: u16 = 1; // TCA_KIND
const OPTIONS: u16 = 2; // TCA_OPTIONS

// linux/pkt_cls.h.
const BPF_FD: u16 = 6; // TCA_BPF_FD
const BPF_NAME: u16 = 7; // TCA_BPF_NAME
const BPF_FLAGS: u16 = 8; // TCA_BPF_FLAGS
const BPF_ID: u16 = 11; // TCA_BPF_ID
/// What the program returns is the verdict (`TCA_BPF_FLAG_ACT_DIRECT`).
const DIRECT: u32 = 1;

// linux/pkt_sched.h.
const CLSACT: u32 = 0xffff_fff1; // TC_H_CLSACT
const CLSACT_HANDLE: u32 = 0xffff_0000;
const IN: u32 = 0xffff_fff2; // TC_H_MIN_INGRESS
const OUT: u32 = 0xffff_fff3; // TC_H_MIN_EGRESS

/// Filters of the lowest number run first, and of these the newest.
const PRIORITY: u32 = 1;
/// All protocols (`ETH_P_ALL`), in network byte order.
const ALL_PROTOCOLS: u16 = u16::from_ne_bytes([0, 3]);

/// `struct tcmsg`: family, padding, device, handle, parent, priority and protocol.
fn header(device: u32, handle: u32, parent: u32, info: u32) -> [u8; 20] {
    let mut bytes = [0; 20];
    let fields = [0, device, handle, parent, info];
    for (to, field) in bytes.chunks_exact_mut(4).zip(fields) {
        to.copy_from_slice(&field.to_ne_bytes());
    }
    bytes
}

const fn parent(direction: Direction) -> u32 {
    match direction {
        Direction::In => IN,
        Direction::Out => OUT,
    }
}

fn info() -> u32 {
    PRIORITY << 16 | u32::from(ALL_PROTOCOLS)
}

/// The filters of a device, the first to run first.
pub(super) fn list(
    socket: &mut Socket,
    program: &Program,
    device: u32,
    direction: Direction,
) -> Result<Vec<Entry>, Errno> {
    let mut request = Request::new();
    request.begin(GET_FILTER, DUMP, &header(device, 0, parent(direction), 0));
    let mut entries = Vec::new();
    socket.query(&mut request, &mut |message| entries.extend(entry(program, &message)))?;
    if entries.is_empty() {
        // No filters, or no device: the dump does not tell.
        request.clear();
        let mut link = [0; 16]; // struct ifinfomsg: family, type, index, flags, change
        link[4..8].copy_from_slice(&device.to_ne_bytes());
        request.begin(GET_LINK, ACK, &link);
        socket.transact(&mut request)?;
    }
    Ok(entries)
}

/// One filter; the message that opens a list of filters has no handle.
fn entry(program: &Program, message: &Message<'_>) -> Option<Entry> {
    let (header, mut attributes) = message.parts::<20>()?;
    let [.., h1, h2, h3, h4, _, _, _, _, i1, i2, i3, i4] = header;
    let handle = u32::from_ne_bytes([h1, h2, h3, h4]);
    if handle == 0 {
        return None;
    }
    let (mut id, mut called) = (0, Name::default());
    // Others may have filters of another priority or kind; only ours have a key.
    if u32::from_ne_bytes([i1, i2, i3, i4]) == info()
        && let Some((_, options)) = attributes.find(|(kind, _)| *kind == OPTIONS)
    {
        for (kind, value) in Attributes(options) {
            match (kind, value.first_chunk()) {
                (BPF_ID, Some(bytes)) => id = u32::from_ne_bytes(*bytes),
                (BPF_NAME, _) => called = name(text(value).unwrap_or_default()),
                _ => {}
            }
        }
    }
    Some(Entry { owner: program.owner(id, called), key: handle })
}

/// Adds a filter before all others, or exchanges the program of the filter `handle`.
///
/// `EINVAL`: somebody has the discipline `ingress` on the device, or a filter of our priority that
/// is of another kind or for one protocol only.
pub(super) fn put(
    socket: &mut Socket,
    program: i32,
    called: &Name,
    device: u32,
    direction: Direction,
    handle: Option<u32>,
) -> Result<(), Errno> {
    let mut request = Request::new();
    // Not exclusive: then the kernel compares the kind of what is there. The discipline `ingress`
    // has the same place, and takes filters of both directions for those of its only one.
    request.begin(NEW_QDISC, CREATE | ACK, &header(device, CLSACT_HANDLE, CLSACT, 0));
    request.text(KIND, "clsact");
    socket.transact(&mut request)?;
    request.clear();
    let header = header(device, handle.unwrap_or(0), parent(direction), info());
    request.begin(NEW_FILTER, CREATE | ACK, &header).text(KIND, "bpf").nest(OPTIONS, |options| {
        options
            .attribute(BPF_FD, &program.to_ne_bytes())
            .text(BPF_NAME, text(called).unwrap_or_default())
            .attribute(BPF_FLAGS, &DIRECT.to_ne_bytes());
    });
    socket.transact(&mut request)
}

/// Takes the filter `handle` away.
pub(super) fn delete(
    socket: &mut Socket,
    device: u32,
    direction: Direction,
    handle: u32,
) -> Result<(), Errno> {
    let mut request = Request::new();
    request.begin(DELETE_FILTER, ACK, &header(device, handle, parent(direction), info()));
    request.text(KIND, "bpf");
    socket.transact(&mut request)
}
