//! Reads the machine. Holds no policy: what a reading means is decided in `mastiff-core`.
//!
//! | module | idea |
//! |---|---|
//! | [`root`] | the prefix of every path, so that readers run on recorded trees |
//! | [`sensor`] | what a sensor declares, and who reads it |
//! | [`host`] | what machine this is, in one line |
//! | [`inventory`] | what the machine is made of, and what of it cannot be seen |
//! | [`kept`] | a file opened once and read often |
//! | `once` | a file or folder that is looked at once |
//! | [`text`] | how /proc and /sys write numbers |
//! | [`rate`] | growth of a counter between two readings |
//! | [`mounts`] | what is mounted where |
//! | `disk` | block devices by name, and what tells them apart |
//! | [`cgroup`] | where the control group of a unit is |
//! | [`stream`] | a TCP connection that never blocks |
//! | [`watchdog`] | watchdog devices, and who has them open |
//! | `sensors` | one file for each source |
//! | `sys` | the crate's only unsafe code |
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod cgroup;
mod disk;
pub mod host;
pub mod inventory;
pub mod kept;
pub mod mounts;
mod once;
pub mod rate;
pub mod root;
pub mod sensor;
pub mod sensors;
pub mod stream;
mod sys;
pub mod text;
pub mod watchdog;

pub use sensors::SENSORS;
