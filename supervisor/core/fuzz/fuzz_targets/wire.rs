//! Any bytes as a datagram.
#![no_main]

#[path = "../properties/wire.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    property::holds(data);
});
