//! Heartbeats of applications: real datagrams to `heartbeat.sock`.

use std::os::unix::net::UnixDatagram;

use mastiff_core::health::Verdict;

use super::daemon::Daemon;

const FLOOD: u32 = 100_000;

fn application(name: &str) -> String {
    format!(
        "[[check]]\nname = \"{name}\"\nsensor = \"heartbeat\"\ntarget = \"{name}\"\ninterval = \"100ms\"\nfail-when = [\"age > 1s\", \"triggered\"]\n"
    )
}

fn send(daemon: &Daemon, text: &str) {
    let socket = UnixDatagram::unbound().unwrap();
    let path = daemon.folder.path("run/heartbeat.sock");
    assert_eq!(socket.send_to(text.as_bytes(), path).unwrap(), text.len());
}

fn value(daemon: &Daemon, check: &str, name: &str) -> Option<f64> {
    let view = daemon.check(check);
    view.values.into_iter().find(|value| value.name == name).unwrap().number
}

#[test]
fn an_application_is_watched_from_its_first_beat_to_its_farewell() {
    let daemon = Daemon::start(&(application("billing") + &application("other")));
    let view = daemon.await_verdict("billing", Verdict::Unknown);
    assert!(view.note.as_deref() == Some("no heartbeat yet"), "{view:?}");
    daemon.wait("it beats", || {
        send(&daemon, "WATCHDOG=1\nSTATUS=serving\nX_MASTIFF_NAME=billing");
        daemon.check("billing").verdict == Verdict::Healthy
    });
    assert_eq!(daemon.check("billing").note.as_deref(), Some("serving"));
    // Silence.
    let view = daemon.await_verdict("billing", Verdict::Failed);
    assert!(view.reason.contains("age > 1s"), "{}", view.reason);
    daemon.wait("it beats again", || {
        send(&daemon, "WATCHDOG=1\nX_MASTIFF_NAME=billing");
        daemon.check("billing").verdict == Verdict::Healthy
    });
    // It says itself that something is wrong, even if it goes on beating in the same breath.
    send(&daemon, "WATCHDOG=trigger\nWATCHDOG=1\nX_MASTIFF_NAME=billing");
    let view = daemon.await_verdict("billing", Verdict::Failed);
    assert!(view.reason.contains("triggered") || view.reason.contains("age"), "{}", view.reason);
    // It is stopped on purpose: silence is what is to be expected, for longer than the limit.
    send(&daemon, "READY=1\nX_MASTIFF_NAME=billing");
    send(&daemon, "STOPPING=1\nX_MASTIFF_NAME=billing");
    daemon.await_verdict("billing", Verdict::Healthy);
    daemon.await_check("billing", "stays so", |view| view.for_secs > 1.5);
    assert_eq!(daemon.check("billing").verdict, Verdict::Healthy);
    assert_eq!(daemon.check("other").verdict, Verdict::Unknown, "nobody spoke for it");
}

#[test]
fn hostile_datagrams_are_counted_and_change_nothing() {
    let daemon = Daemon::start(&application("billing"));
    let long = format!("WATCHDOG=1\nX_MASTIFF_NAME={}", "x".repeat(10_000));
    let mut sent = 0;
    for text in ["\0", "\n\n", "WATCHDOG=1\nX_MASTIFF_NAME=a.service", "X_MASTIFF_NAME=", &long] {
        send(&daemon, text);
        sent += 1;
    }
    daemon.wait("they are taken", || {
        send(&daemon, "WATCHDOG=1\nX_MASTIFF_NAME=billing");
        value(&daemon, "billing", "beats").is_some_and(|beats| beats > 0.0)
    });
    assert!(daemon.counter("heartbeats-ignored") <= sent);
    assert_eq!(daemon.check("billing").verdict, Verdict::Healthy);
}

#[test]
fn a_flood_of_datagrams_delays_nobody() {
    let bystander = "[[check]]\nname = \"file\"\nsensor = \"file\"\ntarget = \"/\"\ninterval = \"100ms\"\n\
                     [[check]]\nname = \"load\"\nsensor = \"load\"\ninterval = \"100ms\"\n";
    let daemon = Daemon::start(&(application("flood") + bystander));
    let path = daemon.folder.path("run/heartbeat.sock");
    let flood = std::thread::spawn(move || {
        let socket = UnixDatagram::unbound().unwrap();
        for number in 0..FLOOD {
            // Some of them come from nobody, which costs a look into /proc.
            let name = if number % 4 == 0 { "" } else { "\nX_MASTIFF_NAME=flood" };
            socket.send_to(format!("WATCHDOG=1{name}").as_bytes(), &path).unwrap();
        }
    });
    let mut looks = 0;
    while !flood.is_finished() {
        let status = daemon.status();
        for name in ["file", "load"] {
            let view = status.checks.iter().find(|check| check.name == name).unwrap();
            let age = view.reading_age_secs.unwrap();
            assert!(age < 1.5, "{name} was read {age} s ago");
        }
        looks += 1;
    }
    flood.join().unwrap();
    assert!(looks > 0);
    daemon.wait("all of it is heard", || {
        value(&daemon, "flood", "beats") == Some(f64::from(FLOOD / 4 * 3))
    });
    daemon.await_verdict("flood", Verdict::Failed);
}
