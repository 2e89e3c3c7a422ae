//! How readings are taken: who reads which source, in which process, and what happens when it
//! hangs.
//!
//! ```text
//!   brain ── Quick, Unit (counters), Heartbeat ──► read in its own turn
//!     │
//!     ├── prober lane ──► prober (child of the runner): MayHang sensors, files of the state-dir.
//!     │                   May hang; is replaced.
//!     └── runner lane ──► runner: programs, network questions, forks probers. Never hangs.
//! ```

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use mastiff_core::event::CheckId;
use mastiff_core::reading::Readings;
use mastiff_core::sorted::Map;
use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::{End, Finished, Probe, Source, Wake, Wanted};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::clock;
use crate::config::CheckConfig;
use heartbeats::Heartbeats;
use lanes::{Counters, Done, Lanes};
pub use purpose::Purpose;
use units::Units;
use wire::{Ended, Job, OUTPUT_BYTES_MAX, Order, Output, Run};

pub mod child;
pub mod heartbeats;
pub mod lanes;
pub mod prober;
mod purpose;
pub mod runner;
pub mod units;
pub mod wire;

/// A reading, or why there is none.
pub type Reading = (CheckId, Result<Readings, Box<str>>);

/// Something that the probes learnt in a turn.
#[derive(Debug)]
pub enum News {
    /// A reading was taken.
    Reading(Reading),
    /// A reading is worth taking now.
    Nudge(CheckId),
    /// The answer to something that was not a reading.
    Done(Done<Purpose>),
}

/// Everything that reads.
#[derive(Debug)]
pub struct Probes {
    root: Root,
    registry: Registry,
    first_token: usize,
    lanes: Lanes<Purpose>,
    units: Units,
    heartbeats: Option<Heartbeats>,
    /// More datagrams wait than one turn takes.
    heartbeats_wait: bool,
    checks: Map<CheckId, Box<Entry>>,
    /// Which place of which check's wake list a token stands for.
    wakes: Map<usize, (CheckId, usize)>,
    next_wake: usize,
    news: Vec<News>,
}

struct Entry {
    config: CheckConfig,
    wanted: Wanted,
    opened: Option<Box<dyn Probe>>,
    tokens: Vec<usize>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("config", &self.config)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

/// Places in the range of tokens.
const UNITS_TOKEN: usize = lanes::TOKENS;
const HEARTBEATS_TOKEN: usize = UNITS_TOKEN + 1;
const FIRST_WAKE_TOKEN: usize = HEARTBEATS_TOKEN + 1;

impl Probes {
    /// Probes of this machine, with tokens from `first_token` on. `program` is this very binary.
    pub fn new(
        root: Root,
        program: PathBuf,
        registry: Registry,
        first_token: usize,
    ) -> std::io::Result<Self> {
        let units = Units::new(root.clone());
        if let Some(events) = units.events() {
            let token = Token(first_token.saturating_add(UNITS_TOKEN));
            registry.register(&mut SourceFd(&events.as_raw_fd()), token, Interest::READABLE)?;
        }
        Ok(Self {
            lanes: Lanes::new(program, registry.try_clone()?, first_token)?,
            root,
            registry,
            first_token,
            units,
            heartbeats: None,
            heartbeats_wait: false,
            checks: Map::new(),
            wakes: Map::new(),
            next_wake: FIRST_WAKE_TOKEN,
            news: Vec::new(),
        })
    }

    /// Opens the socket for heartbeats.
    ///
    /// # Errors
    /// Whatever keeps it from being made.
    pub fn listen(&mut self, path: &Path) -> std::io::Result<()> {
        let heartbeats = Heartbeats::bind(path, self.root.clone())?;
        let token = Token(self.first_token.saturating_add(HEARTBEATS_TOKEN));
        self.registry.register(
            &mut SourceFd(&heartbeats.as_raw_fd()),
            token,
            Interest::READABLE,
        )?;
        self.heartbeats = Some(heartbeats);
        Ok(())
    }

    /// Makes these the checks that can be read. One that goes on under its name keeps its
    /// descriptors.
    pub fn configure(&mut self, checks: Vec<(CheckId, CheckConfig)>, everything: bool) {
        let mut old = std::mem::take(&mut self.checks);
        for (id, config) in checks {
            let wanted = if everything { Wanted::ALL } else { wanted(&config) };
            if matches!(config.sensor.source, Source::Unit) {
                self.units.add(id, &config.spec.target, wanted);
            }
            let (opened, tokens) =
                old.remove(&id).map_or((None, Vec::new()), |entry| (entry.opened, entry.tokens));
            self.checks.insert(id, Box::new(Entry { config, wanted, opened, tokens }));
        }
        for mut gone in old.into_values() {
            self.close(&mut gone);
        }
        let known = &self.checks;
        self.units.retain(|id| known.contains_key(&id));
        self.lanes
            .keep_only(|purpose| matches!(purpose, Purpose::Check(id) if known.contains_key(id)));
    }

    /// The checks that it reads.
    pub fn configs(&self) -> impl Iterator<Item = &CheckConfig> {
        self.checks.values().map(|entry| &entry.config)
    }

    /// Whether its checks are just these, by name and definition.
    pub fn has_exactly(&self, checks: &[CheckConfig]) -> bool {
        let is_known = |check: &CheckConfig| self.checks.values().any(|it| it.config == *check);
        checks.len() == self.checks.len() && checks.iter().all(is_known)
    }

    /// Takes a reading; the answer is among the next [`News`], at once or later.
    pub fn read(&mut self, id: CheckId, now: Mono) {
        let Some(entry) = self.checks.get(&id) else { return };
        let timeout = entry.config.spec.timeout;
        let taken = match entry.config.sensor.source {
            Source::Quick(open) => {
                let reading = self.read_quick(id, open, now);
                self.news.push(News::Reading((id, reading)));
                return;
            }
            Source::Unit => {
                self.news.extend(self.units.read(id, now).map(News::Reading));
                self.call_units(now);
                return;
            }
            Source::Heartbeat => {
                let heard = self
                    .heartbeats
                    .as_ref()
                    .map(|heard| heard.read(&entry.config.spec.target, clock::awake()));
                let reading = heard.ok_or_else(|| "heartbeats are heard by the daemon only".into());
                self.news.push(News::Reading((id, reading)));
                return;
            }
            Source::MayHang(_) => {
                let job = Job::Read(probe(id, entry));
                self.lanes.job(Purpose::Check(id), job, timeout, now)
            }
            Source::Network(_) => {
                let order = Order::Ask(probe(id, entry), timeout);
                self.lanes.order(Purpose::Check(id), order, timeout, now)
            }
            Source::Program(program) => {
                match (program.arguments)(&entry.config.spec.target, &entry.config.options) {
                    Ok(arguments) => {
                        self.lanes.order(Purpose::Check(id), run(arguments, timeout), timeout, now)
                    }
                    Err(error) => Err(error.to_string()),
                }
            }
        };
        if let Err(why) = taken {
            self.news.push(News::Reading((id, Err(why.into()))));
        }
    }

    /// Runs a program for something that is not a reading.
    ///
    /// # Errors
    /// When too much is under way already.
    pub fn run(&mut self, purpose: Purpose, run: Run, now: Mono) -> Result<(), String> {
        let timeout = run.timeout;
        self.lanes.order(purpose, Order::Run(run), timeout, now)
    }

    /// Has the prober touch a file.
    ///
    /// # Errors
    /// When the last such job still hangs, or too much waits already.
    pub fn file(
        &mut self,
        purpose: Purpose,
        job: Job,
        timeout: Span,
        now: Mono,
    ) -> Result<(), String> {
        self.lanes.job(purpose, job, timeout, now)
    }

    /// Takes what has arrived on one of its tokens.
    pub fn ready(&mut self, token: Token, now: Mono) {
        let mut done = Vec::new();
        if self.lanes.ready(token, now, &mut done) {
            self.take(done, now);
            return;
        }
        match token.0.checked_sub(self.first_token) {
            Some(UNITS_TOKEN) => {
                let nudged = self.units.happened();
                self.news.extend(nudged.into_iter().map(News::Nudge));
            }
            Some(HEARTBEATS_TOKEN) => self.hear(),
            Some(place) => self.woken(place),
            None => {}
        }
    }

    /// Gives up what is overdue, and starts what is due.
    pub fn tick(&mut self, now: Mono) {
        let mut done = Vec::new();
        self.lanes.tick(now, &mut done);
        self.take(done, now);
        self.call_units(now);
        if self.heartbeats_wait {
            self.hear();
        }
    }

    fn hear(&mut self) {
        let now = clock::awake();
        self.heartbeats_wait =
            self.heartbeats.as_mut().is_some_and(|heartbeats| heartbeats.hear(now));
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn next_deadline(&self) -> Mono {
        let heartbeats = if self.heartbeats_wait { Mono::BOOT } else { Mono::FAR };
        self.lanes
            .next_deadline()
            .min(self.units.next_deadline().unwrap_or(Mono::FAR))
            .min(heartbeats)
    }

    /// What was learnt since the last call.
    pub fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Numbers for `mastiff status`: of the lanes, processes that hang now, and heartbeats of
    /// nobody.
    pub fn counters(&self) -> (Counters, usize, u64) {
        (
            self.lanes.counters(),
            self.lanes.stuck(),
            self.heartbeats.as_ref().map_or(0, Heartbeats::ignored),
        )
    }

    fn read_quick(
        &mut self,
        id: CheckId,
        open: mastiff_hwmon::sensor::Open,
        now: Mono,
    ) -> Result<Readings, Box<str>> {
        let root = self.root.clone();
        let entry = self.checks.get_mut(&id).ok_or("the check is gone")?;
        let (target, options) = (&entry.config.spec.target, &entry.config.options);
        let fresh = entry.opened.is_none();
        let mut probe = match entry.opened.take() {
            Some(probe) => probe,
            None => open(&root, target, options).map_err(|error| error.to_string())?,
        };
        let mut readings = Readings::new(entry.config.sensor.quantities);
        let taken = probe.read(now, entry.wanted, &mut readings);
        if taken.is_ok() {
            entry.opened = Some(probe);
            if fresh {
                self.watch(id);
            }
        } else if let Some(mut entry) = self.checks.remove(&id) {
            // Whatever is wrong, the next reading starts anew. The descriptors are closed with the
            // probe, which takes them out of the poll by itself.
            self.forget_wakes(&mut entry);
            self.checks.insert(id, entry);
        }
        taken.map(|()| readings).map_err(|error| error.to_string().into())
    }

    /// Registers the descriptors that announce something worth reading.
    fn watch(&mut self, id: CheckId) {
        let Some(entry) = self.checks.get_mut(&id) else { return };
        let Some(probe) = &entry.opened else { return };
        for (index, wake) in probe.wakes().into_iter().enumerate() {
            let (fd, interest) = match wake {
                Wake::Readable(fd) => (fd, Interest::READABLE),
                Wake::Priority(fd) => (fd, Interest::PRIORITY),
            };
            let place = self.next_wake;
            self.next_wake = self.next_wake.saturating_add(1);
            let token = Token(self.first_token.saturating_add(place));
            match self.registry.register(&mut SourceFd(&fd.as_raw_fd()), token, interest) {
                Ok(()) => {
                    self.wakes.insert(place, (id, index));
                    entry.tokens.push(place);
                }
                // It is read at its interval all the same.
                Err(error) => {
                    log::warn!("{}: cannot wait for events: {error}", entry.config.spec.name)
                }
            }
        }
    }

    fn woken(&mut self, place: usize) {
        let Some((id, index)) = self.wakes.get(&place).copied() else { return };
        if let Some(probe) = self.checks.get_mut(&id).and_then(|entry| entry.opened.as_mut()) {
            probe.woken(index);
            self.news.push(News::Nudge(id));
        }
    }

    fn close(&mut self, entry: &mut Entry) {
        if let Some(probe) = &entry.opened {
            for wake in probe.wakes() {
                let (Wake::Readable(fd) | Wake::Priority(fd)) = wake;
                self.registry.deregister(&mut SourceFd(&fd.as_raw_fd())).ok();
            }
        }
        entry.opened = None;
        self.forget_wakes(entry);
    }

    fn forget_wakes(&mut self, entry: &mut Entry) {
        for place in entry.tokens.drain(..) {
            self.wakes.remove(&place);
        }
    }

    fn call_units(&mut self, now: Mono) {
        if let Some(run) = self.units.call(now)
            && let Err(why) = self.run(Purpose::Units, run, now)
        {
            let answers = self.units.answer(Err(why), now);
            self.news.extend(answers.into_iter().map(News::Reading));
        }
    }

    fn take(&mut self, done: Vec<Done<Purpose>>, now: Mono) {
        for answer in done {
            match answer.purpose {
                Purpose::Check(id) => {
                    if let Some(entry) = self.checks.get(&id) {
                        let reading = judge(entry, answer.result).map_err(Into::into);
                        self.news.push(News::Reading((id, reading)));
                    }
                }
                Purpose::Units => {
                    let result = answer.result.and_then(|output| match output {
                        Output::Finished(ended) => Ok(ended),
                        _ => Err("the runner gave another answer than asked for".to_string()),
                    });
                    let answers = self.units.answer(result, now);
                    self.news.extend(answers.into_iter().map(News::Reading));
                }
                Purpose::Effect(_)
                | Purpose::Alert
                | Purpose::State
                | Purpose::Flight
                | Purpose::GoingDown
                | Purpose::GroupUnits(..)
                | Purpose::Hook
                | Purpose::Gates
                | Purpose::Readiness(_)
                | Purpose::Reload
                | Purpose::NextConfig
                | Purpose::BootLoop
                | Purpose::Going(_)
                | Purpose::Fence => self.news.push(News::Done(answer)),
            }
        }
    }
}

/// The quantities that the conditions of a check name.
fn wanted(config: &CheckConfig) -> Wanted {
    let conditions = config.spec.fail_when.iter().chain(&config.spec.warn_when);
    conditions.fold(Wanted::NONE, |wanted, condition| wanted.with(condition.quantity()))
}

fn probe(id: CheckId, entry: &Entry) -> wire::Probe {
    wire::Probe {
        check: id.0,
        sensor: entry.config.spec.sensor.to_string(),
        target: entry.config.spec.target.to_string(),
        options: entry.config.options.0.clone(),
        wanted: entry.wanted.bits(),
    }
}

fn run(arguments: Vec<String>, timeout: Span) -> Order {
    Order::Run(Run {
        arguments,
        environment: Vec::new(),
        input: String::new(),
        timeout,
        output_max: OUTPUT_BYTES_MAX,
    })
}

/// Makes a reading of an answer.
fn judge(entry: &Entry, result: Result<Output, String>) -> Result<Readings, String> {
    let quantities = entry.config.sensor.quantities;
    match (result?, entry.config.sensor.source) {
        (Output::Readings(slots, note, _), _) => Ok(Readings::from_slots(quantities, slots, note)),
        (Output::Finished(ended), Source::Program(program)) => {
            let mut readings = Readings::new(quantities);
            let finished = finished(ended);
            (program.judge)(&finished, &entry.config.options, &mut readings)
                .map_err(|error| error.to_string())?;
            Ok(readings)
        }
        _ => Err("the answer is of another kind than the question".to_string()),
    }
}

/// How a program ended, in the words of the sensors.
pub fn finished(ended: Ended) -> Finished {
    let end = match (ended.code, ended.signal) {
        (Some(code), _) => End::Exit(code),
        (None, Some(signal)) => End::Signal(signal),
        (None, None) => End::TooLong,
    };
    Finished { end, output: ended.output, took: ended.took }
}
