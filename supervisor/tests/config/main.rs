//! Configuration files: what is accepted, and that everything else is refused with its line and a
//! way out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod accepted;
mod bad_files;
mod cases;
mod mutations;
mod sample;

use std::collections::BTreeSet;
use std::path::Path;

use mastiff::config::{Config, Fault, Faults, SECTIONS, parse};
use mastiff_hwmon::SENSORS;

/// Broken configurations that must be there at least.
const CASES_MIN: usize = 60;

fn check(text: &str) -> Result<Config, Vec<Fault>> {
    parse(text, Path::new("test.toml"), SENSORS)
}

#[test]
fn each_broken_file_is_told_each_of_its_faults_and_nothing_else() {
    let cases = cases::all();
    assert!(cases.len() >= CASES_MIN, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let faults = match parse(&case.text, &case.path, SENSORS) {
            Ok(_) => Vec::new(),
            Err(faults) => faults,
        };
        let mut left: Vec<&Fault> = faults.iter().collect();
        for (line, part) in &case.expected {
            let hit = left
                .iter()
                .position(|fault| fault.line == *line && fault.to_string().contains(part.as_str()));
            match hit {
                Some(index) => drop(left.remove(index)),
                None => wrong.push(format!("not told: {}:{line}: {part}", case.path.display())),
            }
        }
        if case.expected.is_empty() {
            wrong.push(format!("expects nothing: {}", case.path.display()));
        }
        wrong.extend(left.iter().map(|fault| format!("not expected: {fault}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn faults_are_in_the_order_of_the_file_and_name_file_line_and_column() {
    for case in cases::all() {
        let Err(faults) = parse(&case.text, &case.path, SENSORS) else { continue };
        let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
        assert!(lines.is_sorted(), "{}: {lines:?}", case.path.display());
        let printed = Faults(faults.clone()).to_string();
        for (fault, line) in faults.iter().zip(printed.lines()) {
            let place = format!("{}:{}:{}: ", case.path.display(), fault.line, fault.column);
            assert!(line.starts_with(&place), "{line}");
            assert!(fault.column >= 1 && !fault.message.is_empty(), "{line}");
        }
        assert_eq!(printed.lines().count(), faults.len());
    }
}

#[test]
fn every_known_key_is_refused_with_a_value_of_another_kind() {
    let odd = ["1979-05-27", "-1", "1.5", "{ deep = { er = [] } }", "[[]]", "nan", "\"\""];
    for section in SECTIONS {
        for key in section.keys {
            for value in odd {
                let text = format!("{}\n{key} = {value}\n", section.header());
                let faults = check(&text).expect_err(&text);
                let path = format!("{}.{key}", section.name);
                let told = faults.iter().any(|fault| {
                    fault.line == 2
                        && (fault.key == path || fault.key.starts_with(&(path.clone() + ".")))
                });
                assert!(told, "{text}: {faults:?}");
            }
        }
    }
}

#[test]
fn every_known_key_is_suggested_to_who_misspells_it() {
    for section in SECTIONS {
        for key in section.keys {
            let text = format!("{}\n{key}x = 1\n", section.header());
            let faults = check(&text).expect_err(&text);
            let suggestion = format!("did you mean `{key}`?");
            assert!(faults.iter().any(|fault| fault.message.contains(&suggestion)), "{faults:?}");
        }
    }
}

#[test]
fn sections_and_keys_are_named_once() {
    let names: BTreeSet<&str> = SECTIONS.iter().map(|section| section.name).collect();
    assert_eq!(names.len(), SECTIONS.len());
    for section in SECTIONS {
        let keys: BTreeSet<&&str> = section.keys.iter().collect();
        assert_eq!(keys.len(), section.keys.len(), "{}", section.name);
    }
}
