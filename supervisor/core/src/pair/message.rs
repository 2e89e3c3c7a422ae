//! What nodes and witness say to each other, as values. `wire` makes bytes of them.
//!
//! There is one kind of message, the [`Beat`]: everything that its sender has to say about one
//! group. All of it but the ask and the answer is *state*, sent again with every beat, so that a
//! lost message costs a heartbeat and a repeated one changes nothing.

use serde::{Deserialize, Serialize};

use super::clock::Clocks;
use crate::time::Span;

/// One of the two nodes, by the order of their names. Where all else is equal the lower name
/// yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Member {
    /// The node whose name sorts first.
    First,
    /// The node whose name sorts last.
    Second,
}

impl Member {
    /// The other node.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Sender {
    /// A node.
    Node(Member),
    /// The witness.
    Witness,
}

/// One life of a daemon: a random number drawn at its start, never zero. A restarted or cloned node
/// is somebody else, unless it was left the memory of its former self.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Session(pub u64);

/// Whom a promise is made to: a node in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The node.
    pub member: Member,
    /// Its life.
    pub session: Session,
}

/// A number that grows with every change of owner of a group; zero is "none yet".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// No owner yet.
    pub const NONE: Self = Self(0);

    /// A number that no owner had: above the highest known one, and above the date in seconds,
    /// because a voter without a disk may have forgotten the highest.
    #[must_use]
    pub fn next(highest: Self, unix_secs: u64) -> Self {
        Self(highest.0.max(unix_secs).saturating_add(1))
    }
}

/// Names a group between machines: FNV-1a, 64 bits, of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupKey(pub u64);

/// FNV-1a, 64 bits (draft-eastlake-fnv): of a group's name, and of its definition. It tells two
/// honest texts apart; it guards against nobody.
#[must_use]
pub fn fnv1a(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// How well a node could run a group; worse ones first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Health {
    /// A check of the group is confirmed failed.
    Failed,
    /// The brain has not reported lately: a stalled disk, an overload.
    #[default]
    Unknown,
    /// A part of the machine has failed or is about to (`prefer-peer`): it serves while it lasts,
    /// and takes a group that nobody healthier takes.
    Failing,
    /// A check warns.
    Degraded,
    /// All is well.
    Healthy,
}

/// Why a node cannot take a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NotReady {
    /// It has just started, and leftovers of its former life are not yet swept.
    Starting,
    /// The brain has not reported lately.
    NoReport,
    /// A check of the group is failed.
    CheckFailed,
    /// A link that the group's addresses need is down.
    LinkDown,
    /// The other node defines the group otherwise.
    DefinitionDiffers,
    /// An operator paused it.
    Paused,
    /// The boot-loop guard lets this boot only observe.
    ObserveOnly,
    /// A failed promotion or a demotion for bad health was not long enough ago (`recover-after`).
    Recovering,
    /// It has just handed the group over and leaves it to the other node.
    Yielded,
    /// How long the other node may go on running units after it lost its lease is not known.
    PeerStopUnknown,
    /// Units that must run once cannot be guarded here: no armed watchdog and no fence agent.
    NoWatchdog,
    /// PID 1 could not start its units here, or does not say.
    Units,
    /// Its machine goes down by a rung of its ladder, or asks whether it may (I14).
    Rebooting,
    /// Something that only a later version knows: its code.
    Other(u8),
}

/// What a node is for a group, as others see it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Role {
    /// Could take it, and does not have it.
    Standby,
    /// Cannot take it now; see [`NotReady`].
    #[default]
    Waiting,
    /// A promotion failed, or something cannot be removed.
    Fault,
    /// Paused by an operator, and does not have it.
    Maintenance,
    /// Holds the lease and has not finished taking the group.
    Taking,
    /// Has it.
    Active,
    /// Is letting it go.
    Yielding,
}

/// What a node says of its own fitness for a group. Greater is fitter; the lower name yields.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Standing {
    /// Its health.
    pub health: Health,
    /// Whether the configuration prefers it; only breaks a tie.
    pub preferred: bool,
}

/// A request for a vote. The answer returns it, so that whoever asked needs no memory of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ask {
    /// For this epoch.
    pub epoch: Epoch,
    /// When it was sent, by the asker's clocks. Opaque to everybody else.
    pub sent: Clocks,
    /// How long the asker will hold if granted, from `sent`.
    pub lease: Span,
    /// How long the voter is to promise nobody else, from receipt; at most
    /// [`PROMISE_MAX`](crate::timing::PROMISE_MAX).
    pub promise: Span,
    /// Whether the asker holds the lease already: a renewal.
    pub held: bool,
}

/// The answer to one [`Ask`], whose `epoch`, `sent` and `lease` it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// As asked.
    pub epoch: Epoch,
    /// As asked.
    pub sent: Clocks,
    /// As asked.
    pub lease: Span,
    /// What the voter says.
    pub vote: Vote,
}

/// A voter's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Vote {
    /// Nobody else will be granted for the asked time.
    Granted {
        /// Whether this voter knows that the *other* node runs nothing of the group. Two voters
        /// that know it make the stop time unnecessary: nobody holds without one of them.
        peer_stopped: bool,
    },
    /// Not now.
    Busy {
        /// Time after which it is worth asking again.
        left: Span,
        /// Why.
        why: Refusal,
    },
}

/// Why a voter refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// Promised to another, who has not renewed yet.
    Promised,
    /// Promised to another, who holds.
    Held,
    /// The voter started without memory and cannot know what it promised before.
    Silent,
    /// The asker does not hear the voter: it would block the group and gain nothing.
    Unheard,
    /// The epoch is not above the highest granted one.
    Epoch,
    /// The voter is itself the fitter candidate.
    Rival,
    /// The asker released this epoch itself: a request that was late.
    Released,
}

/// "I hold nothing, run nothing and ask for nothing; and of no number up to this one I ever shall."
/// Only who is idle says it, with every beat: so it needs no acknowledgement, and a repeated one is
/// harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Release {
    /// Whose.
    pub owner: Owner,
    /// Up to and with this epoch.
    pub epoch: Epoch,
}

/// Everything that a node or the witness has to say about one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Beat {
    /// Which group.
    pub group: GroupKey,
    /// Hash of its definition; zero from the witness, which knows none.
    pub definition: u64,
    /// What the sender is for the group; of the witness always [`Role::Waiting`].
    pub role: Role,
    /// How fit it is.
    pub standing: Standing,
    /// Why it cannot take the group, if so.
    pub not_ready: Option<NotReady>,
    /// The highest epoch that the sender knows of.
    pub highest: Epoch,
    /// How long the sender's exclusive units may outlive its lease (`D`, DESIGN); `None`: not
    /// known, or none.
    pub stops_within: Option<Span>,
    /// The same of the receiver's peer: the witness repeats what it heard.
    pub peer_stops_within: Option<Span>,
    /// The sender's release, while it is idle.
    pub released: Option<Release>,
    /// The newest release of the sender's peer, carried on to a voter that may not have heard it.
    pub carried: Option<Release>,
    /// A request for a vote.
    pub ask: Option<Ask>,
    /// The answer to a request.
    pub answer: Option<Answer>,
}
