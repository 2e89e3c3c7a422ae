use super::*;
use std::fs;

/// A class of devices, removed at the end.
struct Class(PathBuf);

impl Class {
    fn new(name: &str, devices: &[(&str, &str)]) -> Self {
        let place = format!("mastiff-choose-{}-{name}", std::process::id());
        let class = Self(std::env::temp_dir().join(place));
        for (device, identity) in devices {
            let place = class.0.join("sys/class/watchdog").join(device);
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("identity"), identity).unwrap();
        }
        class
    }

    fn paths(&self, wanted: &Wanted) -> Vec<String> {
        let found = candidates(wanted, &Root::recorded(&self.0));
        found.iter().map(|candidate| candidate.path.display().to_string()).collect()
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn the_best_comes_first_and_software_only_where_there_is_nothing_else() {
    let class = Class::new(
        "best",
        &[("watchdog0", "iamt_wdt"), ("watchdog1", "Software Watchdog"), ("watchdog2", "iTCO_wdt")],
    );
    assert_eq!(class.paths(&Wanted::Auto(None)), ["/dev/watchdog2", "/dev/watchdog0"]);
    let before = Id { identity: "iamt_wdt".into(), ..Id::default() };
    assert_eq!(class.paths(&Wanted::Auto(Some(before))), ["/dev/watchdog0", "/dev/watchdog2"]);
    let gone = Id { identity: "another".into(), ..Id::default() };
    assert_eq!(class.paths(&Wanted::Auto(Some(gone))), ["/dev/watchdog2", "/dev/watchdog0"]);
    let soft = Class::new("soft", &[("watchdog0", "Software Watchdog")]);
    assert_eq!(soft.paths(&Wanted::Auto(None)), ["/dev/watchdog0"]);
    assert!(Class::new("none", &[]).paths(&Wanted::Auto(None)).is_empty());
}

#[test]
fn a_device_that_is_named_is_the_only_one() {
    let class = Class::new("named", &[("watchdog0", "a"), ("watchdog1", "b")]);
    for (path, known) in
        [("/dev/watchdog1", true), ("/dev/watchdog", true), ("/dev/watchdog7", false)]
    {
        let found = candidates(&Wanted::Path(path.into()), &Root::recorded(&class.0));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].path.to_str(), found[0].device.is_some()), (Some(path), known));
    }
}

#[test]
fn the_old_driver_of_bmcs_is_tried_first() {
    let class = Class::new("ipmi", &[("watchdog0", "iTCO_wdt")]);
    fs::create_dir_all(class.0.join("sys/module/ipmi_watchdog")).unwrap();
    assert_eq!(class.paths(&Wanted::Auto(None)), ["/dev/watchdog", "/dev/watchdog0"]);
}

#[test]
fn who_holds_a_device_is_named_with_what_to_do() {
    let holder = |pid, process: &str, unit: Option<&str>| Holder {
        device: "watchdog0".into(),
        pid,
        process: process.into(),
        unit: unit.map(String::from),
    };
    let by = |holders: &[Holder]| busy("/dev/watchdog", holders);
    assert!(by(&[holder(1, "systemd", Some("init.scope"))]).contains("device = \"pid1\""));
    let said = by(&[holder(77, "wd_keepalive", Some("watchdog.service"))]);
    assert!(said.contains("wd_keepalive (pid 77, watchdog.service)"), "{said}");
    assert!(by(&[]).contains("only root can name"));
}
