//! What the machine is made of, and what of it cannot be seen and why.
//!
//! Only names and sizes that the kernel keeps in memory are read, no value that a disk or a chip
//! has to be asked for: nothing here waits for a disk or a controller, and none is woken. One value
//! does ask a driver: [`Interface::speed_mbit`], under the lock of all network configuration
//! (net/core/net-sysfs.c, `speed_show`), so that a network card whose driver hangs holds it up. How
//! the parts are is what the sensors say; [`Disk::name`] and the other names are their targets.
//!
//! Every list is bounded, and every text is printable ASCII of a few dozen characters, whatever the
//! firmware says. What cannot be read is `None` or left out.

use serde::Serialize;

use crate::host;
use crate::root::Root;
use crate::watchdog;

mod disks;
mod dmi;
mod machine;
mod memory;
mod network;
mod unseen;

pub use disks::{Array, Disk, Mapping, Medium};
pub use machine::{Machine, Place, Processors};
pub use memory::{Memory, Module};
pub use network::Interface;
pub use unseen::Unseen;

pub use crate::disk::device;
use crate::sensors::hwmon::points;

/// The parts of one machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inventory {
    /// Who made it, and what it is.
    pub machine: Machine,
    /// What computes.
    pub processors: Processors,
    /// What it remembers with.
    pub memory: Memory,
    /// Its management controller, by the node in /dev.
    pub bmc: Option<String>,
    /// Disks, by name.
    pub disks: Vec<Disk>,
    /// md arrays, by name.
    pub arrays: Vec<Array>,
    /// Devices of the device mapper, by name.
    pub mappings: Vec<Mapping>,
    /// Network cards and what joins them, by name.
    pub interfaces: Vec<Interface>,
    /// Chips that measure, with the number of their points by quantity.
    pub chips: Vec<Chip>,
    /// Watchdog devices, the best first.
    pub watchdogs: Vec<Watchdog>,
    /// What cannot be seen.
    pub unseen: Vec<Unseen>,
}

/// One chip of the class hwmon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chip {
    /// As in a target of the sensor `hwmon`.
    pub name: String,
    /// Thermometers.
    pub temperatures: usize,
    /// Fans, and plugs for one.
    pub fans: usize,
    /// Voltages, currents and power.
    pub electric: usize,
}

/// One watchdog device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Watchdog {
    /// As below /dev.
    pub name: String,
    /// What its driver calls it, or the driver's name.
    pub identity: Option<String>,
    /// `hardware`, `software` or `of unknown kind`.
    pub kind: &'static str,
    /// Whether it counts down now.
    pub active: Option<bool>,
    /// After how many seconds it resets the machine.
    pub timeout_secs: Option<u64>,
}

/// Nodes of the management controller (drivers/char/ipmi/ipmi_devintf.c; the others are of old
/// rules of udev).
const BMC_NODES: [&str; 3] = ["/dev/ipmi0", "/dev/ipmi/0", "/dev/ipmidev/0"];

/// The parts of the machine below `root`. In a container, the devices of which are its host's, only
/// what is its own.
#[must_use]
pub fn read(root: &Root) -> Inventory {
    let tables = dmi::read(root);
    let machine = machine::read(root);
    let own = machine.place != Place::Container;
    let mut inventory = Inventory {
        processors: machine::processors(root),
        memory: memory::read(root, &tables, own),
        bmc: BMC_NODES.into_iter().find(|node| own && root.path(node).exists()).map(str::to_owned),
        disks: Vec::new(),
        arrays: Vec::new(),
        mappings: Vec::new(),
        interfaces: network::read(root, own),
        chips: if own { chips(root) } else { Vec::new() },
        watchdogs: if own { watchdogs(root) } else { Vec::new() },
        unseen: Vec::new(),
        machine,
    };
    if own {
        (inventory.disks, inventory.arrays, inventory.mappings) = disks::read(root);
    }
    inventory.unseen = unseen::all(root, &inventory, &tables);
    inventory
}

fn chips(root: &Root) -> Vec<Chip> {
    let mut chips: Vec<Chip> = Vec::new();
    for point in points(root) {
        if chips.last().is_none_or(|last| last.name != point.chip) {
            chips.push(Chip { name: point.chip, temperatures: 0, fans: 0, electric: 0 });
        }
        let Some(chip) = chips.last_mut() else { continue };
        let count = match point.quantity {
            "temperature" => &mut chip.temperatures,
            "fan" => &mut chip.fans,
            _ => &mut chip.electric,
        };
        *count = count.saturating_add(1);
    }
    chips
}

fn watchdogs(root: &Root) -> Vec<Watchdog> {
    let clean = |text: String| crate::once::clean(text.as_bytes());
    let shown = |device: watchdog::Watchdog| Watchdog {
        identity: device.identity.or(device.driver).and_then(clean),
        kind: device.kind.name(),
        active: device.active,
        timeout_secs: device.timeout_secs,
        name: device.name,
    };
    watchdog::list(root).into_iter().map(shown).collect()
}

/// Whether the machine is there to be asked for its devices.
fn place(root: &Root) -> Place {
    if host::has_foreign_devices(root) {
        Place::Container
    } else if host::is_virtual(root) {
        Place::Virtual
    } else {
        Place::Hardware
    }
}

#[cfg(test)]
mod tests;
