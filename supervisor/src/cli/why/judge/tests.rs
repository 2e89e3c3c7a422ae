use super::super::boots::Boot;
use super::super::evidence::{Around, BootStatus};
use super::super::traces::Trace;
use super::*;
use crate::flight::{EventWords, Record};

/// Unix time of the boot that ended, in milliseconds.
const BEGAN_MS: u64 = 1_795_000_000_000;
/// The last sign of life is this long after it.
const LIFE_SECS: u64 = 10_000;

/// A story: what was noted, how many seconds after the boot.
struct Story(Evidence);

impl Story {
    /// A boot of which mastiffd saw the start and signs of life until the end; the next one began
    /// `gone` seconds later.
    fn with(gone: u64) -> Self {
        let around = Some(Around::default());
        let mut story = Self(Evidence { around, ..Evidence::default() });
        story.note(Kind::Start, 10, "mastiffd starts");
        story.note(Kind::Pulse, LIFE_SECS, "load 0.5; healthy: 14 checks");
        story.0.next_began_ms = Some(BEGAN_MS + (LIFE_SECS + gone) * 1000);
        story
    }

    /// The same with a watchdog of 30 s.
    fn armed(gone: u64) -> Self {
        Self::with(gone).and(
            Kind::Armed,
            11,
            "iTCO_wdt (iTCO_wdt at 00:1f.4), time-out 30s, nowayout",
        )
    }

    /// The same with a watchdog of 6 s that is not petted any more once the root disk has answered
    /// nothing for so long, on a machine of which other boots began so many seconds after the end
    /// of the one before.
    fn with_root_limit(gone: u64, limit: u64, others: &[u64]) -> Self {
        let limit = Span::from_secs(limit);
        let armed = format!("i6300ESB timer (i6300esb), time-out 6s, root-dead-after {limit}");
        let mut story = Self::with(gone).and(Kind::Armed, 11, &armed);
        story.0.others = others.iter().copied().map(Span::from_secs).collect();
        story
    }

    fn note(&mut self, kind: Kind, secs: u64, text: &str) {
        let boot = &mut self.0.boot;
        boot.id = "ended".into();
        let (seq, at_ns) =
            (boot.records.len() as u64, i64::try_from(secs).unwrap() * 1_000_000_000);
        boot.records.push(Record::new(seq, "ended", at_ns, BEGAN_MS + secs * 1000, kind, text));
    }

    fn and(mut self, kind: Kind, secs: u64, text: &str) -> Self {
        self.note(kind, secs, text);
        self
    }

    fn around(mut self, change: impl FnOnce(&mut Around)) -> Self {
        self.0.around.as_mut().map(change).unwrap();
        self
    }

    fn bootstatus(self, driver: &str, bits: u64) -> Self {
        let (device, driver) = ("watchdog0".to_string(), driver.to_string());
        let status = BootStatus { device, identity: driver.clone(), driver, bits };
        self.around(|around| around.bootstatus.push(status))
    }

    fn trace(self, panic: Option<&str>, is_dump: bool) -> Self {
        let (path, first) = ("/sys/fs/pstore/dmesg-efi-1".to_string(), "Oops#1 Part1".to_string());
        let panic = panic.map(str::to_string);
        self.around(|around| {
            around.traces.push(Trace { path, at_ms: 0, panic, words: None, first, is_dump })
        })
    }

    /// Last words that the disk did not take any more.
    fn words(self, kind: Kind, text: &str) -> Self {
        let mut story = self.trace(None, false);
        story.0.around.as_mut().unwrap().traces[0].words = Some((kind, text.into()));
        story
    }

    /// A part of a panic's last words without its first line.
    fn part(self) -> Self {
        let mut story = self.trace(None, false);
        story.0.around.as_mut().unwrap().traces[0].first = "Panic#1 Part2".into();
        story
    }

    fn journal(self, line: &str) -> Self {
        self.around(|around| around.journal.push(line.to_string()))
    }

    fn accounts(self, accounts: Accounts) -> Self {
        self.around(|around| around.accounts = accounts)
    }

    fn pstore(self) -> Self {
        self.around(|around| around.has_pstore = true)
    }

    /// The boot was not recorded.
    fn forgotten(mut self) -> Self {
        self.0.boot = Boot::default();
        self
    }
}

const END: u64 = LIFE_SECS;
const PANIC: &str = "Kernel panic - not syncing: Attempted to kill init!";
const DOWN: Accounts = Accounts::Shutdown { at: BEGAN_MS / 1000 + END, before: None };
const NOT_DOWN: Accounts = Accounts::NoShutdown { before: None };

/// Each cause, with and without each piece of evidence.
#[test]
fn each_cause_is_found_with_and_without_each_piece_of_evidence() {
    use Cause::{Clean, Panic, Power, Rung, SelfTest, Unknown, Watchdog};
    use Confidence::{Certain, Guess, Likely};
    let refused = "the root disk has not answered for 30s";
    let rows: Vec<(&str, Story, Cause, Confidence, &str)> = vec![
        // A rung says it before.
        (
            "reset",
            Story::armed(90).and(Kind::Rung, END, "reset of \"disk\""),
            Rung,
            Certain,
            "reset of \"disk\"",
        ),
        (
            "reset, and the device",
            Story::armed(90).and(Kind::Rung, END, "reset of \"disk\"").bootstatus("x", 0x20),
            Rung,
            Certain,
            "disk",
        ),
        (
            "reboot by PID 1",
            Story::with(40).and(Kind::Rung, END - 5, "reboot of \"web\"").and(
                Kind::GoingDown,
                END,
                "PID 1 shuts down: reboot",
            ),
            Rung,
            Certain,
            "web",
        ),
        (
            "a rung of long ago",
            Story::with(40).and(Kind::Rung, 100, "reboot of \"web\"").pstore(),
            Power,
            Likely,
            "no watchdog",
        ),
        (
            "reset with a dead disk",
            Story::armed(90).words(Kind::Rung, "reset of \"disk\""),
            Rung,
            Certain,
            "reset of \"disk\"",
        ),
        (
            "refusal with a dead disk",
            Story::armed(45).words(Kind::Refused, refused),
            Watchdog,
            Certain,
            refused,
        ),
        // So does a proof.
        (
            "proof",
            Story::armed(50).and(Kind::SelfTest, END, "0s after the last pet"),
            SelfTest,
            Certain,
            "0s after",
        ),
        (
            "proof that did nothing",
            Story::with(50).and(Kind::SelfTest, END - 60, "").and(
                Kind::GoingDown,
                END,
                "PID 1 shuts down: poweroff",
            ),
            Clean,
            Certain,
            "poweroff",
        ),
        // A panic.
        ("panic, pstore", Story::armed(45).trace(Some(PANIC), false), Panic, Certain, "kill init"),
        (
            "panic, journal",
            Story::with(45).journal(&format!("[1.2] {PANIC}")),
            Panic,
            Certain,
            "kill init",
        ),
        ("panic, dump only", Story::with(45).trace(None, true), Panic, Certain, "dump"),
        ("panic, in part", Story::with(45).part(), Panic, Certain, "is missing"),
        (
            "an oops is none",
            Story::with(45).trace(None, false).pstore(),
            Power,
            Likely,
            "lost power",
        ),
        (
            "panic of a boot without us",
            Story::with(45).forgotten().trace(Some(PANIC), false),
            Panic,
            Certain,
            "kill init",
        ),
        (
            "pretimeout",
            Story::armed(35)
                .trace(Some("Kernel panic - not syncing: watchdog pretimeout event"), false),
            Watchdog,
            Certain,
            "pretimeout",
        ),
        // The watchdog says so itself.
        (
            "device",
            Story::armed(45).bootstatus("i6300esb", 0x20),
            Watchdog,
            Certain,
            "watchdog0 (i6300esb)",
        ),
        (
            "device, not ours",
            Story::with(45).bootstatus("i6300esb", 0x20),
            Watchdog,
            Certain,
            "watchdog0",
        ),
        (
            "device, no record",
            Story::with(45).forgotten().bootstatus("x", 0x20),
            Watchdog,
            Certain,
            "watchdog0",
        ),
        (
            "device and refusal",
            Story::armed(45).and(Kind::Refused, END, refused).bootstatus("x", 0x20),
            Watchdog,
            Certain,
            refused,
        ),
        (
            "hung while going down",
            Story::armed(45)
                .and(Kind::GoingDown, END, "PID 1 shuts down: reboot")
                .bootstatus("x", 0x20),
            Watchdog,
            Likely,
            "going down",
        ),
        (
            "a device that talks nonsense",
            Story::armed(12)
                .and(Kind::GoingDown, END, "PID 1 shuts down: reboot")
                .bootstatus("x", 0x20),
            Clean,
            Certain,
            "reboot",
        ),
        (
            "a shutdown that never ends",
            Story::armed(45).and(Kind::GoingDown, END - 90, "it goes down (reboot)").and(
                Kind::Refused,
                END,
                "the shutdown lasts longer than it may",
            ),
            Watchdog,
            Certain,
            "longer than it may",
        ),
        (
            "a shutdown that ends after all",
            Story::armed(12).and(Kind::GoingDown, END - 90, "it goes down (reboot)").and(
                Kind::Refused,
                END,
                "the shutdown lasts longer than it may",
            ),
            Clean,
            Certain,
            "goes down (reboot)",
        ),
        // It fits.
        ("hang", Story::armed(45), Watchdog, Likely, "up again 45s"),
        (
            "hang, device that never says",
            Story::armed(45).bootstatus("iTCO_wdt", 0),
            Watchdog,
            Likely,
            "hung",
        ),
        ("hang, two stages", Story::armed(110), Watchdog, Likely, "hung"),
        ("hang, long self-test", Story::armed(400), Watchdog, Guess, "6m 40s"),
        (
            "hang, clock wrong",
            {
                let mut s = Story::armed(0);
                s.0.next_began_ms = Some(5);
                s
            },
            Watchdog,
            Guess,
            "hung",
        ),
        (
            "hang, older boot",
            {
                let mut s = Story::armed(45);
                s.0.around = None;
                s
            },
            Watchdog,
            Likely,
            "hung",
        ),
        ("refusal", Story::armed(45).and(Kind::Refused, END, refused), Watchdog, Certain, refused),
        (
            "refusal, long self-test",
            Story::armed(400).and(Kind::Refused, END, refused),
            Watchdog,
            Likely,
            refused,
        ),
        (
            "refusal of long ago",
            Story::armed(45).and(Kind::Refused, 50, refused),
            Watchdog,
            Likely,
            "hung",
        ),
        (
            "refusal taken back",
            Story::with(45).and(Kind::Refused, END - 50, refused).and(
                Kind::Armed,
                END - 40,
                "x, time-out 30s",
            ),
            Watchdog,
            Likely,
            "hung",
        ),
        // It does not.
        ("power, too soon for the watchdog", Story::armed(12), Power, Likely, "takes 30s"),
        (
            "power, the device denies",
            Story::with(45)
                .and(Kind::Armed, 11, "i6300esb, time-out 30s")
                .bootstatus("i6300esb", 0),
            Power,
            Likely,
            "did not fire",
        ),
        (
            "another device denies",
            Story::armed(45).bootstatus("i6300esb", 0),
            Watchdog,
            Likely,
            "hung",
        ),
        ("power, off for hours", Story::armed(7200), Power, Guess, "gone for 2h"),
        ("power, no watchdog", Story::with(45).pstore(), Power, Likely, "no watchdog was armed"),
        ("power, no place for last words", Story::with(45), Power, Guess, "no watchdog was armed"),
        ("silence for hours", Story::with(7200).pstore(), Power, Guess, "no watchdog was armed"),
        (
            "power, disarmed",
            Story::armed(45).and(Kind::Disarmed, 500, "").pstore(),
            Power,
            Likely,
            "no watchdog",
        ),
        ("power, wtmp", Story::with(45).accounts(NOT_DOWN).pstore(), Power, Likely, "lost power"),
        // In order.
        (
            "clean",
            Story::armed(45).and(Kind::Stop, END, "").and(
                Kind::GoingDown,
                END,
                "PID 1 shuts down: reboot",
            ),
            Clean,
            Certain,
            "PID 1 shuts down: reboot",
        ),
        (
            "clean, wtmp",
            Story::armed(45).and(Kind::Stop, END, "").accounts(DOWN),
            Clean,
            Certain,
            "wtmp",
        ),
        ("clean, wtmp, daemon killed", Story::armed(45).accounts(DOWN), Clean, Certain, "wtmp"),
        (
            "clean, journal",
            Story::with(45)
                .and(Kind::Stop, END, "")
                .journal("Reached target reboot.target - System Reboot."),
            Clean,
            Certain,
            "journal",
        ),
        ("clean without us", Story::with(45).forgotten().accounts(DOWN), Clean, Certain, "wtmp"),
        ("only stopped", Story::with(45).and(Kind::Stop, END, ""), Clean, Guess, "45s after"),
        (
            "stopped long before",
            Story::with(4500).and(Kind::Stop, END, ""),
            Unknown,
            Guess,
            "had been stopped",
        ),
        // Nobody was there.
        ("nothing", Story::with(45).forgotten(), Unknown, Guess, "no record"),
        (
            "nothing but wtmp",
            Story::with(45).forgotten().accounts(NOT_DOWN),
            Unknown,
            Guess,
            "without an orderly",
        ),
        (
            "an older boot",
            {
                let mut s = Story::with(45).forgotten();
                s.0.older_ms = Some(BEGAN_MS);
                s
            },
            Unknown,
            Guess,
            "did not run",
        ),
    ];
    for (name, story, cause, confidence, part) in rows {
        let verdict = judge(&story.0);
        assert_eq!((verdict.cause, verdict.confidence), (cause, confidence), "{name}: {verdict:?}");
        assert!(verdict.sentence.contains(part), "{name}: {verdict:?}");
        assert!(confidence != Certain || verdict.next_time.is_empty(), "{name}: {verdict:?}");
    }
}

/// What the silence at the end is worth, with the device's word and without.
#[test]
fn a_dead_root_disk_is_named_only_where_a_hang_would_have_been_over_sooner() {
    use Confidence::{Certain, Guess, Likely};
    let dead = |gone, others| Story::with_root_limit(gone, 30, others);
    let says = |story: Story| story.bootstatus("i6300esb", 0x20);
    let rows: Vec<(&str, Story, Confidence, &str)> = vec![
        ("dead root", says(dead(45, &[4, 5, 90])), Likely, "root disk seems"),
        ("dead root, one boot known", says(dead(45, &[5])), Guess, "root disk seems"),
        ("dead root, silent device", dead(45, &[4, 5]), Likely, "root disk seems"),
        ("dead root, no boot known", says(dead(45, &[])), Certain, "or its root disk"),
        ("dead root, no boot, silent device", dead(45, &[]), Guess, "or its root disk"),
        (
            "dead root, an hour of patience",
            says(Story::with_root_limit(3620, 3600, &[4, 5])),
            Likely,
            "root disk seems",
        ),
        (
            "an hour of patience, silent device",
            Story::with_root_limit(3620, 3600, &[4, 5]),
            Likely,
            "root disk seems",
        ),
        ("whole hang", says(dead(12, &[4, 5])), Certain, "The machine hung"),
        ("whole hang, silent device", dead(12, &[4, 5]), Likely, "seems to have hung"),
        ("slow boot after a hang", says(dead(45, &[30, 32])), Certain, "The machine hung"),
        ("slow boot, silent device", dead(45, &[30, 32]), Guess, "seems to have hung"),
        ("much slower boot", says(dead(300, &[4, 5])), Certain, "The machine hung"),
        ("last words", dead(45, &[]).words(Kind::Refused, "no write for 30s"), Certain, "no write"),
        (
            "last words of a panic",
            dead(45, &[])
                .words(Kind::Refused, "no write for 30s")
                .trace(Some("Kernel panic - not syncing: watchdog pretimeout event"), false),
            Certain,
            "mastiffd stopped petting the watchdog, and it warned: no write",
        ),
    ];
    for (name, story, confidence, part) in rows {
        let verdict = judge(&story.0);
        assert_eq!((verdict.cause, verdict.confidence), (Cause::Watchdog, confidence), "{name}");
        assert!(verdict.sentence.contains(part), "{name}: {}", verdict.sentence);
        let is_hang = part.contains("hung");
        assert!(!is_hang || !verdict.sentence.contains("root disk seems"), "{name}");
    }
}

#[test]
fn the_sum_behind_a_dead_root_disk_is_told() {
    let text = judge(&Story::with_root_limit(45, 30, &[4, 5]).0).evidence.join("\n");
    for part in ["no record of the last 45s", "within 16s", "within 46s", "4s and 5s"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    // A time of two words is read whole.
    let text = judge(&Story::with_root_limit(200, 90, &[]).0).evidence.join("\n");
    assert!(text.contains("1m 30s of root-dead-after more"), "{text}");
    // Who was told needs no sums, and nor does who asked for nothing.
    let told = Story::with_root_limit(45, 30, &[4, 5]).and(Kind::Refused, END, "no write for 30s");
    assert!(!judge(&told.0).evidence.join("\n").contains("no record of"));
    assert!(!judge(&Story::armed(45).0).evidence.join("\n").contains("no record of"));
}

#[test]
fn the_evidence_is_told_and_so_is_what_is_missing() {
    let mut story = Story::armed(45).bootstatus("iTCO_wdt", 0).accounts(NOT_DOWN);
    story.note(Kind::Event, END - 20, "disk has failed");
    let event = EventWords { kind: "verdict".into(), severity: "error".into() };
    story.0.boot.records.last_mut().unwrap().event = Some(event);
    story.0.damaged = 3;
    let verdict = judge(&story.0);
    let text = verdict.evidence.join("\n");
    for part in [
        "load 0.5; healthy: 14 checks",
        ", 45s later",
        "armed: iTCO_wdt",
        "before that: ",
        "disk has failed",
        "says of this boot: nothing",
        "no shutdown before this boot",
        "3 slots",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let wanted = verdict.next_time.join("\n");
    assert!(wanted.contains("/var/log/journal") && wanted.contains("pstore"), "{wanted}");
    let known = judge(&Story::with(45).pstore().journal("something").0);
    assert_eq!(known.next_time.len(), 1, "only the watchdog is missing: {known:?}");
}
