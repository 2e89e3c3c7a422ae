//! Log pages of SAS disks, after the layout of the standards.

use mastiff_core::reading::Value;

use super::super::QUANTITIES;
use super::super::tests::judged;
use super::*;

/// A log page with these parameters.
fn page(code: u8, parameters: &[(u16, &[u8])]) -> Page {
    let mut bytes = vec![code, 0, 0, 0];
    for (number, value) in parameters {
        bytes.extend(number.to_be_bytes());
        bytes.extend([0x03, u8::try_from(value.len()).unwrap()]);
        bytes.extend(*value);
    }
    let length = u16::try_from(bytes.len() - 4).unwrap();
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes.resize(512, 0);
    Page(bytes.try_into().unwrap())
}

fn errors(code: u8, uncorrected: &[u8]) -> (u8, Option<Page>) {
    let corrected = [0, 0, 0, 9];
    (code, Some(page(code, &[(0x0003, &corrected), (0x0006, uncorrected), (0x8000, &[1])])))
}

/// The status of a background scan, 100,000 minutes after the first start.
const SCAN: [u8; 12] = [0, 1, 0x86, 0xa0, 0, 8, 0, 40, 0, 0, 0, 40];

/// A rotating disk that is well, with values of a Seagate of 1.2 TB.
fn healthy() -> Said {
    let mut defects = Page([0; 512]);
    // Four defects of eight bytes.
    defects.0[1..4].copy_from_slice(&[0x0d, 0, 32]);
    Said {
        pages: vec![
            errors(0x02, &[0, 0, 0, 0]),
            errors(0x03, &[0, 0, 0, 0, 0, 0, 0, 2]),
            errors(0x05, &[0]),
            (TEMPERATURE, Some(page(TEMPERATURE, &[(0, &[0, 38]), (1, &[0, 60])]))),
            (BACKGROUND_SCAN, Some(page(BACKGROUND_SCAN, &[(0, &SCAN)]))),
            exceptions([0, 0, 38]),
        ],
        defects: Some(defects),
    }
}

fn exceptions(value: [u8; 3]) -> (u8, Option<Page>) {
    (INFORMATIONAL_EXCEPTIONS, Some(page(INFORMATIONAL_EXCEPTIONS, &[(0, &value)])))
}

fn filled(said: &Said, is_rotating: bool) -> (Readings, String) {
    let (mut out, mut note) = (Readings::new(QUANTITIES), String::new());
    fill(said, is_rotating, &mut out, &mut note);
    out.flag("asleep", false);
    assert_eq!(out.undeclared(), None);
    (out, note)
}

/// `said` with another page in place of its own.
fn with(mut said: Said, page: (u8, Option<Page>)) -> Said {
    said.pages.retain(|(code, _)| *code != page.0);
    said.pages.push(page);
    said
}

#[test]
fn pages_are_decoded_by_the_standards() {
    let (out, note) = filled(&healthy(), true);
    for (name, value) in [
        ("failing", Value::Flag(false)),
        ("media-errors", Value::Number(2.0)),
        ("reallocated", Value::Number(4.0)),
        ("pending", Value::Number(0.0)),
        ("temperature", Value::Number(38.0)),
        ("hot", Value::Flag(false)),
        ("power-on", Value::Number(6_000_000.0)),
        ("wear", Value::Absent),
        ("spare", Value::Absent),
        ("link-errors", Value::Absent),
    ] {
        assert_eq!(out.get(name), Some(&value), "{name}");
    }
    assert_eq!((judged(&out), note.as_str()), ((vec![], vec![]), ""));
    let solid = page(SOLID_STATE, &[(1, &[0, 0, 0, 97])]);
    let (out, _) = filled(&with(healthy(), (SOLID_STATE, Some(solid))), false);
    assert_eq!(judged(&out), (vec!["wear > 90%"], vec![]));
}

#[test]
fn what_a_disk_warns_of_has_a_verdict_that_fits_it() {
    let entry = |status: u8| {
        let mut value = [0; 20];
        value[4] = status << 4 | 3;
        (BACKGROUND_SCAN, Some(page(BACKGROUND_SCAN, &[(0, &SCAN), (1, &value), (2, &value)])))
    };
    for (changed, holding, told) in [
        (exceptions([0x5d, 0x10, 38]), &["failing"][..], "; expects to fail (5Dh/10h)"),
        (exceptions([0x5d, 0x00, 38]), &["failing"], "; expects to fail (5Dh/00h)"),
        // A test of the report, and wear.
        (exceptions([0x5d, 0xff, 38]), &[], ""),
        (exceptions([0x5d, 0x73, 38]), &[], ""),
        (exceptions([0x0b, 0x01, 38]), &["hot"], ""),
        ((TEMPERATURE, Some(page(TEMPERATURE, &[(0, &[0, 61]), (1, &[0, 60])]))), &["hot"], ""),
        // No limit of its own.
        ((TEMPERATURE, Some(page(TEMPERATURE, &[(0, &[0, 61]), (1, &[0, 0xff])]))), &["hot"], ""),
        ((TEMPERATURE, Some(page(TEMPERATURE, &[(0, &[0, 0xff])]))), &[], ""),
        (entry(1), &["pending > 0"], ""),
        (entry(2), &[], ""),
        (entry(5), &[], ""),
        (entry(8), &["pending > 0"], ""),
    ] {
        let (out, note) = filled(&with(healthy(), changed.clone()), true);
        assert_eq!(judged(&out), (holding.to_vec(), vec![]), "{changed:?}");
        assert_eq!(note, told);
    }
}

#[test]
fn a_disk_that_has_no_such_page_is_not_unknown_for_that() {
    let (out, _) = filled(&Said::default(), true);
    assert_eq!(judged(&out), (vec![], vec![]));
    assert_eq!(out.get("failing"), Some(&Value::Absent), "it predicts nothing");
}

#[test]
fn a_page_without_the_counter_says_nothing_of_it() {
    let without = |code| (code, Some(page(code, &[(0x0003, &[0, 0, 0, 9]), (0x8000, &[1])])));
    let mut said = healthy();
    for (code, left) in [(0x05, Value::Number(2.0)), (0x03, Value::Number(0.0))] {
        said = with(said, without(code));
        let (out, _) = filled(&said, true);
        assert_eq!(out.get("media-errors"), Some(&left), "without that of {code:02x}h");
        assert_eq!(judged(&out), (vec![], vec![]));
    }
    let (out, _) = filled(&with(said, (0x02, Some(page(0x02, &[])))), true);
    assert_eq!(out.get("media-errors"), Some(&Value::Absent));
    // One whose end is not there could have had it.
    let (code, cut) = without(0x03);
    let mut cut = cut.unwrap();
    cut.0[3] += 1;
    let (out, _) = filled(&with(healthy(), (code, Some(cut))), true);
    assert_eq!(out.get("media-errors"), None);
}

#[test]
fn a_page_that_cannot_be_read_leaves_its_values_missing() {
    for (code, unknown) in [
        (INFORMATIONAL_EXCEPTIONS, &["failing"][..]),
        (TEMPERATURE, &["hot"]),
        (BACKGROUND_SCAN, &["pending > 0"]),
        (SOLID_STATE, &["wear > 90%"]),
        (0x03, &["media-errors > 0 in 1d", "media-errors > 10 in 1d"]),
    ] {
        for bad in [None, Some(Page([0xff; 512])), Some(Page([0; 512])), Some(page(code, &[]))] {
            let is_empty = bad.as_ref().is_some_and(|bad| bad.0[0] == code);
            if code == BACKGROUND_SCAN && bad.is_some() || code == 0x03 && is_empty {
                continue; // Without entries there are none.
            }
            let (out, note) = filled(&with(healthy(), (code, bad)), false);
            assert_eq!(judged(&out), (vec![], unknown.to_vec()), "{code:02x}");
            assert_eq!(note, "");
        }
    }
    let odd = Said { defects: Some(Page([0xff; 512])), ..healthy() };
    assert_eq!(judged(&filled(&odd, true).0), (vec![], vec!["reallocated > 0 in 1d"]));
}

#[test]
fn damaged_pages_never_break_the_reader() {
    let said = healthy();
    for (at, (code, page)) in said.pages.iter().enumerate() {
        for byte in 0..64 {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut page = page.clone().unwrap();
                page.0[byte] = value;
                let mut bad = healthy();
                bad.pages[at] = (*code, Some(page));
                filled(&bad, true);
            }
        }
    }
}

#[test]
fn sense_data_tell_who_sleeps() {
    let fixed = |key, code, qualifier| {
        let mut bytes = [0; 18];
        (bytes[0], bytes[2], bytes[12], bytes[13]) = (0x70, key, code, qualifier);
        bytes
    };
    for (key, code, qualifier, asleep) in [
        (0, 0, 0, false),
        // Stopped; waiting for leave to start; starting.
        (2, 0x04, 0x02, true),
        (2, 0x04, 0x11, true),
        (2, 0x04, 0x01, false),
        (5, 0x04, 0x02, false),
        // No medium.
        (2, 0x3a, 0x00, false),
        // Low power, idle by timer, standby by timer and by command, idle_b, standby_y.
        (0, 0x5e, 0x00, true),
        (0, 0x5e, 0x01, false),
        (0, 0x5e, 0x03, true),
        (0, 0x5e, 0x04, true),
        (0, 0x5e, 0x05, false),
        (0, 0x5e, 0x09, true),
    ] {
        let sense = Sense::parse(&fixed(key, code, qualifier));
        assert_eq!(sense, Sense { key, code, qualifier });
        assert_eq!(Sense::parse(&[0x72, key, code, qualifier]), sense, "descriptors");
        assert_eq!(sense.rests(), asleep, "{key:02x}/{code:02x}/{qualifier:02x}");
    }
    for hostile in [&[][..], &[0x70], &[0xff; 252], &[0x72, 2]] {
        Sense::parse(hostile);
    }
}
