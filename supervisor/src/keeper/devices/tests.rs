use super::*;
use crate::keeper::address::{Address, Addresses};
use crate::keeper::namespace::{eventually, inside, readable, run};
use mastiff_core::time::Span;

/// Reads until something has happened that `is_it`.
fn until(
    devices: &mut Devices,
    what: &str,
    is_it: impl Fn(&Devices, &Event) -> bool,
) -> Vec<Event> {
    let mut events = Vec::new();
    eventually(what, || {
        assert!(readable(devices.as_fd()), "{what}: {events:?}");
        devices.read(&mut events).unwrap();
        events.iter().any(|event| is_it(devices, event))
    });
    events
}

#[test]
fn a_device_appears_changes_and_goes() {
    inside(|| {
        let mut devices = Devices::open().unwrap();
        assert_eq!(devices.called("lo").unwrap().index, 1);
        run("ip link add v0 type veth peer name v1");
        until(&mut devices, "v0 is there", |devices, event| {
            let v0 = devices.called("v0");
            v0.is_some_and(|v0| *event == Event::Appeared(v0.index))
        });
        let first = devices.called("v0").unwrap().clone();
        assert_eq!((first.state, first.master), (State::Off, None));
        assert!(devices.have(first.mac.unwrap()));
        assert!(!devices.have(Mac([2, 0, 0, 0, 0, 1])));
        let state = |wanted| {
            move |devices: &Devices, event: &Event| {
                matches!(event, Event::Changed(_)) && devices.called("v0").unwrap().state == wanted
            }
        };
        run("ip link set v0 up");
        until(&mut devices, "no carrier", state(State::NoCarrier));
        run("ip link set v1 up");
        until(&mut devices, "up", state(State::Up));
        run("ip link set v1 down");
        until(&mut devices, "no carrier", state(State::NoCarrier));
        run("ip link set v0 address 02:00:00:00:00:01");
        until(&mut devices, "another MAC", |devices, _| devices.have(Mac([2, 0, 0, 0, 0, 1])));
        let mut addresses = Addresses::open().unwrap();
        let wanted = Address { ip: "10.1.0.5".parse().unwrap(), prefix: 32 };
        addresses.add(&wanted, first.index, Span::from_secs(30)).unwrap();
        run("ip link delete v0");
        let events = until(&mut devices, "gone", |_, event| matches!(event, Event::Gone(_)));
        let is_told = |it: &Event| matches!(it, Event::AddressGone(it) if it.address == wanted);
        assert!(events.iter().any(is_told), "{events:?}");
        assert!(events.iter().any(|event| matches!(event, Event::Gone(gone) if gone.name == "v0")));
        assert_eq!(devices.called("v0"), None);
        run("ip link add v0 type veth peer name v1");
        until(&mut devices, "there again", |devices, _| devices.called("v0").is_some());
        let second = devices.called("v0").unwrap().index;
        assert_ne!(second, first.index, "another number");
        assert!(addresses.add(&wanted, first.index, Span::from_secs(30)).is_err());
        addresses.add(&wanted, second, Span::from_secs(30)).unwrap();
        addresses.verify(&[(wanted, second)]).unwrap();
    });
}

#[test]
fn a_device_is_found_by_all_its_names() {
    inside(|| {
        run("ip link add v0 type veth peer name v1");
        run("ip link set v0 up"); // there is no notice of other names while it is off
        let mut devices = Devices::open().unwrap();
        let index = devices.called("v0").unwrap().index;
        run("ip link property add dev v0 altname another-name-that-is-rather-long");
        until(&mut devices, "the other name", |devices, _| {
            devices.called("another-name-that-is-rather-long").is_some_and(|it| it.index == index)
        });
        // Before Linux 6.2 only what is off can be renamed.
        run("ip link set v0 down");
        run("ip link set v0 name renamed0");
        run("ip link set renamed0 up");
        let events = until(&mut devices, "renamed", |devices, _| devices.called("v0").is_none());
        assert_eq!(devices.called("renamed0").unwrap().index, index);
        assert!(events.iter().any(|event| {
            matches!(event, Event::Changed(was) if was.name == "v0" && was.index == index)
        }));
        run("ip link property del dev renamed0 altname another-name-that-is-rather-long");
        until(&mut devices, "without it", |devices, _| {
            devices.called("another-name-that-is-rather-long").is_none()
        });
    });
}

#[test]
fn a_port_that_leaves_its_bridge_is_not_gone() {
    inside(|| {
        run("ip link add v0 type veth peer name v1");
        run("ip link add br0 type bridge");
        run("ip link set br0 up");
        let mut devices = Devices::open().unwrap();
        let bridge = devices.called("br0").unwrap().index;
        for part in ["v0", "v1"] {
            run(&format!("ip link set {part} up"));
        }
        run("ip link set v0 master br0");
        until(&mut devices, "it is a port", |devices, _| {
            devices.called("v0").unwrap().master == Some(bridge)
        });
        until(&mut devices, "the bridge carries", |devices, _| {
            devices.called("br0").unwrap().state == State::Up
        });
        run("ip link set v0 nomaster");
        let events = until(&mut devices, "it is none", |devices, _| {
            devices.called("v0").unwrap().master.is_none()
        });
        assert!(!events.iter().any(|event| matches!(event, Event::Gone(_))), "{events:?}");
        // A device on another: plain to us.
        run("ip link add link v0 name sub0 type macvlan");
        until(&mut devices, "there", |devices, _| devices.called("sub0").is_some());
        assert!(devices.called("sub0").unwrap().mac.is_some());
    });
}

#[test]
fn an_address_that_somebody_removes_is_told_of_at_once() {
    inside(|| {
        run("ip link add v0 type veth peer name v1");
        run("ip link set v0 up");
        run("ip link set v1 up");
        let mut devices = Devices::open().unwrap();
        let index = devices.called("v0").unwrap().index;
        let mut addresses = Addresses::open().unwrap();
        for (text, prefix) in [("10.1.0.5", 32), ("2001:db8::5", 128)] {
            let wanted = Address { ip: text.parse().unwrap(), prefix };
            addresses.add(&wanted, index, Span::from_secs(30)).unwrap();
            let is_it = |it: &Found| it.address == wanted && it.index == index;
            until(
                &mut devices,
                "added",
                |_, event| matches!(event, Event::AddressThere(it) if is_it(it) && it.is_tagged()),
            );
            run(&format!("ip address delete {text}/{prefix} dev v0"));
            until(
                &mut devices,
                "removed",
                |_, event| matches!(event, Event::AddressGone(it) if is_it(it)),
            );
        }
    });
}

#[test]
fn lost_notices_are_made_good_by_a_list() {
    inside(|| {
        run("ip link add v0 type veth peer name v1");
        run("ip link add stays type bridge");
        let mut devices = Devices::open().unwrap();
        let v0 = devices.called("v0").unwrap().index;
        run("ip link delete v0");
        run("ip link add br0 type bridge");
        run("ip link set stays name stayed");
        let stays = devices.called("stays").unwrap().index;
        let mut addresses = Addresses::open().unwrap();
        let wanted = "10.1.0.5".parse().unwrap();
        let wanted = Address { ip: wanted, prefix: 32 };
        for _ in 0..10_000 {
            addresses.add(&wanted, stays, Span::from_secs(30)).unwrap();
        }
        let mut events = Vec::new();
        devices.read(&mut events).unwrap();
        // The notices before the loss may have told already; nothing is told twice.
        assert!(events.contains(&Event::Missed));
        let count = |is_it: &dyn Fn(&Event) -> bool| events.iter().filter(|it| is_it(it)).count();
        assert_eq!(count(&|event| matches!(event, Event::Gone(gone) if gone.index == v0)), 1);
        assert_eq!(count(&|event| matches!(event, Event::Changed(was) if was.name == "stays")), 1);
        let bridge = devices.called("br0").unwrap().index;
        assert_eq!(count(&|event| *event == Event::Appeared(bridge)), 1);
    });
}

#[test]
fn more_devices_than_are_kept_are_counted() {
    let mut known = Vec::new();
    let mut events = Vec::new();
    let mut ignored = 0;
    let device = Device {
        index: 0,
        name: "v".into(),
        alternatives: Vec::new(),
        state: State::Up,
        mac: None,
        master: None,
        is_loopback: false,
    };
    for index in 0..u32::try_from(DEVICES_MAX).unwrap() + 2 {
        learn(&mut known, Device { index, ..device.clone() }, true, &mut events, &mut ignored);
    }
    assert_eq!((known.len(), events.len(), ignored), (DEVICES_MAX, DEVICES_MAX, 2));
    learn(&mut known, device.clone(), true, &mut events, &mut ignored);
    assert_eq!(events.len(), DEVICES_MAX, "nothing has changed");
    learn(&mut known, Device { index: 99_999, ..device }, false, &mut events, &mut ignored);
    assert_eq!(events.len(), DEVICES_MAX, "never known");
}

#[test]
fn links_that_are_cut_off_are_no_devices() {
    let mut request = Request::new();
    request.begin(NEW, 0, &[0; HEADER]).text(NAME, "eth0").attribute(ADDRESS, &[1, 2, 3, 4, 5, 6]);
    request.nest(PROPERTIES, |list| {
        for _ in 0..20 {
            list.text(ALTERNATIVE, "other");
        }
    });
    let bytes = request.finish().to_vec();
    let body = &bytes[16..];
    for length in 0..=body.len() {
        let message = Message { kind: NEW, flags: 0, body: &body[..length] };
        let read = Device::read(&message);
        assert_eq!(read.is_some(), length >= HEADER, "{length}");
        if let Some((device, _)) = read.filter(|_| length == body.len()) {
            assert_eq!((device.name.as_str(), device.mac), ("eth0", Some(Mac([1, 2, 3, 4, 5, 6]))));
            assert_eq!(device.alternatives.len(), ALTERNATIVES_MAX);
        }
        assert!(Found::read(&message).is_none());
    }
}
