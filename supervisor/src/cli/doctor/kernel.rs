//! Findings about what the kernel offers, and how it is set.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

use super::{Finding, Machine, Severity};

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
        Some(0) => vec![Finding::new(
            Severity::Warning,
            "after a kernel panic this machine stays dead (kernel.panic = 0)",
            "Only a human or an armed hardware watchdog brings it back.",
            "sysctl kernel.panic=10, and the same in /etc/sysctl.d",
        )],
        Some(_) => Finding::good("it reboots after a kernel panic"),
        None => Vec::new(),
    }
}

/// Whether a crash kernel is loaded (kernel/ksysfs.c, `kexec_crash_loaded`; there is no such file
/// without CONFIG_CRASH_DUMP).
pub(super) fn crash_dump(machine: &Machine) -> Vec<Finding> {
    match machine.number("/sys/kernel/kexec_crash_loaded") {
        Some(1) => Finding::good("a crash kernel is loaded"),
        Some(_) | None => vec![Finding::new(
            Severity::Note,
            "no crash kernel is loaded (kdump)",
            "A kernel panic leaves no dump, so its cause may stay unknown.",
            "install kdump-tools or kdump if you want to be able to find out",
        )],
    }
}
