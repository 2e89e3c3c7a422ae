//! The witness as it runs: the real binary, and nodes that speak the wire over loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod daemon;
mod hostile;
mod node;
mod reload;
mod serving;
mod start;
