//! What the states of sensors and the events of the log mean (IPMI v2.0, chapter 42).

/// How bad a state is, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Beyond a non-critical limit, or a state that somebody should look at.
    Warning,
    /// Beyond a critical limit, or something has failed.
    Critical,
}

use Level::{Critical, Warning};

use super::record::THRESHOLD;

/// Kinds of sensors that are told apart (table 42-3).
pub(super) const INTRUSION: u8 = 0x05;
pub(super) const POWER_SUPPLY: u8 = 0x08;
/// Meanings of states (tables 42-1 and 42-2): of redundancy, and those of the kind of sensor.
pub(super) const REDUNDANCY: u8 = 0x0b;
const OWN: u8 = 0x6f;
const ANY: u8 = 0;

/// Kind of sensor, meaning of its states, the state's number: how bad it is, and its words. Of a
/// sensor in several bad states the worst is told, and of those the first. What is not here is
/// normal, says nothing of the machine now, or is told by another sensor better.
const STATES: &[(u8, u8, u8, Level, &str)] = &[
    // Table 42-2.
    (0x01, 0x03, 1, Warning, "alarm"),
    (0x02, 0x03, 1, Warning, "alarm"),
    (0x03, 0x03, 1, Warning, "alarm"),
    (0x04, 0x03, 1, Warning, "alarm"),
    (0x07, 0x03, 1, Warning, "alarm"),
    (POWER_SUPPLY, 0x03, 1, Warning, "alarm"),
    (0x0c, 0x03, 1, Warning, "alarm"),
    (ANY, 0x04, 1, Warning, "expects to fail"),
    (ANY, 0x05, 1, Warning, "beyond its limit"),
    (ANY, 0x07, 2, Critical, "critical"),
    (ANY, 0x07, 3, Critical, "beyond recovery"),
    (ANY, 0x07, 5, Critical, "critical"),
    (ANY, 0x07, 6, Critical, "beyond recovery"),
    (ANY, 0x07, 1, Warning, "not well"),
    (ANY, 0x07, 4, Warning, "not well"),
    (ANY, 0x0a, 6, Warning, "degraded"),
    (ANY, 0x0a, 8, Warning, "installed wrongly"),
    (ANY, REDUNDANCY, 5, Critical, "not enough left to run"),
    (ANY, REDUNDANCY, 1, Warning, "redundancy lost"),
    (ANY, REDUNDANCY, 2, Warning, "redundancy degraded"),
    (ANY, REDUNDANCY, 6, Warning, "redundancy degraded"),
    (ANY, REDUNDANCY, 7, Warning, "redundancy degraded"),
    // Table 42-3.
    (INTRUSION, OWN, 0, Warning, "opened"),
    (INTRUSION, OWN, 1, Warning, "drive bay opened"),
    (INTRUSION, OWN, 2, Warning, "I/O card area opened"),
    (INTRUSION, OWN, 3, Warning, "processor area opened"),
    (INTRUSION, OWN, 6, Warning, "fan area opened"),
    (0x07, OWN, 0, Critical, "IERR"),
    (0x07, OWN, 1, Critical, "switched off by heat"),
    (0x07, OWN, 2, Critical, "failed its self-test"),
    (0x07, OWN, 3, Critical, "hung at start"),
    (0x07, OWN, 4, Critical, "did not start"),
    (0x07, OWN, 5, Critical, "configuration error"),
    (0x07, OWN, 6, Critical, "uncorrectable error"),
    (0x07, OWN, 11, Critical, "machine check that could not be corrected"),
    (0x07, OWN, 8, Warning, "disabled"),
    (0x07, OWN, 10, Warning, "slowed down by heat"),
    (0x07, OWN, 12, Warning, "machine check that was corrected"),
    // A supply without input says that it has failed, too.
    (POWER_SUPPLY, OWN, 3, Critical, "input lost"),
    (POWER_SUPPLY, OWN, 4, Critical, "input lost or out of range"),
    (POWER_SUPPLY, OWN, 1, Critical, "has failed"),
    (POWER_SUPPLY, OWN, 2, Warning, "expects to fail"),
    (POWER_SUPPLY, OWN, 5, Warning, "input out of range"),
    (POWER_SUPPLY, OWN, 6, Warning, "does not fit the others"),
    (0x09, OWN, 5, Critical, "cannot be switched"),
    (0x09, OWN, 6, Critical, "has failed"),
    (0x09, OWN, 4, Warning, "input lost"),
    (0x09, OWN, 7, Warning, "expects to fail"),
    (0x0c, OWN, 1, Critical, "uncorrectable error"),
    (0x0c, OWN, 2, Critical, "parity error"),
    (0x0c, OWN, 3, Critical, "scrub failed"),
    (0x0c, OWN, 10, Critical, "critically hot"),
    (0x0c, OWN, 0, Warning, "corrected error"),
    (0x0c, OWN, 4, Warning, "disabled"),
    (0x0c, OWN, 5, Warning, "too many corrected errors"),
    (0x0c, OWN, 7, Warning, "configuration error"),
    (0x0c, OWN, 9, Warning, "slowed down by heat"),
    (0x0d, OWN, 1, Critical, "has failed"),
    (0x0d, OWN, 6, Critical, "its array has failed"),
    (0x0d, OWN, 2, Warning, "expects to fail"),
    (0x0d, OWN, 5, Warning, "its array is degraded"),
    (0x0d, OWN, 8, Warning, "rebuild aborted"),
    (0x13, OWN, 1, Critical, "bus timed out"),
    (0x13, OWN, 2, Critical, "I/O channel check"),
    (0x13, OWN, 4, Critical, "PCI PERR"),
    (0x13, OWN, 5, Critical, "PCI SERR"),
    (0x13, OWN, 8, Critical, "uncorrectable bus error"),
    (0x13, OWN, 9, Critical, "fatal NMI"),
    (0x13, OWN, 10, Critical, "fatal bus error"),
    (0x13, OWN, 7, Warning, "corrected bus error"),
    (0x13, OWN, 11, Warning, "bus degraded"),
    (0x19, OWN, 1, Critical, "switched off by heat"),
    (0x21, OWN, 0, Warning, "fault"),
    (0x28, OWN, 2, Warning, "controller unavailable"),
    (0x28, OWN, 4, Warning, "sensor failed"),
    (0x28, OWN, 5, Warning, "part failed"),
    (0x29, OWN, 1, Warning, "has failed"),
    (0x29, OWN, 0, Warning, "is low"),
];

/// The worst of the states that are on, a bit for each; `None` if all is well.
pub(super) fn worst(kind: u8, states: u8, on: u16) -> Option<(Level, &'static str)> {
    let mut worst: Option<(Level, &'static str)> = None;
    for (of, meaning, number, level, words) in STATES {
        let is_meant = (*of == ANY || *of == kind) && *meaning == states;
        let is_on = on.checked_shr((*number).into()).is_some_and(|bits| bits & 1 != 0);
        if is_meant && is_on && worst.is_none_or(|(known, _)| *level > known) {
            worst = Some((*level, words));
        }
    }
    worst
}

/// What the comparison with the limits says (35.14): the lower ones in bits 0 to 2, the upper ones
/// in bits 3 to 5, each non-critical, critical, non-recoverable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beyond {
    pub(super) level: Level,
    pub(super) is_above: bool,
    /// Which of the six limits, as Get Sensor Thresholds orders them (35.9).
    pub(super) limit: usize,
}

/// The limit that was passed last; `None` if the reading is within all.
pub(super) fn beyond(comparison: u8) -> Option<Beyond> {
    let limit = [5, 4, 2, 1, 3, 0].into_iter().find(|bit| comparison >> bit & 1 != 0)?;
    let level = if limit == 3 || limit == 0 { Warning } else { Critical };
    Some(Beyond { level, is_above: limit >= 3, limit })
}

/// How bad an event of the log is, and its words; `None` for one that is no bad news (29.7, table
/// 42-2).
pub(super) fn event(kind: u8, states: u8, offset: u8) -> Option<(Level, &'static str)> {
    match (states, offset) {
        (THRESHOLD, 0) => Some((Warning, "below its limit")),
        (THRESHOLD, 2 | 4) => Some((Critical, "below its critical limit")),
        (THRESHOLD, 7) => Some((Warning, "above its limit")),
        (THRESHOLD, 9 | 11) => Some((Critical, "above its critical limit")),
        (THRESHOLD, _) => None,
        _ => worst(kind, states, 1_u16.checked_shl(offset.into()).unwrap_or(0)),
    }
}

/// The kind of a sensor, for one that no record names.
pub(super) fn kind_name(kind: u8) -> &'static str {
    match kind {
        0x01 => "a temperature",
        0x02 => "a voltage",
        0x03 => "a current",
        0x04 => "a fan",
        INTRUSION => "the chassis",
        0x07 => "a processor",
        POWER_SUPPLY => "a power supply",
        0x09 => "the power unit",
        0x0c => "memory",
        0x0d => "a drive",
        0x13 => "a bus",
        0x29 => "a battery",
        _ => "a sensor",
    }
}
