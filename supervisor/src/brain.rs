//! The brain: the loop of checks, ladders, units, hooks, the control socket and the state file.
//!
//! Each turn has one clock reading and a fixed order: what arrived is gathered, then the core decides, then its actions
//! are started. Nothing in a turn waits: what can hang is done by the runner and the prober ([`crate::probes`]).
//!
//! | file | who owns what |
//! |---|---|
//! | `clients` | the control socket and its connections |
//! | `requests` | what a client may ask, and the answers |
//! | `alerts` | alerts on their way to hooks |
//! | `events` | the newest events and their log lines |
//! | `state` | the state file |
//! | `notify` | the socket to PID 1 |

use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use mastiff_core::event::{Action, CheckId, Event};
use mastiff_core::node::Node;
use mastiff_core::recovery::ActionId;
use mastiff_core::report::{Outcome, Severity};
use mastiff_core::time::{Mono, Span};
use mastiff_core::watchdog::{Progress, may_pet};
use mastiff_hwmon::root::Root;
use mio::unix::SourceFd;
use mio::{Events as Ready, Interest, Poll, Token};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::clock;
use crate::config::{self, CheckConfig, Config};
use crate::effects::{self, Cause, Work};
use crate::keeper::Keeper;
use crate::probes::wire::{Ended, Job, OUTPUT_BYTES, Output, Run};
use crate::probes::{News, Probes, Purpose};
use alerts::{Alerts, Tried};
use clients::{Asked, ClientId, Clients};
use events::{EVENTS_SAVED, Events};
use notify::Notify;
use state::{SAVE_GAP, SAVE_TIMEOUT, State};

pub mod alerts;
pub mod clients;
pub mod events;
pub mod notify;
mod requests;
pub mod state;

const SIGNALS: Token = Token(0);
const TIMER: Token = Token(1);
const FIRST_CLIENT: usize = 2;
const FIRST_PROBE: usize = FIRST_CLIENT + clients::CLIENTS_MAX + 1;
/// Descriptors that one wake-up reports; the rest is reported by the next.
const READY_MAX: usize = 256;
/// Rounds of "the core asks, the answer is there at once" in one turn: readings of quick sensors, and what their ladders
/// start. What is left after them is done in the next turn, which follows at once.
const ROUNDS_MAX: usize = 4;
/// How often the machine is looked over for things that default checks should watch.
const DISCOVER_EVERY: Span = Span::from_secs(60);
/// How long the end waits for the state file.
const LAST_SAVE: Span = Span::from_secs(2);
/// Reading a configuration file takes longer only on a dead disk.
const RELOAD_TIMEOUT: Span = Span::from_secs(10);
/// How often the keeper is told the health of the node, changed or not.
const TELL_KEEPER_EVERY: Span = Span::from_secs(1);

/// The loop and all that it owns.
#[derive(Debug)]
pub struct Brain {
    config: Config,
    config_path: PathBuf,
    /// The file was named on the command line, so it must exist.
    config_named: bool,
    node: Node,
    probes: Probes,
    keeper: Keeper,
    clients: Clients,
    events: Events,
    alerts: Alerts,
    notify: Notify,
    poll: Poll,
    timer: TimerFd,
    armed: Mono,
    signals: SignalFd,
    started: Mono,
    clocks: Clocks,
    save: Save,
    ready: bool,
    /// Clients that wait for a reload to end.
    reloading: Option<Vec<ClientId>>,
    ending: Option<Mono>,
}

/// When something is due that belongs to no part.
#[derive(Debug)]
struct Clocks {
    discover: Mono,
    pet: Mono,
    tell_keeper: Mono,
}

/// The state file: what waits to be written, and whether a write is under way.
#[derive(Debug, Default)]
struct Save {
    due: Option<Mono>,
    under_way: bool,
    /// It was said that writing fails.
    said: bool,
}

impl Save {
    /// When the next write starts: what is due while one is under way waits for its end, and is not forgotten.
    fn next(&self) -> Option<Mono> {
        self.due.filter(|_| !self.under_way)
    }
}

impl Brain {
    /// Makes everything that the loop needs. Signals must be blocked already ([`blocked_signals`]).
    ///
    /// # Errors
    /// With what was tried.
    pub fn new(config: Config, config_path: PathBuf, config_named: bool) -> Result<Self, String> {
        let failed = |what: &str| {
            let what = what.to_string();
            move |error: io::Error| format!("cannot {what}: {error}")
        };
        let now = clock::now();
        let poll = Poll::new().map_err(failed("make a poll descriptor"))?;
        let registry = || poll.registry().try_clone().map_err(failed("copy a poll descriptor"));
        let run_dir = &config.node.run_dir;
        let control = run_dir.join("control.sock");
        let clients = Clients::bind(&control, registry()?, FIRST_CLIENT)
            .map_err(failed(&format!("listen on {}", control.display())))?;
        let program = PathBuf::from("/proc/self/exe");
        let mut probes = Probes::new(Root::machine(), program, registry()?, FIRST_PROBE)
            .map_err(failed("watch units"))?;
        let heartbeat = run_dir.join("heartbeat.sock");
        probes.listen(&heartbeat).map_err(failed(&format!("listen on {}", heartbeat.display())))?;
        let signals = SignalFd::with_flags(
            &blocked_signals(),
            SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
        )
        .map_err(|error| format!("cannot make a signal descriptor: {error}"))?;
        let timer = TimerFd::new(
            ClockId::CLOCK_BOOTTIME,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )
        .map_err(|error| format!("cannot make a timer: {error}"))?;
        for (fd, token) in
            [(signals.as_raw_fd(), SIGNALS), (std::os::fd::AsFd::as_fd(&timer).as_raw_fd(), TIMER)]
        {
            poll.registry()
                .register(&mut SourceFd(&fd), token, Interest::READABLE)
                .map_err(failed("poll"))?;
        }
        let (state, fault) = match State::load(&state_path(&config), now, clock::unix_nanos()) {
            Ok(state) => (state, None),
            Err(why) => (State::default(), Some(why)),
        };
        let mut node = Node::new(config.node.policy);
        node.remember(state.memory, now);
        let mut events = Events::after(state.events, state.next_event);
        let version = env!("CARGO_PKG_VERSION");
        events.record(
            "daemon-starts",
            Severity::Notice,
            None,
            &format!("mastiffd {version} starts"),
        );
        if let Some(why) = fault {
            events.record(
                "state-lost",
                Severity::Warning,
                None,
                &format!("{why}; starting without what it remembered"),
            );
        }
        Ok(Self {
            alerts: Alerts::new(config.node.name.clone(), config.alerts.clone(), state.alerts),
            keeper: Keeper::start().map_err(failed("start the keeper"))?,
            notify: Notify::from_environment(),
            config,
            config_path,
            config_named,
            node,
            probes,
            clients,
            events,
            poll,
            timer,
            armed: Mono::BOOT,
            signals,
            started: now,
            clocks: Clocks { discover: now, pet: now, tell_keeper: now },
            save: Save::default(),
            ready: false,
            reloading: None,
            ending: None,
        })
    }

    /// Runs until a signal ends it.
    ///
    /// # Errors
    /// When the kernel refuses the poll itself: nothing can go on then.
    pub fn run(mut self) -> Result<(), String> {
        let mut ready = Ready::with_capacity(READY_MAX);
        let mut progress = Progress::default();
        loop {
            self.arm();
            match self.poll.poll(&mut ready, None) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("cannot poll: {error}")),
            }
            let now = clock::now();
            let asked = self.gather(&ready, now);
            self.decide(now);
            for asked in asked {
                self.obey(asked, now);
            }
            self.decide(now);
            self.keep_up(now);
            progress.brain = Some(now);
            progress.keeper = self.keeper.latest().map(|report| report.at);
            self.pet(progress, now);
            if self.is_over(now) {
                self.notify.status("stopped");
                self.keeper.stop();
                return Ok(());
            }
        }
    }

    /// Takes what has arrived; requests are answered after the turn's readings.
    fn gather(&mut self, ready: &Ready, now: Mono) -> Vec<Asked> {
        for event in ready {
            match event.token() {
                SIGNALS => self.take_signals(now),
                // Its reading is the rearming: an expired timer is told again until it is read.
                TIMER => drop(
                    self.timer
                        .wait()
                        .map_err(|error| log::debug!("the timer was not due: {error}")),
                ),
                token => {
                    if !self.clients.ready(token, now) {
                        self.probes.ready(token, now);
                    }
                }
            }
        }
        self.probes.tick(now);
        self.clients.requests(now)
    }

    fn take_signals(&mut self, now: Mono) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            match i32::try_from(info.ssi_signo).map(Signal::try_from) {
                Ok(Ok(Signal::SIGHUP)) => self.reload(None, now),
                Ok(Ok(Signal::SIGUSR1)) => self.dump(now),
                Ok(Ok(Signal::SIGTERM | Signal::SIGINT)) => self.end(now),
                _ => {}
            }
        }
    }

    /// Lets the core decide, and starts what it asks for, until nothing new is there.
    fn decide(&mut self, now: Mono) {
        if self.ending.is_some() {
            self.take_last_news(now);
            return;
        }
        for _ in 0..ROUNDS_MAX {
            let mut actions = Vec::new();
            for news in self.probes.news() {
                match news {
                    News::Reading((check, result)) => {
                        self.node.handle(Event::Reading { check, result }, now, &mut actions);
                    }
                    News::Nudge(check) => {
                        self.node.handle(Event::Nudge { check }, now, &mut actions)
                    }
                    News::Done(done) => {
                        self.take_done(done.purpose, done.result, now, &mut actions)
                    }
                }
            }
            self.node.tick(now, &mut actions);
            if actions.is_empty() {
                return;
            }
            self.perform(actions, now);
        }
    }

    fn perform(&mut self, actions: Vec<Action>, now: Mono) {
        for action in actions {
            match action {
                Action::Read { check } => self.probes.read(check, now),
                Action::Start { id, check, effect, arguments } => {
                    let mut actions = Vec::new();
                    let started = self.start(id, check, effect.name, &arguments, now, &mut actions);
                    if let Some(outcome) = started {
                        self.node.handle(Event::Outcome { id, outcome }, now, &mut actions);
                        // An outcome reports; it starts nothing, so this goes no deeper.
                        self.perform(actions, now);
                    }
                }
                Action::Report(report) => self.events.report(&report),
                Action::Alert(alert) => {
                    let gave_way = self.alerts.push(alert);
                    if gave_way > 0 {
                        let text = format!(
                            "{gave_way} alerts were dropped: too many wait for their hooks"
                        );
                        self.events.record("alert-lost", Severity::Error, None, &text);
                    }
                    self.save_soon(now);
                }
                Action::Save => self.save_soon(now),
            }
        }
    }

    /// Starts an effect; returns its outcome if that is known at once.
    fn start(
        &mut self,
        id: ActionId,
        check: CheckId,
        effect: &str,
        arguments: &[String],
        now: Mono,
        actions: &mut Vec<Action>,
    ) -> Option<Outcome> {
        let unknown = |why: &str| Some(Outcome::Unknown(why.into()));
        let Some(effect) = effects::find(effect) else { return unknown("there is no such effect") };
        let spec = self.node.spec(check);
        let name = spec.map_or_else(String::new, |spec| spec.name.to_string());
        let target = spec.map_or_else(String::new, |spec| spec.target.to_string());
        let make = match effect.work {
            Work::Program(make) => make,
            Work::Alert => {
                return match self.node.escalate(check, now, actions) {
                    Ok(()) => Some(Outcome::Done),
                    Err(why) => unknown(why),
                };
            }
        };
        let cause = Cause { target: &target, readings: self.node.readings(check) };
        let arguments = match make(&cause, arguments) {
            Ok(arguments) => arguments,
            Err(why) => return unknown(&why),
        };
        let environment = vec![
            ("MASTIFF_NODE".to_string(), self.config.node.name.clone()),
            ("MASTIFF_CHECK".to_string(), name),
            ("MASTIFF_TARGET".to_string(), target.clone()),
        ];
        let run = Run {
            arguments,
            environment,
            input: String::new(),
            timeout: effect.spec.deadline,
            output_max: OUTPUT_BYTES,
        };
        self.probes.run(Purpose::Effect(id), run, now).err().map(|why| Outcome::Unknown(why.into()))
    }

    fn take_done(
        &mut self,
        purpose: Purpose,
        result: Result<Output, String>,
        now: Mono,
        actions: &mut Vec<Action>,
    ) {
        match purpose {
            Purpose::Effect(id) => {
                let outcome = outcome(result);
                self.node.handle(Event::Outcome { id, outcome }, now, actions);
            }
            Purpose::Alert => self.take_alert_result(result, now),
            Purpose::State => self.take_save_result(result, now),
            Purpose::Reload => self.take_config(result, now),
            // The probes keep these to themselves.
            Purpose::Check(_) | Purpose::Units => {}
        }
    }

    fn take_alert_result(&mut self, result: Result<Output, String>, now: Mono) {
        let result = match outcome(result) {
            Outcome::Done => Ok(()),
            Outcome::Failed(why) | Outcome::Unknown(why) => Err(why.into_string()),
        };
        match self.alerts.tried(result, now) {
            Some(Tried::Again(why)) => {
                let text = format!("an alert hook failed and is tried again: {why}");
                self.events.record("alert-retry", Severity::Warning, None, &text);
            }
            Some(Tried::GivenUp(why)) => {
                let text = format!("an alert was not delivered after many tries: {why}");
                self.events.record("alert-lost", Severity::Error, None, &text);
            }
            Some(Tried::Delivered) | None => {}
        }
        self.save_soon(now);
    }

    /// What is due and belongs to no reading: hooks, the state file, followers, the keeper, default checks, readiness.
    fn keep_up(&mut self, now: Mono) {
        if self.ending.is_none()
            && let Some(run) = self.alerts.next(now)
            && let Err(why) = self.probes.run(Purpose::Alert, run, now)
        {
            self.take_alert_result(Err(why), now);
        }
        if self.save.next().is_some_and(|due| now >= due) {
            self.save_now(now);
        }
        if now >= self.clocks.discover && self.ending.is_none() {
            self.clocks.discover = now.after(DISCOVER_EVERY);
            self.discover(now);
        }
        if now >= self.clocks.tell_keeper {
            self.clocks.tell_keeper = next_second(now);
            self.keeper.tell(self.node.verdict(now), now);
        }
        self.clients.tick(now);
        let events = &self.events;
        self.clients.feed(events.next(), |seq| {
            events.since(seq).cloned().map(crate::control::Answer::Event).collect()
        });
        if !self.ready && self.node.first_round_is_over(now) {
            self.ready = true;
            self.notify.ready();
            let took = now.since(self.started);
            let text =
                format!("every check has been read, {took} after the start: {}", self.summary(now));
            self.events.record("daemon-ready", Severity::Notice, None, &text);
        }
        if self.ending.is_none() {
            let summary = self.summary(now);
            self.notify.status(&summary);
        }
    }

    /// Adds default checks for what appeared on the machine, and drops those of what went.
    fn discover(&mut self, now: Mono) {
        let all = self.all_checks();
        if !self.probes.has_exactly(&all) {
            self.configure(all, now);
        }
    }

    /// Those of the file, and what is found on the machine.
    fn all_checks(&self) -> Vec<CheckConfig> {
        let found = config::discovered(&self.config.node, &Root::machine(), &self.config.checks);
        self.config.checks.iter().cloned().chain(found).collect()
    }

    fn configure(&mut self, checks: Vec<CheckConfig>, now: Mono) {
        let mut actions = Vec::new();
        let specs = checks.iter().map(|check| check.spec.clone()).collect();
        let ids = self.node.configure(self.config.node.policy, specs, now, &mut actions);
        self.probes.configure(ids.into_iter().zip(checks).collect(), false);
        self.perform(actions, now);
        self.decide(now);
    }

    fn save_soon(&mut self, now: Mono) {
        let soon = now.after(SAVE_GAP);
        self.save.due = Some(self.save.due.map_or(soon, |due| due.min(soon)));
    }

    fn save_now(&mut self, now: Mono) {
        self.save.due = None;
        let events = self.events.last(EVENTS_SAVED).cloned().collect();
        let alerts = self.alerts.waiting().cloned().collect();
        let state = State::new(
            now,
            clock::unix_nanos(),
            self.node.memory(),
            alerts,
            self.events.next(),
            events,
        );
        let path = state_path(&self.config).display().to_string();
        let job = Job::Write { path, text: state.text() };
        match self.probes.file(Purpose::State, job, SAVE_TIMEOUT, now) {
            Ok(()) => self.save.under_way = true,
            Err(why) => self.take_save_result(Err(why), now),
        }
    }

    fn take_save_result(&mut self, result: Result<Output, String>, now: Mono) {
        self.save.under_way = false;
        match result {
            Ok(_) if self.save.said => {
                self.save.said = false;
                self.events.record(
                    "state-saved",
                    Severity::Notice,
                    None,
                    "the state file can be written again",
                );
            }
            Ok(_) => {}
            Err(why) => {
                // Tried again with the next change, or without one after a while; said once.
                self.save.due = Some(now.after(SAVE_TIMEOUT));
                if !self.save.said {
                    self.save.said = true;
                    let text = format!(
                        "{why}; pauses, budgets and waiting alerts would not survive a restart"
                    );
                    self.events.record("state-not-saved", Severity::Warning, None, &text);
                }
            }
        }
    }

    /// Has the configuration read again; `client` is told how it ended.
    fn reload(&mut self, client: Option<ClientId>, now: Mono) {
        match &mut self.reloading {
            Some(waiting) => waiting.extend(client),
            None => {
                self.reloading = Some(client.into_iter().collect());
                // Its end is told by READY=1, which nobody may hear before the first round is over.
                if self.ready {
                    self.notify.reloading();
                }
                let job = Job::Load {
                    path: self.config_path.display().to_string(),
                    named: self.config_named,
                };
                if let Err(why) = self.probes.file(Purpose::Reload, job, RELOAD_TIMEOUT, now) {
                    self.take_config(Err(why), now);
                }
            }
        }
    }

    fn take_config(&mut self, result: Result<Output, String>, now: Mono) {
        let loaded = match result {
            Ok(Output::Text(text)) => {
                config::load_text(&text, &self.config_path).map_err(|faults| faults.to_string())
            }
            Ok(_) => Err("the prober gave another answer than asked for".to_string()),
            Err(why) => Err(why),
        };
        let answer = match loaded.and_then(|config| self.adopt(config, now)) {
            Ok(text) => {
                self.events.record("config-loaded", Severity::Notice, None, &text);
                crate::control::Answer::Done(text)
            }
            Err(faults) => {
                let text = format!("the configuration was not loaded, the old one stays: {faults}");
                self.events.record("config-refused", Severity::Error, None, &text);
                crate::control::Answer::Error(text)
            }
        };
        if self.ready {
            self.notify.ready();
        }
        for client in self.reloading.take().unwrap_or_default() {
            self.clients.answer(client, &answer);
        }
    }

    /// Takes a new configuration.
    fn adopt(&mut self, config: Config, now: Mono) -> Result<String, String> {
        for (key, old, new) in [
            ("node.state-dir", &self.config.node.state_dir, &config.node.state_dir),
            ("node.run-dir", &self.config.node.run_dir, &config.node.run_dir),
        ] {
            if old != new {
                return Err(format!(
                    "{key}: moves from {} to {} only by a restart",
                    old.display(),
                    new.display()
                ));
            }
        }
        self.alerts.configure(config.node.name.clone(), config.alerts.clone());
        self.config = config;
        // Even if the checks are the same: the rhythm and the reminders may not be.
        self.configure(self.all_checks(), now);
        Ok(format!("configuration loaded from {}", self.config_path.display()))
    }

    /// The end: nothing new is started, the state file is written, then it is over.
    fn end(&mut self, now: Mono) {
        if self.ending.is_some() {
            return;
        }
        self.notify.stopping();
        self.events.record("daemon-stops", Severity::Notice, None, "mastiffd stops");
        self.ending = Some(now.after(LAST_SAVE));
        self.save.due = Some(now);
    }

    fn take_last_news(&mut self, now: Mono) {
        for news in self.probes.news() {
            if let News::Done(done) = news
                && done.purpose == Purpose::State
            {
                self.take_save_result(done.result.inspect_err(|why| log::warn!("{why}")), now);
            }
        }
    }

    fn is_over(&self, now: Mono) -> bool {
        let saved = !self.save.under_way && self.save.due.is_none_or(|due| due > now);
        self.ending.is_some_and(|deadline| saved || now >= deadline)
    }

    fn pet(&mut self, progress: Progress, now: Mono) {
        let Some(every) = self.notify.pet_every().filter(|_| now >= self.clocks.pet) else {
            return;
        };
        if may_pet(progress, now) {
            self.clocks.pet = now.after(every);
            self.notify.pet();
        } else {
            // Nothing can change before the next word of the keeper.
            self.clocks.pet = self.clocks.tell_keeper;
        }
    }

    /// Sets the timer to the next thing that is due.
    fn arm(&mut self) {
        let mut due = self
            .node
            .next_deadline()
            .min(self.probes.next_deadline())
            .min(self.alerts.next_deadline())
            .min(self.clients.next_deadline())
            .min(self.save.next().unwrap_or(Mono::FAR))
            .min(self.clocks.discover)
            .min(self.clocks.tell_keeper)
            .min(self.ending.unwrap_or(Mono::FAR));
        if self.notify.pet_every().is_some() {
            due = due.min(self.clocks.pet);
        }
        if due == self.armed {
            return;
        }
        self.armed = due;
        // Zero would disarm it; a moment that is past fires at once.
        let at = std::time::Duration::from_nanos(u64::try_from(due.as_nanos()).unwrap_or(0).max(1));
        let set = self.timer.set(
            Expiration::OneShot(TimeSpec::from_duration(at)),
            TimerSetTimeFlags::TFD_TIMER_ABSTIME,
        );
        if let Err(error) = set {
            log::error!("cannot set the timer: {error}");
        }
    }

    fn dump(&self, now: Mono) {
        log::info!("{}", self.summary(now));
        for view in self.node.views(now) {
            log::info!("{}: {} {}", view.name, view.verdict, view.reason);
        }
    }
}

/// The signals that the loop takes by its descriptor. Blocked in every thread before any is started.
pub fn blocked_signals() -> SigSet {
    [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1].into_iter().collect()
}

fn state_path(config: &Config) -> PathBuf {
    config.node.state_dir.join("state.json")
}

/// How a program ended, as the outcome of a rung.
fn outcome(result: Result<Output, String>) -> Outcome {
    match result {
        Ok(Output::Finished(Ended { code: Some(0), .. })) => Outcome::Done,
        Ok(Output::Finished(Ended { code: Some(code), output, .. })) => {
            let line = output.lines().next().unwrap_or("it said nothing");
            Outcome::Failed(format!("exit code {code}: {line}").into())
        }
        Ok(Output::Finished(Ended { signal: Some(signal), .. })) => {
            Outcome::Failed(format!("ended by signal {signal}").into())
        }
        Ok(Output::Finished(Ended { took, .. })) => {
            Outcome::Unknown(format!("still running after {took}, and killed").into())
        }
        Ok(_) => Outcome::Unknown("the runner gave another answer than asked for".into()),
        Err(why) => Outcome::Unknown(why.into()),
    }
}

fn next_second(now: Mono) -> Mono {
    let every = i64::try_from(TELL_KEEPER_EVERY.as_nanos()).unwrap_or(i64::MAX);
    Mono::from_nanos(
        now.as_nanos().saturating_sub(now.as_nanos().rem_euclid(every)).saturating_add(every),
    )
}
