//! The records that describe the sensors of a BMC (IPMI v2.0, chapter 43).

use super::states::Level;
use crate::once;

/// The BMC's own address, as the owner of a sensor (5.4); those of others are asked of others.
const BMC_ADDRESS: u8 = 0x20;

/// The length of a record before its key: number, version, type, length (43).
pub(super) const HEADER_BYTES: usize = 5;

/// The event type of a sensor that is held against limits (table 42-1).
pub(super) const THRESHOLD: u8 = 0x01;

/// One sensor, as the BMC describes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    /// Logical unit and number: what it is asked by.
    pub(super) unit: u8,
    pub(super) number: u8,
    /// What is measured (table 42-3).
    pub(super) kind: u8,
    /// What its states mean (table 42-1).
    pub(super) states: u8,
    pub(super) name: Box<str>,
    /// Whether it can be asked, and says something when it is.
    pub(super) is_read: bool,
    /// How its reading becomes a value; `None` where it has none, or one that the record does not
    /// tell.
    pub(super) scale: Option<Scale>,
    /// What it said last.
    pub(super) said: Said,
}

/// What a sensor said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Said {
    /// It was not asked yet.
    #[default]
    Unasked,
    /// It has nothing to say: what it watches is not there, or is switched off.
    Nothing,
    /// All is well.
    Fine,
    /// Something is wrong, in words.
    Bad(Level, Box<str>),
}

/// How a reading becomes a value (36.3): (M * reading + B * 10^K1) * 10^K2, and then perhaps the
/// reciprocal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    form: Form,
    m: f64,
    b: f64,
    k1: i32,
    k2: i32,
    is_reciprocal: bool,
    /// What stands behind the number.
    pub(super) unit: &'static str,
}

/// How the byte of a reading is meant (43.1, byte 21).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Unsigned,
    OnesComplement,
    TwosComplement,
}

impl Scale {
    /// From a full record; `None` for readings without a value, and for functions that no board
    /// uses (logarithms, tables of the BMC).
    fn of(record: &[u8]) -> Option<Self> {
        let at = |index: usize| record.get(index).copied();
        let form = match at(20)? >> 6 {
            0 => Form::Unsigned,
            1 => Form::OnesComplement,
            2 => Form::TwosComplement,
            _ => return None,
        };
        let is_reciprocal = match at(23)? & 0x7f {
            0 => false,
            7 => true,
            _ => return None,
        };
        let ten_bits = |low: u8, high: u8| signed(u16::from(low) | u16::from(high >> 6) << 8, 10);
        Some(Self {
            form,
            m: f64::from(ten_bits(at(24)?, at(25)?)),
            b: f64::from(ten_bits(at(26)?, at(27)?)),
            k1: signed(u16::from(at(29)? & 0x0f), 4),
            k2: signed(u16::from(at(29)? >> 4), 4),
            is_reciprocal,
            unit: unit(at(20)? & 1 != 0, at(21)?),
        })
    }

    /// The value of a reading.
    pub(super) fn value(&self, reading: u8) -> Option<f64> {
        let raw = match self.form {
            Form::Unsigned => i32::from(reading),
            Form::TwosComplement => signed(reading.into(), 8),
            Form::OnesComplement => {
                let value = signed(reading.into(), 8);
                if value < 0 { value.saturating_add(1) } else { value }
            }
        };
        let value =
            (self.m * f64::from(raw) + self.b * 10_f64.powi(self.k1)) * 10_f64.powi(self.k2);
        let value = if self.is_reciprocal { value.recip() } else { value };
        value.is_finite().then_some(value)
    }
}

/// A number of so many bits whose highest is its sign.
fn signed(bits: u16, width: u32) -> i32 {
    let value = i32::from(bits);
    let half = 1_i32.checked_shl(width.saturating_sub(1)).unwrap_or(0);
    if value & half == 0 { value } else { value.saturating_sub(half.saturating_mul(2)) }
}

/// Units that are measured in servers (table 43-15).
fn unit(is_percent: bool, code: u8) -> &'static str {
    match code {
        _ if is_percent => "%",
        1 => "C",
        2 => "F",
        4 => " V",
        5 => " A",
        6 => " W",
        18 => " rpm",
        _ => "",
    }
}

/// Adds the sensors that a record describes: none if it describes something else, or a sensor of
/// somebody else, and several where they share one.
pub(super) fn decode(record: &[u8], found: &mut Vec<Point>) {
    let Some([_, _, _, form, _, owner, unit, number]) = record.first_chunk() else { return };
    if *owner != BMC_ADDRESS {
        return;
    }
    // Full, compact and event-only records (43.1 to 43.3): where the kind of sensor, the sharing
    // and the name begin.
    let (kind, shared, name) = match form {
        0x01 => (12, None, 47),
        0x02 => (12, Some(23), 31),
        0x03 => (10, Some(12), 16),
        _ => return,
    };
    let (Some([kind, states]), Some(name)) = (pair(record, kind), text(record, name)) else {
        return;
    };
    let [sharing, offset] = shared.and_then(|at| pair(record, at)).unwrap_or_default();
    let count = (sharing & 0x0f).max(1);
    // Threshold access "none" (43.1, byte 12): then the bits of the comparison mean nothing.
    let capabilities = record.get(11).copied().unwrap_or_default();
    let has_limits = states != THRESHOLD || capabilities & 0x0c != 0;
    for index in 0..count {
        let number = number.wrapping_add(index);
        let instance = (offset & 0x7f).wrapping_add(index);
        found.push(Point {
            unit: unit & 3,
            number,
            kind,
            states,
            name: named(&name, number, (count > 1).then_some((sharing, instance))),
            is_read: *form != 0x03 && has_limits,
            scale: if *form == 0x01 { Scale::of(record) } else { None },
            said: Said::Unasked,
        });
    }
}

fn pair(record: &[u8], at: usize) -> Option<[u8; 2]> {
    record.get(at..)?.first_chunk().copied()
}

/// `PSU2 Status` is shown as `PSU2`, and `PS Redundancy` as `PS`: what of it follows. Sensors that
/// share a record have a number or a letter behind their name (43.2, byte 24).
fn named(name: &str, number: u8, instance: Option<(u8, u8)>) -> Box<str> {
    let plain = [" Status", " Redundancy"].iter().find_map(|end| name.strip_suffix(end));
    let plain = plain.unwrap_or(name);
    match instance {
        _ if plain.is_empty() => format!("sensor {number:#04x}").into(),
        None => plain.into(),
        Some((sharing, instance)) if sharing & 0x30 == 0x10 => {
            format!("{plain}{}", char::from(b'A'.saturating_add(instance % 26))).into()
        }
        Some((_, instance)) => format!("{plain}{instance}").into(),
    }
}

/// A text with its type and length in front (43.15): ASCII, or packed in six bits each. Others are
/// empty, as is one that was never written.
fn text(record: &[u8], at: usize) -> Option<String> {
    let form = *record.get(at)?;
    let bytes = record.get(at.saturating_add(1)..).unwrap_or_default();
    let bytes = bytes.get(..usize::from(form & 0x1f)).unwrap_or(bytes);
    let unpacked: Vec<u8> = match form >> 6 {
        2 => {
            let mut unpacked = Vec::new();
            for three in bytes.chunks(3) {
                let mut bits = three.iter().rev().fold(0_u32, |all, b| all << 8 | u32::from(*b));
                for _ in 0..three.len().saturating_mul(8) / 6 {
                    unpacked.push(u8::try_from(bits & 0x3f).unwrap_or_default() + b' ');
                    bits >>= 6;
                }
            }
            unpacked
        }
        3 => bytes.to_vec(),
        _ => Vec::new(),
    };
    Some(once::clean(&unpacked).unwrap_or_default())
}
