//! The system event log (SEL) of a BMC: how full it is, and what was added since the daemon looks
//! (IPMI v2.0, chapters 31 and 32). It is never cleared or written.

use mastiff_core::reading::Readings;
use mastiff_core::time::{Mono, Span};

use super::bmc::{Bmc, Fault, GET_SEL_ENTRY, GET_SEL_INFO, failed};
use super::record::Point;
use super::states::{self, Level};
use crate::sensor::SensorError;

/// The numbers for the first and the last entry; the last one is also what follows it (31.5).
const FIRST: u16 = 0;
const LAST: u16 = 0xffff;

/// Bytes of an entry (32.1).
const ENTRY_BYTES: usize = 16;

/// Entries taken in one reading at most; the rest waits for the next one.
const ENTRIES_MAX: usize = 64;

/// The type of an entry with an event, the flag of one that went away, and the generator that the
/// BMC itself is (32.1).
const SYSTEM_EVENT: u8 = 0x02;
const DEASSERTED: u8 = 0x80;
const BMC_ADDRESS: u8 = 0x20;

/// The note shows the last critical event for this time, the window of the default condition.
const NOTE_KEPT: Span = Span::from_secs(3600);

type Entry = [u8; ENTRY_BYTES];

/// What is known of the log.
#[derive(Debug, Default)]
pub(super) struct Log {
    is_begun: bool,
    /// What the BMC said of it when it was last read to the end.
    stamp: Vec<u8>,
    /// The last entry that was seen.
    last: Option<Entry>,
    /// Critical events since it was first read.
    critical: u64,
    /// The last of them, for the note.
    told: Option<(Mono, Box<str>)>,
}

impl Log {
    /// Takes what is new, until the time is over; the rest waits for the next reading.
    ///
    /// # Errors
    /// When the BMC cannot be asked.
    pub(super) fn read(
        &mut self,
        bmc: &mut Bmc,
        now: Mono,
        until: Mono,
        points: &[Point],
        out: &mut Readings,
    ) -> Result<(), SensorError> {
        let info = bmc.ask(0, GET_SEL_INFO, &[]).map_err(|fault| failed(GET_SEL_INFO, fault))?;
        let Some([_, count_low, count_high, free_low, free_high]) = info.first_chunk() else {
            return Ok(());
        };
        let count = u64::from(u16::from_le_bytes([*count_low, *count_high]));
        // All ones mean: so many or more.
        let free = u64::from(u16::from_le_bytes([*free_low, *free_high]));
        let used = count.saturating_mul(ENTRY_BYTES as u64);
        out.count("sel-entries", count);
        out.ratio("sel-used", used, used.saturating_add(free));
        if !self.is_begun {
            if count > 0 {
                let last = entry(bmc, LAST).map_err(|fault| failed(GET_SEL_ENTRY, fault))?;
                self.last = Some(last.1);
            }
            (self.is_begun, self.stamp) = (true, info);
        } else if info != self.stamp && self.follow(bmc, now, until, points)? {
            self.stamp = info;
        }
        out.count("sel-critical", self.critical);
        Ok(())
    }

    /// The last critical event, in words.
    pub(super) fn told(&self, now: Mono) -> Option<&str> {
        let told = self.told.as_ref().filter(|(at, _)| now.since(*at) <= NOTE_KEPT);
        told.map(|(_, words)| &**words)
    }

    /// Reads on from the last entry; true if the end was reached.
    fn follow(
        &mut self,
        bmc: &mut Bmc,
        now: Mono,
        until: Mono,
        points: &[Point],
    ) -> Result<bool, SensorError> {
        let kernel = |fault| failed(GET_SEL_ENTRY, fault);
        let known = self.last.map(|last| (last, entry(bmc, number(&last))));
        let mut next = match known {
            Some((last, Ok((next, same)))) if last == same => next,
            Some((_, Err(fault @ Fault::Kernel(_)))) => return Err(kernel(fault)),
            Some((_, Err(fault))) if fault.is_passing() => return Ok(false),
            // It is new, or was cleared.
            Some((_, Ok(_) | Err(_))) | None => FIRST,
        };
        for _ in 0..ENTRIES_MAX {
            if next == LAST {
                return Ok(true);
            }
            if bmc.clock() >= until {
                break;
            }
            match entry(bmc, next) {
                Ok((following, entry)) => {
                    self.take(&entry, now, points);
                    (self.last, next) = (Some(entry), following);
                }
                Err(fault @ Fault::Kernel(_)) => return Err(kernel(fault)),
                // Empty.
                Err(fault) => return Ok(fault.is_not_there()),
            }
        }
        Ok(false)
    }

    fn take(&mut self, entry: &Entry, now: Mono, points: &[Point]) {
        if let Some((Level::Critical, words)) = told(entry, points) {
            self.critical = self.critical.saturating_add(1);
            self.told = Some((now, words.into()));
        }
    }
}

fn number(entry: &Entry) -> u16 {
    let [low, high, ..] = entry;
    u16::from_le_bytes([*low, *high])
}

/// An entry, and the number of the next one.
fn entry(bmc: &mut Bmc, number: u16) -> Result<(u16, Entry), Fault> {
    let [low, high] = number.to_le_bytes();
    // Whole entries need no reservation.
    let answer = bmc.ask(0, GET_SEL_ENTRY, &[0, 0, low, high, 0, 0xff])?;
    let next = answer.first_chunk().copied().ok_or(Fault::Short)?;
    let entry = answer.get(2..).and_then(|rest| rest.first_chunk::<ENTRY_BYTES>());
    Ok((u16::from_le_bytes(next), *entry.ok_or(Fault::Short)?))
}

/// An event that is bad news, in words: `CPU1 IERR`.
pub(super) fn told(entry: &Entry, points: &[Point]) -> Option<(Level, String)> {
    let [_, _, form, _, _, _, _, owner, unit, _, kind, number, event, data, _, _] = *entry;
    if form != SYSTEM_EVENT || event & DEASSERTED != 0 {
        return None;
    }
    let (level, words) = states::event(kind, event & !DEASSERTED, data & 0x0f)?;
    let is_of = |point: &&Point| {
        owner == BMC_ADDRESS && (point.unit, point.number, point.kind) == (unit & 3, number, kind)
    };
    let name = points.iter().find(is_of).map_or(states::kind_name(kind), |point| &point.name);
    Some((level, format!("{name} {words}")))
}
