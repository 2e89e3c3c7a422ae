use std::path::PathBuf;
use std::time::{Duration, Instant};

use mio::{Poll, Token};

use super::*;

/// No device: its driver answers no question, so what opens it writes the letter that stops it.
fn no_device(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("mastiff-{name}-{}", std::process::id()));
    std::fs::write(&path, "").unwrap();
    path
}

fn petter(path: &std::path::Path, careful: bool) -> (Petter, Poll) {
    let poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
    let times = Times { timeout: Span::from_secs(30), pretimeout: None, governor: None };
    let wanted = Wanted::Path(path.to_path_buf());
    (Petter::start(Start { wanted, times, careful }, None, waker).unwrap(), poll)
}

/// Until it holds, as another thread sees to.
fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        std::thread::yield_now();
    }
}

fn is_opened(path: &std::path::Path) -> bool {
    std::fs::read(path).unwrap() == b"V"
}

/// U4: to open a device is to pet it.
#[test]
fn a_careful_petter_opens_nothing_before_it_may() {
    let path = no_device("careful");
    let (waiting, _poll) = petter(&path, true);
    assert!(waiting.slot.is_due(Span::from_secs(1), Mono::BOOT.after(Span::from_secs(60))));
    assert!(waiting.order(Order::Release));
    until("it has ended", || waiting.has_ended());
    assert!(!is_opened(&path), "nobody allowed it");

    let (late, _poll) = petter(&path, true);
    late.permits().give(Mono::BOOT.after(Span::from_nanos(1)));
    until("the permit was seen", || late.shown().expired == 1);
    assert!(!is_opened(&path), "the permit was void");
    late.permits().give(Mono::FAR);
    until("it was opened", || is_opened(&path));
    until("it was told", || matches!(late.shown().state, State::Looking(Some(_))));

    std::fs::write(&path, "").unwrap();
    let (hasty, _poll) = petter(&path, false);
    until("it was opened", || is_opened(&path));
    drop((late, hasty));
    std::fs::remove_file(&path).unwrap();
}
