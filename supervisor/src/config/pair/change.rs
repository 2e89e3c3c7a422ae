//! What of a pair is different in another file, and what that takes.
//!
//! | what | takes effect |
//! |---|---|
//! | where a group belongs (`prefer`, `failback`, `recover-after`), hooks, options of the agent | at a reload |
//! | how it is kept: timers, guard, paths, arbiter, key file; a new group | at a restart, which moves nothing |
//! | what it is: addresses, units; its name, its pair, its nodes, where its gate is | at a restart, which hands it over |
//!
//! The last because the daemon that follows would know nothing of what the one before left behind.
//! Where that one died, what must not run twice keeps the old file ([`stranded`]).

use super::{GroupConfig, PairConfig};
use crate::config::Config;

/// One key that is different, and cannot be taken over while the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As in the file: `pair.guard`, `group "db": units`.
    pub key: String,
    /// Whose restart hands something over.
    pub moves: Moves,
}

/// What a restart hands over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moves {
    /// Nothing.
    Nothing,
    /// This group.
    Group(String),
    /// All groups.
    All,
}

/// What is different, but for what a reload takes over.
#[must_use]
pub fn between(old: &Config, new: &Config) -> Vec<Change> {
    let all = |key: &str| Change { key: key.to_string(), moves: Moves::All };
    let (before, after) = match (&old.pair, &new.pair) {
        (None, None) => return Vec::new(),
        (Some(before), Some(after)) => (before, after),
        (Some(_), None) => return vec![all("[pair]")],
        (None, Some(_)) => {
            return vec![Change { key: "[pair]".to_string(), moves: Moves::Nothing }];
        }
    };
    let names = [
        ("node.name", old.node.name != new.node.name),
        ("pair.name", before.name != after.name),
        ("pair.peer", before.peer != after.peer),
        // The gates of what must not run twice are in it.
        ("node.run-dir", before.has_data() && old.node.run_dir != new.node.run_dir),
    ];
    let mut changes: Vec<Change> =
        names.iter().filter(|(_, differs)| *differs).map(|(key, _)| all(key)).collect();
    changes.extend(kept(before, after));
    let device = |config: &Config| config.watchdog.as_ref().map(|it| it.device.clone());
    if device(old) != device(new) {
        // The next daemon's device would not be the one that ends what runs.
        let data = before.groups.iter().filter(|group| group.is_data);
        changes.extend(data.map(|group| Change {
            key: "watchdog.device".to_string(),
            moves: Moves::Group(group.name.clone()),
        }));
    }
    for group in &before.groups {
        match after.groups.iter().find(|other| other.name == group.name) {
            Some(other) => changes.extend(known(group, other).chain(limits(group, other))),
            None => changes.push(moving(group, "is gone")),
        }
    }
    let is_new = |group: &&GroupConfig| before.groups.iter().all(|it| it.name != group.name);
    changes.extend(after.groups.iter().filter(is_new).map(|group| Change {
        key: format!("group \"{}\": is new", group.name),
        moves: Moves::Nothing,
    }));
    changes
}

/// How the groups are kept.
fn kept(before: &PairConfig, after: &PairConfig) -> impl Iterator<Item = Change> {
    let keys = [
        ("pair.key-file", before.key_file != after.key_file),
        ("pair.takeover-within", before.takeover_within != after.takeover_within),
        ("pair.guard", before.guard != after.guard),
        ("pair.arbiter", before.arbiter != after.arbiter),
        ("pair.fence", before.fence.is_some() != after.fence.is_some()),
        ("pair.paths", before.paths != after.paths),
    ];
    let differs = keys.into_iter().filter(|(_, differs)| *differs);
    differs.map(|(key, _)| Change { key: key.to_string(), moves: Moves::Nothing })
}

/// What a group is.
fn known<'a>(old: &'a GroupConfig, new: &'a GroupConfig) -> impl Iterator<Item = Change> + 'a {
    let keys = [
        ("addresses", old.addresses != new.addresses),
        ("units", old.units != new.units),
        ("safety", old.is_data != new.is_data),
        ("address-after-units", old.address_after_units != new.address_after_units),
    ];
    keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| moving(old, key))
}

/// How it is taken and let go: a restart reads it, and hands nothing over.
fn limits<'a>(old: &'a GroupConfig, new: &'a GroupConfig) -> impl Iterator<Item = Change> + 'a {
    let keys = [
        ("start-within", old.start_within != new.start_within),
        ("stop-within", old.stop_within != new.stop_within),
        ("connections", old.resets_connections != new.resets_connections),
    ];
    let key = |key| format!("group \"{}\": {key}", old.name);
    let differs = keys.into_iter().filter(|(_, differs)| *differs);
    differs.map(move |(name, _)| Change { key: key(name), moves: Moves::Nothing })
}

fn moving(group: &GroupConfig, key: &str) -> Change {
    let key = format!("group \"{}\": {key}", group.name);
    Change { key, moves: Moves::Group(group.name.clone()) }
}

/// Of these groups the ones that a restart hands over, and the keys for which.
#[must_use]
pub fn moved<'a>(changes: &'a [Change], groups: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let moves = |change: &Change, group: &str| match &change.moves {
        Moves::Nothing => false,
        Moves::Group(name) => name == group,
        Moves::All => true,
    };
    let is_moved = |group: &&&str| changes.iter().any(|change| moves(change, group));
    let keys = changes.iter().filter(|change| change.moves != Moves::Nothing);
    (groups.iter().filter(is_moved).copied().collect(), keys.map(|it| it.key.as_str()).collect())
}

/// What of `old` a daemon with `new` would leave running, for the other node to start a second
/// copy: exclusive groups whose gate `is_open` although a planned restart would have handed them
/// over first. The daemon before died. In words, the groups and the keys.
#[must_use]
pub fn stranded(
    old: &Config,
    new: &Config,
    is_open: impl Fn(&GroupConfig) -> bool,
) -> Option<String> {
    let groups = old.pair.iter().flat_map(|pair| &pair.groups);
    let exclusive = groups.filter(|group| group.is_data && is_open(group));
    let names: Vec<&str> = exclusive.map(|group| group.name.as_str()).collect();
    let changes = between(old, new);
    let (left, keys) = moved(&changes, &names);
    (!left.is_empty()).then(|| format!("{} ({})", left.join(", "), keys.join(", ")))
}

/// Why a reload does not take these over, and what does.
#[must_use]
pub fn refusal(changes: &[Change], groups: &[&str]) -> String {
    let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
    let restart = "at the next `systemctl restart mastiff`";
    let (moved, _) = moved(changes, groups);
    let moves = if moved.is_empty() {
        "which moves no role".to_string()
    } else {
        format!("which hands over {}", moved.join(", "))
    };
    format!("a reload does not change {}; it takes effect {restart}, {moves}", keys.join(", "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FILE: &str = include_str!("../../../tests/pair.toml");

    fn config(text: &str) -> Config {
        crate::config::load_text(text, Path::new("test")).unwrap()
    }

    fn refused(from: &str, to: &str) -> String {
        assert!(FILE.contains(from), "{from}");
        let (old, new) = (config(FILE), config(&FILE.replace(from, to)));
        let changes = between(&old, &new);
        if changes.is_empty() { String::new() } else { refusal(&changes, &["db", "web"]) }
    }

    #[test]
    fn each_key_says_what_a_restart_moves() {
        let nothing = "which moves no role";
        let all = "which hands over db, web";
        for (from, to, key, moves) in [
            ("\"db1\"", "\"c\"", "node.name", all),
            ("\"db\"\npeer", "\"other\"\npeer", "pair.name", all),
            ("\"db2\"", "\"c\"", "pair.peer", all),
            ("mastiff/db.key", "other.key", "pair.key-file", nothing),
            ("\"500ms\"", "\"2s\"", "pair.takeover-within", nothing),
            ("witness =", "guard = \"bpf\"\nwitness =", "pair.guard", nothing),
            ("192.0.2.50", "192.0.2.51", "pair.arbiter", nothing),
            ("10.0.0.2:4170", "10.0.0.2:4171", "pair.paths", nothing),
            ("192.0.2.101", "192.0.2.102", "group \"web\": addresses", "which hands over web"),
            ("\"web\"", "\"post\"", "group \"web\": is gone", "which hands over web"),
        ] {
            let why = refused(from, to);
            assert!(why.contains(key) && why.ends_with(moves), "{key}: {why}");
        }
    }

    #[test]
    fn where_a_group_belongs_is_taken_over_by_a_reload() {
        let back = "prefer = \"db1\"\nfailback = \"after 10m\"";
        for more in ["prefer = \"db2\"", back, "recover-after = \"9s\""] {
            let from = "name = \"web\"";
            assert_eq!(refused(from, &format!("{from}\n{more}")), "", "{more}");
        }
        // Nor does it matter in which order they are.
        let (head, groups) = FILE.split_once("[[group]]").unwrap();
        let (db, web) = groups.split_once("[[group]]").unwrap();
        let turned = format!("{head}[[group]]{web}[[group]]{db}");
        assert_eq!(between(&config(FILE), &config(&turned)), []);
    }

    #[test]
    fn what_must_not_run_twice_and_may_run_is_not_left_to_another_file() {
        let old = config(FILE);
        let open = |name: &'static str| move |group: &GroupConfig| group.name == name;
        for (from, to, left) in [
            ("pgbouncer", "b", Some("db (group \"db\": units)")),
            ("\"data\"", "\"network\"", Some("db (group \"db\": safety)")),
            ("\"db\"\naddr", "\"post\"\naddr", Some("db (group \"db\": is gone)")),
            ("[pair]", "run-dir = \"/run/x\"\n[pair]", Some("db (node.run-dir)")),
            // Not what is left to the next daemon as it is, nor what is not exclusive.
            ("\"500ms\"", "\"2s\"", None),
            ("192.0.2.101", "192.0.2.102", None),
            ("\"data\"", "\"data\"", None),
        ] {
            assert!(FILE.contains(from), "{from}");
            let new = config(&FILE.replace(from, to));
            assert_eq!(stranded(&old, &new, open("db")).as_deref(), left, "{to}");
            // A planned restart has closed the gate.
            assert_eq!(stranded(&old, &new, |_| false), None, "{to}");
            assert_eq!(stranded(&old, &new, open("web")), None, "{to}");
        }
        let alone = config("[node]\nname = \"a\"\n");
        assert_eq!(stranded(&old, &alone, open("db")).as_deref(), Some("db ([pair])"));
        assert_eq!(stranded(&alone, &old, |_| true), None);
    }

    #[test]
    fn a_pair_that_comes_or_goes_takes_a_restart() {
        let alone = config("[node]\nname = \"a\"\n");
        let pair = config(FILE);
        assert_eq!(between(&alone, &pair).len(), 1);
        let gone = between(&pair, &alone);
        assert_eq!(moved(&gone, &["db", "web"]).0, ["db", "web"]);
        assert_eq!(between(&alone, &config("[node]\nname = \"b\"\n")), []);
    }
}
