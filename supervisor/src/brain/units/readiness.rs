//! Whether a group's units could be started here: once a minute PID 1 is asked, so that it is not a
//! takeover that finds out.

use mastiff_core::pair::message::GroupKey;
use mastiff_core::report::Severity;
use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::sensors::unit::{UnitState, parse_show};

use super::super::Brain;
use super::gone::{strangers, wanted};
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
            let run = systemctl(&["show", &wanted(), "--"], units.units.iter(), ANSWER_WITHIN);
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
        let why = startable(&states, units.units.len(), units.is_exclusive).err();
        if units.is_exclusive && states.len() == units.units.len() {
            units.memory.learn(&states);
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
fn startable(states: &[UnitState], many: usize, is_exclusive: bool) -> Result<(), String> {
    if states.len() != many {
        return Err(format!("PID 1 told of {} units, not of {many}", states.len()));
    }
    states.iter().try_for_each(|UnitState { id, loaded, .. }| match loaded.as_str() {
        "loaded" => Ok(()),
        "not-found" => Err(format!("{id} is not installed")),
        "masked" => Err(format!("{id} is masked (systemctl unmask {id})")),
        other => Err(format!("{id} cannot be loaded: {other} (systemctl status {id})")),
    })?;
    let Some((unit, member)) = strangers(states).next().filter(|_| is_exclusive) else {
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

    #[test]
    fn a_unit_that_is_not_there_or_masked_keeps_a_node_from_being_ready() {
        let show = |loaded: &str| format!("Id=a.service\nLoadState={loaded}\nActiveState=x\n");
        let startable = |text: &str, many| startable(&parse_show(text), many, true);
        assert_eq!(startable(&show("loaded"), 1), Ok(()));
        for (loaded, part) in [
            ("not-found", "not installed"),
            ("masked", "systemctl unmask a.service"),
            ("bad-setting", "systemctl status a.service"),
            ("", "cannot be loaded"),
        ] {
            let why = startable(&show(loaded), 1).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
        assert!(startable("", 1).is_err());
        assert!(startable(&show("loaded"), 2).is_err());
    }

    #[test]
    fn what_must_not_run_twice_is_named_with_all_that_is_part_of_it() {
        let wrapper = "Id=postgresql.service\nLoadState=loaded\nType=oneshot\n\
                       ConsistsOf=postgresql@15-main.service\nBoundBy=\n";
        let own = "Id=postgresql@15-main.service\nLoadState=loaded\nType=forking\n";
        let why = startable(&parse_show(wrapper), 1, true).unwrap_err();
        assert!(why.contains("its own unit is postgresql@15-main.service: name that one"), "{why}");
        assert_eq!(startable(&parse_show(wrapper), 1, false), Ok(()));
        assert_eq!(startable(&parse_show(&format!("{wrapper}\n{own}")), 2, true), Ok(()));
        // What only starts it is kept out by the gate.
        let docker = "Id=docker.service\nNames=docker.service\nLoadState=loaded\nType=notify\n\
                      ConsistsOf=docker.socket\nBoundBy=";
        assert_eq!(startable(&parse_show(docker), 1, true), Ok(()));
        let why = startable(&parse_show(&format!("{docker}beside.service\n")), 1, true);
        assert!(why.unwrap_err().starts_with("beside.service stops with docker.service"));
    }
}
