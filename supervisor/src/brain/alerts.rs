//! Alerts on their way to the hooks: a bounded queue that survives a restart.
//!
//! A hook is a program. It gets the alert as JSON on its standard input and in its environment, one
//! alert after the other in the order of events, and is tried again with growing patience when it
//! fails. Meanwhile the other hooks get theirs: a mail server that is down holds up no pager.

use std::collections::VecDeque;

use mastiff_core::event::Alert;
use mastiff_core::sorted::Map;
use mastiff_core::time::{Mono, Span};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::config::AlertConfig;
use crate::probes::wire::{OUTPUT_BYTES, Run};

/// Alerts that may wait. Beyond that the oldest are dropped, and said to be.
pub const ALERTS_MAX: usize = 100;
/// Bytes of a text in an alert; reasons come from sensors, and a plugin may talk.
const TEXT_BYTES_MAX: usize = 500;
/// Tries of one alert at one hook. With the waits between them they span about an hour.
const TRIES_MAX: u32 = 8;
/// The wait after the first failed try; it doubles with each further one.
const RETRY_FIRST: Span = Span::from_secs(30);

/// One alert for one hook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queued {
    alert: Alert,
    node: String,
    at_unix_ms: u64,
    /// The hook as it was configured when the alert arose: a hook that is gone gets nothing.
    hook: Vec<String>,
    tries: u32,
}

/// The queue. At most one hook runs at a time, so that they see alerts in order.
#[derive(Debug)]
pub struct Alerts {
    node: String,
    hooks: Vec<AlertConfig>,
    queue: VecDeque<Queued>,
    /// On its way to its hook now.
    running: Option<Queued>,
    /// Hooks that failed, and when each is tried again. At most one entry for each hook.
    resting: Map<Vec<String>, Mono>,
    dropped: u64,
    delivered: u64,
}

/// What became of a try.
#[derive(Debug, PartialEq, Eq)]
pub enum Tried {
    /// The hook has it.
    Delivered,
    /// It will be tried again.
    Again(String),
    /// It was tried too often.
    GivenUp(String),
}

impl Alerts {
    /// Goes on with what an earlier daemon left.
    pub fn new(node: String, hooks: Vec<AlertConfig>, left: Vec<Queued>) -> Self {
        let mut alerts = Self {
            node: String::new(),
            hooks: Vec::new(),
            queue: left.into(),
            running: None,
            resting: Map::new(),
            dropped: 0,
            delivered: 0,
        };
        alerts.queue.truncate(ALERTS_MAX);
        alerts.configure(node, hooks);
        alerts
    }

    /// Takes new hooks, and the name of the node; what waits for a hook that is gone is dropped.
    pub fn configure(&mut self, node: String, hooks: Vec<AlertConfig>) {
        self.node = node;
        self.hooks = hooks;
        let hooks = &self.hooks;
        let is_there = |run: &[String]| hooks.iter().any(|hook| hook.run == run);
        self.queue.retain(|queued| is_there(&queued.hook));
        self.resting.retain(|hook, _| is_there(hook));
    }

    /// Queues an alert for every hook; returns how many older ones had to give way.
    pub fn push(&mut self, mut alert: Alert) -> u64 {
        let mut gave_way = 0;
        alert.reason = cut(&alert.reason).into();
        for hook in &self.hooks {
            if self.queue.len() >= ALERTS_MAX {
                self.queue.pop_front();
                gave_way += 1;
            }
            self.queue.push_back(Queued {
                alert: alert.clone(),
                node: self.node.clone(),
                at_unix_ms: u64::try_from(clock::unix_nanos() / 1_000_000).unwrap_or(0),
                hook: hook.run.clone(),
                tries: 0,
            });
        }
        self.dropped = self.dropped.saturating_add(gave_way);
        gave_way
    }

    /// The hook to run now, if one is due.
    pub fn next(&mut self, now: Mono) -> Option<Run> {
        if self.running.is_some() {
            return None;
        }
        let place = self.queue.iter().position(|queued| self.due(queued) <= now)?;
        let queued = self.queue.remove(place)?;
        let timeout =
            self.hooks.iter().find(|hook| hook.run == queued.hook).map(|hook| hook.timeout)?;
        let queued = self.running.insert(queued);
        Some(Run {
            arguments: queued.hook.clone(),
            environment: queued.environment(),
            input: queued.json(),
            timeout,
            output_max: OUTPUT_BYTES,
        })
    }

    /// When a hook is due.
    pub fn next_deadline(&self) -> Mono {
        if self.running.is_some() {
            return Mono::FAR;
        }
        self.queue.iter().map(|queued| self.due(queued)).min().unwrap_or(Mono::FAR)
    }

    /// When its hook may have it.
    fn due(&self, queued: &Queued) -> Mono {
        self.resting.get(&queued.hook).copied().unwrap_or(Mono::BOOT)
    }

    /// A hook has ended: well, or with a reason.
    pub fn tried(&mut self, result: Result<(), String>, now: Mono) -> Option<Tried> {
        let mut queued = self.running.take()?;
        let why = match result {
            Ok(()) => {
                self.resting.remove(&queued.hook);
                self.delivered = self.delivered.saturating_add(1);
                return Some(Tried::Delivered);
            }
            Err(why) => why,
        };
        if !self.hooks.iter().any(|hook| hook.run == queued.hook) {
            return None; // a reload took the hook away while it was being tried
        }
        queued.tries = queued.tries.saturating_add(1);
        if queued.tries >= TRIES_MAX {
            self.resting.remove(&queued.hook);
            self.dropped = self.dropped.saturating_add(1);
            return Some(Tried::GivenUp(why));
        }
        let doubled = 1_u64.checked_shl(queued.tries.saturating_sub(1)).unwrap_or(u64::MAX);
        self.resting.insert(queued.hook.clone(), now.after(RETRY_FIRST.times(doubled)));
        // Before all others of its hook.
        self.queue.push_front(queued);
        Some(Tried::Again(why))
    }

    /// What must survive a restart.
    pub fn waiting(&self) -> impl Iterator<Item = &Queued> {
        self.running.iter().chain(&self.queue)
    }

    /// Alerts that were dropped, and delivered, since the start.
    pub fn counts(&self) -> (u64, u64) {
        (self.dropped, self.delivered)
    }
}

impl Queued {
    /// For hooks that are shell scripts.
    fn environment(&self) -> Vec<(String, String)> {
        let alert = &self.alert;
        let kind = serde_json::to_string(&alert.kind).unwrap_or_default();
        [
            ("MASTIFF_NODE", self.node.clone()),
            ("MASTIFF_ALERT", kind.trim_matches('"').to_string()),
            ("MASTIFF_CHECK", alert.check.to_string()),
            ("MASTIFF_SENSOR", alert.sensor.to_string()),
            ("MASTIFF_TARGET", alert.target.to_string()),
            ("MASTIFF_VERDICT", alert.verdict.to_string()),
            ("MASTIFF_WAS", alert.was.to_string()),
            ("MASTIFF_REASON", alert.reason.replace('\0', "")),
            ("MASTIFF_LASTED_SECONDS", format!("{:.0}", alert.lasted.as_secs_f64())),
            (
                "MASTIFF_TIME",
                clock::utc(i64::try_from(self.at_unix_ms).unwrap_or(0).saturating_mul(1_000_000)),
            ),
        ]
        .map(|(key, value)| (key.to_string(), value))
        .to_vec()
    }

    /// For everything else.
    fn json(&self) -> String {
        let field = |(key, value): (String, String)| {
            (key.trim_start_matches("MASTIFF_").to_ascii_lowercase(), value)
        };
        let mut fields = Map::new();
        fields.extend(self.environment().into_iter().map(field));
        let mut line = serde_json::to_string(&fields).unwrap_or_default();
        line.push('\n');
        line
    }
}

fn cut(text: &str) -> String {
    let end = text
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .take_while(|end| *end <= TEXT_BYTES_MAX)
        .last();
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mastiff_core::event::AlertKind;
    use mastiff_core::health::Verdict;

    fn alert(check: &str) -> Alert {
        Alert {
            kind: AlertKind::Problem,
            check: check.into(),
            sensor: "unit".into(),
            target: "nginx.service".into(),
            verdict: Verdict::Failed,
            was: Verdict::Healthy,
            reason: "state = failed (failed)".into(),
            lasted: Span::from_secs(3),
        }
    }

    fn hook(name: &str) -> AlertConfig {
        AlertConfig { run: vec![name.into()], timeout: Span::from_secs(10) }
    }

    fn queue(hooks: &[&str]) -> Alerts {
        Alerts::new("db1".into(), hooks.iter().map(|name| hook(name)).collect(), Vec::new())
    }

    #[test]
    fn every_hook_gets_every_alert_one_at_a_time_and_in_order() {
        let mut alerts = queue(&["/a", "/b"]);
        alerts.push(alert("first"));
        alerts.push(alert("second"));
        let mut seen = Vec::new();
        while let Some(run) = alerts.next(Mono::BOOT) {
            assert!(alerts.next(Mono::BOOT).is_none(), "one at a time");
            seen.push(format!("{} {}", run.arguments[0], run.environment[2].1));
            assert_eq!(alerts.tried(Ok(()), Mono::BOOT), Some(Tried::Delivered));
        }
        assert_eq!(seen, ["/a first", "/b first", "/a second", "/b second"]);
    }

    #[test]
    fn a_failing_hook_is_tried_again_with_growing_patience_and_given_up_at_last() {
        let mut alerts = queue(&["/a"]);
        alerts.push(alert("web"));
        let mut now = Mono::BOOT;
        let mut waits = Vec::new();
        loop {
            assert!(alerts.next(now).is_some());
            match alerts.tried(Err("exit code 1".into()), now) {
                Some(Tried::Again(_)) => {
                    let due = alerts.next_deadline();
                    assert!(alerts.next(now).is_none());
                    waits.push(due.since(now).as_millis() / 1000);
                    now = due;
                }
                Some(Tried::GivenUp(_)) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920]);
        assert_eq!(alerts.counts(), (1, 0));
        assert_eq!(alerts.next_deadline(), Mono::FAR);
    }

    #[test]
    fn the_queue_is_bounded_survives_a_restart_and_forgets_hooks_that_are_gone() {
        let mut alerts = queue(&["/a"]);
        let gave_way: u64 =
            (0..ALERTS_MAX + 5).map(|number| alerts.push(alert(&format!("c{number}")))).sum();
        assert_eq!((gave_way, alerts.waiting().count()), (5, ALERTS_MAX));
        let left: Vec<Queued> = alerts.waiting().cloned().collect();
        let text = serde_json::to_string(&left).unwrap();
        let left: Vec<Queued> = serde_json::from_str(&text).unwrap();
        let mut restarted = Alerts::new("db1".into(), vec![hook("/a")], left.clone());
        assert_eq!(restarted.next(Mono::BOOT).unwrap().environment[2].1, "c5");
        assert_eq!(Alerts::new("db1".into(), vec![hook("/other")], left).waiting().count(), 0);
    }

    #[test]
    fn a_hook_that_goes_while_it_is_tried_holds_up_nothing() {
        let mut alerts = queue(&["/gone", "/stays"]);
        alerts.push(alert("web"));
        assert_eq!(alerts.next(Mono::BOOT).unwrap().arguments, ["/gone"]);
        alerts.configure("db1".into(), vec![hook("/stays")]);
        assert_eq!(alerts.tried(Err("no".into()), Mono::BOOT), None);
        assert_eq!(alerts.next(Mono::BOOT).unwrap().arguments, ["/stays"]);
    }

    #[test]
    fn a_hook_that_fails_holds_up_no_other_one_and_loses_its_order_to_nobody() {
        let mut alerts = queue(&["/broken", "/good"]);
        alerts.push(alert("first"));
        alerts.push(alert("second"));
        let mut seen = Vec::new();
        while let Some(run) = alerts.next(Mono::BOOT) {
            let result = if run.arguments[0] == "/good" { Ok(()) } else { Err("no".to_string()) };
            seen.push(format!("{} {}", run.arguments[0], run.environment[2].1));
            alerts.tried(result, Mono::BOOT);
        }
        assert_eq!(seen, ["/broken first", "/good first", "/good second"]);
        let due = alerts.next_deadline();
        assert_eq!(due, Mono::BOOT.after(RETRY_FIRST));
        assert_eq!(alerts.next(due).unwrap().environment[2].1, "first");
    }

    #[test]
    fn what_is_on_its_way_to_a_hook_is_saved_with_what_waits() {
        let mut alerts = queue(&["/a"]);
        alerts.push(alert("first"));
        alerts.push(alert("second"));
        alerts.next(Mono::BOOT).unwrap();
        let names: Vec<&str> = alerts.waiting().map(|queued| &*queued.alert.check).collect();
        assert_eq!(names, ["first", "second"]);
    }

    #[test]
    fn a_hook_reads_the_same_in_json_and_in_its_environment() {
        let mut alerts = queue(&["/a"]);
        alerts.push(Alert { reason: "x\0y \"quoted\"".repeat(200).into(), ..alert("web") });
        let run = alerts.next(Mono::BOOT).unwrap();
        let json: serde_json::Value = serde_json::from_str(&run.input).unwrap();
        assert_eq!(json["check"], "web");
        assert_eq!(json["alert"], "problem");
        assert_eq!(json["verdict"], "failed");
        let reason = &run.environment.iter().find(|(key, _)| key == "MASTIFF_REASON").unwrap().1;
        assert!(reason.len() <= TEXT_BYTES_MAX && !reason.contains('\0'));
    }
}
