//! The clocks of one machine, as functions of the true time.

use mastiff_core::pair::clock::Clocks;
use mastiff_core::time::Mono;

/// True time: nanoseconds since the world began.
pub type Time = i64;

/// A millisecond.
pub const MS: Time = 1_000_000;
/// A second.
pub const SECOND: Time = 1_000 * MS;

/// Two clocks with rates, each rebased when a rate changes.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    since: Time,
    boot: i64,
    raw: i64,
    /// Parts per million that the boot clock runs too fast: oscillator and slewing.
    boot_ppm: i64,
    /// The same of the raw clock: the oscillator alone.
    raw_ppm: i64,
    boot_runs: bool,
    raw_runs: bool,
}

impl Clock {
    /// A machine that boots at `now`, with an oscillator that is `ppm` too fast.
    #[must_use]
    pub const fn boot(now: Time, ppm: i64) -> Self {
        Self {
            since: now,
            boot: SECOND,
            raw: SECOND,
            boot_ppm: ppm,
            raw_ppm: ppm,
            boot_runs: true,
            raw_runs: true,
        }
    }

    /// What the clocks show.
    #[must_use]
    pub const fn read(&self, now: Time) -> Clocks {
        let passed = now - self.since;
        let boot = if self.boot_runs { scaled(passed, self.boot_ppm) } else { 0 };
        let raw = if self.raw_runs { scaled(passed, self.raw_ppm) } else { 0 };
        Clocks { boot: Mono::from_nanos(self.boot + boot), raw: Mono::from_nanos(self.raw + raw) }
    }

    /// When the boot clock will show `deadline`.
    #[must_use]
    pub fn when(&self, deadline: Mono, now: Time) -> Time {
        let left = deadline.as_nanos().saturating_sub(self.read(now).boot.as_nanos());
        // Nothing is waited for longer than this: the next beat comes long before.
        let left = left.clamp(0, 3600 * SECOND);
        now + left * 1000 / (1_000_000 + self.boot_ppm) * 1000 + 1000
    }

    /// When the first of both clocks will show `deadline`, if nothing bends them meanwhile.
    #[must_use]
    pub fn when_first(&self, deadline: Clocks, now: Time) -> Time {
        let shown = self.read(now);
        let passes = |deadline: Mono, shown: Mono, ppm: i64| {
            let left = deadline.as_nanos().saturating_sub(shown.as_nanos());
            now.saturating_add(left.saturating_sub(left / (1_000_000 + ppm) * ppm))
        };
        let boot = passes(deadline.boot, shown.boot, self.boot_ppm);
        boot.min(passes(deadline.raw, shown.raw, self.raw_ppm))
    }

    fn rebase(&mut self, now: Time) {
        let shown = self.read(now);
        (self.boot, self.raw) = (shown.boot.as_nanos(), shown.raw.as_nanos());
        self.since = now;
    }

    /// Time synchronisation bends the boot clock by so many parts per million; zero ends it.
    pub fn slew(&mut self, ppm: i64, now: Time) {
        self.rebase(now);
        self.boot_ppm = self.raw_ppm + ppm;
    }

    /// Suspend: one clock goes on. A stopped world: none does.
    pub fn run(&mut self, boot: bool, raw: bool, now: Time) {
        self.rebase(now);
        (self.boot_runs, self.raw_runs) = (boot, raw);
    }
}

const fn scaled(passed: Time, ppm: i64) -> i64 {
    passed + passed / 1000 * ppm / 1000
}
