//! `mastiff config`: the configuration file, checked as the daemon would, as it is in effect, or
//! what it promises.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use super::failure::{EX_CONFIG, Failure};
use super::print::{self, counted};
use super::{Context, complain};
use crate::config::{Config, Fault, Faults, load_or_default, not_run, show};

mod explain;

/// Check the configuration, show what is in effect, what it promises
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mastiff config check new.toml && sudo cp new.toml /etc/mastiff/mastiff.toml
  mastiff config show                 every key, with the defaults filled in
  mastiff config explain --round-trip 12ms
                                      how long a takeover takes, and why")]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Report every fault, with its line; exit code 78 if there is one
    Check(File),
    /// Print the configuration with all defaults filled in, as TOML
    Show(File),
    /// Compute what the pair promises; exit code 78 if it cannot
    Explain {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        with: explain::With,
    },
}

#[derive(Debug, clap::Args)]
struct File {
    /// The file [default: that of --config]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// The answer as JSON.
#[derive(Debug, Serialize)]
struct Report {
    file: PathBuf,
    valid: bool,
    /// A fault each.
    faults: Vec<FaultReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<usize>,
    /// Why this version's daemon would not start with it all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_run: Option<String>,
    /// As TOML.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective: Option<String>,
}

/// One fault as JSON.
#[derive(Debug, Serialize)]
struct FaultReport {
    /// From 1; 0 where the file as a whole is meant.
    line: usize,
    column: usize,
    key: String,
    value: String,
    message: String,
}

impl FaultReport {
    fn of(fault: &Fault) -> Self {
        let Fault { line, column, key, value, message, .. } = fault.clone();
        Self { line, column, key, value, message }
    }
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let (file, shows) = match &arguments.what {
        What::Check(file) | What::Explain { file, .. } => (file, false),
        What::Show(file) => (file, true),
    };
    let path = file.file.clone().unwrap_or_else(|| context.config.clone());
    let named = context.named || file.file.is_some();
    let loaded = load_or_default(&path, named);
    if let (What::Explain { with, .. }, Ok(config)) = (&arguments.what, &loaded) {
        return explain::run(context, &path, config, with);
    }
    if context.json {
        return report(path, &loaded, shows);
    }
    match loaded {
        Ok(config) if shows => print::print(&show(&config))?,
        Ok(config) => {
            let there =
                if !named && !path.exists() { " (there is no such file: defaults)" } else { "" };
            let checks = counted(config.checks.len(), "check");
            let alerts = counted(config.alerts.len(), "alert");
            let pair = in_words(&config);
            let text = format!("{}: good, {checks} and {alerts}{pair}{there}\n", path.display());
            print::print(&text)?;
            if let Some(fault) = not_run(&config, &path) {
                complain(&format!("{fault}\n"));
            }
        }
        Err(faults) => {
            // The faults are what was asked for; they stand alone, so that an editor can jump to
            // them.
            complain(&format!("{faults}\n"));
            return Ok(EX_CONFIG);
        }
    }
    Ok(0)
}

/// What is there besides checks.
fn in_words(config: &Config) -> String {
    let pair = config
        .pair
        .as_ref()
        .map(|pair| format!(", a pair with {}", counted(pair.groups.len(), "group")));
    let witness = config
        .witness
        .as_ref()
        .map(|witness| format!(", a witness of {}", counted(witness.pairs.len(), "pair")));
    pair.or(witness).unwrap_or_default()
}

fn report(file: PathBuf, loaded: &Result<Config, Faults>, shows: bool) -> Result<u8, Failure> {
    let faults = loaded.as_ref().err().into_iter().flat_map(|faults| &faults.0);
    let not_run = loaded.as_ref().ok().and_then(|config| not_run(config, &file));
    print::print_json(&Report {
        not_run: not_run.map(|fault| fault.message),
        file,
        valid: loaded.is_ok(),
        faults: faults.map(FaultReport::of).collect(),
        checks: loaded.as_ref().ok().map(|config| config.checks.len()),
        effective: loaded.as_ref().ok().filter(|_| shows).map(show),
    })?;
    Ok(if loaded.is_ok() { 0 } else { EX_CONFIG })
}
