//! What is asked of the lanes, and for what.

use mastiff_core::event::CheckId;
use mastiff_core::pair::event::StepId;
use mastiff_core::pair::message::GroupKey;
use mastiff_core::reboot::Stage;
use mastiff_core::recovery::ActionId;

use crate::brain::units::Call;

/// What an answer of the lanes is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A reading.
    Check(CheckId),
    /// The state of units.
    Units,
    /// An attempt of a rung.
    Effect(ActionId),
    /// An alert hook.
    Alert,
    /// The state file.
    State,
    /// The flight record.
    Flight,
    /// Whether the machine goes down.
    GoingDown,
    /// The configuration file.
    Reload,
    /// The same, as the daemon after this one will find it.
    NextConfig,
    /// A fence agent.
    Fence,
    /// A call about the units of a group.
    GroupUnits(StepId, Call),
    /// A program that is told of a change of role.
    Hook,
    /// Units that are to be loaded again.
    Gates,
    /// Whether the units of a group could be started.
    Readiness(GroupKey),
    /// The boot-loop guard's file.
    BootLoop,
    /// A stage of the way down.
    Going(Stage),
}
