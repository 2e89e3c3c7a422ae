//! The health log of an NVMe controller (NVM Express Base Specification 1.4, 5.14.1.2).

use mastiff_core::reading::Readings;

/// Bits of the critical warning, byte 0.
const SPARE_LOW: u8 = 1 << 0;
const TEMPERATURE: u8 = 1 << 1;
const UNRELIABLE: u8 = 1 << 2;
const READ_ONLY: u8 = 1 << 3;
const BACKUP_FAILED: u8 = 1 << 4;

/// 0 degrees Celsius.
const FREEZING_KELVIN: u16 = 273;

/// Sets what the critical warning says, beside `used`, the percentage of the life that is used up.
///
/// The bit "reliability degraded" is also set by controllers whose endurance is used up, which says
/// nothing of the data: there it counts as wear.
pub(in crate::sensors) fn warned(warning: u8, used: u8, out: &mut Readings) {
    let is_set = |bit| warning & bit != 0;
    out.flag("failing", is_set(UNRELIABLE) && used < 100);
    out.flag("read-only", is_set(READ_ONLY));
    out.flag("spare-low", is_set(SPARE_LOW));
    out.flag("unprotected", is_set(BACKUP_FAILED));
    out.flag("hot", is_set(TEMPERATURE));
}

/// Sets what the log says.
pub(super) fn fill(log: &[u8; 512], out: &mut Readings) {
    let [warning, kelvin_low, kelvin_high, spare, spare_limit, used, ..] = *log;
    warned(warning, used, out);
    if spare < spare_limit {
        out.flag("spare-low", true);
    }
    out.ratio("spare", spare.min(100).into(), 100);
    out.ratio("wear", used.min(100).into(), 100);
    match u16::from_le_bytes([kelvin_low, kelvin_high]) {
        0 => out.absent("temperature"),
        kelvin => out.number("temperature", f64::from(kelvin) - f64::from(FREEZING_KELVIN)),
    }
    out.count("power-on", counter(log, 128).saturating_mul(3600));
    out.count("unsafe-shutdowns", counter(log, 144));
    out.count("media-errors", counter(log, 160));
    for name in ["reallocated", "pending", "uncorrectable", "link-errors"] {
        out.absent(name);
    }
}

/// A counter of 16 bytes, least significant first; what does not fit is the largest number.
fn counter(log: &[u8; 512], offset: usize) -> u64 {
    let bytes = log.get(offset..).and_then(|rest| rest.first_chunk::<16>());
    bytes.map_or(0, |bytes| u64::try_from(u128::from_le_bytes(*bytes)).unwrap_or(u64::MAX))
}
