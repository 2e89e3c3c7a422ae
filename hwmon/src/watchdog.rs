//! Watchdog devices, as sysfs shows them (Documentation/ABI/testing/sysfs-class-watchdog).
//!
//! No device is opened here: that alone starts it, even for reading, and without a magic close it
//! then resets the machine (Documentation/watchdog/watchdog-api.rst). What sysfs does not have is
//! `None`: kernels without `CONFIG_WATCHDOG_SYSFS` have the class and no attributes.

use std::cmp::Reverse;
use std::fs;
use std::io::Read;
use std::path::Path;

use mastiff_core::sorted;

use crate::root::Root;
use crate::text::{hexadecimal, whole};

pub mod device;
pub mod governor;

const CLASS: &str = "/sys/class/watchdog";
/// Devices that are looked at: a machine has one, or a few.
const DEVICES_MAX: usize = 64;
/// Bytes of one attribute.
const BYTES_MAX: u64 = 256;
/// Processes whose descriptors are looked through, and descriptors of one, to find a holder.
const PROCESSES_MAX: usize = 100_000;
const DESCRIPTORS_MAX: usize = 100_000;

/// What kind of clock counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A timer of the kernel's own (softdog): it dies with the kernel that it should reset.
    Software,
    /// The kernel does not tell.
    Unknown,
    /// Hardware.
    Hardware,
}

impl Kind {
    /// As it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::Unknown => "of unknown kind",
            Self::Hardware => "hardware",
        }
    }
}

/// Bits of `status` and `bootstatus` (linux/watchdog.h), in words.
const FLAGS: [(u64, &str); 9] = [
    (0x0001, "the processor overheated"),
    (0x0002, "a fan failed"),
    (0x0004, "external relay 1"),
    (0x0008, "external relay 2"),
    (0x0010, "the supply voltage was too low"),
    (0x0020, "the watchdog reset the machine"),
    (0x0040, "the supply voltage was too high"),
    (0x0100, "magic close"),
    (0x8000, "petted"),
];

/// One device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// As below /dev: `watchdog0`.
    pub name: String,
    /// What counts.
    pub kind: Kind,
    /// What the driver calls it.
    pub identity: Option<String>,
    /// The driver's name, such as `iTCO_wdt`.
    pub driver: Option<String>,
    /// Where the device is: `0000:00:1f.4`, `iTCO_wdt.1.auto`. Not every driver says so.
    pub parent: Option<String>,
    /// Whether it counts down now.
    pub active: Option<bool>,
    /// After how long it resets the machine, as the driver says.
    pub timeout_secs: Option<u64>,
    /// What is left of that.
    pub timeleft_secs: Option<u64>,
    /// How long before the end it warns; 0: it does not.
    pub pretimeout_secs: Option<u64>,
    /// What happens at that warning: `panic`, `noop`.
    pub governor: Option<String>,
    /// What could.
    pub governors: Vec<String>,
    /// The shortest and the longest time-out.
    pub min_timeout_secs: Option<u64>,
    /// See `min_timeout_secs`.
    pub max_timeout_secs: Option<u64>,
    /// Once started it cannot be stopped.
    pub nowayout: Option<bool>,
    /// Why the machine booted, by the driver; many drivers always say 0.
    pub bootstatus: Option<u64>,
    /// What the driver says now.
    pub status: Option<u64>,
    /// The device's firmware.
    pub firmware: Option<u64>,
}

/// Who has a device open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which device.
    pub device: String,
    /// Its process.
    pub pid: u32,
    /// The process's name (/proc/PID/comm).
    pub process: String,
    /// Its unit, by its control group.
    pub unit: Option<String>,
}

/// All devices, the best first: hardware before software, then by number.
#[must_use]
pub fn list(root: &Root) -> Vec<Watchdog> {
    let entries = fs::read_dir(root.path(CLASS)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<Watchdog> = names
        .filter(|name| number(name).is_some())
        .take(DEVICES_MAX)
        .map(|name| read(root, name))
        .collect();
    sorted::sort_by_key(&mut found, &|device| (Reverse(device.kind), number(&device.name)));
    found
}

/// The old IPMI driver is outside the class (drivers/char/ipmi/ipmi_watchdog.c): nothing says
/// whether it is armed.
#[must_use]
pub fn is_ipmi_loaded(root: &Root) -> bool {
    root.path("/sys/module/ipmi_watchdog").exists()
}

/// The meaning of the bits of `status` or `bootstatus`.
pub fn flags(status: u64) -> impl Iterator<Item = &'static str> {
    FLAGS.into_iter().filter(move |(bit, _)| status & bit != 0).map(|(_, meaning)| meaning)
}

/// Who has which device open, as far as this process may see (/proc/PID/fd): only root sees all.
#[must_use]
pub fn holders(root: &Root) -> Vec<Holder> {
    let mut holders = Vec::new();
    let processes = fs::read_dir(root.path("/proc")).into_iter().flatten().flatten();
    for process in processes.take(PROCESSES_MAX) {
        let name = process.file_name();
        let pid = name.to_str().and_then(whole).and_then(|pid| u32::try_from(pid).ok());
        for holder in pid.into_iter().flat_map(|pid| held_by(root, pid)) {
            if !holders.contains(&holder) {
                holders.push(holder);
            }
        }
    }
    holders
}

/// Which devices one process has open, as far as this process may see.
#[must_use]
pub fn held_by(root: &Root, pid: u32) -> Vec<Holder> {
    let process = root.path("/proc").join(pid.to_string());
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    let linked = |descriptor: fs::DirEntry| of_path(&fs::read_link(descriptor.path()).ok()?);
    let devices = descriptors.take(DESCRIPTORS_MAX).filter_map(linked);
    let holder = |device| {
        let read = |file: &str| text(&process.join(file)).unwrap_or_default();
        Holder { device, pid, process: read("comm"), unit: unit_of(&read("cgroup")) }
    };
    devices.map(holder).collect()
}

/// `/dev/watchdog` is the first device by an old number (10:130).
fn of_path(path: &Path) -> Option<String> {
    let name = path.strip_prefix("/dev").ok()?.to_str()?;
    match name {
        "watchdog" => Some("watchdog0".to_string()),
        name => number(name).map(|_| name.to_string()),
    }
}

/// The last service or scope in a control group's path (/proc/PID/cgroup, cgroups(7)).
fn unit_of(cgroup: &str) -> Option<String> {
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    cgroup.lines().find_map(|line| line.rsplit('/').find(is_unit)).map(String::from)
}

fn number(name: &str) -> Option<u64> {
    name.strip_prefix("watchdog").and_then(whole).filter(|_| name.len() < 16)
}

fn read(root: &Root, name: String) -> Watchdog {
    let path = root.path(CLASS).join(&name);
    let attribute = |what: &str| text(&path.join(what));
    let count = |what: &str| attribute(what).as_deref().and_then(whole);
    let link = |what: &str| {
        let target = fs::read_link(path.join(what)).ok()?;
        target.file_name()?.to_str().map(String::from)
    };
    let identity = attribute("identity");
    let parent = link("device");
    Watchdog {
        // A parent is no sign of hardware: i6300esb names none (6.1).
        kind: match (&parent, identity.as_deref()) {
            (_, Some("Software Watchdog")) => Kind::Software,
            (None, None) => Kind::Unknown,
            (Some(_), _) | (_, Some(_)) => Kind::Hardware,
        },
        driver: link("device/driver"),
        active: attribute("state").and_then(|state| match &*state {
            "active" => Some(true),
            "inactive" => Some(false),
            _ => None,
        }),
        timeout_secs: count("timeout"),
        timeleft_secs: count("timeleft"),
        pretimeout_secs: count("pretimeout"),
        governor: attribute("pretimeout_governor").filter(|name| !name.is_empty()),
        governors: attribute("pretimeout_available_governors")
            .map(|all| all.split_whitespace().map(String::from).collect())
            .unwrap_or_default(),
        min_timeout_secs: count("min_timeout"),
        max_timeout_secs: count("max_timeout"),
        nowayout: count("nowayout").map(|is| is != 0),
        bootstatus: count("bootstatus"),
        status: attribute("status").as_deref().and_then(hexadecimal),
        firmware: count("fw_version"),
        name,
        identity,
        parent,
    }
}

/// A short text without the blanks around it; `None` if it cannot be read.
fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A tree of files and links, removed at the end.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let place = format!("mastiff-watchdog-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(place))
        }

        fn with(self, path: &str, text: &str) -> Self {
            let place = self.0.join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, text).unwrap();
            self
        }

        fn linked(self, path: &str, to: &str) -> Self {
            let place = self.0.join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(to, place).unwrap();
            self
        }

        fn root(&self) -> Root {
            Root::recorded(&self.0)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn hardware_comes_before_software_and_what_is_not_said_is_not_known() {
        let class = "sys/class/watchdog";
        let tree = Tree::new("rank")
            .with(&format!("{class}/watchdog0/identity"), "Software Watchdog\n")
            .with(&format!("{class}/watchdog0/state"), "inactive\n")
            .linked(&format!("{class}/watchdog10/device"), "../../devices/bare.1")
            .with("sys/class/devices/bare.1/uevent", "")
            .linked(&format!("{class}/watchdog2/device"), "../../devices/0000:00:1f.4")
            .linked("sys/class/devices/0000:00:1f.4/driver", "../../drivers/iTCO_wdt")
            .with(&format!("{class}/watchdog2/identity"), "iTCO_wdt\n")
            .with(&format!("{class}/watchdog2/state"), "active\n")
            .with(&format!("{class}/watchdog2/timeout"), "30\n")
            .with(&format!("{class}/watchdog2/timeleft"), "24\n")
            .with(&format!("{class}/watchdog2/nowayout"), "1\n")
            .with(&format!("{class}/watchdog2/status"), "0x8120\n")
            .with(&format!("{class}/watchdog2/bootstatus"), "32\n")
            .with(&format!("{class}/watchdog2/pretimeout_governor"), "panic\n")
            .with(&format!("{class}/watchdog2/pretimeout_available_governors"), "noop\npanic\n")
            .with(&format!("{class}/watchdog3/state"), "rubbish\n")
            .with(&format!("{class}/watchdog3/timeout"), "-5\n")
            .with(&format!("{class}/watchdogs/state"), "active\n");
        let found = list(&tree.root());
        let names: Vec<&str> = found.iter().map(|device| &*device.name).collect();
        assert_eq!(names, ["watchdog2", "watchdog10", "watchdog3", "watchdog0"]);
        let best = &found[0];
        assert_eq!(
            (best.kind, best.active, best.nowayout),
            (Kind::Hardware, Some(true), Some(true))
        );
        assert_eq!(best.driver.as_deref(), Some("iTCO_wdt"));
        assert_eq!(best.parent.as_deref(), Some("0000:00:1f.4"));
        assert_eq!((best.timeout_secs, best.timeleft_secs), (Some(30), Some(24)));
        assert_eq!(best.governors, ["noop", "panic"]);
        let said: Vec<&str> = flags(best.status.unwrap()).collect();
        assert_eq!(said, ["the watchdog reset the machine", "magic close", "petted"]);
        let bare = &found[1];
        assert_eq!((bare.kind, bare.active, bare.timeout_secs), (Kind::Hardware, None, None));
        let odd = &found[2];
        assert_eq!((odd.kind, odd.active, odd.timeout_secs), (Kind::Unknown, None, None));
        assert_eq!(found[3].kind, Kind::Software);
        assert!(list(&Root::recorded("/nowhere")).is_empty());
        assert!(!is_ipmi_loaded(&tree.root()));
    }

    #[test]
    fn whoever_has_it_open_is_named_with_its_unit() {
        let tree = Tree::new("holder")
            .linked("proc/1/fd/3", "/dev/watchdog0")
            .linked("proc/1/fd/4", "/dev/watchdog0")
            .with("proc/1/comm", "systemd\n")
            .with("proc/1/cgroup", "0::/init.scope\n")
            .linked("proc/77/fd/5", "/dev/watchdog")
            .with("proc/77/comm", "wd_keepalive\n")
            .with("proc/77/cgroup", "1:name=systemd:/system.slice/watchdog.service\n0::/\n")
            .linked("proc/78/fd/0", "/dev/null")
            .linked("proc/79/fd/0", "/dev/watchdogs")
            .linked("proc/self/fd/0", "/dev/watchdog9");
        let mut found = holders(&tree.root());
        found.sort_by_key(|holder| holder.pid);
        let said: Vec<(u32, &str, &str, Option<&str>)> = found
            .iter()
            .map(|it| (it.pid, &*it.process, &*it.device, it.unit.as_deref()))
            .collect();
        assert_eq!(
            said,
            [
                (1, "systemd", "watchdog0", Some("init.scope")),
                (77, "wd_keepalive", "watchdog0", Some("watchdog.service")),
            ]
        );
    }
}
