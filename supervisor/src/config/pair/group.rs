//! `[[group]]`: what moves together.

use std::net::IpAddr;

use mastiff_core::sorted::Map;
use mastiff_core::time::Span;
use mastiff_hwmon::sensor::is_unit_name;

use super::super::checked::{Bounds, PATIENCE, program, span};
use super::super::fault::{Given, Review, shorten};
use super::super::section::Field;
use super::super::suggest;
use super::check::wanted_name;
use super::raw::RawGroup;
use super::{
    ADDRESSES_MAX, AddressConfig, Failback, GROUP_RECOVER_DEFAULT, GROUPS_MAX, GroupConfig,
    HOOKS_MAX, UNITS_MAX, UNITS_WITHIN_DEFAULT, can_be_exclusive,
};

/// Bytes of an interface's name (IFNAMSIZ without its NUL, linux/if.h).
const INTERFACE_BYTES_MAX: usize = 15;
/// `start-within` and `stop-within`: a database may replay its journal for an hour.
const UNITS_WITHIN: Bounds = Bounds::new(Span::from_secs(1), Span::from_secs(3600));
/// `failback = "after ..."`.
const FAILBACK: Bounds = Bounds::new(Span::from_secs(10), Span::from_secs(86_400));

/// What is in a group already, each with its line.
#[derive(Default)]
struct Taken {
    names: Map<String, usize>,
    addresses: Map<IpAddr, usize>,
    units: Map<String, usize>,
}

/// All groups. `nodes` are the names of this node and of its peer, empty where not known;
/// `is_ended`: something ends units that do not stop.
pub(super) fn groups(
    raw: &[RawGroup],
    nodes: [&str; 2],
    is_ended: bool,
    review: &mut Review<'_>,
) -> Vec<GroupConfig> {
    if let Some(surplus) = raw.get(GROUPS_MAX) {
        let message = format!("there are {} groups; at most {GROUPS_MAX}", raw.len());
        review.key("group", &surplus.header, message);
    }
    let mut taken = Taken::default();
    raw.iter().take(GROUPS_MAX).map(|raw| group(raw, nodes, is_ended, &mut taken, review)).collect()
}

fn group(
    raw: &RawGroup,
    nodes: [&str; 2],
    is_ended: bool,
    taken: &mut Taken,
    review: &mut Review<'_>,
) -> GroupConfig {
    let name = wanted_name("group.name", &raw.name, &raw.header, review);
    if let Some(given) = raw.name.given() {
        once(&mut taken.names, given.value.clone(), given, review);
    }
    let mut addresses = Vec::new();
    for given in some(&raw.addresses, ADDRESSES_MAX, "addresses", review) {
        match address(&given.value) {
            Ok(address) => {
                once(&mut taken.addresses, address.ip, given, review);
                addresses.push(address);
            }
            Err(message) => review.value(given, message),
        }
    }
    let mut units = Vec::new();
    for given in some(&raw.units, UNITS_MAX, "units", review) {
        if !is_unit_name(&given.value) {
            review.value(given, "is no unit with its suffix, as in \"postgresql.service\"");
        }
        if let Some(message) = cannot_be_exclusive(raw, &given.value) {
            review.value(given, message);
        }
        once(&mut taken.units, given.value.clone(), given, review);
        units.push(given.value.clone());
    }
    if matches!((&raw.addresses, &raw.units), (Field::Missing, Field::Missing)) {
        review.key("group", &raw.header, "has neither `addresses` nor `units`: nothing would move");
    }
    let hooks = some(&raw.on_role_change, HOOKS_MAX, "programs", review);
    let on_role_change =
        hooks.iter().filter_map(|given| program(given, &given.value, review)).collect();
    let prefer = prefer(raw, nodes, review);
    GroupConfig {
        name,
        addresses,
        units,
        is_data: is_data(raw, is_ended, review),
        resets_connections: resets_connections(raw, review),
        address_after_units: raw.address_after_units.given().is_some_and(|given| given.value),
        failback: failback(raw, review),
        prefer,
        recover_after: span(&raw.recover_after, PATIENCE, GROUP_RECOVER_DEFAULT, review),
        start_within: span(&raw.start_within, UNITS_WITHIN, UNITS_WITHIN_DEFAULT, review),
        stop_within: span(&raw.stop_within, UNITS_WITHIN, UNITS_WITHIN_DEFAULT, review),
        on_role_change,
    }
}

/// The entries of a list, as many as there may be.
fn some<'r>(
    field: &'r Field<Vec<Given<String>>>,
    most: usize,
    what: &str,
    review: &mut Review<'_>,
) -> &'r [Given<String>] {
    let Some(list) = field.given() else { return &[] };
    if let Some(surplus) = list.value.get(most) {
        let message = format!("there are {} {what}; at most {most}", list.value.len());
        review.value(surplus, message);
    }
    list.value.get(..most).unwrap_or(&list.value)
}

/// What may be in one place of all groups only.
fn once<K: Ord>(taken: &mut Map<K, usize>, key: K, given: &Given<String>, review: &mut Review<'_>) {
    let line = review.line(&given.span);
    match taken.get(&key) {
        Some(first) => {
            review.value(given, format!("is there twice; the first one is in line {first}"));
        }
        None => drop(taken.insert(key, line)),
    }
}

/// `IP[/PREFIX] dev INTERFACE`.
fn address(text: &str) -> Result<AddressConfig, String> {
    const FORM: &str = "as in \"192.0.2.100/32 dev eth0\"";
    let mut words = text.split_whitespace();
    let (Some(address), word, interface, None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(format!("has more behind the interface; write it {FORM}"));
    };
    let (Some("dev"), Some(interface)) = (word, interface) else {
        return Err(format!("names no interface; write it {FORM}"));
    };
    let (ip, prefix) = match address.split_once('/') {
        Some((ip, prefix)) => (ip, Some(prefix)),
        None => (address, None),
    };
    let ip: IpAddr = ip
        .parse()
        .map_err(|_| format!("`{}` is no IPv4 or IPv6 address; write it {FORM}", shorten(ip)))?;
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || broadcast {
        return Err("is no address that a machine can have for others".to_string());
    }
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    let digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = match prefix {
        None => bits,
        Some(text) => Some(text)
            .filter(digits)
            .and_then(|text| text.parse().ok())
            .filter(|prefix| (1..=bits).contains(prefix))
            .ok_or_else(|| format!("the prefix must be between 1 and {bits}; {bits} is usual"))?,
    };
    let fits = interface.len() <= INTERFACE_BYTES_MAX
        && !interface.contains(['/', ':'])
        && ![".", ".."].contains(&interface);
    if !fits {
        let message = format!(
            "an interface has at most {INTERFACE_BYTES_MAX} bytes and no slash or colon in its name"
        );
        return Err(message);
    }
    Ok(AddressConfig { ip, prefix, interface: interface.to_string() })
}

/// What to say of a unit that cannot be one of those that must not run twice.
fn cannot_be_exclusive(raw: &RawGroup, unit: &str) -> Option<&'static str> {
    let is_data = raw.safety.given().is_some_and(|given| given.value == "data");
    (is_data && is_unit_name(unit) && !can_be_exclusive(unit)).then_some(
        "cannot be kept from running twice: with safety = \"data\" name the services and mounts themselves, as in \"postgresql@15-main.service\"",
    )
}

fn is_data(raw: &RawGroup, is_ended: bool, review: &mut Review<'_>) -> bool {
    let Field::Given(given) = &raw.safety else { return false };
    match given.value.as_str() {
        "network" => false,
        "data" => {
            if matches!(raw.units, Field::Missing) {
                let message =
                    "is about units that must not run twice, and this group has no `units`";
                review.value(given, message);
            } else if !is_ended {
                let message = "needs something that ends units that do not stop: write [watchdog] with a device of mastiff's own, or pair.fence, or \"network\"";
                review.value(given, message);
            }
            true
        }
        word => {
            let advice = suggest::advice(word, ["network", "data"]);
            review.value(given, format!("must be \"network\" or \"data\"; {advice}"));
            false
        }
    }
}

fn resets_connections(raw: &RawGroup, review: &mut Review<'_>) -> bool {
    let Field::Given(given) = &raw.connections else { return true };
    match given.value.as_str() {
        "reset" => true,
        "keep" => false,
        word => {
            let advice = suggest::advice(word, ["reset", "keep"]);
            review.value(given, format!("must be \"reset\" or \"keep\"; {advice}"));
            true
        }
    }
}

fn prefer(raw: &RawGroup, nodes: [&str; 2], review: &mut Review<'_>) -> Option<String> {
    let given = raw.prefer.given()?;
    if let Some(message) = prefers_stranger(&given.value, nodes) {
        review.value(given, message);
    }
    Some(given.value.clone())
}

/// What to say where the preferred node is none of both.
pub(super) fn prefers_stranger(prefer: &str, nodes: [&str; 2]) -> Option<String> {
    let [node, peer] = nodes;
    let known = !node.is_empty() && !peer.is_empty() && node != peer;
    (known && !nodes.contains(&prefer))
        .then(|| format!("must be one of both nodes: \"{node}\" or \"{peer}\""))
}

fn failback(raw: &RawGroup, review: &mut Review<'_>) -> Failback {
    let Field::Given(given) = &raw.failback else { return Failback::Never };
    let text = given.value.trim();
    match (text, text.strip_prefix("after ")) {
        ("never", _) => Failback::Never,
        ("manual", _) => Failback::Manual,
        (_, Some(after)) => {
            let time = Field::Given(Given { value: after.to_string(), ..given.clone() });
            let after = span(&time, FAILBACK, Span::from_secs(600), review);
            if matches!(raw.prefer, Field::Missing) {
                review.value(given, "goes back to the node that `prefer` names; write that, too");
            }
            Failback::After(after)
        }
        _ => {
            review.value(given, "must be \"never\", \"manual\", or a time as in \"after 10m\"");
            Failback::Never
        }
    }
}
