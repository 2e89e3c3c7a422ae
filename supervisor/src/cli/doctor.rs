//! `mastiff doctor`: what on this machine keeps mastiff, or the machine itself, from being as safe
//! as it could be.
//!
//! A finding is one function over [`Machine`] and one line in [`FINDINGS`]. It reads files below a
//! root, so it runs on a made-up tree, and it opens nothing that reacts to being opened: never
//! /dev/watchdog*.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use mastiff_hwmon::root::Root;
use serde::Serialize;

use super::failure::Failure;
use super::print::{self, Out, Tone, clean};
use super::{Context, status};
use crate::config::{DeviceChoice, STATE_DIR_DEFAULT, WatchdogConfig};
use crate::control::Status;

mod daemon;
mod kernel;
mod network;
mod pair;
mod platform;
mod pretimeout;
mod settings;
mod system;
mod watchdog;

/// Bytes read of one file at most.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Columns before the text of a finding: the longest severity is `PROBLEM`.
const INDENT: usize = 9;

/// Every finding, in the order in which they are shown among those of one severity.
const FINDINGS: &[fn(&Machine) -> Vec<Finding>] = &[
    daemon::runs,
    daemon::configuration,
    daemon::unit_enabled,
    daemon::state_dir,
    daemon::group,
    system::others,
    system::init,
    system::clock,
    system::journal,
    network::networkd,
    kernel::cgroup,
    kernel::pressure,
    kernel::kernel_log,
    kernel::realtime_limit,
    kernel::hung_tasks,
    kernel::panic,
    kernel::panics_on,
    kernel::crash_dump,
    kernel::last_words,
    watchdog::device,
    watchdog::rivals,
    watchdog::several,
    watchdog::nowayout,
    watchdog::counts,
    pretimeout::governor,
    platform::locked,
    platform::bmc,
    pair::connections,
];

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Severity {
    /// As it should be.
    Good,
    /// Worth knowing, often wanted so.
    Note,
    /// Something is less safe than it could be.
    Warning,
    /// Something does not work.
    Problem,
}

impl Severity {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "PROBLEM",
        }
    }

    const fn tone(self) -> Tone {
        match self {
            Self::Good => Tone::Good,
            Self::Note => Tone::Strong,
            Self::Warning => Tone::Warning,
            Self::Problem => Tone::Bad,
        }
    }

    /// The exit code.
    const fn code(self) -> u8 {
        match self {
            Self::Good | Self::Note => 0,
            Self::Warning => 1,
            Self::Problem => 2,
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    severity: Severity,
    /// What was found.
    what: String,
    /// Why it matters; empty where all is good.
    why: String,
    /// What to do; empty where all is good.
    to_do: String,
}

impl Finding {
    fn good(what: impl Into<String>) -> Vec<Self> {
        vec![Self {
            severity: Severity::Good,
            what: what.into(),
            why: String::new(),
            to_do: String::new(),
        }]
    }

    fn new(
        severity: Severity,
        what: impl Into<String>,
        why: &str,
        to_do: impl Into<String>,
    ) -> Self {
        Self { severity, what: what.into(), why: why.into(), to_do: to_do.into() }
    }
}

/// What the findings look at.
#[derive(Debug)]
pub(super) struct Machine {
    root: Root,
    /// The daemon's answer, asked once.
    daemon: Result<Status, Failure>,
    /// Where the configuration is, and its faults.
    config: PathBuf,
    faults: Option<String>,
    state_dir: PathBuf,
    /// `[watchdog]`, unless it is off.
    watchdog: Option<WatchdogConfig>,
    /// A group has its connections ended when its addresses move.
    resets: bool,
    /// Those of the floating addresses.
    interfaces: Vec<String>,
    /// May take some seconds.
    wait: bool,
}

impl Machine {
    /// The text of a file, cut at [`FILE_BYTES_MAX`].
    fn text(&self, path: &str) -> io::Result<String> {
        self.text_of(path, FILE_BYTES_MAX)
    }

    /// The same, cut at so many bytes.
    fn text_of(&self, path: &str, bytes_max: u64) -> io::Result<String> {
        let mut bytes = Vec::new();
        File::open(self.root.path(path))?.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_string())
    }

    /// The number in a file of one number.
    fn number(&self, path: &str) -> Option<i64> {
        self.text(path).ok()?.parse().ok()
    }

    fn exists(&self, path: &str) -> bool {
        // A link counts even where what it points to cannot be reached.
        self.root.path(path).symlink_metadata().is_ok()
    }

    /// Names in a directory, sorted; none if it is not there.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.root.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The folder below /etc/systemd/system that starts this unit at boot, if one does.
    fn enabled_by(&self, unit: &str) -> Option<String> {
        let folders = self.names("/etc/systemd/system").into_iter();
        folders
            .filter(|name| name.ends_with(".wants") || name.ends_with(".requires"))
            .find(|name| self.exists(&format!("/etc/systemd/system/{name}/{unit}")))
    }

    /// Whether systemd runs this machine (sd_booted(3)).
    fn runs_systemd(&self) -> bool {
        self.exists("/run/systemd/system")
    }

    /// Whether this is a container, whose kernel and hardware are somebody else's (`container` in
    /// systemd-detect-virt(1): what its manager leaves behind).
    fn is_container(&self) -> bool {
        ["/run/systemd/container", "/run/.containerenv", "/.dockerenv"]
            .iter()
            .any(|mark| self.exists(mark))
    }

    fn is_virtual(&self) -> bool {
        mastiff_hwmon::host::is_virtual(&self.root)
    }
}

/// Find what on this machine keeps it from being as safe as can be
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It changes nothing. As root it sees more.
Exit code: 0 nothing worse than a note, 1 warnings, 2 problems.")]
pub(super) struct Arguments {
    /// Look for up to 5 s whether the armed watchdog counts down
    #[arg(long)]
    wait: bool,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<u8, Failure> {
    let loaded = context.load();
    let watchdog = loaded.as_ref().ok().and_then(|config| config.watchdog.clone());
    let groups = loaded.as_ref().ok().and_then(|config| config.pair.as_ref());
    let mut groups = groups.into_iter().flat_map(|pair| &pair.groups);
    let resets = groups.any(|group| group.resets_connections && !group.addresses.is_empty());
    let interfaces = loaded.as_ref().map_or_else(|_| Vec::new(), network::interfaces);
    let machine = Machine {
        resets,
        root: Root::machine(),
        daemon: status::ask(context),
        config: context.config.clone(),
        faults: loaded.as_ref().err().map(ToString::to_string),
        watchdog: watchdog.filter(|watchdog| watchdog.device != DeviceChoice::Off),
        interfaces,
        wait: arguments.wait,
        state_dir: loaded.map_or_else(|_| STATE_DIR_DEFAULT.into(), |config| config.node.state_dir),
    };
    let findings = examine(&machine);
    let worst = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Good);
    let printed = if context.json {
        print::print_json(&findings)
    } else {
        print::print(&render(&findings, context.out))
    };
    match printed {
        Ok(()) | Err(Failure::ReaderGone) => Ok(worst.code()),
        Err(failure) => Err(failure),
    }
}

/// All findings, the worst first.
fn examine(machine: &Machine) -> Vec<Finding> {
    let mut findings: Vec<Finding> = FINDINGS.iter().flat_map(|look| look(machine)).collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

fn render(findings: &[Finding], out: Out) -> String {
    let mut text = String::new();
    let mut good = Vec::new();
    for finding in findings {
        if finding.severity == Severity::Good {
            good.push(clean(&finding.what));
            continue;
        }
        let word = finding.severity.word();
        let gap = " ".repeat(INDENT.saturating_sub(word.len()));
        let what = out.paint(Tone::Strong, &out.wrap(&finding.what, INDENT));
        text.push_str(&format!("{}{gap}{what}\n", out.paint(finding.severity.tone(), word)));
        let blanks = " ".repeat(INDENT);
        text.push_str(&format!("{blanks}{}\n", out.wrap(&finding.why, INDENT)));
        text.push_str(&format!(
            "{blanks}{}\n\n",
            out.wrap(&format!("-> {}", finding.to_do), INDENT + 3)
        ));
    }
    if !good.is_empty() {
        let word = Severity::Good.word();
        let gap = " ".repeat(INDENT.saturating_sub(word.len()));
        let list = out.wrap(&good.join("; "), INDENT);
        text.push_str(&format!("{}{gap}{list}\n", out.paint(Tone::Good, word)));
    }
    text
}

#[cfg(test)]
mod tests;
