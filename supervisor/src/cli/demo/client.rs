//! The client: asks the floating address all the time, and remembers who answered when.
//!
//! Two questions, for two things to know. An echo request (RFC 792) goes the way of every client:
//! through the kernel, to the machine that its ARP table names. An ARP question (RFC 826) goes to
//! all: two answers to one are two owners.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use mastiff_core::time::{Mono, Span};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind,
    recvfrom, sendto, socket,
};
use nix::sys::time::TimeSpec;

use super::super::failure::Failure;
use super::wires;
use crate::clock;
use crate::keeper::devices::Mac;
use crate::keeper::packet::{Frame, Heard, Said};
use crate::keeper::tap::Speaker;
use crate::sys::packet::{link_address, set_option};

/// Between two echo requests.
const ECHO_EVERY: Span = Span::from_millis(1);
/// Between two ARP questions.
pub(super) const PROBE_EVERY: Span = Span::from_millis(5);
/// Echo requests at most: they are told apart by 16 bits.
const ECHOES_MAX: usize = 65_536;
/// Names our echo requests; any number does in a namespace of our own.
const ECHO_ID: u16 = 0x4d41;
const FRAME_BYTES: usize = 2048;

const ALL: u16 = 0x0003; // ETH_P_ALL
const IPV4: [u8; 2] = [8, 0]; // ETH_P_IP
const IGNORE_OUTGOING: i32 = 23; // PACKET_IGNORE_OUTGOING, linux/if_packet.h
const TO_THIS_HOST: u8 = 0; // PACKET_HOST
const ICMP: u8 = 1;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// One of the two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Side {
    /// The first one.
    A,
    /// The second one.
    B,
}

impl Side {
    /// The other node.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The hardware address of its device.
    pub(super) const fn mac(self) -> Mac {
        match self {
            Self::A => station_mac(1),
            Self::B => station_mac(2),
        }
    }

    fn of(mac: Mac) -> Option<Self> {
        [Self::A, Self::B].into_iter().find(|side| side.mac() == mac)
    }
}

/// The hardware address of a station by its number: one that its maker has given to nobody (IEEE
/// 802, locally administered).
pub(super) const fn station_mac(number: u8) -> Mac {
    Mac([2, 0x4d, 0, 0, 0, number])
}

/// An echo request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Echo {
    sent: Mono,
    answer: Option<(Mono, Side)>,
}

/// An ARP question.
#[derive(Clone, Copy, Debug)]
struct Probe {
    sent: Mono,
    a: bool,
    b: bool,
}

/// The client's sockets and its memory.
#[derive(Debug)]
pub(super) struct Client {
    echo: OwnedFd,
    packets: OwnedFd,
    speaker: Speaker,
    index: u32,
    target: Ipv4Addr,
    question: Frame,
    buffer: Vec<u8>,
    log: Log,
    echo_due: Mono,
    probe_due: Mono,
    late: Span,
}

impl Client {
    /// Of the station in whose network this process is, which has that address.
    ///
    /// # Errors
    /// When a socket is refused.
    pub(super) fn new(
        device: &str,
        own: (Ipv4Addr, Mac),
        target: Ipv4Addr,
    ) -> Result<Self, Failure> {
        let index = wires::index(device)?;
        let open = || -> std::io::Result<_> {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let icmp = SockProtocol::Icmp;
            let echo = socket(AddressFamily::Inet, SockType::Raw, flags, icmp)?;
            let packets = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
            set_option(&packets, IGNORE_OUTGOING, 1)?;
            bind(packets.as_raw_fd(), &link_address(ALL, index).ok_or(Errno::ENODEV)?)?;
            Ok((echo, packets, Speaker::open()?))
        };
        let (echo, packets, speaker) = open().map_err(|error| {
            Failure::Unavailable(format!("cannot open the client's sockets: {error}"))
        })?;
        let now = clock::now();
        let question = Frame::question(target.into(), Some(own.0.into()), own.1, None);
        let (buffer, log) = (vec![0; FRAME_BYTES], Log::default());
        let (echo_due, probe_due, late) = (now, now, Span::ZERO);
        Ok(Self {
            echo,
            packets,
            speaker,
            index,
            target,
            question,
            buffer,
            log,
            echo_due,
            probe_due,
            late,
        })
    }

    /// Asks what is due, waits until the next question is due, and takes in what was answered.
    ///
    /// # Errors
    /// When the answers cannot be read.
    pub(super) fn turn(&mut self) -> Result<(), Failure> {
        let now = clock::now();
        self.late = self.late.max(now.since(self.echo_due));
        if now >= self.echo_due {
            self.ask_echo(now);
            self.echo_due = now.after(ECHO_EVERY);
        }
        if now >= self.probe_due {
            // A question that cannot be sent is one without an answer.
            self.speaker.say(&self.question, self.index).ok();
            self.log.probes.push(Probe { sent: now, a: false, b: false });
            self.probe_due = now.after(PROBE_EVERY);
        }
        let due = self.echo_due.min(self.probe_due);
        loop {
            let left = due.since(clock::now());
            let mut fds = [PollFd::new(self.packets.as_fd(), PollFlags::POLLIN)];
            let wait = std::time::Duration::from_nanos(left.as_nanos());
            match ppoll(&mut fds, Some(TimeSpec::from_duration(wait)), None) {
                Ok(0) => return Ok(()),
                Ok(_) => self.hear()?,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(broken(error)),
            }
            if left == Span::ZERO {
                return Ok(());
            }
        }
    }

    fn ask_echo(&mut self, now: Mono) {
        let Ok(number) = u16::try_from(self.log.echoes.len()) else { return };
        let to = SockaddrIn::from(std::net::SocketAddrV4::new(self.target, 0));
        sendto(self.echo.as_raw_fd(), &echo_request(number), &to, MsgFlags::MSG_DONTWAIT).ok();
        self.log.echoes.push(Echo { sent: now, answer: None });
    }

    fn hear(&mut self) -> Result<(), Failure> {
        loop {
            match recvfrom::<LinkAddr>(self.packets.as_raw_fd(), &mut self.buffer) {
                Ok((length, from)) => {
                    let frame = self.buffer.get(..length).unwrap_or_default();
                    let to_us = from.is_some_and(|from| from.pkttype() == TO_THIS_HOST);
                    self.log.hear(frame, to_us, self.target, clock::now());
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(broken(error)),
            }
        }
    }

    /// Asks anew from now on, and forgets how late it was while somebody else kept it waiting.
    pub(super) fn resume(&mut self) {
        let now = clock::now();
        (self.echo_due, self.probe_due, self.late) = (now, now, Span::ZERO);
    }

    /// By how much a turn came after its moment at most, since the last [`Client::resume`].
    pub(super) const fn late(&self) -> Span {
        self.late
    }

    /// What was asked and answered.
    pub(super) const fn log(&self) -> &Log {
        &self.log
    }

    /// Whether there is room for further questions.
    pub(super) fn is_full(&self) -> bool {
        self.log.echoes.len() >= ECHOES_MAX
    }
}

fn broken(error: Errno) -> Failure {
    Failure::Bug(format!("the client cannot read its answers: {error}"))
}

/// RFC 792, without data.
fn echo_request(number: u16) -> [u8; 8] {
    let kind = u16::from_be_bytes([ECHO_REQUEST, 0]);
    let sum = [kind, ECHO_ID, number].iter().fold(0u32, |sum, word| sum + u32::from(*word));
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    let check = !u16::try_from(folded).unwrap_or_default();
    let ([a, b], [c, d], [e, f]) =
        (check.to_be_bytes(), ECHO_ID.to_be_bytes(), number.to_be_bytes());
    [ECHO_REQUEST, 0, a, b, c, d, e, f]
}

/// The number of the echo request that a frame answers, and by whom.
fn echo_reply(frame: &[u8], target: Ipv4Addr) -> Option<(u16, Mac)> {
    let (ethernet, packet) = frame.split_first_chunk::<14>()?;
    let [_, _, _, _, _, _, mac @ .., high, low] = ethernet;
    let [first, _, _, _, _, _, _, _, _, protocol, _, _, source @ ..] =
        packet.first_chunk::<16>()?;
    if [*high, *low] != IPV4 || *protocol != ICMP || Ipv4Addr::from(*source) != target {
        return None;
    }
    let length = usize::from(first & 0x0f) * 4;
    let [kind, _, _, _, a, b, c, d] = *packet.get(length..)?.first_chunk::<8>()?;
    let is_ours = kind == ECHO_REPLY && u16::from_be_bytes([a, b]) == ECHO_ID;
    is_ours.then(|| (u16::from_be_bytes([c, d]), Mac(*mac)))
}

/// All questions, in order, with their answers.
#[derive(Debug, Default)]
pub(super) struct Log {
    echoes: Vec<Echo>,
    probes: Vec<Probe>,
}

/// What became of the questions of some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Measured {
    /// Echo requests sent.
    pub(super) asked: usize,
    /// Those that were answered.
    pub(super) answered: usize,
    /// The longest time from an answer to the next one, in which a question stayed unanswered.
    pub(super) outage: Span,
    /// ARP questions sent.
    pub(super) probes: usize,
    /// Those that both nodes answered.
    pub(super) both: usize,
}

impl Log {
    fn hear(&mut self, frame: &[u8], to_us: bool, target: Ipv4Addr, now: Mono) {
        if let Some((number, mac)) = echo_reply(frame, target) {
            let echo = self.echoes.get_mut(usize::from(number));
            if let (Some(echo), Some(side)) = (echo, Side::of(mac)) {
                echo.answer.get_or_insert((now, side));
            }
            return;
        }
        let Some(heard) = Heard::read(frame, to_us) else { return };
        let is_answer = heard.said == Said::Answered && heard.ip == target;
        if let (true, Some(probe)) = (is_answer, self.probes.last_mut()) {
            match Side::of(heard.mac) {
                Some(Side::A) => probe.a = true,
                Some(Side::B) => probe.b = true,
                None => {}
            }
        }
    }

    /// The node that answered the newest answered question, if that was sent since then.
    pub(super) fn owner(&self, since: Mono) -> Option<(Side, Mono)> {
        let recent = self.echoes.iter().rev().take_while(|echo| echo.sent >= since);
        recent.filter_map(|echo| echo.answer).map(|(at, side)| (side, at)).next()
    }

    /// Whether a node has answered anything that was asked since then.
    pub(super) fn has_answered(&self, side: Side, since: Mono) -> bool {
        let echoes = self.echoes.iter().rev().take_while(|echo| echo.sent >= since);
        let mut probes = self.probes.iter().rev().take_while(|probe| probe.sent >= since);
        let of_probe = |probe: &Probe| match side {
            Side::A => probe.a,
            Side::B => probe.b,
        };
        echoes.filter_map(|echo| echo.answer).any(|(_, by)| by == side) || probes.any(of_probe)
    }

    /// What became of the questions since then.
    pub(super) fn measure(&self, since: Mono) -> Measured {
        let first = self.echoes.partition_point(|echo| echo.sent < since);
        let (before, echoes) = self.echoes.split_at_checked(first).unwrap_or((&[], &[]));
        let mut last = before.iter().rev().find_map(|echo| echo.answer).map(|(at, _)| at);
        let mut measured = Measured { asked: echoes.len(), ..Measured::default() };
        let mut missing = false;
        for echo in echoes {
            let Some((at, _)) = echo.answer else {
                missing = true;
                continue;
            };
            measured.answered += 1;
            if let (true, Some(last)) = (missing, last) {
                measured.outage = measured.outage.max(at.since(last));
            }
            (last, missing) = (Some(at), false);
        }
        let first = self.probes.partition_point(|probe| probe.sent < since);
        let probes = self.probes.get(first..).unwrap_or_default();
        measured.probes = probes.len();
        measured.both = probes.iter().filter(|probe| probe.a && probe.b).count();
        measured
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);

    fn at(millis: i64) -> Mono {
        Mono::from_nanos(millis * 1_000_000)
    }

    fn reply(number: u16, mac: Mac) -> Vec<u8> {
        let mut frame = vec![2, 0x4d, 0, 0, 0, 4];
        frame.extend(mac.0);
        frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0]);
        frame.extend(TARGET.octets());
        frame.extend([192, 0, 2, 4, 0, 0, 0, 0]);
        frame.extend(ECHO_ID.to_be_bytes());
        frame.extend(number.to_be_bytes());
        frame
    }

    #[test]
    fn an_echo_request_has_the_internet_checksum() {
        for number in [0, 1, 0x1234, u16::MAX] {
            let request = echo_request(number);
            let words =
                request.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
            let sum: u32 = words.sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "{number}");
        }
    }

    #[test]
    fn only_our_own_echoes_from_the_address_count() {
        let good = reply(7, Side::B.mac());
        assert_eq!(echo_reply(&good, TARGET), Some((7, Side::B.mac())));
        for length in 0..good.len() {
            assert_eq!(echo_reply(&good[..length], TARGET), None, "cut to {length}");
        }
        for (at, value) in [(12, 9), (23, 17), (29, 101), (34, 8), (38, 0)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(echo_reply(&bad, TARGET), None, "byte {at}");
        }
    }

    #[test]
    fn an_outage_is_between_two_answers_and_only_where_one_is_missing() {
        let mut log = Log::default();
        for millis in 0..100 {
            // From 40 on a answers no more, from 70 on b does; the loop itself stalls at 80.
            let sent = if millis < 80 { millis } else { millis + 50 };
            let answer = match millis {
                ..40 => Some((at(sent), Side::A)),
                70.. => Some((at(sent), Side::B)),
                _ => None,
            };
            log.echoes.push(Echo { sent: at(sent), answer });
        }
        let measured = log.measure(at(30));
        assert_eq!((measured.asked, measured.answered), (70, 40));
        assert_eq!(measured.outage, Span::from_millis(31), "from 39 to 70, and not the stall");
        assert_eq!(log.owner(at(0)), Some((Side::B, at(149))));
        assert_eq!(log.owner(at(500)), None);
        assert!(log.has_answered(Side::A, at(39)) && !log.has_answered(Side::A, at(40)));
    }

    #[test]
    fn two_answers_to_one_question_are_two_owners() {
        let own = (Ipv4Addr::new(192, 0, 2, 4), station_mac(4));
        // An answer is a question from the other end, with another operation and one target.
        let answer = |mac| {
            let mut frame = Frame::question(own.0.into(), Some(TARGET.into()), mac, Some(own.1))
                .bytes()
                .to_vec();
            frame[21] = 2;
            frame
        };
        let mut log = Log::default();
        for (millis, sides) in [(0, &[Side::A][..]), (5, &[Side::A, Side::B]), (10, &[Side::B])] {
            log.probes.push(Probe { sent: at(millis), a: false, b: false });
            for side in sides {
                log.hear(&answer(side.mac()), true, TARGET, at(millis));
            }
            // Announcements are no answers.
            for frame in Frame::announcements(TARGET.into(), Side::A.mac(), false).iter().flatten()
            {
                log.hear(frame.bytes(), false, TARGET, at(millis));
            }
        }
        let measured = log.measure(at(0));
        assert_eq!((measured.probes, measured.both), (3, 1));
        assert_eq!(log.measure(at(10)).both, 0);
        assert!(log.has_answered(Side::B, at(10)) && !log.has_answered(Side::A, at(10)));
    }
}
