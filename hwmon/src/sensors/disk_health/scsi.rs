//! What a SAS or other SCSI disk says of its health: its log pages (SPC-5, 7.3; SBC-4, 6.4) and the
//! length of its list of grown defects (SBC-4, 5.18).

use std::fmt::Write;
use std::os::fd::BorrowedFd;

use mastiff_core::reading::Readings;

use super::ata::{HOT_ROTATING, HOT_SOLID};
use crate::sensor::SensorError;
use crate::sys::Page;
use crate::sys::sg::{self, Ended};

const TEST_UNIT_READY: u8 = 0x00;
const REQUEST_SENSE: u8 = 0x03;
const READ_DEFECT_DATA: u8 = 0x37;
const LOG_SENSE: u8 = 0x4d;

/// LOG SENSE, byte 2: the values since the disk was made, rather than limits.
const CUMULATIVE: u8 = 0x40;

/// READ DEFECT DATA (10), byte 2: the grown list, each defect as bytes from the index.
const GROWN_LIST: u8 = 0x08 | 0x04;

/// Sense keys (SPC-5, 4.4.8).
const NOT_READY: u8 = 0x02;
const ILLEGAL_REQUEST: u8 = 0x05;
const UNIT_ATTENTION: u8 = 0x06;

/// Additional sense codes (SPC-5, annex F).
const NOT_READY_BECAUSE: u8 = 0x04;
const LOW_POWER: u8 = 0x5e;
const PREDICTION: u8 = 0x5d;
const WARNING: u8 = 0x0b;

/// Reports of changes that may come before an answer; each is told once.
const ATTENTIONS_MAX: usize = 4;

const SUPPORTED_PAGES: u8 = 0x00;
/// Errors while writing, reading and verifying: parameter 6 is those that were not made good.
const ERROR_PAGES: [u8; 3] = [0x02, 0x03, 0x05];
const UNCORRECTED: u16 = 0x0006;
const TEMPERATURE: u8 = 0x0d;
const SOLID_STATE: u8 = 0x11;
const BACKGROUND_SCAN: u8 = 0x15;
const INFORMATIONAL_EXCEPTIONS: u8 = 0x2f;

/// Those that are read where the disk has them.
const PAGES: [u8; 7] = [
    ERROR_PAGES[0],
    ERROR_PAGES[1],
    ERROR_PAGES[2],
    TEMPERATURE,
    SOLID_STATE,
    BACKGROUND_SCAN,
    INFORMATIONAL_EXCEPTIONS,
];

/// What a disk said.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The pages that it has; `None` for one that could not be read.
    pub(super) pages: Vec<(u8, Option<Page>)>,
    /// The list of grown defects; `None` if the disk has none to tell.
    pub(super) defects: Option<Page>,
}

/// Why a disk did not do as told (SPC-5, 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sense {
    pub(super) key: u8,
    pub(super) code: u8,
    pub(super) qualifier: u8,
}

impl Sense {
    /// From either format; zero where there is none.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        let (key, code, qualifier) = match byte(0) & 0x7f {
            0x70 | 0x71 => (byte(2), byte(12), byte(13)),
            0x72 | 0x73 => (byte(1), byte(2), byte(3)),
            _ => (0, 0, 0),
        };
        Self { key: key & 0x0f, code, qualifier }
    }

    /// Whether a disk that says so stands still, or would have to leave a deep sleep for an answer.
    /// One that idles is awake.
    pub(super) fn rests(self) -> bool {
        match (self.code, self.qualifier) {
            // Stopped: "initializing command required", "notify (enable spinup) required".
            (NOT_READY_BECAUSE, 0x02 | 0x11) => self.key == NOT_READY,
            // By timer or by command: idle, idle_b, idle_c.
            (LOW_POWER, 0x01 | 0x02 | 0x05..=0x08) => false,
            (LOW_POWER, _) => true,
            _ => false,
        }
    }
}

/// Asks whether the disk sleeps; that never wakes it.
///
/// # Errors
/// [`SensorError::Call`] when a command cannot be sent, [`SensorError::Unsupported`] for a disk
/// that is not ready for another reason.
pub(super) fn rests(disk: BorrowedFd<'_>) -> Result<bool, SensorError> {
    let mut sense = Sense { key: UNIT_ATTENTION, code: 0, qualifier: 0 };
    for _ in 0..ATTENTIONS_MAX {
        // This one first: the kernel sees what a disk reports of changes, and acts on it.
        let ended = send(disk, &[TEST_UNIT_READY, 0, 0, 0, 0, 0], None)?;
        sense = if ended.status == 0 { Sense::parse(&[]) } else { Sense::parse(&ended.sense) };
        if sense.key != UNIT_ATTENTION {
            break;
        }
    }
    if sense.rests() {
        return Ok(true);
    }
    if sense.key == NOT_READY {
        return Err(SensorError::Unsupported(format!(
            "the disk is not ready: sense {:02x}/{:02x}/{:02x}, see `sg_turs -v`",
            sense.key, sense.code, sense.qualifier
        )));
    }
    // In standby a disk is ready, and says so here.
    let mut power = [0; 252];
    let ended = send(disk, &[REQUEST_SENSE, 0, 0, 0, 252, 0], Some(&mut power))?;
    let told = power.get(..ended.received).unwrap_or_default();
    Ok(ended.status == 0 && Sense::parse(told).rests())
}

/// Asks for all that a disk tells of its health.
///
/// # Errors
/// [`SensorError::Call`] when a command cannot be sent, [`SensorError::Unsupported`] when the disk
/// has no log pages.
pub(super) fn ask(disk: BorrowedFd<'_>) -> Result<Said, SensorError> {
    let Some(list) = log(disk, SUPPORTED_PAGES)? else {
        return Err(SensorError::Unsupported(
            "the disk has no log pages: it tells nothing of its health".into(),
        ));
    };
    let has = |code: &u8| content(&list, SUPPORTED_PAGES).contains(code);
    let mut said = Said::default();
    for code in PAGES.into_iter().filter(has) {
        said.pages.push((code, log(disk, code)?));
    }
    let mut page = Page([0; 512]);
    let command = [READ_DEFECT_DATA, 0, GROWN_LIST, 0, 0, 0, 0, 2, 0, 0];
    let ended = send(disk, &command, Some(&mut page.0))?;
    // It may say that the list has another form than was asked for, and give it all the same.
    let refused = ended.status != 0 && Sense::parse(&ended.sense).key == ILLEGAL_REQUEST;
    said.defects = (!refused && ended.received >= 4).then_some(page);
    Ok(said)
}

/// Reads a log page; `None` if the disk refuses or sends another one.
fn log(disk: BorrowedFd<'_>, code: u8) -> Result<Option<Page>, SensorError> {
    let mut page = Page([0; 512]);
    let command = [LOG_SENSE, 0, CUMULATIVE | code, 0, 0, 0, 0, 2, 0, 0];
    let ended = send(disk, &command, Some(&mut page.0))?;
    let is_it = page.0[0] & 0x3f == code && page.0[1] == 0;
    Ok((ended.status == 0 && ended.received >= 4 && is_it).then_some(page))
}

fn send(
    disk: BorrowedFd<'_>,
    command: &[u8],
    answer: Option<&mut [u8]>,
) -> Result<Ended, SensorError> {
    let failed = |source| SensorError::Call { call: "the SCSI command to the disk", source };
    let ended = sg::send(disk, command, answer).map_err(failed)?;
    if ended.is_delivered {
        Ok(ended)
    } else {
        Err(failed(std::io::Error::from_raw_os_error(libc::EIO)))
    }
}

/// What is behind the head of a page: its code, that of the subpage, and its length; cut off where
/// the page is longer than what was asked for.
fn content(page: &Page, code: u8) -> &[u8] {
    let [first, _, high, low, ..] = page.0;
    if first & 0x3f != code {
        return &[];
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    let rest = page.0.get(4..).unwrap_or_default();
    rest.get(..length).unwrap_or(rest)
}

/// The parameters of a page that are there as a whole: the code, and the bytes behind its head.
fn parameters(page: &Page, code: u8) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = content(page, code);
    std::iter::from_fn(move || {
        let (&[high, low, _, length], behind) = rest.split_first_chunk::<4>()?;
        let (value, next) = behind.split_at_checked(usize::from(length))?;
        rest = next;
        Some((u16::from_be_bytes([high, low]), value))
    })
}

/// A number of one to eight bytes, the most significant first.
fn number(bytes: &[u8]) -> Option<u64> {
    let fits = (1..=8).contains(&bytes.len());
    fits.then(|| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// What came of a page: the disk does not have it, it could not be read or makes no sense, or a
/// value.
enum Told<T> {
    Absent,
    Missing,
    Known(T),
}

impl Said {
    /// Looks for something on a page.
    fn find<T>(&self, code: u8, find: impl Fn(&Page) -> Option<T>) -> Told<T> {
        match self.pages.iter().find(|(own, _)| *own == code) {
            None => Told::Absent,
            Some((_, page)) => page.as_ref().and_then(find).map_or(Told::Missing, Told::Known),
        }
    }

    fn parameter<T>(&self, code: u8, wanted: u16, read: impl Fn(&[u8]) -> Option<T>) -> Told<T> {
        self.find(code, |page| {
            let (_, value) = parameters(page, code).find(|(own, _)| *own == wanted)?;
            read(value)
        })
    }
}

fn count(name: &str, told: Told<u64>, out: &mut Readings) {
    match told {
        Told::Absent => out.absent(name),
        Told::Missing => {}
        Told::Known(number) => out.count(name, number),
    }
}

/// Sets what the disk said; `note` grows by what makes it fail.
pub(super) fn fill(said: &Said, is_rotating: bool, out: &mut Readings, note: &mut String) {
    for name in
        ["read-only", "spare-low", "spare", "unprotected", "unsafe-shutdowns", "link-errors"]
    {
        out.absent(name);
    }
    out.absent("uncorrectable");
    count("reallocated", said.defects.as_ref().map_or(Told::Absent, defects), out);
    count("media-errors", uncorrected(said), out);
    let minutes = said.parameter(BACKGROUND_SCAN, 0, |value| number(value.get(..4)?));
    match minutes {
        Told::Known(minutes) => out.count("power-on", minutes.saturating_mul(60)),
        other => count("power-on", other, out),
    }
    count("pending", said.find(BACKGROUND_SCAN, pending), out);
    let used = said.parameter(SOLID_STATE, 1, |value| value.get(3).copied());
    match used {
        Told::Known(used) => out.ratio("wear", used.min(100).into(), 100),
        Told::Missing => {}
        Told::Absent => out.absent("wear"),
    }
    let exception = said.parameter(INFORMATIONAL_EXCEPTIONS, 0, |value| {
        let (code, rest) = value.split_first()?;
        Some((*code, *rest.first()?))
    });
    match exception {
        Told::Absent => out.absent("failing"),
        Told::Missing => {}
        // FFh: a test of the report. 73h: worn out, by the maker's estimate.
        Told::Known((PREDICTION, qualifier)) if ![0xff, 0x73].contains(&qualifier) => {
            out.flag("failing", true);
            // A String takes everything.
            if write!(note, "; expects to fail (5Dh/{qualifier:02X}h)").is_err() {
                note.push_str("; expects to fail");
            }
        }
        Told::Known(_) => out.flag("failing", false),
    }
    let is_too_hot = matches!(exception, Told::Known((WARNING, 0x01)));
    temperature(said, is_rotating, is_too_hot, out);
}

/// Of the list of grown defects: its head has the form and the length of all.
fn defects(page: &Page) -> Told<u64> {
    let [_, form, high, low, ..] = page.0;
    let bytes = match form & 0x07 {
        0 => 4,
        3..=5 => 8,
        _ => return Told::Missing,
    };
    Told::Known(u64::from(u16::from_be_bytes([high, low]) / bytes))
}

/// Whether a page is there as a whole, and its parameters end where it does.
fn is_whole(page: &Page, code: u8) -> bool {
    let [first, _, high, low, ..] = page.0;
    let lengths = parameters(page, code).map(|(_, value)| value.len().saturating_add(4));
    let length = usize::from(u16::from_be_bytes([high, low]));
    first & 0x3f == code && lengths.fold(0, usize::saturating_add) == length
}

/// Errors of one kind that were not made good. A disk need not count them: its page may have any of
/// the counters (SPC-5, 7.3).
fn uncorrected_in(said: &Said, code: u8) -> Told<u64> {
    let lacks = |page: &Page| parameters(page, code).all(|(own, _)| own != UNCORRECTED);
    match said.find(code, |page| (is_whole(page, code) && lacks(page)).then_some(())) {
        Told::Known(()) => Told::Absent,
        Told::Absent | Told::Missing => said.parameter(code, UNCORRECTED, number),
    }
}

/// The sum over writing, reading and verifying of those that the disk has.
fn uncorrected(said: &Said) -> Told<u64> {
    let mut sum = Told::Absent;
    for code in ERROR_PAGES {
        sum = match (sum, uncorrected_in(said, code)) {
            (Told::Missing, _) | (_, Told::Missing) => return Told::Missing,
            (sum, Told::Absent) => sum,
            (Told::Absent, more) => more,
            (Told::Known(sum), Told::Known(more)) => Told::Known(sum.saturating_add(more)),
        };
    }
    sum
}

/// Blocks that the disk's own scan could not read and that are not replaced yet (SBC-4, 6.4.2.3):
/// waiting for a write, or in vain.
fn pending(page: &Page) -> Option<u64> {
    let mut found = 0_u64;
    for (code, value) in parameters(page, BACKGROUND_SCAN) {
        let status = value.get(4).filter(|_| (0x0001..=0x0800).contains(&code));
        if status.is_some_and(|status| [1, 4, 8].contains(&(status >> 4))) {
            found = found.saturating_add(1);
        }
    }
    Some(found)
}

/// Parameter 0 is the temperature, 1 the highest at which the disk may be all the time. FFh: it
/// cannot be told.
fn temperature(said: &Said, is_rotating: bool, is_too_hot: bool, out: &mut Readings) {
    let degrees = |value: &[u8]| value.get(1).copied();
    let limit = match said.parameter(TEMPERATURE, 1, degrees) {
        Told::Known(limit @ 1..=0xfe) => limit,
        _ if is_rotating => HOT_ROTATING,
        _ => HOT_SOLID,
    };
    match said.parameter(TEMPERATURE, 0, degrees) {
        Told::Known(now @ 0..=0xfe) => {
            out.number("temperature", now.into());
            out.flag("hot", is_too_hot || now > limit);
        }
        Told::Missing => {}
        Told::Known(_) | Told::Absent => {
            out.absent("temperature");
            if is_too_hot {
                out.flag("hot", true);
            } else {
                out.absent("hot");
            }
        }
    }
}

#[cfg(test)]
mod tests;
