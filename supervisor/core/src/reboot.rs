//! How this machine goes down by its own will: the rungs `reboot` and `reset`, stage by stage.
//!
//! ```text
//!   reboot: Look ─► Wait ─► Record ─► LetGo ─► Sync ─► AskPid1 ────► Syscall ─► StopPetting
//!   reset:  Look ─► Wait ─► Record ─► LetGo ─────────────► Sysrq ──► Syscall ─► StopPetting
//!             │       └─► NotNeeded (recovered)               └─► Failed (no watchdog)
//!             └─► Refused
//! ```
//!
//! PID 1, the root disk or the kernel may be the very thing that hangs, so every stage has a
//! deadline and the next one never needs the one before. Invariants, each with a test that fails
//! without it:
//!
//! - **R1**: the stages of a rung begin in their order, each at most once.
//! - **R2**: no stage but the last lasts longer than its limit, and one that cannot begin, or
//!   fails, is passed at once. So the last is reached within [`Kind::at_most`], whatever hangs.
//! - **R3**: petting goes on until the last stage, and from then on there is no more of it: not
//!   even a late answer brings it back where a watchdog is armed.
//! - **R4**: the answer of a stage that is over changes nothing.
//! - **R5**: in emergency or rescue mode nothing is begun but the look that shows it.
//! - **R6**: it is over without a reset only where nothing can come any more: no watchdog is
//!   armed, and every call that ends with the machine has come back.
//! - **R7**: while it waits for the other node of a pair (I14, [`crate::pair::way_down`]) nothing
//!   is written, let go of or counted: it can still be called off, and only then can it.

use core::fmt;

use crate::time::{Mono, Span};

/// How long a rung waits for the other node at most. A server of many disks takes minutes to come
/// back; one that does not come back in ten does not do so by itself, and whatever has to be mended
/// here with a reset is mended in the end.
pub const WAIT_MAX: Span = Span::from_secs(600);

/// Which rung it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `reboot`: as orderly as it can be had.
    Reboot,
    /// `reset`: at once; what is not on the disk is lost.
    Reset,
}

/// One step on the way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// See whether somebody repairs this machine (emergency or rescue mode).
    Look,
    /// Let the other node of the pair come back first, so that both are never down at once.
    Wait,
    /// Write down why: the state file, the boot-loop guard, the flight record.
    Record,
    /// Hand the groups to the peer, so that it need not wait for a lease to run out.
    LetGo,
    /// sync(2).
    Sync,
    /// `systemctl reboot`; what it leads to is the end of this daemon.
    AskPid1,
    /// `b` into /proc/sysrq-trigger (Documentation/admin-guide/sysrq.rst).
    Sysrq,
    /// reboot(2), `LINUX_REBOOT_CMD_RESTART`.
    Syscall,
    /// Nothing is left but the watchdog.
    StopPetting,
}

impl Kind {
    /// The stages before the last, and how long each may take.
    #[must_use]
    pub const fn stages(self) -> &'static [(Stage, Span)] {
        const fn within(stage: Stage, secs: u64) -> (Stage, Span) {
            (stage, Span::from_secs(secs))
        }
        match self {
            Self::Reboot => {
                const {
                    &[
                        within(Stage::Look, 3),
                        (Stage::Wait, WAIT_MAX),
                        within(Stage::Record, 3),
                        within(Stage::LetGo, 5),
                        within(Stage::Sync, 10),
                        // Half of what one unit has to stop (DefaultTimeoutStopSec=, 90 s): this
                        // daemon is among the first to be told, and only the telling is waited for.
                        within(Stage::AskPid1, 60),
                        within(Stage::Syscall, 10),
                    ]
                }
            }
            Self::Reset => {
                const {
                    &[
                        within(Stage::Look, 1),
                        (Stage::Wait, WAIT_MAX),
                        within(Stage::Record, 1),
                        within(Stage::LetGo, 1),
                        within(Stage::Sysrq, 1),
                        within(Stage::Syscall, 10),
                    ]
                }
            }
        }
    }

    /// From the beginning to the last stage, whatever hangs.
    #[must_use]
    pub const fn at_most(self) -> Span {
        // The sums of `stages`; a test compares them.
        match self {
            Self::Reboot => Span::from_secs(691),
            Self::Reset => Span::from_secs(614),
        }
    }

    /// The name of its rung.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::Reset => "reset",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Look => "looking for emergency mode",
            Self::Wait => "waiting for the other node",
            Self::Record => "writing down why",
            Self::LetGo => "letting the groups go",
            Self::Sync => "sync(2)",
            Self::AskPid1 => "asking PID 1",
            Self::Sysrq => "sysrq",
            Self::Syscall => "reboot(2)",
            Self::StopPetting => "leaving it to the watchdog",
        })
    }
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It did what it was to do. Of [`Stage::AskPid1`]: PID 1 has taken the order.
    Done,
    /// It did not, or could not begin.
    Failed,
    /// Somebody repairs this machine ([`Stage::Look`] only; else as failed).
    UnderRepair,
    /// What it was for is over ([`Stage::Wait`] only; else as failed).
    NotNeeded,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Begin this stage; its end is told by [`Going::answer`].
    Begin(Stage),
    /// Nothing came of it, and nothing will: the ladder goes on.
    Over(End),
}

/// Why nothing came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The machine is in emergency or rescue mode.
    UnderRepair,
    /// While it waited the check recovered, or was paused.
    NotNeeded,
    /// Every way was tried and came back, and there is no watchdog to leave it to.
    Failed,
}

/// A machine on its way down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Going {
    kind: Kind,
    /// The stage that is under way, by its place; behind all of them is the last.
    place: usize,
    /// When it ends at the latest.
    until: Mono,
    /// Whether a watchdog fires once nobody pets it.
    watched: bool,
    /// Calls that end with the machine and have not come back: [`Stage::Sysrq`],
    /// [`Stage::Syscall`].
    calls: [bool; 2],
    over: bool,
}

impl Going {
    /// Begins; its first stage is [`Stage::Look`]. `watched`: a watchdog is armed here.
    #[must_use]
    pub fn begin(kind: Kind, watched: bool, now: Mono) -> Self {
        let mut going =
            Self { kind, place: 0, until: now, watched, calls: [false; 2], over: false };
        going.until = now.after(going.limit());
        going
    }

    /// Whether a watchdog is armed here by now: while it waited one may have come or gone. Of the
    /// last stage what it began with counts.
    pub fn watch(&mut self, watched: bool) {
        if !self.stops_petting() {
            self.watched = watched;
        }
    }

    /// Which rung it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What is under way.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.kind.stages().get(self.place).map_or(Stage::StopPetting, |(stage, _)| *stage)
    }

    /// Whether the machine is on its way down: before that it only looks and waits.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.stage() > Stage::Wait
    }

    /// Whether the watchdog must not be petted any more.
    #[must_use]
    pub fn stops_petting(&self) -> bool {
        !self.over && self.stage() == Stage::StopPetting
    }

    /// When [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Mono {
        if self.over || self.stage() == Stage::StopPetting { Mono::FAR } else { self.until }
    }

    /// A stage has ended.
    pub fn answer(&mut self, stage: Stage, answer: Answer, now: Mono) -> Option<Step> {
        if let Some(call) = self.call(stage) {
            *call = false;
        }
        if self.over {
            return None;
        }
        if self.stage() == Stage::StopPetting {
            return self.give_up();
        }
        match (stage, answer) {
            _ if stage != self.stage() => None,
            (Stage::Look, Answer::UnderRepair) => {
                self.over = true;
                Some(Step::Over(End::UnderRepair))
            }
            (Stage::Wait, Answer::NotNeeded) => {
                self.over = true;
                Some(Step::Over(End::NotNeeded))
            }
            // Now it is waited for the end of this daemon.
            (Stage::AskPid1, Answer::Done) => None,
            (_, Answer::Done | Answer::Failed | Answer::UnderRepair | Answer::NotNeeded) => {
                Some(self.next(now))
            }
        }
    }

    /// Ends a stage that lasts too long.
    pub fn tick(&mut self, now: Mono) -> Option<Step> {
        (now >= self.next_deadline()).then(|| self.next(now))
    }

    fn next(&mut self, now: Mono) -> Step {
        self.place = self.place.saturating_add(1);
        self.until = now.after(self.limit());
        let stage = self.stage();
        if let Some(call) = self.call(stage) {
            *call = true;
        }
        if stage == Stage::StopPetting
            && let Some(over) = self.give_up()
        {
            return over;
        }
        Step::Begin(stage)
    }

    /// Of the last stage: it is over where nothing can come any more.
    fn give_up(&mut self) -> Option<Step> {
        self.over = !self.watched && !self.calls.contains(&true);
        self.over.then_some(Step::Over(End::Failed))
    }

    fn limit(&self) -> Span {
        self.kind.stages().get(self.place).map_or(Span::ZERO, |(_, limit)| *limit)
    }

    fn call(&mut self, stage: Stage) -> Option<&mut bool> {
        let [sysrq, syscall] = &mut self.calls;
        match stage {
            Stage::Sysrq => Some(sysrq),
            Stage::Syscall => Some(syscall),
            Stage::Look
            | Stage::Wait
            | Stage::Record
            | Stage::LetGo
            | Stage::Sync
            | Stage::AskPid1
            | Stage::StopPetting => None,
        }
    }
}

#[cfg(test)]
mod tests;
