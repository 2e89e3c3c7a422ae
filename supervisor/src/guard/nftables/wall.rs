//! The half of the hands: transactions, which may wait for those of others.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mastiff_core::pair::clock::Clocks;
use mastiff_core::time::Span;
use mastiff_core::timing;
use nix::net::if_::if_nametoindex;

use super::knock::{ASK, Cookie, DELETE, Knock, Knocker, NOTHING, Refreshed, key};
use super::rules::{Batch, Hook, LO, Table};
use super::standing::{self, Standing, hash};
use super::{Form, Shared, tick};
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
    form: Form,
    table: String,
    guarded: Vec<Guarded>,
    times: Arc<[Span]>,
    tick: Span,
    cookie: Cookie,
    pub(super) knocker: Knocker,
    pub(super) shared: Arc<Shared>,
    socket: Socket,
    request: Request,
    /// A daemon before this one may have left the other form.
    is_first: bool,
    /// What was laid last, and for which devices.
    stood: Option<(u64, Vec<Device>)>,
}

impl NftablesWall {
    pub(super) fn new(
        form: Form,
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
            form,
            table: super::table_of(daemon),
            guarded: guarded.to_vec(),
            times,
            tick: tick(),
            cookie,
            knocker,
            shared,
            socket,
            request: Request::new(),
            is_first: true,
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
        standing::read(&mut self.socket, &self.table, self.form.tables())
            .map_err(|error| format!("cannot read {}: {error}", self.name()))
    }

    fn name(&self) -> String {
        format!("{} {}", self.form.name(), self.table)
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
        let mut batch = Batch::begin(&mut self.request, &self.table, Table::Netdev);
        for table in self.form.tables() {
            batch.table = *table;
            let is_there = before.is_some_and(|standing| standing.tables.contains(table));
            if is_there && adopted.is_none() {
                batch.delete_table();
            }
            batch.table(&userdata, !is_there);
            if adopted.is_some() {
                batch.clear();
            }
            if !adopted.is_some_and(|standing| standing.has(LO, *table, Hook::Egress, LO)) {
                batch.loopback();
            }
            batch.lay(&self.guarded, &self.times, &self.cookie);
            match table {
                Table::Netdev => batch.bases(adopted, devices),
                Table::Inet | Table::Arp => batch.devices(devices),
            }
            for (slot, _) in &open {
                batch.living(*slot, self.times.first().copied().unwrap_or_default());
            }
        }
        batch.commit();
        let laid = self.socket.transact(&mut self.request).map_err(|error| {
            format!("cannot lay {} {} in nf_tables: {error}", self.form.name(), self.table)
        });
        for (slot, until) in open {
            self.unless_late(slot, until);
        }
        laid
    }

    /// Whether knocks are heard, and by nobody else. Without that nothing could be opened, or what
    /// has ended would seem to live.
    fn answers(&mut self) -> Result<(), String> {
        let why = match self.knocker.knock(ASK, Slot(0)) {
            Knock::Taken => match self.knocker.knock(NOTHING, Slot(0)) {
                Knock::Ignored => return Ok(()),
                Knock::Taken => "somebody else drops them; do not filter what lo sends".into(),
                Knock::Failed(error) => error.to_string(),
            },
            Knock::Ignored => "nobody hears them; has somebody removed the rules?".into(),
            Knock::Failed(error) => error.to_string(),
        };
        Err(format!("cannot send the guard's frames on the loopback interface (lo): {why}"))
    }

    /// Of a group whose ARP has ended, since a knock was lost on its way there, the rest ends, too:
    /// the keeper notices that, and has it created anew.
    fn keep_together(&mut self) -> Result<(), String> {
        let mut living = |table| {
            standing::living(&mut self.socket, &self.table, table)
                .map_err(|error| format!("cannot read the elements of {}: {error}", self.table))
        };
        let (arp, ip) = (living(Table::Arp)?, living(Table::Inet)?);
        let is_lost = |slot: &Slot| ip.contains(&key(*slot)) && !arp.contains(&key(*slot));
        for slot in (0..self.shared.leases.len()).map(Slot).filter(is_lost) {
            log::warn!("the guard of group {} has lost a frame on lo; it is opened anew", slot.0);
            self.knocker.knock(DELETE, slot);
        }
        Ok(())
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
        let mut batch = Batch::begin(&mut self.request, &self.table, Table::Netdev);
        for table in self.form.tables() {
            batch.table = *table;
            batch.revive(slot, self.tick.times(CREATED_TICKS));
        }
        batch.commit();
        let created = self.socket.transact(&mut self.request);
        created
            .map_err(|error| format!("cannot open group {} in {}: {error}", slot.0, self.name()))?;
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
        format!("nftables ({}, time-out {}{failed})", self.name(), self.timeout())
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
        if std::mem::take(&mut self.is_first) {
            super::remove_form(self.form.other(), &self.table, log::Level::Debug);
        }
        let after = self.read()?.map(|standing| standing.digest);
        self.stood = after.map(|digest| (digest, devices));
        Ok(())
    }

    fn stands(&mut self) -> Result<bool, String> {
        let digest = self.read()?.map(|standing| standing.digest);
        let stands = digest.is_some() && digest == self.stood.as_ref().map(|(digest, _)| *digest);
        if !stands || self.form == Form::Netdev {
            return Ok(stands);
        }
        self.keep_together()?;
        if self.answers().is_err() {
            self.stood = None; // so that it is looked at again, and said why
        }
        Ok(self.stood.is_some())
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
        Err(format!("cannot open group {} in {}: {why}", slot.0, self.name()))
    }

    fn remove(&mut self) {
        super::remove_form(self.form, &self.table, log::Level::Warn);
        self.stood = None;
    }
}
