//! `packaging/mastiff.toml`: valid as shipped, and with each example in use; and it shows every key
//! there is.

use std::collections::BTreeSet;

use mastiff::config::SECTIONS;
use mastiff::config::pair::LISTEN_DEFAULT;
use mastiff::effects::EFFECTS;
use mastiff_hwmon::SENSORS;

use super::check;

const SAMPLE: &str = include_str!("../../../packaging/mastiff.toml");
const WITNESS: &str = include_str!("../../../packaging/witness.toml");
/// Sections that need one another.
const TOGETHER: [&str; 3] = ["[pair]", "[[group]]", "[[check]]\nname = \"db answers\""];

/// The sample with its examples in use: they are the comments without a blank behind the `#`.
pub(crate) fn uncommented(sample: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(example) if !example.starts_with([' ', '#']) => format!("{example}\n"),
        _ => format!("{line}\n"),
    };
    sample.lines().map(line).collect()
}

/// The examples one by one, each with its section's header.
fn examples(sample: &str) -> Vec<String> {
    let whole = uncommented(sample);
    let mut blocks: Vec<String> = Vec::new();
    for line in whole.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if line.starts_with('[') {
            blocks.push(String::new());
        }
        let block = blocks.last_mut().expect("every key stands below a section");
        block.push_str(&format!("{line}\n"));
    }
    blocks
}

#[test]
fn the_sample_as_shipped_changes_nothing() {
    assert_eq!(check(SAMPLE).unwrap(), check("").unwrap());
}

#[test]
fn the_sample_is_valid_with_all_its_examples_in_use() {
    let config = check(&uncommented(SAMPLE)).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert!(config.checks.len() >= 10, "{}", config.checks.len());
    assert!(!config.alerts.is_empty());
}

#[test]
fn the_sample_of_a_witness_is_valid_as_shipped() {
    let witness = check(WITNESS).unwrap().witness.unwrap();
    assert_eq!(witness.listen, LISTEN_DEFAULT);
    assert_eq!(check(&uncommented(WITNESS)).unwrap().witness, Some(witness));
}

#[test]
fn each_example_is_valid_alone() {
    let needs_another = |example: &String| TOGETHER.iter().any(|name| example.starts_with(name));
    let (together, alone): (Vec<String>, Vec<String>) =
        examples(SAMPLE).into_iter().partition(needs_another);
    assert!(alone.len() >= 10 && together.len() == TOGETHER.len());
    for example in alone.into_iter().chain([together.concat()]) {
        check(&example).unwrap_or_else(|faults| panic!("{example}\n{faults:#?}"));
    }
}

#[test]
fn every_key_and_effect_is_in_the_sample() {
    let mut shown: BTreeSet<(String, String)> = BTreeSet::new();
    for example in examples(SAMPLE).into_iter().chain(examples(WITNESS)) {
        let mut lines = example.lines();
        let section = lines.next().unwrap_or_default().trim_matches(['[', ']']).to_string();
        let keys = lines.filter_map(|line| line.split_once('='));
        shown.extend(keys.map(|(key, _)| (section.clone(), key.trim().to_string())));
    }
    for section in SECTIONS {
        for key in section.keys {
            let entry = (section.name.to_string(), (*key).to_string());
            // A service has the keys of a check, which need no second explanation.
            let is_shown = shown.contains(&entry)
                || section.name == "service" && shown.contains(&("check".into(), entry.1.clone()))
                // It excludes another one that is shown.
                || SAMPLE.contains(&format!("\n##{key} = "));
            assert!(is_shown, "{entry:?}");
        }
    }
    for effect in EFFECTS {
        let entry = ("budgets".to_string(), effect.spec.name.to_string());
        assert!(shown.contains(&entry), "{entry:?}");
    }
}

#[test]
fn defaults_in_the_sample_are_the_defaults() {
    let examples = examples(SAMPLE);
    let sections = |name: &str| examples.iter().find(|example| example.starts_with(name)).unwrap();
    let node = sections("[node]").replace("\"db1\"", "\"x\"");
    let config = check(&(node + sections("[budgets]") + sections("[boot-loop-guard]"))).unwrap();
    let mut default = check("").unwrap();
    default.node.name = "x".to_string();
    assert_eq!(config, default);
}

#[test]
fn every_sensor_has_an_example() {
    let whole = uncommented(SAMPLE);
    let missing: Vec<&str> = SENSORS
        .iter()
        .map(|sensor| sensor.name)
        .filter(|name| *name != "unit" && !whole.contains(&format!("sensor = \"{name}\"")))
        .collect();
    assert!(missing.is_empty(), "sensors without an example in the sample: {missing:?}");
}
