//! `[pair]`: what the keys mean, and what they need of each other.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use mastiff_core::time::Span;
use mastiff_core::timing::{self, Guard, RoundTrip, TAKEOVER_DEFAULT, WatchdogFacts};

use super::super::checked::{is_node_name, program};
use super::super::fault::{Given, Review};
use super::super::section::Field;
use super::super::suggest;
use super::super::watchdog::WatchdogConfig;
use super::group::groups;
use super::raw::{RawGroup, RawPair, RawPath};
use super::{ArbiterConfig, PATHS_MAX, PairConfig, PathConfig};
use crate::guard::Wanted;

/// The arbiters of this version.
const ARBITERS: [&str; 3] = ["witness", "wire", "fence"];
/// Those of later ones.
const LATER_ARBITERS: [&str; 2] = ["etcd", "consul"];

/// What to say where both names are the same.
pub(super) fn self_as_peer(name: &str) -> String {
    format!("\"{name}\" is the name of this node; write that of the other one")
}

/// `[pair]` and its groups; `None` if there are none. `node` is the name of this node, empty where
/// it is not known yet.
pub(in super::super) fn pair(
    raw: Option<&RawPair>,
    raw_groups: &[RawGroup],
    node: &str,
    watchdog: Option<&WatchdogConfig>,
    review: &mut Review<'_>,
) -> Option<PairConfig> {
    let Some(raw) = raw else {
        if let Some(group) = raw_groups.first() {
            let message = "a group moves between two nodes: write [pair], too";
            review.key("group", &group.header, message);
        }
        return None;
    };
    if raw_groups.is_empty() {
        let message = "nothing would move between both nodes: write a [[group]], too";
        review.key("pair", &raw.header, message);
    }
    let name = wanted_name("pair.name", &raw.name, &raw.header, review);
    let peer = wanted_name("pair.peer", &raw.peer, &raw.header, review);
    if let Field::Given(given) = &raw.peer
        && !node.is_empty()
        && given.value == node
    {
        review.value(given, self_as_peer(node));
    }
    let key_file = key_file("pair.key-file", &raw.key_file, &raw.header, review);
    let fence = raw.fence.given().and_then(|given| program(given, &given.value, review));
    let arbiter = arbiter(raw, review);
    let paths = paths(raw, review);
    let facts = watchdog.and_then(WatchdogConfig::facts);
    let is_ended = raw.fence.given().is_some() || facts.is_some();
    let groups = groups(raw_groups, [node, &peer], is_ended, review);
    let takeover_within = takeover_within(raw, review);
    let guard = guard(raw, review);
    let pair =
        PairConfig { name, peer, key_file, takeover_within, guard, arbiter, fence, paths, groups };
    refuse_floating_paths(raw, &pair, review);
    refuse_witness_on_a_node(raw, &pair, review);
    if review.is_clean() {
        refuse_impossible_times(raw, &pair, facts, review);
    }
    Some(pair)
}

/// A key that must be there and is a name.
pub(super) fn wanted_name(
    key: &str,
    field: &Field<String>,
    header: &Range<usize>,
    review: &mut Review<'_>,
) -> String {
    match field {
        Field::Given(given) => {
            if !is_node_name(&given.value) {
                review.value(
                    given,
                    "must be at most 64 letters, digits, dots, hyphens and underscores",
                );
            }
            given.value.clone()
        }
        Field::Missing => {
            review.key(key, header, "is missing; it must be the same on all machines of the pair");
            String::new()
        }
        Field::Refused => String::new(),
    }
}

/// The key must be there. Whether the file is, and who may read it, is looked at when it is read.
pub(super) fn key_file(
    key: &str,
    field: &Field<String>,
    header: &Range<usize>,
    review: &mut Review<'_>,
) -> PathBuf {
    match field {
        Field::Given(given) => {
            let path = PathBuf::from(&given.value);
            let climbs = path.components().any(|part| part == std::path::Component::ParentDir);
            if !path.is_absolute() || climbs || given.value.ends_with('/') {
                review.value(given, "must be the absolute path of a file, without \"..\"");
            }
            path
        }
        Field::Missing => {
            let message = "is missing; nodes and witness know each other by this secret";
            review.key(key, header, message);
            PathBuf::new()
        }
        Field::Refused => PathBuf::new(),
    }
}

/// An address and its port that can be sent to.
pub(super) fn endpoint(given: &Given<String>, review: &mut Review<'_>) -> Option<SocketAddr> {
    let message = match given.value.parse::<SocketAddr>() {
        Ok(at) if at.port() == 0 => "needs a port, as in \"192.0.2.50:4170\"",
        Ok(at) if at.ip().is_unspecified() || at.ip().is_multicast() => {
            "must be the address of one machine"
        }
        Ok(at) => return Some(at),
        Err(_) if given.value.parse::<IpAddr>().is_ok() => {
            "needs a port, as in \"192.0.2.50:4170\" or \"[2001:db8::50]:4170\""
        }
        Err(_) => {
            "is not an address with a port, as in \"192.0.2.50:4170\" or \"[2001:db8::50]:4170\"; \
             names are not looked up, since that may take longer than a takeover"
        }
    };
    review.value(given, message);
    None
}

/// The arbiter: as written, else the one whose key is there, else `wire`. In the end it does not
/// matter what stands for one with a fault.
fn arbiter(raw: &RawPair, review: &mut Review<'_>) -> ArbiterConfig {
    let witness = raw.witness.given().and_then(|given| endpoint(given, review));
    let gateway = raw.gateway.given().and_then(|given| gateway(given, review));
    let by_keys = match (&raw.witness, &raw.fence) {
        (Field::Given(_) | Field::Refused, _) => "witness",
        (Field::Missing, Field::Given(_) | Field::Refused) => "fence",
        (Field::Missing, Field::Missing) => "wire",
    };
    let (word, known) = match &raw.arbiter {
        Field::Given(given) => {
            let word = given.value.as_str();
            if LATER_ARBITERS.contains(&word) {
                review.value(given, format!("`{word}` is not supported by this version yet"));
            } else if !ARBITERS.contains(&word) {
                let advice = suggest::advice(word, ARBITERS);
                review.value(given, format!("there is no such arbiter; {advice}"));
            }
            (word, ARBITERS.contains(&word))
        }
        Field::Missing => (by_keys, true),
        Field::Refused => (by_keys, false),
    };
    // What is only the echo of a fault is not told.
    if known {
        for (arbiter, key, field) in
            [("witness", "pair.witness", &raw.witness), ("fence", "pair.fence", &raw.fence)]
        {
            if word == arbiter && matches!(field, Field::Missing) {
                let message = format!("is missing; arbiter = \"{arbiter}\" needs it");
                review.key(key, &raw.header, message);
            }
        }
        for (arbiter, field) in [("witness", &raw.witness), ("wire", &raw.gateway)] {
            if let Field::Given(given) = field
                && word != arbiter
            {
                let message = format!(
                    "would not be asked, since the arbiter is {word}; leave it out, or write arbiter = \"{arbiter}\""
                );
                review.value(given, message);
            }
        }
    }
    match (word, witness) {
        ("fence", _) => ArbiterConfig::Fence,
        ("witness", Some(witness)) => ArbiterConfig::Witness(witness),
        _ => ArbiterConfig::Wire(gateway),
    }
}

fn gateway(given: &Given<String>, review: &mut Review<'_>) -> Option<IpAddr> {
    let usable = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
    };
    let ip = given.value.parse::<IpAddr>().ok().filter(usable);
    let message = match ip {
        None => "must be an IP address as in \"192.0.2.1\"",
        Some(IpAddr::V6(ip)) if ip.is_unicast_link_local() => {
            "is an address of every link; leave the key out, then the default route says which"
        }
        ip => return ip,
    };
    review.value(given, message);
    None
}

fn paths(raw: &RawPair, review: &mut Review<'_>) -> Vec<PathConfig> {
    const WANTED: &str = "write at least one way to the other node, as in \
                          [{ local = \"10.0.0.1:4170\", peer = \"10.0.0.2:4170\" }]";
    let list = match &raw.paths {
        Field::Given(list) => list,
        Field::Refused => return Vec::new(),
        Field::Missing => {
            review.key("pair.paths", &raw.header, format!("is missing; {WANTED}"));
            return Vec::new();
        }
    };
    if list.value.is_empty() {
        review.value(list, format!("is empty; {WANTED}"));
    }
    if let Some(surplus) = list.value.get(PATHS_MAX) {
        let message = format!("there are {} paths; at most {PATHS_MAX}", list.value.len());
        review.key("pair.paths", &surplus.header, message);
    }
    let mut paths: Vec<PathConfig> = Vec::new();
    for raw in list.value.iter().take(PATHS_MAX) {
        let ends = [("local", &raw.local), ("peer", &raw.peer)].map(|(key, field)| match field {
            Field::Given(given) => endpoint(given, review),
            Field::Missing => {
                review.key(&format!("pair.paths.{key}"), &raw.header, "is missing");
                None
            }
            Field::Refused => None,
        });
        if let [Some(local), Some(peer)] = ends {
            let path = PathConfig { local, peer };
            refuse_bad_path(raw, path, &paths, review);
            paths.push(path);
        }
    }
    paths
}

fn refuse_bad_path(
    raw: &RawPath,
    path: PathConfig,
    others: &[PathConfig],
    review: &mut Review<'_>,
) {
    let message = if path.local.is_ipv4() != path.peer.is_ipv4() {
        "one end is IPv4 and the other one IPv6"
    } else if path.local == path.peer {
        "both ends are the same"
    } else if others.iter().any(|other| other.local == path.local || other.peer == path.peer) {
        "an end of it is that of another path already: paths are sockets of their own"
    } else {
        return;
    };
    review.key("pair.paths", &raw.header, message);
}

/// An address that moves is no end of a path: it would be on the wrong machine half of the time.
fn refuse_floating_paths(raw: &RawPair, pair: &PairConfig, review: &mut Review<'_>) {
    let Some(list) = raw.paths.given() else { return };
    for raw in &list.value {
        for given in [&raw.local, &raw.peer].into_iter().filter_map(|field| field.given()) {
            let Ok(end) = given.value.parse::<SocketAddr>() else { continue };
            let mut groups = pair.groups.iter();
            if let Some(group) =
                groups.find(|group| group.addresses.iter().any(|address| address.ip == end.ip()))
            {
                let message = format!(
                    "is a floating address of the group \"{}\"; a path needs one that stays",
                    group.name
                );
                review.value(given, message);
            }
        }
    }
}

/// A witness on one of both nodes is lost together with it.
fn refuse_witness_on_a_node(raw: &RawPair, pair: &PairConfig, review: &mut Review<'_>) {
    let (ArbiterConfig::Witness(witness), Some(given)) = (pair.arbiter, raw.witness.given()) else {
        return;
    };
    let ip = witness.ip();
    let on_node = ip.is_loopback()
        || pair.paths.iter().any(|path| path.local.ip() == ip || path.peer.ip() == ip);
    // Nodes and witness in one network namespace are a test, in which nothing is lost.
    let test = pair.paths.iter().any(|path| path.local.ip() == path.peer.ip());
    if on_node && !test {
        let message = "is one of both nodes: it would be lost together with that one; use a third machine, or arbiter = \"wire\"";
        review.value(given, message);
    }
}

fn takeover_within(raw: &RawPair, review: &mut Review<'_>) -> Span {
    let Some(given) = raw.takeover_within.given() else { return TAKEOVER_DEFAULT };
    Span::parse(&given.value).unwrap_or_else(|error| {
        review.value(given, error.to_string());
        TAKEOVER_DEFAULT
    })
}

fn guard(raw: &RawPair, review: &mut Review<'_>) -> Wanted {
    let Some(given) = raw.guard.given() else { return Wanted::Auto };
    Wanted::named(&given.value).unwrap_or_else(|| {
        let advice = suggest::advice(&given.value, Wanted::NAMES);
        review.value(given, format!("there is no such guard; {advice}"));
        Wanted::Auto
    })
}

/// What cannot be had with the best guard cannot be had at all. The guard of this machine may need
/// longer; the daemon and `config explain` compute with that one.
fn refuse_impossible_times(
    raw: &RawPair,
    pair: &PairConfig,
    watchdog: Option<WatchdogFacts>,
    review: &mut Review<'_>,
) {
    // Whether units are stopped for certain has been looked at group by group.
    let Some(group) = pair.groups.iter().find(|group| !group.is_data).or(pair.groups.first())
    else {
        return;
    };
    let facts = pair.facts(group, Guard::Bpf, RoundTrip::Assumed, watchdog);
    for refusal in timing::derive(&facts).err().unwrap_or_default() {
        match &raw.takeover_within {
            Field::Given(given) => review.value(given, refusal.to_string()),
            Field::Missing | Field::Refused => {
                let message = format!("is missing, and the default {refusal}");
                review.key("pair.takeover-within", &raw.header, message);
            }
        }
    }
}
