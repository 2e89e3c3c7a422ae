//! Whether nothing of a group's units runs any more.
//!
//! Two witnesses are asked: PID 1 calls the unit inactive or failed, and its control group has no
//! process. PID 1 alone gives up on processes that cannot be killed ("Processes still around after
//! final SIGKILL. Entering failed mode.", service.c), and one of them may still write. It also
//! forgets the unit's control group then, though it is there (`unit_prune_cgroup` of cgroup.c), so
//! the path is remembered from when the unit ran, and else looked for.
//!
//! A wrapper (`postgresql.service`) is inactive as soon as its own stop is done, with the units
//! that are part of it still stopping: they are asked about, too.

use mastiff_hwmon::cgroup;
use mastiff_hwmon::root::Root;
use mastiff_hwmon::sensors::unit::{
    MEMBER_PROPERTIES, Property, SHOW_PROPERTIES, UnitState, parse_show,
};

use crate::config::pair::can_be_exclusive;

/// Units of one group that are asked about without being named in it, at most; with more of them
/// the group is not ready, as with one.
const MEMBERS_MAX: usize = 64;

/// What is remembered of units that must not run twice, for after their end.
#[derive(Debug, Default)]
pub(super) struct Memory {
    seen: Vec<Seen>,
    /// What is part of a unit and not in the group.
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

/// Units that are part of these, or bound to them, and not among them.
pub(super) fn strangers(states: &[UnitState]) -> impl Iterator<Item = (&UnitState, &String)> {
    let all = states.iter().flat_map(|unit| unit.members.iter().map(move |member| (unit, member)));
    all.filter(|(_, member)| {
        can_be_exclusive(member) && !states.iter().any(|unit| unit.answers_to(member))
    })
}

impl Memory {
    /// What is to be stopped, killed and looked at beyond the units of the group.
    pub(super) fn members(&self) -> &[String] {
        &self.members
    }

    /// What PID 1 said of the group's units, and of no others.
    pub(super) fn learn(&mut self, states: &[UnitState]) {
        self.members = strangers(states).map(|(_, member)| member.clone()).collect();
        self.members.sort_unstable();
        self.members.dedup();
        self.members.truncate(MEMBERS_MAX);
        let Self { seen, members } = self;
        seen.retain(|it| members.contains(&it.id) || states.iter().any(|unit| unit.id == it.id));
        self.note(states);
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

    /// Whether nothing of any of so many units runs; what does.
    pub(super) fn all_gone(&mut self, text: &str, many: usize, root: &Root) -> Result<(), String> {
        let states = parse_show(text);
        if states.len() != many {
            return Err(format!("PID 1 told of {} units, not of {many}", states.len()));
        }
        self.note(&states);
        states.iter().try_for_each(|unit| self.gone(unit, root))
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
