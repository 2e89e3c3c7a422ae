//! Two machines on one wire: network namespaces that need no privilege. The test's process is the
//! one that owns addresses and is guarded; a thread of it is the other one.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, send, setsockopt,
    socket,
};
use nix::sys::time::TimeSpec;

use mastiff_core::pair::clock::Clocks;
use mastiff_core::time::Span;

use crate::clock;
use crate::guard::nftables::{Form, NftablesGate, NftablesWall, build};
use crate::guard::{Device, Guarded, Place, Slot};
use crate::sys::link::bind_to_link;

/// Set in the process that runs the test within its namespaces, to the form that it is about.
const INSIDE: &str = "MASTIFF_TEST_INSIDE";
/// The guarded interface, and the other end of its wire.
pub(crate) const NEAR: &str = "near";
const FAR: &str = "far";
/// Where the near machine answers, on every address.
const ECHO: u16 = 7;
/// Of the near machine, guarded in group 0 and 1.
pub(crate) const FIRST: [&str; 2] = ["10.9.0.100", "fd00::100"];
pub(crate) const SECOND: [&str; 1] = ["10.9.0.101"];
/// Of the near machine, not guarded.
pub(crate) const OWN: [&str; 2] = ["10.9.0.1", "fd00::1"];
/// Of the other machine.
const OTHER: [&str; 2] = ["10.9.0.2/24", "fd00::2/64"];

/// Runs `body` in user and network namespaces of its own. `test` is the name of the calling test in
/// [`super`], which is started once more in there.
pub(crate) fn in_namespaces(test: &str, body: impl FnOnce()) {
    in_form(Form::Netdev, test, body);
}

/// The same about that form.
pub(crate) fn in_form(form: Form, test: &str, body: impl FnOnce()) {
    if is_inside() {
        return body();
    }
    let ended = Command::new("unshare")
        .args(["-Urn", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &name(test), "--nocapture", "--include-ignored"])
        .env(INSIDE, families(form)[0])
        .output()
        .expect("unshare(1) of util-linux");
    let said = [ended.stdout, ended.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(
        ended.status.success() && said[0].contains("1 passed"),
        "{test} in namespaces: {}\n{}{}\nif this machine does not allow user namespaces, run the tests as root in \
         a container, as .ci/run does",
        ended.status,
        said[0],
        said[1]
    );
}

pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// The form that the test is about.
pub(crate) fn form() -> Form {
    let is_inet = std::env::var(INSIDE).is_ok_and(|family| family == "inet");
    if is_inet { Form::Inet } else { Form::Netdev }
}

/// The families of the form's tables, the one that answers first.
pub(crate) fn families(form: Form) -> &'static [&'static str] {
    match form {
        Form::Netdev => &["netdev"],
        Form::Inet => &["inet", "arp"],
    }
}

fn name(test: &str) -> String {
    format!("guard::nftables::tests::{test}")
}

/// Starts a test of [`super`] as a process of its own, on the same machine as the caller.
pub(crate) fn start(test: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name(test), "--nocapture", "--include-ignored"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs a command in the namespace of the calling thread.
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let ended = Command::new(words.next().unwrap()).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{command}: {said}");
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

type Job = Box<dyn FnOnce() + Send>;

/// Both machines.
pub(crate) struct Lab {
    far: Sender<Job>,
}

impl Lab {
    /// With addresses on, and nothing guarded yet.
    pub(crate) fn new() -> Self {
        let (far, jobs) = channel::<Job>();
        let (sender, thread) = channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            sender.send(nix::unistd::gettid()).unwrap();
            while let Ok(job) = jobs.recv() {
                job();
            }
        });
        let lab = Self { far };
        run("ip link set lo up");
        lab.wire(thread.recv().unwrap().as_raw());
        for address in FIRST.iter().chain(&SECOND).chain(&OWN) {
            let socket = UdpSocket::bind(SocketAddr::new(ip(address), ECHO)).unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    // What the guard drops is told as an error.
                    socket.send_to(&buffer[..length], from).ok();
                }
            });
        }
        lab
    }

    fn wire(&self, other: i32) {
        run(&format!("ip link add {NEAR} type veth peer name {FAR}"));
        run(&format!("ip link set {FAR} netns {other}"));
        self.addresses();
        self.at_far(|| {
            run(&format!("ip link set {FAR} up"));
            for address in OTHER {
                run(&format!("ip address replace {address} dev {FAR} {}", nodad(address)));
            }
        });
    }

    fn addresses(&self) {
        run(&format!("ip link set {NEAR} up"));
        for (addresses, length) in [(&FIRST[..], [32, 128]), (&SECOND, [32, 128]), (&OWN, [24, 64])]
        {
            for address in addresses {
                let length = length[usize::from(address.contains(':'))];
                let flags = nodad(address);
                run(&format!("ip address replace {address}/{length} dev {NEAR} {flags}"));
            }
        }
    }

    /// The guarded interface goes, with its wire, and comes back as another one of that name.
    pub(crate) fn replace_wire(&self) {
        run(&format!("ip link delete {NEAR}"));
        let other = self.at_far(|| nix::unistd::gettid().as_raw());
        self.wire(other);
    }

    /// Does something on the other machine.
    pub(crate) fn at_far<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, result) = channel();
        self.far.send(Box::new(move || sender.send(job()).unwrap())).unwrap();
        result.recv().unwrap()
    }

    /// Lets the other machine know the near one's link addresses, so that nobody asks for them.
    pub(crate) fn know_neighbours(&self) {
        let link = std::fs::read_to_string(format!("/sys/class/net/{NEAR}/address"));
        // sysfs may belong to another namespace.
        let link = link.unwrap_or_else(|_| {
            let text = run(&format!("ip -o link show {NEAR}"));
            text.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap().to_string()
        });
        self.at_far(move || {
            for address in FIRST.iter().chain(&SECOND) {
                run(&format!("ip neigh replace {address} lladdr {} dev {FAR}", link.trim()));
            }
        });
    }

    /// Asks until the near machine answers on an address; whether it does.
    pub(crate) fn answers(&self, address: &'static str) -> bool {
        let patience = Instant::now() + Duration::from_secs(20);
        while Instant::now() < patience {
            if !self.is_silent(address) {
                return true;
            }
        }
        false
    }

    /// Asks once; whether nothing is answered within a moment.
    pub(crate) fn is_silent(&self, address: &'static str) -> bool {
        self.at_far(move || {
            let socket = asker(address, 60);
            // Whoever was not found is asked for anew.
            run(&format!("ip neigh flush dev {FAR}"));
            socket.send_to(b"?", SocketAddr::new(ip(address), ECHO)).is_err()
                || socket.recv_from(&mut [0; 64]).is_err()
        })
    }

    /// Asks every millisecond or so, until `over`, and returns when answers came out of the wire,
    /// by the kernel's stamps (Unix nanoseconds, as [`clock::unix_nanos`]).
    pub(crate) fn ask_until(
        &self,
        address: &'static str,
        over: impl Fn(&[i64]) -> bool + Send + 'static,
    ) -> Vec<i64> {
        self.at_far(move || {
            let socket = asker(address, 1);
            setsockopt(&socket, ReceiveTimestampns, &true).unwrap();
            let mut answers = Vec::new();
            while !over(&answers) {
                if socket.send_to(b"?", SocketAddr::new(ip(address), ECHO)).is_ok() {
                    answers.extend(stamp(&socket));
                }
            }
            answers
        })
    }
}

fn asker(address: &str, patience_ms: u64) -> UdpSocket {
    let any = if address.contains(':') { "::" } else { "0.0.0.0" };
    let socket = UdpSocket::bind(SocketAddr::new(ip(any), 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(patience_ms))).unwrap();
    socket
}

/// When the next datagram came in, if one does.
fn stamp(socket: &UdpSocket) -> Option<i64> {
    let mut buffer = [0; 64];
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let mut space = cmsg_space!(TimeSpec);
    let fd = socket.as_raw_fd();
    let message = recvmsg::<()>(fd, &mut parts, Some(&mut space), MsgFlags::empty()).ok()?;
    message.cmsgs().unwrap().find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(at) => Some(at.tv_sec() * 1_000_000_000 + at.tv_nsec()),
        _ => None,
    })
}

fn nodad(address: &str) -> &'static str {
    if address.contains(':') { "nodad" } else { "" }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Both groups.
pub(crate) fn guarded() -> Vec<Guarded> {
    let of = |slot, addresses: &[&str]| {
        let all = addresses.iter().map(|address| Guarded {
            slot: Slot(slot),
            ip: ip(address),
            interface: NEAR.into(),
        });
        all.collect::<Vec<_>>()
    };
    [of(0, &FIRST), of(1, &SECOND)].concat()
}

pub(crate) fn devices() -> Vec<Device> {
    let index = nix_index(NEAR);
    vec![Device { name: NEAR.into(), index, place: Place::Own }]
}

fn nix_index(name: &str) -> u32 {
    run(&format!("ip -o link show {name}")).split(':').next().unwrap().parse().unwrap()
}

/// The time-out is three heartbeats.
pub(crate) fn both(heartbeat: u64) -> (NftablesGate, NftablesWall) {
    build(form(), "test", &guarded(), Span::from_millis(heartbeat)).unwrap()
}

/// So many milliseconds from now.
pub(crate) fn within(millis: u64) -> Clocks {
    clock::clocks().after(Span::from_millis(millis))
}

/// Sends frames on the guarded interface.
pub(crate) struct Frames(OwnedFd);

impl Frames {
    pub(crate) fn new() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None).unwrap();
        bind_to_link(socket.as_fd(), i32::try_from(nix_index(NEAR)).unwrap()).unwrap();
        Self(socket)
    }

    /// Whether it went out; the guard's drop is told as `ENOBUFS`.
    pub(crate) fn pass(&self, frame: &[u8]) -> bool {
        match send(self.0.as_raw_fd(), frame, MsgFlags::empty()) {
            Ok(_) => true,
            Err(Errno::ENOBUFS) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A frame with `fields` at offsets behind its Ethernet header, zero else.
pub(crate) fn frame(ether_type: u16, length: usize, fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut frame = vec![0; 14 + length];
    frame[..6].fill(0xff);
    frame[12..14].copy_from_slice(&ether_type.to_be_bytes());
    for (at, value) in fields {
        frame[14 + at..14 + at + value.len()].copy_from_slice(value);
    }
    frame
}

/// Every field that may name an address, with frames that name it there only.
pub(crate) fn frames_of(address: IpAddr) -> BTreeMap<&'static str, Vec<u8>> {
    let arp: [(usize, &[u8]); 2] = [(0, &[0, 1, 8, 0, 6, 4, 0, 1]), (8, &[2, 0, 0, 0, 0, 9])];
    let v4: [(usize, &[u8]); 3] =
        [(0, &[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17]), (12, &[10, 9, 0, 77]), (16, &[10, 9, 0, 78])];
    // Payload of 24 bytes, next header ICMPv6 or UDP.
    let v6 = |next: u8| [0x60, 0, 0, 0, 0, 24, next, 255];
    match address {
        IpAddr::V4(ip) => {
            let ip = ip.octets();
            let with = |kind, length, base: &[(usize, &[u8])], at| {
                frame(kind, length, &[base, &[(at, &ip[..])]].concat())
            };
            BTreeMap::from([
                ("ARP sender", with(0x0806, 28, &arp, 14)),
                ("ARP target", with(0x0806, 28, &arp, 24)),
                ("IPv4 source", with(0x0800, 28, &v4, 12)),
                ("IPv4 destination", with(0x0800, 28, &v4, 16)),
            ])
        }
        IpAddr::V6(ip) => {
            let ip = ip.octets();
            let udp = |at| frame(0x86dd, 64, &[(0, &v6(17)[..]), (at, &ip)]);
            let icmp =
                |kind: u8| frame(0x86dd, 64, &[(0, &v6(58)[..]), (40, &[kind, 0]), (48, &ip)]);
            BTreeMap::from([
                ("IPv6 source", udp(8)),
                ("IPv6 destination", udp(24)),
                ("solicited", icmp(135)),
                ("advertised", icmp(136)),
            ])
        }
    }
}
