//! Growth of a counter between two readings.

use mastiff_core::time::Mono;

/// What is remembered of a counter to tell its rate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    last: Option<(Mono, u64)>,
}

impl Rate {
    /// The growth in each second since the last call.
    ///
    /// `None`, so that the rate stays missing: at the first call, when no time has passed, and when
    /// the counter fell, which means that its source was restarted.
    pub fn per_second(&mut self, now: Mono, total: u64) -> Option<f64> {
        let (then, before) = self.last.replace((now, total))?;
        let seconds = now.since(then).as_secs_f64();
        let growth = total.checked_sub(before)?;
        if seconds > 0.0 { Some(growth as f64 / seconds) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mastiff_core::time::Span;

    #[test]
    fn a_rate_needs_two_readings_and_a_counter_that_does_not_fall() {
        let mut rate = Rate::default();
        let at = |secs| Mono::BOOT.after(Span::from_secs(secs));
        assert_eq!(rate.per_second(at(0), 100), None);
        assert_eq!(rate.per_second(at(2), 110), Some(5.0));
        assert_eq!(rate.per_second(at(2), 120), None, "no time has passed");
        assert_eq!(rate.per_second(at(4), 3), None, "restarted");
        assert_eq!(rate.per_second(at(5), 3), Some(0.0));
    }
}
