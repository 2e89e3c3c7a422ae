//! Pages of ATA disks, after the layout of the standard, with values that disks of those makers
//! show.

use mastiff_core::reading::Value;

use super::super::QUANTITIES;
use super::super::tests::judged;
use super::*;

/// Id, flags, value, threshold, raw.
type Row = (u8, u8, u8, u8, u64);

/// A disk with two terabytes in its third year.
const ROTATING: [Row; 8] = [
    (1, 0x0f, 117, 6, 0x0899_a1d0),
    (5, 0x33, 100, 36, 0),
    (9, 0x32, 78, 0, 0x2a5e_0000_4c2f),
    (187, 0x32, 100, 0, 0),
    (194, 0x22, 34, 0, 0x000d_0000_0022),
    (197, 0x12, 100, 0, 0),
    (198, 0x10, 100, 0, 0),
    (199, 0x3e, 200, 0, 0),
];

/// A solid-state disk for servers (Samsung) of some months.
const SOLID: [Row; 6] = [
    (5, 0x33, 100, 10, 0),
    (9, 0x32, 99, 0, 2_190),
    (177, 0x13, 99, 5, 3),
    (187, 0x32, 100, 0, 0),
    (190, 0x32, 70, 0, 30),
    (199, 0x3e, 100, 0, 0),
];

fn page(rows: impl Iterator<Item = [u8; 12]>) -> Page {
    let mut page = Page([0; 512]);
    page.0[0] = 16;
    for (at, row) in rows.enumerate() {
        page.0[2 + 12 * at..14 + 12 * at].copy_from_slice(&row);
    }
    let sum = page.0[..511].iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
    page.0[511] = sum.wrapping_neg();
    page
}

fn said(rows: &[Row], is_failing: Option<bool>) -> Said {
    let data = page(rows.iter().map(|(id, flags, value, _, raw)| {
        let [a, b, c, d, e, f, ..] = raw.to_le_bytes();
        [*id, *flags, 0, *value, *value, a, b, c, d, e, f, 0]
    }));
    let thresholds = page(rows.iter().map(|(id, _, _, threshold, _)| {
        let mut row = [0; 12];
        (row[0], row[1]) = (*id, *threshold);
        row
    }));
    Said { is_failing, data, thresholds: Some(thresholds) }
}

fn filled(said: &Said, is_rotating: bool) -> (Readings, String) {
    let (mut out, mut note) = (Readings::new(QUANTITIES), String::new());
    fill(said, is_rotating, &mut out, &mut note);
    assert_eq!(out.undeclared(), None);
    (out, note)
}

/// The rows with one of them changed.
fn with<const N: usize>(rows: [Row; N], id: u8, value: u8, raw: u64) -> [Row; N] {
    rows.map(|row| if row.0 == id { (id, row.1, value, row.3, raw) } else { row })
}

#[test]
fn a_rotating_disk_and_a_solid_one_that_are_well() {
    let (out, note) = filled(&said(&ROTATING, Some(false)), true);
    assert_eq!((judged(&out), note.as_str()), ((vec![], vec![]), ""));
    for (name, value) in [
        ("failing", Value::Flag(false)),
        ("reallocated", Value::Number(0.0)),
        ("temperature", Value::Number(34.0)),
        ("power-on", Value::Number(f64::from(0x4c2f) * 3600.0)),
        ("wear", Value::Absent),
        ("spare", Value::Absent),
    ] {
        assert_eq!(out.get(name), Some(&value), "{name}");
    }
    let (out, _) = filled(&said(&SOLID, Some(false)), false);
    assert_eq!(judged(&out), (vec![], vec![]));
    assert_eq!(out.get("wear"), Some(&Value::Number(0.01)));
    assert_eq!(out.get("temperature"), Some(&Value::Number(30.0)));
    assert_eq!(out.get("pending"), Some(&Value::Absent));
}

#[test]
fn each_trouble_has_a_verdict_that_fits_it() {
    type Case = (u8, u8, u64, Option<bool>, &'static [&'static str]);
    let rotating: [Case; 6] = [
        (197, 100, 8, Some(false), &["pending > 0"]),
        (194, 61, 61, Some(false), &["hot"]),
        // The disk says it, or its table does.
        (5, 36, 4000, Some(true), &["failing"]),
        (5, 36, 4000, Some(false), &["failing"]),
        (5, 36, 4000, None, &["failing"]),
        (5, 100, 0, Some(true), &["failing"]),
    ];
    for (id, value, raw, is_failing, holding) in rotating {
        let (out, _) = filled(&said(&with(ROTATING, id, value, raw), is_failing), true);
        assert_eq!(judged(&out), (holding.to_vec(), vec![]), "{id} {value} {is_failing:?}");
    }
    // Worn out is no failure, unless something else is.
    let worn = with(SOLID, 177, 5, 2900);
    let (out, note) = filled(&said(&worn, Some(true)), false);
    assert_eq!(judged(&out), (vec!["wear > 90%"], vec![]));
    assert_eq!(note, "; attribute 177 is at its threshold");
    let (out, _) = filled(&said(&with(worn, 5, 10, 900), Some(true)), false);
    assert_eq!(judged(&out), (vec!["wear > 90%", "failing"], vec![]));
}

#[test]
fn only_a_value_that_the_maker_uses_tells_the_wear() {
    for (rows, wear) in [
        // SandForce: 177 and 233 have no value, 231 has.
        (vec![(177, 0, 0, 0, 5), (231, 0x13, 90, 10, 1), (233, 0, 0, 0, 9000)], Some(0.1)),
        // Intel.
        (vec![(233, 0x32, 97, 0, 0)], Some(0.03)),
        // Counted down to nothing.
        (vec![(177, 0x13, 0, 5, 0)], Some(1.0)),
        (vec![(233, 0x32, 200, 0, 0)], Some(0.0)),
        (vec![(9, 0x32, 100, 0, 0)], None),
    ] {
        let (out, _) = filled(&said(&rows, Some(false)), false);
        let wear = wear.map_or(Value::Absent, Value::Number);
        assert_eq!(out.get("wear"), Some(&wear), "{rows:?}");
    }
}

#[test]
fn a_damaged_page_says_nothing() {
    let mut torn = said(&ROTATING, Some(true));
    torn.data.0[100] ^= 1;
    let (out, _) = filled(&torn, true);
    assert_eq!(out.get("failing"), Some(&Value::Flag(true)), "the disk's own word stands");
    assert_eq!(out.get("reallocated"), None);
    torn.is_failing = None;
    assert_eq!(filled(&torn, true).0.get("failing"), None);
    // A page of zeros has a check sum that holds.
    let empty = Said { is_failing: Some(false), data: Page([0; 512]), thresholds: None };
    let (_, unknown) = judged(&filled(&empty, true).0);
    assert!(unknown.contains(&"pending > 0"), "{unknown:?}");
    // Without thresholds only the disk knows.
    let mut without = said(&ROTATING, None);
    without.thresholds = None;
    assert_eq!(filled(&without, true).0.get("failing"), None);
}

#[test]
fn any_page_is_read_without_harm() {
    let mut seed = 0x6d61_7374_6966_6600_u64;
    for _ in 0..2000 {
        let mut random = Page([0; 512]);
        for byte in &mut random.0 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            *byte = seed.to_le_bytes()[3];
        }
        let sum = random.0[..511].iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
        random.0[511] = sum.wrapping_neg();
        let said = Said { is_failing: None, data: random.clone(), thresholds: Some(random) };
        let (out, note) = filled(&said, seed & 1 == 0);
        assert!(note.len() < 200);
        if let Some(Value::Number(wear)) = out.get("wear") {
            assert!((0.0..=1.0).contains(wear));
        }
    }
}

#[test]
fn registers_are_found_in_both_formats_of_sense_data() {
    let sense = |bytes: &[u8]| {
        let mut sense = [0; sg::SENSE_BYTES];
        sense[..bytes.len()].copy_from_slice(bytes);
        registers(&sense)
    };
    // As libata answers RETURN STATUS of a disk that is well, and CHECK POWER MODE.
    let descriptor =
        [0x72, 1, 0, 0x1d, 0, 0, 0, 14, 0x09, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0x4f, 0, 0xc2, 0, 0x50];
    let good = Registers { status: 0x50, count: 0, middle_high: SIGNATURE };
    assert_eq!(sense(&descriptor), Some(good));
    let mut active = descriptor;
    active[13] = 0xff;
    assert_eq!(sense(&active).map(|registers| registers.count), Some(0xff));
    // The fixed format of a translator: error, status, device, count; then flags and LBA.
    let fixed = [0x70, 0, 1, 0, 0x50, 0, 0, 10, 0, 0, 0xf4, 0x2c, 0, 0x1d];
    assert_eq!(sense(&fixed), Some(Registers { middle_high: EXCEEDED, ..good }));
    // An error of the disk that has nothing to do with it, and nothing at all.
    assert_eq!(sense(&[0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0]), None);
    assert_eq!(sense(&[]), None);
}
