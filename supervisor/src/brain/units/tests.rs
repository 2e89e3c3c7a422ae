use super::*;

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
