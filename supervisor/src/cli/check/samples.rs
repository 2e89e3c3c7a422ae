//! Checks as a daemon would show them.

use mastiff_core::health::Verdict;
use mastiff_core::view::{CheckView, ConditionView, PauseView, ValueView};

/// A check of a file system with this name and verdict.
pub(in crate::cli) fn check(name: &str, verdict: Verdict) -> CheckView {
    let value = |name: &str, unit: &str, number: Option<f64>, shown: &str| ValueView {
        name: name.into(),
        unit: unit.into(),
        number,
        shown: shown.into(),
    };
    let condition = |text: &str, leads_to, holds| ConditionView {
        text: text.into(),
        leads_to,
        holds: Some(holds),
        value: "96.1%".into(),
    };
    CheckView {
        name: name.into(),
        sensor: "filesystem".into(),
        target: "/srv".into(),
        discovered: false,
        verdict,
        for_secs: 60.0,
        reason: match verdict {
            Verdict::Rests => "group \"db\" is not active here".into(),
            Verdict::Healthy => String::new(),
            Verdict::Unknown => "no reading yet".into(),
            Verdict::Degraded | Verdict::Failed => "used > 95% (96.1%)".into(),
        },
        note: None,
        reading_age_secs: Some(2.0),
        values: vec![
            value("read-only", "flag", Some(0.0), "no"),
            value("free", "bytes", Some(3_650_722_201.0), "3.4 GiB"),
            value("used", "ratio", Some(0.961), "96.1%"),
        ],
        conditions: vec![
            condition("used > 95%", Verdict::Failed, verdict == Verdict::Failed),
            condition("read-only", Verdict::Failed, false),
            condition("used > 85%", Verdict::Degraded, true),
        ],
        fail_after_secs: 30.0,
        recover_after_secs: 60.0,
        interval_secs: 10.0,
        tendency: None,
        flapping: false,
        paused: None,
        ladder: None,
    }
}

/// The same, paused.
pub(in crate::cli) fn paused(name: &str, verdict: Verdict) -> CheckView {
    let pause = PauseView {
        check: Some(name.into()),
        left_secs: 720.0,
        why: "new release".into(),
        who: "root".into(),
    };
    CheckView { paused: Some(pause), ..check(name, verdict) }
}
