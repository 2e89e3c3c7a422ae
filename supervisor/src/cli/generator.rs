//! `mastiff generator`: what systemd runs at the boot and at each `daemon-reload`, before it loads
//! any unit (systemd.generator(7)): exclusive units are started by nobody but mastiffd.

use std::path::{Path, PathBuf};

use super::Context;
use super::failure::Failure;
use crate::config::{Config, load_or_default};
use crate::daemon::LAST_GOOD;
use crate::gate;

/// Write the drop-ins of exclusive units (for systemd)
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where they go
    folder: PathBuf,
    /// Folders of other priorities, which systemd names, too
    #[arg(num_args = 0..=2)]
    _others: Vec<PathBuf>,
}

pub(super) fn run(context: &Context, arguments: &Arguments) -> Result<u8, Failure> {
    let config = load(&context.config, context.named)?;
    gate::generate(&config, &arguments.folder).map_err(Failure::Unavailable)?;
    Ok(0)
}

/// A file with faults names no units: then those of the last one without.
fn load(path: &Path, named: bool) -> Result<Config, Failure> {
    load_or_default(path, named).or_else(|faults| {
        load_or_default(Path::new(LAST_GOOD), true).map_err(|_| Failure::Config(faults.to_string()))
    })
}
