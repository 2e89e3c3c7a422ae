//! What a Nagios plugin prints: `STATUS - text | 'label'=value[unit];warn;crit;min;max`
//! (Nagios plugin development guidelines, sections "plugin output" and "performance data").

use mastiff_core::condition::parse_bytes;
use mastiff_core::health::Verdict;
use mastiff_core::time::Span;
use mastiff_core::view::{CheckView, ConditionView, ValueView};

use super::check::{key_values, overall, reason};
use super::print::{Out, clean, duration};
use super::status::tally;

const PLAIN: Out = Out { color: false, width: None };

/// The status word of a verdict.
const fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Rests | Verdict::Healthy => "OK",
        Verdict::Degraded => "WARNING",
        Verdict::Failed => "CRITICAL",
        Verdict::Unknown => "UNKNOWN",
    }
}

/// The line for what could not be checked at all.
pub(super) fn unknown(why: &str) -> String {
    format!("{} - {}\n", word(Verdict::Unknown), text(why))
}

/// One line; for several checks a further one for each that is not well ("long output").
/// Performance data are those of a single check, or of all where asked for: a server stores a file
/// for each value.
pub(super) fn render(checks: &[CheckView], perfdata_of_all: bool) -> String {
    let status = word(overall(checks));
    let mut first = match checks {
        [only] => format!("{status} - {}", sentence(only)),
        _ => format!("{status} - {}", tally(checks, PLAIN)),
    };
    let single = checks.len() == 1;
    if single || perfdata_of_all {
        let data: Vec<String> = checks.iter().flat_map(|check| perfdata(check, !single)).collect();
        if !data.is_empty() {
            first.push_str(" | ");
            first.push_str(&data.join(" "));
        }
    }
    first.push('\n');
    if !single {
        for check in checks.iter().filter(|check| check.verdict > Verdict::Healthy) {
            first.push_str(&format!("{} - {}\n", word(check.verdict), sentence(check)));
        }
    }
    first
}

fn sentence(check: &CheckView) -> String {
    let why = if check.reason.is_empty() { key_values(check, None) } else { reason(check) };
    let note = check.note.as_deref().filter(|note| !why.contains(note)).unwrap_or_default();
    let mut words = check.name.clone();
    if let Some(pause) = &check.paused {
        let left = duration(pause.left_secs);
        words.push_str(&format!(" is paused for {left} more ({}), {}", pause.why, check.verdict));
    }
    for part in [&*why, note].into_iter().filter(|part| !part.is_empty()) {
        words.push_str(": ");
        words.push_str(part);
    }
    text(&words)
}

/// A bar ends the text of a plugin, so none may be in it.
fn text(words: &str) -> String {
    clean(words).replace('|', "/")
}

/// The numbers of a check; `prefixed` with its name where there are others.
fn perfdata(check: &CheckView, prefixed: bool) -> Vec<String> {
    let item = |value: &ValueView| {
        let number = value.number?;
        let label =
            if prefixed { format!("{} {}", check.name, value.name) } else { value.name.clone() };
        let (suffix, scale, min, max) = scale(&value.unit)?;
        let limit = |verdict| {
            let found = check.conditions.iter().filter(|one| one.leads_to == verdict);
            found.into_iter().find_map(|one| range(one, value, scale)).unwrap_or_default()
        };
        Some(format!(
            "'{}'={}{suffix};{};{};{min};{max}",
            clean(&label).replace('\'', "''").replace(['=', '|'], "_"),
            plain(number * scale),
            limit(Verdict::Degraded),
            limit(Verdict::Failed),
        ))
    };
    check.values.iter().filter_map(item).collect()
}

/// Unit of measurement, factor, least and greatest value. The guidelines know `s`, `%`, `B`, `c`
/// and none.
fn scale(unit: &str) -> Option<(&'static str, f64, &'static str, &'static str)> {
    Some(match unit {
        "ratio" => ("%", 100.0, "0", "100"),
        "bytes" => ("B", 1.0, "0", ""),
        "seconds" => ("s", 1.0, "", ""),
        "total" => ("c", 1.0, "0", ""),
        "flag" => ("", 1.0, "0", "1"),
        "celsius" => ("", 1.0, "", ""),
        "word" => return None,
        _ => ("", 1.0, "0", ""),
    })
}

/// A condition as a threshold range: `95` alerts above 95, `10:` below 10. None for conditions that
/// are no such limit (`= 3`, `> 3 in 10m`, flags).
fn range(condition: &ConditionView, value: &ValueView, scale: f64) -> Option<String> {
    let rest = condition.text.trim().strip_prefix(&*value.name)?.trim_start();
    let above = rest.starts_with('>');
    let limit = rest.strip_prefix(['>', '<'])?;
    let limit = limit.strip_prefix('=').unwrap_or(limit).trim();
    if limit.contains(" in ") {
        return None;
    }
    let number = match &*value.unit {
        "ratio" => match limit.strip_suffix('%') {
            Some(percent) => percent.trim().parse().ok()?,
            None => limit.parse::<f64>().ok()? * scale,
        },
        "bytes" | "bytes/s" => parse_bytes(limit.strip_suffix("/s").unwrap_or(limit))?,
        "seconds" => Span::parse(limit).ok()?.as_secs_f64(),
        "celsius" => limit.trim_end_matches(['C', '°', ' ']).parse().ok()?,
        _ => limit.strip_suffix("/s").unwrap_or(limit).parse().ok()?,
    };
    // `~:` is the start at minus infinity; a bare number would alert below zero, too.
    let from = if matches!(&*value.unit, "celsius" | "seconds") { "~:" } else { "" };
    Some(if above { format!("{from}{}", plain(number)) } else { format!("{}:", plain(number)) })
}

/// A number without an exponent, with no more digits than mean something.
fn plain(number: f64) -> String {
    let text = format!("{number:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_string() } else { text.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::samples::{check, paused};

    #[test]
    fn one_check_is_one_line_with_its_numbers_and_limits() {
        assert_eq!(
            render(&[check("filesystem /srv", Verdict::Failed)], false),
            "CRITICAL - filesystem /srv: used > 95% (96.1%) | 'read-only'=0;;;0;1 \
             'free'=3650722201B;;;0; 'used'=96.1%;85;95;0;100\n"
        );
    }

    #[test]
    fn several_checks_are_a_tally_and_a_line_for_each_that_is_not_well() {
        let checks = [check("a", Verdict::Failed), check("b", Verdict::Healthy)];
        assert_eq!(
            render(&checks, false),
            "CRITICAL - 1 failed, 1 healthy\nCRITICAL - a: used > 95% (96.1%)\n"
        );
        assert!(
            render(&checks, true).lines().next().unwrap().contains("'b used'=96.1%;85;95;0;100")
        );
    }

    #[test]
    fn nothing_in_a_text_ends_it_early() {
        let mut strange = check("it's | odd", Verdict::Failed);
        strange.reason = "a | b\nc".into();
        let line = render(&[strange.clone()], false);
        assert_eq!(line.matches('|').count(), 1, "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        let both = render(&[strange.clone(), strange], true);
        assert!(both.contains("'it''s _ odd used'="), "{both}");
    }

    #[test]
    fn a_paused_check_is_ok_and_says_that_it_is_paused() {
        let line = render(&[paused("web", Verdict::Failed)], false);
        assert!(
            line.starts_with("OK - web is paused for 12m more (new release), failed: used"),
            "{line}"
        );
    }

    #[test]
    fn conditions_become_ranges_only_where_they_are_limits() {
        let value = |unit: &str| ValueView {
            name: "x".into(),
            unit: unit.into(),
            number: Some(1.0),
            shown: "1".into(),
        };
        let range = |text: &str, unit: &str| {
            let condition = ConditionView {
                text: text.into(),
                leads_to: Verdict::Failed,
                holds: None,
                value: String::new(),
            };
            super::range(&condition, &value(unit), if unit == "ratio" { 100.0 } else { 1.0 })
        };
        assert_eq!(range("x > 95%", "ratio").as_deref(), Some("95"));
        assert_eq!(range("x >= 0.5", "ratio").as_deref(), Some("50"));
        assert_eq!(range("x < 10GiB", "bytes").as_deref(), Some("10737418240:"));
        assert_eq!(range("x > 1min 30s", "seconds").as_deref(), Some("~:90"));
        assert_eq!(range("x > 90C", "celsius").as_deref(), Some("~:90"));
        for no_limit in ["x > 3 in 10m", "x = 3", "x != 3", "x", "xy > 3", "x > many"] {
            assert_eq!(range(no_limit, "count"), None, "{no_limit}");
        }
    }
}
