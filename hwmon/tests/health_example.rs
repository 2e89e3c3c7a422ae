//! The example `health` on recorded trees: it is what a reader of the crate starts from.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, missing_docs, unreachable_pub, reason = "its `main` reads this machine")]
#[path = "../examples/health.rs"]
mod health;

use std::path::{Path, PathBuf};

use mastiff_hwmon::health::Verdict;
use mastiff_hwmon::look;
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensors;

/// Lines of the example with its documentation.
const LINES_MAX: usize = 40;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn tree(name: &str) -> Root {
    Root::recorded(folder("tests/trees").join(name))
}

#[test]
fn it_is_short() {
    let text = std::fs::read_to_string(folder("examples/health.rs")).unwrap();
    assert!(text.lines().count() < LINES_MAX, "{}", text.lines().count());
}

#[test]
fn it_says_how_a_machine_is() {
    for (name, verdict) in [
        ("failing", Verdict::Failed),
        ("absent", Verdict::Unknown),
        // Its NVMe disk cannot be asked.
        ("healthy", Verdict::Unknown),
    ] {
        assert_eq!(health::print(&tree(name)), verdict, "{name}");
    }
}

#[test]
fn one_look_has_three_truths() {
    let raid = sensors::find("raid").unwrap();
    let healthy = raid.look(&tree("healthy"), "md0");
    assert_eq!((healthy.verdict, &*healthy.why), (Verdict::Healthy, ""));
    let failing = raid.look(&tree("failing"), "md0");
    assert_eq!(failing.verdict, Verdict::Degraded);
    assert!(failing.why.ends_with("sdb1 has failed, sde1 is being rebuilt"), "{}", failing.why);
    assert_eq!(raid.look(&tree("failing"), "md1").verdict, Verdict::Failed);
    let truncated = raid.look(&tree("truncated"), "md0");
    assert_eq!(truncated.verdict, Verdict::Unknown);
    assert!(truncated.why.contains("expected the state of an array"), "{}", truncated.why);
    let page = sensors::find("http").unwrap().look(&tree("healthy"), "http://192.0.2.1/");
    assert_eq!(page.verdict, Verdict::Unknown, "it is not in files: {}", page.why);
    assert!(look::everything(&tree("absent")).next().is_none());
}
