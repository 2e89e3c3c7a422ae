//! The socket that applications send their heartbeats to: `run-dir/heartbeat.sock`.
//!
//! A program that speaks sd_notify(3) needs only `NOTIFY_SOCKET` set to it. Whose heartbeat it is,
//! is told by the kernel: the sender's process (`SCM_CREDENTIALS`) and the unit whose control group
//! it is in. A name that the program gives itself counts only where it cannot be mistaken for a
//! unit.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use mastiff_core::reading::Readings;
use mastiff_core::sorted::Map;
use mastiff_core::time::Mono;
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensor::is_unit_name;
use mastiff_hwmon::sensors::heartbeat::{Beats, DATAGRAM_BYTES_MAX, SENSOR, parse_datagram};
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg, setsockopt, sockopt::PassCred,
};

/// Datagrams taken in one turn; the rest waits in the socket, and a sender that floods it fills
/// only that.
const TURN_DATAGRAMS_MAX: usize = 256;
/// Names that are remembered without a check: one that is added by a reload finds its last beat.
const NAMES_MAX: usize = 1024;

/// The socket, and what was heard on it.
#[derive(Debug)]
pub struct Heartbeats {
    socket: UnixDatagram,
    root: Root,
    heard: Map<String, Beats>,
    /// Datagrams that could not be given to anybody.
    ignored: u64,
}

impl Heartbeats {
    /// Makes the socket, in place of one that an earlier daemon left.
    ///
    /// # Errors
    /// Whatever keeps a socket from being made there.
    pub fn bind(path: &Path, root: Root) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let socket = UnixDatagram::bind(path)?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, PassCred, &true)?;
        // Applications run as anybody; who they are is the kernel's word, not the file's mode.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        Ok(Self { socket, root, heard: Map::new(), ignored: 0 })
    }

    /// Datagrams that could not be given to anybody.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Takes what has arrived; true if more may be waiting.
    pub fn hear(&mut self, now: Mono) -> bool {
        for _ in 0..TURN_DATAGRAMS_MAX {
            let mut buffer = [0; DATAGRAM_BYTES_MAX];
            match receive(&self.socket, &mut buffer) {
                Ok((datagram, sender)) => self.take(datagram, sender, now),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return false,
                // A datagram with more than a name to it, such as the descriptor of
                // sd_notify_barrier(3). It is one of many: whoever sends such ones must not keep
                // the beats behind them from being heard, which the poll announces only once.
                Err(_) => self.ignored = self.ignored.saturating_add(1),
            }
        }
        true
    }

    fn take(&mut self, datagram: &[u8], sender: Option<UnixCredentials>, now: Mono) {
        let beat = parse_datagram(datagram);
        let name = match beat.name.clone() {
            Some(name) if !is_unit_name(&name) => Some(name),
            Some(_) | None => sender.and_then(|sender| unit_of(&self.root, sender.pid())),
        };
        let Some(name) = name else {
            self.ignored = self.ignored.saturating_add(1);
            return;
        };
        if let Some(beats) = self.heard.get_mut(&name) {
            beats.take(beat, now);
        } else if self.heard.len() < NAMES_MAX {
            let mut beats = Beats::default();
            beats.take(beat, now);
            self.heard.insert(name, beats);
        } else {
            self.ignored = self.ignored.saturating_add(1);
        }
    }

    /// What is known of one application.
    pub fn read(&self, name: &str, now: Mono) -> Readings {
        let mut readings = Readings::new(SENSOR.quantities);
        match self.heard.get(name) {
            Some(beats) => beats.fill(now, &mut readings),
            None => Beats::default().fill(now, &mut readings),
        }
        readings
    }
}

impl AsRawFd for Heartbeats {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn receive<'a>(
    socket: &UnixDatagram,
    buffer: &'a mut [u8],
) -> nix::Result<(&'a [u8], Option<UnixCredentials>)> {
    let mut space = nix::cmsg_space!(UnixCredentials);
    let mut parts = [IoSliceMut::new(buffer)];
    let (length, sender) = {
        let message = recvmsg::<()>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::MSG_DONTWAIT,
        )?;
        let mut sender = None;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmCredentials(credentials) = control {
                sender = Some(credentials);
            }
        }
        (message.bytes, sender)
    };
    Ok((buffer.get(..length).unwrap_or_default(), sender))
}

/// The unit that a process belongs to: the last part of its control group that is a unit name and
/// no slice (/proc/PID/cgroup, the line of the unified hierarchy, else that of systemd's own).
fn unit_of(root: &Root, pid: i32) -> Option<String> {
    let text = std::fs::read_to_string(root.path(format!("/proc/{pid}/cgroup"))).ok()?;
    let group =
        |marker: &str| text.lines().find_map(|line| line.split_once(marker)).map(|(_, path)| path);
    let path = group("0::").filter(|path| *path != "/").or_else(|| group(":name=systemd:"))?;
    let is_unit = |part: &&str| is_unit_name(part) && !part.ends_with(".slice");
    path.split('/').rev().find(is_unit).map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_of_a_process_is_the_innermost_one_that_is_no_slice() {
        let directory =
            std::env::temp_dir().join(format!("mastiff-unit-of-{}", std::process::id()));
        for (pid, text, unit) in [
            (1, "0::/system.slice/nginx.service\n", Some("nginx.service")),
            (2, "0::/system.slice/system-pg.slice/pg@1.service/worker\n", Some("pg@1.service")),
            (3, "0::/\n1:name=systemd:/user.slice/session-1.scope\n", Some("session-1.scope")),
            (4, "0::/user.slice\n", None),
            (5, "", None),
        ] {
            let process = directory.join(format!("proc/{pid}"));
            std::fs::create_dir_all(&process).unwrap();
            std::fs::write(process.join("cgroup"), text).unwrap();
            assert_eq!(unit_of(&Root::recorded(&directory), pid).as_deref(), unit, "{text}");
        }
        assert_eq!(unit_of(&Root::recorded(&directory), 99), None);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_program_may_name_itself_but_not_take_the_name_of_a_unit() {
        let path =
            std::env::temp_dir().join(format!("mastiff-heartbeat-{}.sock", std::process::id()));
        let mut heartbeats = Heartbeats::bind(&path, Root::machine()).unwrap();
        let application = UnixDatagram::unbound().unwrap();
        application.send_to(b"WATCHDOG=1\nX_MASTIFF_NAME=billing", &path).unwrap();
        application.send_to(b"WATCHDOG=1\nX_MASTIFF_NAME=nginx.service", &path).unwrap();
        let now = Mono::from_nanos(5_000_000_000);
        assert!(!heartbeats.hear(now), "both are taken");
        assert!(heartbeats.read("billing", now).get("age").is_some());
        assert!(heartbeats.read("nginx.service", now).get("age").is_none());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_datagram_with_a_descriptor_does_not_hide_the_beats_behind_it() {
        use nix::sys::socket::{ControlMessage, UnixAddr, sendmsg};
        let path =
            std::env::temp_dir().join(format!("mastiff-barrier-{}.sock", std::process::id()));
        let mut heartbeats = Heartbeats::bind(&path, Root::machine()).unwrap();
        let application = UnixDatagram::unbound().unwrap();
        let number = application.as_raw_fd();
        sendmsg(
            number,
            &[io::IoSlice::new(b"BARRIER=1")],
            &[ControlMessage::ScmRights(&[number])],
            MsgFlags::empty(),
            Some(&UnixAddr::new(&path).unwrap()),
        )
        .unwrap();
        application.send_to(b"WATCHDOG=1\nX_MASTIFF_NAME=billing", &path).unwrap();
        let now = Mono::from_nanos(5_000_000_000);
        assert!(!heartbeats.hear(now), "both are taken");
        assert!(heartbeats.read("billing", now).get("age").is_some());
        assert_eq!(heartbeats.ignored(), 1);
        std::fs::remove_file(&path).unwrap();
    }
}
