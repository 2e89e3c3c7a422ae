//! Every decision of mastiff, as code that cannot do I/O.
//!
//! | module | idea |
//! |---|---|
//! | [`time`] | [`Mono`](time::Mono), a moment; [`Span`](time::Span), a length |
//! | [`reading`] | named quantities with units |
//! | [`condition`] | `used > 95%`: parsed, typed by unit, three-valued |
//! | [`spec`] | what the configuration asks for: checks, rungs, effects, budgets |
//! | [`health`] | verdicts over time: hysteresis, blindness, flapping |
//! | [`recovery`] | the ladder: next rung, budget, back-off (invariants L1 to L6) |
//! | [`reboot`] | the way down of a machine that resets itself (invariants R1 to R7) |
//! | [`bootloop`] | a machine that does so again and again stops it (invariants B1 to B3) |
//! | [`maintenance`] | pauses that end by themselves |
//! | [`check`] | one check: schedule, health, ladder, alerts |
//! | [`node`] | all checks; `handle`, `tick`, `next_deadline` |
//! | [`pair`] | two nodes, one owner: leases, votes, takeover (invariants I1 to I14) |
//! | [`timing`] | every timer of the pair, derived from `takeover-within` |
//! | [`event`] | what the core can learn, and all it can ask for |
//! | [`report`] | what an operator is told |
//! | [`sorted`] | lists and maps put in order with little code |
//! | [`view`] | what a node tells about itself, as plain values |
//! | [`watchdog`] | the single rule "may the watchdog be petted now?" |
//! | [`wire`] | the bytes of the pair's messages: layout, version, limits |
//!
//! # Invariants of the pair
//!
//! Checked in the simulator after each step, in the model checker in each state, and each shown
//! to matter by a mutation that removes it. "Owner" is a node that holds the lease of a group.
//!
//! - **I1**: at every instant at most one node's *kernel* passes traffic for a group's addresses,
//!   also that of a node whose daemon is stopped, slow or dead. (Arbiters `witness` and `fence`.
//!   Assumed: a machine's clocks run while the world does, each to 1000 ppm but for slewing of
//!   one.)
//! - **I2**: at every instant the units of a group with `safety = "data"` run on at most one
//!   node.
//! - **I3**: the guard is open only to the end of a lease, and addresses are added only behind
//!   it.
//! - **I4**: a lease counts from the *sending* of the question, is shortened by what two
//!   oscillators may differ, and ends by whichever clock says so first. A late grant never
//!   revives it; the first thing a late node does is to let go.
//! - **I5**: a voter has promised a group to one owner (a node in one of its lives) at a time; a
//!   promise ends by whichever clock says so last, and never gets shorter but by its owner's
//!   release.
//! - **I6**: a voter that starts without memory is silent, also for itself, for as long as a
//!   forgotten promise may last.
//! - **I7**: a node votes for nobody else from the first moment of holding to the end of its
//!   demotion.
//! - **I8**: epochs only grow: that of each owner is above that of every owner before. (Assumed:
//!   dates are right to ten seconds, or nobody forgot: a voter without a disk is not restarted and
//!   no state file is lost.)
//! - **I9**: a node says "released" only when the guard is closed, the addresses are gone and the
//!   units are stopped; a released epoch is never used again.
//! - **I10**: while a majority of voters, a ready node among them, is up and connected, a node is
//!   active within the promised time.
//! - **I11**: no role changes without a cause from the list [`Cause`](pair::event::Cause).
//! - **I12**: exclusive units start only when the other node's are known to be stopped, by two
//!   voters, by its own later word, by the fence agent or the operator; or when its stop time is
//!   over.
//! - **I13**: a node that holds something exclusive without a lease for longer than its stop time
//!   does not pet the watchdog; after a start without memory not before leftovers are gone.
//! - **I14**: of two nodes that ever hear each other at most one is on its way down by a rung of
//!   its ladder, from its announcement until it can take over every group again; the other one
//!   waits for that, and no longer than ten minutes ([`way_down`](pair::way_down)).
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

extern crate alloc;

pub mod bootloop;
pub mod check;
pub mod condition;
mod describe;
pub mod event;
pub mod health;
pub mod maintenance;
pub mod node;
pub mod pair;
pub mod reading;
pub mod reboot;
pub mod recovery;
pub mod report;
pub mod sorted;
pub mod spec;
pub mod time;
pub mod timing;
pub mod view;
pub mod watchdog;
pub mod wire;
