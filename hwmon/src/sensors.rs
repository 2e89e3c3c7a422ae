//! The registry: one line for each sensor, in the order in which they are shown.

use crate::sensor::Sensor;

pub mod load;

/// Every sensor. Tests over this list demand unique names, conditions that parse, and documentation.
pub const SENSORS: &[&Sensor] = &[&load::SENSOR];

/// The sensor of this name.
pub fn find(name: &str) -> Option<&'static Sensor> {
    SENSORS.iter().copied().find(|sensor| sensor.name == name)
}
