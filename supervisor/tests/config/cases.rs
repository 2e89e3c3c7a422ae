//! The broken configurations of `tests/bad_configs` and what each must be told.
//!
//! A file begins with a comment line for each of its faults, and has no others:
//!
//! ```text
//! # expect: LINE: part of the message
//! ```

use std::path::{Path, PathBuf};

/// One broken configuration.
pub(crate) struct Case {
    /// The file.
    pub(crate) path: PathBuf,
    /// Its content.
    pub(crate) text: String,
    /// The line of each fault, and a part of its message.
    pub(crate) expected: Vec<(usize, String)>,
}

/// All of them, by name.
pub(crate) fn all() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_configs");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(case).collect()
}

fn case(path: PathBuf) -> Case {
    let text = std::fs::read_to_string(&path).unwrap();
    let expected = text.lines().map_while(|line| line.strip_prefix("# expect: "));
    let expected = expected
        .map(|line| {
            let (line, part) = line.split_once(": ").expect("LINE: part of the message");
            (line.parse().expect("a line number"), part.to_string())
        })
        .collect();
    Case { path, text, expected }
}
