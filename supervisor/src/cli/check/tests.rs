use super::samples::{check, paused};
use super::*;
use mastiff_core::view::Tendency;

const TERMINAL: Out = Out { color: false, width: Some(80) };

fn mixed() -> Vec<CheckView> {
    let mut checks = vec![
        check("load", Verdict::Healthy),
        check("time", Verdict::Unknown),
        paused("web", Verdict::Failed),
        check("filesystem /srv", Verdict::Failed),
        check("memory", Verdict::Degraded),
    ];
    checks.sort_by(|one, other| importance(one).cmp(&importance(other)));
    checks
}

#[test]
fn what_is_bad_comes_first_and_says_why() {
    let text = render(&Source::Here, "Debian 12, 2 processors", &mixed(), TERMINAL);
    let order: Vec<usize> = ["filesystem /srv", "memory", "time", "web", "load"]
        .iter()
        .map(|name| text.find(name).unwrap())
        .collect();
    assert!(order.is_sorted(), "{text}");
    assert!(text.contains("failed    filesystem /srv  used > 95% (96.1%)"), "{text}");
    assert!(
        text.starts_with(
            "This machine is failed: 1 failed, 1 degraded, 1 unknown, 1 healthy, 1 paused\nDebian 12, 2 processors\n"
        ),
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn paused_checks_do_not_count_and_nothing_at_all_is_unknown() {
    assert_eq!(overall(&[paused("web", Verdict::Failed)]), Verdict::Healthy);
    assert_eq!(
        overall(&[paused("web", Verdict::Failed), check("a", Verdict::Degraded)]),
        Verdict::Degraded
    );
    assert_eq!(overall(&[]), Verdict::Unknown);
}

#[test]
fn key_values_are_those_that_conditions_look_at() {
    let good = check("filesystem /srv", Verdict::Healthy);
    assert_eq!(key_values(&good, None), "used 96.1%, free 3.4 GiB");
    assert_eq!(key_values(&good, Some(12)), "used 96.1%");
    let mut zeros = good;
    zeros.values.retain(|value| value.name == "read-only");
    assert_eq!(key_values(&zeros, None), "read-only no", "dull is better than nothing");
}

#[test]
fn names_are_names_targets_or_sensors_and_a_wrong_one_is_corrected() {
    let named = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        select(mixed(), &names).map(|checks| checks.len())
    };
    assert_eq!(named(&["web"]), Ok(1));
    assert_eq!(named(&["filesystem"]), Ok(5));
    assert_eq!(named(&["/srv"]), Ok(5));
    assert_eq!(named(&[]), Ok(5));
    let Err(Failure::Usage(text)) = named(&["memroy"]) else { panic!("must be refused") };
    assert_eq!(text, "no check is called \"memroy\"; did you mean \"memory\"?");
}

#[test]
fn a_name_is_quoted_only_where_a_shell_needs_it() {
    assert_eq!(quoted("web"), "web");
    assert_eq!(quoted("filesystem /srv"), "'filesystem /srv'");
    assert_eq!(quoted("it's"), "'it'\\''s'");
}

#[test]
fn what_is_bad_but_not_believed_yet_is_named() {
    let mut young = check("web", Verdict::Unknown);
    young.reason = "bad since its first reading, not long enough to be believed".into();
    assert_eq!(reason(&young), young.reason);
    young.tendency = Some(Tendency { reading: "failed".into(), believed_in_secs: 6.0 });
    young.conditions.truncate(1);
    assert_eq!(reason(&young), young.reason, "no condition is known to hold");
    young.conditions[0].holds = Some(true);
    assert_eq!(reason(&young), "used > 95% (96.1%); believed in 6s");
}

#[test]
fn a_node_that_is_paused_as_a_whole_says_so_once_and_is_not_called_healthy() {
    let mut web = paused("web", Verdict::Failed);
    web.paused.as_mut().unwrap().check = None;
    let text = render(&Source::Here, "", &[web], TERMINAL);
    assert!(text.starts_with("This machine is paused: 1 paused\n"), "{text}");
    assert_eq!(text.matches("paused").count(), 2, "{text}");
}
