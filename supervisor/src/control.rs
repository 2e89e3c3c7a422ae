//! The control socket's language: one JSON object a line, each way.
//!
//! A request is answered by one line, [`Answer`]; `events` with `follow` is answered by a line for
//! each event until the client leaves. Unknown fields of a request are refused, unknown fields of
//! an answer are ignored, so an older `mastiff` can read a newer daemon.

use mastiff_core::health::Verdict;
use mastiff_core::view::{CheckView, PauseView};
use serde::{Deserialize, Serialize};

/// Bytes of one request at most.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The node in short, and all checks.
    Status {},
    /// One check, whole.
    Explain {
        /// Its name.
        check: String,
    },
    /// What happened.
    Events {
        /// At most so many of the newest.
        #[serde(default)]
        last: Option<usize>,
        /// Then each new one as it happens.
        #[serde(default)]
        follow: bool,
    },
    /// Begins maintenance. For root only.
    Pause {
        /// The check; without it the whole node.
        #[serde(default)]
        check: Option<String>,
        /// How long, in seconds.
        for_secs: f64,
        /// Why, for others to read.
        why: String,
    },
    /// Ends maintenance. For root only.
    Resume {
        /// The check; without it the whole node.
        #[serde(default)]
        check: Option<String>,
    },
    /// Forgets the resets that the boot-loop guard has counted. For root only.
    ClearBootLoopGuard {},
    /// Reads the configuration again. For root only.
    Reload {
        /// On trial: after so many seconds the former one is back, unless confirmed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm_secs: Option<f64>,
    },
    /// The configuration that is on trial stays. For root only.
    ConfirmReload {},
    /// Hands a group over, if the peer is ready. For root only.
    Switchover {
        /// The group; not needed where there is one.
        #[serde(default)]
        group: Option<String>,
    },
    /// Takes a group over although its owner is silent. For root only.
    Failover {
        /// The group; not needed where there is one.
        #[serde(default)]
        group: Option<String>,
        /// The operator vouches that the peer is off and stays off.
        #[serde(default)]
        peer_is_off: bool,
    },

    /// Lets the watchdog reset the machine, to see that it does. For root only.
    Prove {},
    /// The machine goes down: nothing is repaired any more. For root only.
    GoDown {
        /// How, in words: `reboot`, `poweroff`, `kexec`.
        how: String,
    },
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To `status`.
    Status(Box<Status>),
    /// To `explain`.
    Check(Box<CheckView>),
    /// To `events`.
    Events(Vec<EventView>),
    /// A new event, to `events` with `follow`.
    Event(EventView),
    /// What was asked is done; in words.
    Done(String),
    /// What was asked is refused; in words.
    Error(String),
}

/// The node in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub node: String,
    /// The daemon's version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// Seconds since the daemon started.
    pub up_secs: f64,
    /// The file that it runs on.
    pub config: String,
    /// The worst verdict of all checks that are not paused.
    pub verdict: Verdict,
    /// How it stands in words: the systemd status line.
    pub summary: String,
    /// Every check has been read at least once.
    pub ready: bool,
    /// All checks, the worst first.
    pub checks: Vec<CheckView>,
    /// Maintenance.
    pub pauses: Vec<PauseView>,
    /// The boot-loop guard; a daemon before it had none.
    #[serde(default)]
    pub boot_loop: Option<BootLoopStatus>,
    /// Seconds until the former configuration is back, unless the one on trial is confirmed.
    #[serde(default)]
    pub trial_left_secs: Option<f64>,
    /// The rung by which this machine is on its way down, and how far it is, in words.
    #[serde(default)]
    pub going: Option<String>,
    /// The pair, if this node is in one.
    #[serde(default)]
    pub pair: Option<PairStatus>,
    /// The watchdog, if one is wanted.
    #[serde(default)]
    pub watchdog: Option<WatchdogStatus>,
    /// How late the two loops run.
    pub lateness: Lateness,
    /// Numbers about the daemon itself, such as `events`, `alerts-waiting`, `alerts-dropped`,
    /// `probers-abandoned`, `requests-refused`, by name.
    pub counters: Vec<(String, u64)>,
}

/// The watchdog that is petted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchdogStatus {
    /// As configured: `auto`, `pid1`, a device.
    pub device: String,
    /// Why there is none; `None`: it is armed, or PID 1 has it.
    pub why_none: Option<String>,
    /// Why it is not petted; `None`: it is.
    pub refusal: Option<String>,
    /// As below /dev, if it is in the class.
    pub name: Option<String>,
    /// What the driver calls it.
    pub identity: Option<String>,
    /// The driver.
    pub driver: Option<String>,
    /// Whether it dies with the kernel that it should reset.
    pub is_software: bool,
    /// After how long it fires, as the driver says.
    pub timeout_secs: Option<u64>,
    /// How long before that it warns.
    pub pretimeout_secs: Option<u64>,
    /// After how long it fires, as far as is known: what it says, or what it was seen to take.
    pub fires_after_secs: Option<u64>,
    /// Once started it cannot be stopped.
    pub nowayout: Option<bool>,
    /// Seconds since it was petted.
    pub petted_secs_ago: Option<f64>,
    /// Unix time, in milliseconds, at which it was last seen to reset the machine.
    pub proven_at_unix_ms: Option<u64>,
    /// Seconds that it took then, after the last pet.
    pub proven_fired_after_secs: Option<u64>,
    /// Pets done.
    pub pets: u64,
    /// Pets that the driver refused.
    pub failed: u64,
    /// Permits to pet that were void when the driver was free.
    pub expired: u64,
    /// The longest call to pet, in milliseconds.
    pub slowest_ms: f64,
    /// What the driver finds wrong, in words; `None`: nothing, or it does not say.
    pub alarm: Option<String>,
    /// Degrees Celsius at the device; `None`: it has no thermometer.
    pub celsius: Option<i32>,
    /// Seconds that were left right after a pet; `None`: the driver does not say.
    pub timeleft_secs: Option<u32>,
}

/// What the boot-loop guard has counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootLoopStatus {
    /// Whether this boot only observes: no rung `reboot` or `reset`, no group is asked for.
    pub observes_only: bool,
    /// Resets that this machine caused itself within `within_secs`.
    pub resets: u32,
    /// With so many it only observes.
    pub resets_max: u32,
    /// The stretch that is looked at, in seconds.
    pub within_secs: f64,
    /// Seconds for which nothing may be failed or unknown until resets are possible again; `None`
    /// while something is, or where they are possible.
    pub calm_left_secs: Option<f64>,
}

/// The pair, seen from this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairStatus {
    /// Its name.
    pub name: String,
    /// The other node.
    pub peer: String,
    /// `witness`, `wire` or `fence`.
    pub arbiter: String,
    /// What closes the packet path when the daemon cannot, as in `BPF (tcx)`.
    pub guard: String,
    /// Why the keeper is no real-time thread, if it is none.
    pub not_realtime: Option<String>,
    /// Why the fence agent did not confirm that the other node is off, when it was last called.
    #[serde(default)]
    pub not_fenced: Option<String>,
    /// What is wrong with the dates of the nodes, in words. No lease depends on them.
    #[serde(default)]
    pub date_warnings: Vec<String>,
    /// `takeover-within`, in seconds.
    #[serde(default)]
    pub takeover_within_secs: f64,
    /// All groups.
    pub groups: Vec<GroupStatus>,
    /// The paths to the peer, then the one to the witness.
    pub paths: Vec<PathStatus>,
}

/// A group, seen from this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// What this node is for it: `active`, `standby`, `waiting`, `fault`, `maintenance`, `taking`,
    /// `yielding`.
    pub role: String,
    /// Seconds since the role changed.
    pub for_secs: f64,
    /// Why it changed, in words.
    pub cause: Option<String>,
    /// The epoch of the lease, or the highest known.
    pub epoch: u64,
    /// Milliseconds until the lease ends, if one is held.
    pub lease_left_ms: Option<f64>,
    /// Why this node could not take it, in words; `None`: it could.
    pub not_ready: Option<String>,
    /// The other node's role; `None` while it is silent.
    pub peer_role: Option<String>,
    /// Why the other node could not take it, in words.
    pub peer_not_ready: Option<String>,
    /// The failed checks for which it is better off on the other node (`prefer-peer`).
    #[serde(default)]
    pub failing: Vec<String>,
    /// Whether the other node says the same of itself.
    #[serde(default)]
    pub peer_failing: bool,
    /// What it waits for, where it is not at rest.
    #[serde(default)]
    pub waits: Option<WaitStatus>,
    /// How long a takeover from a silent owner waits; `None` where its units may run twice.
    #[serde(default)]
    pub stop: Option<StopStatus>,
    /// Its addresses, as configured.
    pub addresses: Vec<String>,
    /// Who answers for each address, while it is not here.
    #[serde(default)]
    pub answers: Vec<AnswerStatus>,
    /// Its units, as configured.
    #[serde(default)]
    pub units: Vec<String>,
    /// `start-within`, of all units together, in seconds.
    #[serde(default)]
    pub start_within_secs: f64,
    /// `stop-within`, of all units together, in seconds.
    #[serde(default)]
    pub stop_within_secs: f64,
    /// Why the last step of its units failed, or what the one under way waits for.
    #[serde(default)]
    pub units_trouble: Option<String>,
}

/// Who answers for an address that is not here, as this node found when it last asked its network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerStatus {
    /// The address.
    pub address: String,
    /// `good`: the owner alone, or nobody where nobody has it; `in-use`: somebody else;
    /// `unanswered`: nobody, though the other node has it; `unknown`.
    pub state: String,
    /// In words.
    pub text: String,
}

/// What a group waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitStatus {
    /// In words.
    pub why: String,
    /// Seconds until it is over at the latest; `None`: nobody knows.
    pub left_secs: Option<f64>,
    /// What ends it sooner, and what an operator can do, in words.
    pub help: Option<String>,
}

/// For units that must not run twice: how long they may outlive a lease, and what is known of it
/// where it counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopStatus {
    /// Those of this node, in seconds; `None`: no armed watchdog ends them.
    pub here_secs: Option<f64>,
    /// What the other node reckons with for them, by its own word.
    pub known_there_secs: Option<f64>,
    /// Those of the other node, in seconds; `None`: it never told.
    pub peer_secs: Option<f64>,
    /// Whether a fence agent can end the wait.
    pub fenced: bool,
}

/// A path to another machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathStatus {
    /// To whom: the other node's name, or `witness`.
    pub to: String,
    /// This node's end; empty where the kernel chooses it.
    pub local: String,
    /// The other end.
    pub remote: String,
    /// Whether there is a socket.
    pub open: bool,
    /// Milliseconds since something was heard on it; `None`: never.
    pub heard_ms_ago: Option<f64>,
    /// Questions without an answer, of the last ten seconds, in percent; `None`: nothing asked.
    pub loss_percent: Option<f64>,
    /// Milliseconds from a question to its answer, the shortest of the last ten to twenty seconds.
    pub round_trip_ms: Option<f64>,
    /// Datagrams that came from the other end and were no message for this node.
    #[serde(default)]
    pub refused: u64,
    /// Why the newest of them was not; `None`: there was none in the last minute.
    pub refusal: Option<String>,
}

/// How late a loop woke up after the moment it had asked for, over the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lateness {
    /// The keeper's latest turn in the last minute, in milliseconds.
    pub keeper_max_ms: f64,
    /// The keeper's latest turn since the start, in milliseconds.
    pub keeper_worst_ms: f64,
    /// Milliseconds since the keeper last reported.
    pub keeper_age_ms: f64,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// Grows by one with each event, across restarts.
    pub seq: u64,
    /// When, as milliseconds of Unix time.
    pub at_unix_ms: u64,
    /// What sort of event: `verdict`, `rung-starts`, `rung-ends`, `ladder-waits`, `flapping`,
    /// `pause-begins`, `pause-ends`, `check-appears`, `check-goes`, `daemon-starts`,
    /// `daemon-stops`, `config-loaded`, `config-refused`, `alert-lost`, `prober-abandoned` ...
    pub kind: String,
    /// `info`, `notice`, `warning` or `error`.
    pub severity: String,
    /// The check, if it is about one.
    pub check: Option<String>,
    /// In words.
    pub text: String,
}
