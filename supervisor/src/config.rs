//! The configuration: read as text, checked whole, every fault reported at once.

use std::path::PathBuf;

use mastiff_core::node::Policy;
use mastiff_core::spec::CheckSpec;
use mastiff_core::time::Span;
use mastiff_hwmon::sensor::{Options, Sensor};

/// A configuration without faults.
#[derive(Debug)]
pub struct Config {
    /// `[node]`.
    pub node: NodeConfig,
    /// Every check that is written down, `[[service]]` included.
    pub checks: Vec<CheckConfig>,
    /// `[[alert]]`.
    pub alerts: Vec<AlertConfig>,
}

/// `[node]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// `name`; default: the hostname.
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

/// temporary
pub fn read_text(path: &std::path::Path) -> Result<String, std::io::Error> {
    std::fs::read_to_string(path)
}
