//! The crate's only unsafe code: one file for each family of calls, each wrapper one call.
#![allow(unsafe_code)]

pub(crate) mod clock;
pub(crate) mod watchdog;
