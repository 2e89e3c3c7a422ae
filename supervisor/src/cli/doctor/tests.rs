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
            watchdog: None,
            resets: false,
            interfaces: vec!["eth0".into()],
            wait: false,
        }
    }

    /// With a link, as /proc/PID/fd and /sys have them.
    fn linked(self, path: &str, to: &str) -> Self {
        let path = self.folder.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(to, path).unwrap();
        self
    }

    /// With a watchdog device.
    fn dog(self, number: u32, identity: &str, state: &str) -> Self {
        let class = format!("/sys/class/watchdog/watchdog{number}");
        self.with(&format!("{class}/identity"), identity)
            .with(&format!("{class}/state"), state)
            .with(&format!("{class}/timeout"), "30\n")
    }

    /// With systemd as the holder of a device.
    fn held_by_pid1(self, number: u32) -> Self {
        self.with("/proc/1/comm", "systemd\n")
            .with("/run/systemd/system/x", "")
            .linked("/proc/1/fd/7", &format!("/dev/watchdog{number}"))
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
        .with("/sys/class/watchdog/watchdog0/timeout", "180\n")
        .with("/proc/cmdline", "ro quiet crashkernel=512M\n")
        .with("/proc/sys/kernel/panic_on_oops", "1\n")
        .with("/proc/sys/kernel/hung_task_panic", "0\n")
        .with("/sys/firmware/efi/x", "")
        .with("/sys/module/pstore/parameters/backend", "efi_pstore\n")
        .with("/proc/self/mounts", "pstore /sys/fs/pstore pstore rw,nosuid 0 0\n");
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
    let idle = Tree::new().dog(0, "Software Watchdog\n", "inactive\n");
    let (severity, what) = idle.only(watchdog::device);
    assert_eq!(severity, Severity::Note);
    assert!(what.contains("the only watchdog is a timer of the kernel"), "{what}");
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

#[test]
fn what_networkd_would_remove_is_found_where_it_manages_the_interface() {
    let with = |file: &str, text: &str| {
        Tree::new()
            .with("/sys/class/net/eth0/ifindex", "2\n")
            .with(
                "/run/systemd/netif/links/2",
                "# private\nNETWORK_FILE=/run/systemd/network/a.network\n",
            )
            .with("/run/systemd/network/a.network", "[Network]\nAddress=192.0.2.1/24\n")
            .with(file, text)
    };
    for bad in ["KeepConfiguration=no", "KeepConfiguration=static", "#KeepConfiguration=yes", ""] {
        let tree = with("/etc/systemd/network/a.network.d/x.conf", &format!("[Network]\n{bad}\n"));
        let (severity, what) = tree.only(network::networkd);
        assert_eq!(severity, Severity::Note, "{bad}");
        assert!(what.contains("eth0"), "{what}");
        let found = network::networkd(&tree.machine()).remove(0);
        assert!(found.to_do.contains("/etc/systemd/network/a.network.d/"), "{found:?}");
    }
    let good =
        with("/etc/systemd/network/a.network.d/x.conf", "[Network]\nKeepConfiguration = true\n");
    assert_eq!(good.only(network::networkd).0, Severity::Good);
    let not_its_own = with("/run/systemd/netif/links/2", "ADMIN_STATE=unmanaged\n");
    assert!(network::networkd(&not_its_own.machine()).is_empty());
}

fn config(device: DeviceChoice) -> Option<WatchdogConfig> {
    let time = mastiff_core::time::Span::from_secs(30);
    Some(WatchdogConfig {
        device,
        timeout: time,
        pretimeout: None,
        governor: None,
        shutdown_timeout: time,
        root_dead_after: None,
    })
}

/// What one look finds with this `[watchdog]`: severity, what was found and what to do.
fn found(
    tree: &Tree,
    look: fn(&Machine) -> Vec<Finding>,
    watchdog: Option<DeviceChoice>,
) -> Option<(Severity, String, String)> {
    let mut machine = tree.machine();
    machine.watchdog = watchdog.and_then(config);
    let mut all = look(&machine);
    assert!(all.len() <= 1, "{all:?}");
    all.pop().map(|finding| (finding.severity, finding.what, finding.to_do))
}

#[test]
fn a_container_is_told_nothing_about_hardware() {
    for mark in ["/run/systemd/container", "/run/.containerenv", "/.dockerenv"] {
        let tree = Tree::new()
            .with(mark, "")
            .with("/dev/kmsg", "6,1,1,-;iTCO_wdt: NO_REBOOT, disabled by hardware/BIOS\n")
            .with("/sys/firmware/efi/x", "");
        for look in [watchdog::device, platform::locked, kernel::last_words, kernel::crash_dump] {
            assert_eq!(found(&tree, look, None), None);
        }
    }
}

#[test]
fn a_virtual_machine_is_offered_the_device_of_its_hypervisor_and_no_chipset() {
    let tree = Tree::new()
        .with("/proc/cpuinfo", "processor: 0\nflags\t: fpu sse hypervisor lm\n")
        .with("/sys/firmware/efi/x", "")
        .with("/sys/bus/pci/devices/0000:00:1f.0/vendor", "0x8086\n")
        .with("/sys/bus/pci/devices/0000:00:1f.0/class", "0x060100\n");
    let (severity, what, to_do) = found(&tree, watchdog::device, None).unwrap();
    assert_eq!((severity, &*what), (Severity::Note, "no watchdog device was found"));
    assert!(to_do.contains("-device i6300esb") && !to_do.contains("iTCO"), "{to_do}");
    assert_eq!(found(&tree, kernel::last_words, None), None);
    let tree = tree
        .with("/sys/bus/pci/devices/0000:00:03.0/vendor", "0x8086\n")
        .with("/sys/bus/pci/devices/0000:00:03.0/device", "0x25ab\n");
    assert!(found(&tree, watchdog::device, None).unwrap().2.starts_with("modprobe i6300esb; "));
}

#[test]
fn the_driver_of_the_platform_is_named_and_who_keeps_it_from_being_loaded() {
    let amd = Tree::new()
        .with("/sys/bus/pci/devices/0000:00:14.0/vendor", "0x1022\n")
        .with("/sys/bus/pci/devices/0000:00:14.0/class", "0x0c0500\n");
    let to_do = found(&amd, watchdog::device, None).unwrap().2;
    assert!(to_do.starts_with("modprobe sp5100_tco; "), "{to_do}");
    let wdat = Tree::new().with("/sys/firmware/acpi/tables/WDAT", "");
    assert!(found(&wdat, watchdog::device, None).unwrap().2.starts_with("modprobe wdat_wdt; "));
    let intel = Tree::new()
        .with("/sys/bus/pci/devices/0000:00:1f.0/vendor", "0x8086\n")
        .with("/sys/bus/pci/devices/0000:00:1f.0/class", "0x060100\n")
        .with("/lib/modprobe.d/blacklist_linux.conf", "# dogs\nblacklist iTCO-wdt\n");
    let to_do = found(&intel, watchdog::device, None).unwrap().2;
    assert!(to_do.contains("out of /lib/modprobe.d/blacklist_linux.conf"), "{to_do}");
    // An empty file in /etc hides it.
    let intel = intel.with("/etc/modprobe.d/blacklist_linux.conf", "");
    let to_do = found(&intel, watchdog::device, None).unwrap().2;
    assert!(to_do.starts_with("modprobe iTCO_wdt; "), "{to_do}");
    // Loaded, and of no use.
    let intel = intel.with("/sys/module/iTCO_wdt/refcnt", "0\n");
    assert!(!found(&intel, watchdog::device, None).unwrap().2.contains("modprobe iTCO"));
}

#[test]
fn a_lock_of_the_firmware_is_said_once_and_not_where_another_device_is() {
    let said = "4,700,5000000,-;usb 1-1: new device\n6,812,7300000,-;iTCO_wdt iTCO_wdt.1.auto: \
                unable to reset NO_REBOOT flag, device disabled by hardware/BIOS\n";
    let tree = Tree::new().with("/dev/kmsg", said);
    let (severity, what, _) = found(&tree, platform::locked, None).unwrap();
    assert_eq!(severity, Severity::Warning);
    assert!(what.contains("locked the chipset's watchdog (iTCO_wdt)"), "{what}");
    assert_eq!(found(&tree, watchdog::device, None), None);
    let other = tree.dog(0, "IPMI\n", "active\n");
    assert_eq!(found(&other, platform::locked, None), None);
    let amd = "3,9,1,-;sp5100-tco sp5100-tco: Watchdog hardware is disabled\n";
    let amd = Tree::new().with("/dev/kmsg", amd);
    assert!(found(&amd, platform::locked, None).unwrap().1.contains("(sp5100_tco)"));
}

#[test]
fn systemd_and_mastiffd_cannot_both_have_the_only_device() {
    let held = |tree: Tree| tree.dog(0, "iTCO_wdt\n", "active\n").held_by_pid1(0);
    let file = "/usr/lib/systemd/system.conf.d/40-rpi-enable-watchdog.conf";
    let tree = held(Tree::new().with(file, "[Manager]\nRuntimeWatchdogSec = 1m\n"));
    let (severity, what, to_do) = found(&tree, watchdog::rivals, Some(DeviceChoice::Auto)).unwrap();
    assert_eq!(severity, Severity::Problem);
    assert!(what.contains(&format!("(RuntimeWatchdogSec=1m of {file})")), "{what}");
    assert!(to_do.contains("/etc/systemd/system.conf.d/40-rpi-enable-watchdog.conf"), "{to_do}");
    assert!(to_do.contains("device = \"pid1\" in /etc/mastiff/mastiff.toml"), "{to_do}");
    for fine in [None, Some(DeviceChoice::Pid1)] {
        assert_eq!(found(&tree, watchdog::rivals, fine), None);
    }
    let second = Some(DeviceChoice::Path("/dev/watchdog1".into()));
    assert_eq!(found(&tree, watchdog::rivals, second), None);
    for same in ["/dev/watchdog0", "/dev/watchdog"] {
        let same = Some(DeviceChoice::Path(same.into()));
        assert!(found(&tree, watchdog::rivals, same).is_some());
    }
    let cmdline = held(Tree::new().with("/proc/cmdline", "ro systemd.watchdog_sec=20\n"));
    let to_do = found(&cmdline, watchdog::rivals, Some(DeviceChoice::Auto)).unwrap().2;
    assert!(to_do.contains("systemd.watchdog_sec=off"), "{to_do}");
    let by_bus = held(Tree::new());
    let to_do = found(&by_bus, watchdog::rivals, Some(DeviceChoice::Auto)).unwrap().2;
    assert!(to_do.contains("RuntimeWatchdogUSec t 0"), "{to_do}");
    // The daemon has it open, and systemd only stores it for the next one.
    let stored = held(Tree::new()).with("/proc/9/comm", "mastiffd\n");
    let stored = stored.linked("/proc/9/fd/4", "/dev/watchdog0");
    assert_eq!(found(&stored, watchdog::rivals, Some(DeviceChoice::Auto)), None);
    let two = held(Tree::new()).dog(1, "i6300ESB timer\n", "inactive\n");
    assert_eq!(found(&two, watchdog::rivals, Some(DeviceChoice::Auto)), None);
}

#[test]
fn a_watchdog_through_systemd_needs_one_of_systemd() {
    let tree = |value: &str| {
        Tree::new()
            .with("/run/systemd/system/x", "")
            .with("/etc/systemd/system.conf", &format!("#RuntimeWatchdogSec=9\n{value}\n"))
            .dog(0, "iTCO_wdt\n", "inactive\n")
    };
    for off in ["", "RuntimeWatchdogSec=0", "RuntimeWatchdogSec=off", "RuntimeWatchdogSec=0min"] {
        let found = found(&tree(off), watchdog::rivals, Some(DeviceChoice::Pid1)).unwrap();
        assert_eq!(found.0, Severity::Problem);
    }
    for on in ["RuntimeWatchdogSec=30s", "RuntimeWatchdogSec=1min 10s"] {
        assert_eq!(found(&tree(on), watchdog::rivals, Some(DeviceChoice::Pid1)), None);
    }
}

#[test]
fn of_several_devices_it_is_said_which_one_is_taken() {
    let amt = Tree::new().dog(0, "iamt_wdt\n", "inactive\n").dog(1, "iTCO_wdt\n", "inactive\n");
    let (severity, what, to_do) = found(&amt, watchdog::several, Some(DeviceChoice::Auto)).unwrap();
    assert_eq!(severity, Severity::Warning);
    assert_eq!(what, "watchdog0 (iamt_wdt) comes before watchdog1 (iTCO_wdt)");
    assert!(to_do.contains("/dev/watchdog1"), "{to_do}");
    assert_eq!(found(&amt, watchdog::several, None), None);
    let named = Some(DeviceChoice::Path("/dev/watchdog1".into()));
    assert_eq!(found(&amt, watchdog::several, named), None);
    let armed = Tree::new().dog(0, "iamt_wdt\n", "active\n");
    assert!(armed.only(watchdog::device).1.contains("only alarms"));
    let two =
        Tree::new().dog(0, "iTCO_wdt\n", "inactive\n").dog(1, "i6300ESB timer\n", "inactive\n");
    let (severity, what, _) = found(&two, watchdog::several, Some(DeviceChoice::Auto)).unwrap();
    assert_eq!(severity, Severity::Note);
    assert_eq!(what, "there are 2 watchdogs: watchdog0 (iTCO_wdt), watchdog1 (i6300ESB timer)");
    let softdog =
        Tree::new().dog(0, "iTCO_wdt\n", "inactive\n").dog(1, "Software Watchdog\n", "inactive\n");
    assert_eq!(found(&softdog, watchdog::several, Some(DeviceChoice::Auto)), None);
}

#[test]
fn what_cannot_be_stopped_is_said_where_it_matters() {
    let class = "/sys/class/watchdog/watchdog0/nowayout";
    let idle = Tree::new().dog(0, "iTCO_wdt\n", "inactive\n").with(class, "1\n");
    assert_eq!(found(&idle, watchdog::nowayout, None), None);
    let (severity, what, _) = found(&idle, watchdog::nowayout, Some(DeviceChoice::Auto)).unwrap();
    assert_eq!((severity, what.contains("nowayout")), (Severity::Note, true));
    let armed = Tree::new().dog(0, "iTCO_wdt\n", "active\n").with(class, "1\n");
    assert!(found(&armed, watchdog::nowayout, None).is_some());
    let stoppable = Tree::new().dog(0, "iTCO_wdt\n", "active\n").with(class, "0\n");
    assert_eq!(found(&stoppable, watchdog::nowayout, None), None);
}

#[test]
fn a_device_that_stands_still_is_told_from_one_that_counts() {
    let tree = Tree::new().dog(0, "iTCO_wdt\n", "active\n");
    let device = watchdog::armed_hardware(&tree.machine()).unwrap();
    let judged = |looks: &[u64]| watchdog::judge(&device, looks).pop().map(|it| it.severity);
    assert_eq!(judged(&[30, 30, 29]), Some(Severity::Good));
    assert_eq!(judged(&[28, 30, 30, 29]), Some(Severity::Good));
    assert_eq!(judged(&[30, 30, 30]), Some(Severity::Warning));
    // Petted between two looks, or no look at all.
    assert_eq!((judged(&[28, 30]), judged(&[])), (None, None));
    // Without --wait nothing is waited for, and not every driver tells.
    assert_eq!(found(&tree, watchdog::counts, None), None);
    let mut machine = tree.machine();
    machine.wait = true;
    assert!(watchdog::counts(&machine).is_empty());
}

#[test]
fn a_dump_that_the_watchdog_would_cut_short_and_one_that_is_not_there_are_told() {
    let loaded = || Tree::new().with("/sys/kernel/kexec_crash_loaded", "1\n");
    assert_eq!(loaded().only(kernel::crash_dump).0, Severity::Good);
    let short = loaded().dog(0, "iTCO_wdt\n", "active\n").only(kernel::crash_dump);
    assert_eq!(short.0, Severity::Note);
    assert!(short.1.contains("may end a crash dump 30s after"), "{}", short.1);
    let reserved = Tree::new()
        .with("/proc/cmdline", "ro crashkernel=256M\n")
        .with("/sys/kernel/kexec_crash_loaded", "0\n");
    assert_eq!(reserved.only(kernel::crash_dump).0, Severity::Warning);
}

#[test]
fn a_panic_is_survived_with_an_armed_watchdog_and_its_causes_are_told() {
    let dead = || Tree::new().with("/proc/sys/kernel/panic", "0\n");
    assert_eq!(dead().dog(0, "iTCO_wdt\n", "active\n").only(kernel::panic).0, Severity::Good);
    for idle in ["Software Watchdog\n", "iamt_wdt\n"] {
        assert_eq!(dead().dog(0, idle, "active\n").only(kernel::panic).0, Severity::Warning);
    }
    let tree = Tree::new()
        .with("/proc/sys/kernel/panic_on_oops", "1\n")
        .with("/proc/sys/kernel/softlockup_panic", "1\n");
    assert_eq!(
        tree.only(kernel::panics_on),
        (Severity::Good, "the kernel panics on an oops, a soft lockup".into())
    );
    let hung = Tree::new().with("/proc/sys/kernel/hung_task_panic", "1\n");
    assert_eq!(hung.only(kernel::panics_on).0, Severity::Note);
    let oom = Tree::new().with("/proc/sys/vm/panic_on_oom", "2\n");
    assert_eq!(oom.only(kernel::panics_on).0, Severity::Note);
}

#[test]
fn last_words_need_a_place_and_somebody_who_reads_them() {
    let efi = Tree::new()
        .with("/sys/firmware/efi/x", "")
        .with("/sys/module/pstore/parameters/backend", "(null)\n");
    let (severity, what) = efi.only(kernel::last_words);
    assert_eq!((severity, what.contains("no backend")), (Severity::Note, true));
    let erst = Tree::new()
        .with("/sys/module/pstore/parameters/backend", "erst\n")
        .with("/proc/self/mounts", "/dev/sda1 / ext4 rw 0 0\n");
    let (severity, what) = erst.only(kernel::last_words);
    assert_eq!((severity, what.contains("nobody mounts it")), (Severity::Note, true));
    // Where no firmware has room there is nothing to be done.
    assert_eq!(found(&Tree::new(), kernel::last_words, None), None);
}

#[test]
fn a_drop_in_wins_over_the_main_file_and_hides_its_namesake() {
    let tree = Tree::new()
        .with("/run/systemd/system/x", "")
        .with("/var/log/journal/x", "")
        .with("/usr/lib/systemd/journald.conf", "[Journal]\nStorage=persistent\n")
        .with("/usr/lib/systemd/journald.conf.d/50-x.conf", "[Journal]\nStorage=volatile\n");
    let (severity, what) = tree.only(system::journal);
    assert_eq!(severity, Severity::Warning);
    assert!(
        what.contains("(Storage=volatile in /usr/lib/systemd/journald.conf.d/50-x.conf)"),
        "{what}"
    );
    let hidden = tree.with("/etc/systemd/journald.conf.d/50-x.conf", "[Journal]\nStorage=\n");
    assert_eq!(hidden.only(system::journal).0, Severity::Good);
}

#[test]
fn a_kernel_that_cannot_end_connections_is_found_where_that_is_wanted() {
    let release = |tree: Tree| tree.with("/proc/sys/kernel/osrelease", "6.1.0-test\n");
    let found = |tree: &Tree, resets| {
        pair::connections(&Machine { resets, ..tree.machine() }).pop().map(|it| it.severity)
    };
    let without = "CONFIG_INET_DIAG=m\n# CONFIG_INET_DIAG_DESTROY is not set\n";
    for (text, severity) in
        [("CONFIG_INET_DIAG_DESTROY=y\n", Severity::Good), (without, Severity::Warning)]
    {
        for path in ["/boot/config-6.1.0-test", "/lib/modules/6.1.0-test/config"] {
            let tree = release(Tree::new()).with(path, text);
            assert_eq!(found(&tree, true), Some(severity), "{path}");
            assert_eq!(found(&tree, false), None, "nobody wants it");
        }
    }
    // Far behind what other files are read of.
    let long = format!("{}CONFIG_INET_DIAG_DESTROY=y\n", "# CONFIG_X is not set\n".repeat(9000));
    let tree = release(Tree::new()).with("/boot/config-6.1.0-test", &long);
    assert_eq!(found(&tree, true), Some(Severity::Good));
    assert_eq!(found(&release(Tree::new()), true), None, "it is not known");
}

#[test]
fn a_warning_of_the_watchdog_that_nobody_acts_on_is_found() {
    let wanted = |governor| {
        let before = mastiff_core::time::Span::from_secs(5);
        config(DeviceChoice::Auto).map(|it| WatchdogConfig {
            pretimeout: Some(before),
            governor,
            ..it
        })
    };
    let class = "/sys/class/watchdog/watchdog0";
    let dog = |governor: &str, all: &str| {
        let tree = Tree::new().dog(0, "iTCO_wdt\n", "active\n");
        let tree = tree.with(&format!("{class}/pretimeout"), "5\n");
        let tree = tree.with(&format!("{class}/pretimeout_governor"), governor);
        tree.with(&format!("{class}/pretimeout_available_governors"), all)
    };
    let found = |tree: &Tree, watchdog| {
        let finding = pretimeout::governor(&Machine { watchdog, ..tree.machine() }).pop();
        finding.map(|it| (it.severity, format!("{} {}", it.what, it.to_do)))
    };
    let panic = Some(mastiff_hwmon::watchdog::governor::Governor::Panic);
    let good = |tree, governor| found(&tree, wanted(governor)).unwrap().0 == Severity::Good;
    assert!(good(dog("noop\n", "noop\npanic\n"), panic), "the daemon sets it");
    assert!(good(dog("panic\n", "panic\n"), None));
    for (tree, governor, part) in [
        (dog("", ""), None, "has no governor, so nobody hears"),
        (dog("noop\n", "noop\n"), None, "is noop, which only logs a line"),
        (dog("noop\n", "noop\n"), panic, "has no governor panic (it has noop) modprobe"),
        (Tree::new().dog(0, "i6300ESB\n", "active\n"), panic, "gives no warning"),
    ] {
        let (severity, text) = found(&tree, wanted(governor)).unwrap();
        assert!(severity == Severity::Warning && text.contains(part), "{part} in {text}");
    }
    assert_eq!(found(&dog("", ""), config(DeviceChoice::Auto)), None, "no warning is wanted");
}

#[test]
fn a_missing_group_is_said_with_how_it_is_made() {
    let tree = |groups: &str| Tree::new().with("/etc/group", groups);
    let (severity, _, to_do) =
        found(&tree("root:x:0:\nmastiffs:x:9:\n"), daemon::group, None).unwrap();
    assert_eq!(severity, Severity::Note);
    assert!(to_do.starts_with("groupadd --system mastiff; systemctl restart mastiff"), "{to_do}");
    let (severity, ..) = found(&tree("root:x:0:\nmastiff:x:998:\n"), daemon::group, None).unwrap();
    assert_eq!(severity, Severity::Good);
    assert_eq!(found(&Tree::new(), daemon::group, None), None);
}

#[test]
fn a_bmc_that_cannot_be_asked_is_noted() {
    let tree = Tree::new().with("/sys/bus/acpi/devices/IPI0001:00/hid", "IPI0001\n");
    let (severity, what) = tree.only(platform::bmc);
    assert_eq!(severity, Severity::Note);
    assert!(what.contains("/dev/ipmi0"), "{what}");
    let asked = tree.with("/dev/ipmi0", "");
    assert_eq!(platform::bmc(&asked.machine()), []);
    assert_eq!(platform::bmc(&Tree::new().machine()), []);
}
