use alloc::vec::Vec;

use super::Stage::{AskPid1, LetGo, Look, Record, StopPetting, Sync, Syscall, Sysrq, Wait};
use super::*;

const ALL: [Stage; 9] = [Look, Wait, Record, LetGo, Sync, AskPid1, Sysrq, Syscall, StopPetting];

const ANSWERS: [Answer; 4] = [Answer::Done, Answer::Failed, Answer::UnderRepair, Answer::NotNeeded];

fn at(secs: u64) -> Mono {
    Mono::BOOT.after(Span::from_secs(1000 + secs))
}

/// One that has come to this stage, by failures, without time passing.
fn gone_to(kind: Kind, stage: Stage, watched: bool) -> Going {
    let mut going = Going::begin(kind, watched, at(0));
    while going.stage() != stage {
        let step = going.answer(going.stage(), Answer::Failed, at(0));
        assert_eq!(step, Some(Step::Begin(going.stage())), "{kind:?} {stage}");
    }
    going
}

#[test]
fn every_stage_leads_on_after_every_answer() {
    let begin = |stage| Some(Step::Begin(stage));
    let repair = Some(Step::Over(End::UnderRepair));
    for (kind, stage, done, failed, under_repair) in [
        (Kind::Reboot, Look, begin(Wait), begin(Wait), repair),
        (Kind::Reboot, Wait, begin(Record), begin(Record), begin(Record)),
        (Kind::Reboot, Record, begin(LetGo), begin(LetGo), begin(LetGo)),
        (Kind::Reboot, LetGo, begin(Sync), begin(Sync), begin(Sync)),
        (Kind::Reboot, Sync, begin(AskPid1), begin(AskPid1), begin(AskPid1)),
        (Kind::Reboot, AskPid1, None, begin(Syscall), begin(Syscall)),
        (Kind::Reboot, Syscall, begin(StopPetting), begin(StopPetting), begin(StopPetting)),
        (Kind::Reboot, StopPetting, None, None, None),
        (Kind::Reset, Look, begin(Wait), begin(Wait), repair),
        (Kind::Reset, Wait, begin(Record), begin(Record), begin(Record)),
        (Kind::Reset, Record, begin(LetGo), begin(LetGo), begin(LetGo)),
        (Kind::Reset, LetGo, begin(Sysrq), begin(Sysrq), begin(Sysrq)),
        (Kind::Reset, Sysrq, begin(Syscall), begin(Syscall), begin(Syscall)),
        (Kind::Reset, Syscall, begin(StopPetting), begin(StopPetting), begin(StopPetting)),
        (Kind::Reset, StopPetting, None, None, None),
    ] {
        let not_needed = if stage == Wait { Some(Step::Over(End::NotNeeded)) } else { failed };
        for (answer, step) in [
            (Answer::Done, done),
            (Answer::Failed, failed),
            (Answer::UnderRepair, under_repair),
            (Answer::NotNeeded, not_needed),
        ] {
            let mut going = gone_to(kind, stage, true);
            assert_eq!(going.answer(stage, answer, at(0)), step, "{kind:?} {stage} {answer:?}");
            // R4
            let was = gone_to(kind, stage, true);
            for other in ALL.into_iter().filter(|other| *other != stage) {
                let mut going = was.clone();
                assert_eq!(going.answer(other, answer, at(0)), None, "{stage} {other}");
                assert_eq!((going.stage(), going.until), (was.stage(), was.until));
            }
        }
    }
}

#[test]
fn r1_r2_whatever_hangs_the_last_stage_comes_in_time_after_all_others_once() {
    for kind in [Kind::Reboot, Kind::Reset] {
        let mut going = Going::begin(kind, true, at(0));
        let mut begun = alloc::vec![going.stage()];
        let mut now = at(0);
        while going.next_deadline() < Mono::FAR {
            assert!(!going.stops_petting(), "R3");
            let due = going.next_deadline();
            assert_eq!(going.tick(due.before(Span::from_nanos(1))), None, "not before its time");
            assert!(due > now);
            now = due;
            match going.tick(now) {
                Some(Step::Begin(stage)) => begun.push(stage),
                other => panic!("{other:?}"),
            }
        }
        assert!(going.stops_petting());
        let stages = kind.stages().iter().map(|(stage, _)| *stage);
        assert_eq!(begun, stages.chain([StopPetting]).collect::<Vec<_>>(), "R1");
        assert_eq!(now.since(at(0)), kind.at_most(), "R2");
    }
}

#[test]
fn r3_nothing_brings_petting_back_where_a_watchdog_is_armed() {
    for kind in [Kind::Reboot, Kind::Reset] {
        let mut going = gone_to(kind, StopPetting, true);
        for stage in ALL {
            for answer in ANSWERS {
                assert_eq!(going.answer(stage, answer, at(1)), None);
                assert_eq!(going.tick(at(100_000)), None);
                assert!(going.stops_petting(), "{stage} {answer:?}");
            }
        }
    }
}

#[test]
fn r5_nothing_is_begun_in_emergency_mode() {
    for kind in [Kind::Reboot, Kind::Reset] {
        let mut going = Going::begin(kind, true, at(0));
        let step = going.answer(Look, Answer::UnderRepair, at(0));
        assert_eq!(step, Some(Step::Over(End::UnderRepair)));
        for stage in ALL {
            assert_eq!(going.answer(stage, Answer::Done, at(0)), None);
        }
        assert_eq!((going.tick(at(100_000)), going.next_deadline()), (None, Mono::FAR));
        assert!(!going.stops_petting());
    }
}

#[test]
fn r6_without_a_watchdog_it_is_over_when_every_call_has_come_back() {
    // Both came back at once.
    let mut going = gone_to(Kind::Reset, Syscall, false);
    let step = going.answer(Syscall, Answer::Failed, at(0));
    assert_eq!((step, going.stops_petting()), (Some(Step::Over(End::Failed)), false));
    // One hangs, and comes back later.
    let mut going = gone_to(Kind::Reset, Sysrq, false);
    assert_eq!(going.tick(at(1)), Some(Step::Begin(Syscall)));
    assert_eq!(going.answer(Syscall, Answer::Failed, at(1)), Some(Step::Begin(StopPetting)));
    assert!(going.stops_petting(), "the kernel is still at it");
    let step = going.answer(Sysrq, Answer::Failed, at(60));
    assert_eq!((step, going.stops_petting()), (Some(Step::Over(End::Failed)), false));
    // The device was lost while it waited.
    let mut going = gone_to(Kind::Reset, Syscall, true);
    going.watch(false);
    assert_eq!(going.answer(Syscall, Answer::Failed, at(0)), Some(Step::Over(End::Failed)));
    // Where a watchdog is armed, it is left to that.
    let mut going = gone_to(Kind::Reset, Syscall, true);
    assert_eq!(going.answer(Syscall, Answer::Failed, at(0)), Some(Step::Begin(StopPetting)));
}

#[test]
fn pid_1_that_has_taken_the_order_is_waited_for_and_not_for_ever() {
    let mut going = gone_to(Kind::Reboot, AskPid1, true);
    assert_eq!(going.answer(AskPid1, Answer::Done, at(20)), None);
    assert_eq!((going.stage(), going.tick(at(59))), (AskPid1, None));
    assert_eq!(going.tick(at(60)), Some(Step::Begin(Syscall)));
}

#[test]
fn r7_it_is_called_off_while_it_waits_and_never_later() {
    for kind in [Kind::Reboot, Kind::Reset] {
        for (stage, _) in kind.stages() {
            let mut going = gone_to(kind, *stage, true);
            assert_eq!(going.is_on(), !matches!(stage, Look | Wait), "{kind:?} {stage}");
            let step = going.answer(*stage, Answer::NotNeeded, at(1));
            let is_over = step == Some(Step::Over(End::NotNeeded));
            assert_eq!(is_over, *stage == Wait, "{kind:?} {stage}");
            if is_over {
                for answer in ANSWERS {
                    assert_eq!(going.answer(Wait, answer, at(2)), None);
                }
                assert_eq!((going.tick(at(100_000)), going.next_deadline()), (None, Mono::FAR));
            }
        }
        let mut going = gone_to(kind, Wait, true);
        assert_eq!(going.next_deadline(), at(0).after(WAIT_MAX));
        assert_eq!(going.tick(at(0).after(WAIT_MAX)), Some(Step::Begin(Record)), "in the end");
    }
}
