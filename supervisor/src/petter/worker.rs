//! The petter's thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use mastiff_core::report::Severity;
use mastiff_core::time::Span;
use mastiff_hwmon::host::is_machine;
use mastiff_hwmon::root::Root;
use mastiff_hwmon::watchdog::device::Device;
use mastiff_hwmon::watchdog::{self, Kind, Watchdog, governor};
use nix::errno::Errno;

use super::choose::{self, Candidate, Id, Wanted};
use super::driver::{Asked, Says};
use super::{
    ARMED, Armed, Left, Order, RELEASED, STORED, Slot, Start, State, Times, Told, left, next,
};
use crate::{clock, fdstore};

/// How often it looks for a device that was not there: a driver is loaded late, a holder goes.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Without a permit it sleeps; this is only in case that a wake-up is lost.
const SLEEP: Duration = Duration::from_secs(60);

/// The thread's own.
#[derive(Debug)]
pub(super) struct Worker {
    start: Start,
    slot: Arc<Slot>,
    told: Told,
    inherited: Option<OwnedFd>,
    device: Option<Device>,
    armed: Option<Armed>,
    /// It has other times to be given with the next pet: to give them is to pet.
    is_untold: bool,
    /// Why there is no device, as it was told.
    why_none: Option<String>,
    /// The last pet failed, and that was told.
    failing: bool,
    /// What the driver said beside.
    asked: Asked,
}

impl Worker {
    pub(super) fn new(
        start: Start,
        inherited: Option<OwnedFd>,
        slot: Arc<Slot>,
        told: Told,
    ) -> Self {
        Self {
            start,
            slot,
            told,
            inherited,
            device: None,
            armed: None,
            is_untold: false,
            why_none: None,
            failing: false,
            asked: Asked::default(),
        }
    }

    /// Until an order ends it.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        self.inherit();
        loop {
            while let Some(order) = next(orders, self.start.careful) {
                if self.obey(&order) {
                    return;
                }
            }
            // To open a device is to pet it.
            if self.device.is_none() && (!self.start.careful || self.may_pet()) {
                self.look();
            }
            self.pet();
            let patience = if self.device.is_some() { SLEEP } else { LOOK_EVERY };
            std::thread::park_timeout(patience);
        }
    }

    /// Whether it ends.
    fn obey(&mut self, order: &Order) -> bool {
        match order {
            Order::Configure(times) => {
                self.start.times = *times;
                self.is_untold = true;
                if !self.start.careful {
                    self.tell_times();
                }
                return false;
            }
            Order::Release => self.release(false),
            Order::Pass => self.release(true),
            Order::Abandon { follows } => self.abandon(*follows),
            Order::Leave(within) => self.leave(*within),
        }
        true
    }

    /// Takes over what a daemon before this one left in the store, if that is what is wanted.
    fn inherit(&mut self) {
        let Some(fd) = self.inherited.take() else { return };
        let left = match left(fd) {
            Ok(left) => left,
            Err(why) => return log::warn!("{why}"),
        };
        let is_wanted = match &self.start.wanted {
            // With care another one takes its place only when nothing is had.
            _ if self.start.careful => true,
            Wanted::Auto(_) => true,
            Wanted::Path(path) => choose::name(path).is_some_and(|name| left.name == Some(name)),
        };
        if !is_wanted {
            // Another one is wanted now: this one must not be left counting.
            let stopped = left.stop();
            return stopped.unwrap_or_else(|why| log::error!("{why}"));
        }
        let Left { device, found, .. } = left;
        self.take(device, found, true);
    }

    /// Tries every device that is wanted.
    fn look(&mut self) {
        let root = Root::machine();
        // Somebody else's machine is not reset because it has a device that can be opened.
        let is_ours = is_machine() || matches!(self.start.wanted, Wanted::Path(_));
        let candidates =
            if is_ours { choose::candidates(&self.start.wanted, &root) } else { Vec::new() };
        let mut why = (!is_ours).then(|| {
            "this is a container; name the device if it is to be used all the same".to_string()
        });
        for Candidate { path, device: found } in candidates {
            let at = path.display();
            match Device::open(&path) {
                Ok(device) => {
                    if let Err(error) = fdstore::keep(STORED, device.as_fd()) {
                        log::warn!("{error}: a crash of this daemon would end in a reset");
                    }
                    self.take(device, found, false);
                    return;
                }
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    let holders = watchdog::holders(&root);
                    why.get_or_insert_with(|| choose::busy(&at.to_string(), &holders));
                }
                Err(error) => {
                    why.get_or_insert_with(|| format!("cannot open {at}: {error}"));
                }
            }
        }
        let why = why.unwrap_or_else(|| {
            "there is no watchdog device: load the driver of this machine's (`mastiff doctor` \
             names candidates)"
                .to_string()
        });
        if self.why_none.as_ref() != Some(&why) {
            self.told.show(|shown| shown.state = State::Looking(Some(why.clone())));
            let text = format!("no watchdog: {why}; tried again every 5 s");
            self.told.tell("watchdog-missing", Severity::Warning, text);
            self.why_none = Some(why);
        }
    }

    /// It counts down, and is petted at once: it may have been for a while. One that is taken over
    /// with care is only looked at.
    fn take(&mut self, mut device: Device, found: Option<Watchdog>, adopted: bool) {
        let only_looks = adopted && self.start.careful;
        let petted = if only_looks { Ok(()) } else { device.pet() };
        let now = clock::now();
        let identity = device.identity();
        // Of the old path nobody knows whose it is before it is open.
        let by_name = || choose::in_class(&device.name(&Root::machine())?, &Root::machine());
        let found = found.or_else(by_name);
        let name = found.as_ref().map(|found| found.name.clone());
        let times = self.start.times;
        let (ungoverned, (timeout, pretimeout)) = match only_looks {
            true => (None, (device.timeout().ok().filter(|secs| *secs > 0).map(seconds), None)),
            // The governor first, so that no warning finds another one.
            false => (govern(name.as_deref(), times), set_times(&device, times)),
        };
        let id = found.as_ref().map_or(Id { identity, ..Id::default() }, Id::of);
        let bootstatus = match &found {
            Some(found) => found.bootstatus,
            None => device.bootstatus().ok().map(u64::from),
        };
        let armed = Armed {
            name,
            is_software: found.as_ref().is_some_and(|found| found.kind == Kind::Software),
            nowayout: found.as_ref().and_then(|found| found.nowayout),
            id,
            timeout,
            pretimeout,
            ungoverned,
            bootstatus,
            adopted,
            magic_close: device.has_magic_close(),
            given: (!only_looks).then_some(times),
        };
        if !only_looks {
            self.slot.petted(now);
        }
        self.slot.arm(timeout);
        (self.device, self.armed, self.why_none) = (Some(device), Some(armed), None);
        self.show_armed();
        if let Err(error) = petted {
            self.failed(&error);
        }
    }

    fn show_armed(&self) {
        let Some(armed) = self.armed.clone() else { return };
        let said = said(&armed, self.start.times);
        let is_as_wanted =
            armed.timeout == Some(self.start.times.timeout) && armed.ungoverned.is_none();
        let plain = !armed.is_software && is_as_wanted;
        let severity = if plain { Severity::Notice } else { Severity::Warning };
        self.told.show(|shown| shown.state = State::Armed(Box::new(armed)));
        self.told.tell(ARMED, severity, said);
    }

    /// Whether the keeper allows one pet now; its permit is used up.
    fn may_pet(&self) -> bool {
        let Some(until) = self.slot.take() else { return false };
        let is_fresh = clock::now() < until;
        if !is_fresh {
            self.told.show(|shown| shown.expired = shown.expired.saturating_add(1));
        }
        is_fresh
    }

    /// Gives it the times that it has not been given.
    fn tell_times(&mut self) {
        let Some(device) = self.device.as_ref().filter(|_| self.is_untold) else { return };
        self.is_untold = false;
        // First, so that no warning finds another one.
        if let Some(armed) = &mut self.armed {
            armed.ungoverned = govern(armed.name.as_deref(), self.start.times);
        }
        let (timeout, pretimeout) = set_times(device, self.start.times);
        if let Some(armed) = &mut self.armed {
            (armed.timeout, armed.pretimeout) = (timeout, pretimeout);
            armed.given = Some(self.start.times);
        }
        self.slot.arm(timeout);
        self.show_armed();
    }

    /// Pets once if the keeper allows it.
    fn pet(&mut self) {
        if self.device.is_none() || !self.may_pet() {
            return;
        }
        // To give it times is to pet it, too.
        let began = clock::now();
        self.tell_times();
        let Some(device) = &mut self.device else { return };
        match device.pet() {
            Ok(()) => {
                // The device counts from some moment within the call: the earliest is the safe one.
                self.slot.petted(began);
                let took = clock::now().since(began);
                self.told.show(|shown| {
                    shown.pets = shown.pets.saturating_add(1);
                    shown.slowest = shown.slowest.max(took);
                });
                if std::mem::take(&mut self.failing) {
                    let text = "the watchdog can be petted again".to_string();
                    self.told.tell("watchdog-petted", Severity::Notice, text);
                }
                self.ask_driver();
            }
            Err(error) => self.failed(&error),
        }
    }

    /// What the driver says beside, now and then; what it finds wrong is told once.
    fn ask_driver(&mut self) {
        let Some(device) = &self.device else { return };
        let Some((says, is_news)) = self.asked.ask(device, clock::now()) else { return };
        self.told.show(|shown| shown.says = says);
        if is_news {
            let (severity, text) = match says.wrong() {
                none if none.is_empty() => (Severity::Notice, "nothing is wrong any more".into()),
                wrong => (Severity::Warning, wrong),
            };
            self.told.tell("watchdog-alarm", severity, format!("the watchdog's driver: {text}"));
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.told.show(|shown| shown.failed = shown.failed.saturating_add(1));
        let is_gone = error.raw_os_error() == Some(Errno::ENODEV as i32);
        if is_gone {
            (self.device, self.armed, self.asked) = (None, None, Asked::default());
            self.told.show(|shown| shown.says = Says::default());
            self.slot.disarm();
            fdstore::forget(STORED).unwrap_or_else(|why| log::warn!("{why}"));
            self.told.show(|shown| shown.state = State::Looking(Some("its driver is gone".into())));
        }
        if !std::mem::replace(&mut self.failing, !is_gone) {
            let text = format!("cannot pet the watchdog: {error}; tried again every second");
            self.told.tell("watchdog-not-petted", Severity::Error, text);
        }
    }

    /// From now on closing it stops it. What cannot be stopped is given as long as it takes, unless
    /// a daemon `follows` at once.
    fn release(&mut self, follows: bool) {
        self.slot.disarm();
        let Some(mut device) = self.device.take() else { return self.end(State::Released, None) };
        let cannot_stop = self.armed.as_ref().and_then(|armed| armed.nowayout) == Some(true);
        let longest = (cannot_stop && !follows).then(|| set_longest(&device, LONGEST)).flatten();
        let allowed = device.allow_close();
        drop(device);
        let unless = "this machine is reset unless mastiffd runs again within";
        let its = "its time-out".to_string();
        self.end(
            State::Released,
            Some(match (allowed, cannot_stop) {
                (Ok(()), _) if follows => {
                    (Severity::Notice, "the watchdog is left to the next daemon".to_string())
                }
                (Ok(()), false) => (Severity::Notice, "the watchdog is released".to_string()),
                (Ok(()), true) => {
                    let secs = longest.map_or(its, |secs| format!("{secs} s"));
                    let text =
                        format!("the watchdog cannot be stopped (nowayout): {unless} {secs}");
                    (Severity::Error, text)
                }
                (Err(error), _) => {
                    let what = "the watchdog cannot be told that it may be closed";
                    (Severity::Error, format!("{what}: {error}; {unless} {its}"))
                }
            }),
        );
    }

    /// It goes on counting: closed without the letter that would stop it, and without a pet.
    fn abandon(&mut self, follows: bool) {
        self.slot.disarm();
        let left = self.device.take().map(drop).is_some();
        let said = match follows {
            true => (Severity::Notice, "the watchdog goes on counting for the next daemon"),
            false => (
                Severity::Error,
                "the watchdog goes on counting, and resets this machine: something still runs \
                 here that must not",
            ),
        };
        self.end(State::Left, left.then(|| (said.0, said.1.to_string())));
    }

    /// The machine goes down: the device watches over the rest.
    fn leave(&mut self, within: Span) {
        self.slot.disarm();
        let Some(mut device) = self.device.take() else { return self.end(State::Left, None) };
        let secs = u32::try_from(within.as_millis() / 1000).unwrap_or(LONGEST);
        let secs = set_longest(&device, secs);
        let petted = device.pet();
        let goes_on = device.has_magic_close();
        drop(device);
        let secs = secs.map_or("its time-out".to_string(), |secs| format!("{secs} s"));
        let text = match goes_on {
            true => {
                format!("the watchdog goes on: it resets this machine if it is not down in {secs}")
            }
            false => "the watchdog stops as it is closed (no magic close)".to_string(),
        };
        self.end(
            State::Left,
            Some(match petted {
                Ok(()) => (Severity::Notice, text),
                Err(error) => (Severity::Error, format!("{text}; the last pet failed: {error}")),
            }),
        );
    }

    /// The last word: the device is closed here.
    fn end(&self, state: State, said: Option<(Severity, String)>) {
        let kind = if state == State::Released { RELEASED } else { "watchdog-left" };
        self.told.show(|shown| shown.state = state);
        let (severity, text) = said.unwrap_or((Severity::Info, "there was no watchdog".into()));
        self.told.tell(kind, severity, text);
    }
}

/// As long as a shutdown is ever given.
pub(super) const LONGEST: u32 = 3600;

/// Sets the longest time-out up to `secs` that the device takes; what it has then.
pub(super) fn set_longest(device: &Device, secs: u32) -> Option<u32> {
    // The longest that it is known to take, and the shortest that it is known to refuse.
    let (mut takes, mut refuses) = (0, secs.max(1).saturating_add(1));
    let mut wanted = secs.max(1);
    while wanted > takes && wanted < refuses {
        match device.set_timeout(wanted) {
            Ok(_) => takes = wanted,
            Err(_) => refuses = wanted,
        }
        wanted = takes.midpoint(refuses);
    }
    if takes > 0 {
        device.set_timeout(takes).ok();
    }
    device.timeout().ok()
}

/// Asks for times; what the device has then, as far as it says.
fn set_times(device: &Device, times: Times) -> (Option<Span>, Option<Span>) {
    let secs = |span: Span| u32::try_from(span.as_millis() / 1000).unwrap_or(u32::MAX);
    let set = device.set_timeout(secs(times.timeout));
    if let Err(error) = &set {
        log::warn!("the watchdog does not take {} as its time-out: {error}", times.timeout);
    }
    let timeout = set.or_else(|_| device.timeout()).ok().filter(|secs| *secs > 0);
    let pretimeout = times.pretimeout.and_then(|wanted| {
        let set = device.set_pretimeout(secs(wanted));
        set.inspect_err(|error| log::warn!("the watchdog has no pretimeout of {wanted}: {error}"))
            .ok()
    });
    (timeout.map(seconds), pretimeout.filter(|secs| *secs > 0).map(seconds))
}

fn seconds(secs: u32) -> Span {
    Span::from_secs(u64::from(secs))
}

/// Has the kernel do at the warning what is wanted; why it would not.
fn govern(name: Option<&str>, times: Times) -> Option<String> {
    let wanted = times.governor?;
    let Some(name) = name else {
        return Some(
            "it has no place in /sys/class/watchdog for a pretimeout governor".to_string(),
        );
    };
    governor::set(&Root::machine(), name, wanted).err().map(|why| why.to_string())
}

/// The sentence for a device that counts down.
fn said(armed: &Armed, times: Times) -> String {
    let name = armed.name.as_deref().unwrap_or("the watchdog");
    let how = if armed.adopted { "is taken over" } else { "is armed" };
    let mut text = format!("{name} ({}) {how}", armed.id.identity);
    match armed.timeout {
        Some(timeout) if timeout == times.timeout => text += &format!(": it fires after {timeout}"),
        Some(timeout) => {
            text += &format!(": it fires after {timeout}, not {} as configured", times.timeout);
        }
        None => text += ": after how long it fires is not known",
    }
    if times.pretimeout.is_some_and(|wanted| wanted > Span::ZERO) && armed.pretimeout.is_none() {
        text += "; it has no pretimeout";
    }
    if let Some(why) = &armed.ungoverned {
        text += &format!("; {why}");
    }
    if armed.is_software {
        text += "; it is software, and dies with the kernel that it should reset";
    }
    if armed.nowayout == Some(true) {
        text += "; it cannot be stopped again (nowayout)";
    }
    text
}
