//! What both nodes must have alike of a group, as the 64 bits that each tells the other: a part for
//! each thing that may differ, so that a node can say which does.
//!
//! | bits | part | overlooked |
//! |---|---|---|
//! | 44 to 63 | the addresses, in their order; interfaces may have other names there | once in 2^20 |
//! | 24 to 43 | the units in their order, `safety`, `address-after-units` | once in 2^20 |
//! | 12 to 23 | `takeover-within` and the arbiter | once in 2^12 |
//! | 0 to 11 | `prefer` and `failback` | once in 2^12 |
//!
//! The last two change when a group moves, never whether two nodes have it.

use mastiff_core::pair::message::fnv1a;

use crate::config::pair::{GroupConfig, PairConfig};

/// Each part: its lowest bit, its number of bits, and what it is called.
const PARTS: [(u32, u32, &str); 4] = [
    (44, 20, "its addresses, or their order"),
    (24, 20, "its units, their order, `safety` or `address-after-units`"),
    (12, 12, "`takeover-within` or the arbiter"),
    (0, 12, "`prefer` or `failback`"),
];

/// Of a group.
#[must_use]
pub fn of(pair: &PairConfig, group: &GroupConfig) -> u64 {
    let addresses: Vec<String> = group
        .addresses
        .iter()
        .map(|address| format!("{}/{}", address.ip, address.prefix))
        .collect();
    let texts = [
        addresses.join(" "),
        format!("{:?} {} {}", group.units, group.is_data, group.address_after_units),
        format!("{} {}", pair.takeover_within.as_nanos(), pair.arbiter.name()),
        format!("{:?} {:?}", group.prefer, group.failback),
    ];
    PARTS.iter().zip(&texts).fold(0, |all, ((lowest, bits, _), text)| {
        // Of FNV the high bits depend on all of the text, but little on its last bytes.
        let hash = fnv1a(text.as_bytes());
        all | (((hash ^ (hash >> 32)) % (1 << bits)) << lowest)
    })
}

/// What differs between two definitions, in words.
#[must_use]
pub fn difference(one: u64, other: u64) -> String {
    let differs =
        |(lowest, bits, _): &&(u32, u32, &str)| ((one ^ other) >> lowest).trailing_zeros() < *bits;
    let names: Vec<&str> = PARTS.iter().filter(differs).map(|(_, _, name)| *name).collect();
    names.join("; ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn defined(group: &str, pair: &str) -> u64 {
        let text = format!(
            "[node]\nname = \"a\"\n[pair]\nname = \"p\"\npeer = \"b\"\nkey-file = \"/k\"\n{pair}\n\
             paths = [{{ local = \"10.0.0.1:4170\", peer = \"10.0.0.2:4170\" }}]\n\
             [watchdog]\n[[group]]\nname = \"web\"\n{group}\n"
        );
        let config = crate::config::load_text(&text, Path::new("f.toml")).unwrap();
        let pair = config.pair.unwrap();
        of(&pair, &pair.groups[0])
    }

    #[test]
    fn each_difference_is_named_and_no_other() {
        let pair = "arbiter = \"wire\"";
        let group = "addresses = [\"192.0.2.1/32 dev eth0\", \"192.0.2.2/32 dev eth0\"]\n\
                     units = [\"a.service\", \"b.service\"]";
        let base = defined(group, pair);
        assert_eq!(difference(base, base), "");
        let on = |text: &str, by: &str| group.replace(text, by);
        // What a node calls its interfaces is its own affair, and so is what it runs.
        for other in [on("eth0", "lan0"), format!("{group}\nstop-within = \"9s\"")] {
            assert_eq!(difference(base, defined(&other, pair)), "", "{other}");
        }
        for (other, name) in [
            (on("192.0.2.2/32", "192.0.2.3/32"), "its addresses, or their order"),
            (on("192.0.2.2/32", "192.0.2.2/24"), "its addresses, or their order"),
            (
                on(
                    "\"192.0.2.1/32 dev eth0\", \"192.0.2.2/32",
                    "\"192.0.2.2/32 dev eth0\", \"192.0.2.1/32",
                ),
                "its addresses, or their order",
            ),
            (on("b.service", "c.service"), PARTS[1].2),
            (on("a.service\", \"b", "b.service\", \"a"), PARTS[1].2),
            (format!("{group}\nsafety = \"data\""), PARTS[1].2),
            (format!("{group}\naddress-after-units = true"), PARTS[1].2),
            (format!("{group}\nprefer = \"b\""), "`prefer` or `failback`"),
            (
                format!("{group}\nfailback = \"after 10m\"\nprefer = \"a\""),
                "`prefer` or `failback`",
            ),
        ] {
            assert_eq!(difference(base, defined(&other, pair)), name, "{other}");
        }
        let slower = defined(group, "arbiter = \"wire\"\ntakeover-within = \"2s\"");
        assert_eq!(difference(base, slower), "`takeover-within` or the arbiter");
        let both =
            defined(&on("b.service", "c.service"), "arbiter = \"wire\"\ntakeover-within = \"2s\"");
        assert_eq!(difference(base, both), format!("{}; {}", PARTS[1].2, PARTS[2].2));
    }
}
