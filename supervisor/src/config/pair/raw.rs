//! The sections of a pair as they are written.

use std::ops::Range;

use toml::de::DeTable;

use super::super::fault::{Given, Review};
use super::super::section::{Field, Section};

pub(in super::super) const PAIR_KEYS: &[&str] = &[
    "name",
    "peer",
    "key-file",
    "takeover-within",
    "guard",
    "arbiter",
    "witness",
    "fence",
    "gateway",
    "paths",
];
pub(in super::super) const GROUP_KEYS: &[&str] = &[
    "name",
    "addresses",
    "units",
    "safety",
    "address-after-units",
    "connections",
    "prefer",
    "failback",
    "recover-after",
    "start-within",
    "stop-within",
    "on-role-change",
];
pub(in super::super) const WITNESS_KEYS: &[&str] = &["listen"];
pub(in super::super) const WITNESS_PAIR_KEYS: &[&str] = &["name", "key-file"];
const PATH_KEYS: &[&str] = &["local", "peer"];

const NAME: &str = "a name in quotes";
const TIME: &str = "a time in quotes, as in \"1s\"";
const KEY_FILE: &str = "a file in quotes, as in \"/etc/mastiff/db.key\"";
const ENDPOINT: &str = "an address with its port in quotes, as in \"192.0.2.50:4170\"";
const PROGRAM: &str = "a program in quotes, as in \"/usr/sbin/fence_ipmilan ip=192.0.2.9\"";
const ADDRESS: &str = "an address in quotes, as in \"192.0.2.100/32 dev eth0\", or a list of them";
const UNIT: &str = "a unit in quotes, as in \"postgresql.service\", or a list of them";
const WORD: &str = "a word in quotes";
const PATHS: &str = "a list such as [{ local = \"10.0.0.1:4170\", peer = \"10.0.0.2:4170\" }]";

/// `[pair]`.
#[derive(Debug)]
pub(in super::super) struct RawPair {
    pub(super) header: Range<usize>,
    pub(super) name: Field<String>,
    pub(super) peer: Field<String>,
    pub(super) key_file: Field<String>,
    pub(super) takeover_within: Field<String>,
    pub(super) guard: Field<String>,
    pub(super) arbiter: Field<String>,
    pub(super) witness: Field<String>,
    pub(super) fence: Field<String>,
    pub(super) gateway: Field<String>,
    pub(super) paths: Field<Vec<RawPath>>,
}

/// One entry of `pair.paths`.
#[derive(Clone, Debug)]
pub(in super::super) struct RawPath {
    pub(super) header: Range<usize>,
    pub(super) local: Field<String>,
    pub(super) peer: Field<String>,
}

/// `[[group]]`.
#[derive(Debug)]
pub(in super::super) struct RawGroup {
    pub(super) header: Range<usize>,
    pub(super) name: Field<String>,
    pub(super) addresses: Field<Vec<Given<String>>>,
    pub(super) units: Field<Vec<Given<String>>>,
    pub(super) safety: Field<String>,
    pub(super) address_after_units: Field<bool>,
    pub(super) connections: Field<String>,
    pub(super) prefer: Field<String>,
    pub(super) failback: Field<String>,
    pub(super) recover_after: Field<String>,
    pub(super) start_within: Field<String>,
    pub(super) stop_within: Field<String>,
    pub(super) on_role_change: Field<Vec<Given<String>>>,
}

/// `[witness]`.
#[derive(Debug)]
pub(in super::super) struct RawWitness {
    pub(super) header: Range<usize>,
    pub(super) listen: Field<String>,
    pub(super) pairs: Vec<RawWitnessPair>,
}

/// `[[witness.pair]]`.
#[derive(Debug)]
pub(in super::super) struct RawWitnessPair {
    pub(super) header: Range<usize>,
    pub(super) name: Field<String>,
    pub(super) key_file: Field<String>,
}

impl RawPair {
    pub(in super::super) fn new(
        header: Range<usize>,
        table: DeTable<'_>,
        review: &mut Review<'_>,
    ) -> Self {
        let (mut pair, paths) = Section::read(review, "pair", PAIR_KEYS, table, |section| {
            let pair = Self {
                header,
                name: section.text("name", NAME),
                peer: section.text("peer", NAME),
                key_file: section.text("key-file", KEY_FILE),
                takeover_within: section.text("takeover-within", TIME),
                guard: section.text("guard", WORD),
                arbiter: section.text("arbiter", WORD),
                witness: section.text("witness", ENDPOINT),
                fence: section.text("fence", PROGRAM),
                gateway: section.text("gateway", "an address in quotes, as in \"192.0.2.1\""),
                paths: Field::Missing,
            };
            (pair, section.tables("paths", PATHS))
        });
        pair.paths = paths.map(|tables| {
            tables.into_iter().map(|(header, table)| RawPath::new(header, table, review)).collect()
        });
        pair
    }
}

impl RawPath {
    fn new(header: Range<usize>, table: DeTable<'_>, review: &mut Review<'_>) -> Self {
        Section::read(review, "pair.paths", PATH_KEYS, table, |section| Self {
            header,
            local: section.text("local", ENDPOINT),
            peer: section.text("peer", ENDPOINT),
        })
    }
}

impl RawGroup {
    pub(in super::super) fn new(
        header: Range<usize>,
        table: DeTable<'_>,
        review: &mut Review<'_>,
    ) -> Self {
        Section::read(review, "group", GROUP_KEYS, table, |section| Self {
            header,
            name: section.text("name", NAME),
            addresses: section.texts("addresses", ADDRESS),
            units: section.texts("units", UNIT),
            safety: section.text("safety", WORD),
            address_after_units: section.flag("address-after-units"),
            connections: section.text("connections", WORD),
            prefer: section.text("prefer", NAME),
            failback: section.text("failback", WORD),
            recover_after: section.text("recover-after", TIME),
            start_within: section.text("start-within", TIME),
            stop_within: section.text("stop-within", TIME),
            on_role_change: section.texts("on-role-change", PROGRAM),
        })
    }
}

impl RawWitness {
    pub(in super::super) fn new(
        header: Range<usize>,
        table: DeTable<'_>,
        review: &mut Review<'_>,
    ) -> Self {
        let (listen, tables) = Section::read(review, "witness", WITNESS_KEYS, table, |section| {
            (section.text("listen", ENDPOINT), section.tables("pair", "sections [[witness.pair]]"))
        });
        let pairs = match tables {
            Field::Given(given) => given.value,
            Field::Missing | Field::Refused => Vec::new(),
        };
        let pair = |(header, table)| RawWitnessPair::new(header, table, review);
        Self { header, listen, pairs: pairs.into_iter().map(pair).collect() }
    }
}

impl RawWitnessPair {
    fn new(header: Range<usize>, table: DeTable<'_>, review: &mut Review<'_>) -> Self {
        Section::read(review, "witness.pair", WITNESS_PAIR_KEYS, table, |section| Self {
            header,
            name: section.text("name", NAME),
            key_file: section.text("key-file", KEY_FILE),
        })
    }
}
