//! Whether nothing of a group's units runs any more.
//!
//! Two witnesses are asked: PID 1 calls the unit inactive or failed, and its control group has no
//! process. PID 1 alone gives up on processes that cannot be killed ("Processes still around after
//! final SIGKILL. Entering failed mode.", service.c), and one of them may still write. It also
//! forgets the unit's control group then, though it is there (`unit_prune_cgroup` of cgroup.c), so
//! the path is remembered from when the unit ran, and else looked for.
//!
//! A wrapper (`postgresql.service`) is inactive as soon as its own stop is done, with the units
//! that are part of it still stopping: they are asked about, too, and what is part of those, by
//! services, mounts, targets or whatever else lies between.

use mastiff_hwmon::cgroup;
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensors::unit::{MEMBER_PROPERTIES, Property, SHOW_PROPERTIES, UnitState};

use crate::config::pair::can_be_exclusive;

/// Units of one group that are asked about without being named in it, at most; with more of them
/// the group is not ready, as with one.
const MEMBERS_MAX: usize = 32;
/// So far units that are part of others are followed: what people write has two or three levels.
const MEMBERS_DEEP: usize = 8;

/// What is remembered of units that must not run twice, for after their end.
#[derive(Debug, Default)]
pub(super) struct Memory {
    seen: Vec<Seen>,
    /// What stops with a unit of the group, and is not named in it.
    members: Vec<String>,
}

#[derive(Debug)]
struct Seen {
    id: String,
    control_group: String,
    /// It ran, and was not seen to have stopped well.
    ran: bool,
}

/// What to ask PID 1 for.
pub(super) fn wanted() -> String {
    let all: Vec<&str> = SHOW_PROPERTIES.iter().chain(MEMBER_PROPERTIES).copied().collect();
    format!("--property={}", all.join(","))
}

/// A unit of the group, and one that stops with it: part of it, or bound to it, or of such a one.
pub(super) type Member<'a> = (&'a UnitState, &'a String);

/// What stops with the units of a group, its `own`, and is not one of them, as far as PID 1 has
/// told of the units between.
fn members<'a>(own: &[String], states: &'a [UnitState]) -> Vec<Member<'a>> {
    let is_named = |unit: &UnitState| own.iter().any(|name| unit.answers_to(name));
    let is_own = |name: &String| {
        own.contains(name) || states.iter().any(|unit| is_named(unit) && unit.answers_to(name))
    };
    let mut all: Vec<Member<'a>> = Vec::new();
    let mut level: Vec<_> =
        states.iter().filter(|unit| is_named(unit)).map(|unit| (unit, unit)).collect();
    for _ in 0..MEMBERS_DEEP {
        let mut next = Vec::new();
        for (of, unit) in level {
            for name in &unit.members {
                let known = is_own(name) || all.iter().any(|(_, member)| *member == name);
                if !known && all.len() < MEMBERS_MAX {
                    all.push((of, name));
                    let told = states.iter().find(|unit| unit.answers_to(name));
                    next.extend(told.map(|unit| (of, unit)));
                }
            }
        }
        level = next;
    }
    all
}

/// Those of the members that could run twice. What only starts others (sockets, timers, targets) is
/// kept out by the gate.
pub(super) fn stranger<'a>(own: &[String], states: &'a [UnitState]) -> Option<Member<'a>> {
    members(own, states).into_iter().find(|(_, name)| can_be_exclusive(name))
}

/// A unit that PID 1 was asked about, and has not told of.
pub(super) fn untold<'a>(names: &'a [String], states: &[UnitState]) -> Option<&'a String> {
    names.iter().find(|name| !states.iter().any(|unit| unit.answers_to(name)))
}

impl Memory {
    /// What is to be asked about beyond the units of the group.
    pub(super) fn members(&self) -> &[String] {
        &self.members
    }

    /// What PID 1 said of the group's `own` units and of the members; whether there are more of
    /// these than were known, so that it is to be asked about them, too.
    pub(super) fn learn(&mut self, own: &[String], states: &[UnitState]) -> bool {
        let found = members(own, states).into_iter().map(|(_, name)| name.clone()).collect();
        let before = std::mem::replace(&mut self.members, found);
        let Self { seen, members } = self;
        seen.retain(|it| members.contains(&it.id) || states.iter().any(|unit| unit.id == it.id));
        self.note(states);
        self.members.iter().any(|name| !before.contains(name))
    }

    /// The same when all are to be gone: what was known counts on.
    pub(super) fn learn_more(&mut self, own: &[String], states: &[UnitState]) {
        for (_, name) in members(own, states) {
            if !self.members.contains(name) && self.members.len() < MEMBERS_MAX {
                self.members.push(name.clone());
            }
        }
    }

    /// They are started anew: how they ended before says nothing.
    pub(super) fn forget_ends(&mut self) {
        self.seen.iter_mut().for_each(|seen| seen.ran = false);
    }

    fn note(&mut self, states: &[UnitState]) {
        for unit in states {
            let place = self.seen.iter().position(|seen| seen.id == unit.id);
            let seen = match place.and_then(|place| self.seen.get_mut(place)) {
                Some(seen) => seen,
                None => self.seen.push_mut(Seen {
                    id: unit.id.clone(),
                    control_group: String::new(),
                    ran: false,
                }),
            };
            if !unit.control_group.is_empty() {
                seen.control_group.clone_from(&unit.control_group);
            }
            match unit.state.as_str() {
                "active" => seen.ran = true,
                "inactive" => seen.ran = false,
                _ => {}
            }
        }
    }

    /// Whether nothing of any of the group's `own` units and the members runs; what does.
    pub(super) fn all_gone(
        &mut self,
        own: &[String],
        states: &[UnitState],
        root: &Root,
    ) -> Result<(), String> {
        if let Some(name) = untold(own, states).or_else(|| untold(&self.members, states)) {
            return Err(format!("PID 1 has not told of {name} yet"));
        }
        self.note(states);
        let is_own = |unit: &&UnitState| own.iter().any(|name| unit.answers_to(name));
        let counts = |unit: &&UnitState| is_own(unit) || can_be_exclusive(&unit.id);
        states.iter().filter(counts).try_for_each(|unit| self.gone(unit, root))
    }

    fn gone(&self, unit: &UnitState, root: &Root) -> Result<(), String> {
        let UnitState { id, state, .. } = unit;
        if !["inactive", "failed"].contains(&state.as_str()) {
            return Err(format!("{id} is {state}"));
        }
        let seen = self.seen.iter().find(|seen| seen.id == *id);
        if state == "failed" && seen.is_some_and(|seen| seen.ran) && undone_by_a_program(unit) {
            return Err(format!(
                "{id} failed to stop: what its ExecStop= undoes may still be in place; undo it, \
                 then systemctl reset-failed {id}"
            ));
        }
        let remembered = seen.map_or("", |seen| seen.control_group.as_str());
        let known = [unit.control_group.as_str(), remembered];
        let mut groups: Vec<_> =
            known.iter().filter_map(|group| cgroup::of_systemd(root, group)).collect();
        if known.iter().all(|group| group.is_empty()) {
            // It ran before this daemon, or never. A unit of a user's own manager is another one.
            let found = cgroup::of_unit(root, id).ok().flatten();
            groups.extend(found.filter(|group| !group.iter().any(|part| part == "user.slice")));
        }
        // Without any, or without a tree of them, PID 1's word is all there is.
        for group in groups {
            if cgroup::has_process(&group).map_err(|error| format!("{id}: {error}"))? {
                return Err(format!("{id} is {state}, and has processes all the same"));
            }
        }
        Ok(())
    }
}

/// A oneshot service that has run holds nothing but what its `ExecStop=` undoes. (The processes of
/// other services are ended by PID 1, whatever `ExecStop=` does.)
fn undone_by_a_program(unit: &UnitState) -> bool {
    let Property::Is(result) = &unit.result else { return false };
    unit.kind == "oneshot" && ["exit-code", "signal", "core-dump"].contains(&result.as_str())
}

#[cfg(test)]
mod tests;
