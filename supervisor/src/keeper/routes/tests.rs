use super::*;
use crate::keeper::devices::Devices;
use crate::keeper::namespace::{eventually, inside, run};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn index(name: &str) -> u32 {
    Devices::open().unwrap().called(name).unwrap().index
}

/// Two cables with both ends here, and addresses on `v0` and `w0`.
fn cables() {
    for (a, b) in [("v0", "v1"), ("w0", "w1")] {
        run(&format!("ip link add {a} type veth peer name {b}"));
        run(&format!("ip link set {a} up"));
        run(&format!("ip link set {b} up"));
    }
    for (address, name) in [("10.1.0.1/24", "v0"), ("10.2.0.1/24", "w0")] {
        run(&format!("ip address add {address} dev {name}"));
    }
    for (address, name) in [("2001:db8:1::1/64", "v0"), ("2001:db8:2::1/64", "w0")] {
        run(&format!("ip address add {address} dev {name} nodad"));
    }
}

#[test]
fn the_default_router_is_that_of_the_best_metric_in_the_main_table() {
    inside(|| {
        cables();
        let mut routes = Routes::open().unwrap();
        for (of_six, table, worse, best) in [
            (false, "10.1.0.250", "10.1.0.253", "10.2.0.254"),
            (true, "2001:db8:1::fa", "2001:db8:1::fd", "2001:db8:2::fe"),
        ] {
            let family = if of_six { "-6" } else { "-4" };
            assert_eq!(routes.default_router(of_six), Ok(None));
            run(&format!("ip {family} route add default via {table} dev v0 table 100 metric 1"));
            run(&format!("ip {family} route add unreachable default metric 5"));
            let narrow = if of_six { "2001:db8:9::/48" } else { "10.9.0.0/16" };
            run(&format!("ip {family} route add {narrow} via {table} dev v0 metric 2"));
            assert_eq!(routes.default_router(of_six), Ok(None));
            run(&format!("ip {family} route add default via {worse} dev v0 metric 300"));
            assert_eq!(routes.default_router(of_six), Ok(Some((ip(worse), index("v0")))));
            run(&format!("ip {family} route add default via {best} dev w0 metric 200"));
            assert_eq!(routes.default_router(of_six), Ok(Some((ip(best), index("w0")))));
            // What has no carrier leads nowhere.
            run("ip link set w1 down");
            eventually("the other one", || {
                routes.default_router(of_six) == Ok(Some((ip(worse), index("v0"))))
            });
            run("ip link set w1 up");
            eventually("the best one again", || {
                routes.default_router(of_six) == Ok(Some((ip(best), index("w0"))))
            });
        }
    });
}

#[test]
fn a_route_with_several_routers_has_a_first_one() {
    inside(|| {
        cables();
        let mut routes = Routes::open().unwrap();
        run("ip route add default nexthop via 10.1.0.254 dev v0 nexthop via 10.2.0.254 dev w0");
        assert_eq!(routes.default_router(false), Ok(Some((ip("10.1.0.254"), index("v0")))));
        run("ip link set v1 down");
        eventually("the second one", || {
            routes.default_router(false) == Ok(Some((ip("10.2.0.254"), index("w0"))))
        });
        // IPv4 by way of a router that has no IPv4 address.
        run("ip -4 route replace default via inet6 fe80::1 dev w0");
        assert_eq!(routes.default_router(false), Ok(Some((ip("fe80::1"), index("w0")))));
        // A route without a router has nobody to ask.
        run("ip route replace default dev w0");
        assert_eq!(routes.default_router(false), Ok(None));
    });
}

#[test]
fn the_way_to_an_address_has_an_interface_and_a_source() {
    inside(|| {
        cables();
        let mut routes = Routes::open().unwrap();
        run("ip route add default via 10.2.0.254 dev w0");
        for (to, name, router, from) in [
            ("10.1.0.254", "v0", None, "10.1.0.1"),
            ("2001:db8:2::fe", "w0", None, "2001:db8:2::1"),
            ("192.0.2.1", "w0", Some("10.2.0.254"), "10.2.0.1"),
        ] {
            let way = Way { index: index(name), router: router.map(ip), from: Some(ip(from)) };
            assert_eq!(routes.way_to(ip(to), None), Ok(way), "{to}");
        }
        assert_eq!(routes.way_to(ip("2001:db8:9::1"), None), Err(Errno::ENETUNREACH));
        for name in ["v0", "w0"] {
            let way = routes.way_to(ip("fe80::1"), Some(index(name))).unwrap();
            assert_eq!((way.index, way.router), (index(name), None));
        }
    });
}

#[test]
fn routes_that_are_cut_off_lead_nowhere() {
    let mut request = Request::new();
    let mut header = [0; HEADER];
    set_family(&mut header, false);
    header[4] = 254;
    header[7] = UNICAST;
    let hop = [&[24, 0, 0, 0, 7, 0, 0, 0][..], &[8, 0, 5, 0, 10, 0, 0, 1], &[8, 0, 9, 0]].concat();
    request.begin(NEW, 0, &header).attribute(PRIORITY, &9u32.to_ne_bytes());
    request.attribute(SEVERAL, &[&hop[..], &[0; 4]].concat());
    let bytes = request.finish().to_vec();
    let read = |body| DefaultRoute::read(&Message { kind: NEW, flags: 0, body });
    let whole = read(&bytes[16..]).unwrap();
    assert_eq!((whole.router, whole.index, whole.metric), (ip("10.0.0.1"), 7, 9));
    for length in 0..bytes.len() - 16 {
        assert!(read(&bytes[16..16 + length]).is_none(), "{length}");
    }
    // Parts of no length must not be walked over for ever.
    assert!(Hop::first(&[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_none());
    assert!(Hop::first(&[8, 0, 1, 0, 0, 0, 0, 0]).is_none());
}
