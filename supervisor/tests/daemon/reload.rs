//! Reloads: checked whole, then taken over or refused, and never waited for.

use std::os::unix::fs::symlink;

use mastiff::control::{Answer, Request};
use mastiff_core::health::Verdict;
use nix::sys::signal::Signal;

use super::daemon::{Client, Daemon, Folder, descriptors, resident_kib};
use super::fuse::{Fuse, Manner, in_namespaces};

const KEPT: &str =
    "[[check]]\nname = \"kept\"\nsensor = \"file\"\ntarget = \"/\"\ninterval = \"100ms\"\n";

fn check(name: &str, condition: &str) -> String {
    format!(
        "[[check]]\nname = \"{name}\"\nsensor = \"file\"\ntarget = \"/\"\nfail-when = \"{condition}\"\ninterval = \"100ms\"\n"
    )
}

fn names(daemon: &Daemon) -> Vec<String> {
    let mut names: Vec<String> =
        daemon.status().checks.into_iter().map(|check| check.name).collect();
    names.sort();
    names
}

#[test]
fn a_bad_file_is_refused_with_every_fault_and_the_old_one_stays() {
    let daemon = Daemon::start(KEPT);
    daemon
        .configure("[[check]]\nname = \"kept\"\nsensor = \"fiel\"\ntarget = \"/\"\nnonsense = 1\n");
    let path = daemon.folder.text("mastiff.toml");
    let answer = daemon.order(&Request::Reload { confirm_secs: None }).unwrap_err();
    for part in ["the old one stays", "did you mean `file`", "nonsense", &format!("{path}:")] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    assert_eq!(answer.matches(&path).count(), 2, "each fault has its line: {answer}");
    assert_eq!(names(&daemon), ["kept"]);
    daemon.signal(Signal::SIGHUP);
    let refused = daemon.await_events("config-refused", 2);
    assert_eq!(refused, [answer.clone(), answer]);
    daemon.await_verdict("kept", Verdict::Healthy);
    // Nor is it disturbed by one that is not there, is no text, or wants what needs a restart.
    std::fs::remove_file(daemon.folder.path("mastiff.toml")).unwrap();
    assert!(
        daemon.order(&Request::Reload { confirm_secs: None }).unwrap_err().contains("no such file")
    );
    std::fs::write(daemon.folder.path("mastiff.toml"), b"[node]\nname = \"\xff\"\n").unwrap();
    assert!(daemon.order(&Request::Reload { confirm_secs: None }).unwrap_err().contains("UTF-8"));
    daemon.folder.file("mastiff.toml", "[node]\nrun-dir = \"/nowhere\"\n");
    assert!(
        daemon
            .order(&Request::Reload { confirm_secs: None })
            .unwrap_err()
            .contains("only by a restart")
    );
    daemon.configure("[witness]\n[[witness.pair]]\nname = \"db\"\nkey-file = \"/k\"\n");
    assert!(
        daemon
            .order(&Request::Reload { confirm_secs: None })
            .unwrap_err()
            .contains("only by a restart")
    );
    assert_eq!(names(&daemon), ["kept"]);
}

#[test]
fn a_good_file_is_taken_over_and_what_it_does_not_change_goes_on() {
    let daemon = Daemon::start(
        &(KEPT.to_string()
            + &check("goes", "exists = false")
            + &check("changes", "exists = false")),
    );
    let before = daemon.await_check("kept", "is healthy for a second", |view| {
        view.verdict == Verdict::Healthy && view.for_secs > 1.0
    });
    let begun = daemon.check("changes").for_secs;
    daemon.configure(
        &(KEPT.to_string()
            + &check("changes", "exists = true")
            + &check("comes", "exists = false")),
    );
    daemon.signal(Signal::SIGHUP);
    daemon.await_events("config-loaded", 1);
    assert_eq!(names(&daemon), ["changes", "comes", "kept"]);
    let after = daemon.check("kept");
    assert!(after.for_secs >= before.for_secs, "{} < {}", after.for_secs, before.for_secs);
    assert!(after.reading_age_secs.is_some());
    let view = daemon.await_verdict("changes", Verdict::Failed);
    assert!(view.for_secs < begun + 60.0);
    daemon.await_verdict("comes", Verdict::Healthy);
    let about = |name: &str| {
        let events = daemon.events().into_iter();
        let of_it = events.filter(|event| event.check.as_deref() == Some(name));
        of_it.map(|event| event.kind).collect::<Vec<_>>()
    };
    assert_eq!(about("kept"), ["check-appears", "verdict"], "nothing happened to it");
    assert_eq!(about("goes"), ["check-appears", "verdict", "check-goes"]);
    // The same file again changes nothing, many times in a row.
    for _ in 0..50 {
        daemon.order(&Request::Reload { confirm_secs: None }).unwrap();
    }
    assert_eq!(about("kept"), ["check-appears", "verdict"]);
}

#[test]
fn a_configuration_on_trial_goes_unless_it_is_confirmed() {
    let daemon = Daemon::start(KEPT);
    let reload = |secs| daemon.order(&Request::Reload { confirm_secs: secs });
    for wrong in [-1.0, 0.5, 4000.0, f64::MAX] {
        assert!(reload(Some(wrong)).unwrap_err().contains("between 1s and 1h"), "{wrong}");
    }
    assert!(daemon.order(&Request::ConfirmReload {}).unwrap_err().contains("on trial"));
    daemon.configure(&(KEPT.to_string() + &check("new", "exists = false")));
    assert!(reload(Some(60.0)).unwrap().contains("mastiff reload --confirmed"));
    assert!(daemon.status().trial_left_secs.unwrap() > 50.0);
    daemon.order(&Request::ConfirmReload {}).unwrap();
    assert_eq!(daemon.status().trial_left_secs, None);
    assert_eq!(names(&daemon), ["kept", "new"]);
    // What nobody confirms goes; so does what was loaded meanwhile, and a fault changes nothing.
    daemon.configure(&check("bad", "exists = true"));
    reload(Some(60.0)).unwrap();
    daemon.configure("nonsense = 1\n");
    reload(Some(60.0)).unwrap_err();
    daemon.configure(&check("worse", "exists = true"));
    assert!(reload(None).unwrap().contains("the former one is back in"));
    assert_eq!(names(&daemon), ["worse"]);
    reload(Some(1.0)).unwrap();
    let told = daemon.await_events("config-rolled-back", 1);
    assert!(told[0].contains("still has the other"), "{told:?}");
    assert_eq!(names(&daemon), ["kept", "new"]);
    assert_eq!(daemon.status().trial_left_secs, None);
}

#[test]
fn a_thousand_reloads_leave_nothing_behind() {
    let daemon = Daemon::start(KEPT);
    let many = |count| {
        for at in 0..count {
            let more = check(if at % 2 == 0 { "even" } else { "odd" }, "exists = false");
            daemon.configure(&(KEPT.to_string() + &more));
            daemon.order(&Request::Reload { confirm_secs: (at % 3 == 0).then_some(60.0) }).unwrap();
        }
    };
    many(100);
    let pid = daemon.pid();
    let before = (descriptors(pid), resident_kib(pid));
    many(1000);
    let after = (descriptors(pid), resident_kib(pid));
    // A connection may be on its way.
    assert!(after.0 <= before.0 + 2, "descriptors: {before:?}, {after:?}");
    assert!(after.1 <= before.1 + 1024, "KiB: {before:?}, {after:?}");
    daemon.await_verdict("kept", Verdict::Healthy);
}

#[test]
fn a_new_name_of_the_node_reaches_the_hooks() {
    let folder = Folder::new();
    let script = folder.script("hook", &format!("cat >> {}", folder.text("told")));
    let config = format!("{KEPT}[[alert]]\nrun = \"{script}\"\n");
    let daemon = Daemon::start_in(folder, &config);
    let text = daemon.folder.read("mastiff.toml").replace("\"test\"", "\"renamed\"");
    daemon.folder.file("mastiff.toml", &(text.clone() + &check("bad", "exists = true")));
    daemon.order(&Request::Reload { confirm_secs: None }).unwrap();
    assert_eq!(daemon.status().node, "renamed");
    daemon.wait("the hook hears", || daemon.folder.read("told").contains("\"node\":\"renamed\""));
}

#[test]
fn a_hook_that_is_taken_away_while_it_fails_holds_up_nothing() {
    let folder = Folder::new();
    let fails = folder.script("fails", "exit 1");
    let works = folder.script("works", &format!("cat >> {}", folder.text("told")));
    let config = format!("{KEPT}{}[[alert]]\nrun = \"{fails}\"\n", check("bad", "exists = true"));
    let daemon = Daemon::start_in(folder, &config);
    daemon.await_events("alert-retry", 1);
    daemon.configure(&format!(
        "{KEPT}{}[[alert]]\nrun = \"{works}\"\n",
        check("worse", "exists = true")
    ));
    daemon.order(&Request::Reload { confirm_secs: None }).unwrap();
    daemon.wait("the new hook hears", || daemon.folder.read("told").contains("worse"));
    // The hook has written before it has ended.
    daemon.wait("the queue is empty", || daemon.counter("alerts-waiting") == 0);
}

#[test]
fn a_file_on_a_hanging_mount_is_refused_in_time_and_delays_nobody() {
    in_namespaces("reload::a_file_on_a_hanging_mount_is_refused_in_time_and_delays_nobody", || {
        let folder = Folder::new();
        let point = folder.path("hung");
        let fuse = Fuse::mount(&point, Manner::Deaf);
        let daemon = Daemon::start_in(folder, KEPT);
        let config = daemon.folder.path("mastiff.toml");
        std::fs::rename(&config, daemon.folder.path("good.toml")).unwrap();
        symlink(point.join("mastiff.toml"), &config).unwrap();

        // One that leaves before its answer: who comes after it must not get it.
        let mut leaves = daemon.client();
        leaves.say("{\"do\":\"reload\"}\n").unwrap();
        daemon.wait("it hangs", || daemon.probers().len() == 2);
        drop(leaves);
        let mut stays: Vec<Client> = (0..4).map(|_| daemon.client()).collect();
        for client in &mut stays {
            assert!(matches!(client.ask(&Request::Status {}).unwrap(), Answer::Status(_)));
        }
        daemon.signal(Signal::SIGHUP);
        let mut ages = Vec::new();
        daemon.wait("it is refused", || {
            ages.push(daemon.check("kept").reading_age_secs.unwrap());
            !daemon.texts("config-refused").is_empty()
        });
        assert!(ages.iter().all(|age| *age < 1.5), "{ages:?}");
        assert!(daemon.texts("config-refused")[0].contains("stalled since"));
        for client in &mut stays {
            // Whatever it hears next is the answer to this.
            let answer = client.ask(&Request::Explain { check: "kept".into() }).unwrap();
            assert!(matches!(answer, Answer::Check(_)), "{answer:?}");
        }
        let again = daemon.order(&Request::Reload { confirm_secs: None }).unwrap_err();
        assert!(again.contains("stalled since"), "at once: {again}");
        fuse.answer();
        std::fs::remove_file(&config).unwrap();
        std::fs::rename(daemon.folder.path("good.toml"), &config).unwrap();
        daemon.wait("it can be loaded again", || {
            daemon.order(&Request::Reload { confirm_secs: None }).is_ok()
        });
    });
}
