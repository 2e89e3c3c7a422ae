//! The configuration: read as text, checked whole, every fault reported at once.
//!
//! ```text
//! file ──► text ──► TOML tree ──► RawFile ──────► Config
//!     file      toml     section, raw   checked, check, rung
//! ```
//!
//! Each step goes on after a fault, so one run reports all of them; only a text that is no TOML
//! ends at that step. The format is part of the interface: an empty file is valid, and a key that
//! is not known is refused.

use std::path::{Path, PathBuf};

use mastiff_core::node::Policy;
use mastiff_core::sorted::Map;
use mastiff_core::spec::{Budget, CheckSpec};
use mastiff_core::time::Span;
use mastiff_hwmon::SENSORS;
use mastiff_hwmon::sensor::{Options, Sensor};
use toml::de::DeTable;

mod check;
mod checked;
mod discover;
mod fault;
mod file;
mod locate;
pub mod pair;
mod raw;
mod rung;
mod section;
mod show;
mod suggest;
mod watchdog;

pub use check::CONDITIONS_MAX;
pub use checked::{
    ALERT_TIMEOUT_DEFAULT, ALERTS_MAX, CHECK_TIMEOUT_DEFAULT, CHECKS_MAX, INTERVAL_DEFAULT,
    NAME_CHARS_MAX, NODE_NAME_CHARS_MAX, RUN_DIR_BYTES_MAX, RUN_DIR_DEFAULT, STATE_DIR_DEFAULT,
};
pub use discover::{DISCOVERED_MAX, discovered, for_each};
pub use fault::{FAULTS_MAX, Fault, Faults};
pub use file::{FILE_BYTES_MAX, read_text};
pub use pair::{PairConfig, WitnessConfig, not_run};
pub use raw::{SECTIONS, SectionKeys};
pub use rung::RUNGS_MAX;
pub use section::TEXT_BYTES_MAX;
pub use show::show;
pub use watchdog::{
    DeviceChoice, GUARD_RESETS_DEFAULT, GUARD_WITHIN_DEFAULT, GuardConfig,
    SHUTDOWN_TIMEOUT_DEFAULT, WATCHDOG_TIMEOUT_DEFAULT, WatchdogConfig,
};

/// Where the configuration is, unless the command line says otherwise. It need not exist.
pub const DEFAULT_PATH: &str = "/etc/mastiff/mastiff.toml";
/// The name of a node whose hostname cannot be used.
const NAMELESS: &str = "localhost";

/// A configuration without faults.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[node]`.
    pub node: NodeConfig,
    /// Every check that is written down, `[[service]]` included.
    pub checks: Vec<CheckConfig>,
    /// `[[alert]]`.
    pub alerts: Vec<AlertConfig>,
    /// The budget of every effect by name, as `[budgets]` has it or by default. The rungs carry
    /// theirs already.
    pub budgets: Map<&'static str, Budget>,
    /// `[watchdog]`; without it no watchdog is armed.
    pub watchdog: Option<WatchdogConfig>,
    /// `[boot-loop-guard]`.
    pub boot_loop_guard: GuardConfig,
    /// `[pair]` with every `[[group]]`.
    pub pair: Option<PairConfig>,
    /// `[witness]`; never together with a pair.
    pub witness: Option<WitnessConfig>,
}

/// `[node]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// `name`; default: the hostname. Empty where it is not written and nobody has [`load`]ed it.
    pub name: String,
    /// `interval` and `remind-every`.
    pub policy: Policy,
    /// `state-dir`.
    pub state_dir: PathBuf,
    /// `run-dir`.
    pub run_dir: PathBuf,
    /// `default-checks`: whether what is found on the machine is watched, too.
    pub default_checks: bool,
}

/// One check, with what the probe needs.
#[derive(Clone, Debug)]
pub struct CheckConfig {
    /// What the core decides by.
    pub spec: CheckSpec,
    /// What reads it.
    pub sensor: &'static Sensor,
    /// Its `options` table.
    pub options: Options,
}

/// One `[[alert]]`: a program that is told of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertConfig {
    /// The program and its arguments.
    pub run: Vec<String>,
    /// After this time it is killed and tried again.
    pub timeout: Span,
}

impl PartialEq for CheckConfig {
    /// Sensors are told apart by their names, which are unique.
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
            && self.options == other.options
            && self.sensor.name == other.sensor.name
    }
}

/// Checks a text against the sensors of `registry`. Pure: the name of a node that states none stays
/// empty.
///
/// # Errors
/// All faults by line, those beyond [`FAULTS_MAX`] as one. `origin` is only named in them.
pub fn parse(
    text: &str,
    origin: &Path,
    registry: &[&'static Sensor],
) -> Result<Config, Vec<Fault>> {
    let mut review = fault::Review::new(origin, text);
    // TOML would be told as something else, at another place.
    if let Some(offset) = text.find('\0') {
        let message = "byte 0x00 is no text; this may be UTF-16: save the file as UTF-8";
        review.key("", &(offset..offset + 1), message);
        return Err(review.end());
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        review.syntax(error.span(), error.message());
    }
    // What a broken text might have meant is a guess, and faults of a guess mislead.
    if !review.is_clean() {
        return Err(review.end());
    }
    let raw = raw::RawFile::new(document.into_inner(), &mut review);
    let config = checked::config(raw, registry, &mut review);
    if review.is_clean() { Ok(config) } else { Err(review.end()) }
}

/// Reads and checks a file against all sensors, and names the node after its host if the file does
/// not.
///
/// # Errors
/// All faults by line.
pub fn load(path: &Path) -> Result<Config, Faults> {
    load_text(&read_text(path)?, path)
}

/// As [`load`]; but where nobody named the file (`named` is false), it need not exist: an empty one
/// is valid.
///
/// # Errors
/// All faults by line.
pub fn load_or_default(path: &Path, named: bool) -> Result<Config, Faults> {
    load_text(&read_or_default(path, named)?, path)
}

/// The text of a file; empty where nobody named the file (`named` is false) and it does not exist.
///
/// # Errors
/// As [`read_text`].
pub fn read_or_default(path: &Path, named: bool) -> Result<String, Fault> {
    // A dangling link is not "no file": somebody wanted one there.
    let is_absent = std::fs::symlink_metadata(path)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    if is_absent && !named { Ok(String::new()) } else { read_text(path) }
}

/// As [`load`], for a text that somebody else has read from `origin`.
///
/// # Errors
/// All faults by line.
pub fn load_text(text: &str, origin: &Path) -> Result<Config, Faults> {
    let mut config = parse(text, origin, SENSORS).map_err(Faults)?;
    if config.node.name.is_empty() {
        config.node.name = hostname();
        let faults = pair::faults_of_names(&config, origin);
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
    }
    Ok(config)
}

/// The hostname (gethostname(2)), if it can be a node's name.
fn hostname() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| checked::is_node_name(name)).unwrap_or_else(|| NAMELESS.to_string())
}
