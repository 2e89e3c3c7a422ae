use super::*;

const OTHER: Mac = Mac([2, 0, 0, 0, 0, 9]);
const THIRD: Mac = Mac([2, 0, 0, 0, 0, 8]);

fn at(millis: u64) -> Mono {
    Mono::BOOT.after(Span::from_millis(millis))
}

/// When it announces until `end`, if it is asked at each deadline, and told of a conflict at each
/// of those moments.
fn announced(announcer: &mut Announcer, end: u64, conflicts: &[u64]) -> Vec<u64> {
    let mut found = Vec::new();
    let mut conflicts = conflicts.iter().map(|millis| at(*millis)).peekable();
    loop {
        let due = announcer.next_deadline();
        let now = due.min(conflicts.peek().copied().unwrap_or(Mono::FAR));
        if now > at(end) {
            return found;
        }
        if conflicts.next_if_eq(&now).is_some() {
            let _told = announcer.contradicted(OTHER, now);
        }
        if announcer.due(now) {
            found.push(now.since(Mono::BOOT).as_millis());
        }
    }
}

#[test]
fn an_address_is_announced_at_once_again_soon_and_then_slowly() {
    let mut announcer = Announcer::default();
    assert!(!announcer.due(at(50)));
    assert_eq!(announcer.next_deadline(), Mono::FAR);
    announcer.start(at(1000));
    assert_eq!(
        announced(&mut announcer, 130_000, &[]),
        [1000, 1100, 1300, 2000, 4000, 64_000, 124_000]
    );
    announcer.stop();
    assert!(!announcer.due(at(200_000)));
    // Taken again, or its device has another MAC now.
    announcer.start(at(200_000));
    assert_eq!(announced(&mut announcer, 200_400, &[]), [200_000, 200_100, 200_300]);
    announcer.start(at(200_400));
    assert_eq!(announced(&mut announcer, 200_500, &[]), [200_400, 200_500]);
}

#[test]
fn a_late_loop_announces_once_for_all_that_it_missed() {
    let mut announcer = Announcer::default();
    announcer.start(at(0));
    assert!(announcer.due(at(500)));
    assert!(!announcer.due(at(500)));
    assert_eq!(announcer.next_deadline(), at(1000));
    assert!(announcer.due(at(3_600_000)));
    assert_eq!(announcer.next_deadline(), at(3_660_000));
}

#[test]
fn a_conflict_begins_the_series_anew() {
    let mut announcer = Announcer::default();
    announcer.start(at(0));
    announced(&mut announcer, 20_000, &[]);
    assert_eq!(
        announced(&mut announcer, 30_000, &[25_000]),
        [25_000, 25_100, 25_300, 26_000, 28_000]
    );
}

#[test]
fn a_storm_of_conflicts_is_answered_within_limits() {
    let mut announcer = Announcer::default();
    announcer.start(at(0));
    let storm: Vec<u64> = (0..60_000).step_by(7).collect();
    let found = announced(&mut announcer, 60_000, &storm);
    // Six series, and between their parts one each second.
    assert!((60..=90).contains(&found.len()), "{}: {found:?}", found.len());
    assert_eq!(found.iter().filter(|millis| (10_000..20_000).contains(*millis)).count(), 12);
    let conflict = announcer.conflict().unwrap();
    assert_eq!((conflict.count, conflict.first), (storm.len() as u64, at(0)));
}

#[test]
fn a_conflict_is_news_once_and_its_evidence_is_kept() {
    let mut announcer = Announcer::default();
    announcer.start(at(0));
    assert_eq!(announcer.conflict(), None);
    assert!(announcer.contradicted(OTHER, at(100)));
    assert!(!announcer.contradicted(OTHER, at(200)));
    assert!(!announcer.contradicted(THIRD, at(60_100)));
    let conflict = Conflict { mac: THIRD, count: 3, first: at(100), last: at(60_100) };
    assert_eq!(announcer.conflict(), Some(conflict));
    announcer.stop();
    assert_eq!(announcer.conflict(), Some(conflict), "kept for status");
    assert!(announcer.contradicted(OTHER, at(120_100)), "a minute later it is another one");
    assert_eq!(announcer.conflict().unwrap().count, 1);
    assert_eq!(announcer.next_deadline(), Mono::FAR, "nothing is defended that is not here");
}
