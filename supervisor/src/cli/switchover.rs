//! `mastiff switchover` and `mastiff failover`: a group moves because an operator wants it.

use std::time::Duration;

use super::failure::Failure;
use super::{Context, confirm};
use crate::config::pair::GroupConfig;
use crate::control::Request;

/// The daemon gives an order 15 s to come to something (a failover waits out a promise of 10 s at
/// most), and the time of the group's units, and then says so: its answer is worth waiting for.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The same with the units of the slowest group, as far as the file is known here.
fn patience(context: &Context) -> Duration {
    let config = context.load().ok();
    let groups = config.iter().flat_map(|config| &config.pair).flat_map(|pair| &pair.groups);
    let units = groups.map(GroupConfig::move_time).max().unwrap_or_default();
    PATIENCE.saturating_add(Duration::from_nanos(units.as_nanos()))
}

/// Hand a group over to the other node, which must be ready
#[derive(Debug, clap::Args)]
#[command(after_help = "\
To be run on the node that has the group. It takes milliseconds: this node lets
everything go and says so, and the other one need not wait for a lease to end.
If the other node is silent or not ready, nothing happens, and the reason is
printed. `mastiff status` shows whether it is.

Examples:
  mastiff switchover
  mastiff switchover web")]
pub(super) struct Switchover {
    /// The group [default: the only one]
    #[arg(value_name = "GROUP")]
    group: Option<String>,
}

/// Take a group whose owner is silent
#[derive(Debug, clap::Args)]
#[command(after_help = "\
To be run on the node that shall have the group. It is never needed where two
votes of three are there: then the standby takes over by itself.

It asks anew at once, and waits until what was promised to the owner has run
out. Where a vote is missing, because the witness and the other node are both
silent, it needs your word: --peer-is-off says that the other node is off and
stays off. That word stands in for its vote until a voter is heard again. If it
is wrong, both nodes have the addresses, and units run twice.

Examples:
  mastiff failover
  mastiff failover web --peer-is-off")]
pub(super) struct Failover {
    /// The group [default: the only one]
    #[arg(value_name = "GROUP")]
    group: Option<String>,
    /// You vouch that the other node is off and stays off
    #[arg(long)]
    peer_is_off: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

const VOUCH: &str = "\
You vouch that the other node is off, and stays off until it can reach this one or the witness.
If it is not, both nodes will have the group's addresses, and its units will run twice.";

pub(super) fn switchover(context: &Context, arguments: &Switchover) -> Result<u8, Failure> {
    let request = Request::Switchover { group: arguments.group.clone() };
    context.order_within(patience(context), &request, Failure::Refused)
}

pub(super) fn failover(context: &Context, arguments: &Failover) -> Result<u8, Failure> {
    if arguments.peer_is_off && !arguments.yes {
        confirm::confirm(&context.out.wrap(VOUCH, 0))?;
    }
    let Failover { group, peer_is_off, .. } = arguments;
    let request = Request::Failover { group: group.clone(), peer_is_off: *peer_is_off };
    context.order_within(patience(context), &request, Failure::Refused)
}
