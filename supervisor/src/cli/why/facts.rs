//! What the evidence says, in the terms of the rules; and the same as lines for people.

use mastiff_core::time::Span;
use mastiff_hwmon::watchdog;

use super::evidence::{Around, Evidence};
use super::silence::Silence;
use super::wtmp::Accounts;
use crate::flight::{Kind, ROOT_LIMIT, Record, TIMEOUT};
use crate::sys::local_time::local_time;

/// What was announced longer ago than this before the last sign of life did not end the boot: a
/// rung, or a proof, takes minutes at most.
const ANNOUNCED_WITHIN_NS: i64 = 15 * 60 * 1_000_000_000;
/// Events of this time before the end are shown ...
const EVENTS_WITHIN_NS: i64 = 10 * 60 * 1_000_000_000;
/// ... and so many of them.
const EVENTS_MAX: usize = 3;
/// Lines of the journal that are shown.
const JOURNAL_MAX: usize = 3;
/// Traces of a panic that are shown; one may be in many parts.
const TRACES_MAX: usize = 6;
/// A shutdown is among the last lines of the journal.
const JOURNAL_END: usize = 40;

/// Words of PID 1 and logind when the machine goes down in order.
const GOING_DOWN: [&str; 7] = [
    "System is rebooting",
    "System is powering down",
    "The system will reboot now",
    "The system will power off now",
    "Reached target reboot.target",
    "Reached target poweroff.target",
    "Shutting down.",
];

/// Our watchdog, armed until the records stop.
pub(super) struct Armed<'a> {
    /// What it is.
    pub(super) text: &'a str,
    /// Its time-out, if the record says it.
    pub(super) timeout: Option<Span>,
    /// After how long without an answer of the root disk it was not to be petted, if ever.
    pub(super) root_limit: Option<Span>,
}

/// Fires after twice what it says: it has two stages (drivers/watchdog/iTCO_wdt.c).
const TWO_STAGES: &str = "iTCO_wdt";

/// The evidence, looked at.
pub(super) struct Facts<'a> {
    pub(super) evidence: &'a Evidence,
    pub(super) around: Option<&'a Around>,
    last: Option<&'a Record>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(evidence: &'a Evidence) -> Self {
        Self { evidence, around: evidence.around.as_ref(), last: evidence.boot.last() }
    }

    fn newest(&self, kind: Kind) -> Option<&'a Record> {
        self.evidence.boot.newest(kind)
    }

    /// A record of this kind that is new enough to have to do with the end.
    pub(super) fn at_the_end(&self, kind: Kind) -> Option<&'a Record> {
        let last = self.last?;
        let is_new =
            |record: &&Record| last.at_ns.saturating_sub(record.at_ns) < ANNOUNCED_WITHIN_NS;
        self.newest(kind).filter(is_new)
    }

    /// What was announced by a record, or where the disk did not take it any more, by last words.
    pub(super) fn announced(&self, kind: Kind) -> Option<&'a str> {
        let noted = self.at_the_end(kind).map(|record| record.text.as_str());
        noted.or_else(|| self.words().find(|(it, _)| *it == kind).map(|(_, text)| text.as_str()))
    }

    fn words(&self) -> impl Iterator<Item = &'a (Kind, String)> {
        let traces = self.around.map(|around| around.traces.iter());
        traces.into_iter().flatten().filter_map(|trace| trace.words.as_ref())
    }

    /// Whether `kind` is the newer one of both.
    fn is_after(&self, kind: Kind, other: Kind) -> bool {
        let number = |kind| self.newest(kind).map(|record| record.seq);
        number(kind) > number(other)
    }

    /// Whether mastiffd ran until the records stop.
    pub(super) fn was_running(&self) -> bool {
        self.last.is_some() && !self.is_after(Kind::Stop, Kind::Start)
    }

    /// Where it had been stopped before the end.
    pub(super) fn stopped(&self) -> Option<&'a Record> {
        self.newest(Kind::Stop).filter(|_| !self.was_running())
    }

    /// Our watchdog, if it was armed at the end.
    pub(super) fn armed(&self) -> Option<Armed<'a>> {
        let armed = self.newest(Kind::Armed).filter(|_| self.is_after(Kind::Armed, Kind::Disarmed));
        let span = |record: &Record, name: &str| {
            let (_, after) = record.text.split_once(name)?;
            Span::parse(after.split([',', ';', ')']).next()?).ok()
        };
        armed.map(|record| Armed {
            text: &record.text,
            timeout: span(record, TIMEOUT),
            root_limit: span(record, ROOT_LIMIT),
        })
    }

    /// What is known of the silence at the end; `None` where no watchdog was armed that says when
    /// it fires.
    pub(super) fn silence(&self) -> Option<Silence<'a>> {
        let armed = self.armed()?;
        let timeout = armed.timeout?;
        let fires_after = timeout.times(if armed.text.contains(TWO_STAGES) { 2 } else { 1 });
        let (root_limit, others) = (armed.root_limit, &self.evidence.others);
        Some(Silence { gone: self.gone(), timeout, fires_after, root_limit, others })
    }

    /// Why it was not petted any more. A refusal that was taken back is followed by `armed`.
    pub(super) fn refused(&self) -> Option<&'a str> {
        let was_noted = self.newest(Kind::Refused).is_some();
        let is_last = !was_noted || self.is_after(Kind::Refused, Kind::Armed);
        self.announced(Kind::Refused).filter(|_| is_last)
    }

    /// Whether petting ended after the machine had begun to go down.
    pub(super) fn gave_up_going_down(&self) -> bool {
        self.refused().is_some() && self.is_after(Kind::Refused, Kind::GoingDown)
    }

    /// How it went down, if it did so in order.
    pub(super) fn going_down(&self) -> Option<String> {
        if let Some(record) = self.at_the_end(Kind::GoingDown) {
            return Some(record.text.clone());
        }
        let around = self.around?;
        if let Accounts::Shutdown { at, .. } = around.accounts {
            return Some(format!("wtmp says so ({})", moment(at.saturating_mul(1000))));
        }
        let end = around.journal.iter().rev().take(JOURNAL_END);
        let is_end = |line: &&String| GOING_DOWN.iter().any(|words| line.contains(words));
        end.rev().find(is_end).map(|line| format!("the journal says \"{line}\""))
    }

    /// From the last sign of life to the start of the next boot; nothing where a clock was wrong.
    pub(super) fn gone(&self) -> Option<Span> {
        let (last, next) = (self.last?.unix_ms, self.evidence.next_began_ms?);
        next.checked_sub(last).map(|gone| Span::from_secs(gone / 1000))
    }

    /// `some time after 2026-11-21 03:12:45`.
    pub(super) fn after_life(&self) -> String {
        match self.last {
            Some(last) => format!("some time after {}", moment(last.unix_ms)),
            None => "at an unknown time".to_string(),
        }
    }

    /// The evidence for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(last) = self.last {
            lines.push(format!("last sign of life: {} ({})", moment(last.unix_ms), last.text));
            let pulse = self.newest(Kind::Pulse).or(self.newest(Kind::LastPulse));
            let pulse = pulse.filter(|pulse| pulse.text != last.text);
            lines.extend(
                pulse.map(|it| format!("last readings: {}, {}", moment(it.unix_ms), it.text)),
            );
        }
        if let Some(next) = self.evidence.next_began_ms {
            let gone = self.gone().map(|gone| format!(", {gone} later")).unwrap_or_default();
            lines.push(format!("the next boot began: {}{gone}", moment(next)));
        }
        // What was announced needs no sums.
        if self.going_down().is_none() && self.refused().is_none() {
            lines.extend(self.silence().and_then(|silence| silence.line()));
        }
        lines.extend(self.records());
        lines.extend(self.events());
        if let Some(around) = self.around {
            lines.extend(others(around));
        }
        if self.evidence.damaged > 0 {
            let count = self.evidence.damaged;
            lines.push(format!("{count} slots of the flight record are damaged"));
        }
        lines
    }

    /// What we noted ourselves.
    fn records(&self) -> Vec<String> {
        let noted = |kind, what: &str| {
            let record = self.newest(kind);
            record.map(|it| format!("{what}: {} ({})", it.text, moment(it.unix_ms)))
        };
        let armed = match self.armed() {
            Some(_) => noted(Kind::Armed, "the watchdog was armed"),
            None if self.last.is_some() => {
                let stopped = noted(Kind::Disarmed, "the watchdog was stopped");
                stopped.or(Some("mastiffd had armed no watchdog".to_string()))
            }
            None => None,
        };
        let words = [
            (Kind::Refused, "not petted any more"),
            (Kind::Rung, "announced"),
            (Kind::SelfTest, "announced"),
            (Kind::GoingDown, "clean shutdown"),
            (Kind::Stop, "the daemon was stopped"),
        ];
        // What was taken back ended nothing.
        let stands = |kind| kind != Kind::Refused || self.refused().is_some();
        let ends = words.into_iter().filter(|(kind, _)| self.at_the_end(*kind).is_some());
        let ends = ends.filter(|(kind, _)| stands(*kind));
        let ends = ends.filter_map(|(kind, what)| noted(kind, what));
        armed.into_iter().chain(ends).collect()
    }

    /// The last things that went wrong.
    fn events(&self) -> Vec<String> {
        let end = self.last.map_or(0, |last| last.at_ns);
        let is_bad = |record: &&&Record| {
            let bad = |word: &str| word == "warning" || word == "error";
            record.event.as_ref().is_some_and(|event| bad(&event.severity))
                && end.saturating_sub(record.at_ns) < EVENTS_WITHIN_NS
        };
        let records: Vec<&Record> = self.evidence.boot.records.iter().collect();
        let bad: Vec<&&Record> = records.iter().filter(is_bad).collect();
        let shown = bad.iter().skip(bad.len().saturating_sub(EVENTS_MAX));
        shown.map(|it| format!("before that: {}, {}", moment(it.unix_ms), it.text)).collect()
    }

    /// What would make the next end clearer.
    pub(super) fn next_time(&self) -> Vec<String> {
        let mut wanted = Vec::new();
        if self.last.is_none() {
            wanted.push("let mastiffd run from the boot on: systemctl enable --now mastiff");
        } else if self.armed().is_none() {
            wanted.push("an armed watchdog tells a machine that hangs from one without power");
        }
        let Some(around) = self.around else {
            return wanted.into_iter().map(String::from).collect();
        };
        if around.journal.is_empty() {
            wanted.push("keep the journal over a boot: mkdir -p /var/log/journal, then reboot");
        }
        if !around.has_pstore {
            wanted.push("a place for the kernel's last words: pstore (efi_pstore, erst, ramoops)");
        }
        wanted.into_iter().map(String::from).collect()
    }
}

/// What others left.
fn others(around: &Around) -> Vec<String> {
    let mut lines = Vec::new();
    for status in &around.bootstatus {
        let words: Vec<&str> = watchdog::flags(status.bits).collect();
        let words = if words.is_empty() { "nothing".to_string() } else { words.join(", ") };
        lines.push(format!("{} ({}) says of this boot: {words}", status.device, status.driver));
    }
    for trace in around.traces.iter().take(TRACES_MAX) {
        let words = trace.words.as_ref().map(|(kind, text)| format!("{}: {text}", kind.name()));
        let what = trace.panic.clone().or(words).unwrap_or_else(|| trace.first.clone());
        let what = if trace.is_dump { "a dump of the kernel" } else { &what };
        lines.push(format!("{}: {what}", trace.path));
    }
    match around.accounts {
        Accounts::Silent => {}
        Accounts::Shutdown { at, .. } => {
            let at = moment(at.saturating_mul(1000));
            lines.push(format!("/var/log/wtmp: shut down {at}"));
        }
        Accounts::NoShutdown { .. } => {
            lines.push("/var/log/wtmp: no shutdown before this boot".to_string());
        }
    }
    let end = around.journal.iter().skip(around.journal.len().saturating_sub(JOURNAL_MAX));
    lines.extend(end.map(|line| format!("the journal's end: {line}")));
    lines
}

/// A moment as the operator's clock shows it.
pub(super) fn moment(unix_ms: u64) -> String {
    let at = i64::try_from(unix_ms / 1000).ok().and_then(local_time);
    at.unwrap_or_else(|| "at an unknown time".into())
}
