//! The flight record: what the last minutes of a boot were like, for whoever asks after it.
//!
//! One file, `state-dir/flight`, of [`SLOTS`] slots of [`SLOT_BYTES`] bytes. A slot is one line: a
//! JSON object, blanks, and a newline, so that `cat` reads the file and `sort` orders it (the time
//! comes first). A write replaces whole slots in place and never changes the length of the file:
//! what a reset tears is one slot, whose sum is wrong then.
//!
//! ```text
//! {"v":1,"unix_ms":1795231173123,"seq":41,"boot":"…","at_ns":…,"kind":"pulse","text":"…","crc":"…"}
//! ```
//!
//! | field | meaning |
//! |---|---|
//! | `v` | the form, 1 |
//! | `unix_ms` | wall-clock time in milliseconds: for people, the clock may have been wrong |
//! | `seq` | grows by one with each record, for ever |
//! | `boot` | the boot (/proc/sys/kernel/random/boot_id) |
//! | `at_ns` | nanoseconds since that boot began (`CLOCK_BOOTTIME`) |
//! | `kind` | [`Kind`] |
//! | `event` | of an event: its kind and its severity |
//! | `text` | in words, cut to what has room |
//! | `crc` | CRC-32 (IEEE 802.3) of all bytes before `,"crc"`, in hexadecimal |
//!
//! Three lanes share the file ([`Lane`]): signs of life come every few seconds for ever and events
//! may come in floods, but neither may wash away what tells why the machine went down.

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub mod file;
pub mod last_words;

/// The form; another number is another form.
const VERSION: u32 = 1;
/// Bytes of a slot: one sector of a disk, which is written whole or not at all.
pub const SLOT_BYTES: usize = 512;
/// Slots of the file.
pub const SLOTS: usize = 512;
/// Bytes of the file.
pub const FILE_BYTES: usize = SLOTS * SLOT_BYTES;
/// Bytes after the text of a line: `,"crc":"01234567"}` and the newline.
const TAIL_BYTES: usize = 19;
/// What comes before the sum.
const SUM: &str = ",\"crc\":\"";

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The daemon starts: its version, the machine.
    Start,
    /// The last pulse of a boot that ended, noted again by the first daemon of the next one, so
    /// that the pulses of that one do not wash it away. Its boot and its time are those of the
    /// pulse.
    LastPulse,
    /// A sign of life, and how the machine was.
    Pulse,
    /// An event, as in `mastiff events`.
    Event,
    /// The watchdog is armed: identity, driver, parent, and `time-out` with its seconds.
    Armed,
    /// The watchdog was stopped.
    Disarmed,
    /// The watchdog is not petted any more: why.
    Refused,
    /// PID 1 shuts the machine down: reboot, poweroff, halt, kexec.
    GoingDown,
    /// The daemon ends as asked.
    Stop,
    /// A rung is about to reboot or reset the machine: which, of which check, why.
    Rung,
    /// `mastiff watchdog prove` runs: seconds since the last pet.
    SelfTest,
}

impl Kind {
    /// Where it is kept.
    #[must_use]
    pub const fn lane(self) -> Lane {
        match self {
            Self::Pulse => Lane::Pulses,
            Self::Event => Lane::Events,
            Self::Start | Self::LastPulse | Self::Armed | Self::Disarmed => Lane::Marks,
            Self::Refused | Self::GoingDown | Self::Stop => Lane::Marks,
            Self::Rung | Self::SelfTest => Lane::Marks,
        }
    }

    /// Whether it announces the end: it goes to the kernel log as well, since the disk may be what
    /// is broken.
    #[must_use]
    pub const fn is_last_word(self) -> bool {
        matches!(self, Self::Refused | Self::Rung | Self::SelfTest)
    }
}

/// A part of the file, a ring of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Ten minutes of signs of life.
    Pulses,
    /// The newest events.
    Events,
    /// Starts, ends and what led to them, of a dozen boots.
    Marks,
}

impl Lane {
    /// Its slots.
    #[must_use]
    pub const fn slots(self) -> Range<usize> {
        match self {
            Self::Marks => 0..64,
            Self::Events => 64..384,
            Self::Pulses => 384..SLOTS,
        }
    }
}

/// What an event was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventWords {
    /// Such as `verdict`.
    pub kind: String,
    /// `info`, `notice`, `warning` or `error`.
    pub severity: String,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    v: u32,
    /// Wall-clock time in milliseconds since 1970.
    pub unix_ms: u64,
    /// Its number, one more than that of the record before.
    pub seq: u64,
    /// The boot.
    pub boot: String,
    /// Nanoseconds since the boot began.
    pub at_ns: i64,
    /// What it is about.
    pub kind: Kind,
    /// Of an event: what it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventWords>,
    /// In words.
    pub text: String,
}

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Nothing yet.
    Empty,
    /// A record.
    Good(Record),
    /// Something else: torn, foreign, or of another form.
    Damaged,
}

impl Record {
    /// A record of this form.
    #[must_use]
    pub fn new(seq: u64, boot: &str, at_ns: i64, unix_ms: u64, kind: Kind, text: &str) -> Self {
        let (boot, text) = (boot.to_string(), text.to_string());
        Self { v: VERSION, unix_ms, seq, boot, at_ns, kind, event: None, text }
    }

    /// Its line of [`SLOT_BYTES`] bytes; the text is cut to what has room.
    #[must_use]
    pub fn line(&self) -> String {
        let mut record = Self { text: String::new(), ..self.clone() };
        let room = SLOT_BYTES.saturating_sub(TAIL_BYTES);
        // What comes from elsewhere is short, or it is not kept.
        if json(&record).len() > room {
            (record.boot, record.event) = (String::new(), None);
        }
        record.text = cut(&self.text, room.saturating_sub(json(&record).len()));
        let text = json(&record);
        let body = text.strip_suffix('}').unwrap_or(&text);
        let mut line = format!("{body}{SUM}{:08x}\"}}", crc32(body.as_bytes()));
        let blanks = SLOT_BYTES.saturating_sub(1).saturating_sub(line.len());
        line.extend(std::iter::repeat_n(' ', blanks));
        line.push('\n');
        line
    }
}

impl Slot {
    /// What these bytes of a file say.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let bytes = bytes.trim_ascii_end();
        if bytes.is_empty() {
            return Self::Empty;
        }
        let text = std::str::from_utf8(bytes).ok();
        text.and_then(record).map_or(Self::Damaged, Self::Good)
    }
}

fn record(text: &str) -> Option<Record> {
    let (body, sum) = text.strip_suffix("\"}")?.rsplit_once(SUM)?;
    if sum != format!("{:08x}", crc32(body.as_bytes())) {
        return None;
    }
    let record: Record = serde_json::from_slice(format!("{body}}}").as_bytes()).ok()?;
    (record.v == VERSION).then_some(record)
}

/// A record of strings and numbers is always JSON; what is not would be an empty slot.
fn json(record: &Record) -> String {
    serde_json::to_string(record).unwrap_or_default()
}

/// The text, cut to so many bytes of JSON, with dots where it was cut. What JSON writes longer than
/// it is (quotes, backslashes) becomes something that it does not.
fn cut(text: &str, bytes_max: usize) -> String {
    const DOTS: &str = "...";
    let plain = |c: char| match c {
        '"' => '\'',
        '\\' => '/',
        c if c.is_control() => ' ',
        c => c,
    };
    let mut plain: String = text.trim_end().chars().map(plain).collect();
    if plain.len() > bytes_max {
        let room = bytes_max.saturating_sub(DOTS.len());
        plain.truncate(plain.floor_char_boundary(room));
        plain.push_str(DOTS.get(..bytes_max.min(DOTS.len())).unwrap_or_default());
    }
    plain
}

/// CRC-32 as of IEEE 802.3 (reflected, polynomial 0x04c11db7), bit by bit: the records are short
/// and few.
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = sum & 1;
            sum >>= 1;
            if carry == 1 {
                sum ^= 0xedb8_8320;
            }
        }
    }
    !sum
}

#[cfg(test)]
mod tests;
