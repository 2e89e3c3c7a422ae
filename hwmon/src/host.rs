//! What machine this is: for the first line that a person reads, and for the log.

use mastiff_core::reading::{Shown, Unit, Value};
use mastiff_core::time::Span;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::once;
use crate::root::Root;

/// One line: operating system, kernel, processors, memory, time since boot. A part that cannot be
/// read is left out.
///
/// Asked once at the start of a program, never in a loop: it opens files of /etc, which lies on a
/// disk.
pub fn describe() -> String {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let bytes = System::new_with_specifics(memory).map(|system| system.total_memory()).ok();
    let processors = std::thread::available_parallelism().ok().map(|count| match count.get() {
        1 => "1 processor".to_string(),
        count => format!("{count} processors"),
    });
    let parts = [
        System::long_os_version().ok(),
        System::kernel_version().ok().map(|version| format!("kernel {version}")),
        processors,
        bytes.filter(|bytes| *bytes > 0).map(shown_bytes),
        System::uptime().ok().map(|secs| format!("up {}", Span::from_secs(secs))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit behind the point")]
fn shown_bytes(bytes: u64) -> String {
    Shown(Unit::Bytes, Some(&Value::Number(bytes as f64))).to_string()
}

/// The inodes of the namespaces that the kernel begins with (`PROC_PID_INIT_INO`,
/// `PROC_USER_INIT_INO`, linux/proc_ns.h).
const FIRST_NAMESPACES: [(&str, u64); 2] =
    [("/proc/self/ns/pid", 0xEFFF_FFFC), ("/proc/self/ns/user", 0xEFFF_FFFD)];

/// Whether this process is on the machine itself, and not in a container of its own processes: only
/// then is the machine its to reset.
#[must_use]
pub fn is_machine() -> bool {
    let is_first = |(path, inode): (&str, u64)| {
        std::fs::metadata(path).is_ok_and(|it| std::os::unix::fs::MetadataExt::ino(&it) == inode)
    };
    FIRST_NAMESPACES.into_iter().all(is_first)
}

/// Bytes of /proc/cpuinfo that have the flags of its first processor.
const CPUINFO_BYTES: u64 = 16 * 1024;

/// Makers that make virtual machines only, by their names in the firmware's tables.
const HYPERVISORS: [&str; 7] =
    ["QEMU", "VMware, Inc.", "innotek GmbH", "Xen", "Parallels", "Red Hat", "OpenStack Foundation"];

/// Whether the hardware is that of a virtual machine: a hypervisor says that it is one (CPUID leaf
/// 1, ECX bit 31; x86 only), or the firmware's tables name one.
#[must_use]
pub fn is_virtual(root: &Root) -> bool {
    let cpuinfo = once::head(&root.path("/proc/cpuinfo"), CPUINFO_BYTES).unwrap_or_default();
    let cpuinfo = String::from_utf8_lossy(&cpuinfo);
    let mut flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
    let says_so = flags.next().is_some_and(|line| line.split(' ').any(|it| it == "hypervisor"));
    let maker = once::shown(&root.path("/sys/class/dmi/id/sys_vendor"));
    says_so || maker.is_some_and(|maker| HYPERVISORS.contains(&maker.as_str()))
}

/// Whether the devices below /sys are somebody else's: a container sees those of its host.
pub(crate) fn has_foreign_devices(root: &Root) -> bool {
    root.is_machine() && !is_machine()
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_machine_is_described_in_one_line() {
        let text = super::describe();
        assert!(
            text.contains("kernel ") && text.contains("up ") && text.contains("processor"),
            "{text}"
        );
        assert!(!text.contains('\n') && !text.contains(", ,"), "{text}");
    }
}
