//! Any program as a check: Nagios plugins, `/etc/watchdog.d` scripts, or just an exit code.
//!
//! Only a program that itself says "failed" is a failure. One that cannot say, crashes or does not
//! end in time leaves `status` missing, so its check is unknown, and the note tells why.

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::Span;

use crate::sensor::{
    End, Finished, Options, Program, Sensor, SensorError, SensorOption, Source, Target,
    split_arguments,
};

/// Characters of one line of output that are kept for display.
pub const LINE_CHARS_MAX: usize = 256;

/// Any program (Nagios plugin API; watchdog(8), "Test Directory").
pub const SENSOR: Sensor = Sensor {
    name: "command",
    hardware: false,
    summary: "The verdict of a program of your own: a Nagios plugin, a watchdog.d script, or an exit code.",
    target: Target::Program,
    options: &[SensorOption {
        name: "protocol",
        meaning: "how to read the exit code: `nagios` (default; 0 ok, 1 warning, 2 critical, else unknown), \
                  `exit` (0 ok, else critical), or `watchdog-test` (run with `test`; 0 ok, 245 unknown, else critical)",
        example: "nagios",
        check: check_protocol,
    }],
    quantities: QUANTITIES,
    warn_when: &["status = warning"],
    fail_when: &["status = critical"],
    interval: Span::from_secs(60),
    fail_after: Span::ZERO,
    recover_after: Span::ZERO,
    discover: None,
    source: Source::Program(Program { arguments, judge }),
};

const QUANTITIES: &[Quantity] = &[
    Quantity {
        name: "status",
        unit: Unit::Word(&["ok", "warning", "critical"]),
        meaning: "what the program says; missing where it cannot say, crashed or ran too long",
    },
    Quantity {
        name: "exit-code",
        unit: Unit::Count,
        meaning: "its exit code; missing where it did not end by itself",
    },
    Quantity { name: "took", unit: Unit::Seconds, meaning: "how long it ran" },
];

/// How to read an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Nagios,
    Exit,
    WatchdogTest,
}

impl Protocol {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "nagios" => Some(Self::Nagios),
            "exit" => Some(Self::Exit),
            "watchdog-test" => Some(Self::WatchdogTest),
            _ => None,
        }
    }

    fn of(options: &Options) -> Self {
        options.get("protocol").and_then(Self::parse).unwrap_or(Self::Nagios)
    }

    /// The status of an exit code; `None` if it tells nothing.
    fn status(self, code: i32) -> Option<&'static str> {
        match (self, code) {
            (_, 0) => Some("ok"),
            (Self::Nagios, 1) => Some("warning"),
            (Self::Nagios, 2) => Some("critical"),
            // 245, EDONTKNOW of watchdog's watch_err.h: the test has no result yet.
            (Self::Nagios, _) | (Self::WatchdogTest, 245) => None,
            (Self::Exit | Self::WatchdogTest, _) => Some("critical"),
        }
    }
}

fn check_protocol(value: &str) -> Result<(), String> {
    match Protocol::parse(value) {
        Some(_) => Ok(()),
        None => Err("write \"nagios\", \"exit\" or \"watchdog-test\"".into()),
    }
}

fn arguments(target: &str, options: &Options) -> Result<Vec<String>, SensorError> {
    let mut arguments = split(target)?;
    if Protocol::of(options) == Protocol::WatchdogTest {
        arguments.push("test".into());
    }
    Ok(arguments)
}

/// The call that asks a watchdog.d script to repair what its test found: `PROG repair CODE`
/// (watchdog(8), "Test Directory"). Exit code 0 means that it did.
///
/// # Errors
/// [`SensorError::Target`] if the target is no list of arguments.
pub fn repair_arguments(target: &str, code: i32) -> Result<Vec<String>, SensorError> {
    let mut arguments = split(target)?;
    arguments.extend(["repair".into(), code.to_string()]);
    Ok(arguments)
}

fn split(target: &str) -> Result<Vec<String>, SensorError> {
    split_arguments(target).map_err(|reason| SensorError::Target {
        target: target.to_owned(),
        reason: reason.to_owned(),
    })
}

fn judge(finished: &Finished, options: &Options, out: &mut Readings) -> Result<(), SensorError> {
    out.span("took", finished.took);
    let said = said(&finished.output);
    let protocol = Protocol::of(options);
    match finished.end {
        End::Exit(code) => {
            out.count("exit-code", u64::from(code.unsigned_abs()));
            if let Some(status) = protocol.status(code) {
                out.word("status", status);
            }
            out.note = match (said.is_empty(), protocol) {
                (false, _) => Some(said.into()),
                (true, _) if code == 0 => None,
                (true, Protocol::WatchdogTest) => Some(watchdog_code(code).into()),
                (true, Protocol::Nagios | Protocol::Exit) => {
                    Some(format!("exit code {code} and no output").into())
                }
            };
        }
        End::Signal(signal) => {
            out.note = Some(with_reason(&format!("killed by signal {signal}"), &said))
        }
        End::TooLong => {
            let reason = format!("still running after {}, so it was killed", finished.took);
            out.note = Some(with_reason(&reason, &said));
        }
    }
    Ok(())
}

fn with_reason(reason: &str, said: &str) -> Box<str> {
    if said.is_empty() { reason.into() } else { format!("{reason}: {said}").into() }
}

/// The first line up to the bar, and the performance data behind the bar as a second line.
fn said(output: &str) -> String {
    let first = output.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let (text, performance) = first.split_once('|').unwrap_or((first, ""));
    let (text, performance) = (shown(text), shown(performance));
    if performance.is_empty() { text } else { format!("{text}\n{performance}") }
}

/// Text of a stranger, safe for a terminal and a log line.
pub(crate) fn shown(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(LINE_CHARS_MAX).collect()
}

/// The names of watchdog's own error codes (watch_err.h); below them a code is an `errno`.
fn watchdog_code(code: i32) -> String {
    let name = match code {
        245 => "no result yet",
        246 => "user-defined error",
        247 => "the test ran too long",
        248 => "the test was killed by a signal",
        249 => "wrong memory information",
        250 => "file not changed",
        251 => "no load average",
        252 => "too hot",
        253 => "load too high",
        254 => "asks for a hard reset",
        255 => "asks for a reboot",
        errno => return format!("code {errno}: {}", std::io::Error::from_raw_os_error(errno)),
    };
    format!("code {code}: {name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mastiff_core::reading::Value;

    fn judged(protocol: &str, end: End, output: &str) -> Readings {
        let options = Options([("protocol".to_owned(), protocol.to_owned())].into_iter().collect());
        let finished = Finished { end, output: output.to_owned(), took: Span::from_millis(1500) };
        let mut out = Readings::new(QUANTITIES);
        judge(&finished, &options, &mut out).expect("a judgement");
        assert_eq!(out.undeclared(), None);
        assert_eq!(out.get("took"), Some(&Value::Number(1.5)));
        out
    }

    #[test]
    fn exit_codes_by_protocol() {
        for (protocol, code, status) in [
            ("nagios", 0, Some("ok")),
            ("nagios", 1, Some("warning")),
            ("nagios", 2, Some("critical")),
            ("nagios", 3, None),
            ("nagios", 127, None),
            ("exit", 0, Some("ok")),
            ("exit", 1, Some("critical")),
            ("exit", 127, Some("critical")),
            ("watchdog-test", 0, Some("ok")),
            ("watchdog-test", 5, Some("critical")),
            ("watchdog-test", 245, None),
            ("watchdog-test", 255, Some("critical")),
        ] {
            let out = judged(protocol, End::Exit(code), "");
            let wanted = status.map(|status| Value::Word(status.into()));
            assert_eq!(out.get("status"), wanted.as_ref(), "{protocol} {code}");
            assert_eq!(out.get("exit-code"), Some(&Value::Number(f64::from(code))));
            assert_eq!(out.note.is_none(), code == 0, "{protocol} {code}: {:?}", out.note);
        }
    }

    #[test]
    fn a_crash_or_a_time_out_is_unknown_with_a_reason() {
        for (end, reason) in [(End::Signal(11), "signal 11"), (End::TooLong, "still running")] {
            for protocol in ["nagios", "exit", "watchdog-test"] {
                let out = judged(protocol, end, "half a li");
                assert_eq!(out.get("status"), None);
                assert_eq!(out.get("exit-code"), None);
                let note = out.note.expect("a reason");
                assert!(note.contains(reason) && note.ends_with("half a li"), "{note}");
            }
        }
    }

    #[test]
    fn output_is_cut_and_cleaned() {
        let out = judged("nagios", End::Exit(1), "\nDISK WARNING - 90% | '/'=90%;85;95\nmore\n");
        assert_eq!(out.note.as_deref(), Some("DISK WARNING - 90%\n'/'=90%;85;95"));
        let out =
            judged("nagios", End::Exit(2), &format!("\u{1b}[31mred\u{7}{}", "x".repeat(9999)));
        let note = out.note.expect("a line");
        assert!(note.starts_with("[31mred") && note.chars().count() == LINE_CHARS_MAX);
        let out = judged("watchdog-test", End::Exit(5), "");
        assert!(out.note.is_some_and(|note| note.starts_with("code 5: Input/output error")));
    }

    #[test]
    fn scripts_of_the_watchdog_are_called_as_they_expect() {
        let options =
            Options([("protocol".to_owned(), "watchdog-test".to_owned())].into_iter().collect());
        let script = "/etc/watchdog.d/net";
        let list = arguments(script, &options).expect("arguments");
        assert_eq!(list, [script, "test"]);
        let list = repair_arguments("/etc/watchdog.d/net 'a b'", 101).expect("arguments");
        assert_eq!(list, ["/etc/watchdog.d/net", "a b", "repair", "101"]);
        assert!(arguments("/bin/x 'y", &Options::default()).is_err());
    }
}
