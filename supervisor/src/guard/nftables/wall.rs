//! The half of the hands: transactions, which may wait for those of others.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mastiff_core::pair::clock::Clocks;
use mastiff_core::time::Span;
use mastiff_core::timing;
use nix::net::if_::if_nametoindex;

use super::knock::{ASK, Cookie, DELETE, Knock, Knocker, Refreshed};
use super::rules::{Batch, Hook, LO};
use super::standing::{self, Standing, hash};
use super::{Shared, tick};
use crate::guard::{Device, Guarded, Place, Slot, Wall};
use crate::netlink::{Family, Request, Socket};

/// How long a created element lives before it is refreshed, in ticks: it may end two early.
const CREATED_TICKS: u64 = 3;
/// So often an element is created that was gone before it could be refreshed.
const CREATE_TRIES: usize = 3;
/// The layout of the table; another one is never adopted.
const LAYOUT: u8 = 3;

/// Lays, repairs and creates.
///
/// It does not listen for changes (`NFNLGRP_NFTABLES`): for a listener the kernel writes down each
/// rule that anybody loads, within the loader's system call. 20,000 rules took 150 ms longer, in
/// which a kernel without preemption lets no other thread run on that processor: not the keeper,
/// either.
#[derive(Debug)]
pub struct NftablesWall {
    table: String,
    guarded: Vec<Guarded>,
    times: Arc<[Span]>,
    tick: Span,
    cookie: Cookie,
    pub(super) knocker: Knocker,
    pub(super) shared: Arc<Shared>,
    socket: Socket,
    request: Request,
    /// What was laid last, and for which devices.
    stood: Option<(u64, Vec<Device>)>,
}

impl NftablesWall {
    pub(super) fn new(
        daemon: &str,
        guarded: &[Guarded],
        times: Arc<[Span]>,
        cookie: Cookie,
        knocker: Knocker,
        shared: Arc<Shared>,
    ) -> Result<Self, String> {
        let socket = Socket::open(Family::Netfilter, 0)
            .map_err(|error| format!("cannot open a socket to nf_tables: {error}"))?;
        Ok(Self {
            table: super::table_of(daemon),
            guarded: guarded.to_vec(),
            times,
            tick: tick(),
            cookie,
            knocker,
            shared,
            socket,
            request: Request::new(),
            stood: None,
        })
    }

    fn timeout(&self) -> Span {
        self.times.first().copied().unwrap_or(Span::ZERO)
    }

    /// The table's comment, as nft(8) keeps and prints it: type 0, length, text with its NUL. It
    /// changes with what a living element lets pass.
    fn userdata(&self) -> Vec<u8> {
        let mut text = vec![LAYOUT];
        for Guarded { slot, ip, interface: _ } in &self.guarded {
            text.extend(format!("{} {ip};", slot.0).bytes());
        }
        let comment = format!("guard of mastiffd, which repairs it: {:016x}\0", hash(&text));
        let mut userdata = vec![0, u8::try_from(comment.len()).unwrap_or(u8::MAX)];
        userdata.extend(comment.bytes());
        userdata
    }

    fn read(&mut self) -> Result<Option<Standing>, String> {
        standing::read(&mut self.socket, &self.table)
            .map_err(|error| format!("cannot read table netdev {}: {error}", self.table))
    }

    /// One transaction from what stands to what should. A table for the same addresses keeps its
    /// living elements (`adopt`), whoever laid it; everything else of it is laid anew.
    fn lay(
        &mut self,
        before: Option<&Standing>,
        adopt: bool,
        devices: &[Device],
    ) -> Result<(), String> {
        let userdata = self.userdata();
        let adopted = before.filter(|_| adopt);
        // Without a table everything passes, so elements of what should be open shorten that.
        let open = if before.is_none() { self.open_slots() } else { Vec::new() };
        let mut batch = Batch::begin(&mut self.request, &self.table);
        if before.is_some() && adopted.is_none() {
            batch.delete_table();
        }
        batch.table(&userdata, before.is_none());
        if adopted.is_some() {
            batch.clear();
        }
        let has = |name: &str, hook: Hook, device: &str| {
            adopted.is_some_and(|standing| standing.has(name, hook.number(), device))
        };
        if !has(LO, Hook::Egress, LO) {
            batch.loopback();
        }
        batch.lay(&self.guarded, &self.times, &self.cookie);
        let hooks = [Hook::Ingress, Hook::Egress];
        let wanted: Vec<(String, Hook, &Device)> = devices
            .iter()
            .flat_map(|device| hooks.map(|hook| (hook, device)))
            .filter_map(|(hook, device)| Some((hook.chain(device)?, hook, device)))
            .collect();
        // What a bridge does for others is none of ours: a device that was made its port goes.
        for base in adopted.map(|standing| standing.bases.as_slice()).unwrap_or_default() {
            if base.name != LO && wanted.iter().all(|(name, ..)| *name != base.name) {
                batch.delete_base(&base.name);
            }
        }
        for (name, hook, device) in wanted {
            if !has(&name, hook, &device.name) {
                batch.base(&name, hook, &device.name);
            }
            batch.jump(&name, hook, device.place);
        }
        for (slot, _) in &open {
            batch.living(*slot, self.times.first().copied().unwrap_or_default());
        }
        batch.commit();
        let laid = self.socket.transact(&mut self.request).map_err(|error| {
            format!("cannot lay table netdev {} in nf_tables: {error}", self.table)
        });
        for (slot, until) in open {
            self.unless_late(slot, until);
        }
        laid
    }

    /// Whether knocks are heard. Without that nothing could be opened.
    fn answers(&mut self) -> Result<(), String> {
        let why = match self.knocker.knock(ASK, Slot(0)) {
            Knock::Taken => return Ok(()),
            Knock::Ignored => "nobody hears them; has somebody removed the rules?".into(),
            Knock::Failed(error) => error.to_string(),
        };
        Err(format!("cannot send the guard's frames on the loopback interface (lo): {why}"))
    }

    /// Groups that are open, and whose time-out fits into their lease.
    fn open_slots(&self) -> Vec<(Slot, Clocks)> {
        let end = (self.knocker.clock)().after(self.timeout()).after(self.tick);
        let all =
            (0..self.shared.leases.len()).map(Slot).map(|slot| (slot, self.shared.until(slot)));
        all.filter(|(_, until)| !end.ends_lease(*until)).collect()
    }

    /// Deletes an element that was made for a lease that is over, or for a group that is closed.
    fn unless_late(&mut self, slot: Slot, until: Clocks) {
        let late = (self.knocker.clock)().after(self.timeout()).ends_lease(until);
        if late || self.shared.is_closed(slot) {
            self.knocker.knock(DELETE, slot);
        }
    }

    fn create_once(&mut self, slot: Slot, until: Clocks) -> Result<Refreshed, String> {
        let time = (0, self.timeout());
        if (self.knocker.clock)().after(time.1).after(self.tick).ends_lease(until) {
            return Ok(Refreshed::TooLate);
        }
        let mut batch = Batch::begin(&mut self.request, &self.table);
        batch.revive(slot, self.tick.times(CREATED_TICKS));
        batch.commit();
        self.socket.transact(&mut self.request).map_err(|error| {
            format!("cannot open group {} in table netdev {}: {error}", slot.0, self.table)
        })?;
        // It lives for a few ticks now, whatever becomes of this process.
        let refreshed = self.knocker.refresh(slot, time, until, self.tick);
        // The keeper may have closed it meanwhile, before it was there.
        if self.shared.is_closed(slot) || refreshed == Refreshed::TooLate {
            self.knocker.knock(DELETE, slot);
            return Ok(Refreshed::TooLate);
        }
        Ok(refreshed)
    }
}

impl Wall for NftablesWall {
    fn form(&self) -> timing::Guard {
        timing::Guard::Nftables { tick: self.tick }
    }

    fn describe(&self) -> String {
        let failed = match self.shared.failed.load(Ordering::Relaxed) {
            0 => String::new(),
            failed => format!(", {failed} frames not sent"),
        };
        format!("nftables (table netdev {}, time-out {}{failed})", self.table, self.timeout())
    }

    fn stand(&mut self, devices: &[Device]) -> Result<(), String> {
        let is_guarded = |device: &&Device| device.place != Place::Free;
        let mut devices: Vec<Device> = devices.iter().filter(is_guarded).cloned().collect();
        let mut before = self.read()?;
        let digest = before.as_ref().map(|standing| standing.digest);
        if self.stood.as_ref().is_some_and(|(stood, of)| Some(*stood) == digest && *of == devices) {
            return Ok(());
        }
        self.stood = None;
        let ours = before.as_ref().is_some_and(|standing| standing.userdata == self.userdata());
        let mut laid = self.lay(before.as_ref(), ours, &devices);
        if laid.is_err() {
            // Before Linux 6.16 one interface that has gone meanwhile fails it all.
            devices.retain(|device| if_nametoindex(&*device.name) == Ok(device.index));
            before = self.read()?;
            laid = self.lay(before.as_ref(), ours, &devices);
        }
        // What somebody made of it may not be mendable; then it begins anew, and closed.
        match laid {
            Err(_) if ours => self.lay(before.as_ref(), false, &devices),
            laid => laid,
        }?;
        self.answers()?;
        let after = self.read()?.map(|standing| standing.digest);
        self.stood = after.map(|digest| (digest, devices));
        Ok(())
    }

    fn stands(&mut self) -> Result<bool, String> {
        let digest = self.read()?.map(|standing| standing.digest);
        Ok(digest.is_some() && digest == self.stood.as_ref().map(|(digest, _)| *digest))
    }

    fn create(&mut self, slot: Slot, until: Clocks) -> Result<(), String> {
        let mut refreshed = Refreshed::Dead;
        for _ in 0..CREATE_TRIES {
            refreshed = self.create_once(slot, until)?;
            match refreshed {
                Refreshed::Lives(_) => return Ok(()),
                Refreshed::Dead => {}
                Refreshed::TooLate | Refreshed::Gone | Refreshed::Failed(_) => break,
            }
        }
        let why = match refreshed {
            Refreshed::Lives(_) | Refreshed::Dead => {
                "each time it ended before it was refreshed".into()
            }
            Refreshed::TooLate => "its lease is over, or as good as over".into(),
            Refreshed::Gone => "the rules that refresh it are gone".into(),
            Refreshed::Failed(error) => format!("cannot send on the loopback interface: {error}"),
        };
        Err(format!("cannot open group {} in table netdev {}: {why}", slot.0, self.table))
    }

    fn remove(&mut self) {
        let mut batch = Batch::begin(&mut self.request, &self.table);
        batch.delete_table();
        batch.commit();
        if let Err(error) = self.socket.transact(&mut self.request) {
            log::warn!("cannot remove table netdev {} from nf_tables: {error}", self.table);
        }
        self.stood = None;
    }
}
