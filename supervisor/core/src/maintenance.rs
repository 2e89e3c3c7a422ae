//! Maintenance that ends by itself: while it lasts, checks are read and shown, but nobody is
//! alerted and no rung starts.

use alloc::boxed::Box;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::time::{Mono, Span};

/// The longest pause. A week covers any maintenance; beyond that it is a forgotten one.
pub const PAUSE_MAX: Span = Span::from_secs(7 * 86_400);
/// Pauses that may stand at one time.
pub const PAUSES_MAX: usize = 256;

/// One pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The check that is paused; `None`: the whole node.
    pub check: Option<Box<str>>,
    /// When it ends.
    pub until: Mono,
    /// What the operator wrote.
    pub why: Box<str>,
    /// Who asked.
    pub who: Box<str>,
}

/// All pauses of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Maintenance {
    pauses: Vec<Pause>,
}

impl Maintenance {
    /// Begins a pause, or replaces the one of the same scope.
    ///
    /// # Errors
    /// When it is longer than [`PAUSE_MAX`], or [`PAUSES_MAX`] others stand.
    pub fn begin(&mut self, pause: Pause, now: Mono) -> Result<(), &'static str> {
        if pause.until.since(now) > PAUSE_MAX {
            return Err("a pause lasts at most 7 days; ask for less, and again if needed");
        }
        if pause.until <= now {
            return Err("a pause must last longer than nothing");
        }
        let same = |other: &Pause| other.check == pause.check;
        if !self.pauses.iter().any(same) && self.pauses.len() >= PAUSES_MAX {
            return Err("too many pauses stand; resume some, or pause the whole node");
        }
        self.pauses.retain(|other| !same(other));
        self.pauses.push(pause);
        Ok(())
    }

    /// Ends the pause of this scope; false if there was none.
    pub fn end(&mut self, check: Option<&str>) -> bool {
        let before = self.pauses.len();
        self.pauses.retain(|pause| pause.check.as_deref() != check);
        self.pauses.len() < before
    }

    /// The pause that covers a check: its own, or that of the node.
    pub fn covering(&self, check: &str, now: Mono) -> Option<&Pause> {
        let covers = |pause: &&Pause| {
            pause.until > now && pause.check.as_deref().is_none_or(|name| name == check)
        };
        self.pauses.iter().find(covers)
    }

    /// Whether a pause of this check, or of the node, stands: one whose time is over does so until
    /// [`expire`](Self::expire) takes it out.
    pub(crate) fn has(&self, check: &str) -> bool {
        self.pauses.iter().any(|pause| pause.check.as_deref().is_none_or(|name| name == check))
    }

    /// All pauses.
    pub fn all(&self) -> &[Pause] {
        &self.pauses
    }

    /// Takes out those whose time is over.
    pub fn expire(&mut self, now: Mono) -> Vec<Pause> {
        self.pauses.extract_if(.., |pause| pause.until <= now).collect()
    }

    /// When the next one ends.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.pauses.iter().map(|pause| pause.until).min()
    }

    /// Takes over pauses remembered across a restart; those that are over are dropped with the next
    /// [`expire`](Self::expire), and none lasts longer than [`PAUSE_MAX`] from now.
    pub fn remember(&mut self, pauses: Vec<Pause>, now: Mono) {
        self.pauses = pauses;
        self.pauses.truncate(PAUSES_MAX);
        for pause in &mut self.pauses {
            pause.until = pause.until.min(now.after(PAUSE_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(check: Option<&str>, secs: u64) -> Pause {
        let until = Mono::BOOT.after(Span::from_secs(secs));
        Pause { check: check.map(Into::into), until, why: "disk swap".into(), who: "uid 0".into() }
    }

    #[test]
    fn a_pause_ends_by_itself() {
        let mut maintenance = Maintenance::default();
        maintenance.begin(pause(Some("web"), 60), Mono::BOOT).unwrap();
        let later = |secs| Mono::BOOT.after(Span::from_secs(secs));
        assert!(maintenance.covering("web", later(59)).is_some());
        assert!(maintenance.covering("db", later(59)).is_none());
        assert!(
            maintenance.covering("web", later(60)).is_none(),
            "covers nothing even before it is expired"
        );
        assert_eq!(maintenance.next_deadline(), Some(later(60)));
        assert_eq!(maintenance.expire(later(60)).len(), 1);
        assert_eq!(maintenance.next_deadline(), None);
    }

    #[test]
    fn a_pause_of_the_node_covers_every_check_and_a_new_one_replaces_the_old() {
        let mut maintenance = Maintenance::default();
        maintenance.begin(pause(None, 60), Mono::BOOT).unwrap();
        maintenance.begin(pause(None, 30), Mono::BOOT).unwrap();
        assert_eq!(maintenance.all().len(), 1);
        assert!(maintenance.covering("anything", Mono::BOOT).is_some());
        assert!(!maintenance.end(Some("anything")), "the pause of the node is not that of a check");
        assert!(maintenance.end(None));
    }

    #[test]
    fn pauses_are_bounded_in_length_and_number_even_when_remembered() {
        let mut maintenance = Maintenance::default();
        assert!(maintenance.begin(pause(None, 8 * 86_400), Mono::BOOT).is_err());
        assert!(maintenance.begin(pause(None, 0), Mono::BOOT).is_err());
        maintenance.remember(alloc::vec![pause(None, 1_000_000_000); 300], Mono::BOOT);
        assert_eq!(maintenance.all().len(), PAUSES_MAX);
        assert!(maintenance.next_deadline().unwrap() <= Mono::BOOT.after(PAUSE_MAX));
        assert!(maintenance.begin(pause(Some("one more"), 60), Mono::BOOT).is_err());
    }
}
