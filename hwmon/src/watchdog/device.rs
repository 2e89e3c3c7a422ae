//! An open watchdog device: it counts down, and resets the machine unless it is petted.
//!
//! Nothing here decides when. Every call may block for as long as the driver likes (IPMI: seconds),
//! so it is for a thread that nobody waits for. What is read back counts: drivers round, cap and
//! ignore what they are asked for (a Raspberry Pi takes 15 s at most).
//!
//! How it ends (drivers/watchdog/watchdog_dev.c, `watchdog_release`): closed after
//! [`allow_close`](Device::allow_close) it stops, unless it is `nowayout`; closed without, it goes
//! on and resets the machine. Descriptors of one opening share that: what one allows, the last
//! close of them all does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::sys::stat::{major, minor};

use crate::root::Root;
use crate::sys::watchdog::{self as sys, Number};

/// `WDIOF_MAGICCLOSE`: closing it stops it only after a `V`; without, closing always stops it.
const MAGIC_CLOSE: u32 = 0x0100;
/// `WDIOF_OVERHEAT`, `FANFAULT`, `EXTERN1`, `EXTERN2`, `POWERUNDER` and `POWEROVER`.
const ALARMS: u32 = 0x005f;
/// `WDIOS_DISABLECARD`: stop it.
const DISABLE: i32 = 1;
/// What is written to pet it: anything but the letter that allows it to be closed.
const PET: &[u8] = b"p";
const ALLOW_CLOSE: &[u8] = b"V";

/// The device.
#[derive(Debug)]
pub struct Device {
    file: File,
    info: sys::Info,
}

impl Device {
    /// Opens a device: **this starts it**.
    ///
    /// # Errors
    /// `EBUSY`: somebody has it open; what the driver says; `ENOTTY`: it is no watchdog, or its
    /// driver is so old that it cannot say what it is.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).custom_flags(libc::O_CLOEXEC).open(path)?;
        Self::new(file)
    }

    /// Goes on with a device that a daemon before this one has opened.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        Self::new(File::from(fd))
    }

    fn new(mut file: File) -> io::Result<Self> {
        match sys::support(file.as_fd()) {
            Ok(info) => Ok(Self { file, info }),
            Err(error) => {
                // Whatever it is, it must not be left counting.
                file.write_all(ALLOW_CLOSE).ok();
                Err(error.into())
            }
        }
    }

    /// What the driver calls it.
    #[must_use]
    pub fn identity(&self) -> String {
        let bytes = self.info.identity.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(bytes).trim().to_string()
    }

    /// Whether closing it without [`allow_close`](Self::allow_close) leaves it running.
    #[must_use]
    pub const fn has_magic_close(&self) -> bool {
        self.info.options & MAGIC_CLOSE != 0
    }

    /// Its name below /sys/class/watchdog, by its number; `None` for drivers outside the class.
    #[must_use]
    pub fn name(&self, root: &Root) -> Option<String> {
        let number = self.file.metadata().ok()?.rdev();
        let link = format!("/sys/dev/char/{}:{}", major(number), minor(number));
        let target = fs::read_link(root.path(&link)).ok()?;
        let name = target.file_name()?.to_str()?;
        match name {
            "watchdog" => Some("watchdog0".to_string()),
            name => super::number(name).map(|_| name.to_string()),
        }
    }

    /// Asks for a time-out; returns the one that it has then.
    ///
    /// # Errors
    /// `EINVAL`: out of its range; `EOPNOTSUPP`: it has one that cannot be changed.
    pub fn set_timeout(&self, secs: u32) -> io::Result<u32> {
        let given = i32::try_from(secs).unwrap_or(i32::MAX);
        self.number(Number::SetTimeout, given)?;
        self.timeout()
    }

    /// After how long it resets the machine, in seconds, as the driver says.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: the driver does not say.
    pub fn timeout(&self) -> io::Result<u32> {
        self.number(Number::Timeout, 0)
    }

    /// Asks for a warning so many seconds before the end; returns what it has then.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: it cannot; `EINVAL`: out of its range.
    pub fn set_pretimeout(&self, secs: u32) -> io::Result<u32> {
        let given = i32::try_from(secs).unwrap_or(i32::MAX);
        self.number(Number::SetPretimeout, given)?;
        self.number(Number::Pretimeout, 0)
    }

    /// Why the machine booted, as bits of [`super::flags`]; for drivers outside the class, whose
    /// sysfs says nothing.
    ///
    /// # Errors
    /// What the driver says.
    pub fn bootstatus(&self) -> io::Result<u32> {
        self.number(Number::Bootstatus, 0)
    }

    /// What is wrong now, by the driver, as bits of [`super::flags`]; 0: nothing.
    ///
    /// Bits that it says of the last boot, too, are left out: where a driver has no status the
    /// kernel answers with those (drivers/watchdog/watchdog_dev.c, `watchdog_get_status`).
    ///
    /// # Errors
    /// What the driver says.
    pub fn alarms(&self) -> io::Result<u32> {
        let of_boot = self.bootstatus().unwrap_or(0);
        Ok(self.number(Number::Status, 0)? & ALARMS & !of_boot)
    }

    /// The temperature at the device, in degrees Celsius: the driver speaks in Fahrenheit.
    ///
    /// # Errors
    /// `ENOTTY` or `EOPNOTSUPP`: it has no thermometer, as hardly any has.
    pub fn celsius(&self) -> io::Result<i32> {
        let fahrenheit = sys::number(self.file.as_fd(), Number::Temperature, 0)?;
        Ok(fahrenheit.saturating_sub(32).saturating_mul(5) / 9)
    }

    /// What is left of the time-out, in seconds.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: the driver does not say.
    pub fn timeleft(&self) -> io::Result<u32> {
        self.number(Number::Timeleft, 0)
    }

    /// Stops it now, whoever else has this opening of it; the next pet or time-out starts it again
    /// with most drivers.
    ///
    /// # Errors
    /// `EBUSY`: nothing can stop it (nowayout); `ENOTTY`, `EOPNOTSUPP` or `EINVAL`: the driver has
    /// no such call, and only closing it stops it; anything else: it did not stop.
    pub fn stop(&self) -> io::Result<()> {
        sys::number(self.file.as_fd(), Number::SetOptions, DISABLE)?;
        Ok(())
    }

    /// Pets it, and takes back what [`allow_close`](Self::allow_close) allowed.
    ///
    /// A write, not `WDIOC_KEEPALIVE`: every driver has it.
    ///
    /// # Errors
    /// What the driver says; the device was not petted then.
    pub fn pet(&mut self) -> io::Result<()> {
        self.write(PET)
    }

    /// Pets it, and allows the next close to stop it.
    ///
    /// # Errors
    /// As [`pet`](Self::pet).
    pub fn allow_close(&mut self) -> io::Result<()> {
        self.write(ALLOW_CLOSE)
    }

    fn write(&mut self, byte: &[u8]) -> io::Result<()> {
        self.file.write_all(byte)
    }

    fn number(&self, what: Number, given: i32) -> io::Result<u32> {
        let number = sys::number(self.file.as_fd(), what, given)?;
        u32::try_from(number).map_err(|_| io::Error::other(format!("the driver says {number}")))
    }
}

impl From<Device> for OwnedFd {
    fn from(device: Device) -> Self {
        device.file.into()
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_watchdog_is_refused() {
        let error = Device::open(Path::new("/dev/null")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
        let missing = Device::open(Path::new("/nowhere/watchdog0")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
