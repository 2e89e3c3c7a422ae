//! Who answers for an address that is not here, on a real network.

use std::net::{SocketAddr, TcpStream};

use super::*;
use crate::keeper::vacancy::{Found, Holder};

const SIX: &str = "2001:db8:1::9";

/// The other machine behind `d0`: a bridge with 10.1.0.2, and on its port `y`, which is down, the
/// stranger. They are one kernel, so both answer for what either has.
fn network() -> Other {
    let other = Other::with_cable("d0", "d1");
    for command in [
        "ip link add lan type bridge",
        "ip link add x type veth peer name y",
        "ip link set d1 master lan",
        "ip link set x master lan",
        "ip link set x up",
        "ip link set lan up",
        "ip address add 10.1.0.2/24 dev lan",
        "ip address add 2001:db8:1::2/64 dev lan nodad",
    ] {
        other.run(command);
    }
    run("ip address add 10.1.0.1/24 dev d0");
    run("ip address add 2001:db8:1::1/64 dev d0 nodad");
    // Refused or not, the neighbour is known then.
    let at: SocketAddr = "10.1.0.2:9".parse().unwrap();
    TcpStream::connect_timeout(&at, std::time::Duration::from_secs(5)).ok();
    other
}

/// Nobody has it here; the peer, by its word, is `there`.
fn standby(ip: &str, there: Role) -> (Worker, Ends) {
    let (mut worker, ends) = worker_with(ip, "d0", Paper::default());
    ends.jobs.send(Job::Stand).unwrap();
    worker.do_jobs();
    worker.board.write(|shown| {
        let group = &mut shown.groups[0];
        (group.role, group.not_ready) = (Role::Standby, None);
        group.peer = Some((there, Health::Healthy, None));
    });
    (worker, ends)
}

/// Asks once, is answered by `answers`, and judges: what is known then.
fn round(worker: &mut Worker, now: &mut Mono, answers: usize) -> Found {
    *now = now.after(Span::from_secs(61));
    worker.look_for_others(*now);
    eventually("an answer", || {
        worker.hear();
        worker.air.answers(SLOT) >= answers
    });
    *now = now.after(Span::from_secs(1));
    worker.look_for_others(*now);
    worker.board.found()[0][0]
}

#[test]
fn a_second_machine_with_an_address_of_the_other_node_is_found() {
    inside(|| {
        let other = network();
        other.run(&format!("ip address add {IP}/32 dev lan"));
        let (mut worker, ends) = standby(IP, Role::Active);
        let mut now = clock::now();
        assert_eq!(round(&mut worker, &mut now, 1), Found::Good(Holder::Peer));
        other.run("ip link set y up");
        // The kernel opens a port of a bridge up to a second after its carrier is there.
        eventually("the port forwards", || {
            other.run("ip -d link show dev x").contains("state forwarding")
        });
        // Told when it is seen again.
        assert_eq!(round(&mut worker, &mut now, 2), Found::Good(Holder::Peer));
        assert!(matches!(round(&mut worker, &mut now, 2), Found::InUse(_)));
        round(&mut worker, &mut now, 2);
        assert_eq!(ends.told("address-in-use"), 1);
        // Nothing of this is in the tables of the other machine, nor in ours.
        for table in [run("ip neigh show dev d0"), other.run("ip neigh show dev lan")] {
            assert!(!table.contains(IP), "{table}");
        }
    });
}

#[test]
fn somebody_has_an_address_that_nobody_should_have() {
    inside(|| {
        let other = network();
        let (mut worker, ends) = standby(IP, Role::Standby);
        let mut now = clock::now();
        assert_eq!(round(&mut worker, &mut now, 0), Found::Good(Holder::Nobody));
        other.run(&format!("ip address add {IP}/32 dev lan"));
        round(&mut worker, &mut now, 1);
        assert!(matches!(round(&mut worker, &mut now, 1), Found::InUse(_)));
        other.run(&format!("ip address del {IP}/32 dev lan"));
        assert_eq!(round(&mut worker, &mut now, 0), Found::Good(Holder::Nobody));
        assert_eq!((ends.told("address-in-use"), worker.air.answers(SLOT)), (1, 0));
    });
}

#[test]
fn an_address_of_ipv6_is_asked_for_without_telling_all_nodes() {
    inside(|| {
        let other = network();
        other.run(&format!("ip address add {SIX}/128 dev lan nodad"));
        let (mut worker, _ends) = standby(SIX, Role::Active);
        let mut now = clock::now();
        assert_eq!(round(&mut worker, &mut now, 1), Found::Good(Holder::Peer));
        // It was asked by this machine's own address, as which it is known from now on; a probe,
        // which has none, would have been answered to all nodes.
        assert!(other.run("ip -6 neigh show dev lan").contains("2001:db8:1::1 "));
        other.run(&format!("ip address del {SIX}/128 dev lan"));
        round(&mut worker, &mut now, 0);
        assert_eq!(round(&mut worker, &mut now, 0), Found::Unanswered);
    });
}

#[test]
fn where_the_other_node_is_not_known_nothing_is_a_fault() {
    inside(|| {
        let other = network();
        other.run(&format!("ip address add {IP}/32 dev lan"));
        let (mut worker, _ends) = standby(IP, Role::Active);
        worker.peer = vec!["192.0.2.77".parse().unwrap()];
        let mut now = clock::now();
        for _ in 0..3 {
            assert!(matches!(round(&mut worker, &mut now, 1), Found::Unknown(_)));
        }
        worker.board.write(|shown| shown.groups[0].peer = None);
        assert!(matches!(round(&mut worker, &mut now, 0), Found::Unknown(_)));
    });
}
