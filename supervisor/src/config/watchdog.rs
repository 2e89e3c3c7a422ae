//! `[watchdog]` and `[boot-loop-guard]`: what resets the machine when nothing else is left, and
//! what keeps that from happening again and again.

use std::ops::Range;
use std::path::PathBuf;

use mastiff_core::time::Span;
use mastiff_core::timing::WatchdogFacts;
use mastiff_core::watchdog::PERMIT_LASTS;
use mastiff_hwmon::watchdog::governor::{GOVERNORS, Governor};
use toml::de::DeTable;

use super::checked::{Bounds, span};
use super::fault::{Given, Review};
use super::raw::RawFile;
use super::section::{Field, Section};
use super::show::{Document, exact, quoted};
use super::{Config, suggest};

pub(super) const WATCHDOG_KEYS: &[&str] = &[
    "device",
    "timeout",
    "pretimeout",
    "pretimeout-governor",
    "shutdown-timeout",
    "root-dead-after",
];
pub(super) const GUARD_KEYS: &[&str] = &["resets", "within"];

/// `watchdog.timeout`, unless configured: what most drivers have by default, and longer than a busy
/// machine is away.
pub const WATCHDOG_TIMEOUT_DEFAULT: Span = Span::from_secs(30);
/// `watchdog.shutdown-timeout`, unless configured: a little more than PID 1 gives the services
/// before it restarts the machine by force (`JobTimeoutSec=30min` of reboot.target, systemd 252).
pub const SHUTDOWN_TIMEOUT_DEFAULT: Span = Span::from_secs(35 * 60);
/// What one pet is assumed to take in the driver at most, until it was seen to take longer: a busy
/// BMC takes seconds, drivers of the class microseconds.
pub(super) const PET_ASSUMED: Span = Span::from_secs(5);
/// `boot-loop-guard.resets`, unless configured.
pub const GUARD_RESETS_DEFAULT: u32 = 3;
/// `boot-loop-guard.within`, unless configured.
pub const GUARD_WITHIN_DEFAULT: Span = Span::from_secs(3600);

/// `boot-loop-guard.resets` at most; its file has room for more.
const GUARD_RESETS_MAX: u32 = 20;
/// Below, a moment of load resets the machine; no driver takes more than some minutes, and one that
/// takes less says so when it is asked.
const TIMEOUT: Bounds = Bounds::new(Span::from_secs(5), Span::from_secs(3600));
/// Before a driver resets, in whole seconds (`WDIOC_SETPRETIMEOUT`, linux/watchdog.h).
const PRETIMEOUT: Bounds = Bounds::new(Span::from_secs(1), Span::from_secs(3599));
/// `shutdown-timeout` and `root-dead-after`.
const PATIENCE: Bounds = Bounds::new(Span::from_secs(30), Span::from_secs(3600));
/// A guard over less sees no loop of a machine that needs minutes to start.
const GUARD_WITHIN: Bounds = Bounds::new(Span::from_secs(60), Span::from_secs(86_400));
/// Digits of a device's number at most: the kernel has 32 devices (MAX_DOGS,
/// drivers/watchdog/watchdog_core.h).
const DEVICE_DIGITS_MAX: usize = 2;

const DEVICE: &str = "\"auto\", a device as in \"/dev/watchdog1\", \"pid1\" or \"off\", in quotes";
const KEEP: &str = "keep";
const GOVERNOR: &str = "\"keep\", \"panic\" or \"noop\", in quotes";
const TIME: &str = "a time in quotes, as in \"30s\"";
const COUNT: &str = "a whole number without quotes, as in 3";

/// `[watchdog]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchdogConfig {
    /// `device`.
    pub device: DeviceChoice,
    /// `timeout`, in whole seconds; the driver may choose another one.
    pub timeout: Span,
    /// `pretimeout`, in whole seconds and less than the time-out; only with a device of our own.
    pub pretimeout: Option<Span>,
    /// `pretimeout-governor`: what the kernel does then; `None`: what it would do anyhow. Only with
    /// a `pretimeout`.
    pub governor: Option<Governor>,
    /// `shutdown-timeout`: how long a shutdown may last before petting ends.
    pub shutdown_timeout: Span,
    /// `root-dead-after`: no pet when the root file system has answered no write for so long.
    pub root_dead_after: Option<Span>,
}

impl WatchdogConfig {
    /// What units that must not run twice can count on, as far as it is configured; `None` where
    /// the device is not our own: PID 1 would restart the daemon, and reset nothing.
    pub fn facts(&self) -> Option<WatchdogFacts> {
        self.device.is_own().then_some(WatchdogFacts {
            permit: PERMIT_LASTS,
            pet: PET_ASSUMED,
            read_back: self.timeout,
            proven: None,
        })
    }
}

/// Which watchdog is petted, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best device that nobody holds.
    Auto,
    /// This device, as in `/dev/watchdog1`.
    Path(PathBuf),
    /// That of PID 1 (`RuntimeWatchdogSec=`, systemd-system.conf(5)), which watches the daemon.
    Pid1,
    /// None.
    Off,
}

/// `[boot-loop-guard]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    /// `resets`: so many that the daemon caused itself, and it only observes.
    pub resets: u32,
    /// `within`: in any stretch of this length.
    pub within: Span,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self { resets: GUARD_RESETS_DEFAULT, within: GUARD_WITHIN_DEFAULT }
    }
}

impl DeviceChoice {
    /// As it is written in the file.
    pub fn text(&self) -> String {
        match self {
            Self::Auto => "auto".to_string(),
            Self::Path(path) => path.to_string_lossy().into_owned(),
            Self::Pid1 => "pid1".to_string(),
            Self::Off => "off".to_string(),
        }
    }

    /// Whether the daemon itself opens a device.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Auto | Self::Path(_))
    }
}

/// `[watchdog]`.
#[derive(Debug)]
pub(super) struct RawWatchdog {
    header: Range<usize>,
    device: Field<String>,
    timeout: Field<String>,
    pretimeout: Field<String>,
    governor: Field<String>,
    shutdown_timeout: Field<String>,
    root_dead_after: Field<String>,
}

/// `[boot-loop-guard]`.
#[derive(Debug)]
pub(super) struct RawGuard {
    header: Range<usize>,
    resets: Field<String>,
    within: Field<String>,
}

impl RawWatchdog {
    pub(super) fn new(header: Range<usize>, table: DeTable<'_>, review: &mut Review<'_>) -> Self {
        Section::read(review, "watchdog", WATCHDOG_KEYS, table, |section| Self {
            header,
            device: section.text("device", DEVICE),
            timeout: section.text("timeout", TIME),
            pretimeout: section.text("pretimeout", TIME),
            governor: section.text("pretimeout-governor", GOVERNOR),
            shutdown_timeout: section.text("shutdown-timeout", TIME),
            root_dead_after: section.text("root-dead-after", TIME),
        })
    }
}

impl RawGuard {
    pub(super) fn new(header: Range<usize>, table: DeTable<'_>, review: &mut Review<'_>) -> Self {
        Section::read(review, "boot-loop-guard", GUARD_KEYS, table, |section| Self {
            header,
            resets: section.count("resets", COUNT),
            within: section.text("within", TIME),
        })
    }
}

/// Both sections; the first is `None` where it is not written, and then nothing is armed.
pub(super) fn watchdog(
    raw: &RawFile,
    review: &mut Review<'_>,
) -> (Option<WatchdogConfig>, GuardConfig) {
    // It has no ladder, and its loop is no brain: nothing would be petted for the right reason.
    if raw.witness.is_some() {
        let headers = [
            ("watchdog", raw.watchdog.as_ref().map(|section| &section.header)),
            ("boot-loop-guard", raw.guard.as_ref().map(|section| &section.header)),
        ];
        for (name, header) in headers {
            let Some(header) = header else { continue };
            let message = "a witness does nothing else: let a second mastiffd have this section, \
                           with its own file, state-dir and run-dir";
            review.key(name, header, message);
        }
    }
    let device = raw.watchdog.as_ref().map(|section| section_of_device(section, review));
    let guard = raw.guard.as_ref().map(|section| section_of_guard(section, review));
    (device, guard.unwrap_or_default())
}

fn section_of_device(raw: &RawWatchdog, review: &mut Review<'_>) -> WatchdogConfig {
    let device = device(&raw.device, review);
    let timeout = whole(&raw.timeout, TIMEOUT, WATCHDOG_TIMEOUT_DEFAULT, review);
    let pretimeout = raw.pretimeout.given().map(|given| {
        let pretimeout = whole(&raw.pretimeout, PRETIMEOUT, Span::from_secs(1), review);
        if pretimeout >= timeout {
            let message = format!(
                "must be less than watchdog.timeout, {timeout}: it is how long before the reset \
                 the kernel is told"
            );
            review.value(given, message);
        } else if !device.is_own() {
            let message = format!(
                "is for a device of mastiff's own, and `device` is \"{}\": leave it out (PID 1 has \
                 RuntimeWatchdogPreSec=)",
                device.text()
            );
            review.value(given, message);
        }
        pretimeout
    });
    let root_dead_after = &raw.root_dead_after;
    let shutdown = SHUTDOWN_TIMEOUT_DEFAULT;
    WatchdogConfig {
        device,
        timeout,
        pretimeout,
        governor: governor(&raw.governor, pretimeout.is_some(), review),
        shutdown_timeout: span(&raw.shutdown_timeout, PATIENCE, shutdown, review),
        root_dead_after: root_dead_after
            .given()
            .map(|_| span(root_dead_after, PATIENCE, Span::from_secs(120), review)),
    }
}

fn governor(
    field: &Field<String>,
    has_pretimeout: bool,
    review: &mut Review<'_>,
) -> Option<Governor> {
    let given = field.given()?;
    let word = given.value.as_str();
    let governor = GOVERNORS.into_iter().find(|governor| governor.name() == word);
    if governor.is_none() && word != KEEP {
        let advice = suggest::advice(word, [KEEP, "panic", "noop"]);
        review.value(given, format!("must be {GOVERNOR}; {advice}"));
    } else if !has_pretimeout {
        review.value(given, "is for a warning, and there is none: set `pretimeout`, too");
    }
    governor
}

fn device(field: &Field<String>, review: &mut Review<'_>) -> DeviceChoice {
    let Some(given) = field.given() else { return DeviceChoice::Auto };
    match given.value.as_str() {
        "auto" => DeviceChoice::Auto,
        "pid1" => DeviceChoice::Pid1,
        "off" => DeviceChoice::Off,
        path if is_device(path) => DeviceChoice::Path(PathBuf::from(path)),
        path if path.starts_with('/') => {
            let message = "is no watchdog device: they are /dev/watchdog and /dev/watchdog0 to \
                           /dev/watchdog99; `mastiff watchdog status` lists those of this machine";
            review.value(given, message);
            DeviceChoice::Auto
        }
        word => {
            let advice = suggest::advice(word, ["auto", "pid1", "off"]);
            review.value(given, format!("must be {DEVICE}; {advice}"));
            DeviceChoice::Auto
        }
    }
}

/// `/dev/watchdog`, with a number or none.
fn is_device(path: &str) -> bool {
    let Some(number) = path.strip_prefix("/dev/watchdog") else { return false };
    number.len() <= DEVICE_DIGITS_MAX
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && (number.len() < 2 || !number.starts_with('0'))
}

/// A length of time that a driver can be asked for.
fn whole(field: &Field<String>, bounds: Bounds, default: Span, review: &mut Review<'_>) -> Span {
    let span = span(field, bounds, default, review);
    if let Some(given) = field.given()
        && !span.as_nanos().is_multiple_of(Span::from_secs(1).as_nanos())
    {
        review.value(given, "must be whole seconds: drivers know nothing shorter");
    }
    span
}

fn section_of_guard(raw: &RawGuard, review: &mut Review<'_>) -> GuardConfig {
    GuardConfig {
        resets: raw.resets.given().map_or(GUARD_RESETS_DEFAULT, |given| resets(given, review)),
        within: span(&raw.within, GUARD_WITHIN, GUARD_WITHIN_DEFAULT, review),
    }
}

fn resets(given: &Given<String>, review: &mut Review<'_>) -> u32 {
    let count = given.value.parse().ok().filter(|count| (1..=GUARD_RESETS_MAX).contains(count));
    if count.is_none() {
        let message = format!(
            "must be between 1 and {GUARD_RESETS_MAX}: after so many resets of its own mastiff \
             only observes; {GUARD_RESETS_DEFAULT} is usual"
        );
        review.value(given, message);
    }
    count.unwrap_or(GUARD_RESETS_DEFAULT)
}

/// Adds both to the document. A witness has neither.
pub(super) fn show(out: &mut Document, config: &Config) {
    if let Some(watchdog) = &config.watchdog {
        out.section("[watchdog]");
        let device = quoted(&watchdog.device.text());
        out.key("device", &device, watchdog.device == DeviceChoice::Auto);
        let WatchdogConfig { timeout, pretimeout, governor, .. } = watchdog;
        let WatchdogConfig { shutdown_timeout, root_dead_after, .. } = watchdog;
        let time = |span: &Span| quoted(&exact(*span));
        out.key("timeout", &time(timeout), *timeout == WATCHDOG_TIMEOUT_DEFAULT);
        if let Some(pretimeout) = pretimeout {
            out.key("pretimeout", &time(pretimeout), false);
            let word = governor.map_or(KEEP, Governor::name);
            out.key("pretimeout-governor", &quoted(word), governor.is_none());
        }
        let is_default = *shutdown_timeout == SHUTDOWN_TIMEOUT_DEFAULT;
        out.key("shutdown-timeout", &time(shutdown_timeout), is_default);
        if let Some(limit) = root_dead_after {
            out.key("root-dead-after", &time(limit), false);
        }
    }
    if config.witness.is_none() {
        let GuardConfig { resets, within } = config.boot_loop_guard;
        out.section("[boot-loop-guard]");
        out.key("resets", &resets.to_string(), resets == GUARD_RESETS_DEFAULT);
        out.key("within", &quoted(&exact(within)), within == GUARD_WITHIN_DEFAULT);
    }
}
