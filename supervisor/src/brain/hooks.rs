//! `on-role-change`: programs that are told what this node has become for a group.
//!
//! They are called as keepalived calls its `notify` scripts (keepalived.conf(5)): `GROUP`, the
//! name, `MASTER`, `BACKUP`, `FAULT` or `STOP`, and a priority, which is always 0 here; the
//! environment says it exactly. One after the other, each awaited: a program that is told of a
//! change sees the end of the one before. How it ends is told, and changes nothing: what must be up
//! before an address is a unit of the group.

use std::collections::VecDeque;

use mastiff_core::pair::event::Cause;
use mastiff_core::pair::message::{Epoch, GroupKey, Role};
use mastiff_core::report::{Outcome, Severity};
use mastiff_core::time::{Mono, Span};

use super::Brain;
use super::work::outcome;
use crate::probes::Purpose;
use crate::probes::wire::{OUTPUT_BYTES, Output, Run};

/// A program that takes longer is killed.
const HOOK_TIMEOUT: Span = Span::from_secs(60);
/// Calls that may wait. More mean that roles change faster than programs end: the oldest give way,
/// since what counts is the last word.
const WAITING_MAX: usize = 64;

/// What keepalived calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Master,
    Backup,
    Fault,
    Stop,
}

impl Word {
    const fn name(self) -> &'static str {
        match self {
            Self::Master => "MASTER",
            Self::Backup => "BACKUP",
            Self::Fault => "FAULT",
            Self::Stop => "STOP",
        }
    }

    /// Of a role; `None` on the way from one to another.
    const fn of(role: Role, ends: bool) -> Option<Self> {
        match role {
            Role::Active => Some(Self::Master),
            Role::Fault => Some(Self::Fault),
            Role::Standby | Role::Waiting | Role::Maintenance if ends => Some(Self::Stop),
            Role::Standby | Role::Waiting | Role::Maintenance => Some(Self::Backup),
            Role::Taking | Role::Yielding => None,
        }
    }
}

/// What hooks were told, and what they are still to be.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    /// The last word of each group.
    told: Vec<(GroupKey, Word)>,
    waiting: VecDeque<Run>,
    /// The one that is called.
    under_way: Option<String>,
    /// Calls that gave way.
    lost: u64,
}

impl Hooks {
    /// Whether everybody was told.
    pub(super) fn are_done(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_none()
    }

    /// Whether this is another word than the last one.
    fn is_new(&mut self, group: GroupKey, word: Word) -> bool {
        match self.told.iter_mut().find(|(known, _)| *known == group) {
            Some((_, told)) => std::mem::replace(told, word) != word,
            None => {
                self.told.push((group, word));
                true
            }
        }
    }

    fn push(&mut self, run: Run) {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
            self.lost = self.lost.saturating_add(1);
        }
        self.waiting.push_back(run);
    }
}

/// A change of role, as a hook is told of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub(super) group: GroupKey,
    pub(super) name: &'a str,
    pub(super) from: Role,
    pub(super) to: Role,
    pub(super) cause: Cause,
    pub(super) epoch: Epoch,
}

impl Brain {
    /// A role has changed.
    pub(super) fn tell_hooks(&mut self, change: Change<'_>) {
        let Change { group, name, from, to, cause, epoch } = change;
        let Some(word) = Word::of(to, self.ending.is_some()) else { return };
        // A daemon that goes on with a lease has changed nothing.
        let new = self.hooks.is_new(group, word);
        if !new || cause == Cause::Resumed {
            return;
        }
        let Some(pair) = &self.config.pair else { return };
        let Some(config) = pair.groups.iter().find(|config| config.name == name) else { return };
        let environment: Vec<(String, String)> = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string()),
            ("MASTIFF_NODE", self.config.node.name.clone()),
            ("MASTIFF_PEER", pair.peer.clone()),
            ("MASTIFF_GROUP", name.to_string()),
            ("MASTIFF_ROLE", to.to_string()),
            ("MASTIFF_FORMER_ROLE", from.to_string()),
            ("MASTIFF_CAUSE", cause.to_string()),
            ("MASTIFF_EPOCH", epoch.0.to_string()),
        ]
        .map(|(key, value)| (key.to_string(), value))
        .into();
        for hook in &config.on_role_change {
            let words = ["GROUP", name, word.name(), "0"].map(String::from);
            self.hooks.push(Run {
                arguments: hook.iter().cloned().chain(words).collect(),
                environment: environment.clone(),
                input: String::new(),
                timeout: HOOK_TIMEOUT,
                output_max: OUTPUT_BYTES,
            });
        }
    }

    /// Calls the next one.
    pub(super) fn call_hooks(&mut self, now: Mono) {
        let lost = std::mem::take(&mut self.hooks.lost);
        if lost > 0 {
            let text = format!("{lost} calls of on-role-change were dropped: too many waited");
            self.events.record("hook-lost", Severity::Error, None, &text);
        }
        while self.hooks.under_way.is_none()
            && let Some(run) = self.hooks.waiting.pop_front()
        {
            self.hooks.under_way = Some(run.arguments.join(" "));
            if let Err(why) = self.probes.run(Purpose::Hook, run, now) {
                self.take_hook(Err(why));
            }
        }
    }

    /// One has ended.
    pub(super) fn take_hook(&mut self, result: Result<Output, String>) {
        let Some(what) = self.hooks.under_way.take() else { return };
        let why = match outcome(result) {
            Outcome::Done => return,
            Outcome::Failed(why) | Outcome::Unknown(why) => why,
        };
        let text = format!("on-role-change: `{what}` failed: {why}");
        self.events.record("hook-failed", Severity::Warning, None, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_keepalived() {
        for (role, ends, word) in [
            (Role::Active, false, Some(Word::Master)),
            (Role::Active, true, Some(Word::Master)),
            (Role::Standby, false, Some(Word::Backup)),
            (Role::Waiting, false, Some(Word::Backup)),
            (Role::Maintenance, true, Some(Word::Stop)),
            (Role::Fault, true, Some(Word::Fault)),
            (Role::Taking, false, None),
            (Role::Yielding, true, None),
        ] {
            assert_eq!(Word::of(role, ends), word, "{role:?}");
        }
    }

    #[test]
    fn a_word_that_was_told_is_not_told_again() {
        let mut hooks = Hooks::default();
        let (one, other) = (GroupKey(1), GroupKey(2));
        assert!(hooks.is_new(one, Word::Backup) && hooks.is_new(other, Word::Backup));
        assert!(!hooks.is_new(one, Word::Backup));
        assert!(hooks.is_new(one, Word::Master) && hooks.is_new(one, Word::Backup));
    }

    #[test]
    fn of_too_many_calls_the_oldest_give_way() {
        let mut hooks = Hooks::default();
        for place in 0..=WAITING_MAX {
            hooks.push(Run {
                arguments: vec![place.to_string()],
                environment: Vec::new(),
                input: String::new(),
                timeout: HOOK_TIMEOUT,
                output_max: OUTPUT_BYTES,
            });
        }
        assert_eq!((hooks.waiting.len(), hooks.lost), (WAITING_MAX, 1));
        assert_eq!(hooks.waiting.front().unwrap().arguments, ["1"]);
    }
}
