//! Maker, model and processors.

use mastiff_core::sorted::Set;
use serde::Serialize;

use crate::once;
use crate::root::Root;
use crate::text;

/// What the firmware's tables call the machine (/sys/class/dmi/id;
/// Documentation/ABI/testing/sysfs-firmware-dmi-tables), or the device tree its model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Real, virtual, or a container.
    pub place: Place,
    /// `Dell Inc.`
    pub maker: Option<String>,
    /// `PowerEdge R740`.
    pub model: Option<String>,
    /// Its serial number; for root only.
    pub serial: Option<String>,
    /// Maker and name of the board.
    pub board: Option<String>,
    /// Version of the firmware.
    pub firmware: Option<String>,
    /// Date of the firmware, as its maker writes it.
    pub firmware_date: Option<String>,
}

/// What stands between this process and the hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Nothing.
    Hardware,
    /// A hypervisor.
    Virtual,
    /// The kernel of a host.
    Container,
}

/// The processors that are switched on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Processors {
    /// As the first one calls itself (/proc/cpuinfo).
    pub model: Option<String>,
    /// Packages.
    pub sockets: Option<usize>,
    /// Cores of all packages.
    pub cores: Option<usize>,
    /// Threads of all cores: what the kernel calls a processor.
    pub threads: Option<usize>,
}

/// What makers leave in fields that they did not fill in.
const FILLERS: [&str; 9] = [
    "default string",
    "empty",
    "none",
    "not specified",
    "not applicable",
    "o.e.m.",
    "system manufacturer",
    "system product name",
    "unknown",
];

/// Processors at most: NR_CPUS of the largest distributions' kernels.
const PROCESSORS_MAX: usize = 8192;

/// Bytes of /proc/cpuinfo that have the name of its first processor.
const CPUINFO_BYTES: u64 = 4096;

/// Bytes of the model in a device tree.
const MODEL_BYTES: u64 = 128;

pub(super) fn read(root: &Root) -> Machine {
    let id = |name: &str| {
        let text = once::shown(&root.path("/sys/class/dmi/id").join(name));
        text.filter(|text| !is_filler(text))
    };
    let tree = || {
        let model = once::head(&root.path("/sys/firmware/devicetree/base/model"), MODEL_BYTES)?;
        once::clean(&model)
    };
    let board = match (id("board_vendor"), id("board_name")) {
        (Some(vendor), Some(name)) => Some(format!("{vendor} {name}")),
        (vendor, name) => name.or(vendor),
    };
    Machine {
        place: super::place(root),
        maker: id("sys_vendor"),
        model: id("product_name").or_else(tree),
        serial: id("product_serial"),
        board,
        firmware: id("bios_version"),
        firmware_date: id("bios_date"),
    }
}

fn is_filler(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    FILLERS.contains(&text.as_str()) || text.starts_with("to be filled")
}

pub(super) fn processors(root: &Root) -> Processors {
    let cpuinfo = once::head(&root.path("/proc/cpuinfo"), CPUINFO_BYTES).unwrap_or_default();
    let cpuinfo = String::from_utf8_lossy(&cpuinfo);
    let mut models = cpuinfo.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim_end() == "model name").then(|| once::clean(value.as_bytes()))?
    });
    let directory = root.path("/sys/devices/system/cpu");
    let (mut packages, mut cores) = (Set::default(), Set::default());
    for processor in once::numbered(&directory, "cpu", PROCESSORS_MAX) {
        let topology = processor.join("topology");
        // -1 where the firmware does not tell.
        packages.extend(once::number(&topology.join("physical_package_id")));
        cores.extend(once::line(&topology.join("thread_siblings_list")));
    }
    let some = |count: usize| Some(count).filter(|count| *count > 0);
    Processors {
        model: models.next(),
        sockets: some(packages.len()),
        cores: some(cores.len()),
        threads: once::line(&directory.join("online")).and_then(|list| length(&list)),
    }
}

/// How many numbers a list such as `0-3,8` has (Documentation/core-api/cpu_hotplug.rst).
fn length(list: &str) -> Option<usize> {
    let mut sum = 0_u64;
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (text::whole(first)?, text::whole(last)?);
        sum = sum.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    usize::try_from(sum).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_processors_has_a_length() {
        for (list, count) in [
            ("0", Some(1)),
            ("0-3", Some(4)),
            ("0-3,8,10-11", Some(7)),
            ("", None),
            ("3-0", None),
            ("0-18446744073709551615", None),
            ("0-x", None),
        ] {
            assert_eq!(length(list), count, "{list:?}");
        }
    }

    #[test]
    fn what_a_maker_forgot_to_fill_in_is_no_name() {
        for text in ["To Be Filled By O.E.M.", "Default string", "System manufacturer"] {
            assert!(is_filler(text), "{text}");
        }
        assert!(!is_filler("PowerEdge R740"));
    }
}
