//! A TCP service: whether it takes connections, and whether it says what it should.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::sensor::{
    Conversation, Network, Options, Peer, Sensor, SensorError, SensorOption, Source, Target,
};
use crate::stream::{ERRORS, Failure, Got, Opening, Search, TIMEOUT_OPTION};

/// Bytes of an answer in which `expect` is looked for.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Bytes of the options `send` and `expect` at most.
pub const TEXT_BYTES_MAX: usize = 1024;

/// A TCP service (tcp(7)).
pub const SENSOR: Sensor = Sensor {
    name: "tcp",
    hardware: false,
    summary: "Whether a TCP service takes a connection, and answers as expected.",
    target: Target::HostPort,
    options: &[
        SensorOption {
            name: "send",
            meaning: "text to send once connected; default nothing",
            example: "PING\r\n",
            check: check_text,
        },
        SensorOption {
            name: "expect",
            meaning: "text that must be part of the first 16 KiB of the answer; default any",
            example: "PONG",
            check: check_text,
        },
        TIMEOUT_OPTION,
    ],
    quantities: QUANTITIES,
    warn_when: &[],
    fail_when: &["answers = false"],
    interval: Span::from_secs(5),
    fail_after: Span::from_secs(10),
    recover_after: Span::from_secs(10),
    discover: None,
    source: Source::Network(Network { peer, ask }),
};

const QUANTITIES: &[Quantity] = &[
    Quantity {
        name: "answers",
        unit: Unit::Flag,
        meaning: "connected, and with `expect` the text came in time",
    },
    Quantity {
        name: "connect-time",
        unit: Unit::Seconds,
        meaning: "time until the connection stood; missing where it never did",
    },
    Quantity {
        name: "answer-time",
        unit: Unit::Seconds,
        meaning: "time until the expected text came; absent without `expect`",
    },
    Quantity {
        name: "error",
        unit: Unit::Word(ERRORS),
        meaning: "why it does not answer; absent where it does",
    },
];

fn check_text(value: &str) -> Result<(), String> {
    match value.len() {
        0 => Err("must not be empty".into()),
        1..=TEXT_BYTES_MAX => Ok(()),
        _ => Err(format!("must have at most {TEXT_BYTES_MAX} bytes")),
    }
}

/// Host and port of `host:port`, an IPv6 address in brackets.
fn peer(target: &str) -> Result<Peer, SensorError> {
    let parts = target.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = parts.ok_or_else(|| SensorError::Target {
        target: target.to_owned(),
        reason: Target::HostPort.wanted().to_owned(),
    })?;
    Ok(Peer { host: host.trim_matches(['[', ']']).to_owned(), port })
}

fn ask(
    to: SocketAddr,
    _target: &str,
    options: &Options,
    now: Mono,
) -> Result<Box<dyn Conversation>, SensorError> {
    let to_send = options.get("send").unwrap_or_default().as_bytes().to_vec();
    let opening = Opening::new(to, to_send, options, now)?;
    Ok(Box::new(Talk {
        opening,
        expect: options.get("expect").map(Search::new),
        answer: Vec::new(),
    }))
}

struct Talk {
    opening: Opening,
    expect: Option<Search>,
    answer: Vec<u8>,
}

impl Conversation for Talk {
    fn fd(&self) -> BorrowedFd<'_> {
        self.opening.stream.as_fd()
    }

    fn wants_write(&self) -> bool {
        self.opening.wants_write()
    }

    fn deadline(&self) -> Mono {
        self.opening.deadline
    }

    fn proceed(&mut self, now: Mono, out: &mut Readings) -> Result<bool, SensorError> {
        let progress = self.advance(now);
        let Some(end) = self.opening.end(progress, now) else { return Ok(false) };
        out.flag("answers", end.is_ok());
        match end {
            Ok(()) => {
                out.absent("error");
                if self.expect.is_some() {
                    out.span("answer-time", now.since(self.opening.asked));
                }
            }
            Err(failure) => out.word("error", failure.word("connection")?),
        }
        if self.expect.is_none() {
            out.absent("answer-time");
        }
        if let Some(took) = self.opening.connect_time() {
            out.span("connect-time", took);
        }
        Ok(true)
    }
}

impl Talk {
    /// Goes as far as the socket allows; true once the answer is there.
    fn advance(&mut self, now: Mono) -> Result<bool, Failure> {
        Ok(self.opening.advance(now)? && self.receive()?)
    }

    fn receive(&mut self) -> Result<bool, Failure> {
        let Some(expect) = &mut self.expect else { return Ok(true) };
        let mut buffer = [0_u8; 4096];
        loop {
            match self.opening.stream.read(&mut buffer)? {
                Got::Nothing => return Ok(false),
                Got::End if self.answer.is_empty() => return Err(Failure::Peer("closed")),
                Got::End => return Err(Failure::Peer("mismatch")),
                Got::Bytes(count) => {
                    let free = ANSWER_BYTES_MAX.saturating_sub(self.answer.len());
                    self.answer.extend(buffer.iter().take(count.min(free)));
                }
            }
            if expect.look(&self.answer) {
                return Ok(true);
            }
            if self.answer.len() >= ANSWER_BYTES_MAX {
                return Err(Failure::Peer("mismatch"));
            }
        }
    }
}
