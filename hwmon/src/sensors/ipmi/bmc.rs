//! What is asked of a BMC, and how it is sent (IPMI v2.0, 5.2 and appendix G). Nothing is ever
//! written but a reservation, without which long records cannot be read.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use mastiff_core::time::Mono;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

use crate::sensor::SensorError;
use crate::sys;

/// The device of the first BMC; the kernel's module is `ipmi_devintf`.
pub(super) const DEVICE: &str = "/dev/ipmi0";

/// Milliseconds to wait for one answer at most. The driver itself gives up before (KCS: 5 s and
/// retries), and the prober, too.
const PATIENCE_MS: u16 = 30_000;

/// Completion codes (table 5-2): busy, no such command, out of time, reservation lost, too long,
/// not there, no answer to be had, the same because something is being set up (the records, the
/// firmware, the BMC), and the kernel's own for a BMC that does not speak.
const BUSY: u8 = 0xc0;
const NO_COMMAND: u8 = 0xc1;
const TIMED_OUT: u8 = 0xc3;
const RESERVATION_LOST: u8 = 0xc5;
const LENGTH_INVALID: u8 = 0xc7;
const LENGTH_EXCEEDED: u8 = 0xc8;
const CANNOT_RETURN_SO_MUCH: u8 = 0xca;
const NOT_PRESENT: u8 = 0xcb;
const NO_ANSWER: u8 = 0xce;
const SETTING_UP: std::ops::RangeInclusive<u8> = 0xd0..=0xd2;
const UNSPECIFIED: u8 = 0xff;

/// One command: its function, its number, its name in the specification, and the bytes that its
/// answer has at least after the completion code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command(pub(super) [u8; 2], &'static str, usize);

/// 20.1.
pub(super) const GET_DEVICE_ID: Command = Command([0x06, 0x01], "Get Device ID", 6);
/// 33.9.
pub(super) const GET_SDR_INFO: Command = Command([0x0a, 0x20], "Get SDR Repository Info", 14);
/// 33.11.
pub(super) const RESERVE_SDR: Command = Command([0x0a, 0x22], "Reserve SDR Repository", 2);
/// 33.12.
pub(super) const GET_SDR: Command = Command([0x0a, 0x23], "Get SDR", 2);
/// 35.9.
pub(super) const GET_THRESHOLDS: Command = Command([0x04, 0x27], "Get Sensor Thresholds", 7);
/// 35.14.
pub(super) const GET_READING: Command = Command([0x04, 0x2d], "Get Sensor Reading", 2);
/// 31.2.
pub(super) const GET_SEL_INFO: Command = Command([0x0a, 0x40], "Get SEL Info", 14);
/// 31.5.
pub(super) const GET_SEL_ENTRY: Command = Command([0x0a, 0x43], "Get SEL Entry", 18);

/// The way to a BMC.
pub(super) trait Line: Send {
    /// Sends a request to a logical unit of the BMC and waits for the answer, which begins with the
    /// completion code.
    fn ask(&mut self, unit: u8, command: [u8; 2], data: &[u8]) -> io::Result<Vec<u8>>;

    /// A clock that goes on while it waits.
    fn clock(&self) -> Mono;
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The BMC said no, with this completion code.
    Refused(u8),
    /// The answer is shorter than the specification has it.
    Short,
    /// The kernel says no.
    Kernel(io::Error),
}

impl Fault {
    /// Whether the same question may be answered later.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Refused(code)
            if [BUSY, TIMED_OUT, NO_ANSWER, UNSPECIFIED].contains(code)
                || SETTING_UP.contains(code))
    }

    /// Whether the BMC does not have the command.
    pub(super) fn is_no_command(&self) -> bool {
        matches!(self, Self::Refused(NO_COMMAND))
    }

    pub(super) fn is_lost_reservation(&self) -> bool {
        matches!(self, Self::Refused(RESERVATION_LOST))
    }

    pub(super) fn is_not_there(&self) -> bool {
        matches!(self, Self::Refused(NOT_PRESENT))
    }

    /// Whether fewer bytes may be answered. What has no words of its own is often meant so.
    pub(super) fn is_too_much(&self) -> bool {
        let codes = [CANNOT_RETURN_SO_MUCH, LENGTH_EXCEEDED, LENGTH_INVALID, UNSPECIFIED];
        matches!(self, Self::Refused(code) if codes.contains(code))
    }
}

/// A BMC that can be asked.
pub(super) struct Bmc(Box<dyn Line>);

impl Bmc {
    pub(super) fn new(line: Box<dyn Line>) -> Self {
        Self(line)
    }

    /// Asks and returns what follows the completion code.
    pub(super) fn ask(
        &mut self,
        unit: u8,
        command: Command,
        data: &[u8],
    ) -> Result<Vec<u8>, Fault> {
        let mut answer = self.0.ask(unit, command.0, data).map_err(Fault::Kernel)?;
        match answer.first() {
            Some(0) => {
                answer.remove(0);
                if answer.len() < command.2 { Err(Fault::Short) } else { Ok(answer) }
            }
            Some(code) => Err(Fault::Refused(*code)),
            None => Err(Fault::Short),
        }
    }

    pub(super) fn clock(&self) -> Mono {
        self.0.clock()
    }
}

/// Says what was asked in vain.
pub(super) fn failed(Command(_, name, _): Command, fault: Fault) -> SensorError {
    let what = match fault {
        Fault::Kernel(source) => {
            return SensorError::io("ask the BMC through", Path::new(DEVICE), source);
        }
        Fault::Short => "its answer is too short".to_owned(),
        Fault::Refused(code @ (TIMED_OUT | UNSPECIFIED)) => {
            format!("no answer in time (completion code {code:#04x}); `mc reset` of ipmitool helps")
        }
        Fault::Refused(code) => format!("refused with completion code {code:#04x}"),
    };
    SensorError::Unsupported(format!("cannot ask the BMC ({name}): {what}"))
}

/// The BMC of this machine.
pub(super) struct Device {
    file: File,
    requests: libc::c_long,
}

impl Device {
    pub(super) fn open() -> Result<Self, SensorError> {
        let path = Path::new(DEVICE);
        let file = File::open(path).map_err(|error| SensorError::io("open", path, error))?;
        Ok(Self { file, requests: 0 })
    }
}

impl Line for Device {
    fn ask(&mut self, unit: u8, command: [u8; 2], data: &[u8]) -> io::Result<Vec<u8>> {
        let device = self.file.as_fd();
        self.requests = self.requests.wrapping_add(1);
        sys::ipmi::send(device, self.requests, unit, command, data)?;
        loop {
            let mut wait = [PollFd::new(device, PollFlags::POLLIN)];
            match poll(&mut wait, PollTimeout::from(PATIENCE_MS)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => {}
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            }
            // An answer to an older request, which nobody waits for any more, is passed over.
            match sys::ipmi::receive(device)? {
                Some((id, answer)) if id == self.requests => return Ok(answer),
                Some(_) | None => {}
            }
        }
    }

    fn clock(&self) -> Mono {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(std::time::Duration::from);
        // It never fails. If it did, a reading would be one sensor.
        Mono::from_nanos(
            now.ok().and_then(|now| now.as_nanos().try_into().ok()).unwrap_or(i64::MAX),
        )
    }
}

impl fmt::Debug for Bmc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bmc")
    }
}
