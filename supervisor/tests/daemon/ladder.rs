//! Ladders with real programs, alerts, pauses, and what of them outlives a crash.

use std::os::unix::ffi::OsStrExt;

use mastiff::control::Request;
use mastiff_core::health::Verdict;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;

use super::daemon::{Daemon, Folder};

/// A check that is failed while the file `name` is not there; `on_fail` is TOML.
fn wants_file(folder: &Folder, name: &str, on_fail: &str) -> String {
    format!(
        "[[check]]\nname = \"{name}\"\nsensor = \"file\"\ntarget = \"{}\"\ninterval = \"100ms\"\n\
         on-fail = {on_fail}\n",
        folder.text(name)
    )
}

/// A hook that writes down what it is told; it fails while the file `deaf` is there.
fn hook(folder: &Folder) -> String {
    let script = folder.script(
        "hook",
        &format!(
            "cd {}\n[ -e deaf ] && echo sorry && exit 3\ncat >> told\n\
             echo \"$MASTIFF_ALERT $MASTIFF_CHECK $MASTIFF_VERDICT $MASTIFF_WAS\" >> environment",
            folder.text("")
        ),
    );
    format!("[[alert]]\nrun = \"{script} --from mastiff\"\n")
}

fn told(daemon: &Daemon) -> Vec<serde_json::Value> {
    let text = daemon.folder.read("told");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_rung_that_helps_is_run_once_and_its_story_is_in_order() {
    let folder = Folder::new();
    let script = folder.script(
        "repair",
        &format!(
            "touch {}; env > {}; echo \"$@\" >> {}",
            folder.text("it"),
            folder.text("env"),
            folder.text("arguments")
        ),
    );
    let config =
        wants_file(&folder, "it", &format!("\"run {script} 'two words' three\"")) + &hook(&folder);
    let daemon = Daemon::start_in(folder, &config);
    daemon.await_verdict("it", Verdict::Healthy);
    daemon.await_events("rung-ends", 1);
    let story: Vec<String> = daemon
        .events()
        .into_iter()
        .filter(|event| event.check.as_deref() == Some("it") && event.kind != "check-appears")
        .map(|event| event.kind)
        .collect();
    // The file may be seen before the end of the script that made it is.
    assert_eq!(story[..2], ["verdict", "rung-starts"], "{story:?}");
    let mut rest = story[2..].to_vec();
    rest.sort();
    assert_eq!(rest, ["rung-ends", "verdict"]);
    assert_eq!(daemon.folder.read("arguments"), "two words three\n");
    let environment = daemon.folder.read("env");
    for line in
        ["MASTIFF_NODE=test", "MASTIFF_CHECK=it", "MASTIFF_TARGET=", "PATH=/usr/local/sbin:"]
    {
        assert!(environment.contains(line), "{line}: {environment}");
    }
    assert!(!environment.contains("CARGO"), "the environment is cleared: {environment}");

    // By the end of the hook, since it goes on writing after what it was told.
    daemon.wait("problem and recovery are told", || daemon.counter("alerts-delivered") == 2);
    let told = told(&daemon);
    assert_eq!(told.len(), 2, "{told:?}");
    let field = |index: usize, name: &str| told[index][name].as_str().unwrap().to_string();
    assert_eq!((field(0, "alert"), field(0, "verdict")), ("problem".into(), "failed".into()));
    assert_eq!((field(1, "alert"), field(1, "verdict")), ("recovery".into(), "healthy".into()));
    assert!(field(0, "reason").contains("exists = false"), "{told:?}");
    assert_eq!((field(0, "node"), field(0, "sensor")), ("test".into(), "file".into()));
    assert_eq!(
        daemon.folder.read("environment"),
        "problem it failed healthy\nrecovery it healthy failed\n"
    );
}

#[test]
fn a_rung_that_never_helps_spends_its_budget_and_no_more_across_a_crash_and_is_not_given_up() {
    let folder = Folder::new();
    let script =
        folder.script("useless", &format!("echo tried >> {}; exit 7", folder.text("tries")));
    let config =
        wants_file(&folder, "it", &format!("\"run {script}\"")) + "[budgets]\nrun = \"2 in 1h\"\n";
    let mut daemon = Daemon::start_in(folder, &config);
    let ends = daemon.await_events("rung-ends", 1);
    assert!(ends[0].contains("exit code 7"), "{ends:?}");
    // The second round comes after a back-off, and then the budget is spent.
    let waits = daemon.await_events("ladder-waits", 2);
    assert!(waits[0].contains("round 1") && waits[1].contains("budgets"), "{waits:?}");
    assert_eq!(daemon.folder.read("tries").lines().count(), 2);
    daemon.wait("both uses are saved", || {
        daemon.folder.read("state/state.json").matches("rung-ends").count() == 2
    });
    daemon.crash_and_restart();
    let view = daemon.await_check("it", "waits again", |view| {
        view.ladder.as_ref().is_some_and(|ladder| ladder.due_in_secs.is_some())
    });
    let ladder = view.ladder.unwrap();
    assert_eq!((ladder.rungs[0].used, ladder.rungs[0].budget.as_str()), (2, "2 in 1h"));
    assert!(ladder.due_in_secs.is_some_and(|due| due > 3000.0 && due <= 3600.0), "{ladder:?}");
    assert_eq!(daemon.folder.read("tries").lines().count(), 2, "not a third time");
    let starts = daemon.texts("daemon-starts");
    assert_eq!(starts.len(), 2, "events go on across the crash: {starts:?}");
    let numbers: Vec<u64> = daemon.events().iter().map(|event| event.seq).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
}

#[test]
fn a_rung_that_hangs_is_killed_and_the_next_one_follows() {
    let folder = Folder::new();
    // The deadline of `run` is a minute: this one would wait for an hour, and dies with its runner
    // at the end.
    let hangs =
        folder.script("hangs", &format!("echo $$ > {}; exec sleep 3600", folder.text("pid")));
    let config = wants_file(&folder, "it", &format!("\"run {hangs}\""))
        + &wants_file(&folder, "other", "[]");
    let mut daemon = Daemon::start_in(folder, &config);
    daemon.wait("it hangs", || !daemon.folder.read("pid").is_empty());
    let view = daemon.check("it").ladder.unwrap();
    assert!(view.now.contains("under way"), "{view:?}");
    // Everything else goes on, a reload included, and the end does not wait.
    daemon.folder.file("other", "");
    daemon.await_verdict("other", Verdict::Healthy);
    daemon.order(&Request::Reload { confirm_secs: None }).unwrap();
    let view = daemon.check("it").ladder.unwrap();
    assert!(view.now.contains("under way"), "{view:?}");
    let pid = daemon.folder.read("pid").trim().parse().unwrap();
    assert_eq!(daemon.end(Signal::SIGTERM).code(), Some(0));
    daemon.wait("it dies with the daemon", || {
        !super::daemon::is_alive(nix::unistd::Pid::from_raw(pid))
    });
}

#[test]
fn a_hook_that_fails_is_tried_again_and_hears_everything_in_order() {
    let folder = Folder::new();
    folder.file("deaf", "");
    let config = wants_file(&folder, "it", "[]") + &hook(&folder);
    let daemon = Daemon::start_in(folder, &config);
    let retries = daemon.await_events("alert-retry", 1);
    assert!(retries[0].contains("exit code 3: sorry"), "{retries:?}");
    daemon.folder.file("it", "");
    daemon.await_verdict("it", Verdict::Healthy);
    assert_eq!(daemon.counter("alerts-waiting"), 2, "the recovery waits behind the problem");
    std::fs::remove_file(daemon.folder.path("deaf")).unwrap();
    daemon.wait("both are told", || told(&daemon).len() == 2);
    assert_eq!(told(&daemon)[0]["alert"], "problem");
    assert_eq!(told(&daemon)[1]["alert"], "recovery");
    // The hook has written before it has ended.
    daemon.wait("the queue is empty", || daemon.counter("alerts-waiting") == 0);
}

#[test]
fn alerts_and_pauses_outlive_a_crash() {
    let folder = Folder::new();
    folder.file("deaf", "");
    let touch = folder.script("repair", &format!("touch {}", folder.text("calm")));
    let config = wants_file(&folder, "it", "[]")
        + &wants_file(&folder, "calm", &format!("\"run {touch}\""))
        + &hook(&folder);
    folder.file("calm", "");
    let mut daemon = Daemon::start_in(folder, &config);
    let check = Some("calm".to_string());
    let pause = Request::Pause { check: check.clone(), for_secs: 600.0, why: "new disks".into() };
    daemon.order(&pause).unwrap();
    daemon.await_events("alert-retry", 1);
    daemon.wait("both are saved", || {
        let state = daemon.folder.read("state/state.json");
        state.contains("new disks") && state.contains("alert-retry")
    });
    daemon.crash_and_restart();
    let pauses = daemon.status().pauses;
    assert_eq!(pauses.len(), 1);
    assert_eq!((pauses[0].why.as_str(), &pauses[0].check), ("new disks", &check));
    assert!(pauses[0].left_secs > 400.0 && pauses[0].left_secs <= 600.0, "{pauses:?}");
    assert_eq!(daemon.counter("alerts-waiting"), 1);
    // Whoever restarts it may have mended the hook: it is tried at once or with the usual patience.
    std::fs::remove_file(daemon.folder.path("deaf")).unwrap();
    daemon.wait("the old alert is told", || told(&daemon).len() == 1);
    assert_eq!(told(&daemon)[0]["check"], "it");
    // What was told before the crash gets its recovery after it, and nothing is told twice.
    daemon.folder.file("it", "");
    daemon.wait("the recovery is told", || told(&daemon).len() == 2);
    assert_eq!(told(&daemon)[1]["alert"], "recovery");

    // No rung while paused; the first reading after it starts one.
    std::fs::remove_file(daemon.folder.path("calm")).unwrap();
    daemon.await_verdict("calm", Verdict::Failed);
    let seen = daemon.check("calm").for_secs;
    daemon.await_check("calm", "stays failed", |view| view.for_secs > seen + 1.0);
    assert!(daemon.texts("rung-starts").is_empty());
    assert_eq!(told(&daemon).len(), 2, "a pause is silent, too");
    daemon.order(&Request::Resume { check }).unwrap();
    daemon.await_verdict("calm", Verdict::Healthy);
    assert_eq!(daemon.texts("rung-starts").len(), 1);
    let ends = daemon.texts("pause-ends");
    assert_eq!(ends, ["calm resumed"]);
}

#[test]
fn a_pause_ends_by_itself() {
    let folder = Folder::new();
    let touch = folder.script("repair", &format!("touch {}", folder.text("it")));
    let config = wants_file(&folder, "it", &format!("\"run {touch}\""));
    folder.file("it", "");
    let daemon = Daemon::start_in(folder, &config);
    daemon.order(&Request::Pause { check: None, for_secs: 2.0, why: "short".into() }).unwrap();
    std::fs::remove_file(daemon.folder.path("it")).unwrap();
    daemon.await_verdict("it", Verdict::Failed);
    daemon.await_events("rung-starts", 1);
    let kinds: Vec<String> = daemon.events().into_iter().map(|event| event.kind).collect();
    let at = |kind: &str| kinds.iter().position(|known| known == kind).unwrap();
    assert!(at("pause-begins") < at("pause-ends") && at("pause-ends") < at("rung-starts"));
    let refused = |request: Request| daemon.order(&request).unwrap_err();
    let pause = |check: Option<&str>, for_secs: f64, why: &str| Request::Pause {
        check: check.map(str::to_string),
        for_secs,
        why: why.into(),
    };
    refused(pause(Some("nobody"), 60.0, "x"));
    refused(pause(None, -1.0, "x"));
    refused(pause(None, 1e300, "x"));
    refused(pause(None, 60.0, " \n"));
    refused(Request::Resume { check: None });
}

#[test]
fn a_damaged_state_file_is_said_once_and_replaced() {
    let long = "[".repeat(10_000_000);
    let contents: [(&str, &[u8]); 6] = [
        ("empty", b""),
        ("cut", b"{\"version\":1,\"boot_un"),
        ("binary", b"\xff\xfe\x00\x01\x80"),
        ("other form", b"{\"version\":99,\"boot_unix_nanos\":0,\"memory\":{\"pauses\":[],\"checks\":[]},\"alerts\":[],\"next_event\":0,\"events\":[]}"),
        ("deep and long", long.as_bytes()),
        ("wrong types", b"{\"version\":1,\"boot_unix_nanos\":\"x\",\"memory\":7}"),
    ];
    for (what, content) in contents {
        let folder = Folder::new();
        std::fs::create_dir(folder.path("state")).unwrap();
        std::fs::write(folder.path("state/state.json"), content).unwrap();
        let mut daemon = Daemon::start_in(folder, "");
        let lost = daemon.texts("state-lost");
        assert_eq!(lost.len(), 1, "{what}");
        assert!(lost[0].len() < 500, "{what}: {lost:?}");
        assert_eq!(daemon.end(Signal::SIGTERM).code(), Some(0));
        let state: serde_json::Value =
            serde_json::from_str(&daemon.folder.read("state/state.json")).unwrap();
        assert_eq!(state["version"], 1, "{what}");
        daemon.relaunch();
        assert_eq!(daemon.texts("state-lost").len(), 1, "{what}: only the old event");
    }
}

#[test]
fn what_is_no_file_in_the_place_of_the_state_does_not_hold_up_the_start() {
    for kind in ["directory", "fifo"] {
        let folder = Folder::new();
        std::fs::create_dir(folder.path("state")).unwrap();
        let path = folder.path("state/state.json");
        match kind {
            "directory" => std::fs::create_dir(&path).unwrap(),
            _ => nix::unistd::mkfifo(path.as_os_str().as_bytes(), Mode::S_IRWXU).unwrap(),
        }
        let mut daemon = Daemon::start_in(folder, "");
        assert_eq!(daemon.texts("state-lost").len(), 1, "{kind}");
        assert_eq!(daemon.end(Signal::SIGTERM).code(), Some(0), "{kind}");
    }
}
