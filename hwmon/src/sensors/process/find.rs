//! Which processes a target means.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use mastiff_core::sorted::Map;

use crate::cgroup;
use crate::root::Root;
use crate::sensor::{SensorError, Target};

use super::{PROCESSES_MAX, stat};

/// Bytes of a pid file at most.
const PID_FILE_BYTES_MAX: u64 = 64;

/// Bytes of one list of a control group at most: some more than [`PROCESSES_MAX`] numbers of seven
/// digits.
const GROUP_LIST_BYTES_MAX: u64 = 64 * 1024;

/// Groups below one unit that are looked at at most.
const SUBGROUPS_MAX: usize = 1024;

/// Name searches until first arguments are read again: a process may rename itself while it runs.
const SEARCHES_PER_LOOK: u32 = 12;

/// The kernel keeps so many bytes of a name (`TASK_COMM_LEN` without the zero, linux/sched.h).
const KERNEL_NAME_BYTES: usize = 15;

/// The processes of a target now.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) pids: Vec<u32>,
    /// There are more than [`PROCESSES_MAX`].
    pub(super) truncated: bool,
}

/// Finds the processes of one target again and again.
#[derive(Debug)]
pub(super) enum Finder {
    Unit { root: Root, unit: String, group: Option<PathBuf> },
    PidFile(PathBuf),
    Name(NameSearch),
}

/// A search through all processes.
#[derive(Debug)]
pub(super) struct NameSearch {
    proc: PathBuf,
    name: String,
    searches: u32,
    /// Which kernel name a process had, and whether its first argument was the name looked for.
    seen: Map<u32, (String, bool)>,
}

impl Finder {
    pub(super) fn new(root: &Root, target: &str) -> Result<Self, SensorError> {
        match target.split_once(':') {
            Some(("unit", unit)) => {
                Ok(Self::Unit { root: root.clone(), unit: unit.to_owned(), group: None })
            }
            Some(("pid-file", path)) => Ok(Self::PidFile(root.path(path))),
            Some(("name", name)) => Ok(Self::Name(NameSearch {
                proc: root.path("/proc"),
                name: name.to_owned(),
                searches: 0,
                seen: Map::new(),
            })),
            _ => Err(SensorError::Target {
                target: target.to_owned(),
                reason: Target::Process.wanted().to_owned(),
            }),
        }
    }

    pub(super) fn find(&mut self) -> Result<Found, SensorError> {
        match self {
            Self::Unit { root, unit, group } => {
                if !group.as_ref().is_some_and(|group| group.is_dir()) {
                    *group = cgroup::of_unit(root, unit)?;
                }
                Ok(group.as_ref().map(|group| in_group(group)).unwrap_or_default())
            }
            Self::PidFile(path) => {
                let pids = read_pid_file(path)?.into_iter().collect();
                Ok(Found { pids, truncated: false })
            }
            Self::Name(search) => search.find(),
        }
    }
}

/// The processes of a group and of the groups in it, which a unit with `Delegate=` makes itself.
fn in_group(group: &Path) -> Found {
    let mut found = Found::default();
    let mut waiting = vec![group.to_path_buf()];
    let mut looked_at = 0_usize;
    while let Some(group) = waiting.pop() {
        looked_at = looked_at.saturating_add(1);
        if looked_at > SUBGROUPS_MAX {
            found.truncated = true;
            return found;
        }
        // A group that vanished meanwhile has no processes.
        let list =
            read_start(&group.join("cgroup.procs"), GROUP_LIST_BYTES_MAX).unwrap_or_default();
        found.pids.extend(crate::text::lines(&list).filter_map(number));
        if found.pids.len() > PROCESSES_MAX {
            found.pids.truncate(PROCESSES_MAX);
            found.truncated = true;
            return found;
        }
        waiting.extend(cgroup::subgroups(&group));
    }
    found
}

/// The number in a pid file; `None` if there is no file, as when the daemon does not run.
fn read_pid_file(path: &Path) -> Result<Option<u32>, SensorError> {
    let text = match read_start(path, PID_FILE_BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SensorError::io("read", path, error)),
    };
    // Some daemons write more lines behind the first; an empty file is one that is being written.
    match text.lines().next().and_then(number) {
        Some(pid) if pid != 0 => Ok(Some(pid)),
        Some(_) | None => Err(SensorError::malformed(path, "a process number")),
    }
}

/// A process number; no sign, no other text beside it.
fn number(text: &str) -> Option<u32> {
    u32::try_from(crate::text::whole(text)?).ok()
}

fn read_start(path: &Path, limit: u64) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl NameSearch {
    fn find(&mut self) -> Result<Found, SensorError> {
        let entries = self.proc.read_dir().map_err(|e| SensorError::io("list", &self.proc, e))?;
        if self.searches.is_multiple_of(SEARCHES_PER_LOOK) {
            self.seen = Map::new();
        }
        self.searches = self.searches.wrapping_add(1);
        let mut seen = Map::new();
        let mut found = Found::default();
        for entry in entries.flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            let Some(pid) = pid else { continue };
            let Some(kernel_name) = stat::name(&self.proc, pid) else { continue };
            let matches = match self.seen.get(&pid) {
                Some((before, matched)) if *before == kernel_name => Some(*matched),
                Some(_) | None => self.matches(pid, &kernel_name),
            };
            if let Some(matches) = matches {
                seen.insert(pid, (kernel_name, matches));
            }
            let matches = matches == Some(true);
            if matches {
                found.pids.push(pid);
            }
        }
        self.seen = seen;
        found.truncated = found.pids.len() > PROCESSES_MAX;
        found.pids.truncate(PROCESSES_MAX);
        Ok(found)
    }

    /// A name longer than the kernel keeps can only be told by the first argument; `None` while
    /// there is none.
    fn matches(&self, pid: u32, kernel_name: &str) -> Option<bool> {
        if self.name.len() <= KERNEL_NAME_BYTES && kernel_name == self.name {
            return Some(true);
        }
        Some(stat::own_name(&self.proc, pid)? == self.name)
    }
}
