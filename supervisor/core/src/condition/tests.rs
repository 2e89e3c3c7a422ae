use super::*;

const QUANTITIES: &[Quantity] = &[
    Quantity { name: "used", unit: Unit::Ratio, meaning: "" },
    Quantity { name: "free", unit: Unit::Bytes, meaning: "" },
    Quantity { name: "temperature", unit: Unit::Celsius, meaning: "" },
    Quantity { name: "age", unit: Unit::Seconds, meaning: "" },
    Quantity { name: "restarts", unit: Unit::Total, meaning: "" },
    Quantity { name: "read-only", unit: Unit::Flag, meaning: "" },
    Quantity { name: "state", unit: Unit::Word(&["active", "failed"]), meaning: "" },
    Quantity { name: "result", unit: Unit::Word(&[]), meaning: "" },
    Quantity { name: "rate", unit: Unit::PerSecond, meaning: "" },
    Quantity { name: "written", unit: Unit::BytesPerSecond, meaning: "" },
    Quantity { name: "tasks", unit: Unit::Count, meaning: "" },
];

fn truth_of(text: &str, set: impl Fn(&mut Readings)) -> Truth {
    let mut readings = Readings::new(QUANTITIES);
    set(&mut readings);
    Condition::parse(text, QUANTITIES).expect(text).evaluate(
        &readings,
        Mono::BOOT,
        &mut History::default(),
    )
}

#[test]
fn each_unit_reads_its_own_way_of_writing() {
    let holds = |text: &str, name: &str, value: f64| {
        assert_eq!(truth_of(text, |r| r.number(name, value)), Truth::True, "{text} with {value}");
    };
    holds("used > 95%", "used", 0.951);
    holds("used>95%", "used", 0.951);
    holds("free < 10GiB", "free", 10.0 * 1024.0 * 1024.0 * 1024.0 - 1.0);
    holds("free <= 64k", "free", 65536.0);
    holds("temperature >= 90C", "temperature", 90.0);
    holds("age > 1min 30s", "age", 90.5);
    holds("age < -5s", "age", -6.0);
    holds("restarts == 3", "restarts", 3.0);
    holds("rate > 12.5/s", "rate", 13.0);
    holds("rate > 12", "rate", 13.0);
    holds("written > 1MiB/s", "written", 2e6);
    holds("tasks != 4", "tasks", 5.0);
}

#[test]
fn flags_and_words_compare_for_equality_only() {
    assert_eq!(truth_of("read-only", |r| r.flag("read-only", true)), Truth::True);
    assert_eq!(truth_of("read-only = false", |r| r.flag("read-only", true)), Truth::False);
    assert_eq!(truth_of("read-only != yes", |r| r.flag("read-only", false)), Truth::True);
    assert_eq!(truth_of("state != active", |r| r.word("state", "failed")), Truth::True);
    assert_eq!(truth_of("state = active", |r| r.word("state", "failed")), Truth::False);
    assert_eq!(truth_of("result = oom-kill", |r| r.word("result", "oom-kill")), Truth::True);
}

#[test]
fn a_missing_value_is_unknown_and_an_absent_thing_never_holds() {
    for text in ["used > 95%", "used < 5%", "state != active", "read-only", "restarts > 3 in 10m"] {
        assert_eq!(truth_of(text, |_| ()), Truth::Unknown, "{text}");
    }
    assert_eq!(truth_of("used > 95%", |r| r.absent("used")), Truth::False);
    assert_eq!(truth_of("used < 5%", |r| r.absent("used")), Truth::False);
    assert_eq!(truth_of("used > 95%", |r| r.word("used", "full")), Truth::Unknown);
    assert_eq!(truth_of("used > 95%", |r| r.number("used", f64::NAN)), Truth::Unknown);
}

#[test]
fn a_number_that_is_none_is_missing_and_minus_zero_is_zero() {
    let sent = |name: &str, number: f64| {
        let slot = |quantity: &Quantity| (quantity.name == name).then_some(Value::Number(number));
        Readings::from_slots(QUANTITIES, QUANTITIES.iter().map(slot).collect(), None)
    };
    for text in ["age > 5s", "age < 5s", "age != 5s"] {
        let condition = Condition::parse(text, QUANTITIES).unwrap();
        let truth = condition.evaluate(&sent("age", f64::NAN), Mono::BOOT, &mut History::default());
        assert_eq!(truth, Truth::Unknown, "{text}");
    }
    let growth = Condition::parse("restarts > 3 in 10m", QUANTITIES).unwrap();
    let mut history = History::default();
    let mut judge = |total| growth.evaluate(&sent("restarts", total), Mono::BOOT, &mut history);
    assert_eq!(judge(100.0), Truth::False);
    assert_eq!(judge(f64::NAN), Truth::Unknown);
    assert_eq!(judge(f64::INFINITY), Truth::Unknown);
    assert_eq!(judge(101.0), Truth::False, "a bad sample in between is no growth");
    assert_eq!(truth_of("age < 0s", |r| r.number("age", -0.0)), Truth::False);
    assert_eq!(truth_of("age == 0s", |r| r.number("age", -0.0)), Truth::True);
}

#[test]
fn what_cannot_be_typed_is_refused_with_the_way_to_write_it() {
    let error = |text: &str| Condition::parse(text, QUANTITIES).expect_err(text).to_string();
    for (text, part) in [
        ("", "is empty"),
        ("> 5", "is empty"),
        ("usd > 95%", "no quantity `usd`"),
        ("used", "needs a value, as in \"used > 95%\""),
        ("used above 95%", "`above` is no operator"),
        ("used > 95", "`95` is not a value"),
        ("used > 0.95", "`0.95` is not a value"),
        ("used > 101%", "never exceeds 100%"),
        ("used > 100%", "never exceeds 100%"),
        ("used > -1%", "is not a value"),
        ("free < 10GB", "`10GB` is not a value"),
        ("free < ten", "`ten` is not a value"),
        ("temperature > 90", "`90` is not a value"),
        ("temperature > 90F", "`90F` is not a value"),
        ("age > 90", "`90` is not a value"),
        ("tasks > inf", "`inf` is not a value"),
        ("tasks > 1e3", "`1e3` is not a value"),
        ("read-only > 1", "only be compared for equality"),
        ("read-only = maybe", "`maybe` is not a value"),
        ("state > active", "only be compared for equality"),
        ("state = actve", "none of its words: active, failed"),
        ("result = a b", "`a b` is not a value"),
        ("used > 5% in 10m", "does not count up"),
        ("restarts > 3 in ten", "the time after `in` is not a time"),
        ("restarts > 3 in 0s", "a window needs a length"),
        ("restarts > x in 5m", "`x in 5m` is not a value"),
    ] {
        let said = error(text);
        assert!(said.contains(part), "{text:?} said {said:?}");
    }
}

fn at(secs: u64) -> Mono {
    Mono::BOOT.after(Span::from_secs(secs))
}

#[test]
fn growth_counts_inside_its_window_and_across_a_restart_of_the_source() {
    let mut history = History::default();
    let window = Span::from_secs(600);
    let mut growth = |secs, total| {
        history.feed(at(secs), total, window);
        history.growth(at(secs), window)
    };
    assert!(growth(0, 5.0).abs() < 1e-9, "the first sample is the base line");
    assert!((growth(60, 7.0) - 2.0).abs() < 1e-9);
    // The source restarted: it shows 1, and that 1 is new.
    assert!((growth(120, 1.0) - 3.0).abs() < 1e-9);
    assert!((growth(650, 1.0) - 3.0).abs() < 1e-9, "both steps lie inside");
    assert!((growth(721, 1.0)).abs() < 1e-9);
}

#[test]
fn a_window_of_any_length_keeps_a_bounded_history() {
    let mut history = History::default();
    let mut grown = 0.0;
    for second in 0..10_000_u32 {
        history.feed(at(second.into()), f64::from(second), Span::from_secs(3600));
        grown = history.growth(at(second.into()), Span::from_secs(3600));
        assert!(history.slices.len() <= 65, "{}", history.slices.len());
    }
    assert!((grown - 3600.0).abs() < 3600.0 * 0.05, "{grown}");
    for second in 10_000..20_000_u32 {
        history.feed(at(second.into()), 9_999.0, Span::from_secs(3600));
    }
    assert!(history.slices.is_empty(), "a quiet counter costs nothing");
}

#[test]
fn one_holding_condition_decides_and_one_missing_value_spoils_the_rest() {
    let conditions: Vec<_> = ["used > 95%", "read-only"]
        .iter()
        .map(|text| Condition::parse(text, QUANTITIES).unwrap())
        .collect();
    let mut histories = alloc::vec![History::default(); 2];
    let mut readings = Readings::new(QUANTITIES);
    let mut judge = |readings: &Readings| any(&conditions, &mut histories, readings, Mono::BOOT);
    assert_eq!(judge(&readings).0, Truth::Unknown);
    readings.number("used", 0.5);
    assert_eq!(judge(&readings).0, Truth::Unknown);
    readings.flag("read-only", true);
    assert_eq!(judge(&readings), (Truth::True, alloc::vec![1]));
    readings.flag("read-only", false);
    assert_eq!(judge(&readings).0, Truth::False);
}
