//! The guard's program: which packets speak for a guarded address, and whether they may pass.
//!
//! There is one for each direction and [`Place`]. A closed guard stops what would make this machine
//! an owner in the eyes of others, and nothing else, so that a standby can still be a client of the
//! address and ask whether somebody has it (RFC 5227, section 2.1.1):
//!
//! | | in: meant for the address | out: said in its name |
//! |---|---|---|
//! | IPv4, IPv6 | destination | source |
//! | ARP | target, unless the sender is the same (an announcement of its owner) | sender |
//! | neighbour discovery | target of a solicitation, whatever its destination | of an advertisement |
//!
//! ```text
//! deadline = that of the guarded address that the packet speaks for; of two, the earlier
//! none, or clock < deadline:  next program     else:  drop
//! ```
//!
//! On other interfaces a packet is dropped only if this machine made it, or if the address is one
//! of this machine's, by the kernel's own routes (`bpf_fib_lookup`, Linux 4.18): containers behind
//! a standby, whose packets it forwards, are clients of the address. Where it does not forward, all
//! that comes for the address is its own. Sockets may speak from an address that has gone (IPv6
//! looks only when they are opened). What has a VLAN tag is judged on the VLAN's interface.
//!
//! The clock is `CLOCK_BOOTTIME` (`bpf_ktime_get_boot_ns`, Linux 5.8), read for such packets only.
//! Addresses are numbers in the instructions, so a packet of others costs a few comparisons; the
//! program is assembled anew with the configuration.
//!
//! What holds:
//! - *Where the header is.* `skb->protocol` and the network header, not offsets into the frame:
//!   the same for Ethernet, VLAN devices and devices without a link header. The kernel has taken a
//!   VLAN tag off before ingress, so tagged frames count on the parent, too, which is no harm: no
//!   address of ours is inside the tag by chance. Doubly tagged ones count on the VLAN device.
//! - *Packets in pieces* (`skb` not linear): the helper reads only the linear part. When it fails,
//!   the header is pulled into it, and the program begins anew, once.
//! - *Too short* for a header that its protocol must have, or no memory to pull it: dropped. The
//!   kernel would drop it as well, or could not read it either.
//! - *Aggregates* (GRO, GSO) have one header for all. *Fragments* each carry the addresses.
//! - *Extension headers* hide a neighbour solicitation. It comes in; the advertisement that
//!   answers it is our kernel's, has none, and is dropped on its way out.
//! - *Packet sockets* send through egress, and are judged by the protocol that the sender names;
//!   they see what comes in before the guard drops it. Whoever can open one could detach us, too.
//! - *Not seen*: XDP programs and AF_XDP, and what the device does without the kernel. What a queue
//!   below holds at the deadline still leaves: the guard is asked before the queue.
//! - ARP for other than Ethernet-sized hardware addresses and IPv4 is passed on.

use std::net::IpAddr;

use super::assembler::{Assembler, If, Label, Register, Size, With};
use crate::guard::{Guarded, Place};
use crate::sys::bpf::{Direction, Instruction};
use Register::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10};

/// Addresses at most; the tests have the kernel's verifier check that many.
pub(super) const ADDRESSES_MAX: usize = 2048;

/// Lets the next program decide (`TCX_NEXT` and `TC_ACT_UNSPEC`).
pub(super) const NEXT: i32 = -1;
/// `TCX_DROP` and `TC_ACT_SHOT`.
pub(super) const DROP: i32 = 2;

const CALL_PULL: i32 = 39; // bpf_skb_pull_data
const CALL_READ: i32 = 68; // bpf_skb_load_bytes_relative
const CALL_ROUTE: i32 = 69; // bpf_fib_lookup
const CALL_CLOCK: i32 = 125; // bpf_ktime_get_boot_ns
/// From the network header (`BPF_HDR_START_NET`).
const FROM_NETWORK: i32 = 1;
/// How much is pulled: a link header and all that is read behind it, with room for tags.
const PULL_BYTES: i32 = 128;

// `struct __sk_buff`.
const SKB_LENGTH: i16 = 0;
const SKB_PROTOCOL: i16 = 16;
const SKB_VLAN: i16 = 20;
/// Where it came in; zero: it was made here.
const SKB_ORIGIN: i16 = 36;
const SKB_INTERFACE: i16 = 40;

// linux/if_ether.h.
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

/// Protocol IPv4, hardware addresses of 6 bytes, addresses of 4 (RFC 826).
const ARP_ETHERNET_IPV4: [u8; 4] = [0x08, 0x00, 6, 4];
const ICMPV6: u32 = 58;
/// RFC 4861, section 4.3.
const SOLICITATION: u32 = 135;
/// RFC 4861, section 4.4.
const ADVERTISEMENT: u32 = 136;

/// What neighbour discovery is about; zero in other packets. Below the IPv6 header on the stack.
const TARGET: i16 = -56;

/// `struct bpf_fib_lookup` on the stack: what is asked of the routes. Below all else there.
const QUESTION: i16 = -128;
const QUESTION_BYTES: i16 = 64;
const QUESTION_INTERFACE: i16 = QUESTION + 8;
const QUESTION_DESTINATION: i16 = QUESTION + 32;
/// What it begins with, of all families (linux/socket.h).
const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 10;
/// Answers of which the first and those between the others say that there is a way on
/// (`BPF_FIB_LKUP_RET_SUCCESS`, `_FWD_DISABLED`, `_FRAG_NEEDED` of linux/bpf.h). Errors are more.
const WAY_ON: i32 = 0;
const NO_WAY: i32 = 5;
const LAST_WAY: i32 = 8;

/// Assembles the program; `array` is the descriptor of the deadlines.
///
/// # Errors
/// When there are too many addresses or groups.
pub(super) fn assemble(
    array: i32,
    guarded: &[Guarded],
    direction: Direction,
    place: Place,
) -> Result<Vec<Instruction>, String> {
    if guarded.len() > ADDRESSES_MAX {
        return Err(format!(
            "{} addresses are too many for a BPF guard; at most {ADDRESSES_MAX}",
            guarded.len()
        ));
    }
    let mut asm = Assembler::default();
    let begin = asm.label();
    let (next, pulling) = (asm.label(), asm.label());
    let (four, arp, six) = (asm.label(), asm.label(), asm.label());
    asm.copy(R6, R1); // the packet
    asm.number(R9, -1); // the earliest deadline: none
    asm.array(R8, array); // the deadlines
    asm.number(R7, 0); // pulled?
    asm.place(begin);
    if place == Place::Other {
        asm.read(R2, Size::Word, R6, SKB_VLAN);
        asm.go_if(R2, If::NotEqual, With::Number(0), next);
    }
    asm.read(R2, Size::Word, R6, SKB_PROTOCOL);
    for (protocol, place) in [(IPV4, four), (ARP, arp), (IPV6, six)] {
        // The kernel keeps the two bytes as they are on the wire.
        let bits = u32::from(u16::from_ne_bytes(protocol.to_be_bytes()));
        asm.go_if(R2, If::Equal, With::Low(bits), place);
    }
    asm.place(next);
    asm.exit(NEXT);
    pull(&mut asm, pulling, begin);
    let (compare, ends) = (asm.label(), asm.label());
    asm.place(arp);
    read_arp(&mut asm, pulling, direction, next);
    asm.go(compare);
    asm.place(four);
    read_ipv4(&mut asm, pulling, direction);
    asm.place(compare);
    clear(&mut asm, FAMILY_IPV4);
    compare_ipv4(&mut asm, guarded)?;
    verdict(&mut asm, direction, place);
    asm.place(six);
    clear(&mut asm, FAMILY_IPV6);
    read_ipv6(&mut asm, pulling, direction, ends);
    compare_ipv6(&mut asm, guarded, TARGET)?;
    asm.place(ends);
    let end = match direction {
        Direction::In => -16,  // destination
        Direction::Out => -32, // source
    };
    compare_ipv6(&mut asm, guarded, end)?;
    verdict(&mut asm, direction, place);
    asm.finish().ok_or_else(|| String::from("the BPF guard's program has a jump too far"))
}

/// A header is not in the linear part: pulls it there and begins anew, but only once.
fn pull(asm: &mut Assembler, here: Label, begin: Label) {
    let (shorter, drop) = (asm.label(), asm.label());
    asm.place(here);
    asm.go_if(R7, If::NotEqual, With::Number(0), drop);
    asm.number(R7, 1);
    asm.read(R2, Size::Word, R6, SKB_LENGTH);
    asm.go_if(R2, If::AtMost, With::Number(PULL_BYTES), shorter);
    asm.number(R2, PULL_BYTES); // more than there is cannot be pulled
    asm.place(shorter);
    asm.copy(R1, R6);
    asm.call(CALL_PULL);
    asm.go(begin);
    asm.place(drop);
    asm.exit(DROP);
}

/// Copies `length` bytes at `from` of the network header to `to` on the stack.
fn read(asm: &mut Assembler, pulling: Label, from: i32, to: i16, length: i32) {
    asm.copy(R1, R6);
    asm.number(R2, from);
    asm.copy(R3, R10);
    asm.add(R3, i32::from(to));
    asm.number(R4, length);
    asm.number(R5, FROM_NETWORK);
    asm.call(CALL_READ);
    asm.go_if(R0, If::NotEqual, With::Number(0), pulling);
}

/// R2 = the address that the packet speaks for.
fn read_arp(asm: &mut Assembler, pulling: Label, direction: Direction, next: Label) {
    // Protocol, lengths, operation, sender's addresses; then the target's address.
    read(asm, pulling, 2, -16, 16);
    asm.read(R1, Size::Word, R10, -16);
    let ours = u32::from_ne_bytes(ARP_ETHERNET_IPV4);
    asm.go_if(R1, If::NotEqual, With::Low(ours), next);
    read(asm, pulling, 24, -24, 4);
    asm.read(R2, Size::Word, R10, -4);
    if direction == Direction::In {
        asm.read(R1, Size::Word, R10, -24);
        asm.go_if(R1, If::Equal, With::Register(R2), next);
        asm.copy(R2, R1);
    }
}

/// The same.
fn read_ipv4(asm: &mut Assembler, pulling: Label, direction: Direction) {
    let from = match direction {
        Direction::In => 16,
        Direction::Out => 12,
    };
    read(asm, pulling, from, -8, 4);
    asm.read(R2, Size::Word, R10, -8);
}

/// An empty question of that family: address zero, any source, and no length.
fn clear(asm: &mut Assembler, family: u8) {
    asm.bytes(R1, [family, 0, 0, 0, 0, 0, 0, 0]);
    asm.write(Size::Double, R10, QUESTION, R1);
    asm.number(R1, 0);
    for at in (8..QUESTION_BYTES).step_by(8) {
        asm.write(Size::Double, R10, QUESTION + at, R1);
    }
}

/// R9 = the deadline of the address in R2, if it is guarded; then it is in the question, too.
fn compare_ipv4(asm: &mut Assembler, guarded: &[Guarded]) -> Result<(), String> {
    if !guarded.iter().any(|address| address.ip.is_ipv4()) {
        return Ok(()); // the verifier takes nothing that is never reached
    }
    let (found, done) = (asm.label(), asm.label());
    for address in guarded {
        let IpAddr::V4(ip) = address.ip else { continue };
        let other = asm.label();
        let bits = With::Low(u32::from_ne_bytes(ip.octets()));
        asm.go_if(R2, If::NotEqual, bits, other);
        asm.read(R9, Size::Double, R8, cell(address)?);
        asm.go(found);
        asm.place(other);
    }
    asm.go(done);
    asm.place(found);
    asm.write(Size::Word, R10, QUESTION_DESTINATION, R2);
    asm.place(done);
    Ok(())
}

/// The fixed header to the stack at -40, and for neighbour discovery the target at -56.
fn read_ipv6(asm: &mut Assembler, pulling: Label, direction: Direction, ends: Label) {
    read(asm, pulling, 0, -40, 40);
    asm.read(R1, Size::Byte, R10, -34); // next header
    asm.go_if(R1, If::NotEqual, With::Low(ICMPV6), ends);
    read(asm, pulling, 40, -64, 1);
    asm.read(R1, Size::Byte, R10, -64);
    let kind = match direction {
        Direction::In => SOLICITATION,
        Direction::Out => ADVERTISEMENT,
    };
    asm.go_if(R1, If::NotEqual, With::Low(kind), ends);
    read(asm, pulling, 48, TARGET, 16);
}

/// R9 = the earlier of R9 and the deadline of the address at `at` on the stack, if it is guarded;
/// the address of the earlier is in the question, too.
fn compare_ipv6(asm: &mut Assembler, guarded: &[Guarded], at: i16) -> Result<(), String> {
    if !guarded.iter().any(|address| address.ip.is_ipv6()) {
        return Ok(());
    }
    let (found, done) = (asm.label(), asm.label());
    asm.read(R4, Size::Double, R10, at);
    asm.read(R5, Size::Double, R10, at + 8);
    for address in guarded {
        let IpAddr::V6(ip) = address.ip else { continue };
        let other = asm.label();
        let [high, low] = halves(ip.octets());
        asm.bytes(R1, high);
        asm.go_if(R4, If::NotEqual, With::Register(R1), other);
        asm.bytes(R2, low);
        asm.go_if(R5, If::NotEqual, With::Register(R2), other);
        asm.read(R3, Size::Double, R8, cell(address)?);
        asm.go(found);
        asm.place(other);
    }
    asm.go(done);
    asm.place(found);
    asm.go_if(R3, If::AtLeast, With::Register(R9), done);
    asm.copy(R9, R3);
    asm.write(Size::Double, R10, QUESTION_DESTINATION, R4);
    asm.write(Size::Double, R10, QUESTION_DESTINATION + 8, R5);
    asm.place(done);
    Ok(())
}

fn halves(octets: [u8; 16]) -> [[u8; 8]; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
    [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]]
}

/// Where the deadline of an address is. Always read as 64 bits at once: never half of an old one
/// and half of a new one.
fn cell(address: &Guarded) -> Result<i16, String> {
    let slot = address.slot.0;
    let offset = slot.checked_mul(8).and_then(|offset| i16::try_from(offset).ok());
    offset.ok_or_else(|| format!("group {slot} is one too many for a BPF guard"))
}

/// Passes on unless the deadline in R9 has come.
fn verdict(asm: &mut Assembler, direction: Direction, place: Place) {
    let (next, drop) = (asm.label(), asm.label());
    asm.go_if(R9, If::Equal, With::Number(-1), next);
    asm.call(CALL_CLOCK);
    asm.go_if(R0, If::AtLeast, With::Register(R9), drop);
    asm.place(next);
    asm.exit(NEXT);
    asm.place(drop);
    if place == Place::Other {
        let mine = asm.label();
        if direction == Direction::Out {
            asm.read(R1, Size::Word, R6, SKB_ORIGIN);
            asm.go_if(R1, If::Equal, With::Number(0), mine);
        }
        asm.read(R1, Size::Word, R6, SKB_INTERFACE);
        asm.write(Size::Word, R10, QUESTION_INTERFACE, R1);
        asm.copy(R1, R6);
        asm.copy(R2, R10);
        asm.add(R2, i32::from(QUESTION));
        asm.number(R3, i32::from(QUESTION_BYTES));
        asm.number(R4, 0);
        asm.call(CALL_ROUTE);
        asm.go_if(R0, If::Equal, With::Number(WAY_ON), next);
        asm.go_if(R0, If::AtMost, With::Number(NO_WAY), mine);
        asm.go_if(R0, If::AtMost, With::Number(LAST_WAY), next);
        asm.place(mine);
    }
    asm.exit(DROP);
}
