//! The nftables guard against a real kernel: what passes, what does not, and when it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod lab;

use std::time::{Duration, Instant};

use lab::{
    FIRST, Frames, Lab, OWN, SECOND, both, devices, frames_of, in_namespaces, ip, run, within,
};
use mastiff::clock;
use mastiff::guard::nftables::probe;
use mastiff::guard::{Gate, Slot, Wall};
use mastiff_core::timing;

const GROUP: Slot = Slot(0);

#[test]
fn it_can_be_had_here() {
    in_namespaces("it_can_be_had_here", || {
        let form = probe().unwrap();
        assert!(matches!(form, timing::Guard::Nftables { .. }), "{form:?}");
        assert_eq!(run("nft list ruleset"), "", "a probe leaves nothing");
    });
}

#[test]
fn closed_drops_everything_of_the_address_and_nothing_else() {
    in_namespaces("closed_drops_everything_of_the_address_and_nothing_else", || {
        let lab = Lab::new();
        for address in FIRST.iter().chain(&SECOND).chain(&OWN) {
            assert!(lab.answers(address), "{address} without a guard");
        }
        let (mut gate, mut wall) = both(700);
        wall.stand(&devices()).unwrap();
        assert_eq!(wall.stands(), Ok(true));
        println!("{}", run("nft list ruleset"));
        for address in FIRST.iter().chain(&SECOND) {
            assert!(!lab.answers(address), "{address} is closed");
        }
        let frames = Frames::new();
        let passes = |address: &str| {
            let all = frames_of(ip(address)).into_iter();
            all.filter(|(_, frame)| frames.pass(frame)).map(|(what, _)| what).collect::<Vec<_>>()
        };
        assert_eq!(passes(FIRST[0]), Vec::<&str>::new());
        assert_eq!(passes(FIRST[1]), Vec::<&str>::new());
        for address in OWN {
            assert!(lab.answers(address), "{address} is nobody's");
            assert_eq!(passes(address).len(), 4, "{address}");
        }
        // Open, the group passes, and no other.
        let until = within(5000);
        gate.open(GROUP, until, clock::clocks());
        assert_eq!(gate.lapsed(), Some(GROUP), "an element is never made by a frame");
        assert_eq!(gate.lapsed(), None, "told once");
        wall.create(GROUP, until).unwrap();
        for address in FIRST {
            assert!(lab.answers(address), "{address} is open");
            assert_eq!(passes(address).len(), 4, "{address}");
        }
        assert!(!lab.answers(SECOND[0]), "of a closed group");
        assert_eq!(passes(SECOND[0]), Vec::<&str>::new());
        gate.close(GROUP);
        for address in FIRST {
            assert!(!lab.answers(address), "{address} is closed again");
            assert_eq!(passes(address), Vec::<&str>::new());
        }
        wall.remove();
        assert!(lab.answers(FIRST[0]), "nothing is guarded any more");
        assert_eq!(run("nft list ruleset"), "");
    });
}

#[test]
fn it_ends_by_itself_and_a_late_refresh_revives_nothing() {
    in_namespaces("it_ends_by_itself_and_a_late_refresh_revives_nothing", || {
        let lab = Lab::new();
        lab.know_neighbours();
        let (mut gate, mut wall) = both(33);
        wall.stand(&devices()).unwrap();
        let until = within(60_000);
        gate.open(GROUP, until, clock::clocks());
        wall.create(GROUP, until).unwrap();
        gate.open(GROUP, until, clock::clocks());
        let opened = Instant::now();
        assert_eq!(gate.lapsed(), None);
        let still = move |at: &[Instant]| {
            at.last().unwrap_or(&opened).elapsed() > Duration::from_millis(300)
        };
        let last = *lab.ask_until(FIRST[0], still).last().unwrap() - opened;
        assert!(last < Duration::from_millis(105), "{last:?}");
        assert!(last > Duration::from_millis(80), "{last:?}");
        // The lease goes on, but the element has lapsed: no frame may bring it back.
        for _ in 0..50 {
            gate.open(GROUP, until, clock::clocks());
            assert!(!lab.answers(FIRST[0]));
        }
        assert_eq!(gate.lapsed(), Some(GROUP));
        assert_eq!(gate.lapsed(), None);
        wall.create(GROUP, until).unwrap();
        assert!(lab.answers(FIRST[0]));
    });
}
