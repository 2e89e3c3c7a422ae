//! ICMP echo: whether a host answers, and how soon (RFC 792, RFC 4443).
//!
//! The kernel's ping sockets need no privilege where the administrator allows them (icmp(7),
//! `ping_group_range`); elsewhere a raw socket does, with CAP_NET_RAW. All packets of a question
//! leave at once, and times are those of the loop's turns: good for "is it there, and about how
//! far", not for measuring a network.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};
use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage,
};

use crate::sensor::{
    Conversation, Network, Options, Peer, Sensor, SensorError, SensorOption, Source, Target,
};
use crate::stream::{self, Failure, TIMEOUT_OPTION};

mod packet;

use packet::Kind;

/// Packets of one question at most.
pub const PACKETS_MAX: u16 = 5;

/// Datagrams that are looked at in one turn: a raw socket hears the answers to everybody's
/// questions.
const DATAGRAMS_PER_TURN_MAX: usize = 64;

/// Longest answer that is looked at: an IPv4 header with all its options and our packet fit.
const DATAGRAM_BYTES_MAX: usize = 256;

/// ICMP echo (icmp(7)).
pub const SENSOR: Sensor = Sensor {
    name: "ping",
    hardware: false,
    summary: "Whether a host answers ICMP echo requests, how many and how soon.",
    target: Target::Host,
    options: &[
        SensorOption {
            name: "count",
            meaning: "packets in each question, 1 to 5; default 1",
            example: "3",
            check: check_count,
        },
        TIMEOUT_OPTION,
    ],
    quantities: QUANTITIES,
    warn_when: &[],
    fail_when: &["answers = false"],
    interval: Span::from_secs(5),
    fail_after: Span::from_secs(15),
    recover_after: Span::from_secs(10),
    discover: None,
    source: Source::Network(Network { peer, ask }),
};

const QUANTITIES: &[Quantity] = &[
    Quantity {
        name: "answers",
        unit: Unit::Flag,
        meaning: "at least one packet came back in time",
    },
    Quantity {
        name: "loss",
        unit: Unit::Ratio,
        meaning: "share of the packets that did not come back in time",
    },
    Quantity {
        name: "round-trip",
        unit: Unit::Seconds,
        meaning: "shortest time until a packet was back; missing without an answer",
    },
];

fn check_count(value: &str) -> Result<(), String> {
    match value.parse::<u16>() {
        Ok(1..=PACKETS_MAX) => Ok(()),
        Ok(_) | Err(_) => Err(format!("write a number from 1 to {PACKETS_MAX}")),
    }
}

fn peer(target: &str) -> Result<Peer, SensorError> {
    Ok(Peer { host: target.trim_matches(['[', ']']).to_owned(), port: 0 })
}

fn ask(
    to: SocketAddr,
    _target: &str,
    options: &Options,
    now: Mono,
) -> Result<Box<dyn Conversation>, SensorError> {
    let (socket, kind) = open(to)?;
    let count = options.get("count").and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut echo = Echo {
        socket,
        kind,
        asked: now,
        deadline: now.after(stream::timeout(options)),
        first: take_sequence(),
        waiting: Vec::new(),
        count: u16::clamp(count, 1, PACKETS_MAX),
        nearest: None,
    };
    echo.send()?;
    Ok(Box::new(echo))
}

/// Sequence numbers that no other question of this process uses at the same time, so that a late
/// answer to an earlier question is not taken for one to this.
fn take_sequence() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    NEXT.fetch_add(PACKETS_MAX, Ordering::Relaxed)
}

/// A socket that talks to this host only.
fn open(to: SocketAddr) -> Result<(OwnedFd, Kind), SensorError> {
    let (family, protocol) = match to {
        SocketAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        SocketAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let opened = match socket::socket(family, SockType::Datagram, flags, protocol) {
        Err(Errno::EACCES | Errno::EPERM | Errno::EPROTONOSUPPORT) => {
            socket::socket(family, SockType::Raw, flags, protocol).map(|socket| (socket, true))
        }
        other => other.map(|socket| (socket, false)),
    };
    let (socket, raw) = opened.map_err(|errno| match errno {
        Errno::EPERM | Errno::EACCES => SensorError::Unsupported(
            "cannot ping: neither net.ipv4.ping_group_range nor CAP_NET_RAW allows it".into(),
        ),
        errno => SensorError::Call { call: "socket", source: errno.into() },
    })?;
    // The port of a raw address must be zero; the kernel then delivers only what this host sent.
    let mut host = to;
    host.set_port(0);
    match socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(host)) {
        Ok(()) => {}
        // No way there is an answer: sending will find the same.
        Err(Errno::ENETUNREACH | Errno::EHOSTUNREACH) => {}
        Err(errno) => return Err(SensorError::Call { call: "connect", source: errno.into() }),
    }
    Ok((socket, Kind { is_v6: family == AddressFamily::Inet6, raw }))
}

struct Echo {
    socket: OwnedFd,
    kind: Kind,
    asked: Mono,
    deadline: Mono,
    count: u16,
    /// The first sequence number.
    first: u16,
    /// Sequence numbers that have not come back.
    waiting: Vec<u16>,
    nearest: Option<Span>,
}

impl Conversation for Echo {
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn wants_write(&self) -> bool {
        false
    }

    fn deadline(&self) -> Mono {
        self.deadline
    }

    fn proceed(&mut self, now: Mono, out: &mut Readings) -> Result<bool, SensorError> {
        self.receive(now)?;
        if !self.waiting.is_empty() && now < self.deadline {
            return Ok(false);
        }
        let lost = u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
        out.flag("answers", self.nearest.is_some());
        out.ratio("loss", lost, u64::from(self.count));
        if let Some(nearest) = self.nearest {
            out.span("round-trip", nearest);
        }
        Ok(true)
    }
}

impl Echo {
    fn send(&mut self) -> Result<(), SensorError> {
        for offset in 0..self.count {
            let sequence = self.first.wrapping_add(offset);
            self.waiting.push(sequence);
            let packet = packet::request(self.kind, sequence, self.asked);
            match socket::send(self.socket.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => {}
                // A full queue or no way there: the packet is lost, like one that is dropped
                // further on.
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EDESTADDRREQ | Errno::ENOTCONN) => {}
                Err(errno) => self.failed("send", errno)?,
            }
        }
        Ok(())
    }

    /// Takes what came, within a limit: the rest is there in the next turn.
    fn receive(&mut self, now: Mono) -> Result<(), SensorError> {
        let mut buffer = [0_u8; DATAGRAM_BYTES_MAX];
        for _ in 0..DATAGRAMS_PER_TURN_MAX {
            match socket::recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(count) => self.hear(buffer.get(..count).unwrap_or_default(), now),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => self.failed("recv", errno)?,
            }
        }
        Ok(())
    }

    fn hear(&mut self, datagram: &[u8], now: Mono) {
        if let Some(sequence) = packet::answer(self.kind, datagram, self.asked)
            && let Some(index) = self.waiting.iter().position(|other| *other == sequence)
        {
            self.waiting.swap_remove(index);
            let took = now.since(self.asked);
            self.nearest = Some(self.nearest.map_or(took, |nearest| nearest.min(took)));
        }
    }

    /// "Unreachable" from the way there is an answer and ends the waiting; a fault of this machine
    /// is an error.
    fn failed(&mut self, call: &'static str, errno: Errno) -> Result<(), SensorError> {
        Failure::from(std::io::Error::from(errno)).word(call)?;
        self.deadline = self.asked;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mastiff_core::reading::Value;

    const KIND: Kind = Kind { is_v6: false, raw: false };

    /// A question on one end of a pair of sockets, and the other end to answer or not.
    fn asked(count: u16) -> (Echo, OwnedFd) {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let (socket, far) =
            socket::socketpair(AddressFamily::Unix, SockType::Datagram, None, flags)
                .expect("a pair");
        let asked = Mono::BOOT.after(Span::from_secs(10));
        let deadline = asked.after(Span::from_secs(1));
        let (first, waiting) = (u16::MAX, Vec::new());
        let mut echo =
            Echo { socket, kind: KIND, asked, deadline, count, first, waiting, nearest: None };
        echo.send().expect("sent");
        (echo, far)
    }

    fn at(millis: u64) -> Mono {
        Mono::BOOT.after(Span::from_secs(10)).after(Span::from_millis(millis))
    }

    fn answer(far: &OwnedFd, change: impl Fn(&mut [u8])) {
        let mut packet = [0; 64];
        let count =
            socket::recv(far.as_raw_fd(), &mut packet, MsgFlags::empty()).expect("a request");
        packet[0] = 0;
        change(&mut packet[..count]);
        socket::send(far.as_raw_fd(), &packet[..count], MsgFlags::empty()).expect("answered");
    }

    #[test]
    fn silence_is_loss_once_the_time_is_up() {
        let (mut echo, _far) = asked(2);
        let mut out = Readings::new(QUANTITIES);
        assert!(!echo.proceed(at(999), &mut out).expect("no fault"));
        assert!(echo.proceed(at(1000), &mut out).expect("no fault"));
        assert_eq!(out.get("answers"), Some(&Value::Flag(false)));
        assert_eq!(out.get("loss"), Some(&Value::Number(1.0)));
        assert_eq!(out.get("round-trip"), None);
    }

    #[test]
    fn only_own_answers_count_and_each_once() {
        let (mut echo, far) = asked(4);
        let mut out = Readings::new(QUANTITIES);
        answer(&far, |_| {});
        assert!(!echo.proceed(at(20), &mut out).expect("no fault"));
        answer(&far, |packet| packet[15] ^= 1);
        answer(&far, |packet| packet[0] = 3);
        // The first one again; sequence numbers wrap after 65535.
        answer(&far, |packet| packet[6..8].copy_from_slice(&u16::MAX.to_be_bytes()));
        assert!(!echo.proceed(at(30), &mut out).expect("no fault"));
        assert!(echo.proceed(at(1000), &mut out).expect("no fault"));
        assert_eq!(out.get("answers"), Some(&Value::Flag(true)));
        assert_eq!(out.get("loss"), Some(&Value::Number(0.75)));
        assert_eq!(out.get("round-trip"), Some(&Value::Number(0.02)));
    }
}
