//! Who on the network answers for the groups' addresses, besides this machine.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsFd;

use mastiff_core::time::Span;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::Context;
use crate::clock;
use crate::keeper::devices::{Devices, Mac};
use crate::keeper::packet::{Frame, Said};
use crate::keeper::tap::{Speaker, Tap};

/// How often each address is asked for: a switch may lose one question.
const TIMES: usize = 3;
/// How long answers are waited for after each: hosts on one network answer within milliseconds.
const ANSWER_WITHIN: Span = Span::from_millis(100);

/// What came of asking for one address.
#[derive(Debug)]
pub(super) struct Asked {
    /// The group that it belongs to.
    pub(super) group: String,
    /// The address.
    pub(super) ip: IpAddr,
    /// Who answered, but for this machine; or why nobody was asked.
    pub(super) others: Result<Vec<Mac>, String>,
}

/// Asks for all addresses of the configuration; none if it has no pair or faults, of which the
/// daemon's own word is better evidence.
pub(super) fn ask(context: &Context) -> Vec<Asked> {
    let pair = context.load().ok().and_then(|config| config.pair);
    let groups = pair.map(|pair| pair.groups).unwrap_or_default();
    let mut by_interface: BTreeMap<String, Vec<(String, IpAddr)>> = BTreeMap::new();
    for group in groups {
        for address in &group.addresses {
            let on = by_interface.entry(address.interface.clone()).or_default();
            on.push((group.name.clone(), address.ip));
        }
    }
    let ask = |(interface, wanted): (String, Vec<(String, IpAddr)>)| {
        let ips: Vec<IpAddr> = wanted.iter().map(|(_, ip)| *ip).collect();
        let found = ask_on(&interface, &ips);
        wanted.into_iter().map(move |(group, ip)| {
            let of_this = |found: &BTreeMap<IpAddr, Vec<Mac>>| found.get(&ip).cloned();
            let others = found.as_ref().map(|found| of_this(found).unwrap_or_default());
            Asked { group, ip, others: others.map_err(Clone::clone) }
        })
    };
    by_interface.into_iter().flat_map(ask).collect()
}

fn ask_on(interface: &str, ips: &[IpAddr]) -> Result<BTreeMap<IpAddr, Vec<Mac>>, String> {
    let failed = |what: &str| {
        let what = format!("cannot {what} on {interface}");
        move |error: std::io::Error| format!("{what}: {error}")
    };
    let devices = Devices::open().map_err(failed("list the links"))?;
    let device = devices.called(interface).ok_or_else(|| format!("there is no {interface}"))?;
    let mac = device.mac.ok_or_else(|| format!("{interface} is no Ethernet device"))?;
    let mut tap = Tap::open(device.index, ips).map_err(failed("listen"))?;
    let speaker = Speaker::open().map_err(failed("ask"))?;
    let (mut heard, mut found) = (Vec::new(), BTreeMap::new());
    for _ in 0..TIMES {
        for ip in ips {
            // A probe: nobody remembers anything of it.
            let asked = speaker.say(&Frame::probe(*ip, mac), device.index);
            asked.map_err(|error| failed("ask")(error.into()))?;
        }
        let end = clock::now().after(ANSWER_WITHIN);
        loop {
            let left = end.since(clock::now());
            if left == Span::ZERO {
                break;
            }
            let wait = PollTimeout::try_from(left.as_millis().saturating_add(1));
            let mut fds = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
            // Interrupted by a signal, it just looks earlier.
            poll(&mut fds, wait.unwrap_or(PollTimeout::ZERO)).ok();
            tap.hear(&mut heard).map_err(|error| failed("listen")(error.into()))?;
        }
    }
    for heard in heard {
        let others: &mut Vec<Mac> = found.entry(heard.ip).or_default();
        let is_other = heard.said != Said::Probed && !devices.have(heard.mac);
        if is_other && !others.contains(&heard.mac) {
            others.push(heard.mac);
        }
    }
    Ok(found)
}
