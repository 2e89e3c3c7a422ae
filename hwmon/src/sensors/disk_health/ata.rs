//! SMART of an ATA disk (ATA8-ACS, 7.52; the tables of attributes: SFF-8035i revision 2), by ATA
//! PASS-THROUGH (SAT-4, 12.2).

use std::fmt::Write;
use std::os::fd::BorrowedFd;

use mastiff_core::reading::Readings;

use crate::sensor::SensorError;
use crate::sys::Page;
use crate::sys::sg::{self, Ended};

const PASS_THROUGH: u8 = 0x85;
/// Protocol "non-data", and: send the registers back.
const NO_DATA: [u8; 2] = [3 << 1, 0x20];
/// Protocol "PIO data-in": from the device, in blocks, as many as the count says.
const DATA_IN: [u8; 2] = [4 << 1, 0x0e];

const CHECK_POWER_MODE: u8 = 0xe5;
const SMART: u8 = 0xb0;
const READ_DATA: u8 = 0xd0;
const READ_THRESHOLDS: u8 = 0xd1;
const RETURN_STATUS: u8 = 0xda;

/// What the disk must find in LBA (15:8) and (23:16) of each SMART command, and sends back from
/// RETURN STATUS while it is well.
const SIGNATURE: [u8; 2] = [0x4f, 0xc2];
/// What it sends back once a threshold is exceeded.
const EXCEEDED: [u8; 2] = [0xf4, 0x2c];

/// The bit ERR (or CHK) of the status register.
const STATUS_ERROR: u8 = 1;

/// Attributes that tell the wear of a solid-state disk, the most telling first; the normalised
/// value is the share of its life that is left. 177 of Samsung, 231 of SandForce, Phison and
/// Kingston, 202 of Micron, 233 of Intel.
pub(in crate::sensors) const WEAR: [u8; 4] = [177, 231, 202, 233];

/// Degrees Celsius above which a disk counts as hot: the usual limits of operation of their data
/// sheets.
pub(in crate::sensors) const HOT_ROTATING: u8 = 60;
pub(in crate::sensors) const HOT_SOLID: u8 = 70;

/// Attributes at their thresholds that are named at most.
const NAMED_MAX: usize = 4;

/// Whether the disk may be asked: a SMART command would wake it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    Awake,
    Asleep,
    /// Nothing between here and the disk says.
    Unknown,
}

/// The registers of the disk after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) status: u8,
    pub(super) count: u8,
    /// LBA (15:8) and (23:16).
    pub(super) middle_high: [u8; 2],
}

/// What a disk said.
#[derive(Debug)]
pub(super) struct Said {
    /// Whether it expects to fail; `None` where nothing tells.
    pub(super) is_failing: Option<bool>,
    /// Its attributes.
    pub(super) data: Page,
    /// Their thresholds, where it has any.
    pub(super) thresholds: Option<Page>,
}

/// Asks whether the disk sleeps; that never wakes it.
///
/// # Errors
/// [`SensorError::Call`] when the command cannot be sent.
pub(super) fn power(disk: BorrowedFd<'_>) -> Result<Power, SensorError> {
    let ended = send(disk, NO_DATA, CHECK_POWER_MODE, 0, None)?;
    Ok(match registers(&ended.sense) {
        // A disk without power management refuses the command, and cannot sleep.
        Some(registers) if registers.status & STATUS_ERROR != 0 => Power::Awake,
        // Standby, by two names (ATA8-ACS, 7.8).
        Some(Registers { count: 0x00 | 0x01, .. }) => Power::Asleep,
        Some(_) => Power::Awake,
        None => Power::Unknown,
    })
}

/// Asks for all that a disk tells of its health.
///
/// # Errors
/// [`SensorError::Call`] when a command cannot be sent, [`SensorError::Unsupported`] when the disk
/// has no SMART.
pub(super) fn ask(disk: BorrowedFd<'_>) -> Result<Said, SensorError> {
    let ended = send(disk, NO_DATA, SMART, RETURN_STATUS, None)?;
    let status = registers(&ended.sense);
    let mut data = Page([0; 512]);
    let refused = status.is_some_and(|registers| registers.status & STATUS_ERROR != 0);
    if refused || !fetch(disk, READ_DATA, &mut data)? {
        return Err(SensorError::Unsupported(
            "the disk refuses SMART: it has none, or it is switched off (smartctl -s on)".into(),
        ));
    }
    let mut thresholds = Page([0; 512]);
    let thresholds = fetch(disk, READ_THRESHOLDS, &mut thresholds)?.then_some(thresholds);
    let is_failing = match status.map(|registers| registers.middle_high) {
        Some(SIGNATURE) => Some(false),
        Some(EXCEEDED) => Some(true),
        Some(_) | None => None,
    };
    Ok(Said { is_failing, data, thresholds })
}

/// Reads a page of SMART; false if the disk refuses.
fn fetch(disk: BorrowedFd<'_>, feature: u8, page: &mut Page) -> Result<bool, SensorError> {
    let ended = send(disk, DATA_IN, SMART, feature, Some(page))?;
    let fine = registers(&ended.sense).is_none_or(|registers| registers.status & STATUS_ERROR == 0);
    Ok(fine
        && ended.received == page.0.len()
        && (ended.status == 0 || registers(&ended.sense).is_some()))
}

fn send(
    disk: BorrowedFd<'_>,
    [protocol, flags]: [u8; 2],
    command: u8,
    feature: u8,
    page: Option<&mut Page>,
) -> Result<Ended, SensorError> {
    let [middle, high] = if command == SMART { SIGNATURE } else { [0; 2] };
    let count = u8::from(page.is_some());
    let bytes = [
        PASS_THROUGH,
        protocol,
        flags,
        0,
        feature,
        0,
        count,
        0,
        0,
        0,
        middle,
        0,
        high,
        0,
        command,
        0,
    ];
    let failed = |source| SensorError::Call { call: "the SCSI command to the disk", source };
    let answer = page.map(|page| page.0.as_mut_slice());
    let ended = sg::send(disk, &bytes, answer).map_err(failed)?;
    if ended.is_delivered {
        Ok(ended)
    } else {
        Err(failed(std::io::Error::from_raw_os_error(libc::EIO)))
    }
}

/// The registers in sense data, of either format (SAT-4, 12.2.2.6 and 12.2.2.7); `None` where there
/// are none.
pub(super) fn registers(sense: &[u8; sg::SENSE_BYTES]) -> Option<Registers> {
    match sense[0] & 0x7f {
        // Descriptors; libata and all translators that were seen put this one first.
        0x72 if [sense[8], sense[9]] == [0x09, 0x0c] => Some(Registers {
            count: sense[13],
            middle_high: [sense[17], sense[19]],
            status: sense[21],
        }),
        // Fixed: in the fields "information" and "command-specific information", if the additional
        // sense code says so (ATA PASS THROUGH INFORMATION AVAILABLE).
        0x70 if [sense[12], sense[13]] == [0x00, 0x1d] => Some(Registers {
            count: sense[6],
            middle_high: [sense[10], sense[11]],
            status: sense[4],
        }),
        _ => None,
    }
}

/// One line of the table of attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attribute {
    id: u8,
    /// Below its threshold the disk expects to fail, rather than to be old.
    is_prefailure: bool,
    /// Normalised: 253 is best, 1 is worst.
    value: u8,
    /// Zero: never exceeded.
    threshold: u8,
    /// Six bytes that each maker fills as he likes.
    raw: u64,
}

impl Attribute {
    fn is_exceeded(&self) -> bool {
        self.threshold > 0 && self.value <= self.threshold
    }
}

/// The attributes of a page whose check sum holds; empty otherwise.
fn attributes(said: &Said) -> impl Iterator<Item = Attribute> {
    let data = said.data.0.get(2..).filter(|_| is_whole(&said.data)).unwrap_or_default();
    let thresholds = said.thresholds.as_ref().filter(|page| is_whole(page));
    let limits = thresholds.and_then(|page| page.0.get(2..)).unwrap_or_default();
    data.as_chunks::<12>().0.iter().take(30).filter(|entry| entry[0] != 0).map(|entry| {
        let [id, flags, _, value, _, a, b, c, d, e, f, _] = *entry;
        let same = |limit: &&[u8; 12]| limit[0] == id;
        let threshold = limits.as_chunks::<12>().0.iter().take(30).find(same);
        Attribute {
            id,
            is_prefailure: flags & 1 != 0,
            value,
            threshold: threshold.map_or(0, |limit| limit[1]),
            raw: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
        }
    })
}

/// All bytes add up to nothing (ATA8-ACS, table 63).
fn is_whole(page: &Page) -> bool {
    page.0.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)) == 0
}

/// Sets what the disk said; `note` grows by what makes it fail.
pub(super) fn fill(said: &Said, is_rotating: bool, out: &mut Readings, note: &mut String) {
    for name in ["read-only", "spare-low", "spare", "unprotected", "unsafe-shutdowns"] {
        out.absent(name);
    }
    let attributes: Vec<Attribute> = attributes(said).collect();
    if attributes.is_empty() {
        // Without attributes the disk's own word is all there is; the rest stays missing.
        if let Some(failing) = said.is_failing {
            out.flag("failing", failing);
        }
        return;
    }
    let is_wear = |attribute: &&Attribute| !is_rotating && WEAR.contains(&attribute.id);
    let exceeded = || attributes.iter().filter(|attribute| attribute.is_exceeded());
    for attribute in exceeded().take(NAMED_MAX) {
        // A String takes everything.
        if write!(note, "; attribute {} is at its threshold", attribute.id).is_err() {
            break;
        }
    }
    // A disk that is worn out says that it fails; nothing is lost yet, and it may last for years.
    let only_worn = exceeded().next().is_some() && exceeded().all(|one| is_wear(&one));
    let by_table = exceeded().any(|one| one.is_prefailure && !is_wear(&one));
    match said.is_failing {
        Some(failing) => out.flag("failing", (failing && !only_worn) || by_table),
        None if by_table || said.thresholds.is_some() => out.flag("failing", by_table),
        None => {}
    }
    let raw = |id| attributes.iter().find(|one| one.id == id).map(|one| one.raw);
    for (name, id, bits) in [
        // Some makers use the upper half for something else.
        ("reallocated", 5, 16),
        ("media-errors", 187, 32),
        ("pending", 197, 32),
        ("uncorrectable", 198, 32),
        ("link-errors", 199, 32),
    ] {
        match raw(id) {
            Some(raw) => out.count(name, raw & ((1_u64 << bits) - 1)),
            None => out.absent(name),
        }
    }
    match raw(9) {
        // Three bytes are hours; some makers have minutes behind them.
        Some(hours) => out.count("power-on", (hours & 0x00ff_ffff).saturating_mul(3600)),
        None => out.absent("power-on"),
    }
    wear(&attributes, is_rotating, out);
    temperature(raw(194).or_else(|| raw(190)), is_rotating, out);
}

fn wear(attributes: &[Attribute], is_rotating: bool, out: &mut Readings) {
    let telling = |id: &u8| {
        let found = attributes.iter().find(|one| one.id == *id);
        // Zero without a threshold: the maker does not use the value.
        found.filter(|one| one.value > 0 || one.threshold > 0)
    };
    match WEAR.iter().find_map(telling).filter(|_| !is_rotating) {
        Some(one) if one.is_exceeded() => out.ratio("wear", 100, 100),
        Some(one) => out.ratio("wear", 100_u64.saturating_sub(one.value.into()), 100),
        None => out.absent("wear"),
    }
}

/// The first byte of its attribute; the others are minimum and maximum, if anything.
fn temperature(raw: Option<u64>, is_rotating: bool, out: &mut Readings) {
    let limit = if is_rotating { HOT_ROTATING } else { HOT_SOLID };
    match raw.map(|raw| raw.to_le_bytes()[0]) {
        Some(degrees @ 1..=125) => {
            out.number("temperature", degrees.into());
            out.flag("hot", degrees > limit);
        }
        Some(_) | None => {
            out.absent("temperature");
            out.absent("hot");
        }
    }
}

#[cfg(test)]
mod tests;
