//! A web service: one GET, and what came back.
//!
//! HTTP/1.1 with `Connection: close` (RFC 9112). Redirects are an answer and are not followed. The
//! body is looked at as it came over the wire: chunks are not joined, so a text that a chunk border
//! cuts is not found.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use mastiff_core::reading::{Quantity, Readings, Unit};
use mastiff_core::time::{Mono, Span};

use crate::sensor::{
    Conversation, Network, Options, Peer, Sensor, SensorError, SensorOption, Source, Target,
};
use crate::stream::{ERRORS, Failure, Got, Opening, Search, TIMEOUT_OPTION};

mod answer;
mod target;

use answer::{Answer, Head};
use target::Url;

/// Bytes of the options at most.
pub const TEXT_BYTES_MAX: usize = 1024;

/// A web service (RFC 9110, RFC 9112).
pub const SENSOR: Sensor = Sensor {
    name: "http",
    hardware: false,
    summary: "Status, time and content of the answer to one HTTP GET, without TLS.",
    target: Target::Url,
    options: &[
        SensorOption {
            name: "status",
            meaning: "status codes that are good, as numbers and ranges; default 200-399",
            example: "200-399,401",
            check: check_status,
        },
        SensorOption {
            name: "contains",
            meaning: "text that must be in the first 256 KiB of the body; default any",
            example: "\"status\":\"up\"",
            check: check_contains,
        },
        TIMEOUT_OPTION,
    ],
    quantities: QUANTITIES,
    warn_when: &[],
    fail_when: &["answers = false", "status-ok = false", "body-matches = false"],
    interval: Span::from_secs(10),
    fail_after: Span::from_secs(10),
    recover_after: Span::from_secs(10),
    discover: None,
    source: Source::Network(Network { peer, ask }),
};

const QUANTITIES: &[Quantity] = &[
    Quantity {
        name: "answers",
        unit: Unit::Flag,
        meaning: "a valid status line and the whole header came in time",
    },
    Quantity {
        name: "status",
        unit: Unit::Count,
        meaning: "status code; missing without an answer, as all below",
    },
    Quantity { name: "status-ok", unit: Unit::Flag, meaning: "the code is one of the good ones" },
    Quantity {
        name: "body-matches",
        unit: Unit::Flag,
        meaning: "the text of `contains` is in the body; absent without that option",
    },
    Quantity { name: "connect-time", unit: Unit::Seconds, meaning: "time until it was connected" },
    Quantity {
        name: "response-time",
        unit: Unit::Seconds,
        meaning: "time until the header, and with `contains` the text, had come",
    },
    Quantity {
        name: "error",
        unit: Unit::Word(ERRORS),
        meaning: "why there is no answer, or no end of it; absent where all is well",
    },
];

fn check_status(value: &str) -> Result<(), String> {
    match answer::ranges(value) {
        Some(_) => Ok(()),
        None => Err("write codes from 100 to 599 and ranges, as in \"200-399,401\"".into()),
    }
}

fn check_contains(value: &str) -> Result<(), String> {
    match value.len() {
        0 => Err("must not be empty".into()),
        1..=TEXT_BYTES_MAX => Ok(()),
        _ => Err(format!("must have at most {TEXT_BYTES_MAX} bytes")),
    }
}

fn peer(target: &str) -> Result<Peer, SensorError> {
    let url = Url::parse(target)?;
    Ok(Peer { host: url.host, port: url.port })
}

fn ask(
    to: SocketAddr,
    target: &str,
    options: &Options,
    now: Mono,
) -> Result<Box<dyn Conversation>, SensorError> {
    let request = Url::parse(target)?.request();
    let opening = Opening::new(to, request, options, now)?;
    Ok(Box::new(Exchange {
        opening,
        good: answer::ranges(options.get("status").unwrap_or("200-399")).unwrap_or_default(),
        contains: options.get("contains").map(Search::new),
        answer: Answer::default(),
    }))
}

struct Exchange {
    opening: Opening,
    /// First and last code of each good range.
    good: Vec<(u16, u16)>,
    contains: Option<Search>,
    answer: Answer,
}

impl Conversation for Exchange {
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
        if let Some(took) = self.opening.connect_time() {
            out.span("connect-time", took);
        }
        let head = self.answer.head();
        out.flag("answers", head.is_some());
        if let Some(head) = head {
            out.count("status", u64::from(head.status));
            let good = self.good.iter().any(|(low, high)| (*low..=*high).contains(&head.status));
            out.flag("status-ok", good);
        }
        if self.contains.is_none() {
            out.absent("body-matches");
        }
        match end {
            Ok(()) => {
                out.span("response-time", now.since(self.opening.asked));
                out.absent("error");
                if let Some(search) = &self.contains {
                    out.flag("body-matches", search.has_found());
                }
            }
            // A body that stopped half-way may still have had the text: whether it matches is not
            // known.
            Err(failure) => out.word("error", failure.word("connection")?),
        }
        Ok(true)
    }
}

impl Exchange {
    /// Goes as far as the socket allows; true once enough of the answer is there.
    fn advance(&mut self, now: Mono) -> Result<bool, Failure> {
        Ok(self.opening.advance(now)? && self.receive()?)
    }

    fn receive(&mut self) -> Result<bool, Failure> {
        let mut buffer = [0_u8; 4096];
        loop {
            let got = self.opening.stream.read(&mut buffer)?;
            if let Got::Bytes(count) = got {
                self.answer.add(buffer.get(..count).unwrap_or_default())?;
            }
            if let Some(head) = self.answer.head()
                && self.has_enough(head)
            {
                return Ok(true);
            }
            match (got, self.answer.head()) {
                (Got::Bytes(_), _) => {}
                (Got::Nothing, _) => return Ok(false),
                (Got::End, None) => return Err(Failure::Peer("closed")),
                // A body may end with the connection; one that promised more bytes was cut off.
                (Got::End, Some(head)) if head.body_bytes.is_none() => return Ok(true),
                (Got::End, Some(_)) => return Err(Failure::Peer("closed")),
            }
        }
    }

    /// Whether no further byte can change the reading.
    fn has_enough(&mut self, head: Head) -> bool {
        let Some(search) = &mut self.contains else { return true };
        let body = self.answer.body(head);
        search.look(body)
            || self.answer.is_full()
            || head.body_bytes.is_some_and(|bytes| body.len() >= bytes)
    }
}
