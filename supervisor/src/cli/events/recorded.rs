//! Events of this boot and of earlier ones, from the flight record.

use mastiff_hwmon::root::Root;
use serde::Serialize;

use super::super::Context;
use super::super::failure::Failure;
use super::super::print::{self, Tone};
use super::super::why::boots::Boot;
use super::super::why::evidence::Recorded;
use super::super::why::judge::judge;
use super::super::why::{state_dir, unreadable};
use super::{EventView, line};
use crate::flight::{Kind, Record};
use crate::sys::local_time::local_time;

/// An event of some boot.
#[derive(Serialize)]
struct OfBoot<'a> {
    boot: &'a str,
    #[serde(flatten)]
    event: EventView,
}

/// Prints those of one boot, or of all; the newest `last` of each.
pub(super) fn run(
    context: &Context,
    back: Option<usize>,
    last: Option<usize>,
) -> Result<u8, Failure> {
    let root = Root::machine();
    let state_dir = state_dir(context);
    let recorded = Recorded::read(&root, &state_dir);
    let recorded = recorded.map_err(|error| unreadable(&state_dir, &error))?;
    let ended = recorded.ended.len();
    let mut text = String::new();
    for (at, boot) in recorded.ended.iter().chain(&recorded.current).enumerate() {
        if back.is_some_and(|back| at.saturating_add(back) != ended) {
            continue;
        }
        let end = if at < ended { end(&recorded, at, &root) } else { None };
        text.push_str(&show(context, boot, end, last)?);
    }
    if text.is_empty() {
        let path = crate::flight::file::path(&state_dir);
        return Err(Failure::Refused(format!("{} has nothing of that boot", path.display())));
    }
    print::print(&text)?;
    Ok(0)
}

/// How a boot ended, in words. Only of the newest one there are other traces than the record.
fn end(recorded: &Recorded, at: usize, root: &Root) -> Option<String> {
    let is_newest = at.saturating_add(1) == recorded.ended.len();
    let last_end = is_newest.then(|| recorded.last_end(root));
    // Between that one and this boot there may be others, of which nothing is recorded.
    let evidence = last_end.filter(|evidence| evidence.older_ms.is_none());
    evidence.or_else(|| recorded.evidence(at)).map(|evidence| judge(&evidence).words())
}

fn show(
    context: &Context,
    boot: &Boot,
    end: Option<String>,
    last: Option<usize>,
) -> Result<String, Failure> {
    let events: Vec<EventView> = boot.records.iter().filter_map(event).collect();
    let surplus = last.map_or(0, |last| events.len().saturating_sub(last));
    let mut text = String::new();
    let out = context.out;
    let heading = |words: &str| format!("{}\n", out.paint(Tone::Strong, &out.wrap(words, 0)));
    if !context.json {
        let began = boot.began_ms().and_then(|ms| local_time(i64::try_from(ms / 1000).ok()?));
        let began = began.unwrap_or_else(|| "an unknown time".into());
        text.push_str(&heading(&format!("---- boot of {began}")));
    }
    let ended = end.map(|end| ended(boot, end));
    for event in events.into_iter().skip(surplus) {
        if context.json {
            text.push_str(&json(boot, event)?);
        } else {
            text.push_str(&format!("{}\n", line(&event, out)));
        }
    }
    match ended {
        Some(event) if context.json => text.push_str(&json(boot, event)?),
        Some(event) => text.push_str(&heading(&format!("---- it ended: {}", event.text))),
        None => {}
    }
    Ok(text)
}

fn event(record: &Record) -> Option<EventView> {
    let words = record.event.clone().filter(|_| record.kind == Kind::Event)?;
    Some(EventView {
        seq: record.seq,
        at_unix_ms: record.unix_ms,
        kind: words.kind,
        severity: words.severity,
        check: None,
        text: record.text.clone(),
    })
}

/// The end of a boot as an event of it.
fn ended(boot: &Boot, text: String) -> EventView {
    let last = boot.last();
    EventView {
        seq: last.map_or(0, |last| last.seq),
        at_unix_ms: last.map_or(0, |last| last.unix_ms),
        kind: "boot-ended".into(),
        severity: "notice".into(),
        check: None,
        text,
    }
}

fn json(boot: &Boot, event: EventView) -> Result<String, Failure> {
    let line = serde_json::to_string(&OfBoot { boot: &boot.id, event })
        .map_err(|error| Failure::Bug(format!("cannot write JSON: {error}")))?;
    Ok(line + "\n")
}
