//! Where the demo plays: namespaces of its own, which end with its last process, whatever ends it.
//!
//! ```text
//! mastiff demo          waits; the user's terminal, signals and rights
//!   └─ process 1        of a process namespace: the kernel kills all below when it ends, and it
//!      │                is killed when its parent ends. It has a user, a mount and network
//!      │                namespaces, and a file system in memory: nothing of it is ever on a disk.
//!      ├─ mastiffd ...  each is process 1 of a namespace further down: one SIGKILL ends a machine
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{getegid, geteuid};

use super::super::failure::Failure;
use crate::sys::process;

/// Directories over which the file system in memory may be mounted. Every Linux has one of them,
/// and nothing below them is needed here, unless the programs themselves are there.
const PLACES: [&str; 4] = ["/run", "/mnt", "/tmp", "/var/tmp"];
/// What can forbid an ordinary user to make namespaces, and the value that does.
const SWITCHES: [(&str, &str); 3] = [
    ("kernel.unprivileged_userns_clone", "0"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1"),
    ("user.max_user_namespaces", "0"),
];

/// Runs `work` as process 1 of namespaces of its own, with a directory that is its own and empty,
/// and returns its exit code. What is `needed` stays where it is.
///
/// # Errors
/// When this user may not make namespaces, with what forbids it.
pub(super) fn play(
    needed: &[&Path],
    work: impl FnOnce(&Path) -> Result<u8, Failure>,
) -> Result<u8, Failure> {
    enter().map_err(|(what, error)| forbidden(what, &error))?;
    let child = process::fork(|| {
        // Killed with its parent: Ctrl-C at the terminal ends that one.
        let inside = set_pdeathsig(Signal::SIGKILL)
            .map_err(|error| forbidden("be told of the parent's end", &error.into()))
            .and_then(|()| furnish(needed))
            .and_then(|place| work(&place));
        i32::from(inside.unwrap_or_else(|failure| {
            if failure != Failure::ReaderGone {
                super::super::complain(&format!("mastiff: {failure}\n"));
            }
            failure.code()
        }))
    });
    let child = child.map_err(|error| Failure::Unavailable(format!("cannot fork: {error}")))?;
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(u8::try_from(code).unwrap_or(u8::MAX)),
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                return Err(Failure::Unavailable(format!("the demo was ended by {signal}")));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(Failure::Bug(format!("cannot wait for the demo: {error}"))),
        }
    }
}

/// Leaves the namespaces of the machine; root keeps its users, so that the guard of a real server
/// can be had.
fn enter() -> Result<(), (&'static str, io::Error)> {
    let rest = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    let (user, group) = (geteuid(), getegid());
    if user.is_root() && unshare(rest).is_ok() {
        return Ok(());
    }
    let made = unshare(rest | CloneFlags::CLONE_NEWUSER);
    made.map_err(|error| ("make a user namespace", error.into()))?;
    // Without it no group may be mapped by an ordinary user (user_namespaces(7)).
    for (file, text) in [
        ("setgroups", "deny".to_string()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ] {
        let written = fs::write(Path::new("/proc/self").join(file), text);
        written.map_err(|error| ("become root in a user namespace", error))?;
    }
    Ok(())
}

/// The file system in memory.
fn furnish(needed: &[&Path]) -> Result<PathBuf, Failure> {
    let none: Option<&str> = None;
    let mounted =
        |what, done: nix::Result<()>| done.map_err(|error| forbidden(what, &error.into()));
    let ours = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mounted("leave the machine's mounts", mount(none, "/", none, ours, none))?;
    let hides = |place: &str| needed.iter().any(|needed| needed.starts_with(place));
    let fits = |place: &&&str| Path::new(place).is_dir() && !hides(place);
    let place = PLACES.iter().find(fits).ok_or_else(|| {
        Failure::Unavailable(format!("none of {PLACES:?} can be mounted over; make /mnt"))
    })?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let made = mount(Some("demo"), *place, Some("tmpfs"), flags, Some("size=16m,mode=700"));
    mounted("mount a file system in memory", made)?;
    // A container that hides a part of /proc does not allow another one; the old one serves.
    mount(Some("proc"), "/proc", Some("proc"), flags, none).ok();
    Ok(PathBuf::from(place))
}

/// Says what forbids namespaces here, and the way around it.
fn forbidden(what: &str, error: &io::Error) -> Failure {
    Failure::Permission(format!("cannot {what}: {error}{}", remedy(Path::new("/proc/sys"))))
}

fn remedy(sysctls: &Path) -> String {
    let read = |name: &str| fs::read_to_string(sysctls.join(name.replace('.', "/")));
    let forbids = |(name, value): &(&str, &str)| {
        let now = read(name).unwrap_or_default();
        (now.trim() == *value).then(|| format!("{name} = {value}"))
    };
    let found: Vec<String> = SWITCHES.iter().filter_map(forbids).collect();
    let why = if found.is_empty() {
        "; a container or another security module may forbid it".to_string()
    } else {
        format!("; {} forbids it to ordinary users", found.join(", "))
    };
    format!("{why}: `sudo mastiff demo` works as well, and leaves nothing behind either")
}

/// A network namespace.
#[derive(Debug)]
pub(super) struct Network(File);

impl Network {
    /// Makes one; this process is in it from then on.
    ///
    /// # Errors
    /// unshare(2).
    pub(super) fn new() -> Result<Self, Failure> {
        let made = unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
        let made = made.and_then(|()| File::open("/proc/self/ns/net"));
        made.map(Self).map_err(|error| forbidden("make a network namespace", &error))
    }

    /// What this process opens and starts from now on is there.
    ///
    /// # Errors
    /// setns(2).
    pub(super) fn enter(&self) -> Result<(), Failure> {
        setns(&self.0, CloneFlags::CLONE_NEWNET)
            .map_err(|error| Failure::Bug(format!("cannot enter a network namespace: {error}")))
    }

    /// As the kernel wants to be told of it.
    pub(super) const fn file(&self) -> &File {
        &self.0
    }
}

/// Runs `start`, whose child becomes process 1 of a process namespace of its own.
///
/// # Errors
/// unshare(2), setns(2), and what `start` returns.
pub(super) fn as_first<T>(start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let here = File::open("/proc/self/ns/pid")?;
    unshare(CloneFlags::CLONE_NEWPID)?;
    let started = start();
    setns(&here, CloneFlags::CLONE_NEWPID)?;
    started
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_forbids_namespaces_is_named_with_the_way_around() {
        let folder = std::env::temp_dir().join(format!("mastiff-stage-{}", std::process::id()));
        fs::create_dir_all(folder.join("kernel")).unwrap();
        assert!(remedy(&folder).starts_with("; a container or another security module"));
        fs::write(folder.join("kernel/unprivileged_userns_clone"), "1\n").unwrap();
        fs::write(folder.join("kernel/apparmor_restrict_unprivileged_userns"), "1\n").unwrap();
        let text = remedy(&folder);
        assert!(
            text.starts_with("; kernel.apparmor_restrict_unprivileged_userns = 1 forbids it"),
            "{text}"
        );
        assert!(text.contains("`sudo mastiff demo`"), "{text}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
