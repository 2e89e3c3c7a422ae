//! `mastiffd`: arguments, configuration, directories, then the brain's loop until the end, or the
//! witness's.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::brain::Brain;
use crate::config::{self, NodeConfig, WitnessConfig};
use crate::witness::{Service, StartError};
use crate::{journal, keeper, signals};

/// All is well.
pub const EXIT_OK: i32 = 0;
/// The arguments make no sense (sysexits.h, EX_USAGE).
pub const EXIT_USAGE: i32 = 64;
/// Something that must be there is not: another daemon runs, or the system refuses a resource
/// (EX_UNAVAILABLE).
pub const EXIT_UNAVAILABLE: i32 = 69;
/// The configuration has faults (EX_CONFIG); the unit does not restart on it.
pub const EXIT_CONFIG: i32 = 78;

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
    let loaded = config::load_or_default(&path, named);
    let runnable = loaded.and_then(|config| match config::not_run(&config, &path) {
        None => Ok(config),
        Some(fault) => Err(fault.into()),
    });
    let config = match runnable {
        Ok(config) => config,
        Err(faults) => {
            for line in faults.to_string().lines() {
                log::error!("{line}");
            }
            return EXIT_CONFIG;
        }
    };
    if arguments.check {
        return EXIT_OK;
    }
    let done = match &config.witness {
        Some(witness) => serve(witness, &path),
        None => run(config, path, named).map_err(StartError::Refused),
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

fn run(config: config::Config, path: PathBuf, named: bool) -> Result<i32, String> {
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
    Brain::new(config, path, named, pair)?.run().map(|()| EXIT_OK)
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
