use super::*;
use crate::keeper::address::{Address, Addresses};
use crate::keeper::devices::{Devices, Mac};
use crate::keeper::namespace::{Other, eventually, inside, readable, run};
use crate::keeper::packet::Said;
use mastiff_core::time::Span;

const FOUR: &str = "10.0.0.5";
const SIX: &str = "2001:db8::5";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn device(name: &str) -> (u32, Mac) {
    let devices = Devices::open().unwrap();
    let device = devices.called(name).unwrap();
    (device.index, device.mac.unwrap())
}

/// A cable from `v0` here to `v1` there, with addresses of their own; the other machine's MAC.
fn machines() -> (Other, Mac) {
    let other = Other::with_cable("v0", "v1");
    run("ip address add 10.0.0.1/24 dev v0");
    run("ip address add 2001:db8::1/64 dev v0 nodad");
    other.run("ip address add 10.0.0.2/24 dev v1");
    other.run("ip address add 2001:db8::2/64 dev v1 nodad");
    let mac = other.within(|| device("v1").1);
    (other, mac)
}

/// The first answer to a probe. A worker of the kernel there makes an address listen, a moment
/// after it is added, and a port of a bridge may still be learning.
fn answer_to_probe(tap: &mut Tap, speaker: &Speaker, address: IpAddr, mac: Mac) -> Heard {
    let mut heard = Vec::new();
    eventually("a probe is answered", || {
        speaker.say(&Frame::probe(address, mac), tap.index()).unwrap();
        tap.hear(&mut heard).unwrap();
        !heard.is_empty()
    });
    heard[0]
}

fn announce(speaker: &Speaker, address: &str, mac: Mac, index: u32) {
    for frame in Frame::announcements(ip(address), mac, false).into_iter().flatten() {
        speaker.say(&frame, index).unwrap();
    }
}

#[test]
fn an_announcement_moves_the_address_in_the_neighbours_of_others() {
    inside(|| {
        let (other, _) = machines();
        let (index, mac) = device("v0");
        let speaker = Speaker::open().unwrap();
        let neighbour = |address: &str| other.run(&format!("ip neighbour show {address} dev v1"));
        for address in [FOUR, SIX] {
            // The owner before is still remembered, as seen a moment ago.
            other.run(&format!(
                "ip neighbour replace {address} lladdr 02:00:00:00:00:99 nud reachable dev v1"
            ));
            announce(&speaker, address, mac, index);
            eventually("the neighbour has moved", || neighbour(address).contains(&mac.to_string()));
        }
        // Each form by itself.
        for form in 0..2 {
            other
                .run("ip neighbour replace 10.0.0.5 lladdr 02:00:00:00:00:99 nud reachable dev v1");
            let frame = Frame::announcements(ip(FOUR), mac, false)[form].unwrap();
            speaker.say(&frame, index).unwrap();
            eventually("the neighbour has moved", || neighbour(FOUR).contains(&mac.to_string()));
        }
        // The kernel there takes a router for one only if we say so.
        for is_router in [true, false] {
            let frame = Frame::announcements(ip(SIX), mac, is_router)[0].unwrap();
            speaker.say(&frame, index).unwrap();
            eventually("its flag", || neighbour(SIX).contains("router") == is_router);
        }
    });
}

#[test]
fn a_real_kernel_answers_probes_and_questions() {
    inside(|| {
        let (other, theirs) = machines();
        let (index, mac) = device("v0");
        let own = |address: IpAddr| ip(if address.is_ipv4() { "10.0.0.1" } else { "2001:db8::1" });
        let mut tap = Tap::open(index, &[ip(FOUR), ip(SIX)]).unwrap();
        let speaker = Speaker::open().unwrap();
        for (address, probed) in [(ip(FOUR), Said::Answered), (ip(SIX), Said::Claimed)] {
            // Nobody has it: silence, until somebody does.
            speaker.say(&Frame::probe(address, mac), index).unwrap();
            let at = other.within(|| device("v1").0);
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            other.within(|| {
                let mut addresses = Addresses::open().unwrap();
                addresses.add(&Address { ip: address, prefix }, at, Span::from_secs(60)).unwrap();
            });
            let heard = answer_to_probe(&mut tap, &speaker, address, mac);
            assert_eq!(heard, Heard { said: probed, ip: address, mac: theirs });
            for to in [None, Some(theirs)] {
                let question = Frame::question(address, Some(own(address)), mac, to);
                speaker.say(&question, index).unwrap();
                let answer = Heard { said: Said::Answered, ip: address, mac: theirs };
                let mut heard = Vec::new();
                eventually("the question is answered", || {
                    tap.hear(&mut heard).unwrap();
                    heard.contains(&answer)
                });
            }
        }
    });
}

#[test]
fn only_what_concerns_the_watched_addresses_is_heard() {
    inside(|| {
        let (other, theirs) = machines();
        let (index, mine) = device("v0");
        let at = other.within(|| device("v1").0);
        let speaker = other.within(|| Speaker::open().unwrap());
        // The kernel's own form of the filter is the largest for addresses of the upper half.
        let many: Vec<IpAddr> = (0..WATCHED_MAX).map(|_| ip("198.51.100.9")).collect();
        let both = [ip(FOUR), ip(SIX)];
        for watched in
            [both.to_vec(), [&both[..], &many[2..]].concat(), [&both[..], &many].concat()]
        {
            let tells_apart = watched.len() <= WATCHED_MAX;
            let mut tap = Tap::open(index, &[]).unwrap();
            tap.watch(&watched).unwrap();
            tap.watch(&watched).unwrap(); // both filters must fit for a moment
            for (address, others) in [(FOUR, "10.0.0.6"), (SIX, "2001:db8::6")] {
                // What is said of another address comes first, and is not heard.
                announce(&speaker, others, theirs, at);
                speaker.say(&Frame::probe(ip(others), theirs), at).unwrap();
                speaker.say(&Frame::probe(ip(address), theirs), at).unwrap();
                announce(&speaker, address, theirs, at);
                let question = Frame::question(ip(others), Some(ip(address)), theirs, None);
                speaker.say(&question, at).unwrap();
                let mut heard = Vec::new();
                let expected = if address == FOUR { 4 } else { 3 };
                let of_others = expected - 1;
                let all = expected + if tells_apart { 0 } else { of_others };
                eventually("all of it", || {
                    tap.hear(&mut heard).unwrap();
                    heard.len() >= all
                });
                assert_eq!(heard.len(), all, "{heard:?}");
                heard.retain(|heard| heard.ip == ip(address));
                assert_eq!(heard.len(), expected);
                assert_eq!(heard[0], Heard { said: Said::Probed, ip: ip(address), mac: theirs });
                assert!(heard[1..].iter().all(|it| it.said == Said::Claimed && it.mac == theirs));
            }
            // What this machine says itself is not heard.
            let speaker = Speaker::open().unwrap();
            announce(&speaker, FOUR, mine, index);
            assert_eq!((tap.hear(&mut Vec::new()), tap.index()), (Ok(false), index));
        }
    });
}

#[test]
fn switches_are_told_where_questions_for_ipv6_addresses_are_to_go() {
    inside(|| {
        let (_other, _) = machines();
        let (index, _) = device("v0");
        let is_member = || run("ip -6 maddress show dev v0").contains("ff02::1:ffab:cdef");
        let mut tap = Tap::open(index, &[ip(FOUR), ip("2001:db8::ab:cdef")]).unwrap();
        assert!(is_member());
        // A group of two.
        tap.watch(&[ip("2001:db8::ab:cdef"), ip("2001:db8:1::ab:cdef")]).unwrap();
        assert!(is_member());
        tap.watch(&[ip(FOUR)]).unwrap();
        assert!(!is_member());
        std::fs::write("/proc/sys/net/ipv6/conf/v0/disable_ipv6", "1").unwrap();
        tap.watch(&[ip(FOUR), ip(SIX)]).unwrap();
    });
}

#[test]
fn what_is_said_in_a_vlan_is_not_heard_outside_it() {
    inside(|| {
        let (other, theirs) = machines();
        let mut tap = Tap::open(device("v0").0, &[ip(FOUR), ip(SIX)]).unwrap();
        let at = other.within(|| device("v1").0);
        let speaker = other.within(|| Speaker::open().unwrap());
        let to = link_address(0x8100, at).unwrap();
        // Priority alone (VLAN 0) is no VLAN (IEEE 802.1Q).
        for (tag, address) in [(0x0064, FOUR), (0x0064, SIX), (0x6000u16, FOUR), (0x6000, SIX)] {
            let frame = Frame::announcements(ip(address), theirs, false)[0].unwrap();
            let (head, tail) = frame.bytes().split_at(12);
            let tagged = [head, &[0x81, 0], &tag.to_be_bytes(), tail].concat();
            sendto(speaker.0.as_raw_fd(), &tagged, &to, MsgFlags::empty()).unwrap();
        }
        let mut heard = Vec::new();
        eventually("both", || {
            tap.hear(&mut heard).unwrap();
            heard.iter().any(|heard| heard.ip == ip(SIX))
        });
        assert_eq!(heard.iter().map(|heard| heard.ip).collect::<Vec<_>>(), [ip(FOUR), ip(SIX)]);
    });
}

#[test]
fn what_a_closed_guard_drops_on_its_way_in_is_heard() {
    inside(|| {
        let (_other, theirs) = machines();
        let (index, mac) = device("v0");
        // The strictest guard.
        run("nft add table netdev closed");
        let hook = "type filter hook ingress device v0 priority 0";
        run(&format!("nft add chain netdev closed in {{ {hook}; policy drop; }}"));
        let mut tap = Tap::open(index, &[ip("10.0.0.2"), ip("2001:db8::2")]).unwrap();
        let speaker = Speaker::open().unwrap();
        for address in ["10.0.0.2", "2001:db8::2"] {
            let heard = answer_to_probe(&mut tap, &speaker, ip(address), mac);
            assert_eq!((heard.ip, heard.mac), (ip(address), theirs));
        }
    });
}

#[test]
fn a_claim_that_the_guard_drops_on_its_way_out_is_told() {
    inside(|| {
        let (other, _) = machines();
        let (index, mac) = device("v0");
        run("nft add table netdev closed");
        let hook = "type filter hook egress device v0 priority 0";
        run(&format!("nft add chain netdev closed out {{ {hook}; policy drop; }}"));
        let speaker = Speaker::open().unwrap();
        for address in [FOUR, SIX] {
            for claim in Frame::announcements(ip(address), mac, false).into_iter().flatten() {
                assert_eq!(speaker.say(&claim, index), Err(Errno::ENOBUFS));
            }
        }
        assert!(other.run("ip neighbour show dev v1").is_empty());
    });
}

#[test]
fn a_bridge_and_a_device_upon_another_speak_and_hear_as_any() {
    inside(|| {
        let (other, theirs) = machines();
        run("ip address flush dev v0");
        run("ip link add br0 type bridge");
        run("ip link set v0 master br0");
        run("ip link set br0 up");
        run("ip address add 10.0.0.1/24 dev br0");
        run("ip link add link br0 name sub0 type macvlan mode bridge");
        run("ip link set sub0 up");
        for name in ["br0", "sub0"] {
            let (index, mac) = device(name);
            let mut tap = Tap::open(index, &[ip("10.0.0.2")]).unwrap();
            let speaker = Speaker::open().unwrap();
            let heard = answer_to_probe(&mut tap, &speaker, ip("10.0.0.2"), mac);
            assert_eq!((heard.said, heard.mac), (Said::Answered, theirs));
            other
                .run("ip neighbour replace 10.0.0.5 lladdr 02:00:00:00:00:99 nud reachable dev v1");
            announce(&speaker, FOUR, mac, index);
            eventually("the neighbour has moved", || {
                other.run("ip neighbour show 10.0.0.5 dev v1").contains(&mac.to_string())
            });
        }
    });
}

#[test]
fn a_tap_outlives_a_device_that_is_switched_off_but_not_one_that_is_made_anew() {
    inside(|| {
        let (other, theirs) = machines();
        let (index, _) = device("v0");
        let mut tap = Tap::open(index, &[ip(FOUR)]).unwrap();
        let speaker = Speaker::open().unwrap();
        run("ip link set v0 down");
        assert!(readable(tap.as_fd()));
        assert_eq!(tap.hear(&mut Vec::new()), Err(Errno::ENETDOWN));
        assert_eq!(tap.hear(&mut Vec::new()), Ok(false), "said once");
        let probe = Frame::probe(ip(FOUR), theirs);
        assert_eq!(speaker.say(&probe, index), Err(Errno::ENETDOWN));
        run("ip link set v0 up");
        let there = other.within(|| Speaker::open().unwrap());
        let at = other.within(|| device("v1").0);
        let mut heard = Vec::new();
        eventually("it is heard again", || {
            there.say(&probe, at).ok();
            tap.hear(&mut heard).unwrap();
            !heard.is_empty()
        });
        run("ip link delete v0");
        assert_eq!(tap.hear(&mut Vec::new()), Err(Errno::ENETDOWN));
        assert_eq!(speaker.say(&probe, index), Err(Errno::ENXIO));
        assert!(Tap::open(index, &[ip(FOUR)]).is_err());
    });
}

#[test]
fn whether_this_machine_is_a_router_is_read() {
    inside(|| {
        run("ip link add v0 type veth peer name v1");
        assert!(!forwards("v0"));
        std::fs::write("/proc/sys/net/ipv6/conf/v0/forwarding", "1").unwrap();
        assert!(forwards("v0"));
        assert!(!forwards("no-such-link"));
    });
}
