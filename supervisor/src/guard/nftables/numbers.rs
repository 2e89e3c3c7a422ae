//! Numbers of nf_tables messages (linux/netfilter/nf_tables.h, nfnetlink.h).

/// Bytes of the family's header (`struct nfgenmsg`).
pub(super) const HEADER: usize = 4;
/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10 << 8;
pub(super) const NEW_TABLE: u16 = SUBSYSTEM;
pub(super) const GET_TABLE: u16 = SUBSYSTEM | 1;
pub(super) const DELETE_TABLE: u16 = SUBSYSTEM | 2;
pub(super) const NEW_CHAIN: u16 = SUBSYSTEM | 3;
pub(super) const GET_CHAIN: u16 = SUBSYSTEM | 4;
pub(super) const DELETE_CHAIN: u16 = SUBSYSTEM | 5;
pub(super) const NEW_RULE: u16 = SUBSYSTEM | 6;
pub(super) const GET_RULE: u16 = SUBSYSTEM | 7;
pub(super) const DELETE_RULE: u16 = SUBSYSTEM | 8;
pub(super) const NEW_SET: u16 = SUBSYSTEM | 9;
pub(super) const GET_SET: u16 = SUBSYSTEM | 10;
pub(super) const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
pub(super) const GET_ELEMENT: u16 = SUBSYSTEM | 13;
pub(super) const DELETE_ELEMENT: u16 = SUBSYSTEM | 14;
