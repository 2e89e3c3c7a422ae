use super::*;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// A made-up machine in a folder of its own, removed at the end.
struct Tree {
    folder: PathBuf,
}

impl Tree {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mastiff-doctor-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self { folder }
    }

    fn with(self, path: &str, text: &str) -> Self {
        let path = self.folder.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn machine(&self) -> Machine {
        Machine {
            root: Root::recorded(&self.folder),
            daemon: Err(Failure::NotRunning("no socket".into())),
            config: "/etc/mastiff/mastiff.toml".into(),
            faults: None,
            state_dir: "/var/lib/mastiff".into(),
        }
    }

    fn only(&self, look: fn(&Machine) -> Vec<Finding>) -> (Severity, String) {
        let mut found = look(&self.machine());
        assert_eq!(found.len(), 1, "{found:?}");
        let finding = found.remove(0);
        (finding.severity, finding.what)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

#[test]
fn a_well_kept_machine_has_only_good_findings() {
    let tree = Tree::new()
        .with("/run/systemd/system/x", "")
        .with("/usr/lib/systemd/system/mastiff.service", "")
        .with("/etc/systemd/system/multi-user.target.wants/mastiff.service", "")
        .with("/usr/lib/systemd/libsystemd-shared-255.so", "")
        .with("/var/lib/mastiff/state", "")
        .with("/var/log/journal/x", "")
        .with("/sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n")
        .with("/proc/pressure/memory", "some avg10=0.00\n")
        .with("/dev/kmsg", "")
        .with("/proc/sys/kernel/sched_rt_runtime_us", "950000\n")
        .with("/proc/sys/kernel/hung_task_timeout_secs", "120\n")
        .with("/proc/sys/kernel/panic", "10\n")
        .with("/sys/kernel/kexec_crash_loaded", "1\n")
        .with("/sys/class/watchdog/watchdog0/state", "active\n")
        .with("/sys/class/watchdog/watchdog0/identity", "iTCO_wdt\n")
        .with("/sys/class/watchdog/watchdog0/timeout", "30\n");
    let bad: Vec<Finding> =
        examine(&tree.machine()).into_iter().filter(|f| f.severity != Severity::Good).collect();
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert_eq!(bad[0].what, "mastiffd is not running");
}

#[test]
fn every_finding_survives_an_empty_machine_and_says_why_and_what_to_do() {
    let tree = Tree::new();
    for finding in examine(&tree.machine()) {
        let complete = !finding.why.is_empty() && !finding.to_do.is_empty();
        assert!(finding.severity == Severity::Good || complete, "{finding:?}");
    }
}

#[test]
fn a_watchdog_that_dies_with_the_kernel_is_none() {
    let tree = Tree::new()
        .with("/sys/class/watchdog/watchdog0/state", "active\n")
        .with("/sys/class/watchdog/watchdog0/identity", "Software Watchdog\n");
    let (severity, what) = tree.only(watchdog::device);
    assert_eq!(severity, Severity::Warning);
    assert!(what.contains("a timer of the kernel"), "{what}");
}

#[test]
fn what_is_wrong_is_found() {
    let tree = Tree::new()
        .with("/run/systemd/system/x", "")
        .with("/etc/systemd/system/mastiff.service", "")
        .with("/etc/systemd/journald.conf", "[Journal]\n#Storage=auto\nStorage=volatile\n")
        .with("/var/log/journal/x", "")
        .with("/lib/systemd/libsystemd-shared-247.so", "")
        .with("/sys/fs/cgroup/cgroup.controllers", "cpu pids\n")
        .with("/proc/sys/kernel/sched_rt_runtime_us", "-1\n")
        .with("/proc/sys/kernel/hung_task_timeout_secs", "0\n")
        .with("/proc/sys/kernel/panic", "0\n")
        .with("/sys/class/watchdog/watchdog0/state", "inactive\n")
        .with("/sys/class/watchdog/watchdog0/identity", "i6300ESB timer\n");
    for (look, severity, part) in [
        (daemon::unit_enabled as fn(&Machine) -> Vec<Finding>, Severity::Warning, "not enabled"),
        (system::journal, Severity::Warning, "lost at each reboot"),
        (system::init, Severity::Note, "systemd 247 is older"),
        (kernel::cgroup, Severity::Warning, "memory controller"),
        (kernel::pressure, Severity::Warning, "PSI"),
        (kernel::realtime_limit, Severity::Warning, "= -1"),
        (kernel::hung_tasks, Severity::Note, "= 0"),
        (kernel::panic, Severity::Warning, "stays dead"),
        (watchdog::device, Severity::Warning, "watchdog0 (i6300ESB timer) is there, but nobody"),
    ] {
        let (found, what) = tree.only(look);
        assert_eq!(found, severity, "{what}");
        assert!(what.contains(part), "{part} in {what}");
    }
}

#[test]
fn another_daemon_is_found_by_a_living_pid_not_by_an_old_file() {
    let old = Tree::new().with("/run/monit.pid", "77\n").with("/proc/77/comm", "bash\n");
    assert_eq!(old.only(system::others).0, Severity::Good);
    let living = Tree::new().with("/run/monit.pid", "77\n").with("/proc/77/comm", "monit\n");
    assert_eq!(
        living.only(system::others),
        (Severity::Warning, "monit runs here, too, and restarts services".into())
    );
    let sleeping =
        Tree::new().with("/etc/systemd/system/multi-user.target.wants/keepalived.service", "");
    assert_eq!(sleeping.only(system::others).0, Severity::Note);
}

#[test]
fn a_broken_configuration_and_a_missing_state_folder_are_problems() {
    let tree = Tree::new();
    let mut machine = tree.machine();
    machine.faults = Some("line 3: no".into());
    assert_eq!(daemon::configuration(&machine)[0].severity, Severity::Problem);
    assert!(daemon::state_dir(&machine).is_empty(), "not made before the first start");
    machine.daemon = Err(Failure::Unavailable("stuck".into()));
    machine.state_dir = Path::new("/proc/version/x").into();
    let tree_file = Tree::new().with("/proc/version", "");
    machine.root = Root::recorded(&tree_file.folder);
    assert_eq!(daemon::state_dir(&machine)[0].severity, Severity::Problem);
}

#[test]
fn the_report_fits_eighty_columns_and_sums_up_what_is_good() {
    let tree = Tree::new().with("/proc/sys/kernel/panic", "10\n").with("/dev/kmsg", "");
    let text = render(&examine(&tree.machine()), Out { color: false, width: Some(80) });
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.starts_with("PROBLEM  mastiffd is not running\n         Nothing"), "{text}");
    assert!(text.contains("good     the configuration has no faults; "), "{text}");
}
