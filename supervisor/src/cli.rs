//! The operator's command line: one file for each verb, and how things are printed.
//!
//! A verb gathers what it needs (from the daemon through `client`, or from the machine), turns it
//! into text and prints that once. Pure parts take an `Out` (width, colour) and return text, so
//! that tests see what a person would. Running checks without the daemon comes in from outside, as
//! [`RunChecks`].

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use mastiff_core::time::Span;
use mastiff_core::view::CheckView;

use crate::config::{self as configuration, Config, DEFAULT_PATH, RUN_DIR_DEFAULT};
use crate::control::{Answer, Request};
use crate::oneshot::Which;
use client::Client;
use failure::{EX_USAGE, Failure};
use print::{Color, Out};

mod check;
mod client;
mod config;
mod confirm;
mod demo;
mod doctor;
mod events;
mod explain;
mod failure;
mod generator;
mod going_down;
mod guard;
mod hardware;
mod key;
mod nagios;
mod pause;
mod plan;
mod print;
mod rehearse;
mod reload;
mod simulate;
mod status;
mod switchover;
mod table;
mod watchdog;
mod why;

/// The name of the socket in `node.run-dir`.
const SOCKET_NAME: &str = "control.sock";
/// How long an answer is waited for, unless a verb knows better.
const PATIENCE: Duration = Duration::from_secs(5);
/// Answers may be waited for from this long ...
const TIMEOUT_MIN: Span = Span::from_millis(10);
/// ... to this long.
const TIMEOUT_MAX: Span = Span::from_secs(3600);

/// Runs checks of a configuration here and now, once, without the daemon: given the file, whether
/// the operator named it (else it need not exist), and which ones; more than asked for does no
/// harm. The error says why none could be run.
pub type RunChecks = fn(&Path, bool, &Which<'_>) -> Result<Vec<CheckView>, String>;

const EXAMPLES: &str = "\
Examples:
  mastiff check                       what is good and what is bad here, now
  mastiff hardware                    this machine's parts, and how they are
  mastiff status                      what the daemon sees, and for how long
  mastiff explain \"filesystem /\"      everything about one check
  mastiff events -f                   what happens, as it happens
  mastiff why                         why this machine rebooted
  mastiff pause web --for 30m --why \"new release\"
  mastiff rehearse                    whether a takeover would work, now
  mastiff switchover                  hand the group over to the other node
  mastiff doctor                      what on this machine needs attention

Exit codes: 0 done, 1 refused, 64 wrong usage, 69 the daemon does not run or
answer, 70 a bug, 77 not permitted, 78 faults in the configuration. `check`,
`hardware`, `status -q`, `doctor`, `watchdog` and `why` have codes of their own;
see their --help.";

#[derive(Debug, Parser)]
#[command(
    name = "mastiff",
    version,
    about = "Shows and steers mastiffd: health, repair and maintenance of this machine",
    after_help = EXAMPLES,
    max_term_width = 80
)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Options of every verb.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every verb")]
struct Global {
    /// Configuration file [default: /etc/mastiff/mastiff.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Control socket [default: control.sock in the run-dir]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Wait so long for the daemon [default: 5s; moves: 20s]
    #[arg(long, global = true, value_name = "TIME", value_parser = timeout)]
    timeout: Option<Span>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// When to colour; NO_COLOR is honoured
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_possible_values = true)]
    color: Color,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Status(status::Arguments),
    Check(check::Arguments),
    Hardware(hardware::Arguments),
    Explain(explain::Arguments),
    Events(events::Arguments),
    Why(why::Arguments),
    Pause(pause::Pause),
    Resume(pause::Resume),
    Reload(reload::Arguments),
    Switchover(switchover::Switchover),
    Failover(switchover::Failover),
    Rehearse(rehearse::Arguments),
    Config(config::Arguments),
    Simulate(simulate::Arguments),
    Doctor(doctor::Arguments),
    Watchdog(watchdog::Arguments),
    #[command(hide = true)]
    GoingDown(going_down::Arguments),
    #[command(hide = true)]
    Generator(generator::Arguments),
    Key(key::Arguments),
    Demo(demo::Arguments),
}

/// What every verb may use.
struct Context {
    config: PathBuf,
    /// Whether the operator named the file.
    named: bool,
    socket: Option<PathBuf>,
    /// As the operator wants it.
    timeout: Option<Duration>,
    json: bool,
    out: Out,
    run_checks: RunChecks,
}

/// How to look at a witness, which touches no disk and talks to its pairs only.
const ASK: &str = "`mastiff status` on a node says whether it is heard, `systemctl kill -s USR1 \
                   mastiff-witness` has it log its counters";

impl Context {
    /// The configuration file.
    fn load(&self) -> Result<Config, Failure> {
        configuration::load_or_default(&self.config, self.named)
            .map_err(|faults| Failure::Config(format!("the configuration has faults:\n{faults}")))
    }

    /// The control socket: the one named, else that of the configuration. A file with faults does
    /// not keep anybody from asking a daemon that runs on the last good one.
    fn socket(&self) -> PathBuf {
        let of_config = || self.load().ok().map(|config| config.node.run_dir.join(SOCKET_NAME));
        self.socket
            .clone()
            .or_else(of_config)
            .unwrap_or_else(|| Path::new(RUN_DIR_DEFAULT).join(SOCKET_NAME))
    }

    fn connect(&self) -> Result<Client, Failure> {
        self.connect_within(PATIENCE)
    }

    fn connect_within(&self, patience: Duration) -> Result<Client, Failure> {
        let client = Client::connect(&self.socket(), self.timeout.unwrap_or(patience));
        client.map_err(|failure| match failure {
            Failure::NotRunning(_)
                if self.socket.is_none() && self.load().is_ok_and(|it| it.witness.is_some()) =>
            {
                let path = self.config.display();
                Failure::Witness(format!("{path} is a witness's, which opens no socket: {ASK}"))
            }
            other => other,
        })
    }

    /// Asks the daemon one thing. A refusal is an `Ok`: what it means depends on what was asked.
    fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        self.connect()?.ask(request)
    }

    /// Asks for something to be done, and prints that it was.
    fn order(&self, request: &Request, refused: fn(String) -> Failure) -> Result<u8, Failure> {
        self.order_within(PATIENCE, request, refused)
    }

    /// The same for what takes its time.
    fn order_within(
        &self,
        patience: Duration,
        request: &Request,
        refused: fn(String) -> Failure,
    ) -> Result<u8, Failure> {
        match self.connect_within(patience)?.ask(request)? {
            Answer::Done(text) if self.json => print::print_json(&Answer::Done(text))?,
            Answer::Done(text) => print::print(&format!("{}\n", self.out.wrap(&text, 0)))?,
            // The daemon lets only root give orders: to anybody else a refusal most likely means
            // that.
            Answer::Error(text) if !nix::unistd::geteuid().is_root() => {
                return Err(Failure::Permission(print::clean(&text)));
            }
            Answer::Error(text) => return Err(refused(text)),
            other => return Err(unexpected(&other)),
        }
        Ok(0)
    }
}

/// An answer to another question than was asked.
fn unexpected(answer: &Answer) -> Failure {
    let what = match answer {
        Answer::Status(_) => "a status",
        Answer::Check(_) => "a check",
        Answer::Events(_) | Answer::Event(_) => "events",
        Answer::Done(_) => "\"done\"",
        Answer::Error(text) => {
            return Failure::Unavailable(format!("mastiffd refuses: {}", print::clean(text)));
        }
    };
    Failure::Bug(format!("mastiffd answered {what}, which was not asked; please report this bug"))
}

fn timeout(text: &str) -> Result<Span, String> {
    let span = Span::parse(text).map_err(|error| error.to_string())?;
    if span < TIMEOUT_MIN || span > TIMEOUT_MAX {
        return Err(format!("must be between {TIMEOUT_MIN} and {TIMEOUT_MAX}"));
    }
    Ok(span)
}

/// Runs the command line and returns the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>, run_checks: RunChecks) -> u8 {
    let Arguments { global, verb } = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let context = Context {
        named: global.config.is_some(),
        config: global.config.unwrap_or_else(|| DEFAULT_PATH.into()),
        socket: global.socket,
        timeout: global.timeout.map(|timeout| Duration::from_nanos(timeout.as_nanos())),
        json: global.json,
        out: Out::standard(global.color),
        run_checks,
    };
    let done = match &verb {
        Verb::Status(arguments) => status::run(&context, arguments),
        Verb::Check(arguments) => check::run(&context, arguments),
        Verb::Hardware(arguments) => hardware::run(&context, arguments),
        Verb::Explain(arguments) => explain::run(&context, arguments),
        Verb::Events(arguments) => events::run(&context, arguments),
        Verb::Why(arguments) => why::run(&context, arguments),
        Verb::Pause(arguments) => pause::pause(&context, arguments),
        Verb::Resume(arguments) => pause::resume(&context, arguments),
        Verb::Reload(arguments) => reload::run(&context, arguments),
        Verb::Switchover(arguments) => switchover::switchover(&context, arguments),
        Verb::Rehearse(arguments) => rehearse::run(&context, arguments),
        Verb::Failover(arguments) => switchover::failover(&context, arguments),
        Verb::Config(arguments) => config::run(&context, arguments),
        Verb::Simulate(arguments) => simulate::run(&context, arguments),
        Verb::Doctor(arguments) => doctor::run(arguments, &context),
        Verb::Watchdog(arguments) => watchdog::run(arguments, &context),
        Verb::GoingDown(_) => going_down::run(&context),
        Verb::Generator(arguments) => generator::run(&context, arguments),
        Verb::Key(arguments) => key::run(&context, arguments),
        Verb::Demo(_) => demo::run(&context),
    };
    done.unwrap_or_else(|failure| {
        if failure != Failure::ReaderGone {
            complain(&format!("mastiff: {failure}\n"));
        }
        failure.code()
    })
}

/// Help and version go to the standard output, complaints to the standard error.
fn usage(error: &clap::Error) -> u8 {
    let text = error.to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match print::print(&text) {
            Ok(()) => 0,
            Err(failure) => failure.code(),
        };
    }
    complain(&text.strip_prefix("error:").map_or(text.clone(), |rest| format!("mastiff:{rest}")));
    EX_USAGE
}

/// To the standard error. If that cannot be written there is nobody left to tell; the exit code
/// still says it.
fn complain(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}
