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

    /// The failed checks that make the other node the better place for a group.
    pub fn sending_away(&self, group: &str, now: Mono) -> Vec<&str> {
        let is_here = self.is_active(group);
        let is_old = |check: &Check| now.since(check.health.since()) >= check.spec.shared_within();
        let failed = self.failed(now).filter(|check| check.spec.sends_away(group));
        failed.filter(|check| !is_here || is_old(check)).map(|check| &*check.spec.name).collect()
    }

    fn against(&self, group: &str, now: Mono) -> impl Iterator<Item = &Check> {
        let is_here = self.is_active(group);
        let tried = |check: &Check| {
            check.spec.handing_over().is_some_and(|rung| check.ladder.has_tried(rung))
        };
        self.failed(now)
            .filter(move |check| check.spec.counts_for(group) && (!is_here || tried(check)))
    }

    fn is_active(&self, group: &str) -> bool {
        self.active.iter().any(|active| **active == *group)
    }

    /// The failed checks that nobody has paused.
    fn failed(&self, now: Mono) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| {
            check.verdict() == Verdict::Failed
                && self.maintenance.covering(&check.spec.name, now).is_none()
        })
    }
}
