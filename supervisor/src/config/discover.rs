//! Default checks: what is found on the machine and has not been configured.

use mastiff_core::sorted::Set;
use mastiff_core::spec::{CheckSpec, Origin};
use mastiff_hwmon::SENSORS;
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::{Options, Sensor};

use super::check::{default_conditions, default_interval, default_name};
use super::checked::{CHECK_TIMEOUT_DEFAULT, NAME_CHARS_MAX};
use super::{CheckConfig, NodeConfig};

/// Default checks of one machine at most. What lies beyond is not watched; a list of this length
/// says so.
pub const DISCOVERED_MAX: usize = 512;

/// A check for each thing that the sensors find under `root`, in their order, without those whose
/// sensor and target are among `configured`, with whatever options. Empty if the node asks for
/// none.
pub fn discovered(node: &NodeConfig, root: &Root, configured: &[CheckConfig]) -> Vec<CheckConfig> {
    among(SENSORS, node, root, configured)
}

fn among(
    registry: &[&'static Sensor],
    node: &NodeConfig,
    root: &Root,
    configured: &[CheckConfig],
) -> Vec<CheckConfig> {
    if !node.default_checks {
        return Vec::new();
    }
    let targets = |sensor: &&'static Sensor| {
        let sensor = *sensor;
        let targets = sensor.discover.map(|discover| discover(root)).unwrap_or_default();
        targets.into_iter().map(move |target| (sensor, target))
    };
    for_each(registry.iter().flat_map(targets), node, configured)
}

/// The same for a list of sensors and targets.
pub fn for_each(
    wanted: impl IntoIterator<Item = (&'static Sensor, String)>,
    node: &NodeConfig,
    configured: &[CheckConfig],
) -> Vec<CheckConfig> {
    let known: Set<(&str, &str)> =
        configured.iter().map(|check| (&*check.spec.sensor, &*check.spec.target)).collect();
    let mut names: Set<String> =
        configured.iter().map(|check| check.spec.name.to_string()).collect();
    let mut found = Vec::new();
    for (sensor, target) in wanted {
        if found.len() == DISCOVERED_MAX {
            return found;
        }
        // A mount point can be called anything; one that could not be configured is not watched
        // either.
        let usable = sensor.target.check(&target).is_ok() && !target.contains(char::is_control);
        if usable && !known.contains(&(sensor.name, target.as_str())) {
            let name = free_name(&default_name(sensor, &target), &names);
            names.insert(name.clone());
            found.push(check(sensor, &target, &name, node));
        }
    }
    found
}

fn check(sensor: &'static Sensor, target: &str, name: &str, node: &NodeConfig) -> CheckConfig {
    CheckConfig {
        spec: CheckSpec {
            name: name.into(),
            sensor: sensor.name.into(),
            target: target.into(),
            options: Vec::new(),
            quantities: sensor.quantities,
            interval: default_interval(sensor, node.policy.interval),
            timeout: CHECK_TIMEOUT_DEFAULT,
            warn_when: default_conditions(sensor.warn_when, sensor),
            fail_when: default_conditions(sensor.fail_when, sensor),
            fail_after: sensor.fail_after,
            recover_after: sensor.recover_after,
            on_fail: Vec::new(),
            origin: Origin::Discovered,
            group: None,
            prefer_peer: sensor.hardware,
        },
        sensor,
        options: Options::default(),
    }
}

/// `wanted`, cut to the length of a name, with a number behind it if somebody has that name
/// already.
fn free_name(wanted: &str, taken: &Set<String>) -> String {
    if wanted.chars().count() <= NAME_CHARS_MAX && !taken.contains(wanted) {
        return wanted.to_string();
    }
    // Room for a blank and a number below DISCOVERED_MAX + CHECKS_MAX, in parentheses.
    let stem: String = wanted.chars().take(NAME_CHARS_MAX - 8).collect();
    let mut number = 2_usize;
    loop {
        let name = format!("{stem} ({number})");
        if !taken.contains(&name) {
            return name;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mastiff_core::reading::{Quantity, Unit};
    use mastiff_core::time::Span;
    use mastiff_hwmon::sensor::{SensorError, Source, Target};

    use super::*;
    use crate::config::parse;

    const QUANTITIES: &[Quantity] = &[Quantity { name: "used", unit: Unit::Ratio, meaning: "" }];

    const fn sensor(
        name: &'static str,
        target: Target,
        discover: Option<fn(&Root) -> Vec<String>>,
    ) -> Sensor {
        Sensor {
            name,
            hardware: false,
            summary: "",
            target,
            options: &[],
            quantities: QUANTITIES,
            warn_when: &["used > 85%"],
            fail_when: &["used > 95%"],
            interval: Span::from_secs(10),
            fail_after: Span::from_secs(30),
            recover_after: Span::from_secs(60),
            discover,
            source: Source::Quick(|_, _, _| Err(SensorError::Unsupported(String::new()))),
        }
    }

    static MACHINE: Sensor = sensor("machine", Target::Machine, Some(|_| vec![String::new()]));
    static MOUNTS: Sensor = sensor("mounts", Target::MountPoint, Some(mounts));
    static MANY: Sensor = sensor("many", Target::Name, Some(many));
    static NONE: Sensor = sensor("none", Target::Machine, None);

    fn mounts(_: &Root) -> Vec<String> {
        let long = format!("/{}", "m".repeat(200));
        ["/", "/var", "relative", "/line\nbreak", &long].map(String::from).to_vec()
    }

    fn many(_: &Root) -> Vec<String> {
        (0..DISCOVERED_MAX * 2).map(|index| index.to_string()).collect()
    }

    fn found(text: &str, registry: &[&'static Sensor]) -> Vec<CheckConfig> {
        let config = parse(text, Path::new("test.toml"), registry).unwrap();
        among(registry, &config.node, &Root::recorded("/nonexistent"), &config.checks)
    }

    fn names(found: &[CheckConfig]) -> Vec<&str> {
        found.iter().map(|check| &*check.spec.name).collect()
    }

    #[test]
    fn what_is_found_is_watched_and_only_reported() {
        let found = found("", &[&MACHINE, &MOUNTS, &NONE]);
        let long = format!("mounts /{} (2)", "m".repeat(112));
        assert_eq!(names(&found), ["machine", "mounts /", "mounts /var", &long]);
        for check in &found {
            assert_eq!(check.spec.origin, Origin::Discovered);
            assert!(check.spec.on_fail.is_empty());
            assert_eq!((check.spec.fail_when.len(), check.spec.warn_when.len()), (1, 1));
        }
    }

    #[test]
    fn what_is_configured_is_not_watched_twice() {
        let text = "[[check]]\nname = \"disk\"\nsensor = \"mounts\"\ntarget = \"/var\"\n";
        assert_eq!(names(&found(text, &[&MACHINE, &MOUNTS]))[..2], ["machine", "mounts /"]);
        let all = found(text, &[&MACHINE, &MOUNTS]);
        assert!(all.iter().all(|check| &*check.spec.target != "/var"));
    }

    #[test]
    fn a_default_check_yields_its_name_to_a_configured_one() {
        let text = "[[check]]\nname = \"machine\"\nsensor = \"none\"\n";
        assert_eq!(names(&found(text, &[&MACHINE, &NONE])), ["machine (2)"]);
    }

    #[test]
    fn default_checks_can_be_switched_off_and_are_bounded() {
        assert!(found("[node]\ndefault-checks = false\n", &[&MACHINE]).is_empty());
        assert_eq!(found("", &[&MANY]).len(), DISCOVERED_MAX);
    }
}
