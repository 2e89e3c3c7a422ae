//! Never both at once: which of two nodes goes down first by its own will (I14).
//!
//! Two machines that are restarted together leave no owner, and what fails on both of them, as a
//! gateway or a shared disk, lets both ladders come to their rung `reboot` at the same moment. So
//! who wants to go down *says* so ([`NotReady::Rebooting`](super::message::NotReady::Rebooting),
//! with every beat, until its machine is down or stays up after all), and goes when the peer has
//! answered, knowing that, without saying the same:
//!
//! ```text
//!           wanted           the peer is not away          answered
//!   Stays ─────────► Waits ───────────────────────► Asks ────────────► Goes
//!                    │  ▲                            │                  ▲
//!                    │  └─ the peer is silent; or it asks too, and this │
//!                    │     node has the lower name ──┘                  │
//!                    └───────────── the peer is away for too long ──────┘
//! ```
//!
//! - **An answer** is a word that echoes one of ours of after the announcement. Each of two nodes
//!   that go by an answer would have to have heard of the other before it asked: so never both do,
//!   however late, doubled or overtaken their words are, and whoever was restarted in between.
//! - **Away** is a peer that has announced it or is silent, until it is up again: heard, and of
//!   every group the owner, or ready for it for as long as its vote is silent after a boot. What is
//!   waited for is an owner, not a sign of life.
//! - **Who waits says nothing**: it stays ready, since it is the one that is left.
//! - **In the end it goes**, or a machine whose disk is dead would stay so. A peer that announced
//!   it has [`WAIT_MAX`]. One that fell silent may have been reset, and then it is soon back; or be
//!   gone for good, and then nobody gains by waiting; or the wire between them is cut, and it waits
//!   as well: so the higher name goes after [`SILENT_MAX`], and is back before the lower one goes.
//!   One that has been away for longer already is not waited for at all; one that is heard then is
//!   asked all the same. And the way down itself ends the wait after `WAIT_MAX`, even if this
//!   module never speaks ([`crate::reboot`], R2).
//!
//! What must go down for safety's sake never waits: petting that ends because something exclusive
//! does not stop (I13) asks nobody.

use super::event::{Away, Leaving, Passage};
use super::message::Member;
use crate::reboot::WAIT_MAX;
use crate::time::{Mono, Span};

/// How long the node with the higher name waits for a peer that is silent, and did not say why. The
/// other one waits [`WAIT_MAX`]: between them is the time of one restart.
pub const SILENT_MAX: Span = Span::from_secs(300);
/// A peer is silent after this, or a lease if that is longer. No promise rests on it; a wire that
/// loses much must not make an answer impossible.
pub const FRESH_MIN: Span = Span::from_secs(2);
/// Messages of a turn are numbered by its moment and so little above it that this is more. What
/// was decided before the announcement may be sent with it, or, by a daemon that was stopped in
/// between, as late as the next turn begins: echoes count from after that.
const NEXT_TURN: Span = Span::from_millis(1);

/// What this node wants, and how that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stand {
    /// Nothing.
    Stays,
    /// The peer is away: wait, and say nothing.
    Waits,
    /// Announced in the turn of this moment; echoes count from a later turn on.
    Announces(Mono),
    /// Echoes of what was sent from then on count.
    Asks(Mono),
    /// On its way down.
    Goes,
}

/// The order of the two nodes on their way down.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct WayDown {
    stand: Stand,
    /// When the peer was last heard, and heard this node; at first when this one began.
    heard: Mono,
    /// Whether its newest word is that it goes down.
    announces: bool,
    away: Option<Away>,
    /// What was last reported.
    told: Option<Passage>,
    /// There is something to say at once: half of a heartbeat for each word is long for a machine
    /// whose disk is dead.
    hurries: bool,
}

/// A word of the peer, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    /// Whether it says that it goes down.
    pub(super) rebooting: bool,
    /// How long ago was sent what it has last heard of this node.
    pub(super) echo_age: Option<Span>,
}

impl WayDown {
    /// Nothing is wanted, and the peer was not heard yet.
    pub(super) const fn new(now: Mono) -> Self {
        Self {
            stand: Stand::Stays,
            heard: now,
            announces: false,
            away: None,
            told: None,
            hurries: false,
        }
    }

    /// What the ladder wants from now on.
    pub(super) fn want(&mut self, leaving: Leaving) {
        self.stand = match (leaving, self.stand) {
            (Leaving::Stays, _) => Stand::Stays,
            (Leaving::Wants, Stand::Stays) => Stand::Waits,
            (Leaving::Wants, stand) => stand,
            (Leaving::Goes, _) => Stand::Goes,
        };
        if leaving == Leaving::Stays {
            self.told = None;
        }
    }

    /// Whether this node says that it goes down.
    pub(super) const fn is_announced(&self) -> bool {
        matches!(self.stand, Stand::Announces(_) | Stand::Asks(_) | Stand::Goes)
    }

    /// Whether it must be said at once how it stands; asked once a turn.
    pub(super) const fn take_hurry(&mut self) -> bool {
        core::mem::replace(&mut self.hurries, false)
    }

    /// When it goes on by itself, if nobody speaks.
    pub(super) const fn next_deadline(&self) -> Mono {
        match self.stand {
            Stand::Announces(at) => at.after(NEXT_TURN),
            _ => Mono::FAR,
        }
    }

    /// The peer spoke. `me`: who this node is; `fresh`: for how long it is not silent.
    pub(super) fn hear(&mut self, word: Word, me: Member, fresh: Span, now: Mono) {
        if word.echo_age.is_some_and(|age| age < fresh) {
            self.heard = now;
        }
        if word.rebooting && !self.announces {
            self.away = Some(Away { since: now, announced: true });
        }
        self.hurries |= word.rebooting != self.announces;
        self.announces = word.rebooting;
        let asks = matches!(self.stand, Stand::Announces(_) | Stand::Asks(_));
        let answers = |from| word.echo_age.is_some_and(|age| now.before(age) >= from);
        match self.stand {
            // The lower name yields.
            _ if asks && word.rebooting && me == Member::First => self.stand = Stand::Waits,
            Stand::Asks(from) if !word.rebooting && answers(from) => self.stand = Stand::Goes,
            _ => {}
        }
    }

    /// Once a turn, after its words; what has changed for whoever wants to go down. `is_up`: the
    /// peer, as last heard, has every group or could keep it alone. `alone`: there is no group to
    /// be left without an owner.
    pub(super) fn tick(
        &mut self,
        me: Member,
        fresh: Span,
        is_up: bool,
        alone: bool,
        now: Mono,
    ) -> Option<Passage> {
        let silent = now.since(self.heard) >= fresh;
        if silent {
            self.away.get_or_insert(Away { since: self.heard, announced: false });
        } else if is_up && !self.announces {
            self.away = None;
        }
        let too_long = |away: Away| {
            let waits_all = away.announced || me == Member::First;
            now.since(away.since) >= if waits_all { WAIT_MAX } else { SILENT_MAX }
        };
        let stood = self.stand;
        self.stand = match (self.stand, self.away) {
            (Stand::Waits, _) if alone => Stand::Goes,
            (Stand::Waits, None) => Stand::Announces(now),
            // Who can be asked is asked, however long it has been no owner: it may want to go, too.
            (Stand::Waits, Some(away)) if too_long(away) => {
                if silent || self.announces {
                    Stand::Goes
                } else {
                    Stand::Announces(now)
                }
            }
            (Stand::Announces(_) | Stand::Asks(_), _) if silent => Stand::Waits,
            (Stand::Announces(at), _) if now >= at.after(NEXT_TURN) => {
                Stand::Asks(now.after(NEXT_TURN))
            }
            (stand, _) => stand,
        };
        self.hurries |= stood != self.stand;
        let passage = match (self.stand, self.away) {
            (Stand::Goes, _) => Passage::Free,
            (Stand::Waits, Some(away)) => Passage::Waits(away),
            _ => return None,
        };
        (self.told.replace(passage) != Some(passage)).then_some(passage)
    }
}

#[cfg(test)]
mod tests;
