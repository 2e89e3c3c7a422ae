//! The sums behind the promise, as data: what takes how long, and which key changes it.

use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

use super::{Arbiter, DRIFT_PPM, Facts, PROMISE_MAX, Safety, WatchdogFacts, part_of};
use crate::time::Span;

/// Probes that must stay unanswered with the arbiter `wire`, spread over one lease.
pub const WIRE_PROBES: u64 = 5;
/// While chrony corrects at its fastest, a clock loses 8.333 % (`maxslewrate`), in parts per
/// million.
const SLEW_MAX_PPM: u64 = 83_333;
/// Added to the watchdog's time-out: drivers count whole seconds.
const STOP_MARGIN: Span = Span::from_secs(1);

/// One thing that takes time on the way to the new owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The last ask of the owner on its way to the later voter.
    Detection,
    /// The lease.
    Lease,
    /// What the kernel may be late.
    Slack,
    /// What both clocks may be wrong.
    Clocks,
    /// The probes of `wire`.
    Probes,
    /// The fence agent.
    Fence,
    /// Ask and grant.
    Election,
    /// A voter that was busy is asked again.
    SecondAsk,
    /// Turns of the loops, each late.
    Turns,
    /// Guard and address.
    Address,
    /// The first announcement.
    Announce,
    /// Exclusive units stop, and petting goes on for no longer.
    Stop,
    /// The last permit to pet runs out.
    Permit,
    /// The last pet ends in the driver.
    Pet,
    /// The watchdog fires.
    Watchdog,
    /// Whole seconds of drivers.
    Margin,
}

impl Part {
    /// The key of the configuration that changes it, if one does.
    #[must_use]
    pub const fn key(self) -> Option<&'static str> {
        match self {
            Self::Lease | Self::Slack | Self::Clocks | Self::Probes | Self::SecondAsk => {
                Some("pair.takeover-within")
            }
            Self::Detection | Self::Election => Some("pair.paths"),
            Self::Fence => Some("pair.fence"),
            Self::Stop => Some("group.stop-within"),
            Self::Watchdog => Some("watchdog.timeout"),
            Self::Turns
            | Self::Address
            | Self::Announce
            | Self::Permit
            | Self::Pet
            | Self::Margin => None,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Detection => "the owner's last word reaches the voters",
            Self::Lease => "its lease",
            Self::Slack => "guard slack: what the kernel may end late",
            Self::Clocks => "clocks, 0.1 % wrong each",
            Self::Probes => "probes for the address that nobody answers",
            Self::Fence => "the fence agent confirms that the owner is off",
            Self::Election => "ask and grant",
            Self::SecondAsk => "a voter that was still bound is asked again",
            Self::Turns => "loops that run late",
            Self::Address => "guard and address",
            Self::Announce => "announcement",
            Self::Stop => "its units stop; the watchdog is petted no longer",
            Self::Permit => "the last permit to pet runs out",
            Self::Pet => "the last pet ends in the driver",
            Self::Watchdog => "the watchdog fires",
            Self::Margin => "drivers count whole seconds",
        })
    }
}

/// One summand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What takes the time.
    pub part: Part,
    /// How long, at most.
    pub span: Span,
}

/// Lines and their total.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// In the order in which they happen.
    pub lines: Vec<Line>,
    /// All of them.
    pub total: Span,
}

impl Sum {
    fn of(lines: impl IntoIterator<Item = (Part, Span)>) -> Self {
        let lines: Vec<Line> = lines.into_iter().map(|(part, span)| Line { part, span }).collect();
        let total = lines.iter().fold(Span::ZERO, |total, line| total.plus(line.span));
        Self { lines, total }
    }
}

/// What `config explain` prints of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// From the death of the owner to the address on the other node.
    pub takeover: Sum,
    /// The same while a voter keeps silent because it forgot its promises.
    pub takeover_voter_silent: Span,
    /// By how much the takeover is later while time synchronisation slows a clock as fast as it
    /// can, all the time.
    pub slewed_later: Span,
    /// `D`: after it has the lease, the new owner waits this long before it starts units; `None`
    /// for addresses only.
    pub stop: Option<Sum>,
    /// From the death of the owner to the start of the units.
    pub units_start: Option<Span>,
}

impl Sums {
    /// The sums with a lease. With `takeover_within` and the lease of a pair that runs, and a round
    /// trip just measured, they say what holds now.
    #[must_use]
    pub fn new(facts: &Facts, lease: Span) -> Self {
        let takeover = Self::takeover(facts, lease);
        let stop = facts.stop();
        let promise = lease.plus(facts.guard.slack(lease));
        Self {
            takeover_voter_silent: takeover.total.plus(PROMISE_MAX),
            slewed_later: Span::from_nanos(
                promise.as_nanos().saturating_mul(SLEW_MAX_PPM).div_ceil(1_000_000 - SLEW_MAX_PPM),
            ),
            units_start: stop.as_ref().map(|stop| takeover.total.plus(stop.total)),
            takeover,
            stop,
        }
    }

    /// From the death of the owner to the address on the other node; see [`super`].
    pub(super) fn takeover(facts: &Facts, lease: Span) -> Sum {
        let guard = facts.guard;
        let round_trip = facts.round_trip();
        let slack = guard.slack(lease);
        let waits = [
            (Part::Detection, round_trip),
            (Part::Lease, lease),
            (Part::Slack, slack),
            (Part::Clocks, part_of(lease.plus(slack), 2 * DRIFT_PPM)),
        ];
        // Turns: the voter hears the last ask; then those of the candidate and of who answers it.
        let (election, turns): (&[_], _) = match facts.arbiter {
            // The candidate hears "busy", wakes to ask again, the voter grants, the candidate hears.
            Arbiter::Witness => (
                &[
                    (Part::Election, round_trip),
                    (Part::SecondAsk, round_trip.plus(guard.heartbeat(lease))),
                ],
                5,
            ),
            // It wakes, each probe is waited for, the gateway answers.
            Arbiter::Wire => {
                (&[(Part::Probes, lease), (Part::Election, round_trip)], 3 + WIRE_PROBES)
            }
            // It wakes, the agent ends.
            Arbiter::Fence { deadline } => (&[(Part::Fence, deadline)], 3),
        };
        let steps = [
            (Part::Turns, guard.turn().times(turns)),
            (Part::Address, facts.address),
            (Part::Announce, facts.announce),
        ];
        Sum::of(waits.into_iter().chain(election.iter().copied()).chain(steps))
    }
}

impl WatchdogFacts {
    /// `D`: how long units that have `stop` to stop may outlive a lease.
    #[must_use]
    pub fn stops_within(&self, stop: Span) -> Span {
        self.sum(stop).total
    }

    fn sum(&self, stop: Span) -> Sum {
        Sum::of([
            (Part::Stop, stop),
            (Part::Permit, self.permit),
            (Part::Pet, self.pet),
            (Part::Watchdog, self.proven.unwrap_or(Span::ZERO).max(self.read_back)),
            (Part::Margin, STOP_MARGIN),
        ])
    }
}

impl Facts {
    /// `D`; `None` for addresses only, or where nothing bounds it.
    fn stop(&self) -> Option<Sum> {
        let Safety::Data { stop, watchdog, fence } = self.safety else { return None };
        // Whoever takes over has confirmed already that the other one is off.
        if matches!(self.arbiter, Arbiter::Fence { .. }) {
            return Some(Sum::default());
        }
        let by_watchdog = watchdog.map(|watchdog| watchdog.sum(stop));
        // An agent that fails does not shorten the wait for the watchdog.
        by_watchdog.or_else(|| fence.map(|deadline| Sum::of([(Part::Fence, deadline)])))
    }
}
