//! `mastiff check`: how the machine is now. It asks the daemon if one runs, and looks itself if
//! none does.

use mastiff_core::health::Verdict;
use mastiff_core::view::{CheckView, ValueView};

use super::failure::Failure;
use super::print::{self, Out, Tone, counted, duration};
use super::status::{self, tally};
use super::table::{Cell, Table};
use super::{Context, nagios};
use crate::oneshot::Which;

/// Values that are shown of a check on one line, however wide it is.
const VALUES_MAX: usize = 4;
/// Values that are shown where all of them are zeros and noes.
const DULL_VALUES_MAX: usize = 2;
/// Columns for the key values where the terminal is narrow.
const VALUES_COLUMNS_MIN: usize = 30;

/// Show how this machine is now, what is bad and why first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Asks the daemon if it runs; otherwise takes one reading of everything.
With one NAME, --nagios or --perfdata it prints what Nagios plugins print.

Exit code, as of Nagios plugins, by what needs most attention:
0 healthy, 1 degraded, 2 failed, 3 unknown. Paused checks do not count.

Examples:
  mastiff check                     everything
  mastiff check memory              one plugin line with performance data
  mastiff check filesystem          all checks of that sensor
  mastiff check --json              for programs")]
pub(super) struct Arguments {
    /// Only these checks, by name, target or sensor [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print as a Nagios plugin does
    #[arg(long)]
    nagios: bool,
    /// As --nagios, with performance data of every check
    #[arg(long)]
    perfdata: bool,
}

/// Where the checks come from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// The daemon on this node.
    Daemon { node: String, up_secs: f64 },
    /// Readings taken for this call.
    Here,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let plugin = arguments.nagios || arguments.perfdata || arguments.names.len() == 1;
    let plugin = plugin && !context.json;
    let gathered = gather(context, &arguments.names);
    let (source, mut checks) = match gathered {
        Ok(gathered) => gathered,
        // A monitoring server shows the first line of the standard output, and knows only the codes
        // 0 to 3.
        Err(failure) if plugin => {
            print::print(&nagios::unknown(&failure.to_string()))?;
            return Ok(Verdict::Unknown.nagios());
        }
        Err(failure) => return Err(failure),
    };
    checks.sort_by(|one, other| importance(one).cmp(&importance(other)));
    let printed = if context.json {
        print::print_json(&checks)
    } else if plugin {
        print::print(&nagios::render(&checks, arguments.perfdata))
    } else {
        print::print(&render(&source, &mastiff_hwmon::host::describe(), &checks, context.out))
    };
    match printed {
        // The verdict is as it is, even if nobody reads to the end.
        Ok(()) | Err(Failure::ReaderGone) => Ok(overall(&checks).nagios()),
        Err(failure) => Err(failure),
    }
}

/// From the daemon, or from the machine if no daemon runs or the caller may not ask it.
fn gather(context: &Context, names: &[String]) -> Result<(Source, Vec<CheckView>), Failure> {
    let (source, checks) = match status::ask(context) {
        Ok(status) => {
            (Source::Daemon { node: status.node, up_secs: status.up_secs }, status.checks)
        }
        Err(Failure::NotRunning(_) | Failure::Permission(_)) => {
            context.load()?;
            let which = Which::Named(names);
            let checks = (context.run_checks)(&context.config, context.named, &which)
                .map_err(|why| Failure::Unavailable(format!("cannot run the checks: {why}")))?;
            (Source::Here, checks)
        }
        Err(failure) => return Err(failure),
    };
    select(checks, names).map(|checks| (source, checks))
}

/// The checks that are named; all without names.
fn select(checks: Vec<CheckView>, names: &[String]) -> Result<Vec<CheckView>, Failure> {
    if names.is_empty() {
        return Ok(checks);
    }
    for name in names {
        if !checks.iter().any(|check| is_named(check, name)) {
            return Err(Failure::Usage(no_such_check(name, &checks)));
        }
    }
    let wanted = |check: &CheckView| names.iter().any(|name| is_named(check, name));
    // A name that is one check's own means that check only, whatever else has it as a sensor.
    let own = |name: &String| checks.iter().any(|check| check.name == *name);
    let exact = names.iter().all(own);
    Ok(checks
        .iter()
        .filter(|check| if exact { names.contains(&check.name) } else { wanted(check) })
        .cloned()
        .collect())
}

fn is_named(check: &CheckView, name: &str) -> bool {
    check.name == name || check.sensor == name || (!name.is_empty() && check.target == name)
}

/// What to say of a name that no check has.
pub(super) fn no_such_check(name: &str, checks: &[CheckView]) -> String {
    let typed = print::clean(name);
    match print::nearest(name, checks.iter().map(|check| &*check.name)) {
        Some(near) => format!("no check is called \"{typed}\"; did you mean \"{near}\"?"),
        None => format!("no check is called \"{typed}\"; `mastiff status` lists all of them"),
    }
}

/// What comes first: bad ones, unknown ones, paused ones that are not well, and good ones; then by
/// name.
pub(super) fn importance(check: &CheckView) -> (u8, &str) {
    let rank = match (check.verdict, check.paused.is_some()) {
        (Verdict::Failed, false) => 0,
        (Verdict::Degraded, false) => 1,
        (Verdict::Unknown, false) => 2,
        (Verdict::Failed | Verdict::Degraded | Verdict::Unknown, true) => 3,
        (Verdict::Healthy, _) => 4,
        (Verdict::Rests, _) => 5,
    };
    (rank, &check.name)
}

/// The verdict of the checks that are not paused. Where there are none, nothing is known.
pub(super) fn overall(checks: &[CheckView]) -> Verdict {
    match checks.iter().filter(|check| check.paused.is_none()).map(|check| check.verdict).max() {
        Some(verdict) => verdict.max(Verdict::Healthy),
        None if checks.is_empty() => Verdict::Unknown,
        None => Verdict::Healthy,
    }
}

/// The verdict of all checks for people. Where all of them are paused nobody is to be alarmed, but
/// "healthy" would be a lie.
pub(super) fn headword(checks: &[CheckView], verdict: Verdict, out: Out) -> String {
    if !checks.is_empty() && checks.iter().all(|check| check.paused.is_some()) {
        return out.paint(Tone::Strong, "paused");
    }
    out.paint(Tone::of(verdict), verdict.word())
}

/// Paused by a pause of its own. That of the whole node is said once, not for each check.
pub(super) fn is_paused_alone(check: &CheckView) -> bool {
    check.paused.as_ref().is_some_and(|pause| pause.check.is_some())
}

fn render(source: &Source, host: &str, checks: &[CheckView], out: Out) -> String {
    let who = match source {
        Source::Daemon { node, .. } => print::clean(node),
        Source::Here => "This machine".to_string(),
    };
    let mut text = format!(
        "{} is {}: {}\n{}\n\n",
        out.paint(Tone::Strong, &who),
        headword(checks, overall(checks), out),
        tally(checks, out),
        out.paint(Tone::Dim, &out.wrap(host, 0)),
    );
    text.push_str(&table(source, checks, out).render(out));
    text.push('\n');
    for line in footer(source, checks) {
        text.push_str(&out.paint(Tone::Dim, &out.wrap(&line, 0)));
        text.push('\n');
    }
    text
}

fn table(source: &Source, checks: &[CheckView], out: Out) -> Table {
    let mut table = Table::new(0);
    // Verdict, name and gaps take about half a narrow terminal.
    let room = out.width.map(|width| (width / 2).max(VALUES_COLUMNS_MIN));
    for check in checks {
        let paused = if is_paused_alone(check) { "paused; " } else { "" };
        let values = key_values(check, room);
        let calm = check.verdict <= Verdict::Healthy || check.paused.is_some();
        let tone = if check.paused.is_some() { Tone::Dim } else { Tone::of(check.verdict) };
        let words = match (check.verdict, source) {
            (Verdict::Healthy, _) => values,
            (Verdict::Rests, _) => reason(check),
            (_, Source::Daemon { .. }) => {
                format!("{}, for {}", reason(check), duration(check.for_secs))
            }
            (_, Source::Here) => reason(check),
        };
        let tone_of_words = if calm { Tone::Dim } else { Tone::Plain };
        let last = Cell::new(tone_of_words, &format!("{paused}{words}"));
        table.row(vec![
            Cell::new(tone, check.verdict.word()),
            Cell::new(if calm { Tone::Plain } else { Tone::Strong }, &check.name),
            // Why something is bad is what was asked for, so it is shown to its end.
            if calm { last } else { last.wrapped() },
        ]);
    }
    table
}

/// Where the readings come from, and what to type next.
fn footer(source: &Source, checks: &[CheckView]) -> Vec<String> {
    let count = counted(checks.len(), "check");
    match source {
        Source::Daemon { up_secs, .. } => {
            let mut lines =
                vec![format!("{count}, watched by mastiffd for {}.", duration(*up_secs))];
            let worst = checks.first().filter(|check| check.verdict > Verdict::Healthy);
            lines.extend(
                worst.map(|check| format!("More: mastiff explain {}", quoted(&check.name))),
            );
            lines
        }
        Source::Here => vec![
            format!("{count}, read once, since mastiffd is not running or not for you to ask."),
            "To keep watching: systemctl enable --now mastiff".to_string(),
        ],
    }
}

/// A name as a shell takes it.
pub(super) fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:@".contains(c);
    if !name.is_empty() && name.chars().all(plain) {
        name.to_string()
    } else {
        format!("'{}'", name.replace('\'', "'\\''"))
    }
}

/// Why a check says what it says. One that is unknown only because it has not been bad for long
/// enough says what is bad: that is what a person wants to know.
pub(super) fn reason(check: &CheckView) -> String {
    let Some(tendency) = check.tendency.as_ref().filter(|_| check.verdict == Verdict::Unknown)
    else {
        return check.reason.clone();
    };
    let holding = check.conditions.iter().filter(|condition| condition.holds == Some(true));
    let holding: Vec<String> =
        holding.map(|condition| format!("{} ({})", condition.text, condition.value)).collect();
    if holding.is_empty() {
        return check.reason.clone();
    }
    format!("{}; believed in {}", holding.join("; "), duration(tendency.believed_in_secs))
}

/// The values that say most: first those that a condition looks at, then others; no zeros and noes
/// while there is something better. As many as fit in `room` columns.
pub(super) fn key_values(check: &CheckView, room: Option<usize>) -> String {
    let watched = |value: &ValueView| {
        let names = |text: &str| {
            text.split(|c: char| c.is_whitespace() || "<>=!".contains(c)).next()
                == Some(&value.name)
        };
        check.conditions.iter().any(|condition| names(&condition.text))
    };
    let dull =
        |value: &ValueView| matches!(&*value.shown, "none" | "no" | "0" | "unknown" | "" | "0s");
    let mut values: Vec<&ValueView> = check.values.iter().collect();
    values.sort_by_key(|value| (dull(value), !watched(value)));
    if values.iter().any(|value| !dull(value)) {
        values.retain(|value| !dull(value));
    } else {
        values.truncate(DULL_VALUES_MAX);
    }
    let mut text = String::new();
    for value in values.into_iter().take(VALUES_MAX) {
        let part = format!("{} {}", value.name, value.shown);
        let used = text.chars().count();
        if used > 0 && room.is_some_and(|room| used + 2 + part.chars().count() > room) {
            break;
        }
        if used > 0 {
            text.push_str(", ");
        }
        text.push_str(&part);
    }
    text
}

#[cfg(test)]
pub(super) mod samples;
#[cfg(test)]
mod tests;
