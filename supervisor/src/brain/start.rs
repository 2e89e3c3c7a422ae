//! What the loop needs before its first turn.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use mastiff_core::node::Node;
use mastiff_core::report::Severity;
use mastiff_core::sorted::Map;
use mastiff_core::time::Mono;
use mastiff_hwmon::root::Root;
use mio::unix::SourceFd;
use mio::{Interest, Poll, Waker};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};

use super::alerts::Alerts;
use super::bootloop::BootLoop;
use super::clients::Clients;
use super::events::Events;
use super::flight::Flight;
use super::going::WayDown;
use super::hooks::Hooks;
use super::notify::Notify;
use super::pair::{Desk, GroupMemory};
use super::reloading::Reloading;
use super::saving::{Save, state_path};
use super::state::State;
use super::units::Units;
use super::watchdog::Dog;
use super::{Brain, Clocks, FIRST_CLIENT, FIRST_PROBE, NEWS, SIGNALS, TIMER};
use crate::config::Config;
use crate::keeper::setup::{Setup, Work};
use crate::keeper::{Keeper, memory, realtime};
use crate::petter::Permits;
use crate::probes::Probes;
use crate::{clock, fdstore, signals};

impl Brain {
    /// Makes everything that the loop needs. The signals of [`signals::blocked`] must be blocked
    /// already.
    ///
    /// # Errors
    /// With what was tried.
    pub fn new(
        config: Config,
        config_path: PathBuf,
        config_named: bool,
        pair: Option<(Setup, Work)>,
        watchdog: Option<OwnedFd>,
    ) -> Result<Self, String> {
        let now = clock::now();
        let poll = Poll::new().map_err(failed("make a poll descriptor"))?;
        let (signals, timer) = descriptors(&poll)?;
        let (clients, probes) = sockets(&config, &poll)?;
        let (state, fault) = match State::load(&state_path(&config), now, clock::unix_nanos()) {
            Ok(state) => (state, None),
            Err(why) => (State::default(), Some(why)),
        };
        let mut node = Node::new(config.node.policy);
        node.remember(state.memory, now);
        let mut events = Events::after(state.events, state.next_event);
        let (version, host) = (env!("CARGO_PKG_VERSION"), mastiff_hwmon::host::describe());
        let text = format!("mastiffd {version} starts on {host}");
        let flight = Flight::start(&config.node.state_dir, &text, &mut events, now);
        events.record("daemon-starts", Severity::Notice, None, &text);
        if let Some(why) = fault {
            let text = format!("{why}; starting without what it remembered");
            events.record("state-lost", Severity::Warning, None, &text);
        }
        let boot_loop = BootLoop::load(&config, &mut events);
        let waker = Waker::new(poll.registry(), NEWS).map_err(failed("make a waker"))?;
        let waker = Arc::new(waker);
        let dog = Dog::start(&config, state.watchdog, watchdog, Arc::clone(&waker))
            .map_err(failed("start the petter"))?;
        let (keeper, desk) = keeper(pair, &config, state.pair, dog.permits(), Arc::clone(&waker))?;
        let units = Units::of(&config);
        let mut brain = Self {
            alerts: Alerts::new(config.node.name.clone(), config.alerts.clone(), state.alerts),
            flight,
            keeper,
            desk,
            units,
            hooks: Hooks::default(),
            dog,
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
            armed: Mono::FAR,
            signals,
            started: now,
            clocks: Clocks { discover: now, pulse: now, pet: now, tell_keeper: now },
            save: Save::default(),
            boot_loop,
            going: WayDown::new(waker),
            ready: false,
            steps: Map::new(),
            reloading: Reloading::default(),
            ending: None,
            parting: None,
        };
        brain.look_back(now);
        brain.close_gates(now);
        Ok(brain)
    }
}

/// The real-time loop, with a pair if there is one.
fn keeper(
    pair: Option<(Setup, Work)>,
    config: &Config,
    memory: Map<String, GroupMemory>,
    permits: Option<Permits>,
    brain: Arc<Waker>,
) -> Result<(Keeper, Desk), String> {
    let guard = pair.as_ref().map(|(_, work)| work.guard.clone()).unwrap_or_default();
    let desk = Desk::new(config.pair.as_ref(), guard, memory);
    let pair = pair.map(|(mut setup, work)| {
        let groups = desk.groups();
        setup.remember(|key| {
            let name = groups.iter().find(|(known, _)| *known == key).map(|(_, name)| name);
            name.and_then(|name| desk.memory.get(name)).copied().unwrap_or_default().into()
        });
        (setup, work)
    });
    if (pair.is_some() || permits.is_some())
        && let Err(why) = realtime::lock_memory()
    {
        log::warn!("a machine out of memory may delay the keeper: {why}");
    }
    if let Some((setup, _)) = &pair {
        let memory = setup.memory.descriptor();
        if let Err(why) = fdstore::keep(memory::NAME, memory.as_fd()) {
            log::warn!("{why}: a restart will be slow");
        }
    }
    let keeper = Keeper::start(pair, permits, brain).map_err(failed("start the keeper"))?;
    Ok((keeper, desk))
}

/// The signals and the timer.
fn descriptors(poll: &Poll) -> Result<(SignalFd, TimerFd), String> {
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    let signals = SignalFd::with_flags(&signals::blocked(), flags)
        .map_err(|error| format!("cannot make a signal descriptor: {error}"))?;
    let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
    let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, flags)
        .map_err(|error| format!("cannot make a timer: {error}"))?;
    for (fd, token) in [(signals.as_raw_fd(), SIGNALS), (timer.as_fd().as_raw_fd(), TIMER)] {
        poll.registry()
            .register(&mut SourceFd(&fd), token, Interest::READABLE)
            .map_err(failed("poll"))?;
    }
    Ok((signals, timer))
}

/// The control socket, and everything that reads.
fn sockets(config: &Config, poll: &Poll) -> Result<(Clients, Probes), String> {
    let registry = || poll.registry().try_clone().map_err(failed("copy a poll descriptor"));
    let control = config.node.run_dir.join("control.sock");
    let clients = Clients::bind(&control, registry()?, FIRST_CLIENT)
        .map_err(failed(&format!("listen on {}", control.display())))?;
    let program = PathBuf::from("/proc/self/exe");
    let mut probes = Probes::new(Root::machine(), program, registry()?, FIRST_PROBE)
        .map_err(failed("watch units"))?;
    let heartbeat = config.node.run_dir.join("heartbeat.sock");
    probes.listen(&heartbeat).map_err(failed(&format!("listen on {}", heartbeat.display())))?;
    Ok((clients, probes))
}

fn failed(what: &str) -> impl Fn(io::Error) -> String {
    let what = what.to_string();
    move |error| format!("cannot {what}: {error}")
}
