//! Every decision of mastiff, as code that cannot do I/O.
//!
//! | module | idea |
//! |---|---|
//! | [`time`] | [`Mono`](time::Mono), a moment; [`Span`](time::Span), a length |
//! | [`reading`] | named quantities with units |
//! | [`condition`] | `used > 95%`: parsed, typed by unit, three-valued |
//! | [`spec`] | what the configuration asks for: checks, rungs, effects, budgets |
//! | [`health`] | verdicts over time: hysteresis, blindness, flapping |
//! | [`recovery`] | the ladder: next rung, budget, back-off (invariants L1 to L5) |
//! | [`maintenance`] | pauses that end by themselves |
//! | [`check`] | one check: schedule, health, ladder, alerts |
//! | [`node`] | all checks; `handle`, `tick`, `next_deadline` |
//! | [`pair`] | two nodes, one owner: leases, votes, takeover (invariants I1 to I13) |
//! | [`timing`] | every timer of the pair, derived from `takeover-within` |
//! | [`event`] | what the core can learn, and all it can ask for |
//! | [`report`] | what an operator is told |
//! | [`view`] | what a node tells about itself, as plain values |
//! | [`watchdog`] | the single rule "may the watchdog be petted now?" |
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

extern crate alloc;

pub mod check;
pub mod condition;
mod describe;
pub mod event;
pub mod health;
pub mod maintenance;
pub mod node;
pub mod pair;
pub mod reading;
pub mod recovery;
pub mod report;
pub mod spec;
pub mod time;
pub mod timing;
pub mod view;
pub mod watchdog;
