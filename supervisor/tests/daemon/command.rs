//! Programs as checks: plugins that behave, and plugins that do not.

use mastiff::control::Request;
use mastiff_core::health::Verdict;
use mastiff_core::view::CheckView;
use nix::unistd::Pid;

use super::daemon::{Daemon, Folder, is_alive, resident_kib};

fn command(name: &str, target: &str, timeout: &str) -> String {
    format!(
        "[[check]]\nname = \"{name}\"\nsensor = \"command\"\ntarget = \"{target}\"\ninterval = \"200ms\"\ntimeout = \"{timeout}\"\n"
    )
}

fn note(view: &CheckView) -> &str {
    view.note.as_deref().unwrap_or_default()
}

#[test]
fn the_exit_code_of_a_plugin_is_its_verdict_and_its_line_the_note() {
    let folder = Folder::new();
    let mut config = String::new();
    for code in [0, 1, 2, 3, 99] {
        let script = folder.script(
            &format!("plugin-{code}"),
            &format!("echo \"PLUGIN says {code} | time=1s\"; echo more; exit {code}"),
        );
        config += &command(&format!("code-{code}"), &script, "5s");
    }
    let crash = folder.script("crash", "kill -SEGV $$");
    config += &command("crash", &crash, "5s");
    let daemon = Daemon::start_in(folder, &config);
    for (name, verdict, says) in [
        ("code-0", Verdict::Healthy, "PLUGIN says 0"),
        ("code-1", Verdict::Degraded, "PLUGIN says 1"),
        ("code-2", Verdict::Failed, "PLUGIN says 2"),
        ("code-3", Verdict::Unknown, "PLUGIN says 3"),
        ("code-99", Verdict::Unknown, "PLUGIN says 99"),
        ("crash", Verdict::Unknown, "signal 11"),
    ] {
        let view = daemon.await_verdict(name, verdict);
        assert!(note(&view).contains(says), "{name}: {view:?}");
    }
}

#[test]
fn a_plugin_that_hangs_is_killed_with_its_children_and_unknown() {
    let folder = Folder::new();
    let pids = folder.text("pids");
    // A slow machine may kill a run before it has a child: the first one that gets so far leaves
    // its numbers, whole, and later ones only hang.
    let script = folder.script(
        "hangs",
        &format!(
            "trap '' TERM HUP INT\n[ -e {pids} ] && exec sleep 3600\n\
             (trap '' TERM HUP; exec sleep 3600) &\n\
             echo \"$! $$\" > {pids}.new; mv {pids}.new {pids}\nwait"
        ),
    );
    let daemon = Daemon::start_in(folder, &command("hangs", &script, "500ms"));
    let view = daemon.await_check("hangs", "is given up", |view| view.note.is_some());
    assert_eq!(view.verdict, Verdict::Unknown);
    assert!(note(&view).contains("killed"), "{view:?}");
    daemon.wait("it hangs with a child", || !daemon.folder.read("pids").is_empty());
    let pids: Vec<Pid> = daemon
        .folder
        .read("pids")
        .split_whitespace()
        .map(|pid| Pid::from_raw(pid.parse().unwrap()))
        .collect();
    assert_eq!(pids.len(), 2, "{pids:?}");
    daemon.wait("all are dead", || !pids.iter().any(|pid| is_alive(*pid)));
    daemon.configure("");
    daemon.order(&Request::Reload { confirm_secs: None }).unwrap();
    daemon.wait("none is left to be reaped", || {
        super::daemon::children(daemon.runner()).iter().all(|pid| daemon.probers().contains(pid))
    });
}

#[test]
fn a_plugin_whose_background_child_keeps_the_pipe_is_not_waited_for() {
    let folder = Folder::new();
    let pid = folder.text("pid");
    let script = folder.script("forks", &format!("sleep 30 & echo $! > {pid}\necho done; exit 1"));
    let daemon = Daemon::start_in(folder, &command("forks", &script, "10s").replace("200ms", "1h"));
    let view = daemon.await_verdict("forks", Verdict::Degraded);
    assert_eq!(note(&view), "done");
    let took = view.values.iter().find(|value| value.name == "took").unwrap().number.unwrap();
    assert!(took < 5.0, "{took} s");
    let left: i32 = daemon.folder.read("pid").trim().parse().unwrap();
    nix::sys::signal::kill(Pid::from_raw(left), nix::sys::signal::Signal::SIGKILL).ok();
}

#[test]
fn endless_output_is_cut_and_ends_with_the_time_limit() {
    let folder = Folder::new();
    let yes = folder.script("yes", "exec yes 'far too much'");
    // Its child goes on writing after it has ended.
    let leaves = folder.script("leaves", "timeout 5 yes noise &\necho first; exit 2");
    let config = (0..4).map(|n| command(&format!("yes-{n}"), &yes, "1s")).collect::<String>()
        + &command("leaves", &leaves, "5s").replace("200ms", "1h")
        + &command("true", "/bin/true", "5s");
    let daemon = Daemon::start_in(folder, &config);
    for name in ["yes-0", "yes-3"] {
        let view = daemon.await_check(name, "is given up", |view| note(view).contains("killed"));
        assert_eq!(view.verdict, Verdict::Unknown);
        assert!(note(&view).len() < 600, "{view:?}");
    }
    daemon.await_verdict("leaves", Verdict::Failed);
    for _ in 0..50 {
        let age = daemon.check("true").reading_age_secs.unwrap();
        assert!(age < 2.5, "{age} s");
    }
    assert!(resident_kib(daemon.runner()) < 50_000);
}

#[test]
fn what_cannot_be_run_is_unknown_with_the_reason() {
    let folder = Folder::new();
    let plain = folder.file("plain", "#!/bin/sh\n").display().to_string();
    let wrong = folder.script("wrong", "").clone();
    std::fs::write(folder.path("wrong"), "#!/no/such/interpreter\n").unwrap();
    let config = command("absent", &folder.text("absent"), "5s")
        + &command("plain", &plain, "5s")
        + &command("directory", &folder.text(""), "5s")
        + &command("wrong", &wrong, "5s");
    let daemon = Daemon::start_in(folder, &config);
    for (name, says) in [
        ("absent", "No such file"),
        ("plain", "Permission denied"),
        ("directory", "Permission denied"),
        ("wrong", "No such file"),
    ] {
        let view = daemon.await_check(name, "is read", |view| view.note.is_some());
        assert_eq!(view.verdict, Verdict::Unknown, "{view:?}");
        assert!(note(&view).contains(says), "{name}: {view:?}");
    }
}

#[test]
fn a_program_starts_with_a_clean_world() {
    let folder = Folder::new();
    let script = folder.script(
        "world",
        "grep -E '^Sig(Blk|Ign)' /proc/self/status | tr '\\n\\t' ' '; echo in $(pwd); cat; exit 1",
    );
    let list = folder.script("list", "exec ls -x /proc/self/fd");
    let config = command("world", &script, "5s") + &command("list", &list, "5s");
    let daemon = Daemon::start_in(folder, &config);
    let view = daemon.await_verdict("list", Verdict::Healthy);
    let open: Vec<&str> = note(&view).split_whitespace().collect();
    assert_eq!(open, ["0", "1", "2", "3"], "the last one is the list's own");
    let view = daemon.await_verdict("world", Verdict::Degraded);
    let said = note(&view);
    let mask = |name: &str| {
        let hex = said.split(name).nth(1).unwrap().split_whitespace().next().unwrap();
        u64::from_str_radix(hex, 16).unwrap()
    };
    assert_eq!(mask("SigBlk:"), 0, "{said}");
    // Others may be ignored by whoever started the tests (nohup), but not this one.
    let pipe = 1 << (nix::libc::SIGPIPE - 1);
    assert_eq!(mask("SigIgn:") & pipe, 0, "{said}");
    assert!(said.ends_with("in /"), "{said}");
}

#[test]
fn hundreds_at_once_all_get_their_turn() {
    let folder = Folder::new();
    let script = folder.script("short", "sleep 0.2; exit 0");
    // More than the runner has under way at one time, all due in the same moment.
    let config: String = (0..300)
        .map(|n| command(&format!("c{n}"), &script, "20s").replace("200ms", "1h"))
        .collect();
    let daemon = Daemon::start_in(folder, &config);
    let status = daemon.await_status("all are healthy", |status| {
        status.checks.iter().all(|check| check.verdict == Verdict::Healthy)
    });
    assert_eq!(status.checks.len(), 300);
    let unknown = daemon.texts("verdict").iter().filter(|text| text.contains("is unknown")).count();
    assert_eq!(unknown, 0, "none was refused");
}
