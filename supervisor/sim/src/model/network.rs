//! Messages between the three machines, and what may happen to them.
//!
//! What a link knows of sessions is here, too, as the wire does it: a new session is believed once
//! it echoes a fresh message, an old one never again.

use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::message::{Beat, Sender, Session};
use mastiff_core::time::{Mono, Span};
use mastiff_core::timing::PROMISE_MAX;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Who sent it.
    pub from: Sender,
    /// To whom.
    pub to: Sender,
    /// In which life of the sender.
    pub session: Session,
    /// When, by the sender's clock.
    pub sent: Mono,
    /// The newest that the sender heard of the receiver: which life, and when *it* was sent.
    pub echo: Option<(Session, Mono)>,
    /// What it says; nothing if it only greets.
    pub beat: Option<Beat>,
}

/// One direction between two machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Who sends.
    pub from: Sender,
    /// Who does not hear it, or too late, or twice.
    pub to: Sender,
}

/// What may be wrong with a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flaw {
    /// Messages are lost.
    Cut,
    /// They arrive so many ticks later, behind those sent meanwhile.
    Late(u32),
    /// They arrive at once, and so many ticks later again.
    Twice(u32),
}

/// All that is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Network {
    /// Flawed routes, each up to and with a tick.
    flaws: Vec<(Route, Flaw, u32)>,
    /// What arrives in a later tick, or waits for a frozen daemon.
    later: Vec<(u32, Message)>,
}

impl Network {
    /// Flaws a route up to and with tick `until`; tells whether it was sound.
    pub fn flaw(&mut self, route: Route, flaw: Flaw, until: u32) -> bool {
        let sound = !self.flaws.iter().any(|(known, _, _)| *known == route);
        if sound {
            self.flaws.push((route, flaw, until));
            self.flaws.sort_unstable();
        }
        sound
    }

    /// All routes are sound again.
    pub fn heal(&mut self) {
        self.flaws.clear();
    }

    /// Takes what is to be delivered at once, if it is.
    pub fn send(&mut self, message: Message, tick: u32) -> Option<Message> {
        let route = Route { from: message.from, to: message.to };
        match self.flaws.iter().find(|(flawed, _, _)| *flawed == route).map(|(_, flaw, _)| *flaw) {
            None => Some(message),
            Some(Flaw::Cut) => None,
            Some(Flaw::Late(by)) => {
                self.later.push((tick.saturating_add(by), message));
                None
            }
            Some(Flaw::Twice(by)) => {
                self.later.push((tick.saturating_add(by), message.clone()));
                Some(message)
            }
        }
    }

    /// A frozen receiver's socket keeps it.
    pub fn keep(&mut self, message: Message, tick: u32) {
        self.later.push((tick, message));
    }

    /// What has arrived for a machine by now.
    pub fn arrived(&mut self, to: Sender, tick: u32) -> Vec<Message> {
        let mut found = Vec::new();
        self.later.retain(|(due, message)| {
            let arrived = *due <= tick && message.to == to;
            if arrived {
                found.push(message.clone());
            }
            !arrived
        });
        found
    }

    /// The tick is over.
    pub fn end_tick(&mut self, tick: u32) {
        self.flaws.retain(|(_, _, until)| *until > tick);
        // In one order, so that worlds with the same messages are the same.
        self.later.sort_by_key(|(due, _)| *due);
    }
}

/// What a machine knows of the sessions of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Link {
    believed: Option<Session>,
    /// The newest that was heard, to be echoed.
    pub heard: Option<(Session, Mono)>,
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It counts. How long ago was sent what its sender has heard.
    Accept(Option<Span>),
    /// Not known yet: answer, so that the sender can prove to be alive.
    Greet,
    /// From a life that is over.
    Drop,
}

impl Link {
    /// A message arrived at a machine in its life `own`.
    pub fn arrival(&mut self, message: &Message, own: Session, now: Clocks) -> Arrival {
        // Later lives have higher numbers here; the wire remembers which ones it has replaced.
        if self.believed.is_some_and(|believed| message.session < believed) {
            return Arrival::Drop;
        }
        let echo = message.echo.filter(|(session, _)| *session == own);
        let age = echo.map(|(_, sent)| now.boot.since(sent));
        if self.heard.is_none_or(|heard| heard < (message.session, message.sent)) {
            self.heard = Some((message.session, message.sent));
        }
        if self.believed != Some(message.session) {
            if age.is_none_or(|age| age > PROMISE_MAX) {
                return Arrival::Greet;
            }
            self.believed = Some(message.session);
        }
        Arrival::Accept(age)
    }
}
