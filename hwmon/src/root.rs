//! Where the machine's files are: `/`, or a recorded tree in a test.

use std::path::{Path, PathBuf};

/// The prefix of /proc, /sys, /dev and every other path that a reader opens.
///
/// Every reader takes its paths from here, so that the same code runs on a recorded tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// The running machine.
    pub fn machine() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A tree recorded under `prefix`.
    pub fn recorded(prefix: impl Into<PathBuf>) -> Self {
        Self(prefix.into())
    }

    /// The place of an absolute path under this root: `/proc/stat` becomes `prefix/proc/stat`.
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.0.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }

    /// What a sensor without targets discovers: its one target, the empty string, where `absolute`
    /// exists.
    pub fn machine_if(&self, absolute: impl AsRef<Path>) -> Vec<String> {
        if self.path(absolute).exists() { vec![String::new()] } else { Vec::new() }
    }

    /// Whether this is the running machine: only there do system calls (`statvfs`) agree with the
    /// files.
    pub fn is_machine(&self) -> bool {
        self.0 == Path::new("/")
    }
}
