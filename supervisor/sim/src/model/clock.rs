//! How long something took, for people. No world ever looks at it.

use std::time::{Duration, Instant};

/// Runs from its making.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts it.
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// Since its start.
    pub(super) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
