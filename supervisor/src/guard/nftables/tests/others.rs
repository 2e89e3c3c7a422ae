//! Interfaces that no guarded address belongs on.

use super::*;
use crate::guard::{Device, Place};

fn at(place: Place) -> Vec<Device> {
    devices().into_iter().map(|device| Device { place, ..device }).collect()
}

#[test]
fn another_interface_is_closed_for_what_is_this_machines_own() {
    in_namespaces("others::another_interface_is_closed_for_what_is_this_machines_own", || {
        let lab = Lab::new();
        let (mut gate, mut wall) = both(700);
        wall.stand(&at(Place::Other)).unwrap();
        assert_eq!(wall.stands(), Ok(true));
        for address in FIRST.iter().chain(&SECOND) {
            assert!(lab.is_silent(address), "{address} is closed");
        }
        // Each by itself, ARP and discovery answered.
        lab.know_neighbours();
        for address in FIRST {
            assert!(lab.is_silent(address), "{address} is closed");
        }
        for address in OWN {
            assert!(lab.answers(address), "{address} is nobody's");
        }
        open(&mut gate, &mut wall, GROUP, within(60_000));
        for address in FIRST {
            assert!(lab.answers(address), "{address} is open");
        }
        gate.close(GROUP);
        let frames = Frames::new();
        let passes = |address: &str, what: &str| frames.pass(&frames_of(ip(address))[what]);
        assert!(!passes(FIRST[0], "ARP sender") && !passes(FIRST[0], "IPv4 source"));
        assert!(!passes(FIRST[1], "IPv6 source"));
        for address in FIRST {
            run(&format!("ip address del {address} dev near"));
        }
        // Somebody else's now, as of a container behind this machine that speaks with the owner.
        assert!(passes(FIRST[0], "IPv4 source") && passes(FIRST[1], "IPv6 source"));
        assert!(!passes(FIRST[0], "ARP sender"), "the owner's, and it has its own interface");
    });
}

#[test]
fn an_interface_may_change_its_place() {
    in_namespaces("others::an_interface_may_change_its_place", || {
        let lab = Lab::new();
        lab.know_neighbours();
        let (_gate, mut wall) = both(700);
        for (place, closed) in [
            (Place::Own, true),
            (Place::Free, false),
            (Place::Other, true),
            (Place::Own, true),
            (Place::Free, false),
        ] {
            wall.stand(&at(place)).unwrap();
            assert_eq!(wall.stands(), Ok(true));
            if closed {
                assert!(lab.is_silent(FIRST[0]), "{place:?}");
            } else {
                assert!(lab.answers(FIRST[0]), "{place:?}");
            }
        }
        wall.stand(&at(Place::Other)).unwrap();
        // A daemon that starts finds what the one before left on what is a port now.
        let (_gate, mut wall) = both(700);
        wall.stand(&at(Place::Free)).unwrap();
        assert!(lab.answers(FIRST[0]));
    });
}
