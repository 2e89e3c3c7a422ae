//! Settings of systemd's own daemons, from their files and drop-ins (systemd-system.conf(5),
//! "CONFIGURATION DIRECTORIES AND PRECEDENCE").

use std::collections::BTreeMap;

use super::Machine;

/// Where the files are, the least first.
const FOLDERS: [&str; 4] =
    ["/usr/lib/systemd", "/usr/local/lib/systemd", "/run/systemd", "/etc/systemd"];
/// Drop-ins of one folder that are read.
const FILES_MAX: usize = 256;

/// One setting as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// What it is set to.
    pub(super) value: String,
    /// The file, or the kernel's command line, that has the last word.
    pub(super) file: String,
}

/// What `key` of `system.conf` or `journald.conf` is set to; `None` where nobody sets it. An empty
/// value is the default again.
pub(super) fn setting(machine: &Machine, name: &str, key: &str) -> Option<Setting> {
    let main = FOLDERS.iter().rev().map(|folder| format!("{folder}/{name}"));
    let main = main.into_iter().find(|path| machine.exists(path));
    // A drop-in hides that of the same name in a folder before; names decide the order.
    let mut drop_ins = BTreeMap::new();
    for folder in FOLDERS.map(|folder| format!("{folder}/{name}.d")) {
        let names = machine.names(&folder).into_iter().filter(|file| file.ends_with(".conf"));
        drop_ins
            .extend(names.take(FILES_MAX).map(|file| (file.clone(), format!("{folder}/{file}"))));
    }
    let mut found = None;
    for file in main.into_iter().chain(drop_ins.into_values()) {
        let text = machine.text(&file).unwrap_or_default();
        for line in text.lines() {
            let Some((left, value)) = line.split_once('=') else { continue };
            if left.trim() == key {
                found = Some(Setting { value: value.trim().to_string(), file: file.clone() });
            }
        }
    }
    found.filter(|setting| !setting.value.is_empty())
}

/// `RuntimeWatchdogSec=`, or `systemd.watchdog_sec=` of the kernel's command line, which is read
/// last (kernel-command-line(7)); `None` where it is not set, or set to be off.
pub(super) fn runtime_watchdog(machine: &Machine) -> Option<Setting> {
    let words = machine.text("/proc/cmdline").unwrap_or_default();
    let given = words.split_whitespace().rev();
    let given = given.filter_map(|word| word.strip_prefix("systemd.watchdog_sec=")).next();
    let set = match given {
        Some(value) => {
            Some(Setting { value: value.into(), file: "the kernel's command line".into() })
        }
        None => setting(machine, "system.conf", "RuntimeWatchdogSec"),
    };
    set.filter(|setting| !is_off(&setting.value))
}

/// Zero in any unit, or `off` (parse_sec(), config_parse_watchdog_sec()).
fn is_off(value: &str) -> bool {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    value == "off" || (!digits.is_empty() && digits.chars().all(|c| c == '0'))
}
