//! What the guard costs, and how exactly it closes. Nothing is asserted. Run in the product's
//! optimisation, one at a time: `cargo test --release -p mastiff --lib -- --ignored --nocapture
//! --test-threads=1 guard::bpf::tests::measure`.

use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gettid};

use super::frames::{PEER as SOURCE, ipv4, ipv6};
use super::network::{Net, Owner, PEER, on_each};
use super::*;

/// Leases of each kind of trouble.
const ROUNDS: usize = 30;

/// Processes that burn all CPUs; killed when dropped.
struct Load(Vec<Child>);

impl Load {
    fn new(command: &[&str]) -> Self {
        let cpus: usize = std::thread::available_parallelism().unwrap().get();
        // On all CPUs, not on ours alone; and it ends by itself, should nobody be there to end it.
        let burn = "i=0; while [ $i -lt 5000000 ]; do i=$((i+1)); done";
        let burn = ["taskset", "0xffffffff", "sh", "-c", burn];
        let start = |_| {
            let line: Vec<&str> = command.iter().copied().chain(burn).collect();
            Command::new(line[0]).args(&line[1..]).stdin(Stdio::null()).spawn().unwrap()
        };
        let several = if command.is_empty() { 0 } else { 2 * cpus };
        Self((0..several).map(start).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// Nanoseconds from the deadline to the last packet that passed, when it was sent and when it was
/// received, and to the first one that did not pass, when it was sent. The guard was asked between
/// the first two.
fn closing(net: &Net, until: i64) -> [i64; 3] {
    let [socket, sender] = [net.socket(&net.node, FOUR), net.socket(&net.peer, PEER)];
    socket.set_nonblocking(true).unwrap();
    let to = socket.local_addr().unwrap();
    let (mut all, mut passed, mut dropped) = (Vec::new(), [until; 2], None);
    let mut arrived = 0;
    loop {
        let now = clock::now().as_nanos();
        all.push(now);
        sender.send_to(&now.to_ne_bytes(), to).unwrap();
        // On a single processor the packet that is there now may be one of those before.
        let mut bytes = [0; 8];
        if socket.recv(&mut bytes).is_ok() {
            let sent = i64::from_ne_bytes(bytes);
            passed = [sent, clock::now().as_nanos()];
            if all[arrived] != sent {
                dropped = dropped.or(Some(all[arrived]));
            }
            arrived += 1;
        }
        if now > until + 20_000_000 {
            let dropped = dropped.unwrap_or(all[arrived]);
            return [passed[0], passed[1], dropped].map(|at| at - until);
        }
    }
}

fn report(what: &str, rounds: &[[i64; 3]]) {
    let column = |at: usize| {
        let mut all: Vec<i64> = rounds.iter().map(|round| round[at] / 1000).collect();
        all.sort_unstable();
        format!("{}/{}/{}", all[0], all[all.len() / 2], all[all.len() - 1])
    };
    eprintln!(
        "{what}: last to pass, sent {} and received {}; first to be dropped, sent {} (us after \
         the deadline; min/median/max of {})",
        column(0),
        column(1),
        column(2),
        rounds.len()
    );
}

#[test]
#[ignore = "a measurement"]
fn lateness() {
    on_each(|net, chains| {
        net.know_each_other();
        // Ours is not the lateness that is measured. Children get no part of it (-R).
        let thread = gettid().to_string();
        assert!(
            Command::new("chrt")
                .args(["-R", "-f", "-p", "60", &thread])
                .status()
                .unwrap()
                .success()
        );
        for (what, load) in [
            ("idle", &[][..]),
            ("CPU overload", &["nice", "-n", "-5"]),
            ("SCHED_FIFO hogs", &["chrt", "-f", "50"]),
        ] {
            let _load = Load::new(load);
            let (mut gate, mut wall) = chains.guard("db");
            wall.stand(std::slice::from_ref(&net.device)).unwrap();
            let rounds = (0..ROUNDS).map(|_| {
                let now = now();
                let until = now.after(Span::from_millis(30));
                gate.open(Slot(0), until, now);
                closing(net, until.boot.as_nanos())
            });
            report(&format!("{chains:?}, {what}"), &rounds.collect::<Vec<_>>());
        }
        let rounds = (0..5).map(|_| {
            let owner = Owner::start(chains);
            let pid = Pid::from_raw(i32::try_from(owner.child.id()).unwrap());
            kill(pid, Signal::SIGSTOP).unwrap();
            closing(net, owner.until)
        });
        report(&format!("{chains:?}, owner stopped"), &rounds.collect::<Vec<_>>());
    });
}

#[test]
#[ignore = "a measurement"]
fn cost() {
    let Some((mut gate, _wall)) = permitted(assemble(Form::Tcx, "cost", &addresses())) else {
        return;
    };
    const STORES: u32 = 10_000_000;
    let until = now().after(Span::from_secs(1));
    let began = now();
    (0..STORES).for_each(|_| gate.open(Slot(0), std::hint::black_box(until), began));
    let nanos = clock::now().since(began.boot).as_nanos();
    eprintln!("open: {:.1} ns", nanos as f64 / f64::from(STORES));
    for count in [1, 4, 64, 2048] {
        let guarded: Vec<Guarded> = (0..count)
            .map(|at| match at % 2 {
                0 => guarded(0, &format!("10.0.{}.{}", at / 256, at % 256)),
                _ => guarded(0, &format!("2001:db8::{at:x}")),
            })
            .collect();
        let began = clock::now();
        let (mut gate, wall) = assemble(Form::Tcx, "cost", &guarded).unwrap();
        let loaded = clock::now().since(began).as_nanos() / 1000;
        gate.open(Slot(0), Clocks::FAR, Clocks::ZERO);
        let run = |frame: Vec<u8>| {
            let program = wall.programs[0][0].fd.as_fd();
            (0..5).map(|_| bpf::run(program, &frame, 100_000).unwrap().1).min().unwrap()
        };
        let [others, ours] = ["192.0.2.1", "10.0.0.0"].map(|to| run(ipv4(SOURCE, to)));
        let six = run(ipv6("2001:db8::ffff", "2001:db8::fffe", 17, &[0; 8]));
        let none = run([&[0; 12][..], &[0x88, 0xcc], &[0; 46]].concat());
        eprintln!(
            "{count} addresses: loaded in {loaded} us; a packet of others {others} ns (IPv6 {six}, \
             neither {none}), one of ours {ours} ns"
        );
    }
}
