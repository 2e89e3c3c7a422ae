//! What a machine's kernel and service manager do for one group, whatever the daemon does.

use mastiff_core::pair::clock::Clocks;
use mastiff_core::pair::event::{Step, StepId};
use mastiff_core::time::Span;

/// How the guard ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardKind {
    /// BPF: passes until an absolute moment of the boot clock.
    Deadline,
    /// nftables: an element with a time-out, which only a living element can be refreshed by.
    Timeout(Span),
}

/// One group's guard, addresses and units on one machine.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    kind: GuardKind,
    /// Traffic passes before this moment of the boot clock.
    open_until: Option<Clocks>,
    /// Until when the daemon wants it open.
    wanted: Option<Clocks>,
    /// Whether the addresses are on their interfaces.
    pub addresses: bool,
    /// Whether the units run, or are being started or stopped.
    pub units: bool,
    /// A planned restart: the guard stands open for the whole long lease, and nobody refreshes it.
    held: bool,
    /// The newest start or stop of the units: an older one does not undo it.
    newest: Option<StepId>,
}

impl Kernel {
    /// A machine that has just booted.
    #[must_use]
    pub const fn new(kind: GuardKind) -> Self {
        Self {
            kind,
            open_until: None,
            wanted: None,
            addresses: false,
            units: false,
            held: false,
            newest: None,
        }
    }

    /// Whether traffic for the addresses passes.
    #[must_use]
    pub fn passes(&self, now: Clocks) -> bool {
        self.addresses && self.is_open(now)
    }

    fn is_open(&self, now: Clocks) -> bool {
        self.open_until.is_some_and(|until| now.boot < until.boot)
    }

    /// The daemon decided at `decided` to open the guard until `until`; the kernel does it `now`.
    /// With a relative time-out the difference is what a freeze in between makes dangerous.
    pub fn open(&mut self, until: Clocks, decided: Clocks, now: Clocks) {
        self.wanted = Some(until);
        self.refresh(decided, now);
    }

    /// The daemon refreshes a relative time-out with each turn.
    pub fn refresh(&mut self, decided: Clocks, now: Clocks) {
        let Some(wanted) = self.wanted else { return };
        if self.held {
            return;
        }
        match self.kind {
            GuardKind::Deadline => self.open_until = Some(wanted),
            GuardKind::Timeout(timeout) => {
                // Refresh only while the time-out fits into the lease; the packet path refreshes
                // only what lives. A new element, which a late call would open long after the
                // lease, is created only while the addresses are off (the daemon checks again
                // before it adds them), so a late one lets nothing pass.
                let fits = !decided.after(timeout).ends_lease(wanted);
                let late = now.longest_since(decided) > Span::from_millis(12);
                if fits && (self.is_open(now) || !late) {
                    self.open_until = Some(now.after(timeout));
                }
            }
        }
    }

    /// Lets nothing pass any more.
    pub const fn close(&mut self) {
        self.held = false;
        self.open_until = None;
        self.wanted = None;
    }

    /// The long lease for a restart stands: the guard stays open for all of it, unattended.
    pub fn hold(&mut self) {
        self.open_until = self.wanted;
        self.held = self.wanted.is_some();
    }

    /// The daemon's wish dies with it; what the kernel was told does not.
    pub const fn forget_wish(&mut self) {
        self.wanted = None;
    }

    /// A daemon is there again and looks after it.
    pub const fn attended(&mut self) {
        self.held = false;
    }

    /// A step begins.
    pub const fn begins(&mut self, id: StepId) {
        if matches!(id.step, Step::StartUnits | Step::StopUnits) {
            self.newest = Some(id);
        }
    }

    /// A step ended well.
    pub fn ended(&mut self, id: StepId) {
        if id.step == Step::StopUnits && self.newest == Some(id) {
            self.units = false;
        }
    }

    /// Whether nothing of the group is left.
    #[must_use]
    pub fn is_clean(&self, now: Clocks) -> bool {
        !self.is_open(now) && !self.addresses && !self.units
    }
}
