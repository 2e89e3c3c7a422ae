//! The crate's only unsafe code: each function is one call, safe outside.
#![allow(unsafe_code)]

pub mod bpf;
pub mod link;
#[cfg(feature = "cli")]
pub mod local_time;
pub mod packet;
pub mod process;
pub mod thread;
pub mod udp;
