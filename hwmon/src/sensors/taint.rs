//! Taint: what has happened to the running kernel that cannot be undone without a reboot.

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::kept::Kept;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};

/// Taint of the running kernel (/proc/sys/kernel/tainted;
/// Documentation/admin-guide/tainted-kernels.rst).
pub const SENSOR: Sensor = Sensor {
    name: "taint",
    hardware: false,
    summary: "What has tainted the running kernel, from /proc/sys/kernel/tainted.",
    target: Target::Machine,
    options: &[],
    quantities: &[
        Quantity {
            name: "tainted",
            unit: Unit::Flag,
            meaning: "anything at all; a module from outside the kernel is enough",
        },
        Quantity {
            name: "machine-check",
            unit: Unit::Flag,
            meaning: "a processor reported a machine check (M)",
        },
        Quantity {
            name: "bad-page",
            unit: Unit::Flag,
            meaning: "a page of memory was found in an impossible state (B): hardware or kernel bug",
        },
        Quantity {
            name: "died",
            unit: Unit::Flag,
            meaning: "a kernel oops or BUG (D): something was killed while it held what others wait for",
        },
        Quantity { name: "warned", unit: Unit::Flag, meaning: "a kernel warning (W)" },
        Quantity {
            name: "soft-lockup",
            unit: Unit::Flag,
            meaning: "a processor did not schedule for 20 s or more (L)",
        },
    ],
    // `warned` is left out: drivers warn about much that hurts nobody.
    warn_when: &["died", "machine-check", "bad-page", "soft-lockup"],
    fail_when: &[],
    interval: Span::from_secs(60),
    fail_after: Span::ZERO,
    recover_after: Span::ZERO,
    discover: Some(|root| root.machine_if("/proc/sys/kernel/tainted")),
    source: Source::Quick(open),
};

const MACHINE_CHECK: u32 = 4;
const BAD_PAGE: u32 = 5;
const DIED: u32 = 7;
const WARNED: u32 = 9;
const SOFT_LOCKUP: u32 = 14;

/// Letter and meaning of each bit, from bit 0 (include/linux/panic.h, kernel/panic.c).
const BITS: [(char, &str); 20] = [
    ('P', "proprietary module"),
    ('F', "module was force loaded"),
    ('S', "processor or system out of specification"),
    ('R', "module was force unloaded"),
    ('M', "machine check"),
    ('B', "bad page"),
    ('U', "asked for by a program"),
    ('D', "oops or BUG"),
    ('A', "ACPI table overridden"),
    ('W', "warning"),
    ('C', "staging driver"),
    ('I', "firmware bug worked around"),
    ('O', "module from outside the kernel"),
    ('E', "unsigned module"),
    ('L', "soft lockup"),
    ('K', "live patched"),
    ('X', "distribution's own taint"),
    ('T', "structure layout randomised"),
    ('N', "in-kernel test has run"),
    ('J', "firmware debug call changed hardware"),
];

struct Taint {
    file: Kept,
}

fn open(root: &Root, _target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    Ok(Box::new(Taint { file: Kept::open_short(root.path("/proc/sys/kernel/tainted"))? }))
}

impl Probe for Taint {
    fn read(&mut self, _now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        let Some(taint) = self.file.number()? else {
            return Err(SensorError::malformed(self.file.path(), "one number"));
        };
        out.flag("tainted", taint != 0);
        for (name, bit) in [
            ("machine-check", MACHINE_CHECK),
            ("bad-page", BAD_PAGE),
            ("died", DIED),
            ("warned", WARNED),
            ("soft-lockup", SOFT_LOCKUP),
        ] {
            out.flag(name, has(taint, bit));
        }
        out.note = describe(taint);
        Ok(())
    }
}

fn has(taint: u64, bit: u32) -> bool {
    taint.checked_shr(bit).is_some_and(|rest| rest & 1 == 1)
}

/// `W warning, O module from outside the kernel`; bits that this program does not know are
/// numbered.
fn describe(taint: u64) -> Option<Box<str>> {
    let mut words = Vec::new();
    for (bit, (letter, meaning)) in (0..).zip(BITS) {
        if has(taint, bit) {
            words.push(format!("{letter} {meaning}"));
        }
    }
    for bit in (0..u64::BITS).skip(BITS.len()) {
        if has(taint, bit) {
            words.push(format!("bit {bit}"));
        }
    }
    if words.is_empty() { None } else { Some(words.join(", ").into()) }
}
