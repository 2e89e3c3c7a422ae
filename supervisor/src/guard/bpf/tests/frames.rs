//! The program on made-up frames (`BPF_PROG_TEST_RUN`): each rule, and each thing it leaves alone.

use super::*;

const MINE: &str = "192.0.2.1";
pub(super) const PEER: &str = "192.0.2.2";
const MINE6: &str = "2001:db8::1";
const PEER6: &str = "2001:db8::2";
const GROUP6: &str = "ff02::1:ff00:100";
const NONE: &str = "0.0.0.0";
const NONE6: &str = "::";

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

fn octets(ip: &str) -> Vec<u8> {
    match ip.parse().unwrap() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn ethernet(protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(protocol.to_be_bytes());
    frame.extend(payload);
    frame
}

/// RFC 826: hardware, protocol, lengths, operation, sender, target.
fn arp(operation: u8, sender: &str, target: &str) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, operation];
    packet.extend([2, 0, 0, 0, 0, 2]);
    packet.extend(octets(sender));
    packet.extend([0; 6]);
    packet.extend(octets(target));
    ethernet(0x0806, &packet)
}

pub(super) fn ipv4(source: &str, destination: &str) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(octets(source));
    packet.extend(octets(destination));
    packet.extend([0; 8]);
    ethernet(0x0800, &packet)
}

pub(super) fn ipv6(source: &str, destination: &str, next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], next, 255];
    packet.extend(octets(source));
    packet.extend(octets(destination));
    packet.extend(payload);
    ethernet(0x86dd, &packet)
}

/// RFC 4861, sections 4.3 and 4.4: type, code, checksum, flags, target.
fn discovery(kind: u8, source: &str, destination: &str, target: &str) -> Vec<u8> {
    let mut payload = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    payload.extend(octets(target));
    ipv6(source, destination, 58, &payload)
}

/// Whether a frame passes, inward and outward.
fn passes(wall: &BpfWall, frame: &[u8]) -> (bool, bool) {
    passes_at(wall, Place::Own, frame)
}

fn passes_at(wall: &BpfWall, place: Place, frame: &[u8]) -> (bool, bool) {
    let [own, others] = &wall.programs;
    let programs = if place == Place::Own { own } else { others };
    let [inward, outward] = programs.each_ref().map(|program| {
        match bpf::run(program.fd.as_fd(), frame, 1).unwrap().0.cast_signed() {
            program::NEXT => true,
            program::DROP => false,
            other => panic!("the program returned {other}"),
        }
    });
    (inward, outward)
}

fn built() -> Option<(BpfGate, BpfWall)> {
    permitted(assemble(Form::Tcx, "frames", &addresses()))
}

const BOTH: (bool, bool) = (true, true);
const ONLY_OUT: (bool, bool) = (false, true);
const ONLY_IN: (bool, bool) = (true, false);

#[test]
fn a_closed_guard_stops_what_would_make_this_machine_an_owner() {
    let Some((mut gate, wall)) = built() else { return };
    let cases = [
        ("to the address", ipv4(PEER, FOUR), ONLY_OUT),
        ("from the address", ipv4(FOUR, PEER), ONLY_IN),
        ("from one group's to another's", ipv4(FOUR, SECOND), (false, false)),
        ("ARP: who has it", arp(REQUEST, PEER, FOUR), ONLY_OUT),
        ("ARP: a probe for it", arp(REQUEST, NONE, FOUR), ONLY_OUT),
        ("ARP: it asks", arp(REQUEST, FOUR, PEER), ONLY_IN),
        ("ARP: it is there", arp(REPLY, FOUR, PEER), ONLY_IN),
        ("ARP: it is told", arp(REPLY, PEER, FOUR), ONLY_OUT),
        ("ARP: it is announced", arp(REQUEST, FOUR, FOUR), ONLY_IN),
        ("ARP: it is announced, as a reply", arp(REPLY, FOUR, FOUR), ONLY_IN),
        ("to the IPv6 address", ipv6(PEER6, SIX, 17, &[0; 8]), ONLY_OUT),
        ("from the IPv6 address", ipv6(SIX, PEER6, 17, &[0; 8]), ONLY_IN),
        ("a fragment of it", ipv6(SIX, PEER6, 44, &[0; 8]), ONLY_IN),
        ("NS: who has it", discovery(SOLICITATION, PEER6, GROUP6, SIX), ONLY_OUT),
        ("NS: a probe for it", discovery(SOLICITATION, NONE6, GROUP6, SIX), ONLY_OUT),
        ("NS: it asks", discovery(SOLICITATION, SIX, PEER6, PEER6), ONLY_IN),
        ("NA: it is there", discovery(ADVERTISEMENT, MINE6, PEER6, SIX), ONLY_IN),
        ("NA: it is announced", discovery(ADVERTISEMENT, MINE6, "ff02::1", SIX), ONLY_IN),
    ];
    for (what, frame, closed) in &cases {
        assert_eq!(passes(&wall, frame), *closed, "closed: {what}");
    }
    open(&mut gate, 0, 60_000);
    open(&mut gate, 1, 60_000);
    for (what, frame, _) in &cases {
        assert_eq!(passes(&wall, frame), BOTH, "open: {what}");
    }
    // Two groups in one packet: the one that closes first counts, whichever it is.
    for (target, destination) in [(SIX, SECOND6), (SECOND6, SIX)] {
        let frame = discovery(SOLICITATION, PEER6, destination, target);
        for slot in [0, 1] {
            gate.close(Slot(slot));
            assert_eq!(passes(&wall, &frame), ONLY_OUT, "{target} {slot}");
            open(&mut gate, slot, 60_000);
            assert_eq!(passes(&wall, &frame), BOTH);
        }
    }
    gate.close(Slot(0));
    for (what, frame, closed) in cases {
        let closed = if what.contains("another's") { ONLY_IN } else { closed };
        assert_eq!(passes(&wall, &frame), closed, "closed again: {what}");
    }
}

#[test]
fn what_this_machine_says_is_stopped_on_other_interfaces_too() {
    let Some((mut gate, wall)) = built() else { return };
    // The addresses are none of this machine's, as after they were removed.
    let frames = [ipv4(FOUR, PEER), ipv6(SIX, PEER6, 6, &[0; 20]), arp(REPLY, FOUR, PEER)];
    for frame in &frames {
        assert!(!passes_at(&wall, Place::Other, frame).1);
    }
    open(&mut gate, 0, 60_000);
    for frame in &frames {
        assert_eq!(passes_at(&wall, Place::Other, frame), BOTH);
    }
}

#[test]
fn what_speaks_for_nobody_guarded_always_passes() {
    let Some((_gate, wall)) = built() else { return };
    let mut other_arp = arp(REQUEST, FOUR, FOUR);
    other_arp[18] = 8; // another length of hardware addresses
    for (what, frame) in [
        ("IPv4", ipv4(MINE, PEER)),
        ("an address beside it", ipv4("192.0.2.99", "192.0.2.102")),
        ("ARP", arp(REQUEST, MINE, PEER)),
        ("ARP of another kind", other_arp),
        ("IPv6", ipv6(MINE6, PEER6, 17, &[0; 8])),
        ("half of an IPv6 address", ipv6("2001:db8::99", "2001:db9::100", 17, &[])),
        ("its other half", ipv6("2001:db9::100", "2001:db8::99", 17, &[])),
        ("NS", discovery(SOLICITATION, MINE6, GROUP6, PEER6)),
        ("NA", discovery(ADVERTISEMENT, MINE6, PEER6, MINE6)),
        ("an echo request whose data looks like it", discovery(128, MINE6, PEER6, SIX)),
        ("UDP whose data looks like it", {
            let mut payload = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
            payload.extend(octets(SIX));
            ipv6(MINE6, PEER6, 17, &payload)
        }),
        ("a short echo", ipv6(MINE6, PEER6, 58, &[128, 0, 0, 0])),
        ("ICMPv6 of another kind at the end", ipv6(MINE6, PEER6, 58, &[1])),
        ("LLDP", ethernet(0x88cc, &[0; 46])),
        ("an inner VLAN tag", ethernet(0x8100, &[0; 46])),
        ("nothing at all", ethernet(0x88b5, &[])),
    ] {
        assert_eq!(passes(&wall, &frame), BOTH, "{what}");
    }
}

#[test]
fn a_header_that_is_cut_off_does_not_pass() {
    let Some((mut gate, wall)) = built() else { return };
    open(&mut gate, 0, 60_000);
    let solicitation = discovery(SOLICITATION, MINE6, GROUP6, PEER6);
    for (whole, header) in [
        (ipv4(MINE, PEER), 20),
        (arp(REQUEST, MINE, PEER), 28),
        (ipv6(MINE6, PEER6, 17, &[0; 8]), 40),
        (ipv6(MINE6, PEER6, 58, &[128, 0, 0, 0]), 41),
    ] {
        for length in 0..whole.len() - 14 {
            // The kernel itself refuses to run some of the shortest: nothing to be judged then.
            let Ok((result, _)) =
                bpf::run(wall.programs[0][0].fd.as_fd(), &whole[..14 + length], 1)
            else {
                continue;
            };
            let wanted = if length < header { program::DROP } else { program::NEXT };
            assert_eq!(result.cast_signed(), wanted, "{length} of {header} bytes");
        }
    }
    assert_eq!(passes(&wall, &solicitation), BOTH);
    assert_eq!(passes(&wall, &solicitation[..14 + 63]), ONLY_OUT, "a target that is cut off");
}

#[test]
fn all_addresses_of_the_largest_configuration_are_guarded() {
    let all: Vec<Guarded> = (0..program::ADDRESSES_MAX)
        .map(|at| match at % 2 {
            0 => guarded(at / 32, &format!("10.0.{}.{}", at / 256, at % 256)),
            _ => guarded(at / 32, &format!("2001:db8::{at:x}")),
        })
        .collect();
    for family in [0, 1] {
        let all: Vec<Guarded> = (0..program::ADDRESSES_MAX)
            .map(|at| match family {
                0 => guarded(at / 32, &format!("10.0.{}.{}", at / 256, at % 256)),
                _ => guarded(at / 32, &format!("2001:db8::{at:x}")),
            })
            .collect();
        assert!(permitted(assemble(Form::Tcx, "largest", &all)).is_some() || !is_root());
    }
    let Some((mut gate, wall)) = permitted(assemble(Form::Tcx, "largest", &all)) else { return };
    let last = all.last().unwrap();
    let frame = ipv6(PEER6, &last.ip.to_string(), 17, &[0; 8]);
    assert_eq!(passes(&wall, &frame), ONLY_OUT);
    open(&mut gate, last.slot.0, 60_000);
    assert_eq!(passes(&wall, &frame), BOTH);
    let surplus = [all, vec![guarded(0, FOUR)]].concat();
    let refused = assemble(Form::Tcx, "largest", &surplus).map(drop).unwrap_err();
    assert!(refused.contains("2049 addresses are too many"), "{refused}");
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn a_refused_program_says_what_the_verifier_said() {
    if built().is_none() {
        return;
    }
    // Returns what nobody has written.
    let code = [[0x95, 0, 0, 0, 0, 0, 0, 0]];
    let error = bpf::load(bpf::name("refused"), &code, &mut []).unwrap_err();
    let said = unloaded(bpf::name("refused"), &code, error);
    assert!(said.contains("EACCES") && said.contains("R0 !read_ok"), "{said}");
}
