//! Which chips there are, by names that hold over reboots.
//!
//! `hwmonN` is given in the order in which drivers load. So a chip is named after its driver and
//! its place on its bus, as `sensors` of lm-sensors prints it: `coretemp-isa-0000`,
//! `nvme-pci-0100`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use mastiff_core::sorted::Set;

use crate::kept::Kept;
use crate::once;
use crate::root::Root;
use crate::text;

/// Where chips show; each entry is a link to the device.
pub(super) const CLASS: &str = "/sys/class/hwmon";

/// Chips looked at, at most: a large server has twenty.
const CHIPS_MAX: usize = 256;

/// Longest name of a driver that is believed.
const NAME_BYTES_MAX: usize = 40;

/// Devices between a chip and its bus: an NVMe controller is one above its chip, and below PCI.
const LEVELS_MAX: usize = 4;

/// One chip: its name, and the directory with its files.
pub(super) struct Chip {
    pub(super) name: String,
    pub(super) directory: PathBuf,
}

/// All chips, by name. Where two would have one name, as two virtual devices have, the second in
/// the order of the device tree is called `NAME#2`.
pub(super) fn all(root: &Root) -> Vec<Chip> {
    let class = root.path(CLASS);
    let named = |entry: String| {
        let directory = fs::canonicalize(class.join(entry)).ok()?;
        Some((name_of(&directory)?, directory.into_os_string()))
    };
    let found: Set<(String, OsString)> =
        once::names(&class).into_iter().take(CHIPS_MAX).filter_map(named).collect();
    let mut chips: Vec<Chip> = Vec::new();
    let (mut last, mut same) = (String::new(), 1_usize);
    for (mut name, directory) in found {
        same = if name == last { same.saturating_add(1) } else { 1 };
        last.clone_from(&name);
        if same > 1 {
            name = format!("{last}#{same}");
        }
        chips.push(Chip { name, directory: directory.into() });
    }
    chips
}

fn name_of(directory: &Path) -> Option<String> {
    let mut file = Kept::open_short(directory.join("name")).ok()?;
    let driver = file.line().ok()??;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if driver.is_empty() || driver.len() > NAME_BYTES_MAX || !driver.bytes().all(plain) {
        return None;
    }
    let mut device = fs::canonicalize(directory.join("device")).ok();
    for _ in 0..LEVELS_MAX {
        let Some(path) = device else { break };
        let subsystem = fs::read_link(path.join("subsystem")).ok();
        let bus = subsystem.as_deref().and_then(Path::file_name).and_then(|bus| bus.to_str());
        if let Some(place) =
            bus.zip(path.file_name()?.to_str()).and_then(|(bus, device)| place(bus, device))
        {
            return Some(format!("{driver}-{place}"));
        }
        device = fs::canonicalize(path.join("device")).ok();
    }
    Some(format!("{driver}-virtual-0"))
}

/// The place of a device on its bus, as lm-sensors writes it (sensors_snprintf_chip_name).
fn place(bus: &str, device: &str) -> Option<String> {
    match bus {
        "i2c" => {
            let (number, address) = device.split_once('-')?;
            Some(format!("i2c-{}-{:02x}", text::whole(number)?, hex(address)?))
        }
        "spi" => {
            let (number, address) = device.strip_prefix("spi")?.split_once('.')?;
            Some(format!("spi-{}-{:x}", text::whole(number)?, text::whole(address)?))
        }
        "pci" => {
            // 0000:01:00.0: domain, bus, slot of five bits, function of three.
            let mut parts = device.split([':', '.']).map(hex);
            let (domain, bus) = (parts.next()??, parts.next()??);
            let (slot, function) = (parts.next()??, parts.next()??);
            let address = (domain & 0xffff) << 16 | (bus & 0xff) << 8 | (slot & 0x1f) << 3;
            Some(format!("pci-{:04x}", address | function & 7))
        }
        "platform" | "of_platform" => {
            let number = device.rsplit_once(['.', ':']).and_then(|(_, id)| text::whole(id));
            Some(format!("isa-{:04x}", number.unwrap_or(0)))
        }
        "acpi" => Some("acpi-0".into()),
        "hid" => {
            let (numbers, instance) = device.rsplit_once('.')?;
            let number = hex(numbers.split(':').next()?)?;
            Some(format!("hid-{number}-{:x}", hex(instance)?))
        }
        "mdio_bus" => {
            let number = device.split_once(':').and_then(|(_, address)| text::whole(address));
            Some(format!("mdio-{:x}", number.unwrap_or(0)))
        }
        "scsi" => {
            let mut parts = device.split(':').map(text::whole);
            let (host, channel) = (parts.next()??, parts.next()??);
            let (target, unit) = (parts.next()??, parts.next()??);
            let address = (channel & 0xff) << 8 | (target & 0xf) << 4 | unit & 0xf;
            Some(format!("scsi-{host}-{address:x}"))
        }
        _ => None,
    }
}

fn hex(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { u64::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_lm_sensors() {
        for (bus, device, shown) in [
            ("platform", "coretemp.0", Some("isa-0000")),
            ("platform", "coretemp.1", Some("isa-0001")),
            ("platform", "nct6775.656", Some("isa-0290")),
            ("platform", "thinkpad_hwmon", Some("isa-0000")),
            ("pci", "0000:00:18.3", Some("pci-00c3")),
            ("pci", "0001:01:00.0", Some("pci-10100")),
            ("i2c", "0-002d", Some("i2c-0-2d")),
            ("spi", "spi0.1", Some("spi-0-1")),
            ("acpi", "LNXTHERM:00", Some("acpi-0")),
            ("acpi", "ACPI000D:00", Some("acpi-0")),
            ("hid", "0003:1B1C:1C0A.0002", Some("hid-3-2")),
            ("scsi", "4:0:0:0", Some("scsi-4-0")),
            ("mdio_bus", "fixed-0:1f", Some("mdio-0")),
            ("nvme", "nvme0", None),
            ("pci", "0000", None),
            ("pci", "0000:xx:00.0", None),
            ("i2c", "i2c-0", None),
            ("scsi", "4:0:-1:0", None),
        ] {
            assert_eq!(place(bus, device).as_deref(), shown, "{bus} {device}");
        }
    }
}
