//! Where log lines go: the journal with its native fields, else standard error.
//!
//! The journal's socket takes one datagram for each line (systemd.journal-fields(7),
//! JOURNAL_NATIVE_PROTOCOL); a line that it does not take at once is counted and dropped, because a
//! loop that repairs a machine must not wait for its log.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU64, Ordering};

use log::kv::{Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

const JOURNAL: &str = "/run/systemd/journal/socket";

/// Lines that the journal did not take.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines that the journal did not take since the start.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Starts logging: to the journal where standard error goes there (`JOURNAL_STREAM`,
/// systemd.exec(5)), else to standard error. Called once.
pub fn start(verbose: bool) {
    let socket = std::env::var_os("JOURNAL_STREAM").and_then(|_| {
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect(JOURNAL).ok()?;
        Some(socket)
    });
    let logger: Box<dyn Log> = match socket {
        Some(socket) => Box::new(Journal { socket }),
        None => Box::new(Stderr),
    };
    log::set_max_level(if verbose { LevelFilter::Debug } else { LevelFilter::Info });
    if log::set_boxed_logger(logger).is_err() {
        log::debug!("logging was started already");
    }
}

struct Journal {
    socket: UnixDatagram,
}

struct Stderr;

/// The syslog priority of a level.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// One line in the journal's native protocol. Fields of ours are upper case with `MASTIFF_` before
/// them.
fn native(record: &Record<'_>) -> Vec<u8> {
    let mut line = Vec::new();
    field(&mut line, "PRIORITY", &priority(record.level()).to_string());
    field(&mut line, "SYSLOG_IDENTIFIER", "mastiffd");
    field(&mut line, "MESSAGE", &record.args().to_string());
    struct Fields<'a>(&'a mut Vec<u8>);
    impl<'kvs> VisitSource<'kvs> for Fields<'_> {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
            let text = value.to_string();
            if !text.is_empty() {
                field(self.0, &format!("MASTIFF_{}", key.as_str().to_ascii_uppercase()), &text);
            }
            Ok(())
        }
    }
    // The visitor above never fails.
    record.key_values().visit(&mut Fields(&mut line)).ok();
    line
}

/// A value with a line feed is written with its length in front: eight bytes, little endian.
fn field(line: &mut Vec<u8>, name: &str, value: &str) {
    line.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        line.push(b'\n');
        line.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        line.push(b'=');
    }
    line.extend_from_slice(value.as_bytes());
    line.push(b'\n');
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) && self.socket.send(&native(record)).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let word = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info | Level::Debug | Level::Trace => "",
        };
        // One write for each line, so that lines of two threads do not mix. A closed standard error
        // is no reason to stop.
        let line = format!("mastiffd: {word}{}\n", record.args());
        let mut stderr = std::io::stderr().lock();
        // A reader that has stopped must not stop the keeper.
        let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        let has_room = poll(&mut ready, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
        if !has_room || stderr.write_all(line.as_bytes()).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_follow_the_native_protocol() {
        let mut line = Vec::new();
        field(&mut line, "MESSAGE", "one");
        field(&mut line, "MESSAGE", "a\nb");
        assert_eq!(line, b"MESSAGE=one\nMESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n");
    }

    #[test]
    fn a_line_carries_its_pairs_and_leaves_empty_ones_out() {
        let kvs: &[(&str, &str)] = &[("check", "web"), ("kind", "")];
        let record = Record::builder()
            .level(Level::Warn)
            .args(format_args!("hello"))
            .key_values(&kvs)
            .build();
        let text = String::from_utf8(native(&record)).unwrap();
        assert_eq!(
            text,
            "PRIORITY=4\nSYSLOG_IDENTIFIER=mastiffd\nMESSAGE=hello\nMASTIFF_CHECK=web\n"
        );
    }
}
