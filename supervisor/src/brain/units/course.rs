//! What PID 1 is asked next, for one step of a group's units.
//!
//! An answer to a stop decides nothing: a unit that is not loaded refuses it (exit code 5 of
//! systemctl), one that failed to stop may be gone a moment later, and the others are to have the
//! time that was promised to them. What a look finds decides. While it finds something, all are
//! asked to stop again every few seconds: somebody may have started one, a mount was busy. Killing
//! comes last, and is followed by stops, too: it unmounts nothing, ends no oneshot service without
//! processes, and a unit with `Restart=always` begins anew.

use mastiff_core::pair::event::{Step, StepId};
use mastiff_core::time::{Mono, Span};

/// While something still runs, it is looked at again so often.
const LOOK_EVERY: Span = Span::from_millis(200);
/// While something still runs, all are asked to stop again so often.
const STOP_EVERY: Span = Span::from_secs(3);
/// What PID 1 answers to the first question costs a planned change, so it is not long waited for.
const NOTE_WITHIN: Span = Span::from_secs(1);
/// An attempt that fails lasts at least so long: the core begins the next one at once.
const ATTEMPT_LASTS: Span = Span::from_secs(1);

/// What PID 1 is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// To forget failures of before: a unit at its start limit would refuse.
    Prepare,
    /// To start the unit at this place.
    Start(usize),
    /// How all units are before they are stopped, for what is not known any more after it.
    Note,
    /// To stop the unit at this place.
    Stop(usize),
    /// To kill all processes of all units.
    Kill,
    /// How all units are.
    Look,
}

/// What a stop begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// With the stops.
    Stop,
    /// With a look at what runs: of units that must not run twice.
    Note,
    /// With killing: they did not stop in time before.
    Kill,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Ask this.
    Ask(Call),
    /// Nothing before then; [`Mono::FAR`]: an answer is waited for.
    Wait(Mono),
    /// The step is over, and whether it is done.
    Over(bool),
}

/// An answer, as far as the course goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was done; of [`Call::Look`]: nothing runs any more.
    Yes,
    /// It was not, or something still runs.
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Ask(Call),
    Asked(Call),
    LookAgain(Mono),
    Failed(Mono),
    Done,
}

/// One attempt of a step.
#[derive(Clone, Debug)]
pub(super) struct Course {
    pub(super) step: StepId,
    pub(super) since: Mono,
    units: usize,
    /// When what has not stopped is killed, and when the attempt has failed.
    kill_at: Mono,
    until: Mono,
    /// When what has not stopped is asked to again.
    stop_at: Mono,
    phase: Phase,
    killed: bool,
}

impl Course {
    /// To start so many units, or to stop them `within` a time, as `first` says.
    pub(super) fn new(step: StepId, units: usize, within: Span, first: First, now: Mono) -> Self {
        let phase = match (step.step, first) {
            (Step::StartUnits, _) => Phase::Ask(Call::Prepare),
            (_, First::Stop) => stops(units),
            (_, First::Note) => Phase::Ask(Call::Note),
            (_, First::Kill) => Phase::Ask(Call::Kill),
        };
        // The last quarter is for killing.
        let polite = Span::from_nanos(within.as_nanos() / 4).times(3);
        Self {
            step,
            since: now,
            units,
            kill_at: now.after(polite),
            until: now.after(within),
            stop_at: now,
            phase,
            killed: false,
        }
    }

    /// How long an answer to the call may take.
    pub(super) fn patience(&self, call: Call, now: Mono) -> Span {
        let until = match call {
            Call::Start(_) => self.until,
            // PID 1 goes on with it all the same, and the next unit must get its turn.
            Call::Stop(_) if self.killed => self.until.min(now.after(STOP_EVERY)),
            Call::Stop(_) => self.kill_at,
            Call::Note => return NOTE_WITHIN,
            Call::Prepare | Call::Kill | Call::Look => return super::ANSWER_WITHIN,
        };
        until.since(now).max(LOOK_EVERY)
    }

    pub(super) fn next(&self, now: Mono) -> Next {
        match self.phase {
            Phase::Ask(call) => Next::Ask(call),
            Phase::Asked(_) => Next::Wait(Mono::FAR),
            Phase::LookAgain(at) if now >= self.kill_at && now >= at && !self.killed => {
                Next::Ask(Call::Kill)
            }
            Phase::LookAgain(at) if now >= at => Next::Ask(self.after_a_look(now)),
            Phase::Failed(at) if now >= at => Next::Over(false),
            Phase::LookAgain(at) | Phase::Failed(at) => Next::Wait(at),
            Phase::Done => Next::Over(true),
        }
    }

    fn after_a_look(&self, now: Mono) -> Call {
        match self.units.checked_sub(1) {
            Some(last) if now >= self.stop_at => Call::Stop(last),
            _ => Call::Look,
        }
    }

    /// The call is on its way.
    pub(super) fn asked(&mut self, call: Call) {
        self.killed |= call == Call::Kill;
        self.phase = Phase::Asked(call);
    }

    /// What came of it.
    pub(super) fn answered(&mut self, call: Call, answer: Answer, now: Mono) {
        if self.phase != Phase::Asked(call) {
            return;
        }
        let failed = Phase::Failed(self.since.after(ATTEMPT_LASTS).max(now));
        self.phase = match (call, answer) {
            (Call::Prepare, _) if self.units > 0 => Phase::Ask(Call::Start(0)),
            (Call::Prepare, _) => Phase::Done,
            (Call::Start(place), Answer::Yes) if place.saturating_add(1) < self.units => {
                Phase::Ask(Call::Start(place.saturating_add(1)))
            }
            (Call::Start(_) | Call::Look, Answer::Yes) => Phase::Done,
            (Call::Start(_), Answer::No) => failed,
            (Call::Note | Call::Kill, _) => stops(self.units),
            (Call::Stop(place), _) => {
                self.stop_at = now.after(STOP_EVERY);
                place.checked_sub(1).map_or(Phase::Ask(Call::Look), stop)
            }
            (Call::Look, Answer::No) if now >= self.until => failed,
            (Call::Look, Answer::No) => Phase::LookAgain(now.after(LOOK_EVERY)),
        };
    }
}

/// All are stopped, the last one first.
fn stops(units: usize) -> Phase {
    units.checked_sub(1).map_or(Phase::Ask(Call::Look), stop)
}

const fn stop(place: usize) -> Phase {
    Phase::Ask(Call::Stop(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mastiff_core::pair::message::GroupKey;

    const WITHIN: Span = Span::from_secs(20);

    fn course(step: Step, units: usize, first: First) -> Course {
        let step = StepId { group: GroupKey(1), step, attempt: 1 };
        Course::new(step, units, WITHIN, first, Mono::BOOT)
    }

    fn at(millis: u64) -> Mono {
        Mono::BOOT.after(Span::from_millis(millis))
    }

    /// Asks and answers; what was asked, in a word each, and how it ended.
    fn play(mut course: Course, answer: impl Fn(Call, u64) -> (Answer, u64)) -> String {
        let mut words = Vec::new();
        let mut millis = 0;
        for _ in 0..400 {
            match course.next(at(millis)) {
                Next::Ask(call) => {
                    words.push(match call {
                        Call::Prepare => "prepare".to_string(),
                        Call::Start(place) => format!("start {place}"),
                        Call::Stop(place) => format!("stop {place}"),
                        Call::Note => "note".to_string(),
                        Call::Kill => "kill".to_string(),
                        Call::Look => "look".to_string(),
                    });
                    course.asked(call);
                    assert_eq!(course.next(at(millis)), Next::Wait(Mono::FAR), "it waits");
                    let (answer, took) = answer(call, millis);
                    assert!(took <= course.patience(call, at(millis)).as_millis(), "{call:?}");
                    millis += took;
                    course.answered(call, answer, at(millis));
                }
                Next::Wait(until) => millis = until.since(Mono::BOOT).as_millis(),
                Next::Over(ok) => {
                    words.dedup();
                    return format!("{}: {ok} after {millis} ms", words.join(", "));
                }
            }
        }
        panic!("it never ends: {words:?}");
    }

    #[test]
    fn units_start_in_order_and_stop_in_reverse() {
        let fine = |_, _| (Answer::Yes, 10);
        assert_eq!(
            play(course(Step::StartUnits, 2, First::Stop), fine),
            "prepare, start 0, start 1: true after 30 ms"
        );
        assert_eq!(
            play(course(Step::StopUnits, 2, First::Stop), fine),
            "stop 1, stop 0, look: true after 30 ms"
        );
    }

    #[test]
    fn a_start_that_fails_ends_the_step_but_not_at_once() {
        let second = |call, _| (if call == Call::Start(1) { Answer::No } else { Answer::Yes }, 10);
        assert_eq!(
            play(course(Step::StartUnits, 3, First::Stop), second),
            "prepare, start 0, start 1: false after 1000 ms",
        );
        // There may be nothing to forget.
        let none = |call, _| (if call == Call::Prepare { Answer::No } else { Answer::Yes }, 10);
        assert!(play(course(Step::StartUnits, 1, First::Stop), none).contains("true"));
    }

    #[test]
    fn what_must_not_run_twice_is_noted_before_it_is_stopped() {
        let silent = |call, _| match call {
            Call::Note => (Answer::No, 1000),
            _ => (Answer::Yes, 10),
        };
        assert_eq!(
            play(course(Step::StopUnits, 2, First::Note), silent),
            "note, stop 1, stop 0, look: true after 1030 ms"
        );
    }

    #[test]
    fn what_still_runs_is_looked_at_until_it_is_gone() {
        let lingers = |call, millis| match call {
            Call::Look if millis < 2000 => (Answer::No, 10),
            _ => (Answer::Yes, 10),
        };
        let played = play(course(Step::StopUnits, 1, First::Stop), lingers);
        assert!(played.starts_with("stop 0, look: true after 21"), "{played}");
    }

    #[test]
    fn a_stop_that_is_refused_costs_the_others_none_of_their_time() {
        // The last one is not loaded; the first one takes twelve seconds, in peace.
        let slow = |call, _| match call {
            Call::Stop(1) => (Answer::No, 10),
            Call::Stop(0) => (Answer::Yes, 12_000),
            _ => (Answer::Yes, 10),
        };
        assert_eq!(
            play(course(Step::StopUnits, 2, First::Stop), slow),
            "stop 1, stop 0, look: true after 12020 ms"
        );
        // A mount that is busy at first: it is asked again, and nothing is killed.
        let busy = |call, millis| match call {
            Call::Stop(_) | Call::Look if millis < 4000 => (Answer::No, 10),
            _ => (Answer::Yes, 10),
        };
        let played = play(course(Step::StopUnits, 1, First::Stop), busy);
        assert!(played.starts_with("stop 0, look, stop 0, look: true after 40"), "{played}");
        // For good: only what still runs when its time is over is killed.
        let refuses = |call, millis| match call {
            Call::Stop(_) => (Answer::No, 10),
            Call::Look if millis < 15_100 => (Answer::No, 10),
            _ => (Answer::Yes, 10),
        };
        let played = play(course(Step::StopUnits, 1, First::Stop), refuses);
        assert!(played.contains("look, kill, stop 0, look: true after 15"), "{played}");
    }

    #[test]
    fn what_does_not_stop_is_killed_and_all_are_stopped_again() {
        // The stop of the last unit takes all the time there is; killed, it goes.
        let hangs = |call, millis| match call {
            Call::Stop(1) if millis < 15_000 => (Answer::No, 15_000),
            Call::Look if millis < 15_500 => (Answer::No, 10),
            _ => (Answer::Yes, 10),
        };
        assert_eq!(
            play(course(Step::StopUnits, 2, First::Stop), hangs),
            "stop 1, stop 0, look, kill, stop 1, stop 0, look: true after 15680 ms"
        );
        // PID 1 says that it has stopped, and a process is still there.
        let left = |call, _| (if call == Call::Look { Answer::No } else { Answer::Yes }, 10);
        let played = play(course(Step::StopUnits, 1, First::Stop), left);
        assert_eq!(played.matches("kill").count(), 1, "{played}");
        assert!(
            played.contains("look, kill, stop 0, look, stop 0, look: false after 20"),
            "{played}"
        );
        let at_once = play(course(Step::StopUnits, 2, First::Kill), |_, _| (Answer::Yes, 10));
        assert_eq!(at_once, "kill, stop 1, stop 0, look: true after 40 ms");
        // A unit whose stop hangs after the kill, too, does not keep the other one from its own.
        let stuck = |call, millis: u64| match call {
            Call::Stop(1) => (Answer::No, 20_000_u64.saturating_sub(millis).clamp(200, 3000)),
            Call::Look => (Answer::No, 10),
            _ => (Answer::Yes, 10),
        };
        let played = play(course(Step::StopUnits, 2, First::Kill), stuck);
        assert!(played.starts_with("kill, stop 1, stop 0, look, stop 1, stop 0"), "{played}");
        assert!(played.contains("false after 2"), "{played}");
    }

    #[test]
    fn an_answer_that_was_not_waited_for_changes_nothing() {
        let mut course = course(Step::StopUnits, 1, First::Stop);
        course.answered(Call::Look, Answer::Yes, at(0));
        assert_eq!(course.next(at(0)), Next::Ask(Call::Stop(0)));
    }
}
