//! The guard's BPF form: a program on each guarded interface, and an array of absolute deadlines
//! that the keeper has mapped. To open, to extend and to close is one store; the kernel compares
//! with its own clock at each packet, so nobody needs to do anything at the end of a lease.
//!
//! | file | idea |
//! |---|---|
//! | `assembler` | instructions, and jumps to places that are not known yet |
//! | `program` | which packets speak for a guarded address, and whether they may pass |
//! | `chain` | who is in a device's chain of programs, and how to get to its front |
//! | `clsact` | the chains of kernels before 6.6 |
//! | [`crate::sys::bpf`] | bpf(2) |
//!
//! Needed: Linux 5.8; CAP_NET_ADMIN, and CAP_SYS_ADMIN to find out whose program is whose; a
//! machine of 64 bits, or a deadline could be read half-written.
//!
//! **A restart without change of role.** A new process loads a program and an array of its own;
//! the keeper opens the gate in them, and only then [`Wall::stand`] exchanges the programs, each at
//! once. Until then the former array is in force, with the deadlines of the former process. So no
//! array is ever looked for, and none can be found by mistake.
//!
//! **Two clocks.** The program sees `CLOCK_BOOTTIME` only, and a lease ends with the first of two.
//! So each store is what is left of the lease by *both* clocks, from now on `CLOCK_BOOTTIME`. That
//! clock may be bent until the deadline; the slack of this form allows for it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;

use mastiff_core::pair::clock::Clocks;
use mastiff_core::time::Mono;
use mastiff_core::timing;
use nix::errno::Errno;

use super::{Device, Gate, Guarded, Place, Slot, Wall};
use crate::netlink::{Family, Socket};
use crate::sys::bpf::{self, Direction, MappedArray, Name};
use chain::{Form, Job, PREFIX, Program};

mod assembler;
mod chain;
mod clsact;
mod program;
#[cfg(test)]
mod tests;

/// `lo` in every network namespace: exists, so that a kernel without tcx can be told by it.
const LOOPBACK: u32 = 1;
/// Somebody may get before us between the look and the deed.
const STAND_TRIES: u32 = 2;
/// Bytes of what the verifier says; its reason is at the end, and is short.
const LOG_BYTES: usize = 16 * 1024;

/// Both directions, in the order in which they are attached.
const DIRECTIONS: [Direction; 2] = [Direction::In, Direction::Out];
/// What the programs of [`Place::Own`] and [`Place::Other`] have, in the same order.
type Programs = [[Program; 2]; 2];

/// Both halves of a guard.
pub type Halves = (Box<dyn Gate>, Box<dyn Wall>);

/// Loads the guard for those addresses. It is closed, and stands nowhere yet.
///
/// `daemon` tells it from those of other daemons on this machine, and is the same in each of its
/// lives: by it [`Wall::stand`] knows what a former process left.
///
/// # Errors
/// What was tried, and why the kernel refused.
pub fn build(daemon: &str, guarded: &[Guarded]) -> Result<Halves, String> {
    let (gate, wall) = halves(daemon, guarded)?;
    Ok((Box::new(gate), Box::new(wall)))
}

fn halves(daemon: &str, guarded: &[Guarded]) -> Result<(BpfGate, BpfWall), String> {
    let form = match bpf::chain(LOOPBACK, Direction::In) {
        Ok(_) | Err(Errno::ENODEV) => Form::Tcx,
        Err(Errno::EINVAL) => Form::Clsact(
            Socket::open(Family::Route, 0)
                .map_err(|error| format!("cannot open a netlink socket: {error}"))?,
        ),
        Err(error) => return Err(refused("use BPF", error)),
    };
    assemble(form, daemon, guarded)
}

/// Detaches what a daemon of that name left on those devices.
pub fn remove(daemon: &str, devices: &[Device]) {
    // Where none can be loaded, none can be told from others; most often there is none.
    match halves(daemon, &[]) {
        Ok((_, mut wall)) => {
            wall.stood = devices.to_vec();
            wall.remove();
        }
        Err(why) => log::debug!("cannot look for a BPF guard that was left: {why}"),
    }
}

fn refused(what: &str, error: Errno) -> String {
    format!("cannot {what}: {error}")
}

fn assemble(form: Form, daemon: &str, guarded: &[Guarded]) -> Result<(BpfGate, BpfWall), String> {
    if cfg!(not(target_pointer_width = "64")) {
        return Err(String::from("cannot use BPF: this machine does not store 64 bits at once"));
    }
    let slots = guarded.iter().map(|address| address.slot.0.saturating_add(1)).max().unwrap_or(1);
    let name = name_of(daemon);
    let array = bpf::create_array(name, slots)
        .map_err(|error| refused("create the BPF guard's array", error))?;
    let deadlines = MappedArray::new(array.as_fd(), slots)
        .map_err(|error| refused("map the BPF guard's array", error))?;
    let guarded = guarded.to_vec();
    let programs = load(name, &array, &guarded)?;
    let wall = BpfWall { form, array, guarded, name, programs, stood: Vec::new() };
    Ok((BpfGate { deadlines }, wall))
}

/// The programs' name: the kernel allows 15 bytes.
fn name_of(daemon: &str) -> Name {
    // FNV-1a: any hash would do, if it is the same in the next version.
    let hash = daemon
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    bpf::name(&format!("{PREFIX}{:07x}", hash & 0x0fff_ffff))
}

/// The program of each place and direction.
fn load(name: Name, array: &OwnedFd, guarded: &[Guarded]) -> Result<Programs, String> {
    let [inward, outward] = DIRECTIONS;
    let one = |direction, place| load_one(name, array, guarded, direction, place);
    let both = |place| Ok::<_, String>([one(inward, place)?, one(outward, place)?]);
    Ok([both(Place::Own)?, both(Place::Other)?])
}

fn load_one(
    name: Name,
    array: &OwnedFd,
    guarded: &[Guarded],
    direction: Direction,
    place: Place,
) -> Result<Program, String> {
    let code = program::assemble(array.as_raw_fd(), guarded, direction, place)?;
    let fd = bpf::load(name, &code, &mut []).map_err(|error| unloaded(name, &code, error))?;
    let info = bpf::info(fd.as_fd())
        .map_err(|error| refused("ask about the BPF guard's program", error))?;
    Ok(Program { fd, id: info.id, name })
}

/// Why the program was not loaded; the verifier is asked again, as its log costs time and room.
fn unloaded(name: Name, code: &[bpf::Instruction], error: Errno) -> String {
    let mut text = refused("load the BPF guard's program", error);
    let mut log = vec![0; LOG_BYTES];
    if !matches!(error, Errno::EPERM | Errno::ENOSYS | Errno::EAGAIN)
        && bpf::load(name, code, &mut log).is_err()
    {
        let mut lines = log.split(|byte| matches!(byte, 0 | b'\n')).rev();
        // The last lines are statistics.
        let last = lines.find(|line| !line.is_empty() && !line.starts_with(b"processed "));
        text.push_str("; ");
        text.push_str(std::str::from_utf8(last.unwrap_or_default()).unwrap_or_default());
    }
    text
}

#[derive(Debug)]
struct BpfGate {
    deadlines: MappedArray,
}

impl BpfGate {
    fn store(&self, slot: Slot, deadline: Mono) {
        // A group that has no cell has no addresses.
        if let Some(cell) = self.deadlines.cell(slot.0) {
            // In one order with all other memory: once the keeper says "released", it is closed.
            cell.store(u64::try_from(deadline.as_nanos()).unwrap_or(0), Ordering::SeqCst);
        }
    }
}

impl Gate for BpfGate {
    fn open(&mut self, slot: Slot, until: Clocks, now: Clocks) {
        self.store(slot, now.boot.after(now.lease_left(until)));
    }

    fn hold(&mut self, slot: Slot, until: Clocks, now: Clocks) {
        self.open(slot, until, now);
    }

    fn close(&mut self, slot: Slot) {
        self.store(slot, Mono::BOOT);
    }

    fn refresh(&mut self, _now: Clocks) -> Mono {
        Mono::FAR
    }

    fn lapsed(&mut self) -> Option<Slot> {
        None
    }
}

#[derive(Debug)]
struct BpfWall {
    form: Form,
    array: OwnedFd,
    guarded: Vec<Guarded>,
    name: Name,
    programs: Programs,
    stood: Vec<Device>,
}

impl BpfWall {
    /// Does a job on every chain of every device, or says whether all are as asked. The first
    /// failure is returned, when all has been tried.
    fn work(&mut self, job: Job) -> Result<bool, String> {
        let (mut result, mut gone) = (Ok(true), Vec::new());
        let [own, others] = &self.programs;
        for device in &self.stood {
            let (programs, job) = match (device.place, job) {
                (Place::Own, job) => (own, job),
                (Place::Other, job) => (others, job),
                (Place::Free, Job::Stand | Job::Remove) => (others, Job::Remove),
                (Place::Free, Job::AskFirst | Job::AskNotBehind) => continue,
            };
            for (direction, program) in DIRECTIONS.into_iter().zip(programs) {
                match self.form.work(job, program, device.index, direction) {
                    Ok(is_so) => result = result.map(|all| all && is_so),
                    // Nothing passes through an interface that is not there.
                    Err(Errno::ENODEV) if job != Job::Stand || device.place != Place::Own => {
                        gone.push(device.index);
                    }
                    Err(error) if device.place == Place::Own => {
                        result = result.and(Err(failure(job, device, direction, error)));
                    }
                    // No reason to have no address at all. It is tried again when it changes.
                    Err(error) => {
                        log::warn!("{}", failure(job, device, direction, error));
                        gone.push(device.index);
                    }
                }
            }
        }
        self.stood.retain(|device| !gone.contains(&device.index));
        result
    }
}

fn failure(job: Job, device: &Device, direction: Direction, error: Errno) -> String {
    let what = match job {
        Job::Stand => "attach",
        Job::AskFirst | Job::AskNotBehind => "find",
        Job::Remove => "detach",
    };
    let way = match direction {
        Direction::In => "ingress",
        Direction::Out => "egress",
    };
    format!("cannot {what} the guard of {} ({way}): {error}", device.name)
}

impl Wall for BpfWall {
    fn form(&self) -> timing::Guard {
        timing::Guard::Bpf
    }

    fn describe(&self) -> String {
        String::from(match self.form {
            Form::Tcx => "BPF (tcx)",
            Form::Clsact(_) => "BPF (clsact)",
        })
    }

    fn stand(&mut self, devices: &[Device]) -> Result<(), String> {
        let is_left = |stood: &Device| devices.iter().all(|device| device.index != stood.index);
        let left = self.stood.iter().filter(|stood| is_left(stood)).cloned().collect();
        self.stood = left;
        self.remove();
        let mut result = Ok(());
        for _ in 0..STAND_TRIES {
            self.stood = devices.to_vec();
            // Somebody may have got before us. A program cannot be attached twice, nor moved, so
            // another one goes before theirs, which the same gate opens.
            if self.work(Job::AskNotBehind) != Ok(true) {
                self.programs = load(self.name, &self.array, &self.guarded)?;
            }
            self.stood = devices.to_vec();
            result = self.work(Job::Stand).map(drop);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn stands(&mut self) -> Result<bool, String> {
        self.work(Job::AskFirst)
    }

    /// The keeper opens this form by itself, at any time: nothing is left to do.
    fn create(&mut self, _slot: Slot, _until: Clocks) -> Result<(), String> {
        Ok(())
    }

    fn remove(&mut self) {
        if let Err(error) = self.work(Job::Remove) {
            log::warn!("{error}");
        }
        self.stood.clear();
    }
}
