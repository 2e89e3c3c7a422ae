//! Findings about what the kernel offers, and how it is set.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

use super::watchdog::armed_hardware;
use super::{Finding, Machine, Severity};

/// A crash kernel needs so long to start, to find the disk and to write, at the very least.
const DUMP_SECS_MIN: u64 = 120;

/// cgroup v2 with its memory controller (Documentation/admin-guide/cgroup-v2.rst).
pub(super) fn cgroup(machine: &Machine) -> Vec<Finding> {
    let why = "Memory, OOM kills and pressure of a service are read from its cgroup; without \
               them those values are unknown.";
    match machine.text("/sys/fs/cgroup/cgroup.controllers") {
        Ok(list) if list.split_whitespace().any(|name| name == "memory") => {
            Finding::good("cgroup v2 with the memory controller")
        }
        Ok(_) => vec![Finding::new(
            Severity::Warning,
            "the memory controller of cgroup v2 is off",
            why,
            "remove cgroup_disable=memory from the kernel's command line; on a Raspberry Pi add \
             cgroup_enable=memory",
        )],
        Err(_) => vec![Finding::new(
            Severity::Warning,
            "cgroup v2 is not in use",
            why,
            "boot with systemd.unified_cgroup_hierarchy=1",
        )],
    }
}

/// Pressure stall information (Documentation/accounting/psi.rst). With psi=0 the files exist, but
/// reading fails.
pub(super) fn pressure(machine: &Machine) -> Vec<Finding> {
    if machine.text("/proc/pressure/memory").is_ok() {
        return Finding::good("pressure stall information");
    }
    vec![Finding::new(
        Severity::Warning,
        "pressure stall information (PSI) is not available",
        "It tells best whether a machine suffers from too little memory, CPU or disk.",
        "add psi=1 to the kernel's command line; if that does not help, the kernel lacks \
         CONFIG_PSI",
    )]
}

/// The kernel's messages, opened as the sensor opens them.
pub(super) fn kernel_log(machine: &Machine) -> Vec<Finding> {
    let mut options = OpenOptions::new();
    let opened =
        options.read(true).custom_flags(libc::O_NONBLOCK).open(machine.root.path("/dev/kmsg"));
    match opened {
        Ok(_) => Finding::good("the kernel log can be read"),
        Err(error) => vec![Finding::new(
            Severity::Note,
            format!("/dev/kmsg cannot be read: {error}"),
            "Disk errors, OOM kills and machine checks are seen there first. The daemon, as \
             root, may be able to where you are not.",
            "run `mastiff doctor` as root; in a container the device must be passed in",
        )],
    }
}

/// The share of time that real-time tasks may take (Documentation/scheduler/sched-rt-group.rst).
pub(super) fn realtime_limit(machine: &Machine) -> Vec<Finding> {
    if machine.number("/proc/sys/kernel/sched_rt_runtime_us") != Some(-1) {
        return Vec::new();
    }
    vec![Finding::new(
        Severity::Warning,
        "real-time tasks may take all CPU time (kernel.sched_rt_runtime_us = -1)",
        "One of them in a busy loop starves everything else, kernel workers too, without any \
         bound.",
        "sysctl kernel.sched_rt_runtime_us=950000, and the same in /etc/sysctl.d",
    )]
}

/// Whether the kernel reports tasks that hang (Documentation/admin-guide/sysctl/kernel.rst).
pub(super) fn hung_tasks(machine: &Machine) -> Vec<Finding> {
    let why =
        "A task that hangs in the kernel, as on a dead disk, is then not logged by the kernel.";
    match machine.number("/proc/sys/kernel/hung_task_timeout_secs") {
        Some(0) => vec![Finding::new(
            Severity::Note,
            "the kernel does not report hung tasks (kernel.hung_task_timeout_secs = 0)",
            why,
            "sysctl kernel.hung_task_timeout_secs=120, and the same in /etc/sysctl.d",
        )],
        Some(secs) => Finding::good(format!("hung tasks are reported after {secs}s")),
        None => vec![Finding::new(
            Severity::Note,
            "the kernel cannot report hung tasks",
            why,
            "nothing, unless you build your own kernel (CONFIG_DETECT_HUNG_TASK)",
        )],
    }
}

/// What the kernel does after a panic (Documentation/admin-guide/sysctl/kernel.rst).
pub(super) fn panic(machine: &Machine) -> Vec<Finding> {
    match machine.number("/proc/sys/kernel/panic") {
        Some(0) => match armed_hardware(machine) {
            Some(device) => Finding::good(format!("{} ends a kernel panic", device.name)),
            None => vec![Finding::new(
                Severity::Warning,
                "after a kernel panic this machine stays dead (kernel.panic = 0)",
                "Only a human or an armed hardware watchdog brings it back.",
                "sysctl kernel.panic=10, and the same in /etc/sysctl.d",
            )],
        },
        Some(_) => Finding::good("it reboots after a kernel panic"),
        None => Vec::new(),
    }
}

/// What the kernel panics on, other than what it cannot survive
/// (Documentation/admin-guide/sysctl/kernel.rst, vm.rst).
pub(super) fn panics_on(machine: &Machine) -> Vec<Finding> {
    let is_set = |name: &str| machine.number(&format!("/proc/sys/{name}")).unwrap_or(0) != 0;
    let mut findings = Vec::new();
    if is_set("kernel/hung_task_panic") {
        findings.push(Finding::new(
            Severity::Note,
            "one task that hangs makes the whole kernel panic (kernel.hung_task_panic = 1)",
            "A slow disk or a file server that is away for a moment is enough.",
            "sysctl kernel.hung_task_panic=0, and the same in /etc/sysctl.d, unless you want that",
        ));
    }
    if is_set("vm/panic_on_oom") {
        findings.push(Finding::new(
            Severity::Note,
            "the kernel panics when memory runs out (vm.panic_on_oom)",
            "One greedy process takes the machine down, instead of being killed.",
            "sysctl vm.panic_on_oom=0, and the same in /etc/sysctl.d, unless you want that",
        ));
    }
    let causes = [
        ("kernel/panic_on_oops", "an oops"),
        ("kernel/softlockup_panic", "a soft lockup"),
        ("kernel/hardlockup_panic", "a hard lockup"),
    ];
    let set: Vec<&str> =
        causes.into_iter().filter(|(name, _)| is_set(name)).map(|(_, what)| what).collect();
    if !set.is_empty() {
        findings.extend(Finding::good(format!("the kernel panics on {}", set.join(", "))));
    }
    findings
}

/// Whether a crash kernel is loaded (kernel/ksysfs.c, `kexec_crash_loaded`; there is no such file
/// without CONFIG_CRASH_DUMP), and lives long enough. An armed device counts on in the crash kernel
/// (Documentation/watchdog/watchdog-api.rst), where nobody pets it unless its driver is there, too.
pub(super) fn crash_dump(machine: &Machine) -> Vec<Finding> {
    if machine.is_container() {
        return Vec::new();
    }
    let cmdline = machine.text("/proc/cmdline").unwrap_or_default();
    let is_reserved = cmdline.split_whitespace().any(|word| word.starts_with("crashkernel="));
    let loaded = machine.number("/sys/kernel/kexec_crash_loaded") == Some(1);
    let short = armed_hardware(machine).and_then(|it| it.timeout_secs);
    match (loaded, short.filter(|secs| *secs < DUMP_SECS_MIN)) {
        (true, Some(secs)) => vec![Finding::new(
            Severity::Note,
            format!("the watchdog may end a crash dump {secs}s after a kernel panic"),
            "It counts on while the crash kernel writes, and then there is no dump.",
            "have its driver in the crash kernel's initramfs (dracut and kdumpctl see to that), or              watchdog.timeout = \"3m\"; try it on a spare machine: echo c > /proc/sysrq-trigger",
        )],
        (true, None) => Finding::good("a crash kernel is loaded"),
        (false, _) if is_reserved => vec![Finding::new(
            Severity::Warning,
            "memory is reserved for a crash kernel (crashkernel=), and none is loaded",
            "A kernel panic leaves no dump, so its cause may stay unknown.",
            "systemctl enable --now kdump-tools (Debian, Ubuntu) or kdump; see why it failed with \
             systemctl status",
        )],
        (false, _) => vec![Finding::new(
            Severity::Note,
            "no crash kernel is loaded (kdump)",
            "A kernel panic leaves no dump, so its cause may stay unknown.",
            "install kdump-tools or kdump if you want to be able to find out",
        )],
    }
}

/// Whether the last words of a kernel that panics are kept (Documentation/ABI/testing/pstore,
/// fs/pstore/platform.c). Without UEFI or a table of the firmware there is no place for them, and
/// nothing to be done.
pub(super) fn last_words(machine: &Machine) -> Vec<Finding> {
    if machine.is_container() {
        return Vec::new();
    }
    let why =
        "What a kernel says when it panics is then lost, unless somebody looks at the screen.";
    let backend = machine.text("/sys/module/pstore/parameters/backend").unwrap_or_default();
    if !backend.is_empty() && backend != "(null)" {
        let mounts = machine.text("/proc/self/mounts").unwrap_or_default();
        let is_mounted = |line: &str| line.split_whitespace().nth(2) == Some("pstore");
        if mounts.lines().any(is_mounted) {
            return Finding::good(format!("the kernel's last words are kept ({backend})"));
        }
        return vec![Finding::new(
            Severity::Note,
            format!("there is room for the kernel's last words ({backend}), and nobody mounts it"),
            "They stay where they are until it is full, and are seen by nobody.",
            "mount -t pstore pstore /sys/fs/pstore, and the same in /etc/fstab",
        )];
    }
    if machine.is_virtual() || !machine.exists("/sys/firmware/efi") {
        return Vec::new();
    }
    vec![Finding::new(
        Severity::Note,
        "the kernel's last words are not kept (no backend of pstore)",
        why,
        "modprobe efi_pstore pstore_disable=0; for each boot: echo efi_pstore > \
         /etc/modules-load.d/pstore.conf; echo options efi_pstore pstore_disable=0 > \
         /etc/modprobe.d/pstore.conf",
    )]
}
