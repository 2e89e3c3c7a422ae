//! The firmware's tables (System Management BIOS, DMTF DSP0134), which only root may read:
//! /sys/firmware/dmi/tables/DMI (Documentation/ABI/testing/sysfs-firmware-dmi-tables).
//!
//! A structure is a type, a length, a handle of two bytes, its fields, and behind them its texts,
//! each ended by a zero and all of them by another one. Fields are little-endian and have their
//! place by their distance from the type.

use std::fs::File;
use std::io::{ErrorKind, Read};

use super::memory::Module;
use crate::once;
use crate::root::Root;

/// Bytes of the tables at most; a large server has 20 KiB.
const TABLES_BYTES_MAX: u64 = 256 * 1024;

/// Structures at most.
const STRUCTURES_MAX: usize = 4096;

/// What is wanted of the tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tables {
    /// Whether they could be read.
    pub(super) access: Access,
    /// How errors of the memory are corrected; `None` if the tables do not say.
    pub(super) correction: Option<&'static str>,
    /// Modules that are plugged in.
    pub(super) modules: Vec<Module>,
    /// How the management controller is reached (`KCS`).
    pub(super) bmc: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Access {
    /// There are none, as on many machines that are no PC.
    #[default]
    Absent,
    /// Only root may.
    Denied,
    Read,
}

pub(super) fn read(root: &Root) -> Tables {
    let mut bytes = Vec::new();
    let file = File::open(root.path("/sys/firmware/dmi/tables/DMI"));
    match file.and_then(|file| file.take(TABLES_BYTES_MAX).read_to_end(&mut bytes)) {
        Ok(_) => Tables { access: Access::Read, ..parse(&bytes) },
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Tables { access: Access::Denied, ..Tables::default() }
        }
        Err(_) => Tables::default(),
    }
}

fn parse(mut bytes: &[u8]) -> Tables {
    let mut tables = Tables::default();
    for _ in 0..STRUCTURES_MAX {
        let Some((structure, rest)) = Structure::first(bytes) else { break };
        bytes = rest;
        match structure.kind() {
            16 => tables.correction = tables.correction.or_else(|| structure.correction()),
            17 => tables.modules.extend(structure.module()),
            38 => tables.bmc = structure.byte(0x04).map(interface),
            // The end of the tables (7.45).
            127 => break,
            _ => {}
        }
    }
    tables
}

struct Structure<'a> {
    fields: &'a [u8],
    texts: &'a [u8],
}

impl<'a> Structure<'a> {
    fn first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = usize::from(*bytes.get(1)?);
        let (fields, behind) = bytes.split_at_checked(length.max(4))?;
        let end = behind.windows(2).position(|pair| pair == [0, 0])?;
        let (texts, rest) = behind.split_at_checked(end.checked_add(2)?)?;
        Some((Self { fields, texts }, rest))
    }

    fn kind(&self) -> u8 {
        self.fields.first().copied().unwrap_or_default()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.fields.get(at).copied()
    }

    fn word(&self, at: usize) -> Option<u64> {
        let bytes = self.fields.get(at..at.checked_add(2)?)?;
        Some(u64::from(u16::from_le_bytes(bytes.try_into().ok()?)))
    }

    fn double(&self, at: usize) -> Option<u64> {
        let bytes = self.fields.get(at..at.checked_add(4)?)?;
        Some(u64::from(u32::from_le_bytes(bytes.try_into().ok()?)))
    }

    /// The text with the number in this field, from 1.
    fn text(&self, at: usize) -> Option<String> {
        let index = usize::from(self.byte(at)?).checked_sub(1)?;
        once::clean(self.texts.split(|byte| *byte == 0).nth(index)?)
    }

    /// Physical memory array (7.17): how the errors of system memory are corrected.
    fn correction(&self) -> Option<&'static str> {
        match (self.byte(0x05)?, self.byte(0x06)?) {
            (0x03, 0x03) => Some("none"),
            (0x03, 0x04) => Some("parity"),
            (0x03, 0x05) => Some("single-bit ECC"),
            (0x03, 0x06) => Some("multi-bit ECC"),
            (0x03, 0x07) => Some("CRC"),
            _ => None,
        }
    }

    /// Memory device (7.18); `None` for an empty slot.
    fn module(&self) -> Option<Module> {
        let bytes = match self.word(0x0C)? {
            0 => return None,
            0xFFFF => None,
            // In megabytes; with bit 15 in kilobytes.
            0x7FFF => self.double(0x1C).and_then(|size| (size & 0x7FFF_FFFF).checked_mul(1 << 20)),
            size if size & 0x8000 != 0 => Some((size & 0x7FFF) << 10),
            size => Some(size << 20),
        };
        let label = self.text(0x10).or_else(|| self.text(0x11))?;
        let kind = match self.byte(0x12) {
            Some(0x13) => Some("DDR2"),
            Some(0x18) => Some("DDR3"),
            Some(0x1A) => Some("DDR4"),
            Some(0x1E) => Some("LPDDR4"),
            Some(0x22) => Some("DDR5"),
            Some(0x23) => Some("LPDDR5"),
            _ => None,
        };
        Some(Module { label, bytes, kind: kind.map(str::to_owned) })
    }
}

/// Interface of the management controller (7.39.1).
const fn interface(kind: u8) -> &'static str {
    match kind {
        1 => "KCS",
        2 => "SMIC",
        3 => "BT",
        4 => "SSIF",
        _ => "of unknown kind",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One structure with its fields behind the header, and texts.
    pub(crate) fn structure(kind: u8, fields: &[u8], texts: &[&str]) -> Vec<u8> {
        let length = u8::try_from(fields.len() + 4).unwrap();
        let mut bytes = vec![kind, length, 0, 0];
        bytes.extend(fields);
        for text in texts {
            bytes.extend(text.as_bytes());
            bytes.push(0);
        }
        bytes.extend(if texts.is_empty() { &[0, 0][..] } else { &[0][..] });
        bytes
    }

    /// A memory device of so many megabytes in a slot.
    pub(crate) fn module(megabytes: u16, slot: &str) -> Vec<u8> {
        let mut fields = [0; 0x24];
        fields[8..10].copy_from_slice(&megabytes.to_le_bytes());
        (fields[0x0C], fields[0x0E]) = (1, 0x1A);
        structure(17, &fields, &[slot])
    }

    #[test]
    fn memory_and_its_correction_are_read() {
        let mut bytes = structure(16, &[3, 3, 6, 0, 0, 0, 0], &[]);
        bytes.extend(module(16384, "DIMM_A1"));
        bytes.extend(module(0, "DIMM_A2"));
        bytes.extend(module(0x8000 | 512, "DIMM_A3"));
        bytes.extend(structure(38, &[1], &[]));
        bytes.extend(structure(127, &[], &[]));
        bytes.extend(module(1, "behind the end"));
        let tables = parse(&bytes);
        assert_eq!((tables.correction, tables.bmc), (Some("multi-bit ECC"), Some("KCS")));
        let shown: Vec<(&str, Option<u64>)> =
            tables.modules.iter().map(|module| (module.label.as_str(), module.bytes)).collect();
        assert_eq!(shown, [("DIMM_A1", Some(16 << 30)), ("DIMM_A3", Some(512 << 10))]);
        assert_eq!(tables.modules[0].kind.as_deref(), Some("DDR4"));
    }

    #[test]
    fn whatever_the_tables_are_cut_to_ends() {
        let mut bytes = structure(16, &[3, 3, 6, 0, 0, 0, 0], &[]);
        bytes.extend(module(16384, "DIMM_A1"));
        for end in 0..bytes.len() {
            parse(&bytes[..end]);
        }
        for strange in [&[0_u8; 300][..], &[255; 300], &[17, 0, 0, 0, 0, 0]] {
            assert_eq!(parse(strange).modules, []);
        }
    }
}
