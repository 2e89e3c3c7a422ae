use std::fs;

use super::*;

fn all_gone(text: &str, many: usize, root: &Root) -> Result<(), String> {
    Memory::default().all_gone(text, many, root)
}

fn show(units: &[(&str, &str, &str)]) -> String {
    let block = |(id, state, group): &(&str, &str, &str)| {
        format!(
            "Id={id}\nNames={id}\nLoadState=loaded\nActiveState={state}\nSubState=x\nControlGroup={group}\n"
        )
    };
    units.iter().map(block).collect::<Vec<_>>().join("\n")
}

/// A tree with control groups, and whether something is in them.
fn tree(name: &str, groups: &[(&str, &str)]) -> (std::path::PathBuf, Root) {
    let folder = std::env::temp_dir().join(format!("mastiff-units-{name}-{}", std::process::id()));
    let unified = folder.join("sys/fs/cgroup");
    fs::create_dir_all(&unified).unwrap();
    fs::write(unified.join("cgroup.controllers"), "memory\n").unwrap();
    for (group, events) in groups {
        fs::create_dir_all(unified.join(group)).unwrap();
        fs::write(unified.join(group).join("cgroup.events"), events).unwrap();
    }
    let root = Root::recorded(&folder);
    (folder, root)
}

#[test]
fn gone_is_what_pid_1_and_the_control_group_say() {
    let groups = [
        ("system.slice/empty.service", "populated 0\nfrozen 0\n"),
        ("system.slice/left.service", "populated 1\nfrozen 0\n"),
    ];
    let (folder, root) = tree("gone", &groups);
    let one = |state: &str, group: &str| all_gone(&show(&[("a.service", state, group)]), 1, &root);
    for state in ["inactive", "failed"] {
        assert_eq!(one(state, ""), Ok(()), "it has no control group any more");
        assert_eq!(one(state, "/system.slice/empty.service"), Ok(()));
        assert_eq!(one(state, "/system.slice/removed.service"), Ok(()));
        let why = one(state, "/system.slice/left.service").unwrap_err();
        assert_eq!(why, format!("a.service is {state}, and has processes all the same"));
    }
    for state in ["active", "activating", "deactivating", "reloading", "maintenance", ""] {
        assert!(one(state, "").is_err(), "{state}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_answer_that_does_not_tell_of_every_unit_says_nothing() {
    let (folder, root) = tree("every", &[]);
    let two = show(&[("a.service", "inactive", ""), ("b.service", "inactive", "")]);
    assert_eq!(all_gone(&two, 2, &root), Ok(()));
    assert!(all_gone(&two, 3, &root).is_err());
    assert!(all_gone("", 1, &root).is_err());
    let one_runs = show(&[("a.service", "inactive", ""), ("b.service", "active", "")]);
    assert_eq!(all_gone(&one_runs, 2, &root), Err("b.service is active".to_string()));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_control_group_that_pid_1_has_forgotten_is_remembered_or_found() {
    let groups = [
        ("system.slice/system-b.slice/b@1.service", "populated 1\n"),
        ("other.slice/sub", "populated 1\n"),
        ("user.slice/user-7.slice/user@7.service/c.service", "populated 1\n"),
    ];
    let (folder, root) = tree("forgotten", &groups);
    let failed = |id: &str| show(&[(id, "failed", "")]);
    // By another daemon, or before it knew: by its name.
    assert!(all_gone(&failed("b@1.service"), 1, &root).is_err());
    // Where no name leads.
    assert_eq!(all_gone(&failed("a.service"), 1, &root), Ok(()));
    let mut memory = Memory::default();
    memory.learn(&parse_show(&show(&[("a.service", "active", "/other.slice/sub")])));
    assert!(memory.all_gone(&failed("a.service"), 1, &root).is_err());
    fs::write(root.path("/sys/fs/cgroup/other.slice/sub/cgroup.events"), "populated 0\n").unwrap();
    assert_eq!(memory.all_gone(&failed("a.service"), 1, &root), Ok(()));
    // A user's own unit of the same name is none of ours.
    assert_eq!(all_gone(&failed("c.service"), 1, &root), Ok(()));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn without_a_v2_tree_the_processes_are_counted_in_systemds_own() {
    let folder = std::env::temp_dir().join(format!("mastiff-units-v1-{}", std::process::id()));
    let group = folder.join("sys/fs/cgroup/systemd/system.slice/a.service");
    fs::create_dir_all(group.join("below")).unwrap();
    fs::write(folder.join("sys/fs/cgroup/systemd/tasks"), "1\n").unwrap();
    fs::write(group.join("cgroup.procs"), "").unwrap();
    fs::write(group.join("below/cgroup.procs"), "812\n").unwrap();
    let root = Root::recorded(&folder);
    let failed = show(&[("a.service", "failed", "/system.slice/a.service")]);
    assert!(all_gone(&failed, 1, &root).is_err());
    fs::write(group.join("below/cgroup.procs"), "").unwrap();
    assert_eq!(all_gone(&failed, 1, &root), Ok(()));
    fs::remove_dir_all(folder).unwrap();
}

fn oneshot(state: &str, result: &str) -> String {
    format!("Id=d.service\nNames=d.service\nActiveState={state}\nResult={result}\nType=oneshot\n")
}

#[test]
fn a_oneshot_whose_exec_stop_failed_is_not_gone() {
    let (folder, root) = tree("oneshot", &[]);
    let mut memory = Memory::default();
    // It never ran here: its start failed.
    assert_eq!(memory.all_gone(&oneshot("failed", "exit-code"), 1, &root), Ok(()));
    memory.learn(&parse_show(&oneshot("active", "success")));
    assert!(memory.all_gone(&oneshot("deactivating", "success"), 1, &root).is_err());
    let why = memory.all_gone(&oneshot("failed", "exit-code"), 1, &root).unwrap_err();
    assert!(why.contains("systemctl reset-failed d.service"), "{why}");
    assert!(memory.all_gone(&oneshot("failed", "exit-code"), 1, &root).is_err(), "still");
    assert_eq!(memory.all_gone(&oneshot("inactive", "success"), 1, &root), Ok(()), "as told");
    assert_eq!(memory.all_gone(&oneshot("failed", "exit-code"), 1, &root), Ok(()), "a start");
    // Another kind of service is killed after an ExecStop= that fails.
    let simple = oneshot("failed", "exit-code").replace("oneshot", "simple");
    memory.learn(&parse_show(&oneshot("active", "success")));
    assert_eq!(memory.all_gone(&simple, 1, &root), Ok(()));
    memory.forget_ends();
    assert_eq!(memory.all_gone(&oneshot("failed", "exit-code"), 1, &root), Ok(()), "started anew");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_part_of_a_unit_is_looked_at_too() {
    let (folder, root) = tree("members", &[]);
    let mut memory = Memory::default();
    let members = "ConsistsOf=b@1.service b.socket\nBoundBy=b@1.service c.mount\n";
    memory.learn(&parse_show(&format!("{}{members}", show(&[("b.service", "active", "")]))));
    assert_eq!(memory.members(), ["b@1.service", "c.mount"]);
    let stopping = [
        ("b.service", "inactive", ""),
        ("b@1.service", "deactivating", "/system.slice/b@1.service"),
        ("c.mount", "inactive", ""),
    ];
    let why = memory.all_gone(&show(&stopping), 3, &root).unwrap_err();
    assert_eq!(why, "b@1.service is deactivating");
    fs::remove_dir_all(folder).unwrap();
}
