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
                (false, "Never two owners: a node needs the vote of the peer or of the witness")
            }
            Arbiter::Fence { .. } => {
                (false, "Never two owners: who takes over has seen the other one switched off")
            }
            Arbiter::Wire => {
                assumes.push("the gateway answers ARP, on one LAN with both nodes");
                (
                    true,
                    "Two owners are possible: of a split LAN each side can have one; on one working \
                     LAN there are never two",
                )
            }
        };
        let by_watchdog = matches!(safety, Safety::Data { watchdog: Some(_), .. });
        let by_fence = matches!(safety, Safety::Data { watchdog: None, .. });
        if matches!(arbiter, Arbiter::Fence { .. }) || by_fence {
            assumes.push("a power-off that the fence agent confirms is one");
        } else if by_watchdog {
            assumes.push(
                "the watchdog resets the machine when it says; on a virtual machine that can be \
                 stopped together with its clock only a fence agent stops units",
            );
        }
        Self { two_owners_possible, statement, assumes }
    }
}
