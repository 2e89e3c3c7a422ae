//! The answer of a stranger: bytes that grow to a limit, a status line, the end of a header.

use crate::stream::Failure;
use crate::text::whole;

/// Bytes of an answer at most; what lies behind is not read.
pub(super) const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Bytes of the header at most; common servers send at most 8 to 64 KiB.
pub(super) const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Interim answers before the real one at most; a peer may send "103 Early Hints" more than once.
const INTERIM_MAX: u8 = 8;

const STATUS_LINE_START: &[u8] = b"HTTP/1.";

/// What came so far.
#[derive(Debug, Default)]
pub(super) struct Answer {
    bytes: Vec<u8>,
    head: Option<Head>,
    /// How far the end of the header was looked for, so that single bytes do not cost a search from
    /// the start.
    searched: usize,
    interim: u8,
}

/// What a complete header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// `Content-Length`, if there is one that can be read.
    pub(super) body_bytes: Option<usize>,
    body_at: usize,
}

impl Answer {
    /// Takes what came; beyond the limit it is dropped.
    ///
    /// # Errors
    /// Once it is clear that this is no HTTP.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let free = ANSWER_BYTES_MAX.saturating_sub(self.bytes.len());
        self.bytes.extend(bytes.iter().take(free));
        while self.head.is_none() {
            let start = self.bytes.iter().take(STATUS_LINE_START.len());
            if !start.zip(STATUS_LINE_START).all(|(byte, wanted)| byte == wanted) {
                return Err(Failure::Peer("malformed"));
            }
            let Some(body_at) = self.header_end() else {
                let too_long = self.bytes.len() > HEADER_BYTES_MAX;
                return if too_long { Err(Failure::Peer("malformed")) } else { Ok(()) };
            };
            let header = self.bytes.get(..body_at).unwrap_or_default();
            let status = status(header).ok_or(Failure::Peer("malformed"))?;
            if status < 200 && status != 101 {
                // An interim answer; the real one follows (RFC 9110, 15.2).
                self.interim = self.interim.saturating_add(1);
                if self.interim > INTERIM_MAX {
                    return Err(Failure::Peer("malformed"));
                }
                self.bytes.drain(..body_at);
                self.searched = 0;
            } else {
                self.head = Some(Head { status, body_bytes: content_length(header), body_at });
            }
        }
        Ok(())
    }

    /// The header, once it is complete.
    pub(super) fn head(&self) -> Option<Head> {
        self.head
    }

    /// The body as far as it came.
    pub(super) fn body(&self, head: Head) -> &[u8] {
        self.bytes.get(head.body_at..).unwrap_or_default()
    }

    /// Whether nothing more is taken.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= ANSWER_BYTES_MAX
    }

    /// Where the empty line ends. A lone newline is taken for a line end, too (RFC 9112, 2.2).
    fn header_end(&mut self) -> Option<usize> {
        let from = self.searched;
        self.searched = self.bytes.len().saturating_sub(3);
        let rest = self.bytes.get(from..)?;
        let ends = rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        ends.map(|(at, _)| at).find_map(|at| {
            let after = rest.get(at.checked_add(1)?..)?;
            let empty_line =
                [&b"\n"[..], b"\r\n"].into_iter().find(|end| after.starts_with(end))?;
            from.checked_add(at)?.checked_add(1)?.checked_add(empty_line.len())
        })
    }
}

/// The code of `HTTP/1.1 200 OK`.
fn status(header: &[u8]) -> Option<u16> {
    let line = header.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| *byte == b' ');
    let version = words.next()?.strip_prefix(STATUS_LINE_START)?;
    let code = words.next()?.trim_ascii_end();
    let is_code = version.len() == 1 && code.len() == 3 && code.iter().all(u8::is_ascii_digit);
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    (is_code && (100..600).contains(&code)).then_some(code)
}

fn content_length(header: &[u8]) -> Option<usize> {
    let mut lines =
        header.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            usize::try_from(whole(value)?).ok()
        } else {
            None
        }
    })
}

/// First and last code of each part of a list such as `200-399,401`; `None` if it is none.
pub(super) fn ranges(text: &str) -> Option<Vec<(u16, u16)>> {
    let code = |text: &str| -> Option<u16> {
        text.trim().parse().ok().filter(|code| (100..600).contains(code))
    };
    text.split(',')
        .map(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let (low, high) = (code(low)?, code(high)?);
            (low <= high).then_some((low, high))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte_by_byte(text: &[u8]) -> Result<Answer, Failure> {
        let mut answer = Answer::default();
        for byte in text {
            answer.add(&[*byte])?;
        }
        Ok(answer)
    }

    #[test]
    fn headers_are_found_however_they_are_cut() {
        for (text, status, length, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, Some(2), "hi"),
            ("HTTP/1.0 404\r\n\r\n", 404, None, ""),
            ("HTTP/1.1 204 x\n\nbody", 204, None, "body"),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 y\r\na: b\r\n\r\nHTTP/1.1 503 z\r\n\r\n!",
                503,
                None,
                "!",
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", 200, None, ""),
        ] {
            for answer in [byte_by_byte(text.as_bytes()), {
                let mut whole = Answer::default();
                whole.add(text.as_bytes()).map(|()| whole)
            }] {
                let answer = answer.expect("HTTP");
                let head = answer.head().expect("a header");
                assert_eq!((head.status, head.body_bytes), (status, length), "{text:?}");
                assert_eq!(answer.body(head), body.as_bytes(), "{text:?}");
            }
        }
    }

    #[test]
    fn what_is_no_http_is_refused_early() {
        for text in [
            "SSH-2.0-x",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 20 x\r\n\r\n",
            "HTTP/1.1 +20 x\n\n",
            "\n\n",
        ] {
            assert!(byte_by_byte(text.as_bytes()).is_err(), "{text:?}");
        }
        let mut endless = Answer::default();
        endless.add(b"HTTP/1.1 200 OK\r\n").expect("a good start");
        let refused = (0..HEADER_BYTES_MAX).any(|_| endless.add(b"x: yyyyyyyyyyyyyy\r\n").is_err());
        assert!(refused && endless.bytes.len() < HEADER_BYTES_MAX + 100);
    }

    #[test]
    fn status_lists() {
        assert_eq!(ranges("200-399,401"), Some(vec![(200, 399), (401, 401)]));
        for text in ["", "200,", "399-200", "99", "600", "ok", "200-"] {
            assert_eq!(ranges(text), None, "{text:?}");
        }
    }
}
