//! How fit this node is for a group, and when a fit group moves by itself.

use serde::{Deserialize, Serialize};

use super::clock::Clocks;
use super::event::REPORT_FRESH;
use super::message::{Health, NotReady};
use crate::time::{Mono, Span};

/// Automatic moves of one group, away from this node or to it, within [`MOVES_WITHIN`]; after them
/// it stays where it is unless its owner dies. A group that moves more often is worse off than one
/// on a bad node.
pub const MOVES_MAX: usize = 3;
/// See [`MOVES_MAX`].
pub const MOVES_WITHIN: Span = Span::from_secs(600);

/// How long an owner bears with a link that it has lost, and how long its peer must have been ready
/// by then: a switch that fails, or comes back, does so for both nodes, but Linux may tell
/// of a lost carrier up to a second late (linkwatch_schedule_work(), net/core/link_watch.c).
pub const LINK_SETTLES: Span = Span::from_millis(1500);

/// How long a peer must have been ready before an owner in bad health leaves the group to it by
/// itself. A fault that both nodes share ends on one of them first, by as much as their checks are
/// apart: an interval, which is 10 s or less for most. The rung `switchover` does not wait for it.
pub const HEALTH_SETTLES: Span = Span::from_secs(15);

/// The same for an owner with failing hardware. Such checks are read once a minute or more often:
/// what fails on both nodes, as the cooling of the room may, ends on them by so much apart.
pub const HARDWARE_SETTLES: Span = Span::from_secs(65);

/// The brain's newest word on a group, and what else speaks against taking it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fitness {
    /// When the daemon started: its brain has so much time for a first word.
    started: Clocks,
    report: Option<Report>,
    /// Since when its links are lost, or what guards them.
    link_down: Option<Mono>,
    /// An operator paused it.
    pub paused: bool,
    /// It was let go before a suspend or the end of the daemon: not ready until that is over.
    pub let_go: bool,
    /// Not ready before then: a demotion for bad health or a failed promotion.
    recovering_until: Option<Mono>,
    /// The latest automatic moves, oldest first.
    moves: [Option<Mono>; MOVES_MAX],
    /// The group was left to this node while hardware failed here: when that was last so.
    #[serde(default)]
    left_failing: Option<Mono>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Report {
    at: Clocks,
    health: Health,
    not_ready: Option<NotReady>,
}

impl Fitness {
    /// Nothing known yet.
    #[must_use]
    pub const fn new(now: Clocks) -> Self {
        Self {
            started: now,
            report: None,
            link_down: None,
            paused: false,
            let_go: false,
            recovering_until: None,
            moves: [None; MOVES_MAX],
            left_failing: None,
        }
    }

    /// The brain reported.
    pub const fn report(&mut self, health: Health, not_ready: Option<NotReady>, now: Clocks) {
        self.report = Some(Report { at: now, health, not_ready });
        self.link_down = match (not_ready, self.link_down) {
            (Some(NotReady::LinkDown), None) => Some(now.boot),
            (Some(NotReady::LinkDown), since) => since,
            _ => None,
        };
    }

    /// As a restarted daemon goes on: the last word on its health holds until the brain has had
    /// time for the first one of its own, or a restart would look like bad health. To take a group
    /// it waits for that word.
    #[must_use]
    pub fn resumed(mut self, now: Clocks) -> Self {
        self.started = now;
        self.let_go = false;
        self.link_down = None;
        if let Some(report) = &mut self.report {
            report.at = now;
            report.not_ready = report.not_ready.or(Some(NotReady::NoReport));
        }
        self
    }

    fn fresh(&self, now: Clocks) -> Option<Report> {
        self.report.filter(|report| now.longest_since(report.at) < REPORT_FRESH)
    }

    /// Health, as far as it is known *now*: an old word is none.
    #[must_use]
    pub fn health(&self, now: Clocks) -> Health {
        self.fresh(now).map_or(Health::Unknown, |report| report.health)
    }

    /// Health so bad, or unknown for so long, that the group may be better off elsewhere.
    #[must_use]
    pub fn bad_health(&self, now: Clocks) -> Option<Health> {
        let too_early = self.report.is_none() && now.longest_since(self.started) < REPORT_FRESH;
        let health = self.health(now);
        (health < Health::Degraded && !too_early).then_some(health)
    }

    /// Whether the group's links are lost for good: nobody reaches its addresses here, or nothing
    /// would take them away.
    #[must_use]
    pub fn has_lost_link(&self, now: Clocks) -> bool {
        self.link_down.is_some_and(|since| now.boot.since(since) >= LINK_SETTLES)
    }

    /// What of this node's own speaks against taking the group.
    #[must_use]
    pub fn not_ready(&self, now: Clocks) -> Option<NotReady> {
        if self.paused || self.let_go {
            return Some(NotReady::Paused);
        }
        let Some(report) = self.fresh(now) else {
            return Some(NotReady::NoReport);
        };
        let failed = (report.health == Health::Failed).then_some(NotReady::CheckFailed);
        report.not_ready.or(failed).or(self.is_recovering(now).then_some(NotReady::Recovering))
    }

    /// It failed here: leave it to the other node for a while.
    pub const fn recover_until(&mut self, until: Mono) {
        self.recovering_until = Some(until);
    }

    /// Whether a failure here is not long enough ago.
    #[must_use]
    pub fn is_recovering(&self, now: Clocks) -> bool {
        self.recovering_until.is_some_and(|until| now.boot < until)
    }

    /// Whether the group has moved by itself too often lately.
    #[must_use]
    pub fn moves_too_often(&self, now: Clocks) -> bool {
        self.moves.iter().all(|at| at.is_some_and(|at| now.boot.since(at) < MOVES_WITHIN))
    }

    /// This node takes the group: somebody left it, or nobody had it any more.
    pub fn taken(&mut self, is_left: bool, now: Clocks) {
        let is_failing = self.health(now) == Health::Failing;
        self.left_failing = (is_left && is_failing).then_some(now.boot);
    }

    /// Whether the group was left to this node although hardware failed here, and that has not been
    /// well for [`MOVES_WITHIN`] since. What is wrong with the group may not be seen on the other
    /// node, whose check of it rests, and an operator has reasons: it does not go back for that.
    pub fn was_left_failing(&mut self, now: Clocks) -> bool {
        let is_failing = self.health(now) == Health::Failing;
        self.left_failing = match self.left_failing {
            Some(_) if is_failing => Some(now.boot),
            last => last.filter(|at| now.boot.since(*at) < MOVES_WITHIN),
        };
        self.left_failing.is_some()
    }

    /// The group moved by itself, away from this node or to it.
    pub fn moved(&mut self, now: Clocks) {
        self.moves.rotate_left(1);
        if let Some(last) = self.moves.last_mut() {
            *last = Some(now.boot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Clocks {
        Clocks::ZERO.after(Span::from_secs(secs))
    }

    fn fit() -> Fitness {
        let mut fitness = Fitness::new(Clocks::ZERO);
        fitness.report(Health::Healthy, None, at(100));
        fitness
    }

    #[test]
    fn an_old_word_of_the_brain_is_none() {
        assert_eq!(Fitness::new(Clocks::ZERO).not_ready(at(0)), Some(NotReady::NoReport));
        let fitness = fit();
        assert_eq!((fitness.health(at(109)), fitness.not_ready(at(109))), (Health::Healthy, None));
        assert_eq!(fitness.health(at(110)), Health::Unknown);
        assert_eq!(fitness.not_ready(at(110)), Some(NotReady::NoReport));
        // What is stale by one clock is stale.
        let slept = Clocks { boot: at(110).boot, raw: at(101).raw };
        assert_eq!(fitness.health(slept), Health::Unknown);
    }

    #[test]
    fn what_speaks_against_a_node_has_an_order() {
        let now = at(101);
        let mut fitness = fit();
        fitness.recover_until(at(150).boot);
        assert_eq!(fitness.not_ready(now), Some(NotReady::Recovering));
        fitness.report(Health::Failed, None, now);
        assert_eq!(fitness.not_ready(now), Some(NotReady::CheckFailed));
        fitness.report(Health::Failed, Some(NotReady::LinkDown), now);
        assert_eq!(fitness.not_ready(now), Some(NotReady::LinkDown));
        fitness.paused = true;
        assert_eq!(fitness.not_ready(now), Some(NotReady::Paused));
    }

    #[test]
    fn a_link_is_lost_for_good_only_after_a_while() {
        let mut fitness = fit();
        let down = |fitness: &mut Fitness, millis| {
            let now = Clocks::ZERO.after(Span::from_millis(millis));
            fitness.report(Health::Healthy, Some(NotReady::LinkDown), now);
            fitness.has_lost_link(now)
        };
        assert!(!down(&mut fitness, 101_000) && !down(&mut fitness, 102_499));
        assert!(down(&mut fitness, 102_500));
        fitness.report(Health::Healthy, None, at(103));
        assert!(!fitness.has_lost_link(at(110)), "it is back");
        assert!(!down(&mut fitness, 111_000));
        let mut after = fitness.resumed(at(115));
        assert!(!after.has_lost_link(at(115)), "a restart begins anew");
        assert!(!down(&mut after, 116_000) && down(&mut after, 117_500));
    }

    #[test]
    fn a_failure_keeps_a_node_away_until_it_is_over() {
        let mut fitness = fit();
        fitness.recover_until(at(105).boot);
        assert_eq!(fitness.not_ready(at(104)), Some(NotReady::Recovering));
        assert_eq!(fitness.not_ready(at(105)), None);
    }

    #[test]
    fn a_restart_forgets_nothing_and_is_no_bad_health() {
        let mut before = fit();
        before.moved(at(101));
        (before.paused, before.let_go) = (true, true);
        let after = before.clone().resumed(at(130));
        assert_eq!((after.health(at(139)), after.paused), (Health::Healthy, true));
        assert!(!after.let_go, "the end that it was let go for is over");
        assert_eq!(after.moves, before.moves);
        let after = fit().resumed(at(130));
        assert_eq!(after.not_ready(at(131)), Some(NotReady::NoReport));
        assert_eq!(after.health(at(140)), Health::Unknown);
    }

    #[test]
    fn three_moves_in_ten_minutes_are_enough_and_are_forgotten_one_by_one() {
        let mut fitness = fit();
        for secs in [0, 200, 400] {
            assert!(!fitness.moves_too_often(at(secs)), "{secs}");
            fitness.moved(at(secs));
        }
        for (secs, too_often) in [(400, true), (599, true), (600, false)] {
            assert_eq!(fitness.moves_too_often(at(secs)), too_often, "{secs}");
        }
        fitness.moved(at(600));
        assert!(fitness.moves_too_often(at(799)));
        assert!(!fitness.moves_too_often(at(800)));
    }
}
