//! Whether the dates of the nodes agree. No lease depends on a date, so nothing here is more than a
//! warning; but epochs do, and logs, certificates and databases.
//!
//! A node's date is told to the other one with each epoch: that is above the date in seconds of who
//! takes the group, and above every epoch before (`Epoch::next`). So one that is far below this
//! node's date when it is first heard, or far above it at any time, shows a wrong date of one of
//! the two. It does not show which, nor what has changed since.

use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::sensors::time::is_synchronised;

use super::Brain;
use crate::clock::unix_nanos;

/// Dates may be apart by so many seconds: far more than what synchronised clocks are, and less than
/// certificates and people mind.
const APART_SECS_MAX: i64 = 120;
/// Who has heard the other node so lately hears its new epoch with the next beat. A few rounds.
const HEARD_WITHIN: Span = Span::from_secs(5);
const NANOS: i64 = 1_000_000_000;

/// What the newest epoch of a group told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::brain) struct Dates {
    epoch: i64,
    /// How far below this node's date it was when it was first heard; 0 where that is not known.
    behind: i64,
    /// When the other node was last heard: an epoch that comes later may be an old one.
    heard_at: Mono,
}

impl Dates {
    /// The newest epoch that is known now, and whether the other node is heard.
    fn note(&mut self, epoch: u64, unix_secs: i64, is_heard: bool, now: Mono) {
        let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
        if epoch != self.epoch {
            let is_new = now.since(self.heard_at) < HEARD_WITHIN;
            self.behind = if is_new { unix_secs.saturating_sub(epoch) } else { 0 };
            self.epoch = epoch;
        }
        if is_heard {
            self.heard_at = now;
        }
    }

    /// How far the dates are apart at least, if that is too far.
    fn apart(self, unix_secs: i64) -> Option<i64> {
        let ahead = self.epoch.saturating_sub(unix_secs);
        Some(ahead.max(self.behind)).filter(|apart| *apart > APART_SECS_MAX)
    }
}

impl Brain {
    /// Once a second.
    pub(in crate::brain) fn note_dates(&mut self, now: Mono) {
        let shown = self.keeper.board();
        self.desk.dates.resize(shown.groups.len(), Dates::default());
        let date = unix_nanos() / NANOS;
        for (dates, group) in self.desk.dates.iter_mut().zip(&shown.groups) {
            dates.note(group.epoch.0, date, group.peer.is_some(), now);
        }
    }

    /// What is wrong with the dates, for operators.
    pub(super) fn date_warnings(&self, peer: &str) -> Vec<String> {
        let now = unix_nanos() / NANOS;
        let apart = self.desk.dates.iter().filter_map(|dates| dates.apart(now)).max();
        let apart = apart.map(|secs| {
            format!(
                "the dates of this node and of {peer} are apart, or were when a group last moved, \
                 by {secs} s at least: epochs may not grow (`timedatectl` on both)"
            )
        });
        let unsynchronised = (is_synchronised() == Some(false)).then(|| {
            "the clock is not synchronised: no lease depends on it, epochs and logs do".to_string()
        });
        apart.into_iter().chain(unsynchronised).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_000_000;

    fn at(secs: u64) -> Mono {
        Mono::BOOT.after(Span::from_secs(secs))
    }

    /// Each a second after the one before, with the other node in hearing.
    fn heard(epochs: &[i64]) -> Dates {
        let mut dates = Dates { heard_at: at(100), ..Dates::default() };
        for (round, epoch) in (0..).zip(epochs) {
            dates.note(epoch.unsigned_abs(), NOW, true, at(200 + round));
        }
        dates
    }

    #[test]
    fn an_epoch_tells_the_date_of_who_took_the_group() {
        // An epoch of long ago says nothing when a daemon starts, nor while it lasts.
        assert_eq!(heard(&[NOW - 9999]).apart(NOW + 9999), None);
        assert_eq!(heard(&[NOW - 9999, NOW + 1]).apart(NOW), None);
        let behind = heard(&[NOW - 9999, NOW - 9998]);
        assert_eq!(behind.apart(NOW), Some(9998), "who took it believes it is earlier");
        assert_eq!(behind.apart(NOW + 500), Some(9998));
        // Nor does one that came while the other node was not heard.
        let mut parted = heard(&[NOW - 9999]);
        parted.note((NOW - 5000).unsigned_abs(), NOW, true, at(210));
        assert_eq!(parted.apart(NOW), None);
        let ahead = heard(&[NOW + 3600]);
        assert_eq!(ahead.apart(NOW), Some(3600));
        assert_eq!(ahead.apart(NOW + 3600), None, "time has come to it");
        assert_eq!(heard(&[NOW - 9, NOW + 120]).apart(NOW), None);
        assert_eq!(heard(&[]).apart(NOW), None);
    }
}
