//! `[[check]]` and `[[service]]`: what is read, what is bad, and what is done about it.

use std::ops::Range;

use mastiff_core::condition::{Condition, ConditionError};
use mastiff_core::sorted::Map;
use mastiff_core::spec::{CheckSpec, Origin};
use mastiff_core::time::Span;
use mastiff_hwmon::sensor::{Options, Sensor, Target};

use super::checked::{
    Budgets, CHECK_TIMEOUT_DEFAULT, INTERVAL, NAME_CHARS_MAX, PATIENCE, TIMEOUT, is_check_name,
    span, unknown_sensor,
};
use super::fault::{Given, Review, shorten};
use super::pair::raw::RawGroup;
use super::raw::RawCheck;
use super::section::{Field, RawOption};
use super::{CheckConfig, pair, rung, suggest};

/// Conditions in one list at most.
pub const CONDITIONS_MAX: usize = 32;

/// The checks of a file, one after the other.
pub(super) struct Checks<'a> {
    node_interval: Span,
    budgets: &'a Budgets,
    registry: &'a [&'static Sensor],
    groups: &'a [RawGroup],
    /// Each name with its line.
    names: Map<String, usize>,
    list: Vec<CheckConfig>,
}

impl<'a> Checks<'a> {
    pub(super) fn new(
        node_interval: Span,
        budgets: &'a Budgets,
        registry: &'a [&'static Sensor],
        groups: &'a [RawGroup],
    ) -> Self {
        Self { node_interval, budgets, registry, groups, names: Map::new(), list: Vec::new() }
    }

    pub(super) fn end(self) -> Vec<CheckConfig> {
        self.list
    }

    /// Looks at one check. What does not depend on its sensor is looked at even if that is unknown.
    pub(super) fn add(&mut self, raw: &RawCheck, review: &mut Review<'_>) {
        let sensor = self.sensor(raw, review);
        let target = sensor.and_then(|sensor| target(raw, sensor, review));
        let name = self.name(raw, sensor, target.as_deref(), review);
        let subject = rung::Subject {
            sensor,
            target: target.as_deref(),
            runs_script: runs_script(raw, sensor),
            has_groups: !self.groups.is_empty(),
        };
        let on_fail = rung::ladder(&raw.on_fail, &subject, self.budgets, review);
        let timeout = span(&raw.timeout, TIMEOUT, CHECK_TIMEOUT_DEFAULT, review);
        let rhythm = sensor
            .map_or(self.node_interval, |sensor| default_interval(sensor, self.node_interval));
        let interval = span(&raw.interval, INTERVAL, rhythm, review);
        let patience = sensor.map_or((Span::ZERO, Span::ZERO), |s| (s.fail_after, s.recover_after));
        let fail_after = span(&raw.fail_after, PATIENCE, patience.0, review);
        let recover_after = span(&raw.recover_after, PATIENCE, patience.1, review);
        let unit = target.as_deref().filter(|_| sensor.is_some_and(|sensor| sensor.name == "unit"));
        let group = pair::group_of(raw, unit, self.groups, review);
        let Some(sensor) = sensor else { return };
        let options = options(raw, sensor, review);
        let fail_when = conditions(&raw.fail_when, sensor, sensor.fail_when, review);
        let warn_when = conditions(&raw.warn_when, sensor, sensor.warn_when, review);
        refuse_hidden_warnings(raw, &warn_when, &fail_when, review);
        let prefer_peer =
            pair::prefer_peer(raw, sensor, &on_fail, group.is_some(), self.groups, review);
        self.list.push(CheckConfig {
            spec: CheckSpec {
                name: name.into(),
                sensor: sensor.name.into(),
                target: target.unwrap_or_default().into(),
                options: options.0.clone().into_iter().collect(),
                quantities: sensor.quantities,
                interval,
                timeout,
                warn_when,
                fail_when,
                fail_after,
                recover_after,
                origin: Origin::Configured,
                group,
                prefer_peer,
                on_fail,
            },
            sensor,
            options,
        });
    }

    fn sensor(&self, raw: &RawCheck, review: &mut Review<'_>) -> Option<&'static Sensor> {
        match &raw.sensor {
            Field::Given(given) => {
                let found = self.registry.iter().copied().find(|sensor| sensor.name == given.value);
                if found.is_none() {
                    review.value(given, unknown_sensor(&given.value, self.registry));
                }
                found
            }
            Field::Missing => {
                let names: Vec<&str> = self.registry.iter().map(|sensor| sensor.name).collect();
                let message = format!("is missing; write one of: {}", names.join(", "));
                review.key(&format!("{}.sensor", raw.section), &raw.header, message);
                None
            }
            Field::Refused => None,
        }
    }

    /// The name of a check: as written, else the sensor and its target, or the unit of a service.
    fn name(
        &mut self,
        raw: &RawCheck,
        sensor: Option<&Sensor>,
        target: Option<&str>,
        review: &mut Review<'_>,
    ) -> String {
        let key = format!("{}.name", raw.section);
        let (name, place) = match (&raw.name, sensor, target) {
            (Field::Given(given), ..) => {
                if !is_check_name(&given.value) {
                    let message = format!(
                        "must have at most {NAME_CHARS_MAX} characters and no blanks around it"
                    );
                    review.value(given, message);
                }
                (given.value.clone(), &given.span)
            }
            (Field::Missing, Some(_), Some(unit)) if raw.target_key == "unit" => {
                (unit.to_string(), &raw.header)
            }
            (Field::Missing, Some(sensor), Some(target)) => {
                let name = default_name(sensor, target);
                if !is_check_name(&name) {
                    let message = format!(
                        "is missing; the default, \"SENSOR TARGET\", would have more than {NAME_CHARS_MAX} characters"
                    );
                    review.key(&key, &raw.header, message);
                }
                (name, &raw.header)
            }
            // What would name it has a fault already.
            (Field::Missing | Field::Refused, ..) => return String::new(),
        };
        self.refuse_double(&key, &name, place, review);
        name
    }

    fn refuse_double(
        &mut self,
        key: &str,
        name: &str,
        place: &Range<usize>,
        review: &mut Review<'_>,
    ) {
        let line = review.line(place);
        let Some(first) = self.names.get(name) else {
            self.names.insert(name.to_string(), line);
            return;
        };
        let message = format!(
            "\"{}\" is also the name of the check in line {first}; give one of them another `name`",
            shorten(name)
        );
        review.key(key, place, message);
    }
}

/// `filesystem /var`, `load`.
pub(super) fn default_name(sensor: &Sensor, target: &str) -> String {
    if target.is_empty() { sensor.name.to_string() } else { format!("{} {target}", sensor.name) }
}

/// The rhythm of a check that states none: no sensor is read more often than it has news.
pub(super) fn default_interval(sensor: &Sensor, node_interval: Span) -> Span {
    sensor.interval.max(node_interval)
}

/// The default conditions of a sensor. A test over the registry demands that all of them parse.
pub(super) fn default_conditions(texts: &[&str], sensor: &Sensor) -> Vec<Condition> {
    texts.iter().filter_map(|text| Condition::parse(text, sensor.quantities).ok()).collect()
}

/// The target; `None` if it has a fault.
fn target(raw: &RawCheck, sensor: &Sensor, review: &mut Review<'_>) -> Option<String> {
    match &raw.target {
        Field::Given(given) => match sensor.target.check(&given.value) {
            Ok(()) => Some(given.value.clone()),
            Err(wanted) => {
                review.value(given, wanted);
                None
            }
        },
        Field::Missing if sensor.target == Target::Machine => Some(String::new()),
        Field::Missing => {
            let message = format!("is missing; {}", sensor.target.wanted());
            review.key(&format!("{}.{}", raw.section, raw.target_key), &raw.header, message);
            None
        }
        Field::Refused => None,
    }
}

/// Whether it runs a script of `/etc/watchdog.d` (see the option `protocol` of the sensor
/// `command`).
fn runs_script(raw: &RawCheck, sensor: Option<&Sensor>) -> bool {
    let protocol = raw.options.iter().find(|option| option.name == "protocol");
    let protocol =
        protocol.and_then(|option| option.value.given()).map(|given| given.value.as_str());
    sensor.is_some_and(|sensor| sensor.name == "command") && protocol == Some("watchdog-test")
}

fn options(raw: &RawCheck, sensor: &Sensor, review: &mut Review<'_>) -> Options {
    let mut options = Options::default();
    for RawOption { name, name_span, value } in &raw.options {
        let Some(option) = sensor.options.iter().find(|option| option.name == name) else {
            let key = format!("{}.options.{}", raw.section, shorten(name));
            review.key(&key, name_span, unknown_option(name, sensor));
            continue;
        };
        let Field::Given(given) = value else { continue };
        match (option.check)(&given.value) {
            Ok(()) => {
                options.0.insert(name.clone(), given.value.clone());
            }
            Err(message) => review.value(given, message),
        }
    }
    options
}

fn unknown_option(name: &str, sensor: &Sensor) -> String {
    if sensor.options.is_empty() {
        return format!("the sensor `{}` takes no options", sensor.name);
    }
    let advice = suggest::advice(name, sensor.options.iter().map(|option| option.name));
    format!("the sensor `{}` has no such option; {advice}", sensor.name)
}

/// The conditions of a list, or the sensor's own where there is none. An empty list means: none at
/// all.
fn conditions(
    field: &Field<Vec<Given<String>>>,
    sensor: &Sensor,
    defaults: &[&str],
    review: &mut Review<'_>,
) -> Vec<Condition> {
    let Some(list) = field.given() else { return default_conditions(defaults, sensor) };
    if let Some(surplus) = list.value.get(CONDITIONS_MAX) {
        let message = format!(
            "is number {} of {} conditions; at most {CONDITIONS_MAX} are allowed in a list",
            CONDITIONS_MAX + 1,
            list.value.len()
        );
        review.value(surplus, message);
    }
    let mut conditions: Vec<Condition> = Vec::new();
    for given in list.value.iter().take(CONDITIONS_MAX) {
        match condition(&given.value, sensor) {
            Ok(new) => {
                let double = conditions.iter().any(|old| old.implies(&new) && new.implies(old));
                if double {
                    review.value(given, "is in this list already");
                }
                conditions.push(new);
            }
            Err(message) => review.value(given, message),
        }
    }
    conditions
}

fn condition(text: &str, sensor: &Sensor) -> Result<Condition, String> {
    let condition = Condition::parse(text, sensor.quantities).map_err(|error| match error {
        ConditionError::UnknownQuantity(name) => {
            let advice = suggest::advice(&name, sensor.quantities.iter().map(|q| q.name));
            format!("the sensor `{}` has no quantity `{}`; {advice}", sensor.name, shorten(&name))
        }
        error => error.to_string(),
    })?;
    let unit = sensor.quantities.get(condition.quantity()).map(|quantity| quantity.unit);
    match unit.and_then(|unit| condition.is_settled(unit)) {
        Some(true) => Err("would always hold, whatever is measured".to_string()),
        Some(false) => Err("could never hold, whatever is measured".to_string()),
        None => Ok(condition),
    }
}

/// A warning that a failure of the same file always goes along with would never be seen: both are
/// believed after the same time. Mostly the two limits have been mixed up.
fn refuse_hidden_warnings(
    raw: &RawCheck,
    warn_when: &[Condition],
    fail_when: &[Condition],
    review: &mut Review<'_>,
) {
    let (Some(warn_list), Some(_)) = (raw.warn_when.given(), raw.fail_when.given()) else { return };
    for warning in warn_when {
        let Some(failure) = fail_when.iter().find(|failure| warning.implies(failure)) else {
            continue;
        };
        let given = warn_list.value.iter().find(|given| given.value.trim() == warning.text());
        if let Some(given) = given {
            let message = format!(
                "would never be seen: whenever it holds, `{failure}` of fail-when holds, too"
            );
            review.value(given, message);
        }
    }
}
