//! Reads the machine: disks, arrays, memory, heat, links, the kernel's log, the watchdog.
//!
//! This crate reads and holds no policy: what a reading means over time, and what is done about it,
//! is decided in `mastiff-core`. It needs no other program, starts no thread, and every list, file
//! and text that it reads is bounded.
//!
//! # Start here
//!
//! One look at everything that is found, here on a recorded machine whose hardware fails:
//!
//! ```
//! use mastiff_hwmon::health::Verdict;
//! use mastiff_hwmon::look;
//! use mastiff_hwmon::root::Root;
//!
//! // Root::machine() is the machine that this runs on.
//! let root = Root::recorded(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/trees/failing"));
//! let looks: Vec<_> = look::everything(&root).collect();
//! let array = looks.iter().find(|look| look.sensor.name == "raid" && look.target == "md0");
//! let array = array.ok_or("the array was not found")?;
//! assert_eq!(array.verdict, Verdict::Degraded);
//! assert!(array.why.contains("sdb1 has failed"));
//! # Ok::<(), &str>(())
//! ```
//!
//! `examples/health.rs` is a whole program of this kind in under 40 lines. [`inventory::read`]
//! tells what the machine is made of, and what of it cannot be seen and why.
//!
//! A daemon opens a probe once and reads it at its own rhythm:
//!
//! ```
//! use mastiff_hwmon::reading::{Readings, Value};
//! use mastiff_hwmon::root::Root;
//! use mastiff_hwmon::sensor::Wanted;
//! use mastiff_hwmon::sensors::ecc;
//! use mastiff_hwmon::time::{Mono, Span};
//!
//! let root = Root::recorded(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/trees/failing"));
//! let mut probe = ecc::SENSOR.open(&root, "")?;
//! let mut readings = Readings::new(ecc::SENSOR.quantities);
//! probe.read(Mono::BOOT.after(Span::from_secs(60)), Wanted::ALL, &mut readings)?;
//! assert_eq!(readings.get("uncorrected"), Some(&Value::Number(2.0)));
//! # Ok::<(), mastiff_hwmon::sensor::SensorError>(())
//! ```
//!
//! # Three truths
//!
//! A value is there, is *absent* (this machine has no such thing: a condition on it is false), or
//! is *missing* (it could not be read: a condition on it is unknown). What cannot be read is never
//! healthy and never failed. So [`Probe::read`](sensor::Probe::read) leaves a part that it cannot
//! read missing, and is an error only when nothing can be said; and what cannot be read by design,
//! such as the disk of somebody else, is not discovered, for it would be unknown for ever.
//!
//! # What may hang
//!
//! A process that waits for a dying disk cannot even be killed. Therefore a sensor says who may
//! read it ([`sensor::Source`]): `Quick` ones read what the kernel has in memory and never wait;
//! what is `MayHang` is to be read in a child process with a deadline, which can be left behind.
//! Discovery and the [inventory] read names and sizes only, and never wait. No disk is woken:
//! `disk-health` asks an ATA disk first whether it sleeps, in a way that does not wake it.
//!
//! # What it costs
//!
//! Files that are read again and again stay open ([`kept`]), and are read with one call. What no
//! condition names is not read ([`sensor::Wanted`]). `cargo run --release --example cost` prints
//! microseconds for each sensor on this machine, and the sum at their own rhythms.
//!
//! # A new sensor
//!
//! It is one file in `sensors/` and one line in [`SENSORS`]. Checks, conditions, defaults, the live
//! view, the exporter and the man page follow from its declaration:
//!
//! ```
//! use mastiff_hwmon::kept::Kept;
//! use mastiff_hwmon::reading::{Quantity, Readings, Unit};
//! use mastiff_hwmon::root::Root;
//! use mastiff_hwmon::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};
//! use mastiff_hwmon::time::{Mono, Span};
//!
//! const FILE: &str = "/proc/sys/kernel/random/entropy_avail"; // random(4)
//!
//! pub const SENSOR: Sensor = Sensor {
//!     name: "entropy",
//!     hardware: false,
//!     summary: "What the kernel's random generator was fed, from /proc.",
//!     target: Target::Machine,
//!     options: &[],
//!     quantities: &[Quantity { name: "bits", unit: Unit::Count, meaning: "bits gathered" }],
//!     warn_when: &["bits < 64"],
//!     fail_when: &[],
//!     interval: Span::from_secs(60),
//!     fail_after: Span::from_secs(60),
//!     recover_after: Span::from_secs(60),
//!     discover: Some(|root| root.machine_if(FILE)),
//!     source: Source::Quick(open),
//! };
//!
//! fn open(root: &Root, _: &str, _: &Options) -> Result<Box<dyn Probe>, SensorError> {
//!     Ok(Box::new(Entropy { file: Kept::open_short(root.path(FILE))? }))
//! }
//!
//! struct Entropy {
//!     file: Kept,
//! }
//!
//! impl Probe for Entropy {
//!     fn read(&mut self, _: Mono, _: Wanted, out: &mut Readings) -> Result<(), SensorError> {
//!         match self.file.number()? {
//!             Some(bits) => out.count("bits", bits),
//!             None => return Err(SensorError::malformed(self.file.path(), "one whole number")),
//!         }
//!         Ok(())
//!     }
//! }
//! ```
//!
//! # Recorded trees
//!
//! Every path goes through a [`root::Root`], so every reader runs on a tree of files as well:
//! `tests/trees` has a healthy machine, a failing one, one cut off at some byte, one that no kernel
//! would write, and one that has nothing. A new sensor adds its files to them, and what it must
//! say to `tests/harness/expected.rs`; that it panics on none of them, nor on random changes of
//! them, is tested for all sensors at once.
//!
//! # Modules
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
//! | [`look`] | one look at everything, held against the default conditions |
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
pub mod look;
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

pub use mastiff_core::{condition, health, reading, time};
pub use sensors::SENSORS;
