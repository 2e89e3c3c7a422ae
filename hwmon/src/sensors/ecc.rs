//! Memory errors that the memory controllers counted (EDAC).
//!
//! One check for all memory; the note names the modules. Only counters of the kernel are read, so
//! nothing waits for the hardware. They start anew with the driver, and when somebody writes to
//! `reset_counters`, which is how an uncorrected error is acknowledged.

use std::path::{Path, PathBuf};

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::host::has_foreign_devices;
use crate::kept::Kept;
use crate::once;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};

/// Memory controllers (/sys/devices/system/edac/mc; Documentation/admin-guide/ras.rst).
pub const SENSOR: Sensor = Sensor {
    name: "ecc",
    hardware: true,
    summary: "Errors that the memory controllers corrected, and those that they could not, from /sys/devices/system/edac.",
    target: Target::Machine,
    options: &[],
    quantities: QUANTITIES,
    // More than single bits that cosmic rays flip; the limit that mcelog has for a module.
    warn_when: &["corrected > 10 in 1d"],
    // Until the counters are reset: what was in that memory is wrong, and it will happen again.
    fail_when: &["uncorrected > 0"],
    interval: Span::from_secs(60),
    fail_after: Span::ZERO,
    recover_after: Span::ZERO,
    discover: Some(discover),
    source: Source::Quick(open),
};

const QUANTITIES: &[Quantity] = &[
    Quantity {
        name: "corrected",
        unit: Unit::Total,
        meaning: "errors corrected since the driver was loaded, of all memory; the note names the modules",
    },
    Quantity {
        name: "uncorrected",
        unit: Unit::Total,
        meaning: "errors that could not be corrected since the driver was loaded; zero again after a 1 is written to mc*/reset_counters",
    },
    Quantity {
        name: "controllers",
        unit: Unit::Count,
        meaning: "memory controllers with a driver that counts",
    },
];

const MC: &str = "/sys/devices/system/edac/mc";

/// Controllers at most; machines of eight sockets have 32.
const CONTROLLERS_MAX: usize = 64;

/// Modules of one controller at most.
const MODULES_MAX: usize = 64;

/// Channels of one row at most.
const CHANNELS_MAX: u32 = 8;

/// Modules that the note names, worst first.
const NAMED_MAX: usize = 3;

struct Ecc {
    controllers: Vec<Controller>,
}

struct Controller {
    directory: PathBuf,
    corrected: Kept,
    uncorrected: Kept,
}

/// What one module, or row of chips, has had.
struct Module {
    label: String,
    corrected: u64,
    uncorrected: u64,
}

fn open(root: &Root, _target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    let found = controllers(root);
    if found.is_empty() {
        return Err(SensorError::Unsupported(format!(
            "{} has no memory controller: no ECC memory, or its EDAC driver is not loaded",
            root.path(MC).display()
        )));
    }
    let controllers = found.into_iter().map(Controller::open).collect::<Result<_, _>>()?;
    Ok(Box::new(Ecc { controllers }))
}

fn discover(root: &Root) -> Vec<String> {
    let there = !has_foreign_devices(root) && !controllers(root).is_empty();
    if there { vec![String::new()] } else { Vec::new() }
}

/// `mc0`, `mc1` and so on.
fn controllers(root: &Root) -> Vec<PathBuf> {
    once::numbered(&root.path(MC), "mc", CONTROLLERS_MAX)
}

impl Controller {
    fn open(directory: PathBuf) -> Result<Self, SensorError> {
        Ok(Self {
            corrected: Kept::open_short(directory.join("ce_count"))?,
            uncorrected: Kept::open_short(directory.join("ue_count"))?,
            directory,
        })
    }
}

impl Probe for Ecc {
    fn read(&mut self, _now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        // A driver that was loaded anew has other files under the same names: then the open ones
        // say ENODEV, and the check opens this anew.
        let (mut corrected, mut uncorrected) = (0_u64, 0_u64);
        for controller in &mut self.controllers {
            corrected = corrected.saturating_add(counter(&mut controller.corrected)?);
            uncorrected = uncorrected.saturating_add(counter(&mut controller.uncorrected)?);
        }
        out.count("corrected", corrected);
        out.count("uncorrected", uncorrected);
        out.count("controllers", self.controllers.len() as u64);
        if corrected > 0 || uncorrected > 0 {
            let mut all = Vec::new();
            for controller in &self.controllers {
                modules(&controller.directory, &mut all);
            }
            out.note = note(all);
        }
        Ok(())
    }
}

fn counter(file: &mut Kept) -> Result<u64, SensorError> {
    match file.number()? {
        Some(count) => Ok(count),
        None => Err(SensorError::malformed(file.path(), "one whole number")),
    }
}

/// Adds the modules of a controller that have had errors. What cannot be read is left out: the
/// totals are those of the controller.
fn modules(controller: &Path, all: &mut Vec<Module>) {
    let count = |directory: &Path, name: &str| once::number(&directory.join(name)).unwrap_or(0);
    // Errors of which the controller could not say where they were.
    add(
        all,
        format!("{}, module unknown", name(controller)),
        count(controller, "ce_noinfo_count"),
        count(controller, "ue_noinfo_count"),
    );
    // Modules, or ranks of them where the driver does not know the modules.
    let mut known = once::numbered(controller, "dimm", MODULES_MAX);
    known.extend(once::numbered(controller, "rank", MODULES_MAX));
    for module in &known {
        let label = label(controller, module, "dimm_label");
        add(all, label, count(module, "dimm_ce_count"), count(module, "dimm_ue_count"));
    }
    // The layout before Linux 3.6, which some distributions switch on beside the other: rows of
    // chips over channels, and uncorrected errors by row only.
    let rows = if known.is_empty() {
        once::numbered(controller, "csrow", MODULES_MAX)
    } else {
        Vec::new()
    };
    for row in &rows {
        add(all, format!("{} {}", name(controller), name(row)), 0, count(row, "ue_count"));
        for channel in 0..CHANNELS_MAX {
            let label = label(controller, row, &format!("ch{channel}_dimm_label"));
            add(all, label, count(row, &format!("ch{channel}_ce_count")), 0);
        }
    }
}

fn add(all: &mut Vec<Module>, label: String, corrected: u64, uncorrected: u64) {
    if corrected > 0 || uncorrected > 0 {
        all.push(Module { label, corrected, uncorrected });
    }
}

fn name(directory: &Path) -> &str {
    directory.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// What the driver or the administrator (`edac-ctl --register-labels`) calls it, else its folder.
fn label(controller: &Path, module: &Path, file: &str) -> String {
    once::shown(&module.join(file))
        .unwrap_or_else(|| format!("{} {}", name(controller), name(module)))
}

/// The worst modules: `DIMM_A1: 2 uncorrected, 40 corrected; DIMM_B2: 0 uncorrected, 1
/// corrected`.
fn note(mut all: Vec<Module>) -> Option<Box<str>> {
    let mut text = String::new();
    for _ in 0..NAMED_MAX {
        // The last of the equal ones is taken, so the list is searched from its end.
        let worst = all.iter().enumerate().rev();
        let worst = worst.max_by_key(|(_, module)| (module.uncorrected, module.corrected));
        let Some((index, _)) = worst else { break };
        let module = all.remove(index);
        text.push_str(if text.is_empty() { "" } else { "; " });
        text.push_str(&format!(
            "{}: {} uncorrected, {} corrected",
            module.label, module.uncorrected, module.corrected
        ));
    }
    if text.is_empty() { None } else { Some(text.into()) }
}
