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

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use mastiff_core::pair::clock::Clocks;
use mastiff_core::time::Mono;
use mastiff_core::timing;
use nix::errno::Errno;

use super::{Device, Gate, Guarded, Slot, Wall};
use crate::netlink::{Family, Socket};
use crate::sys::bpf::{self, Direction, MappedArray, Name};
use chain::{Form, PREFIX, Program};

mod assembler;
mod chain;
mod clsact;
mod program;
#[cfg(test)]
mod tests;

/// `lo` in every network namespace: exists, so that a kernel without tcx can be told by it.
const LOOPBACK: u32 = 1;
/// Bytes of what the verifier says; its reason is at the end, and is short.
const LOG_BYTES: usize = 16 * 1024;

/// Both directions, in the order in which they are attached.
const DIRECTIONS: [Direction; 2] = [Direction::In, Direction::Out];

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
    let form = match bpf::chain(LOOPBACK, Direction::In) {
        Ok(_) | Err(Errno::ENODEV) => Form::Tcx,
        Err(Errno::EINVAL) => Form::Clsact(
            Socket::open(Family::Route, 0)
                .map_err(|error| format!("cannot open a netlink socket: {error}"))?,
        ),
        Err(error) => return Err(format!("cannot use BPF: {error}")),
    };
    let (gate, wall) = assemble(form, daemon, guarded)?;
    Ok((Box::new(gate), Box::new(wall)))
}

fn assemble(form: Form, daemon: &str, guarded: &[Guarded]) -> Result<(BpfGate, BpfWall), String> {
    if cfg!(not(target_pointer_width = "64")) {
        return Err(String::from("cannot use BPF: this machine does not store 64 bits at once"));
    }
    let slots = guarded.iter().map(|address| address.slot.0.saturating_add(1)).max().unwrap_or(1);
    let name = name_of(daemon);
    let array = bpf::create_array(name, slots)
        .map_err(|error| format!("cannot create the BPF guard's array: {error}"))?;
    let deadlines = MappedArray::new(array.as_fd(), slots)
        .map_err(|error| format!("cannot map the BPF guard's array: {error}"))?;
    let programs = load(name, &array, guarded)?;
    let wall =
        BpfWall { form, array, guarded: guarded.to_vec(), name, programs, stood: Vec::new() };
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

fn load(name: Name, array: &OwnedFd, guarded: &[Guarded]) -> Result<[Program; 2], String> {
    let [inward, outward] = DIRECTIONS.map(|direction| {
        let code = program::assemble(array.as_raw_fd(), guarded, direction)?;
        let fd = bpf::load(name, &code, &mut []).map_err(|error| refusal(name, &code, error))?;
        let info = bpf::info(fd.as_fd())
            .map_err(|error| format!("cannot ask about the BPF guard's program: {error}"))?;
        Ok::<_, String>(Program { fd, id: info.id, name })
    });
    Ok([inward?, outward?])
}

/// Why the program was not loaded; the verifier is asked again, as its log costs time and room.
fn refusal(name: Name, code: &[bpf::Instruction], error: Errno) -> String {
    let mut log = vec![0; LOG_BYTES];
    let reason = match error {
        Errno::EPERM | Errno::ENOSYS | Errno::EAGAIN => None,
        _ => bpf::load(name, code, &mut log).err().and_then(|_| {
            let said = log.split(|byte| *byte == 0).next()?;
            let mut lines = said.split(|byte| *byte == b'\n').rev();
            // The last lines are statistics.
            let last = lines.find(|line| !line.is_empty() && !line.starts_with(b"processed "))?;
            Some(String::from_utf8_lossy(last).into_owned())
        }),
    };
    match reason {
        Some(reason) => format!("cannot load the BPF guard's program: {error}; {reason}"),
        None => format!("cannot load the BPF guard's program: {error}"),
    }
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
    /// In the order of [`DIRECTIONS`].
    programs: [Program; 2],
    stood: Vec<Device>,
}

impl BpfWall {
    /// Whether somebody has got before us on one of our devices. A program cannot be attached
    /// twice, nor moved, so another one must be loaded then, which the same gate opens.
    fn is_behind(&mut self) -> bool {
        let (form, programs) = (&mut self.form, &self.programs);
        self.stood.iter().any(|device| {
            DIRECTIONS.into_iter().zip(programs).any(|(direction, program)| {
                form.is_behind(program, device.index, direction).unwrap_or(false)
            })
        })
    }
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
        for device in devices {
            self.stood.retain(|known| known.index != device.index);
            self.stood.push(device.clone());
        }
        if self.is_behind() {
            self.programs = load(self.name, &self.array, &self.guarded)?;
        }
        let mut result = Ok(());
        let mut gone = Vec::new();
        for device in &self.stood {
            for (direction, program) in DIRECTIONS.into_iter().zip(&self.programs) {
                match self.form.stand(program, device.index, direction) {
                    Ok(()) => {}
                    Err(Errno::ENODEV) if !devices.contains(device) => gone.push(device.index),
                    Err(error) => {
                        let way = way(direction);
                        let Device { name, index } = device;
                        result = result.and(Err(format!(
                            "cannot attach the guard to {name} (interface {index}, {way}): {error}"
                        )));
                    }
                }
            }
        }
        self.stood.retain(|device| !gone.contains(&device.index));
        result
    }

    fn stands(&mut self) -> Result<bool, String> {
        let mut gone = Vec::new();
        let mut all = true;
        for device in &self.stood {
            for (direction, program) in DIRECTIONS.into_iter().zip(&self.programs) {
                match self.form.stands(program, device.index, direction) {
                    Ok(stands) => all &= stands,
                    // Nothing passes through an interface that is not there.
                    Err(Errno::ENODEV) => gone.push(device.index),
                    Err(error) => {
                        let (name, way) = (&device.name, way(direction));
                        return Err(format!("cannot ask for the guard of {name} ({way}): {error}"));
                    }
                }
            }
        }
        self.stood.retain(|device| !gone.contains(&device.index));
        Ok(all)
    }

    /// The keeper opens this form by itself, at any time: nothing is left to do.
    fn create(&mut self, _slot: Slot, _until: Clocks) -> Result<(), String> {
        Ok(())
    }

    /// None: the kernel tells nobody that a program was detached.
    fn notices(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn drain(&mut self) -> bool {
        false
    }

    fn remove(&mut self) {
        for device in self.stood.drain(..) {
            for (direction, program) in DIRECTIONS.into_iter().zip(&self.programs) {
                if let Err(error) = self.form.clear(program, device.index, direction)
                    && error != Errno::ENODEV
                {
                    let (name, way) = (&device.name, way(direction));
                    log::warn!("cannot detach the guard from {name} ({way}): {error}");
                }
            }
        }
    }
}

const fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "ingress",
        Direction::Out => "egress",
    }
}
