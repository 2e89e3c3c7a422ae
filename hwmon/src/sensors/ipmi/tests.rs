//! A BMC made of records, readings and a log, asked as the real one is.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use mastiff_core::reading::Value;

use super::bmc::Line;
use super::record::{self, Scale};
use super::*;

/// What the BMC has, and how it behaves.
#[derive(Default)]
struct Board {
    records: Vec<Vec<u8>>,
    /// By logical unit and number: a reading, or a completion code.
    readings: BTreeMap<(u8, u8), Result<Vec<u8>, u8>>,
    thresholds: BTreeMap<u8, [u8; 7]>,
    sel: Vec<[u8; 16]>,
    sel_free: u16,
    /// What Get Device ID says it has, and its firmware's first byte.
    support: u8,
    firmware: u8,
    /// Bytes of a record that it can give at once.
    chunk_max: u8,
    reservation: u16,
    /// Somebody else takes the reservation before so many requests of records.
    stolen: u32,
    /// Every request fails so.
    broken: Option<u8>,
    /// Every request of these commands fails so.
    refused: BTreeMap<[u8; 2], u8>,
    is_gone: bool,
    request_ms: u64,
    clock: Mono,
    asked: Vec<[u8; 2]>,
}

#[derive(Clone)]
struct Bench(Arc<Mutex<Board>>);

impl Bench {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap()
    }
}

impl Line for Bench {
    fn ask(&mut self, unit: u8, command: [u8; 2], data: &[u8]) -> io::Result<Vec<u8>> {
        let mut board = self.board();
        board.clock = board.clock.after(Span::from_millis(board.request_ms));
        board.asked.push(command);
        if board.is_gone {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        if let Some(code) = board.broken.or(board.refused.get(&command).copied()) {
            return Ok(vec![code]);
        }
        let mut said = board.answer(unit, command, data).unwrap_or_else(|code| vec![code]);
        if said.len() > 1 || command == [0x04, 0x2d] && said.is_empty() {
            said.insert(0, 0);
        }
        Ok(said)
    }

    fn clock(&self) -> Mono {
        self.board().clock
    }
}

impl Board {
    fn answer(&mut self, unit: u8, command: [u8; 2], data: &[u8]) -> Result<Vec<u8>, u8> {
        let word = |low: usize| u16::from_le_bytes([data[low], data[low + 1]]);
        match command {
            [0x06, 0x01] => Ok(vec![0x20, 0x81, self.firmware, 0x14, 0x02, self.support, 0, 0]),
            [0x0a, 0x20] => {
                let count = u16::try_from(self.records.len()).unwrap();
                Ok([&[0x51], &count.to_le_bytes()[..], &[0; 11]].concat())
            }
            [0x0a, 0x22] => {
                self.reservation += 1;
                Ok(self.reservation.to_le_bytes().to_vec())
            }
            [0x0a, 0x23] => self.piece(word(0), word(2), data[4].into(), data[5]),
            [0x04, 0x2d] => self.readings.get(&(unit, data[0])).cloned().unwrap_or(Err(0xcb)),
            [0x04, 0x27] => self.thresholds.get(&data[0]).map(|it| it.to_vec()).ok_or(0xcb),
            [0x0a, 0x40] => {
                let count = u16::try_from(self.sel.len()).unwrap();
                let free = self.sel_free.to_le_bytes();
                Ok([&[0x51], &count.to_le_bytes()[..], &free, &[0; 9]].concat())
            }
            [0x0a, 0x43] => self.entry(word(2)),
            // Not a question, or one that the sensor has no business to ask.
            _ => panic!("{command:02x?}"),
        }
    }

    fn piece(&mut self, held: u16, id: u16, offset: usize, bytes: u8) -> Result<Vec<u8>, u8> {
        if self.stolen > 0 {
            self.stolen -= 1;
            self.reservation += 1;
        }
        if held != self.reservation {
            return Err(0xc5);
        }
        if bytes > self.chunk_max {
            return Err(0xca);
        }
        let record = self.records.get(usize::from(id)).ok_or(0xcb)?;
        let piece = record.get(offset..offset + usize::from(bytes)).ok_or(0xc9)?;
        let is_last = usize::from(id) + 1 == self.records.len();
        let next = if is_last { 0xffff } else { id + 1 };
        Ok([&next.to_le_bytes(), piece].concat())
    }

    fn entry(&self, id: u16) -> Result<Vec<u8>, u8> {
        let at = match id {
            0 => 0,
            0xffff => self.sel.len().wrapping_sub(1),
            id => self.sel.iter().position(|it| it[..2] == id.to_le_bytes()).ok_or(0xcb)?,
        };
        let entry = self.sel.get(at).ok_or(0xcb)?;
        let next = self.sel.get(at + 1).map_or([0xff, 0xff], |next| [next[0], next[1]]);
        Ok([&next, &entry[..]].concat())
    }
}

/// Kind, states, number.
type Key = (u8, u8, u8);

fn named(mut record: Vec<u8>, name: &str) -> Vec<u8> {
    record.push(0xc0 | u8::try_from(name.len()).unwrap());
    record.extend_from_slice(name.as_bytes());
    record[4] = u8::try_from(record.len() - 5).unwrap();
    record
}

/// A full record of degrees Celsius as they are, or of something else as `unit` says.
fn full((kind, states, number): Key, unit: u8, name: &str) -> Vec<u8> {
    let mut record = vec![0; 47];
    record[2..4].copy_from_slice(&[0x51, 0x01]);
    record[5..8].copy_from_slice(&[0x20, 0, number]);
    record[11] = 0x68;
    record[12..14].copy_from_slice(&[kind, states]);
    record[21] = unit;
    record[24] = 1;
    named(record, name)
}

fn compact((kind, states, number): Key, sharing: [u8; 2], name: &str) -> Vec<u8> {
    let mut record = vec![0; 31];
    record[2..4].copy_from_slice(&[0x51, 0x02]);
    record[5..8].copy_from_slice(&[0x20, 0, number]);
    record[12..14].copy_from_slice(&[kind, states]);
    record[23..25].copy_from_slice(&sharing);
    named(record, name)
}

fn event_only((kind, states, number): Key, name: &str) -> Vec<u8> {
    let mut record = vec![0; 16];
    record[2..4].copy_from_slice(&[0x51, 0x03]);
    record[5..8].copy_from_slice(&[0x20, 0, number]);
    record[10..12].copy_from_slice(&[kind, states]);
    named(record, name)
}

fn event(id: u16, owner: u8, (kind, states, number): Key, data: u8) -> [u8; 16] {
    let [low, high] = id.to_le_bytes();
    [low, high, 2, 9, 9, 9, 9, owner, 0, 4, kind, number, states, data, 0xff, 0xff]
}

const TEMPERATURE: Key = (0x01, 0x01, 1);
const FAN: Key = (0x04, 0x01, 2);
const SUPPLY_1: Key = (0x08, 0x6f, 0x10);
const SUPPLY_2: Key = (0x08, 0x6f, 0x11);
const POWER: Key = (0x09, 0x0b, 0x12);
const CHASSIS: Key = (0x05, 0x6f, 0x13);
const MEMORY: Key = (0x0c, 0x6f, 0x14);
const DRIVES: Key = (0x0d, 0x6f, 0x20);

fn state(bits: u16) -> Result<Vec<u8>, u8> {
    let [low, high] = bits.to_le_bytes();
    // The reserved bit is set by many.
    Ok(vec![0, 0xc0, low, high | 0x80])
}

fn measured(reading: u8, comparison: u8) -> Result<Vec<u8>, u8> {
    Ok(vec![reading, 0xc0, 0xc0 | comparison])
}

/// A server in which all is well: two supplies, two drives in four slots, an empty log.
fn healthy() -> Board {
    let mut board = Board {
        records: vec![
            // A FRU locator, which is no sensor.
            vec![0, 0, 0x51, 0x11, 3, 1, 2, 3],
            full(TEMPERATURE, 1, "CPU1 Temp"),
            full(FAN, 18, "FAN1"),
            compact(SUPPLY_1, [0, 0], "PSU1 Status"),
            compact(SUPPLY_2, [0, 0], "PSU2 Status"),
            compact(POWER, [0, 0], "PS Redundancy"),
            compact(CHASSIS, [0, 0], "Chassis Intru"),
            event_only(MEMORY, "DIMM ECC"),
            compact(DRIVES, [4, 0], "Drive "),
        ],
        thresholds: BTreeMap::from([
            (1, [0x3f, 5, 0, 0, 90, 95, 100]),
            (2, [0x07, 10, 5, 3, 0, 0, 0]),
        ]),
        sel_free: 1000,
        support: 0xbf,
        chunk_max: 255,
        request_ms: 5,
        clock: Mono::BOOT,
        ..Board::default()
    };
    board.readings.insert((0, 1), measured(45, 0));
    board.readings.insert((0, 2), measured(60, 0));
    for (number, bits) in [(0x10, 1), (0x11, 1), (0x12, 1), (0x13, 0), (0x20, 1), (0x21, 1)] {
        board.readings.insert((0, number), state(bits));
    }
    board.readings.insert((0, 0x22), Ok(vec![0, 0xe0, 0, 0x80]));
    board
}

fn bench(board: Board) -> (Bench, Ipmi) {
    let bench = Bench(Arc::new(Mutex::new(board)));
    let probe = Ipmi::new(Bmc::new(Box::new(bench.clone())));
    (bench, probe)
}

fn at(seconds: u64) -> Mono {
    Mono::BOOT.after(Span::from_secs(seconds))
}

fn read(probe: &mut Ipmi, seconds: u64) -> Readings {
    let mut out = Readings::new(QUANTITIES);
    probe.read(at(seconds), Wanted::ALL, &mut out).unwrap();
    assert_eq!(out.undeclared(), None);
    out
}

fn once(board: Board) -> Readings {
    read(&mut bench(board).1, 1)
}

fn note(out: &Readings) -> &str {
    out.note.as_deref().unwrap_or_default()
}

fn judged(out: &Readings) -> (Vec<&'static str>, Vec<&'static str>) {
    SENSOR.judged(out)
}

#[test]
fn a_healthy_server_is_healthy() {
    let out = once(healthy());
    for (name, value) in [
        ("sensors", Value::Number(8.0)),
        ("warnings", Value::Number(0.0)),
        ("critical", Value::Number(0.0)),
        ("power-supplies-failed", Value::Number(0.0)),
        ("redundancy-lost", Value::Flag(false)),
        ("intrusion", Value::Flag(false)),
        ("sel-entries", Value::Number(0.0)),
        ("sel-used", Value::Number(0.0)),
        ("sel-critical", Value::Number(0.0)),
    ] {
        assert_eq!(out.get(name), Some(&value), "{name}");
    }
    assert_eq!((judged(&out), note(&out)), ((vec![], vec![]), ""));
}

#[test]
fn what_is_wrong_has_a_verdict_that_fits_it_and_words() {
    type Case = (u8, Result<Vec<u8>, u8>, &'static [&'static str], &'static str);
    let cases: [Case; 13] = [
        (1, measured(91, 0x08), &["warnings > 0"], "CPU1 Temp 91C, limit 90C"),
        (1, measured(96, 0x18), &["critical > 0"], "CPU1 Temp 96C, limit 95C"),
        (1, measured(101, 0x38), &["critical > 0"], "CPU1 Temp 101C, limit 100C"),
        (2, measured(0, 0x07), &["critical > 0"], "FAN1 0 rpm, lowest 3 rpm"),
        // No supply there.
        (0x11, state(0), &[], ""),
        (0x11, state(0b1001), &["power-supplies-failed > 0"], "PSU2 input lost"),
        (0x11, state(0b1011), &["power-supplies-failed > 0"], "PSU2 input lost"),
        (0x11, state(0b0101), &["warnings > 0"], "PSU2 expects to fail"),
        (0x12, state(0b0010), &["redundancy-lost"], "PS redundancy lost"),
        (0x13, state(0b0001), &["intrusion"], "Chassis Intru opened"),
        (0x21, state(0b0011), &["critical > 0"], "Drive1 has failed"),
        // It is not there any more, and it is switched off.
        (1, Err(0xcb), &[], ""),
        (1, Ok(vec![255, 0x80, 0xff]), &[], ""),
    ];
    for (number, answer, holding, words) in cases {
        let mut board = healthy();
        board.readings.insert((0, number), answer);
        let out = once(board);
        assert_eq!(judged(&out), (holding.to_vec(), vec![]), "{words}");
        assert_eq!(note(&out), words);
    }
}

#[test]
fn a_machine_that_runs_on_its_other_supply_has_not_failed() {
    let mut board = healthy();
    board.readings.insert((0, 0x11), state(0b1001));
    let (holding, _) = judged(&once(board));
    assert!(!holding.is_empty());
    assert!(holding.iter().all(|text| SENSOR.warn_when.contains(text)), "{holding:?}");
}

#[test]
fn what_is_worst_is_named_first() {
    let mut board = healthy();
    board.readings.insert((0, 1), measured(91, 0x08));
    board.readings.insert((0, 0x11), state(0b1001));
    assert_eq!(note(&once(board)), "PSU2 input lost; CPU1 Temp 91C, limit 90C");
}

#[test]
fn a_board_without_a_part_has_no_verdict_of_it() {
    let mut board = healthy();
    board.records = vec![full(TEMPERATURE, 1, "CPU1 Temp")];
    board.support = 0x02;
    let out = once(board);
    for name in ["power-supplies-failed", "redundancy-lost", "intrusion", "sel-used"] {
        assert_eq!(out.get(name), Some(&Value::Absent), "{name}");
    }
    assert_eq!(judged(&out), (vec![], vec![]));
    let out = once(Board { support: 0, ..healthy() });
    assert_eq!(out.get("critical"), Some(&Value::Absent));
    assert_eq!(judged(&out), (vec![], vec![]));
}

#[test]
fn a_bmc_of_small_answers_is_read_in_small_pieces() {
    let (_, mut probe) = bench(Board { chunk_max: 16, ..healthy() });
    assert_eq!(read(&mut probe, 1).get("sensors"), Some(&Value::Number(8.0)));
    // One that gives nothing at all is asked so often and no more.
    let (bench, mut probe) = bench(Board { chunk_max: 0, ..healthy() });
    let out = read(&mut probe, 1);
    assert_eq!((out.get("warnings"), out.get("critical")), (None, None));
    assert!(bench.board().asked.len() < 20);
}

#[test]
fn a_list_that_the_bmc_does_not_give_is_unknown_until_it_does() {
    const INFO: [u8; 2] = [0x0a, 0x20];
    const RESERVE: [u8; 2] = [0x0a, 0x22];
    const RECORD: [u8; 2] = [0x0a, 0x23];
    for (command, code) in [
        (INFO, 0xc3),
        (INFO, 0xd0),
        (INFO, 0xd5),
        // The answer is too short.
        (INFO, 0x00),
        (RESERVE, 0xc0),
        (RECORD, 0xc0),
        (RECORD, 0xc5),
        (RECORD, 0xd2),
    ] {
        let (bench, mut probe) = bench(healthy());
        bench.board().refused.insert(command, code);
        for minute in 0..3 {
            let out = read(&mut probe, minute * 60);
            assert_eq!((out.get("warnings"), out.get("critical")), (None, None), "{code:#x}");
            assert!(note(&out).contains("cannot ask the BMC (Get SDR"), "{}", note(&out));
        }
        bench.board().refused.clear();
        let out = read(&mut probe, 240);
        assert_eq!(out.get("sensors"), Some(&Value::Number(8.0)), "{command:x?} {code:#x}");
        assert_eq!((judged(&out), note(&out)), ((vec![], vec![]), ""));
    }
    // Somebody else holds the reservation for a while.
    let (bench, mut probe) = bench(Board { stolen: 12, ..healthy() });
    assert_eq!(read(&mut probe, 0).get("critical"), None);
    for minute in 1..4 {
        read(&mut probe, minute * 60);
    }
    assert_eq!(read(&mut probe, 240).get("sensors"), Some(&Value::Number(8.0)));
    assert_eq!(bench.board().stolen, 0);
}

#[test]
fn a_bmc_without_records_or_reservations_is_taken_as_it_is() {
    for code in [0xc1, 0xcb] {
        let mut board = healthy();
        board.refused.insert([0x0a, 0x20], code);
        let out = once(board);
        assert_eq!(out.get("critical"), Some(&Value::Absent));
        assert_eq!(judged(&out), (vec![], vec![]));
    }
    let mut board = healthy();
    board.refused.insert([0x0a, 0x22], 0xc1);
    assert_eq!(once(board).get("sensors"), Some(&Value::Number(8.0)));
}

#[test]
fn a_record_that_is_refused_for_good_costs_no_other_one() {
    let mut board = healthy();
    // It says that it is longer than it is.
    board.records[2].truncate(20);
    let out = once(board);
    assert_eq!(out.get("sensors"), Some(&Value::Number(7.0)));
    assert_eq!(judged(&out), (vec![], vec![]));
}

#[test]
fn a_bmc_that_answers_for_no_sensor_is_an_error() {
    for code in [0xc0, 0xcb, 0xd5] {
        let (bench, mut probe) = bench(healthy());
        bench.board().refused.insert([0x04, 0x2d], code);
        for minute in 0..3 {
            let mut out = Readings::new(QUANTITIES);
            let error = probe.read(at(minute * 60), Wanted::ALL, &mut out).unwrap_err();
            assert!(error.to_string().contains("answers for none of them"), "{error}");
        }
        bench.board().refused.clear();
        assert_eq!(judged(&read(&mut probe, 240)), (vec![], vec![]));
    }
    // Those that only log are not asked.
    let records = vec![event_only(MEMORY, "DIMM ECC")];
    assert_eq!(judged(&once(Board { records, ..healthy() })), (vec![], vec![]));
}

#[test]
fn a_reservation_that_is_lost_is_made_anew() {
    let (_, mut probe) = bench(Board { stolen: 3, ..healthy() });
    assert_eq!(read(&mut probe, 1).get("sensors"), Some(&Value::Number(8.0)));
}

#[test]
fn a_slow_bmc_is_read_in_several_readings_and_is_unknown_until_then() {
    let (bench, mut probe) = bench(Board { request_ms: 450, ..healthy() });
    let mut minutes = 0;
    loop {
        let before = bench.board().clock;
        let out = read(&mut probe, minutes * 60);
        // The last request begins before the end, and a bad sensor has one more.
        let took = bench.board().clock.since(before);
        assert!(took <= BUDGET.plus(Span::from_secs(2)), "{took}");
        minutes += 1;
        if judged(&out).1.is_empty() {
            break;
        }
        assert_eq!(out.get("critical"), None);
        assert!(minutes < 10, "{}", note(&out));
    }
    assert!(minutes > 2);
    // What is bad is told at once.
    bench.board().readings.insert((0, 1), measured(96, 0x18));
    let seen = (0..3).any(|more| {
        let out = read(&mut probe, (minutes + more) * 60);
        note(&out) == "CPU1 Temp 96C, limit 95C"
    });
    assert!(seen);
}

#[test]
fn records_are_read_once_and_again_when_they_change() {
    let (bench, mut probe) = bench(healthy());
    read(&mut probe, 0);
    bench.board().asked.clear();
    read(&mut probe, 60);
    assert!(!bench.board().asked.contains(&[0x0a, 0x23]));
    assert_eq!(bench.board().asked.len(), 2 + 10);
    read(&mut probe, 1000);
    assert!(!bench.board().asked.contains(&[0x0a, 0x23]));
    bench.board().records.truncate(3);
    assert_eq!(read(&mut probe, 2000).get("sensors"), Some(&Value::Number(2.0)));
}

#[test]
fn a_bmc_that_does_not_answer_is_an_error_and_a_busy_sensor_is_not() {
    let (bench, mut probe) = bench(healthy());
    bench.board().readings.insert((0, 1), measured(96, 0x18));
    read(&mut probe, 0);
    // What was bad stays so until it is known to be good.
    bench.board().readings.insert((0, 1), Err(0xc0));
    assert_eq!(note(&read(&mut probe, 60)), "CPU1 Temp 96C, limit 95C");
    let mut fails = |words: &str| {
        let mut out = Readings::new(QUANTITIES);
        let error = probe.read(at(120), Wanted::ALL, &mut out).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    bench.board().firmware = 0x80;
    fails("firmware is being updated");
    bench.board().broken = Some(0xc3);
    fails("Get Device ID): no answer in time (completion code 0xc3)");
    bench.board().broken = Some(0xd4);
    fails("refused with completion code 0xd4");
    bench.board().is_gone = true;
    fails("cannot ask the BMC through /dev/ipmi0: No such device");
}

#[test]
fn critical_events_count_from_when_it_looks() {
    let mut board = healthy();
    let uncorrectable = |id| event(id, 0x20, MEMORY, 0xa1);
    board.sel = vec![uncorrectable(1)];
    let (bench, mut probe) = bench(board);
    let critical = |out: &Readings| match out.get("sel-critical") {
        Some(Value::Number(number)) => *number,
        other => panic!("{other:?}"),
    };
    let out = read(&mut probe, 0);
    assert_eq!((critical(&out), note(&out)), (0.0, ""), "what was there before");
    bench.board().sel.push(uncorrectable(2));
    let out = read(&mut probe, 60);
    assert_eq!((critical(&out), note(&out)), (1.0, "event log: DIMM ECC uncorrectable error"));
    // The end of an event, one that is no news, one of the firmware, and an entry of the maker's.
    let (mut over, mut foreign) = (uncorrectable(3), uncorrectable(6));
    (over[12], foreign[2]) = (over[12] | 0x80, 0xc0);
    let presence = event(4, 0x20, SUPPLY_1, 0);
    let other = event(5, 0x41, TEMPERATURE, 0x59);
    bench.board().sel.extend([over, presence, other, foreign]);
    let out = read(&mut probe, 120);
    assert_eq!(critical(&out), 2.0);
    assert_eq!(note(&out), "event log: a temperature above its critical limit");
    // Cleared: it starts from the beginning.
    bench.board().sel = vec![event(1, 0x20, (0x07, 0x6f, 9), 0)];
    let out = read(&mut probe, 180);
    assert_eq!((critical(&out), note(&out)), (3.0, "event log: a processor IERR"));
    assert_eq!(note(&read(&mut probe, 4000)), "", "forgotten after an hour");
    bench.board().sel.clear();
    assert_eq!(critical(&read(&mut probe, 4060)), 3.0);
    // More than one reading takes.
    bench.board().sel = (1..=100).map(uncorrectable).collect();
    assert_eq!(critical(&read(&mut probe, 4120)), 67.0);
    assert_eq!(critical(&read(&mut probe, 4180)), 103.0);
    assert_eq!(critical(&read(&mut probe, 4240)), 103.0);
}

#[test]
fn a_flood_of_events_takes_its_share_of_a_reading_and_no_more() {
    let (bench, mut probe) = bench(Board { request_ms: 150, ..healthy() });
    for minute in 0..5 {
        read(&mut probe, minute * 60);
    }
    bench.board().sel = (1..=50).map(|id| event(id, 0x20, MEMORY, 0xa1)).collect();
    bench.board().readings.insert((0, 1), measured(96, 0x18));
    let mut notes = Vec::new();
    let mut minutes = 5;
    loop {
        let before = bench.board().clock;
        let out = read(&mut probe, minutes * 60);
        let took = bench.board().clock.since(before);
        assert!(took <= BUDGET.plus(Span::from_secs(1)), "{took}");
        notes.push(note(&out).to_owned());
        minutes += 1;
        if out.get("sel-critical") == Some(&Value::Number(50.0)) {
            break;
        }
        assert!(minutes < 40, "{out:?}");
    }
    assert!(notes.len() > 4);
    assert!(notes[..2].iter().any(|note| note.starts_with("CPU1 Temp 96C")), "{notes:?}");
}

#[test]
fn known_sensors_are_asked_while_the_list_is_read_again() {
    let (bench, mut probe) = bench(healthy());
    read(&mut probe, 0);
    bench.board().records.extend((0..60).map(|number| {
        let (kind, states, _) = TEMPERATURE;
        full((kind, states, 100 + number), 1, "more")
    }));
    bench.board().readings.insert((0, 1), measured(96, 0x18));
    bench.board().request_ms = 150;
    let out = read(&mut probe, 1000);
    assert_eq!(note(&out), "CPU1 Temp 96C, limit 95C");
    let is_known = |number| probe.list.points.iter().any(|point| point.number == number);
    assert!(!is_known(100), "the list is read over several readings");
    for minute in 0..30 {
        read(&mut probe, 1060 + minute * 60);
    }
    assert!(probe.list.points.iter().any(|point| point.number == 159));
}

#[test]
fn a_log_that_is_nearly_full_warns() {
    let mut board = healthy();
    board.sel = vec![[0; 16]; 19];
    board.sel_free = 16;
    let out = once(board);
    assert_eq!(judged(&out).0, ["sel-used > 90%"]);
    assert_eq!(out.get("sel-used"), Some(&Value::Number(0.95)));
}

#[test]
fn scales_are_those_of_the_specification() {
    // Form and percent, function, M, B, exponents; reading and value.
    for (form, function, m, b, exponents, reading, value) in [
        (0x00, 0, [1, 0], [0, 0], 0x00, 200, Some(200.0)),
        (0x80, 0, [1, 0], [0, 0], 0x00, 0xec, Some(-20.0)),
        (0x40, 0, [1, 0], [0, 0], 0x00, 0xfe, Some(-1.0)),
        // 60 mV for each step, as of 12 V: M = 60, K2 = -3.
        (0x00, 0, [60, 0], [0, 0], 0xd0, 202, Some(12.12)),
        // M of ten bits, -300; B = 5 * 10^2.
        (0x00, 0, [0xd4, 0x80], [5, 0], 0x02, 1, Some(200.0)),
        (0x00, 7, [2, 0], [0, 0], 0x00, 5, Some(0.1)),
        (0x00, 7, [2, 0], [0, 0], 0x00, 0, None),
        (0x00, 1, [2, 0], [0, 0], 0x00, 5, None),
        (0xc0, 0, [2, 0], [0, 0], 0x00, 5, None),
    ] {
        let mut bytes = full(TEMPERATURE, 1, "x");
        (bytes[20], bytes[23], bytes[29]) = (form, function, exponents);
        bytes[24..28].copy_from_slice(&[m[0], m[1], b[0], b[1]]);
        let mut found = Vec::new();
        record::decode(&bytes, &mut found);
        let got = found[0].scale.as_ref().and_then(|scale: &Scale| scale.value(reading));
        let close = match (got, value) {
            (Some(got), Some(value)) => (got - value).abs() < 1e-9,
            (got, value) => got.is_none() && value.is_none(),
        };
        assert!(close, "{form:#x} {function} {m:?}: {got:?}, not {value:?}");
    }
}

#[test]
fn names_are_read_in_each_form() {
    let names = |bytes: &[u8]| {
        let mut found = Vec::new();
        record::decode(bytes, &mut found);
        found.iter().map(|point| point.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&full(TEMPERATURE, 1, "Inlet\x07 Temp  ")), ["Inlet Temp"]);
    // The example of 43.15: "IPMI" packed is 29h DCh A6h.
    let mut packed = full(TEMPERATURE, 1, "abc");
    packed.splice(47.., [0x83, 0x29, 0xdc, 0xa6]);
    assert_eq!(names(&packed), ["IPMI"]);
    assert_eq!(names(&full(TEMPERATURE, 1, "")), ["sensor 0x01"]);
    assert_eq!(names(&compact(DRIVES, [0x12, 1], "Bay ")), ["BayB", "BayC"]);
    assert_eq!(names(&compact(DRIVES, [0x02, 7], "Bay")), ["Bay7", "Bay8"]);
    let mut other = full(TEMPERATURE, 1, "HSC");
    other[5] = 0xc0;
    assert_eq!(names(&other), [""; 0], "of another controller");
}

/// xorshift64, enough for bytes that nobody meant.
fn random(state: &mut u64) -> u8 {
    for shift in [13_i32, -7, 17] {
        let moved = if shift > 0 { *state << shift } else { *state >> -shift };
        *state ^= moved;
    }
    state.to_le_bytes()[3]
}

/// Says what it is told to say, cut off or made of noise.
struct Noise {
    inner: Bench,
    state: u64,
    /// Answers end after so many bytes; `None`: bytes are changed instead.
    cut: Option<usize>,
}

impl Line for Noise {
    fn ask(&mut self, unit: u8, command: [u8; 2], data: &[u8]) -> io::Result<Vec<u8>> {
        let mut answer = self.inner.ask(unit, command, data)?;
        match self.cut {
            Some(cut) => answer.truncate(cut),
            None => {
                for byte in &mut answer {
                    if random(&mut self.state) < 24 {
                        *byte = random(&mut self.state);
                    }
                }
            }
        }
        Ok(answer)
    }

    fn clock(&self) -> Mono {
        self.inner.clock()
    }
}

#[test]
fn a_hostile_bmc_costs_a_reading_and_no_more() {
    let cuts = (0..70).map(Some).chain(std::iter::repeat_n(None, 300));
    for (seed, cut) in (1..).zip(cuts) {
        let mut board = healthy();
        board.sel = vec![event(1, 0x20, MEMORY, 1), event(2, 0x20, SUPPLY_1, 1)];
        let inner = Bench(Arc::new(Mutex::new(board)));
        let line = Noise { inner: inner.clone(), state: seed * 0x9e37_79b9, cut };
        let mut probe = Ipmi::new(Bmc::new(Box::new(line)));
        for minute in 0..4 {
            let mut out = Readings::new(QUANTITIES);
            inner.board().asked.clear();
            probe.read(at(minute * 700), Wanted::ALL, &mut out).ok();
            assert_eq!(out.undeclared(), None);
            assert!(note(&out).len() < 512);
            assert!(inner.board().asked.len() < 2000);
        }
    }
}

#[test]
fn records_cut_anywhere_are_no_panic() {
    for record in healthy().records {
        for end in 0..record.len() {
            record::decode(&record[..end], &mut Vec::new());
        }
    }
}
