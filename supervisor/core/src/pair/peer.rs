//! The other node, as far as this one hears it.

use super::clock::Clocks;
use super::event::{Cause, REPORT_FRESH};
use super::message::{Beat, Epoch, Health, Member, NotReady, Release, Role, Standing};
use crate::time::{Mono, Span};
use crate::timing::PROMISE_MAX;
use crate::wire::SPAN_MAX;

/// What was last heard of the peer, for one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    heard: Option<Heard>,
    /// The longest stop time it ever named: a shorter one would have to be proven.
    stops_within: Option<Span>,
    released: Option<Release>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Heard {
    at: Clocks,
    hears_us: bool,
    role: Role,
    standing: Standing,
    not_ready: Option<NotReady>,
    definition: u64,
    knows_of_us: Option<Span>,
    /// Since when it has been ready without a pause.
    ready_since: Option<Mono>,
    /// Since when it has been ready and in no bad health.
    well_since: Option<Mono>,
}

/// What counts once a node has said how long its units may outlive its lease: the largest that it
/// ever said, but that nothing bounds it ([`SPAN_MAX`]) is taken back by its next word.
pub(super) fn newest_stop(known: Option<Span>, said: Option<Span>) -> Option<Span> {
    match (known, said) {
        (Some(known), Some(said)) if known >= SPAN_MAX => Some(said),
        (known, said) => known.max(said),
    }
}

impl Peer {
    /// Nothing heard yet; `stops_within` is remembered from earlier boots.
    #[must_use]
    pub const fn new(stops_within: Option<Span>) -> Self {
        Self { heard: None, stops_within, released: None }
    }

    /// It spoke. `hears_us`: it has heard this node within the lease's length.
    pub(super) fn hear(&mut self, beat: &Beat, hears_us: bool, now: Clocks) {
        let before = self.heard;
        let ready = beat.not_ready.is_none() && hears_us;
        let well = ready && beat.standing.health >= Health::Degraded;
        let since = |before: Option<Mono>| before.unwrap_or(now.boot);
        self.heard = Some(Heard {
            at: now,
            hears_us,
            role: beat.role,
            standing: beat.standing,
            not_ready: beat.not_ready,
            definition: beat.definition,
            knows_of_us: beat.peer_stops_within,
            ready_since: ready.then(|| since(before.and_then(|heard| heard.ready_since))),
            well_since: well.then(|| since(before.and_then(|heard| heard.well_since))),
        });
        self.stops_within = newest_stop(self.stops_within, beat.stops_within);
        self.released = beat.released.or(self.released);
    }

    /// A stop time of it was heard by the witness, or by a daemon before: the largest counts.
    pub(super) fn learn_stop(&mut self, span: Option<Span>) {
        self.stops_within = self.stops_within.max(span);
    }

    /// How long its exclusive units may outlive its lease; `None`: never heard.
    #[must_use]
    pub const fn stops_within(&self) -> Option<Span> {
        self.stops_within
    }

    /// Its newest release, to be carried to a voter that may not have heard it.
    #[must_use]
    pub const fn released(&self) -> Option<Release> {
        self.released
    }

    /// The stop time of this node that it reckons with.
    #[must_use]
    pub fn knows_of_us(&self) -> Option<Span> {
        self.heard.and_then(|heard| heard.knows_of_us)
    }

    /// Whether it held the lease when it was last heard.
    pub(super) fn held(&self) -> bool {
        let held = |role| matches!(role, Role::Taking | Role::Active | Role::Yielding);
        self.heard.is_some_and(|heard| held(heard.role))
    }

    /// What it said of itself within `fresh`, for status.
    pub(super) fn said(
        &self,
        fresh: Span,
        now: Clocks,
    ) -> Option<(Role, Health, Option<NotReady>)> {
        let heard = self.heard.filter(|heard| now.longest_since(heard.at) <= fresh)?;
        Some((heard.role, heard.standing.health, heard.not_ready))
    }

    /// Whether it was ever heard.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.heard.is_some()
    }

    /// Whether it was heard so lately.
    #[must_use]
    pub fn heard_within(&self, span: Span, now: Clocks) -> bool {
        self.heard.is_some_and(|heard| now.longest_since(heard.at) < span)
    }

    fn fresh(&self, limit: Span, now: Clocks) -> Option<Heard> {
        self.heard.filter(|heard| now.longest_since(heard.at) < limit)
    }

    /// Whether it could take the group now, and hears this node.
    #[must_use]
    pub fn is_ready(&self, definition: u64, limit: Span, now: Clocks) -> bool {
        self.fresh(limit, now).is_some_and(|heard| {
            heard.hears_us && heard.not_ready.is_none() && heard.definition == definition
        })
    }

    /// Whether it says that something of the group must go there and does not, although its time
    /// for that is over: it has no lease, gives no vote, and nothing but its power ends that.
    #[must_use]
    pub fn is_stuck(&self, limit: Span, now: Clocks) -> bool {
        self.fresh(limit, now).is_some_and(|heard| {
            // On its way down it says so first.
            let sweeps = matches!(heard.not_ready, Some(NotReady::Starting | NotReady::Rebooting));
            heard.role == Role::Fault && sweeps
        })
    }

    /// Why it cannot take the group, by its own word.
    #[must_use]
    pub fn not_ready(&self) -> Option<NotReady> {
        self.heard.and_then(|heard| heard.not_ready)
    }

    /// Whether it let the group go because it cannot run it, and not because somebody wanted so.
    #[must_use]
    pub fn left_in_trouble(&self) -> bool {
        use NotReady::{Paused, Rebooting, Yielded};
        let is_failing = self.standing().is_some_and(|peer| peer.health == Health::Failing);
        is_failing || !matches!(self.not_ready(), None | Some(Yielded | Paused | Rebooting))
    }

    /// Whether it has the group, or has been ready for it until its vote, which is silent after a
    /// boot (I6), is its own again: before that it might lose what it is left with.
    #[must_use]
    pub(super) fn is_up(&self, now: Clocks) -> bool {
        self.held() || self.ready_for(now) >= PROMISE_MAX
    }

    /// Its health, if it is ready.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        self.heard.map(|heard| heard.standing)
    }

    /// How long it has been ready without a pause.
    #[must_use]
    pub fn ready_for(&self, now: Clocks) -> Span {
        let since = self.heard.and_then(|heard| heard.ready_since);
        since.map_or(Span::ZERO, |since| now.boot.since(since))
    }

    /// How long it has been a better place for a group than a node in `bad` health. A peer whose
    /// own health was bad a moment ago is none: it counts from when that ended.
    #[must_use]
    pub fn better_for(&self, bad: Health, now: Clocks) -> Span {
        let Some(heard) = self.heard.filter(|heard| heard.standing.health > bad) else {
            return Span::ZERO;
        };
        let is_bad = heard.standing.health < Health::Degraded;
        let since = if is_bad { heard.ready_since } else { heard.well_since };
        since.map_or(Span::ZERO, |since| now.boot.since(since))
    }

    /// Whether it is ready, has nothing, and is the fitter one.
    #[must_use]
    pub fn is_fitter_than(&self, own: Standing, member: Member, limit: Span, now: Clocks) -> bool {
        self.fresh(limit, now).is_some_and(|heard| {
            heard.hears_us
                && heard.not_ready.is_none()
                && heard.role == Role::Standby
                && (heard.standing, member.other()) > (own, member)
        })
    }

    /// Whether it says that it cannot take the group which it was left.
    #[must_use]
    pub fn cannot_take(&self, now: Clocks) -> bool {
        self.fresh(REPORT_FRESH, now).is_some_and(|heard| {
            heard.not_ready.is_some_and(|why| why != NotReady::Yielded)
                && !matches!(heard.role, Role::Taking | Role::Active)
        })
    }

    /// Whether its definition of the group is another one. A peer that has fallen silent is not
    /// asked for ever: to wait is never an end state.
    #[must_use]
    pub fn defines_otherwise(&self, definition: u64, now: Clocks) -> bool {
        self.fresh(REPORT_FRESH, now).is_some_and(|heard| heard.definition != definition)
    }

    /// Its definition of the group, as it last said.
    #[must_use]
    pub fn definition(&self) -> Option<u64> {
        self.heard.map(|heard| heard.definition)
    }

    /// Why nobody has the group, as far as this node can tell.
    #[must_use]
    pub fn why_free(&self, now: Clocks, highest: Epoch) -> Cause {
        let released = self.released.is_some_and(|release| release.epoch >= highest);
        let heard = self.heard_within(REPORT_FRESH, now);
        match (released && heard, highest == Epoch::NONE) {
            (true, false) => Cause::OwnerReleased,
            (_, true) => Cause::NoOwner,
            (false, false) => Cause::OwnerSilent,
        }
    }
}
