//! The registry: one line for each sensor, in the order in which they are shown.

use crate::sensor::Sensor;

pub mod block;
pub mod btrfs;
pub mod command;
pub mod cpu;
pub mod device_mapper;
pub mod disk_health;
pub mod ecc;
pub mod failed_units;
pub mod file;
pub mod filesystem;
pub mod heartbeat;
pub mod http;
pub mod hwmon;
pub mod ipmi;
pub mod kernel_log;
pub mod link;
pub mod load;
pub mod memory;
pub mod ping;
pub mod pressure;
pub mod process;
pub mod raid;
pub mod smartctl;
pub mod swap;
pub mod tables;
pub mod taint;
pub mod tcp;
pub mod thermal;
pub mod time;
pub mod unit;
pub mod write_test;
pub mod zfs;

/// Every sensor. Tests over this list demand unique names, conditions that parse, and
/// documentation.
pub const SENSORS: &[&Sensor] = &[
    &cpu::SENSOR,
    &load::SENSOR,
    &memory::SENSOR,
    &swap::SENSOR,
    &pressure::SENSOR,
    &filesystem::SENSOR,
    &write_test::SENSOR,
    &block::SENSOR,
    &disk_health::SENSOR,
    &smartctl::SENSOR,
    &raid::SENSOR,
    &device_mapper::SENSOR,
    &btrfs::SENSOR,
    &zfs::SENSOR,
    &link::SENSOR,
    &hwmon::SENSOR,
    &thermal::SENSOR,
    &ecc::SENSOR,
    &ipmi::SENSOR,
    &unit::SENSOR,
    &failed_units::SENSOR,
    &process::SENSOR,
    &heartbeat::SENSOR,
    &kernel_log::SENSOR,
    &time::SENSOR,
    &tables::SENSOR,
    &taint::SENSOR,
    &file::SENSOR,
    &command::SENSOR,
    &tcp::SENSOR,
    &http::SENSOR,
    &ping::SENSOR,
];

/// The sensor of this name.
pub fn find(name: &str) -> Option<&'static Sensor> {
    SENSORS.iter().copied().find(|sensor| sensor.name == name)
}
