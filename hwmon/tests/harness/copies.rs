//! Copies of the recorded trees, and what one sensor says on them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use mastiff_core::reading::{Readings, Value};
use mastiff_core::time::Mono;
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::{Options, Source, Wanted};
use mastiff_hwmon::sensors;

use crate::harness::{Opened, at};

/// Where the recorded trees are.
pub(crate) fn trees() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees")
}

/// A copy of a tree that a test may change; removed at its end.
pub(crate) struct Copy {
    path: PathBuf,
}

impl Copy {
    pub(crate) fn of(tree: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("mastiff-{tree}-{}-{number}", std::process::id()));
        copy(&trees().join(tree), &path);
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn root(&self) -> Root {
        Root::recorded(&self.path)
    }

    /// Replaces the content of a file, not the file: probes keep theirs open.
    pub(crate) fn overwrite(&self, file: &Path, content: &[u8]) {
        fs::write(self.path.join(file), content).unwrap();
    }

    /// Puts the files of `later/` in place of the first ones.
    pub(crate) fn let_time_pass(&self) {
        let later = self.path.join("later");
        for file in files(&later) {
            self.overwrite(&file, &fs::read(later.join(&file)).unwrap());
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path()).unwrap(), target).unwrap();
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The files below a directory, relative to it, sorted. Links, as in /sys, are not followed.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    fn walk(directory: &Path, prefix: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = prefix.join(entry.file_name());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                walk(&entry.path(), &name, found);
            } else if kind.is_file() {
                found.push(name);
            }
        }
    }
    let mut found = Vec::new();
    walk(directory, Path::new(""), &mut found);
    found.sort();
    found
}

/// One reading of one sensor, as text by quantity; `missing` values are left out.
pub(crate) type Shown = BTreeMap<&'static str, String>;

/// Two readings of one sensor on a tree, `later/` in place for the second.
pub(crate) fn twice(tree: &Copy, name: &str, target: &str) -> [Result<Shown, String>; 2] {
    let sensor = sensors::find(name).unwrap();
    let (Source::Quick(open) | Source::MayHang(open)) = sensor.source else {
        panic!("{name} reads no files")
    };
    let probe = open(&tree.root(), target, &Options::default());
    let mut opened = Opened { sensor, target: target.to_owned(), probe };
    let first = shown(&mut opened, at(100));
    if tree.path().join("later").is_dir() {
        tree.let_time_pass();
    }
    [first, shown(&mut opened, at(110))]
}

fn shown(opened: &mut Opened, now: Mono) -> Result<Shown, String> {
    let mut out = Readings::new(opened.sensor.quantities);
    let probe = opened.probe.as_mut().map_err(|error| error.to_string())?;
    probe.read(now, Wanted::ALL, &mut out).map_err(|error| error.to_string())?;
    Ok(out.iter().filter_map(|(quantity, value)| Some((quantity.name, text(value?)))).collect())
}

fn text(value: &Value) -> String {
    match value {
        // Six digits are enough to tell numbers apart, and no rounding shows in them.
        Value::Number(number) => {
            let short = format!("{number:.6}");
            short.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        Value::Flag(flag) => flag.to_string(),
        Value::Word(word) => word.to_string(),
        Value::Absent => "absent".into(),
    }
}

/// Compares a reading with all that is expected: what is not listed must be missing.
pub(crate) fn assert_shown(what: &str, is: &Shown, expected: &[(&'static str, &str)]) {
    let expected: Shown = expected.iter().map(|(name, value)| (*name, (*value).into())).collect();
    assert_eq!(is, &expected, "{what}");
}
