//! Chains of programs on a device: who is in them, and how the guard gets to their front.
//!
//! | form | kernel | first | replaced at once by |
//! |---|---|---|---|
//! | tcx | 6.6 | before all others (`BPF_F_BEFORE`) | `BPF_F_REPLACE` |
//! | clsact | 4.5 | priority 1, the newest of it (cls_bpf) | the same handle again |
//!
//! Neither belongs to a process: what is attached stays when the daemon dies, until somebody
//! detaches it or the device goes. A chain ends with the first program that says more than "next",
//! so a program of others before the guard could let everything pass: the guard goes before it.
//! It does not go before other guards, or two daemons would never come to rest.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;

use super::clsact;
use crate::netlink::Socket;
use crate::sys::bpf::{self, Direction, Name};

/// Every guard's program is called that, and then by its daemon.
pub(super) const PREFIX: &str = "mastiff_";

/// A program of ours, loaded.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) fd: OwnedFd,
    pub(super) id: u32,
    pub(super) name: Name,
}

/// Who put a program into a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// We did, and it is the one that we have now.
    Current,
    /// A former daemon of this name, or we did, before we loaded another one.
    Former,
    /// Another daemon, which guards other addresses.
    Guard,
    /// Somebody else.
    Foreign,
}

/// One place of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) owner: Owner,
    /// The program's number (tcx), the filter's handle (clsact).
    pub(super) key: u32,
}

/// What can be done with the program in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Put it at the front, and take out what a former daemon left.
    Stand,
    /// Is it there, before all of others?
    AskFirst,
    /// Is it there, before all of others, or not at all?
    AskNotBehind,
    /// Take all of ours out.
    Remove,
}

/// A way to attach programs.
#[derive(Debug)]
pub(super) enum Form {
    Tcx,
    Clsact(Socket),
}

impl Program {
    pub(super) fn owner(&self, id: u32, name: Name) -> Owner {
        if id == self.id {
            Owner::Current
        } else if name == self.name {
            Owner::Former
        } else if name.starts_with(PREFIX.as_bytes()) {
            Owner::Guard
        } else {
            Owner::Foreign
        }
    }
}

impl Form {
    /// The chain as it is now, the first to run first.
    pub(super) fn list(
        &mut self,
        program: &Program,
        device: u32,
        direction: Direction,
    ) -> Result<Vec<Entry>, Errno> {
        match self {
            Self::Tcx => list_tcx(program, device, direction),
            Self::Clsact(socket) => clsact::list(socket, program, device, direction),
        }
    }

    /// Puts the program in the place of `key`, else before all others.
    pub(super) fn put(
        &mut self,
        program: &Program,
        device: u32,
        direction: Direction,
        key: Option<u32>,
    ) -> Result<(), Errno> {
        match self {
            Self::Tcx => {
                let old = key.map(bpf::by_id).transpose()?;
                let old = old.as_ref().map(AsFd::as_fd);
                bpf::attach(program.fd.as_fd(), device, direction, old)
            }
            Self::Clsact(socket) => {
                clsact::put(socket, program.fd.as_raw_fd(), &program.name, device, direction, key)
            }
        }
    }

    fn delete(&mut self, device: u32, direction: Direction, key: u32) -> Result<(), Errno> {
        match self {
            Self::Tcx => bpf::detach(bpf::by_id(key)?.as_fd(), device, direction),
            Self::Clsact(socket) => clsact::delete(socket, device, direction, key),
        }
    }

    /// Does a job on one chain, or says whether its state is the one asked for.
    pub(super) fn work(
        &mut self,
        job: Job,
        program: &Program,
        device: u32,
        direction: Direction,
    ) -> Result<bool, Errno> {
        let chain = self.list(program, device, direction)?;
        let is_first = front(&chain).any(|entry| entry.owner == Owner::Current);
        let is_there = chain.iter().any(|entry| entry.owner == Owner::Current);
        let mut taken = None;
        match job {
            Job::AskFirst => return Ok(is_first),
            Job::AskNotBehind => return Ok(is_first || !is_there),
            Job::Stand if !is_first => {
                let former = front(&chain).find(|entry| entry.owner == Owner::Former);
                taken = former.map(|entry| entry.key);
                self.put(program, device, direction, taken)?;
            }
            Job::Stand | Job::Remove => {}
        }
        // Only now what a former daemon left: there is no moment with neither of both.
        for entry in chain {
            let goes = match entry.owner {
                Owner::Former => Some(entry.key) != taken,
                Owner::Current => job == Job::Remove,
                Owner::Guard | Owner::Foreign => false,
            };
            if goes {
                match self.delete(device, direction, entry.key) {
                    Ok(()) | Err(Errno::ENOENT) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(true)
    }
}

/// What runs before the first program of others.
fn front(chain: &[Entry]) -> impl Iterator<Item = &Entry> {
    chain.iter().take_while(|entry| entry.owner != Owner::Foreign)
}

fn list_tcx(program: &Program, device: u32, direction: Direction) -> Result<Vec<Entry>, Errno> {
    let mut entries = Vec::new();
    for id in bpf::chain(device, direction)? {
        let owner = match bpf::by_id(id).and_then(|fd| bpf::info(fd.as_fd())) {
            Ok(info) => program.owner(id, info.name),
            Err(Errno::ENOENT) => continue, // detached meanwhile
            Err(error) => return Err(error),
        };
        entries.push(Entry { owner, key: id });
    }
    Ok(entries)
}
