//! The pair's core in worlds that can be replayed: two nodes, a witness, their kernels, the wires
//! between them, and everything that goes wrong, in virtual time, from one seed.
//!
//! | module | idea |
//! |---|---|
//! | [`rng`] | all chance, from one seed |
//! | [`clock`] | true time, and what a machine's clocks make of it |
//! | [`network`] | wires: loss, delay, copies, cuts, replays |
//! | [`kernel`] | guard, addresses and units: what goes on without the daemon |
//! | [`machine`] | power, clocks, kernel, disk, daemon |
//! | [`fault`] | everything that goes wrong, as values |
//! | [`plan`] | a world before it begins |
//! | [`world`] | the world; with `turn`, `effects`, `blows`, `ladder` and `forge` |
//! | [`judge`] | the invariants I1 to I14, by a second bookkeeping |
//! | [`timeline`] | what happened, for a person |
//! | [`command`] | `mastiff-sim` |
//! | [`scenario`] | one fault in a calm world: what it leads to, and how long that takes |
//! | [`seeds`] | many worlds; a failing one made small |
//! | [`model`] | no chance: every small world |
#![forbid(unsafe_code)]

mod blows;
pub mod clock;
pub mod command;
mod effects;
pub mod fault;
mod forge;
pub mod judge;
pub mod kernel;
mod ladder;
pub mod machine;
pub mod model;
pub mod network;
pub mod plan;
pub mod rng;
pub mod scenario;
pub mod seeds;
pub mod timeline;
mod turn;
mod words;
pub mod world;
