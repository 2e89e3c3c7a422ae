//! What the configuration asks for, for one group.

use super::event::Step;
use super::message::{Epoch, GroupKey, NotReady};
use crate::time::Span;
use crate::timing::Timing;

/// How long ending connections may take: they end by themselves, later.
const CONNECTIONS_LIMIT: Span = Span::from_secs(1);

/// How much a second copy would harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Safety {
    /// Addresses, and units of which two may run: the promise is enough.
    Network,
    /// Units that must never run twice: the new owner also waits until the units of the owner
    /// before are surely gone.
    Data {
        /// Whether a fence agent is there, so that no stop time is needed.
        fenced: bool,
    },
}

/// Whether a group returns to the preferred node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failback {
    /// Not by itself.
    Never,
    /// When the preferred node has been well and ready for this long.
    After(Span),
}

/// One group as configured. Both nodes must have the same, but for `preferred`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupSpec {
    /// Its name between machines.
    pub key: GroupKey,
    /// Hash of its definition.
    pub definition: u64,
    /// Whether this node is preferred where all else is equal.
    pub preferred: bool,
    /// How much a second copy would harm.
    pub safety: Safety,
    /// Whether it returns to the preferred node.
    pub failback: Failback,
    /// Whether it has units.
    pub has_units: bool,
    /// Whether the addresses come after the units.
    pub address_after_units: bool,
    /// Whether connections with its addresses are ended before a planned change of owner.
    pub ends_connections: bool,
    /// How long a node that failed stays away.
    pub recover_after: Span,
    /// How long adding or removing addresses may take.
    pub address_limit: Span,
    /// How long the start of all units may take.
    pub start_limit: Span,
    /// How long the stop of all units may take.
    pub stop_limit: Span,
    /// How long exclusive units may outlive a lease here (`D`); `None` without an armed watchdog.
    pub stops_within: Option<Span>,
    /// The same of the peer, from the state file.
    pub peer_stops_within: Option<Span>,
    /// The highest epoch in the state file.
    pub highest: Epoch,
    /// Its timers.
    pub timing: Timing,
}

/// What of a [`GroupSpec`] may change while the group is had: where it belongs, not what it is or
/// how it is kept. No vote, lease or timer rests on it, so it moves nothing by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Hash of the group's definition. A standby with another one is not ready.
    pub definition: u64,
    /// Whether this node is preferred where all else is equal.
    pub preferred: bool,
    /// Whether it returns to the preferred node.
    pub failback: Failback,
    /// How long a node that failed stays away: from the next time on that it does.
    pub recover_after: Span,
}

impl GroupSpec {
    /// Takes other terms.
    pub const fn agree(&mut self, terms: Terms) {
        let Terms { definition, preferred, failback, recover_after } = terms;
        (self.definition, self.preferred) = (definition, preferred);
        (self.failback, self.recover_after) = (failback, recover_after);
    }

    /// The step of taking after `done`; the first for `None`.
    #[must_use]
    pub(super) const fn taking_step_after(&self, done: Option<Step>) -> Option<Step> {
        match (done, self.has_units, self.address_after_units) {
            (None, false, _) | (None, true, false) | (Some(Step::StartUnits), true, true) => {
                Some(Step::AddAddresses)
            }
            (None, true, true) | (Some(Step::AddAddresses), true, false) => Some(Step::StartUnits),
            _ => None,
        }
    }

    /// The first step of taking, or the one after `done` where there must be one.
    #[must_use]
    pub(super) fn taking_step(&self, done: Option<Step>) -> Step {
        self.taking_step_after(done).unwrap_or(Step::AddAddresses)
    }

    /// The step of yielding after `done`: taking in reverse. Connections end right before the
    /// addresses go, so that nobody has the time to make new ones.
    #[must_use]
    pub(super) const fn yielding_step_after(&self, done: Option<Step>) -> Option<Step> {
        match (done, self.has_units, self.address_after_units) {
            (Some(Step::EndConnections), _, _) => Some(Step::RemoveAddresses),
            (None, true, false) | (Some(Step::RemoveAddresses), true, true) => {
                Some(Step::StopUnits)
            }
            (None, false, _) | (None, true, true) | (Some(Step::StopUnits), true, false) => {
                Some(if self.ends_connections {
                    Step::EndConnections
                } else {
                    Step::RemoveAddresses
                })
            }
            _ => None,
        }
    }

    /// The first step of yielding.
    #[must_use]
    pub(super) fn yielding_step(&self) -> Step {
        self.yielding_step_after(None).unwrap_or(Step::RemoveAddresses)
    }

    /// How long a step may take.
    #[must_use]
    pub(super) const fn step_limit(&self, step: Step) -> Span {
        match step {
            Step::AddAddresses | Step::RemoveAddresses => self.address_limit,
            Step::EndConnections => CONNECTIONS_LIMIT,
            Step::StartUnits => self.start_limit,
            Step::StopUnits => self.stop_limit,
            // The agent has its own deadline, in the shell: an answer always comes.
            Step::Fence => Span::from_secs(3600),
        }
    }

    /// Whether units that must not run twice are in it.
    #[must_use]
    pub(super) const fn is_exclusive(&self) -> bool {
        matches!(self.safety, Safety::Data { .. })
    }

    /// Why exclusive units cannot be guarded here, if so.
    #[must_use]
    pub(super) const fn cannot_guard_units(&self, peer_stops: Option<Span>) -> Option<NotReady> {
        match (self.safety, self.stops_within, peer_stops) {
            (Safety::Data { fenced: false }, None, _) => Some(NotReady::NoWatchdog),
            (Safety::Data { fenced: false }, _, None) => Some(NotReady::PeerStopUnknown),
            _ => None,
        }
    }
}
