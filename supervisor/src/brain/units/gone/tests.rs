use std::fs;

use mastiff_hwmon::sensors::unit::parse_show;

use super::*;

/// Of so many units of a group: those that PID 1 tells of, and none of these.
fn gone(memory: &mut Memory, text: &str, many: usize, root: &Root) -> Result<(), String> {
    let states = parse_show(text);
    let mut own: Vec<String> = states.iter().map(|unit| unit.id.clone()).collect();
    own.resize(many, "untold.service".to_string());
    memory.all_gone(&own, &states, root)
}

fn all_gone(text: &str, many: usize, root: &Root) -> Result<(), String> {
    gone(&mut Memory::default(), text, many, root)
}

fn learn(memory: &mut Memory, own: &str, text: &str) -> bool {
    memory.learn(&[own.to_string()], &parse_show(text))
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
    learn(&mut memory, "a.service", &show(&[("a.service", "active", "/other.slice/sub")]));
    assert!(gone(&mut memory, &failed("a.service"), 1, &root).is_err());
    fs::write(root.path("/sys/fs/cgroup/other.slice/sub/cgroup.events"), "populated 0\n").unwrap();
    assert_eq!(gone(&mut memory, &failed("a.service"), 1, &root), Ok(()));
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
    assert_eq!(gone(&mut memory, &oneshot("failed", "exit-code"), 1, &root), Ok(()));
    learn(&mut memory, "d.service", &oneshot("active", "success"));
    assert!(gone(&mut memory, &oneshot("deactivating", "success"), 1, &root).is_err());
    let why = gone(&mut memory, &oneshot("failed", "exit-code"), 1, &root).unwrap_err();
    assert!(why.contains("systemctl reset-failed d.service"), "{why}");
    assert!(gone(&mut memory, &oneshot("failed", "exit-code"), 1, &root).is_err(), "still");
    assert_eq!(gone(&mut memory, &oneshot("inactive", "success"), 1, &root), Ok(()), "as told");
    assert_eq!(gone(&mut memory, &oneshot("failed", "exit-code"), 1, &root), Ok(()), "a start");
    // Another kind of service is killed after an ExecStop= that fails.
    let simple = oneshot("failed", "exit-code").replace("oneshot", "simple");
    learn(&mut memory, "d.service", &oneshot("active", "success"));
    assert_eq!(gone(&mut memory, &simple, 1, &root), Ok(()));
    memory.forget_ends();
    assert_eq!(
        gone(&mut memory, &oneshot("failed", "exit-code"), 1, &root),
        Ok(()),
        "started anew"
    );
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_part_of_a_unit_is_looked_at_too() {
    let (folder, root) = tree("members", &[]);
    let mut memory = Memory::default();
    let members = "ConsistsOf=b@1.service b.socket\nBoundBy=b@1.service c.mount\n";
    let running = format!("{}{members}", show(&[("b.service", "active", "")]));
    assert!(learn(&mut memory, "b.service", &running), "there is more to ask about");
    assert!(!learn(&mut memory, "b.service", &running), "that is known by now");
    assert_eq!(memory.members(), ["b@1.service", "b.socket", "c.mount"]);
    let stopping = [
        ("b.service", "inactive", ""),
        ("b@1.service", "deactivating", "/system.slice/b@1.service"),
        ("c.mount", "inactive", ""),
        ("b.socket", "active", ""),
    ];
    let mut look =
        |text: &str| memory.all_gone(&["b.service".to_string()], &parse_show(text), &root);
    assert_eq!(look(&show(&stopping)), Err("b@1.service is deactivating".to_string()));
    let stopped = show(&stopping).replace("deactivating", "inactive");
    assert_eq!(look(&stopped), Ok(()), "a socket holds nothing");
    let untold = show(&stopping[..3]).replace("deactivating", "inactive");
    assert!(look(&untold).unwrap_err().contains("b.socket"), "an answer of before");
    fs::remove_dir_all(folder).unwrap();
}

/// What PID 1 says of these units, each with what is part of it.
fn parts(units: &[(&str, &str)]) -> String {
    let block =
        |(id, parts): &(&str, &str)| format!("{}ConsistsOf={parts}\n", show(&[(id, "active", "")]));
    units.iter().map(block).collect::<Vec<_>>().join("\n")
}

#[test]
fn members_of_members_are_followed_and_circles_end() {
    let (folder, root) = tree("deep", &[]);
    let own = ["a.service".to_string()];
    let mut memory = Memory::default();
    let all = [
        ("a.service", "b.target a.service"),
        ("b.target", "c.service"),
        ("c.service", "a.service b.target d.service"),
        ("d.service", "c.service"),
    ];
    // Each answer tells of those that were asked about, and so of what to ask about next.
    for (many, grows) in [(1, true), (2, true), (3, true), (4, false)] {
        assert_eq!(learn(&mut memory, "a.service", &parts(&all[..many])), grows, "{many}");
    }
    assert_eq!(memory.members(), ["b.target", "c.service", "d.service"]);
    // One that nobody asked for before, at the stop.
    let mut late = Memory::default();
    let stopped = parts(&all).replace("=active", "=inactive");
    let mut looks = 0;
    for many in 1..=4 {
        let states = parse_show(&stopped)[..many].to_vec();
        late.learn_more(&own, &states);
        looks += usize::from(late.all_gone(&own, &states, &root).is_err());
    }
    assert_eq!((looks, late.members()), (3, memory.members()));
    assert_eq!(late.all_gone(&own, &parse_show(&stopped), &root), Ok(()));
    let one = stopped.replace(
        "Id=d.service\nNames=d.service\nLoadState=loaded\nActiveState=in",
        "Id=d.service\nNames=d.service\nLoadState=loaded\nActiveState=",
    );
    let why = late.all_gone(&own, &parse_show(&one), &root).unwrap_err();
    assert_eq!(why, "d.service is active");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn members_are_followed_to_a_depth_and_up_to_a_number() {
    let chain: Vec<(String, String)> =
        (0..20).map(|at| (format!("u{at}.service"), format!("u{}.service", at + 1))).collect();
    let chain: Vec<(&str, &str)> = chain.iter().map(|(id, part)| (&**id, &**part)).collect();
    let mut memory = Memory::default();
    learn(&mut memory, "u0.service", &parts(&chain));
    assert_eq!(memory.members().len(), MEMBERS_DEEP);
    let many: Vec<String> = (0..100).map(|at| format!("m{at}.service")).collect();
    learn(&mut memory, "u0.service", &parts(&[("u0.service", &many.join(" "))]));
    assert_eq!(memory.members().len(), MEMBERS_MAX);
}
