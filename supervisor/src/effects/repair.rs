//! `repair`: asks a script of `/etc/watchdog.d` to repair what its test found.
//!
//! The scripts of watchdog(8) are called as `SCRIPT test` and, when that fails, as `SCRIPT repair
//! CODE`. The test is a check of the sensor `command` with the option `protocol = "watchdog-test"`;
//! this is the other half.

use mastiff_core::reading::Value;
use mastiff_core::spec::{Arguments, Budget, Disruption, EffectSpec};
use mastiff_core::time::Span;
use mastiff_hwmon::sensors::command::repair_arguments;

use super::{Cause, Effect, Work};

/// Calls the script of the check as `SCRIPT repair CODE`; exit code 0 means repaired.
pub const EFFECT: Effect = Effect {
    spec: EffectSpec {
        name: "repair",
        summary: "Calls the script of the check as `SCRIPT repair CODE`, as watchdog(8) does; exit code 0 means repaired.",
        disruption: Disruption::Service,
        arguments: Arguments::Script,
        // The repair-timeout of watchdog.conf(5).
        deadline: Span::from_secs(60),
        settle: Span::from_secs(10),
        budget: Budget { times: 3, within: Span::from_secs(600) },
    },
    work: Work::Programs(programs),
};

fn programs(cause: &Cause<'_>, _arguments: &[String]) -> Result<Vec<Vec<String>>, String> {
    let code = match cause.readings.and_then(|readings| readings.get("exit-code")) {
        Some(Value::Number(code)) => whole(*code),
        Some(Value::Flag(_) | Value::Word(_) | Value::Absent) | None => None,
    };
    let code = code.ok_or("the test of this check gave no exit code that could be repaired")?;
    let arguments = repair_arguments(cause.target, code).map_err(|error| error.to_string())?;
    Ok(vec![arguments])
}

/// An exit code travels as a number; it is one of 0 to 255.
#[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
fn whole(number: f64) -> Option<i32> {
    (0.0..=255.0).contains(&number).then_some(number as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mastiff_core::reading::Readings;
    use mastiff_hwmon::sensors::command::SENSOR;

    #[test]
    fn a_script_is_told_what_its_test_said() {
        let repair = |readings: Option<&Readings>| {
            programs(&Cause { target: "/etc/watchdog.d/raid --fast", readings }, &[])
        };
        let mut readings = Readings::new(SENSOR.quantities);
        assert!(repair(None).is_err());
        assert!(repair(Some(&readings)).is_err(), "killed by a signal: no code");
        readings.number("exit-code", 5.0);
        let list = repair(Some(&readings)).unwrap().remove(0);
        assert_eq!(list.first().map(String::as_str), Some("/etc/watchdog.d/raid"));
        assert!(list.ends_with(&["repair".to_string(), "5".to_string()]), "{list:?}");
    }
}
