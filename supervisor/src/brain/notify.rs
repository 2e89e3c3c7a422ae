//! What systemd is told (sd_notify(3)): one datagram for each change, never waited for.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use mastiff_core::time::Span;

/// The socket to PID 1, if it started us and wants to hear.
#[derive(Debug)]
pub struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often to pet, if systemd watches: half of what it allows.
    pet_every: Option<Span>,
    status: String,
}

impl Notify {
    /// From `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn from_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|path| {
            let address = match path.as_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
                _ => SocketAddr::from_pathname(&path),
            };
            let socket = UnixDatagram::unbound()
                .and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
            match (socket, address) {
                (Ok(socket), Ok(address)) => Some((socket, address)),
                (Err(error), _) | (_, Err(error)) => {
                    log::warn!("cannot use NOTIFY_SOCKET {}: {error}", path.display());
                    None
                }
            }
        });
        let number =
            |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let limit = number("WATCHDOG_USEC").filter(|usec| *usec > 0 && for_us);
        let pet_every = limit.map(|usec| Span::from_nanos(usec.saturating_mul(1000) / 2));
        Self { socket, pet_every, status: String::new() }
    }

    /// How often to pet, if systemd watches.
    pub fn pet_every(&self) -> Option<Span> {
        self.pet_every
    }

    /// The start or a reload is complete.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// A reload begins. The time is CLOCK_MONOTONIC's, in microseconds, as `Type=notify-reload`
    /// demands.
    pub fn reloading(&self) {
        let at = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_or(0, |at| {
            at.tv_sec().saturating_mul(1_000_000).saturating_add(at.tv_nsec() / 1000)
        });
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={at}"));
    }

    /// The end begins.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The end lasts up to so much longer, whatever the unit says (`TimeoutStopSec=`): a time that
    /// systemd gives already stays as it is.
    pub fn needs(&self, span: Span) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", span.as_nanos() / 1000));
    }

    /// A sign of life. While the start is not complete, and at the end, it asks for more time, too:
    /// a first reading may take longer (`timeout` of a check, up to ten minutes) than systemd waits
    /// for READY=1 (`TimeoutStartSec=`, 90 s by default), and it would be killed and started again
    /// for ever; and the units of a group may take longer to stop than this unit.
    pub fn pet(&self, is_steady: bool) {
        match self.pet_every.filter(|_| !is_steady) {
            // Until two further pets were missed.
            Some(every) => {
                let usec = every.times(3).as_nanos() / 1000;
                self.send(&format!("WATCHDOG=1\nEXTEND_TIMEOUT_USEC={usec}"));
            }
            None => self.send("WATCHDOG=1"),
        }
    }

    /// How it stands, in one line; sent when it changes.
    pub fn status(&mut self, text: &str) {
        if self.status != text {
            self.status = text.to_string();
            self.send(&format!("STATUS={text}"));
        }
    }

    fn send(&self, text: &str) {
        if let Some((socket, address)) = &self.socket
            // A full socket is PID 1's trouble: the next pet says the same.
            && let Err(error) = socket.send_to_addr(text.as_bytes(), address)
            && error.kind() != std::io::ErrorKind::WouldBlock
        {
            log::warn!("cannot notify systemd: {error}");
        }
    }
}
