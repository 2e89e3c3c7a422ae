//! From the configuration to what the keeper starts with: timers, keys, the guard.

use std::net::{IpAddr, SocketAddr};

use mastiff_core::pair::arbiters::{Arbiter, fence, wire, witness};
use mastiff_core::pair::message::{Epoch, GroupKey, Member, Session, fnv1a};
use mastiff_core::pair::spec::{self, GroupSpec, Safety, Terms};
use mastiff_core::pair::{Identity, Kept};
use mastiff_core::time::Span;
use mastiff_core::timing::{self, RoundTrip, Timing, WatchdogFacts};
use mastiff_core::wire::Keys;

use super::definition;
use super::memory::Memory;
use crate::config::pair::{AddressConfig, ArbiterConfig, Failback, GroupConfig, PairConfig};
use crate::config::{Config, WatchdogConfig};
use crate::guard::{self, Gate, Guarded, Slot, Wall};
use crate::key::{self, KeyFile};
use crate::mac::PairKey;

/// Adding or removing all addresses of a group: each takes microseconds, unless others hold the
/// kernel's lock for links (rtnl), where milliseconds to tenths of a second were seen.
const ADDRESS_LIMIT: Span = Span::from_secs(5);

/// What the keeper starts with.
#[derive(Debug)]
pub struct Setup {
    /// Who this node is.
    pub identity: Identity,
    /// The groups, by their slots.
    pub specs: Vec<(GroupSpec, Arbiter)>,
    /// The keys of the pair.
    pub keys: Keys<PairKey>,
    /// Both ends of each path.
    pub paths: Vec<(SocketAddr, SocketAddr)>,
    /// The witness.
    pub witness: Option<SocketAddr>,
    /// The keeper's half of the guard.
    pub gate: Box<dyn Gate>,
    /// What a successor needs.
    pub memory: Memory,
    /// What the predecessor left.
    pub kept: Option<Kept>,
}

/// What their thread starts with.
#[derive(Debug)]
pub struct Work {
    /// The groups with their addresses.
    pub groups: Vec<(GroupKey, Vec<AddressConfig>)>,
    /// Which of them have their connections ended when they change machines.
    pub resets: Vec<bool>,
    /// The hands' half of the guard.
    pub wall: Box<dyn Wall>,
    /// What the guard is, in words.
    pub guard: String,
    /// Whose it is: the pair and the node.
    pub daemon: String,
    /// The gateway that `wire` asks; `None` with that: the one of the default route.
    pub gateway: Option<IpAddr>,
    /// Whether the gateway is asked.
    pub asks_gateway: bool,
    /// The addresses of the other node's ends of the paths.
    pub peer: Vec<IpAddr>,
}

/// What the state file knows of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// The highest epoch.
    pub highest: Epoch,
    /// The longest stop time that the peer named.
    pub peer_stops_within: Option<Span>,
}

/// Loads the guard and the keys, and derives all timers.
///
/// # Errors
/// In words: a key file that cannot be used, or times that this machine's guard cannot keep.
pub fn prepare(config: &Config, pair: &PairConfig) -> Result<(Setup, Work), String> {
    let keys = KeyFile::read(&pair.key_file).map_err(|error| error.to_string())?;
    let keys = keys.keys(&pair.name);
    let guarded: Vec<Guarded> = pair.groups.iter().enumerate().flat_map(guarded).collect();
    let daemon = format!("{}/{}", pair.name, config.node.name);
    let watchdog = config.watchdog.as_ref().and_then(WatchdogConfig::facts);
    let wanted = |guard| timings(pair, guard, watchdog).map(|timings| heartbeat(&timings));
    let guard = guard::choose(pair.guard, &daemon, &guarded, wanted)?;
    let timings = timings(pair, guard.form, watchdog)?;
    let specs = pair.groups.iter().zip(&timings).map(|(group, timing)| {
        let arbiter = match pair.arbiter {
            ArbiterConfig::Witness(_) => Arbiter::Witness(witness::Witness::default()),
            ArbiterConfig::Wire(_) => Arbiter::Wire(wire::Wire::default()),
            ArbiterConfig::Fence => Arbiter::Fence(fence::Fence::default()),
        };
        (group_spec(pair, group, &config.node.name, *timing), arbiter)
    });
    let first = config.node.name < pair.peer;
    let whose = format!("{daemon}/{}", pair.peer);
    let (memory, kept) = match crate::fdstore::inherited(super::memory::NAME) {
        Some(fd) => Memory::inherit(fd, &whose),
        None => {
            let failed = |error| format!("cannot make the pair's memory (memfd_create): {error}");
            (Memory::create(&whose).map_err(failed)?, None)
        }
    };
    let random = key::random::<16>()
        .map_err(|error| format!("cannot draw a number for this life of the daemon: {error}"))?;
    let (session, seed) = random.split_at(8);
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let witness = match pair.arbiter {
        ArbiterConfig::Witness(at) => Some(at),
        ArbiterConfig::Wire(_) | ArbiterConfig::Fence => None,
    };
    let work = Work {
        groups: pair
            .groups
            .iter()
            .map(|group| (group_key(&group.name), group.addresses.clone()))
            .collect(),
        resets: pair.groups.iter().map(resets).collect(),
        guard: guard.wall.describe(),
        daemon,
        wall: guard.wall,
        gateway: match pair.arbiter {
            ArbiterConfig::Wire(gateway) => gateway,
            ArbiterConfig::Witness(_) | ArbiterConfig::Fence => None,
        },
        asks_gateway: matches!(pair.arbiter, ArbiterConfig::Wire(_)),
        peer: pair.paths.iter().map(|path| path.peer.ip()).collect(),
    };
    let setup = Setup {
        identity: Identity {
            member: if first { Member::First } else { Member::Second },
            session: Session(number(session).max(1)),
            seed: number(seed),
        },
        specs: specs.collect(),
        keys,
        paths: pair.paths.iter().map(|path| (path.local, path.peer)).collect(),
        witness,
        gate: guard.gate,
        memory,
        kept,
    };
    Ok((setup, work))
}

impl Setup {
    /// What the state file remembers of each group, by name.
    pub fn remember(&mut self, mut of: impl FnMut(GroupKey) -> Remembered) {
        for (spec, _) in &mut self.specs {
            let Remembered { highest, peer_stops_within } = of(spec.key);
            (spec.highest, spec.peer_stops_within) = (highest, peer_stops_within);
        }
    }
}

/// Names a group between machines.
#[must_use]
pub fn group_key(name: &str) -> GroupKey {
    GroupKey(fnv1a(name.as_bytes()))
}

fn guarded((slot, group): (usize, &GroupConfig)) -> impl Iterator<Item = Guarded> {
    group.addresses.iter().map(move |address| Guarded {
        slot: Slot(slot),
        ip: address.ip,
        interface: address.interface.clone(),
    })
}

fn timings(
    pair: &PairConfig,
    guard: timing::Guard,
    watchdog: Option<WatchdogFacts>,
) -> Result<Vec<Timing>, String> {
    let derive = |group: &GroupConfig| {
        let facts = pair.facts(group, guard, RoundTrip::Assumed, watchdog);
        timing::derive(&facts).map(|(timing, _)| timing).map_err(|refusals| {
            let all: Vec<String> = refusals.iter().map(ToString::to_string).collect();
            format!("pair.takeover-within: {}; see `mastiff config explain`", all.join("; "))
        })
    };
    pair.groups.iter().map(derive).collect()
}

/// Whether there is something to end.
fn resets(group: &GroupConfig) -> bool {
    group.resets_connections && !group.addresses.is_empty()
}

/// The shortest of all groups: what a guard with a time-out must keep up with.
fn heartbeat(timings: &[Timing]) -> Span {
    timings.iter().map(|timing| timing.heartbeat).min().unwrap_or(Span::from_secs(1))
}

/// The terms of a group on a node: what a reload may change.
#[must_use]
pub fn terms(pair: &PairConfig, group: &GroupConfig, node: &str) -> Terms {
    Terms {
        definition: definition::of(pair, group),
        preferred: group.prefer.as_deref() == Some(node),
        failback: match group.failback {
            Failback::Never | Failback::Manual => spec::Failback::Never,
            Failback::After(span) => spec::Failback::After(span),
        },
        recover_after: group.recover_after,
    }
}

fn group_spec(pair: &PairConfig, group: &GroupConfig, node: &str, timing: Timing) -> GroupSpec {
    let Terms { definition, preferred, failback, recover_after } = terms(pair, group, node);
    GroupSpec {
        key: group_key(&group.name),
        definition,
        preferred,
        safety: match group.is_data {
            true => Safety::Data { fenced: pair.fence.is_some() },
            false => Safety::Network,
        },
        failback,
        has_units: !group.units.is_empty(),
        address_after_units: group.address_after_units,
        ends_connections: resets(group),
        recover_after,
        address_limit: ADDRESS_LIMIT,
        start_limit: group.start_within,
        stop_limit: group.stop_within,
        stops_within: None,
        peer_stops_within: None,
        highest: Epoch::NONE,
        timing,
    }
}
