//! Roles, reasons and orders as an operator reads them.

use core::fmt;

use super::event::{Order, OrderRefused, Step};
use super::message::{Health, NotReady, Role};

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standby => "standby",
            Self::Waiting => "waiting",
            Self::Fault => "fault",
            Self::Maintenance => "maintenance",
            Self::Taking => "taking",
            Self::Active => "active",
            Self::Yielding => "yielding",
        })
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Failing => "failing",
            Self::Degraded => "degraded",
            Self::Healthy => "healthy",
        })
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Other(code) => {
                return write!(f, "a reason that only a later version knows ({code})");
            }
            Self::Rebooting => "its machine is rebooting",
            Self::Starting => "starting: leftovers are being removed",
            Self::NoReport => "its health is not known yet, or not any more",
            Self::CheckFailed => "a check of the group is failed",
            Self::LinkDown => "an interface of its addresses, or its guard, is missing or down",
            Self::DefinitionDiffers => "the other node defines the group otherwise",
            Self::Paused => "paused by an operator",
            Self::ObserveOnly => "this boot only observes (boot-loop guard)",
            Self::Recovering => "it failed here, and `recover-after` is not over",
            Self::Yielded => "it has just handed the group over",
            Self::PeerStopUnknown => "how long the other node needs to stop is not known",
            Self::Units => "its units could not be started here",
            Self::NoWatchdog => "no armed watchdog and no fence agent guards its units",
        })
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Switchover => "switchover",
            Self::Failover { peer_is_off: false } => "failover",
            Self::Failover { peer_is_off: true } => "failover --peer-is-off",
            Self::MoveAway => "move away",
            Self::LetGo => "let go",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::PrepareRestart => "prepare a restart",
        })
    }
}

impl fmt::Display for OrderRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotActive => f.write_str("it is not active here"),
            Self::AlreadyActive => f.write_str("it is active here already"),
            Self::PeerNotReady(None) => f.write_str("the other node is silent"),
            Self::PeerNotReady(Some(why)) => write!(f, "the other node is not ready: {why}"),
            Self::PeerAlive => f.write_str("the other node still talks: it is not off"),
            Self::NotReady(why) => write!(f, "this node is not ready: {why}"),
            Self::MovesTooOften => f.write_str("it has moved by itself too often lately"),
            Self::Changing => f.write_str("it is just changing"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddAddresses => "add the addresses",
            Self::EndConnections => "end the connections",
            Self::RemoveAddresses => "remove the addresses",
            Self::StartUnits => "start the units",
            Self::StopUnits => "stop the units",
            Self::Fence => "cut the peer's power",
        })
    }
}
