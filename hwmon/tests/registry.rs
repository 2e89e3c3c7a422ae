//! What holds for every sensor in the registry, so that tools and pages can be driven by the
//! declarations.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use mastiff_core::condition::Condition;
use mastiff_core::reading::Unit;
use mastiff_core::time::Span;
use mastiff_hwmon::SENSORS;
use mastiff_hwmon::sensor::{Source, Target, Wanted};
use mastiff_hwmon::sensors;

/// `Wanted` has a bit for each quantity.
const QUANTITIES_MAX: usize = 64;

fn is_kebab_case(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(plain)
        && !name.ends_with('-')
        && !name.contains("--")
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.contains(['\n', '\t'])
}

#[test]
fn names_are_unique_and_in_kebab_case() {
    let mut sensors = BTreeSet::new();
    for sensor in SENSORS {
        assert!(is_kebab_case(sensor.name), "{}", sensor.name);
        assert!(sensors.insert(sensor.name), "{} twice", sensor.name);
        let mut names = BTreeSet::new();
        let quantities = sensor.quantities.iter().map(|quantity| quantity.name);
        for name in quantities {
            assert!(is_kebab_case(name), "{}: {name}", sensor.name);
            assert!(names.insert(name), "{}: {name} twice", sensor.name);
        }
        let mut options = BTreeSet::new();
        for option in sensor.options {
            assert!(is_kebab_case(option.name), "{}: {}", sensor.name, option.name);
            assert!(options.insert(option.name), "{}: {} twice", sensor.name, option.name);
        }
    }
}

#[test]
fn a_thermometer_fails_nothing_by_a_single_reading() {
    for name in ["hwmon", "thermal"] {
        let sensor = SENSORS.iter().find(|sensor| sensor.name == name).unwrap();
        assert!(sensor.fail_after >= sensor.interval, "{name}");
    }
}

#[test]
fn everything_has_a_meaning() {
    for sensor in SENSORS {
        assert!(is_text(sensor.summary) && sensor.summary.ends_with('.'), "{}", sensor.name);
        for quantity in sensor.quantities {
            assert!(is_text(quantity.meaning), "{}: {}", sensor.name, quantity.name);
            assert!(!quantity.meaning.ends_with('.'), "{}: {}", sensor.name, quantity.name);
            if let Unit::Word(words) = quantity.unit {
                assert!(words.iter().all(|word| is_text(word) && !word.contains(' ')));
            }
        }
    }
}

#[test]
fn options_have_examples_that_are_valid() {
    for sensor in SENSORS {
        for option in sensor.options {
            assert!(is_text(option.meaning), "{}: {}", sensor.name, option.name);
            let valid = (option.check)(option.example);
            assert_eq!(valid, Ok(()), "{}: {}", sensor.name, option.name);
        }
    }
}

#[test]
fn default_conditions_parse_and_none_is_there_twice() {
    for sensor in SENSORS {
        let mut texts = BTreeSet::new();
        for text in sensor.warn_when.iter().chain(sensor.fail_when) {
            if let Err(error) = Condition::parse(text, sensor.quantities) {
                panic!("{}: \"{text}\" {error}", sensor.name);
            }
            assert!(texts.insert(text), "{}: \"{text}\" twice", sensor.name);
        }
    }
}

#[test]
fn what_operators_remove_on_purpose_only_warns() {
    for name in ["block", "btrfs", "device-mapper", "hwmon", "zfs"] {
        let sensor = sensors::find(name).unwrap();
        assert!(sensor.warn_when.contains(&"present = false"), "{name}");
        assert!(!sensor.fail_when.contains(&"present = false"), "{name}");
    }
}

#[test]
fn groups_leave_a_node_for_its_hardware_alone() {
    let hardware = SENSORS.iter().filter(|sensor| sensor.hardware).map(|sensor| sensor.name);
    let mut hardware: Vec<&str> = hardware.collect();
    hardware.sort_unstable();
    // Not `btrfs` and `device-mapper`: a full pool is as full wherever its services run.
    let parts =
        ["block", "disk-health", "ecc", "hwmon", "ipmi", "raid", "smartctl", "thermal", "zfs"];
    assert_eq!(hardware, parts);
}

#[test]
fn each_quantity_has_its_bit_in_wanted() {
    for sensor in SENSORS {
        assert!((1..=QUANTITIES_MAX).contains(&sensor.quantities.len()), "{}", sensor.name);
        for (index, quantity) in sensor.quantities.iter().enumerate() {
            let wanted = Wanted::NONE.with(index);
            for other in sensor.quantities {
                let same = other.name == quantity.name;
                assert_eq!(wanted.has(sensor.quantities, other.name), same, "{}", sensor.name);
            }
        }
    }
}

#[test]
fn what_is_watched_by_itself_is_watched_at_a_rhythm() {
    for sensor in SENSORS {
        if sensor.discover.is_some() {
            assert!(sensor.interval >= Span::from_secs(1), "{}", sensor.name);
        }
        if let Source::Unit = sensor.source {
            assert_eq!(sensor.target, Target::Unit);
        }
    }
}
