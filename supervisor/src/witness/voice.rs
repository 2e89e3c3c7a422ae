//! What is said about single pairs: thousands may come and go in one second, and whoever sends
//! forged messages chooses how many.

use std::fmt;

use log::Level;

/// Lines about pairs from one breath to the next.
const LINES: u32 = 20;

/// Lines that may be said, and how many were not.
#[derive(Debug)]
pub(super) struct Voice {
    left: u32,
    unsaid: u64,
}

impl Default for Voice {
    fn default() -> Self {
        Self { left: LINES, unsaid: 0 }
    }
}

impl Voice {
    /// Says it, or counts it.
    pub(super) fn say(&mut self, level: Level, text: fmt::Arguments<'_>) {
        if self.left > 0 {
            self.left -= 1;
            log::log!(level, "{text}");
        } else {
            self.unsaid = self.unsaid.saturating_add(1);
        }
    }

    /// Once a second: says how many lines are missing, and has breath for others.
    pub(super) fn breathe(&mut self) {
        if self.unsaid > 0 {
            log::warn!("{} more lines about pairs were left out", self.unsaid);
        }
        *self = Self::default();
    }
}
