use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::file::{Log, read, write};
use super::*;

/// A file in a folder of its own, removed with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("mastiff-flight-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        file::path(&self.0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

const BOOT: &str = "01234567-89ab-cdef-0123-456789abcdef";

fn made(seq: u64, kind: Kind, text: &str) -> Record {
    Record::new(seq, BOOT, 5_000_000_000, 1_795_231_173_123, kind, text)
}

fn numbers(log: &Log) -> Vec<u64> {
    log.records.iter().map(|(_, record)| record.seq).collect()
}

#[test]
fn the_sum_is_that_of_everybody_else() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!(crc32(b""), 0);
}

#[test]
fn a_record_is_one_line_of_a_slot_and_comes_back_whole() {
    let mut record = made(41, Kind::GoingDown, "reboot");
    for event in [None, Some(EventWords { kind: "verdict".into(), severity: "error".into() })] {
        record.event = event;
        let line = record.line();
        assert_eq!(line.len(), SLOT_BYTES);
        assert!(line.ends_with(" \n") && line.starts_with("{\"v\":1,\"unix_ms\":1795231173123"));
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(Slot::parse(line.as_bytes()), Slot::Good(record.clone()));
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&json["seq"], &json["text"]), (&41.into(), &"reboot".into()));
    }
}

#[test]
fn a_text_is_cut_to_what_has_room_whatever_it_holds() {
    for text in ["x", "ü", "\"", "\\", "\n", "\u{0}", "\u{202e}", "😀"] {
        for count in [1, 300, 511, 5000] {
            let record = made(u64::MAX, Kind::SelfTest, &text.repeat(count));
            let line = record.line();
            assert_eq!(line.len(), SLOT_BYTES, "{text:?} {count}");
            assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}");
            let Slot::Good(read) = Slot::parse(line.as_bytes()) else {
                panic!("{line}");
            };
            assert!(count < 5000 || text.trim().is_empty() || read.text.ends_with("..."), "{line}");
        }
    }
    let mut record = made(1, Kind::Event, "text");
    record.event = Some(EventWords { kind: "k".repeat(600), severity: "s".repeat(600) });
    record.boot = "b".repeat(600);
    assert_eq!(record.line().len(), SLOT_BYTES);
    assert!(matches!(Slot::parse(record.line().as_bytes()), Slot::Good(_)));
}

#[test]
fn every_kind_has_a_name_of_its_own() {
    for (kind, name) in KINDS {
        assert_eq!((kind.name(), Kind::named(name)), (name, Some(kind)));
        let line = made(1, kind, "text").line();
        assert!(matches!(Slot::parse(line.as_bytes()), Slot::Good(read) if read.kind == kind));
    }
}

#[test]
fn lanes_fill_the_file_and_do_not_overlap() {
    let (marks, events) = (Lane::Marks.slots(), Lane::Events.slots());
    assert_eq!((marks.start, marks.end), (0, events.start));
    assert_eq!((events.end, SLOTS), (Lane::Pulses.slots().start, Lane::Pulses.slots().end));
}

#[test]
fn a_file_is_made_whole_and_slots_are_replaced_in_place() {
    let place = Place::new("made");
    let path = place.file();
    assert_eq!(read(&path).unwrap(), Log::default());
    write(&path, &[(7, made(1, Kind::Start, "one").line())]).unwrap();
    let about = std::fs::metadata(&path).unwrap();
    assert_eq!((about.len(), about.permissions().mode() & 0o777), (FILE_BYTES as u64, 0o600));
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), SLOTS, "for `cat` and `sort`");
    write(&path, &[(7, made(3, Kind::Stop, "three").line()), (0, made(2, Kind::Stop, "2").line())])
        .unwrap();
    let log = read(&path).unwrap();
    assert_eq!((numbers(&log), log.damaged), (vec![2, 3], 0));
    assert_eq!(log.records[1].0, 7);
    for wrong in [(SLOTS, made(4, Kind::Stop, "").line()), (0, "short\n".to_string())] {
        assert!(write(&path, &[wrong]).is_err());
    }
}

#[test]
fn what_is_damaged_is_counted_and_the_rest_is_read() {
    let place = Place::new("damaged");
    let path = place.file();
    let line = made(9, Kind::Pulse, "alive").line();
    write(&path, &[(0, line.clone()), (5, line.clone())]).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let log = read(&path).unwrap();
        (log.records.len(), log.damaged)
    };
    assert_eq!(with(&|bytes| bytes[200..300].fill(0)), (1, 1), "torn");
    assert_eq!(with(&|bytes| bytes.fill(0)), (0, SLOTS), "zeroed");
    assert_eq!(with(&|bytes| bytes.truncate(0)), (0, 0), "empty");
    assert_eq!(with(&|bytes| bytes.truncate(SLOT_BYTES * 5 + 100)), (1, 1), "short");
    assert_eq!(with(&|bytes| bytes.extend(line.repeat(3).bytes())), (2, 0), "what is beyond");
    assert_eq!(with(&|bytes| bytes[..5].copy_from_slice(b"{\"v\":")), (2, 0), "the same");
    let newer = line.replace("{\"v\":1", "{\"v\":2");
    assert_eq!(Slot::parse(newer.as_bytes()), Slot::Damaged, "another sum");
    std::fs::write(&path, "anything else at all").unwrap();
    assert_eq!((read(&path).unwrap().damaged, read(&path).unwrap().records.len()), (1, 0));
    // Whatever was there, a write makes it a file of the right length.
    for length in [0, 1, SLOT_BYTES * 3 + 7, FILE_BYTES + 12345] {
        std::fs::write(&path, vec![b'x'; length]).unwrap();
        write(&path, &[(2, line.clone())]).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), FILE_BYTES as u64);
        assert_eq!(numbers(&read(&path).unwrap()), [9]);
    }
}

#[test]
fn what_is_no_regular_file_is_neither_read_nor_written() {
    let place = Place::new("strange");
    let (path, elsewhere) = (place.file(), place.0.join("elsewhere"));
    std::fs::write(&elsewhere, "precious").unwrap();
    symlink(&elsewhere, &path).unwrap();
    let line = || vec![(0, made(1, Kind::Start, "").line())];
    assert!(read(&path).is_err() && write(&path, &line()).is_err());
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(read(&path).is_err() && write(&path, &line()).is_err());
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(read(&path).is_err() && write(&path, &line()).is_err());
}

/// A generator for mutations (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }
}

#[test]
fn no_mutation_of_a_line_is_believed_or_stops_the_reader() {
    let line = made(77, Kind::Rung, "reset of \"disk\": no answer for 30s").line();
    let end = line.trim_end().len();
    let mut chance = Chance(7);
    for round in 0..20_000 {
        let mut bytes = line.clone().into_bytes();
        for _ in 0..=chance.below(4) {
            let at = chance.below(end);
            match chance.below(3) {
                0 => bytes[at] = u8::try_from(chance.below(256)).unwrap(),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, u8::try_from(chance.below(256)).unwrap()),
            }
        }
        if bytes.trim_ascii_end() != line.as_bytes().trim_ascii_end() {
            assert_eq!(Slot::parse(&bytes), Slot::Damaged, "{round}");
        }
    }
}
