//! `mastiff explain NAME`: everything about one check or one group, in sentences, and what happens
//! next.

use mastiff_core::health::Verdict;
use mastiff_core::view::{CheckView, ConditionView, LadderView, RungView};

use super::check::no_such_check;
use super::failure::Failure;
use super::print::{self, Out, Tone, clean, duration};
use super::status::{self, pause_sentence};
use super::table::{Cell, Table};
use super::{Context, unexpected};
use crate::control::{Answer, Request};

mod group;

/// Blanks before what stands under a heading.
const INDENT: usize = 2;

/// Explain one check or group: why it is so, and what happens next
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  mastiff explain 'filesystem /'

A group of that name is explained where no check has it: why this node is
what it is for the group, and what would happen if its owner fell silent.")]
pub(super) struct Arguments {
    /// The check or the group, as `mastiff status` calls it
    #[arg(value_name = "NAME")]
    check: String,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let request = Request::Explain { check: arguments.check.clone() };
    match context.ask(&request)? {
        Answer::Check(check) if context.json => print::print_json(&check)?,
        Answer::Check(check) => print::print(&render(&check, context.out))?,
        Answer::Error(_) => {
            // The daemon says that there is none of this name; only the list knows one that is
            // near.
            let status = status::ask(context)?;
            if group::explain(context, &status, &arguments.check)? {
                return Ok(0);
            }
            return Err(Failure::Usage(no_such_check(&arguments.check, &status.checks)));
        }
        other => return Err(unexpected(&other)),
    }
    Ok(0)
}

fn render(check: &CheckView, out: Out) -> String {
    let mut text = headline(check, out);
    paragraph(&mut text, out, &what_it_is(check));
    if let Some(pause) = &check.paused {
        let sentence = format!(
            "{}. It is read and shown, but nobody is alerted and no recovery step starts.",
            pause_sentence(pause)
        );
        paragraph(&mut text, out, &sentence);
    }
    section(&mut text, out, "Values", &values(check).render(out));
    section(&mut text, out, "Conditions", &conditions(check, out));
    section(&mut text, out, "If it stays failed", &ladder(check, out));
    section(&mut text, out, "What happens next", &indented(&next(check), out));
    text
}

fn headline(check: &CheckView, out: Out) -> String {
    let name = clean(&check.name);
    let verdict = out.paint(Tone::of(check.verdict), check.verdict.word());
    let mut line = format!(
        "{} is {verdict}, for {}.\n",
        out.paint(Tone::Strong, &name),
        duration(check.for_secs)
    );
    if !check.reason.is_empty() {
        line.push_str(&out.wrap(&format!("Why: {}", check.reason), 0));
        line.push('\n');
    }
    let said = check.note.as_deref().filter(|note| !check.reason.contains(note));
    if let Some(note) = said.filter(|note| !note.is_empty()) {
        line.push_str(&out.wrap(&format!("The sensor adds: {note}"), 0));
        line.push('\n');
    }
    line
}

fn what_it_is(check: &CheckView) -> String {
    let target = match &*check.target {
        "" => "this machine".to_string(),
        target => target.to_string(),
    };
    let origin = if check.discovered {
        "found on this machine; no configuration names it"
    } else {
        "written in the configuration"
    };
    let read = match check.reading_age_secs {
        Some(age) => format!("last {} ago", duration(age)),
        None => "not yet".to_string(),
    };
    let mut text = format!(
        "The sensor {} reads {target} every {}, {read}. The check is {origin}.",
        check.sensor,
        duration(check.interval_secs)
    );
    if check.flapping {
        text.push_str(
            " It changes so often that single changes are not alerted until it is calm again.",
        );
    }
    text
}

fn values(check: &CheckView) -> Table {
    let mut table = Table::new(INDENT);
    for value in &check.values {
        let (tone, shown) = match value.shown.as_str() {
            "unknown" if is_asked_for(check, &value.name) => (Tone::Unknown, "unknown"),
            // The daemon leaves out what would cost something and decides nothing.
            "unknown" => (Tone::Dim, "not read, since no condition asks for it"),
            shown => (Tone::Plain, shown),
        };
        table.row(vec![Cell::plain(&value.name), Cell::new(tone, shown)]);
    }
    table
}

fn is_asked_for(check: &CheckView, quantity: &str) -> bool {
    let names = |text: &str| {
        let rest = text.strip_prefix(quantity);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-'))
    };
    check.conditions.iter().any(|condition| names(&condition.text))
}

fn conditions(check: &CheckView, out: Out) -> String {
    if check.conditions.is_empty() {
        let none = "None: it only shows its values, and is healthy while they can be read.";
        return indented(&[none.to_string()], out);
    }
    let mut table = Table::new(INDENT);
    for condition in &check.conditions {
        table.row(condition_row(condition));
    }
    let mut text = table.render(out);
    text.push('\n');
    text.push_str(&indented(&[patience(check)], out));
    text
}

fn condition_row(condition: &ConditionView) -> Vec<Cell> {
    let (tone, word) = match condition.holds {
        Some(true) => (Tone::of(condition.leads_to), "holds"),
        Some(false) => (Tone::Good, "does not hold"),
        None => (Tone::Unknown, "cannot be judged"),
    };
    let value = match &*condition.value {
        "" => String::new(),
        value => format!("(it is {value})"),
    };
    vec![
        Cell::new(
            Tone::Dim,
            if condition.leads_to == Verdict::Failed { "failed if" } else { "degraded if" },
        ),
        Cell::plain(&condition.text),
        Cell::new(tone, word),
        Cell::plain(&value),
    ]
}

/// How long something must last before it is believed.
fn patience(check: &CheckView) -> String {
    let bad = match check.fail_after_secs {
        secs if secs <= 0.0 => "A bad reading is believed at once".to_string(),
        secs => format!("Bad readings are believed after {}", duration(secs)),
    };
    let good = match check.recover_after_secs {
        secs if secs <= 0.0 => "a better one at once".to_string(),
        secs => format!("better ones after {}", duration(secs)),
    };
    format!("{bad}, {good}. A missing reading makes it unknown.")
}

fn ladder(check: &CheckView, out: Out) -> String {
    let Some(ladder) = &check.ladder else {
        return indented(&["Nothing is done: it has no on-fail. It only reports.".into()], out);
    };
    let mut table = Table::new(INDENT);
    for (index, rung) in ladder.rungs.iter().enumerate() {
        table.row(vec![
            Cell::new(Tone::Dim, &format!("{}.", index + 1)),
            Cell::plain(&rung.text),
            Cell::new(Tone::Dim, &budget(rung)),
        ]);
    }
    table.render(out)
}

fn budget(rung: &RungView) -> String {
    let used = match rung.used {
        0 => "not used".to_string(),
        1 => "used once".to_string(),
        2 => "used twice".to_string(),
        times => format!("used {times} times"),
    };
    format!("at most {}, {used}", rung.budget)
}

/// What will happen, as far as it can be said.
fn next(check: &CheckView) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(tendency) = &check.tendency {
        let becomes = match &*tendency.reading {
            "good" => "healthy",
            "failed" => "failed",
            _ => "degraded",
        };
        lines.push(format!(
            "The newest reading is {}. If it stays so, the check becomes {becomes} in {}.",
            tendency.reading,
            duration(tendency.believed_in_secs)
        ));
    }
    match (&check.paused, &check.ladder) {
        (Some(pause), Some(_)) => {
            let left = duration(pause.left_secs);
            lines.push(format!("No recovery step starts while it is paused, {left} more."));
        }
        (_, Some(ladder)) => lines.extend(ladder_next(check, ladder)),
        (_, None) => {}
    }
    if lines.is_empty() {
        lines.push(match check.verdict {
            Verdict::Rests => "It is read again when its group is active here.".into(),
            Verdict::Healthy => {
                format!("It is read again within {}.", duration(check.interval_secs))
            }
            Verdict::Unknown => {
                "Nothing is done on a guess: it stays unknown until it can be read again.".into()
            }
            Verdict::Degraded | Verdict::Failed => {
                format!(
                    "It stays so until it is better for {}.",
                    duration(check.recover_after_secs)
                )
            }
        });
    }
    lines
}

fn ladder_next(check: &CheckView, ladder: &LadderView) -> Option<String> {
    let Some(due) = ladder.due_in_secs else {
        let first = ladder.rungs.first()?;
        return (check.verdict > Verdict::Healthy).then(|| {
            format!("Once it is confirmed as failed, \"{}\" is tried first.", first.text)
        });
    };
    Some(format!(
        "Recovery: {}; the next decision is due in {}. It is never given up.",
        ladder.now,
        duration(due)
    ))
}

fn section(text: &mut String, out: Out, title: &str, body: &str) {
    if !body.is_empty() {
        text.push_str(&format!("\n{}\n{body}", out.paint(Tone::Strong, title)));
    }
}

fn paragraph(text: &mut String, out: Out, words: &str) {
    text.push_str(&out.wrap(words, 0));
    text.push('\n');
}

fn indented(lines: &[String], out: Out) -> String {
    let blanks = " ".repeat(INDENT);
    lines.iter().map(|line| format!("{blanks}{}\n", out.wrap(line, INDENT))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::samples::{check, paused};
    use mastiff_core::view::Tendency;

    const TERMINAL: Out = Out { color: false, width: Some(80) };

    fn restarting() -> CheckView {
        let rung =
            |text: &str, used| RungView { text: text.into(), budget: "3 in 10m".into(), used };
        CheckView {
            ladder: Some(LadderView {
                rungs: vec![rung("restart", 2), rung("run /usr/local/sbin/page", 0)],
                now: "waits 40s (back-off after round 3)".into(),
                due_in_secs: Some(40.0),
            }),
            ..check("web", Verdict::Failed)
        }
    }

    #[test]
    fn it_says_why_what_holds_and_what_happens_next() {
        let text = render(&restarting(), TERMINAL);
        for part in [
            "web is failed, for 1m.\nWhy: used > 95% (96.1%)\n",
            "failed if    used > 95%  holds          (it is 96.1%)",
            "1.  restart                   at most 3 in 10m, used twice",
            "waits 40s (back-off after round 3); the next decision is due in 40s",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn a_tendency_and_a_pause_are_said() {
        let mut calm = paused("web", Verdict::Failed);
        calm.ladder = restarting().ladder;
        calm.tendency = Some(Tendency { reading: "good".into(), believed_in_secs: 12.0 });
        let text = render(&calm, TERMINAL);
        assert!(text.contains("the check becomes healthy in 12s"), "{text}");
        assert!(text.contains("No recovery step starts while it is paused, 12m more."), "{text}");
        assert!(!text.contains("next decision"), "{text}");
    }

    #[test]
    fn an_unknown_check_promises_nothing() {
        let text = render(&check("time", Verdict::Unknown), TERMINAL);
        assert!(text.contains("Nothing is done on a guess"), "{text}");
    }
}
