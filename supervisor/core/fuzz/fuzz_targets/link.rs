//! Any order of sending, delivering, replaying, restarting.
#![no_main]

#[path = "../properties/link.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::holds(data));
