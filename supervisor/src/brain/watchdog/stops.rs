//! `D`: how long units that must not run twice may outlive a lease here, by the word of the armed
//! watchdog. The peer reckons with it, so it is told before it grows.

use mastiff_core::time::{Mono, Span};
use mastiff_core::timing::WatchdogFacts;

use super::{Brain, Order, State, proof, times};
use crate::config::pair::GroupConfig;
use crate::keeper::board::GroupShown;
use crate::petter::Armed;

impl Brain {
    /// Once a second: the keeper tells the peer.
    pub(in crate::brain) fn tell_stops(&mut self, now: Mono) {
        let Some(pair) = self.config.pair.as_ref().filter(|pair| pair.has_data()) else {
            if let Some(armed) = self.dog.armed() {
                self.give_times(&armed, None);
            }
            return;
        };
        let stop = pair.groups.iter().filter(|group| group.is_data).map(GroupConfig::stop_time);
        let stop = stop.max().unwrap_or_default();
        let state = self.dog.petter.as_ref().map(|petter| petter.shown());
        match state.map(|shown| (shown.state, shown.slowest)) {
            Some((State::Armed(armed), slowest)) => {
                let span = self.facts(&armed, slowest).map(|facts| facts.stops_within(stop));
                self.give_times(&armed, span);
                // What a daemon before has left on the device holds only as long as something is
                // had here: told, it would count for ever.
                if armed.given.is_some() || self.has_data_lease() {
                    self.keeper.stops_within(span);
                }
            }
            // Not looked yet: what a daemon before has told holds.
            Some((State::Looking(None), _)) => {}
            Some((State::Looking(Some(_)) | State::Released | State::Left, _)) | None => {
                self.keeper.stops_within(None);
            }
        }
        self.remember_stops(now);
    }

    fn facts(&self, armed: &Armed, slowest: Span) -> Option<WatchdogFacts> {
        let config = self.dog.config.as_ref()?;
        let assumed = config.facts()?;
        // What the end of the daemon stops ends no units.
        if !armed.magic_close && armed.nowayout != Some(true) {
            return None;
        }
        let read_back = armed.timeout?;
        Some(WatchdogFacts {
            pet: assumed.pet.max(slowest),
            // What it is to be, too: it is told to the peer before it is.
            read_back: read_back.max(config.timeout),
            proven: proof::fires_after(armed, self.dog.memory.proven.as_ref()),
            ..assumed
        })
    }

    /// Sees to it that the device has the times of the file. A longer time-out than it has is set
    /// once the peer reckons with the `span` that goes with it, or while nothing is had here that
    /// it would wait for.
    fn give_times(&mut self, armed: &Armed, span: Option<Span>) {
        let (Some(config), Some(petter)) = (&self.dog.config, &self.dog.petter) else { return };
        let wanted = times(config);
        let is_longer = armed.timeout.is_none_or(|timeout| timeout < wanted.timeout);
        // A self-test has times of its own.
        let may = self.dog.wishes.self_test.is_none();
        let may = may && (!is_longer || !self.has_exclusive() || self.is_acknowledged(span));
        // A driver that caps them is not asked again and again.
        let is_new = armed.given != Some(wanted) && self.dog.asked != Some(wanted);
        if may && is_new && petter.order(Order::Configure(wanted)) {
            self.dog.asked = Some(wanted);
        }
    }

    fn is_acknowledged(&self, span: Option<Span>) -> bool {
        !self.any_data(|group| group.stop_acknowledged < span)
    }

    fn has_data_lease(&self) -> bool {
        self.any_data(|group| group.lease_end.is_some())
    }

    /// Whether something that must not run twice is, or may be, here.
    pub(in crate::brain) fn has_exclusive(&self) -> bool {
        self.any_data(|group| !group.is_clear)
    }

    /// The groups of which that is so, and their units, to follow a sentence.
    pub(super) fn held(&self) -> String {
        let shown = self.keeper.board();
        let mut text = String::new();
        for (config, group) in self.all_groups().zip(&shown.groups) {
            if config.is_data && !group.is_clear {
                text.push_str(&format!("; {} with {}", config.name, config.units.join(", ")));
            }
        }
        text
    }

    fn any_data(&self, is_so: impl Fn(&GroupShown) -> bool) -> bool {
        let shown = self.keeper.board();
        self.all_groups().zip(&shown.groups).any(|(config, group)| config.is_data && is_so(group))
    }

    fn all_groups(&self) -> impl Iterator<Item = &GroupConfig> {
        self.config.pair.iter().flat_map(|pair| &pair.groups)
    }

    /// What the peer has told, for a boot in which it does not.
    fn remember_stops(&mut self, now: Mono) {
        let shown = self.keeper.board();
        let mut changed = false;
        let groups = self.config.pair.iter().flat_map(|pair| &pair.groups);
        for (config, group) in groups.zip(&shown.groups) {
            let Some(told) = group.peer_stops_within.map(|span| span.as_nanos()) else { continue };
            let mut memory = self.desk.memory.get(&config.name).copied().unwrap_or_default();
            if memory.peer_stops_within_ns.replace(told) != Some(told) {
                self.desk.memory.insert(config.name.clone(), memory);
                changed = true;
            }
        }
        if changed {
            self.save_soon(now);
        }
    }
}
