//! The brain's part of the watchdog: which device is wanted, what the keeper must know, how it
//! ends, and the self-test that shows that it fires.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use mastiff_core::report::Severity;
use mastiff_core::time::{Mono, Span};
use mastiff_core::watchdog::{Refusal, Wishes};
use mastiff_hwmon::root::Root;
use mastiff_hwmon::watchdog;
use mio::Waker;
use serde::{Deserialize, Serialize};

use super::Brain;
use crate::clock::{self, boot_id};
use crate::config::{DeviceChoice, WatchdogConfig};
use crate::control::{Answer, WatchdogStatus};
use crate::flight::Kind;
use crate::keeper::shell::Notice;
use crate::petter::choose::{Id, Wanted};
use crate::petter::{self, Armed, Order, Petter, State, Times};

/// A driver that takes longer to release its device is not waited for: PID 1 would kill the daemon
/// (`TimeoutStopSec=`).
const RELEASE_WITHIN: Span = Span::from_secs(7);
/// How much longer than a device says it may take to fire: some count twice (iTCO), and a machine
/// needs a moment.
const FIRES_WITHIN_TIMES: u64 = 3;
const FIRES_WITHIN_MORE: Span = Span::from_secs(10);
/// What it is proven with is saved once a second; the write itself takes a moment.
pub const SAVED_LATE: Span = Span::from_secs(2);

/// What the state file keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchdogMemory {
    /// The device of before.
    #[serde(default)]
    pub device: Option<Id>,
    /// The boot in which it is armed and no shutdown has begun.
    #[serde(default)]
    pub watched_boot: Option<String>,
    /// A self-test that was under way.
    #[serde(default)]
    pub testing: Option<Testing>,
    /// The last one that was seen to reset the machine.
    #[serde(default)]
    pub proven: Option<Proven>,
}

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

/// The watchdog, as the brain knows it.
#[derive(Debug)]
pub(super) struct Dog {
    config: Option<WatchdogConfig>,
    petter: Option<Petter>,
    pub(super) memory: WatchdogMemory,
    wishes: Wishes,
    refusal: Option<Refusal>,
    /// Why PID 1 has no device, as it was told.
    why_none: Option<String>,
    /// Until when a petter that was told to end is waited for.
    ends_by: Option<Mono>,
}

impl Dog {
    /// Starts the petter if a device of our own is wanted.
    pub(super) fn start(
        config: Option<&WatchdogConfig>,
        memory: WatchdogMemory,
        inherited: Option<OwnedFd>,
        brain: Arc<Waker>,
    ) -> std::io::Result<Self> {
        let wanted = config.and_then(|config| match &config.device {
            DeviceChoice::Auto => Some((Wanted::Auto(memory.device.clone()), config)),
            DeviceChoice::Path(path) => Some((Wanted::Path(path.clone()), config)),
            DeviceChoice::Pid1 | DeviceChoice::Off => None,
        });
        let petter = match wanted {
            Some((wanted, config)) => Some(Petter::start(wanted, times(config), inherited, brain)?),
            None => {
                // A daemon before this one had one.
                let stopped = inherited.map(|fd| petter::left(fd).and_then(petter::Left::stop));
                stopped.unwrap_or(Ok(())).unwrap_or_else(|why| log::error!("{why}"));
                None
            }
        };
        let (config, wishes) = (config.cloned(), Wishes::default());
        Ok(Self { config, petter, memory, wishes, refusal: None, why_none: None, ends_by: None })
    }

    /// What the keeper needs.
    pub(super) fn permits(&self) -> Option<petter::Permits> {
        self.petter.as_ref().map(Petter::permits)
    }

    fn armed(&self) -> Option<Armed> {
        match self.petter.as_ref()?.shown().state {
            State::Armed(armed) => Some(*armed),
            State::Looking(_) | State::Released | State::Left => None,
        }
    }
}

/// After how long a device fires, as far as is known: what it says, or what it was seen to take if
/// that was longer.
fn fires_after(armed: &Armed, proven: Option<&Proven>) -> Option<Span> {
    let said = armed.timeout?;
    let is_same = |proven: &&Proven| {
        proven.device == armed.id && Span::from_secs(proven.timeout_secs) == said
    };
    let seen = proven.filter(is_same).map(|proven| Span::from_secs(proven.fired_after_secs));
    Some(seen.filter(|seen| *seen > said).map_or(said, |seen| seen.plus(SAVED_LATE)))
}

fn times(config: &WatchdogConfig) -> Times {
    Times { timeout: config.timeout, pretimeout: config.pretimeout }
}

impl Brain {
    /// At the start: what the boot before has left.
    pub(super) fn look_back(&mut self, now: Mono) {
        // Before the lost boot, which says so by itself where it makes this one observe.
        self.say_observes();
        self.count_lost_boot(now);
        self.end_self_test();
        self.license();
    }

    /// What became of a self-test.
    fn end_self_test(&mut self) {
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

    /// What is due: notices of the petter, a refusal that began or ended, the keeper's knowledge.
    pub(super) fn keep_watchdog(&mut self, now: Mono) {
        let notices: Vec<_> = self.dog.petter.iter().flat_map(Petter::notices).collect();
        for notice in notices {
            self.take_notice(&notice, now);
            self.events.record(notice.kind, notice.severity, None, &notice.text);
        }
        let refusal = self.keeper.latest().and_then(|report| report.refusal);
        let had = std::mem::replace(&mut self.dog.refusal, refusal);
        let same = had.map(|old| std::mem::discriminant(&old))
            == refusal.map(|new| std::mem::discriminant(&new));
        if !same && self.dog.petter.is_some() {
            let (severity, text) = match refusal {
                Some(why) => {
                    if why != Refusal::SelfTest {
                        self.flight.note(Kind::Refused, &why.to_string(), now);
                    }
                    (Severity::Error, format!("the watchdog is not petted: {why}"))
                }
                None => {
                    self.note_armed(now);
                    (Severity::Notice, "the watchdog is petted again".to_string())
                }
            };
            self.events.record("watchdog-refused", severity, None, &text);
        }
    }

    fn take_notice(&mut self, notice: &Notice, now: Mono) {
        match notice.kind {
            petter::ARMED => {
                self.note_armed(now);
                self.dog.memory.device = self.dog.armed().map(|armed| armed.id);
                self.dog.memory.watched_boot = Some(boot_id());
                self.save_soon(now);
            }
            petter::RELEASED => self.flight.note(Kind::Disarmed, &notice.text, now),
            _ => {}
        }
    }

    fn note_armed(&mut self, now: Mono) {
        let Some(Armed { id, timeout, .. }) = self.dog.armed() else { return };
        let place = match (id.driver, id.parent) {
            (Some(driver), Some(parent)) => format!(" ({driver} at {parent})"),
            (Some(part), None) | (None, Some(part)) => format!(" ({part})"),
            (None, None) => String::new(),
        };
        let timeout = timeout.map_or(String::new(), |it| format!(", time-out {it}"));
        let text = format!("{}{place}{timeout}", id.identity);
        self.flight.note(Kind::Armed, &text, now);
    }

    /// Once a second: what the keeper must know.
    pub(super) fn tell_watchdog(&mut self, now: Mono) {
        self.go_on_testing(now);
        let limit = self.dog.config.as_ref().and_then(|config| config.root_dead_after);
        self.dog.wishes.root = limit.map(|limit| (self.flight.answered_at(), limit));
        self.dog.wishes.observes = self.boot_loop.observes();
        self.dog.wishes.resets = self.going.stops_petting();
        let wishes = self.dog.wishes;
        self.keeper.wish(wishes);
    }

    /// Looks whether PID 1 has a device, where it is PID 1 that pets.
    pub(super) fn look_at_pid1(&mut self) {
        let is_pid1 = |config: &WatchdogConfig| config.device == DeviceChoice::Pid1;
        if !self.dog.config.as_ref().is_some_and(is_pid1) {
            return;
        }
        let why = watchdog::held_by(&Root::machine(), 1).is_empty().then(|| {
            "PID 1 has no watchdog device: set RuntimeWatchdogSec= in /etc/systemd/system.conf, \
             then: systemctl daemon-reexec"
                .to_string()
        });
        if let Some(why) = why.as_ref().filter(|why| self.dog.why_none.as_ref() != Some(why)) {
            self.events.record("watchdog-missing", Severity::Warning, None, why);
        }
        self.dog.why_none = why;
    }

    /// Another file: its times hold at once.
    ///
    /// # Errors
    /// When it wants another device: that needs a restart.
    pub(super) fn adopt_watchdog(&mut self, new: Option<&WatchdogConfig>) -> Result<(), String> {
        let device = |config: Option<&WatchdogConfig>| {
            config.map_or(DeviceChoice::Off, |config| config.device.clone())
        };
        let (old, wanted) = (device(self.dog.config.as_ref()), device(new));
        if old != wanted {
            let (old, wanted) = (old.text(), wanted.text());
            return Err(format!(
                "watchdog.device: goes from \"{old}\" to \"{wanted}\" only by a restart"
            ));
        }
        let old = self.dog.config.as_ref().map(times);
        if let (Some(petter), Some(new)) = (&self.dog.petter, new)
            && old != Some(times(new))
            && !petter.order(Order::Configure(times(new)))
        {
            return Err("watchdog: its driver is busy; try again".to_string());
        }
        self.dog.config = new.cloned();
        Ok(())
    }

    /// The machine goes down: from now on nothing is repaired, groups are let go, and petting goes
    /// on until it is down, or until that has taken too long.
    pub(super) fn go_down(&mut self, how: &str, now: Mono) -> Answer {
        if self.dog.wishes.down_by.is_none() {
            let within = self.dog.config.as_ref().map(|config| config.shutdown_timeout);
            let within = within.unwrap_or(crate::config::SHUTDOWN_TIMEOUT_DEFAULT);
            self.dog.wishes.down_by = Some(now.after(within));
            let text = format!("the machine goes down ({how}); it has {within} for that");
            self.events.record("going-down", Severity::Notice, None, &text);
            self.flight.note(Kind::GoingDown, &text, now);
            self.forget_watched_boot(now);
            self.let_go(now);
            let wishes = self.dog.wishes;
            self.keeper.wish(wishes);
        }
        Answer::Done("nothing is repaired any more, and the groups are let go".to_string())
    }

    /// Whether the machine goes down.
    pub(super) fn goes_down(&self) -> bool {
        self.down_by().is_some()
    }

    /// By when it must be down.
    pub(super) fn down_by(&self) -> Option<Mono> {
        self.dog.wishes.down_by
    }

    /// Whether the machine resets when nobody pets any more.
    pub(super) fn is_watched(&self) -> bool {
        self.dog.armed().is_some()
    }

    /// A boot that ended without a shutdown, while its watchdog was armed, may have
    /// been ended by that. One that a rung ended is counted already.
    fn count_lost_boot(&mut self, now: Mono) {
        let Some(boot) = self.dog.memory.watched_boot.take() else { return };
        let known = boot == boot_id() || self.dog.memory.testing.is_some();
        if known || self.boot_loop.has_counted(&boot) {
            return;
        }
        let what = "a boot ended without a shutdown while the watchdog was armed";
        self.count_reset(what, now);
        self.events.record("lost-boot", Severity::Warning, None, what);
    }

    /// What comes now is no accident.
    pub(super) fn forget_watched_boot(&mut self, now: Mono) {
        self.dog.memory.watched_boot = None;
        self.save.due = Some(now);
    }

    /// Whether a self-test is under way.
    pub(super) fn is_tested(&self) -> bool {
        self.dog.wishes.self_test.is_some()
    }

    /// At the end of the daemon: the device is left to what follows. Whether that is done, or has
    /// taken too long.
    pub(super) fn has_left_watchdog(&mut self, now: Mono) -> bool {
        let Some(petter) = &self.dog.petter else { return true };
        if let Some(ends_by) = self.dog.ends_by {
            return petter.has_ended() || now >= ends_by;
        }
        self.dog.ends_by = Some(now.after(RELEASE_WITHIN));
        let order = match self.dog.wishes.down_by {
            Some(down_by) => Order::Leave(down_by.since(now)),
            None if pid1_is_last() => {
                let config = self.dog.config.as_ref().map(|config| config.shutdown_timeout);
                Order::Leave(config.unwrap_or(crate::config::SHUTDOWN_TIMEOUT_DEFAULT))
            }
            None => Order::Release,
        };
        !petter.order(order)
    }

    /// When the petter's end is no longer waited for, once it was told to end.
    pub(super) fn watchdog_deadline(&self) -> Option<Mono> {
        self.dog.ends_by
    }

    /// Begins a self-test: the device is not petted until it fires, or should have.
    pub(super) fn prove(&mut self, now: Mono) -> Answer {
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
        if self.goes_down() || self.dog.refusal.is_some() {
            return refuse("it is not petted anyhow, or the machine goes down");
        }
        if !self.has_let_go() {
            return refuse("this node has a group; hand it over first with `mastiff switchover`");
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

    /// Keeps on disk how long it has not been petted, for whoever comes after the reset.
    fn go_on_testing(&mut self, now: Mono) {
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
        self.dog.memory.testing = None;
        self.dog.memory.proven = None;
        self.save_soon(now);
        let text = format!(
            "the watchdog did NOT reset this machine within {unpetted}: it does not work; look in \
             the firmware's settings for a watchdog that is off, or locked (NO_REBOOT)"
        );
        self.events.record("watchdog-not-proven", Severity::Error, None, &text);
    }

    /// How it stands; `None` where none is wanted.
    pub(super) fn watchdog_status(&self, now: Mono) -> Option<WatchdogStatus> {
        let config =
            self.dog.config.as_ref().filter(|config| config.device != DeviceChoice::Off)?;
        let proven = self.dog.memory.proven.as_ref();
        let mut status = WatchdogStatus {
            device: config.device.text(),
            why_none: self.dog.why_none.clone(),
            refusal: self.dog.refusal.map(|why| why.to_string()),
            proven_at_unix_ms: proven.map(|proven| proven.at_unix_ms),
            proven_fired_after_secs: proven.map(|proven| proven.fired_after_secs),
            ..WatchdogStatus::default()
        };
        let Some(petter) = &self.dog.petter else { return Some(status) };
        let shown = petter.shown();
        (status.pets, status.failed, status.expired) = (shown.pets, shown.failed, shown.expired);
        status.slowest_ms = shown.slowest.as_secs_f64() * 1000.0;
        match shown.state {
            State::Looking(why) => status.why_none = why.or(Some("it is looked for".to_string())),
            State::Released | State::Left => status.why_none = Some("it was let go".to_string()),
            State::Armed(armed) => {
                let secs = |span: Option<Span>| span.map(|span| span.as_millis() / 1000);
                status.petted_secs_ago = Some(now.since(petter.petted_at()).as_secs_f64());
                status.fires_after_secs = secs(fires_after(&armed, proven));
                status.timeout_secs = secs(armed.timeout);
                status.pretimeout_secs = secs(armed.pretimeout);
                status.nowayout = armed.nowayout;
                status.is_software = armed.is_software;
                if proven.is_some_and(|proven| proven.device != armed.id) {
                    (status.proven_at_unix_ms, status.proven_fired_after_secs) = (None, None);
                }
                status.name = armed.name;
                status.identity = Some(armed.id.identity);
                status.driver = armed.id.driver;
            }
        }
        Some(status)
    }
}

/// Whether PID 1 is what systemd becomes for the last steps of a shutdown (systemd-shutdown(8)).
fn pid1_is_last() -> bool {
    std::fs::read_to_string("/proc/1/comm").is_ok_and(|comm| comm.starts_with("systemd-shutdow"))
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
            nowayout: None,
            bootstatus: None,
            adopted: false,
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
