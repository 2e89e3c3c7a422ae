//! The daemon as it runs: the real binary, its runner and probers, real sockets, programs and
//! mounts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../config/cases.rs"]
mod cases;
mod command;
mod daemon;
mod flight;
mod fuse;
mod going;
mod hang;
mod heartbeat;
mod hostile;
mod ladder;
mod network;
mod oneshot;
mod reboots;
mod reload;
mod start;
