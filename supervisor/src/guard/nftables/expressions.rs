//! What a rule consists of (linux/netfilter/nf_tables.h).

use mastiff_core::time::Span;

use super::knock::key;
use super::rules::{Hook, ITEM, LEASE, Table};
use crate::guard::Slot;
use crate::netlink::Request;

/// Register 1 of 16 bytes and register 2 (`NFT_REG_1`, `NFT_REG_2`); 0 is the verdict.
#[derive(Clone, Copy)]
pub(super) enum Register {
    Verdict,
    One,
    Two,
}

/// What a payload's offset counts from (`NFT_PAYLOAD_NETWORK_HEADER`, `_TRANSPORT_HEADER`).
#[derive(Clone, Copy)]
pub(super) enum Base {
    Network,
    Transport,
}

/// An end of a packet's way.
#[derive(Clone, Copy)]
pub(super) enum End {
    Source,
    Destination,
}

/// A value (`NFTA_DATA_VALUE`).
pub(super) fn value_of(to: &mut Request, value: &[u8]) {
    to.attribute(1, value);
}

/// A verdict (`NFTA_DATA_VERDICT`).
pub(super) fn verdict_of(to: &mut Request, code: i32, chain: Option<&str>) {
    to.nest(2, |verdict| {
        verdict.attribute(1, &code.to_be_bytes());
        if let Some(chain) = chain {
            verdict.text(2, chain);
        }
    });
}

pub(super) const EQUAL: u32 = 0; // NFT_CMP_EQ
pub(super) const DROP: i32 = 0; // NF_DROP
pub(super) const JUMP: i32 = -3; // NFT_JUMP

impl Register {
    const fn bytes(self) -> [u8; 4] {
        match self {
            Self::Verdict => 0u32.to_be_bytes(),
            Self::One => 1u32.to_be_bytes(),
            Self::Two => 2u32.to_be_bytes(),
        }
    }
}

/// Writes the expressions of a rule; each reads and writes registers, or ends the rule.
pub(super) struct Expressions<'a>(pub(super) &'a mut Request);

impl Expressions<'_> {
    fn add(&mut self, name: &str, fill: impl FnOnce(&mut Request)) {
        self.0.nest(ITEM, |expression| {
            expression.text(1, name).nest(2, fill); // NFTA_EXPR_NAME, NFTA_EXPR_DATA
        });
    }

    fn meta(&mut self, what: u32) {
        self.add("meta", |to| {
            to.attribute(1, &Register::One.bytes()).attribute(2, &what.to_be_bytes());
        });
    }

    /// As nft(8) writes it in that table.
    pub(super) fn ether_type(&mut self, table: Table, kind: u16) {
        if table == Table::Inet {
            self.meta(15); // NFT_META_NFPROTO
            self.compare(EQUAL, &[if kind == 0x0800 { 2 } else { 10 }]); // NFPROTO_IPV4, _IPV6
        } else {
            self.meta(1); // NFT_META_PROTOCOL
            self.compare(EQUAL, &kind.to_be_bytes());
        }
    }

    /// Goes on if the packet came in by that device, or goes out by it.
    pub(super) fn device(&mut self, hook: Hook, index: u32) {
        self.meta(match hook {
            Hook::Ingress => 4, // NFT_META_IIF
            Hook::Egress => 5,  // NFT_META_OIF
        });
        self.compare(EQUAL, &index.to_ne_bytes());
    }

    pub(super) fn neighbour_discovery(&mut self, table: Table, kind: u8) {
        self.ether_type(table, 0x86dd);
        self.meta(16); // NFT_META_L4PROTO
        self.compare(EQUAL, &[58]); // ICMPv6
        self.payload(Base::Transport, 0, 1, Register::One);
        self.compare(EQUAL, &[kind]);
    }

    /// Goes on if the packet's source or destination is an address of this machine
    /// (`NFT_FIB_RESULT_ADDRTYPE`, `RTN_LOCAL` of linux/rtnetlink.h).
    pub(super) fn local(&mut self, end: End) {
        let flag: u32 = match end {
            End::Source => 1,      // NFTA_FIB_F_SADDR
            End::Destination => 2, // NFTA_FIB_F_DADDR
        };
        self.add("fib", |to| {
            to.attribute(1, &Register::One.bytes())
                .attribute(2, &3u32.to_be_bytes())
                .attribute(3, &flag.to_be_bytes());
        });
        self.compare(EQUAL, &2u32.to_ne_bytes());
    }

    /// Goes on within `span` of a frame that did not go on here: one that is as late as that counts
    /// instead (`nft_limit_eval()`, net/netfilter/nft_limit.c, inverted, with one token).
    pub(super) fn soon(&mut self, span: Span) {
        let rate = 1_000_000_000 / span.as_nanos().clamp(1, 1_000_000_000);
        self.add("limit", |to| {
            to.attribute(1, &rate.to_be_bytes()) // NFTA_LIMIT_RATE
                .attribute(2, &1u64.to_be_bytes()) // NFTA_LIMIT_UNIT: a second
                .attribute(3, &1u32.to_be_bytes()) // NFTA_LIMIT_BURST
                .attribute(5, &1u32.to_be_bytes()); // NFTA_LIMIT_FLAGS: NFT_LIMIT_F_INV
        });
    }

    /// Register 1 with a value.
    pub(super) fn compare(&mut self, how: u32, value: &[u8]) {
        self.add("cmp", |to| {
            to.attribute(1, &Register::One.bytes())
                .attribute(2, &how.to_be_bytes())
                .nest(3, |data| value_of(data, value));
        });
    }

    pub(super) fn payload(&mut self, base: Base, offset: usize, length: u32, to: Register) {
        let base: u32 = match base {
            Base::Network => 1,
            Base::Transport => 2,
        };
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        self.add("payload", |attributes| {
            attributes
                .attribute(1, &to.bytes())
                .attribute(2, &base.to_be_bytes())
                .attribute(3, &offset.to_be_bytes())
                .attribute(4, &length.to_be_bytes());
        });
    }

    /// Goes on if the register's value is in the set, or, with `absent`, if it is not.
    pub(super) fn lookup(&mut self, set: &str, from: Register, to: Option<Register>, absent: bool) {
        self.add("lookup", |attributes| {
            attributes.text(1, set).attribute(2, &from.bytes());
            if let Some(to) = to {
                attributes.attribute(3, &to.bytes());
            }
            if absent {
                attributes.attribute(5, &1u32.to_be_bytes()); // NFT_LOOKUP_F_INV
            }
        });
    }

    pub(super) fn update(&mut self, time: Span) {
        self.dynset(1, Some(time)); // NFT_DYNSET_OP_UPDATE
    }

    pub(super) fn delete(&mut self) {
        self.dynset(2, None); // NFT_DYNSET_OP_DELETE, since Linux 5.4
    }

    fn dynset(&mut self, operation: u32, time: Option<Span>) {
        self.add("dynset", |attributes| {
            attributes
                .text(1, LEASE)
                .attribute(3, &operation.to_be_bytes())
                .attribute(4, &Register::Two.bytes());
            if let Some(time) = time {
                attributes.attribute(6, &time.as_millis().to_be_bytes());
            }
        });
    }

    pub(super) fn verdict(&mut self, code: i32, chain: Option<&str>) {
        self.add("immediate", |to| {
            to.attribute(1, &Register::Verdict.bytes())
                .nest(2, |data| verdict_of(data, code, chain));
        });
    }

    /// The group in register 2. As a random number below one plus an offset, because nft(8) has no
    /// way to write that a constant is in a set, and must be able to print what it finds.
    pub(super) fn constant(&mut self, slot: Slot) {
        self.add("numgen", |to| {
            to.attribute(1, &Register::Two.bytes())
                .attribute(2, &1u32.to_be_bytes()) // NFTA_NG_MODULUS
                .attribute(3, &1u32.to_be_bytes()) // NFTA_NG_TYPE: NFT_NG_RANDOM
                .attribute(4, &u32::from_ne_bytes(key(slot)).to_be_bytes()); // NFTA_NG_OFFSET
        });
    }
}
