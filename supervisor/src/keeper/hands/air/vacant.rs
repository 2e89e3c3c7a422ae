//! Asks once a minute who has the addresses that are not here, without leaving a trace in anybody's
//! tables.
//!
//! For IPv4 that is a probe (RFC 5227, section 2.1.1), answered to this machine alone. One for IPv6
//! (RFC 4862) is answered to all nodes, which makes them believe whoever answers last; so there it
//! is an ordinary question from this machine's own address (RFC 4861, section 7.2.2), which is
//! answered to it alone, too.

use std::net::IpAddr;

use mastiff_core::time::Mono;

use super::{Air, say};
use crate::guard::Slot;
use crate::keeper::devices::{Device, Devices, Mac};
use crate::keeper::packet::Frame;
use crate::keeper::routes::Routes;
use crate::keeper::tap::Speaker;
use crate::keeper::vacancy::{Found, Holder};

impl Air {
    /// What is due for a group that `holder` should have; `peer` are the other node's ends of the
    /// paths. Each address of which something is worth telling, with that.
    pub(in crate::keeper::hands) fn look_for_others(
        &mut self,
        slot: Slot,
        holder: Holder,
        (devices, peer): (&Devices, &[IpAddr]),
        now: Mono,
    ) -> Vec<(IpAddr, Found)> {
        let all = self.groups.iter().flat_map(|group| &group.addresses);
        let floating: Vec<IpAddr> = all.map(|spoken| spoken.ip).collect();
        let Self { groups, routes, speaker, ask, .. } = self;
        let mut news = Vec::new();
        let Some(group) = groups.get_mut(slot.0) else { return news };
        for spoken in &mut group.addresses {
            let vacancy = &mut spoken.vacancy;
            vacancy.follow(holder, now);
            if vacancy.is_answered(now) && vacancy.judge(&macs(routes, peer), now) {
                news.push((spoken.ip, vacancy.found()));
            }
            if !vacancy.is_due(now) {
                continue;
            }
            // Candidates with the arbiter `wire` ask each other just so, and would take this for
            // one of them.
            if holder == Holder::Nobody && ask.enabled {
                vacancy
                    .cannot_ask("with the arbiter wire it is not asked while nobody has it", now);
                continue;
            }
            let device = devices.called(&spoken.interface).ok_or("its interface is missing");
            let asked =
                device.and_then(|device| put(spoken.ip, device, routes, speaker, &floating));
            match asked {
                Ok(()) => vacancy.asked(now),
                Err(why) => vacancy.cannot_ask(why, now),
            }
        }
        news
    }

    /// How many have answered for the addresses of a group since they were asked for.
    #[cfg(test)]
    pub(in crate::keeper::hands) fn answers(&self, slot: Slot) -> usize {
        self.groups[slot.0].addresses.iter().map(|it| it.vacancy.answers()).sum()
    }

    /// What was found of each address of a group.
    pub(in crate::keeper::hands) fn found(&self, slot: Slot) -> Vec<Found> {
        let group = self.groups.get(slot.0);
        let spoken = group.map(|group| group.addresses.as_slice()).unwrap_or_default();
        spoken.iter().map(|spoken| spoken.vacancy.found()).collect()
    }
}

/// Where the other node is, on all networks that its paths lead over: it may answer for an address
/// from each of its interfaces.
fn macs(routes: &mut Routes, peer: &[IpAddr]) -> Vec<Mac> {
    let mut macs = Vec::new();
    for ip in peer {
        let way = routes.way_to(*ip, None).ok().filter(|way| way.router.is_none());
        macs.extend(way.and_then(|way| routes.neighbour(*ip, way.index)));
    }
    macs
}

fn put(
    ip: IpAddr,
    device: &Device,
    routes: &mut Routes,
    speaker: &Speaker,
    floating: &[IpAddr],
) -> Result<(), &'static str> {
    let mac = device.mac.ok_or("its interface is no Ethernet device")?;
    let frame = match ip {
        IpAddr::V4(_) => Frame::probe(ip, mac),
        IpAddr::V6(_) => {
            let way = routes.way_to(ip, Some(device.index)).ok();
            let own = way.and_then(|way| way.from).filter(|from| !floating.contains(from));
            let own = own.ok_or("this machine has no address of its own to ask from there")?;
            Frame::question(ip, Some(own), mac, None)
        }
    };
    say(speaker, &frame, device).then_some(()).ok_or("the question could not be sent")
}
