//! `mastiff events`: what happened, and with `-f` what happens. Those of earlier boots are in the
//! flight record (`recorded`).

use super::failure::Failure;
use super::print::{self, Out, Tone};
use super::{Context, unexpected};
use crate::control::{Answer, EventView, Request};
use crate::sys::local_time::local_time;

mod recorded;

/// Events shown unless asked for more or less.
const LAST_DEFAULT: usize = 20;
/// Columns of the severity: the longest is `warning`.
const SEVERITY_COLUMNS: usize = 7;

/// Show what happened, and with -f what happens
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json each event is one line. With -f it ends when the daemon goes,
with exit code 69. --boot and --all read the flight record: they work while
the daemon is dead, need root, and say how each boot ended.

Examples:
  mastiff events -n 100
  mastiff events --boot -1            the boot before this one
  mastiff events -f --json | jq 'select(.kind == \"verdict\")'")]
pub(super) struct Arguments {
    /// How many of the newest [default: 20]
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
    /// Then print each new one as it happens
    #[arg(short, long)]
    follow: bool,
    /// Of this boot (0), or of one before (-1, -2, ...)
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = boot_back)]
    #[arg(conflicts_with_all = ["follow", "all"])]
    boot: Option<usize>,
    /// Of all boots that are recorded
    #[arg(long, conflicts_with = "follow")]
    all: bool,
}

/// `0` is this boot, `-1` is one boot back.
fn boot_back(text: &str) -> Result<usize, String> {
    if text == "0" { Ok(0) } else { super::why::boot_back(text) }
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    if arguments.all || arguments.boot.is_some() {
        return recorded::run(context, arguments.boot, arguments.last);
    }
    let mut client = context.connect()?;
    let last = arguments.last.unwrap_or(LAST_DEFAULT);
    let first = client.ask(&Request::Events { last: Some(last), follow: arguments.follow })?;
    show(context, first)?;
    if !arguments.follow {
        return Ok(0);
    }
    while let Some(answer) = client.follow(std::io::stdout())? {
        show(context, answer)?;
    }
    Err(Failure::Unavailable(
        "mastiffd has gone, so no more events come; see `systemctl status mastiff`".into(),
    ))
}

fn show(context: &Context, answer: Answer) -> Result<(), Failure> {
    let events = match answer {
        Answer::Events(events) => events,
        Answer::Event(event) => vec![event],
        other => return Err(unexpected(&other)),
    };
    let mut text = String::new();
    for event in &events {
        if context.json {
            let line = serde_json::to_string(event)
                .map_err(|error| Failure::Bug(format!("cannot write JSON: {error}")))?;
            text.push_str(&line);
        } else {
            text.push_str(&line(event, context.out));
        }
        text.push('\n');
    }
    print::print(&text)
}

/// When it was, as the clock on the wall has it.
pub(super) fn moment(event: &EventView) -> String {
    let at = i64::try_from(event.at_unix_ms / 1000).ok().and_then(local_time);
    at.unwrap_or_else(|| "at an unknown time".into())
}

/// `2026-11-21 03:12:45  warning  web has failed: trying "restart"`, wrapped under the text.
fn line(event: &EventView, out: Out) -> String {
    let tone = match &*event.severity {
        "error" => Tone::Bad,
        "warning" => Tone::Warning,
        "notice" => Tone::Plain,
        _ => Tone::Dim,
    };
    let at = moment(event);
    let severity = print::cut(&print::clean(&event.severity), SEVERITY_COLUMNS);
    let indent = at.chars().count() + 2 + SEVERITY_COLUMNS + 2;
    let blanks = " ".repeat(SEVERITY_COLUMNS.saturating_sub(severity.chars().count()) + 2);
    let at = out.paint(Tone::Dim, &at);
    format!("{at}  {}{blanks}{}", out.paint(tone, &severity), out.wrap(&event.text, indent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(severity: &str, text: &str) -> EventView {
        EventView {
            seq: 1,
            at_unix_ms: 1_700_000_000_000,
            kind: "verdict".into(),
            severity: severity.into(),
            check: None,
            text: text.into(),
        }
    }

    #[test]
    fn a_long_text_goes_on_under_itself() {
        let out = Out { color: false, width: Some(60) };
        let text = line(&event("warning", &"word ".repeat(20)), out);
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        assert!(
            text.lines().nth(1).unwrap().starts_with(&format!("{}word", " ".repeat(30))),
            "{text}"
        );
    }

    #[test]
    fn a_text_from_outside_cannot_drive_the_terminal() {
        let out = Out { color: false, width: None };
        let text = line(&event("\x1b[31m", "evil\x1b]0;title\x07\nforged line"), out);
        assert!(!text.contains('\x1b') && !text.contains('\n'), "{text:?}");
    }
}
