//! How many pairs one core of a witness serves: the real program on the first processor, and both
//! nodes of every pair, ten times a second each, on the second one.
//!
//!     cargo build --release -p mastiff --bin mastiffd
//!     cargo run --release -p mastiff --example witness_load target/release/mastiffd 1000 10000
//!
//! It prints the share of the witness's processor, what was answered of what was asked, how long
//! that took from the question's bytes to the answer's, and the memory of a pair. All of it goes
//! over loopback, where the sender's processor does the receiver's share of the kernel's work: so
//! the witness also pays for what arrives at the nodes, and not for what arrives at itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mastiff::clock::clocks;
use mastiff::key::{self, KeyFile};
use mastiff::mac::PairKey;
use mastiff::udp::{BATCH, Inbox, Outbox, Socket};
use mastiff_core::pair::link::{Echo, Envelope, Sequence};
use mastiff_core::pair::message::{
    Ask, Beat, Epoch, GroupKey, Health, Member, Role, Sender, Session, Standing,
};
use mastiff_core::time::Span;
use mastiff_core::wire::{Keys, LENGTH, Message, encode};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Both nodes of a pair ask so often.
const EVERY: Duration = Duration::from_millis(100);
/// Until the witness votes, and everything is in the caches that will ever be.
const WARM_UP: Duration = Duration::from_secs(12);
const MEASURED: Duration = Duration::from_secs(10);
/// On all addresses, as by default: it costs a little to answer from the one that was asked.
const LISTEN: &str = "0.0.0.0:41700";
const WITNESS: &str = "127.0.0.1:41700";
const NODES: &str = "127.0.0.1:41701";

struct Node {
    keys: Keys<PairKey>,
    member: Member,
    last: u64,
    echo: Option<Echo>,
}

impl Node {
    fn message(&mut self, started: u64) -> [u8; LENGTH] {
        let now = clocks();
        let boot = u64::try_from(now.boot.as_nanos()).unwrap();
        self.last = boot.max(self.last + 1);
        let envelope = Envelope {
            from: Sender::Node(self.member),
            to: Sender::Witness,
            session: Session(1),
            sequence: Sequence(self.last),
            echo: self.echo,
        };
        let owns = self.member == Member::First;
        let (lease, epoch) = (Span::from_millis(700), Epoch(started));
        let ask = Ask { epoch, sent: now, lease, promise: Span::from_secs(1), held: true };
        let beat = Beat {
            group: GroupKey(1),
            definition: 2,
            role: if owns { Role::Active } else { Role::Standby },
            standing: Standing { health: Health::Healthy, preferred: owns },
            not_ready: None,
            highest: Epoch(started),
            stops_within: None,
            peer_stops_within: None,
            released: None,
            carried: None,
            ask: owns.then_some(ask),
            answer: None,
        };
        encode(&Message { envelope, beat }, &self.keys)
    }
}

/// A number in the fields of the wire.
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[derive(Default)]
struct Tally {
    asked: u64,
    answered: u64,
    granted: u64,
    /// Microseconds from question to answer, where there was one.
    took: Vec<u32>,
}

struct Load {
    nodes: Vec<Node>,
    by_pair: std::collections::HashMap<u64, usize>,
    socket: Socket,
    inbox: Inbox,
    outbox: Outbox,
    started: u64,
    next: u64,
    begun: Instant,
}

impl Load {
    fn new(pairs: usize, key: &Path) -> Self {
        let file = KeyFile::read(key).unwrap();
        let mut nodes = Vec::new();
        let mut by_pair = std::collections::HashMap::new();
        for number in 0..pairs {
            let keys = file.keys(&name(number));
            by_pair.insert(keys.pair.0, nodes.len());
            for member in [Member::First, Member::Second] {
                nodes.push(Node { keys: keys.clone(), member, last: 0, echo: None });
            }
        }
        let to: SocketAddr = WITNESS.parse().unwrap();
        let socket = Socket::open(NODES.parse().unwrap(), Some(to)).unwrap();
        let started = u64::try_from(clocks().boot.as_nanos()).unwrap();
        let (inbox, outbox) = (Inbox::default(), Outbox::default());
        Self { nodes, by_pair, socket, inbox, outbox, started, next: 0, begun: Instant::now() }
    }

    /// Sends what is due, in the order of the nodes, spread evenly over the time.
    fn send(&mut self, tally: &mut Tally) {
        let count = u64::try_from(self.nodes.len()).unwrap();
        let every = EVERY.as_nanos();
        let due = self.begun.elapsed().as_nanos() * u128::from(count) / every;
        let due = u64::try_from(due).unwrap();
        // Late ones are not sent twice as fast: a node does not do that either.
        self.next = self.next.max(due.saturating_sub(count));
        for _ in 0..BATCH {
            if self.next >= due {
                break;
            }
            let at = usize::try_from(self.next % count).unwrap();
            self.outbox.push(self.nodes[at].message(self.started), None);
            self.next += 1;
            tally.asked += 1;
        }
        self.outbox.send(&mut self.socket);
        self.outbox.clear();
    }

    fn receive(&mut self, tally: &mut Tally) {
        while self.inbox.receive(&mut self.socket) > 0 {
            let now = u64::try_from(clocks().boot.as_nanos()).unwrap();
            for (bytes, _) in self.inbox.iter().filter(|(bytes, _)| bytes.len() == LENGTH) {
                let second = usize::from(bytes[17] == 2);
                let node = &mut self.nodes[self.by_pair[&word(bytes, 8)] + second];
                let (session, sequence) = (Session(word(bytes, 24)), Sequence(word(bytes, 32)));
                node.echo = Some(Echo { session, sequence });
                tally.answered += 1;
                if bytes[21] != 0 {
                    tally.granted += u64::from(bytes[21] == 1);
                    let took = now.saturating_sub(word(bytes, 176)) / 1000;
                    tally.took.push(u32::try_from(took).unwrap_or(u32::MAX));
                }
            }
        }
    }

    fn run(&mut self, time: Duration) -> Tally {
        let mut tally = Tally::default();
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.send(&mut tally);
            self.receive(&mut tally);
        }
        tally
    }
}

fn name(number: usize) -> String {
    format!("pair{number}")
}

fn pin(pid: i32, cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(pid), &set).expect("two processors");
}

/// Nanoseconds that it ran (/proc/PID/schedstat, Documentation/scheduler/sched-stats.rst).
fn ran(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn resident_kb(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

struct Witness {
    child: Child,
    folder: PathBuf,
}

impl Witness {
    fn start(program: &str, pairs: usize) -> Self {
        let folder = std::env::temp_dir().join(format!("witness-load-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let key = folder.join("key");
        key::create(&key).unwrap();
        let mut config = format!("[witness]\nlisten = \"{LISTEN}\"\n");
        for number in 0..pairs {
            let (name, key) = (name(number), key.display());
            writeln!(config, "[[witness.pair]]\nname = \"{name}\"\nkey-file = \"{key}\"").unwrap();
        }
        let path = folder.join("witness.toml");
        fs::write(&path, config).unwrap();
        let mut command = Command::new(program);
        command.arg("--config").arg(&path).stdin(Stdio::null());
        command.stderr(fs::File::create(folder.join("log")).unwrap());
        let child = command.spawn().unwrap();
        pin(i32::try_from(child.id()).unwrap(), 0);
        Self { child, folder }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).ok();
        self.child.wait().ok();
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains("hears its")).collect();
        println!("{}\n", lines.join("\n"));
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn measure(program: &str, pairs: usize) {
    let witness = Witness::start(program, pairs);
    let pid = witness.child.id();
    let mut load = Load::new(pairs, &witness.folder.join("key"));
    let first = load.run(WARM_UP);
    assert!(first.answered > 0, "the witness does not answer");
    let (cpu, begun) = (ran(pid), Instant::now());
    let mut tally = load.run(MEASURED);
    let cpu = ran(pid) - cpu;
    let share = cpu / begun.elapsed().as_secs_f64() / 1e7;
    let memory = resident_kb(pid);
    tally.took.sort_unstable();
    let took = |per_mille: usize| tally.took.get(tally.took.len() * per_mille / 1000).unwrap();
    let per_second = |count: u64| count / MEASURED.as_secs();
    println!(
        "{pairs} pairs: {} asked a second, {} answered, {} granted ({:.2} % answered); \
         {share:.0} % of a core, {:.0} ns an answer; took {} us (median), {} us (99.9 %), {} us \
         (longest); {memory} kB resident, {:.2} kB a pair; {:?}",
        per_second(tally.asked),
        per_second(tally.answered),
        per_second(tally.granted),
        tally.answered as f64 / tally.asked as f64 * 100.0,
        cpu / tally.answered as f64,
        took(500),
        took(999),
        tally.took.last().unwrap(),
        memory / pairs as f64,
        load.socket.counts,
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().expect("the path of mastiffd");
    pin(0, 1);
    for pairs in arguments {
        measure(&program, pairs.parse().expect("a number of pairs"));
    }
}
