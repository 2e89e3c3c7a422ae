//! The calls that end with the machine: sysrq and reboot(2). Each may hang in the kernel for ever
//! (a driver that does not shut down), so each has a thread, and nobody waits for it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, OnceLock};
use std::thread;

use mastiff_hwmon::host::is_machine;
use mio::Waker;
use nix::sys::reboot::{RebootMode, reboot};

/// Where a letter is an order to the kernel (Documentation/admin-guide/sysrq.rst).
const SYSRQ_TRIGGER: &str = "/proc/sysrq-trigger";
/// Enough for one call and its error; memory may be locked, and short.
const STACK_BYTES: usize = 64 * 1024;

/// One call that is under way.
#[derive(Debug)]
pub(super) struct Call {
    /// Why it has come back.
    back: Arc<OnceLock<String>>,
}

impl Call {
    /// Begins one; `waker` is woken if it comes back.
    fn begin(
        name: &str,
        waker: Arc<Waker>,
        call: Box<dyn FnOnce() -> String + Send>,
    ) -> Result<Self, String> {
        let back = Arc::new(OnceLock::new());
        let told = Arc::clone(&back);
        let thread = thread::Builder::new().name(name.to_string()).stack_size(STACK_BYTES);
        let thread = thread.spawn(move || {
            told.get_or_init(call);
            if let Err(error) = waker.wake() {
                log::warn!("cannot wake the brain: {error}");
            }
        });
        thread.map(|_| Self { back }).map_err(|error| format!("cannot start a thread: {error}"))
    }

    /// Why it has come back, if it has.
    pub(super) fn came_back(&self) -> Option<&str> {
        self.back.get().map(String::as_str)
    }
}

/// The sysrq trigger, opened while the disks still work.
#[derive(Debug)]
pub(super) struct Sysrq(Result<Arc<File>, String>);

impl Sysrq {
    /// Opens it, but in a container: there the letter would reset the machine of all containers.
    pub(super) fn open() -> Self {
        if !is_machine() {
            return Self(Err("this is a container, whose machine is not ours".to_string()));
        }
        let opened = OpenOptions::new().write(true).open(SYSRQ_TRIGGER);
        Self(opened.map(Arc::new).map_err(|error| format!("cannot open {SYSRQ_TRIGGER}: {error}")))
    }

    /// Restarts the machine at once.
    ///
    /// # Errors
    /// When it was not opened, or no thread can be had.
    pub(super) fn begin(&self, waker: Arc<Waker>) -> Result<Call, String> {
        let file = Arc::clone(self.0.as_ref().map_err(Clone::clone)?);
        let call = move || match (&*file).write_all(b"b") {
            Ok(()) => "the kernel took the letter, and did nothing".to_string(),
            Err(error) => format!("cannot write {SYSRQ_TRIGGER}: {error}"),
        };
        Call::begin("mastiff-sysrq", waker, Box::new(call))
    }
}

/// Restarts the machine without PID 1 (reboot(2), `LINUX_REBOOT_CMD_RESTART`); in a PID namespace
/// of its own that ends the namespace, and the machine goes on (pid_namespaces(7)).
///
/// # Errors
/// When no thread can be had.
pub(super) fn restart(waker: Arc<Waker>) -> Result<Call, String> {
    let call = || match reboot(RebootMode::RB_AUTOBOOT) {
        Ok(never) => match never {},
        Err(error) => format!("reboot(2): {error}"),
    };
    Call::begin("mastiff-reboot", waker, Box::new(call))
}

/// Whether PID 1 is systemd (sd_booted(3)), and, as far as it can be seen (ptrace(2), access mode
/// checking), the PID 1 of this very process: `systemctl` would talk to that of another namespace
/// if its socket is in sight.
pub(in crate::brain) fn has_systemd() -> bool {
    let namespace = |path: &str| std::fs::metadata(path).ok().map(|it| it.ino());
    namespace("/proc/1/ns/pid").is_none_or(|its| namespace("/proc/self/ns/pid") == Some(its))
        && std::fs::read("/proc/1/comm").is_ok_and(|comm| comm == b"systemd\n")
        && std::fs::metadata("/run/systemd/system").is_ok_and(|it| it.is_dir())
}
