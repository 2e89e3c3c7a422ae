//! The gate of a group: a file that is there as long as this node has it.
//!
//! `RUN-DIR/groups/NAME.active` says `epoch=N`, for applications that fence by the number, and the
//! group's safety, for a daemon that cannot read its file. The units of a group with `safety = "data"` have an `AssertPathExists=` of it (systemd.unit(5)), so
//! that nothing but the daemon starts them: no boot, no `Restart=`, no hand. That assertion is a
//! drop-in of the unit, written by the generator (systemd.generator(7)) before PID 1 starts
//! anything, and by the daemon where the generator has not run with this configuration.
//!
//! Below /run it lies in memory: no disk is touched, and a boot begins without it. A restart of the
//! daemon keeps it (`RuntimeDirectoryPreserve=restart`), as it keeps the lease.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mastiff_core::pair::message::Epoch;

use crate::config::Config;

/// Below the run-dir.
const FOLDER: &str = "groups";
/// The line of a group whose units must not run twice.
const DATA: &str = "safety=data";
/// The drop-in's name below `UNIT.d`.
const DROP_IN: &str = "50-mastiff.conf";
/// What it says, before the path of the gate (systemd.unit(5)).
const ASSERTION: &str = "AssertPathExists=";
/// Where generators write with the ordinary priority (systemd.generator(7)).
const GENERATED: &str = "/run/systemd/generator";
/// Where units of this boot are (systemd.unit(5)).
const RUNTIME: &str = "/run/systemd/system";

/// The gate of one group.
#[derive(Debug)]
pub struct Gate {
    path: PathBuf,
    is_data: bool,
}

/// Where the gate of a group is.
#[must_use]
pub fn path(run_dir: &Path, group: &str) -> PathBuf {
    run_dir.join(FOLDER).join(format!("{group}.active"))
}

impl Gate {
    /// Of this group.
    #[must_use]
    pub fn new(run_dir: &Path, group: &str, is_data: bool) -> Self {
        Self { path: path(run_dir, group), is_data }
    }

    /// Whether this node has the group.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.path.exists()
    }

    /// This node has the group, in this epoch. Whole or not at all: it is read at any time.
    ///
    /// # Errors
    /// In words, with the path.
    pub fn open(&self, epoch: Epoch) -> Result<(), String> {
        let write = || {
            if let Some(folder) = self.path.parent() {
                fs::create_dir_all(folder)?;
            }
            let beside = self.path.with_extension("new");
            let safety = if self.is_data { DATA } else { "safety=network" };
            fs::write(&beside, format!("epoch={}\n{safety}\n", epoch.0))?;
            fs::rename(&beside, &self.path)
        };
        write().map_err(|error| format!("cannot write {}: {error}", self.path.display()))
    }

    /// This node does not have the group any more.
    ///
    /// # Errors
    /// In words, with the path.
    pub fn close(&self) -> Result<(), String> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("cannot remove {}: {error}", self.path.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// What a unit of an exclusive group needs to be started.
struct DropIn {
    /// `UNIT.d/50-mastiff.conf`.
    place: PathBuf,
    text: String,
}

/// A path as a unit file has it: a `%` would be a specifier.
fn written(path: &Path) -> String {
    path.display().to_string().replace('%', "%%")
}

/// Of all exclusive units.
fn drop_ins(config: &Config) -> Vec<DropIn> {
    let groups = config.pair.iter().flat_map(|pair| &pair.groups).filter(|group| group.is_data);
    let of_group = |group: &crate::config::pair::GroupConfig| {
        let gate = written(&path(&config.node.run_dir, &group.name));
        let text = format!(
            "# Written by mastiff: group \"{}\" must not run twice, so only mastiffd starts this \
             unit. See mastiff.toml(5), safety.\n[Unit]\n{ASSERTION}{gate}\n",
            group.name
        );
        let drop_in = |unit: &String| DropIn {
            place: Path::new(&format!("{unit}.d")).join(DROP_IN),
            text: text.clone(),
        };
        group.units.iter().map(drop_in).collect::<Vec<_>>()
    };
    groups.flat_map(of_group).collect()
}

/// Writes the drop-ins of all exclusive units below `folder`.
///
/// # Errors
/// In words: these units are not kept from being started.
pub fn generate(config: &Config, folder: &Path) -> Result<(), String> {
    drop_ins(config).iter().try_for_each(|drop_in| write(drop_in, folder))
}

fn write(drop_in: &DropIn, folder: &Path) -> Result<(), String> {
    let path = folder.join(&drop_in.place);
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(&path, &drop_in.text))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// Sees to it that the drop-ins are there, and none of a configuration of before; whether PID 1 has
/// to load its units again.
///
/// # Errors
/// As [`generate`].
pub fn install(config: &Config) -> Result<bool, String> {
    install_below(config, Path::new(GENERATED), Path::new(RUNTIME))
}

fn install_below(config: &Config, generated: &Path, runtime: &Path) -> Result<bool, String> {
    let wanted = drop_ins(config);
    let own = format!("{ASSERTION}{}/", written(&config.node.run_dir.join(FOLDER)));
    let mut changed = remove_stale(&wanted, &own, generated, runtime);
    // The generator knew the configuration of before, too: by now it does not.
    changed |= has_other(&wanted, &own, generated);
    for drop_in in &wanted {
        let says = |folder: &Path| {
            fs::read_to_string(folder.join(&drop_in.place)).is_ok_and(|text| text == drop_in.text)
        };
        if !says(generated) && !says(runtime) {
            write(drop_in, runtime)?;
            changed = true;
        }
    }
    Ok(changed)
}

/// Whether there are drop-ins of ours whose unit is in no group.
fn has_other(wanted: &[DropIn], own: &str, generated: &Path) -> bool {
    let Ok(folders) = fs::read_dir(generated) else { return false };
    let mut places =
        folders.filter_map(Result::ok).map(|it| Path::new(&it.file_name()).join(DROP_IN));
    places.any(|place| {
        is_own(&generated.join(&place), own) && wanted.iter().all(|drop_in| drop_in.place != place)
    })
}

/// Drop-ins of ours that the generator has made superfluous, or whose unit is in no group. Ours
/// have a line that begins with `own`: another daemon, with another run-dir, has gates of its own,
/// and its units would run twice.
fn remove_stale(wanted: &[DropIn], own: &str, generated: &Path, runtime: &Path) -> bool {
    let Ok(folders) = fs::read_dir(runtime) else { return false };
    let mut changed = false;
    for folder in folders.filter_map(Result::ok) {
        let place = Path::new(&folder.file_name()).join(DROP_IN);
        let path = runtime.join(&place);
        let is_wanted = wanted.iter().any(|drop_in| drop_in.place == place);
        if is_own(&path, own) && (!is_wanted || generated.join(&place).exists()) {
            changed |= fs::remove_file(&path).is_ok();
        }
    }
    changed
}

fn is_own(path: &Path, own: &str) -> bool {
    let says = |text: String| text.lines().any(|line| line.starts_with(own));
    fs::read_to_string(path).is_ok_and(says)
}

/// Whether the gate of any exclusive group is open below a run-dir, whatever the configuration says
/// by now: its units may run here.
#[must_use]
pub fn any_is_open(run_dir: &Path) -> bool {
    let Ok(gates) = fs::read_dir(run_dir.join(FOLDER)) else { return false };
    gates.filter_map(Result::ok).any(|gate| {
        let is_gate = gate.path().extension().is_some_and(|it| it == "active");
        // One that cannot be read may be of such a group.
        is_gate && fs::read_to_string(gate.path()).map_or(true, |text| text.contains(DATA))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_as_long_as_it_is_open_and_names_the_epoch() {
        let folder = std::env::temp_dir().join(format!("mastiff-gate-{}", std::process::id()));
        let gate = Gate::new(&folder, "db", true);
        assert!(!gate.is_open());
        gate.close().unwrap();
        gate.open(Epoch(7)).unwrap();
        gate.open(Epoch(8)).unwrap();
        assert!(gate.is_open());
        assert_eq!(fs::read_to_string(path(&folder, "db")).unwrap(), "epoch=8\nsafety=data\n");
        assert!(any_is_open(&folder));
        gate.close().unwrap();
        assert!(!gate.is_open() && !any_is_open(&folder));
        Gate::new(&folder, "web", false).open(Epoch(1)).unwrap();
        assert!(!any_is_open(&folder), "of these two may run");
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "").unwrap();
        let why = gate.open(Epoch(9)).unwrap_err();
        assert!(why.starts_with("cannot write "), "{why}");
        fs::remove_file(&folder).unwrap();
    }

    fn config(units: &str) -> Config {
        let text = format!(
            "[watchdog]\n[node]\nname = \"a\"\nrun-dir = \"/run/100%\"\n[pair]\nname = \"p\"\npeer = \"b\"\n\
             key-file = \"/k\"\narbiter = \"wire\"\n\
             paths = [{{ local = \"10.0.0.1:4170\", peer = \"10.0.0.2:4170\" }}]\n\
             [[group]]\nname = \"db\"\nunits = [{units}]\nsafety = \"data\"\n\
             [[group]]\nname = \"web\"\nunits = \"nginx.service\"\n"
        );
        crate::config::load_text(&text, Path::new("f.toml")).unwrap()
    }

    #[test]
    fn exclusive_units_and_only_they_are_kept_from_being_started() {
        let folder = std::env::temp_dir().join(format!("mastiff-drop-{}", std::process::id()));
        let (generated, runtime) = (folder.join("generator"), folder.join("system"));
        let two = config("\"a.service\", \"b@1.service\"");
        assert_eq!(install_below(&two, &generated, &runtime), Ok(true));
        assert_eq!(install_below(&two, &generated, &runtime), Ok(false), "they are there");
        let text = fs::read_to_string(runtime.join("b@1.service.d/50-mastiff.conf")).unwrap();
        assert!(text.ends_with("[Unit]\nAssertPathExists=/run/100%%/groups/db.active\n"), "{text}");
        assert!(!runtime.join("nginx.service.d").exists());
        // Of a daemon with another run-dir.
        let foreign = runtime.join("c.service.d/50-mastiff.conf");
        fs::create_dir_all(foreign.parent().unwrap()).unwrap();
        fs::write(&foreign, "[Unit]\nAssertPathExists=/run/100%%/other/groups/c.active\n").unwrap();
        // One that left the group, and one that the generator knows by now.
        generate(&config("\"a.service\""), &generated).unwrap();
        assert_eq!(install_below(&config("\"a.service\""), &generated, &runtime), Ok(true));
        assert!(!runtime.join("b@1.service.d/50-mastiff.conf").exists());
        assert!(!runtime.join("a.service.d/50-mastiff.conf").exists());
        assert!(generated.join("a.service.d/50-mastiff.conf").exists());
        assert_eq!(install_below(&config("\"a.service\""), &generated, &runtime), Ok(false));
        // No group has such units any more, and no generator has run since.
        assert_eq!(install_below(&two, &generated, &runtime), Ok(true));
        let text = "[node]\nrun-dir = \"/run/100%\"\n";
        let none = crate::config::load_text(text, Path::new("f.toml")).unwrap();
        assert_eq!(install_below(&none, &generated, &runtime), Ok(true));
        assert!(!runtime.join("b@1.service.d/50-mastiff.conf").exists());
        assert!(foreign.exists(), "it is none of ours");
        // One that the generator knew from the configuration of before.
        generate(&two, &generated).unwrap();
        assert_eq!(install_below(&config("\"a.service\""), &generated, &runtime), Ok(true));
        assert!(!runtime.join("b@1.service.d").join(DROP_IN).exists());
        fs::remove_dir_all(folder).unwrap();
    }
}
