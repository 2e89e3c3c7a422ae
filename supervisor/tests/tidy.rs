//! The source keeps its own rules: sizes, where unsafe code and threads may be, no sleeping,
//! everything registered.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function.
const FUNCTION_LINES_MAX: usize = 70;
/// Columns of a line, but for text in quotes: what a user reads is not broken where the source is.
const COLUMNS_MAX: usize = 100;

struct Source {
    /// From the project's root.
    name: String,
    text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        self.name.contains("/tests/")
            || self.name.ends_with("/tests.rs")
            || self.name.contains("/examples/")
    }

    /// Numbered lines up to the tests inside the file.
    fn product(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
        lines.enumerate().map(|(at, line)| (at + 1, line)).filter(|_| !self.is_test())
    }

    /// The same without comments, so that prose may name what code may not.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.product().map(|(at, line)| (at, line.split("//").next().unwrap_or_default()))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for part in ["hwmon", "supervisor"] {
        collect(&root().join(part), part, &mut found);
    }
    assert!(found.len() > 50, "the sources were not found");
    found
}

fn collect(directory: &Path, name: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{name}/{}", path.file_name().unwrap().to_string_lossy());
        if path.is_dir() && !name.contains("/trees") && !name.ends_with("/target") {
            collect(&path, &name, found);
        } else if name.ends_with(".rs") {
            found.push(Source { text: fs::read_to_string(&path).unwrap(), name });
        }
    }
}

/// Fails with all places at once.
fn none(what: &str, places: Vec<String>) {
    assert!(places.is_empty(), "{what}:\n{}", places.join("\n"));
}

/// Places where a product line contains one of `words`, but for files that `may` have them.
fn places(words: &[&str], may: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !may(&source.name)) {
        for (at, line) in
            source.code().filter(|(_, line)| words.iter().any(|word| line.contains(word)))
        {
            found.push(format!("{}:{at}: {}", source.name, line.trim()));
        }
    }
    found
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let long = |source: &Source| {
        let lines = source.product().count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", source.name))
    };
    none("files over 500 lines without their tests", sources().iter().filter_map(long).collect());
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let mut found = Vec::new();
    for source in &sources() {
        let mut began: Option<(usize, usize, String)> = None;
        for (at, line) in source.product() {
            let indent = line.len() - line.trim_start().len();
            let starts = [
                "fn ",
                "pub fn ",
                "pub(crate) fn ",
                "pub(super) fn ",
                "const fn ",
                "pub const fn ",
            ];
            if began.is_none() && starts.iter().any(|start| line.trim_start().starts_with(start)) {
                began = Some((at, indent, line.trim().to_string()));
            }
            if let Some((start, own, name)) = began.clone()
                && indent == own
                && (line.trim() == "}"
                    || line.trim_end().ends_with([';'])
                    || line.trim_end().ends_with("{}"))
            {
                if at - start + 1 > FUNCTION_LINES_MAX {
                    found.push(format!(
                        "{}:{start}: {} lines: {name}",
                        source.name,
                        at - start + 1
                    ));
                }
                began = None;
            }
        }
    }
    none("functions over 70 lines", found);
}

#[test]
fn no_line_is_wider_than_a_window() {
    let mut found = Vec::new();
    for source in &sources() {
        for (at, line) in source.text.lines().enumerate() {
            if line.chars().count() > COLUMNS_MAX && !line.contains(['"', '|']) {
                found.push(format!("{}:{}", source.name, at + 1));
            }
        }
    }
    none("lines over 100 columns", found);
}

#[test]
fn unsafe_code_is_in_the_sys_modules_only() {
    let is_sys = |name: &str| name.contains("/src/sys/") || name.ends_with("/src/sys.rs");
    let found = places(&["unsafe "], |name| is_sys(name));
    none(
        "unsafe outside sys/",
        found.into_iter().filter(|place| !place.contains("unsafe_")).collect(),
    );
}

#[test]
fn nothing_sleeps_to_order_things() {
    none("sleeping", places(&["thread::sleep", "sleep("], |_| false));
}

#[test]
fn threads_are_started_where_somebody_may_wait_for_the_kernel_only() {
    let found = places(&["thread::spawn", "thread::Builder", "thread::scope"], |name| {
        let may = ["keeper.rs", "keeper/hands.rs", "petter.rs", "brain/going/call.rs"];
        let may = may.map(|file| format!("supervisor/src/{file}"));
        // The last one runs worlds beside each other: no daemon, no thread is shared by two.
        may.iter().any(|file| file == name) || name == "supervisor/sim/src/seeds.rs"
    });
    none("other threads", found);
}

#[test]
fn decisions_read_one_clock() {
    let may = |name: &str| {
        name.ends_with("/clock.rs")
            // They are about wall-clock time: the age of a file, steps of the clock.
            || ["hwmon/src/sensors/file.rs", "hwmon/src/sensors/time.rs"].contains(&name)
            // The patience of a person at a terminal decides nothing.
            || name == "supervisor/src/cli/client.rs"
    };
    none("other clocks", places(&["SystemTime", "Instant::now", "CLOCK_REALTIME)"], may));
}

#[test]
fn every_file_of_a_registry_is_registered() {
    for (directory, registry, known) in [
        ("hwmon/src/sensors", "hwmon/src/sensors.rs", "SENSOR"),
        ("supervisor/src/effects", "supervisor/src/effects.rs", "EFFECT"),
    ] {
        let registered = fs::read_to_string(root().join(registry)).unwrap();
        for entry in fs::read_dir(root().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_string_lossy().to_string();
            if path.extension().is_some_and(|extension| extension == "rs") {
                assert!(
                    registered.contains(&format!("&{stem}::{known}")),
                    "{directory}/{stem}.rs is not in {registry}"
                );
            }
        }
    }
}

#[test]
fn the_core_names_nothing_of_the_world() {
    let manifest = fs::read_to_string(root().join("supervisor/core/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split('[').next().unwrap();
    let names: Vec<&str> =
        dependencies.lines().filter(|line| line.contains('=') || line.contains('.')).collect();
    assert_eq!(names, ["serde.workspace = true"], "the core may depend on value types only");
    let lib = fs::read_to_string(root().join("supervisor/core/src/lib.rs")).unwrap();
    assert!(lib.contains("#![no_std]") && lib.contains("#![forbid(unsafe_code)]"));
}

#[test]
fn what_the_readme_points_to_exists() {
    for page in ["README.md", "packaging/SECURITY.md", "packaging/docs/pair.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        for path in text.split(['`', ' ', '\n', '(', ')']).filter(|word| {
            let folders = ["packaging/", "supervisor/", "hwmon/", "systemd/"];
            folders.iter().any(|folder| word.starts_with(folder)) && !word.contains('*')
        }) {
            let path = path.trim_end_matches(['.', ',', ';', ':']);
            assert!(root().join(path).exists(), "{page} points to {path}, which does not exist");
        }
    }
}
