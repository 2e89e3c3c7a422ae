use std::fs;
use std::path::PathBuf;

use mastiff_core::reading::{Readings, Value};
use mastiff_core::time::{Mono, Span};

use super::cgroup::UnitCgroup;
use super::*;
use crate::sensor::Wanted;

/// In the form that `systemctl show` of systemd 252 writes (Debian 12).
const ANSWER: &str = "\
MainPID=812
NRestarts=2
Result=success
ControlGroup=/system.slice/web.service
Id=web.service
Names=web.service www.service
LoadState=loaded
ActiveState=active
SubState=running

MainPID=0
NRestarts=5
Result=oom-kill
ControlGroup=
Id=hungry.service
Names=hungry.service
LoadState=loaded
ActiveState=failed
SubState=failed

MainPID=0
NRestarts=0
Result=success
ControlGroup=
Id=nosuch.service
Names=nosuch.service
LoadState=not-found
ActiveState=inactive
SubState=dead

Id=network.target
Names=network.target
LoadState=loaded
ActiveState=active
SubState=active
";

fn number(readings: &Readings, name: &str) -> f64 {
    match readings.get(name) {
        Some(Value::Number(number)) => *number,
        other => panic!("{name} is {other:?}"),
    }
}

fn filled(state: &UnitState) -> Readings {
    let mut out = Readings::new(QUANTITIES);
    state.fill(&mut out);
    assert_eq!(out.undeclared(), None);
    out
}

#[test]
fn one_answer_tells_of_many_units() {
    let units = parse_show(ANSWER);
    assert_eq!(units.len(), 4);
    let [web, hungry, nosuch, target] = &units[..] else { panic!("{units:?}") };
    assert!(web.answers_to("web.service") && web.answers_to("www.service"));
    assert!(!web.answers_to("ww.service"));
    let out = filled(web);
    assert_eq!(out.get("state"), Some(&Value::Word("active".into())));
    assert_eq!(number(&out, "restarts"), 2.0);
    assert_eq!(number(&out, "main-pid"), 812.0);
    assert_eq!(out.note, None);
    let out = filled(hungry);
    assert_eq!(out.get("result"), Some(&Value::Word("oom-kill".into())));
    assert_eq!(out.get("main-pid"), Some(&Value::Absent));
    assert_eq!(out.note.as_deref(), Some("failed (failed), result oom-kill"));
    assert_eq!(filled(nosuch).note.as_deref(), Some("unit file: not-found"));
    let out = filled(target);
    assert_eq!(out.get("restarts"), Some(&Value::Absent));
    assert_eq!(out.get("result"), Some(&Value::Absent));
}

#[test]
fn hostile_answers_leave_values_missing() {
    let long = "x".repeat(VALUE_BYTES_MAX + 1);
    let text = format!(
        "\n\n\nActiveState=act ive\u{1b}[31m\nSubState={long}\nNRestarts=-1\nMainPID=99999999999999999999999\nResult=a/b\n\
         Id={long}\nno equals sign\n=\nUnasked=1\n\n\n"
    );
    let units = parse_show(&text);
    let [unit] = &units[..] else { panic!("{units:?}") };
    let out = filled(unit);
    for name in ["state", "sub", "result", "restarts", "main-pid"] {
        assert_eq!(out.get(name), None, "{name}");
    }
    let many = "Id=a.service\n\n".repeat(UNITS_MAX + 7);
    assert_eq!(parse_show(&many).len(), UNITS_MAX);
    assert!(parse_show("").is_empty());
}

/// A tree of control groups in a folder of its own, removed at the end.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mastiff-unit-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn root(&self) -> Root {
        Root::recorded(&self.0)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the folder of the test");
    }
}

const GROUP: &str = "sys/fs/cgroup/system.slice/web.service";

fn healthy(name: &str) -> Tree {
    let tree = Tree::new(name);
    tree.write("sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n");
    for (file, text) in [
        ("cgroup.events", "populated 1\nfrozen 0\n"),
        ("memory.current", "52428800\n"),
        ("memory.max", "104857600\n"),
        ("memory.events", "low 0\nhigh 0\nmax 12\noom 2\noom_kill 2\noom_group_kill 0\n"),
        ("pids.current", "7\n"),
        ("pids.max", "max\n"),
        ("cpu.stat", "usage_usec 1000000\nnr_periods 100\nnr_throttled 10\n"),
        ("memory.pressure", "some avg10=12.50 avg60=1.00 avg300=0.10 total=99\n"),
    ] {
        tree.write(&format!("{GROUP}/{file}"), text);
    }
    tree
}

fn read(group: &mut UnitCgroup, seconds: u64) -> Readings {
    let mut out = Readings::new(QUANTITIES);
    group.read(Mono::BOOT.after(Span::from_secs(seconds)), Wanted::ALL, &mut out);
    assert_eq!(out.undeclared(), None);
    out
}

#[test]
fn counters_of_a_running_unit() {
    let tree = healthy("running");
    let mut group = UnitCgroup::open(&tree.root(), "/system.slice/web.service");
    let out = read(&mut group, 10);
    assert_eq!(number(&out, "memory"), 52_428_800.0);
    assert_eq!(number(&out, "memory-limit-used"), 0.5);
    assert_eq!(number(&out, "oom-kills"), 2.0);
    assert_eq!(number(&out, "tasks"), 7.0);
    assert_eq!(out.get("tasks-used"), Some(&Value::Absent));
    assert_eq!(number(&out, "memory-pressure"), 0.125);
    assert_eq!(out.get("populated"), Some(&Value::Flag(true)));
    assert_eq!(out.get("io-pressure"), None, "without the file it is unknown, not fine");
    assert_eq!(out.get("cpu"), None, "a rate needs two readings");
    tree.write(
        &format!("{GROUP}/cpu.stat"),
        "usage_usec 4000000\nnr_periods 120\nnr_throttled 15\n",
    );
    let out = read(&mut group, 12);
    assert_eq!(number(&out, "cpu"), 1.5);
    assert_eq!(number(&out, "throttled"), 0.25);
}

#[test]
fn a_stopped_unit_has_no_counters_and_a_restarted_one_has_new_ones() {
    let tree = healthy("stopped");
    let mut group = UnitCgroup::open(&tree.root(), "/system.slice/web.service");
    read(&mut group, 1);
    fs::remove_dir_all(tree.0.join(GROUP)).expect("the group ends");
    let out = read(&mut group, 2);
    assert_eq!(out.get("memory"), Some(&Value::Absent));
    assert_eq!(out.get("oom-kills"), Some(&Value::Absent));
    assert_eq!(out.get("populated"), Some(&Value::Flag(false)));
    tree.write(&format!("{GROUP}/cpu.stat"), "usage_usec 5\n");
    let out = read(&mut group, 3);
    assert_eq!(out.get("cpu"), None, "the old life of the group is not compared with the new one");
    let mut none = UnitCgroup::open(&tree.root(), "");
    assert_eq!(read(&mut none, 1).get("memory"), Some(&Value::Absent));
}

#[test]
fn only_wanted_counters_are_read() {
    let tree = healthy("wanted");
    let mut group = UnitCgroup::open(&tree.root(), "/system.slice/web.service");
    let memory = QUANTITIES.iter().position(|q| q.name == "memory").expect("declared");
    let mut out = Readings::new(QUANTITIES);
    group.read(Mono::BOOT, Wanted::NONE.with(memory), &mut out);
    assert_eq!(number(&out, "memory"), 52_428_800.0);
    for name in ["memory-limit-used", "oom-kills", "tasks", "populated", "memory-pressure"] {
        assert_eq!(out.get(name), None, "{name}");
    }
}

#[test]
fn hybrid_hosts_count_memory_and_tasks_in_the_old_trees() {
    let tree = Tree::new("hybrid");
    tree.write("sys/fs/cgroup/unified/cgroup.controllers", "\n");
    tree.write("sys/fs/cgroup/unified/system.slice/web.service/cgroup.events", "populated 1\n");
    tree.write("sys/fs/cgroup/memory/tasks", "\n");
    let old = "sys/fs/cgroup/memory/system.slice/web.service";
    tree.write(&format!("{old}/memory.usage_in_bytes"), "4096\n");
    tree.write(&format!("{old}/memory.limit_in_bytes"), "9223372036854771712\n");
    tree.write(
        &format!("{old}/memory.oom_control"),
        "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    );
    let mut group = UnitCgroup::open(&tree.root(), "/system.slice/web.service");
    let out = read(&mut group, 1);
    assert_eq!(number(&out, "memory"), 4096.0);
    assert_eq!(out.get("memory-limit-used"), Some(&Value::Absent));
    assert_eq!(number(&out, "oom-kills"), 3.0);
    assert_eq!(out.get("tasks"), None, "no controller counts tasks here");
    let events = events_path(&tree.root(), "/system.slice/web.service").expect("a v2 tree");
    assert!(events.ends_with("unified/system.slice/web.service/cgroup.events"));
    assert_eq!(events_path(&tree.root(), ""), None);
    assert_eq!(events_path(&tree.root(), "/../../etc"), None);
}

#[test]
fn hostile_counters_stay_missing() {
    let tree = healthy("hostile");
    for (file, text) in [
        ("memory.current", "-5\n"),
        ("memory.events", "oom_kill many\n"),
        ("pids.current", "\u{0}\u{0}"),
        ("cpu.stat", "usage_usec 99999999999999999999999\n"),
        ("memory.pressure", "some avg10=NaN\n"),
        ("cgroup.events", ""),
    ] {
        tree.write(&format!("{GROUP}/{file}"), text);
    }
    let mut group = UnitCgroup::open(&tree.root(), "/system.slice/web.service");
    read(&mut group, 1);
    let out = read(&mut group, 2);
    assert!(out.slots().iter().all(Option::is_none), "{out:?}");
}

#[test]
fn members_of_a_unit_are_told_where_they_were_asked_for() {
    let states = parse_show("Id=a.service\nType=oneshot\nConsistsOf=b.service c.mount\nBoundBy=\n");
    let [unit] = states.as_slice() else { panic!("{states:?}") };
    assert_eq!(unit.kind, "oneshot");
    assert_eq!(unit.members, ["b.service", "c.mount"]);
    assert_eq!(parse_show(ANSWER).iter().filter(|unit| !unit.members.is_empty()).count(), 0);
}
