//! The pair's core in worlds that can be replayed.
//!
//! | module | idea |
//! |---|---|
//! | [`rng`] | all chance, from one seed |
#![forbid(unsafe_code)]

pub mod rng;
