//! `mastiffd`: arguments, configuration, directories, then the brain's loop until the end, or the
//! witness's.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::brain::Brain;
use crate::config::pair::{GroupConfig, PairConfig, change};
use crate::config::{self, Config, Faults, NodeConfig, WitnessConfig};
use crate::witness::{Service, StartError};
use crate::{fdstore, gate, journal, keeper, petter, signals};

/// All is well.
pub const EXIT_OK: i32 = 0;
/// The arguments make no sense (sysexits.h, EX_USAGE).
pub const EXIT_USAGE: i32 = 64;
/// Something that must be there is not: another daemon runs, or the system refuses a resource
/// (EX_UNAVAILABLE).
pub const EXIT_UNAVAILABLE: i32 = 69;
/// The configuration has faults (EX_CONFIG); the unit does not restart on it.
pub const EXIT_CONFIG: i32 = 78;

/// The last configuration without faults. Not in `state-dir`, which a file with faults may not
/// tell.
pub const LAST_GOOD: &str = "/var/lib/mastiff/last-good.toml";

const HELP: &str = "\
mastiffd: watches this machine, repairs services, keeps the watchdog and the floating address

Usage: mastiffd [--config FILE] [--check] [--verbose]

  --config FILE   configuration (default /etc/mastiff/mastiff.toml; without that file, defaults)
  --check         check the configuration and exit: 0, or 78 with every fault
  --verbose       log more
  --version       print the version
  --help          print this

It stays in the foreground and logs to the journal, or to standard error outside systemd.
SIGHUP loads the configuration again, SIGUSR1 logs the state, SIGTERM ends it. See mastiffd(8).
";

struct Arguments {
    config: Option<PathBuf>,
    check: bool,
    verbose: bool,
}

/// Runs the daemon; returns its exit code.
pub fn main() -> i32 {
    let arguments = match parse_arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return EXIT_OK,
        Err(error) => {
            eprintln!("mastiffd: {error}; see mastiffd --help");
            return EXIT_USAGE;
        }
    };
    journal::start(arguments.verbose);
    let named = arguments.config.is_some();
    let path = arguments.config.unwrap_or_else(|| PathBuf::from(config::DEFAULT_PATH));
    let loaded = load(&path, named);
    if arguments.check {
        return match loaded {
            Ok(_) => EXIT_OK,
            Err(faults) => refuse(&faults),
        };
    }
    // A daemon before this one may have left its watchdog counting.
    let watchdog = fdstore::inherited(petter::STORED);
    let (config, text, watchdog) = match loaded {
        Ok((config, text)) => match left_behind(&config, &path) {
            None => (config, Some(text), watchdog),
            Some(before) => (before, None, watchdog),
        },
        Err(faults) => {
            let code = refuse(&faults);
            match go_on_all_the_same(watchdog) {
                Some((config, watchdog)) => (config, None, Some(watchdog)),
                None => return code,
            }
        }
    };
    let done = match &config.witness {
        // A witness pets nothing.
        Some(witness) => {
            petter::stop(watchdog);
            serve(witness, &path)
        }
        None => run_or_stop(config, text, (path, named), watchdog).map_err(StartError::Refused),
    };
    match done {
        Ok(code) => code,
        Err(why) => {
            log::error!("{why}");
            match why {
                StartError::NoPair => EXIT_CONFIG,
                StartError::Refused(_) => EXIT_UNAVAILABLE,
            }
        }
    }
}

/// The witness needs no folder: its port makes sure that it is the only one.
fn serve(witness: &WitnessConfig, path: &Path) -> Result<i32, StartError> {
    block_signals().map_err(StartError::Refused)?;
    Service::new(witness, path)?.run().map(|()| EXIT_OK).map_err(StartError::Refused)
}

/// Before any thread is started: each one inherits the mask, and the signals come by a descriptor.
fn block_signals() -> Result<(), String> {
    signals::blocked().thread_block().map_err(|error| format!("cannot block signals: {error}"))
}

/// The configuration and its text.
fn load(path: &Path, named: bool) -> Result<(Config, String), Faults> {
    let text = config::read_or_default(path, named)?;
    let config = config::load_text(&text, path)?;
    match config::not_run(&config, path) {
        None => Ok((config, text)),
        Some(fault) => Err(fault.into()),
    }
}

fn refuse(faults: &Faults) -> i32 {
    for line in faults.to_string().lines() {
        log::error!("{line}");
    }
    EXIT_CONFIG
}

/// With a configuration that has faults the daemon does not run, and its watchdog is stopped. One
/// that cannot be stopped (`nowayout`) would reset the machine, and one that must not be, since
/// something runs that only it ends, too: then it goes on with the last file that had none.
fn go_on_all_the_same(watchdog: Option<OwnedFd>) -> Option<(Config, OwnedFd)> {
    let left = petter::left(watchdog?).inspect_err(|why| log::error!("{why}")).ok()?;
    let good = load(Path::new(LAST_GOOD), true);
    let why = if left.cannot_stop() {
        "the watchdog cannot be stopped (nowayout)"
    } else if gate::any_is_open(run_dir_of(good.as_ref().ok().map(|(config, _)| config))) {
        "units that must not run twice may run here, and the watchdog is what ends them"
    } else {
        left.stop().unwrap_or_else(|why| log::error!("{why}"));
        return None;
    };
    match good {
        Ok((config, _)) => {
            log::error!(
                "{why}, so this daemon goes on with the last configuration without faults, \
                 {LAST_GOOD}: mend the new one"
            );
            Some((config, left.keep()))
        }
        Err(faults) => {
            refuse(&faults);
            log::error!("{why}: this machine will be reset");
            None
        }
    }
}

/// Where the gates are, as far as it is known.
fn run_dir_of(config: Option<&Config>) -> &Path {
    config.map_or(Path::new(config::RUN_DIR_DEFAULT), |config| &config.node.run_dir)
}

/// The configuration of a daemon that died and may have left running what must not run twice, and
/// what the new file would not stop: only who knows it can end it, so that one runs on.
fn left_behind(new: &Config, path: &Path) -> Option<Config> {
    let text = config::read_text(Path::new(LAST_GOOD)).ok()?;
    // Another daemon's, as a witness's beside this one, is none of ours.
    text.strip_prefix(&origin(path))?;
    let old = config::load_text(&text, Path::new(LAST_GOOD))
        .inspect_err(|faults| log::warn!("what ran before is not known: {faults}"))
        .ok()?;
    let open = |group: &GroupConfig| gate::path(&old.node.run_dir, &group.name).exists();
    let what = change::stranded(&old, new, open)?;
    log::error!(
        "units that must not run twice may run here, of {what}, and {} would leave them running: \
         the daemon before died. This one goes on with the last configuration that ran, \
         {LAST_GOOD}; `systemctl restart mastiff` hands over what changed, and takes the new one",
        path.display()
    );
    Some(old)
}

/// The first line of what is kept: whose it is.
fn origin(path: &Path) -> String {
    format!("# mastiffd keeps this of {path:?}\n")
}

/// Who does not come to run leaves nothing behind that resets the machine, unless what the device
/// counts for may run on: then who comes to run at last has to pet it.
fn run_or_stop(
    config: Config,
    text: Option<String>,
    place: (PathBuf, bool),
    watchdog: Option<OwnedFd>,
) -> Result<i32, String> {
    let is_needed = gate::any_is_open(&config.node.run_dir);
    let mut spare = watchdog.as_ref().filter(|_| !is_needed).and_then(|fd| fd.try_clone().ok());
    let done = run(config, text, place, (watchdog, &mut spare));
    if !matches!(done, Ok(EXIT_OK)) {
        petter::stop(spare);
    }
    done
}

fn run(
    config: Config,
    text: Option<String>,
    (path, named): (PathBuf, bool),
    (watchdog, spare): (Option<OwnedFd>, &mut Option<OwnedFd>),
) -> Result<i32, String> {
    block_signals()?;
    let _lock = prepare(&config.node)?;
    let pair = match config.pair.as_ref().map(|pair| keeper::setup::prepare(&config, pair)) {
        None => None,
        Some(Ok(pair)) => Some(pair),
        // Trying again does not mend it.
        Some(Err(why)) => {
            log::error!("{}: {why}", path.display());
            return Ok(EXIT_CONFIG);
        }
    };
    if let Some(text) = text {
        let counts = config.watchdog.as_ref().is_some_and(|section| section.device.is_own())
            || config.pair.as_ref().is_some_and(PairConfig::has_data);
        keep_good(Path::new(LAST_GOOD), &origin(&path), &text, counts);
    }
    let brain = Brain::new(config, path, named, pair, watchdog)?;
    // From here on it is the petter's: with a copy left, closing it would stop nothing.
    *spare = None;
    brain.run().map(|()| EXIT_OK)
}

/// Keeps a configuration without faults for [`go_on_all_the_same`], [`left_behind`] and the
/// generator.
fn keep_good(place: &Path, origin: &str, text: &str, counts: bool) {
    let kept = fs::read_to_string(place).ok();
    // One that needs no such file still takes the place of its own former one, or the generator
    // would go by that for ever.
    let is_wanted = counts || kept.as_ref().is_some_and(|kept| kept.starts_with(origin));
    let text = format!("{origin}{text}");
    if !is_wanted || kept.is_some_and(|kept| kept == text) {
        return;
    }
    let beside = place.with_extension("new");
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, place));
    if let Err(error) = written {
        log::warn!("cannot keep the configuration as {}: {error}", place.display());
    }
}

/// Makes the directories, and makes sure that this daemon is the only one in them.
fn prepare(node: &NodeConfig) -> Result<Flock<File>, String> {
    make_directory(&node.run_dir, 0o755)?;
    make_directory(&node.state_dir, 0o700)?;
    let path = node.run_dir.join("mastiffd.lock");
    let file = File::create(&path)
        .map_err(|error| format!("cannot create {}: {error}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| match error {
        nix::errno::Errno::EWOULDBLOCK => {
            format!(
                "another mastiffd runs in {}; stop it, or set node.run-dir",
                node.run_dir.display()
            )
        }
        error => format!("cannot lock {}: {error}", path.display()),
    })
}

fn make_directory(path: &Path, mode: u32) -> Result<(), String> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|error| format!("cannot create {}: {error}", path.display()))
}

fn parse_arguments() -> Result<Option<Arguments>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut arguments = Arguments { config: None, check: false, verbose: false };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('c') | Long("config") => arguments.config = Some(parser.value()?.into()),
            Long("check") => arguments.check = true,
            Short('v') | Long("verbose") => arguments.verbose = true,
            Short('V') | Long("version") => {
                println!("mastiffd {}", env!("CARGO_PKG_VERSION"));
                return Ok(None);
            }
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_is_kept_where_it_counts_and_takes_the_place_of_its_own() {
        let place = std::env::temp_dir().join(format!("mastiff-good-{}", std::process::id()));
        let (ours, other) = (origin(Path::new("/etc/a\n.toml")), origin(Path::new("/b.toml")));
        assert_eq!(ours.lines().count(), 1, "a comment, whatever the path is");
        let kept = |origin: &str, text: &str, counts| {
            keep_good(&place, origin, text, counts);
            fs::read_to_string(&place).ok()
        };
        assert_eq!(kept(&ours, "one", false), None);
        let one = Some(format!("{ours}one"));
        assert_eq!(kept(&ours, "one", true), one);
        assert_eq!(kept(&other, "two", false), one, "it is another daemon's");
        assert_eq!(kept(&ours, "three", false), Some(format!("{ours}three")));
        fs::remove_file(&place).unwrap();
    }
}
