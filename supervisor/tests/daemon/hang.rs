//! What hangs costs itself and nothing else: mounts that never answer, frozen and killed children.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use mastiff::control::{Request, Status};
use mastiff_core::health::Verdict;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::daemon::{Daemon, Folder, children, is_alive, process_status, wait};
use super::fuse::{Fuse, Manner, in_namespaces};

/// A reading of a check with an interval of 100 ms is never older than this, on a slow machine with
/// a debug build.
const ON_TIME_SECS: f64 = 1.5;
/// With more `cpu_pressure` than this, a late reading is no fault of the daemon. Low, since the
/// kernel's average takes seconds to follow a load that begins.
const OVERLOAD_PERCENT: f64 = 25.0;

/// Filesystem check `name` on `target`, believed at once.
fn filesystem(name: &str, target: &Path, timeout: &str) -> String {
    format!(
        "[[check]]\nname = \"{name}\"\nsensor = \"filesystem\"\ntarget = \"{}\"\ninterval = \"100ms\"\n\
         timeout = \"{timeout}\"\nwarn-when = []\nfail-when = \"mounted = false\"\nfail-after = \"0s\"\n\
         recover-after = \"0s\"\n",
        target.display()
    )
}

/// Checks of every kind that share the prober and the runner with what hangs.
fn bystanders() -> String {
    let file =
        "[[check]]\nname = \"file\"\nsensor = \"file\"\ntarget = \"/\"\ninterval = \"100ms\"\n";
    let command = "[[check]]\nname = \"command\"\nsensor = \"command\"\ntarget = \"/bin/true\"\n\
                   interval = \"100ms\"\ntimeout = \"5s\"\n";
    let load = "[[check]]\nname = \"load\"\nsensor = \"load\"\ninterval = \"100ms\"\n";
    [&filesystem("root", Path::new("/"), "5s"), file, command, load].concat()
}

/// Looks until the bystanders were read on time a hundred times in a row. One late look is enough
/// to fail, unless the machine itself is late: then the row begins anew.
fn bystanders_are_on_time(daemon: &Daemon) {
    let mut row = 0;
    daemon.wait("a hundred looks in a row find the bystanders read on time", || {
        row += 1;
        let status = daemon.status();
        for name in ["root", "file", "command", "load"] {
            let view = status.checks.iter().find(|check| check.name == name).unwrap();
            let age = view.reading_age_secs.unwrap();
            if age >= ON_TIME_SECS {
                let pressure = cpu_pressure();
                let why = format!("{name} was read {age} s ago, processors short {pressure} %");
                assert!(pressure > OVERLOAD_PERCENT, "{why}\n{}", daemon.log());
                row = 0;
            }
        }
        row == 100
    });
}

/// The share of the last ten seconds in which something waited for a processor; none where the
/// kernel does not tell (Documentation/accounting/psi.rst).
fn cpu_pressure() -> f64 {
    let text = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let share = text.split_whitespace().find_map(|word| word.strip_prefix("avg10="));
    share.map_or(0.0, |share| share.parse().unwrap())
}

#[test]
fn a_hanging_mount_is_unknown_since_when_leaves_one_process_and_recovers() {
    in_namespaces(
        "hang::a_hanging_mount_is_unknown_since_when_leaves_one_process_and_recovers",
        || {
            let folder = Folder::new();
            let point = folder.path("hung");
            let fuse = Fuse::mount(&point, Manner::Deaf);
            let daemon =
                Daemon::start_in(folder, &(filesystem("hung", &point, "300ms") + &bystanders()));
            let view = daemon.await_verdict("hung", Verdict::Unknown);
            assert!(view.reason.starts_with("stalled since 20"), "{}", view.reason);
            // One that was given up before it had begun is killed, and the mount tried once more.
            daemon.wait("the one that hangs cannot be killed", || {
                let stuck = daemon.probers().into_iter().filter(|pid| {
                    process_status(*pid, "State").is_some_and(|state| state.starts_with('D'))
                });
                stuck.count() == 1 && daemon.counter("processes-stuck") == 1
            });
            let since = daemon.check("hung").reason;
            let abandoned = daemon.counter("probers-abandoned");
            bystanders_are_on_time(&daemon);
            assert_eq!(daemon.counter("processes-stuck"), 1);
            assert_eq!(
                daemon.counter("probers-abandoned"),
                abandoned,
                "it is not tried again while it hangs"
            );
            // Under load another one may have been on its way to its end.
            daemon.wait("and one serves the others", || daemon.probers().len() == 2);
            assert_eq!(daemon.check("hung").reason, since, "since when does not move");

            fuse.answer();
            let view = daemon.await_verdict("hung", Verdict::Healthy);
            let used = view.values.iter().find(|value| value.name == "used").unwrap();
            assert_eq!(used.number, Some(0.5));
            daemon.wait("the hanging process ends", || daemon.counter("processes-stuck") == 0);

            fuse.hang();
            daemon.await_verdict("hung", Verdict::Unknown);
            drop(fuse);
            daemon.await_verdict("hung", Verdict::Failed);
            daemon.wait("one prober is left", || daemon.probers().len() == 1);
            bystanders_are_on_time(&daemon);
        },
    );
}

#[test]
fn an_error_after_a_long_wait_is_no_death_of_a_prober() {
    in_namespaces("hang::an_error_after_a_long_wait_is_no_death_of_a_prober", || {
        let folder = Folder::new();
        let point = folder.path("hung");
        let fuse = Fuse::mount(&point, Manner::Deaf);
        let config = filesystem("hung", &point, "30s") + &bystanders();
        let daemon = Daemon::launch(folder, &config, |_| {});
        daemon.await_status("it listens", |_| true);
        daemon.await_status("it hangs, and the others are read", |status| {
            let is_read = |name: &str| {
                let mut checks = status.checks.iter();
                checks.any(|check| check.name == name && check.reading_age_secs.is_some())
            };
            is_read("root") && is_read("file") && daemon.probers().len() == 2
        });
        // Ends the call with an error.
        drop(fuse);
        daemon.await_verdict("hung", Verdict::Failed);
        let abandoned = daemon.counter("probers-abandoned");
        assert_eq!((daemon.counter("probers-died"), abandoned), (0, 0), "{}", daemon.log());
    });
}

#[test]
fn a_prober_that_took_long_begins_nothing_that_another_one_was_given() {
    in_namespaces(
        "hang::a_prober_that_took_long_begins_nothing_that_another_one_was_given",
        || {
            let folder = Folder::new();
            let (slow, hung) = (folder.path("slow"), folder.path("hung"));
            let fuses = [&slow, &hung].map(|point| Fuse::mount(point, Manner::Deaf));
            // All are asked for in one turn, so those behind the first one wait in its socket.
            let config = filesystem("slow", &slow, "1m")
                + &filesystem("hung", &hung, "1m")
                + &filesystem("root", Path::new("/"), "5s");
            let daemon = Daemon::launch(folder, &config, |_| {});
            daemon.await_status("it listens", |_| true);
            daemon.await_check("root", "is read", |view| view.reading_age_secs.is_some());
            daemon.wait("both hang, and one serves the others", || daemon.probers().len() == 3);
            fuses[0].answer();
            daemon.await_verdict("slow", Verdict::Healthy);
            // It would hang in what the second one hangs in already.
            daemon.wait("the slow one has ended", || daemon.probers().len() == 2);
        },
    );
}

#[test]
fn many_hanging_mounts_leave_one_process_each_and_delay_nobody() {
    in_namespaces("hang::many_hanging_mounts_leave_one_process_each_and_delay_nobody", || {
        const EACH: usize = 10;
        let folder = Folder::new();
        let mut config = bystanders();
        let mut mounts = Vec::new();
        for number in 0..EACH {
            for (word, manner) in [("deaf", Manner::Deaf), ("silent", Manner::Silent)] {
                let name = format!("{word}-{number}");
                let point = folder.path(&name);
                mounts.push(Fuse::mount(&point, manner));
                config += &filesystem(&name, &point, "1s");
            }
        }
        let daemon = Daemon::start_in(folder, &config);
        let hang = |status: &Status| {
            let stalled = |reason: &str| reason.starts_with("stalled since");
            status.checks.iter().filter(|check| stalled(&check.reason)).count() == 2 * EACH
        };
        daemon.await_status("all hang", hang);
        for _ in 0..3 {
            bystanders_are_on_time(&daemon);
            assert!(daemon.counter("processes-stuck") <= 2 * EACH as u64);
            // One that was killed, or has answered, may be on its way to its end.
            daemon.wait("one hangs for each, and one serves the others", || {
                daemon.probers().len() <= 2 * EACH + 1
            });
        }
        // Those that could be killed are tried again and again, the others are not touched.
        assert!(daemon.counter("processes-stuck") >= EACH as u64);
        drop(mounts);
        daemon.wait("one prober is left", || {
            daemon.probers().len() == 1 && daemon.counter("processes-stuck") == 0
        });
        daemon.await_verdict("deaf-0", Verdict::Failed);
        daemon.await_verdict("silent-9", Verdict::Failed);
    });
}

#[test]
fn a_state_directory_that_hangs_is_said_once_and_saved_to_when_it_is_back() {
    in_namespaces(
        "hang::a_state_directory_that_hangs_is_said_once_and_saved_to_when_it_is_back",
        || {
            let folder = Folder::new();
            std::fs::create_dir(folder.path("good")).unwrap();
            symlink(folder.path("good"), folder.path("state")).unwrap();
            let fuse = Fuse::mount(&folder.path("hung"), Manner::Deaf);
            let mut daemon = Daemon::start_in(folder, &bystanders());
            let point_to = |target: &str| {
                let link = daemon.folder.path("link");
                symlink(daemon.folder.path(target), &link).unwrap();
                std::fs::rename(link, daemon.folder.path("state")).unwrap();
            };
            let pause = |why: &str| {
                let check = Some("load".to_string());
                daemon.order(&Request::Pause { check, for_secs: 900.0, why: why.into() }).unwrap();
            };
            point_to("hung");
            pause("first");
            daemon.wait("the write hangs", || daemon.probers().len() >= 2);
            bystanders_are_on_time(&daemon);
            let said = daemon.await_events("state-not-saved", 1);
            assert!(said[0].contains("stalled since"), "{said:?}");
            pause("second");
            bystanders_are_on_time(&daemon);
            fuse.answer();
            daemon.wait("the write lets go", || daemon.counter("processes-stuck") == 0);
            point_to("good");
            pause("third");
            daemon.await_events("state-saved", 1);
            assert_eq!(daemon.texts("state-not-saved").len(), 1, "said once");
            daemon
                .wait("it is written", || daemon.folder.read("good/state.json").contains("third"));
            assert_eq!(daemon.end(Signal::SIGTERM).code(), Some(0));
        },
    );
}

/// Needs what containers rarely have; CI runs it as root in a virtual machine with `--ignored`.
#[test]
#[ignore = "needs root, loop devices and ext4"]
fn a_frozen_file_system_under_the_state_directory_is_survived() {
    let folder = Folder::new();
    let point = folder.path("disk");
    std::fs::create_dir(&point).unwrap();
    let tool = |program: &str, arguments: &[&str]| {
        let ended = Command::new(program).args(arguments).output().unwrap();
        assert!(ended.status.success(), "{program} {arguments:?}: {ended:?}");
    };
    let image = folder.text("image");
    let point_text = point.display().to_string();
    tool("truncate", &["-s", "16M", &image]);
    tool("mkfs.ext4", &["-q", &image]);
    tool("mount", &["-o", "loop", &image, &point_text]);
    symlink(&point, folder.path("state")).unwrap();
    let daemon = Daemon::start_in(folder, &bystanders());
    let pause = |why: &str| {
        let check = Some("load".to_string());
        daemon.order(&Request::Pause { check, for_secs: 900.0, why: why.into() }).unwrap();
    };
    tool("fsfreeze", &["-f", &point_text]);
    pause("frozen");
    daemon.wait("the write hangs", || daemon.probers().len() >= 2);
    bystanders_are_on_time(&daemon);
    daemon.await_events("state-not-saved", 1);
    bystanders_are_on_time(&daemon);
    tool("fsfreeze", &["-u", &point_text]);
    daemon.wait("the write lets go", || daemon.counter("processes-stuck") == 0);
    pause("thawed");
    daemon.await_events("state-saved", 1);
    daemon.wait("it is written", || daemon.folder.read("disk/state.json").contains("thawed"));
    assert_eq!(daemon.texts("state-not-saved").len(), 1, "said once");
    let log = daemon.folder.path("log");
    drop(Command::new("umount").args(["-l", &point_text]).status());
    wait("it is unmounted", &log, || {
        !std::fs::read_to_string("/proc/mounts").unwrap().contains(&point_text)
    });
}

#[test]
fn a_frozen_prober_is_abandoned_killed_and_replaced() {
    let config = filesystem("root", Path::new("/"), "300ms");
    let daemon = Daemon::start(&config);
    daemon.await_verdict("root", Verdict::Healthy);
    let mut frozen: Vec<Pid> = Vec::new();
    daemon.wait("one is frozen and killed", || {
        // Each that comes, since under load one may have been frozen that has answered and is let
        // go. Only a kill ends what is stopped.
        for pid in daemon.probers() {
            // It may have ended meanwhile.
            kill(pid, Signal::SIGSTOP).ok();
            let state = process_status(pid, "State").unwrap_or_default();
            if state.starts_with('T') && !frozen.contains(&pid) {
                frozen.push(pid);
            }
        }
        frozen.iter().any(|pid| !is_alive(*pid))
    });
    assert!(daemon.counter("probers-abandoned") >= 1, "it was given up");
    daemon.await_verdict("root", Verdict::Healthy);
    daemon.wait("nothing hangs", || daemon.counter("processes-stuck") == 0);
    let verdicts = daemon.texts("verdict");
    assert!(verdicts.iter().any(|text| text.contains("stalled since")), "{verdicts:?}");
}

#[test]
fn a_killed_prober_is_replaced() {
    let daemon = Daemon::start(&bystanders());
    for _ in 1..=3 {
        let before = daemon.counter("probers-died");
        let mut victims: Vec<Pid> = Vec::new();
        daemon.wait("a death is counted", || {
            // Each that comes, since under load one may have been killed that has answered and is
            // let go: its death is no loss.
            for pid in daemon.probers() {
                // It may have ended meanwhile.
                kill(pid, Signal::SIGKILL).ok();
                victims.push(pid);
            }
            daemon.counter("probers-died") > before
        });
        let died = daemon.counter("probers-died") - before;
        assert!(died <= victims.len() as u64, "{died} died of {victims:?}");
        daemon.wait("they are dead", || !victims.iter().any(|pid| is_alive(*pid)));
        let killed = Instant::now();
        for name in ["root", "file"] {
            daemon.await_check(name, "is read again", |view| {
                let age = view.reading_age_secs;
                let is_new = age.is_some_and(|age| age < killed.elapsed().as_secs_f64());
                view.verdict == Verdict::Healthy && is_new
            });
        }
        daemon.wait("one prober is left", || daemon.probers().len() == 1);
    }
    bystanders_are_on_time(&daemon);
}

#[test]
fn a_killed_runner_is_replaced_with_all_that_it_ran_and_leaves_no_zombie() {
    let daemon = Daemon::start(&bystanders());
    for count in 1..=3 {
        let (victim, probers) = (daemon.runner(), daemon.probers());
        kill(victim, Signal::SIGKILL).unwrap();
        daemon.wait("its death is counted", || daemon.counter("runners-died") == count);
        daemon.wait("its probers die with it", || !probers.iter().any(|pid| is_alive(*pid)));
        daemon
            .wait("another one works", || daemon.runner() != victim && daemon.probers().len() == 1);
        for name in ["root", "file", "command"] {
            daemon.await_verdict(name, Verdict::Healthy);
        }
        daemon.wait("the dead one is reaped", || children(daemon.pid()).len() == 1);
    }
    bystanders_are_on_time(&daemon);
}

#[test]
fn a_frozen_runner_is_replaced() {
    let daemon = Daemon::start(&bystanders());
    let frozen = daemon.runner();
    kill(frozen, Signal::SIGSTOP).unwrap();
    daemon.wait("it is given up", || daemon.counter("runners-died") == 1);
    daemon.wait("it is killed", || !is_alive(frozen));
    for name in ["root", "file", "command"] {
        daemon.await_check(name, "is read again", |view| {
            view.verdict == Verdict::Healthy && view.reading_age_secs.is_some_and(|age| age < 1.0)
        });
    }
}
