//! The one way to read the clock.

use mastiff_core::pair::clock::{Clocks, Now};
use mastiff_core::time::Mono;
use nix::time::{ClockId, clock_gettime};

/// Now, by `CLOCK_BOOTTIME`: it counts suspend and nobody can set it.
///
/// clock_gettime(2) fails only for a clock that the kernel does not have; this one exists since
/// Linux 2.6.39. Were it to fail all the same, time would stand still at boot: nothing is
/// confirmed, nothing expires, nothing is petted.
pub fn now() -> Mono {
    read(ClockId::CLOCK_BOOTTIME)
}

/// Now, by both clocks of leases and promises: `CLOCK_BOOTTIME` and `CLOCK_MONOTONIC_RAW`
/// (clock_gettime(2); the second since Linux 2.6.28, and as unlikely to fail as the first).
///
/// Read after messages have been taken in, never before: a promise counts from this reading, and
/// must not be over before the lease that counts from when it was asked for. A daemon may be
/// stopped between any two of its instructions.
pub fn clocks() -> Clocks {
    Clocks { boot: now(), raw: read(ClockId::CLOCK_MONOTONIC_RAW) }
}

/// What a turn of the keeper begins with.
pub fn turn() -> Now {
    let unix_secs = u64::try_from(unix_nanos().div_euclid(1_000_000_000)).unwrap_or(0);
    Now { at: clocks(), unix_secs }
}

/// Now, by `CLOCK_MONOTONIC`, which stands still while the machine is suspended.
///
/// Only for how long somebody else has been silent: an application cannot beat in its sleep, and a
/// restart because of a suspend is a false one. Never compared with [`now`].
pub fn awake() -> Mono {
    read(ClockId::CLOCK_MONOTONIC)
}

fn read(clock: ClockId) -> Mono {
    clock_gettime(clock).map_or(Mono::BOOT, |at| {
        Mono::from_nanos(at.tv_sec().saturating_mul(1_000_000_000).saturating_add(at.tv_nsec()))
    })
}

/// Unix time in nanoseconds. For people and for moments that outlive a boot; never for a decision.
pub fn unix_nanos() -> i64 {
    clock_gettime(ClockId::CLOCK_REALTIME)
        .map_or(0, |at| at.tv_sec().saturating_mul(1_000_000_000).saturating_add(at.tv_nsec()))
}

/// Names the boot that [`now`] counts from (random(4), `boot_id`); empty where the kernel does not
/// say, which is no boot that was ever written down.
pub fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    text.map(|text| text.trim().to_string()).unwrap_or_default()
}

/// A moment of Unix time as people and logs write it: `2026-11-21T03:19:33Z`.
pub fn utc(unix_nanos: i64) -> String {
    let secs = unix_nanos.div_euclid(1_000_000_000);
    let (days, of_day) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The Gregorian date of a day counted from 1970-01-01. Years are counted from March, so that the
/// leap day is the last one of a year and months have a regular rhythm of 153 days in five.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days.saturating_add(719_468);
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_231_173, "2026-11-21T03:19:33Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(secs * 1_000_000_000), text);
        }
    }
}
