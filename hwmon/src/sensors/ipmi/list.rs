//! The sensors of a BMC: their records, read once, and what each said last.

use mastiff_core::time::{Mono, Span};

use super::bmc::{
    Bmc, Fault, GET_READING, GET_SDR, GET_SDR_INFO, GET_THRESHOLDS, RESERVE_SDR, failed,
};
use super::record::{self, HEADER_BYTES, Point, Said, THRESHOLD};
use super::states::{Beyond, Level, beyond, worst};
use crate::sensor::SensorError;

/// The number before the first record, and the one behind the last (33.12).
const FIRST: u16 = 0;
const NO_MORE: u16 = 0xffff;

/// Records and sensors at most; the largest servers have some 700 and 400. A list may end in
/// itself.
const RECORDS_MAX: usize = 2048;
pub(super) const POINTS_MAX: usize = 1024;

/// Bytes of a record that are asked for at once: all of the largest sensor record. Where the BMC
/// cannot answer that, half of it, and so on down to the least.
const CHUNK_BYTES: u8 = 64;
const CHUNK_BYTES_LEAST: u8 = 8;

/// Times that one record is asked for in one reading. Then a record that is refused for good is
/// left out; else the next reading goes on with it.
const FAULTS_MAX: u8 = 5;

/// Whether the records have changed is looked up again after this time.
const LOOK_AGAIN: Span = Span::from_secs(600);

/// Bits of the second byte of a reading (35.14): it is not valid (yet), and the sensor is switched
/// on.
const UNAVAILABLE: u8 = 0x20;
const SCANNING: u8 = 0x40;

/// The sensors of a BMC.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) points: Vec<Point>,
    /// Whether the records were read to the end once.
    pub(super) is_whole: bool,
    /// The sensor that is asked next.
    next: usize,
    /// What the BMC said of its records when they were read.
    stamp: Vec<u8>,
    looked: Option<Mono>,
    building: Option<Building>,
    /// Why the records could not be read to the end the last time.
    pub(super) trouble: Option<SensorError>,
}

/// What follows an attempt to read a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The same or the next record.
    Go,
    /// Nothing, for this reading.
    Pause,
    /// That was the last one.
    Done,
}

/// A list that is being read.
#[derive(Debug)]
struct Building {
    points: Vec<Point>,
    next: u16,
    /// The one behind it, as soon as a part of it was read.
    following: Option<u16>,
    records: usize,
    faults: u8,
    reservation: Option<[u8; 2]>,
    chunk_bytes: u8,
}

impl List {
    /// Reads records where there are any to read, until the time is over. A list that the BMC does
    /// not give is no list without sensors: it stays unknown, and is asked for again.
    ///
    /// # Errors
    /// When the BMC cannot be asked at all.
    pub(super) fn collect(
        &mut self,
        bmc: &mut Bmc,
        now: Mono,
        until: Mono,
    ) -> Result<(), SensorError> {
        if self.looked.is_none_or(|looked| now.since(looked) > LOOK_AGAIN) {
            match bmc.ask(0, GET_SDR_INFO, &[]) {
                Ok(info) if info == self.stamp => {}
                Ok(info) => {
                    self.stamp = info;
                    self.building = Some(Building::new());
                }
                Err(fault @ Fault::Kernel(_)) => return Err(failed(GET_SDR_INFO, fault)),
                // It has none.
                Err(fault) if fault.is_no_command() || fault.is_not_there() => self.is_whole = true,
                Err(fault) => {
                    self.trouble = Some(failed(GET_SDR_INFO, fault));
                    return Ok(());
                }
            }
            self.looked = Some(now);
        }
        self.trouble = None;
        while let Some(building) = &mut self.building {
            if bmc.clock() >= until {
                break;
            }
            match building.proceed(bmc, &mut self.trouble)? {
                Step::Go => {}
                Step::Pause => break,
                Step::Done => {
                    self.points = std::mem::take(&mut building.points);
                    (self.building, self.is_whole, self.next) = (None, true, 0);
                }
            }
        }
        Ok(())
    }

    /// Asks the sensors once round, from where the last round ended, until the time is over.
    ///
    /// # Errors
    /// When the BMC cannot be asked at all.
    pub(super) fn ask(&mut self, bmc: &mut Bmc, until: Mono) -> Result<(), SensorError> {
        for _ in 0..self.points.len() {
            if bmc.clock() >= until {
                break;
            }
            let Some(point) = self.points.get_mut(self.next) else { break };
            point.ask(bmc)?;
            self.next = self.next.saturating_add(1) % self.points.len().max(1);
        }
        Ok(())
    }

    /// Whether all sensors were asked, and not one says anything: that is no sign of health.
    pub(super) fn is_mute(&self) -> bool {
        let mut asked = self.points.iter().filter(|point| point.is_read).peekable();
        asked.peek().is_some() && asked.all(|point| point.said == Said::Nothing)
    }

    /// How many are known so far, for a list that is not whole.
    pub(super) fn found(&self) -> usize {
        self.building.as_ref().map_or(0, |building| building.points.len())
    }
}

impl Building {
    fn new() -> Self {
        Self {
            points: Vec::new(),
            next: FIRST,
            following: None,
            records: 0,
            faults: 0,
            reservation: None,
            chunk_bytes: CHUNK_BYTES,
        }
    }

    /// Reads the next record.
    fn proceed(
        &mut self,
        bmc: &mut Bmc,
        trouble: &mut Option<SensorError>,
    ) -> Result<Step, SensorError> {
        let mut record = Vec::new();
        let next = match self.read(bmc, &mut record) {
            Ok(next) => {
                record::decode(&record, &mut self.points);
                next
            }
            Err(fault @ Fault::Kernel(_)) => return Err(failed(GET_SDR, fault)),
            Err(fault) => {
                let is_lost = fault.is_lost_reservation();
                if is_lost {
                    self.reservation = None;
                }
                self.faults = self.faults.saturating_add(1);
                if self.faults < FAULTS_MAX {
                    return Ok(Step::Go);
                }
                self.faults = 0;
                match self.following {
                    Some(following) if !is_lost && !fault.is_passing() => following,
                    Some(_) | None => {
                        *trouble = Some(failed(GET_SDR, fault));
                        return Ok(Step::Pause);
                    }
                }
            }
        };
        (self.next, self.following, self.faults) = (next, None, 0);
        self.records = self.records.saturating_add(1);
        self.points.truncate(POINTS_MAX);
        let is_end =
            next == NO_MORE || self.records >= RECORDS_MAX || self.points.len() >= POINTS_MAX;
        Ok(if is_end { Step::Done } else { Step::Go })
    }

    /// Reads one record, in as many pieces as it takes, and returns the number of the next one. Of
    /// one that describes no sensor only the head.
    fn read(&mut self, bmc: &mut Bmc, record: &mut Vec<u8>) -> Result<u16, Fault> {
        let mut wanted = HEADER_BYTES;
        let mut next = NO_MORE;
        while record.len() < wanted {
            let rest = wanted.saturating_sub(record.len());
            let bytes = u8::try_from(rest).unwrap_or(u8::MAX).min(self.chunk_bytes);
            let piece = match self.piece(bmc, record.len(), bytes) {
                Err(fault)
                    if fault.is_too_much()
                        && bytes > CHUNK_BYTES_LEAST
                        && self.chunk_bytes > CHUNK_BYTES_LEAST =>
                {
                    self.chunk_bytes /= 2;
                    continue;
                }
                piece => piece?,
            };
            let (Some(number), Some(piece)) = (piece.first_chunk(), piece.get(2..)) else {
                return Err(Fault::Short);
            };
            let piece = piece.get(..bytes.into()).unwrap_or(piece);
            if piece.is_empty() {
                return Err(Fault::Short);
            }
            next = u16::from_le_bytes(*number);
            self.following = Some(next);
            record.extend_from_slice(piece);
            if let Some([_, _, _, 0x01..=0x03, length]) = record.first_chunk() {
                wanted = HEADER_BYTES.saturating_add((*length).into());
            }
        }
        Ok(next)
    }

    fn piece(&mut self, bmc: &mut Bmc, offset: usize, bytes: u8) -> Result<Vec<u8>, Fault> {
        let [low, high] = match self.reservation {
            Some(reservation) => reservation,
            None => {
                let reservation = match bmc.ask(0, RESERVE_SDR, &[]) {
                    Ok(answer) => *answer.first_chunk().ok_or(Fault::Short)?,
                    // One that has no reservations reads without (33.11).
                    Err(fault) if fault.is_no_command() => [0, 0],
                    Err(fault) => return Err(fault),
                };
                *self.reservation.insert(reservation)
            }
        };
        let [id_low, id_high] = self.next.to_le_bytes();
        // A record has 5 + 255 bytes at most, and the last piece begins before its end.
        let offset = u8::try_from(offset).map_err(|_| Fault::Short)?;
        bmc.ask(0, GET_SDR, &[low, high, id_low, id_high, offset, bytes])
    }
}

impl Point {
    fn ask(&mut self, bmc: &mut Bmc) -> Result<(), SensorError> {
        if !self.is_read {
            self.said = Said::Nothing;
            return Ok(());
        }
        match bmc.ask(self.unit, GET_READING, &[self.number]) {
            Ok(answer) => self.said = self.judge(&answer, bmc),
            Err(fault @ Fault::Kernel(_)) => return Err(failed(GET_READING, fault)),
            // What is wrong stays wrong until the BMC says otherwise.
            Err(fault) if fault.is_passing() && self.said != Said::Unasked => {}
            Err(_) => self.said = Said::Nothing,
        }
        Ok(())
    }

    fn judge(&self, answer: &[u8], bmc: &mut Bmc) -> Said {
        let Some([reading, flags]) = answer.first_chunk().copied() else { return Said::Nothing };
        if flags & UNAVAILABLE != 0 || flags & SCANNING == 0 {
            return Said::Nothing;
        }
        let low = answer.get(2).copied().unwrap_or_default();
        if self.states == THRESHOLD {
            return match beyond(low) {
                Some(beyond) => Said::Bad(beyond.level, self.passed(reading, beyond, bmc)),
                None => Said::Fine,
            };
        }
        // The highest bit is reserved, and set by many.
        let high = answer.get(3).copied().unwrap_or_default() & 0x7f;
        match worst(self.kind, self.states, u16::from_le_bytes([low, high])) {
            Some((level, words)) => Said::Bad(level, format!("{} {words}", self.name).into()),
            None => Said::Fine,
        }
    }

    /// `CPU1 Temp 96C, limit 95C`.
    fn passed(&self, reading: u8, beyond: Beyond, bmc: &mut Bmc) -> Box<str> {
        let value = self.scale.as_ref().and_then(|scale| shown(scale.value(reading)?, scale.unit));
        let Some(value) = value else {
            let side = if beyond.is_above { "above" } else { "below" };
            let limit = if beyond.level == Level::Critical { "critical limit" } else { "limit" };
            return format!("{} {side} its {limit}", self.name).into();
        };
        let word = if beyond.is_above { "limit" } else { "lowest" };
        match self.limit(beyond.limit, bmc) {
            Some(limit) => format!("{} {value}, {word} {limit}", self.name).into(),
            None => format!("{} {value}", self.name).into(),
        }
    }

    /// The limit of this number, if the BMC tells it.
    fn limit(&self, number: usize, bmc: &mut Bmc) -> Option<String> {
        let scale = self.scale.as_ref()?;
        let answer = bmc.ask(self.unit, GET_THRESHOLDS, &[self.number]).ok()?;
        let (readable, limits) = answer.split_first()?;
        let is_told = readable >> number & 1 != 0;
        let raw = limits.get(number).filter(|_| is_told)?;
        shown(scale.value(*raw)?, scale.unit)
    }
}

/// With as many digits as say something.
fn shown(value: f64, unit: &str) -> Option<String> {
    let digits = match value.abs() {
        _ if value.fract() == 0.0 => 0,
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    // A hostile scale has values of 20 digits.
    (value.abs() < 1e7).then(|| format!("{value:.digits$}{unit}"))
}
