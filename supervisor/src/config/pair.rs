//! `[pair]`, `[[group]]` and `[witness]`: two nodes, what moves between them, and who has a vote.
//!
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use mastiff_core::time::Span;
use mastiff_core::timing::{
    Arbiter, Facts, Guard, NETLINK_ASSUMED, RoundTrip, Safety, WatchdogFacts,
};

use super::{Config, Fault};
use crate::guard::Wanted;

pub mod change;
mod check;
mod group;
mod member;
pub(super) mod raw;
mod show;
mod witness;

pub(super) use check::pair;
pub(super) use member::{group_of, prefer_peer, prefers_peer};
pub(super) use show::show;
pub(super) use witness::witness;

/// Paths of one pair at most; each has a socket of its own.
pub const PATHS_MAX: usize = 4;
/// Groups of one pair at most.
pub const GROUPS_MAX: usize = 32;
/// Addresses of one group at most.
pub const ADDRESSES_MAX: usize = 64;
/// Units of one group at most.
pub const UNITS_MAX: usize = 64;
/// Programs that are told of a role change at most; they are called one after the other.
pub const HOOKS_MAX: usize = 8;
/// Pairs of one witness at most: as many as one core answers when both nodes of each ask ten times
/// a second (examples/witness_load.rs), and as a file of a megabyte can name.
pub const WITNESS_PAIRS_MAX: usize = 10_000;

/// `witness.listen`, unless configured.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 4170);
/// A group that could not be taken, or was handed over for bad health, is not tried again for this
/// time.
pub const GROUP_RECOVER_DEFAULT: Span = Span::from_secs(60);

/// The fence agent is given up then. It logs in, switches, and asks whether the power is off:
/// fence_ipmilan(8) waits up to 20 s for the last one alone.
pub const FENCE_DEADLINE: Span = Span::from_secs(30);
/// How long the units of a group may take to start, or to stop, unless configured: what systemd
/// gives one unit (`DefaultTimeoutStartSec=`, `DefaultTimeoutStopSec=`, systemd-system.conf(5)).
pub const UNITS_WITHIN_DEFAULT: Span = Span::from_secs(90);

/// `[pair]` with its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairConfig {
    /// `name`.
    pub name: String,
    /// `peer`: the name of the other node.
    pub peer: String,
    /// `key-file`.
    pub key_file: PathBuf,
    /// `takeover-within`.
    pub takeover_within: Span,
    /// `guard`.
    pub guard: Wanted,
    /// `arbiter`.
    pub arbiter: ArbiterConfig,
    /// `fence`: program and arguments.
    pub fence: Option<Vec<String>>,
    /// `paths`; at least one.
    pub paths: Vec<PathConfig>,
    /// `[[group]]`; at least one.
    pub groups: Vec<GroupConfig>,
}

/// Who decides when the other node is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArbiterConfig {
    /// The witness with this address.
    Witness(SocketAddr),
    /// The gateway; `None`: that of the default route.
    Wire(Option<IpAddr>),
    /// The fence agent.
    Fence,
}

impl ArbiterConfig {
    /// As the configuration has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Witness(_) => "witness",
            Self::Wire(_) => "wire",
            Self::Fence => "fence",
        }
    }
}

/// A way from node to node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathConfig {
    /// Address and port on this node.
    pub local: SocketAddr,
    /// Address and port on the other one.
    pub peer: SocketAddr,
}

/// One `[[group]]`: what moves together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `name`.
    pub name: String,
    /// `addresses`.
    pub addresses: Vec<AddressConfig>,
    /// `units`, in the order of their start.
    pub units: Vec<String>,
    /// `safety = "data"`: the units must not run twice.
    pub is_data: bool,
    /// `address-after-units`.
    pub address_after_units: bool,
    /// `connections = "reset"`: those with its addresses end when the addresses change machines.
    pub resets_connections: bool,
    /// `prefer`: the node that breaks a tie.
    pub prefer: Option<String>,
    /// `failback`.
    pub failback: Failback,
    /// `recover-after`.
    pub recover_after: Span,
    /// `start-within`, of all units together.
    pub start_within: Span,
    /// `stop-within`, of all units together.
    pub stop_within: Span,
    /// `on-role-change`: programs and their arguments.
    pub on_role_change: Vec<Vec<String>>,
}

impl GroupConfig {
    /// How long it takes at most until none of its units runs.
    pub fn stop_time(&self) -> Span {
        if self.units.is_empty() { Span::ZERO } else { self.stop_within }
    }

    /// How long its units take at most to stop on one node and to start on the other.
    pub fn move_time(&self) -> Span {
        if self.units.is_empty() { Span::ZERO } else { self.stop_within.plus(self.start_within) }
    }
}

/// A floating address: `IP/PREFIX dev INTERFACE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressConfig {
    /// The address.
    pub ip: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
    /// The interface.
    pub interface: String,
}

impl fmt::Display for AddressConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} dev {}", self.ip, self.prefix, self.interface)
    }
}

/// Whether a group goes back to the preferred node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failback {
    /// Only when something else moves it.
    Never,
    /// When an operator says so; until then it is reported as away from home.
    Manual,
    /// When that node has been well for this long.
    After(Span),
}

/// `[witness]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessConfig {
    /// `listen`.
    pub listen: SocketAddr,
    /// `[[witness.pair]]`; at least one.
    pub pairs: Vec<WitnessPairConfig>,
}

/// One `[[witness.pair]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessPairConfig {
    /// `name`.
    pub name: String,
    /// `key-file`.
    pub key_file: PathBuf,
}

/// Whether a unit may be one of those that must not run twice. Only of services and mounts PID 1
/// says when they are gone: the others start or hold units of other names (`.target`, `.slice`,
/// `.socket`, `.timer`, `.path`), are not started by name (`.scope`, `.device`), or run nothing.
#[must_use]
pub fn can_be_exclusive(unit: &str) -> bool {
    unit.ends_with(".service") || unit.ends_with(".mount")
}

impl PairConfig {
    /// Whether any of its units must not run twice.
    pub fn has_data(&self) -> bool {
        self.groups.iter().any(|group| group.is_data)
    }

    /// What the timers of a group depend on.
    pub fn facts(
        &self,
        group: &GroupConfig,
        guard: Guard,
        round_trip: RoundTrip,
        watchdog: Option<WatchdogFacts>,
    ) -> Facts {
        let fence = self.fence.as_ref().map(|_| FENCE_DEADLINE);
        Facts {
            takeover_within: self.takeover_within,
            guard,
            arbiter: match self.arbiter {
                ArbiterConfig::Witness(_) => Arbiter::Witness,
                ArbiterConfig::Wire(_) => Arbiter::Wire,
                ArbiterConfig::Fence => Arbiter::Fence { deadline: FENCE_DEADLINE },
            },
            round_trip,
            address: NETLINK_ASSUMED,
            announce: NETLINK_ASSUMED,
            safety: if group.is_data {
                Safety::Data { stop: group.stop_within, watchdog, fence }
            } else {
                Safety::Network
            },
        }
    }
}

/// What only the hostname shows, where the file does not name the node.
pub(super) fn faults_of_names(config: &Config, origin: &Path) -> Vec<Fault> {
    let (Some(pair), node) = (&config.pair, config.node.name.as_str()) else { return Vec::new() };
    let fault = |key: &str, message| Fault { key: key.into(), ..Fault::of_file(origin, message) };
    let mut faults = Vec::new();
    if pair.peer == node {
        faults.push(fault("pair.peer", check::self_as_peer(node)));
    }
    for prefer in pair.groups.iter().filter_map(|group| group.prefer.as_deref()) {
        let message = group::prefers_stranger(prefer, [node, &pair.peer]);
        faults.extend(message.map(|message| fault("group.prefer", message)));
    }
    faults
}

/// Why the daemon does not start with a configuration that is valid.
pub fn not_run(config: &Config, origin: &Path) -> Option<Fault> {
    let is_witness = config.pair.is_none() && config.witness.is_some();
    // Nobody would look at them, and nobody would be told.
    let has_more = !config.checks.is_empty() || !config.alerts.is_empty();
    (is_witness && has_more).then(|| {
        let message = "a witness does nothing else: let a second mastiffd have the checks and \
                       alerts of this machine, with its own file";
        Fault { key: "witness".into(), ..Fault::of_file(origin, message.to_string()) }
    })
}
