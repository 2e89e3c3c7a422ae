//! What happened, for a person to read.

use core::fmt;

use crate::clock::{SECOND, Time};
use crate::fault::Names;
use crate::network::Place;

/// The newest lines are kept: a failure is at the end.
const LINES_MAX: usize = 400;

/// One line.
#[derive(Clone, Debug)]
struct Line {
    at: Time,
    place: Option<Place>,
    text: String,
}

/// A world's history.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Whether anything is written down at all: it costs time.
    pub on: bool,
    names: Names,
    /// What times are counted from.
    origin: Time,
    lines: std::collections::VecDeque<Line>,
}

impl Timeline {
    /// An empty one, written or not.
    #[must_use]
    pub fn new(on: bool, names: Names) -> Self {
        Self { on, names, ..Self::default() }
    }

    /// Forgets what happened before `now`, and counts from it.
    pub fn begin(&mut self, now: Time) {
        self.origin = now;
        self.lines.clear();
    }

    /// Writes down what concerns no machine, or several.
    pub fn note_with(&mut self, at: Time, text: impl FnOnce(&Names) -> String) {
        if self.on {
            let text = text(&self.names);
            self.note(at, None, || text);
        }
    }

    /// Writes down what `text` says, if anybody wants to know.
    pub fn note(&mut self, at: Time, place: Option<Place>, text: impl FnOnce() -> String) {
        if !self.on {
            return;
        }
        if self.lines.len() >= LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(Line { at, place, text: text() });
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { at, place, text } in &self.lines {
            let name = place.map_or("", |place| self.names.of(place));
            let at = at - self.origin;
            let (seconds, rest) = (at / SECOND, at % SECOND / 1000);
            writeln!(f, "{seconds:>4}.{rest:06} s  {name:<8} {text}")?;
        }
        Ok(())
    }
}
