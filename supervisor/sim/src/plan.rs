//! A world before it begins: everything that its seed decides, so that it can be changed and run
//! again.

use mastiff_core::pair::arbiters::{self, Arbiter};
use mastiff_core::pair::message::{Epoch, GroupKey};
use mastiff_core::pair::spec::{self, Failback, GroupSpec, Safety};
use mastiff_core::time::Span;
use mastiff_core::timing::{self, Facts, Guard, NETLINK_ASSUMED, Refusal, RoundTrip, Timing};

use crate::clock::{MS, SECOND, Time};
use crate::fault::{Blow, Fault, Terms};
use crate::kernel::GuardKind;
use crate::network::{Place, Wire};
use crate::rng::Rng;

/// The watchdog of every node fires so long after the last pet: before a voter without memory
/// votes again, or long after it.
pub const WATCHDOGS: [Time; 2] = [3 * SECOND, 15 * SECOND];
/// Units take so long to stop at most, or the watchdog ends them.
pub const STOP_LIMIT: Span = Span::from_millis(1500);
/// A node that failed stays away for so long.
pub const RECOVER_AFTER: Span = Span::from_secs(5);
/// Blows fall from here ...
pub const BLOWS_FROM: Time = 14 * SECOND;
/// ... to here; then all is healed.
pub const BLOWS_TO: Time = 90 * SECOND;
/// Within this time and that of a watchdog after healing all is well again: a voter's silence, a
/// stop time, a recovery, a yielded group and some turns.
pub const RECOVERED_AFTER: Time = 40 * SECOND;
/// Faults in each world, at least.
pub const BLOWS_MIN: u64 = 20;

/// A world before it begins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all chance comes from.
    pub seed: u64,
    /// Groups, one or two.
    pub groups: usize,
    /// Whether their units must not run twice.
    pub exclusive: bool,
    /// Whether the addresses come after the units.
    pub address_after_units: bool,
    /// How the guard ends by itself.
    pub guard: Guard,
    /// How far away the voters are, for the timers.
    pub round_trip: RoundTrip,
    /// The wish; the second is what a reload changes it to.
    pub takeover_within: [Span; 2],
    /// Whether the group returns by itself.
    pub failback: Failback,
    /// Paths between the nodes.
    pub paths: usize,
    /// How much the delay of a packet varies.
    pub spread: Time,
    /// So long after the last pet a node is reset.
    pub watchdog: Time,
    /// Oscillators, in parts per million.
    pub ppm: [i64; 3],
    /// What goes wrong.
    pub blows: Vec<Blow>,
    /// What is not healed at the end.
    pub lasting: Option<Fault>,
    /// When all else is healed.
    pub healed_at: Time,
    /// When the world ends.
    pub ends_at: Time,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let exclusive = rng.one_in(2);
        let tick = Span::from_millis(4);
        let guard = rng.of(&[Guard::Bpf, Guard::Nftables { tick }], Guard::Bpf);
        let wishes = [
            Span::from_millis(500),
            Span::from_secs(1),
            Span::from_secs(1),
            Span::from_secs(2),
            Span::from_secs(5),
        ];
        let ppm = core::array::from_fn(|_| rng.of(&[-1000, -200, 0, 0, 200, 1000], 0));
        let mut plan = Self {
            seed,
            groups: if rng.one_in(4) { 2 } else { 1 },
            exclusive,
            address_after_units: exclusive && rng.one_in(3),
            guard,
            round_trip: RoundTrip::Measured(Span::from_millis(1)),
            takeover_within: core::array::from_fn(|_| rng.of(&wishes, Span::from_secs(1))),
            failback: if rng.one_in(3) {
                Failback::After(Span::from_secs(4))
            } else {
                Failback::Never
            },
            paths: if rng.one_in(2) { 1 } else { 2 },
            spread: Wire::CLEAN.spread,
            watchdog: SECOND,
            ppm,
            blows: Vec::new(),
            lasting: None,
            healed_at: BLOWS_TO,
            ends_at: BLOWS_TO + RECOVERED_AFTER,
        };
        let terms = plan.terms();
        let many = BLOWS_MIN + rng.below(20);
        plan.blows = (0..many).map(|_| Blow::any(&mut rng, terms, BLOWS_FROM, BLOWS_TO)).collect();
        plan.blows.sort_by_key(|blow| blow.at);
        plan.watchdog = rng.of(&WATCHDOGS, SECOND);
        plan.ends_at += plan.watchdog;
        plan.lasting = rng.one_in(2).then(|| Fault::any_lasting(&mut rng));
        plan
    }

    /// A world of a seed in which nothing happens, with two paths: for one fault at a time.
    #[must_use]
    pub fn calm(seed: u64) -> Self {
        Self {
            paths: 2,
            failback: Failback::Never,
            blows: Vec::new(),
            lasting: None,
            ..Self::of(seed)
        }
    }

    /// A world to measure takeovers in: oscillators at their worst. `None` where the wish cannot be
    /// kept.
    #[must_use]
    pub fn measured(takeover_within: Span, guard: Guard) -> Option<Self> {
        let plan = Self {
            groups: 1,
            exclusive: false,
            address_after_units: false,
            guard,
            takeover_within: [takeover_within; 2],
            // There and back in the millisecond that the timers reckon with.
            spread: MS * 2 / 5,
            ppm: [1000, -1000, 0],
            ..Self::calm(0)
        };
        plan.timing(0).map(|_| plan)
    }

    /// What some faults depend on.
    #[must_use]
    pub const fn terms(&self) -> Terms {
        Terms { exclusive: self.exclusive, paths: self.paths }
    }

    /// The timers; `which` of both wishes.
    #[must_use]
    pub fn timing(&self, which: usize) -> Option<Timing> {
        self.derived(which).ok()
    }

    /// The same.
    ///
    /// # Errors
    /// Why a wish cannot be kept.
    pub fn derived(&self, which: usize) -> Result<Timing, Vec<Refusal>> {
        let facts = Facts {
            takeover_within: self.takeover_within.get(which).copied().unwrap_or(Span::ZERO),
            guard: self.guard,
            arbiter: timing::Arbiter::Witness,
            round_trip: self.round_trip,
            address: NETLINK_ASSUMED,
            announce: NETLINK_ASSUMED,
            safety: timing::Safety::Network,
        };
        timing::derive(&facts).map(|(timing, _)| timing)
    }

    /// How long units may outlive a lease: stop time, watchdog, and a second.
    #[must_use]
    pub fn stops_within(&self) -> Span {
        STOP_LIMIT.plus(Span::from_nanos((self.watchdog + SECOND).unsigned_abs()))
    }

    /// Every length of a lease, and how long the promise is that is asked for with it.
    #[must_use]
    pub fn promises(&self) -> Vec<(Span, Span)> {
        let timings = (0..2).filter_map(|which| self.timing(which));
        timings
            .flat_map(|it| [(it.lease, it.promise), (it.restart_lease, it.restart_promise)])
            .collect()
    }

    /// The guard as a machine's kernel has it.
    #[must_use]
    pub fn guard_kind(&self) -> GuardKind {
        let lease = self.timing(0).map_or(Span::ZERO, |timing| timing.lease);
        self.guard.timeout(lease).map_or(GuardKind::Deadline, GuardKind::Timeout)
    }

    /// Names a group.
    #[must_use]
    pub const fn key(group: usize) -> GroupKey {
        GroupKey(group as u64 + 1)
    }

    /// The place of a group in lists.
    #[must_use]
    pub fn index(key: GroupKey) -> usize {
        usize::try_from(key.0.saturating_sub(1)).unwrap_or(0)
    }

    /// The terms of a group in one of the files that a node may have: 0 is the one that
    /// [`specs`](Self::specs) goes by.
    #[must_use]
    pub fn agreed(&self, place: Place, group: usize, which: u8) -> spec::Terms {
        let other = which & 2 != 0;
        spec::Terms {
            definition: 7 + u64::from(which),
            preferred: (group == place) != (which & 1 != 0),
            failback: match (other, self.failback) {
                (false, as_ever) => as_ever,
                (true, Failback::Never) => Failback::After(Span::from_secs(4)),
                (true, Failback::After(_)) => Failback::Never,
            },
            recover_after: RECOVER_AFTER,
        }
    }

    /// The groups of a node as configured.
    #[must_use]
    pub fn specs(
        &self,
        place: Place,
        which: usize,
        highest: Epoch,
        peer_stops_within: Option<Span>,
    ) -> Vec<(GroupSpec, Arbiter)> {
        let Some(timing) = self.timing(which) else { return Vec::new() };
        (0..self.groups)
            .map(|group| {
                let spec = GroupSpec {
                    key: Self::key(group),
                    definition: 7,
                    preferred: group == place,
                    safety: if self.exclusive {
                        Safety::Data { fenced: false }
                    } else {
                        Safety::Network
                    },
                    failback: self.failback,
                    has_units: self.exclusive,
                    address_after_units: self.address_after_units,
                    ends_connections: !self.seed.is_multiple_of(2),
                    recover_after: RECOVER_AFTER,
                    address_limit: Span::from_secs(1),
                    start_limit: Span::from_secs(2),
                    stop_limit: STOP_LIMIT,
                    stops_within: Some(self.stops_within()),
                    peer_stops_within,
                    highest,
                    timing,
                };
                (spec, Arbiter::Witness(arbiters::witness::Witness::default()))
            })
            .collect()
    }
}
