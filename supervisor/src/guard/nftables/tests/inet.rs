//! The form for kernels before 5.16: the same promises, but for what packet sockets send.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::lab::in_form;
use super::*;
use crate::guard::{Device, Place};

/// Runs a test of the other form about this one.
fn again(test: &str, body: fn()) {
    in_form(Form::Inet, &format!("inet::{test}"), body);
}

macro_rules! again {
    ($($test:ident)*) => { $(
        #[test]
        fn $test() {
            again(stringify!($test), super::$test);
        }
    )* };
}

again! {
    it_can_be_had_here
    closed_drops_everything_of_the_address_and_nothing_else
    who_dies_after_creation_leaves_it_open_for_a_few_ticks
    an_operator_can_read_it_and_save_it
    it_ends_by_itself_and_a_late_refresh_revives_nothing
    refreshed_it_stays_open_while_others_load_their_rules
    it_never_lasts_beyond_the_lease
    held_it_lasts_for_the_rest_of_a_long_lease_and_no_longer
    a_frozen_or_killed_daemon_is_shut_out_within_its_lease
    who_freezes_on_the_way_closes_first
    a_refresh_that_comes_late_is_not_heard
    a_flush_is_seen_and_mended_and_nothing_else_is_news
    the_next_daemon_keeps_what_lives_only_for_the_same_addresses
    an_interface_that_comes_back_is_guarded_again
    two_daemons_do_not_know_each_other
}

/// Whether a program may send from an address.
fn speaks(address: &str) -> bool {
    let to = if address.contains(':') { "[fd00::2]:9" } else { "10.9.0.2:9" };
    let socket = UdpSocket::bind(SocketAddr::new(ip(address), 0)).unwrap();
    match socket.send_to(b"!", to) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn who_speaks_from_a_closed_address_is_refused_on_all_interfaces() {
    again("who_speaks_from_a_closed_address_is_refused_on_all_interfaces", || {
        let lab = Lab::new();
        let (mut gate, mut wall) = both(700);
        for place in [Place::Own, Place::Other] {
            let at = |device| Device { place, ..device };
            wall.stand(&devices().into_iter().map(at).collect::<Vec<_>>()).unwrap();
            assert_eq!(wall.stands(), Ok(true));
            for address in FIRST.iter().chain(&SECOND) {
                assert!(!speaks(address) && lab.is_silent(address), "{address} is closed");
            }
            for address in OWN {
                assert!(speaks(address) && lab.answers(address), "{address} is nobody's");
            }
            open(&mut gate, &mut wall, GROUP, within(60_000));
            for address in FIRST {
                assert!(speaks(address) && lab.answers(address), "{address} is open");
            }
            assert!(!speaks(SECOND[0]));
            gate.close(GROUP);
        }
        let free = |device| Device { place: Place::Free, ..device };
        wall.stand(&devices().into_iter().map(free).collect::<Vec<_>>()).unwrap();
        assert!(speaks(FIRST[0]) && lab.answers(SECOND[0]));
    });
}

#[test]
fn the_kernel_asks_no_neighbour_in_the_name_of_a_closed_address() {
    again("the_kernel_asks_no_neighbour_in_the_name_of_a_closed_address", || {
        let lab = Lab::new();
        let (mut gate, mut wall) = both(700);
        wall.stand(&devices()).unwrap();
        open(&mut gate, &mut wall, GROUP, within(60_000));
        let heard = lab.at_far(|| {
            let all = SockProtocol::EthAll;
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), all).unwrap()
        });
        let patience = TimeVal::milliseconds(2500);
        setsockopt(&heard, sockopt::ReceiveTimeout, &patience).unwrap();
        let asks_as_first = || {
            let mut frame = [0; 64];
            while let Ok(length) = recv(heard.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                // A request, and its sender.
                let is_request = length >= 42 && frame[12..14] == [8, 6] && frame[21] == 1;
                if is_request && frame[28..32] == [10, 9, 0, 100] {
                    return true;
                }
            }
            false
        };
        // Nobody has that address, so the kernel asks once a second, three times.
        let socket = UdpSocket::bind((FIRST[0], 0)).unwrap();
        socket.send_to(b"!", "10.9.0.50:9").unwrap();
        assert!(asks_as_first());
        gate.close(GROUP);
        assert!(!asks_as_first(), "for what waits since it was open");
    });
}

#[test]
fn who_lost_its_arp_is_opened_anew() {
    again("who_lost_its_arp_is_opened_anew", || {
        let lab = Lab::new();
        let (mut gate, mut wall) = both(10_000);
        wall.stand(&devices()).unwrap();
        let until = within(600_000);
        open(&mut gate, &mut wall, GROUP, until);
        assert_eq!(wall.stands(), Ok(true));
        gate.open(GROUP, until, clock::clocks());
        assert_eq!(gate.lapsed(), None);
        run("nft flush set arp mastiff-test lease");
        assert!(lab.is_silent(FIRST[0]));
        gate.open(GROUP, until, clock::clocks());
        assert_eq!(gate.lapsed(), None, "nobody tells the keeper");
        assert_eq!(wall.stands(), Ok(true));
        gate.open(GROUP, until, clock::clocks());
        assert_eq!(gate.lapsed(), Some(GROUP));
        wall.create(GROUP, until).unwrap();
        assert!(lab.answers(FIRST[0]));
    });
}

#[test]
fn where_others_drop_its_frames_it_does_not_stand() {
    again("where_others_drop_its_frames_it_does_not_stand", || {
        let _lab = Lab::new();
        let (_, mut wall) = both(10_000);
        wall.stand(&devices()).unwrap();
        run("nft add table ip firewall");
        run(
            "nft add chain ip firewall sent { type filter hook output priority 0 ; policy drop ; }",
        );
        assert_eq!(wall.stands(), Ok(false));
        assert!(wall.stand(&devices()).unwrap_err().contains("somebody else drops them"));
        run("nft delete table ip firewall");
        wall.stand(&devices()).unwrap();
        assert_eq!(wall.stands(), Ok(true));
    });
}

#[test]
fn another_form_leaves_nothing() {
    again("another_form_leaves_nothing", || {
        let _lab = Lab::new();
        for (form, tables) in [
            (Form::Netdev, "table netdev mastiff-test\n"),
            (Form::Inet, "table arp mastiff-test\ntable inet mastiff-test\n"),
            (Form::Netdev, "table netdev mastiff-test\n"),
        ] {
            let (_, mut wall) = build(form, "test", &guarded(), Span::from_secs(1)).unwrap();
            wall.stand(&devices()).unwrap();
            assert_eq!(run("nft list tables"), tables);
        }
    });
}
