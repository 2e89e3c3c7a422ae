//! What the pair's core can learn, all that it can ask for, and what it tells an operator.

use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

use super::clock::Clocks;
use super::message::{Beat, Epoch, GroupKey, Health, NotReady, Role, Sender, Session};
use crate::time::{Mono, Span};

/// Something that a node's pair learns.
#[expect(clippy::large_enum_variant, reason = "the keeper allocates nothing for a message")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairEvent {
    /// A message that was authentic, in order and from a known session.
    Heard {
        /// Who sent it.
        from: Sender,
        /// In which life.
        session: Session,
        /// How long ago was sent what the sender has last heard of us; `None`: nothing yet.
        echo_age: Option<Span>,
        /// What it said.
        beat: Beat,
    },
    /// The brain's word on a group. It comes at least every [`REPORT_FRESH`]; silence is
    /// [`Health::Unknown`].
    Health {
        /// Which group.
        group: GroupKey,
        /// How well it could run, or runs, here.
        health: Health,
        /// What speaks against taking it.
        not_ready: Option<NotReady>,
    },
    /// A step ended.
    Done {
        /// Which.
        step: StepId,
        /// Whether it did what it should.
        ok: bool,
    },
    /// How long exclusive units may outlive a lease here (`D`), as read back from the watchdog;
    /// `None` without an armed one.
    StopsWithin(Option<Span>),
    /// Whether this machine is to go down by a rung of its ladder.
    Leaving(Leaving),
    /// An operator, the ladder, or the daemon itself wants something.
    Order {
        /// For which group.
        group: GroupKey,
        /// What.
        order: Order,
    },
    /// The gateway answered a question of [`PairAction::AskGateway`].
    GatewayAnswered {
        /// As asked.
        sent: Clocks,
    },
    /// Somebody answered for an address of the group ([`PairAction::ProbeAddress`]).
    AddressAnswered {
        /// Which group.
        group: GroupKey,
    },
    /// Somebody else probes for an address of the group (RFC 5227).
    ProbeSeen {
        /// Which group.
        group: GroupKey,
    },
}

/// What the ladder wants of the machine (I14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Leaving {
    /// Nothing.
    #[default]
    Stays,
    /// To go down when the peer lets it; answered by [`PairReport::WayDown`].
    Wants,
    /// It goes down, and does not ask any more.
    Goes,
}

/// How the wish to go down stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Passage {
    /// The peer knows, and stays: go.
    Free,
    /// It is waited for the peer.
    Waits(Away),
}

/// A peer that is away, or on its way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Away {
    /// Since when: its word, or the last that was heard of it.
    pub since: Mono,
    /// Whether it said so; else it is silent, or does not hear this node.
    pub announced: bool,
}

/// What can be asked of a group by people and by the rest of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Order {
    /// Hand over if the peer is ready.
    Switchover,
    /// Take over although the owner is silent. With `peer_is_off` the operator vouches that it is
    /// off and stays off.
    Failover {
        /// Stands in for the peer's vote and stop time.
        peer_is_off: bool,
    },
    /// Hand over for bad health (rung `switchover`), if the peer is ready.
    MoveAway,
    /// Let go before suspend or shutdown, whether or not the peer is ready.
    LetGo,
    /// Do not become a candidate.
    Pause,
    /// End of the pause.
    Resume,
    /// Ask for the long lease: the daemon is about to be restarted.
    PrepareRestart,
}

/// Something that takes its time, done by the shell. Answered by [`PairEvent::Done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    /// Put the addresses on their interfaces and announce them. The guard stands already.
    AddAddresses,
    /// End the connections with them while their ends can still be told. What it leaves, and
    /// whether it is done in time, changes nothing.
    EndConnections,
    /// Take them away.
    RemoveAddresses,
    /// Start the units in order.
    StartUnits,
    /// Stop them in reverse order.
    StopUnits,
    /// Cut the peer's power and confirm it.
    Fence,
}

/// Names one attempt of a step, so that the outcome of an earlier one is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepId {
    /// For which group.
    pub group: GroupKey,
    /// What is done.
    pub step: Step,
    /// Counts attempts.
    pub attempt: u32,
}

/// Something that a node's pair asks for. The shell performs actions in their order, and saves
/// what `Pair::kept` returns before the first of a turn that is more than a report: a memory older
/// than an open guard or a step under way would say that there is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairAction {
    /// Send on every path to that receiver.
    Send {
        /// To whom.
        to: Sender,
        /// What.
        beat: Beat,
    },
    /// Let traffic for the group's addresses pass until then, and no longer, whatever becomes of
    /// this daemon. Sent again with every renewal.
    OpenGuard {
        /// Which group.
        group: GroupKey,
        /// End of the lease.
        until: Clocks,
    },
    /// Let nothing pass any more, now.
    CloseGuard {
        /// Which group.
        group: GroupKey,
    },
    /// Begin a step, and leave any other step of this group that undoes it.
    Begin(StepId),
    /// Ask the gateway for a sign of life (ARP).
    AskGateway {
        /// To be returned with the answer.
        sent: Clocks,
    },
    /// Ask whether anybody has the group's addresses (RFC 5227 probe).
    ProbeAddress {
        /// Which group.
        group: GroupKey,
    },
    /// Tell the operator.
    Report(PairReport),
}

/// Actions of one turn, in order.
pub type PairActions = Vec<PairAction>;

/// Why a role changes. There is no other reason (invariant I11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// The daemon started; leftovers are swept.
    Start,
    /// The daemon was restarted and went on with the lease that was left for it.
    Resumed,
    /// No voter extended the lease.
    LeaseLost,
    /// A voter names a newer owner that holds.
    NewerOwner,
    /// The promise to the owner ran out: it is silent.
    OwnerSilent,
    /// The owner released the group.
    OwnerReleased,
    /// Nobody is known to have had it.
    NoOwner,
    /// Everything is in place.
    Taken,
    /// Everything is gone.
    Gone,
    /// A step failed or took too long.
    StepFailed,
    /// An operator's switchover.
    Switchover,
    /// Bad health here, and the peer is well and ready.
    BadHealth,
    /// The preferred node has been well for long enough.
    Failback,
    /// Suspend, shutdown or removal.
    LetGo,
    /// Nothing was had and nothing is; the node became ready, or stopped being so.
    Readiness,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Resumed => "went on with the lease of the daemon before",
            Self::LeaseLost => "no voter extended the lease",
            Self::NewerOwner => "a newer owner holds",
            Self::OwnerSilent => "the owner is silent",
            Self::OwnerReleased => "the owner released it",
            Self::NoOwner => "nobody has it",
            Self::Taken => "everything is in place",
            Self::Gone => "everything is gone",
            Self::StepFailed => "a step failed",
            Self::Switchover => "switchover by an operator",
            Self::BadHealth => "bad health",
            Self::Failback => "failback to the preferred node",
            Self::LetGo => "suspend, shutdown or removal",
            Self::Readiness => "readiness changed",
        })
    }
}

/// One thing worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PairReport {
    /// A role changed.
    Role {
        /// Of which group.
        group: GroupKey,
        /// Before.
        from: Role,
        /// Now.
        to: Role,
        /// Why.
        cause: Cause,
        /// Of the lease, if any.
        epoch: Epoch,
    },
    /// An order was not carried out.
    Refused {
        /// For which group.
        group: GroupKey,
        /// The order.
        order: Order,
        /// Why not.
        why: OrderRefused,
    },
    /// The lease goes on under a higher number: outside tokens must follow.
    Epoch {
        /// Of which group.
        group: GroupKey,
        /// The number.
        epoch: Epoch,
    },
    /// The long lease for a restart stands: the shell opens the guard for all of it, renews no
    /// more, and the daemon may stop.
    RestartReady {
        /// Of which group.
        group: GroupKey,
    },
    /// Something must go and does not: petting ends when the stop time is over.
    CannotRemove {
        /// Of which group.
        group: GroupKey,
        /// What was tried.
        step: Step,
    },
    /// How the wish to go down stands, at each change.
    WayDown(Passage),
}

/// Why an order was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderRefused {
    /// The group is not active here.
    NotActive,
    /// It is active here already.
    AlreadyActive,
    /// The peer is silent or says why it cannot take it.
    PeerNotReady(Option<NotReady>),
    /// The peer still talks: it is not off.
    PeerAlive,
    /// This node cannot take the group.
    NotReady(NotReady),
    /// Too many automatic moves lately.
    MovesTooOften,
    /// The group is just changing.
    Changing,
}

/// A word of the brain older than this counts as [`Health::Unknown`].
pub const REPORT_FRESH: Span = Span::from_secs(10);
