//! What a client of the control socket may ask, and the answers.

use mastiff_core::health::Verdict;
use mastiff_core::maintenance::Pause;
use mastiff_core::pair::event::Order;
use mastiff_core::time::{Mono, Span};

use super::Brain;
use super::clients::{Asked, Who};
use super::reloading::{TRIAL_MAX, TRIAL_MIN};
use crate::control::{Answer, EventView, Lateness, Request, Status};
use crate::journal;

/// Characters of a pause's reason.
const WHY_CHARS_MAX: usize = 200;
/// Checks that the one-line summary names.
const SUMMARY_NAMES_MAX: usize = 3;
/// The longest number of seconds that still is a length of time here.
const SECONDS_MAX: f64 = 1e9;

impl Brain {
    /// Answers one request.
    pub(super) fn obey(&mut self, asked: Asked, now: Mono) {
        let Asked { client, who, request } = asked;
        let answer = match request {
            Err(why) => Answer::Error(why),
            Ok(_) if self.ending.is_some() => Answer::Error("mastiffd is stopping".to_string()),
            Ok(request) if changes_something(&request) && !who.may_act => {
                Answer::Error(format!("{} may look, but only root may change something", who.name))
            }
            Ok(Request::Reload { confirm_secs }) => match trial(confirm_secs) {
                Ok(trial) => {
                    self.reload(Some(client), trial, now);
                    return; // answered when it is done
                }
                Err(why) => Answer::Error(why),
            },
            Ok(Request::ConfirmReload {}) => self.confirm_reload(),
            Ok(Request::Events { last, follow }) => {
                let next = self.events.next();
                let last: Vec<EventView> =
                    self.events.last(last.unwrap_or(usize::MAX)).cloned().collect();
                self.clients.answer(client, &Answer::Events(last));
                if follow {
                    self.clients.follow(client, next);
                }
                return;
            }
            Ok(Request::Status {}) => Answer::Status(Box::new(self.status(now))),
            Ok(Request::Explain { check }) => match self.node.view(&check, now) {
                Some(view) => Answer::Check(Box::new(view)),
                None => Answer::Error(format!(
                    "there is no check \"{check}\"; `mastiff status` lists them"
                )),
            },
            Ok(Request::Pause { check, for_secs, why }) => {
                self.pause(check, for_secs, &why, &who, now)
            }
            Ok(Request::Resume { check }) => self.resume(check.as_deref(), now),
            Ok(Request::Prove {}) => self.prove(now),
            Ok(Request::GoDown { how }) => {
                let how: String =
                    how.chars().filter(|c| !c.is_control()).take(WHY_CHARS_MAX).collect();
                self.go_down(&how, now)
            }
            Ok(Request::ClearBootLoopGuard {}) => self.clear_boot_loop(&who.name, now),
            Ok(Request::Switchover { group }) => {
                match self.order(client, group.as_deref(), Order::Switchover, now) {
                    Some(answer) => answer,
                    None => return, // answered when the group is gone
                }
            }
            Ok(Request::Failover { group, peer_is_off }) => {
                match self.order(client, group.as_deref(), Order::Failover { peer_is_off }, now) {
                    Some(answer) => answer,
                    None => return,
                }
            }
        };
        self.clients.answer(client, &answer);
    }

    fn pause(
        &mut self,
        check: Option<String>,
        for_secs: f64,
        why: &str,
        who: &Who,
        now: Mono,
    ) -> Answer {
        let Some(span) = seconds(for_secs) else {
            return Answer::Error("for_secs must be a positive number of seconds".to_string());
        };
        let clean: String = why.chars().filter(|c| !c.is_control()).take(WHY_CHARS_MAX).collect();
        if clean.trim().is_empty() {
            return Answer::Error("say why, so that others know".to_string());
        }
        let scope = check.clone().unwrap_or_else(|| "the whole node".to_string());
        let pause = Pause {
            check: check.map(Into::into),
            until: now.after(span),
            why: clean.into(),
            who: who.name.as_str().into(),
        };
        let mut actions = Vec::new();
        let answer = match self.node.pause(pause, now, &mut actions) {
            Ok(()) => Answer::Done(format!("{scope} is paused for {span}; it ends by itself")),
            Err(error) => Answer::Error(format!("cannot pause {scope}: {error}")),
        };
        self.perform(actions, now);
        answer
    }

    fn resume(&mut self, check: Option<&str>, now: Mono) -> Answer {
        let mut actions = Vec::new();
        let scope = check.unwrap_or("the whole node");
        let answer = match self.node.resume(check, &mut actions) {
            Ok(()) => Answer::Done(match check.and_then(|name| self.node.view(name, now)) {
                Some(view) if view.paused.is_some() => {
                    format!("the pause of {scope} is over, but the whole node is still paused")
                }
                Some(_) | None => format!("{scope} is watched again"),
            }),
            Err(error) => Answer::Error(format!("cannot resume {scope}: {error}")),
        };
        self.perform(actions, now);
        answer
    }

    fn status(&mut self, now: Mono) -> Status {
        Status {
            node: self.config.node.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            pid: std::process::id(),
            up_secs: now.since(self.started).as_secs_f64(),
            config: self.config_path.display().to_string(),
            verdict: self.node.verdict(now),
            summary: self.summary(now),
            ready: self.ready,
            checks: self.node.views(now),
            pauses: self.node.pauses(now),
            boot_loop: Some(self.boot_loop_status(now)),
            trial_left_secs: self.reloading.trial_left(now).map(|left| left.as_secs_f64()),
            going: self.going_reason(now),
            pair: self.pair_status(now),
            watchdog: self.watchdog_status(now),
            lateness: self.lateness(now),
            counters: self.counters(),
        }
    }

    fn lateness(&mut self, now: Mono) -> Lateness {
        let millis = |span: Span| span.as_secs_f64() * 1000.0;
        match self.keeper.latest() {
            Some(report) => Lateness {
                keeper_max_ms: millis(report.late_max),
                keeper_worst_ms: millis(report.late_worst),
                keeper_age_ms: millis(now.since(report.at)),
            },
            None => {
                Lateness { keeper_age_ms: millis(now.since(self.started)), ..Lateness::default() }
            }
        }
    }

    fn counters(&self) -> Vec<(String, u64)> {
        let (lanes, stuck, heartbeats_ignored) = self.probes.counters();
        let (alerts_dropped, alerts_delivered) = self.alerts.counts();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let pair = self.keeper.board().counts;
        [
            ("events", self.events.next()),
            ("alerts-waiting", count(self.alerts.waiting().count())),
            ("alerts-delivered", alerts_delivered),
            ("alerts-dropped", alerts_dropped),
            ("flight-writes", self.flight.counters().writes),
            ("flight-records-dropped", self.flight.counters().dropped),
            ("flight-words-lost", self.flight.counters().words_lost),
            ("processes-stuck", count(stuck)),
            ("probers-abandoned", lanes.probers_abandoned),
            ("probers-died", lanes.probers_died),
            ("runners-died", lanes.runners_died),
            ("readings-refused", lanes.refused),
            ("heartbeats-ignored", heartbeats_ignored),
            ("requests-refused", self.clients.refused()),
            ("health-reports-lost", self.keeper.lost()),
            ("log-lines-dropped", journal::dropped()),
            ("pair-messages-refused", pair.refused),
            ("pair-messages-unsent", pair.unsent),
            ("pair-jobs-lost", pair.jobs_lost),
            ("pair-news-lost", pair.news_lost),
            ("guard-lapses", pair.lapses),
            ("late-demotions", pair.late_demotions),
        ]
        .map(|(name, number)| (name.to_string(), number))
        .to_vec()
    }

    /// How the node stands, in one line for systemd and `mastiff status`.
    pub(super) fn summary(&self, now: Mono) -> String {
        let health = self.health_summary(now);
        let observes =
            if self.boot_loop.observes() { "OBSERVES ONLY (boot-loop guard), " } else { "" };
        match self.going_reason(now) {
            Some(going) if self.going.is_on() => {
                format!("GOING DOWN ({going}), {observes}{health}")
            }
            Some(going) => format!("WANTS TO GO DOWN ({going}), {observes}{health}"),
            None => format!("{observes}{health}"),
        }
    }

    fn health_summary(&self, now: Mono) -> String {
        let [healthy, degraded, unknown, failed] = self.node.counts();
        let all = healthy + degraded + unknown + failed;
        let paused = if self.node.pauses(now).is_empty() { "" } else { ", maintenance" };
        if healthy == all {
            return format!("healthy: {all} checks{paused}");
        }
        let counts =
            [(failed, Verdict::Failed), (unknown, Verdict::Unknown), (degraded, Verdict::Degraded)];
        let words: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, verdict)| format!("{count} {verdict}"))
            .collect();
        let names = self.node.worst(SUMMARY_NAMES_MAX).join(", ");
        format!("{} of {all} checks{paused}: {names}", words.join(", "))
    }
}

fn changes_something(request: &Request) -> bool {
    match request {
        Request::Pause { .. } | Request::Resume { .. } => true,
        Request::Reload { .. } | Request::ConfirmReload {} => true,
        Request::ClearBootLoopGuard {} => true,
        Request::Switchover { .. } | Request::Failover { .. } => true,
        Request::Prove {} | Request::GoDown { .. } => true,
        Request::Status {} | Request::Explain { .. } | Request::Events { .. } => false,
    }
}

/// How long a configuration is on trial; `None`: it is not.
fn trial(confirm_secs: Option<f64>) -> Result<Option<Span>, String> {
    let Some(secs) = confirm_secs else { return Ok(None) };
    let span = seconds(secs).filter(|span| (TRIAL_MIN..=TRIAL_MAX).contains(span));
    span.map(Some).ok_or_else(|| format!("confirm must be between {TRIAL_MIN} and {TRIAL_MAX}"))
}

/// A length of time from a number that came from outside.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be in range"
)]
fn seconds(number: f64) -> Option<Span> {
    let in_range = number.is_finite() && number > 0.0 && number < SECONDS_MAX;
    in_range.then(|| Span::from_millis((number * 1000.0) as u64))
}
