//! The guard: what closes the packet path when the daemon cannot.
//!
//! Traffic for a group's addresses, ARP and neighbour discovery included, passes only while the
//! guard is open, and it closes by itself at the end of the lease. *Absent means drop*: an address
//! is put on its interface only after its guard stands there, closed.
//!
//! It stands on the machine's other interfaces, too, and is about less there: what the machine says
//! or takes itself. What it only forwards, for containers and virtual machines that are clients
//! of the address, passes.
//!
//! A form has two halves, because the kernel can block one of them:
//!
//! | half | who has it | what it does | cost |
//! |---|---|---|---|
//! | [`Gate`] | the keeper | open, extend, close | a store, or one packet; takes no lock |
//! | [`Wall`] | the hands | load, attach, create, rebuild, remove | netlink, bpf(2): may wait for others |
//!
//! | form | ends | file |
//! |---|---|---|
//! | BPF | at an absolute moment | `bpf` |
//! | nftables, in two forms | a time-out after the last refresh | `nftables` |
//! | lifetime | the address itself goes, in whole seconds | `lifetime` |

pub mod bpf;
pub mod lifetime;
pub mod nftables;

use std::fmt;
use std::net::IpAddr;

use mastiff_core::pair::clock::Clocks;
use mastiff_core::time::{Mono, Span};
use mastiff_core::timing;

use lifetime::Lifetime;

/// A group, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub usize);

/// One address that is guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// Its group.
    pub slot: Slot,
    /// The address.
    pub ip: IpAddr,
    /// The interface that it belongs on; there may be none of that name now.
    pub interface: String,
}

/// What an interface is to the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Guarded addresses belong on it.
    Own,
    /// Another one of this machine. Linux answers for an address on every interface (ip-sysctl,
    /// `arp_ignore` 0), takes packets for it from every one (ip(7), weak host), and sends in its
    /// name by whatever route there is.
    Other,
    /// Nothing: it is a part of a bridge or bond, which is guarded instead. What passes through it
    /// may be between others.
    Free,
}

/// An interface as the kernel has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its number (`ifindex`): another one, where it has come back.
    pub index: u32,
    /// What is guarded on it.
    pub place: Place,
}

/// The keeper's half. Each call takes microseconds, waits for nothing and allocates nothing.
pub trait Gate: fmt::Debug + Send {
    /// Lets the group's traffic pass until `until` and no longer. `now` is the reading of the
    /// clocks by which that was decided; a form with a time-out reads them again itself.
    fn open(&mut self, slot: Slot, until: Clocks, now: Clocks);

    /// The same for the whole long lease of a planned restart: nobody will refresh it.
    fn hold(&mut self, slot: Slot, until: Clocks, now: Clocks);

    /// Lets nothing pass any more, from this moment.
    fn close(&mut self, slot: Slot);

    /// Extends what must be extended by now, and returns the next moment at which that is so;
    /// [`Mono::FAR`] for a form with an absolute deadline.
    fn refresh(&mut self, now: Clocks) -> Mono;

    /// Whether the keeper found that what stood in the kernel is gone. Said once, until it stands
    /// again: a wall looks by itself, too, but not so soon.
    fn is_gone(&mut self) -> bool {
        false
    }

    /// A group whose gate closed although its lease goes on, because the keeper was late. It may
    /// be opened again only by [`Wall::create`], with its addresses off. Each is returned once, and
    /// again a second later if it is still closed.
    fn lapsed(&mut self) -> Option<Slot>;
}

/// The half of the hands, a thread that may wait for the kernel.
pub trait Wall: fmt::Debug + Send {
    /// What the timers are computed with.
    fn form(&self) -> timing::Guard;

    /// For `status`, as in "BPF (tcx)".
    fn describe(&self) -> String;

    /// Makes the guard stand on those interfaces as their places say, and on no others; what stands
    /// already is left as it is. Gates that are open stay open.
    ///
    /// # Errors
    /// With what was tried and what the kernel said. Then no address may be added.
    fn stand(&mut self, devices: &[Device]) -> Result<(), String>;

    /// Whether everything still stands where [`Wall::stand`] put it. Asked again and again: the
    /// kernel has no notice of it that would cost others nothing.
    ///
    /// # Errors
    /// When the kernel does not say.
    fn stands(&mut self) -> Result<bool, String>;

    /// Opens a closed gate that its form cannot open from the keeper. Called with the group's
    /// addresses off. It must not be open for longer than until `until`, whenever this is run.
    ///
    /// # Errors
    /// With what was tried and what the kernel said.
    fn create(&mut self, slot: Slot, until: Clocks) -> Result<(), String>;

    /// Removes the guard: the daemon ends for good, and has no address any more.
    fn remove(&mut self);
}

/// Both halves of the guard that this machine has, and what it is.
#[derive(Debug)]
pub struct Chosen {
    /// What the timers are computed with.
    pub form: timing::Guard,
    /// The keeper's half.
    pub gate: Box<dyn Gate>,
    /// The hands' half.
    pub wall: Box<dyn Wall>,
}

/// Removes what a daemon of that name left of other forms than this one, which stands by now: it
/// is closed for ever, since only its own form opens it.
pub fn remove_others(form: timing::Guard, daemon: &str, devices: &[Device]) {
    if !matches!(form, timing::Guard::Bpf) {
        bpf::remove(daemon, devices);
    }
    if !matches!(form, timing::Guard::Nftables { .. }) {
        nftables::remove(daemon);
    }
}

/// Which guard is wanted: `pair.guard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The best that loads.
    Auto,
    /// A BPF program.
    Bpf,
    /// An nftables element, in the best of its forms.
    Nftables,
    /// That in the form for old kernels.
    NftablesInet,
    /// The lifetime of the address.
    Lifetime,
}

impl Wanted {
    /// As in the configuration.
    pub const NAMES: [&str; 5] = ["auto", "bpf", "nftables", "nftables-inet", "lifetime"];
    const ALL: [Self; 5] =
        [Self::Auto, Self::Bpf, Self::Nftables, Self::NftablesInet, Self::Lifetime];

    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|wanted| wanted.name() == name)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Bpf => "bpf",
            Self::Nftables => "nftables",
            Self::NftablesInet => "nftables-inet",
            Self::Lifetime => "lifetime",
        }
    }
}

/// The guard that is wanted, or the best that loads here. `daemon` names it among those of other
/// daemons on this machine; `heartbeat` says how often the keeper will turn with a form.
///
/// # Errors
/// When the one that is wanted does not load, or the timers cannot be kept with the best one: a
/// worse one could not keep them either.
pub fn choose(
    wanted: Wanted,
    daemon: &str,
    guarded: &[Guarded],
    heartbeat: impl Fn(timing::Guard) -> Result<Span, String>,
) -> Result<Chosen, String> {
    let is_auto = wanted == Wanted::Auto;
    if is_auto || wanted == Wanted::Bpf {
        match bpf::build(daemon, guarded) {
            Ok((gate, wall)) => {
                heartbeat(wall.form())?;
                return Ok(Chosen { form: wall.form(), gate, wall });
            }
            Err(why) if is_auto => log::info!("{why}; trying nftables"),
            Err(why) => return Err(why),
        }
    }
    if wanted != Wanted::Lifetime {
        match nftables::best(wanted == Wanted::NftablesInet) {
            Ok(tables) => {
                let form = timing::Guard::Nftables { tick: nftables::tick() };
                let (gate, wall) = nftables::build(tables, daemon, guarded, heartbeat(form)?)?;
                return Ok(Chosen { form, gate: Box::new(gate), wall: Box::new(wall) });
            }
            Err(why) if is_auto => log::warn!("{why}; the lifetime of the addresses must do"),
            Err(why) => return Err(why),
        }
    }
    let form = timing::Guard::Lifetime;
    heartbeat(form)?;
    Ok(Chosen { form, gate: Box::new(Lifetime), wall: Box::new(Lifetime) })
}
