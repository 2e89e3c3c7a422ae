//! How the daemon parts from its groups at its end: it hands them over, or leaves them as they are
//! for the daemon that systemd starts at once.
//!
//! ```text
//!            what does not stay is let go         nothing else is waited for     the long leases
//!  Asking ───────────────────────► Leaving ─────────────────────► Preparing ─────────► Parted
//!                                   ▲   │ nothing stays               │                 ▲
//!                                   │   └─────────────────────────────┼─────────────────┘
//!                                   └─────────────────────────────────┘ a group has none in time
//! ```
//!
//! The long leases come last: units of other groups may take minutes to stop, and what stays is
//! renewed as ever until nobody waits for anything but the petter.
//!
//! Whether it is a restart is what the job of its unit says (`systemctl list-jobs`, job type
//! `restart`, systemd's src/core/job.c: it becomes `start` only once the unit is down). A stop, a
//! shutdown, a signal from a shell and silence all mean: let go. So does a file that the next
//! daemon would refuse: nobody would renew what is left behind.

use mastiff_core::pair::event::{Order, OrderRefused};
use mastiff_core::pair::message::{GroupKey, Role};
use mastiff_core::report::Severity;
use mastiff_core::time::{Mono, Span};

use super::Brain;
use crate::config::pair::{GroupConfig, change};
use crate::config::{self, Config};
use crate::probes::Purpose;
use crate::probes::wire::{Job, Output};

/// PID 1 and a disk that are well answer within milliseconds, a busy machine's in tenths of a
/// second. The groups go on meanwhile: only whoever asked for a stop waits.
const ASK_WITHIN: Span = Span::from_secs(1);
/// The long lease takes a heartbeat and a round trip; of a group that is just being taken, as long
/// as its first addresses.
const PREPARE_WITHIN: Span = Span::from_secs(2);
/// A group that was just changing is asked again so often.
const PREPARE_AGAIN: Span = Span::from_millis(100);
/// The end waits so long for the groups to be let go, besides the time of their units.
const LET_GO_WITHIN: Span = Span::from_secs(2);

/// The way to the end.
#[derive(Debug)]
pub(super) struct Parting {
    stage: Stage,
    /// When the stage is given up.
    until: Mono,
    /// What stays as it is.
    stays: Vec<GroupKey>,
}

#[derive(Debug)]
enum Stage {
    /// Whether the daemon comes again; that, and the file that it will read, once they are known.
    Asking { restarts: bool, next: Option<Box<Config>> },
    /// What does not stay is let go.
    Leaving,
    /// Of so many that stay, these have no long lease yet. They are asked again then.
    Preparing { many: usize, waits: Vec<GroupKey>, again: Mono },
    /// Nothing is waited for any more.
    Parted,
}

impl Brain {
    /// Begins to part from all groups. PID 1 has been asked for its jobs, if it can be.
    pub(super) fn part(&mut self, now: Mono) {
        let stays = Vec::new();
        if self.desk.groups().is_empty() {
            return;
        }
        let until = now.after(ASK_WITHIN);
        let path = self.config_path.display().to_string();
        let job = Job::Load { path, named: self.config_named };
        // A machine that goes down, and a node that has nothing, need not ask.
        let asks = self.flight.is_asking()
            && own_unit().is_some()
            && !self.goes_down()
            && !self.has_let_go()
            && self.probes.file(Purpose::NextConfig, job, ASK_WITHIN, now).is_ok();
        let stage = Stage::Asking { restarts: false, next: None };
        self.parting = Some(Parting { stage, until, stays });
        if !asks {
            self.leave(now);
        }
    }

    /// The jobs of PID 1, or why they are not known.
    pub(super) fn hear_jobs(&mut self, jobs: Result<&str, &str>, now: Mono) {
        let Some(Parting { stage: Stage::Asking { restarts, .. }, .. }) = &mut self.parting else {
            return;
        };
        match jobs {
            Ok(jobs) if own_unit().is_some_and(|unit| is_restarted(jobs, &unit)) => {
                *restarts = true;
                self.prepare_if_known(now);
            }
            // It was asked to stop.
            Ok(_) => self.leave(now),
            Err(why) => self.leave_because(&format!("systemd does not say what comes: {why}"), now),
        }
    }

    /// The file that the next daemon will read.
    pub(super) fn take_next_config(&mut self, result: Result<Output, String>, now: Mono) {
        let Some(Parting { stage: Stage::Asking { next, .. }, .. }) = &mut self.parting else {
            return;
        };
        let path = &self.config_path;
        let loaded = match result {
            Ok(Output::Text(text)) => config::load_text(&text, path)
                .map_err(|faults| faults.to_string())
                .and_then(|config| match config::not_run(&config, path) {
                    None => Ok(config),
                    Some(fault) => Err(fault.to_string()),
                }),
            Ok(_) => Err("the prober gave another answer than asked for".to_string()),
            Err(why) => Err(why),
        };
        match loaded {
            Ok(config) => {
                *next = Some(Box::new(config));
                self.prepare_if_known(now);
            }
            Err(why) => self.leave_because(&format!("the next daemon could not start: {why}"), now),
        }
    }

    /// Decides what stays, once all is known.
    fn prepare_if_known(&mut self, now: Mono) {
        let Some(parting) = &mut self.parting else { return };
        let Stage::Asking { restarts: true, next: Some(next) } = &parting.stage else { return };
        let changes = change::between(&self.config, next);
        let names: Vec<&str> = self.desk.groups().iter().map(|(_, name)| name.as_str()).collect();
        let (moved, changed) = change::moved(&changes, &names);
        let board = self.keeper.board();
        let groups = self.desk.groups().iter().zip(&board.groups);
        let stays: Vec<GroupKey> = groups
            .filter(|((_, name), shown)| is_had(shown.role) && !moved.contains(&name.as_str()))
            .map(|((key, _), _)| *key)
            .collect();
        if !changed.is_empty() {
            let text = format!(
                "{} changed in the file: the restart hands over {}",
                changed.join(", "),
                moved.join(", ")
            );
            self.events.record("restart-moves", Severity::Warning, None, &text);
        }
        parting.stays = stays;
        self.leave(now);
    }

    /// The long lease of a group stands.
    pub(super) fn is_prepared(&mut self, group: GroupKey) {
        if let Some(Parting { stage: Stage::Preparing { waits, .. }, .. }) = &mut self.parting {
            waits.retain(|waits| *waits != group);
        }
    }

    /// There will be none.
    pub(super) fn is_not_prepared(&mut self, group: GroupKey, why: OrderRefused) {
        // What is just changing is asked again; what has gone meanwhile is let go.
        if why != OrderRefused::Changing
            && let Some(parting) = &mut self.parting
            && let Stage::Preparing { waits, .. } = &mut parting.stage
        {
            waits.retain(|waits| *waits != group);
            parting.stays.retain(|stays| *stays != group);
        }
    }

    /// What is due on the way to the end.
    pub(super) fn keep_parting(&mut self, now: Mono) {
        let others = self.have_left() && self.hooks.are_done() && self.is_written(now);
        let Some(parting) = &mut self.parting else { return };
        let is_over = now >= parting.until;
        match &mut parting.stage {
            Stage::Asking { .. } if is_over => {
                let why = format!("nobody said within {ASK_WITHIN} whether it starts again");
                self.leave_because(&why, now);
            }
            Stage::Leaving if others || is_over => {
                let waits = parting.stays.clone();
                if waits.is_empty() {
                    parting.stage = Stage::Parted;
                    return;
                }
                parting.stage = Stage::Preparing { many: waits.len(), waits, again: now };
                parting.until = now.after(PREPARE_WITHIN);
                self.ask_to_prepare(now);
            }
            Stage::Preparing { many, waits, .. } if is_over || waits.is_empty() => {
                let (many, late) = (*many, std::mem::take(waits));
                parting.stays.retain(|group| !late.contains(group));
                if parting.stays.len() == many {
                    parting.stage = Stage::Parted;
                    return;
                }
                if !late.is_empty() {
                    let text = format!(
                        "no long lease for {} groups within {PREPARE_WITHIN}: they are let go",
                        late.len()
                    );
                    self.events.record("restart-moves", Severity::Warning, None, &text);
                }
                // The others are asked again once these have gone.
                self.leave(now);
            }
            Stage::Preparing { again, .. } if now >= *again => self.ask_to_prepare(now),
            Stage::Asking { .. } | Stage::Leaving | Stage::Preparing { .. } | Stage::Parted => {}
        }
    }

    /// Asks for the long leases that are not there yet.
    fn ask_to_prepare(&mut self, now: Mono) {
        let Some(parting) = &mut self.parting else { return };
        let Stage::Preparing { waits, again, .. } = &mut parting.stage else { return };
        *again = now.after(PREPARE_AGAIN);
        for group in waits.iter() {
            // What finds no room is asked again.
            self.keeper.order(*group, Order::PrepareRestart);
        }
    }

    fn leave_because(&mut self, why: &str, now: Mono) {
        let text = format!("the groups are let go: {why}");
        self.events.record("restart-moves", Severity::Warning, None, &text);
        self.leave(now);
    }

    /// Lets go of all groups that do not stay; at once at its end if there are none.
    fn leave(&mut self, now: Mono) {
        let Some(parting) = &mut self.parting else { return };
        // Units are given all the time that they have.
        let pair = self.config.pair.as_ref();
        let units = pair.into_iter().flat_map(|pair| &pair.groups).map(GroupConfig::stop_time);
        let until = now.after(LET_GO_WITHIN).after(units.max().unwrap_or_default());
        (parting.stage, parting.until) = (Stage::Leaving, until);
        // Else what stays would be left with a short lease, if those that go need longer than the
        // service manager waits; signs of life ask for more only where those are wanted.
        self.notify.needs(until.since(now).plus(PREPARE_WITHIN).plus(LET_GO_WITHIN));
        for (group, _) in self.desk.groups() {
            if !parting.stays.contains(group) {
                self.keeper.order(*group, Order::LetGo);
            }
        }
        self.keep_parting(now);
    }

    /// Whether all that does not stay is gone.
    fn have_left(&self) -> bool {
        let Some(Parting { stays, .. }) = &self.parting else { return true };
        let shown = self.keeper.board();
        let mut groups = self.desk.groups().iter().zip(&shown.groups);
        groups.all(|((key, _), shown)| stays.contains(key) || shown.is_clear)
    }

    /// Whether nothing is waited for any more: all that does not stay is gone, or too slow.
    pub(super) fn has_parted(&self) -> bool {
        self.parting.as_ref().is_none_or(|parting| matches!(parting.stage, Stage::Parted))
    }

    /// Whether groups stay as they are for the daemon that follows.
    pub(super) fn leaves_groups(&self) -> bool {
        self.parting.as_ref().is_some_and(|parting| !parting.stays.is_empty())
    }

    /// When the end goes on by itself; `ending` is when it does without groups.
    pub(super) fn parting_deadline(&self, ending: Mono) -> Mono {
        match &self.parting {
            None => ending,
            Some(Parting { stage: Stage::Leaving, until, .. }) => ending.max(*until),
            Some(Parting { stage: Stage::Preparing { again, .. }, until, .. }) => {
                (*again).min(*until)
            }
            Some(Parting { stage: Stage::Asking { .. }, until, .. }) => *until,
            Some(Parting { stage: Stage::Parted, .. }) => ending,
        }
    }

    /// Has all groups let go of, without an end of the daemon.
    pub(super) fn let_go(&mut self) {
        for (group, _) in self.desk.groups() {
            self.keeper.order(*group, Order::LetGo);
        }
    }

    /// Whether nothing of any group is here.
    pub(super) fn has_let_go(&self) -> bool {
        self.keeper.board().groups.iter().all(|group| group.is_clear)
    }
}

const fn is_had(role: Role) -> bool {
    matches!(role, Role::Taking | Role::Active | Role::Yielding | Role::Fault)
}

/// Whether systemd starts the unit again, by its list of jobs (systemctl(1), list-jobs): `123
/// mastiff.service restart running`.
fn is_restarted(jobs: &str, unit: &str) -> bool {
    jobs.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some(unit) && words.next() == Some("restart")
    })
}

/// The unit that this process is of; `None` without a service manager that was told of it.
fn own_unit() -> Option<String> {
    std::env::var_os("NOTIFY_SOCKET")?;
    unit_of(&std::fs::read_to_string("/proc/self/cgroup").ok()?)
}

/// By the control groups of a process (cgroups(7), /proc/PID/cgroup), where systemd has those.
fn unit_of(groups: &str) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let is_its = matches!(fields.next()?, "" | "name=systemd");
        let unit = fields.next()?.rsplit('/').find(|part| part.ends_with(".service"))?;
        is_its.then(|| unit.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_job_that_restarts_the_own_unit_is_a_restart() {
        let jobs = "12 other.service restart running\n13 mastiff.service stop running\n";
        assert!(!is_restarted(jobs, "mastiff.service"));
        assert!(is_restarted(jobs, "other.service"));
        assert!(is_restarted("7 mastiff.service restart running\n", "mastiff.service"));
        for not in ["", "mastiff.service restart\n", "7 xmastiff.service restart running\n"] {
            assert!(!is_restarted(not, "mastiff.service"), "{not}");
        }
    }

    #[test]
    fn the_unit_is_found_in_each_layout_of_control_groups() {
        let hybrid = "3:memory:/system.slice/x.service\n1:name=systemd:/system.slice/m.service\n\
                      0::/system.slice/m.service\n";
        assert_eq!(unit_of(hybrid).as_deref(), Some("m.service"));
        let nested = "0::/lxc/a/system.slice/mastiff.service/sub\n";
        assert_eq!(unit_of(nested).as_deref(), Some("mastiff.service"));
        for none in ["", "0::/\n", "0::/user.slice/session-1.scope\n", "nonsense"] {
            assert_eq!(unit_of(none), None, "{none}");
        }
    }
}
