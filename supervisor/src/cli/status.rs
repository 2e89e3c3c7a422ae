//! `mastiff status`: the daemon, its pair and every check, in a screenful.

use mastiff_core::health::Verdict;
use mastiff_core::view::{CheckView, PauseView};

use super::check::{headword, importance, is_paused_alone, key_values, reason};
use super::failure::Failure;
use super::print::{self, Out, Tone, counted, duration};
use super::table::{Cell, Table};
use super::{Context, unexpected};
use crate::control::{Answer, BootLoopStatus, Lateness, Request, Status};

pub(super) mod pair;

/// LSB: the program runs.
const LSB_RUNNING: u8 = 0;
/// LSB: the program does not run.
const LSB_NOT_RUNNING: u8 = 3;
/// LSB: nobody knows.
const LSB_UNKNOWN: u8 = 4;
/// A loop that woke up later than this is worth a line: a heartbeat of the fastest pair fits in it.
const LATE_MS: f64 = 100.0;
/// A keeper that has not reported for this long is stuck; it reports each second.
const KEEPER_SILENT_MS: f64 = 3000.0;
/// Counters that mean something went wrong, and what.
const COUNTERS_BAD: [(&str, &str); 7] = [
    ("alerts-dropped", "Alerts dropped, as too many waited"),
    ("alerts-waiting", "Alerts that wait to be delivered"),
    ("processes-stuck", "Processes stuck in the kernel now"),
    ("probers-abandoned", "Probers left behind, stuck in the kernel"),
    ("probers-died", "Probers that died and were started again"),
    ("log-lines-dropped", "Log lines dropped, as the journal did not take them"),
    ("requests-refused", "Requests refused on the control socket"),
];

/// Show the daemon, its pair and all checks, the worst ones first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code: 0 if the daemon runs, whatever its checks say. With -q, as LSB:
0 running, 3 not running, 4 unknown. For the verdict use `mastiff check`.")]
pub(super) struct Arguments {
    /// Print nothing; the exit code says it all
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let status = ask(context);
    if arguments.quiet {
        return Ok(match status {
            Ok(_) => LSB_RUNNING,
            Err(Failure::NotRunning(_)) => LSB_NOT_RUNNING,
            Err(_) => LSB_UNKNOWN,
        });
    }
    let mut status = status?;
    if context.json {
        print::print_json(&status)?;
    } else {
        status.checks.sort_by(|one, other| importance(one).cmp(&importance(other)));
        print::print(&render(&status, context.out))?;
    }
    Ok(LSB_RUNNING)
}

/// The daemon's status.
pub(super) fn ask(context: &Context) -> Result<Status, Failure> {
    match context.ask(&Request::Status {})? {
        Answer::Status(status) => Ok(*status),
        other => Err(unexpected(&other)),
    }
}

fn render(status: &Status, out: Out) -> String {
    let mut text = header(status, out);
    if let Some(pair) = &status.pair {
        text.push('\n');
        text.push_str(&pair::render(pair, &status.node, out));
    }
    if let Some(watchdog) = &status.watchdog {
        text.push('\n');
        text.push_str(&super::watchdog::sentence::line(watchdog, out));
    }
    if status.checks.is_empty() {
        text.push_str("\nNothing is watched: no check is configured, and none was found.\n");
    } else {
        text.push('\n');
        text.push_str(&table(&status.checks, out).render(out));
    }
    let notes = notes(status, out);
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(&notes);
    }
    text
}

/// Who it is, how it stands and since when.
fn header(status: &Status, out: Out) -> String {
    let verdict = headword(&status.checks, status.verdict, out);
    let node = print::clean(&status.node);
    let since = since(status).map(|secs| format!(" for {}", duration(secs))).unwrap_or_default();
    let ready = if status.ready { "" } else { " (starting: not every check has been read yet)" };
    let summary = out.wrap(&status.summary, 0);
    let about = format!(
        "mastiffd {}, pid {}, up {}, {}",
        status.version,
        status.pid,
        duration(status.up_secs),
        status.config
    );
    let mut text = format!("{} is {verdict}{since}{ready}\n", out.paint(Tone::Strong, &node));
    if !summary.is_empty() {
        text.push_str(&format!("{summary}\n"));
    }
    text.push_str(&format!("{}\n", out.paint(Tone::Dim, &out.fit(&about, 0))));
    text
}

/// Seconds since the node's verdict holds at least: since the first check that says so still does,
/// or, when all are healthy, since the last one became so.
fn since(status: &Status) -> Option<f64> {
    let counted = status.checks.iter().filter(|check| check.paused.is_none());
    let spans = counted.filter(|check| check.verdict == status.verdict).map(|check| check.for_secs);
    match status.verdict {
        Verdict::Rests | Verdict::Healthy => spans.reduce(f64::min),
        Verdict::Degraded | Verdict::Unknown | Verdict::Failed => spans.reduce(f64::max),
    }
}

fn table(checks: &[CheckView], out: Out) -> Table {
    let mut table = Table::new(0);
    table.head(&["CHECK", "VERDICT", "FOR", "WHY"]);
    for check in checks {
        table.row(vec![
            Cell::plain(&check.name),
            verdict_cell(check),
            Cell::plain(&duration(check.for_secs)),
            Cell::new(
                if check.verdict <= Verdict::Healthy { Tone::Dim } else { Tone::Plain },
                &why(check, out),
            ),
        ]);
    }
    table
}

fn verdict_cell(check: &CheckView) -> Cell {
    // The colour of a paused check is calm: somebody is at work on it.
    let tone = if check.paused.is_some() { Tone::Dim } else { Tone::of(check.verdict) };
    Cell::new(tone, check.verdict.word())
}

/// The reason, with what is done about it in front where the line may be cut behind; else the key
/// values.
fn why(check: &CheckView, out: Out) -> String {
    let mut parts = Vec::new();
    if is_paused_alone(check) {
        parts.push("paused".to_string());
    }
    if check.flapping {
        parts.push("flapping".to_string());
    }
    if !check.reason.is_empty() {
        parts.push(reason(check));
    } else {
        parts.push(key_values(check, out.width));
    }
    if let Some(ladder) = check.ladder.as_ref().filter(|ladder| ladder.due_in_secs.is_some()) {
        parts.push(ladder.now.clone());
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

fn notes(status: &Status, out: Out) -> String {
    let mut lines: Vec<String> = status.pauses.iter().map(pause_sentence).collect();
    lines.extend(status.trial_left_secs.map(trial));
    lines.extend(status.boot_loop.as_ref().and_then(boot_loop));
    lines.extend(lateness(&status.lateness));
    for (name, what) in COUNTERS_BAD {
        let count = status.counters.iter().find(|(counter, _)| counter == name);
        if let Some((_, count)) = count.filter(|(_, count)| *count > 0) {
            lines.push(format!("{what}: {count}"));
        }
    }
    lines.iter().map(|line| format!("{}\n", out.wrap(line, 0))).collect()
}

/// `web is paused for 12m more by root: new release`
pub(super) fn pause_sentence(pause: &PauseView) -> String {
    let what = pause.check.as_deref().unwrap_or("the whole node");
    let left = duration(pause.left_secs);
    format!("Paused: {what}, for {left} more, by {}: {}", pause.who, pause.why)
}

fn trial(left_secs: f64) -> String {
    format!(
        "The configuration is on trial: the former one is back in {}, unless `mastiff reload \
         --confirmed`.",
        duration(left_secs)
    )
}

fn boot_loop(guard: &BootLoopStatus) -> Option<String> {
    let BootLoopStatus { observes_only, resets, within_secs, calm_left_secs, .. } = guard;
    let calm = calm_left_secs.map_or_else(
        || "a while in which nothing is failed or unknown".to_string(),
        |left| format!("{} more without a failed or unknown check", duration(left)),
    );
    observes_only.then(|| {
        format!(
            "This boot observes only (boot-loop guard): {resets} resets of its own within {}. No \
             reboot, no reset, and no group is asked for, until {calm}, or \
             `mastiff resume --boot-loop-guard`.",
            duration(*within_secs)
        )
    })
}

fn lateness(lateness: &Lateness) -> Option<String> {
    if lateness.keeper_age_ms > KEEPER_SILENT_MS {
        let silent = duration(lateness.keeper_age_ms / 1000.0);
        return Some(format!("The keeper loop has not reported for {silent}: it may be stuck."));
    }
    (lateness.keeper_max_ms > LATE_MS).then(|| {
        format!(
            "The keeper loop woke up {:.0} ms late within the last minute (worst since the \
             start: {:.0} ms): the machine is short of CPU, or was suspended.",
            lateness.keeper_max_ms, lateness.keeper_worst_ms
        )
    })
}

/// `1 failed, 2 degraded, 14 healthy`; paused ones are counted apart.
pub(super) fn tally(checks: &[CheckView], out: Out) -> String {
    let mut parts = Vec::new();
    let all = [Verdict::Failed, Verdict::Degraded, Verdict::Unknown, Verdict::Healthy];
    for verdict in all.into_iter().chain([Verdict::Rests]) {
        let says = |check: &&CheckView| check.verdict == verdict && check.paused.is_none();
        let count = checks.iter().filter(says).count();
        if count > 0 {
            parts.push(out.paint(Tone::of(verdict), &format!("{count} {verdict}")));
        }
    }
    let paused = checks.iter().filter(|check| check.paused.is_some()).count();
    if paused > 0 {
        parts.push(format!("{paused} paused"));
    }
    if parts.is_empty() { counted(0, "check") } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::samples::{check, paused};

    fn status(checks: Vec<CheckView>) -> Status {
        Status {
            node: "db1".into(),
            version: "0.1.0".into(),
            pid: 412,
            up_secs: 266_400.0,
            config: "/etc/mastiff/mastiff.toml".into(),
            verdict: checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Healthy),
            summary: "1 of 2 checks failed: web".into(),
            ready: true,
            checks,
            pauses: Vec::new(),
            boot_loop: None,
            trial_left_secs: None,
            going: None,
            pair: None,
            watchdog: None,
            lateness: Lateness::default(),
            counters: vec![("events".into(), 12), ("alerts-dropped".into(), 0)],
        }
    }

    const TERMINAL: Out = Out { color: false, width: Some(80) };

    #[test]
    fn a_quiet_machine_has_a_quiet_status() {
        let text = render(&status(vec![check("load", Verdict::Healthy)]), TERMINAL);
        assert!(text.starts_with("db1 is healthy for 1m\n"), "{text}");
        assert_eq!(text.lines().count(), 6, "no notes, as nothing is wrong:\n{text}");
    }

    #[test]
    fn what_is_late_dropped_or_paused_is_said() {
        let mut status = status(vec![paused("web", Verdict::Failed)]);
        status.pauses = status.checks.iter().filter_map(|check| check.paused.clone()).collect();
        status.lateness.keeper_max_ms = 250.0;
        status.counters.push(("probers-abandoned".into(), 1));
        let text = render(&status, TERMINAL);
        for part in
            ["Paused: web, for 12m more, by root: new release", "250 ms late", "in the kernel: 1"]
        {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        status.lateness.keeper_age_ms = 60_000.0;
        assert!(render(&status, TERMINAL).contains("has not reported for 1m"));
    }

    #[test]
    fn a_boot_that_observes_only_says_what_ends_it() {
        let mut status = status(vec![check("load", Verdict::Healthy)]);
        let mut guard = BootLoopStatus {
            observes_only: false,
            resets: 2,
            resets_max: 3,
            within_secs: 3600.0,
            calm_left_secs: None,
        };
        status.boot_loop = Some(guard.clone());
        assert!(!render(&status, TERMINAL).contains("boot-loop"), "nothing is wrong");
        (guard.observes_only, guard.resets) = (true, 3);
        status.boot_loop = Some(guard.clone());
        let text = render(&status, TERMINAL).replace('\n', " ");
        assert!(text.contains("3 resets of its own within 1h"), "{text}");
        assert!(text.contains("until a while in which") && text.contains("--boot-loop-guard"));
        guard.calm_left_secs = Some(480.0);
        status.boot_loop = Some(guard);
        let text = render(&status, TERMINAL).replace('\n', " ");
        assert!(text.contains("until 8m more without"), "{text}");
    }

    #[test]
    fn every_line_fits_eighty_columns() {
        let mut long = check(
            "a check with a rather long name, longer than anyone would want",
            Verdict::Failed,
        );
        long.reason = "used > 95% (96.1%); ".repeat(20);
        let mut status = status(vec![long]);
        status.summary = "words and ".repeat(30);
        let text = render(&status, TERMINAL);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
