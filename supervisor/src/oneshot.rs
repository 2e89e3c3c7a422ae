//! Every check once, without the daemon: what `mastiff check` does on a machine where mastiff does
//! not run yet.
//!
//! The same core, the same probes, the same runner and prober as in the daemon; only time is short:
//! what is bad now is believed at once, and what does not answer within [`PATIENCE`] is unknown.

use std::path::{Path, PathBuf};

use mastiff_core::event::{Action, CheckId, Event};
use mastiff_core::health::Verdict;
use mastiff_core::node::Node;
use mastiff_core::time::{Mono, Span};
use mastiff_core::view::CheckView;
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::Sensor;
use mio::{Events, Poll};

use crate::clock;
use crate::config::{self, CheckConfig, Faults};
use crate::probes::{News, Probes};

/// The whole run takes no longer than this when something hangs.
pub const PATIENCE: Span = Span::from_secs(10);
/// What needs two readings, such as a rate, gets its second one after this time.
const SECOND_READING: Span = Span::from_millis(200);

/// Why there are no answers.
#[derive(Debug)]
pub enum OneshotError {
    /// The configuration has faults.
    Config(Faults),
    /// There is no check of this name.
    NoCheck(String),
    /// The system refuses a resource.
    System(std::io::Error),
}

impl std::fmt::Display for OneshotError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config(faults) => write!(f, "{faults}"),
            Self::NoCheck(name) => {
                write!(f, "there is no check \"{name}\"; `mastiff check` lists them")
            }
            Self::System(error) => write!(f, "cannot start the probes: {error}"),
        }
    }
}

impl std::error::Error for OneshotError {}

/// Which checks are to be run.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// Those of the configuration and those found, or of them the ones with these names, targets or
    /// sensors.
    Named(&'a [String]),
    /// Of the same those whose sensor this takes, and one for each further sensor and target.
    Of(fn(&str) -> bool, &'a [(&'static Sensor, String)]),
}

/// Runs the checks of a configuration, or those named, and returns them the worst first.
///
/// # Errors
/// Each variant of [`OneshotError`]. A check that cannot be read is no error: it is unknown, with
/// the reason.
pub fn run(path: &Path, named: bool, which: &Which<'_>) -> Result<Vec<CheckView>, OneshotError> {
    let config = config::load_or_default(path, named).map_err(OneshotError::Config)?;
    let mut checks = config.checks.clone();
    checks.extend(config::discovered(&config.node, &Root::machine(), &config.checks));
    match which {
        Which::Named([]) => {}
        Which::Named(names) => {
            if let Some(name) =
                names.iter().find(|name| !checks.iter().any(|check| answers_to(check, name)))
            {
                return Err(OneshotError::NoCheck(name.clone()));
            }
            checks.retain(|check| names.iter().any(|name| answers_to(check, name)));
        }
        Which::Of(is_wanted, further) => {
            checks.retain(|check| is_wanted(&check.spec.sensor));
            checks.extend(config::for_each(further.iter().cloned(), &config.node, &checks));
        }
    }
    for check in &mut checks {
        impatient(check);
    }
    let mut round = Round::new(&config, checks).map_err(OneshotError::System)?;
    round.read_until(clock::now().after(PATIENCE)).map_err(OneshotError::System)?;
    if round.node.counts()[2] > 0 {
        // A rate has no value at its first reading.
        let second = clock::now().after(SECOND_READING);
        round.wait_until(second).map_err(OneshotError::System)?;
        round.read_again(second);
        round.read_until(second.after(SECOND_READING)).map_err(OneshotError::System)?;
    }
    Ok(round.node.views(clock::now()))
}

/// A check may be called by its name, its target or its sensor.
fn answers_to(check: &CheckConfig, name: &str) -> bool {
    [&check.spec.name, &check.spec.target, &check.spec.sensor].iter().any(|own| &***own == name)
}

/// There is one look, so it is believed. No rung is climbed.
fn impatient(check: &mut CheckConfig) {
    check.spec.fail_after = Span::ZERO;
    check.spec.recover_after = Span::ZERO;
    check.spec.timeout = check.spec.timeout.min(PATIENCE);
    check.spec.interval = Span::from_secs(3600);
    check.spec.on_fail.clear();
    // Without the daemon nobody knows what is active here, and who asks wants an answer.
    check.spec.group = None;
}

struct Round {
    poll: Poll,
    probes: Probes,
    node: Node,
    checks: Vec<CheckId>,
}

impl Round {
    fn new(config: &config::Config, checks: Vec<CheckConfig>) -> std::io::Result<Self> {
        let poll = Poll::new()?;
        let program = PathBuf::from("/proc/self/exe");
        let mut probes = Probes::new(Root::machine(), program, poll.registry().try_clone()?, 0)?;
        let mut node = Node::new(config.node.policy);
        let specs = checks.iter().map(|check| check.spec.clone()).collect();
        let ids = node.configure(config.node.policy, specs, clock::now(), &mut Vec::new());
        probes.configure(ids.iter().copied().zip(checks).collect(), true);
        Ok(Self { poll, probes, node, checks: ids })
    }

    /// Turns until every check has been read or the time is over.
    fn read_until(&mut self, deadline: Mono) -> std::io::Result<()> {
        while clock::now() < deadline {
            let now = clock::now();
            if self.turn(now) {
                return Ok(());
            }
            self.wait(self.probes.next_deadline().min(self.node.next_deadline()).min(deadline))?;
        }
        Ok(())
    }

    /// Lets time pass while answers still arrive.
    fn wait_until(&mut self, moment: Mono) -> std::io::Result<()> {
        while clock::now() < moment {
            self.wait(moment)?;
            self.turn(clock::now());
        }
        Ok(())
    }

    fn read_again(&mut self, now: Mono) {
        for check in self.checks.clone() {
            let unknown = self.node.spec(check).and_then(|spec| self.node.view(&spec.name, now));
            if unknown.is_some_and(|view| {
                view.verdict == Verdict::Unknown && view.reading_age_secs.is_some()
            }) {
                self.node.handle(Event::Nudge { check }, now, &mut Vec::new());
            }
        }
    }

    /// One turn as in the daemon; true when nothing more is awaited.
    fn turn(&mut self, now: Mono) -> bool {
        let mut actions = Vec::new();
        self.probes.tick(now);
        self.node.tick(now, &mut actions);
        loop {
            for action in actions.drain(..) {
                if let Action::Read { check } = action {
                    self.probes.read(check, now);
                }
            }
            let news = self.probes.news();
            if news.is_empty() {
                return self.node.is_quiet();
            }
            for item in news {
                match item {
                    News::Reading((check, result)) => {
                        self.node.handle(Event::Reading { check, result }, now, &mut actions);
                    }
                    News::Nudge(_) | News::Done(_) => {}
                }
            }
        }
    }

    fn wait(&mut self, until: Mono) -> std::io::Result<()> {
        let mut ready = Events::with_capacity(64);
        let wait = std::time::Duration::from_nanos(until.since(clock::now()).as_nanos());
        match self.poll.poll(&mut ready, Some(wait)) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let now = clock::now();
        for event in &ready {
            self.probes.ready(event.token(), now);
        }
        Ok(())
    }
}
