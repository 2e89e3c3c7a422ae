//! Where control groups are, and which one belongs to a unit (control-group-v2.rst;
//! systemd.resource-control(5)).
//!
//! Pure v2 hosts mount one tree at /sys/fs/cgroup. Hybrid hosts mount the v1 controllers there,
//! each in a directory of its own, and a v2 tree without controllers at /sys/fs/cgroup/unified.
//! systemd uses the same path below each.

use std::collections::VecDeque;
use std::path::{Component, Path, PathBuf};

use crate::root::Root;
use crate::sensor::SensorError;

/// Directories looked at in search of a unit at most; 1,000 units have about 1,100.
pub const SEARCHED_DIRECTORIES_MAX: usize = 8192;

const MOUNT: &str = "/sys/fs/cgroup";

/// The v2 tree; `None` where there is only v1.
pub fn unified(root: &Root) -> Option<PathBuf> {
    let pure = root.path(MOUNT);
    let hybrid = pure.join("unified");
    [pure, hybrid].into_iter().find(|mount| mount.join("cgroup.controllers").exists())
}

/// The tree of one v1 controller, such as `memory`; `None` on a pure v2 host.
pub fn controller_v1(root: &Root, controller: &str) -> Option<PathBuf> {
    let mount = root.path(MOUNT).join(controller);
    // Every v1 group has this file (cgroups.rst, 1.2) and no v2 group has. `release_agent` would
    // not do: only the top of the host's own tree has it, so not the top that a container sees.
    mount.join("tasks").exists().then_some(mount)
}

/// The place of a control group such as `/system.slice/nginx.service` below a tree; `None` if the
/// text would lead out of it.
pub fn below(tree: &Path, control_group: &str) -> Option<PathBuf> {
    let relative = Path::new(control_group.strip_prefix('/')?);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && !control_group.contains('\0')).then(|| tree.join(relative))
}

/// The directory of a control group that systemd names: in the v2 tree, else in systemd's own of
/// v1 (`name=systemd`, systemd(1)). `None` where there is no tree, or the text would lead out of
/// it.
pub fn of_systemd(root: &Root, control_group: &str) -> Option<PathBuf> {
    below(&unified(root).or_else(|| controller_v1(root, "systemd"))?, control_group)
}

/// Whether a process is in a control group or below it. A group that is not there has none.
///
/// v2 says it in `cgroup.events`; in v1 each group names its own processes, and `cgroup.procs` of
/// all of them are read (cgroups.rst, 1.2).
///
/// # Errors
/// Where a file cannot be read, or v1 has more groups than [`SEARCHED_DIRECTORIES_MAX`].
pub fn has_process(group: &Path) -> Result<bool, SensorError> {
    let read = |path: PathBuf| match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SensorError::Io { doing: "read", path, source }),
    };
    if let Some(events) = read(group.join("cgroup.events"))? {
        return Ok(!events.split(|byte| *byte == b'\n').any(|line| line == b"populated 0"));
    }
    let mut waiting = vec![group.to_path_buf()];
    let mut looked_at = 0_usize;
    while let Some(directory) = waiting.pop() {
        looked_at = looked_at.saturating_add(1);
        if looked_at > SEARCHED_DIRECTORIES_MAX {
            let (path, limit) = (group.to_path_buf(), SEARCHED_DIRECTORIES_MAX);
            return Err(SensorError::TooLarge { path, limit });
        }
        if read(directory.join("cgroup.procs"))?.is_some_and(|text| !text.is_empty()) {
            return Ok(true);
        }
        waiting.extend(subgroups(&directory));
    }
    Ok(false)
}

/// The directory of a unit below the v2 tree, without asking systemd: in `system.slice` where most
/// units are, else by a search through all slices. `None`: it has none now, so it has no processes.
///
/// # Errors
/// Without a v2 tree, or if the search found nothing within its limit.
pub fn of_unit(root: &Root, unit: &str) -> Result<Option<PathBuf>, SensorError> {
    let tree = unified(root).ok_or_else(|| {
        SensorError::Unsupported("no cgroup2 file system is mounted at /sys/fs/cgroup".into())
    })?;
    let usual = tree.join("system.slice").join(unit);
    if usual.is_dir() {
        return Ok(Some(usual));
    }
    let mut waiting = VecDeque::from([tree.clone()]);
    let mut looked_at = 0_usize;
    while let Some(directory) = waiting.pop_front() {
        looked_at = looked_at.saturating_add(1);
        if looked_at > SEARCHED_DIRECTORIES_MAX {
            return Err(SensorError::TooLarge { path: tree, limit: SEARCHED_DIRECTORIES_MAX });
        }
        let here = directory.join(unit);
        if here.is_dir() {
            return Ok(Some(here));
        }
        waiting.extend(subgroups(&directory).filter(|group| is_slice(group)));
    }
    Ok(None)
}

/// The groups directly in a group. One that vanishes meanwhile has none.
pub fn subgroups(group: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

/// Units lie directly in slices, or in the slices of a user's own service manager, which is a
/// service.
fn is_slice(group: &Path) -> bool {
    let name = group.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".slice") || name.starts_with("user@")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_group_never_leads_out_of_its_tree() {
        let tree = Path::new("/t");
        let found = below(tree, "/system.slice/a.service");
        assert_eq!(found, Some(PathBuf::from("/t/system.slice/a.service")));
        for text in ["", "a", "/../etc", "/a/../../b", "//etc", "/a\0b"] {
            assert_eq!(below(tree, text), None, "{text:?}");
        }
    }
}
