//! What the driver of the device says beside counting: what is wrong, how warm it is, how much time
//! is left. For drivers outside the class nothing else tells; for the others sysfs has a part.

use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::watchdog::{device::Device, flags};

/// How often it is asked: each question is a call that may take a while (USB, IPMI), and is asked
/// right after a pet.
const EVERY: Span = Span::from_secs(60);

/// What it said last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Says {
    /// What is wrong, as bits (linux/watchdog.h); `None`: it does not say.
    pub alarms: Option<u32>,
    /// Degrees Celsius; `None`: it has no thermometer.
    pub celsius: Option<i32>,
    /// Seconds that were left right after a pet; `None`: it does not say.
    pub timeleft_secs: Option<u32>,
}

impl Says {
    fn ask(device: &Device) -> Self {
        Self {
            alarms: device.alarms().ok(),
            celsius: device.celsius().ok(),
            timeleft_secs: device.timeleft().ok(),
        }
    }

    /// What is wrong, in words.
    #[must_use]
    pub fn wrong(self) -> String {
        let words: Vec<&str> = flags(u64::from(self.alarms.unwrap_or(0))).collect();
        words.join(", ")
    }
}

/// When it was asked, and what it said.
#[derive(Debug, Default)]
pub(super) struct Asked {
    last: Option<(Mono, Says)>,
}

impl Asked {
    /// Asks if it is time to; what it says then, and whether it says other alarms than before.
    pub(super) fn ask(&mut self, device: &Device, now: Mono) -> Option<(Says, bool)> {
        if self.last.is_some_and(|(at, _)| now.since(at) < EVERY) {
            return None;
        }
        let says = Says::ask(device);
        let before = self.last.replace((now, says)).and_then(|(_, says)| says.alarms);
        Some((says, before.unwrap_or(0) != says.alarms.unwrap_or(0)))
    }
}
