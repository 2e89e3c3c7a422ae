//! Every decision of mastiff, as code that cannot do I/O.
//!
//! | module | idea |
//! |---|---|
//! | [`time`] | [`Mono`](time::Mono), a moment; [`Span`](time::Span), a length |
//! | [`reading`] | named quantities with units |
//! | [`condition`] | `used > 95%`: parsed, typed by unit, three-valued |
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

extern crate alloc;

pub mod condition;
pub mod reading;
pub mod time;
