//! The crate's only unsafe code: one file for each family of calls, each wrapper one call.
#![allow(unsafe_code)]

pub(crate) mod clock;
pub(crate) mod dm;
pub(crate) mod ethtool;
pub(crate) mod ipmi;
pub(crate) mod nvme;
pub(crate) mod sg;
pub(crate) mod watchdog;

/// A page that a device fills, on a boundary of 4 bytes as NVMe wants it.
#[repr(C, align(4))]
#[derive(Clone, Debug)]
pub(crate) struct Page(pub(crate) [u8; 512]);
