//! `mastiff generator`: what systemd runs at the boot and at each `daemon-reload`, before it loads
//! any unit (systemd.generator(7)): exclusive units are started by nobody but mastiffd.

use std::path::{Path, PathBuf};

use super::Context;
use super::failure::Failure;
use crate::config::{Config, Faults, load_or_default};
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
    let file = load_or_default(&context.config, context.named);
    let kept = load_or_default(Path::new(LAST_GOOD), true).ok();
    generate(file, kept.as_ref(), &arguments.folder)?;
    Ok(0)
}

/// The units of the file, and those of the last configuration that ran: what is being taken out of
/// a group may run until the daemon has handed it over, and a file with faults, or one that is
/// gone, names none. The file's word comes last, for a unit of both.
fn generate(
    file: Result<Config, Faults>,
    kept: Option<&Config>,
    folder: &Path,
) -> Result<(), Failure> {
    if let Some(kept) = kept {
        gate::generate(kept, folder).map_err(Failure::Unavailable)?;
    }
    match file {
        Ok(config) => gate::generate(&config, folder).map_err(Failure::Unavailable),
        Err(_) if kept.is_some() => Ok(()),
        Err(faults) => Err(Failure::Config(faults.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    fn config(unit: &str, run_dir: &str) -> Result<Config, Faults> {
        let text = format!(
            "[watchdog]\n[node]\nname = \"a\"\nrun-dir = \"{run_dir}\"\n[pair]\nname = \"p\"\n\
             peer = \"b\"\nkey-file = \"/k\"\narbiter = \"wire\"\n\
             paths = [{{ local = \"10.0.0.1:4170\", peer = \"10.0.0.2:4170\" }}]\n\
             [[group]]\nname = \"db\"\nunits = [\"both.service\", \"{unit}\"]\nsafety = \"data\"\n"
        );
        load_text(&text, Path::new("f.toml"))
    }

    #[test]
    fn units_of_the_file_and_of_the_last_one_that_ran_are_kept_from_being_started() {
        let folder = std::env::temp_dir().join(format!("mastiff-generate-{}", std::process::id()));
        let text = |unit: &str| {
            std::fs::read_to_string(folder.join(format!("{unit}.service.d/50-mastiff.conf")))
        };
        let kept = config("old.service", "/run/old").unwrap();
        let is_done = |file, kept| generate(file, kept, &folder).is_ok();
        assert!(!is_done(load_text("nonsense", Path::new("f.toml")), None));
        // No default file at all, and one with faults.
        for file in ["", "nonsense"] {
            assert!(is_done(load_text(file, Path::new("f.toml")), Some(&kept)));
            assert!(text("old").unwrap().contains("/run/old/groups/db.active"));
            std::fs::remove_dir_all(&folder).unwrap();
        }
        assert!(is_done(config("new.service", "/run/new"), Some(&kept)));
        assert!(text("old").unwrap().contains("/run/old/"));
        assert!(text("new").unwrap().contains("/run/new/"));
        assert!(text("both").unwrap().contains("/run/new/"), "the file's word is newer");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
