use super::*;

const MINE: Mac = Mac([0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0x01]);
const OTHER: Mac = Mac([0x02, 0x11, 0x22, 0x33, 0x44, 0x55]);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fields, separated by spaces for the reader, and the padding to 60 bytes.
fn wire(fields: &str) -> String {
    let fields: String = fields.split_whitespace().collect();
    format!("{fields:0<120}")
}

/// Generates the same numbers in each run (Knuth's linear congruence).
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).unwrap()
}

fn samples() -> Vec<Frame> {
    let mut all = Vec::new();
    for (floating, from) in [("10.0.0.5", "10.0.0.1"), ("2001:db8::5", "2001:db8::1")] {
        all.extend(Frame::announcements(ip(floating), MINE, true).into_iter().flatten());
        all.push(Frame::probe(ip(floating), MINE));
        all.push(Frame::question(ip(floating), Some(ip(from)), MINE, None));
        all.push(Frame::question(ip(floating), Some(ip(from)), MINE, Some(OTHER)));
    }
    all
}

#[test]
fn an_address_is_announced_by_arp_in_both_forms() {
    let [Some(request), Some(reply)] = Frame::announcements(ip("10.0.0.5"), MINE, true) else {
        panic!("two frames");
    };
    // Destination, source, type; hardware, protocol, lengths, operation; sender; target.
    assert_eq!(
        hex(request.bytes()),
        wire(
            "ffffffffffff 02aabbccdd01 0806 0001 0800 06 04 0001
             02aabbccdd01 0a000005 000000000000 0a000005"
        )
    );
    assert_eq!(
        hex(reply.bytes()),
        wire(
            "ffffffffffff 02aabbccdd01 0806 0001 0800 06 04 0002
             02aabbccdd01 0a000005 02aabbccdd01 0a000005"
        )
    );
}

#[test]
fn an_address_is_announced_by_an_advertisement_to_all_nodes() {
    for (is_router, flags) in [(false, "20"), (true, "a0")] {
        let [Some(frame), None] = Frame::announcements(ip("2001:db8::5"), MINE, is_router) else {
            panic!("one frame");
        };
        // The sums here were computed apart from the code.
        let sum = if is_router { "dfaa" } else { "5fab" };
        assert_eq!(
            hex(frame.bytes()),
            wire(&format!(
                "333300000001 02aabbccdd01 86dd 60000000 0020 3a ff
                 20010db8000000000000000000000005 ff020000000000000000000000000001
                 88 00 {sum} {flags}000000 20010db8000000000000000000000005 02 01 02aabbccdd01"
            ))
        );
    }
}

#[test]
fn a_probe_leaves_no_trace_of_this_machine() {
    let frame = Frame::probe(ip("10.0.0.5"), MINE);
    assert_eq!(
        hex(frame.bytes()),
        wire(
            "ffffffffffff 02aabbccdd01 0806 0001 0800 06 04 0001
             02aabbccdd01 00000000 000000000000 0a000005"
        )
    );
    let frame = Frame::probe(ip("2001:db8::12:3456"), MINE);
    assert_eq!(
        hex(frame.bytes()),
        wire(
            "3333ff123456 02aabbccdd01 86dd 60000000 0018 3a ff
             00000000000000000000000000000000 ff0200000000000000000001ff123456
             87 00 e41e 00000000 20010db8000000000000000000123456"
        )
    );
    // Without an address of its own a question is a probe.
    assert_eq!(
        Frame::question(ip("10.0.0.5"), None, MINE, None),
        Frame::probe(ip("10.0.0.5"), MINE)
    );
    let wrong = Some(ip("2001:db8::1"));
    assert_eq!(
        Frame::question(ip("10.0.0.5"), wrong, MINE, None),
        Frame::probe(ip("10.0.0.5"), MINE)
    );
}

#[test]
fn a_neighbour_is_asked_by_broadcast_or_where_it_was_last() {
    let (asked, from) = (ip("10.0.0.254"), Some(ip("10.0.0.1")));
    for (to, destination) in [(None, "ffffffffffff"), (Some(OTHER), "021122334455")] {
        assert_eq!(
            hex(Frame::question(asked, from, MINE, to).bytes()),
            wire(&format!(
                "{destination} 02aabbccdd01 0806 0001 0800 06 04 0001
                 02aabbccdd01 0a000001 000000000000 0a0000fe"
            ))
        );
    }
    let (asked, from) = (ip("fe80::1"), Some(ip("fe80::2")));
    for (to, destination, dest, sum) in [
        (None, "3333ff000001", "ff0200000000000000000001ff000001", "e120"),
        (Some(OTHER), "021122334455", "fe800000000000000000000000000001", "e0a4"),
    ] {
        assert_eq!(
            hex(Frame::question(asked, from, MINE, to).bytes()),
            wire(&format!(
                "{destination} 02aabbccdd01 86dd 60000000 0020 3a ff
                 fe800000000000000000000000000002 {dest}
                 87 00 {sum} 00000000 fe800000000000000000000000000001 01 01 02aabbccdd01"
            ))
        );
    }
}

#[test]
fn what_is_sent_is_heard() {
    for (floating, from) in [("10.0.0.5", "10.0.0.1"), ("2001:db8::5", "2001:db8::1")] {
        let heard = |said, ip| Some(Heard { said, ip, mac: MINE });
        let (floating, from) = (ip(floating), ip(from));
        for frame in Frame::announcements(floating, MINE, false).into_iter().flatten() {
            assert_eq!(Heard::read(frame.bytes(), false), heard(Said::Claimed, floating));
        }
        let frame = Frame::probe(floating, MINE);
        assert_eq!(Heard::read(frame.bytes(), false), heard(Said::Probed, floating));
        let frame = Frame::question(floating, Some(from), MINE, None);
        assert_eq!(Heard::read(frame.bytes(), false), heard(Said::Claimed, from));
    }
}

#[test]
fn an_answer_is_one_to_this_machine() {
    let answer = arp(MINE, REPLY, (OTHER, [10, 0, 0, 5].into()), (MINE, [10, 0, 0, 1].into()));
    let read = |frame: &Frame, to_us| Heard::read(frame.bytes(), to_us).map(|heard| heard.said);
    assert_eq!(read(&answer, true), Some(Said::Answered));
    assert_eq!(read(&answer, false), Some(Said::Claimed));
    let owner: Ipv6Addr = "2001:db8::5".parse().unwrap();
    let asker: Ipv6Addr = "2001:db8::1".parse().unwrap();
    for (flags, option, dest, to_us, said) in [
        (SOLICITED, true, asker, true, Some(Said::Answered)),
        // Without an option, as it may be in an answer to a unicast question.
        (SOLICITED | OVERRIDE, false, asker, true, Some(Said::Answered)),
        (SOLICITED, true, asker, false, Some(Said::Claimed)),
        (OVERRIDE, true, asker, true, Some(Said::Claimed)),
        // How a probe is answered.
        (OVERRIDE, true, ALL_NODES, false, Some(Said::Claimed)),
        (SOLICITED, true, ALL_NODES, false, None),
    ] {
        let option = option.then_some((TARGET_LINK, OTHER));
        let message = Neighbour { kind: ADVERTISEMENT, flags, target: owner, option };
        let frame = neighbour(MINE, OTHER, owner, dest, &message);
        assert_eq!(read(&frame, to_us), said, "{flags:x} {option:?} {dest}");
        if said.is_some() {
            assert_eq!(Heard::read(frame.bytes(), to_us).unwrap().mac, OTHER);
        }
    }
}

#[test]
fn malformed_frames_say_nothing() {
    let claim = Frame::announcements(ip("10.0.0.5"), MINE, false)[0].unwrap();
    let advertisement = Frame::announcements(ip("2001:db8::5"), MINE, false)[0].unwrap();
    let probe = Frame::probe(ip("2001:db8::5"), MINE);
    for (frame, at, value, why) in [
        (claim, 13, 0x07, "another protocol"),
        (claim, 15, 6, "no Ethernet"),
        (claim, 16, 0x86, "no IPv4"),
        (claim, 18, 8, "longer hardware addresses"),
        (claim, 19, 16, "longer addresses"),
        (claim, 21, 3, "RARP"),
        (claim, 20, 1, "an operation of two bytes"),
        (advertisement, 14, 0x40, "IPv4 inside"),
        (advertisement, 20, 17, "UDP"),
        (advertisement, 20, 44, "a fragment (RFC 6980)"),
        (advertisement, 21, 254, "through a router"),
        (advertisement, 54, 134, "a router's advertisement"),
        (advertisement, 55, 1, "a code"),
        (advertisement, 56, 0, "the sum"),
        (advertisement, 77, 6, "the sum"),
        (advertisement, 79, 0, "an option of no length"),
        (advertisement, 79, 2, "an option that is cut off"),
        (advertisement, 19, 33, "longer than the frame"),
        (advertisement, 19, 23, "shorter than the message"),
        (probe, 53, 4, "a probe to another group"),
    ] {
        let mut bytes = frame.bytes().to_vec();
        assert!(Heard::read(&bytes, false).is_some());
        bytes[at] = value;
        // All but the sum itself are malformed with a right sum, too.
        if frame.protocol == IPV6 && why != "the sum" && why != "longer than the frame" {
            let from = Ipv6Addr::from(*bytes[22..].first_chunk::<16>().unwrap());
            let dest = Ipv6Addr::from(*bytes[38..].first_chunk::<16>().unwrap());
            let length = u16::from(bytes[19]);
            (bytes[56], bytes[57]) = (0, 0);
            let sum = checksum(from, dest, length, &[&bytes[54..54 + usize::from(length)]]);
            bytes[56..58].copy_from_slice(&sum.to_be_bytes());
        }
        assert_eq!(Heard::read(&bytes, false), None, "{why}");
    }
    // A reply from nobody; a solicitation from nowhere that names a link.
    let nobody = (MINE, Ipv4Addr::UNSPECIFIED);
    let reply = arp(BROADCAST, REPLY, nobody, (MINE, [10, 0, 0, 5].into()));
    assert_eq!(Heard::read(reply.bytes(), false), None);
    let target: Ipv6Addr = "2001:db8::5".parse().unwrap();
    let group = solicited_node(target);
    let option = Some((SOURCE_LINK, MINE));
    let message = Neighbour { kind: SOLICITATION, flags: 0, target, option };
    let linked = neighbour(multicast(group), MINE, Ipv6Addr::UNSPECIFIED, group, &message);
    assert_eq!(Heard::read(linked.bytes(), false), None);
    let message = Neighbour { kind: ADVERTISEMENT, flags: 0, target: ALL_NODES, option: None };
    let many = neighbour(multicast(ALL_NODES), MINE, target, ALL_NODES, &message);
    assert_eq!(Heard::read(many.bytes(), false), None, "a multicast target");
}

#[test]
fn truncated_and_random_frames_do_no_harm() {
    let mut state = 1;
    let mut heard = 0;
    for frame in samples() {
        let whole = Heard::read(frame.bytes(), true);
        assert!(whole.is_some());
        let needed = if frame.protocol == ARP { 42 } else { frame.length };
        for length in 0..=frame.length {
            let read = Heard::read(&frame.bytes()[..length], true);
            assert_eq!(read.is_some(), length >= needed, "{length} of {frame:?}");
        }
        for _ in 0..20_000 {
            let mut bytes = frame.bytes().to_vec();
            for _ in 0..=random(&mut state) % 4 {
                let at = random(&mut state) % bytes.len();
                bytes[at] = random(&mut state).to_le_bytes()[0];
            }
            bytes.truncate(random(&mut state) % 100);
            heard +=
                usize::from(Heard::read(&bytes, random(&mut state).is_multiple_of(2)).is_some());
        }
    }
    for _ in 0..20_000 {
        let length = random(&mut state) % 200;
        let mut bytes: Vec<u8> = (0..length).map(|_| random(&mut state).to_le_bytes()[0]).collect();
        for (at, value) in [(12, 0x86), (13, 0xdd), (14, 0x60), (18, 0), (20, 58), (21, 255)] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        heard += usize::from(Heard::read(&bytes, true).is_some());
    }
    assert!(heard > 1000, "the frames must be near to real ones: {heard}");
}

#[test]
fn the_longest_frame_has_room() {
    for frame in samples() {
        let expected = match frame.protocol {
            ARP => FRAME_MIN,
            _ => 54 + usize::from(u16::from_be_bytes([frame.bytes()[18], frame.bytes()[19]])),
        };
        assert_eq!(frame.bytes().len(), expected);
    }
}
