use super::*;
use crate::keeper::devices::{Device, Devices, Event};
use crate::keeper::namespace::{eventually, inside, readable, run};
use std::os::fd::AsFd;

const SECOND: Span = Span::from_secs(1);

fn address(text: &str) -> Address {
    let (ip, prefix) = text.split_once('/').unwrap();
    Address { ip: ip.parse().unwrap(), prefix: prefix.parse().unwrap() }
}

/// A cable with both ends here; the number of `v0`.
fn cable() -> u32 {
    run("ip link add v0 type veth peer name v1");
    run("ip link set v0 up");
    run("ip link set v1 up");
    Devices::open().unwrap().called("v0").map(|device: &Device| device.index).unwrap()
}

fn find(addresses: &mut Addresses, wanted: &Address) -> Option<Found> {
    addresses.list().unwrap().into_iter().find(|found| found.address == *wanted)
}

#[test]
fn an_address_is_added_renewed_and_removed_and_keeps_its_tag() {
    inside(|| {
        let index = cable();
        let mut addresses = Addresses::open().unwrap();
        for text in ["10.1.0.5/32", "10.2.0.5/24", "2001:db8:1::5/128", "2001:db8:2::5/64"] {
            let address = address(text);
            addresses.add(&address, index, SECOND.times(30)).unwrap();
            addresses.verify(&[(address, index)]).unwrap();
            let shown = run("ip address show dev v0");
            let line = shown.split("inet").find(|line| line.contains(text)).unwrap();
            assert!(line.contains("valid_lft 30sec") || line.contains("valid_lft 29sec"), "{line}");
            assert_eq!(line.contains("preferred_lft 0sec"), address.ip.is_ipv6(), "{line}");
            // Added once more, it is renewed.
            for renewed in [60, 90] {
                let lifetime = SECOND.times(renewed);
                if renewed == 60 {
                    addresses.add(&address, index, lifetime).unwrap();
                } else {
                    addresses.refresh(&address, index, lifetime).unwrap();
                }
                let found = find(&mut addresses, &address).unwrap();
                assert!(found.is_tagged() && found.is_usable() && !found.is_permanent());
                assert_eq!(found.index, index);
                let shown = run("ip address show dev v0");
                assert!(
                    shown.contains(&format!("valid_lft {renewed}sec"))
                        || shown.contains(&format!("valid_lft {}sec", renewed - 1)),
                    "{shown}"
                );
            }
            addresses.remove(&address, index).unwrap();
            assert_eq!(find(&mut addresses, &address), None);
            addresses.remove(&address, index).unwrap();
            assert_eq!(addresses.verify(&[(address, index)]), Err(AddressError::Missing(address)));
        }
    });
}

#[test]
fn an_address_that_nobody_renews_goes_by_itself_and_is_told_of() {
    inside(|| {
        let index = cable();
        let mut devices = Devices::open().unwrap();
        let mut addresses = Addresses::open().unwrap();
        let both = [address("10.1.0.5/32"), address("2001:db8::5/128")];
        for address in &both {
            addresses.add(address, index, Span::from_millis(300)).unwrap();
        }
        let mut gone = Vec::new();
        eventually("both expire", || {
            let mut events = Vec::new();
            assert!(readable(devices.as_fd()));
            devices.read(&mut events).unwrap();
            gone.extend(events.into_iter().filter_map(|event| match event {
                Event::AddressGone(found) => Some(found.address),
                _ => None,
            }));
            both.iter().all(|address| gone.contains(address))
        });
        // Late by a moment, a renewal makes it anew: the caller must look at its clock.
        addresses.refresh(&both[0], index, SECOND.times(9)).unwrap();
        assert!(find(&mut addresses, &both[0]).unwrap().is_tagged());
    });
}

#[test]
fn a_start_tells_our_leftovers_from_what_others_configured() {
    inside(|| {
        let index = cable();
        run("ip link add br0 type bridge");
        let bridge = Devices::open().unwrap().called("br0").unwrap().index;
        let mut addresses = Addresses::open().unwrap();
        let (ours, on_bridge) = (address("10.1.0.5/24"), address("2001:db8::5/64"));
        addresses.add(&ours, index, SECOND.times(9)).unwrap();
        addresses.add(&on_bridge, bridge, SECOND.times(9)).unwrap();
        run("ip address add 10.1.0.1/24 dev v0");
        run("ip address add 10.1.0.6/24 dev v0");
        run("ip address add 2001:db8::6/64 dev v0 nodad valid_lft 100 preferred_lft 100");
        let floating = [ours.ip, "10.1.0.6".parse().unwrap(), "2001:db8::6".parse().unwrap()];
        let found = Leftovers::among(&addresses.list().unwrap(), &floating);
        let sorted = |found: &[Found]| {
            let mut all: Vec<_> = found.iter().map(|found| found.address.to_string()).collect();
            all.sort();
            all
        };
        // Ours also where it is not configured any more.
        assert_eq!(sorted(&found.ours), ["10.1.0.5/24", "2001:db8::5/64"]);
        assert_eq!(sorted(&found.foreign), ["10.1.0.6/24", "2001:db8::6/64"]);
        for foreign in [address("10.1.0.6/24"), address("2001:db8::6/64")] {
            let refused = addresses.add(&foreign, index, SECOND);
            assert_eq!(refused, Err(AddressError::Foreign(foreign)));
            assert!(!find(&mut addresses, &foreign).unwrap().is_tagged(), "nothing has changed");
        }
        // In the way, though its network is another.
        let wider = address("2001:db8::6/128");
        assert_eq!(addresses.add(&wider, index, SECOND), Err(AddressError::Foreign(wider)));
        for found in found.ours {
            addresses.remove(&found.address, found.index).unwrap();
        }
        assert_eq!(Leftovers::among(&addresses.list().unwrap(), &floating).ours, []);
    });
}

#[test]
fn an_address_whose_duplicate_was_found_once_is_made_anew() {
    inside(|| {
        let index = cable();
        let wanted = address("2001:db8::5/128");
        let mut addresses = Addresses::open().unwrap();
        run("ip address add 2001:db8::5/128 dev v1 nodad");
        // As somebody else would add it, though with our tag: with duplicate address detection.
        addresses.begin(NEW, ACK | CREATE | EXCLUSIVE, &wanted, index);
        addresses.request.attribute(PROTO, &[TAG]);
        addresses.socket.transact(&mut addresses.request).unwrap();
        assert_eq!(
            addresses.verify(&[(wanted, index)]),
            Err(AddressError::Unusable(wanted)),
            "tentative at first"
        );
        addresses.add(&wanted, index, SECOND.times(9)).unwrap();
        addresses.verify(&[(wanted, index)]).unwrap();
        assert!(find(&mut addresses, &wanted).unwrap().is_usable());
        // So is one that was configured with another network before.
        let wider = address("2001:db8::5/64");
        addresses.add(&wider, index, SECOND.times(9)).unwrap();
        addresses.verify(&[(wider, index)]).unwrap();
        assert_eq!(addresses.verify(&[(wanted, index)]), Err(AddressError::Missing(wanted)));
    });
}

#[test]
fn refusals_say_what_was_tried() {
    inside(|| {
        let index = cable();
        let mut addresses = Addresses::open().unwrap();
        let (v4, v6) = (address("10.1.0.5/32"), address("2001:db8::5/128"));
        let refused = addresses.add(&v4, 4711, SECOND).unwrap_err().to_string();
        assert_eq!(refused, "cannot add 10.1.0.5/32 on interface number 4711: No such device");
        for address in [v4, v6] {
            addresses.remove(&address, 4711).unwrap();
        }
        std::fs::write("/proc/sys/net/ipv6/conf/v0/disable_ipv6", "1").unwrap();
        let refused = addresses.add(&v6, index, SECOND).unwrap_err().to_string();
        assert!(refused.ends_with("; IPv6 is disabled there (disable_ipv6)"), "{refused}");
    });
}

#[test]
fn a_primary_address_takes_the_others_of_its_network_along_unless_they_are_promoted() {
    inside(|| {
        let index = cable();
        let mut addresses = Addresses::open().unwrap();
        let (wide, narrow) = (address("10.1.0.5/24"), address("10.1.0.5/32"));
        for (value, takes) in [("0", true), ("1", false)] {
            for path in ["all", "v0"] {
                let path = format!("/proc/sys/net/ipv4/conf/{path}/promote_secondaries");
                std::fs::write(path, if takes { "0" } else { value }).unwrap();
            }
            assert_eq!(takes_others_along(&wide, "v0").unwrap(), takes);
            assert!(!takes_others_along(&narrow, "v0").unwrap());
            assert!(!takes_others_along(&address("2001:db8::5/64"), "v0").unwrap());
            // And so the kernel does.
            addresses.add(&wide, index, SECOND.times(9)).unwrap();
            run("ip address add 10.1.0.1/24 dev v0");
            addresses.remove(&wide, index).unwrap();
            assert_eq!(find(&mut addresses, &address("10.1.0.1/24")).is_none(), takes);
        }
        assert!(takes_others_along(&wide, "no-such-link").is_ok(), "all of them promote");
        std::fs::write("/proc/sys/net/ipv4/conf/all/promote_secondaries", "0").unwrap();
        assert!(takes_others_along(&wide, "no-such-link").is_err());
    });
}

#[test]
fn a_kernel_without_tags_knows_ours_by_their_lifetime() {
    let found = |text, tag, flags| Found { address: address(text), index: 2, tag, flags };
    let all = [
        found("10.0.0.1/24", None, PERMANENT),
        found("10.0.0.5/32", None, 0),
        found("10.0.0.6/32", None, PERMANENT),
        found("10.0.0.7/24", None, 0),
    ];
    let floating = ["10.0.0.5".parse().unwrap(), "10.0.0.6".parse().unwrap()];
    let leftovers = Leftovers::among(&all, &floating);
    assert_eq!((leftovers.ours, leftovers.foreign), (vec![all[1]], vec![all[2]]));
    // Once one has a tag, the kernel has tags: what lacks ours is not ours.
    let mut all = all.to_vec();
    all.push(found("127.0.0.1/8", Some(1), PERMANENT));
    let leftovers = Leftovers::among(&all, &floating);
    assert_eq!((leftovers.ours, leftovers.foreign), (vec![], vec![all[1], all[2]]));
}

#[test]
fn lifetimes_are_whole_seconds_and_never_for_ever() {
    for (nanos, secs) in [
        (0, 1),
        (1, 1),
        (1_000_000_000, 1),
        (1_000_000_001, 2),
        (3_000_000_000, 3),
        (u64::MAX, u32::MAX - 1),
    ] {
        assert_eq!(whole_secs(Span::from_nanos(nanos)), secs, "{nanos}");
    }
}
