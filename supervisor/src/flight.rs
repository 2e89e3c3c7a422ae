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

pub mod file;
pub mod last_words;

/// Bytes of a slot: one sector of a disk, which is written whole or not at all.
pub const SLOT_BYTES: usize = 512;
/// Slots of the file.
pub const SLOTS: usize = 512;
/// Bytes of the file.
pub const FILE_BYTES: usize = SLOTS * SLOT_BYTES;
/// Bytes after the text of a line: `","crc":"01234567"}` and the newline.
const TAIL_BYTES: usize = 20;
/// Bytes of a boot's id and of the words of an event; longer ones are cut.
const WORD_BYTES_MAX: usize = 40;

/// In the text of [`Kind::Armed`], before its time-out ...
pub const TIMEOUT: &str = ", time-out ";
/// ... and before the configured `root-dead-after`; each ends with the text, or a comma.
pub const ROOT_LIMIT: &str = ", root-dead-after ";

/// What stands between the values of a line, in this order. The form is 1; another number is
/// another form.
const HEAD: &str = "{\"v\":1,\"unix_ms\":";
const SEQ: &str = ",\"seq\":";
const BOOT: &str = ",\"boot\":\"";
const AT: &str = "\",\"at_ns\":";
const KIND: &str = ",\"kind\":\"";
const EVENT: &str = ",\"event\":{\"kind\":\"";
const SEVERITY: &str = "\",\"severity\":\"";
const TEXT: &str = ",\"text\":\"";
const SUM: &str = ",\"crc\":\"";

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The watchdog is armed and petted: identity, driver, parent, [`TIMEOUT`] and [`ROOT_LIMIT`],
    /// which `mastiff why` reads. It takes back a [`Refused`](Self::Refused) before it.
    Armed,
    /// The watchdog was stopped.
    Disarmed,
    /// The watchdog is not petted any more: why.
    Refused,
    /// PID 1 shuts the machine down: reboot, poweroff, halt, kexec.
    GoingDown,
    /// The daemon ends as asked.
    Stop,
    /// A rung is about to reboot or reset the machine: `reset of "disk": why`.
    Rung,
    /// `mastiff watchdog prove` runs: seconds since the last pet.
    SelfTest,
}

/// Their names in the file.
const KINDS: [(Kind, &str); 11] = [
    (Kind::Start, "start"),
    (Kind::LastPulse, "last-pulse"),
    (Kind::Pulse, "pulse"),
    (Kind::Event, "event"),
    (Kind::Armed, "armed"),
    (Kind::Disarmed, "disarmed"),
    (Kind::Refused, "refused"),
    (Kind::GoingDown, "going-down"),
    (Kind::Stop, "stop"),
    (Kind::Rung, "rung"),
    (Kind::SelfTest, "self-test"),
];

impl Kind {
    /// As the file has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    fn named(name: &str) -> Option<Self> {
        KINDS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventWords {
    /// Such as `verdict`.
    pub kind: String,
    /// `info`, `notice`, `warning` or `error`.
    pub severity: String,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
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
        Self { unix_ms, seq, boot, at_ns, kind, event: None, text }
    }

    /// Its line of [`SLOT_BYTES`] bytes; the text is cut to what has room.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { unix_ms, seq, at_ns, kind, .. } = self;
        let (boot, kind) = (cut(&self.boot, WORD_BYTES_MAX), kind.name());
        let event = self.event.as_ref().map(|event| {
            let kind = cut(&event.kind, WORD_BYTES_MAX);
            format!("{EVENT}{kind}{SEVERITY}{}\"}}", cut(&event.severity, WORD_BYTES_MAX))
        });
        let mut line = format!(
            "{HEAD}{unix_ms}{SEQ}{seq}{BOOT}{boot}{AT}{at_ns}{KIND}{kind}\"{}{TEXT}",
            event.unwrap_or_default()
        );
        line.push_str(&cut(&self.text, SLOT_BYTES.saturating_sub(line.len() + TAIL_BYTES)));
        line.push('"');
        let sum = sum(&line);
        line.push_str(&sum);
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

/// Reads just what [`Record::line`] writes. The sum is right, so nothing but a record of another
/// form can be there instead.
fn record(text: &str) -> Option<Record> {
    // All but the quote before it and the newline after it.
    let sum_at = text.len().checked_sub(TAIL_BYTES.saturating_sub(2))?;
    let (body, sum) = text.split_at_checked(sum_at)?;
    if sum != self::sum(body) {
        return None;
    }
    let (unix_ms, rest) = body.strip_prefix(HEAD)?.split_once(SEQ)?;
    let (seq, rest) = rest.split_once(BOOT)?;
    let (boot, rest) = rest.split_once(AT)?;
    let (at_ns, rest) = rest.split_once(KIND)?;
    let (kind, rest) = rest.split_once('"')?;
    let (event, text) = rest.split_once(TEXT)?;
    let event = match event.strip_prefix(EVENT) {
        Some(words) => {
            let (kind, severity) = words.strip_suffix("\"}")?.split_once(SEVERITY)?;
            Some(EventWords { kind: kind.to_string(), severity: severity.to_string() })
        }
        None => None,
    };
    Some(Record {
        unix_ms: unix_ms.parse().ok()?,
        seq: seq.parse().ok()?,
        boot: boot.to_string(),
        at_ns: at_ns.parse().ok()?,
        kind: Kind::named(kind)?,
        event,
        text: text.strip_suffix('"')?.to_string(),
    })
}

/// The end of a line: the sum of what stands before it.
fn sum(body: &str) -> String {
    format!("{SUM}{:08x}\"}}", crc32(body.as_bytes()))
}

/// The text, cut to so many bytes, with dots where it was cut. What JSON would write in another way
/// (quotes, backslashes, control characters) becomes something that it does not.
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
        plain.truncate(plain.floor_char_boundary(bytes_max.saturating_sub(DOTS.len())));
        plain.push_str(DOTS);
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
