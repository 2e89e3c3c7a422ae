//! When an address that is held here is announced, and what speaks against it.
//!
//! ```text
//! taken        0    0.1  0.3        1 s                  3 s            every REFRESH
//!              x     x    x         x                     x                   x
//! conflict     begins anew, unless that was less than DEFEND_AGAIN ago;
//!              else once more, unless that was less than DEFEND_ONCE ago
//! ```
//!
//! More than one at first, because switches and hosts lose some: a port that has just come up does
//! not forward yet, and a flood of them is limited. A slow refresh, because switches forget where a
//! silent address is, and because some caches last for hours.

use mastiff_core::time::{Mono, Span};

use super::devices::Mac;

/// When after taking an address it is announced (DESIGN: "at once and at 0.1, 0.3, 1, 3 s").
pub const AFTER: [Span; 5] = [
    Span::ZERO,
    Span::from_millis(100),
    Span::from_millis(300),
    Span::from_millis(1000),
    Span::from_millis(3000),
];
/// How often it is announced after that. A switch forgets a MAC after 300 s (IEEE 802.1D,
/// section 7.9.2), and this must survive the loss of a few.
pub const REFRESH: Span = Span::from_secs(60);
/// Conflicts begin the whole series anew at most this often: two machines that both defend an
/// address would not stop (`DEFEND_INTERVAL`, RFC 5227, section 1.1).
pub const DEFEND_AGAIN: Span = Span::from_secs(10);
/// Between two announcements because of conflicts at least.
pub const DEFEND_ONCE: Span = Span::from_secs(1);
/// A conflict that has been quiet for this time is over; the next one is told of again.
pub const OVER_AFTER: Span = Span::from_secs(60);

/// Somebody else answered for an address that is held here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Who did so last.
    pub mac: Mac,
    /// How often it was heard, by whomever.
    pub count: u64,
    /// When it was heard first.
    pub first: Mono,
    /// When it was heard last.
    pub last: Mono,
}

/// The announcements of one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announcer {
    series: Option<Series>,
    conflict: Option<Conflict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Series {
    began: Mono,
    next: Mono,
    /// When the latest announcement was due.
    last: Mono,
}

impl Announcer {
    /// The address is here from now on; also called when its device has another MAC, or a carrier
    /// again. The first announcement is due at once.
    pub const fn start(&mut self, now: Mono) {
        self.series = Some(Series { began: now, next: now, last: now });
    }

    /// It is not here any more. What was heard against it is kept for `status`.
    pub const fn stop(&mut self) {
        self.series = None;
    }

    /// When [`Announcer::due`] must be asked; [`Mono::FAR`] while the address is not here.
    #[must_use]
    pub fn next_deadline(&self) -> Mono {
        self.series.map_or(Mono::FAR, |series| series.next)
    }

    /// Whether to announce now. Those that were missed are not made up for: one says all.
    #[must_use]
    pub fn due(&mut self, now: Mono) -> bool {
        let Some(series) = self.series.as_mut().filter(|series| now >= series.next) else {
            return false;
        };
        series.last = now;
        let mut moments = AFTER.iter().map(|after| series.began.after(*after));
        series.next = moments.find(|moment| *moment > now).unwrap_or(now.after(REFRESH));
        true
    }

    /// Somebody who is not of this machine claimed the address or answered for it. Whether that is
    /// news: the first of its kind, or the first after [`OVER_AFTER`].
    #[must_use]
    pub fn contradicted(&mut self, mac: Mac, now: Mono) -> bool {
        if let Some(series) = &mut self.series {
            if now.since(series.began) >= DEFEND_AGAIN {
                *series = Series { began: now, next: now, last: series.last };
            } else if now.since(series.last) >= DEFEND_ONCE {
                series.next = series.next.min(now);
            }
        }
        let goes_on = self.conflict.filter(|conflict| now.since(conflict.last) < OVER_AFTER);
        self.conflict = Some(match goes_on {
            Some(conflict) => {
                Conflict { mac, count: conflict.count.saturating_add(1), last: now, ..conflict }
            }
            None => Conflict { mac, count: 1, first: now, last: now },
        });
        goes_on.is_none()
    }

    /// The latest conflict, as long as it lasted.
    #[must_use]
    pub const fn conflict(&self) -> Option<Conflict> {
        self.conflict
    }
}

#[cfg(test)]
mod tests;
