//! The guard as an nf_tables table: an element that lives lets a group's traffic pass, and it ends
//! by itself a time-out after it was refreshed last.
//!
//! Whether an element has expired is tested whenever a packet looks for it, so it ends without any
//! process, worker or lock, up to two ticks early (measured in `examples/guard_late.rs`). The
//! time is relative: who freezes between a look at the clock and the refresh is late by as much as
//! the freeze. So:
//!
//! | rule | where |
//! |---|---|
//! | refreshed only while it will be over before the lease is; clocks read just before, and again after | `knock` |
//! | a refresh takes no lock and keeps alive what lives; it revives nothing | `knock`, `rules` |
//! | it is heard for two ticks after a frame from before the look at the clocks | `knock`, `rules` |
//! | what is late is deleted the same way, at once | `knock` |
//! | created by a transaction only, with the addresses off, for three ticks; then refreshed | `wall` |
//! | the table outlives the process; without elements it drops | `wall` |
//!
//! So a frozen process is late by two ticks at most, besides what jiffies add: six ticks, and a
//! tenth of the time that was given. With 2.2 ticks + 0.1 L < 1.1 T that is within the slack
//! ([`timing::Guard::slack`], T is 0.3 L and at least four ticks), which counts a whole time-out,
//! as if the third rule were not there.
//!
//! A processor that the hypervisor takes away between the two instructions that look up and update
//! an element could revive one by the time that it was away; it would hold a packet that has passed
//! the guard for as long.
//!
//! Needs Linux 5.16 (egress hook, `CONFIG_NETFILTER_EGRESS`); before that [`Form::Inet`] must do,
//! and without that the lifetimes of the addresses.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use mastiff_core::pair::clock::Clocks;
use mastiff_core::time::{Mono, Span};
use mastiff_core::timing;
use nix::time::{ClockId, clock_getres};
use rustix::rand::{GetRandomFlags, getrandom};

use super::{Device, Guarded, Place, Slot};
use crate::netlink::{Family, Request, Socket};
use knock::{Cookie, Knocker};
use rules::{Batch, Table};

mod expressions;
mod gate;
mod knock;
mod numbers;
mod rules;
mod standing;
mod table;
#[cfg(test)]
mod tests;
mod wall;

pub use gate::NftablesGate;
pub use wall::NftablesWall;

/// An element is given the longest time that fits into what is left of the lease, up to so many
/// time-outs, nine of ten heartbeats: a transaction of others may keep the keeper from its
/// processor for much longer than one ...
const LONG: u64 = 3;
/// ... or a multiple of this, for groups with a longer lease than the time-out was made for, and
/// for a planned restart, whose lease is about half of [`timing::PROMISE_MAX`].
const HOLD_STEP: Span = Span::from_millis(240);
const HOLD_STEPS: u64 = 20;
/// Where the kernel does not say: the longest tick that there is (HZ = 100).
const TICK_ASSUMED: Span = Span::from_millis(10);

/// Where the rules stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In the hooks of the devices, in one table. Sees everything.
    Netdev,
    /// In the hooks of IP and ARP, with a table for each: what there was before Linux 5.16. Sees
    /// what the kernel itself receives and sends as IP or ARP, and not what a program sends by a
    /// packet socket (packet(7)). Ends 3 to 7 ms before its time-out, as the other one does (HZ =
    /// 250), and a refresh takes 7 us instead of 3.
    Inet,
}

impl Form {
    /// The last one answers to knocks.
    const fn tables(self) -> &'static [Table] {
        match self {
            Self::Netdev => &[Table::Netdev],
            Self::Inet => &[Table::Arp, Table::Inet],
        }
    }

    /// Its tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Netdev => "table netdev",
            Self::Inet => "tables inet and arp",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Netdev => Self::Inet,
            Self::Inet => Self::Netdev,
        }
    }
}

/// What both halves know: until when each group may be open, as the keeper last said.
#[derive(Debug)]
struct Shared {
    leases: Vec<(AtomicI64, AtomicI64)>,
    /// Frames that could not be sent.
    failed: AtomicU64,
}

impl Shared {
    fn new(slots: usize) -> Self {
        Self { leases: (0..slots).map(|_| Default::default()).collect(), failed: AtomicU64::new(0) }
    }

    /// A reader that comes between both stores sees one new value, and the earlier clock counts.
    fn set(&self, slot: Slot, until: Clocks) {
        if let Some((boot, raw)) = self.leases.get(slot.0) {
            boot.store(until.boot.as_nanos(), Ordering::SeqCst);
            raw.store(until.raw.as_nanos(), Ordering::SeqCst);
        }
    }

    /// Whether the keeper has closed the group, or is closing it.
    fn is_closed(&self, slot: Slot) -> bool {
        let until = self.until(slot);
        until.boot == Mono::BOOT || until.raw == Mono::BOOT
    }

    fn until(&self, slot: Slot) -> Clocks {
        self.leases.get(slot.0).map_or(Clocks::ZERO, |(boot, raw)| Clocks {
            boot: Mono::from_nanos(boot.load(Ordering::SeqCst)),
            raw: Mono::from_nanos(raw.load(Ordering::SeqCst)),
        })
    }
}

/// The kernel's tick: how exact a time-out is.
#[must_use]
pub fn tick() -> Span {
    clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).ok().map_or(TICK_ASSUMED, |tick| {
        let nanos = tick.tv_sec().saturating_mul(1_000_000_000).saturating_add(tick.tv_nsec());
        Span::from_nanos(nanos.unsigned_abs())
    })
}

/// The best form that can be had here: the kernel checks all that [`build`] will need, and does
/// none of it. `only_inet`: no other one is wanted.
///
/// # Errors
/// What is missing.
pub fn best(only_inet: bool) -> Result<Form, String> {
    if only_inet {
        return probe(Form::Inet);
    }
    probe(Form::Netdev).or_else(|why| probe(Form::Inet).map_err(|also| format!("{why}; {also}")))
}

fn probe(form: Form) -> Result<Form, String> {
    let table = format!("mastiff-probe-{}", std::process::id());
    let cookie = [0; knock::COOKIE];
    Knocker::new(form, &cookie, 0).map_err(|error| format!("cannot open a socket: {error}"))?;
    let mut socket = Socket::open(Family::Netfilter, 0)
        .map_err(|error| format!("cannot open a socket to nf_tables: {error}"))?;
    let mut request = Request::new();
    let mut batch = Batch::begin(&mut request, &table, Table::Netdev);
    for table in form.tables() {
        batch.table = *table;
        batch.table(&[], true);
        batch.loopback();
        batch.lay(&[], &[Span::from_secs(1)], &cookie);
        let lo = Device { name: "lo".into(), index: 1, place: Place::Other };
        match table {
            Table::Netdev => batch.bases(None, &[lo]),
            Table::Inet | Table::Arp => batch.devices(&[lo]),
        }
    }
    // Not committed: only checked.
    socket.transact(&mut request).map(|()| form).map_err(|error| {
        let what = match form {
            Form::Netdev => "no netdev table with an egress hook (Linux 5.16)",
            Form::Inet => "no inet and arp tables with fib and limit (Linux 5.4)",
        };
        format!("nf_tables of this kernel takes {what}: {error}")
    })
}

/// Removes the tables of all forms that a daemon of that name left.
pub fn remove(daemon: &str) {
    let name = table_of(daemon);
    // Most often there is none, or no nf_tables.
    remove_form(Form::Netdev, &name, log::Level::Debug);
    remove_form(Form::Inet, &name, log::Level::Debug);
}

/// `level`: how bad it is if that fails.
fn remove_form(form: Form, name: &str, level: log::Level) {
    for table in form.tables() {
        let mut request = Request::new();
        let mut batch = Batch::begin(&mut request, name, *table);
        batch.delete_table();
        batch.commit();
        let removed = Socket::open(Family::Netfilter, 0)
            .and_then(|mut socket| Ok(socket.transact(&mut request)?));
        if let Err(error) = removed {
            log::log!(level, "cannot remove {} {name} from nf_tables: {error}", form.name());
        }
    }
}

/// The table of the daemon of that name.
fn table_of(daemon: &str) -> String {
    format!("mastiff-{daemon}")
}

/// The time-out for a keeper that turns so often (`T` of [`timing`]).
fn timeout(heartbeat: Span) -> Span {
    let least = tick().times(timing::NFTABLES_TICKS_MIN);
    heartbeat.times(timing::NFTABLES_BEATS).max(least)
}

/// Both halves for these addresses. `daemon` tells it from those of other daemons on this machine,
/// and is the same in each of its lives. Nothing is changed before `Wall::stand`.
///
/// # Errors
/// Sockets: what was tried and what the kernel said.
pub fn build(
    form: Form,
    daemon: &str,
    guarded: &[Guarded],
    heartbeat: Span,
) -> Result<(NftablesGate, NftablesWall), String> {
    let timeout = timeout(heartbeat);
    let mut cookie: Cookie = [0; knock::COOKIE];
    getrandom(&mut cookie, GetRandomFlags::empty())
        .map_err(|error| format!("cannot get random bytes: {error}"))?;
    let times: Arc<[Span]> = (1..=LONG)
        .map(|of| timeout.times(of))
        .chain((1..=HOLD_STEPS).map(|step| HOLD_STEP.times(step)))
        .collect();
    let slots = guarded.iter().map(|guarded| guarded.slot.0.saturating_add(1)).max().unwrap_or(0);
    let shared = Arc::new(Shared::new(slots));
    let knocker = |who| {
        Knocker::new(form, &cookie, who).map_err(|error| format!("cannot open a socket: {error}"))
    };
    let gate = NftablesGate::new(form, knocker(0)?, Arc::clone(&times), slots, Arc::clone(&shared));
    let wall = NftablesWall::new(form, daemon, guarded, times, cookie, knocker(1)?, shared)?;
    Ok((gate, wall))
}
