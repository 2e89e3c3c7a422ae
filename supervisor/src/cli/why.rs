//! `mastiff why`: why this machine rebooted, in one sentence, and what that rests on.
//!
//! | file | idea |
//! |---|---|
//! | `evidence` | gathers what there is, without the daemon |
//! | `boots`, `wtmp`, `traces` | the flight record, logins, what a panic left |
//! | `judge` | the rules |
//! | `silence` | what the time without records fits: a hang, or a dead root disk |
//! | `facts` | the evidence in the terms of the rules, and in those of people |

use std::io;
use std::path::PathBuf;

use mastiff_hwmon::root::Root;

use super::Context;
use super::failure::Failure;
use super::print::{self, Out, Tone};
use crate::config::STATE_DIR_DEFAULT;
use evidence::Recorded;
use judge::{Cause, Confidence, Verdict};

pub(super) mod boots;
pub(super) mod evidence;
mod facts;
pub(super) mod judge;
mod silence;
mod traces;
mod wtmp;

/// The cause is not known.
const UNKNOWN: u8 = 1;
/// Blanks before the evidence.
const INDENT: usize = 4;

/// Say why this machine rebooted
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It reads what mastiffd noted before the end (the flight record), what the
watchdog, the journal, wtmp and pstore say, and needs no daemon, but root.

Exit code: 0 the cause is known, if only as a guess; 1 it is not.

Examples:
  mastiff why
  mastiff why --boot -2       the end of the boot before that")]
pub(super) struct Arguments {
    /// The end of which boot: -1 is the last one that ended
    #[arg(long, value_name = "N", default_value = "-1", allow_negative_numbers = true)]
    #[arg(value_parser = boot_back)]
    boot: usize,
}

/// `-1` is one boot back.
pub(super) fn boot_back(text: &str) -> Result<usize, String> {
    let back = text.strip_prefix('-').and_then(|digits| digits.parse().ok());
    back.filter(|back| *back > 0).ok_or_else(|| "must be -1, -2 and so on".to_string())
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let state_dir = state_dir(context);
    let root = Root::machine();
    let recorded = Recorded::read(&root, &state_dir);
    let recorded = recorded.map_err(|error| unreadable(&state_dir, &error))?;
    let evidence = if arguments.boot == 1 {
        recorded.last_end(&root)
    } else {
        let at = recorded.ended.len().checked_sub(arguments.boot);
        at.and_then(|at| recorded.evidence(at)).ok_or_else(|| {
            Failure::Refused(format!("the flight record knows no boot -{}", arguments.boot))
        })?
    };
    let verdict = judge::judge(&evidence);
    if context.json {
        print::print_json(&verdict)?;
    } else {
        print::print(&render(&verdict, context.out))?;
    }
    Ok(if verdict.cause == Cause::Unknown { UNKNOWN } else { 0 })
}

/// Where the flight record is. A configuration with faults keeps nobody from asking.
pub(super) fn state_dir(context: &Context) -> PathBuf {
    context.load().map_or_else(|_| STATE_DIR_DEFAULT.into(), |config| config.node.state_dir)
}

/// Why the flight record cannot be read.
pub(super) fn unreadable(state_dir: &std::path::Path, error: &io::Error) -> Failure {
    let path = crate::flight::file::path(state_dir);
    if error.kind() == io::ErrorKind::PermissionDenied {
        let path = path.display();
        return Failure::Permission(format!("cannot read {path}: only root may; try sudo"));
    }
    Failure::Unavailable(format!("cannot read {}: {error}", path.display()))
}

fn render(verdict: &Verdict, out: Out) -> String {
    let tone = match (verdict.cause, verdict.confidence) {
        (Cause::Unknown, _) => Tone::Unknown,
        (_, Confidence::Certain | Confidence::Likely) => Tone::Strong,
        (_, Confidence::Guess) => Tone::Warning,
    };
    let mut text = out.paint(tone, &out.wrap(&verdict.words(), 0));
    text.push('\n');
    let blanks = " ".repeat(INDENT);
    let mut list = |lines: &[String]| {
        for line in lines {
            text.push_str(&format!("{blanks}{}\n", out.wrap(line, INDENT)));
        }
    };
    list(&verdict.evidence);
    if !verdict.next_time.is_empty() {
        text.push_str("To know more next time:\n");
        for line in &verdict.next_time {
            text.push_str(&format!("{blanks}{}\n", out.wrap(line, INDENT)));
        }
    }
    text
}
