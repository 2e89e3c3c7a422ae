//! A file system that hangs for real: FUSE, served (or not) by the test itself.
//!
//! Layout and numbers of the protocol: include/uapi/linux/fuse.h.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Set in the process that runs the test within its namespaces.
const INSIDE: &str = "MASTIFF_TEST_INSIDE";
/// `FUSE_MIN_READ_BUFFER`, and room for a write.
const BUFFER_BYTES: usize = 136 * 1024;
const STATFS: u32 = 17;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;

/// Runs `body` where it may mount: in user and mount namespaces of its own, which needs no
/// privilege. `test` is the full name of the calling test, which is started once more in there.
pub(crate) fn in_namespaces(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let ended = Command::new("unshare")
        .args(["-Urmn", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare(1) of util-linux");
    let said = [ended.stdout, ended.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(
        ended.status.success() && said[0].contains("1 passed"),
        "{test} in namespaces: {}\n{}{}\nif this machine allows neither user namespaces nor /dev/fuse, run the \
         tests as root in a container with both, as .ci/run does",
        ended.status,
        said[0],
        said[1]
    );
}

/// How a file system behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Nobody ever reads a request: who asks sleeps, and can be killed.
    Silent,
    /// Requests are taken and not answered: who asks sleeps uninterruptibly, and cannot be killed.
    Deaf,
}

/// A mounted file system, aborted with the test.
#[derive(Debug)]
pub(crate) struct Fuse {
    point: PathBuf,
    device: Option<File>,
    answers: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Fuse {
    /// Mounts one at `point`, which is made.
    pub(crate) fn mount(point: &Path, manner: Manner) -> Self {
        std::fs::create_dir_all(point).unwrap();
        let device =
            OpenOptions::new().read(true).write(true).open("/dev/fuse").expect("/dev/fuse");
        let data = format!(
            "fd={},rootmode=40000,user_id={},group_id={}",
            device.as_raw_fd(),
            nix::unistd::getuid(),
            nix::unistd::getgid()
        );
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("mastiff-test"), point, Some("fuse"), flags, Some(data.as_str())).unwrap();
        let (answers, over) = (Arc::default(), Arc::default());
        let (server, device) = match manner {
            Manner::Silent => (None, Some(device)),
            Manner::Deaf => {
                let (answers, over) = (Arc::clone(&answers), Arc::clone(&over));
                (Some(std::thread::spawn(move || serve(device, &answers, &over))), None)
            }
        };
        Self { point: point.to_path_buf(), device, answers, over, server }
    }

    /// From now on it answers, first those who wait.
    pub(crate) fn answer(&self) {
        assert!(self.server.is_some(), "it is not served");
        self.answers.store(true, Ordering::Relaxed);
    }

    /// From now on it hangs (again).
    pub(crate) fn hang(&self) {
        self.answers.store(false, Ordering::Relaxed);
    }
}

impl Drop for Fuse {
    /// Forced, which ends every request with an error, and frees those who hang.
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        umount2(&self.point, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).ok();
        drop(self.device.take());
        if let Some(server) = self.server.take() {
            server.join().unwrap();
        }
    }
}

fn serve(mut device: File, answers: &AtomicBool, over: &AtomicBool) {
    let mut waiting: Vec<(u32, u64)> = Vec::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    while !over.load(Ordering::Relaxed) {
        if answers.load(Ordering::Relaxed) {
            for (opcode, unique) in waiting.drain(..) {
                reply(&mut device, opcode, unique);
            }
        }
        let readable = {
            let mut fds = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(20_u8)).unwrap() > 0
        };
        if !readable {
            continue;
        }
        // Ends with ENODEV after the unmounting.
        let Ok(length) = device.read(&mut buffer) else { return };
        assert!(length >= 40, "a request without its header");
        let opcode = u32::from_ne_bytes(buffer[4..8].try_into().unwrap());
        let unique = u64::from_ne_bytes(buffer[8..16].try_into().unwrap());
        match opcode {
            INIT => reply(&mut device, opcode, unique),
            INTERRUPT => {}
            _ => waiting.push((opcode, unique)),
        }
    }
}

/// Answers `INIT` and `STATFS` well, everything else with `ENOSYS`.
fn reply(device: &mut File, opcode: u32, unique: u64) {
    let mut body = Vec::new();
    let mut error = 0;
    match opcode {
        // struct fuse_init_out: version 7.31, no extras.
        INIT => {
            for word in [7_u32, 31, 0, 0, 0, 4096, 1] {
                body.extend(word.to_ne_bytes());
            }
            body.resize(64, 0);
        }
        // struct fuse_kstatfs: 1000 blocks of 4 KiB, half of them free, 100 inodes, half of them
        // free.
        STATFS => {
            for number in [1000_u64, 500, 500, 100, 50] {
                body.extend(number.to_ne_bytes());
            }
            for word in [4096_u32, 255, 4096, 0] {
                body.extend(word.to_ne_bytes());
            }
            body.resize(80, 0);
        }
        _ => error = -nix::libc::ENOSYS,
    }
    let length = u32::try_from(16 + body.len()).unwrap();
    let mut answer = length.to_ne_bytes().to_vec();
    answer.extend(error.to_ne_bytes());
    answer.extend(unique.to_ne_bytes());
    answer.extend(body);
    // Who asked may have been killed meanwhile (ENOENT).
    device.write_all(&answer).ok();
}
