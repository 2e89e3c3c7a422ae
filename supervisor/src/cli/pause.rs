//! `mastiff pause` and `mastiff resume`: maintenance that ends by itself.

use mastiff_core::maintenance::PAUSE_MAX;
use mastiff_core::time::Span;

use super::Context;
use super::failure::Failure;
use crate::control::Request;

/// Pause alerts and recovery of a check or the whole node, for a time
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Checks are still read and shown. A pause survives restarts and reboots and ends
by itself, after 7 days at most. A second one of the same scope replaces it.

Examples:
  mastiff pause --for 2h --why \"kernel update\"
  mastiff pause web --for 30m --why \"new release\"")]
pub(super) struct Pause {
    /// The check [default: the whole node]
    #[arg(value_name = "CHECK")]
    check: Option<String>,
    /// How long, such as 30m or 2h
    #[arg(long = "for", value_name = "TIME", value_parser = length)]
    length: Span,
    /// Why, for others to read
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    why: String,
}

/// End a pause, or a boot that only observes, before its time
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A pause of the whole node and that of a check end apart.

With --boot-loop-guard the resets that the daemon caused itself are forgotten,
and the rungs reboot and reset are possible again at once.")]
pub(super) struct Resume {
    /// The check [default: the whole node]
    #[arg(value_name = "CHECK")]
    check: Option<String>,
    /// Forget the resets that the boot-loop guard has counted
    #[arg(long, conflicts_with = "check")]
    boot_loop_guard: bool,
}

pub(super) fn pause(context: &Context, arguments: &Pause) -> Result<u8, Failure> {
    let request = Request::Pause {
        check: arguments.check.clone(),
        for_secs: arguments.length.as_secs_f64(),
        why: arguments.why.clone(),
    };
    context.order(&request, Failure::Usage)
}

pub(super) fn resume(context: &Context, arguments: &Resume) -> Result<u8, Failure> {
    let request = if arguments.boot_loop_guard {
        Request::ClearBootLoopGuard {}
    } else {
        Request::Resume { check: arguments.check.clone() }
    };
    context.order(&request, Failure::Usage)
}

fn length(text: &str) -> Result<Span, String> {
    let span = Span::parse(text).map_err(|error| error.to_string())?;
    if span == Span::ZERO || span > PAUSE_MAX {
        return Err(format!("must be more than nothing and at most {PAUSE_MAX}"));
    }
    Ok(span)
}

fn reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("must say something: others will read it".into());
    }
    Ok(text.trim().to_string())
}
