//! How fit a node is for a group, as its checks tell.

use alloc::vec::Vec;

use super::Node;
use crate::check::Check;
use crate::health::Verdict;
use crate::pair::message::Health as Fitness;
use crate::time::Mono;

impl Node {
    /// How fit this node is for a group, as its checks tell.
    ///
    /// `Failed`, for which the pair moves a group, only by a check that counts for the group: on
    /// the node that has it once its ladder has tried the rung that hands over, since the rungs
    /// before it come first; elsewhere at once.
    ///
    /// `Failing` by a check that prefers the peer: the group moves to a node that is better, and
    /// this one takes it all the same if the other is gone. On the node that has the group that
    /// counts once the other one has had time to find the same. Any other trouble only breaks a
    /// tie.
    pub fn fitness(&self, group: &str, now: Mono) -> Fitness {
        if self.against(group, now).next().is_some() {
            Fitness::Failed
        } else if !self.sending_away(group, now).is_empty() {
            Fitness::Failing
        } else if self.verdict(now) == Verdict::Healthy {
            Fitness::Healthy
        } else {
            Fitness::Degraded
        }
    }

    /// The checks that make this node unfit for a group ([`Fitness::Failed`]).
    pub fn speaking_against(&self, group: &str, now: Mono) -> Vec<&str> {
        self.against(group, now).map(|check| &*check.spec.name).collect()
    }

    /// The failed checks that make the other node the better place for groups. A disk that failed
    /// and now says nothing at all is no better for that.
    pub fn sending_away(&self, group: &str, now: Mono) -> Vec<&str> {
        let is_here = self.is_active(group);
        let counts = |check: &&Check| {
            check.spec.prefer_peer
                && !self.is_paused(check, now)
                && check.health.known_failed_since().is_some_and(|since| {
                    !is_here || now.since(since) >= check.spec.hardware_shared_within()
                })
        };
        self.checks.iter().filter(counts).map(|check| &*check.spec.name).collect()
    }

    fn against(&self, group: &str, now: Mono) -> impl Iterator<Item = &Check> {
        let is_here = self.is_active(group);
        let tried = |check: &Check| {
            check.spec.handing_over().is_some_and(|rung| check.ladder.has_tried(rung))
        };
        self.checks.iter().filter(move |check| {
            check.verdict() == Verdict::Failed
                && check.spec.counts_for(group)
                && (!is_here || tried(check))
                && !self.is_paused(check, now)
        })
    }

    fn is_active(&self, group: &str) -> bool {
        self.active.iter().any(|active| **active == *group)
    }

    /// Whether a check is confirmed failed, and can be read or not.
    pub fn has_failed(&self, name: &str) -> bool {
        let failed = |check: &Check| &*check.spec.name == name && check.health.is_known_failed();
        self.checks.iter().any(failed)
    }

    fn is_paused(&self, check: &Check, now: Mono) -> bool {
        self.maintenance.covering(&check.spec.name, now).is_some()
    }
}
