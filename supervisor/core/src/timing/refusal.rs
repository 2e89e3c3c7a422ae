//! Why no timers can be derived, and what to write instead.

use alloc::vec::Vec;
use core::fmt;

use super::{
    Arbiter, Facts, Guard, PROMISE_MAX, RoundTrip, Safety, TAKEOVER_MIN,
    TAKEOVER_NFTABLES_TICKS_MIN, longest, longest_lease,
};
use crate::time::Span;

/// Longer wishes are not looked at for a suggestion. Beyond it, with a fence agent's deadline, no
/// promise fits into [`PROMISE_MAX`].
const SUGGESTED_MAX: Span = Span::from_secs(60);

/// One thing that stands against the wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing is left for a lease that rides out a lost beat.
    TooShort {
        /// The wish.
        asked: Span,
        /// The shortest wish that works, in whole milliseconds; `None`: none does.
        least: Option<Span>,
        /// What is counted besides.
        facts: Facts,
    },
    /// A voter would have to promise for longer than [`PROMISE_MAX`].
    TooLong {
        /// The wish.
        asked: Span,
        /// The longest wish that works, in whole milliseconds.
        most: Span,
    },
    /// Units that must not run twice, and nothing that stops them for certain.
    NothingStops,
}

/// All that stands against it.
pub(super) fn of(facts: &Facts) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let asked = facts.takeover_within;
    if !is_long_enough(facts) {
        refusals.push(Refusal::TooShort { asked, least: least(facts), facts: *facts });
    } else if !is_short_enough(facts) {
        refusals.push(Refusal::TooLong { asked, most: most(facts) });
    }
    let nothing_stops = matches!(facts.safety, Safety::Data { watchdog: None, fence: None, .. });
    if nothing_stops && !matches!(facts.arbiter, Arbiter::Fence { .. }) {
        refusals.push(Refusal::NothingStops);
    }
    refusals
}

fn is_long_enough(facts: &Facts) -> bool {
    let round_trip = facts.round_trip();
    facts.takeover_within >= facts.guard.takeover_min()
        && longest_lease(facts)
            .is_some_and(|lease| lease >= facts.guard.lease_min(lease, round_trip))
}

fn is_short_enough(facts: &Facts) -> bool {
    longest_lease(facts).is_some_and(|lease| lease.plus(facts.guard.slack(lease)) <= PROMISE_MAX)
}

/// The shortest wish that works, in whole milliseconds.
fn least(facts: &Facts) -> Option<Span> {
    let too_short = |wish| !is_long_enough(&facts.with(wish));
    let last_bad = longest(suggested_max(facts), too_short)?;
    let least = Span::from_millis(last_bad.as_millis() + 1);
    // With voters that are too far away there is none.
    let works = is_long_enough(&facts.with(least)) && is_short_enough(&facts.with(least));
    works.then_some(least)
}

/// The longest wish that works, in whole milliseconds.
fn most(facts: &Facts) -> Span {
    let short_enough = |wish| {
        let facts = facts.with(wish);
        longest_lease(&facts).is_none() || is_short_enough(&facts)
    };
    let last_good = longest(suggested_max(facts), short_enough).unwrap_or(Span::ZERO);
    Span::from_millis(last_good.as_millis())
}

fn suggested_max(facts: &Facts) -> Span {
    match facts.arbiter {
        Arbiter::Witness | Arbiter::Wire => SUGGESTED_MAX,
        Arbiter::Fence { deadline } => SUGGESTED_MAX.plus(deadline),
    }
}

impl Facts {
    fn with(&self, takeover_within: Span) -> Self {
        Self { takeover_within, ..*self }
    }
}

impl fmt::Display for Refusal {
    /// Goes after the key and its value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { asked, least, facts } => {
                write!(f, "{} is too short: ", Exact(*asked))?;
                match facts.guard {
                    guard if *asked < guard.takeover_min() => limit(f, guard)?,
                    Guard::Lifetime => f.write_str(
                        "without BPF and nftables the address itself ends it, in whole seconds and \
                         up to 2s late",
                    )?,
                    Guard::Bpf | Guard::Nftables { .. } => {
                        let from = match facts.round_trip {
                            RoundTrip::Assumed => "assumed",
                            RoundTrip::Measured(_) => "measured",
                        };
                        let round_trip = facts.round_trip();
                        write!(f, "with a round trip of {round_trip} ({from}) ")?;
                        if let Arbiter::Fence { deadline } = facts.arbiter {
                            write!(f, "and a fence agent that may take {deadline} ")?;
                        }
                        f.write_str("no lease is left that outlives a lost heartbeat")?;
                    }
                }
                match least {
                    Some(least) => write!(f, "; at least {}", Exact(*least)),
                    None => f.write_str("; the voters are too far away for any"),
                }
            }
            Self::TooLong { asked, most } => {
                let (asked, most) = (Exact(*asked), Exact(*most));
                write!(
                    f,
                    "{asked} is too long: no voter promises for more than {PROMISE_MAX}; at most {most}"
                )
            }
            Self::NothingStops => f.write_str(
                "units that must not run twice need an armed watchdog or a fence agent; \
                 set [watchdog] or pair.fence, or write safety = \"network\"",
            ),
        }
    }
}

impl core::error::Error for Refusal {}

fn limit(f: &mut fmt::Formatter<'_>, guard: Guard) -> fmt::Result {
    match guard {
        Guard::Nftables { tick } => write!(
            f,
            "with the nftables guard it takes {TAKEOVER_NFTABLES_TICKS_MIN} ticks and {TAKEOVER_MIN}, \
             and a tick is {}us here",
            tick.as_nanos() / 1000
        ),
        Guard::Bpf | Guard::Lifetime => {
            f.write_str("a lease would be no longer than a stall that a healthy kernel may have")
        }
    }
}

/// Whole milliseconds without rounding: [`Span`] prints one digit of a second.
struct Exact(Span);

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            millis if millis >= 1000 && millis % 1000 == 0 => write!(f, "{}s", millis / 1000),
            millis => write!(f, "{millis}ms"),
        }
    }
}
