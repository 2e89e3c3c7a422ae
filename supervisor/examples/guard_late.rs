//! How late the nftables guard ends, and what a refresh costs, on this kernel.
//!
//! As root, in a network namespace of its own, beside whatever load is of interest:
//!
//! ```text
//! unshare -n target/release/examples/guard_late [HEARTBEAT-MS [ROUNDS [inet]]]
//! ```
//!
//! Each round opens the guard, refreshes it for a while, and then leaves it. The other end of a
//! veth pair pings the address all the time: the kernel answers by itself, and stamps what comes
//! back, so neither depends on a process that is scheduled in time. Lateness is that of the last
//! answer against the return of the last refresh and the time-out; negative is early.

use std::io::IoSliceMut;
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use mastiff::clock;
use mastiff::guard::nftables::{best, build, tick};
use mastiff::guard::{Device, Gate, Guarded, Place, Slot, Wall};
use mastiff_core::time::Span;
use mastiff_core::timing;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn,
    recvmsg, sendto, setsockopt, socket,
};
use nix::sys::time::TimeSpec;

const ADDRESS: &str = "10.9.0.100";
const GROUP: Slot = Slot(0);
const REFRESHES: usize = 100_000;

type Failure = Box<dyn std::error::Error>;

fn run(command: &str) -> Result<String, Failure> {
    let mut words = command.split_whitespace();
    let ended = Command::new(words.next().unwrap_or_default()).args(words).output()?;
    if ended.status.success() {
        return Ok(String::from_utf8(ended.stdout)?);
    }
    Err(format!("{command}: {}", String::from_utf8_lossy(&ended.stderr)).into())
}

/// The far end: pings without end, and keeps when the last answer came in.
fn ping(ready: &AtomicI64, last: &AtomicI64, over: &AtomicBool) -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    ready.store(i64::from(nix::unistd::gettid().as_raw()), Ordering::SeqCst);
    while ready.load(Ordering::SeqCst) != 0 {
        std::thread::yield_now(); // the link is on its way
    }
    run("ip link set far up")?;
    run("ip address add 10.9.0.2/24 dev far")?;
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
    let flags = SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, SockProtocol::Icmp)?;
    setsockopt(&socket, ReceiveTimestampns, &true)?;
    let to = SockaddrIn::from(SocketAddrV4::new(ADDRESS.parse()?, 0));
    let echo = [8, 0, 0, 0, 0, 0, 0, 0]; // RFC 792: the kernel fills in checksum and identifier
    while !over.load(Ordering::Relaxed) {
        match sendto(socket.as_raw_fd(), &echo, &to, MsgFlags::empty()) {
            Ok(_) | Err(Errno::EHOSTUNREACH | Errno::EAGAIN | Errno::ENOBUFS) => {}
            Err(error) => return Err(error.into()),
        }
        poll(&mut [], PollTimeout::ZERO)?;
        let mut buffer = [0; 64];
        let mut space = cmsg_space!(TimeSpec);
        loop {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let fd = socket.as_raw_fd();
            let got = recvmsg::<()>(fd, &mut parts, Some(&mut space), MsgFlags::empty());
            let Ok(message) = got else { break };
            for control in message.cmsgs()? {
                if let ControlMessageOwned::ScmTimestampns(at) = control {
                    last.store(at.tv_sec() * 1_000_000_000 + at.tv_nsec(), Ordering::SeqCst);
                }
            }
        }
    }
    Ok(())
}

fn micros(nanos: i64) -> String {
    format!("{:.1} us", f64::from(i32::try_from(nanos).unwrap_or(i32::MAX)) / 1e3)
}

fn say(what: &str, mut all: Vec<i64>) {
    all.sort_unstable();
    let at = |percent: usize| {
        all.get((all.len() - 1) * percent / 100).copied().map_or("-".into(), micros)
    };
    println!(
        "{what}: n={} min {} p50 {} p95 {} p99 {} max {}",
        all.len(),
        at(0),
        at(50),
        at(95),
        at(99),
        at(100)
    );
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let heartbeat = Span::from_millis(arguments.next().map_or(Ok(33), |text| text.parse())?);
    let rounds: usize = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let timeout = heartbeat.times(timing::NFTABLES_BEATS);
    let form = best(std::env::args().nth(3).is_some())?;
    println!("{form:?}, tick {}, time-out {timeout}", tick());
    let shared = Arc::new((AtomicI64::new(0), AtomicI64::new(0), AtomicBool::new(false)));
    let of_far = Arc::clone(&shared);
    let far = std::thread::spawn(move || {
        let (ready, last, over) = &*of_far;
        ping(ready, last, over).map_err(|error| error.to_string())
    });
    let (ready, last, over) = &*shared;
    while ready.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    run("ip link set lo up")?;
    run("ip link add near type veth peer name far")?;
    run(&format!("ip link set far netns {}", ready.load(Ordering::SeqCst)))?;
    run("ip link set near up")?;
    run("ip address add 10.9.0.1/24 dev near")?;
    run(&format!("ip address add {ADDRESS}/32 dev near"))?;
    ready.store(0, Ordering::SeqCst);
    let index = run("ip -o link show near")?.split(':').next().unwrap_or_default().parse()?;
    let guarded = [Guarded { slot: GROUP, ip: ADDRESS.parse()?, interface: "near".into() }];
    let (mut gate, mut wall) = build(form, "late", &guarded, heartbeat)?;
    // So that nothing but the time-out fits.
    let until = || clock::clocks().after(timeout).after(tick().times(3));
    // The neighbours find each other before there is a guard.
    while last.load(Ordering::SeqCst) == 0 {
        poll(&mut [], PollTimeout::from(1u8))?;
    }
    wall.stand(&[Device { name: "near".into(), index, place: Place::Own }])?;
    let (mut late, mut created, mut lapses) = (Vec::new(), Vec::new(), 0);
    let (mut pauses, mut calls) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        gate.open(GROUP, until(), clock::clocks());
        gate.lapsed();
        let before = clock::unix_nanos();
        wall.create(GROUP, until())?;
        created.push(clock::unix_nanos() - before);
        let mut refreshed = 0;
        // Not in step with the ticks.
        for beat in 0..10 + round % 3 {
            let begun = clock::awake().as_nanos();
            gate.open(GROUP, until(), clock::clocks());
            calls.push(clock::awake().as_nanos() - begun);
            let before = std::mem::replace(&mut refreshed, clock::unix_nanos());
            pauses.extend((beat > 0).then_some(refreshed - before));
            lapses += usize::from(gate.lapsed().is_some());
            let pause = u8::try_from(heartbeat.as_millis() / 2 + u64::try_from(beat % 3)?)?;
            poll(&mut [], PollTimeout::from(pause))?;
        }
        let nominal = refreshed + i64::try_from(timeout.as_nanos())?;
        while clock::unix_nanos() < nominal + 300_000_000 {
            poll(&mut [], PollTimeout::from(20u8))?;
        }
        late.push(last.load(Ordering::SeqCst) - nominal);
        gate.close(GROUP);
    }
    say("lateness of the end", late);
    say("creation", created);
    say("refresh under that load", calls);
    say("pauses between refreshes", pauses);
    println!("lapses while refreshing: {lapses}");
    gate.open(GROUP, until(), clock::clocks());
    wall.create(GROUP, until())?;
    let mut cost = Vec::with_capacity(REFRESHES);
    for _ in 0..REFRESHES {
        let before = clock::awake().as_nanos();
        gate.open(GROUP, until(), clock::clocks());
        cost.push(clock::awake().as_nanos() - before);
    }
    say("refresh, six readings of the clock included", cost);
    over.store(true, Ordering::Relaxed);
    far.join().map_err(|_| "the far end panicked")??;
    wall.remove();
    Ok(())
}
