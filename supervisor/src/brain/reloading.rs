//! A new configuration, and what is found on the machine: the checks change while the daemon runs.

use mastiff_core::report::Severity;
use mastiff_core::time::{Mono, Span};
use mastiff_hwmon::root::Root;

use super::Brain;
use super::clients::ClientId;
use crate::config::{self, CheckConfig, Config};
use crate::control::Answer;
use crate::probes::Purpose;
use crate::probes::wire::{Job, Output};

/// Reading a configuration file takes longer only on a dead disk.
const RELOAD_TIMEOUT: Span = Span::from_secs(10);

impl Brain {
    /// Adds default checks for what appeared on the machine, and drops those of what went.
    pub(super) fn discover(&mut self, now: Mono) {
        let all = self.all_checks();
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

    /// Has the configuration read again; `client` is told how it ended.
    pub(super) fn reload(&mut self, client: Option<ClientId>, now: Mono) {
        match &mut self.reloading {
            Some(waiting) => waiting.extend(client),
            None => {
                self.reloading = Some(client.into_iter().collect());
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
        let answer = match loaded.and_then(|config| self.adopt(config, now)) {
            Ok(text) => {
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
        for client in self.reloading.take().unwrap_or_default() {
            self.clients.answer(client, &answer);
        }
    }

    /// Takes a new configuration.
    pub(super) fn adopt(&mut self, config: Config, now: Mono) -> Result<String, String> {
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
        let had = (&self.config.pair, &self.config.node.name);
        if had != (&config.pair, &config.node.name) && (config.pair.is_some() || had.0.is_some()) {
            return Err("pair: what is between the nodes changes only by a restart".to_string());
        }
        if let Some(fault) = config::not_run(&config, &self.config_path) {
            return Err(fault.to_string());
        }
        if config.witness.is_some() {
            return Err("[witness]: this daemon becomes a witness only by a restart".to_string());
        }
        self.adopt_watchdog(config.watchdog.as_ref(), now)?;
        self.alerts.configure(config.node.name.clone(), config.alerts.clone());
        self.config = config;
        // Even if the checks are the same: the rhythm and the reminders may not be.
        self.configure(self.all_checks(), now);
        Ok(format!("configuration loaded from {}", self.config_path.display()))
    }
}
