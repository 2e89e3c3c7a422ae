use super::*;

fn place(name: &str) -> PathBuf {
    let folder = format!("mastiff-brain-flight-{name}-{}", std::process::id());
    let folder = std::env::temp_dir().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn start(folder: &Path) -> Flight {
    Flight::start(folder, "mastiffd starts", &mut Events::after(Vec::new(), 0), at(0))
}

fn at(millis: u64) -> Mono {
    Mono::BOOT.after(Span::from_millis(millis))
}

/// Writes what is due, as the prober would; returns how many records.
fn write(flight: &mut Flight, now: Mono) -> usize {
    let Some(Job::Record { path, lines }) = flight.next_job(now) else { return 0 };
    file::write(Path::new(&path), &lines).unwrap();
    assert_eq!(flight.written(Ok(()), now), None);
    lines.len()
}

fn kinds(folder: &Path) -> Vec<Kind> {
    let log = file::read(&file::path(folder)).unwrap();
    log.records.into_iter().map(|(_, record)| record.kind).collect()
}

#[test]
fn what_is_noted_together_is_written_together_and_one_write_is_under_way() {
    let folder = place("together");
    let mut flight = start(&folder);
    flight.note(Kind::Armed, "time-out 30s", at(50));
    assert!(!flight.is_written() && flight.next_job(at(99)).is_none());
    assert_eq!(flight.next_deadline(), at(100));
    let Some(Job::Record { lines, .. }) = flight.next_job(at(100)) else { panic!() };
    assert_eq!(lines.len(), 2);
    flight.note(Kind::Pulse, "alive", at(120));
    assert_eq!((flight.next_deadline(), flight.next_job(at(900))), (Mono::FAR, None));
    assert_eq!(flight.written(Ok(()), at(1000)), None);
    assert_eq!(flight.waiting.len(), 1, "what was noted meanwhile is not written yet");
    assert_eq!(write(&mut flight, at(1000)), 1);
    assert!(flight.is_written() && flight.next_deadline() == Mono::FAR);
    flight.note(Kind::Rung, "reset of \"disk\"", at(2000));
    assert_eq!(write(&mut flight, at(2000)), 1, "last words wait for nothing");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_failing_disk_is_said_once_and_records_wait_within_a_limit() {
    let folder = place("failing");
    let mut flight = start(&folder);
    let failed = || Err("cannot write: no space".to_string());
    flight.next_job(at(100)).unwrap();
    assert_eq!(flight.written(failed(), at(200)).unwrap().0, Severity::Warning);
    flight.note(Kind::GoingDown, "reboot", at(300));
    for number in 0..1000 {
        flight.note(Kind::Pulse, &format!("pulse {number}"), at(400));
    }
    assert_eq!(flight.next_deadline(), at(200).after(RETRY_AFTER), "tried at intervals");
    assert_eq!((flight.waiting.len(), flight.counters().dropped), (WAITING_MAX, 746));
    flight.next_job(at(10_000)).unwrap();
    assert_eq!(flight.written(failed(), at(10_000)), None, "said once");
    let mut now = at(20_000);
    let mut told = Vec::new();
    while let Some(Job::Record { path, lines }) = flight.next_job(now) {
        assert!(lines.len() <= WRITTEN_MAX);
        file::write(Path::new(&path), &lines).unwrap();
        told.extend(flight.written(Ok(()), now));
        now = now.after(GATHER);
    }
    assert_eq!(told.len(), 1, "{told:?}");
    let kinds = kinds(&folder);
    assert_eq!(kinds[..2], [Kind::Start, Kind::GoingDown], "they give way last");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn rings_turn_each_by_itself_and_go_on_after_a_restart() {
    let folder = place("ring");
    let mut flight = start(&folder);
    flight.note(Kind::Armed, "time-out 30s", at(0));
    let mut events = Events::after(Vec::new(), 0);
    for number in 1..=2000_u64 {
        events.record("verdict", Severity::Warning, None, "web has failed");
        for event in events.since(flight.events) {
            flight.note_event(event, at(number));
        }
        flight.events = events.next();
        flight.note(Kind::Pulse, &format!("pulse {number}"), at(number));
        write(&mut flight, at(number * 1000));
        if number % 700 == 0 {
            let next = flight.next;
            flight = start(&folder);
            assert_eq!(flight.next, next + 1, "the start of the next daemon has its number");
            events = Events::after(Vec::new(), 0);
            write(&mut flight, at(number * 1000));
        }
    }
    let log = file::read(&file::path(&folder)).unwrap();
    let count = |kind| log.records.iter().filter(|(_, record)| record.kind == kind).count();
    assert_eq!((count(Kind::Start), count(Kind::Armed)), (3, 1));
    assert_eq!(count(Kind::Event), Lane::Events.slots().len());
    assert_eq!(count(Kind::Pulse), Lane::Pulses.slots().len());
    let (_, last) = log.records.last().unwrap();
    assert_eq!((last.kind, last.text.as_str()), (Kind::Pulse, "pulse 2000"));
    let (_, event) = log.records.iter().find(|(_, record)| record.kind == Kind::Event).unwrap();
    assert_eq!(event.event.as_ref().unwrap().severity, "warning");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_self_test_that_lasts_washes_nothing_away() {
    let folder = place("test");
    for _ in 0..40 {
        let mut flight = start(&folder);
        write(&mut flight, at(200));
        for second in 1..=10 {
            let text = format!("{second}s after the last pet");
            flight.note(Kind::SelfTest, &text, at(second * 1000));
            write(&mut flight, at(second * 1000));
        }
    }
    let log = file::read(&file::path(&folder)).unwrap();
    let count = |kind| log.records.iter().filter(|(_, record)| record.kind == kind).count();
    // Of each boot its start, and two or three of ten.
    let counts = (count(Kind::Start), count(Kind::SelfTest));
    assert!(counts.0 > 15 && counts.1 > 15, "{counts:?}");
    let (_, last) = log.records.last().unwrap();
    assert_eq!(last.text, "10s after the last pet");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_last_pulse_of_a_boot_is_kept_by_the_next_one() {
    let folder = place("boots");
    let path = file::path(&folder);
    let old = |seq, kind, text| Record::new(seq, "another boot", 7, 1000 + seq, kind, text).line();
    let lines = [
        (0, old(5, Kind::Start, "start")),
        (384, old(6, Kind::Pulse, "first")),
        (385, old(7, Kind::Pulse, "the last")),
        (64, old(8, Kind::Event, "an event")),
    ];
    file::write(&path, &lines).unwrap();
    for _ in 0..2 {
        let mut flight = start(&folder);
        write(&mut flight, at(200));
    }
    let log = file::read(&path).unwrap();
    let kept: Vec<&Record> = log.records.iter().map(|(_, record)| record).collect();
    let kept: Vec<&&Record> = kept.iter().filter(|record| record.seq > 8).collect();
    assert_eq!(kept.len(), 3, "once, and two starts: {kept:?}");
    assert_eq!((kept[0].kind, kept[0].text.as_str()), (Kind::LastPulse, "the last"));
    assert_eq!((kept[0].boot.as_str(), kept[0].unix_ms), ("another boot", 1007));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_list_of_jobs_says_whether_the_machine_goes_down() {
    for (jobs, how) in [
        ("", None),
        ("No jobs running.", None),
        ("12 nginx.service stop running\n13 reboot.target start waiting\n", Some("reboot")),
        ("  7 poweroff.target   start waiting", Some("poweroff")),
        ("7 reboot.target stop waiting", None),
        ("7 my-reboot.target start waiting", None),
        ("7 kexec.target start waiting", Some("kexec")),
    ] {
        assert_eq!(going_down(jobs), how, "{jobs}");
    }
}
