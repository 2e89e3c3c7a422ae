use super::*;
use crate::flight::{Kind, Record};

const BTIME: u64 = 1_795_000_000;

/// A machine of files, removed with the test.
struct Tree(std::path::PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let name = format!("mastiff-evidence-{name}-{}", std::process::id());
        let tree = Self(std::env::temp_dir().join(name));
        tree.file("/proc/stat", &format!("cpu 1 2 3\nbtime {BTIME}\nprocesses 7\n"));
        tree.file("/proc/sys/kernel/random/boot_id", "this-boot\n");
        tree
    }

    fn root(&self) -> Root {
        Root::recorded(&self.0)
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.root().path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Notes one record a boot, each alive until so many seconds before this boot.
    fn flight(&self, boots: &[(&str, u64)]) {
        let line = |(slot, (boot, before)): (usize, &(&str, u64))| {
            let unix_ms = (BTIME - before) * 1000;
            let seq = slot as u64;
            (slot, Record::new(seq, boot, 5_000_000_000, unix_ms, Kind::Start, "starts").line())
        };
        let lines: Vec<_> = boots.iter().enumerate().map(line).collect();
        fs::create_dir_all(self.state()).unwrap();
        file::write(&file::path(&self.state()), &lines).unwrap();
    }

    fn state(&self) -> std::path::PathBuf {
        self.root().path("/var/lib/mastiff")
    }

    fn recorded(&self) -> Recorded {
        Recorded::read(&self.root(), &self.state()).unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A boot in wtmp.
fn reboot(secs: u64) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<libc::utmpx>()];
    bytes[..2].copy_from_slice(&libc::BOOT_TIME.to_ne_bytes());
    let at = std::mem::offset_of!(libc::utmpx, ut_user);
    bytes[at..at + 6].copy_from_slice(b"reboot");
    let at = std::mem::offset_of!(libc::utmpx, ut_tv);
    bytes[at..at + 4].copy_from_slice(&u32::try_from(secs).unwrap().to_ne_bytes());
    bytes
}

#[test]
fn an_empty_machine_is_no_error() {
    let tree = Tree::new("empty");
    let recorded = tree.recorded();
    assert!(recorded.ended.is_empty() && recorded.current.is_none());
    let evidence = recorded.last_end(&tree.root());
    assert_eq!(evidence.next_began_ms, Some(BTIME * 1000));
    assert!(evidence.boot.records.is_empty() && evidence.older_ms.is_none());
    assert!(recorded.evidence(0).is_none());
}

#[test]
fn the_record_is_taken_apart_by_boots() {
    let tree = Tree::new("boots");
    tree.flight(&[("first", 9000), ("second", 40), ("this-boot", 0)]);
    let recorded = tree.recorded();
    let ids: Vec<&str> = recorded.ended.iter().map(|boot| boot.id.as_str()).collect();
    assert_eq!(ids, ["first", "second"]);
    assert_eq!(recorded.current.as_ref().unwrap().id, "this-boot");
    let first = recorded.evidence(0).unwrap();
    assert_eq!((first.boot.id.as_str(), first.around.is_none()), ("first", true));
    // Its first record is of 5 s after the boot.
    assert_eq!(first.next_began_ms, Some((BTIME - 45) * 1000));
    assert_eq!(recorded.last_end(&tree.root()).boot.id, "second");
}

#[test]
fn what_other_boots_took_is_told_without_the_one_that_is_asked_for() {
    let tree = Tree::new("others");
    // Each but the last ended as it began: the next one is alive 5 s after its boot.
    tree.flight(&[("first", 9000), ("second", 8000), ("third", 7980), ("this-boot", 7000)]);
    let recorded = tree.recorded();
    let secs = |all: Vec<Span>| all.iter().map(|it| it.as_millis() / 1000).collect::<Vec<_>>();
    assert_eq!(secs(recorded.last_end(&tree.root()).others), [15, 995]);
    assert_eq!(secs(recorded.evidence(1).unwrap().others), [975, 995]);
    // A clock that went back tells nothing.
    tree.flight(&[("first", 9000), ("second", 9900), ("this-boot", 0)]);
    assert!(tree.recorded().last_end(&tree.root()).others.is_empty());
}

#[test]
fn the_end_of_an_older_boot_does_not_stand_for_the_last_one() {
    let tree = Tree::new("older");
    tree.flight(&[("long-ago", 9000)]);
    let wtmp = [reboot(BTIME - 20_000), reboot(BTIME - 500), reboot(BTIME + 3)].concat();
    tree.file("/var/log/wtmp", "");
    fs::write(tree.root().path("/var/log/wtmp"), wtmp).unwrap();
    let evidence = tree.recorded().last_end(&tree.root());
    assert!(evidence.boot.records.is_empty());
    assert_eq!(evidence.older_ms, Some((BTIME - 9000) * 1000));
}

#[test]
fn what_others_left_is_found() {
    let tree = Tree::new("around");
    tree.flight(&[("ended", 40)]);
    tree.file("/sys/class/watchdog/watchdog0/identity", "i6300ESB timer\n");
    tree.file("/sys/class/watchdog/watchdog0/bootstatus", "32\n");
    tree.file("/sys/fs/pstore/dmesg-ramoops-0", "Panic#1 Part1\n");
    let around = tree.recorded().last_end(&tree.root()).around.unwrap();
    assert_eq!((around.bootstatus.len(), around.traces.len()), (1, 1));
    assert_eq!(
        (around.bootstatus[0].driver.as_str(), around.bootstatus[0].bits),
        ("i6300ESB timer", 32)
    );
    assert!(around.journal.is_empty() && !around.has_pstore);
}

#[test]
fn a_flight_record_that_cannot_be_read_is_an_error() {
    let tree = Tree::new("unreadable");
    fs::create_dir_all(file::path(&tree.state())).unwrap();
    assert!(Recorded::read(&tree.root(), &tree.state()).is_err());
}

#[test]
fn a_program_that_fails_says_nothing() {
    assert_eq!(journalctl(&["--no-such-option"]), None);
}

#[test]
fn the_boots_of_the_journal_are_read_in_both_forms() {
    for list in [
        " -2 aaa Mon 2026-11-16 01:02:03 UTC\n -1 bbb Mon\n  0 ccc Mon\n",
        "IDX BOOT ID FIRST ENTRY LAST ENTRY\n -2 aaa x\n -1 bbb y\n  0 ccc z\n",
    ] {
        assert_eq!(earlier(list), ["aaa", "bbb"]);
    }
    assert!(earlier(" -3 aaa Mon\n -2 bbb Mon\n").is_empty(), "the end is missing");
    assert!(earlier("No journal files were found.\n-- x\n-1\n").is_empty());
}
