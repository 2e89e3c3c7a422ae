//! What stands in the kernel, as nf_tables messages (linux/netfilter/nf_tables.h).
//!
//! ```text
//! table netdev mastiff-NAME {
//!     set lease { group; timeout; dynamic }               alive: the group's traffic passes
//!     map v4, map v6 { address : jump group-N }
//!     chain group-N { N is not in lease: drop }
//!     chain guard-in  { ARP target, IPv4 and IPv6 destination, solicited: as the map says }
//!     chain guard-out { ARP sender, IPv4 and IPv6 source, advertised: as the map says }
//!     chain others-in, others-out { the same of what is local to this machine }
//!     chain knock {
//!         from the keeper, or from the hands, soon after another of theirs: jump refresh
//!         delete: delete @lease, drop
//!         ask: drop
//!     }
//!     chain refresh { of an element that lives: update @lease, drop }  one rule for each time
//!     chain in-N  { hook ingress device D; jump guard-in }            N is the number of D
//!     chain out-N { hook egress device D; jump guard-out }
//!     chain others-in-N, others-out-N { the same, for devices that have no address of a group }
//!     chain lo    { hook egress device lo; type and cookie of a knock: jump knock }
//! }
//! ```
//!
//! Before Linux 5.16 there is no hook of a device on the way out. There two tables of the same name
//! share the work, `inet` for IP and `arp`, with sets of their own. They stand in the hooks of the
//! protocols, and their base chains `in` and `out` tell devices apart:
//!
//! ```text
//!     chain in   { hook prerouting (arp: input);   iif N: jump guard-in or others-in }
//!     chain out  { hook postrouting (arp: output); oif N: jump guard-out or others-out }
//!     chain lo   { hook output (arp: input); protocol and cookie of a knock: jump knock }
//! ```
//!
//! The `lookup` before the `update` is what the safety rests on: an update alone creates what is
//! not there, and for the kernel an element that has expired is not there (nft_dynset_eval()).
//!
//! ARP on other devices is not asked whether it is about a local address, as `fib` knows IP only:
//! there a closed guard keeps a machine from answering for the address by proxy ARP, too.
//! Neighbour discovery is not asked at all: IPv6 answers only on the device that has the address
//! (ndisc_recv_ns()). A socket that speaks from an IPv6 address that has gone is not stopped there,
//! either: nothing tells its packets from those that are forwarded.

use std::net::IpAddr;

use mastiff_core::time::Span;

use super::expressions::{
    Base, DROP, EQUAL, End, Expressions, JUMP, Register, value_of, verdict_of,
};
use super::knock::{ASK, COOKIE, Cookie, DELETE, SENDERS, key};
use super::standing::Standing;
use super::table::{GUARD_IN, GUARD_OUT, OTHERS_IN, OTHERS_OUT, PRIORITY};
use crate::guard::{Device, Guarded, Place, Slot};
use crate::netlink::{ACK, CREATE, EXCLUSIVE, Request};

pub(super) use super::table::{Hook, Table};

pub(super) use super::numbers::{
    DELETE_CHAIN, DELETE_ELEMENT, DELETE_RULE, DELETE_TABLE, GET_CHAIN, GET_ELEMENT, GET_RULE,
    GET_SET, GET_TABLE, HEADER, NEW_CHAIN, NEW_ELEMENT, NEW_RULE, NEW_SET, NEW_TABLE,
};

const BATCH_BEGIN: u16 = 16; // NFNL_MSG_BATCH_BEGIN
const BATCH_END: u16 = 17; // NFNL_MSG_BATCH_END
const BATCH: [u8; 4] = [0, 0, 0, 10]; // for the subsystem; in network byte order
const APPEND: u16 = 0x800; // NLM_F_APPEND

/// The table's name is the first attribute of every message about something in it.
pub(super) const TABLE: u16 = 1;
/// `NFTA_TABLE_USERDATA`.
pub(super) const TABLE_USERDATA: u16 = 6;
/// The second attribute of many: `NFTA_RULE_CHAIN`, `NFTA_SET_NAME`, `NFTA_SET_ELEM_LIST_SET`.
const WITHIN: u16 = 2;
/// `NFTA_CHAIN_NAME`, `NFTA_CHAIN_HOOK`.
pub(super) const CHAIN_NAME: u16 = 3;
pub(super) const CHAIN_HOOK: u16 = 4;
/// `NFTA_HOOK_HOOKNUM`, `_PRIORITY`, `_DEV`, `_DEVS`.
pub(super) const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
pub(super) const HOOK_DEVICE: u16 = 3;
pub(super) const HOOK_DEVICES: u16 = 4;
/// `NFTA_SET_ELEM_LIST_ELEMENTS`.
pub(super) const ELEMENTS: u16 = 3;
/// `NFTA_LIST_ELEM`.
pub(super) const ITEM: u16 = 1;

/// So soon after the frame before it a refresh must come, in ticks: many times what that takes, and
/// little enough, together with a tenth of the time that it gives, for the guard's slack.
const SOON_TICKS: u64 = 2;
/// Elements in one message: an attribute has no more than 65,535 bytes.
const ELEMENTS_MAX: usize = 512;
/// Data types by which nft(8) prints them (`TYPE_INTEGER`, `TYPE_IPADDR`, `TYPE_IP6ADDR`).
const TYPE_GROUP: u32 = 4;
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_VERDICT: u32 = 0xffff_ff00; // NFT_DATA_VERDICT
const MAP: u32 = 0x8; // NFT_SET_MAP
const LEASES: u32 = 0x10 | 0x20; // NFT_SET_TIMEOUT, NFT_SET_EVAL

/// The set of living elements.
pub(super) const LEASE: &str = "lease";
/// The maps of addresses.
pub(super) const MAPS: [&str; 2] = ["v4", "v6"];
/// Neighbour discovery (RFC 4861, 4.3 and 4.4).
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const KNOCK: &str = "knock";
const REFRESH: &str = "refresh";
pub(super) const LO: &str = "lo";

/// Writes a transaction for the tables of one name.
pub(super) struct Batch<'a> {
    request: &'a mut Request,
    name: &'a str,
    /// Which of that name.
    pub(super) table: Table,
}

impl<'a> Batch<'a> {
    pub(super) fn begin(request: &'a mut Request, name: &'a str, table: Table) -> Self {
        request.clear();
        request.begin(BATCH_BEGIN, 0, &BATCH);
        Self { request, name, table }
    }

    /// Without this the kernel checks the transaction and does not do it.
    pub(super) fn commit(self) {
        self.request.begin(BATCH_END, 0, &BATCH);
    }

    fn message(&mut self, kind: u16, flags: u16) -> &mut Request {
        let name = self.name;
        self.request.begin(kind, flags | ACK, &self.table.header()).text(TABLE, name)
    }

    /// The table: a new one, or, if it is not to be `new`, perhaps one that is there.
    pub(super) fn table(&mut self, userdata: &[u8], new: bool) {
        let flags = if new { CREATE | EXCLUSIVE } else { CREATE };
        self.message(NEW_TABLE, flags).attribute(TABLE_USERDATA, userdata);
    }

    pub(super) fn delete_table(&mut self) {
        self.message(DELETE_TABLE, 0);
    }

    /// Takes out all that [`Batch::lay`] puts in, but for chains, and for the elements of `lease`.
    pub(super) fn clear(&mut self) {
        self.message(DELETE_RULE, 0);
        for map in MAPS {
            self.message(DELETE_ELEMENT, 0).text(WITHIN, map);
        }
    }

    /// Sets, addresses and the rules that do not depend on devices.
    pub(super) fn lay(&mut self, guarded: &[Guarded], times: &[Span], cookie: &Cookie) {
        self.set(LEASE, LEASES, TYPE_GROUP, 4);
        self.set("v4", MAP, TYPE_IPV4, 4);
        self.set("v6", MAP, TYPE_IPV6, 16);
        for chain in [GUARD_IN, GUARD_OUT, OTHERS_IN, OTHERS_OUT, REFRESH, KNOCK] {
            self.message(NEW_CHAIN, CREATE).text(CHAIN_NAME, chain);
        }
        let slots = guarded.iter().map(|guarded| guarded.slot.0.saturating_add(1)).max();
        for slot in (0..slots.unwrap_or(0)).map(Slot) {
            let chain = group(slot);
            self.message(NEW_CHAIN, CREATE).text(CHAIN_NAME, &chain);
            self.rule(&chain, |rule| {
                rule.constant(slot);
                rule.lookup(LEASE, Register::Two, None, true);
                rule.verdict(DROP, None);
            });
        }
        self.addresses(guarded);
        self.guards();
        let table = self.table;
        let (kind, from) = table.knock();
        let slot_at = from + COOKIE + 4;
        for (at, time) in (0..).zip(times) {
            self.knock(REFRESH, at, |rule| {
                rule.payload(Base::Network, slot_at, 4, Register::Two);
                rule.lookup(LEASE, Register::Two, None, false);
                rule.update(*time);
            });
        }
        for who in 0..SENDERS {
            self.rule(KNOCK, |rule| {
                rule.payload(Base::Network, slot_at + 4, 4, Register::One);
                rule.compare(EQUAL, &who.to_be_bytes());
                rule.soon(super::tick().times(SOON_TICKS));
                rule.verdict(JUMP, Some(REFRESH));
            });
        }
        self.knock(KNOCK, DELETE, |rule| {
            rule.payload(Base::Network, slot_at, 4, Register::Two);
            rule.delete();
        });
        self.knock(KNOCK, ASK, |_| {});
        self.rule(LO, |rule| {
            rule.ether_type(table, kind);
            rule.payload(Base::Network, from, 16, Register::One);
            rule.compare(EQUAL, cookie);
            rule.verdict(JUMP, Some(KNOCK));
        });
    }

    /// What comes for an address, and what goes out in its name. The other way round a node that
    /// does not have it speaks with the one that has: as its client, and by the probes of a
    /// candidate, whose silence must be the network's.
    fn guards(&mut self) {
        let table = self.table;
        for (chain, end, arp, v4, v6) in [
            (GUARD_IN, None, 24, 16, 24),
            (GUARD_OUT, None, 14, 12, 8),
            (OTHERS_IN, Some(End::Destination), 24, 16, 24),
            (OTHERS_OUT, Some(End::Source), 14, 12, 8),
        ] {
            let local = |rule: &mut Expressions<'_>, kind| {
                rule.ether_type(table, kind);
                if let Some(end) = end {
                    rule.local(end);
                }
            };
            // RFC 826, for Ethernet and IPv4: the target or the sender.
            if table != Table::Inet {
                self.guard(chain, |rule| rule.ether_type(table, 0x0806), Base::Network, arp, "v4");
            }
            if table == Table::Arp {
                continue;
            }
            self.guard(chain, |rule| local(rule, 0x0800), Base::Network, v4, "v4");
            self.guard(chain, |rule| local(rule, 0x86dd), Base::Network, v6, "v6");
        }
        if table == Table::Arp {
            return;
        }
        for (chain, kind) in [(GUARD_IN, SOLICITATION), (GUARD_OUT, ADVERTISEMENT)] {
            // RFC 4861, 4.3 and 4.4: the target at offset 8 of both.
            self.guard(
                chain,
                |rule| rule.neighbour_discovery(table, kind),
                Base::Transport,
                8,
                "v6",
            );
        }
    }

    /// The base chain for knocks; must come before [`Batch::lay`] unless it is there.
    pub(super) fn loopback(&mut self) {
        match self.table {
            Table::Netdev => self.base(LO, Hook::Egress, "lo"),
            Table::Inet => self.hook(LO, 3, PRIORITY, None), // NF_INET_LOCAL_OUT
            Table::Arp => self.hook(LO, 0, PRIORITY, None),
        }
    }

    /// A base chain for a device.
    pub(super) fn base(&mut self, name: &str, hook: Hook, device: &str) {
        self.hook(name, self.table.hook(hook), self.table.priority(hook), Some(device));
    }

    /// The base chains of a protocol, and what they do with each device. Must come after
    /// [`Batch::lay`].
    pub(super) fn devices(&mut self, devices: &[Device]) {
        for (hook, name) in [(Hook::Ingress, "in"), (Hook::Egress, "out")] {
            self.hook(name, self.table.hook(hook), self.table.priority(hook), None);
            for device in devices {
                let Some((guard, _)) = hook.chains(device.place) else { continue };
                self.rule(name, |rule| {
                    rule.device(hook, device.index);
                    rule.verdict(JUMP, Some(guard));
                });
            }
        }
    }

    /// A base chain for each device and hook that does not have it. What a bridge does for others
    /// is none of ours: a device that was made its port goes.
    pub(super) fn bases(&mut self, adopted: Option<&Standing>, devices: &[Device]) {
        let wanted: Vec<(String, Hook, &Device)> = devices
            .iter()
            .flat_map(|device| [Hook::Ingress, Hook::Egress].map(|hook| (hook, device)))
            .filter_map(|(hook, device)| Some((hook.chain(device)?, hook, device)))
            .collect();
        for base in adopted.map(|standing| standing.bases.as_slice()).unwrap_or_default() {
            if base.name != LO && wanted.iter().all(|(name, ..)| *name != base.name) {
                self.delete_base(&base.name);
            }
        }
        for (name, hook, device) in wanted {
            if !adopted.is_some_and(|all| all.has(&name, self.table, hook, &device.name)) {
                self.base(&name, hook, &device.name);
            }
            self.jump(&name, hook, device.place);
        }
    }

    fn hook(&mut self, name: &str, hook: u32, priority: i32, device: Option<&str>) {
        self.message(NEW_CHAIN, CREATE)
            .text(CHAIN_NAME, name)
            .nest(CHAIN_HOOK, |to| {
                to.attribute(HOOK_NUMBER, &hook.to_be_bytes())
                    .attribute(HOOK_PRIORITY, &priority.to_be_bytes());
                if let Some(device) = device {
                    to.text(HOOK_DEVICE, device);
                }
            })
            .text(7, "filter") // NFTA_CHAIN_TYPE
            .attribute(5, &1u32.to_be_bytes()); // NFTA_CHAIN_POLICY: NF_ACCEPT
    }

    /// Its rule.
    pub(super) fn jump(&mut self, chain: &str, hook: Hook, place: Place) {
        let guard = hook.chains(place).map(|(guard, _)| guard);
        self.rule(chain, |rule| rule.verdict(JUMP, guard));
    }

    /// A base chain, without rules by now, goes.
    pub(super) fn delete_base(&mut self, name: &str) {
        self.message(DELETE_CHAIN, 0).text(CHAIN_NAME, name);
    }

    /// A living element, in place of one that may be there. `delete` and `add` alone would fail
    /// where there is none, `add` alone would not renew one.
    pub(super) fn revive(&mut self, slot: Slot, time: Span) {
        self.element(NEW_ELEMENT, slot, Some(time));
        self.element(DELETE_ELEMENT, slot, None);
        self.element(NEW_ELEMENT, slot, Some(time));
    }

    /// A living element where there cannot be one.
    pub(super) fn living(&mut self, slot: Slot, time: Span) {
        self.element(NEW_ELEMENT, slot, Some(time));
    }

    fn element(&mut self, kind: u16, slot: Slot, time: Option<Span>) {
        let flags = if kind == NEW_ELEMENT { CREATE } else { 0 };
        self.message(kind, flags).text(WITHIN, LEASE).nest(ELEMENTS, |list| {
            list.nest(ITEM, |element| {
                element.nest(1, |value| value_of(value, &key(slot))); // NFTA_SET_ELEM_KEY
                if let Some(time) = time {
                    element.attribute(4, &time.as_millis().to_be_bytes()); // _TIMEOUT
                }
            });
        });
    }

    fn set(&mut self, name: &str, flags: u32, key: u32, length: u32) {
        let message = self.message(NEW_SET, CREATE).text(WITHIN, name);
        message
            .attribute(3, &flags.to_be_bytes()) // NFTA_SET_FLAGS
            .attribute(4, &key.to_be_bytes()) // NFTA_SET_KEY_TYPE
            .attribute(5, &length.to_be_bytes()) // NFTA_SET_KEY_LEN
            .attribute(10, &length.to_be_bytes()); // NFTA_SET_ID: wanted, not used
        if flags == LEASES {
            message.attribute(13, &typed()); // NFTA_SET_USERDATA
        } else {
            message
                .attribute(6, &TYPE_VERDICT.to_be_bytes()) // NFTA_SET_DATA_TYPE
                .attribute(7, &4u32.to_be_bytes()); // NFTA_SET_DATA_LEN: wanted, not used
        }
    }

    fn addresses(&mut self, guarded: &[Guarded]) {
        for map in MAPS {
            let of_map = |it: &&Guarded| it.ip.is_ipv4() == (map == "v4");
            let all: Vec<&Guarded> = guarded.iter().filter(of_map).collect();
            for some in all.chunks(ELEMENTS_MAX) {
                self.message(NEW_ELEMENT, CREATE).text(WITHIN, map).nest(ELEMENTS, |list| {
                    for guarded in some {
                        list.nest(ITEM, |element| {
                            element.nest(1, |value| match guarded.ip {
                                IpAddr::V4(ip) => value_of(value, &ip.octets()),
                                IpAddr::V6(ip) => value_of(value, &ip.octets()),
                            });
                            let chain = group(guarded.slot);
                            // NFTA_SET_ELEM_DATA
                            element.nest(2, |value| verdict_of(value, JUMP, Some(&chain)));
                        });
                    }
                });
            }
        }
    }

    fn guard(
        &mut self,
        chain: &str,
        of: impl FnOnce(&mut Expressions<'_>),
        base: Base,
        offset: usize,
        map: &str,
    ) {
        self.rule(chain, |rule| {
            of(rule);
            let length = if map == "v4" { 4 } else { 16 };
            rule.payload(base, offset, length, Register::One);
            rule.lookup(map, Register::One, Some(Register::Verdict), false);
        });
    }

    fn knock(&mut self, chain: &str, what: u32, fill: impl FnOnce(&mut Expressions<'_>)) {
        let (_, from) = self.table.knock();
        self.rule(chain, |rule| {
            rule.payload(Base::Network, from + COOKIE, 4, Register::One);
            rule.compare(EQUAL, &what.to_be_bytes());
            fill(rule);
            rule.verdict(DROP, None);
        });
    }

    fn rule(&mut self, chain: &str, fill: impl FnOnce(&mut Expressions<'_>)) {
        self.message(NEW_RULE, CREATE | APPEND)
            .text(WITHIN, chain)
            .nest(4, |list| fill(&mut Expressions(list))); // NFTA_RULE_EXPRESSIONS
    }
}

/// What nft(8) keeps about a set whose elements are those of [`Expressions::constant`], "typeof
/// numgen random mod 1", since "integer" alone has no length: type, length, value, in the machine's
/// byte order (`nftnl_udata_set_types`, libnftnl/udata.h; `numgen_expr_build_udata()`, nftables).
fn typed() -> Vec<u8> {
    let part = |kind: u8, value: &[u8]| {
        let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
        [&[kind, length], value].concat()
    };
    let number = |kind, value: u32| part(kind, &value.to_ne_bytes());
    let numgen = [number(0, 1), number(1, 1), number(2, 0)].concat(); // random, mod 1, offset 0
    let expression = [number(0, 23), part(1, &numgen)].concat(); // EXPR_NUMGEN
    [number(0, 1), part(3, &expression)].concat() // host byte order; typeof of the key
}

/// The chain of a group.
fn group(slot: Slot) -> String {
    format!("group-{}", slot.0)
}
