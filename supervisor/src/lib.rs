//! The daemon `mastiffd` and the command line `mastiff`.
//!
//! | module | idea |
//! |---|---|
//! | `cli` | the operator's command line, one file for each verb (feature `cli`) |
//! | [`config`] | the file as written, and as meant: every fault at once |
//! | [`control`] | the control socket's language |
//! | [`effects`] | what a rung can do |
//! | `sys` | the crate's only unsafe code |
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod brain;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod daemon;
pub mod effects;
pub mod journal;
pub mod keeper;
pub mod oneshot;
pub mod probes;
pub mod sys;
