//! A new configuration, and what is found on the machine: the checks change while the daemon runs.

use mastiff_core::report::Severity;
use mastiff_core::spec::Origin;
use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::root::Root;

use super::Brain;
use super::clients::ClientId;
use crate::config::pair::{GroupConfig, change};
use crate::config::{self, CheckConfig, Config};
use crate::control::Answer;
use crate::keeper::setup::{group_key, terms};
use crate::probes::Purpose;
use crate::probes::wire::{Job, Output};

/// Reading a configuration file takes longer only on a dead disk.
const RELOAD_TIMEOUT: Span = Span::from_secs(10);
/// A configuration is on trial for as long as somebody needs to look ...
pub(super) const TRIAL_MIN: Span = Span::from_secs(1);
/// ... and not for ever.
pub(super) const TRIAL_MAX: Span = Span::from_secs(3600);
/// When going back did not work (a busy driver), it is tried again after this.
const ROLL_BACK_AGAIN: Span = Span::from_secs(5);

/// Reloads under way, and what is on trial.
#[derive(Debug, Default)]
pub(super) struct Reloading {
    /// Clients that wait for a reload to end.
    waiting: Option<Vec<ClientId>>,
    /// The one under way is to be on trial for so long.
    wanted: Option<Span>,
    trial: Option<Trial>,
}

/// A configuration that must be confirmed.
#[derive(Debug)]
struct Trial {
    /// What was last known to be good.
    former: Box<Config>,
    until: Mono,
    /// Going back failed: said once.
    failed: bool,
}

impl Reloading {
    /// How long the configuration is still on trial.
    pub(super) fn trial_left(&self, now: Mono) -> Option<Span> {
        self.trial.as_ref().map(|trial| trial.until.since(now))
    }

    pub(super) fn next_deadline(&self) -> Mono {
        self.trial.as_ref().map_or(Mono::FAR, |trial| trial.until)
    }

    /// A configuration was loaded; what is to be said of it. Whatever is loaded during a trial is
    /// on trial as well: it is the configuration before it that was known to be good.
    fn begin_trial(&mut self, wanted: Option<Span>, former: Config, now: Mono) -> String {
        if let Some(span) = wanted {
            let former = self.trial.take().map_or_else(|| Box::new(former), |trial| trial.former);
            self.trial = Some(Trial { former, until: now.after(span), failed: false });
        }
        match self.trial_left(now) {
            None => String::new(),
            Some(left) => format!(
                "; the former one is back in {left} unless you confirm it: \
                 mastiff reload --confirmed"
            ),
        }
    }
}

/// Adds to `all` the default checks of hardware that had failed before it went.
fn keep_failed<'a>(
    all: &mut Vec<CheckConfig>,
    known: impl Iterator<Item = &'a CheckConfig>,
    has_failed: impl Fn(&str) -> bool,
) {
    for check in known {
        let is_found = check.spec.origin == Origin::Discovered && check.sensor.hardware;
        let is_there = all.iter().any(|other| other.spec.name == check.spec.name);
        if is_found && !is_there && has_failed(&check.spec.name) {
            all.push(check.clone());
        }
    }
}

impl Brain {
    /// Adds default checks for what appeared on the machine, and drops those of what went: but not
    /// of hardware that had failed before, since a disk that dies falls off its bus.
    pub(super) fn discover(&mut self, now: Mono) {
        let mut all = self.all_checks();
        keep_failed(&mut all, self.probes.configs(), |name| self.node.has_failed(name));
        if !self.probes.has_exactly(&all) {
            self.configure(all, now);
        }
    }

    /// Those of the file, and what is found on the machine.
    pub(super) fn all_checks(&self) -> Vec<CheckConfig> {
        let found = config::discovered(&self.config.node, &Root::machine(), &self.config.checks);
        self.config.checks.iter().cloned().chain(found).collect()
    }

    pub(super) fn configure(&mut self, checks: Vec<CheckConfig>, now: Mono) {
        let mut actions = Vec::new();
        let specs = checks.iter().map(|check| check.spec.clone()).collect();
        let ids = self.node.configure(self.config.node.policy, specs, now, &mut actions);
        self.probes.configure(ids.into_iter().zip(checks).collect(), false);
        self.perform(actions, now);
        self.decide(now);
    }

    /// Has the configuration read again; `client` is told how it ended. With `trial` the former one
    /// is back after that time, unless this one is confirmed.
    pub(super) fn reload(&mut self, client: Option<ClientId>, trial: Option<Span>, now: Mono) {
        if trial.is_some() {
            self.reloading.wanted = trial;
        }
        match &mut self.reloading.waiting {
            Some(waiting) => waiting.extend(client),
            None => {
                self.reloading.waiting = Some(client.into_iter().collect());
                // Its end is told by READY=1, which nobody may hear before the first round is over.
                if self.ready {
                    self.notify.reloading();
                }
                let job = Job::Load {
                    path: self.config_path.display().to_string(),
                    named: self.config_named,
                };
                if let Err(why) = self.probes.file(Purpose::Reload, job, RELOAD_TIMEOUT, now) {
                    self.take_config(Err(why), now);
                }
            }
        }
    }

    pub(super) fn take_config(&mut self, result: Result<Output, String>, now: Mono) {
        let loaded = match result {
            Ok(Output::Text(text)) => {
                config::load_text(&text, &self.config_path).map_err(|faults| faults.to_string())
            }
            Ok(_) => Err("the prober gave another answer than asked for".to_string()),
            Err(why) => Err(why),
        };
        let wanted = self.reloading.wanted.take();
        let former = self.config.clone();
        let answer = match loaded.and_then(|config| self.adopt(config, now)) {
            Ok(()) => {
                let mut text = format!("configuration loaded from {}", self.config_path.display());
                text.push_str(&self.reloading.begin_trial(wanted, former, now));
                self.events.record("config-loaded", Severity::Notice, None, &text);
                Answer::Done(text)
            }
            Err(faults) => {
                let text = format!("the configuration was not loaded, the old one stays: {faults}");
                self.events.record("config-refused", Severity::Error, None, &text);
                Answer::Error(text)
            }
        };
        if self.ready {
            self.notify.ready();
        }
        for client in self.reloading.waiting.take().unwrap_or_default() {
            self.clients.answer(client, &answer);
        }
    }

    /// What is on trial stays.
    pub(super) fn confirm_reload(&mut self) -> Answer {
        if self.reloading.trial.take().is_none() {
            return Answer::Error("no configuration is on trial".to_string());
        }
        let text = "the configuration on trial is confirmed: it stays";
        self.events.record("config-confirmed", Severity::Notice, None, text);
        Answer::Done(text.to_string())
    }

    /// Nobody confirmed it in time: the former one is back.
    pub(super) fn keep_trial(&mut self, now: Mono) {
        let is_over = |trial: &mut Trial| now >= trial.until && self.ending.is_none();
        let Some(mut trial) = self.reloading.trial.take_if(is_over) else { return };
        match self.adopt((*trial.former).clone(), now) {
            Ok(()) => {
                let text = format!(
                    "nobody confirmed the configuration: the former one is back; {} still has \
                     the other, which the next reload or restart takes",
                    self.config_path.display()
                );
                self.events.record("config-rolled-back", Severity::Warning, None, &text);
            }
            Err(why) => {
                if !std::mem::replace(&mut trial.failed, true) {
                    let text = format!("cannot go back to the former configuration: {why}");
                    self.events.record("config-refused", Severity::Error, None, &text);
                }
                trial.until = now.after(ROLL_BACK_AGAIN);
                self.reloading.trial = Some(trial);
            }
        }
    }

    /// Takes a new configuration.
    fn adopt(&mut self, mut config: Config, now: Mono) -> Result<(), String> {
        for (key, old, new) in [
            ("node.state-dir", &self.config.node.state_dir, &config.node.state_dir),
            ("node.run-dir", &self.config.node.run_dir, &config.node.run_dir),
        ] {
            if old != new {
                return Err(format!(
                    "{key}: moves from {} to {} only by a restart",
                    old.display(),
                    new.display()
                ));
            }
        }
        let changes = change::between(&self.config, &config);
        if !changes.is_empty() {
            let names: Vec<&str> =
                self.desk.groups().iter().map(|(_, name)| name.as_str()).collect();
            return Err(change::refusal(&changes, &names));
        }
        if let Some(fault) = config::not_run(&config, &self.config_path) {
            return Err(fault.to_string());
        }
        if config.witness.is_some() {
            return Err("[witness]: this daemon becomes a witness only by a restart".to_string());
        }
        self.allows_watchdog(config.watchdog.as_ref())?;
        // All or nothing: this is the last that may fail, and the first that changes something.
        self.agree(&mut config)?;
        self.adopt_watchdog(config.watchdog.as_ref(), now);
        self.alerts.configure(config.node.name.clone(), config.alerts.clone());
        self.config = config;
        // Even if the checks are the same: the rhythm and the reminders may not be.
        self.configure(self.all_checks(), now);
        self.tell_watchdog(now);
        Ok(())
    }

    /// Takes over what may change of the groups. They stay in the order that the keeper knows.
    fn agree(&mut self, config: &mut Config) -> Result<(), String> {
        let Some(pair) = &mut config.pair else { return Ok(()) };
        let known = self.desk.groups();
        let place = |group: &GroupConfig| known.iter().position(|(_, name)| *name == group.name);
        pair.groups.sort_by_key(place);
        let terms_of =
            |group: &GroupConfig| (group_key(&group.name), terms(pair, group, &config.node.name));
        if self.keeper.agree(pair.groups.iter().map(terms_of).collect()) {
            Ok(())
        } else {
            Err("pair: the keeper is overloaded; try again".to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_disk_that_failed_and_fell_off_its_bus_is_still_failed() {
        let tree = concat!(env!("CARGO_MANIFEST_DIR"), "/../hwmon/tests/trees/healthy");
        let node = config::load_text("", Path::new("mastiff.toml")).unwrap().node;
        let known = config::discovered(&node, &Root::recorded(tree), &[]);
        let name = |check: &CheckConfig| check.spec.name.to_string();
        let hardware = known.iter().find(|check| check.sensor.hardware).map(name).unwrap();
        let software = known.iter().find(|check| !check.sensor.hardware).map(name).unwrap();
        let kept = |failed: &[&String], there: &[CheckConfig]| {
            let mut all = there.to_vec();
            keep_failed(&mut all, known.iter(), |name| failed.iter().any(|it| *it == name));
            all.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(kept(&[&hardware, &software], &[]).join(","), hardware);
        assert!(kept(&[], &[]).is_empty());
        assert_eq!(kept(&[&hardware], &known).len(), known.len(), "each once");
    }
}
