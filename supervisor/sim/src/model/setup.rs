//! The numbers of the small world: how long a tick is, and all that is measured in ticks.
//!
//! A tick is a quarter of [`PROMISE_MAX`], so that the silence of a voter without memory is over
//! after four. All else is as short as the rules allow: a lease of two ticks, a tick of slack, a
//! beat each tick.

use mastiff_core::pair::arbiters::{Arbiter, witness};
use mastiff_core::pair::clock::{Clocks, Now};
use mastiff_core::pair::message::{Epoch, GroupKey, Member, Sender, Session};
use mastiff_core::pair::spec::{Failback, GroupSpec, Safety};
use mastiff_core::time::Span;
use mastiff_core::timing::{PROMISE_MAX, Timing};

/// One tick, in nanoseconds.
pub const TICK_NANOS: i64 = 2_500_000_000;
/// The group's only name.
pub const GROUP: GroupKey = GroupKey(1);
/// Hash of its definition, the same on both nodes.
const DEFINITION: u64 = 7;
/// An armed watchdog resets a machine that was not petted for so many ticks. So long that a daemon
/// can wake when the next owner waits for the stop time already, and pet too long.
pub const WATCHDOG_TICKS: u32 = 6;
/// How long a step may take.
const STEP_TICKS: u64 = 1;

const _: () = assert!(PROMISE_MAX.as_nanos() == 4 * TICK_NANOS.cast_unsigned());

/// That many ticks.
#[must_use]
pub const fn ticks(count: u64) -> Span {
    Span::from_nanos(count.saturating_mul(TICK_NANOS.cast_unsigned()))
}

/// The beginning of a tick, in nanoseconds of the world.
#[must_use]
pub fn nanos(tick: u32) -> i64 {
    i64::from(tick).saturating_mul(TICK_NANOS)
}

/// What a machine that booted at `boot_at` reads from its clocks at `tick`, and the date.
#[must_use]
pub fn now(tick: u32, boot_at: i64) -> Now {
    let up = nanos(tick).saturating_sub(boot_at);
    let at = Clocks::ZERO.after(Span::from_nanos(up.cast_unsigned()));
    Now { at, unix_secs: nanos(tick).cast_unsigned() / 1_000_000_000 }
}

/// When a deadline on a machine's clock is, in nanoseconds of the world.
#[must_use]
pub fn in_world(deadline: Clocks, boot_at: i64) -> i64 {
    deadline.boot.as_nanos().min(deadline.raw.as_nanos()).saturating_add(boot_at)
}

/// The timers of the group.
#[must_use]
pub const fn timing() -> Timing {
    Timing {
        lease: ticks(2),
        heartbeat: ticks(1),
        slack: ticks(1),
        promise: ticks(3),
        margin: Span::ZERO,
        restart_lease: ticks(3),
        restart_promise: ticks(4),
        takeover_at_most: ticks(6),
    }
}

/// The group, as configured on both nodes.
#[must_use]
pub fn group(data: bool) -> (GroupSpec, Arbiter) {
    // DESIGN 6.2, `D`: the stop time, and the time until the watchdog fires after the last pet.
    let stops_within = data.then(|| ticks(STEP_TICKS + u64::from(WATCHDOG_TICKS)));
    let spec = GroupSpec {
        key: GROUP,
        definition: DEFINITION,
        preferred: false,
        safety: if data { Safety::Data { fenced: false } } else { Safety::Network },
        failback: Failback::Never,
        has_units: data,
        address_after_units: false,
        ends_connections: true,
        recover_after: ticks(2),
        address_limit: ticks(STEP_TICKS),
        start_limit: ticks(STEP_TICKS),
        stop_limit: ticks(STEP_TICKS),
        stops_within,
        peer_stops_within: stops_within,
        // The state file was not yet written: epochs are written without waiting.
        highest: Epoch::NONE,
        timing: timing(),
    };
    (spec, Arbiter::Witness(witness::Witness::default()))
}

/// Random numbers would differ; so these do.
#[must_use]
pub const fn session(of: Sender, life: u64) -> Session {
    let base = match of {
        Sender::Node(Member::First) => 100,
        Sender::Node(Member::Second) => 200,
        Sender::Witness => 300,
    };
    Session(base + life)
}
