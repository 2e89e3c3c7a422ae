//! The brain: the loop of checks, ladders, units, hooks, the control socket and the state file.
//!
//! Each turn has one clock reading and a fixed order: what arrived is gathered, then the core
//! decides, then its actions are started. Nothing in a turn waits: what can hang is done by the
//! runner and the prober ([`crate::probes`]).
//!
//! | file | who owns what |
//! |---|---|
//! | `clients` | the control socket and its connections |
//! | `requests` | what a client may ask, and the answers |
//! | `alerts` | alerts on their way to hooks |
//! | `events` | the newest events and their log lines |
//! | `start` | what is made before the first turn |
//! | `work` | what the ladder starts, and how it ends |
//! | `reloading` | new configurations, and what is found on the machine |
//! | `saving`, `state` | when the state file is written, and what it holds |
//! | `going` | the way down: rungs `reboot` and `reset` |
//! | `bootloop` | the boot-loop guard's file, and whether this boot only observes |
//! | `flight` | what goes into the flight record, and when it is written |
//! | `moving` | which checks rest, how fit the node is for a group, the rung `switchover` |
//! | `fencing` | the fence agent: off, then asked whether it is |
//! | `units` | the units of groups |
//! | `hooks` | programs that are told of a change of role |
//! | `notify` | the socket to PID 1 |
//! | `pair` | what the keeper tells of the groups, and what is wanted of them |
//! | `parting` | what becomes of the groups when the daemon ends: let go, or left to the next one |
//! | `watchdog` | which device is petted, how that ends, and the self-test |

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use mastiff_core::event::{Action, Event};
use mastiff_core::node::Node;
use mastiff_core::recovery::ActionId;
use mastiff_core::report::Severity;
use mastiff_core::sorted::Map;
use mastiff_core::time::{Mono, Span};
use mastiff_core::watchdog::{Progress, may_pet};
use mio::{Events as Ready, Poll, Token};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{Expiration, TimerFd, TimerSetTimeFlags};

use crate::clock;
use crate::config::Config;
use crate::keeper::Keeper;
use crate::probes::wire::Run;
use crate::probes::{News, Probes, Purpose};
use alerts::Alerts;
use bootloop::BootLoop;
use clients::{Asked, Clients};
use events::Events;
use flight::Flight;
use going::WayDown;
use hooks::Hooks;
use notify::Notify;
use pair::Desk;
use parting::Parting;
use reloading::Reloading;
use saving::Save;
use units::Units;
use watchdog::Dog;

pub mod alerts;
mod bootloop;
pub mod clients;
pub mod events;
mod fencing;
pub mod flight;
mod going;
mod hooks;
mod moving;
pub mod notify;
pub mod pair;
mod parting;
mod reloading;
mod requests;
mod saving;
mod start;
pub mod state;
pub mod units;
pub mod watchdog;
mod work;

const SIGNALS: Token = Token(0);
const TIMER: Token = Token(1);
/// The keeper has news.
const NEWS: Token = Token(2);
const FIRST_CLIENT: usize = 3;
const FIRST_PROBE: usize = FIRST_CLIENT + clients::CLIENTS_MAX + 1;
/// Descriptors that one wake-up reports; the rest is reported by the next.
const READY_MAX: usize = 256;
/// Rounds of "the core asks, the answer is there at once" in one turn: readings of quick sensors,
/// and what their ladders start. What is left after them is done in the next turn, which follows at
/// once.
const ROUNDS_MAX: usize = 4;
/// How often the machine is looked over for things that default checks should watch.
const DISCOVER_EVERY: Span = Span::from_secs(60);
/// How long the end waits for the state file.
const LAST_SAVE: Span = Span::from_secs(2);
/// How often a sign of life goes into the flight record.
const PULSE_EVERY: Span = Span::from_secs(5);
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
    desk: Desk,
    /// Of each group, in the order of the configuration.
    units: Vec<Units>,
    hooks: Hooks,
    dog: Dog,
    clients: Clients,
    events: Events,
    alerts: Alerts,
    flight: Flight,
    notify: Notify,
    poll: Poll,
    timer: TimerFd,
    /// What the timer is set to; [`Mono::FAR`] while it is not.
    armed: Mono,
    signals: SignalFd,
    started: Mono,
    clocks: Clocks,
    save: Save,
    boot_loop: BootLoop,
    going: WayDown,
    ready: bool,
    /// Programs of the rungs that are under way, still to be started.
    steps: Map<ActionId, VecDeque<Run>>,
    reloading: Reloading,
    ending: Option<Mono>,
    /// How it parts from its groups, at the end.
    parting: Option<Parting>,
}

/// When something is due that belongs to no part.
#[derive(Debug)]
struct Clocks {
    discover: Mono,
    pulse: Mono,
    pet: Mono,
    tell_keeper: Mono,
}

impl Brain {
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
            self.keeper.look();
            let asked = self.gather(&ready, now);
            self.take_pair_news(now);
            self.settle_checks(now);
            self.keep_moving(now);
            self.keep_watchdog(now);
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
                // It fires once: what is still due then must set it anew, even to the same moment.
                TIMER => self.armed = Mono::FAR,
                token => {
                    if !self.clients.ready(token) {
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
                Ok(Ok(Signal::SIGHUP)) => self.reload(None, None, now),
                Ok(Ok(Signal::SIGUSR1)) => self.dump(now),
                Ok(Ok(Signal::SIGTERM | Signal::SIGINT)) => self.end(now),
                _ => {}
            }
        }
    }

    /// Lets the core decide, and starts what it asks for, until nothing new is there.
    fn decide(&mut self, now: Mono) {
        // A machine that goes down stops its units on purpose.
        if self.ending.is_some() || self.goes_down() {
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

    /// What is due and belongs to no reading: hooks, the state file, followers, the keeper, default
    /// checks, readiness.
    fn keep_up(&mut self, now: Mono) {
        let serves = self.ending.is_none() && !self.goes_down();
        if serves
            && let Some(run) = self.alerts.next(now)
            && let Err(why) = self.probes.run(Purpose::Alert, run, now)
        {
            self.take_alert_result(Err(why), now);
        }
        self.keep_going(now);
        self.tick_units(now);
        self.call_hooks(now);
        self.save_events(now);
        if self.save.next().is_some_and(|due| now >= due) {
            self.save_now(now);
        }
        if now >= self.clocks.discover && serves {
            self.clocks.discover = now.after(DISCOVER_EVERY);
            self.discover(now);
            self.look_at_pid1();
        }
        if now >= self.clocks.tell_keeper {
            self.clocks.tell_keeper = now.next_on_grid(TELL_KEEPER_EVERY);
            self.watch_boot_loop(now);
            self.tell_fitness(now);
            self.tell_watchdog(now);
            self.hold_back(now);
            self.note_dates(now);
        }
        if now >= self.clocks.pulse && self.ending.is_none() {
            self.clocks.pulse = now.next_on_grid(PULSE_EVERY);
            self.pulse(now);
        }
        self.keep_flight(now);
        self.keep_parting(now);
        self.keep_trial(now);
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

    /// The end: nothing new is started, the state file is written, then it is over.
    fn end(&mut self, now: Mono) {
        if self.ending.is_some() {
            return;
        }
        self.notify.stopping();
        self.events.record("daemon-stops", Severity::Notice, None, "mastiffd stops");
        self.ending = Some(now.after(LAST_SAVE));
        self.forget_watched_boot(now);
        self.note_end(now);
        self.part(now);
    }

    fn take_last_news(&mut self, now: Mono) {
        for news in self.probes.news() {
            let News::Done(done) = news else { continue };
            match done.purpose {
                Purpose::State => {
                    self.take_save_result(done.result.inspect_err(|why| log::warn!("{why}")), now);
                }
                Purpose::Flight => self.take_flight_result(done.result, now),
                Purpose::GoingDown => self.take_going_down(done.result, now),
                Purpose::Alert => {
                    // Or the next daemon would deliver it again.
                    self.take_alert_result(done.result, now);
                    self.save.due = Some(now);
                }
                Purpose::BootLoop => self.take_boot_loop(done.result, now),
                Purpose::Going(stage) => self.take_stage(stage, done.result, now),
                Purpose::NextConfig => self.take_next_config(done.result, now),
                Purpose::Check(_) | Purpose::Units | Purpose::Effect(_) | Purpose::Reload => {}
                Purpose::Fence | Purpose::Readiness(_) => {}
                Purpose::GroupUnits(step, call) => {
                    self.take_units(step, call, done.result, now);
                }
                Purpose::Hook => self.take_hook(done.result),
                Purpose::Gates => self.take_gates(done.result),
            }
        }
    }

    fn is_over(&mut self, now: Mono) -> bool {
        let over = self.is_written(now) && self.has_parted();
        // The last of all: until then it is petted.
        over && self.has_left_watchdog(now)
    }

    /// Whether the daemon ends, and its files are written, or too late.
    fn is_written(&self, now: Mono) -> bool {
        let saved = !self.save.under_way && self.save.due.is_none_or(|due| due > now);
        let saved = saved && self.flight.is_written() && self.boot_loop.is_saved();
        self.ending.is_some_and(|deadline| saved || now >= deadline)
    }

    fn pet(&mut self, progress: Progress, now: Mono) {
        let Some(every) = self.notify.pet_every().filter(|_| now >= self.clocks.pet) else {
            return;
        };
        if may_pet(progress, now) {
            self.clocks.pet = now.after(every);
            self.notify.pet(self.ready && self.ending.is_none());
        } else {
            // Nothing can change before the next word of the keeper.
            self.clocks.pet = self.clocks.tell_keeper;
        }
    }

    /// Sets the timer to the next thing that is due.
    fn arm(&mut self) {
        let due = match self.ending {
            // Nothing else is looked after any more, so it may be overdue.
            Some(ending) => {
                let ending = self.parting_deadline(ending);
                // While units stop, this loop is still looked at.
                let life = self.parting.as_ref().map_or(Mono::FAR, |_| {
                    let pet = self.notify.pet_every().map_or(Mono::FAR, |_| self.clocks.pet);
                    self.clocks.tell_keeper.min(pet).min(self.units_deadline(clock::now()))
                });
                let work = ending.min(self.probes.next_deadline()).min(life);
                self.watchdog_deadline().unwrap_or(work)
            }
            None => {
                // What is not looked after while the machine goes down may be overdue.
                let repairs = match self.goes_down() {
                    true => Mono::FAR,
                    false => self
                        .node
                        .next_deadline()
                        .min(self.alerts.next_deadline())
                        .min(self.clocks.discover),
                };
                repairs
                    .min(self.probes.next_deadline())
                    .min(self.clients.next_deadline())
                    .min(self.desk.next_deadline())
                    .min(self.units_deadline(clock::now()))
                    .min(self.going_deadline())
                    .min(self.reloading.next_deadline())
                    .min(self.clocks.pulse)
                    .min(self.clocks.tell_keeper)
                    .min(self.notify.pet_every().map_or(Mono::FAR, |_| self.clocks.pet))
            }
        };
        let due = due.min(self.save.next().unwrap_or(Mono::FAR)).min(self.flight.next_deadline());
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
