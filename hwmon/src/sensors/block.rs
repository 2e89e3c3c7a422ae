//! Block devices: what they do, and whether they still do it.
//!
//! All of it is passive: the counters in /sys/block/NAME/stat are the kernel's own, so reading them
//! costs a dying disk nothing and never waits for it. A stall is told from them: requests are under
//! way, and none has ended since.

use std::path::Path;

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::disk;
use crate::host::has_foreign_devices;
use crate::kept::Kept;
use crate::once;
use crate::rate::Rate;
use crate::root::Root;
use crate::sensor::{Options, Probe, Sensor, SensorError, Source, Target, Wanted};
use crate::text;

/// One block device (Documentation/block/stat.rst, Documentation/admin-guide/iostats.rst).
pub const SENSOR: Sensor = Sensor {
    name: "block",
    hardware: true,
    summary: "Traffic, service time and stalls of a block device (disk, md, device mapper), from /sys/block.",
    target: Target::Device,
    options: &[],
    quantities: QUANTITIES,
    // A disk that slept takes 10 s and more to spin up. The kernel gives a command of a SCSI or
    // NVMe disk up after 30 s, and then tries to recover, which can take minutes.
    // Devices go on purpose, too, when a snapshot is removed or a volume is closed.
    warn_when: &["stalled > 15s", "present = false"],
    fail_when: &["stalled > 30s", "online = false"],
    interval: Span::from_secs(5),
    // An NVMe controller that is reset is away for some seconds.
    fail_after: Span::from_secs(10),
    recover_after: Span::from_secs(60),
    discover: Some(discover),
    source: Source::Quick(open),
};

const QUANTITIES: &[Quantity] = &[
    Quantity { name: "present", unit: Unit::Flag, meaning: "the device exists" },
    Quantity {
        name: "stalled",
        unit: Unit::Seconds,
        meaning: "time for which requests have been under way and none has ended; zero while it works or rests",
    },
    Quantity {
        name: "online",
        unit: Unit::Flag,
        meaning: "the kernel sends requests to it (state running or live, a mapping not suspended); absent where it has no such state",
    },
    Quantity { name: "in-flight", unit: Unit::Count, meaning: "requests under way" },
    Quantity { name: "reads", unit: Unit::PerSecond, meaning: "reads that ended" },
    Quantity { name: "writes", unit: Unit::PerSecond, meaning: "writes that ended" },
    Quantity { name: "read", unit: Unit::BytesPerSecond, meaning: "data read" },
    Quantity { name: "written", unit: Unit::BytesPerSecond, meaning: "data written" },
    Quantity {
        name: "read-time",
        unit: Unit::Seconds,
        meaning: "mean time that a read took since the last reading, with its wait; absent if none ended",
    },
    Quantity {
        name: "write-time",
        unit: Unit::Seconds,
        meaning: "mean time that a write took since the last reading, with its wait; absent if none ended",
    },
    Quantity {
        name: "busy",
        unit: Unit::Ratio,
        meaning: "share of the time with a request under way; a disk with many queues can be 100% busy and have room",
    },
];

/// Not worth watching without being asked: memory, files of a file system that is watched itself,
/// and drives for media that come and go.
const LEFT_OUT: [&str; 6] = ["loop", "ram", "zram", "fd", "sr", "nbd"];

/// Bytes of a sector, whatever the device has (Documentation/block/stat.rst).
const SECTOR_BYTES: f64 = 512.0;

/// The counters of one device; all but `in_flight` since it was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    /// Reads, writes: requests that ended.
    ended: [u64; 2],
    sectors: [u64; 2],
    /// Milliseconds that the requests took, summed up.
    took: [u64; 2],
    in_flight: u64,
    /// Milliseconds with any request under way.
    busy: u64,
    /// Everything that moves when a request ends: reads, writes, discards and flushes that ended,
    /// and requests that became part of another one.
    progress: u64,
}

/// Whether anything ends, from one reading to the next.
#[derive(Clone, Copy, Debug, Default)]
struct Stall {
    progress: u64,
    /// Requests were under way first, with the progress as it is.
    since: Option<Mono>,
    /// And again at a later reading.
    sure: bool,
}

impl Stall {
    /// How long nothing has ended.
    ///
    /// The counters are not read at one moment: a request may end between them, and a first look
    /// may see it under way with its end counted. A second look with the same progress is proof.
    /// From there on the stall lasts until something ends, also while nothing shows as under way:
    /// a driver that resets its controller takes the requests back meanwhile (before Linux 6.16
    /// they are not counted then).
    fn look(&mut self, now: Mono, counters: &Counters) -> Span {
        let waits = counters.in_flight > 0;
        if counters.progress != self.progress {
            *self = Self { progress: counters.progress, since: waits.then_some(now), sure: false };
        } else if !waits && !self.sure {
            self.since = None;
        } else if let Some(since) = self.since {
            self.sure = true;
            return now.since(since);
        } else {
            self.since = Some(now);
        }
        Span::ZERO
    }
}

struct Block {
    root: Root,
    target: String,
    /// None while there is no such device.
    device: Option<Device>,
    /// What is printed on it, or on the one that was there last.
    label: Option<Box<str>>,
}

struct Device {
    stat: Kept,
    /// Of SCSI disks, NVMe controllers and mappings.
    state: Option<Kept>,
    stall: Stall,
    last: Option<(Mono, Counters)>,
    rates: [Rate; 4],
}

fn open(root: &Root, target: &str, _options: &Options) -> Result<Box<dyn Probe>, SensorError> {
    let block = root.path("/sys/block");
    if !block.is_dir() {
        return Err(SensorError::Unsupported(format!("{} is not there", block.display())));
    }
    Ok(Box::new(Block { root: root.clone(), target: target.to_owned(), device: None, label: None }))
}

impl Probe for Block {
    fn read(&mut self, now: Mono, _wanted: Wanted, out: &mut Readings) -> Result<(), SensorError> {
        match self.look(now, out) {
            Err(error) if disk::is_gone(&error) => {
                self.device = None;
                out.clear();
                out.note.clone_from(&self.label);
                out.flag("present", false);
                for name in ["stalled", "online", "in-flight"] {
                    out.absent(name);
                }
                Ok(())
            }
            seen => seen,
        }
    }
}

impl Block {
    fn look(&mut self, now: Mono, out: &mut Readings) -> Result<(), SensorError> {
        let device = match &mut self.device {
            Some(device) => device,
            none => {
                let name = disk::resolve(&self.root, &self.target)?;
                let device = Device::open(&self.root, &name)?;
                self.label = disk::label(&self.root, &name).map(String::into_boxed_str);
                none.insert(device)
            }
        };
        device.read(now, out)?;
        out.note.clone_from(&self.label);
        Ok(())
    }
}

impl Device {
    fn open(root: &Root, name: &str) -> Result<Self, SensorError> {
        let directory = root.path("/sys/block").join(name);
        Ok(Self {
            stat: Kept::open_short(directory.join("stat"))?,
            state: Kept::open_short(directory.join("device/state"))
                .or_else(|_| Kept::open_short(directory.join("dm/suspended")))
                .ok(),
            stall: Stall::default(),
            last: None,
            rates: [Rate::default(); 4],
        })
    }

    fn read(&mut self, now: Mono, out: &mut Readings) -> Result<(), SensorError> {
        let Some(counters) = parse(self.stat.text()?) else {
            return Err(SensorError::malformed(self.stat.path(), "a line of at least 11 numbers"));
        };
        // One that has counted before is on its way out.
        if counters == Counters::default() && self.last.is_none() {
            return Err(SensorError::Unsupported(format!(
                "{} counts nothing: the device was never used, or its queue/iostats is 0",
                self.stat.path().display()
            )));
        }
        out.flag("present", true);
        out.span("stalled", self.stall.look(now, &counters));
        out.count("in-flight", counters.in_flight);
        match &mut self.state {
            None => out.absent("online"),
            Some(state) => {
                if let Some(online) = state.line()?.and_then(is_online) {
                    out.flag("online", online);
                }
            }
        }
        self.traffic(now, &counters, out);
        Ok(())
    }

    fn traffic(&mut self, now: Mono, counters: &Counters, out: &mut Readings) {
        let [reads, writes] = counters.ended;
        let [read, written] = counters.sectors;
        let named = [
            ("reads", reads, 1.0),
            ("writes", writes, 1.0),
            ("read", read, SECTOR_BYTES),
            ("written", written, SECTOR_BYTES),
        ];
        for (rate, (name, total, unit)) in self.rates.iter_mut().zip(named) {
            if let Some(each) = rate.per_second(now, total) {
                out.number(name, each * unit);
            }
        }
        let Some((then, last)) = self.last.replace((now, *counters)) else { return };
        let both = counters.took.into_iter().zip(last.took);
        let both = both.zip(counters.ended.into_iter().zip(last.ended));
        for (name, ((took, took_last), (ended, ended_last))) in
            ["read-time", "write-time"].into_iter().zip(both)
        {
            match (took.checked_sub(took_last), ended.checked_sub(ended_last)) {
                (_, Some(0)) => out.absent(name),
                (Some(took), Some(ended)) => {
                    out.number(name, Span::from_millis(took).as_secs_f64() / ended as f64);
                }
                (None, _) | (_, None) => {}
            }
        }
        let passed = now.since(then).as_secs_f64();
        if let Some(busy) = counters.busy.checked_sub(last.busy)
            && passed > 0.0
        {
            out.number("busy", (Span::from_millis(busy).as_secs_f64() / passed).min(1.0));
        }
    }
}

/// The line of /sys/block/NAME/stat: 11 numbers, 15 since Linux 4.18 (discards), 17 since 5.5
/// (flushes).
fn parse(stat: &str) -> Option<Counters> {
    let line = text::lines(stat).next()?;
    let mut fields = [0_u64; 17];
    let mut count = 0_usize;
    for (field, word) in fields.iter_mut().zip(line.split_ascii_whitespace()) {
        *field = text::whole(word)?;
        count = count.saturating_add(1);
    }
    let [
        reads,
        reads_merged,
        sectors_read,
        read_ms,
        writes,
        writes_merged,
        sectors_written,
        write_ms,
        in_flight,
        busy,
        _,
        discards,
        discards_merged,
        _,
        _,
        flushes,
        _,
    ] = fields;
    let moves = [reads, reads_merged, writes, writes_merged, discards, discards_merged, flushes];
    (count >= 11).then(|| Counters {
        ended: [reads, writes],
        sectors: [sectors_read, sectors_written],
        took: [read_ms, write_ms],
        in_flight,
        busy,
        progress: moves.iter().fold(0, |sum: u64, count| sum.wrapping_add(*count)),
    })
}

/// From the state of a SCSI device (drivers/scsi/scsi_sysfs.c, `sdev_states`) or of an NVMe
/// controller (drivers/nvme/host/sysfs.c, `nvme_sysfs_show_state`), or from whether a mapping is
/// suspended (Documentation/ABI/testing/sysfs-block-dm): what waits for it then is not under way,
/// so it is no stall by the counters.
fn is_online(state: &str) -> Option<bool> {
    match state {
        "running" | "live" | "0" => Some(true),
        "offline" | "transport-offline" | "blocked" | "quiesce" | "cancel" | "deleted"
        | "resetting" | "connecting" | "deleting" | "deleting (no IO)" | "dead" | "1" => {
            Some(false)
        }
        _ => None,
    }
}

/// Devices with a size that have been used, but for those that are [left out](LEFT_OUT); disks
/// before what is made of them.
fn discover(root: &Root) -> Vec<String> {
    if has_foreign_devices(root) {
        return Vec::new();
    }
    let block = root.path("/sys/block");
    let names: Vec<String> = once::names(&block).into_iter().collect();
    let watched = |made: bool| {
        let block = &block;
        let is_kind = move |name: &&String| name.starts_with("dm-") == made;
        let is_watched = move |name: &&String| !is_left_out(name) && is_used(&block.join(name));
        names.iter().filter(is_kind).filter(is_watched).cloned()
    };
    watched(false).chain(watched(true)).take(disk::DISCOVERED_MAX).collect()
}

fn is_left_out(name: &str) -> bool {
    let stem = name.trim_end_matches(|digit: char| digit.is_ascii_digit());
    LEFT_OUT.contains(&stem)
}

/// A drive without a medium, and an md array or a mapping without members, has the size 0.
fn is_used(directory: &Path) -> bool {
    let number = |name| Kept::open_short(directory.join(name)).and_then(|mut file| file.number());
    let counters = Kept::open_short(directory.join("stat"))
        .and_then(|mut stat| Ok(parse(stat.text()?).unwrap_or_default()));
    matches!(number("size"), Ok(Some(1..)))
        && counters.is_ok_and(|counters| counters != Counters::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::BOOT.after(Span::from_secs(seconds))
    }

    fn stalls(readings: &[(u64, u64)]) -> Vec<f64> {
        let mut stall = Stall::default();
        let mut look = |second: usize, (progress, in_flight)| {
            let counters = Counters { progress, in_flight, ..Counters::default() };
            stall.look(at(second as u64), &counters).as_secs_f64()
        };
        readings.iter().enumerate().map(|(second, reading)| look(second, *reading)).collect()
    }

    #[test]
    fn a_stall_is_requests_under_way_and_no_end() {
        for (what, readings, expected) in [
            ("works", vec![(5, 1), (6, 1), (7, 2), (8, 1)], vec![0.0, 0.0, 0.0, 0.0]),
            ("rests", vec![(5, 0), (5, 0), (5, 0)], vec![0.0, 0.0, 0.0]),
            ("from the start", vec![(5, 1), (5, 1), (5, 3)], vec![0.0, 1.0, 2.0]),
            ("after work", vec![(5, 0), (6, 1), (6, 1), (6, 1)], vec![0.0, 0.0, 1.0, 2.0]),
            ("after rest", vec![(5, 0), (5, 1), (5, 1)], vec![0.0, 0.0, 1.0]),
            ("ends", vec![(5, 1), (5, 1), (6, 1), (6, 1)], vec![0.0, 1.0, 0.0, 1.0]),
        ] {
            assert_eq!(stalls(&readings), expected, "{what}");
        }
    }

    #[test]
    fn a_request_that_ended_between_two_counters_is_no_stall() {
        assert_eq!(stalls(&[(5, 1), (5, 0), (5, 0), (5, 1)]), [0.0; 4]);
    }

    #[test]
    fn a_reset_of_the_controller_does_not_end_a_stall() {
        let readings = [(5, 2), (5, 2), (5, 0), (5, 0), (5, 2), (7, 0), (7, 0)];
        assert_eq!(stalls(&readings), [0.0, 1.0, 2.0, 3.0, 4.0, 0.0, 0.0]);
    }

    #[test]
    fn lines_of_old_and_new_kernels_are_read() {
        let old = "1 2 3 4 5 6 7 8 9 10 11\n";
        let counters = parse(old).unwrap();
        assert_eq!(counters.ended, [1, 5]);
        assert_eq!(counters.sectors, [3, 7]);
        assert_eq!(counters.took, [4, 8]);
        assert_eq!((counters.in_flight, counters.busy), (9, 10));
        assert_eq!(counters.progress, 1 + 2 + 5 + 6);
        let new = parse("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18\n").unwrap();
        assert_eq!(new.progress, 1 + 2 + 5 + 6 + 12 + 13 + 16);
        for bad in [
            "",
            "\n",
            "1 2 3 4 5 6 7 8 9 10\n",
            "1 2 3 4 5 6 7 8 9 10 11",
            "1 2 x 4 5 6 7 8 9 10 11\n",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn names_are_left_out_by_their_stem() {
        for (name, left_out) in [
            ("loop0", true),
            ("zram1", true),
            ("sr0", true),
            ("fd0", true),
            ("sda", false),
            ("nvme0n1", false),
            ("md127", false),
            ("dm-3", false),
            ("srx", false),
        ] {
            assert_eq!(is_left_out(name), left_out, "{name}");
        }
    }
}
