//! Why a boot ended: rules over the evidence, the surest first. The first one that knows decides.
//!
//! A lost supply, a reset from outside and a watchdog that fired leave the same trace: none. What
//! tells them apart is whether a watchdog was armed, what it says itself (many always say nothing),
//! and how long the machine was gone: a watchdog waits for its time-out before it resets.

use mastiff_core::time::Span;
use serde::Serialize;

use super::evidence::{BootStatus, Evidence};
use super::facts::Facts;
use super::silence::{EARLY, Meaning, Silence};
use super::traces::{is_panic, plain};
use super::wtmp::Accounts;
use crate::flight::Kind;

/// `WDIOF_CARDRESET`: the watchdog reset the machine (linux/watchdog.h).
const CARD_RESET: u64 = 0x20;
/// Drivers that read from the hardware whether it fired, so that their silence counts. Others never
/// look (softdog, iTCO_wdt, bcm2835_wdt) or depend on the firmware (wdat_wdt).
const HONEST: [&str; 4] = ["i6300esb", "i6300ESB timer", "sp5100-tco", "SP5100 TCO timer"];
/// From the reset to the kernel's start, on a machine that is quick about it.
const FIRMWARE: Span = Span::from_secs(60);
/// Servers take minutes for their self-test. Gone for longer than this it was off.
const FIRMWARE_MAX: Span = Span::from_secs(1800);

/// A boot that begins so soon after mastiffd was stopped was the reason for the stop.
const STOPPED_WITHIN: Span = Span::from_secs(300);

/// What ended the boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum Cause {
    /// A rung of mastiffd.
    Rung,
    /// `mastiff watchdog prove`.
    SelfTest,
    /// A watchdog, since the machine hung or mastiffd would not pet it.
    Watchdog,
    /// A kernel panic.
    Panic,
    /// The supply was lost, or somebody reset it from outside.
    Power,
    /// An orderly reboot or shutdown.
    Clean,
    /// There is not enough evidence.
    Unknown,
}

/// How sure that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::cli) enum Confidence {
    /// Somebody who must know says so.
    Certain,
    /// Everything fits, and little else does.
    Likely,
    /// It fits, and other causes do, too.
    Guess,
}

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Verdict {
    /// What ended the boot.
    pub(in crate::cli) cause: Cause,
    /// How sure that is.
    pub(in crate::cli) confidence: Confidence,
    /// In words.
    pub(in crate::cli) sentence: String,
    /// What that rests on, and what else is known of the end.
    pub(in crate::cli) evidence: Vec<String>,
    /// What would make the next end clearer.
    pub(in crate::cli) next_time: Vec<String>,
}

impl Verdict {
    /// The sentence, and how sure it is.
    pub(in crate::cli) fn words(&self) -> String {
        let sure = match (self.cause, self.confidence) {
            (Cause::Unknown, _) => "",
            (_, Confidence::Certain) => " (certain)",
            (_, Confidence::Likely) => " (likely)",
            (_, Confidence::Guess) => " (a guess)",
        };
        format!("{}{sure}.", self.sentence)
    }
}

/// A cause that a rule has found.
type Found = Option<(Cause, Confidence, String)>;

/// The surest first.
const RULES: [fn(&Facts<'_>) -> Found; 8] =
    [self_test, rung, panic, watchdog_says, shutdown, watchdog_fits, power, stopped];

/// Why the boot ended.
pub(in crate::cli) fn judge(evidence: &Evidence) -> Verdict {
    let facts = Facts::of(evidence);
    let found = RULES.into_iter().find_map(|rule| rule(&facts));
    let (cause, confidence, sentence) = found.unwrap_or_else(|| unknown(&facts));
    let next_time = if confidence == Confidence::Certain { Vec::new() } else { facts.next_time() };
    Verdict { cause, confidence, sentence, evidence: facts.lines(), next_time }
}

/// What was said before the end, by somebody who then did it.
fn self_test(facts: &Facts<'_>) -> Found {
    // One that did not fire is no reason for a shutdown that follows it.
    let test = facts.announced(Kind::SelfTest).filter(|_| facts.going_down().is_none())?;
    let text = format!("The watchdog was made to fire, to prove that it does: {test}");
    Some((Cause::SelfTest, Confidence::Certain, text))
}

fn rung(facts: &Facts<'_>) -> Found {
    let rung = facts.announced(Kind::Rung)?;
    let text = format!("mastiffd did it, as the ladder of a check says: {rung}");
    Some((Cause::Rung, Confidence::Certain, text))
}

fn panic(facts: &Facts<'_>) -> Found {
    let around = facts.around?;
    let kept = around.traces.iter().find_map(|trace| trace.panic.clone());
    let logged = || around.journal.iter().find(|line| is_panic(line)).map(|line| plain(line));
    let why = match kept.or_else(logged) {
        Some(why) => why,
        None if around.traces.iter().any(|trace| trace.is_dump) => {
            "the crash kernel wrote a dump".to_string()
        }
        // What pstore heads each part with (fs/pstore/platform.c).
        None if around.traces.iter().any(|trace| trace.first.starts_with("Panic#")) => {
            "the part of its last words that says why is missing".to_string()
        }
        None => return None,
    };
    if why.contains("pretimeout") {
        if let Some(refused) = facts.refused() {
            let text = format!("mastiffd stopped petting the watchdog, and it warned: {refused}");
            return Some((Cause::Watchdog, Confidence::Certain, text));
        }
        let text = format!("The machine hung; the watchdog warned, and the kernel panicked: {why}");
        return Some((Cause::Watchdog, Confidence::Certain, text));
    }
    Some((Cause::Panic, Confidence::Certain, format!("The kernel panicked: {why}")))
}

/// A device that says that it fired.
fn watchdog_says(facts: &Facts<'_>) -> Found {
    let status = facts.around?.bootstatus.iter().find(|status| status.bits & CARD_RESET != 0)?;
    let who = format!("{} ({})", status.device, status.driver);
    if let Some(refused) = facts.refused() {
        let text = format!("mastiffd stopped petting the watchdog, and it fired: {refused}");
        return Some((Cause::Watchdog, Confidence::Certain, text));
    }
    if let Some(how) = facts.going_down() {
        // Some drivers call an orderly reboot a reset of theirs.
        let text = format!("The machine hung while it was going down ({how}), and {who} reset it");
        let found = Some((Cause::Watchdog, Confidence::Likely, text));
        return found.filter(|_| !is_too_soon(facts));
    }
    let when = facts.after_life();
    let (confidence, what) = match meaning(facts) {
        Meaning::Hang => (Confidence::Certain, format!("The machine hung {when}")),
        Meaning::Either => (Confidence::Certain, format!("The machine hung {when}, {OR_ROOT}")),
        Meaning::Root { is_sure } => (sure(is_sure), root_died(&when)),
    };
    Some((Cause::Watchdog, confidence, format!("{what}, and {who} reset it")))
}

/// What else is as silent as a hang.
const OR_ROOT: &str = "or its root disk stopped answering";

fn root_died(when: &str) -> String {
    format!(
        "The root disk seems to have stopped answering {when}; mastiffd petted on for \
         root-dead-after"
    )
}

fn meaning(facts: &Facts<'_>) -> Meaning {
    facts.silence().as_ref().map_or(Meaning::Hang, Silence::meaning)
}

fn sure(is_sure: bool) -> Confidence {
    if is_sure { Confidence::Likely } else { Confidence::Guess }
}

fn shutdown(facts: &Facts<'_>) -> Found {
    let how = facts.going_down()?;
    // Begun in order, and too long under way: then it is the watchdog that ended it.
    if facts.gave_up_going_down() && !is_too_soon(facts) {
        return None;
    }
    Some((Cause::Clean, Confidence::Certain, format!("It was shut down in order: {how}")))
}

/// Our watchdog was armed until the records stop.
fn watchdog_fits(facts: &Facts<'_>) -> Found {
    let armed = facts.armed()?;
    let timeout = armed.timeout;
    if denies(facts) {
        return None;
    }
    let gone = facts.gone();
    let gone_words =
        gone.map(|gone| format!("; it was up again {gone} after the last sign of life"));
    let gone_words = gone_words.unwrap_or_default();
    // iTCO_wdt has two stages, and fires after twice what it says.
    let fits = gone.zip(timeout).is_some_and(|(gone, timeout)| {
        gone.plus(EARLY) >= timeout && gone <= timeout.times(2).plus(FIRMWARE)
    });
    let longest = armed.root_limit.unwrap_or_default().plus(timeout.unwrap_or_default());
    if is_too_soon(facts) || gone.is_some_and(|gone| gone > longest.plus(FIRMWARE_MAX)) {
        return None;
    }
    if let Some(refused) = facts.refused() {
        let confidence = if fits { Confidence::Certain } else { Confidence::Likely };
        let text = format!("mastiffd stopped petting the watchdog: {refused}{gone_words}");
        return Some((Cause::Watchdog, confidence, text));
    }
    let after = timeout.map(|timeout| format!(" of {timeout}")).unwrap_or_default();
    let when = facts.after_life();
    let hung = format!("The machine seems to have hung {when}");
    let (is_likely, what) = match meaning(facts) {
        Meaning::Hang => (fits, hung),
        Meaning::Either => (false, format!("{hung}, {OR_ROOT}")),
        Meaning::Root { is_sure } => (is_sure, root_died(&when)),
    };
    let text = format!("{what}, and its watchdog{after} to have reset it{gone_words}");
    Some((Cause::Watchdog, sure(is_likely), text))
}

/// The records stop, and nothing that we know of has reset it.
fn power(facts: &Facts<'_>) -> Found {
    if !facts.was_running() {
        return None;
    }
    let what = format!("It lost power or was reset from outside {}", facts.after_life());
    let armed = facts.armed();
    let (confidence, why) = match (&armed, facts.gone()) {
        (Some(_), _) if denies(facts) => {
            (Confidence::Likely, "its watchdog says that it did not fire".to_string())
        }
        (Some(armed), Some(gone)) => match armed.timeout {
            Some(timeout) if gone.plus(EARLY) < timeout => {
                let text =
                    format!("its watchdog takes {timeout}, and it was up again after {gone}");
                (Confidence::Likely, text)
            }
            _ => (Confidence::Guess, format!("it was gone for {gone}")),
        },
        // Only a place where the kernel would have left its last words makes their absence count,
        // and only records until the end tell that mastiffd had not died before.
        (None, Some(gone)) if gone < FIRMWARE_MAX && has_pstore(facts) => {
            let text = "no watchdog was armed by mastiffd, and the kernel left no last words";
            (Confidence::Likely, text.to_string())
        }
        _ => (Confidence::Guess, "no watchdog was armed by mastiffd".to_string()),
    };
    Some((Cause::Power, confidence, format!("{what}: {why}")))
}

fn unknown(facts: &Facts<'_>) -> (Cause, Confidence, String) {
    let why = match (facts.stopped(), facts.evidence.older_ms) {
        (Some(stopped), _) => {
            format!("mastiffd had been stopped before ({})", super::facts::moment(stopped.unix_ms))
        }
        (None, Some(older_ms)) => {
            format!("mastiffd did not run; it was last alive {}", super::facts::moment(older_ms))
        }
        (None, None) => "mastiffd has no record of it".to_string(),
    };
    let text = match facts.around.map(|it| it.accounts) {
        Some(Accounts::NoShutdown { .. }) => {
            format!("It ended without an orderly shutdown, and nobody knows why: {why}")
        }
        _ => format!("Nobody knows: {why}, and nothing else has a trace of it"),
    };
    (Cause::Unknown, Confidence::Guess, text)
}

fn has_pstore(facts: &Facts<'_>) -> bool {
    facts.around.is_some_and(|around| around.has_pstore)
}

/// Mastiffd was stopped, and a boot followed at once: the machine was shut down, whoever did it.
fn stopped(facts: &Facts<'_>) -> Found {
    let gone = facts.stopped().and(facts.gone()).filter(|gone| *gone < STOPPED_WITHIN)?;
    let text = format!(
        "It seems to have been shut down in order: mastiffd was stopped, and the next boot began {gone} after that"
    );
    Some((Cause::Clean, Confidence::Guess, text))
}

/// Whether the next boot began before the watchdog that was armed could have fired.
fn is_too_soon(facts: &Facts<'_>) -> bool {
    let both = facts.gone().zip(facts.armed().and_then(|armed| armed.timeout));
    both.is_some_and(|(gone, timeout)| gone.plus(EARLY) < timeout)
}

/// Whether the device that was armed says that it did not fire, and would know if it had.
fn denies(facts: &Facts<'_>) -> bool {
    let armed = facts.armed().map(|armed| armed.text).unwrap_or_default();
    let denies = |status: &BootStatus| {
        let mut names = [&status.driver, &status.identity].into_iter();
        let is_honest = names.any(|name| HONEST.contains(&name.as_str()) && armed.contains(name));
        is_honest && status.bits & CARD_RESET == 0
    };
    facts.around.is_some_and(|around| around.bootstatus.iter().any(denies))
}

#[cfg(test)]
mod tests;
