//! The witness of the world: the core's, and the machine that it runs on.

use mastiff_core::pair::message::{Ask, Member, Owner, Sender, Vote};
use mastiff_core::pair::witness::Witness;

use super::network::{Arrival, Link, Message};
use super::setup::{self, nanos, session};

/// The third machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Third {
    boot_at: i64,
    life: u64,
    witness: Witness,
    first: Link,
    second: Link,
}

/// What comes of a message.
#[derive(Debug)]
pub struct Heard {
    /// What is sent back.
    pub reply: Message,
    /// What was voted, if it was asked.
    pub vote: Option<(Owner, Ask, Vote)>,
}

impl Third {
    /// Starts without memory, in its so many-th life.
    #[must_use]
    pub fn start(tick: u32, life: u64) -> Self {
        let boot_at = nanos(tick).saturating_sub(nanos(5));
        let witness = Witness::start(setup::now(tick, boot_at).at);
        Self { boot_at, life, witness, first: Link::default(), second: Link::default() }
    }

    /// The next life.
    #[must_use]
    pub fn restarted(&self, tick: u32) -> Self {
        Self::start(tick, self.life + 1)
    }

    /// A message arrived.
    pub fn hear(&mut self, message: Message, tick: u32) -> Option<Heard> {
        let Sender::Node(member) = message.from else { return None };
        let own = session(Sender::Witness, self.life);
        let at = setup::now(tick, self.boot_at).at;
        let link = match member {
            Member::First => &mut self.first,
            Member::Second => &mut self.second,
        };
        let arrival = link.arrival(&message, own, at);
        let echo = link.heard;
        let (beat, vote) = match arrival {
            Arrival::Drop => return None,
            Arrival::Greet => (None, None),
            Arrival::Accept(echo_age) => {
                let beat = message.beat?;
                let session = message.session;
                let reply = self.witness.hear(member, session, echo_age, &beat, at)?;
                let asker = Owner { member, session };
                let vote = beat.ask.zip(reply.answer).map(|(ask, said)| (asker, ask, said.vote));
                (Some(reply), vote)
            }
        };
        let (from, to, sent) = (Sender::Witness, message.from, at.boot);
        let reply = Message { from, to, session: own, sent, echo, beat };
        Some(Heard { reply, vote })
    }
}
