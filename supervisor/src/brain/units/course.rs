//! What PID 1 is asked next, for one step of a group's units.

use mastiff_core::pair::event::{Step, StepId};
use mastiff_core::time::{Mono, Span};

/// While something still runs, it is looked at again so often.
const LOOK_EVERY: Span = Span::from_millis(200);
/// An attempt that fails lasts at least so long: the core begins the next one at once.
const ATTEMPT_LASTS: Span = Span::from_secs(1);

/// What PID 1 is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// To forget failures of before: a unit at its start limit would refuse.
    Prepare,
    /// To start the unit at this place.
    Start(usize),
    /// To stop the unit at this place.
    Stop(usize),
    /// To kill all processes of all units.
    Kill,
    /// How all units are.
    Look,
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
    phase: Phase,
    killed: bool,
}

impl Course {
    /// To start so many units, or to stop them `within` a time; `at_once`: they are killed first.
    pub(super) fn new(step: StepId, units: usize, within: Span, at_once: bool, now: Mono) -> Self {
        let first = match (step.step, units.checked_sub(1)) {
            (Step::StartUnits, _) => Call::Prepare,
            (_, Some(last)) if !at_once => Call::Stop(last),
            _ => Call::Kill,
        };
        // The last quarter is for killing.
        let polite = Span::from_nanos(within.as_nanos() / 4).times(3);
        Self {
            step,
            since: now,
            units,
            kill_at: now.after(polite),
            until: now.after(within),
            phase: Phase::Ask(first),
            killed: false,
        }
    }

    /// How long an answer to the call may take.
    pub(super) fn patience(&self, call: Call, now: Mono) -> Span {
        let until = match call {
            Call::Start(_) => self.until,
            Call::Stop(_) => self.kill_at,
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
            Phase::LookAgain(at) if now >= at => Next::Ask(Call::Look),
            Phase::Failed(at) if now >= at => Next::Over(false),
            Phase::LookAgain(at) | Phase::Failed(at) => Next::Wait(at),
            Phase::Done => Next::Over(true),
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
            (Call::Stop(place), answer) => {
                if answer == Answer::No {
                    // The others are stopped all the same; then what is left is killed.
                    self.kill_at = self.kill_at.min(now);
                }
                Phase::Ask(place.checked_sub(1).map_or(Call::Look, Call::Stop))
            }
            (Call::Kill, _) => Phase::Ask(Call::Look),
            (Call::Look, Answer::No) if now >= self.until => failed,
            (Call::Look, Answer::No) => Phase::LookAgain(now.after(LOOK_EVERY)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mastiff_core::pair::message::GroupKey;

    const WITHIN: Span = Span::from_secs(20);

    fn course(step: Step, units: usize, at_once: bool) -> Course {
        let step = StepId { group: GroupKey(1), step, attempt: 1 };
        Course::new(step, units, WITHIN, at_once, Mono::BOOT)
    }

    fn at(millis: u64) -> Mono {
        Mono::BOOT.after(Span::from_millis(millis))
    }

    /// Asks and answers; what was asked, in a word each, and how it ended.
    fn play(mut course: Course, answer: impl Fn(Call, u64) -> (Answer, u64)) -> String {
        let mut words = Vec::new();
        let mut millis = 0;
        for _ in 0..200 {
            match course.next(at(millis)) {
                Next::Ask(call) => {
                    words.push(match call {
                        Call::Prepare => "prepare".to_string(),
                        Call::Start(place) => format!("start {place}"),
                        Call::Stop(place) => format!("stop {place}"),
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
            play(course(Step::StartUnits, 2, false), fine),
            "prepare, start 0, start 1: true after 30 ms"
        );
        assert_eq!(
            play(course(Step::StopUnits, 2, false), fine),
            "stop 1, stop 0, look: true after 30 ms"
        );
    }

    #[test]
    fn a_start_that_fails_ends_the_step_but_not_at_once() {
        let second = |call, _| (if call == Call::Start(1) { Answer::No } else { Answer::Yes }, 10);
        assert_eq!(
            play(course(Step::StartUnits, 3, false), second),
            "prepare, start 0, start 1: false after 1000 ms",
        );
        // There may be nothing to forget.
        let none = |call, _| (if call == Call::Prepare { Answer::No } else { Answer::Yes }, 10);
        assert!(play(course(Step::StartUnits, 1, false), none).contains("true"));
    }

    #[test]
    fn what_still_runs_is_looked_at_until_it_is_gone() {
        let lingers = |call, millis| match call {
            Call::Look if millis < 3000 => (Answer::No, 10),
            _ => (Answer::Yes, 10),
        };
        let played = play(course(Step::StopUnits, 1, false), lingers);
        assert!(played.starts_with("stop 0, look: true after 31"), "{played}");
    }

    #[test]
    fn what_does_not_stop_is_killed_and_the_others_are_stopped_all_the_same() {
        // The stop of the last unit takes all the time there is; killed, it goes.
        let hangs = |call, millis| match call {
            Call::Stop(1) => (Answer::No, 15_000),
            Call::Look if millis < 15_500 => (Answer::No, 10),
            _ => (Answer::Yes, 10),
        };
        assert_eq!(
            play(course(Step::StopUnits, 2, false), hangs),
            "stop 1, stop 0, look, kill, look: true after 15660 ms"
        );
        // PID 1 says that it has stopped, and a process is still there.
        let left = |call, _| (if call == Call::Look { Answer::No } else { Answer::Yes }, 10);
        let played = play(course(Step::StopUnits, 1, false), left);
        assert!(played.starts_with("stop 0, look, kill, look: false after 20"), "{played}");
        let at_once = play(course(Step::StopUnits, 1, true), |_, _| (Answer::Yes, 10));
        assert_eq!(at_once, "kill, look: true after 20 ms");
    }

    #[test]
    fn an_answer_that_was_not_waited_for_changes_nothing() {
        let mut course = course(Step::StopUnits, 1, false);
        course.answered(Call::Look, Answer::Yes, at(0));
        assert_eq!(course.next(at(0)), Next::Ask(Call::Stop(0)));
    }
}
