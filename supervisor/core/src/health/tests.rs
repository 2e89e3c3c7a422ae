use super::*;
use alloc::vec::Vec;

const FAIL_AFTER: Span = Span::from_secs(10);
const RECOVER_AFTER: Span = Span::from_secs(20);
const LONG: u64 = 20;

fn at(secs: u64) -> Mono {
    Mono::BOOT.after(Span::from_secs(secs))
}

fn see(health: &mut Health, glance: Glance, secs: u64) -> Verdict {
    health.see(glance, FAIL_AFTER, RECOVER_AFTER, at(secs));
    health.verdict()
}

/// A check that last confirmed `known`, and says it at second 20; then nothing is seen, if `blind`.
fn health(known: Option<Verdict>, blind: bool) -> Health {
    let mut health = Health::new(at(0));
    let glance = match known {
        None | Some(Verdict::Rests | Verdict::Unknown) => None,
        Some(Verdict::Healthy) => Some(Glance::Good),
        Some(Verdict::Degraded) => Some(Glance::Bad),
        Some(Verdict::Failed) => Some(Glance::Failed),
    };
    for secs in [0, 10, 20] {
        glance.map(|glance| see(&mut health, glance, secs));
    }
    assert_eq!(health.verdict(), known.unwrap_or(Verdict::Unknown));
    if blind {
        health.lose_sight("the sensor crashed", at(30));
        assert_eq!(health.verdict(), Verdict::Unknown);
    }
    health
}

#[test]
fn every_verdict_answers_every_glance_at_first_and_when_it_lasts() {
    use Glance::{Bad, Blind, Failed, Good};
    use Verdict::{Degraded as D, Failed as F, Healthy as H, Unknown as U};
    for (known, glance, first, long) in [
        (None, Good, H, H), // the first good word is believed
        (None, Bad, U, D),
        (None, Failed, U, F),
        (None, Blind, U, U),
        (Some(H), Good, H, H),
        (Some(H), Bad, H, D),
        (Some(H), Failed, H, F),
        (Some(H), Blind, U, U),
        (Some(D), Good, D, H),
        (Some(D), Bad, D, D),
        (Some(D), Failed, D, F),
        (Some(D), Blind, U, U),
        (Some(F), Good, F, H),
        (Some(F), Bad, F, D),
        (Some(F), Failed, F, F),
        (Some(F), Blind, U, U),
    ] {
        // What was known before blindness is judged on as if it had been seen all the time.
        for blind in [false, true] {
            let mut health = health(known, blind);
            assert_eq!(see(&mut health, glance, 100), first, "{known:?} {glance:?} first {blind}");
            let is_failed_now = first == F && glance == Failed;
            assert_eq!(health.is_failed_now(), is_failed_now, "{known:?} {glance:?}");
            assert_eq!(see(&mut health, glance, 100 + LONG), long, "{known:?} {glance:?} {blind}");
        }
    }
}

#[test]
fn blindness_hides_every_verdict_at_once_and_restarts_every_clock() {
    for known in [Verdict::Healthy, Verdict::Degraded, Verdict::Failed] {
        let mut health = health(Some(known), false);
        let change = health.lose_sight("no answer", at(40)).unwrap();
        assert_eq!((change.from, change.to), (known, Verdict::Unknown));
        assert_eq!(health.blind(), Some("no answer"));
        assert_eq!(health.confirms_at(FAIL_AFTER, RECOVER_AFTER), None);
        assert_eq!(health.lose_sight("another reason", at(41)), None, "told once");
        assert_eq!(health.blind(), Some("another reason"));
        assert_eq!(see(&mut health, Glance::Good, 42), known);
        assert_eq!(health.blind(), None);
    }
    // Nine seconds of failure, a gap, nine seconds of failure: not ten of it.
    let mut health = health(Some(Verdict::Healthy), false);
    see(&mut health, Glance::Failed, 100);
    see(&mut health, Glance::Failed, 109);
    health.lose_sight("gap", at(110));
    assert_eq!(see(&mut health, Glance::Failed, 111), Verdict::Healthy);
    assert_eq!(see(&mut health, Glance::Failed, 120), Verdict::Healthy);
    assert_eq!(see(&mut health, Glance::Failed, 121), Verdict::Failed);
}

#[test]
fn a_missing_value_neither_confirms_a_failure_nor_heals_one() {
    for known in [Verdict::Healthy, Verdict::Failed] {
        let mut health = health(Some(known), false);
        for secs in 100..200 {
            assert_eq!(see(&mut health, Glance::Blind, secs), Verdict::Unknown);
        }
        assert_eq!(health.is_known_failed(), known == Verdict::Failed);
        assert!(!health.is_failed_now());
    }
}

#[test]
fn a_glance_is_taken_from_both_lists() {
    use Truth::{False, True, Unknown};
    for (fail, warn, glance) in [
        (True, True, Glance::Failed),
        (True, False, Glance::Failed),
        (True, Unknown, Glance::Failed),
        (Unknown, True, Glance::Blind),
        (Unknown, False, Glance::Blind),
        (Unknown, Unknown, Glance::Blind),
        (False, True, Glance::Bad),
        (False, False, Glance::Good),
        (False, Unknown, Glance::Blind),
    ] {
        assert_eq!(Glance::from_truths(fail, warn), glance, "{fail:?} {warn:?}");
    }
}

/// Every path of three glances at these seconds, from every known verdict.
fn paths() -> impl Iterator<Item = (Option<Verdict>, Vec<(Glance, u64)>)> {
    let knowns = [None, Some(Verdict::Healthy), Some(Verdict::Degraded), Some(Verdict::Failed)];
    let glances = [Glance::Good, Glance::Bad, Glance::Failed, Glance::Blind];
    knowns.into_iter().flat_map(move |known| {
        (0..64_usize).map(move |path| {
            let steps = [(path / 16, 100), (path / 4 % 4, 104), (path % 4, 107)];
            (known, steps.map(|(glance, secs)| (glances[glance], secs)).to_vec())
        })
    })
}

#[test]
fn a_reading_at_the_promised_moment_changes_the_verdict_and_none_before_does() {
    for (known, path) in paths() {
        let mut health = health(known, false);
        for (glance, secs) in &path {
            see(&mut health, *glance, *secs);
        }
        let glance = path[2].0;
        let before = health.verdict();
        let repeat = |moment: Mono| {
            let mut health = health.clone();
            health.see(glance, FAIL_AFTER, RECOVER_AFTER, moment);
            health.verdict()
        };
        match health.confirms_at(FAIL_AFTER, RECOVER_AFTER) {
            Some(due) => {
                assert!(due > at(107), "{known:?} {path:?}: it is in the future");
                assert_ne!(repeat(due), before, "{known:?} {path:?}");
                assert_eq!(repeat(due.before(Span::from_nanos(1))), before, "{known:?} {path:?}");
            }
            None => assert_eq!(repeat(at(100_000)), before, "{known:?} {path:?}"),
        }
    }
}

#[test]
fn without_delays_every_glance_is_believed_at_once() {
    for known in [None, Some(Verdict::Healthy), Some(Verdict::Degraded), Some(Verdict::Failed)] {
        for (glance, verdict) in [
            (Glance::Good, Verdict::Healthy),
            (Glance::Bad, Verdict::Degraded),
            (Glance::Failed, Verdict::Failed),
        ] {
            let mut health = health(known, false);
            health.see(glance, Span::ZERO, Span::ZERO, at(100));
            assert_eq!(health.verdict(), verdict, "{known:?} {glance:?}");
            assert_eq!(health.confirms_at(Span::ZERO, Span::ZERO), None);
        }
    }
}

fn flip(health: &mut Health, secs: u64) {
    let glance = if health.verdict() == Verdict::Healthy { Glance::Failed } else { Glance::Good };
    assert!(health.see(glance, Span::ZERO, Span::ZERO, at(secs)).is_some());
}

#[test]
fn six_changes_in_half_an_hour_are_flapping_and_two_left_are_calm() {
    let mut health = Health::new(at(0));
    for change in 0..5 {
        flip(&mut health, change * 60);
        assert!(!health.is_flapping());
        assert_eq!(health.calms_at(), None);
    }
    flip(&mut health, 5 * 60);
    assert!(health.is_flapping());
    // Changes at minutes 0 to 5; the fourth leaves at minute 33.
    let calm = at(33 * 60);
    assert_eq!(health.calms_at(), Some(calm));
    assert!(!health.calm_down(calm.before(Span::from_nanos(1))));
    assert!(health.is_flapping());
    assert!(health.calm_down(calm));
    assert!(!health.is_flapping());
    assert!(!health.calm_down(calm), "told once");
}

#[test]
fn six_slow_changes_are_no_flapping_and_endless_ones_stay_bounded() {
    let mut health = Health::new(at(0));
    for change in 0..100 {
        flip(&mut health, change * 6 * 60);
        assert!(!health.is_flapping(), "six changes take 30 minutes");
        assert!(health.changes.len() <= FLAP_CHANGES);
    }
    let mut health = Health::new(at(0));
    for change in 0..10_000 {
        flip(&mut health, change);
        assert!(health.changes.len() <= FLAP_CHANGES);
    }
    assert!(health.is_flapping());
}

#[test]
fn a_change_tells_how_long_the_verdict_had_lasted() {
    let mut health = Health::new(at(0));
    see(&mut health, Glance::Good, 7);
    let change = health.see(Glance::Failed, Span::ZERO, Span::ZERO, at(30)).unwrap();
    assert_eq!(change.lasted, Span::from_secs(23));
    assert_eq!(health.since(), at(30));
}
