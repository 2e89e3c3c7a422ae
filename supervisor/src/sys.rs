//! The crate's only unsafe code: each function is one call, safe outside.
#![allow(unsafe_code)]

pub mod process;
