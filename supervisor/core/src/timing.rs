//! Every timer of the pair, derived from one wish: `takeover-within`.
//!
//! ```text
//! Facts ── derive ──► the longest lease whose sum fits ──► Timing   what the pair runs by
//!   │                                                      Sums     why, line by line
//!   └─────────────► Refusal: the limit, and what to write instead
//! ```
//!
//! The bound that the sum states, from the death of the owner to the address on the other node with
//! a witness (`rtt` is the round trip; the split between both directions is not known, so one
//! direction counts as all of it):
//!
//! 1. The owner's last ask reaches the later of both voters after `rtt`. Its promise `P` begins.
//! 2. `P` ends on both clocks after at most `P * (1 + 2 * rho)`.
//! 3. If the candidate's own promise ended first, the other voter said `busy(left)`. That answer
//!    was up to `rtt` on its way, during which nothing was counted, and the candidate asks again up
//!    to a heartbeat later, at random.
//! 4. Ask and grant: `rtt`. Guard and address; announcement.
//!
//! Each of these turns of a loop may be late. With `wire` the gateway never says "busy", but probes
//! for the address come first; with `fence` a confirmed power-off stands for the vote.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::time::Span;

mod claim;
mod refusal;
mod sums;
#[cfg(test)]
mod tests;

pub use claim::Claim;
pub use refusal::Refusal;
pub use sums::{Line, Part, Sum, Sums, WIRE_PROBES};

/// The longest promise that a voter makes, and how long one that started without memory keeps
/// silent. A constant of the wire version, not of the configuration: a reload may have shortened
/// the lease after a longer promise, and a voter cannot know what it forgot.
pub const PROMISE_MAX: Span = Span::from_secs(10);

/// Two oscillators may differ by this much from the truth, each, in parts per million. A lease is
/// shortened by twice as much.
pub const DRIFT_PPM: u64 = 1000;

/// `takeover-within` where it is not written. A lease of about 0.7 s rides out four lost beats in a
/// row, a stall of half a second and a witness in another city; keepalived's default needs 3.6 s.
pub const TAKEOVER_DEFAULT: Span = Span::from_secs(1);
/// The shortest `takeover-within` of all. Below it the lease, a dozen milliseconds, is no longer
/// than a stall that a healthy kernel may have.
pub const TAKEOVER_MIN: Span = Span::from_millis(30);
/// The shortest with nftables, in ticks: slack and late turns alone take fifteen.
pub const TAKEOVER_NFTABLES_TICKS_MIN: u64 = 25;
/// The shortest lease with address lifetimes alone: they are whole seconds, so a shorter lease
/// would gain nothing of the slack and only ride out less.
pub const LEASE_LIFETIME_MIN: Span = Span::from_secs(1);

/// Beats in a lease: several may be lost. Many, because the time-out of the nftables guard is
/// counted in beats, and is slack.
const BEATS: u64 = 10;
/// Beats in a lease with the BPF guard, whose slack does not depend on them.
const BEATS_BPF: u64 = 6;
/// Beats that must fit into a lease besides a round trip: two lost ones and the one that counts.
const BEATS_MIN: u64 = 3;

/// The BPF guard ends this late at most (measured: 0.1 ms), besides the slewing of its clock.
const BPF_LATE: Span = Span::from_millis(1);
/// The time-out of an nftables element, in heartbeats ...
pub const NFTABLES_BEATS: u64 = 3;
/// ... and at least in ticks: it may end two early, and a turn may be one late.
pub const NFTABLES_TICKS_MIN: u64 = 4;
/// Jiffies may stall for five ticks with the processor that counts them; one for the rounding.
const NFTABLES_LATE_TICKS: u64 = 6;
/// The kernel removes an expired address this late at most (measured under real-time load).
const LIFETIME_LATE: Span = Span::from_secs(2);
/// Time synchronisation bends the clock of a guard: 8.3 % (chrony.conf(5), `maxslewrate`), rounded
/// up. In parts per million.
const GUARD_SLEW_PPM: u64 = 100_000;
/// No kernel ticks faster (HZ = 1024 on some). A shorter tick is taken as this one: more slack can
/// do no harm.
const TICK_MIN: Span = Span::from_micros(976);

/// A turn of a real-time loop is this late at most where the guard needs no tick ...
const TURN_BPF: Span = Span::from_millis(1);
/// ... and, where nothing better than address lifetimes is known, a tick at HZ = 100. With nftables
/// it is the tick.
const TURN_LIFETIME: Span = Span::from_millis(10);

/// The owner closes the guard before the lease ends by this part of it ...
const MARGIN_PPM: u64 = 50_000;
/// ... at most this long: a late turn and one netlink call. The slack covers what is later still;
/// the margin only makes the orderly way the usual one.
const MARGIN_MAX: Span = Span::from_millis(5);

/// The round trip that is assumed before it is measured, as a part of `takeover-within`, ...
const ROUND_TRIP_PPM: u64 = 20_000;
/// ... at least two switches and two kernels, with room, ...
const ROUND_TRIP_MIN: Span = Span::from_millis(1);
/// ... at most to a witness in another city.
const ROUND_TRIP_MAX: Span = Span::from_millis(20);

/// For one netlink exchange on the way to an address: the guard and the address itself, or its
/// announcement. Measured in microseconds; a transaction of nftables waits for others.
pub const NETLINK_ASSUMED: Span = Span::from_millis(1);

/// The timers of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timing {
    /// `L`: how long a granted lease lasts, from the sending of the ask.
    pub lease: Span,
    /// Time between beats.
    pub heartbeat: Span,
    /// How much later than the lease's end the kernel may still pass traffic, whatever the daemon
    /// does.
    pub slack: Span,
    /// `P`: how long a voter promises, from receipt: lease and slack.
    pub promise: Span,
    /// The owner closes the guard this long before the lease ends.
    pub margin: Span,
    /// The lease that is asked for before a planned restart: the longest whose promise is allowed.
    /// With a long `takeover-within` it may be shorter than `lease`, since nobody refreshes the
    /// guard meanwhile.
    pub restart_lease: Span,
    /// The promise that goes with it.
    pub restart_promise: Span,
    /// The computed promise: from the death of the owner to the address on the other node.
    pub takeover_at_most: Span,
}

/// What closes the packet path when the daemon cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Guard {
    /// A BPF program with an absolute deadline.
    Bpf,
    /// An nftables element with a time-out.
    Nftables {
        /// The kernel's (`clock_getres` of `CLOCK_MONOTONIC_COARSE`).
        tick: Span,
    },
    /// The lifetime of the address itself.
    Lifetime,
}

/// Who decides when the other node is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Arbiter {
    /// A third voter.
    Witness,
    /// The gateway, and silence on the wire.
    Wire,
    /// A confirmed power-off.
    Fence {
        /// When the fence agent is given up.
        deadline: Span,
    },
}

/// The round trip to the slower of both voters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoundTrip {
    /// Nobody has measured it: a part of `takeover-within`, from 1 to 20 ms.
    Assumed,
    /// The longest one seen.
    Measured(Span),
}

/// What a group protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Safety {
    /// Addresses only.
    Network,
    /// Units that must not run twice.
    Data {
        /// How long they take to stop, at most.
        stop: Span,
        /// What resets the machine if they do not.
        watchdog: Option<WatchdogFacts>,
        /// Deadline of the fence agent, if there is one.
        fence: Option<Span>,
    },
}

/// An armed watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WatchdogFacts {
    /// How long a permit to pet lasts.
    pub permit: Span,
    /// The longest that one pet takes in the kernel (IPMI: seconds).
    pub pet: Span,
    /// The time-out as the driver says it.
    pub read_back: Span,
    /// The time-out as it was seen to fire.
    pub proven: Option<Span>,
}

/// All that the timers of a group depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Facts {
    /// The wish.
    pub takeover_within: Span,
    /// What this kernel can do.
    pub guard: Guard,
    /// Who decides.
    pub arbiter: Arbiter,
    /// How far away the voters are.
    pub round_trip: RoundTrip,
    /// For guard and address.
    pub address: Span,
    /// For the first announcement.
    pub announce: Span,
    /// What is protected.
    pub safety: Safety,
}

/// The timers with the longest lease whose sum does not exceed `takeover-within`, and the sums.
///
/// # Errors
/// Everything that stands against it.
pub fn derive(facts: &Facts) -> Result<(Timing, Sums), Vec<Refusal>> {
    let refusals = refusal::of(facts);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let lease = longest_lease(facts).unwrap_or(Span::ZERO);
    let slack = facts.guard.slack(lease);
    let restart_lease =
        longest(PROMISE_MAX, |lease| facts.guard.restart_promise(lease) <= PROMISE_MAX)
            .unwrap_or(Span::ZERO);
    let sums = Sums::new(facts, lease);
    let timing = Timing {
        lease,
        heartbeat: facts.guard.heartbeat(lease),
        slack,
        promise: lease.plus(slack),
        margin: part_of(lease, MARGIN_PPM).min(MARGIN_MAX),
        restart_lease,
        restart_promise: facts.guard.restart_promise(restart_lease),
        takeover_at_most: sums.takeover.total,
    };
    Ok((timing, sums))
}

impl Guard {
    /// Time between beats.
    #[must_use]
    pub fn heartbeat(self, lease: Span) -> Span {
        let beats = match self {
            Self::Bpf => BEATS_BPF,
            Self::Nftables { .. } | Self::Lifetime => BEATS,
        };
        Span::from_nanos(lease.as_nanos() / beats)
    }

    /// `T`: how long the guard passes traffic after it was set once, or, with nftables, the least
    /// that it is given, which the slack counts; `None` where it has an absolute deadline.
    #[must_use]
    pub fn timeout(self, lease: Span) -> Option<Span> {
        match self {
            Self::Bpf => None,
            Self::Nftables { tick } => {
                let beats = self.heartbeat(lease).times(NFTABLES_BEATS);
                Some(beats.max(tick.max(TICK_MIN).times(NFTABLES_TICKS_MIN)))
            }
            Self::Lifetime => Some(whole_secs(lease)),
        }
    }

    /// How much later than a lease's end the kernel may still pass traffic.
    #[must_use]
    pub fn slack(self, lease: Span) -> Span {
        self.late(lease, self.timeout(lease).unwrap_or(Span::ZERO))
    }

    /// The promise for a lease that nobody renews: what is set once lasts for all of it.
    fn restart_promise(self, lease: Span) -> Span {
        let timeout = match self {
            Self::Bpf => Span::ZERO,
            Self::Nftables { .. } => lease,
            Self::Lifetime => whole_secs(lease),
        };
        lease.plus(self.late(lease, timeout))
    }

    /// A process that freezes between check and system call sets a relative time-out late, by as
    /// much as that time-out. An absolute deadline is only off by its clock.
    fn late(self, lease: Span, timeout: Span) -> Span {
        match self {
            Self::Bpf => BPF_LATE.plus(part_of(lease, GUARD_SLEW_PPM)),
            Self::Nftables { tick } => timeout
                .plus(part_of(timeout, GUARD_SLEW_PPM))
                .plus(tick.max(TICK_MIN).times(NFTABLES_LATE_TICKS)),
            Self::Lifetime => timeout.plus(LIFETIME_LATE),
        }
    }

    /// How late a turn of the loop may be.
    fn turn(self) -> Span {
        match self {
            Self::Bpf => TURN_BPF,
            Self::Nftables { tick } => tick.max(TICK_MIN),
            Self::Lifetime => TURN_LIFETIME,
        }
    }

    /// The shortest `takeover-within`, whatever else.
    fn takeover_min(self) -> Span {
        match self {
            Self::Bpf | Self::Lifetime => TAKEOVER_MIN,
            Self::Nftables { tick } => {
                TAKEOVER_MIN.max(tick.max(TICK_MIN).times(TAKEOVER_NFTABLES_TICKS_MIN))
            }
        }
    }

    /// The shortest lease that makes sense: a lost beat must not cost it. With nftables an element
    /// is refreshed only while its time-out still fits, so that is not there to be lost.
    fn lease_min(self, lease: Span, round_trip: Span) -> Span {
        let beats = self.heartbeat(lease).times(BEATS_MIN).plus(round_trip);
        match self {
            Self::Bpf => beats,
            Self::Nftables { .. } => beats.plus(self.timeout(lease).unwrap_or(Span::ZERO)),
            Self::Lifetime => beats.max(LEASE_LIFETIME_MIN),
        }
    }
}

impl Facts {
    /// The round trip to compute with.
    #[must_use]
    pub fn round_trip(&self) -> Span {
        match self.round_trip {
            RoundTrip::Measured(span) => span,
            RoundTrip::Assumed => {
                part_of(self.takeover_within, ROUND_TRIP_PPM).clamp(ROUND_TRIP_MIN, ROUND_TRIP_MAX)
            }
        }
    }
}

/// The longest lease whose sum fits, if any. Every line of the sum grows with the lease or does
/// not depend on it.
fn longest_lease(facts: &Facts) -> Option<Span> {
    longest(facts.takeover_within, |lease| {
        Sums::takeover(facts, lease).total <= facts.takeover_within
    })
}

/// The longest span of whole microseconds, up to `most`, for which `fits`; `None` if not even zero
/// does. What is longer than one that does not fit must not fit either.
fn longest(most: Span, fits: impl Fn(Span) -> bool) -> Option<Span> {
    if !fits(Span::ZERO) {
        return None;
    }
    let (mut good, mut bad) = (0, most.as_nanos() / 1000 + 1);
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        if fits(Span::from_micros(middle)) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Some(Span::from_micros(good))
}

/// So many parts per million of a span, rounded up.
fn part_of(span: Span, ppm: u64) -> Span {
    Span::from_nanos(span.as_nanos().saturating_mul(ppm).div_ceil(1_000_000))
}

/// In whole seconds, rounded up: what the lifetime of an address can be.
fn whole_secs(span: Span) -> Span {
    Span::from_secs(span.as_nanos().div_ceil(1_000_000_000))
}
