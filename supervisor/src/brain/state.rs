//! What outlives a restart and a reboot: pauses, budgets, alerts on their way, the newest events.
//!
//! One JSON file, `state-dir/state.json`, written by the prober (beside it, synced, renamed). It is
//! a convenience, never a condition: a missing, old or damaged file is said once and replaced.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use mastiff_core::node::Memory;
use mastiff_core::sorted::Map;
use mastiff_core::time::{Mono, Span};
use serde::{Deserialize, Serialize};

use super::alerts::Queued;
use super::pair::GroupMemory;
use super::watchdog::WatchdogMemory;
use crate::clock::boot_id;
use crate::control::EventView;
use crate::probes::wire::MESSAGE_BYTES_MAX;

/// The form of the file; another number is another form.
const VERSION: u32 = 1;
/// Bytes of the file at most: as JSON within JSON it still fits a message to the prober.
const FILE_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 2;
/// Changes of this long are written together.
pub const SAVE_GAP: Span = Span::from_secs(1);
/// A write that takes longer hangs.
pub const SAVE_TIMEOUT: Span = Span::from_secs(30);

/// The file.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    version: u32,
    /// The boot in which it was written (/proc/sys/kernel/random/boot_id): within it, its moments
    /// are those of the clock, whatever was done to the wall-clock time.
    #[serde(default)]
    boot_id: String,
    /// Unix time minus boot time when it was written, in nanoseconds: what turns its moments into
    /// those of another boot.
    boot_unix_nanos: i64,
    /// Pauses and budgets.
    pub memory: Memory,
    /// Alerts on their way.
    pub alerts: Vec<Queued>,
    /// The number of the next event.
    pub next_event: u64,
    /// The newest events.
    pub events: Vec<EventView>,
    /// What is known of the pair's groups, by name.
    #[serde(default)]
    pub pair: Map<String, GroupMemory>,
    /// What is known of the watchdog.
    #[serde(default)]
    pub watchdog: WatchdogMemory,
}

impl State {
    /// As of now.
    pub fn new(
        now: Mono,
        unix_nanos: i64,
        memory: Memory,
        alerts: Vec<Queued>,
        next_event: u64,
        events: Vec<EventView>,
    ) -> Self {
        let boot_unix_nanos = unix_nanos.saturating_sub(now.as_nanos());
        let boot_id = boot_id();
        Self {
            version: VERSION,
            boot_id,
            boot_unix_nanos,
            memory,
            alerts,
            next_event,
            events,
            pair: Map::new(),
            watchdog: WatchdogMemory::default(),
        }
    }

    /// With what is known of the watchdog.
    #[must_use]
    pub fn with_watchdog(mut self, watchdog: WatchdogMemory) -> Self {
        self.watchdog = watchdog;
        self
    }

    /// With what is known of the pair's groups.
    #[must_use]
    pub fn with_pair(mut self, pair: Map<String, GroupMemory>) -> Self {
        self.pair = pair;
        self
    }

    /// As text, short enough for a message: the oldest events give way first, then the oldest
    /// alerts, and only then what is remembered of checks, and pauses. Returns how many of those
    /// two had no room, too.
    pub fn text(mut self) -> (String, usize) {
        let mut cut = 0;
        loop {
            let text = serde_json::to_string(&self).unwrap_or_default();
            if text.len() <= FILE_BYTES_MAX {
                return (text, cut);
            }
            if !self.events.is_empty() {
                halve(&mut self.events);
            } else if !self.alerts.is_empty() {
                halve(&mut self.alerts);
            } else if !self.memory.checks.is_empty() {
                cut += halve(&mut self.memory.checks);
            } else {
                cut += halve(&mut self.memory.pauses);
            }
        }
    }

    /// Reads the file. A moment of the file becomes the same moment on this boot's clock.
    ///
    /// # Errors
    /// Why it cannot be used; that it is not there is no error.
    pub fn load(path: &Path, now: Mono, unix_nanos: i64) -> Result<Self, String> {
        let bytes = match read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        let mut state: Self = serde_json::from_slice(&bytes)
            .map_err(|error| format!("{} is damaged: {error}", path.display()))?;
        if state.version != VERSION {
            return Err(format!(
                "{} has form {}, this is form {VERSION}",
                path.display(),
                state.version
            ));
        }
        if state.boot_id.is_empty() || state.boot_id != boot_id() {
            let boot_unix_nanos = unix_nanos.saturating_sub(now.as_nanos());
            state.memory.shift(boot_unix_nanos.saturating_sub(state.boot_unix_nanos));
        }
        Ok(state)
    }
}

/// Drops the older half, and says how many that were.
fn halve<T>(list: &mut Vec<T>) -> usize {
    list.drain(..list.len().div_ceil(2)).len()
}

/// Reads a regular file of the length that is ever written, or fails. Whatever else lies there must
/// not hold up the start: a FIFO has no end, and a file may be as large as the disk.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mastiff_core::maintenance::Pause;
    use mastiff_core::node::Remembered;

    fn pause(until_nanos: i64) -> Pause {
        Pause {
            check: None,
            until: Mono::from_nanos(until_nanos),
            why: "swap".into(),
            who: "root".into(),
        }
    }

    fn file(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("mastiff-state-{name}-{}", std::process::id()))
    }

    #[test]
    fn moments_keep_their_place_on_the_wall_across_a_reboot() {
        let path = file("boot");
        let memory = Memory { pauses: vec![pause(7_000_000_000)], checks: Vec::new() };
        // Written 5 s after boot at Unix time 100 s, so the pause ends at Unix time 102 s.
        let state = State::new(
            Mono::from_nanos(5_000_000_000),
            100_000_000_000,
            memory,
            Vec::new(),
            3,
            Vec::new(),
        );
        let text = state.text().0;
        std::fs::write(&path, &text).unwrap();
        // Read in the same boot, after somebody stepped the wall clock by an hour: nothing moves.
        let read = State::load(&path, Mono::from_nanos(6_000_000_000), 3_700_000_000_000).unwrap();
        assert_eq!(read.memory.pauses, [pause(7_000_000_000)]);
        // Read 1 s after the next boot, at Unix time 101 s.
        std::fs::write(&path, text.replace(&boot_id(), "another boot")).unwrap();
        let read = State::load(&path, Mono::from_nanos(1_000_000_000), 101_000_000_000).unwrap();
        assert_eq!(read.memory.pauses, [pause(2_000_000_000)]);
        assert_eq!(read.next_event, 3);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_is_known_of_groups_is_written_by_name_and_read_again() {
        let path = file("groups");
        let of = |highest, peer_stops_within_ns| GroupMemory { highest, peer_stops_within_ns };
        let known = || [("web".to_owned(), of(7, Some(9))), ("db".to_owned(), of(u64::MAX, None))];
        let state = State::new(Mono::BOOT, 0, Memory::default(), Vec::new(), 0, Vec::new());
        let text = state.with_pair(known().into_iter().collect()).text().0;
        // As every version has written it.
        let groups = "\"pair\":{\"db\":{\"highest\":18446744073709551615,\"peer_stops_within_ns\":null},\"web\":{\"highest\":7,\"peer_stops_within_ns\":9}}";
        assert!(text.contains(groups), "{text}");
        std::fs::write(&path, text).unwrap();
        let read = State::load(&path, Mono::BOOT, 0).unwrap();
        assert_eq!(read.pair, known().into_iter().collect());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_missing_file_is_a_fresh_start_and_a_damaged_one_says_why() {
        let path = file("damaged");
        assert_eq!(State::load(&path, Mono::BOOT, 0), Ok(State::default()));
        for (text, part) in [
            ("", "damaged"),
            ("{\"version\":", "damaged"),
            ("\u{0}\u{0}", "damaged"),
            ("[]", "damaged"),
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(State::load(&path, Mono::BOOT, 0).unwrap_err().contains(part));
        }
        let other = State::new(Mono::BOOT, 0, Memory::default(), Vec::new(), 0, Vec::new());
        std::fs::write(&path, other.text().0.replace("\"version\":1", "\"version\":2")).unwrap();
        assert!(State::load(&path, Mono::BOOT, 0).unwrap_err().contains("form 2"));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_file_stays_short_enough_whatever_has_happened() {
        let event = EventView {
            seq: 1,
            at_unix_ms: 1,
            kind: "verdict".into(),
            severity: "error".into(),
            check: Some("web".into()),
            text: "x".repeat(2000),
        };
        let state = State::new(Mono::BOOT, 0, Memory::default(), Vec::new(), 0, vec![event; 1000]);
        let (text, cut) = state.text();
        assert!(!text.is_empty() && text.len() <= FILE_BYTES_MAX);
        assert_eq!(cut, 0, "events give way");
    }

    #[test]
    fn of_more_than_the_file_holds_the_newest_budgets_and_all_pauses_are_kept() {
        let path = file("full");
        let check = |number: i64| Remembered {
            check: format!("worker-{number}.service").into(),
            rungs: vec!["restart".into()],
            uses: vec![(0..3).map(|use_| Mono::from_nanos(number + use_)).collect()],
            told: None,
        };
        let memory =
            Memory { pauses: vec![pause(7_000_000_000)], checks: (0..2000).map(check).collect() };
        let (text, cut) = State::new(Mono::BOOT, 0, memory, Vec::new(), 0, Vec::new()).text();
        assert!(text.len() <= FILE_BYTES_MAX);
        std::fs::write(&path, text).unwrap();
        let read = State::load(&path, Mono::BOOT, 0).unwrap().memory;
        assert_eq!(read.pauses.len(), 1);
        assert_eq!(read.checks.last(), Some(&check(1999)));
        assert_eq!(read.checks.len() + cut, 2000);
        std::fs::remove_file(&path).unwrap();
    }
}
