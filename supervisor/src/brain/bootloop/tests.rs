use super::*;

const BOOT: &str = "5f0c1a52-7a0b-4a3e-9d1e-0123456789ab";

fn parsed(text: &str) -> (Vec<Option<u64>>, bool, usize) {
    let (resets, observes, unread) = BootLoop::parse(text, BOOT);
    (resets.into_iter().map(|reset| reset.at).collect(), observes, unread)
}

#[test]
fn each_line_is_a_reset_and_a_damaged_one_is_one_at_an_unknown_time() {
    let good = format!("1700000000 {BOOT} reset for \"disk\"\n");
    for (text, resets, unread) in [
        ("", vec![], 0),
        (&*good, vec![Some(1_700_000_000)], 0),
        ("1700000000 unknown x\n", vec![Some(1_700_000_000)], 0),
        ("1700000000 boot x\n", vec![None], 1),
        (&*format!("1700000000 {BOOT}"), vec![None], 1),
        ("-1 unknown x\n", vec![None], 1),
        ("99999999999999999999999 unknown x\n", vec![None], 1),
        ("\0\0\0\0\0\0", vec![None], 1),
        ("\n", vec![None], 1),
        ("?\n?\n", vec![None, None], 0),
        (
            &*format!("{good}garbage\n{good}"),
            vec![Some(1_700_000_000), None, Some(1_700_000_000)],
            1,
        ),
    ] {
        assert_eq!(parsed(text), (resets, false, unread), "{text:?}");
    }
}

#[test]
fn only_the_boot_that_is_named_goes_on_observing() {
    assert_eq!(parsed(&format!("observes {BOOT}\n")), (vec![], true, 0));
    assert_eq!(parsed("observes 5f0c1a52-7a0b-4a3e-9d1e-000000000000\n"), (vec![], false, 0));
    assert!(!BootLoop::parse("observes \n", "").1);
}

#[test]
fn what_is_written_is_read_again_and_bounded() {
    let mut this = BootLoop::default();
    for at in 0..40 {
        this.push(at, BOOT, "line\nbreak and \u{1b}[2J");
    }
    let (resets, observes, unread) = BootLoop::parse(&this.text(), BOOT);
    assert_eq!((&resets, observes, unread), (&this.resets, false, 0));
    assert_eq!((resets.len(), resets[0].at), (LINES_MAX, Some(8)));
    this.push(50, BOOT, &"ü".repeat(10_000));
    assert!(this.text().len() < LINES_MAX * 600);
    // Damage is told once: it is written as what is known of it.
    let damaged = BootLoop { resets: BootLoop::parse("x\n", BOOT).0, ..BootLoop::default() };
    assert_eq!(parsed(&damaged.text()), (vec![None], false, 0));
}

/// Each boot that was lost counts, though the one before it was counted while it ran.
#[test]
fn a_row_of_lost_boots_is_counted_whole() {
    let mut this = BootLoop::default();
    for (number, boot) in ["a", "b", "c"].into_iter().enumerate() {
        assert!(!this.has_counted(boot), "{boot}");
        this.push(100 + u64::try_from(number).unwrap(), boot, "lost");
        assert!(this.has_counted(boot), "{boot}");
    }
    assert_eq!(this.resets.len(), 3);
}
