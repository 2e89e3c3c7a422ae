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
    /// Reads the configuration again. For root only.
    Reload {},
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
    /// How late the two loops run.
    pub lateness: Lateness,
    /// Numbers about the daemon itself, such as `events`, `alerts-waiting`, `alerts-dropped`,
    /// `probers-abandoned`, `requests-refused`, by name.
    pub counters: Vec<(String, u64)>,
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
