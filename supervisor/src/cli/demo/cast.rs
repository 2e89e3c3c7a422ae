//! The machines of the demo and the daemons on them.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::super::client::Client as Asker;
use super::super::failure::Failure;
use super::client::{Client, Side, station_mac};
use super::stage::{Network, as_first};
use super::wires::Wires;
use crate::control::{Answer, EventView, Request, Status};
use crate::key;
use crate::sys::process;
use crate::sys::thread::make_fifo;

/// The address that moves.
pub(super) const FLOATING: Ipv4Addr = station_ip(100);
/// What the pair is asked to keep. Any kernel can with nftables, whatever its tick.
pub(super) const TAKEOVER_WITHIN: &str = "300ms";

const SWITCH: &str = "switch";
const WITNESS: &str = "witness";
const CLIENT: &str = "client";
const DEVICE: &str = "eth0";
const PORT: u16 = 4170;
/// The lowest of the real-time priorities, below the keeper's.
const PRIORITY: i32 = 1;
/// A daemon answers within milliseconds, if it answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Lines of a daemon's log that are shown when it ends before its time.
const LOG_LINES: usize = 5;

/// Makes this process a real-time one where that is allowed, so that what is late is the pair, and
/// not who looks at it. Its children are ordinary again.
pub(super) fn urgent() {
    make_fifo(PRIORITY).ok();
}

/// Addresses for documentation (RFC 5737): they mean nothing to anybody.
const fn station_ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number)
}

/// One machine with a daemon.
#[derive(Debug)]
struct Machine {
    name: &'static str,
    home: PathBuf,
    /// It lasts longer than its processes: so does its end of the cable.
    _network: Network,
    daemon: Child,
    /// Whether its daemon should be running.
    is_on: bool,
}

/// All machines.
#[derive(Debug)]
pub(super) struct Cast {
    switch: (Network, Wires),
    a: Machine,
    b: Machine,
    witness: Machine,
}

impl Cast {
    /// Makes the machines, wires them, and starts their daemons; the client comes with them.
    ///
    /// # Errors
    /// What could not be made, and why.
    pub(super) fn new(mastiffd: &Path, place: &Path) -> Result<(Self, Client), Failure> {
        let key_file = place.join("key");
        key::create(&key_file).map_err(|error| Failure::Unavailable(error.to_string()))?;
        let network = Network::new()?;
        let mut wires = Wires::here()?;
        wires.switch(SWITCH)?;
        let mut switch = (network, wires);
        let mut machine = |name: &'static str, number: u8, config: String| {
            let network = station(&mut switch, name, number)?;
            let home = place.join(name);
            let (config, config_path) =
                (format!("{}{config}", node_section(name, &home)), home.join("mastiff.toml"));
            let made = fs::create_dir(&home).and_then(|()| fs::write(&config_path, config));
            made.map_err(|error| unavailable(&format!("write {}", config_path.display()), &error))?;
            let daemon = start(mastiffd, &home, &config_path)?;
            Ok::<_, Failure>(Machine { name, home, _network: network, daemon, is_on: true })
        };
        let witness = machine(WITNESS, 3, witness_sections(&key_file))?;
        let a = machine(Side::A.name(), 1, pair_sections(Side::A, &key_file))?;
        let b = machine(Side::B.name(), 2, pair_sections(Side::B, &key_file))?;
        // The last one: the client's sockets are opened where this process is.
        let _client = station(&mut switch, CLIENT, 4)?;
        let client = Client::new(DEVICE, (station_ip(4), station_mac(4)), FLOATING)?;
        Ok((Self { switch, a, b, witness }, client))
    }

    fn node(&self, side: Side) -> &Machine {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }

    /// The control socket of a node.
    pub(super) fn socket(&self, side: Side) -> PathBuf {
        self.node(side).socket()
    }

    /// The configuration of a node.
    pub(super) fn config(&self, side: Side) -> PathBuf {
        self.node(side).home.join("mastiff.toml")
    }

    /// How a node stands; `None` while it does not answer.
    pub(super) fn status(&self, side: Side) -> Option<Status> {
        match self.ask(side, &Request::Status {})? {
            Answer::Status(status) => Some(*status),
            _ => None,
        }
    }

    /// What happened on a node to its role, oldest first; nothing of one that does not answer.
    pub(super) fn events(&self, side: Side) -> Vec<EventView> {
        match self.ask(side, &Request::Events { last: None, follow: false }) {
            Some(Answer::Events(events)) => {
                events.into_iter().filter(|event| event.kind == "role").collect()
            }
            _ => Vec::new(),
        }
    }

    fn ask(&self, side: Side, request: &Request) -> Option<Answer> {
        Asker::connect(&self.socket(side), ANSWER_WITHIN).ok()?.ask(request).ok()
    }

    /// Fails if a daemon has ended that should not, with the last lines of its log.
    ///
    /// # Errors
    /// So.
    pub(super) fn all_run(&mut self) -> Result<(), Failure> {
        for machine in [&mut self.a, &mut self.b, &mut self.witness] {
            if let (true, Ok(Some(status))) = (machine.is_on, machine.daemon.try_wait()) {
                let (name, log) = (machine.name, machine.log());
                return Err(Failure::Bug(format!("mastiffd of {name} ended, {status}: {log}")));
            }
        }
        Ok(())
    }

    /// Parts the nodes, or joins them again. Both reach the witness and the client all the time.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn part(&mut self, parted: bool) -> Result<(), Failure> {
        let (network, wires) = &mut self.switch;
        network.enter()?;
        wires.isolate(Side::A.name(), parted)?;
        wires.isolate(Side::B.name(), parted)
    }

    /// Stops the daemon of a node in the middle of whatever it does, or lets it go on.
    ///
    /// # Errors
    /// kill(2).
    pub(super) fn freeze(&self, side: Side, frozen: bool) -> Result<(), Failure> {
        self.node(side).signal(if frozen { Signal::SIGSTOP } else { Signal::SIGCONT })
    }

    /// Ends a machine: all its processes, and its cable. To switch off a link can take the kernel
    /// a while, so a child does that: the client asks on meanwhile.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn cut_power(&mut self, side: Side) -> Result<Helper, Failure> {
        let machine = match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        };
        machine.is_on = false;
        let (network, wires) = &mut self.switch;
        let child = process::fork(|| {
            urgent();
            // The kernel answers on without any process, as no machine would: so the cable goes
            // first, and by then nothing may run any more that notices.
            let stopped = machine.signal(Signal::SIGSTOP).and_then(|()| network.enter());
            let done = stopped.and_then(|()| wires.set_up(side.name(), false));
            // The first process of its namespace: the kernel kills all others with it.
            i32::from(done.and_then(|()| machine.signal(Signal::SIGKILL)).is_err())
        });
        child.map(Helper).map_err(|error| unavailable("fork", &error.into()))
    }
}

/// A child that does something meanwhile.
#[derive(Debug)]
#[must_use]
pub(super) struct Helper(Pid);

impl Helper {
    /// Waits for its end.
    ///
    /// # Errors
    /// When it could not do what it should.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match waitpid(self.0, None) {
            Ok(WaitStatus::Exited(_, 0)) => Ok(()),
            other => Err(Failure::Unavailable(format!("cannot pull a cable: {other:?}"))),
        }
    }
}

impl Machine {
    fn socket(&self) -> PathBuf {
        self.home.join("run/control.sock")
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = i32::try_from(self.daemon.id()).unwrap_or(i32::MAX);
        kill(Pid::from_raw(pid), signal).map_err(|error| {
            unavailable(&format!("send {signal} to mastiffd of {}", self.name), &error.into())
        })
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.home.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(LOG_LINES).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("; ")
    }
}

/// A station with its cable; this process is in its network then.
fn station(switch: &mut (Network, Wires), name: &str, number: u8) -> Result<Network, Failure> {
    let network = Network::new()?;
    let mut wires = Wires::here()?;
    switch.0.enter()?;
    switch.1.cable((SWITCH, name), (network.file(), DEVICE, station_mac(number)))?;
    network.enter()?;
    wires.address(DEVICE, station_ip(number))?;
    wires.set_up("lo", true)?;
    wires.set_up(DEVICE, true)?;
    Ok(network)
}

/// A daemon in the network of this process, as the first process of a namespace.
fn start(mastiffd: &Path, home: &Path, config: &Path) -> Result<Child, Failure> {
    let started = as_first(|| {
        let log = File::create(home.join("log"))?;
        let mut command = Command::new(mastiffd);
        command.arg("--config").arg(config).env_clear().stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log).spawn()
    });
    started.map_err(|error| unavailable(&format!("start {}", mastiffd.display()), &error))
}

fn node_section(name: &str, home: &Path) -> String {
    format!(
        "[node]\nname = \"{name}\"\ndefault-checks = false\nstate-dir = \"{0}/state\"\n\
         run-dir = \"{0}/run\"\n\n",
        home.display()
    )
}

fn pair_sections(side: Side, key: &Path) -> String {
    let (own, other) = match side {
        Side::A => (station_ip(1), station_ip(2)),
        Side::B => (station_ip(2), station_ip(1)),
    };
    let (peer, key, witness) = (side.other().name(), key.display(), station_ip(3));
    format!(
        "[pair]\nname = \"demo\"\npeer = \"{peer}\"\nkey-file = \"{key}\"\n\
         takeover-within = \"{TAKEOVER_WITHIN}\"\nwitness = \"{witness}:{PORT}\"\n\
         paths = [{{ local = \"{own}:{PORT}\", peer = \"{other}:{PORT}\" }}]\n\n\
         [[group]]\nname = \"web\"\naddresses = [\"{FLOATING}/32 dev {DEVICE}\"]\n"
    )
}

fn witness_sections(key: &Path) -> String {
    format!(
        "[witness]\nlisten = \"0.0.0.0:{PORT}\"\n\n\
         [[witness.pair]]\nname = \"demo\"\nkey-file = \"{}\"\n",
        key.display()
    )
}

fn unavailable(what: &str, error: &std::io::Error) -> Failure {
    Failure::Unavailable(format!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn the_files_of_the_demo_have_no_fault() {
        let (home, key) = (Path::new("/run/x"), Path::new("/run/key"));
        for (name, sections) in [
            ("a", pair_sections(Side::A, key)),
            ("b", pair_sections(Side::B, key)),
            ("witness", witness_sections(key)),
        ] {
            let text = format!("{}{sections}", node_section(name, home));
            let config = config::load_text(&text, Path::new("demo.toml"));
            let config = config.unwrap_or_else(|faults| panic!("{name}: {faults}\n{text}"));
            assert_eq!(config.node.name, name);
            assert_eq!(config.pair.is_some(), name != "witness");
            assert_eq!(config.witness.is_some(), name == "witness");
            assert!(config::not_run(&config, Path::new("demo.toml")).is_none(), "{name}");
        }
    }
}
