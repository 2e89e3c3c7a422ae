//! What is said and heard of the addresses on their networks: announcements, probes, conflicts, and
//! the gateway's sign of life.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::event::PairEvent;
use mastiff_core::pair::message::GroupKey;
use mastiff_core::time::{Mono, Span};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::config::pair::AddressConfig;
use crate::guard::Slot;
use crate::keeper::announce::{Announcer, Conflict};
use crate::keeper::devices::{Device, Devices};
use crate::keeper::packet::{Frame, Heard, Said};
use crate::keeper::probe::{Finding, Gateway, Probes};
use crate::keeper::routes::Routes;
use crate::keeper::tap::{Speaker, Tap, forwards};
use crate::keeper::vacancy::Vacancy;

/// A way to the gateway that was not found, or may be another one by now, is looked for so often.
const LOOK_FOR_GATEWAY_EVERY: Span = Span::from_secs(5);

mod vacant;

/// Frames that one turn takes in; the rest is for the next one.
const HEARD_MAX: usize = 1024;

/// Something worth telling.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    /// For the core.
    Event(PairEvent),
    /// Somebody else answers for an address that is held here.
    Conflict(IpAddr, Conflict),
}

#[derive(Debug)]
struct Group {
    key: GroupKey,
    addresses: Vec<Spoken>,
    probes: Probes,
}

#[derive(Debug)]
struct Spoken {
    ip: IpAddr,
    interface: String,
    announcer: Announcer,
    vacancy: Vacancy,
}

/// Whether and whom to ask for a sign of life.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskGateway {
    pub(super) enabled: bool,
    /// `None`: that of the default route.
    pub(super) ip: Option<IpAddr>,
}

/// The networks of all groups.
#[derive(Debug)]
pub(super) struct Air {
    speaker: Speaker,
    first_token: usize,
    taps: Vec<Tap>,
    groups: Vec<Group>,
    ask: AskGateway,
    gateway: Option<Gateway>,
    look_again: Mono,
    routes: Routes,
    heard: Vec<Heard>,
}

impl Air {
    pub(super) fn open(
        groups: &[(GroupKey, Vec<AddressConfig>)],
        ask: AskGateway,
        first_token: usize,
    ) -> io::Result<Self> {
        let spoken = |config: &AddressConfig| Spoken {
            ip: config.ip,
            interface: config.interface.clone(),
            announcer: Announcer::default(),
            vacancy: Vacancy::default(),
        };
        let group = |(key, addresses): &(GroupKey, Vec<AddressConfig>)| Group {
            key: *key,
            addresses: addresses.iter().map(spoken).collect(),
            probes: Probes::default(),
        };
        Ok(Self {
            speaker: Speaker::open()?,
            first_token,
            taps: Vec::new(),
            groups: groups.iter().map(group).collect(),
            ask,
            gateway: None,
            look_again: Mono::BOOT,
            routes: Routes::open()?,
            heard: Vec::new(),
        })
    }

    /// Listens on every device that has addresses of ours or leads to the gateway, and on no other.
    pub(super) fn listen(&mut self, devices: &Devices, registry: &Registry) {
        let spoken = self.groups.iter().flat_map(|group| &group.addresses);
        let interfaces = spoken.filter_map(|spoken| devices.called(&spoken.interface));
        let speaking = interfaces.filter(|device| device.mac.is_some()).map(|device| device.index);
        let mut wanted = Vec::new();
        for index in speaking.chain(self.gateway.map(|gateway| gateway.index)) {
            if !wanted.contains(&index) {
                wanted.push(index);
            }
        }
        if self.taps.iter().map(Tap::index).eq(wanted.iter().copied()) {
            return;
        }
        for tap in self.taps.drain(..) {
            // It is closed in the next moment.
            registry.deregister(&mut SourceFd(&tap.as_fd().as_raw_fd())).ok();
        }
        let gateway = self.gateway.map(|gateway| gateway.ip);
        let ips = self.groups.iter().flat_map(|group| &group.addresses).map(|spoken| spoken.ip);
        let watched: Vec<IpAddr> = ips.chain(gateway).collect();
        for index in wanted {
            let token = Token(self.first_token + self.taps.len());
            let tap = Tap::open(index, &watched).and_then(|tap| {
                let fd = tap.as_fd().as_raw_fd();
                registry.register(&mut SourceFd(&fd), token, Interest::READABLE).map(|()| tap)
            });
            match tap {
                Ok(tap) => self.taps.push(tap),
                // Its device may have gone in between; then its next notice comes here again.
                Err(error) => log::warn!("cannot listen on interface number {index}: {error}"),
            }
        }
    }

    /// The addresses of a group are here from now on.
    pub(super) fn start(&mut self, slot: Slot, now: Mono) {
        for spoken in self.groups.get_mut(slot.0).into_iter().flat_map(|g| &mut g.addresses) {
            spoken.announcer.start(now);
            spoken.vacancy = Vacancy::none();
        }
    }

    /// They are not.
    pub(super) fn stop(&mut self, slot: Slot) {
        for spoken in self.groups.get_mut(slot.0).into_iter().flat_map(|g| &mut g.addresses) {
            spoken.announcer.stop();
            spoken.vacancy = Vacancy::default();
        }
    }

    pub(super) fn next_deadline(&self) -> Mono {
        let all = self.groups.iter().flat_map(|group| &group.addresses);
        all.map(|spoken| spoken.announcer.next_deadline()).min().unwrap_or(Mono::FAR)
    }

    /// Announces what is due of the groups that `may` be spoken for.
    pub(super) fn speak(&mut self, devices: &Devices, now: Mono, may: impl Fn(Slot) -> bool) {
        for (slot, group) in self.groups.iter_mut().enumerate() {
            for spoken in &mut group.addresses {
                // First: where it cannot be said it must not stay due, or the loop would not rest.
                if !spoken.announcer.due(now) || !may(Slot(slot)) {
                    continue;
                }
                let Some(device) = devices.called(&spoken.interface) else { continue };
                let Some(mac) = device.mac else { continue };
                let is_router = spoken.ip.is_ipv6() && forwards(&device.name);
                for frame in Frame::announcements(spoken.ip, mac, is_router).into_iter().flatten() {
                    say(&self.speaker, &frame, device);
                }
            }
        }
    }

    /// Asks whether anybody has the group's addresses. A question that could not be put to all of
    /// them counts as answered: silence must be the network's. Returns what the core is told then.
    pub(super) fn probe(&mut self, slot: Slot, devices: &Devices, now: Mono) -> Option<PairEvent> {
        let group = self.groups.get_mut(slot.0)?;
        group.probes.sent(now);
        let put = |spoken: &Spoken| {
            let device = devices.called(&spoken.interface)?;
            let frame = Frame::probe(spoken.ip, device.mac?);
            say(&self.speaker, &frame, device).then_some(())
        };
        let all = group.addresses.iter().all(|spoken| put(spoken).is_some());
        (!all).then_some(PairEvent::AddressAnswered { group: group.key })
    }

    /// Asks the gateway; where it is has been found before, or is looked for now.
    pub(super) fn ask_gateway(&mut self, sent: Clocks, devices: &Devices, registry: &Registry) {
        if self.ask.enabled && sent.boot >= self.look_again {
            self.look_again = sent.boot.after(LOOK_FOR_GATEWAY_EVERY);
            self.find_gateway(devices, registry);
        }
        let Some(gateway) = &mut self.gateway else { return };
        let Some(device) = devices.numbered(gateway.index) else { return };
        let Some(mac) = device.mac else { return };
        let frame = gateway.ask(sent, mac);
        say(&self.speaker, &frame, device);
    }

    fn find_gateway(&mut self, devices: &Devices, registry: &Registry) {
        let found = match self.ask.ip {
            Some(ip) => Some((ip, None)),
            None => {
                // By the configuration and not by what there is: while the right route is away,
                // another gateway would answer on another network.
                let ips = self.groups.iter().flat_map(|group| &group.addresses).map(|a| a.ip);
                let router = self.routes.default_router(ips.clone().all(|ip| ip.is_ipv6()));
                let router = router.unwrap_or_else(|error| {
                    log::warn!("cannot read the default route: {}", error.desc());
                    None
                });
                router.map(|(ip, index)| (ip, Some(index)))
            }
        };
        let way = found.and_then(|(ip, by)| {
            let way = self.routes.way_to(ip, by);
            way.ok().map(|way| (ip, way.index, way.from))
        });
        let Some((ip, index, source)) = way else { return };
        let is_floating = |source: &IpAddr| {
            self.groups.iter().flat_map(|group| &group.addresses).any(|a| a.ip == *source)
        };
        let from = source.filter(|source| !is_floating(source));
        let is_same = self
            .gateway
            .is_some_and(|known| (known.ip, known.index, known.from) == (ip, index, from));
        if !is_same {
            self.gateway = Some(Gateway::new(ip, index, from));
            // The filter of every tap knows the old one.
            self.taps.clear();
            self.listen(devices, registry);
        }
    }

    /// Takes in what was said on the network; `on` tells whether a group's addresses are here.
    pub(super) fn hear(
        &mut self,
        devices: &Devices,
        now: Mono,
        on: impl Fn(Slot) -> bool,
        mut tell: impl FnMut(Told),
    ) {
        self.heard.clear();
        for tap in &mut self.taps {
            while let Ok(true) = tap.hear(&mut self.heard) {
                if self.heard.len() > HEARD_MAX {
                    break;
                }
            }
        }
        // What this machine says itself is no news; its kernel answers on all of its devices.
        for heard in self.heard.iter().filter(|heard| !devices.have(heard.mac)) {
            if let Some(gateway) = &mut self.gateway
                && let Some(sent) = gateway.hear(heard)
            {
                tell(Told::Event(PairEvent::GatewayAnswered { sent }));
            }
            for (slot, group) in self.groups.iter_mut().enumerate() {
                let Some(spoken) = group.addresses.iter_mut().find(|a| a.ip == heard.ip) else {
                    continue;
                };
                let key = group.key;
                let finding = group.probes.hear(heard, now);
                // Who only asks whether it is taken gets the kernel's answer.
                let claims = heard.said != Said::Probed;
                if claims {
                    spoken.vacancy.hear(heard.mac);
                }
                if on(Slot(slot)) {
                    if claims
                        && spoken.announcer.contradicted(heard.mac, now)
                        && let Some(conflict) = spoken.announcer.conflict()
                    {
                        tell(Told::Conflict(spoken.ip, conflict));
                    }
                } else if let Some(Finding::Taken(_)) = finding {
                    tell(Told::Event(PairEvent::AddressAnswered { group: key }));
                } else if let Some(Finding::Wanted(_)) = finding {
                    tell(Told::Event(PairEvent::ProbeSeen { group: key }));
                }
            }
        }
    }
}

/// Whether it went out. `ENOBUFS`: a closed guard or another rule dropped it.
fn say(speaker: &Speaker, frame: &Frame, device: &Device) -> bool {
    let said = speaker.say(frame, device.index);
    if let Err(error) = said {
        log::debug!("{}: a frame was not sent: {}", device.name, error.desc());
    }
    said.is_ok()
}
