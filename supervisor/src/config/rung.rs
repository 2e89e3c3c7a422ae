//! `on-fail`: the ladder of a check.

use mastiff_core::spec::{Arguments, CheckSpec, Disruption, Rung};
use mastiff_hwmon::sensor::{Sensor, Target, is_unit_name};

use super::checked::{Budgets, program};
use super::fault::{Given, Review, shorten};
use super::pair::GroupConfig;
use super::section::Field;
use super::suggest;
use crate::effects::{self, EFFECTS, Effect, switchover};

/// Rungs of one ladder at most.
pub const RUNGS_MAX: usize = 16;

/// What a check is about; `None` where that has a fault of its own.
pub(super) struct Subject<'a> {
    pub(super) sensor: Option<&'a Sensor>,
    pub(super) target: Option<&'a str>,
    /// It runs a script of `/etc/watchdog.d`.
    pub(super) runs_script: bool,
    /// There is a group in the file.
    pub(super) has_groups: bool,
}

/// The rungs of a check, in their order.
pub(super) fn ladder(
    field: &Field<Vec<Given<String>>>,
    subject: &Subject<'_>,
    budgets: &Budgets,
    review: &mut Review<'_>,
) -> Vec<Rung> {
    let Some(list) = field.given() else { return Vec::new() };
    if let Some(surplus) = list.value.get(RUNGS_MAX) {
        let message = format!(
            "is number {} of {} rungs; a ladder has at most {RUNGS_MAX}",
            RUNGS_MAX + 1,
            list.value.len()
        );
        review.value(surplus, message);
    }
    let one = |given| rung(given, subject, budgets, review);
    list.value.iter().take(RUNGS_MAX).filter_map(one).collect()
}

fn rung(
    given: &Given<String>,
    subject: &Subject<'_>,
    budgets: &Budgets,
    review: &mut Review<'_>,
) -> Option<Rung> {
    let text = given.value.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let Some(effect) = effects::find(word) else {
        review.value(given, unknown_effect(word));
        return None;
    };
    if effect.spec.disruption == Disruption::Node
        && subject.sensor.is_some_and(|sensor| is_about_network(sensor.target))
    {
        let message = "network tests may demote, never reboot: what has failed may be a cable or \
                       another machine, and restarting this one mends neither; give this rung to \
                       a check of the machine itself";
        review.value(given, message);
        return None;
    }
    if effect.spec.disruption == Disruption::Group && !subject.has_groups {
        let message = "there is no [[group]] in this file: nothing that the other node could take";
        review.value(given, message);
        return None;
    }
    let arguments = match (effect.spec.arguments, rest.trim()) {
        (Arguments::None, "") => Vec::new(),
        (Arguments::Script, "") if subject.runs_script => Vec::new(),
        (Arguments::Script, "") => {
            let message = "only a check of the sensor `command` with options = { protocol = \"watchdog-test\" } \
                           runs a script that can repair";
            review.value(given, message);
            return None;
        }
        (Arguments::None | Arguments::Script, _) => {
            review.value(given, format!("nothing may follow `{word}`"));
            return None;
        }
        (Arguments::Unit, "") => vec![own_unit(effect, given, subject, review)?],
        (Arguments::Unit, unit) if is_unit_name(unit) => vec![unit.to_string()],
        (Arguments::Unit, _) => {
            let message = format!(
                "after `{word}` comes one unit with its suffix, as in \"{word} nginx.service\""
            );
            review.value(given, message);
            return None;
        }
        (Arguments::Program, "") => {
            let message =
                format!("names no program; write it as in \"{word} /usr/local/sbin/repair\"");
            review.value(given, message);
            return None;
        }
        (Arguments::Program, command) => program(given, command, review)?,
    };
    let budget = budgets.get(effect.spec.name).copied().unwrap_or(effect.spec.budget);
    let deadline = effect.spec.deadline;
    Some(Rung { text: text.into(), effect: &effect.spec, arguments, budget, deadline })
}

/// Gives rungs that hand groups over the time that the units of these groups have.
pub(super) fn give_time(spec: &mut CheckSpec, groups: &[GroupConfig]) {
    let deadline = switchover::deadline(groups, spec.group.as_deref());
    let handing = |rung: &&mut Rung| rung.effect.disruption == Disruption::Group;
    spec.on_fail.iter_mut().filter(handing).for_each(|rung| rung.deadline = deadline);
}

/// Whether what is read may fail because of something outside of this machine.
const fn is_about_network(target: Target) -> bool {
    match target {
        Target::Interface | Target::HostPort | Target::Host | Target::Url => true,
        Target::Machine
        | Target::MountPoint
        | Target::Device
        | Target::Unit
        | Target::Path
        | Target::Process
        | Target::Program
        | Target::Name => false,
    }
}

/// The unit that the check itself is about.
fn own_unit(
    effect: &Effect,
    given: &Given<String>,
    subject: &Subject<'_>,
    review: &mut Review<'_>,
) -> Option<String> {
    // Without them the check has a fault already, and this would only be its echo.
    let (sensor, target) = (subject.sensor?, subject.target?);
    let unit = match sensor.target {
        Target::Unit => Some(target),
        Target::Process => target.strip_prefix("unit:"),
        // An application that sends heartbeats is named by its unit, mostly.
        Target::Name => Some(target).filter(|name| is_unit_name(name)),
        Target::Machine
        | Target::MountPoint
        | Target::Interface
        | Target::Device
        | Target::Path
        | Target::HostPort
        | Target::Host
        | Target::Url
        | Target::Program => None,
    };
    if unit.is_none() {
        let name = effect.spec.name;
        let message =
            format!("this check is about no unit; name one, as in \"{name} nginx.service\"");
        review.value(given, message);
    }
    unit.map(str::to_string)
}

/// What to say of an effect that is not known.
pub(super) fn unknown_effect(word: &str) -> String {
    let advice = suggest::advice(word, EFFECTS.iter().map(|effect| effect.spec.name));
    format!("`{}` is nothing that can be done; {advice}", shorten(word))
}
