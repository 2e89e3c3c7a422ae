//! Findings about what a pair needs of the kernel.

use super::{Finding, Machine, Severity};
use crate::keeper::connections::Connections;

/// A kernel's configuration, as distributions install it: a quarter of this.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Whether the kernel can end connections (sock_diag(7), `SOCK_DESTROY`), as `connections =
/// "reset"` wants: by its configuration; where that is not installed, by trying it as the daemon
/// does, with a socket that nobody has.
pub(super) fn connections(machine: &Machine) -> Vec<Finding> {
    if !machine.resets {
        return Vec::new();
    }
    let release = machine.text("/proc/sys/kernel/osrelease").unwrap_or_default();
    let places = [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")];
    let found = places.iter().find_map(|path| {
        let text = machine.text_of(path, CONFIG_BYTES_MAX).ok()?;
        Some((path, text.lines().any(|line| line == "CONFIG_INET_DIAG_DESTROY=y")))
    });
    let why = match found {
        Some((_, true)) => None,
        Some((path, false)) => {
            Some(format!("the kernel was built without CONFIG_INET_DIAG_DESTROY ({path})"))
        }
        None if machine.root.is_machine() => match Connections::open() {
            Ok(_) => None,
            // Who may not try knows nothing.
            Err(why) if why.contains("CAP_NET_ADMIN") => return Vec::new(),
            Err(why) => Some(why),
        },
        None => return Vec::new(),
    };
    let Some(why) = why else {
        return Finding::good("connections can be ended when an address moves");
    };
    vec![Finding::new(
        Severity::Warning,
        format!("connections = \"reset\" does nothing here: {why}"),
        "When an address moves, who only waits for data on it is told by nobody, and waits until \
         its own keep-alive: two hours by default, or for ever.",
        "take a kernel that has it (most distributions do), or write connections = \"keep\" and \
         give the clients a keep-alive",
    )]
}
