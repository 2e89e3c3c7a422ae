//! The promises of the core, checked by a bookkeeping that sees everything and forgets nothing.

use std::fmt;

use mastiff_core::pair::event::{Step, StepId};
use mastiff_core::pair::lease::Lease;
use mastiff_core::pair::message::{Ask, Beat, Epoch, Member, Owner, Sender, Vote};
use mastiff_core::timing::PROMISE_MAX;

use super::machine::Node;
use super::setup::{self, nanos};

/// A promise of the core that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which, as numbered in the core's root.
    pub invariant: &'static str,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

fn holds(invariant: &'static str, holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation { invariant, what: what() }) }
}

/// Whether all is well.
pub type Verdict = Result<(), Violation>;

/// What a voter said, whether or not it remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Promised {
    /// The voter.
    pub voter: Sender,
    /// Whom it promised.
    pub owner: Owner,
    /// For which epoch.
    epoch: Epoch,
    /// Up to then, in nanoseconds of the world.
    pub until: i64,
}

/// All that was said and done and still matters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ghost {
    promises: Vec<Promised>,
    /// What was released, by each owner ever.
    released: Vec<(Owner, Epoch)>,
    /// The highest epoch that was held, and by whom.
    highest: Option<(Epoch, Owner)>,
    /// When each node's newest lease ends, in nanoseconds of the world.
    lease_end: [Option<i64>; 2],
}

const fn index(member: Member) -> usize {
    match member {
        Member::First => 0,
        Member::Second => 1,
    }
}

impl Ghost {
    /// Promises that bind at a time.
    pub fn promises(&self, at: i64) -> impl Iterator<Item = &Promised> {
        self.promises.iter().filter(move |promise| promise.until > at)
    }

    /// What no longer binds is forgotten.
    pub fn end_tick(&mut self, tick: u32) {
        self.promises.retain(|promise| promise.until > nanos(tick));
        self.promises.sort_unstable();
    }

    /// What a node is about to send.
    pub fn says(&mut self, node: &Node, beat: &Beat) -> Verdict {
        let from = node.member;
        if let Some(release) = beat.released {
            holds("I9", node.kernel.is_clean(), || {
                format!("{from:?} says that it released, and has {:?}", node.kernel)
            })?;
            self.release(release.owner, release.epoch);
        }
        if let Some(ask) = &beat.ask {
            let released = self.has_released(node.owner());
            holds("I9", released.is_none_or(|epoch| ask.epoch > epoch), || {
                format!("{from:?} asks for {:?}, which it released", ask.epoch)
            })?;
        }
        Ok(())
    }

    fn has_released(&self, owner: Owner) -> Option<Epoch> {
        self.released.iter().find(|(known, _)| *known == owner).map(|(_, epoch)| *epoch)
    }

    fn release(&mut self, owner: Owner, epoch: Epoch) {
        self.promises.retain(|promise| promise.owner != owner || promise.epoch > epoch);
        match self.released.iter_mut().find(|(known, _)| *known == owner) {
            Some((_, known)) => *known = (*known).max(epoch),
            None => {
                self.released.push((owner, epoch));
                self.released.sort_unstable();
            }
        }
    }

    /// A voter answers an owner that asked.
    pub fn answers(
        &mut self,
        voter: Sender,
        node: Option<&Node>,
        asker: Owner,
        ask: &Ask,
        vote: Vote,
        at: i64,
    ) -> Verdict {
        let Vote::Granted { .. } = vote else { return Ok(()) };
        self.promised_to_nobody_but(voter, asker, at)?;
        if let Some(node) = node {
            holds("I7", node.kernel.is_clean(), || {
                format!("{voter:?} votes for {asker:?} and has {:?}", node.kernel)
            })?;
        }
        // A request that its own release has overtaken binds nobody.
        if self.has_released(asker).is_some_and(|epoch| ask.epoch <= epoch) {
            return Ok(());
        }
        let length = ask.promise.min(PROMISE_MAX).as_nanos().cast_signed();
        let until = at.saturating_add(length);
        self.promises.push(Promised { voter, owner: asker, epoch: ask.epoch, until });
        Ok(())
    }

    fn promised_to_nobody_but(&self, voter: Sender, owner: Owner, at: i64) -> Verdict {
        match self.promises(at).find(|known| known.voter == voter && known.owner != owner) {
            None => Ok(()),
            Some(known) => Err(Violation {
                invariant: "I5/I6",
                what: format!("{voter:?} votes for {owner:?}, and has promised: {known:?}"),
            }),
        }
    }

    /// After a turn of a node's daemon, which held `before` it.
    pub fn after_turn(&mut self, node: &Node, before: Option<Lease>, at: i64) -> Verdict {
        let lease = node.group().and_then(|group| group.lease()).copied();
        let member = node.member;
        let was_over = before.is_some_and(|before| node.in_world(before.end()) <= at);
        holds("I4", !was_over || lease.is_none(), || {
            format!("{member:?}'s lease was over and is there again")
        })?;
        match lease {
            Some(lease) => {
                let end = node.in_world(lease.end());
                if let Some(known) = self.lease_end.get_mut(index(member)) {
                    *known = Some(end);
                }
                self.holds_epoch(node.owner(), lease.epoch)?;
                if lease.own_vote {
                    self.promised_to_nobody_but(node.sender(), node.owner(), at)?;
                }
                holds("I3", node.kernel.guard.is_none_or(|until| until <= end), || {
                    format!("{member:?}'s guard is open beyond its lease: {:?}", node.kernel)
                })
            }
            None => {
                if node.kernel.is_clean()
                    && let Some(end) = self.lease_end.get_mut(index(member))
                {
                    *end = None;
                }
                holds("I3", node.kernel.guard.is_none(), || {
                    format!("{member:?}'s guard is open without a lease: {:?}", node.kernel)
                })
            }
        }
    }

    fn holds_epoch(&mut self, owner: Owner, epoch: Epoch) -> Verdict {
        if let Some((highest, by)) = self.highest {
            let grew = epoch > highest || (by == owner && epoch == highest);
            holds("I8", grew, || format!("{owner:?} holds {epoch:?}, {by:?} had {highest:?}"))?;
        }
        self.highest = Some((epoch, owner));
        Ok(())
    }

    /// A step begins.
    pub fn begins(node: &Node, id: StepId, at: i64) -> Verdict {
        let adds = id.step == Step::AddAddresses;
        holds("I3", !adds || node.kernel.guard.is_some_and(|until| at < until), || {
            format!("{:?} adds addresses without a guard", node.member)
        })
    }

    /// A node pets its watchdog.
    pub fn pets(&self, node: &Node, at: i64) -> Verdict {
        let holding = node.group().is_some_and(|group| group.lease().is_some());
        let has = node.kernel.addresses || node.kernel.units;
        let end = self.lease_end.get(index(node.member)).copied().flatten();
        let limit = setup::group(false).0.stop_limit.as_nanos().cast_signed();
        let overdue = end.is_some_and(|end| at.saturating_sub(end) > limit);
        holds("I13", holding || !has || !overdue, || {
            format!("{:?} pets and has {:?} without a lease", node.member, node.kernel)
        })
    }
}

/// What the world may never look like, after any action.
pub fn one_owner(nodes: [&Node; 2], data: bool, at: i64) -> Verdict {
    let both = |has: &dyn Fn(&Node) -> bool| nodes.iter().all(|node| has(node));
    let kernels = || nodes.map(|node| (node.member, node.kernel));
    holds("I1", !both(&|node| node.kernel.passes(at)), || {
        format!("both kernels pass traffic: {:?}", kernels())
    })?;
    holds("I2", !data || !both(&|node| node.kernel.units), || {
        format!("units run on both: {:?}", kernels())
    })
}
