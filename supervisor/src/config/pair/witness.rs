//! `[witness]`: the third voter, of many pairs.

use std::net::SocketAddr;

use mastiff_core::sorted::Map;

use super::super::fault::{Given, Review, shorten};
use super::check::{key_file, wanted_name};
use super::raw::{RawPair, RawWitness};
use super::{LISTEN_DEFAULT, WITNESS_PAIRS_MAX, WitnessConfig, WitnessPairConfig};

/// `[witness]`; `None` if there is none.
pub(in super::super) fn witness(
    raw: Option<&RawWitness>,
    pair: Option<&RawPair>,
    review: &mut Review<'_>,
) -> Option<WitnessConfig> {
    let raw = raw?;
    if pair.is_some() {
        let message = "a node of a pair is no witness: let a second mastiffd have this section, \
                       with its own file, state-dir and run-dir";
        review.key("witness", &raw.header, message);
    }
    if raw.pairs.is_empty() {
        let message = "has no pair to vote for: write [[witness.pair]], too";
        review.key("witness", &raw.header, message);
    }
    if let Some(surplus) = raw.pairs.get(WITNESS_PAIRS_MAX) {
        let message = format!("there are {} pairs; at most {WITNESS_PAIRS_MAX}", raw.pairs.len());
        review.key("witness.pair", &surplus.header, message);
    }
    let listen = raw.listen.given().and_then(|given| listen(given, review));
    let mut names: Map<&str, usize> = Map::new();
    let mut pairs = Vec::new();
    for raw in raw.pairs.iter().take(WITNESS_PAIRS_MAX) {
        let name = wanted_name("witness.pair.name", &raw.name, &raw.header, review);
        if let Some(given) = raw.name.given() {
            let line = review.line(&given.span);
            if let Some(first) = names.insert(&given.value, line) {
                let message = format!("\"{}\" is in line {first} already", shorten(&given.value));
                review.value(given, message);
            }
        }
        let key_file = key_file("witness.pair.key-file", &raw.key_file, &raw.header, review);
        pairs.push(WitnessPairConfig { name, key_file });
    }
    Some(WitnessConfig { listen: listen.unwrap_or(LISTEN_DEFAULT), pairs })
}

fn listen(given: &Given<String>, review: &mut Review<'_>) -> Option<SocketAddr> {
    let at = given.value.parse::<SocketAddr>().ok();
    let at = at.filter(|at| at.port() != 0 && !at.ip().is_multicast());
    if at.is_none() {
        let message = "must be an address with a port, as in \"0.0.0.0:4170\" or \"[::]:4170\"";
        review.value(given, message);
    }
    at
}
