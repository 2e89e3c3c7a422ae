//! What checks mean for groups: which belong to one, because they name it or watch one of its
//! units, and which make the other node the better place.

use mastiff_core::spec::{Disruption, Rung};
use mastiff_hwmon::sensor::Sensor;

use super::super::fault::{Review, shorten};
use super::super::raw::RawCheck;
use super::super::section::Field;
use super::super::suggest;
use super::raw::RawGroup;

/// The group of a check on `unit`, if it is on one. `None` as well where the name is none: that is
/// a fault.
pub(in super::super) fn group_of(
    raw: &RawCheck,
    unit: Option<&str>,
    groups: &[RawGroup],
    review: &mut Review<'_>,
) -> Option<Box<str>> {
    let name = |group: &RawGroup| group.name.given().map(|given| given.value.clone());
    let has = |group: &&RawGroup| {
        let units = group.units.given().map(|list| list.value.as_slice()).unwrap_or_default();
        units.iter().any(|given| Some(given.value.as_str()) == unit)
    };
    let by_unit = groups.iter().find(has).and_then(name);
    let given = match &raw.group {
        Field::Given(given) => given,
        Field::Missing => return by_unit.map(Into::into),
        Field::Refused => return None,
    };
    let names: Vec<String> = groups.iter().filter_map(name).collect();
    if !names.contains(&given.value) {
        let advice = match names.is_empty() {
            true => "there is no [[group]] in this file".to_string(),
            false => suggest::advice(&given.value, names.iter().map(String::as_str)),
        };
        review.value(given, format!("there is no such group; {advice}"));
        return None;
    }
    if let (Some(own), Some(unit)) = (by_unit.filter(|own| *own != given.value), unit) {
        let message = format!(
            "the unit \"{}\" is one of the group \"{}\", and runs where that is active",
            shorten(unit),
            shorten(&own)
        );
        review.value(given, message);
    }
    Some(given.value.as_str().into())
}

/// Whether groups are better off on the other node while a check is failed, as written or by its
/// sensor.
pub(in super::super) fn prefer_peer(
    raw: &RawCheck,
    sensor: &Sensor,
    on_fail: &[Rung],
    has_group: bool,
    groups: &[RawGroup],
    review: &mut Review<'_>,
) -> bool {
    let Some(given) = raw.prefer_peer.given() else {
        return prefers_peer(sensor, on_fail, has_group);
    };
    if given.value && has_group {
        let message = "a check of a group is not read where the group is not active, so that the other node always looks better; use the rung \"switchover\"";
        review.value(given, message.to_string());
    }
    if given.value && groups.is_empty() {
        let message = "there is no [[group]] in this file that could move; leave it out";
        review.value(given, message.to_string());
    }
    if given.value && moves(on_fail) {
        let message = "the rung \"switchover\" moves groups already, when the rungs before it have been tried; leave one of the two out";
        review.value(given, message.to_string());
    }
    given.value
}

/// What a check does that says nothing: hardware that fails is no better on the next attempt, while
/// a ladder that moves groups knows when.
pub(in super::super) fn prefers_peer(sensor: &Sensor, on_fail: &[Rung], has_group: bool) -> bool {
    sensor.hardware && !has_group && !moves(on_fail)
}

fn moves(on_fail: &[Rung]) -> bool {
    on_fail.iter().any(|rung| rung.effect.disruption == Disruption::Group)
}
