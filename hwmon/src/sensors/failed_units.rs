//! How many units of the machine systemd holds for failed.

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::Span;

use crate::root::Root;
use crate::sensor::{
    End, Finished, Options, Program, Sensor, SensorError, Source, Target, is_unit_name,
};
use crate::sensors::command::shown;

/// Names in the note at most; the number itself is not cut.
pub const NAMES_SHOWN_MAX: usize = 8;

/// Failed units (systemctl(1), `list-units`).
pub const SENSOR: Sensor = Sensor {
    name: "failed-units",
    hardware: false,
    summary: "Number and names of failed systemd units, from systemctl list-units.",
    target: Target::Machine,
    options: &[],
    quantities: QUANTITIES,
    warn_when: &["failed > 0"],
    fail_when: &[],
    interval: Span::from_secs(60),
    fail_after: Span::ZERO,
    recover_after: Span::ZERO,
    discover: Some(discover),
    source: Source::Program(Program { arguments, judge }),
};

const QUANTITIES: &[Quantity] =
    &[Quantity { name: "failed", unit: Unit::Count, meaning: "units in state failed" }];

/// The directory exists where systemd is the init system (sd_booted(3)).
fn discover(root: &Root) -> Vec<String> {
    let booted = root.path("/run/systemd/system").is_dir();
    if booted { vec![String::new()] } else { Vec::new() }
}

fn arguments(_target: &str, _options: &Options) -> Result<Vec<String>, SensorError> {
    let arguments = [
        "/usr/bin/systemctl",
        "list-units",
        "--state=failed",
        "--full",
        "--plain",
        "--no-legend",
        "--no-pager",
    ];
    Ok(arguments.map(str::to_owned).to_vec())
}

fn judge(finished: &Finished, _options: &Options, out: &mut Readings) -> Result<(), SensorError> {
    let reason = match finished.end {
        End::Exit(0) => {
            let names: Vec<&str> = finished.output.lines().filter_map(failed_name).collect();
            out.count("failed", u64::try_from(names.len()).unwrap_or(u64::MAX));
            out.note = note(&names).map(Into::into);
            return Ok(());
        }
        End::Exit(code) => format!("exit code {code}"),
        End::Signal(signal) => format!("killed by signal {signal}"),
        End::TooLong => format!("no answer within {}", finished.took),
    };
    let line = shown(finished.output.lines().next().unwrap_or_default());
    Err(SensorError::Unsupported(
        format!("systemctl did not list units: {reason} {line}").trim_end().to_owned(),
    ))
}

/// The name in `UNIT LOAD ACTIVE SUB DESCRIPTION`; other lines are messages. Old versions put a dot
/// before it.
fn failed_name(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(['●', '*', ' ']);
    let mut fields = line.split_ascii_whitespace();
    let name = fields.next().filter(|name| is_unit_name(name))?;
    (fields.nth(1) == Some("failed")).then_some(name)
}

fn note(names: &[&str]) -> Option<String> {
    let shown = names.get(..names.len().min(NAMES_SHOWN_MAX))?.join(", ");
    match names.len().saturating_sub(NAMES_SHOWN_MAX) {
        _ if shown.is_empty() => None,
        0 => Some(shown),
        more => Some(format!("{shown} and {more} more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mastiff_core::reading::Value;

    fn judged(end: End, output: &str) -> (Result<(), SensorError>, Readings) {
        let finished = Finished { end, output: output.to_owned(), took: Span::from_secs(1) };
        let mut out = Readings::new(QUANTITIES);
        (judge(&finished, &Options::default(), &mut out), out)
    }

    #[test]
    fn names_are_counted_and_other_lines_are_not() {
        let (result, out) = judged(
            End::Exit(0),
            "web.service   loaded    failed failed A web server\n● db.service not-found failed failed db\n\
             Warning: The unit file changed\nok.service loaded active running fine\n\u{0}\u{1}\n",
        );
        result.expect("a list");
        assert_eq!(out.get("failed"), Some(&Value::Number(2.0)));
        assert_eq!(out.note.as_deref(), Some("web.service, db.service"));
        let (_, out) = judged(End::Exit(0), "");
        assert_eq!(out.get("failed"), Some(&Value::Number(0.0)));
        assert_eq!(out.note, None);
        let many: String =
            (0..20).map(|i| format!("u{i}.service loaded failed failed\n")).collect();
        let (_, out) = judged(End::Exit(0), &many);
        assert!(out.note.is_some_and(|note| note.ends_with("u7.service and 12 more")));
    }

    #[test]
    fn no_answer_is_an_error_and_no_number() {
        for end in [End::Exit(1), End::Signal(9), End::TooLong] {
            let (result, out) =
                judged(end, "Failed to connect to bus: No such file or directory\n");
            assert!(result.is_err());
            assert_eq!(out.get("failed"), None);
        }
    }
}
