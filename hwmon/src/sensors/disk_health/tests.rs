//! Health logs of NVMe controllers, after the layout of the specification.

use mastiff_core::condition::{Condition, History, Truth};
use mastiff_core::reading::Value;

use super::*;

/// A log of a controller that is well: 38 C (311 K), spare 100 % with a limit of 10 %, 3 % used.
pub(super) fn healthy() -> [u8; 512] {
    let mut log = [0; 512];
    log[..6].copy_from_slice(&[0, 0x37, 0x01, 100, 10, 3]);
    log[128..130].copy_from_slice(&8760_u16.to_le_bytes());
    log[144] = 21;
    log
}

fn filled(log: &[u8; 512]) -> Readings {
    let mut out = Readings::new(QUANTITIES);
    nvme::fill(log, &mut out);
    assert_eq!(out.undeclared(), None);
    out
}

pub(super) fn judged(out: &Readings) -> (Vec<&'static str>, Vec<&'static str>) {
    SENSOR.judged(out)
}

#[test]
fn a_log_is_decoded_by_the_specification() {
    let out = filled(&healthy());
    for (name, value) in [
        ("failing", Value::Flag(false)),
        ("read-only", Value::Flag(false)),
        ("spare-low", Value::Flag(false)),
        ("spare", Value::Number(1.0)),
        ("wear", Value::Number(0.03)),
        ("temperature", Value::Number(38.0)),
        ("hot", Value::Flag(false)),
        ("power-on", Value::Number(8760.0 * 3600.0)),
        ("unsafe-shutdowns", Value::Number(21.0)),
        ("media-errors", Value::Number(0.0)),
        ("pending", Value::Absent),
    ] {
        assert_eq!(out.get(name), Some(&value), "{name}");
    }
    assert_eq!(judged(&out), (vec![], vec![]));
}

#[test]
fn each_warning_has_a_verdict_that_fits_it() {
    type Change = (usize, u8);
    let cases: [(&[Change], &[&str]); 8] = [
        (&[(0, 0x01)], &["spare-low"]),
        (&[(3, 9)], &["spare-low"]),
        (&[(3, 10)], &[]),
        (&[(0, 0x02)], &["hot"]),
        (&[(0, 0x04)], &["failing"]),
        // Worn out by the maker's estimate, and it works: no failure.
        (&[(0, 0x04), (5, 104)], &["wear > 90%"]),
        (&[(0, 0x08)], &["read-only"]),
        (&[(0, 0x10)], &["unprotected"]),
    ];
    for (changes, holding) in cases {
        let mut log = healthy();
        for (at, byte) in changes {
            log[*at] = *byte;
        }
        assert_eq!(judged(&filled(&log)), (holding.to_vec(), vec![]), "{changes:?}");
    }
}

#[test]
fn media_errors_count_by_their_growth() {
    let texts = ["media-errors > 0 in 1d", "media-errors > 10 in 1d"];
    let mut conditions =
        texts.map(|text| (Condition::parse(text, QUANTITIES).unwrap(), History::default()));
    let mut log = healthy();
    for (hours, errors, holding) in [
        // What was before we looked is no growth.
        (0, 200, [false, false]),
        (1, 200, [false, false]),
        (2, 201, [true, false]),
        (3, 212, [true, true]),
        (30, 212, [false, false]),
    ] {
        log[160] = errors;
        let out = filled(&log);
        let now = Mono::BOOT.after(Span::from_secs(hours * 3600));
        for ((condition, history), holds) in conditions.iter_mut().zip(holding) {
            let truth = condition.evaluate(&out, now, history);
            assert_eq!(truth == Truth::True, holds, "{condition} after {hours} h");
        }
    }
}

#[test]
fn counters_of_sixteen_bytes_saturate_and_no_temperature_is_none() {
    let out = filled(&[0xff; 512]);
    assert_eq!(out.get("media-errors"), Some(&Value::Number(u64::MAX as f64)));
    assert_eq!(out.get("spare"), Some(&Value::Number(1.0)));
    assert_eq!(out.get("wear"), Some(&Value::Number(1.0)));
    assert_eq!(filled(&[0; 512]).get("temperature"), Some(&Value::Absent));
}

#[test]
fn a_sleeping_disk_keeps_what_it_said() {
    let root = Root::recorded("/nowhere");
    let mut probe = DiskHealth { root, target: "sda".into(), last: None };
    let mut out = Readings::new(QUANTITIES);
    probe.sleeps(&mut out);
    assert_eq!(out.get("asleep"), Some(&Value::Flag(true)));
    assert_eq!(out.get("failing"), None, "nothing is known of it");
    assert!(!probe.is_worth_keeping());
    probe.last = Some(filled(&healthy()));
    assert!(probe.is_worth_keeping(), "even if a reading was slow");
    probe.sleeps(&mut out);
    assert_eq!(out.get("asleep"), Some(&Value::Flag(true)));
    assert_eq!(out.get("failing"), Some(&Value::Flag(false)));
}
