//! What the kernel does at a device's warning, the pretimeout (`pretimeout_governor`,
//! Documentation/ABI/testing/sysfs-class-watchdog; drivers/watchdog/watchdog_pretimeout.c).
//!
//! Which ones there are is for all devices the same: those whose modules are loaded, and nothing
//! loads them by itself. A device that had none of its own keeps having none then, and its warning
//! goes nowhere.

use std::fmt;
use std::fs;
use std::io;

use crate::root::Root;

use super::{CLASS, text};

/// What happens at the warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Governor {
    /// The kernel panics: its last words, or the dump of a crash kernel, tell what hung.
    Panic,
    /// It writes a line into its log (pretimeout_noop.c), and the time-out goes on.
    Noop,
}

/// All of them.
pub const GOVERNORS: [Governor; 2] = [Governor::Panic, Governor::Noop];

/// Why a device does not have the one that is wanted.
#[derive(Debug)]
pub enum GovernorError {
    /// The device warns nobody, or the kernel has no choice (CONFIG_WATCHDOG_PRETIMEOUT_GOV).
    NoChoice,
    /// The kernel does not have it; which ones it has.
    Missing(Governor, String),
    /// Writing it failed.
    Write(Governor, io::Error),
    /// It was written, and there is another one now.
    Other(Governor, String),
}

impl Governor {
    /// As the kernel calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Noop => "noop",
        }
    }
}

impl fmt::Display for GovernorError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoChoice => to.write_str(
                "the kernel offers no pretimeout governors for it (pretimeout_governor is missing)",
            ),
            Self::Missing(wanted, has) => {
                let name = wanted.name();
                let has = if has.is_empty() { "none" } else { has };
                write!(
                    to,
                    "the kernel has no pretimeout governor {name} (it has {has}): load the module \
                     pretimeout_{name}, then systemctl restart mastiff"
                )
            }
            Self::Write(wanted, error) => {
                write!(to, "cannot set its pretimeout governor {}: {error}", wanted.name())
            }
            Self::Other(wanted, now) => {
                let name = wanted.name();
                write!(to, "its pretimeout governor was set to {name}, and is {now:?}")
            }
        }
    }
}

impl std::error::Error for GovernorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Write(_, error) => Some(error),
            Self::NoChoice | Self::Missing(..) | Self::Other(..) => None,
        }
    }
}

/// Sets the governor of a device such as `watchdog0`, and looks whether it has it then. It need not
/// be open.
///
/// # Errors
/// The kernel does not have it, or does not take it.
pub fn set(root: &Root, device: &str, wanted: Governor) -> Result<(), GovernorError> {
    let path = root.path(CLASS).join(device);
    let chosen = path.join("pretimeout_governor");
    let now = || text(&chosen).unwrap_or_default();
    let Some(all) = text(&path.join("pretimeout_available_governors")) else {
        return Err(GovernorError::NoChoice);
    };
    if !all.split_whitespace().any(|name| name == wanted.name()) {
        let has: Vec<&str> = all.split_whitespace().collect();
        return Err(GovernorError::Missing(wanted, has.join(", ")));
    }
    if now() == wanted.name() {
        return Ok(());
    }
    // Not created where it is missing: sysfs has files of its own only.
    let write = || io::Write::write_all(&mut open(&chosen)?, wanted.name().as_bytes());
    write().map_err(|error| GovernorError::Write(wanted, error))?;
    match now() {
        name if name == wanted.name() => Ok(()),
        name => Err(GovernorError::Other(wanted, name)),
    }
}

fn open(path: &std::path::Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).truncate(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_has_is_set_and_what_it_has_not_is_refused() {
        let place = std::env::temp_dir().join(format!("mastiff-governor-{}", std::process::id()));
        let root = Root::recorded(&place);
        let device = root.path(CLASS).join("watchdog1");
        fs::create_dir_all(&device).unwrap();
        let (chosen, all) =
            (device.join("pretimeout_governor"), device.join("pretimeout_available_governors"));
        let fails = |wanted| set(&root, "watchdog1", wanted).unwrap_err().to_string();
        assert!(fails(Governor::Panic).contains("offers no pretimeout governors"));
        // The modules are there, and not loaded.
        fs::write(&all, "").unwrap();
        assert!(fails(Governor::Panic).contains("(it has none): load the module pretimeout_panic"));
        fs::write(&all, "panic\nnoop\n").unwrap();
        assert!(fails(Governor::Panic).contains("cannot set its pretimeout governor panic: No"));
        assert!(!chosen.exists());
        fs::write(&chosen, "\n").unwrap();
        for wanted in GOVERNORS {
            set(&root, "watchdog1", wanted).unwrap();
            assert_eq!(fs::read_to_string(&chosen).unwrap(), wanted.name());
        }
        fs::write(&all, "noop\n").unwrap();
        assert!(fails(Governor::Panic).contains("(it has noop)"));
        assert_eq!(fs::read_to_string(&chosen).unwrap(), "noop", "it was not touched");
        // What takes everything and keeps nothing.
        fs::remove_file(&chosen).unwrap();
        std::os::unix::fs::symlink("/dev/null", &chosen).unwrap();
        assert!(fails(Governor::Noop).contains("was set to noop, and is \"\""));
        fs::remove_dir_all(&place).unwrap();
    }
}
