//! The self-test of the watchdog: armed is not proven.

use mastiff_core::report::Severity;
use mastiff_core::time::{Mono, Span};
use serde::{Deserialize, Serialize};

use super::super::Brain;
use crate::clock::{self, boot_id};
use crate::control::Answer;
use crate::flight::Kind;
use crate::petter::choose::Id;
use crate::petter::{Armed, Order, Petter, Times};

/// How much longer than a device says it may take to fire: some count twice (iTCO), and a machine
/// needs a moment.
const FIRES_WITHIN_TIMES: u64 = 3;
const FIRES_WITHIN_MORE: Span = Span::from_secs(10);
/// What it is proven with is saved once a second; the write itself takes a moment.
pub const SAVED_LATE: Span = Span::from_secs(2);

/// A self-test under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Testing {
    /// Of which device.
    pub device: Id,
    /// What it said its time-out was, in seconds.
    pub timeout_secs: u64,
    /// In which boot.
    pub boot_id: String,
    /// Unix time of its begin, in milliseconds.
    pub at_unix_ms: u64,
    /// Seconds since the last pet, when that was last saved.
    pub unpetted_secs: u64,
}

/// A self-test that ended with a reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proven {
    /// Of which device.
    pub device: Id,
    /// What it said its time-out was, in seconds.
    pub timeout_secs: u64,
    /// Unix time of the test's begin, in milliseconds.
    pub at_unix_ms: u64,
    /// It fired at least so many seconds after the last pet, and at most [`SAVED_LATE`] later.
    pub fired_after_secs: u64,
}

/// After how long a device fires, as far as is known: what it says, or what it was seen to take if
/// that was longer.
pub(super) fn fires_after(armed: &Armed, proven: Option<&Proven>) -> Option<Span> {
    let said = armed.timeout?;
    let is_same = |proven: &&Proven| {
        proven.device == armed.id && Span::from_secs(proven.timeout_secs) == said
    };
    let seen = proven.filter(is_same).map(|proven| Span::from_secs(proven.fired_after_secs));
    Some(seen.filter(|seen| *seen > said).map_or(said, |seen| seen.plus(SAVED_LATE)))
}

impl Brain {
    /// What became of a self-test.
    pub(super) fn end_self_test(&mut self) {
        let Some(testing) = self.dog.memory.testing.take() else { return };
        let Testing { device, timeout_secs, boot_id: boot, at_unix_ms, unpetted_secs } = testing;
        let (kind, severity, text) = if boot == boot_id() {
            let text = "the self-test of the watchdog ended with the daemon".to_string();
            ("watchdog-not-proven", Severity::Warning, text)
        } else if unpetted_secs.saturating_add(SAVED_LATE.as_millis() / 1000) < timeout_secs {
            let text = format!(
                "the machine was reset {unpetted_secs} s into the self-test of the watchdog, which \
                 fires after {timeout_secs} s: something else reset it; nothing is proven"
            );
            ("watchdog-not-proven", Severity::Warning, text)
        } else {
            let text = format!(
                "{} is proven: it reset this machine {unpetted_secs} s after its last pet \
                 (time-out {timeout_secs} s)",
                device.identity
            );
            let fired_after_secs = unpetted_secs;
            self.dog.memory.proven =
                Some(Proven { device, timeout_secs, at_unix_ms, fired_after_secs });
            ("watchdog-proven", Severity::Notice, text)
        };
        self.events.record(kind, severity, None, &text);
    }

    /// Begins a self-test: the device is not petted until it fires, or should have.
    pub(in crate::brain) fn prove(&mut self, now: Mono) -> Answer {
        let refuse = |why: &str| Answer::Error(format!("the watchdog is not proven now: {why}"));
        let Some(armed) = self.dog.armed() else {
            return refuse("mastiffd has no device of its own; see `mastiff watchdog status`");
        };
        let Some(timeout) = armed.timeout else {
            return refuse("its driver does not say after how long it fires");
        };
        if self.dog.wishes.self_test.is_some() {
            return refuse("a self-test is under way already");
        }
        if self.goes_down() || self.going.is_wanted() || self.dog.refusal.is_some() {
            return refuse("it is not petted anyhow, or the machine goes down");
        }
        if self.boot_loop.observes() {
            return refuse("this boot only observes (boot-loop guard)");
        }
        if !self.has_let_go() {
            return refuse("this node has a group; hand it over first with `mastiff switchover`");
        }
        if !self.silence_warning() {
            return refuse("its driver is busy; try again");
        }
        let within = timeout.times(FIRES_WITHIN_TIMES).plus(FIRES_WITHIN_MORE);
        self.dog.wishes.self_test = Some(now.after(within));
        self.dog.memory.testing = Some(Testing {
            device: armed.id,
            timeout_secs: timeout.as_millis() / 1000,
            boot_id: boot_id(),
            at_unix_ms: u64::try_from(clock::unix_nanos() / 1_000_000).unwrap_or(0),
            unpetted_secs: 0,
        });
        let text = format!(
            "a self-test of the watchdog begins: this machine is to be reset in {timeout}, and \
             the watchdog is petted again after {within}"
        );
        self.events.record("self-test", Severity::Warning, None, &text);
        self.tell_watchdog(now);
        Answer::Done(text)
    }

    /// Has the device give no warning before it fires, where one is configured: the kernel may
    /// panic at it, and then it was not the device that reset the machine. Whether that could be
    /// ordered.
    fn silence_warning(&self) -> bool {
        let Some(config) = &self.dog.config else { return true };
        let Some(petter) = self.dog.petter.as_ref().filter(|_| config.pretimeout.is_some()) else {
            return true;
        };
        let times = super::times(config);
        let silent = Times { pretimeout: Some(Span::ZERO), governor: None, ..times };
        petter.order(Order::Configure(silent))
    }

    /// Keeps on disk how long it has not been petted, for whoever comes after the reset.
    pub(super) fn go_on_testing(&mut self, now: Mono) {
        let Some(until) = self.dog.wishes.self_test else { return };
        let petted_at = self.dog.petter.as_ref().map_or(now, Petter::petted_at);
        let unpetted = now.since(petted_at);
        if now < until {
            if let Some(testing) = &mut self.dog.memory.testing {
                testing.unpetted_secs = unpetted.as_millis() / 1000;
            }
            self.flight.note(Kind::SelfTest, &format!("{unpetted} after the last pet"), now);
            self.save.due = Some(now);
            return;
        }
        self.dog.wishes.self_test = None;
        // It is given its own times again.
        self.dog.asked = None;
        self.dog.memory.testing = None;
        self.dog.memory.proven = None;
        self.save_soon(now);
        let text = format!(
            "the watchdog did NOT reset this machine within {unpetted}: it does not work; look in \
             the firmware's settings for a watchdog that is off, or locked (NO_REBOOT)"
        );
        self.events.record("watchdog-not-proven", Severity::Error, None, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armed(timeout: Option<u64>) -> Armed {
        Armed {
            name: None,
            id: Id { identity: "iTCO_wdt".into(), ..Id::default() },
            is_software: false,
            timeout: timeout.map(Span::from_secs),
            pretimeout: None,
            ungoverned: None,
            nowayout: None,
            bootstatus: None,
            adopted: false,
            magic_close: true,
            given: None,
        }
    }

    #[test]
    fn a_device_that_was_seen_to_take_longer_than_it_says_is_taken_at_that() {
        let proven = |identity: &str, fired_after_secs| Proven {
            device: Id { identity: identity.into(), ..Id::default() },
            timeout_secs: 30,
            at_unix_ms: 0,
            fired_after_secs,
        };
        let after = |timeout, proven: Option<&Proven>| {
            fires_after(&armed(timeout), proven).map(|span| span.as_millis() / 1000)
        };
        assert_eq!(after(Some(30), None), Some(30));
        assert_eq!(after(Some(30), Some(&proven("iTCO_wdt", 29))), Some(30), "saved a moment ago");
        assert_eq!(after(Some(30), Some(&proven("iTCO_wdt", 60))), Some(62), "it counts twice");
        assert_eq!(after(Some(30), Some(&proven("another", 60))), Some(30));
        assert_eq!(after(Some(20), Some(&proven("iTCO_wdt", 60))), Some(20), "another time-out");
        assert_eq!(after(None, Some(&proven("iTCO_wdt", 60))), None);
    }
}
