//! Whether a group's units could be started here: once a minute PID 1 is asked, so that it is not a
//! takeover that finds out.

use mastiff_core::pair::message::GroupKey;
use mastiff_core::report::Severity;
use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::sensors::unit::{UnitState, parse_show};

use super::super::Brain;
use super::gone::{stranger, untold, wanted};
use super::{ANSWER_WITHIN, Units, said, systemctl};
use crate::probes::Purpose;
use crate::probes::wire::Output;

/// How often PID 1 is asked.
const ASK_EVERY: Span = Span::from_secs(60);
/// An answer older than this says nothing: one that was lost is made up for.
const FRESH: Span = Span::from_secs(150);

/// What PID 1 last said.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    next: Option<Mono>,
    /// When it said that all could be started.
    good: Option<Mono>,
    /// Why not, as it was told.
    why: Option<String>,
}

impl Units {
    /// Whether they could be started; nothing is known before the first answer, which comes with
    /// the first turns of a daemon.
    fn could_start(&self, now: Mono) -> bool {
        let good = self.readiness.good.is_some_and(|at| now.since(at) < FRESH);
        self.units.is_empty() || self.readiness.why.is_none() && good
    }
}

impl Brain {
    /// Whether this node could start the units of a group.
    pub(in crate::brain) fn could_start(&self, group: &str, now: Mono) -> bool {
        self.units.iter().find(|units| units.name == group).is_none_or(|it| it.could_start(now))
    }

    /// Why it could not.
    pub(in crate::brain) fn units_unready(&self, group: &str) -> Option<String> {
        let why = &self.units.iter().find(|units| units.name == group)?.readiness.why;
        Some(why.clone().unwrap_or_else(|| "PID 1 has not said so yet, or not lately".to_string()))
    }

    /// When PID 1 is to be asked.
    pub(super) fn readiness_deadline(&self) -> Mono {
        let has_units = self.units.iter().filter(|units| !units.units.is_empty());
        has_units.map(|units| units.readiness.next.unwrap_or(Mono::BOOT)).min().unwrap_or(Mono::FAR)
    }

    /// Asks what is due.
    pub(super) fn ask_readiness(&mut self, now: Mono) {
        for place in 0..self.units.len() {
            let Some(units) = self.units.get_mut(place) else { return };
            let is_due = units.readiness.next.is_none_or(|next| now >= next);
            if units.units.is_empty() || !is_due {
                continue;
            }
            units.readiness.next = Some(now.after(ASK_EVERY));
            let group = units.group;
            let all = units.units.iter().chain(units.memory.members());
            let run = systemctl(&["show", &wanted(), "--"], all, ANSWER_WITHIN);
            if let Err(why) = self.probes.run(Purpose::Readiness(group), run, now) {
                self.take_readiness(group, Err(why), now);
            }
        }
    }

    /// PID 1 has answered, or not. Silence is no answer: the last one counts until it is old.
    pub(in crate::brain) fn take_readiness(
        &mut self,
        group: GroupKey,
        result: Result<Output, String>,
        now: Mono,
    ) {
        let Some(units) = self.units.iter_mut().find(|units| units.group == group) else { return };
        let text = match said(result) {
            Ok(text) => text,
            Err(why) => return log::debug!("cannot ask about the units: {why}"),
        };
        let states = parse_show(&text);
        let why = startable(&units.units, &states, units.is_exclusive).err();
        if units.is_exclusive
            && untold(&units.units, &states).is_none()
            && units.memory.learn(&units.units, &states)
        {
            // Something may be part of these, too. It ends: each answer tells of more of them.
            units.readiness.next = Some(now);
        }
        if why.is_none() {
            units.readiness.good = Some(now);
        }
        if units.readiness.why != why {
            let name = &units.name;
            let (severity, text) = match &why {
                Some(why) => (
                    Severity::Error,
                    format!("group \"{name}\" could not be taken by this node: {why}"),
                ),
                None => (
                    Severity::Notice,
                    format!("group \"{name}\": its units could be started here again"),
                ),
            };
            self.events.record("units-readiness", severity, None, &text);
            units.readiness.why = why;
        }
    }
}

/// Whether PID 1 could start all of them, and, where they must not run twice, nothing else with
/// them; why not.
fn startable(own: &[String], states: &[UnitState], is_exclusive: bool) -> Result<(), String> {
    if let Some(name) = untold(own, states) {
        return Err(format!("PID 1 has not told of {name}"));
    }
    let mut named = states.iter().filter(|unit| own.iter().any(|name| unit.answers_to(name)));
    named.try_for_each(|UnitState { id, loaded, .. }| match loaded.as_str() {
        "loaded" => Ok(()),
        "not-found" => Err(format!("{id} is not installed")),
        "masked" => Err(format!("{id} is masked (systemctl unmask {id})")),
        other => Err(format!("{id} cannot be loaded: {other} (systemctl status {id})")),
    })?;
    let Some((unit, member)) = stranger(own, states).filter(|_| is_exclusive) else {
        return Ok(());
    };
    let id = &unit.id;
    Err(if unit.kind == "oneshot" {
        format!("{id} only stands for others; its own unit is {member}: name that one in `units`")
    } else {
        format!("{member} stops with {id}, so it may run with it: name it in `units`, too")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn startable_of(own: &[&str], text: &str, is_exclusive: bool) -> Result<(), String> {
        let own: Vec<String> = own.iter().map(ToString::to_string).collect();
        startable(&own, &parse_show(text), is_exclusive)
    }

    #[test]
    fn a_unit_that_is_not_there_or_masked_keeps_a_node_from_being_ready() {
        let show = |loaded: &str| format!("Id=a.service\nLoadState={loaded}\nActiveState=x\n");
        let startable = |text: &str, own: &[&str]| startable_of(own, text, true);
        assert_eq!(startable(&show("loaded"), &["a.service"]), Ok(()));
        for (loaded, part) in [
            ("not-found", "not installed"),
            ("masked", "systemctl unmask a.service"),
            ("bad-setting", "systemctl status a.service"),
            ("", "cannot be loaded"),
        ] {
            let why = startable(&show(loaded), &["a.service"]).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
        assert!(startable("", &["a.service"]).is_err());
        assert!(startable(&show("loaded"), &["a.service", "b.service"]).is_err());
    }

    #[test]
    fn what_must_not_run_twice_is_named_with_all_that_is_part_of_it() {
        let wrapper = "Id=postgresql.service\nLoadState=loaded\nType=oneshot\n\
                       ConsistsOf=postgresql@15-main.service\nBoundBy=\n";
        let own = "Id=postgresql@15-main.service\nLoadState=loaded\nType=forking\n";
        let both = format!("{wrapper}\n{own}");
        for known in [wrapper, &both] {
            let why = startable_of(&["postgresql.service"], known, true).unwrap_err();
            assert!(why.contains("is postgresql@15-main.service: name that one"), "{why}");
        }
        assert_eq!(startable_of(&["postgresql.service"], wrapper, false), Ok(()));
        let all = ["postgresql.service", "postgresql@15-main.service"];
        assert_eq!(startable_of(&all, &both, true), Ok(()));
        // What only starts it is kept out by the gate.
        let docker = "Id=docker.service\nNames=docker.service\nLoadState=loaded\nType=notify\n\
                      ConsistsOf=docker.socket\nBoundBy=";
        assert_eq!(startable_of(&["docker.service"], docker, true), Ok(()));
        let beside = format!("{docker}beside.service\n");
        let why = startable_of(&["docker.service"], &beside, true).unwrap_err();
        assert!(why.starts_with("beside.service stops with docker.service"), "{why}");
        // Nor does it help to be part of what only starts it.
        let socket = "Id=docker.socket\nLoadState=loaded\nConsistsOf=proxy.service\n";
        let why = startable_of(&["docker.service"], &format!("{docker}\n\n{socket}"), true);
        assert!(why.unwrap_err().starts_with("proxy.service stops with docker.service"));
    }
}
