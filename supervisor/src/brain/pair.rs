//! The brain's part of a pair: what the keeper tells, what operators want, what only programs do.

use mastiff_core::pair::event::{Cause, Order, PairReport, Step, StepId};
use mastiff_core::pair::message::{Epoch, GroupKey, Role};
use mastiff_core::report::Severity;
use mastiff_core::sorted::Map;
use mastiff_core::time::{Mono, Span};
use serde::{Deserialize, Serialize};

use super::Brain;
use super::clients::ClientId;
use super::fencing::Fencing;
use super::hooks::Change;
use super::moving::Moving;
use crate::config::PairConfig;
use crate::config::pair::GroupConfig;
use crate::control::Answer;
use crate::keeper::setup::{Remembered, group_key};
use crate::keeper::shell::{News, Notice};

/// An order that nothing has come of by then, and in the time of the group's units, is answered so.
/// A switchover takes milliseconds without units; a failover waits for the promise to the owner,
/// [`mastiff_core::timing::PROMISE_MAX`] at most.
const ORDER_WITHIN: Span = Span::from_secs(15);

mod dates;
mod showing;
mod unready;

/// What the state file keeps of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMemory {
    /// The highest epoch.
    pub highest: u64,
    /// The longest stop time that the peer named, in nanoseconds.
    #[serde(default)]
    pub peer_stops_within_ns: Option<u64>,
}

impl From<GroupMemory> for Remembered {
    fn from(memory: GroupMemory) -> Self {
        Self {
            highest: Epoch(memory.highest),
            peer_stops_within: memory.peer_stops_within_ns.map(Span::from_nanos),
        }
    }
}

/// The pair, as the brain knows it.
#[derive(Debug)]
pub(super) struct Desk {
    /// Keys and names of the groups, in the order of the configuration.
    groups: Vec<(GroupKey, String)>,
    /// What the guard is, in words.
    pub(super) guard: String,
    /// What the state file keeps, by the group's name.
    pub(super) memory: Map<String, GroupMemory>,
    /// Clients that wait for what comes of their orders.
    waiting: Vec<Waiting>,
    /// Whether the node is paused, as the keeper was told; at first a daemon before may have.
    paused: Option<bool>,
    /// What the fence agent is doing.
    pub(super) fencing: Fencing,
    /// Rungs `switchover` under way.
    pub(super) moving: Vec<Moving>,
    /// What the epochs of the groups tell of the nodes' dates.
    dates: Vec<dates::Dates>,
}

#[derive(Debug)]
struct Waiting {
    client: ClientId,
    group: GroupKey,
    order: Order,
    since: Mono,
    /// For how long it waits.
    within: Span,
}

impl Desk {
    pub(super) fn new(
        config: Option<&PairConfig>,
        guard: String,
        memory: Map<String, GroupMemory>,
    ) -> Self {
        let groups = config.into_iter().flat_map(|pair| &pair.groups);
        let groups = groups.map(|group| (group_key(&group.name), group.name.clone())).collect();
        Self {
            groups,
            guard,
            memory,
            waiting: Vec::new(),
            paused: None,
            fencing: Fencing::default(),
            moving: Vec::new(),
            dates: Vec::new(),
        }
    }

    pub(super) fn groups(&self) -> &[(GroupKey, String)] {
        &self.groups
    }

    /// What the keeper was told of a pause holds no more: it is told again.
    pub(super) fn forget_pause(&mut self) {
        self.paused = None;
    }

    pub(super) fn name(&self, key: GroupKey) -> &str {
        let known = self.groups.iter().find(|(known, _)| *known == key);
        known.map_or("?", |(_, name)| name)
    }

    /// When somebody has waited for long enough.
    pub(super) fn next_deadline(&self) -> Mono {
        let due = self.waiting.iter().map(|waiting| waiting.since.after(waiting.within));
        let moves = self.moving.iter().map(Moving::deadline);
        due.chain(moves).min().unwrap_or(Mono::FAR)
    }
}

impl Brain {
    /// Takes what the keeper has told.
    pub(super) fn take_pair_news(&mut self, now: Mono) {
        let news: Vec<News> = self.keeper.news().collect();
        for news in news {
            match news {
                News::Report(report, at) => self.take_report(report, at, now),
                News::Begin(step) => self.begin_step(step, now),
                News::Notice(Notice { kind, severity, text }) => {
                    self.events.record(kind, severity, None, &text);
                }
            }
        }
        let late = |waiting: &Waiting| now.since(waiting.since) >= waiting.within;
        let late = self.desk.waiting.extract_if(.., |waiting| late(waiting));
        for Waiting { client, group, order, within, .. } in late {
            let name = self.desk.groups.iter().find(|(key, _)| *key == group);
            let name = name.map_or("?", |(_, name)| name);
            let text = format!(
                "nothing has come of the {order} of \"{name}\" within {within}; \
                 `mastiff status` shows how it stands"
            );
            self.clients.answer(client, &Answer::Error(text));
        }
    }

    fn take_report(&mut self, report: PairReport, at: Mono, now: Mono) {
        match report {
            PairReport::Role { group, from, to, cause, epoch } => {
                let name = self.desk.name(group).to_string();
                let number = if epoch == Epoch::NONE {
                    String::new()
                } else {
                    format!(" (epoch {})", epoch.0)
                };
                // A daemon that was restarted has changed nothing.
                let (kind, text) = match cause {
                    Cause::Resumed => {
                        ("role-kept", format!("group \"{name}\": {to}{number}: {cause}"))
                    }
                    _ => {
                        let checks = self.blamed(&name, to, cause, now);
                        let text = format!("group \"{name}\": {from} -> {to}{number}: {cause}");
                        ("role", format!("{text}{checks}"))
                    }
                };
                let severity = match to {
                    Role::Fault => Severity::Error,
                    Role::Waiting => Severity::Warning,
                    Role::Standby | Role::Maintenance | Role::Taking => Severity::Notice,
                    Role::Active | Role::Yielding => Severity::Notice,
                };
                self.events.record(kind, severity, None, &text);
                self.remember(&name, epoch, now);
                self.note_epoch(group, matches!(to, Role::Taking | Role::Active), epoch);
                self.tell_hooks(Change { group, name: &name, from, to, cause, epoch });
                self.answer_orders(group, from, to, at);
                self.note_role(group, cause);
            }
            PairReport::Epoch { group, epoch } => {
                let name = self.desk.name(group).to_string();
                let text = format!("group \"{name}\": goes on in epoch {}", epoch.0);
                self.events.record("epoch", Severity::Notice, None, &text);
                self.remember(&name, epoch, now);
                self.note_epoch(group, true, epoch);
            }
            PairReport::Refused { group, order: Order::PrepareRestart, why } => {
                self.is_not_prepared(group, why);
            }
            PairReport::Refused { group, order, why } => {
                self.note_refusal(group, order, why);
                let text = format!("{order} of \"{}\" is refused: {why}", self.desk.name(group));
                self.events.record("order-refused", Severity::Warning, None, &text);
                self.answer(
                    group,
                    |waiting| waiting.order == order,
                    |_| Answer::Error(text.clone()),
                );
            }
            PairReport::RestartReady { group } => {
                let text = format!("group \"{}\": ready for a restart", self.desk.name(group));
                self.events.record("restart-ready", Severity::Notice, None, &text);
                self.is_prepared(group);
            }
            PairReport::WayDown(passage) => self.take_passage(passage, now),
            PairReport::CannotRemove { group, step } => {
                let name = self.desk.name(group);
                let text = format!("group \"{name}\": cannot {step}; tried again until it is done");
                self.events.record("cannot-remove", Severity::Error, None, &text);
            }
        }
    }

    /// Who waited for this change is told how long it took.
    fn answer_orders(&mut self, group: GroupKey, from: Role, to: Role, at: Mono) {
        let name = self.desk.name(group).to_string();
        let done = |order: Order| match order {
            Order::Switchover | Order::MoveAway | Order::LetGo => from == Role::Yielding,
            Order::Failover { .. } => to == Role::Active,
            Order::Pause => to == Role::Maintenance,
            Order::Resume => from == Role::Maintenance,
            Order::PrepareRestart => false,
        };
        let answer = |waiting: &Waiting| {
            let took = at.since(waiting.since);
            Answer::Done(match waiting.order {
                Order::Failover { .. } => format!("\"{name}\" is active here, after {took}"),
                _ => format!("\"{name}\" was handed over: nothing of it is here, after {took}"),
            })
        };
        self.answer(group, |waiting| done(waiting.order), answer);
    }

    fn answer(
        &mut self,
        group: GroupKey,
        is_meant: impl Fn(&Waiting) -> bool,
        answer: impl Fn(&Waiting) -> Answer,
    ) {
        let meant = |waiting: &mut Waiting| waiting.group == group && is_meant(waiting);
        for waiting in self.desk.waiting.extract_if(.., meant) {
            self.clients.answer(waiting.client, &answer(&waiting));
        }
    }

    /// The checks for which a group goes by itself.
    fn blamed(&self, name: &str, to: Role, cause: Cause, now: Mono) -> String {
        if (to, cause) != (Role::Yielding, Cause::BadHealth) {
            return String::new();
        }
        let mut checks = self.node.speaking_against(name, now);
        checks.extend(self.node.sending_away(name, now));
        if checks.is_empty() { String::new() } else { format!(" ({})", checks.join(", ")) }
    }

    fn remember(&mut self, name: &str, epoch: Epoch, now: Mono) {
        let mut memory = self.desk.memory.get(name).copied().unwrap_or_default();
        if epoch.0 > memory.highest {
            memory.highest = epoch.0;
            self.desk.memory.insert(name.to_string(), memory);
            self.save_soon(now);
        }
    }

    /// What somebody wants of a group; without a name of the only one. `None`: answered later.
    pub(super) fn order(
        &mut self,
        client: ClientId,
        group: Option<&str>,
        order: Order,
        now: Mono,
    ) -> Option<Answer> {
        let (key, name) = match self.find_group(group) {
            Ok(found) => found,
            Err(why) => return Some(Answer::Error(why)),
        };
        if !self.keeper.order(key, order) {
            return Some(Answer::Error("the keeper takes no order: it is overloaded".into()));
        }
        let groups = self.config.pair.iter().flat_map(|pair| &pair.groups);
        let units = groups.filter(|group| group.name == name).map(GroupConfig::move_time);
        let within = ORDER_WITHIN.plus(units.max().unwrap_or_default());
        self.desk.waiting.push(Waiting { client, group: key, order, since: now, within });
        None
    }

    fn find_group(&self, name: Option<&str>) -> Result<(GroupKey, String), String> {
        let groups = self.desk.groups();
        let all = || {
            let names: Vec<&str> = groups.iter().map(|(_, name)| name.as_str()).collect();
            names.join(", ")
        };
        match (name, groups) {
            (_, []) => Err("this node is in no pair: there is no [pair] in its file".to_string()),
            (None, [only]) => Ok(only.clone()),
            (None, _) => Err(format!("name the group: {}", all())),
            (Some(name), _) => groups
                .iter()
                .find(|(_, known)| known == name)
                .cloned()
                .ok_or_else(|| format!("there is no group \"{name}\"; there is: {}", all())),
        }
    }

    fn begin_step(&mut self, step: StepId, now: Mono) {
        match step.step {
            Step::StartUnits | Step::StopUnits => self.move_units(step, now),
            Step::Fence => self.fence(step, now),
            Step::AddAddresses | Step::EndConnections | Step::RemoveAddresses => {}
        }
    }

    /// While the whole node is paused it takes no group; what it has, it keeps.
    pub(super) fn hold_back(&mut self, now: Mono) {
        let paused = self.node.pauses(now).iter().any(|pause| pause.check.is_none());
        // A node that is to be reset must not become an owner.
        let paused = paused || self.is_tested();
        // On its way down, or at its end, it has let go: neither order may undo that.
        let goes = self.ending.is_some() || self.going.is_on() || self.goes_down();
        if goes || Some(paused) == self.desk.paused {
            return;
        }
        let order = if paused { Order::Pause } else { Order::Resume };
        let groups = self.desk.groups.iter().map(|(key, _)| *key);
        // Else it is told in the next round.
        let told: Vec<bool> = groups.map(|group| self.keeper.order(group, order)).collect();
        if told.iter().all(|told| *told) {
            self.desk.paused = Some(paused);
        }
    }
}
