//! Whether an address can have two owners, in words, and what that rests on.

use alloc::vec::Vec;
use serde::Serialize;

use super::{Arbiter, Guard, Safety};

/// The statement on two owners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// Whether there can be two owners although all assumptions hold.
    pub two_owners_possible: bool,
    /// The statement in one sentence.
    pub statement: &'static str,
    /// What it rests on.
    pub assumes: Vec<&'static str>,
}

impl Claim {
    /// The statement for a group.
    #[must_use]
    pub fn new(arbiter: Arbiter, guard: Guard, safety: Safety) -> Self {
        let mut assumes = alloc::vec![
            "on each machine one of two clocks is right within 0.1 %: the one that counts suspend, \
             or the one that nobody corrects",
            "the clock runs while the world does; a hypervisor that stops it (suspend, snapshot, \
             migration) adds at most the rest of the lease",
            "the key is known to nobody else",
        ];
        assumes.push(match guard {
            Guard::Bpf => "nobody with root's rights detaches the guard's program",
            Guard::Nftables { .. } => {
                "nobody with root's rights flushes the guard's table, and jiffies stall for at most \
                 five ticks"
            }
            Guard::Lifetime => {
                "the kernel removes an expired address at most 2 s late, and mastiffd does not \
                 freeze right before it renews an address and die right after: that call would \
                 bring it back for one more lifetime"
            }
        });
        let (two_owners_possible, statement) = match arbiter {
            Arbiter::Witness => {
                (false, "never two owners: a node needs the vote of the peer or of the witness")
            }
            Arbiter::Fence { .. } => {
                assumes.push("a power-off that the fence agent confirms is one");
                (false, "never two owners: who takes over has seen the other one switched off")
            }
            Arbiter::Wire => {
                assumes.push("both nodes are on one LAN, and it works");
                assumes.push("the gateway answers ARP, and on that LAN only");
                (
                    true,
                    "two owners are possible: of a split LAN each side can have one; on one working \
                     LAN there are never two",
                )
            }
        };
        if let Safety::Data { .. } = safety {
            assumes.push(if matches!(arbiter, Arbiter::Fence { .. }) {
                "units start only on the node that has the lease"
            } else {
                "the watchdog resets the machine when it says; on a virtual machine that can be \
                 stopped together with its clock, only `fence` stops units"
            });
        }
        Self { two_owners_possible, statement, assumes }
    }
}
