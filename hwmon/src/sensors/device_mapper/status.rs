//! What the targets of a mapped device say, each in a line of its own form
//! (Documentation/admin-guide/device-mapper).

use crate::sensors::raid::ACTIONS;
use crate::text;

/// Targets of one device that are looked at: those with something to say are alone in theirs.
const TARGETS_MAX: u32 = 64;

/// Bytes of `struct dm_target_spec` (linux/dm-ioctl.h): start and length in sectors, status, the
/// place of the next one, and the type.
const SPEC_BYTES: usize = 40;
const NEXT_AT: usize = 20;
const TYPE_AT: usize = 24;

/// Type and status of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) kind: &'a str,
    pub(super) status: &'a str,
}

/// The targets of an answer; what is not whole ends the list.
pub(super) fn targets(count: u32, specs: &[u8]) -> Vec<Target<'_>> {
    let mut found = Vec::new();
    let mut at = 0_usize;
    for _ in 0..count.min(TARGETS_MAX) {
        let Some(spec) = specs.get(at..) else { break };
        let next = spec.get(NEXT_AT..).and_then(|rest| rest.first_chunk::<4>());
        let kind = spec.get(TYPE_AT..SPEC_BYTES).and_then(until_zero);
        let status = spec.get(SPEC_BYTES..).and_then(until_zero);
        let (Some(next), Some(kind), Some(status)) = (next, kind, status) else { break };
        found.push(Target { kind, status: status.trim_ascii() });
        // Counted from the first one.
        let next = usize::try_from(u32::from_ne_bytes(*next)).unwrap_or(usize::MAX);
        if next <= at {
            break;
        }
        at = next;
    }
    found
}

fn until_zero(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    std::str::from_utf8(bytes.get(..end)?).ok()
}

/// What a target says of itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said<'a> {
    /// `multipath`.
    Paths(Paths<'a>),
    /// `raid`.
    Raid(Raid<'a>),
    /// What gives out space, or stands between a volume and its data.
    Store(Store),
    /// It has no state of its own (`linear`, `crypt` ...).
    Nothing,
}

/// The ways to one disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Paths<'a> {
    pub(super) all: u64,
    /// Those that have failed, as `major:minor`.
    pub(super) failed: Vec<&'a str>,
}

/// The members of a RAID of the logical volume manager.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Raid<'a> {
    pub(super) level: &'a str,
    pub(super) members: u64,
    /// Those that are gone, by their number.
    pub(super) dead: Vec<usize>,
    /// Those that are gone, or are filled from the others.
    pub(super) degraded: u64,
    /// Whether too many are gone; `None` for a level that is not known.
    pub(super) is_lost: Option<bool>,
    pub(super) action: Option<&'a str>,
    /// Sectors done, of all.
    pub(super) progress: Share,
}

/// A part and its whole.
pub(super) type Share = (u64, u64);

/// State and use of a pool, snapshot or cache.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Store {
    /// One of [`STATES`].
    pub(super) state: &'static str,
    /// Not told by one that has failed, nor by a cache, which is there to be full.
    pub(super) used: Option<Share>,
    pub(super) metadata: Option<Share>,
}

/// States of a pool, snapshot or cache, the worst last.
pub(super) const STATES: &[&str] =
    &["ok", "needs-check", "invalid", "read-only", "out-of-space", "failed"];

/// Understands the line of a target; `None` if it makes no sense.
pub(super) fn understand<'a>(target: &Target<'a>) -> Option<Said<'a>> {
    let words: Vec<&str> = target.status.split(' ').collect();
    match target.kind {
        "multipath" => paths(&words).map(Said::Paths),
        "raid" => raid(&words).map(Said::Raid),
        kind => match store(kind, target.status, &words) {
            Some(told) => told.map(Said::Store),
            None => Some(Said::Nothing),
        },
    }
}

/// Counts with so many words each, then the groups: state, count and words of the selector, number
/// of paths, words for each; and their paths: device, `A` or `F`, failures, words of the selector
/// (drivers/md/dm-mpath.c, `multipath_status`).
fn paths<'a>(words: &[&'a str]) -> Option<Paths<'a>> {
    let mut rest = words.iter();
    let mut found = Paths::default();
    for _ in ["features", "handler"] {
        skip(&mut rest)?;
    }
    let groups = number(&mut rest)?;
    let _next_group = rest.next()?;
    for _ in 0..groups {
        let _state = rest.next()?;
        skip(&mut rest)?;
        let (count, more) = (number(&mut rest)?, number(&mut rest)?);
        for _ in 0..count {
            let (device, state, _failures) = (rest.next()?, rest.next()?, rest.next()?);
            found.all = found.all.checked_add(1)?;
            match *state {
                "A" => {}
                "F" => found.failed.push(device),
                _ => return None,
            }
            for _ in 0..more {
                rest.next()?;
            }
        }
    }
    Some(found)
}

fn number(words: &mut std::slice::Iter<'_, &str>) -> Option<u64> {
    text::whole(words.next()?)
}

/// Passes over a count and as many words.
fn skip(words: &mut std::slice::Iter<'_, &str>) -> Option<()> {
    for _ in 0..number(words)? {
        words.next()?;
    }
    Some(())
}

/// Level, number of members, a letter for each, progress, action (drivers/md/dm-raid.c,
/// `raid_status`): `A` is whole, `a` is being filled, `D` has failed, `-` is not there.
fn raid<'a>(words: &[&'a str]) -> Option<Raid<'a>> {
    let [level, members, letters, progress, rest @ ..] = words else { return None };
    let members = text::whole(members)?;
    let known = letters.bytes().all(|letter| b"AaD-".contains(&letter));
    if !known || u64::try_from(letters.len()) != Ok(members) || members == 0 {
        return None;
    }
    let dead: Vec<usize> = letters
        .bytes()
        .enumerate()
        .filter_map(|(at, l)| b"D-".contains(&l).then_some(at))
        .collect();
    let gone = u64::try_from(dead.len()).ok()?;
    let filled = letters.bytes().filter(|letter| *letter == b'a').count();
    // While it is made all members are so: it lacks none.
    let filled = if letters.contains('A') { filled } else { 0 };
    Some(Raid {
        level,
        members,
        degraded: gone.saturating_add(u64::try_from(filled).ok()?),
        is_lost: exceeds(level, members, gone),
        dead,
        action: rest.first().copied().filter(|action| ACTIONS.contains(action)),
        progress: share(progress)?,
    })
}

fn exceeds(level: &str, members: u64, gone: u64) -> Option<bool> {
    if level.starts_with("raid10") {
        // In which of the mirrors they are is not told, but a device that is the last of its
        // mirror is not given up (drivers/md/raid10.c, `raid10_error`).
        return Some(gone.saturating_mul(2) > members);
    }
    let bearable = match level.get(..5) {
        Some("raid0") => 0,
        Some("raid1") => members.saturating_sub(1),
        Some("raid4" | "raid5") => 1,
        Some("raid6") => 2,
        _ => return None,
    };
    Some(gone > bearable)
}

/// `None` for targets that have nothing to say, `Some(None)` for a line without sense.
fn store(kind: &str, status: &str, words: &[&str]) -> Option<Option<Store>> {
    let word = |at: usize| words.get(at).copied();
    let parts = |at: usize| word(at).and_then(share);
    let bare = |state| Some(Store { state, used: None, metadata: None });
    Some(match (kind, status) {
        // A volume of which a part is missing, activated all the same.
        ("error", _) | ("thin-pool" | "thin", "Fail" | "Error") => bare("failed"),
        ("cache", "Fail" | "Error") | ("snapshot-merge", "Merge failed") => bare("failed"),
        ("snapshot" | "snapshot-merge", "Invalid" | "Overflow") => bare("invalid"),
        ("snapshot" | "snapshot-merge", _) => {
            parts(0).map(|used| Store { state: "ok", used: Some(used), metadata: None })
        }
        // Transaction, metadata, data, root, mode, two features, check (drivers/md/dm-thin.c,
        // `pool_status`).
        ("thin-pool", _) => mode(word(4), word(7)).zip(parts(2)).map(|(state, used)| Store {
            state,
            used: Some(used),
            metadata: parts(1),
        }),
        // The mode and the check are the last two (drivers/md/dm-cache-target.c, `cache_status`).
        ("cache", _) => {
            let [.., written, check] = words else { return Some(None) };
            mode(Some(written), Some(check)).and_then(bare)
        }
        // It begins with the error that has ended it (drivers/md/dm-writecache.c,
        // `writecache_status`).
        ("writecache", _) => word(0)
            .and_then(text::signed)
            .and_then(|error| bare(if error == 0.0 { "ok" } else { "failed" })),
        // Device, mode, recovery, index, compression, blocks used, all blocks.
        ("vdo", _) => {
            let state = if word(1) == Some("read-only") { "read-only" } else { "ok" };
            let blocks = word(5).and_then(text::whole).zip(word(6).and_then(text::whole));
            blocks.map(|used| Store { state, used: Some(used), metadata: None })
        }
        _ => return None,
    })
}

fn mode(mode: Option<&str>, check: Option<&str>) -> Option<&'static str> {
    Some(match mode? {
        "out_of_data_space" => "out-of-space",
        "ro" => "read-only",
        "rw" if check == Some("needs_check") => "needs-check",
        "rw" => "ok",
        _ => return None,
    })
}

/// `part/whole`.
fn share(text: &str) -> Option<Share> {
    let (part, whole) = text.split_once('/')?;
    let (part, whole) = (text::whole(part)?, text::whole(whole)?);
    (part <= whole).then_some((part, whole))
}
