//! Which device: looked up in sysfs, without opening any.

use std::path::{Path, PathBuf};

use mastiff_hwmon::root::Root;
use mastiff_hwmon::watchdog::{self, Holder, Kind, Watchdog};
use serde::{Deserialize, Serialize};

/// Drivers of desktops that come up before the real one and were seen to hang a reboot
/// (drivers/watchdog/mei_wdt.c).
const LAST_CHOICE: &str = "iamt_wdt";
/// What drivers outside the class make (drivers/char/ipmi/ipmi_watchdog.c).
const OLD_PATH: &str = "/dev/watchdog";

/// Which device one is: numbers change from boot to boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id {
    /// What the driver calls it.
    pub identity: String,
    /// The driver.
    pub driver: Option<String>,
    /// Where it is.
    pub parent: Option<String>,
}

impl Id {
    /// Of a device in the class.
    #[must_use]
    pub fn of(device: &Watchdog) -> Self {
        Self {
            identity: device.identity.clone().unwrap_or_default(),
            driver: device.driver.clone(),
            parent: device.parent.clone(),
        }
    }
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The best, or the one that it was before.
    Auto(Option<Id>),
    /// This one.
    Path(PathBuf),
}

/// A device to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// To be opened.
    pub path: PathBuf,
    /// What sysfs says of it; `None` for drivers outside the class.
    pub device: Option<Watchdog>,
}

/// The name of a device by its path: `/dev/watchdog` is the first one by an old number.
#[must_use]
pub fn name(path: &Path) -> Option<String> {
    let name = path.strip_prefix("/dev").ok()?.to_str()?;
    Some(if name == "watchdog" { "watchdog0" } else { name }.to_string())
}

/// What sysfs says of the device of this name.
#[must_use]
pub fn in_class(name: &str, root: &Root) -> Option<Watchdog> {
    watchdog::list(root).into_iter().find(|known| known.name == name)
}

/// What to try, in order. A software device is none while there is a real one, even if somebody
/// else has that: it would look like protection.
#[must_use]
pub fn candidates(wanted: &Wanted, root: &Root) -> Vec<Candidate> {
    let all = watchdog::list(root);
    let path_of = |device: &Watchdog| PathBuf::from(format!("/dev/{}", device.name));
    let before = match wanted {
        Wanted::Path(path) => {
            let name = name(path);
            let device = all.into_iter().find(|device| Some(&device.name) == name.as_ref());
            return vec![Candidate { path: path.clone(), device }];
        }
        Wanted::Auto(before) => before.as_ref(),
    };
    let is_real = |device: &Watchdog| device.kind != Kind::Software;
    let has_real = all.iter().any(is_real);
    let is_last = |device: &&Watchdog| device.identity.as_deref() == Some(LAST_CHOICE);
    let is_same = |device: &&Watchdog| Some(&Id::of(device)) == before;
    let kept = || all.iter().filter(|device| !has_real || is_real(device));
    // Each device once: the one of before, those of an ordinary driver, the last choice.
    let first = kept().filter(is_same);
    let second = kept().filter(|device| !is_same(device) && !is_last(device));
    let third = kept().filter(|device| !is_same(device) && is_last(device));
    let in_class = first.chain(second).chain(third);
    let mut found: Vec<Candidate> = in_class
        .map(|device| Candidate { path: path_of(device), device: Some(device.clone()) })
        .collect();
    if watchdog::is_ipmi_loaded(root) {
        found.insert(0, Candidate { path: PathBuf::from(OLD_PATH), device: None });
    }
    found
}

/// Why no device could be had, in words that say what to do.
#[must_use]
pub fn busy(path: &str, holders: &[Holder]) -> String {
    let name = name(Path::new(path)).unwrap_or_default();
    let Some(holder) = holders.iter().find(|holder| holder.device == name) else {
        return format!("{path} is busy: another process has it open, which only root can name");
    };
    let Holder { pid, process, unit, .. } = holder;
    if *pid == 1 {
        return format!(
            "{path} is busy: systemd has it (RuntimeWatchdogSec=); write device = \"pid1\", or set \
             RuntimeWatchdogSec=0 in /etc/systemd/system.conf and restart the machine"
        );
    }
    let unit = unit.as_ref().map_or(String::new(), |unit| format!(", {unit}"));
    format!("{path} is busy: {process} (pid {pid}{unit}) has it; stop and disable that")
}

#[cfg(test)]
mod tests;
