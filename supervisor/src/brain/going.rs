//! The way down: what [`mastiff_core::reboot`] asks for, done.
//!
//! While it waits for the other node of the pair, no other rung that disturbs the node starts
//! ([`Licence::ObserveOnly`]), and it is called off when its check recovers or is paused. From
//! then on no rung starts at all ([`Licence::Nothing`]), and everything else goes on: readings, the
//! pair, the control socket, petting (until the last stage).
//!
//! [`Licence::Nothing`]: mastiff_core::recovery::Licence::Nothing
//! [`Licence::ObserveOnly`]: mastiff_core::recovery::Licence::ObserveOnly

use std::sync::Arc;

use mastiff_core::event::{Action, CheckId, Event};
use mastiff_core::pair::event::{Away, Leaving, Passage};
use mastiff_core::reboot::{Answer, End, Going, Kind, Stage, Step};
use mastiff_core::recovery::ActionId;
use mastiff_core::report::{Outcome, Severity};
use mastiff_core::time::{Mono, Span};
use mio::Waker;

use super::Brain;
use crate::effects::restart::SYSTEMCTL;
use crate::flight::Kind as FlightKind;
use crate::probes::Purpose;
use crate::probes::wire::{Ended, Job, OUTPUT_BYTES, Output, Run};
use call::{Call, Sysrq, restart};

pub(super) use call::has_systemd;

mod call;

/// What `systemctl` may take: as long as it waits for an answer on the bus itself
/// (sd_bus_call(3)). PID 1 answers in milliseconds, or not at all.
const SYSTEMCTL_TIMEOUT: Span = Span::from_secs(25);
/// The modes in which somebody repairs the machine (systemd.special(7)).
const UNDER_REPAIR: [&str; 2] = ["emergency.target", "rescue.target"];

/// The way down, and what it needs when nothing else works.
#[derive(Debug)]
pub(super) struct WayDown {
    sysrq: Sysrq,
    waker: Arc<Waker>,
    walk: Option<Walk>,
    /// What the keeper knows of it.
    told: Leaving,
}

/// A machine on its way down.
#[derive(Debug)]
struct Walk {
    going: Going,
    /// The rung that it is, and whose.
    id: ActionId,
    check_id: CheckId,
    check: String,
    /// Why it waits for the other node.
    away: Option<Away>,
    /// Which write of the state file, by its number, holds all that must be kept.
    save: u64,
    calls: Vec<(Stage, Call)>,
    /// What came of the stages that failed.
    failures: Vec<String>,
}

impl WayDown {
    /// Opens what must be open before a disk dies. `waker` wakes the brain.
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        Self { sysrq: Sysrq::open(), waker, walk: None, told: Leaving::Stays }
    }

    /// Whether the machine is on its way down.
    pub(super) fn is_on(&self) -> bool {
        self.walk.as_ref().is_some_and(|walk| walk.going.is_on())
    }

    /// Whether it is, or will be once the other node is back.
    pub(super) fn is_wanted(&self) -> bool {
        self.walk.is_some()
    }

    /// Whether the watchdog must not be petted any more; never taken back while a watchdog is
    /// armed.
    pub(super) fn stops_petting(&self) -> bool {
        self.walk.as_ref().is_some_and(|walk| walk.going.stops_petting())
    }

    /// Why, in words, for whoever stops petting; and for the status line. `peer`: the name of the
    /// other node.
    pub(super) fn reason(&self, peer: &str, now: Mono) -> Option<String> {
        let Walk { going, check, away, .. } = self.walk.as_ref()?;
        let rung = going.kind().name();
        let seconds = |span: Span| Span::from_secs(span.as_millis() / 1000);
        if let (Stage::Wait, Some(away)) = (going.stage(), away) {
            let what = if away.announced { "rebooting" } else { "silent" };
            let (since, left) = (now.since(away.since), going.next_deadline().since(now));
            return Some(format!(
                "{rung} for {check}: waiting: {peer} is {what} since {}; {} at most",
                seconds(since),
                seconds(left)
            ));
        }
        let petting = if self.stops_petting() { ", which is not petted any more" } else { "" };
        Some(format!("{rung} for {check}: {}{petting}", going.stage()))
    }

    /// What the keeper should know.
    fn leaving(&self) -> Leaving {
        match self.walk.as_ref().map(|walk| walk.going.stage()) {
            None | Some(Stage::Look) => Leaving::Stays,
            Some(Stage::Wait) => Leaving::Wants,
            Some(_) => Leaving::Goes,
        }
    }
}

impl Brain {
    /// When the way down goes on by itself. Once PID 1 has begun the shutdown that it was asked
    /// for, it has as long as for any other.
    pub(super) fn going_deadline(&self) -> Mono {
        let Some(walk) = &self.going.walk else { return Mono::FAR };
        match self.down_by().filter(|_| walk.going.stage() == Stage::AskPid1) {
            Some(down_by) => down_by.max(walk.going.next_deadline()),
            None => walk.going.next_deadline(),
        }
    }

    /// PID 1 shuts the machine down, whoever asked it: what a rung `reboot` would still do before
    /// asking it would only disturb that. It waits, as if it had asked.
    pub(super) fn leave_to_pid1(&mut self, now: Mono) {
        let Some(walk) = &mut self.going.walk else { return };
        if walk.going.kind() == Kind::Reboot && walk.going.stage() < Stage::AskPid1 {
            let before = Kind::Reboot.stages().iter().map(|(stage, _)| *stage);
            for stage in before.take_while(|stage| *stage < Stage::AskPid1) {
                walk.going.answer(stage, Answer::Done, now);
            }
            self.say_stage(Stage::AskPid1);
        }
    }

    /// Begins the way down; the outcome, if there is one at once.
    pub(super) fn go(
        &mut self,
        id: ActionId,
        (check_id, check): (CheckId, String),
        kind: Kind,
        now: Mono,
    ) -> Option<Outcome> {
        if self.going.is_wanted() {
            return Some(Outcome::Failed("this machine is on its way down already".into()));
        }
        let going = Going::begin(kind, self.is_watched(), now);
        let stage = going.stage();
        let (calls, failures) = (Vec::new(), Vec::new());
        let walk = Walk { going, id, check_id, check, away: None, save: 0, calls, failures };
        self.going.walk = Some(walk);
        self.walk_on(Some(Step::Begin(stage)), now);
        None
    }

    /// What is due on the way down.
    pub(super) fn keep_going(&mut self, now: Mono) {
        self.tell_leaving();
        let is_watched = self.is_watched();
        let Some(walk) = &mut self.going.walk else { return };
        walk.going.watch(is_watched);
        let is_back = |(_, call): &mut (Stage, Call)| call.came_back().is_some();
        let back: Vec<(Stage, Call)> = walk.calls.extract_if(.., is_back).collect();
        for (stage, call) in back {
            let why = call.came_back().unwrap_or_default().to_string();
            self.take_answer(stage, Err(why), now);
        }
        let Some(walk) = &self.going.walk else { return };
        let (stage, save) = (walk.going.stage(), walk.save);
        let is_done = match stage {
            Stage::Record => {
                self.boot_loop.is_saved() && self.save.ended >= save && self.flight.is_written()
            }
            Stage::LetGo => self.has_let_go(),
            Stage::Look | Stage::Wait | Stage::Sync | Stage::AskPid1 => false,
            Stage::Sysrq | Stage::Syscall | Stage::StopPetting => false,
        };
        let limits = self.config.boot_loop_guard;
        let young = Span::from_nanos(limits.within.as_nanos() / u64::from(limits.resets.max(1)));
        if is_done
            && stage == Stage::Record
            && self.boot_loop.is_lost()
            && now < Mono::BOOT.after(young)
        {
            // Nobody would count it, and it would go on for ever.
            if let Some(walk) = &mut self.going.walk {
                walk.failures.push(format!(
                    "{stage}: the boot-loop guard cannot be written, and this boot is younger than \
                     {young}"
                ));
            }
            self.go_no_further(End::Failed, now);
        } else if is_done {
            self.take_answer(stage, Ok(Answer::Done), now);
        }
        self.call_off(now);
        let is_due = self.ending.is_none() && now >= self.going_deadline();
        let step = self.going.walk.as_mut().filter(|_| is_due).and_then(|walk| {
            let stage = walk.going.stage();
            let step = walk.going.tick(now);
            if step.is_some() {
                walk.failures.push(format!("{stage}: not in time"));
            }
            step
        });
        self.walk_on(step, now);
    }

    /// A program or a job of a stage has ended.
    pub(super) fn take_stage(&mut self, stage: Stage, result: Result<Output, String>, now: Mono) {
        let answer = match (stage, result) {
            (Stage::Look, Ok(Output::Finished(Ended { code: Some(0), .. }))) => {
                Ok(Answer::UnderRepair)
            }
            (Stage::Look, Ok(Output::Finished(Ended { code: Some(_), .. }))) => Ok(Answer::Done),
            (_, Ok(Output::Finished(Ended { code: Some(0), .. }) | Output::Written)) => {
                Ok(Answer::Done)
            }
            (_, Ok(Output::Finished(Ended { code: Some(code), output, .. }))) => {
                Err(format!("exit code {code}: {}", output.lines().next().unwrap_or_default()))
            }
            (_, Ok(_)) => Err("it did not end by itself".to_string()),
            (_, Err(why)) => Err(why),
        };
        self.take_answer(stage, answer, now);
    }

    /// The keeper says how the wish to go down stands with the other node.
    pub(super) fn take_passage(&mut self, passage: Passage, now: Mono) {
        let Some(walk) = &mut self.going.walk else { return };
        match passage {
            Passage::Free => self.take_answer(Stage::Wait, Ok(Answer::Done), now),
            Passage::Waits(away) if walk.going.stage() == Stage::Wait => {
                walk.away = Some(away);
                let check = walk.check.clone();
                let text = self.going_reason(now).unwrap_or_default();
                self.events.record("going", Severity::Warning, Some(&check), &text);
            }
            Passage::Waits(_) => {}
        }
    }

    /// Why the machine goes down, or waits to.
    pub(super) fn going_reason(&self, now: Mono) -> Option<String> {
        let peer = self.config.pair.as_ref().map_or("the other node", |pair| &pair.peer);
        self.going.reason(peer, now)
    }

    /// What may take ten minutes is not done for what is over by then.
    fn call_off(&mut self, now: Mono) {
        let waits = |walk: &&Walk| walk.going.stage() == Stage::Wait;
        let check = self.going.walk.as_ref().filter(waits).map(|walk| walk.check_id);
        // Or when somebody shuts the machine down: units that stop in order are not cut off.
        let is_moot = |check| self.goes_down() || !self.node.may_be_failed(check, now);
        if check.is_some_and(is_moot) {
            self.take_answer(Stage::Wait, Ok(Answer::NotNeeded), now);
        }
    }

    /// Tells the keeper how far it is; what it has no room for is told in the next turn.
    fn tell_leaving(&mut self) {
        let leaving = self.going.leaving();
        if self.going.told != leaving
            && (self.desk.groups().is_empty() || self.keeper.leaving(leaving))
        {
            self.going.told = leaving;
        }
    }

    fn take_answer(&mut self, stage: Stage, answer: Result<Answer, String>, now: Mono) {
        if self.ending.is_some() {
            // Whoever ends the daemon has the word now: PID 1, or an operator.
            return;
        }
        let Some(walk) = &mut self.going.walk else { return };
        let answer = answer.unwrap_or_else(|why| {
            walk.failures.push(format!("{stage}: {why}"));
            Answer::Failed
        });
        // A shutdown that is under way already refuses another.
        let is_under_way = stage == Stage::AskPid1 && self.goes_down();
        let answer = if is_under_way { Answer::Done } else { answer };
        let Some(walk) = &mut self.going.walk else { return };
        let has_asked = (stage, answer) == (Stage::AskPid1, Answer::Done);
        let step = walk.going.answer(stage, answer, now);
        self.walk_on(step, now);
        if has_asked {
            self.go_down("reboot", now);
        }
    }

    fn walk_on(&mut self, step: Option<Step>, now: Mono) {
        match step {
            None => {}
            Some(Step::Begin(stage)) => {
                self.license();
                self.tell_leaving();
                self.say_stage(stage);
                match self.begin_stage(stage, now) {
                    Ok(None) => {}
                    Ok(Some(answer)) => self.take_answer(stage, Ok(answer), now),
                    Err(why) => self.take_answer(stage, Err(why), now),
                }
            }
            Some(Step::Over(end)) => self.go_no_further(end, now),
        }
    }

    fn say_stage(&mut self, stage: Stage) {
        // Most of the time nobody is waited for; else the keeper says so.
        let Some(walk) = self.going.walk.as_ref().filter(|_| stage != Stage::Wait) else { return };
        let mut text = format!("{} for {}: {stage}", walk.going.kind().name(), walk.check);
        if let (Stage::StopPetting, false) = (stage, walk.failures.is_empty()) {
            text.push_str(&format!("; before: {}", walk.failures.join("; ")));
        }
        let check = walk.check.clone();
        self.events.record("going", Severity::Warning, Some(&check), &text);
    }

    /// Begins a stage; its answer, if that is known at once.
    fn begin_stage(&mut self, stage: Stage, now: Mono) -> Result<Option<Answer>, String> {
        let goes_down = self.goes_down();
        let Some(walk) = &mut self.going.walk else { return Ok(None) };
        let waker = Arc::clone(&self.going.waker);
        match stage {
            Stage::Look => self.systemctl(stage, &["is-active", "--quiet"], &UNDER_REPAIR, now)?,
            // As where it is called off.
            Stage::Wait if goes_down => return Ok(Some(Answer::NotNeeded)),
            // Else the keeper answers.
            Stage::Wait => return Ok(self.desk.groups().is_empty().then_some(Answer::Done)),
            Stage::Record => {
                walk.save = self.save.begun.saturating_add(1);
                let reason = format!("{} for {}", walk.going.kind().name(), walk.check);
                self.record_reset(&reason, now);
                self.flight.note(FlightKind::Rung, &reason, now);
                self.save.due = Some(now);
            }
            Stage::LetGo => {
                self.let_go();
                return Ok(self.has_let_go().then_some(Answer::Done));
            }
            Stage::Sync => {
                self.probes.file(Purpose::Going(stage), Job::Sync, Span::from_secs(10), now)?;
            }
            Stage::AskPid1 => self.systemctl(stage, &["reboot", "--no-block"], &[], now)?,
            Stage::Sysrq => {
                let call = self.going.sysrq.begin(waker)?;
                walk.calls.push((stage, call));
            }
            Stage::Syscall => walk.calls.push((stage, restart(waker)?)),
            Stage::StopPetting => {}
        }
        Ok(None)
    }

    fn systemctl(
        &mut self,
        stage: Stage,
        verb: &[&str],
        units: &[&str],
        now: Mono,
    ) -> Result<(), String> {
        if !has_systemd() {
            return Err("PID 1 is no systemd of ours".to_string());
        }
        let words = [SYSTEMCTL].iter().chain(verb).chain(&["--no-ask-password", "--"]).chain(units);
        let run = Run {
            arguments: words.map(ToString::to_string).collect(),
            environment: Vec::new(),
            input: String::new(),
            timeout: SYSTEMCTL_TIMEOUT,
            output_max: OUTPUT_BYTES,
        };
        self.probes.run(Purpose::Going(stage), run, now)
    }

    /// Nothing came of it: the ladder goes on, and so do the groups.
    fn go_no_further(&mut self, end: End, now: Mono) {
        let Some(walk) = self.going.walk.take() else { return };
        let why = match end {
            End::UnderRepair => {
                "this machine is in emergency or rescue mode: somebody repairs it".to_string()
            }
            End::NotNeeded => {
                "its check is not failed any more, or paused, or the machine is being shut down: \
                 it is not restarted"
                    .to_string()
            }
            End::Failed => {
                self.uncount_reset(now);
                // The order that undoes it goes out in the next round.
                self.desk.forget_pause();
                format!("this machine cannot restart itself: {}", walk.failures.join("; "))
            }
        };
        self.license();
        self.tell_leaving();
        let mut actions: Vec<Action> = Vec::new();
        let outcome = Outcome::Failed(why.into());
        self.node.handle(Event::Outcome { id: walk.id, outcome }, now, &mut actions);
        self.perform(actions, now);
    }
}
