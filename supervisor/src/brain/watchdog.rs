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
use crate::clock::boot_id;
use crate::config::pair::PairConfig;
use crate::config::{Config, DeviceChoice, WatchdogConfig};
use crate::control::{Answer, WatchdogStatus};
use crate::flight::{Kind, ROOT_LIMIT, TIMEOUT};
use crate::keeper::shell::Notice;
use crate::petter::choose::{Id, Wanted};
use crate::petter::{self, Armed, Order, Petter, Start, State, Times};

/// A driver that takes longer to release its device is not waited for: PID 1 would kill the daemon
/// (`TimeoutStopSec=`). Most take microseconds, a busy BMC takes many seconds.
const RELEASE_WITHIN: Span = Span::from_secs(60);
/// For the rest of the daemon, after that.
const RELEASE_MORE: Span = Span::from_secs(5);
/// What the last steps of a shutdown may take, once all services have ended: as PID 1 has it
/// (`RebootWatchdogSec=`, systemd-system.conf(5)).
const LAST_STEPS: Span = Span::from_secs(600);
mod proof;
mod stops;

pub use proof::{Proven, SAVED_LATE, Testing};

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
    /// The times that the device was last asked to take, where they had to wait.
    asked: Option<Times>,
}

impl Dog {
    /// Starts the petter if a device of our own is wanted.
    pub(super) fn start(
        config: &Config,
        memory: WatchdogMemory,
        inherited: Option<OwnedFd>,
        brain: Arc<Waker>,
    ) -> std::io::Result<Self> {
        let careful = config.pair.as_ref().is_some_and(PairConfig::has_data);
        let config = config.watchdog.as_ref();
        let wanted = config.and_then(|config| match &config.device {
            DeviceChoice::Auto => Some((Wanted::Auto(memory.device.clone()), config)),
            DeviceChoice::Path(path) => Some((Wanted::Path(path.clone()), config)),
            DeviceChoice::Pid1 | DeviceChoice::Off => None,
        });
        let petter = match wanted {
            Some((wanted, config)) => {
                let start = Start { wanted, times: times(config), careful };
                Some(Petter::start(start, inherited, brain)?)
            }
            None => {
                // A daemon before this one had one.
                petter::stop(inherited);
                None
            }
        };
        let (config, wishes) = (config.cloned(), Wishes::default());
        Ok(Self {
            config,
            petter,
            memory,
            wishes,
            refusal: None,
            why_none: None,
            ends_by: None,
            asked: None,
        })
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

fn times(config: &WatchdogConfig) -> Times {
    let WatchdogConfig { timeout, pretimeout, governor, .. } = *config;
    Times { timeout, pretimeout, governor }
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
                Some(refusal) => {
                    let is_lease = matches!(refusal, Refusal::Lease | Refusal::Sweep);
                    let held = if is_lease { self.held() } else { String::new() };
                    let why = format!("{refusal}{held}");
                    if refusal != Refusal::SelfTest {
                        self.flight.note(Kind::Refused, &why, now);
                    }
                    match refusal {
                        // No start without memory can do without; if it lasts that is another one.
                        Refusal::Sweep => {
                            (Severity::Notice, format!("the watchdog is not petted yet: {why}"))
                        }
                        _ => (Severity::Error, format!("the watchdog is not petted: {why}")),
                    }
                }
                None => {
                    self.note_armed(now);
                    let again = if had == Some(Refusal::Sweep) { "" } else { " again" };
                    (Severity::Notice, format!("the watchdog is petted{again}"))
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
        let root_limit = self.dog.config.as_ref().and_then(|config| config.root_dead_after);
        let mut text = format!("{}{place}", id.identity);
        for (name, span) in [(TIMEOUT, timeout), (ROOT_LIMIT, root_limit)] {
            if let Some(span) = span {
                text.push_str(name);
                text.push_str(&span.to_string());
            }
        }
        self.flight.note(Kind::Armed, &text, now);
    }

    /// Once a second: what the keeper must know.
    pub(super) fn tell_watchdog(&mut self, now: Mono) {
        self.go_on_testing(now);
        let limit = self.dog.config.as_ref().and_then(|config| config.root_dead_after);
        self.dog.wishes.root = limit.map(|limit| (now.before(self.flight.silent_for()), limit));
        self.dog.wishes.observes = self.boot_loop.observes();
        self.dog.wishes.resets = self.going.stops_petting();
        let wishes = self.dog.wishes;
        self.keeper.wish(wishes);
        self.tell_stops(now);
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

    /// Whether another file can be taken over while the daemon runs.
    ///
    /// # Errors
    /// When it wants another device: that needs a restart.
    pub(super) fn allows_watchdog(&self, new: Option<&WatchdogConfig>) -> Result<(), String> {
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
        Ok(())
    }

    /// Another file. Its times are given to the device as soon as that takes them.
    pub(super) fn adopt_watchdog(&mut self, new: Option<&WatchdogConfig>, now: Mono) {
        let limit = |config: Option<&WatchdogConfig>| config.and_then(|it| it.root_dead_after);
        let same = limit(self.dog.config.as_ref()) == limit(new);
        self.dog.config = new.cloned();
        // While petting is refused, that is what must stay the last word.
        if !same && self.dog.refusal.is_none() {
            self.note_armed(now);
        }
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
            // A test would cut it short.
            self.dog.wishes.self_test = None;
            self.dog.memory.testing = None;
            self.let_go();
            self.leave_to_pid1(now);
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
        self.count_reset(&boot, what, now);
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
            if now >= ends_by && !petter.has_ended() {
                log::error!(
                    "the watchdog's driver has not answered for {RELEASE_WITHIN}: this machine is \
                     reset unless mastiffd runs again within the time-out"
                );
                return true;
            }
            return petter.has_ended();
        }
        self.dog.ends_by = Some(now.after(RELEASE_WITHIN));
        self.notify.needs(RELEASE_WITHIN.plus(RELEASE_MORE));
        // Who switches the machine off wants it off: a device that goes on would start it again.
        let last = last_steps();
        let order = match (self.dog.wishes.down_by, last) {
            // What runs on is ended by the device alone, should no daemon come back for it.
            _ if self.has_exclusive() => Order::Abandon { follows: self.leaves_groups() },
            (None, None) if self.leaves_groups() => Order::Pass,
            (_, Some(LastSteps::Off)) | (None, None) => Order::Release,
            (Some(down_by), _) => Order::Leave(down_by.since(now).min(LAST_STEPS)),
            (None, Some(LastSteps::Restart)) => Order::Leave(LAST_STEPS),
        };
        !petter.order(order)
    }

    /// When the petter's end is no longer waited for, once it was told to end.
    pub(super) fn watchdog_deadline(&self) -> Option<Mono> {
        self.dog.ends_by
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
        status.alarm = Some(shown.says.wrong()).filter(|wrong| !wrong.is_empty());
        (status.celsius, status.timeleft_secs) = (shown.says.celsius, shown.says.timeleft_secs);
        match shown.state {
            State::Looking(why) => status.why_none = why.or(Some("it is looked for".to_string())),
            State::Released | State::Left => status.why_none = Some("it was let go".to_string()),
            State::Armed(armed) => {
                let secs = |span: Option<Span>| span.map(|span| span.as_millis() / 1000);
                status.petted_secs_ago = Some(now.since(petter.petted_at()).as_secs_f64());
                status.fires_after_secs = secs(proof::fires_after(&armed, proven));
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

/// How a machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastSteps {
    /// Another kernel follows.
    Restart,
    /// Nothing does.
    Off,
}

/// How PID 1 ends the machine, once it is what systemd becomes for the last steps
/// (systemd-shutdown(8), whose first argument says so).
fn last_steps() -> Option<LastSteps> {
    let comm = std::fs::read_to_string("/proc/1/comm").ok()?;
    if !comm.starts_with("systemd-shutdow") {
        return None;
    }
    let line = std::fs::read("/proc/1/cmdline").unwrap_or_default();
    let verb = line.split(|byte| *byte == 0).nth(1).unwrap_or_default();
    let is_off = [&b"poweroff"[..], b"halt"].contains(&verb);
    Some(if is_off { LastSteps::Off } else { LastSteps::Restart })
}
