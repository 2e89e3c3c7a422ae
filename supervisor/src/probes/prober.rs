//! The prober: a child process that takes the readings which may hang in the kernel.
//!
//! It does one job after the other and answers each. When one hangs, the brain notices by the
//! clock, abandons this process and has the runner fork another one: at most one process is stuck
//! for each target.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mastiff_core::reading::Readings;
use mastiff_core::sorted::Map;
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::{Options, Probe as SensorProbe, Source, Wanted};
use mastiff_hwmon::sensors;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::wire::{Channel, Job, MESSAGE_BYTES_MAX, Message, Output, Probe, Received, Reply};
use crate::{clock, config, flight};

/// Bytes of a configuration that can be loaded while running: as JSON it still fits a message.
const CONFIG_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 2;

/// Its name in the process table; at most 15 bytes (`TASK_COMM_LEN`, linux/sched.h).
pub const NAME: &std::ffi::CStr = c"mastiff-prober";

/// Runs until the brain is gone.
pub fn main(socket: OwnedFd) -> i32 {
    // For `ps` and `top`, which would show it under the runner's name; not fatal where it fails.
    nix::sys::prctl::set_name(NAME).ok();
    // This process may wait: it is the one that does.
    if fcntl(&socket, FcntlArg::F_SETFL(OFlag::empty())).is_err() {
        return 71;
    }
    let channel = Channel::from_fd(socket);
    let mut prober = Prober { root: Root::machine(), open: Map::new() };
    let mut buffer = Vec::new();
    loop {
        let Ok((Received::Message(message), _)) = channel.receive::<Message<Job>>(&mut buffer)
        else {
            // The brain is gone, or speaks another language: it has been replaced.
            return 0;
        };
        let reply = Reply { id: message.id, result: prober.perform(message.body) };
        // What still waits in the socket of a prober that was taken aside has been given to another
        // one. Begun here, too, it could hang twice, or write an old state over a newer one.
        if channel.send(&reply, None).is_err() || channel.is_hung_up() {
            return 0;
        }
    }
}

struct Prober {
    root: Root,
    /// Opened sensors by check: they keep descriptors and the counters of their last reading.
    open: Map<u32, Box<dyn SensorProbe>>,
}

impl Prober {
    fn perform(&mut self, job: Job) -> Result<Output, String> {
        match job {
            Job::Read(probe) => self.read(&probe),
            Job::Write { path, text } => {
                write(Path::new(&path), &text)
                    .map_err(|error| format!("cannot write {path}: {error}"))?;
                Ok(Output::Written)
            }
            Job::Sync => {
                nix::unistd::sync();
                Ok(Output::Written)
            }
            Job::Record { path, lines } => match flight::file::write(Path::new(&path), &lines) {
                Ok(()) => Ok(Output::Written),
                Err(error) => Ok(Output::NotWritten(format!("cannot write {path}: {error}"))),
            },
            Job::Load { path, named } => load(Path::new(&path), named).map(Output::Text),
        }
    }

    fn read(&mut self, probe: &Probe) -> Result<Output, String> {
        let sensor =
            sensors::find(&probe.sensor).ok_or_else(|| format!("no sensor {}", probe.sensor))?;
        let Source::MayHang(open) = sensor.source else {
            return Err(format!("the sensor {} is not read by the prober", sensor.name));
        };
        let mut opened = match self.open.remove(&probe.check) {
            Some(opened) => opened,
            None => open(&self.root, &probe.target, &Options(probe.options.clone()))
                .map_err(|e| e.to_string())?,
        };
        let mut readings = Readings::new(sensor.quantities);
        opened
            .read(clock::now(), Wanted::from_bits(probe.wanted), &mut readings)
            .map_err(|error| error.to_string())?;
        // Only what could be read stays open: after an error the next reading starts anew.
        let is_worth_keeping = opened.is_worth_keeping();
        self.open.insert(probe.check, opened);
        Ok(Output::Readings(readings.slots().to_vec(), readings.note, is_worth_keeping))
    }
}

/// Writes a file so that a crash leaves the old or the new one, never a part: beside it, synced,
/// renamed, and the directory synced, too (rename(2) alone promises nothing about the disk).
fn write(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = PathBuf::from(path);
    beside.add_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(directory)?.sync_all()
}

fn load(path: &Path, named: bool) -> Result<String, String> {
    let text = config::read_or_default(path, named).map_err(|fault| fault.to_string())?;
    if text.len() > CONFIG_BYTES_MAX {
        return Err(format!(
            "{}: more than {CONFIG_BYTES_MAX} bytes are only loaded by a restart",
            path.display()
        ));
    }
    Ok(text)
}
