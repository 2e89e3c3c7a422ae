//! Real traffic: two network namespaces with a veth pair between them, on both forms of chains.
//!
//! That something does *not* arrive is known without waiting: what was sent after it, to an
//! address that nobody guards, has arrived. Threads stay on one CPU, so nothing is overtaken.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nix::{setsockopt_impl, sockopt_impl};

use super::chain::Owner as Owned;
use super::*;

const MINE: &str = "192.0.2.1";
pub(super) const PEER: &str = "192.0.2.2";
const MINE6: &str = "2001:db8::1";
const PEER6: &str = "2001:db8::2";

/// What must arrive, does so within this, or the test has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Tells the child of a test what to be.
const ROLE: &str = "MASTIFF_TEST_GUARD";

pub(super) struct Net {
    pub(super) node: File,
    pub(super) peer: File,
    pub(super) device: Device,
}

/// Which chains a test is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chains {
    Tcx,
    Clsact,
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn own_namespace() -> File {
    File::open("/proc/thread-self/ns/net").unwrap()
}

fn stay_on_one_cpu() {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let first = (0..CpuSet::count()).find(|cpu| allowed.is_set(*cpu).unwrap()).unwrap();
    let mut one = CpuSet::new();
    one.set(first).unwrap();
    sched_setaffinity(Pid::from_raw(0), &one).unwrap();
}

impl Net {
    /// `None`, and says why, where namespaces may not be made.
    fn new() -> Option<Self> {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("skipped: cannot make a network namespace: {error}");
            return None;
        }
        let peer = own_namespace();
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let node = own_namespace();
        let place = format!("/proc/{}/fd/{}", std::process::id(), peer.as_raw_fd());
        ip(&format!("link add node0 type veth peer name peer0 netns {place}"));
        let shown = ip("-o link show node0");
        let index = shown.split(':').next().unwrap().parse().unwrap();
        let net = Self {
            node,
            peer,
            device: Device { name: String::from("node0"), index, place: Place::Own },
        };
        let at = |side: &File, name: &str, addresses: &[&str]| {
            net.enter(side);
            ip("link set lo up");
            ip(&format!("link set {name} up"));
            for address in addresses {
                let nodad = if address.contains(':') { " nodad" } else { "" };
                ip(&format!("addr add {address} dev {name}{nodad}"));
            }
            for family in ["ipv4", "ipv6"] {
                // Three questions without answer are enough: 150 ms instead of three seconds.
                let path = format!("/proc/sys/net/{family}/neigh/{name}/retrans_time_ms");
                std::fs::write(path, "50").unwrap();
            }
        };
        at(&net.peer, "peer0", &["192.0.2.2/24", "2001:db8::2/64"]);
        let ours = ["192.0.2.1/24", "192.0.2.100/32", "192.0.2.101/32"];
        at(&net.node, "node0", &[&ours[..], &["2001:db8::1/64", "2001:db8::100/128"]].concat());
        Some(net)
    }

    fn enter(&self, side: &File) {
        setns(side, CloneFlags::CLONE_NEWNET).unwrap();
    }

    fn on<T>(&self, side: &File, work: impl FnOnce() -> T) -> T {
        self.enter(side);
        let result = work();
        self.enter(&self.node);
        result
    }

    /// Makes everybody know everybody's hardware address, so that only the guard is tested.
    pub(super) fn know_each_other(&self) {
        let hardware = |name: &str| {
            let shown = ip(&format!("-o link show {name}"));
            shown.split("link/ether ").nth(1).unwrap()[..17].to_string()
        };
        let (ours, theirs) = (hardware("node0"), self.on(&self.peer, || hardware("peer0")));
        for address in [PEER, PEER6] {
            ip(&format!("neigh replace {address} lladdr {theirs} dev node0 nud permanent"));
        }
        self.on(&self.peer, || {
            for address in [MINE, FOUR, SECOND, MINE6, SIX] {
                ip(&format!("neigh replace {address} lladdr {ours} dev peer0 nud permanent"));
            }
        });
    }

    pub(super) fn socket(&self, side: &File, address: &str) -> UdpSocket {
        let socket = self.on(side, || UdpSocket::bind((address, 0)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Whether a datagram gets from `ours` of the node to the peer, and one of the peer to it.
    fn passes(&self, ours: &str) -> (bool, bool) {
        let [mine, theirs] = if ours.contains(':') { [MINE6, PEER6] } else { [MINE, PEER] };
        let [address, beside] = [ours, mine].map(|address| self.socket(&self.node, address));
        let [target, last] = [0; 2].map(|_| self.socket(&self.peer, theirs));
        let outward = arrives(&address, &target, &beside, &last);
        (arrives(&target, &address, &last, &beside), outward)
    }

    /// Whether `side` learns the hardware address of `whom` when it wants to send from `from`. It
    /// asks again if it should but does not: a busy machine may answer too late.
    fn resolves(&self, side: &File, from: &str, whom: &str, should: bool) -> bool {
        let socket = self.socket(side, from);
        self.on(side, || {
            let ask = || {
                ip(&format!("neigh flush to {whom}"));
                socket.send_to(b"who are you", (whom, 9)).unwrap();
            };
            ask();
            let began = clock::now();
            loop {
                let shown = ip(&format!("neigh show to {whom}"));
                let is_late = clock::now().since(began) > Span::from_secs(20);
                if shown.contains("lladdr") {
                    return true;
                } else if shown.contains("FAILED") && (is_late || !should) {
                    return false;
                } else if shown.contains("FAILED") {
                    ask();
                }
                assert!(!is_late, "{shown:?}");
            }
        })
    }
}

/// Whether a datagram to `to` has arrived when the one after it, to `last`, has.
fn arrives(from: &UdpSocket, to: &UdpSocket, then: &UdpSocket, last: &UdpSocket) -> bool {
    let send = |from: &UdpSocket, to: &UdpSocket| {
        // The guard drops what is sent without telling the sender, but the device may.
        from.send_to(b"hello", to.local_addr().unwrap()).map(drop).unwrap_or_default();
    };
    send(from, to);
    send(then, last);
    last.recv(&mut [0; 8]).expect("what nobody guards must arrive");
    to.set_nonblocking(true).unwrap();
    to.recv(&mut [0; 8]).is_ok()
}

/// A datagram to the server, and its answer; fails if either is lost.
fn ask_and_answer(client: &UdpSocket, server: &UdpSocket) {
    client.connect(server.local_addr().unwrap()).unwrap();
    client.send(b"hello").unwrap();
    let (_, from) = server.recv_from(&mut [0; 8]).unwrap();
    server.send_to(b"hello", from).unwrap();
    client.recv(&mut [0; 8]).unwrap();
}

impl Chains {
    fn form(self) -> Form {
        match self {
            Self::Tcx => Form::Tcx,
            Self::Clsact => Form::Clsact(Socket::open(Family::Route, 0).unwrap()),
        }
    }

    pub(super) fn guard(self, daemon: &str) -> (BpfGate, BpfWall) {
        assemble(self.form(), daemon, &addresses()).unwrap()
    }
}

/// Runs a test in namespaces of its own, once for each kind of chains.
pub(super) fn on_each(test: impl Fn(&Net, Chains) + Sync) {
    let has_tcx = bpf::chain(LOOPBACK, Direction::In) != Err(Errno::EINVAL);
    for chains in [Chains::Tcx, Chains::Clsact] {
        if matches!(chains, Chains::Tcx) && !has_tcx {
            eprintln!("skipped: this kernel has no tcx");
            continue;
        }
        let run = || {
            if permitted(assemble(Form::Tcx, "permitted", &addresses())).is_none() {
                return;
            }
            stay_on_one_cpu();
            if let Some(net) = Net::new() {
                test(&net, chains);
            }
        };
        // A thread of its own: the runner's would stay in the namespace.
        std::thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| {
            eprintln!("with {chains:?}");
            std::panic::resume_unwind(panic)
        });
    }
}

const OPEN: (bool, bool) = (true, true);
const CLOSED: (bool, bool) = (false, false);

#[test]
fn traffic_passes_while_the_gate_is_open_and_for_nobody_else() {
    on_each(|net, chains| {
        net.know_each_other();
        let (mut gate, mut wall) = chains.guard("db");
        assert_eq!(net.passes(FOUR), OPEN, "loaded, but not attached");
        wall.stand(std::slice::from_ref(&net.device)).unwrap();
        wall.stand(std::slice::from_ref(&net.device)).unwrap();
        assert_eq!((wall.stands(), wall.stood.len()), (Ok(true), 1));
        for address in [FOUR, SIX, SECOND] {
            assert_eq!(net.passes(address), CLOSED, "{address}");
        }
        open(&mut gate, 0, 60_000);
        for (address, passes) in [(FOUR, OPEN), (SIX, OPEN), (SECOND, CLOSED), (MINE, OPEN)] {
            assert_eq!(net.passes(address), passes, "{address}");
        }
        gate.close(Slot(0));
        open(&mut gate, 1, 60_000);
        for (address, passes) in [(FOUR, CLOSED), (SIX, CLOSED), (SECOND, OPEN), (MINE6, OPEN)] {
            assert_eq!(net.passes(address), passes, "{address}");
        }
        wall.remove();
        assert_eq!(net.passes(FOUR), OPEN, "removed");
    });
}

#[test]
fn a_closed_guard_answers_no_arp_and_no_neighbour_discovery() {
    on_each(|net, chains| {
        let (mut gate, mut wall) = chains.guard("db");
        wall.stand(std::slice::from_ref(&net.device)).unwrap();
        for is_open in [false, true, false] {
            if is_open {
                open(&mut gate, 0, 60_000);
            } else {
                gate.close(Slot(0));
            }
            for (ours, mine, theirs) in [(FOUR, MINE, PEER), (SIX, MINE6, PEER6)] {
                assert_eq!(net.resolves(&net.peer, theirs, ours, is_open), is_open, "{ours}");
                assert!(net.resolves(&net.peer, theirs, mine, true));
                assert!(net.resolves(&net.node, mine, theirs, true));
            }
            // An ARP request names the address that wants to send. A solicitation does, too.
            assert_eq!(net.resolves(&net.node, FOUR, PEER, is_open), is_open);
            assert_eq!(net.resolves(&net.node, SIX, PEER6, is_open), is_open);
        }
    });
}

/// Nothing is forwarded here, or everything.
fn forward(everything: bool) {
    let value = if everything { "1" } else { "0" };
    for family in ["ipv4", "ipv6"] {
        std::fs::write(format!("/proc/sys/net/{family}/conf/all/forwarding"), value).unwrap();
    }
}

#[test]
fn another_interface_is_closed_for_what_is_this_machines_own() {
    on_each(|net, chains| {
        let (mut gate, mut wall) = chains.guard("db");
        let other = Device { place: Place::Other, ..net.device.clone() };
        wall.stand(std::slice::from_ref(&other)).unwrap();
        assert_eq!(wall.stands(), Ok(true));
        for (ours, mine, theirs) in [(FOUR, MINE, PEER), (SIX, MINE6, PEER6)] {
            assert!(!net.resolves(&net.peer, theirs, ours, false), "{ours}");
            assert!(net.resolves(&net.peer, theirs, mine, true));
        }
        net.know_each_other();
        for forwards in [false, true] {
            forward(forwards);
            for address in [FOUR, SIX] {
                assert_eq!(net.passes(address), CLOSED, "{address}, forwarding: {forwards}");
            }
            assert_eq!(net.passes(MINE), OPEN);
            open(&mut gate, 0, 60_000);
            assert_eq!((net.passes(FOUR), net.passes(SIX)), (OPEN, OPEN));
            gate.close(Slot(0));
        }
    });
}

/// A container behind a standby is a client of the address like any other.
#[test]
fn another_interface_lets_pass_what_is_only_forwarded() {
    on_each(|net, chains| {
        for address in [FOUR, SIX] {
            ip(&format!("addr del {address} dev node0"));
        }
        // The owner is a third machine, behind this one.
        net.on(&net.node, || {
            ip("link add node1 type veth peer name owner1");
            ip("link set node1 up");
            let owner = std::thread::scope(|scope| {
                let make = || {
                    unshare(CloneFlags::CLONE_NEWNET).unwrap();
                    own_namespace()
                };
                scope.spawn(make).join().unwrap()
            });
            let place = format!("/proc/{}/fd/{}", std::process::id(), owner.as_raw_fd());
            ip(&format!("link set owner1 netns {place}"));
            ip("addr add 198.51.100.1/24 dev node1");
            ip("addr add 2001:db8:1::1/64 dev node1 nodad");
            net.on(&owner, || {
                ip("link set owner1 up");
                for address in ["198.51.100.2/24", &format!("{FOUR}/32")] {
                    ip(&format!("addr add {address} dev owner1"));
                }
                for address in ["2001:db8:1::2/64", &format!("{SIX}/128")] {
                    ip(&format!("addr add {address} dev owner1 nodad"));
                }
                ip("route add default via 198.51.100.1");
                ip("-6 route add default via 2001:db8:1::1");
            });
            ip(&format!("route add {FOUR}/32 via 198.51.100.2"));
            ip(&format!("-6 route add {SIX}/128 via 2001:db8:1::2"));
            forward(true);
            let (_gate, mut wall) = chains.guard("db");
            let shown = ip("-o link show node1");
            let index = shown.split(':').next().unwrap().parse().unwrap();
            let second = Device { name: String::from("node1"), index, place: Place::Other };
            let first = Device { place: Place::Other, ..net.device.clone() };
            wall.stand(&[first, second]).unwrap();
            net.on(&net.peer, || {
                ip(&format!("route add {FOUR}/32 via {MINE}"));
                ip(&format!("-6 route add {SIX}/128 via {MINE6}"));
            });
            for (theirs, address) in [(PEER, FOUR), (PEER6, SIX)] {
                let client = net.socket(&net.peer, theirs);
                let server = net.socket(&owner, address);
                ask_and_answer(&client, &server);
            }
        });
    });
}

#[test]
fn a_port_of_a_bridge_is_free_and_an_interface_may_change_its_place() {
    on_each(|net, chains| {
        net.know_each_other();
        let (_gate, mut wall) = chains.guard("db");
        for (place, passes) in [
            (Place::Own, CLOSED),
            (Place::Free, OPEN),
            (Place::Other, CLOSED),
            (Place::Free, OPEN),
            (Place::Own, CLOSED),
        ] {
            wall.stand(&[Device { place, ..net.device.clone() }]).unwrap();
            assert_eq!((wall.stands(), net.passes(FOUR)), (Ok(true), passes), "{place:?}");
        }
        wall.stand(&[]).unwrap();
        assert_eq!(net.passes(FOUR), OPEN, "it is not looked at any more");
        wall.stand(std::slice::from_ref(&net.device)).unwrap();
        // A daemon that starts finds what the one before left on what is a port now.
        let (_gate, mut wall) = chains.guard("db");
        wall.stand(&[Device { place: Place::Free, ..net.device.clone() }]).unwrap();
        assert_eq!(net.passes(FOUR), OPEN);
    });
}

#[test]
fn a_standby_may_be_a_client_of_the_address() {
    on_each(|net, chains| {
        for address in [FOUR, SIX] {
            ip(&format!("addr del {address} dev node0"));
        }
        net.on(&net.peer, || {
            ip(&format!("addr add {FOUR}/32 dev peer0"));
            ip(&format!("addr add {SIX}/128 dev peer0 nodad"))
        });
        let (_gate, mut wall) = chains.guard("db");
        wall.stand(std::slice::from_ref(&net.device)).unwrap();
        for (mine, whom) in [(MINE, FOUR), (MINE6, SIX)] {
            assert!(net.resolves(&net.node, mine, whom, true), "{whom}");
            let [client, server] =
                [(&net.node, mine), (&net.peer, whom)].map(|(side, at)| net.socket(side, at));
            ask_and_answer(&client, &server);
        }
    });
}

/// The child of the next tests: opens the guard for a moment, says until when, and waits for its
/// end.
#[test]
#[ignore = "needs a test that starts it"]
fn owner() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let chains = if role == "Tcx" { Chains::Tcx } else { Chains::Clsact };
    let (mut gate, mut wall) = chains.guard("db");
    let shown = ip("-o link show node0");
    let index = shown.split(':').next().unwrap().parse().unwrap();
    wall.stand(&[Device { name: String::from("node0"), index, place: Place::Own }]).unwrap();
    let now = now();
    let until = now.after(Span::from_secs(2));
    gate.open(Slot(0), until, now);
    eprintln!("open until {}", until.boot.as_nanos());
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// A process that is killed when it is dropped.
pub(super) struct Owner {
    pub(super) child: Child,
    pub(super) until: i64,
}

impl Owner {
    pub(super) fn start(chains: Chains) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["guard::bpf::tests::network::owner", "--exact", "--ignored", "--nocapture"])
            .env(ROLE, format!("{chains:?}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let until = said.filter_map(|line| line.strip_prefix("open until ")?.parse().ok()).next();
        Self { until: until.expect("the owner must open its gate"), child }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn it_closes_by_itself_when_its_owner_is_stopped_or_killed() {
    on_each(|net, chains| {
        net.know_each_other();
        let socket = net.socket(&net.node, FOUR);
        let sender = net.socket(&net.peer, PEER);
        socket.set_nonblocking(true).unwrap();
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            let owner = Owner::start(chains);
            kill(Pid::from_raw(i32::try_from(owner.child.id()).unwrap()), signal).unwrap();
            let (mut before, mut arrived) = (0, 0);
            loop {
                let sent = clock::now().as_nanos();
                sender.send_to(b"hello", socket.local_addr().unwrap()).unwrap();
                let passed = socket.recv(&mut [0; 8]).is_ok();
                arrived += u32::from(passed);
                before += u32::from(sent < owner.until);
                assert!(!passed || sent < owner.until, "{}", sent - owner.until);
                if sent > owner.until + 100_000_000 {
                    break;
                }
            }
            assert!(before > 0 && arrived > before / 2, "{arrived} of {before} arrived");
            assert_eq!(net.passes(FOUR), CLOSED);
        }
    });
}

/// Exchanges guards while `until_done` runs in another thread; each is open, or none.
fn exchange(net: &Net, chains: Chains, is_open: bool, until_done: impl Fn(&AtomicBool) + Sync) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let traffic = scope.spawn(|| until_done(&done));
        let mut walls = Vec::new();
        for _ in 0..40 {
            let (mut gate, mut wall) = chains.guard("db");
            if is_open {
                open(&mut gate, 0, 60_000);
            }
            wall.stand(std::slice::from_ref(&net.device)).unwrap();
            walls.push(wall);
        }
        done.store(true, Ordering::SeqCst);
        traffic.join().unwrap();
        let stand: Vec<bool> = walls.iter_mut().map(|wall| wall.stands().unwrap()).collect();
        assert_eq!(stand.iter().filter(|stands| **stands).count(), 1);
        assert_eq!(stand.last(), Some(&true));
    });
}

#[test]
fn an_open_guard_is_exchanged_without_loss_and_a_closed_one_without_a_gap() {
    on_each(|net, chains| {
        net.know_each_other();
        let socket = net.socket(&net.node, FOUR);
        let sender = net.socket(&net.peer, PEER);
        let to: SocketAddr = socket.local_addr().unwrap();
        let (mut gate, mut wall) = chains.guard("db");
        open(&mut gate, 0, 60_000);
        wall.stand(std::slice::from_ref(&net.device)).unwrap();
        exchange(net, chains, true, |done| {
            while !done.load(Ordering::SeqCst) {
                sender.send_to(b"ping", to).unwrap();
                let (_, from) = socket.recv_from(&mut [0; 8]).expect("inward");
                socket.send_to(b"pong", from).unwrap();
                sender.recv(&mut [0; 8]).expect("outward");
            }
        });
        let (_gate, mut wall) = chains.guard("db");
        wall.stand(std::slice::from_ref(&net.device)).unwrap();
        exchange(net, chains, false, |done| {
            while !done.load(Ordering::SeqCst) {
                sender.send_to(b"ping", to).unwrap();
                // Whether the device says so is of no interest, only whether it arrives.
                socket.send_to(b"pong", sender.local_addr().unwrap()).unwrap_or_default();
            }
        });
        for socket in [&socket, &sender] {
            socket.set_nonblocking(true).unwrap();
            assert!(socket.recv(&mut [0; 8]).is_err());
        }
    });
}

#[test]
fn programs_of_others_stay_and_the_guard_goes_before_them() {
    on_each(|net, chains| {
        net.know_each_other();
        // Lets everything pass, and ends the chain: nothing behind it is asked.
        let code = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
        let fd = bpf::load(bpf::name("somebody_else"), &code, &mut []).unwrap();
        let other = Program { id: bpf::info(fd.as_fd()).unwrap().id, name: bpf::name("x"), fd };
        let index = net.device.index;
        let mut form = chains.form();
        let others = |form: &mut Form| DIRECTIONS.map(|way| form.list(&other, index, way).unwrap());
        for direction in DIRECTIONS {
            form.put(&other, index, direction, None).unwrap();
        }
        let alone = others(&mut form);
        let (_gate, mut wall) = chains.guard("db");
        wall.stand(std::slice::from_ref(&net.device)).unwrap();
        assert_eq!(net.passes(FOUR), CLOSED);
        for direction in DIRECTIONS {
            form.work(Job::Remove, &other, index, direction).unwrap();
            assert_eq!(wall.stands(), Ok(true));
            form.put(&other, index, direction, None).unwrap();
            assert_eq!(wall.stands(), Ok(false), "behind another one");
            wall.stand(std::slice::from_ref(&net.device)).unwrap();
            assert_eq!(wall.stands(), Ok(true));
            let program = &wall.programs[0][usize::from(direction == Direction::Out)];
            let chain = form.list(program, index, direction).unwrap();
            let owners: Vec<Owned> = chain.iter().map(|entry| entry.owner).collect();
            assert_eq!(owners, [Owned::Current, Owned::Foreign], "the one before is gone");
        }
        assert_eq!(net.passes(FOUR), CLOSED);
        // Another daemon's guard: neither gives way, and both are asked.
        let (mut gate, mut second) = chains.guard("web");
        open(&mut gate, 0, 60_000);
        second.stand(std::slice::from_ref(&net.device)).unwrap();
        assert_eq!((wall.stands(), second.stands()), (Ok(true), Ok(true)));
        assert_eq!(net.passes(FOUR), CLOSED);
        second.remove();
        assert_eq!((wall.stands(), second.stands()), (Ok(true), Ok(true)));
        wall.remove();
        let left = others(&mut form).map(|chain| chain.len());
        assert_eq!(left, alone.map(|chain| chain.len()));
        assert_eq!(net.passes(FOUR), OPEN);
    });
}

#[test]
fn a_guard_that_is_taken_away_is_missed_and_an_interface_that_goes_is_not() {
    on_each(|net, chains| {
        net.know_each_other();
        let (_gate, mut wall) = chains.guard("db");
        let (_gate, mut stranger) = chains.guard("db");
        wall.stand(std::slice::from_ref(&net.device)).unwrap();
        for (at, direction) in DIRECTIONS.into_iter().enumerate() {
            stranger
                .form
                .work(Job::Remove, &wall.programs[0][at], net.device.index, direction)
                .unwrap();
            assert_eq!(wall.stands(), Ok(false), "{direction:?}");
            wall.stand(std::slice::from_ref(&net.device)).unwrap();
            assert_eq!((wall.stands(), net.passes(FOUR)), (Ok(true), CLOSED));
        }
        ip("link del node0");
        assert_eq!(wall.stands(), Ok(true));
        let refused = wall.stand(std::slice::from_ref(&net.device)).unwrap_err();
        assert!(refused.contains("node0") && refused.contains("ENODEV"), "{refused}");
        wall.remove();
    });
}

#[test]
fn one_direction_is_no_guard() {
    on_each(|net, chains| {
        net.know_each_other();
        let add = ["qdisc", "add", "dev", "node0", "ingress"];
        assert!(Command::new("tc").args(add).status().unwrap().success());
        let (_gate, mut wall) = chains.guard("db");
        let stood = wall.stand(std::slice::from_ref(&net.device));
        match chains {
            Chains::Tcx => assert_eq!((stood, net.passes(FOUR)), (Ok(()), CLOSED)),
            // Filters for what leaves would be asked of what comes.
            Chains::Clsact => {
                assert!(stood.unwrap_err().contains("EINVAL"));
                assert_eq!((wall.stands(), net.passes(FOUR)), (Ok(false), OPEN));
                // No reason to have no address at all.
                let other = Device { place: Place::Other, ..net.device.clone() };
                assert_eq!((wall.stand(&[other]), wall.stands()), (Ok(()), Ok(true)));
            }
        }
        wall.remove();
    });
}

sockopt_impl!(
    /// Each frame begins with a `struct virtio_net_hdr`, which says how much of it is header.
    VirtualHeader, SetOnly, libc::SOL_PACKET, libc::PACKET_VNET_HDR, bool
);

/// A frame of which the kernel keeps only the Ethernet header in one piece with the packet's
/// metadata (packet_snd(), net/packet/af_packet.c: more than a page, and a short header).
fn frame_in_pieces(to: [[u8; 6]; 2], source: &str, target: SocketAddr) -> Vec<u8> {
    const DATA: u16 = 5000;
    let mut header = vec![0x45, 0];
    header.extend((28 + DATA).to_be_bytes());
    header.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    for ip in [source.parse().unwrap(), target.ip()] {
        let IpAddr::V4(ip) = ip else { panic!("{ip} is not IPv4") };
        header.extend(ip.octets());
    }
    let sum: u32 =
        header.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
    let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    header[10..12].copy_from_slice(&(!folded).to_be_bytes());
    header.extend([0, 9]);
    header.extend(target.port().to_be_bytes());
    header.extend((8 + DATA).to_be_bytes());
    header.extend([0, 0]); // no checksum
    let virtual_header = [0, 0, 14, 0, 0, 0, 0, 0, 0, 0];
    [&virtual_header[..], &to[0], &to[1], &[8, 0], &header, &[0; DATA as usize]].concat()
}

#[test]
fn a_packet_in_pieces_is_judged_as_one() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, bind, send, setsockopt, socket};
    on_each(|net, chains| {
        let addresses = |name| {
            ip(&format!("link set {name} mtu 9000"));
            let all = nix::ifaddrs::getifaddrs().unwrap();
            let mut ours = all.filter(|one| one.interface_name == name);
            ours.find_map(|one| one.address?.as_link_addr().copied()).unwrap()
        };
        let (ours, theirs) = (addresses("node0"), net.on(&net.peer, || addresses("peer0")));
        let raw = net.on(&net.peer, || {
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).unwrap()
        });
        bind(raw.as_raw_fd(), &theirs).unwrap();
        setsockopt(&raw, VirtualHeader, &true).unwrap();
        let hardware = [&ours, &theirs].map(|one| one.addr().unwrap());
        let (mut gate, mut wall) = chains.guard("db");
        wall.stand(std::slice::from_ref(&net.device)).unwrap();
        let [guarded, free] = [FOUR, MINE].map(|at| net.socket(&net.node, at));
        guarded.set_nonblocking(true).unwrap();
        for is_open in [false, true] {
            if is_open {
                open(&mut gate, 0, 60_000);
            }
            for to in [&guarded, &free] {
                let frame = frame_in_pieces(hardware, PEER, to.local_addr().unwrap());
                send(raw.as_raw_fd(), &frame, nix::sys::socket::MsgFlags::empty()).unwrap();
            }
            assert_eq!(free.recv(&mut [0; 6000]).unwrap(), 5000);
            assert_eq!(guarded.recv(&mut [0; 6000]).is_ok(), is_open);
        }
    });
}
