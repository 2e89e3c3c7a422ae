//! The fence agent: it cuts the peer's power, and is then asked whether the power is off.
//!
//! The calling convention is that of the fence agents of the ClusterLabs project (FenceAgentAPI):
//! options come as `name=value` lines on the standard input, `action` among them; `off` ends with 0
//! when it is done, `status` ends with 0 if the power is on and with 2 if it is off. Only a power
//! that is off by `status` counts: an agent that only passed the wish on has confirmed nothing.

use mastiff_core::pair::event::StepId;
use mastiff_core::report::Severity;
use mastiff_core::time::{Mono, Span};

use super::Brain;
use crate::config::pair::FENCE_DEADLINE;
use crate::probes::Purpose;
use crate::probes::wire::{Ended, OUTPUT_BYTES, Output, Run};

/// What `status` may take of the agent's time; it logs in and asks once.
const STATUS_TIMEOUT: Span = Span::from_secs(10);
/// `status`: the power is off.
const POWER_OFF: i32 = 2;

/// What the agent is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// To cut the power.
    Off,
    /// Whether it is off.
    Status,
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Status => "status",
        }
    }

    const fn timeout(self) -> Span {
        match self {
            Self::Off => FENCE_DEADLINE.minus(STATUS_TIMEOUT),
            Self::Status => STATUS_TIMEOUT,
        }
    }
}

/// What the agent is doing, and for which groups: the peer has one plug, however many groups wait
/// for it to be off.
#[derive(Debug, Default)]
pub(super) struct Fencing {
    action: Option<Action>,
    steps: Vec<StepId>,
    /// Why it did not confirm when it was last called.
    pub(super) failed: Option<String>,
}

impl Fencing {
    /// How it stands: under way, or why it failed; `None`: it was not called.
    pub(super) fn words(&self) -> Option<String> {
        match (self.action, &self.failed) {
            (Some(action), _) => Some(format!("the fence agent runs: {}", action.name())),
            (None, Some(_)) => Some("the fence agent has failed, and is called again".to_string()),
            (None, None) => None,
        }
    }
}

impl Brain {
    /// A group wants the peer's power cut.
    pub(super) fn fence(&mut self, step: StepId, now: Mono) {
        self.desk.fencing.steps.push(step);
        if self.desk.fencing.action.is_some() {
            return;
        }
        let peer = self.config.pair.as_ref().map_or("", |pair| pair.peer.as_str());
        let text =
            format!("the power of {peer} is being cut: it is silent, or cannot stop what it must");
        self.events.record("fence-begins", Severity::Warning, None, &text);
        self.run_agent(Action::Off, now);
    }

    fn run_agent(&mut self, action: Action, now: Mono) {
        let agent = self.config.pair.as_ref().and_then(|pair| pair.fence.as_deref());
        let Some(([program], options)) = agent.map(|agent| agent.split_at(agent.len().min(1)))
        else {
            return self.fence_failed("there is no fence agent in the configuration");
        };
        let mut input: String = options.iter().map(|option| format!("{option}\n")).collect();
        input.push_str(&format!("action={}\n", action.name()));
        let run = Run {
            arguments: vec![program.clone()],
            environment: vec![("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into())],
            input,
            timeout: action.timeout(),
            output_max: OUTPUT_BYTES,
        };
        self.desk.fencing.action = Some(action);
        if let Err(why) = self.probes.run(Purpose::Fence, run, now) {
            self.fence_failed(&why);
        }
    }

    /// The agent has ended.
    pub(super) fn take_fenced(&mut self, result: Result<Output, String>, now: Mono) {
        let Some(action) = self.desk.fencing.action else { return };
        match (action, result) {
            (Action::Off, Ok(Output::Finished(Ended { code: Some(0), .. }))) => {
                self.run_agent(Action::Status, now);
            }
            (Action::Status, Ok(Output::Finished(Ended { code: Some(POWER_OFF), .. }))) => {
                let text = "the power of the peer is off, by the word of the fence agent";
                self.events.record("fence-ends", Severity::Warning, None, text);
                self.fenced(true);
            }
            (_, Ok(Output::Finished(Ended { code, output, took, .. }))) => {
                let line = complaint(&output);
                let how = code.map_or(format!("no exit code, after {took}"), |code| {
                    format!("exit code {code}")
                });
                let why = format!("action {} ended with {how}: {line}", action.name());
                self.fence_failed(&why);
            }
            (_, Ok(_)) => self.fence_failed("the runner gave another answer than asked for"),
            (_, Err(why)) => self.fence_failed(&why),
        }
    }

    fn fence_failed(&mut self, why: &str) {
        let text = format!("the peer's power is not confirmed off, so nothing is taken: {why}");
        self.events.record("fence-failed", Severity::Error, None, &text);
        self.fenced(false);
        self.desk.fencing.failed = Some(text);
    }

    fn fenced(&mut self, ok: bool) {
        for step in std::mem::take(&mut self.desk.fencing).steps {
            self.keeper.done(step, ok);
        }
    }
}

/// The line of an agent's output that says why it failed. Agents on the library of ClusterLabs say
/// it as an `ERROR`, after warnings of Python's and before advice; of others it is the last line.
fn complaint(output: &str) -> &str {
    let mut lines = output.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.clone().find(|line| line.contains("ERROR"));
    error.or_else(|| lines.next_back()).unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complaint_of_an_agent_is_found_among_its_chatter() {
        for (output, why) in [
            // fence_ipmilan of Debian 12, whose controller does not answer.
            (
                "/usr/sbin/fence_ipmilan:5: DeprecationWarning: 'pipes' is deprecated\n  \
                 from pipes import quote\n2026-11-21 16:55:27,386 ERROR: Connection timed out\n\n\n",
                "2026-11-21 16:55:27,386 ERROR: Connection timed out",
            ),
            (
                "WARNING:root:Parse error: Ignoring unknown option 'plug=b'\n\nERROR:root:no address\n\n\
                 ERROR:root:Please use '-h' for usage\n",
                "ERROR:root:no address",
            ),
            ("connecting\ncannot connect\n\n", "cannot connect"),
            ("Status: ON\n", "Status: ON"),
            ("\n \n", "it said nothing"),
            ("", "it said nothing"),
        ] {
            assert_eq!(complaint(output), why);
        }
    }
}
