//! What happens in a world, in lines that a person can follow. Nothing is written where nobody
//! reads.

use mastiff_core::pair::event::PairAction;
use mastiff_core::pair::message::{Beat, Sender};

use super::setup::{TICK_NANOS, nanos};

/// The lines, if anybody reads them.
#[derive(Debug, Default)]
pub struct Timeline {
    lines: Option<Vec<String>>,
}

impl Timeline {
    /// One that is read.
    #[must_use]
    pub const fn read() -> Self {
        Self { lines: Some(Vec::new()) }
    }

    /// Adds a line.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(line());
        }
    }

    /// All lines.
    #[must_use]
    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}

/// A time of the world, in ticks.
#[must_use]
pub fn in_ticks(at: i64, tick: u32) -> String {
    let hundredths = at.saturating_sub(nanos(tick)).saturating_mul(100) / TICK_NANOS;
    format!("{:+}.{:02}", hundredths / 100, (hundredths % 100).abs())
}

/// Who, in short.
#[must_use]
pub fn name(of: Sender) -> String {
    match of {
        Sender::Node(member) => format!("{member:?}"),
        Sender::Witness => "Witness".into(),
    }
}

/// What an action does; nothing for the beats that say nothing new.
#[must_use]
pub fn action(action: &PairAction) -> Option<String> {
    match action {
        PairAction::Send { to, beat } => said(beat).map(|said| format!("to {}: {said}", name(*to))),
        PairAction::OpenGuard { .. } => None,
        PairAction::CloseGuard { .. } => Some("closes the guard".into()),
        PairAction::Begin(id) => Some(format!("begins {:?} ({})", id.step, id.attempt)),
        PairAction::Report(report) => Some(format!("reports {report:?}")),
        PairAction::AskGateway { .. } | PairAction::ProbeAddress { .. } => None,
    }
}

/// The asks and answers of a beat.
#[must_use]
pub fn said(beat: &Beat) -> Option<String> {
    let ask = beat.ask.map(|ask| {
        let what = if ask.held { "renews" } else { "asks for" };
        format!("{what} epoch {}", ask.epoch.0)
    });
    let answer = beat.answer.map(|answer| format!("{:?} epoch {}", answer.vote, answer.epoch.0));
    match (ask, answer) {
        (Some(ask), Some(answer)) => Some(format!("{ask}; {answer}")),
        (one, other) => one.or(other),
    }
}
