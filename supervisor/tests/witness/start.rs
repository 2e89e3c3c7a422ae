//! How it starts, what it refuses, and what PID 1 hears.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use mastiff_core::pair::message::Member;
use nix::sys::signal::Signal;

use super::daemon::{Daemon, Folder, PATIENCE};
use super::node::Node;

#[test]
fn pairs_without_a_good_key_are_said_and_the_others_are_served() {
    let folder = Folder::new();
    folder.key("db", &[1]);
    folder.file("bad.key", "not a key\n");
    folder.configure(&["gone", "db", "bad"]);
    let daemon = Daemon::start_in(folder);
    Node::new(&daemon.folder.address, "db", 1, Member::First, 7).ask(5);
    daemon.wait_for_log("pair gone is not served: there is no key file ");
    daemon.wait_for_log("pair bad is not served: line 1 of the key file ");
    daemon.reload("witness of pairs: 1; nodes heard: 1 of 2; pairs not served: 2, see the log");
}

#[test]
fn without_any_key_it_ends_with_78() {
    let folder = Folder::new();
    folder.configure(&["db", "web"]);
    let mut daemon = Daemon::launch(folder, |_| {});
    assert_eq!(daemon.ended(), Some(78), "{}", daemon.folder.log());
    for part in ["pair db is not served", "pair web is not served", "none of the pairs can be"] {
        assert!(daemon.folder.log().contains(part), "{part}: {}", daemon.folder.log());
    }
}

#[test]
fn a_second_one_on_the_same_port_ends_with_69() {
    let first = Daemon::start(&["db"]);
    let folder = Folder::new();
    folder.key("db", &[1]);
    folder.configure(&["db"]);
    let text = std::fs::read_to_string(folder.path("witness.toml")).unwrap();
    folder.file("witness.toml", &text.replace(&folder.address, &first.folder.address));
    let mut second = Daemon::launch(folder, |_| {});
    assert_eq!(second.ended(), Some(69), "{}", second.folder.log());
    let said = format!("cannot listen on {} (UDP): Address already in use", first.folder.address);
    assert!(second.folder.log().contains(&said), "{}", second.folder.log());
}

#[test]
fn pid_1_hears_how_it_stands_and_that_it_lives() {
    let folder = Folder::new();
    let systemd = UnixDatagram::bind(folder.path("notify")).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = |begin: &str| loop {
        let mut bytes = [0; 1000];
        let length = systemd.recv(&mut bytes).expect(begin);
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if text.starts_with(begin) {
            return text;
        }
    };
    folder.key("db", &[1]);
    folder.configure(&["db"]);
    let notify = folder.path("notify");
    let limit = Duration::from_millis(500).as_micros().to_string();
    let mut daemon = Daemon::launch(folder, |command| {
        command.env("NOTIFY_SOCKET", notify).env("WATCHDOG_USEC", limit);
    });
    hear("READY=1");
    hear("STATUS=witness of pairs: 1; nodes heard: 0 of 2");
    assert_eq!(hear("WATCHDOG=1"), "WATCHDOG=1");
    Node::new(&daemon.folder.address, "db", 1, Member::Second, 7).ask(5);
    hear("STATUS=witness of pairs: 1; nodes heard: 1 of 2");
    daemon.signal(Signal::SIGHUP);
    hear("RELOADING=1");
    hear("READY=1");
    daemon.signal(Signal::SIGTERM);
    hear("STOPPING=1");
    assert_eq!(daemon.ended(), Some(0));
}
