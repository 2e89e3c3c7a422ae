//! The pairs: whose a message is, whether it is one, and what the core says to it.

use std::fmt;

use log::Level;
use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::link::{Counts, Link, PathId, Received};
use mastiff_core::pair::message::{Member, Sender, Session};
use mastiff_core::pair::witness::Witness;
use mastiff_core::sorted::Map;
use mastiff_core::timing::PROMISE_MAX;
use mastiff_core::wire::{Error, Keys, LENGTH, Message, PairId, Refusals, decode, encode, pair_of};

use super::voice::Voice;
use crate::config::pair::WitnessPairConfig;
use crate::key::KeyFile;
use crate::mac::PairKey;
use crate::udp::Name;

/// Pairs that are looked at in one turn for nodes that have gone: half a millisecond's work.
const LOOK_MAX: usize = 4096;

/// Every pair that is served.
#[derive(Debug)]
pub(super) struct Pairs {
    session: Session,
    served: Vec<Served>,
    /// Where in `served` a pair is.
    places: Map<PairId, usize>,
    /// Pairs of the configuration that are not served, each for a reason that was said.
    left_out: usize,
    nodes_heard: usize,
    next_look: usize,
    refusals: Refusals,
}

/// One pair.
struct Served {
    name: String,
    keys: Keys<PairKey>,
    witness: Witness,
    first: Node,
    second: Node,
    /// Whether its first refused message was said.
    is_refusal_said: bool,
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// One of its nodes.
struct Node {
    link: Link,
    is_heard: bool,
}

impl Node {
    fn new(session: Session, member: Member) -> Self {
        Self { link: Link::new(Sender::Witness, session, Sender::Node(member)), is_heard: false }
    }
}

impl Served {
    fn new(name: &str, keys: Keys<PairKey>, session: Session, now: Clocks) -> Self {
        Self {
            name: name.to_string(),
            keys,
            witness: Witness::start(now),
            first: Node::new(session, Member::First),
            second: Node::new(session, Member::Second),
            is_refusal_said: false,
        }
    }

    const fn node(&mut self, member: Member) -> &mut Node {
        match member {
            Member::First => &mut self.first,
            Member::Second => &mut self.second,
        }
    }

    fn nodes_heard(&self) -> usize {
        usize::from(self.first.is_heard) + usize::from(self.second.is_heard)
    }

    /// What to answer to an authentic message, if anything; and whether a node is heard again.
    fn answer(&mut self, message: &Message, now: Clocks) -> (Option<Message>, Option<Member>) {
        let member = match message.envelope.from {
            Sender::Node(member) => member,
            Sender::Witness => Member::First, // our own words: any link knows them
        };
        let beat = &message.beat;
        let node = self.node(member);
        match node.link.receive(&message.envelope, PathId::FIRST, now) {
            Received::Accept { session, echo_age, .. } => {
                let is_new = !std::mem::replace(&mut node.is_heard, true);
                let beat = self.witness.hear(member, session, echo_age, beat, now);
                let envelope = |link: &mut Link| link.next(now);
                let link = &mut self.node(member).link;
                let answer = beat.map(|beat| Message { envelope: envelope(link), beat });
                (answer, is_new.then_some(member))
            }
            Received::Greet(stranger) => {
                let envelope = node.link.greet(stranger, now);
                (Some(Message { envelope, beat: self.witness.beat(beat.group) }), None)
            }
            Received::Drop(_) => (None, None),
        }
    }
}

impl Pairs {
    /// None yet, in a life of that name.
    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            served: Vec::new(),
            places: Map::new(),
            left_out: 0,
            nodes_heard: 0,
            next_look: 0,
            refusals: Refusals::default(),
        }
    }

    /// How many are served.
    pub(super) fn count(&self) -> usize {
        self.served.len()
    }

    /// Serves the pairs of a configuration from now on. Who was served before keeps all promises,
    /// and its keys as long as there are no new ones; who is new hears nothing but "silent" for
    /// [`PROMISE_MAX`], since it may be somebody who was served here before. Returns what is wrong.
    pub(super) fn adopt(&mut self, configs: &[WitnessPairConfig], now: Clocks) -> Vec<String> {
        let mut problems = Vec::new();
        let mut before = std::mem::take(&mut self.places);
        let mut known: Vec<Option<Served>> = self.served.drain(..).map(Some).collect();
        self.served.reserve_exact(configs.len());
        for config in configs {
            let id = PairId::of(&config.name);
            if let Some(place) = self.places.get(&id) {
                let other = self.served.get(*place).map_or("", |served| served.name.as_str());
                let name = &config.name;
                problems.push(format!("the pairs {other} and {name} have names that cannot be told apart on the wire: {name} is not served; rename it"));
                continue;
            }
            let known = before.remove(&id).and_then(|place| known.get_mut(place)?.take());
            let read = KeyFile::read(&config.key_file).map(|file| file.keys(&config.name));
            let served = match (read, known) {
                (Ok(keys), Some(served)) => Served { keys, is_refusal_said: false, ..served },
                (Ok(keys), None) => Served::new(&config.name, keys, self.session, now),
                (Err(error), Some(served)) => {
                    problems.push(format!("pair {}: {error}; it keeps its old key", config.name));
                    served
                }
                (Err(error), None) => {
                    problems.push(format!("pair {} is not served: {error}", config.name));
                    continue;
                }
            };
            self.places.insert(id, self.served.len());
            self.served.push(served);
        }
        self.left_out = configs.len().saturating_sub(self.served.len());
        self.nodes_heard = self.served.iter().map(Served::nodes_heard).sum();
        problems
    }

    /// Judges a datagram, and returns the answer to it, if it deserves one.
    pub(super) fn hear(
        &mut self,
        bytes: &[u8],
        from: &Name,
        now: Clocks,
        voice: &mut Voice,
    ) -> Option<[u8; LENGTH]> {
        let served = pair_of(bytes).and_then(|id| {
            let place = self.places.get(&id).ok_or(Error::OtherPair)?;
            self.served.get_mut(*place).ok_or(Error::OtherPair)
        });
        let served = match served {
            Ok(served) => served,
            Err(error) => {
                self.refusals.count(error);
                return None;
            }
        };
        let message = match decode(bytes, &served.keys) {
            Ok(message) => message,
            Err(error) => {
                self.refusals.count(error);
                // The first one is most likely an operator's mistake; the rest is in the counters.
                if !std::mem::replace(&mut served.is_refusal_said, true) {
                    let name = &served.name;
                    let text = format_args!("pair {name}: refused a message of {from}: {error}");
                    voice.say(Level::Warn, text);
                }
                return None;
            }
        };
        let (answer, appeared) = served.answer(&message, now);
        if let Some(member) = appeared {
            self.nodes_heard = self.nodes_heard.saturating_add(1);
            let (name, node) = (&served.name, word(member));
            voice.say(Level::Info, format_args!("pair {name}: hears its {node} node, at {from}"));
        }
        answer.map(|message| encode(&message, &served.keys))
    }

    /// Looks for nodes that have gone: not heard for so long that no promise to them lives any
    /// more. [`LOOK_MAX`] pairs a time.
    pub(super) fn look(&mut self, now: Clocks, voice: &mut Voice) {
        let from = if self.next_look < self.served.len() { self.next_look } else { 0 };
        self.next_look = from.saturating_add(LOOK_MAX);
        for served in self.served.iter_mut().skip(from).take(LOOK_MAX) {
            for (member, node) in
                [(Member::First, &mut served.first), (Member::Second, &mut served.second)]
            {
                let heard_at = node.link.heard().map(|(_, at)| at);
                let is_gone = heard_at.is_none_or(|at| now.longest_since(at) >= PROMISE_MAX);
                if node.is_heard && is_gone {
                    node.is_heard = false;
                    self.nodes_heard = self.nodes_heard.saturating_sub(1);
                    let (name, node) = (&served.name, word(member));
                    let text =
                        format_args!("pair {name}: its {node} node is silent for {PROMISE_MAX}");
                    voice.say(Level::Warn, text);
                }
            }
        }
    }

    /// What happened to messages so far, in words that follow a number.
    pub(super) fn counts(&self) -> Vec<(u64, &'static str)> {
        let sum = |count: fn(&Counts) -> u64| {
            let nodes = self.served.iter().flat_map(|served| [&served.first, &served.second]);
            nodes.map(|node| count(node.link.counts())).fold(0, u64::saturating_add)
        };
        let groups = self.served.iter().map(|served| served.witness.refused);
        let of_links = [
            (sum(|counts| counts.accepted), "messages acted on"),
            (sum(|counts| counts.greeted), "strangers greeted"),
            (sum(|counts| counts.taken), "daemons met"),
            (sum(|counts| counts.repeated), "doubled or replayed"),
            (sum(|counts| counts.too_old), "overtaken by too many others"),
            (sum(|counts| counts.retired), "of a daemon that another has replaced"),
            (sum(|counts| counts.reflected), "our own words"),
            (sum(|counts| counts.misdirected), "for or from somebody else"),
            (sum(|counts| counts.greeted_just_now), "of strangers greeted just now"),
            (sum(|counts| counts.echo_ahead), "echoes of what was not said"),
            (groups.fold(0, u64::saturating_add), "about more groups than a pair may have"),
        ];
        let refused = self.refusals.iter().map(|(error, count)| (count, error.text()));
        of_links.into_iter().chain(refused).collect()
    }
}

/// How it stands, in one line.
impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.served.len();
        let nodes = pairs.saturating_mul(2);
        write!(f, "witness of pairs: {pairs}; nodes heard: {} of {nodes}", self.nodes_heard)?;
        match self.left_out {
            0 => Ok(()),
            left_out => write!(f, "; pairs not served: {left_out}, see the log"),
        }
    }
}

/// Nodes are ordered by their names, which the witness does not know.
const fn word(member: Member) -> &'static str {
    match member {
        Member::First => "first",
        Member::Second => "second",
    }
}
